/* SPDX-License-Identifier: GPL-2.0-or-later */
/* verify=on: agrees where nothing is wrong, whoever else writes to memory, and stops where translated code was spoiled.
 */
#include "base/util.h"
#include "core/jit.h"
#include "cpu/interp/test_guest.h"
#include "cpu/translate/translator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void verified_guest(struct guest *guest, unsigned cpus)
{
	guest_init_tuned(guest, &translate_engine, cpus, NULL, false, &(struct engine_tuning){.verify = UINT32_MAX});
	guest->log.fd = memfd_create("log", 0);
}

static void verified_guest_fini(struct guest *guest)
{
	close(guest->log.fd);
	guest_fini(guest);
}

/* code NULL: what is there already. */
static void start(struct guest *guest, unsigned cpu, const void *code, size_t length)
{
	struct x86_state state;

	guest_mode(guest, cpu, X86_CODE64);
	if (code)
		guest_code(guest, GUEST_CODE + 0x10000 * cpu, code, length);
	translate_engine.get_state(&guest->cpu[cpu]->vcpu, &state);
	state.rip = GUEST_CODE + 0x10000 * cpu;
	state.gpr[RSP] = GUEST_STACK - 0x1000 * cpu;
	state.gpr[RBX] = GUEST_DATA;
	state.gpr[RAX] = 0;
	translate_engine.set_state(&guest->cpu[cpu]->vcpu, &state);
}

static uint64_t rax(struct guest *guest, unsigned cpu)
{
	struct x86_state state;

	translate_engine.get_state(&guest->cpu[cpu]->vcpu, &state);
	return state.gpr[RAX];
}

static uint64_t verified_runs(struct guest *guest)
{
	struct jit_report *report = calloc(1, sizeof(*report));
	uint64_t runs;

	report_jit(&guest->cpu[0]->vcpu, report);
	runs = report->n[JIT_VERIFIED];
	free(report);
	return runs;
}

struct runner {
	struct vcpu *vcpu;
	enum vcpu_exit exit;
	struct error err;
	pthread_t thread;
};

static void *run_thread(void *opaque)
{
	struct runner *runner = opaque;

	runner->exit = translate_engine.run(runner->vcpu, &runner->err);
	return NULL;
}

static void runner_start(struct runner *runner, struct guest *guest, unsigned cpu)
{
	*runner = (struct runner){.vcpu = &guest->cpu[cpu]->vcpu};
	pthread_create(&runner->thread, NULL, run_thread, runner);
}

static enum vcpu_exit run(struct guest *guest, struct error *err)
{
	struct runner runner;

	runner_start(&runner, guest, 0);
	pthread_join(runner.thread, NULL);
	if (err)
		*err = runner.err;
	return runner.exit;
}

/* Arithmetic, memory of several pages, strings, stack, flags over pushes, vectors, code that changes. */
static void test_agrees(void **unused)
{
	static const uint8_t code[] = {
		0xb9, 0x2c, 0x01, 0x00, 0x00,                         /* mov ecx, 300 */
		0x01, 0x8b, 0xfe, 0x0f, 0x00, 0x00,                   /* add [rbx + 0xffe], ecx: crosses a page */
		0x48, 0x11, 0x03,                                     /* adc [rbx], rax */
		0x9c, 0x58,                                           /* pushfq; pop rax */
		0x51,                                                 /* push rcx */
		0x48, 0x8d, 0xb3, 0x00, 0x20, 0x00, 0x00,             /* lea rsi, [rbx + 0x2000] */
		0x48, 0x8d, 0xbb, 0x80, 0x2f, 0x00, 0x00,             /* lea rdi, [rbx + 0x2f80] */
		0xb9, 0x40, 0x00, 0x00, 0x00, 0xf3, 0x48, 0xa5,       /* mov ecx, 64; rep movsq */
		0x59,                                                 /* pop rcx */
		0x66, 0x0f, 0xef, 0xc0, 0xf3, 0x48, 0x0f, 0x2a, 0xc1, /* pxor xmm0, xmm0; cvtsi2ss xmm0, rcx */
		0x0f, 0x11, 0x83, 0xf8, 0x1f, 0x00, 0x00,             /* movups [rbx + 0x1ff8], xmm0 */
		0x80, 0x35, 0xbd, 0xff, 0xff, 0xff, 0x00,             /* xor byte [rip - 67], 0: this page */
		0xff, 0xc9, 0x75, 0xb8, 0xf4,                         /* dec ecx; jnz add; hlt */
	};
	struct guest guest;

	verified_guest(&guest, 1);
	start(&guest, 0, code, sizeof(code));
	assert_int_equal(run(&guest, NULL), VCPU_HALTED);
	assert_true(verified_runs(&guest) > 600);
	verified_guest_fini(&guest);
}

/* Runs code until it is translated, changes `from` to `to` in the host code, and runs again. What is said goes to text.
 */
static void spoil(const uint8_t *code, size_t length, const uint8_t *from, const uint8_t *to, size_t count, char *text,
		  size_t size)
{
	struct error err = {0};
	struct translator *t;
	struct guest guest;
	uint8_t *at;
	ssize_t got;

	verified_guest(&guest, 1);
	start(&guest, 0, code, length);
	assert_int_equal(run(&guest, NULL), VCPU_HALTED);
	t = translator_of(guest.cpu[0]);
	at = memmem(t->write_base, t->code_bytes, from, count);
	assert_non_null(at);
	memcpy(at, to, count);
	start(&guest, 0, NULL, 0);
	assert_int_equal(run(&guest, &err), VCPU_FAILED);
	assert_non_null(strstr(err.msg, "verify=on"));
	got = pread(guest.log.fd, text, size - 1, 0);
	text[got < 0 ? 0 : got] = 0;
	verified_guest_fini(&guest);
}

static char *said(void)
{
	static char text[64 * 1024];

	return text;
}

static void test_wrong_register(void **unused)
{
	static const uint8_t code[] = {0x05, 0x78, 0x56, 0x34, 0x12, 0xf4}; /* add eax, 0x12345678; hlt */
	static const uint8_t wrong[] = {0x05, 0x79, 0x56, 0x34, 0x12};
	char *text = said();

	spoil(code, sizeof(code), code, wrong, sizeof(wrong), text, 64 * 1024);
	assert_non_null(
		strstr(text, "* rax                    0000000000000000     0000000012345679     0000000012345678"));
	assert_non_null(strstr(text, "add $0x12345678, %eax")); /* the guest's code */
	assert_non_null(strstr(text, "add $0x12345679, %eax")); /* the host's */
	assert_non_null(strstr(text, "key 0x"));
}

static void test_wrong_flags(void **unused)
{
	/* cmp eax, 0x12345678; setb al; hlt: the spoiled one has the operands' difference of another sign */
	static const uint8_t code[] = {0x3d, 0x78, 0x56, 0x34, 0x12, 0xf4};
	static const uint8_t wrong[] = {0x3d, 0x00, 0x00, 0x00, 0x00};
	char *text = said();

	spoil(code, sizeof(code), code, wrong, sizeof(wrong), text, 64 * 1024);
	assert_non_null(strstr(text, "* rflags"));
}

static void test_wrong_address(void **unused)
{
	/* mov dword [rbx + 0x1230], 0x5a5b5c5d; hlt */
	static const uint8_t code[] = {0xc7, 0x83, 0x30, 0x12, 0x00, 0x00, 0x5d, 0x5c, 0x5b, 0x5a, 0xf4};
	static const uint8_t wrong[] = {0x38, 0x12, 0x00, 0x00};
	char *text = said();

	spoil(code, sizeof(code), code + 2, wrong, sizeof(wrong), text, 64 * 1024);
	assert_non_null(strstr(text, "* byte at 0x201238: translated 5d, interpreted 00"));
}

static void test_wrong_way(void **unused)
{
	/* cmp eax, 0x12345678; je hlt; inc eax; hlt */
	static const uint8_t code[] = {0x3d, 0x78, 0x56, 0x34, 0x12, 0x74, 0x02, 0xff, 0xc0, 0xf4};
	static const uint8_t from[] = {0x3d, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x84};
	static const uint8_t wrong[] = {0x3d, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x85};
	char *text = said();

	spoil(code, sizeof(code), from, wrong, sizeof(wrong), text, 64 * 1024);
	assert_non_null(
		strstr(text, "* rax                    0000000000000000     0000000000000000     0000000000000001"));
}

/* The CPU reads what a device writes. */
static void test_device_writes(void **unused)
{
	static const uint8_t code[] = {
		0x8b, 0x03,                   /* mov eax, [rbx] */
		0x03, 0x43, 0x40,             /* add eax, [rbx + 64] */
		0x83, 0xbb, 0x80, 0, 0, 0, 0, /* cmp dword [rbx + 128], 0 */
		0x74, 0xf2, 0xf4,             /* je mov; hlt */
	};
	struct runner runner;
	struct guest guest;
	uint32_t value;

	verified_guest(&guest, 1);
	start(&guest, 0, code, sizeof(code));
	runner_start(&runner, &guest, 0);
	for (value = 1; value < 300; value++) {
		ram_write(guest.ram, GUEST_DATA, &value, sizeof(value));
		usleep(200);
		ram_write(guest.ram, GUEST_DATA + 64, &value, sizeof(value));
		usleep(200);
	}
	ram_write(guest.ram, GUEST_DATA + 128, &value, sizeof(value));
	pthread_join(runner.thread, NULL);
	assert_int_equal(runner.exit, VCPU_HALTED);
	assert_int_equal(rax(&guest, 0), 2 * 299);
	verified_guest_fini(&guest);
}

/* Two CPUs at one counter, with and without LOCK, see each other's writes in turns. */
static void test_two_cpus(void **unused)
{
	static const uint8_t code[] = {
		0xb9, 0xd0, 0x07, 0x00, 0x00, /* mov ecx, 2000 */
		0xf0, 0xff, 0x03,             /* lock inc dword [rbx] */
		0xff, 0x43, 0x40,             /* inc dword [rbx + 64] */
		0x8b, 0x43, 0x40,             /* mov eax, [rbx + 64] */
		0xff, 0xc9, 0x75, 0xf3,       /* dec ecx; jnz lock */
		0xf4,
	};
	struct runner runners[2];
	struct guest guest;

	verified_guest(&guest, 2);
	for (unsigned i = 0; i < 2; i++)
		start(&guest, i, code, sizeof(code));
	for (unsigned i = 0; i < 2; i++)
		runner_start(&runners[i], &guest, i);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(runners[i].thread, NULL);
		assert_int_equal(runners[i].exit, VCPU_HALTED);
	}
	assert_int_equal(load_le32(guest_ram(&guest, GUEST_DATA)), 4000);
	assert_int_equal(load_le32(guest_ram(&guest, GUEST_DATA + 64)), 4000); /* they take turns */
	verified_guest_fini(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_agrees),      cmocka_unit_test(test_wrong_register),
		cmocka_unit_test(test_wrong_flags), cmocka_unit_test(test_wrong_address),
		cmocka_unit_test(test_wrong_way),   cmocka_unit_test(test_device_writes),
		cmocka_unit_test(test_two_cpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
