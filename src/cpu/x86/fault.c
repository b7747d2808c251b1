/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A fault on its way to its handler: promotion to a double fault (SDM 3A table 6-5), shutdown on the third, and the
 * report of that: what was being delivered, the page walks, the last deliveries.
 */
#include "cpu/x86/internal.h"

#include <stdio.h>

enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum fault_class class_of(uint8_t vector)
{
	switch (vector) {
	case X86_DE:
	case X86_TS:
	case X86_NP:
	case X86_SSF:
	case X86_GP:
		return CONTRIBUTORY;
	case X86_PFV:
		return PAGE_FAULT;
	case X86_DFV:
		return DOUBLE_FAULT;
	default:
		return BENIGN;
	}
}

/* "#PF(0x2)". */
static int name_fault(char *text, size_t size, uint8_t vector, bool has_error, uint32_t error)
{
	static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", NULL, "#TS",
					    "#NP", "#SS", "#GP", "#PF", NULL,  "#MF", "#AC", "#MC", "#XM"};
	const char *name = vector < sizeof(names) / sizeof(names[0]) ? names[vector] : NULL;
	int length = name ? snprintf(text, size, "%s", name) : snprintf(text, size, "vector %#x", vector);

	return has_error ? length + snprintf(text + length, size - (size_t)length, "(%#x)", error) : length;
}

/* From the fault that began it, in a line that says what comes of it. */
static void report_chain(struct x86_cpu *cpu)
{
	const struct x86_fault_log *fault_log = cpu->fault_log;
	unsigned links = cpu->delivery->chain_length ? cpu->delivery->chain_length - 1 : 0;
	char text[512];
	int length = 0;

	links = links < 3 ? links : 3;
	for (unsigned i = links; i; i--) {
		const struct x86_fault_record *entry = &fault_log->record[(fault_log->next - i) % X86_FAULT_LOG_ENTRIES];

		length += name_fault(text + length, 32, entry->vector, entry->has_error, entry->error);
		if (entry->vector == X86_PFV)
			length += snprintf(text + length, 32, " cr2 %#llx", (unsigned long long)entry->cr2);
		if (i == links)
			length += snprintf(text + length, 64, " at %#x:%#llx", entry->cs, (unsigned long long)entry->rip);
		length += snprintf(text + length, 8, " -> ");
	}
	name_fault(text + length, 32, cpu->fault_vector, cpu->fault_has_error, cpu->fault_error);
	log_warn(cpu->vcpu.engine->env.log,
		 "cpu%u: %s: no handler could be entered, so the CPU shuts down and the machine is reset; -no-reboot ends it "
		 "instead, -d cpu_reset says more",
		 cpu->vcpu.index, text);
}

static void report_triple_fault(struct x86_cpu *cpu)
{
	struct log *log = cpu->vcpu.engine->env.log;
	const struct x86_delivery *delivery = cpu->delivery;
	const struct x86_fault_log *fault_log = cpu->fault_log;
	const struct x86_state *s = &cpu->s;
	char text[512];

	log_warn(log,
		 "cpu%u: triple fault: vector %#x error %#x while delivering vector %#x, at %#x:%#llx (cpl %u, rsp "
		 "%#llx, cr2 %#llx)",
		 cpu->vcpu.index, cpu->fault_vector, cpu->fault_has_error ? cpu->fault_error : 0, delivery->vector,
		 s->seg[X86_CS].selector, (unsigned long long)s->rip, cpu->cpl, (unsigned long long)s->gpr[X86_RSP],
		 (unsigned long long)s->cr2);
	report_chain(cpu);
	if (!log_on(log, LOG_CPU_RESET))
		return;
	log_write(log, "cpu%u: cr0 %#llx cr3 %#llx cr4 %#llx efer %#llx idt %#llx+%#x gdt %#llx+%#x tr %#x %#llx+%#x",
		  cpu->vcpu.index, (unsigned long long)s->cr0, (unsigned long long)s->cr3, (unsigned long long)s->cr4,
		  (unsigned long long)s->efer, (unsigned long long)s->idtr.base, s->idtr.limit,
		  (unsigned long long)s->gdtr.base, s->gdtr.limit, s->tr.selector, (unsigned long long)s->tr.base,
		  s->tr.limit);
	x86_page_walk_text(cpu, s->cr2, text, sizeof(text));
	log_write(log, "cpu%u: walk of cr2: %s", cpu->vcpu.index, text);
	x86_page_walk_text(cpu, s->rip, text, sizeof(text));
	log_write(log, "cpu%u: walk of rip: %s", cpu->vcpu.index, text);
	x86_page_walk_text(cpu, s->idtr.base + delivery->vector * (cpu->long_mode ? 16u : 8u), text, sizeof(text));
	log_write(log, "cpu%u: walk of the last gate: %s", cpu->vcpu.index, text);
	for (unsigned i = 0; i < X86_FAULT_LOG_ENTRIES; i++) {
		const struct x86_fault_record *entry =
			&fault_log->record[(fault_log->next + i) % X86_FAULT_LOG_ENTRIES];

		if (entry->kind != X86_DELIVER_NONE)
			log_write(log,
				  "cpu%u: delivery: vector %#x kind %u error %#x cpl %u at %#x:%#llx rsp %#x:%#llx cr2 "
				  "%#llx after %llu instructions",
				  cpu->vcpu.index, entry->vector, entry->kind, entry->error, entry->cpl, entry->cs,
				  (unsigned long long)entry->rip, entry->ss, (unsigned long long)entry->rsp,
				  (unsigned long long)entry->cr2, (unsigned long long)entry->instructions);
	}
}

/* Decides what a fault during a delivery becomes; false: shutdown. */
static bool promote(struct x86_cpu *cpu)
{
	struct x86_delivery *delivery = cpu->delivery;
	enum fault_class first, second = class_of(cpu->fault_vector);

	if (delivery->kind != X86_DELIVER_EXCEPTION)
		return true; /* interrupts and INT n are benign */
	first = class_of(delivery->vector);
	if (first == DOUBLE_FAULT && second != BENIGN)
		return false;
	if ((first == CONTRIBUTORY && second == CONTRIBUTORY) ||
	    (first == PAGE_FAULT && (second == CONTRIBUTORY || second == PAGE_FAULT))) {
		cpu->fault_vector = X86_DFV;
		cpu->fault_has_error = true;
		cpu->fault_error = 0;
	}
	return true;
}

/* One try; false: shutdown. */
static bool deliver_recorded(struct x86_cpu *cpu)
{
	if (++cpu->delivery->chain_length > 16 || !promote(cpu)) {
		report_triple_fault(cpu);
		cpu->delivery->kind = X86_DELIVER_NONE;
		cpu->delivery->chain_length = 0;
		return false;
	}
	if (cpu->fault_vector == X86_DB) {
		cpu->s.dr6 = (cpu->s.dr6 & ~0xfull) | cpu->fault_dr6;
		cpu->s.dr7 &= ~0x2000ull; /* GD */
		cpu->fault_dr6 = 0;
	}
	cpu->debug_pending = 0;
	x86_deliver(cpu, cpu->fault_vector, X86_DELIVER_EXCEPTION, cpu->fault_has_error && cpu->s.cr0 & X86_CR0_PE,
		    cpu->fault_error, cpu->s.rip);
	return true;
}

bool x86_deliver_fault(struct x86_cpu *cpu)
{
	jmp_buf own_exit, *engine_exit = cpu->fault_exit;
	bool alive;

	cpu->fault_exit = &own_exit;
	/* A fault of the delivery itself comes back here; the first event may also have been an interrupt's. Bounded:
	 * every way round climbs towards #DF, except benign ones, which chain_length counts. */
	(void)setjmp(own_exit);
	alive = deliver_recorded(cpu);
	cpu->fault_exit = engine_exit;
	return alive;
}
