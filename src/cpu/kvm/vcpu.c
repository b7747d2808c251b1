/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtual CPU of KVM and its run loop. Kicks: immediate_exit makes the next KVM_RUN return at once, a signal ends the
 * present one; whoever kicks sets the event bit before. With the interrupt controllers in the kernel HLT and
 * wait-for-SIPI sleep inside KVM_RUN, so VCPU_HALTED is never returned.
 */
#include "base/util.h"
#include "cpu/kvm/internal.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/features.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIGNAL_KICK = SIGUSR1, MSR_ARCH_CAPABILITIES = 0x10a };

static void on_kick(int signal)
{
	(void)signal;
}

/* The handler does nothing: the signal's arrival is what ends KVM_RUN. Installed for the process, which has no other
 * use of this signal. */
int kvm_signal_init(struct error *err)
{
	struct sigaction action = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGNAL_KICK, &action, NULL) < 0)
		return error_set_errno(err, errno, "KVM: signal handler");
	return 0;
}

static int set_cpuid(struct kvm_vcpu *v, struct error *err)
{
	const struct cpuid_table *table = v->kvm->engine.env.cpuid;
	struct kvm_cpuid2 *list = xcalloc(1, sizeof(*list) + table->count * sizeof(list->entries[0]));
	uint64_t arch_capabilities = 0;
	for (size_t i = 0; i < table->count; i++) {
		struct cpuid_entry entry = table->entries[i];
		if (entry.leaf == CPUID_ARCH_CAPABILITIES) {
			arch_capabilities = entry.eax | (uint64_t)entry.edx << 32;
			continue;
		}
		x86_cpuid_for_vcpu(&entry, v->vcpu.apic_id);
		list->entries[list->nent++] =
			(struct kvm_cpuid_entry2){.function = entry.leaf,
						  .index = entry.subleaf_matters ? entry.subleaf : 0,
						  .flags = entry.subleaf_matters ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
						  .eax = entry.eax,
						  .ebx = entry.ebx,
						  .ecx = entry.ecx,
						  .edx = entry.edx};
	}
	int rc = kvm_ioctl(v->fd, KVM_SET_CPUID2, list);
	free(list);
	if (rc < 0)
		return error_set_errno(err, -rc, "KVM_SET_CPUID2 (is the CPU model too much for this host?)");
	if (arch_capabilities)
		kvm_set_msr(v, MSR_ARCH_CAPABILITIES, arch_capabilities);
	return 0;
}

static void adopt(struct kvm_engine_data *kvm, struct kvm_vcpu *v)
{
	pthread_mutex_lock(&kvm->lock);
	if (v->vcpu.index >= kvm->vcpu_count) {
		kvm->vcpus = xrealloc(kvm->vcpus, (v->vcpu.index + 1) * sizeof(*kvm->vcpus));
		while (kvm->vcpu_count <= v->vcpu.index)
			kvm->vcpus[kvm->vcpu_count++] = NULL;
	}
	kvm->vcpus[v->vcpu.index] = v;
	pthread_mutex_unlock(&kvm->lock);
}

struct vcpu *kvm_vcpu_create(struct engine *engine, unsigned index, uint32_t apic_id, struct error *err)
{
	struct kvm_engine_data *kvm = kvm_of(engine);
	struct kvm_vcpu *v = xcalloc(1, sizeof(*v));
	struct x86_state *state = xcalloc(1, sizeof(*state));
	v->vcpu.index = index;
	v->vcpu.apic_id = apic_id;
	v->vcpu.engine = engine;
	v->kvm = kvm;
	v->run = MAP_FAILED;
	v->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)apic_id);
	if (v->fd < 0) {
		error_set_errno(err, errno, "KVM_CREATE_VCPU %u", apic_id);
		goto fail;
	}
	v->run = mmap(NULL, kvm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		error_set_errno(err, errno, "KVM: mapping the state of CPU %u", index);
		goto fail;
	}
	if (set_cpuid(v, err) < 0)
		goto fail;
	if (index == 0)
		kvm_clock_probe(v);
	if (kvm->software) {
		v->exchange = xcalloc(1, sizeof(*v->exchange));
		if (!kvm_helper_of(v, err))
			goto fail;
	}
	adopt(kvm, v);
	x86_state_reset(state, index == 0);
	kvm_set_state(&v->vcpu, state);
	free(state);
	return &v->vcpu;
fail:
	if (v->run != MAP_FAILED)
		munmap(v->run, kvm->run_bytes);
	if (v->fd >= 0)
		close(v->fd);
	free(v->exchange);
	free(v);
	free(state);
	return NULL;
}

void kvm_vcpu_destroy(struct vcpu *vcpu)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	struct kvm_engine_data *kvm = v->kvm;
	pthread_mutex_lock(&kvm->lock);
	kvm->vcpus[vcpu->index] = NULL;
	pthread_mutex_unlock(&kvm->lock);
	kvm_helper_free(v->helper);
	munmap(v->run, kvm->run_bytes);
	close(v->fd);
	free(v->exchange);
	free(v);
}

/* Async-signal-safe: two stores and a system call. */
void kvm_kick(struct vcpu *vcpu)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	int tid = atomic_load(&v->tid);
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (v->kvm->software)
		kvm_helper_kick(v->helper);
	if (tid)
		syscall(SYS_tgkill, getpid(), tid, SIGNAL_KICK);
}

static void thread_enter(struct kvm_vcpu *v)
{
	sigset_t set;
	if (atomic_load(&v->tid) == gettid())
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGNAL_KICK);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	atomic_store(&v->tid, gettid());
	v->thread = pthread_self();
	if (v->kvm->software)
		kvm_software_thread(v);
}

/* Lets the kernel complete an I/O instruction without executing another, so that the registers are whole. */
static void finish_io(struct kvm_vcpu *v)
{
	for (unsigned i = 0; v->io_unfinished && i < 64; i++) {
		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		int rc = ioctl(v->fd, KVM_RUN, 0);
		if (rc < 0)
			v->io_unfinished = false;
		else if (v->run->exit_reason == KVM_EXIT_IO)
			kvm_exit_io(v);
		else if (v->run->exit_reason == KVM_EXIT_MMIO)
			kvm_exit_mmio(v);
		else
			v->io_unfinished = false;
	}
}

/* True: return to the thread. */
static bool take_events(struct kvm_vcpu *v)
{
	uint32_t events = atomic_load(&v->vcpu.events);
	if (!events)
		return false;
	if (events & VCPU_NMI)
		kvm_ioctl(v->fd, KVM_NMI, NULL);
	/* The rest is the business of the kernel's local APIC or of software TLBs. */
	vcpu_clear(&v->vcpu, events & ~VCPU_KICK);
	if (!(events & VCPU_KICK))
		return false;
	finish_io(v);
	vcpu_clear(&v->vcpu, VCPU_KICK);
	return true;
}

static enum vcpu_exit failed(struct kvm_vcpu *v, struct error *err, const char *what, uint64_t detail)
{
	struct kvm_regs regs = {0};
	kvm_ioctl(v->fd, KVM_GET_REGS, &regs);
	error_set(err, EIO, "CPU %u: KVM: %s %#llx at rip %#llx", v->vcpu.index, what, (unsigned long long)detail,
		  (unsigned long long)regs.rip);
	return VCPU_FAILED;
}

static enum vcpu_exit system_event(struct kvm_vcpu *v, struct error *err)
{
	switch (v->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		return VCPU_SHUTDOWN;
	case KVM_SYSTEM_EVENT_RESET:
		return VCPU_RESET;
	default:
		return failed(v, err, "system event", v->run->system_event.type);
	}
}

/* VCPU_KICKED: go on. */
static enum vcpu_exit handle_exit(struct kvm_vcpu *v, struct error *err)
{
	const struct kvm_run *run = v->run;
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		kvm_exit_io(v);
		return VCPU_KICKED;
	case KVM_EXIT_MMIO:
		kvm_exit_mmio(v);
		return VCPU_KICKED;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
	case KVM_EXIT_HLT:
	case KVM_EXIT_NMI:
		return VCPU_KICKED;
	case KVM_EXIT_SHUTDOWN:
		kvm_log_triple_fault(v);
		return VCPU_RESET;
	case KVM_EXIT_INTERNAL_ERROR:
		return kvm_assist(v, err);
	case KVM_EXIT_DEBUG:
		return kvm_exit_debug(v);
	case KVM_EXIT_SYSTEM_EVENT:
		return system_event(v, err);
	case KVM_EXIT_FAIL_ENTRY:
		return failed(v, err, "the host CPU refuses to enter the guest, reason",
			      run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_UNKNOWN:
		return failed(v, err, "unknown hardware exit", run->hw.hardware_exit_reason);
	default:
		return failed(v, err, "unexpected exit", run->exit_reason);
	}
}

enum vcpu_exit kvm_run_vcpu(struct vcpu *vcpu, struct error *err)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	thread_enter(v);
	v->vcpu.debug_hit.why = DEBUG_NOTHING;
	if (v->kvm->software)
		return kvm_run_software(v, err);
	kvm_debug_apply(v);
	for (;;) {
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (take_events(v))
			return VCPU_KICKED;
		v->io_unfinished = false;
		if (ioctl(v->fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return failed(v, err, "KVM_RUN: error", (uint64_t)errno);
		}
		enum vcpu_exit why = handle_exit(v, err);
		if (why != VCPU_KICKED)
			return why;
	}
}
