/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The RTL8139C+ by its registers: C mode and C+ mode. */
#include "base/util.h"
#include "device/net/net_devices.h"
#include "device/net/rtl8139.h"
#include "device/net/test_nic.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum {
	TX_RING = 0x1000,
	RX_RING = 0x2000,
	FRAME = 0x8000,
	BUFFERS = 0x10000,
	RING = 0x20000,
	CAN = NET_VNET_HDR | NET_CSUM | NET_TSO4
};

static void set(struct test_nic *nic, unsigned offset, uint32_t value, unsigned size)
{
	test_nic_write(nic, offset & 1, offset, value, size); /* ports and memory are the same */
}

static uint32_t get(struct test_nic *nic, unsigned offset, unsigned size)
{
	return test_nic_read(nic, 1, offset, size);
}

static struct test_nic *plug_c(uint32_t rcr)
{
	struct test_nic *nic = test_nic_new(&rtl8139_class, "", CAN);

	set(nic, RTL_CR, RTL_CR_RST, 1);
	assert_false(get(nic, RTL_CR, 1) & RTL_CR_RST);
	set(nic, RTL_CR, RTL_CR_TE | RTL_CR_RE, 1);
	set(nic, RTL_RBSTART, RING, 4);
	set(nic, RTL_RCR, rcr | 0xe, 4);
	set(nic, RTL_IMR, 0xffff, 2);
	return nic;
}

static void c_mode_sends_its_buffers_in_turn(void **state)
{
	struct test_nic *nic = plug_c(0);

	for (unsigned i = 0; i < 6; i++) {
		test_nic_frame(test_nic_memory(nic, FRAME), 100 + i, i);
		set(nic, RTL_TSAD + 4 * (i & 3), FRAME, 4);
		set(nic, RTL_TSD + 4 * (i & 3), 100 + i, 4);
		assert_int_equal(nic->frames, i + 1);
		assert_int_equal(nic->sent_bytes, 100 + i);
		assert_memory_equal(nic->sent, test_nic_memory(nic, FRAME), 100 + i);
		assert_int_equal(get(nic, RTL_TSD + 4 * (i & 3), 4) & 0xa000, 0xa000);
	}
	assert_int_equal(get(nic, RTL_TSADS, 2), 0xf00f);
	assert_true(test_nic_irq(nic));
	set(nic, RTL_ISR, RTL_ISR_TOK, 2);
	assert_false(test_nic_irq(nic));
	test_nic_free(nic);
}

/* Reads the ring as a driver does; false when it is empty. */
static bool read_ring(struct test_nic *nic, uint32_t *at, uint8_t *frame, uint32_t *length)
{
	const uint8_t *ring = test_nic_memory(nic, RING);

	if (get(nic, RTL_CR, 1) & RTL_CR_BUFE)
		return false;
	assert_int_equal(load_le16(ring + *at) & 0x4001, 0x4001);
	*length = load_le16(ring + *at + 2) - 4u;
	for (uint32_t i = 0; i < *length; i++)
		frame[i] = ring[(*at + 4 + i) & 8191];
	*at = (uint32_t)align_up(*at + 4 + *length + 4, 4) & 8191;
	set(nic, RTL_CAPR, (*at - 16) & 0xffff, 2);
	return true;
}

static void c_mode_ring_wraps_and_fills(void **state)
{
	struct test_nic *nic = plug_c(0);
	uint8_t frame[1500], got[2000];
	uint32_t at = 0, length = 0;
	unsigned fit = 0, resumes;

	for (unsigned i = 0; i < 40; i++) {
		test_nic_frame(frame, 300 + 17 * i, i);
		assert_true(test_nic_deliver(nic, frame, 300 + 17 * i));
		assert_true(read_ring(nic, &at, got, &length));
		assert_int_equal(length, 300 + 17 * i);
		assert_memory_equal(got, frame, length);
		assert_false(read_ring(nic, &at, got, &length));
	}
	while (fit < 100 && test_nic_deliver(nic, frame, 1500))
		fit++;
	assert_int_equal(fit, 5);
	assert_true(get(nic, RTL_ISR, 2) & RTL_ISR_RXOVW);
	resumes = nic->resumes;
	assert_true(read_ring(nic, &at, got, &length));
	assert_true(nic->resumes > resumes);
	test_nic_save_and_load(nic);
	assert_true(test_nic_deliver(nic, frame, 1500));
	for (unsigned i = 0; i < 5; i++)
		assert_true(read_ring(nic, &at, got, &length));
	assert_memory_equal(got, frame, 1500);
	test_nic_free(nic);
}

static void hash_and_address_decide(void **state)
{
	struct test_nic *nic = plug_c(0);
	uint8_t frame[60] = {0x01, 0, 0x5e, 0, 0, 1};
	unsigned bit = nic_crc_be(frame, 6) >> 26;

	test_nic_deliver(nic, frame, 60);
	memcpy(frame, "\x52\x54\x00\xaa\xbb\xcd", 6);
	test_nic_deliver(nic, frame, 60);
	assert_true(get(nic, RTL_CR, 1) & RTL_CR_BUFE);
	memcpy(frame, "\x01\x00\x5e\x00\x00\x01", 6);
	set(nic, RTL_MAR + bit / 8, 1u << bit % 8, 1);
	test_nic_deliver(nic, frame, 60);
	assert_false(get(nic, RTL_CR, 1) & RTL_CR_BUFE);
	assert_int_equal(load_le16(test_nic_memory(nic, RING)), 0x8001);
	test_nic_free(nic);
}

static void c_plus_rings_work(void **state)
{
	struct test_nic *nic = test_nic_new(&rtl8139_class, "", CAN);
	size_t length = test_nic_tcp(test_nic_memory(nic, FRAME), 2500);
	uint8_t frame[700];
	uint32_t *tx = test_nic_memory(nic, TX_RING), *rx = test_nic_memory(nic, RX_RING);

	for (unsigned i = 0; i < 2; i++) {
		rx[4 * i] = 1u << 31 | (i ? 1u << 30 : 0) | 1536;
		rx[4 * i + 2] = BUFFERS + 2048 * i;
	}
	/* One large packet in two pieces, tagged. */
	tx[0] = 1u << 31 | 1u << 29 | 1u << 27 | 1000 << 16 | 54;
	tx[2] = FRAME;
	tx[4] = 1u << 31 | 1u << 30 | 1u << 28 | 1u << 27 | 1000 << 16 | (uint32_t)(length - 54);
	tx[5] = 1 << 17 | 0x0520;
	tx[6] = FRAME + 54;
	set(nic, RTL_CPCR, RTL_CPCR_TE | RTL_CPCR_RE | RTL_CPCR_VLAN, 2);
	set(nic, RTL_CR, RTL_CR_TE | RTL_CR_RE, 1);
	set(nic, RTL_TNPDS, TX_RING, 4);
	set(nic, RTL_RDSAR, RX_RING, 4);
	set(nic, RTL_RCR, 0xe, 4);
	set(nic, RTL_TPPOLL, RTL_POLL_NORMAL, 1);
	assert_int_equal(nic->frames, 1);
	assert_int_equal(nic->header.gso_size, 1000);
	assert_int_equal(load_be32(nic->sent + 12), 0x81002005);
	assert_int_equal(tx[0], 1u << 29 | 54);
	assert_false(tx[4] >> 31);
	for (unsigned i = 0; i < 3; i++) {
		test_nic_frame(frame, sizeof(frame), i);
		assert_int_equal(test_nic_deliver(nic, frame, sizeof(frame)), i < 2);
	}
	test_nic_frame(frame, sizeof(frame), 1);
	assert_memory_equal(test_nic_memory(nic, BUFFERS + 2048), frame, sizeof(frame));
	assert_int_equal(rx[4] & 0x1fff, 704);
	assert_int_equal(rx[4] >> 28, 7); /* end of ring, first, last */
	rx[0] |= 1u << 31;
	assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
	test_nic_free(nic);
}

static void timer_and_eeprom(void **state)
{
	struct test_nic *nic = test_nic_new(&rtl8139_class, "", CAN);
	static const uint8_t command[] = {1, 1, 0, 0, 0, 0, 1, 1, 1}; /* read word 7 */
	uint16_t word = 0;

	set(nic, RTL_IMR, RTL_ISR_TIMEOUT, 2);
	set(nic, RTL_TCTR, 0, 4);
	set(nic, RTL_TIMERINT, 33000, 4); /* 1 ms */
	test_nic_pass(nic, NS_PER_MS - 1);
	assert_false(test_nic_irq(nic));
	test_nic_pass(nic, 1);
	assert_true(test_nic_irq(nic));
	assert_int_equal(get(nic, RTL_TCTR, 4), 33000);
	set(nic, RTL_9346CR, 0x88, 1);
	for (unsigned i = 0; i < sizeof(command) + 16; i++) {
		uint8_t in = i < sizeof(command) && command[i] ? 2 : 0;

		set(nic, RTL_9346CR, 0x88 | in, 1);
		set(nic, RTL_9346CR, 0x8c | in, 1);
		if (i >= sizeof(command))
			word = (uint16_t)(word << 1 | (get(nic, RTL_9346CR, 1) & 1));
	}
	assert_int_equal(word, 0x5452);
	test_nic_free(nic);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(c_mode_sends_its_buffers_in_turn),
		cmocka_unit_test(c_mode_ring_wraps_and_fills),
		cmocka_unit_test(hash_and_address_decide),
		cmocka_unit_test(c_plus_rings_work),
		cmocka_unit_test(timer_and_eeprom),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
