/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver that does anything to an emulated network card: registers in every width, descriptors and frames in memory,
 * configuration space, while frames arrive, the cable goes in and out, time passes and the state is saved and restored.
 * No crash, no access outside of guest memory, no endless work; what a guest can bring about can be saved and restored;
 * a reset brings back exactly the state of power-on.
 *
 * Input: byte 0 chooses the card, then operations of one byte and their operands.
 */
#include "fuzz.h"

#include "backend/net/net.h"
#include "base/loop.h"
#include "base/util.h"
#include "core/clock.h"
#include "core/ram.h"
#include "core/state.h"
#include "device/net/net_devices.h"
#include "device/pci/test_machine.h"

#include <fcntl.h>

enum { RAM_BYTES = 512 << 10, DEVFN = 3 << 3, SAVES_MOST = 3 };

static const struct device_class *const cards[] = {&e1000_class, &rtl8139_class, &ne2k_pci_class, &pcnet_class,
						   &i82550_class};

static struct test_machine *machine;
static volatile unsigned sink_sum;
static unsigned saves; /* of this input */

/* Looks at every byte that the card sends; some are answered at once, as libslirp does. */
static void sink_send(struct net_backend *backend, const struct iovec *iov, int iov_count, size_t length)
{
	unsigned sum = 0;

	for (int i = 0; i < iov_count; i++)
		for (size_t at = 0; at < iov[i].iov_len; at += 32)
			sum += ((const uint8_t *)iov[i].iov_base)[at];
	sink_sum = sum;
	if (sum & 1)
		net_deliver(backend, 0, iov, iov_count, length);
}

static uint32_t sink_offloads(struct net_backend *backend)
{
	return NET_VNET_HDR | NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
}

static const struct net_driver sink_driver = {.name = "sink", .send = sink_send, .offloads = sink_offloads};
static struct net_backend sink = {.driver = &sink_driver, .id = (char *)"n0", .link_up = true, .queues = 1};

static void build(void)
{
	machine = test_machine_new(RAM_BYTES, true);
	machine->log.items = LOG_GUEST_ERRORS;
	machine->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	clock_free(machine->env.clock);
	machine->env.clock = clock_new(true, 1000000);
	sink.loop = machine->env.loop;
	sink.log = &machine->log;
	machine->backend = &sink;
}

/* Bits 0 to 1 of the choice: width, bit 2: which BAR. */
static void access_register(struct input *input, bool write)
{
	unsigned choice = (unsigned)take(input, 1), size = 1u << (choice & 3) % 3, bar = choice >> 2 & 1;
	uint64_t offset = take(input, 2), base = test_bar_address(machine, DEVFN, bar);
	struct bus *bus =
		test_config_read(machine, DEVFN, 0x10 + 4 * bar, 1) & 1 ? machine->env.io : machine->env.memory;
	uint64_t value = write ? take(input, 4) : 0;

	if (!base)
		return;
	offset &= bus == machine->env.io ? 0xff : 0x7fff;
	if (write)
		bus_write(bus, base + offset, value, size);
	else
		bus_read(bus, base + offset, size);
}

static void fill_memory(struct input *input)
{
	uint64_t gpa = take(input, 3) % (RAM_BYTES - 256);
	size_t length = take(input, 1); /* first, whatever the order in which a compiler takes arguments */

	length = min_u64(length, input->size);
	ram_write(machine->env.ram, gpa, input->data, length);
	input->data += length;
	input->size -= length;
}

static void arrive(struct input *input)
{
	static uint8_t frame[sizeof(struct net_header) + 9000];
	struct iovec iov[2] = {{frame, sizeof(struct net_header)}, {frame + sizeof(struct net_header), 0}};
	size_t length = take(input, 2) % 9000;

	for (unsigned i = 0; i < 18; i++)
		frame[sizeof(struct net_header) + i] = (uint8_t)take(input, 1);
	frame[0] = length & 1 ? NET_HEADER_DATA_VALID : 0;
	iov[1].iov_len = length;
	net_deliver(&sink, 0, iov, 2, length + sizeof(struct net_header));
}

/* Costs as much as a hundred other operations, so an input has only a few. */
static void save_and_load(struct device *card)
{
	struct state_buffer saved = {0};
	struct error err = {0};

	if (saves++ >= SAVES_MOST)
		return;
	state_save(card->class->state, card, &saved);
	if (state_load(card->class->state, card, saved.data, saved.length, &err) != (int64_t)saved.length)
		abort();
	free(saved.data);
}

static void operation(struct device *card, struct input *input)
{
	uint64_t value;

	switch (take(input, 1) % 10) {
	case 0:
	case 1:
	case 2:
		access_register(input, true);
		break;
	case 3:
		access_register(input, false);
		break;
	case 4:
		fill_memory(input);
		break;
	case 5:
		arrive(input);
		break;
	case 6:
		loop_poll(machine->env.loop, 0);
		break;
	case 7:
		value = take(input, 2);
		if (value & 1)
			net_set_link(&sink, value >> 1 & 1);
		else
			test_config_write(machine, DEVFN, 4, (uint32_t)value >> 8, 2);
		break;
	case 8:
		clock_advance(machine->env.clock, (int64_t)take(input, 2) * 1000);
		break;
	default:
		save_and_load(card);
		break;
	}
}

static void power_on(struct device *card, struct state_buffer *saved)
{
	/* What came before has run. */
	loop_poll(machine->env.loop, 0);
	net_set_link(&sink, true);
	clock_stop(machine->env.clock);
	clock_set(machine->env.clock, 0);
	clock_start(machine->env.clock);
	device_reset(card);
	state_save(card->class->state, card, saved);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct state_buffer before = {0}, after = {0};
	struct device *card;

	if (!machine)
		build();
	machine->next_mmio = 0xe0000000;
	machine->next_port = 0xc000;
	saves = 0;
	memset(ram_hva(machine->env.ram, 0, RAM_BYTES), 0, RAM_BYTES);
	card = test_device(machine, cards[take(&input, 1) % ARRAY_SIZE(cards)],
			   "addr=3,netdev=n0,mac=52:54:00:00:00:01,romfile=", NULL);
	if (!card)
		abort();
	power_on(card, &before);
	for (unsigned bar = 0; bar < 2; bar++)
		test_bar_assign(machine, DEVFN, bar);
	test_config_write(machine, DEVFN, 4, 7, 2);
	while (input.size)
		operation(card, &input);
	power_on(card, &after);
	if (before.length != after.length || memcmp(before.data, after.data, after.length))
		abort();
	device_destroy(card);
	free(before.data);
	free(after.data);
	return 0;
}
