/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host bridge of the Intel 440FX chip set (82441FX PMC data sheet, 290549): function 00.0. The registers that
 * firmware uses to shadow ROMs (PAM0-6, 0x59-0x5f) and to open SMRAM (0x72) are stored; memory itself is always laid out
 * as after the firmware's shadowing, because guests are started without it. Left out: DRAM timing, PCI arbitration.
 */
#include "device/pci/pci_internal.h"

#include "core/state.h"

struct i440fx {
	struct pci_device pci;
};

enum { PMC_CONFIG = 0x50, PAM0 = 0x59, PAM6 = 0x5f, DRB0 = 0x60, DRB7 = 0x67, SMRAM = 0x72 };

static int i440fx_init(struct device *device, struct error *err)
{
	struct pci_device *pci = (struct pci_device *)device;

	pci->config[PMC_CONFIG + 1] = 0x01; /* host frequency 66 MHz, no PCI concurrency */
	for (unsigned i = PAM0; i <= PAM6; i++)
		pci->write_mask[i] = i == PAM0 ? 0x30 : 0x33;
	for (unsigned i = DRB0; i <= DRB7; i++)
		pci->write_mask[i] = 0xff;
	pci->config[SMRAM] = 0x02;
	pci->write_mask[SMRAM] = 0x78;
	return 0;
}

static const struct pci_class i440fx_pci = {
        .vendor = 0x8086,
        .device = 0x1237,
        .subsystem_vendor = 0x1af4,
        .subsystem = 0x1100,
        .class_code = 0x060000,
        .revision = 2,
};

static const struct state_field fields[] = {STATE_SUB(pci_device_state, struct i440fx, pci, 1), STATE_END};
static const struct state_table state = {
        .name = "i440fx", .version = 1, .size = sizeof(struct i440fx), .fields = fields};

const struct device_class i440fx_class = {
        .name = "i440FX",
        .help = "Intel 440FX host bridge",
        .bus = DEVICE_PCI,
        .internal = true,
        .size = sizeof(struct i440fx),
        .state = &state,
        .init = i440fx_init,
        .bus_class = &i440fx_pci,
};
