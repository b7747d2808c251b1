/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * epoll for file descriptors and the wait itself, an eventfd for work posted by other threads, a binary heap for
 * timers. epoll_pwait2 gives the wait nanosecond resolution (Linux 5.11); older kernels get milliseconds, rounded up.
 */
#include "base/loop.h"

#include "base/util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LOOP_BATCH 32

struct loop_work {
	struct loop_work *next;
	loop_fn *fn;
	void *opaque;
};

struct loop_fd {
	struct loop *loop;
	int fd;
	loop_fd_fn *fn; /* NULL: removed, freed at the end of the pass */
	void *opaque;
	struct loop_fd *next_removed;
};

struct loop {
	int epoll_fd;
	int wake_fd;
	_Atomic bool quit;
	_Atomic bool running;
	_Atomic(pthread_t) owner; /* valid while running */
	bool no_pwait2;

	pthread_mutex_t work_lock;
	struct loop_work *work_first, **work_last;

	struct loop_timer **heap; /* 1-based */
	unsigned timer_count, timer_capacity;

	struct loop_fd *removed;
};

struct loop *loop_new(struct error *err)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event)) {
		error_set_errno(err, errno, "cannot make an event loop");
		loop_free(loop);
		return NULL;
	}
	pthread_mutex_init(&loop->work_lock, NULL);
	loop->work_last = &loop->work_first;
	return loop;
}

static void loop_free_removed(struct loop *loop)
{
	while (loop->removed) {
		struct loop_fd *watch = loop->removed;

		loop->removed = watch->next_removed;
		free(watch);
	}
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	while (loop->work_first) {
		struct loop_work *work = loop->work_first;

		loop->work_first = work->next;
		free(work);
	}
	loop_free_removed(loop);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	free(loop->heap);
	free(loop);
}

/* --- file descriptors --- */

struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn, void *opaque)
{
	struct loop_fd *watch = xcalloc(1, sizeof(*watch));
	struct epoll_event event = {.events = epoll_events, .data.ptr = watch};

	*watch = (struct loop_fd){.loop = loop, .fd = fd, .fn = fn, .opaque = opaque};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		/* Regular files cannot be watched: they are always ready, callers do not watch them. */
		free(watch);
		return NULL;
	}
	return watch;
}

void loop_fd_events(struct loop_fd *watch, uint32_t epoll_events)
{
	struct epoll_event event = {.events = epoll_events, .data.ptr = watch};

	epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
}

void loop_fd_remove(struct loop_fd *watch)
{
	struct loop *loop;

	if (!watch)
		return;
	loop = watch->loop;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	/* Events of this pass may still name it. */
	watch->fn = NULL;
	watch->next_removed = loop->removed;
	loop->removed = watch;
}

/* --- timers --- */

static void heap_place(struct loop *loop, unsigned index, struct loop_timer *timer)
{
	loop->heap[index] = timer;
	timer->heap_index = index;
}

static void heap_sift(struct loop *loop, unsigned index, struct loop_timer *timer)
{
	while (index > 1 && loop->heap[index / 2]->deadline_ns > timer->deadline_ns) {
		heap_place(loop, index, loop->heap[index / 2]);
		index /= 2;
	}
	for (;;) {
		unsigned child = 2 * index;

		if (child > loop->timer_count)
			break;
		if (child < loop->timer_count && loop->heap[child + 1]->deadline_ns < loop->heap[child]->deadline_ns)
			child++;
		if (loop->heap[child]->deadline_ns >= timer->deadline_ns)
			break;
		heap_place(loop, index, loop->heap[child]);
		index = child;
	}
	heap_place(loop, index, timer);
}

void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *fn, void *opaque)
{
	*timer = (struct loop_timer){.fn = fn, .opaque = opaque, .loop = loop, .deadline_ns = INT64_MAX};
}

void loop_timer_cancel(struct loop_timer *timer)
{
	struct loop *loop = timer->loop;
	unsigned index = timer->heap_index;

	if (!index)
		return;
	timer->heap_index = 0;
	timer->deadline_ns = INT64_MAX;
	if (index != loop->timer_count--)
		heap_sift(loop, index, loop->heap[loop->timer_count + 1]);
}

void loop_timer_set(struct loop_timer *timer, int64_t deadline_ns)
{
	struct loop *loop = timer->loop;

	loop_timer_cancel(timer);
	if (loop->timer_count + 2 > loop->timer_capacity) {
		loop->timer_capacity = loop->timer_capacity ? 2 * loop->timer_capacity : 16;
		loop->heap = xrealloc(loop->heap, loop->timer_capacity * sizeof(*loop->heap));
	}
	timer->deadline_ns = deadline_ns;
	heap_sift(loop, ++loop->timer_count, timer);
}

static void loop_run_timers(struct loop *loop)
{
	int64_t now;

	if (!loop->timer_count)
		return;
	now = host_now_ns();
	/* One look at the clock a pass: a callback that re-arms itself in the past must not starve descriptors. */
	while (loop->timer_count && loop->heap[1]->deadline_ns <= now) {
		struct loop_timer *timer = loop->heap[1];

		loop_timer_cancel(timer);
		timer->fn(timer->opaque);
	}
}

/* --- work from other threads --- */

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is awake */
}

void loop_post(struct loop *loop, loop_fn *fn, void *opaque)
{
	struct loop_work *work = xcalloc(1, sizeof(*work));
	bool first;

	*work = (struct loop_work){.fn = fn, .opaque = opaque};
	pthread_mutex_lock(&loop->work_lock);
	first = !loop->work_first;
	*loop->work_last = work;
	loop->work_last = &work->next;
	pthread_mutex_unlock(&loop->work_lock);
	if (first)
		loop_wake(loop);
}

struct loop_call_wait {
	loop_fn *fn;
	void *opaque;
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	bool done;
};

static void loop_call_run(void *opaque)
{
	struct loop_call_wait *wait = opaque;

	wait->fn(wait->opaque);
	pthread_mutex_lock(&wait->lock);
	wait->done = true;
	pthread_cond_signal(&wait->done_cond);
	pthread_mutex_unlock(&wait->lock);
}

void loop_call(struct loop *loop, loop_fn *fn, void *opaque)
{
	struct loop_call_wait wait = {
		.fn = fn, .opaque = opaque, .lock = PTHREAD_MUTEX_INITIALIZER, .done_cond = PTHREAD_COND_INITIALIZER};

	if (loop_is_current(loop)) {
		fn(opaque);
		return;
	}
	loop_post(loop, loop_call_run, &wait);
	pthread_mutex_lock(&wait.lock);
	while (!wait.done)
		pthread_cond_wait(&wait.done_cond, &wait.lock);
	pthread_mutex_unlock(&wait.lock);
}

static void loop_run_work(struct loop *loop)
{
	struct loop_work *work;

	pthread_mutex_lock(&loop->work_lock);
	work = loop->work_first;
	loop->work_first = NULL;
	loop->work_last = &loop->work_first;
	pthread_mutex_unlock(&loop->work_lock);
	while (work) {
		struct loop_work *next = work->next;

		work->fn(work->opaque);
		free(work);
		work = next;
	}
}

/* --- running --- */

static int loop_wait(struct loop *loop, struct epoll_event *events, int64_t timeout_ns)
{
	if (timeout_ns >= 0 && !loop->no_pwait2) {
		struct timespec timeout = {.tv_sec = timeout_ns / NS_PER_S, .tv_nsec = timeout_ns % NS_PER_S};
		int count = epoll_pwait2(loop->epoll_fd, events, LOOP_BATCH, &timeout, NULL);

		if (count >= 0 || errno == EINTR)
			return count;
		loop->no_pwait2 = true;
	}
	if (timeout_ns > 3600 * NS_PER_S)
		timeout_ns = 3600 * NS_PER_S;
	return epoll_wait(loop->epoll_fd, events, LOOP_BATCH,
	                  timeout_ns < 0 ? -1 : (int)((timeout_ns + NS_PER_MS - 1) / NS_PER_MS));
}

static int64_t loop_timeout(const struct loop *loop, int64_t timeout_ns)
{
	int64_t left;

	if (!loop->timer_count)
		return timeout_ns;
	left = loop->heap[1]->deadline_ns - host_now_ns();
	if (left < 0)
		left = 0;
	return timeout_ns < 0 || left < timeout_ns ? left : timeout_ns;
}

static void loop_dispatch(struct loop *loop, const struct epoll_event *event)
{
	struct loop_fd *watch = event->data.ptr;
	uint64_t count;

	if (!watch) {
		if (read(loop->wake_fd, &count, sizeof(count)) < 0)
			return;
		loop_run_work(loop);
	} else if (watch->fn) {
		watch->fn(watch->opaque, event->events);
	}
}

void loop_poll(struct loop *loop, int64_t timeout_ns)
{
	struct epoll_event events[LOOP_BATCH];
	bool nested = atomic_load(&loop->running);
	int count;

	if (!nested) {
		atomic_store(&loop->owner, pthread_self());
		atomic_store(&loop->running, true);
	}
	count = loop_wait(loop, events, loop_timeout(loop, timeout_ns));
	for (int i = 0; i < count; i++)
		loop_dispatch(loop, &events[i]);
	loop_run_timers(loop);
	if (!nested) {
		loop_free_removed(loop);
		atomic_store(&loop->running, false);
	}
}

void loop_run(struct loop *loop)
{
	while (!atomic_load(&loop->quit))
		loop_poll(loop, -1);
	atomic_store(&loop->quit, false);
}

void loop_quit(struct loop *loop)
{
	atomic_store(&loop->quit, true);
	loop_wake(loop);
}

bool loop_is_current(const struct loop *loop)
{
	return atomic_load(&loop->running) && pthread_equal(atomic_load(&loop->owner), pthread_self());
}

/* --- a thread with a loop --- */

struct loop_thread {
	struct loop *loop;
	pthread_t thread;
};

static void *loop_thread_main(void *opaque)
{
	loop_run(((struct loop_thread *)opaque)->loop);
	return NULL;
}

struct loop_thread *loop_thread_start(const char *name, struct error *err)
{
	struct loop_thread *thread = xcalloc(1, sizeof(*thread));
	char short_name[16] = {0};
	int code;

	thread->loop = loop_new(err);
	if (!thread->loop) {
		free(thread);
		return NULL;
	}
	code = pthread_create(&thread->thread, NULL, loop_thread_main, thread);
	if (code) {
		error_set_errno(err, code, "cannot start I/O thread '%s'", name);
		loop_free(thread->loop);
		free(thread);
		return NULL;
	}
	strncpy(short_name, name, sizeof(short_name) - 1);
	pthread_setname_np(thread->thread, short_name);
	return thread;
}

struct loop *loop_thread_loop(struct loop_thread *thread)
{
	return thread->loop;
}

void loop_thread_stop(struct loop_thread *thread)
{
	if (!thread)
		return;
	loop_quit(thread->loop);
	pthread_join(thread->thread, NULL);
	loop_free(thread->loop);
	free(thread);
}
