/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8042 keyboard controller of the PC/AT and PS/2 (IBM PS/2 Hardware Interface Technical Reference), with the
 * keyboard and mouse behind it (ps2.c), translation to scan code set 1, the A20 gate and the reset pulse; and port 0x92
 * (system control port A: fast A20 and reset).
 * Keys and movements come from the machine's router (backend/display/input.h). Left out: passwords, the diagnostic
 * dump, polling of the input port.
 */
#include "device/pc/i8042.h"

#include "base/util.h"
#include "core/clock.h"
#include "device/pc/isa.h"
#include "device/pc/ps2.h"

#include <pthread.h>

enum { STATUS_OUTPUT = 0x01, STATUS_SYSTEM = 0x04, STATUS_COMMAND = 0x08, STATUS_UNLOCKED = 0x10, STATUS_AUX = 0x20 };
enum {
	MODE_KBD_IRQ = 0x01,
	MODE_AUX_IRQ = 0x02,
	MODE_SYSTEM = 0x04,
	MODE_KBD_OFF = 0x10,
	MODE_AUX_OFF = 0x20,
	MODE_TRANSLATE = 0x40,
	MODE_STORED = 0x77,
};
enum { OUT_NOT_RESET = 0x01, OUT_A20 = 0x02 };
enum { PORT92_RESET = 0x01, PORT92_A20 = 0x02 };
enum { REPLY_NONE, REPLY_KBD, REPLY_AUX };
enum { KBD_LINE = 1, AUX_LINE = 12 };

struct i8042 {
	struct device device;
	pthread_mutex_t lock;
	uint8_t mode;      /* the command byte */
	uint8_t status;    /* OUTPUT, AUX, SYSTEM, COMMAND */
	uint8_t output;    /* the byte at port 0x60 */
	uint8_t command;   /* waits for its parameter at port 0x60; 0: none */
	uint8_t outport;   /* as last written by command 0xd1; A20 is in a20 */
	bool a20, release; /* release: set 2's break prefix was swallowed by the translation */
	uint8_t port92;
	uint8_t ram[32];         /* the controller's own, behind the command byte at 0 */
	uint8_t reply, reply_to; /* the controller's answer while the output buffer is full; reply_to: enum */
	struct ps2_keyboard keyboard;
	struct ps2_mouse mouse;
	struct clock_timer repeat; /* typematic */
	struct input_sink key_sink, mouse_sink;
	struct region regions[3];
};

/* What an access asks of the machine; done after the lock is dropped. */
struct demand {
	bool reset, a20, leds;
};

static void satisfy(struct i8042 *kbc, struct demand demand)
{
	const struct device_env *env = kbc->device.env;

	if (demand.a20 && env->request)
		env->request(env->request_opaque, MACHINE_A20, kbc->a20);
	if (demand.leds && env->input)
		input_set_leds(env->input, kbc->keyboard.leds);
	if (demand.reset && env->request)
		env->request(env->request_opaque, MACHINE_RESET, 0);
}

static void set_a20(struct i8042 *kbc, bool on, struct demand *demand)
{
	demand->a20 = demand->a20 || kbc->a20 != on;
	kbc->a20 = on;
}

/* --- output buffer --- */

/* Scan code set 2 to set 1, as the controller does it for software of the PC/AT; indexed by the set 2 code. */
static const uint8_t set2_to_set1[0x85] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, 0x65,
	0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, 0x67, 0x2e,
	0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, 0x69, 0x31, 0x30,
	0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17,
	0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a,
	0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a,
	0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01,
	0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41, 0x54,
};

/* Returns false when the byte only announces a release and is swallowed. */
static bool translate(struct i8042 *kbc, uint8_t *value)
{
	if (!(kbc->mode & MODE_TRANSLATE))
		return true;
	if (*value == 0xf0) {
		kbc->release = true;
		return false;
	}
	if (*value < sizeof(set2_to_set1)) {
		*value = set2_to_set1[*value] | (kbc->release ? 0x80 : 0);
		kbc->release = false;
	}
	return true;
}

static void update_irq(struct i8042 *kbc)
{
	const struct irq *isa = kbc->device.env->isa_irq;
	bool full = kbc->status & STATUS_OUTPUT, aux = kbc->status & STATUS_AUX;

	irq_set(&isa[KBD_LINE], full && !aux && kbc->mode & MODE_KBD_IRQ);
	irq_set(&isa[AUX_LINE], full && aux && kbc->mode & MODE_AUX_IRQ);
}

static void present(struct i8042 *kbc, uint8_t value, bool aux)
{
	kbc->output = value;
	kbc->status = (kbc->status & ~STATUS_AUX) | STATUS_OUTPUT | (aux ? STATUS_AUX : 0);
}

/* What the controller itself has to say waits for its turn: a byte that the guest has not read yet is not lost. */
static void reply(struct i8042 *kbc, uint8_t value, bool aux)
{
	if (!(kbc->status & STATUS_OUTPUT)) {
		present(kbc, value, aux);
		return;
	}
	kbc->reply = value;
	kbc->reply_to = aux ? REPLY_AUX : REPLY_KBD;
}

/* Moves the next byte of the controller or a device into an empty output buffer. */
static void refill(struct i8042 *kbc)
{
	uint8_t value;

	if (!(kbc->status & STATUS_OUTPUT) && kbc->reply_to) {
		present(kbc, kbc->reply, kbc->reply_to == REPLY_AUX);
		kbc->reply_to = REPLY_NONE;
	}
	while (!(kbc->status & STATUS_OUTPUT) && !(kbc->mode & MODE_KBD_OFF) &&
	       ps2_keyboard_get(&kbc->keyboard, &value))
		if (translate(kbc, &value))
			present(kbc, value, false);
	if (!(kbc->status & STATUS_OUTPUT) && !(kbc->mode & MODE_AUX_OFF) && ps2_mouse_get(&kbc->mouse, &value))
		present(kbc, value, true);
	update_irq(kbc);
}

/* --- ports 0x60 and 0x64 --- */

static void write_outport(struct i8042 *kbc, uint8_t value, struct demand *demand)
{
	kbc->outport = value;
	set_a20(kbc, value & OUT_A20, demand);
	if (!(value & OUT_NOT_RESET))
		demand->reset = true;
}

static uint8_t read_outport(const struct i8042 *kbc)
{
	bool full = kbc->status & STATUS_OUTPUT, aux = kbc->status & STATUS_AUX;

	return OUT_NOT_RESET | (kbc->a20 ? OUT_A20 : 0) | (full && !aux ? 0x10 : 0) | (full && aux ? 0x20 : 0);
}

static void write_command(struct i8042 *kbc, uint8_t value, struct demand *demand)
{
	kbc->command = 0;
	switch (value) {
	case 0x20:
		reply(kbc, kbc->mode, false);
		break;
	case 0x60: /* command byte */
	case 0xd1: /* output port */
	case 0xd2: /* keyboard output buffer */
	case 0xd3: /* mouse output buffer */
	case 0xd4: /* to the mouse */
		kbc->command = value;
		break;
	case 0xa7:
		kbc->mode |= MODE_AUX_OFF;
		break;
	case 0xa8:
		kbc->mode &= ~MODE_AUX_OFF;
		break;
	case 0xa9: /* test mouse port, keyboard port: good */
	case 0xab:
		reply(kbc, 0x00, false);
		break;
	case 0xaa: /* self test */
		kbc->status |= STATUS_SYSTEM;
		reply(kbc, 0x55, false);
		break;
	case 0xad:
		kbc->mode |= MODE_KBD_OFF;
		break;
	case 0xae:
		kbc->mode &= ~MODE_KBD_OFF;
		break;
	case 0xc0: /* input port: keyboard not locked */
		reply(kbc, 0x80, false);
		break;
	case 0xd0:
		reply(kbc, read_outport(kbc), false);
		break;
	case 0xdd:
		set_a20(kbc, false, demand);
		break;
	case 0xdf:
		set_a20(kbc, true, demand);
		break;
	case 0xa4: /* is there a password? no */
		reply(kbc, 0xf1, false);
		break;
	case 0xe0: /* test inputs: both lines low */
		reply(kbc, 0x00, false);
		break;
	default:
		if (value >= 0x21 && value <= 0x3f) /* the controller's RAM */
			reply(kbc, kbc->ram[value & 0x1f], false);
		else if (value >= 0x61 && value <= 0x7f)
			kbc->command = value;
		/* 0xf0-0xff pulse the output port's low bits that are 0 here; bit 0 is the CPU's reset. */
		if (value >= 0xf0 && !(value & 1))
			demand->reset = true;
	}
}

static void write_data(struct i8042 *kbc, uint8_t value, struct demand *demand)
{
	uint8_t command = kbc->command, leds;

	kbc->command = 0;
	switch (command) {
	case 0x60:
		kbc->mode = value & MODE_STORED;
		kbc->status = (kbc->status & ~STATUS_SYSTEM) | (value & MODE_SYSTEM ? STATUS_SYSTEM : 0);
		break;
	case 0xd1:
		write_outport(kbc, value, demand);
		break;
	case 0xd2:
		reply(kbc, value, false);
		break;
	case 0xd3:
		reply(kbc, value, true);
		break;
	case 0xd4:
		ps2_mouse_write(&kbc->mouse, value);
		break;
	default:
		if (command) {
			kbc->ram[command & 0x1f] = value;
			break;
		}
		kbc->mode &= ~MODE_KBD_OFF; /* the controller enables the clock to send */
		leds = kbc->keyboard.leds;
		ps2_keyboard_write(&kbc->keyboard, value);
		demand->leds = leds != kbc->keyboard.leds;
	}
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *kbc = opaque;
	uint8_t value;

	pthread_mutex_lock(&kbc->lock);
	value = kbc->output;
	kbc->status &= ~STATUS_OUTPUT;
	update_irq(kbc); /* the line falls between two bytes */
	refill(kbc);
	pthread_mutex_unlock(&kbc->lock);
	return value;
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *kbc = opaque;
	struct demand demand = {0};

	pthread_mutex_lock(&kbc->lock);
	kbc->status &= ~STATUS_COMMAND;
	write_data(kbc, (uint8_t)value, &demand);
	refill(kbc);
	pthread_mutex_unlock(&kbc->lock);
	satisfy(kbc, demand);
}

static uint64_t status_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *kbc = opaque;
	uint8_t value;

	pthread_mutex_lock(&kbc->lock);
	value = kbc->status | STATUS_UNLOCKED;
	if (!(value & STATUS_OUTPUT))
		value &= ~STATUS_AUX;
	pthread_mutex_unlock(&kbc->lock);
	return value;
}

static void command_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *kbc = opaque;
	struct demand demand = {0};

	pthread_mutex_lock(&kbc->lock);
	kbc->status |= STATUS_COMMAND;
	write_command(kbc, (uint8_t)value, &demand);
	refill(kbc);
	pthread_mutex_unlock(&kbc->lock);
	satisfy(kbc, demand);
}

/* --- port 0x92 --- */

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *kbc = opaque;
	uint8_t value;

	pthread_mutex_lock(&kbc->lock);
	value = (kbc->port92 & ~PORT92_A20) | (kbc->a20 ? PORT92_A20 : 0);
	pthread_mutex_unlock(&kbc->lock);
	return value;
}

static void port92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *kbc = opaque;
	struct demand demand = {0};

	pthread_mutex_lock(&kbc->lock);
	demand.reset = value & PORT92_RESET && !(kbc->port92 & PORT92_RESET);
	kbc->port92 = value & ~PORT92_A20;
	set_a20(kbc, value & PORT92_A20, &demand);
	pthread_mutex_unlock(&kbc->lock);
	satisfy(kbc, demand);
}

static const struct region_ops data_ops = {.read = data_read, .write = data_write, .min_width = 1, .max_width = 1};
static const struct region_ops command_ops = {
	.read = status_read, .write = command_write, .min_width = 1, .max_width = 1};
static const struct region_ops port92_ops = {
	.read = port92_read, .write = port92_write, .min_width = 1, .max_width = 1};

/* --- the host's side --- */

static void key_event(void *opaque, const struct input_event *event)
{
	struct i8042 *kbc = opaque;
	int64_t repeat_ns;

	pthread_mutex_lock(&kbc->lock);
	ps2_keyboard_key(&kbc->keyboard, input_key_rows[event->code].number, event->value);
	repeat_ns = ps2_keyboard_repeat_ns(&kbc->keyboard);
	if (repeat_ns < 0)
		clock_timer_cancel(&kbc->repeat);
	else if (event->value)
		clock_timer_set(&kbc->repeat, clock_now(kbc->device.env->clock) + repeat_ns);
	refill(kbc);
	pthread_mutex_unlock(&kbc->lock);
}

/* A key is held: once more. */
static void on_repeat(void *opaque)
{
	struct i8042 *kbc = opaque;
	int64_t repeat_ns;

	pthread_mutex_lock(&kbc->lock);
	ps2_keyboard_repeat(&kbc->keyboard);
	repeat_ns = ps2_keyboard_repeat_ns(&kbc->keyboard);
	if (repeat_ns >= 0)
		clock_timer_set(&kbc->repeat, clock_now(kbc->device.env->clock) + repeat_ns);
	refill(kbc);
	pthread_mutex_unlock(&kbc->lock);
}

static void mouse_event(void *opaque, const struct input_event *event)
{
	struct i8042 *kbc = opaque;

	pthread_mutex_lock(&kbc->lock);
	ps2_mouse_event(&kbc->mouse, event);
	pthread_mutex_unlock(&kbc->lock);
}

static void mouse_sync(void *opaque)
{
	struct i8042 *kbc = opaque;

	pthread_mutex_lock(&kbc->lock);
	ps2_mouse_sync(&kbc->mouse);
	refill(kbc);
	pthread_mutex_unlock(&kbc->lock);
}

/* --- life --- */

/* The state firmware leaves: self test passed, both ports on, translation on; A20 open. */
static void reset(struct device *device)
{
	struct i8042 *kbc = (struct i8042 *)device;
	struct demand demand = {0};

	pthread_mutex_lock(&kbc->lock);
	kbc->mode = MODE_KBD_IRQ | MODE_AUX_IRQ | MODE_SYSTEM | MODE_TRANSLATE;
	kbc->status = STATUS_SYSTEM;
	kbc->output = kbc->command = kbc->port92 = 0;
	kbc->outport = OUT_NOT_RESET | OUT_A20;
	kbc->release = false;
	kbc->reply_to = REPLY_NONE;
	memset(kbc->ram, 0, sizeof(kbc->ram));
	set_a20(kbc, true, &demand);
	demand.leds = kbc->keyboard.leds;
	clock_timer_cancel(&kbc->repeat);
	ps2_keyboard_reset(&kbc->keyboard);
	ps2_mouse_reset(&kbc->mouse);
	update_irq(kbc);
	pthread_mutex_unlock(&kbc->lock);
	satisfy(kbc, demand);
}

static int init(struct device *device, struct error *err)
{
	struct i8042 *kbc = (struct i8042 *)device;
	int rc;

	pthread_mutex_init(&kbc->lock, NULL);
	kbc->a20 = true; /* as the machine starts: nothing to ask of it */
	clock_timer_init(&kbc->repeat, device->env->clock, on_repeat, kbc);
	reset(device);
	kbc->regions[0] = (struct region){"i8042-data", &data_ops, kbc, 0x60, 1, 0};
	kbc->regions[1] = (struct region){"i8042-command", &command_ops, kbc, 0x64, 1, 0};
	kbc->regions[2] = (struct region){"port92", &port92_ops, kbc, 0x92, 1, 0};
	rc = isa_regions_add(device->env->io, kbc->regions, 3, err);
	if (rc < 0)
		return rc;
	kbc->key_sink = (struct input_sink){
		.name = "QEMU PS/2 Keyboard", .kinds = INPUT_BIT(INPUT_KEY), .event = key_event, .opaque = kbc};
	kbc->mouse_sink = (struct input_sink){.name = "QEMU PS/2 Mouse",
					      .kinds = INPUT_BIT(INPUT_BUTTON) | INPUT_BIT(INPUT_RELATIVE),
					      .event = mouse_event,
					      .sync = mouse_sync,
					      .opaque = kbc};
	if (device->env->input) {
		input_sink_add(device->env->input, &kbc->key_sink);
		input_sink_add(device->env->input, &kbc->mouse_sink);
	}
	return 0;
}

static void fini(struct device *device)
{
	struct i8042 *kbc = (struct i8042 *)device;

	if (device->env->input) {
		input_sink_remove(device->env->input, &kbc->key_sink);
		input_sink_remove(device->env->input, &kbc->mouse_sink);
	}
	clock_timer_cancel_sync(&kbc->repeat);
	isa_regions_remove(device->env->io, kbc->regions, 3);
}

static int check(const void *staged, struct error *err)
{
	const struct i8042 *kbc = staged;

	if (kbc->reply_to > REPLY_AUX)
		return error_set(err, EINVAL, "reply to %u", kbc->reply_to);
	if (kbc->mode & ~MODE_STORED || kbc->status & ~(STATUS_OUTPUT | STATUS_SYSTEM | STATUS_COMMAND | STATUS_AUX))
		return error_set(err, EINVAL, "mode 0x%x or status 0x%x out of range", kbc->mode, kbc->status);
	return 0;
}

static void after_load(void *object)
{
	struct i8042 *kbc = object;

	satisfy(kbc, (struct demand){.a20 = true, .leds = true});
}

static const struct state_table state = {
	.name = "i8042",
	.version = 1,
	.size = sizeof(struct i8042),
	.check = check,
	.after_load = after_load,
	.fields =
		(const struct state_field[]){
			STATE_FIELD(STATE_U8, struct i8042, mode),
			STATE_FIELD(STATE_U8, struct i8042, status),
			STATE_FIELD(STATE_U8, struct i8042, output),
			STATE_FIELD(STATE_U8, struct i8042, command),
			STATE_FIELD(STATE_U8, struct i8042, outport),
			STATE_FIELD(STATE_BOOL, struct i8042, a20),
			STATE_FIELD(STATE_BOOL, struct i8042, release),
			STATE_FIELD(STATE_U8, struct i8042, port92),
			STATE_FIELD_N(STATE_BYTES, struct i8042, ram, 32),
			STATE_FIELD(STATE_U8, struct i8042, reply),
			STATE_FIELD(STATE_U8, struct i8042, reply_to),
			STATE_SUB(ps2_keyboard_state, struct i8042, keyboard, 1),
			STATE_SUB(ps2_mouse_state, struct i8042, mouse, 1),
			STATE_FIELD(STATE_TIMER, struct i8042, repeat),
			STATE_END,
		},
};

const struct device_class i8042_class = {
	.name = "i8042",
	.help = "keyboard controller with PS/2 keyboard and mouse",
	.bus = DEVICE_ISA,
	.internal = true,
	.size = sizeof(struct i8042),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct i8042 *i8042_new(const struct device_env *env, struct error *err)
{
	struct i8042 *kbc = (struct i8042 *)device_alloc(&i8042_class, env);

	return device_realize(&kbc->device, err) < 0 ? NULL : kbc;
}
