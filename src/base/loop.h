/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: one thread waits in epoll for file descriptors, timers (ns) and work posted by other threads.
 * The main loop and every I/O thread is one of these. Unless said otherwise a function is called in the loop's
 * own thread (or before the loop runs).
 */
#ifndef XUNI_BASE_LOOP_H
#define XUNI_BASE_LOOP_H

#include "base/error.h"

#include <stdint.h>
#include <sys/epoll.h>

struct loop;
struct loop_fd;

typedef void loop_fd_fn(void *opaque, uint32_t epoll_events);
typedef void loop_fn(void *opaque);

struct loop_timer {
	loop_fn *fn;
	void *opaque;
	struct loop *loop;
	int64_t deadline_ns; /* CLOCK_MONOTONIC; INT64_MAX: not armed */
	unsigned heap_index; /* 0: not armed */
};

struct loop *loop_new(struct error *err);
void loop_free(struct loop *loop);

/* Runs until loop_quit. */
void loop_run(struct loop *loop);
/* One pass, waiting at most timeout_ns (-1: no bound, 0: only what is ready); for tests and command-line tools. */
void loop_poll(struct loop *loop, int64_t timeout_ns);
/* Any thread. The loop returns from loop_run after the pass it is in. */
void loop_quit(struct loop *loop);
/* True in the thread that is inside loop_run or loop_poll. */
bool loop_is_current(const struct loop *loop);

/* Watches fd (not owned). Callbacks may add and remove watches, their own included. */
struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn, void *opaque);
void loop_fd_events(struct loop_fd *watch, uint32_t epoll_events);
void loop_fd_remove(struct loop_fd *watch);

/* Timers: initialise once, then set and cancel at will in the loop's thread. A timer fires once per set. */
void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *fn, void *opaque);
void loop_timer_set(struct loop_timer *timer, int64_t deadline_ns);
void loop_timer_cancel(struct loop_timer *timer);

/* Any thread: fn(opaque) runs once, soon, in the loop's thread, in the order of posting. */
void loop_post(struct loop *loop, loop_fn *fn, void *opaque);
/* Any other thread, or the loop's own: runs fn(opaque) in the loop's thread and returns when it has run. */
void loop_call(struct loop *loop, loop_fn *fn, void *opaque);

/* A thread that runs a loop of its own (-object iothread). Freed by loop_thread_stop. */
struct loop_thread;
struct loop_thread *loop_thread_start(const char *name, struct error *err);
struct loop *loop_thread_loop(struct loop_thread *thread);
void loop_thread_stop(struct loop_thread *thread);

#endif
