/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compression to raw deflate (RFC 1951) for clusters of images: a window of 4 KiB, as readers of qcow2 set aside no
 * more, and input that is all there. Several times as fast as a general library at about its ratio, which is what
 * converting to compressed images spends its time on. Decompression is zlib's.
 */
#ifndef XUNI_BACKEND_BLOCK_DEFLATE_H
#define XUNI_BACKEND_BLOCK_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#define DEFLATE_WINDOW        4096u
#define DEFLATE_BLOCK_SYMBOLS 32768u

enum { LITERAL_CODES = 286, DISTANCE_CODES = 30, LENGTH_CODES = 19, CODE_BITS_MAX = 15 };

/* What one compression needs; contents do not matter between runs. About 200 KiB. */
struct deflater {
	uint16_t head[1 << 13];                  /* hash of four bytes -> last place, modulo 64 Ki */
	uint16_t head3[1 << 12];                 /* of three bytes */
	uint16_t previous[DEFLATE_WINDOW];       /* place -> the one before it with its hash */
	uint32_t symbols[DEFLATE_BLOCK_SYMBOLS]; /* a literal, or length << 16 | distance */
	size_t symbol_count;
	uint16_t literal_count[LITERAL_CODES], distance_count[DISTANCE_CODES];
};

/* Bytes used of `room`, or 0 when it does not fit. The result does not depend on earlier runs. */
size_t deflate_bytes(struct deflater *d, const uint8_t *in, size_t in_bytes, uint8_t *out, size_t room);

/* --- deflate_code.c: Huffman codes --- */

struct code_table {
	uint16_t codes[LITERAL_CODES]; /* bit-reversed, as they are sent */
	uint8_t bits[LITERAL_CODES];   /* 0: not used */
};

/* Codes of at most max_bits (<= CODE_BITS_MAX) for counts; at least two symbols get one. */
void code_build(const uint16_t *counts, unsigned symbols, unsigned max_bits, struct code_table *table);
/* Canonical codes (RFC 1951 3.2.2) for bits that are set already. */
void code_assign(struct code_table *table, unsigned symbols);

#endif
