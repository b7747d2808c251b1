/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87, MMX, SSE and AVX: what native.h executes, with the checks its contract leaves to the caller, and the
 * instructions around the FPU state: FXSAVE and XSAVE family, FSAVE, FSTENV and their loads (SDM 1 8.1.10 has the
 * images), LDMXCSR.
 *
 * Left out: FERR# and IRQ 13 (CR0.NE clear): #MF is raised instead.
 */
#include "cpu/interp/internal.h"

/* op->data of a native instruction. */
struct native_op {
	struct native_code code;
	uint8_t need;       /* enum FPU_* */
	bool x87_operation; /* updates FOP, FIP, FDP */
	bool x87_init;
	bool waits; /* a pending x87 exception comes before anything else */
	uint16_t fop;
};

/* ES and B say whether an unmasked exception is pending; loads of a state compute them. */
static void summarize_exceptions(struct x86_fpu *fpu)
{
	if (fpu->fsw & ~fpu->fcw & 0x3f)
		fpu->fsw |= 0x8080;
	else
		fpu->fsw &= 0x7f7f;
}

static void check_pending(struct interp *ip, const struct op *op)
{
	if (ip->cpu.s.fpu.fsw & 0x80)
		fault_at(ip, op, X86_MF);
}

static void note_x87(struct interp *ip, const struct op *op, const struct native_op *native, bool memory,
		     uint64_t offset)
{
	struct x86_fpu *fpu = &ip->cpu.s.fpu;

	if (native->x87_init) {
		fpu->fop = 0;
		fpu->fip = fpu->fdp = 0;
		fpu->fcs = fpu->fds = 0;
		return;
	}
	fpu->fop = native->fop;
	fpu->fip = ip->cpu.s.rip + op->offset;
	fpu->fcs = ip->cpu.s.seg[X86_CS].selector;
	if (memory) {
		fpu->fdp = offset;
		fpu->fds = ip->cpu.s.seg[op_segment(op)].selector;
	}
}

ALWAYS_INLINE void native_run(struct interp *ip, const struct op *op, const struct native_op *native, void *memory)
{
	int vector;

	if (native->code.reads_flags || native->code.writes_flags)
		flags_sync(ip);
	vector = native->code.run(&ip->cpu.s, memory);
	if (unlikely(vector))
		fault_at(ip, op, vector == X86_XM && !(ip->cpu.s.cr4 & X86_CR4_OSXMMEXCPT) ? X86_UD : vector);
	if (native->code.writes_flags)
		flags_import(ip);
}

static void native_registers(struct interp *ip, const struct op *op)
{
	const struct native_op *native = op->data;

	if (unlikely(native->need & ip->fpu_denied))
		fpu_refuse(ip, op, native->need);
	native_run(ip, op, native, NULL);
	if (native->x87_operation)
		note_x87(ip, op, native, false, 0);
	next(ip, op);
}

static void NOINLINE native_bounced(struct interp *ip, const struct op *op, const struct native_op *native,
				    uint64_t gva)
{
	unsigned size = native->code.memory_bytes;

	if (native->code.memory_written)
		mem_probe(ip, op, gva, size);
	mem_read(ip, op, gva, ip->bounce, size);
	native_run(ip, op, native, ip->bounce);
	if (native->code.memory_written)
		mem_write(ip, op, gva, ip->bounce, size);
}

/* Behind 4 GiB the first bytes follow, but in 64-bit code. gva lies before its operand where what comes first is left out. */
static uint64_t element_at(const struct interp *ip, uint64_t gva, unsigned at)
{
	return ip->cpu.code_mode == X86_CODE64 ? gva + at : (uint32_t)(gva + at);
}

/* An operand that is not all there, or not all in one page, and of which the mask may leave out the rest. */
static void NOINLINE native_chosen(struct interp *ip, const struct op *op, const struct native_op *native, uint64_t gva)
{
	const struct native_masked *masked = &native->code.masked;
	const uint64_t touched = native_touched(masked, &ip->cpu.s);
	const unsigned size = masked->element;
	uint64_t rest, value;
	unsigned at;

	memset(ip->bounce, 0, sizeof(ip->bounce));
	if (masked->whole_faults)
		mem_probe(ip, op, gva, native->code.memory_bytes);
	for (rest = touched; rest; rest &= rest - 1) {
		at = (unsigned)__builtin_ctzll(rest) * size;
		if (native->code.memory_written) {
			mem_probe(ip, op, element_at(ip, gva, at), size);
			continue;
		}
		value = mem_load(ip, op, element_at(ip, gva, at), size);
		memcpy(ip->bounce + at, &value, size);
	}
	native_run(ip, op, native, ip->bounce);
	for (rest = native->code.memory_written ? touched : 0; rest; rest &= rest - 1) {
		at = (unsigned)__builtin_ctzll(rest) * size;
		value = 0;
		memcpy(&value, ip->bounce + at, size);
		mem_store(ip, op, element_at(ip, gva, at), value, size);
	}
}

/* As op_address; segments are checked for the elements that the mask chooses. Those may lie behind what an address of 16 bits
 * reaches. */
static uint64_t native_address(struct interp *ip, const struct op *op, const struct native_op *native, unsigned access)
{
	const struct native_masked *masked = &native->code.masked;
	const unsigned kind = op->ea & 15;
	unsigned first, last;
	uint64_t touched, sum;

	if (likely(!masked->opmask) || (kind != EA_32 && kind != EA_16) || masked->whole_faults)
		return op_address(ip, op, native->code.memory_bytes, access);
	touched = native_touched(masked, &ip->cpu.s);
	sum = kind == EA_16 ? (uint16_t)op_sum(ip, op) : (uint32_t)op_sum(ip, op);
	if (!touched)
		return sum;
	first = (unsigned)__builtin_ctzll(touched) * masked->element;
	last = (64 - (unsigned)__builtin_clzll(touched)) * masked->element;
	ip->cur = op;
	return x86_linear(&ip->cpu, op_segment(op), sum + first, last - first, access) - first;
}

static void native_memory(struct interp *ip, const struct op *op)
{
	const struct native_op *native = op->data;
	unsigned size = native->code.memory_bytes;
	bool write = native->code.memory_written;
	const struct x86_tlb_entry *slot;
	bool misaligned;
	uint64_t gva;

	if (unlikely(native->need & ip->fpu_denied))
		fpu_refuse(ip, op, native->need);
	if (native->waits)
		check_pending(ip, op);
	gva = native_address(ip, op, native, write ? X86_WRITE : X86_READ);
	misaligned = native->code.aligned && unlikely(gva & (native->code.alignment - 1));
	/* A mask that leaves everything out makes AMD's not look at the alignment. */
	if (misaligned && !(native->code.masked.opmask && !native_touched(&native->code.masked, &ip->cpu.s)))
		fault_at_error(ip, op, X86_GP, 0);
	slot = mem_slot(ip, gva);
	if (!misaligned && mem_hit(write ? slot->tag_write : slot->tag_read, gva, size)) {
		native_run(ip, op, native, (void *)(gva + slot->addend));
	} else if (native->code.masked.opmask) {
		native_chosen(ip, op, native, gva);
	} else if (write && native->code.memory_read) {
		void *p = mem_update_slow(ip, op, gva, size);

		native_run(ip, op, native, p);
		mem_update_end(ip, op, gva, size, p);
	} else {
		native_bounced(ip, op, native, gva);
	}
	if (native->x87_operation)
		note_x87(ip, op, native, true, op_sum(ip, op));
	next(ip, op);
}

static bool is_x87_control(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW:
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FWAIT:
	case ZYDIS_MNEMONIC_FNOP:
		return true;
	default:
		return false;
	}
}

static uint8_t needs_of(const struct native_code *code, ZydisMnemonic mnemonic)
{
	uint8_t need = (code->uses_x87 ? FPU_X87 : 0) | (code->uses_mmx ? FPU_MMX : 0) |
		       (code->uses_sse ? FPU_SSE : 0) | (code->uses_avx ? FPU_AVX : 0) |
		       (code->uses_avx512 ? FPU_AVX512 : 0);

	return mnemonic == ZYDIS_MNEMONIC_FWAIT ? FPU_WAIT : need;
}

bool select_native(struct decode *d)
{
	struct op *op = d->op;
	struct native_code code = {0};
	struct native_op *native;
	int ret = native_compile(d->ip->cache.native, &d->insn, d->operands, &code);

	if (ret == -ENOSPC)
		d->no_memory = true;
	if (ret)
		return false;
	native = cache_alloc_extra(d->ip, sizeof(*native));
	if (!native) {
		d->no_memory = true;
		return false;
	}
	*native = (struct native_op){.code = code, .need = needs_of(&code, d->insn.mnemonic)};
	native->x87_init = d->insn.mnemonic == ZYDIS_MNEMONIC_FNINIT;
	native->x87_operation = code.uses_x87 && !is_x87_control(d->insn.mnemonic);
	native->waits = (native->x87_operation || code.uses_mmx || d->insn.mnemonic == ZYDIS_MNEMONIC_FLDCW) &&
			code.memory_bytes;
	native->fop = (d->insn.opcode & 7) << 8 | d->insn.raw.modrm.mod << 6 | d->insn.raw.modrm.reg << 3 |
		      d->insn.raw.modrm.rm;
	op->data = native;
	op->fn = native_registers;
	if (!code.memory_bytes)
		return true;
	for (unsigned i = 0; i < d->insn.operand_count; i++)
		if (d->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			decode_memory(d, &d->operands[i]);
			op->fn = native_memory;
			return true;
		}
	return false;
}

/* --- MXCSR --- */

static void ldmxcsr(struct interp *ip, const struct op *op)
{
	uint32_t value;

	if (ip->fpu_denied & op->imm)
		fpu_refuse(ip, op, op->imm);
	value = mem_load32(ip, op, op_address(ip, op, 4, X86_READ));
	if (value & ~0xffffu)
		fault_at_error(ip, op, X86_GP, 0);
	ip->cpu.s.fpu.mxcsr = value;
	next(ip, op);
}

static void stmxcsr(struct interp *ip, const struct op *op)
{
	if (ip->fpu_denied & op->imm)
		fpu_refuse(ip, op, op->imm);
	mem_store32(ip, op, op_address(ip, op, 4, X86_WRITE), ip->cpu.s.fpu.mxcsr);
	next(ip, op);
}

/* --- FXSAVE, XSAVE --- */

enum state_form {
	FORM_FXSAVE,
	FORM_FXRSTOR,
	FORM_XSAVE,
	FORM_XSAVEOPT,
	FORM_XSAVEC,
	FORM_XSAVES,
	FORM_XRSTOR,
	FORM_XRSTORS
};

/* imm: state_form; dst: REX.W. */
static void extended_state(struct interp *ip, const struct op *op)
{
	struct x86_cpu *cpu = &ip->cpu;
	enum state_form form = op->imm;
	uint64_t mask = (uint64_t)reg_get32(ip, X86_RDX * 8) << 32 | reg_get32(ip, X86_RAX * 8), gva;

	if (form <= FORM_FXRSTOR) {
		if (ip->fpu_denied & FPU_X87)
			fpu_refuse(ip, op, FPU_X87);
	} else {
		if (!(cpu->s.cr4 & X86_CR4_OSXSAVE))
			fault_at(ip, op, X86_UD);
		if ((form == FORM_XSAVES || form == FORM_XRSTORS) && cpu->cpl)
			fault_at_error(ip, op, X86_GP, 0);
		if (cpu->s.cr0 & X86_CR0_TS)
			fault_at(ip, op, X86_NM);
	}
	gva = op_address(ip, op, form <= FORM_FXRSTOR ? 512 : 576,
			 form == FORM_FXRSTOR || form >= FORM_XRSTOR ? X86_READ : X86_WRITE);
	mem_check(ip, op, gva, form <= FORM_FXRSTOR ? 512 : 576);
	switch (form) {
	case FORM_FXSAVE:
		x86_fxsave(cpu, gva, op->dst);
		break;
	case FORM_FXRSTOR:
		x86_fxrstor(cpu, gva, op->dst);
		summarize_exceptions(&cpu->s.fpu);
		break;
	case FORM_XRSTOR:
	case FORM_XRSTORS:
		x86_xrstor(cpu, gva, mask, form == FORM_XRSTORS, op->dst);
		summarize_exceptions(&cpu->s.fpu);
		break;
	default:
		x86_xsave(cpu, gva, mask, (enum x86_xsave_form)(form - FORM_XSAVE), op->dst);
		break;
	}
	next(ip, op);
}

/* --- FSTENV, FLDENV, FSAVE, FRSTOR --- */

/* The full tag word: 0 valid, 1 zero, 2 special, 3 empty, by physical register. */
static uint16_t full_tags(const struct x86_fpu *fpu)
{
	unsigned top = fpu->fsw >> 11 & 7;
	uint16_t tags = 0;

	for (unsigned physical = 0; physical < 8; physical++) {
		const uint8_t *st = fpu->st[(physical - top) & 7];
		uint64_t significand = load_le64(st);
		unsigned exponent = load_le16(st + 8) & 0x7fff, tag;

		if (!(fpu->ftw >> physical & 1))
			tag = 3;
		else if (exponent == 0x7fff || (exponent == 0 && significand) || (exponent && !(significand >> 63)))
			tag = 2;
		else
			tag = exponent == 0 ? 1 : 0;
		tags |= tag << 2 * physical;
	}
	return tags;
}

/* Bytes of the environment: 14 with 16-bit operands, else 28. Layout by CR0.PE and VM. */
static unsigned store_environment(struct interp *ip, uint8_t *image, unsigned size)
{
	const struct x86_fpu *fpu = &ip->cpu.s.fpu;
	bool real = !ip->cpu.protected_mode;
	uint16_t tags = full_tags(fpu);

	if (size == 2) {
		store_le16(image, fpu->fcw);
		store_le16(image + 2, fpu->fsw);
		store_le16(image + 4, tags);
		store_le16(image + 6, fpu->fip);
		store_le16(image + 8, real ? (fpu->fip >> 4 & 0xf000) | (fpu->fop & 0x7ff) : fpu->fcs);
		store_le16(image + 10, fpu->fdp);
		store_le16(image + 12, real ? fpu->fdp >> 4 & 0xf000 : fpu->fds);
		return 14;
	}
	store_le32(image, 0xffff0000 | fpu->fcw);
	store_le32(image + 4, 0xffff0000 | fpu->fsw);
	store_le32(image + 8, 0xffff0000 | tags);
	if (real) {
		store_le32(image + 12, 0xffff0000 | (fpu->fip & 0xffff));
		store_le32(image + 16, (fpu->fip >> 4 & 0x0ffff000) | (fpu->fop & 0x7ff));
		store_le32(image + 20, 0xffff0000 | (fpu->fdp & 0xffff));
		store_le32(image + 24, fpu->fdp >> 4 & 0x0ffff000);
	} else {
		store_le32(image + 12, fpu->fip);
		store_le32(image + 16, (uint32_t)(fpu->fop & 0x7ff) << 16 | fpu->fcs);
		store_le32(image + 20, fpu->fdp);
		store_le32(image + 24, 0xffff0000 | fpu->fds);
	}
	return 28;
}

static void load_environment(struct interp *ip, const uint8_t *image, unsigned size)
{
	struct x86_fpu *fpu = &ip->cpu.s.fpu;
	bool real = !ip->cpu.protected_mode;
	unsigned stride = size == 2 ? 2 : 4;
	uint16_t tags = load_le16(image + 2 * stride);
	uint32_t word[4];

	for (unsigned i = 0; i < 4; i++)
		word[i] = stride == 2 ? load_le16(image + 6 + 2 * i) : load_le32(image + 12 + 4 * i);
	fpu->fcw = (load_le16(image) & 0x1f3f) | 0x40;
	fpu->fsw = load_le16(image + stride);
	summarize_exceptions(fpu);
	fpu->ftw = 0;
	for (unsigned i = 0; i < 8; i++)
		if ((tags >> 2 * i & 3) != 3)
			fpu->ftw |= 1 << i;
	if (real) {
		fpu->fip = (word[0] & 0xffff) | (stride == 2 ? (word[1] & 0xf000) << 4 : (word[1] & 0x0ffff000) << 4);
		fpu->fop = word[1] & 0x7ff;
		fpu->fdp = (word[2] & 0xffff) | (stride == 2 ? (word[3] & 0xf000) << 4 : (word[3] & 0x0ffff000) << 4);
		fpu->fcs = fpu->fds = 0;
	} else {
		fpu->fip = word[0];
		fpu->fcs = word[1];
		fpu->fop = stride == 2 ? 0 : word[1] >> 16 & 0x7ff;
		fpu->fdp = word[2];
		fpu->fds = word[3];
	}
}

/* ST(i) is physical register (TOP + i) mod 8, which stays where it is when TOP changes. */
static void turn_stack(struct x86_fpu *fpu, unsigned old_top, unsigned new_top)
{
	uint8_t turned[8][16];

	for (unsigned i = 0; i < 8; i++)
		memcpy(turned[i], fpu->st[(new_top + i - old_top) & 7], sizeof(turned[i]));
	memcpy(fpu->st, turned, sizeof(turned));
}

static void reset_x87(struct x86_fpu *fpu)
{
	turn_stack(fpu, fpu->fsw >> 11 & 7, 0);
	fpu->fcw = 0x37f;
	fpu->fsw = 0;
	fpu->ftw = 0;
	fpu->fop = 0;
	fpu->fip = fpu->fdp = 0;
	fpu->fcs = fpu->fds = 0;
}

/* Writes an image wider than mem_write takes; nothing is written when any part would fault. */
static void write_image(struct interp *ip, const struct op *op, uint64_t gva, const uint8_t *image, unsigned size)
{
	mem_probe(ip, op, gva, size);
	for (unsigned done = 0; done < size; done += 32)
		mem_write(ip, op, gva + done, image + done, size - done < 32 ? size - done : 32);
}

static void read_image(struct interp *ip, const struct op *op, uint64_t gva, uint8_t *image, unsigned size)
{
	for (unsigned done = 0; done < size; done += 32)
		mem_read(ip, op, gva + done, image + done, size - done < 32 ? size - done : 32);
}

enum { X87_STENV, X87_LDENV, X87_SAVE, X87_RSTOR };

static void x87_environment(struct interp *ip, const struct op *op)
{
	struct x86_fpu *fpu = &ip->cpu.s.fpu;
	unsigned size = op_size(op) == 2 ? 2 : 4, total = size == 2 ? 14 : 28, head = total;
	bool store = op->imm == X87_STENV || op->imm == X87_SAVE, whole = op->imm >= X87_SAVE;
	uint8_t image[108];
	uint64_t gva;

	if (ip->fpu_denied & FPU_X87)
		fpu_refuse(ip, op, FPU_X87);
	if (!store)
		check_pending(ip, op);
	if (whole)
		total += 80;
	gva = op_address(ip, op, total, store ? X86_WRITE : X86_READ);
	if (store) {
		store_environment(ip, image, size);
		for (unsigned i = 0; whole && i < 8; i++)
			memcpy(image + head + 10 * i, fpu->st[i], 10);
		write_image(ip, op, gva, image, total);
		if (whole)
			reset_x87(fpu);
		else
			fpu->fcw |= 0x3f;
		summarize_exceptions(fpu);
	} else {
		unsigned old_top = fpu->fsw >> 11 & 7;

		read_image(ip, op, gva, image, total);
		load_environment(ip, image, size);
		turn_stack(fpu, old_top, fpu->fsw >> 11 & 7);
		for (unsigned i = 0; whole && i < 8; i++)
			memcpy(fpu->st[i], image + head + 10 * i, 10);
	}
	next(ip, op);
}

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn;
	uint64_t imm;
} fpu_table[] = {
	{ZYDIS_MNEMONIC_LDMXCSR, ldmxcsr, FPU_SSE},
	{ZYDIS_MNEMONIC_VLDMXCSR, ldmxcsr, FPU_AVX},
	{ZYDIS_MNEMONIC_STMXCSR, stmxcsr, FPU_SSE},
	{ZYDIS_MNEMONIC_VSTMXCSR, stmxcsr, FPU_AVX},
	{ZYDIS_MNEMONIC_FXSAVE, extended_state, FORM_FXSAVE},
	{ZYDIS_MNEMONIC_FXSAVE64, extended_state, FORM_FXSAVE},
	{ZYDIS_MNEMONIC_FXRSTOR, extended_state, FORM_FXRSTOR},
	{ZYDIS_MNEMONIC_FXRSTOR64, extended_state, FORM_FXRSTOR},
	{ZYDIS_MNEMONIC_XSAVE, extended_state, FORM_XSAVE},
	{ZYDIS_MNEMONIC_XSAVE64, extended_state, FORM_XSAVE},
	{ZYDIS_MNEMONIC_XSAVEOPT, extended_state, FORM_XSAVEOPT},
	{ZYDIS_MNEMONIC_XSAVEOPT64, extended_state, FORM_XSAVEOPT},
	{ZYDIS_MNEMONIC_XSAVEC, extended_state, FORM_XSAVEC},
	{ZYDIS_MNEMONIC_XSAVEC64, extended_state, FORM_XSAVEC},
	{ZYDIS_MNEMONIC_XSAVES, extended_state, FORM_XSAVES},
	{ZYDIS_MNEMONIC_XSAVES64, extended_state, FORM_XSAVES},
	{ZYDIS_MNEMONIC_XRSTOR, extended_state, FORM_XRSTOR},
	{ZYDIS_MNEMONIC_XRSTOR64, extended_state, FORM_XRSTOR},
	{ZYDIS_MNEMONIC_XRSTORS, extended_state, FORM_XRSTORS},
	{ZYDIS_MNEMONIC_XRSTORS64, extended_state, FORM_XRSTORS},
	{ZYDIS_MNEMONIC_FNSTENV, x87_environment, X87_STENV},
	{ZYDIS_MNEMONIC_FLDENV, x87_environment, X87_LDENV},
	{ZYDIS_MNEMONIC_FNSAVE, x87_environment, X87_SAVE},
	{ZYDIS_MNEMONIC_FRSTOR, x87_environment, X87_RSTOR},
};

bool select_fpu(struct decode *d)
{
	struct op *op = d->op;

	for (size_t i = 0; i < ARRAY_SIZE(fpu_table); i++) {
		if (fpu_table[i].mnemonic != d->insn.mnemonic)
			continue;
		decode_memory(d, &d->operands[0]);
		op->length_size = d->insn.length | decode_log2(d->insn.operand_width) << 4;
		op->imm = fpu_table[i].imm;
		op->dst = d->insn.attributes & ZYDIS_ATTRIB_HAS_REX && d->insn.raw.rex.W;
		op->fn = fpu_table[i].fn;
		return true;
	}
	return false;
}
