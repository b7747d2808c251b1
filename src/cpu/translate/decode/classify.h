/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the translator knows of one guest instruction before it writes anything. */
#ifndef XUNI_CPU_TRANSLATE_DECODE_CLASSIFY_H
#define XUNI_CPU_TRANSLATE_DECODE_CLASSIFY_H

#include "cpu/translate/translator.h"

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
	int64_t disp;   /* more than 32 bits only without base and index */
	uint32_t limit; /* 32-bit code: of the segment */
	int8_t base, index, segment; /* NO_REGISTER: absent, for the segment: with base 0; SEGMENT_DATUM */
	uint8_t scale;
	bool address32;
	bool displacement; /* disp is the instruction's displacement, read from its bytes */
	bool rip_relative; /* with what follows added */
};

struct operand {
	uint16_t reg;  /* ZydisRegister */
	uint16_t size; /* bits */
	uint8_t type;  /* ZydisOperandType */
	int8_t gpr;    /* number of the general register; NO_REGISTER: it is none */
};

/* Many are made: what Zydis says is here as far as somebody asks for it. Offsets are of bytes, 0: there is none; sizes of bits. */
struct guest_instruction {
	const uint8_t *bytes;
	uint64_t rip;
	struct memory memory;
	int64_t immediate;   /* the first operand that is one, sign-extended if its kind is; a direct branch's distance; 0: none */
	ZydisInstructionAttributes attributes;
	enum kind kind;
	uint32_t flags_read, flags_killed; /* status flags */
	uint32_t flags_live; /* before it; filled backwards */
	uint32_t host;       /* offset of its code */
	uint16_t uses;       /* GPRs read or written in any way */
	uint16_t direct;     /* of those, all but what only KIND_MEMORY's address is made of */
	uint16_t overwrites; /* GPRs that get a new value whatever they held, and that are not read */
	uint16_t written;    /* GPRs that may get a new value */
	uint16_t size;       /* of the memory operand; of a SITE_CALL */
	uint16_t mnemonic;
	struct operand operands[2]; /* the first ones */
	uint8_t length, category, encoding, opcode_map, opcode, operand_width, address_width;
	uint8_t modrm_offset, sib_offset, disp_offset, disp_size;
	uint8_t immediate_offset, immediate_size; /* size 0: not read from its bytes */
	uint8_t system;      /* KIND_SYSTEM: system.c's */
	uint8_t helper;
	bool flags_live_after;
	bool vector, x87, faults;
	bool high_byte;      /* has AH..BH: no REX prefix */
	bool writes, reads;  /* memory */
	bool masked;         /* a mask can leave out all of the memory operand */
	bool rex_w;          /* in a REX prefix */
	bool sign_extended;  /* the immediate */
};

/* What Zydis says, while an instruction is classified. */
struct decoded {
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

/* A legacy prefix. */
static inline bool is_prefix(uint8_t byte)
{
	switch (byte) {
	case 0xf0: case 0xf2: case 0xf3: case 0x66: case 0x67:
	case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65:
		return true;
	default:
		return false;
	}
}

static inline unsigned modrm_reg(const struct guest_instruction *g)
{
	return g->modrm_offset ? g->bytes[g->modrm_offset] >> 3 & 7 : 0;
}

/* report.c: what -d in_asm,op,out_asm and -perfmap say of a new block, whose code is [start, end), from cold on out of line. */
void report_block(struct translator *t, const struct block *block, const struct guest_instruction *list, unsigned count,
                  uint32_t start, uint32_t cold, uint32_t end);

/* Disassembles; decoder NULL: host code. */
void report_code(struct log *log, const ZydisDecoder *decoder, const uint8_t *bytes, unsigned length, uint64_t address);

#define ALL_FLAGS ((uint32_t)X86_STATUS_FLAGS)

/* Decodes the instruction at `bytes`, of which `room` are there, and fills *g but for flags_live, flags_live_after and host. Its
 * bytes must outlive it. Returns Zydis' status: with an error *g is not to be used. */
ZyanStatus classify(const struct translator *t, struct guest_instruction *g, const uint8_t *bytes, unsigned room, uint64_t rip);
/*
 * The form of an instruction is what its leading bytes decide under a key: all of *g but what classify_tail fills in. Returns how
 * many bytes; 0: more than bytes and the key decides.
 */
unsigned classify_form(const struct translator *t, const struct guest_instruction *g);
/* *g is an instruction of the same form, but for bytes and rip: fills in what depends on these. False: it is to be classified. */
bool classify_tail(const struct translator *t, struct guest_instruction *g);

/* decode.c: classify, with a memo of forms. */
int decode_init(struct translator *t, struct error *err);
/* Also after decode_init has failed, or was not called. */
void decode_fini(struct translator *t);
/* Forgets all instructions: what they depend on besides their bytes and the key has changed. */
void decode_forget(struct translator *t);
/* As classify. */
ZyanStatus decode(const struct translator *t, struct guest_instruction *g, const uint8_t *bytes, unsigned room, uint64_t rip);
/* An instruction of the form of that at `bytes`, but for bytes and rip, until the next call of decode; NULL: there is none in the memo. */
const struct guest_instruction *decode_known(const struct translator *t, const uint8_t *bytes, unsigned room);

/* Status flags that the code at `bytes` may read before it sets them, by looking at a few instructions. */
uint32_t classify_live_flags(const struct translator *t, const uint8_t *bytes, unsigned length);
/* Target of a direct branch. */
uint64_t classify_target(const struct translator *t, const struct guest_instruction *g);

/* code32.c: whether 32-bit code's instruction is the interpreter's for reasons of its own. */
bool code32_refuses(const struct decoded *d, const uint8_t *bytes);
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
