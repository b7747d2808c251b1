/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Near branches: Jcc, JMP, CALL, RET, LOOP, JrCXZ. Each ends its block. 64-bit mode has its own handlers. */
#include "cpu/interp/conditions.h"

#define RSP (X86_RSP * 8)

/* Near target outside 64-bit mode: cut to the operand size, checked against CS. */
ALWAYS_INLINE void go_legacy(struct interp *ip, const struct op *op, uint64_t target)
{
	target &= op_size(op) == 2 ? 0xffff : 0xffffffff;
	if (target > ip->cpu.s.seg[X86_CS].limit)
		fault_at_error(ip, op, X86_GP, 0);
	ip->cpu.s.rip = target;
}

ALWAYS_INLINE void check_canonical(struct interp *ip, const struct op *op, uint64_t target)
{
	if (unlikely((uint64_t)((int64_t)(target << 16) >> 16) != target))
		if (!(ip->cpu.s.cr4 & X86_CR4_LA57) || (uint64_t)((int64_t)(target << 7) >> 7) != target)
			fault_at_error(ip, op, X86_GP, 0);
}

/* The stack's address comes first, then the target's; the return address is stored only when both are canonical. */
ALWAYS_INLINE void check_call(struct interp *ip, const struct op *op, uint64_t target)
{
	uint64_t rsp = reg_get64(ip, RSP) - 8;

	if (unlikely(((int64_t)(target << 16) >> 16 ^ target) | ((int64_t)(rsp << 16) >> 16 ^ rsp))) {
		mem_check_stack(ip, op, rsp);
		check_canonical(ip, op, target);
	}
}

ALWAYS_INLINE uint64_t behind(const struct interp *ip, const struct op *op)
{
	return ip->cpu.s.rip + op->offset + op_length(op);
}

/* imm: the target relative to the block. */
#define JUMP_IF(name, suffix, test)                                                                                    \
	static void j##name##_64(struct interp *ip, const struct op *op)                                               \
	{                                                                                                              \
		ip->cpu.s.rip += condition_##name(ip->flags) ? op->imm : (uint64_t)op->offset + op_length(op);         \
	}                                                                                                              \
	static void j##name##_legacy(struct interp *ip, const struct op *op)                                           \
	{                                                                                                              \
		if (condition_##name(ip->flags))                                                                       \
			go_legacy(ip, op, ip->cpu.s.rip + op->imm);                                                    \
		else                                                                                                   \
			ip->cpu.s.rip = (uint32_t)behind(ip, op);                                                      \
	}
CONDITIONS(JUMP_IF)

static void jmp_64(struct interp *ip, const struct op *op)
{
	ip->cpu.s.rip += op->imm;
}

static void jmp_legacy(struct interp *ip, const struct op *op)
{
	go_legacy(ip, op, ip->cpu.s.rip + op->imm);
}

static void jmp_r64(struct interp *ip, const struct op *op)
{
	uint64_t target = reg_get64(ip, op->src);

	check_canonical(ip, op, target);
	ip->cpu.s.rip = target;
}

static void jmp_m64(struct interp *ip, const struct op *op)
{
	uint64_t target = mem_load64(ip, op, op_address(ip, op, 8, X86_READ));

	check_canonical(ip, op, target);
	ip->cpu.s.rip = target;
}

static void jmp_rm_legacy(struct interp *ip, const struct op *op)
{
	go_legacy(ip, op, operand_read(ip, op, op_size(op)));
}

/* Call of `target` in 64-bit mode. */
ALWAYS_INLINE void call_to(struct interp *ip, const struct op *op, uint64_t target)
{
	uint64_t gva = reg_get64(ip, RSP) - 8;

	mem_store64(ip, op, gva, behind(ip, op));
	reg_set64(ip, RSP, gva);
	ip->cpu.s.rip = target;
}

static void call_64(struct interp *ip, const struct op *op)
{
	call_to(ip, op, ip->cpu.s.rip + op->imm);
}

static void call_r64(struct interp *ip, const struct op *op)
{
	uint64_t target = reg_get64(ip, op->src);

	check_call(ip, op, target);
	call_to(ip, op, target);
}

static void call_m64(struct interp *ip, const struct op *op)
{
	uint64_t target = mem_load64(ip, op, op_address(ip, op, 8, X86_READ));

	check_call(ip, op, target);
	call_to(ip, op, target);
}

/* With KEY_FLAT and 32-bit operands. */
ALWAYS_INLINE void call32_to(struct interp *ip, const struct op *op, uint64_t target)
{
	uint32_t gva = reg_get32(ip, RSP) - 4;

	target = (uint32_t)target;
	if (unlikely(target > ip->cpu.s.seg[X86_CS].limit))
		fault_at_error(ip, op, X86_GP, 0);
	mem_store32(ip, op, gva, behind(ip, op));
	reg_set32(ip, RSP, gva);
	ip->cpu.s.rip = target;
}

static void call_32(struct interp *ip, const struct op *op)
{
	call32_to(ip, op, ip->cpu.s.rip + op->imm);
}

static void call_rm32(struct interp *ip, const struct op *op)
{
	call32_to(ip, op, operand_read(ip, op, 4));
}

static void ret_32(struct interp *ip, const struct op *op)
{
	uint32_t gva = reg_get32(ip, RSP), target = mem_load32(ip, op, gva);

	if (unlikely(target > ip->cpu.s.seg[X86_CS].limit))
		fault_at_error(ip, op, X86_GP, 0);
	reg_set32(ip, RSP, gva + 4 + op->imm);
	ip->cpu.s.rip = target;
}

static void call_legacy_to(struct interp *ip, const struct op *op, uint64_t target)
{
	unsigned size = op_size(op);

	ip->cur = op;
	target &= size == 2 ? 0xffff : 0xffffffff;
	if (target > ip->cpu.s.seg[X86_CS].limit)
		fault_at_error(ip, op, X86_GP, 0);
	x86_push(&ip->cpu, (uint32_t)behind(ip, op), size);
	ip->cpu.s.rip = target;
}

static void call_legacy(struct interp *ip, const struct op *op)
{
	call_legacy_to(ip, op, ip->cpu.s.rip + op->imm);
}

static void call_rm_legacy(struct interp *ip, const struct op *op)
{
	call_legacy_to(ip, op, operand_read(ip, op, op_size(op)));
}

static void ret_64(struct interp *ip, const struct op *op)
{
	uint64_t gva = reg_get64(ip, RSP), target = mem_load64(ip, op, gva);

	check_canonical(ip, op, target);
	reg_set64(ip, RSP, gva + 8 + op->imm);
	ip->cpu.s.rip = target;
}

static void ret_legacy(struct interp *ip, const struct op *op)
{
	uint64_t rsp = reg_get64(ip, RSP), mask = ip->cpu.stack_mask, target, after;

	ip->cur = op;
	target = x86_pop(&ip->cpu, op_size(op));
	after = reg_get64(ip, RSP) + op->imm;
	reg_set64(ip, RSP, rsp);
	go_legacy(ip, op, target);
	reg_set64(ip, RSP, (rsp & ~mask) | (after & mask));
}

/* LOOP family and JrCXZ: data is the address size in `dst`, src says which condition. */
enum { LOOP_ALWAYS, LOOP_EQUAL, LOOP_NOT_EQUAL, LOOP_CXZ };

static void loop_any(struct interp *ip, const struct op *op)
{
	unsigned size = op->dst;
	uint64_t count = reg_get(ip, X86_RCX * 8, size), target;
	bool taken = true;

	if (op->src == LOOP_CXZ) {
		taken = !count;
	} else {
		count = size == 8 ? count - 1 : (count - 1) & ((1ull << size * 8) - 1);
		taken = count && (op->src == LOOP_ALWAYS || (op->src == LOOP_EQUAL) == ((ip->flags & FLAG_ZF) != 0));
	}
	target = ip->cpu.s.rip + (taken ? op->imm : (uint64_t)op->offset + op_length(op));
	if (ip->cpu.code_mode == X86_CODE64)
		ip->cpu.s.rip = target;
	else if (taken)
		go_legacy(ip, op, target);
	else
		ip->cpu.s.rip = (uint32_t)target;
	if (op->src != LOOP_CXZ)
		reg_set(ip, X86_RCX * 8, count, size);
}

#define JUMP_ROW(name, suffix, test) {ZYDIS_MNEMONIC_J##suffix, {j##name##_64, j##name##_legacy}},
static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn[2];
} jump_table[] = {CONDITIONS(JUMP_ROW)};

static const struct {
	ZydisMnemonic mnemonic;
	uint8_t kind, size;
} loop_table[] = {
	{ZYDIS_MNEMONIC_LOOP, LOOP_ALWAYS, 0},      {ZYDIS_MNEMONIC_LOOPE, LOOP_EQUAL, 0},
	{ZYDIS_MNEMONIC_LOOPNE, LOOP_NOT_EQUAL, 0}, {ZYDIS_MNEMONIC_JCXZ, LOOP_CXZ, 2},
	{ZYDIS_MNEMONIC_JECXZ, LOOP_CXZ, 4},        {ZYDIS_MNEMONIC_JRCXZ, LOOP_CXZ, 8},
};

static bool is_far(const struct decode *d)
{
	return d->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}

static bool select_jump(struct decode *d, bool mode64, bool call)
{
	const ZydisDecodedOperand *operand = &d->operands[0];
	bool flat32 = d->flat32 && d->insn.operand_width == 32;
	struct op *op = d->op;

	if (is_far(d))
		return false;
	if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		op->imm = d->offset + d->insn.length + operand->imm.value.s;
		op->fn = mode64 ? (call ? call_64 : jmp_64) : !call ? jmp_legacy : flat32 ? call_32 : call_legacy;
		op->ea = EA_NONE | X86_SS << 4;
	} else {
		bool reg = decode_is_reg(operand);

		decode_rm(d, operand);
		if (!mode64)
			op->fn = !call ? jmp_rm_legacy : flat32 ? call_rm32 : call_rm_legacy;
		else if (!reg)
			op->fn = call ? call_m64 : jmp_m64;
		else
			op->fn = call ? call_r64 : jmp_r64;
		if (reg && mode64)
			op->ea = EA_NONE | X86_SS << 4;
	}
	return true;
}

bool select_branch(struct decode *d)
{
	bool mode64 = d->insn.machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
	unsigned size = decode_log2(d->insn.operand_width);
	struct op *op = d->op;

	op->length_size = d->insn.length | size << 4;
	d->last = d->closed = true;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
		return select_jump(d, mode64, false);
	case ZYDIS_MNEMONIC_CALL:
		return select_jump(d, mode64, true);
	case ZYDIS_MNEMONIC_RET:
		if (is_far(d))
			return false;
		op->imm = d->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? d->operands[0].imm.value.u & 0xffff : 0;
		op->ea = EA_NONE | X86_SS << 4;
		op->fn = mode64 ? ret_64 : d->flat32 && size == 2 ? ret_32 : ret_legacy;
		return true;
	default:
		break;
	}
	for (size_t i = 0; i < ARRAY_SIZE(jump_table); i++)
		if (jump_table[i].mnemonic == d->insn.mnemonic) {
			op->imm = d->offset + d->insn.length + d->operands[0].imm.value.s;
			op->fn = jump_table[i].fn[!mode64];
			return true;
		}
	for (size_t i = 0; i < ARRAY_SIZE(loop_table); i++)
		if (loop_table[i].mnemonic == d->insn.mnemonic) {
			op->imm = d->offset + d->insn.length + d->operands[0].imm.value.s;
			op->src = loop_table[i].kind;
			op->dst = loop_table[i].size ? loop_table[i].size : d->insn.address_width / 8;
			op->fn = loop_any;
			return true;
		}
	return false;
}
