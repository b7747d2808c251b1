/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hyper-V's disk images, version 2. */
#ifndef XUNI_BACKEND_BLOCK_VHDX_H
#define XUNI_BACKEND_BLOCK_VHDX_H

#include "backend/block/block.h"

extern const struct block_driver block_vhdx_driver;

#endif
