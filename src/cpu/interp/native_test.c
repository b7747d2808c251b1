/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Native routines against results worked out by hand: each group of state, renaming, faults, and refusals. The wide
 * comparison with the host CPU is tests/oracle. */
#include "cpu/interp/native.h"

#include "base/util.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct native_arena *arena;
	struct x86_state *state;
};

static int setup(void **fixture)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->arena = native_arena_new(1 << 20, NULL);
	assert_non_null(f->arena);
	f->state = aligned_alloc(64, align_up(sizeof(*f->state), 64));
	memset(f->state, 0, sizeof(*f->state));
	f->state->fpu.fcw = 0x37f;
	f->state->fpu.mxcsr = 0x1f80;
	f->state->rflags = 2;
	*fixture = f;
	return 0;
}

static int teardown(void **fixture)
{
	struct fixture *f = *fixture;

	native_arena_free(f->arena);
	free(f->state);
	free(f);
	return 0;
}

/* cmocka puts handlers of its own around every test; a new arena takes SIGFPE back. */
static void take_signals(void)
{
	native_arena_free(native_arena_new(4096, NULL));
}

static int compile_mode(struct fixture *f, ZydisMachineMode mode, ZydisStackWidth width, struct native_code *code,
			const char *hex)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction instruction;
	ZydisDecoder decoder;
	uint8_t bytes[15];
	size_t length = 0;

	for (const char *p = hex; *p; p += *p == ' ' ? 1 : 2)
		if (*p != ' ')
			bytes[length++] = (uint8_t)strtoul((char[]){p[0], p[1], 0}, NULL, 16);
	ZydisDecoderInit(&decoder, mode, width);
	assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, length, &instruction, operands)));
	return native_compile(f->arena, &instruction, operands, code);
}

static struct native_code compile(struct fixture *f, const char *hex)
{
	struct native_code code;

	assert_int_equal(compile_mode(f, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, &code, hex), 0);
	return code;
}

static int run(struct fixture *f, const char *hex, void *memory)
{
	return compile(f, hex).run(f->state, memory);
}

static void test_integer(void **fixture)
{
	struct fixture *f = *fixture;
	uint64_t memory = 5;

	f->state->gpr[X86_RSP] = 7;
	f->state->gpr[X86_RBP] = 3;
	assert_int_equal(run(f, "48 01 ec", NULL), 0); /* add rsp, rbp */
	assert_int_equal(f->state->gpr[X86_RSP], 10);
	assert_int_equal(f->state->rflags, 2 | X86_PF);
	f->state->gpr[12] = 0xfffffffffffffffb;
	assert_int_equal(run(f, "4c 03 24 24", &memory), 0); /* add r12, [rsp] */
	assert_int_equal(f->state->gpr[12], 0);
	assert_int_equal(f->state->rflags & X86_STATUS_FLAGS, X86_CF | X86_PF | X86_AF | X86_ZF);
	f->state->gpr[X86_RBX] = 0x1234;
	f->state->gpr[X86_RAX] = 0x11;
	assert_int_equal(run(f, "00 fc", NULL), 0); /* add ah, bh */
	assert_int_equal(f->state->gpr[X86_RAX], 0x1211);
	assert_int_equal(run(f, "00 3e", &memory), 0); /* add [rsi], bh */
	assert_int_equal(memory, 0x17);
	assert_int_equal(run(f, "f0 48 0f c1 1f", &memory), 0); /* lock xadd [rdi], rbx */
	assert_int_equal(memory, 0x17 + 0x1234);
	assert_int_equal(f->state->gpr[X86_RBX], 0x17);
}

static void test_flags_pass_through(void **fixture)
{
	struct fixture *f = *fixture;
	const uint64_t others = X86_TF | X86_DF | X86_AC | X86_IF | X86_IOPL;

	for (unsigned i = 0; i < 64; i++) {
		uint64_t status = (i & 1 ? X86_CF : 0) | (i & 2 ? X86_PF : 0) | (i & 4 ? X86_AF : 0) |
				  (i & 8 ? X86_ZF : 0) | (i & 16 ? X86_SF : 0) | (i & 32 ? X86_OF : 0);

		f->state->rflags = 2 | others | status;
		f->state->gpr[X86_RAX] = 1;
		f->state->gpr[X86_RCX] = 1;
		assert_int_equal(run(f, "66 48 0f 38 f6 c1", NULL), 0); /* adcx rax, rcx: only CF */
		assert_int_equal(f->state->gpr[X86_RAX], 2 + (i & 1));
		assert_int_equal(f->state->rflags, 2 | others | (status & ~(uint64_t)X86_CF));
	}
}

static void test_sse(void **fixture)
{
	struct fixture *f = *fixture;
	_Alignas(16) float memory[4] = {1, 2, 3, 4};
	float *xmm9 = (float *)f->state->fpu.vector[9];
	struct native_code code = compile(f, "44 0f 58 08"); /* addps xmm9, [rax] */

	assert_true(code.uses_sse && code.aligned && code.memory_read && !code.memory_written);
	assert_int_equal(code.memory_bytes, 16);
	assert_int_equal(code.alignment, 16);
	for (unsigned i = 0; i < 8; i++)
		xmm9[i] = 10;
	assert_int_equal(code.run(f->state, memory), 0);
	assert_true(xmm9[0] == 11 && xmm9[3] == 14 && xmm9[4] == 10); /* uppers stay */
	assert_int_equal(f->state->fpu.mxcsr, 0x1f80);
	xmm9[0] = 1e-30f;
	assert_int_equal(run(f, "44 0f 58 08", memory), 0);
	assert_int_equal(f->state->fpu.mxcsr, 0x1fa0); /* inexact */
	assert_int_equal(__builtin_ia32_stmxcsr() & 0xffc0, 0x1f80);
}

static void test_simd_fault(void **fixture)
{
	struct fixture *f = *fixture;
	float *xmm0 = (float *)f->state->fpu.vector[0];

	take_signals();
	f->state->fpu.mxcsr = 0x1f80 & ~(1u << 9); /* zero-divide unmasked */
	xmm0[0] = 1;
	assert_int_equal(run(f, "f3 0f 5e c1", NULL), X86_XM); /* divss xmm0, xmm1 */
	assert_true(xmm0[0] == 1);
	assert_int_equal(f->state->fpu.mxcsr, (0x1f80 & ~(1u << 9)) | 4);
	assert_int_equal(run(f, "c5 fa 5e c1", NULL), X86_XM); /* vdivss */
	assert_int_equal(__builtin_ia32_stmxcsr() & 0xffc0, 0x1f80);
}

static void test_divide_fault(void **fixture)
{
	struct fixture *f = *fixture;

	take_signals();
	f->state->gpr[X86_RAX] = 77;
	f->state->rflags = 2 | X86_STATUS_FLAGS;
	assert_int_equal(run(f, "48 f7 f3", NULL), X86_DE); /* div rbx */
	assert_int_equal(f->state->gpr[X86_RAX], 77);
	assert_int_equal(f->state->rflags, 2 | X86_STATUS_FLAGS);
	f->state->gpr[X86_RBX] = 10;
	assert_int_equal(run(f, "48 f7 f3", NULL), 0);
	assert_int_equal(f->state->gpr[X86_RAX], 7);
	assert_int_equal(f->state->gpr[X86_RDX], 7);
}

static void test_avx(void **fixture)
{
	struct fixture *f = *fixture;

	memset(f->state->fpu.vector, 0x11, sizeof(f->state->fpu.vector));
	assert_int_equal(run(f, "c4 41 29 fc c3", NULL), 0); /* vpaddb xmm8, xmm10, xmm11 */
	assert_int_equal(f->state->fpu.vector[8][15], 0x22);
	for (unsigned i = 16; i < 64; i++)
		assert_int_equal(f->state->fpu.vector[8][i], 0);
	assert_int_equal(run(f, "c4 41 2d fc c3", NULL), 0); /* ymm */
	assert_int_equal(f->state->fpu.vector[8][31], 0x22);
	assert_int_equal(f->state->fpu.vector[8][32], 0);
	assert_int_equal(f->state->fpu.vector[10][63], 0x11);
	assert_int_equal(run(f, "c5 f8 77", NULL), 0); /* vzeroupper */
	assert_int_equal(f->state->fpu.vector[15][16], 0);
	assert_int_equal(f->state->fpu.vector[15][15], 0x11);
	assert_int_equal(f->state->fpu.vector[16][16], 0x11);
}

/* Masked and unmasked forms with memory, high registers, opmask moves: where the host has AVX-512. */
static void test_avx512(void **fixture)
{
	struct fixture *f = *fixture;
	_Alignas(64) uint32_t memory[16];
	uint32_t *zmm2 = (uint32_t *)f->state->fpu.vector[2], *zmm17 = (uint32_t *)f->state->fpu.vector[17];
	struct native_code code;

	if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) {
		print_message("SKIPPED: no AVX-512 here\n");
		return;
	}
	f->state->gpr[X86_RBX] = 0x8421;
	code = compile(f, "c5 f8 92 cb"); /* kmovw k1, ebx */
	assert_true(code.uses_avx512);
	assert_int_equal(code.run(f->state, NULL), 0);
	assert_int_equal(f->state->fpu.opmask[1], 0x8421);
	for (uint32_t i = 0; i < 16; i++) {
		memory[i] = 100 * i;
		zmm2[i] = i;
		zmm17[i] = 7;
	}
	code = compile(f, "62 e1 6d 49 fe 4c 24 01"); /* vpaddd zmm17{k1}, zmm2, [rsp + 64] */
	assert_int_equal(code.memory_bytes, 64);
	assert_int_equal(code.run(f->state, memory), 0);
	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(zmm17[i], 0x8421 >> i & 1 ? 101 * i : 7);
	assert_int_equal(run(f, "62 a1 75 20 fe c9", NULL), 0); /* vpaddd ymm17, ymm17, ymm17 */
	assert_int_equal(zmm17[5], 2 * 505);
	assert_int_equal(zmm17[8], 0);
	assert_int_equal(run(f, "c5 f5 ef c9", NULL), 0); /* vpxor ymm1, ymm1, ymm1: the upper half too */
	assert_int_equal(f->state->fpu.vector[1][63], 0);
}

/* What masks leave of memory operands. */
static void test_masked_operands(void **fixture)
{
	struct fixture *f = *fixture;
	_Alignas(64) uint32_t memory[16] = {0};
	uint32_t *zmm2 = (uint32_t *)f->state->fpu.vector[2];
	struct native_code code;

	if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) {
		print_message("SKIPPED: no AVX-512 here\n");
		return;
	}
	f->state->fpu.opmask[1] = 0xf00008421;
	code = compile(f, "62 f1 6d 49 fe 08"); /* vpaddd zmm1{k1}, zmm2, [rax] */
	assert_int_equal(native_touched(&code.masked, f->state), 0x8421);
	code = compile(f, "62 f1 6d 59 fe 08"); /* vpaddd zmm1{k1}, zmm2, dword [rax]{1to16} */
	assert_int_equal(code.memory_bytes, 4);
	assert_int_equal(native_touched(&code.masked, f->state), 1);
	code = compile(f, "62 f2 7d 49 1a 08"); /* vbroadcastf32x4 zmm1{k1}, [rax]: elements 1, 2, 3 become 5, 10, 15 */
	assert_int_equal(native_touched(&code.masked, f->state), 0xf);
	code = compile(f, "62 f1 6d 48 fe 08"); /* without a mask */
	assert_int_equal(code.masked.opmask, 0);
	code = compile(f, "62 f2 6d 49 00 08"); /* vpshufb zmm1{k1}, zmm2, [rax]: all of it */
	assert_int_equal(code.masked.opmask, 0);
	for (uint32_t i = 0; i < 16; i++)
		zmm2[i] = 100 + i;
	code = compile(f, "62 f2 7d 49 8b 10"); /* vpcompressd [rax]{k1}, zmm2 */
	assert_int_equal(native_touched(&code.masked, f->state), 0xf);
	assert_true(code.memory_written);
	assert_int_equal(code.run(f->state, memory), 0);
	assert_int_equal(memory[0], 100);
	assert_int_equal(memory[3], 115);
	assert_int_equal(memory[4], 0);
	f->state->fpu.opmask[1] = 0xfe;
	code = compile(f, "62 f1 6e 09 58 08"); /* vaddss xmm1{k1}, xmm2, [rax] */
	assert_int_equal(native_touched(&code.masked, f->state), 0);
	code = compile(f, "62 f3 7d 49 39 10 01"); /* vextracti32x4 [rax]{k1}, zmm2, 1 */
	assert_true(code.masked.whole_faults);
	assert_int_equal(native_touched(&code.masked, f->state), 0xe);
}

static long double st(const struct fixture *f, unsigned n)
{
	long double value = 0;

	memcpy(&value, f->state->fpu.st[n], 10);
	return value;
}

static void test_x87(void **fixture)
{
	struct fixture *f = *fixture;
	double memory = 2.5;

	assert_int_equal(run(f, "d9 e8", NULL), 0); /* fld1 */
	assert_int_equal(f->state->fpu.ftw, 0x80);
	assert_int_equal(f->state->fpu.fsw >> 11 & 7, 7);
	assert_int_equal(run(f, "dc 00", &memory), 0); /* fadd qword [rax] */
	assert_true(st(f, 0) == 3.5L);
	assert_int_equal(run(f, "d9 fa", NULL), 0); /* fsqrt */
	assert_true(st(f, 0) == 1.8708286933869706927918743661582747L);
	assert_int_equal(run(f, "dd 18", &memory), 0); /* fstp */
	assert_true(memory == 1.8708286933869706927918743661582747);
	assert_int_equal(f->state->fpu.ftw, 0);
	assert_int_equal(run(f, "df e0", NULL), 0); /* fnstsw ax */
	assert_int_equal(f->state->gpr[X86_RAX], f->state->fpu.fsw);
}

static void test_x87_pending(void **fixture)
{
	struct fixture *f = *fixture;

	take_signals();
	f->state->fpu.fcw = 0x37f & ~4;             /* zero-divide unmasked */
	assert_int_equal(run(f, "d9 ee", NULL), 0); /* fldz */
	assert_int_equal(run(f, "d9 e8", NULL), 0); /* fld1 */
	assert_int_equal(run(f, "d8 f1", NULL), 0); /* fdiv st0, st1: completes, ES set */
	assert_int_equal(f->state->fpu.fsw & 0x84, 0x84);
	assert_int_equal(run(f, "d9 e8", NULL), X86_MF);
	assert_int_equal(f->state->fpu.ftw, 0xc0);
	assert_int_equal(run(f, "9b", NULL), X86_MF);       /* fwait */
	assert_int_equal(run(f, "0f fc c1", NULL), X86_MF); /* paddb mm0, mm1 */
	assert_int_equal(run(f, "db e2", NULL), 0);         /* fnclex */
	assert_int_equal(f->state->fpu.fsw & 0x84, 0);
	assert_int_equal(run(f, "d9 e8", NULL), 0);
}

static void test_mmx(void **fixture)
{
	struct fixture *f = *fixture;

	f->state->gpr[X86_RAX] = 0x0102030405060708;
	assert_int_equal(run(f, "48 0f 6e d8", NULL), 0); /* movq mm3, rax */
	assert_int_equal(run(f, "0f fc db", NULL), 0);    /* paddb mm3, mm3 */
	assert_int_equal(load_le64(f->state->fpu.st[3]), 0x020406080a0c0e10);
	assert_int_equal(f->state->fpu.ftw, 0xff);
	assert_int_equal(run(f, "0f 77", NULL), 0); /* emms */
	assert_int_equal(f->state->fpu.ftw, 0);
}

static void test_other_modes(void **fixture)
{
	struct fixture *f = *fixture;
	struct native_code code;

	f->state->gpr[X86_RAX] = 0xffff1234;
	f->state->gpr[X86_RCX] = 0x00010001;
	assert_int_equal(compile_mode(f, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16, &code, "01 c8"), 0);
	assert_int_equal(code.run(f->state, NULL), 0); /* add ax, cx */
	assert_int_equal(f->state->gpr[X86_RAX], 0xffff1235);
	assert_int_equal(compile_mode(f, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16, &code, "66 01 c8"), 0);
	assert_int_equal(code.run(f->state, NULL), 0); /* add eax, ecx */
	assert_int_equal(f->state->gpr[X86_RAX], 0x00001236);
	assert_int_equal(compile_mode(f, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32, &code, "40"), -ENOTSUP);
	assert_int_equal(compile_mode(f, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16, &code, "66 0f 58 c1"), 0);
	assert_true(code.uses_sse); /* addpd: 66 is not an operand size */
}

static void test_refused(void **fixture)
{
	static const char *const hex[] = {
		"0f ae 10",
		"0f ae 18", /* ldmxcsr, stmxcsr */
		"50",
		"58",
		"c3",
		"e8 00 00 00 00",
		"eb 00",
		"f4",
		"cd 80",
		"0f 05",
		"0f a2",
		"0f 31",
		"8e d8",
		"0f 20 c0",
		"a4",
		"66 0f f7 c1",
		"c4 e2 69 90 04 08", /* mov ds; mov cr0; movsb; maskmovdqu; vpgatherdd */
		"0f a3 08",
		"d9 30",
		"8d 04 08",
		"fa",
	};
	struct fixture *f = *fixture;
	struct native_code code;

	for (size_t i = 0; i < ARRAY_SIZE(hex); i++)
		if (compile_mode(f, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, &code, hex[i]) != -ENOTSUP)
			fail_msg("%s was not refused", hex[i]);
}

static void test_sharing_and_reset(void **fixture)
{
	struct fixture *f = *fixture;
	struct native_code first = compile(f, "0f 58 c1"), again = compile(f, "0f 58 c1"),
			   other = compile(f, "0f 58 c2");

	assert_ptr_equal(first.run, again.run);
	assert_ptr_not_equal(first.run, other.run);
	native_arena_reset(f->arena);
	assert_ptr_equal(compile(f, "0f 58 c2").run, first.run);
}

static void *fault_often(void *opaque)
{
	struct native_code *code = opaque;
	struct x86_state *state = aligned_alloc(64, align_up(sizeof(*state), 64));
	uintptr_t wrong = 0;

	memset(state, 0, sizeof(*state));
	for (unsigned i = 0; i < 2000; i++) {
		state->gpr[X86_RBX] = i & 1;
		state->gpr[X86_RAX] = i;
		state->gpr[X86_RDX] = 0;
		wrong += code->run(state, NULL) != 0 || state->gpr[X86_RAX] != i ? i & 1 : 0;
		wrong += i & 1 ? 0 : state->gpr[X86_RAX] != i;
	}
	free(state);
	return (void *)wrong;
}

static void test_faults_in_threads(void **fixture)
{
	struct fixture *f = *fixture;
	struct native_code code = compile(f, "48 f7 f3");
	pthread_t threads[4];

	take_signals();
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fault_often, &code), 0);
	for (unsigned i = 0; i < 4; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
}

static void on_foreign(int signal_number)
{
	raise(signal_number);
}

/* A SIGFPE that is not ours goes to whoever had the signal before, with what that handler asked for. */
static void test_foreign_signal(void **fixture)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct sigaction action = {.sa_handler = on_foreign, .sa_flags = (int)SA_RESETHAND};

		alarm(10);
		sigaction(SIGFPE, &action, NULL);
		native_arena_new(4096, NULL);
		raise(SIGFPE);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGFPE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_integer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flags_pass_through, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_simd_fault, setup, teardown),
		cmocka_unit_test_setup_teardown(test_divide_fault, setup, teardown),
		cmocka_unit_test_setup_teardown(test_avx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_avx512, setup, teardown),
		cmocka_unit_test_setup_teardown(test_masked_operands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_x87, setup, teardown),
		cmocka_unit_test_setup_teardown(test_x87_pending, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mmx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sharing_and_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faults_in_threads, setup, teardown),
		cmocka_unit_test(test_foreign_signal),
	};

	return cmocka_run_group_tests_name("native", tests, NULL, NULL);
}
