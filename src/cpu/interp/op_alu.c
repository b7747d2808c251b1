/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two-operand arithmetic and logic, INC, DEC, NEG, NOT (SDM 2: ADD OR ADC SBB AND SUB XOR CMP TEST). Every handler
 * executes the host's instruction of the same operand size, so results and flags are the CPU's own.
 */
#include "cpu/interp/internal.h"

/* carry-in comes from ip->flags; one form serves those who ignore it because BT costs one micro-operation. */
#define ASM_NOCARRY(insn, suffix, dest, source)                                                                        \
	__asm__(insn suffix " %[s], %[d]\n\tlahf\n\tseto %%al" : [d] "+r"(dest), "=a"(flags) : [s] "r"(source) : "cc")
#define ASM_CARRY(insn, suffix, dest, source)                                                                          \
	__asm__("btl $8, %[f]\n\t" insn suffix " %[s], %[d]\n\tlahf\n\tseto %%al"                                      \
		: [d] "+r"(dest), "=&a"(flags)                                                                         \
		: [s] "r"(source), [f] "r"((uint32_t)ip->flags)                                                        \
		: "cc")
#define ASM_MEM_NOCARRY(prefix, insn, suffix, p, source)                                                               \
	__asm__ volatile(prefix insn suffix " %[s], %[d]\n\tlahf\n\tseto %%al"                                         \
			 : [d] "+m"(*(p)), "=a"(flags)                                                                 \
			 : [s] "r"(source)                                                                             \
			 : "cc", "memory")
#define ASM_MEM_CARRY(prefix, insn, suffix, p, source)                                                                 \
	__asm__ volatile("btl $8, %[f]\n\t" prefix insn suffix " %[s], %[d]\n\tlahf\n\tseto %%al"                      \
			 : [d] "+m"(*(p)), "=&a"(flags)                                                                \
			 : [s] "r"(source), [f] "r"((uint32_t)ip->flags)                                               \
			 : "cc", "memory")

/* Register destination: rr, ri, rm. */
#define ALU_REG(name, insn, bits, suffix, ASM)                                                                         \
	static void name##_rr##bits(struct interp *ip, const struct op *op)                                            \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->dst), s = reg_get##bits(ip, op->src);                         \
		uint32_t flags;                                                                                        \
		ASM(insn, suffix, d, s);                                                                               \
		reg_set##bits(ip, op->dst, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void name##_ri##bits(struct interp *ip, const struct op *op)                                            \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->dst), s = op->imm;                                            \
		uint32_t flags;                                                                                        \
		ASM(insn, suffix, d, s);                                                                               \
		reg_set##bits(ip, op->dst, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void name##_rm##bits(struct interp *ip, const struct op *op)                                            \
	{                                                                                                              \
		uint##bits##_t s = mem_load##bits(ip, op, op_address(ip, op, bits / 8, X86_READ));                     \
		uint##bits##_t d = reg_get##bits(ip, op->dst);                                                         \
		uint32_t flags;                                                                                        \
		ASM(insn, suffix, d, s);                                                                               \
		reg_set##bits(ip, op->dst, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}

/* Memory destination, plain and locked: mr, mi. */
#define ALU_MEM_FORM(name, form, insn, bits, suffix, ASM, source)                                                      \
	static void name##_##form##bits(struct interp *ip, const struct op *op)                                        \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_update(ip, op, gva, bits / 8), s = source;                                    \
		uint32_t flags;                                                                                        \
		ASM("", insn, suffix, p, s);                                                                           \
		mem_update_end(ip, op, gva, bits / 8, p);                                                              \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void name##_lock_##form##bits(struct interp *ip, const struct op *op)                                   \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_locked(ip, op, gva, bits / 8), s = source;                                    \
		uint32_t flags;                                                                                        \
		ASM("lock ", insn, suffix, p, s);                                                                      \
		mem_locked_end(ip, op, gva, bits / 8, p);                                                              \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
#define ALU_MEM(name, insn, bits, suffix, ASM)                                                                         \
	ALU_MEM_FORM(name, mr, insn, bits, suffix, ASM, reg_get##bits(ip, op->src))                                    \
	ALU_MEM_FORM(name, mi, insn, bits, suffix, ASM, (uint##bits##_t)op->imm)

#define ALU_WRITES(name, insn, ASM, ASM_MEM)                                                                           \
	ALU_REG(name, insn, 8, "b", ASM)                                                                               \
	ALU_REG(name, insn, 16, "w", ASM) ALU_REG(name, insn, 32, "l", ASM) ALU_REG(name, insn, 64, "q", ASM)          \
		ALU_MEM(name, insn, 8, "b", ASM_MEM) ALU_MEM(name, insn, 16, "w", ASM_MEM)                             \
			ALU_MEM(name, insn, 32, "l", ASM_MEM) ALU_MEM(name, insn, 64, "q", ASM_MEM)

ALU_WRITES(alu_add, "add", ASM_NOCARRY, ASM_MEM_NOCARRY)
ALU_WRITES(alu_or, "or", ASM_NOCARRY, ASM_MEM_NOCARRY)
ALU_WRITES(alu_adc, "adc", ASM_CARRY, ASM_MEM_CARRY)
ALU_WRITES(alu_sbb, "sbb", ASM_CARRY, ASM_MEM_CARRY)
ALU_WRITES(alu_and, "and", ASM_NOCARRY, ASM_MEM_NOCARRY)
ALU_WRITES(alu_sub, "sub", ASM_NOCARRY, ASM_MEM_NOCARRY)
ALU_WRITES(alu_xor, "xor", ASM_NOCARRY, ASM_MEM_NOCARRY)

/* CMP and TEST: both operands are only read. */
#define ALU_COMPARE_FORM(name, form, insn, bits, suffix, left, right)                                                  \
	static void name##_##form##bits(struct interp *ip, const struct op *op)                                        \
	{                                                                                                              \
		uint##bits##_t s = right, d = left;                                                                    \
		uint32_t flags;                                                                                        \
		__asm__(insn suffix " %[s], %[d]\n\tlahf\n\tseto %%al" : "=a"(flags) : [d] "r"(d), [s] "r"(s) : "cc"); \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
#define ALU_LOAD(bits) mem_load##bits(ip, op, op_address(ip, op, bits / 8, X86_READ))
#define ALU_COMPARE(name, insn, bits, suffix)                                                                          \
	ALU_COMPARE_FORM(name, rr, insn, bits, suffix, reg_get##bits(ip, op->dst), reg_get##bits(ip, op->src))         \
	ALU_COMPARE_FORM(name, ri, insn, bits, suffix, reg_get##bits(ip, op->dst), (uint##bits##_t)op->imm)            \
	ALU_COMPARE_FORM(name, rm, insn, bits, suffix, reg_get##bits(ip, op->dst), ALU_LOAD(bits))                     \
	ALU_COMPARE_FORM(name, mr, insn, bits, suffix, ALU_LOAD(bits), reg_get##bits(ip, op->src))                     \
	ALU_COMPARE_FORM(name, mi, insn, bits, suffix, ALU_LOAD(bits), (uint##bits##_t)op->imm)
#define ALU_COMPARES(name, insn)                                                                                       \
	ALU_COMPARE(name, insn, 8, "b")                                                                                \
	ALU_COMPARE(name, insn, 16, "w") ALU_COMPARE(name, insn, 32, "l") ALU_COMPARE(name, insn, 64, "q")

ALU_COMPARES(alu_cmp, "cmp")
ALU_COMPARES(alu_test, "test")

/* INC and DEC keep CF: it is loaded into the host's before. NEG sets all, NOT none. */
#define UNARY_ASM(operand, constraint, prefix, insn, suffix)                                                           \
	__asm__ volatile("btl $8, %[f]\n\t" prefix insn suffix " %[d]\n\tlahf\n\tseto %%al"                            \
			 : [d] constraint(operand), "=&a"(flags)                                                       \
			 : [f] "r"((uint32_t)ip->flags)                                                                \
			 : "cc")
#define UNARY(name, insn, bits, suffix)                                                                                \
	static void name##_r##bits(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->src);                                                         \
		uint32_t flags;                                                                                        \
		UNARY_ASM(d, "+r", "", insn, suffix);                                                                  \
		reg_set##bits(ip, op->src, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void name##_m##bits(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_update(ip, op, gva, bits / 8);                                                \
		uint32_t flags;                                                                                        \
		UNARY_ASM(*p, "+m", "", insn, suffix);                                                                 \
		mem_update_end(ip, op, gva, bits / 8, p);                                                              \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void name##_lock_m##bits(struct interp *ip, const struct op *op)                                        \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_locked(ip, op, gva, bits / 8);                                                \
		uint32_t flags;                                                                                        \
		UNARY_ASM(*p, "+m", "lock ", insn, suffix);                                                            \
		mem_locked_end(ip, op, gva, bits / 8, p);                                                              \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
#define UNARIES(name, insn)                                                                                            \
	UNARY(name, insn, 8, "b") UNARY(name, insn, 16, "w") UNARY(name, insn, 32, "l") UNARY(name, insn, 64, "q")

UNARIES(alu_inc, "inc")
UNARIES(alu_dec, "dec")
UNARIES(alu_neg, "neg")

#define COMPLEMENT(bits, suffix)                                                                                       \
	static void alu_not_r##bits(struct interp *ip, const struct op *op)                                            \
	{                                                                                                              \
		reg_set##bits(ip, op->src, ~reg_get##bits(ip, op->src));                                               \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void alu_not_m##bits(struct interp *ip, const struct op *op)                                            \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_update(ip, op, gva, bits / 8);                                                \
		*p = ~*p;                                                                                              \
		mem_update_end(ip, op, gva, bits / 8, p);                                                              \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void alu_not_lock_m##bits(struct interp *ip, const struct op *op)                                       \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_locked(ip, op, gva, bits / 8);                                                \
		__asm__ volatile("lock not" suffix " %0" : "+m"(*p) : : "memory");                                     \
		mem_locked_end(ip, op, gva, bits / 8, p);                                                              \
		next(ip, op);                                                                                          \
	}
COMPLEMENT(8, "b")
COMPLEMENT(16, "w")
COMPLEMENT(32, "l")
COMPLEMENT(64, "q")

enum alu_form { FORM_RR, FORM_RI, FORM_RM, FORM_MR, FORM_MI, FORM_LOCK_MR, FORM_LOCK_MI, ALU_FORMS };
enum unary_form { UNARY_R, UNARY_M, UNARY_LOCK, UNARY_FORMS };

#define BY_SIZE(handler)                                                                                               \
	{                                                                                                              \
		handler##8, handler##16, handler##32, handler##64                                                      \
	}
#define ALU_ROW(name)                                                                                                  \
	{                                                                                                              \
		BY_SIZE(name##_rr), BY_SIZE(name##_ri), BY_SIZE(name##_rm), BY_SIZE(name##_mr), BY_SIZE(name##_mi),    \
			BY_SIZE(name##_lock_mr), BY_SIZE(name##_lock_mi)                                               \
	}
#define COMPARE_ROW(name)                                                                                              \
	{                                                                                                              \
		BY_SIZE(name##_rr), BY_SIZE(name##_ri), BY_SIZE(name##_rm), BY_SIZE(name##_mr), BY_SIZE(name##_mi)     \
	}
#define UNARY_ROW(name)                                                                                                \
	{                                                                                                              \
		BY_SIZE(name##_r), BY_SIZE(name##_m), BY_SIZE(name##_lock_m)                                           \
	}

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn[ALU_FORMS][4];
} alu_table[] = {
	{ZYDIS_MNEMONIC_ADD, ALU_ROW(alu_add)},       {ZYDIS_MNEMONIC_OR, ALU_ROW(alu_or)},
	{ZYDIS_MNEMONIC_ADC, ALU_ROW(alu_adc)},       {ZYDIS_MNEMONIC_SBB, ALU_ROW(alu_sbb)},
	{ZYDIS_MNEMONIC_AND, ALU_ROW(alu_and)},       {ZYDIS_MNEMONIC_SUB, ALU_ROW(alu_sub)},
	{ZYDIS_MNEMONIC_XOR, ALU_ROW(alu_xor)},       {ZYDIS_MNEMONIC_CMP, COMPARE_ROW(alu_cmp)},
	{ZYDIS_MNEMONIC_TEST, COMPARE_ROW(alu_test)},
};

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn[UNARY_FORMS][4];
} unary_table[] = {
	{ZYDIS_MNEMONIC_INC, UNARY_ROW(alu_inc)},
	{ZYDIS_MNEMONIC_DEC, UNARY_ROW(alu_dec)},
	{ZYDIS_MNEMONIC_NEG, UNARY_ROW(alu_neg)},
	{ZYDIS_MNEMONIC_NOT, UNARY_ROW(alu_not)},
};

static bool select_binary(struct decode *d, op_fn *const fn[ALU_FORMS][4])
{
	const ZydisDecodedOperand *left = &d->operands[0], *right = &d->operands[1];
	unsigned size = decode_log2(left->size);
	bool lock = decode_locked(d);
	enum alu_form form;

	if (decode_is_reg(left)) {
		d->op->dst = decode_reg(left->reg.value);
		if (decode_is_reg(right)) {
			form = FORM_RR;
			d->op->src = decode_reg(right->reg.value);
		} else if (right->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
			form = FORM_RI;
			d->op->imm = right->imm.value.u;
		} else {
			form = FORM_RM;
			decode_memory(d, right);
		}
	} else {
		decode_memory(d, left);
		if (decode_is_reg(right)) {
			form = lock ? FORM_LOCK_MR : FORM_MR;
			d->op->src = decode_reg(right->reg.value);
		} else {
			form = lock ? FORM_LOCK_MI : FORM_MI;
			d->op->imm = right->imm.value.u;
		}
	}
	d->op->fn = fn[form][size];
	return d->op->fn != NULL;
}

bool select_alu(struct decode *d)
{
	for (size_t i = 0; i < ARRAY_SIZE(alu_table); i++)
		if (alu_table[i].mnemonic == d->insn.mnemonic)
			return select_binary(d, alu_table[i].fn);
	for (size_t i = 0; i < ARRAY_SIZE(unary_table); i++)
		if (unary_table[i].mnemonic == d->insn.mnemonic) {
			enum unary_form form = decode_is_reg(&d->operands[0]) ? UNARY_R
					       : decode_locked(d)             ? UNARY_LOCK
									      : UNARY_M;

			decode_rm(d, &d->operands[0]);
			d->op->fn = unary_table[i].fn[form][decode_log2(d->operands[0].size)];
			return true;
		}
	return false;
}
