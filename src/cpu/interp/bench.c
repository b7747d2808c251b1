/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions per second of the interpreter on small 64-bit kernels that gcc compiled: run by hand, not a test. */
#include "base/util.h"
#include "cpu/interp/test_guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef BENCH_ENGINE
#define BENCH_ENGINE interp_engine
#else
extern const struct engine_ops BENCH_ENGINE;
#endif

#ifdef __clang__
#define KERNEL __attribute__((noinline, used, section(".text.kernels")))
#else
#define KERNEL __attribute__((noinline, noclone, optimize("O2"), used, section(".text.kernels")))
#endif

/* Position-independent leaf code that is copied into the guest: no constants in memory, so no floating-point literals. */
static KERNEL uint64_t kernel_crc(uint8_t *data, uint64_t rounds)
{
	uint32_t crc = ~0u;

	for (uint64_t r = 0; r < rounds; r++)
		for (unsigned i = 0; i < 4096; i++) {
			crc ^= data[i];
			for (unsigned k = 0; k < 8; k++)
				crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
		}
	return crc;
}

static KERNEL uint64_t kernel_sieve(uint8_t *data, uint64_t rounds)
{
	uint64_t primes = 0;

	for (uint64_t r = 0; r < rounds; r++) {
		for (unsigned i = 0; i < 65536; i++)
			((volatile uint8_t *)data)[i] = 1;
		for (unsigned i = 2; i < 256; i++)
			if (data[i])
				for (unsigned k = i * i; k < 65536; k += i)
					data[k] = 0;
		for (unsigned i = 2; i < 65536; i++)
			primes += data[i];
	}
	return primes;
}

static KERNEL uint64_t kernel_heap(uint8_t *data, uint64_t rounds)
{
	uint64_t *a = (uint64_t *)data, sum = 0, seed = 12345;

	for (uint64_t r = 0; r < rounds; r++) {
		unsigned n = 1024;

		for (unsigned i = 0; i < n; i++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			a[i] = seed >> 20;
		}
		for (unsigned i = 1; i < n; i++)
			for (unsigned k = i; k && a[(k - 1) / 2] < a[k]; k = (k - 1) / 2) {
				uint64_t t = a[k];

				a[k] = a[(k - 1) / 2];
				a[(k - 1) / 2] = t;
			}
		sum += a[0];
	}
	return sum;
}

static KERNEL uint64_t kernel_fib(uint8_t *data, uint64_t n);
static KERNEL uint64_t kernel_fib(uint8_t *data, uint64_t n)
{
	return n < 2 ? n : kernel_fib(data, n - 1) + kernel_fib(data, n - 2);
}

static KERNEL uint64_t kernel_double(uint8_t *data, uint64_t rounds)
{
	double *a = (double *)data, sum = 0, three = (double)(int64_t)(rounds % 2 + 3);

	for (unsigned i = 0; i < 1024; i++)
		((volatile double *)a)[i] = (double)(int)(i + 1) / three;
	for (uint64_t r = 0; r < rounds; r++)
		for (unsigned i = 1; i < 1024; i++)
			sum += a[i] * a[i - 1] / (a[i] + three);
	return (uint64_t)(int64_t)sum;
}

static KERNEL uint64_t kernel_sse(uint8_t *data, uint64_t rounds)
{
	typedef float vec __attribute__((vector_size(16)));
	vec *a = (vec *)data, acc[4] = { { 0 } };

	for (unsigned i = 0; i < 4096; i++)
		((volatile uint32_t *)data)[i] = 0x3f800000 + i;
	for (uint64_t r = 0; r < rounds; r++)
		for (unsigned i = 0; i < 1024; i += 4) {
			acc[0] += a[i] * a[i + 1];
			acc[1] += a[i + 1] * a[i + 2];
			acc[2] -= a[i + 2] * a[i + 3];
			acc[3] += a[i + 3];
		}
	acc[0] += acc[1] + acc[2] + acc[3];
	return (uint64_t)(int64_t)acc[0][0];
}

static KERNEL uint64_t kernel_x87(uint8_t *data, uint64_t rounds)
{
	long double sum = 1, factor = (long double)(int64_t)(rounds + 1) / (int64_t)rounds;

	for (uint64_t r = 0; r < rounds; r++)
		sum = sum * factor + 1;
	return (uint64_t)(int64_t)sum;
}

static void run(struct guest *guest, const char *name, const void *code, uint64_t argument)
{
	static const uint8_t stub[] = { 0xff, 0xd3, 0xf4 }; /* call *rbx; hlt */
	uint64_t (*native)(uint8_t *, uint64_t) = (uint64_t (*)(uint8_t *, uint64_t))(uintptr_t)code;
	static uint8_t data[1 << 20];
	enum vcpu_exit exit;
	struct x86_state state;
	uint64_t count, expected;
	int64_t start, native_ns, ns;

	memset(data, 0, sizeof(data));
	start = host_now_ns();
	expected = native(data, argument);
	native_ns = host_now_ns() - start;
	guest_mode(guest, 0, X86_CODE64);
	guest_code(guest, GUEST_CODE, stub, sizeof(stub));
	guest_code(guest, GUEST_CODE + 0x100, code, 2048);
	ram_fill(guest->ram, GUEST_DATA, 0, sizeof(data));
	interp_engine.get_state(&guest->cpu[0]->vcpu, &state);
	state.gpr[X86_RBX] = GUEST_CODE + 0x100;
	state.gpr[X86_RDI] = GUEST_DATA;
	state.gpr[X86_RSI] = argument;
	interp_engine.set_state(&guest->cpu[0]->vcpu, &state);
	start = host_now_ns();
	count = guest_run(guest, 0, UINT64_MAX, &exit);
	ns = host_now_ns() - start;
	interp_engine.get_state(&guest->cpu[0]->vcpu, &state);
	printf("%-8s %6.1f M instructions/s  %7.1f M in %5.2f s  %5.1fx native %s\n", name, count * 1e3 / ns, count / 1e6, ns / 1e9,
	       (double)ns / native_ns, state.gpr[X86_RAX] == expected && exit == VCPU_HALTED ? "" : "WRONG");
}

int main(int argc, char **argv)
{
	uint64_t scale = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	struct guest guest;

	guest_init_engine(&guest, &BENCH_ENGINE, 1, NULL, false);
	run(&guest, "crc", (const void *)kernel_crc, 200 * scale);
	run(&guest, "sieve", (const void *)kernel_sieve, 50 * scale);
	run(&guest, "heap", (const void *)kernel_heap, 600 * scale);
	run(&guest, "fib", (const void *)kernel_fib, 27 + scale);
	run(&guest, "double", (const void *)kernel_double, 1000 * scale);
	run(&guest, "sse", (const void *)kernel_sse, 1000 * scale);
	run(&guest, "x87", (const void *)kernel_x87, 1000000 * scale);
	guest_fini(&guest);
	return 0;
}
