/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What deflate_bytes makes is what zlib unpacks, whatever the bytes; it stays inside its room; and it is about as small
 * as zlib's own. */
#include "backend/block/deflate.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include <cmocka.h>

#define MOST  (2 * MIB)
#define GUARD 0xa5

struct fixture {
	struct deflater deflater;
	uint8_t in[MOST], out[MOST + MOST / 4], back[MOST];
	uint64_t seed;
};

static int setup(void **fixture)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	memset(f, 0x5a, sizeof(*f)); /* what is in it does not matter */
	f->seed = 1;
	*fixture = f;
	return 0;
}

static int teardown(void **fixture)
{
	free(*fixture);
	return 0;
}

static uint32_t chance(struct fixture *f, uint32_t below)
{
	f->seed = f->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(f->seed >> 33) % below;
}

/* Bytes used; packed with room to spare, exactly enough, and one too few. */
static size_t check(struct fixture *f, size_t bytes)
{
	z_stream stream = {0};
	const size_t room = bytes + bytes / 8 + 512;
	size_t used;

	memset(f->out, GUARD, sizeof(f->out));
	used = deflate_bytes(&f->deflater, f->in, bytes, f->out, room);
	assert_true(used > 0);
	assert_int_equal(f->out[room], GUARD);
	assert_int_equal(inflateInit2(&stream, -12), Z_OK);
	stream.next_in = f->out;
	stream.avail_in = (unsigned)used;
	stream.next_out = f->back;
	stream.avail_out = (unsigned)bytes;
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.avail_in, 0);
	assert_int_equal(stream.total_out, bytes);
	inflateEnd(&stream);
	assert_memory_equal(f->in, f->back, bytes);
	memset(f->out, GUARD, used + 16);
	assert_int_equal(deflate_bytes(&f->deflater, f->in, bytes, f->out, used), used);
	assert_int_equal(f->out[used], GUARD);
	assert_int_equal(deflate_bytes(&f->deflater, f->in, bytes, f->out, used - 1), 0);
	assert_int_equal(f->out[used], GUARD);
	return used;
}

static void test_small(void **fixture)
{
	struct fixture *f = *fixture;

	for (size_t bytes = 1; bytes < 600; bytes++) {
		for (size_t i = 0; i < bytes; i++)
			f->in[i] = (uint8_t)chance(f, 3);
		check(f, bytes);
		memset(f->in, 7, bytes);
		check(f, bytes);
	}
}

static void test_kinds(void **fixture)
{
	struct fixture *f = *fixture;

	memset(f->in, 0, MOST);
	assert_true(check(f, MOST) < MOST / 500);
	for (size_t i = 0; i < MOST; i++)
		f->in[i] = (uint8_t)chance(f, 256);
	assert_true(check(f, 65536) >= 65536);
	check(f, MOST);
	/* Repeats at every distance near the window's end: those inside are found, the others are not sent. */
	for (size_t period = 4080; period < 4112; period++) {
		for (size_t i = 0; i < 65536; i++)
			f->in[i] = i < period ? (uint8_t)chance(f, 256) : f->in[i - period];
		if (period <= DEFLATE_WINDOW)
			assert_true(check(f, 65536) < 6000);
		else
			check(f, 65536);
	}
	/* Places are kept modulo 64 Ki; repeats that far away must not be taken for near ones. */
	for (size_t i = 0; i < MOST; i++)
		f->in[i] = i < 65536 ? (uint8_t)chance(f, 256) : f->in[i - 65536];
	check(f, MOST);
}

/* Counts as Fibonacci's numbers make the deepest tree there is: deeper than codes may be long. */
static void test_deep_codes(void **fixture)
{
	struct fixture *f = *fixture;
	size_t bytes = 0, a = 1, b = 1;

	for (unsigned symbol = 0; symbol < 24 && bytes + b < 60000; symbol++) {
		const size_t next = a + b;

		memset(f->in + bytes, (int)(symbol * 9), b);
		bytes += b;
		a = b;
		b = next;
	}
	/* In no order, so that there are no matches. */
	for (size_t i = bytes - 1; i > 0; i--) {
		const size_t j = chance(f, (uint32_t)i + 1);
		const uint8_t swap = f->in[i];

		f->in[i] = f->in[j];
		f->in[j] = swap;
	}
	check(f, bytes);
}

/* Pieces of random bytes, runs and copies of what came before, of all lengths. */
static void test_mixtures(void **fixture)
{
	struct fixture *f = *fixture;

	for (unsigned round = 0; round < 300; round++) {
		const size_t bytes = 1 + chance(f, round % 10 ? 70000 : 400000);
		size_t at = 0;

		while (at < bytes) {
			const unsigned kind = chance(f, 4);
			const size_t length = min_u64(bytes - at, 1 + chance(f, chance(f, 2) ? 12 : 600));
			const size_t distance = at ? 1 + chance(f, (uint32_t)min_u64(at, chance(f, 2) ? 5000 : 60)) : 0;
			const uint8_t value = (uint8_t)chance(f, 256);

			for (size_t i = 0; i < length; i++, at++)
				f->in[at] = kind == 0                ? (uint8_t)chance(f, 256)
					    : kind == 1 || !distance ? value
								     : f->in[at - distance];
		}
		check(f, bytes);
	}
}

/* Against zlib at its default level, on this program. */
static void test_ratio(void **fixture)
{
	struct fixture *f = *fixture;
	size_t ours = 0, theirs = 0, bytes;
	FILE *program = fopen("/proc/self/exe", "r");

	assert_non_null(program);
	while ((bytes = fread(f->in, 1, 65536, program)) == 65536) {
		z_stream stream = {.next_in = f->in, .avail_in = 65536, .next_out = f->out, .avail_out = 70000};

		assert_int_equal(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY),
				 Z_OK);
		assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
		theirs += stream.total_out;
		deflateEnd(&stream);
		ours += check(f, 65536);
	}
	fclose(program);
	assert_true(theirs > 0);
	assert_true(ours < theirs + theirs / 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small),    cmocka_unit_test(test_kinds), cmocka_unit_test(test_deep_codes),
		cmocka_unit_test(test_mixtures), cmocka_unit_test(test_ratio),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
