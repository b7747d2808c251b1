/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Executing one guest instruction as the host's own instruction on the guest's register file: x87, MMX, SSE, AVX and
 * the integer instructions that are too rare to be worth a handler (PDEP, CRC32, ADCX...). The instruction is
 * re-encoded once into a small routine that loads the registers it reads (GPRs, flags, vectors, x87), executes it with
 * its memory operand replaced by a pointer, and stores what it wrote. Routines live in a W^X arena: one memfd mapped
 * twice, never writable and executable through the same mapping.
 */
#ifndef XUNI_CPU_INTERP_NATIVE_H
#define XUNI_CPU_INTERP_NATIVE_H

#include "base/error.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/features.h"

#include <Zydis/Zydis.h>

struct native_arena;

/* Which part of its memory operand an instruction with a write mask accesses: elements that the mask leaves out are
 * neither read nor written, and cannot fault (SDM 2A 2.8, exception classes without "NF"). */
struct native_masked {
	uint8_t opmask;   /* 0: all of the operand is accessed */
	uint8_t bits;     /* of the mask that count; bit i chooses element i modulo `elements` (broadcasts have fewer) */
	uint8_t element;  /* bytes */
	uint8_t elements; /* in memory */
	bool packed;      /* the chosen ones lie together at the operand's start (VCOMPRESS, VEXPAND) */
	bool whole_faults; /* what is not written can fault all the same (classes with "NF"; only where it is written) */
};

/* What a routine needs to know about the instruction, decided once. */
struct native_code {
	/* NULL: not executable this way. Returns 0, or a signal-born x86 vector (X86_DE, X86_MF, X86_XM) to raise; then
	 * no guest register was changed except the sticky exception flags that hardware sets (MXCSR, FSW). */
	int (*run)(struct x86_state *state, void *memory);
	uint16_t memory_bytes; /* of the memory operand; 0: none */
	bool memory_read, memory_written;
	struct native_masked masked;
	bool aligned;      /* misaligned operand is #GP(0) (movaps...); the caller checks the guest address */
	uint8_t alignment; /* 16, 32 or 64 when aligned */
	/* Which state it needs, for #NM and #UD checks by the caller: CR0.TS/EM, CR4.OSFXSR, XCR0. */
	bool uses_x87, uses_mmx, uses_sse, uses_avx, uses_avx512;
	bool x87_waits; /* a pending x87 exception (FSW.ES) is raised, as #MF and before any fault of the memory operand
			 */
	/* Flags are taken from and put into state->rflags. Whoever writes some of them also reads (flags that an
	 * instruction leaves alone must come back as they were): sync lazy flags when reads_flags. */
	bool writes_flags, reads_flags;
};

/* What the caller still does: the #UD, #NM and alignment checks above; for x87 instructions FOP, FIP, FDP, FCS and FDS
 * (a routine leaves them as they are); #UD instead of X86_XM without CR4.OSXMMEXCPT; FERR# instead of X86_MF without
 * CR0.NE; #MF before the memory operand is translated when x87_waits (without one the host notices).
 * state->fpu.mxcsr must hold no reserved bits. Threads that run routines must not block SIGFPE; the handler is
 * installed by native_arena_new. LOCK is executed as such: atomic when `memory` is guest memory itself. `memory` must
 * be aligned when `aligned`, also when it is a copy. */

struct native_arena *native_arena_new(size_t bytes, struct error *err);
void native_arena_free(struct native_arena *arena);
/* Forgets every routine (all native_code become invalid). No thread may be inside one. */
void native_arena_reset(struct native_arena *arena);

/* Compiles. 0; -ENOTSUP when the instruction is not of this kind; -ENOSPC when the arena is full (reset and retry).
 * Several vCPUs may compile and run at once. */
int native_compile(struct native_arena *arena, const ZydisDecodedInstruction *instruction,
		   const ZydisDecodedOperand *operands, struct native_code *out);

/* The elements of the memory operand, one bit each, that it will access; only when masked.opmask is not 0. A routine may
 * be given all of the operand, should that be there, or a copy that holds these elements: it leaves the others alone. */
uint64_t native_touched(const struct native_masked *masked, const struct x86_state *state);
/* Whether a guest's CPUID offers an AVX-512 instruction of this set. False for other sets. */
bool native_avx512_offered(const struct x86_features *features, ZydisISASet set);

/* Instructions with implicit or scattered memory operands (gathers, MASKMOVDQU, FSAVE...) are not covered: interp has
 * handlers for them. */

#endif
