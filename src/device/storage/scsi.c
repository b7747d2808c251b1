/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all SCSI logical units have in common (SPC-4): sense, unit attention, TEST UNIT READY, REQUEST SENSE, START STOP
 * UNIT, PREVENT ALLOW, and the way of a command. Commands of disks are in scsi_disk.c, of CD-ROM drives in scsi_cd.c.
 * Left out: reservations, mode page saving, deferred errors, descriptor-format sense.
 */
#include "device/storage/scsi.h"

#include "base/util.h"
#include "core/state.h"
#include "device/storage/disk.h"

enum {
	TEST_UNIT_READY = 0x00,
	REQUEST_SENSE = 0x03,
	INQUIRY = 0x12,
	START_STOP = 0x1b,
	PREVENT_ALLOW = 0x1e,
	READ_CAPACITY_10 = 0x25,
	SYNCHRONIZE_10 = 0x35,
	GET_CONFIGURATION = 0x46,
	GET_EVENT_STATUS = 0x4a,
	SYNCHRONIZE_16 = 0x91,
	REPORT_LUNS = 0xa0
};

unsigned scsi_cdb_bytes(uint8_t operation)
{
	static const uint8_t bytes[8] = {6, 10, 10, 0, 16, 12, 0, 0};

	return bytes[operation >> 5];
}

/* --- ends of a command --- */

void scsi_good(struct scsi_request *request)
{
	request->step = SCSI_DONE;
	request->status = SCSI_GOOD;
	request->sense = (struct scsi_sense){0};
}

void scsi_reply(struct scsi_request *request, uint32_t length, uint32_t allocation)
{
	scsi_good(request);
	request->length = (uint32_t)min_u64(length, allocation);
	request->step = request->length ? SCSI_DATA_IN : SCSI_DONE;
}

void scsi_fail(struct scsi_request *request, enum scsi_key key, uint8_t asc, uint8_t ascq)
{
	request->step = SCSI_DONE;
	request->status = SCSI_CHECK_CONDITION;
	request->sense = (struct scsi_sense){(uint8_t)key, asc, ascq};
	request->unit->last = request->sense;
}

void scsi_sense_data(const struct scsi_sense *sense, uint8_t data[SCSI_SENSE_BYTES])
{
	memset(data, 0, SCSI_SENSE_BYTES);
	data[0] = 0x70; /* current, fixed format */
	data[2] = sense->key;
	data[7] = SCSI_SENSE_BYTES - 8;
	data[12] = sense->asc;
	data[13] = sense->ascq;
}

/* --- the medium --- */

bool scsi_ready(const struct scsi_unit *unit)
{
	return unit->disk->block && !__atomic_load_n(&unit->tray_open, __ATOMIC_RELAXED);
}

static void not_ready(struct scsi_request *request)
{
	scsi_fail(request, SCSI_NOT_READY, 0x3a, request->unit->tray_open ? 2 : request->unit->cd ? 1 : 0);
}

void scsi_medium_changed(struct scsi_unit *unit)
{
	unit->new_medium = scsi_ready(unit);
	unit->eject_wanted = false;
	unit->attention = (struct scsi_sense){SCSI_UNIT_ATTENTION, 0x28, 0};
}

void scsi_move_tray(struct scsi_unit *unit, bool open)
{
	if (unit->tray_open == open)
		return;
	__atomic_store_n(&unit->tray_open, open, __ATOMIC_RELAXED);
	if (open)
		unit->locked = unit->new_medium = unit->eject_wanted = false;
	else if (unit->disk->block)
		scsi_medium_changed(unit);
}

void scsi_medium(struct scsi_request *request, bool write, uint64_t lba, uint64_t blocks)
{
	struct scsi_unit *unit = request->unit;
	uint64_t capacity = disk_bytes(unit->disk) / unit->block_bytes;

	if (write && unit->disk->block->read_only) {
		scsi_fail(request, SCSI_DATA_PROTECT, 0x27, 0);
		return;
	}
	if (!range_inside(lba, blocks, capacity)) {
		scsi_fail(request, SCSI_LBA_OUT_OF_RANGE);
		return;
	}
	scsi_good(request);
	if (blocks == 0)
		return;
	request->step = write ? SCSI_MEDIUM_OUT : SCSI_MEDIUM_IN;
	request->offset = lba * unit->block_bytes;
	request->bytes = blocks * unit->block_bytes;
	request->flags = write && !unit->write_cache ? BLOCK_FUA : 0;
}

static void start_stop(struct scsi_request *request)
{
	struct scsi_unit *unit = request->unit;
	bool start = request->cdb[4] & 1, load_or_eject = request->cdb[4] & 2;
	unsigned power = request->cdb[4] >> 4;

	scsi_good(request);
	if (power || !load_or_eject || !unit->removable)
		return;
	if (!start && unit->locked) {
		scsi_fail(request, unit->disk->block ? SCSI_NOT_READY : SCSI_ILLEGAL_REQUEST, 0x53, 2);
		return;
	}
	if (unit->tray_open == !start)
		return;
	scsi_move_tray(unit, !start);
	__atomic_store_n(&unit->moved_by_guest, true, __ATOMIC_RELEASE);
	if (unit->disk->env->request)
		unit->disk->env->request(unit->disk->env->request_opaque, MACHINE_TRAY_MOVED, 0);
}

static void prevent_allow(struct scsi_request *request)
{
	request->unit->locked = request->cdb[4] & 1;
	scsi_good(request);
}

/* --- sense and identity --- */

static void request_sense(struct scsi_request *request)
{
	struct scsi_unit *unit = request->unit;
	struct scsi_sense sense = unit->last;

	if (!sense.key && unit->attention.key) {
		sense = unit->attention;
		unit->attention = (struct scsi_sense){0};
	}
	unit->last = (struct scsi_sense){0};
	scsi_sense_data(&sense, request->data);
	scsi_reply(request, SCSI_SENSE_BYTES, request->cdb[4]);
}

static void report_luns(struct scsi_request *request)
{
	uint32_t allocation = load_be32(request->cdb + 6);

	if (allocation < 16) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	memset(request->data, 0, 16); /* LUN 0; a bus with more answers itself */
	store_be32(request->data, 8);
	scsi_reply(request, 16, allocation);
}

static void synchronize(struct scsi_request *request)
{
	scsi_good(request);
	request->step = SCSI_DISK;
	request->op = BLOCK_FLUSH;
	request->offset = request->bytes = 0;
	request->flags = 0;
}

/* --- the way of a command --- */

static bool answers_with_attention(uint8_t operation)
{
	return operation == REQUEST_SENSE || operation == INQUIRY || operation == GET_CONFIGURATION ||
	       operation == GET_EVENT_STATUS || operation == REPORT_LUNS;
}

static bool common_command(struct scsi_request *request)
{
	struct scsi_unit *unit = request->unit;

	switch (request->cdb[0]) {
	case TEST_UNIT_READY:
		if (scsi_ready(unit))
			scsi_good(request);
		else
			not_ready(request);
		return true;
	case REQUEST_SENSE:
		request_sense(request);
		return true;
	case INQUIRY:
		scsi_inquiry(request);
		return true;
	case START_STOP:
		start_stop(request);
		return true;
	case PREVENT_ALLOW:
		prevent_allow(request);
		return true;
	case SYNCHRONIZE_10:
	case SYNCHRONIZE_16:
		if (scsi_ready(unit))
			synchronize(request);
		else
			not_ready(request);
		return true;
	case REPORT_LUNS:
		report_luns(request);
		return true;
	default:
		return false;
	}
}

void scsi_start(struct scsi_request *request)
{
	struct scsi_unit *unit = request->unit;
	bool known;

	request->length = 0;
	request->at = 0;
	if (unit->attention.key && !answers_with_attention(request->cdb[0])) {
		struct scsi_sense attention = unit->attention;

		unit->attention = (struct scsi_sense){0};
		scsi_fail(request, (enum scsi_key)attention.key, attention.asc, attention.ascq);
		return;
	}
	if (request->cdb[0] != REQUEST_SENSE)
		unit->last = (struct scsi_sense){0};
	memset(request->data, 0, sizeof(request->data));
	known = common_command(request);
	if (!known)
		known = unit->cd ? scsi_cd_command(request) : scsi_disk_command(request);
	if (!known)
		scsi_fail(request, SCSI_INVALID_OPCODE);
}

void scsi_continue(struct scsi_request *request)
{
	if (request->unit->cd)
		scsi_good(request);
	else
		scsi_disk_parameters(request);
}

static bool continues(const struct scsi_request *request)
{
	return request->step == SCSI_DISK && request->cdb[0] == 0x42; /* UNMAP: one range after the other */
}

void scsi_io_done(struct scsi_request *request, int result)
{
	switch (-result) {
	case 0:
		if (continues(request))
			scsi_disk_parameters(request);
		else
			scsi_good(request);
		break;
	case ENOMEDIUM:
		not_ready(request);
		break;
	case ENOSPC:
		scsi_fail(request, SCSI_DATA_PROTECT, 0x27, 7); /* space allocation failed write protect */
		break;
	case ENOMEM:
		scsi_fail(request, SCSI_HARDWARE_ERROR, 0x44, 0);
		break;
	case EINVAL:
		scsi_fail(request, SCSI_INVALID_FIELD);
		break;
	case ECANCELED:
		scsi_fail(request, SCSI_ABORTED, 0, 6);
		break;
	default:
		scsi_fail(request, request->step == SCSI_MEDIUM_IN ? SCSI_MEDIUM_ERROR : SCSI_ABORTED,
			  request->step == SCSI_MEDIUM_IN ? 0x11 : 0, request->step == SCSI_MEDIUM_IN ? 0 : 6);
		break;
	}
}

void scsi_reset(struct scsi_unit *unit)
{
	unit->locked = false;
	unit->last = (struct scsi_sense){0};
	unit->attention = (struct scsi_sense){SCSI_UNIT_ATTENTION, 0x29, 0};
	if (unit->atapi && !unit->disk->block)
		unit->attention = (struct scsi_sense){0};
}

static const struct state_field sense_fields[] = {
	STATE_FIELD(STATE_U8, struct scsi_sense, key),
	STATE_FIELD(STATE_U8, struct scsi_sense, asc),
	STATE_FIELD(STATE_U8, struct scsi_sense, ascq),
	STATE_END,
};
static const struct state_table sense_state = {
	.name = "scsi-sense", .version = 1, .size = sizeof(struct scsi_sense), .fields = sense_fields};

static const struct state_field unit_fields[] = {
	STATE_FIELD(STATE_BOOL, struct scsi_unit, tray_open),    STATE_FIELD(STATE_BOOL, struct scsi_unit, locked),
	STATE_FIELD(STATE_BOOL, struct scsi_unit, write_cache),  STATE_FIELD(STATE_BOOL, struct scsi_unit, new_medium),
	STATE_FIELD(STATE_BOOL, struct scsi_unit, eject_wanted), STATE_SUB(sense_state, struct scsi_unit, attention, 1),
	STATE_SUB(sense_state, struct scsi_unit, last, 1),       STATE_END,
};
const struct state_table scsi_unit_state = {
	.name = "scsi-unit", .version = 1, .size = sizeof(struct scsi_unit), .fields = unit_fields};

static int check_request(const void *staged, struct error *err)
{
	const struct scsi_request *request = staged;

	if (request->step > SCSI_DISK || request->op > BLOCK_WRITE_ZEROES || request->length > SCSI_DATA_BYTES ||
	    request->at > SCSI_DATA_BYTES || request->flags & ~(uint32_t)(BLOCK_FUA | BLOCK_MAY_UNMAP))
		return error_set(err, EINVAL, "a SCSI request that cannot be");
	return 0;
}

static const struct state_field request_fields[] = {
	STATE_FIELD_N(STATE_BYTES, struct scsi_request, cdb, SCSI_CDB_BYTES),
	STATE_FIELD(STATE_U8, struct scsi_request, step),
	STATE_FIELD(STATE_U8, struct scsi_request, status),
	STATE_SUB(sense_state, struct scsi_request, sense, 1),
	STATE_FIELD(STATE_U32, struct scsi_request, length),
	STATE_FIELD(STATE_U64, struct scsi_request, offset),
	STATE_FIELD(STATE_U64, struct scsi_request, bytes),
	STATE_FIELD(STATE_U8, struct scsi_request, op),
	STATE_FIELD(STATE_U32, struct scsi_request, flags),
	STATE_FIELD(STATE_U32, struct scsi_request, at),
	STATE_FIELD_N(STATE_BYTES, struct scsi_request, data, SCSI_DATA_BYTES),
	STATE_END,
};
const struct state_table scsi_request_state = {.name = "scsi-request",
					       .version = 1,
					       .size = sizeof(struct scsi_request),
					       .fields = request_fields,
					       .check = check_request};
