/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host CPU as the oracle of the interpreter. A case is one instruction with all registers and memory around it; it
 * runs once on the host, at user privilege and with signals caught, and once in the interpreter at CPL 3 with the same
 * pages at the same addresses. Both end with an exception: the INT3 behind the instruction, or its fault. Code is
 * 64-bit, 32-bit with flat segments (as Linux runs 32-bit programs), or 16-bit or 32-bit with segments that begin at the
 * pages below.
 */
#ifndef XUNI_TESTS_ORACLE_H
#define XUNI_TESTS_ORACLE_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where things lie, on the host and in the guest. Everything else near by is unmapped. */
#define ORACLE_CODE  0x10000000ull /* one page, read and execute; INT3 around the instruction */
#define ORACLE_DATA  0x10010000ull /* two pages */
#define ORACLE_CONST 0x10020000ull /* one page, read-only */
#define ORACLE_STACK 0x10030000ull /* one page */
#define ORACLE_PAGE  4096u

#define ORACLE_TIMEOUT 255 /* instead of a vector */

struct oracle_regs {
	uint64_t gpr[16], rip, rflags;
	uint16_t fcw, fsw;
	uint8_t ftw; /* abridged */
	uint32_t mxcsr;
	uint8_t st[8][16];
	uint8_t vector[32][64];
	uint64_t opmask[8];
};

struct oracle_memory {
	uint8_t code[ORACLE_PAGE], data[2 * ORACLE_PAGE], constant[ORACLE_PAGE], stack[ORACLE_PAGE];
};

struct oracle_state {
	struct oracle_regs regs;
	struct oracle_memory memory;
	unsigned mode;   /* of the code: 64, 32 or 16 bits */
	bool segmented;  /* segments of 64 KiB that begin at the pages; always with 16 bits, never with 64 */
	unsigned vector; /* outcome only */
	uint32_t error;
	uint64_t cr2;
};

struct oracle_case {
	uint64_t seed;
	uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
	uint8_t length;
	uint16_t offset; /* of the instruction in the code page; near the end it leaves the page, which faults */
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	struct oracle_state in, host, guest;
};

/* One small generator for all that is random. */
struct oracle_random {
	uint64_t state;
};

static inline uint64_t random_next(struct oracle_random *r) /* splitmix64 */
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline uint32_t random_below(struct oracle_random *r, uint32_t limit)
{
	return (uint32_t)((random_next(r) >> 32) * limit >> 32);
}

static inline bool random_chance(struct oracle_random *r, unsigned percent)
{
	return random_below(r, 100) < percent;
}

/* --- values.c --- */
void generate_registers(struct oracle_regs *regs, struct oracle_random *r);
void generate_memory(struct oracle_memory *memory, struct oracle_random *r);

/* --- generate.c, operands.c --- */
/* Makes the case of this seed. mode 0: any; segmented: instead of flat ones in 32-bit code. bytes non-NULL: of this instruction instead of a random one. False: no
 * valid, safe and offered instruction came out. */
bool generate_case(struct oracle_case *c, uint64_t seed, unsigned mode, bool segmented, const uint8_t *bytes,
		   unsigned length);
/* Registers and memory for c->instruction; may change displacements and immediates in c->bytes. */
void generate_operands(struct oracle_case *c, struct oracle_random *r);
bool generate_decode(struct oracle_case *c);
/* Linear address of a memory operand (not VSIB) with the registers of c->in. */
uint64_t case_address(const struct oracle_case *c, const ZydisDecodedOperand *operand);

/* Base of a segment register's segment in the case's mode. */
uint64_t case_segment_base(const struct oracle_case *c, ZydisRegister segment);

/* --- filter.c --- */
/* What must not run on the host (system calls, the host's segments...) or cannot agree (time, random numbers). */
bool filter_refuses(const struct oracle_case *c);
/* The same when registers are known. */
bool filter_refuses_addresses(const struct oracle_case *c);
/* The same when the outcome is known: such a case passes unseen. */
bool filter_refuses_operands(const struct oracle_case *c);
/* Only the page of CR2 counts. */
bool filter_inexact_cr2(const struct oracle_case *c);
/* Flags that may differ, by documentation. */
uint64_t filter_undefined_flags(const struct oracle_case *c);

/* --- host.c --- */
/* Selectors, on the host and in the guest. The segmented ones are of the LDT: a code, a data and a stack segment at
 * ORACLE_CODE, ORACLE_DATA, ORACLE_STACK. */
enum {
	ORACLE_CS64 = 0x33,
	ORACLE_CS32 = 0x23,
	ORACLE_DS = 0x2b, /* Linux's */
	ORACLE_CS16 = 0x07,
	ORACLE_DS16 = 0x0f,
	ORACLE_SS16 = 0x17,
	ORACLE_CS32_SMALL = 0x1f,
	ORACLE_DS32_SMALL = 0x27,
	ORACLE_SS32_SMALL = 0x2f,
};
/* False: the kernel has no modify_ldt, so no segmented code can run. */
bool host_has_ldt(void);
/* Whether the kernel goes to code of this mode, with this RSP. There are hypervisors below which it cannot go to 32-bit code, nor to
 * any with an RSP that is not canonical. */
bool host_runs(unsigned mode, uint64_t rsp);
/* In the process that is to run cases: maps the pages, installs handlers. */
void host_setup(void);
bool host_has_avx512(void);
void host_run(const struct oracle_state *in, struct oracle_state *out);

/* --- guest.c --- */
struct guest;
/* translate: with that engine instead of a bare interpreter. Prints and exits on failure. */
enum oracle_engine { ORACLE_INTERP, ORACLE_TRANSLATE, ORACLE_VERIFY /* translate,verify=on */ };
struct guest *guest_new(enum oracle_engine engine);
bool guest_offers(const struct guest *guest, ZydisISASet set);
/* Without it registers have 256 bits, and there are 16 of them. */
bool guest_has_avx512(const struct guest *guest);
void guest_run(struct guest *guest, const struct oracle_state *in, struct oracle_state *out);

/* --- compare.c --- */
/* True when the outcomes agree; else prints how not (when print). */
bool compare_case(const struct oracle_case *c, bool print);

#endif
