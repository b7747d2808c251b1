/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 keyboard and mouse as the i8042 sees them: a byte goes in, bytes come out of a queue. No locks; the controller's
 * covers them.
 */
#ifndef XUNI_DEVICE_PC_PS2_H
#define XUNI_DEVICE_PC_PS2_H

#include "core/state.h"

#include <stdbool.h>
#include <stdint.h>

enum { PS2_QUEUE = 64 };

struct ps2_queue {
	uint8_t bytes[PS2_QUEUE];
	uint8_t head, count;
};

struct ps2_keyboard {
	struct ps2_queue queue;
	uint8_t command; /* waits for a parameter; 0: none */
	uint8_t set;     /* scan code set 1, 2 or 3 */
	uint8_t leds, rate;
	bool scanning;
	uint8_t last; /* for Resend */
};

struct ps2_mouse {
	struct ps2_queue queue;
	uint8_t command;
	uint8_t id;                       /* 0 plain, 3 wheel, 4 five buttons */
	uint8_t rate, resolution, status; /* status: 0x40 remote, 0x20 reporting, 0x10 2:1 scaling */
	uint8_t rates[2];                 /* the last sample rates: the knock that turns the wheel on */
	bool wrap;
	uint8_t buttons;
	uint8_t last;
};

void ps2_keyboard_reset(struct ps2_keyboard *keyboard);
void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t value);
/* Scan code of set 1; false when there is no room. */
bool ps2_keyboard_key(struct ps2_keyboard *keyboard, uint8_t code, bool extended, bool down);
void ps2_mouse_reset(struct ps2_mouse *mouse);
void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t value);
void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, int wheel, unsigned buttons);

/* The oldest byte; false when there is none. */
bool ps2_queue_get(struct ps2_queue *queue, uint8_t *value);

extern const struct state_table ps2_keyboard_state, ps2_mouse_state;

#endif
