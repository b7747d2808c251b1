/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI functions of this folder, for a board's registry. */
#include "device/pci/pci.h"

#include <stddef.h>

const struct device_class *const device_classes_pci[] = {
        &i440fx_class,
        &piix3_class,
        &piix4_pm_class,
        &i6300esb_class,
        &pvpanic_pci_class,
        NULL,
};
