/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who an interrupt message is for (SDM 3A 11.6.2, 11.12.10 and MSI, 11.11): physical, logical flat and cluster, x2APIC
 * cluster, shorthands, broadcast and lowest priority. Left out: SMI, interrupt remapping.
 */
#include "device/pc/lapic_impl.h"

#include <stdlib.h>

struct lapic_set *lapic_set_new(const struct device_env *env)
{
	struct lapic_set *set = xcalloc(1, sizeof(*set));

	set->env = env;
	return set;
}

void lapic_set_free(struct lapic_set *set)
{
	free(set);
}

void lapic_set_pic(struct lapic_set *set, int (*ack)(void *opaque), void *opaque)
{
	set->pic_ack = ack;
	set->pic = opaque;
}

void lapic_set_eoi(struct lapic_set *set, void (*eoi)(void *opaque, uint8_t vector), void *opaque)
{
	set->eoi = eoi;
	set->eoi_opaque = opaque;
}

static bool is_broadcast(const struct lapic_message *message)
{
	return message->destination == (message->wide ? UINT32_MAX : 0xff);
}

static bool matches_logical(uint64_t routing, const struct lapic_message *message)
{
	uint32_t ldr = (uint32_t)routing, destination = message->destination;

	if (routing & ROUTING_X2APIC)
		return is_broadcast(message) || (destination >> 16 == ldr >> 16 && destination & ldr & 0xffff);
	ldr >>= 24;
	if (destination > 0xff)
		return is_broadcast(message);
	if (!(routing & ROUTING_CLUSTER))
		return destination & ldr;
	return (destination >> 4 == 0xf || destination >> 4 == ldr >> 4) && destination & ldr & 0xf;
}

static bool matches(const struct lapic *apic, const struct lapic_message *message)
{
	uint64_t routing = atomic_load_explicit(&apic->routing, memory_order_acquire);

	if (!(routing & ROUTING_ENABLED))
		return false;
	if (message->logical)
		return matches_logical(routing, message);
	return is_broadcast(message) || message->destination == apic->vcpu->apic_id;
}

/* Of the addressed APICs that would take a vector, the one that does the least important work; ties take turns. */
static struct lapic *arbitrate(struct lapic_set *set, const struct lapic_message *message)
{
	unsigned start = set->count ? atomic_fetch_add_explicit(&set->turn, 1, memory_order_relaxed) % set->count : 0;
	struct lapic *best = NULL;

	for (unsigned i = 0; i < set->count; i++) {
		struct lapic *apic = set->apics[(start + i) % set->count];

		if (!(atomic_load_explicit(&apic->routing, memory_order_relaxed) & ROUTING_SOFTWARE) ||
		    !matches(apic, message))
			continue;
		if (!best || atomic_load_explicit(&apic->priority, memory_order_relaxed) <
				     atomic_load_explicit(&best->priority, memory_order_relaxed))
			best = apic;
	}
	return best;
}

/* Most messages name one processor, and its index is its APIC id where there is one thread a core. */
static struct lapic *find_physical(struct lapic_set *set, const struct lapic_message *message)
{
	uint32_t id = message->destination;

	if (message->logical || is_broadcast(message) || id >= set->count || set->apics[id]->vcpu->apic_id != id)
		return NULL;
	return set->apics[id];
}

void lapic_send(struct lapic_set *set, struct lapic *sender, enum shorthand shorthand,
		const struct lapic_message *message)
{
	struct lapic *one = NULL;

	if (shorthand == SHORTHAND_SELF) {
		lapic_accept(sender, message);
		return;
	}
	if (shorthand == SHORTHAND_NONE) {
		one = message->mode == DELIVER_LOWEST ? arbitrate(set, message) : find_physical(set, message);
		if (message->mode == DELIVER_LOWEST && !one)
			return;
	}
	if (one) {
		if (matches(one, message))
			lapic_accept(one, message);
		return;
	}
	for (unsigned i = 0; i < set->count; i++) {
		struct lapic *apic = set->apics[i];

		if (apic == sender && shorthand == SHORTHAND_OTHERS)
			continue;
		if (shorthand == SHORTHAND_NONE ? matches(apic, message)
						: (atomic_load(&apic->routing) & ROUTING_ENABLED) != 0)
			lapic_accept(apic, message);
	}
}

/* A write into 0xfeexxxxx. Bits 11:5 are destination bits 14:8 where the guest was told so (CPUID 0x40000001). */
static void send_msi(void *opaque, struct msi_message msi)
{
	struct lapic_message message = {
		.destination = (uint32_t)((msi.address >> 12 & 0xff) | (msi.address >> 5 & 0x7f) << 8),
		.logical = msi.address & 4,
		.level = msi.data >> 15 & 1,
		.vector = (uint8_t)msi.data,
		.mode = (enum delivery_mode)(msi.data >> 8 & 7),
	};

	/* Redirection hint: to one of the addressed. */
	if (msi.address & 8 && message.mode == DELIVER_FIXED)
		message.mode = DELIVER_LOWEST;
	lapic_send(opaque, NULL, SHORTHAND_NONE, &message);
}

struct msi_sink lapic_set_msi(struct lapic_set *set)
{
	return (struct msi_sink){.send = send_msi, .opaque = set};
}

static void set_extint(void *opaque, unsigned line, bool level)
{
	struct lapic_set *set = opaque;

	atomic_store(&set->extint, level);
	for (unsigned i = 0; i < set->count; i++) {
		struct lapic *apic = set->apics[i];

		if (!(atomic_load(&apic->routing) & ROUTING_EXTINT))
			continue;
		pthread_mutex_lock(&apic->lock);
		lapic_update(apic);
		pthread_mutex_unlock(&apic->lock);
	}
}

struct irq lapic_set_extint(struct lapic_set *set)
{
	return (struct irq){.set = set_extint, .opaque = set};
}

void lapic_set_nmi(struct lapic_set *set)
{
	for (unsigned i = 0; i < set->count; i++) {
		struct lapic *apic = set->apics[i];

		pthread_mutex_lock(&apic->lock);
		lapic_fire_local(apic, LVT_LINT1);
		lapic_update(apic);
		pthread_mutex_unlock(&apic->lock);
	}
}
