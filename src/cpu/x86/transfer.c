/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Far control transfer: JMP, CALL, RET to code segments, call gates (with stack switch and parameter copy), task gates
 * and TSSs. SDM 2A/2B CALL, JMP, RET; 3A 5.8. IRET is in iret.c, SYSCALL and SYSENTER in syscall.c.
 */
#include "cpu/x86/internal.h"

static uint64_t truncate(uint64_t value, unsigned operand_size)
{
	return operand_size == 2 ? (uint16_t)value : operand_size == 4 ? (uint32_t)value : value;
}

/* Real mode and vm86: selector and offset are all there is. */
static void transfer_real(struct x86_cpu *cpu, uint16_t selector, uint64_t offset)
{
	if (cpu->vm86)
		x86_segment_set_vm86(&cpu->s.seg[X86_CS], selector);
	else
		x86_segment_set_real(&cpu->s.seg[X86_CS], selector);
	cpu->s.rip = offset;
	x86_mode_update(cpu);
}

/* Enters a checked code segment at the current privilege level. */
static void enter_code(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *code, uint64_t rip)
{
	x86_segment_set(&cpu->s.seg[X86_CS], (selector & 0xfffc) | cpu->cpl, code);
	cpu->s.rip = rip;
	x86_mode_update(cpu);
}

static bool is_system(const struct x86_descriptor *descriptor)
{
	return !(descriptor->attr & X86_SEG_S);
}

/* The target of a call gate: its code segment is read and checked, *rip and *count come out. */
static void gate_target(struct x86_cpu *cpu, uint16_t gate_selector, const struct x86_descriptor *gate, bool call,
			uint16_t *selector, struct x86_descriptor *code, uint64_t *rip)
{
	unsigned dpl, gate_dpl = x86_attr_dpl(gate->attr);
	bool conforming;

	if (gate_dpl < cpu->cpl || gate_dpl < (gate_selector & 3u))
		x86_raise_error(cpu, X86_GP, gate_selector & ~3u);
	if (!(gate->attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, gate_selector & ~3u);
	*selector = gate->raw >> 16 & 0xffff;
	*rip = gate->raw & 0xffff;
	if (gate->attr & 8)
		*rip |= gate->raw >> 32 & 0xffff0000;
	if (cpu->long_mode) {
		uint64_t high;

		if (((gate_selector | 7u) + 8) > (gate_selector & 4 ? cpu->s.ldtr.limit : cpu->s.gdtr.limit))
			x86_raise_error(cpu, X86_GP, gate_selector & ~3u);
		high = x86_descriptor_high(cpu, gate);
		if (high >> 40 & 0x1f)
			x86_raise_error(cpu, X86_GP, gate_selector & ~3u);
		*rip |= high << 32;
	}
	if (x86_selector_null(*selector))
		x86_raise_error(cpu, X86_GP, 0);
	x86_descriptor_get(cpu, *selector, code, X86_GP);
	dpl = x86_attr_dpl(code->attr);
	conforming = code->attr & X86_TYPE_CONFORMING;
	if (!x86_attr_code(code->attr) || dpl > cpu->cpl || (!call && !conforming && dpl != cpu->cpl))
		x86_raise_error(cpu, X86_GP, *selector & ~3u);
	if (cpu->long_mode && (code->attr & (X86_SEG_L | X86_SEG_DB)) != X86_SEG_L)
		x86_raise_error(cpu, X86_GP, *selector & ~3u);
	if (!(code->attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, *selector & ~3u);
	x86_descriptor_accessed(cpu, code);
}

static bool is_call_gate(const struct x86_cpu *cpu, unsigned type)
{
	return type == X86_SYS_CALL_GATE32 || (type == X86_SYS_CALL_GATE16 && !cpu->long_mode);
}

/* TSSs and task gates; does not return when the type is neither. */
static void transfer_task(struct x86_cpu *cpu, uint16_t selector, const struct x86_descriptor *descriptor,
			  enum x86_task_source source, uint64_t next_rip)
{
	unsigned type = descriptor->attr & X86_SEG_TYPE;
	unsigned dpl = x86_attr_dpl(descriptor->attr);
	bool task = type == X86_SYS_TASK_GATE || type == X86_SYS_TSS16 || type == X86_SYS_TSS32 ||
		    type == X86_SYS_TSS16_BUSY || type == X86_SYS_TSS32_BUSY;

	if (!task || cpu->long_mode || dpl < cpu->cpl || dpl < (selector & 3u))
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (type == X86_SYS_TASK_GATE) {
		if (!(descriptor->attr & X86_SEG_P))
			x86_raise_error(cpu, X86_NP, selector & ~3u);
		x86_task_gate(cpu, descriptor->raw, source, next_rip);
	} else {
		if (type & 2) /* busy */
			x86_raise_error(cpu, X86_GP, selector & ~3u);
		if (!(descriptor->attr & X86_SEG_P))
			x86_raise_error(cpu, X86_NP, selector & ~3u);
		x86_task_switch(cpu, selector, source, next_rip);
	}
	x86_check_rip(cpu, &cpu->s.seg[X86_CS], cpu->s.rip);
}

void x86_far_jump(struct x86_cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size, uint64_t next_rip)
{
	struct x86_descriptor descriptor;
	struct x86_segment cs;

	offset = truncate(offset, operand_size);
	if (!cpu->protected_mode) {
		if (offset > cpu->s.seg[X86_CS].limit)
			x86_raise_error(cpu, X86_GP, 0);
		transfer_real(cpu, selector, offset);
		return;
	}
	if (x86_selector_null(selector))
		x86_raise_error(cpu, X86_GP, 0);
	x86_descriptor_get(cpu, selector, &descriptor, X86_GP);
	if (is_system(&descriptor)) {
		unsigned type = descriptor.attr & X86_SEG_TYPE;

		if (!is_call_gate(cpu, type)) {
			transfer_task(cpu, selector, &descriptor, X86_TASK_JUMP, next_rip);
			return;
		}
		{
			struct x86_descriptor gate = descriptor;

			gate_target(cpu, selector, &gate, false, &selector, &descriptor, &offset);
		}
	} else {
		x86_code_segment_check(cpu, selector, &descriptor, X86_CODE_JUMP);
		x86_descriptor_accessed(cpu, &descriptor);
	}
	x86_segment_set(&cs, selector, &descriptor);
	x86_check_rip(cpu, &cs, offset);
	enter_code(cpu, selector, &descriptor, offset);
}

/* --- calls --- */

static void push_return(struct x86_cpu *cpu, struct x86_stack *stack, uint64_t next_rip, unsigned size)
{
	x86_stack_push(cpu, stack, cpu->s.seg[X86_CS].selector, size);
	x86_stack_push(cpu, stack, next_rip, size);
}

/* To more privilege in long mode: RSP from the TSS, SS null. */
static void call_inner_long(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *code, uint64_t rip,
			    uint64_t next_rip)
{
	unsigned cpl = x86_attr_dpl(code->attr);
	uint64_t rsp = x86_tss_rsp(cpu, cpl) - 32;
	uint64_t frame[4] = {next_rip, cpu->s.seg[X86_CS].selector, cpu->s.gpr[X86_RSP], cpu->s.seg[X86_SS].selector};

	if (!x86_canonical(cpu, rsp) || !x86_canonical(cpu, rsp + 31))
		x86_raise_error(cpu, X86_SSF, 0);
	if (!x86_canonical(cpu, rip))
		x86_raise_error(cpu, X86_GP, 0);
	x86_write_block(cpu, rsp, frame, sizeof(frame), 0);
	x86_segment_set_null(&cpu->s.seg[X86_SS], cpl, cpl);
	x86_segment_set(&cpu->s.seg[X86_CS], (selector & 0xfffc) | cpl, code);
	cpu->s.gpr[X86_RSP] = rsp;
	cpu->s.rip = rip;
	x86_mode_update(cpu);
}

static void call_inner(struct x86_cpu *cpu, const struct x86_descriptor *gate, uint16_t selector,
		       struct x86_descriptor *code, uint64_t rip, uint64_t next_rip)
{
	unsigned cpl = x86_attr_dpl(code->attr);
	unsigned size = gate->attr & 8 ? 4 : 2;
	unsigned count = gate->raw >> 32 & 31;
	struct x86_descriptor stack_descriptor;
	struct x86_stack old, stack;
	struct x86_segment cs;
	uint32_t parameter[31];
	uint16_t ss;
	uint32_t esp;

	x86_tss_stack(cpu, cpl, &ss, &esp);
	x86_stack_segment_check(cpu, ss, &stack_descriptor, cpl, X86_TS);
	x86_descriptor_accessed(cpu, &stack_descriptor);
	x86_stack_current(cpu, &old);
	for (unsigned i = 0; i < count; i++)
		parameter[i] = (uint32_t)x86_stack_pop(cpu, &old, size);
	x86_stack_new(&stack, ss, &stack_descriptor, esp, cpl);
	x86_stack_push(cpu, &stack, cpu->s.seg[X86_SS].selector, size);
	x86_stack_push(cpu, &stack, cpu->s.gpr[X86_RSP], size);
	for (unsigned i = count; i-- > 0;)
		x86_stack_push(cpu, &stack, parameter[i], size);
	push_return(cpu, &stack, next_rip, size);
	x86_segment_set(&cs, (selector & 0xfffc) | cpl, code);
	x86_check_rip(cpu, &cs, rip);
	cpu->s.seg[X86_CS] = cs;
	x86_segment_set(&cpu->s.seg[X86_SS], ss, &stack_descriptor);
	cpu->s.rip = rip;
	x86_stack_commit(cpu, &stack);
	x86_mode_update(cpu);
}

static void call_same(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *code, uint64_t rip, unsigned size,
		      uint64_t next_rip)
{
	struct x86_stack stack;
	struct x86_segment cs;

	x86_stack_current(cpu, &stack);
	push_return(cpu, &stack, next_rip, size);
	x86_segment_set(&cs, selector, code);
	x86_check_rip(cpu, &cs, rip);
	x86_stack_commit(cpu, &stack);
	enter_code(cpu, selector, code, rip);
}

void x86_far_call(struct x86_cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size, uint64_t next_rip)
{
	struct x86_descriptor descriptor, gate;
	struct x86_stack stack;

	offset = truncate(offset, operand_size);
	if (!cpu->protected_mode) {
		x86_stack_current(cpu, &stack);
		push_return(cpu, &stack, next_rip, operand_size);
		if (offset > cpu->s.seg[X86_CS].limit)
			x86_raise_error(cpu, X86_GP, 0);
		x86_stack_commit(cpu, &stack);
		transfer_real(cpu, selector, offset);
		return;
	}
	if (x86_selector_null(selector))
		x86_raise_error(cpu, X86_GP, 0);
	x86_descriptor_get(cpu, selector, &descriptor, X86_GP);
	if (!is_system(&descriptor)) {
		x86_code_segment_check(cpu, selector, &descriptor, X86_CODE_JUMP);
		x86_descriptor_accessed(cpu, &descriptor);
		call_same(cpu, selector, &descriptor, offset, operand_size, next_rip);
		return;
	}
	gate = descriptor;
	if (!is_call_gate(cpu, gate.attr & X86_SEG_TYPE)) {
		transfer_task(cpu, selector, &gate, X86_TASK_CALL, next_rip);
		return;
	}
	gate_target(cpu, selector, &gate, true, &selector, &descriptor, &offset);
	if (descriptor.attr & X86_TYPE_CONFORMING || x86_attr_dpl(descriptor.attr) == cpu->cpl)
		call_same(cpu, selector, &descriptor, offset, cpu->long_mode ? 8 : gate.attr & 8 ? 4 : 2, next_rip);
	else if (cpu->long_mode)
		call_inner_long(cpu, selector, &descriptor, offset, next_rip);
	else
		call_inner(cpu, &gate, selector, &descriptor, offset, next_rip);
}

/* --- return --- */

static void return_outer(struct x86_cpu *cpu, struct x86_stack *stack, uint16_t selector, struct x86_descriptor *code,
			 uint64_t rip, unsigned operand_size, uint16_t pop_bytes)
{
	unsigned cpl = selector & 3;
	struct x86_descriptor stack_descriptor;
	struct x86_segment cs;
	bool null_ss;
	uint64_t rsp;
	uint16_t ss;

	stack->sp += pop_bytes;
	rsp = x86_stack_pop(cpu, stack, operand_size);
	ss = (uint16_t)x86_stack_pop(cpu, stack, operand_size);
	x86_segment_set(&cs, selector, code);
	null_ss = x86_selector_null(ss) && cpu->long_mode && code->attr & X86_SEG_L && cpl != 3 && (ss & 3u) == cpl;
	if (!null_ss) {
		x86_stack_segment_check(cpu, ss, &stack_descriptor, cpl, X86_GP);
		x86_descriptor_accessed(cpu, &stack_descriptor);
	}
	x86_check_rip(cpu, &cs, rip);
	x86_descriptor_accessed(cpu, code);
	cpu->s.seg[X86_CS] = cs;
	if (null_ss)
		x86_segment_set_null(&cpu->s.seg[X86_SS], ss, cpl);
	else
		x86_segment_set(&cpu->s.seg[X86_SS], ss, &stack_descriptor);
	cpu->s.rip = rip;
	x86_mode_update(cpu);
	rsp += pop_bytes;
	if (cpu->code_mode == X86_CODE64)
		cpu->s.gpr[X86_RSP] = rsp;
	else
		cpu->s.gpr[X86_RSP] =
			cpu->stack_mask == 0xffff ? (cpu->s.gpr[X86_RSP] & ~0xffffull) | (rsp & 0xffff) : (uint32_t)rsp;
	x86_drop_privileged_segments(cpu);
	x86_mode_update(cpu);
}

void x86_far_return(struct x86_cpu *cpu, unsigned operand_size, uint16_t pop_bytes)
{
	struct x86_descriptor descriptor;
	struct x86_segment cs;
	struct x86_stack stack;
	uint16_t selector;
	uint64_t rip;

	x86_stack_current(cpu, &stack);
	rip = x86_stack_pop(cpu, &stack, operand_size);
	selector = (uint16_t)x86_stack_pop(cpu, &stack, operand_size);
	if (!cpu->protected_mode) {
		if (rip > cpu->s.seg[X86_CS].limit)
			x86_raise_error(cpu, X86_GP, 0);
		stack.sp += pop_bytes;
		x86_stack_commit(cpu, &stack);
		transfer_real(cpu, selector, rip);
		return;
	}
	if (x86_selector_null(selector))
		x86_raise_error(cpu, X86_GP, 0);
	x86_descriptor_get(cpu, selector, &descriptor, X86_GP);
	x86_code_segment_check(cpu, selector, &descriptor, X86_CODE_RETURN);
	if ((selector & 3u) > cpu->cpl) {
		return_outer(cpu, &stack, selector, &descriptor, rip, operand_size, pop_bytes);
		return;
	}
	x86_segment_set(&cs, selector, &descriptor);
	x86_check_rip(cpu, &cs, rip);
	x86_descriptor_accessed(cpu, &descriptor);
	stack.sp += pop_bytes;
	x86_stack_commit(cpu, &stack);
	enter_code(cpu, selector, &descriptor, rip);
}
