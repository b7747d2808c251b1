/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * High-precision event timer (IA-PC HPET specification 1.0a): 64-bit main counter at 100 MHz, three comparators, all
 * of them capable of periods, edge and level triggering, legacy replacement. Nothing ticks: the counter follows
 * from the virtual clock, and each running comparator has one clock timer.
 * Left out: FSB (message) delivery.
 */
#include "device/pc/hpet.h"

#include "base/util.h"
#include "core/clock.h"
#include "device/pc/isa.h"
#include "device/pc/periodic.h"

#include <pthread.h>

enum { TIMERS = 3, NS_PER_TICK = 10 };
enum { REG_CAPABILITIES = 0x00, REG_CONFIG = 0x10, REG_STATUS = 0x20, REG_COUNTER = 0xf0, REG_TIMER = 0x100 };
enum { CONFIG_ENABLE = 1, CONFIG_LEGACY = 2 };
enum {
	TN_LEVEL = 1 << 1,
	TN_ENABLE = 1 << 2,
	TN_PERIODIC = 1 << 3,
	TN_PERIODIC_CAPABLE = 1 << 4,
	TN_64BIT = 1 << 5,
	TN_SET_VALUE = 1 << 6,
	TN_32BIT_MODE = 1 << 8,
	TN_ROUTE_SHIFT = 9,
	TN_ROUTE = 0x1f << 9,
};
enum { TN_WRITABLE = TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_SET_VALUE | TN_32BIT_MODE | TN_ROUTE };
#define CAPABILITIES ((uint64_t)NS_PER_TICK * 1000000 << 32 | HPET_BLOCK_ID)

struct hpet_timer {
	uint32_t config;
	uint64_t comparator, period;
	int64_t due_ns; /* when the comparator matches next; INT64_MAX: not running */
	struct clock_timer timer;
	struct hpet *hpet;
	unsigned index;
};

struct hpet {
	struct device device;
	pthread_mutex_t lock;
	struct irq wires[24], legacy[2];
	bool legacy_level[2]; /* what the 8254 and the RTC drive */
	uint32_t config, status;
	uint64_t counter; /* value while halted; while enabled: what to add to clock ticks */
	struct hpet_timer timers[TIMERS];
	struct region region;
};

static int64_t now_ns(const struct hpet *hpet)
{
	return clock_now(hpet->device.env->clock);
}

static uint64_t counter_at(const struct hpet *hpet, int64_t now)
{
	return hpet->config & CONFIG_ENABLE ? hpet->counter + (uint64_t)now / NS_PER_TICK : hpet->counter;
}

/* --- interrupts --- */

static const struct irq *wire(struct hpet *hpet, const struct hpet_timer *t)
{
	unsigned route = t->config >> TN_ROUTE_SHIFT & 0x1f;

	if (hpet->config & CONFIG_LEGACY && t->index < 2)
		return &hpet->legacy[t->index];
	return &hpet->wires[route % ARRAY_SIZE(hpet->wires)];
}

static void drive(struct hpet *hpet, struct hpet_timer *t)
{
	if (!(t->config & TN_ENABLE))
		return;
	if (t->config & TN_LEVEL) {
		hpet->status |= 1u << t->index;
		irq_set(wire(hpet, t), true);
	} else {
		irq_pulse(wire(hpet, t));
	}
}

static void clear_level(struct hpet *hpet, struct hpet_timer *t)
{
	if (hpet->status >> t->index & 1) {
		hpet->status &= ~(1u << t->index);
		irq_set(wire(hpet, t), false);
	}
}

static void legacy_input(void *opaque, unsigned n, bool level)
{
	struct hpet *hpet = opaque;

	pthread_mutex_lock(&hpet->lock);
	hpet->legacy_level[n] = level;
	if (!(hpet->config & CONFIG_LEGACY))
		irq_set(&hpet->legacy[n], level);
	pthread_mutex_unlock(&hpet->lock);
}

struct irq hpet_legacy_input(struct hpet *hpet, unsigned n)
{
	return (struct irq){.set = legacy_input, .opaque = hpet, .line = n};
}

/* --- comparators --- */

static bool is_32bit(const struct hpet_timer *t)
{
	return t->config & TN_32BIT_MODE;
}

/* Ticks until the counter equals the comparator; a full turn when it equals it now. */
static uint64_t ticks_to_match(const struct hpet_timer *t, uint64_t counter)
{
	uint64_t left = t->comparator - counter;

	if (is_32bit(t))
		return (uint32_t)left ? (uint32_t)left : 1ull << 32;
	return left;
}

static int64_t period_ns(const struct hpet_timer *t)
{
	return t->period > INT64_MAX / 4 / NS_PER_TICK ? INT64_MAX / 4 : (int64_t)t->period * NS_PER_TICK;
}

static void arm(struct hpet *hpet, struct hpet_timer *t)
{
	int64_t now = now_ns(hpet);
	uint64_t left = ticks_to_match(t, counter_at(hpet, now));

	t->due_ns = INT64_MAX;
	/* A 64-bit comparator that just lies behind is a match in thousands of years: never. */
	if (hpet->config & CONFIG_ENABLE && t->config & TN_ENABLE && left < INT64_MAX / 2 / NS_PER_TICK)
		t->due_ns = (now / NS_PER_TICK + (int64_t)left) * NS_PER_TICK;
	if (t->due_ns == INT64_MAX)
		clock_timer_cancel(&t->timer);
	else
		clock_timer_set(&t->timer, t->due_ns);
}

static void advance(struct hpet *hpet, struct hpet_timer *t, int64_t now)
{
	int64_t next = periodic_next(t->due_ns, period_ns(t), now);
	uint64_t periods = (uint64_t)(next - t->due_ns) / (uint64_t)period_ns(t);

	t->comparator += periods * t->period;
	if (is_32bit(t))
		t->comparator = (uint32_t)t->comparator;
	t->due_ns = next;
	clock_timer_set(&t->timer, periodic_deadline(next, period_ns(t), now));
}

static void expired(void *opaque)
{
	struct hpet_timer *t = opaque;
	struct hpet *hpet = t->hpet;
	int64_t now;

	pthread_mutex_lock(&hpet->lock);
	now = now_ns(hpet);
	if (t->due_ns <= now) {
		drive(hpet, t);
		if (t->config & TN_PERIODIC && t->period)
			advance(hpet, t, now);
		else if (is_32bit(t)) /* matches again after the counter's low half came round */
			arm(hpet, t);
		else
			t->due_ns = INT64_MAX;
	}
	pthread_mutex_unlock(&hpet->lock);
}

/* --- registers --- */

static uint64_t route_mask(const struct hpet *hpet)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(hpet->wires); i++)
		if (hpet->wires[i].set)
			mask |= 1ull << i;
	return mask;
}

static uint64_t read_timer(const struct hpet *hpet, const struct hpet_timer *t, unsigned reg)
{
	switch (reg) {
	case 0x00:
		return route_mask(hpet) << 32 | t->config | TN_PERIODIC_CAPABLE | TN_64BIT;
	case 0x08:
		return t->comparator;
	}
	return 0;
}

static uint64_t read_register(const struct hpet *hpet, uint64_t reg)
{
	if (reg >= REG_TIMER && (reg - REG_TIMER) / 0x20 < TIMERS)
		return read_timer(hpet, &hpet->timers[(reg - REG_TIMER) / 0x20], reg & 0x18);
	switch (reg) {
	case REG_CAPABILITIES:
		return CAPABILITIES;
	case REG_CONFIG:
		return hpet->config;
	case REG_STATUS:
		return hpet->status;
	case REG_COUNTER:
		return counter_at(hpet, now_ns(hpet));
	}
	return 0;
}

static void route_legacy(struct hpet *hpet, bool on)
{
	for (unsigned i = 0; i < 2; i++) {
		clear_level(hpet, &hpet->timers[i]);
		irq_set(&hpet->legacy[i], on ? false : hpet->legacy_level[i]);
	}
}

static void write_config(struct hpet *hpet, uint32_t value)
{
	uint32_t changed = hpet->config ^ value;
	uint64_t counter = counter_at(hpet, now_ns(hpet));

	/* Levels go low on the wire they were raised on, before that changes. */
	if (changed & CONFIG_LEGACY)
		route_legacy(hpet, value & CONFIG_LEGACY);
	hpet->config = value & (CONFIG_ENABLE | CONFIG_LEGACY);
	hpet->counter = counter;
	if (hpet->config & CONFIG_ENABLE)
		hpet->counter -= (uint64_t)now_ns(hpet) / NS_PER_TICK;
	/* A match that just passed and is about to be served must not be forgotten for nothing. */
	for (unsigned i = 0; i < TIMERS && changed & CONFIG_ENABLE; i++)
		arm(hpet, &hpet->timers[i]);
}

static void write_timer_config(struct hpet *hpet, struct hpet_timer *t, uint32_t value)
{
	uint32_t config = value & TN_WRITABLE;
	unsigned route = config >> TN_ROUTE_SHIFT & 0x1f;

	/* A route that does not exist is not taken over. */
	if (route >= ARRAY_SIZE(hpet->wires) || !hpet->wires[route].set)
		config = (config & ~TN_ROUTE) | (t->config & TN_ROUTE);
	if ((config ^ t->config) & (TN_ROUTE | TN_LEVEL) || !(config & TN_ENABLE))
		clear_level(hpet, t);
	t->config = config;
	if (is_32bit(t)) {
		t->comparator = (uint32_t)t->comparator;
		t->period = (uint32_t)t->period;
	}
	arm(hpet, t);
}

/* In periodic mode a write sets the period, and with SET_VALUE the comparator first (2.3.9.2.2). */
static void write_comparator(struct hpet *hpet, struct hpet_timer *t, uint64_t value)
{
	if (is_32bit(t))
		value = (uint32_t)value;
	if (!(t->config & TN_PERIODIC) || t->config & TN_SET_VALUE)
		t->comparator = value;
	if (t->config & TN_PERIODIC && !(t->config & TN_SET_VALUE))
		t->period = value;
	t->config &= ~TN_SET_VALUE;
	arm(hpet, t);
}

static void write_register(struct hpet *hpet, uint64_t reg, uint64_t value)
{
	if (reg >= REG_TIMER && (reg - REG_TIMER) / 0x20 < TIMERS) {
		struct hpet_timer *t = &hpet->timers[(reg - REG_TIMER) / 0x20];

		if ((reg & 0x18) == 0x00)
			write_timer_config(hpet, t, (uint32_t)value);
		else if ((reg & 0x18) == 0x08)
			write_comparator(hpet, t, value);
		return;
	}
	switch (reg) {
	case REG_CONFIG:
		write_config(hpet, (uint32_t)value);
		break;
	case REG_STATUS:
		for (unsigned i = 0; i < TIMERS; i++)
			if (value >> i & 1)
				clear_level(hpet, &hpet->timers[i]);
		break;
	case REG_COUNTER:
		if (!(hpet->config & CONFIG_ENABLE)) /* only while halted (2.3.7) */
			hpet->counter = value;
		break;
	}
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct hpet *hpet = opaque;
	uint64_t value;

	pthread_mutex_lock(&hpet->lock);
	value = read_register(hpet, offset & ~7ull);
	pthread_mutex_unlock(&hpet->lock);
	return offset & 4 ? value >> 32 : value;
}

/* Half a register is written by taking the other half from what it holds; for a periodic comparator from the period. */
static uint64_t other_half(const struct hpet *hpet, uint64_t reg)
{
	const struct hpet_timer *t = &hpet->timers[(reg - REG_TIMER) / 0x20 % TIMERS];
	bool comparator = reg >= REG_TIMER && (reg & 0x18) == 0x08;

	if (comparator && t->config & TN_PERIODIC && !(t->config & TN_SET_VALUE))
		return t->period;
	return read_register(hpet, reg);
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct hpet *hpet = opaque;
	uint64_t reg = offset & ~7ull;

	if (offset & 3 || size < 4)
		return;
	pthread_mutex_lock(&hpet->lock);
	if (size == 4 && reg == REG_STATUS)
		value = offset & 4 ? 0 : (uint32_t)value;
	else if (size == 4 && offset & 4)
		value = value << 32 | (uint32_t)other_half(hpet, reg);
	else if (size == 4)
		value = (uint32_t)value | (other_half(hpet, reg) & ~0xffffffffull);
	write_register(hpet, reg, value);
	pthread_mutex_unlock(&hpet->lock);
}

static const struct region_ops ops = {.read = mmio_read, .write = mmio_write, .min_width = 4, .max_width = 8};

/* --- life --- */

static void reset(struct device *device)
{
	struct hpet *hpet = (struct hpet *)device;

	pthread_mutex_lock(&hpet->lock);
	for (unsigned i = 0; i < TIMERS; i++) {
		struct hpet_timer *t = &hpet->timers[i];

		clear_level(hpet, t);
		t->config = (uint32_t)(route_mask(hpet) ? __builtin_ctzll(route_mask(hpet)) : 0) << TN_ROUTE_SHIFT;
		t->comparator = UINT64_MAX;
		t->period = 0;
	}
	write_config(hpet, 0);
	hpet->counter = 0;
	pthread_mutex_unlock(&hpet->lock);
}

static int init(struct device *device, struct error *err)
{
	struct hpet *hpet = (struct hpet *)device;

	pthread_mutex_init(&hpet->lock, NULL);
	for (unsigned i = 0; i < TIMERS; i++) {
		hpet->timers[i].hpet = hpet;
		hpet->timers[i].index = i;
		clock_timer_init(&hpet->timers[i].timer, device->env->clock, expired, &hpet->timers[i]);
	}
	reset(device);
	hpet->region = (struct region){"hpet", &ops, hpet, HPET_BASE, 0x400, 0};
	return bus_add(device->env->memory, &hpet->region, err);
}

static void fini(struct device *device)
{
	struct hpet *hpet = (struct hpet *)device;

	bus_remove(device->env->memory, &hpet->region);
	for (unsigned i = 0; i < TIMERS; i++)
		clock_timer_cancel_sync(&hpet->timers[i].timer);
}

static int check(const void *staged, struct error *err)
{
	const struct hpet *hpet = staged;

	if (hpet->config & ~(CONFIG_ENABLE | CONFIG_LEGACY) || hpet->status >> TIMERS)
		return error_set(err, EINVAL, "config 0x%x or status 0x%x out of range", hpet->config, hpet->status);
	for (unsigned i = 0; i < TIMERS; i++) {
		const struct hpet_timer *t = &hpet->timers[i];

		if (t->config & ~TN_WRITABLE || (t->config >> TN_ROUTE_SHIFT & 0x1f) >= ARRAY_SIZE(hpet->wires))
			return error_set(err, EINVAL, "timer %u: config 0x%x", i, t->config);
	}
	return 0;
}

static void after_load(void *object)
{
	struct hpet *hpet = object;

	pthread_mutex_lock(&hpet->lock);
	for (unsigned i = 0; i < TIMERS; i++)
		arm(hpet, &hpet->timers[i]);
	pthread_mutex_unlock(&hpet->lock);
}

static const struct state_table timer_state = {
	.name = "timer",
	.version = 1,
	.size = sizeof(struct hpet_timer),
	.fields =
		(const struct state_field[]){
			STATE_FIELD(STATE_U32, struct hpet_timer, config),
			STATE_FIELD(STATE_U64, struct hpet_timer, comparator),
			STATE_FIELD(STATE_U64, struct hpet_timer, period),
			STATE_END,
		},
};

static const struct state_table state = {
	.name = "hpet",
	.version = 1,
	.size = sizeof(struct hpet),
	.check = check,
	.after_load = after_load,
	.fields =
		(const struct state_field[]){
			STATE_FIELD_N(STATE_BOOL, struct hpet, legacy_level, 2),
			STATE_FIELD(STATE_U32, struct hpet, config),
			STATE_FIELD(STATE_U32, struct hpet, status),
			STATE_FIELD(STATE_U64, struct hpet, counter),
			STATE_SUB(timer_state, struct hpet, timers, TIMERS),
			STATE_END,
		},
};

const struct device_class hpet_class = {
	.name = "hpet",
	.help = "high-precision event timer",
	.bus = DEVICE_SYSTEM,
	.internal = true,
	.size = sizeof(struct hpet),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct hpet *hpet_new(const struct device_env *env, const struct irq wires[24], const struct irq legacy[2],
		      struct error *err)
{
	struct hpet *hpet = (struct hpet *)device_alloc(&hpet_class, env);

	memcpy(hpet->wires, wires, sizeof(hpet->wires));
	memcpy(hpet->legacy, legacy, sizeof(hpet->legacy));
	return device_realize(&hpet->device, err) < 0 ? NULL : hpet;
}
