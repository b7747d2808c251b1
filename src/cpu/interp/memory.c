/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The slow halves of the interpreter's memory accesses: segments, canonical addresses, TLB misses, MMIO, page crossing.
 */
#include "cpu/interp/internal.h"

static bool canonical(const struct interp *ip, uint64_t gva)
{
	unsigned shift = ip->cpu.s.cr4 & X86_CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(gva << shift) >> shift) == gva;
}

static void check_canonical(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	ip->cur = op;
	if (ip->cpu.code_mode == X86_CODE64 ? canonical(ip, gva) && canonical(ip, gva + size - 1)
					    : gva + size <= 1ull << 32 || !ip->cpu.flat_data)
		return; /* outside 64-bit mode only a flat segment has no limit check before this */
	x86_raise_error(&ip->cpu, op_segment(op) == X86_SS ? X86_SSF : X86_GP, 0);
}

static unsigned privilege(const struct interp *ip)
{
	return ip->cpu.cpl == 3 ? X86_USER : 0;
}

uint64_t NOINLINE op_address_slow(struct interp *ip, const struct op *op, uint64_t sum, unsigned size, unsigned access)
{
	struct x86_cpu *cpu = &ip->cpu;
	unsigned segment = op_segment(op);

	switch (op->ea & 15) {
	case EA_64_A32:
		return (uint32_t)sum + value_at(ip, op->segbase);
	case EA_FLAT32:
		return (uint32_t)sum;
	case EA_16:
		sum = (uint16_t)sum;
		break;
	case EA_32:
		sum = (uint32_t)sum;
		break;
	default:
		return sum + value_at(ip, op->segbase);
	}
	if (cpu->flat_data && (segment == X86_DS || segment == X86_SS || segment == X86_ES))
		return sum;
	ip->cur = op;
	return x86_linear(cpu, segment, sum, size, access);
}

uint64_t NOINLINE mem_load_slow(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	uint64_t value = 0;

	check_canonical(ip, op, gva, size);
	x86_read_slow(&ip->cpu, gva, &value, size, privilege(ip));
	return value;
}

void NOINLINE mem_store_slow(struct interp *ip, const struct op *op, uint64_t gva, uint64_t value, unsigned size)
{
	check_canonical(ip, op, gva, size);
	x86_write_slow(&ip->cpu, gva, &value, size, privilege(ip));
}

void NOINLINE *mem_update_slow(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	void *p;

	check_canonical(ip, op, gva, size);
	p = x86_rmw_pointer(&ip->cpu, gva, size);
	if (p)
		return p;
	x86_probe_write(&ip->cpu, gva, size);
	x86_read_slow(&ip->cpu, gva, ip->bounce, size, privilege(ip));
	return ip->bounce;
}

void NOINLINE *mem_locked_slow(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	void *p;

	check_canonical(ip, op, gva, size);
	p = x86_rmw_pointer(&ip->cpu, gva, size);
	if (p)
		return p;
	x86_probe_write(&ip->cpu, gva, size); /* no fault from here on */
	x86_bus_lock(&ip->cpu);
	x86_read_slow(&ip->cpu, gva, ip->bounce, size, privilege(ip));
	return ip->bounce;
}

void NOINLINE mem_update_flush(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	ip->cur = op;
	x86_write_slow(&ip->cpu, gva, ip->bounce, size, privilege(ip));
}

void mem_check(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	check_canonical(ip, op, gva, size);
}

void mem_probe(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	check_canonical(ip, op, gva, size);
	x86_probe_write(&ip->cpu, gva, size);
}

void mem_check_stack(struct interp *ip, const struct op *op, uint64_t gva)
{
	if (ip->cpu.code_mode == X86_CODE64 && unlikely(!canonical(ip, gva) || !canonical(ip, gva + 7)))
		fault_at_error(ip, op, X86_SSF, 0);
}

void mem_read(struct interp *ip, const struct op *op, uint64_t gva, void *to, unsigned size)
{
	const struct x86_tlb_entry *slot = mem_slot(ip, gva);

	if (mem_hit(slot->tag_read, gva, size)) {
		memcpy(to, (const void *)(gva + slot->addend), size);
		return;
	}
	check_canonical(ip, op, gva, size);
	x86_read_slow(&ip->cpu, gva, to, size, privilege(ip));
}

void mem_write(struct interp *ip, const struct op *op, uint64_t gva, const void *from, unsigned size)
{
	const struct x86_tlb_entry *slot = mem_slot(ip, gva);

	if (mem_hit(slot->tag_write, gva, size)) {
		memcpy((void *)(gva + slot->addend), from, size);
		return;
	}
	check_canonical(ip, op, gva, size);
	x86_write_slow(&ip->cpu, gva, from, size, privilege(ip));
}

void fault_at(struct interp *ip, const struct op *op, enum x86_vector vector)
{
	ip->cur = op;
	x86_raise(&ip->cpu, vector);
}

void fault_at_error(struct interp *ip, const struct op *op, enum x86_vector vector, uint32_t error)
{
	ip->cur = op;
	x86_raise_error(&ip->cpu, vector, error);
}
