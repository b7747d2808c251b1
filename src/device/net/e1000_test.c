/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8254x by its registers and rings. */
#include "base/util.h"
#include "device/net/e1000.h"
#include "device/net/net_devices.h"
#include "device/net/test_nic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
	TX_RING = 0x1000,
	RX_RING = 0x2000,
	BUFFERS = 0x10000,
	FRAME = 0x8000,
	RX_COUNT = 8,
	CAN = NET_VNET_HDR | NET_CSUM | NET_TSO4
};

static struct test_nic *plug(uint32_t can)
{
	return test_nic_new(&e1000_class, "", can);
}

static void set(struct test_nic *nic, unsigned offset, uint32_t value)
{
	test_nic_write(nic, 0, offset, value, 4);
}

static uint32_t get(struct test_nic *nic, unsigned offset)
{
	return test_nic_read(nic, 0, offset, 4);
}

static void start(struct test_nic *nic, uint32_t rctl)
{
	for (unsigned i = 0; i < RX_COUNT; i++) {
		store_le64(test_nic_memory(nic, RX_RING + 16 * i), BUFFERS + 2048 * i);
		store_le64(test_nic_memory(nic, RX_RING + 16 * i + 8), 0);
	}
	set(nic, E1000_RDBAL, RX_RING);
	set(nic, E1000_RDLEN, 16 * RX_COUNT);
	set(nic, E1000_TDBAL, TX_RING);
	set(nic, E1000_TDLEN, 256);
	set(nic, E1000_TCTL, E1000_TCTL_EN);
	set(nic, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_BAM | rctl);
	set(nic, E1000_RDT, RX_COUNT - 1);
	set(nic, E1000_IMS, E1000_ICR_RXT0 | E1000_ICR_TXDW | E1000_ICR_LSC);
}

static void describe(struct test_nic *nic, unsigned index, uint64_t gpa, uint32_t command, uint32_t status)
{
	store_le64(test_nic_memory(nic, TX_RING + 16 * index), gpa);
	store_le32(test_nic_memory(nic, TX_RING + 16 * index + 8), command);
	store_le32(test_nic_memory(nic, TX_RING + 16 * index + 12), status);
}

static void identity_is_in_the_eeprom(void **state)
{
	struct test_nic *nic = plug(CAN);
	uint16_t sum = 0, word = 0;
	static const uint8_t command[] = {1, 1, 0, 0, 0, 0, 0, 0, 1}; /* read word 1 */

	assert_int_equal(test_config_read(nic->machine, TEST_NIC_DEVFN, 0, 4), 0x100e8086);
	for (unsigned i = 0; i < 64; i++) {
		set(nic, E1000_EERD, i << 8 | 1);
		assert_true(get(nic, E1000_EERD) & 0x10);
		sum = (uint16_t)(sum + (get(nic, E1000_EERD) >> 16));
	}
	assert_int_equal(sum, 0xbaba);
	set(nic, E1000_EECD, 0x40);
	assert_int_equal(get(nic, E1000_EECD) & 0xc0, 0xc0);
	set(nic, E1000_EECD, 0x42);
	for (unsigned i = 0; i < sizeof(command) + 16; i++) {
		uint32_t in = i < sizeof(command) && command[i] ? 4 : 0;

		set(nic, E1000_EECD, 0x42 | in);
		set(nic, E1000_EECD, 0x43 | in);
		if (i == sizeof(command) - 1)
			assert_false(get(nic, E1000_EECD) & 8);
		if (i >= sizeof(command))
			word = (uint16_t)(word << 1 | (get(nic, E1000_EECD) >> 3 & 1));
		set(nic, E1000_EECD, 0x42 | in);
	}
	assert_int_equal(word, 0xaa00);
	set(nic, E1000_MDIC, 1 << 21 | 2 << 26 | 2 << 16);
	assert_int_equal(get(nic, E1000_MDIC), 1u << 28 | 2 << 26 | 1 << 21 | 2 << 16 | 0x0141);
	test_nic_free(nic);
}

static void legacy_descriptors_send(void **state)
{
	struct test_nic *nic = plug(CAN);
	uint8_t *frame = test_nic_memory(nic, FRAME);

	start(nic, 0);
	test_nic_frame(frame, 300, 1);
	describe(nic, 0, FRAME, 100, 0);
	describe(nic, 1, FRAME + 100, 200 | 0x0b << 24, 0); /* EOP, IFCS, RS */
	set(nic, E1000_TDT, 2);
	assert_int_equal(nic->frames, 1);
	assert_int_equal(nic->sent_bytes, 300);
	assert_memory_equal(nic->sent, frame, 300);
	assert_int_equal(get(nic, E1000_TDH), 2);
	assert_int_equal(load_le32(test_nic_memory(nic, TX_RING + 28)) & 1, 1);
	assert_true(test_nic_irq(nic));
	assert_true(get(nic, E1000_ICR) & E1000_ICR_TXDW);
	assert_false(test_nic_irq(nic));
	assert_int_equal(get(nic, E1000_GPTC), 1);
	assert_int_equal(get(nic, E1000_GPTC), 0);
	test_nic_free(nic);
}

/* What stands on the wire is right to the last checksum. */
static void check_tcp(const uint8_t *data, size_t length)
{
	struct frame frame;

	assert_true(frame_parse(data, length, &frame));
	assert_int_equal(checksum_fold(checksum_add(0, data + frame.ip, 20)), 0xffff);
	assert_int_equal(checksum_fold(checksum_add(checksum_pseudo(data, &frame, frame.end - frame.l4),
						    data + frame.l4, frame.end - frame.l4)),
			 0xffff);
}

static void send_large(struct test_nic *nic, size_t payload, uint32_t more, uint32_t tag)
{
	size_t length = test_nic_tcp(test_nic_memory(nic, FRAME), payload);

	/* Context: IP header 14 to 33 with its sum at 24, TCP from 34 with its sum at 50; MSS 1000. */
	store_le64(test_nic_memory(nic, TX_RING), 14 | 24 << 8 | 33 << 16 | 34ull << 32 | 50ull << 40);
	store_le32(test_nic_memory(nic, TX_RING + 8), 0x27u << 24 | (uint32_t)payload);
	store_le32(test_nic_memory(nic, TX_RING + 12), 54 << 8 | 1000u << 16);
	describe(nic, 1, FRAME, (uint32_t)length | 1 << 20 | 0x2du << 24 | more, 3 << 8 | tag << 16);
	set(nic, E1000_TDT, 2);
}

static void large_packets_go_whole_or_cut(void **state)
{
	struct test_nic *nic = plug(CAN);

	start(nic, 0);
	send_large(nic, 2500, 0, 0);
	assert_int_equal(nic->frames, 1);
	assert_int_equal(nic->header.gso_type, NET_GSO_TCP4);
	assert_int_equal(nic->header.gso_size, 1000);
	assert_int_equal(nic->header.csum_start, 34);
	assert_int_equal(load_be16(nic->sent + 16), 2540);
	test_nic_free(nic);

	nic = plug(0);
	start(nic, 0);
	send_large(nic, 2500, 0, 0);
	assert_int_equal(nic->frames, 3);
	assert_int_equal(nic->sent_bytes, 54 + 500);
	check_tcp(nic->sent, nic->sent_bytes);
	test_nic_free(nic);
}

static void tags_come_and_go(void **state)
{
	struct test_nic *nic = plug(CAN);
	uint8_t frame[200];
	uint32_t status;

	start(nic, 0);
	set(nic, E1000_CTRL, get(nic, E1000_CTRL) | E1000_CTRL_VME);
	send_large(nic, 2500, 1u << 30, 0x2005);
	assert_int_equal(load_be32(nic->sent + 12), 0x81002005);
	assert_int_equal(nic->header.csum_start, 38);
	test_nic_frame(frame, sizeof(frame), 4);
	store_be32(frame + 12, 0x81000007);
	assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
	status = load_le32(test_nic_memory(nic, RX_RING + 12));
	assert_int_equal(status & 8, 8);
	assert_int_equal(status >> 16, 7);
	assert_int_equal(load_le16(test_nic_memory(nic, RX_RING + 8)), sizeof(frame) - 4 + 4);
	assert_memory_equal((uint8_t *)test_nic_memory(nic, BUFFERS) + 12, frame + 16, sizeof(frame) - 16);
	/* With the filter only the VLANs of the table. */
	set(nic, E1000_RCTL, get(nic, E1000_RCTL) | E1000_RCTL_VFE);
	assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
	assert_int_equal(get(nic, E1000_RDH), 1);
	set(nic, E1000_VFTA, 1 << 7);
	assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
	assert_int_equal(get(nic, E1000_RDH), 2);
	test_nic_free(nic);
}

static void filters_decide(void **state)
{
	struct test_nic *nic = plug(CAN);
	uint8_t frame[60] = {0};

	start(nic, 0);
	memset(frame, 0xff, 6);
	test_nic_deliver(nic, frame, 60);
	assert_int_equal(get(nic, E1000_RDH), 1);
	memcpy(frame, "\x52\x54\x00\xaa\xbb\xcd", 6);
	test_nic_deliver(nic, frame, 60);
	memcpy(frame, "\x01\x00\x5e\x00\x00\xfb", 6);
	test_nic_deliver(nic, frame, 60);
	assert_int_equal(get(nic, E1000_RDH), 1);
	/* Bits 47 to 36 of the address choose the bit of the table: 0xfb0. */
	set(nic, E1000_MTA + 4 * (0xfb0 >> 5), 1u << (0xfb0 & 31));
	test_nic_deliver(nic, frame, 60);
	assert_int_equal(get(nic, E1000_RDH), 2);
	set(nic, E1000_RCTL, get(nic, E1000_RCTL) | E1000_RCTL_UPE);
	memcpy(frame, "\x52\x54\x00\xaa\xbb\xcd", 6);
	test_nic_deliver(nic, frame, 60);
	assert_int_equal(get(nic, E1000_RDH), 3);
	assert_int_equal(get(nic, E1000_BPRC), 1);
	assert_int_equal(get(nic, E1000_MPRC), 1);
	test_nic_free(nic);
}

static void full_ring_makes_the_back_end_wait(void **state)
{
	struct test_nic *nic = plug(CAN);
	uint8_t frame[1000];
	unsigned resumes;

	start(nic, 0);
	test_nic_frame(frame, sizeof(frame), 9);
	for (unsigned i = 0; i < RX_COUNT - 1; i++)
		assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
	assert_false(test_nic_deliver(nic, frame, sizeof(frame)));
	assert_true(get(nic, E1000_ICR) & E1000_ICR_RXO);
	resumes = nic->resumes;
	set(nic, E1000_RDT, 2);
	assert_true(nic->resumes > resumes);
	assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
	assert_memory_equal(test_nic_memory(nic, BUFFERS + 2048 * (RX_COUNT - 1)), frame, sizeof(frame));
	test_nic_free(nic);
}

static void throttling_holds_interrupts_back(void **state)
{
	struct test_nic *nic = plug(CAN);
	uint8_t frame[100];

	start(nic, 0);
	test_nic_frame(frame, sizeof(frame), 3);
	set(nic, E1000_ITR, 1000); /* 256 us */
	test_nic_deliver(nic, frame, sizeof(frame));
	assert_true(test_nic_irq(nic));
	get(nic, E1000_ICR);
	test_nic_deliver(nic, frame, sizeof(frame));
	assert_false(test_nic_irq(nic));
	test_nic_pass(nic, 255 * NS_PER_US);
	assert_false(test_nic_irq(nic));
	test_nic_pass(nic, 1 * NS_PER_US);
	assert_true(test_nic_irq(nic));
	/* RDTR delays the first one already. */
	get(nic, E1000_ICR);
	set(nic, E1000_ITR, 0);
	set(nic, E1000_RDTR, 10);
	test_nic_deliver(nic, frame, sizeof(frame));
	assert_false(test_nic_irq(nic));
	test_nic_pass(nic, 10240);
	assert_true(test_nic_irq(nic));
	test_nic_free(nic);
}

static void the_cable_is_seen(void **state)
{
	struct test_nic *nic = plug(CAN);

	start(nic, 0);
	assert_true(get(nic, E1000_STATUS) & E1000_STATUS_LU);
	net_set_link(&nic->backend, false);
	assert_false(get(nic, E1000_STATUS) & E1000_STATUS_LU);
	assert_true(test_nic_irq(nic));
	assert_int_equal(get(nic, E1000_ICR), E1000_ICR_LSC);
	set(nic, E1000_MDIC, 1 << 21 | 2 << 26 | 1 << 16);
	assert_int_equal(get(nic, E1000_MDIC) & 0x24, 0);
	net_set_link(&nic->backend, true);
	set(nic, E1000_MDIC, 1 << 21 | 2 << 26 | 1 << 16);
	assert_int_equal(get(nic, E1000_MDIC) & 0x24, 0x24);
	test_nic_free(nic);
}

static void loopback_comes_back(void **state)
{
	struct test_nic *nic = plug(CAN);
	uint8_t *frame = test_nic_memory(nic, FRAME);

	start(nic, E1000_RCTL_LBM);
	test_nic_frame(frame, 400, 8);
	describe(nic, 0, FRAME, 400 | 0x0bu << 24, 0);
	set(nic, E1000_TDT, 1);
	assert_int_equal(nic->frames, 0);
	assert_int_equal(get(nic, E1000_RDH), 1);
	assert_memory_equal(test_nic_memory(nic, BUFFERS), frame, 400);
	test_nic_free(nic);
}

static void state_survives_a_save(void **state)
{
	struct test_nic *nic = plug(CAN);
	uint8_t *frame = test_nic_memory(nic, FRAME);

	start(nic, 0);
	test_nic_frame(frame, 300, 1);
	describe(nic, 0, FRAME, 100, 0); /* the first third of a frame */
	set(nic, E1000_TDT, 1);
	test_nic_save_and_load(nic);
	describe(nic, 1, FRAME + 100, 200 | 0x0bu << 24, 0);
	set(nic, E1000_TDT, 2);
	assert_int_equal(nic->sent_bytes, 300);
	assert_memory_equal(nic->sent, frame, 300);
	assert_true(test_nic_deliver(nic, frame, 300));
	assert_int_equal(get(nic, E1000_RDH), 1);
	test_nic_free(nic);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity_is_in_the_eeprom),
		cmocka_unit_test(legacy_descriptors_send),
		cmocka_unit_test(large_packets_go_whole_or_cut),
		cmocka_unit_test(tags_come_and_go),
		cmocka_unit_test(filters_decide),
		cmocka_unit_test(full_ring_makes_the_back_end_wait),
		cmocka_unit_test(throttling_holds_interrupts_back),
		cmocka_unit_test(the_cable_is_seen),
		cmocka_unit_test(loopback_comes_back),
		cmocka_unit_test(state_survives_a_save),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
