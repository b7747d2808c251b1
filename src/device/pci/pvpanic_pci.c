/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pvpanic as a PCI function (qemu's docs/specs/pvpanic): one byte in BAR 0 by which a guest says that it crashed. */
#include "device/pci/pci.h"

#include "core/state.h"

enum { PANICKED = 1 << 0, CRASH_LOADED = 1 << 1 };

struct pvpanic_pci {
	struct pci_device pci;
	uint8_t events;
};

static uint64_t event_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset ? 0 : ((struct pvpanic_pci *)opaque)->events;
}

static void event_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pvpanic_pci *p = opaque;
	const struct device_env *env = p->pci.device.env;

	value &= p->events;
	if (!offset && value)
		env->request(env->request_opaque, MACHINE_PANIC, !(value & PANICKED));
}

static const struct region_ops event_ops = {.read = event_read, .write = event_write, .min_width = 1, .max_width = 1};

static int init(struct device *device, struct error *err)
{
	struct pvpanic_pci *p = (struct pvpanic_pci *)device;

	return pci_bar_add(&p->pci, 0, PCI_BAR_MEM32, "pvpanic-mmio", &event_ops, p, 16, err);
}

static void fini(struct device *device)
{
	pci_unmap((struct pci_device *)device);
}

static const struct state_field fields[] = {STATE_SUB(pci_device_state, struct pvpanic_pci, pci, 1), STATE_END};
static const struct state_table state = {
	.name = "pvpanic-pci", .version = 1, .size = sizeof(struct pvpanic_pci), .fields = fields};

static const struct property properties[] = {
	{.name = "events",
	 .type = PROPERTY_U8,
	 .offset = offsetof(struct pvpanic_pci, events),
	 .fallback = "3",
	 .max = 3,
	 .help = "1: panics, 2: a crash kernel was loaded"},
	{.name = NULL},
};

static const struct pci_class pvpanic_pci = {
	.vendor = 0x1b36,
	.device = 0x0011,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class_code = 0x088000,
	.revision = 1,
};

const struct device_class pvpanic_pci_class = {
	.name = "pvpanic-pci",
	.help = "lets a guest report that it crashed, as a PCI function",
	.bus = DEVICE_PCI,
	.size = sizeof(struct pvpanic_pci),
	.properties = properties,
	.state = &state,
	.init = init,
	.fini = fini,
	.bus_class = &pvpanic_pci,
};
