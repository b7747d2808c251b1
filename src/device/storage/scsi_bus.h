/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SCSI bus: the units scsi-hd and scsi-cd at targets and logical unit numbers (scsi_device.c), behind a host adapter.
 * Everything but disk_cancel_stalled runs in the main loop.
 */
#ifndef XUNI_DEVICE_STORAGE_SCSI_BUS_H
#define XUNI_DEVICE_STORAGE_SCSI_BUS_H

#include "device/storage/disk.h"
#include "device/storage/scsi.h"

struct scsi_bus;

struct scsi_device {
	struct device device;
	/* properties */
	struct disk_config config;
	uint32_t channel, target, lun;
	char *vendor, *product, *version, *device_id;
	uint64_t wwn, max_unmap_size, max_io_size;
	uint16_t rotation_rate;
	bool removable, dpofua;

	struct scsi_bus *bus;
	struct scsi_device *next; /* on the bus, by target and LUN */
	struct disk disk;
	struct scsi_unit unit;
	char boot_name[24];
};

struct scsi_bus {
	char *name;
	struct device *adapter;
	uint32_t max_target, max_lun;
	struct scsi_device *devices;
	/* The disk has another size. May be NULL. */
	void (*resized)(struct scsi_bus *bus, struct scsi_device *device);
	struct scsi_bus *next;
};

/* The board's list: device_env.scsi_buses points to one. */
struct scsi_bus_list {
	struct scsi_bus *first;
	unsigned automatic;
};

/* Its name is the next "scsi.N", or "ID.0" where the adapter has an id. */
void scsi_bus_add(struct scsi_bus_list *list, struct scsi_bus *bus, struct device *adapter);
void scsi_bus_remove(struct scsi_bus_list *list, struct scsi_bus *bus);
/* The unit there, else any of that target, else NULL. */
struct scsi_device *scsi_bus_find(struct scsi_bus *bus, unsigned target, unsigned lun);
/* REPORT LUNS of a target, into request->data. */
void scsi_bus_report_luns(struct scsi_bus *bus, unsigned target, struct scsi_request *request);

extern const struct device_bus_ops scsi_bus_ops;
extern const struct device_class scsi_hd_class, scsi_cd_class;

#endif
