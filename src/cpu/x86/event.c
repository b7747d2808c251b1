/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens between two instructions: INIT, SIPI, NMI, external interrupts (SDM 3A 6.8, 6.9, 9.4), debug traps and
 * breakpoints (SDM 3B 17.2, 17.3).
 */
#include "cpu/x86/internal.h"

static bool interrupts_open(const struct x86_cpu *cpu)
{
	return cpu->s.rflags & X86_IF && !cpu->s.shadow_sti && !cpu->s.shadow_ss;
}

/* CR4.VME and CR4.PVI: an external interrupt is IF's business alone, so nothing more to look at. */
static bool interrupt_waiting(const struct x86_cpu *cpu)
{
	return cpu->vcpu.apic_ops && cpu->vcpu.apic_ops->has_interrupt(cpu->vcpu.apic);
}

bool x86_event_ready(struct x86_cpu *cpu)
{
	uint32_t events = atomic_load_explicit(&cpu->vcpu.events, memory_order_acquire);

	if (events & VCPU_INIT)
		return true;
	if (cpu->s.mp_state == X86_MP_WAIT_SIPI)
		return events & VCPU_SIPI;
	if (cpu->s.exception_pending)
		return true;
	if (events & VCPU_NMI || cpu->s.nmi_pending)
		if (!cpu->s.nmi_masked && !cpu->s.shadow_ss)
			return true;
	return events & VCPU_INTR && interrupts_open(cpu) && interrupt_waiting(cpu);
}

static void take_init(struct x86_cpu *cpu)
{
	bool bsp = cpu->s.apic_base & 0x100;

	vcpu_clear(&cpu->vcpu, VCPU_INIT | VCPU_NMI);
	if (cpu->vcpu.apic_ops && cpu->vcpu.apic_ops->init)
		cpu->vcpu.apic_ops->init(cpu->vcpu.apic);
	x86_cpu_reset(cpu, true);
	cpu->s.mp_state = bsp ? X86_MP_RUNNING : X86_MP_WAIT_SIPI;
}

static void take_sipi(struct x86_cpu *cpu)
{
	uint8_t vector = atomic_load_explicit(&cpu->vcpu.sipi_vector, memory_order_acquire);
	struct x86_segment *cs = &cpu->s.seg[X86_CS];

	cs->selector = (uint16_t)(vector << 8);
	cs->base = (uint64_t)vector << 12;
	cpu->s.rip = 0;
	cpu->s.mp_state = X86_MP_RUNNING;
	x86_mode_update(cpu);
}

bool x86_take_events(struct x86_cpu *cpu)
{
	uint32_t events = atomic_load_explicit(&cpu->vcpu.events, memory_order_acquire);

	if (events & VCPU_INIT) {
		take_init(cpu);
		/* a SIPI that was raised right behind it is taken now */
		events = atomic_load_explicit(&cpu->vcpu.events, memory_order_acquire);
		if (cpu->s.mp_state != X86_MP_WAIT_SIPI)
			return true;
	}
	if (events & VCPU_SIPI) {
		vcpu_clear(&cpu->vcpu, VCPU_SIPI);
		if (cpu->s.mp_state == X86_MP_WAIT_SIPI) {
			take_sipi(cpu);
			return true;
		}
	}
	if (cpu->s.mp_state == X86_MP_WAIT_SIPI)
		return false;
	if (cpu->s.exception_pending) {
		cpu->s.exception_pending = false;
		x86_deliver_pending(cpu);
		return true;
	}
	if (events & VCPU_NMI) {
		vcpu_clear(&cpu->vcpu, VCPU_NMI);
		cpu->s.nmi_pending = true;
	}
	if (cpu->s.nmi_pending && !cpu->s.nmi_masked && !cpu->s.shadow_ss) {
		cpu->s.nmi_pending = false;
		cpu->s.mp_state = X86_MP_RUNNING;
		x86_deliver_nmi(cpu);
		return true;
	}
	if (events & VCPU_INTR && !cpu->vcpu.apic_ops)
		vcpu_clear(&cpu->vcpu, VCPU_INTR);
	else if (events & VCPU_INTR && interrupts_open(cpu)) {
		int vector = cpu->vcpu.apic_ops->ack(cpu->vcpu.apic);

		if (vector >= 0) {
			cpu->s.mp_state = X86_MP_RUNNING;
			x86_deliver_interrupt(cpu, (uint8_t)vector);
			return true;
		}
	}
	return false;
}

/* --- debug --- */

void x86_debug_trap(struct x86_cpu *cpu, bool single_step)
{
	uint64_t bits = cpu->debug_pending | (single_step ? 1ull << 14 : 0);

	if (!bits)
		return;
	cpu->debug_pending = 0;
	cpu->fault_dr6 = bits;
	x86_raise(cpu, X86_DB);
}

/* The bytes that debug register i covers: LEN 00, 01, 11, 10 are 1, 2, 4, 8. */
static uint64_t watch_length(const struct x86_cpu *cpu, unsigned i)
{
	static const uint8_t lengths[] = {1, 2, 8, 4};

	return lengths[cpu->s.dr7 >> (18 + 4 * i) & 3];
}

/* Notes the enabled registers of the types in the mask (1 << R/W field) that overlap; others that match are reported
 * along with an enabled one, as the SDM has it (3B 17.2.3). */
static void note_hits(struct x86_cpu *cpu, uint64_t address, unsigned size, unsigned types)
{
	uint64_t hits = 0;
	bool enabled = false;

	for (unsigned i = 0; i < 4; i++) {
		unsigned type = cpu->s.dr7 >> (16 + 4 * i) & 3;
		uint64_t length = watch_length(cpu, i);
		uint64_t first = cpu->s.dr[i] & ~(length - 1);

		if (!(types >> type & 1) || address >= first + length || first >= address + size)
			continue;
		hits |= 1ull << i;
		enabled |= cpu->s.dr7 >> (2 * i) & 3;
	}
	if (enabled)
		cpu->debug_pending |= hits;
}

void x86_check_watchpoints(struct x86_cpu *cpu, uint64_t gva, unsigned size, bool write)
{
	if (cpu->breakpoints_armed)
		note_hits(cpu, gva, size, write ? 1 << 1 | 1 << 3 : 1 << 3);
}

/* --- the debugger beside the machine (core/debug.h) --- */

void x86_debug_set(struct x86_cpu *cpu, const struct debug_points *points)
{
	cpu->debug = points;
	x86_tlb_flush(cpu);
}

void x86_debug_access(struct x86_cpu *cpu, uint64_t gva, unsigned size, bool write, bool done)
{
	const struct debug_point *point = debug_watches(cpu->debug, gva, size, write);

	if (!point)
		return;
	if (done) {
		cpu->vcpu.debug_hit =
			(struct debug_hit){.why = DEBUG_WATCHPOINT, .kind = point->kind, .gva = point->gva};
	} else if (!cpu->debug_alone) {
		cpu->fault_vector = X86_DEBUG_REDO;
		longjmp(*cpu->fault_exit, 1);
	}
}

void x86_check_io_breakpoints(struct x86_cpu *cpu, uint16_t port, unsigned size)
{
	note_hits(cpu, port, size, 1 << 2);
}

void x86_check_breakpoint(struct x86_cpu *cpu)
{
	uint64_t gva = cpu->s.rip;
	uint64_t hits = 0;
	bool enabled = false;

	/* Behind MOV SS and POP SS as if RF were set (SDM 3A 6.8.3). */
	if (!cpu->breakpoints_armed || cpu->s.rflags & X86_RF || cpu->s.shadow_ss)
		return;
	if (cpu->code_mode != X86_CODE64)
		gva = (uint32_t)(gva + cpu->s.seg[X86_CS].base);
	for (unsigned i = 0; i < 4; i++) {
		if (cpu->s.dr7 >> (16 + 4 * i) & 3 || cpu->s.dr[i] != gva)
			continue;
		hits |= 1ull << i;
		enabled |= cpu->s.dr7 >> (2 * i) & 3;
	}
	if (!enabled)
		return;
	cpu->fault_dr6 = hits;
	x86_raise(cpu, X86_DB);
}
