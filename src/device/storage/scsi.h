/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCSI logical units (SPC-4, SBC-3, MMC-6): command descriptor blocks in, data and sense out. A unit knows no
 * transport: ATAPI (atapi.c) and the SCSI host adapters (scsi_bus.c) call scsi_start, look at what the command wants,
 * move the data or hand the request to the disk, and report. Everything runs under the transport's lock.
 */
#ifndef XUNI_DEVICE_STORAGE_SCSI_H
#define XUNI_DEVICE_STORAGE_SCSI_H

#include "backend/block/block.h"

#include <stdbool.h>
#include <stdint.h>

struct disk;
struct scsi_unit;
struct state_table;

enum { SCSI_GOOD = 0, SCSI_CHECK_CONDITION = 2 };
enum { SCSI_CDB_BYTES = 16, SCSI_SENSE_BYTES = 18, SCSI_DATA_BYTES = 4096 };

enum scsi_key {
	SCSI_NO_SENSE = 0,
	SCSI_NOT_READY = 2,
	SCSI_MEDIUM_ERROR = 3,
	SCSI_HARDWARE_ERROR = 4,
	SCSI_ILLEGAL_REQUEST = 5,
	SCSI_UNIT_ATTENTION = 6,
	SCSI_DATA_PROTECT = 7,
	SCSI_ABORTED = 11,
};

struct scsi_sense {
	uint8_t key, asc, ascq;
};

/* What a command wants next. */
enum scsi_step {
	SCSI_DONE,       /* status and sense are set */
	SCSI_DATA_IN,    /* data[0..length) goes to the initiator; good status */
	SCSI_DATA_OUT,   /* length bytes of parameters are to come into data; then scsi_continue */
	SCSI_MEDIUM_IN,  /* bytes from the medium at offset to the initiator; then scsi_io_done */
	SCSI_MEDIUM_OUT, /* from the initiator to the medium */
	SCSI_DISK,       /* op on [offset, bytes) with no data; then scsi_io_done */
};

struct scsi_request {
	struct scsi_unit *unit;
	uint8_t cdb[SCSI_CDB_BYTES];
	/* Results. */
	uint8_t step; /* enum scsi_step */
	uint8_t status;
	struct scsi_sense sense;
	uint32_t length; /* bytes of data */
	uint64_t offset, bytes;
	uint8_t op;     /* enum block_op */
	uint32_t flags; /* enum block_flags */
	uint8_t data[SCSI_DATA_BYTES];
	uint32_t at; /* UNMAP: the next descriptor */
};

struct scsi_unit {
	struct disk *disk;
	bool cd, removable, atapi;
	uint32_t block_bytes, physical_bytes, min_io_bytes, opt_io_bytes;
	char vendor[9], product[17], revision[5];
	const char *serial, *device_id; /* or NULL */
	uint64_t wwn;
	uint16_t rotation_rate;
	bool dpofua, discard;
	uint64_t max_unmap_bytes, max_io_bytes;
	bool moved_by_guest; /* atomic: somebody is to be told */
	/* state */
	bool tray_open, locked, write_cache;
	bool new_medium, eject_wanted; /* what GET EVENT STATUS has to tell */
	struct scsi_sense attention;   /* pending unit attention; key 0: none */
	struct scsi_sense last;        /* for REQUEST SENSE */
};

/* cdb is filled in: request->step says what comes next. */
void scsi_start(struct scsi_request *request);
/* After SCSI_DATA_OUT: the parameters are in data. Again request->step. */
void scsi_continue(struct scsi_request *request);
/* After SCSI_MEDIUM_* and SCSI_DISK: result is 0 or -errno. Again request->step. */
void scsi_io_done(struct scsi_request *request, int result);
/* Fixed-format sense data of a request that failed. */
void scsi_sense_data(const struct scsi_sense *sense, uint8_t data[SCSI_SENSE_BYTES]);
/* Bytes of a command descriptor block by its first byte; 0: not known. */
unsigned scsi_cdb_bytes(uint8_t operation);
void scsi_reset(struct scsi_unit *unit);

/* The medium came or went, or the tray moved, by somebody's hand. */
void scsi_medium_changed(struct scsi_unit *unit);
void scsi_move_tray(struct scsi_unit *unit, bool open);
bool scsi_ready(const struct scsi_unit *unit);
extern const struct state_table scsi_unit_state, scsi_request_state;

/* --- between the files --- */
void scsi_good(struct scsi_request *request);
void scsi_reply(struct scsi_request *request, uint32_t length, uint32_t allocation);
void scsi_fail(struct scsi_request *request, enum scsi_key key, uint8_t asc, uint8_t ascq);
#define SCSI_INVALID_OPCODE    SCSI_ILLEGAL_REQUEST, 0x20, 0
#define SCSI_LBA_OUT_OF_RANGE  SCSI_ILLEGAL_REQUEST, 0x21, 0
#define SCSI_INVALID_FIELD     SCSI_ILLEGAL_REQUEST, 0x24, 0
#define SCSI_INVALID_PARAMETER SCSI_ILLEGAL_REQUEST, 0x26, 0
/* Blocks of block_bytes at lba to a medium transfer, or the failure. */
void scsi_medium(struct scsi_request *request, bool write, uint64_t lba, uint64_t blocks);
void scsi_inquiry(struct scsi_request *request);
bool scsi_cd_command(struct scsi_request *request); /* false: no such command */
bool scsi_disk_command(struct scsi_request *request);
void scsi_disk_parameters(struct scsi_request *request);

#endif
