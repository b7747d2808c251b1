/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Huffman codes of limited length for deflate (RFC 1951 3.2). The lengths come from Moffat and Katajainen's in-place
 * calculation on sorted counts ("In-Place Calculation of Minimum-Redundancy Codes", 1995). */
#include "backend/block/deflate.h"

#include "base/util.h"

#include <string.h>

/* By counting, low byte and then high byte: ascending counts, symbols in order among equals. */
static void sort_symbols(const uint16_t *counts, uint16_t *symbols, unsigned used)
{
	uint16_t scratch[LITERAL_CODES];
	uint16_t *from = symbols, *to = scratch;

	for (unsigned shift = 0; shift < 16; shift += 8) {
		unsigned places[257] = {0};
		uint16_t *swap = from;

		for (unsigned i = 0; i < used; i++)
			places[(counts[from[i]] >> shift & 255) + 1]++;
		for (unsigned i = 0; i < 256; i++)
			places[i + 1] += places[i];
		for (unsigned i = 0; i < used; i++)
			to[places[counts[from[i]] >> shift & 255]++] = from[i];
		from = to;
		to = swap;
	}
}

/* Counts in ascending order become the lengths of their codes, in descending order. used >= 2. */
static void minimum_redundancy(uint32_t *a, unsigned used)
{
	int root = 0, leaf = 2, next, available, taken, depth;
	const int n = (int)used;

	/* From left to right: parents of pairs. */
	a[0] += a[1];
	for (next = 1; next < n - 1; next++) {
		if (leaf >= n || a[root] < a[leaf]) {
			a[next] = a[root];
			a[root++] = (uint32_t)next;
		} else {
			a[next] = a[leaf++];
		}
		if (leaf >= n || (root < next && a[root] < a[leaf])) {
			a[next] += a[root];
			a[root++] = (uint32_t)next;
		} else {
			a[next] += a[leaf++];
		}
	}
	/* From right to left: depths of the inner nodes. */
	a[n - 2] = 0;
	for (next = n - 3; next >= 0; next--)
		a[next] = a[a[next]] + 1;
	/* From right to left: depths of the leaves. */
	available = 1;
	taken = 0;
	depth = 0;
	root = n - 2;
	next = n - 1;
	while (available > 0) {
		while (root >= 0 && (int)a[root] == depth) {
			taken++;
			root--;
		}
		while (available > taken) {
			a[next--] = (uint32_t)depth;
			available--;
		}
		available = 2 * taken;
		depth++;
		taken = 0;
	}
}

/* Cuts what is longer than max_bits and lengthens others until the code is one again, neither more nor less. counts: of
 * each length. */
static void limit_lengths(const uint32_t *lengths, unsigned used, unsigned max_bits, unsigned *counts)
{
	uint32_t space = 0; /* in units of the longest code */

	for (unsigned i = 0; i < used; i++) {
		const unsigned bits = (unsigned)min_u64(lengths[i], max_bits);

		counts[bits]++;
		space += 1u << (max_bits - bits);
	}
	for (; space > 1u << max_bits; space--) {
		unsigned bits = max_bits - 1;

		while (!counts[bits])
			bits--;
		/* A code of this length makes room for itself and one of the longest, a bit deeper. */
		counts[bits]--;
		counts[bits + 1] += 2;
		counts[max_bits]--;
	}
}

static uint16_t reverse(uint16_t code, unsigned bits)
{
	uint16_t reversed = 0;

	for (unsigned i = 0; i < bits; i++)
		reversed |= (uint16_t)((code >> i & 1) << (bits - 1 - i));
	return reversed;
}

void code_assign(struct code_table *table, unsigned symbols)
{
	uint16_t counts[CODE_BITS_MAX + 1] = {0}, next[CODE_BITS_MAX + 1] = {0};

	for (unsigned i = 0; i < symbols; i++)
		counts[table->bits[i]]++;
	counts[0] = 0;
	for (unsigned bits = 1; bits <= CODE_BITS_MAX; bits++)
		next[bits] = (uint16_t)((next[bits - 1] + counts[bits - 1]) << 1);
	for (unsigned i = 0; i < symbols; i++)
		if (table->bits[i])
			table->codes[i] = reverse(next[table->bits[i]]++, table->bits[i]);
}

void code_build(const uint16_t *counts, unsigned symbols, unsigned max_bits, struct code_table *table)
{
	unsigned by_length[CODE_BITS_MAX + 1] = {0}, used = 0, at = 0;
	uint16_t order[LITERAL_CODES];
	uint32_t lengths[LITERAL_CODES];

	memset(table, 0, sizeof(*table));
	for (unsigned i = 0; i < symbols; i++)
		if (counts[i])
			order[used++] = (uint16_t)i;
	if (used < 2) {
		/* A code of one symbol alone is not one that every reader takes. */
		table->bits[0] = 1;
		table->bits[used && order[0] ? order[0] : 1] = 1;
		code_assign(table, symbols);
		return;
	}
	sort_symbols(counts, order, used);
	for (unsigned i = 0; i < used; i++)
		lengths[i] = counts[order[i]];
	minimum_redundancy(lengths, used);
	limit_lengths(lengths, used, max_bits, by_length);
	/* The rarest get the longest. */
	for (unsigned bits = max_bits; bits; bits--)
		while (by_length[bits]--)
			table->bits[order[at++]] = (uint8_t)bits;
	code_assign(table, symbols);
}
