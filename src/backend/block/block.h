/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block layer. A `struct block` is an open node: a protocol (file, host device, later nbd...) or a format or filter
 * on top of child nodes. There are two ways through a driver:
 *
 *  - the plain one: blocking, thread-safe functions on byte ranges (`pread`, `pwrite`, ...). Every driver has it; it is
 *    all that a format needs and all that xuni-img uses;
 *  - the fast one: `map` says, without blocking, where a byte range lies in the child, so that the request can go
 *    straight down to the protocol's `submit` (io_uring). What cannot be mapped at once (allocating writes, compressed
 *    clusters) runs the plain functions in a worker thread.
 *
 * Devices call block_submit and get `done` in the queue's loop thread.
 */
#ifndef XUNI_BACKEND_BLOCK_BLOCK_H
#define XUNI_BACKEND_BLOCK_BLOCK_H

#include "base/error.h"
#include "base/options.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct block;
struct block_check;
struct block_device_ops;
struct block_create;
struct block_create_option;
struct block_host;
struct block_info;
struct block_measure;
struct block_queue;
struct json_t;
struct log;
struct loop;
struct throttle_group;

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

enum block_flags {
	BLOCK_FUA = 1 << 0,       /* write, write zeroes: durable before done */
	BLOCK_MAY_UNMAP = 1 << 1, /* write zeroes: may deallocate */
	BLOCK_NO_FALLBACK = 1 << 2, /* write zeroes: -ENOTSUP rather than writing the bytes */
};

/* Owned by the caller until done is called. offset and length in bytes; iov covers exactly length bytes for READ and
 * WRITE and must stay valid and mapped. */
struct block_request {
	enum block_op op;
	uint32_t flags;
	uint64_t offset;
	uint64_t length;
	const struct iovec *iov;
	int iov_count;
	/* result: 0 or a negative errno. Called in the queue's loop thread, never from inside block_submit. */
	void (*done)(struct block_request *request, int result);
	void *opaque;
	void *private_data[6]; /* the block layer's */
};

enum block_extent {
	BLOCK_EXTENT_DATA = 1,
	BLOCK_EXTENT_ZERO = 2,
	BLOCK_EXTENT_ALLOCATED = 4,
	BLOCK_EXTENT_OFFSET_VALID = 8
};

enum block_detect_zeroes { BLOCK_DETECT_OFF, BLOCK_DETECT_ON, BLOCK_DETECT_UNMAP };

/* How much of a new or grown image is made at once: nothing, places in tables, room on the host, that with zeroes. */
enum block_preallocation { BLOCK_PREALLOC_OFF, BLOCK_PREALLOC_METADATA, BLOCK_PREALLOC_FALLOC, BLOCK_PREALLOC_FULL };
extern const char *const block_preallocation_names[]; /* NULL-ended */

/* The options of -blockdev that every node has. A child inherits them from its parent where it says nothing else. */
struct block_open {
	bool read_only;
	bool no_cache; /* O_DIRECT */
	bool no_flush; /* cache=unsafe */
	bool auto_read_only;
	bool discard;     /* discard=unmap */
	bool force_share; /* no locks */
	bool strict;      /* -blockdev: every node names its driver */
	bool from_image;  /* an image gave the name: whatever it says, it is only read, and refers to no node */
	enum block_detect_zeroes detect_zeroes; /* writes of zeroes become write zeroes (not inherited) */
	bool no_backing;  /* formats: leave the backing file closed (reads of what it holds give zeroes) */
	bool describe;    /* formats: nothing will be read or written, no keys are needed */
	bool no_repair;   /* formats: do not repair an image that was not closed cleanly */
	unsigned chain_depth; /* how many overlays lie above, to end loops */
	bool probed;          /* the format was guessed: a raw image must not come to look like another format */
	const char *aio;      /* "io_uring", "native" (with no_cache), "threads" or NULL: the best there is */
	struct log *log;
};

/* One driver: a const table; no registration but the arrays in drivers.c. A protocol that is opened by a URI has
 * "filename" among its known options and finds the URI there. */
struct block_driver {
	const char *name; /* as in format= or driver= */
	bool is_protocol;
	bool zero_behind_end; /* protocols: grows by being written behind its end, where it reads as zeroes */
	bool is_filter;         /* same length and content as its child */
	const char *child_name; /* option that names the child with the data; NULL: "file" */
	bool own_metadata; /* a durable write may need more than its data: FUA goes through the plain form */
	size_t size;              /* of the private structure at block->private_data */
	const char *const *strong; /* of these what another node would do without: block_name() says them; or NULL */
	const char *const *known; /* option names, NULL-ended; "server.*": all that begin with "server." */
	/* Score 0..100 that these first bytes are this format; NULL for protocols. */
	int (*probe)(const uint8_t *head, size_t length, const char *filename);
	int (*open)(struct block *block, struct options *options, const struct block_open *how, struct error *err);
	void (*close)(struct block *block);

	/* Plain form. Return 0 or a negative errno. Ranges are inside the length. Any thread, several at once. */
	int (*pread)(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length);
	int (*pwrite)(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		      uint32_t flags);
	int (*flush)(struct block *block);
	int (*discard)(struct block *block, uint64_t offset, uint64_t length);
	int (*write_zeroes)(struct block *block, uint64_t offset, uint64_t length, uint32_t flags);
	/* Takes room for a range that is going to be written: the order of these calls lays the image out, whatever the
	 * order of the writes. NULL, or -ENOTSUP for any range: the order of writes decides. Any thread. */
	int (*place)(struct block *block, uint64_t offset, uint64_t length);
	int (*truncate)(struct block *block, uint64_t length, struct error *err);
	/* Allocates from `from` to the end, which truncate has just added; NULL: there is nothing to be allocated. */
	int (*preallocate)(struct block *block, uint64_t from, enum block_preallocation mode, struct error *err);
	/* What lies at offset; *length is how far that holds (<= asked). Returns enum block_extent bits. */
	int (*extent)(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset);

	/* Protocols: bytes of the host's disk that it takes. NULL: not known. */
	int (*allocated)(struct block *block, uint64_t *bytes);

	/* Images, see image.h; each may be NULL. The options of create, NULL-ended; NULL: the driver makes no images.
	 */
	const struct block_create_option *create_options;
	int (*create)(const struct block_create *create, struct error *err);
	int (*measure)(const struct block_create *create, struct block_measure *measure, struct error *err);
	/* Other values for options of an image; force: also what loses data. The options are of the table and checked. */
	const struct block_create_option *amend_options;
	int (*amend)(struct block *block, struct options *options, bool force, struct error *err);
	void (*info)(const struct block *block, struct block_info *info);
	/* The format-specific part of info: an object with keys in qemu's order, the caller's. */
	struct json_t *(*specific_info)(const struct block *block);
	/* Counts and, where asked, repairs; -ENOTSUP when this format cannot do that. Findings are no failure. */
	int (*check)(struct block *block, struct block_check *check, bool repair_leaks, bool repair_all,
		     struct error *err);
	/* One whole cluster (optimal_bytes; the last may be shorter), compressed where that saves space. Any thread. */
	int (*write_compressed)(struct block *block, uint64_t offset, const void *data, uint64_t length);
	/* Changes the name of the backing file in the image only; NULL: none. */
	int (*set_backing)(struct block *block, const char *backing, const char *format, struct error *err);
	/* Makes every cluster unallocated again, so that the backing file shows (commit). */
	int (*make_empty)(struct block *block, struct error *err);

	/* The node whose bytes `extent` and `map` speak of at this offset; NULL: block->file for all of them. */
	struct block *(*data_node)(struct block *block, uint64_t offset);

	/* Fast form; both may be NULL. map: 0 and [*child_offset, *length) in the data node, or -EAGAIN. */
	int (*map)(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset);
	/* Protocols: starts the request on the queue's ring; -EAGAIN: use the plain form in a worker. */
	int (*submit)(struct block *block, struct block_queue *queue, struct block_request *request, uint64_t offset);
	/* Protocols that wait for others, may be NULL: requests in flight end soon, with an error where they must. Any
	 * thread. */
	void (*cancel)(struct block *block);
};

struct block {
	const struct block_driver *driver;
	char *node_name;
	char *filename;
	struct block *file;         /* child that holds the data, or NULL */
	struct block *backing;      /* or NULL */
	uint64_t length;            /* bytes */
	uint32_t request_alignment; /* 1, 512, 4096 */
	uint32_t optimal_bytes;     /* preferred I/O size */
	bool read_only;
	bool discard;
	bool no_flush;
	bool no_cache;
	enum block_detect_zeroes detect_zeroes;
	unsigned references;       /* changed in the control thread only */
	unsigned readers, writers; /* users, see block_claim; likewise */
	void *private_data;
	const struct block_host *host; /* what the layer offers a driver in a module: module.h */
	/* The layer's own. */
	struct throttle_group *_Atomic throttle; /* of the device on it, see throttle.h */
	const struct block_device_ops *device_ops; /* and what can be asked of it, see attach.h */
	void *device;
	_Atomic int io_status; /* enum block_io_status */
	_Atomic bool event_pending; /* whoever listens to errors */
	struct block_graph *graph;
	struct block *next; /* of the graph */
	struct options strong; /* what was given of the driver's */
	char *aio;          /* what the protocol node was opened with, or NULL */
	bool explicit_name;
	bool implicit; /* a filter that stands for an option of -drive: not shown */
	_Atomic uint64_t counters[6]; /* struct block_stats, in its order */
};

struct block_graph;
struct block_graph *block_graph_new(struct log *log);
void block_graph_free(struct block_graph *graph);
/* Makes a secret (id=, data= or file=, format=raw|base64, keyid= and iv= where it is encrypted) for nodes that name it
 * as their key. */
int block_secret_add(struct block_graph *graph, struct options *options, struct error *err);
/* Its text, with a NUL behind it; NULL: there is none of that id. */
const char *block_secret_find(const struct block_graph *graph, const char *id, size_t *length, struct error *err);
/* The option that names a driver's main child. */
const char *block_child_name(const struct block_driver *driver);
/* Opens a node from -blockdev's options (driver=, node-name=, filename=, file=NODE, file.driver=..., read-only=,
 * cache.direct=, cache.no-flush=, discard=, detect-zeroes=, auto-read-only=). */
struct block *block_open_options(struct block_graph *graph, struct options *options, struct error *err);
/* Opens an image by its name (path, URI, json:{...}; NULL: the options name it) with options as above, of which any may
 * be missing: without driver= the content decides. */
struct block *block_open_image(struct block_graph *graph, const char *filename, struct options *options,
			       const struct block_open *how, struct error *err);
/* The same with no option but the format (NULL: probe). */
struct block *block_open_file(struct block_graph *graph, const char *filename, const char *format,
			      const struct block_open *how, struct error *err);
/* Adds what the options say of the backing file, PREFIX.x as x (prefix: "backing", for the one below that
 * "backing.backing"...). True: they describe one that takes the place of the one that the image names; false: they add
 * to it, such as a key. */
bool block_backing_options(struct options *options, const char *prefix, struct options *more);
/* The node's file name; or json:{...}, where more is needed to open the same again. The caller's. */
char *block_name(const struct block *block);
/* A raw node or a filter: its extents, snapshots and clusters are those of the node below it, block->file. */
bool block_is_window(const struct block *block);
/* The node itself, or the first below it that is no filter: a filter has nothing of its own, and the backing file that
 * would show through is its child's. NULL for NULL. */
struct block *block_behind_filters(struct block *block);
struct block *block_find(struct block_graph *graph, const char *node_name);
/* Every open node, newest first; previous NULL: the first. */
struct block *block_next(const struct block_graph *graph, const struct block *previous);
void block_ref(struct block *block);
/* Says that somebody uses the node: to write, which excludes all others, or to read what must not change meanwhile.
 * Children are claimed by their parents when these open. Control thread. */
int block_claim(struct block *block, bool write, struct error *err);
void block_release(struct block *block, bool write);
void block_unref(struct block *block);

/* Plain access, blocking; any thread. Reads beyond the length fail with -EINVAL. */
int block_pread(struct block *block, uint64_t offset, void *to, uint64_t length);
int block_pwrite(struct block *block, uint64_t offset, const void *from, uint64_t length, uint32_t flags);
int block_flush(struct block *block);
/* Any operation in the calling thread, with the checks that block_submit makes; iov only for READ and WRITE. */
int block_execute(struct block *block, enum block_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
		  int iov_count, uint32_t flags);
/* A part of the disk that one node of the chain holds alike. */
struct block_span {
	uint64_t start, length, offset;
	unsigned depth; /* 0: block itself, 1: its backing file... */
	bool present, zero, data, has_offset;
	const struct block *file; /* has_offset: the file that has it there; else the node of the chain */
};
/* What lies at start, as far as it goes on alike but not beyond length. Blocking; any thread. 0 or -errno. */
int block_span_at(struct block *block, uint64_t start, uint64_t length, struct block_span *span);
/* Copies inside the kernel, where blocks may come to be shared; blocking, any thread. -ENOTSUP: where the ranges lie, or
 * the host, does not allow it; a part may have been copied. */
int block_copy_range(struct block *from, uint64_t from_offset, struct block *to, uint64_t to_offset, uint64_t length);
/* Changes the length of the image where the drivers can. */
int block_truncate(struct block *block, uint64_t length, struct error *err);
/* The same with preallocation of what is added. */
int block_truncate_preallocated(struct block *block, uint64_t length, enum block_preallocation mode, struct error *err);

/* A submission queue bound to a loop; one per device queue; any thread. aio: as in block_open, NULL: what the
 * node was opened with, else the best there is (falls back to threads when the kernel or a sandbox has no io_uring, and
 * says so in the log). Asking for io_uring by name where there is none is an error. */
struct block_queue *block_queue_new(struct block *block, struct loop *loop, const char *aio, struct error *err);
/* "io_uring" or "threads": what the queue came to use. */
const char *block_queue_aio(const struct block_queue *queue);
/* In the loop's thread, or with the loop not running. Waits for requests in flight, then frees. */
void block_queue_free(struct block_queue *queue);
/* In the loop's thread. */
void block_submit(struct block_queue *queue, struct block_request *request);
/* Sends what block_submit gathered to the kernel; called once after a batch. */
void block_queue_kick(struct block_queue *queue);
/* Loop thread: returns when nothing is in flight (machine stop, reset). A server that does not answer is not waited for
 * longer than seconds: what it owes fails. */
void block_queue_drain(struct block_queue *queue);

/* Counters for `info blockstats`; per struct block of a device. */
struct block_stats {
	uint64_t read_bytes, write_bytes, read_ops, write_ops, flush_ops, discard_ops;
};
void block_get_stats(const struct block *block, struct block_stats *stats);

#endif
