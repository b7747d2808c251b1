/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is left of a partner's work to the interpreter's loop: code that is cold. The partner here translates nothing:
 * it counts what it is asked for, and has everything interpreted. */
#include "cpu/interp/test_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/util.h"
#include "cpu/x86/cpu.h"

enum { TURNS = 1000 };

/* 1: dec ecx; jnz 1b; hlt */
static const uint8_t loop[] = {0xff, 0xc9, 0x75, 0xfc, 0xf4};

static unsigned asked, cold;

static enum interp_share partner_run(struct x86_cpu *cpu)
{
	asked++;
	cold += interp_cold(cpu, cpu->s.rip, cpu->s.rip); /* linear is physical here */
	return INTERP_BLOCK;
}

static void partner_drop(struct x86_cpu *cpu, uint64_t first, uint64_t last)
{
}

static const struct interp_partner partner = {.run = partner_run, .drop = partner_drop};

static void run_loop_again(struct guest *guest, uint64_t turns)
{
	struct error err = {0};

	guest->cpu[0]->s.rip = GUEST_CODE;
	guest->cpu[0]->s.mp_state = X86_MP_RUNNING;
	guest->cpu[0]->s.gpr[X86_RCX] = turns;
	asked = cold = 0;
	assert_int_equal(interp_engine.run(&guest->cpu[0]->vcpu, &err), VCPU_HALTED);
	assert_int_equal(guest->cpu[0]->s.gpr[X86_RCX], 0);
}

static void start(struct guest *guest, enum x86_code_mode mode)
{
	guest_init(guest, 1, NULL, false);
	guest_mode(guest, 0, mode);
	guest_code(guest, GUEST_CODE, loop, sizeof(loop));
	interp_set_partner(guest->cpu[0], &partner);
}

static void test_unpaged_code_warms_up(void **unused)
{
	struct guest guest;
	unsigned first;

	start(&guest, X86_CODE32);
	run_loop_again(&guest, TURNS);
	/* Asked for what is new (the loop, the HLT), then for every turn of what is not cold any longer. */
	assert_int_equal(cold, 2);
	assert_in_range(asked, TURNS / 2, TURNS);
	first = asked;
	run_loop_again(&guest, TURNS);
	assert_int_equal(cold, 1); /* the HLT's block is */
	assert_in_range(asked, first + 1, TURNS + 1);
	guest_fini(&guest);
}

static void test_changed_code_is_cold_again(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE32);
	run_loop_again(&guest, TURNS);
	guest_code(&guest, GUEST_CODE, loop, sizeof(loop));
	run_loop_again(&guest, 10);
	assert_int_equal(cold, asked);
	assert_in_range(asked, 1, 3);
	guest_fini(&guest);
}

static void test_paged_code_is_never_cold(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE64);
	run_loop_again(&guest, 10);
	assert_int_equal(cold, 0);
	assert_in_range(asked, 10, 12);
	guest_fini(&guest);
}

static void test_16_bit_code_is_the_interpreters(void **unused)
{
	struct guest guest;
	struct error err = {0};

	start(&guest, X86_CODE16);
	guest.cpu[0]->s.gpr[X86_RCX] = 10;
	asked = 0;
	assert_int_equal(interp_engine.run(&guest.cpu[0]->vcpu, &err), VCPU_HALTED);
	assert_int_equal(asked, 0);
	guest_fini(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unpaged_code_warms_up),
		cmocka_unit_test(test_changed_code_is_cold_again),
		cmocka_unit_test(test_paged_code_is_never_cold),
		cmocka_unit_test(test_16_bit_code_is_the_interpreters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
