/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the translator share. docs/design/translate.md says how it works as a whole.
 *
 * Invariants
 * 1. In translated code every guest GPR is in the host register of the same number, but those that are "parked": their
 *    value is in cpu->s.gpr and the host register is scratch. Which ones is known at every place of the code; at block
 *    heads none. Guest status flags are in EFLAGS or, where the code says so, in translator.flags (LAHF form).
 * 2. All data that translated code reaches lies below 2 GiB: the interpreter's vCPU and struct translator.
 * 3. Translated code leaves at a site. A site knows the guest's rip and what is parked there, so state is exact.
 * 4. Translated code and its tables are touched by the vCPU's own thread alone, and blocks are dropped only while no
 *    translated code is active: a store to a watched page leaves for the interpreter first.
 * 5. Vector registers and MXCSR are the guest's while fpu_loaded, else the host's. C code runs with the host's, but for what
 *    translated code calls (stubs.c: call, miss; helper.c), which is built without vector instructions, as is cpu/x86:
 *    it calls vectors_out before anything else. (host_now_ns is used there: the clock of Linux's vDSO has none either.)
 * 6. Such a call has the registers in cpu->s, exact but for status flags that nobody reads. It may raise; translate_run
 *    catches and delivers.
 */
#ifndef XUNI_CPU_TRANSLATE_TRANSLATOR_H
#define XUNI_CPU_TRANSLATE_TRANSLATOR_H

#include "base/util.h"
#include "core/ram.h"
#include "cpu/interp/interp.h"
#include "cpu/translate/lower/emit.h"
#include "cpu/translate/translate.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/features.h"

#include <Zydis/Zydis.h>
#include <pthread.h>
#include <signal.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, NO_REGISTER = -1 };

/* The state that code was made for: view in the low bits, then which FPU instructions work. In 32-bit code the number
 * of its segmentation follows, which is never 0 there. */
enum { KEY_VIEW = 3, KEY_SSE = 4, KEY_AVX = 8, KEY_AVX512 = 16, KEY_CODE32 = 32, KEY_MIRROR = 64, KEY_LOW = 128 /* with KEY_MIRROR: low addresses, too */, KEY_SEGMENTS_SHIFT = 8 };

/* Segment registers as 32-bit code sees them (segments.c). */
enum { SEGMENTS = 6, SEGMENTATIONS = 64 };
enum { SEGMENT_DATUM = 7 }; /* in place of a segment register: translator.datum is added to the address */
enum { SEGMENT_READ = 1, SEGMENT_WRITE = 2, SEGMENT_BASE = 4 /* is not 0 */ };
struct segmentation {
	uint32_t code_base;
	uint32_t limit[SEGMENTS];
	uint8_t rights[SEGMENTS + 2]; /* no padding: compared as bytes */
};

enum site_kind {
	SITE_MEMORY,    /* a memory access missed the TLB: fill and resume, or interpret the instruction */
	SITE_INTERPRET, /* the next instruction is the interpreter's */
	SITE_FAULT,     /* a host exception: interpret the instruction, which raises the guest's */
	SITE_LINK,      /* a jump to a known rip: find the block, patch */
	SITE_INDIRECT,  /* s.rip was stored; rip and disp (of RSP) go back to before the branch. The next site is the SITE_LINK
	                 * to where it went first */
	SITE_OUTSIDE,   /* an address is not where mirrors are: interpret the instruction */
	SITE_HEAD,      /* the block's head found that the mapping changed or somebody polls */
	SITE_CALL,      /* C was called, and said that translated code cannot go on; state is in cpu->s */
	SITE_KINDS
};

/* What SITE_CALL calls. */
enum helper {
	HELPER_INTERPRET,
	HELPER_SYSCALL,
	HELPER_SYSRET,   /* size: of the operand */
	HELPER_IRET,     /* likewise */
	HELPER_RDTSC,
	HELPER_RDTSCP,
	HELPER_PAUSE,
	HELPER_RDMSR,
	HELPER_WRMSR,
	HELPER_MOV_CR3,  /* base: the register */
	HELPER_MOVS,     /* with REP; size: of an element; segment: the source's; address32 */
	HELPER_STOS,
	HELPER_SCAS,     /* likewise; scale: REPNE */
	HELPER_CMPS,
	HELPERS
};

#define MISS_FAULTED 0x80000000u /* no code address has this bit */

/* There are many, and few are looked at: as small as they can be. */
struct site {
	uint64_t rip; /* SITE_LINK: of the target */
	union {
		struct { /* SITE_LINK */
			uint32_t patch;     /* where the rel32 is */
			uint32_t stub;      /* where it leads unlinked */
			uint32_t next_link; /* list of links into the same block */
			uint32_t linked;    /* number of the block it leads to, 0: none */
		};
		struct { /* the others; an address: SITE_MEMORY, SITE_OUTSIDE, in parts SITE_CALL */
			int64_t disp;                /* SITE_INDIRECT: of RSP */
			union {
				uint32_t offset; /* SITE_OUTSIDE: of the instruction in the block */
				uint32_t expected; /* SITE_INDIRECT: where the rip is, 8 bytes in the code, that the link behind it is for */
			};
			union {
				struct {
					int8_t base, index, segment; /* NO_REGISTER: absent */
					uint8_t scale;
				};
				uint32_t other; /* SITE_INDIRECT: where the rel32 is for another rip; it leads to C at first */
			};
		};
	};
	union {
		uint32_t resume;    /* SITE_MEMORY: code offset to try again; SITE_CALL: to go on, 0: nowhere; SITE_INDIRECT: the
		                     * look-up, to which `other` is to lead, 0: it does */
		uint32_t prev_link; /* SITE_LINK: as next_link */
	};
	uint32_t block;    /* number of the block it belongs to */
	uint16_t parked;
	uint16_t mnemonic; /* of the instruction that leaves */
	uint8_t kind;
	uint8_t size;                      /* SITE_MEMORY; SITE_CALL: of an operand */
	uint8_t helper : 4, length : 4;    /* SITE_CALL: length of the instruction */
	bool write : 1, address32 : 1;     /* SITE_MEMORY; SITE_CALL */
	bool constant : 1;                 /* SITE_MEMORY: the address is disp */
	bool group : 1;                    /* SITE_MEMORY: more bytes than the instruction's own (memory.c) */
	bool mirrored : 1;                 /* SITE_MEMORY without a window (mirror_operand.c) */
	bool page_faults : 1;              /* SITE_MEMORY: #PF is the first thing that can happen to the instruction now */
	bool flags_in_memory : 1;          /* SITE_LINK; mirrored: EFLAGS are not the guest's */
	bool changes_key : 1;              /* SITE_LINK: the target's mode is another one */
};
_Static_assert(sizeof(struct site) == 40 && HELPERS <= 16, "small");

/*
 * Where a SITE_MEMORY without a mirror last found its datum: a run of linear addresses that lie together in the host. Translated code checks
 * `address - start < limit` and accesses host + (address - start). See windows.c.
 */
struct window {
	uint64_t start;  /* of the run */
	uint64_t host;   /* of start; of the datum itself where the address is a constant; 0: empty */
	uint64_t limit;  /* bytes of the run - size of the access + 1 (constant address: 1); 0: empty */
	uint32_t resume; /* code address where the look-up begins */
	uint8_t size;    /* of the access */
	uint8_t lists;   /* bit n: is on window_end[][n]'s list */
};
enum { CARRIED = 4, WINDOW_SHIFT = 5, WRITTEN_PAGES = 65536, WRITTEN_RUNS = 256 };
_Static_assert(sizeof(struct window) == 1 << WINDOW_SHIFT, "stubs index windows by a shift");

/* Two pages of the host that are one behind the other for the guest (splice.c). */
enum splice_state { SPLICE_COUNTS, SPLICE_MAPPED, SPLICE_REFUSED };
struct splice {
	uint64_t hva[2];
	uint8_t misses, state;
};
enum { SPLICES = 256 };

/* A line of the host's cache: blocks are looked up all over the table. */
struct block {
	uint64_t linear, gpa;
	uint32_t page;                        /* number of the pair of pages (struct page_pair) */
	uint32_t code;                        /* code offset */
	uint32_t first_site;
	uint32_t links_in;                    /* site number, 0: none */
	uint32_t hash_next, page_next, page_prev; /* block numbers, 0: none */
	/* An instruction that reaches into the next page is a block of its own, with a stand-in on that page's list. */
	uint32_t other; /* the stand-in's number, and of a stand-in the block's; 0: none */
	uint16_t site_count;
	uint16_t key;
	union {
		uint16_t guest_bytes;
		uint16_t mnemonic; /* of an interpreted block */
	};
	uint16_t verified; /* verify: runs that were compared */
	uint8_t same, poll, indirect, cross; /* entries, from code on */
	uint8_t body;      /* behind what the entries check */
	bool stand_in : 1;
	bool dead : 1, interpret : 1, fpu : 1, x87 : 1;
	bool flags_live : 1; /* at its entries */
	uint8_t group_misses, mirror_misses;
};
_Static_assert(sizeof(struct block) == 64, "a line");

/* Where an indirect branch looks: one table for each key. */
struct jump_slot {
	uint64_t rip;
	uint64_t host;
};
#define JUMP_SLOT_SHIFT 4
_Static_assert(sizeof(struct jump_slot) == 1 << JUMP_SLOT_SHIFT, "translated code shifts");
enum { JUMP_TABLES = 24 }; /* keys are many while a system starts; memory is only what is used */

struct fault_entry {
	uint32_t host; /* code offset of the instruction; ascending */
	uint32_t site;
};

/* The x87 part of the host's XSAVE area, its 64-bit form (SDM 1 13.4.1, 13.4.2). */
struct x87_image {
	_Alignas(64) uint16_t fcw; /* alone, or each of them would be aligned */
	uint16_t fsw;
	uint8_t ftw, reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t vector[352];
	uint64_t components, header[7];
};
_Static_assert(sizeof(struct x87_image) == 576, "legacy region and header of XSAVE");

/* A context that the kernel may be unable to go back to (host.c). */
struct resume {
	uint64_t gpr[16], rip, rflags;
	uint64_t signal_mask;
	uint64_t components, image; /* for XRSTOR */
	uint64_t stack;             /* to do it with */
};

#define BLOCK_HASH_MOST 19 /* bits: a huge page */
#define PAGE_HASH_BITS 14
/* No block needs more code, sites, windows or fault entries: an instruction has at most two look-ups, and is lowered twice. */
enum { BLOCK_MAX_INSTRUCTIONS = 64, BLOCK_ROOM = 64 * 1024, BLOCK_SITES = 1024, BLOCK_WINDOWS = 4 * BLOCK_MAX_INSTRUCTIONS, BLOCK_FAULTS = 512 };

/* A part of the code cache and of its tables (region.c). first <= used <= end. */
struct span {
	uint32_t first, used, end;
};
struct code_region {
	struct span code, sites, windows, blocks, faults;
};
enum { REGIONS = 16 };

struct page_entry {
	uint64_t page; /* number + 1; 0: free */
	uint32_t blocks;
};

/* A page of code and where it is mapped. Its number is in the TLB entry while that says so (x86_tlb_entry.code), which is
 * what a block compares at its head. A pair has one number as long as blocks are of it. */
struct page_pair {
	uint64_t linear, gpa;
	uint32_t number; /* 0: free */
};
enum { PAGE_PAIRS = 16384 };

struct statistics {
	uint64_t blocks, flushes, dropped, enters, fills, links, translate_ns, mirrored, evictions, evicted, evict_ns, evict_max_ns;
	uint64_t exits[SITE_KINDS];
	uint64_t interpreted[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* instructions that the interpreter was asked for */
};

struct translator {
	struct x86_cpu *cpu;
	/* What translated code uses. */
	_Atomic uint32_t poll;
	uint32_t site;
	uint32_t window;     /* whose look-up failed */
	uint32_t flags;      /* bits 15:8 as LAHF, bit 0 OF */
	uint8_t fpu_loaded, fpu_was, fpu_want;
	uint8_t x87_loaded, x87_was, x87_want; /* x87.c */
	uint8_t x87_valid, x87_newer;          /* the image is the state; and cpu->s.fpu is older */
	uint8_t x87_missing;
	uint32_t host_mxcsr;
	uint64_t out[16];
	uint64_t ea;         /* what the look-up of a window did not find */
	uint64_t spill[4];
	uint32_t *window_end[2][2]; /* of the list of windows filled, by write and by whether the TLB entry was global (windows.c) */
	struct window *windows;
	uint32_t *window_sites;  /* by the number of the window */
	uint8_t written_pages[WRITTEN_PAGES]; /* by hva >> 12 and by hva >> 21: some write window may cover that */
	uint8_t written_runs[WRITTEN_RUNS];
	uint32_t *window_lists; /* a table of window_max for those of local entries, then one for global ones */
	struct splice splices[SPLICES]; /* found by a hash of the addresses */
	uint8_t *splice_base;           /* where they are mapped; NULL: none yet */
	bool splices_full;
	uint64_t loop_bound[CARRIED]; /* where the run ends in which a register of the active loop points (loop.c) */
	uint64_t mirror_base; /* distance of the active mirror */
	uint64_t datum; /* what an instruction with two memory accesses has read */
	uint64_t host_rsp, target, fpu_return, fpu_load, fpu_unload, x87_load;
	uint64_t (*call)(struct translator *t); /* at a SITE_CALL: where to go on, 0: leave */
	/* At a SITE_MEMORY, with registers in out: likewise; with MISS_FAULTED, a fault was delivered and they are in cpu->s. */
	uint64_t (*miss)(struct translator *t);
	struct x87_image x87_image;
	struct resume resume;
	struct jump_slot *jump; /* JUMP_TABLES of 1 << jump_bits */
	unsigned jump_bits;
	/* The rest is C's. */
	uint16_t key;
	uint16_t jump_keys[JUMP_TABLES];
	unsigned jump_tables;
	uint64_t cr4;        /* code was made for these KEY_CR4 bits */
	jmp_buf fault_exit;
	uint8_t *write_base, *exec_base;
	size_t code_bytes;
	uint32_t code_start; /* the stubs lie before */
	struct code_region regions[REGIONS];
	unsigned region;     /* that is being filled: code_used and the counts are its */
	uint32_t huge_code, huge_windows; /* numbers of the huge pages that are being filled (tables.c) */
	bool huge_tables;
	uint64_t generation; /* grows when numbers of sites and blocks get another meaning */
	uint32_t code_used;
	uint32_t enter, leave, leave_flags, no_jump, miss_stub, resume_stub, resume_end;
	uint32_t call_stub[2][2]; /* code32, with flags in EFLAGS */
	uint32_t load_stub[3], unload_stub[3], unload_call;
	uint32_t window_stub[3][2][2]; /* view, write, constant address */
	struct site *sites;
	uint32_t site_count, site_max;
	uint32_t window_count, window_max;
	struct block *blocks;
	uint32_t block_count, block_max;
	struct fault_entry *faults;
	uint32_t fault_count, fault_max;
	uint32_t *hash; /* of blocks: 1 << hash_bits numbers */
	unsigned hash_bits;
	struct page_entry pages[1 << PAGE_HASH_BITS];
	struct page_pair pairs[PAGE_PAIRS]; /* used last, by a hash */
	uint32_t pair_count;                /* the last number given */
	uint8_t alone[4096]; /* see code_alone */
	uint32_t page_count;
	bool bmi2;
	bool inside;         /* translated code is active (for the signal handler) */
	bool again;          /* the indirect branch just left is to be interpreted */
	bool attend;         /* the interpreter's loop has to look at something */
	bool delivered;      /* left at a SITE_MEMORY after a fault was delivered: state is in cpu->s as at a SITE_CALL */
	stack_t outer_stack; /* of the thread that runs the vCPU */
	void *signal_stack;
	ZydisDecoder decoders[2]; /* of 64-bit and 32-bit code */
	const ZydisDecoder *decoder; /* the one for key */
	struct memo *memo;           /* decode.c */
	struct segmentation segmentation[SEGMENTATIONS]; /* by number; 0 is 64-bit code's */
	unsigned segmentation_count, segmentation_last;
	struct statistics statistics;
	struct mirrors *mirrors; /* NULL: there are none (mirror.c) */
	bool mirror_gs;      /* GS holds the distance of the active one; else it is added to addresses */
	bool mirrored, mirrored_low; /* the current address space has one, and for low addresses */
	uint8_t windowed[16384]; /* see code_windowed */
	struct verify *verify; /* NULL: translated code is trusted */
	int perf_map; /* descriptor of /tmp/perf-PID.map; -1: not wanted */
};

static inline struct translator *translator_of(struct x86_cpu *cpu)
{
	return cpu->engine_data;
}

/* A key's segmentation; that of 64-bit code is all zero. */
static inline const struct segmentation *segmentation_of(const struct translator *t, uint16_t key)
{
	return &t->segmentation[key >> KEY_SEGMENTS_SHIFT];
}

/* Linear address of code by its rip, and back, under a key. */
static inline uint64_t linear_of(const struct translator *t, uint16_t key, uint64_t rip)
{
	return key & KEY_CODE32 ? (uint32_t)(rip + segmentation_of(t, key)->code_base) : rip;
}

static inline uint64_t rip_of(const struct translator *t, uint16_t key, uint64_t linear)
{
	return key & KEY_CODE32 ? (uint32_t)(linear - segmentation_of(t, key)->code_base) : linear;
}

/* Where what `segment` adds to an address is. */
static inline const uint64_t *lower_segment_base(const struct translator *t, int segment)
{
	return segment == SEGMENT_DATUM ? &t->datum : &t->cpu->s.seg[segment].base;
}

static inline struct jump_slot *jump_table(struct translator *t, uint16_t key)
{
	for (unsigned i = 0; i < t->jump_tables; i++)
		if (t->jump_keys[i] == key)
			return t->jump + ((size_t)i << t->jump_bits);
	return NULL;
}

/* The factor spreads addresses that are multiples of 16, as functions' are. */
#define JUMP_FACTOR 0x9e3779b1u
static inline unsigned jump_index(const struct translator *t, uint64_t rip)
{
	return (uint32_t)rip * JUMP_FACTOR >> (32 - t->jump_bits);
}

/* A rip that is not looked up in slot `index`. Slots other than the first are so when they are all zero. */
static inline uint64_t jump_empty(unsigned index)
{
	return index == 0;
}

/* CR4 bits that are not in the key but in the code: when one changes everything is translated anew. */
#define KEY_CR4 (X86_CR4_SMAP | X86_CR4_FSGSBASE | X86_CR4_LA57 | X86_CR4_PKE)

static inline bool cr4_changed(const struct translator *t)
{
	return (t->cpu->s.cr4 ^ t->cr4) & KEY_CR4;
}

/* Status flags between t->flags and s.rflags. */
static inline void flags_in(struct translator *t)
{
	uint64_t rflags = t->cpu->s.rflags;

	t->flags = (uint32_t)((rflags & 0xff) << 8 | ((rflags & X86_OF) != 0));
}

static inline void flags_out(struct translator *t)
{
	struct x86_cpu *cpu = t->cpu;
	uint64_t flags = (t->flags >> 8 & (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF)) | (t->flags & 1 ? X86_OF : 0);

	cpu->s.rflags = (cpu->s.rflags & ~(uint64_t)X86_STATUS_FLAGS) | flags;
}

/* Something is to be done before the next instruction. */
static inline bool events_pending(const struct x86_cpu *cpu)
{
	uint32_t events = atomic_load_explicit(&cpu->vcpu.events, memory_order_relaxed);

	return __builtin_expect(events, 0) && (events & ~(uint32_t)VCPU_INTR || cpu->s.rflags & X86_IF);
}

/* --- report.c --- */
int report_init(struct translator *t, struct error *err);
void report_fini(struct translator *t);
/* engine_ops.jit_report */
void report_jit(struct vcpu *vcpu, struct jit_report *report);
/* Somebody wants report_block's text. */
static inline bool report_wanted(const struct translator *t)
{
	return __builtin_expect(t->perf_map >= 0 || log_on(t->cpu->vcpu.engine->env.log, LOG_IN_ASM | LOG_OP | LOG_OUT_ASM), 0);
}

#endif
