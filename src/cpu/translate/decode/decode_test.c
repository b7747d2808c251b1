/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memo of decoded instructions says of all bytes, under all keys, what decoding says without it. */
#include "cpu/interp/test_guest.h"
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/decode/classify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Everything that classify fills in. */
#define FIELDS(X) \
	X(rip) X(memory.disp) X(memory.limit) X(memory.base) X(memory.index) X(memory.segment) X(memory.scale) X(memory.address32) \
	X(memory.displacement) X(memory.rip_relative) X(immediate) X(attributes) X(kind) X(flags_read) X(flags_killed) X(uses) X(direct) \
	X(overwrites) X(written) X(size) X(mnemonic) X(operands[0].reg) X(operands[0].size) X(operands[0].type) X(operands[0].gpr) \
	X(operands[1].reg) X(operands[1].size) X(operands[1].type) X(operands[1].gpr) X(length) X(category) X(encoding) X(opcode_map) \
	X(opcode) X(operand_width) X(address_width) X(modrm_offset) X(sib_offset) X(disp_offset) X(disp_size) X(immediate_offset) \
	X(immediate_size) X(system) X(helper) X(vector) X(x87) X(faults) X(high_byte) X(writes) X(reads) X(masked) X(rex_w) X(sign_extended)

#define SIZE(field) + sizeof(((struct guest_instruction *)0)->field)
/* bytes is compared apart; flags_live, flags_live_after and host are not classify's. */
enum { OTHER_FIELDS = sizeof(uint8_t *) + 2 * sizeof(uint32_t) + sizeof(bool), PADDING = 5 /* of memory */ + 3 };
_Static_assert(FIELDS(SIZE) + OTHER_FIELDS + PADDING == sizeof(struct guest_instruction), "a new field is to be listed, or is padding");

static const char *difference(const struct guest_instruction *a, const struct guest_instruction *b)
{
#define DIFFERS(field)            \
	if (a->field != b->field) \
		return #field;
	FIELDS(DIFFERS)
	return a->bytes != b->bytes ? "bytes" : NULL;
}

static void check(const struct translator *t, const uint8_t *bytes, unsigned room, uint64_t rip)
{
	struct guest_instruction with, without;
	ZyanStatus expected = classify(t, &without, bytes, room, rip), status = decode(t, &with, bytes, room, rip);
	const char *what = expected != status ? "status" : ZYAN_SUCCESS(status) ? difference(&with, &without) : NULL;

	if (!what)
		return;
	for (unsigned i = 0; i < 15 && i < room; i++)
		fprintf(stderr, "%02x ", bytes[i]);
	fail_msg("of these %u bytes at 0x%llx under key 0x%x: %s", room, (unsigned long long)rip, t->key, what);
}

static uint64_t random_number(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 33;
}

static uint64_t random_rip(uint64_t *seed, const struct translator *t)
{
	uint64_t rip = random_number(seed) << 16 ^ random_number(seed);

	return t->key & KEY_CODE32 ? (uint32_t)rip >> random_number(seed) % 32 : rip & 1 ? rip : ~rip;
}

/* The instruction, and those that differ from it in one byte. */
static void check_neighbours(const struct translator *t, const uint8_t *bytes, uint64_t *seed)
{
	uint8_t copy[16];

	check(t, bytes, 15, random_rip(seed, t));
	memcpy(copy, bytes, 15);
	for (unsigned i = 0; i < 15; i++) {
		copy[i] = (uint8_t)random_number(seed);
		check(t, copy, 15, random_rip(seed, t));
		copy[i] = bytes[i] ^ (uint8_t)(1 << random_number(seed) % 8);
		check(t, copy, 15, random_rip(seed, t));
		copy[i] = bytes[i];
		check(t, copy, (unsigned)random_number(seed) % 16, random_rip(seed, t));
	}
}

/* --- keys --- */

enum { VECTORS = KEY_SSE | KEY_AVX | KEY_AVX512, FLAT = 1 << KEY_SEGMENTS_SHIFT, NARROW = 2 << KEY_SEGMENTS_SHIFT };

static const uint16_t keys[] = {
	X86_VIEW_USER | VECTORS,
	X86_VIEW_SUPERVISOR | VECTORS,
	X86_VIEW_USER,
	X86_VIEW_USER | KEY_SSE,
	X86_VIEW_USER | VECTORS | KEY_CODE32 | FLAT,
	X86_VIEW_SUPERVISOR | VECTORS | KEY_CODE32 | NARROW,
};

static void set_key(struct translator *t, uint16_t key)
{
	t->key = key;
	t->decoder = &t->decoders[(key & KEY_CODE32) != 0];
}

static void init(struct guest *guest)
{
	const uint8_t all = SEGMENT_READ | SEGMENT_WRITE;
	struct translator *t;

	guest_init_engine(guest, &translate_engine, 1, NULL, false);
	t = translator_of(guest->cpu[0]);
	t->segmentation[1] = (struct segmentation){
		.limit = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
		.rights = {all, SEGMENT_READ, all, all, all, all | SEGMENT_BASE},
	};
	t->segmentation[2] = (struct segmentation){
		.limit = {0x7fff, 0xffff, UINT32_MAX, UINT32_MAX, 0, 0x7fff},
		.rights = {all, SEGMENT_READ, all, SEGMENT_READ | SEGMENT_BASE, 0, all},
	};
}

/* --- tests --- */

static void test_random_bytes(void **unused)
{
	struct guest guest;
	struct translator *t;
	uint8_t bytes[16];
	uint64_t seed = 1;

	init(&guest);
	t = translator_of(guest.cpu[0]);
	for (unsigned i = 0; i < 20000; i++) {
		set_key(t, keys[random_number(&seed) % ARRAY_SIZE(keys)]);
		for (unsigned k = 0; k < 15; k++)
			bytes[k] = (uint8_t)random_number(&seed);
		check_neighbours(t, bytes, &seed);
	}
	guest_fini(&guest);
}

/* All opcodes, with prefixes before them. */
static void test_opcodes(void **unused)
{
	static const uint8_t prefixes[][2] = {{0}, {0x66}, {0x67}, {0xf2}, {0xf3}, {0xf0}, {0x64}, {0x48}, {0x41}, {0x66, 0x44}, {0xf2, 0x48}, {0x2e}};
	static const uint8_t maps[][4] = {
		{0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}, {0xc5, 0xf9}, {0xc4, 0xe3, 0x7d}, {0xc4, 0xc2, 0x79},
		{0x62, 0xf1, 0x7c, 0x48}, {0x62, 0xf1, 0xfd, 0x28}, {0x62, 0xf2, 0x7d, 0x49}, {0x62, 0xf3, 0xfd, 0x08}, {0x8f, 0xe8, 0x78},
	};
	struct guest guest;
	struct translator *t;
	uint64_t seed = 2;

	init(&guest);
	t = translator_of(guest.cpu[0]);
	for (unsigned i = 0; i < ARRAY_SIZE(prefixes) * ARRAY_SIZE(maps) * 256; i++) {
		const uint8_t *prefix = prefixes[i / 256 % ARRAY_SIZE(prefixes)], *map = maps[i / 256 / ARRAY_SIZE(prefixes)];
		uint8_t bytes[24];
		unsigned at = 0;

		for (unsigned k = 0; k < 2 && prefix[k]; k++)
			bytes[at++] = prefix[k];
		for (unsigned k = 0; k < 4 && map[k]; k++)
			bytes[at++] = map[k];
		bytes[at++] = (uint8_t)i;
		while (at < sizeof(bytes))
			bytes[at++] = (uint8_t)random_number(&seed);
		set_key(t, keys[random_number(&seed) % ARRAY_SIZE(keys)]);
		check_neighbours(t, bytes, &seed);
	}
	guest_fini(&guest);
}

static uint8_t *read_self(size_t *length)
{
	uint8_t *bytes = malloc(MIB);
	FILE *file = fopen("/proc/self/exe", "r");

	assert_non_null(bytes);
	assert_non_null(file);
	*length = fread(bytes, 1, MIB, file);
	assert_true(*length > 64 * KIB);
	fclose(file);
	return bytes;
}

/* This program, at every offset; then once more, where its instructions stand, by the memo alone. */
static void test_code(void **unused)
{
	enum { MOST = 256 * 1024 };
	const uint8_t *code = (const uint8_t *)(uintptr_t)classify;
	unsigned known = 0, all = 0;
	struct guest_instruction g;
	struct guest guest;
	struct translator *t;
	uint64_t seed = 3;
	size_t length;
	uint8_t *bytes = read_self(&length);

	init(&guest);
	t = translator_of(guest.cpu[0]);
	for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) {
		set_key(t, keys[k]);
		for (size_t i = 0; i + 15 < length && i < MOST; i++)
			check(t, bytes + i, 15, random_rip(&seed, t));
	}
	set_key(t, keys[0]);
	for (unsigned pass = 0; pass < 2; pass++) {
		known = all = 0;
		for (unsigned i = 0; i < 2000 && ZYAN_SUCCESS(classify(t, &g, code + i, 15, 0)); i += g.length) {
			known += decode_known(t, code + i, 15) != NULL;
			all++;
			check(t, code + i, 15, random_rip(&seed, t));
		}
	}
	assert_true(all > 100 && known > all * 3 / 4);
	free(bytes);
	guest_fini(&guest);
}

/* The same bytes under one key, then another, then the first. */
static void test_keys(void **unused)
{
	static const uint8_t codes[][15] = {
		{0xfa},                               /* cli */
		{0x0f, 0x58, 0xc1},                   /* addps xmm0, xmm1 */
		{0xc5, 0xf8, 0x58, 0xc1},             /* vaddps xmm0, xmm0, xmm1 */
		{0x48, 0xff, 0xc0},                   /* inc rax; dec eax, inc eax */
		{0x8b, 0x05, 0x10, 0x00, 0x00, 0x00}, /* mov eax, [rip + 16]; [16] */
		{0xa1, 0x10, 0x00, 0x00, 0x00},       /* mov eax, [..] */
		{0x50},                               /* push rax; eax */
	};
	struct guest guest;
	struct translator *t;

	init(&guest);
	t = translator_of(guest.cpu[0]);
	for (unsigned i = 0; i < 3 * ARRAY_SIZE(keys); i++) {
		set_key(t, keys[i * 5 % ARRAY_SIZE(keys)]);
		for (unsigned k = 0; k < ARRAY_SIZE(codes); k++)
			check(t, codes[k], 15, GUEST_CODE);
	}
	guest_fini(&guest);
}

/* Operands with a SIB byte, whatever prefixes are before them: with mod 0 and base 101b there is a displacement and no base. */
static void test_sib(void **unused)
{
	struct guest guest;
	struct translator *t;

	init(&guest);
	t = translator_of(guest.cpu[0]);
	set_key(t, X86_VIEW_USER);
	for (unsigned i = 0; i < 1 << 14; i++) {
		const uint8_t rex = 0x40 | (i >> 8 & 15), mod = (uint8_t)(i >> 12) % 3;
		const uint8_t narrow[] = {0x67, rex, 0x8b, (uint8_t)(mod << 6 | 4), (uint8_t)i, 0x6a, 0xdc, 0x8a, 0x8d}, *wide = narrow + 1;
		const bool none = mod == 0 && (i & 7) == 5;
		struct guest_instruction g;

		check(t, narrow, sizeof(narrow), GUEST_CODE);
		check(t, wide, sizeof(narrow) - 1, GUEST_CODE);
		for (unsigned k = 0; k < 2; k++) {
			assert_true(ZYAN_SUCCESS(decode(t, &g, narrow + k, sizeof(narrow) - k, GUEST_CODE)));
			assert_int_equal(g.memory.base, none ? NO_REGISTER : (int)((i & 7) | (rex & 1) << 3));
			if (none)
				assert_int_equal((int32_t)g.memory.disp, (int32_t)0x8d8adc6a);
		}
	}
	guest_fini(&guest);
}

/* 32-bit branches to either side of the code segment's limit. */
static void test_limit(void **unused)
{
	static const uint8_t near[] = {0xe9, 0x10, 0, 0, 0}, far[] = {0xe9, 0, 0, 1, 0}, jz_near[] = {0x74, 0x10}, jz_far[] = {0x74, 0x80};
	struct guest guest;
	struct translator *t;

	init(&guest);
	t = translator_of(guest.cpu[0]);
	set_key(t, X86_VIEW_USER | KEY_CODE32 | NARROW);
	for (unsigned i = 0; i < 4; i++) {
		check(t, i & 1 ? near : far, sizeof(near), 0x100);
		check(t, i & 1 ? far : near, sizeof(far), 0x100);
		check(t, i & 1 ? jz_near : jz_far, sizeof(jz_near), 0x10);
		check(t, i & 1 ? jz_far : jz_near, sizeof(jz_far), 0x10);
	}
	guest_fini(&guest);
}

/* What is made of these depends on CR4, whose change makes everything be forgotten. */
static void test_cr4(void **unused)
{
	static const uint8_t rdfsbase[] = {0xf3, 0x48, 0x0f, 0xae, 0xc0}, stac[] = {0x0f, 0x01, 0xcb}, rdpkru[] = {0x0f, 0x01, 0xee};
	struct guest guest;
	struct translator *t;

	init(&guest);
	t = translator_of(guest.cpu[0]);
	set_key(t, X86_VIEW_SUPERVISOR);
	for (unsigned i = 0; i < 4; i++) {
		check(t, rdfsbase, sizeof(rdfsbase), GUEST_CODE);
		check(t, stac, sizeof(stac), GUEST_CODE);
		check(t, rdpkru, sizeof(rdpkru), GUEST_CODE);
		t->cpu->s.cr4 ^= KEY_CR4;
		code_flush(t);
	}
	guest_fini(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_opcodes),
		cmocka_unit_test(test_code),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_sib),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_cr4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
