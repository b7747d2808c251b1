/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vhdx driver ([MS-VHDX]): dynamic and fixed disks, with the log replayed when an image is opened and written for
 * every change of the block allocation table. Left out: differencing disks, resizing; discarded blocks keep their place
 * in the file, as holes of it.
 */
#include "backend/block/vhdx_internal.h"

#include <stdio.h>
#include <stdlib.h>

static int vhdx_probe(const uint8_t *head, size_t length, const char *filename)
{
	return length >= 8 && !memcmp(head, "vhdxfile", 8) ? 100 : 0;
}

/* --- the block allocation table, as struct sparse wants it --- */

static uint64_t bat_index(const struct vhdx *x, uint64_t block)
{
	return block + block / x->chunk_ratio;
}

static int locate(const struct sparse *s, uint64_t index, uint64_t *table, uint32_t *slot)
{
	const struct vhdx *x = s->owner;
	const uint64_t at = bat_index(x, index) * 8;

	*slot = (uint32_t)(at % VHDX_LOG_SECTOR / 8);
	*table = x->bat.offset + at - at % VHDX_LOG_SECTOR;
	return 0;
}

static bool is_place(const struct vhdx *x, uint64_t host)
{
	return host <= (uint64_t)INT64_MAX - x->parameters.block_bytes &&
	       !vhdx_is_region(x, host, x->parameters.block_bytes);
}

static int decode(const struct sparse *s, const uint8_t *table, uint32_t slot, struct sparse_entry *entry)
{
	const uint64_t value = load_le64(table + slot * 8ull);

	*entry = (struct sparse_entry){.kind = SPARSE_ABSENT};
	switch (value & VHDX_STATE_MASK) {
	case VHDX_NOT_PRESENT:
	case VHDX_UNDEFINED:
	case VHDX_UNMAPPED:
	case VHDX_UNMAPPED_OLD:
		return 0;
	case VHDX_ZERO:
		entry->kind = SPARSE_ZERO;
		return 0;
	case VHDX_PRESENT:
		*entry = (struct sparse_entry){.kind = SPARSE_DATA, .host = value & VHDX_OFFSET_MASK};
		return is_place(s->owner, entry->host) ? 0 : -EIO;
	default:
		return -EIO;
	}
}

static void encode(const struct sparse *s, uint8_t *table, uint32_t slot, const struct sparse_entry *entry)
{
	store_le64(table + slot * 8ull, entry->kind == SPARSE_DATA ? entry->host | VHDX_PRESENT : VHDX_ZERO);
}

static bool is_metadata(const struct sparse *s, uint64_t host, uint64_t length)
{
	return vhdx_is_region(s->owner, host, length);
}

static int write_tables(struct sparse *s, const struct sparse_piece *pieces, size_t count)
{
	return vhdx_log_write(s->owner, pieces, count);
}

static const struct sparse_ops vhdx_sparse_ops = {
	.locate = locate,
	.decode = decode,
	.encode = encode,
	.is_metadata = is_metadata,
	.write_tables = write_tables,
};

/* --- check of the table, also when an image is opened --- */

static int check_entry(const struct vhdx *x, uint64_t block, uint64_t value, struct error *err)
{
	const uint64_t host = value & VHDX_OFFSET_MASK, file = x->block->file->length;
	const unsigned long long index = bat_index(x, block);
	/* Some programs leave away the end of the last block that no disk reaches. */
	const uint64_t bytes =
		min_u64(x->parameters.block_bytes, x->parameters.disk_bytes - block * x->parameters.block_bytes);

	if ((value & VHDX_STATE_MASK) != VHDX_PRESENT)
		return 0;
	if (host > (uint64_t)INT64_MAX - x->parameters.block_bytes)
		return error_set(err, EINVAL, "VHDX BAT entry %llu offset overflow.", index);
	if (host >= file)
		return error_set(
			err, EINVAL,
			"VHDX BAT entry %llu start offset %llu points after end of file (%llu). Image has probably "
			"been truncated.",
			index, (unsigned long long)host, (unsigned long long)file);
	if (host + bytes > file)
		return error_set(
			err, EINVAL,
			"VHDX BAT entry %llu end offset %llu points after end of file (%llu). Image has probably "
			"been truncated.",
			index, (unsigned long long)(host + bytes - 1), (unsigned long long)file);
	if (!is_place(x, host))
		return error_set(err, EINVAL, "VHDX BAT entry %llu points at the image's own structures", index);
	return 0;
}

/* Calls found for each bad entry; stops when that fails. */
static int check_table(struct vhdx *x, int (*found)(void *opaque, const struct error *bad), void *opaque,
		       struct error *err)
{
	enum { STEP = 8192 };
	uint8_t *entries = xcalloc(STEP, 8);
	uint64_t have_from = 0, have_to = 0;
	int result = 0;

	for (uint64_t block = 0; block < x->blocks && !result; block++) {
		const uint64_t index = bat_index(x, block);
		struct error bad = {0};

		if (index >= have_to) {
			have_from = index;
			have_to = min_u64(index + STEP, x->bat.bytes / 8);
			result = image_file_read(x->block->file, x->bat.offset + have_from * 8, entries,
						 (have_to - have_from) * 8);
			if (result)
				error_set_errno(err, -result, "Could not read the block allocation table of '%s'",
						x->block->filename);
		}
		if (!result && check_entry(x, block, load_le64(entries + (index - have_from) * 8), &bad) < 0)
			result = found(opaque, &bad);
	}
	free(entries);
	return result;
}

static int stop_at_first(void *opaque, const struct error *bad)
{
	*(struct error *)opaque = *bad;
	return -bad->code;
}

static int count_finding(void *opaque, const struct error *bad)
{
	struct block_check *check = opaque;

	check->corruptions++;
	if (check->report)
		check->report(check->opaque, bad->msg);
	return 0;
}

static int vhdx_check(struct block *block, struct block_check *check, bool repair_leaks, bool repair_all,
		      struct error *err)
{
	struct vhdx *x = block->private_data;
	int result = sparse_is_dirty(&x->sparse) ? sparse_flush(&x->sparse) : 0;

	if (result)
		return error_set_errno(err, -result, "Could not write the block allocation table");
	check->corruptions_fixed += x->replayed;
	x->replayed = false;
	return check_table(x, count_finding, check, err);
}

/* --- opening --- */

static int setup(struct vhdx *x, const struct block_open *how, struct error *err)
{
	struct error bad = {0};
	int result;

	if ((result = vhdx_headers_read(x, err)) || (result = vhdx_log_replay(x, err)) ||
	    (result = vhdx_regions_read(x, err)))
		return result;
	if (!how->no_repair) {
		result = check_table(x, stop_at_first, &bad, &bad);
		if (result)
			return error_set(err, bad.code, "%s", bad.msg);
	}
	x->sparse = (struct sparse){
		.ops = &vhdx_sparse_ops,
		.owner = x,
		.block = x->block,
		.file = x->block->file,
		.length = x->parameters.disk_bytes,
		.block_bytes = x->parameters.block_bytes,
		.table_bytes = VHDX_LOG_SECTOR,
		.entry_bytes = 8,
		.write_unit = VHDX_LOG_SECTOR,
		.alignment = MIB,
		.max_file = align_down(INT64_MAX, MIB),
		.has_zero = true,
		.next = align_up(x->block->file->length, MIB),
	};
	sparse_init(&x->sparse);
	x->block->length = x->parameters.disk_bytes;
	x->block->optimal_bytes = x->parameters.block_bytes;
	return 0;
}

static int vhdx_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct vhdx *x = block->private_data;
	int result;

	x->block = block;
	pthread_mutex_init(&x->lock, NULL);
	result = setup(x, how, err);
	if (result) {
		free(x->regions);
		pthread_mutex_destroy(&x->lock);
	}
	return result;
}

static void vhdx_close(struct block *block)
{
	struct vhdx *x = block->private_data;
	int result = sparse_is_dirty(&x->sparse) ? sparse_flush(&x->sparse) : 0;

	if (result && block_log(block))
		log_warn(block_log(block), "vhdx: '%s' could not be written when it was closed: %s", block->filename,
			 strerror(-result));
	sparse_free(&x->sparse);
	free(x->regions);
	pthread_mutex_destroy(&x->lock);
}

/* --- requests --- */

/* Before the first change the header gets new identifiers of the file and of its content, in both copies. */
static int begin_writing(struct vhdx *x)
{
	int result = 0;

	pthread_mutex_lock(&x->lock);
	if (!atomic_load(&x->writing)) {
		result = vhdx_guid_random(&x->header.file_write);
		if (!result)
			result = vhdx_guid_random(&x->header.data_write);
		for (unsigned i = 0; i < 2 && !result; i++)
			result = vhdx_header_update(x);
		atomic_store(&x->writing, !result);
	}
	pthread_mutex_unlock(&x->lock);
	return result;
}

static int vhdx_flush(struct block *block)
{
	struct vhdx *x = block->private_data;

	return sparse_flush(&x->sparse);
}

static int vhdx_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct vhdx *x = block->private_data;

	return sparse_pread(&x->sparse, offset, iov, iov_count, 0, length);
}

static int vhdx_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	struct vhdx *x = block->private_data;
	int result = begin_writing(x);

	if (!result)
		result = sparse_pwrite(&x->sparse, offset, iov, iov_count, 0, length);
	return !result && flags & BLOCK_FUA ? sparse_flush(&x->sparse) : result;
}

static int vhdx_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct vhdx *x = block->private_data;
	int result = begin_writing(x);

	if (!result)
		result = sparse_write_zeroes(&x->sparse, offset, length, flags);
	return !result && flags & BLOCK_FUA ? sparse_flush(&x->sparse) : result;
}

static int vhdx_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct vhdx *x = block->private_data;
	int result = begin_writing(x);

	return result ? result : sparse_discard(&x->sparse, offset, length);
}

static int vhdx_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct vhdx *x = block->private_data;

	if (op == BLOCK_WRITE && !atomic_load(&x->writing))
		return -EAGAIN;
	return sparse_map(&x->sparse, op, offset, length, child_offset);
}

/* Holes of a block are as good as zeroes: most blocks are never filled. */
static int vhdx_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct vhdx *x = block->private_data;
	struct sparse_run run;
	int result = sparse_look_up(&x->sparse, offset, *length, &run);

	if (result)
		return result;
	*length = run.bytes;
	*child_offset = run.entry.host;
	if (run.entry.kind == SPARSE_ABSENT)
		return BLOCK_EXTENT_ZERO;
	if (run.entry.kind == SPARSE_ZERO)
		return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_ZERO;
	result = block->file->driver->extent
			 ? block->file->driver->extent(block->file, run.entry.host, length, child_offset)
			 : 0;
	return result < 0 ? result
			  : (result & BLOCK_EXTENT_ZERO) | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_DATA |
				    BLOCK_EXTENT_OFFSET_VALID;
}

static void vhdx_info(const struct block *block, struct block_info *info)
{
	info->cluster_bytes = ((const struct vhdx *)block->private_data)->parameters.block_bytes;
}

const struct block_driver block_vhdx_driver = {
	.name = "vhdx",
	.size = sizeof(struct vhdx),
	.own_metadata = true,
	.probe = vhdx_probe,
	.open = vhdx_open,
	.close = vhdx_close,
	.pread = vhdx_pread,
	.pwrite = vhdx_pwrite,
	.flush = vhdx_flush,
	.discard = vhdx_discard,
	.write_zeroes = vhdx_write_zeroes,
	.extent = vhdx_extent,
	.create_options = vhdx_create_options,
	.create = vhdx_create_image,
	.info = vhdx_info,
	.check = vhdx_check,
	.map = vhdx_map,
};
