/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 keyboard and mouse as the i8042 sees them: a byte goes in, bytes come out. No locks; the controller's covers
 * them.
 *
 * What comes out are answers to commands, before them nothing, and behind them what was typed or moved. Room for a
 * key's release is set aside when its press is taken: a guest that reads slowly loses presses, and never sees a key
 * stuck.
 */
#ifndef XUNI_DEVICE_PC_PS2_H
#define XUNI_DEVICE_PC_PS2_H

#include "backend/display/input.h"
#include "core/state.h"

#include <stdbool.h>
#include <stdint.h>

enum { PS2_QUEUE = 256, PS2_ANSWERS = 16, PS2_SET3_CODES = 0x90 };

struct ps2_queue {
	uint8_t bytes[PS2_QUEUE];
	uint16_t head, count;
};

/* The answer to the last command, at most PS2_ANSWERS bytes. */
struct ps2_answer {
	uint8_t bytes[PS2_ANSWERS];
	uint8_t next, count;
};

/* What set 3 sends of a key beyond its press. */
enum ps2_key_type { PS2_KEY_BREAK = 1, PS2_KEY_REPEAT = 2 };

struct ps2_keyboard {
	struct ps2_answer answer;
	struct ps2_queue queue;
	uint8_t command; /* waits for a parameter; 0: none */
	uint8_t set;     /* scan code set 1, 2 or 3 */
	uint8_t leds, rate;
	bool scanning;
	uint8_t last;                  /* for Resend */
	uint8_t types[PS2_SET3_CODES]; /* enum ps2_key_type, by code of set 3 */
	uint8_t held[0x100 / 8];       /* keys whose press went into the queue: a bit each, by number */
	uint8_t print_form;            /* how Print was pressed, so that its release agrees */
	uint8_t repeating;             /* number of the key that repeats; 0: none */
	bool repeated;                 /* it has been repeated at least once */
};

struct ps2_mouse {
	struct ps2_answer answer;
	struct ps2_queue queue;
	uint8_t command;
	uint8_t id;                       /* 0 plain, 3 wheel, 4 five buttons */
	uint8_t rate, resolution, status; /* status: 0x40 remote, 0x20 reporting, 0x10 2:1 scaling */
	uint8_t rates[2];                 /* the last sample rates: the knock that turns the wheel on */
	bool wrap;
	uint8_t buttons;     /* 1 left, 2 right, 4 middle, 8 fourth, 16 fifth */
	uint8_t reported;    /* the buttons of the last packet */
	int32_t dx, dy;      /* not reported yet; up is positive */
	int32_t wheel, tilt; /* notches; down and right are positive */
	uint8_t last;
};

void ps2_keyboard_reset(struct ps2_keyboard *keyboard);
void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t value);
/* number: struct input_key_row's. down again while the key is held: the source repeats it, and the keyboard leaves that
 * to the source. */
void ps2_keyboard_key(struct ps2_keyboard *keyboard, uint8_t number, bool down);
/* Typematic: ns from now until ps2_keyboard_repeat is due; -1: no key repeats. */
int64_t ps2_keyboard_repeat_ns(const struct ps2_keyboard *keyboard);
void ps2_keyboard_repeat(struct ps2_keyboard *keyboard);
/* The next byte that the keyboard sends; false when there is none. */
bool ps2_keyboard_get(struct ps2_keyboard *keyboard, uint8_t *value);

void ps2_mouse_reset(struct ps2_mouse *mouse);
void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t value);
/* Takes one event of a batch; ps2_mouse_sync ends the batch. */
void ps2_mouse_event(struct ps2_mouse *mouse, const struct input_event *event);
void ps2_mouse_sync(struct ps2_mouse *mouse);
bool ps2_mouse_get(struct ps2_mouse *mouse, uint8_t *value);

/* For both: all of count bytes or none. */
bool ps2_queue_put(struct ps2_queue *queue, const uint8_t *bytes, unsigned count);
bool ps2_queue_get(struct ps2_queue *queue, uint8_t *value);
void ps2_queue_clear(struct ps2_queue *queue);
void ps2_answer_add(struct ps2_answer *answer, uint8_t value);
bool ps2_answer_get(struct ps2_answer *answer, uint8_t *value);
void ps2_answer_clear(struct ps2_answer *answer);

extern const struct state_table ps2_queue_state, ps2_answer_state, ps2_keyboard_state, ps2_mouse_state;

#endif
