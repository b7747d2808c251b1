/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stack slots: PUSH, POP and LEAVE, and what CALL and RET need of them. A push stores before it moves RSP, so that a
 * fault finds it as it was.
 */
#include "cpu/translate/lower/lowering.h"

void lower_move(struct lowering *l, unsigned opcode, unsigned reg, const struct place *place)
{
	mirror_begin(l, place);
	op_mem(&l->e, !l->code32, opcode, reg, place->base, place->index, place->scale, place->disp);
}

void lower_stack_move(struct lowering *l, int32_t bytes)
{
	op_mem(&l->e, !l->code32, 0x8d, RSP, RSP, -1, 0, bytes); /* lea rsp, [rsp + bytes] */
}

void lower_load_word(struct lowering *l, unsigned reg, const uint64_t *from)
{
	op_abs(&l->e, !l->code32, 0x8b, reg, from);
}

struct place lower_stack_top(struct lowering *l, bool flags, bool restored)
{
	struct memory m = memory_stack(l, RSP, 0);

	return memory_place(l, &m, l->word, false, flags, restored, 0);
}

struct place lower_stack_push(struct lowering *l, bool flags, bool restored, uint16_t keep)
{
	struct memory m = memory_stack(l, RSP, -(int)l->word);

	return memory_place(l, &m, l->word, true, flags, restored, keep);
}

void lower_store_imm(struct lowering *l, const struct place *place, uint64_t value)
{
	if (l->code32 || fits32((int64_t)value)) {
		mirror_begin(l, place);
		op_mem(&l->e, !l->code32, 0xc7, 0, place->base, place->index, place->scale, place->disp);
		put32(&l->e, (uint32_t)value);
	} else {
		unsigned b = scratch(l, bit(place->base) | bit(place->index));

		move_imm(&l->e, b, value);
		lower_move(l, 0x89, b, place);
	}
}

void lower_fetch_datum(struct lowering *l, struct guest_instruction *g, bool restored)
{
	uint16_t needed = bit(g->memory.base) | bit(g->memory.index);
	struct place place;
	unsigned datum;

	bring_back(l, needed);
	place = memory_place(l, &g->memory, l->word, false, g->flags_live_after, restored, needed);
	datum = memory_take(l, &place);
	lower_move(l, 0x8b, datum, &place);
	store_abs(&l->e, datum, &l->t->datum);
}

static void lower_push(struct lowering *l, struct guest_instruction *g)
{
	int reg = g->operands[0].gpr;
	struct place place;

	bring_back(l, bit(reg));
	place = lower_stack_push(l, g->flags_live, true, bit(reg));
	lower_move(l, 0x89, (unsigned)reg, &place);
	lower_stack_move(l, -(int)l->word);
}

static void lower_push_imm(struct lowering *l, struct guest_instruction *g)
{
	struct place place = lower_stack_push(l, g->flags_live, true, 0);

	lower_store_imm(l, &place, (uint64_t)g->immediate);
	lower_stack_move(l, -(int)l->word);
}

static void lower_push_memory(struct lowering *l, struct guest_instruction *g)
{
	struct place place;
	unsigned datum;

	lower_fetch_datum(l, g, true);
	place = lower_stack_push(l, g->flags_live, true, 0);
	datum = scratch(l, bit(place.base));
	lower_load_word(l, datum, &l->t->datum);
	lower_move(l, 0x89, datum, &place);
	lower_stack_move(l, -(int)l->word);
}

static void lower_pop(struct lowering *l, struct guest_instruction *g)
{
	int reg = g->operands[0].gpr;
	struct place place = lower_stack_top(l, g->flags_live, true);

	lower_move(l, 0x8b, (unsigned)reg, &place);
	l->parked &= (uint16_t)~bit(reg);
	lower_stack_move(l, (int)l->word);
}

static void lower_leave(struct lowering *l, struct guest_instruction *g)
{
	struct memory m = memory_stack(l, RBP, 0);
	struct place place;
	unsigned datum;

	bring_back(l, bit(RBP));
	place = memory_place(l, &m, l->word, false, g->flags_live, true, bit(RBP));
	datum = memory_take(l, &place);
	lower_move(l, 0x8b, datum, &place);
	op_mem(&l->e, !l->code32, 0x8d, RSP, RBP, -1, 0, (int)l->word);
	move_reg(&l->e, RBP, datum);
}

void stack_lower(struct lowering *l, struct guest_instruction *g)
{
	switch (g->kind) {
	case KIND_PUSH:
		lower_push(l, g);
		break;
	case KIND_PUSH_IMM:
		lower_push_imm(l, g);
		break;
	case KIND_PUSH_MEMORY:
		lower_push_memory(l, g);
		break;
	case KIND_POP:
		lower_pop(l, g);
		break;
	default:
		lower_leave(l, g);
	}
}
