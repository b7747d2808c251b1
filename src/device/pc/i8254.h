/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_I8254_H
#define XUNI_DEVICE_PC_I8254_H

#include "core/device.h"

struct i8254;

extern const struct device_class i8254_class;

enum { I8254_HZ = 1193182 };

/* Ports 0x40-0x43 and 0x61. output is channel 0's OUT: env->isa_irq[0], or hpet_legacy_input(hpet, 0). */
struct i8254 *i8254_new(const struct device_env *env, struct irq output, struct error *err);

#endif
