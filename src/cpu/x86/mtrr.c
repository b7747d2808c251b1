/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory type range registers, SDM 3A 11.11: kept and checked; they change nothing, all our RAM is write-back. */
#include "cpu/x86/internal.h"

#define MTRR_VARIABLE 8u

/* Index into mtrr_fixed, or -1. */
static int fixed_index(uint32_t msr)
{
	if (msr == 0x250)
		return 0;
	if (msr == 0x258 || msr == 0x259)
		return (int)(msr - 0x258 + 1);
	if (msr >= 0x268 && msr <= 0x26f)
		return (int)(msr - 0x268 + 3);
	return -1;
}

static bool is_type(unsigned type)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

bool x86_mtrr_read(struct x86_cpu *cpu, uint32_t msr, uint64_t *value)
{
	int fixed = fixed_index(msr);

	if (!cpu->features->mtrr)
		return false;
	if (fixed >= 0)
		*value = cpu->s.mtrr_fixed[fixed];
	else if (msr == 0xfe)
		*value = 0x500 | MTRR_VARIABLE; /* fixed ranges, write combining */
	else if (msr == 0x2ff)
		*value = cpu->s.mtrr_def_type;
	else if (msr >= 0x200 && msr < 0x200 + 2 * MTRR_VARIABLE)
		*value = cpu->s.mtrr_var[msr - 0x200];
	else
		return false;
	return true;
}

bool x86_mtrr_write(struct x86_cpu *cpu, uint32_t msr, uint64_t value, bool *fault)
{
	uint64_t beyond = ~((1ull << cpu->features->phys_bits) - 1);
	int fixed = fixed_index(msr);

	if (!cpu->features->mtrr)
		return false;
	if (fixed >= 0) {
		for (unsigned i = 0; i < 8; i++)
			*fault |= !is_type(value >> (8 * i) & 0xff);
		if (!*fault)
			cpu->s.mtrr_fixed[fixed] = value;
	} else if (msr == 0x2ff) {
		*fault = value & ~0xcffull || !is_type(value & 0xff);
		if (!*fault)
			cpu->s.mtrr_def_type = value;
	} else if (msr >= 0x200 && msr < 0x200 + 2 * MTRR_VARIABLE) {
		if (msr & 1)
			*fault = value & (beyond | 0x7ff);
		else
			*fault = value & (beyond | 0xf00) || !is_type(value & 0xff);
		if (!*fault)
			cpu->s.mtrr_var[msr - 0x200] = value;
	} else if (msr == 0xfe) {
		*fault = true;
	} else {
		return false;
	}
	return true;
}
