/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing host instructions: only the forms that the translator needs. Specification: SDM 2A 2.1, 2.2. */
#ifndef XUNI_CPU_TRANSLATE_LOWER_EMIT_H
#define XUNI_CPU_TRANSLATE_LOWER_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct emitter {
	uint8_t *base; /* writable mapping of the code */
	uint32_t at;   /* offset of the next byte */
};

static inline void put8(struct emitter *e, unsigned value)
{
	e->base[e->at++] = (uint8_t)value;
}

static inline void put32(struct emitter *e, uint32_t value)
{
	memcpy(e->base + e->at, &value, 4);
	e->at += 4;
}

static inline void put64(struct emitter *e, uint64_t value)
{
	memcpy(e->base + e->at, &value, 8);
	e->at += 8;
}

static inline void put_bytes(struct emitter *e, const void *bytes, unsigned length)
{
	memcpy(e->base + e->at, bytes, length);
	e->at += length;
}

#define PUT(e, ...)                                           \
	do {                                                  \
		const uint8_t code_[] = { __VA_ARGS__ };      \
		put_bytes(e, code_, sizeof(code_));           \
	} while (0)

static inline bool fits8(int64_t value)
{
	return value == (int8_t)value;
}

static inline bool fits32(int64_t value)
{
	return value == (int32_t)value;
}

static inline uint32_t low_address(const volatile void *p)
{
	return (uint32_t)(uintptr_t)p;
}

/* ModRM, SIB and displacement of [base + index * 2^scale + disp]; either register may be absent (-1). */
static inline void put_operand(struct emitter *e, unsigned reg, int base, int index, unsigned scale, int32_t disp)
{
	unsigned field = (reg & 7) << 3;

	if (base < 0) {
		PUT(e, (uint8_t)(field | 4), (uint8_t)(scale << 6 | (index < 0 ? 4 : index & 7) << 3 | 5));
		put32(e, (uint32_t)disp);
		return;
	}
	if (disp || (base & 7) == 5)
		field |= fits8(disp) ? 0x40 : 0x80;
	if (index >= 0 || (base & 7) == 4)
		PUT(e, (uint8_t)(field | 4), (uint8_t)(scale << 6 | (index < 0 ? 4 : index & 7) << 3 | (base & 7)));
	else
		put8(e, field | (base & 7));
	if (field & 0x40)
		put8(e, (uint8_t)disp);
	else if (field & 0x80)
		put32(e, (uint32_t)disp);
}

static inline void put_rex(struct emitter *e, bool w, unsigned reg, int base, int index)
{
	unsigned rex = 0x40 | w << 3 | (reg & 8) >> 1 | (index >= 8) << 1 | (base >= 8);

	if (rex != 0x40)
		put8(e, rex);
}

/* opcode reg, [base + index * 2^scale + disp] and the same at an absolute address. */
static inline void op_mem(struct emitter *e, bool w, unsigned opcode, unsigned reg, int base, int index, unsigned scale,
                          int32_t disp)
{
	put_rex(e, w, reg, base, index);
	put8(e, opcode);
	put_operand(e, reg, base, index, scale, disp);
}

static inline void op_abs(struct emitter *e, bool w, unsigned opcode, unsigned reg, const volatile void *address)
{
	op_mem(e, w, opcode, reg, -1, -1, 0, (int32_t)low_address(address));
}

static inline void load_abs(struct emitter *e, unsigned reg, const volatile void *address)
{
	op_abs(e, true, 0x8b, reg, address);
}

static inline void store_abs(struct emitter *e, unsigned reg, const volatile void *address)
{
	op_abs(e, true, 0x89, reg, address);
}

static inline void store_abs_imm32(struct emitter *e, const volatile void *address, uint32_t value)
{
	op_abs(e, false, 0xc7, 0, address);
	put32(e, value);
}

static inline void move_imm(struct emitter *e, unsigned reg, uint64_t value)
{
	if (value <= UINT32_MAX) {
		put_rex(e, false, 0, (int)reg, -1);
		put8(e, 0xb8 | (reg & 7));
		put32(e, (uint32_t)value);
	} else if (fits32((int64_t)value)) {
		PUT(e, (uint8_t)(0x48 | reg >> 3), 0xc7, (uint8_t)(0xc0 | (reg & 7)));
		put32(e, (uint32_t)value);
	} else {
		PUT(e, (uint8_t)(0x48 | reg >> 3), (uint8_t)(0xb8 | (reg & 7)));
		put64(e, value);
	}
}

static inline void move_reg(struct emitter *e, unsigned to, unsigned from)
{
	PUT(e, (uint8_t)(0x48 | (from & 8) >> 1 | to >> 3), 0x89, (uint8_t)(0xc0 | (from & 7) << 3 | (to & 7)));
}

/* Group 1 with an immediate: operation 0 add, 4 and, 7 cmp. */
static inline void alu_imm(struct emitter *e, bool w, unsigned operation, unsigned reg, int32_t value)
{
	put_rex(e, w, 0, (int)reg, -1);
	PUT(e, fits8(value) ? 0x83 : 0x81, (uint8_t)(0xc0 | operation << 3 | (reg & 7)));
	if (fits8(value))
		put8(e, (uint8_t)value);
	else
		put32(e, (uint32_t)value);
}

static inline void jump_to(struct emitter *e, uint32_t target)
{
	put8(e, 0xe9);
	put32(e, target - (e->at + 4));
}

static inline void branch_to(struct emitter *e, unsigned condition, uint32_t target)
{
	PUT(e, 0x0f, (uint8_t)(0x80 | condition));
	put32(e, target - (e->at + 4));
}

/* Returns where the rel32 is, for patch32. */
static inline uint32_t jump_ahead(struct emitter *e)
{
	put8(e, 0xe9);
	put32(e, 0);
	return e->at - 4;
}

static inline uint32_t branch_ahead(struct emitter *e, unsigned condition)
{
	PUT(e, 0x0f, (uint8_t)(0x80 | condition));
	put32(e, 0);
	return e->at - 4;
}

static inline void patch32(uint8_t *base, uint32_t at, uint32_t target)
{
	uint32_t value = target - (at + 4);

	memcpy(base + at, &value, 4);
}

enum { CONDITION_B = 2, CONDITION_AE = 3, CONDITION_E = 4, CONDITION_NE = 5, CONDITION_BE = 6, CONDITION_A = 7, CONDITION_S = 8 };

#endif
