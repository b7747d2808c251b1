/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 8254 programmable interval timer (Intel order 231164) and the PC's port 0x61 (gate and speaker of channel 2, refresh
 * toggle). All six modes, binary and BCD, latch and read-back. Nothing ticks: the count at any moment follows from the
 * virtual clock and the moment the count was loaded. Only channel 0 has a timer, and only in modes whose output rises
 * by itself, since a rising output is all that an interrupt input sees.
 * Left out: sound; NMI enables of port 0x61 are stored without effect.
 */
#include "device/pc/i8254.h"

#include "core/clock.h"
#include "device/pc/isa.h"
#include "device/pc/periodic.h"

#include <pthread.h>

enum { CHANNELS = 3 };
enum access { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };

struct channel {
	uint8_t mode; /* 0-5 */
	bool bcd;
	uint8_t access;      /* enum access, never LATCH */
	uint32_t count;      /* reload value 1..0x10000 (BCD: ..10000); 0: never written */
	uint32_t next_count; /* modes 2, 3: takes over at the end of the period; 0: none */
	bool gate;
	bool counting;     /* loaded and (modes 1, 5) triggered */
	int64_t start_ns;  /* when the present count was loaded or triggered, moved on by pauses */
	int64_t paused_ns; /* gate low in modes 0 and 4: the moment it fell; else -1 */
	bool write_high;   /* ACCESS_BOTH: the next write is the high byte */
	uint8_t write_low;
	bool read_high;
	uint8_t latched; /* bytes of `latch` left to read */
	uint16_t latch;
	bool status_latched;
	uint8_t status;
};

struct i8254 {
	struct device device;
	pthread_mutex_t lock;
	struct channel channel[CHANNELS];
	uint8_t port61; /* bits 0-3 as written */
	struct irq output;
	int64_t due_ns; /* next rising edge of channel 0 */
	struct clock_timer timer;
	struct region regions[2];
};

static int64_t now_ns(const struct i8254 *pit)
{
	return clock_now(pit->device.env->clock);
}

static bool is_periodic(const struct channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

static int64_t period_ns(const struct channel *c)
{
	return clock_ticks_to_ns(c->count, I8254_HZ);
}

/* Ticks since the start of the present count. */
static uint64_t elapsed(const struct channel *c, int64_t now)
{
	int64_t at = c->paused_ns >= 0 ? c->paused_ns : now;

	return at > c->start_ns ? clock_ns_to_ticks(at - c->start_ns, I8254_HZ) : 0;
}

/* A count that was written during a period of modes 2 and 3 takes over when the period ends. */
static void settle(struct channel *c, int64_t now)
{
	uint64_t periods;

	if (!c->next_count)
		return;
	periods = elapsed(c, now) / c->count;
	if (c->counting && periods == 0)
		return;
	c->start_ns = c->counting ? c->start_ns + clock_ticks_to_ns(c->count, I8254_HZ) : now;
	c->count = c->next_count;
	c->next_count = 0;
}

static bool output(const struct channel *c, int64_t now)
{
	uint64_t ticks = elapsed(c, now);

	if (!c->counting)
		return c->mode != 0;
	switch (c->mode) {
	case 0:
	case 1:
		return ticks >= c->count;
	case 2:
		return !c->gate || ticks % c->count != c->count - 1;
	case 3:
		return !c->gate || ticks % c->count < (c->count + 1) / 2;
	default:
		return ticks != c->count;
	}
}

static uint16_t to_bcd(uint32_t value)
{
	return (uint16_t)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12);
}

static uint32_t from_bcd(uint16_t value)
{
	return (value & 0xf) + 10u * (value >> 4 & 0xf) + 100u * (value >> 8 & 0xf) + 1000u * (value >> 12);
}

/* What the counting element holds; after the terminal count it wraps and goes on. */
static uint16_t counter(const struct channel *c, int64_t now)
{
	uint32_t modulus = c->bcd ? 10000 : 0x10000;
	uint64_t ticks = elapsed(c, now);
	uint32_t value;

	if (!c->count)
		return 0;
	if (!c->counting)
		value = c->count;
	else if (c->mode == 2)
		value = c->gate ? c->count - (uint32_t)(ticks % c->count) : c->count;
	else if (c->mode == 3)
		value = c->gate ? c->count - (uint32_t)(2 * ticks % c->count) : c->count;
	else
		value = (uint32_t)((c->count + modulus - ticks % modulus) % modulus);
	value %= modulus;
	return c->bcd ? to_bcd(value) : (uint16_t)value;
}

/* --- channel 0's interrupt --- */

/* The next moment at which OUT rises by itself, or INT64_MAX. */
static int64_t next_rise(const struct channel *c, int64_t now)
{
	uint64_t ticks = elapsed(c, now);

	if (!c->counting || !c->gate)
		return INT64_MAX;
	if (is_periodic(c))
		return c->start_ns + clock_ticks_to_ns((ticks / c->count + 1) * c->count, I8254_HZ);
	if (c->mode == 0 && ticks < c->count)
		return c->start_ns + clock_ticks_to_ns(c->count, I8254_HZ);
	if (c->mode == 4 && ticks <= c->count)
		return c->start_ns + clock_ticks_to_ns(c->count + 1ull, I8254_HZ);
	return INT64_MAX;
}

static void arm(struct i8254 *pit, int64_t now)
{
	pit->due_ns = next_rise(&pit->channel[0], now);
	if (pit->due_ns == INT64_MAX)
		clock_timer_cancel(&pit->timer);
	else
		clock_timer_set(&pit->timer, pit->due_ns);
}

/* A late host catches up tick by tick, but drops what is older than a second; periods too short to serve are served
 * as often as is reasonable. */
static void arm_next_period(struct i8254 *pit, int64_t now)
{
	struct channel *c = &pit->channel[0];
	int64_t after = now - pit->due_ns > NS_PER_S ? now : pit->due_ns;

	if (period_ns(c) < PERIODIC_MIN_NS)
		after = now + PERIODIC_MIN_NS;
	pit->due_ns = next_rise(c, after);
	if (pit->due_ns != INT64_MAX)
		clock_timer_set(&pit->timer, periodic_deadline(pit->due_ns, period_ns(c), now));
}

static void expired(void *opaque)
{
	struct i8254 *pit = opaque;
	struct channel *c = &pit->channel[0];
	int64_t now;

	pthread_mutex_lock(&pit->lock);
	now = now_ns(pit);
	if (pit->due_ns <= now) {
		irq_set(&pit->output, false);
		irq_set(&pit->output, true);
		settle(c, now);
		if (is_periodic(c))
			arm_next_period(pit, now);
		else
			pit->due_ns = INT64_MAX;
	}
	pthread_mutex_unlock(&pit->lock);
}

/* Follows a change of channel 0 that software made. */
static void channel0_changed(struct i8254 *pit, int64_t now)
{
	irq_set(&pit->output, output(&pit->channel[0], now));
	arm(pit, now);
}

/* --- registers --- */

static void load(struct i8254 *pit, struct channel *c, uint16_t raw, int64_t now)
{
	uint32_t count = c->bcd ? from_bcd(raw) : raw;

	if (!count)
		count = c->bcd ? 10000 : 0x10000;
	/* A count of one cannot divide; the chip forbids it in these modes. */
	if (is_periodic(c) && count == 1)
		count = 2;
	if (is_periodic(c) && c->counting) {
		c->next_count = count;
		settle(c, now);
		return;
	}
	c->count = count;
	if (c->mode == 1 || c->mode == 5)
		return; /* waits for the gate; a running one goes on with the old count on the chip */
	c->counting = true;
	c->start_ns = now;
	c->paused_ns = !c->gate && !is_periodic(c) ? now : -1;
	if (c == &pit->channel[0])
		channel0_changed(pit, now);
}

static void write_count(struct i8254 *pit, struct channel *c, uint8_t value)
{
	int64_t now = now_ns(pit);

	switch (c->access) {
	case ACCESS_LOW:
		load(pit, c, value, now);
		return;
	case ACCESS_HIGH:
		load(pit, c, (uint16_t)(value << 8), now);
		return;
	}
	if (c->write_high) {
		load(pit, c, (uint16_t)(value << 8 | c->write_low), now);
	} else {
		c->write_low = value;
		/* In mode 0 the first byte stops the count and lowers OUT. */
		if (c->mode == 0) {
			c->counting = false;
			if (c == &pit->channel[0])
				channel0_changed(pit, now);
		}
	}
	c->write_high = !c->write_high;
}

static void latch_count(struct channel *c, int64_t now)
{
	if (c->latched)
		return;
	c->latch = counter(c, now);
	c->latched = c->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct channel *c, int64_t now)
{
	bool null_count = !c->count || c->next_count || (!c->counting && c->mode != 1 && c->mode != 5);

	if (c->status_latched)
		return;
	c->status = (uint8_t)((output(c, now) ? 0x80 : 0) | (null_count ? 0x40 : 0) | c->access << 4 | c->mode << 1 |
			      c->bcd);
	c->status_latched = true;
}

static void read_back(struct i8254 *pit, uint8_t command)
{
	int64_t now = now_ns(pit);

	for (unsigned i = 0; i < CHANNELS; i++) {
		if (!(command >> (i + 1) & 1))
			continue;
		settle(&pit->channel[i], now);
		if (!(command & 0x20))
			latch_count(&pit->channel[i], now);
		if (!(command & 0x10))
			latch_status(&pit->channel[i], now);
	}
}

static void write_control(struct i8254 *pit, uint8_t value)
{
	int64_t now = now_ns(pit);
	struct channel *c;

	if (value >> 6 == 3) {
		read_back(pit, value);
		return;
	}
	c = &pit->channel[value >> 6];
	settle(c, now);
	if ((value >> 4 & 3) == ACCESS_LATCH) {
		latch_count(c, now);
		return;
	}
	c->access = value >> 4 & 3;
	c->mode = value >> 1 & 7;
	if (c->mode > 5)
		c->mode -= 4; /* 6 and 7 are 2 and 3 */
	c->bcd = value & 1;
	c->counting = c->write_high = c->read_high = false;
	c->next_count = 0;
	c->paused_ns = -1;
	c->latched = 0;
	c->status_latched = false;
	if (c == &pit->channel[0])
		channel0_changed(pit, now);
}

static uint8_t read_latch(struct channel *c)
{
	bool high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->latched == 1);

	c->latched--;
	return (uint8_t)(high ? c->latch >> 8 : c->latch);
}

static uint8_t read_channel(struct channel *c, int64_t now)
{
	uint16_t value;
	bool high;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->latched)
		return read_latch(c);
	settle(c, now);
	value = counter(c, now);
	high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->read_high);
	if (c->access == ACCESS_BOTH)
		c->read_high = !c->read_high;
	return (uint8_t)(high ? value >> 8 : value);
}

static void set_gate(struct channel *c, bool gate, int64_t now)
{
	settle(c, now);
	if (gate == c->gate)
		return;
	switch (c->mode) {
	case 0:
	case 4:
		if (!gate && c->counting) {
			c->paused_ns = now;
		} else if (gate && c->paused_ns >= 0) {
			c->start_ns += now - c->paused_ns;
			c->paused_ns = -1;
		}
		break;
	default:
		/* A rising edge (re)starts; in modes 2 and 3 with what was written last. */
		if (gate && c->count) {
			if (c->next_count)
				c->count = c->next_count;
			c->next_count = 0;
			c->counting = true;
			c->start_ns = now;
		}
	}
	c->gate = gate;
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8254 *pit = opaque;
	uint8_t value = 0;

	if (offset == 3)
		return 0xff; /* write-only */
	pthread_mutex_lock(&pit->lock);
	value = read_channel(&pit->channel[offset], now_ns(pit));
	pthread_mutex_unlock(&pit->lock);
	return value;
}

static void pit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8254 *pit = opaque;

	pthread_mutex_lock(&pit->lock);
	if (offset == 3)
		write_control(pit, (uint8_t)value);
	else
		write_count(pit, &pit->channel[offset], (uint8_t)value);
	pthread_mutex_unlock(&pit->lock);
}

static uint64_t port61_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8254 *pit = opaque;
	struct channel *c = &pit->channel[2];
	uint64_t value;
	int64_t now;

	pthread_mutex_lock(&pit->lock);
	now = now_ns(pit);
	settle(c, now);
	/* Bit 4 toggles with every refresh, 15.085 us. */
	value = pit->port61 | (now / 15085 & 1) << 4 | (output(c, now) ? 0x20 : 0);
	pthread_mutex_unlock(&pit->lock);
	return value;
}

static void port61_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8254 *pit = opaque;

	pthread_mutex_lock(&pit->lock);
	pit->port61 = value & 0xf;
	set_gate(&pit->channel[2], value & 1, now_ns(pit));
	pthread_mutex_unlock(&pit->lock);
}

static const struct region_ops pit_ops = {.read = pit_read, .write = pit_write, .min_width = 1, .max_width = 1};
static const struct region_ops port61_ops = {
	.read = port61_read, .write = port61_write, .min_width = 1, .max_width = 1};

/* --- life --- */

static void reset(struct device *device)
{
	struct i8254 *pit = (struct i8254 *)device;

	pthread_mutex_lock(&pit->lock);
	for (unsigned i = 0; i < CHANNELS; i++)
		pit->channel[i] = (struct channel){.mode = 3, .access = ACCESS_BOTH, .gate = i != 2, .paused_ns = -1};
	pit->port61 = 0;
	irq_set(&pit->output, false);
	arm(pit, now_ns(pit));
	pthread_mutex_unlock(&pit->lock);
}

static int init(struct device *device, struct error *err)
{
	struct i8254 *pit = (struct i8254 *)device;

	pthread_mutex_init(&pit->lock, NULL);
	clock_timer_init(&pit->timer, device->env->clock, expired, pit);
	reset(device);
	pit->regions[0] = (struct region){"i8254", &pit_ops, pit, 0x40, 4, 0};
	pit->regions[1] = (struct region){"port61", &port61_ops, pit, 0x61, 1, 0};
	return isa_regions_add(device->env->io, pit->regions, 2, err);
}

static void fini(struct device *device)
{
	struct i8254 *pit = (struct i8254 *)device;

	isa_regions_remove(device->env->io, pit->regions, 2);
	clock_timer_cancel_sync(&pit->timer);
}

static int channel_check(const void *staged, struct error *err)
{
	const struct channel *c = staged;
	uint32_t max = c->bcd ? 10000 : 0x10000;

	if (c->mode > 5 || c->access < ACCESS_LOW || c->access > ACCESS_BOTH || c->latched > 2)
		return error_set(err, EINVAL, "mode %u, access %u or latch %u out of range", c->mode, c->access,
				 c->latched);
	if (c->count > max || c->next_count > max || (c->counting && !c->count) || (c->next_count && !c->count))
		return error_set(err, EINVAL, "count %u or %u out of range", c->count, c->next_count);
	if (c->start_ns < 0 || c->start_ns > 1ll << 62 || c->paused_ns < -1 || c->paused_ns > 1ll << 62)
		return error_set(err, EINVAL, "a moment out of range");
	return 0;
}

static const struct state_table channel_state = {
	.name = "channel",
	.version = 1,
	.size = sizeof(struct channel),
	.check = channel_check,
	.fields =
		(const struct state_field[]){
			STATE_FIELD(STATE_U8, struct channel, mode),
			STATE_FIELD(STATE_BOOL, struct channel, bcd),
			STATE_FIELD(STATE_U8, struct channel, access),
			STATE_FIELD(STATE_U32, struct channel, count),
			STATE_FIELD(STATE_U32, struct channel, next_count),
			STATE_FIELD(STATE_BOOL, struct channel, gate),
			STATE_FIELD(STATE_BOOL, struct channel, counting),
			STATE_FIELD(STATE_I64, struct channel, start_ns),
			STATE_FIELD(STATE_I64, struct channel, paused_ns),
			STATE_FIELD(STATE_BOOL, struct channel, write_high),
			STATE_FIELD(STATE_U8, struct channel, write_low),
			STATE_FIELD(STATE_BOOL, struct channel, read_high),
			STATE_FIELD(STATE_U8, struct channel, latched),
			STATE_FIELD(STATE_U16, struct channel, latch),
			STATE_FIELD(STATE_BOOL, struct channel, status_latched),
			STATE_FIELD(STATE_U8, struct channel, status),
			STATE_END,
		},
};

static int check(const void *staged, struct error *err)
{
	const struct i8254 *pit = staged;

	return pit->port61 > 0xf ? error_set(err, EINVAL, "port 0x61 is 0x%x", pit->port61) : 0;
}

static void after_load(void *object)
{
	struct i8254 *pit = object;

	pthread_mutex_lock(&pit->lock);
	arm(pit, now_ns(pit));
	pthread_mutex_unlock(&pit->lock);
}

static const struct state_table state = {
	.name = "i8254",
	.version = 1,
	.size = sizeof(struct i8254),
	.check = check,
	.after_load = after_load,
	.fields =
		(const struct state_field[]){
			STATE_SUB(channel_state, struct i8254, channel, CHANNELS),
			STATE_FIELD(STATE_U8, struct i8254, port61),
			STATE_END,
		},
};

const struct device_class i8254_class = {
	.name = "isa-pit",
	.help = "8254 interval timer and PC speaker port",
	.bus = DEVICE_ISA,
	.internal = true,
	.size = sizeof(struct i8254),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct i8254 *i8254_new(const struct device_env *env, struct irq output_irq, struct error *err)
{
	struct i8254 *pit = (struct i8254 *)device_alloc(&i8254_class, env);

	pit->output = output_irq;
	return device_realize(&pit->device, err) < 0 ? NULL : pit;
}
