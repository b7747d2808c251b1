/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deflate (RFC 1951), see deflate.h. Matches come from chains of places with equal hashes of four bytes, and from the
 * last place with equal three; one is taken when the next byte does not begin a longer one. Every block has codes of
 * its own. Left out: stored blocks and fixed codes (who asks wants nothing that does not get smaller), and searching
 * where blocks should begin.
 */
#include "backend/block/deflate.h"

#include "base/util.h"

enum {
	MATCH_MIN = 3,
	MATCH_MAX = 258,
	END_OF_BLOCK = 256,
	CHAIN_LENGTH = 16,
	GOOD_MATCH = 8,  /* long enough to look less hard for a better one */
	LAZY_MATCH = 16, /* long enough to take at once */
	NICE_MATCH = 64, /* long enough to end a search */
};

/* --- lengths and distances, RFC 1951 3.2.5 --- */

static const uint16_t length_base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
					 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t length_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
					 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};

/* From 4 on, each power of two has two codes of as many extra bits. */
static unsigned length_code(unsigned length)
{
	const unsigned n = length - 3;
	unsigned top;

	if (n < 8)
		return n;
	if (length == MATCH_MAX)
		return 28;
	top = 31 - (unsigned)__builtin_clz(n);
	return 4 * (top - 1) + (n >> (top - 2) & 3);
}

static unsigned distance_code(unsigned distance)
{
	const unsigned n = distance - 1;
	unsigned top;

	if (n < 4)
		return n;
	top = 31 - (unsigned)__builtin_clz(n);
	return 2 * top + (n >> (top - 1) & 1);
}

static unsigned distance_extra(unsigned code)
{
	return code < 4 ? 0 : code / 2 - 1;
}

static unsigned distance_base(unsigned code)
{
	return code < 4 ? code + 1 : ((2 + (code & 1)) << (code / 2 - 1)) + 1;
}

/* --- bits --- */

struct bits {
	uint64_t pending;
	unsigned count;
	uint8_t *at, *end;
	bool full;
};

/* bits <= 57 - 7. */
static inline void put(struct bits *b, uint64_t value, unsigned count)
{
	b->pending |= value << b->count;
	b->count += count;
	if (b->end - b->at >= 8) {
		store_le64(b->at, b->pending);
		b->at += b->count >> 3;
		b->pending = b->count < 64 ? b->pending >> (b->count & ~7u) : 0;
		b->count &= 7;
		return;
	}
	while (b->count >= 8) {
		if (b->at == b->end) {
			b->full = true;
			b->count &= 7;
			return;
		}
		*b->at++ = (uint8_t)b->pending;
		b->pending >>= 8;
		b->count -= 8;
	}
}

/* --- one block --- */

/* The lengths of both codes, with runs (RFC 1951 3.2.7): a symbol, and in the high byte what it repeats. */
static unsigned run_lengths(const uint8_t *lengths, unsigned count, uint16_t *out)
{
	unsigned used = 0, run;

	for (unsigned i = 0; i < count; i += run) {
		run = 1;
		while (i + run < count && lengths[i + run] == lengths[i])
			run++;
		if (!lengths[i] && run >= 3) {
			run = run > 138 ? 138 : run;
			out[used++] = (uint16_t)(run < 11 ? 17 | (run - 3) << 8 : 18 | (run - 11) << 8);
		} else if (run >= 4) {
			run = run > 7 ? 7 : run;
			out[used++] = lengths[i];
			out[used++] = (uint16_t)(16 | (run - 4) << 8);
		} else {
			run = 1;
			out[used++] = lengths[i];
		}
	}
	return used;
}

static void put_tables(struct bits *b, const struct code_table *literals, const struct code_table *distances, bool last)
{
	static const uint8_t order[LENGTH_CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
	unsigned literal_codes = LITERAL_CODES, distance_codes = DISTANCE_CODES, length_codes = LENGTH_CODES, runs;
	uint8_t lengths[LITERAL_CODES + DISTANCE_CODES];
	uint16_t run[LITERAL_CODES + DISTANCE_CODES], counts[LENGTH_CODES] = {0};
	struct code_table table;

	while (literal_codes > 257 && !literals->bits[literal_codes - 1])
		literal_codes--;
	while (distance_codes > 1 && !distances->bits[distance_codes - 1])
		distance_codes--;
	memcpy(lengths, literals->bits, literal_codes);
	memcpy(lengths + literal_codes, distances->bits, distance_codes);
	runs = run_lengths(lengths, literal_codes + distance_codes, run);
	for (unsigned i = 0; i < runs; i++)
		counts[run[i] & 31]++;
	code_build(counts, LENGTH_CODES, 7, &table);
	while (length_codes > 4 && !table.bits[order[length_codes - 1]])
		length_codes--;
	put(b, (last ? 1 : 0) | 2 << 1, 3);
	put(b, (literal_codes - 257) | (distance_codes - 1) << 5 | (length_codes - 4) << 10, 14);
	for (unsigned i = 0; i < length_codes; i++)
		put(b, table.bits[order[i]], 3);
	for (unsigned i = 0; i < runs; i++) {
		const unsigned symbol = run[i] & 31;

		put(b, table.codes[symbol], table.bits[symbol]);
		if (symbol >= 16)
			put(b, run[i] >> 8, symbol == 16 ? 2 : symbol == 17 ? 3 : 7);
	}
}

static void put_match(struct bits *b, const struct code_table *literals, const struct code_table *distances,
		      unsigned length, unsigned distance)
{
	const unsigned code = length_code(length), symbol = 257 + code, far = distance_code(distance);
	uint64_t value = literals->codes[symbol];
	unsigned count = literals->bits[symbol];

	value |= (uint64_t)(length - length_base[code]) << count;
	count += length_extra[code];
	value |= (uint64_t)distances->codes[far] << count;
	count += distances->bits[far];
	value |= (uint64_t)(distance - distance_base(far)) << count;
	put(b, value, count + distance_extra(far));
}

static void put_block(struct deflater *d, struct bits *b, bool last)
{
	struct code_table literals, distances;

	d->literal_count[END_OF_BLOCK]++;
	code_build(d->literal_count, LITERAL_CODES, CODE_BITS_MAX, &literals);
	code_build(d->distance_count, DISTANCE_CODES, CODE_BITS_MAX, &distances);
	put_tables(b, &literals, &distances, last);
	for (size_t i = 0; i < d->symbol_count && !b->full; i++) {
		const uint32_t symbol = d->symbols[i];

		if (symbol < 256)
			put(b, literals.codes[symbol], literals.bits[symbol]);
		else
			put_match(b, &literals, &distances, symbol >> 16, symbol & 0xffff);
	}
	put(b, literals.codes[END_OF_BLOCK], literals.bits[END_OF_BLOCK]);
	memset(d->literal_count, 0, sizeof(d->literal_count));
	memset(d->distance_count, 0, sizeof(d->distance_count));
	d->symbol_count = 0;
}

static void add_literal(struct deflater *d, uint8_t literal)
{
	d->symbols[d->symbol_count++] = literal;
	d->literal_count[literal]++;
}

static void add_match(struct deflater *d, unsigned length, unsigned distance)
{
	d->symbols[d->symbol_count++] = length << 16 | distance;
	d->literal_count[257 + length_code(length)]++;
	d->distance_count[distance_code(distance)]++;
}

/* --- matches --- */

static inline unsigned hash4(uint32_t bytes)
{
	return bytes * 0x9e3779b1u >> 19;
}

static inline unsigned hash3(uint32_t bytes)
{
	return (bytes << 8) * 0x9e3779b1u >> 20;
}

static inline unsigned common(const uint8_t *a, const uint8_t *b, unsigned most)
{
	unsigned n = 0;

	for (; n + 8 <= most; n += 8) {
		const uint64_t differ = load_le64(a + n) ^ load_le64(b + n);

		if (differ)
			return n + (unsigned)__builtin_ctzll(differ) / 8;
	}
	while (n < most && a[n] == b[n])
		n++;
	return n;
}

struct match {
	unsigned length, distance;
};

/* Enters a place that has at least four bytes from it on; the place before it with the same hash, modulo 64 Ki. */
static inline uint16_t enter(struct deflater *d, const uint8_t *in, size_t at)
{
	const uint32_t bytes = load_le32(in + at);
	const unsigned hash = hash4(bytes);
	const uint16_t before = d->head[hash];

	d->previous[at & (DEFLATE_WINDOW - 1)] = before;
	d->head[hash] = (uint16_t)at;
	d->head3[hash3(bytes)] = (uint16_t)at;
	return before;
}

/*
 * A match longer than `best`, or one of length 0. Places are kept modulo 64 Ki: what is no place of the window (or of
 * this run) shows as a distance that is too far, or as bytes that do not match.
 */
static struct match find(struct deflater *d, const uint8_t *in, size_t at, size_t end, unsigned best, unsigned chain)
{
	const unsigned most = (unsigned)min_u64(MATCH_MAX, end - at);
	const unsigned window = (unsigned)min_u64(DEFLATE_WINDOW, at);
	const uint32_t bytes = load_le32(in + at);
	const uint16_t three = (uint16_t)(at - d->head3[hash3(bytes)]);
	struct match match = {0};
	unsigned distance = 0;
	uint16_t place = enter(d, in, at);

	if (best < MATCH_MIN && three && three <= window && !((load_le32(in + at - three) ^ bytes) & 0xffffff)) {
		match = (struct match){MATCH_MIN, three};
		best = MATCH_MIN;
	}
	while (chain--) {
		const unsigned farther = (uint16_t)(at - place);
		const uint8_t *there;

		if (farther <= distance || farther > window)
			break;
		distance = farther;
		there = in + at - distance;
		if (load_le32(there) == bytes && (best >= most || there[best] == in[at + best])) {
			const unsigned length = 4 + common(there + 4, in + at + 4, most - 4);

			if (length > best) {
				match = (struct match){length, distance};
				best = length;
				if (best >= NICE_MATCH || best == most)
					break;
			}
		}
		place = d->previous[(uint16_t)place & (DEFLATE_WINDOW - 1)];
	}
	return match;
}

/* The symbols of a block; returns where it ends. Hashing reads four bytes, so the last three are literals. */
static size_t parse(struct deflater *d, const uint8_t *in, size_t at, size_t end)
{
	struct match now = {0};

	while (at + 4 <= end && d->symbol_count < DEFLATE_BLOCK_SYMBOLS - 8) {
		struct match next = {0};
		size_t stop;

		if (!now.length)
			now = find(d, in, at, end, 0, CHAIN_LENGTH);
		if (!now.length) {
			add_literal(d, in[at++]);
			continue;
		}
		if (now.length < LAZY_MATCH && at + 5 <= end)
			next = find(d, in, at + 1, end, now.length,
				    now.length >= GOOD_MATCH ? CHAIN_LENGTH / 4 : CHAIN_LENGTH);
		else if (at + 5 <= end)
			enter(d, in, at + 1);
		if (next.length) {
			add_literal(d, in[at++]);
			now = next;
			continue;
		}
		add_match(d, now.length, now.distance);
		stop = at + now.length;
		for (at += 2; at < stop && at + 4 <= end; at++)
			enter(d, in, at);
		at = stop;
		now.length = 0;
	}
	if (now.length) {
		/* The block is full between a place and its match. */
		add_match(d, now.length, now.distance);
		for (size_t i = at + 1; i < at + now.length && i + 4 <= end; i++)
			enter(d, in, i);
		at += now.length;
	}
	while (at < end && at + 4 > end)
		add_literal(d, in[at++]);
	return at;
}

size_t deflate_bytes(struct deflater *d, const uint8_t *in, size_t in_bytes, uint8_t *out, size_t room)
{
	struct bits bits = {.at = out, .end = out + room};
	size_t at = 0;

	memset(d->head, 0, sizeof(d->head));
	memset(d->head3, 0, sizeof(d->head3));
	memset(d->literal_count, 0, sizeof(d->literal_count));
	memset(d->distance_count, 0, sizeof(d->distance_count));
	d->symbol_count = 0;
	do {
		at = parse(d, in, at, in_bytes);
		put_block(d, &bits, at == in_bytes);
	} while (at < in_bytes && !bits.full);
	put(&bits, 0, 7); /* to the end of the byte */
	return bits.full ? 0 : (size_t)(bits.at - out);
}
