/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replaces the memory operand of an instruction: prefixes, REX, VEX or EVEX, ModRM, SIB and displacement are built anew,
 * opcode and immediates stay. Specification: SDM 2A 2.1, 2.2, 2.3.5, 2.7.1. */
#include "cpu/translate/decode/classify.h"

static bool is_kept(uint8_t byte)
{
	return byte == 0xf0 || byte == 0xf2 || byte == 0xf3 || byte == 0x66;
}

static unsigned opcode_bytes(const struct guest_instruction *g)
{
	switch (g->opcode_map) {
	case ZYDIS_OPCODE_MAP_DEFAULT:
		return 1;
	case ZYDIS_OPCODE_MAP_0F:
		return 2;
	case ZYDIS_OPCODE_MAP_0F38:
	case ZYDIS_OPCODE_MAP_0F3A:
		return 3;
	default:
		return 0;
	}
}

static bool has_modrm(const struct guest_instruction *g)
{
	return g->attributes & ZYDIS_ATTRIB_HAS_MODRM;
}

static unsigned put_absolute(struct emitter *e, const struct guest_instruction *g, unsigned rex)
{
	static const uint8_t opcodes[] = { 0x8a, 0x8b, 0x88, 0x89 };

	if (g->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || (g->opcode & 0xfc) != 0xa0)
		return 0;
	if (rex)
		put8(e, 0x40 | rex);
	put8(e, opcodes[g->opcode & 3]);
	return 1;
}

static unsigned put_legacy(struct emitter *e, const struct guest_instruction *g, bool b, bool x)
{
	const uint8_t *bytes = g->bytes;
	unsigned i = 0, rex = 0;

	while (i < g->length && is_prefix(bytes[i])) {
		if (is_kept(bytes[i]))
			put8(e, bytes[i]);
		i++;
	}
	if ((bytes[i] & 0xf0) == 0x40)
		rex = bytes[i++];
	if (!has_modrm(g)) /* mov with an absolute address: as mov with a ModRM byte of register 0 */
		return bytes[i] == g->opcode ? put_absolute(e, g, (rex & 8) | x << 1 | b) : 0; /* one REX counts */
	if (!opcode_bytes(g) || g->modrm_offset != i + opcode_bytes(g))
		return 0;
	if (b || x || rex) {
		if (g->high_byte)
			return 0;
		put8(e, 0x40 | (rex & 0xc) | x << 1 | b);
	}
	put_bytes(e, bytes + i, opcode_bytes(g));
	return 1;
}

static unsigned put_vex(struct emitter *e, const struct guest_instruction *g, bool b, bool x)
{
	const uint8_t *bytes = g->bytes;
	unsigned i = 0;

	while (i < g->length && is_prefix(bytes[i]))
		i++;
	if (bytes[i] == 0xc5) {
		PUT(e, 0xc4, (uint8_t)((bytes[i + 1] & 0x80) | !x << 6 | !b << 5 | 1), bytes[i + 1] & 0x7f, bytes[i + 2]);
		return g->modrm_offset == i + 3;
	}
	if (bytes[i] == 0xc4) {
		PUT(e, 0xc4, (uint8_t)((bytes[i + 1] & 0x9f) | !x << 6 | !b << 5), bytes[i + 2], bytes[i + 3]);
		return g->modrm_offset == i + 4;
	}
	if (bytes[i] != 0x62)
		return 0;
	PUT(e, 0x62, (uint8_t)((bytes[i + 1] & 0x9f) | !x << 6 | !b << 5), bytes[i + 2], bytes[i + 3], bytes[i + 4]);
	return g->modrm_offset == i + 5;
}

/* As put_operand, but EVEX scales displacements of one byte. */
static void put_wide(struct emitter *e, unsigned reg, int base, int index, unsigned scale, int32_t disp)
{
	if (base < 0)
		PUT(e, (uint8_t)(4 | (reg & 7) << 3), (uint8_t)(scale << 6 | (index < 0 ? 4 : index & 7) << 3 | 5));
	else if (index >= 0 || (base & 7) == 4)
		PUT(e, (uint8_t)(0x84 | (reg & 7) << 3), (uint8_t)(scale << 6 | (index < 0 ? 4 : index & 7) << 3 | (base & 7)));
	else
		put8(e, 0x80 | (reg & 7) << 3 | (base & 7));
	put32(e, (uint32_t)disp);
}

unsigned rewrite(uint8_t *to, const struct guest_instruction *g, int base, int index, unsigned scale, int32_t disp)
{
	struct emitter e = { .base = to };
	unsigned tail = has_modrm(g) ? g->modrm_offset + 1u : g->length;
	bool b = base >= 8, x = index >= 8, ok;

	if (g->sib_offset)
		tail = g->sib_offset + 1u;
	if (g->disp_size && has_modrm(g))
		tail = g->disp_offset + g->disp_size / 8u;
	ok = g->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ? put_legacy(&e, g, b, x) : put_vex(&e, g, b, x);
	if (!ok || tail > g->length)
		return 0;
	if (g->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
		put_wide(&e, modrm_reg(g), base, index, scale, disp);
	else
		put_operand(&e, modrm_reg(g), base, index, scale, disp);
	put_bytes(&e, g->bytes + tail, g->length - tail);
	return e.at;
}
