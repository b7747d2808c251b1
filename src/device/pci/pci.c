/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI function's configuration space (PCI Local Bus 3.0 chapter 6): header type 0, the capability list, bus master
 * access, the function's life and what is saved of it; BARs are in pci_bar.c. Left out: power management, VPD, parity and
 * system errors, bridges.
 */
#include "device/pci/pci_internal.h"

#include "base/util.h"
#include "core/ram.h"
#include "core/state.h"

#include <stdlib.h>

uint16_t pci_get16(const struct pci_device *pci, unsigned offset)
{
	return load_le16(pci->config + offset);
}

uint32_t pci_get32(const struct pci_device *pci, unsigned offset)
{
	return load_le32(pci->config + offset);
}

void pci_set16(struct pci_device *pci, unsigned offset, uint16_t value)
{
	store_le16(pci->config + offset, value);
}

void pci_set32(struct pci_device *pci, unsigned offset, uint32_t value)
{
	store_le32(pci->config + offset, value);
}

int pci_capability_add(struct pci_device *pci, uint8_t id, uint8_t size, struct error *err)
{
	unsigned offset = align_up(pci->capability_end, 4);

	if (offset + size > 256)
		return error_set(err, ENOSPC, "no room for capability 0x%x of %s", id, pci->device.class->name);
	pci->config[offset] = id;
	pci->config[offset + 1] = pci->config[PCI_CAPABILITIES];
	pci->config[PCI_CAPABILITIES] = (uint8_t)offset;
	pci->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	pci->capability_end = (uint8_t)(offset + size > 255 ? 255 : offset + size);
	return (int)offset;
}

/* --- configuration accesses --- */

uint32_t pci_config_read(struct pci_device *pci, unsigned offset, unsigned size)
{
	const struct pci_class *class = pci->device.class->bus_class;
	uint32_t value = 0;

	if (!range_inside(offset, size, sizeof(pci->config)) || size > 4)
		return UINT32_MAX;
	if (class->config_read && class->config_read(pci, offset, size, &value))
		return value;
	pthread_mutex_lock(&pci->bus->lock);
	memcpy(&value, pci->config + offset, size);
	pthread_mutex_unlock(&pci->bus->lock);
	for (unsigned i = 0; i < size; i++)
		if (offset + i == PCI_STATUS && __atomic_load_n(&pci->intx_level, __ATOMIC_RELAXED))
			value |= PCI_STATUS_INTX << 8 * i;
	return value;
}

/* With the bus' lock held, or nobody else about. */
static void copy_command(struct pci_device *pci)
{
	__atomic_store_n(&pci->command, pci_get16(pci, PCI_COMMAND), __ATOMIC_RELAXED);
}

static bool overlaps(unsigned offset, unsigned size, unsigned first, unsigned end)
{
	return offset < end && offset + size > first;
}

void pci_config_write(struct pci_device *pci, unsigned offset, uint32_t value, unsigned size)
{
	const struct pci_class *class = pci->device.class->bus_class;
	bool changed = false;

	if (!range_inside(offset, size, sizeof(pci->config)) || size > 4)
		return;
	pthread_mutex_lock(&pci->bus->lock);
	for (unsigned i = 0; i < size; i++) {
		uint8_t *byte = &pci->config[offset + i], old = *byte, in = (uint8_t)(value >> 8 * i);
		uint8_t mask = pci->write_mask[offset + i];

		*byte = (uint8_t)((old & ~mask) | (in & mask)) & (uint8_t) ~(in & pci->clear_mask[offset + i]);
		changed |= *byte != old;
	}
	copy_command(pci);
	pthread_mutex_unlock(&pci->bus->lock);
	if (changed && (overlaps(offset, size, PCI_COMMAND, PCI_COMMAND + 2) ||
	                overlaps(offset, size, PCI_BAR0, PCI_BAR0 + 24) || overlaps(offset, size, PCI_ROM, PCI_ROM + 4)))
		pci_map_update(pci->bus);
	if (changed && overlaps(offset, size, PCI_COMMAND, PCI_COMMAND + 2))
		pci_intx_config_changed(pci);
	if (pci->msix)
		pci_msix_config_changed(pci);
	if (class->config_written)
		class->config_written(pci, offset, size);
}

int pci_dma_read(struct pci_device *pci, uint64_t gpa, void *to, size_t length)
{
	if (!(pci_command(pci) & PCI_COMMAND_MASTER))
		return -EFAULT;
	return ram_read(pci->bus->env->ram, gpa, to, length);
}

int pci_dma_write(struct pci_device *pci, uint64_t gpa, const void *from, size_t length)
{
	if (!(pci_command(pci) & PCI_COMMAND_MASTER))
		return -EFAULT;
	return ram_write(pci->bus->env->ram, gpa, from, length);
}

/* --- life --- */

void pci_device_reset(struct pci_device *pci)
{
	pthread_mutex_lock(&pci->bus->lock);
	if (!pci->initial_valid) {
		pci_rom_patch_ids(pci);
		memcpy(pci->initial, pci->config, sizeof(pci->initial));
		pci->initial_valid = true;
	}
	/* Constant bytes are left alone: other threads read them without the lock. */
	for (unsigned i = 0; i < sizeof(pci->config); i++)
		if (pci->config[i] != pci->initial[i])
			pci->config[i] = pci->initial[i];
	copy_command(pci);
	pthread_mutex_unlock(&pci->bus->lock);
	pci_intx(pci, false);
	pci_msix_reset(pci);
	pci_map_update(pci->bus);
}

static int device_attach(struct device *device, struct error *err)
{
	struct pci_device *pci = container_of(device, struct pci_device, device);
	int rc;

	if (!device->env->pci_bus)
		return error_set(err, ENODEV, "%s: this machine has no PCI bus", device->class->name);
	if (device->bus_name && strcmp(device->bus_name, "pci.0") && strcmp(device->bus_name, "pci"))
		return error_set(err, ENODEV, "%s: there is no PCI bus '%s'; the only one is 'pci.0'", device->class->name,
		                 device->bus_name);
	rc = pci_device_attach(pci, device->env->pci_bus, err);
	if (rc == 0 && pci->rombar && pci->romfile && *pci->romfile) {
		rc = pci_romfile_load(pci, err);
		if (rc < 0)
			pci_device_detach(pci);
	}
	return rc;
}

static void device_detach(struct device *device)
{
	pci_device_detach(container_of(device, struct pci_device, device));
}

/* What firmware's boot order calls a class (OpenFirmware's PCI binding, as far as qemu uses it). */
static const char *boot_class_name(const struct pci_device *pci)
{
	static const struct {
		uint16_t class_code;
		const char *name;
	} names[] = {
	        {0x0100, "scsi"}, {0x0101, "ide"}, {0x0102, "fdc"}, {0x0103, "ipi"}, {0x0104, "raid"},
	        {0x0200, "ethernet"}, {0x0300, "vga"}, {0x0601, "isa"}, {0x0c03, "usb"},
	};
	uint16_t class_code = pci_get16(pci, PCI_CLASS + 1);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].class_code == class_code)
			return names[i].name;
	return NULL;
}

static char *device_boot_path(const struct device *device)
{
	const struct pci_device *pci = container_of(device, struct pci_device, device);
	const char *name = boot_class_name(pci);
	char *other = name ? NULL : xasprintf("pci%x,%x", pci_get16(pci, PCI_VENDOR), pci_get16(pci, PCI_DEVICE)), *path;

	if (pci->devfn & 7)
		path = xasprintf("/pci@i0cf8/%s@%x,%x", name ? name : other, pci->devfn >> 3, pci->devfn & 7);
	else
		path = xasprintf("/pci@i0cf8/%s@%x", name ? name : other, pci->devfn >> 3);
	free(other);
	return path;
}

static void device_bus_reset(struct device *device)
{
	pci_device_reset(container_of(device, struct pci_device, device));
}

static const struct property bus_properties[] = {
        {.name = "addr", .type = PROPERTY_STRING, .offset = offsetof(struct pci_device, addr),
         .help = "slot and function, hexadecimal (3 or 3.0); default: next free slot"},
        {.name = "multifunction", .type = PROPERTY_BOOL, .offset = offsetof(struct pci_device, multifunction),
         .fallback = "off", .help = "more functions share this slot"},
        {.name = "rombar", .type = PROPERTY_U32, .offset = offsetof(struct pci_device, rombar), .fallback = "1",
         .help = "show romfile in the expansion ROM BAR; 0: give it to firmware otherwise"},
        {.name = "romfile", .type = PROPERTY_STRING, .offset = offsetof(struct pci_device, romfile),
         .help = "file with an option ROM"},
        {.name = NULL},
};

const struct device_bus_ops pci_device_bus_ops = {
        .properties = bus_properties,
        .attach = device_attach,
        .detach = device_detach,
        .reset = device_bus_reset,
        .boot_path = device_boot_path,
};

/* --- saved state --- */

static int check_state(const void *staged, struct error *err)
{
	const struct pci_device *pci = staged;

	for (unsigned i = 0; pci->initial_valid && i < sizeof(pci->config); i++) {
		uint8_t may_differ = pci->write_mask[i] | pci->clear_mask[i];

		if ((pci->config[i] ^ pci->initial[i]) & ~may_differ)
			return error_set(err, EINVAL, "configuration byte 0x%02x is 0x%02x; this device has 0x%02x", i,
			                 pci->config[i], pci->initial[i]);
	}
	return 0;
}

static void after_load(void *object)
{
	struct pci_device *pci = object;

	copy_command(pci);
	pci_map_update(pci->bus);
	pci_intx_config_changed(pci);
	if (pci->msix)
		pci_msix_config_changed(pci);
}

static const struct state_field msix_fields[] = {
        STATE_FIELD_N(STATE_U32, struct pci_msix_table, entries, PCI_MSIX_MAX * 4),
        STATE_FIELD_N(STATE_U64, struct pci_msix_table, pending, PCI_MSIX_MAX / 64),
        STATE_END,
};

static const struct state_table msix_state = {
        .name = "msix", .version = 1, .size = sizeof(struct pci_msix_table), .fields = msix_fields};

static const struct state_field fields[] = {
        {.name = "config", .type = STATE_BYTES, .offset = offsetof(struct pci_device, config), .count = 256, .stride = 1},
        STATE_FIELD(STATE_BOOL, struct pci_device, intx_level),
        STATE_SUB(msix_state, struct pci_device, msix_table, 1),
        STATE_END,
};

const struct state_table pci_device_state = {
        .name = "pci",
        .version = 1,
        .size = sizeof(struct pci_device),
        .fields = fields,
        .check = check_state,
        .after_load = after_load,
};
