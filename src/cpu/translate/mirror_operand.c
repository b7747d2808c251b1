/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory operands of user code whose address space has a mirror (mirror.c): the guest's own operand with a GS prefix, whose
 * base is the distance of the mirror. Before it, once for all operands near an address of the same registers:
 *
 *     lea b,[EA] ; shr b,44 ; or b32,2 ; cmp b32,7 ; jne out
 *
 * Blocks that branch to their own start check addresses that move by constants only before the first turn: an access that is
 * executed in each turn and moves by less than the guard at an area's end cannot leave the area without meeting the guard,
 * where nothing is mapped.
 *
 * A page that is not mapped is a host exception at the instruction (host.c), which is tried again when it is; what is not
 * to be had so is one instruction for the interpreter, and a block in which that happens again and again is made once more
 * with windows (memory.c).
 */
#include "cpu/translate/lower.h"

/* The address lies in a mirror, or out. Changes EFLAGS. keep: registers that are needed. */
static void check_area(struct lowering *l, const struct memory *m, uint16_t keep)
{
	unsigned b = scratch(l, keep | bit(m->base) | bit(m->index));
	uint32_t site;

	memory_address(l, b, m);
	PUT(&l->e, (uint8_t)(0x48 | b >> 3), 0xc1, (uint8_t)(0xe8 | (b & 7)), MIRROR_AREA_SHIFT); /* shr b, 44 */
	alu_imm(&l->e, false, 1, b, MIRROR_AREA_ANY);
	alu_imm(&l->e, false, 7, b, MIRROR_AREA);
	site = new_site(l, SITE_OUTSIDE, l->list[l->at].rip);
	branch_cold(l, CONDITION_NE, site);
}

bool mirror_place(struct lowering *l, const struct memory *m, unsigned size, bool write, bool flags, bool restored, uint16_t keep,
		  struct place *place)
{
	const uint16_t address = bit(m->base) | bit(m->index);
	const bool constant = m->base < 0 && m->index < 0;
	struct group key;

	if (!l->mirrored || m->segment != NO_REGISTER || m->address32 || (constant && !mirror_covers((uint64_t)m->disp, size)))
		return false;
	l->access = (struct mirror_access){.memory = *m, .size = size, .write = write, .flags_in_memory = flags && !restored};
	*place = (struct place){.base = m->base, .index = m->index, .scale = m->scale, .disp = (int32_t)m->disp, .mirrored = true};
	if (constant || memory_near(l, m, &key)) {
		if (flags && !restored)
			save_flags(l, keep | address);
		if (constant) {
			place->base = (int)scratch(l, keep | (l->list[l->at].high_byte ? 0xff00 : 0));
			place->disp = 0;
			move_imm(&l->e, (unsigned)place->base, (uint64_t)m->disp);
		}
		return true;
	}
	if (flags)
		save_flags(l, keep | address);
	check_area(l, m, keep | (flags && restored ? 1u << RAX : 0));
	memory_near_note(l, &key);
	if (flags && restored)
		restore_flags(l);
	return true;
}

void mirror_check_turns(struct lowering *l)
{
	unsigned noted = 0;

	/* What stands behind a way back is not executed in each turn. */
	for (unsigned i = 0; !loop_ends_turn(l, &l->list[i]) && noted < NEARS / 2; i++) {
		const struct guest_instruction *g = &l->list[i];
		struct group key;
		struct memory m;
		int64_t stride;
		bool known;

		if (g->kind != KIND_MEMORY || g->memory.segment != NO_REGISTER || g->memory.address32 ||
		    (g->memory.base < 0 && g->memory.index < 0))
			continue;
		l->at = i; /* for what registers hold there */
		known = memory_near(l, &g->memory, &key);
		l->at = 0;
		if (known || !loop_stride(l, &key, &stride) || stride > NEAR_BYTES || -stride > NEAR_BYTES ||
		    !memory_at_start(l, &key, &m))
			continue;
		check_area(l, &m, 0);
		memory_near_note(l, &key);
		noted++;
	}
}

void mirror_begin(struct lowering *l, const struct place *place)
{
	struct translator *t = l->t;
	const struct guest_instruction *g = &l->list[l->at];
	struct site *site;
	uint32_t number;

	if (!place->mirrored)
		return;
	number = new_site(l, SITE_MEMORY, g->rip);
	site = &t->sites[number];
	memory_note(site, &l->access.memory, l->access.size, l->access.write, l->e.at);
	site->mirrored = true;
	site->flags_in_memory = l->access.flags_in_memory;
	site->page_faults = page_faults_first(g);
	t->faults[t->fault_count++] = (struct fault_entry){.host = l->e.at, .site = number};
	put8(&l->e, 0x65);
}
