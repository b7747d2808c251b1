/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Branches. A direct one is a link: a jump that leads out of line until the target's block is there. An indirect one is
 * compared with where it went first, which is a link as well; else it looks into the table of its key (struct jump_slot); a wrong
 * or stale slot is found out at the target's entry.
 */
#include "cpu/translate/lower/lowering.h"

static void lower_jcc(struct lowering *l, struct guest_instruction *g)
{
	uint64_t target = classify_target(l->t, g);
	unsigned condition = g->opcode & 15;

	if (!l->turn || target != l->list[0].rip || !loop_branch(l, condition, target))
		link_parked(l, branch_ahead(&l->e, condition), target);
}

/* JRCXZ, LOOP, LOOPE and LOOPNE: the instruction itself decides, over a jump that reaches farther. No flag changes. */
static void lower_jcxz(struct lowering *l, struct guest_instruction *g)
{
	struct emitter *e = &l->e;

	bring_back(l, bit(RCX));
	if (g->address_width == 32)
		put8(e, 0x67);
	PUT(e, g->opcode, 2, 0xeb, 5); /* to the jump; jmp behind it */
	link_parked(l, jump_ahead(e), classify_target(l->t, g));
}

/* From the rel32 of the branch behind `cmp a, [expected]` back to the address in that. */
enum { EXPECTED_BEFORE_BRANCH = 2 + 4 };

/*
 * The target is in register a, flags are in memory (or dead). `undo` brings RSP back to what it was. A branch goes mostly
 * where it went first, and to that block it is linked (a SITE_LINK behind its own site); when it does not, or is not linked,
 * branch_emit_cold has it. Until it goes somewhere the link leads to the block itself, where a branch cannot fault: nobody
 * checks the target of a link.
 */
static void jump_indirect(struct lowering *l, unsigned a, int32_t undo)
{
	struct translator *t = l->t;
	struct emitter *e = &l->e;
	const uint32_t site = new_site(l, SITE_INDIRECT, l->list[l->at].rip), link = new_site(l, SITE_LINK, l->list[0].rip);

	t->sites[site].disp = undo;
	t->sites[link].flags_in_memory = true;
	t->sites[link].parked = l->spare;
	op_abs(e, true, 0x3b, a, NULL); /* cmp a, [expected], which branch_emit_cold writes */
	new_cold(l, (struct cold){.from = branch_ahead(e, CONDITION_NE), .site = site, .address = (int8_t)a, .parked = l->parked});
	bring_back(l, l->parked);
	t->sites[link].patch = jump_ahead(e);
	new_cold(l, (struct cold){.from = t->sites[link].patch, .site = link});
}

/* Looks into the table of the key. */
static uint32_t look_up_jump(struct lowering *l, unsigned a, const struct jump_slot *table)
{
	struct emitter *e = &l->e;
	unsigned b = scratch(l, bit((int)a));
	uint32_t leave;

	/* b = jump_index(a) * sizeof(struct jump_slot) */
	put_rex(e, false, b, (int)a, -1);
	PUT(e, 0x69, (uint8_t)(0xc0 | (b & 7) << 3 | (a & 7))); /* imul b32, a32, .. */
	put32(e, JUMP_FACTOR);
	put_rex(e, false, 0, (int)b, -1);
	PUT(e, 0xc1, (uint8_t)(0xe8 | (b & 7)), 32 - l->t->jump_bits - JUMP_SLOT_SHIFT); /* shr b32, .. */
	alu_imm(e, false, 4, b, ((1 << l->t->jump_bits) - 1) << JUMP_SLOT_SHIFT);
	op_mem(e, true, 0x3b, a, (int)b, -1, 0, (int32_t)low_address(table));
	leave = branch_ahead(e, CONDITION_NE);
	op_mem(e, true, 0x8b, b, (int)b, -1, 0, (int32_t)low_address(&table->host));
	store_abs(e, b, &l->t->target);
	return leave;
}

void branch_emit_cold(struct lowering *l, const struct cold *cold)
{
	struct translator *t = l->t;
	struct emitter *e = &l->e;
	struct jump_slot *table = jump_table(t, t->key);
	struct site *site = &t->sites[cold->site];
	uint32_t leave, address;

	site->other = cold->from;
	site->resume = e->at;
	l->parked = cold->parked;
	if (table) {
		leave = look_up_jump(l, (unsigned)cold->address, table);
		site->parked = l->parked;
		bring_back(l, l->parked);
		op_abs(e, false, 0xff, 4, &t->target);
		patch32(e->base, cold->from, e->at);
		l->parked = cold->parked;
		for (unsigned i = 0; i < 16; i++)
			if (site->parked >> i & 1)
				park(l, i);
		patch32(e->base, leave, e->at);
	}
	store_abs(e, (unsigned)cold->address, &t->cpu->s.rip);
	leave_at(l, cold->site, false);
	e->at = (e->at + 7) & ~7u;
	site->expected = e->at;
	put64(e, l->list[0].rip);
	address = low_address(t->exec_base) + site->expected;
	memcpy(e->base + cold->from - EXPECTED_BEFORE_BRANCH, &address, sizeof(address));
}

static void lower_ret(struct lowering *l, struct guest_instruction *g)
{
	int32_t more = (uint16_t)g->immediate;
	struct place place = lower_stack_top(l, true, false);
	unsigned target = memory_take(l, &place);

	lower_move(l, 0x8b, target, &place);
	lower_stack_move(l, (int)l->word + more);
	jump_indirect(l, target, -(int)l->word - more);
}

static void lower_call(struct lowering *l, struct guest_instruction *g)
{
	struct place place = lower_stack_push(l, g->flags_live, false, 0);

	lower_store_imm(l, &place, g->rip + g->length);
	lower_stack_move(l, -(int)l->word);
	bring_back(l, l->parked);
	link_to(l, classify_target(l->t, g), true);
}

static void register_datum(struct lowering *l, struct guest_instruction *g)
{
	int reg = g->operands[0].gpr;

	bring_back(l, bit(reg));
	op_abs(&l->e, !l->code32, 0x89, (unsigned)reg, &l->t->datum);
}

static void lower_jump_indirect(struct lowering *l, struct guest_instruction *g)
{
	unsigned a;

	if (g->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
		g->flags_live_after = true;
		lower_fetch_datum(l, g, false);
	} else {
		register_datum(l, g);
		save_flags(l, 0);
	}
	a = scratch(l, 0);
	lower_load_word(l, a, &l->t->datum);
	jump_indirect(l, a, 0);
}

static void lower_call_indirect(struct lowering *l, struct guest_instruction *g)
{
	struct place place;
	unsigned target;

	if (g->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
		g->flags_live_after = true;
		lower_fetch_datum(l, g, true);
	} else {
		register_datum(l, g);
	}
	place = lower_stack_push(l, true, false, 0);
	lower_store_imm(l, &place, g->rip + g->length);
	lower_stack_move(l, -(int)l->word);
	target = memory_take(l, &place);
	lower_load_word(l, target, &l->t->datum);
	jump_indirect(l, target, (int)l->word);
}

void branch_lower(struct lowering *l, struct guest_instruction *g)
{
	switch (g->kind) {
	case KIND_JCC:
		lower_jcc(l, g);
		break;
	case KIND_JCXZ:
		lower_jcxz(l, g);
		break;
	case KIND_JMP:
		bring_back(l, l->parked);
		link_to(l, classify_target(l->t, g), false);
		break;
	case KIND_CALL:
		lower_call(l, g);
		break;
	case KIND_RET:
		lower_ret(l, g);
		break;
	case KIND_JMP_INDIRECT:
		lower_jump_indirect(l, g);
		break;
	default:
		lower_call_indirect(l, g);
	}
}
