/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * String instructions in line that handle one element: MOVS, STOS, LODS, SCAS, CMPS without a repeat prefix, going up,
 * with the mode's own address size. Those with a prefix are helper.c's, those going down the interpreter's (SDM
 * 1 7.3.9).
 */
#include "cpu/translate/lower/lowering.h"

static bool reads_source(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ:
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		return true;
	default:
		return false;
	}
}

static bool writes_destination(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ:
		return true;
	default:
		return false;
	}
}

static bool compares(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ:
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		return true;
	default:
		return false;
	}
}

static bool uses_destination(ZydisMnemonic mnemonic)
{
	return writes_destination(mnemonic) || compares(mnemonic);
}

int string_source(const struct translator *t, const struct guest_instruction *g)
{
	if (g->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return X86_FS;
	if (g->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		return X86_GS;
	if (!(t->key & KEY_CODE32))
		return NO_REGISTER;
	if (g->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS)
		return X86_CS;
	if (g->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS)
		return X86_SS;
	return g->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES ? X86_ES : X86_DS;
}

bool string_classify(const struct translator *t, struct guest_instruction *g)
{
	bool code32 = t->key & KEY_CODE32;

	if (g->category != ZYDIS_CATEGORY_STRINGOP || g->address_width != (code32 ? 32 : 64) ||
	    g->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
		return false;
	g->memory = (struct memory){.base = NO_REGISTER, .index = NO_REGISTER, .segment = NO_REGISTER};
	if (reads_source(g->mnemonic)) {
		int segment = string_source(t, g);

		g->uses |= 1u << RSI;
		if (code32 && !code32_segment(t, g, (unsigned)segment, false))
			return false;
		if (!code32)
			g->memory.segment = (int8_t)segment;
	}
	if (uses_destination(g->mnemonic)) {
		g->uses |= 1u << RDI;
		if (code32 && !code32_allows(t, X86_ES, writes_destination(g->mnemonic)))
			return false;
	}
	g->uses |= 1u << RAX;
	g->size = g->operand_width / 8;
	g->kind = KIND_STRING;
	return true;
}

static struct memory source_of(const struct lowering *l, const struct guest_instruction *g)
{
	struct memory m = g->memory;

	m.base = RSI;
	m.address32 = l->code32;
	return m;
}

static struct memory destination_of(const struct lowering *l)
{
	const struct segmentation *s = segmentation_of(l->t, l->t->key);
	struct memory m = {.base = RDI, .index = NO_REGISTER, .segment = NO_REGISTER, .address32 = l->code32};

	m.limit = s->limit[X86_ES];
	if (s->rights[X86_ES] & SEGMENT_BASE)
		m.segment = X86_ES;
	return m;
}

/* Opcode is that of bytes; the others' is the next one. */
static void put_element(struct lowering *l, unsigned opcode, unsigned reg, const struct place *place, unsigned size)
{
	if (size == 2)
		put8(&l->e, 0x66);
	if (size == 1 && reg >= RSP && reg <= RDI)
		put8(&l->e, 0x40); /* SPL to DIL, not AH to BH; a REX that follows takes over */
	op_mem(&l->e, size == 8, opcode + (size > 1), reg, place->base, place->index, 0, place->disp);
}

static void advance(struct lowering *l, unsigned reg, unsigned size)
{
	op_mem(&l->e, !l->code32, 0x8d, reg, (int)reg, -1, 0, (int32_t)size); /* lea */
}

/* The datum, an element, comes in a register that it does not matter to change. */
static unsigned load_source(struct lowering *l, const struct guest_instruction *g, uint16_t keep)
{
	struct memory m = source_of(l, g);
	struct place place = lower_memory(l, &m, g->size, false, false, false, keep);

	put_element(l, 0x8a, (unsigned)place.base, &place, g->size);
	return (unsigned)place.base;
}

void string_lower(struct lowering *l, struct guest_instruction *g)
{
	bool flags = g->flags_live, source = reads_source(g->mnemonic);
	struct memory destination = destination_of(l);
	uint16_t keep = g->uses;
	struct place place;
	unsigned a;

	bring_back(l, keep);
	if (flags)
		save_flags(l, keep);
	op_abs(&l->e, false, 0xf7, 0, &l->t->cpu->s.rflags); /* test dword [rflags], DF */
	put32(&l->e, X86_DF);
	branch_cold(l, CONDITION_NE, new_site(l, SITE_INTERPRET, g->rip));
	if (!uses_destination(g->mnemonic)) { /* LODS */
		struct memory m = source_of(l, g);

		place = lower_memory(l, &m, g->size, false, false, false, keep);
		if (flags)
			restore_flags(l);
		put_element(l, 0x8a, RAX, &place, g->size);
		advance(l, RSI, g->size);
		return;
	}
	if (source) {
		a = load_source(l, g, keep);
		store_abs(&l->e, a, &l->t->datum);
	}
	place = lower_memory(l, &destination, g->size, writes_destination(g->mnemonic), false, false, keep);
	a = RAX;
	if (source) {
		a = scratch(l, keep | bit(place.base) | bit(place.index));
		load_abs(&l->e, a, &l->t->datum);
	}
	if (flags)
		restore_flags(l);
	put_element(l, writes_destination(g->mnemonic) ? 0x88 : 0x3a, a, &place, g->size);
	advance(l, RDI, g->size);
	if (source)
		advance(l, RSI, g->size);
}
