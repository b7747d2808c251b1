/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control and debug registers, XCR0, EFER: the checks and the side effects of a write. SDM
 * 3A 2.5, 2.6, 4.1.2, 4.10.4.1; 3B 17.2. All of them check CPL themselves.
 */
#include "cpu/x86/internal.h"

_Noreturn static void gp(struct x86_cpu *cpu)
{
	x86_raise_error(cpu, X86_GP, 0);
}

static void need_cpl0(struct x86_cpu *cpu)
{
	if (cpu->cpl != 0)
		gp(cpu);
}

/* --- CR0, CR3, CR4, CR8 --- */

#define CR0_DEFINED                                                                                                    \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM |       \
	 X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)

static void set_cr0(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t old = cpu->s.cr0;
	uint64_t changed;

	if (value >> 32)
		gp(cpu);
	value = (value & CR0_DEFINED) | X86_CR0_ET;
	changed = old ^ value;
	if ((value & X86_CR0_PG && !(value & X86_CR0_PE)) || (value & X86_CR0_NW && !(value & X86_CR0_CD)))
		gp(cpu);
	if (changed & X86_CR0_PG) {
		if (value & X86_CR0_PG) {
			if (cpu->s.efer & X86_EFER_LME) {
				if (!(cpu->s.cr4 & X86_CR4_PAE) || cpu->s.seg[X86_CS].attr & X86_SEG_L)
					gp(cpu);
			}
		} else if (cpu->code_mode == X86_CODE64 || cpu->s.cr4 & X86_CR4_PCIDE) {
			gp(cpu);
		}
	}
	if (changed & (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW) && !(cpu->s.efer & X86_EFER_LME) &&
	    !x86_load_pdptes(cpu, value, cpu->s.cr3, cpu->s.cr4))
		gp(cpu);
	if (changed & X86_CR0_PG) {
		if (value & X86_CR0_PG && cpu->s.efer & X86_EFER_LME)
			cpu->s.efer |= X86_EFER_LMA;
		else
			cpu->s.efer &= ~X86_EFER_LMA;
	}
	cpu->s.cr0 = value;
	if (changed & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE))
		x86_tlb_flush(cpu);
	x86_mode_update(cpu);
}

static void set_cr3(struct x86_cpu *cpu, uint64_t value)
{
	bool no_flush = false;

	if (cpu->s.efer & X86_EFER_LMA) {
		if (cpu->s.cr4 & X86_CR4_PCIDE) {
			no_flush = value >> 63;
			value &= ~(1ull << 63);
		}
		if (value & ~((1ull << cpu->features->phys_bits) - 1))
			gp(cpu);
	} else {
		value = cpu->code_mode == X86_CODE64 ? value : (uint32_t)value;
		if (!x86_load_pdptes(cpu, cpu->s.cr0, value, cpu->s.cr4))
			gp(cpu);
	}
	if (no_flush && value == cpu->s.cr3)
		return;
	if (cpu->s.cr4 & X86_CR4_PCIDE) {
		x86_tlb_switch(cpu, cpu->s.cr3 & 0xfff, value & 0xfff, no_flush);
		cpu->s.cr3 = value;
		x86_tlb_tell_entered(cpu);
		return;
	}
	cpu->s.cr3 = value;
	if (cpu->s.cr4 & X86_CR4_PGE)
		x86_tlb_flush_local(cpu);
	else
		x86_tlb_flush(cpu);
	x86_tlb_tell_entered(cpu);
}

static void set_cr4(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->s.cr4 ^ value;
	bool long_mode = cpu->s.efer & X86_EFER_LMA;

	if (value & cpu->features->cr4_reserved || value >> 32)
		gp(cpu);
	if (long_mode && (!(value & X86_CR4_PAE) || changed & X86_CR4_LA57))
		gp(cpu);
	if (changed & value & X86_CR4_PCIDE && (!long_mode || cpu->s.cr3 & 0xfff))
		gp(cpu);
	if (changed & (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP) &&
	    !x86_load_pdptes(cpu, cpu->s.cr0, cpu->s.cr3, value))
		gp(cpu);
	cpu->s.cr4 = value;
	if (changed & (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE |
		       X86_CR4_PCIDE | X86_CR4_LA57))
		x86_tlb_flush(cpu);
	x86_mode_update(cpu);
}

static void set_cr8(struct x86_cpu *cpu, uint64_t value)
{
	if (value & ~0xfull)
		gp(cpu);
	cpu->s.cr8 = value;
	if (cpu->vcpu.apic_ops)
		cpu->vcpu.apic_ops->set_tpr(cpu->vcpu.apic, (uint8_t)value);
}

void x86_set_cr(struct x86_cpu *cpu, unsigned n, uint64_t value)
{
	need_cpl0(cpu);
	switch (n) {
	case 0:
		set_cr0(cpu, value);
		break;
	case 2:
		cpu->s.cr2 = value;
		break;
	case 3:
		set_cr3(cpu, value);
		break;
	case 4:
		set_cr4(cpu, value);
		break;
	case 8:
		set_cr8(cpu, value);
		break;
	default:
		x86_raise(cpu, X86_UD);
	}
}

uint64_t x86_get_cr(struct x86_cpu *cpu, unsigned n)
{
	need_cpl0(cpu);
	switch (n) {
	case 0:
		return cpu->s.cr0;
	case 2:
		return cpu->s.cr2;
	case 3:
		return cpu->s.cr3;
	case 4:
		return cpu->s.cr4;
	case 8:
		return cpu->vcpu.apic_ops ? cpu->vcpu.apic_ops->get_tpr(cpu->vcpu.apic) : cpu->s.cr8;
	default:
		x86_raise(cpu, X86_UD);
	}
}

void x86_lmsw(struct x86_cpu *cpu, uint16_t value)
{
	uint64_t low = value & 0xf;

	need_cpl0(cpu);
	low |= cpu->s.cr0 & X86_CR0_PE; /* LMSW cannot leave protected mode */
	set_cr0(cpu, (cpu->s.cr0 & ~0xfull) | low);
}

/* --- debug registers --- */

static unsigned debug_register(struct x86_cpu *cpu, unsigned n)
{
	if (n == 4 || n == 5) {
		if (cpu->s.cr4 & X86_CR4_DE)
			x86_raise(cpu, X86_UD);
		n += 2;
	}
	if (n > 7)
		x86_raise(cpu, X86_UD);
	need_cpl0(cpu);
	if (cpu->s.dr7 & 1 << 13) { /* GD: general detect */
		cpu->fault_dr6 = 1 << 13;
		x86_raise(cpu, X86_DB);
	}
	return n;
}

void x86_set_dr(struct x86_cpu *cpu, unsigned n, uint64_t value)
{
	n = debug_register(cpu, n);
	if (n >= 6 && value >> 32)
		gp(cpu);
	if (n < 4)
		cpu->s.dr[n] = value;
	else if (n == 6)
		cpu->s.dr6 = (value & 0xe00f) | 0xffff0ff0;
	else
		cpu->s.dr7 = (value & 0xffff23ff) | 0x400;
	/* Pages under watch have no data tags: the set of them may have changed. */
	if (n != 6 && (cpu->s.dr7 & 0xff || cpu->breakpoints_armed))
		x86_tlb_flush(cpu);
	x86_mode_update(cpu);
}

uint64_t x86_get_dr(struct x86_cpu *cpu, unsigned n)
{
	n = debug_register(cpu, n);
	return n < 4 ? cpu->s.dr[n] : n == 6 ? cpu->s.dr6 : cpu->s.dr7;
}

/* --- XCR0, PKRU, INVPCID --- */

void x86_xsetbv(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	const uint64_t avx512 = 7ull << 5, bounds = 3ull << 3, tiles = 3ull << 17;

	if (!(cpu->s.cr4 & X86_CR4_OSXSAVE))
		x86_raise(cpu, X86_UD);
	need_cpl0(cpu);
	if (index != 0 || !(value & 1) || value & ~cpu->features->xcr0_supported)
		gp(cpu);
	if (value & 4 && !(value & 2))
		gp(cpu);
	if (value & avx512 && ((value & avx512) != avx512 || !(value & 4)))
		gp(cpu);
	if ((value & bounds && (value & bounds) != bounds) || (value & tiles && (value & tiles) != tiles))
		gp(cpu);
	cpu->s.xcr0 = value;
}

void x86_set_pkru(struct x86_cpu *cpu, uint32_t pkru)
{
	if (cpu->s.pkru == pkru)
		return;
	cpu->s.pkru = pkru;
	if (cpu->s.cr4 & X86_CR4_PKE)
		x86_tlb_flush(cpu);
}

void x86_invpcid(struct x86_cpu *cpu, uint64_t type, uint64_t pcid, uint64_t gva)
{
	uint64_t current = cpu->s.cr4 & X86_CR4_PCIDE ? cpu->s.cr3 & 0xfff : 0;

	need_cpl0(cpu);
	if (type > 3 || (type < 2 && pcid >> 12) || (pcid & 0xfff && !(cpu->s.cr4 & X86_CR4_PCIDE) && type < 2))
		gp(cpu);
	switch (type) {
	case 0:
		if (!x86_canonical(cpu, gva))
			gp(cpu);
		if (pcid == current)
			x86_tlb_flush_page(cpu, gva);
		else
			x86_tlb_forget_space(cpu, (unsigned)pcid);
		break;
	case 1:
		if (pcid == current)
			x86_tlb_flush_local(cpu);
		else
			x86_tlb_forget_space(cpu, (unsigned)pcid);
		break;
	case 2:
		x86_tlb_flush(cpu);
		break;
	default:
		x86_tlb_flush_local(cpu);
		x86_tlb_forget_spaces(cpu);
		break;
	}
}

/* --- I/O permission, SDM 1 18.5 --- */

static void check_io_permission(struct x86_cpu *cpu, uint16_t port, unsigned size)
{
	const struct x86_segment *tr = &cpu->s.tr;
	uint32_t map, bits;

	if (!(cpu->s.cr0 & X86_CR0_PE) || (!cpu->vm86 && cpu->cpl <= x86_iopl(cpu)))
		return;
	if (!(tr->attr & 8) || tr->attr & X86_SEG_UNUSABLE || tr->limit < 0x67)
		gp(cpu);
	map = x86_system_read16(cpu, tr->base + 0x66) + port / 8u;
	if (map + 1 > tr->limit)
		gp(cpu);
	bits = x86_system_read16(cpu, tr->base + map) >> (port & 7);
	if (bits & ((1u << size) - 1))
		gp(cpu);
}

void x86_check_io(struct x86_cpu *cpu, uint16_t port, unsigned size)
{
	check_io_permission(cpu, port, size);
	if (__builtin_expect(cpu->breakpoints_armed && cpu->s.cr4 & X86_CR4_DE, 0))
		x86_check_io_breakpoints(cpu, port, size);
}
