/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INQUIRY (SPC-4 6.6): standard data, and the vital product data pages of SPC-4 7.8 and SBC-3 6.6. */
#include "device/storage/scsi.h"

#include "base/util.h"
#include "device/storage/disk.h"

#include <stdio.h>

enum {
	STANDARD_BYTES = 36,
	VPD_SUPPORTED = 0x00,
	VPD_SERIAL = 0x80,
	VPD_IDENTIFICATION = 0x83,
	VPD_LIMITS = 0xb0,
	VPD_CHARACTERISTICS = 0xb1,
	VPD_PROVISIONING = 0xb2
};

/* Fixed-width ASCII, filled up with blanks. */
static void put_text(uint8_t *to, const char *text, unsigned width)
{
	size_t length = min_u64(strlen(text), width);

	memset(to, ' ', width);
	memcpy(to, text, length);
}

static void standard(struct scsi_request *request)
{
	const struct scsi_unit *unit = request->unit;
	uint8_t *data = request->data;

	data[0] = unit->cd ? 5 : 0;
	data[1] = unit->removable ? 0x80 : 0;
	data[2] = unit->atapi ? 0 : 5; /* SPC-3 */
	data[3] = unit->atapi ? 0x21 : 0x12;
	data[4] = STANDARD_BYTES - 5;
	data[7] = unit->atapi ? 0 : 0x12; /* WBUS16 of old, command queuing */
	put_text(data + 8, unit->vendor, 8);
	put_text(data + 16, unit->product, 16);
	put_text(data + 32, unit->revision, 4);
	scsi_reply(request, STANDARD_BYTES, load_be16(request->cdb + 3));
}

static unsigned supported_pages(const struct scsi_unit *unit, uint8_t *page)
{
	unsigned count = 0;

	page[count++] = VPD_SUPPORTED;
	if (unit->serial)
		page[count++] = VPD_SERIAL;
	page[count++] = VPD_IDENTIFICATION;
	if (!unit->cd) {
		page[count++] = VPD_LIMITS;
		page[count++] = VPD_CHARACTERISTICS;
		page[count++] = VPD_PROVISIONING;
	}
	return count;
}

/* A designator in ASCII and, where there is a world wide name, one in binary (NAA). */
static unsigned identification(const struct scsi_unit *unit, uint8_t *page)
{
	const char *id = unit->device_id ? unit->device_id : unit->serial ? unit->serial : "";
	unsigned length = (unsigned)min_u64(strlen(id), 255 - 8), at = 0;

	if (length) {
		page[at] = 2; /* ASCII */
		page[at + 3] = (uint8_t)length;
		memcpy(page + at + 4, id, length);
		at += 4 + length;
	}
	if (unit->wwn) {
		page[at] = 1;     /* binary */
		page[at + 1] = 3; /* NAA */
		page[at + 3] = 8;
		store_be64(page + at + 4, unit->wwn);
		at += 12;
	}
	return at;
}

/* SBC-3 6.6.4. */
static unsigned limits(const struct scsi_unit *unit, uint8_t *page)
{
	uint32_t most = (uint32_t)min_u64(unit->max_io_bytes / unit->block_bytes, UINT32_MAX);
	uint32_t unmap = (uint32_t)min_u64(unit->max_unmap_bytes / unit->block_bytes, UINT32_MAX);

	page[0] = 1; /* WSNZ: WRITE SAME of no blocks is refused */
	store_be16(page + 2, (uint16_t)min_u64(unit->min_io_bytes / unit->block_bytes, UINT16_MAX));
	store_be32(page + 4, most);
	store_be32(page + 8, unit->opt_io_bytes / unit->block_bytes);
	if (unit->discard) {
		store_be32(page + 16, unmap);
		store_be32(page + 20, 255); /* descriptors */
		store_be32(page + 24, 4096 / unit->block_bytes ? 4096 / unit->block_bytes : 1);
	}
	store_be64(page + 32, most); /* WRITE SAME */
	return 60;
}

void scsi_inquiry(struct scsi_request *request)
{
	const struct scsi_unit *unit = request->unit;
	uint8_t *data = request->data, *page = data + 4;
	unsigned length;

	if (!(request->cdb[1] & 1)) {
		if (request->cdb[2])
			scsi_fail(request, SCSI_INVALID_FIELD);
		else
			standard(request);
		return;
	}
	if (unit->atapi) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	switch (request->cdb[2]) {
	case VPD_SUPPORTED:
		length = supported_pages(unit, page);
		break;
	case VPD_SERIAL:
		length = unit->serial ? (unsigned)min_u64(strlen(unit->serial), 36) : 0;
		if (length)
			memcpy(page, unit->serial, length);
		break;
	case VPD_IDENTIFICATION:
		length = identification(unit, page);
		break;
	case VPD_LIMITS:
		length = unit->cd ? 0 : limits(unit, page);
		break;
	case VPD_CHARACTERISTICS:
		length = unit->cd ? 0 : 60;
		store_be16(page, unit->rotation_rate);
		break;
	case VPD_PROVISIONING:
		length = unit->cd ? 0 : 4;
		page[1] = unit->discard ? 0xe0
					: 0x20;  /* UNMAP, WRITE SAME (16) and (10) with UNMAP; LBPRZ is not promised */
		page[2] = unit->discard ? 2 : 1; /* thin, or fully provisioned */
		break;
	default:
		length = 0;
		break;
	}
	if (!length && request->cdb[2] != VPD_IDENTIFICATION) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	data[0] = unit->cd ? 5 : 0;
	data[1] = request->cdb[2];
	store_be16(data + 2, (uint16_t)length);
	scsi_reply(request, 4 + length, load_be16(request->cdb + 3));
}
