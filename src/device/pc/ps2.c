/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 keyboard (IBM PS/2 technical reference, keyboard section: scan code sets 1 and 2, LEDs, typematic rate as a
 * stored value) and mouse (standard, IntelliMouse wheel and Explorer identification by sample rates). Left out: scan
 * code set 3's per-key settings, typematic repeat (the host's keyboard repeats).
 */
#include "device/pc/ps2.h"

#include "base/util.h"

enum { ACK = 0xfa, RESEND = 0xfe, TEST_PASSED = 0xaa };

static bool put(struct ps2_queue *queue, const uint8_t *bytes, unsigned count)
{
	if (queue->count + count > PS2_QUEUE)
		return false;
	for (unsigned i = 0; i < count; i++)
		queue->bytes[(queue->head + queue->count++) % PS2_QUEUE] = bytes[i];
	return true;
}

static void answer(struct ps2_queue *queue, uint8_t value)
{
	put(queue, &value, 1);
}

static void clear(struct ps2_queue *queue)
{
	queue->head = queue->count = 0;
}

bool ps2_queue_get(struct ps2_queue *queue, uint8_t *value)
{
	if (!queue->count)
		return false;
	*value = queue->bytes[queue->head];
	queue->head = (queue->head + 1) % PS2_QUEUE;
	queue->count--;
	return true;
}

/* --- keyboard --- */

static void keyboard_defaults(struct ps2_keyboard *keyboard)
{
	keyboard->set = 2;
	keyboard->rate = 0x2b;
	keyboard->scanning = true;
	keyboard->command = 0;
	clear(&keyboard->queue);
}

void ps2_keyboard_reset(struct ps2_keyboard *keyboard)
{
	*keyboard = (struct ps2_keyboard){0};
	keyboard_defaults(keyboard);
}

static void keyboard_parameter(struct ps2_keyboard *keyboard, uint8_t command, uint8_t value)
{
	answer(&keyboard->queue, ACK);
	switch (command) {
	case 0xed:
		keyboard->leds = value & 7;
		break;
	case 0xf0:
		if (value == 0)
			answer(&keyboard->queue, keyboard->set);
		else if (value <= 3)
			keyboard->set = value;
		break;
	case 0xf3:
		keyboard->rate = value & 0x7f;
		break;
	}
}

void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t value)
{
	uint8_t command = keyboard->command;

	keyboard->command = 0;
	/* A parameter has bit 7 clear; a command in its place wins. */
	if (command && value < 0x80) {
		keyboard_parameter(keyboard, command, value);
		return;
	}
	switch (value) {
	case 0xed: /* LEDs */
	case 0xf0: /* scan code set */
	case 0xf3: /* typematic rate */
		keyboard->command = value;
		answer(&keyboard->queue, ACK);
		break;
	case 0xee: /* echo */
		answer(&keyboard->queue, 0xee);
		break;
	case 0xf2: /* identify */
		answer(&keyboard->queue, ACK);
		answer(&keyboard->queue, 0xab);
		answer(&keyboard->queue, 0x83);
		break;
	case 0xf4: /* enable scanning */
		keyboard->scanning = true;
		clear(&keyboard->queue);
		answer(&keyboard->queue, ACK);
		break;
	case 0xf5: /* defaults, disable scanning */
	case 0xf6: /* defaults */
		keyboard_defaults(keyboard);
		keyboard->scanning = value == 0xf6;
		answer(&keyboard->queue, ACK);
		break;
	case 0xfe: /* resend */
		answer(&keyboard->queue, keyboard->last);
		break;
	case 0xff: /* reset */
		keyboard_defaults(keyboard);
		keyboard->leds = 0;
		answer(&keyboard->queue, ACK);
		answer(&keyboard->queue, TEST_PASSED);
		break;
	default: /* 0xf7-0xfd concern set 3 only */
		answer(&keyboard->queue, value >= 0xf7 && value <= 0xfa ? ACK : RESEND);
	}
}

/* Scan code set 1 to set 2, indexed by the set 1 code; 0: none. (The controller translates back for most software.) */
static const uint8_t set1_to_set2[0x59] = {
	0x00, 0x76, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d, 0x15, 0x1d,
	0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x14, 0x1c, 0x1b, 0x23, 0x2b, 0x34, 0x33,
	0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5d, 0x1a, 0x22, 0x21, 0x2a, 0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a,
	0x59, 0x7c, 0x11, 0x29, 0x58, 0x05, 0x06, 0x04, 0x0c, 0x03, 0x0b, 0x83, 0x0a, 0x01, 0x09, 0x77, 0x7e, 0x6c,
	0x75, 0x7d, 0x7b, 0x6b, 0x73, 0x74, 0x79, 0x69, 0x72, 0x7a, 0x70, 0x71, 0x84, 0x00, 0x61, 0x78, 0x07,
};

bool ps2_keyboard_key(struct ps2_keyboard *keyboard, uint8_t code, bool extended, bool down)
{
	uint8_t bytes[3];
	unsigned count = 0;

	if (!keyboard->scanning || code >= sizeof(set1_to_set2) || !set1_to_set2[code])
		return true; /* gone, as on the real thing */
	if (extended)
		bytes[count++] = 0xe0;
	if (keyboard->set == 1) {
		bytes[count++] = code | (down ? 0 : 0x80);
	} else {
		if (!down)
			bytes[count++] = 0xf0;
		bytes[count++] = set1_to_set2[code];
	}
	/* Room is kept for answers to commands, so a full queue of keys does not deafen the guest. */
	return PS2_QUEUE - keyboard->queue.count >= 16 && put(&keyboard->queue, bytes, count);
}

/* --- mouse --- */

enum { MOUSE_REMOTE = 0x40, MOUSE_REPORTING = 0x20, MOUSE_DOUBLE = 0x10 };

static void mouse_defaults(struct ps2_mouse *mouse)
{
	mouse->rate = 100;
	mouse->resolution = 2;
	mouse->status = 0;
	mouse->command = 0;
	mouse->wrap = false;
	clear(&mouse->queue);
}

void ps2_mouse_reset(struct ps2_mouse *mouse)
{
	*mouse = (struct ps2_mouse){0};
	mouse_defaults(mouse);
}

static void mouse_set_rate(struct ps2_mouse *mouse, uint8_t rate)
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

static void mouse_packet(struct ps2_mouse *mouse, int dx, int dy, int wheel)
{
	uint8_t packet[4] = {
		(uint8_t)(0x08 | mouse->buttons | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)),
		(uint8_t)dx,
		(uint8_t)dy,
		(uint8_t)(mouse->id == 4 ? wheel & 0xf : wheel),
	};

	if (PS2_QUEUE - mouse->queue.count >= 16)
		put(&mouse->queue, packet, mouse->id >= 3 ? 4 : 3);
}

static void mouse_command(struct ps2_mouse *mouse, uint8_t value)
{
	answer(&mouse->queue, ACK);
	switch (value) {
	case 0xe6: /* scaling 1:1 and 2:1 */
		mouse->status &= ~MOUSE_DOUBLE;
		break;
	case 0xe7:
		mouse->status |= MOUSE_DOUBLE;
		break;
	case 0xe8: /* resolution */
	case 0xf3: /* sample rate */
		mouse->command = value;
		break;
	case 0xe9: /* status */
		answer(&mouse->queue, mouse->status | (mouse->buttons & 1) << 2 | (mouse->buttons & 4) >> 1 |
					      (mouse->buttons & 2) >> 1);
		answer(&mouse->queue, mouse->resolution);
		answer(&mouse->queue, mouse->rate);
		break;
	case 0xea: /* stream mode */
		mouse->status &= ~MOUSE_REMOTE;
		break;
	case 0xeb: /* read data */
		mouse_packet(mouse, 0, 0, 0);
		break;
	case 0xee: /* wrap mode */
		mouse->wrap = true;
		break;
	case 0xf0: /* remote mode */
		mouse->status |= MOUSE_REMOTE;
		break;
	case 0xf2: /* identify */
		answer(&mouse->queue, mouse->id);
		break;
	case 0xf4:
		mouse->status |= MOUSE_REPORTING;
		break;
	case 0xf5:
		mouse->status &= ~MOUSE_REPORTING;
		break;
	case 0xf6:
		mouse_defaults(mouse);
		answer(&mouse->queue, ACK);
		break;
	case 0xff:
		mouse_defaults(mouse);
		mouse->id = 0;
		answer(&mouse->queue, ACK);
		answer(&mouse->queue, TEST_PASSED);
		answer(&mouse->queue, mouse->id);
		break;
	}
}

static bool mouse_knows(uint8_t value)
{
	return (value >= 0xe6 && value <= 0xeb) || value == 0xee || value == 0xf0 || (value >= 0xf2 && value <= 0xf6) ||
	       value == 0xff;
}

void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t value)
{
	uint8_t command = mouse->command;

	mouse->command = 0;
	if (mouse->wrap && value != 0xff && value != 0xec) {
		answer(&mouse->queue, value);
	} else if (value == 0xec) { /* leave wrap mode */
		mouse->wrap = false;
		answer(&mouse->queue, ACK);
	} else if (command == 0xf3) {
		mouse_set_rate(mouse, value);
		answer(&mouse->queue, ACK);
	} else if (command == 0xe8) {
		mouse->resolution = value & 3;
		answer(&mouse->queue, ACK);
	} else if (value == 0xfe) {
		answer(&mouse->queue, mouse->last);
	} else if (mouse_knows(value)) {
		mouse_command(mouse, value);
	} else {
		answer(&mouse->queue, RESEND);
	}
}

static int clamp(int value, int low, int high)
{
	return value < low ? low : value > high ? high : value;
}

void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, int wheel, unsigned buttons)
{
	bool reporting = mouse->status & MOUSE_REPORTING && !(mouse->status & MOUSE_REMOTE);

	mouse->buttons = buttons & 7;
	if (reporting)
		mouse_packet(mouse, clamp(dx, -255, 255), clamp(-dy, -255, 255), clamp(wheel, -8, 7));
}

/* --- state --- */

static int queue_check(const void *staged, struct error *err)
{
	const struct ps2_queue *queue = staged;

	if (queue->head >= PS2_QUEUE || queue->count > PS2_QUEUE)
		return error_set(err, EINVAL, "head %u or count %u out of range", queue->head, queue->count);
	return 0;
}

static const struct state_table queue_state = {
	.name = "ps2-queue",
	.version = 1,
	.size = sizeof(struct ps2_queue),
	.check = queue_check,
	.fields =
		(const struct state_field[]){
			STATE_FIELD_N(STATE_BYTES, struct ps2_queue, bytes, PS2_QUEUE),
			STATE_FIELD(STATE_U8, struct ps2_queue, head),
			STATE_FIELD(STATE_U8, struct ps2_queue, count),
			STATE_END,
		},
};

static int keyboard_check(const void *staged, struct error *err)
{
	const struct ps2_keyboard *keyboard = staged;

	if (keyboard->set < 1 || keyboard->set > 3)
		return error_set(err, EINVAL, "scan code set %u", keyboard->set);
	return 0;
}

const struct state_table ps2_keyboard_state = {
	.name = "ps2-keyboard",
	.version = 1,
	.size = sizeof(struct ps2_keyboard),
	.check = keyboard_check,
	.fields =
		(const struct state_field[]){
			STATE_SUB(queue_state, struct ps2_keyboard, queue, 1),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, command),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, set),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, leds),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, rate),
			STATE_FIELD(STATE_BOOL, struct ps2_keyboard, scanning),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, last),
			STATE_END,
		},
};

static int mouse_check(const void *staged, struct error *err)
{
	const struct ps2_mouse *mouse = staged;

	if ((mouse->id != 0 && mouse->id != 3 && mouse->id != 4) || mouse->resolution > 3 || mouse->buttons > 7)
		return error_set(err, EINVAL, "id %u, resolution %u or buttons %u out of range", mouse->id,
				 mouse->resolution, mouse->buttons);
	return 0;
}

const struct state_table ps2_mouse_state = {
	.name = "ps2-mouse",
	.version = 1,
	.size = sizeof(struct ps2_mouse),
	.check = mouse_check,
	.fields =
		(const struct state_field[]){
			STATE_SUB(queue_state, struct ps2_mouse, queue, 1),
			STATE_FIELD(STATE_U8, struct ps2_mouse, command),
			STATE_FIELD(STATE_U8, struct ps2_mouse, id),
			STATE_FIELD(STATE_U8, struct ps2_mouse, rate),
			STATE_FIELD(STATE_U8, struct ps2_mouse, resolution),
			STATE_FIELD(STATE_U8, struct ps2_mouse, status),
			STATE_FIELD_N(STATE_BYTES, struct ps2_mouse, rates, 2),
			STATE_FIELD(STATE_BOOL, struct ps2_mouse, wrap),
			STATE_FIELD(STATE_U8, struct ps2_mouse, buttons),
			STATE_FIELD(STATE_U8, struct ps2_mouse, last),
			STATE_END,
		},
};
