/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bus is an address space of regions: port I/O or physical memory that is not RAM. It owns width splitting,
 * overlap by priority, unassigned reads (all ones) and moves of a region. Readers take no lock: they search a sorted
 * table that is replaced as a whole (RCU); a region that was removed is not called any more once bus_remove returned,
 * except by a thread that was already inside its callback: remove regions with the vCPUs stopped.
 */
#ifndef XUNI_CORE_BUS_H
#define XUNI_CORE_BUS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct bus;

/* Offsets are relative to the region; size is 1, 2, 4 or 8 bytes, a width between min_width and max_width.
 * Called in any vCPU's thread (and in the monitor's), several at once: the device locks. */
struct region_ops {
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
	void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
	/* Widths the callbacks take; a wider access is split into several, a narrower one is widened for reads (and
	 * read-modify-written never: it reaches the callback as is when min_width is 1). 0 means 1 and 8. */
	uint8_t min_width, max_width;
	/* Optional: `count` accesses of one width (as read and write get it) at one offset, as REP INS and OUTS make
	 * them; returns how many were made. Fewer, none too, is always right: read and write do the rest. */
	size_t (*read_run)(void *opaque, uint64_t offset, void *to, unsigned size, size_t count);
	size_t (*write_run)(void *opaque, uint64_t offset, const void *from, unsigned size, size_t count);
	/* Optional: `count` accesses of one width at offsets that rise by it, all inside the region, as REP STOS and MOVS
	 * make them; move_block reads each at `from` before it writes it at `to`. As many are made as are returned. */
	size_t (*write_block)(void *opaque, uint64_t offset, const void *from, unsigned size, size_t count);
	size_t (*move_block)(void *opaque, uint64_t to, uint64_t from, unsigned size, size_t count);
	/* Optional: the byte that a read would give, with none of what else a read does: for debuggers. Any thread. */
	uint8_t (*peek)(void *opaque, uint64_t offset);
};

struct region {
	const char *name; /* as in `info mtree`; static or owned by the device */
	const struct region_ops *ops;
	void *opaque;
	uint64_t base;
	uint64_t size;
	int priority; /* the higher one wins where regions overlap; equal: the one added last */
};

struct bus *bus_new(const char *name, uint64_t size);
void bus_free(struct bus *bus);

/* Adds, moves and removes a region (owned by the caller, which keeps it until removed). Any thread; they serialise.
 * A region beyond the bus' size is -ERANGE. Must not be called under a lock that a region callback takes and that a
 * concurrent access could wait for: PCI does it after dropping its own. */
int bus_add(struct bus *bus, struct region *region, struct error *err);
void bus_remove(struct bus *bus, struct region *region);
void bus_move(struct bus *bus, struct region *region, uint64_t base);

/* One access of 1, 2, 4 or 8 bytes at any alignment, as a CPU or a bus master makes it. */
uint64_t bus_read(struct bus *bus, uint64_t offset, unsigned size);
void bus_write(struct bus *bus, uint64_t offset, uint64_t value, unsigned size);

/* `count` accesses at one offset in one go, where the region offers that: returns how many were made, perhaps 0. A
 * place with a doorbell is no place for this. */
size_t bus_read_run(struct bus *bus, uint64_t offset, void *to, unsigned size, size_t count);
size_t bus_write_run(struct bus *bus, uint64_t offset, const void *from, unsigned size, size_t count);

/* The same at offsets that rise, where one region offers that for all of them. */
size_t bus_write_block(struct bus *bus, uint64_t offset, const void *from, unsigned size, size_t count);
size_t bus_move_block(struct bus *bus, uint64_t to, uint64_t from, unsigned size, size_t count);

/* One byte for a debugger: -EFAULT where nobody answers, or reading would do more than tell. */
int bus_peek(struct bus *bus, uint64_t offset, uint8_t *to);

/* The region that answers at offset, or NULL; for `info mtree` and tests. */
const struct region *bus_find(struct bus *bus, uint64_t offset);
/* Calls fn for every visible interval, ascending. */
void bus_walk(struct bus *bus, void (*fn)(void *opaque, uint64_t first, uint64_t last, const struct region *region), void *opaque);

/*
 * Doorbells: a write of `size` bytes at `offset` (with `match`, only of `value`) is turned into a count on event_fd
 * and does not reach the region. The bus does it itself for the software engines; an engine that can do it better
 * (KVM's ioeventfd) listens and is told of every doorbell, present and to come.
 */
struct doorbell {
	uint64_t offset;
	unsigned size; /* 0: any width */
	bool match;
	uint64_t value;
	int event_fd;
};

struct doorbell_listener {
	void (*added)(void *opaque, const struct doorbell *doorbell);
	void (*removed)(void *opaque, const struct doorbell *doorbell);
	void *opaque;
};

void bus_doorbell_add(struct bus *bus, const struct doorbell *doorbell);
void bus_doorbell_remove(struct bus *bus, const struct doorbell *doorbell);
void bus_doorbell_listen(struct bus *bus, const struct doorbell_listener *listener);

#endif
