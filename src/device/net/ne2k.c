/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NE2000 on its buses: ne2k_pci (Realtek RTL8029AS) and ne2k_isa with ports and interrupt as jumpers set them. */
#include "base/util.h"
#include "device/net/ne2000.h"
#include "device/net/net_devices.h"
#include "device/pc/isa.h"
#include "device/pci/pci.h"

/* --- PCI --- */

enum { PCI_PORTS = 256 };

struct ne2k_pci {
	struct pci_device pci;
	struct ne2000 chip;
};

static void pci_interrupt(struct ne2000 *ne2000, bool level)
{
	pci_intx(&container_of(ne2000, struct ne2k_pci, chip)->pci, level);
}

static int pci_init(struct device *device, struct error *err)
{
	struct ne2k_pci *card = (struct ne2k_pci *)device;
	int result = pci_bar_add(&card->pci, 0, PCI_BAR_IO, "ne2000", &ne2000_region_ops, &card->chip, PCI_PORTS, err);

	if (result)
		return result;
	card->chip.interrupt = pci_interrupt;
	card->chip.pci = true;
	return nic_init(&card->chip.nic, device, &ne2000_nic_ops, err);
}

static void pci_reset(struct device *device)
{
	struct ne2k_pci *card = (struct ne2k_pci *)device;

	pthread_mutex_lock(&card->chip.nic.lock);
	ne2000_reset(&card->chip);
	pthread_mutex_unlock(&card->chip.nic.lock);
}

static void pci_fini(struct device *device)
{
	struct ne2k_pci *card = (struct ne2k_pci *)device;

	pci_unmap(&card->pci);
	nic_fini(&card->chip.nic);
}

static const struct state_field pci_fields[] = {
	STATE_SUB(pci_device_state, struct ne2k_pci, pci, 1),
	STATE_SUB(ne2000_state, struct ne2k_pci, chip, 1),
	STATE_END,
};

static const struct state_table pci_state = {
	.name = "ne2k_pci", .version = 1, .size = sizeof(struct ne2k_pci), .fields = pci_fields};

static const struct property pci_properties[] = {
	NIC_PROPERTIES(struct ne2k_pci, chip.nic),
	PCI_ROMFILE_PROPERTY(struct ne2k_pci, pci, "efi-ne2k_pci.rom"),
	{.name = NULL},
};

static const struct pci_class pci_constants = {
	.vendor = 0x10ec,
	.device = 0x8029,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class_code = 0x020000,
	.interrupt_pin = 1,
};

const struct device_class ne2k_pci_class = {
	.name = "ne2k_pci",
	.help = "NE2000 on PCI (Realtek RTL8029)",
	.bus = DEVICE_PCI,
	.size = sizeof(struct ne2k_pci),
	.properties = pci_properties,
	.state = &pci_state,
	.init = pci_init,
	.reset = pci_reset,
	.fini = pci_fini,
	.bus_class = &pci_constants,
};

/* --- ISA --- */

struct ne2k_isa {
	struct device device;
	struct ne2000 chip;
	uint32_t iobase, irq;
	struct region region;
};

static void isa_interrupt(struct ne2000 *ne2000, bool level)
{
	struct ne2k_isa *card = container_of(ne2000, struct ne2k_isa, chip);

	irq_set(&card->device.env->isa_irq[card->irq], level);
}

static int isa_init(struct device *device, struct error *err)
{
	struct ne2k_isa *card = (struct ne2k_isa *)device;
	int result;

	if (card->irq < 2 || card->irq > 15)
		return error_set(err, EINVAL, "irq=%u: an ISA interrupt from 2 to 15 is needed", card->irq);
	if (card->iobase > 0x10000 - NE2000_PORTS)
		return error_set(err, EINVAL, "iobase=0x%x: it needs %d ports below 0x10000", card->iobase,
				 NE2000_PORTS);
	card->chip.interrupt = isa_interrupt;
	card->region = (struct region){.name = "ne2000",
				       .ops = &ne2000_region_ops,
				       .opaque = &card->chip,
				       .base = card->iobase,
				       .size = NE2000_PORTS};
	result = nic_init(&card->chip.nic, device, &ne2000_nic_ops, err);
	if (result)
		return result;
	result = isa_regions_add(device->env->io, &card->region, 1, err);
	if (result)
		nic_fini(&card->chip.nic);
	return result;
}

static void isa_reset(struct device *device)
{
	struct ne2k_isa *card = (struct ne2k_isa *)device;

	pthread_mutex_lock(&card->chip.nic.lock);
	isa_interrupt(&card->chip, false);
	ne2000_reset(&card->chip);
	pthread_mutex_unlock(&card->chip.nic.lock);
}

static void isa_fini(struct device *device)
{
	struct ne2k_isa *card = (struct ne2k_isa *)device;

	isa_regions_remove(device->env->io, &card->region, 1);
	nic_fini(&card->chip.nic);
}

static const struct state_field isa_fields[] = {
	STATE_SUB(ne2000_state, struct ne2k_isa, chip, 1),
	STATE_END,
};

static const struct state_table isa_state = {
	.name = "ne2k_isa", .version = 1, .size = sizeof(struct ne2k_isa), .fields = isa_fields};

static const struct property isa_properties[] = {
	NIC_PROPERTIES(struct ne2k_isa, chip.nic),
	{.name = "iobase",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct ne2k_isa, iobase),
	 .fallback = "0x300",
	 .help = "first of its 32 ports"},
	{.name = "irq",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct ne2k_isa, irq),
	 .fallback = "9",
	 .help = "ISA interrupt"},
	{.name = NULL},
};

const struct device_class ne2k_isa_class = {
	.name = "ne2k_isa",
	.help = "NE2000 on ISA",
	.bus = DEVICE_ISA,
	.size = sizeof(struct ne2k_isa),
	.properties = isa_properties,
	.state = &isa_state,
	.init = isa_init,
	.reset = isa_reset,
	.fini = isa_fini,
};
