/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network cards of this folder, for a board's registry. */
#ifndef XUNI_DEVICE_NET_NET_DEVICES_H
#define XUNI_DEVICE_NET_NET_DEVICES_H

#include "core/device.h"

extern const struct device_class e1000_class, e1000_82544gc_class, e1000_82545em_class;
extern const struct device_class rtl8139_class;
extern const struct device_class ne2k_pci_class, ne2k_isa_class;
extern const struct device_class pcnet_class;

/* NULL-ended. */
extern const struct device_class *const device_classes_net[];

#endif
