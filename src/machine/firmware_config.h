/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What firmware is told by fw_cfg: tables, RAM, boot order. Called with the vCPUs stopped, again at every reset. */
#ifndef XUNI_MACHINE_FIRMWARE_CONFIG_H
#define XUNI_MACHINE_FIRMWARE_CONFIG_H

#include "base/error.h"

#include <stdint.h>

struct acpi_tables;
struct domain_config;
struct fw_cfg;
struct fw_cfg_callback;
struct machine;

/* qemu's option ROM that starts the kernel of the fw_cfg items. */
#define FIRMWARE_KERNEL_ROM "linuxboot_dma.bin"

struct firmware_memory {
	uint64_t below_4g, above_4g; /* bytes */
};

/* ACPI tables, built for base 0; selected: called before a guest reads them, and may update them. */
int firmware_config_add_acpi(struct fw_cfg *fw_cfg, const struct acpi_tables *acpi,
			     const struct fw_cfg_callback *selected, struct error *err);
void firmware_config_update_acpi(struct fw_cfg *fw_cfg, const struct acpi_tables *acpi);
/* SMBIOS, e820, sleep states. */
int firmware_config_add(struct fw_cfg *fw_cfg, const struct domain_config *config, const struct firmware_memory *memory,
			struct error *err);
/* bootorder, from the devices' bootindex; what -boot says. */
int firmware_config_boot(struct machine *machine, struct fw_cfg *fw_cfg, struct error *err);

#endif
