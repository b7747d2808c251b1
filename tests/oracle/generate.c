/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random instruction bytes: every opcode of every map with every prefix has its chance; what the decoder accepts and
 * the filter lets pass becomes a case. */
#include "oracle.h"

#include <string.h>

bool generate_decode(struct oracle_case *c)
{
	ZydisDecoder decoder;

	if (c->in.mode == 64)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else if (c->in.mode == 32)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, c->bytes, c->length, &c->instruction, c->operands));
}

enum map { ONE_BYTE, MAP_0F, MAP_0F38, MAP_0F3A, X87, VEX, EVEX };

static enum map pick_map(struct oracle_random *r)
{
	static const uint8_t weights[] = {
		[ONE_BYTE] = 14, [MAP_0F] = 20, [MAP_0F38] = 14, [MAP_0F3A] = 12, [X87] = 6, [VEX] = 34, [EVEX] = 40,
	};
	unsigned value = random_below(r, host_has_avx512() ? 140 : 100), map = 0;

	while (value >= weights[map])
		value -= weights[map++];
	return (enum map)map;
}

static unsigned put_prefixes(uint8_t *to, struct oracle_random *r, bool vex, unsigned mode)
{
	static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x65};
	unsigned n = 0;

	if (!vex && random_chance(r, 4))
		to[n++] = 0xf0;
	if (random_chance(r, 4))
		to[n++] = segments[random_below(r, sizeof(segments))];
	if (random_chance(r, mode == 32 ? 4 : mode == 16 ? 25 : 6))
		to[n++] = 0x67;
	if (vex)
		return n;
	if (random_chance(r, 25))
		to[n++] = 0x66;
	if (random_chance(r, 25))
		to[n++] = random_chance(r, 50) ? 0xf2 : 0xf3;
	if (mode == 64 && random_chance(r, 45))
		to[n++] = (uint8_t)(0x40 | random_below(r, 16));
	return n;
}

static unsigned put_opcode(uint8_t *to, struct oracle_random *r, enum map map, unsigned mode)
{
	uint64_t bits = random_next(r);
	unsigned n = 0;

	switch (map) {
	case ONE_BYTE:
		break;
	case MAP_0F:
		to[n++] = 0x0f;
		break;
	case MAP_0F38:
	case MAP_0F3A:
		to[n++] = 0x0f;
		to[n++] = map == MAP_0F38 ? 0x38 : 0x3a;
		break;
	case X87:
		to[n++] = (uint8_t)(0xd8 | (bits & 7));
		return n;
	case VEX:
		if (bits & 1) {
			to[n++] = 0xc5;
			to[n++] = (uint8_t)(bits >> 8);
		} else {
			to[n++] = 0xc4;
			to[n++] = (uint8_t)((bits >> 8 & 0xe0) | (1 + (bits >> 20) % 3));
			to[n++] = (uint8_t)(bits >> 24);
		}
		if (mode != 64)
			to[1] |= 0xc0; /* else LES and LDS */
		if (bits & 2)
			to[n - 1] |= 0x78; /* no second source */
		break;
	case EVEX:
		to[n++] = 0x62;
		to[n++] = (uint8_t)((bits & 0xf0) | (1 + (bits >> 20) % 3));
		to[n++] = (uint8_t)(bits >> 24 | 4);
		to[n++] = (uint8_t)(bits >> 32);
		if (bits & 2)
			to[3] &= 0x7f; /* not every instruction may zero what the mask leaves out */
		if (mode != 64)
			to[1] |= 0xc0; /* else BOUND */
		if (bits & 1 << 8) {
			to[2] |= 0x78; /* no second source */
			to[3] |= 8;
		}
		break;
	}
	to[n++] = (uint8_t)(bits >> 40);
	return n;
}

static void random_bytes(struct oracle_case *c, struct oracle_random *r)
{
	const enum map map = pick_map(r);
	uint8_t bytes[32];
	uint64_t tail[2] = {random_next(r), random_next(r)};
	unsigned n = put_prefixes(bytes, r, map == VEX || map == EVEX, c->in.mode);

	n += put_opcode(bytes + n, r, map, c->in.mode);
	bytes[n++] = (uint8_t)(random_next(r) | (random_chance(r, 40) ? 0xc0 : 0));
	memcpy(bytes + n, tail, sizeof(tail));
	memcpy(c->bytes, bytes, sizeof(c->bytes));
	c->length = sizeof(c->bytes);
}

bool generate_case(struct oracle_case *c, uint64_t seed, unsigned mode, bool segmented, const uint8_t *bytes,
		   unsigned length)
{
	struct oracle_random r = {seed};
	const unsigned kind = random_below(&r, 100);

	c->seed = seed;
	c->in.mode = mode ? mode : kind < 60 ? 64 : kind < 85 ? 32 : 16;
	c->in.segmented = c->in.mode == 16 || (c->in.mode == 32 && segmented);
	random_bytes(c, &r);
	if (bytes) {
		memcpy(c->bytes, bytes, length);
		c->length = (uint8_t)length;
	}
	if (!generate_decode(c))
		return false;
	c->length = c->instruction.length;
	return !filter_refuses(c);
}
