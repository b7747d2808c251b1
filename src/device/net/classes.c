/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network cards, for a board's registry. */
#include "device/net/net_devices.h"

#include <stddef.h>

const struct device_class *const device_classes_net[] = {
	&e1000_class, &e1000_82544gc_class, &e1000_82545em_class, &rtl8139_class, &ne2k_pci_class, &ne2k_isa_class,
	&pcnet_class,
	NULL,
};
