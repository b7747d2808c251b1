/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The card of test_nic.h. */
#include "device/net/test_nic.h"

#include "base/loop.h"
#include "base/util.h"
#include "core/clock.h"
#include "core/ram.h"
#include "core/state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t mac[6] = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcc};

static void record(struct net_backend *backend, const struct iovec *iov, int iov_count, size_t length)
{
	struct test_nic *nic = (struct test_nic *)backend;
	size_t skip = nic->can & NET_VNET_HDR ? sizeof(nic->header) : 0;

	nic->sent_bytes = 0;
	for (int i = 0; i < iov_count; i++) {
		if (skip && i == 0) {
			assert(iov[i].iov_len == skip);
			memcpy(&nic->header, iov[i].iov_base, skip);
			continue;
		}
		memcpy(nic->sent + nic->sent_bytes, iov[i].iov_base, iov[i].iov_len);
		nic->sent_bytes += iov[i].iov_len;
	}
	assert(nic->sent_bytes == length - skip);
	nic->frames++;
}

static void resume(struct net_backend *backend)
{
	((struct test_nic *)backend)->resumes++;
}

static uint32_t offloads(struct net_backend *backend)
{
	return ((struct test_nic *)backend)->can;
}

static const struct net_driver driver = {.name = "recorder", .send = record, .resume = resume, .offloads = offloads};

struct test_nic *test_nic_new(const struct device_class *class, const char *options, uint32_t can)
{
	struct test_nic *nic = xcalloc(1, sizeof(*nic));
	char *all = xasprintf("addr=3,netdev=n0,mac=52:54:00:aa:bb:cc,romfile=%s%s", *options ? "," : "", options);
	struct error err = {0};

	nic->machine = test_machine_new(4 * MIB, true);
	clock_free(nic->machine->env.clock);
	nic->machine->env.clock = clock_new(true, 1000000);
	clock_start(nic->machine->env.clock);
	nic->can = can;
	nic->backend = (struct net_backend){.driver = &driver,
					    .id = (char *)"n0",
					    .loop = nic->machine->env.loop,
					    .log = &nic->machine->log,
					    .link_up = true,
					    .queues = 1};
	nic->machine->backend = &nic->backend;
	nic->card = test_device(nic->machine, class, all, &err);
	free(all);
	if (!nic->card) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
	for (unsigned bar = 0; bar < 2; bar++)
		nic->base[bar] = test_bar_assign(nic->machine, TEST_NIC_DEVFN, bar);
	test_config_write(nic->machine, TEST_NIC_DEVFN, 4, 7, 2);
	return nic;
}

void test_nic_free(struct test_nic *nic)
{
	device_destroy(nic->card);
	test_machine_free(nic->machine);
	free(nic);
}

static struct bus *bus_of(struct test_nic *nic, unsigned bar)
{
	bool ports = test_config_read(nic->machine, TEST_NIC_DEVFN, 0x10 + 4 * bar, 1) & 1;

	return ports ? nic->machine->env.io : nic->machine->env.memory;
}

void test_nic_write(struct test_nic *nic, unsigned bar, unsigned offset, uint32_t value, unsigned size)
{
	bus_write(bus_of(nic, bar), nic->base[bar] + offset, value, size);
	test_settle(nic->machine);
}

uint32_t test_nic_read(struct test_nic *nic, unsigned bar, unsigned offset, unsigned size)
{
	return (uint32_t)bus_read(bus_of(nic, bar), nic->base[bar] + offset, size);
}

void *test_nic_memory(struct test_nic *nic, uint64_t gpa)
{
	return ram_hva(nic->machine->env.ram, gpa, 1);
}

bool test_nic_irq(const struct test_nic *nic)
{
	return ((const struct pci_device *)nic->card)->intx_level;
}

bool test_nic_deliver(struct test_nic *nic, const uint8_t *frame, size_t length)
{
	struct net_header header = {.flags = NET_HEADER_DATA_VALID};
	struct iovec iov[2] = {{&header, sizeof(header)}, {(void *)frame, length}};
	bool with = nic->can & NET_VNET_HDR;

	return net_deliver(&nic->backend, 0, with ? iov : iov + 1, with ? 2 : 1, length + (with ? sizeof(header) : 0));
}

void test_nic_pass(struct test_nic *nic, int64_t ns)
{
	clock_advance(nic->machine->env.clock, ns);
	test_settle(nic->machine);
}

void test_nic_save_and_load(struct test_nic *nic)
{
	struct state_buffer saved = {0};
	struct error err = {0};

	state_save(nic->card->class->state, nic->card, &saved);
	device_reset(nic->card);
	if (state_load(nic->card->class->state, nic->card, saved.data, saved.length, &err) != (int64_t)saved.length) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
	free(saved.data);
	test_settle(nic->machine);
}

size_t test_nic_tcp(uint8_t *frame, size_t payload)
{
	static const uint8_t head[54] = {0x52, 0x55, 10, 0,  2,  2, 0x52, 0x54, 0,    0xaa, 0xbb, 0xcc, 8,
					 0,    0x45, 0,  0,  0,  0, 1,    0x40, 0,    64,   6,    0,    0,
					 10,   0,    2,  15, 10, 0, 2,    2,    3,    0xe8, 0,    80,   0,
					 0,    0,    1,  0,  0,  0, 2,    0x50, 0x10, 4,    0};

	memcpy(frame, head, sizeof(head));
	store_be16(frame + 16, (uint16_t)(40 + payload));
	for (size_t i = 0; i < payload; i++)
		frame[sizeof(head) + i] = (uint8_t)(i * 7 + i / 256);
	return sizeof(head) + payload;
}

void test_nic_frame(uint8_t *frame, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		frame[i] = (uint8_t)(i * 13 + seed + i / 200);
	memcpy(frame, mac, 6);
	store_be16(frame + 12, 0x88b5); /* for local experiments */
}
