/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine `interp` as the machine sees it, and bare interpreters for the other engines. */
#include "cpu/interp/internal.h"

#include <stdlib.h>
#include <sys/mman.h>

struct interp_machine {
	struct engine engine; /* first */
	pthread_mutex_t lock; /* of the list; inner to everything but a vCPU's pending_lock */
	unsigned count;
	struct interp **cpus;
	struct ram_listener listener;
};

static struct interp_machine *machine_of(struct engine *engine)
{
	return (struct interp_machine *)engine;
}

static int engine_probe(bool *rank_last, struct error *err)
{
	return 0;
}

/* ram_code_client: in the writing thread. */
static void code_written(void *opaque, uint64_t first_page, uint64_t last_page)
{
	struct interp_machine *machine = opaque;

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->count; i++)
		cache_written(machine->cpus[i], first_page, last_page);
	pthread_mutex_unlock(&machine->lock);
}

void engine_page_watched(struct interp *ip, uint64_t page)
{
	struct interp_machine *machine = machine_of(ip->cpu.vcpu.engine);

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->count; i++) {
		struct interp *other = machine->cpus[i];

		if (other == ip)
			continue;
		pthread_mutex_lock(&other->pending_lock);
		if (other->watch_count < PENDING_PAGES)
			other->watch[other->watch_count++] = page;
		else
			other->watch_all = true;
		pthread_mutex_unlock(&other->pending_lock);
		atomic_fetch_or_explicit(&other->cpu.vcpu.events, VCPU_ENGINE, memory_order_release);
		other->cpu.vcpu.engine->ops->kick(&other->cpu.vcpu);
	}
	pthread_mutex_unlock(&machine->lock);
}

static void engine_flush(struct engine *engine);

static void layout_changed(void *opaque, size_t number, const struct ram_slot *before, const struct ram_slot *now)
{
	engine_flush(opaque);
}

static void tracking_changed(void *opaque, struct ram_block *block)
{
	engine_flush(opaque);
}

static struct engine *engine_create(const struct engine_env *env, struct error *err)
{
	struct interp_machine *machine = xcalloc(1, sizeof(*machine));

	machine->engine.ops = &interp_engine;
	machine->engine.env = *env;
	machine->cpus = xcalloc(env->max_vcpus, sizeof(*machine->cpus));
	pthread_mutex_init(&machine->lock, NULL);
	ram_set_code_client(env->ram, &(struct ram_code_client){.written = code_written, .opaque = machine});
	machine->listener = (struct ram_listener){
		.changed = layout_changed, .tracked = tracking_changed, .sync = tracking_changed, .opaque = &machine->engine};
	ram_listen(env->ram, &machine->listener);
	return &machine->engine;
}

static void engine_destroy(struct engine *engine)
{
	struct interp_machine *machine = machine_of(engine);

	ram_set_code_client(engine->env.ram, &(struct ram_code_client){0});
	ram_unlisten(engine->env.ram, &machine->listener);
	pthread_mutex_destroy(&machine->lock);
	free(machine->cpus);
	free(machine);
}

/* Below 2 GiB when there is room, where translated code reaches it by absolute addresses. */
static struct interp *interp_alloc(void)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *p = mmap(NULL, sizeof(struct interp), PROT_READ | PROT_WRITE, flags | MAP_32BIT, -1, 0);

	if (p == MAP_FAILED)
		p = mmap(NULL, sizeof(struct interp), PROT_READ | PROT_WRITE, flags, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void interp_free(struct interp *ip)
{
	munmap(ip, sizeof(*ip));
}

static struct vcpu *engine_vcpu_create(struct engine *engine, unsigned index, uint32_t apic_id, struct error *err)
{
	struct interp_machine *machine = machine_of(engine);
	struct interp *ip;

	if (machine->count == engine->env.max_vcpus) {
		error_set(err, EINVAL, "vCPU %u: the machine was made for %u", index, engine->env.max_vcpus);
		return NULL;
	}
	ip = interp_alloc();
	if (!ip) {
		error_set(err, ENOMEM, "vCPU %u: no memory for its state", index);
		return NULL;
	}
	if (interp_init(ip, engine, index, apic_id, err)) {
		interp_fini(ip);
		interp_free(ip);
		return NULL;
	}
	pthread_mutex_lock(&machine->lock);
	machine->cpus[machine->count++] = ip;
	pthread_mutex_unlock(&machine->lock);
	return &ip->cpu.vcpu;
}

static void engine_vcpu_destroy(struct vcpu *vcpu)
{
	struct interp_machine *machine = machine_of(vcpu->engine);
	struct interp *ip = interp_of(x86_cpu_of(vcpu));

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->count; i++)
		if (machine->cpus[i] == ip)
			machine->cpus[i] = machine->cpus[--machine->count];
	pthread_mutex_unlock(&machine->lock);
	interp_fini(ip);
	interp_free(ip);
}

static enum vcpu_exit engine_run(struct vcpu *vcpu, struct error *err)
{
	return interp_run(interp_of(x86_cpu_of(vcpu)), INT64_MAX);
}

/* Events are looked at between blocks: there is nobody to wake. */
static void engine_kick(struct vcpu *vcpu)
{
}

static void engine_get_state(struct vcpu *vcpu, struct x86_state *state)
{
	x86_cpu_get_state(x86_cpu_of(vcpu), state);
}

static void engine_set_state(struct vcpu *vcpu, const struct x86_state *state)
{
	x86_cpu_set_state(x86_cpu_of(vcpu), state);
	/* CR8 is the local APIC's task priority, of which it shows the upper half. */
	if (vcpu->apic_ops && vcpu->apic_ops->get_tpr(vcpu->apic) != state->cr8)
		vcpu->apic_ops->set_tpr(vcpu->apic, (uint8_t)state->cr8 & 0xf);
}

static int engine_translate_gva(struct vcpu *vcpu, uint64_t gva, uint64_t *gpa)
{
	return x86_walk_debug(x86_cpu_of(vcpu), gva, gpa);
}

static void engine_flush(struct engine *engine)
{
	struct interp_machine *machine = machine_of(engine);

	for (unsigned i = 0;;
	     i++) { /* not under the lock: a flush may report writes, which come back to code_written */
		struct interp *ip;

		pthread_mutex_lock(&machine->lock);
		ip = i < machine->count ? machine->cpus[i] : NULL;
		pthread_mutex_unlock(&machine->lock);
		if (!ip)
			return;
		interp_flush(ip);
	}
}

static void engine_nothing(struct engine *engine)
{
}

static void engine_clock_changed(struct engine *engine, bool running)
{
	struct interp_machine *machine = machine_of(engine);

	for (unsigned i = 0; running && i < machine->count; i++)
		x86_kvmclock_refresh(&machine->cpus[i]->cpu);
}

static int engine_offer(struct cpuid_table *offer, struct error *err)
{
	x86_engine_offer(offer);
	return 0;
}

/* One tick a nanosecond: guest TSC and virtual clock are the same number. */
static uint64_t engine_tsc_khz(void)
{
	return 1000000;
}

const struct engine_ops interp_engine = {
	.name = "interp",
	.help = "interpreter: every instruction in every mode, on any host",
	.probe = engine_probe,
	.offer = engine_offer,
	.tsc_khz = engine_tsc_khz,
	.create = engine_create,
	.destroy = engine_destroy,
	.vcpu_create = engine_vcpu_create,
	.vcpu_destroy = engine_vcpu_destroy,
	.run = engine_run,
	.kick = engine_kick,
	.get_state = engine_get_state,
	.set_state = engine_set_state,
	.translate_gva = engine_translate_gva,
	.dirty_start = engine_flush,
	.dirty_stop = engine_nothing,
	.dirty_sync = engine_flush,
	.clock_changed = engine_clock_changed,
};

struct x86_cpu *interp_cpu_new(const struct engine_env *env, unsigned index, uint32_t apic_id, struct error *err)
{
	struct engine *engine = xcalloc(1, sizeof(*engine));
	struct interp *ip = interp_alloc();

	engine->ops = &interp_engine;
	engine->env = *env;
	if (!ip) {
		free(engine);
		error_set(err, ENOMEM, "vCPU %u: no memory for its state", index);
		return NULL;
	}
	ip->verify = true;
	ip->own_engine = engine;
	if (interp_init(ip, engine, index, apic_id, err)) {
		interp_cpu_free(&ip->cpu);
		return NULL;
	}
	return &ip->cpu;
}

void interp_cpu_free(struct x86_cpu *cpu)
{
	struct interp *ip = interp_of(cpu);

	interp_fini(ip);
	free(ip->own_engine);
	interp_free(ip);
}

void interp_host_flags(struct x86_cpu *cpu)
{
	interp_of(cpu)->host_flags = true;
}

uint64_t interp_step(struct x86_cpu *cpu, uint64_t count, enum vcpu_exit *exit)
{
	struct interp *ip = interp_of(cpu);
	int64_t limit = count > INT64_MAX ? INT64_MAX : (int64_t)count;

	ip->stop_at_fault = true;
	*exit = interp_run(ip, limit);
	ip->stop_at_fault = false;
	return (uint64_t)(limit - ip->left);
}
