/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio devices, for a board's registry. */
#include "device/virtio/virtio.h"

#include <stddef.h>

const struct device_class *const device_classes_virtio[] = {
        &virtio_blk_pci,     &virtio_blk_pci_transitional,     &virtio_blk_pci_non_transitional,
        &virtio_net_pci,     &virtio_net_pci_transitional,     &virtio_net_pci_non_transitional,
        &virtio_serial_pci,  &virtio_serial_pci_transitional,  &virtio_serial_pci_non_transitional,
        &virtio_console_class, &virtio_serialport_class,
        &virtio_rng_pci,     &virtio_rng_pci_transitional,     &virtio_rng_pci_non_transitional,
        &virtio_balloon_pci, &virtio_balloon_pci_transitional, &virtio_balloon_pci_non_transitional,
        &virtio_keyboard_pci, &virtio_mouse_pci, &virtio_tablet_pci,
        NULL,
};
