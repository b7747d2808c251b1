/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that the oracle leaves out, each for a reason: those whose effect at user level is the host kernel's
 * business (system calls, its segments and descriptor tables, UMIP emulation), those that cannot agree (time, random
 * numbers, CPU identity, the host's XSAVE layout), and those that would harm the test itself (FS is its thread
 * pointer).
 */
#include "oracle.h"

static bool refused_mnemonic(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_SYSEXIT:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_INT:
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_VMMCALL:
	/* The host's descriptor tables. */
	case ZYDIS_MNEMONIC_LAR:
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_LSS:
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
	/* UMIP. */
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_SMSW:
	/* Cannot agree. */
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_RSM:
		return true;
	default:
		return false;
	}
}

static bool has_prefix(const ZydisDecodedInstruction *instruction, uint8_t value)
{
	for (unsigned i = 0; i < instruction->raw.prefix_count; i++)
		if (instruction->raw.prefixes[i].value == value)
			return true;
	return false;
}

static bool refused_operand(const ZydisDecodedOperand *operand)
{
	if (operand->type == ZYDIS_OPERAND_TYPE_POINTER)
		return true;
	if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return operand->mem.segment == ZYDIS_REGISTER_FS;
	if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	return ZydisRegisterGetClass(operand->reg.value) == ZYDIS_REGCLASS_SEGMENT &&
	       operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

/* Where vendors differ from each other, and interp keeps to one of them. */
static bool vendor_specific(const struct oracle_case *c)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;

	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_LOOPE: /* AMD lets a repeat prefix choose the condition */
	case ZYDIS_MNEMONIC_LOOPNE:
		if (has_prefix(instruction, 0xf2) || has_prefix(instruction, 0xf3))
			return true;
		break;
	case ZYDIS_MNEMONIC_NOP: /* 0F 0D with a register: #UD with AMD */
		return instruction->opcode_map == ZYDIS_OPCODE_MAP_0F && instruction->opcode == 0x0d;
	case ZYDIS_MNEMONIC_UD0: /* AMD's have no ModRM byte to fetch */
	case ZYDIS_MNEMONIC_UD1:
		return true;
	case ZYDIS_MNEMONIC_MOVSXD: /* with 16 bits AMD's read 32 of memory, Intel's 16 */
		return c->operands[0].size == 16;
	case ZYDIS_MNEMONIC_PAUSE: /* REX.B makes it an exchange with R8 for AMD only */
		return instruction->attributes & ZYDIS_ATTRIB_HAS_REX && instruction->raw.rex.B;
	case ZYDIS_MNEMONIC_PUSH: /* Intel's write 16 bits of a wider slot */
		return c->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		       ZydisRegisterGetClass(c->operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
	case ZYDIS_MNEMONIC_VPEXTRD: /* W outside 64-bit mode: #UD with AMD, ignored by Intel */
	case ZYDIS_MNEMONIC_VPINSRD:
		return c->in.mode != 64 && instruction->raw.vex.W;
	case ZYDIS_MNEMONIC_KMOVD: /* the same: AMD's move 64 bits, be they there or not */
		return c->in.mode != 64 && instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && instruction->raw.vex.W &&
		       (instruction->opcode == 0x92 || instruction->opcode == 0x93);
	default:
		break;
	}
	/* AMD honours the operand size prefix of near branches in 64-bit mode, Intel does not. */
	return c->in.mode == 64 && has_prefix(instruction, 0x66) &&
	       (instruction->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
		instruction->meta.category == ZYDIS_CATEGORY_RET || instruction->meta.category == ZYDIS_CATEGORY_CALL);
}

static bool is_masked_move(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
	       mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
}

static bool is_memory_fault(unsigned vector)
{
	return vector >= 12 && vector <= 14;
}

/* With two accesses, or two reasons to fault, the order is the processor's. */
static bool has_two_accesses(const ZydisDecodedInstruction *instruction)
{
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_BOUND:
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		return true;
	default:
		return false;
	}
}

static bool is_vex_masked_move(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS || mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD ||
	       mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD || mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ;
}

static bool is_repeated(const ZydisDecodedInstruction *instruction)
{
	return instruction->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

/* What Intel's and AMD's do differently with operands that fault or are not there. */
static bool vendor_specific_operands(const struct oracle_case *c)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;
	bool faults = is_memory_fault(c->host.vector) || is_memory_fault(c->guest.vector);

	/* A count of zero: whether the upper half of RCX is cleared. The flags of a comparison before the one that faults. */
	if (instruction->meta.category == ZYDIS_CATEGORY_STRINGOP && is_repeated(instruction) &&
	    (faults || (c->in.mode == 64 && instruction->address_width == 32 && !(uint32_t)c->in.regs.gpr[1])))
		return true;
	/* Whether the tags and TOP change, and what is written, when the operand cannot be written. */
	if (faults && (instruction->meta.isa_ext == ZYDIS_ISA_EXT_MMX || instruction->meta.isa_ext == ZYDIS_ISA_EXT_X87 ||
	               instruction->mnemonic == ZYDIS_MNEMONIC_FISTTP || instruction->mnemonic == ZYDIS_MNEMONIC_MOVNTQ))
		return true;
	/* Whether MXCSR's flags come before the fault; what a call pushes before its target turns out not to be canonical. */
	if (faults && (instruction->mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH || instruction->meta.category == ZYDIS_CATEGORY_CALL))
		return true;
	/* Which of ENTER's many accesses comes first. */
	if (is_memory_fault(c->host.vector) && is_memory_fault(c->guest.vector) && instruction->mnemonic == ZYDIS_MNEMONIC_ENTER)
		return true;
	/* Whether both bounds are read before one is compared. */
	return faults && instruction->mnemonic == ZYDIS_MNEMONIC_BOUND;
}

static bool has_write_mask(const ZydisDecodedInstruction *instruction)
{
	return instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && instruction->raw.evex.aaa;
}

static bool is_segment_fault(unsigned vector)
{
	return vector == 12 || vector == 13;
}

bool filter_refuses_operands(const struct oracle_case *c)
{
	if (vendor_specific_operands(c))
		return true;
	if (has_two_accesses(&c->instruction) && is_memory_fault(c->host.vector) && is_memory_fault(c->guest.vector))
		return true;
	/* Segment checks of elements that the mask leaves out. */
	if ((is_vex_masked_move(c->instruction.mnemonic) || has_write_mask(&c->instruction)) && c->in.mode != 64 &&
	    (is_segment_fault(c->guest.vector) || is_segment_fault(c->host.vector)))
		return true;
	/* Whether bytes that the mask leaves out can fault is implementation-specific (SDM, MASKMOVDQU). */
	if (is_masked_move(c->instruction.mnemonic) && c->host.vector != 3)
		return true;
	/* What POPA has loaded before it faults. */
	if ((c->instruction.mnemonic == ZYDIS_MNEMONIC_POPA || c->instruction.mnemonic == ZYDIS_MNEMONIC_POPAD) &&
	    c->host.vector != 3 && c->host.vector == c->guest.vector)
		return true;
	/* A gather that faults leaves mask elements as they were (AMD) or widened to all ones (Intel). */
	if (c->instruction.meta.isa_set == ZYDIS_ISA_SET_AVX2GATHER && c->host.vector == 14 && c->guest.vector == 14)
		return true;
	return false;
}

bool filter_refuses_addresses(const struct oracle_case *c)
{
	/* AMD's SHA instructions take unaligned operands, Intel's do not. */
	if (c->instruction.meta.isa_ext == ZYDIS_ISA_EXT_SHA)
		for (unsigned i = 0; i < c->instruction.operand_count; i++)
			if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY && case_address(c, &c->operands[i]) & 15)
				return true;
	return false;
}

/* Which byte of an operand in several parts faults first is the processor's choice. */
bool filter_inexact_cr2(const struct oracle_case *c)
{
	switch (c->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
		return true;
	default:
		return false;
	}
}

bool filter_refuses(const struct oracle_case *c)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;

	if (refused_mnemonic(instruction->mnemonic) || vendor_specific(c) ||
	    instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return true;
	for (unsigned i = 0; i < instruction->operand_count; i++)
		if (refused_operand(&c->operands[i]))
			return true;
	return false;
}

uint64_t filter_undefined_flags(const struct oracle_case *c)
{
	return c->instruction.cpu_flags ? c->instruction.cpu_flags->undefined : 0;
}
