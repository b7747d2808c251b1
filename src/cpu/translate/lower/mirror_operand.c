/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory operands of user code whose address space has a mirror (mirror.c): the guest's own operand with a GS prefix, whose
 * base is the distance of the mirror. Before it, once for all operands near an address of the same registers:
 *
 *     lea b,[EA] ; shr b,44 ; or b32,2 ; cmp b32,7 ; jne out
 *
 * Blocks that branch to their own start check addresses that move by constants only before the first turn: an access that is
 * executed in each turn and moves by less than the guard at an area's end cannot leave the area without meeting the guard,
 * where nothing is mapped. (Not so an operand with a mask: what is left out meets nothing. Nor may others do without a check
 * for being near it.)
 *
 * Where the space has its low addresses mirrored, those are the host's own: the operand stays as it is, after
 *
 *     lea b,[EA] ; cmp b,LOW_END ; jae out
 *
 * On hosts whose programs may not set GS to a distance (no FSGSBASE) it is added, in a register that serves all operands near:
 *
 *     lea a,[EA] ; mov b,a ; shr b,44 ; or b32,2 ; cmp b32,7 ; jne out ; add a,[mirror_base]
 *     INSN [a+disp]
 *
 * Which of the two an instruction is made for is guessed from what registers hold, and learned when that was wrong.
 *
 * A page that is not mapped is a host exception at the instruction (host.c), which is tried again when it is; what is not
 * to be had so is one instruction for the interpreter, and a block in which that happens again and again is made once more
 * with windows (memory.c).
 */
#include "cpu/translate/lower/lowering.h"
#include "cpu/translate/mmu/mmu.h"

/* Which address registers make as they are when the block begins, if they make it. */
static bool known_address(const struct lowering *l, const struct group *key, uint64_t *address)
{
	const uint64_t *gpr = l->t->cpu->s.gpr;
	struct memory m;

	if (!memory_at_start(l, key, &m))
		return false;
	*address = (uint64_t)m.disp;
	if (m.base >= 0)
		*address += gpr[m.base];
	if (m.index >= 0)
		*address += gpr[m.index] << m.scale;
	return true;
}

/* Where the address is likely to lie: where it did, or where it would lie now; else a program has more there. */
static enum mirror_choice choose_area(const struct lowering *l, const struct group *key)
{
	enum mirror_choice choice;
	uint64_t address;

	if (!(l->t->key & KEY_LOW))
		return MIRROR_HIGH;
	choice = mirror_choice(l->t, l->block->gpa + (l->list[l->at].rip - l->block->linear));
	if (choice == MIRROR_UNKNOWN && known_address(l, key, &address) && mirror_covers_low(address, 1))
		return MIRROR_LOW;
	return choice == MIRROR_UNKNOWN ? MIRROR_HIGH : choice;
}

/* The address in b lies in the area, or out. Changes b and EFLAGS. */
static void check_register(struct lowering *l, const struct guest_instruction *g, const struct memory *m, unsigned b, bool low)
{
	uint32_t number;

	if (low) {
		alu_imm(&l->e, true, 7, b, (int32_t)MIRROR_LOW_END);
	} else {
		PUT(&l->e, (uint8_t)(0x48 | b >> 3), 0xc1, (uint8_t)(0xe8 | (b & 7)), MIRROR_AREA_SHIFT); /* shr b, 44 */
		alu_imm(&l->e, false, 1, b, MIRROR_AREA_ANY);
		alu_imm(&l->e, false, 7, b, MIRROR_AREA);
	}
	number = new_site(l, SITE_OUTSIDE, l->list[l->at].rip);
	memory_note(&l->t->sites[number], m, 1, false, 0);
	l->t->sites[number].offset = (uint32_t)(g->rip - l->block->linear);
	branch_cold(l, low ? CONDITION_AE : CONDITION_NE, number);
}

/* The address, of what the instruction accesses, lies in the area, or out. Changes EFLAGS. keep: registers that are needed. */
static void check_area(struct lowering *l, const struct guest_instruction *g, const struct memory *m, uint16_t keep, bool low)
{
	unsigned b = scratch(l, keep | bit(m->base) | bit(m->index));

	memory_address(l, b, m);
	check_register(l, g, m, b, low);
}

void mirror_sum(struct lowering *l, unsigned a, const struct memory *m, uint16_t keep)
{
	unsigned b;

	if ((int)a == m->base || (int)a == m->index)
		load_abs(&l->e, a, home(l, a));
	memory_address(l, a, m);
	if (m->base >= 0 || m->index >= 0) {
		b = scratch(l, keep | bit((int)a));
		move_reg(&l->e, b, a);
		check_register(l, &l->list[l->at], m, b, false);
	}
	op_abs(&l->e, true, 0x03, a, &l->t->mirror_base);
}

void mirror_note(struct lowering *l, const struct memory *m, unsigned size, bool write, bool flags_in_memory, bool gs)
{
	l->access = (struct mirror_access){.memory = *m, .size = size, .write = write, .flags_in_memory = flags_in_memory, .gs = gs};
}

/* An address that is part of the instruction. */
static void place_constant(struct lowering *l, const struct memory *m, uint16_t keep, struct place *place)
{
	if (!l->access.gs)
		return; /* its 32 bits are the operand */
	place->base = (int)scratch(l, keep | (l->list[l->at].high_byte ? 0xff00 : 0));
	place->disp = 0;
	move_imm(&l->e, (unsigned)place->base, (uint64_t)m->disp);
}

bool mirror_place(struct lowering *l, const struct memory *m, unsigned size, bool write, bool flags, bool restored, uint16_t keep,
		  struct place *place)
{
	const uint16_t address = bit(m->base) | bit(m->index);
	const bool constant = m->base < 0 && m->index < 0;
	struct group key;
	bool near;

	if (!l->mirrored || m->segment != NO_REGISTER || m->address32)
		return false;
	if (constant) {
		key.low_area = l->t->key & KEY_LOW && mirror_covers_low((uint64_t)m->disp, size);
		if (!key.low_area && !mirror_covers((uint64_t)m->disp, size))
			return false;
		l->summed = !key.low_area && !l->t->mirror_gs;
	}
	near = !constant && memory_near(l, m, &key);
	if (!constant && !near) {
		enum mirror_choice choice = choose_area(l, &key);

		if (choice == MIRROR_NEITHER)
			return false;
		key.low_area = choice == MIRROR_LOW;
		l->summed = !key.low_area && !l->t->mirror_gs;
	}
	if (l->summed)
		return false;
	mirror_note(l, m, size, write, flags && !restored, !key.low_area);
	*place = (struct place){.base = m->base, .index = m->index, .scale = m->scale, .disp = (int32_t)m->disp, .mirrored = true};
	if (constant || near) {
		if (flags && !restored)
			save_flags(l, keep | address);
		if (constant)
			place_constant(l, m, keep, place);
		return true;
	}
	if (flags)
		save_flags(l, keep | address);
	check_area(l, &l->list[l->at], m, keep | (flags && restored ? 1u << RAX : 0), key.low_area);
	if (!l->list[l->at].masked) /* it would not stop, at a guard, what is executed behind it */
		memory_near_note(l, &key);
	if (flags && restored)
		restore_flags(l);
	return true;
}

void mirror_check_turns(struct lowering *l)
{
	unsigned noted = 0;

	for (unsigned i = 0; i < l->turn; i++)
		if (l->list[i].masked)
			return;
	/* What stands behind a way back is not executed in each turn. */
	for (unsigned i = 0; !loop_ends_turn(l, &l->list[i]) && noted < NEARS / 2; i++) {
		const struct guest_instruction *g = &l->list[i];
		enum mirror_choice choice;
		struct group key;
		struct memory m;
		int64_t stride;
		bool known;

		if (g->kind >= KIND_PUSH && g->kind <= KIND_LEAVE)
			return; /* it could be near to what is checked here, and comes before that is executed */
		if (g->kind != KIND_MEMORY || g->memory.segment != NO_REGISTER || g->memory.address32 ||
		    (g->memory.base < 0 && g->memory.index < 0))
			continue;
		l->at = i; /* for what registers hold there */
		known = memory_near(l, &g->memory, &key);
		choice = known ? MIRROR_UNKNOWN : choose_area(l, &key);
		l->at = 0;
		if (known || choice == MIRROR_NEITHER || (choice == MIRROR_HIGH && !l->t->mirror_gs) || !loop_stride(l, &key, &stride) || stride > NEAR_BYTES || -stride > NEAR_BYTES ||
		    !memory_at_start(l, &key, &m))
			continue;
		key.low_area = choice == MIRROR_LOW;
		check_area(l, g, &m, 0, key.low_area);
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
	if (l->access.gs)
		put8(&l->e, 0x65);
}
