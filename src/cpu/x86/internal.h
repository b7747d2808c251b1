/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of cpu/x86 share among themselves: descriptors, stacks being built, system-structure accesses,
 * the state of address translation and of event delivery. Engines include cpu.h and mem.h only. */
#ifndef XUNI_CPU_X86_INTERNAL_H
#define XUNI_CPU_X86_INTERNAL_H

#include "base/util.h"
#include "core/bus.h"
#include "core/clock.h"
#include "core/ram.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/features.h"
#include "cpu/x86/mem.h"

#define X86_PF_PRESENT  1u
#define X86_PF_WRITE    2u
#define X86_PF_USER     4u
#define X86_PF_RESERVED 8u
#define X86_PF_FETCH    16u
#define X86_PF_KEY      32u

/* --- translation (paging.c, tlb.c) --- */

/* Slots filled since the last flush, each once, so that a flush need not walk the whole TLB. One list for translations
 * of global pages, which a CR3 write leaves alone, one for the others. A slot is view * X86_TLB_ENTRIES + index. */
#define X86_TLB_SLOTS (X86_VIEW_EMPTY * X86_TLB_ENTRIES)
#define X86_TLB_RANGE_BITS 12
struct x86_tlb_fills {
	unsigned count;
	uint16_t slot[X86_TLB_SLOTS];
	uint64_t listed[X86_TLB_SLOTS / 64];
};

/* How a page may be used and where it lies. */
struct x86_leaf {
	uint64_t gpa; /* of the 4 KiB page */
	uint8_t page_shift;
	bool user, writable, no_execute, dirty, global;
	uint8_t key;
	uint8_t may; /* enum x86_permission in the view of the access that asked; set by x86_page_walk */
};

/* A paging-structure cache (SDM 3A 4.10.3) for long mode: what lies above the PTEs of a 2 MiB range, or the large page
 * that holds it. Every flush ends it by the generation. */
struct x86_walk_cache {
	uint64_t range;      /* gva >> 21 */
	uint64_t generation; /* of cpu->tlb_generation + 1; 0: empty */
	uint64_t *table;     /* the page table; NULL: leaf is the page */
	uint64_t table_gpa;
	const struct ram_slot *slot; /* of the table */
	struct x86_leaf leaf;        /* rights of the upper levels; of a large page: all of it, gpa for offset 0 */
};
#define X86_WALK_CACHE_ENTRIES 64

/* What the TLB held of an address space when it was left (pcid.c). */
#define X86_TLB_SPACES 8
#define X86_TLB_KEPT   128
struct x86_tlb_space {
	uint16_t pcid;
	unsigned count;   /* 0: empty */
	uint64_t kept_at; /* cpu->tlb_generation then */
	struct {
		uint16_t slot;
		struct x86_tlb_entry entry;
	} kept[X86_TLB_KEPT];
	uint32_t frames[X86_TLB_KEPT]; /* of the entries, once more, as in struct x86_translation */
};

struct x86_translation {
	const struct ram_slot *slot;   /* that answered last */
	uint64_t pdpte[4];             /* PAE paging's registers, loaded with CR3 */
	struct x86_tlb_fills fills[2]; /* [global] */
	uint32_t frames[X86_TLB_SLOTS]; /* of the entries, once more: x86_tlb_protect looks for one among them all */
	uint64_t global_slots[X86_TLB_SLOTS / 64]; /* what the slots hold now is global, if they hold something */
	/* By hash: 2 MiB ranges with a fill from a 2 or 4 MiB page, 1 GiB ranges with one from a 1 GiB page. */
	uint64_t large_pages[1 << X86_TLB_RANGE_BITS >> 6];
	uint64_t huge_pages[1 << X86_TLB_RANGE_BITS >> 6];
	struct x86_walk_cache walk_cache[X86_WALK_CACHE_ENTRIES];
	struct x86_tlb_space spaces[X86_TLB_SPACES];
};

enum x86_permission { X86_MAY_READ = 1, X86_MAY_WRITE = 2, X86_MAY_FETCH = 4 };

/* 0 and *leaf, or the #PF error code with X86_PF_* (| 1 << 31 so that "not present, read, supervisor" is not 0). */
uint32_t x86_page_walk(struct x86_cpu *cpu, uint64_t gva, unsigned access, struct x86_leaf *leaf);
/* The walk as text, for reports; always ends with NUL. */
void x86_page_walk_text(const struct x86_cpu *cpu, uint64_t gva, char *text, size_t size);
static inline enum x86_view x86_view_of(const struct x86_cpu *cpu, unsigned access)
{
	if (access & X86_IMPLICIT)
		return X86_VIEW_SUPERVISOR;
	if (access & X86_USER)
		return X86_VIEW_USER;
	return cpu->s.rflags & X86_AC && cpu->s.cr4 & X86_CR4_SMAP ? X86_VIEW_SUPERVISOR_AC : X86_VIEW_SUPERVISOR;
}
/* Loads the PDPTE registers from memory when PAE paging is on with these values; false: a reserved bit is set. */
bool x86_load_pdptes(struct x86_cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4);
/* Empties the TLB whatever is in it; once, before anything else. */
void x86_tlb_init(struct x86_cpu *cpu);
/* Drops what a CR3 write drops: everything but global pages. */
void x86_tlb_flush_local(struct x86_cpu *cpu);
/* As that, but the address space that is current is only left. */
void x86_tlb_leave_space(struct x86_cpu *cpu);
/* To an engine that keeps copies by address space: those of a PCID (-1: all) are no good any more; CR3 is another one. */
void x86_tlb_tell_space(struct x86_cpu *cpu, int pcid);
void x86_tlb_tell_entered(struct x86_cpu *cpu);
/* A slot that is not empty any more. */
void x86_tlb_list(struct x86_tlb_fills *fills, unsigned slot);
/* A MOV to CR3 leaves PCID `from` for `to`; come_back: bit 63, translations of `to` are still good. */
void x86_tlb_switch(struct x86_cpu *cpu, unsigned from, unsigned to, bool come_back);
/* Translations of PCIDs but the current one are dropped, all or those of one. */
void x86_tlb_forget_spaces(struct x86_cpu *cpu);
void x86_tlb_forget_space(struct x86_cpu *cpu, unsigned pcid);

/* Before a call out of cpu/x86 into what may use vector registers: see cpu->vectors_out. */
static inline void x86_vectors_out(const struct x86_cpu *cpu)
{
	if (cpu->vectors_out)
		cpu->vectors_out(cpu);
}

static inline const struct ram_slot *x86_ram_slot(const struct x86_cpu *cpu, uint64_t gpa)
{
	struct x86_translation *translation = cpu->translation;
	const struct ram_slot *slot = translation->slot;

	if (__builtin_expect(slot && gpa - slot->gpa < slot->size, 1))
		return slot;
	slot = ram_find(cpu->vcpu.engine->env.ram, gpa);
	if (slot)
		translation->slot = slot;
	return slot;
}

static inline bool x86_canonical(const struct x86_cpu *cpu, uint64_t gva)
{
	unsigned spare = cpu->s.cr4 & X86_CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(gva << spare) >> spare) == gva;
}

/* Chooses tlb_active by CPL, CR0.AM, CR4.SMAP and RFLAGS.AC. */
static inline void x86_choose_view(struct x86_cpu *cpu)
{
	cpu->alignment_checked = cpu->cpl == 3 && cpu->s.rflags & X86_AC && cpu->s.cr0 & X86_CR0_AM;
	if (__builtin_expect(cpu->alignment_checked, 0))
		cpu->tlb_active = cpu->tlb[X86_VIEW_EMPTY];
	else
		cpu->tlb_active = cpu->tlb[x86_view_of(cpu, cpu->cpl == 3 ? X86_USER : 0)];
}

static inline void x86_flags_sync(struct x86_cpu *cpu)
{
	if (cpu->flags_sync)
		cpu->flags_sync(cpu);
}

static inline unsigned x86_user_access(const struct x86_cpu *cpu)
{
	return cpu->cpl == 3 ? X86_USER : 0;
}

/* Blocks of up to 64 bytes; access: X86_USER or X86_IMPLICIT or 0. */
static inline void x86_read_block(struct x86_cpu *cpu, uint64_t gva, void *to, unsigned size, unsigned access)
{
	const struct x86_tlb_entry *entry =
		&cpu->tlb[x86_view_of(cpu, access)][(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];

	if (__builtin_expect((gva & ~(PAGE_SIZE - 1)) == entry->tag_read && (gva & (PAGE_SIZE - 1)) <= PAGE_SIZE - size,
			     1))
		memcpy(to, (const void *)(gva + entry->addend), size);
	else
		x86_read_slow(cpu, gva, to, size, access);
}

static inline void x86_write_block(struct x86_cpu *cpu, uint64_t gva, const void *from, unsigned size, unsigned access)
{
	const struct x86_tlb_entry *entry =
		&cpu->tlb[x86_view_of(cpu, access)][(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];

	if (__builtin_expect(
		    (gva & ~(PAGE_SIZE - 1)) == entry->tag_write && (gva & (PAGE_SIZE - 1)) <= PAGE_SIZE - size, 1))
		memcpy((void *)(gva + entry->addend), from, size);
	else
		x86_write_slow(cpu, gva, from, size, access);
}

/* System structures: descriptor tables, TSS. Linear addresses outside long mode wrap at 4 GiB. */
static inline uint64_t x86_system_gva(const struct x86_cpu *cpu, uint64_t gva)
{
	return cpu->long_mode ? gva : (uint32_t)gva;
}

static inline uint16_t x86_system_read16(struct x86_cpu *cpu, uint64_t gva)
{
	uint16_t value;

	x86_read_block(cpu, x86_system_gva(cpu, gva), &value, sizeof(value), X86_IMPLICIT);
	return value;
}

static inline uint32_t x86_system_read32(struct x86_cpu *cpu, uint64_t gva)
{
	uint32_t value;

	x86_read_block(cpu, x86_system_gva(cpu, gva), &value, sizeof(value), X86_IMPLICIT);
	return value;
}

static inline uint64_t x86_system_read64(struct x86_cpu *cpu, uint64_t gva)
{
	uint64_t value;

	x86_read_block(cpu, x86_system_gva(cpu, gva), &value, sizeof(value), X86_IMPLICIT);
	return value;
}

static inline void x86_system_write(struct x86_cpu *cpu, uint64_t gva, uint64_t value, unsigned size)
{
	x86_write_block(cpu, x86_system_gva(cpu, gva), &value, size, X86_IMPLICIT);
}

/* --- descriptors (segment.c) --- */

enum x86_system_type {
	X86_SYS_TSS16 = 1,
	X86_SYS_LDT = 2,
	X86_SYS_TSS16_BUSY = 3,
	X86_SYS_CALL_GATE16 = 4,
	X86_SYS_TASK_GATE = 5,
	X86_SYS_INTERRUPT_GATE16 = 6,
	X86_SYS_TRAP_GATE16 = 7,
	X86_SYS_TSS32 = 9,
	X86_SYS_TSS32_BUSY = 11,
	X86_SYS_CALL_GATE32 = 12,
	X86_SYS_INTERRUPT_GATE32 = 14,
	X86_SYS_TRAP_GATE32 = 15,
};
enum {
	X86_TYPE_ACCESSED = 1,
	X86_TYPE_WRITE = 2,
	X86_TYPE_READ = 2,
	X86_TYPE_DOWN = 4,
	X86_TYPE_CONFORMING = 4,
	X86_TYPE_CODE = 8
};

/* A descriptor as it was read, and where. */
struct x86_descriptor {
	uint64_t raw;
	uint64_t gva;
	uint32_t attr; /* as struct x86_segment's */
};

static inline unsigned x86_attr_dpl(uint32_t attr)
{
	return attr >> X86_SEG_DPL_SHIFT & 3;
}

static inline bool x86_attr_code(uint32_t attr)
{
	return (attr & (X86_SEG_S | X86_TYPE_CODE)) == (X86_SEG_S | X86_TYPE_CODE);
}

static inline bool x86_attr_writable_data(uint32_t attr)
{
	return (attr & (X86_SEG_S | X86_TYPE_CODE | X86_TYPE_WRITE)) == (X86_SEG_S | X86_TYPE_WRITE);
}

static inline uint64_t x86_descriptor_base(uint64_t raw)
{
	return (raw >> 16 & 0xffffff) | (raw >> 56) << 24;
}

static inline uint32_t x86_descriptor_limit(uint64_t raw)
{
	uint32_t limit = (raw & 0xffff) | (raw >> 32 & 0xf0000);

	return raw >> 55 & 1 ? limit << 12 | 0xfff : limit;
}

static inline bool x86_selector_null(uint16_t selector)
{
	return !(selector & ~3);
}

/* False: the selector lies beyond its table (the caller raises what fits). Null selectors are the caller's business. */
bool x86_descriptor_read(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *descriptor);
/* As above with the error raised: vector with the selector as its error code. */
void x86_descriptor_get(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *descriptor,
			enum x86_vector vector);
/* Upper half of a 16-byte system descriptor (long mode). */
uint64_t x86_descriptor_high(struct x86_cpu *cpu, const struct x86_descriptor *descriptor);
/* Sets the accessed bit in memory (and in *descriptor) unless it is set. */
void x86_descriptor_accessed(struct x86_cpu *cpu, struct x86_descriptor *descriptor);
/* Fills a segment register's hidden part; no checks. */
void x86_segment_set(struct x86_segment *segment, uint16_t selector, const struct x86_descriptor *descriptor);
void x86_segment_set_null(struct x86_segment *segment, uint16_t selector, unsigned dpl);
void x86_segment_set_real(struct x86_segment *segment, uint16_t selector);
void x86_segment_set_vm86(struct x86_segment *segment, uint16_t selector);
/* Checks a code segment for a jump, call or return to privilege level cpl and marks it accessed; raises. */
enum x86_code_check { X86_CODE_JUMP, X86_CODE_RETURN };
void x86_code_segment_check(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *descriptor,
			    enum x86_code_check check);
/* Checks a stack segment for privilege level cpl; vector: X86_TS when it came from a TSS, else X86_GP. */
void x86_stack_segment_check(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *descriptor, unsigned cpl,
			     enum x86_vector vector);
/* rip inside the (new) code segment, or #GP(0). */
void x86_check_rip(struct x86_cpu *cpu, const struct x86_segment *cs, uint64_t rip);
/* After a return to an outer level: data segments that it may not hold become null. */
void x86_drop_privileged_segments(struct x86_cpu *cpu);

/* --- stacks that are being built or taken down (stack.c) --- */

struct x86_stack {
	uint64_t base, sp, mask;
	uint32_t limit;
	uint32_t attr;
	unsigned access;   /* X86_USER or 0 */
	bool flat;         /* 64-bit */
	uint16_t selector; /* error code of a #SS when it is not the current stack */
};

/* The current stack, at the current CPL. */
void x86_stack_current(struct x86_cpu *cpu, struct x86_stack *stack);
/* A stack from a checked descriptor, for level cpl. */
void x86_stack_new(struct x86_stack *stack, uint16_t selector, const struct x86_descriptor *descriptor, uint64_t sp,
		   unsigned cpl);
void x86_stack_push(struct x86_cpu *cpu, struct x86_stack *stack, uint64_t value, unsigned size);
uint64_t x86_stack_pop(struct x86_cpu *cpu, struct x86_stack *stack, unsigned size);
/* Writes sp into RSP with the stack's width. */
void x86_stack_commit(struct x86_cpu *cpu, const struct x86_stack *stack);
/* SS:ESP (16/32-bit TSS) for an inner level; raises #TS. */
void x86_tss_stack(struct x86_cpu *cpu, unsigned level, uint16_t *ss, uint32_t *esp);
/* RSPn (index 0..2) or ISTn (index 3 + n) of a 64-bit TSS; raises #TS, or #SS for a non-canonical one. */
uint64_t x86_tss_rsp(struct x86_cpu *cpu, unsigned index);

/* --- tasks (task.c) --- */
enum x86_task_source { X86_TASK_JUMP, X86_TASK_CALL, X86_TASK_INTERRUPT, X86_TASK_IRET };
/* Switches to the task of a TSS whose descriptor was read. next_rip is saved in the old TSS. After it, cpu->s is the
 * new task's; faults while its segments load are raised in the new task. */
void x86_task_switch(struct x86_cpu *cpu, uint16_t selector, enum x86_task_source source, uint64_t next_rip);
/* As x86_task_switch through a task gate's selector, with the gate-specific checks. */
void x86_task_gate(struct x86_cpu *cpu, uint64_t gate, enum x86_task_source source, uint64_t next_rip);

/* --- delivery (exception.c) --- */
enum x86_delivery_kind {
	X86_DELIVER_NONE,
	X86_DELIVER_INTERRUPT, /* external; benign for #DF */
	X86_DELIVER_NMI,
	X86_DELIVER_EXCEPTION,
	X86_DELIVER_SOFTWARE, /* INT n, INT3, INTO: DPL checked, no EXT */
	X86_DELIVER_ICEBP,    /* INT1 */
};

struct x86_delivery {
	enum x86_delivery_kind kind; /* NONE: no delivery is under way */
	uint8_t vector;
	uint8_t chain[4]; /* vectors since the first that was not delivered */
	unsigned chain_length;
	struct log_limit limit;
};

#define X86_FAULT_LOG_ENTRIES 8
struct x86_fault_record {
	uint8_t vector, kind, cpl;
	bool has_error;
	uint16_t cs, ss;
	uint32_t error;
	uint64_t rip, rsp, cr2, instructions;
};
struct x86_fault_log {
	unsigned next;
	struct x86_fault_record record[X86_FAULT_LOG_ENTRIES];
};

/* Enters the handler of a vector; return_rip is what is pushed. Leaves cpu->delivery->kind set when it faults itself.
 */
void x86_deliver(struct x86_cpu *cpu, uint8_t vector, enum x86_delivery_kind kind, bool has_error, uint32_t error,
		 uint64_t return_rip);
/* Delivers the exception or interrupt that a set_state brought along (s.exception_*). */
void x86_deliver_pending(struct x86_cpu *cpu);

/* --- XSAVE (xsave.c) --- */
struct x86_xsave_component {
	uint16_t size, offset; /* bytes; offset in a standard image */
	bool aligned;          /* to 64 in a compacted image */
};
struct x86_xsave_components {
	struct x86_xsave_component component[64];
};
/* Fills cpu->xsave_components from the CPUID table. */
void x86_xsave_components_init(struct x86_cpu *cpu);

/* DR7 type 10: notes ports [port, +size) in cpu->debug_pending. */
void x86_check_io_breakpoints(struct x86_cpu *cpu, uint16_t port, unsigned size);

/* RFLAGS bits that POPF, IRET and the like never change to 1 or 0: bit 1 is always set, 3, 5, 15 and 22+ clear. */
#define X86_RFLAGS_DEFINED                                                                                             \
	(X86_STATUS_FLAGS | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_RF | X86_VM | X86_AC | X86_VIF |        \
	 X86_VIP | X86_ID)

/* Replaces RFLAGS within mask (status flags included), with the reserved bits right, and the TLB view. */
void x86_rflags_replace(struct x86_cpu *cpu, uint64_t value, uint64_t mask);
static inline unsigned x86_iopl(const struct x86_cpu *cpu)
{
	return cpu->s.rflags >> 12 & 3;
}

/* --- MSRs (msr.c, mtrr.c, kvmclock.c) --- */
bool x86_mtrr_read(struct x86_cpu *cpu, uint32_t msr, uint64_t *value);
bool x86_mtrr_write(struct x86_cpu *cpu, uint32_t msr, uint64_t value, bool *fault);
bool x86_kvm_msr_read(struct x86_cpu *cpu, uint32_t msr, uint64_t *value);
bool x86_kvm_msr_write(struct x86_cpu *cpu, uint32_t msr, uint64_t value, bool *fault);
/* The table's entry, or NULL. */
const struct cpuid_entry *x86_cpuid_entry(const struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf);
bool x86_is_amd(const struct x86_cpu *cpu);

#define X86_MXCSR_DEFINED 0xffffu

/* TSC_ADJUST changed: the APIC's deadline timer and kvmclock follow. */
void x86_tsc_moved(struct x86_cpu *cpu);

#endif
