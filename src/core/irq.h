/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt wires as values: whoever owns the receiving end hands a `struct irq` to whoever drives it. */
#ifndef XUNI_CORE_IRQ_H
#define XUNI_CORE_IRQ_H

#include <stdbool.h>
#include <stdint.h>

/* set is called in any thread, with or without the driver's lock held, and takes only locks of interrupt
 * controllers (order: device -> PCI routing -> 8259/IOAPIC -> local APIC -> vCPU events). */
struct irq {
	void (*set)(void *opaque, unsigned line, bool level);
	void *opaque;
	unsigned line;
};

static inline void irq_set(const struct irq *irq, bool level)
{
	if (irq->set)
		irq->set(irq->opaque, irq->line, level);
}

static inline void irq_pulse(const struct irq *irq)
{
	irq_set(irq, true);
	irq_set(irq, false);
}

/* A message-signalled interrupt as it is written to the bus (SDM 3A 11.11). */
struct msi_message {
	uint64_t address;
	uint32_t data;
};

/* Where messages go: the local APICs, or the in-kernel irqchip. route_* let an eventfd raise a message without the
 * VMM (irqfd); they are NULL where the receiver has no such thing, and then the caller calls send itself. */
struct msi_sink {
	void (*send)(void *opaque, struct msi_message message);
	/* Binds fd to a message; returns a route number >= 0 or a negative errno. */
	int (*route_add)(void *opaque, int event_fd, struct msi_message message);
	void (*route_remove)(void *opaque, int route, int event_fd);
	void *opaque;
};

#endif
