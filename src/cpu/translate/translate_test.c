/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the oracle does not reach: code that changes under translated code, links, leaving a loop without a signal. */
#include "base/util.h"
#include "cpu/interp/test_guest.h"
#include "cpu/translate/translate.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static void start_mode(struct guest *guest, enum x86_code_mode mode, unsigned cpu, const void *code, size_t length)
{
	struct x86_state state;

	guest_mode(guest, cpu, mode);
	guest_code(guest, GUEST_CODE + 0x10000 * cpu, code, length);
	translate_engine.get_state(&guest->cpu[cpu]->vcpu, &state);
	state.rip = GUEST_CODE + 0x10000 * cpu;
	state.gpr[X86_RSP] = GUEST_STACK - 0x1000 * cpu;
	translate_engine.set_state(&guest->cpu[cpu]->vcpu, &state);
}

static void start(struct guest *guest, unsigned cpu, const void *code, size_t length)
{
	start_mode(guest, X86_CODE64, cpu, code, length);
}

static uint64_t result(struct guest *guest, unsigned cpu)
{
	struct x86_state state;

	translate_engine.get_state(&guest->cpu[cpu]->vcpu, &state);
	return state.gpr[X86_RAX];
}

struct runner {
	struct vcpu *vcpu;
	enum vcpu_exit exit;
	pthread_t thread;
};

static void *run_thread(void *opaque)
{
	struct runner *runner = opaque;
	struct error err = { 0 };

	runner->exit = translate_engine.run(runner->vcpu, &err);
	return NULL;
}

static void runner_start(struct runner *runner, struct guest *guest, unsigned cpu)
{
	runner->vcpu = &guest->cpu[cpu]->vcpu;
	pthread_create(&runner->thread, NULL, run_thread, runner);
}

static enum vcpu_exit runner_end(struct runner *runner)
{
	pthread_join(runner->thread, NULL);
	return runner->exit;
}

static enum vcpu_exit run(struct guest *guest, unsigned cpu)
{
	struct runner runner;

	runner_start(&runner, guest, cpu);
	return runner_end(&runner);
}

/* The loop changes the immediate of its own addition in each round. */
static void test_code_changes_itself(void **unused)
{
	static const uint8_t code[] = {
		0xb9, 0xe8, 0x03, 0x00, 0x00,             /* mov ecx, 1000 */
		0x31, 0xc0,                               /* xor eax, eax */
		0x83, 0xc0, 0x01,                         /* add eax, 1 */
		0x80, 0x35, 0xf8, 0xff, 0xff, 0xff, 0x03, /* xor byte [rip - 8], 3 */
		0xff, 0xc9, 0x75, 0xf2, 0xf4,             /* dec ecx; jnz add; hlt */
	};
	struct guest guest;

	guest_init_engine(&guest, &translate_engine, 1, NULL, false);
	start(&guest, 0, code, sizeof(code));
	assert_int_equal(run(&guest, 0), VCPU_HALTED);
	assert_int_equal(result(&guest, 0), 1500);
	guest_fini(&guest);
}

/* A call goes to a function that another function replaces between calls: the link must not survive. */
static void test_called_code_changes(void **unused)
{
	static const uint8_t code[] = {
		0x31, 0xc0,                                     /* xor eax, eax */
		0xb9, 0x64, 0x00, 0x00, 0x00,                   /* mov ecx, 100 */
		0xe8, 0xf4, 0x0f, 0x00, 0x00,                   /* call +0x1000 */
		0xfe, 0x04, 0x25, 0x02, 0x10, 0x01, 0x00,       /* inc byte [GUEST_CODE + 0x1002] */
		0xff, 0xc9, 0x75, 0xf0, 0xf4,                   /* dec ecx; jnz call; hlt */
	};
	static const uint8_t function[] = { 0x83, 0xc0, 0x00, 0xc3 }; /* add eax, 0; ret */
	struct guest guest;

	guest_init_engine(&guest, &translate_engine, 1, NULL, false);
	start(&guest, 0, code, sizeof(code));
	guest_code(&guest, GUEST_CODE + 0x1000, function, sizeof(function));
	assert_int_equal(run(&guest, 0), VCPU_HALTED);
	assert_int_equal(result(&guest, 0), 99 * 100 / 2);
	guest_fini(&guest);
}

static void test_kick_ends_a_loop(void **unused)
{
	static const uint8_t code[] = { 0xeb, 0xfe };
	struct runner runner;
	struct guest guest;

	guest_init_engine(&guest, &translate_engine, 1, NULL, false);
	start(&guest, 0, code, sizeof(code));
	for (unsigned i = 0; i < 20; i++) {
		runner_start(&runner, &guest, 0);
		usleep(2000);
		vcpu_raise(runner.vcpu, VCPU_KICK);
		assert_int_equal(runner_end(&runner), VCPU_KICKED);
	}
	guest_fini(&guest);
}

/* One CPU spins on an instruction that another one rewrites. */
static void test_other_cpu_changes_code(void **unused)
{
	static const uint8_t waiting[] = { 0xb0, 0x00, 0x84, 0xc0, 0x74, 0xfa, 0xf4 }; /* mov al, 0; test al, al; jz; hlt */
	static const uint8_t writing[] = { 0xc6, 0x04, 0x25, 0x01, 0x00, 0x01, 0x00, 0x01, 0xf4 }; /* mov byte [..01], 1 */
	struct runner runner;
	struct guest guest;

	guest_init_engine(&guest, &translate_engine, 2, NULL, false);
	for (unsigned i = 0; i < 20; i++) {
		start(&guest, 1, writing, sizeof(writing));
		start(&guest, 0, waiting, sizeof(waiting));
		runner_start(&runner, &guest, 0);
		usleep(1000);
		assert_int_equal(run(&guest, 1), VCPU_HALTED);
		assert_int_equal(runner_end(&runner), VCPU_HALTED);
		assert_int_equal(result(&guest, 0) & 0xff, 1);
	}
	guest_fini(&guest);
}

/* add eax, 1 whose opcode is in one page and whose immediate is in two; 100 times. What follows is the same in 32-bit code. */
enum { CROSSING = GUEST_CODE + 0xff0 };
static const uint8_t crossing[] = {
	0xb9, 0x64, 0x00, 0x00, 0x00, 0x31, 0xc0, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, /* mov ecx, 100; xor eax, eax */
	0x05, 0x01, 0x00, 0x00, 0x00,
};

static void start_at_crossing(struct guest *guest, enum x86_code_mode mode)
{
	struct x86_state state;

	start_mode(guest, mode, 0, crossing, 0);
	guest_code(guest, CROSSING, crossing, sizeof(crossing));
	translate_engine.get_state(&guest->cpu[0]->vcpu, &state);
	state.rip = CROSSING;
	translate_engine.set_state(&guest->cpu[0]->vcpu, &state);
}

/* The loop changes the part that lies in the second page. */
static void test_crossing_instruction_changes(void **unused)
{
	static const uint8_t tail[] = {
		0x80, 0x34, 0x25, 0x00, 0x10, 0x01, 0x00, 0x01, /* xor byte [GUEST_CODE + 0x1000], 1 */
		0xff, 0xc9, 0x75, 0xef, 0xf4,                   /* dec ecx; jnz add; hlt */
	};
	static const enum x86_code_mode modes[] = { X86_CODE64, X86_CODE32 };
	struct guest guest;

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		guest_init_engine(&guest, &translate_engine, 1, NULL, false);
		start_at_crossing(&guest, modes[i]);
		guest_code(&guest, CROSSING + sizeof(crossing), tail, sizeof(tail));
		assert_int_equal(run(&guest, 0), VCPU_HALTED);
		assert_int_equal(result(&guest, 0), 50 * 0x001 + 50 * 0x101);
		guest_fini(&guest);
	}
}

/* The loop maps another page in place of the second one, and back. */
static void test_crossing_instruction_is_mapped_elsewhere(void **unused)
{
	static const uint8_t tail[] = {
		0x48, 0x81, 0x34, 0x25, 0x88, 0x00, 0x05, 0x00, 0x00, 0x40, 0x00, 0x00, /* xor qword [PTE of 0x11000], 0x4000 */
		0x0f, 0x01, 0x3c, 0x25, 0x00, 0x10, 0x01, 0x00,                         /* invlpg [0x11000] */
		0xff, 0xc9, 0x75, 0xe3, 0xf4,                                           /* dec ecx; jnz add; hlt */
	};
	static const uint8_t other[] = { 0x01, 0x00, 0x00 }; /* bytes of the immediate in 0x15000: it is 0x101 there */
	const uint64_t table = 0x50000;
	uint64_t entry = table | 7;
	struct guest guest;

	guest_init_engine(&guest, &translate_engine, 1, NULL, false);
	start_at_crossing(&guest, X86_CODE64);
	guest_code(&guest, 0x3000, &entry, sizeof(entry));
	for (uint64_t page = 0; page < 512; page++) {
		entry = page << PAGE_SHIFT | 0x67;
		guest_code(&guest, table + 8 * page, &entry, sizeof(entry));
	}
	guest_code(&guest, CROSSING + sizeof(crossing), tail, sizeof(tail));
	guest_code(&guest, 0x15000, other, sizeof(other));
	guest_code(&guest, 0x15003, tail, sizeof(tail));
	assert_int_equal(run(&guest, 0), VCPU_HALTED);
	assert_int_equal(result(&guest, 0), 50 * 0x001 + 50 * 0x101);
	guest_fini(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_code_changes_itself),
		cmocka_unit_test(test_called_code_changes),
		cmocka_unit_test(test_kick_ends_a_loop),
		cmocka_unit_test(test_other_cpu_changes_code),
		cmocka_unit_test(test_crossing_instruction_changes),
		cmocka_unit_test(test_crossing_instruction_is_mapped_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
