/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_SERIAL_H
#define XUNI_DEVICE_PC_SERIAL_H

#include "core/device.h"

/* isa-serial: properties chardev, index (0-3: COM1..COM4), iobase, irq. Made with device_create. */
extern const struct device_class serial_class;

#endif
