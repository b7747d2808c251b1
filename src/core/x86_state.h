/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The architectural state of one x86-64 CPU, neutral to all engines: what get_state and set_state exchange, what is
 * saved, what `info registers` and gdb show. Numbering of registers is the instruction encoding's.
 */
#ifndef XUNI_CORE_X86_STATE_H
#define XUNI_CORE_X86_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI, X86_R8, X86_R15 = 15 };
enum { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_SEGMENTS };

/* attr holds the descriptor's attribute bits as VT-x lays them out (SDM 3C 25.4.1): type 3:0, S 4, DPL 6:5, P 7, AVL 12,
 * L 13, D/B 14, G 15, unusable 16. limit is in bytes (already scaled by G). */
struct x86_segment {
	uint64_t base;
	uint32_t limit;
	uint32_t attr;
	uint16_t selector;
};

enum {
	X86_SEG_TYPE = 0xf,
	X86_SEG_S = 1 << 4,
	X86_SEG_DPL_SHIFT = 5,
	X86_SEG_P = 1 << 7,
	X86_SEG_AVL = 1 << 12,
	X86_SEG_L = 1 << 13,
	X86_SEG_DB = 1 << 14,
	X86_SEG_G = 1 << 15,
	X86_SEG_UNUSABLE = 1 << 16,
};

struct x86_table {
	uint64_t base;
	uint16_t limit;
};

/* x87, SSE, AVX, AVX-512 in one neutral form; independent of the host's XSAVE layout. */
struct x86_fpu {
	uint16_t fcw, fsw;
	uint8_t ftw;      /* abridged: one bit a physical register, 1 = not empty (FXSAVE form) */
	uint16_t fop;
	uint64_t fip, fdp;
	uint16_t fcs, fds;
	uint32_t mxcsr;
	_Alignas(16) uint8_t st[8][16];   /* ST(0)..ST(7), 10 bytes used */
	_Alignas(64) uint8_t vector[32][64];
	uint64_t opmask[8];
};

enum x86_mp_state { X86_MP_RUNNING, X86_MP_HALTED, X86_MP_WAIT_SIPI };

struct x86_state {
	uint64_t gpr[16];
	uint64_t rip;
	uint64_t rflags;
	struct x86_segment seg[X86_SEGMENTS], ldtr, tr;
	struct x86_table gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t dr[4], dr6, dr7;
	uint64_t xcr0, xss;
	uint32_t pkru;
	struct x86_fpu fpu;

	/* MSRs that are CPU state (the local APIC's live in the local APIC). */
	uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, apic_base, misc_enable, spec_ctrl, tsc_aux, tsc_adjust, tsc_deadline;
	uint64_t tsc; /* value at the moment the state was taken (the machine's clock stands still then) */
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_var[16];
	uint64_t mcg_status;
	uint64_t kvm_system_time, kvm_wall_clock, kvm_async_pf, kvm_steal_time, kvm_pv_eoi, kvm_poll_control;

	/* What is between two instructions. */
	enum x86_mp_state mp_state;
	bool shadow_sti, shadow_ss; /* interrupts are held off for one instruction */
	bool nmi_masked;            /* an NMI handler has not yet executed IRET */
	bool nmi_pending;
	bool exception_pending;     /* an exception or interrupt was accepted but not yet delivered */
	bool exception_has_error;
	bool exception_soft;        /* INT n, INT3, INTO: rip was already advanced */
	uint8_t exception_vector;
	uint32_t exception_error;
};

#endif
