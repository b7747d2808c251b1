/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMware's disk images. */
#ifndef XUNI_BACKEND_BLOCK_VMDK_H
#define XUNI_BACKEND_BLOCK_VMDK_H

#include "backend/block/block.h"

extern const struct block_driver block_vmdk_driver;

#endif
