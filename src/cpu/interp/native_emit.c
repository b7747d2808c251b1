/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes the routine around a re-encoded instruction: `int routine(struct x86_state *state, void *memory)` of the
 * System V calling convention. The frame is an FXSAVE image when x87 or MMX state is needed, else empty.
 *
 * Invariants:
 * 1. The state register is neither RAX nor a register of the instruction, and holds its value to the end.
 * 2. RSP does not change between prologue and epilogue (PUSHF/POP apart), so the fault exit may be entered from the
 *    instruction itself.
 * 3. Nothing is stored to the state before the instruction has completed.
 * 4. MXCSR and x87 control word have the ABI's initial values at the end (which C code must not have changed: asking
 * for them first costs more than the instruction), and the x87 stack is empty.
 */
#include "cpu/interp/native_impl.h"

#include "base/util.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

#define IMAGE         0 /* offset of the FXSAVE image from rsp */
#define HOST_MXCSR    0x1f80u
#define HOST_FCW      0x37fu
#define STATE_FLAGS   offsetof(struct x86_state, rflags)
#define STATE_FPU(m)  offsetof(struct x86_state, fpu.m)
#define STATE_GPR(n)  (offsetof(struct x86_state, gpr) + 8 * (n))
#define STATE_ST(n)   (STATE_FPU(st) + 16 * (n))
#define STATE_VEC(n)  (STATE_FPU(vector) + 64 * (n))
#define STATE_MASK(n) (STATE_FPU(opmask) + 8 * (n))

struct emitter {
	const struct native_plan *plan;
	uint8_t *to;
	unsigned at;
	unsigned frame;
	unsigned constants[4]; /* where a displacement to the constants at the end is to be filled in */
	unsigned constant_count;
};

static void put(struct emitter *e, const void *bytes, unsigned length)
{
	memcpy(e->to + e->at, bytes, length);
	e->at += length;
}

#define PUT(e, ...)                                                                                                    \
	do {                                                                                                           \
		const uint8_t code_[] = {__VA_ARGS__};                                                                 \
		put(e, code_, sizeof(code_));                                                                          \
	} while (0)

static void put32(struct emitter *e, uint32_t value)
{
	put(e, &value, sizeof(value));
}

/* ModRM and disp32 of [state + offset]; the state register needs no SIB. */
static void put_state(struct emitter *e, unsigned reg, size_t offset)
{
	PUT(e, (uint8_t)(0x80 | (reg & 7) << 3 | (e->plan->state_reg & 7)));
	put32(e, (uint32_t)offset);
}

static uint8_t rex(const struct emitter *e, bool w, unsigned reg)
{
	return (uint8_t)(0x40 | w << 3 | (reg & 8) >> 1 | e->plan->state_reg >> 3);
}

static void move_gpr(struct emitter *e, unsigned host, size_t offset, bool store)
{
	PUT(e, rex(e, true, host), store ? 0x89 : 0x8b);
	put_state(e, host, offset);
}

static void move_register(struct emitter *e, unsigned to, unsigned from)
{
	if (to != from)
		PUT(e, (uint8_t)(0x48 | (from & 8) >> 1 | to >> 3), 0x89, (uint8_t)(0xc0 | (from & 7) << 3 | (to & 7)));
}

/* Moves 16, 32 or 64 bytes of vector register n at [state + offset], unaligned. */
static void move_vector(struct emitter *e, unsigned n, size_t offset, unsigned bytes, bool store)
{
	const uint8_t b = e->plan->state_reg & 8 ? 0 : 0x20, r = n & 8 ? 0 : 0x80, opcode = store ? 0x11 : 0x10;

	if (bytes == 64)
		PUT(e, 0x62, (uint8_t)(r | 0x40 | b | (n & 16 ? 0 : 0x10) | 1), 0x7c, 0x48, opcode);
	else if (bytes == 32)
		PUT(e, 0xc4, (uint8_t)(r | 0x40 | b | 1), 0x7c, opcode);
	else
		PUT(e, rex(e, false, n), 0x0f, opcode);
	put_state(e, n, offset);
}

static void move_opmask(struct emitter *e, unsigned n, bool store)
{
	PUT(e, 0xc4, (uint8_t)(0xc1 | (e->plan->state_reg & 8 ? 0 : 0x20)), 0xf8, store ? 0x91 : 0x90);
	put_state(e, n, STATE_MASK(n));
}

/* LDMXCSR (reg 2) and STMXCSR (reg 3) of the guest's and the host's. */
static void guest_mxcsr(struct emitter *e, unsigned reg)
{
	PUT(e, rex(e, false, 0), 0x0f, 0xae);
	put_state(e, reg, STATE_FPU(mxcsr));
}

/* Opcode and ModRM (rip-relative) before it; offset from the first constant goes where the displacement will be. */
static void put_constant(struct emitter *e, uint32_t offset)
{
	e->constants[e->constant_count++] = e->at;
	put32(e, offset);
}

/* MXCSR, then FCW. */
static void put_constants(struct emitter *e)
{
	const uint32_t values[2] = {HOST_MXCSR, HOST_FCW};
	uint32_t displacement;

	for (unsigned i = 0; i < e->constant_count; i++) {
		memcpy(&displacement, e->to + e->constants[i], 4);
		displacement += e->at - (e->constants[i] + 4);
		memcpy(e->to + e->constants[i], &displacement, 4);
	}
	if (e->constant_count)
		put(e, values, sizeof(values));
}

static void host_mxcsr(struct emitter *e)
{
	PUT(e, 0x0f, 0xae, 0x15); /* ldmxcsr [rip] */
	put_constant(e, 0);
}

/* movups xmm, [rsp + offset] and back. */
static void move_stack_vector(struct emitter *e, unsigned n, uint32_t offset, bool store)
{
	PUT(e, 0x0f, store ? 0x11 : 0x10, (uint8_t)(0x84 | n << 3), 0x24);
	put32(e, offset);
}

static void load_x87(struct emitter *e)
{
	move_gpr(e, RAX, STATE_FPU(fcw), false);    /* FCW, FSW, FTW, FOP */
	PUT(e, 0x48, 0x89, 0x44, 0x24, IMAGE);      /* mov [image], rax */
	PUT(e, 0x31, 0xc0);                         /* xor eax, eax */
	PUT(e, 0x48, 0x89, 0x44, 0x24, IMAGE + 8);  /* FIP */
	PUT(e, 0x48, 0x89, 0x44, 0x24, IMAGE + 16); /* FDP */
	PUT(e, 0x0f, 0xae, 0x5c, 0x24, IMAGE + 24); /* stmxcsr: FXRSTOR loads it too */
	for (unsigned i = 0; i < 8; i++) {
		move_vector(e, i, STATE_ST(i), 16, false);
		move_stack_vector(e, i, IMAGE + 32 + 16 * i, true);
	}
	PUT(e, 0x48, 0x0f, 0xae, 0x4c, 0x24, IMAGE); /* fxrstor64 [image] */
}

static void store_x87(struct emitter *e)
{
	PUT(e, 0x48, 0x0f, 0xae, 0x44, 0x24, IMAGE); /* fxsave64 [image] */
	PUT(e, 0x8b, 0x44, 0x24, IMAGE);             /* mov eax, [image]: FCW, FSW */
	PUT(e, rex(e, false, RAX), 0x89);
	put_state(e, RAX, STATE_FPU(fcw));
	/* FNINIT is slow; without a pending exception EMMS and FLDCW do. */
	PUT(e, 0xa9); /* test eax, FSW.ES << 16 */
	put32(e, 0x80u << 16);
	PUT(e, 0x75, 10);   /* jnz to FNINIT */
	PUT(e, 0x0f, 0x77); /* emms */
	PUT(e, 0xd9, 0x2d); /* fldcw [rip] */
	put_constant(e, 4);
	PUT(e, 0xeb, 2);                     /* jmp over FNINIT */
	PUT(e, 0xdb, 0xe3);                  /* fninit */
	PUT(e, 0x8a, 0x44, 0x24, IMAGE + 4); /* mov al, [image + 4]: FTW */
	PUT(e, rex(e, false, RAX), 0x88);
	put_state(e, RAX, STATE_FPU(ftw));
	for (unsigned i = 0; i < 8; i++) {
		move_stack_vector(e, i, IMAGE + 32 + 16 * i, false);
		move_vector(e, i, STATE_ST(i), 16, true);
	}
}

static void load_vectors(struct emitter *e)
{
	for (unsigned i = 0; i < 32; i++)
		if (e->plan->vector_used & 1u << i)
			move_vector(e, i, STATE_VEC(i), e->plan->vector_bytes, false);
	for (unsigned i = 0; i < 8; i++)
		if (e->plan->opmask_used & 1u << i)
			move_opmask(e, i, false);
}

static void store_vectors(struct emitter *e)
{
	for (unsigned i = 0; i < 32; i++)
		if (e->plan->vector_written & 1u << i)
			move_vector(e, i, STATE_VEC(i), e->plan->vector_bytes, true);
	for (unsigned i = 0; i < 8; i++)
		if (e->plan->opmask_written & 1u << i)
			move_opmask(e, i, true);
	/* A VEX-encoded result clears the rest of the guest's register, be the host's as long or not. */
	if (e->plan->vector_bytes == 32 && e->plan->vector_written) {
		PUT(e, 0xc5, 0xf8, 0x57, 0xc0); /* vxorps xmm0, xmm0, xmm0 */
		for (unsigned i = 0; i < 16; i++)
			if (e->plan->vector_written & 1u << i)
				move_vector(e, 0, STATE_VEC(i) + 32, 32, true);
	}
}

/* Only the status flags: OF through an addition that overflows, the others through SAHF. */
static void load_flags(struct emitter *e)
{
	PUT(e, rex(e, false, RAX), 0x8b);
	put_state(e, RAX, STATE_FLAGS);
	PUT(e, 0x86, 0xe0); /* xchg al, ah */
	PUT(e, 0x24, 0x08); /* and al, 8: OF */
	PUT(e, 0x04, 0x78); /* add al, 0x78 */
	PUT(e, 0x9e);       /* sahf */
}

static void store_flags(struct emitter *e)
{
	PUT(e, 0x9c, 0x58); /* pushfq; pop rax */
	PUT(e, 0x25);       /* and eax, imm32 */
	put32(e, X86_STATUS_FLAGS);
	PUT(e, rex(e, false, 4), 0x81); /* and dword [state], imm32 */
	put_state(e, 4, STATE_FLAGS);
	put32(e, ~(uint32_t)X86_STATUS_FLAGS);
	PUT(e, rex(e, false, RAX), 0x09); /* or [state], eax */
	put_state(e, RAX, STATE_FLAGS);
}

static void move_gprs(struct emitter *e, uint16_t mask, bool store)
{
	for (unsigned i = 0; i < 16; i++)
		if (mask & 1u << i)
			move_gpr(e, e->plan->host_gpr[i], STATE_GPR(i), store);
}

static void prologue(struct emitter *e)
{
	const struct native_plan *plan = e->plan;

	if (plan->saves_rbx)
		PUT(e, 0x53);
	if (plan->x87)
		e->frame = IMAGE + 512;
	if (e->frame && !plan->saves_rbx)
		e->frame += 8; /* rsp is 8 modulo 16 at entry */
	if (e->frame) {
		PUT(e, 0x48, 0x81, 0xec);
		put32(e, e->frame);
	}
	move_register(e, plan->state_reg, RDI);
	if (plan->has_memory)
		move_register(e, plan->memory_reg, RSI);
}

static void epilogue(struct emitter *e)
{
	if (e->plan->dirties_uppers)
		PUT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
	if (e->frame) {
		PUT(e, 0x48, 0x81, 0xc4);
		put32(e, e->frame);
	}
	if (e->plan->saves_rbx)
		PUT(e, 0x5b);
	PUT(e, 0xc3);
}

/* Entered from the signal handler with the vector in EAX and everything else as it was at the instruction. */
static void fault_path(struct emitter *e)
{
	uint32_t skip, skip_bytes;

	if (e->plan->mxcsr) {
		guest_mxcsr(e, 3);
		host_mxcsr(e);
	}
	if (e->plan->x87 && e->plan->mxcsr) {
		/* With #XM the change to MMX state has already happened (CVTPI2PS mm); #MF came before everything. */
		PUT(e, 0x89, 0xc1);         /* mov ecx, eax */
		PUT(e, 0x83, 0xf8, X86_MF); /* cmp eax, 16 */
		PUT(e, 0x0f, 0x84);         /* je over what follows */
		skip = e->at;
		put32(e, 0);
		store_x87(e);
		skip_bytes = e->at - skip - 4;
		memcpy(e->to + skip, &skip_bytes, sizeof(skip_bytes));
		PUT(e, 0x89, 0xc8); /* mov eax, ecx */
	}
	if (e->plan->x87)
		PUT(e, 0xdb, 0xe3); /* fninit */
	epilogue(e);
}

unsigned native_emit(const struct native_plan *plan, uint8_t *to, unsigned *fault_exit)
{
	struct emitter e = {.plan = plan, .to = to};

	prologue(&e);
	if (plan->x87)
		load_x87(&e);
	load_vectors(&e);
	if (plan->mxcsr)
		guest_mxcsr(&e, 2);
	if (plan->flags_in)
		load_flags(&e);
	move_gprs(&e, plan->gpr_used, false);
	put(&e, plan->bytes, plan->length);
	move_gprs(&e, plan->gpr_written, true);
	if (plan->flags_out)
		store_flags(&e);
	if (plan->mxcsr) {
		guest_mxcsr(&e, 3);
		host_mxcsr(&e);
	}
	store_vectors(&e);
	if (plan->x87)
		store_x87(&e);
	PUT(&e, 0x31, 0xc0); /* xor eax, eax */
	epilogue(&e);
	*fault_exit = 0;
	if (plan->may_fault) {
		*fault_exit = e.at;
		fault_path(&e);
	}
	put_constants(&e);
	return e.at;
}
