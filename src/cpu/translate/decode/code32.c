/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is different about 32-bit code on a host in 64-bit mode. Most of its instructions have the same bytes there;
 * this file knows those that are refused, those that are written anew, and how segments are told.
 *
 * The guest has eight registers, so R8 to R15 are always scratch: lowering begins with them parked, and their values of
 * 64-bit mode stay in the vCPU. Upper halves of the other eight hold anything; all addresses are computed in 32 bits.
 * Specification: SDM 2B (Op/En tables, column "Compat/Leg mode"), 2A 2.3.5 and 2.7 for what VEX and EVEX ignore there.
 */
#include "cpu/translate/decode/classify.h"

static bool has_general_register(const struct decoded *d)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		if (d->operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		switch (ZydisRegisterGetClass(d->operands[i].reg.value)) {
		case ZYDIS_REGCLASS_GPR8:
		case ZYDIS_REGCLASS_GPR16:
		case ZYDIS_REGCLASS_GPR32:
			return true;
		default:
			break;
		}
	}
	return false;
}

/* Without a general register too when the operand is in memory. */
static bool general_in_memory(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_VMOVD:
	case ZYDIS_MNEMONIC_VMOVQ:
	case ZYDIS_MNEMONIC_VPINSRD:
	case ZYDIS_MNEMONIC_VPEXTRD:
	case ZYDIS_MNEMONIC_VCVTSI2SS:
	case ZYDIS_MNEMONIC_VCVTSI2SD:
	case ZYDIS_MNEMONIC_VCVTUSI2SS:
	case ZYDIS_MNEMONIC_VCVTUSI2SD:
		return true;
	default:
		return false;
	}
}

static bool has_register_in_immediate(const struct decoded *d)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++)
		if (d->operands[i].encoding == ZYDIS_OPERAND_ENCODING_IS4)
			return true;
	return false;
}

/* Bits that 32-bit code may set as it likes, but that mean registers and sizes in 64-bit mode, are as assemblers set
 * them. */
static bool same_in_long_mode(const struct decoded *d, const uint8_t *bytes)
{
	const ZydisDecodedInstruction *insn = &d->insn;
	bool evex = insn->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;

	bytes += evex ? insn->raw.evex.offset : insn->raw.vex.offset;
	if (bytes[0] == 0xc5)
		return (bytes[1] & 0xc0) == 0xc0 && !has_register_in_immediate(d);
	if ((bytes[1] & 0xe0) != 0xe0 || !(bytes[2] & 0x40) || (evex && (!(bytes[1] & 0x10) || !(bytes[3] & 8))))
		return false;
	if (has_register_in_immediate(d))
		return false;
	return !(bytes[2] & 0x80) || !(has_general_register(d) || general_in_memory(insn->mnemonic));
}

bool code32_refuses(const struct decoded *d, const uint8_t *bytes)
{
	const ZydisDecodedInstruction *insn = &d->insn;

	if (insn->address_width != 32)
		return true;
	if (insn->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return !same_in_long_mode(d, bytes);
	return insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && insn->opcode == 0x82; /* the alias of 0x80 */
}

bool code32_allows(const struct translator *t, unsigned segment, bool write)
{
	const struct segmentation *s = segmentation_of(t, t->key);
	uint8_t rights = write ? SEGMENT_READ | SEGMENT_WRITE : SEGMENT_READ;

	/* A limit that has room for any operand, so that the check is one comparison. */
	return (s->rights[segment] & rights) == rights && s->limit[segment] >= 63;
}

bool code32_segment(const struct translator *t, struct guest_instruction *g, unsigned segment, bool write)
{
	const struct segmentation *s = segmentation_of(t, t->key);

	if (!code32_allows(t, segment, write))
		return false;
	g->memory.limit = s->limit[segment];
	if (s->rights[segment] & SEGMENT_BASE)
		g->memory.segment = (int8_t)segment;
	return true;
}

/* VZEROUPPER and VZEROALL reach the eight registers that there are: moves and exclusive-ors of 128 bits clear the rest.
 */
static void clear_vectors(struct emitter *e, bool all)
{
	for (unsigned i = 0; i < 8; i++)
		PUT(e, 0xc5, (uint8_t)(all ? 0x80 | (~i & 15) << 3 : 0xf8), all ? 0x57 : 0x28,
		    (uint8_t)(0xc0 | i << 3 | i));
}

unsigned code32_copy(uint8_t *to, const struct guest_instruction *g)
{
	struct emitter e = {.base = to};

	if (g->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && g->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
		if ((g->opcode & 0xf0) == 0x40) { /* inc and dec have only their long form */
			if (g->operand_width == 16)
				put8(&e, 0x66);
			PUT(&e, 0xff, (uint8_t)(0xc0 | (g->opcode & 15)));
			return e.at;
		}
		/* lea of an absolute address would be relative to rip */
		if (g->mnemonic == ZYDIS_MNEMONIC_LEA && (g->bytes[g->modrm_offset] & 0xc7) == 5) {
			if (g->operand_width == 16)
				put8(&e, 0x66);
			put8(&e, 0xb8 | modrm_reg(g));
			put_bytes(&e, g->bytes + g->disp_offset, g->operand_width / 8);
			return e.at;
		}
	}
	if (g->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER || g->mnemonic == ZYDIS_MNEMONIC_VZEROALL)
		clear_vectors(&e, g->mnemonic == ZYDIS_MNEMONIC_VZEROALL);
	else
		put_bytes(&e, g->bytes, g->length);
	return e.at;
}
