/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The root PCI bus: configuration mechanism #1 (PCI 3.0 3.2.2.3.2), placement of functions, and the four INTx wires.
 * Only bus 0 exists: there are no bridges. Special cycles are not modelled (they read as no device).
 */
#include "device/pci/pci_internal.h"

#include "base/util.h"

#include <stdlib.h>

static uint64_t address_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pci_bus *bus = opaque;

	if (offset == 0 && size == 4)
		return __atomic_load_n(&bus->address, __ATOMIC_RELAXED);
	if (offset == 1 && size == 1 && bus->reset_read)
		return bus->reset_read(bus->reset_opaque);
	return UINT64_MAX;
}

static void address_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_bus *bus = opaque;

	if (offset == 0 && size == 4)
		__atomic_store_n(&bus->address, (uint32_t)value & 0x80fffffc, __ATOMIC_RELAXED);
	else if (offset == 1 && size == 1 && bus->reset_write)
		bus->reset_write(bus->reset_opaque, (uint8_t)value);
}

/* The function that the address register selects, or NULL; *offset: of the register. */
static struct pci_device *selected(struct pci_bus *bus, uint64_t byte, unsigned *offset)
{
	uint32_t address = __atomic_load_n(&bus->address, __ATOMIC_RELAXED);

	if (!(address >> 31) || (address >> 16 & 0xff))
		return NULL;
	*offset = (address & 0xfc) + (unsigned)byte;
	return pci_bus_device(bus, address >> 8 & 0xff);
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
	unsigned at = 0;
	struct pci_device *pci = selected(opaque, offset, &at);

	return pci ? pci_config_read(pci, at, size) : UINT64_MAX;
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	unsigned at = 0;
	struct pci_device *pci = selected(opaque, offset, &at);

	if (pci)
		pci_config_write(pci, at, (uint32_t)value, size);
}

static const struct region_ops address_ops = {.read = address_read, .write = address_write, .max_width = 4};
static const struct region_ops data_ops = {.read = data_read, .write = data_write, .max_width = 4};

struct pci_bus *pci_bus_new(const struct device_env *env, const struct irq intx[4])
{
	struct pci_bus *bus = xcalloc(1, sizeof(*bus));

	bus->env = env;
	for (unsigned i = 0; i < 4; i++)
		bus->intx[i] = intx[i];
	pthread_mutex_init(&bus->lock, NULL);
	pthread_mutex_init(&bus->irq_lock, NULL);
	pthread_mutex_init(&bus->doorbell_lock, NULL);
	bus->address_region = (struct region){
	        .name = "pci-config-address", .ops = &address_ops, .opaque = bus, .base = 0xcf8, .size = 4};
	bus->data_region =
	        (struct region){.name = "pci-config-data", .ops = &data_ops, .opaque = bus, .base = 0xcfc, .size = 4};
	bus_add(env->io, &bus->address_region, NULL);
	bus_add(env->io, &bus->data_region, NULL);
	return bus;
}

void pci_bus_free(struct pci_bus *bus)
{
	if (!bus)
		return;
	bus_remove(bus->env->io, &bus->address_region);
	bus_remove(bus->env->io, &bus->data_region);
	pthread_mutex_destroy(&bus->lock);
	pthread_mutex_destroy(&bus->irq_lock);
	pthread_mutex_destroy(&bus->doorbell_lock);
	free(bus);
}

void pci_bus_reset_control(struct pci_bus *bus, uint8_t (*read)(void *opaque),
                           void (*write)(void *opaque, uint8_t value), void *opaque)
{
	bus->reset_opaque = opaque;
	bus->reset_read = read;
	bus->reset_write = write;
}

struct pci_device *pci_bus_device(struct pci_bus *bus, unsigned devfn)
{
	struct pci_device *pci;

	if (devfn > 255)
		return NULL;
	pthread_mutex_lock(&bus->lock);
	pci = bus->functions[devfn];
	pthread_mutex_unlock(&bus->lock);
	return pci;
}

struct pci_device *pci_bus_find(struct pci_bus *bus, const char *class_name)
{
	for (unsigned devfn = 0; devfn < 256; devfn++) {
		struct pci_device *pci = pci_bus_device(bus, devfn);

		if (pci && !strcmp(pci->device.class->name, class_name))
			return pci;
	}
	return NULL;
}

bool pci_bus_has_vga(struct pci_bus *bus)
{
	for (unsigned devfn = 0; devfn < 256; devfn++) {
		struct pci_device *pci = pci_bus_device(bus, devfn);

		if (pci && pci_get16(pci, PCI_CLASS + 1) == 0x0300 && !pci->config[PCI_CLASS])
			return true;
	}
	return false;
}

/* --- where a function goes --- */

static bool slot_is_free(const struct pci_bus *bus, unsigned slot)
{
	for (unsigned function = 0; function < 8; function++)
		if (bus->functions[slot << 3 | function])
			return false;
	return true;
}

/* "SLOT" or "SLOT.FUNCTION", hexadecimal as in lspci. */
static int parse_address(const char *text, unsigned *devfn, struct error *err)
{
	char *end;
	unsigned long slot = strtoul(text, &end, 16), function = 0;

	if (end != text && *end == '.') {
		const char *start = end + 1;

		function = strtoul(start, &end, 16);
		if (end == start)
			end = (char *)text;
	}
	if (end == text || *end || slot > 31 || function > 7)
		return error_set(err, EINVAL, "addr=%s: not a PCI address (SLOT or SLOT.FUNCTION, hexadecimal, 0..1f and 0..7)",
		                 text);
	*devfn = (unsigned)(slot << 3 | function);
	return 0;
}

static int choose_devfn(struct pci_device *pci, struct pci_bus *bus, unsigned *devfn, struct error *err)
{
	const struct pci_class *class = pci->device.class->bus_class;

	if (pci->addr && *pci->addr)
		return parse_address(pci->addr, devfn, err);
	if (class->fixed_devfn) {
		*devfn = class->fixed_devfn;
		return 0;
	}
	if (pci->device.class->internal && !bus->functions[0]) {
		*devfn = 0; /* the host bridge */
		return 0;
	}
	for (unsigned slot = 1; slot < 32; slot++) {
		if (slot_is_free(bus, slot)) {
			*devfn = slot << 3;
			return 0;
		}
	}
	return error_set(err, ENOSPC, "all 32 slots of the PCI bus are taken");
}

static int place(struct pci_device *pci, struct pci_bus *bus, struct error *err)
{
	unsigned devfn = 0;
	int rc = choose_devfn(pci, bus, &devfn, err);
	struct pci_device *first;

	if (rc < 0)
		return rc;
	if (bus->functions[devfn])
		return error_set(err, EBUSY, "addr=%x.%x is taken by %s", devfn >> 3, devfn & 7,
		                 bus->functions[devfn]->device.class->name);
	first = bus->functions[devfn & ~7u];
	if ((devfn & 7) && first && !(first->config[PCI_HEADER_TYPE] & 0x80))
		return error_set(err, EBUSY, "addr=%x.%x: %s in function 0 of this slot lacks multifunction=on", devfn >> 3,
		                 devfn & 7, first->device.class->name);
	pci->bus = bus;
	pci->devfn = (uint8_t)devfn;
	return 0;
}

static void init_header(struct pci_device *pci, const struct pci_class *class)
{
	pci_set16(pci, PCI_VENDOR, class->vendor);
	pci_set16(pci, PCI_DEVICE, class->device);
	pci_set16(pci, PCI_SUBSYSTEM_VENDOR, class->subsystem_vendor);
	pci_set16(pci, PCI_SUBSYSTEM, class->subsystem);
	pci->config[PCI_REVISION] = class->revision;
	pci->config[PCI_CLASS] = (uint8_t)class->class_code;
	pci_set16(pci, PCI_CLASS + 1, (uint16_t)(class->class_code >> 8));
	pci->config[PCI_INTERRUPT_PIN] = class->interrupt_pin;
	pci->config[PCI_HEADER_TYPE] = class->multifunction || pci->multifunction ? 0x80 : 0;
	pci->write_mask[PCI_CACHE_LINE] = 0xff;
	pci->write_mask[PCI_LATENCY] = 0xff;
	pci->write_mask[PCI_INTERRUPT_LINE] = 0xff;
	pci->write_mask[PCI_COMMAND] =
	        PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY;
	pci->write_mask[PCI_COMMAND + 1] = (PCI_COMMAND_SERR | PCI_COMMAND_INTX_OFF) >> 8;
	pci->clear_mask[PCI_STATUS + 1] = 0xf9;
	pci->capability_end = PCI_HEADER_END;
}

int pci_device_attach(struct pci_device *pci, struct pci_bus *bus, struct error *err)
{
	int rc;

	pthread_mutex_lock(&bus->lock);
	rc = place(pci, bus, err);
	if (rc == 0) {
		init_header(pci, pci->device.class->bus_class);
		bus->functions[pci->devfn] = pci;
	}
	pthread_mutex_unlock(&bus->lock);
	return rc < 0 ? error_prefix(err, "%s", pci->device.class->name) : 0;
}

void pci_device_detach(struct pci_device *pci)
{
	struct pci_bus *bus = pci->bus;

	pci_intx(pci, false);
	pthread_mutex_lock(&bus->lock);
	bus->functions[pci->devfn] = NULL;
	pthread_mutex_unlock(&bus->lock);
	pci_unmap(pci);
	pci_msix_fini(pci);
	ram_block_free(pci->rom.window.block);
	pci->rom.window.block = NULL;
}

/* --- INTx --- */

static void intx_update(struct pci_device *pci)
{
	struct pci_bus *bus = pci->bus;
	bool off = pci_command(pci) & PCI_COMMAND_INTX_OFF;
	bool level = pci->intx_level && !off && pci->config[PCI_INTERRUPT_PIN];
	unsigned wire;

	if (level == pci->intx_wire_level)
		return;
	pci->intx_wire_level = level;
	wire = pci_intx_wire(pci->devfn >> 3, pci->config[PCI_INTERRUPT_PIN]);
	bus->intx_count[wire] += level ? 1 : -1u;
	if (bus->intx_count[wire] == (level ? 1 : 0))
		irq_set(&bus->intx[wire], level);
}

void pci_intx(struct pci_device *pci, bool level)
{
	pthread_mutex_lock(&pci->bus->irq_lock);
	pci->intx_level = level;
	intx_update(pci);
	pthread_mutex_unlock(&pci->bus->irq_lock);
}

void pci_intx_config_changed(struct pci_device *pci)
{
	pthread_mutex_lock(&pci->bus->irq_lock);
	intx_update(pci);
	pthread_mutex_unlock(&pci->bus->irq_lock);
}
