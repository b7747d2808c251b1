/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shared part of descriptor-based back ends. Guests write consoles byte by byte; a system call for each would cost
 * more than the guest's own work, so bytes collect in one half of a double buffer while the loop writes the other.
 */
#include "backend/char/stream.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a guest may have queued before it has to wait: a screenful or two, not megabytes of stale output. */
#define QUEUE_LIMIT (64 * 1024)
#define READ_SIZE   (16 * 1024)

bool fd_pollable(int fd)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	bool pollable = epoll_fd < 0 || !epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) || errno != EPERM;

	if (epoll_fd >= 0)
		close(epoll_fd);
	return pollable;
}

int fd_reopen_nonblocking(int fd, int flags)
{
	char path[32];
	struct stat info;
	int copy;

	if (fstat(fd, &info))
		return -errno;
	/* A regular file must keep its offset, and a socket cannot be opened. */
	if (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		copy = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (copy >= 0)
			return copy;
	}
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return copy < 0 ? -errno : copy;
}

static size_t queue_length(const struct stream_queue *queue)
{
	return queue->end - queue->start;
}

static void queue_reserve(struct stream_queue *queue, size_t length)
{
	if (queue->start == queue->end)
		queue->start = queue->end = 0;
	if (queue->capacity - queue->end >= length)
		return;
	queue->capacity = queue->end + length < 4096 ? 4096 : (queue->end + length) * 2;
	queue->data = xrealloc(queue->data, queue->capacity);
}

static void kick(struct stream *stream)
{
	uint64_t one = 1;
	ssize_t n = write(stream->kick_fd, &one, sizeof(one));

	(void)n; /* cannot fail but by overflow, and then the loop is awake anyway */
}

/* whole: all of it while the limit is not reached, or nothing. */
static size_t enqueue(struct stream *stream, const uint8_t *data, size_t length, size_t limit, bool whole)
{
	size_t queued, room, worst;
	bool wake;

	pthread_mutex_lock(&stream->lock);
	/* A log file gets what nobody else is there for. */
	if (stream->discard && stream->chardev.log_fd < 0) {
		pthread_mutex_unlock(&stream->lock);
		return length;
	}
	queued = queue_length(&stream->filling);
	room = queued < limit ? whole ? length : limit - queued : 0;
	if (length > room) {
		length = room;
		stream->short_write = true;
	}
	if (length) {
		worst = stream->encode ? 2 * length : length;
		queue_reserve(&stream->filling, worst);
		if (stream->encode) {
			stream->filling.end +=
				stream->encode(stream, data, length, stream->filling.data + stream->filling.end);
		} else {
			memcpy(stream->filling.data + stream->filling.end, data, length);
			stream->filling.end += length;
		}
	}
	wake = !stream->kicked;
	stream->kicked = true;
	pthread_mutex_unlock(&stream->lock);
	if (wake)
		kick(stream);
	return length;
}

size_t stream_write(struct chardev *chardev, const uint8_t *data, size_t length)
{
	return enqueue((struct stream *)chardev, data, length, QUEUE_LIMIT, false);
}

size_t stream_write_all(struct chardev *chardev, const uint8_t *data, size_t length)
{
	return enqueue((struct stream *)chardev, data, length, CHARDEV_BACKLOG_MAX, true);
}

static void log_drained(struct stream *stream)
{
	const struct stream_queue *queue = &stream->draining;

	if (queue_length(queue))
		chardev_log(&stream->chardev, queue->data + queue->start, queue_length(queue));
}

/* Moves the filled half to the loop's side when that one is empty. Returns false when there is nothing to write. */
static bool refill(struct stream *stream)
{
	struct stream_queue swap;
	bool room = false;

	if (queue_length(&stream->draining))
		return true;
	stream->draining.start = stream->draining.end = 0;
	pthread_mutex_lock(&stream->lock);
	swap = stream->draining;
	stream->draining = stream->filling;
	stream->filling = swap;
	if (!queue_length(&stream->draining))
		stream->kicked = false;
	if (stream->short_write && queue_length(&stream->filling) < QUEUE_LIMIT / 2) {
		stream->short_write = false;
		room = true;
	}
	pthread_mutex_unlock(&stream->lock);
	log_drained(stream);
	if (room && stream->chardev.front.writable)
		stream->chardev.front.writable(stream->chardev.front.opaque);
	return queue_length(&stream->draining) > 0;
}

/* The connection came (discard false) or went. What is queued belongs to none: it goes to the log file alone. */
static void set_discard(struct stream *stream, bool discard)
{
	struct stream_queue unsent;
	bool waiting;

	stream->draining.start = stream->draining.end = 0;
	pthread_mutex_lock(&stream->lock);
	stream->discard = discard;
	stream->kicked = false;
	waiting = stream->short_write;
	stream->short_write = false;
	unsent = stream->filling;
	stream->filling = stream->draining;
	stream->draining = unsent;
	pthread_mutex_unlock(&stream->lock);
	log_drained(stream);
	stream->draining.start = stream->draining.end = 0;
	/* Whoever waited for room may go on. */
	if (waiting && stream->chardev.front.writable)
		stream->chardev.front.writable(stream->chardev.front.opaque);
}

static void input_over(struct stream *stream)
{
	if (stream->hangup) {
		stream->hangup(stream);
		return;
	}
	stream->input_ended = true;
	stream_update(&stream->chardev);
}

static void output_over(struct stream *stream)
{
	set_discard(stream, true);
	if (stream->hangup)
		stream->hangup(stream);
}

/* Returns false when the peer takes no more now. */
static bool flush(struct stream *stream)
{
	while (refill(stream)) {
		struct stream_queue *queue = &stream->draining;
		size_t length = queue_length(queue);
		ssize_t n;

		if (stream->out_fd < 0) {
			queue->start = queue->end;
			continue;
		}
		n = write(stream->out_fd, queue->data + queue->start, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			output_over(stream);
			return true;
		}
		queue->start += (size_t)n;
	}
	return true;
}

static void output_ready(void *opaque, uint32_t events)
{
	struct stream *stream = opaque;

	if (!flush(stream) || !stream->out_watch)
		return;
	loop_fd_remove(stream->out_watch);
	stream->out_watch = NULL;
}

static void flush_or_wait(struct stream *stream)
{
	if (stream->out_watch || flush(stream) || stream->out_fd < 0)
		return;
	stream->out_watch = loop_fd_add(stream->chardev.loop, stream->out_fd, EPOLLOUT, output_ready, stream);
}

static size_t front_room(struct stream *stream)
{
	const struct chardev_front *front = &stream->chardev.front;

	return front->can_receive ? front->can_receive(front->opaque) : 0;
}

static void input_ready(void *opaque, uint32_t events)
{
	struct stream *stream = opaque;
	uint8_t data[READ_SIZE];
	size_t room = front_room(stream);
	ssize_t n;

	if (!room) {
		if (events & (EPOLLHUP | EPOLLERR))
			input_over(stream);
		else
			stream_update(&stream->chardev);
		return;
	}
	n = read(stream->in_fd, data, room < sizeof(data) ? room : sizeof(data));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		input_over(stream);
		return;
	}
	if (stream->filter)
		n = (ssize_t)stream->filter(stream, data, (size_t)n);
	if (n > 0 && stream->chardev.front.receive)
		stream->chardev.front.receive(stream->chardev.front.opaque, data, (size_t)n);
	/* The receiver may have closed the stream's descriptor. */
	if (stream->in_fd >= 0 && !stream->in_pollable)
		kick(stream);
	else if (!front_room(stream))
		stream_update(&stream->chardev);
}

static bool may_read(struct stream *stream)
{
	if (stream->in_fd < 0 || stream->input_ended)
		return false;
	if (front_room(stream))
		return true;
	atomic_store(&stream->paused, true);
	/* The front end may have made room between the question and the flag. */
	if (!front_room(stream))
		return false;
	atomic_store(&stream->paused, false);
	return true;
}

void stream_update(struct chardev *chardev)
{
	struct stream *stream = (struct stream *)chardev;
	bool reading;
	bool watching;

	atomic_store(&stream->paused, false);
	reading = may_read(stream);
	watching =
		stream->in_fd >= 0 && stream->in_pollable && !stream->input_ended && (reading || stream->watch_hangup);
	if (!watching && stream->in_watch) {
		/* Without interest in input a watch would still report hang-ups, over and over. */
		loop_fd_remove(stream->in_watch);
		stream->in_watch = NULL;
	} else if (watching && !stream->in_watch) {
		stream->in_watch =
			loop_fd_add(chardev->loop, stream->in_fd, reading ? EPOLLIN : 0, input_ready, stream);
	} else if (watching) {
		loop_fd_events(stream->in_watch, reading ? EPOLLIN : 0);
	}
	if (reading && !stream->in_pollable)
		kick(stream);
}

void stream_accept_input(struct chardev *chardev)
{
	struct stream *stream = (struct stream *)chardev;

	if (atomic_load(&stream->paused))
		kick(stream);
}

static void kicked(void *opaque, uint32_t events)
{
	struct stream *stream = opaque;
	uint64_t count;
	ssize_t n = read(stream->kick_fd, &count, sizeof(count));

	(void)n;
	flush_or_wait(stream);
	if (atomic_load(&stream->paused))
		stream_update(&stream->chardev);
	else if (stream->in_fd >= 0 && !stream->in_pollable && !stream->input_ended)
		input_ready(stream, 0);
}

int stream_init(struct stream *stream, struct error *err)
{
	stream->in_fd = stream->out_fd = -1;
	stream->discard = true;
	/* A peer that went away is an error of write, not the end of the machine. */
	signal(SIGPIPE, SIG_IGN);
	pthread_mutex_init(&stream->lock, NULL);
	stream->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (stream->kick_fd < 0) {
		int code = errno;

		pthread_mutex_destroy(&stream->lock);
		return error_set_errno(err, code, "no event descriptor");
	}
	stream->kick_watch = loop_fd_add(stream->chardev.loop, stream->kick_fd, EPOLLIN, kicked, stream);
	return 0;
}

static void set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int stream_start(struct stream *stream, int in_fd, int out_fd, struct error *err)
{
	if (out_fd >= 0 && out_fd == in_fd) {
		/* Two watches need two descriptors. */
		out_fd = fcntl(in_fd, F_DUPFD_CLOEXEC, 3);
		if (out_fd < 0) {
			int code = errno;

			close(in_fd);
			return error_set_errno(err, code, "duplicating a descriptor");
		}
	}
	stream->in_fd = in_fd;
	stream->out_fd = out_fd;
	stream->input_ended = false;
	stream->in_pollable = in_fd >= 0 && fd_pollable(in_fd);
	stream->out_pollable = out_fd >= 0 && fd_pollable(out_fd);
	if (stream->in_pollable)
		set_nonblocking(in_fd);
	if (stream->out_pollable)
		set_nonblocking(out_fd);
	set_discard(stream, out_fd < 0);
	atomic_store(&stream->chardev.connected, true);
	stream_update(&stream->chardev);
	return 0;
}

void stream_stop(struct stream *stream)
{
	set_discard(stream, true);
	atomic_store(&stream->chardev.connected, false);
	if (stream->in_watch)
		loop_fd_remove(stream->in_watch);
	if (stream->out_watch)
		loop_fd_remove(stream->out_watch);
	stream->in_watch = stream->out_watch = NULL;
	if (stream->in_fd >= 0)
		close(stream->in_fd);
	if (stream->out_fd >= 0)
		close(stream->out_fd);
	stream->in_fd = stream->out_fd = -1;
}

void stream_drain(struct stream *stream, int timeout_ms)
{
	int64_t deadline_ns = host_now_ns() + timeout_ms * NS_PER_MS;

	while (stream->out_fd >= 0 && !flush(stream)) {
		int64_t left_ns = deadline_ns - host_now_ns();
		struct pollfd pollfd = {.fd = stream->out_fd, .events = POLLOUT};

		if (left_ns <= 0 || poll(&pollfd, 1, (int)(left_ns / NS_PER_MS) + 1) <= 0)
			return;
	}
}

void stream_fini(struct stream *stream)
{
	stream->hangup = NULL;
	stream_drain(stream, 500);
	stream_stop(stream);
	loop_fd_remove(stream->kick_watch);
	close(stream->kick_fd);
	free(stream->filling.data);
	free(stream->draining.data);
	pthread_mutex_destroy(&stream->lock);
}
