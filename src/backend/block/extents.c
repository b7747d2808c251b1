/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a chain of images holds where: for map, convert, compare, rebase and for exports. */
#include "backend/block/internal.h"

/* The image or file whose extents a node tells: raw nodes and filters hand on their child's. */
static struct block *teller(struct block *block)
{
	while (block_is_window(block))
		block = block->file;
	return block;
}

/* The file that its offsets speak of. */
static const struct block *holder(struct block *block, uint64_t offset)
{
	return block->driver->is_protocol ? block : block_data_node(block, offset);
}

/* One image of the chain. What lies behind the end of a short backing file is zeroes, and its own. */
static int one_extent(struct block *block, uint64_t start, uint64_t length, unsigned depth, struct block_span *extent)
{
	struct block *told = teller(block);
	uint64_t offset = 0;
	int bits;

	*extent = (struct block_span){.start = start, .length = length, .depth = depth, .file = block};
	if (start >= block->length) {
		extent->present = extent->zero = true;
		return 0;
	}
	extent->length = min_u64(length, block->length - start);
	if (!block->driver->extent) {
		extent->present = extent->data = true;
		return 0;
	}
	bits = block->driver->extent(block, start, &extent->length, &offset);
	if (bits < 0)
		return bits;
	extent->data = bits & BLOCK_EXTENT_DATA;
	extent->zero = bits & BLOCK_EXTENT_ZERO;
	/* Holes of a file are its own zeroes. What a raw node shows of a chain of images is its own too. */
	extent->present =
		bits & BLOCK_EXTENT_ALLOCATED || told->driver->is_protocol || (told != block && told->backing);
	extent->has_offset = bits & BLOCK_EXTENT_OFFSET_VALID;
	if (extent->has_offset)
		extent->file = holder(told, start);
	extent->offset = offset;
	return 0;
}

static int chain_extent(struct block *block, uint64_t start, uint64_t length, struct block_span *extent)
{
	for (unsigned depth = 0;; depth++, block = block->backing) {
		int result;

		block = block_behind_filters(block);
		result = one_extent(block, start, length, depth, extent);
		if (result || extent->present)
			return result;
		/* Nobody has it; or it lies behind the end of the file that could. */
		if (!block->backing || start >= block->backing->length) {
			extent->zero = true;
			return 0;
		}
		length = min_u64(extent->length, block->backing->length - start);
	}
}

static bool alike(const struct block_span *a, const struct block_span *b)
{
	return a->file == b->file && a->present == b->present && a->zero == b->zero && a->data == b->data &&
	       a->has_offset == b->has_offset && (!a->has_offset || a->offset + a->length == b->offset);
}

int block_span_at(struct block *block, uint64_t start, uint64_t length, struct block_span *extent)
{
	int result = chain_extent(block, start, length, extent);

	while (!result && extent->length < length) {
		struct block_span next;

		result = chain_extent(block, start + extent->length, length - extent->length, &next);
		if (result || !alike(extent, &next))
			break;
		extent->length += next.length;
	}
	return result;
}
