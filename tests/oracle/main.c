/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oracle: compares the interpreter with the host CPU on random instructions.
 *
 *   oracle [--seconds N] [--count N] [--seed N] [--case SEED] [--bytes HEX] [--mode BITS] [--mnemonic NAME]
 * [--coverage]
 *          [--show N] [--engine interp|translate|verify] [--tail 0|1] [--segmented 0|1]
 *
 * A translator's difference that the interpreter shows as well is the interpreter's: it is counted, but no failure.
 *
 * --tail 1 puts a comparison behind the instruction: its flags are dead, which a translator makes use of.
 *
 * Rarely met mnemonics are preferred, so that all of them get their share. A child process runs batches of cases on
 * the host; should a case kill it, that is reported and the rest of the batch goes to another child.
 */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 128

struct batch {
	volatile unsigned done; /* cases the child has finished */
	unsigned count;
	struct oracle_case cases[BATCH];
};

struct run {
	struct guest *guest;
	struct guest *reference; /* an interpreter beside a translator */
	struct batch *batch;
	uint64_t seed, next, limit, ran, mismatches, shared, killed;
	unsigned show, mode;
	bool ldt, tail, segmented;
	bool compatibility, any_rsp; /* what the host's kernel goes to (host_runs) */
	const char *mnemonic;
	const uint8_t *bytes;
	unsigned length;
	uint32_t seen[ZYDIS_MNEMONIC_MAX_VALUE + 1], wrong[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	uint32_t faults[ZYDIS_MNEMONIC_MAX_VALUE + 1];
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Common ones are skipped more often the oftener they came. */
static bool wanted(struct run *run, const struct oracle_case *c, struct oracle_random *r)
{
	const uint32_t seen = run->seen[c->instruction.mnemonic];
	const uint64_t share = run->ran / 1000 + 20;

	if (run->mnemonic)
		return !strcmp(ZydisMnemonicGetString(c->instruction.mnemonic), run->mnemonic);
	return run->bytes || seen < share || random_below(r, seen) < share / 8;
}

/* Where the host cannot run this mode: a translator is compared with the interpreter at least. */
static bool interpreter_is_oracle(const struct run *run)
{
	return run->reference && run->mode && run->mode != 64 && !run->compatibility;
}

static bool next_case(struct run *run, struct oracle_case *c)
{
	for (unsigned tries = 0; tries < 2000000; tries++) {
		struct oracle_random r = {run->seed + run->next++};
		const uint64_t case_seed = random_next(&r);

		if (!generate_case(c, case_seed, run->mode, run->segmented, run->bytes, run->length) ||
		    (c->in.segmented && !run->ldt) || (c->in.mode != 64 && !run->compatibility && !interpreter_is_oracle(run)) || !guest_offers(run->guest, c->instruction.meta.isa_set) ||
		    !wanted(run, c, &r))
			continue;
		run->seen[c->instruction.mnemonic]++;
		return true;
	}
	return false;
}

static void finish_case(const struct run *run, struct oracle_case *c)
{
	static const uint8_t compare[] = {0x3d, 1, 2, 3, 4}; /* cmp eax, 0x04030201 */
	struct oracle_random r = {c->seed ^ 0x6f7261636c65ull};

	generate_operands(c, &r);
	if (!run->any_rsp)
		c->in.regs.gpr[4] = (uint64_t)((int64_t)(c->in.regs.gpr[4] << 16) >> 16);
	if (run->tail && c->offset + c->length + sizeof(compare) <= ORACLE_PAGE)
		memcpy(c->in.memory.code + c->offset + c->length, compare, sizeof(compare));
}

static void run_on_host(struct batch *batch)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		host_setup();
		while (batch->done < batch->count) {
			host_run(&batch->cases[batch->done].in, &batch->cases[batch->done].host);
			batch->done++;
		}
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("oracle: child");
		exit(2);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		exit(2);
}

/* As guest_run has them from a translator: of a faulting instruction they do not count. */
static void forget_flags(struct oracle_state *out, const struct oracle_state *in)
{
	if (out->vector != 3)
		out->regs.rflags = (out->regs.rflags & ~0x8d5ull) | (in->regs.rflags & 0x8d5);
}

/* In place of the host. */
static void ask_interpreter(struct run *run, struct oracle_case *c)
{
	guest_run(run->reference, &c->in, &c->host);
	forget_flags(&c->host, &c->in);
}

static bool interpreter_agrees(struct run *run, const struct oracle_case *c)
{
	static struct oracle_case other;

	if (!run->reference)
		return false;
	other = *c;
	ask_interpreter(run, &other);
	return compare_case(&other, false);
}

static void compare_one(struct run *run, struct oracle_case *c)
{
	uint32_t *wrong = &run->wrong[c->instruction.mnemonic];

	guest_run(run->guest, &c->in, &c->guest);
	run->ran++;
	run->faults[c->instruction.mnemonic] += c->host.vector != 3;
	if (compare_case(c, false))
		return;
	if (interpreter_agrees(run, c)) {
		run->shared++;
		return;
	}
	(void)compare_case(c, *wrong < run->show);
	++*wrong;
	run->mismatches++;
}

/* False when no more cases can be made. */
static bool run_batch(struct run *run)
{
	struct batch *batch = run->batch;

	batch->count = batch->done = 0;
	while (batch->count < BATCH && run->ran + batch->count < run->limit &&
	       next_case(run, &batch->cases[batch->count])) {
		finish_case(run, &batch->cases[batch->count]);
		batch->count += !filter_refuses_addresses(&batch->cases[batch->count]);
	}
	if (!batch->count)
		return false;
	for (; interpreter_is_oracle(run) && batch->done < batch->count; batch->done++) {
		ask_interpreter(run, &batch->cases[batch->done]);
		compare_one(run, &batch->cases[batch->done]);
	}
	while (batch->done < batch->count) {
		unsigned before = batch->done;

		run_on_host(batch);
		for (unsigned i = before; i < batch->done; i++)
			compare_one(run, &batch->cases[i]);
		if (batch->done < batch->count) {
			struct oracle_case *c = &batch->cases[batch->done++];

			printf("KILLED the test process: seed 0x%016llx %s\n", (unsigned long long)c->seed,
			       ZydisMnemonicGetString(c->instruction.mnemonic));
			run->killed++;
		}
	}
	return true;
}

static void print_coverage(const struct run *run)
{
	unsigned forms = 0;

	for (unsigned i = 0; i <= ZYDIS_MNEMONIC_MAX_VALUE; i++) {
		if (!run->seen[i])
			continue;
		printf("%s%-14s %6u%s", forms % 5 ? "  " : "", ZydisMnemonicGetString((ZydisMnemonic)i), run->seen[i],
		       forms % 5 == 4 ? "\n" : "");
		forms++;
	}
	printf("\n");
}

static void print_wrong(const struct run *run)
{
	for (unsigned i = 0; i <= ZYDIS_MNEMONIC_MAX_VALUE; i++)
		if (run->wrong[i])
			printf("WRONG %-14s %u of %u\n", ZydisMnemonicGetString((ZydisMnemonic)i), run->wrong[i],
			       run->seen[i]);
}

static unsigned count_seen(const struct run *run)
{
	unsigned count = 0;

	for (unsigned i = 0; i <= ZYDIS_MNEMONIC_MAX_VALUE; i++)
		count += run->seen[i] != 0;
	return count;
}

static unsigned parse_hex(const char *text, uint8_t *to, unsigned max)
{
	unsigned n = 0, value;

	while (n < max && sscanf(text + 2 * n, "%2x", &value) == 1 && text[2 * n])
		to[n++] = (uint8_t)value;
	return n;
}

static int usage(void)
{
	fprintf(stderr, "usage: oracle [--seconds N] [--count N] [--seed N] [--case SEED] [--bytes HEX] [--mode BITS] "
			"[--mnemonic NAME] "
			"[--coverage] [--show N] [--engine interp|translate|verify] [--tail 0|1] [--segmented 0|1]\n");
	return 2;
}

/* One case by its seed, as a mismatch prints it. */
static int run_one(struct run *run, uint64_t seed)
{
	struct oracle_case *c = &run->batch->cases[0];

	if (!generate_case(c, seed, run->mode, run->segmented, run->bytes, run->length)) {
		fprintf(stderr, "oracle: this seed makes no valid case\n");
		return 2;
	}
	finish_case(run, c);
	run->batch->count = 1;
	if (interpreter_is_oracle(run))
		ask_interpreter(run, c);
	else
		run_on_host(run->batch);
	run->show = 1;
	compare_one(run, c);
	printf("host vector %u, interp vector %u: %s\n", c->host.vector, c->guest.vector,
	       run->mismatches ? "they differ" : "they agree");
	return run->mismatches != 0;
}

int main(int argc, char **argv)
{
	static struct run run = {.limit = UINT64_MAX, .show = 2};
	uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
	uint64_t one = 0;
	double seconds = 15, end;
	bool coverage = false, single = false;
	enum oracle_engine engine = ORACLE_INTERP;

	run.seed = 1;
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(argv[i], "--coverage")) {
			coverage = true;
			continue;
		}
		if (!value)
			return usage();
		if (!strcmp(argv[i], "--seconds"))
			seconds = atof(value);
		else if (!strcmp(argv[i], "--count"))
			run.limit = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--seed"))
			run.seed = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--show"))
			run.show = (unsigned)strtoul(value, NULL, 0);
		else if (!strcmp(argv[i], "--engine"))
			engine = !strcmp(value, "translate") ? ORACLE_TRANSLATE : !strcmp(value, "verify") ? ORACLE_VERIFY : ORACLE_INTERP;
		else if (!strcmp(argv[i], "--tail"))
			run.tail = atoi(value);
		else if (!strcmp(argv[i], "--mode"))
			run.mode = (unsigned)strtoul(value, NULL, 0);
		else if (!strcmp(argv[i], "--segmented"))
			run.segmented = atoi(value);
		else if (!strcmp(argv[i], "--mnemonic"))
			run.mnemonic = value;
		else if (!strcmp(argv[i], "--bytes"))
			run.bytes = bytes, run.length = parse_hex(value, bytes, sizeof(bytes));
		else if (!strcmp(argv[i], "--case"))
			single = true, one = strtoull(value, NULL, 0);
		else
			return usage();
		i++;
	}
	if (!__builtin_cpu_supports("avx")) {
		printf("SKIPPED: the oracle needs a host with AVX\n");
		return 77;
	}
	run.ldt = host_has_ldt();
	if (!run.ldt)
		printf("SKIPPED: segmented code: this kernel has no modify_ldt\n");
	run.compatibility = host_runs(32, ORACLE_STACK);
	run.any_rsp = host_runs(64, 1ull << 62);
	if (!run.compatibility)
		printf("SKIPPED: 32-bit and 16-bit code on the host, whose kernel cannot go to it\n");
	if (!run.any_rsp)
		printf("SKIPPED: cases whose RSP is not canonical: the host's kernel cannot go to them\n");
	if (!run.compatibility && run.mode && run.mode != 64 && engine == ORACLE_INTERP)
		return 77;
	setvbuf(stdout, NULL, _IOLBF, 0);
	run.batch = mmap(NULL, sizeof(*run.batch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.batch == MAP_FAILED)
		return 2;
	run.guest = guest_new(engine);
	run.reference = engine != ORACLE_INTERP ? guest_new(ORACLE_INTERP) : NULL;
	if (single)
		return run_one(&run, one);
	if (interpreter_is_oracle(&run))
		printf("oracle: the interpreter\n");
	printf("oracle: seed %llu\n", (unsigned long long)run.seed);
	end = now() + seconds;
	run.seed *= 0x2545f4914f6cdd1dull;
	while (now() < end && run.ran < run.limit && run_batch(&run))
		;
	if (coverage)
		print_coverage(&run);
	print_wrong(&run);
	printf("oracle: %llu cases of %u mnemonics, %llu mismatches, %llu killed the test process\n",
	       (unsigned long long)run.ran, count_seen(&run), (unsigned long long)run.mismatches,
	       (unsigned long long)run.killed);
	if (run.reference)
		printf("oracle: %llu more that the interpreter shares\n", (unsigned long long)run.shared);
	return run.mismatches || run.killed;
}
