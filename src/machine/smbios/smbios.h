/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SMBIOS tables (DMTF DSP0134 2.8): what dmidecode shows in the guest, with -smbios type=N,... filled in. */
#ifndef XUNI_MACHINE_SMBIOS_SMBIOS_H
#define XUNI_MACHINE_SMBIOS_SMBIOS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct domain_config;

/* One block for guest-physical `base` (a multiple of 16; 0: firmware will place it, and describes itself): the entry point, then the structures. Heap. NULL and *err when
 * a -smbios option names an unknown type or field, or a value does not parse. */
uint8_t *smbios_build(const struct domain_config *config, uint64_t base, size_t *length, struct error *err);

#endif
