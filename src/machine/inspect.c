/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/inspect.h"

#include "base/util.h"
#include "core/bus.h"
#include "core/engine.h"
#include "core/ram.h"
#include "device/pc/i8259.h"
#include "device/pc/ioapic.h"
#include "device/pc/lapic.h"
#include "device/pc/vmgenid.h"
#include "device/pci/pci.h"
#include "device/virtio/virtio.h"
#include "device/virtio/virtio_balloon.h"
#include "device/virtio/virtio_net.h"
#include "machine/machine.h"

#include <stdio.h>
#include <stdlib.h>

/* Offsets in a type 0 header (PCI Local Bus 3.0, 6.1). */
enum {
	PCI_VENDOR = 0,
	PCI_DEVICE = 2,
	PCI_SUBCLASS = 10,
	PCI_SUBSYSTEM_VENDOR = 44,
	PCI_SUBSYSTEM = 46,
	PCI_LINE = 60,
	PCI_PIN = 61
};

static struct inspect_bar bar_of(const struct pci_bar *bar)
{
	return (struct inspect_bar){
		.present = bar->present && bar->region.size,
		.io = bar->kind & PCI_BAR_IO,
		.wide = bar->kind & PCI_BAR_MEM64,
		.prefetch = bar->kind & PCI_BAR_PREFETCH,
		.base = bar->mapped ? bar->region.base : UINT64_MAX,
		.size = bar->region.size,
	};
}

/* A device's regions are parts of it. */
bool inspect_region_owner(struct machine *machine, const struct region *region, char *text, size_t bytes)
{
	const uintptr_t at = (uintptr_t)region;

	for (const struct device *device = machine->devices; device; device = device->next) {
		if (at - (uintptr_t)device >= device->class->size)
			continue;
		snprintf(text, bytes, "%s=%s", device->id ? "id" : "type",
			 device->id ? device->id : device->class->name);
		return true;
	}
	return false;
}

/* PCI Code and ID Assignment 1.11, as far as such devices are met. */
static const struct {
	uint16_t code;
	const char *name;
} class_names[] = {
	{0x0100, "SCSI controller"},  {0x0101, "IDE controller"},      {0x0102, "Floppy controller"},
	{0x0106, "SATA controller"},  {0x0200, "Ethernet controller"}, {0x0300, "VGA controller"},
	{0x0401, "Audio controller"}, {0x0500, "RAM controller"},      {0x0600, "Host bridge"},
	{0x0601, "ISA bridge"},       {0x0604, "PCI bridge"},          {0x0680, "Bridge"},
	{0x0700, "Serial port"},      {0x0c03, "USB controller"},      {0x0c05, "SMBus"},
};

const char *inspect_pci_class(uint16_t class_code)
{
	for (size_t i = 0; i < ARRAY_SIZE(class_names); i++)
		if (class_names[i].code == class_code)
			return class_names[i].name;
	return NULL;
}

bool inspect_pci(struct machine *machine, uint8_t devfn, struct inspect_pci *out)
{
	struct pci_device *pci = machine->env.pci_bus ? pci_bus_device(machine->env.pci_bus, devfn) : NULL;

	if (!pci)
		return false;
	*out = (struct inspect_pci){
		.slot = devfn >> 3,
		.function = devfn & 7,
		.id = pci->device.id,
		.vendor = load_le16(pci->config + PCI_VENDOR),
		.device = load_le16(pci->config + PCI_DEVICE),
		.subsystem_vendor = load_le16(pci->config + PCI_SUBSYSTEM_VENDOR),
		.subsystem = load_le16(pci->config + PCI_SUBSYSTEM),
		.class_code = load_le16(pci->config + PCI_SUBCLASS),
		.interrupt_pin = pci->config[PCI_PIN],
		.interrupt_line = pci->config[PCI_LINE],
	};
	for (unsigned i = 0; i < ARRAY_SIZE(pci->bars); i++)
		out->bars[i] = bar_of(&pci->bars[i]);
	out->bars[6] = bar_of(&pci->rom);
	return true;
}

static const char *receives(bool none, bool all)
{
	return none ? "none" : all ? "all" : "normal";
}

bool inspect_rx_filter(struct device *device, struct inspect_rx_filter *out)
{
	struct virtio_net_filter filter;
	bool vlans;

	if (!virtio_net_filter_of(device, &filter, &vlans))
		return false;
	*out = (struct inspect_rx_filter){.promiscuous = filter.promiscuous,
					  .broadcast = !filter.no_broadcast,
					  .unicast = receives(filter.no_unicast, filter.all_unicast),
					  .multicast = receives(filter.no_multicast, filter.all_multicast),
					  .vlan = receives(false, !vlans),
					  .unicast_overflow = filter.unicast_overflow,
					  .multicast_overflow = filter.multicast_overflow,
					  .unicast_count = filter.unicast_count,
					  .multicast_count = filter.multicast_count};
	memcpy(out->mac, filter.mac, sizeof(out->mac));
	memcpy(out->unicast_table, filter.unicast, sizeof(out->unicast_table));
	memcpy(out->multicast_table, filter.multicast, sizeof(out->multicast_table));
	if (vlans)
		memcpy(out->vlans, filter.vlans, sizeof(out->vlans));
	else /* none of them is kept out */
		memset(out->vlans, 0xff, sizeof(out->vlans));
	return true;
}

static struct virtio_balloon *find_balloon(struct machine *machine, struct error *err)
{
	for (struct device *device = machine->devices; device; device = device->next) {
		struct virtio_balloon *balloon = virtio_balloon_of(device);

		if (balloon)
			return balloon;
	}
	error_set(err, ENXIO, "No balloon device has been activated");
	return NULL;
}

int inspect_balloon(struct machine *machine, uint64_t *actual_bytes, struct error *err)
{
	struct virtio_balloon *balloon = find_balloon(machine, err);

	if (!balloon)
		return -ENXIO;
	*actual_bytes = virtio_balloon_actual(balloon);
	return 0;
}

int inspect_balloon_set(struct machine *machine, uint64_t bytes, struct error *err)
{
	struct virtio_balloon *balloon = find_balloon(machine, err);

	if (!balloon)
		return -ENXIO;
	virtio_balloon_set_target(balloon, bytes);
	return 0;
}

bool inspect_generation_id(struct machine *machine, char text[37])
{
	for (struct device *device = machine->devices; device; device = device->next) {
		if (vmgenid_of(device)) {
			vmgenid_text(vmgenid_of(device), text);
			return true;
		}
	}
	return false;
}

char *inspect_interrupts(struct machine *machine, const struct vcpu *vcpu)
{
	size_t length;
	char *text;
	FILE *to = open_memstream(&text, &length);

	if (!to)
		return NULL;
	for (struct device *device = machine->devices; device && !vcpu; device = device->next)
		if (device->class == &ioapic_class)
			ioapic_describe((struct ioapic *)device, to);
	for (struct device *device = machine->devices; device; device = device->next) {
		if (device->class == &i8259_class && !vcpu)
			i8259_describe((struct i8259 *)device, to);
		if (device->class == &lapic_class && vcpu && vcpu->apic == device)
			lapic_describe((struct lapic *)device, to);
	}
	fclose(to);
	if (*text)
		return text;
	free(text);
	return NULL;
}

static void print_counts(FILE *to, const char *name, const uint64_t *counts, unsigned count)
{
	fprintf(to, "IRQ statistics for %s:\n", name);
	for (unsigned i = 0; i < count; i++)
		if (counts[i])
			fprintf(to, "%2u: %llu\n", i, (unsigned long long)counts[i]);
}

char *inspect_interrupt_counts(struct machine *machine)
{
	uint64_t counts[IOAPIC_PINS];
	size_t length;
	char *text;
	FILE *to = open_memstream(&text, &length);

	if (!to)
		return NULL;
	for (struct device *device = machine->devices; device; device = device->next) {
		if (device->class == &ioapic_class) {
			ioapic_count((struct ioapic *)device, counts);
			print_counts(to, "ioapic", counts, IOAPIC_PINS);
		}
	}
	for (struct device *device = machine->devices; device; device = device->next) {
		if (device->class == &i8259_class) {
			i8259_count((struct i8259 *)device, counts);
			print_counts(to, "isa-i8259", counts, 16);
		}
	}
	fclose(to);
	if (*text)
		return text;
	free(text);
	return NULL;
}

int inspect_memory(struct machine *machine, uint64_t gpa, void *to, size_t length)
{
	if (ram_read(machine->ram, gpa, to, length) == 0)
		return 0;
	for (size_t i = 0; i < length; i++)
		if (ram_read(machine->ram, gpa + i, (uint8_t *)to + i, 1) < 0 &&
		    bus_peek(machine->memory, gpa + i, (uint8_t *)to + i) < 0)
			return -EFAULT;
	return 0;
}
