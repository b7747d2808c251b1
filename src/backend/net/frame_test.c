/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames: parsing of hostile lengths, checksums against a plain implementation, cutting. */
#include "backend/net/frame.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* RFC 1071's definition, byte by byte. */
static uint16_t plain_sum(uint32_t sum, const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, size_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

/* An IPv4 or IPv6 TCP or UDP frame with a recognisable payload; returns its length. */
static size_t make(uint8_t *data, bool is_v6, uint8_t protocol, size_t options, size_t payload)
{
	size_t ip = 14, l4 = ip + (is_v6 ? 40 : 20), header = protocol == 6 ? 20 + options : 8;
	size_t length = l4 + header + payload;

	memset(data, 0, length);
	put16(data + 12, is_v6 ? 0x86dd : 0x0800);
	if (is_v6) {
		data[ip] = 0x60;
		put16(data + ip + 4, header + payload);
		data[ip + 6] = protocol;
		data[ip + 8] = 0xfe;
		data[ip + 24] = 0xfd;
	} else {
		data[ip] = 0x45;
		put16(data + ip + 2, 20 + header + payload);
		put16(data + ip + 4, 0x1234);
		data[ip + 8] = 64;
		data[ip + 9] = protocol;
		memcpy(data + ip + 12, "\x0a\x00\x02\x0f\x0a\x00\x02\x02", 8);
	}
	if (protocol == 6) {
		data[l4 + 12] = (uint8_t)(header / 4 << 4);
		put16(data + l4 + 4, 0x0102);
		put16(data + l4 + 6, 0xfffe);
		data[l4 + 13] = 0x19; /* FIN PSH ACK */
	} else {
		put16(data + l4 + 4, header + payload);
	}
	for (size_t i = 0; i < payload; i++)
		data[l4 + header + i] = (uint8_t)(i * 7 + i / 256);
	return length;
}

static bool checksum_is_right(const uint8_t *data, const struct frame *frame)
{
	size_t length = frame->end - frame->l4;
	uint8_t pseudo[40] = {0};

	memcpy(pseudo, data + frame->ip + (frame->is_v6 ? 8 : 12), frame->is_v6 ? 32 : 8);
	put16(pseudo + 34, length);
	pseudo[39] = frame->protocol;
	return plain_sum(plain_sum(0, pseudo, sizeof(pseudo)), data + frame->l4, length) == 0xffff;
}

static void sums_match_the_definition_at_every_length_and_alignment(void **state)
{
	uint8_t data[600];
	unsigned seed = 1;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)rand_r(&seed);
	for (size_t start = 0; start < 9; start++) {
		for (size_t length = 0; start + length <= sizeof(data); length += length < 70 ? 1 : 37) {
			uint16_t sum = checksum_fold(checksum_add(0, data + start, length));

			assert_int_equal(get16((uint8_t *)&sum) % 0xffff, plain_sum(0, data + start, length) % 0xffff);
		}
	}
	memset(data, 0xff, sizeof(data));
	assert_int_equal(checksum_fold(checksum_add(0, data, sizeof(data))), 0xffff);
}

static void checksums_of_tcp_and_udp_verify(void **state)
{
	uint8_t *data = xcalloc(1, FRAME_MAX);
	static const size_t sizes[] = {0, 1, 2, 1459, 1460, 30001, 60000};
	struct frame frame;

	for (size_t i = 0; i < ARRAY_SIZE(sizes) * 4; i++) {
		size_t length = make(data, i & 1, i & 2 ? 17 : 6, 0, sizes[i / 4]);

		assert_true(frame_parse(data, length, &frame));
		assert_true(frame_checksum(data, &frame));
		assert_true(checksum_is_right(data, &frame));
	}
	free(data);
}

static void lengths_that_lie_are_refused(void **state)
{
	uint8_t good[2048], bad[2048];
	size_t length = make(good, false, 6, 0, 100);
	unsigned seed = 7;
	struct frame frame;

	/* Every cut, in memory of exactly that size so that a sanitizer sees any byte too many. */
	for (size_t cut = 0; cut < length; cut++) {
		uint8_t *copy = malloc(cut ? cut : 1);

		memcpy(copy, good, cut);
		assert_false(frame_parse(copy, cut, &frame));
		free(copy);
	}
	memcpy(bad, good, length);
	bad[14] = 0x44; /* header of 16 bytes */
	assert_false(frame_parse(bad, length, &frame));
	memcpy(bad, good, length);
	bad[34 + 12] = 0xf0; /* TCP header of 60 bytes: fits */
	assert_true(frame_parse(bad, length, &frame) && frame.payload == 34 + 60);
	bad[34 + 12] = 0x40; /* of 16: does not exist */
	assert_true(frame_parse(bad, length, &frame));
	assert_int_equal(frame.payload, 0);
	for (int round = 0; round < 20000; round++) {
		size_t size = make(bad, rand_r(&seed) & 1, rand_r(&seed) & 1 ? 6 : 17, (rand_r(&seed) % 11) * 4,
				   (size_t)rand_r(&seed) % 64);
		uint8_t *copy = malloc(size);

		for (int flips = 0; flips < 4; flips++)
			bad[12 + (size_t)rand_r(&seed) % (size - 12)] = (uint8_t)rand_r(&seed);
		memcpy(copy, bad, size);
		if (frame_parse(copy, size, &frame)) {
			assert_true(frame.end <= size && frame.payload <= frame.end && frame.l4 <= frame.end);
			frame_raise_mss(copy, &frame, 9000);
			frame_checksum(copy, &frame);
		}
		free(copy);
	}
}

static void mss_is_raised_only_where_there_is_one(void **state)
{
	static const uint8_t options[] = {1, 1, 4, 2, 2, 4, 0x05, 0xb4};
	uint8_t data[256];
	size_t length = make(data, false, 6, 8, 0);
	struct frame frame;

	memcpy(data + 54, options, sizeof(options));
	assert_true(frame_parse(data, length, &frame));
	assert_int_equal(frame_raise_mss(data, &frame, 32768), 0); /* no SYN */
	data[47] = 2;
	assert_int_equal(frame_raise_mss(data, &frame, 32768), 1460);
	assert_int_equal(get16(data + 60), 32768);
	assert_true(checksum_is_right(data, &frame));
	assert_int_equal(frame_raise_mss(data, &frame, 1000), 32768);
	assert_int_equal(get16(data + 60), 32768);
	data[59] = 0; /* an option of no length must not loop */
	assert_int_equal(frame_raise_mss(data, &frame, 1000), 0);
}

struct pieces {
	const uint8_t *whole;
	struct frame frame;
	size_t done, count, largest;
};

static void tcp_piece(void *opaque, uint8_t *data, size_t length)
{
	struct pieces *pieces = opaque;
	struct frame frame;
	uint32_t sequence;

	assert_true(frame_parse(data, length, &frame));
	assert_true(checksum_is_right(data, &frame));
	if (!frame.is_v6)
		assert_int_equal(plain_sum(0, data + frame.ip, 20), 0xffff);
	sequence = (uint32_t)get16(data + frame.l4 + 4) << 16 | get16(data + frame.l4 + 6);
	assert_int_equal(sequence, (uint32_t)(0x0102fffe + pieces->done));
	assert_memory_equal(data + frame.payload, pieces->whole + pieces->frame.payload + pieces->done,
			    frame.end - frame.payload);
	pieces->done += frame.end - frame.payload;
	pieces->count++;
	if (frame.end - frame.ip > pieces->largest)
		pieces->largest = frame.end - frame.ip;
	/* FIN and PSH belong to the last one. */
	assert_int_equal(data[frame.l4 + 13], pieces->done == pieces->frame.end - pieces->frame.payload ? 0x19 : 0x10);
}

static void tcp_is_cut_into_segments(void **state)
{
	uint8_t *data = xcalloc(1, FRAME_MAX);

	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		size_t length = make(data, is_v6, 6, 12, 32768);
		struct pieces pieces = {.whole = data};

		assert_true(frame_parse(data, length, &pieces.frame));
		assert_true(frame_cut(data, length, &pieces.frame, 1500, tcp_piece, &pieces));
		assert_int_equal(pieces.done, 32768);
		assert_int_equal(pieces.largest, 1500);
		assert_int_equal(pieces.count, is_v6 ? 23 : 23);
	}
	free(data);
}

static void udp_piece(void *opaque, uint8_t *data, size_t length)
{
	struct pieces *pieces = opaque;
	size_t size = get16(data + 16) - 20u;
	uint16_t flags = get16(data + 20);

	assert_int_equal(length, 34 + size);
	assert_int_equal((flags & 0x1fff) * 8, pieces->done);
	assert_memory_equal(data + 34, pieces->whole + 34 + pieces->done, size);
	assert_int_equal(plain_sum(0, data + 14, 20), 0xffff);
	pieces->done += size;
	assert_int_equal(!!(flags & 0x2000), pieces->done < pieces->frame.end - 34);
}

static void udp_is_cut_into_fragments(void **state)
{
	uint8_t *data = xcalloc(1, FRAME_MAX);
	size_t length = make(data, false, 17, 0, 9001);
	struct pieces pieces = {.whole = data};

	assert_true(frame_parse(data, length, &pieces.frame));
	assert_true(frame_cut(data, length, &pieces.frame, 1500, udp_piece, &pieces));
	assert_int_equal(pieces.done, 9009);
	length = make(data, true, 17, 0, 9001);
	assert_true(frame_parse(data, length, &pieces.frame));
	assert_false(frame_cut(data, length, &pieces.frame, 1500, udp_piece, &pieces));
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_match_the_definition_at_every_length_and_alignment),
		cmocka_unit_test(checksums_of_tcp_and_udp_verify),
		cmocka_unit_test(lengths_that_lie_are_refused),
		cmocka_unit_test(mss_is_raised_only_where_there_is_one),
		cmocka_unit_test(tcp_is_cut_into_segments),
		cmocka_unit_test(udp_is_cut_into_fragments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
