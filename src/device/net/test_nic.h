/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of network cards: a card in a machine without CPUs, a back end that records what it sends. The "driver" is
 * the test. The clock only moves by test_nic_pass. */
#ifndef XUNI_DEVICE_NET_TEST_NIC_H
#define XUNI_DEVICE_NET_TEST_NIC_H

#include "backend/net/net.h"
#include "device/pci/test_machine.h"

enum { TEST_NIC_DEVFN = 3 << 3 };

struct test_nic {
	struct net_backend backend; /* first */
	struct test_machine *machine;
	struct device *card;
	uint32_t can; /* offloads of the back end */
	/* The last frame sent, without header, and how many there were. */
	uint8_t sent[70000];
	size_t sent_bytes;
	struct net_header header;
	unsigned frames, resumes;
	uint64_t base[2]; /* of the BARs */
};

/* "addr=3,netdev=n0,mac=52:54:00:aa:bb:cc" and options. can: enum net_offload. */
struct test_nic *test_nic_new(const struct device_class *class, const char *options, uint32_t can);
void test_nic_free(struct test_nic *nic);

void test_nic_write(struct test_nic *nic, unsigned bar, unsigned offset, uint32_t value, unsigned size);
uint32_t test_nic_read(struct test_nic *nic, unsigned bar, unsigned offset, unsigned size);
void *test_nic_memory(struct test_nic *nic, uint64_t gpa);
/* INTA# as the card drives it. */
bool test_nic_irq(const struct test_nic *nic);
/* A frame from the network with checksums that the back end vouches for; what net_deliver says. */
bool test_nic_deliver(struct test_nic *nic, const uint8_t *frame, size_t length);
/* Virtual time passes and what is due runs. */
void test_nic_pass(struct test_nic *nic, int64_t ns);
/* Saves, resets the card, loads; fails the test when that is refused. */
void test_nic_save_and_load(struct test_nic *nic);

/* A TCP packet over IPv4 from the card's address with `payload` bytes of data, checksums open. Returns its length. */
size_t test_nic_tcp(uint8_t *frame, size_t payload);
/* Addressed to the card, a pattern behind. */
void test_nic_frame(uint8_t *frame, size_t length, unsigned seed);

#endif
