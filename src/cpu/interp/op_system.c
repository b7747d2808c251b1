/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System instructions (SDM 2, SDM 3A 2.8): privilege and mode checks that belong to the instruction are here, what it
 * does is in cpu/x86. Nearly all end their block, because mode, privilege or translation may have changed.
 */
#include "cpu/interp/internal.h"

static void need_cpl0(struct interp *ip)
{
	if (ip->cpu.cpl)
		x86_raise_error(&ip->cpu, X86_GP, 0);
}

/* SMSW with UMIP. */
static void check_umip(struct interp *ip, const struct op *op)
{
	if (ip->cpu.s.cr4 & X86_CR4_UMIP && ip->cpu.cpl)
		fault_at_error(ip, op, X86_GP, 0);
}

/* --- interrupts --- */

static bool iopl_allows(const struct interp *ip)
{
	return !(ip->cpu.s.cr0 & X86_CR0_PE) || ip->cpu.cpl <= (ip->cpu.s.rflags >> 12 & 3);
}

/* CLI and STI of a mode with virtual interrupts (VME, PVI) act on VIF. */
static bool virtual_interrupts(const struct interp *ip)
{
	const struct x86_cpu *cpu = &ip->cpu;

	return cpu->vm86 ? cpu->s.cr4 & X86_CR4_VME : cpu->cpl == 3 && cpu->s.cr4 & X86_CR4_PVI;
}

static void cli(struct interp *ip, const struct op *op)
{
	if (iopl_allows(ip))
		ip->cpu.s.rflags &= ~(uint64_t)X86_IF;
	else if (virtual_interrupts(ip))
		ip->cpu.s.rflags &= ~(uint64_t)X86_VIF;
	else
		fault_at_error(ip, op, X86_GP, 0);
	next(ip, op);
}

static void sti(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;

	sys_begin(ip, op);
	if (iopl_allows(ip)) {
		if (!(cpu->s.rflags & X86_IF))
			cpu->s.shadow_sti = true;
		cpu->s.rflags |= X86_IF;
	} else if (virtual_interrupts(ip) && !(cpu->s.rflags & X86_VIP)) {
		cpu->s.rflags |= X86_VIF;
	} else {
		x86_raise_error(cpu, X86_GP, 0);
	}
	sys_end(ip, op);
}

static void hlt(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	need_cpl0(ip);
	ip->cpu.s.mp_state = X86_MP_HALTED;
	sys_end(ip, op);
}

static void iret(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	x86_interrupt_return(&ip->cpu, op_size(op), sys_next_rip(ip, op));
	sys_jumped(ip);
}

/* --- fast system calls --- */

static void syscall_enter(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	x86_syscall(&ip->cpu, sys_next_rip(ip, op));
	ip->no_trap = !(ip->cpu.s.rflags & X86_TF);
	sys_jumped(ip);
}

static void syscall_return(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	x86_sysret(&ip->cpu, op_size(op));
	sys_jumped(ip);
}

static void sysenter(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	x86_sysenter(&ip->cpu);
	sys_jumped(ip);
}

static void sysexit(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	x86_sysexit(&ip->cpu, op_size(op));
	sys_jumped(ip);
}

/* --- control registers, MSRs, translation --- */

static void smsw(struct interp *ip, const struct op *op)
{
	check_umip(ip, op);
	if ((op->ea & 15) == EA_NONE)
		reg_set(ip, op->src, ip->cpu.s.cr0, op_size(op));
	else
		mem_store16(ip, op, op_address(ip, op, 2, X86_WRITE), ip->cpu.s.cr0);
	next(ip, op);
}

static void lmsw(struct interp *ip, const struct op *op)
{
	uint16_t value;

	if (ip->cpu.cpl)
		fault_at_error(ip, op, X86_GP, 0);
	value = operand_read(ip, op, 2);
	sys_begin(ip, op);
	x86_lmsw(&ip->cpu, value);
	sys_end(ip, op);
}

/* imm: register number, | 16 for DRn; src: the general register. */
static void mov_from_control(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	uint64_t value;

	sys_begin(ip, op);
	need_cpl0(ip);
	value = op->imm & 16 ? x86_get_dr(cpu, op->imm & 15) : x86_get_cr(cpu, op->imm);
	reg_set(ip, op->src, value, cpu->code_mode == X86_CODE64 ? 8 : 4);
	sys_end(ip, op);
}

static void mov_to_control(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	uint64_t value = cpu->code_mode == X86_CODE64 ? reg_get64(ip, op->src) : reg_get32(ip, op->src);

	sys_begin(ip, op);
	need_cpl0(ip);
	if (op->imm & 16)
		x86_set_dr(cpu, op->imm & 15, value);
	else
		x86_set_cr(cpu, op->imm, value);
	sys_end(ip, op);
}

static void clts(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	need_cpl0(ip);
	ip->cpu.s.cr0 &= ~X86_CR0_TS;
	sys_end(ip, op);
}

static void rdmsr(struct interp *ip, const struct op *op)
{
	uint64_t value;

	sys_begin(ip, op);
	need_cpl0(ip);
	interp_account(ip);
	value = x86_rdmsr(&ip->cpu, reg_get32(ip, X86_RCX * 8));
	reg_set32(ip, X86_RAX * 8, (uint32_t)value);
	reg_set32(ip, X86_RDX * 8, value >> 32);
	sys_end(ip, op);
}

static void wrmsr(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	need_cpl0(ip);
	interp_account(ip);
	x86_wrmsr(&ip->cpu, reg_get32(ip, X86_RCX * 8),
		  (uint64_t)reg_get32(ip, X86_RDX * 8) << 32 | reg_get32(ip, X86_RAX * 8));
	sys_end(ip, op);
}

static void invlpg(struct interp *ip, const struct op *op)
{
	uint64_t sum = op_sum(ip, op), gva;

	if (ip->cpu.cpl)
		fault_at_error(ip, op, X86_GP, 0);
	if ((op->ea & 15) == EA_FLAT || (op->ea & 15) == EA_64_A32)
		gva = op_address(ip, op, 1, X86_READ);
	else
		gva = (uint32_t)(((op->ea & 15) == EA_16 ? (uint16_t)sum : sum) + ip->cpu.s.seg[op_segment(op)].base);
	sys_begin(ip, op);
	x86_tlb_flush_page(&ip->cpu, gva);
	sys_end(ip, op);
}

static void invpcid(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	uint64_t type = cpu->code_mode == X86_CODE64 ? reg_get64(ip, op->dst) : reg_get32(ip, op->dst), descriptor[2];

	if (cpu->cpl)
		fault_at_error(ip, op, X86_GP, 0);
	mem_read(ip, op, op_address(ip, op, 16, X86_READ), descriptor, sizeof(descriptor));
	sys_begin(ip, op);
	x86_invpcid(cpu, type, descriptor[0], descriptor[1]);
	sys_end(ip, op);
}

/* INVD, WBINVD: caches are the host's business. */
static void cache_control(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	need_cpl0(ip);
	sys_end(ip, op);
}

static void swapgs(struct interp *ip, const struct op *op)
{
	struct x86_state *s = &ip->cpu.s;
	uint64_t base;

	sys_begin(ip, op);
	need_cpl0(ip);
	base = s->seg[X86_GS].base;
	s->seg[X86_GS].base = s->kernel_gs_base;
	s->kernel_gs_base = base;
	sys_end(ip, op);
}

/* STAC and CLAC (imm 1 and 0) */
static void set_ac(struct interp *ip, const struct op *op)
{
	if (ip->cpu.cpl)
		fault_at(ip, op, X86_UD);
	x86_set_ac(&ip->cpu, op->imm);
	next(ip, op);
}

static void xsetbv(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	if (!(ip->cpu.s.cr4 & X86_CR4_OSXSAVE))
		x86_raise(&ip->cpu, X86_UD);
	need_cpl0(ip);
	x86_xsetbv(&ip->cpu, reg_get32(ip, X86_RCX * 8),
		   (uint64_t)reg_get32(ip, X86_RDX * 8) << 32 | reg_get32(ip, X86_RAX * 8));
	sys_end(ip, op);
}

/* --- tables --- */

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn;
	uint64_t imm;
	bool last;
} plain_table[] = {
	{ZYDIS_MNEMONIC_CLI, cli},
	{ZYDIS_MNEMONIC_STI, sti, 0, true},
	{ZYDIS_MNEMONIC_HLT, hlt, 0, true},
	{ZYDIS_MNEMONIC_SYSCALL, syscall_enter, 0, true},
	{ZYDIS_MNEMONIC_SYSENTER, sysenter, 0, true},
	{ZYDIS_MNEMONIC_CLTS, clts, 0, true},
	{ZYDIS_MNEMONIC_RDMSR, rdmsr, 0, true},
	{ZYDIS_MNEMONIC_WRMSR, wrmsr, 0, true},
	{ZYDIS_MNEMONIC_INVD, cache_control, 0, true},
	{ZYDIS_MNEMONIC_WBINVD, cache_control, 0, true},
	{ZYDIS_MNEMONIC_SWAPGS, swapgs, 0, true},
	{ZYDIS_MNEMONIC_CLAC, set_ac, 0},
	{ZYDIS_MNEMONIC_STAC, set_ac, 1},
	{ZYDIS_MNEMONIC_XSETBV, xsetbv, 0, true},
};

/* One r/m operand. */
static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn;
	uint64_t imm;
	bool last;
} rm_table[] = {

	{ZYDIS_MNEMONIC_SMSW, smsw, 0},
	{ZYDIS_MNEMONIC_LMSW, lmsw, 0, true},

	{ZYDIS_MNEMONIC_INVLPG, invlpg, 0, true},
};

static int special_class(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER ? (int)ZydisRegisterGetClass(operand->reg.value) : -1;
}

/* MOV with a control or debug register. */
static bool select_mov(struct decode *d)
{
	struct op *op = d->op;

	for (unsigned i = 0; i < 2; i++) {
		const ZydisDecodedOperand *special = &d->operands[i], *other = &d->operands[!i];
		int class = special_class(special);

		if (class != ZYDIS_REGCLASS_CONTROL && class != ZYDIS_REGCLASS_DEBUG)
			continue;
		op->imm = ZydisRegisterGetId(special->reg.value) | (class == ZYDIS_REGCLASS_DEBUG ? 16 : 0);
		op->src = decode_reg(other->reg.value);
		op->fn = i == 0 ? mov_to_control : mov_from_control;
		d->last = true;
		return true;
	}
	return false;
}

static bool select_widths(struct decode *d)
{
	struct op *op = d->op;
	unsigned width = decode_log2(d->insn.operand_width);
	bool rex_w = d->insn.attributes & ZYDIS_ATTRIB_HAS_REX && d->insn.raw.rex.W;

	op->length_size = d->insn.length | width << 4;
	d->last = true;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
		op->fn = iret;
		return true;
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_SYSEXIT:
		op->length_size = d->insn.length | (rex_w ? 3 : 2) << 4;
		op->fn = d->insn.mnemonic == ZYDIS_MNEMONIC_SYSRET ? syscall_return : sysexit;
		return true;
	default:
		d->last = false;
		return false;
	}
}

bool select_system(struct decode *d)
{
	struct op *op = d->op;

	if (d->insn.mnemonic == ZYDIS_MNEMONIC_MOV)
		return select_mov(d);
	for (size_t i = 0; i < ARRAY_SIZE(plain_table); i++)
		if (plain_table[i].mnemonic == d->insn.mnemonic) {
			op->fn = plain_table[i].fn;
			op->imm = plain_table[i].imm;
			d->last = plain_table[i].last;
			return true;
		}
	for (size_t i = 0; i < ARRAY_SIZE(rm_table); i++)
		if (rm_table[i].mnemonic == d->insn.mnemonic) {
			decode_rm(d, &d->operands[0]);
			op->length_size = d->insn.length | decode_log2(d->insn.operand_width) << 4;
			op->fn = rm_table[i].fn;
			op->imm = rm_table[i].imm;
			d->last = rm_table[i].last;
			return true;
		}
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_INVPCID) {
		decode_memory(d, &d->operands[1]);
		op->dst = decode_reg(d->operands[0].reg.value);
		op->fn = invpcid;
		d->last = true;
		return true;
	}
	return select_widths(d);
}
