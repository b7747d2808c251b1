/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_I8042_H
#define XUNI_DEVICE_PC_I8042_H

#include "core/device.h"

struct i8042;

extern const struct device_class i8042_class;

/* Ports 0x60, 0x64 and 0x92 with a keyboard on ISA line 1 and a mouse on line 12. Resets and A20 go to env->request. */
struct i8042 *i8042_new(const struct device_env *env, struct error *err);

/* A key as scan code set 1 (0x01..0x58), extended (0xe0 prefix) or not. Any thread. False: the queue is full. */
bool i8042_key(struct i8042 *kbc, uint8_t scan_code, bool extended, bool down);
/* A relative movement (dy downward), wheel, and buttons: 1 left, 2 right, 4 middle. Any thread. */
void i8042_mouse(struct i8042 *kbc, int dx, int dy, int wheel, unsigned buttons);

#endif
