/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The paravirtual clock of KVM (Linux Documentation/virt/kvm/x86/msr.rst): MSRs 0x4b564d00/01 and the old 0x11/0x12.
 * The guest names a page, we write there once how to turn its TSC into nanoseconds of the virtual clock. Both stop
 * together, so the page stays true; it is written anew when the clock starts, for the guest's sake who asks for it.
 *
 * Steal time, async page faults, PV EOI: the MSRs exist where the CPUID table offers the feature; steal time is
 * reported as none, the other two never use what they are given.
 */
#include "cpu/x86/internal.h"

#include <time.h>

enum {
	FEATURE_CLOCKSOURCE = 0,
	FEATURE_CLOCKSOURCE2 = 3,
	FEATURE_ASYNC_PF = 4,
	FEATURE_STEAL_TIME = 5,
	FEATURE_PV_EOI = 6,
	FEATURE_POLL_CONTROL = 12,
};
enum {
	MSR_WALL_CLOCK_OLD = 0x11,
	MSR_SYSTEM_TIME_OLD = 0x12,
	MSR_WALL_CLOCK = 0x4b564d00,
	MSR_SYSTEM_TIME = 0x4b564d01,
	MSR_ASYNC_PF = 0x4b564d02,
	MSR_STEAL_TIME = 0x4b564d03,
	MSR_PV_EOI = 0x4b564d04,
	MSR_POLL_CONTROL = 0x4b564d05,
};

/* Structures in guest memory. */
struct system_time {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};

struct wall_clock {
	uint32_t version, sec, nsec;
};

#define FLAG_TSC_STABLE 1

static bool has_feature(const struct x86_cpu *cpu, unsigned bit)
{
	const struct cpuid_entry *entry = x86_cpuid_entry(cpu, 0x40000001, 0);

	return entry && entry->eax >> bit & 1;
}

/* ns = ((ticks << shift) * mul) >> 32 with mul in [2^31, 2^32), as precise as the form allows. */
static void scale_of(uint64_t tsc_khz, uint32_t *mul, int8_t *shift)
{
	unsigned __int128 scaled = 0;
	int s = 32;

	while (s > -31 && !(scaled >> 31)) {
		s--;
		scaled = ((unsigned __int128)1000000 << (32 - s)) / tsc_khz;
	}
	*mul = (uint32_t)scaled;
	*shift = (int8_t)s;
}

/* Writes a structure whose first word is a version: odd while the rest is being written. */
static void write_versioned(struct x86_cpu *cpu, uint64_t gpa, void *data, size_t size)
{
	struct ram *ram = cpu->vcpu.engine->env.ram;
	const struct ram_slot *slot = ram_find(ram, gpa);
	uint32_t version;

	if (!slot || slot->read_only || ram_read(ram, gpa, &version, sizeof(version)))
		return;
	version = (version + 1) | 1;
	if (ram_write(ram, gpa, &version, sizeof(version)))
		return;
	atomic_thread_fence(memory_order_release);
	(void)ram_write(ram, gpa + 4, (uint8_t *)data + 4, size - 4);
	atomic_thread_fence(memory_order_release);
	version++;
	(void)ram_write(ram, gpa, &version, sizeof(version));
}

void x86_kvmclock_refresh(struct x86_cpu *cpu)
{
	const struct clock *clock = cpu->vcpu.engine->env.clock;
	struct system_time time = {.flags = FLAG_TSC_STABLE};
	int64_t now_ns = clock_now(clock);

	if (!(cpu->s.kvm_system_time & 1) || !clock_tsc_khz(clock))
		return;
	time.tsc_timestamp = clock_tsc_at(clock, now_ns) + cpu->s.tsc_adjust;
	time.system_time = (uint64_t)now_ns;
	scale_of(clock_tsc_khz(clock), &time.tsc_to_system_mul, &time.tsc_shift);
	write_versioned(cpu, cpu->s.kvm_system_time & ~1ull, &time, sizeof(time));
}

void x86_tsc_moved(struct x86_cpu *cpu)
{
	const struct vcpu_apic_ops *ops = cpu->vcpu.apic_ops;

	if (ops && ops->set_tsc_offset)
		ops->set_tsc_offset(cpu->vcpu.apic, (int64_t)cpu->s.tsc_adjust);
	x86_kvmclock_refresh(cpu);
}

/* The wall clock at virtual time 0. */
static void write_wall_clock(struct x86_cpu *cpu, uint64_t gpa)
{
	struct wall_clock wall = {0};
	int64_t ns = clock_epoch_ns(cpu->vcpu.engine->env.clock);

	wall.sec = (uint32_t)(ns / NS_PER_S);
	wall.nsec = (uint32_t)(ns % NS_PER_S);
	write_versioned(cpu, gpa, &wall, sizeof(wall));
}

/* Where an MSR's value is kept, or NULL when it is not offered. */
static uint64_t *storage(struct x86_cpu *cpu, uint32_t msr)
{
	switch (msr) {
	case MSR_WALL_CLOCK_OLD:
		return has_feature(cpu, FEATURE_CLOCKSOURCE) ? &cpu->s.kvm_wall_clock : NULL;
	case MSR_SYSTEM_TIME_OLD:
		return has_feature(cpu, FEATURE_CLOCKSOURCE) ? &cpu->s.kvm_system_time : NULL;
	case MSR_WALL_CLOCK:
		return has_feature(cpu, FEATURE_CLOCKSOURCE2) ? &cpu->s.kvm_wall_clock : NULL;
	case MSR_SYSTEM_TIME:
		return has_feature(cpu, FEATURE_CLOCKSOURCE2) ? &cpu->s.kvm_system_time : NULL;
	case MSR_ASYNC_PF:
		return has_feature(cpu, FEATURE_ASYNC_PF) ? &cpu->s.kvm_async_pf : NULL;
	case MSR_STEAL_TIME:
		return has_feature(cpu, FEATURE_STEAL_TIME) ? &cpu->s.kvm_steal_time : NULL;
	case MSR_PV_EOI:
		return has_feature(cpu, FEATURE_PV_EOI) ? &cpu->s.kvm_pv_eoi : NULL;
	case MSR_POLL_CONTROL:
		return has_feature(cpu, FEATURE_POLL_CONTROL) ? &cpu->s.kvm_poll_control : NULL;
	default:
		return NULL;
	}
}

bool x86_kvm_msr_read(struct x86_cpu *cpu, uint32_t msr, uint64_t *value)
{
	const uint64_t *kept = storage(cpu, msr);

	if (!kept)
		return false;
	*value = *kept;
	return true;
}

bool x86_kvm_msr_write(struct x86_cpu *cpu, uint32_t msr, uint64_t value, bool *fault)
{
	uint64_t *kept = storage(cpu, msr);

	if (!kept)
		return false;
	if ((msr == MSR_STEAL_TIME && value & 0x3e) || (msr == MSR_POLL_CONTROL && value & ~1ull)) {
		*fault = true;
		return true;
	}
	*kept = value;
	if (msr == MSR_WALL_CLOCK || msr == MSR_WALL_CLOCK_OLD)
		write_wall_clock(cpu, value);
	else if (msr == MSR_SYSTEM_TIME || msr == MSR_SYSTEM_TIME_OLD)
		x86_kvmclock_refresh(cpu);
	return true;
}
