/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the three files of the local APIC: lapic.c (registers, priorities, what the CPU sees), lapic_set.c (who a
 * message is for) and lapic_timer.c.
 *
 * Locking: apic->lock guards its registers; nothing is called with it held but vcpu_raise and the clock. An APIC never
 * takes another's lock, the 8259's or the IOAPIC's with its own held. What other threads look at to route a message
 * (routing, priority, deliverable) are atomics that mirror the registers.
 */
#ifndef XUNI_DEVICE_PC_LAPIC_IMPL_H
#define XUNI_DEVICE_PC_LAPIC_IMPL_H

#include "base/util.h"
#include "core/clock.h"
#include "core/device.h"
#include "core/engine.h"
#include "core/state.h"
#include "device/pc/lapic.h"

#include <pthread.h>
#include <stdatomic.h>

enum { LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
enum { LVT_MASKED = 1 << 16, LVT_TIMER_MODE = 3 << 17, LVT_PERIODIC = 1 << 17, LVT_DEADLINE = 2 << 17 };
enum { SVR_ENABLE = 1 << 8 };
enum { ESR_SEND_ILLEGAL = 1 << 5, ESR_RECEIVE_ILLEGAL = 1 << 6, ESR_ILLEGAL_REGISTER = 1 << 7 };
enum { BASE_BSP = 1 << 8, BASE_EXTD = 1 << 10, BASE_ENABLE = 1 << 11 };

enum delivery_mode {
	DELIVER_FIXED,
	DELIVER_LOWEST,
	DELIVER_SMI,
	DELIVER_RESERVED,
	DELIVER_NMI,
	DELIVER_INIT,
	DELIVER_SIPI,
	DELIVER_EXTINT,
};

/* Bits of lapic.deliverable beside the vector. */
enum { DELIVERABLE_VECTOR = 1 << 8, DELIVERABLE_EXTINT = 1 << 9 };

/* lapic.routing: the logical id in the low half, and */
#define ROUTING_ENABLED  (1ull << 32)
#define ROUTING_X2APIC   (1ull << 33)
#define ROUTING_CLUSTER  (1ull << 34)
#define ROUTING_SOFTWARE (1ull << 35) /* SVR says enabled */
#define ROUTING_EXTINT   (1ull << 36) /* LINT0 lets the 8259 through */

struct lapic {
	struct device device;
	struct lapic_set *set;
	struct vcpu *vcpu;
	struct lapic_config config;
	struct log_limit limit;

	_Atomic uint32_t deliverable;
	_Atomic uint64_t routing;
	_Atomic uint8_t priority; /* PPR, for lowest-priority arbitration */

	pthread_mutex_t lock;
	uint64_t base; /* IA32_APIC_BASE */
	uint32_t tpr, ldr, dfr, svr, esr, esr_pending, icr, icr_high;
	uint32_t lvt[LVT_COUNT];
	uint32_t irr[8], isr[8], tmr[8];
	bool extint_latched; /* an ExtINT message waits */
	/* Timer (lapic_timer.c). */
	uint32_t timer_initial, timer_divide;
	int64_t timer_start_ns; /* when the initial count was written */
	int64_t timer_due_ns;   /* next expiry; INT64_MAX: none */
	uint64_t tsc_deadline;
	int64_t tsc_offset;
	struct clock_timer timer;
};

struct lapic_set {
	const struct device_env *env;
	struct lapic *apics[LAPIC_MAX];
	unsigned count;
	_Atomic unsigned turn; /* breaks ties of lowest-priority arbitration */
	_Atomic bool extint;   /* level of the 8259's output */
	int (*pic_ack)(void *opaque);
	void *pic;
	void (*eoi)(void *opaque, uint8_t vector);
	void *eoi_opaque;
};

struct lapic_message {
	uint32_t destination;
	bool logical;
	bool wide; /* a 32-bit destination (x2APIC); else 8 bits, where 0xff is everybody */
	bool level;
	uint8_t vector;
	enum delivery_mode mode;
};

enum shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

/* lapic.c */
static inline bool lapic_is_x2apic(const struct lapic *apic)
{
	return apic->base & BASE_EXTD;
}
/* An interrupt that was addressed to this APIC; takes its lock. */
void lapic_accept(struct lapic *apic, const struct lapic_message *message);
/* With the lock held: a local source fires; the CPU is told when something is deliverable. */
void lapic_fire_local(struct lapic *apic, unsigned lvt);
void lapic_update(struct lapic *apic);

/* lapic_set.c; without any APIC's lock held. */
void lapic_send(struct lapic_set *set, struct lapic *sender, enum shorthand shorthand,
		const struct lapic_message *message);

/* lapic_timer.c; with the lock held. */
void lapic_timer_init(struct lapic *apic);
void lapic_timer_stop(struct lapic *apic);
void lapic_timer_restore(struct lapic *apic);
void lapic_timer_write_lvt(struct lapic *apic, uint32_t value);
void lapic_timer_write_initial(struct lapic *apic, uint32_t value);
void lapic_timer_write_divide(struct lapic *apic, uint32_t value);
uint32_t lapic_timer_current(struct lapic *apic);
void lapic_timer_write_deadline(struct lapic *apic, uint64_t tsc);
uint64_t lapic_timer_read_deadline(struct lapic *apic);
void lapic_timer_set_offset(struct lapic *apic, int64_t ticks);

#endif
