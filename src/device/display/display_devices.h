/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The display adapters of this folder. */
#ifndef XUNI_DEVICE_DISPLAY_DISPLAY_DEVICES_H
#define XUNI_DEVICE_DISPLAY_DISPLAY_DEVICES_H

struct device;
struct device_class;
struct vga;

extern const struct device_class vga_pci_class; /* VGA */
extern const struct device_class cirrus_class;  /* cirrus-vga */
/* What -device offers; NULL-ended. */
extern const struct device_class *const device_classes_display[];

/* The VGA core of a display adapter, or NULL when the device is none. */
struct vga *vga_of_device(struct device *device);
struct vga *vga_of_vga_pci(struct device *device);

#endif
