/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 16550A serial port (National Semiconductor PC16550D data sheet): FIFOs, all interrupts with their priorities, receive
 * timeout, modem control, loopback. A byte that is written is on its way at once, whatever the divisor says; the
 * divisor only times the receive timeout. The interrupt line is gated by OUT2, as on the PC's adapter. Left out: DMA
 * mode, parity and framing errors (a chardev has none).
 */
#include "device/pc/serial.h"

#include "backend/char/chardev.h"
#include "base/util.h"
#include "core/clock.h"
#include "device/pc/char_out.h"
#include "device/pc/isa.h"

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCRATCH };
enum { IER_RECEIVE = 1, IER_TRANSMIT = 2, IER_LINE = 4, IER_MODEM = 8 };
enum {
	IIR_NONE = 1,
	IIR_MODEM = 0,
	IIR_TRANSMIT = 2,
	IIR_RECEIVE = 4,
	IIR_LINE = 6,
	IIR_TIMEOUT = 0xc,
	IIR_FIFO = 0xc0
};
enum { FCR_ENABLE = 1, FCR_CLEAR_RECEIVE = 2, FCR_CLEAR_TRANSMIT = 4 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum { LSR_DATA = 1, LSR_OVERRUN = 2, LSR_BREAK = 0x10, LSR_THR_EMPTY = 0x20, LSR_IDLE = 0x40 };
enum { LSR_ERRORS = LSR_OVERRUN | LSR_BREAK };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };
enum { FIFO = 16, BASE_BAUD = 115200, TIMEOUT_MAX_NS = 1000000 };
enum { INDEX_AUTO = 0xff };

struct serial {
	struct device device;
	pthread_mutex_t lock;
	struct chardev *chardev; /* the property, then the handle */
	uint8_t index;
	uint16_t iobase;
	uint8_t irq;

	uint16_t divisor;
	uint8_t ier, fcr, lcr, mcr, msr, scratch;
	uint8_t errors;        /* LSR_OVERRUN, LSR_BREAK */
	bool transmit_pending; /* transmitter-empty interrupt not yet acknowledged */
	bool timeout_pending;
	uint8_t fifo[FIFO], head, count;
	bool starved; /* the chardev was told to wait */
	bool level;
	int64_t timeout_ns; /* when the receive timeout is due; INT64_MAX: not */
	struct clock_timer timer;
	struct char_out out;
	struct region region;
};

/* --- interrupt --- */

static unsigned trigger(const struct serial *s)
{
	static const uint8_t levels[4] = {1, 4, 8, 14};

	return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* The source of highest priority that is enabled, as IIR shows it. */
static uint8_t source(const struct serial *s)
{
	if (s->ier & IER_LINE && s->errors)
		return IIR_LINE;
	if (s->ier & IER_RECEIVE && s->count >= trigger(s))
		return IIR_RECEIVE;
	if (s->ier & IER_RECEIVE && s->timeout_pending)
		return IIR_TIMEOUT;
	if (s->ier & IER_TRANSMIT && s->transmit_pending)
		return IIR_TRANSMIT;
	if (s->ier & IER_MODEM && s->msr & 0xf)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct serial *s)
{
	bool level = source(s) != IIR_NONE && s->mcr & MCR_OUT2 && !(s->mcr & MCR_LOOP);

	if (level != s->level) {
		s->level = level;
		irq_set(&s->device.env->isa_irq[s->irq], level);
	}
}

/* --- receiving --- */

static unsigned capacity(const struct serial *s)
{
	return s->fcr & FCR_ENABLE ? FIFO : 1;
}

/* Four characters' time without a byte coming or going tells of a FIFO below its trigger. */
static void restart_timeout(struct serial *s)
{
	int64_t ns = 4 * 10 * NS_PER_S / BASE_BAUD * (s->divisor ? s->divisor : 1);

	s->timeout_pending = false;
	s->timeout_ns = INT64_MAX;
	if (!(s->fcr & FCR_ENABLE) || !s->count) {
		clock_timer_cancel(&s->timer);
		return;
	}
	s->timeout_ns = clock_now(s->device.env->clock) + (ns < TIMEOUT_MAX_NS ? ns : TIMEOUT_MAX_NS);
	clock_timer_set(&s->timer, s->timeout_ns);
}

static void timed_out(void *opaque)
{
	struct serial *s = opaque;

	pthread_mutex_lock(&s->lock);
	if (s->timeout_ns <= clock_now(s->device.env->clock)) {
		s->timeout_ns = INT64_MAX;
		s->timeout_pending = true;
		update_irq(s);
	}
	pthread_mutex_unlock(&s->lock);
}

static void push(struct serial *s, uint8_t byte)
{
	if (s->count >= capacity(s)) {
		s->errors |= LSR_OVERRUN;
		/* Without FIFO the newer byte wins, with it the older ones stay. */
		if (s->fcr & FCR_ENABLE)
			return;
		s->count = 0;
	}
	s->fifo[(s->head + s->count++) % FIFO] = byte;
}

static size_t can_receive(void *opaque)
{
	struct serial *s = opaque;
	size_t room = 0;

	pthread_mutex_lock(&s->lock);
	if (!(s->mcr & MCR_LOOP) && s->count < capacity(s))
		room = capacity(s) - s->count;
	s->starved = room == 0;
	pthread_mutex_unlock(&s->lock);
	return room;
}

static void receive(void *opaque, const uint8_t *data, size_t length)
{
	struct serial *s = opaque;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < length; i++)
		push(s, data[i]);
	restart_timeout(s);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static void chardev_happened(void *opaque, enum chardev_event event)
{
	struct serial *s = opaque;

	if (event != CHARDEV_BREAK)
		return;
	pthread_mutex_lock(&s->lock);
	push(s, 0);
	s->errors |= LSR_BREAK;
	restart_timeout(s);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static uint8_t pop(struct serial *s)
{
	uint8_t byte = s->fifo[s->head];

	if (s->count) {
		s->head = (s->head + 1) % FIFO;
		s->count--;
		restart_timeout(s);
	}
	return byte;
}

/* --- sending --- */

static void drained(void *opaque)
{
	struct serial *s = opaque;

	pthread_mutex_lock(&s->lock);
	s->transmit_pending = true;
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static void writable(void *opaque)
{
	struct serial *s = opaque;

	char_out_flush(&s->out);
}

static void transmit(struct serial *s, uint8_t byte)
{
	/* The line falls and rises for each byte, for an edge-triggered input to see it. */
	s->transmit_pending = false;
	update_irq(s);
	if (s->mcr & MCR_LOOP) {
		push(s, byte);
		restart_timeout(s);
		s->transmit_pending = true;
	} else {
		char_out_put(&s->out, byte);
		s->transmit_pending = char_out_ready(&s->out);
	}
	update_irq(s);
}

/* --- modem lines --- */

static uint8_t modem_lines(const struct serial *s)
{
	uint8_t lines = 0;

	if (!(s->mcr & MCR_LOOP))
		return MSR_DCD | MSR_DSR | MSR_CTS;
	if (s->mcr & MCR_DTR)
		lines |= MSR_DSR;
	if (s->mcr & MCR_RTS)
		lines |= MSR_CTS;
	if (s->mcr & MCR_OUT1)
		lines |= MSR_RI;
	if (s->mcr & MCR_OUT2)
		lines |= MSR_DCD;
	return lines;
}

static void update_modem(struct serial *s)
{
	uint8_t lines = modem_lines(s), changed = (lines ^ s->msr) & 0xf0;
	uint8_t delta = (changed >> 4) & 0xb;

	/* The ring indicator only counts when it ends. */
	if (changed & MSR_RI && !(lines & MSR_RI))
		delta |= 4;
	s->msr = lines | (s->msr & 0xf) | delta;
}

/* --- registers --- */

static void write_fcr(struct serial *s, uint8_t value)
{
	if ((value ^ s->fcr) & FCR_ENABLE)
		value |= FCR_CLEAR_RECEIVE | FCR_CLEAR_TRANSMIT;
	s->fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
	if (value & FCR_CLEAR_RECEIVE) {
		s->head = s->count = 0;
		restart_timeout(s);
	}
	if (value & FCR_CLEAR_TRANSMIT)
		s->transmit_pending = true;
}

static void write_ier(struct serial *s, uint8_t value)
{
	/* Enabling the transmitter's interrupt while it is empty raises it. */
	if (value & ~s->ier & IER_TRANSMIT && char_out_ready(&s->out))
		s->transmit_pending = true;
	s->ier = value & 0xf;
}

static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
	bool latch = s->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (latch)
			s->divisor = (s->divisor & 0xff00) | value;
		else
			transmit(s, value);
		break;
	case REG_IER:
		if (latch)
			s->divisor = (uint16_t)((s->divisor & 0xff) | value << 8);
		else
			write_ier(s, value);
		break;
	case REG_IIR:
		write_fcr(s, value);
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		s->mcr = value & 0x1f;
		update_modem(s);
		break;
	case REG_SCRATCH:
		s->scratch = value;
		break;
	}
	update_irq(s);
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t iir = source(s);

	if (iir == IIR_TRANSMIT)
		s->transmit_pending = false;
	return iir | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t lsr = s->errors | (s->count ? LSR_DATA : 0) | (char_out_ready(&s->out) ? LSR_THR_EMPTY | LSR_IDLE : 0);

	s->errors = 0;
	return lsr;
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
	bool latch = s->lcr & LCR_DLAB;
	uint8_t value;

	switch (reg) {
	case REG_DATA:
		return latch ? (uint8_t)s->divisor : pop(s);
	case REG_IER:
		return latch ? s->divisor >> 8 : s->ier;
	case REG_IIR:
		return read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return read_lsr(s);
	case REG_MSR:
		value = s->msr;
		s->msr &= 0xf0;
		return value;
	}
	return s->scratch;
}

/* True when the chardev waits for room that there is now. */
static bool take_starved(struct serial *s)
{
	bool fed = s->starved && !(s->mcr & MCR_LOOP) && s->count < capacity(s);

	if (fed)
		s->starved = false;
	return fed;
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct serial *s = opaque;
	uint8_t value;
	bool accept;

	pthread_mutex_lock(&s->lock);
	value = read_register(s, (unsigned)offset);
	update_irq(s);
	accept = take_starved(s);
	pthread_mutex_unlock(&s->lock);
	if (accept && s->chardev)
		chardev_accept(s->chardev);
	return value;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct serial *s = opaque;
	bool accept;

	pthread_mutex_lock(&s->lock);
	write_register(s, (unsigned)offset, (uint8_t)value);
	accept = take_starved(s);
	pthread_mutex_unlock(&s->lock);
	if (accept && s->chardev)
		chardev_accept(s->chardev);
}

static const struct region_ops ops = {.read = port_read, .write = port_write, .min_width = 1, .max_width = 1};

/* --- life --- */

static void reset(struct device *device)
{
	struct serial *s = (struct serial *)device;

	pthread_mutex_lock(&s->lock);
	s->divisor = 12; /* 9600 baud */
	s->ier = s->fcr = s->lcr = s->scratch = s->errors = 0;
	s->mcr = MCR_OUT2;
	s->msr = modem_lines(s);
	s->head = s->count = 0;
	s->transmit_pending = false;
	restart_timeout(s);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static const uint16_t com_ports[4] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
static const uint8_t com_lines[4] = {4, 3, 4, 3};

static int choose_ports(struct serial *s, struct error *err)
{
	unsigned index = s->index;

	if (index > 3 && index != INDEX_AUTO)
		return error_set(err, ERANGE, "index=%u: there are COM ports 0 to 3", index);
	if (index == INDEX_AUTO && !s->iobase) {
		for (index = 0; index < 4 && bus_find(s->device.env->io, com_ports[index]); index++)
			;
		if (index == 4)
			return error_set(err, EBUSY, "COM1 to COM4 are taken; give it iobase= and irq=");
	}
	if (!s->iobase)
		s->iobase = com_ports[index & 3];
	if (!s->irq)
		s->irq = com_lines[index & 3];
	return 0;
}

static int attach(struct serial *s, struct error *err)
{
	struct chardev_front front = {
		.can_receive = can_receive,
		.receive = receive,
		.event = chardev_happened,
		.writable = writable,
		.opaque = s,
	};

	if (!s->chardev)
		return 0;
	s->chardev = chardev_attach(s->chardev, &front, err);
	if (!s->chardev)
		return err && err->code ? -err->code : -EBUSY;
	return 0;
}

static int init(struct device *device, struct error *err)
{
	struct serial *s = (struct serial *)device;
	int rc = choose_ports(s, err);

	if (rc < 0)
		return rc;
	pthread_mutex_init(&s->lock, NULL);
	clock_timer_init(&s->timer, device->env->clock, timed_out, s);
	s->mcr = MCR_OUT2;
	rc = attach(s, err);
	if (rc < 0)
		return rc;
	rc = char_out_init(&s->out, s->chardev, device->env->loop, drained, s, err);
	if (rc < 0)
		goto fail_out;
	reset(device);
	s->region = (struct region){"serial", &ops, s, s->iobase, 8, 0};
	rc = isa_regions_add(device->env->io, &s->region, 1, err);
	if (rc == 0)
		return 0;
	char_out_fini(&s->out);
fail_out:
	if (s->chardev)
		chardev_detach(s->chardev);
	return rc;
}

static void fini(struct device *device)
{
	struct serial *s = (struct serial *)device;

	isa_regions_remove(device->env->io, &s->region, 1);
	clock_timer_cancel_sync(&s->timer);
	char_out_fini(&s->out);
	if (s->chardev)
		chardev_detach(s->chardev);
}

static int check(const void *staged, struct error *err)
{
	const struct serial *s = staged;

	if (s->head >= FIFO || s->count > FIFO || s->ier > 0xf || s->mcr > 0x1f || s->errors & ~LSR_ERRORS)
		return error_set(err, EINVAL, "FIFO %u+%u, IER 0x%x, MCR 0x%x or LSR 0x%x out of range", s->head,
				 s->count, s->ier, s->mcr, s->errors);
	return 0;
}

static void after_load(void *object)
{
	struct serial *s = object;

	pthread_mutex_lock(&s->lock);
	if (s->count && !s->timeout_pending)
		restart_timeout(s);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static const struct state_table state = {
	.name = "serial",
	.version = 1,
	.size = sizeof(struct serial),
	.check = check,
	.after_load = after_load,
	.fields =
		(const struct state_field[]){
			STATE_FIELD(STATE_U16, struct serial, divisor),
			STATE_FIELD(STATE_U8, struct serial, ier),
			STATE_FIELD(STATE_U8, struct serial, fcr),
			STATE_FIELD(STATE_U8, struct serial, lcr),
			STATE_FIELD(STATE_U8, struct serial, mcr),
			STATE_FIELD(STATE_U8, struct serial, msr),
			STATE_FIELD(STATE_U8, struct serial, scratch),
			STATE_FIELD(STATE_U8, struct serial, errors),
			STATE_FIELD(STATE_BOOL, struct serial, transmit_pending),
			STATE_FIELD(STATE_BOOL, struct serial, timeout_pending),
			STATE_FIELD_N(STATE_BYTES, struct serial, fifo, FIFO),
			STATE_FIELD(STATE_U8, struct serial, head),
			STATE_FIELD(STATE_U8, struct serial, count),
			STATE_END,
		},
};

static const struct property properties[] = {
	{.name = "chardev",
	 .type = PROPERTY_CHAR,
	 .offset = offsetof(struct serial, chardev),
	 .help = "where it leads"},
	{.name = "index",
	 .type = PROPERTY_U8,
	 .offset = offsetof(struct serial, index),
	 .fallback = "255",
	 .help = "0 to 3: COM1 to COM4; the next free one if not given"},
	{.name = "iobase",
	 .type = PROPERTY_U16,
	 .offset = offsetof(struct serial, iobase),
	 .fallback = "0",
	 .max = 0xfff8,
	 .help = "first of its eight ports, if not its index'"},
	{.name = "irq",
	 .type = PROPERTY_U8,
	 .offset = offsetof(struct serial, irq),
	 .fallback = "0",
	 .max = 15,
	 .help = "ISA interrupt line, if not its index'"},
	{.name = NULL},
};

const struct device_class serial_class = {
	.name = "isa-serial",
	.help = "16550A serial port",
	.bus = DEVICE_ISA,
	.size = sizeof(struct serial),
	.properties = properties,
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};
