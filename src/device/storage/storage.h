/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks and their controllers, for a board. */
#ifndef XUNI_DEVICE_STORAGE_STORAGE_H
#define XUNI_DEVICE_STORAGE_STORAGE_H

#include "core/device.h"

/* What -device offers of this folder; NULL-ended. */
extern const struct device_class *const device_classes_storage[];

/* 01.1 8086:7010; before it the board gives device_env.ata_ports and bus_ops[DEVICE_IDE]. */
extern const struct device_class piix3_ide_class;
extern const struct device_bus_ops ata_bus_ops, floppy_bus_ops, scsi_bus_ops;
extern const struct device_class virtio_scsi_pci, virtio_scsi_pci_transitional, virtio_scsi_pci_non_transitional;
/* device_env.scsi_buses; free() it. */
struct scsi_bus_list *scsi_bus_list_new(void);
struct ata_port_list *ata_port_list_new(void);

/* Physical geometry and translation (0 none, 1 LBA, 2 large, 3 revised ECHS) of the disk at place 0 to 3 of the first
 * two IDE buses, for the CMOS; false when there is no disk. */
struct ata_geometry {
	uint32_t cylinders, heads, sectors;
	unsigned translation;
};
bool ata_geometry_at(const struct ata_port_list *list, unsigned place, struct ata_geometry *geometry);

/* The floppy controller; before it the board gives isa_dma, after it floppy_controller and bus_ops[DEVICE_FLOPPY]. */
extern const struct device_class fdc_class;
/* What CMOS says of drive 0 or 1: 0 none, 2 1.2 MB, 4 1.44 MB, 5 2.88 MB. */
unsigned floppy_type_at(const struct device *controller, unsigned unit);
bool floppy_at(const struct device *controller, unsigned unit);

#endif
