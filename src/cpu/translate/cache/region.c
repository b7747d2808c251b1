/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Room for translated code. The cache is divided into regions of equal size that are filled one after the other, each
 * with its share of the tables; when the last is full the oldest is emptied and used again. So what a full cache costs
 * at once is the blocks of one region, and what is executed often is back in the newest one soon. Translated code is
 * never active here.
 */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/mmu/mmu.h"

/* How many bytes of code need one of them: measured with Debian's kernel (windows) and programs that have mirrors (the others),
 * with some room. */
enum { CODE_PER_SITE = 32, CODE_PER_WINDOW = 128, CODE_PER_BLOCK = 256, CODE_PER_FAULT = 64 };

static void divide(struct translator *t, size_t span_offset, uint32_t first, uint32_t end, uint32_t alignment)
{
	uint32_t share = (end - first) / REGIONS / alignment * alignment;

	for (unsigned i = 0; i < REGIONS; i++)
		*(struct span *)((uint8_t *)&t->regions[i] + span_offset) = (struct span){
			.first = first + i * share, .used = first + i * share, .end = first + (i + 1) * share};
}

size_t region_code_bytes(size_t budget)
{
	size_t per_kib = KIB +
			 KIB / CODE_PER_SITE * sizeof(struct site) +
			 KIB / CODE_PER_WINDOW * (sizeof(struct window) + 3 * sizeof(uint32_t)) + KIB / CODE_PER_BLOCK * (sizeof(struct block) + 2 * sizeof(uint32_t)) +
			 KIB / CODE_PER_FAULT * sizeof(struct fault_entry);

	return budget / per_kib * KIB & ~(PAGE_SIZE - 1);
}

void region_tables(struct translator *t)
{
	t->site_max = (uint32_t)(t->code_bytes / CODE_PER_SITE);
	t->window_max = (uint32_t)(t->code_bytes / CODE_PER_WINDOW);
	t->block_max = (uint32_t)(t->code_bytes / CODE_PER_BLOCK);
	t->fault_max = (uint32_t)(t->code_bytes / CODE_PER_FAULT);
	for (t->hash_bits = 1; t->hash_bits < BLOCK_HASH_MOST && 1u << t->hash_bits < t->block_max;)
		t->hash_bits++;
}

static void enter(struct translator *t, unsigned number)
{
	const struct code_region *region = &t->regions[number];

	t->region = number;
	t->code_used = region->code.first;
	t->site_count = region->sites.first;
	t->window_count = region->windows.first;
	t->block_count = region->blocks.first;
	t->fault_count = region->faults.first;
}

/* Number 0 of blocks and sites has a meaning of its own. */
void region_init(struct translator *t)
{
	divide(t, offsetof(struct code_region, code), t->code_start, (uint32_t)t->code_bytes, 64);
	divide(t, offsetof(struct code_region, sites), 1, t->site_max, 1);
	divide(t, offsetof(struct code_region, windows), 0, t->window_max, 1);
	divide(t, offsetof(struct code_region, blocks), 1, t->block_max, 1);
	divide(t, offsetof(struct code_region, faults), 0, t->fault_max, 1);
	enter(t, 0);
}

void region_note(struct translator *t)
{
	struct code_region *region = &t->regions[t->region];

	region->code.used = t->code_used;
	region->sites.used = t->site_count;
	region->windows.used = t->window_count;
	region->blocks.used = t->block_count;
	region->faults.used = t->fault_count;
}

bool region_full(const struct translator *t)
{
	const struct code_region *region = &t->regions[t->region];

	return t->code_used + BLOCK_ROOM > region->code.end || t->site_count + BLOCK_SITES > region->sites.end ||
	       t->window_count + BLOCK_WINDOWS > region->windows.end ||
	       t->block_count + 2 > region->blocks.end || t->fault_count + BLOCK_FAULTS > region->faults.end;
}

void region_next(struct translator *t)
{
	struct code_region *region;
	int64_t start_ns, took_ns;

	region_note(t);
	region = &t->regions[(t->region + 1) % REGIONS];
	if (region->blocks.used > region->blocks.first) {
		start_ns = host_now_ns();
		windows_empty(t, true); /* those of the region's sites go */
		for (uint32_t i = region->blocks.first; i < region->blocks.used; i++)
			if (!t->blocks[i].dead) {
				code_forget(t, i);
				t->statistics.evicted++;
			}
		took_ns = host_now_ns() - start_ns;
		t->statistics.evictions++;
		t->statistics.evict_ns += (uint64_t)took_ns;
		t->statistics.evict_max_ns = max_u64(t->statistics.evict_max_ns, (uint64_t)took_ns);
	}
	t->generation++;
	enter(t, (t->region + 1) % REGIONS);
	region_note(t);
}

const struct code_region *region_of_code(const struct translator *t, uint32_t host)
{
	for (unsigned i = 0; i < REGIONS; i++)
		if (host >= t->regions[i].code.first && host < t->regions[i].code.end)
			return &t->regions[i];
	return NULL;
}
