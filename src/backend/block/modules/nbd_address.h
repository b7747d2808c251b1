/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an NBD export is: from -blockdev options, a URI (nbd:// nbd+unix:// nbds:// nbds+unix://), or qemu's older
 * nbd:HOST:PORT:exportname=NAME. */
#ifndef XUNI_BACKEND_BLOCK_MODULES_NBD_ADDRESS_H
#define XUNI_BACKEND_BLOCK_MODULES_NBD_ADDRESS_H

#include "base/options.h"

#include <stdbool.h>

enum nbd_transport { NBD_TCP, NBD_UNIX, NBD_VSOCK };

struct nbd_address {
	enum nbd_transport transport;
	char *host, *port; /* vsock: CID and port */
	char *path;        /* of a Unix socket */
	char *export_name; /* "" for the default one */
	bool tls;
	char *tls_certificates; /* folder, or NULL */
	char *tls_psk_file;     /* or NULL */
	char *tls_username;     /* or NULL */
	bool tls_verify_peer;
};

/* Takes filename or server.* / host, port, path, export and tls-* out of options. On error *address is empty. */
int nbd_address_parse(struct nbd_address *address, struct options *options, struct error *err);
void nbd_address_free(struct nbd_address *address);
/* As qemu shows it: nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH; to be freed. */
char *nbd_address_text(const struct nbd_address *address);
/* For messages: 'HOST:PORT' or the path; to be freed. */
char *nbd_address_place(const struct nbd_address *address);

#endif
