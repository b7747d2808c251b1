/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's virtual clock: nanoseconds since the machine was created, not counting the time it was stopped.
 * Every guest-visible clock (TSC, kvmclock, PM timer, HPET, PIT, APIC timer, RTC) is derived from it, so they agree.
 * It is driven by host time, or, for deterministic runs and tests, by whoever calls clock_advance.
 *
 * Timers run in the thread that calls clock_run: the main loop (which learns of a nearer deadline through the waker),
 * or in stepped mode the caller of clock_advance. A timer callback is called without the clock's lock; it may set and
 * cancel timers.
 */
#ifndef XUNI_CORE_CLOCK_H
#define XUNI_CORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct clock;

struct clock_timer {
	struct clock *clock;
	void (*fn)(void *opaque);
	void *opaque;
	int64_t deadline_ns; /* INT64_MAX: not armed */
	unsigned heap_index; /* 0: not armed */
};

/* Starts stopped, at 0 ns. stepped: time moves only by clock_advance. tsc_khz: the guest's TSC frequency. */
struct clock *clock_new(bool stepped, uint64_t tsc_khz);
void clock_free(struct clock *clock);

/* Any thread. */
int64_t clock_now(const struct clock *clock);
bool clock_running(const struct clock *clock);
void clock_start(struct clock *clock);
void clock_stop(struct clock *clock);
/* The host's CLOCK_MONOTONIC that corresponds to virtual time 0 while running (KVM needs it for kvmclock). */
int64_t clock_host_offset_ns(const struct clock *clock);
/* While stopped: continue from now_ns (restore). */
void clock_set(struct clock *clock, int64_t now_ns);
/* Stepped mode only: moves time on and runs the timers that come due, each at its own deadline. */
void clock_advance(struct clock *clock, int64_t ns);

/* The date at virtual time 0, ns since 1970 UTC: as set, else what the host's calendar says now. A run that must be the same
 * every time sets it. */
void clock_set_epoch(struct clock *clock, int64_t epoch_ns);
int64_t clock_epoch_ns(const struct clock *clock);

/* TSC ticks at virtual time ns, rounded down; and the way back, rounded up. */
uint64_t clock_tsc_khz(const struct clock *clock);
uint64_t clock_tsc_at(const struct clock *clock, int64_t now_ns);
uint64_t clock_ns_to_ticks(int64_t ns, uint64_t hz);
int64_t clock_ticks_to_ns(uint64_t ticks, uint64_t hz);

/* Timers; deadlines are virtual ns; any thread. After clock_timer_cancel_sync the callback is not running any more
 * (do not call it with a lock that the callback takes); the plain form may return while it still runs. */
void clock_timer_init(struct clock_timer *timer, struct clock *clock, void (*fn)(void *opaque), void *opaque);
void clock_timer_set(struct clock_timer *timer, int64_t deadline_ns);
void clock_timer_cancel(struct clock_timer *timer);
void clock_timer_cancel_sync(struct clock_timer *timer);

/* Runs what is due; returns the next deadline (virtual ns, INT64_MAX when none). */
int64_t clock_run(struct clock *clock);
/* The earliest deadline without running anything. */
int64_t clock_next_deadline(const struct clock *clock);
/* waker is called, in any thread, when the earliest deadline moved nearer or the clock was started. */
void clock_set_waker(struct clock *clock, void (*waker)(void *opaque), void *opaque);

#endif
