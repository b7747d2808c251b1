/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vCPU's cache of decoded blocks: a bump arena, a hash by physical address and mode, and lists per guest page for
 * dropping what was written to. It is flushed as a whole when the arena is full. Per vCPU, so no locks but for the
 * queue of pages that other threads wrote.
 *
 * A page that holds decoded code is watched (ram_watch_code) before its bytes are read. Other vCPUs may still hold a
 * TLB entry that lets them write silently: they are told with engine_page_watched, drop the entry at their next block
 * boundary and report the page as written if they had one, because they may have written meanwhile.
 */
#include "cpu/interp/fetch.h"
#include "cpu/interp/internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#define ARENA_BYTES        (4 * MIB)
#define ARENA_VERIFY_BYTES (256 * KIB)
#define NATIVE_BYTES       (1 * MIB)
#define BLOCK_BYTES_MAX    (sizeof(struct block) + (BLOCK_MAX_OPS + 2) * sizeof(struct op))

int cache_init(struct interp *ip, struct error *err)
{
	struct cache *cache = &ip->cache;

	fetch_init(ip);
	cache->arena_size = ip->verify ? ip->env.tuning.code_bytes ? ip->env.tuning.code_bytes : ARENA_VERIFY_BYTES : ARENA_BYTES;
	cache->arena = mmap(NULL, cache->arena_size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (cache->arena == MAP_FAILED) {
		cache->arena = NULL;
		return error_set_errno(err, errno, "decoded-instruction cache of %zu bytes", cache->arena_size);
	}
	cache->arena_top = cache->arena_size;
	cache->hash = xcalloc(1 << BLOCK_HASH_BITS, sizeof(*cache->hash));
	cache->pages = xcalloc(1 << PAGE_HASH_BITS, sizeof(*cache->pages));
	cache->none = xcalloc(1, sizeof(*cache->none));
	ip->block = cache->none;
	cache->native = native_arena_new(NATIVE_BYTES, err);
	return cache->native ? 0 : -ENOMEM;
}

void cache_fini(struct interp *ip)
{
	struct cache *cache = &ip->cache;

	if (cache->arena)
		munmap(cache->arena, cache->arena_size);
	free(cache->hash);
	free(cache->pages);
	free(cache->none);
	if (cache->native)
		native_arena_free(cache->native);
}

void cache_flush(struct interp *ip)
{
	struct cache *cache = &ip->cache;

	ip->stamp_own++;
	ip->block = cache->none;
	memset(cache->none, 0, sizeof(*cache->none));
	cache->arena_used = 0;
	cache->arena_top = cache->arena_size;
	memset(ip->jump, 0, sizeof(ip->jump)); /* its blocks are gone */
	memset(cache->hash, 0, sizeof(*cache->hash) << BLOCK_HASH_BITS);
	cache->hash_used = 0;
	memset(cache->pages, 0, sizeof(*cache->pages) << PAGE_HASH_BITS);
	native_arena_reset(cache->native);
}

static void *cache_alloc(struct interp *ip, size_t bytes)
{
	struct cache *cache = &ip->cache;
	void *p = cache->arena + cache->arena_used;

	bytes = align_up(bytes, 32);
	if (cache->arena_top - cache->arena_used < bytes)
		return NULL;
	cache->arena_used += bytes;
	return p;
}

void *cache_alloc_extra(struct interp *ip, size_t bytes)
{
	struct cache *cache = &ip->cache;

	bytes = align_up(bytes, 32);
	if (cache->arena_top - cache->arena_used < bytes)
		return NULL;
	cache->arena_top -= bytes;
	return cache->arena + cache->arena_top;
}

/* A slot holds a block's address (47 bits) below a tag of 16 bits, so that others are passed by without a look at them.
 * 0: empty, ends a search. HASH_GONE: a block was dropped here. */
#define HASH_MASK ((1u << BLOCK_HASH_BITS) - 1)
#define HASH_GONE 1ull

static uint64_t hash_tag(uint64_t gpa, uint8_t key)
{
	return ((gpa >> BLOCK_HASH_BITS) * 0x9e37 + key * 0x1357 + 0x8000) << 48;
}

static unsigned hash_start(uint64_t gpa)
{
	return (gpa ^ gpa >> BLOCK_HASH_BITS) & HASH_MASK;
}

static struct block *hash_block(uint64_t slot)
{
	return (struct block *)(uintptr_t)(slot & 0x0000ffffffffffffull);
}

static struct page_blocks **page_slot(struct interp *ip, uint64_t page)
{
	return &ip->cache.pages[(page ^ page >> PAGE_HASH_BITS) & ((1 << PAGE_HASH_BITS) - 1)];
}

static struct page_blocks *page_find(struct interp *ip, uint64_t page)
{
	struct page_blocks *entry = *page_slot(ip, page);

	while (entry && entry->page != page)
		entry = entry->next;
	return entry;
}

/* Invariant 4: the block may be executing right now. */
static void block_drop(struct interp *ip, struct block *block)
{
	unsigned i = hash_start(block->gpa);

	if (block->key == KEY_DEAD)
		return;
	while (hash_block(ip->cache.hash[i]) != block)
		i = (i + 1) & HASH_MASK;
	ip->cache.hash[i] = HASH_GONE;
	block->key = KEY_DEAD;
	for (unsigned k = 0; k < block->count; k++)
		block->ops[k].fn = op_stop;
}

static void page_drop(struct interp *ip, uint64_t page)
{
	struct page_blocks *entry = page_find(ip, page), **link = page_slot(ip, page);

	if (!entry)
		return;
	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	for (struct block *block = entry->blocks, *following; block; block = following) {
		following = block->page_next[block->gpa >> PAGE_SHIFT != page];
		block_drop(ip, block);
	}
	ip->stamp_own++;
}

void cache_drop_pages(struct interp *ip, uint64_t first, uint64_t last)
{
	if (ip->partner)
		ip->partner->drop(&ip->cpu, first, last);
	if (last - first < 1 << PAGE_HASH_BITS) {
		for (uint64_t page = first; page <= last; page++)
			page_drop(ip, page);
		return;
	}
	for (unsigned i = 0; i < 1 << PAGE_HASH_BITS; i++)
		while (ip->cache.pages[i])
			page_drop(ip, ip->cache.pages[i]->page);
}

void interp_watch_code(struct x86_cpu *cpu, uint64_t page)
{
	struct interp *ip = interp_of(cpu);

	if (ram_watch_code(ip->env.ram, page)) {
		x86_tlb_protect(cpu, page << PAGE_SHIFT);
		engine_page_watched(ip, page);
	}
}

/* Watches the page and returns its list; NULL: the arena is full. */
static struct page_blocks *page_get(struct interp *ip, uint64_t page)
{
	struct page_blocks *entry = page_find(ip, page);

	if (entry)
		return entry;
	entry = cache_alloc(ip, sizeof(*entry));
	if (!entry)
		return NULL;
	*entry = (struct page_blocks){.page = page, .next = *page_slot(ip, page)};
	*page_slot(ip, page) = entry;
	if (!ip->verify)
		interp_watch_code(&ip->cpu, page);
	return entry;
}

/* The limit of CS in the modes that have one. A block that reaches beyond is cut to single instructions. */
static bool inside_code_segment(const struct interp *ip, unsigned bytes)
{
	return ip->cpu.code_mode == X86_CODE64 || ip->cpu.s.rip + bytes - 1 <= ip->cpu.s.seg[X86_CS].limit;
}

static struct block *block_new(struct interp *ip, struct fetch *fetch, uint64_t linear, uint8_t key, bool single)
{
	struct block *block;
	bool ok;

	do {
		struct page_blocks *page = fetch->ram ? page_get(ip, fetch->gpa >> PAGE_SHIFT) : NULL;
		size_t start = ip->cache.arena_used;

		block = cache_alloc(ip, BLOCK_BYTES_MAX);
		ok = block && (page || !fetch->ram) && ip->cache.hash_used < HASH_MASK / 4 * 3;
		if (ok)
			ok = fetch_decode(ip, fetch, linear, block, single || ip->verify ? 1 : BLOCK_MAX_OPS);
		if (ok)
			ip->cache.arena_used =
				start +
				align_up(sizeof(*block) + (block->count + !block->closed) * sizeof(struct op), 32);
		if (!ok) {
			cache_flush(ip);
			fetch_first(ip, linear, fetch);
		}
	} while (!ok);
	block->key = key;
	block->gpa = fetch->gpa;
	block->gpa2 = fetch->gpa2;
	block->page_next[0] = block->page_next[1] = NULL;
	block->turns = 0;
	memset(block->link, 0, sizeof(block->link));
	memcpy(block->code, fetch->bytes, block->bytes < 15 ? block->bytes : 15);
	return block;
}

static bool same_code(struct interp *ip, const struct block *block)
{
	uint8_t now[16];
	unsigned first = PAGE_SIZE - (block->gpa & (PAGE_SIZE - 1));

	if (first > block->bytes)
		first = block->bytes;
	fetch_copy(ip, block->gpa, now, first);
	if (first < block->bytes)
		fetch_copy(ip, block->gpa2, now + first, block->bytes - first);
	return !memcmp(now, block->code, block->bytes);
}

static void block_insert(struct interp *ip, struct block *block)
{
	struct page_blocks *page = page_find(ip, block->gpa >> PAGE_SHIFT);
	unsigned i = hash_start(block->gpa);

	while (ip->cache.hash[i] > HASH_GONE)
		i = (i + 1) & HASH_MASK;
	ip->cache.hash_used += !ip->cache.hash[i];
	ip->cache.hash[i] = (uintptr_t)block | hash_tag(block->gpa, block->key);
	block->page_next[0] = page->blocks;
	page->blocks = block;
	if (block->gpa2 == ~0ull || block->gpa2 >> PAGE_SHIFT == block->gpa >> PAGE_SHIFT)
		return;
	page = page_get(ip, block->gpa2 >> PAGE_SHIFT);
	if (!page) {
		block_drop(ip, block); /* full: executed once; the next look-up flushes */
		return;
	}
	block->page_next[1] = page->blocks;
	page->blocks = block;
	if (!same_code(ip, block)) /* the second page was not watched yet when its bytes were read */
		block_drop(ip, block);
}

static struct block *block_find(struct interp *ip, uint64_t gpa, uint64_t linear, uint8_t key)
{
	uint64_t tag = hash_tag(gpa, key) >> 48;

	for (unsigned i = hash_start(gpa); ip->cache.hash[i]; i = (i + 1) & HASH_MASK) {
		struct block *block = hash_block(ip->cache.hash[i]);

		if (ip->cache.hash[i] >> 48 != tag || ip->cache.hash[i] == HASH_GONE)
			continue;
		if (block->gpa != gpa || block->key != key)
			continue;
		if (block->gpa2 != ~0ull && fetch_second_page(ip, linear) != block->gpa2)
			continue;
		if (ip->verify && !same_code(ip, block)) {
			block_drop(ip, block);
			continue;
		}
		return block;
	}
	return NULL;
}

bool interp_cold(struct x86_cpu *cpu, uint64_t gpa, uint64_t linear)
{
	struct interp *ip = interp_of(cpu);
	struct block *block;

	if (cpu->s.cr0 & X86_CR0_PG)
		return false;
	block = block_find(ip, gpa, linear, mode_key(cpu));
	ip->cold = !block || block->turns < COLD_TURNS;
	return ip->cold;
}

struct block *cache_block(struct interp *ip, bool single)
{
	struct x86_cpu *cpu = &ip->cpu;
	uint64_t linear = ip->flat_base + cpu->s.rip;
	uint8_t key = (ip->key & (KEY_MODE | KEY_FLAT)) | (single ? KEY_SINGLE : 0);
	struct fetch fetch;
	struct block *block;

	if (cpu->code_mode == X86_CODE64) {
		unsigned spare = cpu->s.cr4 & X86_CR4_LA57 ? 7 : 16;

		if ((uint64_t)((int64_t)(linear << spare) >> spare) != linear)
			x86_raise_error(cpu, X86_GP, 0);
	} else {
		if (!cpu->long_mode || cpu->code_mode != X86_CODE64)
			linear = (uint32_t)linear;
		if (!inside_code_segment(ip, 1))
			x86_raise_error(cpu, X86_GP, 0);
	}
	fetch_first(ip, linear, &fetch);
	block = fetch.ram ? block_find(ip, fetch.gpa, linear, key) : NULL;
	if (!block) {
		block = block_new(ip, &fetch, linear, key, single);
		if (fetch.ram)
			block_insert(ip, block);
		else
			block->key = KEY_DEAD; /* nobody tells of changes */
	}
	if (unlikely(!inside_code_segment(ip, block->bytes))) {
		if (!single)
			return cache_block(ip, true);
		x86_raise_error(cpu, X86_GP, 0);
	}
	return block;
}
