/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the block layer share and nobody else sees. */
#ifndef XUNI_BACKEND_BLOCK_INTERNAL_H
#define XUNI_BACKEND_BLOCK_INTERNAL_H

#include "backend/block/block.h"
#include "backend/block/image.h"
#include "base/log.h"
#include "base/util.h"

#define BLOCK_SECTOR      512u
#define BLOCK_PROBE_BYTES 2048u

struct block_failure;
struct io_uring_sqe;

/* --- drivers.c --- */
extern const struct block_driver block_file_driver, block_host_device_driver, block_null_driver, block_raw_driver;
extern const struct block_driver block_vdi_driver, block_vpc_driver, block_qcow_driver;
extern const struct block_driver block_blkdebug_driver, block_copy_on_read_driver, block_throttle_driver,
	block_luks_driver;
/* Name of the format that these first bytes look like, NULL when none does (raw). Also knows formats that have no
 * driver here, so that a guest cannot smuggle one past a later version. */
const char *block_probe_foreign(const uint8_t *head, size_t length);

/* Keeps of the options what block_name() needs. */
void block_name_keep(struct block *block, const struct options *options);

/* --- open.c, for formats --- */
/* The child that options describe as "NAME=NODE" or "NAME.driver=...", or that filename (may be NULL) names where they
 * do not say otherwise; an empty NAME= means none. protocol: its bytes as they are, no format is looked for. *child
 * NULL: none. 0 or a negative errno. */
int block_open_child(struct block_graph *graph, struct options *options, const char *name, const char *filename,
		     bool protocol, const struct block_open *how, struct block **child, struct error *err);

/* --- module.c --- */
/* As block_driver_find, but also loads the driver when it lies in a module. NULL with a message: there is no such
 * driver, or its module cannot be loaded. Control thread. */
const struct block_driver *block_driver_load(const char *name, struct error *err);
/* Name of the driver for file names that begin with this scheme ("nbd+unix"), or NULL. */
const char *block_scheme_driver(const char *scheme, size_t length);

/* --- graph.c --- */
struct block_graph {
	struct log *log;
	struct block *first; /* newest */
	struct pool *pool;
	struct throttle_group *throttle_groups;
	void (*on_error)(void *opaque, struct block *block, const struct block_failure *failure);
	void *on_error_opaque;
	struct block_secret *secrets;
	unsigned next_number; /* of a node without a name */
};

/* One node over file (NULL for protocols; a reference is taken). name NULL: one is made up. */
struct block *block_open_node(struct block_graph *graph, const struct block_driver *driver, const char *name,
			      struct block *file, struct options *options, const struct block_open *how,
			      struct error *err);

/* --- open.c, for creating --- */
/* The protocol driver of a file name, and the name without the protocol's. NULL with a message. */
const struct block_driver *block_protocol_find(const char **filename, struct error *err);
/* Opens the protocol node of a file name. */
struct block *block_open_protocol(struct block_graph *graph, const char *filename, const struct block_open *how,
				  struct error *err);

/* --- secret.c --- */
/* The bytes of a secret, with a NUL behind them; the graph's. NULL with a message when there is none of that id. */
void block_secrets_free(struct block_secret *first);

/* --- file_create.c --- */
extern const struct block_create_option block_file_create_options[];
int block_file_create(const struct block_create *create, struct error *err);
extern const struct block_create_option block_device_create_options[];
int block_device_create(const struct block_create *create, struct error *err);

/* --- block.c --- */
struct log *block_log(const struct block *block);
struct pool *block_pool(struct block *block);
/* The child that holds the data at offset, or NULL. */
struct block *block_data_node(struct block *block, uint64_t offset);
/* 0 when the request may go on, else the errno for it. */
int block_check(const struct block *block, enum block_op op, uint64_t offset, uint64_t length);
/* True for a write whose data are all zeroes and which the node is to turn into write zeroes (detect-zeroes=). */
bool block_zeroes_found(const struct block *block, const struct iovec *iov, int iov_count);
/* A plain file, perhaps below filters: it grows by being written, so the length it was opened with does not bind. */
bool block_grows(const struct block *block);
/* block_execute after block_check. */
int block_run(struct block *block, enum block_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
	      int iov_count, uint32_t flags);

/* --- queue.c, for submit functions of protocols; loop thread --- */
/* A zeroed submission entry whose completion is the request's, or NULL: use a worker (-EAGAIN). */
struct io_uring_sqe *block_queue_sqe(struct block_queue *queue, struct block_request *request);
/* Called, if set, in the loop's thread with the kernel's result when an entry obtained above has completed or is handed
 * to a worker. */
void block_queue_on_complete(struct block_request *request, void (*fn)(void *opaque, int result), void *opaque);
/* Completes a request soon: done is called from the loop, not from here. Any thread. */
void block_queue_finish(struct block_queue *queue, struct block_request *request, int result);

/* --- throttle.c; any thread --- */
bool throttle_counts(enum block_op op);
/* Enters a request into the buckets: when it may start (host_now_ns), as long as *generation holds. */
int64_t throttle_reserve(struct throttle_group *group, bool write, uint64_t bytes, int64_t now_ns,
			 unsigned *generation);
/* 0: it may start; -1: the limits have changed, reserve again; else when to ask again. */
int64_t throttle_look_again(struct throttle_group *group, unsigned generation, int64_t start_ns, int64_t now_ns);
/* Blocks until a request may start. */
void throttle_wait(struct throttle_group *group, bool write, uint64_t bytes);
void throttle_groups_free(struct throttle_group *first);
/* --- throttle_node.c --- */
/* The group of a node of driver "throttle", else NULL. */
struct throttle_group *throttle_node_group(const struct block *block);

/* --- gate.c: throttling of a queue; its loop's thread --- */
struct block_gates;
/* pass is called with a request that had to wait and may start, and at the end of such a series with NULL. */
struct block_gates *block_gates_new(struct block *block, struct loop *loop,
				    void (*pass)(void *opaque, struct block_request *request), void *opaque);
/* With nothing waiting. */
void block_gates_free(struct block_gates *gates);
/* True: the request may start now; else it is kept. */
bool block_gates_enter(struct block_gates *gates, struct block_request *request);
/* open: lets all pass that wait, and all that come. */
void block_gates_open(struct block_gates *gates, bool open);
/* The node behind the gates: where requests start. */
struct block *block_gates_entry(const struct block_gates *gates);

/* --- pool.c: threads for blocking work, shared by the queues of a graph --- */
struct pool;
struct pool_job {
	struct pool_job *next;
	void (*run)(struct pool_job *job);
};
struct pool *pool_new(unsigned max_threads);
/* Waits for all jobs. */
void pool_free(struct pool *pool);
/* Any thread. The job is the caller's and may be freed by run. */
void pool_submit(struct pool *pool, struct pool_job *job);

/* --- iov.c --- */
uint64_t iov_bytes(const struct iovec *iov, int count);
/* Copy between a vector (skipping its first `skip` bytes) and a buffer. */
void iov_gather(void *to, const struct iovec *iov, int count, uint64_t skip, uint64_t length);
void iov_spread(const struct iovec *iov, int count, uint64_t skip, const void *from, uint64_t length);
void iov_clear(const struct iovec *iov, int count, uint64_t skip, uint64_t length);
/* Describes bytes [skip, skip + length) of iov in out (room for out_max); returns the entries used; *covered is how
 * many bytes they hold, less than length when out is too small. */
int iov_window(struct iovec *out, int out_max, const struct iovec *iov, int count, uint64_t skip, uint64_t length,
	       uint64_t *covered);
bool iov_aligned(const struct iovec *iov, int count, uint32_t alignment);

/* --- image_io.c: for formats, the file of an image; it grows by being written, behind its end it is zero --- */
int image_file_iov(struct block *file, enum block_op op, uint64_t offset, const struct iovec *iov, int iov_count,
		   uint64_t skip, uint64_t length);
int image_file_read(struct block *file, uint64_t offset, void *to, uint64_t length);
int image_file_write(struct block *file, uint64_t offset, const void *from, uint64_t length);
/* Discards or zeroes. */
int image_file_clear(struct block *file, enum block_op op, uint64_t offset, uint64_t length, uint32_t flags);

/* BLOCK_EXTENT_ZERO when the file has a hole there, else 0, for *length bytes (<= given). */
int image_file_holes(struct block *file, uint64_t offset, uint64_t *length);
/* A random (version 4) UUID. */
void image_random_uuid(uint8_t uuid[16]);
/* Takes room of the host for a range that reads as zeroes. */
int image_file_allocate(struct block *file, uint64_t offset, uint64_t length, enum block_preallocation mode);

/* --- backing.c --- */
/* Opens block->backing: what backing= among the options says, else the file that the image names (NULL: none). */
int block_backing_open(struct block *block, const char *name, const char *format, struct options *options,
		       const struct block_open *how, struct error *err);
/* What the backing file holds there, into bytes [skip, skip + length) of iov; zeroes without one and behind its end. */
int block_backing_read(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		       uint64_t length);

/* --- lock.c: qemu-compatible locks on an image file --- */
/* Takes the locks of a writer or reader on fd. 0; -EAGAIN with a message in err when another process forbids it;
 * -ENOTSUP when the file system has no such locks. */
int image_lock(int fd, bool writer, const char *filename, struct error *err);

#endif
