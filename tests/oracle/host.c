/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a case on the host. A signal's return loads every register of the interrupted context: a handler of SIGUSR1 puts
 * the case's registers there, and the handler of the signal that the instruction or the INT3 behind it raises takes
 * them out again. Vector, error code and CR2 are in the context too.
 */
#include "oracle.h"

#include <asm/ldt.h>
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum phase { IDLE, ENTERING, RUNNING };

static struct {
	volatile enum phase phase;
	volatile unsigned ticks;
	const struct oracle_state *in;
	struct oracle_state *out;
	gregset_t saved;
	uint8_t *code_alias;
} host;

static const uint8_t greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* What sigreturn restores of RFLAGS and a case may set. */
#define FLAGS_IN 0xcd5u

/* The XSAVE image behind the FXSAVE part (standard form). */
enum { XSTATE_BV = 512, YMM_HIGH = 576 };
enum { OPMASK = 5, ZMM_HIGH = 6, ZMM_UPPER = 7, AVX512_PARTS = 7 << OPMASK };

/* Where a part is; CPUID says it, and vendors differ. */
static unsigned part_offset(unsigned part)
{
	static unsigned offset[8];
	unsigned eax, ebx, ecx, edx;

	if (!offset[part] && __get_cpuid_count(0xd, part, &eax, &ebx, &ecx, &edx))
		offset[part] = ebx;
	return offset[part];
}

bool host_has_avx512(void)
{
	return __builtin_cpu_supports("avx512f");
}

static void load_fpu(uint8_t *image, const struct oracle_regs *regs)
{
	uint64_t state_bv;

	memcpy(image, &regs->fcw, 2);
	memcpy(image + 2, &regs->fsw, 2);
	image[4] = regs->ftw;
	memset(image + 5, 0, 19);
	memcpy(image + 24, &regs->mxcsr, 4);
	memcpy(image + 32, regs->st, sizeof(regs->st));
	memcpy(&state_bv, image + XSTATE_BV, 8);
	state_bv |= host_has_avx512() ? 7 | AVX512_PARTS : 7;
	memcpy(image + XSTATE_BV, &state_bv, 8);
	for (unsigned i = 0; i < 16; i++) {
		memcpy(image + 160 + 16 * i, regs->vector[i], 16);
		memcpy(image + YMM_HIGH + 16 * i, regs->vector[i] + 16, 16);
	}
	if (!host_has_avx512())
		return;
	memcpy(image + part_offset(OPMASK), regs->opmask, sizeof(regs->opmask));
	for (unsigned i = 0; i < 16; i++)
		memcpy(image + part_offset(ZMM_HIGH) + 32 * i, regs->vector[i] + 32, 32);
	memcpy(image + part_offset(ZMM_UPPER), regs->vector[16], 16 * 64);
}

/* Parts in their initial configuration need not have been written. */
static void store_fpu(const uint8_t *image, struct oracle_regs *regs)
{
	uint64_t state_bv;

	memcpy(&state_bv, image + XSTATE_BV, 8);
	regs->fcw = 0x37f;
	regs->fsw = 0;
	regs->ftw = 0;
	memset(regs->st, 0, sizeof(regs->st));
	memset(regs->vector, 0, sizeof(regs->vector));
	memset(regs->opmask, 0, sizeof(regs->opmask));
	memcpy(&regs->mxcsr, image + 24, 4);
	if (state_bv & 1) {
		memcpy(&regs->fcw, image, 2);
		memcpy(&regs->fsw, image + 2, 2);
		regs->ftw = image[4];
		for (unsigned i = 0; i < 8; i++)
			memcpy(regs->st[i], image + 32 + 16 * i, 10);
	}
	for (unsigned i = 0; i < 16; i++) {
		if (state_bv & 2)
			memcpy(regs->vector[i], image + 160 + 16 * i, 16);
		if (state_bv & 4)
			memcpy(regs->vector[i] + 16, image + YMM_HIGH + 16 * i, 16);
		if (state_bv & 1 << ZMM_HIGH)
			memcpy(regs->vector[i] + 32, image + part_offset(ZMM_HIGH) + 32 * i, 32);
	}
	if (state_bv & 1 << OPMASK)
		memcpy(regs->opmask, image + part_offset(OPMASK), sizeof(regs->opmask));
	if (state_bv & 1 << ZMM_UPPER)
		memcpy(regs->vector[16], image + part_offset(ZMM_UPPER), 16 * 64);
}

/* CS in the low word, SS in the high word, as the context has them. */
static uint64_t selectors(const struct oracle_state *in, uint64_t old)
{
	uint64_t cs = in->mode == 64 ? ORACLE_CS64 : in->mode == 32 ? ORACLE_CS32 : ORACLE_CS16;
	uint64_t ss = in->mode == 16 ? ORACLE_SS16 : ORACLE_DS;

	if (in->mode == 32 && in->segmented) {
		cs = ORACLE_CS32_SMALL;
		ss = ORACLE_SS32_SMALL;
	}

	return (old & 0x0000ffffffff0000) | cs | ss << 48;
}

/* DS and ES stay as they are when a signal returns. */
static void set_segments(const struct oracle_state *in)
{
	const uint16_t selector = !in->segmented ? ORACLE_DS : in->mode == 16 ? ORACLE_DS16 : ORACLE_DS32_SMALL;

	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(selector));
}

static void make_descriptor(unsigned selector, uint64_t base, bool code, bool wide)
{
	struct user_desc descriptor = {.entry_number = selector >> 3,
				       .base_addr = (unsigned)base,
				       .limit = 0xffff,
				       .seg_32bit = wide,
				       .contents = code ? MODIFY_LDT_CONTENTS_CODE : MODIFY_LDT_CONTENTS_DATA};

	if (syscall(SYS_modify_ldt, 1, &descriptor, sizeof(descriptor)) < 0) {
		perror("oracle: modify_ldt");
		exit(2);
	}
}

static void enter(ucontext_t *context)
{
	greg_t *gregs = context->uc_mcontext.gregs;

	memcpy(host.saved, gregs, sizeof(host.saved));
	for (unsigned i = 0; i < 16; i++)
		gregs[greg_of[i]] = (greg_t)host.in->regs.gpr[i];
	gregs[REG_RIP] = (greg_t)host.in->regs.rip;
	set_segments(host.in);
	gregs[REG_CSGSFS] = (greg_t)selectors(host.in, (uint64_t)gregs[REG_CSGSFS]);
	gregs[REG_EFL] = (greg_t)((host.in->regs.rflags & FLAGS_IN) | 0x202);
	load_fpu((uint8_t *)context->uc_mcontext.fpregs, &host.in->regs);
	host.ticks = 0;
	host.phase = RUNNING;
}

static void leave(ucontext_t *context, bool timeout)
{
	greg_t *gregs = context->uc_mcontext.gregs;
	uint8_t *image = (uint8_t *)context->uc_mcontext.fpregs;
	struct oracle_regs *regs = &host.out->regs;
	const uint16_t fcw = 0x37f, fsw = 0;
	const uint32_t mxcsr = 0x1f80;

	for (unsigned i = 0; i < 16; i++)
		regs->gpr[i] = (uint64_t)gregs[greg_of[i]];
	regs->rip = (uint64_t)gregs[REG_RIP];
	regs->rflags = (uint64_t)gregs[REG_EFL];
	store_fpu(image, regs);
	host.out->vector = timeout ? ORACLE_TIMEOUT : (unsigned)gregs[REG_TRAPNO];
	host.out->error = (uint32_t)gregs[REG_ERR];
	host.out->cr2 = (uint64_t)gregs[REG_CR2];
	memcpy(gregs, host.saved, sizeof(host.saved));
	memcpy(image, &fcw, 2);
	memcpy(image + 2, &fsw, 2);
	image[4] = 0;
	memcpy(image + 24, &mxcsr, 4);
	host.phase = IDLE;
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
	if (signal == SIGALRM) {
		if (host.phase == RUNNING && ++host.ticks > 20)
			leave(context, true);
	} else if (host.phase == ENTERING && signal == SIGUSR1) {
		enter(context);
	} else if (host.phase == RUNNING) {
		leave(context, false);
	} else {
		_exit(3); /* a fault of the test itself */
	}
}

static void map_at(uint64_t address, size_t bytes, int protection)
{
	void *p = mmap((void *)(uintptr_t)address, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		       -1, 0);

	if (p != (void *)(uintptr_t)address) {
		perror("oracle: pages for cases");
		exit(2);
	}
}

bool host_has_ldt(void)
{
	uint8_t entry[8];

	return syscall(SYS_modify_ldt, 0, entry, sizeof(entry)) >= 0;
}

void host_setup(void)
{
	/* The engines keep vCPUs and mirrors below 2 GiB; in this child nothing but the test's own pages may answer there. */
	munmap((void *)0x10000, 0x80000000 - 0x10000);
	static const int signals[] = {SIGUSR1, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGALRM};
	const struct itimerval tick = {{0, 50000}, {0, 50000}};
	const stack_t stack = {.ss_sp = malloc(256 * 1024), .ss_size = 256 * 1024};
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	int fd = memfd_create("oracle-code", MFD_CLOEXEC);

	map_at(ORACLE_DATA, 2 * ORACLE_PAGE, PROT_READ | PROT_WRITE);
	map_at(ORACLE_CONST, ORACLE_PAGE, PROT_READ | PROT_WRITE);
	map_at(ORACLE_STACK, ORACLE_PAGE, PROT_READ | PROT_WRITE);
	if (fd < 0 || ftruncate(fd, ORACLE_PAGE) < 0)
		exit(2);
	host.code_alias = mmap(NULL, ORACLE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (host.code_alias == MAP_FAILED || mmap((void *)ORACLE_CODE, ORACLE_PAGE, PROT_READ | PROT_EXEC,
						  MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) != (void *)ORACLE_CODE)
		exit(2);
	close(fd);
	if (host_has_ldt()) {
		make_descriptor(ORACLE_CS16, ORACLE_CODE, true, false);
		make_descriptor(ORACLE_DS16, ORACLE_DATA, false, false);
		make_descriptor(ORACLE_SS16, ORACLE_STACK, false, false);
		make_descriptor(ORACLE_CS32_SMALL, ORACLE_CODE, true, true);
		make_descriptor(ORACLE_DS32_SMALL, ORACLE_DATA, false, true);
		make_descriptor(ORACLE_SS32_SMALL, ORACLE_STACK, false, true);
	}
	sigaltstack(&stack, NULL);
	sigfillset(&action.sa_mask);
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	setitimer(ITIMER_REAL, &tick, NULL);
}

void host_run(const struct oracle_state *in, struct oracle_state *out)
{
	static uint8_t last_constant[ORACLE_PAGE];

	memcpy(host.code_alias, in->memory.code, ORACLE_PAGE);
	memcpy((void *)ORACLE_DATA, in->memory.data, 2 * ORACLE_PAGE);
	memcpy((void *)ORACLE_STACK, in->memory.stack, ORACLE_PAGE);
	if (memcmp(last_constant, in->memory.constant, ORACLE_PAGE)) {
		mprotect((void *)ORACLE_CONST, ORACLE_PAGE, PROT_READ | PROT_WRITE);
		memcpy((void *)ORACLE_CONST, in->memory.constant, ORACLE_PAGE);
		memcpy(last_constant, in->memory.constant, ORACLE_PAGE);
		mprotect((void *)ORACLE_CONST, ORACLE_PAGE, PROT_READ);
	}
	host.in = in;
	host.out = out;
	host.phase = ENTERING;
	raise(SIGUSR1);
	out->memory = in->memory;
	memcpy(out->memory.data, (void *)ORACLE_DATA, 2 * ORACLE_PAGE);
	memcpy(out->memory.stack, (void *)ORACLE_STACK, ORACLE_PAGE);
}

bool host_runs(unsigned mode, uint64_t rsp)
{
	static struct oracle_state in, out;
	const pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		in.mode = mode;
		in.regs.rip = ORACLE_CODE;
		in.regs.gpr[4] = rsp;
		in.regs.fcw = 0x37f;
		in.regs.mxcsr = 0x1f80;
		memset(in.memory.code, 0xcc, sizeof(in.memory.code)); /* int3 */
		host_setup();
		host_run(&in, &out);
		_exit(out.vector != 3);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}
