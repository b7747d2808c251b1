/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paging: linear to physical in all of x86's formats. SDM 3A chapter 4: 32-bit (4.3) with 4 MiB pages and PSE-36, PAE
 * (4.4), 4- and 5-level (4.5) with 2 MiB and 1 GiB pages; access rights (4.6) with WP, SMEP, SMAP, NX and protection
 * keys; page-fault error codes (4.7); accessed and dirty flags (4.8), set atomically and only when the access is
 * allowed.
 *
 * Left out: memory types (all RAM is write-back to us), supervisor protection keys. In long mode what lies above the
 * last level is cached until the next flush of any kind (4.10.3).
 */
#include "cpu/x86/internal.h"

#include <stdio.h>

enum {
	PTE_P = 1 << 0,
	PTE_W = 1 << 1,
	PTE_U = 1 << 2,
	PTE_A = 1 << 5,
	PTE_D = 1 << 6,
	PTE_PS = 1 << 7,
	PTE_G = 1 << 8
};
#define PTE_NX      (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull

#define WALK_FAULT (1u << 31) /* in the internal result: keeps "not present" apart from success */

/* One level's entry as it was read, to set its accessed bit later. */
struct walk_entry {
	uint64_t gpa;
	void *hva; /* NULL: not in RAM */
	const struct ram_slot *slot;
	uint64_t value;
};

struct walk {
	struct walk_entry entry[5];
	unsigned entries;
	bool wide;             /* 64-bit entries */
	struct x86_leaf upper; /* rights above the last level of a 4 KiB page */
};

static uint64_t entry_load(const struct x86_cpu *cpu, struct walk *walk, uint64_t gpa)
{
	struct walk_entry *entry = &walk->entry[walk->entries++];

	gpa &= cpu->a20_mask;
	entry->gpa = gpa;
	entry->slot = x86_ram_slot(cpu, gpa);
	if (__builtin_expect(!entry->slot, 0)) {
		entry->hva = NULL; /* an unclaimed bus reads as ones */
		entry->value = walk->wide ? ~0ull : ~0u;
		return entry->value;
	}
	entry->hva = entry->slot->hva + (gpa - entry->slot->gpa);
	entry->value = walk->wide ? __atomic_load_n((uint64_t *)entry->hva, __ATOMIC_ACQUIRE)
				  : __atomic_load_n((uint32_t *)entry->hva, __ATOMIC_ACQUIRE);
	return entry->value;
}

/* False: the entry changed since it was read; the walk must start again. */
static bool entry_set_bits(const struct x86_cpu *cpu, const struct walk *walk, const struct walk_entry *entry,
			   uint64_t bits)
{
	const struct ram_slot *slot = entry->slot;

	if (!(~entry->value & bits) || !entry->hva || slot->read_only)
		return true;
	if (walk->wide) {
		uint64_t expected = entry->value;

		if (!__atomic_compare_exchange_n((uint64_t *)entry->hva, &expected, expected | bits, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return false;
	} else {
		uint32_t expected = (uint32_t)entry->value;

		if (!__atomic_compare_exchange_n((uint32_t *)entry->hva, &expected, expected | (uint32_t)bits, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return false;
	}
	if (atomic_load_explicit(&slot->page_flags[(entry->gpa - slot->gpa) >> PAGE_SHIFT], memory_order_relaxed) !=
	    RAM_ALL) {
		x86_vectors_out(cpu);
		ram_written(cpu->vcpu.engine->env.ram, entry->gpa, walk->wide ? 8 : 4);
	}
	return true;
}

static uint32_t walk_32bit(const struct x86_cpu *cpu, uint64_t gva, struct walk *walk, struct x86_leaf *leaf)
{
	uint64_t entry = entry_load(cpu, walk, (cpu->s.cr3 & 0xfffff000) + (gva >> 22 & 0x3ff) * 4);

	if (!(entry & PTE_P))
		return WALK_FAULT;
	leaf->user = entry & PTE_U;
	leaf->writable = entry & PTE_W;
	if (entry & PTE_PS && cpu->s.cr4 & X86_CR4_PSE) {
		/* PSE-36: bits 20:13 are address bits 39:32 as far as MAXPHYADDR goes, the rest up to bit 21 is
		 * reserved. */
		unsigned high = cpu->features->phys_bits > 40   ? 8
				: cpu->features->phys_bits > 32 ? cpu->features->phys_bits - 32
								: 0;
		uint64_t reserved = (0x3fe000ull << high) & 0x3fe000;

		if (entry & reserved)
			return WALK_FAULT | X86_PF_PRESENT | X86_PF_RESERVED;
		leaf->page_shift = 22;
		leaf->gpa = (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32 | (gva & 0x3ff000);
	} else {
		entry = entry_load(cpu, walk, (entry & 0xfffff000) + (gva >> 12 & 0x3ff) * 4);
		if (!(entry & PTE_P))
			return WALK_FAULT;
		leaf->user &= !!(entry & PTE_U);
		leaf->writable &= !!(entry & PTE_W);
		leaf->page_shift = 12;
		leaf->gpa = entry & 0xfffff000;
	}
	leaf->global = entry & PTE_G;
	return 0;
}

static uint32_t walk_wide(const struct x86_cpu *cpu, uint64_t gva, struct walk *walk, struct x86_leaf *leaf)
{
	const struct x86_features *features = cpu->features;
	uint64_t reserved = PTE_ADDRESS & ~((1ull << features->phys_bits) - 1);
	uint64_t table, entry;
	unsigned level;

	if (!(cpu->s.efer & X86_EFER_NXE))
		reserved |= PTE_NX;
	if (cpu->long_mode) {
		level = cpu->s.cr4 & X86_CR4_LA57 ? 5 : 4;
		table = cpu->s.cr3 & PTE_ADDRESS;
	} else {
		reserved |= 0x7ff0000000000000ull;
		level = 2;
		entry = cpu->translation->pdpte[gva >> 30 & 3];
		if (!(entry & PTE_P))
			return WALK_FAULT;
		table = entry & PTE_ADDRESS;
	}
	leaf->user = leaf->writable = true;
	for (;; level--) {
		unsigned shift = PAGE_SHIFT + 9 * (level - 1);

		entry = entry_load(cpu, walk, table + (gva >> shift & 511) * 8);
		if (!(entry & PTE_P))
			return WALK_FAULT;
		if (entry & reserved)
			return WALK_FAULT | X86_PF_PRESENT | X86_PF_RESERVED;
		if (level == 1)
			walk->upper = *leaf;
		leaf->user &= !!(entry & PTE_U);
		leaf->writable &= !!(entry & PTE_W);
		leaf->no_execute |= !!(entry & PTE_NX);
		if (level > 1 && entry & PTE_PS) {
			uint64_t offset_mask = (1ull << shift) - 1;

			/* Only 2 MiB and 1 GiB pages exist; bit 12 is PAT, the offset bits above it are reserved. */
			if (level > 3 || (level == 3 && !features->page1gb) || entry & offset_mask & ~0x1fffull)
				return WALK_FAULT | X86_PF_PRESENT | X86_PF_RESERVED;
			leaf->gpa = (entry & PTE_ADDRESS & ~offset_mask) | (gva & offset_mask & ~(PAGE_SIZE - 1));
		} else if (level == 1) {
			leaf->gpa = entry & PTE_ADDRESS;
		} else {
			table = entry & PTE_ADDRESS;
			continue;
		}
		leaf->page_shift = shift;
		leaf->global = entry & PTE_G;
		leaf->key = entry >> 59 & 15;
		return 0;
	}
}

static uint32_t walk_tables(const struct x86_cpu *cpu, uint64_t gva, struct walk *walk, struct x86_leaf *leaf)
{
	memset(leaf, 0, sizeof(*leaf));
	walk->entries = 0;
	walk->wide = cpu->s.cr4 & X86_CR4_PAE;
	return walk->wide ? walk_wide(cpu, gva, walk, leaf) : walk_32bit(cpu, gva, walk, leaf);
}

/* The rights of PKRU for a user page, SDM 3A 4.6.2. */
static unsigned key_denies(const struct x86_cpu *cpu, const struct x86_leaf *leaf, enum x86_view view)
{
	unsigned rights;

	if (!leaf->user || !cpu->long_mode || !(cpu->s.cr4 & X86_CR4_PKE))
		return 0;
	rights = cpu->s.pkru >> (2 * leaf->key) & 3;
	if (rights & 1)
		return X86_MAY_READ | X86_MAY_WRITE;
	if (rights & 2 && (view == X86_VIEW_USER || cpu->s.cr0 & X86_CR0_WP))
		return X86_MAY_WRITE;
	return 0;
}

/* Without protection keys. */
static unsigned leaf_rights(const struct x86_cpu *cpu, const struct x86_leaf *leaf, enum x86_view view)
{
	unsigned may = X86_MAY_READ | X86_MAY_WRITE | X86_MAY_FETCH;

	if (leaf->no_execute)
		may &= ~X86_MAY_FETCH;
	if (view == X86_VIEW_USER) {
		if (!leaf->user)
			return 0;
		if (!leaf->writable)
			may &= ~X86_MAY_WRITE;
		return may;
	}
	if (!leaf->writable && cpu->s.cr0 & X86_CR0_WP)
		may &= ~X86_MAY_WRITE;
	if (leaf->user) {
		if (cpu->s.cr4 & X86_CR4_SMEP)
			may &= ~X86_MAY_FETCH;
		if (cpu->s.cr4 & X86_CR4_SMAP && view == X86_VIEW_SUPERVISOR)
			may &= X86_MAY_FETCH;
	}
	return may;
}

static unsigned access_needs(unsigned access)
{
	return access & X86_FETCH ? X86_MAY_FETCH : access & X86_WRITE ? X86_MAY_READ | X86_MAY_WRITE : X86_MAY_READ;
}

static uint32_t access_error(const struct x86_cpu *cpu, unsigned access)
{
	uint32_t error = 0;

	if (access & X86_WRITE)
		error |= X86_PF_WRITE;
	if (access & X86_USER && !(access & X86_IMPLICIT))
		error |= X86_PF_USER;
	if (access & X86_FETCH &&
	    (cpu->s.cr4 & X86_CR4_SMEP || (cpu->s.cr4 & X86_CR4_PAE && cpu->s.efer & X86_EFER_NXE)))
		error |= X86_PF_FETCH;
	return error;
}

/* Decides whether a translated access is allowed; 0 or the error. */
static uint32_t check_rights(const struct x86_cpu *cpu, struct x86_leaf *leaf, unsigned access)
{
	enum x86_view view = x86_view_of(cpu, access);
	unsigned needs = access_needs(access);
	unsigned rights = leaf_rights(cpu, leaf, view);
	unsigned denied = key_denies(cpu, leaf, view);

	leaf->may = rights & ~denied;
	/* The key's bit tells that the key forbids, whatever else does too (SDM 3A 4.7). */
	if (needs & ~leaf->may)
		return WALK_FAULT | X86_PF_PRESENT | (needs & denied ? X86_PF_KEY : 0) | access_error(cpu, access);
	return 0;
}

/* --- the paging-structure cache --- */

static struct x86_walk_cache *cache_slot(const struct x86_cpu *cpu, uint64_t gva)
{
	return &cpu->translation->walk_cache[(gva >> 21) % X86_WALK_CACHE_ENTRIES];
}

static void cache_fill(struct x86_cpu *cpu, uint64_t gva, const struct walk *walk, const struct x86_leaf *leaf)
{
	const struct walk_entry *last = &walk->entry[walk->entries - 1];
	struct x86_walk_cache *cache = cache_slot(cpu, gva);

	if (!cpu->long_mode || !walk->wide || !last->hva)
		return;
	cache->range = gva >> 21;
	cache->generation = cpu->tlb_generation + 1;
	if (leaf->page_shift == PAGE_SHIFT) {
		unsigned offset = (gva >> PAGE_SHIFT & 511) * 8;

		cache->leaf = walk->upper;
		cache->table = (uint64_t *)((uint8_t *)last->hva - offset);
		cache->table_gpa = last->gpa - offset;
		cache->slot = last->slot;
	} else {
		cache->leaf = *leaf;
		cache->leaf.gpa = leaf->gpa & ~0x1fffffull;
		cache->table = NULL;
	}
}

/* The walk by way of the cache. False: do all of it. */
static bool cached_walk(struct x86_cpu *cpu, uint64_t gva, unsigned access, struct x86_leaf *leaf)
{
	const struct x86_walk_cache *cache = cache_slot(cpu, gva);
	struct walk walk;
	uint64_t entry, *hva;

	if (cache->range != gva >> 21 || cache->generation != cpu->tlb_generation + 1 || !cpu->long_mode)
		return false;
	*leaf = cache->leaf;
	if (!cache->table) {
		if (access & X86_WRITE && !leaf->dirty)
			return false;
		leaf->gpa |= gva & 0x1ff000;
		return !check_rights(cpu, leaf, access);
	}
	hva = &cache->table[gva >> PAGE_SHIFT & 511];
	entry = __atomic_load_n(hva, __ATOMIC_ACQUIRE);
	if (!(entry & PTE_P) || entry & (PTE_ADDRESS & ~((1ull << cpu->features->phys_bits) - 1)) ||
	    (entry & PTE_NX && !(cpu->s.efer & X86_EFER_NXE)))
		return false;
	leaf->user &= !!(entry & PTE_U);
	leaf->writable &= !!(entry & PTE_W);
	leaf->no_execute |= !!(entry & PTE_NX);
	leaf->gpa = entry & PTE_ADDRESS & cpu->a20_mask;
	leaf->page_shift = PAGE_SHIFT;
	leaf->global = entry & PTE_G && cpu->s.cr4 & X86_CR4_PGE;
	leaf->key = entry >> 59 & 15;
	if (check_rights(cpu, leaf, access))
		return false;
	walk.wide = true;
	walk.entry[0] = (struct walk_entry){.gpa = cache->table_gpa + (gva >> PAGE_SHIFT & 511) * 8,
					    .hva = hva,
					    .slot = cache->slot,
					    .value = entry};
	leaf->dirty = access & X86_WRITE || entry & PTE_D;
	return entry_set_bits(cpu, &walk, &walk.entry[0], access & X86_WRITE ? PTE_A | PTE_D : PTE_A);
}

/* --- walks --- */

uint32_t x86_page_walk(struct x86_cpu *cpu, uint64_t gva, unsigned access, struct x86_leaf *leaf)
{
	uint32_t error;

	if (cached_walk(cpu, gva, access, leaf))
		return 0;
	for (;;) {
		struct walk walk;
		bool unchanged = true;

		error = walk_tables(cpu, gva, &walk, leaf);
		if (error)
			return error | access_error(cpu, access);
		error = check_rights(cpu, leaf, access);
		if (error)
			return error;
		for (unsigned i = 0; i < walk.entries && unchanged; i++) {
			bool last = i + 1 == walk.entries;

			unchanged = entry_set_bits(cpu, &walk, &walk.entry[i],
						   last && access & X86_WRITE ? PTE_A | PTE_D : PTE_A);
		}
		if (!unchanged)
			continue;
		leaf->dirty = access & X86_WRITE || walk.entry[walk.entries - 1].value & PTE_D;
		leaf->global = leaf->global && cpu->s.cr4 & X86_CR4_PGE;
		leaf->gpa &= cpu->a20_mask;
		cache_fill(cpu, gva, &walk, leaf);
		return 0;
	}
}

int x86_walk_debug(const struct x86_cpu *cpu, uint64_t gva, uint64_t *gpa)
{
	struct x86_leaf leaf;
	struct walk walk;

	if (!cpu->paging) {
		*gpa = gva & cpu->a20_mask;
		return 0;
	}
	if (!cpu->long_mode)
		gva = (uint32_t)gva;
	else if (!x86_canonical(cpu, gva))
		return -EFAULT;
	if (walk_tables(cpu, gva, &walk, &leaf))
		return -EFAULT;
	*gpa = (leaf.gpa | (gva & (PAGE_SIZE - 1))) & cpu->a20_mask;
	return 0;
}

void x86_page_walk_text(const struct x86_cpu *cpu, uint64_t gva, char *text, size_t size)
{
	struct x86_leaf leaf;
	struct walk walk;
	uint32_t error;
	size_t used;

	if (!cpu->paging) {
		snprintf(text, size, "paging is off");
		return;
	}
	error = walk_tables(cpu, gva, &walk, &leaf);
	used = (size_t)snprintf(text, size, "cr3 %#llx", (unsigned long long)cpu->s.cr3);
	for (unsigned i = 0; i < walk.entries && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, " -> [%#llx] %#llx%s",
					 (unsigned long long)walk.entry[i].gpa, (unsigned long long)walk.entry[i].value,
					 walk.entry[i].hva ? "" : " (not RAM)");
	if (used < size)
		snprintf(text + used, size - used,
			 error ? error & X86_PF_RESERVED ? " (reserved bit)" : " (not present)" : " = %#llx",
			 (unsigned long long)leaf.gpa);
}

bool x86_load_pdptes(struct x86_cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
	uint64_t pdpte[4], reserved;
	uint64_t gpa = cr3 & 0xffffffe0;

	if (!(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) || cpu->s.efer & X86_EFER_LMA)
		return true;
	reserved = ~((1ull << cpu->features->phys_bits) - 1) | 0x1e6;
	if (ram_read(cpu->vcpu.engine->env.ram, gpa & cpu->a20_mask, pdpte, sizeof(pdpte)))
		memset(pdpte, 0xff, sizeof(pdpte));
	for (unsigned i = 0; i < 4; i++)
		if (pdpte[i] & PTE_P && pdpte[i] & reserved)
			return false;
	memcpy(cpu->translation->pdpte, pdpte, sizeof(pdpte));
	return true;
}
