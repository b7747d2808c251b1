/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest workloads that bench/run executes natively and in every engine. Each row runs for about BUDGET_MS and prints
 * "row NAME operations_per_second instructions_hint", so that rows of two runs can be divided.
 *
 *	workloads [MILLISECONDS [ROW...]]
 */
#define _GNU_SOURCE
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static volatile uint64_t sink;

/* Every row does `n` operations. */
static void row_loop(uint64_t operations)
{
	unsigned long a = 1, b = 2, c = 3, d = 4, n = operations;

	/* Ten plain ALU instructions a turn: the row that instructions per second are quoted from. */
	for (; n; n--)
		__asm__ volatile("add %1, %0\n\txor %2, %1\n\tlea 3(%2,%3), %2\n\tsub %0, %3\n\tand $0xffff, %0\n\t"
		                 "or %1, %0\n\tshl $1, %2\n\tinc %3"
		                 : "+r"(a), "+r"(b), "+r"(c), "+r"(d)::"cc");
	sink = a + b + c + d;
}

static void row_crc(uint64_t n)
{
	uint32_t crc = ~0u;

	for (; n; n--) {
		crc ^= (uint8_t)n;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (0xedb88320 & -(crc & 1));
	}
	sink = crc;
}

static void row_sieve(uint64_t n)
{
	static uint8_t composite[65536];

	for (; n; n--) {
		memset(composite, 0, sizeof(composite));
		for (unsigned i = 2; i < 256; i++)
			if (!composite[i])
				for (unsigned j = i * i; j < sizeof(composite); j += i)
					composite[j] = 1;
		sink += composite[65521];
	}
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void row_qsort(uint64_t n)
{
	static int data[4096];
	uint32_t seed = 1;

	for (; n; n--) {
		for (int i = 0; i < 4096; i++)
			data[i] = (seed = seed * 1664525 + 1013904223) >> 1;
		qsort(data, 4096, sizeof(int), compare);
		sink += data[7];
	}
}

static void row_chase(uint64_t n)
{
	enum { NODES = 1 << 16 };
	static uint32_t next[NODES];
	uint32_t at = 0, seed = 7;

	if (!next[0]) {
		uint32_t *order = malloc(NODES * sizeof(*order));

		for (uint32_t i = 0; i < NODES; i++)
			order[i] = i;
		for (uint32_t i = NODES - 1; i; i--) {
			uint32_t j = (seed = seed * 1664525 + 1013904223) % (i + 1), t = order[i];

			order[i] = order[j];
			order[j] = t;
		}
		for (uint32_t i = 0; i < NODES; i++)
			next[order[i]] = order[(i + 1) % NODES];
		free(order);
	}
	for (; n; n--)
		at = next[at];
	sink = at;
}

static uint64_t __attribute__((noinline, noclone)) fib(unsigned n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void row_calls(uint64_t n)
{
	for (; n; n--)
		sink += fib(15);
}

/* Returns that go to a place which what went before does not tell: each of the eight calls is made or not. */
struct node {
	struct node *child[8];
	uint64_t value;
};

static uint64_t __attribute__((noinline, noclone)) walk(const struct node *node)
{
	uint64_t sum = node->value;

#define WALK(i) (node->child[i] ? walk(node->child[i]) : 0)
	sum += WALK(0);
	sum ^= WALK(1);
	sum += WALK(2);
	sum ^= WALK(3);
	sum += WALK(4);
	sum ^= WALK(5);
	sum += WALK(6);
	return sum ^ WALK(7);
#undef WALK
}

static void row_tree(uint64_t n)
{
	enum { NODES = 2048 };
	static struct node nodes[NODES];
	uint32_t seed = 3;

	for (unsigned i = 1; i < NODES && !nodes[NODES - 1].value; i++) {
		struct node *at = nodes, **to = &at;

		while (*to) {
			at = *to;
			to = &at->child[(seed = seed * 1664525 + 1013904223) >> 29];
		}
		*to = &nodes[i];
		nodes[i].value = i;
	}
	for (; n; n--)
		sink += walk(nodes);
}

/* One small function that is called from many places, one after the other. */
static uint64_t __attribute__((noinline, noclone)) mix(uint64_t x)
{
	return (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull;
}

static void row_shared(uint64_t n)
{
	uint64_t x = 1;

#define MIX4 x = mix(x); x = mix(x + 1); x = mix(x + n); x = mix(x ^ n);
	for (; n; n--) {
		MIX4 MIX4 MIX4 MIX4
		if (x & 1) {
			MIX4
		}
		if (x & 2) {
			MIX4
		}
		MIX4 MIX4
	}
#undef MIX4
	sink = x;
}

static uint64_t f0(uint64_t x) { return x + 1; }
static uint64_t f1(uint64_t x) { return x ^ 5; }
static uint64_t f2(uint64_t x) { return x * 3; }
static uint64_t f3(uint64_t x) { return x >> 1; }

static void row_indirect(uint64_t n)
{
	static uint64_t (*volatile const table[4])(uint64_t) = {f0, f1, f2, f3};
	uint64_t x = 1;

	for (; n; n--)
		x = table[(x ^ n) & 3](x);
	sink = x;
}

static void row_x87(uint64_t n)
{
	long double x = 1.0L;

	for (; n; n--)
		x = x * 0.999L + 1.0L / (x + 1.0L);
	sink = (uint64_t)x;
}

static void row_double(uint64_t n)
{
	double x = 1.0, y = 0.5;

	for (; n; n--) {
		x = x * 0.999 + y;
		y = y / (x + 1.0) + 0.25;
	}
	sink = (uint64_t)(x + y);
}

static void row_sse(uint64_t n)
{
	static float a[1024], b[1024];

	for (; n; n--) {
		for (int i = 0; i < 1024; i += 4) {
			__m128 v = _mm_add_ps(_mm_mul_ps(_mm_loadu_ps(a + i), _mm_set1_ps(0.5f)), _mm_loadu_ps(b + i));

			_mm_storeu_ps(a + i, _mm_sqrt_ps(v));
		}
		b[n & 1023] = 1;
	}
	sink = (uint64_t)a[5];
}

__attribute__((target("avx2,fma"))) static void row_avx2(uint64_t n)
{
	static float a[1024], b[1024];

	for (; n; n--) {
		for (int i = 0; i < 1024; i += 8) {
			__m256 v = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_set1_ps(0.5f), _mm256_loadu_ps(b + i));

			_mm256_storeu_ps(a + i, v);
		}
		b[n & 1023] = 1;
	}
	sink = (uint64_t)a[5];
}

static void row_memcpy(uint64_t n)
{
	static uint8_t from[1 << 20], to[1 << 20];

	for (; n; n--) {
		memcpy(to, from, sizeof(to));
		from[n & 0xfffff] = to[(n * 7) & 0xfffff];
	}
	sink = to[3];
}

static void row_syscall(uint64_t n)
{
	for (; n; n--)
		sink += syscall(SYS_getppid);
}

static void row_fault(uint64_t n)
{
	enum { PAGES = 256 };

	while (n) {
		uint64_t batch = n < PAGES ? n : PAGES;
		volatile uint8_t *p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		for (uint64_t i = 0; i < batch; i++)
			p[i * 4096] = 1;
		munmap((void *)p, PAGES * 4096);
		n -= batch;
	}
}

static void row_pipe(uint64_t n)
{
	int there[2], back[2];
	char c = 0;
	pid_t child;

	if (pipe(there) || pipe(back))
		exit(1);
	child = fork();
	if (!child) {
		close(there[1]);
		while (read(there[0], &c, 1) == 1)
			if (write(back[1], &c, 1) != 1)
				break;
		_exit(0);
	}
	for (; n; n--)
		if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
			exit(1);
	close(there[1]);
	close(there[0]);
	close(back[0]);
	close(back[1]);
	waitpid(child, NULL, 0);
}

static void row_fork(uint64_t n)
{
	for (; n; n--) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

static const struct row {
	const char *name;
	const char *group;
	void (*run)(uint64_t operations);
	uint64_t first; /* operations of the first try */
	double instructions; /* an operation, for the rows that instructions per second are quoted of; else 0 */
} rows[] = {
	{"loop", "integer", row_loop, 100000, 10},   {"crc", "integer", row_crc, 10000, 0},
	{"sieve", "integer", row_sieve, 1, 0},       {"qsort", "integer", row_qsort, 1, 0},
	{"chase", "integer", row_chase, 100000, 0},  {"calls", "integer", row_calls, 10, 0},
	{"tree", "integer", row_tree, 10, 0},        {"shared", "integer", row_shared, 1000, 0},
	{"indirect", "integer", row_indirect, 10000, 0}, {"memcpy", "integer", row_memcpy, 1, 0},
	{"x87", "fp", row_x87, 1000, 0},             {"double", "fp", row_double, 1000, 0},
	{"sse", "fp", row_sse, 1, 0},                {"avx2", "fp", row_avx2, 1, 0},
	{"syscall", "system", row_syscall, 1000, 0}, {"fault", "system", row_fault, 256, 0},
	{"pipe", "system", row_pipe, 10, 0},         {"fork", "system", row_fork, 2, 0},
};

static int selected(const char *name, int count, char **names)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return 1;
	return !count;
}

int main(int argc, char **argv)
{
	double budget = (argc > 1 ? atof(argv[1]) : 300) / 1000;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		uint64_t n = row->first;
		double start, took;

		if (!selected(row->name, argc - 2 > 0 ? argc - 2 : 0, argv + 2))
			continue;
		if (row->run == row_avx2 && !__builtin_cpu_supports("fma"))
			continue;
		/* Grow until a run fills the budget; the last run counts. */
		for (;;) {
			start = now_s();
			row->run(n);
			took = now_s() - start;
			if (took >= budget)
				break;
			n = took < budget / 16 ? n * 8 : (uint64_t)(n * budget / took * 1.2) + 1;
		}
		printf("row %s %s %.6g %.6g\n", row->group, row->name, n / took, row->instructions * n / took);
	}
	return 0;
}
