/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks that branch to their own start.
 *
 * Carried addresses: where registers move by constants from turn to turn, so do the host addresses of what they point
 * to. Such a block is lowered twice. The first form looks up every access, has all the ways out, and fills the windows.
 * The second ends with the last branch to the start and has no look-ups for the groups whose address is carried:
 * registers that the block does not use hold their host addresses, are moved at the end of a turn and compared with the
 * end of the run that they lie in (translator.loop_bound). It is entered when the windows of the first form have these
 * addresses; else the first form does one turn and comes back here by a link. So an access that faults, or is not
 * memory, is always one of the first form, at its own instruction.
 *
 * What a register points to stays valid until the next poll as a group does: nothing is taken from a vCPU before.
 *
 * Flags that are live from turn to turn: loop_flags.c.
 *
 * Parked registers: when nothing can be carried, but registers are parked at the end of a turn, the block is lowered
 * once more so that they stay parked from turn to turn.
 */
#include "cpu/translate/lower/lowering.h"

/* Instructions of a block that is lowered twice. */
enum { LONGEST = 24, LONGEST_WITH_FLAGS = 48 };

bool loop_ends_turn(const struct lowering *l, const struct guest_instruction *g)
{
	return g->kind == KIND_JCC && classify_target(l->t, g) == l->list[0].rip;
}

uint16_t loop_idle_registers(const struct lowering *l, bool addresses)
{
	uint16_t used = 1u << RSP | 1u << RAX;

	if (!l->turn || l->turn > (addresses ? LONGEST_WITH_FLAGS : LONGEST))
		return 0;
	for (unsigned i = 0; i < l->turn; i++) {
		const struct guest_instruction *g = &l->list[i];

		if (g->high_byte || (g->kind != KIND_COPY && g->kind != KIND_SKIP && g->kind != KIND_MEMORY &&
				     g->kind != KIND_LEA_RIP && g->kind != KIND_JCC))
			return 0;
		used |= (addresses && g->kind == KIND_MEMORY ? g->direct : g->uses) | g->overwrites;
	}
	return (uint16_t)~used;
}

bool loop_stride(const struct lowering *l, const struct group *group, int64_t *stride)
{
	int64_t first = INT64_MAX;
	struct memory m;

	if (!memory_at_start(l, group, &m))
		return false;
	for (unsigned i = 0; i < l->count; i++) {
		if (!loop_ends_turn(l, &l->list[i]))
			continue;
		if (!memory_stride(l, group, i, stride) || (first != INT64_MAX && *stride != first))
			return false;
		first = *stride;
	}
	return true;
}

static bool can_be_carried(const struct lowering *l, const struct group *group)
{
	int64_t stride;

	if (!loop_stride(l, group, &stride))
		return false;
	for (unsigned i = 0; i < l->carried_count; i++)
		if (memory_covers(&l->carried[i].group, group))
			return false;
	return true;
}

static bool any_can_be_carried(const struct lowering *l)
{
	for (unsigned i = 0; i < l->met_count; i++)
		if (can_be_carried(l, &l->met[i].group))
			return true;
	return false;
}

static void choose_carried(struct lowering *l, uint16_t idle)
{
	for (unsigned i = 0; i < l->met_count && idle && l->carried_count < CARRIED; i++) {
		unsigned reg = 31u - (unsigned)__builtin_clz(idle);

		if (!can_be_carried(l, &l->met[i].group))
			continue;
		l->carried[l->carried_count] = l->met[i];
		l->carried[l->carried_count++].group.reg = (uint8_t)reg;
		l->carried_registers |= (uint16_t)(1u << reg);
		idle &= (uint16_t) ~(1u << reg);
	}
}

/* Where a register that moves by stride leaves the window's run. */
static void note_bound(struct lowering *l, const struct window *window, unsigned reg, int64_t stride,
		       const uint64_t *bound)
{
	load_abs(&l->e, reg, &window->host);
	if (stride > 0)
		op_abs(&l->e, true, 0x03, reg, &window->limit);
	store_abs(&l->e, reg, bound);
}

/* The carried addresses into their registers; to `first` when a window has another run. */
static void enter_carried(struct lowering *l, uint32_t first)
{
	uint32_t from[CARRIED], over;
	struct emitter *e = &l->e;
	unsigned back = 0;

	while (!loop_ends_turn(l, &l->list[back]))
		back++;
	for (unsigned i = 0; i < l->carried_count; i++)
		park(l, l->carried[i].group.reg);
	for (unsigned i = 0; i < l->carried_count; i++) {
		const struct look_up *carried = &l->carried[i];
		const struct window *window = &l->t->windows[carried->window];
		unsigned reg = carried->group.reg;
		struct memory m;
		int64_t stride;

		memory_at_start(l, &carried->group, &m);
		memory_stride(l, &carried->group, back, &stride);
		if (stride)
			note_bound(l, window, reg, stride, &l->t->loop_bound[i]);
		memory_address(l, reg, &m);
		op_abs(e, true, 0x2b, reg, &window->start);
		op_abs(e, true, 0x3b, reg, &window->limit);
		from[i] = branch_ahead(e, CONDITION_AE);
		op_abs(e, true, 0x03, reg, &window->host);
	}
	over = jump_ahead(e);
	for (unsigned i = 0; i < l->carried_count; i++)
		patch32(e->base, from[i], e->at);
	for (unsigned i = 0; i < l->carried_count; i++)
		if (!(l->spare >> l->carried[i].group.reg & 1))
			load_abs(e, l->carried[i].group.reg, home(l, l->carried[i].group.reg));
	patch32(e->base, jump_ahead(e), first);
	patch32(e->base, over, e->at);
}

/* The end of a turn with everything parked that is to be, and flags dead: moves what is carried and goes to the top, or
 * falls through when the turn has to begin with the block's entry. */
static void next_turn(struct lowering *l)
{
	uint32_t from[CARRIED + 1];
	struct emitter *e = &l->e;
	unsigned count = 0;

	op_abs(e, false, 0x83, 7, &l->t->poll);
	put8(e, 0);
	if (!l->carried_count) {
		branch_to(e, CONDITION_E, l->loop_top);
		return;
	}
	from[count++] = branch_ahead(e, CONDITION_NE);
	for (unsigned i = 0; i < l->carried_count; i++) {
		const struct group *group = &l->carried[i].group;
		int64_t stride;

		memory_stride(l, group, l->at, &stride);
		if (!stride)
			continue;
		op_mem(e, true, 0x8d, group->reg, group->reg, -1, 0, (int32_t)stride);
		op_abs(e, true, 0x3b, group->reg, &l->t->loop_bound[i]);
		from[count++] = branch_ahead(e, stride > 0 ? CONDITION_AE : CONDITION_B);
	}
	patch32(e->base, jump_ahead(e), l->loop_top);
	while (count--)
		patch32(e->base, from[count], e->at);
}

bool loop_branch(struct lowering *l, unsigned condition, uint64_t target)
{
	uint16_t parked = l->parked;
	uint32_t over;

	if (l->loop_top && l->flags_turn) {
		ahead_branch(l, condition, target);
		return true;
	}
	if (!l->loop_top) {
		l->loop_parked |= parked & (uint16_t)~l->spare;
		return false;
	}
	over = branch_ahead(&l->e, condition ^ 1);
	for (unsigned reg = 0; reg < 16; reg++)
		if (l->loop_parked >> reg & 1)
			park(l, reg);
	bring_back(l, (uint16_t)~l->loop_parked);
	next_turn(l);
	link_parked(l, jump_ahead(&l->e), target);
	l->parked = parked;
	patch32(l->e.base, over, l->e.at);
	return true;
}

void loop_form_begin(struct lowering *l)
{
	l->parked = l->spare;
	l->shadow = false;
	memory_forget(l);
}

/* What a form of the block has written. */
struct form {
	struct emitter e;
	uint32_t sites, windows, faults;
	unsigned colds;
};

static struct form form_begin(struct lowering *l)
{
	loop_form_begin(l);
	return (struct form){.e = l->e, .sites = l->t->site_count, .windows = l->t->window_count, .faults = l->t->fault_count, .colds = l->cold_count};
}

/* Takes it back, for another one in its place. */
static void form_again(struct lowering *l, const struct form *form)
{
	l->e = form->e;
	l->t->site_count = form->sites;
	l->t->window_count = form->windows;
	l->t->fault_count = form->faults;
	l->cold_count = form->colds;
	form_begin(l);
}

/* The form in which registers are parked from turn to turn. first: where the one that carries nothing is. */
static void lower_turns(struct lowering *l, uint32_t first)
{
	if (l->carried_count)
		enter_carried(l, first);
	if (l->mirrored)
		mirror_check_turns(l);
	for (unsigned reg = 0; reg < 16; reg++)
		if (l->loop_parked >> reg & 1)
			park(l, reg);
	bring_back(l, (uint16_t)~(l->loop_parked | l->carried_registers));
	l->loop_top = l->e.at;
	lower_instructions(l);
}

/* Both forms, of a block of which something can be carried. */
static void lower_twice(struct lowering *l, uint16_t idle)
{
	const unsigned count = l->count;
	const uint64_t end = l->end;
	const bool unreadable = l->unreadable;
	uint32_t to_carried = jump_ahead(&l->e), first = l->e.at;
	struct form trial;

	l->met_count = 0;
	lower_instructions(l);
	choose_carried(l, idle);
	patch32(l->e.base, to_carried, l->e.at);
	l->loop_parked = l->carried_registers & (uint16_t)~l->spare;
	l->count = l->turn;
	l->end = l->list[l->turn - 1].rip + l->list[l->turn - 1].length;
	l->unreadable = false;
	trial = form_begin(l);
	l->parked |= l->carried_registers;
	lower_instructions(l); /* tells what else is parked at the end of a turn */
	form_again(l, &trial);
	lower_turns(l, first);
	l->count = count;
	l->end = end;
	l->unreadable = unreadable;
}

/* The form that carries nothing. True: mirrored addresses were checked before it. */
static bool lower_once(struct lowering *l, const struct form *form, bool flags)
{
	bool checked;

	l->loop_parked = l->carried_registers = 0;
	l->met_count = l->carried_count = 0;
	if (l->mirrored && l->turn && !flags)
		mirror_check_turns(l);
	checked = l->e.at > form->e.at;
	lower_instructions(l);
	return checked;
}

void loop_body(struct lowering *l, bool loops, bool flags)
{
	struct form form = form_begin(l);
	uint16_t idle;
	bool checked, summed;

	l->turn = 0;
	l->flags_turn = flags;
	for (unsigned i = 0; i < l->count && loops; i++)
		if (loop_ends_turn(l, &l->list[i]))
			l->turn = i + 1;
	l->loop_top = 0;
	/* Windows whose addresses are carried do without a sum in each turn. */
	summed = l->mirrored && l->turn && !l->t->mirror_gs;
	if (summed)
		l->mirrored = false;
	checked = lower_once(l, &form, flags);
	idle = loop_idle_registers(l, false);
	if (flags ? ahead_choose(l) : idle && any_can_be_carried(l)) {
		form_again(l, &form);
		if (flags)
			ahead_lower(l);
		else
			lower_twice(l, idle);
		return;
	}
	if (summed) {
		form_again(l, &form);
		l->mirrored = true;
		checked = lower_once(l, &form, flags);
	}
	if (!flags && (l->loop_parked || checked)) {
		form_again(l, &form);
		lower_turns(l, 0);
	}
}
