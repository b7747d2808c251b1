/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What image formats offer beyond reading and writing: being made, measured, described and checked. Each is an
 * operation of struct block_driver that may be NULL; the tables here are all that `-o` of create, convert and measure
 * knows. Everything blocks and needs exclusive use of a node. Control thread.
 */
#ifndef XUNI_BACKEND_BLOCK_IMAGE_H
#define XUNI_BACKEND_BLOCK_IMAGE_H

#include "backend/block/block.h"

/* --- options of a new image --- */

enum block_option_type { BLOCK_OPTION_STRING, BLOCK_OPTION_BOOL, BLOCK_OPTION_NUMBER, BLOCK_OPTION_SIZE };

/* Rows of a NULL-ended table stand in the order in which create announces them. A format that has backing files has
 * rows backing_file and backing_fmt. */
struct block_create_option {
	const char *name;
	enum block_option_type type;
	const char *help;
	const char *initial; /* what stands, and is announced, where nothing is given; or NULL */
};

/* An image to be made. The driver takes from options what is in its own table; the rest is the file's. */
struct block_create {
	const struct block_driver *driver;
	struct block_graph *graph;
	const char *filename;
	uint64_t length;                      /* of the disk in bytes, a multiple of 512 */
	const char *backing, *backing_format; /* as they go into the image, not looked at; or NULL */
	struct options *options;              /* those that block_create_check accepted */
};

extern const struct block_driver *const block_drivers[]; /* all of them, NULL-ended */
/* "file", "qcow2", ...; NULL where no driver of that name is known. Also those that cannot make images. */
const struct block_driver *block_driver_find(const char *name);
/* The rows of one option: the format's own, else those of the protocol that the file is made with. */
const struct block_create_option *block_create_find(const struct block_driver *driver, const char *name);
/* The table of that protocol, for help. */
const struct block_create_option *block_create_file_options(void);
/* Whether this text is a value for the row. qemu's texts. */
int block_create_check_value(const struct block_create_option *row, const char *text, struct error *err);
/* Every name known, every value of its type. qemu's texts. Marks nothing as used. */
int block_create_check(const struct block_driver *driver, const struct options *options, struct error *err);
/* Makes the image, and its file or files with it (created, or emptied). */
int block_create_image(const struct block_create *create, struct error *err);

/* For drivers, of options checked. The text given, else the initial one, else NULL. */
const char *block_create_text(const struct block_create *create, const char *name);
bool block_create_bool(const struct block_create *create, const char *name);
/* Numbers and sizes in bytes; fallback where there is neither a value nor an initial one. */
uint64_t block_create_number(const struct block_create *create, const char *name, uint64_t fallback);
/* The index of the value in the NULL-ended choices; *choice stays where nothing is given. called: the name in the
 * error's text. */
int block_create_choice(const struct block_create *create, const char *name, const char *called,
			const char *const *choices, unsigned *choice, struct error *err);
/* The file of an image, `bytes` long and empty as preallocation= and so on say, open for writing without barriers.
 * filename NULL: the one of create; else that of another extent. */
struct block *block_create_file(const struct block_create *create, const char *filename, uint64_t bytes,
				struct error *err);

/* After a failure: takes away what block_create_file made, where it is a plain file. Never after that has failed: the
 * file may be somebody's. */
void block_create_undo(const char *filename);

/* --- measure: how large a file would be --- */

struct block_measure {
	struct block *source; /* to be converted, or NULL: an empty disk */
	/* Bytes of the source that are not zeroes, in whole clusters; 0 or -errno with a message. */
	int (*data_bytes)(struct block_measure *measure, uint64_t cluster_bytes, uint64_t *bytes, struct error *err);
	/* results */
	uint64_t required_bytes, full_bytes, bitmap_bytes;
	bool has_bitmaps;
};

/* --- info --- */

struct block_info {
	uint32_t cluster_bytes; /* 0: the format has none */
	bool dirty, encrypted;
	const char *backing, *backing_format; /* as in the image, or NULL; the node's own */
	size_t snapshot_count;
	bool only_compressed;   /* can be written only by write_compressed */
	uint64_t further_bytes; /* of the host's disk, in files beside block->file */
};

/* Zeroes where the format has nothing to say. */
void block_get_info(const struct block *block, struct block_info *info);

/* --- check --- */

struct block_check {
	uint64_t corruptions, leaks, check_errors;
	uint64_t corruptions_fixed, leaks_fixed;
	uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
	uint64_t image_end_offset; /* 0: not said */
	/* Told each finding, a line without newline; may be NULL. */
	void (*report)(void *opaque, const char *line);
	void *opaque;
};

#endif
