/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fragments in any order, twice, too many, contradictory ones. */
#include "backend/net/reassembly.h"

#include "backend/net/frame.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static uint8_t buffer[FRAME_MAX];

/* A fragment into the buffer; its data follow from where it lies. Returns the frame's length. */
static size_t fragment(uint16_t id, size_t offset, size_t bytes, bool more)
{
	static const uint8_t head[34] = {1, 2, 3, 4, 5, 6,  7,  8, 9, 10, 11, 12, 8,  0,  0x45, 0, 0,
					 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0,  2,  15, 10, 0,    2, 2};

	memcpy(buffer, head, sizeof(head));
	store_be16(buffer + 16, (uint16_t)(20 + bytes));
	store_be16(buffer + 18, id);
	store_be16(buffer + 20, (uint16_t)(offset / 8 | (more ? 0x2000 : 0)));
	for (size_t i = 0; i < bytes; i++)
		buffer[34 + i] = (uint8_t)((offset + i) * 7 + id);
	return 34 + bytes;
}

static size_t add(struct reassembly *r, uint16_t id, size_t offset, size_t bytes, bool more, int64_t now_ns)
{
	return reassembly_add(r, buffer, fragment(id, offset, bytes, more), now_ns);
}

static void holds(uint16_t id, size_t length, size_t bytes)
{
	assert_int_equal(length, 34 + bytes);
	assert_false(frame_is_fragment(buffer, length));
	assert_int_equal(load_be16(buffer + 16), 20 + bytes);
	assert_int_equal(checksum_fold(checksum_add(0, buffer + 14, 20)), 0xffff);
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(buffer[34 + i], (uint8_t)(i * 7 + id));
}

static void any_order_makes_a_packet(void **state)
{
	static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	static struct reassembly r;

	for (uint16_t i = 0; i < 6; i++)
		for (unsigned k = 0; k < 3; k++) {
			unsigned which = orders[i][k];
			size_t length = add(&r, i, 1480 * which, which == 2 ? 101 : 1480, which != 2, 0);

			if (k == 2)
				holds(i, length, 2960 + 101);
			else
				assert_int_equal(length, 0);
		}
	/* The largest there is. */
	for (size_t at = 0; at + 1480 < 65515; at += 1480)
		assert_int_equal(add(&r, 9, at, 1480, true, 0), 0);
	holds(9, add(&r, 9, 44 * 1480, 65515 - 44 * 1480, false, 0), 65515);
	for (unsigned i = 0; i < REASSEMBLY_PACKETS; i++)
		assert_null(r.packets[i].data);
}

static void contradictions_are_forgotten(void **state)
{
	static struct reassembly r;

	add(&r, 1, 0, 80, true, 0);
	assert_int_equal(add(&r, 1, 72, 16, false, 0), 0); /* overlap */
	assert_int_equal(add(&r, 1, 80, 16, false, 0), 0); /* alone */
	add(&r, 2, 80, 16, false, 0);
	assert_int_equal(add(&r, 2, 96, 8, true, 0), 0); /* behind the end */
	assert_int_equal(add(&r, 2, 0, 80, true, 0), 0);
	add(&r, 3, 160, 80, true, 0);
	add(&r, 3, 0, 80, true, 0);
	assert_int_equal(add(&r, 3, 80, 16, false, 0), 0); /* an end before what came */
	assert_int_equal(add(&r, 4, 65528, 8, false, 0), 0);
	assert_int_equal(add(&r, 4, 0, 81, true, 0), 0);
	fragment(5, 0, 80, true);
	assert_int_equal(reassembly_add(&r, buffer, 60, 0), 0); /* says it is longer than it is */
	reassembly_clear(&r);
}

static void old_and_too_many_ones_give_way(void **state)
{
	static struct reassembly r;

	add(&r, 1, 0, 80, true, 0);
	assert_int_equal(add(&r, 1, 80, 8, false, REASSEMBLY_NS), 0);
	reassembly_clear(&r);
	for (uint16_t i = 0; i < REASSEMBLY_PACKETS + 1; i++)
		add(&r, i, 0, 80, true, i);
	assert_int_equal(add(&r, 0, 80, 8, false, 100), 0); /* the first had to go, and now the second */
	assert_int_equal(add(&r, 1, 80, 8, false, 101), 0);
	holds(5, add(&r, 5, 80, 8, false, 102), 88);
	reassembly_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order_makes_a_packet),
		cmocka_unit_test(contradictions_are_forgotten),
		cmocka_unit_test(old_and_too_many_ones_give_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
