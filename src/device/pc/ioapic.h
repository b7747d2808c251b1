/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_IOAPIC_H
#define XUNI_DEVICE_PC_IOAPIC_H

#include "core/device.h"

#include <stdio.h>

struct ioapic;

extern const struct device_class ioapic_class;

enum { IOAPIC_PINS = 24 };
#define IOAPIC_BASE 0xfec00000ull

/* At IOAPIC_BASE; interrupts leave as messages to msi. ISA line 0 belongs on pin 2, line n on pin n. */
struct ioapic *ioapic_new(const struct device_env *env, struct msi_sink msi, struct error *err);

/* Pin 0..23, high is active whatever the polarity bit says (wires carry logic levels). Any thread. */
struct irq ioapic_pin(struct ioapic *ioapic, unsigned pin);

/* A processor ended the interrupt of a level-triggered vector. Any thread, no local APIC's lock held. */
void ioapic_eoi(void *ioapic, uint8_t vector);

/* How often each pin was raised, masked or not, since the machine was made. Any thread. */
void ioapic_count(struct ioapic *ioapic, uint64_t counts[IOAPIC_PINS]);

/* What info pic shows. Any thread. */
void ioapic_describe(struct ioapic *ioapic, FILE *to);

#endif
