/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine of test_machine.h. */
#include "device/pci/test_machine.h"

#include "base/loop.h"
#include "base/util.h"
#include "core/clock.h"
#include "core/ram.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void set_isa(void *opaque, unsigned line, bool level)
{
	struct test_machine *machine = opaque;

	pthread_mutex_lock(&machine->lock);
	machine->isa_edges[line] += level && !machine->isa_level[line];
	machine->isa_level[line] = level;
	pthread_mutex_unlock(&machine->lock);
}

static void send_message(void *opaque, struct msi_message message)
{
	struct test_machine *machine = opaque;

	pthread_mutex_lock(&machine->lock);
	machine->messages[machine->message_count++ % TEST_MESSAGES] = message;
	pthread_mutex_unlock(&machine->lock);
}

static void take_request(void *opaque, int request, int argument)
{
	struct test_machine *machine = opaque;

	assert(request >= 0 && request < 16);
	__atomic_fetch_add(&machine->requests[request], 1, __ATOMIC_RELAXED);
}

static void *find_backend(void *opaque, enum property_type type, const char *id, struct device *user, struct error *err)
{
	struct test_machine *machine = opaque;

	if (!machine->backend)
		error_set(err, ENODEV, "no '%s'", id);
	return machine->backend;
}

struct test_machine *test_machine_new(uint64_t ram_bytes, bool eventfds)
{
	struct test_machine *machine = xcalloc(1, sizeof(*machine));
	struct device_env *env = &machine->env;
	struct ram_config ram = {.size = ram_bytes};
	struct irq wires[4];

	pthread_mutex_init(&machine->lock, NULL);
	machine->log.fd = STDERR_FILENO;
	env->log = &machine->log;
	env->loop = loop_new(NULL);
	env->clock = clock_new(false, 1000000);
	env->ram = ram_new(&ram, NULL);
	ram_map(env->ram, 0, ram_bytes, 0, false, NULL);
	env->io = bus_new("io", 65536);
	env->memory = bus_new("memory", 1ull << 40);
	env->msi = (struct msi_sink){.send = send_message, .opaque = machine};
	for (unsigned i = 0; i < 16; i++)
		env->isa_irq[i] = (struct irq){.set = set_isa, .opaque = machine, .line = i};
	env->backends = (struct backend_lookup){.find = find_backend, .opaque = machine};
	env->bus_ops[DEVICE_PCI] = &pci_device_bus_ops;
	env->request = take_request;
	env->request_opaque = machine;
	env->eventfds = eventfds;
	clock_start(env->clock);

	machine->isa_bridge = device_alloc(&piix3_class, env);
	piix3_pirq(machine->isa_bridge, wires);
	machine->bus = pci_bus_new(env, wires);
	env->pci_bus = machine->bus;
	machine->host_bridge = device_create(&i440fx_class, env, NULL, NULL, NULL);
	device_realize(machine->isa_bridge, NULL);
	device_reset(machine->host_bridge);
	device_reset(machine->isa_bridge);
	machine->next_mmio = 0xe0000000;
	machine->next_port = 0xc000;
	return machine;
}

void test_machine_free(struct test_machine *machine)
{
	device_destroy(machine->isa_bridge);
	device_destroy(machine->host_bridge);
	pci_bus_free(machine->bus);
	bus_free(machine->env.io);
	bus_free(machine->env.memory);
	ram_free(machine->env.ram);
	clock_free(machine->env.clock);
	loop_free(machine->env.loop);
	pthread_mutex_destroy(&machine->lock);
	free(machine);
}

struct device *test_device(struct test_machine *machine, const struct device_class *class, const char *text,
                           struct error *err)
{
	struct options options = {0};
	struct device *device = NULL;

	if (!text || !*text || options_parse(&options, text, NULL, err) == 0)
		device = device_create(class, &machine->env, &options, NULL, err);
	options_free(&options);
	if (device)
		device_reset(device);
	return device;
}

/* --- what firmware does --- */

static void select_register(struct test_machine *machine, unsigned devfn, unsigned offset)
{
	bus_write(machine->env.io, 0xcf8, 0x80000000u | devfn << 8 | (offset & 0xfc), 4);
}

uint32_t test_config_read(struct test_machine *machine, unsigned devfn, unsigned offset, unsigned size)
{
	select_register(machine, devfn, offset);
	return (uint32_t)bus_read(machine->env.io, 0xcfc + (offset & 3), size);
}

void test_config_write(struct test_machine *machine, unsigned devfn, unsigned offset, uint32_t value, unsigned size)
{
	select_register(machine, devfn, offset);
	bus_write(machine->env.io, 0xcfc + (offset & 3), value, size);
}

uint64_t test_bar_assign(struct test_machine *machine, unsigned devfn, unsigned bar)
{
	unsigned at = 0x10 + 4 * bar;
	uint64_t *next;
	uint32_t low, size;

	test_config_write(machine, devfn, at, 0xffffffff, 4);
	low = test_config_read(machine, devfn, at, 4);
	if (!low)
		return 0;
	size = ~(low & (low & 1 ? ~3u : ~15u)) + 1;
	if (low & 1)
		size &= 0xffff;
	next = low & 1 ? &machine->next_port : &machine->next_mmio;
	*next = align_up(*next, size);
	test_config_write(machine, devfn, at, (uint32_t)*next, 4);
	if (!(low & 1) && (low & 4))
		test_config_write(machine, devfn, at + 4, 0, 4);
	*next += size;
	return *next - size;
}

uint64_t test_bar_address(struct test_machine *machine, unsigned devfn, unsigned bar)
{
	uint32_t low = test_config_read(machine, devfn, 0x10 + 4 * bar, 4);

	return low & 1 ? low & ~3u : low & ~15u;
}

unsigned test_capability(struct test_machine *machine, unsigned devfn, uint8_t id, unsigned after)
{
	unsigned at = test_config_read(machine, devfn, after ? after + 1 : 0x34, 1);

	for (unsigned i = 0; at && i < 48; i++) {
		if (test_config_read(machine, devfn, at, 1) == id)
			return at;
		at = test_config_read(machine, devfn, at + 1, 1);
	}
	return 0;
}

static void note_activity(void *opaque)
{
	*(bool *)opaque = true;
}

void test_settle(struct test_machine *machine)
{
	/* Work posted to the loop runs after what was ready before it: a pass that ends by timeout had nothing to do. */
	for (unsigned i = 0; i < 3; i++) {
		bool reached = false;

		loop_post(machine->env.loop, note_activity, &reached);
		while (!reached)
			loop_poll(machine->env.loop, 0);
	}
}
