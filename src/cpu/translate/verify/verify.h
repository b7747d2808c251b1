/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verify=on: every run of translated code is executed by an interpreter as well, and compared.
 *
 * Translated code goes first, on the machine itself, from one block until something leads out of it; `poll` is set, so
 * that this is at the next head that looks at it. Pages it is about to write are copied before. Then a bare
 * interpreter, the shadow, starts from the same registers and sees the same memory: the copies where there are any, RAM
 * elsewhere, and what it writes goes to copies alone. It has no devices. When it has come to the same rip, registers
 * are compared, and the copies with RAM. What acts on devices or asks for the time is never inside such a run:
 * translated code calls C for it, and there the run ends.
 *
 * With a number in place of `on` a block is trusted when it was run that often: it runs as ever, and may be jumped to.
 *
 * Not compared: status flags that nobody reads (see "Not exact" in docs/design/translate.md) or that are undefined,
 * accessed and dirty bits.
 */
#ifndef XUNI_CPU_TRANSLATE_VERIFY_VERIFY_H
#define XUNI_CPU_TRANSLATE_VERIFY_VERIFY_H

#include "cpu/translate/translator.h"

enum { VERIFY_PAGES = 256, VERIFY_WRITES = 1024, VERIFY_BYTES = 32, VERIFY_LIVE_BITS = 12, VERIFY_STEPS = 8192 };

/* A page that one of the two wrote. */
struct verify_page {
	uint64_t gpa;
	uint8_t *hva, *copy;
	bool translated, interpreted; /* who wrote */
};

struct verify {
	struct translator *t;
	struct verify_turns *turns;
	uint32_t most; /* runs of a block that are compared */
	struct x86_cpu *shadow;
	struct log quiet;
	struct bus *io, *memory; /* the shadow's: nothing is there */
	bool running;            /* translated code is; pages it writes are copied */
	bool unwatched;          /* there were more pages than can be copied: this run is not compared */
	uint64_t foreign_writes; /* before the run */
	struct x86_state before;
	uint64_t before_view; /* X86_VIEW_*, for the report */
	uint32_t block;       /* number of the one that was entered */
	struct verify_page pages[VERIFY_PAGES];
	unsigned page_count;
	uint8_t *copies;
	/* Pages by linear address that the CPU may have got the right to write since the last run. */
	uint64_t writes[VERIFY_WRITES];
	unsigned write_count;
	jmp_buf fault_exit;
	/* Status flags that code may read, by its linear address; forgotten when any code changes. */
	struct verify_live {
		uint64_t linear; /* + 1; 0: none */
		uint16_t key, flags;
	} live[1 << VERIFY_LIVE_BITS];
	/* The shadow's account when it parts from translated code: as it was at the same rip first, or when it gave up.
	 */
	struct x86_state interpreted;
	struct verify_byte {
		uint64_t gpa;
		uint8_t translated, interpreted;
	} bytes[VERIFY_BYTES];
	unsigned byte_count, parted_pages;
	bool met;  /* it was */
	int fault; /* vector of the exception that it raised, -1: none */
	unsigned steps;
	unsigned parted;             /* steps until then */
	uint64_t path[VERIFY_STEPS]; /* where the shadow was before each step */
	unsigned disturbed;          /* runs in a row */
	uint64_t runs, inconclusive;
	bool failed;
};

/* --- verify/turns.c: one for a machine --- */
struct verify_turns *verify_turns_new(struct ram *ram);
void verify_turns_free(struct verify_turns *turns);
/* Around everything that a vCPU's thread does with guest memory. */
void verify_turn_begin(struct verify_turns *turns, struct vcpu *vcpu);
void verify_turn_end(struct verify_turns *turns);
/* In a turn, between two instructions: lets the others have theirs when it has lasted long enough. */
void verify_turn_yield(struct verify_turns *turns);
/* How often something else than the vCPU whose turn it is wrote to memory. */
uint64_t verify_foreign_writes(const struct verify_turns *turns);
/* True when that happened since there were `before` of them. Waits for those that are not yet known of. */
bool verify_disturbed(const struct verify_turns *turns, uint64_t before);

/* --- verify.c --- */

/* NULL with *err. */
struct verify *verify_new(struct translator *t, struct error *err);
void verify_free(struct verify *v);
/* False: block was compared often enough. */
static inline bool verify_wants(const struct verify *v, const struct block *block)
{
	return block->verified < v->most;
}
/* Jumps may lead straight to it. Not when it could then be run without verify_run, which has translated code stop at
 * heads. */
static inline bool verify_lets_jump(const struct verify *v, const struct block *block)
{
	return v->most == UINT32_MAX || !verify_wants(v, block);
}
/* Runs translated code from the start of block, and calls that it makes, until it leaves. *failed: it did something
 * else than the interpreter, which has been said. */
const struct site *verify_run(struct verify *v, struct block *block, bool *failed);

/* Code was written to. */
void verify_forget(struct verify *v);

/* --- verify/flags.c --- */
/* Status flags that the code at s.rip may read. */
uint32_t verify_flags_live(struct verify *v);
/* Those that the shadow's first steps left undefined. *read (or NULL): one of them used some of those. */
uint32_t verify_flags_undefined(const struct verify *v, unsigned steps, bool *read);

/* verify/report.c: says what differs, to people. */
void verify_report(const struct verify *v);
/* True when registers are the same; what does not matter is made the same in the shadow. */
bool verify_same_registers(struct verify *v);

#endif
