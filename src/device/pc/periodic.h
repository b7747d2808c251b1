/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When a periodic timer fires next. A host that was late catches up one period at a time, in quick succession, so that
 * guests that count ticks keep time; what is older than a second is dropped. Periods too short to be served are served
 * as often as is reasonable, in phase.
 */
#ifndef XUNI_DEVICE_PC_PERIODIC_H
#define XUNI_DEVICE_PC_PERIODIC_H

#include "base/util.h"

enum { PERIODIC_MIN_NS = 20000 };

/* due_ns: the tick that was just served, now_ns >= due_ns. Returns the one after it, maybe already due. */
static inline int64_t periodic_next(int64_t due_ns, int64_t period_ns, int64_t now_ns)
{
	int64_t late = now_ns - due_ns;

	if (period_ns < 1)
		period_ns = 1;
	if (period_ns < PERIODIC_MIN_NS)
		return due_ns + ((late + PERIODIC_MIN_NS) / period_ns + 1) * period_ns;
	if (late > NS_PER_S)
		return due_ns + (late / period_ns + 1) * period_ns;
	return due_ns + period_ns;
}

/* The clock deadline at which to serve the tick due at due_ns: a late one comes a fraction of a period after the last,
 * so that the guest has a chance to take each. */
static inline int64_t periodic_deadline(int64_t due_ns, int64_t period_ns, int64_t now_ns)
{
	int64_t gap = period_ns / 4 > PERIODIC_MIN_NS ? period_ns / 4 : PERIODIC_MIN_NS;

	return due_ns > now_ns ? due_ns : now_ns + gap;
}

#endif
