/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The power management function of Intel's PIIX4 (82371AB data sheet, 290562, 7.1): function 01.3 as operating systems
 * look for it. It says where the ACPI registers are (PMBA, 0x40) and whether they decode (PMREGMISC, 0x80), as firmware sets
 * it; the registers themselves are the board's acpi_pm.c. Left out: the SMBus host.
 */
#include "device/pci/pci_internal.h"

#include "core/state.h"

struct piix4_pm {
	struct pci_device pci;
	void (*placed)(void *opaque, uint16_t io_base);
	void *placed_opaque;
};

enum { PMBA = 0x40, DEVACTB_3 = 0x5b, APMC_EN = 1 << 1, PMREGMISC = 0x80, PMIOSE = 1 };

void piix4_pm_on_place(struct device *device, void (*placed)(void *opaque, uint16_t io_base), void *opaque)
{
	struct piix4_pm *pm = (struct piix4_pm *)device;

	pm->placed = placed;
	pm->placed_opaque = opaque;
}

static void place(struct piix4_pm *pm)
{
	bool decodes = pm->pci.config[PMREGMISC] & PMIOSE;

	if (pm->placed)
		pm->placed(pm->placed_opaque, decodes ? pci_get16(&pm->pci, PMBA) & 0xffc0 : 0);
}

static void config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
	if ((offset < PMBA + 4 && offset + size > PMBA) || (offset <= PMREGMISC && offset + size > PMREGMISC))
		place((struct piix4_pm *)pci);
}

static void piix4_pm_reset(struct device *device)
{
	place((struct piix4_pm *)device);
}

static void after_load(void *object)
{
	place(object);
}

void piix4_pm_set_base(struct device *device, uint16_t io_base)
{
	struct pci_device *pci = (struct pci_device *)device;

	pci_config_write(pci, PMBA, io_base | 1u, 4);
	pci_config_write(pci, PMREGMISC, PMIOSE, 1);
}

static int piix4_pm_init(struct device *device, struct error *err)
{
	struct pci_device *pci = (struct pci_device *)device;

	pci->config[PCI_STATUS] = 0x80; /* fast back-to-back */
	pci->config[PCI_STATUS + 1] = 0x02;
	pci->config[PCI_INTERRUPT_LINE] = 9; /* the SCI */
	pci_set32(pci, PMBA, 1);
	pci->write_mask[PMBA] = 0xc0;
	pci->write_mask[PMBA + 1] = 0xff;
	pci->write_mask[PMREGMISC] = PMIOSE;
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
        .config_written = config_written,
};

static const struct state_field fields[] = {STATE_SUB(pci_device_state, struct piix4_pm, pci, 1), STATE_END};
static const struct state_table state = {
        .name = "piix4-pm", .version = 1, .size = sizeof(struct piix4_pm), .fields = fields, .after_load = after_load};

const struct device_class piix4_pm_class = {
        .name = "PIIX4_PM",
        .help = "Intel PIIX4 power management function",
        .bus = DEVICE_PCI,
        .internal = true,
        .size = sizeof(struct piix4_pm),
        .state = &state,
        .init = piix4_pm_init,
        .reset = piix4_pm_reset,
        .bus_class = &piix4_pm_pci,
};
