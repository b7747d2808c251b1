/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the translator knows of one guest instruction before it writes anything. */
#ifndef XUNI_CPU_TRANSLATE_CLASSIFY_H
#define XUNI_CPU_TRANSLATE_CLASSIFY_H

#include "cpu/translate/internal.h"

enum kind {
	KIND_INTERPRET,
	KIND_COPY,      /* the same bytes */
	KIND_SKIP,      /* has no effect that shows */
	KIND_MEMORY,    /* one explicit memory operand, rewritten */
	KIND_LEA_RIP,
	KIND_BITS,      /* a bit string: bits.c */
	KIND_STRING,    /* one element: strings.c */
	KIND_SYSTEM,    /* in line, or C is called: system.c */
	KIND_PUSH, KIND_PUSH_IMM, KIND_PUSH_MEMORY, KIND_POP, KIND_LEAVE,
	KIND_JCC, KIND_JCXZ /* and LOOP */, KIND_JMP, KIND_CALL, KIND_RET, KIND_JMP_INDIRECT, KIND_CALL_INDIRECT,
	KIND_SYSTEM_END, /* the block ends with it */
};

/* An address as translated code computes it. */
struct memory {
	int base, index, segment; /* NO_REGISTER: absent, for the segment: with base 0; SEGMENT_DATUM */
	unsigned scale;
	int64_t disp; /* more than 32 bits only without base and index */
	bool address32;
	uint32_t limit; /* 32-bit code: of the segment */
};

struct guest_instruction {
	const uint8_t *bytes;
	uint64_t rip;
	enum kind kind;
	uint16_t uses;       /* GPRs read or written in any way */
	uint16_t direct;     /* of those, all but what only KIND_MEMORY's address is made of */
	uint16_t overwrites; /* GPRs that get a new value whatever they held, and that are not read */
	uint32_t flags_read, flags_killed; /* status flags */
	uint32_t flags_live; /* before it; filled backwards */
	bool flags_live_after;
	bool vector, x87, faults;
	bool high_byte;      /* has AH..BH: no REX prefix */
	bool writes, reads;  /* memory */
	uint16_t size;       /* of the memory operand; of a SITE_CALL */
	uint8_t system;      /* KIND_SYSTEM: system.c's */
	uint8_t helper;
	uint32_t host;       /* offset of its code */
	struct memory memory;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

/* report.c: what -d in_asm,op,out_asm and -perfmap say of a new block, whose code is [start, end), from cold on out of line. */
void report_block(struct translator *t, const struct block *block, const struct guest_instruction *list, unsigned count,
                  uint32_t start, uint32_t cold, uint32_t end);

/* Disassembles; decoder NULL: host code. */
void report_code(struct log *log, const ZydisDecoder *decoder, const uint8_t *bytes, unsigned length, uint64_t address);

#define ALL_FLAGS ((uint32_t)X86_STATUS_FLAGS)

/* g->insn, operands, bytes and rip are there; fills the rest. */
void classify(const struct translator *t, struct guest_instruction *g);
/* Status flags that the code at `bytes` may read before it sets them, by looking at a few instructions. */
uint32_t classify_live_flags(const struct translator *t, const uint8_t *bytes, unsigned length);
/* Target of a direct branch. */
uint64_t classify_target(const struct translator *t, const struct guest_instruction *g);

/* code32.c: whether 32-bit code's instruction is the interpreter's for reasons of its own. */
bool code32_refuses(const struct guest_instruction *g);
/* Adds the segment to g->memory; false: the access faults, or the segment is one that the translator does not take. */
bool code32_segment(const struct translator *t, struct guest_instruction *g, unsigned segment, bool write);
/* Whether the segment is one that the translator takes. */
bool code32_allows(const struct translator *t, unsigned segment, bool write);
/* A KIND_COPY instruction as it is written in 64-bit mode. Returns its length. */
unsigned code32_copy(uint8_t *to, const struct guest_instruction *g);

/* strings.c: whether it lowers this string instruction. */
bool string_classify(const struct translator *t, struct guest_instruction *g);
/* Segment register of a string instruction's source; NO_REGISTER: that of base 0. */
int string_source(const struct translator *t, const struct guest_instruction *g);

/* bits.c: whether it lowers this bit string. */
bool bits_classify(const struct translator *t, struct guest_instruction *g);

/* system.c: true when the instruction is a system instruction that translated code does itself or by its own helper. */
bool system_classify(const struct translator *t, struct guest_instruction *g);
/* An instruction that nobody knows: the interpreter is called. */
void system_classify_rest(struct guest_instruction *g);
/* What status flags a KIND_SYSTEM reads and changes. */
void system_flags(struct guest_instruction *g);

/* rewrite.c: the instruction with its memory operand at [base + (index << scale) + disp], either may be absent. Returns the length,
 * 0: cannot. */
unsigned rewrite(uint8_t *to, const struct guest_instruction *g, int base, int index, unsigned scale, int32_t disp);

#endif
