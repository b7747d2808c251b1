/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI tables for firmware, which chooses their place itself: three fw_cfg files, as qemu's docs/specs and the
 * firmwares have them. */
#ifndef XUNI_MACHINE_ACPI_LOADER_H
#define XUNI_MACHINE_ACPI_LOADER_H

#include "machine/acpi/acpi.h"

#define ACPI_TABLES_FILE "etc/acpi/tables"
#define ACPI_RSDP_FILE   "etc/acpi/rsdp"
#define ACPI_LOADER_FILE "etc/table-loader"
/* As device/pc/vmgenid.h has them; here they are what firmware is told. */
#define ACPI_VMGENID_FILE    "etc/vmgenid_guid"
#define ACPI_VMGENID_ADDRESS "etc/vmgenid_addr"

/* The script of commands for tables that were built for base 0: tables->bytes up to the RSDP are one file, the RSDP the
 * other. Heap. */
uint8_t *acpi_loader_script(const struct acpi_tables *tables, size_t *length);

#endif
