/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An NBD server: block nodes as exports for clients on TCP and Unix sockets. Every connection has a thread of its own
 * that waits for its client and its disk; a client that misbehaves loses its connection and nothing else.
 */
#ifndef XUNI_BACKEND_BLOCK_NBD_SERVER_H
#define XUNI_BACKEND_BLOCK_NBD_SERVER_H

#include "base/error.h"

struct block;
struct loop;
struct nbd_server;

struct nbd_export {
	const char *name;        /* "" is what clients ask for that name nothing */
	const char *description; /* or NULL */
	struct block *block;     /* not closed before the server */
	bool read_only;
	bool allocation_depth; /* offer qemu:allocation-depth */
	bool writethrough;     /* every write is durable when it is answered */
	const char *aio;       /* as for block_queue_new */
};

struct nbd_server_config {
	const struct nbd_export *exports; /* all of this must live as long as the server */
	unsigned export_count;
	unsigned max_connections; /* 0: no bound. More clients wait in the socket's queue */
	/* Control thread: a connection has ended, so many are left; used: it had come as far as an export. Or NULL. */
	void (*disconnected)(void *opaque, bool used, unsigned connections);
	void *opaque;
	struct log *log; /* or NULL: nothing is said about clients */
};

/* All in the loop's thread, which is the control thread. */
struct nbd_server *nbd_server_new(struct loop *loop, const struct nbd_server_config *config);
/* Takes a listening socket, which is the server's from then on. */
void nbd_server_listen(struct nbd_server *server, int fd);
/* Ends all connections, when their requests are done, and stops listening. */
void nbd_server_free(struct nbd_server *server);
/* Takes no more connections; those that there are go on. */
void nbd_server_stop_listening(struct nbd_server *server);

#endif
