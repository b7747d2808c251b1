/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests: a file in memory that records what is done to it, and the cutting of power at every write of a recorded
 * workload. After each cut the image is put together from the writes before it, once all of them (a killed process),
 * then with those after the last barrier kept or lost by chance, sector by sector (power). Each time the format's check
 * must find nothing worse than leaks, and what the guest had flushed must be there; now and then the guest goes on
 * with what the cut has left.
 */
#ifndef XUNI_BACKEND_BLOCK_TAPE_H
#define XUNI_BACKEND_BLOCK_TAPE_H

#include "backend/block/internal.h"

enum tape_event_kind { TAPE_WRITE, TAPE_BARRIER, TAPE_GUEST_CHANGE, TAPE_GUEST_FLUSHED };

struct tape_event {
	enum tape_event_kind kind;
	bool data; /* WRITE, BARRIER: of the data file */
	uint64_t offset, length;
	uint8_t *content; /* WRITE: what; GUEST_FLUSHED: the whole disk as the guest knows it */
};

struct tape {
	struct tape *data; /* an external data file besides, or NULL; its events are in this tape's list */
	struct tape *main; /* of such a data file */
	uint8_t *bytes;
	uint64_t size, room;
	struct tape_event *events;
	size_t count;
	bool recording;
	/* Looks at an image after a cut, with its disk's content; or NULL. */
	void (*also)(struct block *block, const uint8_t *content);
	int64_t fail_after; /* counts down writes; at 0 they and barriers fail; < 0: never */
};

/* A tape with the content of a file, or empty (path NULL). */
void tape_start(struct tape *tape, const char *path);
void tape_copy(struct tape *to, const struct tape *from); /* content only */
void tape_end(struct tape *tape);
/* Adds an empty data file, for nodes that are opened with one. */
void tape_add_data(struct tape *tape);
/* The format's node on the tape. */
struct block *tape_open(struct block_graph *graph, struct tape *tape, const struct block_driver *format, bool read_only,
			struct error *err);
/* One request of a guest by chance: a write, zeroes, a discard, a flush. shadow: the disk as the guest knows it. */
void tape_step(struct block *block, struct tape *tape, uint8_t *shadow, uint32_t *seed);
/* The disk as the guest knows it at the start, where that is not zeroes. */
void tape_note_start(struct tape *tape, const uint8_t *shadow, uint64_t disk_bytes);
/* start: the image before the recording. Fails the test with the place of the cut. */
void tape_cut_everywhere(const struct tape *tape, const struct tape *start, const struct block_driver *format,
			 uint64_t disk_bytes);
/* The same; also() looks at the bytes of each image that a cut leaves, and fails the test when they are not good. */
void tape_cut_everywhere_also(const struct tape *tape, const struct tape *start, const struct block_driver *format,
			      uint64_t disk_bytes, void (*also)(const struct tape *image));
/* The n-th write fails, and all after it, for n = 0, 3, ... below most: no request hangs, the image is good after it,
 * and a flush says that it failed. */
void tape_fail_everywhere(const struct tape *start, const struct block_driver *format, uint64_t disk_bytes,
			  int64_t most);

#endif
