/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The display adapters of this folder, for a board's registry. */
#include "device/display/cirrus.h"
#include "device/display/display_devices.h"

#include "base/util.h"

const struct device_class *const device_classes_display[] = {
	&vga_pci_class,
	&cirrus_class,
	NULL,
};

struct vga *vga_of_device(struct device *device)
{
	if (device->class == &vga_pci_class)
		return vga_of_vga_pci(device);
	if (device->class == &cirrus_class)
		return &container_of(device, struct cirrus, pci.device)->vga;
	return NULL;
}
