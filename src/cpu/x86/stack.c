/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stacks: PUSH and POP through SS, stacks of another privilege level while a frame is built on them, and where those
 * come from (SDM 3A 5.8.5, 7.2.1, 7.7).
 */
#include "cpu/x86/internal.h"

static uint64_t mask_of(uint32_t attr)
{
	return attr & X86_SEG_DB ? 0xffffffffu : 0xffffu;
}

void x86_stack_current(struct x86_cpu *cpu, struct x86_stack *stack)
{
	const struct x86_segment *ss = &cpu->s.seg[X86_SS];

	stack->flat = cpu->code_mode == X86_CODE64;
	stack->base = stack->flat ? 0 : ss->base;
	stack->limit = ss->limit;
	stack->attr = ss->attr;
	stack->mask = cpu->stack_mask;
	stack->sp = cpu->s.gpr[X86_RSP];
	stack->access = x86_user_access(cpu);
	stack->selector = 0;
}

void x86_stack_new(struct x86_stack *stack, uint16_t selector, const struct x86_descriptor *descriptor, uint64_t sp,
		   unsigned cpl)
{
	stack->flat = false;
	stack->base = x86_descriptor_base(descriptor->raw);
	stack->limit = x86_descriptor_limit(descriptor->raw);
	stack->attr = descriptor->attr;
	stack->mask = mask_of(descriptor->attr);
	stack->sp = sp;
	stack->access = cpl == 3 ? X86_USER : 0;
	stack->selector = selector & ~3u;
}

/* The linear address of [sp, +size), or #SS. */
static uint64_t stack_linear(struct x86_cpu *cpu, const struct x86_stack *stack, uint64_t sp, unsigned size)
{
	uint64_t offset = sp & stack->mask;
	uint64_t last = offset + size - 1;

	if (stack->flat) {
		if (!x86_canonical(cpu, offset) || !x86_canonical(cpu, last))
			x86_raise_error(cpu, X86_SSF, stack->selector);
		return offset;
	}
	if ((stack->attr & (X86_SEG_S | X86_TYPE_CODE | X86_TYPE_DOWN)) == (X86_SEG_S | X86_TYPE_DOWN)) {
		if (offset <= stack->limit || last > mask_of(stack->attr))
			x86_raise_error(cpu, X86_SSF, stack->selector);
	} else if (last > stack->limit && stack->limit != 0xffffffff) {
		x86_raise_error(cpu, X86_SSF, stack->selector);
	}
	return (uint32_t)(stack->base + offset);
}

void x86_stack_push(struct x86_cpu *cpu, struct x86_stack *stack, uint64_t value, unsigned size)
{
	uint64_t sp = stack->sp - size;

	x86_write_block(cpu, stack_linear(cpu, stack, sp, size), &value, size, stack->access);
	stack->sp = (stack->sp & ~stack->mask) | (sp & stack->mask);
}

uint64_t x86_stack_pop(struct x86_cpu *cpu, struct x86_stack *stack, unsigned size)
{
	uint64_t value = 0;

	x86_read_block(cpu, stack_linear(cpu, stack, stack->sp, size), &value, size, stack->access);
	stack->sp = (stack->sp & ~stack->mask) | ((stack->sp + size) & stack->mask);
	return value;
}

void x86_stack_commit(struct x86_cpu *cpu, const struct x86_stack *stack)
{
	uint64_t *rsp = &cpu->s.gpr[X86_RSP];

	*rsp = stack->mask == 0xffffffff ? (uint32_t)stack->sp : (*rsp & ~stack->mask) | (stack->sp & stack->mask);
}

void x86_push(struct x86_cpu *cpu, uint64_t value, unsigned size)
{
	uint64_t sp = cpu->s.gpr[X86_RSP] - size;

	if (__builtin_expect(cpu->code_mode == X86_CODE64 && size == 8 && x86_canonical(cpu, sp) &&
				     x86_canonical(cpu, sp + 7),
			     1)) {
		x86_write64(cpu, sp, value);
		cpu->s.gpr[X86_RSP] = sp;
	} else {
		struct x86_stack stack;

		x86_stack_current(cpu, &stack);
		x86_stack_push(cpu, &stack, value, size);
		x86_stack_commit(cpu, &stack);
	}
}

uint64_t x86_pop(struct x86_cpu *cpu, unsigned size)
{
	uint64_t sp = cpu->s.gpr[X86_RSP], value;
	struct x86_stack stack;

	if (__builtin_expect(cpu->code_mode == X86_CODE64 && size == 8 && x86_canonical(cpu, sp) &&
				     x86_canonical(cpu, sp + 7),
			     1)) {
		value = x86_read64(cpu, sp);
		cpu->s.gpr[X86_RSP] = sp + 8;
		return value;
	}
	x86_stack_current(cpu, &stack);
	value = x86_stack_pop(cpu, &stack, size);
	x86_stack_commit(cpu, &stack);
	return value;
}

void x86_tss_stack(struct x86_cpu *cpu, unsigned level, uint16_t *ss, uint32_t *esp)
{
	const struct x86_segment *tr = &cpu->s.tr;

	if ((tr->attr & X86_SEG_TYPE) & 8) { /* 32-bit: ESPn at 4 + 8n, SSn behind it */
		if (8 * level + 4 + 5 > tr->limit)
			x86_raise_error(cpu, X86_TS, tr->selector & ~3u);
		*esp = x86_system_read32(cpu, tr->base + 8 * level + 4);
		*ss = x86_system_read16(cpu, tr->base + 8 * level + 8);
	} else {
		if (4 * level + 2 + 3 > tr->limit)
			x86_raise_error(cpu, X86_TS, tr->selector & ~3u);
		*esp = x86_system_read16(cpu, tr->base + 4 * level + 2);
		*ss = x86_system_read16(cpu, tr->base + 4 * level + 4);
	}
}

uint64_t x86_tss_rsp(struct x86_cpu *cpu, unsigned index)
{
	const struct x86_segment *tr = &cpu->s.tr;
	/* RSP0..2 at 4, IST1..7 at 0x24; index 3 is the reserved slot at 0x1c */
	unsigned offset = 4 + 8 * index;
	uint64_t rsp;

	if (offset + 7 > tr->limit)
		x86_raise_error(cpu, X86_TS, tr->selector & ~3u);
	rsp = x86_system_read64(cpu, tr->base + offset);
	if (!x86_canonical(cpu, rsp))
		x86_raise_error(cpu, X86_SSF, 0);
	return rsp;
}
