/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The code around translated code: from C into it and back, from it to C and back, and vector state into the registers
 * and out of them. It is emitted once at the start of each code cache, because it addresses its vCPU absolutely.
 */
#include "cpu/translate/mmu/mmu.h"
#include "cpu/translate/run/run.h"

#include <sys/syscall.h>

/* Of how many bytes vectors are: 16 with legacy SSE or, their upper parts becoming zero, VEX. */
enum width { WIDTH_SSE, WIDTH_256, WIDTH_512, WIDTH_128 };

static void put_vector(struct emitter *e, enum width width, unsigned n, bool store, const void *address)
{
	uint8_t opcode = store ? 0x11 : 0x10, r = n & 8 ? 0 : 0x80;

	if (width == WIDTH_512)
		PUT(e, 0x62, (uint8_t)(r | 0x60 | (n & 16 ? 0 : 0x10) | 1), 0x7c, 0x48, opcode);
	else if (width == WIDTH_256 || width == WIDTH_128)
		PUT(e, 0xc4, (uint8_t)(r | 0x60 | 1), width == WIDTH_256 ? 0x7c : 0x78, opcode);
	else
		PUT(e, (uint8_t)(0x40 | (n & 8) >> 1), 0x0f, opcode);
	put_operand(e, n & 7, -1, -1, 0, (int32_t)low_address(address));
}

static void put_opmask(struct emitter *e, unsigned n, bool store, const void *address)
{
	PUT(e, 0xc4, 0xe1, 0xf8, store ? 0x91 : 0x90);
	put_operand(e, n, -1, -1, 0, (int32_t)low_address(address));
}

static void put_mxcsr(struct emitter *e, bool store, const void *address)
{
	PUT(e, 0x0f, 0xae);
	put_operand(e, store ? 3 : 2, -1, -1, 0, (int32_t)low_address(address));
}

static void put_byte(struct emitter *e, const void *address, uint8_t value)
{
	op_abs(e, false, 0xc6, 0, address);
	put8(e, value);
}

/* Registers 0 to 15. Whether their upper parts are zero decides: while a CPU does not know that they are, each legacy SSE
 * instruction waits for the register it merges into, and it knows after VZEROUPPER, not after a load of zeros. */
static void put_load_low(struct translator *t, struct emitter *e, enum width width)
{
	struct x86_fpu *fpu = &t->cpu->s.fpu;
	uint32_t used, join;

	store_abs(e, RAX, &t->spill[0]);
	PUT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	op_abs(e, false, 0x89, RAX, &t->spill[1]);
	PUT(e, 0xc5, 0xfc, 0x57, 0xc0, 0xc5, 0xf4, 0x57, 0xc9); /* vxorps ymm0, ymm0, ymm0; vxorps ymm1, ymm1, ymm1 */
	for (unsigned i = 0; i < 16; i++) {
		PUT(e, 0xc5, 0xf0, 0x56); /* vorps xmm1, xmm1, .. */
		put_operand(e, 1, -1, -1, 0, (int32_t)low_address(fpu->vector[i] + 16));
		if (width == WIDTH_512) {
			PUT(e, 0xc5, 0xfc, 0x56); /* vorps ymm0, ymm0, .. */
			put_operand(e, 0, -1, -1, 0, (int32_t)low_address(fpu->vector[i] + 32));
		}
	}
	PUT(e, 0xc5, 0xfc, 0x56, 0xc1, 0xc4, 0xe2, 0x7d, 0x17, 0xc0); /* vorps ymm0, ymm0, ymm1; vptest ymm0, ymm0 */
	used = branch_ahead(e, CONDITION_NE);
	PUT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
	for (unsigned i = 0; i < 16; i++)
		put_vector(e, WIDTH_128, i, false, fpu->vector[i]);
	join = jump_ahead(e);
	patch32(e->base, used, e->at);
	for (unsigned i = 0; i < 16; i++)
		put_vector(e, width, i, false, fpu->vector[i]);
	patch32(e->base, join, e->at);
	op_abs(e, false, 0x8b, RAX, &t->spill[1]);
	PUT(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
	load_abs(e, RAX, &t->spill[0]);
}

/* Changes no general register and no flags. Goes on at fpu_return. */
static uint32_t emit_vectors(struct translator *t, struct emitter *e, enum width width, bool store)
{
	struct x86_fpu *fpu = &t->cpu->s.fpu;
	uint32_t start = e->at;
	unsigned first = 0;

	if (!store && width != WIDTH_SSE) {
		put_load_low(t, e, width);
		first = 16;
	}
	for (unsigned i = first; i < (width == WIDTH_512 ? 32 : 16); i++)
		put_vector(e, width, i, store, fpu->vector[i]);
	for (unsigned i = 0; width == WIDTH_512 && i < 8; i++)
		put_opmask(e, i, store, &fpu->opmask[i]);
	if (store) {
		put_mxcsr(e, true, &fpu->mxcsr);
		put_mxcsr(e, false, &t->host_mxcsr);
		if (width != WIDTH_SSE)
			PUT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
	} else {
		put_mxcsr(e, false, &fpu->mxcsr);
	}
	put_byte(e, &t->fpu_loaded, !store);
	op_abs(e, false, 0xff, 4, &t->fpu_return);
	return start;
}

/* Goes on through *stub (fpu_load or fpu_unload), which changes no general register and no flags. */
static void call_vectors(struct translator *t, struct emitter *e, const uint64_t *stub)
{
	op_abs(e, true, 0xc7, 0, &t->fpu_return);
	put32(e, low_address(t->exec_base) + e->at + 4 + 7);
	op_abs(e, false, 0xff, 4, stub); /* 7 bytes */
}

/* Vectors and x87 in when they are wanted. Changes RAX, RDX and flags. */
static void load_wanted(struct translator *t, struct emitter *e)
{
	uint32_t over;

	op_abs(e, false, 0x80, 7, &t->fpu_want); /* cmp byte [fpu_want], 0 */
	put8(e, 0);
	over = branch_ahead(e, CONDITION_E);
	call_vectors(t, e, &t->fpu_load);
	patch32(e->base, over, e->at);
	x87_emit_reload(t, e);
}

/* Flags and registers, then t->target. */
static void resume_from(struct translator *t, struct emitter *e, const uint64_t *registers)
{
	op_abs(e, false, 0x8b, RAX, &t->flags);
	PUT(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
	for (unsigned i = 0; i < 16; i++)
		load_abs(e, i, &registers[i]);
	op_abs(e, false, 0xff, 4, &t->target);
}

/* void enter(void): loads the guest's registers and goes to t->target. The stack is aligned as calls want it. */
static void emit_enter(struct translator *t, struct emitter *e, uint32_t *resume)
{
	t->enter = e->at;
	PUT(e, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); /* push rbx, rbp, r12..r15 */
	PUT(e, 0x48, 0x83, 0xec, 0x08);                                     /* sub rsp, 8 */
	store_abs(e, RSP, &t->host_rsp);
	*resume = e->at;
	load_wanted(t, e);
	resume_from(t, e, t->cpu->s.gpr);
}

static void store_registers(struct emitter *e, unsigned first, const uint64_t *to)
{
	for (unsigned i = first; i < 16; i++)
		store_abs(e, i, &to[i]);
}

static void emit_leave(struct translator *t, struct emitter *e, uint32_t *out)
{
	uint32_t over, join;

	t->leave_flags = e->at;
	store_abs(e, RAX, &t->out[RAX]);
	PUT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	op_abs(e, false, 0x89, RAX, &t->flags);
	join = jump_ahead(e);
	t->leave = e->at;
	store_abs(e, RAX, &t->out[RAX]);
	patch32(e->base, join, e->at);
	store_registers(e, 1, t->out);
	load_abs(e, RSP, &t->host_rsp);
	*out = e->at;
	x87_emit_unload(t, e);
	put_byte(e, &t->fpu_was, 0);
	op_abs(e, false, 0x80, 7, &t->fpu_loaded);
	put8(e, 0);
	over = branch_ahead(e, CONDITION_E);
	put_byte(e, &t->fpu_was, 1);
	call_vectors(t, e, &t->fpu_unload);
	patch32(e->base, over, e->at);
	PUT(e, 0x48, 0x83, 0xc4, 0x08); /* add rsp, 8 */
	PUT(e, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
}

/* Calls *function(t), which says where to go on; 0: out. */
static void call_c(struct translator *t, struct emitter *e, const volatile void *function, uint32_t out)
{
	load_abs(e, RSP, &t->host_rsp);
	move_imm(e, RDI, low_address(t));
	op_abs(e, false, 0xff, 2, function);
	PUT(e, 0x85, 0xc0); /* test eax, eax */
	branch_to(e, CONDITION_E, out);
	store_abs(e, RAX, &t->target);
}

/* 32-bit code has scratch in R8 to R15, whose values are in s.gpr. */
static void emit_call(struct translator *t, struct emitter *e, bool code32, uint32_t resume, uint32_t out)
{
	uint64_t *gpr = t->cpu->s.gpr;
	uint32_t join;

	t->call_stub[code32][1] = e->at;
	store_abs(e, RAX, &gpr[RAX]);
	PUT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	op_abs(e, false, 0x89, RAX, &t->flags);
	join = jump_ahead(e);
	t->call_stub[code32][0] = e->at;
	store_abs(e, RAX, &gpr[RAX]);
	patch32(e->base, join, e->at);
	for (unsigned i = 1; i < (code32 ? 8 : 16); i++)
		store_abs(e, i, &gpr[i]);
	call_c(t, e, &t->call, out);
	jump_to(e, resume);
}

static void emit_calls(struct translator *t, struct emitter *e, uint32_t resume, uint32_t out)
{
	uint32_t faulted, over;

	emit_call(t, e, false, resume, out);
	emit_call(t, e, true, resume, out);
	t->miss_stub = e->at;
	store_registers(e, 0, t->out);
	call_c(t, e, &t->miss, out);
	faulted = branch_ahead(e, CONDITION_S);
	load_wanted(t, e);
	resume_from(t, e, t->out);
	patch32(e->base, faulted, e->at);
	op_abs(e, false, 0x81, 4, &t->target); /* and dword [target], ~MISS_FAULTED */
	put32(e, ~MISS_FAULTED);
	jump_to(e, resume);
	t->unload_call = e->at;
	x87_emit_unload(t, e);
	op_abs(e, false, 0x80, 7, &t->fpu_loaded);
	put8(e, 0);
	over = branch_ahead(e, CONDITION_E);
	call_vectors(t, e, &t->fpu_unload);
	patch32(e->base, over, e->at);
	put8(e, 0xc3); /* ret */
}

/* Goes on in the context t->resume, without the kernel. From the second instruction on signals may come; one that the kernel
 * makes of RSP, when that is loaded, begins anew. */
static void emit_resume(struct translator *t, struct emitter *e)
{
	t->resume_stub = e->at;
	load_abs(e, RSP, &t->resume.stack);
	move_imm(e, RAX, SYS_rt_sigprocmask);
	move_imm(e, RDI, SIG_SETMASK);
	move_imm(e, RSI, low_address(&t->resume.signal_mask));
	move_imm(e, RDX, 0);
	move_imm(e, 10, sizeof(t->resume.signal_mask));
	PUT(e, 0x0f, 0x05); /* syscall */
	load_abs(e, RBX, &t->resume.image);
	op_abs(e, false, 0x8b, RAX, &t->resume.components);
	op_abs(e, false, 0x8b, RDX, (const uint8_t *)&t->resume.components + 4);
	PUT(e, 0x48, 0x0f, 0xae, 0x2b);              /* xrstor64 [rbx] */
	op_abs(e, false, 0xff, 6, &t->resume.rflags); /* push */
	put8(e, 0x9d);                               /* popfq */
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP)
			load_abs(e, i, &t->resume.gpr[i]);
	load_abs(e, RSP, &t->resume.gpr[RSP]);
	op_abs(e, false, 0xff, 4, &t->resume.rip);
	t->resume_end = e->at;
}

static void shift_left(struct emitter *e, unsigned reg, unsigned count)
{
	PUT(e, 0xc1, (uint8_t)(0xe0 | reg), (uint8_t)count);
}

/* Notes where the window at RAX lets write. */
static void emit_written(struct translator *t, struct emitter *e)
{
	uint32_t page, over;

	op_mem(e, true, 0x8b, RBX, RAX, -1, 0, (int32_t)(low_address(t->windows) + offsetof(struct window, host)));
	op_mem(e, true, 0x81, 7, RAX, -1, 0, (int32_t)(low_address(t->windows) + offsetof(struct window, limit)));
	put32(e, PAGE_SIZE);
	page = branch_ahead(e, CONDITION_BE);
	PUT(e, 0x48, 0xc1, 0xeb, 21); /* shr rbx, 21 */
	alu_imm(e, false, 4, RBX, WRITTEN_RUNS - 1);
	op_mem(e, false, 0xc6, 0, RBX, -1, 0, (int32_t)low_address(t->written_runs));
	put8(e, 1);
	over = jump_ahead(e);
	patch32(e->base, page, e->at);
	PUT(e, 0xc1, 0xeb, PAGE_SHIFT); /* shr ebx, 12 */
	alu_imm(e, false, 4, RBX, WRITTEN_PAGES - 1);
	op_mem(e, false, 0xc6, 0, RBX, -1, 0, (int32_t)low_address(t->written_pages));
	put8(e, 1);
	patch32(e->base, over, e->at);
}

/*
 * Fills the window t->window for an access that it does not cover, and goes back to try again; where the TLB has no
 * answer, leaves. t->ea: the address - window.start, or the address where that is a constant. May change flags.
 */
static uint32_t emit_window_stub(struct translator *t, struct emitter *e, unsigned view, bool write, bool constant)
{
	static const unsigned used[] = { RAX, RCX, RDX, RBX };
	const int32_t windows = (int32_t)low_address(t->windows), tlb = (int32_t)low_address(t->cpu->tlb[view]);
	const int32_t tag = tlb + (int32_t)(write ? offsetof(struct x86_tlb_entry, tag_write) :
	                                            offsetof(struct x86_tlb_entry, tag_read));
	const int32_t start = tlb + (int32_t)(write ? offsetof(struct x86_tlb_entry, run_write_start) :
	                                              offsetof(struct x86_tlb_entry, run_start));
	const int32_t pages = tlb + (int32_t)(write ? offsetof(struct x86_tlb_entry, run_write_pages) :
	                                              offsetof(struct x86_tlb_entry, run_pages));
	uint32_t at = e->at, no_entry, beyond, listed;

	for (unsigned i = 0; i < ARRAY_SIZE(used); i++)
		store_abs(e, used[i], &t->spill[i]);
	op_abs(e, false, 0x8b, RAX, &t->window);
	shift_left(e, RAX, WINDOW_SHIFT);
	load_abs(e, RCX, &t->ea);
	if (!constant) {
		op_mem(e, true, 0x03, RCX, RAX, -1, 0, windows + (int32_t)offsetof(struct window, start));
		store_abs(e, RCX, &t->ea);
	}
	PUT(e, 0x89, 0xca, 0xc1, 0xea, 6); /* mov edx, ecx; shr edx, 6 */
	alu_imm(e, false, 4, RDX, (X86_TLB_ENTRIES - 1) << 6);
	alu_imm(e, true, 4, RCX, -(int32_t)PAGE_SIZE);
	op_mem(e, true, 0x3b, RCX, RDX, -1, 0, tag);
	no_entry = branch_ahead(e, CONDITION_NE);
	PUT(e, 0x0f, 0xb7); /* movzx ecx, word [pages] */
	put_operand(e, RCX, RDX, -1, 0, pages);
	shift_left(e, RCX, PAGE_SHIFT);
	PUT(e, 0x0f, 0xb6); /* movzx ebx, byte [size] */
	put_operand(e, RBX, RAX, -1, 0, windows + (int32_t)offsetof(struct window, size));
	PUT(e, 0x29, 0xd9, 0xff, 0xc1); /* sub ecx, ebx; inc ecx */
	load_abs(e, RBX, &t->ea);
	op_mem(e, true, 0x2b, RBX, RDX, -1, 0, start);
	PUT(e, 0x48, 0x39, 0xcb); /* cmp rbx, rcx */
	beyond = branch_ahead(e, CONDITION_AE);
	if (constant) {
		PUT(e, 0xb9, 1, 0, 0, 0); /* mov ecx, 1 */
		load_abs(e, RBX, &t->ea);
	} else {
		op_mem(e, true, 0x8b, RBX, RDX, -1, 0, start);
		op_mem(e, true, 0x89, RBX, RAX, -1, 0, windows + (int32_t)offsetof(struct window, start));
	}
	op_mem(e, true, 0x89, RCX, RAX, -1, 0, windows + (int32_t)offsetof(struct window, limit));
	op_mem(e, true, 0x03, RBX, RDX, -1, 0, tlb + (int32_t)offsetof(struct x86_tlb_entry, addend));
	op_mem(e, true, 0x89, RBX, RAX, -1, 0, windows + (int32_t)offsetof(struct window, host));
	op_mem(e, false, 0x8b, RDX, RDX, -1, 0, tlb + (int32_t)offsetof(struct x86_tlb_entry, global));
	PUT(e, 0x0f, 0xb6);
	put_operand(e, RBX, RAX, -1, 0, windows + (int32_t)offsetof(struct window, lists));
	PUT(e, 0x0f, 0xab, 0xd3); /* bts ebx, edx */
	listed = branch_ahead(e, CONDITION_B);
	op_mem(e, false, 0x88, RBX, RAX, -1, 0, windows + (int32_t)offsetof(struct window, lists));
	op_mem(e, true, 0x8b, RCX, -1, RDX, 3, (int32_t)low_address(t->window_end[write]));
	op_abs(e, false, 0x8b, RBX, &t->window);
	op_mem(e, false, 0x89, RBX, RCX, -1, 0, 0);
	op_mem(e, true, 0x83, 0, -1, RDX, 3, (int32_t)low_address(t->window_end[write])); /* add qword [window_end], .. */
	put8(e, (uint8_t)(windows_list_step(write) * (int)sizeof(*t->window_lists)));
	patch32(e->base, listed, e->at);
	if (write)
		emit_written(t, e);
	op_mem(e, false, 0x8b, RAX, RAX, -1, 0, windows + (int32_t)offsetof(struct window, resume));
	store_abs(e, RAX, &t->target);
	for (unsigned i = 0; i < ARRAY_SIZE(used); i++)
		load_abs(e, used[i], &t->spill[i]);
	op_abs(e, false, 0xff, 4, &t->target);
	patch32(e->base, no_entry, e->at);
	patch32(e->base, beyond, e->at);
	op_abs(e, false, 0x8b, RAX, &t->window);
	op_mem(e, false, 0x8b, RAX, -1, RAX, 2, (int32_t)low_address(t->window_sites));
	op_abs(e, false, 0x89, RAX, &t->site);
	for (unsigned i = 0; i < ARRAY_SIZE(used); i++)
		load_abs(e, used[i], &t->spill[i]);
	jump_to(e, t->miss_stub);
	return at;
}

void stubs_emit(struct translator *t)
{
	struct emitter e = {.base = t->write_base};
	uint32_t resume, out;
	unsigned top = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") ? WIDTH_512
		       : __builtin_cpu_supports("avx")                                         ? WIDTH_256
											       : WIDTH_SSE;

	for (unsigned level = WIDTH_SSE; level <= top; level++) {
		t->load_stub[level] = emit_vectors(t, &e, level, false);
		t->unload_stub[level] = emit_vectors(t, &e, level, true);
	}
	emit_enter(t, &e, &resume);
	emit_leave(t, &e, &out);
	emit_calls(t, &e, resume, out);
	emit_resume(t, &e);
	x87_emit_stubs(t, &e);
	/* Where an empty slot of the jump table leads: rip is stored and flags are in memory. Site 0 says so. */
	t->no_jump = e.at;
	store_abs_imm32(&e, &t->site, 0);
	jump_to(&e, t->leave);
	for (unsigned view = 0; view < ARRAY_SIZE(t->window_stub); view++)
		for (unsigned i = 0; i < 4; i++)
			t->window_stub[view][i & 1][i >> 1] = emit_window_stub(t, &e, view, i & 1, i >> 1);
	t->code_start = (e.at + 63) & ~63u;
}
