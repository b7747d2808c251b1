/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RFLAGS: which bits an instruction may change, by mode, CPL and IOPL. SDM 2B POPF, 3A 2.3, 20.3 (VIF and VIP). */
#include "cpu/x86/internal.h"

void x86_rflags_replace(struct x86_cpu *cpu, uint64_t value, uint64_t mask)
{
	x86_flags_sync(cpu);
	cpu->s.rflags = (((cpu->s.rflags & ~mask) | (value & mask)) & X86_RFLAGS_DEFINED) | 2;
	if (mask & X86_AC)
		x86_choose_view(cpu);
}

void x86_set_ac(struct x86_cpu *cpu, bool ac)
{
	cpu->s.rflags = (cpu->s.rflags & ~(uint64_t)X86_AC) | (ac ? X86_AC : 0);
	x86_choose_view(cpu);
}

void x86_set_rflags(struct x86_cpu *cpu, uint64_t value, unsigned operand_size)
{
	uint64_t mask = X86_STATUS_FLAGS | X86_TF | X86_DF | X86_NT;

	x86_flags_sync(cpu);
	if (operand_size > 2)
		mask |= X86_AC | X86_ID;
	if (cpu->vm86 && x86_iopl(cpu) < 3) {
		if (!(cpu->s.cr4 & X86_CR4_VME) || operand_size != 2)
			x86_raise_error(cpu, X86_GP, 0);
		if (value & X86_TF || (value & X86_IF && cpu->s.rflags & X86_VIP))
			x86_raise_error(cpu, X86_GP, 0);
		value = (value & ~(uint64_t)X86_VIF) | (value & X86_IF ? X86_VIF : 0);
		mask |= X86_VIF;
	} else if (cpu->vm86) {
		mask |= X86_IF;
	} else {
		if (!cpu->protected_mode || cpu->cpl <= x86_iopl(cpu))
			mask |= X86_IF;
		if (cpu->cpl == 0)
			mask |= X86_IOPL;
	}
	cpu->s.rflags &= ~(uint64_t)X86_RF;
	x86_rflags_replace(cpu, value, mask);
}
