/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Am79C970A by its ports, in every software style. */
#include "base/util.h"
#include "device/net/net_devices.h"
#include "device/net/pcnet.h"
#include "device/net/test_nic.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum {
	INIT = 0x3000,
	TX_RING = 0x1000,
	RX_RING = 0x2000,
	FRAME = 0x8000,
	BUFFERS = 0x10000,
	RX_COUNT = 4,
	RX_BYTES = 600
};

static void csr_set(struct test_nic *nic, unsigned index, uint16_t value)
{
	test_nic_write(nic, 0, 0x12, index, 2);
	test_nic_write(nic, 0, 0x10, value, 2);
}

static uint16_t csr(struct test_nic *nic, unsigned index)
{
	test_nic_write(nic, 0, 0x12, index, 2);
	return (uint16_t)test_nic_read(nic, 0, 0x10, 2);
}

static void bcr_set(struct test_nic *nic, unsigned index, uint16_t value)
{
	test_nic_write(nic, 0, 0x12, index, 2);
	test_nic_write(nic, 0, 0x16, value, 2);
}

static uint16_t bcr(struct test_nic *nic, unsigned index)
{
	test_nic_write(nic, 0, 0x12, index, 2);
	return (uint16_t)test_nic_read(nic, 0, 0x16, 2);
}

static void describe(struct test_nic *nic, unsigned style, uint64_t gpa, uint32_t buffer, uint16_t bytes,
		     uint16_t status)
{
	uint8_t *at = test_nic_memory(nic, gpa);

	memset(at, 0, style ? 16 : 8);
	if (!style) {
		store_le32(at, buffer | (uint32_t)(status >> 8) << 24);
		store_le16(at + 4, (uint16_t)-bytes);
		return;
	}
	store_le32(at + (style == 3 ? 8 : 0), buffer);
	store_le16(at + 4, (uint16_t)-bytes);
	store_le16(at + 6, status);
}

static uint16_t status_of(struct test_nic *nic, unsigned style, uint64_t gpa)
{
	const uint8_t *at = test_nic_memory(nic, gpa);

	return style ? load_le16(at + 6) : (uint16_t)(at[3] << 8);
}

static uint16_t message_of(struct test_nic *nic, unsigned style, uint64_t gpa)
{
	const uint8_t *at = test_nic_memory(nic, gpa);

	return load_le16(at + (style == 0 ? 6 : style == 3 ? 0 : 8)) & 0xfff;
}

static void start(struct test_nic *nic, unsigned style)
{
	uint8_t *block = test_nic_memory(nic, INIT);
	unsigned step = style ? 16 : 8;

	test_nic_read(nic, 0, 0x14, 2); /* reset */
	assert_int_equal(csr(nic, 0), CSR0_STOP);
	bcr_set(nic, 20, (uint16_t)style);
	if (style) {
		block[2] = 2 << 4;
		block[3] = 1 << 4;
		memcpy(block + 4, "\x52\x54\x00\xaa\xbb\xcc", 6);
		store_le32(block + 20, RX_RING);
		store_le32(block + 24, TX_RING);
	} else {
		memcpy(block + 2, "\x52\x54\x00\xaa\xbb\xcc", 6);
		store_le32(block + 16, RX_RING | 2u << 29);
		store_le32(block + 20, TX_RING | 1u << 29);
	}
	for (unsigned i = 0; i < RX_COUNT; i++)
		describe(nic, style, RX_RING + step * i, BUFFERS + 1024 * i, RX_BYTES, 0x8000);
	csr_set(nic, 1, INIT);
	csr_set(nic, 2, 0);
	csr_set(nic, 0, CSR0_INIT | CSR0_IENA);
	assert_true(test_nic_irq(nic));
	assert_true(csr(nic, 0) & CSR0_IDON);
	csr_set(nic, 0, CSR0_IDON | CSR0_STRT | CSR0_IENA);
	assert_false(test_nic_irq(nic));
}

static void style_works(unsigned style)
{
	struct test_nic *nic = test_nic_new(&pcnet_class, "", 0);
	unsigned step = style ? 16 : 8;
	uint8_t frame[1000];

	start(nic, style);
	test_nic_frame(test_nic_memory(nic, FRAME), 500, 2);
	describe(nic, style, TX_RING, FRAME, 200, 0x8200);
	describe(nic, style, TX_RING + step, FRAME + 200, 300, 0x8100);
	csr_set(nic, 0, CSR0_TDMD | CSR0_IENA);
	assert_int_equal(nic->frames, 1);
	assert_int_equal(nic->sent_bytes, 500);
	assert_memory_equal(nic->sent, test_nic_memory(nic, FRAME), 500);
	assert_int_equal(status_of(nic, style, TX_RING + step), 0x0100);
	assert_true(csr(nic, 0) & CSR0_TINT);
	/* A frame of two buffers, in the ring's last and first descriptors too. */
	for (unsigned i = 0; i < 3; i++) {
		unsigned first = 2 * i % RX_COUNT;
		uint8_t got[1000];

		test_nic_frame(frame, sizeof(frame), i);
		if (i == 2) {
			assert_false(test_nic_deliver(nic, frame, sizeof(frame)));
			for (unsigned j = 0; j < 2; j++)
				describe(nic, style, RX_RING + step * j, BUFFERS + 1024 * j, RX_BYTES, 0x8000);
			test_nic_save_and_load(nic);
		}
		assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
		assert_int_equal(status_of(nic, style, RX_RING + step * first) & 0xc300, 0x0200);
		assert_int_equal(status_of(nic, style, RX_RING + step * (first + 1)) & 0xc300, 0x0100);
		assert_int_equal(message_of(nic, style, RX_RING + step * (first + 1)), 1004);
		memcpy(got, test_nic_memory(nic, BUFFERS + 1024 * first), RX_BYTES);
		memcpy(got + RX_BYTES, test_nic_memory(nic, BUFFERS + 1024 * (first + 1)), 400);
		assert_memory_equal(got, frame, sizeof(frame));
	}
	assert_true(test_nic_irq(nic));
	csr_set(nic, 0, CSR0_STOP);
	assert_false(test_nic_irq(nic));
	test_nic_free(nic);
}

static void styles_work(void **state)
{
	static const unsigned styles[] = {0, 2, 3};

	for (unsigned i = 0; i < ARRAY_SIZE(styles); i++)
		style_works(styles[i]);
}

static void identity_link_and_wide_ports(void **state)
{
	struct test_nic *nic = test_nic_new(&pcnet_class, "", 0);

	assert_int_equal(csr(nic, 88) | (uint32_t)csr(nic, 89) << 16, 0x02621003);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(test_nic_read(nic, 0, i, 1), (uint8_t) "\x52\x54\x00\xaa\xbb\xcc"[i]);
	assert_int_equal(bcr(nic, 4), 0x80c0);
	net_set_link(&nic->backend, false);
	assert_int_equal(bcr(nic, 4), 0x00c0);
	test_nic_write(nic, 1, 0x10, 0, 4);
	test_nic_write(nic, 1, 0x14, 88, 4);
	assert_int_equal(test_nic_read(nic, 1, 0x14, 4), 88);
	assert_int_equal(test_nic_read(nic, 1, 0x10, 4), 0x1003);
	assert_int_equal(test_nic_read(nic, 1, 0x12, 2), 0xffff);
	test_nic_free(nic);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(styles_work),
		cmocka_unit_test(identity_link_and_wide_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
