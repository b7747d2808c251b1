/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XCHG, XADD, CMPXCHG, CMPXCHG8B/16B. With memory they are executed locked always: XCHG is by definition, and for the
 * others the unlocked form may not do less.
 */
#include "cpu/interp/internal.h"

#define KEEP_FLAGS "\n\tlahf\n\tseto %%al"

#define EXCHANGE(bits, suffix)                                                                                         \
	static void xchg_r##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		uint##bits##_t a = reg_get##bits(ip, op->dst), b = reg_get##bits(ip, op->src);                         \
		reg_set##bits(ip, op->dst, b);                                                                         \
		reg_set##bits(ip, op->src, a);                                                                         \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void xchg_m##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_locked(ip, op, gva, bits / 8), value = reg_get##bits(ip, op->dst);            \
		__asm__ volatile("xchg" suffix " %0, %1" : "+r"(value), "+m"(*p) : : "memory");                        \
		mem_locked_end(ip, op, gva, bits / 8, p);                                                              \
		reg_set##bits(ip, op->dst, value);                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void xadd_r##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->src), s = reg_get##bits(ip, op->dst);                         \
		uint32_t flags;                                                                                        \
		__asm__("xadd" suffix " %[s], %[d]" KEEP_FLAGS : [d] "+&r"(d), [s] "+&r"(s), "=&a"(flags) : : "cc");   \
		reg_set##bits(ip, op->dst, s);                                                                         \
		reg_set##bits(ip, op->src, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void xadd_m##bits(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_locked(ip, op, gva, bits / 8), s = reg_get##bits(ip, op->dst);                \
		uint32_t flags;                                                                                        \
		__asm__ volatile("lock xadd" suffix " %[s], %[d]" KEEP_FLAGS                                           \
				 : [d] "+m"(*p), [s] "+&r"(s), "=&a"(flags)                                            \
				 :                                                                                     \
				 : "cc", "memory");                                                                    \
		mem_locked_end(ip, op, gva, bits / 8, p);                                                              \
		reg_set##bits(ip, op->dst, s);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
EXCHANGE(8, "b")
EXCHANGE(16, "w")
EXCHANGE(32, "l")
EXCHANGE(64, "q")

/* The registers go through whole, so that a 32-bit form zero-extends just what the host's does. Byte registers may be
 * high ones and go by themselves. */
#define COMPARE_EXCHANGE(bits, suffix, modifier)                                                                       \
	static void cmpxchg_r##bits(struct interp *ip, const struct op *op)                                            \
	{                                                                                                              \
		uint64_t acc = reg_get64(ip, X86_RAX * 8), d = *(uint64_t *)reg_at(ip, op->src & ~7u);                 \
		uint64_t s = reg_get##bits(ip, op->dst);                                                               \
		uint32_t flags;                                                                                        \
		__asm__("cmpxchg" suffix " %" modifier "[s], %" modifier "[d]\n\tmov %%rax, %[o]" KEEP_FLAGS           \
			: [d] "+&r"(d), [o] "=&r"(s), "=&a"(flags)                                                     \
			: [s] "r"(s), "2"(acc)                                                                         \
			: "cc");                                                                                       \
		reg_set64(ip, X86_RAX * 8, s);                                                                         \
		if (!((op->src & ~7u) == X86_RAX * 8 && !(flags & FLAG_ZF)))                                           \
			reg_set64(ip, op->src & ~7u, d);                                                               \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void cmpxchg_m##bits(struct interp *ip, const struct op *op)                                            \
	{                                                                                                              \
		uint64_t gva = op_address(ip, op, bits / 8, X86_WRITE);                                                \
		guest##bits##_t *p = mem_locked(ip, op, gva, bits / 8);                                                \
		uint64_t s = reg_get##bits(ip, op->dst), acc = reg_get64(ip, X86_RAX * 8);                             \
		uint32_t flags;                                                                                        \
		__asm__ volatile("lock cmpxchg" suffix " %" modifier "[s], %[d]\n\tmov %%rax, %[o]" KEEP_FLAGS         \
				 : [d] "+m"(*p), [o] "=&r"(s), "=&a"(flags)                                            \
				 : [s] "r"(s), "2"(acc)                                                                \
				 : "cc", "memory");                                                                    \
		mem_locked_end(ip, op, gva, bits / 8, p);                                                              \
		reg_set64(ip, X86_RAX * 8, s);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
COMPARE_EXCHANGE(16, "w", "w")
COMPARE_EXCHANGE(32, "l", "k")
COMPARE_EXCHANGE(64, "q", "q")

static void cmpxchg_r8(struct interp *ip, const struct op *op)
{
	uint8_t acc = reg_get8(ip, 0), d = reg_get8(ip, op->src), s = reg_get8(ip, op->dst);
	uint32_t flags;

	__asm__("cmpb %[d], %[a]" KEEP_FLAGS : "=&a"(flags) : [a] "r"(acc), [d] "r"(d) : "cc");
	if (flags & FLAG_ZF)
		reg_set8(ip, op->src, s);
	else
		reg_set8(ip, 0, d);
	ip->flags = flags;
	next(ip, op);
}

static void cmpxchg_m8(struct interp *ip, const struct op *op)
{
	uint64_t gva = op_address(ip, op, 1, X86_WRITE);
	uint8_t *p = mem_locked(ip, op, gva, 1), s = reg_get8(ip, op->dst), out;
	uint32_t flags;

	__asm__ volatile("lock cmpxchgb %[s], %[d]\n\tmov %%al, %[o]" KEEP_FLAGS
			 : [d] "+m"(*p), [o] "=&r"(out), "=&a"(flags)
			 : [s] "r"(s), "2"((uint32_t)reg_get8(ip, 0))
			 : "cc", "memory");
	mem_locked_end(ip, op, gva, 1, p);
	reg_set8(ip, 0, out);
	ip->flags = flags;
	next(ip, op);
}

static void cmpxchg8b(struct interp *ip, const struct op *op)
{
	uint64_t gva = op_address(ip, op, 8, X86_WRITE);
	guest64_t *p = mem_locked(ip, op, gva, 8);
	uint32_t low = reg_get32(ip, X86_RAX * 8), high = reg_get32(ip, X86_RDX * 8);
	bool equal;

	__asm__ volatile("lock cmpxchg8b %[m]\n\tsetz %[z]"
			 : [m] "+m"(*p), "+a"(low), "+d"(high), [z] "=q"(equal)
			 : "b"(reg_get32(ip, X86_RBX * 8)), "c"(reg_get32(ip, X86_RCX * 8))
			 : "cc", "memory");
	mem_locked_end(ip, op, gva, 8, p);
	if (!equal) {
		reg_set32(ip, X86_RAX * 8, low);
		reg_set32(ip, X86_RDX * 8, high);
	}
	ip->flags = (ip->flags & ~FLAG_ZF) | (equal ? FLAG_ZF : 0);
	next(ip, op);
}

static void cmpxchg16b(struct interp *ip, const struct op *op)
{
	uint64_t gva = op_address(ip, op, 16, X86_WRITE), low = reg_get64(ip, X86_RAX * 8),
		 high = reg_get64(ip, X86_RDX * 8);
	unsigned __int128 *p;
	bool equal;

	if (gva & 15)
		fault_at_error(ip, op, X86_GP, 0);
	p = mem_locked(ip, op, gva, 16);
	__asm__ volatile("lock cmpxchg16b %[m]\n\tsetz %[z]"
			 : [m] "+m"(*p), "+a"(low), "+d"(high), [z] "=q"(equal)
			 : "b"(reg_get64(ip, X86_RBX * 8)), "c"(reg_get64(ip, X86_RCX * 8))
			 : "cc", "memory");
	mem_locked_end(ip, op, gva, 16, p);
	if (!equal) {
		reg_set64(ip, X86_RAX * 8, low);
		reg_set64(ip, X86_RDX * 8, high);
	}
	ip->flags = (ip->flags & ~FLAG_ZF) | (equal ? FLAG_ZF : 0);
	next(ip, op);
}

#define BY_SIZE(handler)                                                                                               \
	{                                                                                                              \
		handler##8, handler##16, handler##32, handler##64                                                      \
	}

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn[2][4]; /* register, memory */
} exchange_table[] = {
	{ZYDIS_MNEMONIC_XCHG, {BY_SIZE(xchg_r), BY_SIZE(xchg_m)}},
	{ZYDIS_MNEMONIC_XADD, {BY_SIZE(xadd_r), BY_SIZE(xadd_m)}},
	{ZYDIS_MNEMONIC_CMPXCHG, {BY_SIZE(cmpxchg_r), BY_SIZE(cmpxchg_m)}},
};

/* 90 with REX.B is XCHG with R8, also behind F3, which Zydis calls PAUSE. */
static bool select_long_nop(struct decode *d)
{
	struct op *op = d->op;

	if (!(d->insn.attributes & ZYDIS_ATTRIB_HAS_REX) || !d->insn.raw.rex.B)
		return false;
	op->dst = X86_RAX * 8;
	op->src = X86_R8 * 8;
	op->ea = EA_NONE;
	op->fn = d->insn.raw.rex.W ? xchg_r64 : d->insn.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE ? xchg_r16 : xchg_r32;
	return true;
}

bool select_exchange(struct decode *d)
{
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_PAUSE)
		return select_long_nop(d);
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B || d->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B) {
		decode_memory(d, &d->operands[0]);
		d->op->fn = d->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B ? cmpxchg8b : cmpxchg16b;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(exchange_table); i++) {
		bool swap = d->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			    d->operands[1].type == ZYDIS_OPERAND_TYPE_MEMORY;

		if (exchange_table[i].mnemonic != d->insn.mnemonic)
			continue;
		decode_rm(d, &d->operands[swap]);
		d->op->dst = decode_reg(d->operands[!swap].reg.value);
		d->op->fn = exchange_table[i].fn[!decode_is_reg(&d->operands[swap])][decode_log2(d->operands[0].size)];
		return true;
	}
	return false;
}
