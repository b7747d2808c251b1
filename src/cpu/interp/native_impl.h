/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of native execution share: the plan of one routine, made by native_plan.c, turned into host code by
 * native_emit.c and placed by native.c. */
#ifndef XUNI_CPU_INTERP_NATIVE_IMPL_H
#define XUNI_CPU_INTERP_NATIVE_IMPL_H

#include "cpu/interp/native.h"

#define NATIVE_UNIT          64u   /* routines begin at multiples of this */
#define NATIVE_ROUTINE_BYTES 2048u /* no routine is longer */

/* One guest instruction, re-encoded for the host. Masks have one bit a guest register. */
struct native_plan {
	uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
	uint8_t length;
	uint16_t gpr_used, gpr_written;
	uint8_t host_gpr[16]; /* the host register that stands for a used guest register */
	uint8_t state_reg;    /* host register that holds struct x86_state * */
	uint8_t memory_reg;   /* host register that holds the memory operand's address */
	uint32_t vector_used, vector_written;
	uint8_t vector_bytes; /* how much of a vector is loaded and stored: 16, 32 or 64 */
	uint8_t opmask_used, opmask_written;
	bool has_memory;
	bool x87; /* x87 or MMX state is loaded and stored */
	bool mxcsr;
	bool flags_in, flags_out;
	bool saves_rbx;
	bool dirties_uppers; /* ends with VZEROUPPER */
	bool may_fault;
};

/* Fills plan and the descriptive fields of out (not run). has: native_host_sets'. 0 or -ENOTSUP. */
int native_plan(struct native_plan *plan, struct native_code *out, const ZydisDecodedInstruction *instruction,
		const ZydisDecodedOperand *operands, const bool *has);
/* Writes plan->bytes: the instruction with substituted registers and memory operand. 0 or -ENOTSUP. */
int native_encode(struct native_plan *plan, const ZydisDecodedInstruction *instruction,
		  const ZydisDecodedOperand *operands);
/* Writes the routine (at most NATIVE_ROUTINE_BYTES); returns its length. *fault_exit is the offset of the code that
 * leaves after a host exception with the vector in EAX, 0 when the instruction has none. */
unsigned native_emit(const struct native_plan *plan, uint8_t *to, unsigned *fault_exit);
/* Which instruction sets the host executes, by ZydisISASet. */
void native_host_sets(bool has[ZYDIS_ISA_SET_MAX_VALUE + 1]);

/* The guest number of a general register operand (AH counts as RAX), -1 for other registers. */
int native_gpr(ZydisRegister reg);
static inline bool native_is_high_byte(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

#endif
