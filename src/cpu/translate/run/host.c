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

enum { SIGNAL_STACK_BYTES = 128 * 1024 };
enum { PAGE_FAULT = 14, FAULT_WRITES = 2 /* SDM 3A 6.15, error code of #PF */ };

/* Signal handlers get no argument of ours. */
static _Thread_local struct translator *here;
static const int signals[] = { SIGFPE, SIGSEGV, SIGBUS };
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

static void on_signal(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct translator *t = here;
	uint64_t host;
	const struct fault_entry *fault = NULL;
	const struct site *site;
	bool unmapped;

	if (t && t->inside) {
		host = (uint64_t)registers[REG_RIP] - low_address(t->exec_base);
		if (host < t->code_bytes)
			fault = code_find_fault(t, (uint32_t)host);
	}
	if (!fault) {
		pass_on(signal, info, context);
		return;
	}
	t->site = fault->site;
	site = &t->sites[fault->site];
	if (!site->flags_in_memory)
		t->flags = (uint32_t)(registers[REG_EFL] & 0xff) << 8 | (registers[REG_EFL] & X86_OF ? 1 : 0);
	/* A page that was asked for to be read would fault again and again when it is written. */
	unmapped = site->mirrored && signal == SIGSEGV && registers[REG_TRAPNO] == PAGE_FAULT &&
		   (site->write || !(registers[REG_ERR] & FAULT_WRITES));
	registers[REG_RIP] = (greg_t)(low_address(t->exec_base) + (unmapped ? t->miss_stub : t->leave));
}

static void install(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigemptyset(&action.sa_mask);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, &previous[i]);
}

void host_init(void)
{
	pthread_once(&installed, install);
}

int host_stack_new(struct translator *t, struct error *err)
{
	t->signal_stack = mmap(NULL, SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->signal_stack == MAP_FAILED) {
		t->signal_stack = NULL;
		return error_set_errno(err, errno, "signal stack of a vCPU");
	}
	return 0;
}

void host_stack_free(struct translator *t)
{
	if (t->signal_stack)
		munmap(t->signal_stack, SIGNAL_STACK_BYTES);
}

void host_enter_thread(struct translator *t)
{
	const stack_t stack = { .ss_sp = t->signal_stack, .ss_size = SIGNAL_STACK_BYTES, .ss_flags = (int)SS_AUTODISARM };

	sigaltstack(&stack, &t->outer_stack);
	here = t;
	mirror_enter_thread(t);
}

void host_leave_thread(struct translator *t)
{
	sigaltstack(&t->outer_stack, NULL);
	here = NULL;
}
