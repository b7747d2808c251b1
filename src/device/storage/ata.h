/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ATA and ATAPI drives (ATA8-ACS, ATA/ATAPI-6, SFF-8020i): one command core under two transports. A transport (a PIIX3
 * IDE channel, an AHCI port) owns a struct ata_port: it fills in the registers of a drive, calls ata_command, and is
 * told through ata_port_ops of each data phase and of the end.
 *
 * Everything here runs under the port's lock, in any thread; what comes back from the disk takes it in the main loop.
 */
#ifndef XUNI_DEVICE_STORAGE_ATA_H
#define XUNI_DEVICE_STORAGE_ATA_H

#include "device/storage/disk.h"
#include "device/storage/scsi.h"

/* Status register. */
enum { ATA_ERR = 1 << 0, ATA_DRQ = 1 << 3, ATA_SEEK = 1 << 4, ATA_DF = 1 << 5, ATA_DRDY = 1 << 6, ATA_BSY = 1 << 7 };
/* Error register. */
enum { ATA_ABRT = 1 << 2, ATA_IDNF = 1 << 4, ATA_UNC = 1 << 6, ATA_ICRC = 1 << 7 };
/* Device register. */
enum { ATA_DEV = 1 << 4, ATA_LBA = 1 << 6 };
/* Device control register. */
enum { ATA_NIEN = 1 << 1, ATA_SRST = 1 << 2, ATA_HOB = 1 << 7 };
/* Interrupt reason, the sector count register of packet commands. */
enum { ATAPI_COD = 1 << 0, ATAPI_IO = 1 << 1 };

enum { ATA_CMD_TRIM = 0x06, ATA_CMD_DIAGNOSTIC = 0x90, ATA_CMD_PACKET = 0xa0, ATA_CMD_IDENTIFY_PACKET = 0xa1 };

enum {
	ATA_MULTIPLE_MAX = 16, /* sectors of a block of READ MULTIPLE */
	ATA_BUFFER_BYTES = 65536,
	ATA_SEGMENTS = 256, /* pieces of guest memory in one request to the disk */
	ATA_TAGS = 32,
};

struct ata_drive;
struct ata_port;

/* Pieces of guest memory. */
struct ata_memory {
	struct iovec iov[ATA_SEGMENTS];
	uint64_t gpa[ATA_SEGMENTS];
	unsigned count;
};

struct ata_port_ops {
	/* A block of data is in the drive's buffer for the host, or the drive waits for one: the host moves data_at to
	 * data_end, then calls ata_data_done. */
	void (*data)(struct ata_port *port, struct ata_drive *drive, bool interrupt);
	/* The drive wants to move data by DMA: the transport calls ata_dma_ready when it can, from inside or later. */
	void (*dma)(struct ata_port *port, struct ata_drive *drive);
	/* The next `bytes` of memory of the command, or of the queued one of that tag (-1: none), or less; returns how
	 * many; 0: there is none. */
	size_t (*map)(struct ata_port *port, struct ata_drive *drive, int tag, size_t bytes, struct ata_memory *memory);
	/* The command has ended; status and error are set. */
	void (*done)(struct ata_port *port, struct ata_drive *drive, bool interrupt);
	/* A queued command has ended; error: as in the register, 0: well. */
	void (*queued_done)(struct ata_port *port, struct ata_drive *drive, unsigned tag, uint8_t error);
};

/* A place for drives; the transport's. Registered with ata_ports_add so that drives find it by its bus' name. */
struct ata_port {
	const struct ata_port_ops *ops;
	pthread_mutex_t lock;
	unsigned units; /* 1 or 2 */
	bool ncq;
	struct ata_drive *drives[2];
	char *name; /* "ide.0" */
	struct device *controller;
	unsigned number; /* of the controller's ports */
	struct ata_port *next;
};

/* The board's list of ports: device_env.ata_ports points to one. */
struct ata_port_list {
	struct ata_port *first;
	unsigned automatic; /* number of the next bus without a name of its own */
};

/* Its name is the next "ide.N", or "ID.number" where the controller has an id. */
void ata_port_add(struct ata_port_list *list, struct ata_port *port, struct device *controller, unsigned number);
void ata_port_remove(struct ata_port_list *list, struct ata_port *port);
extern const struct device_bus_ops ata_bus_ops;

/* Low byte: what was written last; high byte: what before that (48-bit commands take both). */
struct ata_registers {
	uint16_t feature, count, lba_low, lba_mid, lba_high;
	uint8_t device, command;
	uint8_t status, error;
};

enum ata_phase {
	ATA_IDLE,
	ATA_DISK,     /* the block layer is at it */
	ATA_DATA_IN,  /* the host takes data_at..data_end */
	ATA_DATA_OUT, /* the host gives it */
	ATA_PACKET,   /* the host gives a command packet */
	ATA_DMA_WAIT, /* the host's DMA engine is not started yet */
	ATA_PHASES,
};

/* One command of the native queue. */
struct ata_queued {
	struct disk_request request;
	struct ata_drive *drive;
	struct ata_memory memory;
	uint64_t left; /* bytes that follow what is with the disk now */
	bool busy;
};

struct ata_drive {
	struct device device;
	/* properties */
	struct disk_config config;
	uint32_t unit;
	char *model, *version, *translation_name;
	uint64_t wwn;
	uint32_t cylinders, heads, sectors;
	uint16_t rotation_rate;

	struct ata_port *port;
	struct disk disk;
	bool cd;
	char serial[21], boot_name[16];
	unsigned translation; /* 0 none, 1 LBA, 2 large, 3 revised ECHS: as in CMOS 0x39 */

	/* state */
	struct ata_registers regs;
	uint8_t phase;                                  /* enum ata_phase */
	bool resetting;                                 /* a reset waits for the disk */
	uint8_t multiple;                               /* sectors of a block of READ MULTIPLE, 0: not set */
	uint32_t now_cylinders, now_heads, now_sectors; /* of INITIALIZE DEVICE PARAMETERS */
	bool write_cache, smart_on;
	uint8_t dma_mode, pio_mode; /* SET FEATURES 3 */
	uint8_t power;
	/* The command: where on the disk, how much is left, what moves. */
	bool writes, by_dma, on_disk, fua, is_lba48;
	uint64_t offset, left;                 /* bytes */
	uint32_t block_bytes;                  /* of a data phase */
	uint32_t data_at, data_end, chunk_end; /* in buffer */
	uint8_t buffer[ATA_BUFFER_BYTES];

	struct disk_request request;
	struct iovec buffer_iov;
	struct ata_memory memory;
	uint64_t moving; /* bytes of the request that is with the disk */

	struct scsi_unit scsi; /* ATAPI: the CD-ROM drive behind it */
	struct scsi_request packet;
	uint16_t byte_limit;
	struct ata_queued *queue; /* ATA_TAGS of them, where the port queues */
	uint8_t ncq_error[16];    /* head of the log page that tells which queued command failed */
	unsigned outside;         /* requests that are with the disk */
};

/* The command register was written: regs hold the command's parameters. The drive is neither BSY nor DRQ. */
void ata_command(struct ata_drive *drive);
/* The host moved the block between data_at and data_end. */
void ata_data_done(struct ata_drive *drive);
/* The transport's DMA engine is ready for the drive. */
void ata_dma_ready(struct ata_drive *drive);
/* A read or write of the native queue: false when the disk has no such sectors or the tag is in use. */
bool ata_queue(struct ata_drive *drive, unsigned tag, bool write, uint64_t lba, uint32_t sectors, bool fua);
/* Software reset, DEVICE RESET: sets the signature when the disk is idle; BSY until then. */
void ata_reset(struct ata_drive *drive);
/* Power-on and machine reset; main loop, vCPUs stand still, without the port's lock. */
void ata_power_on(struct ata_drive *drive);
/* No request is with the disk when it returns. Main loop, vCPUs stand still, without the lock. */
void ata_drain(struct ata_drive *drive);
/* Where in the drive's data the transport stands, and how far it may go. */
static inline uint8_t *ata_data(struct ata_drive *drive)
{
	return drive->buffer + drive->data_at;
}

/* --- between the files of the core --- */
/* The command ends well or with an error. */
void ata_end(struct ata_drive *drive);
void ata_fail(struct ata_drive *drive, uint8_t error);
/* Moves `bytes` that are in the buffer to the host, or from the host into it. */
void ata_reply(struct ata_drive *drive, uint32_t bytes);
void ata_take(struct ata_drive *drive, uint32_t bytes);
/* Starts what offset, left, writes, by_dma and block_bytes say. */
void ata_transfer(struct ata_drive *drive);
/* The disk does something without data; ata_disk_done comes then. */
void ata_disk_only(struct ata_drive *drive, enum block_op op, uint64_t offset, uint64_t length);
/* ata_command.c: the disk has done that; the host has given all that ata_take wanted. */
void ata_disk_done(struct ata_drive *drive, int result);
void ata_taken(struct ata_drive *drive);
void ata_set_lba(struct ata_drive *drive, uint64_t lba);
void ata_signature(struct ata_drive *drive);

void ata_identify(struct ata_drive *drive, uint8_t data[512]);
void ata_guess_geometry(struct ata_drive *drive);
void ata_smart(struct ata_drive *drive);

/* atapi.c; moved: the step that the packet asked for is done, result 0 or -errno. */
void atapi_packet(struct ata_drive *drive);
void atapi_command(struct ata_drive *drive);
void atapi_moved(struct ata_drive *drive, int result);

extern const struct device_class ide_hd_class, ide_cd_class;

#endif
