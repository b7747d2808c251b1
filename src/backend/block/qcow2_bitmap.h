/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps in qcow2 images: which parts were written since the bitmap was made or cleared, for incremental
 * backups. A bitmap that is enabled follows every write. Control thread, but for qcow2_bitmaps_mark.
 */
#ifndef XUNI_BACKEND_BLOCK_QCOW2_BITMAP_H
#define XUNI_BACKEND_BLOCK_QCOW2_BITMAP_H

#include "backend/block/qcow2_internal.h"

#define QCOW2_MAX_BITMAPS     65535u
#define QCOW2_MAX_BITMAP_NAME 1023u

enum qcow2_bitmap_flags { QCOW2_BITMAP_IN_USE = 1, QCOW2_BITMAP_AUTO = 2, QCOW2_BITMAP_EXTRA_COMPATIBLE = 4 };

struct qcow2_bitmap {
	char *name;
	unsigned granularity_bits;
	bool enabled;          /* follows writes */
	bool inconsistent;     /* was not stored when the image was closed: of no use but to be removed */
	uint64_t entry_offset; /* of its entry in the directory, in the file; 0: it has none yet */
	uint64_t table_offset;
	uint32_t table_entries;
	uint8_t *extra; /* of the directory's entry, kept */
	uint32_t extra_bytes;
	bool foreign;  /* extra data that must be understood are not: the bitmap is kept as it is */
	uint8_t *bits; /* one for each granule, the lowest first; NULL: not loaded */
	bool changed;  /* bits are not as in the file */
	uint8_t *cut;  /* while a change to a smaller length can fail: the bits before it; else NULL */
};

/* --- qcow2_bitmap_table.c: the file's side --- */
/* Reads the directory, where there is a valid one. */
int qcow2_bitmaps_open(struct qcow2 *q, struct error *err);
void qcow2_bitmaps_close(struct qcow2 *q);
void qcow2_bitmap_free(struct qcow2_bitmap *bitmap);
/* Bytes of bits for an image of this length. */
uint64_t qcow2_bitmap_bytes(const struct qcow2_bitmap *bitmap, uint64_t image_bytes);
/* Fills bits from the file. */
int qcow2_bitmap_load(struct qcow2 *q, struct qcow2_bitmap *bitmap);
/* Says in the directory, durably, that the bitmaps that follow writes (or all) are in use. */
int qcow2_bitmaps_set_in_use(struct qcow2 *q, bool all);
/* Writes what was changed and a new directory. Not under the lock. */
int qcow2_bitmaps_save(struct qcow2 *q);

/* --- qcow2_bitmap.c: the guest's side --- */
/* Before the first write: loads the bitmaps that follow writes and marks them in use. Bitmaps that cannot be read
 * become inconsistent. Locked. */
int qcow2_bitmaps_begin(struct qcow2 *q);
/* A range is written. Locked. */
void qcow2_bitmaps_mark(struct qcow2 *q, uint64_t offset, uint64_t bytes);
/* Gives all bits that are loaded the size for this length; those of a length that was given up come back. */
int qcow2_bitmaps_fit(struct qcow2 *q, uint64_t length);
/* The image is about to get another length. */
int qcow2_bitmaps_resize(struct qcow2 *q, uint64_t length, struct error *err);
/* It has it, or again the old one: what was cut off is not needed any more. */
void qcow2_bitmaps_keep_length(struct qcow2 *q);

#endif
