/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hardware task switching, SDM 3A chapter 7. */
#include "cpu/x86/internal.h"

void x86_task_switch(struct x86_cpu *cpu, uint16_t selector, enum x86_task_source source, uint64_t next_rip)
{
	x86_raise_error(cpu, X86_TS, selector & ~3u);
}

void x86_task_gate(struct x86_cpu *cpu, uint64_t gate, enum x86_task_source source, uint64_t next_rip)
{
	x86_raise_error(cpu, X86_TS, gate >> 16 & 0xfffc);
}
