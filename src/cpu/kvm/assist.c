/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An instruction that the kernel gives up on (KVM_EXIT_INTERNAL_ERROR, suberror emulation) is executed by the
 * interpreter beside the vCPU (helper.c), and the vCPU goes on. Happens for exotic instructions on MMIO, and now and
 * then in KVMs that execute in software.
 */
#include "base/util.h"
#include "core/clock.h"
#include "core/ram.h"
#include "cpu/kvm/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* How often -v names an instruction: the first few, then every power of two. */
static bool worth_a_line(uint64_t count)
{
	return count <= 4 || is_power_of_two(count);
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

/* The interpreter's TSC is the machine clock's plus TSC_ADJUST; the difference to what the guest sees under KVM. */
static uint64_t tsc_skew(struct kvm_vcpu *v)
{
	const struct clock *clock = v->kvm->engine.env.clock;
	return kvm_clock_tsc(v->kvm) - clock_tsc_at(clock, clock_now(clock));
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

/* Makes the interpreter decode the instruction anew, since KVM does not tell what was written. It may lie in two pages.
 */
static void forget_code(struct kvm_vcpu *v, const struct x86_state *s)
{
	uint64_t linear = s->rip + (s->efer >> 10 & 1 && s->seg[X86_CS].attr & X86_SEG_L ? 0 : s->seg[X86_CS].base),
		 gpa;
	for (unsigned i = 0; i < 2; i++, linear += 15)
		if (kvm_translate_gva(&v->vcpu, linear, &gpa) == 0)
			ram_written(v->kvm->engine.env.ram, gpa & ~(PAGE_SIZE - 1), PAGE_SIZE);
}

enum vcpu_exit kvm_assist(struct kvm_vcpu *v, struct error *err)
{
	struct x86_state *before = xcalloc(2, sizeof(*before)), *after = before + 1;
	struct kvm_helper *h = kvm_helper_of(v, err);
	enum vcpu_exit why = VCPU_FAILED;
	kvm_get_state(&v->vcpu, before);
	if (v->run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		why = give_up(v, err, before, "not an instruction that another engine could execute");
	} else if (h) {
		uint64_t skew = tsc_skew(v);
		v->assists++;
		log_assist(v, before);
		before->tsc_adjust += skew;
		forget_code(v, before);
		kvm_helper_load(h, before);
		uint64_t done = kvm_helper_step(h, 1, &why);
		kvm_helper_store(h, after);
		before->tsc_adjust -= skew;
		after->tsc_adjust = v->kvm->tsc_is_host ? before->tsc_adjust : after->tsc_adjust - skew;
		if (kvm_helper_refused(h) || (!done && why == VCPU_KICKED))
			why = give_up(v, err, before, "the interpreter cannot execute it either");
		else if (why == VCPU_KICKED || why == VCPU_HALTED) {
			put_back(v, after, before);
			why = VCPU_KICKED;
		}
	}
	free(before);
	return why;
}
