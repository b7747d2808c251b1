/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * No guest state may crash the process or let an access out of guest memory: random states over half-random tables,
 * random calls into the architecture, every fault delivered, the TLB's invariants checked all along.
 */
#include "cpu/x86/x86_test.h"

struct random {
	uint64_t state;
};

static uint64_t next(struct random *r)
{
	r->state ^= r->state << 13;
	r->state ^= r->state >> 7;
	r->state ^= r->state << 17;
	return r->state * 0x2545f4914f6cdd1dull;
}

static uint64_t below(struct random *r, uint64_t n)
{
	return (next(r) >> 11) % n;
}

/* Addresses and values that matter more often than any others. */
static uint64_t interesting(struct random *r)
{
	static const uint64_t values[] = {0,
					  1,
					  0xfff,
					  0x1000,
					  0xffff,
					  0x10000,
					  0xfffff,
					  0x100000,
					  0xffffffff,
					  0x100000000,
					  0x7fffffffffff,
					  0x800000000000,
					  0xffff800000000000,
					  ~0ull,
					  TEST_MMIO,
					  TEST_RAM - MIB,
					  TEST_RAM - 1,
					  0xfee00000,
					  TEST_GDT,
					  TEST_IDT,
					  TEST_TSS,
					  TEST_PT,
					  TEST_PML4,
					  TEST_STACK0,
					  TEST_STACK3};

	switch (below(r, 4)) {
	case 0:
		return next(r);
	case 1:
		return next(r) >> below(r, 64);
	default:
		return values[below(r, ARRAY_SIZE(values))] + below(r, 17) - 8;
	}
}

static void mutate_tables(struct test_machine *m, struct random *r)
{
	static const uint64_t tables[] = {TEST_PML4, TEST_PDPT,          TEST_PD,           TEST_PT,
					  TEST_GDT,  TEST_LDT,           TEST_IDT,          TEST_TSS,
					  TEST_TSS2, TEST_STACK0 - 0x80, TEST_STACK3 - 0x80};

	for (unsigned i = 0; i < 4; i++) {
		uint64_t gpa = tables[below(r, ARRAY_SIZE(tables))] + below(r, 32) * 8;
		uint64_t value = test_peek(m, gpa, 8);

		if (below(r, 4))
			value ^= 1ull << below(r, 64);
		else
			value = interesting(r);
		test_poke(m, gpa, value, 8);
	}
}

static void mutate_segment(struct x86_segment *segment, struct random *r)
{
	switch (below(r, 5)) {
	case 0:
		segment->base = interesting(r);
		break;
	case 1:
		segment->limit = (uint32_t)interesting(r);
		break;
	case 2:
		segment->attr ^= 1u << below(r, 17);
		break;
	case 3:
		segment->selector = (uint16_t)next(r);
		break;
	default:
		break;
	}
}

static void mutate_state(struct test_machine *m, struct random *r)
{
	struct x86_state s;

	x86_cpu_get_state(m->cpu, &s);
	switch (below(r, 10)) {
	case 0:
		s.cr0 ^= 1ull << below(r, 32);
		break;
	case 1:
		s.cr4 ^= 1ull << below(r, 23);
		break;
	case 2:
		s.efer ^= 1ull << below(r, 12);
		break;
	case 3:
		s.cr3 = interesting(r);
		break;
	case 4:
		s.rflags ^= 1ull << below(r, 22);
		break;
	case 5:
		mutate_segment(&s.tr, r);
		break;
	case 6:
		mutate_segment(&s.ldtr, r);
		break;
	case 7:
		s.gdtr.limit = (uint16_t)interesting(r);
		s.idtr.base = interesting(r);
		break;
	case 8:
		s.dr7 = next(r);
		s.dr[below(r, 4)] = interesting(r);
		break;
	default:
		mutate_segment(&s.seg[below(r, X86_SEGMENTS)], r);
		break;
	}
	s.gpr[below(r, 16)] = interesting(r);
	s.rip = interesting(r);
	x86_cpu_set_state(m->cpu, &s);
}

static void act(struct test_machine *m, struct random *r)
{
	static const unsigned sizes[] = {2, 4, 8};
	struct x86_cpu *cpu = m->cpu;
	uint64_t value = interesting(r);
	uint16_t selector = (uint16_t)below(r, 0x90);
	unsigned size = sizes[below(r, 3)];
	uint8_t block[64] = {0};
	uint32_t word;
	uint64_t *pointer;

	switch (below(r, 34)) {
	case 0:
		x86_read_slow(cpu, value, block, (unsigned)below(r, 64) + 1,
			      (unsigned)next(r) & (X86_FETCH | X86_USER | X86_IMPLICIT));
		break;
	case 1:
		x86_write_slow(cpu, value, block, (unsigned)below(r, 64) + 1,
			       (unsigned)next(r) & (X86_USER | X86_IMPLICIT));
		break;
	case 2:
		pointer = x86_rmw_pointer(cpu, value & ~7ull, 8);
		if (pointer)
			__atomic_fetch_xor(pointer, 1, __ATOMIC_RELAXED);
		break;
	case 3:
		(void)x86_linear(cpu, (unsigned)below(r, X86_SEGMENTS), value, (unsigned)below(r, 64) + 1,
				 (unsigned)below(r, 4));
		break;
	case 4:
		x86_load_segment(cpu, (unsigned)below(r, X86_SEGMENTS), selector);
		break;
	case 5:
		x86_far_jump(cpu, selector, value, size, value + 5);
		break;
	case 6:
		x86_far_call(cpu, selector, value, size, value + 5);
		break;
	case 7:
		x86_far_return(cpu, size, (uint16_t)value);
		break;
	case 8:
	case 9:
		x86_interrupt_return(cpu, size, value);
		break;
	case 10:
		x86_syscall(cpu, value);
		break;
	case 11:
		x86_sysret(cpu, size);
		break;
	case 12:
		x86_sysenter(cpu);
		break;
	case 13:
		x86_sysexit(cpu, size);
		break;
	case 14:
		x86_lldt(cpu, selector);
		break;
	case 15:
		x86_ltr(cpu, selector);
		break;
	case 16:
		(void)x86_lar(cpu, selector, &word);
		(void)x86_lsl(cpu, selector, &word);
		(void)x86_verify(cpu, selector, true);
		break;
	case 17:
		x86_push(cpu, value, size);
		break;
	case 18:
		(void)x86_pop(cpu, size);
		break;
	case 19:
		x86_set_cr(cpu, (unsigned)below(r, 9), value);
		break;
	case 20:
		x86_set_cr(cpu, 4, cpu->s.cr4 ^ 1ull << below(r, 24));
		break;
	case 21:
		x86_set_dr(cpu, (unsigned)below(r, 8), value);
		break;
	case 22:
		x86_wrmsr(cpu, below(r, 2) ? 0xc0000080 + (uint32_t)below(r, 5) : (uint32_t)value, value);
		break;
	case 23:
		(void)x86_rdmsr(cpu, (uint32_t)value);
		break;
	case 24:
		x86_set_rflags(cpu, value, size);
		break;
	case 25:
		x86_check_io(cpu, (uint16_t)value, 1u << below(r, 3));
		break;
	case 26:
		cpu->s.xcr0 = next(r);
		x86_xsave(cpu, value & ~63ull, next(r), (enum x86_xsave_form)below(r, 4), true);
		break;
	case 27:
		x86_xrstor(cpu, value & ~63ull, next(r), below(r, 2), true);
		break;
	case 28:
		x86_fxrstor(cpu, value & ~15ull, below(r, 2));
		break;
	case 29:
		x86_tlb_flush_page(cpu, value);
		break;
	case 30:
		x86_deliver_interrupt(cpu, (uint8_t)next(r));
		break;
	case 31:
		x86_software_interrupt(cpu, (uint8_t)below(r, 8), cpu->s.rip + below(r, 20));
		break;
	case 32:
		(void)x86_walk_debug(cpu, value, &value);
		break;
	default:
		x86_raise_error(cpu, (enum x86_vector)(X86_DFV + below(r, 10)), (uint32_t)next(r));
	}
}

/* Invariants 1 and 2 of tlb.c, seen from outside. */
static void check_tlb(struct test_machine *m)
{
	for (unsigned i = 0; i < X86_VIEWS * X86_TLB_ENTRIES; i++) {
		const struct x86_tlb_entry *entry = &m->cpu->tlb[0][0] + i;
		uint64_t tags[] = {entry->tag_read, entry->tag_write, entry->tag_fetch};

		for (unsigned t = 0; t < 3; t++) {
			bool inside = tags[t] == X86_TLB_NONE;

			for (size_t j = 0; j < ram_slot_count(m->engine.env.ram) && !inside; j++) {
				const struct ram_slot *slot = ram_slot_at(m->engine.env.ram, j);
				uintptr_t hva = tags[t] + entry->addend;

				inside = hva - (uintptr_t)slot->hva <= slot->size - PAGE_SIZE &&
					 !(t == 1 && slot->read_only);
			}
			assert_true(inside);
		}
	}
}

/* One call as an engine makes it; false: the CPU has shut down. */
static bool act_and_deliver(struct test_machine *m, struct random *r, unsigned *delivered)
{
	if (!setjmp(m->fault_exit)) {
		act(m, r);
		x86_debug_trap(m->cpu, false);
		return true;
	}
	++*delivered;
	return x86_deliver_fault(m->cpu);
}

static void test_hostile_guest(void **state)
{
	struct test_machine *m = *state;
	struct random r = {.state = 0x9e3779b97f4a7c15};
	unsigned delivered = 0, shutdowns = 0;

	for (unsigned round = 0; round < 3000; round++) {
		if (round & 1)
			test_long_mode(m);
		else
			test_protected_mode(m);
		for (unsigned v = 0; v < 32 && round & 2; v++) {
			if (round & 1)
				test_set_gate64(m, v, SEL_CODE64, 0x5000, X86_SYS_INTERRUPT_GATE32, 3, 0);
			else
				test_set_gate32(m, v, v & 1 ? SEL_CODE0 : SEL_TSS2, 0x5000,
						v & 1 ? X86_SYS_INTERRUPT_GATE32 : X86_SYS_TASK_GATE, 3);
		}
		test_set_cpl(m, round & 4 ? 3 : 0);
		for (unsigned step = 0; step < 40; step++) {
			mutate_tables(m, &r);
			if (!below(&r, 3))
				mutate_state(m, &r);
			if (!act_and_deliver(m, &r, &delivered)) {
				shutdowns++;
				break;
			}
		}
		if (round % 50 == 0)
			check_tlb(m);
		x86_cpu_reset(m->cpu, false);
	}
	assert_true(delivered > 1000);
	assert_true(shutdowns > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hostile_guest, test_machine_setup, test_machine_teardown),
	};

	return cmocka_run_group_tests_name("x86 hostile guest", tests, NULL, NULL);
}
