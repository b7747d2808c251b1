/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The AHCI adapter of Intel's ICH9 (AHCI 1.3.1; 316972 chapter 15): PCI function 8086:2922 with the registers in BAR 5,
 * six ports with 32 command slots each, native command queuing, INTx. Left out: MSI, the index-data pair in BAR 4,
 * command completion coalescing, enclosure management, staggered spin-up.
 */
#include "device/storage/ahci.h"

#include "base/util.h"
#include "core/state.h"

enum {
	HBA_CAP = 0x00,
	HBA_GHC = 0x04,
	HBA_IS = 0x08,
	HBA_PI = 0x0c,
	HBA_VS = 0x10,
	PORTS_AT = 0x100,
	PORT_BYTES = 0x80,
	BAR_BYTES = 0x1000
};
enum { GHC_RESET = 1 << 0, GHC_INTERRUPTS = 1 << 1 };
#define GHC_AHCI (1u << 31)
/* 64-bit addresses, native queuing, AHCI only, first generation, 32 slots. */
#define CAPABILITIES (1u << 31 | 1u << 30 | 1u << 18 | 1u << 20 | 31u << 8 | (AHCI_PORTS - 1))

/* --- the interrupt: any port with an enabled cause --- */

static void drive_irq(struct ahci *ahci)
{
	pci_intx(&ahci->pci, ahci->pending && ahci->global & GHC_INTERRUPTS);
}

void ahci_port_interrupt(struct ahci_port *port)
{
	struct ahci *ahci = port->ahci;

	pthread_mutex_lock(&ahci->lock);
	if (port->status & port->enable)
		ahci->pending |= 1u << port->index;
	else
		ahci->pending &= ~(1u << port->index);
	drive_irq(ahci);
	pthread_mutex_unlock(&ahci->lock);
}

/* --- registers --- */

static void hba_reset(struct ahci *ahci)
{
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct ahci_port *port = &ahci->ports[i];

		pthread_mutex_lock(&port->port.lock);
		ahci_port_clear(port);
		if (port->port.drives[0])
			ata_reset(port->port.drives[0]);
		pthread_mutex_unlock(&port->port.lock);
	}
	pthread_mutex_lock(&ahci->lock);
	ahci->global = GHC_AHCI;
	drive_irq(ahci);
	pthread_mutex_unlock(&ahci->lock);
}

static uint32_t global_read(struct ahci *ahci, unsigned offset)
{
	uint32_t value = 0;

	pthread_mutex_lock(&ahci->lock);
	if (offset == HBA_CAP)
		value = CAPABILITIES;
	else if (offset == HBA_GHC)
		value = ahci->global;
	else if (offset == HBA_IS)
		value = ahci->pending;
	else if (offset == HBA_PI)
		value = (1u << AHCI_PORTS) - 1;
	else if (offset == HBA_VS)
		value = 0x10000;
	pthread_mutex_unlock(&ahci->lock);
	return value;
}

static void global_write(struct ahci *ahci, unsigned offset, uint32_t value)
{
	if (offset != HBA_GHC)
		return;
	if (value & GHC_RESET) {
		hba_reset(ahci);
		return;
	}
	pthread_mutex_lock(&ahci->lock);
	ahci->global = GHC_AHCI | (value & GHC_INTERRUPTS);
	drive_irq(ahci);
	pthread_mutex_unlock(&ahci->lock);
}

static struct ahci_port *port_at(struct ahci *ahci, uint64_t offset)
{
	uint64_t index = (offset - PORTS_AT) / PORT_BYTES;

	return offset >= PORTS_AT && index < AHCI_PORTS ? &ahci->ports[index] : NULL;
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ahci *ahci = opaque;
	struct ahci_port *port = port_at(ahci, offset);
	uint32_t value;

	if (!port)
		return offset < PORTS_AT ? global_read(ahci, offset & ~3u) : 0;
	pthread_mutex_lock(&port->port.lock);
	value = ahci_port_read(port, offset % PORT_BYTES & ~3u);
	pthread_mutex_unlock(&port->port.lock);
	return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ahci *ahci = opaque;
	struct ahci_port *port = port_at(ahci, offset);

	if (size != 4 || offset & 3)
		return;
	if (!port) {
		global_write(ahci, (unsigned)offset, (uint32_t)value);
		return;
	}
	pthread_mutex_lock(&port->port.lock);
	ahci_port_write(port, offset % PORT_BYTES, (uint32_t)value);
	pthread_mutex_unlock(&port->port.lock);
}

static const struct region_ops ops = {.read = mmio_read, .write = mmio_write, .min_width = 4, .max_width = 4};

/* --- life --- */

static int init(struct device *device, struct error *err)
{
	struct ahci *ahci = (struct ahci *)device;
	int rc;

	if (!device->env->ata_ports)
		return error_set(err, ENODEV, "this board has no IDE buses");
	rc = pci_bar_add(&ahci->pci, 5, PCI_BAR_MEM32, "ahci", &ops, ahci, BAR_BYTES, err);
	if (rc < 0)
		return rc;
	ahci->pci.config[0x90] = 1 << 6; /* AHCI mode */
	pthread_mutex_init(&ahci->lock, NULL);
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct ahci_port *port = &ahci->ports[i];

		pthread_mutex_init(&port->port.lock, NULL);
		port->port.ops = &ahci_port_ops;
		port->port.units = 1;
		port->port.ncq = true;
		port->ahci = ahci;
		port->index = i;
		port->slot = -1;
		ata_port_add(device->env->ata_ports, &port->port, device, i);
	}
	return 0;
}

static void reset(struct device *device)
{
	struct ahci *ahci = (struct ahci *)device;

	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct ahci_port *port = &ahci->ports[i];

		pthread_mutex_lock(&port->port.lock);
		ahci_port_clear(port);
		pthread_mutex_unlock(&port->port.lock);
		if (port->port.drives[0])
			ata_power_on(port->port.drives[0]);
	}
	pthread_mutex_lock(&ahci->lock);
	ahci->global = GHC_AHCI;
	drive_irq(ahci);
	pthread_mutex_unlock(&ahci->lock);
}

static void fini(struct device *device)
{
	struct ahci *ahci = (struct ahci *)device;

	pci_unmap(&ahci->pci);
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		ata_port_remove(device->env->ata_ports, &ahci->ports[i].port);
		pthread_mutex_destroy(&ahci->ports[i].port.lock);
	}
	pthread_mutex_destroy(&ahci->lock);
}

/* --- saved state: nothing is with the drives --- */

static void before_save(void *object)
{
	struct ahci *ahci = object;

	for (unsigned i = 0; i < AHCI_PORTS; i++)
		if (ahci->ports[i].port.drives[0])
			ata_drain(ahci->ports[i].port.drives[0]);
}

static void after_load(void *object)
{
	struct ahci *ahci = object;

	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		ahci->ports[i].slot = -1;
		ahci_port_interrupt(&ahci->ports[i]);
	}
}

static const struct state_field port_fields[] = {
	STATE_FIELD(STATE_U64, struct ahci_port, list_gpa),
	STATE_FIELD(STATE_U64, struct ahci_port, fis_gpa),
	STATE_FIELD(STATE_U32, struct ahci_port, status),
	STATE_FIELD(STATE_U32, struct ahci_port, enable),
	STATE_FIELD(STATE_U32, struct ahci_port, command),
	STATE_FIELD(STATE_U32, struct ahci_port, control),
	STATE_FIELD(STATE_U32, struct ahci_port, error),
	STATE_FIELD(STATE_U32, struct ahci_port, active),
	STATE_FIELD(STATE_U32, struct ahci_port, issued),
	STATE_FIELD(STATE_BOOL, struct ahci_port, halted),
	STATE_END,
};
static const struct state_table port_state = {
	.name = "ahci-port", .version = 1, .size = sizeof(struct ahci_port), .fields = port_fields};

static const struct state_field fields[] = {
	STATE_SUB(pci_device_state, struct ahci, pci, 1),
	STATE_FIELD(STATE_U32, struct ahci, global),
	STATE_SUB(port_state, struct ahci, ports, AHCI_PORTS),
	STATE_END,
};
static const struct state_table state = {
	.name = "ahci",
	.version = 1,
	.size = sizeof(struct ahci),
	.fields = fields,
	.before_save = before_save,
	.after_load = after_load,
};

static const struct pci_class ahci_pci = {
	.vendor = 0x8086,
	.device = 0x2922,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class_code = 0x010601,
	.revision = 2,
	.interrupt_pin = 1,
};

const struct device_class ahci_class = {
	.name = "ich9-ahci",
	.alias = "ahci",
	.help = "Intel ICH9 AHCI controller",
	.bus = DEVICE_PCI,
	.size = sizeof(struct ahci),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
	.bus_class = &ahci_pci,
};
