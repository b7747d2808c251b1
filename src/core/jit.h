/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an engine that translates guest code has done, as `info jit` shows it. */
#ifndef XUNI_CORE_JIT_H
#define XUNI_CORE_JIT_H

#include <stdint.h>

enum jit_counter {
	/* What there is now. */
	JIT_CODE_BYTES,  /* translated code in use */
	JIT_CODE_ROOM,   /* and how much there is room for */
	JIT_TABLE_BYTES, /* tables beside it that are in use */
	JIT_BLOCKS,
	JIT_GUEST_BYTES, /* guest code that the blocks stand for */
	JIT_CHAINS,      /* jumps that lead straight from block to block */
	/* What was done. */
	JIT_TRANSLATED, /* blocks */
	JIT_TRANSLATE_NS,
	JIT_ENTERS,        /* from C into translated code */
	JIT_FLUSHES,       /* of everything */
	JIT_TLB_FLUSHES,   /* of address translations, whole or a page */
	JIT_INVALIDATIONS, /* blocks dropped because their code was written to */
	JIT_EVICTIONS,     /* regions emptied to make room */
	JIT_EVICTED,       /* blocks that were in them */
	JIT_EVICT_NS,
	JIT_EVICT_MAX_NS, /* the longest */
	JIT_FILLS,        /* memory misses that a TLB fill answered */
	JIT_MIRRORED,     /* pages and larger runs that were mapped for user code to be reached without a look-up */
	/* Why translated code was left. */
	JIT_EXIT_MEMORY,
	JIT_EXIT_INTERPRET,
	JIT_EXIT_FAULT,
	JIT_EXIT_LINK,
	JIT_EXIT_INDIRECT,
	JIT_EXIT_HEAD,
	JIT_EXIT_CALL,
	/* verify=on */
	JIT_VERIFIED,     /* runs of blocks that were compared */
	JIT_INCONCLUSIVE, /* of them disturbed by a device's write */
	JIT_COUNTERS,
};

enum { JIT_SHARES = 256 };

struct jit_report {
	uint64_t n[JIT_COUNTERS];
	/* What was left to the interpreter: names of instructions (static strings), in no order. */
	struct jit_share {
		const char *name;
		uint64_t count;
	} shares[JIT_SHARES];
	unsigned share_count;
};

/* Adds to the share of that name. */
void jit_report_share(struct jit_report *report, const char *name, uint64_t count);
/* The greatest shares first. */
void jit_report_sort(struct jit_report *report);

#endif
