/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver that does anything: the input is a program that writes into ring memory, uses the registers and rings
 * doorbells of a device: one which reads all that it is given and fills all that it may write, or a virtio disk. What must
 * hold: no crash, no access outside of guest memory, and after a reset the device works.
 *
 * Input: byte 0 chooses the device, the ring format and the features, then operations of one byte and their operands.
 */
#include "fuzz.h"

#include "backend/block/block.h"
#include "base/loop.h"
#include "base/util.h"
#include "device/virtio/test_guest.h"
#include "device/virtio/virtio.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { SINK_DEVFN = 3 << 3, DISK_DEVFN = 4 << 3, RAM_BYTES = 4 << 20, KEEP_MAX = 8, DISK_MODE = 16 };

struct sink {
	struct virtio_device virtio;
	struct virtq_element *kept[KEEP_MAX];
	unsigned turn;
	uint64_t sum;
};

/* What models do with elements, in turn: push, hold and push later, give back, drop, publish several at once. */
static void handle(struct virtio_device *device, struct virtqueue *queue)
{
	struct sink *sink = (struct sink *)device;
	struct virtq_element *element;

	do {
		virtqueue_kicks_off(queue);
		virtqueue_has_room(queue, sink->turn % 3000);
		while ((element = virtqueue_pop(queue))) {
			uint8_t bytes[64];
			unsigned at = sink->turn % KEEP_MAX;

			for (unsigned i = 0; i < element->out_count; i++)
				for (size_t b = 0; b < element->out[i].iov_len; b += 64)
					sink->sum += ((uint8_t *)element->out[i].iov_base)[b];
			sink->sum += iov_read(element->out, element->out_count, sink->turn % 100, bytes, sizeof(bytes));
			iov_fill(element->in, element->in_count, 0, 0x5a, 100000);
			iov_skip(&element->out, &element->out_count, sink->turn % 40);
			iov_trim(element->in, &element->in_count, sink->turn % 7);
			switch (sink->turn++ % 8) {
			case 0:
				if (sink->kept[at])
					virtqueue_push(sink->kept[at], 1);
				sink->kept[at] = element;
				break;
			case 1:
				virtqueue_drop(element);
				break;
			case 2:
				virtqueue_fill(element, 7);
				break;
			case 3:
				virtqueue_unpop(element);
				virtqueue_kicks_on(queue);
				virtqueue_notify(queue);
				return;
			default:
				virtqueue_push(element, element->in_bytes + 10);
				break;
			}
		}
		virtqueue_publish(queue);
	} while (virtqueue_kicks_on(queue));
	virtqueue_notify(queue);
}

static void drop_kept(struct virtio_device *device)
{
	struct sink *sink = (struct sink *)device;

	for (unsigned i = 0; i < KEEP_MAX; i++) {
		struct virtq_element *element = sink->kept[i];

		sink->kept[i] = NULL;
		if (!element)
			continue;
		virtqueue_enter(element->queue);
		virtqueue_drop(element);
		virtqueue_leave(element->queue);
	}
}

static void queue_reset(struct virtio_device *device, struct virtqueue *queue)
{
	drop_kept(device);
}

static int init(struct virtio_device *device, struct error *err)
{
	virtio_queue_add(device, 64, 0, NULL, handle);
	virtio_queue_add(device, 8, 0, NULL, handle);
	return 0;
}

static const struct virtio_class model = {
        .name = "sink",
        .id = VIRTIO_ID_RNG,
        .config_size = 16,
        .init = init,
        .reset = drop_kept,
        .queue_reset = queue_reset,
};

static const struct property properties[] = {VIRTIO_PCI_PROPERTIES(struct sink), {.name = NULL}};

VIRTIO_PCI_CLASS_ONE(sink_class, "sink", NULL, "", struct sink, properties, NULL, &model, 0, VIRTIO_PCI_DEFAULT);

/* A place in one of the rings, where writes matter. */
static uint64_t ring_place(const struct guest *guest, uint64_t choice)
{
	const struct guest_queue *queue = &guest->queues[choice & 1];
	const uint64_t areas[] = {queue->desc, queue->avail, queue->used, 0x8000};

	return areas[choice >> 1 & 3] + (choice >> 3 & 0x3ff);
}

static void operation(struct guest *guest, struct input *input)
{
	struct guest_buffer buffers[4];
	uint64_t at, value;
	unsigned count;

	switch (take(input, 1) % 14) {
	case 0:
	case 1: /* a descriptor with plausible parts */
		at = ring_place(guest, take(input, 1) & 1) & ~15ull;
		at += take(input, 1) % 16 * 16;
		value = take(input, 2) << 8;
		ram_write(guest->machine->env.ram, at, &value, 8);
		value = take(input, 6);
		ram_write(guest->machine->env.ram, at + 8, &value, 8);
		break;
	case 2:
	case 3: /* any bytes */
		at = ring_place(guest, take(input, 2));
		value = take(input, 4);
		ram_write(guest->machine->env.ram, at, &value, 4);
		break;
	case 4:
	case 5: /* a good chain */
		count = 1 + take(input, 1) % 4;
		for (unsigned i = 0; i < count; i++)
			buffers[i] = (struct guest_buffer){.gpa = take(input, 3), .bytes = (uint32_t)take(input, 2), .device_writes = i >= 2};
		if (guest->queues[0].size)
			guest_offer(guest, 0, buffers, count);
		break;
	case 6:
	case 7:
		guest_kick(guest, take(input, 1) & 3);
		loop_poll(guest->machine->env.loop, 0);
		break;
	case 8:
		value = take(input, 1);
		guest_common_write(guest, value & 63, take(input, 8), 1u << (value >> 6));
		break;
	case 9:
		guest_common_read(guest, take(input, 1) & 63, 8);
		break;
	case 10:
		guest->queues[0].indirect = take(input, 1) & 1;
		break;
	case 11: /* a request for the disk */
	case 12:
		value = take(input, 1);
		ram_write(guest->machine->env.ram, 0x8000, &value, 8);
		value = take(input, 2);
		ram_write(guest->machine->env.ram, 0x8008, &value, 8);
		buffers[0] = (struct guest_buffer){0x8000, 16, false};
		buffers[1] = (struct guest_buffer){0x9000, (uint32_t)(take(input, 1) << 4 | 16), take(input, 1) & 1};
		buffers[2] = (struct guest_buffer){0x8010, 1, true};
		if (guest->queues[0].size)
			guest_offer(guest, 0, buffers, 3);
		break;
	default: /* over the available index of a split ring */
		value = take(input, 2);
		ram_write(guest->machine->env.ram, guest->queues[0].avail + 2, &value, 2);
		break;
	}
}

static struct test_machine *build(struct device *devices[2])
{
	struct test_machine *machine = test_machine_new(RAM_BYTES, true);
	struct block_graph *graph = block_graph_new(&machine->log);
	struct options options = {0};

	machine->log.items = LOG_GUEST_ERRORS;
	machine->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	options_parse(&options, "driver=null-co,node-name=d,size=1M,read-zeroes=on", NULL, NULL);
	machine->backend = block_open_options(graph, &options, NULL);
	options_free(&options);
	devices[0] = test_device(machine, &sink_class, "addr=3,packed=on", NULL);
	devices[1] = test_device(machine, &virtio_blk_pci, "addr=4,drive=d,packed=on,num-queues=2,queue-size=16", NULL);
	if (!devices[0] || !devices[1])
		abort();
	return machine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct test_machine *machine;
	static struct device *devices[2];
	struct input input = {data, size};
	struct guest guest;
	uint8_t mode;

	if (!machine)
		machine = build(devices);
	mode = (uint8_t)take(&input, 1);
	machine->next_mmio = 0xe0000000;
	machine->next_port = 0xc000;
	device_reset(devices[0]);
	device_reset(devices[1]);
	memset(ram_hva(machine->env.ram, 0, RAM_BYTES / 2), 0, RAM_BYTES / 2);
	guest_open(&guest, machine, mode & DISK_MODE ? DISK_DEVFN : SINK_DEVFN, mode & 8);
	guest_start(&guest,
	            (mode & 1 ? 1ull << 28 : 0) | (mode & 2 ? 1ull << 29 : 0) | (mode & 4 ? 1ull << 34 : 0) | 1ull << 40 |
	                    (mode & DISK_MODE ? 0x7e00 : 0),
	            2);
	/* A guest that is at its end of memory stops. */
	while (input.size && guest.heap < RAM_BYTES - 0x10000)
		operation(&guest, &input);
	loop_poll(machine->env.loop, 0);
	/* Whatever happened, it works after a reset. A legacy driver does not wait until that is done, and the loop that
	 * would complete requests is this thread's. */
	guest_status(&guest, 0);
	for (unsigned i = 0; i < 2; i++)
		while (virtqueue_in_flight(virtio_queue((struct virtio_device *)devices[mode & DISK_MODE ? 1 : 0], i)))
			loop_poll(machine->env.loop, 1000000);
	guest.heap = 0x100000;
	guest_start(&guest, 0, 1);
	if (guest_read_status(&guest) != (guest.legacy ? 7 : 15))
		abort();
	return 0;
}
