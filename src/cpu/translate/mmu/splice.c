/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Data that reach from one guest page into the next, where the two do not lie together in the host: the stack, arrays,
 * unaligned vectors. Pairs of pages in which that happens again and again (a stream meets a pair but a few times) are
 * mapped once more side by side, so that a window can cover both (windows.c). Only pages of main RAM, which stay where
 * they are as long as the machine is there, and which are mapped shared, so that both mappings are the same memory.
 *
 * Pairs are found by where their pages lie in the host. Translated code holds addresses in a mapping until the next
 * poll, and windows until they are emptied: a pair's place is given to another one only by splice_renew.
 */
#include "cpu/translate/mmu/mmu.h"

#include <sys/mman.h>

enum { SPLICE_AFTER = 64 /* misses: interpreting them costs a few times what the mapping does */ };

static bool in_main_ram(const struct translator *t, uint64_t gpa, uint64_t hva)
{
	const struct ram_slot *slot = ram_find(t->cpu->vcpu.engine->env.ram, gpa);

	return slot && slot->fixed && (uint64_t)(uintptr_t)slot->hva + (gpa - slot->gpa) == hva;
}

static uint64_t splice_address(const struct translator *t, const struct splice *splice)
{
	return (uint64_t)(uintptr_t)t->splice_base + 2 * PAGE_SIZE * (uint64_t)(splice - t->splices);
}

static bool map_pair(struct translator *t, const struct splice *splice)
{
	if (!t->splice_base) {
		void *base = mmap(NULL, SPLICES * 2 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				  -1, 0);

		if (base == MAP_FAILED)
			return false;
		t->splice_base = base;
	}
	for (unsigned i = 0; i < 2; i++) {
		void *to = (void *)(uintptr_t)(splice_address(t, splice) + i * PAGE_SIZE);

		/* Length 0: the old mapping stays; refused where it is private or of larger pages. */
		if (mremap((void *)(uintptr_t)splice->hva[i], 0, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) ==
		    MAP_FAILED)
			return false;
	}
	return true;
}

/* The pair's place, or the one that it may take; NULL: both possible ones are mapped for others. */
static struct splice *find_pair(struct translator *t, uint64_t first, uint64_t second)
{
	unsigned at = (unsigned)((first >> PAGE_SHIFT) * 31 + (second >> PAGE_SHIFT)) % SPLICES;
	struct splice *best = NULL;

	for (unsigned i = 0; i < 2; i++) {
		struct splice *splice = &t->splices[at ^ i];

		if (splice->hva[0] == first && splice->hva[1] == second)
			return splice;
		if (splice->state == SPLICE_COUNTS && (!best || splice->misses < best->misses))
			best = splice;
	}
	if (best)
		*best = (struct splice){.hva = {first, second}};
	return best;
}

enum splice_state splice_find(struct translator *t, const struct x86_tlb_entry *first,
			      const struct x86_tlb_entry *second, uint64_t gva, uint64_t *host)
{
	uint64_t from = gva + first->addend, to = gva + PAGE_SIZE + second->addend;
	struct splice *splice;

	splice = find_pair(t, from, to);
	if (!splice) {
		t->splices_full = true;
		return SPLICE_REFUSED;
	}
	if (splice->state == SPLICE_COUNTS && ++splice->misses >= SPLICE_AFTER) {
		bool can = in_main_ram(t, x86_tlb_gpa(first), from) && in_main_ram(t, x86_tlb_gpa(second), to) && map_pair(t, splice);

		splice->state = can ? SPLICE_MAPPED : SPLICE_REFUSED;
	}
	*host = splice_address(t, splice);
	return splice->state;
}

const struct splice *splice_at(const struct translator *t, uint64_t host)
{
	uint64_t offset = host - (uint64_t)(uintptr_t)t->splice_base;

	return t->splice_base && offset < SPLICES * 2 * PAGE_SIZE ? &t->splices[offset / (2 * PAGE_SIZE)] : NULL;
}

void splice_renew(struct translator *t)
{
	if (!t->splices_full)
		return;
	windows_empty(t, true);
	memset(t->splices, 0, sizeof(t->splices));
	t->splices_full = false;
}

void splice_fini(struct translator *t)
{
	if (t->splice_base)
		munmap(t->splice_base, SPLICES * 2 * PAGE_SIZE);
	t->splice_base = NULL;
}
