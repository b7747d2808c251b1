/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks that branch to their own start with flags live, as chains of ADC, ADCX and ADOX do. Each look-up would have to
 * put them aside. So such a block is lowered twice, as in loop.c: the first form looks up where the accesses are, and
 * fills the windows; the second looks up, by these windows, all that it can at the start of each turn, where flags wait
 * in AH and AL for the poll anyway. When a window has another run it goes to the first form, so that an access which
 * faults, or is not memory, is one of the first form.
 *
 * Registers are scarce in such loops: one that the turn needs only for addresses which are looked up ahead may hold one
 * of them. Left out: 32-bit code.
 */
#include "cpu/translate/lower/lowering.h"

static bool is_chosen(const struct lowering *l, const struct group *group)
{
	for (unsigned i = 0; i < l->carried_count; i++)
		if (memory_covers(&l->carried[i].group, group))
			return true;
	return false;
}

/* Groups whose address is made of what is in registers at the start, but for RAX, where flags wait. */
static void choose_groups(struct lowering *l)
{
	struct memory m;

	for (unsigned i = 0; i < l->met_count && l->carried_count < CARRIED; i++)
		if (!is_chosen(l, &l->met[i].group) && memory_at_start(l, &l->met[i].group, &m) && m.base != RAX &&
		    m.index != RAX)
			l->carried[l->carried_count++] = l->met[i];
}

/* Of the candidates, registers that what is chosen makes free. */
static uint16_t freed_registers(const struct lowering *l, uint16_t candidates)
{
	for (unsigned i = 0; i < l->turn; i++) {
		const struct guest_instruction *g = &l->list[i];
		struct group group;

		if (g->kind == KIND_MEMORY && !(memory_wants(l, i, &group) && is_chosen(l, &group)))
			candidates &= (uint16_t)~g->uses;
	}
	for (unsigned i = 0; i < l->carried_count; i++) {
		struct memory m;

		memory_at_start(l, &l->carried[i].group, &m);
		if (m.index >= 0) /* is needed for the address as it is */
			candidates &= (uint16_t)~bit(m.index);
	}
	return candidates;
}

static int base_of(const struct lowering *l, unsigned chosen)
{
	struct memory m;

	memory_at_start(l, &l->carried[chosen].group, &m);
	return m.base;
}

/* The last one that gives no register, if there is one. */
static void drop_one(struct lowering *l, uint16_t freed)
{
	unsigned drop = l->carried_count - 1;

	for (unsigned i = 0; i < l->carried_count; i++)
		if (!(freed & bit(base_of(l, i))))
			drop = i;
	for (unsigned i = drop; i + 1 < l->carried_count; i++)
		l->carried[i] = l->carried[i + 1];
	l->carried_count--;
}

bool ahead_choose(struct lowering *l)
{
	uint16_t candidates = loop_idle_registers(l, true), freed;

	l->carried_count = 0;
	l->carried_registers = 0;
	if (l->code32 || !candidates)
		return false;
	choose_groups(l);
	while (freed = freed_registers(l, candidates), (unsigned)__builtin_popcount(freed) < l->carried_count)
		drop_one(l, freed);
	for (unsigned i = 0; i < l->carried_count; i++) {
		unsigned reg = 31u - (unsigned)__builtin_clz(freed);

		if (freed & bit(base_of(l, i)))
			reg = (unsigned)base_of(l, i);
		l->carried[i].group.reg = (uint8_t)reg;
		l->carried_registers |= (uint16_t)(1u << reg);
		freed &= (uint16_t) ~(1u << reg);
	}
	return l->carried_count;
}

/* From the start with EFLAGS, and from loop_top with flags in AH and AL, what is to be parked parked. from: of the
 * jumps to where a window has another run. */
static void look_ahead(struct lowering *l, uint32_t from[CARRIED])
{
	struct emitter *e = &l->e;

	park(l, RAX);
	PUT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	for (unsigned i = 0; i < l->carried_count; i++)
		park(l, l->carried[i].group.reg);
	l->loop_top = e->at;
	for (unsigned i = 0; i < l->carried_count; i++) {
		const struct look_up *carried = &l->carried[i];
		const struct window *window = &l->t->windows[carried->window];
		unsigned reg = carried->group.reg;
		struct memory m;

		memory_at_start(l, &carried->group, &m);
		if (m.base >= 0 && l->carried_registers >> m.base & 1) {
			load_abs(e, reg, home(l, (unsigned)m.base));
			m.base = (int8_t)reg;
		}
		memory_address(l, reg, &m);
		op_abs(e, true, 0x2b, reg, &window->start);
		op_abs(e, true, 0x3b, reg, &window->limit);
		from[i] = branch_ahead(e, CONDITION_AE);
		op_abs(e, true, 0x03, reg, &window->host);
	}
	PUT(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
}

void ahead_lower(struct lowering *l)
{
	const unsigned count = l->count;
	const uint64_t end = l->end;
	const bool unreadable = l->unreadable;
	uint32_t to_second = jump_ahead(&l->e), first = l->e.at, from[CARRIED];
	struct emitter *e = &l->e;

	l->met_count = l->carried_count = 0;
	l->carried_registers = 0;
	lower_instructions(l);
	ahead_choose(l);
	patch32(e->base, to_second, e->at);
	l->loop_parked = l->carried_registers | 1u << RAX;
	l->count = l->turn;
	l->end = l->list[l->turn - 1].rip + l->list[l->turn - 1].length;
	l->unreadable = false;
	loop_form_begin(l);
	look_ahead(l, from);
	lower_instructions(l);
	for (unsigned i = 0; i < l->carried_count; i++)
		patch32(e->base, from[i], e->at);
	PUT(e, 0x04, 0x7f, 0x9e);
	for (unsigned reg = 0; reg < 16; reg++)
		if (l->loop_parked >> reg & 1)
			load_abs(e, reg, home(l, reg));
	jump_to(e, first);
	l->count = count;
	l->end = end;
	l->unreadable = unreadable;
}

void ahead_branch(struct lowering *l, unsigned condition, uint64_t target)
{
	uint16_t parked = l->parked;
	uint32_t over = branch_ahead(&l->e, condition ^ 1);

	park(l, RAX);
	PUT(&l->e, 0x9f, 0x0f, 0x90, 0xc0);
	bring_back(l, (uint16_t)~l->loop_parked);
	op_abs(&l->e, false, 0x83, 7, &l->t->poll);
	put8(&l->e, 0);
	branch_to(&l->e, CONDITION_E, l->loop_top);
	PUT(&l->e, 0x04, 0x7f, 0x9e);
	link_parked(l, jump_ahead(&l->e), target);
	l->parked = parked;
	patch32(l->e.base, over, l->e.at);
}
