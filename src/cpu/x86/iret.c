/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IRET in all modes: real, vm86 (with VME), protected (same level, outer level, to vm86, nested task), long. SDM 2A
 * IRET. NMIs are unmasked by it whatever the outcome of the loads that follow (SDM 3A 6.7.1).
 */
#include "cpu/x86/internal.h"

static void iret_real(struct x86_cpu *cpu, unsigned operand_size)
{
	struct x86_stack stack;
	uint64_t rip, flags, mask;
	uint16_t selector;

	x86_stack_current(cpu, &stack);
	rip = x86_stack_pop(cpu, &stack, operand_size);
	selector = (uint16_t)x86_stack_pop(cpu, &stack, operand_size);
	flags = x86_stack_pop(cpu, &stack, operand_size);
	if (rip > cpu->s.seg[X86_CS].limit)
		x86_raise_error(cpu, X86_GP, 0);
	mask = X86_STATUS_FLAGS | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT;
	if (operand_size == 4)
		mask |= X86_RF | X86_AC | X86_ID;
	x86_segment_set_real(&cpu->s.seg[X86_CS], selector);
	cpu->s.rip = rip;
	x86_stack_commit(cpu, &stack);
	x86_rflags_replace(cpu, flags, mask);
	x86_mode_update(cpu);
}

static void iret_vm86(struct x86_cpu *cpu, unsigned operand_size)
{
	bool virtual_if = x86_iopl(cpu) < 3;
	struct x86_stack stack;
	uint64_t rip, flags, mask;
	uint16_t selector;

	if (virtual_if && !(cpu->s.cr4 & X86_CR4_VME && operand_size == 2))
		x86_raise_error(cpu, X86_GP, 0);
	x86_stack_current(cpu, &stack);
	rip = x86_stack_pop(cpu, &stack, operand_size);
	selector = (uint16_t)x86_stack_pop(cpu, &stack, operand_size);
	flags = x86_stack_pop(cpu, &stack, operand_size);
	if (rip > 0xffff)
		x86_raise_error(cpu, X86_GP, 0);
	mask = X86_STATUS_FLAGS | X86_TF | X86_DF | X86_NT;
	if (virtual_if) {
		if (flags & X86_TF || (flags & X86_IF && cpu->s.rflags & X86_VIP))
			x86_raise_error(cpu, X86_GP, 0);
		if (flags & X86_IF)
			flags |= X86_VIF;
		else
			flags &= ~(uint64_t)X86_VIF;
		mask |= X86_VIF;
	} else {
		mask |= X86_IF;
	}
	if (operand_size == 4)
		mask |= X86_RF | X86_AC | X86_ID;
	x86_segment_set_vm86(&cpu->s.seg[X86_CS], selector);
	cpu->s.rip = rip;
	x86_stack_commit(cpu, &stack);
	x86_rflags_replace(cpu, flags, mask);
	x86_mode_update(cpu);
}

/* The task that was interrupted: its selector is the current TSS's link. */
static void iret_task(struct x86_cpu *cpu, uint64_t next_rip)
{
	struct x86_descriptor descriptor;
	uint16_t selector;
	unsigned type;

	if (cpu->long_mode)
		x86_raise_error(cpu, X86_GP, 0);
	selector = x86_system_read16(cpu, cpu->s.tr.base);
	if (selector & 4 || !x86_descriptor_read(cpu, selector, &descriptor))
		x86_raise_error(cpu, X86_TS, selector & ~3u);
	type = descriptor.attr & (X86_SEG_S | X86_SEG_TYPE);
	if (type != X86_SYS_TSS16_BUSY && type != X86_SYS_TSS32_BUSY)
		x86_raise_error(cpu, X86_TS, selector & ~3u);
	if (!(descriptor.attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, selector & ~3u);
	x86_task_switch(cpu, selector, X86_TASK_IRET, next_rip);
	x86_check_rip(cpu, &cpu->s.seg[X86_CS], cpu->s.rip);
}

static void iret_to_vm86(struct x86_cpu *cpu, struct x86_stack *stack, uint64_t rip, uint16_t selector, uint64_t flags)
{
	static const uint8_t order[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	uint16_t data[ARRAY_SIZE(order)], ss;
	uint64_t rsp;

	rsp = x86_stack_pop(cpu, stack, 4);
	ss = (uint16_t)x86_stack_pop(cpu, stack, 4);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		data[i] = (uint16_t)x86_stack_pop(cpu, stack, 4);
	if (rip > 0xffff)
		x86_raise_error(cpu, X86_GP, 0);
	x86_segment_set_vm86(&cpu->s.seg[X86_CS], selector);
	x86_segment_set_vm86(&cpu->s.seg[X86_SS], ss);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		x86_segment_set_vm86(&cpu->s.seg[order[i]], data[i]);
	cpu->s.rip = rip;
	cpu->s.gpr[X86_RSP] = (uint32_t)rsp;
	x86_rflags_replace(cpu, flags, X86_RFLAGS_DEFINED);
	x86_mode_update(cpu);
}

static uint64_t changeable(const struct x86_cpu *cpu, unsigned operand_size)
{
	uint64_t mask = X86_STATUS_FLAGS | X86_TF | X86_DF | X86_NT;

	if (operand_size > 2)
		mask |= X86_RF | X86_AC | X86_ID;
	if (cpu->cpl <= x86_iopl(cpu))
		mask |= X86_IF;
	if (cpu->cpl == 0) {
		mask |= X86_IOPL;
		if (operand_size > 2)
			mask |= X86_VIF | X86_VIP;
	}
	return mask;
}

/* A null SS is fine for 64-bit code below level 3. */
static bool null_stack_allowed(uint16_t ss, uint16_t cs, const struct x86_descriptor *code)
{
	return x86_selector_null(ss) && code->attr & X86_SEG_L && (cs & 3) != 3 && (ss & 3) == (cs & 3);
}

static void iret_protected(struct x86_cpu *cpu, unsigned operand_size)
{
	struct x86_descriptor code, stack_descriptor;
	struct x86_segment cs;
	struct x86_stack stack;
	uint64_t rip, flags, rsp = 0, mask;
	uint16_t selector, ss = 0;
	bool outer, pops_stack, null_ss = false;
	unsigned cpl;

	x86_stack_current(cpu, &stack);
	if (__builtin_expect(cpu->code_mode == X86_CODE64 && operand_size == 8, 1)) {
		uint64_t frame[5];

		if (!x86_canonical(cpu, stack.sp) || !x86_canonical(cpu, stack.sp + sizeof(frame) - 1))
			x86_raise_error(cpu, X86_SSF, 0);
		x86_read_block(cpu, stack.sp, frame, sizeof(frame), stack.access);
		rip = frame[0];
		selector = (uint16_t)frame[1];
		flags = frame[2];
		rsp = frame[3];
		ss = (uint16_t)frame[4];
	} else {
		rip = x86_stack_pop(cpu, &stack, operand_size);
		selector = (uint16_t)x86_stack_pop(cpu, &stack, operand_size);
		flags = x86_stack_pop(cpu, &stack, operand_size);
		if (operand_size == 4 && flags & X86_VM && cpu->cpl == 0 && !cpu->long_mode) {
			iret_to_vm86(cpu, &stack, rip, selector, flags);
			return;
		}
		if (cpu->code_mode == X86_CODE64) {
			rsp = x86_stack_pop(cpu, &stack, operand_size);
			ss = (uint16_t)x86_stack_pop(cpu, &stack, operand_size);
		}
	}
	if (x86_selector_null(selector))
		x86_raise_error(cpu, X86_GP, 0);
	x86_descriptor_get(cpu, selector, &code, X86_GP);
	x86_code_segment_check(cpu, selector, &code, X86_CODE_RETURN);
	cpl = selector & 3;
	outer = cpl > cpu->cpl;
	pops_stack = outer || cpu->code_mode == X86_CODE64;
	if (outer && cpu->code_mode != X86_CODE64) {
		rsp = x86_stack_pop(cpu, &stack, operand_size);
		ss = (uint16_t)x86_stack_pop(cpu, &stack, operand_size);
	}
	if (pops_stack) {
		null_ss = cpu->long_mode && null_stack_allowed(ss, selector, &code);
		if (!null_ss) {
			x86_stack_segment_check(cpu, ss, &stack_descriptor, cpl, X86_GP);
			x86_descriptor_accessed(cpu, &stack_descriptor);
		}
	}
	x86_segment_set(&cs, selector, &code);
	x86_check_rip(cpu, &cs, rip);
	x86_descriptor_accessed(cpu, &code);
	cs.attr = code.attr;
	mask = changeable(cpu, operand_size);

	cpu->s.seg[X86_CS] = cs;
	cpu->s.rip = rip;
	if (pops_stack) {
		if (null_ss)
			x86_segment_set_null(&cpu->s.seg[X86_SS], ss, cpl);
		else
			x86_segment_set(&cpu->s.seg[X86_SS], ss, &stack_descriptor);
	} else {
		x86_stack_commit(cpu, &stack);
	}
	x86_rflags_replace(cpu, flags, mask);
	x86_mode_update(cpu);
	if (pops_stack) {
		if (cpu->code_mode == X86_CODE64)
			cpu->s.gpr[X86_RSP] = rsp;
		else if (cpu->stack_mask == 0xffff)
			cpu->s.gpr[X86_RSP] = (cpu->s.gpr[X86_RSP] & ~0xffffull) | (rsp & 0xffff);
		else
			cpu->s.gpr[X86_RSP] = (uint32_t)rsp;
	}
	if (outer) {
		x86_drop_privileged_segments(cpu);
		if (cpu->code_mode != X86_CODE64)
			x86_mode_update(cpu);
	}
}

void x86_interrupt_return(struct x86_cpu *cpu, unsigned operand_size, uint64_t next_rip)
{
	x86_flags_sync(cpu);
	cpu->s.nmi_masked = false;
	if (cpu->s.nmi_pending)
		atomic_fetch_or_explicit(&cpu->vcpu.events, VCPU_NMI, memory_order_relaxed);
	if (cpu->vm86)
		iret_vm86(cpu, operand_size);
	else if (!cpu->protected_mode)
		iret_real(cpu, operand_size);
	else if (cpu->s.rflags & X86_NT)
		iret_task(cpu, next_rip);
	else
		iret_protected(cpu, operand_size);
}
