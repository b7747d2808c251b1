/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of a CD or DVD-ROM drive (MMC-6; SFF-8020i for what old drivers send): a disc of one data track and
 * 2048-byte blocks, of the size of the image. Left out: audio, subchannel data, raw sectors (READ CD gives user data
 * only), writing, region codes.
 */
#include "device/storage/scsi.h"

#include "base/util.h"
#include "device/storage/disk.h"

enum {
	READ_6 = 0x08,
	MODE_SENSE_6 = 0x1a,
	READ_CAPACITY = 0x25,
	READ_10 = 0x28,
	SEEK_10 = 0x2b,
	READ_TOC = 0x43,
	GET_CONFIGURATION = 0x46,
	GET_EVENT_STATUS = 0x4a,
	READ_DISC_INFORMATION = 0x51,
	MODE_SENSE_10 = 0x5a,
	READ_12 = 0xa8,
	READ_DVD_STRUCTURE = 0xad,
	SET_CD_SPEED = 0xbb,
	MECHANISM_STATUS = 0xbd,
	READ_CD = 0xbe,
};

enum {
	CD_BLOCK_BYTES = 2048,
	CD_BLOCKS_MAX = 80 * 60 * 75,
	LEAD_OUT = 0xaa,
	PROFILE_NONE = 0,
	PROFILE_CD = 8,
	PROFILE_DVD = 16
};

static uint64_t blocks(const struct scsi_request *request)
{
	return disk_bytes(request->unit->disk) / CD_BLOCK_BYTES;
}

/* --- READ TOC (MMC-6 6.25) --- */

static void put_address(uint8_t *to, uint32_t lba, bool msf)
{
	if (!msf) {
		store_be32(to, lba);
		return;
	}
	lba += 150; /* two seconds of lead-in */
	to[0] = 0;
	to[1] = (uint8_t)(lba / 75 / 60);
	to[2] = (uint8_t)(lba / 75 % 60);
	to[3] = (uint8_t)(lba % 75);
}

static unsigned put_track(uint8_t *to, uint8_t track, uint32_t lba, bool msf)
{
	to[1] = 0x14; /* data track, copying not permitted */
	to[2] = track;
	put_address(to + 4, lba, msf);
	return 8;
}

static unsigned table_of_contents(uint8_t *data, uint32_t total, uint8_t first, bool msf)
{
	unsigned at = 4;

	data[2] = data[3] = 1; /* first and last track */
	if (first <= 1)
		at += put_track(data + at, 1, 0, msf);
	return at + put_track(data + at, LEAD_OUT, total, msf);
}

static unsigned put_raw(uint8_t *to, uint8_t point, uint32_t lba, bool msf, uint8_t track)
{
	to[0] = 1; /* session */
	to[1] = 0x14;
	to[3] = point;
	if (track)
		to[8] = track;
	else
		put_address(to + 7, lba, msf);
	return 11;
}

static unsigned raw_table(uint8_t *data, uint32_t total, bool msf)
{
	unsigned at = 4;

	data[2] = data[3] = 1; /* sessions */
	at += put_raw(data + at, 0xa0, 0, msf, 1);
	at += put_raw(data + at, 0xa1, 0, msf, 1);
	at += put_raw(data + at, 0xa2, total, msf, 0);
	return at + put_raw(data + at, 1, 0, msf, 0);
}

static void read_toc(struct scsi_request *request)
{
	uint32_t total = (uint32_t)min_u64(blocks(request), UINT32_MAX - 150);
	bool msf = request->cdb[1] & 2;
	uint8_t format = request->cdb[2] & 15, first = request->cdb[6];
	uint8_t *data = request->data;
	unsigned length;

	if (format == 0) /* SFF-8020i has it in the last byte */
		format = request->cdb[9] >> 6;
	if (format > 2 || (format == 0 && first > 1 && first != LEAD_OUT)) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	if (format == 0)
		length = table_of_contents(data, total, first, msf);
	else if (format == 2)
		length = raw_table(data, total, msf);
	else {
		data[2] = data[3] = 1;
		length = 4 + put_track(data + 4, 1, 0, msf);
	}
	store_be16(data, (uint16_t)(length - 2));
	scsi_reply(request, length, load_be16(request->cdb + 7));
}

/* --- GET CONFIGURATION (MMC-6 6.5): profiles CD-ROM and DVD-ROM, core, removable medium --- */

static unsigned current_profile(const struct scsi_request *request)
{
	return !scsi_ready(request->unit) ? PROFILE_NONE : blocks(request) > CD_BLOCKS_MAX ? PROFILE_DVD : PROFILE_CD;
}

static uint8_t *put_feature(uint8_t *to, unsigned code, unsigned flags, unsigned length)
{
	store_be16(to, (uint16_t)code);
	to[2] = (uint8_t)flags; /* version, persistent, current */
	to[3] = (uint8_t)length;
	return to + 4;
}

static void get_configuration(struct scsi_request *request)
{
	unsigned profile = current_profile(request), type = request->cdb[1] & 3, from = load_be16(request->cdb + 2);
	uint8_t *at = request->data + 8;

	if (type > 2) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	if (type == 2 ? from == 0 : from <= 0) {
		at = put_feature(at, 0, 3, 8);
		store_be16(at, PROFILE_DVD);
		at[2] = profile == PROFILE_DVD;
		store_be16(at + 4, PROFILE_CD);
		at[6] = profile == PROFILE_CD;
		at += 8;
	}
	if (type == 2 ? from == 1 : from <= 1) {
		at = put_feature(at, 1, 3 | 2 << 2, 8);
		store_be32(at, request->unit->atapi ? 2 : 1); /* physical interface: ATAPI, SCSI family */
		at[4] = 1;                                    /* DBE */
		at += 8;
	}
	if (type == 2 ? from == 3 : from <= 3) {
		at = put_feature(at, 3, 3, 4);
		at[0] = 1 << 5 | 1 << 3 | 1; /* tray; eject, lock */
		at += 4;
	}
	store_be32(request->data, (uint32_t)(at - request->data - 4));
	store_be16(request->data + 6, (uint16_t)profile);
	scsi_reply(request, (uint32_t)(at - request->data), load_be16(request->cdb + 7));
}

/* --- GET EVENT STATUS NOTIFICATION (MMC-6 6.6), polled --- */

static void get_event_status(struct scsi_request *request)
{
	enum { MEDIA = 4 };
	struct scsi_unit *unit = request->unit;
	uint8_t *data = request->data;
	unsigned length = 4;

	if (!(request->cdb[1] & 1)) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	data[3] = 1 << MEDIA | 1 << 1; /* operational change */
	if (request->cdb[4] & 1 << MEDIA) {
		data[2] = MEDIA;
		data[4] = unit->eject_wanted ? 1 : unit->new_medium ? 2 : 0;
		data[5] = (uint8_t)(unit->tray_open | (unit->disk->block && !unit->tray_open) << 1);
		if (unit->eject_wanted)
			unit->eject_wanted = false;
		else
			unit->new_medium = false;
		length = 8;
	} else {
		data[2] = 0x80; /* no such class */
	}
	store_be16(data, (uint16_t)(length - 4));
	scsi_reply(request, length, load_be16(request->cdb + 7));
}

/* --- mode pages (MMC-6 7) --- */

static unsigned mode_page(const struct scsi_unit *unit, uint8_t page, bool changeable, uint8_t *to)
{
	switch (page) {
	case 0x01: /* read error recovery */
		to[0] = 0x01;
		to[1] = 6;
		to[3] = changeable ? 0 : 5; /* retries */
		return 8;
	case 0x0e: /* audio control */
		to[0] = 0x0e;
		to[1] = 0x0e;
		return 16;
	case 0x2a: /* capabilities, MMC-3 */
		to[0] = 0x2a;
		to[1] = 0x12;
		if (changeable)
			return 20;
		to[2] = 0x08 | 0x3b; /* reads CD-R, CD-RW, method 2, DVD */
		to[4] = 0x70;        /* mode 2, multisession */
		to[5] = 0x7f & ~0x01;
		to[6] = (uint8_t)(1 << 5 | 1 << 3 | 1 | unit->locked << 1); /* tray, eject, lock */
		store_be16(to + 8, 706);                                    /* kB/s: quadruple speed */
		store_be16(to + 10, 2);
		store_be16(to + 12, 512);
		store_be16(to + 14, 706);
		return 20;
	default:
		return 0;
	}
}

static void mode_sense(struct scsi_request *request, bool ten)
{
	static const uint8_t all[] = {0x01, 0x0e, 0x2a};
	const uint8_t page = request->cdb[2] & 0x3f, control = request->cdb[2] >> 6;
	uint8_t *data = request->data;
	unsigned head = ten ? 8 : 4, at = head;

	if (control == 3) {
		scsi_fail(request, SCSI_ILLEGAL_REQUEST, 0x39, 0); /* saving is not supported */
		return;
	}
	if (page == 0x3f)
		for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
			at += mode_page(request->unit, all[i], control == 1, data + at);
	else
		at += mode_page(request->unit, page, control == 1, data + at);
	if (at == head) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	if (ten) {
		store_be16(data, (uint16_t)(at - 2));
		data[2] = request->unit->disk->block ? 0x70 : 0x71; /* medium type: door closed, no disc */
	} else {
		data[0] = (uint8_t)(at - 1);
	}
	scsi_reply(request, at, ten ? load_be16(request->cdb + 7) : request->cdb[4]);
}

/* --- others that only report --- */

static void read_capacity(struct scsi_request *request)
{
	uint64_t total = blocks(request);

	store_be32(request->data, total ? (uint32_t)min_u64(total - 1, UINT32_MAX) : 0);
	store_be32(request->data + 4, CD_BLOCK_BYTES);
	scsi_reply(request, 8, 8);
}

static void read_disc_information(struct scsi_request *request)
{
	uint8_t *data = request->data;

	if (request->cdb[1] & 7) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	data[1] = 32;
	data[2] = 0x0e; /* complete, last session complete */
	data[3] = data[4] = data[5] = data[6] = 1;
	data[7] = 0x20; /* unrestricted use */
	scsi_reply(request, 34, load_be16(request->cdb + 7));
}

static void mechanism_status(struct scsi_request *request)
{
	request->data[1] = request->unit->tray_open ? 1 << 4 : 0;
	request->data[5] = 1;
	scsi_reply(request, 8, load_be16(request->cdb + 8));
}

/* Format 0, physical format information, of a single-layer DVD-ROM. */
static void read_dvd_structure(struct scsi_request *request)
{
	uint8_t *data = request->data;

	if (current_profile(request) != PROFILE_DVD || request->cdb[7] != 0 || request->cdb[6] != 0) {
		scsi_fail(request, current_profile(request) == PROFILE_DVD ? SCSI_ILLEGAL_REQUEST : SCSI_NOT_READY,
			  current_profile(request) == PROFILE_DVD ? 0x24 : 0x30,
			  current_profile(request) == PROFILE_DVD ? 0 : 2);
		return;
	}
	store_be16(data, 2048 + 2);
	data[4] = 1;    /* DVD-ROM, part version 1 */
	data[5] = 0x0f; /* 120 mm, maximum rate not specified */
	data[6] = 1;    /* one layer */
	store_be32(data + 8, 0x30000);
	store_be32(data + 12, (uint32_t)(0x30000 + blocks(request) - 1));
	scsi_reply(request, 2048 + 4, load_be16(request->cdb + 8));
}

static void read_cd(struct scsi_request *request)
{
	uint32_t count = load_be32(request->cdb + 5) & 0xffffff;

	switch (request->cdb[9] & 0xf8) {
	case 0x00: /* nothing of the sector: nothing moves */
		scsi_medium(request, false, load_be32(request->cdb + 2), 0);
		break;
	case 0x10:
		scsi_medium(request, false, load_be32(request->cdb + 2), count);
		break;
	default:
		scsi_fail(request, SCSI_INVALID_FIELD);
		break;
	}
}

static bool with_medium(struct scsi_request *request)
{
	const uint8_t *cdb = request->cdb;

	switch (cdb[0]) {
	case READ_6:
		scsi_medium(request, false, load_be32(cdb) & 0x1fffff, cdb[4] ? cdb[4] : 256);
		return true;
	case READ_10:
		scsi_medium(request, false, load_be32(cdb + 2), load_be16(cdb + 7));
		return true;
	case READ_12:
		scsi_medium(request, false, load_be32(cdb + 2), load_be32(cdb + 6));
		return true;
	case READ_CD:
		read_cd(request);
		return true;
	case SEEK_10:
		scsi_medium(request, false, load_be32(cdb + 2), 0);
		return true;
	case READ_CAPACITY:
		read_capacity(request);
		return true;
	case READ_TOC:
		read_toc(request);
		return true;
	case READ_DISC_INFORMATION:
		read_disc_information(request);
		return true;
	case READ_DVD_STRUCTURE:
		read_dvd_structure(request);
		return true;
	default:
		return false;
	}
}

static bool needs_medium(uint8_t operation)
{
	static const uint8_t such[] = {READ_6,
				       READ_10,
				       READ_12,
				       READ_CD,
				       SEEK_10,
				       READ_CAPACITY,
				       READ_TOC,
				       READ_DISC_INFORMATION,
				       READ_DVD_STRUCTURE};

	return memchr(such, operation, sizeof(such)) != NULL;
}

bool scsi_cd_command(struct scsi_request *request)
{
	if (needs_medium(request->cdb[0])) {
		if (scsi_ready(request->unit))
			return with_medium(request);
		scsi_fail(request, SCSI_NOT_READY, 0x3a, request->unit->tray_open ? 2 : 1);
		return true;
	}
	switch (request->cdb[0]) {
	case GET_CONFIGURATION:
		get_configuration(request);
		return true;
	case GET_EVENT_STATUS:
		get_event_status(request);
		return true;
	case MODE_SENSE_6:
	case MODE_SENSE_10:
		mode_sense(request, request->cdb[0] == MODE_SENSE_10);
		return true;
	case MECHANISM_STATUS:
		mechanism_status(request);
		return true;
	case SET_CD_SPEED:
		scsi_good(request);
		return true;
	default:
		return false;
	}
}
