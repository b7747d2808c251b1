/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a guest address becomes a host address, but for operands in a mirror (mirror_operand.c): callers of memory_place get what
 * there is, those of lower_memory always a look-up.
 *
 * An access has a window (windows.c): the run of linear addresses that its site met last. Accesses of a block whose addresses
 * differ by constants share one look-up: `lower_symbols` follows what is added to registers, the first access of a group
 * looks up all bytes that the group will touch, and the host address of their first stays in a parked register as long as
 * that is not needed otherwise. When the group's bytes do not lie in one run that may be written, C is asked; what it cannot
 * help with is interpreted, and a block in which that happens often is made again without groups.
 */
#include "cpu/translate/lower/lowering.h"

enum { GROUP_BYTES = 192, OFFSET_MAX = 1 << 24 };

/* --- what is known of registers --- */

static void symbol_new(struct lowering *l, struct symbol *symbols, unsigned reg)
{
	symbols[reg] = (struct symbol){ .id = ++l->symbol_count };
}

static void symbol_add(struct lowering *l, struct symbol *symbols, unsigned reg, int64_t value)
{
	int64_t offset = symbols[reg].offset + value;

	if (offset > OFFSET_MAX || offset < -OFFSET_MAX)
		symbol_new(l, symbols, reg);
	else
		symbols[reg].offset = (int32_t)offset;
}

static bool full_register(const struct lowering *l, const struct operand *operand)
{
	return operand->gpr >= 0 && operand->size == l->word * 8;
}

/* ADD, SUB, INC, DEC, LEA and MOV that only move an address. */
static bool symbol_moved(struct lowering *l, struct symbol *symbols, const struct guest_instruction *g)
{
	const struct operand *operand = g->operands;
	unsigned reg;

	if (!full_register(l, &operand[0]))
		return false;
	reg = (unsigned)operand[0].gpr;
	switch (g->mnemonic) {
	case ZYDIS_MNEMONIC_INC:
		symbol_add(l, symbols, reg, 1);
		return true;
	case ZYDIS_MNEMONIC_DEC:
		symbol_add(l, symbols, reg, -1);
		return true;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		if (operand[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return false;
		symbol_add(l, symbols, reg, g->mnemonic == ZYDIS_MNEMONIC_ADD ? g->immediate : -g->immediate);
		return true;
	case ZYDIS_MNEMONIC_MOV:
		if (!full_register(l, &operand[1]))
			return false;
		symbols[reg] = symbols[operand[1].gpr];
		return true;
	case ZYDIS_MNEMONIC_LEA:
		if (g->kind != KIND_COPY || g->memory.base < 0 || g->memory.index >= 0 || g->memory.address32 != l->code32)
			return false;
		symbols[reg] = symbols[g->memory.base];
		symbol_add(l, symbols, reg, g->memory.disp);
		return true;
	default:
		return false;
	}
}

/* Kinds that groups live across. */
static bool keeps_groups(enum kind kind)
{
	return kind == KIND_COPY || kind == KIND_SKIP || kind == KIND_MEMORY || kind == KIND_LEA_RIP || kind == KIND_JCC ||
	       kind == KIND_JCXZ || kind == KIND_PUSH || kind == KIND_PUSH_IMM || kind == KIND_PUSH_MEMORY || kind == KIND_POP || kind == KIND_LEAVE;
}

static void symbols_after(struct lowering *l, struct symbol *symbols, const struct guest_instruction *g)
{
	switch (g->kind) {
	case KIND_SKIP:
	case KIND_JCC:
		return;
	case KIND_PUSH:
	case KIND_PUSH_IMM:
	case KIND_PUSH_MEMORY:
		symbol_add(l, symbols, RSP, -(int)l->word);
		return;
	case KIND_POP:
		symbol_add(l, symbols, RSP, (int)l->word);
		symbol_new(l, symbols, (unsigned)g->operands[0].gpr);
		return;
	case KIND_LEAVE:
		symbols[RSP] = symbols[RBP];
		symbol_add(l, symbols, RSP, (int)l->word);
		symbol_new(l, symbols, RBP);
		return;
	default:
		break;
	}
	if (!keeps_groups(g->kind)) {
		for (unsigned reg = 0; reg < 16; reg++)
			symbol_new(l, symbols, reg);
		return;
	}
	if (symbol_moved(l, symbols, g))
		return;
	for (uint16_t left = g->written; left; left &= (uint16_t)(left - 1))
		symbol_new(l, symbols, (unsigned)__builtin_ctz(left));
}

void memory_symbols(struct lowering *l)
{
	l->symbol_count = 0;
	for (unsigned reg = 0; reg < 16; reg++)
		symbol_new(l, l->symbols[0], reg);
	for (unsigned i = 0; i + 1 < l->count; i++) {
		memcpy(l->symbols[i + 1], l->symbols[i], sizeof(l->symbols[i]));
		symbols_after(l, l->symbols[i + 1], &l->list[i]);
	}
	memory_forget(l);
}

/* --- groups --- */

struct access {
	struct memory memory;
	unsigned size;
	bool write;
};

struct memory memory_stack(const struct lowering *l, int base, int disp)
{
	struct memory m = { .base = (int8_t)base, .index = NO_REGISTER, .segment = NO_REGISTER, .disp = disp };
	const struct segmentation *s = segmentation_of(l->t, l->t->key);

	m.address32 = l->code32;
	m.limit = s->limit[X86_SS];
	if (s->rights[X86_SS] & SEGMENT_BASE)
		m.segment = X86_SS;
	return m;
}

/* What the instruction will ask lower_memory for. */
static unsigned accesses_of(const struct lowering *l, const struct guest_instruction *g, struct access out[2])
{
	const struct access push = { .memory = memory_stack(l, RSP, -(int)l->word), .size = l->word, .write = true };
	const struct access top = { .memory = memory_stack(l, RSP, 0), .size = l->word };
	const struct access operand = { .memory = g->memory, .size = g->size, .write = g->writes };
	bool from_memory = g->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;

	switch (g->kind) {
	case KIND_MEMORY:
		out[0] = operand;
		return 1;
	case KIND_PUSH:
	case KIND_PUSH_IMM:
	case KIND_CALL:
		out[0] = push;
		return 1;
	case KIND_POP:
	case KIND_RET:
		out[0] = top;
		return 1;
	case KIND_LEAVE:
		out[0] = (struct access){ .memory = memory_stack(l, RBP, 0), .size = l->word };
		return 1;
	case KIND_PUSH_MEMORY:
		out[0] = operand;
		out[1] = push;
		return 2;
	case KIND_CALL_INDIRECT:
		out[0] = push;
		out[1] = operand;
		return 1 + from_memory;
	case KIND_JMP_INDIRECT:
		out[0] = operand;
		return from_memory;
	default:
		return 0;
	}
}

static struct group group_of(const struct lowering *l, unsigned at, const struct memory *m)
{
	const struct symbol *symbols = l->symbols[at];
	struct group key = { .scale = m->scale, .segment = m->segment, .address32 = m->address32, .low = m->disp };

	if (m->base >= 0) {
		key.base = symbols[m->base].id;
		key.low += symbols[m->base].offset;
	}
	if (m->index >= 0) {
		key.index = symbols[m->index].id;
		key.low += (int64_t)symbols[m->index].offset * (1 << m->scale);
	}
	return key;
}

/* False: the address is not of a kind that is shared. */
static bool group_key(const struct lowering *l, unsigned at, const struct memory *m, struct group *key)
{
	if (!l->share || (m->base < 0 && m->index < 0) || (m->segment != NO_REGISTER && m->segment >= SEGMENTS) ||
	    (l->code32 && m->limit != UINT32_MAX) || m->disp > OFFSET_MAX || m->disp < -OFFSET_MAX)
		return false;
	*key = group_of(l, at, m);
	return true;
}

static bool same_key(const struct group *a, const struct group *b)
{
	return a->base == b->base && a->index == b->index && (!a->index || a->scale == b->scale) && a->segment == b->segment &&
	       a->address32 == b->address32;
}

bool memory_covers(const struct group *a, const struct group *b)
{
	return same_key(a, b) && b->low >= a->low && b->high <= a->high && (a->write || !b->write);
}

/* A symbol that the block begins with is a register's number + 1 (memory_symbols). */
static bool at_start(uint32_t id, int8_t *reg)
{
	*reg = id ? (int8_t)(id - 1) : NO_REGISTER;
	return id <= 16;
}

bool memory_at_start(const struct lowering *l, const struct group *group, struct memory *m)
{
	*m = (struct memory){ .segment = group->segment, .scale = group->scale, .disp = group->low, .address32 = group->address32 };
	m->limit = UINT32_MAX;
	return at_start(group->base, &m->base) && at_start(group->index, &m->index) && fits32(group->low);
}

bool memory_stride(const struct lowering *l, const struct group *group, unsigned at, int64_t *stride)
{
	const struct symbol *now = l->symbols[at];
	int8_t base, index;

	*stride = 0;
	if (!at_start(group->base, &base) || !at_start(group->index, &index) ||
	    (base >= 0 && now[base].id != group->base) || (index >= 0 && now[index].id != group->index))
		return false;
	if (base >= 0)
		*stride += now[base].offset;
	if (index >= 0)
		*stride += (int64_t)now[index].offset * (1 << group->scale);
	return fits32(*stride);
}

/* The group that serves what the instruction `at` wants. */
static const struct group *group_covers(const struct lowering *l, unsigned at, const struct group *wanted)
{
	for (unsigned i = 0; i < l->carried_count; i++)
		if (memory_covers(&l->carried[i].group, wanted))
			return &l->carried[i].group;
	for (unsigned i = 0; i < ARRAY_SIZE(l->groups); i++) {
		const struct group *group = &l->groups[i];

		if (group->reg && l->parked >> group->reg & 1 && memory_covers(group, wanted) &&
		    !(l->list[at].high_byte && group->reg >= 8))
			return group;
	}
	return NULL;
}

static const struct group *group_find(const struct lowering *l, const struct group *key, unsigned size, bool write)
{
	struct group wanted = *key;

	wanted.high = key->low + size;
	wanted.write = write;
	return group_covers(l, l->at, &wanted);
}

bool memory_wants(const struct lowering *l, unsigned at, struct group *group)
{
	const struct guest_instruction *g = &l->list[at];

	if (!group_key(l, at, &g->memory, group))
		return false;
	group->high = group->low + g->size;
	group->write = g->writes;
	return true;
}

bool memory_served(const struct lowering *l, unsigned at)
{
	struct group wanted;

	if (l->list[at].kind != KIND_MEMORY || !memory_wants(l, at, &wanted))
		return false;
	if (at > l->at && l->pending && memory_covers(l->pending, &wanted))
		return true;
	return group_covers(l, at, &wanted);
}

bool memory_waits(const struct lowering *l, const struct group *group)
{
	for (unsigned i = l->at + 1; i < l->count && keeps_groups(l->list[i].kind); i++) {
		struct access accesses[2];
		unsigned count = accesses_of(l, &l->list[i], accesses);

		for (unsigned k = 0; k < count; k++) {
			struct group wanted;

			if (!group_key(l, i, &accesses[k].memory, &wanted))
				continue;
			wanted.high = wanted.low + accesses[k].size;
			wanted.write = accesses[k].write;
			if (memory_covers(group, &wanted))
				return true;
		}
	}
	return false;
}

/* Widens *group, which is what an access needs, by what later ones need; returns how many those are. */
static unsigned group_look_ahead(const struct lowering *l, struct group *group)
{
	unsigned more = 0;

	for (unsigned i = l->at; i < l->count; i++) {
		struct access accesses[2];
		unsigned count = i > l->at || l->list[i].kind == KIND_PUSH_MEMORY ? accesses_of(l, &l->list[i], accesses) : 0;

		for (unsigned k = i == l->at; k < count; k++) {
			struct group key;
			int64_t low, high;

			if (!accesses[k].size || !group_key(l, i, &accesses[k].memory, &key) || !same_key(&key, group))
				continue;
			low = key.low < group->low ? key.low : group->low;
			high = key.low + accesses[k].size;
			high = high > group->high ? high : group->high;
			if (high - low > (l->summed ? NEAR_BYTES : GROUP_BYTES))
				continue;
			group->low = low;
			group->high = high;
			group->write |= accesses[k].write;
			more++;
		}
		if (i > l->at && !keeps_groups(l->list[i].kind))
			break;
	}
	return more;
}

static void group_keep(struct lowering *l, const struct group *group)
{
	l->groups[l->group_next++ % ARRAY_SIZE(l->groups)] = *group;
}

bool memory_near(const struct lowering *l, const struct memory *m, struct group *key)
{
	*key = group_of(l, l->at, m);
	for (unsigned i = 0; i < ARRAY_SIZE(l->near); i++) {
		const struct group *near = &l->near[i];

		if ((near->base || near->index) && same_key(near, key) && near->low - key->low <= NEAR_BYTES && key->low - near->low <= NEAR_BYTES) {
			key->low_area = near->low_area;
			return true;
		}
	}
	return false;
}

void memory_near_note(struct lowering *l, const struct group *key)
{
	l->near[l->near_next++ % ARRAY_SIZE(l->near)] = *key;
}

void memory_forget(struct lowering *l)
{
	for (unsigned i = 0; i < ARRAY_SIZE(l->near); i++)
		l->near[i].base = l->near[i].index = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(l->groups); i++)
		l->groups[i].reg = 0;
}

unsigned memory_take(struct lowering *l, const struct place *place)
{
	if (place->mirrored)
		return scratch(l, bit(place->base) | bit(place->index));
	groups_drop(l, (unsigned)place->base);
	return (unsigned)place->base;
}

/* --- addresses --- */

void memory_address(struct lowering *l, unsigned to, const struct memory *m)
{
	struct emitter *e = &l->e;

	if (m->base < 0 && m->index < 0)
		move_imm(e, to, (uint64_t)m->disp);
	else
		op_mem(e, !m->address32, 0x8d, to, m->base, m->index, m->scale, (int32_t)m->disp);
	if (m->segment >= 0)
		op_abs(e, !l->code32, 0x03, to, lower_segment_base(l->t, m->segment));
}

/* An offset behind the segment's limit is the interpreter's. Changes EFLAGS. */
static void check_limit(struct lowering *l, unsigned a, const struct memory *m, unsigned size)
{
	struct memory offset = *m;

	if (!l->code32 || m->limit == UINT32_MAX)
		return;
	offset.segment = NO_REGISTER;
	memory_address(l, a, &offset);
	alu_imm(&l->e, false, 7, a, (int32_t)(m->limit - size + 1));
	branch_cold(l, CONDITION_A, new_site(l, SITE_INTERPRET, l->list[l->at].rip));
}

void memory_note(struct site *site, const struct memory *m, unsigned size, bool write, uint32_t resume)
{
	site->resume = resume;
	site->disp = m->disp;
	site->base = m->base;
	site->index = m->index;
	site->segment = m->segment;
	site->scale = m->scale;
	site->address32 = m->address32;
	site->size = (uint8_t)size;
	site->write = write;
}

/* a = the host address of [m, +size). Changes EFLAGS. Returns the window. */
static uint32_t look_up(struct lowering *l, unsigned a, const struct memory *m, unsigned size, bool write, bool group)
{
	bool constant = m->base < 0 && m->index < 0 && m->segment < 0 && (m->disp & (PAGE_SIZE - 1)) + size <= PAGE_SIZE;
	uint32_t resume = l->e.at, number = new_site(l, SITE_MEMORY, l->list[l->at].rip), from;
	struct translator *t = l->t;
	const struct guest_instruction *g = &l->list[l->at];
	const uint32_t window_number = new_window(l, number, (struct window){.resume = low_address(t->exec_base) + resume, .size = (uint8_t)size});
	const struct window *window = &t->windows[window_number];
	struct emitter *e = &l->e;

	memory_note(&t->sites[number], m, size, write, resume);
	t->sites[number].constant = constant;
	t->sites[number].group = group;
	t->sites[number].page_faults = !group && page_faults_first(g);
	if (constant) {
		load_abs(e, a, &window->host);
		PUT(e, (uint8_t)(0x48 | (a & 8) >> 1 | a >> 3), 0x85, (uint8_t)(0xc0 | (a & 7) << 3 | (a & 7))); /* test a, a */
		from = branch_ahead(e, CONDITION_E);
	} else {
		if ((int)a == m->base || (int)a == m->index) /* when it is tried again, too */
			load_abs(e, a, home(l, a));
		memory_address(l, a, m);
		op_abs(e, true, 0x2b, a, &window->start);
		op_abs(e, true, 0x3b, a, &window->limit);
		from = branch_ahead(e, CONDITION_AE);
		op_abs(e, true, 0x03, a, &window->host);
	}
	new_cold(l, (struct cold){ .from = from, .site = number, .window = window_number, .address = (int8_t)a,
		.stub = t->window_stub[t->key & KEY_VIEW][write][constant] });
	return window_number;
}

void memory_emit_cold(struct lowering *l, const struct cold *cold)
{
	const struct site *site = &l->t->sites[cold->site];
	unsigned a = (unsigned)cold->address;

	if (site->constant)
		move_imm(&l->e, a, (uint64_t)site->disp);
	store_abs(&l->e, a, &l->t->ea);
	store_abs_imm32(&l->e, &l->t->window, cold->window);
	jump_to(&l->e, cold->stub);
}

/* Of a mirror, what lies near the address is there as well, or faults. */
static void widen(struct group *group)
{
	group->low = group->at - NEAR_BYTES;
	group->high = group->at + NEAR_BYTES;
	group->write = group->mirrored = true;
}

struct place lower_memory(struct lowering *l, const struct memory *m, unsigned size, bool write, bool flags, bool restored,
                          uint16_t keep)
{
	struct memory all = *m;
	const struct group *group = NULL;
	const uint16_t needed = keep, address = bit(m->base) | bit(m->index);
	struct group key;
	enum kind kind = l->list[l->at].kind;
	bool shared = keeps_groups(kind) || (kind >= KIND_JMP && kind <= KIND_CALL_INDIRECT);
	bool grouped = false, held;
	int64_t disp = 0;
	uint32_t window;
	unsigned a;

	if (!shared)
		memory_forget(l);
	shared = shared && group_key(l, l->at, m, &key);
	if (shared)
		group = group_find(l, &key, size, write);
	if (group) {
		if (flags && !restored)
			save_flags(l, keep | bit(group->reg));
		if (group->mirrored)
			mirror_note(l, m, size, write, flags && !restored, false);
		return (struct place){ .base = group->reg, .index = NO_REGISTER, .disp = (int32_t)(key.low - group->at), .mirrored = group->mirrored };
	}
	if (l->list[l->at].high_byte)
		keep |= 0xff00;
	held = flags && restored && !(address & 1u << RAX);
	if (held) {
		save_flags_rax(l);
		groups_drop(l, RAX);
	} else if (flags) {
		save_flags(l, keep | address);
	}
	if (flags && restored)
		keep |= 1u << RAX;
	if (shared) {
		disp = key.low;
		key.high = key.low + size;
		key.write = write;
		key.at = key.low;
		grouped = group_look_ahead(l, &key) > 0;
		if (l->summed)
			widen(&key);
		else
			key.at = key.low;
		disp -= key.at;
	}
	if (grouped) {
		all.disp -= disp;
		keep |= 1u << RAX; /* flags are saved there */
	}
	if (grouped && !l->summed) {
		size = (unsigned)(key.high - key.low);
		write = key.write;
	}
	l->pending = grouped ? &key : NULL;
	a = scratch(l, keep);
	l->pending = NULL;
	if (l->summed) {
		mirror_sum(l, a, m, keep | address);
		mirror_note(l, m, size, write, flags && !restored, false);
	} else {
		check_limit(l, a, m, size);
		window = look_up(l, a, &all, size, write, grouped);
		if (shared && l->at < l->turn && l->met_count < LOOK_UPS)
			l->met[l->met_count++] = (struct look_up){ .group = key, .window = window };
	}
	if (grouped) {
		key.reg = (uint8_t)a;
		group_keep(l, &key);
	}
	if (held) {
		PUT(&l->e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf: they are still there */
		bring_back(l, needed & 1u << RAX);
	} else if (flags && restored) {
		restore_flags(l);
	}
	return (struct place){ .base = (int)a, .index = NO_REGISTER, .disp = (int32_t)disp, .mirrored = l->summed };
}

struct place memory_place(struct lowering *l, const struct memory *m, unsigned size, bool write, bool flags, bool restored,
			  uint16_t keep)
{
	struct group key;
	struct place place;

	/* What a group serves may have its registers parked (memory_served), so nobody else is asked. */
	if (!(group_key(l, l->at, m, &key) && group_find(l, &key, size, write)) &&
	    mirror_place(l, m, size, write, flags, restored, keep, &place))
		return place;
	place = lower_memory(l, m, size, write, flags, restored, keep);
	l->summed = false;
	return place;
}
