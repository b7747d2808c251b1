/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MC146818A real-time clock with 128 bytes of CMOS RAM (Motorola data sheet ADI856R2) and the century byte of ACPI at
 * 0x32. Calendar in BCD or binary, 12 or 24 hours; update, alarm and periodic interrupts; update-in-progress.
 * Nothing ticks: calendar and flags follow from the machine's (or the host's) clock when somebody looks; a timer runs
 * only for an interrupt that is enabled and not already pending. Periodic ticks that the guest was too slow to take are
 * lost as on the chip, or, with -rtc driftfix=slew, owed and given one by one, for guests that keep time by them.
 * Left out: daylight saving, square wave, other time bases than 32.768 kHz, the NMI mask in port 0x70.
 */
#include "device/pc/mc146818.h"

#include "base/util.h"
#include "core/clock.h"
#include "device/pc/isa.h"
#include "device/pc/periodic.h"

#include <pthread.h>
#include <time.h>

enum {
	RTC_SECONDS,
	RTC_SECONDS_ALARM,
	RTC_MINUTES,
	RTC_MINUTES_ALARM,
	RTC_HOURS,
	RTC_HOURS_ALARM,
	RTC_WEEKDAY,
	RTC_DAY,
	RTC_MONTH,
	RTC_YEAR,
	RTC_A,
	RTC_B,
	RTC_C,
	RTC_D,
	RTC_CENTURY = 0x32,
};
enum { A_UIP = 0x80, A_DIVIDER = 0x70, A_DIVIDER_ON = 0x20, A_RATE = 0x0f };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_BINARY = 0x04, B_24H = 0x02 };
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10 };
enum { D_VALID = 0x80 };
enum { UPDATE_NOTICE_NS = 244000, DAY_S = 86400 };
enum { HZ = 32768 };
/* Calendar times are kept between 1970 and 2198, so that sums of two ns values stay inside 64 bits. */
#define CALENDAR_MAX_S 7200000000ll

struct mc146818 {
	struct device device;
	pthread_mutex_t lock;
	struct irq output;
	struct mc146818_config config;
	uint8_t cmos[128]; /* calendar bytes are only valid while frozen (SET) */
	uint8_t index;
	int64_t offset_ns; /* calendar = base clock + offset */
	int64_t seen_ns;   /* calendar time up to which the flags of register C are up to date */
	int64_t alarm_ns;  /* calendar time of the next alarm after seen_ns; INT64_MAX: none */
	uint32_t owed;     /* periodic ticks that were not taken (config.slew), at most a second's */
	struct clock_timer timer;
	struct region region;
};

/* --- time --- */

static int64_t base_ns(const struct mc146818 *rtc)
{
	struct timespec ts;

	if (!rtc->config.follow_host)
		return clock_now(rtc->device.env->clock);
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int64_t calendar_ns(const struct mc146818 *rtc)
{
	return base_ns(rtc) + rtc->offset_ns;
}

static int64_t floor_seconds(int64_t ns)
{
	return ns / NS_PER_S - (ns % NS_PER_S < 0);
}

static bool running(const struct mc146818 *rtc)
{
	return !(rtc->cmos[RTC_B] & B_SET) && (rtc->cmos[RTC_A] & A_DIVIDER) == A_DIVIDER_ON;
}

static uint8_t encode(const struct mc146818 *rtc, unsigned value)
{
	return (uint8_t)(rtc->cmos[RTC_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode(const struct mc146818 *rtc, uint8_t value)
{
	return rtc->cmos[RTC_B] & B_BINARY ? value : 10u * (value >> 4) + (value & 0xf);
}

static uint8_t encode_hour(const struct mc146818 *rtc, unsigned hour)
{
	if (rtc->cmos[RTC_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned decode_hour(const struct mc146818 *rtc, uint8_t value)
{
	if (rtc->cmos[RTC_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & 0x7f) % 12 + (value & 0x80 ? 12 : 0);
}

static void calendar_to_bytes(struct mc146818 *rtc, int64_t ns)
{
	time_t seconds = floor_seconds(ns);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	rtc->cmos[RTC_SECONDS] = encode(rtc, (unsigned)tm.tm_sec);
	rtc->cmos[RTC_MINUTES] = encode(rtc, (unsigned)tm.tm_min);
	rtc->cmos[RTC_HOURS] = encode_hour(rtc, (unsigned)tm.tm_hour);
	rtc->cmos[RTC_WEEKDAY] = encode(rtc, (unsigned)tm.tm_wday + 1);
	rtc->cmos[RTC_DAY] = encode(rtc, (unsigned)tm.tm_mday);
	rtc->cmos[RTC_MONTH] = encode(rtc, (unsigned)tm.tm_mon + 1);
	rtc->cmos[RTC_YEAR] = encode(rtc, (unsigned)(tm.tm_year + 1900) % 100);
	rtc->cmos[RTC_CENTURY] = encode(rtc, (unsigned)(tm.tm_year + 1900) / 100 % 100);
}

/* timegm takes fields out of range by carrying over, so whatever a guest wrote becomes some date. */
static int64_t bytes_to_seconds(const struct mc146818 *rtc)
{
	struct tm tm = {
		.tm_sec = (int)decode(rtc, rtc->cmos[RTC_SECONDS]),
		.tm_min = (int)decode(rtc, rtc->cmos[RTC_MINUTES]),
		.tm_hour = (int)decode_hour(rtc, rtc->cmos[RTC_HOURS]),
		.tm_mday = (int)decode(rtc, rtc->cmos[RTC_DAY]),
		.tm_mon = (int)decode(rtc, rtc->cmos[RTC_MONTH]) - 1,
		.tm_year = (int)(100 * decode(rtc, rtc->cmos[RTC_CENTURY]) + decode(rtc, rtc->cmos[RTC_YEAR])) - 1900,
	};
	int64_t seconds = timegm(&tm);

	return seconds < 0 ? 0 : seconds > CALENDAR_MAX_S ? CALENDAR_MAX_S : seconds;
}

/* --- flags and interrupt --- */

static bool alarm_field(const struct mc146818 *rtc, uint8_t alarm, unsigned value)
{
	return alarm >= 0xc0 || decode(rtc, alarm) == value;
}

static bool alarm_hour(const struct mc146818 *rtc, unsigned hour)
{
	uint8_t alarm = rtc->cmos[RTC_HOURS_ALARM];

	return alarm >= 0xc0 || decode_hour(rtc, alarm) == hour;
}

/* The first second after ns whose time of day matches, within a day. */
static int64_t next_alarm(const struct mc146818 *rtc, int64_t ns)
{
	int64_t start = floor_seconds(ns) + 1, second = start;

	while (second < start + DAY_S) {
		unsigned of_day = (unsigned)(second % DAY_S);

		if (!alarm_hour(rtc, of_day / 3600))
			second += 3600 - of_day % 3600;
		else if (!alarm_field(rtc, rtc->cmos[RTC_MINUTES_ALARM], of_day / 60 % 60))
			second += 60 - of_day % 60;
		else if (!alarm_field(rtc, rtc->cmos[RTC_SECONDS_ALARM], of_day % 60))
			second++;
		else
			return second * NS_PER_S;
	}
	return INT64_MAX;
}

/* Periodic rate as a count of 32.768 kHz cycles; 0: off. */
static unsigned periodic_cycles(const struct mc146818 *rtc)
{
	unsigned rate = rtc->cmos[RTC_A] & A_RATE;

	if (!rate || (rtc->cmos[RTC_A] & A_DIVIDER) != A_DIVIDER_ON)
		return 0;
	return rate <= 2 ? 1u << (rate + 6) : 1u << (rate - 1);
}

static int64_t next_periodic(const struct mc146818 *rtc, int64_t ns)
{
	unsigned cycles = periodic_cycles(rtc);

	if (!cycles)
		return INT64_MAX;
	return clock_ticks_to_ns((clock_ns_to_ticks(ns, HZ) / cycles + 1) * cycles, HZ);
}

static int64_t next_update(const struct mc146818 *rtc, int64_t ns)
{
	return running(rtc) ? (floor_seconds(ns) + 1) * NS_PER_S : INT64_MAX;
}

static void find_alarm(struct mc146818 *rtc)
{
	rtc->alarm_ns = running(rtc) ? next_alarm(rtc, rtc->seen_ns) : INT64_MAX;
}

static void update_irq(struct mc146818 *rtc)
{
	bool pending = rtc->cmos[RTC_C] & rtc->cmos[RTC_B] & (C_PF | C_AF | C_UF);

	rtc->cmos[RTC_C] = (rtc->cmos[RTC_C] & ~C_IRQF) | (pending ? C_IRQF : 0);
	irq_set(&rtc->output, pending);
}

static void count_periodic(struct mc146818 *rtc, int64_t now)
{
	unsigned cycles = periodic_cycles(rtc);
	uint64_t ticks, lost;

	if (!cycles)
		return;
	ticks = clock_ns_to_ticks(now, HZ) / cycles - clock_ns_to_ticks(rtc->seen_ns, HZ) / cycles;
	if (!ticks)
		return;
	lost = ticks - !(rtc->cmos[RTC_C] & C_PF);
	if (rtc->config.slew && rtc->cmos[RTC_B] & B_PIE)
		rtc->owed = (uint32_t)min_u64(rtc->owed + lost, HZ / cycles);
	rtc->cmos[RTC_C] |= C_PF;
}

/* Sets the flags of all that happened since the last look. */
static void catch_up(struct mc146818 *rtc)
{
	int64_t now = calendar_ns(rtc);

	if (now < rtc->seen_ns) { /* the host's clock was set back */
		rtc->seen_ns = now;
		find_alarm(rtc);
	}
	count_periodic(rtc, now);
	if (next_update(rtc, rtc->seen_ns) <= now)
		rtc->cmos[RTC_C] |= C_UF;
	if (rtc->alarm_ns <= now)
		rtc->cmos[RTC_C] |= C_AF;
	rtc->seen_ns = now;
	if (rtc->alarm_ns <= now)
		find_alarm(rtc);
	update_irq(rtc);
}

/* A tick that is owed comes a fraction of a period after the last one was taken, so that the guest can take each. */
static int64_t owed_gap_ns(const struct mc146818 *rtc)
{
	return max_u64((uint64_t)clock_ticks_to_ns(periodic_cycles(rtc), HZ) / 4, PERIODIC_MIN_NS);
}

/* Arms the timer for the next interrupt; none is needed while one is pending, for register C is read first. */
static void arm(struct mc146818 *rtc)
{
	uint8_t b = rtc->cmos[RTC_B];
	int64_t next = INT64_MAX;

	if (!(rtc->cmos[RTC_C] & C_IRQF)) {
		if (b & B_PIE)
			next = next_periodic(rtc, rtc->seen_ns);
		if (b & B_PIE && rtc->owed && rtc->seen_ns + owed_gap_ns(rtc) < next)
			next = rtc->seen_ns + owed_gap_ns(rtc);
		if (b & B_UIE && next_update(rtc, rtc->seen_ns) < next)
			next = next_update(rtc, rtc->seen_ns);
		if (b & B_AIE && rtc->alarm_ns < next)
			next = rtc->alarm_ns;
	}
	if (next == INT64_MAX)
		clock_timer_cancel(&rtc->timer);
	else
		clock_timer_set(&rtc->timer, clock_now(rtc->device.env->clock) + next - rtc->seen_ns);
}

static void expired(void *opaque)
{
	struct mc146818 *rtc = opaque;

	pthread_mutex_lock(&rtc->lock);
	catch_up(rtc);
	if (rtc->owed && !(rtc->cmos[RTC_C] & C_PF)) {
		rtc->owed--;
		rtc->cmos[RTC_C] |= C_PF;
		update_irq(rtc);
	}
	arm(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

/* --- registers --- */

static bool is_calendar(unsigned index)
{
	return index == RTC_SECONDS || index == RTC_MINUTES || index == RTC_HOURS ||
	       (index >= RTC_WEEKDAY && index <= RTC_YEAR) || index == RTC_CENTURY;
}

static bool update_in_progress(const struct mc146818 *rtc)
{
	int64_t into = calendar_ns(rtc) % NS_PER_S;

	return running(rtc) && into >= NS_PER_S - UPDATE_NOTICE_NS;
}

static uint8_t read_register(struct mc146818 *rtc)
{
	unsigned index = rtc->index;
	uint8_t value;

	if (is_calendar(index) && running(rtc))
		calendar_to_bytes(rtc, calendar_ns(rtc));
	value = rtc->cmos[index];
	switch (index) {
	case RTC_A:
		return value | (update_in_progress(rtc) ? A_UIP : 0);
	case RTC_C:
		catch_up(rtc);
		value = rtc->cmos[RTC_C];
		rtc->cmos[RTC_C] = 0;
		update_irq(rtc);
		arm(rtc);
		return value;
	case RTC_D:
		return D_VALID;
	}
	return value;
}

/* The calendar bytes become the time; the fraction of the second begins anew, as when the divider is released. */
static void adopt_bytes(struct mc146818 *rtc, int64_t fraction_ns)
{
	rtc->offset_ns = bytes_to_seconds(rtc) * NS_PER_S + fraction_ns - base_ns(rtc);
	rtc->seen_ns = calendar_ns(rtc);
}

static void write_control(struct mc146818 *rtc, unsigned index, uint8_t value)
{
	bool was_running = running(rtc);

	if (was_running)
		calendar_to_bytes(rtc, calendar_ns(rtc));
	/* Another rate, or no interrupts: the old ticks are of no use. */
	if (index == RTC_A ? (value ^ rtc->cmos[RTC_A]) & (A_RATE | A_DIVIDER) : !(value & B_PIE))
		rtc->owed = 0;
	if (index == RTC_A)
		rtc->cmos[RTC_A] = value & ~A_UIP;
	else
		rtc->cmos[RTC_B] = value & B_SET ? value & ~B_UIE : value;
	if (was_running && running(rtc)) /* the format may have changed; the time did not */
		calendar_to_bytes(rtc, calendar_ns(rtc));
	else if (running(rtc))
		adopt_bytes(rtc, 0);
}

static void write_register(struct mc146818 *rtc, uint8_t value)
{
	unsigned index = rtc->index;

	if (index == RTC_C || index == RTC_D)
		return;
	catch_up(rtc);
	if (index == RTC_A || index == RTC_B) {
		write_control(rtc, index, value);
	} else if (is_calendar(index) && running(rtc)) {
		int64_t now = calendar_ns(rtc);

		calendar_to_bytes(rtc, now);
		rtc->cmos[index] = value;
		adopt_bytes(rtc, now - floor_seconds(now) * NS_PER_S);
	} else {
		rtc->cmos[index] = value;
	}
	if (index <= RTC_B || index == RTC_CENTURY) {
		find_alarm(rtc);
		update_irq(rtc);
		arm(rtc);
	}
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct mc146818 *rtc = opaque;
	uint8_t value;

	if (offset == 0)
		return 0xff;
	pthread_mutex_lock(&rtc->lock);
	value = read_register(rtc);
	pthread_mutex_unlock(&rtc->lock);
	return value;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct mc146818 *rtc = opaque;

	pthread_mutex_lock(&rtc->lock);
	if (offset == 0)
		rtc->index = value & 0x7f;
	else
		write_register(rtc, (uint8_t)value);
	pthread_mutex_unlock(&rtc->lock);
}

static const struct region_ops ops = {.read = port_read, .write = port_write, .min_width = 1, .max_width = 1};

void mc146818_set_cmos(struct mc146818 *rtc, uint8_t index, uint8_t value)
{
	if (index <= RTC_D || index == RTC_CENTURY || index >= sizeof(rtc->cmos))
		return;
	pthread_mutex_lock(&rtc->lock);
	rtc->cmos[index] = value;
	pthread_mutex_unlock(&rtc->lock);
}

static void set_cmos16(struct mc146818 *rtc, uint8_t index, uint64_t value)
{
	mc146818_set_cmos(rtc, index, (uint8_t)value);
	mc146818_set_cmos(rtc, index + 1, (uint8_t)(value >> 8));
}

void mc146818_set_memory(struct mc146818 *rtc, uint64_t below, uint64_t above)
{
	uint64_t above_1m_kib = below > MIB ? (below - MIB) / KIB : 0;
	uint64_t above_16m = below > 16 * MIB ? (below - 16 * MIB) / (64 * KIB) : 0;
	uint64_t above_4g = above / (64 * KIB);

	set_cmos16(rtc, 0x15, 640);
	set_cmos16(rtc, 0x17, min_u64(above_1m_kib, 0xffff));
	set_cmos16(rtc, 0x30, min_u64(above_1m_kib, 0xffff));
	set_cmos16(rtc, 0x34, min_u64(above_16m, 0xffff));
	set_cmos16(rtc, 0x5b, above_4g);
	mc146818_set_cmos(rtc, 0x5d, (uint8_t)(above_4g >> 16));
}

/* --- life --- */

/* A reset clears the interrupt enables and flags; calendar and RAM are on the battery. */
static void reset(struct device *device)
{
	struct mc146818 *rtc = (struct mc146818 *)device;

	pthread_mutex_lock(&rtc->lock);
	rtc->cmos[RTC_B] &= ~(B_PIE | B_AIE | B_UIE);
	rtc->cmos[RTC_C] = 0;
	rtc->owed = 0;
	rtc->seen_ns = calendar_ns(rtc);
	find_alarm(rtc);
	update_irq(rtc);
	arm(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static int init(struct device *device, struct error *err)
{
	struct mc146818 *rtc = (struct mc146818 *)device;

	pthread_mutex_init(&rtc->lock, NULL);
	clock_timer_init(&rtc->timer, device->env->clock, expired, rtc);
	rtc->cmos[RTC_A] = A_DIVIDER_ON | 6;
	rtc->cmos[RTC_B] = B_24H;
	if (rtc->config.calendar_ns < 0 || rtc->config.calendar_ns > CALENDAR_MAX_S * NS_PER_S)
		return error_set(err, ERANGE, "the real-time clock shows only the years 1970 to 2197");
	rtc->offset_ns = rtc->config.calendar_ns - base_ns(rtc);
	reset(device);
	rtc->region = (struct region){"rtc", &ops, rtc, 0x70, 2, 0};
	return isa_regions_add(device->env->io, &rtc->region, 1, err);
}

static void fini(struct device *device)
{
	struct mc146818 *rtc = (struct mc146818 *)device;

	isa_regions_remove(device->env->io, &rtc->region, 1);
	clock_timer_cancel_sync(&rtc->timer);
}

static int check(const void *staged, struct error *err)
{
	const struct mc146818 *rtc = staged;

	if (rtc->index >= sizeof(rtc->cmos))
		return error_set(err, EINVAL, "index 0x%x", rtc->index);
	if (rtc->offset_ns < -CALENDAR_MAX_S * NS_PER_S || rtc->offset_ns > CALENDAR_MAX_S * NS_PER_S ||
	    rtc->seen_ns < 0 || rtc->seen_ns > CALENDAR_MAX_S * NS_PER_S)
		return error_set(err, EINVAL, "calendar out of range");
	if (rtc->owed > HZ || (rtc->owed && !periodic_cycles(rtc)))
		return error_set(err, EINVAL, "%u ticks are owed", rtc->owed);
	return 0;
}

static void after_load(void *object)
{
	struct mc146818 *rtc = object;

	pthread_mutex_lock(&rtc->lock);
	rtc->cmos[RTC_A] &= ~A_UIP;
	find_alarm(rtc);
	catch_up(rtc);
	arm(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static const struct state_table state = {
	.name = "mc146818",
	.version = 1,
	.size = sizeof(struct mc146818),
	.check = check,
	.after_load = after_load,
	.fields =
		(const struct state_field[]){
			STATE_FIELD_N(STATE_BYTES, struct mc146818, cmos, 128),
			STATE_FIELD(STATE_U8, struct mc146818, index),
			STATE_FIELD(STATE_I64, struct mc146818, offset_ns),
			STATE_FIELD(STATE_I64, struct mc146818, seen_ns),
			STATE_FIELD(STATE_U32, struct mc146818, owed),
			STATE_END,
		},
};

const struct device_class mc146818_class = {
	.name = "mc146818rtc",
	.help = "real-time clock and CMOS RAM",
	.bus = DEVICE_ISA,
	.internal = true,
	.size = sizeof(struct mc146818),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct mc146818 *mc146818_new(const struct device_env *env, struct irq output, const struct mc146818_config *config,
			      struct error *err)
{
	struct mc146818 *rtc = (struct mc146818 *)device_alloc(&mc146818_class, env);

	rtc->output = output;
	rtc->config = *config;
	return device_realize(&rtc->device, err) < 0 ? NULL : rtc;
}
