/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection to an NBD export that comes back when it is lost. One thread of its own connects and waits for replies;
 * requests are sent from the thread that submits them.
 *
 * Without a connection requests wait until reconnect_delay_s after the loss, then they and later ones fail with EIO
 * until there is a connection again, which is tried for as long as the node is open. A server that owes replies and
 * sends nothing for NBD_SILENCE_S is taken for lost, so that nothing waits for ever.
 */
#ifndef XUNI_BACKEND_BLOCK_MODULES_NBD_CONNECTION_H
#define XUNI_BACKEND_BLOCK_MODULES_NBD_CONNECTION_H

#include "backend/block/modules/nbd_address.h"

#include <stdint.h>

#define NBD_SILENCE_S 60

struct log;
struct nbd_connection;

enum nbd_op { NBD_READ, NBD_WRITE, NBD_FLUSH, NBD_TRIM, NBD_ZERO, NBD_STATUS };

/* Owned by the caller until done. Sizes are within nbd_info. */
struct nbd_request {
	struct nbd_request *next;
	enum nbd_op op;
	uint32_t flags; /* LIBNBD_CMD_FLAG_... */
	uint64_t offset, length;
	void *data;
	/* NBD_STATUS: the first extent at offset. */
	uint32_t status_flags;
	uint64_t status_length;
	int result;
	/* 0 or a negative errno. Any thread, also from inside nbd_connection_submit. */
	void (*done)(struct nbd_request *request);
	struct nbd_connection *connection;
};

/* What the server said when it was first connected to; later connections must agree. */
struct nbd_info {
	uint64_t length;
	bool read_only, can_flush, can_fua, can_trim, can_zero, can_status;
	uint32_t block_min, block_preferred, block_max; /* bytes */
};

struct nbd_settings {
	struct nbd_address address; /* becomes the connection's */
	char *meta_context;         /* likewise: what NBD_STATUS asks for */
	uint32_t reconnect_delay_s, open_timeout_s;
	struct log *log; /* or NULL */
};

/* Waits until there is a connection, or none can be had (for open_timeout_s it tries again). Frees settings when it
 * fails. */
struct nbd_connection *nbd_connection_open(struct nbd_settings *settings, struct nbd_info *info, struct error *err);
/* Any thread, never blocks for the network. */
void nbd_connection_submit(struct nbd_connection *connection, struct nbd_request *request);
/* With nothing in flight. */
void nbd_connection_close(struct nbd_connection *connection);

#endif
