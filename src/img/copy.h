/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying one disk to another by several threads: convert, dd. */
#ifndef XUNI_IMG_COPY_H
#define XUNI_IMG_COPY_H

#include "img/internal.h"

struct copy {
	struct block **sources; /* one after the other */
	size_t source_count;
	uint64_t length; /* of all of them */
	struct block *target;
	uint64_t sparse; /* zeroes of this length are left out; 0: everything is written */
	uint64_t unit;   /* of the target: what must be written at once */
	bool compress;
	bool target_is_zero;     /* what is not written reads as zeroes */
	bool over_backing;       /* the target has a backing file: what the source's top does not have is left out */
	uint64_t backing_length; /* of that file: behind it a new target reads as zeroes */
	bool salvage;            /* what cannot be read is zeroes, with a warning unless quiet */
	bool quiet;
	struct img_rate rate;
	bool out_of_order;
	bool offload; /* let the kernel copy where it can; nothing looks for zeroes there */
	unsigned workers;
	struct img_progress progress;
};

/* 0, or a negative errno with a message. */
int copy_run(struct copy *copy, struct error *err);

#endif
