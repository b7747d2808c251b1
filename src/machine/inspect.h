/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What monitors ask of devices, which they do not see themselves: the PCI bus, the balloon. Main loop thread. */
#ifndef XUNI_MACHINE_INSPECT_H
#define XUNI_MACHINE_INSPECT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device;
struct machine;
struct vcpu;

struct inspect_bar {
	bool present, io, wide, prefetch;
	uint64_t base; /* UINT64_MAX: not mapped */
	uint64_t size;
};

struct inspect_pci {
	unsigned slot, function;
	const char *id; /* or NULL */
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint16_t class_code; /* class and subclass */
	uint8_t interrupt_pin, interrupt_line;
	struct inspect_bar bars[7]; /* the last is the option ROM */
};

/* False when there is no function at slot * 8 + function. */
bool inspect_pci(struct machine *machine, uint8_t devfn, struct inspect_pci *out);

/* "VGA controller" and so on, or NULL for a class (with subclass) that is not in the table. */
const char *inspect_pci_class(uint16_t class_code);

/* The devices by the buses they are on, with their properties, as info qtree shows them; heap. NULL: no memory. */
char *inspect_tree(struct machine *machine);

/* What a network card's driver wants to receive. */
struct inspect_rx_filter {
	bool promiscuous, broadcast;
	const char *unicast, *multicast, *vlan; /* "normal", "none", "all" */
	bool unicast_overflow, multicast_overflow;
	uint8_t mac[6];
	unsigned unicast_count, multicast_count;
	uint8_t unicast_table[64][6], multicast_table[64][6];
	uint8_t vlans[4096 / 8];
};

/* False: a device of which that is not known. */
bool inspect_rx_filter(struct device *device, struct inspect_rx_filter *out);

/* -ENXIO when the machine has no balloon. */
int inspect_balloon(struct machine *machine, uint64_t *actual_bytes, struct error *err);
int inspect_balloon_set(struct machine *machine, uint64_t bytes, struct error *err);

/* Guest-physical memory for a debugger: RAM, and devices that a look does not change; -EFAULT, with some of it read,
 * where anything else is in the way. Any thread. */
int inspect_memory(struct machine *machine, uint64_t gpa, void *to, size_t length);

/* "id=NAME", or "type=CLASS" for a device without an id; false: the region is the board's own. */
struct region;
bool inspect_region_owner(struct machine *machine, const struct region *region, char *text, size_t bytes);

/* Text of the interrupt controllers (vcpu NULL) or of a vCPU's local APIC; heap. NULL: they are the engine's own. */
char *inspect_interrupts(struct machine *machine, const struct vcpu *vcpu);

/* How many interrupts came at each input of the controllers, in info irq's form; heap. NULL: as above. */
char *inspect_interrupt_counts(struct machine *machine);

/* False when the machine has no vmgenid. */
bool inspect_generation_id(struct machine *machine, char text[37]);

#endif
