/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_I8042_H
#define XUNI_DEVICE_PC_I8042_H

#include "core/device.h"

struct i8042;

extern const struct device_class i8042_class;

/* Ports 0x60, 0x64 and 0x92 with a keyboard on ISA line 1 and a mouse on line 12, which are sinks of env->input. Resets
 * and A20 go to env->request. */
struct i8042 *i8042_new(const struct device_env *env, struct error *err);

#endif
