/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Delivery of exceptions and interrupts in every mode; double and triple faults; INIT, SIPI, NMI. SDM 3A chapter 6. */
#include "cpu/x86/x86_test.h"

#include <unistd.h>

enum { HANDLER = 0x5000, START = 0x7000 };

/* As the engine does with a fault that an instruction raised. */
static bool fault(struct test_machine *m, enum x86_vector vector, bool has_error, uint32_t error)
{
	if (!setjmp(m->fault_exit)) {
		if (has_error)
			x86_raise_error(m->cpu, vector, error);
		x86_raise(m->cpu, vector);
	}
	return x86_deliver_fault(m->cpu);
}

static uint64_t stack_word(struct test_machine *m, unsigned index, unsigned size)
{
	return test_peek(m, m->cpu->s.gpr[X86_RSP] + m->cpu->s.seg[X86_SS].base + index * size, size);
}

/* --- real mode --- */

static void test_real_mode(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	s->idtr = (struct x86_table){.base = 0, .limit = 0x3ff};
	test_poke(m, 0x21 * 4, 0x12345678, 4);
	x86_load_segment(m->cpu, X86_SS, 0x1000);
	s->gpr[X86_RSP] = 0xabcd0100;
	s->rip = 0x10;
	s->seg[X86_CS].selector = 0x2000;
	s->rflags = X86_IF | X86_TF | X86_CF | 2;
	assert_no_fault(m, x86_software_interrupt(m->cpu, 0x21, 0x12));
	assert_int_equal(s->seg[X86_CS].selector, 0x1234);
	assert_int_equal(s->seg[X86_CS].base, 0x12340);
	assert_int_equal(s->rip, 0x5678);
	assert_int_equal(s->gpr[X86_RSP], 0xabcd00fa); /* the upper half stays */
	assert_int_equal(test_peek(m, 0x100fa, 2), 0x12);
	assert_int_equal(test_peek(m, 0x100fc, 2), 0x2000);
	assert_int_equal(test_peek(m, 0x100fe, 2), X86_IF | X86_TF | X86_CF | 2);
	assert_int_equal(s->rflags, X86_CF | 2);
	assert_no_fault(m, x86_interrupt_return(m->cpu, 2, 0));
	assert_int_equal(s->rip, 0x12);
	assert_int_equal(s->seg[X86_CS].base, 0x20000);
	assert_int_equal(s->rflags, X86_IF | X86_TF | X86_CF | 2);
	/* faults push no error code */
	test_poke(m, 13 * 4, 0x10000000 | HANDLER, 4);
	assert_true(fault(m, X86_GP, true, 0));
	assert_int_equal(s->gpr[X86_RSP], 0xabcd00fa);
	/* a vector beyond the table */
	s->idtr.limit = 0x40;
	assert_fault(m, x86_software_interrupt(m->cpu, 0x21, 0x12), X86_GP, 0x21 * 8 + 2);
}

/* --- 32-bit protected mode --- */

static void test_protected_same_level(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	test_set_gate32(m, 13, SEL_CODE0, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	test_set_gate32(m, 3, SEL_CODE0, HANDLER + 0x10000, X86_SYS_TRAP_GATE32, 3);
	s->rip = START;
	s->rflags = X86_IF | X86_NT | 2;
	assert_true(fault(m, X86_GP, true, 0x1234));
	assert_int_equal(s->rip, HANDLER);
	assert_int_equal(stack_word(m, 0, 4), 0x1234);
	assert_int_equal(stack_word(m, 1, 4), START);
	assert_int_equal(stack_word(m, 2, 4), SEL_CODE0);
	assert_int_equal(stack_word(m, 3, 4), X86_IF | X86_NT | X86_RF | 2); /* a fault: RF in the image */
	assert_int_equal(s->rflags, 2);
	s->rip = START;
	s->rflags = X86_IF | 2;
	assert_no_fault(m, x86_software_interrupt(m->cpu, 3, START + 1));
	assert_int_equal(s->rip, HANDLER + 0x10000);
	assert_int_equal(stack_word(m, 0, 4), START + 1);
	assert_int_equal(stack_word(m, 2, 4), X86_IF | 2); /* a trap: no RF */
	assert_int_equal(s->rflags, X86_IF | 2);           /* a trap gate: IF stays */
}

static void test_protected_inner_level(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	test_set_cpl(m, 3);
	test_set_gate32(m, 0x80, SEL_CODE0, HANDLER, X86_SYS_TRAP_GATE32, 3);
	test_set_gate32(m, 0x81, SEL_CODE0, HANDLER, X86_SYS_TRAP_GATE32, 0);
	s->rip = START;
	s->gpr[X86_RSP] = TEST_STACK3 - 12;
	assert_fault(m, x86_software_interrupt(m->cpu, 0x81, START + 2), X86_GP, 0x81 * 8 + 2);
	m->cpu->delivery->kind = X86_DELIVER_NONE;
	assert_no_fault(m, x86_software_interrupt(m->cpu, 0x80, START + 2));
	assert_int_equal(m->cpu->cpl, 0);
	assert_int_equal(s->seg[X86_SS].selector, SEL_DATA0);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK0 - 20);
	assert_int_equal(stack_word(m, 0, 4), START + 2);
	assert_int_equal(stack_word(m, 1, 4), SEL_CODE3);
	assert_int_equal(stack_word(m, 3, 4), TEST_STACK3 - 12);
	assert_int_equal(stack_word(m, 4, 4), SEL_DATA3);
	/* and back; a kernel data segment does not survive */
	x86_load_segment(m->cpu, X86_DS, SEL_DATA0);
	x86_load_segment(m->cpu, X86_ES, SEL_DATA3);
	assert_no_fault(m, x86_interrupt_return(m->cpu, 4, 0));
	assert_int_equal(m->cpu->cpl, 3);
	assert_int_equal(s->rip, START + 2);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK3 - 12);
	assert_int_equal(s->seg[X86_DS].selector, 0);
	assert_true(s->seg[X86_DS].attr & X86_SEG_UNUSABLE);
	assert_int_equal(s->seg[X86_ES].selector, SEL_DATA3);
}

/* What is wrong with gate, handler segment or inner stack, and what is raised for it. EXT is set because the event is
 * external. */
static void test_gate_errors(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	test_set_cpl(m, 3);
#define EXPECT(vector, error)                                                                                          \
	do {                                                                                                           \
		assert_fault(m, x86_deliver_interrupt(m->cpu, 0x30), vector, error);                                   \
		m->cpu->delivery->kind = X86_DELIVER_NONE;                                                             \
		assert_int_equal(m->cpu->cpl, 3);                                                                      \
		assert_int_equal(s->gpr[X86_RSP], TEST_STACK3);                                                        \
	} while (0)
	test_set_gate32(m, 0x30, SEL_CODE0, HANDLER, 0xc, 0); /* a call gate is no interrupt gate */
	EXPECT(X86_GP, 0x30 * 8 + 3);
	test_set_gate32(m, 0x30, SEL_CODE0, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	test_poke(m, TEST_IDT + 0x30 * 8 + 5, 0x0e, 1);
	EXPECT(X86_NP, 0x30 * 8 + 3);
	test_set_gate32(m, 0x30, 0, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	EXPECT(X86_GP, 1);
	test_set_gate32(m, 0x30, 0x200, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	EXPECT(X86_GP, 0x201);
	test_set_gate32(m, 0x30, SEL_DATA0, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	EXPECT(X86_GP, SEL_DATA0 | 1);
	test_set_gdt(m, SEL_FREE, test_descriptor(0, ~0u, X86_SEG_S | X86_SEG_G | X86_SEG_DB | 0xb)); /* not present */
	test_set_gate32(m, 0x30, SEL_FREE, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	EXPECT(X86_NP, SEL_FREE | 1);
	test_set_gate32(m, 0x30, SEL_CODE0, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	test_poke(m, TEST_TSS + 8, 0, 2);
	EXPECT(X86_TS, 1);
	test_poke(m, TEST_TSS + 8, SEL_DATA3, 2); /* wrong RPL and DPL */
	EXPECT(X86_TS, (SEL_DATA3 & ~3) | 1);
	test_poke(m, TEST_TSS + 8, SEL_CODE0, 2); /* not data */
	EXPECT(X86_TS, SEL_CODE0 | 1);
	test_set_gdt(m, SEL_FREE, test_descriptor(0, ~0u, X86_SEG_S | X86_SEG_G | X86_SEG_DB | 0x3));
	test_poke(m, TEST_TSS + 8, SEL_FREE, 2);
	EXPECT(X86_SSF, SEL_FREE | 1);
	test_set_gdt(m, SEL_FREE, test_descriptor(0, 7, X86_SEG_P | X86_SEG_S | X86_SEG_DB | 0x3)); /* too small */
	EXPECT(X86_SSF, SEL_FREE | 1);
	s->tr.limit = 8; /* the TSS ends in SS0 */
	EXPECT(X86_TS, SEL_TSS | 1);
#undef EXPECT
	/* the same for INT n: no EXT */
	test_set_gate32(m, 0x30, SEL_CODE0, HANDLER, X86_SYS_INTERRUPT_GATE32, 3);
	assert_fault(m, x86_software_interrupt(m->cpu, 0x30, START), X86_TS, SEL_TSS);
}

static void test_conforming_handler(void **state)
{
	struct test_machine *m = *state;

	test_protected_mode(m);
	test_set_cpl(m, 3);
	test_set_gate32(m, 0x30, SEL_CONFORMING, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	assert_no_fault(m, x86_deliver_interrupt(m->cpu, 0x30));
	assert_int_equal(m->cpu->cpl, 3);
	assert_int_equal(m->cpu->s.gpr[X86_RSP], TEST_STACK3 - 12);
	assert_int_equal(m->cpu->s.seg[X86_CS].selector, SEL_CONFORMING | 3);
}

/* --- 64-bit --- */

static void test_long_mode_frame(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_long_mode(m);
	test_set_gate64(m, 14, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0);
	s->rip = START;
	s->gpr[X86_RSP] = TEST_STACK0 - 0x105; /* the frame is aligned to 16 */
	s->seg[X86_SS].selector = SEL_DATA0;
	assert_true(fault(m, X86_PFV, true, 2));
	assert_int_equal(s->gpr[X86_RSP], ((TEST_STACK0 - 0x105) & ~15) - 48);
	assert_int_equal(stack_word(m, 0, 8), 2);
	assert_int_equal(stack_word(m, 1, 8), START);
	assert_int_equal(stack_word(m, 2, 8), SEL_CODE64);
	assert_int_equal(stack_word(m, 3, 8), X86_RF | 2);
	assert_int_equal(stack_word(m, 4, 8), TEST_STACK0 - 0x105);
	assert_int_equal(stack_word(m, 5, 8), SEL_DATA0);
	assert_int_equal(s->seg[X86_SS].selector, SEL_DATA0); /* unchanged at the same level */
	s->gpr[X86_RSP] += 8;
	assert_no_fault(m, x86_interrupt_return(m->cpu, 8, 0));
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK0 - 0x105);
	assert_int_equal(s->rip, START);
	assert_true(s->rflags & X86_RF);
}

static void test_long_mode_from_user(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_long_mode(m);
	test_set_gdt(m, SEL_CODE3, test_descriptor(0, ~0u, X86_SEG_P | X86_SEG_S | X86_SEG_G | X86_SEG_L | 0xb | 0x60));
	test_set_cpl(m, 3);
	test_poke(m, TEST_TSS + 0x24 + 8 * 2, TEST_STACK0 - 0x1000, 8); /* IST3 */
	test_set_gate64(m, 0x30, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0);
	test_set_gate64(m, 2, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 3);
	s->rip = START;
	s->rflags = X86_IF | 2;
	assert_no_fault(m, x86_deliver_interrupt(m->cpu, 0x30));
	assert_int_equal(m->cpu->cpl, 0);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK0 - 40);
	assert_int_equal(s->seg[X86_SS].selector, 0);
	assert_int_equal(s->rflags, 2);
	assert_int_equal(stack_word(m, 2, 8), X86_IF | 2); /* no RF for an interrupt */
	assert_no_fault(m, x86_deliver_nmi(m->cpu));       /* IST although the level stays */
	assert_true(s->nmi_masked);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK0 - 0x1000 - 40);
	assert_no_fault(m, x86_interrupt_return(m->cpu, 8, 0)); /* back to the kernel: a null SS is fine */
	assert_false(s->nmi_masked);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK0 - 40);
	assert_no_fault(m, x86_interrupt_return(m->cpu, 8, 0));
	assert_int_equal(m->cpu->cpl, 3);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK3);
	assert_int_equal(s->rip, START);
	assert_int_equal(s->rflags, X86_IF | 2);
}

static void test_long_mode_errors(void **state)
{
	struct test_machine *m = *state;

	test_long_mode(m);
	test_set_cpl(m, 3);
#define EXPECT(vector, error)                                                                                          \
	do {                                                                                                           \
		assert_fault(m, x86_deliver_interrupt(m->cpu, 0x30), vector, error);                                   \
		m->cpu->delivery->kind = X86_DELIVER_NONE;                                                             \
	} while (0)
	test_set_gate64(m, 0x30, SEL_CODE0, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0); /* 32-bit code */
	EXPECT(X86_GP, SEL_CODE0 | 1);
	test_set_gate64(m, 0x30, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE16, 0, 0); /* no 16-bit gates */
	EXPECT(X86_GP, 0x30 * 8 + 3);
	test_set_gate64(m, 0x30, SEL_CODE64, 1ull << 47, X86_SYS_INTERRUPT_GATE32, 0, 0);
	EXPECT(X86_GP, 1);
	test_set_gate64(m, 0x30, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0);
	test_poke(m, TEST_TSS + 4, 1ull << 47, 8);
	EXPECT(X86_SSF, 1);
	m->cpu->s.tr.limit = 10;
	EXPECT(X86_TS, SEL_TSS | 1);
	m->cpu->s.idtr.limit = 0x30 * 16 + 14;
	EXPECT(X86_GP, 0x30 * 8 + 3);
#undef EXPECT
}

/* --- vm86 --- */

static void enter_vm86(struct test_machine *m, unsigned iopl)
{
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	s->rflags = X86_VM | X86_IF | iopl << 12 | 2;
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		x86_segment_set_vm86(&s->seg[i], (uint16_t)(0x1000 + 0x100 * i));
	s->gpr[X86_RSP] = 0x200;
	s->rip = 0x10;
	x86_mode_update(m->cpu);
}

static void test_vm86_interrupt(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	enter_vm86(m, 0);
	test_set_gate32(m, 0x30, SEL_CODE0, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	assert_no_fault(m, x86_deliver_interrupt(m->cpu, 0x30));
	assert_int_equal(m->cpu->cpl, 0);
	assert_false(m->cpu->vm86);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK0 - 36);
	assert_int_equal(stack_word(m, 0, 4), 0x10);
	assert_int_equal(stack_word(m, 1, 4), 0x1000 + 0x100 * X86_CS);
	assert_int_equal(stack_word(m, 2, 4), X86_VM | X86_IF | 2);
	assert_int_equal(stack_word(m, 3, 4), 0x200);
	assert_int_equal(stack_word(m, 4, 4), 0x1000 + 0x100 * X86_SS);
	assert_int_equal(stack_word(m, 5, 4), 0x1000 + 0x100 * X86_ES);
	assert_int_equal(stack_word(m, 6, 4), 0x1000 + 0x100 * X86_DS);
	assert_int_equal(stack_word(m, 7, 4), 0x1000 + 0x100 * X86_FS);
	assert_int_equal(stack_word(m, 8, 4), 0x1000 + 0x100 * X86_GS);
	assert_true(s->seg[X86_DS].attr & X86_SEG_UNUSABLE);
	assert_no_fault(m, x86_interrupt_return(m->cpu, 4, 0));
	assert_true(m->cpu->vm86);
	assert_int_equal(s->seg[X86_GS].base, (0x1000 + 0x100 * X86_GS) << 4);
	assert_int_equal(s->gpr[X86_RSP], 0x200);
	assert_int_equal(s->rip, 0x10);
	assert_int_equal(m->cpu->cpl, 3);
}

static void test_vm86_software_interrupt(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	enter_vm86(m, 0);
	test_set_gate32(m, 0x21, SEL_CODE0, HANDLER, X86_SYS_INTERRUPT_GATE32, 3);
	assert_fault(m, x86_software_interrupt(m->cpu, 0x21, 0x12), X86_GP, 0); /* IOPL < 3 */
	s->rflags |= X86_IOPL;
	assert_no_fault(m, x86_software_interrupt(m->cpu, 0x21, 0x12));
	assert_int_equal(s->rip, HANDLER);
	/* VME: a clear bit in the redirection map sends it to the vm86 program's own table */
	enter_vm86(m, 0);
	s->cr4 = X86_CR4_VME;
	test_poke(m, TEST_TSS + 0x66, 0x68 + 32, 2);
	test_poke(m, 0x21 * 4, 0x30004444, 4);
	s->rflags |= X86_VIF;
	assert_no_fault(m, x86_software_interrupt(m->cpu, 0x21, 0x12));
	assert_true(m->cpu->vm86);
	assert_int_equal(s->seg[X86_CS].base, 0x30000);
	assert_int_equal(s->rip, 0x4444);
	assert_int_equal(stack_word(m, 0, 2), 0x12);
	assert_int_equal(stack_word(m, 2, 2), X86_IF | X86_IOPL | 2); /* VIF in IF's place, IOPL as 3 */
	assert_false(s->rflags & X86_VIF);
	assert_true(s->rflags & X86_IF);
	assert_no_fault(m, x86_interrupt_return(m->cpu, 2, 0));
	assert_true(s->rflags & X86_VIF);
	assert_int_equal(s->rip, 0x12);
	/* a set bit: through the monitor */
	test_poke(m, TEST_TSS + 0x68 + 0x21 / 8, 1 << (0x21 & 7), 1);
	assert_fault(m, x86_software_interrupt(m->cpu, 0x21, 0x12), X86_GP, 0);
}

/* --- double and triple faults: SDM 3A table 6-5 --- */

/* The second fault is made by the first one's gate: not present (#NP, contributory), or its page (#PF). */
static void test_double_fault_classes(void **state)
{
	static const struct {
		enum x86_vector first;
		bool page_fault_second;
		uint8_t delivered;
	} rows[] = {
		{X86_UD, false, X86_NP},  {X86_UD, true, X86_PFV},  {X86_DB, false, X86_NP},   {X86_NM, true, X86_PFV},
		{X86_DE, false, X86_DFV}, {X86_DE, true, X86_PFV},  {X86_GP, false, X86_DFV},  {X86_GP, true, X86_PFV},
		{X86_TS, false, X86_DFV}, {X86_SSF, true, X86_PFV}, {X86_PFV, false, X86_DFV}, {X86_PFV, true, X86_DFV},
		{X86_MC, false, X86_NP},  {X86_ACV, true, X86_PFV},
	};
	struct test_machine *m = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct x86_state *s = &m->cpu->s;
		bool error = rows[i].first == X86_GP || rows[i].first == X86_TS || rows[i].first == X86_SSF ||
			     rows[i].first == X86_PFV;

		test_long_mode(m);
		for (unsigned v = 0; v < 32; v++)
			test_set_gate64(m, v, SEL_CODE64, HANDLER + v, X86_SYS_INTERRUPT_GATE32, 0, 0);
		if (rows[i].page_fault_second) /* a handler stack that is not mapped: IST1 */
			test_set_gate64(m, rows[i].first, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 1);
		else
			test_poke(m, TEST_IDT + 16 * rows[i].first + 5, 0x0e, 1);
		test_poke(m, TEST_TSS + 0x24, 0x7fff00000000, 8);
		s->rip = START;
		assert_true(fault(m, rows[i].first, error, 0));
		if (s->rip != (uint64_t)HANDLER + rows[i].delivered)
			fail_msg("row %zu: handler %#llx", i, (unsigned long long)s->rip - HANDLER);
		assert_int_equal(m->cpu->delivery->kind, X86_DELIVER_NONE);
		if (rows[i].delivered == X86_DFV)
			assert_int_equal(stack_word(m, 0, 8), 0);
		if (rows[i].delivered == X86_NP)
			assert_int_equal(stack_word(m, 0, 8), rows[i].first * 8 + 3); /* IDT and EXT */
	}
}

static void test_triple_fault(void **state)
{
	struct test_machine *m = *state;

	test_long_mode(m);
	m->cpu->s.idtr.limit = 0;
	assert_false(fault(m, X86_UD, false, 0)); /* #UD, #GP, #DF, shutdown */
	assert_int_equal(m->cpu->delivery->kind, X86_DELIVER_NONE);
	/* a benign event first, then #GP, #DF */
	assert_int_equal(FAULT_OF(m, x86_deliver_interrupt(m->cpu, 0x30)), X86_GP);
	assert_false(x86_deliver_fault(m->cpu));
	/* the CPU is usable after a reset */
	x86_cpu_reset(m->cpu, false);
	assert_int_equal(m->cpu->s.rip, 0xfff0);
	assert_int_equal(m->cpu->s.seg[X86_CS].base, 0xffff0000);
}

/* The report names the chain, the walk and the last deliveries. */
static void test_triple_fault_report(void **state)
{
	static const char *const expected[] = {"cpu0: triple fault", "while delivering vector 0x8",
					       "#UD at 0x38:0x5000 -> #PF(0) cr2 0x7fff00000060 -> #DF(0) -> #PF(0): no handler",
					       "walk of cr2: cr3 0x10000 -> [0x107f8] 0 (not present)", "vector 0x3",
					       "(not present)"};
	char path[] = "/tmp/x86-report-XXXXXX", text[8192] = {0};
	struct test_machine *m = *state;
	struct error err = {0};
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	log_close(&m->log);
	assert_int_equal(log_open(&m->log, path, &err), 0);
	atomic_store(&m->log.items, LOG_CPU_RESET);
	test_long_mode(m);
	test_set_gate64(m, 3, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0);
	assert_no_fault(m, x86_software_interrupt(m->cpu, 3, START));
	m->cpu->s.idtr.base = 0x7fff00000000; /* the table is gone */
	assert_false(fault(m, X86_UD, false, 0));
	assert_int_equal(m->cpu->s.cr2, 0x7fff00000080);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		if (!strstr(text, expected[i]))
			fail_msg("no '%s' in:\n%s", expected[i], text);
	close(fd);
	unlink(path);
}

/* An interrupt whose delivery faults is benign: the fault is delivered as itself. */
static void test_fault_during_interrupt(void **state)
{
	struct test_machine *m = *state;

	test_long_mode(m);
	test_set_gate64(m, X86_GP, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0);
	m->cpu->s.rip = START;
	assert_int_equal(FAULT_OF(m, x86_deliver_interrupt(m->cpu, 0x30)), X86_GP);
	assert_true(x86_deliver_fault(m->cpu));
	assert_int_equal(m->cpu->s.rip, HANDLER);
	assert_int_equal(stack_word(m, 0, 8), 0x30 * 8 + 3);
	assert_int_equal(stack_word(m, 1, 8), START);
}

/* --- events --- */

struct fake_apic {
	int vector;
	unsigned inits;
};

static int apic_ack(void *apic)
{
	struct fake_apic *fake = apic;
	int vector = fake->vector;

	fake->vector = -1;
	return vector;
}

static bool apic_has(void *apic)
{
	return ((struct fake_apic *)apic)->vector >= 0;
}

static uint8_t apic_get_tpr(void *apic)
{
	return 3;
}

static void apic_init(void *apic)
{
	((struct fake_apic *)apic)->inits++;
}

static uint32_t apic_mmio_read(void *apic, uint32_t offset, unsigned size)
{
	return 0x11110000 + offset;
}

static const struct vcpu_apic_ops apic_ops = {.ack = apic_ack,
					      .has_interrupt = apic_has,
					      .get_tpr = apic_get_tpr,
					      .init = apic_init,
					      .mmio_read = apic_mmio_read};

static void test_interrupt_window(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;
	struct fake_apic apic = {.vector = 0x30};

	test_long_mode(m);
	test_set_gate64(m, 0x30, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0);
	m->cpu->vcpu.apic_ops = &apic_ops;
	m->cpu->vcpu.apic = &apic;
	atomic_store(&m->cpu->vcpu.events, VCPU_INTR);
	s->rflags = 2;
	assert_false(x86_event_ready(m->cpu));
	assert_false(x86_take_events(m->cpu));
	s->rflags = X86_IF | 2;
	s->shadow_sti = true;
	assert_false(x86_take_events(m->cpu));
	s->shadow_sti = false;
	s->shadow_ss = true;
	assert_false(x86_event_ready(m->cpu));
	s->shadow_ss = false;
	s->mp_state = X86_MP_HALTED;
	assert_true(x86_event_ready(m->cpu));
	assert_true(x86_take_events(m->cpu));
	assert_int_equal(s->rip, HANDLER);
	assert_int_equal(s->mp_state, X86_MP_RUNNING);
	assert_int_equal(apic.vector, -1);
	assert_int_equal(x86_get_cr(m->cpu, 8), 3);
	/* its page */
	test_set_pte(m, 0x100000, 0xfee00000 | 7);
	x86_tlb_flush(m->cpu);
	assert_int_equal(x86_read32(m->cpu, 0x100020), 0x11110020);
	s->apic_base |= 0x400; /* x2APIC mode: the page is gone */
	assert_int_equal(x86_read32(m->cpu, 0x100020), 0xffffffff);
}

static void test_nmi_masking(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_long_mode(m);
	test_set_gate64(m, 2, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0);
	s->rip = START;
	atomic_store(&m->cpu->vcpu.events, VCPU_NMI);
	assert_true(x86_take_events(m->cpu));
	assert_int_equal(s->rip, HANDLER);
	atomic_store(&m->cpu->vcpu.events, VCPU_NMI);
	assert_false(x86_event_ready(m->cpu));
	assert_false(x86_take_events(m->cpu)); /* kept for later */
	assert_true(s->nmi_pending);
	assert_no_fault(m, x86_interrupt_return(m->cpu, 8, 0));
	assert_int_equal(s->rip, START);
	assert_true(atomic_load(&m->cpu->vcpu.events) & VCPU_NMI);
	assert_true(x86_take_events(m->cpu));
	assert_int_equal(s->rip, HANDLER);
}

static void test_init_and_sipi(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;
	struct fake_apic apic = {.vector = -1};

	test_long_mode(m);
	m->cpu->vcpu.apic_ops = &apic_ops;
	m->cpu->vcpu.apic = &apic;
	s->apic_base = 0xfee00800; /* not the bootstrap processor */
	s->fpu.vector[3][0] = 0x77;
	atomic_store(&m->cpu->vcpu.events, VCPU_INIT | VCPU_INTR | VCPU_NMI);
	assert_false(x86_take_events(m->cpu));
	assert_int_equal(s->mp_state, X86_MP_WAIT_SIPI);
	assert_int_equal(apic.inits, 1);
	assert_int_equal(s->cr0 & (X86_CR0_PE | X86_CR0_PG), 0);
	assert_int_equal(s->efer, 0);
	assert_int_equal(s->fpu.vector[3][0], 0x77); /* INIT leaves the FPU alone */
	assert_false(x86_event_ready(m->cpu));
	m->cpu->vcpu.sipi_vector = 0x9a;
	atomic_fetch_or(&m->cpu->vcpu.events, VCPU_SIPI);
	assert_true(x86_event_ready(m->cpu));
	assert_true(x86_take_events(m->cpu));
	assert_int_equal(s->mp_state, X86_MP_RUNNING);
	assert_int_equal(s->seg[X86_CS].selector, 0x9a00);
	assert_int_equal(s->seg[X86_CS].base, 0x9a000);
	assert_int_equal(s->rip, 0);
	/* a SIPI to a running processor is ignored */
	s->rip = START;
	atomic_store(&m->cpu->vcpu.events, VCPU_SIPI);
	assert_false(x86_take_events(m->cpu));
	assert_int_equal(s->rip, START);
	assert_int_equal(atomic_load(&m->cpu->vcpu.events), 0);
}

static void test_pending_exception_of_a_restored_state(void **state)
{
	struct test_machine *m = *state;
	struct x86_state saved;

	test_long_mode(m);
	test_set_gate64(m, 14, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0);
	x86_cpu_get_state(m->cpu, &saved);
	saved.exception_pending = saved.exception_has_error = true;
	saved.exception_vector = 14;
	saved.exception_error = 6;
	x86_cpu_set_state(m->cpu, &saved);
	assert_true(atomic_load(&m->cpu->vcpu.events));
	assert_true(x86_take_events(m->cpu));
	assert_int_equal(m->cpu->s.rip, HANDLER);
	assert_int_equal(stack_word(m, 0, 8), 6);
	assert_false(m->cpu->s.exception_pending);
}

/* --- debug --- */

static void test_debug_exceptions(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_long_mode(m);
	test_set_gate64(m, 1, SEL_CODE64, HANDLER, X86_SYS_INTERRUPT_GATE32, 0, 0);
	s->rip = START;
	s->rflags = X86_TF | 2;
	assert_int_equal(FAULT_OF(m, x86_debug_trap(m->cpu, true)), X86_DB);
	assert_true(x86_deliver_fault(m->cpu));
	assert_int_equal(s->dr6, 0xffff4ff0);
	assert_int_equal(stack_word(m, 2, 8), X86_TF | 2); /* a trap: no RF */
	assert_int_equal(s->rflags, 2);
	/* instruction breakpoint: a fault, without RF in the image; RF holds it off */
	x86_set_dr(m->cpu, 6, 0xffff0ff0);
	x86_set_dr(m->cpu, 2, START);
	x86_set_dr(m->cpu, 7, 2 << 4);
	s->rip = START + 1;
	assert_no_fault(m, x86_check_breakpoint(m->cpu));
	s->rip = START;
	s->rflags |= X86_RF;
	assert_no_fault(m, x86_check_breakpoint(m->cpu));
	s->rflags &= ~(uint64_t)X86_RF;
	assert_int_equal(FAULT_OF(m, x86_check_breakpoint(m->cpu)), X86_DB);
	assert_true(x86_deliver_fault(m->cpu));
	assert_int_equal(s->dr6 & 0xf, 4);
	/* general detect */
	x86_set_dr(m->cpu, 7, 1 << 13);
	assert_int_equal(FAULT_OF(m, x86_set_dr(m->cpu, 0, 1)), X86_DB);
	assert_true(x86_deliver_fault(m->cpu));
	assert_true(s->dr6 & 1 << 13);
	assert_false(s->dr7 & 1 << 13);
	/* I/O breakpoints need CR4.DE */
	x86_set_dr(m->cpu, 1, 0x3f9);
	x86_set_dr(m->cpu, 7, 1 << 2 | 2 << 20 | 1 << 22); /* L1, I/O, 2 bytes: 0x3f8 and 0x3f9 */
	x86_check_io(m->cpu, 0x3f8, 1);
	assert_int_equal(m->cpu->debug_pending, 0);
	s->cr4 |= X86_CR4_DE;
	x86_check_io(m->cpu, 0x3fa, 1);
	assert_int_equal(m->cpu->debug_pending, 0);
	x86_check_io(m->cpu, 0x3f8, 1);
	assert_int_equal(m->cpu->debug_pending, 2);
	m->cpu->debug_pending = 0;
	s->cr4 &= ~X86_CR4_DE;
	/* DR4 is DR6 unless CR4.DE */
	assert_int_equal(x86_get_dr(m->cpu, 4), s->dr6);
	s->cr4 |= X86_CR4_DE;
	assert_int_equal(FAULT_OF(m, (void)x86_get_dr(m->cpu, 4)), X86_UD);
}

/* INT1 has no DPL check and is an external event; INT 1 (CD 01) is software. */
static void test_int1_forms(void **state)
{
	struct test_machine *m = *state;

	test_protected_mode(m);
	test_set_cpl(m, 3);
	test_set_gate32(m, 1, SEL_CODE0, HANDLER, X86_SYS_INTERRUPT_GATE32, 0);
	m->cpu->s.rip = START;
	test_poke(m, START, 0x01cd, 2);
	assert_fault(m, x86_software_interrupt(m->cpu, 1, START + 2), X86_GP, 1 * 8 + 2);
	m->cpu->delivery->kind = X86_DELIVER_NONE;
	test_poke(m, START, 0xf1, 1);
	assert_no_fault(m, x86_software_interrupt(m->cpu, 1, START + 1));
	assert_int_equal(m->cpu->s.rip, HANDLER);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, test_machine_setup, test_machine_teardown)
	const struct CMUnitTest tests[] = {
		T(test_real_mode),
		T(test_protected_same_level),
		T(test_protected_inner_level),
		T(test_gate_errors),
		T(test_conforming_handler),
		T(test_long_mode_frame),
		T(test_long_mode_from_user),
		T(test_long_mode_errors),
		T(test_vm86_interrupt),
		T(test_vm86_software_interrupt),
		T(test_double_fault_classes),
		T(test_triple_fault),
		T(test_triple_fault_report),
		T(test_fault_during_interrupt),
		T(test_interrupt_window),
		T(test_nmi_masking),
		T(test_init_and_sipi),
		T(test_pending_exception_of_a_restored_state),
		T(test_debug_exceptions),
		T(test_int1_forms),
	};

	return cmocka_run_group_tests_name("x86 exceptions", tests, NULL, NULL);
}
