/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which engine runs a machine: -accel's list, tried in order, and what is said about those passed over. */
#ifndef XUNI_MACHINE_ACCEL_H
#define XUNI_MACHINE_ACCEL_H

#include "base/error.h"

#include <stdint.h>

struct engine_ops;
struct options;

/* NULL-ended, in the default order of preference. */
extern const struct engine_ops *const machine_engines[];

/* names: NULL-ended; empty or NULL: the default order, engines that ask to be ranked last coming last. *report is a text
 * of one line an engine (heap, the caller's) also on failure. */
const struct engine_ops *accel_choose(char *const *names, char **report, struct error *err);

/* The value of verify=on|off|COUNT as engine_tuning has it. */
int accel_verify(struct options *options, uint32_t *runs, struct error *err);

#endif
