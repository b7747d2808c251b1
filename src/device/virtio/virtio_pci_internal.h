/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two interfaces of virtio over PCI share: virtio_pci.c, virtio_pci_modern.c and virtio_pci_legacy.c. */
#ifndef XUNI_DEVICE_VIRTIO_VIRTIO_PCI_INTERNAL_H
#define XUNI_DEVICE_VIRTIO_VIRTIO_PCI_INTERNAL_H

#include "device/virtio/virtqueue_internal.h"

enum { LEGACY_BAR = 0, MSIX_BAR = 1, MODERN_BAR = 4 };

/* Configuration space: the command register, and offsets inside a virtio capability (4.1.4). */
enum {
	COMMAND = 0x04,
	COMMAND_MASTER = 0x04,
	CAP_BAR = 4,
	CAP_OFFSET = 8,
	CAP_LENGTH = 12,
	CAP_EXTRA = 16,
};

/* Adds BAR and capabilities of one interface; in init, with the queues known. */
int virtio_pci_add_modern(struct virtio_device *device, struct error *err);
int virtio_pci_add_legacy(struct virtio_device *device, struct error *err);

/* With device->lock held. */
void virtio_pci_write_status(struct virtio_device *device, uint8_t status, bool legacy);
/* The selected queue's set-up, or NULL. */
struct virtqueue_setup *virtio_pci_selected(struct virtio_device *device);
/* Stores a vector number, or that there is none when the device has not that many. */
void virtio_pci_set_vector(struct virtio_device *device, uint16_t *vector, uint16_t value);

/* Any lock or none. */
uint8_t virtio_pci_take_isr(struct virtio_device *device);

/* A doorbell reached the registers. No lock held. bell: where, for the next ones. */
void virtio_pci_kick(struct virtio_device *device, unsigned index, unsigned bar, struct doorbell bell);

#endif
