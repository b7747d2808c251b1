/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network cards, for a board's registry. */
#include "device/net/net_devices.h"

#include <stddef.h>

const struct device_class *const device_classes_net[] = {
	&e1000_class,   &e1000_82544gc_class, &e1000_82545em_class,
	&rtl8139_class, &ne2k_pci_class,      &ne2k_isa_class,
	&pcnet_class,   &i82550_class,        &i82551_class,
	&i82557a_class, &i82557b_class,       &i82557c_class,
	&i82558a_class, &i82558b_class,       &i82559a_class,
	&i82559b_class, &i82559c_class,       &i82559er_class,
	&i82562_class,  &i82801_class,        NULL,
};
