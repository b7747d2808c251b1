/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A local APIC for people: info lapic, in qemu's form. */
#include "device/pc/lapic_impl.h"

#include <stdio.h>

static const char *const modes[] = {"Fixed", "LowPri", "SMI", "...", "NMI", "INIT", "SIPI", "ExtINT"};

static void describe_lvt(FILE *to, const char *name, uint32_t lvt, bool timer)
{
	static const char *const timer_modes[] = {"one-shot", "periodic", "tsc-deadline", "?"};

	fprintf(to, "%s\t 0x%08x %s %-5s %-6s %-7s %-12s %-6s", name, lvt, lvt >> 13 & 1 ? "active-lo" : "active-hi",
		lvt >> 15 & 1 ? "level" : "edge", lvt & LVT_MASKED ? "masked" : "", lvt >> 12 & 1 ? "pending" : "",
		timer ? timer_modes[lvt >> 17 & 3] : "", modes[lvt >> 8 & 7]);
	if ((lvt >> 8 & 7) == DELIVER_NMI)
		fprintf(to, "\n");
	else
		fprintf(to, " (vec %u)\n", lvt & 0xff);
}

static void describe_bits(FILE *to, const char *name, const uint32_t bits[8], const uint32_t level[8])
{
	bool any = false;

	fprintf(to, "%s\t ", name);
	for (unsigned i = 0; i < 256; i++) {
		if (!(bits[i / 32] >> i % 32 & 1))
			continue;
		any = true;
		fprintf(to, "%u%s ", i, level[i / 32] >> i % 32 & 1 ? "(level)" : "");
	}
	fprintf(to, "%s\n", any ? "" : "(none)");
}

static void describe_icr(FILE *to, const struct lapic *apic)
{
	static const char *const shorthands[] = {"no-shorthand", "self", "all-self", "all"};
	uint32_t icr = apic->icr;

	fprintf(to, "ICR\t 0x%08x %s %s %s %s\n", icr, icr >> 11 & 1 ? "logical" : "physical",
		icr >> 15 & 1 ? "level" : "edge", icr >> 14 & 1 ? "assert" : "de-assert", shorthands[icr >> 18 & 3]);
	fprintf(to, "ICR2\t 0x%08x", apic->icr_high);
	if (!(icr >> 18 & 3) && !(icr >> 11 & 1))
		fprintf(to, " cpu %u (%s ID)", lapic_is_x2apic(apic) ? apic->icr_high : apic->icr_high >> 24,
			lapic_is_x2apic(apic) ? "X2APIC" : "APIC");
	fprintf(to, "\n");
}

void lapic_describe(struct lapic *apic, FILE *to)
{
	unsigned divide;

	pthread_mutex_lock(&apic->lock);
	divide = ((apic->timer_divide & 3) | (apic->timer_divide >> 1 & 4)) + 1;
	fprintf(to, "dumping local APIC state for CPU %-2u\n\n", apic->vcpu->index);
	describe_lvt(to, "LVT0", apic->lvt[LVT_LINT0], false);
	describe_lvt(to, "LVT1", apic->lvt[LVT_LINT1], false);
	describe_lvt(to, "LVTPC", apic->lvt[LVT_PERFORMANCE], false);
	describe_lvt(to, "LVTERR", apic->lvt[LVT_ERROR], false);
	describe_lvt(to, "LVTTHMR", apic->lvt[LVT_THERMAL], false);
	describe_lvt(to, "LVTT", apic->lvt[LVT_TIMER], true);
	fprintf(to, "Timer\t DCR=0x%x (divide by %u) initial_count = %u current_count = %u\n", apic->timer_divide,
		divide == 8 ? 1 : 1u << divide, apic->timer_initial, lapic_timer_current(apic));
	fprintf(to, "SPIV\t 0x%08x APIC %s, focus=%s, spurious vec %u\n", apic->svr,
		apic->svr & SVR_ENABLE ? "enabled" : "disabled", apic->svr >> 9 & 1 ? "on" : "off", apic->svr & 0xff);
	describe_icr(to, apic);
	fprintf(to, "ESR\t 0x%08x\n", apic->esr);
	describe_bits(to, "ISR", apic->isr, apic->tmr);
	describe_bits(to, "IRR", apic->irr, apic->tmr);
	fprintf(to, "\nAPR 0x00 TPR 0x%02x DFR 0x%02x LDR 0x%02x PPR 0x%02x\n", apic->tpr, apic->dfr >> 28,
		lapic_is_x2apic(apic) ? apic->ldr : apic->ldr >> 24, atomic_load(&apic->priority));
	pthread_mutex_unlock(&apic->lock);
}
