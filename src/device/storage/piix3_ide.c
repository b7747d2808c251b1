/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IDE function of Intel's PIIX3 (82371SB data sheet, 290550, 2.3 and 2.7): function 01.1, two channels at the
 * compatible ports 0x1f0 and 0x170 with interrupts 14 and 15, and the bus master registers in BAR 4. The timing
 * registers hold what is written and have no effect; the decode enable bits among them neither, as in QEMU, whose
 * firmware relies on that.
 */
#include "device/storage/storage.h"

#include "base/util.h"
#include "core/state.h"
#include "device/storage/ide.h"

struct piix3_ide {
	struct pci_device pci;
	struct ide_channel channels[2];
};

static const struct {
	uint16_t command, control;
	unsigned irq;
} places[2] = {{0x1f0, 0x3f6, 14}, {0x170, 0x376, 15}};

static uint64_t bus_master_read(void *opaque, uint64_t offset, unsigned size)
{
	struct piix3_ide *ide = opaque;
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= ide_dma_read(&ide->channels[(offset + i) >> 3 & 1], (offset + i) & 7) << 8 * i;
	return value;
}

static void bus_master_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct piix3_ide *ide = opaque;

	for (unsigned i = 0; i < size; i++)
		ide_dma_write(&ide->channels[(offset + i) >> 3 & 1], (offset + i) & 7, (uint8_t)(value >> 8 * i));
}

static const struct region_ops bus_master_ops = {
	.read = bus_master_read, .write = bus_master_write, .min_width = 1, .max_width = 4};

static void remove_channel(struct piix3_ide *ide, struct ide_channel *channel)
{
	const struct device_env *env = ide->pci.device.env;

	ata_port_remove(env->ata_ports, &channel->port);
	bus_remove(env->io, &channel->control_region);
	bus_remove(env->io, &channel->command_region);
	ide_fini(channel);
}

static int add_channel(struct piix3_ide *ide, unsigned i, struct error *err)
{
	const struct device_env *env = ide->pci.device.env;
	struct ide_channel *channel = &ide->channels[i];
	int rc;

	ide_init(channel, &ide->pci, env->isa_irq[places[i].irq], places[i].command, places[i].control);
	rc = bus_add(env->io, &channel->command_region, err);
	if (rc == 0) {
		rc = bus_add(env->io, &channel->control_region, err);
		if (rc < 0)
			bus_remove(env->io, &channel->command_region);
	}
	if (rc < 0)
		ide_fini(channel);
	else
		ata_port_add(env->ata_ports, &channel->port, &ide->pci.device, i);
	return rc;
}

static int init(struct device *device, struct error *err)
{
	struct piix3_ide *ide = (struct piix3_ide *)device;
	int rc;

	if (!device->env->ata_ports)
		return error_set(err, ENODEV, "this board has no IDE buses");
	ide->pci.config[0x07] = 0x02; /* DEVSEL# medium; fast back-to-back */
	ide->pci.config[0x06] = 0x80;
	for (unsigned offset = 0x40; offset < 0x44; offset++)
		ide->pci.write_mask[offset] = 0xff; /* IDETIM */
	rc = pci_bar_add(&ide->pci, 4, PCI_BAR_IO, "piix3-ide bus master", &bus_master_ops, ide, 16, err);
	if (rc == 0)
		rc = add_channel(ide, 0, err);
	if (rc == 0) {
		rc = add_channel(ide, 1, err);
		if (rc < 0)
			remove_channel(ide, &ide->channels[0]);
	}
	return rc;
}

static void reset(struct device *device)
{
	struct piix3_ide *ide = (struct piix3_ide *)device;

	ide_power_on(&ide->channels[0]);
	ide_power_on(&ide->channels[1]);
}

static void fini(struct device *device)
{
	struct piix3_ide *ide = (struct piix3_ide *)device;

	pci_unmap(&ide->pci);
	remove_channel(ide, &ide->channels[1]);
	remove_channel(ide, &ide->channels[0]);
}

static int check_state(const void *staged, struct error *err)
{
	const struct piix3_ide *ide = staged;
	int rc = ide_check(&ide->channels[0], err);

	return rc < 0 ? rc : ide_check(&ide->channels[1], err);
}

static void before_save(void *object)
{
	struct piix3_ide *ide = object;

	ide_drain(&ide->channels[0]);
	ide_drain(&ide->channels[1]);
}

static void after_load(void *object)
{
	struct piix3_ide *ide = object;

	ide_after_load(&ide->channels[0]);
	ide_after_load(&ide->channels[1]);
}

static const struct pci_class piix3_ide_pci = {
	.vendor = 0x8086,
	.device = 0x7010,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class_code = 0x010180,
	.fixed_devfn = 1 << 3 | 1,
};

static const struct state_field fields[] = {
	STATE_SUB(pci_device_state, struct piix3_ide, pci, 1),
	STATE_SUB(ide_channel_state, struct piix3_ide, channels, 2),
	STATE_END,
};
static const struct state_table state = {
	.name = "piix3-ide",
	.version = 1,
	.size = sizeof(struct piix3_ide),
	.fields = fields,
	.check = check_state,
	.before_save = before_save,
	.after_load = after_load,
};

const struct device_class piix3_ide_class = {
	.name = "piix3-ide",
	.help = "Intel PIIX3 IDE controller",
	.bus = DEVICE_PCI,
	.internal = true,
	.size = sizeof(struct piix3_ide),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
	.bus_class = &piix3_ide_pci,
};
