/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MUL, IMUL, DIV, IDIV (SDM 2), and the BCD group AAA AAS AAM AAD DAA DAS. Division checks before the host divides. */
#include "cpu/interp/internal.h"

#define KEEP_FLAGS "\n\tlahf\n\tseto %%al"

#define WIDE_MULTIPLY(name, insn, bits, suffix)                                                                        \
	static void name##bits(struct interp *ip, const struct op *op)                                                 \
	{                                                                                                              \
		uint##bits##_t source = operand_read(ip, op, bits / 8), low, high;                                     \
		uint32_t flags;                                                                                        \
		__asm__(insn suffix " %[s]\n\tmov %%rax, %%rcx" KEEP_FLAGS                                             \
			: "=&c"(low), "=&d"(high), "=&a"(flags)                                                        \
			: [s] "r"(source), "2"((uint##bits##_t)reg_get##bits(ip, X86_RAX * 8))                         \
			: "cc");                                                                                       \
		reg_set##bits(ip, X86_RAX * 8, low);                                                                   \
		reg_set##bits(ip, X86_RDX * 8, high);                                                                  \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
WIDE_MULTIPLY(mul, "mul", 16, "w")
WIDE_MULTIPLY(mul, "mul", 32, "l")
WIDE_MULTIPLY(mul, "mul", 64, "q")
WIDE_MULTIPLY(imul, "imul", 16, "w")
WIDE_MULTIPLY(imul, "imul", 32, "l")
WIDE_MULTIPLY(imul, "imul", 64, "q")

#define BYTE_MULTIPLY(name, insn)                                                                                      \
	static void name(struct interp *ip, const struct op *op)                                                       \
	{                                                                                                              \
		uint8_t source = operand_read(ip, op, 1);                                                              \
		uint32_t product, flags;                                                                               \
		__asm__(insn " %[s]\n\tmov %%eax, %[p]" KEEP_FLAGS                                                     \
			: [p] "=&r"(product), "=&a"(flags)                                                             \
			: [s] "r"(source), "1"((uint32_t)reg_get8(ip, X86_RAX * 8))                                    \
			: "cc");                                                                                       \
		reg_set16(ip, X86_RAX * 8, product);                                                                   \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
BYTE_MULTIPLY(mul8, "mulb")
BYTE_MULTIPLY(imul8, "imulb")

/* IMUL r, r/m and IMUL r, r/m, imm. */
#define MULTIPLY(bits, suffix)                                                                                         \
	static void imul_r##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		uint##bits##_t source = operand_read(ip, op, bits / 8), d = reg_get##bits(ip, op->dst);                \
		uint32_t flags;                                                                                        \
		__asm__("imul" suffix " %[s], %[d]" KEEP_FLAGS : [d] "+r"(d), "=&a"(flags) : [s] "r"(source) : "cc");  \
		reg_set##bits(ip, op->dst, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void imul_i##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		uint##bits##_t source = operand_read(ip, op, bits / 8), d = op->imm;                                   \
		uint32_t flags;                                                                                        \
		__asm__("imul" suffix " %[s], %[d]" KEEP_FLAGS : [d] "+r"(d), "=&a"(flags) : [s] "r"(source) : "cc");  \
		reg_set##bits(ip, op->dst, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
MULTIPLY(16, "w")
MULTIPLY(32, "l")
MULTIPLY(64, "q")

/* The host's own division, for its flags: the caller has excluded #DE. */
#define DIVIDE(name, insn, bits, suffix, type, wide, fits)                                                             \
	static void name##bits(struct interp *ip, const struct op *op)                                                 \
	{                                                                                                              \
		type source = operand_read(ip, op, bits / 8);                                                          \
		type low = reg_get##bits(ip, X86_RAX * 8), high = reg_get##bits(ip, X86_RDX * 8);                      \
		uint32_t flags = ip->flags;                                                                            \
		if (!(fits))                                                                                           \
			fault_at(ip, op, X86_DE);                                                                      \
		__asm__("mov %%rax, %%r8\n\tmov %k[f], %%eax\n\taddb $0x7f, %%al\n\tsahf\n\tmov %%r8, %%rax\n\t" insn  \
				suffix " %[s]\n\tmov %%rax, %%r8" KEEP_FLAGS "\n\tmov %%eax, %k[f]\n\tmov %%r8, %%rax" \
			: "+a"(low), "+d"(high), [f] "+&r"(flags)                                                      \
			: [s] "r"(source)                                                                              \
			: "cc", "r8");                                                                                 \
		reg_set##bits(ip, X86_RAX * 8, low);                                                                   \
		reg_set##bits(ip, X86_RDX * 8, high);                                                                  \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}

static bool idiv_fits(__int128 dividend, int64_t divisor, unsigned bits)
{
	__int128 quotient, limit = (__int128)1 << (bits - 1);

	if (!divisor)
		return false;
	if (dividend == (__int128)((unsigned __int128)1 << 127))
		return false; /* |quotient| is at least 2^63 whatever the divisor */
	quotient = dividend / divisor;
	return quotient >= -limit && quotient < limit;
}

DIVIDE(div, "div", 16, "w", uint16_t, uint32_t, high < source)
DIVIDE(div, "div", 32, "l", uint32_t, uint64_t, high < source)
DIVIDE(div, "div", 64, "q", uint64_t, unsigned __int128, high < source)
DIVIDE(idiv, "idiv", 16, "w", int16_t, int32_t,
       idiv_fits((int32_t)((uint32_t)(uint16_t)high << 16 | (uint16_t)low), source, 16))
DIVIDE(idiv, "idiv", 32, "l", int32_t, int64_t,
       idiv_fits((int64_t)((uint64_t)(uint32_t)high << 32 | (uint32_t)low), source, 32))
DIVIDE(idiv, "idiv", 64, "q", int64_t, __int128,
       idiv_fits((__int128)((unsigned __int128)(uint64_t)high << 64 | (uint64_t)low), source, 64))

#define DIVIDE_BYTE(name, insn, type, fits)                                                                            \
	static void name(struct interp *ip, const struct op *op)                                                       \
	{                                                                                                              \
		type source = operand_read(ip, op, 1);                                                                 \
		uint64_t ax = reg_get16(ip, X86_RAX * 8);                                                              \
		uint32_t flags = ip->flags;                                                                            \
		if (!(fits))                                                                                           \
			fault_at(ip, op, X86_DE);                                                                      \
		__asm__("mov %%rax, %%r8\n\tmov %k[f], %%eax\n\taddb $0x7f, %%al\n\tsahf\n\tmov %%r8, %%rax\n\t" insn  \
			" %[s]\n\tmov %%rax, %%r8" KEEP_FLAGS "\n\tmov %%eax, %k[f]\n\tmov %%r8, %%rax"                \
			: "+a"(ax), [f] "+&r"(flags)                                                                   \
			: [s] "r"(source)                                                                              \
			: "cc", "r8");                                                                                 \
		reg_set16(ip, X86_RAX * 8, ax);                                                                        \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
DIVIDE_BYTE(div8, "divb", uint8_t, ax >> 8 < source)
DIVIDE_BYTE(idiv8, "idivb", int8_t, idiv_fits((int16_t)ax, source, 8))

/* --- decimal (SDM 2: not in 64-bit mode, so the host cannot execute them for us) --- */

static uint16_t flags_of_byte(uint8_t value)
{
	uint32_t flags;

	__asm__("testb %[v], %[v]\n\tlahf\n\tseto %%al" : "=a"(flags) : [v] "r"(value) : "cc");
	return flags & (FLAG_SF | FLAG_ZF | FLAG_PF);
}

static void decimal_adjust(struct interp *ip, bool subtract)
{
	uint8_t al = reg_get8(ip, 0), old = al;
	bool carry = ip->flags & FLAG_CF, old_carry = carry;
	uint16_t flags = 0;

	carry = false;
	if ((al & 15) > 9 || (ip->flags & FLAG_AF)) {
		carry = old_carry || (subtract ? al < 6 : al > 0xf9);
		al = subtract ? al - 6 : al + 6;
		flags |= FLAG_AF;
	}
	if (old > 0x99 || old_carry) {
		al = subtract ? al - 0x60 : al + 0x60;
		carry = true;
	}
	reg_set8(ip, 0, al);
	ip->flags = flags | flags_of_byte(al) | (carry ? FLAG_CF : 0);
}

static void daa(struct interp *ip, const struct op *op)
{
	decimal_adjust(ip, false);
	next(ip, op);
}

static void das(struct interp *ip, const struct op *op)
{
	decimal_adjust(ip, true);
	next(ip, op);
}

static void ascii_adjust(struct interp *ip, int delta)
{
	uint16_t ax = reg_get16(ip, 0), flags = 0;

	if ((ax & 15) > 9 || (ip->flags & FLAG_AF)) {
		ax += delta;
		flags = FLAG_AF | FLAG_CF;
	}
	ax &= 0xff0f;
	reg_set16(ip, 0, ax);
	ip->flags = flags | flags_of_byte(ax);
}

static void aaa(struct interp *ip, const struct op *op)
{
	ascii_adjust(ip, 0x106);
	next(ip, op);
}

static void aas(struct interp *ip, const struct op *op)
{
	ascii_adjust(ip, -0x106);
	next(ip, op);
}

static void aam(struct interp *ip, const struct op *op)
{
	uint8_t al = reg_get8(ip, 0), base = op->imm;

	if (!base)
		fault_at(ip, op, X86_DE);
	reg_set16(ip, 0, (uint16_t)(al / base) << 8 | al % base);
	ip->flags = flags_of_byte(al % base);
	next(ip, op);
}

static void aad(struct interp *ip, const struct op *op)
{
	uint8_t al = reg_get8(ip, 0) + reg_get8(ip, 1) * (uint8_t)op->imm;

	reg_set16(ip, 0, al);
	ip->flags = flags_of_byte(al);
	next(ip, op);
}

static op_fn *const wide_table[4][4] = {
	{mul8, mul16, mul32, mul64},
	{imul8, imul16, imul32, imul64},
	{div8, div16, div32, div64},
	{idiv8, idiv16, idiv32, idiv64},
};
static op_fn *const imul_r_table[4] = {NULL, imul_r16, imul_r32, imul_r64};
static op_fn *const imul_i_table[4] = {NULL, imul_i16, imul_i32, imul_i64};

static bool select_one_operand(struct decode *d, unsigned row)
{
	decode_rm(d, &d->operands[0]);
	d->op->fn = wide_table[row][decode_log2(d->operands[0].size)];
	return true;
}

static bool select_imul(struct decode *d)
{
	unsigned size = decode_log2(d->operands[0].size);

	if (d->insn.operand_count_visible == 1)
		return select_one_operand(d, 1);
	decode_rm(d, &d->operands[1]);
	d->op->dst = decode_reg(d->operands[0].reg.value);
	d->op->fn = imul_r_table[size];
	if (d->insn.operand_count_visible == 3) {
		d->op->imm = d->operands[2].imm.value.u;
		d->op->fn = imul_i_table[size];
	}
	return true;
}

bool select_muldiv(struct decode *d)
{
	struct op *op = d->op;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MUL:
		return select_one_operand(d, 0);
	case ZYDIS_MNEMONIC_IMUL:
		return select_imul(d);
	case ZYDIS_MNEMONIC_DIV:
		return select_one_operand(d, 2);
	case ZYDIS_MNEMONIC_IDIV:
		return select_one_operand(d, 3);
	case ZYDIS_MNEMONIC_DAA:
		op->fn = daa;
		return true;
	case ZYDIS_MNEMONIC_DAS:
		op->fn = das;
		return true;
	case ZYDIS_MNEMONIC_AAA:
		op->fn = aaa;
		return true;
	case ZYDIS_MNEMONIC_AAS:
		op->fn = aas;
		return true;
	case ZYDIS_MNEMONIC_AAM:
	case ZYDIS_MNEMONIC_AAD:
		op->imm = d->operands[0].imm.value.u & 0xff;
		op->fn = d->insn.mnemonic == ZYDIS_MNEMONIC_AAM ? aam : aad;
		return true;
	default:
		return false;
	}
}
