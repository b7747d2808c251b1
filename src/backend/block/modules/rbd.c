/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol "rbd": an image of a Ceph cluster as a disk, over librbd. Everything is sent without waiting; the library's
 * threads bring the answers, the plain functions wait for them. A cluster that does not answer fails requests after
 * OP_TIMEOUT_S unless the configuration says otherwise. Left out: encryption by librbd (a luks node over this one does
 * it), options of new images other than their size.
 */
#include "backend/block/internal.h"
#include "backend/block/module.h"
#include "backend/block/modules/rbd_place.h"

#include <pthread.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <stdio.h>
#include <stdlib.h>

#define MOUNT_TIMEOUT_S "30"
#define OP_TIMEOUT_S    "60"

struct rbd_pool {
	rados_t cluster;
	rados_ioctx_t pool;
};

struct rbd {
	struct rbd_pool at;
	rbd_image_t image;
	uint64_t object_bytes;
	bool has_map; /* extents can be told without reading */
	/* A format's file grows by being written. */
	_Atomic uint64_t bytes;
	pthread_mutex_t growing;
};

/* --- the cluster --- */

static int set(rados_t cluster, const char *name, const char *value, struct error *err)
{
	const int result = rados_conf_set(cluster, name, value);

	return result < 0 ? error_set_errno(err, -result, "invalid conf option %s=%s", name, value) : 0;
}

/* What bounds waiting comes first, so that configuration and options may say otherwise. */
static int configure(rados_t cluster, const struct rbd_place *place, const char *key, bool cache, struct error *err)
{
	int result;

	if ((result = set(cluster, "client_mount_timeout", MOUNT_TIMEOUT_S, err)) ||
	    (result = set(cluster, "rados_mon_op_timeout", OP_TIMEOUT_S, err)) ||
	    (result = set(cluster, "rados_osd_op_timeout", OP_TIMEOUT_S, err)) ||
	    (result = set(cluster, "rbd_cache", cache ? "true" : "false", err)))
		return result;
	result = rados_conf_read_file(cluster, place->conf);
	if (result < 0 && place->conf)
		return error_set_errno(err, -result, "error reading conf file %s", place->conf);
	if ((place->monitors && (result = set(cluster, "mon_host", place->monitors, err))) ||
	    (key && (result = set(cluster, "key", key, err))))
		return result;
	for (size_t i = 0; i < place->settings.count; i++) {
		result = set(cluster, place->settings.items[i].key, place->settings.items[i].value, err);
		if (result)
			return result;
	}
	return 0;
}

static int open_pool(struct rbd_pool *at, const struct rbd_place *place, struct error *err)
{
	int result = rados_connect(at->cluster);

	if (result < 0)
		return error_set_errno(err, -result, "error connecting");
	result = rados_ioctx_create(at->cluster, place->pool, &at->pool);
	if (result < 0)
		return error_set_errno(err, -result, "error opening pool %s", place->pool);
	if (place->name_space)
		rados_ioctx_set_namespace(at->pool, place->name_space);
	return 0;
}

static int connect_pool(struct rbd_pool *at, const struct rbd_place *place, const char *key, bool cache,
			struct error *err)
{
	int result = rados_create(&at->cluster, place->user);

	if (result < 0)
		return error_set_errno(err, -result, "error initializing");
	result = configure(at->cluster, place, key, cache, err);
	if (!result)
		result = open_pool(at, place, err);
	if (result)
		rados_shutdown(at->cluster);
	return result;
}

static void leave_pool(struct rbd_pool *at)
{
	rados_ioctx_destroy(at->pool);
	rados_shutdown(at->cluster);
}

/* --- transfers --- */

static int64_t start(struct rbd *rbd, enum block_op op, uint64_t offset, const struct iovec *iov, int iov_count,
		     uint64_t length, rbd_completion_t completion)
{
	switch (op) {
	case BLOCK_READ:
		return rbd_aio_readv(rbd->image, iov, iov_count, offset, completion);
	case BLOCK_WRITE:
		return rbd_aio_writev(rbd->image, iov, iov_count, offset, completion);
	case BLOCK_FLUSH:
		return rbd_aio_flush(rbd->image, completion);
	case BLOCK_DISCARD:
		return rbd_aio_discard(rbd->image, offset, length, completion);
	case BLOCK_WRITE_ZEROES:
		return rbd_aio_write_zeroes(rbd->image, offset, length, completion, 0, 0);
	}
	return -ENOTSUP;
}

/* Waits for the answer. */
static int run(struct block *block, enum block_op op, uint64_t offset, const struct iovec *iov, int iov_count,
	       uint64_t length)
{
	rbd_completion_t completion;
	int64_t result = rbd_aio_create_completion(NULL, NULL, &completion);

	if (result < 0)
		return (int)result;
	result = start(block->private_data, op, offset, iov, iov_count, length, completion);
	if (result >= 0) {
		rbd_aio_wait_for_complete(completion);
		result = rbd_aio_get_return_value(completion);
	}
	rbd_aio_release(completion);
	if (op == BLOCK_READ && result >= 0 && (uint64_t)result < length)
		iov_clear(iov, iov_count, (uint64_t)result, length - (uint64_t)result);
	return result < 0 ? (int)result : 0;
}

static int rbd_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct rbd *rbd = block->private_data;

	if (offset < rbd->bytes)
		return run(block, BLOCK_READ, offset, iov, iov_count, length); /* which may be short */
	iov_clear(iov, iov_count, 0, length);
	return 0;
}

/* Makes room for a write that ends there. */
static int make_room(struct rbd *rbd, uint64_t end)
{
	int result = 0;

	if (end <= rbd->bytes)
		return 0;
	pthread_mutex_lock(&rbd->growing);
	if (end > rbd->bytes)
		result = rbd_resize(rbd->image, end);
	if (!result && end > rbd->bytes)
		rbd->bytes = end;
	pthread_mutex_unlock(&rbd->growing);
	return result;
}

static int rbd_flush_all(struct block *block)
{
	return run(block, BLOCK_FLUSH, 0, NULL, 0, 0);
}

static int rbd_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		      uint32_t flags)
{
	int result = make_room(block->private_data, offset + length);

	if (!result)
		result = run(block, BLOCK_WRITE, offset, iov, iov_count, length);
	return !result && flags & BLOCK_FUA ? rbd_flush_all(block) : result;
}

static int rbd_discard_range(struct block *block, uint64_t offset, uint64_t length)
{
	struct rbd *rbd = block->private_data;
	const uint64_t bytes = rbd->bytes;

	return offset < bytes ? run(block, BLOCK_DISCARD, offset, NULL, 0, min_u64(length, bytes - offset)) : 0;
}

static int rbd_zero_range(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	int result = make_room(block->private_data, offset + length);

	if (!result)
		result = run(block, BLOCK_WRITE_ZEROES, offset, NULL, 0, length);
	return !result && flags & BLOCK_FUA ? rbd_flush_all(block) : result;
}

static int rbd_set_length(struct block *block, uint64_t length, struct error *err)
{
	struct rbd *rbd = block->private_data;
	const int result = rbd_resize(rbd->image, length);

	if (result < 0)
		return error_set_errno(err, -result, "Failed to resize file");
	rbd->bytes = length;
	block->length = align_up(length, BLOCK_SECTOR);
	return 0;
}

/* --- without waiting --- */

struct submission {
	struct block *block;
	struct block_queue *queue;
	struct block_request *asked;
};

static void on_answer(rbd_completion_t completion, void *opaque)
{
	struct submission *s = opaque;
	struct block_request *asked = s->asked;
	const int64_t result = rbd_aio_get_return_value(completion);

	rbd_aio_release(completion);
	if (asked->op == BLOCK_READ && result >= 0 && (uint64_t)result < asked->length)
		iov_clear(asked->iov, asked->iov_count, (uint64_t)result, asked->length - (uint64_t)result);
	s->block->host->finish(s->queue, asked, result < 0 ? (int)result : 0);
	free(s);
}

static int rbd_submit(struct block *block, struct block_queue *queue, struct block_request *asked, uint64_t offset)
{
	const struct rbd *rbd = block->private_data;
	rbd_completion_t completion;
	struct submission *s;
	int64_t result;

	if (asked->op > BLOCK_FLUSH || asked->flags & BLOCK_FUA || !range_inside(offset, asked->length, rbd->bytes))
		return -EAGAIN;
	s = xcalloc(1, sizeof(*s));
	*s = (struct submission){block, queue, asked};
	result = rbd_aio_create_completion(s, on_answer, &completion);
	if (result < 0) {
		free(s);
		return -ENOMEM;
	}
	result = start(block->private_data, asked->op, offset, asked->iov, asked->iov_count, asked->length, completion);
	if (result < 0) {
		rbd_aio_release(completion);
		free(s);
	}
	return result < 0 ? (int)result : 0;
}

/* --- extents --- */

struct extent {
	uint64_t start, end; /* of the first run of objects that are there */
};

enum { ENOUGH = -9000 }; /* no errno: ends the iteration */

static int on_object(uint64_t offset, size_t bytes, int exists, void *opaque)
{
	struct extent *extent = opaque;

	if (!exists)
		return 0;
	if (extent->end && offset != extent->end)
		return ENOUGH;
	if (!extent->end)
		extent->start = offset;
	extent->end = offset + bytes;
	return 0;
}

static int rbd_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct rbd *rbd = block->private_data;
	const int data = BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_OFFSET_VALID;
	/* librbd before 2022 counts wrongly from the middle of an object (tracker.ceph.com 53784). */
	const uint64_t start = align_down(offset, rbd->object_bytes);
	struct extent found = {0};
	int result;

	*child_offset = offset;
	if (!rbd->has_map)
		return data;
	result = rbd_diff_iterate2(rbd->image, NULL, start, offset + *length - start, 1, 1, on_object, &found);
	if (result < 0 && result != ENOUGH)
		return result;
	if (!found.end || found.start >= offset + *length)
		return BLOCK_EXTENT_ZERO | BLOCK_EXTENT_OFFSET_VALID;
	if (found.start > offset) {
		*length = found.start - offset;
		return BLOCK_EXTENT_ZERO | BLOCK_EXTENT_OFFSET_VALID;
	}
	if (found.end <= offset)
		return -EIO;
	*length = min_u64(*length, found.end - offset);
	return data;
}

/* An object map that is valid, of an image that is neither a clone nor striped. */
static bool has_map(struct rbd *rbd, const rbd_image_info_t *info)
{
	uint64_t features = 0, flags = 0, unit = 0, count = 0, overlap = 0;

	return rbd_get_features(rbd->image, &features) == 0 && features & RBD_FEATURE_FAST_DIFF &&
	       rbd_get_flags(rbd->image, &flags) == 0 && !(flags & RBD_FLAG_FAST_DIFF_INVALID) &&
	       rbd_get_stripe_unit(rbd->image, &unit) == 0 && unit == info->obj_size &&
	       rbd_get_stripe_count(rbd->image, &count) == 0 && count == 1 &&
	       rbd_get_overlap(rbd->image, &overlap) == 0 && overlap == 0 && is_power_of_two(info->obj_size);
}

/* --- opening and making --- */

static int open_image(struct block *block, const struct rbd_place *place, const struct block_open *how,
		      struct error *err)
{
	struct rbd *rbd = block->private_data;
	rbd_image_info_t info;
	int result;

	if (place->snapshot && !block->read_only) {
		if (!how->auto_read_only)
			return error_set(err, EACCES, "rbd snapshots are read-only");
		block->read_only = true;
	}
	if (block->read_only)
		result = rbd_open_read_only(rbd->at.pool, place->image, &rbd->image, place->snapshot);
	else
		result = rbd_open(rbd->at.pool, place->image, &rbd->image, place->snapshot);
	if (result < 0)
		return error_set_errno(err, -result, "error reading header from %s", place->image);
	result = rbd_stat(rbd->image, &info, sizeof(info));
	if (result < 0) {
		rbd_close(rbd->image);
		return error_set_errno(err, -result, "error looking at %s", place->image);
	}
	block->length = align_up(info.size, BLOCK_SECTOR);
	block->optimal_bytes = (uint32_t)min_u64(info.obj_size, GIB);
	rbd->bytes = info.size;
	rbd->object_bytes = info.obj_size;
	rbd->has_map = has_map(rbd, &info);
	return 0;
}

static int open_place(struct block *block, struct options *options, const struct rbd_place *place,
		      const struct block_open *how, struct error *err)
{
	struct rbd *rbd = block->private_data;
	const char *secret = options_get(options, "key-secret"), *key = NULL;
	int result;

	if (secret && !(key = block->host->secret(block, secret, err)))
		return error_prefix(err, "key-secret=%s", secret);
	block->filename = rbd_place_text(place);
	result = connect_pool(&rbd->at, place, key, !how->no_cache, err);
	if (result)
		return result;
	pthread_mutex_init(&rbd->growing, NULL);
	result = open_image(block, place, how, err);
	if (result) {
		pthread_mutex_destroy(&rbd->growing);
		leave_pool(&rbd->at);
	}
	return result;
}

static int rbd_open_node(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	const char *filename = options_get(options, "filename");
	struct rbd_place place;
	int result =
		filename ? rbd_place_from_name(&place, filename, err) : rbd_place_from_options(&place, options, err);

	if (result)
		return result;
	result = open_place(block, options, &place, how, err);
	rbd_place_free(&place);
	return result;
}

static void rbd_close_node(struct block *block)
{
	struct rbd *rbd = block->private_data;

	rbd_close(rbd->image);
	pthread_mutex_destroy(&rbd->growing);
	leave_pool(&rbd->at);
}

static int rbd_create_image(const struct block_create *create, struct error *err)
{
	struct rbd_place place;
	struct rbd_pool at;
	int order = 0, result = rbd_place_from_name(&place, create->filename, err);

	if (result)
		return result;
	result = connect_pool(&at, &place, NULL, false, err);
	if (!result) {
		result = place.snapshot ? -EINVAL : rbd_create(at.pool, place.image, create->length, &order);
		if (result < 0)
			error_set_errno(err, -result, "error rbd create");
		leave_pool(&at);
	}
	rbd_place_free(&place);
	return result;
}

static const char *const rbd_options[] = {
	"filename", "pool", "namespace", "image",      "snapshot",
	"conf",     "user", "server.*",  "key-secret", "auth-client-required.*",
	NULL,
};

static const struct block_driver rbd_driver = {
	.name = "rbd",
	.is_protocol = true,
	.zero_behind_end = true,
	.size = sizeof(struct rbd),
	.known = rbd_options,
	.open = rbd_open_node,
	.close = rbd_close_node,
	.create = rbd_create_image,
	.pread = rbd_pread,
	.pwrite = rbd_pwrite,
	.flush = rbd_flush_all,
	.discard = rbd_discard_range,
	.write_zeroes = rbd_zero_range,
	.truncate = rbd_set_length,
	.extent = rbd_extent,
	.submit = rbd_submit,
};

static const struct block_driver *const drivers[] = {&rbd_driver, NULL};

extern const struct module xuni_module __attribute__((visibility("default")));
const struct module xuni_module = {"block", BLOCK_MODULE_ABI, drivers};
