/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of a direct access block device (SBC-3). Left out: protection information, FORMAT UNIT, defect lists,
 * COMPARE AND WRITE, EXTENDED COPY; WRITE SAME writes zeroes or unmaps and refuses other patterns.
 */
#include "device/storage/scsi.h"

#include "base/util.h"
#include "device/storage/disk.h"

enum {
	REZERO = 0x01,
	READ_6 = 0x08,
	WRITE_6 = 0x0a,
	SEEK_6 = 0x0b,
	MODE_SELECT_6 = 0x15,
	MODE_SENSE_6 = 0x1a,
	READ_CAPACITY_10 = 0x25,
	READ_10 = 0x28,
	WRITE_10 = 0x2a,
	SEEK_10 = 0x2b,
	WRITE_VERIFY_10 = 0x2e,
	VERIFY_10 = 0x2f,
	WRITE_SAME_10 = 0x41,
	UNMAP = 0x42,
	MODE_SELECT_10 = 0x55,
	MODE_SENSE_10 = 0x5a,
	READ_16 = 0x88,
	WRITE_16 = 0x8a,
	WRITE_VERIFY_16 = 0x8e,
	VERIFY_16 = 0x8f,
	WRITE_SAME_16 = 0x93,
	SERVICE_ACTION_IN = 0x9e,
	READ_12 = 0xa8,
	WRITE_12 = 0xaa,
	WRITE_VERIFY_12 = 0xae,
	VERIFY_12 = 0xaf,
};

enum { READ_CAPACITY_16 = 0x10, FUA = 1 << 3, UNMAP_BIT = 1 << 3, NDOB = 1, DESCRIPTOR_BYTES = 16 };

static uint64_t blocks(const struct scsi_unit *unit)
{
	return disk_bytes(unit->disk) / unit->block_bytes;
}

/* --- where: address and count by the form of the command (SPC-4 4.3) --- */

struct extent {
	uint64_t lba, count;
};

static struct extent extent_of(const uint8_t *cdb)
{
	switch (cdb[0] >> 5) {
	case 0:
		return (struct extent){load_be32(cdb) & 0x1fffff, cdb[4] ? cdb[4] : 256u};
	case 1:
	case 2:
		return (struct extent){load_be32(cdb + 2), load_be16(cdb + 7)};
	case 5:
		return (struct extent){load_be32(cdb + 2), load_be32(cdb + 6)};
	default:
		return (struct extent){load_be64(cdb + 2), load_be32(cdb + 10)};
	}
}

static void transfer(struct scsi_request *request, bool write)
{
	struct extent extent = extent_of(request->cdb);

	if (request->cdb[0] >> 5 && request->cdb[1] & 0xe0) { /* protection information */
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	scsi_medium(request, write, extent.lba, extent.count);
	if (write && request->cdb[0] >> 5 && request->cdb[1] & FUA)
		request->flags |= BLOCK_FUA;
}

static void verify(struct scsi_request *request)
{
	struct extent extent = extent_of(request->cdb);

	if (request->cdb[1] & 6) { /* BYTCHK */
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	scsi_medium(request, false, extent.lba, extent.count);
	if (request->step == SCSI_MEDIUM_IN)
		scsi_good(request);
}

/* --- capacity (SBC-3 5.16, 5.17) --- */

static void read_capacity_10(struct scsi_request *request)
{
	uint64_t total = blocks(request->unit);

	store_be32(request->data, total ? (uint32_t)min_u64(total - 1, UINT32_MAX) : 0);
	store_be32(request->data + 4, request->unit->block_bytes);
	scsi_reply(request, 8, 8);
}

static void read_capacity_16(struct scsi_request *request)
{
	const struct scsi_unit *unit = request->unit;
	uint64_t total = blocks(unit);

	store_be64(request->data, total ? total - 1 : 0);
	store_be32(request->data + 8, unit->block_bytes);
	request->data[13] = (uint8_t)__builtin_ctz(unit->physical_bytes / unit->block_bytes);
	request->data[14] = unit->discard ? 0x80 : 0; /* LBPME */
	scsi_reply(request, 32, load_be32(request->cdb + 10));
}

/* --- mode pages (SPC-4 7.5, SBC-3 6.5) --- */

static unsigned mode_page(const struct scsi_unit *unit, uint8_t page, bool changeable, uint8_t *to)
{
	uint64_t cylinders = min_u64(blocks(unit) / (16 * 63), 0xffffff);

	switch (page) {
	case 0x01: /* error recovery */
		to[0] = 0x01;
		to[1] = 10;
		to[2] = changeable ? 0 : 0x80; /* AWRE */
		return 12;
	case 0x04: /* rigid disk geometry */
		to[0] = 0x04;
		to[1] = 22;
		if (changeable)
			return 24;
		to[2] = (uint8_t)(cylinders >> 16);
		to[3] = (uint8_t)(cylinders >> 8);
		to[4] = (uint8_t)cylinders;
		to[5] = 16;
		store_be16(to + 20, 5400);
		return 24;
	case 0x05: /* flexible disk, for who looks for a geometry there */
		to[0] = 0x05;
		to[1] = 30;
		if (changeable)
			return 32;
		store_be16(to + 2, 5000); /* kbit/s */
		to[4] = 16;
		to[5] = 63;
		store_be16(to + 6, (uint16_t)unit->block_bytes);
		store_be16(to + 8, (uint16_t)min_u64(cylinders, UINT16_MAX));
		store_be16(to + 28, 5400); /* turns a minute */
		return 32;
	case 0x08: /* caching */
		to[0] = 0x08;
		to[1] = 18;
		to[2] = changeable || unit->write_cache ? 4 : 0; /* WCE */
		return 20;
	default:
		return 0;
	}
}

static void mode_sense(struct scsi_request *request, bool ten)
{
	static const uint8_t all[] = {0x01, 0x04, 0x05, 0x08};
	const struct scsi_unit *unit = request->unit;
	const uint8_t page = request->cdb[2] & 0x3f, control = request->cdb[2] >> 6;
	const bool no_descriptor = request->cdb[1] & 8;
	uint8_t *data = request->data;
	unsigned head = ten ? 8 : 4, at = head;

	if (control == 3) {
		scsi_fail(request, SCSI_ILLEGAL_REQUEST, 0x39, 0);
		return;
	}
	data[ten ? 3 : 2] = (uint8_t)((unit->disk->block->read_only ? 0x80 : 0) | (unit->dpofua ? 0x10 : 0));
	if (!no_descriptor && control == 0) {
		data[ten ? 7 : 3] = 8;
		store_be32(data + at, (uint32_t)min_u64(blocks(unit), 0xffffff));
		store_be32(data + at + 4, unit->block_bytes);
		at += 8;
	}
	if (page == 0x3f) {
		for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
			at += mode_page(unit, all[i], control == 1, data + at);
	} else if (page) {
		unsigned length = mode_page(unit, page, control == 1, data + at);

		if (!length) {
			scsi_fail(request, SCSI_INVALID_FIELD);
			return;
		}
		at += length;
	}
	if (ten)
		store_be16(data, (uint16_t)(at - 2));
	else
		data[0] = (uint8_t)(at - 1);
	scsi_reply(request, at, ten ? load_be16(request->cdb + 7) : request->cdb[4]);
}

static void want_parameters(struct scsi_request *request, uint32_t length)
{
	scsi_good(request);
	if (!length)
		return;
	if (length > SCSI_DATA_BYTES) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	request->length = length;
	request->step = SCSI_DATA_OUT;
}

/* Only the write cache can be switched. */
static void mode_select(struct scsi_request *request, bool ten)
{
	const uint8_t *data = request->data;
	unsigned head = ten ? 8 : 4, at, length = request->length;

	if (length < head) {
		scsi_fail(request, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
		return;
	}
	at = head + (ten ? load_be16(data + 6) : data[3]);
	while (at + 2 <= length) {
		unsigned page = data[at] & 0x3f, bytes = data[at + 1] + 2u;

		if (at + bytes > length) {
			scsi_fail(request, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
			return;
		}
		if (page == 0x08 && bytes >= 3)
			request->unit->write_cache = data[at + 2] & 4;
		else if (page != 0x08 && page != 0x01 && page != 0x04 && page != 0x05) {
			scsi_fail(request, SCSI_INVALID_PARAMETER);
			return;
		}
		at += bytes;
	}
	scsi_good(request);
	if (!request->unit->write_cache) {
		request->step = SCSI_DISK;
		request->op = BLOCK_FLUSH;
		request->offset = request->bytes = 0;
	}
}

/* --- UNMAP, WRITE SAME (SBC-3 5.28, 5.41) --- */

static void disk_range(struct scsi_request *request, enum block_op op, struct extent extent, uint32_t flags)
{
	request->step = SCSI_DISK;
	request->op = (uint8_t)op;
	request->offset = extent.lba * request->unit->block_bytes;
	request->bytes = extent.count * request->unit->block_bytes;
	request->flags = flags;
}

static bool writable_extent(struct scsi_request *request, struct extent extent)
{
	if (request->unit->disk->block->read_only) {
		scsi_fail(request, SCSI_DATA_PROTECT, 0x27, 0);
		return false;
	}
	if (!range_inside(extent.lba, extent.count, blocks(request->unit))) {
		scsi_fail(request, SCSI_LBA_OUT_OF_RANGE);
		return false;
	}
	return true;
}

static void unmap_next(struct scsi_request *request)
{
	while (request->at + DESCRIPTOR_BYTES <= request->length) {
		const uint8_t *descriptor = request->data + request->at;
		struct extent extent = {load_be64(descriptor), load_be32(descriptor + 8)};

		request->at += DESCRIPTOR_BYTES;
		if (!writable_extent(request, extent))
			return;
		if (extent.count) {
			disk_range(request, BLOCK_DISCARD, extent, 0);
			return;
		}
	}
	scsi_good(request);
}

static void unmap(struct scsi_request *request)
{
	uint32_t length = request->length;

	if (request->at) {
		unmap_next(request);
		return;
	}
	if (length < 8 || length < load_be16(request->data) + 2u || length < load_be16(request->data + 2) + 8u ||
	    load_be16(request->data + 2) % DESCRIPTOR_BYTES) {
		scsi_fail(request, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
		return;
	}
	request->length = load_be16(request->data + 2) + 8u;
	request->at = 8;
	unmap_next(request);
}

static void write_same(struct scsi_request *request, bool have_data)
{
	struct extent extent = extent_of(request->cdb);
	bool unmaps = request->cdb[1] & UNMAP_BIT;

	if (!extent.count || (request->cdb[1] & 0xe0) ||
	    extent.count * request->unit->block_bytes > request->unit->max_io_bytes) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	if (!writable_extent(request, extent))
		return;
	if (!have_data && !(request->cdb[0] == WRITE_SAME_16 && request->cdb[1] & NDOB)) {
		want_parameters(request, request->unit->block_bytes);
		return;
	}
	if (have_data && !buffer_is_zero(request->data, request->length)) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	scsi_good(request);
	disk_range(request, BLOCK_WRITE_ZEROES, extent,
		   (unmaps ? BLOCK_MAY_UNMAP : 0) | (request->unit->write_cache ? 0 : BLOCK_FUA));
}

void scsi_disk_parameters(struct scsi_request *request)
{
	switch (request->cdb[0]) {
	case MODE_SELECT_6:
	case MODE_SELECT_10:
		mode_select(request, request->cdb[0] == MODE_SELECT_10);
		break;
	case UNMAP:
		unmap(request);
		break;
	case WRITE_SAME_10:
	case WRITE_SAME_16:
		write_same(request, true);
		break;
	default:
		scsi_good(request);
		break;
	}
}

bool scsi_disk_command(struct scsi_request *request)
{
	const uint8_t *cdb = request->cdb;

	if (!scsi_ready(request->unit)) {
		scsi_fail(request, SCSI_NOT_READY, 0x3a, 0);
		return true;
	}
	switch (cdb[0]) {
	case READ_6:
	case READ_10:
	case READ_12:
	case READ_16:
		transfer(request, false);
		return true;
	case WRITE_6:
	case WRITE_10:
	case WRITE_12:
	case WRITE_16:
	case WRITE_VERIFY_10:
	case WRITE_VERIFY_12:
	case WRITE_VERIFY_16:
		transfer(request, true);
		return true;
	case VERIFY_10:
	case VERIFY_12:
	case VERIFY_16:
		verify(request);
		return true;
	case SEEK_6:
	case SEEK_10:
	case REZERO:
		scsi_good(request);
		return true;
	case READ_CAPACITY_10:
		read_capacity_10(request);
		return true;
	case SERVICE_ACTION_IN:
		if ((cdb[1] & 31) == READ_CAPACITY_16)
			read_capacity_16(request);
		else
			scsi_fail(request, SCSI_INVALID_FIELD);
		return true;
	case MODE_SENSE_6:
	case MODE_SENSE_10:
		mode_sense(request, cdb[0] == MODE_SENSE_10);
		return true;
	case MODE_SELECT_6:
		want_parameters(request, cdb[4]);
		return true;
	case MODE_SELECT_10:
		want_parameters(request, load_be16(cdb + 7));
		return true;
	case UNMAP:
		want_parameters(request, load_be16(cdb + 7));
		return true;
	case WRITE_SAME_10:
	case WRITE_SAME_16:
		write_same(request, false);
		return true;
	default:
		return false;
	}
}
