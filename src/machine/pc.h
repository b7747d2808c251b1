/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the board "pc" share: board_pc.c has the devices, pc_firmware.c what has to do with firmware. */
#ifndef XUNI_MACHINE_PC_H
#define XUNI_MACHINE_PC_H

#include "core/irq.h"
#include "core/ram.h"
#include "machine/internal.h"

struct acpi_pm;
struct acpi_tables;
struct ata_port_list;
struct fw_cfg;
struct i8259;
struct ioapic;
struct lapic;
struct lapic_set;
struct mc146818;
struct scsi_bus_list;

struct board_state {
	struct lapic_set *lapics;
	struct i8259 *pic;
	struct ioapic *ioapic;
	struct irq pic_lines[16], ioapic_lines[16];
	struct lapic **apics;
	struct device *bridge, *piix3, *power, *ide, *fdc;
	struct ram_block *firmware; /* NULL: direct boot */
	uint64_t firmware_gpa;
	char *firmware_path;        /* NULL: in flash */
	struct boot_handover *handover; /* -kernel, for firmware to start; or NULL */
	bool booted_once;           /* -boot once= was for the first time only */
	struct ram_window firmware_high;
	struct ata_port_list *ata_ports;
	struct scsi_bus_list *scsi_buses;
	struct acpi_pm *pm;
	struct mc146818 *rtc;
	struct fw_cfg *fw_cfg;
	bool hpet;
	struct boot_memory reserved[2];
};

uint64_t pc_ram_below_4g(const struct machine *machine);
void pc_build_acpi(struct machine *machine, struct board_state *board, uint64_t base, struct acpi_tables *tables);

/* --- pc_firmware.c --- */
/* The ROM or flash chips, before other devices. */
int pc_firmware_build(struct machine *machine, struct error *err);
void pc_firmware_free(struct board_state *board);
/* What firmware looks up in fw_cfg and CMOS; with all devices in place, at every reset. */
int pc_firmware_describe(struct machine *machine, struct error *err);
int pc_set_boot_order(struct machine *machine, const char *letters, struct error *err);
bool pc_rom_at(struct machine *machine, size_t index, struct rom_info *rom);

#endif
