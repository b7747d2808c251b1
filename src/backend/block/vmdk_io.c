/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to VMDK images, cut at the borders of extents; the change of the content identifier that goes before the
 * first write; the fast form.
 */
#include "backend/block/vmdk_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/random.h>

/* --- requests, extent by extent --- */

struct vmdk_extent *vmdk_extent_at(const struct vmdk *v, uint64_t offset)
{
	size_t low = 0, high = v->extent_count;

	while (high - low > 1) {
		const size_t middle = (low + high) / 2;

		if (offset >= v->extents[middle]->start)
			low = middle;
		else
			high = middle;
	}
	return v->extents[low];
}

struct request {
	enum block_op op;
	uint64_t offset, length;
	const struct iovec *iov;
	int iov_count;
	uint32_t flags;
};

static int run_flat(const struct vmdk_extent *e, const struct request *r, uint64_t within, uint64_t skip,
		    uint64_t length)
{
	const uint64_t host = e->flat_offset + within;

	if (r->op == BLOCK_READ || r->op == BLOCK_WRITE)
		return image_file_iov(e->file, r->op, host, r->iov, r->iov_count, skip, length);
	return block_run(e->file, r->op, host, length, NULL, 0, r->flags & BLOCK_MAY_UNMAP);
}

static int run_sparse(struct vmdk_extent *e, const struct request *r, uint64_t within, uint64_t skip, uint64_t length)
{
	switch (r->op) {
	case BLOCK_READ:
		return sparse_pread(&e->sparse, within, r->iov, r->iov_count, skip, length);
	case BLOCK_WRITE:
		return sparse_pwrite(&e->sparse, within, r->iov, r->iov_count, skip, length);
	case BLOCK_WRITE_ZEROES:
		return sparse_write_zeroes(&e->sparse, within, length, r->flags);
	case BLOCK_DISCARD:
		return sparse_discard(&e->sparse, within, length);
	case BLOCK_FLUSH:
		break;
	}
	return -ENOTSUP;
}

static int run_request(struct vmdk *v, const struct request *r)
{
	uint64_t skip = 0;
	int result = 0;

	while (skip < r->length && !result) {
		struct vmdk_extent *e = vmdk_extent_at(v, r->offset + skip);
		const uint64_t within = r->offset + skip - e->start;
		const uint64_t part = min_u64(r->length - skip, e->length - within);

		result = e->flat ? run_flat(e, r, within, skip, part) : run_sparse(e, r, within, skip, part);
		skip += part;
	}
	return result;
}

/* The CID changes with the first write, in as many digits as it has: no other byte of the descriptor is touched. */
static int change_cid(struct vmdk *v)
{
	const struct vmdk_descriptor *d = &v->descriptor;
	const uint32_t low = d->cid_digits > 1 ? 1u << (4 * (d->cid_digits - 1)) : 1;
	const uint32_t mask = d->cid_digits >= 8 ? UINT32_MAX : (1u << (4 * d->cid_digits)) - 1;
	char text[16];
	uint32_t cid;

	do {
		if (getrandom(&cid, sizeof(cid), 0) != sizeof(cid))
			return -EIO;
		cid = (cid & mask) | low;
	} while (cid == VMDK_NO_PARENT || cid == d->cid);
	snprintf(text, sizeof(text), "%0*x", (int)d->cid_digits, cid);
	v->descriptor.cid = cid;
	return image_file_write(v->block->file, v->descriptor_offset + d->cid_at, text, d->cid_digits);
}

/* Durable before the content changes: an overlay must not take a changed parent for its own. */
static int begin_writing(struct vmdk *v)
{
	int result = 0;

	pthread_mutex_lock(&v->lock);
	if (!v->cid_written) {
		result = change_cid(v);
		if (!result)
			result = block_flush(v->block->file);
		atomic_store(&v->cid_written, !result);
	}
	pthread_mutex_unlock(&v->lock);
	return result;
}

static int flush_extents(struct vmdk *v, bool only_touched)
{
	int result = 0;

	for (size_t i = 0; i < v->extent_count && !result; i++) {
		struct vmdk_extent *e = v->extents[i];

		if (!atomic_exchange(&e->touched, false) && only_touched)
			continue;
		result = e->flat ? block_flush(e->file) : sparse_flush(&e->sparse);
		if (result)
			atomic_store(&e->touched, true);
	}
	return result;
}

/* An extent that is no longer marked as touched may be on its way to the disk in another flush: that is waited for. */
int vmdk_flush(struct block *block)
{
	struct vmdk *v = block->private_data;
	int result;

	if (v->extent_count <= VMDK_FEW_EXTENTS)
		return flush_extents(v, false);
	pthread_mutex_lock(&v->lock);
	result = flush_extents(v, true);
	pthread_mutex_unlock(&v->lock);
	return result;
}

static void touch(const struct vmdk *v, uint64_t offset, uint64_t length)
{
	for (uint64_t at = offset; at < offset + length;) {
		struct vmdk_extent *e = vmdk_extent_at(v, at);

		atomic_store(&e->touched, true);
		at = e->start + e->length;
	}
}

static int change(struct block *block, const struct request *r)
{
	struct vmdk *v = block->private_data;
	int result = begin_writing(v);

	if (!result) {
		result = run_request(v, r);
		if ((result == -EIO || result == -EINVAL) && vmdk_extent_at(v, r->offset)->compressed &&
		    block_log(block) && !atomic_exchange(&v->told_once, true))
			log_warn(block_log(block),
				 "vmdk: the grains of '%s' are compressed: each can be written once, as a whole",
				 block->filename);
		touch(v, r->offset, r->length); /* also after a failure: a part may have been written */
	}
	if (!result && r->flags & BLOCK_FUA)
		result = vmdk_flush(block);
	return result;
}

int vmdk_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	return run_request(
		block->private_data,
		&(struct request){
			.op = BLOCK_READ, .offset = offset, .length = length, .iov = iov, .iov_count = iov_count});
}

int vmdk_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		uint32_t flags)
{
	return change(block, &(struct request){.op = BLOCK_WRITE,
					       .offset = offset,
					       .length = length,
					       .iov = iov,
					       .iov_count = iov_count,
					       .flags = flags});
}

int vmdk_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	return change(block,
		      &(struct request){.op = BLOCK_WRITE_ZEROES, .offset = offset, .length = length, .flags = flags});
}

int vmdk_discard(struct block *block, uint64_t offset, uint64_t length)
{
	return change(block, &(struct request){.op = BLOCK_DISCARD, .offset = offset, .length = length});
}

int vmdk_write_compressed(struct block *block, uint64_t offset, const void *data, uint64_t length)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = length};

	return vmdk_pwrite(block, offset, &iov, 1, length, 0);
}

/* --- the fast form and extents --- */

struct block *vmdk_data_node(struct block *block, uint64_t offset)
{
	struct vmdk *v = block->private_data;

	return v->extent_count ? vmdk_extent_at(v, offset)->file : NULL;
}

int vmdk_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct vmdk *v = block->private_data;
	struct vmdk_extent *e;
	uint64_t within;

	if (!v->extent_count || v->extent_count > VMDK_FEW_EXTENTS ||
	    (op == BLOCK_WRITE && !atomic_load(&v->cid_written)) || (op == BLOCK_FLUSH && v->extent_count > 1))
		return -EAGAIN;
	e = vmdk_extent_at(v, offset);
	within = offset - e->start;
	*length = min_u64(*length, e->length - within);
	if (!e->flat)
		return sparse_map(&e->sparse, op, within, length, child_offset);
	*child_offset = e->flat_offset + within;
	return op == BLOCK_READ || op == BLOCK_WRITE || op == BLOCK_FLUSH ? 0 : -EAGAIN;
}

int vmdk_extent_status(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct vmdk *v = block->private_data;
	struct vmdk_extent *e = vmdk_extent_at(v, offset);
	const uint64_t within = offset - e->start;
	struct sparse_run run;
	int result;

	*length = min_u64(*length, e->length - within);
	if (e->flat) {
		*child_offset = e->flat_offset + within;
		result = e->file->driver->extent(e->file, *child_offset, length, child_offset);
		return result < 0 ? result
				  : (result & BLOCK_EXTENT_ZERO) | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_DATA |
					    BLOCK_EXTENT_OFFSET_VALID;
	}
	result = sparse_look_up(&e->sparse, within, *length, &run);
	if (result)
		return result;
	*length = run.bytes;
	*child_offset = run.entry.host;
	switch (run.entry.kind) {
	case SPARSE_ABSENT:
		return block->backing ? 0 : BLOCK_EXTENT_ZERO;
	case SPARSE_ZERO:
		return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_ZERO;
	case SPARSE_PACKED:
		return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_DATA;
	case SPARSE_DATA:
		break;
	}
	return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_DATA | BLOCK_EXTENT_OFFSET_VALID;
}
