/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Data movement: MOV (not segment or control registers), MOVZX, MOVSX, LEA, CMOVcc, SETcc, MOVBE, BSWAP, XLAT, CBW
 * family. */
#include "cpu/interp/conditions.h"

#define MOVES(bits)                                                                                                    \
	static void mov_rr##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		reg_set##bits(ip, op->dst, reg_get##bits(ip, op->src));                                                \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void mov_ri##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		reg_set##bits(ip, op->dst, op->imm);                                                                   \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void mov_rm##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		reg_set##bits(ip, op->dst, mem_load##bits(ip, op, op_address(ip, op, bits / 8, X86_READ)));            \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void mov_mr##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		mem_store##bits(ip, op, op_address(ip, op, bits / 8, X86_WRITE), reg_get##bits(ip, op->src));          \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void mov_mi##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		mem_store##bits(ip, op, op_address(ip, op, bits / 8, X86_WRITE), op->imm);                             \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void mov_load_absolute##bits(struct interp *ip, const struct op *op)                                    \
	{                                                                                                              \
		uint64_t gva = op_address_slow(ip, op, op->imm, bits / 8, X86_READ);                                   \
		reg_set##bits(ip, X86_RAX, mem_load##bits(ip, op, gva));                                               \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void mov_store_absolute##bits(struct interp *ip, const struct op *op)                                   \
	{                                                                                                              \
		uint64_t gva = op_address_slow(ip, op, op->imm, bits / 8, X86_WRITE);                                  \
		mem_store##bits(ip, op, gva, reg_get##bits(ip, X86_RAX));                                              \
		next(ip, op);                                                                                          \
	}
MOVES(8)
MOVES(16)
MOVES(32)
MOVES(64)

/* Widening: name, source type, destination bits. */
#define WIDEN(name, from_bits, from, to_bits)                                                                          \
	static void name##from_bits##_r##to_bits(struct interp *ip, const struct op *op)                               \
	{                                                                                                              \
		reg_set##to_bits(ip, op->dst, (from)reg_get##from_bits(ip, op->src));                                  \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void name##from_bits##_m##to_bits(struct interp *ip, const struct op *op)                               \
	{                                                                                                              \
		from value = mem_load##from_bits(ip, op, op_address(ip, op, from_bits / 8, X86_READ));                 \
		reg_set##to_bits(ip, op->dst, value);                                                                  \
		next(ip, op);                                                                                          \
	}
WIDEN(movzx, 8, uint8_t, 16)
WIDEN(movzx, 8, uint8_t, 32)
WIDEN(movzx, 8, uint8_t, 64)
WIDEN(movzx, 16, uint16_t, 16)
WIDEN(movzx, 16, uint16_t, 32)
WIDEN(movzx, 16, uint16_t, 64)
WIDEN(movsx, 8, int8_t, 16)
WIDEN(movsx, 8, int8_t, 32)
WIDEN(movsx, 8, int8_t, 64)
WIDEN(movsx, 16, int16_t, 16)
WIDEN(movsx, 16, int16_t, 32)
WIDEN(movsx, 16, int16_t, 64)
WIDEN(movsx, 32, int32_t, 16)
WIDEN(movsx, 32, int32_t, 32)
WIDEN(movsx, 32, int32_t, 64)

/* LEA: the sum cut to the address size, then to the operand size. */
#define LEAS(bits)                                                                                                     \
	static void lea##bits(struct interp *ip, const struct op *op)                                                  \
	{                                                                                                              \
		reg_set##bits(ip, op->dst, op_sum(ip, op));                                                            \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void lea_a32_##bits(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		reg_set##bits(ip, op->dst, (uint32_t)op_sum(ip, op));                                                  \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void lea_a16_##bits(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		reg_set##bits(ip, op->dst, (uint16_t)op_sum(ip, op));                                                  \
		next(ip, op);                                                                                          \
	}
LEAS(16)
LEAS(32)
LEAS(64)

#define CONDITIONAL(name, mnemonic, test)                                                                              \
	CMOV(name, 16)                                                                                                 \
	CMOV(name, 32) CMOV(name, 64) static void set_##name##_r(struct interp *ip, const struct op *op)               \
	{                                                                                                              \
		reg_set8(ip, op->src, condition_##name(ip->flags));                                                    \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void set_##name##_m(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		mem_store8(ip, op, op_address(ip, op, 1, X86_WRITE), condition_##name(ip->flags));                     \
		next(ip, op);                                                                                          \
	}
/* The source is read (and may fault) whatever the condition; a 32-bit destination is zero-extended in both cases. */
#define CMOV(name, bits)                                                                                               \
	static void cmov_##name##_r##bits(struct interp *ip, const struct op *op)                                      \
	{                                                                                                              \
		uint##bits##_t value = reg_get##bits(ip, condition_##name(ip->flags) ? op->src : op->dst);             \
		reg_set##bits(ip, op->dst, value);                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void cmov_##name##_m##bits(struct interp *ip, const struct op *op)                                      \
	{                                                                                                              \
		uint##bits##_t value = mem_load##bits(ip, op, op_address(ip, op, bits / 8, X86_READ));                 \
		reg_set##bits(ip, op->dst, condition_##name(ip->flags) ? value : reg_get##bits(ip, op->dst));          \
		next(ip, op);                                                                                          \
	}
CONDITIONS(CONDITIONAL)

static void movbe_load(struct interp *ip, const struct op *op)
{
	unsigned size = op_size(op);
	uint64_t value = mem_load(ip, op, op_address(ip, op, size, X86_READ), size);

	reg_set(ip, op->dst, __builtin_bswap64(value) >> (64 - size * 8), size);
	next(ip, op);
}

static void movbe_store(struct interp *ip, const struct op *op)
{
	unsigned size = op_size(op);
	uint64_t value = __builtin_bswap64(reg_get(ip, op->dst, size)) >> (64 - size * 8);

	mem_store(ip, op, op_address(ip, op, size, X86_WRITE), value, size);
	next(ip, op);
}

/* BSWAP of a 16-bit register is undefined; hosts store zero. */
static void bswap16(struct interp *ip, const struct op *op)
{
	reg_set16(ip, op->src, 0);
	next(ip, op);
}

static void bswap32(struct interp *ip, const struct op *op)
{
	reg_set32(ip, op->src, __builtin_bswap32(reg_get32(ip, op->src)));
	next(ip, op);
}

static void bswap64(struct interp *ip, const struct op *op)
{
	reg_set64(ip, op->src, __builtin_bswap64(reg_get64(ip, op->src)));
	next(ip, op);
}

static void xlat(struct interp *ip, const struct op *op)
{
	uint64_t sum = reg_get64(ip, X86_RBX * 8) + reg_get8(ip, X86_RAX * 8);
	uint64_t gva = op_address_slow(ip, op, sum, 1, X86_READ);

	reg_set8(ip, X86_RAX * 8, mem_load8(ip, op, gva));
	next(ip, op);
}

static void cbw(struct interp *ip, const struct op *op)
{
	reg_set16(ip, X86_RAX * 8, (int8_t)reg_get8(ip, X86_RAX * 8));
	next(ip, op);
}

static void cwde(struct interp *ip, const struct op *op)
{
	reg_set32(ip, X86_RAX * 8, (int16_t)reg_get16(ip, X86_RAX * 8));
	next(ip, op);
}

static void cdqe(struct interp *ip, const struct op *op)
{
	reg_set64(ip, X86_RAX * 8, (int32_t)reg_get32(ip, X86_RAX * 8));
	next(ip, op);
}

static void cwd(struct interp *ip, const struct op *op)
{
	reg_set16(ip, X86_RDX * 8, (int16_t)reg_get16(ip, X86_RAX * 8) < 0 ? 0xffff : 0);
	next(ip, op);
}

static void cdq(struct interp *ip, const struct op *op)
{
	reg_set32(ip, X86_RDX * 8, (int32_t)reg_get32(ip, X86_RAX * 8) < 0 ? ~0u : 0);
	next(ip, op);
}

static void cqo(struct interp *ip, const struct op *op)
{
	reg_set64(ip, X86_RDX * 8, (int64_t)reg_get64(ip, X86_RAX * 8) < 0 ? ~0ull : 0);
	next(ip, op);
}

static void lahf(struct interp *ip, const struct op *op)
{
	reg_set8(ip, 1, (flags_pack(ip->flags) & 0xff) | 2);
	next(ip, op);
}

static void sahf(struct interp *ip, const struct op *op)
{
	ip->flags = (ip->flags & FLAG_OF) | (uint16_t)(reg_get8(ip, 1) & 0xd5) << 8;
	next(ip, op);
}

#define BY_SIZE(handler)                                                                                               \
	{                                                                                                              \
		handler##8, handler##16, handler##32, handler##64                                                      \
	}

static op_fn *const mov_table[7][4] = {BY_SIZE(mov_rr),
				       BY_SIZE(mov_ri),
				       BY_SIZE(mov_rm),
				       BY_SIZE(mov_mr),
				       BY_SIZE(mov_mi),
				       BY_SIZE(mov_load_absolute),
				       BY_SIZE(mov_store_absolute)};

/* [sign][source size][destination size - 1] */
static op_fn *const widen_r[2][3][3] = {
	{{movzx8_r16, movzx8_r32, movzx8_r64}, {movzx16_r16, movzx16_r32, movzx16_r64}, {NULL}},
	{{movsx8_r16, movsx8_r32, movsx8_r64},
	 {movsx16_r16, movsx16_r32, movsx16_r64},
	 {movsx32_r16, movsx32_r32, movsx32_r64}},
};
static op_fn *const widen_m[2][3][3] = {
	{{movzx8_m16, movzx8_m32, movzx8_m64}, {movzx16_m16, movzx16_m32, movzx16_m64}, {NULL}},
	{{movsx8_m16, movsx8_m32, movsx8_m64},
	 {movsx16_m16, movsx16_m32, movsx16_m64},
	 {movsx32_m16, movsx32_m32, movsx32_m64}},
};
static op_fn *const lea_table[3][3] = {
	{lea_a16_16, lea_a16_32, lea_a16_64}, {lea_a32_16, lea_a32_32, lea_a32_64}, {lea16, lea32, lea64}};

#define CONDITIONAL_ROW(name, suffix, test)                                                                            \
	{ZYDIS_MNEMONIC_CMOV##suffix,                                                                                  \
	 ZYDIS_MNEMONIC_SET##suffix,                                                                                   \
	 {cmov_##name##_r16, cmov_##name##_r32, cmov_##name##_r64},                                                    \
	 {cmov_##name##_m16, cmov_##name##_m32, cmov_##name##_m64},                                                    \
	 {set_##name##_r, set_##name##_m}},
static const struct {
	ZydisMnemonic cmov, set;
	op_fn *cmov_r[3], *cmov_m[3], *set_fn[2];
} conditional_table[] = {CONDITIONS(CONDITIONAL_ROW)};

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn;
} plain_table[] = {
	{ZYDIS_MNEMONIC_CBW, cbw},   {ZYDIS_MNEMONIC_CWDE, cwde}, {ZYDIS_MNEMONIC_CDQE, cdqe},
	{ZYDIS_MNEMONIC_CWD, cwd},   {ZYDIS_MNEMONIC_CDQ, cdq},   {ZYDIS_MNEMONIC_CQO, cqo},
	{ZYDIS_MNEMONIC_LAHF, lahf}, {ZYDIS_MNEMONIC_SAHF, sahf},
};

static bool select_mov(struct decode *d)
{
	const ZydisDecodedOperand *to = &d->operands[0], *from = &d->operands[1];
	const ZydisDecodedOperand *memory = to->type == ZYDIS_OPERAND_TYPE_MEMORY ? to : from;
	unsigned size = decode_log2(to->size), form;

	if ((to->type == ZYDIS_OPERAND_TYPE_REGISTER && !decode_is_reg(to)) ||
	    (from->type == ZYDIS_OPERAND_TYPE_REGISTER && !decode_is_reg(from)))
		return false; /* segment, control and debug registers: op_system.c */
	if (decode_is_reg(to) && decode_is_reg(from)) {
		form = 0;
	} else if (from->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		form = decode_is_reg(to) ? 1 : 4;
		d->op->imm = from->imm.value.u;
	} else {
		form = decode_is_reg(to) ? 2 : 3;
	}
	if (memory->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		decode_memory(d, memory);
		if ((d->op->ea & 15) == EA_ABS64) {
			d->op->imm = memory->mem.disp.value;
			form += 3;
		}
	}
	if (decode_is_reg(to))
		d->op->dst = decode_reg(to->reg.value);
	if (decode_is_reg(from))
		d->op->src = decode_reg(from->reg.value);
	d->op->fn = mov_table[form][size];
	return true;
}

static bool select_widen(struct decode *d, bool sign)
{
	const ZydisDecodedOperand *from = &d->operands[1];
	unsigned source = decode_log2(from->size), dest = decode_log2(d->operands[0].size) - 1;

	decode_rm(d, from);
	d->op->dst = decode_reg(d->operands[0].reg.value);
	d->op->fn = (decode_is_reg(from) ? widen_r : widen_m)[sign][source][dest];
	return d->op->fn != NULL;
}

static bool select_conditional(struct decode *d)
{
	for (size_t i = 0; i < ARRAY_SIZE(conditional_table); i++) {
		if (conditional_table[i].set == d->insn.mnemonic) {
			decode_rm(d, &d->operands[0]);
			d->op->fn = conditional_table[i].set_fn[!decode_is_reg(&d->operands[0])];
			return true;
		}
		if (conditional_table[i].cmov == d->insn.mnemonic) {
			bool reg = decode_is_reg(&d->operands[1]);

			decode_rm(d, &d->operands[1]);
			d->op->dst = decode_reg(d->operands[0].reg.value);
			d->op->fn = (reg ? conditional_table[i].cmov_r
					 : conditional_table[i].cmov_m)[decode_log2(d->operands[0].size) - 1];
			return true;
		}
	}
	return false;
}

bool select_move(struct decode *d)
{
	struct op *op = d->op;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		return select_mov(d);
	case ZYDIS_MNEMONIC_MOVZX:
		return select_widen(d, false);
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
		return select_widen(d, true);
	case ZYDIS_MNEMONIC_LEA:
		decode_memory(d, &d->operands[1]);
		op->dst = decode_reg(d->operands[0].reg.value);
		op->fn = lea_table[decode_log2(d->insn.address_width) - 1][decode_log2(d->operands[0].size) - 1];
		return true;
	case ZYDIS_MNEMONIC_MOVBE: {
		bool load = decode_is_reg(&d->operands[0]);

		decode_memory(d, &d->operands[load]);
		op->dst = decode_reg(d->operands[!load].reg.value);
		op->fn = load ? movbe_load : movbe_store;
		return true;
	}
	case ZYDIS_MNEMONIC_BSWAP:
		decode_rm(d, &d->operands[0]);
		op->fn = d->operands[0].size == 64 ? bswap64 : d->operands[0].size == 32 ? bswap32 : bswap16;
		return true;
	case ZYDIS_MNEMONIC_XLAT:
		for (unsigned i = 0; i < d->insn.operand_count; i++)
			if (d->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
				decode_memory(d, &d->operands[i]);
		op->fn = xlat;
		return true;
	default:
		break;
	}
	for (size_t i = 0; i < ARRAY_SIZE(plain_table); i++)
		if (plain_table[i].mnemonic == d->insn.mnemonic) {
			op->fn = plain_table[i].fn;
			return true;
		}
	return select_conditional(d);
}
