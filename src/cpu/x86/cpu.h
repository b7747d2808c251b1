/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One x86 CPU as the software engines (interp, translate) hold it: the architectural state, what is derived from it,
 * the software TLB and the way out of a faulting instruction. The functions below are the architecture; how guest
 * instructions are decoded and dispatched is the engines' business. All of it runs in the vCPU's own thread.
 *
 * Faults: a function that can fault calls x86_raise*, which records the fault and longjmps to *cpu->fault_exit. State is
 * precise: whoever calls a faulting function has not yet changed registers that the instruction must leave alone.
 * s.rip is the faulting instruction's address at that moment (the engine advances it only when an instruction is done).
 */
#ifndef XUNI_CPU_X86_CPU_H
#define XUNI_CPU_X86_CPU_H

#include "core/engine.h"
#include "core/ram.h"

#include <setjmp.h>

enum {
	X86_CF = 1 << 0, X86_PF = 1 << 2, X86_AF = 1 << 4, X86_ZF = 1 << 6, X86_SF = 1 << 7, X86_TF = 1 << 8, X86_IF = 1 << 9,
	X86_DF = 1 << 10, X86_OF = 1 << 11, X86_IOPL = 3 << 12, X86_NT = 1 << 14, X86_RF = 1 << 16, X86_VM = 1 << 17,
	X86_AC = 1 << 18, X86_VIF = 1 << 19, X86_VIP = 1 << 20, X86_ID = 1 << 21,
	X86_STATUS_FLAGS = X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_OF,
};

#define X86_CR0_PE (1ull << 0)
#define X86_CR0_MP (1ull << 1)
#define X86_CR0_EM (1ull << 2)
#define X86_CR0_TS (1ull << 3)
#define X86_CR0_ET (1ull << 4)
#define X86_CR0_NE (1ull << 5)
#define X86_CR0_WP (1ull << 16)
#define X86_CR0_AM (1ull << 18)
#define X86_CR0_NW (1ull << 29)
#define X86_CR0_CD (1ull << 30)
#define X86_CR0_PG (1ull << 31)
#define X86_CR4_VME (1ull << 0)
#define X86_CR4_PVI (1ull << 1)
#define X86_CR4_TSD (1ull << 2)
#define X86_CR4_DE (1ull << 3)
#define X86_CR4_PSE (1ull << 4)
#define X86_CR4_PAE (1ull << 5)
#define X86_CR4_MCE (1ull << 6)
#define X86_CR4_PGE (1ull << 7)
#define X86_CR4_PCE (1ull << 8)
#define X86_CR4_OSFXSR (1ull << 9)
#define X86_CR4_OSXMMEXCPT (1ull << 10)
#define X86_CR4_UMIP (1ull << 11)
#define X86_CR4_LA57 (1ull << 12)
#define X86_CR4_FSGSBASE (1ull << 16)
#define X86_CR4_PCIDE (1ull << 17)
#define X86_CR4_OSXSAVE (1ull << 18)
#define X86_CR4_SMEP (1ull << 20)
#define X86_CR4_SMAP (1ull << 21)
#define X86_CR4_PKE (1ull << 22)
#define X86_EFER_SCE (1ull << 0)
#define X86_EFER_LME (1ull << 8)
#define X86_EFER_LMA (1ull << 10)
#define X86_EFER_NXE (1ull << 11)

enum x86_vector {
	X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OFV = 4, X86_BR = 5, X86_UD = 6, X86_NM = 7, X86_DFV = 8,
	X86_TS = 10, X86_NP = 11, X86_SSF = 12, X86_GP = 13, X86_PFV = 14, X86_MF = 16, X86_ACV = 17, X86_MC = 18, X86_XM = 19,
	X86_DEBUG_REDO = 0xfe, /* no exception: see x86_debug_access */
};

/* How code is decoded and executed now; part of the key of cached code. */
enum x86_code_mode { X86_CODE16, X86_CODE32, X86_CODE64 };

enum x86_access {
	X86_READ = 0,
	X86_WRITE = 1 << 0,
	X86_FETCH = 1 << 1,
	X86_USER = 1 << 2,     /* as CPL 3; else supervisor */
	X86_IMPLICIT = 1 << 3, /* descriptor tables, TSS: supervisor whatever CPL, subject to SMAP as implicit access */
};

/* Software TLB: direct-mapped, one array per way of looking at memory (enum x86_view). An entry answers for one 4 KiB linear page. tag_* is the page's
 * linear address when that kind of access needs no help, ~0 otherwise. addend + gva = hva. MMIO, watched pages (code,
 * dirty tracking) and pages with armed watchpoints never get their tag set. 64 bytes, so that translated code finds an
 * entry by shift and mask. */
struct x86_tlb_entry {
	_Alignas(64) uint64_t tag_read; /* alone, or each of them would be aligned */
	uint64_t tag_write, tag_fetch;
	uintptr_t addend;
	/* The runs of linear addresses around the page that answer alike and lie together in the host: the large page
	 * that it is part of, or the page alone. They mean something where tag_read or tag_write is set. */
	uint64_t run_start, run_write_start;
	uint16_t run_pages, run_write_pages;
	uint32_t global; /* 0 or 1: lies in the upper half and survives a CR3 write */
	uint32_t frame;  /* guest-physical page number */
	uint32_t code;   /* an engine's number for tag_fetch and frame; 0 since either of them changed */
};
_Static_assert(sizeof(struct x86_tlb_entry) == 64, "translated code finds entries by a shift");

static inline uint64_t x86_tlb_gpa(const struct x86_tlb_entry *entry)
{
	return (uint64_t)entry->frame << PAGE_SHIFT;
}

/* The supervisor sees user pages only with RFLAGS.AC while CR4.SMAP is set, so it has two views. The empty one is never
 * filled: it is active while alignment is checked (CPL 3, CR0.AM, RFLAGS.AC), so that every access goes the slow way. */
enum x86_view { X86_VIEW_SUPERVISOR, X86_VIEW_USER, X86_VIEW_SUPERVISOR_AC, X86_VIEW_EMPTY, X86_VIEWS };
#define X86_TLB_NONE (~0ull) /* a tag that no page has */
#define X86_TLB_BITS 12
#define X86_TLB_ENTRIES (1u << X86_TLB_BITS)

struct x86_cpu;
/* What an engine does that keeps copies of TLB entries. All in the vCPU's thread. */
struct x86_tlb_copies {
	/* Entries are dropped; those with `global` set only when globals. */
	void (*dropped)(struct x86_cpu *cpu, bool globals);
	/* x86_tlb_protect and x86_tlb_tell_written for the copies. */
	bool (*protect)(struct x86_cpu *cpu, uint64_t gpa);
	void (*tell_written)(struct x86_cpu *cpu);
	/* For copies that outlive `dropped`, by address space: what must not be used any more is of the page gva of the
	 * current one (large: of the large page around it); or of that with this PCID, -1: of all. */
	void (*page_dropped)(struct x86_cpu *cpu, uint64_t gva, bool large);
	void (*space_dropped)(struct x86_cpu *cpu, int pcid);
	/* CR3 was written by an instruction; where a state was put in, space_dropped for all says it. */
	void (*space_entered)(struct x86_cpu *cpu);
};

/* Somebody who looks on as a CPU uses its memory, or shows it another one. Called in the vCPU's thread for what the TLB does
 * not answer; vector registers are out. */
struct x86_memory_watch {
	/* Where the bytes of a page of RAM lie for this CPU: hva, or a copy, which ram is told nothing of. Before the access. */
	uint8_t *(*page)(struct x86_cpu *cpu, uint64_t gva, uint64_t gpa, uint8_t *hva, unsigned access);
	/* Whoever reads a page may write it afterwards without another question: page is asked as for a write then. */
	bool reads_let_write;
	/* Page of the guest's memory that gva's page stands for in a view, if that is known without a walk. May be NULL. */
	bool (*mapping)(struct x86_cpu *cpu, uint64_t gva, enum x86_view view, unsigned access, uint64_t *gpa);
};

struct x86_cpu {
	struct vcpu vcpu;   /* first */
	struct x86_state s; /* rflags: see flags_* below */
	uint64_t zero;      /* stays 0: stands for an absent base or index where engines address registers */

	/* Status flags (CF PF AF ZF SF OF) may be held by the engine in a lazy form; then s.rflags' copies are stale until
	 * flags_sync(cpu). NULL: they are always in s.rflags. */
	void (*flags_sync)(struct x86_cpu *cpu);

	/* Derived by x86_mode_update from CR0, CR4, EFER, CS, SS, RFLAGS.VM; the engine reads them. */
	uint8_t cpl;
	uint8_t code_mode;     /* enum x86_code_mode */
	bool protected_mode;   /* PE and not VM */
	bool long_mode;        /* EFER.LMA */
	bool vm86;
	bool paging;
	bool flat_data;        /* DS, ES, SS base 0 and limit 4 GiB, or 64-bit mode: no segment arithmetic needed */
	uint64_t stack_mask;   /* 0xffff, 0xffffffff or ~0 */
	bool breakpoints_armed;/* DR7 enables something */
	/* A debugger's points; NULL: none. Data of watched pages is never answered by the TLB. */
	const struct debug_points *debug;
	/* The instruction that executes now, or a delivery, must not be taken back when it hits a watchpoint (see
	 * x86_debug_access): the engine looks at vcpu.debug_hit when it is done. */
	bool debug_alone;
	bool alignment_checked;/* #AC is possible */
	uint64_t a20_mask;

	struct x86_tlb_entry *tlb_active; /* the view of data accesses and fetches now: by CPL, CR4.SMAP and RFLAGS.AC */
	struct x86_tlb_entry tlb[X86_VIEWS][X86_TLB_ENTRIES];
	const struct x86_tlb_copies *tlb_copies; /* NULL: nobody has copies */
	uint64_t tlb_generation; /* grows with every flush; engines key their own caches of linear addresses by it */

	/* What CPUID offers, for checks (#UD, reserved bits). */
	const struct cpuid_table *cpuid;
	struct x86_features *features; /* cpu/x86/features.h */

	/* The fault on its way to delivery. */
	jmp_buf *fault_exit; /* of who runs the CPU now */
	uint8_t fault_vector;
	bool fault_has_error;
	uint32_t fault_error;
	uint64_t fault_dr6;     /* bits to merge into DR6 when #DB is delivered */
	uint64_t debug_pending; /* DR6 bits of data breakpoints and task switches, to be trapped after the instruction */
	struct x86_fault_log *fault_log; /* recent deliveries, for the report of a triple fault */
	struct x86_delivery *delivery;   /* exception.c's own state */
	struct x86_translation *translation; /* paging.c's own state */
	struct x86_xsave_components *xsave_components; /* xsave.c's: CPUID leaf 0xD at hand */
	/* The engine may call into cpu/x86, which is built without vector instructions, while vector registers are the
	 * guest's; this puts them away. NULL: they are always the host's. */
	void (*vectors_out)(const struct x86_cpu *cpu);
	bool bus_locked;                 /* holds the engine's bus lock; a fault releases it */
	const struct x86_memory_watch *memory_watch; /* NULL: nobody */
	void *memory_watch_opaque;
	void *engine_data;
};

static inline struct x86_cpu *x86_cpu_of(struct vcpu *vcpu)
{
	return (struct x86_cpu *)vcpu;
}

/* --- life (cpu.c) --- */
/* Allocates the pieces the architecture needs; `cpu` itself (zeroed, at least sizeof(struct x86_cpu), possibly the
 * head of a larger engine structure) is the engine's. */
int x86_cpu_init(struct x86_cpu *cpu, struct engine *engine, unsigned index, uint32_t apic_id, struct error *err);
void x86_cpu_fini(struct x86_cpu *cpu);
/* Power-on (init false) or INIT state, SDM 3A 10.1. */
void x86_cpu_reset(struct x86_cpu *cpu, bool init);
/* As reset, on the neutral structure alone, for boot loaders and KVM. bsp: not waiting for SIPI. */
void x86_state_reset(struct x86_state *state, bool bsp);
void x86_cpu_get_state(struct x86_cpu *cpu, struct x86_state *state);
/* The TSC is always the clock's plus tsc_adjust: state->tsc is reported but not taken back. apic_base is the mirror that
 * memory accesses look at; the local APIC is told by nobody here. A pending exception makes x86_take_events deliver it. */
void x86_cpu_set_state(struct x86_cpu *cpu, const struct x86_state *state);
/* cpu becomes what `of` is now, with an empty TLB. */
void x86_cpu_mirror(struct x86_cpu *cpu, const struct x86_cpu *of);
/* Recomputes the derived fields; called after anything they depend on changed. */
void x86_mode_update(struct x86_cpu *cpu);
/* STAC and CLAC (permission checks are the caller's): sets RFLAGS.AC and chooses the TLB view by it. */
void x86_set_ac(struct x86_cpu *cpu, bool ac);
/* WRPKRU: drops the translations that the old value allowed. */
void x86_set_pkru(struct x86_cpu *cpu, uint32_t pkru);

/* --- faults (exception.c) --- */
_Noreturn void x86_raise(struct x86_cpu *cpu, enum x86_vector vector);              /* no error code */
_Noreturn void x86_raise_error(struct x86_cpu *cpu, enum x86_vector vector, uint32_t error);
_Noreturn void x86_raise_page_fault(struct x86_cpu *cpu, uint64_t gva, uint32_t error); /* sets CR2 */
/* Delivers the recorded fault: promotes to #DF by class (SDM 3A table 6-5), pushes the frame, enters the handler. Called
 * by the engine's loop after it caught fault_exit. Returns false on a triple fault (already logged, with its chain). */
bool x86_deliver_fault(struct x86_cpu *cpu);
/* Delivers an external interrupt or NMI (may itself fault: longjmps). */
void x86_deliver_interrupt(struct x86_cpu *cpu, uint8_t vector);
void x86_deliver_nmi(struct x86_cpu *cpu);
/* INT n, INT3, INTO, INT1: next_rip is the return address. Includes vm86 redirection. */
void x86_software_interrupt(struct x86_cpu *cpu, uint8_t vector, uint64_t next_rip);
/* The end of an instruction: when cpu->debug_pending is not 0 or the instruction began with RFLAGS.TF set (single_step),
 * call it with s.rip already advanced; raises #DB as a trap. The engine also clears RFLAGS.RF after every instruction
 * but IRET, and the interrupt shadows: STI sets s.shadow_sti, MOV SS and POP SS set s.shadow_ss, and the engine clears
 * both when the instruction after that one is done. Deliveries clear them too. */
void x86_debug_trap(struct x86_cpu *cpu, bool single_step);
/* Handles vcpu.events that the architecture defines (INIT, SIPI, NMI, INTR) at an instruction boundary, honouring IF and
 * the shadows. Returns true when something was delivered (s.rip changed). */
bool x86_take_events(struct x86_cpu *cpu);
/* True when an event is pending that would be taken now (wakes HLT). */
bool x86_event_ready(struct x86_cpu *cpu);

/* --- memory by linear address (tlb.c, paging.c; inline fast path in cpu/x86/mem.h) --- */
/* The page's physical address, or raises #PF. Sets accessed and dirty bits (atomically). What a memory_watch knows goes before
 * the page tables. */
uint64_t x86_walk(struct x86_cpu *cpu, uint64_t gva, unsigned access);
/* Without side effects: 0, or -EFAULT. */
int x86_walk_debug(const struct x86_cpu *cpu, uint64_t gva, uint64_t *gpa);
void x86_tlb_flush(struct x86_cpu *cpu);                   /* everything */
void x86_tlb_flush_page(struct x86_cpu *cpu, uint64_t gva);/* INVLPG */
/* A page of guest-physical memory is watched for writes from now on (it holds code): no silent write to it is possible
 * any more. For the CPU's own thread; returns whether one was. */
bool x86_tlb_protect(struct x86_cpu *cpu, uint64_t gpa);
/* All pages that this CPU could write silently count as written, and cannot be any more. */
void x86_tlb_tell_written(struct x86_cpu *cpu);
/* Out-of-line halves of mem.h: MMIO, page crossing, TLB miss, watched pages. size 1..64. */
void x86_read_slow(struct x86_cpu *cpu, uint64_t gva, void *to, unsigned size, unsigned access);
void x86_write_slow(struct x86_cpu *cpu, uint64_t gva, const void *from, unsigned size, unsigned access);
/* Tries to get the tag for this access into tlb_active's slot of gva; accessed and dirty bits are set. false: the access
 * would fault, or memory wants to see it one by one. Raises nothing. */
bool x86_tlb_fill(struct x86_cpu *cpu, uint64_t gva, unsigned access);
/* After it failed: bit 31 and the error code when the access is certain to raise #PF with CR2 = gva, or 0. */
uint32_t x86_tlb_fault(struct x86_cpu *cpu, uint64_t gva, unsigned access);
/* Host address for a read-modify-write or a vector access of size bytes at gva when it lies in one page of RAM that may
 * be written (write permission, dirty bits and ram_written done); NULL: MMIO or page-crossing, use read and write. */
void *x86_rmw_pointer(struct x86_cpu *cpu, uint64_t gva, unsigned size);
/* Where an access at gva as the CPU is now would reach the bus, which is good to the end of the page: the physical address.
 * false: it would not, or would fault, or somebody watches. Accessed and dirty bits are set. */
bool x86_bus_gpa(struct x86_cpu *cpu, uint64_t gva, unsigned access, uint64_t *gpa);
/* Faults as a write of [gva, +size) would, without writing. */
void x86_probe_write(struct x86_cpu *cpu, uint64_t gva, unsigned size);
/* Serialises a locked access that is not a single host instruction (MMIO or page-crossing LOCK). */
void x86_bus_lock(struct x86_cpu *cpu);
void x86_bus_unlock(struct x86_cpu *cpu);

/* --- segments and far control transfer (segment.c, transfer.c, task.c) --- */
/* Linear address of [offset, +size) in a segment: limit, type, canonical checks; raises #GP or #SS. */
uint64_t x86_linear(struct x86_cpu *cpu, unsigned segment, uint64_t offset, unsigned size, unsigned access);
void x86_load_segment(struct x86_cpu *cpu, unsigned segment, uint16_t selector); /* MOV/POP/Lxx sreg (not CS) */
/* operand_size 2, 4 or 8 bytes. next_rip: of the instruction after. */
void x86_far_jump(struct x86_cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size, uint64_t next_rip);
void x86_far_call(struct x86_cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size, uint64_t next_rip);
void x86_far_return(struct x86_cpu *cpu, unsigned operand_size, uint16_t pop_bytes);
void x86_interrupt_return(struct x86_cpu *cpu, unsigned operand_size, uint64_t next_rip);
void x86_syscall(struct x86_cpu *cpu, uint64_t next_rip);
void x86_sysret(struct x86_cpu *cpu, unsigned operand_size);
void x86_sysenter(struct x86_cpu *cpu);
void x86_sysexit(struct x86_cpu *cpu, unsigned operand_size);
void x86_lldt(struct x86_cpu *cpu, uint16_t selector);
void x86_ltr(struct x86_cpu *cpu, uint16_t selector);
bool x86_lar(struct x86_cpu *cpu, uint16_t selector, uint32_t *rights);  /* result = ZF */
bool x86_lsl(struct x86_cpu *cpu, uint16_t selector, uint32_t *limit);
bool x86_verify(struct x86_cpu *cpu, uint16_t selector, bool write);     /* VERR, VERW */
/* Stack pushes and pops of 2, 4 or 8 bytes through SS with the stack's address size. push stores before it moves rsp. */
void x86_push(struct x86_cpu *cpu, uint64_t value, unsigned size);
uint64_t x86_pop(struct x86_cpu *cpu, unsigned size);

/* --- control registers, MSRs, CPUID, timestamps (control.c, msr.c, cpuid.c) --- */
void x86_set_cr(struct x86_cpu *cpu, unsigned n, uint64_t value); /* MOV to CRn: all checks, flushes, mode changes */
uint64_t x86_get_cr(struct x86_cpu *cpu, unsigned n);
void x86_set_dr(struct x86_cpu *cpu, unsigned n, uint64_t value);
uint64_t x86_get_dr(struct x86_cpu *cpu, unsigned n);
void x86_lmsw(struct x86_cpu *cpu, uint16_t value);
void x86_xsetbv(struct x86_cpu *cpu, uint32_t index, uint64_t value);
uint64_t x86_rdmsr(struct x86_cpu *cpu, uint32_t msr);            /* raises #GP */
void x86_wrmsr(struct x86_cpu *cpu, uint32_t msr, uint64_t value);
void x86_cpuid(struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
uint64_t x86_rdtsc(struct x86_cpu *cpu);                          /* with TSC_ADJUST; the caller checks CR4.TSD */
/* The machine's clock was started (vCPU outside run): writes the kvmclock page anew. */
void x86_kvmclock_refresh(struct x86_cpu *cpu);
void x86_invpcid(struct x86_cpu *cpu, uint64_t type, uint64_t pcid, uint64_t gva);
/* POPF/IRET-style flag load: mask of changeable bits by mode, CPL and IOPL; VIF and VIP rules. */
void x86_set_rflags(struct x86_cpu *cpu, uint64_t value, unsigned operand_size);
/* Raises #GP unless CPL, IOPL and the TSS bitmap allow the ports [port, +size). Notes I/O breakpoints (CR4.DE). */
void x86_check_io(struct x86_cpu *cpu, uint16_t port, unsigned size);
/* Data breakpoints for an access just done, and instruction breakpoints at s.rip (raises #DB). */
void x86_check_watchpoints(struct x86_cpu *cpu, uint64_t gva, unsigned size, bool write);
void x86_check_breakpoint(struct x86_cpu *cpu);
/* The debugger's points are these from now on; drops all translations. */
void x86_debug_set(struct x86_cpu *cpu, const struct debug_points *points);
/* cpu->debug is set: an access to [gva, +size) that the debugger watches. Before it is done: takes the instruction back
 * unless debug_alone, by fault_exit with fault_vector X86_DEBUG_REDO; the engine executes it again with debug_alone. After
 * it: notes the hit. */
void x86_debug_access(struct x86_cpu *cpu, uint64_t gva, unsigned size, bool write, bool done);

/* --- XSAVE family and FXSAVE memory images (xsave.c); gva checked and faulting as the instruction does --- */
void x86_fxsave(struct x86_cpu *cpu, uint64_t gva, bool rex_w);
void x86_fxrstor(struct x86_cpu *cpu, uint64_t gva, bool rex_w);
enum x86_xsave_form { X86_XSAVE, X86_XSAVEOPT, X86_XSAVEC, X86_XSAVES };
void x86_xsave(struct x86_cpu *cpu, uint64_t gva, uint64_t mask, enum x86_xsave_form form, bool rex_w);
void x86_xrstor(struct x86_cpu *cpu, uint64_t gva, uint64_t mask, bool supervisor, bool rex_w);

#endif
