/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The regions of a bus are flattened into a sorted table of disjoint intervals; readers find the interval by binary
 * search under RCU and drop the read lock before they call the region, so that a callback may itself change the bus.
 */
/* A reader is a few instructions, which cost more than the look-up when they are called in the library. Its structures are
 * not as aligned as it says, which sanitizers mind. */
#if defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer))
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
#if !SANITIZED
#define _LGPL_SOURCE
#endif
#include "core/bus.h"

#include "base/util.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <urcu/urcu-bp.h>

struct bus_interval {
	uint64_t first, last;
	uint64_t base; /* the region's when the view was made: a move must not shift accesses that are under way */
	struct region *region;
};

/* An immutable snapshot, replaced as a whole. */
struct bus_view {
	size_t interval_count, doorbell_count;
	struct bus_interval *intervals;
	struct doorbell *doorbells; /* sorted by offset */
};

struct bus {
	const char *name;
	uint64_t size; /* 0: 2^64 */
	struct bus_view *view; /* RCU */
	pthread_mutex_t lock; /* everything below */
	struct region **regions;
	size_t region_count;
	struct doorbell *doorbells;
	size_t doorbell_count;
	struct doorbell_listener listener;
};

struct bus *bus_new(const char *name, uint64_t size)
{
	struct bus *bus = xcalloc(1, sizeof(*bus));

	bus->name = name;
	bus->size = size;
	bus->view = xcalloc(1, sizeof(*bus->view));
	pthread_mutex_init(&bus->lock, NULL);
	return bus;
}

static void bus_view_free(struct bus_view *view)
{
	free(view->intervals);
	free(view->doorbells);
	free(view);
}

void bus_free(struct bus *bus)
{
	if (!bus)
		return;
	bus_view_free(bus->view);
	pthread_mutex_destroy(&bus->lock);
	free(bus->regions);
	free(bus->doorbells);
	free(bus);
}

/* --- building a view --- */

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int compare_doorbells(const void *a, const void *b)
{
	return compare_u64(&((const struct doorbell *)a)->offset, &((const struct doorbell *)b)->offset);
}

static uint64_t region_last(const struct region *region)
{
	uint64_t last = region->base + region->size - 1;

	return last < region->base ? UINT64_MAX : last;
}

/* The region that wins at offset; regions are kept in the order of adding, so >= gives the newest among equals. */
static struct region *bus_winner(const struct bus *bus, uint64_t offset)
{
	struct region *winner = NULL;

	for (size_t i = 0; i < bus->region_count; i++) {
		struct region *region = bus->regions[i];

		if (offset >= region->base && offset <= region_last(region) &&
		    (!winner || region->priority >= winner->priority))
			winner = region;
	}
	return winner;
}

/* Cuts the address space at every region's edges; each piece between two cuts has one winner. */
static struct bus_view *bus_view_build(const struct bus *bus)
{
	struct bus_view *view = xcalloc(1, sizeof(*view));
	uint64_t *cuts = xcalloc(2 * bus->region_count + 1, sizeof(*cuts));
	size_t count = 0;

	for (size_t i = 0; i < bus->region_count; i++) {
		uint64_t last = region_last(bus->regions[i]);

		cuts[count++] = bus->regions[i]->base;
		if (last != UINT64_MAX)
			cuts[count++] = last + 1;
	}
	qsort(cuts, count, sizeof(*cuts), compare_u64);
	view->intervals = xcalloc(count, sizeof(*view->intervals));
	for (size_t i = 0; i < count; i++) {
		uint64_t last = i + 1 < count ? cuts[i + 1] - 1 : UINT64_MAX;
		struct region *winner;
		struct bus_interval *previous =
			view->interval_count ? &view->intervals[view->interval_count - 1] : NULL;

		if (i + 1 < count && cuts[i + 1] == cuts[i])
			continue;
		winner = bus_winner(bus, cuts[i]);
		if (!winner)
			continue;
		if (previous && previous->region == winner && previous->last + 1 == cuts[i])
			previous->last = last;
		else
			view->intervals[view->interval_count++] = (struct bus_interval){cuts[i], last, winner->base, winner};
	}
	free(cuts);
	view->doorbell_count = bus->doorbell_count;
	view->doorbells = xcalloc(bus->doorbell_count, sizeof(*view->doorbells));
	if (bus->doorbell_count)
		memcpy(view->doorbells, bus->doorbells, bus->doorbell_count * sizeof(*view->doorbells));
	qsort(view->doorbells, view->doorbell_count, sizeof(*view->doorbells), compare_doorbells);
	return view;
}

/* Publishes a view of the present regions and waits until nobody reads the old one. Lock held. */
static void bus_publish(struct bus *bus)
{
	struct bus_view *old = bus->view;

	rcu_assign_pointer(bus->view, bus_view_build(bus));
	urcu_bp_synchronize_rcu();
	bus_view_free(old);
}

int bus_add(struct bus *bus, struct region *region, struct error *err)
{
	if (!region->size || (bus->size && !range_inside(region->base, region->size, bus->size)))
		return error_set(err, ERANGE, "%s at 0x%llx+0x%llx does not fit the %s bus", region->name,
		                 (unsigned long long)region->base, (unsigned long long)region->size, bus->name);
	pthread_mutex_lock(&bus->lock);
	bus->regions = xrealloc(bus->regions, (bus->region_count + 1) * sizeof(struct region *));
	bus->regions[bus->region_count++] = region;
	bus_publish(bus);
	pthread_mutex_unlock(&bus->lock);
	return 0;
}

void bus_remove(struct bus *bus, struct region *region)
{
	pthread_mutex_lock(&bus->lock);
	for (size_t i = 0; i < bus->region_count; i++) {
		if (bus->regions[i] != region)
			continue;
		memmove(&bus->regions[i], &bus->regions[i + 1], (--bus->region_count - i) * sizeof(struct region *));
		bus_publish(bus);
		break;
	}
	pthread_mutex_unlock(&bus->lock);
}

void bus_move(struct bus *bus, struct region *region, uint64_t base)
{
	pthread_mutex_lock(&bus->lock);
	region->base = base;
	bus_publish(bus);
	pthread_mutex_unlock(&bus->lock);
}

/* --- access --- */

static struct bus_interval bus_lookup(const struct bus_view *view, uint64_t offset)
{
	size_t low = 0, high = view->interval_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (offset > view->intervals[middle].last)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < view->interval_count && offset >= view->intervals[low].first)
		return view->intervals[low];
	/* Nothing answers up to the next interval. */
	return (struct bus_interval){offset, low < view->interval_count ? view->intervals[low].first - 1 : UINT64_MAX, 0, NULL};
}

static struct bus_interval bus_at(struct bus *bus, uint64_t offset)
{
	struct bus_interval interval;

	urcu_bp_read_lock();
	interval = bus_lookup(rcu_dereference(bus->view), offset);
	urcu_bp_read_unlock();
	return interval;
}

static unsigned region_max_width(const struct region *region)
{
	return region->ops->max_width ? region->ops->max_width : 8;
}

/* The largest naturally possible piece: a power of two, inside the region's interval and its widest callback. */
static unsigned piece_size(unsigned left, uint64_t room_minus_1, unsigned max_width)
{
	unsigned piece = 1;

	while (2 * piece <= left && 2 * piece <= max_width && 2 * piece - 1 <= room_minus_1)
		piece *= 2;
	return piece;
}

static uint64_t mask_bytes(unsigned size)
{
	return size >= 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
}

/* A read narrower than the device's registers takes its bytes out of the register around it. */
static uint64_t region_read(const struct region *region, uint64_t offset, unsigned size)
{
	unsigned min = region->ops->min_width;

	if (min > size) {
		uint64_t start = align_down(offset, min);

		return region->ops->read(region->opaque, start, min) >> 8 * (offset - start);
	}
	return region->ops->read(region->opaque, offset, size);
}

uint64_t bus_read(struct bus *bus, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned done = 0; done < size;) {
		struct bus_interval interval = bus_at(bus, offset + done);
		unsigned piece = piece_size(size - done, interval.last - (offset + done),
		                            interval.region ? region_max_width(interval.region) : 8);
		uint64_t part = UINT64_MAX;

		if (interval.region)
			part = region_read(interval.region, offset + done - interval.base, piece);
		value |= (part & mask_bytes(piece)) << 8 * done;
		done += piece;
	}
	return value;
}

/* Returns true when the write was a doorbell's. */
static bool bus_ring(const struct bus_view *view, uint64_t offset, unsigned size, uint64_t value)
{
	size_t low = 0, high = view->doorbell_count;
	uint64_t one = 1;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (view->doorbells[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < view->doorbell_count && view->doorbells[low].offset == offset; low++) {
		const struct doorbell *doorbell = &view->doorbells[low];

		if ((doorbell->size && doorbell->size != size) || (doorbell->match && doorbell->value != value))
			continue;
		return write(doorbell->event_fd, &one, sizeof(one)) >= 0 || errno == EAGAIN;
	}
	return false;
}

void bus_write(struct bus *bus, uint64_t offset, uint64_t value, unsigned size)
{
	const struct bus_view *view;
	struct bus_interval interval;
	bool rung;

	urcu_bp_read_lock();
	view = rcu_dereference(bus->view);
	rung = view->doorbell_count && bus_ring(view, offset, size, value & mask_bytes(size));
	interval = bus_lookup(view, offset);
	urcu_bp_read_unlock();
	for (unsigned done = 0; !rung && done < size;) {
		unsigned piece = piece_size(size - done, interval.last - (offset + done),
		                            interval.region ? region_max_width(interval.region) : 8);

		if (interval.region)
			interval.region->ops->write(interval.region->opaque, offset + done - interval.base,
			                            value >> 8 * done & mask_bytes(piece), piece);
		done += piece;
		if (done < size)
			interval = bus_at(bus, offset + done);
	}
}

/* The region, when all `bytes` are its own and `size` is a width that it takes. */
static const struct region *region_for_run(const struct bus_interval *interval, uint64_t offset, unsigned size, uint64_t bytes)
{
	const struct region *region = interval->region;

	if (!region || interval->last - offset < bytes - 1 || size > region_max_width(region) ||
	    size < region->ops->min_width)
		return NULL;
	return region;
}

size_t bus_read_run(struct bus *bus, uint64_t offset, void *to, unsigned size, size_t count)
{
	struct bus_interval interval = bus_at(bus, offset);
	const struct region *region = region_for_run(&interval, offset, size, size);

	if (!region || !region->ops->read_run)
		return 0;
	return region->ops->read_run(region->opaque, offset - interval.base, to, size, count);
}

size_t bus_write_run(struct bus *bus, uint64_t offset, const void *from, unsigned size, size_t count)
{
	struct bus_interval interval = bus_at(bus, offset);
	const struct region *region = region_for_run(&interval, offset, size, size);

	if (!region || !region->ops->write_run)
		return 0;
	return region->ops->write_run(region->opaque, offset - interval.base, from, size, count);
}

size_t bus_write_block(struct bus *bus, uint64_t offset, const void *from, unsigned size, size_t count)
{
	struct bus_interval interval = bus_at(bus, offset);
	const struct region *region = region_for_run(&interval, offset, size, (uint64_t)size * count);

	if (!region || !region->ops->write_block)
		return 0;
	return region->ops->write_block(region->opaque, offset - interval.base, from, size, count);
}

size_t bus_move_block(struct bus *bus, uint64_t to, uint64_t from, unsigned size, size_t count)
{
	struct bus_interval there = bus_at(bus, to), here = bus_at(bus, from);
	const struct region *region = region_for_run(&there, to, size, (uint64_t)size * count);

	if (!region || region_for_run(&here, from, size, (uint64_t)size * count) != region || !region->ops->move_block)
		return 0;
	return region->ops->move_block(region->opaque, to - there.base, from - here.base, size, count);
}

int bus_peek(struct bus *bus, uint64_t offset, uint8_t *to)
{
	struct bus_interval interval = bus_at(bus, offset);

	if (!interval.region || !interval.region->ops->peek)
		return -EFAULT;
	*to = interval.region->ops->peek(interval.region->opaque, offset - interval.base);
	return 0;
}

const struct region *bus_find(struct bus *bus, uint64_t offset)
{
	return bus_at(bus, offset).region;
}

void bus_walk(struct bus *bus, void (*fn)(void *opaque, uint64_t first, uint64_t last, const struct region *region),
              void *opaque)
{
	pthread_mutex_lock(&bus->lock); /* views change only under it */
	for (size_t i = 0; i < bus->view->interval_count; i++)
		fn(opaque, bus->view->intervals[i].first, bus->view->intervals[i].last, bus->view->intervals[i].region);
	pthread_mutex_unlock(&bus->lock);
}

/* --- doorbells --- */

void bus_doorbell_add(struct bus *bus, const struct doorbell *doorbell)
{
	pthread_mutex_lock(&bus->lock);
	bus->doorbells = xrealloc(bus->doorbells, (bus->doorbell_count + 1) * sizeof(*bus->doorbells));
	bus->doorbells[bus->doorbell_count++] = *doorbell;
	bus_publish(bus);
	if (bus->listener.added)
		bus->listener.added(bus->listener.opaque, doorbell);
	pthread_mutex_unlock(&bus->lock);
}

void bus_doorbell_remove(struct bus *bus, const struct doorbell *doorbell)
{
	pthread_mutex_lock(&bus->lock);
	for (size_t i = 0; i < bus->doorbell_count; i++) {
		struct doorbell *found = &bus->doorbells[i];

		if (found->offset != doorbell->offset || found->event_fd != doorbell->event_fd ||
		    found->value != doorbell->value || found->size != doorbell->size)
			continue;
		memmove(found, found + 1, (--bus->doorbell_count - i) * sizeof(*found));
		bus_publish(bus);
		if (bus->listener.removed)
			bus->listener.removed(bus->listener.opaque, doorbell);
		break;
	}
	pthread_mutex_unlock(&bus->lock);
}

void bus_doorbell_listen(struct bus *bus, const struct doorbell_listener *listener)
{
	pthread_mutex_lock(&bus->lock);
	bus->listener = *listener;
	for (size_t i = 0; i < bus->doorbell_count && listener->added; i++)
		listener->added(listener->opaque, &bus->doorbells[i]);
	pthread_mutex_unlock(&bus->lock);
}
