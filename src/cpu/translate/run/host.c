/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host exceptions inside translated code: SIGFPE from divisions and unmasked floating-point exceptions, SIGSEGV and
 * SIGBUS from misaligned operands that must be aligned (an access itself never leaves guest memory). The instruction is
 * looked up by its address; execution goes on in the leave stub as if it had left by itself, and the interpreter
 * executes the instruction again and raises the guest's exception. A page that a mirror has not yet (mirror.c) is a miss,
 * as if a window had not covered it.
 *
 * RSP holds a guest value in translated code, so signals need a stack of their own; SS_AUTODISARM keeps the kernel from
 * taking a guest's RSP for a place on it.
 *
 * Not every kernel goes back to code whose RSP is not canonical: below some hypervisors what returns from an interrupt or a
 * page fault raises #GP or #UD where it should go on, and so would a handler's return. Such a context is resumed here, by code
 * that loads all of it (t->resume_stub).
 */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/mmu/mmu.h"
#include "cpu/translate/run/run.h"

#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

/* t->signal_stack: what the resumed context is loaded from, a stack for doing so, and the signals' stack. */
enum { IMAGE_BYTES = 16 * 1024, RESUME_STACK_BYTES = 4096, SIGNAL_STACK_BYTES = 128 * 1024 };
enum { SIGNAL_STACK_AT = IMAGE_BYTES + RESUME_STACK_BYTES, MAPPED_BYTES = SIGNAL_STACK_AT + SIGNAL_STACK_BYTES };
enum { FORMAT_AT = 464 }; /* of struct _fpx_sw_bytes in a context's FXSAVE image */
enum { INVALID_OPCODE = 6, GENERAL_PROTECTION = 13, PAGE_FAULT = 14, FAULT_WRITES = 2 /* SDM 3A 6.15, error code of #PF */ };

/* Signal handlers get no argument of ours. */
static _Thread_local struct translator *here;
static const int signals[] = { SIGFPE, SIGSEGV, SIGBUS, SIGILL };
static struct sigaction previous[ARRAY_SIZE(signals)];
static pthread_once_t installed = PTHREAD_ONCE_INIT;

static void pass_on(int signal, siginfo_t *info, void *context)
{
	const struct sigaction fallback = { .sa_handler = SIG_DFL };
	unsigned i = 0;

	while (signals[i] != signal)
		i++;
	if (previous[i].sa_flags & (int)SA_RESETHAND) /* it counts on that the signal's next arrival ends the process */
		sigaction(signal, &fallback, NULL);
	if (previous[i].sa_flags & SA_SIGINFO)
		previous[i].sa_sigaction(signal, info, context);
	else if (previous[i].sa_handler != SIG_DFL && previous[i].sa_handler != SIG_IGN)
		previous[i].sa_handler(signal);
	else
		sigaction(signal, &previous[i], NULL); /* the instruction repeats and has its default effect */
}

static bool is_canonical(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static void set_signal_stack(const struct translator *t, stack_t *old)
{
	const stack_t stack = { .ss_sp = (uint8_t *)t->signal_stack + SIGNAL_STACK_AT,
				.ss_size = SIGNAL_STACK_BYTES,
				.ss_flags = (int)SS_AUTODISARM };

	sigaltstack(&stack, old);
}

/* Copies the context to where t->resume_stub loads it from. False: its vector state is of a form that is not known (Linux,
 * arch/x86/include/uapi/asm/sigcontext.h: struct _fpx_sw_bytes). */
static bool keep_context(struct translator *t, const ucontext_t *context)
{
	static const uint8_t number[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
					    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
	const greg_t *registers = context->uc_mcontext.gregs;
	const struct _fpx_sw_bytes *format = (const void *)((const uint8_t *)context->uc_mcontext.fpregs + FORMAT_AT);

	if (format->magic1 != FP_XSTATE_MAGIC1 || format->xstate_size > IMAGE_BYTES)
		return false;
	memcpy(t->signal_stack, context->uc_mcontext.fpregs, format->xstate_size);
	t->resume.components = format->xstate_bv;
	t->resume.image = (uintptr_t)t->signal_stack;
	t->resume.stack = (uintptr_t)t->signal_stack + SIGNAL_STACK_AT;
	t->resume.signal_mask = *(const uint64_t *)&context->uc_sigmask;
	t->resume.rflags = (uint64_t)registers[REG_EFL];
	t->resume.rip = (uint64_t)registers[REG_RIP];
	for (unsigned i = 0; i < 16; i++)
		t->resume.gpr[i] = (uint64_t)registers[number[i]];
	return true;
}

/* Goes on in the context, or with what was resumed last when that was interrupted. Returns when it cannot. */
static void resume(struct translator *t, const ucontext_t *context, bool again)
{
	if (!again && !keep_context(t, context))
		return;
	set_signal_stack(t, NULL);
	((void (*)(void))(uintptr_t)(t->exec_base + t->resume_stub))();
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct translator *t = here;
	uint64_t host = t ? (uint64_t)registers[REG_RIP] - low_address(t->exec_base) : 0;
	bool inside = t && t->inside && host < t->code_bytes, stray = !is_canonical((uint64_t)registers[REG_RSP]), unmapped;
	const struct fault_entry *fault = inside ? code_find_fault(t, (uint32_t)host) : NULL;
	const struct site *site;

	if (fault) {
		t->site = fault->site;
		site = &t->sites[fault->site];
		if (!site->flags_in_memory)
			t->flags = (uint32_t)(registers[REG_EFL] & 0xff) << 8 | (registers[REG_EFL] & X86_OF ? 1 : 0);
		/* A page that was asked for to be read would fault again and again when it is written. */
		unmapped = site->mirrored && signal == SIGSEGV && registers[REG_TRAPNO] == PAGE_FAULT &&
			   (site->write || !(registers[REG_ERR] & FAULT_WRITES));
		registers[REG_RIP] = (greg_t)(low_address(t->exec_base) + (unmapped ? t->miss_stub : t->leave));
	} else if (!inside || !stray ||
		   (registers[REG_TRAPNO] != GENERAL_PROTECTION && registers[REG_TRAPNO] != INVALID_OPCODE)) {
		pass_on(signal, info, context);
		return;
	}
	if (stray)
		resume(t, context, !fault && host >= t->resume_stub && host < t->resume_end);
}

static void install(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	/* resume() gives the signals' stack free while the handler is still on it. */
	sigfillset(&action.sa_mask);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, &previous[i]);
}

void host_init(void)
{
	pthread_once(&installed, install);
}

int host_stack_new(struct translator *t, struct error *err)
{
	t->signal_stack = mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->signal_stack == MAP_FAILED) {
		t->signal_stack = NULL;
		return error_set_errno(err, errno, "signal stack of a vCPU");
	}
	return 0;
}

void host_stack_free(struct translator *t)
{
	if (t->signal_stack)
		munmap(t->signal_stack, MAPPED_BYTES);
}

void host_enter_thread(struct translator *t)
{
	set_signal_stack(t, &t->outer_stack);
	here = t;
	mirror_enter_thread(t);
}

void host_leave_thread(struct translator *t)
{
	sigaltstack(&t->outer_stack, NULL);
	here = NULL;
}
