/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For the tests of this folder: a machine without CPUs with images in files, and what a driver does with ports. */
#ifndef XUNI_DEVICE_STORAGE_TEST_DISKS_H
#define XUNI_DEVICE_STORAGE_TEST_DISKS_H

#include "backend/block/block.h"
#include "device/pci/test_machine.h"

enum { TEST_DISKS = 3, TEST_DEVICES = 12 };

struct test_disks {
	struct test_machine *machine;
	struct block_graph *graph;
	struct block *blocks[TEST_DISKS];
	char paths[TEST_DISKS][40];
	int fds[TEST_DISKS];
	struct device *devices[TEST_DEVICES];
	unsigned count;
};

/* Images of these sizes; 0: none. Every 512-byte sector of them begins with its number. */
struct test_disks *test_disks_new(const uint64_t bytes[TEST_DISKS]);
void test_disks_free(struct test_disks *t);
/* Plugs in a device whose drive= is image `disk`; -1: none. */
struct device *test_disks_add(struct test_disks *t, const struct device_class *class, int disk, const char *options);

void port_out(struct test_disks *t, uint16_t port, uint32_t value, unsigned size);
uint32_t port_in(struct test_disks *t, uint16_t port, unsigned size);
/* Runs the loop until (reads of the port & mask) == value; fails after 5 s. */
void port_wait(struct test_disks *t, uint16_t port, uint8_t mask, uint8_t value);
void memory_put(struct test_disks *t, uint64_t gpa, const void *from, size_t bytes);
void memory_get(struct test_disks *t, uint64_t gpa, void *to, size_t bytes);
uint32_t memory_word(struct test_disks *t, uint64_t gpa);

#endif
