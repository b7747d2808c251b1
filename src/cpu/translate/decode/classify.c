/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which instructions the translator takes, and what they read and write. Whatever is not known here is the
 * interpreter's: string operations, system instructions, I/O, far transfers, stack operations of unusual
 * size, gathers, bit strings in memory.
 */
#include "cpu/translate/decode/classify.h"

#include "cpu/interp/native.h"

static int8_t gpr_number(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return (int8_t)ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
	default:
		return NO_REGISTER;
	}
}

/* Base instruction set: by category. */
static bool base_category(const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_BITBYTE:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_CONVERT:
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_ROTATE:
	case ZYDIS_CATEGORY_SEMAPHORE:
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_SHIFT:
		return true;
	case ZYDIS_CATEGORY_FLAGOP:
		return insn->mnemonic == ZYDIS_MNEMONIC_LAHF || insn->mnemonic == ZYDIS_MNEMONIC_SAHF ||
		       insn->mnemonic == ZYDIS_MNEMONIC_CLC || insn->mnemonic == ZYDIS_MNEMONIC_STC ||
		       insn->mnemonic == ZYDIS_MNEMONIC_CMC;
	default:
		return insn->mnemonic == ZYDIS_MNEMONIC_LEA;
	}
}

/* Extensions that are taken, when the guest's CPUID offers them. */
static bool extension_offered(const struct x86_features *f, const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.isa_set) {
	case ZYDIS_ISA_SET_POPCNT:
		return f->popcnt;
	case ZYDIS_ISA_SET_CMPXCHG16B:
		return f->cx16;
	case ZYDIS_ISA_SET_SSE42:
		return f->sse42;
	case ZYDIS_ISA_SET_LZCNT:
		return f->lzcnt;
	default:
		break;
	}
	switch (insn->meta.isa_ext) {
	case ZYDIS_ISA_EXT_BASE:
		return base_category(insn);
	case ZYDIS_ISA_EXT_LONGMODE:
		return f->lm && base_category(insn);
	case ZYDIS_ISA_EXT_X87:
	case ZYDIS_ISA_EXT_MMX:
		return true;
	case ZYDIS_ISA_EXT_SSE:
		return f->sse;
	case ZYDIS_ISA_EXT_SSE2:
		return f->sse2;
	case ZYDIS_ISA_EXT_SSE3:
		return f->sse3;
	case ZYDIS_ISA_EXT_SSSE3:
		return f->ssse3;
	case ZYDIS_ISA_EXT_SSE4:
		return f->sse41;
	case ZYDIS_ISA_EXT_AES:
		return f->aes;
	case ZYDIS_ISA_EXT_PCLMULQDQ:
		return f->pclmul;
	case ZYDIS_ISA_EXT_SHA:
		return f->sha;
	case ZYDIS_ISA_EXT_AVX:
		return f->avx;
	case ZYDIS_ISA_EXT_AVX2:
		return f->avx2;
	case ZYDIS_ISA_EXT_AVXAES:
		return f->avx && f->aes;
	case ZYDIS_ISA_EXT_FMA:
		return f->fma;
	case ZYDIS_ISA_EXT_F16C:
		return f->f16c;
	case ZYDIS_ISA_EXT_BMI1:
		return f->bmi1;
	case ZYDIS_ISA_EXT_BMI2:
		return f->bmi2;
	case ZYDIS_ISA_EXT_ADOX_ADCX:
		return f->adx;
	case ZYDIS_ISA_EXT_MOVBE:
		return f->movbe;
	case ZYDIS_ISA_EXT_GFNI:
		return f->gfni;
	case ZYDIS_ISA_EXT_VAES:
		return f->vaes;
	case ZYDIS_ISA_EXT_VPCLMULQDQ:
		return f->vpclmul;
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX:
		return native_avx512_offered(f, insn->meta.isa_set);
	default:
		return false;
	}
}

static bool refused(const ZydisDecodedInstruction *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_XLAT:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_PAUSE:
	case ZYDIS_MNEMONIC_SALC:
	case ZYDIS_MNEMONIC_FLDENV: /* what they store or load is more than the registers */
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
		return true;
	default:
		return insn->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
	}
}

static uint32_t killed_flags(const struct decoded *d)
{
	const ZydisAccessedFlags *flags = d->insn.cpu_flags;

	if (!flags)
		return 0;
	/* A count of 0 leaves the flags alone. */
	if (d->insn.meta.category == ZYDIS_CATEGORY_SHIFT || d->insn.meta.category == ZYDIS_CATEGORY_ROTATE) {
		const ZydisDecodedOperand *count = &d->operands[d->insn.operand_count_visible - 1];

		if (d->insn.meta.isa_ext != ZYDIS_ISA_EXT_BASE || count->type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
		    !(count->imm.value.u & 31))
			return 0;
	}
	return (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & ALL_FLAGS;
}

/* What it writes to registers does not depend on what they held, if it does not read them besides. */
static bool overwrites(const ZydisDecodedInstruction *insn)
{
	const ZydisMnemonic mnemonic = insn->mnemonic;

	return insn->meta.isa_ext == ZYDIS_ISA_EXT_BMI2 || mnemonic == ZYDIS_MNEMONIC_MOV || mnemonic == ZYDIS_MNEMONIC_MOVZX || mnemonic == ZYDIS_MNEMONIC_MOVSX ||
	       mnemonic == ZYDIS_MNEMONIC_MOVSXD || mnemonic == ZYDIS_MNEMONIC_LEA || mnemonic == ZYDIS_MNEMONIC_POP;
}

/* Zydis 4.0 names R13 as the base of a SIB byte with mod 0, base 101b and REX.B, and with an address size prefix R13D and no
 * displacement: there is no base, but a displacement. */
static bool sib_without_base(const ZydisDecodedInstruction *insn)
{
	return insn->attributes & ZYDIS_ATTRIB_HAS_SIB && insn->raw.modrm.mod == 0 && (insn->raw.sib.base & 7) == 5;
}

static unsigned segment_number(ZydisRegister segment)
{
	switch (segment) {
	case ZYDIS_REGISTER_ES:
		return X86_ES;
	case ZYDIS_REGISTER_CS:
		return X86_CS;
	case ZYDIS_REGISTER_SS:
		return X86_SS;
	case ZYDIS_REGISTER_FS:
		return X86_FS;
	case ZYDIS_REGISTER_GS:
		return X86_GS;
	default:
		return X86_DS;
	}
}

static bool take_segment(const struct translator *t, struct guest_instruction *g, const ZydisDecodedOperand *operand)
{
	unsigned segment = segment_number(operand->mem.segment);

	if (t->key & KEY_CODE32)
		return operand->mem.type != ZYDIS_MEMOP_TYPE_MEM ||
		       code32_segment(t, g, segment, operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
	if (segment == X86_FS || segment == X86_GS)
		g->memory.segment = (int8_t)segment;
	return true;
}

static void set_disp(struct guest_instruction *g, int64_t displacement)
{
	struct memory *m = &g->memory;

	m->disp = displacement;
	if (m->rip_relative)
		m->disp += (int64_t)(g->rip + g->length);
	if (m->base < 0 && m->index < 0 && m->address32)
		m->disp = (uint32_t)m->disp;
}

/* False: not an address that the translator computes. */
static bool take_memory(const struct translator *t, struct guest_instruction *g, const struct decoded *d, const ZydisDecodedOperand *operand)
{
	const ZydisDecodedOperandMem *mem = &operand->mem;
	struct memory *m = &g->memory;

	if ((mem->type != ZYDIS_MEMOP_TYPE_MEM && mem->type != ZYDIS_MEMOP_TYPE_AGEN) ||
	    (operand->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM &&
	     operand->encoding != ZYDIS_OPERAND_ENCODING_DISP16_32_64))
		return false;
	m->address32 = g->address_width == 32;
	m->rip_relative = mem->base == ZYDIS_REGISTER_RIP || mem->base == ZYDIS_REGISTER_EIP;
	m->displacement = g->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX || m->rip_relative; /* EVEX scales it */
	if (!take_segment(t, g, operand))
		return false;
	if (mem->base != ZYDIS_REGISTER_NONE && !m->rip_relative && !sib_without_base(&d->insn))
		m->base = gpr_number(mem->base);
	if (mem->index != ZYDIS_REGISTER_NONE) {
		m->index = gpr_number(mem->index);
		m->scale = mem->scale ? (uint8_t)__builtin_ctz(mem->scale) : 0;
	}
	set_disp(g, sib_without_base(&d->insn) ? d->insn.raw.disp.value : mem->disp.value);
	return true;
}

/* *read: registers that the instruction reads besides; movzx eax, al does not overwrite. */
static void take_register(struct guest_instruction *g, const struct decoded *d, const ZydisDecodedOperand *operand, uint16_t *read)
{
	int gpr = gpr_number(operand->reg.value);

	if (gpr < 0)
		return;
	g->uses |= 1u << gpr;
	g->direct |= 1u << gpr;
	if (operand->reg.value >= ZYDIS_REGISTER_AH && operand->reg.value <= ZYDIS_REGISTER_BH)
		g->high_byte = true;
	if (overwrites(&d->insn) && operand->actions == ZYDIS_OPERAND_ACTION_WRITE && operand->size >= 32)
		g->overwrites |= 1u << gpr;
	else
		*read |= 1u << gpr;
}

/* Registers that translated code holds natively; false: one it does not. */
static bool known_register(struct guest_instruction *g, ZydisRegister reg, uint8_t *need)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
	case ZYDIS_REGCLASS_FLAGS:
	case ZYDIS_REGCLASS_IP:
		return true;
	case ZYDIS_REGCLASS_MASK:
		*need |= KEY_AVX512;
		g->vector = true;
		return true;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
		g->vector = true;
		return true;
	case ZYDIS_REGCLASS_X87:
	case ZYDIS_REGCLASS_MMX:
		g->x87 = true;
		return true;
	default:
		if (reg == ZYDIS_REGISTER_X87CONTROL || reg == ZYDIS_REGISTER_X87STATUS || reg == ZYDIS_REGISTER_X87TAG) {
			g->x87 = true;
			return true;
		}
		if (reg != ZYDIS_REGISTER_MXCSR)
			return false;
		g->vector = true;
		return true;
	}
}

/* Instructions of vector extensions that have nothing to do with vectors or MXCSR. */
static bool general_only(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_CRC32 || mnemonic == ZYDIS_MNEMONIC_MOVNTI || mnemonic == ZYDIS_MNEMONIC_POPCNT ||
	       mnemonic == ZYDIS_MNEMONIC_LFENCE || mnemonic == ZYDIS_MNEMONIC_MFENCE || mnemonic == ZYDIS_MNEMONIC_SFENCE;
}

static bool vector_extension(const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.isa_ext) {
	case ZYDIS_ISA_EXT_BASE:
	case ZYDIS_ISA_EXT_LONGMODE:
	case ZYDIS_ISA_EXT_BMI1:
	case ZYDIS_ISA_EXT_BMI2:
	case ZYDIS_ISA_EXT_ADOX_ADCX:
	case ZYDIS_ISA_EXT_MOVBE:
	case ZYDIS_ISA_EXT_LZCNT:
	case ZYDIS_ISA_EXT_X87:
	case ZYDIS_ISA_EXT_MMX:
		return false;
	default:
		return !general_only(insn->mnemonic);
	}
}

/* All operands: registers, the explicit memory operand. Returns false when there is something unknown. */
static bool take_operands(const struct translator *t, struct guest_instruction *g, const struct decoded *d, unsigned *memory_count)
{
	uint16_t read = 0;
	uint8_t need = 0;

	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *operand = &d->operands[i];

		if (operand->type == ZYDIS_OPERAND_TYPE_POINTER)
			return false;
		if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			if (!known_register(g, operand->reg.value, &need))
				return false;
			take_register(g, d, operand, &read);
		}
		if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		if (operand->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
			*memory_count += 2; /* the caller knows it or refuses */
			continue;
		}
		if (!take_memory(t, g, d, operand))
			return false;
		*memory_count += operand->mem.type == ZYDIS_MEMOP_TYPE_MEM;
		g->size = operand->size / 8;
		g->reads = operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
		g->writes = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		if (g->memory.base >= 0)
			read |= 1u << g->memory.base;
		if (g->memory.index >= 0)
			read |= 1u << g->memory.index;
	}
	g->uses |= read;
	g->overwrites &= (uint16_t)~read;
	if (vector_extension(&d->insn))
		g->vector = true;
	if (g->vector) {
		need |= d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ? KEY_SSE :
		        d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? KEY_AVX : KEY_AVX512;
		g->faults = true;
	}
	if (d->insn.meta.isa_ext == ZYDIS_ISA_EXT_X87 || d->insn.meta.isa_ext == ZYDIS_ISA_EXT_MMX)
		g->x87 = true;
	if (g->x87) {
		need |= KEY_SSE; /* neither CR0.TS nor CR0.EM */
		g->faults = true;
	}
	if ((t->key & need) != need)
		return false;
	return true;
}

/* Bits of a stack slot and of a branch target. */
static unsigned word_bits(const struct translator *t)
{
	return t->key & KEY_CODE32 ? 32 : 64;
}

static bool direct_branch(const struct guest_instruction *g)
{
	return g->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
	       (g->category == ZYDIS_CATEGORY_COND_BR || g->category == ZYDIS_CATEGORY_UNCOND_BR || g->category == ZYDIS_CATEGORY_CALL);
}

/* A direct branch of 32-bit code leads out of its segment. */
static bool leads_out(const struct translator *t, const struct guest_instruction *g)
{
	return t->key & KEY_CODE32 && direct_branch(g) && classify_target(t, g) > segmentation_of(t, t->key)->limit[X86_CS];
}

static enum kind branch_kind(const struct translator *t, struct guest_instruction *g, const struct decoded *d)
{
	const ZydisDecodedInstruction *insn = &d->insn;
	bool direct = direct_branch(g);

	if (insn->operand_width != word_bits(t) && !(insn->meta.category == ZYDIS_CATEGORY_COND_BR))
		return KIND_INTERPRET;
	if (leads_out(t, g))
		return KIND_INTERPRET;
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
		if (insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			return KIND_INTERPRET;
		return direct ? KIND_JMP : KIND_JMP_INDIRECT;
	case ZYDIS_MNEMONIC_CALL:
		if (insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			return KIND_INTERPRET;
		return direct ? KIND_CALL : KIND_CALL_INDIRECT;
	case ZYDIS_MNEMONIC_RET:
		return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? KIND_INTERPRET : KIND_RET;
	default:
		if (insn->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)
			return KIND_INTERPRET;
		if (insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && insn->opcode >= 0xe0 && insn->opcode <= 0xe3)
			return insn->address_width == 16 ? KIND_INTERPRET : KIND_JCXZ;
		if (insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? (insn->opcode & 0xf0) == 0x70 : (insn->opcode & 0xf0) == 0x80)
			return KIND_JCC;
		return KIND_INTERPRET;
	}
}

static enum kind stack_kind(const struct translator *t, struct guest_instruction *g, const struct decoded *d)
{
	const ZydisDecodedOperand *operand = &d->operands[0];

	if (d->insn.operand_width != word_bits(t))
		return KIND_INTERPRET;
	if (d->insn.operand_count_visible != 1)
		return d->insn.mnemonic == ZYDIS_MNEMONIC_LEAVE ? KIND_LEAVE : KIND_INTERPRET;
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_PUSH) {
		if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return KIND_PUSH_IMM;
		if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY)
			return KIND_PUSH_MEMORY;
		return gpr_number(operand->reg.value) >= 0 ? KIND_PUSH : KIND_INTERPRET;
	}
	if (d->insn.mnemonic != ZYDIS_MNEMONIC_POP || operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return KIND_INTERPRET;
	return gpr_number(operand->reg.value) >= 0 && gpr_number(operand->reg.value) != RSP ? KIND_POP : KIND_INTERPRET;
}

static bool no_operation(const ZydisDecodedInstruction *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2:
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHW:
		return !(insn->attributes & ZYDIS_ATTRIB_HAS_LOCK);
	default:
		return false;
	}
}

static bool uses_stack(enum kind kind)
{
	switch (kind) {
	case KIND_PUSH:
	case KIND_PUSH_IMM:
	case KIND_PUSH_MEMORY:
	case KIND_POP:
	case KIND_LEAVE:
	case KIND_CALL:
	case KIND_RET:
	case KIND_CALL_INDIRECT:
		return true;
	default:
		return false;
	}
}

static enum kind kind_of(const struct translator *t, struct guest_instruction *g, const struct decoded *d)
{
	const ZydisDecodedInstruction *insn = &d->insn;
	unsigned memory_count = 0;

	if (no_operation(insn))
		return KIND_SKIP;
	if (t->key & KEY_CODE32 && code32_refuses(d, g->bytes))
		return KIND_INTERPRET;
	if (insn->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && insn->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX &&
	    insn->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX)
		return KIND_INTERPRET;
	if (!take_operands(t, g, d, &memory_count))
		return KIND_INTERPRET;
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
		return branch_kind(t, g, d);
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_POP:
		return stack_kind(t, g, d);
	default:
		break;
	}
	if (insn->mnemonic == ZYDIS_MNEMONIC_LEAVE)
		return stack_kind(t, g, d);
	if (refused(insn) || !extension_offered(t->cpu->features, insn) || memory_count > 1)
		return KIND_INTERPRET;
	if (insn->mnemonic == ZYDIS_MNEMONIC_LEA) {
		if (d->operands[1].mem.base != ZYDIS_REGISTER_RIP && d->operands[1].mem.base != ZYDIS_REGISTER_EIP)
			return KIND_COPY;
		return d->operands[0].size >= 32 ? KIND_LEA_RIP : KIND_INTERPRET;
	}
	if (insn->mnemonic == ZYDIS_MNEMONIC_DIV || insn->mnemonic == ZYDIS_MNEMONIC_IDIV ||
	    insn->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
		g->faults = true;
	if (!memory_count)
		return KIND_COPY;
	/* The bit string's address depends on the register. */
	if ((insn->mnemonic == ZYDIS_MNEMONIC_BT || insn->mnemonic == ZYDIS_MNEMONIC_BTS || insn->mnemonic == ZYDIS_MNEMONIC_BTR ||
	     insn->mnemonic == ZYDIS_MNEMONIC_BTC) && d->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		return bits_classify(t, g) ? KIND_BITS : KIND_INTERPRET;
	return g->size && g->size <= 64 && (g->reads || g->writes) ? KIND_MEMORY : KIND_INTERPRET;
}

/* A mask can leave out all of the operand, which then is not stopped by a guard. */
static bool masked(const ZydisDecodedInstruction *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return true;
	default:
		return insn->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && insn->raw.evex.aaa;
	}
}

_Static_assert(ZYDIS_MNEMONIC_MAX_VALUE <= UINT16_MAX && ZYDIS_REGISTER_MAX_VALUE <= UINT16_MAX && ZYDIS_CATEGORY_MAX_VALUE <= UINT8_MAX,
	       "fields of struct guest_instruction");

static void take_form(struct guest_instruction *g, const ZydisDecodedInstruction *insn)
{
	g->mnemonic = (uint16_t)insn->mnemonic;
	g->category = (uint8_t)insn->meta.category;
	g->attributes = insn->attributes;
	g->length = insn->length;
	g->encoding = (uint8_t)insn->encoding;
	g->opcode_map = (uint8_t)insn->opcode_map;
	g->opcode = insn->opcode;
	g->operand_width = insn->operand_width;
	g->address_width = insn->address_width;
	g->modrm_offset = insn->raw.modrm.offset;
	g->sib_offset = insn->raw.sib.offset;
	g->disp_offset = insn->raw.disp.offset;
	g->disp_size = insn->raw.disp.size;
	g->masked = masked(insn);
	g->rex_w = insn->attributes & ZYDIS_ATTRIB_HAS_REX && insn->raw.rex.W;
}

static void take_form_of_operands(struct guest_instruction *g, const struct decoded *d)
{
	bool immediate = false;

	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *operand = &d->operands[i];
		int8_t gpr = operand->type == ZYDIS_OPERAND_TYPE_REGISTER ? gpr_number(operand->reg.value) : NO_REGISTER;

		if (i < ARRAY_SIZE(g->operands)) {
			g->operands[i] = (struct operand){.type = (uint8_t)operand->type, .size = operand->size, .gpr = gpr};
			if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER)
				g->operands[i].reg = (uint16_t)operand->reg.value;
		}
		if (gpr >= 0 && operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			g->written |= (uint16_t)(1u << gpr);
		if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && !immediate) {
			g->immediate = operand->imm.value.s;
			g->sign_extended = operand->imm.is_signed;
			if (d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) { /* else it may be a part of a byte */
				g->immediate_offset = d->insn.raw.imm[0].offset;
				g->immediate_size = d->insn.raw.imm[0].size;
			}
			immediate = true;
		}
	}
}

ZyanStatus classify(const struct translator *t, struct guest_instruction *g, const uint8_t *bytes, unsigned room, uint64_t rip)
{
	struct decoded d;
	ZyanStatus status = ZydisDecoderDecodeFull(t->decoder, bytes, room < ZYDIS_MAX_INSTRUCTION_LENGTH ? room : ZYDIS_MAX_INSTRUCTION_LENGTH,
						   &d.insn, d.operands);

	if (!ZYAN_SUCCESS(status))
		return status;
	*g = (struct guest_instruction){
		.bytes = bytes,
		.rip = rip,
		.kind = KIND_INTERPRET,
		.memory = {.base = NO_REGISTER, .index = NO_REGISTER, .segment = NO_REGISTER},
		.operands = {{.gpr = NO_REGISTER}, {.gpr = NO_REGISTER}},
	};
	take_form(g, &d.insn);
	take_form_of_operands(g, &d);
	if (!string_classify(t, g) && !system_classify(t, g))
		g->kind = kind_of(t, g, &d);
	if (t->key & KEY_CODE32 && uses_stack(g->kind) && !code32_allows(t, X86_SS, true))
		g->kind = KIND_INTERPRET;
	if (g->kind == KIND_INTERPRET)
		system_classify_rest(g);
	g->flags_read = d.insn.cpu_flags ? d.insn.cpu_flags->tested & ALL_FLAGS : 0;
	g->flags_killed = killed_flags(&d);
	if (g->kind == KIND_SYSTEM || g->kind == KIND_SYSTEM_END)
		system_flags(g);
	if (g->kind == KIND_INTERPRET) {
		g->flags_read = ALL_FLAGS;
		g->flags_killed = 0;
		g->vector = g->x87 = false;
	}
	return status;
}

unsigned classify_form(const struct translator *t, const struct guest_instruction *g)
{
	unsigned length = g->length;

	if (leads_out(t, g))
		return 0;
	/* VEX and EVEX may have a register in the immediate, and a scaled displacement; 3DNow! has its opcode there. What a
	 * count kills depends on it. */
	if (g->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || g->category == ZYDIS_CATEGORY_SHIFT || g->category == ZYDIS_CATEGORY_ROTATE)
		return length;
	if (g->immediate_size)
		length = g->immediate_offset;
	return g->disp_size ? g->disp_offset : length;
}

static int64_t read_tail(const uint8_t *bytes, unsigned size, bool sign_extended)
{
	uint64_t value = 0;

	memcpy(&value, bytes, size / 8);
	if (!sign_extended)
		return (int64_t)value;
	return (int64_t)(value << (64 - size)) >> (64 - size);
}

bool classify_tail(const struct translator *t, struct guest_instruction *g)
{
	if (g->immediate_size)
		g->immediate = read_tail(g->bytes + g->immediate_offset, g->immediate_size, g->sign_extended);
	if (g->memory.displacement)
		set_disp(g, g->disp_size ? read_tail(g->bytes + g->disp_offset, g->disp_size, true) : 0);
	return !leads_out(t, g);
}

uint64_t classify_target(const struct translator *t, const struct guest_instruction *g)
{
	uint64_t target = g->rip + g->length + (uint64_t)g->immediate;

	return t->key & KEY_CODE32 ? (uint32_t)target : target;
}

static bool looked_through(const struct guest_instruction *g)
{
	switch (g->kind) {
	case KIND_COPY:
	case KIND_SKIP:
	case KIND_MEMORY:
	case KIND_LEA_RIP:
	case KIND_BITS:
	case KIND_STRING:
	case KIND_PUSH:
	case KIND_PUSH_IMM:
	case KIND_PUSH_MEMORY:
	case KIND_POP:
		return true;
	default:
		return false;
	}
}

uint32_t classify_live_flags(const struct translator *t, const uint8_t *bytes, unsigned length)
{
	uint32_t open = ALL_FLAGS, live = 0;

	for (unsigned i = 0, offset = 0; i < 6 && open; i++) {
		const struct guest_instruction *g = decode_known(t, bytes + offset, length - offset);
		struct guest_instruction own;

		if (!g) {
			if (!ZYAN_SUCCESS(decode(t, &own, bytes + offset, length - offset, 0)))
				break;
			g = &own;
		}
		if (!looked_through(g))
			break;
		live |= g->flags_read & open;
		open &= ~g->flags_killed;
		offset += g->length;
	}
	return live | open;
}
