/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 mouse (IBM PS/2 technical reference, mouse section): stream, remote and wrap mode, 2:1 scaling; as the sample
 * rates ask for it an IntelliMouse with a wheel (id 3) or an Explorer with five buttons and a tilting wheel (id 4).
 *
 * Movements add up until the guest has read the packet before, so a slow guest gets few and large steps; a change of
 * buttons always gets a packet of its own while there is room. Left out: the sample rate spaces no packets (the
 * source's own rate does), the resolution scales nothing.
 */
#include "base/util.h"
#include "device/pc/ps2.h"

enum { ACK = 0xfa, RESEND = 0xfe, TEST_PASSED = 0xaa };
enum { MOUSE_REMOTE = 0x40, MOUSE_REPORTING = 0x20, MOUSE_DOUBLE = 0x10 };
enum { PACKET_BYTES_MAX = 4, STEP_MAX = 255, TOTAL_MAX = 1 << 20 };

static int32_t clamp(int64_t value, int32_t low, int32_t high)
{
	return value < low ? low : value > high ? high : (int32_t)value;
}

static void forget_movement(struct ps2_mouse *mouse)
{
	mouse->dx = mouse->dy = mouse->wheel = mouse->tilt = 0;
}

static void defaults(struct ps2_mouse *mouse)
{
	mouse->rate = 100;
	mouse->resolution = 2;
	mouse->status = 0;
	mouse->command = 0;
	mouse->wrap = false;
	ps2_queue_clear(&mouse->queue);
	forget_movement(mouse);
}

void ps2_mouse_reset(struct ps2_mouse *mouse)
{
	*mouse = (struct ps2_mouse){0};
	defaults(mouse);
}

/* --- packets --- */

/* 2:1 scaling, in stream mode only. */
static int32_t scale(const struct ps2_mouse *mouse, int32_t step)
{
	static const uint8_t small[] = {0, 1, 1, 3, 6, 9};
	int32_t size = step < 0 ? -step : step;

	if (!(mouse->status & MOUSE_DOUBLE) || mouse->status & MOUSE_REMOTE)
		return step;
	size = size < (int32_t)ARRAY_SIZE(small) ? small[size] : 2 * size;
	return step < 0 ? -size : size;
}

/* The fourth byte: notches of the wheel, and with id 4 buttons or the tilt. */
static uint8_t fourth_byte(struct ps2_mouse *mouse)
{
	int32_t notches;

	if (mouse->id == 4 && mouse->tilt && !((mouse->buttons ^ mouse->reported) & 0x18)) {
		notches = clamp(mouse->tilt, -31, 31);
		mouse->tilt -= notches;
		return 0x40 | (notches & 0x3f);
	}
	notches = mouse->id == 4 ? clamp(mouse->wheel, -8, 7) : clamp(mouse->wheel, -127, 127);
	mouse->wheel -= notches;
	return mouse->id == 4 ? (uint8_t)((notches & 0xf) | (mouse->buttons & 0x18) << 1) : (uint8_t)notches;
}

/* Takes as much of what has added up as a packet holds. Returns its length. */
static unsigned make_packet(struct ps2_mouse *mouse, uint8_t *packet)
{
	int32_t limit = mouse->status & MOUSE_DOUBLE ? STEP_MAX / 2 : STEP_MAX;
	int32_t x = clamp(mouse->dx, -limit, limit), y = clamp(mouse->dy, -limit, limit);

	mouse->dx -= x;
	mouse->dy -= y;
	x = scale(mouse, x);
	y = scale(mouse, y);
	packet[0] = (uint8_t)(0x08 | (mouse->buttons & 7) | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0));
	packet[1] = (uint8_t)x;
	packet[2] = (uint8_t)y;
	if (mouse->id >= 3)
		packet[3] = fourth_byte(mouse);
	mouse->reported = mouse->buttons;
	return mouse->id >= 3 ? 4 : 3;
}

static bool clicked(const struct ps2_mouse *mouse)
{
	return (mouse->buttons ^ mouse->reported) & (mouse->id == 4 ? 0x1f : 7);
}

static bool anything_to_report(const struct ps2_mouse *mouse)
{
	return mouse->dx || mouse->dy || mouse->wheel || mouse->tilt || clicked(mouse);
}

static bool streams(const struct ps2_mouse *mouse)
{
	return mouse->status & MOUSE_REPORTING && !(mouse->status & MOUSE_REMOTE) && !mouse->wrap;
}

void ps2_mouse_sync(struct ps2_mouse *mouse)
{
	uint8_t packet[PACKET_BYTES_MAX];

	/* Wheels that the guest does not know of do not turn. */
	if (mouse->id < 3)
		mouse->wheel = 0;
	if (mouse->id < 4)
		mouse->tilt = 0;
	if (streams(mouse) && anything_to_report(mouse) &&
	    (clicked(mouse) ? mouse->queue.count + sizeof(packet) <= PS2_QUEUE : !mouse->queue.count))
		ps2_queue_put(&mouse->queue, packet, make_packet(mouse, packet));
}

bool ps2_mouse_get(struct ps2_mouse *mouse, uint8_t *value)
{
	if (!ps2_answer_get(&mouse->answer, value)) {
		if (!mouse->queue.count)
			ps2_mouse_sync(mouse);
		if (!ps2_queue_get(&mouse->queue, value))
			return false;
	}
	mouse->last = *value;
	return true;
}

/* --- what happens to the mouse --- */

static void button(struct ps2_mouse *mouse, unsigned which, bool down)
{
	static const uint8_t bits[INPUT_BUTTONS] = {
		[INPUT_LEFT] = 1, [INPUT_RIGHT] = 2, [INPUT_MIDDLE] = 4, [INPUT_SIDE] = 8, [INPUT_EXTRA] = 16};

	if (which >= INPUT_BUTTONS)
		return;
	if (down)
		mouse->buttons |= bits[which];
	else
		mouse->buttons &= (uint8_t)~bits[which];
	if (!down)
		return;
	mouse->wheel += (which == INPUT_WHEEL_DOWN) - (which == INPUT_WHEEL_UP);
	mouse->tilt += (which == INPUT_WHEEL_RIGHT) - (which == INPUT_WHEEL_LEFT);
	mouse->wheel = clamp(mouse->wheel, -TOTAL_MAX, TOTAL_MAX);
	mouse->tilt = clamp(mouse->tilt, -TOTAL_MAX, TOTAL_MAX);
}

void ps2_mouse_event(struct ps2_mouse *mouse, const struct input_event *event)
{
	if (event->kind == INPUT_BUTTON)
		button(mouse, event->code, event->value);
	else if (event->kind == INPUT_RELATIVE && event->code == INPUT_X)
		mouse->dx = clamp((int64_t)mouse->dx + event->value, -TOTAL_MAX, TOTAL_MAX);
	else if (event->kind == INPUT_RELATIVE && event->code == INPUT_Y)
		mouse->dy = clamp((int64_t)mouse->dy - event->value, -TOTAL_MAX, TOTAL_MAX);
	/* Before it reports, a mouse has no memory of where it was pushed. */
	if (!(mouse->status & (MOUSE_REPORTING | MOUSE_REMOTE))) {
		forget_movement(mouse);
		mouse->reported = mouse->buttons;
	}
}

/* --- commands --- */

static void set_rate(struct ps2_mouse *mouse, uint8_t rate)
{
	/* 200, 100, 80 asks for a wheel; 200, 200, 80 then for two more buttons. */
	if (rate == 80 && mouse->rates[0] == 200 && mouse->rates[1] == 100)
		mouse->id = 3;
	else if (rate == 80 && mouse->rates[0] == 200 && mouse->rates[1] == 200 && mouse->id == 3)
		mouse->id = 4;
	mouse->rates[0] = mouse->rates[1];
	mouse->rates[1] = rate;
	mouse->rate = rate;
}

static void tell_status(struct ps2_mouse *mouse)
{
	uint8_t buttons = mouse->buttons;

	ps2_answer_add(&mouse->answer,
		       (uint8_t)(mouse->status | (buttons & 1) << 2 | (buttons & 4) >> 1 | (buttons & 2) >> 1));
	ps2_answer_add(&mouse->answer, mouse->resolution);
	ps2_answer_add(&mouse->answer, mouse->rate);
}

static void tell_movement(struct ps2_mouse *mouse)
{
	uint8_t packet[PACKET_BYTES_MAX];
	unsigned count = make_packet(mouse, packet);

	for (unsigned i = 0; i < count; i++)
		ps2_answer_add(&mouse->answer, packet[i]);
}

static void command(struct ps2_mouse *mouse, uint8_t value)
{
	ps2_answer_add(&mouse->answer, ACK);
	switch (value) {
	case 0xe6: /* scaling 1:1 and 2:1 */
		mouse->status &= (uint8_t)~MOUSE_DOUBLE;
		break;
	case 0xe7:
		mouse->status |= MOUSE_DOUBLE;
		break;
	case 0xe8: /* resolution */
	case 0xf3: /* sample rate */
		mouse->command = value;
		break;
	case 0xe9:
		tell_status(mouse);
		break;
	case 0xea: /* stream mode */
		mouse->status &= (uint8_t)~MOUSE_REMOTE;
		break;
	case 0xeb: /* read data */
		tell_movement(mouse);
		break;
	case 0xec: /* leave wrap mode */
		mouse->wrap = false;
		break;
	case 0xee:
		mouse->wrap = true;
		break;
	case 0xf0: /* remote mode */
		mouse->status |= MOUSE_REMOTE;
		break;
	case 0xf2: /* identify */
		ps2_answer_add(&mouse->answer, mouse->id);
		break;
	case 0xf4:
		mouse->status |= MOUSE_REPORTING;
		break;
	case 0xf5:
		mouse->status &= (uint8_t)~MOUSE_REPORTING;
		break;
	case 0xf6:
		defaults(mouse);
		break;
	case 0xff:
		defaults(mouse);
		mouse->id = 0;
		ps2_answer_add(&mouse->answer, TEST_PASSED);
		ps2_answer_add(&mouse->answer, mouse->id);
		break;
	}
}

static bool known(uint8_t value)
{
	return (value >= 0xe6 && value <= 0xec) || value == 0xee || value == 0xf0 || (value >= 0xf2 && value <= 0xf6) ||
	       value == 0xff;
}

/* A command ends what the mouse was sending: the rest of the packet is gone. */
void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t value)
{
	uint8_t waiting = mouse->command;

	mouse->command = 0;
	ps2_answer_clear(&mouse->answer);
	ps2_queue_clear(&mouse->queue);
	if (mouse->wrap && value != 0xff && value != 0xec) {
		ps2_answer_add(&mouse->answer, value);
	} else if (waiting == 0xf3) {
		set_rate(mouse, value);
		ps2_answer_add(&mouse->answer, ACK);
	} else if (waiting == 0xe8) {
		mouse->resolution = value & 3;
		ps2_answer_add(&mouse->answer, ACK);
	} else if (value == 0xfe) {
		ps2_answer_add(&mouse->answer, mouse->last);
	} else if (known(value)) {
		command(mouse, value);
	} else {
		ps2_answer_add(&mouse->answer, RESEND);
	}
}

/* --- state --- */

static int check(const void *staged, struct error *err)
{
	const struct ps2_mouse *mouse = staged;
	const int32_t totals[] = {mouse->dx, mouse->dy, mouse->wheel, mouse->tilt};

	if ((mouse->id != 0 && mouse->id != 3 && mouse->id != 4) || mouse->resolution > 3 || mouse->buttons > 0x1f ||
	    mouse->reported > 0x1f)
		return error_set(err, EINVAL, "id %u, resolution %u or buttons %u out of range", mouse->id,
				 mouse->resolution, mouse->buttons);
	for (unsigned i = 0; i < ARRAY_SIZE(totals); i++)
		if (totals[i] < -TOTAL_MAX || totals[i] > TOTAL_MAX)
			return error_set(err, EINVAL, "movement %d out of range", totals[i]);
	return 0;
}

const struct state_table ps2_mouse_state = {
	.name = "ps2-mouse",
	.version = 1,
	.size = sizeof(struct ps2_mouse),
	.check = check,
	.fields =
		(const struct state_field[]){
			STATE_SUB(ps2_answer_state, struct ps2_mouse, answer, 1),
			STATE_SUB(ps2_queue_state, struct ps2_mouse, queue, 1),
			STATE_FIELD(STATE_U8, struct ps2_mouse, command),
			STATE_FIELD(STATE_U8, struct ps2_mouse, id),
			STATE_FIELD(STATE_U8, struct ps2_mouse, rate),
			STATE_FIELD(STATE_U8, struct ps2_mouse, resolution),
			STATE_FIELD(STATE_U8, struct ps2_mouse, status),
			STATE_FIELD_N(STATE_BYTES, struct ps2_mouse, rates, 2),
			STATE_FIELD(STATE_BOOL, struct ps2_mouse, wrap),
			STATE_FIELD(STATE_U8, struct ps2_mouse, buttons),
			STATE_FIELD(STATE_U8, struct ps2_mouse, reported),
			STATE_FIELD(STATE_U32, struct ps2_mouse, dx),
			STATE_FIELD(STATE_U32, struct ps2_mouse, dy),
			STATE_FIELD(STATE_U32, struct ps2_mouse, wheel),
			STATE_FIELD(STATE_U32, struct ps2_mouse, tilt),
			STATE_FIELD(STATE_U8, struct ps2_mouse, last),
			STATE_END,
		},
};
