/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector instructions whose memory operand is scattered or masked: gathers and scatters of AVX2 and AVX-512, VMASKMOV and
 * VPMASKMOV, MASKMOVQ and MASKMOVDQU (SDM 2). Elements whose mask is clear touch no memory, so they cannot fault. (Other
 * instructions with a write mask of AVX-512: op_fpu.c.)
 */
#include "cpu/interp/internal.h"

/* op->data */
struct scattered {
	uint8_t dst, mask, index; /* vector registers; mask is an opmask register in AVX-512 */
	uint8_t bytes;            /* of the whole vector */
	uint8_t element, index_bytes, scale;
	uint8_t need;
	uint64_t count; /* elements */
};

static bool mask_bit(const uint8_t *mask, unsigned element, unsigned i)
{
	return mask[(i + 1) * element - 1] >> 7;
}

static int64_t gather_index(const uint8_t *vector, unsigned size, unsigned i)
{
	return size == 4 ? (int32_t)load_le32(vector + 4 * i) : (int64_t)load_le64(vector + 8 * i);
}

static uint64_t gather_address(struct interp *ip, const struct op *op, const struct scattered *s, int64_t index,
			       unsigned access)
{
	uint64_t sum = op_sum(ip, op) + ((uint64_t)index << s->scale);

	if ((op->ea & 15) == EA_FLAT)
		return sum + value_at(ip, op->segbase);
	return op_address_slow(ip, op, sum, s->element, access);
}

/* Each element is finished before the next is begun, so that a fault resumes behind the finished ones. */
static void gather(struct interp *ip, const struct op *op)
{
	const struct scattered *s = op->data;
	struct x86_fpu *fpu = &ip->cpu.s.fpu;
	uint8_t *dst = fpu->vector[s->dst], *mask = fpu->vector[s->mask];
	const uint8_t *index = fpu->vector[s->index];
	unsigned used = s->count * s->element;

	if (ip->fpu_denied & FPU_AVX)
		fpu_refuse(ip, op, FPU_AVX);
	for (unsigned i = 0; i < s->count; i++) {
		if (mask_bit(mask, s->element, i)) {
			uint64_t gva = gather_address(ip, op, s, gather_index(index, s->index_bytes, i),
						      X86_READ);
			uint64_t value = mem_load(ip, op, gva, s->element);

			memcpy(dst + i * s->element, &value, s->element);
			memset(mask + i * s->element, 0, s->element);
		}
	}
	memset(dst + used, 0, sizeof(fpu->vector[0]) - used);
	memset(mask, 0, sizeof(fpu->vector[0]));
	next(ip, op);
}

static void gather_opmask(struct interp *ip, const struct op *op)
{
	const struct scattered *s = op->data;
	struct x86_fpu *fpu = &ip->cpu.s.fpu;
	uint8_t *dst = fpu->vector[s->dst];
	uint64_t *mask = &fpu->opmask[s->mask];
	unsigned used = s->count * s->element;

	if (ip->fpu_denied & FPU_AVX512)
		fpu_refuse(ip, op, FPU_AVX512);
	for (unsigned i = 0; i < s->count; i++) {
		if (*mask >> i & 1) {
			int64_t index = gather_index(fpu->vector[s->index], s->index_bytes, i);
			uint64_t gva = gather_address(ip, op, s, index, X86_READ);
			uint64_t value = mem_load(ip, op, gva, s->element);

			memcpy(dst + i * s->element, &value, s->element);
			*mask &= ~(1ull << i);
		}
	}
	memset(dst + used, 0, sizeof(fpu->vector[0]) - used);
	*mask = 0;
	next(ip, op);
}

/* From the lowest element to the highest: where they overlap the last one stays. */
static void scatter(struct interp *ip, const struct op *op)
{
	const struct scattered *s = op->data;
	struct x86_fpu *fpu = &ip->cpu.s.fpu;
	uint64_t *mask = &fpu->opmask[s->mask];

	if (ip->fpu_denied & FPU_AVX512)
		fpu_refuse(ip, op, FPU_AVX512);
	for (unsigned i = 0; i < s->count; i++) {
		if (*mask >> i & 1) {
			int64_t index = gather_index(fpu->vector[s->index], s->index_bytes, i);
			uint64_t gva = gather_address(ip, op, s, index, X86_WRITE), value = 0;

			memcpy(&value, fpu->vector[s->dst] + i * s->element, s->element);
			mem_store(ip, op, gva, value, s->element);
			*mask &= ~(1ull << i);
		}
	}
	*mask = 0;
	next(ip, op);
}

static void masked_load(struct interp *ip, const struct op *op)
{
	const struct scattered *s = op->data;
	struct x86_fpu *fpu = &ip->cpu.s.fpu;
	uint64_t gva;

	if (ip->fpu_denied & FPU_AVX)
		fpu_refuse(ip, op, FPU_AVX);
	gva = op_address(ip, op, s->bytes, X86_READ);
	memset(ip->bounce, 0, sizeof(ip->bounce));
	for (unsigned i = 0; i < s->count; i++)
		if (mask_bit(fpu->vector[s->mask], s->element, i)) {
			uint64_t value = mem_load(ip, op, gva + i * s->element, s->element);

			memcpy(ip->bounce + i * s->element, &value, s->element);
		}
	memcpy(fpu->vector[s->dst], ip->bounce, sizeof(fpu->vector[0]));
	next(ip, op);
}

/* Faults when something that will be written cannot be. What CR2 shows is AMD's choice: for byte masks the operand's
 * address or that of its second page, else the element's. */
static void probe_masked(struct interp *ip, const struct op *op, uint64_t gva, const struct scattered *s,
			 const uint8_t *mask)
{
	uint64_t room = PAGE_SIZE - (gva & (PAGE_SIZE - 1));
	bool first = false, second = false;

	for (unsigned i = 0; s->element > 1 && i < s->count; i++)
		if (mask_bit(mask, s->element, i))
			mem_probe(ip, op, gva + i * s->element, s->element);
	for (unsigned i = 0; i < s->count; i++)
		if (mask_bit(mask, s->element, i)) {
			first |= i * s->element < room;
			second |= (i + 1) * s->element > room;
		}
	if (s->element > 1)
		return;
	if (first)
		mem_probe(ip, op, gva, 1);
	if (second)
		mem_probe(ip, op, gva + room, 1);
}

/* dst: the register that is stored. */
static void masked_store(struct interp *ip, const struct op *op)
{
	const struct scattered *s = op->data;
	struct x86_fpu *fpu = &ip->cpu.s.fpu;
	const uint8_t *mask = fpu->vector[s->mask], *data = fpu->vector[s->dst];
	uint64_t gva;

	if (ip->fpu_denied & s->need)
		fpu_refuse(ip, op, s->need);
	gva = op_address(ip, op, s->bytes, X86_WRITE);
	ip->cur = op;
	probe_masked(ip, op, gva, s, mask);
	for (unsigned i = 0; i < s->count; i++)
		if (mask_bit(mask, s->element, i)) {
			uint64_t value = 0;

			memcpy(&value, data + i * s->element, s->element);
			mem_store(ip, op, gva + i * s->element, value, s->element);
		}
	next(ip, op);
}

/* MASKMOVQ: the registers are MMX, which live in ST. */
static void masked_store_mmx(struct interp *ip, const struct op *op)
{
	const struct scattered *s = op->data;
	struct x86_fpu *fpu = &ip->cpu.s.fpu;
	uint8_t mask[8], data[8];
	uint64_t gva;

	if (ip->fpu_denied & FPU_MMX)
		fpu_refuse(ip, op, FPU_MMX);
	if (fpu->fsw & 0x80)
		fault_at(ip, op, X86_MF);
	/* MMn is physical register n; ST(i) is physical (TOP + i) mod 8. */
	memcpy(mask, fpu->st[(s->mask - (fpu->fsw >> 11)) & 7], 8);
	memcpy(data, fpu->st[(s->dst - (fpu->fsw >> 11)) & 7], 8);
	gva = op_address(ip, op, 8, X86_WRITE);
	ip->cur = op;
	/* Any MMX instruction sets TOP to 0 and all tags to valid; ST order turns with TOP. */
	if (fpu->fsw >> 11 & 7) {
		unsigned top = fpu->fsw >> 11 & 7;
		uint8_t turned[8][16];

		for (unsigned i = 0; i < 8; i++)
			memcpy(turned[i], fpu->st[(i - top) & 7], 16);
		memcpy(fpu->st, turned, sizeof(turned));
		fpu->fsw &= ~(7 << 11);
	}
	fpu->ftw = 0xff;
	probe_masked(ip, op, gva, s, mask);
	for (unsigned i = 0; i < 8; i++)
		if (mask[i] >> 7)
			mem_store8(ip, op, gva + i, data[i]);
	next(ip, op);
}

static const struct {
	ZydisMnemonic mnemonic;
	uint8_t element, index_bytes; /* index 0: masked move */
} scattered_table[] = {
	{ZYDIS_MNEMONIC_VPGATHERDD, 4, 4}, {ZYDIS_MNEMONIC_VPGATHERDQ, 8, 4}, {ZYDIS_MNEMONIC_VPGATHERQD, 4, 8},
	{ZYDIS_MNEMONIC_VPGATHERQQ, 8, 8}, {ZYDIS_MNEMONIC_VGATHERDPS, 4, 4}, {ZYDIS_MNEMONIC_VGATHERDPD, 8, 4},
	{ZYDIS_MNEMONIC_VGATHERQPS, 4, 8}, {ZYDIS_MNEMONIC_VGATHERQPD, 8, 8}, {ZYDIS_MNEMONIC_VMASKMOVPS, 4, 0},
	{ZYDIS_MNEMONIC_VMASKMOVPD, 8, 0}, {ZYDIS_MNEMONIC_VPMASKMOVD, 4, 0}, {ZYDIS_MNEMONIC_VPMASKMOVQ, 8, 0},
	{ZYDIS_MNEMONIC_VPSCATTERDD, 4, 4}, {ZYDIS_MNEMONIC_VPSCATTERDQ, 8, 4}, {ZYDIS_MNEMONIC_VPSCATTERQD, 4, 8},
	{ZYDIS_MNEMONIC_VPSCATTERQQ, 8, 8}, {ZYDIS_MNEMONIC_VSCATTERDPS, 4, 4}, {ZYDIS_MNEMONIC_VSCATTERDPD, 8, 4},
	{ZYDIS_MNEMONIC_VSCATTERQPS, 4, 8}, {ZYDIS_MNEMONIC_VSCATTERQPD, 8, 8},
};

static uint8_t vector_id(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER ? (uint8_t)ZydisRegisterGetId(operand->reg.value) : 0;
}

/* The operand of a gather or scatter, without its vector of indices. */
static void select_scattered_operand(struct decode *d, struct scattered *s, const ZydisDecodedOperand *memory)
{
	ZydisDecodedOperand plain = *memory;

	s->index = ZydisRegisterGetId(memory->mem.index);
	s->scale = memory->mem.scale ? __builtin_ctz(memory->mem.scale) : 0;
	/* as many elements as both vectors have room for */
	s->count = s->bytes / (s->element > s->index_bytes ? s->element : s->index_bytes);
	plain.mem.index = ZYDIS_REGISTER_NONE;
	decode_memory(d, &plain);
}

static bool select_gather_form(struct decode *d, struct scattered *s)
{
	s->dst = vector_id(&d->operands[0]);
	s->mask = vector_id(&d->operands[2]);
	select_scattered_operand(d, s, &d->operands[1]);
	if (s->dst == s->mask || s->dst == s->index || s->mask == s->index)
		return false;
	d->op->fn = gather;
	return true;
}

/* AVX-512: the mask is an opmask register, and not K0. */
static bool select_opmask_form(struct decode *d, struct scattered *s)
{
	const bool store = d->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;

	s->mask = d->insn.raw.evex.aaa;
	if (!s->mask || d->insn.raw.evex.z || d->insn.raw.evex.b || !s->index_bytes)
		return false;
	s->dst = vector_id(&d->operands[store ? 2 : 0]);
	select_scattered_operand(d, s, &d->operands[store ? 0 : 2]);
	if (!store && s->dst == s->index)
		return false;
	d->op->fn = store ? scatter : gather_opmask;
	return true;
}

static bool select_masked_form(struct decode *d, struct scattered *s)
{
	bool load = d->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER;

	s->dst = vector_id(&d->operands[load ? 0 : 2]);
	s->mask = vector_id(&d->operands[1]);
	s->count = s->bytes / s->element;
	decode_memory(d, &d->operands[load ? 2 : 0]);
	d->op->fn = load ? masked_load : masked_store;
	return true;
}

/* MASKMOVQ and MASKMOVDQU: the destination is DS:rDI, a hidden operand. */
static bool select_byte_mask(struct decode *d, struct scattered *s)
{
	bool mmx = d->insn.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ;

	s->dst = vector_id(&d->operands[0]);
	s->mask = vector_id(&d->operands[1]);
	s->element = 1;
	s->bytes = s->count = mmx ? 8 : 16;
	s->need = d->insn.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU ? FPU_AVX : FPU_SSE;
	for (unsigned i = 0; i < d->insn.operand_count; i++)
		if (d->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			decode_memory(d, &d->operands[i]);
	d->op->fn = mmx ? masked_store_mmx : masked_store;
	return true;
}

bool select_gather(struct decode *d)
{
	struct scattered form = {.bytes = d->insn.avx.vector_length / 8, .need = FPU_AVX}, *s;
	bool ok = false;

	if (d->insn.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || d->insn.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
	    d->insn.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU)
		ok = select_byte_mask(d, &form);
	for (size_t i = 0; !ok && i < ARRAY_SIZE(scattered_table); i++) {
		if (scattered_table[i].mnemonic != d->insn.mnemonic)
			continue;
		form.element = scattered_table[i].element;
		form.index_bytes = scattered_table[i].index_bytes;
		if (d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
			ok = select_opmask_form(d, &form);
		else
			ok = form.index_bytes ? select_gather_form(d, &form) : select_masked_form(d, &form);
		if (!ok)
			return false;
	}
	if (!ok)
		return false;
	s = cache_alloc_extra(d->ip, sizeof(*s));
	if (!s) {
		d->no_memory = true;
		return false;
	}
	*s = form;
	d->op->data = s;
	return true;
}
