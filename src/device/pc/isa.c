/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ISA side of the board: claiming ports, and the list of what users may add. */
#include "device/pc/isa.h"

#include "device/pc/debug_ports.h"
#include "device/pc/serial.h"
#include "device/pc/vmgenid.h"

static int region_add(struct bus *bus, struct region *region, struct error *err)
{
	for (uint64_t at = region->base; at < region->base + region->size; at++) {
		const struct region *owner = bus_find(bus, at);

		if (owner && owner->priority >= region->priority)
			return error_set(err, EBUSY, "0x%llx belongs to %s already: choose another address", (unsigned long long)at,
					 owner->name);
	}
	return bus_add(bus, region, err);
}

int isa_regions_add(struct bus *bus, struct region *regions, unsigned count, struct error *err)
{
	for (unsigned i = 0; i < count; i++) {
		int rc = region_add(bus, &regions[i], err);

		if (rc < 0) {
			isa_regions_remove(bus, regions, i);
			return rc;
		}
	}
	return 0;
}

void isa_regions_remove(struct bus *bus, struct region *regions, unsigned count)
{
	while (count-- > 0)
		bus_remove(bus, &regions[count]);
}

const struct device_class *const device_classes_pc[] = {
	&serial_class, &debug_exit_class, &debugcon_class, &pvpanic_class, &vmgenid_class, NULL,
};
