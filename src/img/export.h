/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `export` was told, between its command line (export.c) and the server (export_run.c). */
#ifndef XUNI_IMG_EXPORT_H
#define XUNI_IMG_EXPORT_H

#include "img/internal.h"

struct export
{
	struct img *img;
	/* the image */
	const char *filename, *format, *cache, *aio, *discard, *detect_zeroes;
	bool read_only, snapshot, image_opts;
	uint64_t offset;
	bool has_offset;
	/* the server */
	const char *name, *description, *address, *port, *socket, *pid_file;
	bool allocation_depth, persistent, fork, verbose;
	unsigned shared; /* 0: no bound */
};

/* Serves until a signal, or the last client unless persistent. The exit status. */
int export_run(struct export *export);

#endif
