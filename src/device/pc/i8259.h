/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_I8259_H
#define XUNI_DEVICE_PC_I8259_H

#include "core/device.h"

#include <stdio.h>

struct i8259;

extern const struct device_class i8259_class;

/* The pair at 0x20 and 0xa0 with the edge/level registers at 0x4d0. output is the master's INT pin: a level, driven
 * with the pair's lock held (wire it to lapic_set_extint). */
struct i8259 *i8259_new(const struct device_env *env, struct irq output, struct error *err);

/* Input 0..15 (2 is the cascade and not to be driven). Any thread. */
struct irq i8259_input(struct i8259 *pic, unsigned line);

/* The CPU's two INTA cycles: a vector always comes back, that of a spurious interrupt when nothing is requested.
 * Any thread; no lock of a local APIC held. */
int i8259_ack(void *i8259);

/* How often each input went up since the machine was made. Any thread. */
void i8259_count(struct i8259 *pic, uint64_t counts[16]);

/* What info pic shows. Any thread. */
void i8259_describe(struct i8259 *pic, FILE *to);

#endif
