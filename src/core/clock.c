/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time: while running, now = CLOCK_MONOTONIC - offset; while stopped, a constant. Readers take no lock: offset and
 * state change under a sequence count. Timers sit in a binary heap under a lock.
 */
#include "core/clock.h"

#include "base/util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct clock {
	uint64_t tsc_khz;
	bool stepped;
	bool has_epoch;
	int64_t epoch_ns;

	/* Sequence lock over what clock_now reads. */
	_Atomic unsigned sequence;
	_Atomic bool running;
	_Atomic int64_t offset_ns;  /* running, host-driven: CLOCK_MONOTONIC at virtual 0 */
	_Atomic int64_t stopped_ns; /* stopped or stepped: the time */

	pthread_mutex_t lock; /* heap, firing, waker */
	pthread_cond_t fired;
	struct clock_timer **heap; /* 1-based */
	unsigned count, capacity;
	struct clock_timer *firing;
	pthread_t firing_thread;
	void (*waker)(void *opaque);
	void *waker_opaque;
};

struct clock *clock_new(bool stepped, uint64_t tsc_khz)
{
	struct clock *clock = xcalloc(1, sizeof(*clock));

	clock->stepped = stepped;
	clock->tsc_khz = tsc_khz;
	pthread_mutex_init(&clock->lock, NULL);
	pthread_cond_init(&clock->fired, NULL);
	return clock;
}

void clock_free(struct clock *clock)
{
	if (!clock)
		return;
	pthread_mutex_destroy(&clock->lock);
	pthread_cond_destroy(&clock->fired);
	free(clock->heap);
	free(clock);
}

int64_t clock_now(const struct clock *clock)
{
	unsigned sequence;
	int64_t now;

	do {
		sequence = atomic_load_explicit(&clock->sequence, memory_order_acquire);
		if (atomic_load_explicit(&clock->running, memory_order_relaxed) && !clock->stepped)
			now = host_now_ns() - atomic_load_explicit(&clock->offset_ns, memory_order_relaxed);
		else
			now = atomic_load_explicit(&clock->stopped_ns, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
	} while (sequence & 1 || sequence != atomic_load_explicit(&clock->sequence, memory_order_relaxed));
	return now;
}

bool clock_running(const struct clock *clock)
{
	return atomic_load(&clock->running);
}

static void clock_change(struct clock *clock, bool running, int64_t offset_ns, int64_t stopped_ns)
{
	atomic_fetch_add_explicit(&clock->sequence, 1, memory_order_acq_rel);
	atomic_store_explicit(&clock->running, running, memory_order_relaxed);
	atomic_store_explicit(&clock->offset_ns, offset_ns, memory_order_relaxed);
	atomic_store_explicit(&clock->stopped_ns, stopped_ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&clock->sequence, 1, memory_order_release);
}

static void clock_wake(struct clock *clock)
{
	if (clock->waker)
		clock->waker(clock->waker_opaque);
}

void clock_start(struct clock *clock)
{
	if (clock_running(clock))
		return;
	clock_change(clock, true, host_now_ns() - clock->stopped_ns, clock->stopped_ns);
	clock_wake(clock);
}

void clock_stop(struct clock *clock)
{
	if (clock_running(clock))
		clock_change(clock, false, 0, clock_now(clock));
}

int64_t clock_host_offset_ns(const struct clock *clock)
{
	return atomic_load(&clock->offset_ns);
}

void clock_set(struct clock *clock, int64_t now_ns)
{
	clock_change(clock, false, 0, now_ns);
}

void clock_set_epoch(struct clock *clock, int64_t epoch_ns)
{
	clock->has_epoch = true;
	clock->epoch_ns = epoch_ns;
}

int64_t clock_epoch_ns(const struct clock *clock)
{
	struct timespec now;

	if (clock->has_epoch)
		return clock->epoch_ns;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec - clock_now(clock);
}

uint64_t clock_tsc_khz(const struct clock *clock)
{
	return clock->tsc_khz;
}

uint64_t clock_tsc_at(const struct clock *clock, int64_t now_ns)
{
	return (uint64_t)((unsigned __int128)now_ns * clock->tsc_khz / 1000000);
}

uint64_t clock_ns_to_ticks(int64_t ns, uint64_t hz)
{
	return (uint64_t)((__int128)ns * (__int128)hz / NS_PER_S);
}

int64_t clock_ticks_to_ns(uint64_t ticks, uint64_t hz)
{
	unsigned __int128 ns = ((unsigned __int128)ticks * NS_PER_S + hz - 1) / hz;

	return ns > INT64_MAX ? INT64_MAX : (int64_t)ns;
}

/* --- timers --- */

static void heap_place(struct clock *clock, unsigned index, struct clock_timer *timer)
{
	clock->heap[index] = timer;
	timer->heap_index = index;
}

static void heap_sift(struct clock *clock, unsigned index, struct clock_timer *timer)
{
	while (index > 1 && clock->heap[index / 2]->deadline_ns > timer->deadline_ns) {
		heap_place(clock, index, clock->heap[index / 2]);
		index /= 2;
	}
	for (;;) {
		unsigned child = 2 * index;

		if (child > clock->count)
			break;
		if (child < clock->count && clock->heap[child + 1]->deadline_ns < clock->heap[child]->deadline_ns)
			child++;
		if (clock->heap[child]->deadline_ns >= timer->deadline_ns)
			break;
		heap_place(clock, index, clock->heap[child]);
		index = child;
	}
	heap_place(clock, index, timer);
}

static void heap_remove(struct clock *clock, struct clock_timer *timer)
{
	unsigned index = timer->heap_index;

	timer->deadline_ns = INT64_MAX;
	if (!index)
		return;
	timer->heap_index = 0;
	if (index != clock->count--)
		heap_sift(clock, index, clock->heap[clock->count + 1]);
}

void clock_timer_init(struct clock_timer *timer, struct clock *clock, void (*fn)(void *opaque), void *opaque)
{
	*timer = (struct clock_timer){.clock = clock, .fn = fn, .opaque = opaque, .deadline_ns = INT64_MAX};
}

void clock_timer_set(struct clock_timer *timer, int64_t deadline_ns)
{
	struct clock *clock = timer->clock;
	bool nearer;

	pthread_mutex_lock(&clock->lock);
	heap_remove(clock, timer);
	if (clock->count + 2 > clock->capacity) {
		clock->capacity = clock->capacity ? 2 * clock->capacity : 16;
		clock->heap = xrealloc(clock->heap, clock->capacity * sizeof(*clock->heap));
	}
	timer->deadline_ns = deadline_ns;
	heap_sift(clock, ++clock->count, timer);
	nearer = clock->heap[1] == timer;
	pthread_mutex_unlock(&clock->lock);
	if (nearer)
		clock_wake(clock);
}

void clock_timer_cancel(struct clock_timer *timer)
{
	struct clock *clock = timer->clock;

	pthread_mutex_lock(&clock->lock);
	heap_remove(clock, timer);
	pthread_mutex_unlock(&clock->lock);
}

void clock_timer_cancel_sync(struct clock_timer *timer)
{
	struct clock *clock = timer->clock;

	pthread_mutex_lock(&clock->lock);
	heap_remove(clock, timer);
	while (clock->firing == timer && !pthread_equal(clock->firing_thread, pthread_self()))
		pthread_cond_wait(&clock->fired, &clock->lock);
	heap_remove(clock, timer); /* the callback may have set it again */
	pthread_mutex_unlock(&clock->lock);
}

/* Runs timers that are due at `now`, at most `limit` of them: one that re-arms itself in the past must not hang the
 * thread. Lock held on entry and exit, dropped around callbacks. */
static void clock_fire(struct clock *clock, int64_t now, unsigned limit)
{
	while (limit-- && clock->count && clock->heap[1]->deadline_ns <= now) {
		struct clock_timer *timer = clock->heap[1];

		heap_remove(clock, timer);
		clock->firing = timer;
		clock->firing_thread = pthread_self();
		pthread_mutex_unlock(&clock->lock);
		timer->fn(timer->opaque);
		pthread_mutex_lock(&clock->lock);
		clock->firing = NULL;
		pthread_cond_broadcast(&clock->fired);
	}
}

int64_t clock_run(struct clock *clock)
{
	int64_t next;

	pthread_mutex_lock(&clock->lock);
	if (clock_running(clock))
		clock_fire(clock, clock_now(clock), 64);
	next = clock->count ? clock->heap[1]->deadline_ns : INT64_MAX;
	pthread_mutex_unlock(&clock->lock);
	return next;
}

void clock_advance(struct clock *clock, int64_t ns)
{
	int64_t end = clock_now(clock) + ns;

	pthread_mutex_lock(&clock->lock);
	while (clock->count && clock->heap[1]->deadline_ns <= end) {
		int64_t deadline = clock->heap[1]->deadline_ns;

		if (deadline > clock->stopped_ns)
			clock_change(clock, clock->running, 0, deadline);
		clock_fire(clock, deadline, 1);
	}
	clock_change(clock, clock->running, 0, end);
	pthread_mutex_unlock(&clock->lock);
}

int64_t clock_next_deadline(const struct clock *clock)
{
	struct clock *mutable_clock = (struct clock *)clock;
	int64_t next;

	pthread_mutex_lock(&mutable_clock->lock);
	next = clock->count ? clock->heap[1]->deadline_ns : INT64_MAX;
	pthread_mutex_unlock(&mutable_clock->lock);
	return next;
}

void clock_set_waker(struct clock *clock, void (*waker)(void *opaque), void *opaque)
{
	clock->waker_opaque = opaque;
	clock->waker = waker;
}
