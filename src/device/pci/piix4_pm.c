/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The power management function of Intel's PIIX4 (82371AB data sheet, 290562, 7.1): function 01.3 as operating systems
 * look for it. It shows where the ACPI registers are (PMBA, 0x40) and that they decode (PMREGMISC, 0x80); the registers
 * themselves are the board's acpi_pm.c at a fixed base, so PMBA cannot be moved. Left out: the SMBus host.
 */
#include "device/pci/pci_internal.h"

#include "core/state.h"

struct piix4_pm {
	struct pci_device pci;
	uint16_t io_base;
};

enum { PMBA = 0x40, DEVACTB_3 = 0x5b, APMC_EN = 1 << 1, PMREGMISC = 0x80, PMIOSE = 1, DEFAULT_BASE = 0x600 };

void piix4_pm_set_base(struct device *device, uint16_t io_base)
{
	((struct piix4_pm *)device)->io_base = io_base;
}

static int piix4_pm_init(struct device *device, struct error *err)
{
	struct piix4_pm *pm = (struct piix4_pm *)device;
	struct pci_device *pci = &pm->pci;

	if (!pm->io_base)
		pm->io_base = DEFAULT_BASE;
	pci->config[PCI_STATUS] = 0x80; /* fast back-to-back */
	pci->config[PCI_STATUS + 1] = 0x02;
	pci->config[PCI_INTERRUPT_LINE] = 9; /* the SCI */
	pci_set32(pci, PMBA, pm->io_base | 1u);
	pci->config[PMREGMISC] = PMIOSE;
	pci->config[DEVACTB_3] = APMC_EN; /* SMIs are taken care of: no firmware sets up an SMM that is not there */
	return 0;
}

static const struct pci_class piix4_pm_pci = {
        .vendor = 0x8086,
        .device = 0x7113,
        .subsystem_vendor = 0x1af4,
        .subsystem = 0x1100,
        .class_code = 0x068000,
        .revision = 3,
        .interrupt_pin = 1,
        .fixed_devfn = 1 << 3 | 3,
};

static const struct state_field fields[] = {STATE_SUB(pci_device_state, struct piix4_pm, pci, 1), STATE_END};
static const struct state_table state = {
        .name = "piix4-pm", .version = 1, .size = sizeof(struct piix4_pm), .fields = fields};

const struct device_class piix4_pm_class = {
        .name = "PIIX4_PM",
        .help = "Intel PIIX4 power management function",
        .bus = DEVICE_PCI,
        .internal = true,
        .size = sizeof(struct piix4_pm),
        .state = &state,
        .init = piix4_pm_init,
        .bus_class = &piix4_pm_pci,
};
