/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection to a server that comes back when it is lost, for protocols whose library has an asynchronous interface.
 * One thread of its own connects and waits for replies; requests are started from the thread that submits them.
 *
 * Without a connection requests wait until delay_s after the loss, then they and later ones fail with EIO until there
 * is a connection again, which is tried for as long as the node is open. A server that owes replies and moves no byte
 * for REMOTE_SILENCE_S is taken for lost, so that nothing waits for ever.
 */
#ifndef XUNI_BACKEND_BLOCK_MODULES_REMOTE_H
#define XUNI_BACKEND_BLOCK_MODULES_REMOTE_H

#include "base/error.h"

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#define REMOTE_CONNECT_S 30 /* the most for one attempt */
#define REMOTE_SILENCE_S 60

struct log;
struct remote;

/* Owned by the caller until done. */
struct remote_request {
	struct remote_request *next;
	int result; /* 0 or a negative errno */
	/* Any thread, also from inside remote_submit. */
	void (*done)(struct remote_request *request);
	void *opaque; /* of whoever set done */
};

/* The protocol's part. `opaque` is remote_settings'. All but start run in the remote's thread; all but connect with its
 * lock. */
struct remote_driver {
	/* One attempt, which waits with remote_wait where it can; what it connected to must be what it was at `first`.
	 */
	int (*connect)(struct remote *remote, void *opaque, bool first, struct error *err);
	/* Starts a request on a connection that is ready; it ends in remote_done, now or later. */
	void (*start)(struct remote *remote, void *opaque, struct remote_request *request);
	/* The socket and what it waits for; fd -1 when the connection has ended. */
	struct pollfd (*watch)(void *opaque);
	/* The socket is ready for this. Fills text (for people) when the connection ends by it. */
	void (*service)(void *opaque, short revents, char *text, size_t bytes);
	/* Drops the connection; all requests in flight come back by remote_done(-ENOTCONN). orderly: says goodbye
	 * first, nothing is in flight. */
	void (*disconnect)(void *opaque, bool orderly);
};

struct remote_settings {
	const struct remote_driver *driver;
	void *opaque;
	const char *what, *place; /* "nbd", where; for messages, copied */
	uint32_t delay_s, open_timeout_s;
	struct log *log; /* or NULL */
};

/* Waits until there is a connection, or none can be had (for open_timeout_s it tries again). */
struct remote *remote_open(const struct remote_settings *settings, struct error *err);
/* Any thread, never blocks for the network. */
void remote_submit(struct remote *remote, struct remote_request *request);
/* Submits and waits for the result; done and opaque are its own. */
int remote_run(struct remote *remote, struct remote_request *request);
/* Any thread: what is in flight is given up with the connection, and it and what waits for one fails with EIO. */
void remote_cancel(struct remote *remote);
/* With nothing in flight. */
void remote_close(struct remote *remote);

/* --- for the protocol's part --- */

/* With the lock: a request has ended; -ENOTCONN: it is to be repeated on another connection. */
void remote_done(struct remote *remote, struct remote_request *request, int result);
/* In connect: waits for the socket, until deadline_ns at most; returns its revents. */
short remote_wait(struct remote *remote, struct pollfd fd, int64_t deadline_ns);
/* In connect: true when the attempt is to be given up. */
bool remote_is_closing(struct remote *remote);

#endif
