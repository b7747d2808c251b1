/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE. 64-bit mode has handlers of its own; the rest goes by x86_push. */
#include "cpu/interp/internal.h"

#define RSP (X86_RSP * 8)

/* Operands as wide as the stack: 64-bit mode, and 32-bit mode with KEY_FLAT. ea says SS so that a bad address is #SS.
 */
#define STACK(bits)                                                                                                    \
	static void push##bits##_r(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint##bits##_t gva = reg_get##bits(ip, RSP) - bits / 8;                                                \
		mem_store##bits(ip, op, gva, reg_get##bits(ip, op->src));                                              \
		reg_set##bits(ip, RSP, gva);                                                                           \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void push##bits##_i(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint##bits##_t gva = reg_get##bits(ip, RSP) - bits / 8;                                                \
		mem_store##bits(ip, op, gva, op->imm);                                                                 \
		reg_set##bits(ip, RSP, gva);                                                                           \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void push##bits##_m(struct interp *ip, const struct op *op)                                             \
	{                                                                                                              \
		uint##bits##_t value = mem_load##bits(ip, op, op_address(ip, op, bits / 8, X86_READ));                 \
		uint##bits##_t gva = reg_get##bits(ip, RSP) - bits / 8;                                                \
		mem_check_stack(ip, op, gva);                                                                          \
		mem_store##bits(ip, op, gva, value);                                                                   \
		reg_set##bits(ip, RSP, gva);                                                                           \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void pop##bits##_r(struct interp *ip, const struct op *op)                                              \
	{                                                                                                              \
		uint##bits##_t gva = reg_get##bits(ip, RSP), value = mem_load##bits(ip, op, gva);                      \
		reg_set##bits(ip, RSP, gva + bits / 8);                                                                \
		reg_set##bits(ip, op->dst, value);                                                                     \
		next(ip, op);                                                                                          \
	}                                                                                                              \
	static void leave##bits(struct interp *ip, const struct op *op)                                                \
	{                                                                                                              \
		uint##bits##_t gva = reg_get##bits(ip, X86_RBP * 8), value = mem_load##bits(ip, op, gva);              \
		reg_set##bits(ip, RSP, gva + bits / 8);                                                                \
		reg_set##bits(ip, X86_RBP * 8, value);                                                                 \
		next(ip, op);                                                                                          \
	}
STACK(64)
STACK(32)

/* --- any mode and size --- */

static void push_any(struct interp *ip, const struct op *op)
{
	unsigned size = op_size(op);
	uint64_t value = operand_read(ip, op, size);

	ip->cur = op;
	x86_push(&ip->cpu, value, size);
	next(ip, op);
}

static void push_imm(struct interp *ip, const struct op *op)
{
	ip->cur = op;
	x86_push(&ip->cpu, op->imm, op_size(op));
	next(ip, op);
}

static void push_segment(struct interp *ip, const struct op *op)
{
	ip->cur = op;
	x86_push(&ip->cpu, ip->cpu.s.seg[op->imm].selector, op_size(op));
	next(ip, op);
}

static void pop_register(struct interp *ip, const struct op *op)
{
	unsigned size = op_size(op);
	uint64_t value;

	ip->cur = op;
	value = x86_pop(&ip->cpu, size);
	reg_set(ip, op->src, value, size);
	next(ip, op);
}

/* The address is computed with the incremented rSP (SDM 2 POP), which is taken back should the store fault. */
static void pop_memory(struct interp *ip, const struct op *op)
{
	unsigned size = op_size(op);
	uint64_t old = reg_get64(ip, RSP), after, value, gva;

	ip->cur = op;
	value = x86_pop(&ip->cpu, size);
	after = reg_get64(ip, RSP);
	if (op->base == (offsetof(struct interp, cpu.s.gpr) + RSP) / 8) {
		struct op moved = *op;

		moved.disp += (int32_t)(after - old);
		reg_set64(ip, RSP, old);
		ip->cur = op;
		gva = op_address(ip, &moved, size, X86_WRITE);
	} else {
		reg_set64(ip, RSP, old);
		gva = op_address(ip, op, size, X86_WRITE);
	}
	mem_store(ip, op, gva, value, size);
	reg_set64(ip, RSP, after);
	next(ip, op);
}

static void push_all(struct interp *ip, const struct op *op)
{
	static const uint8_t order[] = {X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI};
	uint64_t rsp = reg_get64(ip, RSP), mask = ip->cpu.stack_mask;
	unsigned size = op_size(op);

	ip->cur = op;
	for (unsigned i = 0; i < 8; i++) { /* all stores must succeed before rSP moves */
		uint64_t value = order[i] == X86_RSP ? rsp : reg_get64(ip, order[i] * 8);
		uint64_t offset = (rsp - (i + 1) * size) & mask;
		uint64_t gva = x86_linear(&ip->cpu, X86_SS, offset, size, X86_WRITE);

		mem_store(ip, op, gva, value, size);
	}
	reg_set64(ip, RSP, (rsp & ~mask) | ((rsp - 8 * size) & mask));
	next(ip, op);
}

static void pop_all(struct interp *ip, const struct op *op)
{
	static const uint8_t order[] = {X86_RDI, X86_RSI, X86_RBP, X86_RSP, X86_RBX, X86_RDX, X86_RCX, X86_RAX};
	uint64_t rsp = reg_get64(ip, RSP), mask = ip->cpu.stack_mask, value[8];
	unsigned size = op_size(op);

	ip->cur = op;
	for (unsigned i = 0; i < 8; i++)
		value[i] =
			mem_load(ip, op, x86_linear(&ip->cpu, X86_SS, (rsp + i * size) & mask, size, X86_READ), size);
	for (unsigned i = 0; i < 8; i++)
		if (order[i] != X86_RSP)
			reg_set(ip, order[i] * 8, value[i], size);
	reg_set64(ip, RSP, (rsp & ~mask) | ((rsp + 8 * size) & mask));
	next(ip, op);
}

static void pushf_any(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	unsigned size = op_size(op);
	uint64_t value;

	ip->cur = op;
	flags_sync(ip);
	value = cpu->s.rflags & ~(uint64_t)(X86_VM | X86_RF);
	if (cpu->vm86 && (cpu->s.rflags & X86_IOPL) != X86_IOPL) {
		if (!(cpu->s.cr4 & X86_CR4_VME) || size != 2)
			fault_at_error(ip, op, X86_GP, 0);
		value = (value & ~(uint64_t)X86_IF) | X86_IOPL | (cpu->s.rflags & X86_VIF ? X86_IF : 0);
	}
	x86_push(cpu, value, size);
	next(ip, op);
}

static void popf_any(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	unsigned size = op_size(op);
	uint64_t old = reg_get64(ip, RSP), after, value;

	sys_begin(ip, op);
	if (cpu->vm86 && (cpu->s.rflags & X86_IOPL) != X86_IOPL && (!(cpu->s.cr4 & X86_CR4_VME) || size != 2))
		x86_raise_error(cpu, X86_GP, 0);
	value = x86_pop(cpu, size);
	after = reg_get64(ip, RSP);
	reg_set64(ip, RSP, old);
	x86_set_rflags(cpu, value, size);
	reg_set64(ip, RSP, after);
	flags_import(ip);
	sys_end(ip, op);
}

static void enter_any(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	unsigned size = op_size(op), level = op->imm >> 16 & 31;
	uint64_t mask = cpu->stack_mask, old_rsp = reg_get64(ip, RSP), rbp = reg_get64(ip, X86_RBP * 8), rsp = old_rsp,
		 frame;

	ip->cur = op;
	rsp -= size;
	mem_store(ip, op, x86_linear(cpu, X86_SS, rsp & mask, size, X86_WRITE), rbp, size);
	frame = rsp;
	for (unsigned i = 1; i < level; i++) {
		uint64_t value;

		rbp -= size;
		value = mem_load(ip, op, x86_linear(cpu, X86_SS, rbp & mask, size, X86_READ), size);
		rsp -= size;
		mem_store(ip, op, x86_linear(cpu, X86_SS, rsp & mask, size, X86_WRITE), value, size);
	}
	if (level) {
		rsp -= size;
		mem_store(ip, op, x86_linear(cpu, X86_SS, rsp & mask, size, X86_WRITE), frame, size);
	}
	rsp -= op->imm & 0xffff;
	mem_probe(ip, op, x86_linear(cpu, X86_SS, rsp & mask, 1, X86_WRITE), 1);
	reg_set64(ip, RSP, (old_rsp & ~mask) | (rsp & mask));
	reg_set(ip, X86_RBP * 8, size == 8 ? frame : (old_rsp & ~mask) | (frame & mask), size);
	next(ip, op);
}

static void leave_any(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	unsigned size = op_size(op);
	uint64_t mask = cpu->stack_mask, rsp = reg_get64(ip, RSP), rbp = reg_get64(ip, X86_RBP * 8), value;

	ip->cur = op;
	value = mem_load(ip, op, x86_linear(cpu, X86_SS, rbp & mask, size, X86_READ), size);
	reg_set64(ip, RSP, (rsp & ~mask) | ((rbp + size) & mask));
	reg_set(ip, X86_RBP * 8, value, size);
	next(ip, op);
}

static int segment_index(ZydisRegister reg)
{
	return ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_SEGMENT ? (int)(reg - ZYDIS_REGISTER_ES) : -1;
}

static bool select_push(struct decode *d, bool wide64, bool wide32)
{
	const ZydisDecodedOperand *operand = &d->operands[0];
	struct op *op = d->op;

	if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		op->imm = operand->imm.value.u;
		op->fn = wide64 ? push64_i : wide32 ? push32_i : push_imm;
	} else if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER && segment_index(operand->reg.value) >= 0) {
		op->imm = segment_index(operand->reg.value);
		op->fn = push_segment;
	} else {
		decode_rm(d, operand);
		if (decode_is_reg(operand))
			op->fn = wide64 ? push64_r : wide32 ? push32_r : push_any;
		else
			op->fn = wide64 ? push64_m : wide32 ? push32_m : push_any;
	}
	if ((op->ea & 15) == EA_NONE)
		op->ea = EA_NONE | X86_SS << 4;
	return true;
}

static bool select_pop(struct decode *d, bool wide64, bool wide32)
{
	const ZydisDecodedOperand *operand = &d->operands[0];
	struct op *op = d->op;

	if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER && segment_index(operand->reg.value) >= 0)
		return false; /* op_system.c */
	decode_rm(d, operand);
	if (!decode_is_reg(operand)) {
		op->fn = pop_memory;
	} else if (wide64 || wide32) {
		op->dst = op->src;
		op->ea = EA_NONE | X86_SS << 4;
		op->fn = wide64 ? pop64_r : pop32_r;
	} else {
		op->fn = pop_register;
	}
	return true;
}

bool select_stack(struct decode *d)
{
	unsigned size = decode_log2(d->insn.operand_width);
	bool wide64 = d->insn.machine_mode == ZYDIS_MACHINE_MODE_LONG_64 && size == 3, wide32 = d->flat32 && size == 2;
	struct op *op = d->op;

	op->length_size = d->insn.length | size << 4;
	op->ea = EA_NONE | X86_SS << 4;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
		return select_push(d, wide64, wide32);
	case ZYDIS_MNEMONIC_POP:
		return select_pop(d, wide64, wide32);
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD:
		op->fn = push_all;
		return true;
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
		op->fn = pop_all;
		return true;
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
		op->fn = pushf_any;
		return true;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		op->fn = popf_any;
		d->last = true;
		return true;
	case ZYDIS_MNEMONIC_ENTER:
		op->imm = (d->operands[0].imm.value.u & 0xffff) | (d->operands[1].imm.value.u & 31) << 16;
		op->fn = enter_any;
		return true;
	case ZYDIS_MNEMONIC_LEAVE:
		op->fn = wide64 ? leave64 : wide32 ? leave32 : leave_any;
		return true;
	default:
		return false;
	}
}
