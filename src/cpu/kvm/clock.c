/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's TSC and kvmclock under the machine's clock. All vCPUs share one offset between host and guest TSC
 * (KVM_VCPU_TSC_OFFSET sets it exactly; IA32_TSC_ADJUST is added per vCPU). While the machine stands still neither
 * clock moves: both go on from where they stopped, and never behind the machine's clock.
 *
 * A KVM that executes in software lets its guests read the host's TSC as it is; offsets are left alone there. No guest
 * sees that TSC: software.c gives it the machine clock's.
 */
#include "core/clock.h"
#include "base/util.h"
#include "cpu/kvm/internal.h"

#include <sys/ioctl.h>
#include <x86intrin.h>

enum { MSR_TSC = 0x10, MSR_TSC_ADJUST = 0x3b };

static bool tsc_offset_ioctl(struct kvm_vcpu *v, unsigned long request, uint64_t *offset)
{
	const struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uint64_t)(uintptr_t)offset};
	return kvm_ioctl(v->fd, request, &attr) == 0;
}

uint64_t kvm_clock_tsc(struct kvm_engine_data *kvm)
{
	return kvm->clock_running || kvm->tsc_is_host ? __rdtsc() + kvm->tsc_common : kvm->tsc_stopped;
}

/* Asks for an offset and looks whether the TSC follows. */
void kvm_clock_probe(struct kvm_vcpu *v)
{
	struct kvm_engine_data *kvm = v->kvm;
	uint64_t offset = 0 - __rdtsc(), tsc = 0;
	if (!tsc_offset_ioctl(v, KVM_SET_DEVICE_ATTR, &offset) || kvm_get_msr(v, MSR_TSC, &tsc) < 0)
		return;
	if (tsc < 10 * 1000 * clock_tsc_khz(kvm->engine.env.clock))
		return;
	kvm->tsc_is_host = true;
	kvm->tsc_common = 0;
	offset = 0;
	tsc_offset_ioctl(v, KVM_SET_DEVICE_ATTR, &offset);
}

void kvm_clock_set_tsc(struct kvm_vcpu *v, uint64_t tsc_adjust)
{
	struct kvm_engine_data *kvm = v->kvm;
	if (kvm->tsc_is_host)
		return;
	uint64_t common = kvm->clock_running ? kvm->tsc_common : kvm->tsc_stopped - __rdtsc();
	uint64_t offset = common + tsc_adjust;
	if (!tsc_offset_ioctl(v, KVM_SET_DEVICE_ATTR, &offset))
		kvm_set_msr(v, MSR_TSC, __rdtsc() + offset);
}

static void start(struct kvm_engine_data *kvm)
{
	const struct clock *clock = kvm->engine.env.clock;
	int64_t now = clock_now(clock);
	uint64_t tsc = max_u64(clock_tsc_at(clock, now), kvm->tsc_stopped);
	struct kvm_clock_data data = {.clock = max_u64((uint64_t)now, kvm->kvmclock_stopped_ns)};
	if (!kvm->tsc_is_host)
		kvm->tsc_common = tsc - __rdtsc();
	kvm->clock_running = true;
	for (unsigned i = 0; i < kvm->vcpu_count; i++) {
		uint64_t adjust = 0;
		if (!kvm->vcpus[i])
			continue;
		kvm_get_msr(kvm->vcpus[i], MSR_TSC_ADJUST, &adjust);
		kvm_clock_set_tsc(kvm->vcpus[i], adjust);
		/* Tells the guest's watchdogs that it was paused; only if it uses kvmclock. */
		kvm_ioctl(kvm->vcpus[i]->fd, KVM_KVMCLOCK_CTRL, NULL);
	}
	kvm_software_clock_changed(kvm, true);
	int rc = kvm_ioctl(kvm->vm_fd, KVM_SET_CLOCK, &data);
	if (rc < 0)
		log_warn(kvm->engine.env.log, "KVM_SET_CLOCK: %s", strerror(-rc));
}

void kvm_clock_changed(struct engine *engine, bool running)
{
	struct kvm_engine_data *kvm = kvm_of(engine);
	if (running == kvm->clock_running)
		return;
	if (running) {
		start(kvm);
		return;
	}
	struct kvm_clock_data data = {0};
	kvm->tsc_stopped = __rdtsc() + kvm->tsc_common;
	kvm->clock_running = false;
	if (kvm_ioctl(kvm->vm_fd, KVM_GET_CLOCK, &data) == 0)
		kvm->kvmclock_stopped_ns = data.clock;
}

void kvm_clock_init(struct kvm_engine_data *kvm)
{
	const struct clock *clock = kvm->engine.env.clock;
	kvm->clock_running = clock_running(clock);
	kvm->tsc_stopped = clock_tsc_at(clock, clock_now(clock));
	kvm->tsc_common = kvm->tsc_stopped - __rdtsc();
}
