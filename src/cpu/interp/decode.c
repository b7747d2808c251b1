/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From Zydis' instruction to struct op: the operand helpers, the features that -cpu may leave out, and who selects. */
#include "cpu/interp/internal.h"

unsigned decode_log2(unsigned bits)
{
	return bits >= 64 ? 3 : bits == 32 ? 2 : bits == 16 ? 1 : 0;
}

bool decode_is_reg(const ZydisDecodedOperand *operand)
{
	if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	switch (ZydisRegisterGetClass(operand->reg.value)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return true;
	default:
		return false;
	}
}

/* ZYDIS: AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B... */
uint8_t decode_reg(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		return (reg - ZYDIS_REGISTER_AH) * 8 + 1;
	if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
		return (reg - ZYDIS_REGISTER_SPL + 4) * 8;
	return ZydisRegisterGetId(reg) * 8;
}

bool decode_locked(const struct decode *d)
{
	return d->insn.attributes & ZYDIS_ATTRIB_HAS_LOCK;
}

static uint16_t register_unit(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return offsetof(struct interp, cpu.zero) / 8;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return offsetof(struct interp, cpu.s.rip) / 8;
	return offsetof(struct interp, cpu.s.gpr) / 8 + ZydisRegisterGetId(reg);
}

void decode_memory(struct decode *d, const ZydisDecodedOperand *operand)
{
	const ZydisDecodedOperandMem *mem = &operand->mem;
	bool mode64 = d->insn.machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
	unsigned segment = mem->segment >= ZYDIS_REGISTER_ES && mem->segment <= ZYDIS_REGISTER_GS
				   ? mem->segment - ZYDIS_REGISTER_ES
				   : X86_DS;
	struct op *op = d->op;
	bool based = segment == X86_FS || segment == X86_GS;
	ZydisRegister base = mem->base;
	int64_t disp = mem->disp.value;

	/* SIB with mod 0 and base 101b has no base but a displacement; Zydis 4.0 says R13 when REX.B is set. */
	if (d->insn.address_width != 16 && d->insn.attributes & ZYDIS_ATTRIB_HAS_SIB && d->insn.raw.modrm.mod == 0 &&
	    (d->insn.raw.sib.base & 7) == 5 && operand->encoding != ZYDIS_OPERAND_ENCODING_NONE) {
		base = ZYDIS_REGISTER_NONE;
		disp = d->insn.raw.disp.value;
	}
	op->base = register_unit(base);
	op->index = register_unit(mem->index);
	op->scale = mem->index == ZYDIS_REGISTER_NONE || mem->scale == 0 ? 0 : __builtin_ctz(mem->scale);
	op->disp = (int32_t)disp;
	/* With 64-bit base zero for the others, where a base register is irrelevant. */
	op->segbase = mode64 && based
			      ? (offsetof(struct interp, cpu.s.seg[0].base) + segment * sizeof(struct x86_segment)) / 8
			      : offsetof(struct interp, cpu.zero) / 8;
	if (mem->base == ZYDIS_REGISTER_RIP || mem->base == ZYDIS_REGISTER_EIP)
		op->disp += d->offset + d->insn.length;
	if (!mode64 && d->insn.address_width == 16)
		op->ea = EA_16;
	else if (!mode64)
		op->ea = d->flat32 && !based && segment != X86_CS ? EA_FLAT32 : EA_32;
	else if (d->insn.address_width == 32)
		op->ea = EA_64_A32;
	else
		op->ea = EA_FLAT;
	/* MOV with moffs in 64-bit mode; the other modes' forms of it take the same handlers. */
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_MOV && operand->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64)
		op->ea = mode64 && d->insn.address_width == 64 ? EA_ABS64 : op->ea;
	op->ea |= segment << 4;
}

void decode_rm(struct decode *d, const ZydisDecodedOperand *operand)
{
	if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		d->op->src = decode_reg(operand->reg.value);
		d->op->ea = EA_NONE;
	} else {
		decode_memory(d, operand);
	}
}

bool decode_offered(const struct decode *d)
{
	const struct x86_features *f = d->ip->cpu.features;

	switch (d->insn.meta.isa_set) {
	case ZYDIS_ISA_SET_POPCNT:
		return f->popcnt;
	case ZYDIS_ISA_SET_CMPXCHG16B:
		return f->cx16;
	case ZYDIS_ISA_SET_SSE42:
		return f->sse42;
	case ZYDIS_ISA_SET_CLWB:
	case ZYDIS_ISA_SET_CLFLUSHOPT:
		return f->clflushopt;
	default:
		break;
	}
	switch (d->insn.meta.isa_ext) {
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
	case ZYDIS_ISA_EXT_AVX2GATHER:
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
	case ZYDIS_ISA_EXT_XSAVE:
		return f->xsave;
	case ZYDIS_ISA_EXT_XSAVEC:
		return f->xsavec;
	case ZYDIS_ISA_EXT_XSAVEOPT:
		return f->xsaveopt;
	case ZYDIS_ISA_EXT_XSAVES:
		return f->xsaves;
	case ZYDIS_ISA_EXT_RDRAND:
		return f->rdrand;
	case ZYDIS_ISA_EXT_RDSEED:
		return f->rdseed;
	case ZYDIS_ISA_EXT_RDTSCP:
		return f->rdtscp;
	case ZYDIS_ISA_EXT_RDWRFSGS:
		return f->fsgsbase;
	case ZYDIS_ISA_EXT_RDPID:
		return f->rdpid;
	case ZYDIS_ISA_EXT_SMAP:
		return f->smap;
	case ZYDIS_ISA_EXT_INVPCID:
		return f->invpcid;
	case ZYDIS_ISA_EXT_PKU:
		return f->pku;
	case ZYDIS_ISA_EXT_LONGMODE:
		return f->lm;
	case ZYDIS_ISA_EXT_GFNI:
		return f->gfni;
	case ZYDIS_ISA_EXT_VAES:
		return f->vaes;
	case ZYDIS_ISA_EXT_VPCLMULQDQ:
		return f->vpclmul;
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX:
		return native_avx512_offered(f, d->insn.meta.isa_set);
	case ZYDIS_ISA_EXT_AMD3DNOW:
	case ZYDIS_ISA_EXT_AMX_BF16:
	case ZYDIS_ISA_EXT_AMX_INT8:
	case ZYDIS_ISA_EXT_AMX_TILE:
	case ZYDIS_ISA_EXT_AVX_VNNI:
	case ZYDIS_ISA_EXT_ENQCMD:
	case ZYDIS_ISA_EXT_FMA4:
	case ZYDIS_ISA_EXT_MONITOR:
	case ZYDIS_ISA_EXT_MONITORX:
	case ZYDIS_ISA_EXT_MOVDIR:
	case ZYDIS_ISA_EXT_SMX:
	case ZYDIS_ISA_EXT_SSE4A:
	case ZYDIS_ISA_EXT_SVM:
	case ZYDIS_ISA_EXT_TBM:
	case ZYDIS_ISA_EXT_XOP:
	case ZYDIS_ISA_EXT_CLZERO:
	case ZYDIS_ISA_EXT_WAITPKG:
	case ZYDIS_ISA_EXT_SGX:
	case ZYDIS_ISA_EXT_RTM:
		return false;
	default:
		return true;
	}
}

static void log_unknown(struct decode *d)
{
	log_guest(d->ip->log, &d->ip->unknown_limit, "cpu %u: no handler for %s at rip %#llx: #UD",
		  d->ip->cpu.vcpu.index, ZydisMnemonicGetString(d->insn.mnemonic),
		  (unsigned long long)d->ip->cpu.s.rip + d->offset);
}

/* The handlers execute one form of each, and CPUs differ in what they make of another. */
static bool leaves_undefined_flags(const ZydisDecodedInstruction *insn)
{
	return insn->cpu_flags && insn->cpu_flags->undefined;
}

void decode_select(struct decode *d)
{
	static bool (*const selections[])(struct decode * d) = {
		select_alu,    select_move,     select_shift,  select_stack,  select_branch, select_muldiv,
		select_bit,    select_exchange, select_string, select_misc,   select_io,     select_segment,
		select_system, select_fpu,      select_gather, select_native,
	};

	d->op->length_size = d->insn.length | decode_log2(d->insn.operand_width) << 4;
	d->op->offset = d->offset;
	d->op->ea = EA_NONE;
	if (d->insn.operand_count_visible && d->operands[0].size &&
	    d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && d->operands[0].size <= 64)
		d->op->length_size = d->insn.length | decode_log2(d->operands[0].size) << 4;
	if (d->ip->host_flags && leaves_undefined_flags(&d->insn) && decode_offered(d) && select_native(d))
		return;
	if (decode_offered(d))
		for (size_t i = 0; i < ARRAY_SIZE(selections); i++) {
			d->last = d->closed = false;
			if (selections[i](d))
				return;
		}
	if (!d->no_memory)
		log_unknown(d);
	d->op->fn = op_undefined;
	d->last = true;
}
