/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8255x by its control block, its command list and its receive list. */
#include "base/util.h"
#include "device/net/i8255x.h"
#include "device/net/net_devices.h"
#include "device/net/test_nic.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { LIST = 0x1000, FRAMES = 0x4000, FRAME_STEP = 0x800, FRAME = 0x8000, COUNTERS = 0x9000 };

static void set(struct test_nic *nic, unsigned offset, uint32_t value, unsigned size)
{
	test_nic_write(nic, offset & 1, offset, value, size); /* memory and ports are the same */
}

static uint32_t get(struct test_nic *nic, unsigned offset, unsigned size)
{
	return test_nic_read(nic, 0, offset, size);
}

static void command(struct test_nic *nic, uint32_t pointer, uint8_t value)
{
	set(nic, SCB_POINTER, pointer, 4);
	set(nic, SCB_COMMAND, value, 1);
	assert_int_equal(get(nic, SCB_COMMAND, 1), 0);
}

static uint8_t *block(struct test_nic *nic, unsigned index, uint16_t what)
{
	uint8_t *at = test_nic_memory(nic, LIST + 64 * index);

	memset(at, 0, 64);
	store_le16(at + 2, what);
	store_le32(at + 4, LIST + 64 * (index + 1));
	return at;
}

static void transmit_block(struct test_nic *nic, unsigned index, uint16_t flags, unsigned seed)
{
	uint8_t *at = block(nic, index, flags | 4 | 8);

	test_nic_frame(test_nic_memory(nic, FRAME), 300, seed);
	store_le32(at + 8, LIST + 64 * index + 32);
	at[15] = 2;
	store_le32(at + 32, FRAME);
	store_le32(at + 36, 100);
	store_le32(at + 40, FRAME + 100);
	store_le32(at + 44, 200 | 1 << 16);
}

static void command_list_runs_and_suspends(void **state)
{
	struct test_nic *nic = test_nic_new(&i82557b_class, "", 0);
	uint8_t *at;

	command(nic, 0, 0x60);
	at = block(nic, 0, 1);
	memcpy(at + 8, "\x52\x54\x00\xaa\xbb\xcc", 6);
	transmit_block(nic, 1, 0x6000, 1); /* suspend, interrupt */
	command(nic, LIST, 0x10);
	assert_int_equal(nic->frames, 1);
	assert_int_equal(nic->sent_bytes, 300);
	assert_memory_equal(nic->sent, test_nic_memory(nic, FRAME), 300);
	assert_int_equal(load_le16(test_nic_memory(nic, LIST + 64)), 0xa000);
	assert_int_equal(get(nic, SCB_STATUS, 1) >> 6, 1);
	assert_int_equal(get(nic, SCB_ACK, 1), ACK_CX | ACK_CNA);
	assert_true(test_nic_irq(nic));
	set(nic, SCB_ACK, 0xff, 1);
	assert_false(test_nic_irq(nic));
	transmit_block(nic, 2, 0x8000, 2); /* end */
	test_nic_save_and_load(nic);
	command(nic, 0, 0x20); /* the block that it stopped at says so still */
	assert_int_equal(nic->frames, 1);
	store_le16(test_nic_memory(nic, LIST + 64 + 2), 0x2000 | 4);
	command(nic, 0, 0x20);
	assert_int_equal(nic->frames, 2);
	assert_int_equal(get(nic, SCB_STATUS, 1) >> 6, 0);
	command(nic, COUNTERS, 0x40);
	command(nic, 0, 0x70);
	assert_int_equal(load_le32(test_nic_memory(nic, COUNTERS)), 2);
	assert_int_equal(load_le32(test_nic_memory(nic, COUNTERS + 64)), 0xa007);
	command(nic, 0, 0x50);
	assert_int_equal(load_le32(test_nic_memory(nic, COUNTERS)), 0);
	test_nic_free(nic);
}

static void a_list_in_a_circle_does_not_hold_up_the_loop(void **state)
{
	struct test_nic *nic = test_nic_new(&i82557b_class, "", 0);
	uint8_t *at = block(nic, 0, 0);

	store_le32(at + 4, LIST);
	set(nic, SCB_POINTER, LIST, 4);
	bus_write(nic->machine->env.memory, nic->base[0] + SCB_COMMAND, 0x10, 1);
	for (unsigned i = 0; i < 10; i++)
		loop_poll(nic->machine->env.loop, 0);
	assert_int_equal(get(nic, SCB_STATUS, 1) >> 6, 2);
	store_le16(at + 2, 0x8000);
	loop_poll(nic->machine->env.loop, 0);
	assert_int_equal(get(nic, SCB_STATUS, 1) >> 6, 0);
	test_nic_free(nic);
}

static void descriptor(struct test_nic *nic, unsigned index, uint16_t flags, uint16_t size)
{
	uint8_t *at = test_nic_memory(nic, FRAMES + FRAME_STEP * index);

	memset(at, 0, 16);
	store_le16(at + 2, flags);
	store_le32(at + 4, FRAMES + FRAME_STEP * (index + 1));
	store_le16(at + 14, size);
}

static void receive_list_fills_and_waits(void **state)
{
	struct test_nic *nic = test_nic_new(&i82557b_class, "", 0);
	uint8_t frame[500];
	const uint8_t *at;

	test_nic_frame(frame, sizeof(frame), 6);
	assert_true(test_nic_deliver(nic, frame, sizeof(frame))); /* not started: gone */
	descriptor(nic, 0, 0, 1518);
	descriptor(nic, 1, 0x8000, 0);
	command(nic, 0, 6);
	command(nic, FRAMES, 1);
	assert_int_equal(get(nic, SCB_STATUS, 1) >> 2 & 15, 4);
	assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
	at = test_nic_memory(nic, FRAMES);
	assert_int_equal(load_le16(at), 0xa020);
	assert_int_equal(load_le16(at + 12), 0xc000 | sizeof(frame));
	assert_memory_equal(at + 16, frame, sizeof(frame));
	assert_int_equal(get(nic, SCB_ACK, 1), ACK_FR);
	/* A descriptor without room is not written to; the frame waits for the next start. */
	assert_false(test_nic_deliver(nic, frame, sizeof(frame)));
	assert_int_equal(load_le16(test_nic_memory(nic, FRAMES + FRAME_STEP)), 0);
	assert_int_equal(get(nic, SCB_STATUS, 1) >> 2 & 15, 2);
	assert_int_equal(get(nic, SCB_ACK, 1), ACK_FR | ACK_RNR);
	descriptor(nic, 1, 0, 1518);
	nic->resumes = 0;
	command(nic, FRAMES + FRAME_STEP, 1);
	assert_true(nic->resumes > 0);
	assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
	test_nic_free(nic);
}

static void ports_phy_and_masks(void **state)
{
	struct test_nic *nic = test_nic_new(&i82551_class, "", 0);

	memset(test_nic_memory(nic, LIST), 0x55, 8);
	set(nic, CSR_PORT, LIST | 1, 4);
	assert_int_equal(load_le64(test_nic_memory(nic, LIST)), 0xffffffff);
	set(nic, CSR_MDI, 1 << 21 | 2 << 26 | 1 << 16, 4);
	assert_int_equal(get(nic, CSR_MDI, 4) & 0x1000ffff, 0x1000782d);
	net_set_link(&nic->backend, false);
	set(nic, CSR_MDI, 1 << 21 | 2 << 26 | 1 << 16, 4);
	assert_int_equal(get(nic, CSR_MDI, 4) & 0x24, 0);
	set(nic, SCB_MASK, 3, 1);
	assert_false(test_nic_irq(nic));
	set(nic, SCB_MASK, 0, 1);
	assert_true(test_nic_irq(nic)); /* the interrupt that was asked for by the mask register */
	assert_int_equal(get(nic, SCB_ACK, 1), ACK_SWI);
	set(nic, CSR_PORT, 0, 4);
	assert_false(test_nic_irq(nic));
	test_nic_free(nic);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(command_list_runs_and_suspends),
		cmocka_unit_test(a_list_in_a_circle_does_not_hold_up_the_loop),
		cmocka_unit_test(receive_list_fills_and_waits),
		cmocka_unit_test(ports_phy_and_masks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
