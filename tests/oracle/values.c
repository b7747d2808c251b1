/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random and boundary values for all registers and memory: integers, floating point of all classes, x87 state. */
#include "oracle.h"

#include <string.h>

static const uint64_t boundary[] = {
	0,
	1,
	2,
	0x7f,
	0x80,
	0xff,
	0x100,
	0x7fff,
	0x8000,
	0xffff,
	0x10000,
	0x7fffffff,
	0x80000000,
	0xffffffff,
	0x100000000,
	0x7fffffffffffffff,
	0x8000000000000000,
	0xffffffffffffffff,
	0xfffffffffffffffe,
	0xffffffff80000000,
	0xffffffffffffff80,
	0x5555555555555555,
	0xaaaaaaaaaaaaaaaa,
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t random_integer(struct oracle_random *r)
{
	uint64_t value = random_next(r);

	switch (random_below(r, 6)) {
	case 0:
		return boundary[random_below(r, COUNT(boundary))];
	case 1:
		return value & 0xff;
	case 2:
		return (uint64_t)(int64_t)(int8_t)value;
	case 3:
		return value >> random_below(r, 64);
	default:
		return value;
	}
}

static uint32_t random_float(struct oracle_random *r)
{
	static const uint32_t special[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
					   0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 1,
					   0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000,
					   0x5f000000, 0x3f000000, 0x33800000, 0x4effffff};
	uint32_t bits = (uint32_t)random_next(r);

	switch (random_below(r, 4)) {
	case 0:
		return special[random_below(r, COUNT(special))];
	case 1: /* around one */
		return (bits & 0x807fffff) | (118 + random_below(r, 24)) << 23;
	case 2: {
		float f = (float)(int16_t)bits;

		memcpy(&bits, &f, 4);
		return bits;
	}
	default:
		return bits;
	}
}

static uint64_t random_double(struct oracle_random *r)
{
	static const uint64_t special[] = {0,
					   1ull << 63,
					   0x3ff0000000000000,
					   0xbff0000000000000,
					   0x7ff0000000000000,
					   0xfff0000000000000,
					   0x7ff8000000000000,
					   0x7ff0000000000001,
					   0xfff8000000012345,
					   1,
					   0x000fffffffffffff,
					   0x0010000000000000,
					   0x7fefffffffffffff,
					   0x41e0000000000000,
					   0x43e0000000000000,
					   0xc3e0000000000000,
					   0x36a0000000000000,
					   0x47efffffffffffff};
	uint64_t bits = random_next(r);

	switch (random_below(r, 4)) {
	case 0:
		return special[random_below(r, COUNT(special))];
	case 1:
		return (bits & 0x800fffffffffffff) | (uint64_t)(1000 + random_below(r, 50)) << 52;
	case 2: {
		double d = (double)(int32_t)bits;

		memcpy(&bits, &d, 8);
		return bits;
	}
	default:
		return bits;
	}
}

static void random_vector(uint8_t *to, unsigned bytes, struct oracle_random *r)
{
	const unsigned kind = random_below(r, 6);

	for (unsigned i = 0; i < bytes; i += 8) {
		uint64_t value = random_next(r);

		if (kind == 0)
			value = random_double(r);
		else if (kind == 1)
			value = random_float(r) | (uint64_t)random_float(r) << 32;
		else if (kind == 2)
			value = random_integer(r);
		else if (kind == 3) /* few different bytes, some zero: strings */
			value &= 0x0303030303030303u;
		memcpy(to + i, &value, 8);
	}
}

static void random_st(uint8_t *to, struct oracle_random *r)
{
	uint64_t mantissa = random_next(r) | 1ull << 63;
	uint16_t exponent = (uint16_t)(16383 - 40 + random_below(r, 110));
	const uint16_t sign = random_chance(r, 50) ? 0x8000 : 0;

	switch (random_below(r, 9)) {
	case 0: /* zero */
		mantissa = 0;
		exponent = 0;
		break;
	case 1: /* infinity, NaNs */
		exponent = 0x7fff;
		mantissa = random_chance(r, 50) ? 1ull << 63 : mantissa;
		break;
	case 2: /* denormal */
		exponent = 0;
		mantissa = random_next(r) >> random_below(r, 64);
		break;
	case 3: /* anything, unnormals too */
		mantissa = random_next(r);
		exponent = (uint16_t)(random_next(r) & 0x7fff);
		break;
	case 4: /* integers */
		mantissa = 1ull << 63 | random_next(r) << 40;
		exponent = (uint16_t)(16383 + random_below(r, 20));
		break;
	case 5: /* extremes */
		exponent =
			random_chance(r, 50) ? (uint16_t)random_below(r, 80) : (uint16_t)(0x7ffe - random_below(r, 80));
		break;
	default:
		break;
	}
	memset(to, 0, 16);
	memcpy(to, &mantissa, 8);
	exponent |= sign;
	memcpy(to + 8, &exponent, 2);
}

static void random_x87(struct oracle_regs *regs, struct oracle_random *r)
{
	const unsigned kind = random_below(r, 10);

	regs->fcw = (uint16_t)(0x40 | (random_next(r) & 0xf00) | (random_chance(r, 80) ? 0x3f : random_next(r) & 0x3f));
	if (random_chance(r, 50))
		regs->fcw = 0x37f;
	regs->fsw = (uint16_t)(random_next(r) & 0x7f00);
	if (random_chance(r, 15))
		regs->fsw |= random_next(r) & 0x7f;
	if (regs->fsw & ~regs->fcw & 0x3f)
		regs->fsw |= 0x8080;
	/* Mostly full or half full; random: any tags. */
	regs->ftw = kind < 4 ? 0xff : kind < 6 ? 0 : (uint8_t)random_next(r);
	for (unsigned i = 0; i < 8; i++)
		random_st(regs->st[i], r);
}

/* All, none, the first ones (as at the end of a string), the last ones, any. */
static uint64_t random_opmask(struct oracle_random *r)
{
	switch (random_below(r, 8)) {
	case 0:
		return ~0ull;
	case 1:
		return 0;
	case 2:
	case 3:
		return ~(~0ull << random_below(r, random_chance(r, 50) ? 64 : 9));
	case 4:
		return ~0ull << random_below(r, random_chance(r, 50) ? 64 : 9);
	default:
		return random_next(r);
	}
}

/* Often code has used SSE alone: all upper parts are zero, which translate's code looks at. Or all but for one byte. */
static void clear_uppers(struct oracle_regs *regs, struct oracle_random *r)
{
	for (unsigned i = 0; i < 16; i++)
		memset(regs->vector[i] + 16, 0, sizeof(regs->vector[i]) - 16);
	if (random_chance(r, 30))
		regs->vector[random_below(r, 16)][16 + random_below(r, 48)] = 1;
}

void generate_registers(struct oracle_regs *regs, struct oracle_random *r)
{
	for (unsigned i = 0; i < 16; i++)
		regs->gpr[i] = random_integer(r);
	regs->rflags = 0x202 | (random_next(r) & 0x8d5) | (random_chance(r, 10) ? 0x400 : 0);
	regs->mxcsr = 0x1f80;
	if (random_chance(r, 50))
		regs->mxcsr |= random_next(r) & 0xe07f; /* rounding, FTZ, DAZ, sticky flags */
	if (random_chance(r, 15))
		regs->mxcsr &= ~(random_next(r) & 0x1f80);
	for (unsigned i = 0; i < 32; i++)
		random_vector(regs->vector[i], 64, r);
	if (random_chance(r, 30))
		clear_uppers(regs, r);
	for (unsigned i = 0; i < 8; i++)
		regs->opmask[i] = random_opmask(r);
	random_x87(regs, r);
}

void generate_memory(struct oracle_memory *memory, struct oracle_random *r)
{
	uint64_t value;

	memset(memory->code, 0xcc, sizeof(memory->code));
	for (unsigned i = 0; i < sizeof(memory->data); i += 32)
		random_vector(memory->data + i, 32, r);
	for (unsigned i = 0; i < sizeof(memory->stack); i += 8) {
		value = random_integer(r);
		memcpy(memory->stack + i, &value, 8);
	}
	for (unsigned i = 0; i < sizeof(memory->constant); i += 8) {
		value = 0x0123456789abcdefull * (i + 1); /* the same in all cases: it is read-only */
		memcpy(memory->constant + i, &value, 8);
	}
}
