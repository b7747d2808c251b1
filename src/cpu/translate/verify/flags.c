/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verify=on: which status flags may differ. Translated code does not keep flags that the code behind it overwrites
 * before it reads them. And what an instruction leaves undefined (SDM 1 3.4.3.1, and each instruction's page) may
 * depend on the flags before it, which for that reason are not kept either.
 */
#include "cpu/translate/decode/classify.h"
#include "cpu/translate/lower/lower.h"
#include "cpu/translate/verify/verify.h"

/* Status flags that the code at s.rip may read. Where translated code leaves for another page all of them are exact. */
uint32_t verify_flags_live(struct verify *v)
{
	struct translator *t = v->t;
	const struct x86_cpu *cpu = t->cpu;
	const struct block *block = &t->blocks[t->sites[t->site].block];
	uint64_t linear = linear_of(t, t->key, cpu->s.rip);
	struct verify_live *live = &v->live[(linear ^ linear >> VERIFY_LIVE_BITS) & ((1 << VERIFY_LIVE_BITS) - 1)];
	const uint8_t *page;

	if ((cpu->code_mode == X86_CODE32) != ((t->key & KEY_CODE32) != 0) ||
	    linear >> PAGE_SHIFT != block->linear >> PAGE_SHIFT)
		return ALL_FLAGS;
	if (live->linear == linear + 1 && live->key == t->key)
		return live->flags;
	page = ram_hva(cpu->vcpu.engine->env.ram, block->gpa & ~(PAGE_SIZE - 1), PAGE_SIZE);
	*live = (struct verify_live){.linear = linear + 1, .key = t->key};
	live->flags = (uint16_t)lower_live_flags(t, linear, page + (linear & (PAGE_SIZE - 1)));
	return live->flags;
}

static bool decode_step(const struct verify *v, unsigned step, ZydisDecodedInstruction *insn,
			ZydisDecodedOperand *operands)
{
	const struct x86_cpu *cpu = v->t->cpu;
	uint64_t linear = linear_of(v->t, v->t->key, v->path[step]), gpa;
	const uint8_t *page;
	unsigned offset = linear & (PAGE_SIZE - 1), room = PAGE_SIZE - offset;

	if (x86_walk_debug(cpu, linear, &gpa))
		return false;
	page = ram_hva(cpu->vcpu.engine->env.ram, gpa & ~(PAGE_SIZE - 1), PAGE_SIZE);
	return page && ZYAN_SUCCESS(ZydisDecoderDecodeFull(v->t->decoder, page + offset, room < 15 ? room : 15, insn,
							   operands));
}

static uint32_t tested(const ZydisDecodedInstruction *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
	case ZYDIS_MNEMONIC_LAHF:
	case ZYDIS_MNEMONIC_SYSCALL:
		return ALL_FLAGS;
	default:
		return insn->cpu_flags ? insn->cpu_flags->tested & ALL_FLAGS : 0;
	}
}

/* A count of 0 leaves flags as they are. */
static bool may_do_nothing(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *operands)
{
	return (insn->meta.category == ZYDIS_CATEGORY_SHIFT || insn->meta.category == ZYDIS_CATEGORY_ROTATE) &&
	       operands[insn->operand_count_visible - 1].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

uint32_t verify_flags_undefined(const struct verify *v, unsigned steps, bool *read)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction insn;
	uint32_t undefined = 0;

	for (unsigned step = 0; step < steps; step++) {
		if (!decode_step(v, step, &insn, operands))
			return ALL_FLAGS;
		if (read && tested(&insn) & undefined)
			*read = true;
		if (!insn.cpu_flags)
			continue;
		if (!may_do_nothing(&insn, operands))
			undefined &= ~(insn.cpu_flags->modified | insn.cpu_flags->set_0 | insn.cpu_flags->set_1);
		undefined |= insn.cpu_flags->undefined & ALL_FLAGS;
	}
	return undefined;
}
