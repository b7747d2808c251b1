/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of translated code: regions that are emptied to make room, and memory that is never writable and executable. */
#include "core/jit.h"
#include "cpu/interp/test_guest.h"
#include "cpu/translate/cache/cache.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* One CPU with as little room as there is. */
static void small_guest(struct guest *guest)
{
	guest_init_tuned(guest, &translate_engine, 1, NULL, false, &(struct engine_tuning){ .code_bytes = 1 });
	guest_mode(guest, 0, X86_CODE64);
}

static void run_from(struct guest *guest, uint64_t rip, struct x86_state *state)
{
	struct vcpu *vcpu = &guest->cpu[0]->vcpu;
	struct error err = { 0 };

	translate_engine.get_state(vcpu, state);
	state->rip = rip;
	state->mp_state = X86_MP_RUNNING;
	translate_engine.set_state(vcpu, state);
	assert_int_equal(translate_engine.run(vcpu, &err), VCPU_HALTED);
	translate_engine.get_state(vcpu, state);
}

/* Many short functions, called one after the other in rounds: more code than there is room for. Each round must count
 * every one of them, whatever was evicted meanwhile, and calls and returns lead from one region into another. */
static void test_evicts(void **unused)
{
	enum { FUNCTIONS = 24000, BYTES = 16, ROUNDS = 3 };
	static const uint64_t code = 0x400000;
	static const uint8_t function[] = { 0x83, 0xc0, 0x01, 0x01, 0x03, 0xc3 }; /* add eax, 1; add [rbx], eax; ret */
	/* next: lea rdx, [rdx + BYTES]; call rdx; cmp rdx, rsi; jne next; dec ecx; jne round; hlt */
	static const uint8_t caller[] = { 0x48, 0x89, 0xfa, 0x48, 0x83, 0xc2, BYTES, 0xff, 0xd2, 0x48, 0x39, 0xf2, 0x75, 0xf5,
		                          0xff, 0xc9, 0x75, 0xee, 0xf4 };
	struct jit_report *report = calloc(1, sizeof(*report));
	struct x86_state state;
	struct guest guest;

	small_guest(&guest);
	for (unsigned i = 0; i < FUNCTIONS; i++)
		guest_code(&guest, code + i * BYTES, function, sizeof(function));
	guest_code(&guest, GUEST_CODE, caller, sizeof(caller));
	translate_engine.get_state(&guest.cpu[0]->vcpu, &state);
	state.gpr[RCX] = ROUNDS;
	state.gpr[RAX] = 0;
	state.gpr[RBX] = GUEST_DATA;
	state.gpr[RDI] = code - BYTES;
	state.gpr[RSI] = code + (FUNCTIONS - 1) * BYTES;
	translate_engine.set_state(&guest.cpu[0]->vcpu, &state);
	run_from(&guest, GUEST_CODE, &state);
	assert_int_equal(state.gpr[RAX], FUNCTIONS * ROUNDS);
	report_jit(&guest.cpu[0]->vcpu, report);
	assert_true(report->n[JIT_EVICTIONS] > REGIONS);
	assert_true(report->n[JIT_EVICTED] > FUNCTIONS);
	assert_int_equal(report->n[JIT_TRANSLATED], report->n[JIT_BLOCKS] + report->n[JIT_EVICTED] + report->n[JIT_INVALIDATIONS]);
	assert_true(report->n[JIT_CODE_BYTES] + report->n[JIT_TABLE_BYTES] <= 6 * MIB);
	free(report);
	guest_fini(&guest);
}

/* As little room as there is still holds blocks, and loops, which are lowered more than once, waste none of it. */
static void test_little_room(void **unused)
{
	enum { FUNCTIONS = 64, BYTES = 32 };
	static const uint64_t code = 0x400000;
	/* next: add eax, [rbx]; inc rsi; dec edi; jnz next; hlt */
	static const uint8_t loop[] = { 0x03, 0x03, 0x48, 0xff, 0xc6, 0xff, 0xcf, 0x75, 0xf7, 0xf4 };
	struct x86_state state;
	struct translator *t;
	struct guest guest;

	small_guest(&guest);
	t = translator_of(guest.cpu[0]);
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		uint32_t sites = t->site_count, windows = t->window_count;

		translate_engine.get_state(&guest.cpu[0]->vcpu, &state);
		state.gpr[RBX] = GUEST_DATA;
		state.gpr[RDI] = 3;
		translate_engine.set_state(&guest.cpu[0]->vcpu, &state);
		guest_code(&guest, code + i * BYTES, loop, sizeof(loop));
		run_from(&guest, code + i * BYTES, &state);
		assert_int_equal(t->region, 0);
		assert_true(t->site_count > sites);
		assert_in_range(t->window_count - windows, 1, 2); /* one access, in two forms at most */
	}
	guest_fini(&guest);
}

/* Each link is on the list of the block it leads to, and neither of its blocks is dead. All is in the first region. */
static void assert_links(const struct translator *t)
{
	unsigned listed = 0, linked = 0;

	assert_int_equal(t->region, 0);
	for (uint32_t number = 1; number < t->block_count; number++) {
		uint32_t before = 0;

		for (uint32_t link = t->blocks[number].links_in; link; link = t->sites[link].next_link) {
			assert_int_equal(t->sites[link].linked, number);
			assert_int_equal(t->sites[link].prev_link, before);
			assert_false(t->blocks[number].dead || t->blocks[t->sites[link].block].dead);
			before = link;
			listed++;
		}
	}
	for (uint32_t i = 1; i < t->site_count; i++)
		linked += t->sites[i].kind == SITE_LINK && t->sites[i].linked;
	assert_int_equal(listed, linked);
}

#define DETOUR (GUEST_CODE + 0x1000)
#define OTHER  (DETOUR + 0x40) /* another one */

/* 1000 rounds of a block whose indirect branch goes to `target`: to itself, or to a detour, which comes back to it. */
static void run_rounds(struct guest *guest, uint64_t target, unsigned each)
{
	enum { ROUNDS = 1000 };
	struct translator *t = translator_of(guest->cpu[0]);
	const uint64_t *exits = t->statistics.exits;
	uint64_t before = exits[SITE_INDIRECT] + exits[SITE_LINK];
	struct x86_state state;

	translate_engine.get_state(&guest->cpu[0]->vcpu, &state);
	state.gpr[RAX] = target;
	state.gpr[RDX] = GUEST_CODE;
	state.gpr[RBX] = state.gpr[RSI] = 0;
	state.gpr[RCX] = ROUNDS;
	translate_engine.set_state(&guest->cpu[0]->vcpu, &state);
	run_from(guest, GUEST_CODE, &state);
	assert_int_equal(state.gpr[RBX], ROUNDS);
	assert_int_equal(state.gpr[RSI], target == GUEST_CODE ? 0 : (ROUNDS - 1) * each);
	assert_in_range(exits[SITE_INDIRECT] + exits[SITE_LINK] - before, 0, 100); /* the detour is interpreted at first */
	assert_links(t);
}

/* The links of indirect branches, in whichever order they are made and their blocks go. */
static void test_indirect_links(void **unused)
{
	static const enum x86_code_mode modes[] = { X86_CODE64, X86_CODE32 };
	/* add ebx, 1; dec ecx; jz hlt; jmp rax; hlt */
	static const uint8_t code[] = { 0x83, 0xc3, 0x01, 0xff, 0xc9, 0x74, 0x02, 0xff, 0xe0, 0xf4 };
	uint8_t detour[] = { 0x83, 0xc6, 0x01, 0xff, 0xe2 }; /* add esi, 1; jmp rdx */
	struct guest guest;

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		guest_init_engine(&guest, &translate_engine, 1, NULL, false);
		guest_mode(&guest, 0, modes[i]);
		detour[2] = 1;
		guest_code(&guest, GUEST_CODE, code, sizeof(code));
		guest_code(&guest, DETOUR, detour, sizeof(detour));
		run_rounds(&guest, GUEST_CODE, 1); /* a block linked to itself, as it is before it is asked where it goes */
		run_rounds(&guest, DETOUR, 1);     /* not where it went first */
		run_rounds(&guest, GUEST_CODE, 1);
		ram_written(guest.ram, GUEST_CODE, 1); /* it goes, and takes the links at both its ends with it */
		run_rounds(&guest, DETOUR, 1); /* the new one is linked to the other page */
		run_rounds(&guest, GUEST_CODE, 1);
		detour[2] = 5;
		guest_code(&guest, OTHER, detour, sizeof(detour));
		detour[2] = 3;
		guest_code(&guest, DETOUR, detour, sizeof(detour));
		ram_written(guest.ram, DETOUR, 1); /* where the link leads to goes; it stays one to there */
		run_rounds(&guest, OTHER, 5);
		run_rounds(&guest, DETOUR, 3);
		ram_written(guest.ram, GUEST_CODE, 1);
		ram_written(guest.ram, DETOUR, 1);
		run_rounds(&guest, GUEST_CODE, 3);
		run_rounds(&guest, DETOUR, 3);
		code_flush(translator_of(guest.cpu[0]));
		run_rounds(&guest, DETOUR, 3);
		guest_fini(&guest);
	}
}

/* Where an indirect branch leaves, in each of the ways, all registers are what the code in front of it made of them. */
static void test_indirect_branch_leaves(void **unused)
{
	/* mov r8d, 8; mov r9d, 9; mov r10d, 10; mov r11d, 11; jmp rax */
	static const uint8_t code[] = { 0x41, 0xb8, 8, 0, 0, 0, 0x41, 0xb9, 9, 0, 0, 0, 0x41, 0xba, 10, 0, 0, 0, 0x41, 0xbb, 11, 0, 0, 0, 0xff, 0xe0 };
	static const uint8_t stop[] = { 0xff, 0xc3, 0xf4 }; /* inc ebx; hlt */
	static const struct {
		uint64_t target;
		unsigned exits;
	} runs[] = {
		{ DETOUR, 1 }, /* C has not been asked yet */
		{ DETOUR, 0 }, /* linked */
		{ OTHER, 1 },  /* not in the table */
		{ OTHER, 0 },
		{ DETOUR, 0 },
	};
	struct translator *t;
	struct x86_state state;
	struct guest guest;

	guest_init_engine(&guest, &translate_engine, 1, NULL, false);
	guest_mode(&guest, 0, X86_CODE64);
	guest_code(&guest, GUEST_CODE, code, sizeof(code));
	guest_code(&guest, DETOUR, stop, sizeof(stop));
	guest_code(&guest, OTHER, stop, sizeof(stop));
	t = translator_of(guest.cpu[0]);
	for (unsigned i = 0; i < ARRAY_SIZE(runs); i++) {
		uint64_t before = t->statistics.exits[SITE_INDIRECT];

		translate_engine.get_state(&guest.cpu[0]->vcpu, &state);
		memset(&state.gpr[8], 0, 4 * sizeof(state.gpr[0]));
		state.gpr[RAX] = runs[i].target;
		translate_engine.set_state(&guest.cpu[0]->vcpu, &state);
		run_from(&guest, GUEST_CODE, &state);
		for (unsigned reg = 8; reg < 12; reg++)
			assert_int_equal(state.gpr[reg], reg);
		assert_int_equal(t->statistics.exits[SITE_INDIRECT] - before, runs[i].exits);
	}
	guest_fini(&guest);
}

/* The table of pages is cleared of those without blocks when it is nearly full. */
static void test_page_table_is_purged(void **unused)
{
	enum { PAGES = 3000, ROUNDS = 4 };
	static const uint64_t code = 0x400000;
	uint8_t jump[] = { 0xff, 0xc0, 0xe9, 0xf9, 0x0f, 0x00, 0x00 }; /* inc eax; jmp to the next page */
	static const uint8_t hlt = 0xf4;
	struct translator *t;
	struct x86_state state;
	struct guest guest;

	small_guest(&guest);
	t = translator_of(guest.cpu[0]);
	for (unsigned i = 0; i < PAGES; i++)
		guest_code(&guest, code + i * PAGE_SIZE, jump, sizeof(jump));
	guest_code(&guest, code + PAGES * PAGE_SIZE, &hlt, 1);
	for (unsigned round = 0; round < ROUNDS; round++) {
		run_from(&guest, code, &state);
		assert_int_equal(state.gpr[RAX], PAGES * (round + 1));
		assert_in_range(t->page_count, PAGES, PAGES + 1);
		/* Half of the code is written to: those pages' entries stay, empty, until the next block. */
		ram_written(guest.ram, code, PAGES / 2 * PAGE_SIZE);
		t->page_count = 1 << PAGE_HASH_BITS;
	}
	guest_fini(&guest);
}

struct flipper {
	uint32_t *word;
	_Atomic bool stop;
};

enum { MOVE = 0xf4c08948, LOAD = 0xf4008b48 }; /* mov rax, rax; hlt. mov rax, [rax]; hlt */

static void *flip(void *opaque)
{
	struct flipper *flipper = opaque;

	while (!atomic_load_explicit(&flipper->stop, memory_order_relaxed))
		__asm__ volatile("movl %1, %0; movl %2, %0" : "=m"(*flipper->word) : "r"(MOVE), "r"(LOAD));
	return NULL;
}

/* A device writes to code while it is translated: what was found to have no memory operand must not be copied as one that has, which
 * would be an access to the host's memory. */
static void test_code_that_changes_meanwhile(void **unused)
{
	enum { ROUNDS = 5000 };
	struct flipper flipper = {0};
	struct x86_state state;
	struct guest guest;
	pthread_t thread;

	small_guest(&guest);
	flipper.word = ram_hva(guest.ram, GUEST_CODE, sizeof(*flipper.word));
	*flipper.word = MOVE;
	assert_int_equal(pthread_create(&thread, NULL, flip, &flipper), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		translate_engine.get_state(&guest.cpu[0]->vcpu, &state);
		state.gpr[RAX] = GUEST_DATA;
		translate_engine.set_state(&guest.cpu[0]->vcpu, &state);
		code_flush(translator_of(guest.cpu[0]));
		run_from(&guest, GUEST_CODE, &state);
		assert_true(state.gpr[RAX] == GUEST_DATA || !state.gpr[RAX]);
	}
	atomic_store(&flipper.stop, true);
	pthread_join(thread, NULL);
	guest_fini(&guest);
}

/* No mapping of the process may be written and executed, whatever is in it. */
static void test_writable_or_executable(void **unused)
{
	const struct translator *t;
	struct guest guest;
	unsigned translated = 0;
	char line[512];
	FILE *maps;

	small_guest(&guest);
	t = translator_of(guest.cpu[0]);
	maps = fopen("/proc/self/maps", "r");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		char rights[5] = "";
		uint64_t start;

		assert_int_equal(sscanf(line, "%" SCNx64 "-%*x %4s", &start, rights), 2);
		if (rights[1] == 'w' && rights[2] == 'x')
			fail_msg("writable and executable: %s", line);
		translated += start == (uintptr_t)t->exec_base || start == (uintptr_t)t->write_base;
	}
	assert_int_equal(translated, 2); /* the two views of the cache were seen */
	fclose(maps);
	guest_fini(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_evicts),
		cmocka_unit_test(test_little_room),
		cmocka_unit_test(test_indirect_links),
		cmocka_unit_test(test_indirect_branch_leaves),
		cmocka_unit_test(test_page_table_is_purged),
		cmocka_unit_test(test_code_that_changes_meanwhile),
		cmocka_unit_test(test_writable_or_executable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
