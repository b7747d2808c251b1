/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Translated code, and what leads to it. */
#ifndef XUNI_CPU_TRANSLATE_CACHE_CACHE_H
#define XUNI_CPU_TRANSLATE_CACHE_CACHE_H

#include "cpu/translate/translator.h"

/* --- code.c --- */
/* budget: for code and all its tables. */
int code_init(struct translator *t, uint64_t budget, struct error *err);
/* Forgets everything. */
void code_flush(struct translator *t);
/* Takes the block out of everything that leads to it. Not from translated code. */
void code_forget(struct translator *t, uint32_t block);
void code_drop(struct translator *t, uint64_t first, uint64_t last);
/* The block at a rip for t->key; made when new. Raises the fetch's faults. NULL: code that cannot be kept, or is left to the
 * interpreter because it is *cold. */
struct block *code_block(struct translator *t, uint64_t rip, bool *cold);
/* Gives t->key a jump table, when one is left. */
void code_want_jumps(struct translator *t);

/* Whether blocks that begin there are made without groups of accesses (memory.c); others may share the answer. */
static inline uint8_t *code_alone(struct translator *t, uint64_t gpa)
{
	return &t->alone[(gpa ^ gpa >> 12) % ARRAY_SIZE(t->alone)];
}

/* Whether blocks that begin there are made with windows although there is a mirror. */
static inline uint8_t *code_windowed(struct translator *t, uint64_t gpa)
{
	return &t->windowed[(gpa >> 2 ^ gpa >> 14) % ARRAY_SIZE(t->windowed)];
}

/* The entry of the table of faults for an instruction at this code offset, or NULL. Async-signal-safe. */
const struct fault_entry *code_find_fault(const struct translator *t, uint32_t host);
void code_link(struct translator *t, uint32_t site, struct block *to);
/* The indirect branch in front of this SITE_LINK went to rip, which the first time becomes what the link is for. False: the
 * link is for another one. */
bool code_expect(struct translator *t, uint32_t link, uint64_t rip);

/* --- tables.c --- */
/* budget: as code_init's. Gives the tables their sizes. */
int tables_init(struct translator *t, uint64_t budget, struct error *err);
/* Also after tables_init has failed, or was not called. */
void tables_fini(struct translator *t);
/* Before a block is made: what is filled, and will be more, becomes huge pages. */
void tables_fill(struct translator *t);
/* All jump tables are free. */
void tables_forget_jumps(struct translator *t);

/* --- region.c --- */
/* How much code fits into `budget` bytes with its tables. */
size_t region_code_bytes(size_t budget);
/* Sizes of the tables, by code_bytes. */
void region_tables(struct translator *t);
/* Divides what is there, and forgets what was in it. */
void region_init(struct translator *t);
/* Brings t->regions up to date. */
void region_note(struct translator *t);
bool region_full(const struct translator *t);
/* Goes on in the next region, which is emptied first. */
void region_next(struct translator *t);
const struct code_region *region_of_code(const struct translator *t, uint32_t host);

#endif
