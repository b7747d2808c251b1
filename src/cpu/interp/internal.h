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
 * 4. Dropping a block overwrites its handlers with op_stop; its memory stays until the whole cache is flushed at a block
 *    boundary. So a handler may always go on to op[1], whatever it wrote to.
 * 5. Status flags are in ip->flags between run's begin and end (flags_sync, flags_import convert): high byte as LAHF
 *    stores it, low byte OF as SETO stores it. They are the host's own, so undefined flags are what this CPU makes of them.
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
#define NOINLINE __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct interp;
struct op;
typedef void op_fn(struct interp *ip, const struct op *op);

/* How the effective address is made; low nibble of op->ea, the segment stands in the high nibble. */
enum ea_kind {
	EA_FLAT,     /* 64-bit mode, 64-bit address: base + index + disp + segment base */
	EA_FLAT32,   /* KEY_FLAT, 32-bit address in DS, ES or SS */
	EA_64_A32,   /* 64-bit mode, 32-bit address */
	EA_32,       /* other modes */
	EA_16,
	EA_ABS64,    /* 64-bit mode, address in imm (MOV with moffs) */
	EA_NONE,     /* a register: op->src */
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
	uint8_t dst, src; /* byte offset into s.gpr */
	uint8_t offset;   /* from the block's first byte */
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
	uint8_t key; /* KEY_DEAD when dropped */
	struct jump_entry link[2]; /* where it led */
	uint8_t code[16]; /* of a single instruction, to compare */
	bool closed;      /* no op_stop behind the last one */
	struct op ops[];
};

enum { BLOCK_MAX_OPS = 48, BLOCK_MAX_BYTES = 240 };
/* ip->key and struct block.key: code mode, and these; KEY_USER (CPL 3) is only in ip->key.
 * KEY_FLAT: 32-bit code whose DS, ES and SS are flat and whose stack is 32 bits wide. */
enum { KEY_MODE = 3, KEY_SINGLE = 4, KEY_USER = 8, KEY_FLAT = 16, KEY_DEAD = 0xff };

/* Reasons to execute instruction by instruction (ip->attention). */
enum { ATTEND_TRAP = 1, ATTEND_SHADOW = 2, ATTEND_BREAKPOINT = 4, ATTEND_LOG = 8, ATTEND_DEBUG = 16, ATTEND_PENDING = 32 };

/* What a native instruction needs of the FPU state; bits of ip->fpu_denied. */
enum { FPU_X87 = 1, FPU_MMX = 2, FPU_SSE = 4, FPU_AVX = 8, FPU_AVX512 = 16, FPU_WAIT = 32 };

struct page_blocks {
	uint64_t page; /* guest page number */
	struct page_blocks *next;
	struct block *blocks;
};

#define BLOCK_HASH_BITS 15
#define PAGE_HASH_BITS 10
#define PENDING_PAGES 64

/* Blocks and pages of one vCPU; cache.c. */
struct cache {
	uint8_t *arena;
	size_t arena_size, arena_used, arena_top; /* blocks grow up, native_op down */
	uint64_t *hash; /* open addressing; see cache.c */
	unsigned hash_used; /* slots that are not empty, tombstones included */
	struct page_blocks **pages;
	struct native_arena *native;
	struct block *none; /* stands for the last block when there is none */
};

struct interp {
	struct x86_cpu cpu; /* first */
	uint16_t flags;     /* invariant 5 */
	uint8_t attention;
	uint8_t key;        /* of blocks for the current mode */
	uint8_t fpu_denied;
	bool stop;          /* leave run with `exit` */
	bool verify;        /* nobody tells this CPU of writes to code: compare bytes before use */
	_Atomic uintptr_t runner; /* pthread_self() of the thread inside run, else 0 */
	bool exact;         /* s.rflags holds the status flags, not `flags` */
	bool no_trap;       /* this instruction ends without a single-step trap (INT n) */
	bool stepped;
	bool spent;         /* stopped because `left` was used up */
	bool stop_at_fault; /* interp_step returns after a delivery */
	uint64_t flat_base; /* linear = flat_base + rip (CS base outside 64-bit mode) */
	const struct op *cur;
	struct block *block;
	int64_t left;       /* instructions until run looks up */
	uint64_t stamp_own; /* grows when blocks are dropped or the code segment's limit changes */
	uint32_t limit;     /* of CS outside 64-bit mode when it was looked at last */
	enum vcpu_exit exit;
	int64_t granted;    /* what `left` started from */
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

	pthread_mutex_t run_lock;     /* held while inside run */
	const struct interp_partner *partner; /* NULL: this interpreter runs everything */
	pthread_mutex_t pending_lock; /* pages written by other threads, see VCPU_ENGINE */
	unsigned pending_count;
	uint64_t pending[PENDING_PAGES];
	bool pending_all;
	unsigned watch_count;         /* pages another vCPU began to watch */
	uint64_t watch[PENDING_PAGES];
	bool watch_all;
};

static inline struct interp *interp_of(struct x86_cpu *cpu)
{
	return (struct interp *)cpu;
}

/* --- registers --- */

ALWAYS_INLINE uint8_t *reg_at(struct interp *ip, unsigned offset)
{
	return (uint8_t *)ip->cpu.s.gpr + offset;
}

#define REG_ACCESS(bits)                                                                   \
	ALWAYS_INLINE uint##bits##_t reg_get##bits(struct interp *ip, unsigned offset)     \
	{                                                                                  \
		return *(uint##bits##_t *)reg_at(ip, offset);                              \
	}
REG_ACCESS(8)
REG_ACCESS(16)
REG_ACCESS(32)
REG_ACCESS(64)
#undef REG_ACCESS

ALWAYS_INLINE void reg_set8(struct interp *ip, unsigned offset, uint8_t value)
{
	*reg_at(ip, offset) = value;
}

ALWAYS_INLINE void reg_set16(struct interp *ip, unsigned offset, uint16_t value)
{
	*(uint16_t *)reg_at(ip, offset) = value;
}

ALWAYS_INLINE void reg_set32(struct interp *ip, unsigned offset, uint32_t value)
{
	*(uint64_t *)reg_at(ip, offset) = value;
}

ALWAYS_INLINE void reg_set64(struct interp *ip, unsigned offset, uint64_t value)
{
	*(uint64_t *)reg_at(ip, offset) = value;
}

static inline uint64_t reg_get(struct interp *ip, unsigned offset, unsigned size)
{
	switch (size) {
	case 1:
		return reg_get8(ip, offset);
	case 2:
		return reg_get16(ip, offset);
	case 4:
		return reg_get32(ip, offset);
	default:
		return reg_get64(ip, offset);
	}
}

static inline void reg_set(struct interp *ip, unsigned offset, uint64_t value, unsigned size)
{
	switch (size) {
	case 1:
		reg_set8(ip, offset, value);
		break;
	case 2:
		reg_set16(ip, offset, value);
		break;
	case 4:
		reg_set32(ip, offset, value);
		break;
	default:
		reg_set64(ip, offset, value);
		break;
	}
}

ALWAYS_INLINE unsigned op_length(const struct op *op)
{
	return op->length_size & 15;
}

ALWAYS_INLINE unsigned op_size(const struct op *op)
{
	return 1u << (op->length_size >> 4);
}

ALWAYS_INLINE unsigned op_segment(const struct op *op)
{
	return op->ea >> 4;
}

/* --- flags --- */

enum { FLAG_OF = 1, FLAG_CF = 0x100, FLAG_PF = 0x400, FLAG_AF = 0x1000, FLAG_ZF = 0x4000, FLAG_SF = 0x8000 };

ALWAYS_INLINE uint64_t flags_pack(uint16_t flags)
{
	return ((flags >> 8) & (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF)) | (flags & FLAG_OF ? X86_OF : 0);
}

ALWAYS_INLINE uint16_t flags_unpack(uint64_t rflags)
{
	return (uint16_t)(rflags & 0xff) << 8 | ((rflags & X86_OF) != 0);
}

ALWAYS_INLINE void flags_sync(struct interp *ip)
{
	ip->cpu.s.rflags = (ip->cpu.s.rflags & ~(uint64_t)X86_STATUS_FLAGS) | flags_pack(ip->flags);
}

ALWAYS_INLINE void flags_import(struct interp *ip)
{
	ip->flags = flags_unpack(ip->cpu.s.rflags);
}

/* --- memory --- */

/* Values in guest memory, at any alignment; volatile where they are accessed, because other CPUs are at it, too. */
typedef uint8_t guest8_t;
typedef uint16_t guest16_t __attribute__((aligned(1)));
typedef uint32_t guest32_t __attribute__((aligned(1)));
typedef uint64_t guest64_t __attribute__((aligned(1)));

uint64_t mem_load_slow(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
void mem_store_slow(struct interp *ip, const struct op *op, uint64_t gva, uint64_t value, unsigned size);
/* Pointer to read and write [gva, +size), or ip->bounce filled with what is there; then mem_update_end writes it. */
void *mem_update_slow(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
void mem_update_flush(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
/* As mem_update, for LOCK: what is not one host instruction happens under the bus lock until mem_locked_end. */
void *mem_locked_slow(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
/* #GP or #SS unless [gva, +size) is canonical; sets ip->cur. */
void mem_check(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
/* Faults as a store would. */
void mem_probe(struct interp *ip, const struct op *op, uint64_t gva, unsigned size);
/* #SS(0) unless the stack address is canonical; for instructions whose op->ea names another segment. */
void mem_check_stack(struct interp *ip, const struct op *op, uint64_t gva);
/* Any size up to 64 bytes. */
void mem_read(struct interp *ip, const struct op *op, uint64_t gva, void *to, unsigned size);
void mem_write(struct interp *ip, const struct op *op, uint64_t gva, const void *from, unsigned size);
uint64_t op_address_slow(struct interp *ip, const struct op *op, uint64_t sum, unsigned size, unsigned access);

ALWAYS_INLINE uint64_t value_at(struct interp *ip, unsigned unit)
{
	return ((uint64_t *)ip)[unit];
}

/* base + index * scale + disp, not yet cut to the address size. */
ALWAYS_INLINE uint64_t op_sum(struct interp *ip, const struct op *op)
{
	return value_at(ip, op->base) + (value_at(ip, op->index) << op->scale) + (int64_t)op->disp;
}

/* Linear address of the memory operand. access: X86_READ or X86_WRITE, for the checks of segments. */
ALWAYS_INLINE uint64_t op_address(struct interp *ip, const struct op *op, unsigned size, unsigned access)
{
	uint64_t sum = op_sum(ip, op);

	if (likely((op->ea & 15) == EA_FLAT))
		return sum + value_at(ip, op->segbase);
	if (likely((op->ea & 15) == EA_FLAT32))
		return (uint32_t)sum;
	return op_address_slow(ip, op, sum, size, access);
}

ALWAYS_INLINE struct x86_tlb_entry *mem_slot(struct interp *ip, uint64_t gva)
{
	return &ip->cpu.tlb_active[(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];
}

/* An access that crosses the page has the next page's number in the comparison, which this slot cannot hold. */
ALWAYS_INLINE bool mem_hit(uint64_t tag, uint64_t gva, unsigned size)
{
	return likely(((gva + size - 1) & ~(PAGE_SIZE - 1)) == tag);
}

#define MEM_ACCESS(bits)                                                                                        \
	ALWAYS_INLINE uint##bits##_t mem_load##bits(struct interp *ip, const struct op *op, uint64_t gva)       \
	{                                                                                                       \
		const struct x86_tlb_entry *slot = mem_slot(ip, gva);                                           \
		if (mem_hit(slot->tag_read, gva, (bits) / 8))                                                   \
			return *(const volatile guest##bits##_t *)(gva + slot->addend);                                   \
		return mem_load_slow(ip, op, gva, (bits) / 8);                                                  \
	}                                                                                                       \
	ALWAYS_INLINE void mem_store##bits(struct interp *ip, const struct op *op, uint64_t gva, uint##bits##_t value) \
	{                                                                                                       \
		const struct x86_tlb_entry *slot = mem_slot(ip, gva);                                           \
		if (mem_hit(slot->tag_write, gva, (bits) / 8))                                                  \
			*(volatile guest##bits##_t *)(gva + slot->addend) = value;                                        \
		else                                                                                            \
			mem_store_slow(ip, op, gva, value, (bits) / 8);                                         \
	}
MEM_ACCESS(8)
MEM_ACCESS(16)
MEM_ACCESS(32)
MEM_ACCESS(64)
#undef MEM_ACCESS

static inline uint64_t mem_load(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	switch (size) {
	case 1:
		return mem_load8(ip, op, gva);
	case 2:
		return mem_load16(ip, op, gva);
	case 4:
		return mem_load32(ip, op, gva);
	default:
		return mem_load64(ip, op, gva);
	}
}

static inline void mem_store(struct interp *ip, const struct op *op, uint64_t gva, uint64_t value, unsigned size)
{
	switch (size) {
	case 1:
		mem_store8(ip, op, gva, value);
		break;
	case 2:
		mem_store16(ip, op, gva, value);
		break;
	case 4:
		mem_store32(ip, op, gva, value);
		break;
	default:
		mem_store64(ip, op, gva, value);
		break;
	}
}

ALWAYS_INLINE void *mem_update(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	const struct x86_tlb_entry *slot = mem_slot(ip, gva);

	if (mem_hit(slot->tag_write, gva, size))
		return (void *)(gva + slot->addend);
	return mem_update_slow(ip, op, gva, size);
}

ALWAYS_INLINE void mem_update_end(struct interp *ip, const struct op *op, uint64_t gva, unsigned size, void *p)
{
	if (unlikely(p == ip->bounce))
		mem_update_flush(ip, op, gva, size);
}

ALWAYS_INLINE void *mem_locked(struct interp *ip, const struct op *op, uint64_t gva, unsigned size)
{
	const struct x86_tlb_entry *slot = mem_slot(ip, gva);

	if (mem_hit(slot->tag_write, gva, size))
		return (void *)(gva + slot->addend);
	return mem_locked_slow(ip, op, gva, size);
}

static inline void mem_locked_end(struct interp *ip, const struct op *op, uint64_t gva, unsigned size, void *p)
{
	if (unlikely(p == ip->bounce)) {
		mem_update_flush(ip, op, gva, size);
		x86_bus_unlock(&ip->cpu);
	}
}

/* The r/m operand of an instruction that is not worth a handler per form. */
static inline uint64_t operand_read(struct interp *ip, const struct op *op, unsigned size)
{
	if ((op->ea & 15) == EA_NONE)
		return reg_get(ip, op->src, size);
	return mem_load(ip, op, op_address(ip, op, size, X86_READ), size);
}

static inline void operand_write(struct interp *ip, const struct op *op, uint64_t value, unsigned size)
{
	if ((op->ea & 15) == EA_NONE)
		reg_set(ip, op->src, value, size);
	else
		mem_store(ip, op, op_address(ip, op, size, X86_WRITE), value, size);
}

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
	bool last;     /* set by the selection: nothing may follow in this block */
	bool closed;   /* as well, and the handler never goes on to the next op */
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

ALWAYS_INLINE uint64_t cache_stamp(const struct interp *ip)
{
	return (ip->cpu.tlb_generation + ip->stamp_own) << 5 | ip->key;
}

ALWAYS_INLINE struct jump_entry *jump_slot(struct interp *ip, uint64_t linear)
{
	return &ip->jump[(linear ^ linear >> JUMP_BITS) & ((1 << JUMP_BITS) - 1)];
}

#endif
