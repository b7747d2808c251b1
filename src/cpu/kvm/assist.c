/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When the kernel gives up on an instruction (KVM_EXIT_INTERNAL_ERROR, suberror emulation), a bare interpreter on the
 * same RAM, buses and clock executes it and the vCPU goes on. KVMs that execute in software do this now and then, ones
 * on real hardware for exotic instructions on MMIO. The interpreter is one for all vCPUs, made when first needed.
 */
#include "base/util.h"
#include "core/clock.h"
#include "cpu/interp/interp.h"
#include "cpu/kvm/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* How often -v names an instruction: the first few, then every power of two. */
static bool worth_a_line(uint64_t count)
{
	return count <= 8 || is_power_of_two(count);
}

static void log_assist(struct kvm_vcpu *v, const struct x86_state *s)
{
	const struct kvm_run *run = v->run;
	char bytes[64] = "";
	struct log *log = v->kvm->engine.env.log;
	if (!log_on(log, LOG_VERBOSE) || !worth_a_line(v->assists))
		return;
	if (run->internal.ndata >= 4 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)
		for (unsigned i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
			snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, " %02x", run->emulation_failure.insn_bytes[i]);
	log_write(log, "CPU %u: KVM cannot execute%s at %04x:%#llx, the interpreter does (%llu so far)", v->vcpu.index,
		  bytes[0] ? bytes : " the instruction", s->seg[X86_CS].selector, (unsigned long long)s->rip,
		  (unsigned long long)v->assists);
}

static enum vcpu_exit give_up(struct kvm_vcpu *v, struct error *err, const struct x86_state *s, const char *why)
{
	const struct kvm_run *run = v->run;
	error_set(err, EIO, "CPU %u: KVM internal error %u (data %#llx) at rip %#llx: %s", v->vcpu.index,
		  run->internal.suberror, run->internal.ndata ? (unsigned long long)run->internal.data[0] : 0ull,
		  (unsigned long long)s->rip, why);
	return VCPU_FAILED;
}

/* helper_lock held. */
static struct x86_cpu *helper(struct kvm_vcpu *v, struct error *err)
{
	struct kvm_engine_data *kvm = v->kvm;
	if (!kvm->helper)
		kvm->helper = interp_cpu_new(&kvm->engine.env, v->vcpu.index, v->vcpu.apic_id, err);
	if (kvm->helper) {
		kvm->helper->vcpu.index = v->vcpu.index;
		kvm->helper->vcpu.apic_id = v->vcpu.apic_id;
		atomic_store(&kvm->helper->vcpu.events, 0);
	}
	return kvm->helper;
}

static void put_back(struct kvm_vcpu *v, const struct x86_state *after, const struct x86_state *before)
{
	if (memcmp(&after->fpu, &before->fpu, sizeof(after->fpu)) || after->pkru != before->pkru)
		kvm_set_fpu(v, after);
	if (after->xcr0 != before->xcr0) {
		const struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = after->xcr0}};
		kvm_ioctl(v->fd, KVM_SET_XCRS, &xcrs);
	}
	kvm_set_registers(v, after);
	kvm_set_msrs(v, after, before);
	if (after->tsc_adjust != before->tsc_adjust)
		kvm_clock_set_tsc(v, after->tsc_adjust);
	if (after->mp_state != before->mp_state) {
		const struct kvm_mp_state mp = {.mp_state = after->mp_state == X86_MP_HALTED ? KVM_MP_STATE_HALTED
											     : KVM_MP_STATE_RUNNABLE};
		kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp);
	}
}

enum vcpu_exit kvm_assist(struct kvm_vcpu *v, struct error *err)
{
	struct kvm_engine_data *kvm = v->kvm;
	struct x86_state *before = xcalloc(2, sizeof(*before)), *after = before + 1;
	enum vcpu_exit why = VCPU_KICKED;
	kvm_get_state(&v->vcpu, before);
	if (v->run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		why = give_up(v, err, before, "not an instruction that another engine could execute");
		free(before);
		return why;
	}
	pthread_mutex_lock(&kvm->helper_lock);
	struct x86_cpu *cpu = helper(v, err);
	if (!cpu) {
		why = VCPU_FAILED;
	} else {
		v->assists++;
		log_assist(v, before);
		/* The interpreter's TSC is the machine clock's plus TSC_ADJUST; make it what the guest sees. */
		const struct clock *clock = kvm->engine.env.clock;
		uint64_t skew = kvm_clock_tsc(kvm) - clock_tsc_at(clock, clock_now(clock));
		before->tsc_adjust += skew;
		x86_cpu_set_state(cpu, before);
		before->tsc_adjust -= skew;
		if (interp_step(cpu, 1, &why) == 0 && why == VCPU_KICKED)
			why = give_up(v, err, before, "the interpreter cannot execute it either");
		x86_cpu_get_state(cpu, after);
		after->tsc_adjust -= skew;
		/* The local APIC is the kernel's: what the helper knows of it is nothing. */
		after->cr8 = before->cr8;
		after->apic_base = before->apic_base;
		after->tsc_deadline = before->tsc_deadline;
	}
	pthread_mutex_unlock(&kvm->helper_lock);
	if (why == VCPU_KICKED || why == VCPU_HALTED) {
		put_back(v, after, before);
		why = VCPU_KICKED;
	}
	free(before);
	return why;
}

void kvm_assist_fini(struct kvm_engine_data *kvm)
{
	if (kvm->helper)
		interp_cpu_free(kvm->helper);
}
