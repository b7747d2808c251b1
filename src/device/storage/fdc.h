/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The floppy disk controller and its drives: fdc.c (registers), fdc_command.c, fdc_transfer.c (data), floppy.c
 * (drives).
 */
#ifndef XUNI_DEVICE_STORAGE_FDC_H
#define XUNI_DEVICE_STORAGE_FDC_H

#include "core/bus.h"
#include "core/isa_dma.h"
#include "device/storage/disk.h"

enum { FDC_DRIVES = 2, FDC_FIFO_BYTES = 16, FDC_SECTOR_BYTES = 512, FDC_TRACK_BYTES = 64 * FDC_SECTOR_BYTES };

/* Data rates as in the rate registers. */
enum floppy_rate { FLOPPY_500K, FLOPPY_300K, FLOPPY_250K, FLOPPY_1M };
enum floppy_type {
	FLOPPY_NONE,
	FLOPPY_360K,
	FLOPPY_1200K,
	FLOPPY_720K,
	FLOPPY_1440K,
	FLOPPY_2880K
}; /* as in CMOS 0x10 */

struct fdc;

struct floppy {
	struct device device;
	struct disk_config config;
	uint32_t unit;
	char *type_name;
	struct fdc *fdc;
	struct disk disk;
	uint8_t type; /* enum floppy_type */
	/* What the medium is formatted as; tracks 0: no medium. */
	uint8_t tracks, heads, sectors, rate;
	/* state */
	uint8_t track; /* where the heads stand */
	bool changed;  /* disk change line */
	struct disk_request request;
	struct iovec iov;
};

enum fdc_phase { FDC_COMMAND, FDC_EXECUTION, FDC_RESULT };

struct fdc {
	struct device device;
	uint32_t base, irq_number, dma_channel;
	struct irq irq;
	struct region regions[2];
	pthread_mutex_t lock;
	struct floppy *drives[FDC_DRIVES];
	/* state */
	uint8_t dor, tdr, rate;
	uint8_t phase;                                     /* enum fdc_phase */
	uint8_t fifo[FDC_FIFO_BYTES], fifo_at, fifo_bytes; /* bytes of the command that are there, or of the result */
	uint8_t st0, polled; /* polled: drives whose ready change after a reset SENSE INTERRUPT has still to tell */
	uint8_t specify[2], config, pretrack, perpendicular;
	bool lock_config, interrupt;
	/* A transfer: where it is, what it still wants. */
	uint8_t drive, cylinder, head, sector, end_of_track, transfer; /* transfer: the command's code */
	bool multi_track, moving, terminal, at_disk, resetting;
	uint32_t bytes;  /* in the buffer */
	uint32_t filled; /* of them moved by DMA already */
	uint32_t moved;  /* that are being written */
	uint8_t buffer[FDC_TRACK_BYTES];
};

/* fdc.c */
void fdc_raise(struct fdc *fdc);
void fdc_lower(struct fdc *fdc);
/* fdc_command.c: a byte for the command phase, which starts the command when it is the last; one of the result. */
void fdc_command_byte(struct fdc *fdc, uint8_t value);
uint8_t fdc_result_byte(struct fdc *fdc);
/* Nothing of a command is there. */
void fdc_to_command(struct fdc *fdc);
/* What the FIFO holds in the command phase is the beginning of a command. */
bool fdc_command_is_open(const struct fdc *fdc);
/* Result phase of a data command: status registers 0 to 2 (drive and head are added), address of the next sector. */
void fdc_finish(struct fdc *fdc, uint8_t st0, uint8_t st1, uint8_t st2);
/* fdc_transfer.c: READ, WRITE, VERIFY, FORMAT, READ ID with their parameters in the FIFO. */
void fdc_transfer(struct fdc *fdc);
void fdc_read_id(struct fdc *fdc);
void fdc_format(struct fdc *fdc);
void fdc_dma_ready(void *opaque);
struct floppy *fdc_drive(const struct fdc *fdc, unsigned unit);

/* floppy.c: what the medium in the drive is formatted as, by its size and the drive's type. */
void floppy_recognize(struct floppy *floppy);
extern const struct device_bus_ops floppy_bus_ops;
extern const struct device_class floppy_class, fdc_class;

#endif
