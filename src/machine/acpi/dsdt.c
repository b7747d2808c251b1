/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ACPI's namespace says of the board: one PCI root bus with its windows and interrupt routing, the ISA devices
 * that cannot be found by probing, the processors, and the S5 sleep state. No methods: everything is a constant.
 */
#include "machine/acpi/dsdt.h"

#include <stdio.h>

#define PCI_SLOTS 32

/* _PRT: {address, pin, source, index}; a zero source makes index a global interrupt number. */
static void write_interrupt_routing(const struct acpi_config *config, struct aml *aml)
{
	size_t table;

	aml_name(aml, "_PRT");
	table = aml_package(aml, (PCI_SLOTS - 1) * 4);
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
		for (unsigned pin = 0; pin < 4; pin++) {
			size_t entry = aml_package(aml, 4);

			aml_integer(aml, slot << 16 | 0xffff);
			aml_integer(aml, pin);
			aml_integer(aml, 0);
			aml_integer(aml, config->intx_gsi[(slot + pin - 1) % 4]);
			aml_close(aml, entry);
		}
	}
	aml_close(aml, table);
}

static void write_isa_device(struct aml *aml, const char *name, const char *id, unsigned uid, uint16_t first,
			     uint8_t length, uint16_t second, int irq)
{
	size_t device = aml_device(aml, name);
	size_t resources;

	aml_name(aml, "_HID");
	aml_eisa_id(aml, id);
	aml_name_integer(aml, "_UID", uid);
	aml_name_integer(aml, "_STA", 0xf);
	resources = aml_resources(aml, "_CRS");
	aml_io(aml, first, 1, length);
	if (second)
		aml_io(aml, second, 1, length);
	if (irq >= 0)
		aml_irq(aml, irq);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

static void write_isa_devices(const struct acpi_config *config, struct aml *aml)
{
	static const uint16_t serial_port[4] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
	static const uint8_t serial_irq[4] = {4, 3, 4, 3};

	write_isa_device(aml, "RTC_", "PNP0B00", 0, 0x70, 2, 0, 8);
	write_isa_device(aml, "KBD_", "PNP0303", 0, 0x60, 1, 0x64, 1);
	write_isa_device(aml, "MOU_", "PNP0F13", 0, 0, 0, 0, 12);
	for (unsigned i = 0; i < 4; i++) {
		char name[5];

		snprintf(name, sizeof(name), "COM%u", i + 1);
		if (config->serial_ports & 1u << i)
			write_isa_device(aml, name, "PNP0501", i + 1, serial_port[i], 8, 0, serial_irq[i]);
	}
}

static void write_pci_windows(const struct acpi_config *config, struct aml *aml)
{
	size_t resources = aml_resources(aml, "_CRS");

	aml_word_space(aml, AML_SPACE_BUS, 0, 0xff);
	aml_io(aml, 0xcf8, 1, 8);
	aml_word_space(aml, AML_SPACE_IO, 0, 0xcf7);
	aml_word_space(aml, AML_SPACE_IO, 0xd00, 0xffff);
	aml_dword_space(aml, 0xa0000, 0xbffff);
	aml_dword_space(aml, config->pci32_first, config->pci32_last);
	if (config->pci64_last > config->pci64_first)
		aml_qword_space(aml, config->pci64_first, config->pci64_last);
	aml_resources_close(aml, resources);
}

static void write_pci(const struct acpi_config *config, struct aml *aml)
{
	size_t device = aml_device(aml, "PCI0");
	size_t isa;

	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0A03");
	aml_name_integer(aml, "_ADR", 0);
	aml_name_integer(aml, "_UID", 0);
	write_pci_windows(config, aml);
	write_interrupt_routing(config, aml);
	isa = aml_device(aml, "ISA_");
	aml_name_integer(aml, "_ADR", 0x10000);
	write_isa_devices(config, aml);
	aml_close(aml, isa);
	aml_close(aml, device);
}

static void write_hpet(struct aml *aml)
{
	size_t device = aml_device(aml, "HPET");
	size_t resources;

	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0103");
	aml_name_integer(aml, "_UID", 0);
	aml_name_integer(aml, "_STA", 0xf);
	resources = aml_resources(aml, "_CRS");
	aml_memory32_fixed(aml, 0xfed00000, 0x400);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

static void write_port_device(struct aml *aml, const char *name, const char *hid, uint64_t status, uint16_t port,
			      uint8_t ports)
{
	size_t device = aml_device(aml, name);
	size_t resources;

	aml_name(aml, "_HID");
	aml_string(aml, hid);
	aml_name_integer(aml, "_STA", status);
	resources = aml_resources(aml, "_CRS");
	aml_io(aml, port, 1, ports);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

/* ADDR is the number's address, low half first. */
static void write_vmgenid(const struct acpi_config *config, struct aml *aml)
{
	enum { OFFSET_IN_PAGE = 40, DWORD = 0x0c };
	size_t device = aml_device(aml, "VGEN");
	size_t package;
	uint32_t low = (uint32_t)config->vmgenid_gpa + OFFSET_IN_PAGE;

	aml_name(aml, "_HID");
	aml_string(aml, "QEMUVGID");
	aml_name(aml, "_CID");
	aml_string(aml, "VM_Gen_Counter");
	aml_name(aml, "_DDN");
	aml_string(aml, "VM_Gen_Counter");
	aml_name(aml, "ADDR");
	package = aml_package(aml, 2);
	aml_byte(aml, DWORD);
	aml->mark = aml->length;
	aml_bytes(aml, &low, sizeof(low));
	aml_integer(aml, 0);
	aml_close(aml, package);
	aml_close(aml, device);
}

static void write_processors(const struct acpi_config *config, struct aml *aml)
{
	for (unsigned i = 0; i < config->max_vcpus; i++) {
		char name[5];
		size_t device;

		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		device = aml_device(aml, name);
		aml_name(aml, "_HID");
		aml_string(aml, "ACPI0007");
		aml_name_integer(aml, "_UID", i);
		aml_name_integer(aml, "_STA", i < config->vcpus ? 0xf : 0);
		aml_close(aml, device);
	}
}

void dsdt_write(const struct acpi_config *config, struct aml *aml)
{
	size_t scope = aml_scope(aml, "\\_SB");
	size_t sleep;

	write_pci(config, aml);
	if (config->hpet)
		write_hpet(aml);
	if (config->fw_cfg_port)
		write_port_device(aml, "FWCF", "QEMU0002", 0xb, config->fw_cfg_port,
				  12); /* hidden: no system asks for a driver */
	if (config->pvpanic_port)
		write_port_device(aml, "PEVT", "QEMU0001", 0xf, config->pvpanic_port, 1);
	if (config->vmgenid)
		write_vmgenid(config, aml);
	write_processors(config, aml);
	aml_close(aml, scope);
	aml_name(aml, "\\_S5");
	sleep = aml_package(aml, 4);
	aml_integer(aml, config->s5_type);
	aml_integer(aml, config->s5_type);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_close(aml, sleep);
}
