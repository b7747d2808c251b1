/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU's bare interpreter on the same RAM, buses and clock. It has no local APIC: that one, the IOAPIC and the 8259
 * are the kernel's. Where an instruction reaches for them, the state before it is kept, what the instruction does is
 * thrown away and the kernel executes it. That is sound because state is precise when a device is called: rip and
 * registers are those before the instruction (before the iteration of a REP).
 */
#include "base/util.h"
#include "core/clock.h"
#include "cpu/interp/interp.h"
#include "cpu/kvm/internal.h"

#include <stdlib.h>

enum { IOAPIC_GPA = 0xfec00000, IOAPIC_BYTES = 0x1000 };

struct kvm_helper {
	struct x86_cpu *cpu;
	const struct engine_env *real; /* with the buses that devices are on */
	struct engine_env env;
	struct bus *io, *memory;
	struct region io_region, memory_region;
	bool stepping, refused;
	struct x86_state given;  /* what step was called with: the local APIC's registers among it */
	struct x86_state before; /* refused: the instruction that is the kernel's business */
};

static void refuse(struct kvm_helper *h)
{
	if (!h->stepping || h->refused)
		return;
	h->stepping = false;
	x86_cpu_get_state(h->cpu, &h->before);
	h->stepping = h->refused = true;
	atomic_fetch_or(&h->cpu->vcpu.events, VCPU_KICK);
}

/* --- the local APIC that is not here --- */

static int apic_ack(void *apic)
{
	return -1;
}

static bool apic_has_interrupt(void *apic)
{
	return false;
}

static uint8_t apic_get_tpr(void *apic)
{
	struct kvm_helper *h = apic;
	refuse(h);
	return (uint8_t)h->given.cr8;
}

static void apic_set_tpr(void *apic, uint8_t cr8)
{
	refuse(apic);
}

static uint32_t apic_mmio_read(void *apic, uint32_t offset, unsigned size)
{
	refuse(apic);
	return 0;
}

static void apic_mmio_write(void *apic, uint32_t offset, uint32_t value, unsigned size)
{
	refuse(apic);
}

static int apic_msr_read(void *apic, uint32_t msr, uint64_t *value)
{
	struct kvm_helper *h = apic;
	refuse(h);
	*value = msr == 0x1b ? h->given.apic_base : msr == 0x6e0 ? h->given.tsc_deadline : 0;
	return 0;
}

static int apic_msr_write(void *apic, uint32_t msr, uint64_t value)
{
	refuse(apic);
	return 0;
}

static const struct vcpu_apic_ops no_apic = {.ack = apic_ack,
					     .has_interrupt = apic_has_interrupt,
					     .get_tpr = apic_get_tpr,
					     .set_tpr = apic_set_tpr,
					     .mmio_read = apic_mmio_read,
					     .mmio_write = apic_mmio_write,
					     .msr_read = apic_msr_read,
					     .msr_write = apic_msr_write};

/* --- the buses, less what the kernel has --- */

static bool kernel_port(uint64_t port, unsigned size)
{
	static const uint16_t first[] = {0x20, 0xa0, 0x4d0};
	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		if (port < first[i] + 2u && first[i] < port + size)
			return true;
	return false;
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct kvm_helper *h = opaque;
	if (!kernel_port(offset, size))
		return h->refused ? 0 : bus_read(h->real->io, offset, size);
	refuse(h);
	return 0;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct kvm_helper *h = opaque;
	if (kernel_port(offset, size))
		refuse(h);
	else if (!h->refused)
		bus_write(h->real->io, offset, value, size);
}

static bool kernel_memory(uint64_t gpa, unsigned size)
{
	return gpa < IOAPIC_GPA + IOAPIC_BYTES && IOAPIC_GPA < gpa + size;
}

static uint64_t memory_read(void *opaque, uint64_t offset, unsigned size)
{
	struct kvm_helper *h = opaque;
	if (!kernel_memory(offset, size))
		return h->refused ? 0 : bus_read(h->real->memory, offset, size);
	refuse(h);
	return 0;
}

static void memory_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct kvm_helper *h = opaque;
	if (kernel_memory(offset, size))
		refuse(h);
	else if (!h->refused)
		bus_write(h->real->memory, offset, value, size);
}

static const struct region_ops port_ops = {.read = port_read, .write = port_write, .min_width = 1, .max_width = 4};
static const struct region_ops memory_ops = {
	.read = memory_read, .write = memory_write, .min_width = 1, .max_width = 8};

/* --- life and use --- */

struct kvm_helper *kvm_helper_new(struct kvm_vcpu *v, struct error *err)
{
	struct kvm_helper *h = xcalloc(1, sizeof(*h));
	h->real = &v->kvm->engine.env;
	h->env = *h->real;
	h->env.io = h->io = bus_new("I/O port", 0x10000);
	h->env.memory = h->memory = bus_new("memory", 0);
	h->io_region = (struct region){.name = "devices", .ops = &port_ops, .opaque = h, .size = 0x10000};
	h->memory_region = (struct region){.name = "devices", .ops = &memory_ops, .opaque = h, .size = 1ull << 52};
	if (bus_add(h->io, &h->io_region, err) < 0 || bus_add(h->memory, &h->memory_region, err) < 0)
		goto fail;
	h->cpu = interp_cpu_new(&h->env, v->vcpu.index, v->vcpu.apic_id, err);
	if (!h->cpu)
		goto fail;
	h->cpu->vcpu.apic_ops = &no_apic;
	h->cpu->vcpu.apic = h;
	return h;
fail:
	bus_free(h->io);
	bus_free(h->memory);
	free(h);
	return NULL;
}

void kvm_helper_free(struct kvm_helper *h)
{
	if (!h)
		return;
	interp_cpu_free(h->cpu);
	bus_free(h->io);
	bus_free(h->memory);
	free(h);
}

void kvm_helper_load(struct kvm_helper *h, const struct x86_state *state)
{
	h->given = *state;
	h->refused = false;
	atomic_store(&h->cpu->vcpu.events, 0);
	x86_cpu_set_state(h->cpu, state);
}

void kvm_helper_flush(struct kvm_helper *h)
{
	atomic_fetch_or(&h->cpu->vcpu.events, VCPU_FLUSH);
}

uint64_t kvm_helper_step(struct kvm_helper *h, uint64_t count, enum vcpu_exit *why)
{
	h->stepping = true;
	uint64_t done = interp_step(h->cpu, count, why);
	h->stepping = false;
	return done;
}

bool kvm_helper_refused(const struct kvm_helper *h)
{
	return h->refused;
}

bool kvm_helper_in_user_mode(const struct kvm_helper *h)
{
	return h->cpu->cpl == 3;
}

void kvm_helper_store(struct kvm_helper *h, struct x86_state *state)
{
	if (h->refused)
		*state = h->before;
	else
		x86_cpu_get_state(h->cpu, state);
	state->cr8 = h->given.cr8;
	state->apic_base = h->given.apic_base;
	state->tsc_deadline = h->given.tsc_deadline;
}
