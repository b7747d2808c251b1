/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_MACHINE_ACPI_DSDT_H
#define XUNI_MACHINE_ACPI_DSDT_H

#include "machine/acpi/acpi.h"
#include "machine/acpi/aml.h"

/* The definition block of the DSDT, without its table header. aml->mark is where the address of the generation ID stands, if
 * there is one. */
void dsdt_write(const struct acpi_config *config, struct aml *aml);

#endif
