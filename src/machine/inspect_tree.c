/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * info qtree: the devices by the buses they are on, with the values of their properties, in qemu's form and order (the
 * newest first). Left out: wires ("gpio"), memory windows of system devices, buses without devices.
 */
#include "machine/inspect.h"

#include "backend/block/block.h"
#include "backend/char/chardev.h"
#include "backend/net/net.h"
#include "base/util.h"
#include "core/device.h"
#include "device/pci/pci.h"
#include "machine/machine.h"

#include <stdio.h>
#include <stdlib.h>

struct tree {
	struct machine *machine;
	struct device **devices; /* newest first */
	size_t count;
	FILE *to;
};

static const char *const bus_types[DEVICE_BUS_KINDS] = {
	[DEVICE_SYSTEM] = "System", [DEVICE_ISA] = "ISA",
	[DEVICE_PCI] = "PCI",       [DEVICE_VIRTIO_SERIAL] = "virtio-serial-bus",
	[DEVICE_IDE] = "IDE",       [DEVICE_FLOPPY] = "floppy-bus",
	[DEVICE_SCSI] = "SCSI",     [DEVICE_USB] = "usb-bus",
};

static void print_bus(struct tree *tree, enum device_bus kind, const struct device *parent, const char *name,
		      int indent);

static const char *back_end_id(const struct tree *tree, enum property_type type, const void *value)
{
	const struct block *block = value;
	const char *drive;

	switch (type) {
	case PROPERTY_NET:
		return ((const struct net_backend *)value)->id;
	case PROPERTY_CHAR:
		return ((const struct chardev *)value)->id;
	case PROPERTY_BLOCK:
	case PROPERTY_MEDIUM:
		drive = machine_drive_id(tree->machine, block);
		return drive ? drive : block->node_name;
	default:
		return NULL;
	}
}

static void print_text(FILE *to, const char *text)
{
	fprintf(to, "\"%s\"\n", text ? text : "");
}

static void print_value(struct tree *tree, const struct property *property, const void *field)
{
	static const char *const three[] = {"auto", "off", "on"};
	const uint8_t *mac = field;
	void *pointer = NULL;
	uint64_t number = 0;
	char size[32];

	switch (property->type) {
	case PROPERTY_BOOL:
		fprintf(tree->to, "%s\n", *(const bool *)field ? "true" : "false");
		return;
	case PROPERTY_U8:
		number = *(const uint8_t *)field;
		break;
	case PROPERTY_U16:
		number = *(const uint16_t *)field;
		break;
	case PROPERTY_U32:
		number = *(const uint32_t *)field;
		break;
	case PROPERTY_I32:
		fprintf(tree->to, "%d (0x%llx)\n", *(const int32_t *)field, (long long)*(const int32_t *)field);
		return;
	case PROPERTY_U64:
		number = *(const uint64_t *)field;
		break;
	case PROPERTY_SIZE:
		fprintf(tree->to, "%llu (%s)\n", *(const unsigned long long *)field,
			format_bytes(size, *(const uint64_t *)field));
		return;
	case PROPERTY_STRING:
		print_text(tree->to, *(char *const *)field);
		return;
	case PROPERTY_ONOFFAUTO:
		print_text(tree->to, three[*(const int *)field + 1]);
		return;
	case PROPERTY_MAC:
		fprintf(tree->to, "\"%02x:%02x:%02x:%02x:%02x:%02x\"\n", mac[0], mac[1], mac[2], mac[3], mac[4],
			mac[5]);
		return;
	case PROPERTY_BLOCK:
	case PROPERTY_MEDIUM:
	case PROPERTY_NET:
	case PROPERTY_CHAR:
	case PROPERTY_OBJECT:
		memcpy(&pointer, field, sizeof(pointer));
		print_text(tree->to, pointer ? back_end_id(tree, property->type, pointer) : NULL);
		return;
	}
	fprintf(tree->to, "%llu (0x%llx)\n", (unsigned long long)number, (unsigned long long)number);
}

/* Left out: the place in the boot order, a drive's medium (it may have changed since), elements of lists. */
static void print_properties(struct tree *tree, const struct device *device, int indent)
{
	const struct device_bus_ops *ops = device->env->bus_ops[device->class->bus];
	const struct property *p;

	for (size_t i = 0; (p = device_property_at(device->class, ops, i)) != NULL; i++) {
		if (strcmp(p->name, "bootindex") == 0 || p->type == PROPERTY_MEDIUM || strchr(p->name, '.'))
			continue;
		fprintf(tree->to, "%*s%s = ", indent, "", p->name);
		if (device->class->bus == DEVICE_PCI && strcmp(p->name, "addr") == 0) {
			unsigned devfn = container_of(device, const struct pci_device, device)->devfn;

			fprintf(tree->to, "%02x.%x\n", devfn >> 3, devfn & 7);
		} else {
			print_value(tree, p, (const char *)device + p->offset);
		}
	}
}

static void print_pci(struct tree *tree, const struct device *device, int indent)
{
	struct inspect_pci pci;
	const char *name;

	if (!inspect_pci(tree->machine, (uint8_t)container_of(device, const struct pci_device, device)->devfn, &pci))
		return;
	name = inspect_pci_class(pci.class_code);
	if (name)
		fprintf(tree->to, "%*sclass %s", indent, "", name);
	else
		fprintf(tree->to, "%*sclass Class %04x", indent, "", pci.class_code);
	fprintf(tree->to, ", addr 00:%02x.%x, pci id %04x:%04x (sub %04x:%04x)\n", pci.slot, pci.function, pci.vendor,
		pci.device, pci.subsystem_vendor, pci.subsystem);
	for (unsigned i = 0; i < ARRAY_SIZE(pci.bars); i++)
		if (pci.bars[i].present)
			fprintf(tree->to, "%*sbar %u: %s at 0x%llx [0x%llx]\n", indent, "", i,
				pci.bars[i].io ? "i/o" : "mem", (unsigned long long)pci.bars[i].base,
				(unsigned long long)(pci.bars[i].base + pci.bars[i].size - 1));
}

/* The buses that devices say they are on; the newest first. */
static void print_children(struct tree *tree, const struct device *parent, int indent)
{
	for (size_t i = 0; i < tree->count; i++) {
		const struct device *child = tree->devices[i];
		size_t before = 0;

		if (child->parent != parent)
			continue;
		while (before < i && (tree->devices[before]->parent != parent ||
				      strcmp(tree->devices[before]->parent_bus, child->parent_bus)))
			before++;
		if (before == i)
			print_bus(tree, child->class->bus, parent, child->parent_bus, indent);
	}
}

static void print_device(struct tree *tree, const struct device *device, int indent)
{
	fprintf(tree->to, "%*sdev: %s, id \"%s\"\n", indent, "", device->class->name, device->id ? device->id : "");
	print_properties(tree, device, indent + 2);
	if (device->class->bus == DEVICE_PCI)
		print_pci(tree, device, indent + 2);
	print_children(tree, device, indent + 2);
	if (strcmp(device->class->name, "PIIX3") == 0)
		print_bus(tree, DEVICE_ISA, NULL, "isa.0", indent + 2);
}

static void print_bus(struct tree *tree, enum device_bus kind, const struct device *parent, const char *name,
		      int indent)
{
	fprintf(tree->to, "%*sbus: %s\n%*stype %s\n", indent, "", name, indent + 2, "", bus_types[kind]);
	for (size_t i = 0; i < tree->count; i++) {
		const struct device *device = tree->devices[i];

		if (device->class->bus == kind && device->parent == parent &&
		    (!parent || strcmp(device->parent_bus, name) == 0))
			print_device(tree, device, indent + 2);
	}
}

char *inspect_tree(struct machine *machine)
{
	struct tree tree = {.machine = machine};
	size_t length, at;
	char *text;

	tree.to = open_memstream(&text, &length);
	if (!tree.to)
		return NULL;
	for (struct device *device = machine->devices; device; device = device->next)
		tree.count++;
	tree.devices = xcalloc(tree.count + 1, sizeof(struct device *));
	at = tree.count;
	for (struct device *device = machine->devices; device; device = device->next)
		tree.devices[--at] = device;
	print_bus(&tree, DEVICE_SYSTEM, NULL, "main-system-bus", 0);
	if (machine->env.pci_bus) {
		fprintf(tree.to, "  dev: i440FX-pcihost, id \"\"\n");
		print_bus(&tree, DEVICE_PCI, NULL, "pci.0", 4);
	}
	fclose(tree.to);
	free(tree.devices);
	return text;
}
