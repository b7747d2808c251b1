/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decides whether a guest instruction can be run natively, which registers and state it needs, and which host registers
 * stand for the guest's. Left out (-ENOTSUP): everything that transfers control, touches the stack, system state or
 * segments, has an implicit or scattered memory operand (gathers, MASKMOVQ, VMASKMOV, FSAVE), or MXCSR as its operand.
 * Specification: SDM 2A 2.1-2.7 (encodings, exception classes), 1 8.1.8 (x87 pointers).
 */
#include "cpu/interp/native_impl.h"

#include "base/util.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11 };

static bool mnemonic_in(ZydisMnemonic mnemonic, const ZydisMnemonic *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == mnemonic)
			return true;
	return false;
}

static const ZydisMnemonic refused[] = {
	ZYDIS_MNEMONIC_LDMXCSR,    ZYDIS_MNEMONIC_STMXCSR,    ZYDIS_MNEMONIC_VLDMXCSR,    ZYDIS_MNEMONIC_VSTMXCSR,
	ZYDIS_MNEMONIC_MASKMOVQ,   ZYDIS_MNEMONIC_MASKMOVDQU, ZYDIS_MNEMONIC_VMASKMOVDQU, ZYDIS_MNEMONIC_VMASKMOVPS,
	ZYDIS_MNEMONIC_VMASKMOVPD, ZYDIS_MNEMONIC_VPMASKMOVD, ZYDIS_MNEMONIC_VPMASKMOVQ,  ZYDIS_MNEMONIC_FLDENV,
	ZYDIS_MNEMONIC_FNSTENV,    ZYDIS_MNEMONIC_FNSAVE,     ZYDIS_MNEMONIC_FRSTOR,      ZYDIS_MNEMONIC_CLFLUSH,
	ZYDIS_MNEMONIC_PAUSE,      ZYDIS_MNEMONIC_FEMMS,      ZYDIS_MNEMONIC_XLAT,
};

/* Vector operands in memory that a legacy encoding need not have aligned to 16 bytes. */
static const ZydisMnemonic unaligned_legacy[] = {
	ZYDIS_MNEMONIC_MOVUPS,    ZYDIS_MNEMONIC_MOVUPD,    ZYDIS_MNEMONIC_MOVDQU,    ZYDIS_MNEMONIC_LDDQU,
	ZYDIS_MNEMONIC_PCMPESTRI, ZYDIS_MNEMONIC_PCMPESTRM, ZYDIS_MNEMONIC_PCMPISTRI, ZYDIS_MNEMONIC_PCMPISTRM,
};

/* x87 instructions that go on with an exception pending. */
static const ZydisMnemonic not_waiting[] = {
	ZYDIS_MNEMONIC_FNCLEX,       ZYDIS_MNEMONIC_FNSTCW,        ZYDIS_MNEMONIC_FNSTSW,        ZYDIS_MNEMONIC_FNINIT,
	ZYDIS_MNEMONIC_FENI8087_NOP, ZYDIS_MNEMONIC_FDISI8087_NOP, ZYDIS_MNEMONIC_FSETPM287_NOP,
};

/* VEX and EVEX forms that must have it aligned. */
static const ZydisMnemonic aligned_vex[] = {
	ZYDIS_MNEMONIC_VMOVAPS,   ZYDIS_MNEMONIC_VMOVAPD,   ZYDIS_MNEMONIC_VMOVDQA,
	ZYDIS_MNEMONIC_VMOVDQA32, ZYDIS_MNEMONIC_VMOVDQA64, ZYDIS_MNEMONIC_VMOVNTPS,
	ZYDIS_MNEMONIC_VMOVNTPD,  ZYDIS_MNEMONIC_VMOVNTDQ,  ZYDIS_MNEMONIC_VMOVNTDQA,
};

static bool category_allowed(const ZydisDecodedInstruction *instruction)
{
	switch (instruction->meta.isa_ext) {
	case ZYDIS_ISA_EXT_BASE:
	case ZYDIS_ISA_EXT_LONGMODE:
		break;
	default:
		return true; /* the instruction-set table decides */
	}
	switch (instruction->meta.category) {
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
	default:
		return false;
	}
}

int native_gpr(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
	default:
		return -1;
	}
}

static int plan_register(struct native_plan *plan, struct native_code *out, const ZydisDecodedOperand *operand)
{
	const ZydisRegister reg = operand->reg.value;
	const bool written = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	const unsigned id = (unsigned)ZydisRegisterGetId(reg);
	const int gpr = native_gpr(reg);

	if (gpr >= 0) {
		plan->gpr_used |= 1u << gpr;
		plan->gpr_written |= written ? 1u << gpr : 0;
		return 0;
	}
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
		plan->vector_used |= 1u << id;
		plan->vector_written |= written ? 1u << id : 0;
		return 0;
	case ZYDIS_REGCLASS_MASK:
		if (operand->encoding == ZYDIS_OPERAND_ENCODING_MASK && id == 0)
			return 0;
		plan->opmask_used |= 1u << id;
		plan->opmask_written |= written ? 1u << id : 0;
		return 0;
	case ZYDIS_REGCLASS_X87:
		out->uses_x87 = true;
		return 0;
	case ZYDIS_REGCLASS_MMX:
		out->uses_mmx = true;
		return 0;
	case ZYDIS_REGCLASS_FLAGS:
		return 0;
	default:
		return reg >= ZYDIS_REGISTER_X87CONTROL && reg <= ZYDIS_REGISTER_X87TAG ? 0 : -ENOTSUP;
	}
}

static int plan_memory(struct native_plan *plan, struct native_code *out, const ZydisDecodedOperand *operand)
{
	if (plan->has_memory || operand->mem.type != ZYDIS_MEMOP_TYPE_MEM ||
	    operand->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM || operand->size < 8 || operand->size > 512)
		return -ENOTSUP;
	plan->has_memory = true;
	out->memory_bytes = operand->size / 8;
	out->memory_read = operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
	out->memory_written = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	return 0;
}

static int plan_operands(struct native_plan *plan, struct native_code *out, const ZydisDecodedInstruction *instruction,
			 const ZydisDecodedOperand *operands)
{
	for (unsigned i = 0; i < instruction->operand_count; i++) {
		int result = 0;

		switch (operands[i].type) {
		case ZYDIS_OPERAND_TYPE_REGISTER:
			result = plan_register(plan, out, &operands[i]);
			break;
		case ZYDIS_OPERAND_TYPE_MEMORY:
			result = plan_memory(plan, out, &operands[i]);
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			result = operands[i].imm.is_relative ? -ENOTSUP : 0;
			break;
		default:
			result = -ENOTSUP;
		}
		if (result)
			return result;
	}
	return 0;
}

static bool is_x87(const ZydisDecodedInstruction *instruction)
{
	return instruction->meta.isa_ext == ZYDIS_ISA_EXT_X87 || instruction->meta.isa_set == ZYDIS_ISA_SET_SSE3X87 ||
	       instruction->meta.isa_set == ZYDIS_ISA_SET_FCMOV;
}

/* SSE or AVX instructions on floating-point values, be they all in memory and general registers (CVTSS2SI). */
static bool uses_floats(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands)
{
	if (is_x87(instruction))
		return false;
	switch (instruction->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE3:
	case ZYDIS_EXCEPTION_CLASS_AVX2:
	case ZYDIS_EXCEPTION_CLASS_AVX3:
		return true;
	default:
		break;
	}
	for (unsigned i = 0; i < instruction->operand_count; i++) {
		if (operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER && operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		switch (operands[i].element_type) {
		case ZYDIS_ELEMENT_TYPE_FLOAT16:
		case ZYDIS_ELEMENT_TYPE_FLOAT32:
		case ZYDIS_ELEMENT_TYPE_FLOAT64:
			return true;
		default:
			break;
		}
	}
	return false;
}

/* Rounding, denormals and exceptions of MXCSR matter to arithmetic and conversions; a wrong "yes" only costs time. */
static bool needs_mxcsr(const ZydisDecodedInstruction *instruction)
{
	switch (instruction->meta.category) {
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_LOGICAL_FP:
	case ZYDIS_CATEGORY_BROADCAST:
	case ZYDIS_CATEGORY_BLEND:
		return false;
	default:
		return true;
	}
}

static void plan_flags(struct native_plan *plan, struct native_code *out, const ZydisDecodedInstruction *instruction)
{
	const ZydisAccessedFlags *flags = instruction->cpu_flags;

	if (!flags)
		return;
	/* Flags that an instruction leaves alone, or leaves undefined, must come back as they were: so whoever writes
	 * reads. */
	plan->flags_out = (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & X86_STATUS_FLAGS;
	plan->flags_in = plan->flags_out || (flags->tested & X86_STATUS_FLAGS);
	out->writes_flags = plan->flags_out;
	out->reads_flags = plan->flags_in;
}

static void plan_state(struct native_plan *plan, struct native_code *out, const ZydisDecodedInstruction *instruction,
		       const ZydisDecodedOperand *operands)
{
	const bool evex = instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	const bool vex = instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	const bool floats = uses_floats(instruction, operands);
	const bool vector = plan->vector_used || floats;

	out->uses_mmx |= instruction->meta.isa_ext == ZYDIS_ISA_EXT_MMX;
	out->uses_x87 |= is_x87(instruction);
	out->uses_avx512 = evex || plan->opmask_used;
	out->uses_avx = vex && vector;
	out->uses_sse = vector && !vex && !evex;
	plan->vector_bytes = evex ? 64 : vex ? 32 : 16;
	plan->dirties_uppers = plan->vector_used && (vex || evex);
	plan->x87 = out->uses_x87 || out->uses_mmx;
	plan->mxcsr = floats && needs_mxcsr(instruction);
	out->x87_waits = plan->x87 && !mnemonic_in(instruction->mnemonic, not_waiting, ARRAY_SIZE(not_waiting));
	plan->may_fault = plan->x87 || plan->mxcsr || instruction->mnemonic == ZYDIS_MNEMONIC_DIV ||
			  instruction->mnemonic == ZYDIS_MNEMONIC_IDIV;
	plan_flags(plan, out, instruction);
}

static void plan_alignment(struct native_plan *plan, struct native_code *out,
			   const ZydisDecodedInstruction *instruction)
{
	const bool legacy = instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;

	if (!plan->has_memory)
		return;
	if (instruction->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
		out->aligned = true;
	else if (legacy)
		out->aligned = out->uses_sse && out->memory_bytes == 16 &&
			       !mnemonic_in(instruction->mnemonic, unaligned_legacy, ARRAY_SIZE(unaligned_legacy));
	else
		out->aligned = mnemonic_in(instruction->mnemonic, aligned_vex, ARRAY_SIZE(aligned_vex));
	out->alignment = out->aligned ? out->memory_bytes : 0;
}

/* Of a form with a write mask: all of the operand is accessed whatever the mask says. The decoder's classes are the
 * manual's but for the mnemonics. */
static bool ignores_mask(const ZydisDecodedInstruction *instruction)
{
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_VCVTNE2PS2BF16:
	case ZYDIS_MNEMONIC_VDBPSADBW:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEQB:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB:
		return true;
	default:
		break;
	}
	switch (instruction->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_E1NF:
	case ZYDIS_EXCEPTION_CLASS_E2NF:
	case ZYDIS_EXCEPTION_CLASS_E3NF:
	case ZYDIS_EXCEPTION_CLASS_E4NF:
	case ZYDIS_EXCEPTION_CLASS_E5NF:
	case ZYDIS_EXCEPTION_CLASS_E6NF:
	case ZYDIS_EXCEPTION_CLASS_E9NF:
	case ZYDIS_EXCEPTION_CLASS_E10NF:
	case ZYDIS_EXCEPTION_CLASS_E11NF:
		return true;
	default:
		return false;
	}
}

/* How many elements the one or the few in memory become; 0: as many as there are. */
static unsigned broadcast_to(ZydisBroadcastMode mode)
{
	static const uint8_t count[ZYDIS_BROADCAST_MODE_MAX_VALUE + 1] = {
		[ZYDIS_BROADCAST_MODE_1_TO_2] = 2,   [ZYDIS_BROADCAST_MODE_1_TO_4] = 4,
		[ZYDIS_BROADCAST_MODE_1_TO_8] = 8,   [ZYDIS_BROADCAST_MODE_1_TO_16] = 16,
		[ZYDIS_BROADCAST_MODE_1_TO_32] = 32, [ZYDIS_BROADCAST_MODE_1_TO_64] = 64,
		[ZYDIS_BROADCAST_MODE_2_TO_4] = 4,   [ZYDIS_BROADCAST_MODE_2_TO_8] = 8,
		[ZYDIS_BROADCAST_MODE_2_TO_16] = 16, [ZYDIS_BROADCAST_MODE_4_TO_8] = 8,
		[ZYDIS_BROADCAST_MODE_4_TO_16] = 16, [ZYDIS_BROADCAST_MODE_8_TO_16] = 16,
	};

	return count[mode];
}

static void plan_mask(struct native_code *out, const ZydisDecodedInstruction *instruction,
		      const ZydisDecodedOperand *operands)
{
	const ZydisInstructionCategory category = instruction->meta.category;
	unsigned mask = 0, bits = 0;

	if (instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
		mask = instruction->raw.evex.aaa;
	if (!mask || !out->memory_bytes || (ignores_mask(instruction) && !out->memory_written))
		return;
	for (unsigned i = 0; i < instruction->operand_count; i++) {
		if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		bits = broadcast_to(instruction->avx.broadcast.mode);
		out->masked = (struct native_masked){
			.opmask = (uint8_t)mask,
			.bits = (uint8_t)(bits ? bits : operands[i].element_count),
			.element = (uint8_t)(operands[i].element_size / 8),
			.elements = (uint8_t)operands[i].element_count,
			.whole_faults = ignores_mask(instruction),
			.packed = category == ZYDIS_CATEGORY_COMPRESS || category == ZYDIS_CATEGORY_EXPAND,
		};
	}
}

uint64_t native_touched(const struct native_masked *masked, const struct x86_state *state)
{
	uint64_t mask = state->fpu.opmask[masked->opmask], touched = 0;
	unsigned count;

	if (masked->bits < 64)
		mask &= (1ull << masked->bits) - 1;
	if (masked->packed) {
		count = (unsigned)__builtin_popcountll(mask);
		return count == 64 ? ~0ull : (1ull << count) - 1;
	}
	if (masked->elements == masked->bits)
		return mask;
	for (; mask; mask >>= masked->elements)
		touched |= mask & ((1ull << masked->elements) - 1);
	return touched;
}

static int first_free(uint16_t taken, const uint8_t *candidates, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!(taken & 1u << candidates[i]))
			return candidates[i];
	return -1;
}

/* Guest registers keep their number where the C calling convention lets us clobber it; the others that an encoding
 * names are renamed. RBX as an implicit operand (CMPXCHG8B) is saved around. */
static int plan_registers(struct native_plan *plan, const ZydisDecodedInstruction *instruction,
			  const ZydisDecodedOperand *operands)
{
	static const uint8_t any[] = {RCX, RDX, RSI, RDI, R8, R9, R10, R11, RAX};
	static const uint8_t legacy_byte[] = {RCX, RDX, RAX};
	static const uint8_t for_state[] = {RDI, R8, R9, R10, R11};
	static const uint8_t for_memory[] = {RSI, R8, R9, R10, R11};
	uint16_t taken = 0;
	bool high_byte = false;
	int reg;

	for (unsigned i = 0; i < instruction->operand_count; i++) {
		int gpr = operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER ? native_gpr(operands[i].reg.value) : -1;

		if (gpr < 0)
			continue;
		high_byte |= native_is_high_byte(operands[i].reg.value);
		if (operands[i].encoding == ZYDIS_OPERAND_ENCODING_NONE) {
			if (gpr == RSP || (gpr > RBX && gpr != RSI && gpr != RDI))
				return -ENOTSUP;
			plan->saves_rbx |= gpr == RBX;
			taken |= 1u << gpr;
		}
	}
	taken |= plan->gpr_used & (1u << RAX | 1u << RCX | 1u << RDX | 1u << RSI | 1u << RDI | 0xfu << R8);
	for (unsigned gpr = 0; gpr < 16; gpr++) {
		if (!(plan->gpr_used & 1u << gpr))
			continue;
		reg = (int)gpr;
		if (!(taken & 1u << gpr))
			reg = high_byte ? first_free(taken, legacy_byte, ARRAY_SIZE(legacy_byte))
					: first_free(taken, any, ARRAY_SIZE(any));
		if (reg < 0)
			return -ENOTSUP;
		taken |= 1u << reg;
		plan->host_gpr[gpr] = (uint8_t)reg;
	}
	reg = plan->has_memory ? first_free(taken, for_memory, ARRAY_SIZE(for_memory)) : RSI;
	if (reg < 0 || (high_byte && plan->has_memory && reg != RSI))
		return -ENOTSUP;
	plan->memory_reg = (uint8_t)reg;
	taken |= plan->has_memory ? 1u << reg : 0;
	reg = first_free(taken, for_state, ARRAY_SIZE(for_state));
	if (reg < 0)
		return -ENOTSUP;
	plan->state_reg = (uint8_t)reg;
	return 0;
}

int native_plan(struct native_plan *plan, struct native_code *out, const ZydisDecodedInstruction *instruction,
		const ZydisDecodedOperand *operands, const bool *has)
{
	int result;

	memset(plan, 0, sizeof(*plan));
	memset(out, 0, sizeof(*out));
	if (!category_allowed(instruction) || mnemonic_in(instruction->mnemonic, refused, ARRAY_SIZE(refused)) ||
	    !has[instruction->meta.isa_set])
		return -ENOTSUP;
	result = plan_operands(plan, out, instruction, operands);
	if (result)
		return result;
	plan_state(plan, out, instruction, operands);
	/* Fences, prefetches and the like have no operands to work on; NOPs and hints are interp's. */
	if (!plan->gpr_used && !plan->vector_used && !plan->opmask_used && !plan->x87 && !plan->flags_out &&
	    !plan->has_memory)
		return -ENOTSUP;
	/* The bit string forms reach beyond their operand. */
	if (plan->has_memory && instruction->meta.category == ZYDIS_CATEGORY_BITBYTE &&
	    instruction->meta.isa_ext == ZYDIS_ISA_EXT_BASE && operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		return -ENOTSUP;
	plan_alignment(plan, out, instruction);
	plan_mask(out, instruction, operands);
	result = plan_registers(plan, instruction, operands);
	return result ? result : native_encode(plan, instruction, operands);
}
