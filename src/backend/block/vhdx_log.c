/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of VHDX ([MS-VHDX] 2.3). An entry is a header with descriptors, then a sector for each that carries data. The
 * active sequence is the one with the highest number in which every entry is whole; from the entry that its last one
 * calls the tail on, it is replayed.
 *
 * Written here is always one entry at the start of the log, under a new identifier, that is applied and forgotten
 * before the next; so an interruption finds either no log, or one whole entry.
 */
#include "backend/block/vhdx_internal.h"

#include <stdlib.h>

#define ENTRY_HEADER 64
#define DESCRIPTOR   32
#define MAX_PAGES    126 /* descriptors in the first sector */

/* Places in the image that a replay may reach: what would be larger is not an image but an attack on the host. */
#define MAX_FILE_BYTES (2 * VHDX_MAX_BYTES)

struct entry {
	uint32_t at; /* in the log */
	uint32_t bytes, tail, descriptors;
	uint64_t sequence, flushed_bytes, file_bytes;
};

static uint32_t wrap(const struct vhdx *x, uint64_t at)
{
	return (uint32_t)(at % x->header.log_bytes);
}

/* Sector by sector of the ring. */
static int read_sector(const struct vhdx *x, uint64_t at, uint8_t *to)
{
	return image_file_read(x->block->file, x->header.log_offset + wrap(x, at), to, VHDX_LOG_SECTOR);
}

static uint32_t descriptor_sectors(uint32_t descriptors)
{
	return (ENTRY_HEADER + descriptors * DESCRIPTOR + VHDX_LOG_SECTOR - 1) / VHDX_LOG_SECTOR;
}

static bool decode_entry(const struct vhdx *x, uint32_t at, const uint8_t *sector, struct entry *entry)
{
	*entry = (struct entry){
		.at = at,
		.bytes = load_le32(sector + 8),
		.tail = load_le32(sector + 12),
		.sequence = load_le64(sector + 16),
		.descriptors = load_le32(sector + 24),
		.flushed_bytes = load_le64(sector + 48),
		.file_bytes = load_le64(sector + 56),
	};
	return !memcmp(sector, "loge", 4) && !memcmp(sector + 32, x->header.log.bytes, 16) && entry->bytes &&
	       entry->bytes % VHDX_LOG_SECTOR == 0 && entry->bytes <= x->header.log_bytes &&
	       entry->tail % VHDX_LOG_SECTOR == 0 && entry->tail < x->header.log_bytes && entry->sequence &&
	       entry->descriptors <= entry->bytes / DESCRIPTOR &&
	       descriptor_sectors(entry->descriptors) <= entry->bytes / VHDX_LOG_SECTOR;
}

/* Whether the whole entry at this place is as it was written. */
static int check_entry(struct vhdx *x, uint32_t at, struct entry *entry, bool *valid)
{
	uint8_t sector[VHDX_LOG_SECTOR];
	uint32_t wanted, crc;
	int result = read_sector(x, at, sector);

	*valid = !result && decode_entry(x, at, sector, entry);
	if (!*valid)
		return result;
	/* What was written by a log is read at most three times; headers that only claim to begin an entry are not. */
	if (entry->bytes > x->log_budget)
		return -EINVAL;
	x->log_budget -= entry->bytes;
	wanted = load_le32(sector + 4);
	store_le32(sector + 4, 0);
	crc = vhdx_crc32c(0, sector, sizeof(sector));
	for (uint64_t done = VHDX_LOG_SECTOR; done < entry->bytes; done += VHDX_LOG_SECTOR) {
		result = read_sector(x, at + done, sector);
		if (result)
			return result;
		crc = vhdx_crc32c(crc, sector, sizeof(sector));
	}
	*valid = crc == wanted;
	return 0;
}

/* Entries one behind the other, with numbers one behind the other. */
struct sequence {
	struct entry first, last;
	uint64_t bytes;
	bool found, has_tail;
};

static int follow(struct vhdx *x, uint32_t at, struct sequence *sequence)
{
	struct entry entry;
	bool valid;
	int result = check_entry(x, at, &entry, &valid);

	*sequence = (struct sequence){.found = !result && valid, .first = entry};
	while (!result && valid) {
		sequence->last = entry;
		sequence->bytes += entry.bytes;
		if (sequence->bytes >= x->header.log_bytes)
			break;
		result = check_entry(x, wrap(x, (uint64_t)entry.at + entry.bytes), &entry, &valid);
		valid = valid && entry.sequence == sequence->last.sequence + 1 &&
			sequence->bytes + entry.bytes <= x->header.log_bytes;
	}
	/* The tail must be one of them; where entries begin is seen when they are replayed. */
	sequence->has_tail =
		wrap(x, (uint64_t)sequence->last.tail + x->header.log_bytes - sequence->first.at) < sequence->bytes;
	return result;
}

static int find_active(struct vhdx *x, struct sequence *active)
{
	*active = (struct sequence){0};
	for (uint64_t at = 0; at < x->header.log_bytes;) {
		struct sequence sequence;
		int result = follow(x, (uint32_t)at, &sequence);

		if (result)
			return result;
		if (sequence.found && sequence.has_tail &&
		    (!active->found || sequence.last.sequence > active->last.sequence))
			*active = sequence;
		at += sequence.found ? sequence.bytes : VHDX_LOG_SECTOR;
	}
	return 0;
}

/* --- replay --- */

static int replay_zeroes(struct vhdx *x, const uint8_t *descriptor)
{
	const uint64_t bytes = load_le64(descriptor + 8), at = load_le64(descriptor + 16);

	if (bytes % VHDX_LOG_SECTOR || !range_inside(at, bytes, MAX_FILE_BYTES))
		return -EINVAL;
	return image_file_clear(x->block->file, BLOCK_WRITE_ZEROES, at, bytes, BLOCK_MAY_UNMAP);
}

static int replay_data(struct vhdx *x, const uint8_t *descriptor, uint64_t sequence, const uint8_t *sector)
{
	const uint64_t at = load_le64(descriptor + 16);
	uint8_t page[VHDX_LOG_SECTOR];

	if (memcmp(sector, "data", 4) != 0 || load_le32(sector + 4) != sequence >> 32 ||
	    load_le32(sector + 4092) != (uint32_t)sequence || !range_inside(at, VHDX_LOG_SECTOR, MAX_FILE_BYTES))
		return -EINVAL;
	memcpy(page, descriptor + 8, 8);
	memcpy(page + 8, sector + 8, 4084);
	memcpy(page + 4092, descriptor + 4, 4);
	return image_file_write(x->block->file, at, page, sizeof(page));
}

static int replay_entry(struct vhdx *x, const struct entry *entry)
{
	uint8_t descriptors[VHDX_LOG_SECTOR], sector[VHDX_LOG_SECTOR];
	uint64_t data = entry->at + (uint64_t)descriptor_sectors(entry->descriptors) * VHDX_LOG_SECTOR;
	const uint64_t end = (uint64_t)entry->at + entry->bytes;
	int result = read_sector(x, entry->at, descriptors);

	for (uint32_t i = 0; i < entry->descriptors && !result; i++) {
		const uint32_t place = ENTRY_HEADER + i * DESCRIPTOR;
		const uint8_t *descriptor = descriptors + place % VHDX_LOG_SECTOR;

		if (i && place % VHDX_LOG_SECTOR == 0)
			result = read_sector(x, (uint64_t)entry->at + place, descriptors);
		if (!result &&
		    (load_le64(descriptor + 24) != entry->sequence || load_le64(descriptor + 16) % VHDX_LOG_SECTOR))
			result = -EINVAL;
		if (!result && !memcmp(descriptor, "zero", 4)) {
			result = replay_zeroes(x, descriptor);
		} else if (!result) {
			result = memcmp(descriptor, "desc", 4) != 0 || data >= end ? -EINVAL
										   : read_sector(x, data, sector);
			if (!result)
				result = replay_data(x, descriptor, entry->sequence, sector);
			data += VHDX_LOG_SECTOR;
		}
	}
	return result;
}

static int replay_sequence(struct vhdx *x, const struct sequence *sequence, struct error *err)
{
	const uint64_t length = x->block->file->length;
	uint32_t at = sequence->last.tail;
	uint64_t replayed = 0;
	struct entry entry;
	bool valid;
	int result;

	do {
		result = check_entry(x, at, &entry, &valid);
		replayed += result || !valid ? 0 : entry.bytes;
		if (!result && (!valid || replayed > sequence->bytes || entry.flushed_bytes > length ||
				entry.file_bytes > MAX_FILE_BYTES))
			return error_set(err, EINVAL, "the log of '%s' does not fit its file, which is damaged or cut",
					 x->block->filename);
		if (!result)
			result = replay_entry(x, &entry);
		if (!result && entry.file_bytes > x->block->file->length) {
			result = block_truncate(x->block->file, align_up(entry.file_bytes, MIB), err);
			if (result)
				return result;
		}
		at = wrap(x, (uint64_t)entry.at + entry.bytes);
	} while (!result && entry.at != sequence->last.at);
	if (!result)
		result = block_flush(x->block->file);
	if (!result) {
		x->header.log = (struct vhdx_guid){{0}};
		result = vhdx_header_update(x);
	}
	return result ? error_set_errno(err, -result, "Could not replay the log of '%s'", x->block->filename) : 0;
}

int vhdx_log_replay(struct vhdx *x, struct error *err)
{
	struct sequence active;
	int result;

	x->log_budget = 4ull * x->header.log_bytes;
	if (buffer_is_zero(x->header.log.bytes, 16) || !x->header.log_bytes)
		return 0;
	result = find_active(x, &active);
	if (result)
		return error_set_errno(err, -result, "Could not read the log of '%s'", x->block->filename);
	if (!active.found)
		return 0;
	if (x->block->read_only)
		return error_set(err, EPERM,
				 "VHDX image file '%s' opened read-only, but contains a log that needs to be replayed\n"
				 "To replay the log, run:\nxuni-img check -r all '%s'",
				 x->block->filename, x->block->filename);
	result = replay_sequence(x, &active, err);
	x->replayed = !result;
	return result;
}

/* --- writing --- */

static void encode_page(const uint8_t *page, uint64_t offset, uint64_t sequence, uint8_t *descriptor, uint8_t *sector)
{
	memcpy(descriptor, "desc", 4);
	memcpy(descriptor + 4, page + 4092, 4);
	memcpy(descriptor + 8, page, 8);
	store_le64(descriptor + 16, offset);
	store_le64(descriptor + 24, sequence);
	memcpy(sector, "data", 4);
	store_le32(sector + 4, (uint32_t)(sequence >> 32));
	memcpy(sector + 8, page + 8, 4084);
	store_le32(sector + 4092, (uint32_t)sequence);
}

static int write_entry(struct vhdx *x, const struct sparse_piece *pieces, size_t count, const struct vhdx_guid *guid)
{
	const uint32_t bytes = (uint32_t)(1 + count) * VHDX_LOG_SECTOR;
	uint8_t *entry = calloc(1, bytes);
	int result;

	if (!entry)
		return -ENOMEM;
	x->log_sequence++;
	memcpy(entry, "loge", 4);
	store_le32(entry + 8, bytes);
	store_le64(entry + 16, x->log_sequence);
	store_le32(entry + 24, (uint32_t)count);
	memcpy(entry + 32, guid->bytes, 16);
	store_le64(entry + 48, x->sparse.flush_end);
	store_le64(entry + 56, x->sparse.flush_end);
	for (size_t i = 0; i < count; i++)
		encode_page(pieces[i].data, pieces[i].offset, x->log_sequence, entry + ENTRY_HEADER + i * DESCRIPTOR,
			    entry + (1 + i) * VHDX_LOG_SECTOR);
	store_le32(entry + 4, vhdx_checksum(entry, bytes, 4));
	result = image_file_write(x->block->file, x->header.log_offset, entry, bytes);
	free(entry);
	return result ? result : block_flush(x->block->file);
}

static int switch_log(struct vhdx *x, const struct vhdx_guid *guid)
{
	const struct vhdx_guid before = x->header.log;
	int result;

	pthread_mutex_lock(&x->lock);
	x->header.log = *guid;
	result = vhdx_header_update(x);
	if (result)
		x->header.log = before;
	pthread_mutex_unlock(&x->lock);
	return result;
}

static int write_some(struct vhdx *x, const struct sparse_piece *pieces, size_t count)
{
	const struct vhdx_guid none = {{0}};
	struct vhdx_guid guid;
	int result;

	if ((result = vhdx_guid_random(&guid)) || (result = write_entry(x, pieces, count, &guid)) ||
	    (result = switch_log(x, &guid)))
		return result;
	for (size_t i = 0; i < count && !result; i++)
		result = image_file_write(x->block->file, pieces[i].offset, pieces[i].data, pieces[i].length);
	if (!result)
		result = block_flush(x->block->file);
	return result ? result : switch_log(x, &none);
}

int vhdx_log_write(struct vhdx *x, const struct sparse_piece *pieces, size_t count)
{
	int result = x->header.log_bytes < MIB ? -EINVAL : 0;

	for (size_t done = 0; done < count && !result; done += MAX_PAGES)
		result = write_some(x, pieces + done, min_u64(count - done, MAX_PAGES));
	return result;
}
