/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver that does anything to a virtio network card and to a virtio console: chains of any kind on any queue,
 * control commands, configuration writes, resets, while frames and input arrive from the other side. No crash, no
 * access outside of guest memory, and both work after a reset.
 *
 * Input: byte 0 chooses device and features, then operations of one byte and their operands.
 */
#include "fuzz.h"

#include "backend/char/chardev.h"
#include "backend/net/net.h"
#include "base/loop.h"
#include "base/util.h"
#include "device/virtio/test_guest.h"
#include "device/virtio/virtio.h"

#include <fcntl.h>

enum { NET_DEVFN = 3 << 3, SERIAL_DEVFN = 4 << 3, RAM_BYTES = 4 << 20, QUEUES = 6 };

static struct test_machine *machine;
static struct device *card, *serial;
static struct chardev *chardevs[2];

static volatile unsigned sink_sum;

/* Looks at every byte that the card sends. */
static void sink_send(struct net_backend *backend, const struct iovec *iov, int iov_count, size_t length)
{
	unsigned sum = 0;

	for (int i = 0; i < iov_count; i++)
		for (size_t at = 0; at < iov[i].iov_len; at += 32)
			sum += ((const uint8_t *)iov[i].iov_base)[at];
	sink_sum = sum;
}

static uint32_t sink_offloads(struct net_backend *backend)
{
	return NET_VNET_HDR | NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
}

static const struct net_driver sink_driver = {.name = "sink", .send = sink_send, .offloads = sink_offloads};
static struct net_backend sink = {.driver = &sink_driver, .id = (char *)"n0", .link_up = true, .queues = 2};

static void build(void)
{
	struct options options;

	machine = test_machine_new(RAM_BYTES, true);
	machine->log.items = LOG_GUEST_ERRORS;
	machine->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	sink.loop = machine->env.loop;
	sink.log = &machine->log;
	machine->backend = &sink;
	card = test_device(machine, &virtio_net_pci,
			   "addr=3,netdev=n0,mac=52:54:00:00:00:01,mq=on,rx_queue_size=64,tx_queue_size=64", NULL);
	serial = test_device(machine, &virtio_serial_pci, "addr=4,max_ports=2", NULL);
	if (!card || !serial)
		abort();
	for (int i = 0; i < 2; i++) {
		options_parse(&options, "size=4096", NULL, NULL);
		chardevs[i] = chardev_open("ringbuf", "c", &options, machine->env.loop, &machine->log, NULL, NULL);
		options_free(&options);
		machine->backend = chardevs[i];
		if (!test_device(machine, i ? &virtio_serialport_class : &virtio_console_class, "chardev=c,name=p",
				 NULL) &&
		    !i)
			abort();
	}
}

static void offer_any(struct guest *guest, struct input *input)
{
	struct guest_buffer buffers[4];
	unsigned shape = (unsigned)take(input, 1), count = 1 + shape % 4, queue = (shape >> 2) % QUEUES;

	for (unsigned i = 0; i < count; i++)
		buffers[i] = (struct guest_buffer){.gpa = take(input, 3),
						   .bytes = (uint32_t)take(input, 2),
						   .device_writes = shape >> 5 & (i + 1)};
	if (guest->queues[queue].size)
		guest_offer(guest, queue, buffers, count);
}

/* A well-formed chain whose readable part comes from the input: headers, commands, messages. */
static void offer_bytes(struct guest *guest, struct input *input)
{
	unsigned queue = (unsigned)take(input, 1) % QUEUES, length = (unsigned)take(input, 1) + 1;
	struct guest_buffer buffers[] = {{guest_alloc(guest, 256), length, false}, {guest_alloc(guest, 64), 64, true}};

	for (unsigned i = 0; i < length; i++)
		*guest_memory(guest, buffers[0].gpa + i, 1) = (uint8_t)take(input, 1);
	if (guest->queues[queue].size)
		guest_offer(guest, queue, buffers, 2);
	guest_kick(guest, queue);
	loop_poll(machine->env.loop, 0);
}

static void arrive(struct input *input)
{
	static uint8_t frame[9000];
	struct iovec iov;
	size_t length = take(input, 2) % sizeof(frame);

	for (unsigned i = 0; i < 18; i++)
		frame[i + 12] = (uint8_t)take(input, 1);
	iov = (struct iovec){frame, length};
	net_deliver(&sink, (unsigned)(length & 1), &iov, 1, length);
	chardev_ringbuf_write(chardevs[length & 1], frame, length % 300);
}

static void operation(struct guest *guest, struct input *input)
{
	uint64_t value;

	switch (take(input, 1) % 10) {
	case 0:
	case 1:
		offer_any(guest, input);
		break;
	case 2:
	case 3:
		offer_bytes(guest, input);
		break;
	case 4:
	case 5:
		guest_kick(guest, (unsigned)take(input, 1) % QUEUES);
		loop_poll(machine->env.loop, 0);
		break;
	case 6:
		arrive(input);
		break;
	case 7:
		value = take(input, 1);
		guest_config_write(guest, value & 31, take(input, 4), 1u << (value >> 5) % 3);
		guest_config(guest, value & 31, 4);
		break;
	case 8:
		net_set_link(&sink, take(input, 1) & 1);
		break;
	default: /* over a ring */
		value = take(input, 2);
		ram_write(machine->env.ram, guest->queues[value % QUEUES].avail + (value >> 3 & 0xff), &value, 2);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct guest guest;
	uint64_t mode;

	if (!machine)
		build();
	mode = take(&input, 4);
	machine->next_mmio = 0xe0000000;
	machine->next_port = 0xc000;
	device_reset(card);
	device_reset(serial);
	memset(ram_hva(machine->env.ram, 0, RAM_BYTES / 2), 0, RAM_BYTES / 2);
	guest_open(&guest, machine, mode & 1 ? SERIAL_DEVFN : NET_DEVFN, false);
	guest_start(&guest, mode & 1 ? mode >> 1 & 7 : mode & ~1ull, mode & 1 ? QUEUES : 5);
	while (input.size && guest.heap < RAM_BYTES - 0x10000)
		operation(&guest, &input);
	loop_poll(machine->env.loop, 0);
	guest.heap = 0x100000;
	guest_start(&guest, 0, 1);
	if (guest_read_status(&guest) != 15)
		abort();
	return 0;
}
