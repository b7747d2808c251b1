/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arena of native routines: placing, sharing of equal ones, and host exceptions inside them.
 *
 * A routine's code is position-independent and depends on the instruction alone, so equal routines are kept once. An
 * unmasked floating-point exception or a division error arrives as SIGFPE at the instruction; the handler looks up the
 * routine's fault exit by the address and continues there with the vector in EAX. It reads only what was written before
 * the routine was published, takes no lock and works in any thread that does not block SIGFPE.
 */
#include "cpu/interp/native_impl.h"

#include "base/util.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

/* Signal handlers get no argument of ours: the arenas they search must be reachable from a static. Its entries are
 * only ever set and cleared as a whole. */
#define MAX_ARENAS 64
static _Atomic(struct native_arena *) arenas[MAX_ARENAS];
static struct sigaction previous_sigfpe;
static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;

struct native_arena {
	uint8_t *write_base; /* the same memory, mapped writable here ... */
	uint8_t *exec_base;  /* ... and executable here */
	size_t bytes;
	uint32_t *fault_exits; /* by unit: the routine's fault exit as an offset into the arena, 0: none */
	pthread_mutex_t lock;  /* of what follows */
	size_t used;
	uint32_t *table;   /* hash table: 1 + unit where a routine begins, 0: free */
	uint16_t *lengths; /* by unit: bytes of the routine that begins there */
	size_t table_mask;
	bool host_has[ZYDIS_ISA_SET_MAX_VALUE + 1];
};

static struct native_arena *find_arena(uintptr_t host_pc)
{
	for (unsigned i = 0; i < MAX_ARENAS; i++) {
		struct native_arena *arena = atomic_load_explicit(&arenas[i], memory_order_acquire);

		if (arena && host_pc - (uintptr_t)arena->exec_base < arena->bytes)
			return arena;
	}
	return NULL;
}

static void on_sigfpe(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	const uintptr_t host_pc = (uintptr_t)registers[REG_RIP];
	const struct native_arena *arena = find_arena(host_pc);
	uint32_t fault_exit = 0;

	if (arena)
		fault_exit = arena->fault_exits[(host_pc - (uintptr_t)arena->exec_base) / NATIVE_UNIT];
	if (fault_exit) {
		registers[REG_RAX] = registers[REG_TRAPNO];
		registers[REG_RIP] = (greg_t)(uintptr_t)(arena->exec_base + fault_exit);
		return;
	}
	if (previous_sigfpe.sa_flags & (int)SA_RESETHAND) /* it counts on the default when it raises the signal again */
		sigaction(SIGFPE, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
	if (previous_sigfpe.sa_flags & SA_SIGINFO)
		previous_sigfpe.sa_sigaction(signal, info, context);
	else if (previous_sigfpe.sa_handler != SIG_DFL && previous_sigfpe.sa_handler != SIG_IGN)
		previous_sigfpe.sa_handler(signal);
	else
		sigaction(SIGFPE, &previous_sigfpe, NULL); /* the instruction repeats and has its default effect */
}

/* Also when somebody else's handler has taken the place of ours since. */
static void install_handler(void)
{
	struct sigaction action = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_ONSTACK}, current;

	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&handler_lock);
	sigaction(SIGFPE, NULL, &current);
	if (!(current.sa_flags & SA_SIGINFO) || current.sa_sigaction != on_sigfpe) {
		previous_sigfpe = current;
		sigaction(SIGFPE, &action, NULL);
	}
	pthread_mutex_unlock(&handler_lock);
}

static int map_twice(struct native_arena *arena, struct error *err)
{
	int fd = memfd_create("xuni-native", MFD_CLOEXEC);
	int result = 0;

	if (fd < 0)
		return error_set_errno(err, errno, "memory for native routines");
	if (ftruncate(fd, (off_t)arena->bytes) < 0) {
		result = error_set_errno(err, errno, "memory for native routines");
		goto out;
	}
	arena->write_base = mmap(NULL, arena->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (arena->write_base == MAP_FAILED) {
		arena->write_base = NULL;
		result = error_set_errno(err, errno, "mapping memory for native routines");
		goto out;
	}
	arena->exec_base = mmap(NULL, arena->bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (arena->exec_base == MAP_FAILED) {
		arena->exec_base = NULL;
		result = error_set_errno(err, errno, "mapping executable memory for native routines");
	}
out:
	close(fd);
	return result;
}

static bool announce(struct native_arena *arena)
{
	for (unsigned i = 0; i < MAX_ARENAS; i++) {
		struct native_arena *expected = NULL;

		if (atomic_compare_exchange_strong(&arenas[i], &expected, arena))
			return true;
	}
	return false;
}

struct native_arena *native_arena_new(size_t bytes, struct error *err)
{
	struct native_arena *arena = xcalloc(1, sizeof(*arena));
	size_t units;

	pthread_mutex_init(&arena->lock, NULL);
	arena->bytes = align_up(max_u64(bytes, 2 * NATIVE_ROUTINE_BYTES), 4096);
	units = arena->bytes / NATIVE_UNIT;
	if (map_twice(arena, err) < 0) {
		native_arena_free(arena);
		return NULL;
	}
	arena->table_mask = 1;
	while (arena->table_mask < 2 * units)
		arena->table_mask *= 2;
	arena->table = xcalloc(arena->table_mask--, sizeof(*arena->table));
	arena->fault_exits = xcalloc(units, sizeof(*arena->fault_exits));
	arena->lengths = xcalloc(units, sizeof(*arena->lengths));
	native_host_sets(arena->host_has);
	install_handler();
	if (!announce(arena)) {
		error_set(err, EBUSY, "more than %d arenas of native routines", MAX_ARENAS);
		native_arena_free(arena);
		return NULL;
	}
	return arena;
}

void native_arena_free(struct native_arena *arena)
{
	if (!arena)
		return;
	for (unsigned i = 0; i < MAX_ARENAS; i++) {
		struct native_arena *expected = arena;

		atomic_compare_exchange_strong(&arenas[i], &expected, NULL);
	}
	if (arena->write_base)
		munmap(arena->write_base, arena->bytes);
	if (arena->exec_base)
		munmap(arena->exec_base, arena->bytes);
	free(arena->table);
	free(arena->fault_exits);
	free(arena->lengths);
	pthread_mutex_destroy(&arena->lock);
	free(arena);
}

void native_arena_reset(struct native_arena *arena)
{
	pthread_mutex_lock(&arena->lock);
	memset(arena->table, 0, (arena->table_mask + 1) * sizeof(*arena->table));
	memset(arena->fault_exits, 0, arena->bytes / NATIVE_UNIT * sizeof(*arena->fault_exits));
	arena->used = 0;
	pthread_mutex_unlock(&arena->lock);
}

static size_t hash_bytes(const uint8_t *bytes, unsigned length)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

	for (unsigned i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
	return hash ^ hash >> 32;
}

/* The routine's place in the executable mapping: an equal one that exists, or a new one. NULL: full. Under the lock. */
static void *place(struct native_arena *arena, const uint8_t *code, unsigned length, unsigned fault_exit)
{
	const size_t units = (length + NATIVE_UNIT - 1) / NATIVE_UNIT, first = arena->used / NATIVE_UNIT;
	size_t slot = hash_bytes(code, length) & arena->table_mask;

	for (; arena->table[slot]; slot = (slot + 1) & arena->table_mask) {
		size_t unit = arena->table[slot] - 1;

		if (arena->lengths[unit] == length && !memcmp(arena->write_base + unit * NATIVE_UNIT, code, length))
			return arena->exec_base + unit * NATIVE_UNIT;
	}
	if (arena->used + units * NATIVE_UNIT > arena->bytes)
		return NULL;
	memcpy(arena->write_base + arena->used, code, length);
	for (size_t i = 0; i < units; i++)
		arena->fault_exits[first + i] = fault_exit ? (uint32_t)(arena->used + fault_exit) : 0;
	arena->lengths[first] = (uint16_t)length;
	arena->table[slot] = (uint32_t)first + 1;
	arena->used += units * NATIVE_UNIT;
	return arena->exec_base + first * NATIVE_UNIT;
}

static void clear_vectors(struct x86_state *state, unsigned count, unsigned from_byte)
{
	for (unsigned i = 0; i < count; i++)
		memset(state->fpu.vector[i] + from_byte, 0, sizeof(state->fpu.vector[i]) - from_byte);
}

static int run_vzeroall(struct x86_state *state, void *memory)
{
	clear_vectors(state, 16, 0);
	return 0;
}

static int run_vzeroupper(struct x86_state *state, void *memory)
{
	clear_vectors(state, 16, 16);
	return 0;
}

static int run_vzeroall_32(struct x86_state *state, void *memory)
{
	clear_vectors(state, 8, 0);
	return 0;
}

static int run_vzeroupper_32(struct x86_state *state, void *memory)
{
	clear_vectors(state, 8, 16);
	return 0;
}

/* st[] counts from the top of the stack, which becomes register 0. */
static int run_fninit(struct x86_state *state, void *memory)
{
	const unsigned top = state->fpu.fsw >> 11 & 7;
	uint8_t physical[8][16];

	for (unsigned i = 0; i < 8; i++)
		memcpy(physical[(top + i) & 7], state->fpu.st[i], sizeof(physical[0]));
	memcpy(state->fpu.st, physical, sizeof(physical));
	state->fpu.fcw = 0x37f;
	state->fpu.fsw = 0;
	state->fpu.ftw = 0;
	state->fpu.fop = 0;
	state->fpu.fip = state->fpu.fdp = 0;
	state->fpu.fcs = state->fpu.fds = 0;
	return 0;
}

static bool x87_pending(const struct x86_state *state)
{
	return state->fpu.fsw & 0x80;
}

/* ES and B follow from the exception flags and their masks. */
static void update_pending(struct x86_state *state)
{
	state->fpu.fsw &= 0x7f7f;
	if (state->fpu.fsw & ~state->fpu.fcw & 0x3f)
		state->fpu.fsw |= 0x8080;
}

static int run_fldcw(struct x86_state *state, void *memory)
{
	if (x87_pending(state))
		return X86_MF;
	state->fpu.fcw = (load_le16(memory) & 0x1f3f) | 0x40;
	update_pending(state);
	return 0;
}

static int run_fnstcw(struct x86_state *state, void *memory)
{
	store_le16(memory, state->fpu.fcw);
	return 0;
}

static int run_fnstsw(struct x86_state *state, void *memory)
{
	store_le16(memory, state->fpu.fsw);
	return 0;
}

static int run_fnstsw_ax(struct x86_state *state, void *memory)
{
	state->gpr[X86_RAX] = (state->gpr[X86_RAX] & ~0xffffull) | state->fpu.fsw;
	return 0;
}

static int run_fnclex(struct x86_state *state, void *memory)
{
	state->fpu.fsw &= 0x7f00;
	return 0;
}

static int run_fwait(struct x86_state *state, void *memory)
{
	return x87_pending(state) ? X86_MF : 0;
}

static struct native_code x87_simple(int (*run)(struct x86_state *, void *), bool waits, bool read, bool written)
{
	return (struct native_code){.run = run,
				    .uses_x87 = true,
				    .x87_waits = waits,
				    .memory_read = read,
				    .memory_written = written,
				    .memory_bytes = read || written ? 2 : 0};
}

/* Instructions that work on whole register files or on x87 control state: plain C is quicker than FXRSTOR and FXSAVE.
 */
static bool compile_simple(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands,
			   struct native_code *out)
{
	const bool long_mode = instruction->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;

	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_VZEROALL:
		*out = (struct native_code){.run = long_mode ? run_vzeroall : run_vzeroall_32, .uses_avx = true};
		return true;
	case ZYDIS_MNEMONIC_VZEROUPPER:
		*out = (struct native_code){.run = long_mode ? run_vzeroupper : run_vzeroupper_32, .uses_avx = true};
		return true;
	case ZYDIS_MNEMONIC_FNINIT:
		*out = x87_simple(run_fninit, false, false, false);
		return true;
	case ZYDIS_MNEMONIC_FNCLEX:
		*out = x87_simple(run_fnclex, false, false, false);
		return true;
	case ZYDIS_MNEMONIC_FWAIT:
		*out = x87_simple(run_fwait, true, false, false);
		return true;
	case ZYDIS_MNEMONIC_FLDCW:
		*out = x87_simple(run_fldcw, true, true, false);
		return true;
	case ZYDIS_MNEMONIC_FNSTCW:
		*out = x87_simple(run_fnstcw, false, false, true);
		return true;
	case ZYDIS_MNEMONIC_FNSTSW:
		if (operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
			*out = x87_simple(run_fnstsw, false, false, true);
		else
			*out = x87_simple(run_fnstsw_ax, false, false, false);
		return true;
	default:
		return false;
	}
}

int native_compile(struct native_arena *arena, const ZydisDecodedInstruction *instruction,
		   const ZydisDecodedOperand *operands, struct native_code *out)
{
	uint8_t code[NATIVE_ROUTINE_BYTES];
	struct native_plan plan;
	unsigned length, fault_exit;
	void *routine;
	int result;

	if (compile_simple(instruction, operands, out))
		return 0;
	result = native_plan(&plan, out, instruction, operands, arena->host_has);
	if (result)
		return result;
	length = native_emit(&plan, code, &fault_exit);
	pthread_mutex_lock(&arena->lock);
	routine = place(arena, code, length, fault_exit);
	pthread_mutex_unlock(&arena->lock);
	if (!routine)
		return -ENOSPC;
	out->run = (int (*)(struct x86_state *, void *))(uintptr_t)routine;
	return 0;
}
