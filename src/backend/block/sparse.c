/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Look-ups and reads of a sparse disk, see sparse.h. */
#include "backend/block/sparse.h"

#include <stdlib.h>

/* --- look-up; locked --- */

static int entry_of(struct sparse *s, uint64_t index, bool cached_only, struct sparse_table **table, uint32_t *slot,
		    struct sparse_entry *entry)
{
	uint64_t offset;
	int result = s->ops->locate(s, index, &offset, slot);

	*entry = (struct sparse_entry){.kind = SPARSE_ABSENT};
	*table = NULL;
	if (result)
		return result == -ENOENT ? 0 : result;
	result = sparse_table_get(s, offset, cached_only, table);
	return result ? result : s->ops->decode(s, (*table)->data, *slot, entry);
}

/* Entry of a block that follows one in `table`; false: it cannot go on there. */
static bool next_entry(const struct sparse *s, uint64_t index, const struct sparse_table *table,
		       struct sparse_entry *entry)
{
	uint64_t offset;
	uint32_t slot;
	int result = s->ops->locate(s, index, &offset, &slot);

	*entry = (struct sparse_entry){.kind = SPARSE_ABSENT};
	if (result == -ENOENT)
		return !table;
	return !result && table && offset == table->offset && s->ops->decode(s, table->data, slot, entry) == 0;
}

int sparse_look_up_locked(struct sparse *s, uint64_t offset, uint64_t length, bool cached_only, struct sparse_run *run)
{
	uint64_t index = offset / s->block_bytes;
	const uint64_t within = offset % s->block_bytes;
	struct sparse_table *table;
	uint32_t slot;
	int result = entry_of(s, index, cached_only, &table, &slot, &run->entry);

	if (result)
		return result;
	run->bytes = s->block_bytes - within;
	while (run->bytes < length && run->entry.kind != SPARSE_PACKED) {
		struct sparse_entry next;

		if (!next_entry(s, ++index, table, &next) || next.kind != run->entry.kind ||
		    (next.kind == SPARSE_DATA && next.host != run->entry.host + within + run->bytes))
			break;
		run->bytes += s->block_bytes;
	}
	run->bytes = min_u64(run->bytes, length);
	if (run->entry.kind == SPARSE_DATA)
		run->entry.host += within;
	return 0;
}

int sparse_look_up(struct sparse *s, uint64_t offset, uint64_t length, struct sparse_run *run)
{
	int result;

	pthread_mutex_lock(&s->lock);
	result = sparse_look_up_locked(s, offset, length, false, run);
	pthread_mutex_unlock(&s->lock);
	return result;
}

int sparse_map(struct sparse *s, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *host)
{
	struct sparse_run run;
	int result = -EAGAIN;

	if ((op != BLOCK_READ && op != BLOCK_WRITE && op != BLOCK_FLUSH) || pthread_mutex_trylock(&s->lock))
		return -EAGAIN;
	if (op == BLOCK_FLUSH) {
		result = s->dirty || s->flushing ? -EAGAIN : 0;
	} else if (sparse_look_up_locked(s, offset, *length, true, &run) == 0 && run.entry.kind == SPARSE_DATA &&
		   (op == BLOCK_READ || !s->ops->is_metadata(s, run.entry.host, run.bytes))) {
		*length = run.bytes;
		*host = run.entry.host;
		result = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return result;
}

/* --- reads --- */

int sparse_read_absent(struct sparse *s, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		       uint64_t length)
{
	if (s->block->backing && s->backing_error)
		return s->backing_error;
	return block_backing_read(s->block, s->start + offset, iov, iov_count, skip, length);
}

static int read_packed(struct sparse *s, uint64_t host, uint64_t within, const struct iovec *iov, int iov_count,
		       uint64_t skip, uint64_t length)
{
	uint8_t *block = malloc(s->block_bytes);
	int result = block ? s->ops->unpack(s, host, block) : -ENOMEM;

	if (!result)
		iov_spread(iov, iov_count, skip, block + within, length);
	free(block);
	return result;
}

int sparse_pread(struct sparse *s, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		 uint64_t length)
{
	struct sparse_run run;
	int result = 0;

	for (; length && !result; offset += run.bytes, skip += run.bytes, length -= run.bytes) {
		result = sparse_look_up(s, offset, length, &run);
		if (result)
			return result;
		switch (run.entry.kind) {
		case SPARSE_ABSENT:
			result = sparse_read_absent(s, offset, iov, iov_count, skip, run.bytes);
			break;
		case SPARSE_ZERO:
			iov_clear(iov, iov_count, skip, run.bytes);
			break;
		case SPARSE_DATA:
			result = image_file_iov(s->file, BLOCK_READ, run.entry.host, iov, iov_count, skip, run.bytes);
			break;
		case SPARSE_PACKED:
			result = read_packed(s, run.entry.host, offset % s->block_bytes, iov, iov_count, skip,
					     run.bytes);
			break;
		}
	}
	return result;
}
