/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT: SDM 2B, AMD APM 3. The descriptors are not read: CS and SS become flat.
 * Vendors differ: SYSCALL outside 64-bit mode exists on AMD only; SYSRET to a non-canonical RIP is #GP in the kernel
 * on Intel and later on AMD; SYSENTER in long mode exists on Intel only.
 */
#include "cpu/x86/internal.h"

enum {
	FLAT_CODE = 0xb | X86_SEG_S | X86_SEG_P | X86_SEG_G,
	FLAT_DATA = 0x3 | X86_SEG_S | X86_SEG_P | X86_SEG_DB | X86_SEG_G
};

static void set_flat(struct x86_cpu *cpu, uint16_t cs, uint16_t ss, unsigned cpl, uint32_t size_bit)
{
	cpu->s.seg[X86_CS] = (struct x86_segment){
		.selector = cs, .limit = 0xffffffff, .attr = FLAT_CODE | size_bit | cpl << X86_SEG_DPL_SHIFT};
	cpu->s.seg[X86_SS] =
		(struct x86_segment){.selector = ss, .limit = 0xffffffff, .attr = FLAT_DATA | cpl << X86_SEG_DPL_SHIFT};
}

void x86_syscall(struct x86_cpu *cpu, uint64_t next_rip)
{
	uint16_t selector = (cpu->s.star >> 32 & 0xfffc);

	if (!(cpu->s.efer & X86_EFER_SCE) || !cpu->protected_mode || !cpu->features->syscall)
		x86_raise(cpu, X86_UD);
	if (cpu->code_mode != X86_CODE64 && !x86_is_amd(cpu))
		x86_raise(cpu, X86_UD);
	x86_flags_sync(cpu);
	cpu->s.gpr[X86_RCX] = cpu->code_mode == X86_CODE64 ? next_rip : (uint32_t)next_rip;
	if (cpu->long_mode) {
		cpu->s.gpr[11] = (cpu->s.rflags & X86_RFLAGS_DEFINED & ~(uint64_t)X86_RF) | 2;
		cpu->s.rip = cpu->code_mode == X86_CODE64 ? cpu->s.lstar : cpu->s.cstar;
		set_flat(cpu, selector, selector + 8, 0, X86_SEG_L);
		x86_rflags_replace(cpu, 0, (cpu->s.sfmask & X86_RFLAGS_DEFINED) | X86_RF);
	} else {
		cpu->s.rip = (uint32_t)cpu->s.star;
		set_flat(cpu, selector, selector + 8, 0, X86_SEG_DB);
		x86_rflags_replace(cpu, 0, X86_IF | X86_RF | X86_VM);
	}
	x86_mode_update(cpu);
}

void x86_sysret(struct x86_cpu *cpu, unsigned operand_size)
{
	uint16_t base = cpu->s.star >> 48;
	uint64_t rip = cpu->s.gpr[X86_RCX];

	if (!(cpu->s.efer & X86_EFER_SCE) || !cpu->protected_mode || !cpu->features->syscall)
		x86_raise(cpu, X86_UD);
	if (cpu->code_mode != X86_CODE64 && !x86_is_amd(cpu))
		x86_raise(cpu, X86_UD);
	if (cpu->cpl != 0)
		x86_raise_error(cpu, X86_GP, 0);
	if (operand_size == 8 && !x86_canonical(cpu, rip) && !x86_is_amd(cpu))
		x86_raise_error(cpu, X86_GP, 0);
	if (cpu->long_mode)
		x86_rflags_replace(cpu, cpu->s.gpr[11], X86_RFLAGS_DEFINED & ~(uint64_t)(X86_RF | X86_VM));
	else
		x86_rflags_replace(cpu, X86_IF, X86_IF);
	if (operand_size == 8) {
		cpu->s.rip = rip; /* a non-canonical one (AMD) faults at the fetch, at CPL 3 */
		set_flat(cpu, (base + 16) | 3, (base + 8) | 3, 3, X86_SEG_L);
	} else {
		cpu->s.rip = (uint32_t)rip;
		set_flat(cpu, base | 3, (base + 8) | 3, 3, X86_SEG_DB);
	}
	x86_mode_update(cpu);
}

void x86_sysenter(struct x86_cpu *cpu)
{
	uint16_t selector = cpu->s.sysenter_cs & 0xfffc;

	if (cpu->long_mode && x86_is_amd(cpu))
		x86_raise(cpu, X86_UD);
	if (!(cpu->s.cr0 & X86_CR0_PE) || !selector)
		x86_raise_error(cpu, X86_GP, 0);
	x86_flags_sync(cpu);
	x86_rflags_replace(cpu, 0, X86_VM | X86_IF | X86_RF);
	set_flat(cpu, selector, selector + 8, 0, cpu->long_mode ? X86_SEG_L : X86_SEG_DB);
	cpu->s.rip = cpu->long_mode ? cpu->s.sysenter_eip : (uint32_t)cpu->s.sysenter_eip;
	cpu->s.gpr[X86_RSP] = cpu->long_mode ? cpu->s.sysenter_esp : (uint32_t)cpu->s.sysenter_esp;
	x86_mode_update(cpu);
}

void x86_sysexit(struct x86_cpu *cpu, unsigned operand_size)
{
	uint16_t selector = cpu->s.sysenter_cs & 0xfffc;
	uint64_t rip = cpu->s.gpr[X86_RDX], rsp = cpu->s.gpr[X86_RCX];

	if (cpu->long_mode && x86_is_amd(cpu))
		x86_raise(cpu, X86_UD);
	if (!cpu->protected_mode || !selector || cpu->cpl != 0)
		x86_raise_error(cpu, X86_GP, 0);
	if (operand_size == 8) {
		if (!x86_canonical(cpu, rip) || !x86_canonical(cpu, rsp))
			x86_raise_error(cpu, X86_GP, 0);
		set_flat(cpu, (selector + 32) | 3, (selector + 40) | 3, 3, X86_SEG_L);
	} else {
		rip = (uint32_t)rip;
		rsp = (uint32_t)rsp;
		set_flat(cpu, (selector + 16) | 3, (selector + 24) | 3, 3, X86_SEG_DB);
	}
	cpu->s.rip = rip;
	cpu->s.gpr[X86_RSP] = rsp;
	x86_mode_update(cpu);
}
