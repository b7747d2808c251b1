/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From guest memory to decoded instructions: between cache.c, which keeps blocks, and decode.c, which knows operands.
 */
#ifndef XUNI_CPU_INTERP_FETCH_H
#define XUNI_CPU_INTERP_FETCH_H

#include "cpu/interp/internal.h"

/* Where the code bytes are. Code outside RAM is copied byte by byte and never kept. */
struct fetch {
	uint64_t gpa, gpa2; /* gpa2: page after, once an instruction reached into it; else ~0 */
	const uint8_t *bytes;
	unsigned length;
	uint8_t copy[16];
	bool ram;
};

void fetch_init(struct interp *ip);
/* Finds the code at a linear address; raises the fetch's page fault. */
void fetch_first(struct interp *ip, uint64_t linear, struct fetch *fetch);
/* Physical address of the page after linear's; raises. */
uint64_t fetch_second_page(struct interp *ip, uint64_t linear);
/* Code bytes by physical address, RAM or not. */
void fetch_copy(struct interp *ip, uint64_t gpa, uint8_t *to, unsigned length);
/* Decodes up to max instructions into block, which has room for them and for op_stop. False: an arena is full. */
bool fetch_decode(struct interp *ip, struct fetch *fetch, uint64_t linear, struct block *block, unsigned max);

#endif
