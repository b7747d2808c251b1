/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the board devices of this folder share. Devices that a board makes itself have a constructor `NAME_new(env,
 * wires and parameters, err)`: it returns the device realized, or NULL and *err. Every structure begins with struct
 * device, so the result may be cast to it for device_reset, device_destroy and the machine's list. Wires that are not
 * parameters are the lines of env->isa_irq that the PC assigns for good (keyboard 1, mouse 12, serial 4 and 3, SCI 9).
 */
#ifndef XUNI_DEVICE_PC_ISA_H
#define XUNI_DEVICE_PC_ISA_H

#include "core/bus.h"
#include "core/device.h"
#include "core/state.h"

/* Adds all of the regions to the bus or none; -EBUSY with the present owner's name when an address is taken already. */
int isa_regions_add(struct bus *bus, struct region *regions, unsigned count, struct error *err);
void isa_regions_remove(struct bus *bus, struct region *regions, unsigned count);

/* What -device can name of this folder; NULL-ended. */
extern const struct device_class *const device_classes_pc[];

#endif
