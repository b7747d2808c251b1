/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See test_pc.h. */
#include "device/pc/test_pc.h"

#include "base/util.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void wire_set(void *opaque, unsigned line, bool level)
{
	struct test_wire *wire = &((struct test_pc *)opaque)->wires[line];

	wire->rises += level && !wire->level;
	wire->falls += !level && wire->level;
	wire->level = level;
}

struct irq test_wire(struct test_pc *t, unsigned n)
{
	return (struct irq){.set = wire_set, .opaque = t, .line = n};
}

static void requested(void *opaque, int request, int argument)
{
	struct test_pc *t = opaque;

	t->request = request;
	t->argument = argument;
	t->requests++;
}

static void message_sent(void *opaque, struct msi_message message)
{
	struct test_pc *t = opaque;

	t->messages[t->message_count++ % ARRAY_SIZE(t->messages)] = message;
}

static void kick(struct vcpu *vcpu)
{
}

void test_pc_init(struct test_pc *t)
{
	struct ram_config config = {.size = TEST_RAM};
	struct error err = {0};

	memset(t, 0, sizeof(*t));
	t->request = -1;
	t->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	t->log.items = LOG_GUEST_ERRORS;
	t->env.log = &t->log;
	t->env.clock = clock_new(true, TEST_TSC_KHZ);
	clock_start(t->env.clock);
	t->env.ram = ram_new(&config, &err);
	if (!t->env.ram || ram_map(t->env.ram, 0, TEST_RAM, 0, false, &err) < 0)
		abort();
	t->env.io = bus_new("io", 0x10000);
	t->env.memory = bus_new("memory", 0);
	t->env.msi = (struct msi_sink){.send = message_sent, .opaque = t};
	for (unsigned i = 0; i < 16; i++)
		t->env.isa_irq[i] = test_wire(t, i);
	t->env.request = requested;
	t->env.request_opaque = t;
	t->ops.kick = kick;
	t->engine.ops = &t->ops;
	for (unsigned i = 0; i < TEST_CPUS; i++)
		t->vcpus[i] = (struct vcpu){.index = i, .apic_id = i, .engine = &t->engine};
}

void test_pc_fini(struct test_pc *t)
{
	bus_free(t->env.io);
	bus_free(t->env.memory);
	ram_free(t->env.ram);
	clock_free(t->env.clock);
	close(t->log.fd);
}

int64_t test_save_reset_load(struct device *device, struct error *err)
{
	struct state_buffer saved = {0};
	int64_t rc;

	state_save(device->class->state, device, &saved);
	device_reset(device);
	rc = state_load(device->class->state, device, saved.data, saved.length, err);
	if (rc >= 0 && rc != (int64_t)saved.length)
		rc = -EBADMSG;
	free(saved.data);
	return rc;
}

void test_hostile_state(struct device *device)
{
	struct state_buffer saved = {0};
	uint8_t *copy;

	state_save(device->class->state, device, &saved);
	copy = xcalloc(1, saved.length);
	for (size_t at = 0; at < saved.length; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(copy, saved.data, saved.length);
			copy[at] ^= (uint8_t)(1u << bit);
			state_load(device->class->state, device, copy, saved.length, NULL);
			clock_advance(device->env->clock, 1000);
		}
		memcpy(copy, saved.data, saved.length);
		copy[at] = 0xff;
		state_load(device->class->state, device, copy, saved.length, NULL);
		if (state_load(device->class->state, device, saved.data, at, NULL) >= 0)
			abort();
	}
	free(copy);
	if (state_load(device->class->state, device, saved.data, saved.length, NULL) < 0)
		abort();
	free(saved.data);
}
