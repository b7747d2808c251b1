/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a RADOS block device is: rbd:POOL/[NAMESPACE/]IMAGE[@SNAPSHOT][:NAME=VALUE...], or qemu's options. */
#ifndef XUNI_BACKEND_BLOCK_MODULES_RBD_PLACE_H
#define XUNI_BACKEND_BLOCK_MODULES_RBD_PLACE_H

#include "base/options.h"

/* All texts to be freed; those that are not given are NULL. */
struct rbd_place {
	char *pool, *name_space, *image, *snapshot;
	char *conf, *user;
	char *monitors;          /* HOST:PORT,... */
	struct options settings; /* of Ceph's configuration */
};

/* On error *place is empty. */
int rbd_place_from_name(struct rbd_place *place, const char *name, struct error *err);
int rbd_place_from_options(struct rbd_place *place, struct options *options, struct error *err);
void rbd_place_free(struct rbd_place *place);
/* As qemu writes it; to be freed. */
char *rbd_place_text(const struct rbd_place *place);

#endif
