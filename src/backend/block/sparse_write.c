/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes to a sparse disk, see sparse.h. A write to a block that has a place goes straight there. One that needs new
 * blocks takes places at the end of the file, fills them together with what surrounds the data (copy on write), and
 * only then changes the entries. While that goes on, the blocks are "in flight" and other writes to them wait; reads
 * see what was there before.
 */
#include "backend/block/sparse.h"

#include <stdlib.h>

#define RUN_BYTES       (4 * MIB) /* allocated at once */
#define MAX_DIRTY_BYTES (4 * MIB)

/* True when it had to: look again. Locked. */
static bool wait_for_flights(struct sparse *s, uint64_t first, uint64_t count)
{
	bool waited = false;

	for (const struct sparse_flight *f = s->flights; f;) {
		if (f->first < first + count && first < f->first + f->count) {
			pthread_cond_wait(&s->landed, &s->lock);
			waited = true;
			f = s->flights;
		} else {
			f = f->next;
		}
	}
	return waited;
}

static void take_off(struct sparse *s, struct sparse_flight *flight)
{
	flight->next = s->flights;
	s->flights = flight;
}

static void land(struct sparse *s, struct sparse_flight *flight)
{
	struct sparse_flight **link = &s->flights;

	while (*link != flight)
		link = &(*link)->next;
	*link = flight->next;
	pthread_cond_broadcast(&s->landed);
}

/* Places for that many bytes. The file is made longer here, under the lock, so that it never becomes shorter. */
static int take_places(struct sparse *s, uint64_t bytes, bool extend, uint64_t *host)
{
	const uint64_t at = align_up(s->next, s->alignment);
	struct error err = {0};
	int result = 0;

	if (at > s->max_file || bytes > s->max_file - at)
		return -ENOSPC;
	if (extend && at + bytes > s->file->length)
		result = block_truncate(s->file, at + bytes, &err);
	if (result)
		return result == -ENOTSUP ? -ENOSPC : result;
	*host = at;
	s->next = at + bytes;
	return 0;
}

/* Locked; may let go of the lock. */
static int set_entries(struct sparse *s, uint64_t first, uint64_t count, struct sparse_entry entry)
{
	for (uint64_t i = 0; i < count; i++) {
		struct sparse_table *table;
		uint64_t offset;
		uint32_t slot;
		int result = s->ops->locate(s, first + i, &offset, &slot);

		if (!result)
			result = sparse_table_get(s, offset, false, &table);
		if (result)
			return result == -ENOENT ? -EIO : result;
		s->ops->encode(s, table->data, slot, &entry);
		sparse_table_dirty(s, table, slot);
		entry.host += s->block_bytes;
	}
	return 0;
}

/* One allocating write: the blocks, and the bytes of the request that go into them. */
struct fill {
	struct sparse_flight blocks;
	uint64_t offset, bytes; /* of the request's part */
	uint64_t host;          /* place of the first block */
	bool copy;              /* what surrounds the data comes from the backing image; else it is zeroes */
	bool fresh;             /* the places read as zeroes */
};

/* Writes before and behind the data: [from, from + length). */
static int fill_around(struct sparse *s, const struct fill *fill, uint64_t from, uint64_t length)
{
	const uint64_t host = fill->host + (from - fill->blocks.first * s->block_bytes);
	struct iovec iov = {.iov_len = min_u64(length, RUN_BYTES)};
	void *buffer = NULL;
	int result = 0;

	if (!length || (!fill->copy && fill->fresh))
		return 0;
	if (posix_memalign(&buffer, 4096, align_up(iov.iov_len, 4096)))
		return -ENOMEM;
	iov.iov_base = buffer;
	for (uint64_t done = 0, part; done < length && !result; done += part) {
		part = min_u64(length - done, RUN_BYTES);
		if (fill->copy)
			result = sparse_read_absent(s, from + done, &iov, 1, 0, part);
		else
			memset(buffer, 0, part);
		if (!result)
			result = image_file_write(s->file, host + done, buffer, part);
	}
	free(buffer);
	return result;
}

/* Locked when called and when it returns; not meanwhile. */
static int run_fill(struct sparse *s, struct fill *fill, const struct iovec *iov, int iov_count, uint64_t skip)
{
	const uint64_t start = fill->blocks.first * s->block_bytes;
	const uint64_t end = start + fill->blocks.count * s->block_bytes, data_end = fill->offset + fill->bytes;
	int result;

	take_off(s, &fill->blocks);
	pthread_mutex_unlock(&s->lock);
	result = fill_around(s, fill, start, fill->offset - start);
	if (!result)
		result = image_file_iov(s->file, BLOCK_WRITE, fill->host + (fill->offset - start), iov, iov_count, skip,
					fill->bytes);
	if (!result)
		result = fill_around(s, fill, data_end, end - data_end);
	pthread_mutex_lock(&s->lock);
	if (!result)
		result = set_entries(s, fill->blocks.first, fill->blocks.count,
				     (struct sparse_entry){.kind = SPARSE_DATA, .host = fill->host});
	land(s, &fill->blocks);
	return result;
}

/* Locked; decides where the data go. 1: the state changed, look again. */
static int plan_fill(struct sparse *s, const struct sparse_run *run, uint64_t offset, struct fill *fill)
{
	const uint64_t within = offset % s->block_bytes, first = offset / s->block_bytes;
	uint64_t count = (within + run->bytes + s->block_bytes - 1) / s->block_bytes, table;
	uint32_t slot;
	int result;

	count = min_u64(count, max_u64(1, RUN_BYTES / s->block_bytes));
	if (wait_for_flights(s, first, count))
		return 1;
	if (s->ops->locate(s, first, &table, &slot))
		return -EIO; /* no table, and the format has no way to make one */
	*fill = (struct fill){
		.blocks = {.first = first, .count = count},
		.offset = offset,
		.bytes = min_u64(run->bytes, count * s->block_bytes - within),
		.copy = run->entry.kind == SPARSE_ABSENT && s->block->backing,
		.fresh = s->file->driver->zero_behind_end,
	};
	result = take_places(s, count * s->block_bytes, true, &fill->host);
	return result;
}

/* A whole block that is absent, compressed. */
static int write_packed(struct sparse *s, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
			uint64_t length)
{
	struct sparse_flight flight = {.first = offset / s->block_bytes, .count = 1};
	struct sparse_entry entry = {.kind = SPARSE_PACKED};
	struct sparse_run run;
	uint8_t *block, *packed = NULL;
	uint32_t packed_length = 0;
	int result;

	if (offset % s->block_bytes || (length < s->block_bytes && offset + length != s->length))
		return -EINVAL;
	block = calloc(1, s->block_bytes);
	if (!block)
		return -ENOMEM;
	iov_gather(block, iov, iov_count, skip, length);
	result = s->ops->pack(s, flight.first, block, &packed, &packed_length);
	free(block);
	if (result)
		return result;
	pthread_mutex_lock(&s->lock);
	do
		result = sparse_look_up_locked(s, offset, length, false, &run);
	while (!result && wait_for_flights(s, flight.first, 1));
	if (!result && (run.entry.kind == SPARSE_PACKED || run.entry.kind == SPARSE_DATA))
		result = -EIO; /* written once only */
	if (!result)
		result = take_places(s, packed_length, false, &entry.host);
	if (!result) {
		take_off(s, &flight);
		pthread_mutex_unlock(&s->lock);
		result = image_file_write(s->file, entry.host, packed, packed_length);
		pthread_mutex_lock(&s->lock);
		if (!result)
			result = set_entries(s, flight.first, 1, entry);
		land(s, &flight);
	}
	pthread_mutex_unlock(&s->lock);
	free(packed);
	return result;
}

/* One step of a write; sets *done to the bytes written. */
static int write_some(struct sparse *s, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		      uint64_t length, uint64_t *done)
{
	struct sparse_run run;
	struct fill fill;
	int result;

	pthread_mutex_lock(&s->lock);
	do {
		fill.blocks.count = 0;
		result = sparse_look_up_locked(s, offset, length, false, &run);
		if (!result && run.entry.kind == SPARSE_PACKED)
			result = -EIO;
		else if (!result && run.entry.kind != SPARSE_DATA)
			result = plan_fill(s, &run, offset, &fill);
		else if (!result && s->ops->is_metadata(s, run.entry.host, run.bytes))
			result = -EIO;
	} while (result == 1);
	*done = run.bytes;
	if (!result && fill.blocks.count) {
		*done = fill.bytes;
		result = run_fill(s, &fill, iov, iov_count, skip);
		pthread_mutex_unlock(&s->lock);
		return result;
	}
	pthread_mutex_unlock(&s->lock);
	return result ? result : image_file_iov(s->file, BLOCK_WRITE, run.entry.host, iov, iov_count, skip, run.bytes);
}

static int relieve(struct sparse *s)
{
	bool too_much;

	pthread_mutex_lock(&s->lock);
	too_much = s->dirty * s->table_bytes > MAX_DIRTY_BYTES;
	pthread_mutex_unlock(&s->lock);
	return too_much ? sparse_flush(s) : 0;
}

int sparse_pwrite(struct sparse *s, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		  uint64_t length)
{
	uint64_t done = 0;
	int result = relieve(s);

	for (; length && !result; offset += done, skip += done, length -= done) {
		if (s->packed) {
			done = min_u64(length, s->block_bytes - offset % s->block_bytes);
			result = write_packed(s, offset, iov, iov_count, skip, done);
		} else {
			result = write_some(s, offset, iov, iov_count, skip, length, &done);
		}
	}
	return result;
}

/* --- zeroes and discard --- */

static int change_file(struct sparse *s, enum block_op op, uint64_t host, uint64_t length, uint32_t flags)
{
	if (host > INT64_MAX - length)
		return -EIO;
	return s->file->driver->is_protocol ? block_run(s->file, op, host, length, NULL, 0, flags)
					    : block_execute(s->file, op, host, length, NULL, 0, flags);
}

static int write_zero_bytes(struct sparse *s, uint64_t offset, uint64_t length)
{
	struct iovec iov = {.iov_len = min_u64(length, RUN_BYTES)};
	int result = 0;

	iov.iov_base = calloc(1, iov.iov_len);
	if (!iov.iov_base)
		return -ENOMEM;
	for (uint64_t done = 0, part; done < length && !result; done += part) {
		part = min_u64(length - done, RUN_BYTES);
		result = sparse_pwrite(s, offset + done, &iov, 1, 0, part);
	}
	free(iov.iov_base);
	return result;
}

/* Makes absent blocks zero where a backing image shows through; sets *length to how far it came. */
static int hide_backing(struct sparse *s, uint64_t offset, uint64_t *length)
{
	const uint64_t first = offset / s->block_bytes, within = offset % s->block_bytes;
	struct sparse_run run;
	int result;

	if (!s->has_zero || within || *length < s->block_bytes) {
		if (s->has_zero)
			*length = min_u64(*length, s->block_bytes - within);
		return write_zero_bytes(s, offset, *length);
	}
	*length -= *length % s->block_bytes;
	pthread_mutex_lock(&s->lock);
	do
		result = sparse_look_up_locked(s, offset, *length, false, &run);
	while (!result && wait_for_flights(s, first, run.bytes / s->block_bytes));
	/* It may have come to be something else: then the caller looks again. */
	*length = run.entry.kind == SPARSE_ABSENT ? run.bytes : 0;
	if (!result)
		result = set_entries(s, first, *length / s->block_bytes, (struct sparse_entry){.kind = SPARSE_ZERO});
	pthread_mutex_unlock(&s->lock);
	return result;
}

int sparse_write_zeroes(struct sparse *s, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct sparse_run run;
	int result = relieve(s);

	for (; length && !result; offset += run.bytes, length -= run.bytes) {
		result = sparse_look_up(s, offset, length, &run);
		if (result)
			return result;
		switch (run.entry.kind) {
		case SPARSE_ABSENT:
			if (s->block->backing)
				result = hide_backing(s, offset, &run.bytes);
			break;
		case SPARSE_ZERO:
			break;
		case SPARSE_DATA:
			if (s->ops->is_metadata(s, run.entry.host, run.bytes))
				return -EIO;
			result = change_file(s, BLOCK_WRITE_ZEROES, run.entry.host, run.bytes, flags & BLOCK_MAY_UNMAP);
			break;
		case SPARSE_PACKED:
			return -EIO;
		}
	}
	return result;
}

int sparse_discard(struct sparse *s, uint64_t offset, uint64_t length)
{
	struct sparse_run run;
	int result = 0;

	for (; length && !result; offset += run.bytes, length -= run.bytes) {
		result = sparse_look_up(s, offset, length, &run);
		if (result)
			return result;
		if (run.entry.kind == SPARSE_DATA && !s->ops->is_metadata(s, run.entry.host, run.bytes))
			result = change_file(s, BLOCK_DISCARD, run.entry.host, run.bytes, 0);
	}
	return result;
}
