/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the unit tests of cpu/x86 share: one CPU with 16 MiB of RAM, buses, a stepped clock and the "max" CPUID table,
 * small builders for page tables and descriptors, and a way to see which fault a call raises. */
#ifndef XUNI_CPU_X86_TEST_H
#define XUNI_CPU_X86_TEST_H

#include "cpu/x86/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEST_RAM (16 * MIB)
enum { /* guest-physical lay-out */
       TEST_PML4 = 0x10000,
       TEST_PDPT = 0x11000,
       TEST_PD = 0x12000,
       TEST_PT = 0x13000,
       TEST_GDT = 0x20000,
       TEST_LDT = 0x21000,
       TEST_IDT = 0x22000,
       TEST_TSS = 0x24000,
       TEST_TSS2 = 0x26000,
       TEST_STACK0 = 0x30000,
       TEST_STACK3 = 0x40000,
       TEST_MMIO = 0x10000000,
};

struct test_machine {
	struct engine engine;
	struct log log;
	struct cpuid_table cpuid;
	struct x86_cpu *cpu;
	jmp_buf fault_exit;
	struct region mmio;
	char mmio_trail[512];
	uint64_t mmio_answer;
	unsigned code_writes; /* calls of the code client */
	uint64_t code_first_page;
};

int test_machine_setup(void **state);
int test_machine_teardown(void **state);

/* Guest-physical accesses without any checks but that it is RAM. */
void test_poke(struct test_machine *m, uint64_t gpa, uint64_t value, unsigned size);
uint64_t test_peek(struct test_machine *m, uint64_t gpa, unsigned size);

/* 4-level tables that map linear 2 MiB by 4 KiB pages one to one (TEST_PT), user and writable, the rest of the first
 * GiB by 2 MiB pages; then long mode, 64-bit code at CPL 0. */
void test_long_mode(struct test_machine *m);
/* The PTE of a linear address below 2 MiB. */
void test_set_pte(struct test_machine *m, uint64_t gva, uint64_t pte);
uint64_t test_get_pte(struct test_machine *m, uint64_t gva);

/* Protected mode without paging, flat 32-bit segments at CPL 0; GDT as below, TR = 0x28 with SS0:ESP0 set. */
void test_protected_mode(struct test_machine *m);
enum {
	SEL_CODE0 = 0x08,
	SEL_DATA0 = 0x10,
	SEL_CODE3 = 0x1b,
	SEL_DATA3 = 0x23,
	SEL_TSS = 0x28,
	SEL_TSS2 = 0x30,
	SEL_CODE64 = 0x38,
	SEL_FREE = 0x40,
	SEL_CONFORMING = 0x48,
	SEL_CODE16 = 0x50,
};
uint64_t test_descriptor(uint32_t base, uint32_t limit, uint32_t attr);
void test_set_gdt(struct test_machine *m, unsigned selector, uint64_t descriptor);
void test_set_gate32(struct test_machine *m, unsigned vector, uint16_t selector, uint32_t offset, unsigned type,
		     unsigned dpl);
void test_set_gate64(struct test_machine *m, unsigned vector, uint16_t selector, uint64_t offset, unsigned type,
		     unsigned dpl, unsigned ist);
/* The CPL that code runs at, with flat segments of the mode. */
void test_set_cpl(struct test_machine *m, unsigned cpl);

/* -1 when the statement raised nothing, else the vector; the error code is in cpu->fault_error then. A fault leaves the
 * delivery state as the engine would find it. */
#define FAULT_OF(m, statement)                                                                                         \
	__extension__({                                                                                                \
		volatile int vector_ = -1;                                                                             \
		if (!setjmp((m)->fault_exit)) {                                                                        \
			statement;                                                                                     \
		} else {                                                                                               \
			vector_ = (m)->cpu->fault_vector;                                                              \
		}                                                                                                      \
		vector_;                                                                                               \
	})

#define assert_fault(m, statement, vector, error)                                                                      \
	do {                                                                                                           \
		assert_int_equal(FAULT_OF(m, statement), vector);                                                      \
		assert_int_equal((m)->cpu->fault_error, error);                                                        \
	} while (0)
#define assert_no_fault(m, statement) assert_int_equal(FAULT_OF(m, statement), -1)

#endif
