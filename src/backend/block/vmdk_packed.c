/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed grains of VMDK (Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse Extents"): a marker with the
 * grain's place on the disk and the length, then zlib's format. What comes out is never more than a grain.
 */
#include "backend/block/vmdk_internal.h"

#include <stdlib.h>
#include <zlib.h>

#define MARKER_BYTES 12 /* of a compressed grain: LBA and length */

static int inflate_grain(const uint8_t *from, uint32_t length, uint8_t *to, uint64_t room)
{
	z_stream z = {
		.next_in = (uint8_t *)(uintptr_t)from, .avail_in = length, .next_out = to, .avail_out = (uInt)room};
	int code;

	if (inflateInit(&z) != Z_OK)
		return -ENOMEM;
	code = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	if (code != Z_STREAM_END)
		return -EIO;
	memset(to + (room - z.avail_out), 0, z.avail_out); /* the last grain may be short */
	return 0;
}

int vmdk_grain_unpack(struct sparse *s, uint64_t host, uint8_t *block)
{
	const struct vmdk_extent *e = s->owner;
	const uint32_t head = e->markers ? MARKER_BYTES : 0, first = (uint32_t)s->block_bytes / 2;
	uint32_t length = (uint32_t)s->block_bytes, have = e->markers ? first : length;
	uint8_t *packed = malloc(2 * s->block_bytes + MARKER_BYTES);
	int result;

	if (!packed)
		return -ENOMEM;
	result = image_file_read(s->file, host, packed, have);
	if (!result && e->markers) {
		length = load_le32(packed + 8);
		if (!length || length > 2 * s->block_bytes)
			result = -EIO;
		else if (length + head > have)
			result = image_file_read(s->file, host + have, packed + have, length + head - have);
	}
	if (!result)
		result = inflate_grain(packed + head, length, block, s->block_bytes);
	free(packed);
	return result;
}

int vmdk_grain_pack(struct sparse *s, uint64_t index, const uint8_t *block, uint8_t **packed, uint32_t *length)
{
	const struct vmdk_extent *e = s->owner;
	uLongf used = compressBound(s->block_bytes);
	const uint64_t room = align_up(MARKER_BYTES + used, BLOCK_SECTOR);

	if (!e->markers)
		return -EINVAL;
	*packed = calloc(1, room);
	if (!*packed)
		return -ENOMEM;
	if (compress(*packed + MARKER_BYTES, &used, block, s->block_bytes) != Z_OK) {
		free(*packed);
		*packed = NULL;
		return -EIO;
	}
	store_le64(*packed, (s->start + index * s->block_bytes) / BLOCK_SECTOR);
	store_le32(*packed + 8, (uint32_t)used);
	*length = (uint32_t)align_up(MARKER_BYTES + used, BLOCK_SECTOR);
	return 0;
}
