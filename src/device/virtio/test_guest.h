/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests and fuzz targets: a virtio driver as small as it can be. It finds the device by configuration space, maps its
 * BARs, negotiates and sets up queues through the registers of either interface, and knows split and packed rings.
 */
#ifndef XUNI_DEVICE_VIRTIO_TEST_GUEST_H
#define XUNI_DEVICE_VIRTIO_TEST_GUEST_H

#include "core/ram.h"
#include "device/pci/test_machine.h"

struct guest_buffer {
	uint64_t gpa;
	uint32_t bytes;
	bool device_writes;
};

struct guest_queue {
	uint64_t desc, avail, used;
	uint16_t size;
	bool packed, event_idx, indirect;
	uint16_t chain;     /* packed, not indirect: descriptors of every chain */
	uint16_t free_next; /* descriptors are handed out in turn */
	uint16_t avail_index, used_index;
	bool avail_wrap, used_wrap;
};

struct guest {
	struct test_machine *machine;
	unsigned devfn;
	bool legacy;
	uint64_t common, notify, isr, device; /* addresses in memory */
	uint32_t notify_stride;
	uint64_t port;
	uint64_t features;
	uint64_t heap; /* next free byte of guest memory */
	struct guest_queue queues[8];
};

/* Maps the BARs and enables decoding and bus mastering. */
void guest_open(struct guest *guest, struct test_machine *machine, unsigned devfn, bool legacy);
uint64_t guest_alloc(struct guest *guest, uint64_t bytes);
uint8_t *guest_memory(struct guest *guest, uint64_t gpa, uint64_t bytes);

/* Registers of the interface in use. */
void guest_status(struct guest *guest, uint8_t status);
uint8_t guest_read_status(struct guest *guest);
uint64_t guest_offered(struct guest *guest);
/* Reset, ACKNOWLEDGE, DRIVER, features & offered, FEATURES_OK; false when the device refuses. */
bool guest_negotiate(struct guest *guest, uint64_t features);
/* Rings in newly allocated memory; size 0: the device's own. */
void guest_queue_setup(struct guest *guest, unsigned index, uint16_t size);
/* All of it: negotiate, `queues` queues, DRIVER_OK. */
void guest_start(struct guest *guest, uint64_t features, unsigned queues);
uint64_t guest_config(struct guest *guest, unsigned offset, unsigned size);
void guest_config_write(struct guest *guest, unsigned offset, uint64_t value, unsigned size);

/* Offers a chain (through an indirect table when the queue says so) without telling the device. */
void guest_offer(struct guest *guest, unsigned index, const struct guest_buffer *buffers, unsigned count);
void guest_kick(struct guest *guest, unsigned index);
/* The next used element, or false: id and written length. */
bool guest_take_used(struct guest *guest, unsigned index, uint32_t *id, uint32_t *written);
/* Runs the loop until the queue has a used element (5 s at most). */
bool guest_wait_used(struct guest *guest, unsigned index, uint32_t *id, uint32_t *written);

/* The device's common configuration, for tests that go beside the path. */
uint64_t guest_common_read(struct guest *guest, unsigned offset, unsigned size);
void guest_common_write(struct guest *guest, unsigned offset, uint64_t value, unsigned size);

#endif
