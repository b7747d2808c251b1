/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * String instructions MOVS STOS LODS CMPS SCAS INS OUTS with and without REP (SDM 2). Registers are exact after every
 * element, so a fault or an event in the middle resumes there. MOVS and STOS go page by page where both ends are plain
 * RAM; INS and OUTS as far as the device has data at hand. op->disp: address bytes; imm: repeat kind; segment of the
 * source in op->ea.
 */
#include "core/bus.h"
#include "cpu/interp/internal.h"

/* A REP that goes on for longer counts as several instructions. */
enum { ROUNDS_MAX = 4096 };

enum { REPEAT_NONE, REPEAT_EQUAL, REPEAT_NOT_EQUAL };

#define RCX (X86_RCX * 8)
#define RSI (X86_RSI * 8)
#define RDI (X86_RDI * 8)

static uint64_t address_mask(const struct op *op)
{
	return op->disp == 8 ? ~0ull : op->disp == 4 ? 0xffffffffull : 0xffffull;
}

static uint64_t linear_of(struct interp *ip, const struct op *op, unsigned segment, uint64_t offset, unsigned size,
			  unsigned access)
{
	struct x86_cpu *cpu = &ip->cpu;

	offset &= address_mask(op);
	if (cpu->code_mode == X86_CODE64)
		return segment == X86_FS || segment == X86_GS ? offset + cpu->s.seg[segment].base : offset;
	if (cpu->flat_data && segment != X86_CS && segment != X86_FS && segment != X86_GS)
		return offset;
	ip->cur = op;
	return x86_linear(cpu, segment, offset, size, access);
}

static uint64_t source_gva(struct interp *ip, const struct op *op, unsigned size)
{
	return linear_of(ip, op, op_segment(op), reg_get64(ip, RSI), size, X86_READ);
}

static uint64_t dest_gva(struct interp *ip, const struct op *op, unsigned size, unsigned access)
{
	return linear_of(ip, op, X86_ES, reg_get64(ip, RDI), size, access);
}

/* Adds to RCX, RSI or RDI with the address size: 64 bits whole, 32 bits zero-extended, 16 bits in place. */
static void advance(struct interp *ip, const struct op *op, unsigned reg, int64_t delta)
{
	reg_set(ip, reg, reg_get64(ip, reg) + delta, op->disp);
}

static int64_t step_of(struct interp *ip, unsigned size)
{
	return ip->cpu.s.rflags & X86_DF ? -(int64_t)size : (int64_t)size;
}

/* Something wants to be looked at between two elements. */
static bool must_pause(struct interp *ip)
{
	uint32_t events = atomic_load_explicit(&ip->cpu.vcpu.events, memory_order_relaxed);

	return ip->attention || events & ~VCPU_INTR || (events && ip->cpu.s.rflags & X86_IF);
}

typedef void element_fn(struct interp *ip, const struct op *op, unsigned size);

static void element_movs(struct interp *ip, const struct op *op, unsigned size)
{
	uint64_t from = source_gva(ip, op, size), to = dest_gva(ip, op, size, X86_WRITE);

	mem_store(ip, op, to, mem_load(ip, op, from, size), size);
	advance(ip, op, RSI, step_of(ip, size));
	advance(ip, op, RDI, step_of(ip, size));
}

static void element_stos(struct interp *ip, const struct op *op, unsigned size)
{
	mem_store(ip, op, dest_gva(ip, op, size, X86_WRITE), reg_get(ip, X86_RAX * 8, size), size);
	advance(ip, op, RDI, step_of(ip, size));
}

static void element_lods(struct interp *ip, const struct op *op, unsigned size)
{
	reg_set(ip, X86_RAX * 8, mem_load(ip, op, source_gva(ip, op, size), size), size);
	advance(ip, op, RSI, step_of(ip, size));
}

static void compare(struct interp *ip, uint64_t left, uint64_t right, unsigned size)
{
	uint32_t flags;

	left <<= 64 - size * 8; /* carries, sign and zero come out as for the narrow size... */
	right <<= 64 - size * 8;
	__asm__("cmpq %[r], %[l]\n\tlahf\n\tseto %%al" : "=a"(flags) : [l] "r"(left), [r] "r"(right) : "cc");
	if (size < 8) { /* ...but parity and auxiliary carry are of the low byte */
		uint8_t l = left >> (64 - size * 8), r = right >> (64 - size * 8);
		uint32_t low;

		__asm__("cmpb %[r], %[l]\n\tlahf\n\tseto %%al" : "=a"(low) : [l] "r"(l), [r] "r"(r) : "cc");
		flags = (flags & ~(FLAG_PF | FLAG_AF)) | (low & (FLAG_PF | FLAG_AF));
	}
	ip->flags = flags;
}

static void element_cmps(struct interp *ip, const struct op *op, unsigned size)
{
	uint64_t left, right;

	if (op->imm != REPEAT_EQUAL) { /* AMD's order, which shows when both fault */
		right = mem_load(ip, op, dest_gva(ip, op, size, X86_READ), size);
		left = mem_load(ip, op, source_gva(ip, op, size), size);
	} else {
		left = mem_load(ip, op, source_gva(ip, op, size), size);
		right = mem_load(ip, op, dest_gva(ip, op, size, X86_READ), size);
	}
	compare(ip, left, right, size);
	advance(ip, op, RSI, step_of(ip, size));
	advance(ip, op, RDI, step_of(ip, size));
}

static void element_scas(struct interp *ip, const struct op *op, unsigned size)
{
	uint64_t right = mem_load(ip, op, dest_gva(ip, op, size, X86_READ), size);

	compare(ip, reg_get(ip, X86_RAX * 8, size), right, size);
	advance(ip, op, RDI, step_of(ip, size));
}

static void element_ins(struct interp *ip, const struct op *op, unsigned size)
{
	uint16_t port = reg_get16(ip, X86_RDX * 8);
	uint64_t gva;

	ip->cur = op;
	x86_check_io(&ip->cpu, port, size);
	gva = dest_gva(ip, op, size, X86_WRITE);
	mem_probe(ip, op, gva, size); /* the port is read only once */
	mem_store(ip, op, gva, bus_read(ip->io, port, size), size);
	advance(ip, op, RDI, step_of(ip, size));
}

static void element_outs(struct interp *ip, const struct op *op, unsigned size)
{
	uint16_t port = reg_get16(ip, X86_RDX * 8);
	uint64_t value;

	ip->cur = op;
	x86_check_io(&ip->cpu, port, size);
	value = mem_load(ip, op, source_gva(ip, op, size), size);
	bus_write(ip->io, port, value, size);
	advance(ip, op, RSI, step_of(ip, size));
}

/* --- whole pages --- */

/* How many elements from gva on lie in this page, going up. */
static uint64_t room_in_page(uint64_t gva, unsigned size)
{
	return (PAGE_SIZE - (gva & (PAGE_SIZE - 1))) / size;
}

static bool bulk_possible(const struct interp *ip)
{
	return !(ip->cpu.s.rflags & X86_DF) && !ip->attention; /* a single step is one element */
}

/*
 * How many elements from gva on, going up, lie in this page and in the segment, before the offset wraps. The first one
 * is inside: linear_of has not raised.
 */
static uint64_t room_for_bulk(struct interp *ip, const struct op *op, unsigned number, unsigned reg, uint64_t gva,
			      unsigned size)
{
	const struct x86_segment *segment = &ip->cpu.s.seg[number];
	uint64_t offset = reg_get64(ip, reg) & address_mask(op), last = segment->limit;
	uint64_t room = min_u64(room_in_page(gva, size), (address_mask(op) - offset) / size + 1);

	if (ip->cpu.code_mode == X86_CODE64)
		return room;
	if (offset > last) /* it expands downwards */
		last = segment->attr & X86_SEG_DB ? 0xffffffff : 0xffff;
	return min_u64(room, (last - offset + 1) / size);
}

static uint64_t source_room(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	return room_for_bulk(ip, op, op_segment(op), RSI, gva, size);
}

static uint64_t dest_room(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	return room_for_bulk(ip, op, X86_ES, RDI, gva, size);
}

static void *writable_page(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	const struct x86_tlb_entry *slot = mem_slot(ip, gva);

	if (mem_hit(slot->tag_write, gva, size))
		return (void *)(gva + slot->addend);
	return NULL;
}

static void store_pattern(void *to, uint64_t value, unsigned size, uint64_t count)
{
	switch (size) {
	case 1:
		memset(to, (int)value, count);
		break;
	case 2:
		for (uint64_t i = 0; i < count; i++)
			((guest16_t *)to)[i] = value;
		break;
	case 4:
		for (uint64_t i = 0; i < count; i++)
			((guest32_t *)to)[i] = value;
		break;
	default:
		for (uint64_t i = 0; i < count; i++)
			((guest64_t *)to)[i] = value;
		break;
	}
}

/* --- to a device that takes several at once --- */

/* Fewer are not worth finding that out. */
enum { DEVICE_COUNT_MIN = 4 };

static uint64_t device_stos(struct interp *ip, uint64_t gva, unsigned size, uint64_t count)
{
	uint64_t pattern[PAGE_SIZE / sizeof(uint64_t)], gpa;

	if (count < DEVICE_COUNT_MIN || !x86_bus_gpa(&ip->cpu, gva, X86_WRITE, &gpa))
		return 0;
	store_pattern(pattern, reg_get64(ip, X86_RAX * 8), size, count);
	return bus_write_block(ip->cpu.vcpu.engine->env.memory, gpa, pattern, size, count);
}

/* from: where the source is in RAM; NULL: at a device too, if at all. */
static uint64_t device_movs(struct interp *ip, uint64_t to_gva, uint64_t from_gva, const void *from, unsigned size,
			    uint64_t count)
{
	struct bus *bus = ip->cpu.vcpu.engine->env.memory;
	uint64_t to, source;

	if (count < DEVICE_COUNT_MIN || !x86_bus_gpa(&ip->cpu, to_gva, X86_WRITE, &to))
		return 0;
	if (from)
		return bus_write_block(bus, to, from, size, count);
	return x86_bus_gpa(&ip->cpu, from_gva, X86_READ, &source) ? bus_move_block(bus, to, source, size, count) : 0;
}

/* --- in one go --- */

/* Returns how many elements were done; 0: do one the careful way. */
static uint64_t bulk_stos(struct interp *ip, const struct op *op, unsigned size, uint64_t count)
{
	uint64_t gva;
	void *to;

	if (!bulk_possible(ip))
		return 0;
	gva = dest_gva(ip, op, size, X86_WRITE);
	count = min_u64(count, dest_room(ip, op, gva, size));
	to = writable_page(ip, op, gva, size);
	if (to)
		store_pattern(to, reg_get64(ip, X86_RAX * 8), size, count);
	else
		count = device_stos(ip, gva, size, count);
	advance(ip, op, RDI, (int64_t)(count * size));
	return count;
}

/* Pages that lie a multiple of the TLB's reach apart have one place in it and turn each other out at every element; so
 * the page read is looked up first, and its host address is kept while the page written takes the place. */
static bool movs_pages(struct interp *ip, const struct op *op, unsigned size, uint64_t from_gva, uint64_t to_gva,
		       const uint8_t **from, uint8_t **to)
{
	const struct x86_tlb_entry *slot = mem_slot(ip, from_gva);
	bool shared = slot == mem_slot(ip, to_gva) && (from_gva ^ to_gva) >= PAGE_SIZE;

	if (shared && !mem_hit(slot->tag_read, from_gva, size))
		x86_tlb_fill(&ip->cpu, from_gva, X86_READ);
	*from = NULL;
	if (!mem_hit(slot->tag_read, from_gva, size))
		return false;
	*from = (const uint8_t *)(from_gva + slot->addend);
	if (shared)
		x86_tlb_fill(&ip->cpu, to_gva, X86_WRITE);
	*to = writable_page(ip, op, to_gva, size);
	return *to;
}

static uint64_t bulk_movs(struct interp *ip, const struct op *op, unsigned size, uint64_t count)
{
	uint64_t from_gva, to_gva;
	const uint8_t *from;
	uint8_t *to;

	if (!bulk_possible(ip))
		return 0;
	from_gva = source_gva(ip, op, size);
	to_gva = dest_gva(ip, op, size, X86_WRITE);
	count = min_u64(count, min_u64(source_room(ip, op, from_gva, size), dest_room(ip, op, to_gva, size)));
	if (!movs_pages(ip, op, size, from_gva, to_gva, &from, &to)) {
		count = device_movs(ip, to_gva, from_gva, from, size, count);
	} else if (to > from && to < from + count * size) {
		/* Overlap forward repeats a pattern: element by element. */
		for (uint64_t i = 0; i < count; i++)
			memmove(to + i * size, from + i * size, size);
	} else {
		memmove(to, from, count * size);
	}
	advance(ip, op, RSI, (int64_t)(count * size));
	advance(ip, op, RDI, (int64_t)(count * size));
	return count;
}

/* As much as the device gives in one go. (An access from a page that is not there takes the careful way first.) */
static uint64_t bulk_ins(struct interp *ip, const struct op *op, unsigned size, uint64_t count)
{
	uint64_t gva;
	void *to;

	if (count == 1 || !bulk_possible(ip))
		return 0;
	gva = dest_gva(ip, op, size, X86_WRITE);
	to = writable_page(ip, op, gva, size);
	if (!to)
		return 0;
	count = bus_read_run(ip->io, reg_get16(ip, X86_RDX * 8), to, size,
			     min_u64(count, dest_room(ip, op, gva, size)));
	advance(ip, op, RDI, (int64_t)(count * size));
	return count;
}

static uint64_t bulk_outs(struct interp *ip, const struct op *op, unsigned size, uint64_t count)
{
	const struct x86_tlb_entry *slot;
	uint64_t gva;

	if (count == 1 || !bulk_possible(ip))
		return 0;
	gva = source_gva(ip, op, size);
	slot = mem_slot(ip, gva);
	if (!mem_hit(slot->tag_read, gva, size))
		return 0;
	count = bus_write_run(ip->io, reg_get16(ip, X86_RDX * 8), (const void *)(gva + slot->addend), size,
			      min_u64(count, source_room(ip, op, gva, size)));
	advance(ip, op, RSI, (int64_t)(count * size));
	return count;
}

typedef uint64_t bulk_fn(struct interp *ip, const struct op *op, unsigned size, uint64_t count);

/* The repeat loop of all of them; inlined so that element and bulk are known. */
ALWAYS_INLINE void string_run(struct interp *ip, const struct op *op, element_fn *element, bulk_fn *bulk, bool compares)
{
	unsigned size = op_size(op), rounds = 0;
	uint64_t count;

	if (op->imm == REPEAT_NONE) {
		element(ip, op, size);
		next(ip, op);
		return;
	}
	while ((count = reg_get64(ip, RCX) & address_mask(op))) {
		uint64_t done = bulk ? bulk(ip, op, size, count) : 0;

		if (!done) {
			element(ip, op, size);
			done = 1;
		}
		advance(ip, op, RCX, -(int64_t)done);
		if (compares && (op->imm == REPEAT_EQUAL) != ((ip->flags & FLAG_ZF) != 0))
			break;
		if (unlikely(must_pause(ip)) && count != done) {
			block_leave(ip, op);
			ip->cpu.s.rflags |=
				X86_RF; /* as an interrupt between two elements shows it (SDM 3B 17.3.1.1) */
			return;
		}
		if (unlikely(++rounds == ROUNDS_MAX) && count != done) {
			block_leave(ip, op);
			ip->left--; /* so that limits and clocks move on */
			return;
		}
	}
	next(ip, op);
}

static void string_movs(struct interp *ip, const struct op *op)
{
	string_run(ip, op, element_movs, bulk_movs, false);
}

static void string_stos(struct interp *ip, const struct op *op)
{
	string_run(ip, op, element_stos, bulk_stos, false);
}

static void string_lods(struct interp *ip, const struct op *op)
{
	string_run(ip, op, element_lods, NULL, false);
}

static void string_cmps(struct interp *ip, const struct op *op)
{
	string_run(ip, op, element_cmps, NULL, true);
}

static void string_scas(struct interp *ip, const struct op *op)
{
	string_run(ip, op, element_scas, NULL, true);
}

/* The port is checked even when the count is zero. */
static void check_port(struct interp *ip, const struct op *op)
{
	ip->cur = op;
	x86_check_io(&ip->cpu, reg_get16(ip, X86_RDX * 8), op_size(op));
}

static void string_ins(struct interp *ip, const struct op *op)
{
	check_port(ip, op);
	string_run(ip, op, element_ins, bulk_ins, false);
}

static void string_outs(struct interp *ip, const struct op *op)
{
	check_port(ip, op);
	string_run(ip, op, element_outs, bulk_outs, false);
}

static const struct {
	ZydisMnemonic mnemonic;
	op_fn *fn;
	uint8_t size;
} string_table[] = {
	{ZYDIS_MNEMONIC_MOVSB, string_movs, 0}, {ZYDIS_MNEMONIC_MOVSW, string_movs, 1},
	{ZYDIS_MNEMONIC_MOVSD, string_movs, 2}, {ZYDIS_MNEMONIC_MOVSQ, string_movs, 3},
	{ZYDIS_MNEMONIC_STOSB, string_stos, 0}, {ZYDIS_MNEMONIC_STOSW, string_stos, 1},
	{ZYDIS_MNEMONIC_STOSD, string_stos, 2}, {ZYDIS_MNEMONIC_STOSQ, string_stos, 3},
	{ZYDIS_MNEMONIC_LODSB, string_lods, 0}, {ZYDIS_MNEMONIC_LODSW, string_lods, 1},
	{ZYDIS_MNEMONIC_LODSD, string_lods, 2}, {ZYDIS_MNEMONIC_LODSQ, string_lods, 3},
	{ZYDIS_MNEMONIC_CMPSB, string_cmps, 0}, {ZYDIS_MNEMONIC_CMPSW, string_cmps, 1},
	{ZYDIS_MNEMONIC_CMPSD, string_cmps, 2}, {ZYDIS_MNEMONIC_CMPSQ, string_cmps, 3},
	{ZYDIS_MNEMONIC_SCASB, string_scas, 0}, {ZYDIS_MNEMONIC_SCASW, string_scas, 1},
	{ZYDIS_MNEMONIC_SCASD, string_scas, 2}, {ZYDIS_MNEMONIC_SCASQ, string_scas, 3},
	{ZYDIS_MNEMONIC_INSB, string_ins, 0},   {ZYDIS_MNEMONIC_INSW, string_ins, 1},
	{ZYDIS_MNEMONIC_INSD, string_ins, 2},   {ZYDIS_MNEMONIC_OUTSB, string_outs, 0},
	{ZYDIS_MNEMONIC_OUTSW, string_outs, 1}, {ZYDIS_MNEMONIC_OUTSD, string_outs, 2},
};

/* MOVSD and CMPSD are also SSE2 instructions. */
static bool is_string(const struct decode *d)
{
	return d->insn.meta.category == ZYDIS_CATEGORY_STRINGOP || d->insn.meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
}

bool select_string(struct decode *d)
{
	struct op *op = d->op;

	if (!is_string(d))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(string_table); i++) {
		unsigned segment = X86_DS;

		if (string_table[i].mnemonic != d->insn.mnemonic)
			continue;
		for (unsigned k = 0; k < d->insn.operand_count; k++) {
			const ZydisDecodedOperand *operand = &d->operands[k];

			if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY && operand->mem.segment != ZYDIS_REGISTER_ES)
				segment = operand->mem.segment - ZYDIS_REGISTER_ES;
		}
		/* An ES override of the source cannot be told from the destination's ES by operand. */
		if (d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES)
			segment = X86_ES;
		op->ea = EA_NONE | segment << 4;
		op->disp = d->insn.address_width / 8;
		op->imm = d->insn.attributes & ZYDIS_ATTRIB_HAS_REPNE                           ? REPEAT_NOT_EQUAL
			  : d->insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE) ? REPEAT_EQUAL
												: REPEAT_NONE;
		op->length_size = d->insn.length | string_table[i].size << 4;
		op->fn = string_table[i].fn;
		d->last = d->insn.meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
		return true;
	}
	return false;
}
