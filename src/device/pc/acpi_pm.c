/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware of a PIIX4 (82371AB data sheet 7.2; ACPI 6.4 4.8): PM1a event and control blocks, 32-bit PM
 * timer, one GPE block, power button, sleep, and the APM ports by which software turns ACPI mode on (port 0xb2). Left
 * out: SMI, processor throttling, SMBus. The reset register 0xcf9 belongs to the PIIX3 (device/pci).
 */
#include "device/pc/acpi_pm.h"

#include "base/util.h"
#include "core/clock.h"
#include "core/bus.h"
#include "device/pc/isa.h"

#include <pthread.h>

enum { BASE = 0x600, PM_TIMER_HZ = 3579545 };
enum {
	STS_TIMER = 1 << 0,
	STS_BUS_MASTER = 1 << 4,
	STS_GLOBAL = 1 << 5,
	STS_BUTTON = 1 << 8,
	STS_RTC = 1 << 10,
	STS_WAKE = 1 << 15
};
enum { ENABLES = STS_TIMER | STS_GLOBAL | STS_BUTTON | STS_RTC };
enum { CNT_SCI_EN = 1, CNT_STORED = 0x1c03, CNT_SLP_EN = 1 << 13 };
enum { SLEEP_S5 = 0, SLEEP_S3 = 1 };
enum { ACPI_ENABLE = 0xf1, ACPI_DISABLE = 0xf0 };
/* TMR_STS is set whenever the timer's top bit changes. */
#define TIMER_HALF 0x80000000ull

const struct acpi_pm_info acpi_pm_info = {
	.base = BASE,
	.pm1a_event = 0,
	.pm1a_control = 4,
	.pm_timer = 8,
	.gpe0 = 12,
	.gpe0_bytes = 4,
	.smi_command = 0xb2,
	.acpi_enable = ACPI_ENABLE,
	.acpi_disable = ACPI_DISABLE,
	.sci = 9,
	.s3_type = SLEEP_S3,
	.s5_type = SLEEP_S5,
	.reset_port = 0xcf9,
	.reset_value = 0x06,
};

struct acpi_pm {
	struct device device;
	pthread_mutex_t lock;
	uint16_t status, enable, control;
	uint16_t gpe_status, gpe_enable;
	uint8_t apm_command, apm_data;
	uint64_t timer_seen; /* ticks up to which TMR_STS is up to date */
	bool sci;
	struct clock_timer timer;
	struct region regions[2];
	pthread_mutex_t place_lock; /* outer to the bus' */
	uint16_t base;              /* atomic; of regions[0]; 0: not on the bus */
};

static uint64_t ticks(const struct acpi_pm *pm)
{
	return clock_ns_to_ticks(clock_now(pm->device.env->clock), PM_TIMER_HZ);
}

static void catch_up(struct acpi_pm *pm)
{
	uint64_t now = ticks(pm);

	if (now / TIMER_HALF != pm->timer_seen / TIMER_HALF)
		pm->status |= STS_TIMER;
	pm->timer_seen = now;
}

/* Drives the SCI and arms for the timer's next turn when that would raise it. */
static void update(struct acpi_pm *pm)
{
	bool sci;

	catch_up(pm);
	sci = (pm->control & CNT_SCI_EN && pm->status & pm->enable & ENABLES) || pm->gpe_status & pm->gpe_enable;
	if (sci != pm->sci) {
		pm->sci = sci;
		irq_set(&pm->device.env->isa_irq[acpi_pm_info.sci], sci);
	}
	if (pm->enable & STS_TIMER && !(pm->status & STS_TIMER))
		clock_timer_set(&pm->timer,
				clock_ticks_to_ns((pm->timer_seen / TIMER_HALF + 1) * TIMER_HALF, PM_TIMER_HZ));
	else
		clock_timer_cancel(&pm->timer);
}

static void expired(void *opaque)
{
	struct acpi_pm *pm = opaque;

	pthread_mutex_lock(&pm->lock);
	update(pm);
	pthread_mutex_unlock(&pm->lock);
}

/* Returns the request to be made of the machine, or -1. */
static int write_control(struct acpi_pm *pm, uint16_t value)
{
	/* Software does not change SCI_EN here; that is what the APM port is for. */
	pm->control = (value & CNT_STORED & ~CNT_SCI_EN) | (pm->control & CNT_SCI_EN);
	if (!(value & CNT_SLP_EN))
		return -1;
	switch (value >> 10 & 7) {
	case SLEEP_S5:
		return MACHINE_POWER_OFF;
	case SLEEP_S3:
		return MACHINE_SUSPEND;
	}
	return -1;
}

static uint16_t register16(const struct acpi_pm *pm, unsigned offset)
{
	switch (offset) {
	case 0:
		return pm->status;
	case 2:
		return pm->enable;
	case 4:
		return pm->control;
	case 8:
		return (uint16_t)ticks(pm);
	case 10:
		return (uint16_t)(ticks(pm) >> 16);
	case 12:
		return pm->gpe_status;
	case 14:
		return pm->gpe_enable;
	}
	return 0;
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;
	uint64_t value;

	/* The hot register, read whole and without the lock. */
	if (offset == 8 && size == 4)
		return (uint32_t)ticks(pm);
	pthread_mutex_lock(&pm->lock);
	catch_up(pm);
	value = register16(pm, offset & 0xe);
	if (size == 4)
		value |= (uint32_t)register16(pm, (offset & 0xe) + 2) << 16;
	pthread_mutex_unlock(&pm->lock);
	return value >> 8 * (offset & 1);
}

/* mask: the bytes of the 16-bit register that are written. Returns a request or -1. */
static int write16(struct acpi_pm *pm, unsigned offset, uint16_t value, uint16_t mask)
{
	switch (offset) {
	case 0:
		pm->status &= ~value;
		break;
	case 2:
		pm->enable = ((pm->enable & ~mask) | value) & ENABLES;
		break;
	case 4:
		return write_control(pm, (pm->control & ~mask) | value);
	case 12:
		pm->gpe_status &= ~value;
		break;
	case 14:
		pm->gpe_enable = (pm->gpe_enable & ~mask) | value;
		break;
	}
	return -1;
}

static void pm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = opaque;
	const struct device_env *env = pm->device.env;
	int request = -1;

	pthread_mutex_lock(&pm->lock);
	catch_up(pm);
	for (unsigned done = 0; done < size;) {
		unsigned odd = (offset + done) & 1, bytes = size - done > 1 && !odd ? 2 : 1;
		uint16_t mask = (uint16_t)((bytes == 2 ? 0xffff : 0xff) << 8 * odd);
		int asked = write16(pm, (offset + done) & 0xe, (uint16_t)(value >> 8 * done << 8 * odd) & mask, mask);

		request = asked >= 0 ? asked : request;
		done += bytes;
	}
	update(pm);
	pthread_mutex_unlock(&pm->lock);
	if (request >= 0 && env->request)
		env->request(env->request_opaque, request, 0);
}

static uint64_t apm_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;
	uint8_t value;

	pthread_mutex_lock(&pm->lock);
	value = offset ? pm->apm_data : pm->apm_command;
	pthread_mutex_unlock(&pm->lock);
	return value;
}

static void apm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = opaque;

	pthread_mutex_lock(&pm->lock);
	if (offset) {
		pm->apm_data = (uint8_t)value;
	} else {
		pm->apm_command = (uint8_t)value;
		if (value == ACPI_ENABLE)
			pm->control |= CNT_SCI_EN;
		else if (value == ACPI_DISABLE)
			pm->control &= ~CNT_SCI_EN;
		update(pm);
	}
	pthread_mutex_unlock(&pm->lock);
}

static const struct region_ops pm_ops = {.read = pm_read, .write = pm_write, .min_width = 1, .max_width = 4};
static const struct region_ops apm_ops = {.read = apm_read, .write = apm_write, .min_width = 1, .max_width = 1};

bool acpi_pm_power_button(struct acpi_pm *pm)
{
	bool listened;

	pthread_mutex_lock(&pm->lock);
	listened = pm->control & CNT_SCI_EN && pm->enable & STS_BUTTON;
	pm->status |= STS_BUTTON;
	update(pm);
	pthread_mutex_unlock(&pm->lock);
	return listened;
}

void acpi_pm_gpe(struct acpi_pm *pm, unsigned gpe)
{
	pthread_mutex_lock(&pm->lock);
	pm->gpe_status |= (uint16_t)(1u << (gpe & 15));
	update(pm);
	pthread_mutex_unlock(&pm->lock);
}

void acpi_pm_wake(struct acpi_pm *pm, bool by_button)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= STS_WAKE | (by_button ? STS_BUTTON : 0);
	update(pm);
	pthread_mutex_unlock(&pm->lock);
}

static void reset(struct device *device)
{
	struct acpi_pm *pm = (struct acpi_pm *)device;

	pthread_mutex_lock(&pm->lock);
	pm->timer_seen = ticks(pm);
	pm->status = pm->enable = pm->control = pm->gpe_status = pm->gpe_enable = 0;
	pm->apm_command = pm->apm_data = 0;
	update(pm);
	pthread_mutex_unlock(&pm->lock);
}

void acpi_pm_place(struct acpi_pm *pm, uint16_t io_base)
{
	struct bus *io = pm->device.env->io;

	pthread_mutex_lock(&pm->place_lock);
	if (pm->base && io_base) {
		bus_move(io, &pm->regions[0], io_base);
	} else if (pm->base) {
		bus_remove(io, &pm->regions[0]);
	} else if (io_base) {
		pm->regions[0].base = io_base;
		bus_add(io, &pm->regions[0], NULL);
	}
	__atomic_store_n(&pm->base, io_base, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&pm->place_lock);
}

uint16_t acpi_pm_base(const struct acpi_pm *pm)
{
	return __atomic_load_n(&pm->base, __ATOMIC_RELAXED);
}

static int init(struct device *device, struct error *err)
{
	struct acpi_pm *pm = (struct acpi_pm *)device;

	pthread_mutex_init(&pm->lock, NULL);
	pthread_mutex_init(&pm->place_lock, NULL);
	clock_timer_init(&pm->timer, device->env->clock, expired, pm);
	reset(device);
	/* Wherever a guest puts it: what is fixed wins. */
	pm->regions[0] = (struct region){"acpi-pm", &pm_ops, pm, BASE, 16, -1};
	pm->base = BASE;
	pm->regions[1] = (struct region){"apm", &apm_ops, pm, 0xb2, 2, 0};
	return isa_regions_add(device->env->io, pm->regions, 2, err);
}

static void fini(struct device *device)
{
	struct acpi_pm *pm = (struct acpi_pm *)device;

	acpi_pm_place(pm, 0);
	bus_remove(device->env->io, &pm->regions[1]);
	clock_timer_cancel_sync(&pm->timer);
}

static int check(const void *staged, struct error *err)
{
	const struct acpi_pm *pm = staged;

	if (pm->enable & ~ENABLES || pm->control & ~CNT_STORED)
		return error_set(err, EINVAL, "enable 0x%x or control 0x%x out of range", pm->enable, pm->control);
	return 0;
}

static void after_load(void *object)
{
	struct acpi_pm *pm = object;

	pthread_mutex_lock(&pm->lock);
	update(pm);
	pthread_mutex_unlock(&pm->lock);
}

static const struct state_table state = {
	.name = "acpi-pm",
	.version = 1,
	.size = sizeof(struct acpi_pm),
	.check = check,
	.after_load = after_load,
	.fields =
		(const struct state_field[]){
			STATE_FIELD(STATE_U16, struct acpi_pm, status),
			STATE_FIELD(STATE_U16, struct acpi_pm, enable),
			STATE_FIELD(STATE_U16, struct acpi_pm, control),
			STATE_FIELD(STATE_U16, struct acpi_pm, gpe_status),
			STATE_FIELD(STATE_U16, struct acpi_pm, gpe_enable),
			STATE_FIELD(STATE_U8, struct acpi_pm, apm_command),
			STATE_FIELD(STATE_U8, struct acpi_pm, apm_data),
			STATE_FIELD(STATE_U64, struct acpi_pm, timer_seen),
			STATE_END,
		},
};

const struct device_class acpi_pm_class = {
	.name = "acpi-pm",
	.help = "ACPI fixed hardware: power management timer, power button, sleep",
	.bus = DEVICE_SYSTEM,
	.internal = true,
	.size = sizeof(struct acpi_pm),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct acpi_pm *acpi_pm_new(const struct device_env *env, struct error *err)
{
	struct acpi_pm *pm = (struct acpi_pm *)device_alloc(&acpi_pm_class, env);

	return device_realize(&pm->device, err) < 0 ? NULL : pm;
}
