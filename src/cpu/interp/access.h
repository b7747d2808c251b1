/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inline paths of every handler to guest registers, status flags and memory. Part of internal.h, which includes it.
 */
#ifndef XUNI_CPU_INTERP_ACCESS_H
#define XUNI_CPU_INTERP_ACCESS_H

#include "cpu/interp/internal.h"

/* --- registers --- */

ALWAYS_INLINE uint8_t *reg_at(struct interp *ip, unsigned offset)
{
	return (uint8_t *)ip->cpu.s.gpr + offset;
}

#define REG_ACCESS(bits)                                                                                               \
	ALWAYS_INLINE uint##bits##_t reg_get##bits(struct interp *ip, unsigned offset)                                 \
	{                                                                                                              \
		return *(uint##bits##_t *)reg_at(ip, offset);                                                          \
	}
REG_ACCESS(8)
REG_ACCESS(16)
REG_ACCESS(32)
REG_ACCESS(64)
#undef REG_ACCESS

ALWAYS_INLINE void reg_set8(struct interp *ip, unsigned offset, uint8_t value)
{
	*reg_at(ip, offset) = value;
}

ALWAYS_INLINE void reg_set16(struct interp *ip, unsigned offset, uint16_t value)
{
	*(uint16_t *)reg_at(ip, offset) = value;
}

ALWAYS_INLINE void reg_set32(struct interp *ip, unsigned offset, uint32_t value)
{
	*(uint64_t *)reg_at(ip, offset) = value;
}

ALWAYS_INLINE void reg_set64(struct interp *ip, unsigned offset, uint64_t value)
{
	*(uint64_t *)reg_at(ip, offset) = value;
}

static inline uint64_t reg_get(struct interp *ip, unsigned offset, unsigned size)
{
	switch (size) {
	case 1:
		return reg_get8(ip, offset);
	case 2:
		return reg_get16(ip, offset);
	case 4:
		return reg_get32(ip, offset);
	default:
		return reg_get64(ip, offset);
	}
}

static inline void reg_set(struct interp *ip, unsigned offset, uint64_t value, unsigned size)
{
	switch (size) {
	case 1:
		reg_set8(ip, offset, value);
		break;
	case 2:
		reg_set16(ip, offset, value);
		break;
	case 4:
		reg_set32(ip, offset, value);
		break;
	default:
		reg_set64(ip, offset, value);
		break;
	}
}

ALWAYS_INLINE unsigned op_length(const struct op *op)
{
	return op->length_size & 15;
}

ALWAYS_INLINE unsigned op_size(const struct op *op)
{
	return 1u << (op->length_size >> 4);
}

ALWAYS_INLINE unsigned op_segment(const struct op *op)
{
	return op->ea >> 4;
}

/* --- flags --- */

enum { FLAG_OF = 1, FLAG_CF = 0x100, FLAG_PF = 0x400, FLAG_AF = 0x1000, FLAG_ZF = 0x4000, FLAG_SF = 0x8000 };

ALWAYS_INLINE uint64_t flags_pack(uint16_t flags)
{
	return ((flags >> 8) & (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF)) | (flags & FLAG_OF ? X86_OF : 0);
}

ALWAYS_INLINE uint16_t flags_unpack(uint64_t rflags)
{
	return (uint16_t)(rflags & 0xff) << 8 | ((rflags & X86_OF) != 0);
}

ALWAYS_INLINE void flags_sync(struct interp *ip)
{
	ip->cpu.s.rflags = (ip->cpu.s.rflags & ~(uint64_t)X86_STATUS_FLAGS) | flags_pack(ip->flags);
}

ALWAYS_INLINE void flags_import(struct interp *ip)
{
	ip->flags = flags_unpack(ip->cpu.s.rflags);
}

/* --- memory --- */

/* Values in guest memory, at any alignment; volatile where they are accessed, because other CPUs are at it, too. */
typedef uint8_t guest8_t;
typedef uint16_t guest16_t __attribute__((aligned(1)));
typedef uint32_t guest32_t __attribute__((aligned(1)));
typedef uint64_t guest64_t __attribute__((aligned(1)));

uint64_t mem_load_slow(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
void mem_store_slow(struct interp *ip, const struct op *op, uint64_t gva, uint64_t value, unsigned size);
/* Pointer to read and write [gva, +size), or ip->bounce filled with what is there; then mem_update_end writes it. */
void *mem_update_slow(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
void mem_update_flush(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
/* As mem_update, for LOCK: what is not one host instruction happens under the bus lock until mem_locked_end. */
void *mem_locked_slow(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
/* #GP or #SS unless [gva, +size) is canonical; sets ip->cur. */
void mem_check(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
/* Faults as a store would. */
void mem_probe(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
/* #SS(0) unless the stack address is canonical; for instructions whose op->ea names another segment. */
void mem_check_stack(struct interp *ip, const struct op *op, uint64_t gva);
/* Any size up to 64 bytes. */
void mem_read(struct interp *ip, const struct op *op, uint64_t gva, void *to, unsigned size);
void mem_write(struct interp *ip, const struct op *op, uint64_t gva, const void *from, unsigned size);
uint64_t op_address_slow(struct interp *ip, const struct op *op, uint64_t sum, unsigned size, unsigned access);

ALWAYS_INLINE uint64_t value_at(struct interp *ip, unsigned unit)
{
	return ((uint64_t *)ip)[unit];
}

/* base + index * scale + disp, not yet cut to the address size. */
ALWAYS_INLINE uint64_t op_sum(struct interp *ip, const struct op *op)
{
	return value_at(ip, op->base) + (value_at(ip, op->index) << op->scale) + (int64_t)op->disp;
}

/* Linear address of the memory operand. access: X86_READ or X86_WRITE, for the checks of segments. */
ALWAYS_INLINE uint64_t op_address(struct interp *ip, const struct op *op, unsigned size, unsigned access)
{
	uint64_t sum = op_sum(ip, op);

	if (likely((op->ea & 15) == EA_FLAT))
		return sum + value_at(ip, op->segbase);
	if (likely((op->ea & 15) == EA_FLAT32))
		return (uint32_t)sum;
	return op_address_slow(ip, op, sum, size, access);
}

ALWAYS_INLINE struct x86_tlb_entry *mem_slot(struct interp *ip, uint64_t gva)
{
	return &ip->cpu.tlb_active[(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];
}

/* An access that crosses the page has the next page's number in the comparison, which this slot cannot hold. */
ALWAYS_INLINE bool mem_hit(uint64_t tag, uint64_t gva, unsigned size)
{
	return likely(((gva + size - 1) & ~(PAGE_SIZE - 1)) == tag);
}

#define MEM_ACCESS(bits)                                                                                               \
	ALWAYS_INLINE uint##bits##_t mem_load##bits(struct interp *ip, const struct op *op, uint64_t gva)              \
	{                                                                                                              \
		const struct x86_tlb_entry *slot = mem_slot(ip, gva);                                                  \
		if (mem_hit(slot->tag_read, gva, (bits) / 8))                                                          \
			return *(const volatile guest##bits##_t *)(gva + slot->addend);                                \
		return mem_load_slow(ip, op, gva, (bits) / 8);                                                         \
	}                                                                                                              \
	ALWAYS_INLINE void mem_store##bits(struct interp *ip, const struct op *op, uint64_t gva, uint##bits##_t value) \
	{                                                                                                              \
		const struct x86_tlb_entry *slot = mem_slot(ip, gva);                                                  \
		if (mem_hit(slot->tag_write, gva, (bits) / 8))                                                         \
			*(volatile guest##bits##_t *)(gva + slot->addend) = value;                                     \
		else                                                                                                   \
			mem_store_slow(ip, op, gva, value, (bits) / 8);                                                \
	}
MEM_ACCESS(8)
MEM_ACCESS(16)
MEM_ACCESS(32)
MEM_ACCESS(64)
#undef MEM_ACCESS

static inline uint64_t mem_load(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	switch (size) {
	case 1:
		return mem_load8(ip, op, gva);
	case 2:
		return mem_load16(ip, op, gva);
	case 4:
		return mem_load32(ip, op, gva);
	default:
		return mem_load64(ip, op, gva);
	}
}

static inline void mem_store(struct interp *ip, const struct op *op, uint64_t gva, uint64_t value, unsigned size)
{
	switch (size) {
	case 1:
		mem_store8(ip, op, gva, value);
		break;
	case 2:
		mem_store16(ip, op, gva, value);
		break;
	case 4:
		mem_store32(ip, op, gva, value);
		break;
	default:
		mem_store64(ip, op, gva, value);
		break;
	}
}

ALWAYS_INLINE void *mem_update(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	const struct x86_tlb_entry *slot = mem_slot(ip, gva);

	if (mem_hit(slot->tag_write, gva, size))
		return (void *)(gva + slot->addend);
	return mem_update_slow(ip, op, gva, size);
}

ALWAYS_INLINE void mem_update_end(struct interp *ip, const struct op *op, uint64_t gva, unsigned size, void *p)
{
	if (unlikely(p == ip->bounce))
		mem_update_flush(ip, op, gva, size);
}

ALWAYS_INLINE void *mem_locked(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	const struct x86_tlb_entry *slot = mem_slot(ip, gva);

	if (mem_hit(slot->tag_write, gva, size))
		return (void *)(gva + slot->addend);
	return mem_locked_slow(ip, op, gva, size);
}

static inline void mem_locked_end(struct interp *ip, const struct op *op, uint64_t gva, unsigned size, void *p)
{
	if (unlikely(p == ip->bounce)) {
		mem_update_flush(ip, op, gva, size);
		x86_bus_unlock(&ip->cpu);
	}
}

/* The r/m operand of an instruction that is not worth a handler per form. */
static inline uint64_t operand_read(struct interp *ip, const struct op *op, unsigned size)
{
	if ((op->ea & 15) == EA_NONE)
		return reg_get(ip, op->src, size);
	return mem_load(ip, op, op_address(ip, op, size, X86_READ), size);
}

static inline void operand_write(struct interp *ip, const struct op *op, uint64_t value, unsigned size)
{
	if ((op->ea & 15) == EA_NONE)
		reg_set(ip, op->src, value, size);
	else
		mem_store(ip, op, op_address(ip, op, size, X86_WRITE), value, size);
}

#endif
