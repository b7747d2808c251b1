/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_HPET_H
#define XUNI_DEVICE_PC_HPET_H

#include "core/device.h"

struct hpet;

extern const struct device_class hpet_class;

#define HPET_BASE 0xfed00000ull
/* The event timer block id of the ACPI HPET table: register 0's low half. */
#define HPET_BLOCK_ID 0x8086a201u

/* At HPET_BASE, 100 MHz, three timers. wires: the IOAPIC pins timers can be routed to (pins without a `set` cannot be
 * chosen); legacy: where IRQ0 and IRQ8 go, env->isa_irq[0] and [8]. */
struct hpet *hpet_new(const struct device_env *env, const struct irq wires[24], const struct irq legacy[2],
		      struct error *err);

/* The inputs for the 8254's output (0) and the RTC's (1): passed on to legacy[n] unless the guest has turned legacy
 * replacement on, when timers 0 and 1 drive those lines. */
struct irq hpet_legacy_input(struct hpet *hpet, unsigned n);

#endif
