/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BT, BTS, BTR and BTC of a bit string in memory whose bit offset is in a register: the operand lies at the address
 * plus the signed offset in units of the operand size (SDM 2A 3.1.1.9). Without LOCK the operand goes through a
 * register.
 */
#include "cpu/translate/lower/lowering.h"

bool bits_classify(const struct translator *t, struct guest_instruction *g)
{
	if (t->key & KEY_CODE32 && g->memory.limit != UINT32_MAX)
		return false;
	return g->address_width == (t->key & KEY_CODE32 ? 32 : 64) && g->operand_width >= 16;
}

static void operand_prefix(struct emitter *e, unsigned size)
{
	if (size == 2)
		put8(e, 0x66);
}

/* c = bytes from the address to the operand; the segment's base, if any, is added. Changes EFLAGS. */
static void element_offset(struct lowering *l, const struct guest_instruction *g, unsigned c, unsigned reg,
			   unsigned size)
{
	const unsigned log_size = size == 8 ? 3 : size == 4 ? 2 : 1, rex = 0x48 | (c & 8) >> 1 | reg >> 3;
	const uint8_t modrm = (uint8_t)(0xc0 | (c & 7) << 3 | (reg & 7)), rex_c = (uint8_t)(0x48 | c >> 3);
	struct emitter *e = &l->e;

	if (size == 8)
		move_reg(e, c, reg);
	else if (size == 4)
		PUT(e, (uint8_t)rex, 0x63, modrm); /* movsxd c, reg32 */
	else
		PUT(e, (uint8_t)rex, 0x0f, 0xbf, modrm);                         /* movsx c, reg16 */
	PUT(e, rex_c, 0xc1, (uint8_t)(0xf8 | (c & 7)), (uint8_t)(log_size + 3)); /* sar c, .. */
	PUT(e, rex_c, 0xc1, (uint8_t)(0xe0 | (c & 7)), (uint8_t)log_size);       /* shl c, .. */
	if (g->memory.segment >= 0)
		op_abs(e, true, 0x03, c, lower_segment_base(l->t, g->memory.segment));
}

/* The instruction on [place] or, with memory false, on register `on`; the offset register is `reg`. */
static void put_bit(struct emitter *e, const struct guest_instruction *g, unsigned size, unsigned reg, int on,
		    const struct place *place)
{
	operand_prefix(e, size);
	if (place) {
		put_rex(e, size == 8, reg, place->base, place->index);
		PUT(e, 0x0f, g->opcode);
		put_operand(e, reg, place->base, place->index, 0, place->disp);
	} else {
		put_rex(e, size == 8, reg, on, -1);
		PUT(e, 0x0f, g->opcode, (uint8_t)(0xc0 | (reg & 7) << 3 | (on & 7)));
	}
}

static void move_element(struct emitter *e, unsigned opcode, unsigned reg, const struct place *place, unsigned size)
{
	operand_prefix(e, size);
	op_mem(e, size == 8, opcode, reg, place->base, place->index, 0, place->disp);
}

void bits_lower(struct lowering *l, struct guest_instruction *g)
{
	const unsigned size = g->operand_width / 8, reg = (unsigned)g->operands[1].gpr;
	uint16_t needed = bit((int)reg) | bit(g->memory.base) | bit(g->memory.index);
	struct memory m = g->memory;
	struct place place;
	unsigned c;

	bring_back(l, needed);
	if (g->flags_live) {
		save_flags(l, needed);
		needed |= 1u << RAX;
	}
	c = scratch(l, needed);
	element_offset(l, g, c, reg, size);
	store_abs(&l->e, c, &l->t->datum);
	m.segment = SEGMENT_DATUM;
	place = lower_memory(l, &m, size, g->writes, false, false, needed);
	c = scratch(l, needed | bit(place.base) | bit(place.index));
	if (g->attributes & ZYDIS_ATTRIB_HAS_LOCK) {
		move_reg(&l->e, c, reg);
		alu_imm(&l->e, false, 4, c, (int32_t)size * 8 - 1);
		if (g->flags_live)
			restore_flags(l);
		put8(&l->e, 0xf0);
		put_bit(&l->e, g, size, c, -1, &place);
		return;
	}
	if (g->flags_live)
		restore_flags(l);
	move_element(&l->e, 0x8b, c, &place, size);
	put_bit(&l->e, g, size, reg, (int)c, NULL);
	if (g->writes)
		move_element(&l->e, 0x89, c, &place, size);
}
