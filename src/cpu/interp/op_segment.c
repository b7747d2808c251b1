/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Segments: far transfers, loads and stores of segment registers, descriptor table registers, LAR, LSL, VERR, VERW
 * (SDM 2). Checks that belong to the instruction are here, the segmentation itself is in cpu/x86.
 */
#include "cpu/interp/internal.h"

static void need_protected(struct interp *ip, const struct op *op)
{
	if (!ip->cpu.protected_mode)
		fault_at(ip, op, X86_UD);
}

/* SGDT, SIDT, SLDT and STR with UMIP. */
static void check_umip(struct interp *ip, const struct op *op)
{
	if (ip->cpu.s.cr4 & X86_CR4_UMIP && ip->cpu.cpl)
		fault_at_error(ip, op, X86_GP, 0);
}

/* --- far transfers: selector in disp or memory, offset in imm or memory --- */

static void far_target(struct interp *ip, const struct op *op, uint16_t *selector, uint64_t *offset)
{
	unsigned size = op_size(op);
	uint64_t gva;

	if ((op->ea & 15) == EA_NONE) {
		*selector = op->disp;
		*offset = op->imm;
		return;
	}
	gva = op_address(ip, op, size + 2, X86_READ);
	*offset = mem_load(ip, op, gva, size);
	*selector = mem_load16(ip, op, gva + size);
}

static void far_jump(struct interp *ip, const struct op *op)
{
	uint16_t selector;
	uint64_t offset;

	far_target(ip, op, &selector, &offset);
	sys_begin(ip, op);
	x86_far_jump(&ip->cpu, selector, offset, op_size(op), sys_next_rip(ip, op));
	sys_jumped(ip);
}

static void far_call(struct interp *ip, const struct op *op)
{
	uint16_t selector;
	uint64_t offset;

	far_target(ip, op, &selector, &offset);
	sys_begin(ip, op);
	x86_far_call(&ip->cpu, selector, offset, op_size(op), sys_next_rip(ip, op));
	sys_jumped(ip);
}

static void far_return(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	x86_far_return(&ip->cpu, op_size(op), op->imm);
	sys_jumped(ip);
}

/* --- segment registers; imm: which --- */

static void mov_from_segment(struct interp *ip, const struct op *op)
{
	uint16_t selector = ip->cpu.s.seg[op->imm].selector;

	if ((op->ea & 15) == EA_NONE)
		reg_set(ip, op->src, selector, op_size(op));
	else
		mem_store16(ip, op, op_address(ip, op, 2, X86_WRITE), selector);
	next(ip, op);
}

static void mov_to_segment(struct interp *ip, const struct op *op)
{
	uint16_t selector = operand_read(ip, op, 2);

	sys_begin(ip, op);
	x86_load_segment(&ip->cpu, op->imm, selector);
	if (op->imm == X86_SS)
		ip->cpu.s.shadow_ss = true;
	sys_end(ip, op);
}

static void pop_segment(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	uint64_t before = cpu->s.gpr[X86_RSP], after;
	uint16_t selector;

	sys_begin(ip, op);
	selector = x86_pop(cpu, op_size(op));
	after = cpu->s.gpr[X86_RSP];
	cpu->s.gpr[X86_RSP] = before;
	x86_load_segment(cpu, op->imm, selector);
	cpu->s.gpr[X86_RSP] = after;
	if (op->imm == X86_SS)
		cpu->s.shadow_ss = true;
	sys_end(ip, op);
}

/* LDS, LES, LFS, LGS, LSS */
static void load_far_pointer(struct interp *ip, const struct op *op)
{
	unsigned size = op_size(op);
	uint64_t gva = op_address(ip, op, size + 2, X86_READ), offset = mem_load(ip, op, gva, size);
	uint16_t selector = mem_load16(ip, op, gva + size);

	sys_begin(ip, op);
	x86_load_segment(&ip->cpu, op->imm, selector);
	reg_set(ip, op->dst, offset, size);
	sys_end(ip, op);
}

/* --- descriptor tables; imm: 0 GDT, 1 IDT --- */

static void store_table(struct interp *ip, const struct op *op)
{
	const struct x86_table *table = op->imm ? &ip->cpu.s.idtr : &ip->cpu.s.gdtr;
	unsigned size = ip->cpu.code_mode == X86_CODE64 ? 8 : 4;
	uint8_t image[10];

	check_umip(ip, op);
	store_le16(image, table->limit);
	store_le64(image + 2, table->base);
	mem_write(ip, op, op_address(ip, op, 2 + size, X86_WRITE), image, 2 + size);
	next(ip, op);
}

static void load_table(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	struct x86_table *table = op->imm ? &cpu->s.idtr : &cpu->s.gdtr;
	unsigned size = cpu->code_mode == X86_CODE64 ? 8 : 4;
	uint8_t image[10] = {0};
	uint64_t gva, base;

	if (cpu->cpl)
		fault_at_error(ip, op, X86_GP, 0);
	gva = op_address(ip, op, 2 + size, X86_READ);
	mem_read(ip, op, gva, image, 2 + size);
	base = load_le64(image + 2);
	if (size == 4 && op_size(op) == 2)
		base &= 0xffffff;
	if (size == 8 && (uint64_t)((int64_t)(base << 16) >> 16) != base && !(cpu->s.cr4 & X86_CR4_LA57))
		fault_at_error(ip, op, X86_GP, 0);
	sys_begin(ip, op);
	table->limit = load_le16(image);
	table->base = base;
	sys_end(ip, op);
}

/* SLDT and STR (imm 0 and 1); memory gets 16 bits. */
static void store_selector(struct interp *ip, const struct op *op)
{
	uint16_t selector = op->imm ? ip->cpu.s.tr.selector : ip->cpu.s.ldtr.selector;

	need_protected(ip, op);
	check_umip(ip, op);
	if ((op->ea & 15) == EA_NONE)
		reg_set(ip, op->src, selector, op_size(op));
	else
		mem_store16(ip, op, op_address(ip, op, 2, X86_WRITE), selector);
	next(ip, op);
}

static void load_selector(struct interp *ip, const struct op *op)
{
	uint16_t selector;

	need_protected(ip, op);
	if (ip->cpu.cpl)
		fault_at_error(ip, op, X86_GP, 0);
	selector = operand_read(ip, op, 2);
	sys_begin(ip, op);
	if (op->imm)
		x86_ltr(&ip->cpu, selector);
	else
		x86_lldt(&ip->cpu, selector);
	sys_end(ip, op);
}

/* LAR and LSL (imm 0 and 1) */
static void load_rights(struct interp *ip, const struct op *op)
{
	uint16_t selector;
	uint32_t value = 0;
	bool ok;

	need_protected(ip, op);
	selector = operand_read(ip, op, 2);
	ip->cur = op;
	ok = op->imm ? x86_lsl(&ip->cpu, selector, &value) : x86_lar(&ip->cpu, selector, &value);
	if (ok)
		reg_set(ip, op->dst, value, op_size(op));
	ip->flags = (ip->flags & ~FLAG_ZF) | (ok ? FLAG_ZF : 0);
	next(ip, op);
}

/* VERR and VERW (imm 0 and 1) */
static void verify(struct interp *ip, const struct op *op)
{
	uint16_t selector;
	bool ok;

	need_protected(ip, op);
	selector = operand_read(ip, op, 2);
	ip->cur = op;
	ok = x86_verify(&ip->cpu, selector, op->imm);
	ip->flags = (ip->flags & ~FLAG_ZF) | (ok ? FLAG_ZF : 0);
	next(ip, op);
}

/* --- tables --- */

/* One r/m operand. */
static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn;
	uint64_t imm;
	bool last;
} rm_table[] = {
	{ZYDIS_MNEMONIC_SGDT, store_table, 0},
	{ZYDIS_MNEMONIC_SIDT, store_table, 1},
	{ZYDIS_MNEMONIC_LGDT, load_table, 0, true},
	{ZYDIS_MNEMONIC_LIDT, load_table, 1, true},
	{ZYDIS_MNEMONIC_SLDT, store_selector, 0},
	{ZYDIS_MNEMONIC_STR, store_selector, 1},
	{ZYDIS_MNEMONIC_LLDT, load_selector, 0, true},
	{ZYDIS_MNEMONIC_LTR, load_selector, 1, true},
	{ZYDIS_MNEMONIC_VERR, verify, 0},
	{ZYDIS_MNEMONIC_VERW, verify, 1},
};

/* Register destination and r/m source. */
static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn;
	uint64_t imm;
	bool last;
} load_table_rows[] = {
	{ZYDIS_MNEMONIC_LAR, load_rights, 0},
	{ZYDIS_MNEMONIC_LSL, load_rights, 1},
	{ZYDIS_MNEMONIC_LDS, load_far_pointer, X86_DS, true},
	{ZYDIS_MNEMONIC_LES, load_far_pointer, X86_ES, true},
	{ZYDIS_MNEMONIC_LFS, load_far_pointer, X86_FS, true},
	{ZYDIS_MNEMONIC_LGS, load_far_pointer, X86_GS, true},
	{ZYDIS_MNEMONIC_LSS, load_far_pointer, X86_SS, true},
};

/* MOV with a segment register. */
static bool select_mov(struct decode *d)
{
	struct op *op = d->op;

	for (unsigned i = 0; i < 2; i++) {
		const ZydisDecodedOperand *special = &d->operands[i], *other = &d->operands[!i];

		if (special->type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    ZydisRegisterGetClass(special->reg.value) != ZYDIS_REGCLASS_SEGMENT)
			continue;
		op->imm = special->reg.value - ZYDIS_REGISTER_ES;
		if (i == 0 && op->imm == X86_CS)
			return false;
		decode_rm(d, other);
		op->length_size = d->insn.length | decode_log2(other->size) << 4;
		op->fn = i == 0 ? mov_to_segment : mov_from_segment;
		d->last = i == 0;
		return true;
	}
	return false;
}

static bool select_far(struct decode *d, op_fn *fn)
{
	const ZydisDecodedOperand *operand = &d->operands[0];
	struct op *op = d->op;

	op->length_size = d->insn.length | decode_log2(d->insn.operand_width) << 4;
	if (operand->type == ZYDIS_OPERAND_TYPE_POINTER) {
		op->disp = operand->ptr.segment;
		op->imm = operand->ptr.offset;
	} else {
		decode_memory(d, operand);
	}
	op->fn = fn;
	d->last = true;
	return true;
}

static bool select_transfer(struct decode *d)
{
	struct op *op = d->op;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
		return select_far(d, far_jump);
	case ZYDIS_MNEMONIC_CALL:
		return select_far(d, far_call);
	case ZYDIS_MNEMONIC_RET:
		op->imm = d->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? d->operands[0].imm.value.u & 0xffff : 0;
		op->length_size = d->insn.length | decode_log2(d->insn.operand_width) << 4;
		op->fn = far_return;
		d->last = true;
		return true;
	case ZYDIS_MNEMONIC_POP:
		op->imm = d->operands[0].reg.value - ZYDIS_REGISTER_ES;
		op->length_size = d->insn.length | decode_log2(d->insn.operand_width) << 4;
		op->fn = pop_segment;
		d->last = true;
		return true;
	default:
		return false;
	}
}

bool select_segment(struct decode *d)
{
	struct op *op = d->op;

	if (d->insn.mnemonic == ZYDIS_MNEMONIC_MOV)
		return select_mov(d);
	for (size_t i = 0; i < ARRAY_SIZE(rm_table); i++)
		if (rm_table[i].mnemonic == d->insn.mnemonic) {
			decode_rm(d, &d->operands[0]);
			op->length_size = d->insn.length | decode_log2(d->insn.operand_width) << 4;
			op->fn = rm_table[i].fn;
			op->imm = rm_table[i].imm;
			d->last = rm_table[i].last;
			return true;
		}
	for (size_t i = 0; i < ARRAY_SIZE(load_table_rows); i++)
		if (load_table_rows[i].mnemonic == d->insn.mnemonic) {
			decode_rm(d, &d->operands[1]);
			op->dst = decode_reg(d->operands[0].reg.value);
			op->fn = load_table_rows[i].fn;
			op->imm = load_table_rows[i].imm;
			d->last = load_table_rows[i].last;
			return true;
		}
	return select_transfer(d);
}
