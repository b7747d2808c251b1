/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs on a host whose KVM executes in software (no VMX, no SVM: PVM, or a guest of one). Such a KVM emulates a
 * guest's kernel instruction by instruction at some million a second, and enters SYSCALL with user privilege when the
 * kernel was not made for it. So the interpreter beside the vCPU (helper.c) executes the code, and KVM is what it does
 * well here: the interrupt controllers and their timers. The helper holds the architectural state; KVM's registers are
 * scratch, always with an empty IDT and single-stepping on.
 *
 *  - An instruction that reaches for a controller is refused by the helper and executed by KVM as a single step, with
 *    interrupts off. MSRs of the local APIC (x2APIC, TSC deadline) need none of that: KVM_GET_MSRS and KVM_SET_MSRS act
 * as the instructions do.
 *  - Interrupts are acknowledged by a KVM_RUN that a signal waits for: the kernel takes the vector from the local APIC,
 *    sees the signal before it enters the guest, and reports the vector as "injected". The helper delivers it.
 *  - HLT sleeps in KVM_RUN. The interrupt that ends it meets the empty IDT: KVM_EXIT_SHUTDOWN, the vector is still in
 * the events. Wait-for-SIPI sleeps there, too; the first single step after the SIPI comes back with the new state.
 */
#include "base/util.h"
#include "core/clock.h"
#include "cpu/kvm/internal.h"
#include "cpu/x86/cpu.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIGNAL_POLL = SIGUSR2, CHUNK = 20000, PARKED_RIP = 0x5041524b, MSR_TSC_DEADLINE = 0x6e0 };

/* struct kvm_signal_mask with its set. */
struct signal_mask {
	uint32_t bytes;
	uint8_t set[8]; /* not aligned */
};

/* The poll signal is blocked except inside KVM_RUN, where it ends the call without a handler. */
void kvm_software_thread(struct kvm_vcpu *v)
{
	struct signal_mask mask = {.bytes = sizeof(mask.set)};
	const struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
	sigset_t poll, old;
	sigemptyset(&poll);
	sigaddset(&poll, SIGNAL_POLL);
	pthread_sigmask(SIG_BLOCK, &poll, &old);
	for (int signal = 1; signal < 64; signal++)
		if (sigismember(&old, signal) == 1 && signal != SIGNAL_POLL)
			mask.set[(signal - 1) / 8] |= 1 << (signal - 1) % 8;
	kvm_ioctl(v->fd, KVM_SET_SIGNAL_MASK, &mask);
	kvm_ioctl(v->fd, KVM_SET_GUEST_DEBUG, &debug);
}

static void set_mp(struct kvm_vcpu *v, uint32_t mp)
{
	const struct kvm_mp_state state = {.mp_state = mp};
	kvm_ioctl(v->fd, KVM_SET_MP_STATE, &state);
}

static uint32_t get_mp(struct kvm_vcpu *v)
{
	struct kvm_mp_state state = {0};
	kvm_ioctl(v->fd, KVM_GET_MP_STATE, &state);
	return state.mp_state;
}

static void clear_events(struct kvm_vcpu *v)
{
	const struct kvm_vcpu_events none = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW};
	kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &none);
}

/* Of the control registers what matters to how an address is translated: the guest has features that KVM knows not of.
 */
#define LENT_CR4  (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_LA57 | X86_CR4_OSFXSR)
#define LENT_EFER (X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE)

static void make_lendable(struct x86_state *state)
{
	if (state->cr4 & X86_CR4_PCIDE)
		state->cr3 &= ~0xfffull;
	state->cr3 &= ~(1ull << 63);
	state->cr4 &= LENT_CR4;
	state->efer &= LENT_EFER;
	state->idtr.limit = 0;
	state->dr7 = 0x400;
	state->exception_pending = state->nmi_pending = state->nmi_masked = state->shadow_ss = state->shadow_sti =
		false;
}

/* The helper's registers into KVM, with an empty IDT and interrupts on or off. */
static void lend_registers(struct kvm_vcpu *v, const struct x86_cpu *cpu, uint64_t rip, bool interrupts)
{
	struct x86_state *lent = v->exchange;
	*lent = cpu->s;
	make_lendable(lent);
	lent->rip = rip;
	lent->rflags = (lent->rflags & ~(uint64_t)X86_IF) | (interrupts ? X86_IF : 0);
	kvm_set_registers(v, lent);
}

/* Puts KVM's registers into a state in which it acknowledges interrupts. */
static void park(struct kvm_vcpu *v)
{
	const struct kvm_regs regs = {.rip = PARKED_RIP, .rflags = X86_IF | 2};
	kvm_ioctl(v->fd, KVM_SET_REGS, &regs);
}

static void deliver(struct x86_cpu *cpu, uint8_t vector)
{
	cpu->s.exception_pending = true;
	cpu->s.exception_vector = vector;
	cpu->s.exception_has_error = cpu->s.exception_soft = false;
	cpu->s.mp_state = X86_MP_RUNNING;
	atomic_fetch_or(&cpu->vcpu.events, VCPU_INTR);
}

static void deliver_nmi(struct x86_cpu *cpu)
{
	cpu->s.nmi_pending = true;
	cpu->s.mp_state = X86_MP_RUNNING;
	atomic_fetch_or(&cpu->vcpu.events, VCPU_INTR);
}

/* Takes what the kernel reports as accepted. after_shutdown: it could not be delivered, so only the number is left. */
static bool take_accepted(struct kvm_vcpu *v, struct x86_cpu *cpu, bool after_shutdown)
{
	struct kvm_vcpu_events events = {0};
	kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events);
	bool interrupt = events.interrupt.injected || (after_shutdown && events.interrupt.nr);
	bool nmi = events.nmi.injected || events.nmi.pending || (after_shutdown && !interrupt);
	if (interrupt)
		deliver(cpu, events.interrupt.nr);
	if (nmi)
		deliver_nmi(cpu);
	if (interrupt || nmi)
		clear_events(v);
	return interrupt || nmi;
}

/* The state after INIT and SIPI, perhaps with one instruction executed. */
static void adopt_start(struct kvm_vcpu *v, struct x86_cpu *cpu)
{
	struct x86_state *now = v->exchange;
	*now = cpu->s;
	kvm_get_registers(v, now);
	now->rflags &= ~(uint64_t)X86_TF;
	now->mp_state = X86_MP_RUNNING;
	now->exception_pending = now->nmi_pending = now->nmi_masked = false;
	kvm_helper_load(v->helper, now);
	park(v);
}

/* An INIT, and maybe a SIPI, arrived for a CPU that was parked. */
static void check_restart(struct kvm_vcpu *v, struct x86_cpu *cpu)
{
	struct kvm_regs regs = {0};
	kvm_ioctl(v->fd, KVM_GET_REGS, &regs);
	if (regs.rip == PARKED_RIP)
		return;
	if (get_mp(v) == KVM_MP_STATE_INIT_RECEIVED)
		cpu->s.mp_state = X86_MP_WAIT_SIPI;
	else
		adopt_start(v, cpu);
}

static bool interruptible(const struct x86_cpu *cpu)
{
	return cpu->s.rflags & X86_IF && !cpu->s.shadow_sti && !cpu->s.shadow_ss && !cpu->s.exception_pending;
}

static void poll_interrupts(struct kvm_vcpu *v, struct x86_cpu *cpu)
{
	const struct timespec now = {0};
	sigset_t poll;
	sigemptyset(&poll);
	sigaddset(&poll, SIGNAL_POLL);
	syscall(SYS_tgkill, getpid(), gettid(), SIGNAL_POLL);
	ioctl(v->fd, KVM_RUN, 0);
	sigtimedwait(&poll, NULL, &now);
	if (!take_accepted(v, cpu, false))
		check_restart(v, cpu);
}

/* The instruction's effects are on general registers, flags and the local APIC alone. */
static void take_registers(struct kvm_vcpu *v, struct x86_cpu *cpu)
{
	struct x86_state *now = v->exchange;
	uint64_t interrupts = cpu->s.rflags & X86_IF;
	kvm_get_registers(v, now);
	memcpy(cpu->s.gpr, now->gpr, sizeof(cpu->s.gpr));
	cpu->s.rip = now->rip;
	cpu->s.rflags = (now->rflags & ~(uint64_t)(X86_IF | X86_TF | X86_RF)) | interrupts | (cpu->s.rflags & X86_TF);
	cpu->s.apic_base = now->apic_base;
	cpu->s.cr8 = now->cr8;
	cpu->s.shadow_sti = cpu->s.shadow_ss = false;
}

static enum vcpu_exit single_step(struct kvm_vcpu *v, struct x86_cpu *cpu, struct error *err)
{
	lend_registers(v, cpu, cpu->s.rip, false);
	for (;;) {
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		int rc = ioctl(v->fd, KVM_RUN, 0);
		if (rc < 0 && errno != EINTR && errno != EAGAIN) {
			error_set_errno(err, errno, "CPU %u: KVM_RUN", v->vcpu.index);
			return VCPU_FAILED;
		}
		/* A kick is looked at after the instruction: the event bit stays. */
		if (rc < 0)
			continue;
		switch (v->run->exit_reason) {
		case KVM_EXIT_DEBUG:
			take_registers(v, cpu);
			park(v);
			return VCPU_KICKED;
		case KVM_EXIT_SHUTDOWN: /* it faulted: a reserved bit in a register of the controller */
			clear_events(v);
			park(v);
			deliver(cpu, X86_GP);
			cpu->s.exception_has_error = true;
			cpu->s.exception_error = 0;
			return VCPU_KICKED;
		case KVM_EXIT_IO:
			kvm_exit_io(v);
			break;
		case KVM_EXIT_MMIO:
			kvm_exit_mmio(v);
			break;
		case KVM_EXIT_INTR:
			break;
		default:
			error_set(err, EIO,
				  "CPU %u: KVM: exit %u for an access to an interrupt controller at rip %#llx",
				  v->vcpu.index, v->run->exit_reason, (unsigned long long)cpu->s.rip);
			return VCPU_FAILED;
		}
	}
}

/* HLT. */
static void wait_for_interrupt(struct kvm_vcpu *v, struct x86_cpu *cpu)
{
	lend_registers(v, cpu, PARKED_RIP, cpu->s.rflags & X86_IF);
	set_mp(v, KVM_MP_STATE_HALTED);
	int rc = ioctl(v->fd, KVM_RUN, 0);
	if (!rc && v->run->exit_reason == KVM_EXIT_SHUTDOWN)
		take_accepted(v, cpu, true);
	else
		check_restart(v, cpu);
	if (cpu->s.mp_state == X86_MP_WAIT_SIPI)
		return;
	set_mp(v, KVM_MP_STATE_RUNNABLE);
	park(v);
}

/* A signal may come between the SIPI and the first instruction: either state is one to go on from. */
static void wait_for_sipi(struct kvm_vcpu *v, struct x86_cpu *cpu)
{
	if (get_mp(v) != KVM_MP_STATE_INIT_RECEIVED)
		set_mp(v, KVM_MP_STATE_INIT_RECEIVED);
	ioctl(v->fd, KVM_RUN, 0);
	if (get_mp(v) == KVM_MP_STATE_RUNNABLE)
		adopt_start(v, cpu);
}

/* --- the TSC deadline --- */

static uint64_t guest_tsc(struct kvm_vcpu *v)
{
	const struct clock *clock = v->kvm->engine.env.clock;
	return clock_tsc_at(clock, clock_now(clock)) + kvm_helper_cpu(v->helper)->s.tsc_adjust;
}

static void arm_deadline(struct kvm_vcpu *v)
{
	uint64_t deadline = v->tsc_deadline;
	if (deadline)
		deadline += kvm_clock_tsc(v->kvm) - guest_tsc(v);
	kvm_set_msr(v, MSR_TSC_DEADLINE, deadline);
}

int kvm_software_msr_read(struct kvm_vcpu *v, uint32_t msr, uint64_t *value)
{
	int rc = kvm_get_msr(v, msr, value);
	if (!rc && msr == MSR_TSC_DEADLINE && *value) /* zero: it has passed */
		*value = v->tsc_deadline;
	return rc;
}

int kvm_software_msr_write(struct kvm_vcpu *v, uint32_t msr, uint64_t value)
{
	if (msr != MSR_TSC_DEADLINE)
		return kvm_set_msr(v, msr, value);
	v->tsc_deadline = value;
	arm_deadline(v);
	return 0;
}

void kvm_software_clock_changed(struct kvm_engine_data *kvm, bool running)
{
	kvm_helpers_clock(kvm, running);
	for (unsigned i = 0; running && i < kvm->vcpu_count; i++)
		if (kvm->vcpus[i] && kvm->vcpus[i]->helper && kvm->vcpus[i]->tsc_deadline)
			arm_deadline(kvm->vcpus[i]);
}

static enum vcpu_exit execute(struct kvm_vcpu *v, struct x86_cpu *cpu, struct error *err)
{
	enum vcpu_exit why = VCPU_KICKED;
	cpu->vcpu.debug_step = v->vcpu.debug_step;
	kvm_helper_step(v->helper, CHUNK, &why);
	v->vcpu.debug_hit = cpu->vcpu.debug_hit;
	if (kvm_helper_refused(v->helper)) {
		why = single_step(v, cpu, err);
		if (why == VCPU_KICKED && v->vcpu.debug_step) {
			v->vcpu.debug_hit.why = DEBUG_STEPPED;
			why = VCPU_DEBUG;
		}
		return why;
	}
	return why == VCPU_HALTED ? VCPU_KICKED : why;
}

enum vcpu_exit kvm_run_software(struct kvm_vcpu *v, struct error *err)
{
	struct x86_cpu *cpu = kvm_helper_cpu(v->helper);
	for (;;) {
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		uint32_t events = atomic_load(&v->vcpu.events);
		if (events & VCPU_NMI)
			deliver_nmi(cpu);
		if (events)
			vcpu_clear(&v->vcpu, events);
		if (events & VCPU_KICK)
			return VCPU_KICKED;
		enum vcpu_exit why = VCPU_KICKED;
		if (cpu->s.mp_state == X86_MP_WAIT_SIPI) {
			wait_for_sipi(v, cpu);
		} else if (cpu->s.mp_state == X86_MP_HALTED && !cpu->s.nmi_pending) {
			wait_for_interrupt(v, cpu);
		} else {
			if (interruptible(cpu) && v->vcpu.debug_step != DEBUG_STEP_QUIET)
				poll_interrupts(v, cpu);
			if (cpu->s.mp_state == X86_MP_RUNNING)
				why = execute(v, cpu, err);
		}
		if (why != VCPU_KICKED)
			return why;
	}
}

/* --- state: the helper's, with the local APIC's registers from the kernel --- */

void kvm_software_get_state(struct kvm_vcpu *v, struct x86_state *state)
{
	struct kvm_sregs sregs = {0};
	kvm_helper_store(v->helper, state);
	kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs);
	state->apic_base = sregs.apic_base;
	state->cr8 = sregs.cr8;
	kvm_software_msr_read(v, MSR_TSC_DEADLINE, &state->tsc_deadline);
}

void kvm_software_set_state(struct kvm_vcpu *v, const struct x86_state *state)
{
	struct x86_state *copy = v->exchange;
	kvm_helper_load(v->helper, state);
	*copy = *state;
	make_lendable(copy);
	copy->rip = PARKED_RIP;
	kvm_set_registers(v, copy);
	kvm_software_msr_write(v, MSR_TSC_DEADLINE, state->tsc_deadline);
	set_mp(v, state->mp_state == X86_MP_WAIT_SIPI ? KVM_MP_STATE_INIT_RECEIVED : KVM_MP_STATE_RUNNABLE);
	if (state->mp_state != X86_MP_WAIT_SIPI)
		park(v);
}
