/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The display adapters of this folder, for a board's registry. */
#include "device/display/display_devices.h"

#include <stddef.h>

const struct device_class *const device_classes_display[] = {
	&vga_pci_class,
	NULL,
};
