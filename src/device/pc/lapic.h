/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local APICs for the software engines. The set is the system bus they share: it takes messages (MSI, IOAPIC, IPI), the
 * 8259's INT line and NMIs, and gives them to the APICs they are addressed to. Order at creation:
 *
 *   set = lapic_set_new(env);                                env->msi = lapic_set_msi(set);
 *   pic = i8259_new(env, lapic_set_extint(set), err);        lapic_set_pic(set, i8259_ack, pic);
 *   ioapic = ioapic_new(env, env->msi, err);                 lapic_set_eoi(set, ioapic_eoi, ioapic);
 *   for each vCPU: lapic_new(env, set, vcpu, &config, err)   fills in vcpu->apic_ops and vcpu->apic
 */
#ifndef XUNI_DEVICE_PC_LAPIC_H
#define XUNI_DEVICE_PC_LAPIC_H

#include "core/device.h"

#include <stdio.h>

struct lapic;
struct lapic_set;
struct vcpu;

extern const struct device_class lapic_class;

enum { LAPIC_TIMER_HZ = 1000000000 }; /* before its divider, as in KVM; for CPUID leaf 0x15 and 0x40000010 */

struct lapic_set *lapic_set_new(const struct device_env *env);
/* After all its APICs are destroyed. */
void lapic_set_free(struct lapic_set *set);
/* Both before guests run. ack is called without locks held, eoi too, for level-triggered vectors. */
void lapic_set_pic(struct lapic_set *set, int (*ack)(void *opaque), void *opaque);
void lapic_set_eoi(struct lapic_set *set, void (*eoi)(void *opaque, uint8_t vector), void *opaque);

struct msi_sink lapic_set_msi(struct lapic_set *set);
/* The wire from the 8259's INT to every LINT0. */
struct irq lapic_set_extint(struct lapic_set *set);
/* The machine's NMI button: LINT1 of every APIC. Any thread. */
void lapic_set_nmi(struct lapic_set *set);

struct lapic_config {
	unsigned phys_bits; /* for the reserved bits of IA32_APIC_BASE */
	bool x2apic;        /* CPUID offers it */
	bool tsc_deadline;
};

/* The vCPU exists and does not run yet. vCPU 0 is the bootstrap processor. Up to LAPIC_MAX. */
enum { LAPIC_MAX = 256 };
struct lapic *lapic_new(const struct device_env *env, struct lapic_set *set, struct vcpu *vcpu,
			const struct lapic_config *config, struct error *err);

/* What firmware leaves behind on every processor (MP specification 3.6.2.2, virtual wire): enabled, LINT0 ExtINT on the
 * bootstrap processor, LINT1 NMI. For direct kernel boot, after reset. */
void lapic_virtual_wire(struct lapic *apic);

/* What info lapic shows. Any thread. */
void lapic_describe(struct lapic *apic, FILE *to);

#endif
