/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes host code of one block: a run of instructions in one page with one entry, branches out of it where they stand,
 * to the first that never falls through or that is the interpreter's. What is rarely executed (misses, links not yet
 * made, branches that must bring parked registers back) goes behind the block.
 *
 * How a guest address becomes a host address is memory.c's business.
 */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/lower/lower.h"
#include "cpu/translate/lower/lowering.h"

/* --- scratch registers --- */

/* Which of the registers instruction `at` needs. */
static uint16_t needed(const struct lowering *l, unsigned at, uint16_t registers)
{
	const struct guest_instruction *g = &l->list[at];
	uint16_t uses = g->uses & registers;

	if (g->kind == KIND_MEMORY && uses & (uint16_t)~g->direct && memory_served(l, at))
		uses &= g->direct;
	return uses;
}

/* Registers that hold the address of a group that is waited for. */
static uint16_t waited_for(const struct lowering *l)
{
	uint16_t registers = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(l->groups); i++) {
		uint16_t reg = (uint16_t)(1u << l->groups[i].reg);

		if (l->groups[i].reg && l->parked & reg && memory_waits(l, &l->groups[i]))
			registers |= reg;
	}
	return registers;
}

enum { SELDOM_LIVE = 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 };

/* The register that is needed last: among parked ones, if there are. Of several one of those that hold nothing over a call,
 * so that a result, say, is not what goes through memory. */
static unsigned needed_last(const struct lowering *l, uint16_t among)
{
	uint16_t left = among & l->parked ? among & l->parked : among;

	for (unsigned i = l->at + 1; i < l->count && left; i++) {
		uint16_t rest = left & (uint16_t)~needed(l, i, left);

		if (!rest)
			break;
		left = rest;
	}
	return left & SELDOM_LIVE ? 31 - (unsigned)__builtin_clz(left & SELDOM_LIVE) : (unsigned)__builtin_ctz(left);
}

unsigned scratch(struct lowering *l, uint16_t avoid)
{
	uint16_t among = (uint16_t)~(avoid | 1u << RSP | l->carried_registers), waited = waited_for(l);
	unsigned best = needed_last(l, among & ~waited ? among & (uint16_t)~waited : among);

	park(l, best);
	groups_drop(l, best);
	return best;
}

static void emit_cold(struct lowering *l)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < l->cold_count; i++) {
		struct cold *cold = &l->cold[i];
		struct site *site = &l->t->sites[cold->site];

		if (i && cold->site == cold[-1].site && !cold->stub && !cold->relink) { /* such as a head's comparisons */
			patch32(l->e.base, cold->from, at);
			continue;
		}
		at = l->e.at;
		patch32(l->e.base, cold->from, at);
		if (cold->stub) {
			memory_emit_cold(l, cold);
			continue;
		}
		if (cold->relink) {
			l->parked = cold->parked;
			bring_back(l, cold->parked);
			site->patch = jump_ahead(&l->e);
			patch32(l->e.base, site->patch, l->e.at);
		}
		if (site->kind == SITE_INDIRECT) {
			branch_emit_cold(l, cold);
			continue;
		}
		if (site->kind == SITE_LINK)
			site->stub = l->e.at;
		leave_at(l, cold->site, cold->flags);
	}
}

static void note_fault(struct lowering *l)
{
	struct translator *t = l->t;

	t->faults[t->fault_count++] = (struct fault_entry){ .host = l->e.at,
		.site = new_site(l, SITE_FAULT, l->list[l->at].rip) };
}

/* --- instructions --- */

/* False: cannot be written; the interpreter takes it. */
static bool lower_operand(struct lowering *l, struct guest_instruction *g)
{
	uint16_t direct = g->direct & (uint16_t)~g->overwrites;
	uint8_t bytes[32];
	struct place place;
	unsigned length;

	if (!rewrite(bytes, g, RBX, RCX, 0, 0)) /* whether it can be */
		return false;
	bring_back(l, memory_served(l, l->at) ? direct : g->uses & (uint16_t)~g->overwrites);
	place = memory_place(l, &g->memory, g->size, g->writes, g->flags_live, true, direct);
	if (g->faults && !place.mirrored)
		note_fault(l);
	mirror_begin(l, &place);
	length = rewrite(bytes, g, place.base, place.index, place.scale, place.disp);
	put_bytes(&l->e, bytes, length);
	l->parked &= (uint16_t)~g->overwrites;
	return true;
}

static void lower_copy(struct lowering *l, struct guest_instruction *g)
{
	bring_back(l, g->uses & (uint16_t)~g->overwrites);
	if (g->faults)
		note_fault(l);
	if (l->code32)
		l->e.at += code32_copy(l->e.base + l->e.at, g);
	else
		put_bytes(&l->e, g->bytes, g->length);
	l->parked &= (uint16_t)~g->overwrites;
}

static void lower_lea_rip(struct lowering *l, struct guest_instruction *g)
{
	int reg = g->operands[0].gpr;
	uint64_t value = (uint64_t)g->memory.disp;

	move_imm(&l->e, (unsigned)reg, g->operands[0].size == 32 ? (uint32_t)value : value);
	l->parked &= (uint16_t)~bit(reg);
}

/* Returns false when the block ends with it. */
static bool lower_one(struct lowering *l, struct guest_instruction *g)
{
	switch (g->kind) {
	case KIND_SKIP:
		return true;
	case KIND_COPY:
		lower_copy(l, g);
		return true;
	case KIND_MEMORY:
		if (lower_operand(l, g))
			return true;
		leave_at(l, new_site(l, SITE_INTERPRET, g->rip), true);
		return false;
	case KIND_LEA_RIP:
		lower_lea_rip(l, g);
		return true;
	case KIND_STRING:
		string_lower(l, g);
		return true;
	case KIND_BITS:
		bits_lower(l, g);
		return true;
	case KIND_PUSH:
	case KIND_PUSH_IMM:
	case KIND_PUSH_MEMORY:
	case KIND_POP:
	case KIND_LEAVE:
		stack_lower(l, g);
		return true;
	case KIND_JCC:
	case KIND_JCXZ:
	case KIND_JMP:
	case KIND_CALL:
	case KIND_RET:
	case KIND_JMP_INDIRECT:
	case KIND_CALL_INDIRECT:
		branch_lower(l, g);
		return g->kind < KIND_JMP;
	case KIND_SYSTEM:
		system_lower(l, g);
		return true;
	case KIND_SYSTEM_END:
		system_lower(l, g);
		return false;
	default:
		leave_at(l, new_site(l, SITE_INTERPRET, g->rip), true);
		return false;
	}
}

/* --- the block --- */

static bool ends_block(enum kind kind)
{
	return kind == KIND_INTERPRET || (kind >= KIND_JMP && kind <= KIND_SYSTEM_END);
}

/* Decodes and classifies, up to an instruction that reaches into the next page. */
static void read_block(struct lowering *l, const uint8_t *bytes, unsigned length)
{
	uint64_t rip = rip_of(l->t, l->t->key, l->block->linear);
	uint32_t last = segmentation_of(l->t, l->t->key)->limit[X86_CS];
	unsigned offset = 0, most = l->block->other ? 1 : BLOCK_MAX_INSTRUCTIONS;
	bool limited = l->code32 && length > last - rip;
	ZyanStatus status;

	if (limited)
		length = (unsigned)(last - rip) + 1;
	l->unreadable = false;
	while (l->count < most && offset < length) {
		struct guest_instruction *g = &l->list[l->count];

		if (l->t->cpu->debug && debug_stops_at(l->t->cpu->debug, l->block->linear + offset))
			break; /* the interpreter's, and a block of its own */
		memcpy(l->code + offset, bytes + offset, length - offset < CODE_BYTES ? length - offset : CODE_BYTES);
		status = decode(l->t, g, l->code + offset, length - offset, rip + offset);
		if (!ZYAN_SUCCESS(status)) {
			l->unreadable = limited || status != ZYDIS_STATUS_NO_MORE_DATA;
			break;
		}
		l->count++;
		offset += g->length;
		l->block->fpu |= g->vector;
		l->block->x87 |= g->x87;
		if (ends_block(g->kind))
			break;
	}
	l->end = l->code32 ? (uint32_t)(rip + offset) : rip + offset;
}

/* Flags that are live where a direct branch of this page leads. */
static uint32_t live_at(const struct lowering *l, uint64_t target, const uint8_t *bytes)
{
	uint64_t linear = l->block->linear;

	target = linear_of(l->t, l->t->key, target);
	/* A debugger that stops somewhere shows all of them. */
	if (target >> PAGE_SHIFT != linear >> PAGE_SHIFT || l->block->other || l->t->cpu->debug)
		return ALL_FLAGS;
	return classify_live_flags(l->t, bytes + (int64_t)(target - linear), (unsigned)(PAGE_SIZE - (target & (PAGE_SIZE - 1))));
}

static uint32_t find_live_flags(struct lowering *l, const uint8_t *bytes)
{
	uint32_t live = ALL_FLAGS;

	if (l->count && !ends_block(l->list[l->count - 1].kind) && l->count == BLOCK_MAX_INSTRUCTIONS)
		live = live_at(l, l->end, bytes);
	for (unsigned i = l->count; i-- > 0;) {
		struct guest_instruction *g = &l->list[i];

		if (g->kind == KIND_JMP || g->kind == KIND_CALL)
			live = live_at(l, classify_target(l->t, g), bytes);
		else if (ends_block(g->kind))
			live = ALL_FLAGS;
		else if (g->kind == KIND_JCC || g->kind == KIND_JCXZ)
			live |= live_at(l, classify_target(l->t, g), bytes);
		g->flags_live_after = live;
		live = (live & ~g->flags_killed) | g->flags_read;
		g->flags_live = live;
	}
	return live;
}

uint32_t lower_live_flags(struct translator *t, uint64_t linear, const uint8_t *bytes)
{
	struct block block = {.linear = linear, .key = t->key};
	struct lowering l;

	l.t = t;
	l.block = &block;
	l.code32 = t->key & KEY_CODE32;
	l.count = 0;
	read_block(&l, bytes, (unsigned)(PAGE_SIZE - (linear & (PAGE_SIZE - 1))));
	return l.count ? find_live_flags(&l, bytes) : ALL_FLAGS;
}

/* The page of code at `linear` is still known by this number: is mapped where it was, and code may be fetched there. */
static void check_page(struct lowering *l, uint64_t linear, uint32_t number, uint32_t site)
{
	const struct x86_tlb_entry *table = l->t->cpu->tlb[l->t->key & KEY_VIEW];

	op_abs(&l->e, false, 0x81, 7, &table[(linear >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)].code); /* cmp dword */
	put32(&l->e, number);
	branch_cold(l, CONDITION_NE, site);
}

static void save_head_flags(struct lowering *l)
{
	store_abs(&l->e, RAX, home(l, RAX));
	PUT(&l->e, 0x9f, 0x0f, 0x90, 0xc0);
	op_abs(&l->e, false, 0x89, RAX, &l->t->flags);
	load_abs(&l->e, RAX, home(l, RAX));
}

/* A head is at most 200 bytes. */
static uint8_t entry_here(const struct lowering *l)
{
	assert(l->e.at - l->block->code <= UINT8_MAX);
	return (uint8_t)(l->e.at - l->block->code);
}

/* The entries, from the one that checks most to the one that checks nothing. */
static void emit_head(struct lowering *l, bool live)
{
	struct translator *t = l->t;
	struct block *block = l->block;
	const struct block *other = block->other ? &t->blocks[block->other] : NULL;
	uint32_t site = new_site(l, SITE_HEAD, rip_of(t, t->key, block->linear)), over = 0;
	struct emitter *e = &l->e;

	if (live && !other) {
		block->poll = entry_here(l);
		save_head_flags(l);
		over = jump_ahead(e);
	}
	block->cross = entry_here(l);
	if (live || other)
		save_head_flags(l);
	block->indirect = entry_here(l);
	check_page(l, block->linear, block->page, site);
	if (other)
		check_page(l, other->linear, other->page, site);
	if (live && !other)
		patch32(e->base, over, e->at);
	else
		block->poll = entry_here(l);
	op_abs(e, false, 0x83, 7, &t->poll);
	put8(e, 0);
	branch_cold(l, CONDITION_NE, site);
	if (block->fpu) {
		op_abs(e, false, 0x80, 7, &t->fpu_loaded);
		put8(e, 0);
		over = branch_ahead(e, CONDITION_NE);
		op_abs(e, true, 0xc7, 0, &t->fpu_return);
		put32(e, low_address(t->exec_base) + e->at + 4 + 7);
		op_abs(e, false, 0xff, 4, &t->fpu_load);
		patch32(e->base, over, e->at);
	}
	if (block->x87) {
		op_abs(e, false, 0x80, 7, &t->x87_loaded);
		put8(e, 0);
		over = branch_ahead(e, CONDITION_NE);
		store_abs_imm32(e, &t->site, site);
		op_abs(e, true, 0xc7, 0, &t->fpu_return);
		put32(e, low_address(t->exec_base) + e->at + 4 + 5);
		jump_to(e, (uint32_t)t->x87_load - low_address(t->exec_base));
		patch32(e->base, over, e->at);
	}
	if (live)
		restore_flags(l);
	block->body = block->same = entry_here(l);
	if (other) /* whichever way it is reached */
		block->same = block->poll = block->cross;
}

void lower_instructions(struct lowering *l)
{
	bool open = true;

	for (l->at = 0; l->at < l->count && open; l->at++) {
		bool shadow = l->shadow;

		l->list[l->at].host = l->e.at;
		open = lower_one(l, &l->list[l->at]);
		if (shadow)
			system_end_shadow(l, &l->list[l->at]);
	}
	l->lowered = l->at;
	if (!open)
		return;
	l->at = l->count - 1;
	if (l->unreadable) {
		leave_at(l, new_site(l, SITE_INTERPRET, l->end), true);
	} else {
		bring_back(l, l->parked);
		link_to(l, l->end, false);
	}
}

void lower_block(struct translator *t, struct block *block, uint32_t number, const uint8_t *bytes, unsigned length)
{
	const uint32_t sites = t->site_count, windows = t->window_count, faults = t->fault_count;
	struct lowering l; /* large: only what is used is set */
	uint32_t cold;
	bool live;

	l.t = t;
	l.e = (struct emitter){ .base = t->write_base, .at = t->code_used };
	l.block = block;
	l.number = number;
	l.code32 = t->key & KEY_CODE32;
	l.word = l.code32 ? 4 : 8;
	l.parked = l.spare = l.code32 ? 0xff00 : 0;
	l.shadow = false;
	l.count = l.at = l.cold_count = l.group_next = l.near_next = 0;
	read_block(&l, bytes, length);
	if (!l.count || l.list[0].kind == KIND_INTERPRET) {
		block->interpret = true;
		block->mnemonic = l.count ? l.list[0].mnemonic : 0;
		return;
	}
	code_want_jumps(t);
	live = find_live_flags(&l, bytes);
	block->code = l.e.at;
	l.pending = NULL;
	l.mirrored = t->key & KEY_MIRROR && !*code_windowed(t, block->gpa);
	l.summed = false;
	l.share = !(l.mirrored && t->mirror_gs) && !*code_alone(t, block->gpa);
	memory_symbols(&l);
	block->flags_live = live;
	emit_head(&l, live);
	loop_body(&l, !block->other, live);
	cold = l.e.at;
	emit_cold(&l);
	assert(l.e.at - t->code_used <= BLOCK_ROOM && t->site_count - sites <= BLOCK_SITES && t->window_count - windows <= BLOCK_WINDOWS &&
	       t->fault_count - faults <= BLOCK_FAULTS);
	block->guest_bytes = (uint16_t)(l.end - block->linear);
	if (report_wanted(t))
		report_block(t, block, l.list, l.lowered, t->code_used, cold, l.e.at);
	t->code_used = (l.e.at + 15) & ~15u;
}
