/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the back ends over file descriptors share (stdio, file, pipe, pty, socket): output is queued by any thread and
 * written in batches by the loop, input is read only while the front end has room.
 *
 * Locks: `lock` guards the filling half of the output queue and the flags beside it; it is a leaf. All else belongs to
 * the loop's thread.
 */
#ifndef XUNI_BACKEND_CHAR_STREAM_H
#define XUNI_BACKEND_CHAR_STREAM_H

#include "backend/char/chardev.h"

#include <pthread.h>
#include <sys/types.h>

struct loop_fd;

struct stream_queue {
	uint8_t *data;
	size_t start, end, capacity;
};

struct stream {
	struct chardev chardev;
	pthread_mutex_t lock;
	struct stream_queue filling; /* under lock */
	bool kicked;                 /* under lock: the loop knows that there is work */
	bool short_write;            /* under lock: the front end waits for room */
	bool discard;                /* under lock: nobody on the other side, output goes to the log file alone */
	struct stream_queue draining;
	int kick_fd; /* eventfd: other threads wake the loop through it */
	struct loop_fd *kick_watch;
	int in_fd, out_fd; /* owned; -1: none */
	struct loop_fd *in_watch, *out_watch;
	bool in_pollable, out_pollable;
	bool watch_hangup; /* notice the end of the peer while input is paused (sockets) */
	bool input_ended;
	_Atomic bool paused;
	/* End of file, or an error, on either side; NULL: input just ends. */
	void (*hangup)(struct stream *stream);
	/* Changes input in place (telnet); returns the length that is left. NULL: as is. */
	size_t (*filter)(struct stream *stream, uint8_t *data, size_t length);
	/* Encodes output; out has room for twice the length. NULL: as is. */
	size_t (*encode)(struct stream *stream, const uint8_t *data, size_t length, uint8_t *out);
};

/* Before anything else in a driver's open. */
int stream_init(struct stream *stream, struct error *err);
/* Takes over the descriptors (-1: none; they may be the same: then it is duplicated) and starts. */
int stream_start(struct stream *stream, int in_fd, int out_fd, struct error *err);
/* Closes the descriptors; queued output is dropped; from here on output is discarded. */
void stream_stop(struct stream *stream);
/* Writes out what is queued, waiting at most timeout_ms for a slow peer. */
void stream_drain(struct stream *stream, int timeout_ms);
/* stream_drain, stream_stop and the rest. */
void stream_fini(struct stream *stream);

/* Driver operations. */
size_t stream_write(struct chardev *chardev, const uint8_t *data, size_t length);
size_t stream_write_all(struct chardev *chardev, const uint8_t *data, size_t length);
void stream_accept_input(struct chardev *chardev);
/* Also the driver's `attached`: looks again whether input may be read. */
void stream_update(struct chardev *chardev);

/* False for regular files, /dev/null and the like, which epoll refuses. */
bool fd_pollable(int fd);
/* fd with its own file description, so that O_NONBLOCK is not shared with whoever else holds it; falls back to a
 * plain duplicate. Returns the new descriptor or a negative errno. flags: O_RDONLY or O_WRONLY. */
int fd_reopen_nonblocking(int fd, int flags);

#endif
