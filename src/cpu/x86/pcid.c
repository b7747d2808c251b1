/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Process-context identifiers (SDM 3A 4.10.1, 4.10.4.1). The software TLB holds one address space and the global pages.
 * What it holds of an address space that is left is kept aside under its PCID, up to a limit, and put back when a MOV
 * to CR3 with bit 63 set comes back to it. Nothing global is kept: INVLPG would have to find it there.
 *
 * Kept entries are subject to everything that entries of the TLB are subject to (tlb.c, invariants 1 to 3), but for
 * INVLPG, which is about the current PCID alone.
 */
#include "cpu/x86/internal.h"

static uint64_t slot_bit(unsigned slot)
{
	return 1ull << (slot % 64);
}

static struct x86_tlb_space *space_find(struct x86_cpu *cpu, unsigned pcid)
{
	struct x86_tlb_space *spaces = cpu->translation->spaces;

	for (unsigned i = 0; i < X86_TLB_SPACES; i++)
		if (spaces[i].count && spaces[i].pcid == pcid)
			return &spaces[i];
	return NULL;
}

/* An empty one, or the one that was kept the longest time ago. */
static struct x86_tlb_space *space_take(struct x86_cpu *cpu)
{
	struct x86_translation *translation = cpu->translation;
	struct x86_tlb_space *oldest = &translation->spaces[0];

	for (unsigned i = 0; i < X86_TLB_SPACES; i++) {
		struct x86_tlb_space *space = &translation->spaces[i];

		if (!space->count)
			return space;
		if (space->kept_at < oldest->kept_at)
			oldest = space;
	}
	return oldest;
}

/* The last fills are the likeliest to be wanted again. */
static void keep(struct x86_cpu *cpu, unsigned pcid)
{
	const struct x86_translation *translation = cpu->translation;
	const struct x86_tlb_fills *fills = &translation->fills[0];
	struct x86_tlb_space *space;

	if (!fills->count)
		return;
	space = space_take(cpu);
	space->pcid = (uint16_t)pcid;
	space->kept_at = cpu->tlb_generation;
	space->count = 0;
	for (unsigned i = fills->count; i-- > 0 && space->count < X86_TLB_KEPT;) {
		unsigned slot = fills->slot[i];
		const struct x86_tlb_entry *entry = &cpu->tlb[0][0] + slot;

		if (translation->global_slots[slot / 64] & slot_bit(slot) ||
		    (entry->tag_read == X86_TLB_NONE && entry->tag_fetch == X86_TLB_NONE))
			continue;
		space->kept[space->count].slot = (uint16_t)slot;
		space->kept[space->count].entry = *entry;
		space->frames[space->count] = entry->frame;
		if (cpu->memory_watch) /* it wants to be asked again */
			space->kept[space->count].entry.tag_write = X86_TLB_NONE;
		space->count++;
	}
}

static void put_back(struct x86_cpu *cpu, struct x86_tlb_space *space)
{
	for (unsigned i = space->count; i-- > 0;) {
		unsigned slot = space->kept[i].slot;
		struct x86_tlb_entry *entry = &cpu->tlb[0][0] + slot;

		if (entry->tag_read != X86_TLB_NONE || entry->tag_fetch != X86_TLB_NONE)
			continue; /* a global page's */
		*entry = space->kept[i].entry;
		cpu->translation->frames[slot] = entry->frame;
		x86_tlb_list(&cpu->translation->fills[0], slot);
		cpu->translation->global_slots[slot / 64] &= ~slot_bit(slot);
	}
}

void x86_tlb_switch(struct x86_cpu *cpu, unsigned from, unsigned to, bool come_back)
{
	struct x86_tlb_space *space;

	if (from != to)
		keep(cpu, from);
	x86_tlb_leave_space(cpu);
	if (!come_back)
		x86_tlb_tell_space(cpu, (int)to);
	space = space_find(cpu, to);
	if (!space)
		return;
	if (come_back)
		put_back(cpu, space);
	space->count = 0;
}

void x86_tlb_tell_space(struct x86_cpu *cpu, int pcid)
{
	if (cpu->tlb_copies)
		cpu->tlb_copies->space_dropped(cpu, pcid);
}

void x86_tlb_tell_entered(struct x86_cpu *cpu)
{
	if (cpu->tlb_copies)
		cpu->tlb_copies->space_entered(cpu);
}

void x86_tlb_forget_spaces(struct x86_cpu *cpu)
{
	x86_tlb_tell_space(cpu, -1);
	for (unsigned i = 0; i < X86_TLB_SPACES; i++)
		cpu->translation->spaces[i].count = 0;
}

void x86_tlb_forget_space(struct x86_cpu *cpu, unsigned pcid)
{
	struct x86_tlb_space *space = space_find(cpu, pcid);

	x86_tlb_tell_space(cpu, (int)pcid);
	if (space)
		space->count = 0;
}
