/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bit instructions: BT BTS BTR BTC, BSF BSR, TZCNT LZCNT POPCNT (SDM 2). */
#include "cpu/interp/internal.h"

#define KEEP_FLAGS "\n\tlahf\n\tseto %%al"
#define LOAD_FLAGS "addb $0x7f, %%al\n\tsahf\n\t"

#define BIT_ASM(prefix, insn, suffix, operand, constraint, bit)                                                        \
	__asm__ volatile(LOAD_FLAGS prefix insn suffix " %[b], %[d]" KEEP_FLAGS                                        \
			 : [d] constraint(operand), "+&a"(flags)                                                       \
			 : [b] "r"(bit)                                                                                \
			 : "cc", "memory")
/* With a register bit number the memory operand is a bit string: imm 256 marks that, src/dst hold the registers. */
#define BIT_TEST(name, insn, bits, suffix)                                                                             \
	static void name##_r##bits(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->src);                                                         \
		uint##bits##_t bit = op->imm == 256 ? reg_get##bits(ip, op->dst) : op->imm;                            \
		uint32_t flags = ip->flags;                                                                            \
		BIT_ASM("", insn, suffix, d, "+r", bit);                                                               \
		reg_set##bits(ip, op->src, d);                                                                         \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
#define BIT_MEMORY(name, lock, update, insn, bits, suffix)                                                             \
	static void name##bits(struct interp *ip, const struct op *op)                                                 \
	{                                                                                                              \
		uint##bits##_t bit = op->imm == 256 ? reg_get##bits(ip, op->dst) : op->imm;                            \
		uint64_t gva = bit_address(ip, op, (int##bits##_t)bit, bits / 8, X86_WRITE);                           \
		guest##bits##_t *p = update(ip, op, gva, bits / 8);                                                    \
		uint32_t flags = ip->flags;                                                                            \
		bit &= bits - 1;                                                                                       \
		BIT_ASM(lock, insn, suffix, *p, "+m", bit);                                                            \
		update##_end(ip, op, gva, bits / 8, p);                                                                \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
#define BIT_SIZES(name, insn)                                                                                          \
	BIT_TEST(name, insn, 16, "w")                                                                                  \
	BIT_TEST(name, insn, 32, "l") BIT_TEST(name, insn, 64, "q")                                                    \
		BIT_MEMORY(name##_m, "", mem_update, insn, 16, "w")                                                    \
			BIT_MEMORY(name##_m, "", mem_update, insn, 32, "l")                                            \
				BIT_MEMORY(name##_m, "", mem_update, insn, 64, "q")                                    \
					BIT_MEMORY(name##_lock_m, "lock ", mem_locked, insn, 16, "w")                  \
						BIT_MEMORY(name##_lock_m, "lock ", mem_locked, insn, 32, "l")          \
							BIT_MEMORY(name##_lock_m, "lock ", mem_locked, insn, 64, "q")

static uint64_t bit_address(struct interp *ip, const struct op *op, int64_t bit, unsigned size, unsigned access)
{
	uint64_t sum = op_sum(ip, op);

	if (op->imm == 256)
		sum += (bit >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * (int64_t)size;
	if (likely((op->ea & 15) == EA_FLAT))
		return sum + value_at(ip, op->segbase);
	return op_address_slow(ip, op, sum, size, access);
}

BIT_SIZES(bit_set, "bts")
BIT_SIZES(bit_reset, "btr")
BIT_SIZES(bit_flip, "btc")

#define BIT_READ(bits, suffix)                                                                                         \
	static void bit_test_r##bits(struct interp *ip, const struct op *op)                                           \
	{                                                                                                              \
		uint##bits##_t d = reg_get##bits(ip, op->src);                                                         \
		uint##bits##_t bit = op->imm == 256 ? reg_get##bits(ip, op->dst) : op->imm;                            \
		uint32_t flags = ip->flags;                                                                            \
		BIT_ASM("", "bt", suffix, d, "+r", bit);                                                               \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void bit_test_m##bits(struct interp *ip, const struct op *op)                                           \
	{                                                                                                              \
		uint##bits##_t bit = op->imm == 256 ? reg_get##bits(ip, op->dst) : op->imm;                            \
		uint64_t gva = bit_address(ip, op, (int##bits##_t)bit, bits / 8, X86_READ);                            \
		uint##bits##_t d = mem_load##bits(ip, op, gva);                                                        \
		uint32_t flags = ip->flags;                                                                            \
		BIT_ASM("", "bt", suffix, d, "+r", bit);                                                               \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
BIT_READ(16, "w")
BIT_READ(32, "l")
BIT_READ(64, "q")

/* The destination goes in as well: BSF and BSR of zero leave it alone on this host (or do what this host does). */
#define SCAN(name, insn, bits, modifier)                                                                               \
	static void name##bits(struct interp *ip, const struct op *op)                                                 \
	{                                                                                                              \
		uint64_t d = reg_get64(ip, op->dst), s = operand_read(ip, op, bits / 8);                               \
		uint32_t flags = ip->flags;                                                                            \
		__asm__(LOAD_FLAGS insn " %" modifier "[s], %" modifier "[d]" KEEP_FLAGS                               \
			: [d] "+&r"(d), "+&a"(flags)                                                                   \
			: [s] "r"(s)                                                                                   \
			: "cc");                                                                                       \
		reg_set64(ip, op->dst, d);                                                                             \
		ip->flags = flags;                                                                                     \
		next(ip, op);                                                                                          \
	}
#define SCANS(name, insn) SCAN(name, insn, 16, "w") SCAN(name, insn, 32, "k") SCAN(name, insn, 64, "q")
SCANS(bit_bsf, "bsf")
SCANS(bit_bsr, "bsr")
SCANS(bit_tzcnt, "tzcnt")
SCANS(bit_lzcnt, "lzcnt")
SCANS(bit_popcnt, "popcnt")

#define BY_SIZE(handler)                                                                                               \
	{                                                                                                              \
		NULL, handler##16, handler##32, handler##64                                                            \
	}
#define BIT_ROW(name)                                                                                                  \
	{                                                                                                              \
		BY_SIZE(name##_r), BY_SIZE(name##_m), BY_SIZE(name##_lock_m)                                           \
	}

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn[3][4];
} bit_table[] = {
	{ZYDIS_MNEMONIC_BT, {BY_SIZE(bit_test_r), BY_SIZE(bit_test_m)}},
	{ZYDIS_MNEMONIC_BTS, BIT_ROW(bit_set)},
	{ZYDIS_MNEMONIC_BTR, BIT_ROW(bit_reset)},
	{ZYDIS_MNEMONIC_BTC, BIT_ROW(bit_flip)},
};

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn[4];
} scan_table[] = {
	{ZYDIS_MNEMONIC_BSF, BY_SIZE(bit_bsf)},       {ZYDIS_MNEMONIC_BSR, BY_SIZE(bit_bsr)},
	{ZYDIS_MNEMONIC_TZCNT, BY_SIZE(bit_tzcnt)},   {ZYDIS_MNEMONIC_LZCNT, BY_SIZE(bit_lzcnt)},
	{ZYDIS_MNEMONIC_POPCNT, BY_SIZE(bit_popcnt)},
};

bool select_bit(struct decode *d)
{
	unsigned size = decode_log2(d->operands[0].size);

	for (size_t i = 0; i < ARRAY_SIZE(bit_table); i++) {
		if (bit_table[i].mnemonic != d->insn.mnemonic)
			continue;
		decode_rm(d, &d->operands[0]);
		if (decode_is_reg(&d->operands[1])) {
			d->op->dst = decode_reg(d->operands[1].reg.value);
			d->op->imm = 256;
		} else {
			d->op->imm = d->operands[1].imm.value.u & 0xff;
		}
		d->op->fn = bit_table[i].fn[decode_is_reg(&d->operands[0]) ? 0 : decode_locked(d) ? 2 : 1][size];
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(scan_table); i++)
		if (scan_table[i].mnemonic == d->insn.mnemonic) {
			decode_rm(d, &d->operands[1]);
			d->op->dst = decode_reg(d->operands[0].reg.value);
			d->op->fn = scan_table[i].fn[size];
			return true;
		}
	return false;
}
