/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An NBD export over libnbd, by a connection that comes back (remote.h). */
#ifndef XUNI_BACKEND_BLOCK_MODULES_NBD_CONNECTION_H
#define XUNI_BACKEND_BLOCK_MODULES_NBD_CONNECTION_H

#include "backend/block/modules/nbd_address.h"
#include "backend/block/modules/remote.h"

#include <stdint.h>

struct nbd_connection;

enum nbd_op { NBD_READ, NBD_WRITE, NBD_FLUSH, NBD_TRIM, NBD_ZERO, NBD_STATUS };

/* Sizes are within nbd_info. */
struct nbd_request {
	struct remote_request remote;
	enum nbd_op op;
	uint32_t flags; /* LIBNBD_CMD_FLAG_... */
	uint64_t offset, length;
	void *data;
	/* NBD_STATUS: the first extent at offset. */
	uint32_t status_flags;
	uint64_t status_length;
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

/* As remote_open. Frees settings when it fails. */
struct nbd_connection *nbd_connection_open(struct nbd_settings *settings, struct nbd_info *info, struct error *err);
/* As remote_submit, remote_run, remote_cancel, remote_close. */
void nbd_connection_submit(struct nbd_connection *connection, struct nbd_request *request);
int nbd_connection_run(struct nbd_connection *connection, struct nbd_request *request);
void nbd_connection_cancel(struct nbd_connection *connection);
void nbd_connection_close(struct nbd_connection *connection);

#endif
