/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU's translated code: blocks found by physical address, linear address and key, lists per guest page for dropping what was
 * written to, and the links between blocks. Blocks are numbered from 1. Where new code goes is region.c's business, and what memory
 * it lies in tables.c's.
 */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/decode/classify.h"
#include "cpu/translate/lower/lower.h"
#include "cpu/translate/mmu/mmu.h"
#include "cpu/translate/run/run.h"

#include <stdlib.h>

void code_want_jumps(struct translator *t)
{
	struct jump_slot *table;

	if (jump_table(t, t->key) || t->jump_tables == JUMP_TABLES)
		return;
	table = t->jump + ((size_t)t->jump_tables << t->jump_bits);
	table[0] = (struct jump_slot){.rip = jump_empty(0), .host = low_address(t->exec_base) + t->no_jump};
	t->jump_keys[t->jump_tables++] = t->key;
}

int code_init(struct translator *t, uint64_t budget, struct error *err)
{
	int ret = tables_init(t, budget, err);

	if (ret)
		return ret;
	windows_init(t);
	stubs_emit(t);
	t->sites[0] = (struct site){.kind = SITE_INDIRECT};
	region_init(t);
	return 0;
}

void code_flush(struct translator *t)
{
	windows_empty(t, true);
	memset(t->hash, 0, sizeof(*t->hash) << t->hash_bits);
	memset(t->pages, 0, sizeof(t->pages));
	t->page_count = 0;
	tables_forget_jumps(t);
	decode_forget(t);
	region_init(t);
	t->generation++;
	t->statistics.flushes++;
}

const struct fault_entry *code_find_fault(const struct translator *t, uint32_t host)
{
	const struct code_region *region = region_of_code(t, host);
	uint32_t low, high, end;

	if (!region)
		return NULL;
	low = region->faults.first;
	high = end = region == &t->regions[t->region] ? t->fault_count : region->faults.used;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (t->faults[middle].host < host)
			low = middle + 1;
		else
			high = middle;
	}
	return low < end && t->faults[low].host == host ? &t->faults[low] : NULL;
}

/* --- links --- */

static uint32_t entry_for(const struct site *site, const struct block *from, const struct block *to)
{
	if (from->linear >> PAGE_SHIFT != to->linear >> PAGE_SHIFT)
		return to->code + (site->flags_in_memory ? to->indirect : to->cross);
	if (site->flags_in_memory)
		return to->code + (to->flags_live || to->other ? to->indirect : to->poll);
	/* Every loop passes a head that looks at `poll`; a backward jump is where it is. */
	if (to->linear <= from->linear || (to->fpu && !from->fpu) || (to->x87 && !from->x87) ||
	    site->rip <= from->linear)
		return to->code + to->poll;
	return to->code + to->same;
}

void code_link(struct translator *t, uint32_t number, struct block *to)
{
	struct site *site = &t->sites[number];
	struct block *from = &t->blocks[site->block];

	if (from->dead || to->dead || to->interpret || site->linked || (from->key != to->key && !site->changes_key))
		return;
	patch32(t->write_base, site->patch, entry_for(site, from, to));
	site->linked = (uint32_t)(to - t->blocks);
	site->prev_link = 0;
	site->next_link = to->links_in;
	if (to->links_in)
		t->sites[to->links_in].prev_link = number;
	to->links_in = number;
	t->statistics.links++;
}

bool code_expect(struct translator *t, uint32_t link, uint64_t rip)
{
	struct site *site = &t->sites[link];
	struct site *branch = &t->sites[link - 1];

	if (branch->resume) {
		patch32(t->write_base, branch->other, branch->resume);
		branch->resume = 0;
		if (!site->linked) { /* as it is when the branch went to its own block */
			site->rip = rip;
			memcpy(t->write_base + branch->expected, &rip, sizeof(rip));
		}
	}
	return site->rip == rip;
}

static void unlink_site(struct translator *t, struct site *site)
{
	patch32(t->write_base, site->patch, site->stub);
	site->linked = 0;
}

/* The other side of code_link: the link leads nowhere any more, for its block is gone. */
static void link_forget(struct translator *t, struct site *site)
{
	if (site->next_link)
		t->sites[site->next_link].prev_link = site->prev_link;
	if (site->prev_link)
		t->sites[site->prev_link].next_link = site->next_link;
	else
		t->blocks[site->linked].links_in = site->next_link;
	site->linked = 0;
}

/* --- blocks --- */

/* One page may be mapped at many places, and a block is of one of them. Their difference is often a constant: the two
 * are mixed by more than that. */
static uint32_t *hash_slot(struct translator *t, uint64_t gpa, uint64_t linear)
{
	return &t->hash[(gpa * 0x9e3779b97f4a7c15ull + linear * 0xc2b2ae3d27d4eb4full) >> (64 - t->hash_bits)];
}

static struct page_entry *page_entry(struct translator *t, uint64_t page)
{
	unsigned i = (page ^ page >> PAGE_HASH_BITS) & ((1 << PAGE_HASH_BITS) - 1);

	while (t->pages[i].page && t->pages[i].page != page + 1)
		i = (i + 1) & ((1 << PAGE_HASH_BITS) - 1);
	return &t->pages[i];
}

static void page_forget(struct translator *t, struct block *block)
{
	if (block->page_next)
		t->blocks[block->page_next].page_prev = block->page_prev;
	if (block->page_prev)
		t->blocks[block->page_prev].page_next = block->page_next;
	else
		page_entry(t, block->gpa >> PAGE_SHIFT)->blocks = block->page_next;
}

void code_forget(struct translator *t, uint32_t number)
{
	struct block *block = &t->blocks[number];
	uint32_t *slot = hash_slot(t, block->gpa, block->linear);
	struct jump_slot *table = jump_table(t, block->key);
	uint64_t rip = rip_of(t, block->key, block->linear);

	if (block->stand_in) {
		code_forget(t, block->other);
		return;
	}
	if (block->other) {
		page_forget(t, &t->blocks[block->other]);
		t->blocks[block->other].dead = true;
	}
	while (*slot != number)
		slot = &t->blocks[*slot].hash_next;
	*slot = block->hash_next;
	page_forget(t, block);
	block->dead = true;
	for (uint32_t site = block->links_in, next; site; site = next) {
		next = t->sites[site].next_link;
		unlink_site(t, &t->sites[site]);
	}
	block->links_in = 0;
	for (uint32_t i = 0; i < block->site_count; i++) {
		struct site *site = &t->sites[block->first_site + i];

		if (site->kind == SITE_LINK && site->linked)
			link_forget(t, site);
	}
	if (table && table[jump_index(t, rip)].rip == rip)
		table[jump_index(t, rip)] = (struct jump_slot){.rip = jump_empty(jump_index(t, rip)),
							       .host = low_address(t->exec_base) + t->no_jump};
}

/* The entry stays, without blocks: its page is watched again when code is made of it. */
static void page_drop(struct translator *t, struct page_entry *entry)
{
	while (entry->blocks) {
		code_forget(t, entry->blocks);
		t->statistics.dropped++;
	}
}

void code_drop(struct translator *t, uint64_t first, uint64_t last)
{
	if (last - first < 64) {
		for (uint64_t page = first; page <= last; page++) {
			struct page_entry *entry = page_entry(t, page);

			if (entry->page)
				page_drop(t, entry);
		}
		return;
	}
	for (unsigned i = 0; i < 1 << PAGE_HASH_BITS; i++)
		if (t->pages[i].page && t->pages[i].page - 1 >= first && t->pages[i].page - 1 <= last)
			page_drop(t, &t->pages[i]);
}

/* Guest-physical address of the code at linear; raises. False: not RAM that may be fetched through the TLB. */
static bool fetch_address(struct translator *t, uint64_t linear, uint64_t *gpa)
{
	struct x86_cpu *cpu = t->cpu;
	const struct x86_tlb_entry *slot = &cpu->tlb_active[(linear >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];
	uint64_t page = linear & ~(PAGE_SIZE - 1);

	if (slot->tag_fetch != page && !x86_tlb_fill(cpu, linear, X86_FETCH))
		return false; /* the interpreter raises */
	*gpa = x86_tlb_gpa(slot) | (linear & (PAGE_SIZE - 1));
	return true;
}

/* Entries without blocks are of no use but to whoever searches past them. */
static void pages_purge(struct translator *t)
{
	struct page_entry *old = xcalloc(1 << PAGE_HASH_BITS, sizeof(*old));

	memcpy(old, t->pages, sizeof(t->pages));
	memset(t->pages, 0, sizeof(t->pages));
	t->page_count = 0;
	for (unsigned i = 0; i < 1 << PAGE_HASH_BITS; i++)
		if (old[i].blocks) {
			*page_entry(t, old[i].page - 1) = old[i];
			t->page_count++;
		}
	free(old);
}

static void make_room(struct translator *t)
{
	const uint32_t most = (1 << PAGE_HASH_BITS) / 4 * 3;

	if (t->pair_count > UINT32_MAX - 2) {
		code_flush(t);
		x86_tlb_flush(t->cpu);
		memset(t->pairs, 0, sizeof(t->pairs));
		t->pair_count = 0;
	}
	if (region_full(t))
		region_next(t);
	tables_fill(t);
	if (t->page_count > most)
		pages_purge(t);
	while (t->page_count > most) {
		region_next(t);
		pages_purge(t);
	}
}

/* Puts a record on its page's list; the page is watched from now on. Returns its number. */
static uint32_t record_new(struct translator *t, struct block record)
{
	struct page_entry *page = page_entry(t, record.gpa >> PAGE_SHIFT);
	uint32_t number = t->block_count++;

	if (!page->blocks)
		interp_watch_code(t->cpu, record.gpa >> PAGE_SHIFT);
	if (!page->page) {
		page->page = (record.gpa >> PAGE_SHIFT) + 1;
		t->page_count++;
	}
	record.page_next = page->blocks;
	t->blocks[number] = record;
	if (page->blocks)
		t->blocks[page->blocks].page_prev = number;
	page->blocks = number;
	return number;
}

/* The number of a pair of pages: what blocks of it have, or a new one. */
static uint32_t pair_number(struct translator *t, uint64_t linear, uint64_t gpa)
{
	const uint64_t pages[2] = {linear >> PAGE_SHIFT, gpa >> PAGE_SHIFT};
	struct page_pair *pair = &t->pairs[(pages[0] * 31 ^ pages[1]) % PAGE_PAIRS];
	uint32_t i;

	if (pair->number && pair->linear == pages[0] && pair->gpa == pages[1])
		return pair->number;
	i = page_entry(t, pages[1])->blocks;
	while (i && t->blocks[i].linear >> PAGE_SHIFT != pages[0])
		i = t->blocks[i].page_next;
	*pair = (struct page_pair){.linear = pages[0], .gpa = pages[1], .number = i ? t->blocks[i].page : ++t->pair_count};
	return pair->number;
}

static void pair_show(struct translator *t, const struct block *block)
{
	struct x86_tlb_entry *entry = &t->cpu->tlb_active[(block->linear >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];

	if (entry->tag_fetch >> PAGE_SHIFT == block->linear >> PAGE_SHIFT && entry->frame == block->gpa >> PAGE_SHIFT)
		entry->code = block->page;
}

static const uint8_t *page_bytes(struct translator *t, uint64_t gpa)
{
	return ram_hva(t->cpu->vcpu.engine->env.ram, gpa & ~(PAGE_SIZE - 1), PAGE_SIZE);
}

static uint64_t next_page(const struct translator *t, uint64_t linear)
{
	uint64_t next = (linear & ~(PAGE_SIZE - 1)) + PAGE_SIZE;

	return t->key & KEY_CODE32 ? (uint32_t)next : next;
}

/* The first instruction reaches behind the bytes. */
static bool crosses(const struct translator *t, const uint8_t *bytes, unsigned length)
{
	ZydisDecodedInstruction insn;

	return length < ZYDIS_MAX_INSTRUCTION_LENGTH &&
	       ZydisDecoderDecodeInstruction(t->decoder, NULL, bytes, length, &insn) == ZYDIS_STATUS_NO_MORE_DATA;
}

static struct block *block_new(struct translator *t, uint64_t linear, uint64_t gpa)
{
	const unsigned offset = gpa & (PAGE_SIZE - 1);
	const uint8_t *bytes = page_bytes(t, gpa), *rest = NULL;
	unsigned length = (unsigned)PAGE_SIZE - offset;
	uint8_t both[2 * ZYDIS_MAX_INSTRUCTION_LENGTH];
	uint64_t next = next_page(t, linear), next_gpa;
	int64_t start_ns = host_now_ns();
	uint32_t number, *slot;
	struct block *block;

	if (!bytes)
		return NULL;
	bytes += offset;
	if (crosses(t, bytes, length)) {
		if (!fetch_address(t, next, &next_gpa))
			return NULL;
		rest = page_bytes(t, next_gpa);
		if (!rest)
			return NULL;
	}
	make_room(t);
	number = record_new(t, (struct block){.linear = linear, .gpa = gpa, .page = pair_number(t, linear, gpa), .key = t->key});
	block = &t->blocks[number];
	if (rest) {
		block->other = record_new(
			t, (struct block){
				   .linear = next, .gpa = next_gpa, .page = pair_number(t, next, next_gpa), .key = t->key, .stand_in = true, .other = number});
		memcpy(both, bytes, length);
		memcpy(both + length, rest, ZYDIS_MAX_INSTRUCTION_LENGTH);
		bytes = both;
		length += ZYDIS_MAX_INSTRUCTION_LENGTH;
	}
	slot = hash_slot(t, gpa, linear);
	block->hash_next = *slot;
	*slot = number;
	block->first_site = t->site_count;
	lower_block(t, block, number, bytes, length);
	block->site_count = (uint16_t)(t->site_count - block->first_site);
	t->statistics.blocks++;
	t->statistics.translate_ns += (uint64_t)(host_now_ns() - start_ns);
	return block;
}

static struct block *block_find(struct translator *t, uint64_t linear, uint64_t gpa)
{
	for (uint32_t i = *hash_slot(t, gpa, linear); i; i = t->blocks[i].hash_next) {
		struct block *block = &t->blocks[i];
		uint64_t other_gpa;

		if (block->gpa != gpa || block->linear != linear || block->key != t->key)
			continue;
		if (!block->other || (fetch_address(t, t->blocks[block->other].linear, &other_gpa) && other_gpa == t->blocks[block->other].gpa))
			return block;
	}
	return NULL;
}

struct block *code_block(struct translator *t, uint64_t rip, bool *cold)
{
	uint64_t linear = linear_of(t, t->key, rip), gpa;
	struct block *block;

	if (t->key & KEY_CODE32 && rip > segmentation_of(t, t->key)->limit[X86_CS])
		return NULL; /* the interpreter raises */
	if (!fetch_address(t, linear, &gpa))
		return NULL;
	block = block_find(t, linear, gpa);
	if (!block) {
		*cold = !t->verify && interp_cold(t->cpu, gpa, linear);
		block = *cold ? NULL : block_new(t, linear, gpa);
	}
	if (!block)
		return NULL;
	pair_show(t, block);
	if (block->other)
		pair_show(t, &t->blocks[block->other]);
	return block;
}
