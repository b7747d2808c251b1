/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of guest memory's layout that changes while vCPUs run: blocks beside main RAM and the windows that show
 * them.
 *
 * Readers take no lock and may hold a slot for any time, so a slot that is taken away is kept, unchanged, until the
 * next reset; the same one is used again when the same place is shown again, as PAM registers and flash chips do all
 * the time.
 */
#include "core/ram_internal.h"

#include "base/util.h"

#include <stdlib.h>
#include <sys/mman.h>

/* --- blocks --- */

const struct ram_block *ram_block_next(const struct ram *ram, const struct ram_block *block)
{
	return block ? block->next : &ram->main;
}

struct ram_block *ram_block_new(struct ram *ram, const char *name, uint64_t bytes, struct error *err)
{
	struct ram_block *block = xcalloc(1, sizeof(*block));

	block->size = align_up(bytes, PAGE_SIZE);
	block->hva = mmap(NULL, block->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	block->page_flags = malloc(block->size / PAGE_SIZE);
	if (!bytes || block->hva == MAP_FAILED || !block->page_flags) {
		error_set(err, ENOMEM, "%s: no memory for %llu KiB", name, (unsigned long long)(block->size / KIB));
		if (block->hva != MAP_FAILED)
			munmap(block->hva, block->size);
		free((void *)block->page_flags);
		free(block);
		return NULL;
	}
	memset((void *)block->page_flags, RAM_ALL, block->size / PAGE_SIZE);
	block->name = xstrdup(name);
	block->ram = ram;
	pthread_mutex_lock(&ram->layout_lock);
	block->next = ram->main.next;
	ram->main.next = block;
	pthread_mutex_unlock(&ram->layout_lock);
	return block;
}

static void forget_slots_of(struct ram *ram, const struct ram_block *block)
{
	for (struct ram_slot **at = &ram->gone; *at;) {
		struct ram_slot *slot = *at;

		if (block && slot->block != block) {
			at = &slot->next;
			continue;
		}
		*at = slot->next;
		ram->gone_count--;
		ram_slot_free(slot);
	}
}

void ram_block_free(struct ram_block *block)
{
	struct ram *ram;

	if (!block)
		return;
	ram = block->ram;
	pthread_mutex_lock(&ram->layout_lock);
	forget_slots_of(ram, block);
	for (struct ram_block *before = &ram->main; before; before = before->next)
		if (before->next == block)
			before->next = block->next;
	pthread_mutex_unlock(&ram->layout_lock);
	munmap(block->hva, block->size);
	free((void *)block->page_flags);
	free(block->name);
	free(block);
}

/* --- slots --- */

size_t ram_slot_runs(const struct ram_slot *slot)
{
	return (slot->gpa + slot->size - 1) / (2 * MIB) - slot->gpa / (2 * MIB) + 1;
}

/* Of code in what a window shows no account is kept: there may always be some. */
struct ram_slot *ram_slot_new(struct ram_block *block, uint64_t offset, uint64_t size, uint64_t gpa, bool read_only)
{
	struct ram_slot *slot = xcalloc(1, sizeof(*slot));

	*slot = (struct ram_slot){.gpa = gpa,
				  .size = size,
				  .hva = block->hva + offset,
				  .block = block,
				  .offset = offset,
				  .read_only = read_only,
				  .page_flags = block->page_flags + (offset >> PAGE_SHIFT)};
	slot->code_pages = xcalloc(ram_slot_runs(slot), sizeof(*slot->code_pages));
	memset((void *)slot->code_pages, 1, ram_slot_runs(slot) * sizeof(*slot->code_pages));
	return slot;
}

void ram_slot_free(struct ram_slot *slot)
{
	if (slot)
		free((void *)slot->code_pages);
	free(slot);
}

bool ram_slot_taken(const struct ram *ram, uint64_t gpa, uint64_t size, size_t but)
{
	for (size_t i = 0; i < ram_slot_count(ram); i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);

		if (slot && i != but && gpa < slot->gpa + slot->size && slot->gpa < gpa + size)
			return true;
	}
	return false;
}

size_t ram_slot_number(struct ram *ram)
{
	size_t count = ram_slot_count(ram);

	for (size_t i = 0; i < count; i++)
		if (!ram_slot_at(ram, i))
			return i;
	if (count == RAM_MAX_SLOTS)
		return SIZE_MAX;
	atomic_store_explicit(&ram->slot_count, count + 1, memory_order_release);
	return count;
}

/* --- windows --- */

/* The engines hold code of what is not seen there any more. */
static void forget_code(struct ram *ram, const struct ram_slot *slot)
{
	uint64_t gpn = slot->gpa >> PAGE_SHIFT;

	for (uint64_t page = 0; ram->code_client.written && page < slot->size >> PAGE_SHIFT; page++)
		if (!(atomic_load_explicit(&slot->page_flags[page], memory_order_acquire) & RAM_CODE))
			ram->code_client.written(ram->code_client.opaque, gpn + page, gpn + page);
}

static void replace(struct ram *ram, size_t number, struct ram_slot *now)
{
	struct ram_slot *before = atomic_exchange_explicit(&ram->slots[number], now, memory_order_acq_rel);

	if (before) {
		before->next = ram->gone;
		ram->gone = before;
		ram->gone_count++;
		forget_code(ram, before);
	}
	for (struct ram_listener *listener = ram->listeners; listener; listener = listener->next)
		if (listener->changed)
			listener->changed(listener->opaque, number, before, now);
}

/* One that was there before, or a new one; NULL: there were too many. */
static struct ram_slot *slot_for(struct ram *ram, const struct ram_window *window, uint64_t gpa, bool read_only)
{
	for (struct ram_slot **at = &ram->gone; *at; at = &(*at)->next) {
		struct ram_slot *slot = *at;

		if (slot->gpa != gpa || slot->block != window->block || slot->offset != window->offset ||
		    slot->size != window->size || slot->read_only != read_only)
			continue;
		*at = slot->next;
		slot->next = NULL;
		ram->gone_count--;
		return slot;
	}
	if (ram->gone_count >= RAM_MAX_GONE)
		return NULL;
	return ram_slot_new(window->block, window->offset, window->size, gpa, read_only);
}

static void close_window(struct ram *ram, struct ram_window *window)
{
	if (window->shown)
		replace(ram, window->number, NULL);
	window->shown = NULL;
}

static void wait_for_place(struct ram *ram, struct ram_window *window, uint64_t gpa, bool read_only)
{
	window->wanted_gpa = gpa;
	window->wanted_read_only = read_only;
	window->waits = true;
	window->next = ram->waiting;
	ram->waiting = window;
}

/* Those that yield make room. */
static void clear_place(struct ram *ram, const struct ram_window *window, uint64_t gpa)
{
	for (size_t i = 0; i < ram_slot_count(ram) && !window->yields; i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);
		struct ram_window *other = slot ? slot->window : NULL;

		if (!other || other == window || !other->yields || gpa >= slot->gpa + slot->size ||
		    slot->gpa >= gpa + window->size)
			continue;
		close_window(ram, other);
		wait_for_place(ram, other, slot->gpa, slot->read_only);
	}
}

static bool open_window(struct ram *ram, struct ram_window *window, uint64_t gpa, bool read_only)
{
	struct ram_slot *slot;

	if (window->shown && window->shown->gpa == gpa && window->shown->read_only == read_only)
		return true;
	clear_place(ram, window, gpa);
	if ((gpa | window->size | window->offset) & (PAGE_SIZE - 1) || gpa + window->size < gpa ||
	    ram_slot_taken(ram, gpa, window->size, window->shown ? window->number : SIZE_MAX)) {
		close_window(ram, window);
		return false;
	}
	slot = slot_for(ram, window, gpa, read_only);
	if (slot && !window->shown)
		window->number = ram_slot_number(ram);
	if (!slot || window->number == SIZE_MAX) {
		ram_slot_free(slot);
		close_window(ram, window);
		return false;
	}
	slot->window = window;
	window->shown = slot;
	replace(ram, window->number, slot);
	return true;
}

static void wait_no_more(struct ram *ram, struct ram_window *window)
{
	for (struct ram_window **at = &ram->waiting; window->waits && *at; at = &(*at)->next) {
		if (*at == window) {
			*at = window->next;
			window->waits = false;
			break;
		}
	}
}

/* A place was left. */
static void open_waiting(struct ram *ram)
{
	struct ram_window *window = ram->waiting, *next;

	ram->waiting = NULL;
	for (; window; window = next) {
		next = window->next;
		window->waits = false;
		if (!open_window(ram, window, window->wanted_gpa, window->wanted_read_only))
			wait_for_place(ram, window, window->wanted_gpa, window->wanted_read_only);
	}
}

bool ram_window_show(struct ram_window *window, uint64_t gpa, bool read_only)
{
	struct ram *ram = window->block->ram;
	uint64_t left;
	bool was_shown, shown;

	pthread_mutex_lock(&ram->layout_lock);
	wait_no_more(ram, window);
	was_shown = window->shown;
	left = was_shown ? window->shown->gpa : 0;
	shown = open_window(ram, window, gpa, read_only);
	if (!shown)
		wait_for_place(ram, window, gpa, read_only);
	if (was_shown && (!shown || left != gpa))
		open_waiting(ram);
	shown = window->shown;
	pthread_mutex_unlock(&ram->layout_lock);
	return shown;
}

void ram_window_hide(struct ram_window *window)
{
	struct ram *ram;

	if (!window->block)
		return;
	ram = window->block->ram;
	pthread_mutex_lock(&ram->layout_lock);
	wait_no_more(ram, window);
	if (window->shown) {
		close_window(ram, window);
		open_waiting(ram);
	}
	pthread_mutex_unlock(&ram->layout_lock);
}

void ram_forget_slots(struct ram *ram)
{
	pthread_mutex_lock(&ram->layout_lock);
	for (struct ram_listener *listener = ram->listeners; listener; listener = listener->next)
		if (listener->sync)
			listener->sync(listener->opaque, &ram->main);
	forget_slots_of(ram, NULL);
	pthread_mutex_unlock(&ram->layout_lock);
}

/* --- listeners --- */

void ram_listen(struct ram *ram, struct ram_listener *listener)
{
	pthread_mutex_lock(&ram->layout_lock);
	listener->next = ram->listeners;
	ram->listeners = listener;
	pthread_mutex_unlock(&ram->layout_lock);
}

void ram_unlisten(struct ram *ram, struct ram_listener *listener)
{
	pthread_mutex_lock(&ram->layout_lock);
	for (struct ram_listener **at = &ram->listeners; *at; at = &(*at)->next) {
		if (*at == listener) {
			*at = listener->next;
			break;
		}
	}
	pthread_mutex_unlock(&ram->layout_lock);
}
