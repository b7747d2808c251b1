/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter "copy-on-read": what a read fetches from the backing file is written into the image, so that it need not be
 * fetched again. The child is an image with a backing file (others pass through as they are).
 *
 * A copy reads old data and writes them a moment later: no write may get in between. Copies hold their clusters alone,
 * writes that come through here share them. Writes on the fast way are not seen here and need not be: they only go to
 * clusters that the image has already, and those are never copied.
 *
 * bottom= names the node of the chain below which nothing is copied.
 */
#include "backend/block/filter.h"

#include <pthread.h>
#include <stdlib.h>

#define COPY_BYTES (1 * MIB) /* at most at once */

struct held {
	struct held *next;
	uint64_t start, end;
	bool alone;
};

struct copy_on_read {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct held *held;
	uint64_t unit;        /* of allocation in the image */
	struct block *bottom; /* the last node of which something is copied; NULL: of all */
};

static bool conflicts(const struct copy_on_read *cor, const struct held *mine)
{
	for (const struct held *h = cor->held; h; h = h->next)
		if ((h->alone || mine->alone) && h->start < mine->end && mine->start < h->end)
			return true;
	return false;
}

static void hold(struct copy_on_read *cor, struct held *mine)
{
	pthread_mutex_lock(&cor->lock);
	while (conflicts(cor, mine))
		pthread_cond_wait(&cor->freed, &cor->lock);
	mine->next = cor->held;
	cor->held = mine;
	pthread_mutex_unlock(&cor->lock);
}

static void let_go(struct copy_on_read *cor, struct held *mine)
{
	struct held **link = &cor->held;

	pthread_mutex_lock(&cor->lock);
	while (*link != mine)
		link = &(*link)->next;
	*link = mine->next;
	pthread_cond_broadcast(&cor->freed);
	pthread_mutex_unlock(&cor->lock);
}

static int find_bottom(struct block *block, const char *name, struct error *err)
{
	struct copy_on_read *cor = block->private_data;
	struct block *named = block_find(block->graph, name);

	if (!named)
		return error_set(err, EINVAL, "Bottom node '%s' not found", name);
	if (named->driver->is_filter)
		return error_set(err, EINVAL, "Bottom node '%s' is a filter", name);
	for (struct block *node = block->file; node && !cor->bottom; node = node->backing)
		cor->bottom = node == named ? node : NULL;
	return cor->bottom ? 0
			   : error_set(err, EINVAL, "Bottom node '%s' is not in the backing chain of '%s'", name,
				       block->file->node_name);
}

static int cor_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct copy_on_read *cor = block->private_data;
	const char *bottom = options_get(options, "bottom");
	int result;

	if (block->read_only)
		return error_set(err, EINVAL, "copy-on-read needs an image that can be written, and '%s' is read-only",
				 block->file->node_name);
	if (bottom && (result = find_bottom(block, bottom, err)))
		return result;
	block->length = block->file->length;
	cor->unit = is_power_of_two(block->file->optimal_bytes) ? max_u64(block->file->optimal_bytes, 4096) : 64 * KIB;
	pthread_mutex_init(&cor->lock, NULL);
	pthread_cond_init(&cor->freed, NULL);
	return 0;
}

static void cor_close(struct block *block)
{
	struct copy_on_read *cor = block->private_data;

	pthread_mutex_destroy(&cor->lock);
	pthread_cond_destroy(&cor->freed);
}

/* --- reads --- */

/* How far the image has what lies at offset (*present), or has not. */
static int look(struct block *block, uint64_t offset, uint64_t *length, bool *present)
{
	uint64_t ignored;
	int bits = filter_extent(block, offset, length, &ignored);

	*present = bits > 0;
	return bits < 0 ? bits : 0;
}

/* Whether what the image has not got lies above the bottom, or on it; else it is not to be copied. Shortens the length
 * to what is alike. */
static int look_above_bottom(struct block *block, uint64_t offset, uint64_t *length, bool *above)
{
	const struct copy_on_read *cor = block->private_data;

	*above = !cor->bottom;
	if (!cor->bottom || cor->bottom == block->file)
		return 0;
	for (struct block *node = block->file->backing;; node = node->backing) {
		uint64_t ignored;
		int bits;

		if (offset >= node->length || !node->driver->extent) {
			*above = true; /* its zeroes, or it holds everything */
			return 0;
		}
		*length = min_u64(*length, node->length - offset);
		bits = node->driver->extent(node, offset, length, &ignored);
		/* A raw file's holes are its own. */
		*above = bits & BLOCK_EXTENT_ALLOCATED || !strcmp(node->driver->name, "raw");
		if (bits < 0 || *above || node == cor->bottom)
			return bits < 0 ? bits : 0;
	}
}

/* Into the image with what it has not got of [start, end), from `data`. */
static int store(struct block *block, uint64_t start, uint64_t end, const uint8_t *data)
{
	uint64_t part;

	for (uint64_t at = start; at < end; at += part) {
		const uint8_t *from = data + (at - start);
		struct iovec iov = {.iov_base = (void *)(uintptr_t)from};
		bool present;
		int result;

		part = end - at;
		result = look(block, at, &part, &present);
		if (result || part == 0)
			return result ? result : -EIO;
		if (present)
			continue;
		iov.iov_len = part;
		if (buffer_is_zero(from, part))
			result = filter_write_zeroes(block, at, part, 0);
		else
			result = filter_pwrite(block, at, &iov, 1, part, 0);
		if (result)
			return result;
	}
	return 0;
}

/* Reads a range that the image has not got (all of), and keeps it. */
static int read_and_keep(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
			 uint64_t length)
{
	struct copy_on_read *cor = block->private_data;
	struct held held = {.start = align_down(offset, cor->unit),
			    .end = min_u64(align_up(offset + length, cor->unit), block->length),
			    .alone = true};
	struct iovec flat = {.iov_len = held.end - held.start};
	int result;

	if (posix_memalign(&flat.iov_base, 4096, align_up(flat.iov_len, 4096)))
		return -ENOMEM;
	hold(cor, &held);
	result = filter_pread(block, held.start, &flat, 1, flat.iov_len);
	if (!result)
		result = store(block, held.start, held.end, flat.iov_base);
	let_go(cor, &held);
	if (!result)
		iov_spread(iov, iov_count, skip, (uint8_t *)flat.iov_base + (offset - held.start), length);
	free(flat.iov_base);
	return result;
}

static int read_as_it_is(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
			 uint64_t length)
{
	struct iovec window[64];
	uint64_t covered = 0;
	int result = 0;

	for (uint64_t done = 0; done < length && !result; done += covered) {
		int used = iov_window(window, ARRAY_SIZE(window), iov, iov_count, skip + done, length - done, &covered);

		result = covered ? filter_pread(block, offset + done, window, used, covered) : -EINVAL;
	}
	return result;
}

static int cor_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	uint64_t part;

	for (uint64_t done = 0; done < length; done += part) {
		bool present, above = false;
		int result;

		part = length - done;
		result = look(block, offset + done, &part, &present);
		if (result || part == 0)
			return result ? result : -EIO;
		if (!present && (result = look_above_bottom(block, offset + done, &part, &above)))
			return result;
		if (present || !above) {
			result = read_as_it_is(block, offset + done, iov, iov_count, done, part);
		} else {
			part = min_u64(part, COPY_BYTES);
			result = read_and_keep(block, offset + done, iov, iov_count, done, part);
		}
		if (result)
			return result;
	}
	return 0;
}

/* --- writes --- */

static struct held shared(const struct copy_on_read *cor, uint64_t offset, uint64_t length)
{
	return (struct held){.start = align_down(offset, cor->unit), .end = align_up(offset + length, cor->unit)};
}

static int cor_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		      uint32_t flags)
{
	struct copy_on_read *cor = block->private_data;
	struct held held = shared(cor, offset, length);
	int result;

	hold(cor, &held);
	result = filter_pwrite(block, offset, iov, iov_count, length, flags);
	let_go(cor, &held);
	return result;
}

static int cor_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct copy_on_read *cor = block->private_data;
	struct held held = shared(cor, offset, length);
	int result;

	hold(cor, &held);
	result = filter_write_zeroes(block, offset, length, flags);
	let_go(cor, &held);
	return result;
}

static int cor_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct copy_on_read *cor = block->private_data;
	struct held held = shared(cor, offset, length);
	int result;

	hold(cor, &held);
	result = filter_discard(block, offset, length);
	let_go(cor, &held);
	return result;
}

static const char *const cor_options[] = {"bottom", NULL};

const struct block_driver block_copy_on_read_driver = {
	.name = "copy-on-read",
	.is_filter = true,
	.size = sizeof(struct copy_on_read),
	.known = cor_options,
	.open = cor_open,
	.close = cor_close,
	.pread = cor_pread,
	.pwrite = cor_pwrite,
	.flush = filter_flush,
	.discard = cor_discard,
	.write_zeroes = cor_write_zeroes,
	.truncate = filter_truncate,
	.extent = filter_extent,
	.map = filter_map,
};
