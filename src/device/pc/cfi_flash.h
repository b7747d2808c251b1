/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_CFI_FLASH_H
#define XUNI_DEVICE_PC_CFI_FLASH_H

#include "core/device.h"

struct ram_block;

/* Firmware's flash: property drive is the image, whose length is the chip's. */
extern const struct device_class cfi_flash_class;

enum { CFI_FLASH_SECTOR_BYTES = 4096 };
#define CFI_FLASH_MAX_BYTES (16ull << 20)

/* The chip ends below this address. Before realize. */
void cfi_flash_set_end(struct device *flash, uint64_t end_gpa);
/* Where it begins; what it holds. */
uint64_t cfi_flash_base(const struct device *flash);
struct ram_block *cfi_flash_block(const struct device *flash);

#endif
