/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The storage devices, for a board's registry, and what a board asks of them. */
#include "device/storage/storage.h"

#include "base/util.h"
#include "device/storage/ahci.h"
#include "device/storage/ata.h"
#include "device/storage/fdc.h"
#include "device/storage/scsi_bus.h"

const struct device_class *const device_classes_storage[] = {
	&piix3_ide_class,
	&ahci_class,
	&ide_hd_class,
	&ide_cd_class,
	&fdc_class,
	&floppy_class,
	&virtio_scsi_pci,
	&virtio_scsi_pci_transitional,
	&virtio_scsi_pci_non_transitional,
	&scsi_hd_class,
	&scsi_cd_class,
	NULL,
};

struct ata_port_list *ata_port_list_new(void)
{
	return xcalloc(1, sizeof(struct ata_port_list));
}

struct scsi_bus_list *scsi_bus_list_new(void)
{
	return xcalloc(1, sizeof(struct scsi_bus_list));
}

bool ata_geometry_at(const struct ata_port_list *list, unsigned place, struct ata_geometry *geometry)
{
	const struct ata_port *port = list->first;
	const struct ata_drive *drive;

	for (unsigned i = 0; port && i < place / 2; i++)
		port = port->next;
	drive = port ? port->drives[place % 2] : NULL;
	if (!drive || drive->cd)
		return false;
	*geometry = (struct ata_geometry){drive->cylinders, drive->heads, drive->sectors, drive->translation};
	return true;
}

unsigned floppy_type_at(const struct device *controller, unsigned unit)
{
	const struct floppy *floppy = fdc_drive((const struct fdc *)controller, unit);

	return floppy ? floppy->type : 0;
}

bool floppy_at(const struct device *controller, unsigned unit)
{
	return fdc_drive((const struct fdc *)controller, unit) != NULL;
}
