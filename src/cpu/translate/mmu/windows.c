/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory sites remember where they last found their datum (struct window). The stubs' code fills a window from the TLB and
 * puts it on a list; here windows are emptied when the TLB entries that they are copies of are dropped. Emptying a list
 * costs what filling it has cost. Lists are tables, not chains: what they lead to is seldom in the host's cache, and so it
 * is fetched side by side.
 *
 * Regions filled from entries that are global go on a list of their own, which a CR3 write leaves alone; one that was
 * filled from both kinds is on both. Those of sites that write have lists of their own, for x86_tlb_protect.
 */
#include "cpu/translate/mmu/mmu.h"

static void window_empty(struct window *window)
{
	window->host = window->limit = 0;
}

static uint32_t *list_start(const struct translator *t, bool write, bool global)
{
	return t->window_lists + global * t->window_max + (write ? t->window_max - 1 : 0);
}

void windows_init(struct translator *t)
{
	for (unsigned i = 0; i < 4; i++)
		t->window_end[i & 1][i >> 1] = list_start(t, i & 1, i >> 1);
}

static void list_empty(struct translator *t, bool write, bool global)
{
	const uint32_t *end = t->window_end[write][global];

	t->window_end[write][global] = list_start(t, write, global);
	for (const uint32_t *number = t->window_end[write][global]; number != end; number += windows_list_step(write)) {
		window_empty(&t->windows[*number]);
		t->windows[*number].lists &= (uint8_t)~(1u << global);
	}
}

void windows_empty(struct translator *t, bool globals)
{
	list_empty(t, false, false);
	list_empty(t, true, false);
	if (!globals)
		return;
	list_empty(t, false, true);
	list_empty(t, true, true);
	memset(t->written_pages, 0, sizeof(t->written_pages));
	memset(t->written_runs, 0, sizeof(t->written_runs));
}

void windows_forget_writes(struct translator *t)
{
	list_empty(t, true, false);
	list_empty(t, true, true);
}

static void windows_dropped(struct x86_cpu *cpu, bool globals)
{
	windows_empty(translator_of(cpu), globals);
	splice_renew(translator_of(cpu));
}

static uint64_t window_bytes(const struct window *window)
{
	return window->limit + window->size - 1;
}

static void list_add(struct translator *t, uint32_t number, bool global)
{
	struct window *window = &t->windows[number];
	const bool write = t->sites[t->window_sites[number]].write;

	if (window->lists >> global & 1)
		return;
	window->lists |= (uint8_t)(1u << global);
	*t->window_end[write][global] = number;
	t->window_end[write][global] += windows_list_step(write);
}

static uint8_t *written_page(struct translator *t, uint64_t hva)
{
	return &t->written_pages[hva >> PAGE_SHIFT & (WRITTEN_PAGES - 1)];
}

static void note_written(struct translator *t, uint64_t hva, uint64_t bytes)
{
	if (bytes > PAGE_SIZE)
		t->written_runs[hva >> 21 & (WRITTEN_RUNS - 1)] = 1;
	else
		*written_page(t, hva) = 1;
}

/* written_pages or written_runs take note of a write window. */
static void written_note(struct translator *t, const struct window *window)
{
	const struct splice *splice = splice_at(t, window->host);

	if (splice)
		*written_page(t, splice->hva[0]) = *written_page(t, splice->hva[1]) = 1;
	else
		note_written(t, window->host, window_bytes(window));
}

static bool covers_page(const struct translator *t, const struct window *window, uint64_t hva)
{
	const struct splice *splice = splice_at(t, window->host);

	if (splice)
		return splice->hva[0] == hva || splice->hva[1] == hva;
	return window->host < hva + PAGE_SIZE && window->host + window_bytes(window) > hva;
}

/* Takes write windows that cover the page away and notes the others. */
static bool list_protect(struct translator *t, bool global, uint64_t hva)
{
	bool had = false;

	for (const uint32_t *number = list_start(t, true, global); number != t->window_end[true][global];
	     number += windows_list_step(true)) {
		struct window *window = &t->windows[*number];

		if (!window->limit)
			continue;
		if (covers_page(t, window, hva)) {
			window_empty(window);
			had = true;
		} else {
			written_note(t, window);
		}
	}
	return had;
}

enum splice_state window_span(struct translator *t, uint32_t number, uint64_t gva)
{
	const struct x86_tlb_entry *table = t->cpu->tlb_active;
	const struct x86_tlb_entry *first = &table[(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];
	const struct x86_tlb_entry *second = &table[((gva >> PAGE_SHIFT) + 1) & (X86_TLB_ENTRIES - 1)];
	uint64_t page = gva & ~(PAGE_SIZE - 1), host = page + first->addend;
	struct window *window = &t->windows[number];
	bool write = t->sites[t->window_sites[number]].write;
	enum splice_state state;

	if ((write ? first->tag_write : first->tag_read) != page || (write ? second->tag_write : second->tag_read) != page + PAGE_SIZE)
		return SPLICE_REFUSED;
	if (first->addend != second->addend) {
		state = splice_find(t, first, second, page, &host);
		if (state != SPLICE_MAPPED)
			return state;
	}
	window->start = page;
	window->host = host;
	window->limit = 2 * PAGE_SIZE - window->size + 1;
	if (write)
		written_note(t, window);
	list_add(t, number, first->global && second->global);
	return SPLICE_MAPPED;
}

/* A run begins at most 2 MiB before the page: in the 2 MiB of the page or in those before. */
static bool windows_protect(struct x86_cpu *cpu, uint64_t gpa)
{
	struct translator *t = translator_of(cpu);
	uint64_t hva = (uint64_t)(uintptr_t)ram_hva(cpu->vcpu.engine->env.ram, gpa, PAGE_SIZE);
	uint8_t *page = &t->written_pages[hva >> PAGE_SHIFT & (WRITTEN_PAGES - 1)];
	uint8_t *run = &t->written_runs[hva >> 21 & (WRITTEN_RUNS - 1)];
	uint8_t *before = &t->written_runs[((hva >> 21) - 1) & (WRITTEN_RUNS - 1)];
	bool had = mirror_protect(t, gpa);

	if (!hva || !(*page || *run || *before))
		return had;
	*page = *run = *before = 0;
	had |= list_protect(t, false, hva);
	return list_protect(t, true, hva) || had;
}

static void window_tell_written(struct ram *ram, uint64_t hva, uint64_t bytes)
{
	for (size_t i = 0, count = ram_slot_count(ram); i < count; i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);

		if (slot && hva - (uint64_t)(uintptr_t)slot->hva < slot->size)
			ram_written(ram, slot->gpa + (hva - (uint64_t)(uintptr_t)slot->hva), bytes);
	}
}

static void tell_window(struct translator *t, const struct window *window)
{
	const struct splice *splice = splice_at(t, window->host);
	struct ram *ram = t->cpu->vcpu.engine->env.ram;

	if (!splice)
		window_tell_written(ram, window->host, window_bytes(window));
	for (unsigned i = 0; splice && i < 2; i++)
		window_tell_written(ram, splice->hva[i], PAGE_SIZE);
}

static void windows_tell_written(struct x86_cpu *cpu)
{
	struct translator *t = translator_of(cpu);

	for (unsigned global = 0; global < 2; global++)
		for (const uint32_t *number = list_start(t, true, global); number != t->window_end[true][global];
		     number += windows_list_step(true)) {
			struct window *window = &t->windows[*number];

			if (!window->limit)
				continue;
			tell_window(t, window);
			window_empty(window);
		}
	mirror_tell_written(t);
}

const struct x86_tlb_copies window_copies = {
	.dropped = windows_dropped,
	.protect = windows_protect,
	.tell_written = windows_tell_written,
	.page_dropped = mirror_page_dropped,
	.space_dropped = mirror_space_dropped,
	.space_entered = mirror_space_entered,
};
