/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the interpreter share: the decoded instruction (struct op), the block of them, the vCPU, and the
 * inline paths to registers, flags and memory that every handler uses.
 *
 * Invariants
 * 1. While a block runs, s.rip is the block's first instruction; an instruction's own address is s.rip + op->offset.
 *    Operands that depend on rip are relative to the block, so one block serves every alias of its physical page.
 * 2. Whoever may fault inside a block sets ip->cur first (the slow halves of the memory accesses do it), so that the
 *    catcher can find the instruction. sys_begin makes s.rip exact and clears ip->cur instead.
 * 3. A handler ends in next() or, for the last one of a block, by storing the new s.rip and returning.
 * 4. Dropping a block overwrites its handlers with op_stop; its memory stays until the whole cache is flushed at a
 * block boundary. So a handler may always go on to op[1], whatever it wrote to.
 * 5. Status flags are in ip->flags between run's begin and end (flags_sync, flags_import convert): high byte as LAHF
 *    stores it, low byte OF as SETO stores it. They are the host's own, so undefined flags are what this CPU makes of
 * them.
 */
#ifndef XUNI_CPU_INTERP_INTERNAL_H
#define XUNI_CPU_INTERP_INTERNAL_H

#include "base/util.h"
#include "core/ram.h"
#include "cpu/interp/interp.h"
#include "cpu/interp/native.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/features.h"

#include <Zydis/Zydis.h>
#include <pthread.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NOINLINE      __attribute__((noinline))
#define likely(x)     __builtin_expect(!!(x), 1)
#define unlikely(x)   __builtin_expect(!!(x), 0)

struct interp;
struct op;
typedef void op_fn(struct interp *ip, const struct op *op);

/* How the effective address is made; low nibble of op->ea, the segment stands in the high nibble. */
enum ea_kind {
	EA_FLAT,   /* 64-bit mode, 64-bit address: base + index + disp + segment base */
	EA_FLAT32, /* KEY_FLAT, 32-bit address in DS, ES or SS */
	EA_64_A32, /* 64-bit mode, 32-bit address */
	EA_32,     /* other modes */
	EA_16,
	EA_ABS64, /* 64-bit mode, address in imm (MOV with moffs) */
	EA_NONE,  /* a register: op->src */
};

struct op {
	op_fn *fn;
	union {
		uint64_t imm;
		void *data;
	};
	int32_t disp;
	uint16_t base, index, segbase; /* where their values lie, in 8-byte units from struct interp */
	uint8_t scale;
	uint8_t ea;
	uint8_t dst, src;    /* byte offset into s.gpr */
	uint8_t offset;      /* from the block's first byte */
	uint8_t length_size; /* length | log2(operand bytes) << 4 */
};

_Static_assert(sizeof(struct op) == 32, "two instructions a cache line");

/* Where a linear address led last. */
struct jump_entry {
	uint64_t linear;
	uint64_t stamp;
	struct block *block;
};
#define JUMP_BITS 13

struct block {
	uint64_t gpa;  /* of the first byte */
	uint64_t gpa2; /* of the second page when the (single) instruction crosses; else ~0 */
	struct block *page_next[2];
	uint16_t count;
	uint8_t bytes;
	uint8_t key;               /* KEY_DEAD when dropped */
	uint8_t turns;             /* how often a partner left it to the interpreter as cold; up to COLD_TURNS */
	struct jump_entry link[2]; /* where it led */
	uint8_t code[16];          /* of a single instruction, to compare */
	bool closed;               /* no op_stop behind the last one */
	struct op ops[];
};

enum { BLOCK_MAX_OPS = 48, BLOCK_MAX_BYTES = 240 };
/* So often a cold block is interpreted before a partner gets it. 4 and 100 make a start by SeaBIOS to GRUB's menu a tenth slower. */
enum { COLD_TURNS = 24 };
/* ip->key and struct block.key: code mode, and these; KEY_USER (CPL 3) is only in ip->key.
 * KEY_FLAT: 32-bit code whose DS, ES and SS are flat and whose stack is 32 bits wide. */
enum { KEY_MODE = 3, KEY_SINGLE = 4, KEY_USER = 8, KEY_FLAT = 16, KEY_DEAD = 0xff };

/* Reasons to execute instruction by instruction (ip->attention). */
enum {
	ATTEND_TRAP = 1,
	ATTEND_SHADOW = 2,
	ATTEND_BREAKPOINT = 4,
	ATTEND_LOG = 8,
	ATTEND_DEBUG = 16,
	ATTEND_PENDING = 32,
	ATTEND_DEBUGGER = 64
};

/* What a native instruction needs of the FPU state; bits of ip->fpu_denied. */
enum { FPU_X87 = 1, FPU_MMX = 2, FPU_SSE = 4, FPU_AVX = 8, FPU_AVX512 = 16, FPU_WAIT = 32 };

struct page_blocks {
	uint64_t page; /* guest page number */
	struct page_blocks *next;
	struct block *blocks;
};

#define BLOCK_HASH_BITS 15
#define PAGE_HASH_BITS  10
#define PENDING_PAGES   64

/* Blocks and pages of one vCPU; cache.c. */
struct cache {
	uint8_t *arena;
	size_t arena_size, arena_used, arena_top; /* blocks grow up, native_op down */
	uint64_t *hash;                           /* open addressing; see cache.c */
	unsigned hash_used;                       /* slots that are not empty, tombstones included */
	struct page_blocks **pages;
	struct native_arena *native;
	struct block *none; /* stands for the last block when there is none */
};

struct interp {
	struct x86_cpu cpu; /* first */
	uint16_t flags;     /* invariant 5 */
	uint8_t attention;
	uint8_t key; /* of blocks for the current mode */
	uint8_t fpu_denied;
	bool stop;                /* leave run with `exit` */
	bool host_flags;          /* undefined flags are what the host makes of the same instruction */
	bool verify;              /* nobody tells this CPU of writes to code: compare bytes before use */
	_Atomic uintptr_t runner; /* pthread_self() of the thread inside run, else 0 */
	bool exact;               /* s.rflags holds the status flags, not `flags` */
	bool alone;               /* a debugger's point is, or may be, met by the next instruction */
	bool cold;                /* the partner left the code that runs to the interpreter because it is cold */
	bool no_trap;             /* this instruction ends without a single-step trap (INT n) */
	bool stepped;
	bool spent;         /* stopped because `left` was used up */
	bool stop_at_fault; /* interp_step returns after a delivery */
	uint64_t flat_base; /* linear = flat_base + rip (CS base outside 64-bit mode) */
	const struct op *cur;
	struct block *block;
	int64_t left;       /* instructions until run looks up */
	uint64_t stamp_own; /* grows when blocks are dropped or the code segment's limit changes */
	uint64_t debug_stamp; /* of the engine's points that cpu.debug is */
	uint32_t limit;     /* of CS outside 64-bit mode when it was looked at last */
	enum vcpu_exit exit;
	jmp_buf fault_exit;
	int64_t granted;       /* what `left` started from */
	uint64_t random_state; /* of RDRAND in a deterministic run */
	struct clock *clock;
	struct engine *own_engine; /* of a bare CPU */
	struct jump_entry jump[1 << JUMP_BITS];
	_Alignas(64) uint8_t bounce[64];
	struct cache cache;
	struct bus *io;
	struct log *log;
	struct engine_env env;
	ZydisDecoder decoder[3];
	struct log_limit unknown_limit;
	unsigned pauses;

	pthread_mutex_t run_lock;             /* held while inside run */
	const struct interp_partner *partner; /* NULL: this interpreter runs everything */
	pthread_mutex_t pending_lock;         /* pages written by other threads, see VCPU_ENGINE */
	unsigned pending_count;
	uint64_t pending[PENDING_PAGES];
	bool pending_all;
	unsigned watch_count; /* pages another vCPU began to watch */
	uint64_t watch[PENDING_PAGES];
	bool watch_all;
};

static inline struct interp *interp_of(struct x86_cpu *cpu)
{
	return (struct interp *)cpu;
}

#include "cpu/interp/access.h" /* registers, flags, memory: needs struct interp and struct op */

/* --- control --- */

ALWAYS_INLINE void next(struct interp *ip, const struct op *op)
{
	op[1].fn(ip, op + 1);
}

ALWAYS_INLINE uint64_t rip_mask(const struct interp *ip)
{
	return ip->cpu.code_mode == X86_CODE64 ? ~0ull : 0xffffffffull;
}

/* Exact state for a function of the x86 layer: s.rip is this instruction, status flags are in s.rflags. */
static inline void sys_begin(struct interp *ip, const struct op *op)
{
	flags_sync(ip);
	ip->exact = true;
	ip->cpu.s.rip = (ip->cpu.s.rip + op->offset) & rip_mask(ip);
	ip->cur = NULL;
}

static inline uint64_t sys_next_rip(const struct interp *ip, const struct op *op)
{
	return (ip->cpu.s.rip + op_length(op)) & rip_mask(ip);
}

/* Counts what was executed since the last call, and in stepped mode moves the clock by it. */
void interp_account(struct interp *ip);
/* Recomputes what interp derives from the mode. After anything that may have changed mode, privilege or RFLAGS. */
void interp_resync(struct interp *ip);
/* Ends a block after an instruction that began with sys_begin; end: goes on behind the instruction. */
void sys_jumped(struct interp *ip);
void sys_end(struct interp *ip, const struct op *op);
/* Ends the block before op: op executes again (REP with an event pending). */
void block_leave(struct interp *ip, const struct op *op);
_Noreturn void fault_at(struct interp *ip, const struct op *op, enum x86_vector vector);
_Noreturn void fault_at_error(struct interp *ip, const struct op *op, enum x86_vector vector, uint32_t error);
/* Raises what the missing FPU state calls for (#NM or #UD). */
_Noreturn void fpu_refuse(struct interp *ip, const struct op *op, unsigned need);
op_fn op_stop, op_undefined;
/* Stands alone in a block that begins where a debugger's breakpoint may be. */
op_fn op_debug;

/* --- running (run.c) --- */

int interp_init(struct interp *ip, struct engine *engine, unsigned index, uint32_t apic_id, struct error *err);
void interp_fini(struct interp *ip);
/* Executes up to count instructions. */
enum vcpu_exit interp_run(struct interp *ip, int64_t count);
/* Makes later writes of the guest known to ram's clients: now when the vCPU is outside run, else at its next block. Any
 * thread. */
void interp_flush(struct interp *ip);

/* --- decoding --- */

struct decode {
	struct interp *ip;
	struct op *op;
	const uint8_t *bytes;
	unsigned offset;
	bool last;      /* set by the selection: nothing may follow in this block */
	bool closed;    /* as well, and the handler never goes on to the next op */
	bool flat32;    /* KEY_FLAT */
	bool no_memory; /* the native arena or the block arena is full: flush and retry */
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

/* Chooses the handler and fills d->op. */
void decode_select(struct decode *d);
bool decode_offered(const struct decode *d);
/* Helpers for the selections: log2 of bytes, byte offset of a GPR, the memory operand into op. */
unsigned decode_log2(unsigned bits);
uint8_t decode_reg(ZydisRegister reg);
void decode_memory(struct decode *d, const ZydisDecodedOperand *operand);
void decode_rm(struct decode *d, const ZydisDecodedOperand *operand); /* register (src) or memory */
bool decode_is_reg(const ZydisDecodedOperand *operand);
bool decode_locked(const struct decode *d);

/* Each sets d->op->fn; false: not theirs. */
bool select_alu(struct decode *d);
bool select_shift(struct decode *d);
bool select_move(struct decode *d);
bool select_muldiv(struct decode *d);
bool select_bit(struct decode *d);
bool select_stack(struct decode *d);
bool select_branch(struct decode *d);
bool select_exchange(struct decode *d);
bool select_string(struct decode *d);
bool select_misc(struct decode *d);
bool select_segment(struct decode *d);
bool select_system(struct decode *d);
bool select_io(struct decode *d);
bool select_fpu(struct decode *d);
bool select_gather(struct decode *d);
bool select_native(struct decode *d);

/* --- cache --- */

int cache_init(struct interp *ip, struct error *err);
void cache_fini(struct interp *ip);
void cache_flush(struct interp *ip);
void cache_drop_pages(struct interp *ip, uint64_t first, uint64_t last);
/* The block at s.rip in the current mode; decodes when new. Raises faults of the fetch. */
struct block *cache_block(struct interp *ip, bool single);
/* Memory for what belongs to an op, as long-lived as its block; NULL: full. */
void *cache_alloc_extra(struct interp *ip, size_t bytes);
/* What other threads left behind (VCPU_ENGINE). */
void cache_take_pending(struct interp *ip);
void cache_written(struct interp *ip, uint64_t first, uint64_t last);
/* Tells the other vCPUs of the engine that this page is watched now; NULL engine: nobody. */
void engine_page_watched(struct interp *ip, uint64_t page);

/* How code is decoded now; part of ip->key and struct block.key. */
ALWAYS_INLINE uint8_t mode_key(const struct x86_cpu *cpu)
{
	bool flat = cpu->code_mode == X86_CODE32 && cpu->flat_data && cpu->stack_mask == 0xffffffff;

	return (uint8_t)(cpu->code_mode | (flat ? KEY_FLAT : 0));
}

ALWAYS_INLINE uint64_t cache_stamp(const struct interp *ip)
{
	return (ip->cpu.tlb_generation + ip->stamp_own) << 5 | ip->key;
}

ALWAYS_INLINE struct jump_entry *jump_slot(struct interp *ip, uint64_t linear)
{
	return &ip->jump[(linear ^ linear >> JUMP_BITS) & ((1 << JUMP_BITS) - 1)];
}

#endif
