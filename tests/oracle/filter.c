/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that the oracle leaves out, each for a reason: those whose effect at user level is the host kernel's
 * business (system calls, its segments and descriptor tables, UMIP emulation), those that cannot agree (time, random
 * numbers, CPU identity, the host's XSAVE layout), and those that would harm the test itself (FS is its thread pointer).
 */
#include "oracle.h"

#include <sys/types.h>

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

bool filter_refuses(const struct oracle_case *c)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;

	if (refused_mnemonic(instruction->mnemonic) || instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return true;
	/* AMD honours the operand size prefix of near branches in 64-bit mode, Intel does not. */
	if (instruction->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || instruction->meta.category == ZYDIS_CATEGORY_RET ||
	    instruction->meta.category == ZYDIS_CATEGORY_CALL)
		for (unsigned i = 0; i < instruction->raw.prefix_count; i++)
			if (instruction->raw.prefixes[i].value == 0x66)
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
