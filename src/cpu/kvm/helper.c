/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interpreters beside the vCPUs of KVM: an instance of the engine interp on the same RAM and clock. It has no interrupt
 * controllers: local APICs, IOAPIC and 8259 are the kernel's. An instruction that reaches for them is taken back
 * (interp_abandon), and the kernel executes it.
 *
 * The interpreter caches decoded code and is told of changes through RAM's flags. What KVM lets the guest write it does
 * not tell: a single instruction is decoded anew (assist.c), and where the helper executes everything (software.c) KVM
 * writes no code.
 */
#include "base/util.h"
#include "core/clock.h"
#include "cpu/interp/interp.h"
#include "cpu/kvm/internal.h"

#include <stdlib.h>

enum { IOAPIC_GPA = 0xfec00000, IOAPIC_BYTES = 0x1000 };

struct kvm_helper {
	struct x86_cpu *cpu;
	struct kvm_vcpu *vcpu;
	bool stepping, refused;
	struct x86_state given; /* what load was called with: the local APIC's registers among it */
};

/* One for all vCPUs; its buses lead to the devices' ones. */
struct kvm_helpers {
	struct kvm_engine_data *kvm;
	struct engine *engine;
	struct bus *io, *memory;
	struct region io_region, memory_region;
};

/* Returns only outside of step (when state is copied). */
static void refuse(struct kvm_helper *h)
{
	if (!h->stepping)
		return;
	h->refused = true;
	interp_abandon(h->cpu);
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

/* Where KVM holds the state (assist.c), an instruction that it could not execute was none of these. */
static int apic_msr_read(void *apic, uint32_t msr, uint64_t *value)
{
	struct kvm_helper *h = apic;
	if (h->stepping && h->vcpu->kvm->software)
		return kvm_software_msr_read(h->vcpu, msr, value);
	refuse(h);
	*value = msr == 0x1b ? h->given.apic_base : msr == 0x6e0 ? h->given.tsc_deadline : 0;
	return 0;
}

static int apic_msr_write(void *apic, uint32_t msr, uint64_t value)
{
	struct kvm_helper *h = apic;
	if (h->stepping && h->vcpu->kvm->software)
		return kvm_software_msr_write(h->vcpu, msr, value);
	refuse(h);
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

/* Callbacks come in the thread of the vCPU that executes. */
static void refuse_here(struct kvm_helpers *helpers)
{
	struct kvm_engine_data *kvm = helpers->kvm;
	for (unsigned i = 0; i < kvm->vcpu_count; i++) {
		struct kvm_vcpu *v = kvm->vcpus[i];
		if (v && v->helper && v->helper->stepping && pthread_equal(v->thread, pthread_self()))
			refuse(v->helper);
	}
}

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
	struct kvm_helpers *helpers = opaque;
	if (kernel_port(offset, size))
		refuse_here(helpers);
	return bus_read(helpers->kvm->engine.env.io, offset, size);
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct kvm_helpers *helpers = opaque;
	if (kernel_port(offset, size))
		refuse_here(helpers);
	bus_write(helpers->kvm->engine.env.io, offset, value, size);
}

static bool kernel_memory(uint64_t gpa, unsigned size)
{
	return gpa < IOAPIC_GPA + (uint64_t)IOAPIC_BYTES && IOAPIC_GPA < gpa + size;
}

static uint64_t memory_read(void *opaque, uint64_t offset, unsigned size)
{
	struct kvm_helpers *helpers = opaque;
	if (kernel_memory(offset, size))
		refuse_here(helpers);
	return bus_read(helpers->kvm->engine.env.memory, offset, size);
}

static void memory_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct kvm_helpers *helpers = opaque;
	if (kernel_memory(offset, size))
		refuse_here(helpers);
	bus_write(helpers->kvm->engine.env.memory, offset, value, size);
}

static const struct region_ops port_ops = {.read = port_read, .write = port_write, .min_width = 1, .max_width = 4};
static const struct region_ops memory_ops = {
	.read = memory_read, .write = memory_write, .min_width = 1, .max_width = 8};

/* --- life --- */

static void helpers_free(struct kvm_helpers *helpers)
{
	if (helpers->engine)
		engine_debug(helpers->engine, NULL, NULL);
	if (helpers->engine)
		interp_engine.destroy(helpers->engine);
	bus_free(helpers->io);
	bus_free(helpers->memory);
	free(helpers);
}

static struct kvm_helpers *helpers_new(struct kvm_engine_data *kvm, struct error *err)
{
	struct kvm_helpers *helpers = xcalloc(1, sizeof(*helpers));
	struct engine_env env = kvm->engine.env;
	helpers->kvm = kvm;
	env.io = helpers->io = bus_new("I/O port", 0x10000);
	env.memory = helpers->memory = bus_new("memory", 0);
	helpers->io_region = (struct region){.name = "devices", .ops = &port_ops, .opaque = helpers, .size = 0x10000};
	helpers->memory_region =
		(struct region){.name = "devices", .ops = &memory_ops, .opaque = helpers, .size = 1ull << 52};
	if (bus_add(helpers->io, &helpers->io_region, err) == 0 &&
	    bus_add(helpers->memory, &helpers->memory_region, err) == 0)
		helpers->engine = interp_engine.create(&env, err);
	if (!helpers->engine) {
		helpers_free(helpers);
		return NULL;
	}
	return helpers;
}

struct kvm_helper *kvm_helper_of(struct kvm_vcpu *v, struct error *err)
{
	struct kvm_engine_data *kvm = v->kvm;
	if (v->helper)
		return v->helper;
	struct kvm_helper *h = xcalloc(1, sizeof(*h));
	struct vcpu *vcpu = NULL;
	pthread_mutex_lock(&kvm->lock);
	if (!kvm->helpers)
		kvm->helpers = helpers_new(kvm, err);
	if (kvm->helpers)
		vcpu = interp_engine.vcpu_create(kvm->helpers->engine, v->vcpu.index, v->vcpu.apic_id, err);
	if (vcpu) {
		h->cpu = x86_cpu_of(vcpu);
		h->vcpu = v;
		vcpu->apic_ops = &no_apic;
		vcpu->apic = h;
		v->helper = h;
	}
	pthread_mutex_unlock(&kvm->lock);
	if (!vcpu)
		free(h);
	return vcpu ? h : NULL;
}

void kvm_helper_free(struct kvm_helper *h)
{
	if (!h)
		return;
	interp_engine.vcpu_destroy(&h->cpu->vcpu);
	free(h);
}

void kvm_helpers_free(struct kvm_engine_data *kvm)
{
	if (kvm->helpers)
		helpers_free(kvm->helpers);
}

/* --- use --- */

void kvm_helpers_flush(struct kvm_engine_data *kvm)
{
	pthread_mutex_lock(&kvm->lock);
	if (kvm->helpers)
		interp_engine.dirty_start(kvm->helpers->engine);
	pthread_mutex_unlock(&kvm->lock);
}

void kvm_helper_kick(struct kvm_helper *h)
{
	atomic_fetch_or(&h->cpu->vcpu.events, VCPU_KICK);
}

int kvm_helpers_debug(struct kvm_engine_data *kvm, struct error *err)
{
	return kvm->helpers ? engine_debug(kvm->helpers->engine, kvm->engine.debug, err) : 0;
}

void kvm_helpers_clock(struct kvm_engine_data *kvm, bool running)
{
	if (kvm->helpers)
		interp_engine.clock_changed(kvm->helpers->engine, running);
}

void kvm_helper_load(struct kvm_helper *h, const struct x86_state *state)
{
	h->given = *state;
	h->refused = false;
	vcpu_clear(&h->cpu->vcpu, VCPU_KICK | VCPU_INTR | VCPU_NMI);
	x86_cpu_set_state(h->cpu, state);
}

uint64_t kvm_helper_step(struct kvm_helper *h, uint64_t count, enum vcpu_exit *why)
{
	h->refused = false;
	h->stepping = true;
	uint64_t done = interp_step(h->cpu, count, why);
	h->stepping = false;
	return done;
}

bool kvm_helper_refused(const struct kvm_helper *h)
{
	return h->refused;
}

struct x86_cpu *kvm_helper_cpu(struct kvm_helper *h)
{
	return h->cpu;
}

void kvm_helper_store(struct kvm_helper *h, struct x86_state *state)
{
	x86_cpu_get_state(h->cpu, state);
	state->cr8 = h->given.cr8;
	state->apic_base = h->given.apic_base;
	state->tsc_deadline = h->given.tsc_deadline;
}
