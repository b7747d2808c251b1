/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_ACPI_PM_H
#define XUNI_DEVICE_PC_ACPI_PM_H

#include "core/device.h"

struct acpi_pm;

extern const struct device_class acpi_pm_class;

/* Where the registers are: what the FADT and the sleep packages of the DSDT say. */
struct acpi_pm_info {
	uint16_t base;         /* where they are as long as nobody moves them; the next four are offsets */
	uint16_t pm1a_event;   /* 4 bytes */
	uint16_t pm1a_control; /* 2 bytes */
	uint16_t pm_timer;     /* 4 bytes, 32 bits wide */
	uint16_t gpe0;         /* gpe0_bytes in all: status, then enable */
	uint8_t gpe0_bytes;
	uint16_t smi_command;
	uint8_t acpi_enable, acpi_disable;
	uint8_t sci;              /* ISA line, level triggered, active high */
	uint8_t s3_type, s5_type; /* SLP_TYPa */
	uint16_t reset_port;      /* FADT RESET_REG (the PIIX3's) and RESET_VALUE */
	uint8_t reset_value;
};
extern const struct acpi_pm_info acpi_pm_info;

enum acpi_gpe { ACPI_GPE_PCI_HOTPLUG = 1, ACPI_GPE_CPU_HOTPLUG = 2, ACPI_GPE_MEMORY_HOTPLUG = 3 };

struct acpi_pm *acpi_pm_new(const struct device_env *env, struct error *err);
/* Moves the registers to io_base; 0: they do not decode. No lock of the caller's that a region callback takes. */
void acpi_pm_place(struct acpi_pm *pm, uint16_t io_base);
/* Where they are. Any thread. */
uint16_t acpi_pm_base(const struct acpi_pm *pm);
/* A short press: the guest is asked to power off. Any thread. False when the guest has not enabled the button. */
bool acpi_pm_power_button(struct acpi_pm *pm);
/* Sets a general-purpose event's status bit (0..15). Any thread. */
void acpi_pm_gpe(struct acpi_pm *pm, unsigned gpe);
/* The machine leaves S3: wake status, by the power button or not. */
void acpi_pm_wake(struct acpi_pm *pm, bool by_button);

#endif
