/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The watchdog of Intel's 6300ESB I/O controller hub (data sheet 300641, chapter 16): function 8086:25ab with two
 * timers in a row. When the second has run out the machine is not reset but does what -action watchdog= says. Left out:
 * the interrupt or SMI at the end of the first timer, and the toggling of the WDT_TOUT# pin.
 */
#include "device/pci/pci_internal.h"

#include "core/clock.h"
#include "core/state.h"

#include <errno.h>

/* Configuration space. */
enum {
	WDT_CONFIG = 0x60,
	WDT_INTERRUPT_TYPE = 3 << 0,
	WDT_FAST = 1 << 2,       /* the prescaler divides by 2^5, not by 2^15 */
	WDT_OUTPUT_OFF = 1 << 5, /* nothing happens at the end */
	WDT_LOCK = 0x68,
	LOCK_LOCKED = 1 << 0,
	LOCK_ENABLED = 1 << 1,
	LOCK_FREE_RUNNING = 1 << 2,
};

/* Memory space. */
enum {
	PRELOAD_1 = 0x0,
	PRELOAD_2 = 0x4,
	RELOAD = 0xc,
	RELOAD_PING = 1 << 8,
	RELOAD_TIMED_OUT = 1 << 9,  /* write 1 to clear */
	RELOAD_LINUX_BIT = 1 << 12, /* where Linux looks for it; so qemu shows both */
	PRELOAD_MASK = 0xfffff,
	REGISTERS_BYTES = 16,
};

/* Writes to the reload register that let one write to another one pass. */
enum { UNLOCK_FIRST = 0x80, UNLOCK_SECOND = 0x86 };

#define PCI_CLOCK_HZ 33000000
/* A timer that does nothing and starts again need not do so more often. */
#define LEAST_NS 1000000

struct i6300esb {
	struct pci_device pci;
	pthread_mutex_t lock; /* all below; inner to the bus' */
	uint8_t control, locks;
	uint8_t unlocking; /* 0, 1, 2: that many of the two writes have come */
	uint8_t stage;     /* 1 or 2 while the timer runs */
	bool timed_out;
	uint32_t preload[2];
	struct clock_timer timer;
};

static struct i6300esb *of(void *pci)
{
	return pci;
}

/* --- lock held --- */

static void start_stage(struct i6300esb *w, uint8_t stage)
{
	unsigned shift = w->control & WDT_FAST ? 5 : 15;
	int64_t ns = clock_ticks_to_ns((uint64_t)w->preload[stage - 1] << shift, PCI_CLOCK_HZ);

	w->stage = stage;
	if (w->locks & LOCK_ENABLED)
		clock_timer_set(&w->timer, clock_now(w->timer.clock) + (ns > LEAST_NS ? ns : LEAST_NS));
	else
		clock_timer_cancel(&w->timer);
}

static void power_on(struct i6300esb *w)
{
	clock_timer_cancel(&w->timer);
	w->control = w->locks = w->unlocking = 0;
	w->stage = 1;
	w->preload[0] = w->preload[1] = PRELOAD_MASK;
	w->pci.config[WDT_CONFIG] = w->pci.config[WDT_LOCK] = 0;
}

static void write_reload(struct i6300esb *w, uint32_t value)
{
	if (value == UNLOCK_FIRST) {
		w->unlocking = 1;
		return;
	}
	if (value == UNLOCK_SECOND && w->unlocking == 1) {
		w->unlocking = 2;
		return;
	}
	if (w->unlocking == 2) {
		if (value & RELOAD_PING)
			start_stage(w, 1);
		if (value & RELOAD_TIMED_OUT)
			w->timed_out = false;
	}
	w->unlocking = 0;
}

/* --- */

static void expired(void *opaque)
{
	struct i6300esb *w = opaque;
	bool act = false;

	pthread_mutex_lock(&w->pci.bus->lock); /* of configuration space */
	pthread_mutex_lock(&w->lock);
	if (!(w->locks & LOCK_ENABLED)) {
		/* stopped meanwhile */
	} else if (w->stage == 1) {
		start_stage(w, 2);
	} else {
		bool again = w->locks & LOCK_FREE_RUNNING;

		act = !(w->control & WDT_OUTPUT_OFF);
		if (act) {
			w->timed_out = true;
			power_on(w);
		} else if (again) {
			start_stage(w, 1);
		}
	}
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_unlock(&w->pci.bus->lock);
	if (act)
		w->pci.device.env->request(w->pci.device.env->request_opaque, MACHINE_WATCHDOG, 0);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i6300esb *w = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&w->lock);
	if (offset == RELOAD && w->timed_out)
		value = RELOAD_TIMED_OUT | RELOAD_LINUX_BIT;
	pthread_mutex_unlock(&w->lock);
	return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i6300esb *w = opaque;

	pthread_mutex_lock(&w->lock);
	if (offset == RELOAD) {
		write_reload(w, (uint32_t)value);
	} else if (w->unlocking == 2 && size == 4) {
		if (offset == PRELOAD_1 || offset == PRELOAD_2)
			w->preload[offset == PRELOAD_2] = value & PRELOAD_MASK;
		w->unlocking = 0;
	}
	pthread_mutex_unlock(&w->lock);
}

static const struct region_ops mmio_ops = {.read = mmio_read, .write = mmio_write, .min_width = 1, .max_width = 4};

/* Until a reset nothing changes any more once it is locked. */
static void config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
	struct i6300esb *w = of(pci);
	bool was_enabled;

	pthread_mutex_lock(&w->lock);
	was_enabled = w->locks & LOCK_ENABLED;
	if (!(w->locks & LOCK_LOCKED)) {
		w->control = pci->config[WDT_CONFIG];
		w->locks = pci->config[WDT_LOCK];
		if (was_enabled != !!(w->locks & LOCK_ENABLED))
			start_stage(w, 1);
	}
	pci->config[WDT_CONFIG] = w->control;
	pci->config[WDT_LOCK] = w->locks;
	pthread_mutex_unlock(&w->lock);
}

static int init(struct device *device, struct error *err)
{
	struct i6300esb *w = of(device);

	pthread_mutex_init(&w->lock, NULL);
	clock_timer_init(&w->timer, device->env->clock, expired, w);
	w->pci.write_mask[WDT_CONFIG] = WDT_INTERRUPT_TYPE | WDT_FAST | WDT_OUTPUT_OFF;
	w->pci.write_mask[WDT_LOCK] = LOCK_LOCKED | LOCK_ENABLED | LOCK_FREE_RUNNING;
	power_on(w);
	return pci_bar_add(&w->pci, 0, PCI_BAR_MEM32, "i6300esb", &mmio_ops, w, REGISTERS_BYTES, err);
}

static void reset(struct device *device)
{
	struct i6300esb *w = of(device);

	pthread_mutex_lock(&w->lock);
	power_on(w);
	pthread_mutex_unlock(&w->lock);
}

static void fini(struct device *device)
{
	struct i6300esb *w = of(device);

	pci_unmap(&w->pci);
	clock_timer_cancel_sync(&w->timer);
	pthread_mutex_destroy(&w->lock);
}

static int check(const void *staged, struct error *err)
{
	const struct i6300esb *w = staged;

	if (w->stage < 1 || w->stage > 2 || w->unlocking > 2 || w->preload[0] > PRELOAD_MASK ||
	    w->preload[1] > PRELOAD_MASK || w->control & ~(WDT_INTERRUPT_TYPE | WDT_FAST | WDT_OUTPUT_OFF) ||
	    w->locks & ~7)
		return error_set(err, EINVAL, "i6300esb: a state that it cannot be in");
	return 0;
}

static void after_load(void *object)
{
	struct i6300esb *w = object;

	w->pci.config[WDT_CONFIG] = w->control;
	w->pci.config[WDT_LOCK] = w->locks;
}

static const struct state_field fields[] = {
	STATE_SUB(pci_device_state, struct i6300esb, pci, 1),
	STATE_FIELD(STATE_U8, struct i6300esb, control),
	STATE_FIELD(STATE_U8, struct i6300esb, locks),
	STATE_FIELD(STATE_U8, struct i6300esb, unlocking),
	STATE_FIELD(STATE_U8, struct i6300esb, stage),
	STATE_FIELD(STATE_BOOL, struct i6300esb, timed_out),
	STATE_FIELD_N(STATE_U32, struct i6300esb, preload, 2),
	STATE_FIELD(STATE_TIMER, struct i6300esb, timer),
	STATE_END,
};
static const struct state_table state = {.name = "i6300esb",
					 .version = 1,
					 .size = sizeof(struct i6300esb),
					 .fields = fields,
					 .check = check,
					 .after_load = after_load};

static const struct pci_class i6300esb_pci = {
	.vendor = 0x8086,
	.device = 0x25ab,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class_code = 0x088000,
	.config_written = config_written,
};

const struct device_class i6300esb_class = {
	.name = "i6300esb",
	.help = "Intel 6300ESB watchdog",
	.bus = DEVICE_PCI,
	.size = sizeof(struct i6300esb),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
	.bus_class = &i6300esb_pci,
};
