/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC's timer (SDM 3A 11.5.4): one-shot, periodic and TSC-deadline, all derived from the machine's clock.
 * The undivided input is 1 GHz, so a count is a number of nanoseconds.
 */
#include "device/pc/lapic_impl.h"
#include "device/pc/periodic.h"

static unsigned divider(const struct lapic *apic)
{
	unsigned code = (apic->timer_divide & 3) | (apic->timer_divide >> 1 & 4);

	return 1u << ((code + 1) & 7);
}

static int64_t period_ns(const struct lapic *apic)
{
	return (int64_t)apic->timer_initial * divider(apic);
}

static uint32_t mode(const struct lapic *apic)
{
	return apic->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

static int64_t now_ns(const struct lapic *apic)
{
	return clock_now(apic->device.env->clock);
}

static void arm(struct lapic *apic, int64_t due_ns)
{
	apic->timer_due_ns = due_ns;
	if (due_ns == INT64_MAX)
		clock_timer_cancel(&apic->timer);
	else
		clock_timer_set(&apic->timer, due_ns);
}

static void arm_next_period(struct lapic *apic, int64_t now)
{
	apic->timer_due_ns = periodic_next(apic->timer_due_ns, period_ns(apic), now);
	clock_timer_set(&apic->timer, periodic_deadline(apic->timer_due_ns, period_ns(apic), now));
}

static void expired(void *opaque)
{
	struct lapic *apic = opaque;
	int64_t now;

	pthread_mutex_lock(&apic->lock);
	now = now_ns(apic);
	/* A callback that was under way while the guest moved the deadline has nothing to do: the new one is armed. */
	if (apic->timer_due_ns <= now) {
		if (mode(apic) == LVT_PERIODIC) {
			arm_next_period(apic, now);
		} else {
			apic->timer_due_ns = INT64_MAX;
			apic->tsc_deadline = 0;
		}
		lapic_fire_local(apic, LVT_TIMER);
		lapic_update(apic);
	}
	pthread_mutex_unlock(&apic->lock);
}

void lapic_timer_init(struct lapic *apic)
{
	clock_timer_init(&apic->timer, apic->device.env->clock, expired, apic);
	apic->timer_due_ns = INT64_MAX;
}

void lapic_timer_stop(struct lapic *apic)
{
	apic->timer_initial = 0;
	apic->tsc_deadline = 0;
	arm(apic, INT64_MAX);
}

void lapic_timer_restore(struct lapic *apic)
{
	arm(apic, apic->timer_due_ns);
}

static void start_count(struct lapic *apic)
{
	apic->timer_start_ns = now_ns(apic);
	arm(apic, apic->timer_initial ? apic->timer_start_ns + period_ns(apic) : INT64_MAX);
}

/* Where the count stands, as if the timer were started with it. */
static void restart_from(struct lapic *apic, uint32_t current)
{
	int64_t now = now_ns(apic);
	int64_t left_ns = (int64_t)current * divider(apic);

	apic->timer_start_ns = now + left_ns - period_ns(apic);
	arm(apic, now + left_ns);
}

void lapic_timer_write_lvt(struct lapic *apic, uint32_t value)
{
	uint32_t old_mode = mode(apic);
	uint32_t current = lapic_timer_current(apic);

	if (!apic->config.tsc_deadline || (value & LVT_TIMER_MODE) == LVT_TIMER_MODE)
		value &= ~(uint32_t)LVT_DEADLINE;
	apic->lvt[LVT_TIMER] = value;
	if (mode(apic) == old_mode)
		return;
	/* Between deadline and counting nothing survives; between the counting modes the count goes on. */
	if (mode(apic) == LVT_DEADLINE || old_mode == LVT_DEADLINE)
		lapic_timer_stop(apic);
	else if (current)
		restart_from(apic, current);
}

void lapic_timer_write_initial(struct lapic *apic, uint32_t value)
{
	if (mode(apic) == LVT_DEADLINE)
		return;
	apic->timer_initial = value;
	start_count(apic);
}

void lapic_timer_write_divide(struct lapic *apic, uint32_t value)
{
	uint32_t current = lapic_timer_current(apic);

	apic->timer_divide = value & 0xb;
	if (current)
		restart_from(apic, current);
}

uint32_t lapic_timer_current(struct lapic *apic)
{
	uint64_t elapsed;

	if (mode(apic) == LVT_DEADLINE || !apic->timer_initial)
		return 0;
	elapsed = (uint64_t)(now_ns(apic) - apic->timer_start_ns) / divider(apic);
	if (mode(apic) == LVT_PERIODIC)
		return apic->timer_initial - (uint32_t)(elapsed % apic->timer_initial);
	return elapsed >= apic->timer_initial ? 0 : apic->timer_initial - (uint32_t)elapsed;
}

/* The virtual time at which the CPU's TSC reaches the deadline. */
static int64_t deadline_ns(const struct lapic *apic)
{
	__int128 ticks = (__int128)apic->tsc_deadline - apic->tsc_offset;
	uint64_t khz = clock_tsc_khz(apic->device.env->clock);
	__int128 ns;

	if (ticks <= 0)
		return 0;
	ns = (ticks * 1000000 + khz - 1) / khz;
	return ns >= INT64_MAX ? INT64_MAX - 1 : (int64_t)ns;
}

void lapic_timer_write_deadline(struct lapic *apic, uint64_t tsc)
{
	if (mode(apic) != LVT_DEADLINE)
		return;
	apic->tsc_deadline = tsc;
	arm(apic, tsc ? deadline_ns(apic) : INT64_MAX);
}

uint64_t lapic_timer_read_deadline(struct lapic *apic)
{
	return mode(apic) == LVT_DEADLINE ? apic->tsc_deadline : 0;
}

void lapic_timer_set_offset(struct lapic *apic, int64_t ticks)
{
	apic->tsc_offset = ticks;
	if (mode(apic) == LVT_DEADLINE && apic->tsc_deadline)
		arm(apic, deadline_ns(apic));
}
