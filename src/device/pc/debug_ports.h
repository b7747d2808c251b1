/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_DEBUG_PORTS_H
#define XUNI_DEVICE_PC_DEBUG_PORTS_H

#include "core/device.h"

extern const struct device_class debug_exit_class; /* isa-debug-exit */
extern const struct device_class debugcon_class;   /* isa-debugcon */
extern const struct device_class pvpanic_class;    /* pvpanic */

/* The port of a pvpanic; 0 for every other device. */
uint16_t pvpanic_port(const struct device *device);

#endif
