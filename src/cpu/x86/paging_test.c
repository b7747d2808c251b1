/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paging against tables written down from SDM 3A chapter 4: rights, error codes, A/D bits, formats, TLB invalidation.
 */
#include "cpu/x86/x86_test.h"

#include <pthread.h>

#define PAGE_GVA 0x100000ull
#define NX       (1ull << 63)

/* --- the permission matrix, SDM 3A 4.6.1 --- */

struct matrix_row {
	uint64_t pte;
	const char *user, *supervisor, *supervisor_ac, *implicit;
};
struct matrix {
	const char *name;
	uint64_t cr0, cr4;
	struct matrix_row row[8];
};

static const struct matrix matrices[] = {
	{"WP",
	 X86_CR0_WP,
	 0,
	 {{0x1, "---", "r-x", "r-x", "r-"},
	  {0x3, "---", "rwx", "rwx", "rw"},
	  {0x1 | NX, "---", "r--", "r--", "r-"},
	  {0x3 | NX, "---", "rw-", "rw-", "rw"},
	  {0x5, "r-x", "r-x", "r-x", "r-"},
	  {0x7, "rwx", "rwx", "rwx", "rw"},
	  {0x5 | NX, "r--", "r--", "r--", "r-"},
	  {0x7 | NX, "rw-", "rw-", "rw-", "rw"}}},
	{"nothing",
	 0,
	 0,
	 {{0x1, "---", "rwx", "rwx", "rw"},
	  {0x3, "---", "rwx", "rwx", "rw"},
	  {0x1 | NX, "---", "rw-", "rw-", "rw"},
	  {0x3 | NX, "---", "rw-", "rw-", "rw"},
	  {0x5, "r-x", "rwx", "rwx", "rw"},
	  {0x7, "rwx", "rwx", "rwx", "rw"},
	  {0x5 | NX, "r--", "rw-", "rw-", "rw"},
	  {0x7 | NX, "rw-", "rw-", "rw-", "rw"}}},
	{"WP SMEP",
	 X86_CR0_WP,
	 X86_CR4_SMEP,
	 {{0x1, "---", "r-x", "r-x", "r-"},
	  {0x3, "---", "rwx", "rwx", "rw"},
	  {0x1 | NX, "---", "r--", "r--", "r-"},
	  {0x3 | NX, "---", "rw-", "rw-", "rw"},
	  {0x5, "r-x", "r--", "r--", "r-"},
	  {0x7, "rwx", "rw-", "rw-", "rw"},
	  {0x5 | NX, "r--", "r--", "r--", "r-"},
	  {0x7 | NX, "rw-", "rw-", "rw-", "rw"}}},
	{"WP SMEP SMAP",
	 X86_CR0_WP,
	 X86_CR4_SMEP | X86_CR4_SMAP,
	 {{0x1, "---", "r-x", "r-x", "r-"},
	  {0x3, "---", "rwx", "rwx", "rw"},
	  {0x1 | NX, "---", "r--", "r--", "r-"},
	  {0x3 | NX, "---", "rw-", "rw-", "rw"},
	  {0x5, "r-x", "---", "r--", "--"},
	  {0x7, "rwx", "---", "rw-", "--"},
	  {0x5 | NX, "r--", "---", "r--", "--"},
	  {0x7 | NX, "rw-", "---", "rw-", "--"}}},
	{"SMAP",
	 0,
	 X86_CR4_SMAP,
	 {{0x1, "---", "rwx", "rwx", "rw"},
	  {0x3, "---", "rwx", "rwx", "rw"},
	  {0x1 | NX, "---", "rw-", "rw-", "rw"},
	  {0x3 | NX, "---", "rw-", "rw-", "rw"},
	  {0x5, "r-x", "--x", "rwx", "--"},
	  {0x7, "rwx", "--x", "rwx", "--"},
	  {0x5 | NX, "r--", "---", "rw-", "--"},
	  {0x7 | NX, "rw-", "---", "rw-", "--"}}},
};

static void expect_access(struct test_machine *m, const struct matrix *matrix, const struct matrix_row *row,
			  unsigned access, bool allowed)
{
	uint32_t error = X86_PF_PRESENT | (access & X86_WRITE ? X86_PF_WRITE : 0) |
			 (access & X86_USER ? X86_PF_USER : 0) | (access & X86_FETCH ? X86_PF_FETCH : 0);
	uint8_t byte = 0;
	int vector;

	/* with a TLB from the access before: a hit must not allow more than a walk */
	if (access & X86_WRITE)
		vector = FAULT_OF(m, x86_write_slow(m->cpu, PAGE_GVA, &byte, 1, access & ~X86_WRITE));
	else
		vector = FAULT_OF(m, x86_read_slow(m->cpu, PAGE_GVA, &byte, 1, access));
	if (vector != (allowed ? -1 : X86_PFV))
		fail_msg("%s: pte %#llx access %#x: vector %d", matrix->name, (unsigned long long)row->pte, access,
			 vector);
	if (!allowed) {
		assert_int_equal(m->cpu->fault_error, error);
		assert_int_equal(m->cpu->s.cr2, PAGE_GVA);
	}
}

static void expect_view(struct test_machine *m, const struct matrix *matrix, const struct matrix_row *row,
			const char *rights, unsigned access)
{
	expect_access(m, matrix, row, access, rights[0] == 'r');
	expect_access(m, matrix, row, access | X86_WRITE, rights[1] == 'w');
	if (rights[2])
		expect_access(m, matrix, row, access | X86_FETCH, rights[2] == 'x');
	expect_access(m, matrix, row, access, rights[0] == 'r');
}

static void test_permission_matrix(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	for (size_t i = 0; i < ARRAY_SIZE(matrices); i++) {
		const struct matrix *matrix = &matrices[i];

		cpu->s.cr0 = (cpu->s.cr0 & ~X86_CR0_WP) | matrix->cr0;
		cpu->s.cr4 = X86_CR4_PAE | matrix->cr4;
		for (unsigned j = 0; j < 8; j++) {
			const struct matrix_row *row = &matrix->row[j];

			test_set_pte(m, PAGE_GVA, row->pte | 0x300000);
			x86_tlb_flush(cpu);
			x86_mode_update(cpu);
			expect_view(m, matrix, row, row->user, X86_USER);
			x86_set_ac(cpu, false);
			expect_view(m, matrix, row, row->supervisor, 0);
			x86_set_ac(cpu, true);
			expect_view(m, matrix, row, row->supervisor_ac, 0);
			expect_view(m, matrix, row, row->implicit, X86_IMPLICIT);
			x86_set_ac(cpu, false);
			expect_view(m, matrix, row, row->supervisor, 0);
		}
	}
}

/* U and W must be set, NX clear, at every level. */
static void test_upper_levels_restrict(void **state)
{
	static const uint64_t tables[] = {TEST_PML4, TEST_PDPT, TEST_PD};
	struct test_machine *m = *state;
	uint64_t value;

	test_long_mode(m);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		uint64_t entry = test_peek(m, tables[i], 8);

		test_poke(m, tables[i], entry & ~4ull, 8);
		x86_tlb_flush(m->cpu);
		assert_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 8, X86_USER), X86_PFV, 5);
		test_poke(m, tables[i], entry & ~2ull, 8);
		assert_fault(m, x86_write_slow(m->cpu, PAGE_GVA, &value, 8, X86_USER), X86_PFV, 7);
		test_poke(m, tables[i], entry | NX, 8);
		assert_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 1, X86_USER | X86_FETCH), X86_PFV, 0x15);
		test_poke(m, tables[i], entry & ~1ull, 8);
		assert_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 8, X86_USER), X86_PFV, 4);
		test_poke(m, tables[i], entry, 8);
		assert_no_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 8, X86_USER));
	}
}

static void test_reserved_bits(void **state)
{
	struct test_machine *m = *state;
	uint64_t value;

	test_long_mode(m);
	test_set_pte(m, PAGE_GVA, 0x7 | 1ull << 40); /* beyond 40 physical bits */
	assert_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 8, 0), X86_PFV, 9);
	test_set_pte(m, PAGE_GVA, 0x6 | 1ull << 40); /* not present wins */
	assert_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 8, 0), X86_PFV, 0);
	/* reserved wins over rights: a user access to a supervisor page */
	test_set_pte(m, PAGE_GVA, 0x3 | 1ull << 40);
	assert_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 8, X86_USER), X86_PFV, 0xd);
	test_set_pte(m, PAGE_GVA, 0x7 | 1ull << 52); /* ignored bits */
	assert_no_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 8, 0));
	test_set_pte(m, PAGE_GVA, 0x7 | NX);
	m->cpu->s.efer &= ~X86_EFER_NXE;
	x86_tlb_flush(m->cpu);
	assert_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 8, 0), X86_PFV, 9);
	m->cpu->s.efer |= X86_EFER_NXE;
	test_poke(m, TEST_PD + 8, 0x200000 | 0x87 | 1 << 13, 8); /* 2 MiB page with an offset bit */
	assert_fault(m, x86_read_slow(m->cpu, 0x200000, &value, 8, 0), X86_PFV, 9);
	test_poke(m, TEST_PD + 8, 0x200000 | 0x87 | 1 << 12, 8); /* PAT */
	assert_no_fault(m, x86_read_slow(m->cpu, 0x200000, &value, 8, 0));
	test_poke(m, TEST_PML4, (TEST_PDPT | 7) | 0x80, 8); /* PS in a PML4E */
	x86_tlb_flush(m->cpu);
	assert_fault(m, x86_read_slow(m->cpu, PAGE_GVA, &value, 8, 0), X86_PFV, 9);
}

static void test_accessed_and_dirty(void **state)
{
	struct test_machine *m = *state;
	uint64_t value = 0;

	test_long_mode(m);
	x86_read_slow(m->cpu, PAGE_GVA, &value, 8, 0);
	assert_int_equal(test_get_pte(m, PAGE_GVA) & 0x60, 0x20);
	assert_int_equal(test_peek(m, TEST_PML4, 8) & 0x60, 0x20);
	assert_int_equal(test_peek(m, TEST_PD, 8) & 0x60, 0x20);
	/* the read filled the TLB; the write must still set D */
	x86_write64(m->cpu, PAGE_GVA, 1);
	assert_int_equal(test_get_pte(m, PAGE_GVA) & 0x60, 0x60);
	/* a refused access sets neither */
	test_set_pte(m, PAGE_GVA + 0x1000, 0x101005);
	assert_int_equal(FAULT_OF(m, x86_write_slow(m->cpu, PAGE_GVA + 0x1000, &value, 8, X86_USER)), X86_PFV);
	assert_int_equal(test_get_pte(m, PAGE_GVA + 0x1000) & 0x60, 0);
	/* large page */
	x86_write64(m->cpu, 0x400000, 1);
	assert_int_equal(test_peek(m, TEST_PD + 16, 8) & 0x60, 0x60);
}

/* A PTE update is a write to its page like any other: code there must be told. */
static void test_accessed_bit_reaches_code_client(void **state)
{
	struct test_machine *m = *state;
	uint64_t value;

	test_long_mode(m);
	assert_true(ram_watch_code(m->engine.env.ram, TEST_PT >> 12));
	m->code_writes = 0;
	x86_read_slow(m->cpu, PAGE_GVA, &value, 8, 0);
	assert_int_equal(m->code_writes, 1);
	assert_int_equal(m->code_first_page, TEST_PT >> 12);
}

static void test_code_page_writes_are_seen(void **state)
{
	struct test_machine *m = *state;

	test_long_mode(m);
	x86_write64(m->cpu, PAGE_GVA, 1);
	assert_true(ram_watch_code(m->engine.env.ram, PAGE_GVA >> 12));
	x86_tlb_protect(m->cpu, PAGE_GVA);
	m->code_writes = 0;
	x86_write64(m->cpu, PAGE_GVA + 8, 2);
	assert_int_equal(m->code_writes, 1);
	x86_write64(m->cpu, PAGE_GVA + 16, 3); /* the tag is back: silent */
	assert_int_equal(m->code_writes, 1);
	assert_true(ram_watch_code(m->engine.env.ram, PAGE_GVA >> 12));
	x86_tlb_protect(m->cpu, PAGE_GVA);
	assert_non_null(x86_rmw_pointer(m->cpu, PAGE_GVA, 8));
	assert_int_equal(m->code_writes, 2);
}

/* --- accesses --- */

static void test_page_crossing(void **state)
{
	struct test_machine *m = *state;
	uint64_t value = 0x1122334455667788;

	test_long_mode(m);
	test_set_pte(m, PAGE_GVA + 0x1000, 0x300007); /* the two pages are not neighbours in memory */
	x86_write64(m->cpu, PAGE_GVA + 0xffd, value);
	assert_int_equal(test_peek(m, PAGE_GVA + 0xffd, 3), 0x667788);
	assert_int_equal(test_peek(m, 0x300000, 5), 0x1122334455);
	assert_int_equal(x86_read64(m->cpu, PAGE_GVA + 0xffd), value);
	assert_null(x86_rmw_pointer(m->cpu, PAGE_GVA + 0xffd, 8));
	/* the second page faults: nothing is written, CR2 is its first byte */
	test_set_pte(m, PAGE_GVA + 0x1000, 0);
	x86_tlb_flush(m->cpu);
	assert_fault(m, x86_write64(m->cpu, PAGE_GVA + 0xffd, 0), X86_PFV, 2);
	assert_int_equal(m->cpu->s.cr2, PAGE_GVA + 0x1000);
	assert_int_equal(test_peek(m, PAGE_GVA + 0xffd, 3), 0x667788);
	/* the first page's fault comes first */
	test_set_pte(m, PAGE_GVA, 0);
	x86_tlb_flush(m->cpu);
	assert_int_equal(FAULT_OF(m, x86_write64(m->cpu, PAGE_GVA + 0xffd, 0)), X86_PFV);
	assert_int_equal(m->cpu->s.cr2, PAGE_GVA + 0xffd);
}

static void test_device_memory(void **state)
{
	struct test_machine *m = *state;
	uint8_t block[12];

	test_long_mode(m);
	test_set_pte(m, PAGE_GVA, TEST_MMIO | 7);
	m->mmio_answer = 0x8877665544332211;
	assert_int_equal(x86_read32(m->cpu, PAGE_GVA + 0x10), 0x44332211);
	x86_write16(m->cpu, PAGE_GVA + 0x20, 0xbeef);
	assert_null(x86_rmw_pointer(m->cpu, PAGE_GVA, 4));
	assert_string_equal(m->mmio_trail, "r10.4 w20.2=beef ");
	m->mmio_trail[0] = 0;
	x86_read_slow(m->cpu, PAGE_GVA, block, sizeof(block), 0);
	assert_string_equal(m->mmio_trail, "r0.8 r8.4 ");
	/* nobody there: all ones, writes vanish */
	test_set_pte(m, PAGE_GVA, 0x20000007);
	x86_tlb_flush(m->cpu);
	assert_int_equal(x86_read32(m->cpu, PAGE_GVA), 0xffffffff);
	x86_write32(m->cpu, PAGE_GVA, 1);
}

static void test_read_only_memory(void **state)
{
	struct test_machine *m = *state;
	const uint64_t rom = TEST_RAM - MIB;

	test_long_mode(m);
	test_poke(m, rom, 0x55, 1);
	x86_write8(m->cpu, rom, 0xaa);
	assert_int_equal(x86_read8(m->cpu, rom), 0x55);
	x86_write8(m->cpu, rom, 0xaa); /* with the page in the TLB */
	assert_int_equal(test_peek(m, rom, 1), 0x55);
	assert_null(x86_rmw_pointer(m->cpu, rom, 1));
}

static void test_protection_keys(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	uint64_t value = 0;

	test_long_mode(m);
	test_set_pte(m, PAGE_GVA, PAGE_GVA | 7 | 5ull << 59);
	cpu->s.cr4 |= X86_CR4_PKE;
	x86_tlb_flush(cpu);
	assert_no_fault(m, x86_write_slow(cpu, PAGE_GVA, &value, 8, X86_USER));
	x86_set_pkru(cpu, 2u << 10); /* write disable for key 5 */
	assert_no_fault(m, x86_read_slow(cpu, PAGE_GVA, &value, 8, X86_USER));
	assert_fault(m, x86_write_slow(cpu, PAGE_GVA, &value, 8, X86_USER), X86_PFV, 0x27);
	assert_fault(m, x86_write_slow(cpu, PAGE_GVA, &value, 8, 0), X86_PFV, 0x23);
	x86_set_pkru(cpu, 1u << 10); /* access disable */
	assert_fault(m, x86_read_slow(cpu, PAGE_GVA, &value, 8, X86_USER), X86_PFV, 0x25);
	assert_no_fault(m, x86_read_slow(cpu, PAGE_GVA, &value, 1, X86_USER | X86_FETCH));
	assert_fault(m, x86_read_slow(cpu, PAGE_GVA, &value, 8, X86_USER), X86_PFV, 0x25);
	/* keys are for user pages */
	test_set_pte(m, PAGE_GVA, PAGE_GVA | 3 | 5ull << 59);
	x86_tlb_flush(cpu);
	assert_no_fault(m, x86_write_slow(cpu, PAGE_GVA, &value, 8, 0));
}

/* --- other formats --- */

static void test_32bit_paging(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	uint64_t value;

	test_protected_mode(m);
	test_poke(m, TEST_PD, TEST_PT | 7, 4);
	test_poke(m, TEST_PT + 4 * 0x100, 0x300000 | 5, 4);
	test_poke(m, TEST_PD + 4, 0x00800000 | 0x87, 4); /* 4 MiB page */
	cpu->s.cr3 = TEST_PD;
	cpu->s.cr4 = X86_CR4_PSE;
	cpu->s.cr0 |= X86_CR0_PG | X86_CR0_WP;
	x86_tlb_flush(cpu);
	x86_mode_update(cpu);
	test_poke(m, 0x300010, 0x1234, 4);
	assert_int_equal(x86_read32(cpu, PAGE_GVA + 0x10), 0x1234);
	assert_fault(m, x86_write32(cpu, PAGE_GVA, 1), X86_PFV, 3);
	x86_write32(cpu, 0x400000 + 0x123450, 0xabcd);
	assert_int_equal(test_peek(m, 0x800000 + 0x123450, 4), 0xabcd);
	assert_int_equal(test_peek(m, TEST_PD + 4, 4) & 0x60, 0x60);
	/* PSE-36: bits 20:13 of the PDE are bits 39:32 of the page; bit 21 is reserved */
	test_poke(m, TEST_PD + 8, 0x87 | 1 << 13, 4);
	assert_int_equal(x86_walk(cpu, 0x800000, 0), 0x100000000);
	test_poke(m, TEST_PD + 8, 0x87 | 1 << 21, 4);
	x86_tlb_flush(cpu);
	assert_fault(m, x86_read_slow(cpu, 0x800000, &value, 4, 0), X86_PFV, 9);
	/* the fetch bit of the error code needs SMEP, or NXE with PAE */
	test_poke(m, TEST_PT + 4 * 0x101, 0, 4);
	assert_fault(m, x86_read_slow(cpu, PAGE_GVA + 0x1000, &value, 1, X86_FETCH), X86_PFV, 0);
}

static void test_pae_paging(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	uint64_t value;

	test_protected_mode(m);
	for (unsigned i = 0; i < 4; i++)
		test_poke(m, TEST_PDPT + 0x20 + 8 * i, i == 1 ? 0 : TEST_PD | 1, 8);
	test_poke(m, TEST_PD, TEST_PT | 7, 8);
	test_poke(m, TEST_PD + 8, 0x200000 | 0x87, 8);
	test_set_pte(m, PAGE_GVA, 0x300000 | 7 | NX);
	cpu->s.cr4 = X86_CR4_PAE;
	cpu->s.efer = X86_EFER_NXE;
	assert_no_fault(m, x86_set_cr(cpu, 3, TEST_PDPT + 0x20));
	assert_no_fault(m, x86_set_cr(cpu, 0, cpu->s.cr0 | X86_CR0_PG | X86_CR0_WP));
	x86_write32(cpu, PAGE_GVA, 77);
	assert_int_equal(test_peek(m, 0x300000, 4), 77);
	assert_int_equal(x86_read32(cpu, 0x80000000 + PAGE_GVA), 77);
	assert_fault(m, x86_read_slow(cpu, PAGE_GVA, &value, 1, X86_FETCH), X86_PFV, 0x11);
	assert_fault(m, x86_read_slow(cpu, 0x40000000, &value, 1, 0), X86_PFV, 0);
	test_set_pte(m, PAGE_GVA, 0x300000 | 7 | 1ull << 52); /* reserved in PAE, ignored in 4-level */
	x86_tlb_flush(cpu);
	assert_fault(m, x86_read_slow(cpu, PAGE_GVA, &value, 1, 0), X86_PFV, 9);
	/* the PDPTE registers change only with CR3, and a reserved bit in one is #GP then */
	test_poke(m, TEST_PDPT + 0x20 + 24, TEST_PD | 1 | 2, 8);
	assert_no_fault(m, x86_read_slow(cpu, 0xc0000000 + 0x200000, &value, 1, 0));
	assert_fault(m, x86_set_cr(cpu, 3, TEST_PDPT + 0x20), X86_GP, 0);
}

static void test_no_paging_and_wrap(void **state)
{
	struct test_machine *m = *state;

	test_protected_mode(m);
	test_poke(m, 0, 0x44, 1);
	m->cpu->s.gpr[X86_RSP] = 0;
	x86_write32(m->cpu, 0x1000, 0xdeadbeef);
	assert_int_equal(test_peek(m, 0x1000, 4), 0xdeadbeef);
	/* the last byte of 4 GiB is followed by byte 0 */
	assert_int_equal(x86_read16(m->cpu, 0xffffffff), 0x44ff);
}

/* --- invalidation --- */

static void test_invlpg_and_global(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	test_poke(m, 0x300000, 0xaa, 1);
	test_poke(m, 0x301000, 0xbb, 1);
	test_set_pte(m, PAGE_GVA, 0x300000 | 0x107); /* global */
	test_set_pte(m, PAGE_GVA + 0x1000, 0x300000 | 7);
	assert_int_equal(x86_read8(cpu, PAGE_GVA), 0xaa);
	assert_int_equal(x86_read8(cpu, PAGE_GVA + 0x1000), 0xaa);
	test_set_pte(m, PAGE_GVA, 0x301000 | 0x107);
	test_set_pte(m, PAGE_GVA + 0x1000, 0x301000 | 7);
	x86_set_cr(cpu, 3, cpu->s.cr3);
	assert_int_equal(x86_read8(cpu, PAGE_GVA), 0xaa); /* survives, as on hardware */
	assert_int_equal(x86_read8(cpu, PAGE_GVA + 0x1000), 0xbb);
	x86_tlb_flush_page(cpu, PAGE_GVA + 0x123);
	assert_int_equal(x86_read8(cpu, PAGE_GVA), 0xbb);
	/* CR4.PGE off drops global pages */
	test_set_pte(m, PAGE_GVA, 0x300000 | 0x107);
	x86_set_cr(cpu, 4, cpu->s.cr4 & ~X86_CR4_PGE);
	assert_int_equal(x86_read8(cpu, PAGE_GVA), 0xaa);
}

static void test_invlpg_large_page(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	test_poke(m, 0x400000 + 0x5000, 0x11, 1);
	test_poke(m, 0x600000 + 0x5000, 0x22, 1);
	assert_int_equal(x86_read8(cpu, 0x405000), 0x11);
	test_poke(m, TEST_PD + 16, 0x600000 | 0x87, 8);
	x86_tlb_flush_page(cpu, 0x5ff000); /* another 4 KiB of the same 2 MiB page */
	assert_int_equal(x86_read8(cpu, 0x405000), 0x22);
}

static void test_invlpg_huge_page(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	test_poke(m, 0x300000, 0x33, 1);
	test_poke(m, TEST_PDPT + 8, 0x87, 8); /* the second GiB is the first one, in one page */
	assert_int_equal(x86_read8(cpu, 0x40300000), 0x33);
	test_poke(m, TEST_PDPT + 8, TEST_PD | 7, 8);
	test_poke(m, TEST_PD + 8, 0x87, 8);
	x86_tlb_flush_page(cpu, 0x40000000);
	test_poke(m, 0x100000, 0x44, 1);
	assert_int_equal(x86_read8(cpu, 0x40300000), 0x44);
}

/* More fills than the lists hold must not leave anything behind. */
static void test_flush_after_many_fills(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	for (unsigned i = 0; i < 3000; i++)
		(void)x86_read8(cpu, 0x200000 + i * 0x1000ull);
	x86_set_cr(cpu, 3, cpu->s.cr3);
	for (unsigned view = 0; view < X86_VIEWS; view++)
		for (unsigned i = 0; i < X86_TLB_ENTRIES; i++)
			assert_true(cpu->tlb[view][i].tag_read == X86_TLB_NONE);
	(void)x86_read8(cpu, PAGE_GVA);
	assert_int_equal(cpu->translation->fills[0].count, 1);
	x86_tlb_flush(cpu);
	assert_true(cpu->tlb[0][PAGE_GVA >> 12 & (X86_TLB_ENTRIES - 1)].tag_read == X86_TLB_NONE);
}

static void test_pcid(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	const uint64_t other_pml4 = 0x50000;

	test_long_mode(m);
	cpu->s.cr4 |= X86_CR4_PGE;
	assert_fault(m, x86_set_cr(cpu, 3, TEST_PML4 | 1ull << 63), X86_GP, 0); /* without PCIDE bit 63 is reserved */
	cpu->s.cr3 = TEST_PML4 | 0x18;
	assert_fault(m, x86_set_cr(cpu, 4, cpu->s.cr4 | X86_CR4_PCIDE), X86_GP, 0); /* CR3[11:0] must be 0 */
	cpu->s.cr3 = TEST_PML4;
	assert_no_fault(m, x86_set_cr(cpu, 4, cpu->s.cr4 | X86_CR4_PCIDE));
	/* a second address space where PAGE_GVA is not mapped */
	test_poke(m, other_pml4, 0, 8);
	assert_int_equal(x86_read8(cpu, PAGE_GVA), 0);
	assert_no_fault(m, x86_set_cr(cpu, 3, other_pml4 | 1 | 1ull << 63));
	assert_int_equal(x86_get_cr(cpu, 3), other_pml4 | 1); /* bit 63 is not kept */
	assert_fault(m, (void)x86_read8(cpu, PAGE_GVA), X86_PFV, 0);
	assert_no_fault(m, x86_set_cr(cpu, 3, TEST_PML4 | 1ull << 63));
	assert_no_fault(m, (void)x86_read8(cpu, PAGE_GVA));
	assert_fault(m, x86_invpcid(cpu, 4, 0, 0), X86_GP, 0);
	assert_fault(m, x86_invpcid(cpu, 0, 0x1000, 0), X86_GP, 0);
	assert_fault(m, x86_invpcid(cpu, 0, 0, 0x0000800000000000), X86_GP, 0);
	test_set_pte(m, PAGE_GVA, 0);
	assert_no_fault(m, x86_invpcid(cpu, 1, 0, 0));
	assert_fault(m, (void)x86_read8(cpu, PAGE_GVA), X86_PFV, 0);
	assert_fault(m, x86_set_cr(cpu, 0, cpu->s.cr0 & ~X86_CR0_PG), X86_GP, 0);
}

/* Leaves PCID 1, unmaps the page that it has seen and says whether it still sees it when it comes back. */
static bool sees_old_page(struct test_machine *m, int type, uint64_t pcid, uint64_t gva, uint64_t come_back)
{
	struct x86_cpu *cpu = m->cpu;

	test_set_pte(m, PAGE_GVA, PAGE_GVA | 0x67);
	x86_tlb_flush(cpu);
	x86_set_cr(cpu, 3, TEST_PML4 | 1);
	x86_write8(cpu, PAGE_GVA, 1);
	x86_set_cr(cpu, 3, TEST_PML4 | 2 | 1ull << 63);
	test_set_pte(m, PAGE_GVA, 0);
	if (type >= 0)
		x86_invpcid(cpu, (uint64_t)type, pcid, gva);
	if (FAULT_OF(m, (void)x86_read8(cpu, PAGE_GVA)) != X86_PFV) /* what PCID 1 has is nothing to PCID 2 */
		return true;
	x86_set_cr(cpu, 3, TEST_PML4 | 1 | come_back << 63);
	return FAULT_OF(m, (void)x86_read8(cpu, PAGE_GVA)) == -1;
}

static void test_address_spaces_are_kept(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	unsigned before;

	test_long_mode(m);
	x86_set_cr(cpu, 4, cpu->s.cr4 | X86_CR4_PGE | X86_CR4_PCIDE);
	assert_true(sees_old_page(m, -1, 0, 0, 1));
	assert_false(sees_old_page(m, -1, 0, 0, 0)); /* bit 63 clear: what the PCID had is dropped */
	assert_false(sees_old_page(m, 0, 1, PAGE_GVA, 1));
	assert_true(sees_old_page(m, 0, 3, PAGE_GVA, 1));
	assert_false(sees_old_page(m, 1, 1, 0, 1));
	assert_true(sees_old_page(m, 1, 3, 0, 1));
	assert_false(sees_old_page(m, 2, 0, 0, 1));
	assert_false(sees_old_page(m, 3, 0, 0, 1));
	/* INVLPG of a global page is about all PCIDs */
	test_set_pte(m, PAGE_GVA, PAGE_GVA | 0x167);
	x86_tlb_flush(cpu);
	x86_set_cr(cpu, 3, TEST_PML4 | 1);
	(void)x86_read8(cpu, PAGE_GVA);
	x86_set_cr(cpu, 3, TEST_PML4 | 2 | 1ull << 63);
	test_set_pte(m, PAGE_GVA, 0);
	x86_tlb_flush_page(cpu, PAGE_GVA);
	x86_set_cr(cpu, 3, TEST_PML4 | 1 | 1ull << 63);
	assert_fault(m, (void)x86_read8(cpu, PAGE_GVA), X86_PFV, 0);
	/* a page that is watched meanwhile is not written silently */
	test_set_pte(m, PAGE_GVA, PAGE_GVA | 0x67);
	x86_set_cr(cpu, 3, TEST_PML4 | 1);
	x86_write8(cpu, PAGE_GVA, 1);
	x86_set_cr(cpu, 3, TEST_PML4 | 2 | 1ull << 63);
	assert_true(ram_watch_code(m->engine.env.ram, PAGE_GVA >> PAGE_SHIFT));
	assert_true(x86_tlb_protect(cpu, PAGE_GVA));
	before = m->code_writes;
	x86_set_cr(cpu, 3, TEST_PML4 | 1 | 1ull << 63);
	x86_write8(cpu, PAGE_GVA, 2);
	assert_int_equal(m->code_writes, before + 1);
	/* more address spaces than are kept */
	for (unsigned i = 1; i < 40; i++) {
		x86_set_cr(cpu, 3, TEST_PML4 | i | 1ull << 63);
		for (unsigned page = 0; page < 200; page++)
			(void)x86_read8(cpu, 0x200000 + page * 0x1000ull);
	}
	assert_int_equal(x86_read8(cpu, PAGE_GVA), 2);
}

/* A view chosen by AC: user pages must vanish for the supervisor when AC is cleared, by any instruction. */
static void test_smap_view_follows_ac(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	assert_no_fault(m, x86_set_cr(cpu, 4, cpu->s.cr4 | X86_CR4_SMAP));
	x86_set_ac(cpu, true);
	assert_no_fault(m, (void)x86_read8(cpu, PAGE_GVA));
	x86_set_ac(cpu, false);
	assert_fault(m, (void)x86_read8(cpu, PAGE_GVA), X86_PFV, 1);
	x86_set_rflags(cpu, X86_AC, 8);
	assert_no_fault(m, (void)x86_read8(cpu, PAGE_GVA));
	x86_set_rflags(cpu, 0, 8);
	assert_fault(m, x86_write8(cpu, PAGE_GVA, 0), X86_PFV, 3);
}

static void test_watchpoints(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	x86_write64(cpu, PAGE_GVA, 0); /* the page is in the TLB */
	x86_set_dr(cpu, 0, PAGE_GVA + 8);
	x86_set_dr(cpu, 7, 1 | 1 << 16 | 3 << 18); /* L0, write, 4 bytes */
	x86_write32(cpu, PAGE_GVA + 12, 1);
	assert_int_equal(cpu->debug_pending, 0);
	(void)x86_read32(cpu, PAGE_GVA + 8);
	assert_int_equal(cpu->debug_pending, 0);
	x86_write8(cpu, PAGE_GVA + 11, 1);
	assert_int_equal(cpu->debug_pending, 1);
	assert_int_equal(FAULT_OF(m, x86_debug_trap(cpu, false)), X86_DB);
	assert_int_equal(cpu->fault_dr6, 1);
	assert_int_equal(cpu->debug_pending, 0);
	x86_write64(cpu, PAGE_GVA + 4, 1); /* overlaps */
	assert_int_equal(cpu->debug_pending, 1);
	cpu->debug_pending = 0;
	x86_set_dr(cpu, 7, 1 | 3 << 16 | 3 << 18); /* reads too */
	(void)x86_read8(cpu, PAGE_GVA + 8);
	assert_int_equal(cpu->debug_pending, 1);
	cpu->debug_pending = 0;
	x86_set_dr(cpu, 7, 0);
	x86_write8(cpu, PAGE_GVA + 8, 1);
	assert_int_equal(cpu->debug_pending, 0);
}

/* Another CPU changes a PTE while this one sets A and D in it: neither update may be lost. */
enum { FLIPS = 100001 };

static void *flip_software_bit(void *opaque)
{
	uint64_t *pte = opaque;

	for (unsigned i = 0; i < FLIPS; i++) {
		__atomic_fetch_xor(pte, 1ull << 9, __ATOMIC_SEQ_CST);
		__atomic_fetch_and(pte, ~0x60ull, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void test_atomic_accessed_and_dirty(void **state)
{
	struct test_machine *m = *state;
	uint64_t *pte = ram_hva(m->engine.env.ram, TEST_PT + (PAGE_GVA >> 12) * 8, 8);
	pthread_t thread;

	test_long_mode(m);
	assert_int_equal(pthread_create(&thread, NULL, flip_software_bit, pte), 0);
	for (unsigned i = 0; i < 50000; i++) {
		x86_tlb_flush_page(m->cpu, PAGE_GVA);
		x86_write64(m->cpu, PAGE_GVA, i);
	}
	pthread_join(thread, NULL);
	assert_int_equal(*pte & ~0x60ull, PAGE_GVA | 7 | 1ull << 9);
	x86_tlb_flush_page(m->cpu, PAGE_GVA);
	x86_write64(m->cpu, PAGE_GVA, 1);
	assert_int_equal(*pte & 0x60, 0x60);
}

static void test_alignment_check(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	test_set_cpl(m, 3);
	(void)x86_read32(cpu, PAGE_GVA); /* a TLB entry must not hide it */
	cpu->s.cr0 |= X86_CR0_AM;
	x86_mode_update(cpu);
	assert_no_fault(m, (void)x86_read32(cpu, PAGE_GVA + 1));
	x86_set_rflags(cpu, X86_AC, 8);
	assert_fault(m, (void)x86_read32(cpu, PAGE_GVA + 1), X86_ACV, 0);
	assert_fault(m, x86_write64(cpu, PAGE_GVA + 4, 0), X86_ACV, 0);
	assert_fault(m, (void)x86_rmw_pointer(cpu, PAGE_GVA + 1, 2), X86_ACV, 0);
	assert_no_fault(m, x86_write32(cpu, PAGE_GVA + 4, 0));
	assert_no_fault(m, (void)x86_read8(cpu, PAGE_GVA + 3));
	test_set_cpl(m, 0);
	assert_no_fault(m, (void)x86_read32(cpu, PAGE_GVA + 1));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, test_machine_setup, test_machine_teardown)
	const struct CMUnitTest tests[] = {
		T(test_permission_matrix),
		T(test_upper_levels_restrict),
		T(test_reserved_bits),
		T(test_accessed_and_dirty),
		T(test_accessed_bit_reaches_code_client),
		T(test_code_page_writes_are_seen),
		T(test_page_crossing),
		T(test_device_memory),
		T(test_read_only_memory),
		T(test_protection_keys),
		T(test_32bit_paging),
		T(test_pae_paging),
		T(test_no_paging_and_wrap),
		T(test_invlpg_and_global),
		T(test_invlpg_large_page),
		T(test_invlpg_huge_page),
		T(test_flush_after_many_fills),
		T(test_pcid),
		T(test_address_spaces_are_kept),
		T(test_smap_view_follows_ac),
		T(test_watchpoints),
		T(test_alignment_check),
		T(test_atomic_accessed_and_dirty),
	};

	return cmocka_run_group_tests_name("x86 paging", tests, NULL, NULL);
}
