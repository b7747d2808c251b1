/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shifts and rotates (SDM 2: ROL ROR RCL RCR SHL SHR SAR, SHLD SHRD). The guest's flags are loaded into the host's
 * first, because a count of zero leaves them alone and rotates change only CF and OF.
 */
#include "cpu/interp/internal.h"

#define LOAD_FLAGS "addb $0x7f, %%al\n\tsahf\n\t"
#define KEEP_FLAGS "lahf\n\tseto %%al"

#define SHIFT(name, insn, bits, suffix)                                                                                \
	static void name##_r##bits(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->src);                                                         \
		uint32_t flags = ip->flags;                                                                            \
		__asm__(LOAD_FLAGS insn suffix " %%cl, %[d]\n\t" KEEP_FLAGS                                            \
			: [d] "+r"(d), "+&a"(flags)                                                                    \
			: "c"((uint8_t)reg_get8(ip, op->dst))                                                          \
			: "cc");                                                                                       \
		reg_set##bits(ip, op->src, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void name##_ri##bits(struct interp *ip, const struct op *op)                                            \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->src);                                                         \
		uint32_t flags = ip->flags;                                                                            \
		__asm__(LOAD_FLAGS insn suffix " %%cl, %[d]\n\t" KEEP_FLAGS                                            \
			: [d] "+r"(d), "+&a"(flags)                                                                    \
			: "c"((uint8_t)op->imm)                                                                        \
			: "cc");                                                                                       \
		reg_set##bits(ip, op->src, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void name##_m##bits(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_update(ip, op, gva, bits / 8);                                                \
		uint32_t flags = ip->flags;                                                                            \
		__asm__ volatile(LOAD_FLAGS insn suffix " %%cl, %[d]\n\t" KEEP_FLAGS                                   \
				 : [d] "+m"(*p), "+&a"(flags)                                                          \
				 : "c"((uint8_t)(op->dst == 255 ? op->imm : reg_get8(ip, op->dst)))                    \
				 : "cc");                                                                              \
		mem_update_end(ip, op, gva, bits / 8, p);                                                              \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
#define SHIFTS(name, insn)                                                                                             \
	SHIFT(name, insn, 8, "b") SHIFT(name, insn, 16, "w") SHIFT(name, insn, 32, "l") SHIFT(name, insn, 64, "q")

SHIFTS(shift_rol, "rol")
SHIFTS(shift_ror, "ror")
SHIFTS(shift_rcl, "rcl")
SHIFTS(shift_rcr, "rcr")
SHIFTS(shift_shl, "shl")
SHIFTS(shift_shr, "shr")
SHIFTS(shift_sar, "sar")

/* SHL, SHR and SAR by a constant other than 0 replace all flags: no need to load the old ones. */
#define SHIFT_CONST(name, insn, bits, suffix)                                                                          \
	static void name##_fast##bits(struct interp *ip, const struct op *op)                                          \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->src);                                                         \
		uint32_t flags;                                                                                        \
		__asm__(insn suffix " %%cl, %[d]\n\t" KEEP_FLAGS                                                       \
			: [d] "+r"(d), "=&a"(flags)                                                                    \
			: "c"((uint8_t)op->imm)                                                                        \
			: "cc");                                                                                       \
		reg_set##bits(ip, op->src, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
SHIFT_CONST(shift_shl, "shl", 32, "l")
SHIFT_CONST(shift_shl, "shl", 64, "q")
SHIFT_CONST(shift_shr, "shr", 32, "l")
SHIFT_CONST(shift_shr, "shr", 64, "q")
SHIFT_CONST(shift_sar, "sar", 32, "l")
SHIFT_CONST(shift_sar, "sar", 64, "q")

/* dst: the register shifted in; disp 1: count in imm, else CL. The count of a register form has no displacement. */
#define DOUBLE(name, insn, bits, suffix)                                                                               \
	static void name##_r##bits(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->src), s = reg_get##bits(ip, op->dst);                         \
		uint8_t count = op->imm == 256 ? reg_get8(ip, X86_RCX * 8) : op->imm;                                  \
		uint32_t flags = ip->flags;                                                                            \
		__asm__(LOAD_FLAGS insn suffix " %%cl, %[s], %[d]\n\t" KEEP_FLAGS                                      \
			: [d] "+r"(d), "+&a"(flags)                                                                    \
			: [s] "r"(s), "c"(count)                                                                       \
			: "cc");                                                                                       \
		reg_set##bits(ip, op->src, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void name##_m##bits(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_update(ip, op, gva, bits / 8), s = reg_get##bits(ip, op->dst);                \
		uint8_t count = op->imm == 256 ? reg_get8(ip, X86_RCX * 8) : op->imm;                                  \
		uint32_t flags = ip->flags;                                                                            \
		__asm__ volatile(LOAD_FLAGS insn suffix " %%cl, %[s], %[d]\n\t" KEEP_FLAGS                             \
				 : [d] "+m"(*p), "+&a"(flags)                                                          \
				 : [s] "r"(s), "c"(count)                                                              \
				 : "cc");                                                                              \
		mem_update_end(ip, op, gva, bits / 8, p);                                                              \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
#define DOUBLES(name, insn) DOUBLE(name, insn, 16, "w") DOUBLE(name, insn, 32, "l") DOUBLE(name, insn, 64, "q")

DOUBLES(shift_shld, "shld")
DOUBLES(shift_shrd, "shrd")

enum { SHIFT_BY_REG, SHIFT_BY_IMM, SHIFT_MEM, SHIFT_FAST, SHIFT_FORMS };

#define BY_SIZE(handler)                                                                                               \
	{                                                                                                              \
		handler##8, handler##16, handler##32, handler##64                                                      \
	}
#define WIDE(handler)                                                                                                  \
	{                                                                                                              \
		NULL, NULL, handler##32, handler##64                                                                   \
	}
#define SHIFT_ROW(name) BY_SIZE(name##_r), BY_SIZE(name##_ri), BY_SIZE(name##_m)

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn[SHIFT_FORMS][4];
} shift_table[] = {
	{ZYDIS_MNEMONIC_ROL, {SHIFT_ROW(shift_rol)}},
	{ZYDIS_MNEMONIC_ROR, {SHIFT_ROW(shift_ror)}},
	{ZYDIS_MNEMONIC_RCL, {SHIFT_ROW(shift_rcl)}},
	{ZYDIS_MNEMONIC_RCR, {SHIFT_ROW(shift_rcr)}},
	{ZYDIS_MNEMONIC_SHL, {SHIFT_ROW(shift_shl), WIDE(shift_shl_fast)}},
	{ZYDIS_MNEMONIC_SHR, {SHIFT_ROW(shift_shr), WIDE(shift_shr_fast)}},
	{ZYDIS_MNEMONIC_SAR, {SHIFT_ROW(shift_sar), WIDE(shift_sar_fast)}},
};

static op_fn *const double_table[2][2][4] = {
	{{NULL, shift_shld_r16, shift_shld_r32, shift_shld_r64},
	 {NULL, shift_shld_m16, shift_shld_m32, shift_shld_m64}},
	{{NULL, shift_shrd_r16, shift_shrd_r32, shift_shrd_r64},
	 {NULL, shift_shrd_m16, shift_shrd_m32, shift_shrd_m64}},
};

static bool select_double(struct decode *d)
{
	bool right = d->insn.mnemonic == ZYDIS_MNEMONIC_SHRD, memory = !decode_is_reg(&d->operands[0]);

	decode_rm(d, &d->operands[0]);
	d->op->dst = decode_reg(d->operands[1].reg.value);
	d->op->imm = decode_is_reg(&d->operands[2]) ? 256 : d->operands[2].imm.value.u & 0xff;
	d->op->fn = double_table[right][memory][decode_log2(d->operands[0].size)];
	return true;
}

bool select_shift(struct decode *d)
{
	const ZydisDecodedOperand *count = &d->operands[1];
	unsigned size = decode_log2(d->operands[0].size), form;

	if (d->insn.mnemonic == ZYDIS_MNEMONIC_SHLD || d->insn.mnemonic == ZYDIS_MNEMONIC_SHRD)
		return select_double(d);
	for (size_t i = 0; i < ARRAY_SIZE(shift_table); i++) {
		if (shift_table[i].mnemonic != d->insn.mnemonic)
			continue;
		decode_rm(d, &d->operands[0]);
		if (decode_is_reg(count)) {
			d->op->dst = decode_reg(count->reg.value);
			form = SHIFT_BY_REG;
		} else {
			d->op->dst = 255;
			d->op->imm = count->imm.value.u & 0xff;
			form = SHIFT_BY_IMM;
			if (shift_table[i].fn[SHIFT_FAST][size] && (d->op->imm & (size == 3 ? 63 : 31)))
				form = SHIFT_FAST;
		}
		if (!decode_is_reg(&d->operands[0]))
			form = SHIFT_MEM;
		d->op->fn = shift_table[i].fn[form][size];
		return true;
	}
	return false;
}
