/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What user code may execute besides arithmetic: flag instructions, NOPs and hints, fences, CPUID, RDTSC(P), RDPMC,
 * RDPID, RDRAND, RDSEED, BOUND, INTO, INT n, ARPL, SALC, XGETBV, FS/GS base, protection keys, UD.
 */
#include "cpu/interp/internal.h"

#include <sched.h>
#include <sys/random.h>

static void clc(struct interp *ip, const struct op *op)
{
	ip->flags &= ~FLAG_CF;
	next(ip, op);
}

static void stc(struct interp *ip, const struct op *op)
{
	ip->flags |= FLAG_CF;
	next(ip, op);
}

static void cmc(struct interp *ip, const struct op *op)
{
	ip->flags ^= FLAG_CF;
	next(ip, op);
}

static void cld(struct interp *ip, const struct op *op)
{
	ip->cpu.s.rflags &= ~(uint64_t)X86_DF;
	next(ip, op);
}

static void std(struct interp *ip, const struct op *op)
{
	ip->cpu.s.rflags |= X86_DF;
	next(ip, op);
}

static void salc(struct interp *ip, const struct op *op)
{
	reg_set8(ip, 0, ip->flags & FLAG_CF ? 0xff : 0);
	next(ip, op);
}

static void nop(struct interp *ip, const struct op *op)
{
	next(ip, op);
}

static void fence(struct interp *ip, const struct op *op)
{
	atomic_thread_fence(memory_order_seq_cst);
	next(ip, op);
}

void interp_pause(struct x86_cpu *cpu)
{
	__builtin_ia32_pause();
	if (!(++interp_of(cpu)->pauses & 63))
		sched_yield();
}

static void pause_hint(struct interp *ip, const struct op *op)
{
	interp_pause(&ip->cpu);
	next(ip, op);
}

/* CLFLUSH and its kin fault as a load of one byte does. */
static void touch(struct interp *ip, const struct op *op)
{
	mem_load8(ip, op, op_address(ip, op, 1, X86_READ));
	next(ip, op);
}

static void cpuid(struct interp *ip, const struct op *op)
{
	uint32_t out[4];

	sys_begin(ip, op);
	x86_cpuid(&ip->cpu, reg_get32(ip, X86_RAX * 8), reg_get32(ip, X86_RCX * 8), out);
	reg_set32(ip, X86_RAX * 8, out[0]);
	reg_set32(ip, X86_RBX * 8, out[1]);
	reg_set32(ip, X86_RCX * 8, out[2]);
	reg_set32(ip, X86_RDX * 8, out[3]);
	sys_end(ip, op);
}

/* imm: 1 for RDTSCP. */
static void rdtsc(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	uint64_t tsc;

	sys_begin(ip, op);
	if (cpu->s.cr4 & X86_CR4_TSD && cpu->cpl && cpu->s.cr0 & X86_CR0_PE)
		x86_raise_error(cpu, X86_GP, 0);
	interp_account(ip);
	tsc = x86_rdtsc(cpu);
	reg_set32(ip, X86_RAX * 8, (uint32_t)tsc);
	reg_set32(ip, X86_RDX * 8, tsc >> 32);
	if (op->imm)
		reg_set32(ip, X86_RCX * 8, (uint32_t)cpu->s.tsc_aux);
	sys_end(ip, op);
}

/* No counters are offered. */
static void rdpmc(struct interp *ip, const struct op *op)
{
	fault_at_error(ip, op, X86_GP, 0);
}

static void rdpid(struct interp *ip, const struct op *op)
{
	reg_set64(ip, op->src, (uint32_t)ip->cpu.s.tsc_aux);
	next(ip, op);
}

/* A deterministic run draws the same numbers every time (splitmix64). */
static uint64_t stepped_random(struct interp *ip)
{
	uint64_t z = ip->random_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static void random_number(struct interp *ip, const struct op *op)
{
	uint64_t value = 0;
	bool ok = true;

	if (ip->env.stepped)
		value = stepped_random(ip);
	else
		ok = getrandom(&value, sizeof(value), GRND_NONBLOCK) == sizeof(value);

	reg_set(ip, op->src, ok ? value : 0, op_size(op));
	ip->flags = ok ? FLAG_CF : 0;
	next(ip, op);
}

static void bound(struct interp *ip, const struct op *op)
{
	unsigned size = op_size(op);
	uint64_t sum = op_sum(ip, op);
	int64_t low = mem_load(ip, op, op_address_slow(ip, op, sum, size, X86_READ), size);
	int64_t high = mem_load(ip, op, op_address_slow(ip, op, sum + size, size, X86_READ), size);
	int64_t index = reg_get(ip, op->dst, size);

	if (size == 2) {
		low = (int16_t)low;
		high = (int16_t)high;
		index = (int16_t)index;
	} else {
		low = (int32_t)low;
		high = (int32_t)high;
		index = (int32_t)index;
	}
	if (index < low || index > high)
		fault_at(ip, op, X86_BR);
	next(ip, op);
}

/* imm: the vector. */
static void interrupt(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	ip->no_trap = true;
	x86_software_interrupt(&ip->cpu, op->imm, sys_next_rip(ip, op));
	sys_jumped(ip);
}

static void into(struct interp *ip, const struct op *op)
{
	sys_begin(ip, op);
	if (ip->cpu.s.rflags & X86_OF) {
		ip->no_trap = true;
		x86_software_interrupt(&ip->cpu, X86_OFV, sys_next_rip(ip, op));
		sys_jumped(ip);
	} else {
		sys_end(ip, op);
	}
}

static void arpl(struct interp *ip, const struct op *op)
{
	uint64_t selector = operand_read(ip, op, 2);
	unsigned wanted = reg_get16(ip, op->dst) & 3;

	if (!ip->cpu.protected_mode)
		fault_at(ip, op, X86_UD);
	if ((selector & 3) < wanted) {
		operand_write(ip, op, (selector & ~3ull) | wanted, 2);
		ip->flags |= FLAG_ZF;
	} else {
		ip->flags &= ~FLAG_ZF;
	}
	next(ip, op);
}

static void xgetbv(struct interp *ip, const struct op *op)
{
	const struct x86_cpu *cpu = &ip->cpu;
	uint32_t index = reg_get32(ip, X86_RCX * 8);
	uint64_t value;

	if (!(cpu->s.cr4 & X86_CR4_OSXSAVE))
		fault_at(ip, op, X86_UD);
	if (index > 1 || (index == 1 && !cpu->features->xsavec))
		fault_at_error(ip, op, X86_GP, 0);
	value = cpu->s.xcr0; /* XINUSE as if everything were in use */
	reg_set32(ip, X86_RAX * 8, (uint32_t)value);
	reg_set32(ip, X86_RDX * 8, value >> 32);
	next(ip, op);
}

/* RDFSBASE...: imm is the segment. */
static void read_base(struct interp *ip, const struct op *op)
{
	if (!(ip->cpu.s.cr4 & X86_CR4_FSGSBASE))
		fault_at(ip, op, X86_UD);
	reg_set(ip, op->src, ip->cpu.s.seg[op->imm].base, op_size(op));
	next(ip, op);
}

static void write_base(struct interp *ip, const struct op *op)
{
	uint64_t base = reg_get(ip, op->src, op_size(op));

	if (!(ip->cpu.s.cr4 & X86_CR4_FSGSBASE))
		fault_at(ip, op, X86_UD);
	if ((uint64_t)((int64_t)(base << 16) >> 16) != base)
		fault_at_error(ip, op, X86_GP, 0);
	ip->cpu.s.seg[op->imm].base = base;
	next(ip, op);
}

static void rdpkru(struct interp *ip, const struct op *op)
{
	if (!(ip->cpu.s.cr4 & X86_CR4_PKE))
		fault_at(ip, op, X86_UD);
	if (reg_get32(ip, X86_RCX * 8))
		fault_at_error(ip, op, X86_GP, 0);
	reg_set32(ip, X86_RAX * 8, ip->cpu.s.pkru);
	reg_set32(ip, X86_RDX * 8, 0);
	next(ip, op);
}

static void wrpkru(struct interp *ip, const struct op *op)
{
	if (!(ip->cpu.s.cr4 & X86_CR4_PKE))
		fault_at(ip, op, X86_UD);
	if (reg_get32(ip, X86_RCX * 8) || reg_get32(ip, X86_RDX * 8))
		fault_at_error(ip, op, X86_GP, 0);
	sys_begin(ip, op);
	x86_set_pkru(&ip->cpu, reg_get32(ip, X86_RAX * 8));
	sys_end(ip, op);
}

/* VMCALL and VMMCALL: no hypercall is offered, but a guest that saw the KVM leaves may ask. */
static void hypercall(struct interp *ip, const struct op *op)
{
	const struct cpuid_table *table = ip->cpu.cpuid;

	for (size_t i = 0; i < table->count; i++)
		if (table->entries[i].leaf == 0x40000000) {
			reg_set64(ip, X86_RAX * 8, (uint64_t)-1000); /* -KVM_ENOSYS */
			next(ip, op);
			return;
		}
	fault_at(ip, op, X86_UD);
}

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn;
	uint64_t imm;
	bool last;
} misc_table[] = {
	{ZYDIS_MNEMONIC_CLC, clc},
	{ZYDIS_MNEMONIC_STC, stc},
	{ZYDIS_MNEMONIC_CMC, cmc},
	{ZYDIS_MNEMONIC_CLD, cld},
	{ZYDIS_MNEMONIC_STD, std},
	{ZYDIS_MNEMONIC_SALC, salc},
	{ZYDIS_MNEMONIC_NOP, nop},
	{ZYDIS_MNEMONIC_ENDBR32, nop},
	{ZYDIS_MNEMONIC_ENDBR64, nop},
	{ZYDIS_MNEMONIC_RDSSPD, nop},
	{ZYDIS_MNEMONIC_RDSSPQ, nop},
	{ZYDIS_MNEMONIC_PREFETCH, nop},
	{ZYDIS_MNEMONIC_PREFETCHW, nop},
	{ZYDIS_MNEMONIC_PREFETCHT0, nop},
	{ZYDIS_MNEMONIC_PREFETCHT1, nop},
	{ZYDIS_MNEMONIC_PREFETCHT2, nop},
	{ZYDIS_MNEMONIC_PREFETCHNTA, nop},
	{ZYDIS_MNEMONIC_PREFETCHWT1, nop},
	{ZYDIS_MNEMONIC_MFENCE, fence},
	{ZYDIS_MNEMONIC_LFENCE, fence},
	{ZYDIS_MNEMONIC_SFENCE, fence},
	{ZYDIS_MNEMONIC_SERIALIZE, fence},
	{ZYDIS_MNEMONIC_PAUSE, pause_hint},
	{ZYDIS_MNEMONIC_CPUID, cpuid, 0, true},
	{ZYDIS_MNEMONIC_RDTSC, rdtsc, 0, true},
	{ZYDIS_MNEMONIC_RDTSCP, rdtsc, 1, true},
	{ZYDIS_MNEMONIC_RDPMC, rdpmc, 0, true},
	{ZYDIS_MNEMONIC_INT3, interrupt, X86_BP, true},
	{ZYDIS_MNEMONIC_INT1, interrupt, X86_DB, true},
	{ZYDIS_MNEMONIC_INTO, into, 0, true},
	{ZYDIS_MNEMONIC_XGETBV, xgetbv},
	{ZYDIS_MNEMONIC_RDPKRU, rdpkru},
	{ZYDIS_MNEMONIC_WRPKRU, wrpkru, 0, true},
	{ZYDIS_MNEMONIC_VMCALL, hypercall},
	{ZYDIS_MNEMONIC_VMMCALL, hypercall},
	{ZYDIS_MNEMONIC_UD0, op_undefined, X86_UD, true},
	{ZYDIS_MNEMONIC_UD1, op_undefined, X86_UD, true},
	{ZYDIS_MNEMONIC_UD2, op_undefined, X86_UD, true},
	{ZYDIS_MNEMONIC_RSM, op_undefined, X86_UD, true},
};

static bool select_operand_forms(struct decode *d)
{
	struct op *op = d->op;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB:
		decode_memory(d, &d->operands[0]);
		op->fn = touch;
		return true;
	case ZYDIS_MNEMONIC_RDPID:
		decode_rm(d, &d->operands[0]);
		op->fn = rdpid;
		return true;
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
		decode_rm(d, &d->operands[0]);
		op->fn = random_number;
		return true;
	case ZYDIS_MNEMONIC_BOUND:
		op->dst = decode_reg(d->operands[0].reg.value);
		decode_memory(d, &d->operands[1]);
		op->fn = bound;
		return true;
	case ZYDIS_MNEMONIC_INT:
		op->imm = d->operands[0].imm.value.u & 0xff;
		op->fn = interrupt;
		d->last = true;
		return true;
	case ZYDIS_MNEMONIC_ARPL:
		decode_rm(d, &d->operands[0]);
		op->dst = decode_reg(d->operands[1].reg.value);
		op->fn = arpl;
		return true;
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
		decode_rm(d, &d->operands[0]);
		op->imm = d->insn.mnemonic == ZYDIS_MNEMONIC_RDFSBASE || d->insn.mnemonic == ZYDIS_MNEMONIC_WRFSBASE
				  ? X86_FS
				  : X86_GS;
		op->fn = d->insn.mnemonic == ZYDIS_MNEMONIC_RDFSBASE || d->insn.mnemonic == ZYDIS_MNEMONIC_RDGSBASE
				 ? read_base
				 : write_base;
		return true;
	default:
		return false;
	}
}

bool select_misc(struct decode *d)
{
	for (size_t i = 0; i < ARRAY_SIZE(misc_table); i++)
		if (misc_table[i].mnemonic == d->insn.mnemonic) {
			d->op->fn = misc_table[i].fn;
			d->op->imm = misc_table[i].imm;
			d->last = misc_table[i].last;
			return true;
		}
	return select_operand_forms(d);
}
