/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a debugger asks of an engine: where guest code is to stop. Points are linear addresses and hold for every vCPU
 * in whatever address space it runs. Guest memory is not touched for them. Without a debugger there are none, and the
 * engines look at nothing but that.
 */
#ifndef XUNI_CORE_DEBUG_H
#define XUNI_CORE_DEBUG_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;

enum debug_kind { DEBUG_EXECUTE, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS };

struct debug_point {
	enum debug_kind kind;
	uint64_t gva;
	uint64_t bytes; /* watched from gva on; 1 for DEBUG_EXECUTE */
};

struct debug_points {
	size_t count;
	struct debug_point point[];
};

/* How a vCPU goes on at its next run. */
enum debug_step {
	DEBUG_RUN,        /* until something stops it */
	DEBUG_STEP,       /* one instruction, or the delivery of an interrupt */
	DEBUG_STEP_QUIET, /* one instruction; interrupts wait */
	DEBUG_HOLD,       /* not at all: its thread stands still */
};

enum debug_why { DEBUG_NOTHING, DEBUG_STEPPED, DEBUG_BREAKPOINT, DEBUG_WATCHPOINT };

/* Why run returned VCPU_DEBUG. A breakpoint stops before its instruction, a watchpoint behind the one that hit it. */
struct debug_hit {
	enum debug_why why;
	enum debug_kind kind; /* DEBUG_WATCHPOINT: the point's */
	uint64_t gva;         /* DEBUG_BREAKPOINT: of the instruction; DEBUG_WATCHPOINT: of the point */
};

/* A number that equal points have in common. */
uint64_t debug_stamp(const struct debug_points *points);

/* Replaces the points of all vCPUs, which are outside run; NULL or none: no debugger. Copied. 0, or -ENOSPC when the
 * engine cannot hold as many (nothing has changed then). */
int engine_debug(struct engine *engine, const struct debug_points *points, struct error *err);

/* An instruction breakpoint is at gva. points may be NULL in all of these. */
bool debug_stops_at(const struct debug_points *points, uint64_t gva);
/* One is at this offset of some page: where blocks that know no linear address have to end. */
bool debug_stops_in_page(const struct debug_points *points, unsigned offset);
/* Data on the page (its first address) is watched. */
bool debug_watches_page(const struct debug_points *points, uint64_t page);
/* The first point that an access of [gva, +bytes) hits, or NULL. */
const struct debug_point *debug_watches(const struct debug_points *points, uint64_t gva, unsigned bytes, bool write);

#endif
