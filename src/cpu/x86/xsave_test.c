/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FXSAVE and the XSAVE family: round trips, header checks, and the host CPU as the oracle for the images. */
#include "cpu/x86/x86_test.h"

#include <cpuid.h>

enum { AREA = 0x100000, AREA2 = 0x102000 };

static uint64_t host_xcr0(void)
{
	uint32_t a, b, c, d, low, high;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (uint64_t)high << 32;
}

static void fill_fpu(struct x86_fpu *fpu, unsigned seed)
{
	memset(fpu, 0, sizeof(*fpu));
	fpu->fcw = 0x27f;
	fpu->fsw = 0x3800; /* TOP = 7 */
	fpu->ftw = 0x81;
	fpu->fop = 0x1de;
	fpu->fip = 0x12345678;
	fpu->fdp = 0x9abcdef0;
	fpu->mxcsr = 0x1fa0;
	for (unsigned i = 0; i < 8; i++) {
		for (unsigned j = 0; j < 8; j++)
			fpu->st[i][j] = (uint8_t)(seed + 16 * i + j);
		fpu->st[i][7] |= 0x80; /* a normal number */
		fpu->st[i][9] = 0x40;
	}
	for (unsigned i = 0; i < 16; i++)
		for (unsigned j = 0; j < 32; j++)
			fpu->vector[i][j] = (uint8_t)(seed + 32 * i + j + 1);
}

static void prepare(struct test_machine *m)
{
	test_long_mode(m);
	m->cpu->s.cr4 |= X86_CR4_OSFXSR | X86_CR4_OSXSAVE;
	m->cpu->s.xcr0 = m->cpu->features->xcr0_supported & 7;
	fill_fpu(&m->cpu->s.fpu, 3);
}

static uint8_t *area(struct test_machine *m, uint64_t gpa)
{
	return ram_hva(m->engine.env.ram, gpa, 4096);
}

static void test_fxsave_round_trip(void **state)
{
	struct test_machine *m = *state;
	struct x86_fpu before;

	prepare(m);
	before = m->cpu->s.fpu;
	assert_fault(m, x86_fxsave(m->cpu, AREA + 8, true), X86_GP, 0);
	assert_no_fault(m, x86_fxsave(m->cpu, AREA, true));
	assert_int_equal(load_le32(area(m, AREA) + 28), 0xffff);
	fill_fpu(&m->cpu->s.fpu, 90);
	assert_no_fault(m, x86_fxrstor(m->cpu, AREA, true));
	for (unsigned i = 0; i < 16; i++) {
		assert_memory_equal(m->cpu->s.fpu.vector[i], before.vector[i], 16);
		assert_memory_not_equal(m->cpu->s.fpu.vector[i] + 16, before.vector[i] + 16,
					16); /* AVX is not touched */
	}
	assert_memory_equal(m->cpu->s.fpu.st, before.st, sizeof(before.st));
	assert_int_equal(m->cpu->s.fpu.fcw, before.fcw);
	assert_int_equal(m->cpu->s.fpu.ftw, before.ftw);
	assert_int_equal(m->cpu->s.fpu.fip, before.fip);
	assert_int_equal(m->cpu->s.fpu.mxcsr, before.mxcsr);
	/* the error summary is computed, not loaded: an unmasked exception (#PE), then none */
	store_le16(area(m, AREA), 0x35f);
	store_le16(area(m, AREA) + 2, 0x0020);
	assert_no_fault(m, x86_fxrstor(m->cpu, AREA, true));
	assert_int_equal(m->cpu->s.fpu.fsw, 0x80a0);
	store_le16(area(m, AREA), before.fcw);
	store_le16(area(m, AREA) + 2, 0xb880);
	assert_no_fault(m, x86_fxrstor(m->cpu, AREA, true));
	assert_int_equal(m->cpu->s.fpu.fsw, 0x3800);
	/* reserved MXCSR bits: #GP, and nothing is loaded */
	area(m, AREA)[26] = 1;
	area(m, AREA)[0] = 0;
	assert_fault(m, x86_fxrstor(m->cpu, AREA, true), X86_GP, 0);
	assert_int_equal(m->cpu->s.fpu.fcw, before.fcw);
	/* a page that is missing in the middle: nothing is loaded either */
	test_set_pte(m, AREA2 + 0x1000, 0);
	memcpy(area(m, AREA2 + 0xf00), area(m, AREA), 256);
	assert_fault(m, x86_fxrstor(m->cpu, AREA2 + 0xf00, true), X86_PFV, 0);
	assert_int_equal(m->cpu->s.fpu.fcw, before.fcw);
	m->cpu->s.cr0 |= X86_CR0_TS;
	assert_int_equal(FAULT_OF(m, x86_fxsave(m->cpu, AREA, true)), X86_NM);
}

/* The host loads our standard image and saves it again: the two must agree. */
static void test_standard_image_against_host(void **state)
{
	static _Alignas(64) uint8_t ours[4096], theirs[4096], mine[4096];
	struct test_machine *m = *state;
	uint64_t mask;

	prepare(m);
	mask = m->cpu->s.xcr0 & host_xcr0() & 7;
	if ((mask & 3) != 3)
		skip();
	memset(area(m, AREA), 0, 4096);
	assert_no_fault(m, x86_xsave(m->cpu, AREA, mask, X86_XSAVE, true));
	memcpy(ours, area(m, AREA), sizeof(ours));
	assert_int_equal(load_le64(ours + 512), mask);
	__asm__ volatile("xsave64 %[mine]\n\txrstor64 %[ours]\n\txsave64 %[theirs]\n\txrstor64 %[mine]"
			 : [mine] "+m"(mine), [theirs] "+m"(theirs)
			 : [ours] "m"(ours), "a"((uint32_t)mask), "d"(0)
			 : "memory");
	assert_memory_equal(ours, theirs, 6);
	assert_memory_equal(ours + 24, theirs + 24, 4);
	for (unsigned i = 0; i < 8; i++)
		assert_memory_equal(ours + 32 + 16 * i, theirs + 32 + 16 * i, 10);
	assert_memory_equal(ours + 160, theirs + 160, 256);
	assert_memory_equal(ours + 512, theirs + 512, 8);
	if (mask & 4)
		assert_memory_equal(ours + 576, theirs + 576, 256);
}

static void test_xsave_forms(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	struct x86_fpu before;
	uint8_t *image;

	prepare(m);
	if (!(cpu->s.xcr0 & 4))
		skip();
	before = cpu->s.fpu;
	image = area(m, AREA);
	assert_fault(m, x86_xsave(cpu, AREA + 16, 7, X86_XSAVE, true), X86_GP, 0);
	/* XSAVE: components that were not asked for keep their bit and their bytes */
	memset(image, 0xcc, 4096);
	memset(image + 512, 0, 64);
	image[512] = 0x80;
	assert_no_fault(m, x86_xsave(cpu, AREA, 4, X86_XSAVE, true));
	assert_int_equal(load_le64(image + 512), 0x84);
	assert_int_equal(image[0], 0xcc);
	assert_int_equal(image[160], 0xcc);
	assert_int_equal(load_le32(image + 24), before.mxcsr); /* MXCSR goes with AVX */
	assert_memory_equal(image + 576, before.vector[0] + 16, 16);
	/* XSAVEOPT and XSAVEC leave out what is in its initial state */
	for (unsigned i = 0; i < 16; i++)
		memset(cpu->s.fpu.vector[i] + 16, 0, 16);
	memset(image, 0xcc, 4096);
	memset(image + 512, 0, 64);
	assert_no_fault(m, x86_xsave(cpu, AREA, 7, X86_XSAVEOPT, true));
	assert_int_equal(load_le64(image + 512), 3);
	assert_int_equal(image[576], 0xcc);
	memset(image, 0xcc, 4096);
	assert_no_fault(m, x86_xsave(cpu, AREA, 7, X86_XSAVEC, true));
	assert_int_equal(load_le64(image + 512), 3);
	assert_int_equal(load_le64(image + 520), 1ull << 63 | 7);
	assert_int_equal(image[576], 0xcc);
	/* restoring it puts AVX into its initial state and leaves the rest as saved */
	memset(image + 528, 0, 48);
	fill_fpu(&cpu->s.fpu, 90);
	assert_no_fault(m, x86_xrstor(cpu, AREA, 7, false, true));
	for (unsigned i = 0; i < 16; i++) {
		assert_memory_equal(cpu->s.fpu.vector[i], before.vector[i], 16);
		assert_int_equal(cpu->s.fpu.vector[i][20], 0);
	}
	assert_int_equal(cpu->s.fpu.mxcsr, before.mxcsr);
	/* a component that is not asked for stays */
	fill_fpu(&cpu->s.fpu, 90);
	assert_no_fault(m, x86_xrstor(cpu, AREA, 1, false, true));
	assert_int_equal(cpu->s.fpu.vector[2][20], (uint8_t)(90 + 64 + 21));
	assert_int_equal(cpu->s.fpu.fcw, before.fcw);
}

static void test_xrstor_header_checks(void **state)
{
	static const struct {
		unsigned offset;
		uint8_t value;
		bool supervisor;
	} bad[] = {
		{512, 0x80, false}, /* a component that XCR0 lacks */
		{520, 1, false},    /* XCOMP_BV without bit 63 */
		{528, 1, false},    /* reserved */
		{527, 0x80, true},  /* compacted, XSTATE_BV not within XCOMP_BV */
	};
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	uint8_t *image = area(m, AREA);

	prepare(m);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(image, 0, 4096);
		assert_no_fault(m, x86_xsave(cpu, AREA, 7, X86_XSAVE, true));
		image[bad[i].offset] = bad[i].value;
		assert_fault(m, x86_xrstor(cpu, AREA, 7, false, true), X86_GP, 0);
	}
	memset(image, 0, 4096);
	assert_no_fault(m, x86_xsave(cpu, AREA, 7, X86_XSAVE, true));
	assert_no_fault(m, x86_xrstor(cpu, AREA, 7, false, true));
	if (cpu->features->xsaves) {
		assert_fault(m, x86_xrstor(cpu, AREA, 7, true, true), X86_GP, 0); /* XRSTORS takes only compacted */
		memset(image, 0, 4096);
		assert_no_fault(m, x86_xsave(cpu, AREA, 7, X86_XSAVES, true));
		assert_no_fault(m, x86_xrstor(cpu, AREA, 7, true, true));
		test_set_cpl(m, 3);
		assert_fault(m, x86_xsave(cpu, AREA, 7, X86_XSAVES, true), X86_GP, 0);
	}
	test_set_cpl(m, 0);
	store_le32(image + 24, 0x10000); /* MXCSR */
	assert_no_fault(m, x86_xsave(cpu, AREA, 7, X86_XSAVE, true));
	store_le32(image + 24, 0x10000);
	store_le64(image + 520, 0);
	assert_fault(m, x86_xrstor(cpu, AREA, 4, false, true), X86_GP, 0);
	cpu->s.cr4 &= ~X86_CR4_OSXSAVE;
	assert_int_equal(FAULT_OF(m, x86_xrstor(cpu, AREA, 7, false, true)), X86_UD);
}

static void test_init_state_of_standard_image(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	prepare(m);
	memset(area(m, AREA), 0, 4096);
	store_le32(area(m, AREA) + 24, 0x1f80);
	assert_no_fault(m, x86_xrstor(cpu, AREA, 3, false, true));
	assert_int_equal(cpu->s.fpu.fcw, 0x37f);
	assert_int_equal(cpu->s.fpu.ftw, 0);
	assert_int_equal(cpu->s.fpu.vector[5][3], 0);
	assert_int_equal(cpu->s.fpu.vector[5][19], (uint8_t)(3 + 160 + 20)); /* AVX was not asked for */
	assert_int_equal(cpu->s.fpu.mxcsr, 0x1f80);
}

static void test_pkru_component(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	const struct cpuid_entry *entry = x86_cpuid_entry(cpu, 0xd, 9);

	prepare(m);
	if (!entry || !entry->eax)
		skip();
	cpu->s.xcr0 |= 1 << 9;
	cpu->s.pkru = 0x55555554;
	memset(area(m, AREA), 0, 4096);
	assert_no_fault(m, x86_xsave(cpu, AREA, ~0ull, X86_XSAVE, true));
	assert_int_equal(load_le32(area(m, AREA) + entry->ebx), 0x55555554);
	assert_no_fault(m, x86_xsave(cpu, AREA2, 1 << 9, X86_XSAVEC, true));
	assert_int_equal(load_le32(area(m, AREA2) + 576), 0x55555554); /* compacted: right behind the header */
	cpu->s.pkru = 0;
	assert_no_fault(m, x86_xrstor(cpu, AREA2, 1 << 9, false, true));
	assert_int_equal(cpu->s.pkru, 0x55555554);
}

/* Opmasks and what AVX-512 adds to the vectors, in both forms. */
static void test_avx512_components(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	const uint64_t avx512 = 7ull << 5;
	struct x86_fpu before;
	uint8_t *image;

	prepare(m);
	if ((cpu->features->xcr0_supported & avx512) != avx512)
		skip();
	cpu->s.xcr0 |= avx512;
	for (unsigned i = 0; i < 32; i++)
		for (unsigned j = 0; j < 64; j++)
			cpu->s.fpu.vector[i][j] = (uint8_t)(7 * i + j + 1);
	for (unsigned i = 0; i < 8; i++)
		cpu->s.fpu.opmask[i] = 0x0102030405060708ull * (i + 1);
	before = cpu->s.fpu;
	image = area(m, AREA);
	memset(image, 0, 4096);
	assert_no_fault(m, x86_xsave(cpu, AREA, avx512 | 7, X86_XSAVE, true));
	assert_int_equal(load_le64(image + 512), avx512 | 7);
	assert_memory_equal(image + 1088, before.opmask, 64);
	assert_memory_equal(image + 1152 + 32 * 15, before.vector[15] + 32, 32);
	assert_memory_equal(image + 1664, before.vector[16], 1024);
	memset(cpu->s.fpu.vector, 0, sizeof(cpu->s.fpu.vector));
	memset(cpu->s.fpu.opmask, 0, sizeof(cpu->s.fpu.opmask));
	assert_no_fault(m, x86_xrstor(cpu, AREA, avx512 | 7, false, true));
	assert_memory_equal(cpu->s.fpu.vector, before.vector, sizeof(before.vector));
	assert_memory_equal(cpu->s.fpu.opmask, before.opmask, sizeof(before.opmask));
	/* compacted: one behind the other; those in their initial state are not written and come back as zeroes */
	memset(cpu->s.fpu.opmask, 0, sizeof(cpu->s.fpu.opmask));
	memset(image, 0, 4096);
	assert_no_fault(m, x86_xsave(cpu, AREA, avx512, X86_XSAVEC, true));
	assert_int_equal(load_le64(image + 512), 6ull << 5);
	assert_int_equal(load_le64(image + 520), 1ull << 63 | avx512);
	assert_memory_equal(image + 576 + 64, before.vector[0] + 32, 32);
	assert_memory_equal(image + 576 + 64 + 512, before.vector[16], 1024);
	memset(cpu->s.fpu.vector[16], 0, 1024);
	cpu->s.fpu.opmask[3] = 9;
	assert_no_fault(m, x86_xrstor(cpu, AREA, avx512, false, true));
	assert_memory_equal(cpu->s.fpu.vector[16], before.vector[16], 1024);
	assert_int_equal(cpu->s.fpu.opmask[3], 0);
	/* a part of them makes no XCR0 */
	assert_fault(m, x86_xsetbv(cpu, 0, 0x67), X86_GP, 0);
	assert_fault(m, x86_xsetbv(cpu, 0, 0xe3), X86_GP, 0);
	assert_no_fault(m, x86_xsetbv(cpu, 0, 0xe7));
}

/* 32-bit code has eight vector registers; the others' bytes in memory and registers stay. */
static void test_32bit_mode(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	prepare(m);
	cpu->s.seg[X86_CS].attr = (cpu->s.seg[X86_CS].attr & ~X86_SEG_L) | X86_SEG_DB;
	x86_mode_update(cpu);
	memset(area(m, AREA), 0xcc, 512);
	assert_no_fault(m, x86_fxsave(cpu, AREA, false));
	assert_memory_equal(area(m, AREA) + 160 + 16 * 7, cpu->s.fpu.vector[7], 16);
	assert_int_equal(area(m, AREA)[160 + 16 * 8], 0xcc);
	assert_no_fault(m, x86_fxrstor(cpu, AREA, false));
	assert_int_equal(cpu->s.fpu.vector[8][0], (uint8_t)(3 + 256 + 1));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, test_machine_setup, test_machine_teardown)
	const struct CMUnitTest tests[] = {
		T(test_fxsave_round_trip),    T(test_standard_image_against_host),  T(test_xsave_forms),
		T(test_xrstor_header_checks), T(test_init_state_of_standard_image), T(test_pkru_component),
		T(test_avx512_components),    T(test_32bit_mode),
	};

	return cmocka_run_group_tests_name("x86 xsave", tests, NULL, NULL);
}
