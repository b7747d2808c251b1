/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers and memory for an instruction: random values, then adjusted so that memory operands mostly hit mapped pages
 * (else everything would fault), branches mostly land on INT3s, counts are mostly small, comparisons sometimes succeed
 * and divisions mostly do.
 */
#include "oracle.h"

#include <string.h>

/* Of what the stack pointer counts from. */
static uint64_t stack_base(const struct oracle_case *c)
{
	return c->in.segmented ? 0 : ORACLE_STACK;
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
	if (!c->in.segmented)
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

/* In a segment of 64 KiB: its page or pages, sometimes their edges and the segment's. */
static uint64_t pick_in_segment(struct oracle_case *c, uint64_t base, unsigned size, struct oracle_random *r)
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

static bool is_masked(const struct oracle_case *c)
{
	return c->instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && c->instruction.raw.evex.aaa;
}

static uint64_t pick_target(struct oracle_case *c, const ZydisDecodedOperand *operand, struct oracle_random *r)
{
	const unsigned size = operand->size / 8 ? operand->size / 8 : 1, kind = random_below(r, 100);
	uint64_t target;

	if (c->in.segmented)
		return pick_in_segment(c, case_segment_base(c, operand->mem.segment), size, r);
	if (is_stack_operand(c, operand) && kind < 95)
		return ORACLE_STACK + 512 + random_below(r, 3000) / 8 * 8 +
		       (random_chance(r, 20) ? random_below(r, 8) : 0);
	if (is_masked(c) && random_chance(r, 30)) /* as below: what the mask leaves out does not fault */
		return ORACLE_DATA + (random_below(r, 3)) * ORACLE_PAGE - random_below(r, size + 1);
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
	uint8_t *vector = c->in.regs.vector[ZydisRegisterGetId(operand->mem.index)];

	for (unsigned i = 0; i < 64; i += 4) {
		int32_t value = (int32_t)random_below(r, 200) - 20;

		memcpy(vector + i, &value, 4);
	}
	if (random_chance(r, 50)) /* as 64-bit indices */
		for (unsigned i = 4; i < 64; i += 8)
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
	return (c->in.segmented ? 0 : ORACLE_CODE) + c->offset;
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
		target = entry(c) - c->offset + random_below(r, ORACLE_PAGE);
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
	generate_registers(&c->in.regs, r);
	generate_memory(&c->in.memory, r);
	c->offset = 0x800;
	if (c->length > 1 && random_chance(r, 1))
		c->offset = (uint16_t)(ORACLE_PAGE - 1 - random_below(r, c->length - 1u));
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
	memcpy(c->in.memory.code + c->offset, c->bytes,
	       c->length < ORACLE_PAGE - c->offset ? c->length : ORACLE_PAGE - c->offset);
}
