/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests and fuzz targets: a machine without CPUs. RAM, buses, clock, loop, a PCI bus with its board functions, and
 * what arrives at the interrupt controllers is written down. The "guest" is the test, which uses ports and memory.
 */
#ifndef XUNI_DEVICE_PCI_TEST_MACHINE_H
#define XUNI_DEVICE_PCI_TEST_MACHINE_H

#include "base/log.h"
#include "core/device.h"
#include "device/pci/pci.h"

#include <pthread.h>

enum { TEST_MESSAGES = 64 };

struct test_machine {
	struct device_env env;
	struct log log;
	struct pci_bus *bus;
	struct device *host_bridge, *isa_bridge;
	bool isa_level[16];
	unsigned isa_edges[16];   /* rising */
	struct msi_message messages[TEST_MESSAGES];
	unsigned message_count;   /* all that came */
	pthread_mutex_t lock;     /* the above */
	unsigned requests[16];    /* by enum machine_request */
	uint64_t next_mmio, next_port;
	/* The one back end that properties find, whatever its type. */
	void *backend;
};

/* eventfds: doorbells through the loop. */
struct test_machine *test_machine_new(uint64_t ram_bytes, bool eventfds);
void test_machine_free(struct test_machine *machine);

/* options as after -device, without the name: "addr=3,vectors=2" or NULL. */
struct device *test_device(struct test_machine *machine, const struct device_class *class, const char *options,
                           struct error *err);

/* Configuration mechanism #1 and BARs, through the ports. */
uint32_t test_config_read(struct test_machine *machine, unsigned devfn, unsigned offset, unsigned size);
void test_config_write(struct test_machine *machine, unsigned devfn, unsigned offset, uint32_t value, unsigned size);
/* Sizes the BAR as firmware does, gives it an address and returns that; 0 when there is none. */
uint64_t test_bar_assign(struct test_machine *machine, unsigned devfn, unsigned bar);
uint64_t test_bar_address(struct test_machine *machine, unsigned devfn, unsigned bar);
/* The next capability of that id after `after` (0: the first), or 0. */
unsigned test_capability(struct test_machine *machine, unsigned devfn, uint8_t id, unsigned after);

/* Runs the loop until nothing is ready for a millisecond. */
void test_settle(struct test_machine *machine);

#endif
