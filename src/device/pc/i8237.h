/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_I8237_H
#define XUNI_DEVICE_PC_I8237_H

#include "core/device.h"
#include "core/isa_dma.h"

struct i8237;

extern const struct device_class i8237_class;

/* Ports 0x00-0x0f, 0xc0-0xdf and the page registers 0x81-0x83, 0x87, 0x89-0x8b, 0x8f. */
struct i8237 *i8237_new(const struct device_env *env, struct error *err);
/* What devices get as device_env.isa_dma; as long-lived as the controller. */
const struct isa_dma *i8237_channels(struct i8237 *dma);

#endif
