/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ACPI tables of a PC board (ACPI 6.4): RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, HPET, WAET. */
#ifndef XUNI_MACHINE_ACPI_ACPI_H
#define XUNI_MACHINE_ACPI_ACPI_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ram;

struct acpi_config {
	unsigned vcpus;      /* present; the first is the boot processor */
	unsigned max_vcpus;
	const uint32_t *apic_ids; /* max_vcpus of them */
	uint64_t pci32_first, pci32_last;
	uint64_t pci64_first, pci64_last;
	bool hpet;
	bool vga;
	unsigned serial_ports; /* bit n: COMn+1 present */
	/* Power management, as the FADT wants it. */
	uint16_t pm_event, pm_control, pm_timer, gpe0;
	uint8_t gpe0_bytes;
	uint16_t smi_command;
	uint8_t acpi_enable, acpi_disable;
	uint8_t sci_irq;
	uint8_t s5_type;
	uint16_t reset_port;
	uint8_t reset_value;
	/* GSIs of the four PCI interrupt wires; pin p (0 = INTA) of slot s reaches wire (s + p - 1) mod 4. */
	uint8_t intx_gsi[4];
	uint16_t fw_cfg_port; /* 0: none */
	uint16_t pvpanic_port; /* 0: none */
	bool vmgenid;
	uint64_t vmgenid_gpa; /* of its page, below 4 GiB; 0: firmware chooses it */
};

enum { ACPI_POINTERS_MAX = 64, ACPI_SUMS_MAX = 16 };

/* The tables as one block of bytes, the RSDP last, and where in it there are pointers into it and checksums over it: what
 * has to be done again when the block is moved. */
struct acpi_tables {
	uint8_t *bytes; /* heap */
	size_t length;
	size_t rsdp;    /* offset; 36 bytes up to the end */
	struct {
		uint32_t offset;
		uint8_t size; /* bytes: 4 or 8 */
	} pointers[ACPI_POINTERS_MAX];
	struct {
		uint32_t at, start, length;
	} sums[ACPI_SUMS_MAX];
	unsigned pointer_count, sum_count;
	uint32_t vmgenid; /* offset of 4 bytes to which the address of vmgenid's page is to be added; 0: none */
};

/* For guest-physical `base`; 0: for firmware to relocate and to sum up. Free with acpi_tables_free. */
void acpi_build(const struct acpi_config *config, uint64_t base, struct acpi_tables *tables);
void acpi_tables_free(struct acpi_tables *tables);

#endif
