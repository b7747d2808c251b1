/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segmentation, far transfers, system calls and task switches: SDM 3A chapters 3, 5, 7. */
#include "cpu/x86/x86_test.h"

enum { START = 0x7000, TARGET = 0x5000 };

/* --- data references --- */

static void test_limits(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_protected_mode(m);
	/* 0x1000..0x10ff by bytes */
	test_set_gdt(m, SEL_FREE, test_descriptor(0x1000, 0xff, X86_SEG_P | X86_SEG_S | X86_SEG_DB | 0x3));
	x86_load_segment(cpu, X86_DS, SEL_FREE);
	assert_false(cpu->flat_data);
	assert_int_equal(x86_linear(cpu, X86_DS, 0xfc, 4, X86_READ), 0x10fc);
	assert_fault(m, (void)x86_linear(cpu, X86_DS, 0xfd, 4, X86_READ), X86_GP, 0);
	assert_fault(m, (void)x86_linear(cpu, X86_DS, 0x100, 1, X86_READ), X86_GP, 0);
	assert_fault(m, (void)x86_linear(cpu, X86_DS, 0xffffffff, 4, X86_READ), X86_GP, 0);
	/* expand-down: 0x100..0xffff */
	test_set_gdt(m, SEL_FREE, test_descriptor(0x1000, 0xff, X86_SEG_P | X86_SEG_S | 0x7));
	x86_load_segment(cpu, X86_ES, SEL_FREE);
	assert_fault(m, (void)x86_linear(cpu, X86_ES, 0xff, 1, X86_READ), X86_GP, 0);
	assert_int_equal(x86_linear(cpu, X86_ES, 0x100, 1, X86_READ), 0x1100);
	assert_int_equal(x86_linear(cpu, X86_ES, 0xfffe, 2, X86_READ), 0x10ffe);
	assert_fault(m, (void)x86_linear(cpu, X86_ES, 0xffff, 2, X86_READ), X86_GP, 0);
	/* #SS for the stack segment */
	x86_load_segment(cpu, X86_SS, SEL_FREE);
	assert_fault(m, (void)x86_linear(cpu, X86_SS, 0x10, 4, X86_READ), X86_SSF, 0);
	assert_int_equal(cpu->stack_mask, 0xffff);
	/* what a segment may be used for */
	assert_fault(m, (void)x86_linear(cpu, X86_CS, 0, 1, X86_WRITE), X86_GP, 0);
	assert_no_fault(m, (void)x86_linear(cpu, X86_CS, 0, 1, X86_READ));
	test_set_gdt(m, SEL_FREE,
		     test_descriptor(0, ~0u, X86_SEG_P | X86_SEG_S | X86_SEG_G | 0x1)); /* read-only data */
	x86_load_segment(cpu, X86_DS, SEL_FREE);
	assert_false(cpu->flat_data);
	assert_fault(m, (void)x86_linear(cpu, X86_DS, 0, 1, X86_WRITE), X86_GP, 0);
	x86_load_segment(cpu, X86_DS, 0);
	assert_fault(m, (void)x86_linear(cpu, X86_DS, 0, 1, X86_READ), X86_GP, 0);
}

static void test_long_mode_addresses(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	test_long_mode(m);
	cpu->s.seg[X86_DS].base = 0x5000; /* ignored */
	cpu->s.seg[X86_FS].base = 0x5000;
	assert_int_equal(x86_linear(cpu, X86_DS, 0x10, 8, X86_WRITE), 0x10);
	assert_int_equal(x86_linear(cpu, X86_FS, 0x10, 8, X86_WRITE), 0x5010);
	assert_fault(m, (void)x86_linear(cpu, X86_DS, 0x800000000000, 1, X86_READ), X86_GP, 0);
	assert_fault(m, (void)x86_linear(cpu, X86_DS, 0x7ffffffffffc, 8, X86_READ), X86_GP, 0);
	assert_int_equal(x86_linear(cpu, X86_DS, 0x7ffffffffff8, 8, X86_READ), 0x7ffffffffff8);
	assert_fault(m, (void)x86_linear(cpu, X86_SS, 0xffff7fffffffffff, 1, X86_READ), X86_SSF, 0);
	cpu->s.gpr[X86_RSP] = 0x800000000004;
	assert_fault(m, x86_push(cpu, 1, 8), X86_SSF, 0);
	assert_int_equal(cpu->s.gpr[X86_RSP], 0x800000000004);
}

static void test_stack_widths(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	/* real mode: SP wraps, the upper half stays */
	x86_load_segment(m->cpu, X86_SS, 0x2000);
	s->gpr[X86_RSP] = 0x12340000;
	x86_push(m->cpu, 0xaabb, 2);
	assert_int_equal(s->gpr[X86_RSP], 0x1234fffe);
	assert_int_equal(test_peek(m, 0x2fffe, 2), 0xaabb);
	assert_int_equal(x86_pop(m->cpu, 2), 0xaabb);
	assert_int_equal(s->gpr[X86_RSP], 0x12340000);
	/* a push that straddles the end of the segment */
	s->gpr[X86_RSP] = 1;
	assert_fault(m, x86_push(m->cpu, 1, 2), X86_SSF, 0);
	test_protected_mode(m);
	s->gpr[X86_RSP] = 0x5000;
	x86_push(m->cpu, 0x11223344, 4);
	assert_int_equal(test_peek(m, 0x4ffc, 4), 0x11223344);
	assert_int_equal(x86_pop(m->cpu, 2), 0x3344);
	assert_int_equal(s->gpr[X86_RSP], 0x4ffe);
}

static void test_segment_loads(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	const uint32_t data = X86_SEG_P | X86_SEG_S | X86_SEG_DB | X86_SEG_G;

	test_protected_mode(m);
	assert_fault(m, x86_load_segment(cpu, X86_DS, 0x200), X86_GP, 0x200); /* beyond the table */
	assert_fault(m, x86_load_segment(cpu, X86_DS, 0x0c), X86_GP, 0x0c);   /* no LDT */
	assert_fault(m, x86_load_segment(cpu, X86_DS, SEL_TSS), X86_GP, SEL_TSS);
	assert_fault(m, x86_load_segment(cpu, X86_SS, 0), X86_GP, 0);
	assert_fault(m, x86_load_segment(cpu, X86_SS, SEL_DATA3), X86_GP, SEL_DATA3 & ~3);
	assert_fault(m, x86_load_segment(cpu, X86_SS, SEL_CODE0), X86_GP, SEL_CODE0);
	test_set_gdt(m, SEL_FREE, test_descriptor(0, ~0u, (data | 0x2) & ~X86_SEG_P));
	assert_fault(m, x86_load_segment(cpu, X86_DS, SEL_FREE), X86_NP, SEL_FREE);
	assert_fault(m, x86_load_segment(cpu, X86_SS, SEL_FREE), X86_SSF, SEL_FREE);
	test_set_gdt(m, SEL_FREE, test_descriptor(0, ~0u, data | 0x8)); /* execute-only */
	assert_fault(m, x86_load_segment(cpu, X86_DS, SEL_FREE), X86_GP, SEL_FREE);
	/* the accessed bit is written back */
	test_set_gdt(m, SEL_FREE, test_descriptor(0, ~0u, data | 0x2));
	assert_no_fault(m, x86_load_segment(cpu, X86_DS, SEL_FREE));
	assert_int_equal(test_peek(m, TEST_GDT + SEL_FREE + 5, 1), 0x93);
	/* CPL and RPL against DPL */
	assert_fault(m, x86_load_segment(cpu, X86_DS, SEL_FREE | 3), X86_GP, SEL_FREE);
	test_set_cpl(m, 3);
	assert_fault(m, x86_load_segment(cpu, X86_DS, SEL_DATA0), X86_GP, SEL_DATA0);
	assert_no_fault(m, x86_load_segment(cpu, X86_DS, SEL_CONFORMING));
	assert_no_fault(m, x86_load_segment(cpu, X86_ES, SEL_DATA3));
	/* LDT */
	test_set_cpl(m, 0);
	test_set_gdt(m, SEL_FREE, test_descriptor(TEST_LDT, 0xf, X86_SEG_P | X86_SYS_LDT));
	test_poke(m, TEST_LDT + 8, test_descriptor(0x9000, 0xff, X86_SEG_P | X86_SEG_S | 0x3), 8);
	assert_fault(m, x86_lldt(cpu, SEL_DATA0), X86_GP, SEL_DATA0);
	assert_no_fault(m, x86_lldt(cpu, SEL_FREE));
	assert_no_fault(m, x86_load_segment(cpu, X86_FS, 0x0c));
	assert_int_equal(cpu->s.seg[X86_FS].base, 0x9000);
	assert_fault(m, x86_load_segment(cpu, X86_FS, 0x14), X86_GP, 0x14);
	assert_no_fault(m, x86_lldt(cpu, 0));
	assert_fault(m, x86_load_segment(cpu, X86_FS, 0x0c), X86_GP, 0x0c);
	/* TR */
	assert_fault(m, x86_ltr(cpu, 0), X86_GP, 0);
	assert_fault(m, x86_ltr(cpu, SEL_TSS), X86_GP, SEL_TSS); /* busy */
	assert_no_fault(m, x86_ltr(cpu, SEL_TSS2));
	assert_int_equal(test_peek(m, TEST_GDT + SEL_TSS2 + 5, 1), 0x8b);
	assert_int_equal(cpu->s.tr.base, TEST_TSS2);
}

/* Real mode keeps limits: the way into "unreal mode". */
static void test_unreal_mode(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;

	assert_fault(m, (void)x86_linear(cpu, X86_DS, 0x10000, 1, X86_READ), X86_GP, 0);
	test_protected_mode(m);
	x86_load_segment(cpu, X86_DS, SEL_DATA0);
	x86_set_cr(cpu, 0, cpu->s.cr0 & ~X86_CR0_PE);
	x86_load_segment(cpu, X86_DS, 0x1234);
	assert_int_equal(x86_linear(cpu, X86_DS, 0x100000, 1, X86_WRITE), 0x112340);
	assert_int_equal(cpu->cpl, 0);
}

static void test_lar_lsl_verr(void **state)
{
	struct test_machine *m = *state;
	struct x86_cpu *cpu = m->cpu;
	uint32_t value = 0;

	test_protected_mode(m);
	test_set_cpl(m, 3);
	assert_true(x86_lar(cpu, SEL_DATA3, &value));
	assert_int_equal(value, 0x00c0f300);
	assert_true(x86_lsl(cpu, SEL_DATA3, &value));
	assert_int_equal(value, 0xffffffff);
	assert_false(x86_lar(cpu, SEL_DATA0, &value)); /* DPL < CPL */
	assert_false(x86_lar(cpu, 0, &value));
	assert_false(x86_lar(cpu, 0x200, &value));
	assert_true(x86_lar(cpu, SEL_CONFORMING, &value));
	assert_true(x86_verify(cpu, SEL_DATA3, true));
	assert_true(x86_verify(cpu, SEL_CODE3, false));
	assert_false(x86_verify(cpu, SEL_CODE3, true));
	assert_false(x86_verify(cpu, SEL_DATA0, false));
	test_set_cpl(m, 0);
	assert_true(x86_lsl(cpu, SEL_TSS, &value));
	assert_int_equal(value, 0x2067);
	test_set_gdt(m, SEL_FREE, (uint64_t)(0x80 | X86_SYS_CALL_GATE32) << 40);
	assert_true(x86_lar(cpu, SEL_FREE, &value));
	assert_false(x86_lsl(cpu, SEL_FREE, &value)); /* a gate has no limit */
	assert_false(x86_verify(cpu, SEL_FREE, false));
	test_set_gdt(m, SEL_FREE, (uint64_t)(0x80 | X86_SYS_INTERRUPT_GATE32) << 40);
	assert_false(x86_lar(cpu, SEL_FREE, &value));
}

/* --- far transfers --- */

static uint64_t call_gate(uint16_t selector, uint32_t offset, unsigned type, unsigned dpl, unsigned count)
{
	return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)count << 32 |
	       (uint64_t)(0x80 | type | dpl << 5) << 40 | (uint64_t)(offset & 0xffff0000) << 32;
}

static void test_far_jump(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	s->rip = START;
	assert_no_fault(m, x86_far_jump(m->cpu, SEL_CODE16, 0x12345678, 2, START + 5)); /* 16-bit operand */
	assert_int_equal(s->rip, 0x5678);
	assert_int_equal(m->cpu->code_mode, X86_CODE16);
	assert_fault(m, x86_far_jump(m->cpu, SEL_CODE16, 0x10000, 4, 0), X86_GP, 0); /* limit */
	assert_fault(m, x86_far_jump(m->cpu, 3, TARGET, 4, 0), X86_GP, 0);
	assert_fault(m, x86_far_jump(m->cpu, SEL_DATA0, TARGET, 4, 0), X86_GP, SEL_DATA0);
	assert_fault(m, x86_far_jump(m->cpu, SEL_CODE3, TARGET, 4, 0), X86_GP, SEL_CODE3 & ~3);
	assert_no_fault(m, x86_far_jump(m->cpu, SEL_CODE0, TARGET, 4, 0));
	assert_int_equal(m->cpu->code_mode, X86_CODE32);
	/* conforming code keeps the CPL, which the selector then shows */
	test_set_cpl(m, 3);
	assert_no_fault(m, x86_far_jump(m->cpu, SEL_CONFORMING, TARGET, 4, 0));
	assert_int_equal(s->seg[X86_CS].selector, SEL_CONFORMING | 3);
	assert_int_equal(m->cpu->cpl, 3);
	/* a gate does not raise privilege for JMP */
	test_set_gdt(m, SEL_FREE, call_gate(SEL_CODE0, TARGET, X86_SYS_CALL_GATE32, 3, 0));
	assert_fault(m, x86_far_jump(m->cpu, SEL_FREE | 3, 0, 4, 0), X86_GP, SEL_CODE0);
	test_set_cpl(m, 0);
	assert_no_fault(m, x86_far_jump(m->cpu, SEL_FREE, 0x999, 4, 0));
	assert_int_equal(s->rip, TARGET);
}

static void test_call_gate_with_parameters(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	test_set_cpl(m, 3);
	test_set_gdt(m, SEL_FREE, call_gate(SEL_CODE0, TARGET, X86_SYS_CALL_GATE32, 3, 2));
	x86_push(m->cpu, 0x2222, 4);
	x86_push(m->cpu, 0x1111, 4);
	s->rip = START;
	assert_no_fault(m, x86_far_call(m->cpu, SEL_FREE | 3, 0, 4, START + 7));
	assert_int_equal(m->cpu->cpl, 0);
	assert_int_equal(s->rip, TARGET);
	assert_int_equal(s->seg[X86_CS].selector, SEL_CODE0);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK0 - 24);
	assert_int_equal(test_peek(m, TEST_STACK0 - 24, 4), START + 7);
	assert_int_equal(test_peek(m, TEST_STACK0 - 20, 4), SEL_CODE3);
	assert_int_equal(test_peek(m, TEST_STACK0 - 16, 4), 0x1111);
	assert_int_equal(test_peek(m, TEST_STACK0 - 12, 4), 0x2222);
	assert_int_equal(test_peek(m, TEST_STACK0 - 8, 4), TEST_STACK3 - 8);
	assert_int_equal(test_peek(m, TEST_STACK0 - 4, 4), SEL_DATA3);
	/* RET 8 drops the parameters from both stacks */
	assert_no_fault(m, x86_far_return(m->cpu, 4, 8));
	assert_int_equal(m->cpu->cpl, 3);
	assert_int_equal(s->rip, START + 7);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK3);
	assert_int_equal(s->seg[X86_SS].selector, SEL_DATA3);
	/* the gate's DPL */
	test_set_gdt(m, SEL_FREE, call_gate(SEL_CODE0, TARGET, X86_SYS_CALL_GATE32, 0, 0));
	assert_fault(m, x86_far_call(m->cpu, SEL_FREE | 3, 0, 4, 0), X86_GP, SEL_FREE);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK3);
}

static void test_far_call_and_return(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	s->gpr[X86_RSP] = 0x1000;
	s->seg[X86_CS].selector = 0x10;
	assert_no_fault(m, x86_far_call(m->cpu, 0x2000, 0x30, 2, 0x44));
	assert_int_equal(s->seg[X86_CS].base, 0x20000);
	assert_int_equal(s->rip, 0x30);
	assert_int_equal(test_peek(m, 0xffc, 4), 0x00100044);
	assert_no_fault(m, x86_far_return(m->cpu, 2, 6));
	assert_int_equal(s->seg[X86_CS].selector, 0x10);
	assert_int_equal(s->rip, 0x44);
	assert_int_equal(s->gpr[X86_RSP], 0x1006);
	/* 64-bit to compatibility mode and back */
	test_long_mode(m);
	s->rip = START;
	assert_no_fault(m, x86_far_call(m->cpu, SEL_CODE0, TARGET, 8, START + 3));
	assert_int_equal(m->cpu->code_mode, X86_CODE32);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK0 - 16);
	assert_no_fault(m, x86_far_jump(m->cpu, SEL_CODE64, TARGET, 4, 0));
	assert_int_equal(m->cpu->code_mode, X86_CODE64);
	assert_no_fault(m, x86_far_return(m->cpu, 8, 0));
	assert_int_equal(s->rip, START + 3);
	/* returning inward is refused */
	test_set_cpl(m, 3);
	x86_push(m->cpu, SEL_CODE64, 8);
	x86_push(m->cpu, TARGET, 8);
	assert_fault(m, x86_far_return(m->cpu, 8, 0), X86_GP, SEL_CODE64);
}

static void test_iret_checks(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;
	uint64_t frame[5] = {TARGET, SEL_CODE64, X86_IF | 2, TEST_STACK3, SEL_DATA0};

	test_long_mode(m);
#define TRY(vector, error)                                                                                             \
	do {                                                                                                           \
		s->gpr[X86_RSP] = TEST_STACK0 - sizeof(frame);                                                         \
		s->rip = START;                                                                                        \
		for (unsigned i_ = 0; i_ < 5; i_++)                                                                    \
			test_poke(m, TEST_STACK0 - sizeof(frame) + 8 * i_, frame[i_], 8);                              \
		assert_fault(m, x86_interrupt_return(m->cpu, 8, 0), vector, error);                                    \
		assert_int_equal(s->rip, START);                                                                       \
		assert_int_equal(s->gpr[X86_RSP], TEST_STACK0 - sizeof(frame));                                        \
	} while (0)
	frame[1] = 0;
	TRY(X86_GP, 0);
	frame[1] = SEL_DATA0;
	TRY(X86_GP, SEL_DATA0);
	frame[1] = SEL_CODE64 | 3; /* RPL against DPL */
	TRY(X86_GP, SEL_CODE64);
	frame[1] = SEL_CODE64;
	frame[0] = 1ull << 47;
	TRY(X86_GP, 0);
	frame[0] = TARGET;
	frame[4] = SEL_DATA3;
	TRY(X86_GP, SEL_DATA3 & ~3);
	frame[1] = SEL_CODE3; /* 32-bit user code needs a stack segment */
	frame[4] = 3;
	TRY(X86_GP, 0);
	s->rflags = X86_NT | 2;
	TRY(X86_GP, 0);
	s->rflags = 2;
#undef TRY
	/* to 32-bit user code */
	frame[4] = SEL_DATA3;
	frame[3] = 0xfffffff012345678;
	for (unsigned i = 0; i < 5; i++)
		test_poke(m, TEST_STACK0 - sizeof(frame) + 8 * i, frame[i], 8);
	s->gpr[X86_RSP] = TEST_STACK0 - sizeof(frame);
	assert_no_fault(m, x86_interrupt_return(m->cpu, 8, 0));
	assert_int_equal(m->cpu->code_mode, X86_CODE32);
	assert_int_equal(m->cpu->cpl, 3);
	assert_int_equal(s->gpr[X86_RSP], 0x12345678);
	/* at CPL 3 with IOPL 0 neither IF nor IOPL follows the image */
	s->gpr[X86_RSP] = TEST_STACK3 - 12;
	test_poke(m, TEST_STACK3 - 12, TARGET, 4);
	test_poke(m, TEST_STACK3 - 8, SEL_CODE3, 4);
	test_poke(m, TEST_STACK3 - 4, X86_IOPL | X86_CF | 2, 4);
	assert_no_fault(m, x86_interrupt_return(m->cpu, 4, 0));
	assert_int_equal(s->rflags, X86_IF | X86_CF | 2);
}

/* --- SYSCALL and friends --- */

static void test_syscall_sysret(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_long_mode(m);
	test_set_cpl(m, 3);
	s->star = 0x0023001000000000ull;
	s->lstar = TARGET;
	s->sfmask = X86_IF | X86_DF | X86_AC;
	s->rflags = X86_IF | X86_DF | X86_AC | X86_CF | X86_RF | 2;
	s->rip = START;
	assert_no_fault(m, x86_syscall(m->cpu, START + 2));
	assert_int_equal(m->cpu->cpl, 0);
	assert_int_equal(s->rip, TARGET);
	assert_int_equal(s->gpr[X86_RCX], START + 2);
	assert_int_equal(s->gpr[11], X86_IF | X86_DF | X86_AC | X86_CF | 2);
	assert_int_equal(s->rflags, X86_CF | 2);
	assert_int_equal(s->seg[X86_CS].selector, 0x10);
	assert_int_equal(s->seg[X86_SS].selector, 0x18);
	assert_int_equal(s->seg[X86_CS].attr, 0xa09b);
	assert_int_equal(s->seg[X86_SS].attr, 0xc093);
	assert_no_fault(m, x86_sysret(m->cpu, 8));
	assert_int_equal(m->cpu->cpl, 3);
	assert_int_equal(s->seg[X86_CS].selector, 0x33);
	assert_int_equal(s->seg[X86_SS].selector, 0x2b);
	assert_int_equal(s->seg[X86_CS].attr, 0xa0fb);
	assert_int_equal(s->rflags, X86_IF | X86_DF | X86_AC | X86_CF | 2);
	assert_int_equal(s->rip, START + 2);
	assert_fault(m, x86_sysret(m->cpu, 8), X86_GP, 0); /* not at CPL 3 */
	assert_no_fault(m, x86_syscall(m->cpu, START + 2));
	assert_no_fault(m, x86_sysret(m->cpu, 4)); /* to compatibility mode */
	assert_int_equal(m->cpu->code_mode, X86_CODE32);
	assert_int_equal(s->seg[X86_CS].selector, 0x23);
	s->efer &= ~X86_EFER_SCE;
	assert_int_equal(FAULT_OF(m, x86_syscall(m->cpu, START)), X86_UD);
}

static void test_sysret_to_non_canonical(void **state)
{
	struct test_machine *m = *state;

	test_long_mode(m);
	m->cpu->s.gpr[X86_RCX] = 1ull << 47;
	if (x86_is_amd(m->cpu)) { /* the fault comes with the fetch, in user mode */
		assert_no_fault(m, x86_sysret(m->cpu, 8));
		assert_int_equal(m->cpu->cpl, 3);
	} else {
		assert_fault(m, x86_sysret(m->cpu, 8), X86_GP, 0);
		assert_int_equal(m->cpu->cpl, 0);
	}
}

static void test_sysenter_sysexit(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	test_set_cpl(m, 3);
	assert_fault(m, x86_sysenter(m->cpu), X86_GP, 0);
	s->sysenter_cs = SEL_CODE0;
	s->sysenter_esp = 0x6000;
	s->sysenter_eip = TARGET;
	s->rflags = X86_IF | 2;
	assert_no_fault(m, x86_sysenter(m->cpu));
	assert_int_equal(m->cpu->cpl, 0);
	assert_int_equal(s->rip, TARGET);
	assert_int_equal(s->gpr[X86_RSP], 0x6000);
	assert_int_equal(s->rflags, 2);
	s->gpr[X86_RDX] = START;
	s->gpr[X86_RCX] = TEST_STACK3;
	assert_no_fault(m, x86_sysexit(m->cpu, 4));
	assert_int_equal(m->cpu->cpl, 3);
	assert_int_equal(s->seg[X86_CS].selector, SEL_CODE0 + 16 + 3);
	assert_int_equal(s->seg[X86_SS].selector, SEL_CODE0 + 24 + 3);
	assert_int_equal(s->rip, START);
	assert_int_equal(s->gpr[X86_RSP], TEST_STACK3);
}

/* --- tasks --- */

static void build_task(struct test_machine *m, uint32_t flags)
{
	test_poke(m, TEST_TSS2 + 0x20, TARGET, 4);
	test_poke(m, TEST_TSS2 + 0x24, flags, 4);
	for (unsigned i = 0; i < 8; i++)
		test_poke(m, TEST_TSS2 + 0x28 + 4 * i, 0x1000 * i + 0x111, 4);
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		test_poke(m, TEST_TSS2 + 0x48 + 4 * i, SEL_DATA0, 2);
	test_poke(m, TEST_TSS2 + 0x48 + 4 * X86_CS, SEL_CODE0, 2);
	test_poke(m, TEST_TSS2 + 0x60, 0, 2);
	test_poke(m, TEST_TSS2 + 0x64, 0, 2);
}

static void test_task_call_and_iret(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	build_task(m, X86_CF | 2);
	s->rip = START;
	s->gpr[X86_RBX] = 0xbbbb;
	s->rflags = X86_ZF | 2;
	assert_no_fault(m, x86_far_call(m->cpu, SEL_TSS2, 0, 4, START + 7));
	assert_int_equal(s->rip, TARGET);
	assert_int_equal(s->rflags, X86_CF | X86_NT | 2);
	assert_int_equal(s->gpr[X86_RBX], 0x3111);
	assert_int_equal(s->gpr[X86_RSP], 0x4111);
	assert_int_equal(s->tr.selector, SEL_TSS2);
	assert_true(s->cr0 & X86_CR0_TS);
	assert_int_equal(test_peek(m, TEST_TSS2, 2), SEL_TSS); /* link */
	assert_int_equal(test_peek(m, TEST_TSS + 0x20, 4), START + 7);
	assert_int_equal(test_peek(m, TEST_TSS + 0x24, 4), X86_ZF | 2);
	assert_int_equal(test_peek(m, TEST_TSS + 0x34, 4), 0xbbbb);
	assert_int_equal(test_peek(m, TEST_TSS + 0x4c, 2), SEL_CODE0);
	assert_int_equal(test_peek(m, TEST_GDT + SEL_TSS + 5, 1), 0x8b); /* both busy */
	assert_int_equal(test_peek(m, TEST_GDT + SEL_TSS2 + 5, 1), 0x8b);
	/* back by IRET with NT */
	assert_no_fault(m, x86_interrupt_return(m->cpu, 4, TARGET + 9));
	assert_int_equal(s->rip, START + 7);
	assert_int_equal(s->rflags, X86_ZF | 2);
	assert_int_equal(s->gpr[X86_RBX], 0xbbbb);
	assert_int_equal(s->tr.selector, SEL_TSS);
	assert_int_equal(test_peek(m, TEST_TSS2 + 0x20, 4), TARGET + 9);
	assert_false(test_peek(m, TEST_TSS2 + 0x24, 4) & X86_NT);
	assert_int_equal(test_peek(m, TEST_GDT + SEL_TSS2 + 5, 1), 0x89);
}

static void test_task_jump(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	build_task(m, 2);
	test_poke(m, TEST_TSS2 + 0x64, 1, 2); /* T: debug trap */
	s->dr7 = 0x455;
	assert_fault(m, x86_far_jump(m->cpu, SEL_TSS, 0, 4, 0), X86_GP, SEL_TSS); /* busy */
	assert_no_fault(m, x86_far_jump(m->cpu, SEL_TSS2, 0, 4, START));
	assert_int_equal(s->rflags, 2); /* not nested */
	assert_int_equal(test_peek(m, TEST_GDT + SEL_TSS + 5, 1), 0x89);
	assert_int_equal(m->cpu->debug_pending, 1 << 15);
	assert_int_equal(s->dr7, 0x400);
	/* faults before the switch */
	test_set_gdt(m, SEL_TSS, test_descriptor(TEST_TSS, 0x66, X86_SEG_P | X86_SYS_TSS32));
	assert_fault(m, x86_far_jump(m->cpu, SEL_TSS, 0, 4, 0), X86_TS, SEL_TSS);
	assert_int_equal(s->tr.selector, SEL_TSS2);
	test_set_gdt(m, SEL_TSS, test_descriptor(TEST_TSS, 0x67, X86_SYS_TSS32));
	assert_fault(m, x86_far_jump(m->cpu, SEL_TSS, 0, 4, 0), X86_NP, SEL_TSS);
	test_set_cpl(m, 3);
	test_set_gdt(m, SEL_TSS, test_descriptor(TEST_TSS, 0x67, X86_SEG_P | X86_SYS_TSS32));
	assert_fault(m, x86_far_jump(m->cpu, SEL_TSS | 3, 0, 4, 0), X86_GP, SEL_TSS);
}

/* A bad segment of the new task faults in the new task. */
static void test_task_segment_fault(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	build_task(m, 2);
	test_poke(m, TEST_TSS2 + 0x48 + 4 * X86_DS, SEL_TSS, 2);
	assert_fault(m, x86_far_jump(m->cpu, SEL_TSS2, 0, 4, START), X86_TS, SEL_TSS);
	assert_int_equal(s->tr.selector, SEL_TSS2);
	assert_int_equal(s->rip, TARGET);
	assert_true(s->seg[X86_DS].attr & X86_SEG_UNUSABLE);
}

static void test_task_gate_for_exception(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	build_task(m, 2);
	test_set_gate32(m, 8, SEL_TSS2, 0, X86_SYS_TASK_GATE, 0);
	test_set_gate32(m, 13, SEL_CODE0, 0, X86_SYS_INTERRUPT_GATE32, 0);
	test_poke(m, TEST_IDT + 13 * 8 + 5, 0x0e, 1);
	test_set_gate32(m, 11, SEL_CODE0, 0, 0xc, 0);
	s->rip = START;
	s->gpr[X86_RSP] = 0x8000;
	/* #GP whose gate is not present: #NP, so #DF, whose gate is a task */
	assert_int_equal(FAULT_OF(m, x86_raise_error(m->cpu, X86_GP, 0)), X86_GP);
	assert_true(x86_deliver_fault(m->cpu));
	assert_int_equal(s->tr.selector, SEL_TSS2);
	assert_int_equal(s->rip, TARGET);
	assert_int_equal(s->gpr[X86_RSP], 0x4111 - 4);
	assert_int_equal(test_peek(m, 0x4111 - 4, 4), 0); /* the error code */
	assert_int_equal(test_peek(m, TEST_TSS + 0x20, 4), START);
	assert_int_equal(test_peek(m, TEST_TSS + 0x38, 4), 0x8000);
	assert_true(s->rflags & X86_NT);
}

static void test_task_16bit(void **state)
{
	struct test_machine *m = *state;
	struct x86_state *s = &m->cpu->s;

	test_protected_mode(m);
	test_set_gdt(m, SEL_TSS2, test_descriptor(TEST_TSS2, 0x2b, X86_SEG_P | X86_SYS_TSS16));
	test_poke(m, TEST_TSS2 + 0x0e, 0x1234, 2);
	test_poke(m, TEST_TSS2 + 0x10, X86_PF | 2, 2);
	for (unsigned i = 0; i < 8; i++)
		test_poke(m, TEST_TSS2 + 0x12 + 2 * i, 0x100 * i, 2);
	test_poke(m, TEST_TSS2 + 0x22, SEL_DATA0, 2);
	test_poke(m, TEST_TSS2 + 0x24, SEL_CODE16, 2);
	test_poke(m, TEST_TSS2 + 0x26, SEL_DATA0, 2);
	test_poke(m, TEST_TSS2 + 0x28, SEL_DATA0, 2);
	test_poke(m, TEST_TSS2 + 0x2a, 0, 2);
	assert_no_fault(m, x86_far_call(m->cpu, SEL_TSS2, 0, 4, START));
	assert_int_equal(s->rip, 0x1234);
	assert_int_equal(s->gpr[X86_RDI], 0x700);
	assert_int_equal(s->rflags, X86_PF | X86_NT | 2);
	assert_int_equal(m->cpu->code_mode, X86_CODE16);
	assert_true(s->seg[X86_FS].attr & X86_SEG_UNUSABLE);
	s->gpr[X86_RAX] = 0xfffff00d;
	assert_no_fault(m, x86_interrupt_return(m->cpu, 2, 0x1240));
	assert_int_equal(test_peek(m, TEST_TSS2 + 0x12, 2), 0xf00d);
	assert_int_equal(test_peek(m, TEST_TSS2 + 0x0e, 2), 0x1240);
	assert_int_equal(s->rip, START);
}

static void test_task_to_vm86(void **state)
{
	struct test_machine *m = *state;

	test_protected_mode(m);
	build_task(m, X86_VM | 2);
	test_poke(m, TEST_TSS2 + 0x48 + 4 * X86_CS, 0x1000, 2);
	assert_no_fault(m, x86_far_jump(m->cpu, SEL_TSS2, 0, 4, START));
	assert_true(m->cpu->vm86);
	assert_int_equal(m->cpu->s.seg[X86_CS].base, 0x10000);
	assert_int_equal(m->cpu->cpl, 3);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, test_machine_setup, test_machine_teardown)
	const struct CMUnitTest tests[] = {
		T(test_limits),
		T(test_long_mode_addresses),
		T(test_stack_widths),
		T(test_segment_loads),
		T(test_unreal_mode),
		T(test_lar_lsl_verr),
		T(test_far_jump),
		T(test_call_gate_with_parameters),
		T(test_far_call_and_return),
		T(test_iret_checks),
		T(test_syscall_sysret),
		T(test_sysret_to_non_canonical),
		T(test_sysenter_sysexit),
		T(test_task_call_and_iret),
		T(test_task_jump),
		T(test_task_segment_fault),
		T(test_task_gate_for_exception),
		T(test_task_16bit),
		T(test_task_to_vm86),
	};

	return cmocka_run_group_tests_name("x86 segments", tests, NULL, NULL);
}
