/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a Linux program does with its own address space, checked step by step: the guest's half of spaces_test.py.
 *
 *	spaces-guest SECONDS THREADS
 *
 * Each thread has a region of its own and knows what every page of it holds and allows. It maps, unmaps, protects, moves,
 * shares with a child, and reads and writes in all widths, also across pages; what must fault has to raise SIGSEGV at that
 * address and nowhere else. Code that it writes is executed and changed. It runs long enough in user mode for an engine to
 * decide that the program deserves to run fast. Prints "spaces ok N" or what was wrong.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 512, THREADS_MAX = 8 };

struct thread {
	pthread_t id;
	unsigned number;
	uint32_t random;
	uint8_t *region;
	uint8_t protection[PAGES]; /* PROT_*; 255: not mapped */
	uint64_t holds[PAGES];     /* of each 8 bytes of the page */
	uint8_t *code;
	uint64_t steps;
};

static _Thread_local sigjmp_buf fault_exit;
static _Thread_local volatile uintptr_t fault_address;
static volatile sig_atomic_t finish;

static _Noreturn void wrong(const char *what, uint64_t is, uint64_t should)
{
	printf("spaces wrong: %s: 0x%llx, should be 0x%llx\n", what, (unsigned long long)is, (unsigned long long)should);
	fflush(stdout);
	_exit(1);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	fault_address = (uintptr_t)info->si_addr;
	siglongjmp(fault_exit, 1);
}

static uint32_t next(struct thread *t)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 17;
	t->random ^= t->random << 5;
	return t->random;
}

/* True: it was done, and *value is what was read. */
static int __attribute__((noinline)) access_word(uint64_t *at, int write, uint64_t *value)
{
	if (sigsetjmp(fault_exit, 1))
		return 0;
	if (write)
		*(volatile uint64_t *)at = *value;
	else
		*value = *(volatile uint64_t *)at;
	return 1;
}

static void check_page(struct thread *t, unsigned page)
{
	const uint8_t may = t->protection[page];
	uint64_t *words = (uint64_t *)(t->region + page * PAGE), value = 0;
	unsigned at = next(t) % (PAGE / 8);

	if (access_word(&words[at], 0, &value)) {
		if (may == 255 || !(may & PROT_READ))
			wrong("a page that must not be read was", value, 0);
		if (value != t->holds[page])
			wrong("a page holds", value, t->holds[page]);
	} else if (may != 255 && may & PROT_READ) {
		wrong("reading faulted", fault_address, (uintptr_t)&words[at]);
	} else if (fault_address != (uintptr_t)&words[at]) {
		wrong("address of a fault", fault_address, (uintptr_t)&words[at]);
	}
	value = t->holds[page];
	if (access_word(&words[at], 1, &value) != (may != 255 && may & PROT_WRITE))
		wrong("writing a page with protection", may, may);
}

static void fill(struct thread *t, unsigned page)
{
	uint64_t *words = (uint64_t *)(t->region + page * PAGE);

	t->holds[page] = (uint64_t)next(t) << 32 | next(t);
	for (unsigned i = 0; i < PAGE / 8; i++)
		words[i] = t->holds[page];
}

static void protect(struct thread *t, unsigned page, unsigned count)
{
	static const uint8_t some[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
	const uint8_t to = some[next(t) % 4];

	for (unsigned i = page; i < page + count; i++) {
		if (t->protection[i] == 255)
			continue;
		if (mprotect(t->region + i * PAGE, PAGE, to))
			wrong("mprotect", 1, 0);
		t->protection[i] = to;
	}
}

static void map_again(struct thread *t, unsigned page, unsigned count)
{
	for (unsigned i = page; i < page + count; i++) {
		if (mmap(t->region + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			wrong("mmap", 1, 0);
		t->protection[i] = PROT_READ | PROT_WRITE;
		t->holds[i] = 0;
		check_page(t, i);
		fill(t, i);
	}
}

static void unmap(struct thread *t, unsigned page, unsigned count)
{
	/* Without access: another thread's mapping must not come there. */
	if (mmap(t->region + page * PAGE, count * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		wrong("unmapping", 1, 0);
	memset(t->protection + page, 255, count);
}

/* The pages change places. */
static void exchange(struct thread *t, unsigned a, unsigned b)
{
	uint8_t *spare = t->region + PAGES * PAGE;
	uint64_t held = t->holds[a];
	uint8_t may = t->protection[a];

	if (a == b || t->protection[a] == 255 || t->protection[b] == 255)
		return;
	if (mremap(t->region + a * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, spare) == MAP_FAILED ||
	    mremap(t->region + b * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, t->region + a * PAGE) == MAP_FAILED ||
	    mremap(spare, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, t->region + b * PAGE) == MAP_FAILED ||
	    mmap(spare, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		wrong("mremap", 1, 0);
	t->holds[a] = t->holds[b];
	t->protection[a] = t->protection[b];
	t->holds[b] = held;
	t->protection[b] = may;
	check_page(t, a);
	check_page(t, b);
}

/* A child writes over everything; the parent sees nothing of it. */
static void child(struct thread *t)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		for (unsigned i = 0; i < PAGES; i++)
			if (t->protection[i] != 255 && t->protection[i] & PROT_WRITE)
				memset(t->region + i * PAGE, 0xcc, PAGE);
		_exit(7);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7)
		wrong("a child's status", (uint64_t)status, 7);
	for (unsigned i = 0; i < PAGES; i++)
		check_page(t, i);
}

/* mov eax, VALUE; ret: written, executed, changed. */
static void code(struct thread *t)
{
	for (unsigned i = 0; i < 20; i++) {
		uint32_t value = next(t), at = next(t) % 2 * PAGE + next(t) % 64 * 16;

		t->code[at] = 0xb8;
		memcpy(t->code + at + 1, &value, 4);
		t->code[at + 5] = 0xc3;
		if (((uint32_t (*)(void))(void *)(t->code + at))() != value)
			wrong("code that was changed returned", 1, value);
	}
}

/* Loops whose addresses move by constants, to the last byte before a page that is not there. */
static void loops(struct thread *t)
{
	uint8_t *end = t->region + PAGES * PAGE + PAGE, *const from = t->region + PAGES * PAGE;
	uint64_t sum = 0, again = 0;

	for (unsigned i = 0; i < PAGE; i++)
		from[i] = (uint8_t)(i * 7);
	for (uint8_t *p = from; p != end; p++)
		sum += *(volatile uint8_t *)p;
	for (uint8_t *p = end; p != from; p--)
		again += ((volatile uint8_t *)p)[-1];
	if (sum != again || !sum)
		wrong("sum", again, sum);
	if (!sigsetjmp(fault_exit, 1)) {
		for (volatile uint8_t *volatile p = from;; p += 8)
			sum += *(volatile uint64_t *)p;
	}
	if (fault_address != (uintptr_t)end)
		wrong("a loop's fault", fault_address, (uintptr_t)end);
}

/* Across a page, both sides being somewhere else in memory. */
static void across(struct thread *t, unsigned page)
{
	uint8_t *at = t->region + (page + 1) * PAGE - 1 - next(t) % 7;
	uint64_t value, want;

	if (t->protection[page] != 3 || t->protection[page + 1] != 3)
		return;
	memcpy(&want, at, 4);
	memcpy((uint8_t *)&want + 4, at + 4, 4);
	value = *(volatile uint64_t *)at;
	if (value != want)
		wrong("a word across pages", value, want);
	*(volatile uint64_t *)at = ~want;
	if (*(volatile uint64_t *)at != ~want)
		wrong("a word written across pages", *(volatile uint64_t *)at, ~want);
	*(volatile uint64_t *)at = want;
}

static void spin(struct thread *t)
{
	uint64_t sum = 0;

	for (unsigned turn = 0; turn < 40; turn++)
		for (unsigned i = 0; i < PAGES; i++)
			if (t->protection[i] != 255 && t->protection[i] & PROT_READ)
				for (unsigned k = 0; k < PAGE / 8; k += 64)
					if (((volatile uint64_t *)(t->region + i * PAGE))[k] != t->holds[i])
						wrong("a page holds", ((uint64_t *)(t->region + i * PAGE))[k], t->holds[i]);
	t->steps += sum + 1;
}

/* A program at low addresses has every second region there, too: the same code meets both. */
static void *region_hint(const struct thread *t)
{
	const uintptr_t low = 0x10000000;

	return (uintptr_t)&finish < low && t->number % 2 == 0 ? (void *)(low + t->number * 0x1000000) : NULL;
}

static void *run(void *opaque)
{
	struct thread *t = opaque;

	t->region = mmap(region_hint(t), (PAGES + 2) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t->code = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->region == MAP_FAILED || t->code == MAP_FAILED || mprotect(t->region + (PAGES + 1) * PAGE, PAGE, PROT_NONE))
		wrong("mmap", 1, 0);
	for (unsigned i = 0; i < PAGES; i++) {
		t->protection[i] = PROT_READ | PROT_WRITE;
		fill(t, i);
	}
	while (!finish) {
		unsigned page = next(t) % PAGES, count = 1 + next(t) % (PAGES - page < 40 ? PAGES - page : 40);

		for (unsigned i = 0; i < 8; i++)
			check_page(t, next(t) % PAGES);
		switch (next(t) % 16) {
		case 0:
			child(t);
			break;
		case 1: case 2: case 3:
			protect(t, page, count);
			break;
		case 4: case 5: case 6:
			map_again(t, page, count);
			break;
		case 7:
			unmap(t, page, count);
			break;
		case 8: case 9:
			exchange(t, page, next(t) % PAGES);
			break;
		case 10:
			code(t);
			break;
		case 11:
			loops(t);
			break;
		case 12: case 13:
			across(t, page % (PAGES - 1));
			break;
		default:
			spin(t);
		}
		t->steps++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
	static struct thread threads[THREADS_MAX];
	const unsigned count = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
	uint64_t steps = 0;

	if (count < 1 || count > THREADS_MAX)
		return 2;
	sigaction(SIGSEGV, &action, NULL);
	for (unsigned i = 0; i < count; i++) {
		threads[i].number = i;
		threads[i].random = 2463534242u + i * 7919u + (uint32_t)time(NULL);
		if (pthread_create(&threads[i].id, NULL, run, &threads[i]))
			return 2;
	}
	sleep((unsigned)atoi(argv[1]));
	finish = 1;
	for (unsigned i = 0; i < count; i++) {
		pthread_join(threads[i].id, NULL);
		steps += threads[i].steps;
	}
	printf("spaces ok %llu\n", (unsigned long long)steps);
	return 0;
}
