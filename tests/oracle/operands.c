/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers and memory for an instruction: random and boundary values everywhere, then adjusted so that memory operands
 * mostly hit mapped pages (else everything would fault), branches mostly land on INT3s, counts are mostly small,
 * comparisons sometimes succeed and divisions mostly do.
 */
#include "oracle.h"

#include <string.h>

static const uint64_t boundary[] = {
	0,
	1,
	2,
	0x7f,
	0x80,
	0xff,
	0x100,
	0x7fff,
	0x8000,
	0xffff,
	0x10000,
	0x7fffffff,
	0x80000000,
	0xffffffff,
	0x100000000,
	0x7fffffffffffffff,
	0x8000000000000000,
	0xffffffffffffffff,
	0xfffffffffffffffe,
	0xffffffff80000000,
	0xffffffffffffff80,
	0x5555555555555555,
	0xaaaaaaaaaaaaaaaa,
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t random_integer(struct oracle_random *r)
{
	uint64_t value = random_next(r);

	switch (random_below(r, 6)) {
	case 0:
		return boundary[random_below(r, COUNT(boundary))];
	case 1:
		return value & 0xff;
	case 2:
		return (uint64_t)(int64_t)(int8_t)value;
	case 3:
		return value >> random_below(r, 64);
	default:
		return value;
	}
}

static uint32_t random_float(struct oracle_random *r)
{
	static const uint32_t special[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
					   0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 1,
					   0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000,
					   0x5f000000, 0x3f000000, 0x33800000, 0x4effffff};
	uint32_t bits = (uint32_t)random_next(r);

	switch (random_below(r, 4)) {
	case 0:
		return special[random_below(r, COUNT(special))];
	case 1: /* around one */
		return (bits & 0x807fffff) | (118 + random_below(r, 24)) << 23;
	case 2: {
		float f = (float)(int16_t)bits;

		memcpy(&bits, &f, 4);
		return bits;
	}
	default:
		return bits;
	}
}

static uint64_t random_double(struct oracle_random *r)
{
	static const uint64_t special[] = {0,
					   1ull << 63,
					   0x3ff0000000000000,
					   0xbff0000000000000,
					   0x7ff0000000000000,
					   0xfff0000000000000,
					   0x7ff8000000000000,
					   0x7ff0000000000001,
					   0xfff8000000012345,
					   1,
					   0x000fffffffffffff,
					   0x0010000000000000,
					   0x7fefffffffffffff,
					   0x41e0000000000000,
					   0x43e0000000000000,
					   0xc3e0000000000000,
					   0x36a0000000000000,
					   0x47efffffffffffff};
	uint64_t bits = random_next(r);

	switch (random_below(r, 4)) {
	case 0:
		return special[random_below(r, COUNT(special))];
	case 1:
		return (bits & 0x800fffffffffffff) | (uint64_t)(1000 + random_below(r, 50)) << 52;
	case 2: {
		double d = (double)(int32_t)bits;

		memcpy(&bits, &d, 8);
		return bits;
	}
	default:
		return bits;
	}
}

static void random_vector(uint8_t *to, unsigned bytes, struct oracle_random *r)
{
	const unsigned kind = random_below(r, 6);

	for (unsigned i = 0; i < bytes; i += 8) {
		uint64_t value = random_next(r);

		if (kind == 0)
			value = random_double(r);
		else if (kind == 1)
			value = random_float(r) | (uint64_t)random_float(r) << 32;
		else if (kind == 2)
			value = random_integer(r);
		else if (kind == 3) /* few different bytes, some zero: strings */
			value &= 0x0303030303030303u;
		memcpy(to + i, &value, 8);
	}
}

static void random_st(uint8_t *to, struct oracle_random *r)
{
	uint64_t mantissa = random_next(r) | 1ull << 63;
	uint16_t exponent = (uint16_t)(16383 - 40 + random_below(r, 110));
	const uint16_t sign = random_chance(r, 50) ? 0x8000 : 0;

	switch (random_below(r, 9)) {
	case 0: /* zero */
		mantissa = 0;
		exponent = 0;
		break;
	case 1: /* infinity, NaNs */
		exponent = 0x7fff;
		mantissa = random_chance(r, 50) ? 1ull << 63 : mantissa;
		break;
	case 2: /* denormal */
		exponent = 0;
		mantissa = random_next(r) >> random_below(r, 64);
		break;
	case 3: /* anything, unnormals too */
		mantissa = random_next(r);
		exponent = (uint16_t)(random_next(r) & 0x7fff);
		break;
	case 4: /* integers */
		mantissa = 1ull << 63 | random_next(r) << 40;
		exponent = (uint16_t)(16383 + random_below(r, 20));
		break;
	case 5: /* extremes */
		exponent =
			random_chance(r, 50) ? (uint16_t)random_below(r, 80) : (uint16_t)(0x7ffe - random_below(r, 80));
		break;
	default:
		break;
	}
	memset(to, 0, 16);
	memcpy(to, &mantissa, 8);
	exponent |= sign;
	memcpy(to + 8, &exponent, 2);
}

static void random_x87(struct oracle_regs *regs, struct oracle_random *r)
{
	const unsigned kind = random_below(r, 10);

	regs->fcw = (uint16_t)(0x40 | (random_next(r) & 0xf00) | (random_chance(r, 80) ? 0x3f : random_next(r) & 0x3f));
	if (random_chance(r, 50))
		regs->fcw = 0x37f;
	regs->fsw = (uint16_t)(random_next(r) & 0x7f00);
	if (random_chance(r, 15))
		regs->fsw |= random_next(r) & 0x7f;
	if (regs->fsw & ~regs->fcw & 0x3f)
		regs->fsw |= 0x8080;
	/* Mostly full or half full; random: any tags. */
	regs->ftw = kind < 4 ? 0xff : kind < 6 ? 0 : (uint8_t)random_next(r);
	for (unsigned i = 0; i < 8; i++)
		random_st(regs->st[i], r);
}

/* Of what the stack pointer counts from. */
static uint64_t stack_base(const struct oracle_case *c)
{
	return c->in.mode == 16 ? 0 : ORACLE_STACK;
}

static void random_registers(struct oracle_regs *regs, struct oracle_random *r)
{
	for (unsigned i = 0; i < 16; i++)
		regs->gpr[i] = random_integer(r);
	regs->rflags = 0x202 | (random_next(r) & 0x8d5) | (random_chance(r, 10) ? 0x400 : 0);
	regs->mxcsr = 0x1f80;
	if (random_chance(r, 50))
		regs->mxcsr |= random_next(r) & 0xe07f; /* rounding, FTZ, DAZ, sticky flags */
	if (random_chance(r, 15))
		regs->mxcsr &= ~(random_next(r) & 0x1f80);
	for (unsigned i = 0; i < 16; i++)
		random_vector(regs->ymm[i], 32, r);
	random_x87(regs, r);
}

static void random_memory(struct oracle_memory *memory, struct oracle_random *r)
{
	uint64_t value;

	memset(memory->code, 0xcc, sizeof(memory->code));
	for (unsigned i = 0; i < sizeof(memory->data); i += 32)
		random_vector(memory->data + i, 32, r);
	for (unsigned i = 0; i < sizeof(memory->stack); i += 8) {
		value = random_integer(r);
		memcpy(memory->stack + i, &value, 8);
	}
	for (unsigned i = 0; i < sizeof(memory->constant); i += 8) {
		value = 0x0123456789abcdefull * (i + 1); /* the same in all cases: it is read-only */
		memcpy(memory->constant + i, &value, 8);
	}
}

/* --- memory operands --- */

static uint64_t *gpr_of(struct oracle_case *c, ZydisRegister reg)
{
	ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return &c->in.regs.gpr[ZydisRegisterGetId(whole)];
	default:
		return NULL;
	}
}

static bool is_stack_operand(struct oracle_case *c, const ZydisDecodedOperand *operand)
{
	const uint64_t *base = gpr_of(c, operand->mem.base);

	return operand->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
	       (base == &c->in.regs.gpr[4] || base == &c->in.regs.gpr[5]);
}

uint64_t case_segment_base(const struct oracle_case *c, ZydisRegister segment)
{
	if (c->in.mode != 16)
		return 0;
	switch (segment) {
	case ZYDIS_REGISTER_CS:
		return ORACLE_CODE;
	case ZYDIS_REGISTER_SS:
		return ORACLE_STACK;
	case ZYDIS_REGISTER_FS:
	case ZYDIS_REGISTER_GS:
		return 0;
	default:
		return ORACLE_DATA;
	}
}

/* In a 16-bit segment: its page or pages, sometimes their edges and the segment's. */
static uint64_t pick_target16(struct oracle_case *c, uint64_t base, unsigned size, struct oracle_random *r)
{
	const unsigned pages = base == ORACLE_DATA ? 2 * ORACLE_PAGE : ORACLE_PAGE, kind = random_below(r, 100);
	uint64_t target;

	if (kind < 90) {
		target = random_below(r, pages - 600);
		return base +
		       (random_chance(r, 60) ? target & ~(uint64_t)((size & (size - 1) ? 16 : size) - 1) : target);
	}
	if (kind < 95)
		return base + pages - random_below(r, size + 1);
	/* Of an operand that takes several accesses or must be aligned, either fault may come first at the limit. */
	return base + (kind < 98 && size <= 8 ? 0x10000 - random_below(r, size + 1) : random_below(r, 0xff00));
}

static uint64_t pick_target(struct oracle_case *c, const ZydisDecodedOperand *operand, struct oracle_random *r)
{
	const unsigned size = operand->size / 8 ? operand->size / 8 : 1, kind = random_below(r, 100);
	uint64_t target;

	if (c->in.mode == 16)
		return pick_target16(c, case_segment_base(c, operand->mem.segment), size, r);
	if (is_stack_operand(c, operand) && kind < 95)
		return ORACLE_STACK + 512 + random_below(r, 3000) / 8 * 8 +
		       (random_chance(r, 20) ? random_below(r, 8) : 0);
	if (kind < 84) {
		target = ORACLE_DATA + random_below(r, 2 * ORACLE_PAGE - 600);
		return random_chance(r, 60) ? target & ~(uint64_t)((size & (size - 1) ? 16 : size) - 1) : target;
	}
	if (kind < 89) /* across two pages that are there */
		return ORACLE_DATA + ORACLE_PAGE - random_below(r, size + 1);
	if (kind < 92) /* out of the last page, into the first */
		return random_chance(r, 50) ? ORACLE_DATA + 2 * ORACLE_PAGE - random_below(r, size + 1)
					    : ORACLE_DATA - random_below(r, size + 1);
	if (kind < 95)
		return ORACLE_CONST + random_below(r, ORACLE_PAGE - 64);
	if (kind < 96)
		return ORACLE_CODE + random_below(r, ORACLE_PAGE - 64);
	if (kind < 98)
		return 0x20000000 + random_below(r, 1 << 20);
	return random_next(r);
}

/* The displacement in the instruction, for operands without registers and relative ones. */
static void patch_displacement(struct oracle_case *c, uint64_t value)
{
	const unsigned bytes = c->instruction.raw.disp.size / 8;

	memcpy(c->bytes + c->instruction.raw.disp.offset, &value, bytes);
	generate_decode(c);
}

static uint64_t register_part(uint64_t value, ZydisRegister reg)
{
	switch (ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg)) {
	case 8:
		return (uint8_t)value;
	case 16:
		return (uint16_t)value;
	case 32:
		return (uint32_t)value;
	default:
		return value;
	}
}

/* Of an offset, what the address size leaves. */
static uint64_t address_part(const struct oracle_case *c, uint64_t offset)
{
	switch (c->instruction.address_width) {
	case 16:
		return (uint16_t)offset;
	case 32:
		return (uint32_t)offset;
	default:
		return offset;
	}
}

uint64_t case_address(const struct oracle_case *c, const ZydisDecodedOperand *operand)
{
	struct oracle_case *mutable = (struct oracle_case *)(uintptr_t)c;
	const ZydisDecodedOperandMem *mem = &operand->mem;
	uint64_t address = (uint64_t)mem->disp.value;

	if (mem->base == ZYDIS_REGISTER_RIP || mem->base == ZYDIS_REGISTER_EIP)
		address += c->in.regs.rip + c->length;
	else if (gpr_of(mutable, mem->base))
		address += register_part(*gpr_of(mutable, mem->base), mem->base);
	if (gpr_of(mutable, mem->index))
		address += register_part(*gpr_of(mutable, mem->index), mem->index) * mem->scale;
	return case_segment_base(c, mem->segment) + address_part(c, address);
}

static void small_indices(struct oracle_case *c, const ZydisDecodedOperand *operand, struct oracle_random *r)
{
	uint8_t *vector = c->in.regs.ymm[ZydisRegisterGetId(operand->mem.index)];

	for (unsigned i = 0; i < 32; i += 4) {
		int32_t value = (int32_t)random_below(r, 200) - 20;

		memcpy(vector + i, &value, 4);
	}
	if (random_chance(r, 50)) /* as 64-bit indices */
		for (unsigned i = 4; i < 32; i += 8)
			memset(vector + i, vector[i - 1] & 0x80 ? 0xff : 0, 4);
}

static void aim(struct oracle_case *c, const ZydisDecodedOperand *operand, struct oracle_random *r)
{
	const ZydisDecodedOperandMem *mem = &operand->mem;
	uint64_t target = pick_target(c, operand, r), *base = gpr_of(c, mem->base), *index = gpr_of(c, mem->index);
	uint64_t rest;

	if (mem->type == ZYDIS_MEMOP_TYPE_VSIB) {
		small_indices(c, operand, r);
		target = ORACLE_DATA + 1024 + random_below(r, 4096);
	}
	target -= case_segment_base(c, mem->segment);
	if (!base && !index) {
		if (mem->base == ZYDIS_REGISTER_RIP || mem->base == ZYDIS_REGISTER_EIP)
			target -= c->in.regs.rip + c->length;
		if (c->instruction.raw.disp.size)
			patch_displacement(c, target);
		return;
	}
	if (!base) {
		if (c->instruction.raw.disp.size == 32 && random_chance(r, 80))
			patch_displacement(c, target - register_part(*index, mem->index) * mem->scale);
		return;
	}
	if (index && index != base && random_chance(r, 80))
		*index = random_chance(r, 50) ? random_below(r, 64) : (uint64_t) - (int64_t)random_below(r, 64);
	rest = (uint64_t)mem->disp.value;
	if (index && index != base)
		rest += register_part(*index, mem->index) * mem->scale;
	if (index == base) {
		*base = address_part(c, target - rest) / (mem->scale + 1u);
		return;
	}
	*base = address_part(c, target - rest);
	if (c->in.mode == 64 && c->instruction.address_width == 32)
		*base |= random_next(r) << 32;
}

static void aim_all(struct oracle_case *c, struct oracle_random *r)
{
	const unsigned count = c->instruction.operand_count;

	for (unsigned i = 0; i < count; i++)
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			aim(c, &c->operands[i], r);
}

/* The bytes at a mapped address, or NULL. */
static uint8_t *memory_at(struct oracle_case *c, uint64_t gva, unsigned size)
{
	if (gva - ORACLE_DATA <= sizeof(c->in.memory.data) - size)
		return c->in.memory.data + (gva - ORACLE_DATA);
	if (gva - ORACLE_STACK <= sizeof(c->in.memory.stack) - size)
		return c->in.memory.stack + (gva - ORACLE_STACK);
	return NULL;
}

static const ZydisDecodedOperand *memory_operand(const struct oracle_case *c)
{
	for (unsigned i = 0; i < c->instruction.operand_count; i++)
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return &c->operands[i];
	return NULL;
}

static uint8_t *operand_bytes(struct oracle_case *c, unsigned size)
{
	const ZydisDecodedOperand *operand = memory_operand(c);

	return operand ? memory_at(c, case_address(c, operand), size) : NULL;
}

/* --- branches --- */

static uint64_t entry(const struct oracle_case *c)
{
	return (c->in.mode == 16 ? 0 : ORACLE_CODE) + ORACLE_OFFSET;
}

static bool is_inside(const struct oracle_case *c, uint64_t target)
{
	return target - (entry(c) - 16) < 32;
}

/* On an INT3, never into the instruction itself (its inner bytes could be anything, a system call too). */
static uint64_t landing(struct oracle_case *c, struct oracle_random *r)
{
	uint64_t target;

	do {
		target = entry(c) - ORACLE_OFFSET + random_below(r, ORACLE_PAGE);
		if (random_chance(r, 4)) /* nothing is there, or not canonical */
			target = (random_next(r) & ~0xfffull) >> (64 - c->in.mode);
	} while (is_inside(c, target));
	return target;
}

static void aim_relative(struct oracle_case *c, struct oracle_random *r)
{
	const unsigned offset = c->instruction.raw.imm[0].offset, bytes = c->instruction.raw.imm[0].size / 8;
	uint64_t value;

	if (bytes == 1) {
		do
			value = random_next(r) & 0xff;
		while ((int8_t)value < 0 && (int8_t)value >= -16);
	} else {
		value = landing(c, r) - (entry(c) + c->length);
	}
	memcpy(c->bytes + offset, &value, bytes);
	generate_decode(c);
}

static void aim_branch(struct oracle_case *c, struct oracle_random *r)
{
	uint64_t target = landing(c, r);
	uint8_t *bytes;

	for (unsigned i = 0; i < c->instruction.operand_count; i++) {
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && c->operands[i].imm.is_relative) {
			aim_relative(c, r);
			return;
		}
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER && gpr_of(c, c->operands[i].reg.value) &&
		    c->operands[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
			*gpr_of(c, c->operands[i].reg.value) = target;
			return;
		}
	}
	bytes = operand_bytes(c, 8);
	if (bytes)
		memcpy(bytes, &target, 8);
}

/* --- single instructions --- */

static void tame_divide(struct oracle_case *c, struct oracle_random *r)
{
	uint64_t *gpr = c->in.regs.gpr;

	if (random_chance(r, 30))
		return;
	gpr[2] = c->instruction.mnemonic == ZYDIS_MNEMONIC_IDIV && gpr[0] >> 63 ? ~0ull : 0;
	if (c->instruction.operand_width == 8)
		gpr[0] &= 0xff;
}

static void tame_compare_exchange(struct oracle_case *c, struct oracle_random *r)
{
	const unsigned wide = c->instruction.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B  ? 8
			      : c->instruction.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B ? 4
										    : 0;
	uint8_t *bytes = operand_bytes(c, 16);

	if (!random_chance(r, 50))
		return;
	if (wide && bytes) {
		c->in.regs.gpr[0] = c->in.regs.gpr[2] = 0;
		memcpy(&c->in.regs.gpr[0], bytes, wide);
		memcpy(&c->in.regs.gpr[2], bytes + wide, wide);
	} else if (bytes) {
		memcpy(&c->in.regs.gpr[0], bytes, 8);
	} else if (!wide && c->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		c->in.regs.gpr[0] = *gpr_of(c, c->operands[0].reg.value);
	}
}

/* What POPF takes must not hold TF, NT, AC or ID: they would outlive the case. */
static void tame_flags(struct oracle_case *c)
{
	uint8_t *bytes = operand_bytes(c, 8);

	if (!bytes) {
		c->in.regs.gpr[4] = stack_base(c) + 1024;
		bytes = c->in.memory.stack + 1024;
	}
	bytes[1] &= 0xbe;
	bytes[2] &= 0xdb;
}

/* MXCSR bit 17 (misaligned mode) exists on AMD hosts and is not offered to guests. */
static void tame_mxcsr(struct oracle_case *c, unsigned offset)
{
	uint8_t *bytes = operand_bytes(c, offset + 4);

	if (bytes)
		bytes[offset + 2] &= 0xfd;
}

static void tame(struct oracle_case *c, struct oracle_random *r)
{
	uint64_t *gpr = c->in.regs.gpr;

	switch (c->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		tame_divide(c, r);
		break;
	case ZYDIS_MNEMONIC_CMPXCHG:
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		tame_compare_exchange(c, r);
		break;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		tame_flags(c);
		break;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
		tame_mxcsr(c, 0);
		break;
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
		tame_mxcsr(c, 24);
		break;
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_VPCMPESTRI:
	case ZYDIS_MNEMONIC_VPCMPESTRM:
		if (random_chance(r, 70)) {
			gpr[0] = (uint64_t)(int64_t)((int)random_below(r, 40) - 20);
			gpr[2] = (uint64_t)(int64_t)((int)random_below(r, 40) - 20);
		}
		break;
	default:
		break;
	}
	switch (c->instruction.meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_COND_BR:
		aim_branch(c, r);
		break;
	default:
		break;
	}
}

/* Counts and bit numbers, before the addresses are made: they may share registers. */
static void small_counts(struct oracle_case *c, struct oracle_random *r)
{
	const ZydisInstructionCategory category = c->instruction.meta.category;
	const bool repeated =
		c->instruction.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);

	if (repeated && random_chance(r, 95))
		c->in.regs.gpr[1] = random_below(r, 48) |
				    (c->in.mode == 64 && c->instruction.address_width == 32 ? random_next(r) << 32 : 0);
	if ((category == ZYDIS_CATEGORY_SHIFT || category == ZYDIS_CATEGORY_ROTATE) && random_chance(r, 70))
		c->in.regs.gpr[1] = random_below(r, 70);
	if (category == ZYDIS_CATEGORY_BITBYTE && c->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
	    c->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER && random_chance(r, 80))
		*gpr_of(c, c->operands[1].reg.value) = (uint64_t)(int64_t)((int)random_below(r, 4000) - 2000);
}

void generate_operands(struct oracle_case *c, struct oracle_random *r)
{
	random_registers(&c->in.regs, r);
	random_memory(&c->in.memory, r);
	c->in.regs.rip = entry(c);
	for (unsigned i = 0; i < 8 && c->in.mode != 64; i++)
		c->in.regs.gpr[i] = (uint32_t)c->in.regs.gpr[i];
	if (random_chance(r, 60))
		c->in.regs.gpr[4] = stack_base(c) + 1024 + random_below(r, 256) * 8;
	if (random_chance(r, 30))
		c->in.regs.gpr[5] = stack_base(c) + 2048 + random_below(r, 128) * 8;
	small_counts(c, r);
	aim_all(c, r);
	tame(c, r);
	for (unsigned i = 0; i < 8 && c->in.mode != 64; i++)
		c->in.regs.gpr[i] = (uint32_t)c->in.regs.gpr[i];
	memcpy(c->in.memory.code + (ORACLE_OFFSET), c->bytes, c->length);
}
