/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control registers, RFLAGS loads, MSRs, MTRRs, kvmclock, I/O permission. */
#include "cpu/x86/x86_test.h"

static void test_cr0_checks(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	assert_fault(m, x86_set_cr(m->cpu, 0, 1ull << 32), X86_GP, 0);
	assert_fault(m, x86_set_cr(m->cpu, 0, X86_CR0_PG), X86_GP, 0);              /* without PE */
	assert_fault(m, x86_set_cr(m->cpu, 0, X86_CR0_PE | X86_CR0_NW), X86_GP, 0); /* without CD */
	assert_int_equal(FAULT_OF(m, x86_set_cr(m->cpu, 1, 0)), X86_UD);
	/* into long mode: LME needs PAE */
	assert_no_fault(m, x86_wrmsr(m->cpu, 0xc0000080, X86_EFER_LME));
	assert_fault(m, x86_set_cr(m->cpu, 0, s->cr0 | X86_CR0_PG), X86_GP, 0);
	assert_no_fault(m, x86_set_cr(m->cpu, 4, X86_CR4_PAE));
	s->seg[X86_CS].attr |= X86_SEG_L;
	assert_fault(m, x86_set_cr(m->cpu, 0, s->cr0 | X86_CR0_PG), X86_GP, 0); /* CS.L before LMA */
	s->seg[X86_CS].attr &= ~X86_SEG_L;
	assert_no_fault(m, x86_set_cr(m->cpu, 0, s->cr0 | X86_CR0_PG));
	assert_true(s->efer & X86_EFER_LMA);
	assert_true(m->cpu->long_mode);
	assert_int_equal(m->cpu->code_mode, X86_CODE32);
	/* inside */
	assert_fault(m, x86_wrmsr(m->cpu, 0xc0000080, 0), X86_GP, 0); /* LME while paging */
	assert_fault(m, x86_set_cr(m->cpu, 4, 0), X86_GP, 0);         /* PAE */
	assert_no_fault(m, x86_set_cr(m->cpu, 0, s->cr0 & ~X86_CR0_PG));
	assert_false(s->efer & X86_EFER_LMA);
	assert_true(s->efer & X86_EFER_LME);
	/* 64-bit code cannot leave */
	test_long_mode(m);
	assert_fault(m, x86_set_cr(m->cpu, 0, s->cr0 & ~X86_CR0_PG), X86_GP, 0);
	assert_fault(m, x86_set_cr(m->cpu, 3, 1ull << 40), X86_GP, 0); /* beyond 40 physical bits */
	/* LMSW sets PE and does not clear it */
	assert_no_fault(m, x86_lmsw(m->cpu, X86_CR0_TS));
	assert_int_equal(s->cr0 & 0xf, X86_CR0_PE | X86_CR0_TS);
	/* nothing of this outside CPL 0 */
	test_set_cpl(m, 3);
	assert_fault(m, x86_set_cr(m->cpu, 0, s->cr0), X86_GP, 0);
	assert_fault(m, (void)x86_get_cr(m->cpu, 3), X86_GP, 0);
	assert_fault(m, x86_lmsw(m->cpu, 0), X86_GP, 0);
	assert_fault(m, (void)x86_rdmsr(m->cpu, 0x10), X86_GP, 0);
	assert_fault(m, x86_wrmsr(m->cpu, 0x10, 0), X86_GP, 0);
	assert_fault(m, x86_set_dr(m->cpu, 0, 0), X86_GP, 0);
}

static void test_cr4_reserved(void **state)
{
	struct test_machine *m = *state;

	test_long_mode(m);
	assert_fault(m, x86_set_cr(m->cpu, 4, m->cpu->s.cr4 | 1 << 13), X86_GP, 0); /* VMXE: not offered */
	assert_fault(m, x86_set_cr(m->cpu, 4, m->cpu->s.cr4 | 1ull << 40), X86_GP, 0);
	assert_fault(m, x86_set_cr(m->cpu, 4, m->cpu->s.cr4 | X86_CR4_LA57), X86_GP, 0);
	assert_no_fault(
		m, x86_set_cr(m->cpu, 4, m->cpu->s.cr4 | X86_CR4_OSXSAVE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE));
	assert_fault(m, x86_set_cr(m->cpu, 8, 16), X86_GP, 0);
	assert_no_fault(m, x86_set_cr(m->cpu, 8, 15));
	assert_int_equal(x86_get_cr(m->cpu, 8), 15);
}

static void test_xcr0(void **state)
{
	struct test_machine *m = *state;

	test_long_mode(m);
	assert_int_equal(FAULT_OF(m, x86_xsetbv(m->cpu, 0, 3)), X86_UD);
	m->cpu->s.cr4 |= X86_CR4_OSXSAVE;
	assert_fault(m, x86_xsetbv(m->cpu, 1, 3), X86_GP, 0);
	assert_fault(m, x86_xsetbv(m->cpu, 0, 2), X86_GP, 0); /* x87 is always on */
	assert_fault(m, x86_xsetbv(m->cpu, 0, 5), X86_GP, 0); /* AVX without SSE */
	assert_fault(m, x86_xsetbv(m->cpu, 0, 1ull << 62 | 3), X86_GP, 0);
	assert_no_fault(m, x86_xsetbv(m->cpu, 0, 3));
	assert_int_equal(m->cpu->s.xcr0, 3);
}

/* --- RFLAGS --- */

static void test_popf_masks(void **state)
{
	static const struct {
		unsigned cpl, iopl;
		uint64_t before, value, after;
		unsigned size;
	} rows[] = {
		/* CPL 0: everything but VM, VIF, VIP; RF is cleared */
		{0, 0, X86_RF, ~0ull, X86_RFLAGS_DEFINED & ~(X86_VM | X86_VIF | X86_VIP | X86_RF), 8},
		{0, 0, X86_AC | X86_ID, 0, X86_AC | X86_ID, 2}, /* a 16-bit POPF leaves the upper half */
		{3, 0, X86_IF, ~0ull, (X86_RFLAGS_DEFINED & ~(X86_VM | X86_VIF | X86_VIP | X86_RF | X86_IOPL)), 8},
		{3, 0, 0, ~0ull, (X86_RFLAGS_DEFINED & ~(X86_VM | X86_VIF | X86_VIP | X86_RF | X86_IOPL | X86_IF)), 8},
		{3, 0, X86_IF, 0, X86_IF, 4},
		{3, 3, X86_IF, 0, X86_IOPL, 4},
	};
	struct test_machine *m = *state;

	test_protected_mode(m);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		test_set_cpl(m, rows[i].cpl);
		m->cpu->s.rflags = rows[i].before | rows[i].iopl << 12 | 2;
		x86_set_rflags(m->cpu, rows[i].value, rows[i].size);
		if (m->cpu->s.rflags != (rows[i].after | 2))
			fail_msg("row %zu: %#llx", i, (unsigned long long)m->cpu->s.rflags);
	}
	/* vm86 */
	m->cpu->s.rflags = X86_VM | X86_IF | 2;
	x86_mode_update(m->cpu);
	assert_fault(m, x86_set_rflags(m->cpu, 0, 2), X86_GP, 0);
	m->cpu->s.rflags |= X86_IOPL;
	assert_no_fault(m, x86_set_rflags(m->cpu, 0, 2));
	assert_int_equal(m->cpu->s.rflags, X86_VM | X86_IOPL | 2);
	/* VME: IF is VIF; VIP makes enabling it a #GP */
	m->cpu->s.rflags = X86_VM | X86_IF | X86_VIP | 2;
	m->cpu->s.cr4 = X86_CR4_VME;
	assert_fault(m, x86_set_rflags(m->cpu, X86_IF, 2), X86_GP, 0);
	assert_no_fault(m, x86_set_rflags(m->cpu, X86_CF, 2));
	m->cpu->s.rflags &= ~(uint64_t)X86_VIP;
	assert_no_fault(m, x86_set_rflags(m->cpu, X86_IF, 2));
	assert_int_equal(m->cpu->s.rflags, X86_VM | X86_IF | X86_VIF | 2);
}

/* --- I/O permission --- */

static void test_io_bitmap(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_protected_mode(m);
	assert_no_fault(m, x86_check_io(cpu, 0x80, 1));
	test_set_cpl(m, 3);
	memset(ram_hva(m->engine.env.ram, TEST_TSS + 0x68, 0x2000), 0xff, 0x2000);
	assert_fault(m, x86_check_io(cpu, 0x80, 1), X86_GP, 0);
	cpu->s.rflags |= X86_IOPL;
	assert_no_fault(m, x86_check_io(cpu, 0x80, 1));
	cpu->s.rflags &= ~(uint64_t)X86_IOPL;
	/* 0x3f8..0x3ff */
	test_poke(m, TEST_TSS + 0x68 + 0x3f8 / 8, 0, 1);
	assert_no_fault(m, x86_check_io(cpu, 0x3f8, 1));
	assert_no_fault(m, x86_check_io(cpu, 0x3fc, 4));
	assert_fault(m, x86_check_io(cpu, 0x3ff, 2), X86_GP, 0); /* reaches into the next byte */
	assert_fault(m, x86_check_io(cpu, 0x3f7, 2), X86_GP, 0);
	/* the map ends with the TSS's limit */
	cpu->s.tr.limit = 0x68 + 0x3f8 / 8;
	assert_fault(m, x86_check_io(cpu, 0x3f8, 1), X86_GP, 0);
}

/* --- MSRs --- */

static void test_msrs(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	assert_fault(m, (void)x86_rdmsr(cpu, 0x12345), X86_GP, 0);
	assert_fault(m, x86_wrmsr(cpu, 0x12345, 0), X86_GP, 0);
	assert_no_fault(m, x86_wrmsr(cpu, 0xc0000101, 0xffff800000001000));
	assert_int_equal(cpu->s.seg[X86_GS].base, 0xffff800000001000);
	assert_fault(m, x86_wrmsr(cpu, 0xc0000101, 0x0000800000000000), X86_GP, 0);
	assert_fault(m, x86_wrmsr(cpu, 0xc0000082, 0x0000800000000000), X86_GP, 0);
	assert_fault(m, x86_wrmsr(cpu, 0x277, 0x0007040600070402), X86_GP, 0); /* PAT type 2 */
	assert_no_fault(m, x86_wrmsr(cpu, 0x277, 0x0407050600070106));
	assert_fault(m, x86_wrmsr(cpu, 0xc0000080, 1ull << 40), X86_GP, 0);
	assert_no_fault(m, x86_wrmsr(cpu, 0xc0000080, cpu->s.efer & ~X86_EFER_LMA)); /* LMA is read-only */
	assert_true(cpu->s.efer & X86_EFER_LMA);
	assert_fault(m, x86_wrmsr(cpu, 0xce, 0), X86_GP, 0); /* read-only */
	/* TSC, TSC_ADJUST: a write of one shows in the other */
	clock_start(m->engine.env.clock);
	clock_advance(m->engine.env.clock, 1000000);
	assert_int_equal(x86_rdmsr(cpu, 0x10), 2000000);
	assert_no_fault(m, x86_wrmsr(cpu, 0x10, 5));
	assert_int_equal(x86_rdmsr(cpu, 0x10), 5);
	assert_int_equal((int64_t)x86_rdmsr(cpu, 0x3b), 5 - 2000000);
	assert_no_fault(m, x86_wrmsr(cpu, 0x3b, 0));
	assert_int_equal(x86_rdtsc(cpu), 2000000);
	/* without an APIC only its base is there */
	assert_int_equal(x86_rdmsr(cpu, 0x1b), 0xfee00900);
	assert_fault(m, (void)x86_rdmsr(cpu, 0x802), X86_GP, 0);
}

static void test_mtrrs(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	assert_int_equal(x86_rdmsr(cpu, 0xfe), 0x508);
	assert_no_fault(m, x86_wrmsr(cpu, 0x2ff, 0xc06));
	assert_int_equal(x86_rdmsr(cpu, 0x2ff), 0xc06);
	assert_fault(m, x86_wrmsr(cpu, 0x2ff, 0xc02), X86_GP, 0);
	assert_no_fault(m, x86_wrmsr(cpu, 0x20f, 0xff80000800));
	assert_int_equal(x86_rdmsr(cpu, 0x20f), 0xff80000800);
	assert_fault(m, x86_wrmsr(cpu, 0x20f, 1ull << 40), X86_GP, 0);
	assert_fault(m, (void)x86_rdmsr(cpu, 0x210), X86_GP, 0);
	assert_no_fault(m, x86_wrmsr(cpu, 0x26f, 0x0505050505050505));
	assert_int_equal(x86_rdmsr(cpu, 0x26f), 0x0505050505050505);
	assert_fault(m, x86_wrmsr(cpu, 0x250, 0x0606060606060603), X86_GP, 0);
}

/* What a guest computes from the page is the virtual clock, at any TSC frequency. */
static void test_kvmclock(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	struct clock *clock = m->engine.env.clock;
	const uint64_t page = 0x8000;
	uint32_t version, mul;
	uint64_t delta, ns;
	int8_t shift;

	test_long_mode(m);
	test_poke(m, page, 4, 4);
	clock_start(clock);
	clock_advance(clock, 123456789);
	assert_no_fault(m, x86_wrmsr(cpu, 0x4b564d01, page | 1));
	version = (uint32_t)test_peek(m, page, 4);
	assert_int_equal(version, 6); /* even, and not the old one */
	assert_int_equal(test_peek(m, page + 16, 8), 123456789);
	assert_int_equal(test_peek(m, page + 29, 1), 1); /* TSC stable */
	mul = (uint32_t)test_peek(m, page + 24, 4);
	shift = (int8_t)test_peek(m, page + 28, 1);
	assert_true(mul >> 31);
	clock_advance(clock, 3600 * NS_PER_S);
	delta = x86_rdtsc(cpu) - test_peek(m, page + 8, 8);
	delta = shift < 0 ? delta >> -shift : delta << shift;
	ns = (uint64_t)(((unsigned __int128)delta * mul) >> 32) + test_peek(m, page + 16, 8);
	assert_in_range(clock_now(clock) - ns + 1000, 0, 2000); /* 1 us an hour */
	/* a changed TSC: the page follows */
	assert_no_fault(m, x86_wrmsr(cpu, 0x3b, 1000000));
	assert_int_equal(test_peek(m, page, 4), 8);
	assert_int_equal(test_peek(m, page + 8, 8), x86_rdtsc(cpu));
	/* a page that is not RAM, and off */
	assert_no_fault(m, x86_wrmsr(cpu, 0x4b564d01, TEST_MMIO | 1));
	assert_no_fault(m, x86_wrmsr(cpu, 0x4b564d01, 0));
	assert_no_fault(m, x86_wrmsr(cpu, 0x4b564d00, page));
	assert_true(test_peek(m, page + 4, 4) > 1600000000);
	/* not offered */
	assert_fault(m, x86_wrmsr(cpu, 0x4b564d02, page | 1), X86_GP, 0);
}

static void test_state_round_trip(void **state)
{
	struct test_machine *m = *state;
	struct x86_state before, after;

	test_long_mode(m);
	test_set_cpl(m, 3);
	m->cpu->s.kernel_gs_base = 0x1234;
	m->cpu->s.nmi_masked = true;
	x86_cpu_get_state(m->cpu, &before);
	x86_cpu_reset(m->cpu, false);
	x86_cpu_set_state(m->cpu, &before);
	x86_cpu_get_state(m->cpu, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(m->cpu->cpl, 3);
	assert_int_equal(m->cpu->code_mode, X86_CODE64);
	assert_int_equal(x86_read8(m->cpu, 0x100000), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, test_machine_setup, test_machine_teardown)
	const struct CMUnitTest tests[] = {
		T(test_cr0_checks), T(test_cr4_reserved), T(test_xcr0),     T(test_popf_masks),       T(test_io_bitmap),
		T(test_msrs),       T(test_mtrrs),        T(test_kvmclock), T(test_state_round_trip),
	};

	return cmocka_run_group_tests_name("x86 control", tests, NULL, NULL);
}
