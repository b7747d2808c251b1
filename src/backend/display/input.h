/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys and pointers on their way from sources (a VNC client, a terminal, the monitor) to sinks (PS/2, virtio, USB).
 * One router, struct input, per machine knows the sinks; sources only know the router.
 *
 *	source  -> input_send(input, console, events, count)      a batch: one key, or a pointer's movement and buttons
 *	router  -> sink->event(event) for each, sink->sync()      one sink per event
 *
 * Which sink takes an event: the first of the list that takes its kind and is bound to the console it was meant for,
 * else the first that takes its kind and is bound to none. A sink joins the list at its end; input_sink_activate moves
 * it to the front (a driver has taken the device into use, or `mouse_set`), input_sink_deactivate to the end. So a
 * tablet that the guest uses wins over the PS/2 mouse, and input_is_absolute tells a source what it is to send.
 *
 * While the virtual clock stands still events are dropped: nobody there would take them. Keys sent with a delay
 * (sendkey) wait in a queue of INPUT_QUEUE entries on the virtual clock; what other sources type meanwhile waits behind
 * them, and what does not fit is dropped: `false` says so.
 *
 * Threads: every function may be called in any thread. Sinks are called with the router's lock held, so a device calls
 * the router with none of its own locks held. Lock order: router, device, interrupt controllers. A sink must neither
 * block nor call the router back. Listeners are called in the thread that caused the change; they must not block and
 * not call input_listen, input_unlisten or anything that changes sinks.
 */
#ifndef XUNI_BACKEND_DISPLAY_INPUT_H
#define XUNI_BACKEND_DISPLAY_INPUT_H

#include "backend/display/keys.h"

#include <stddef.h>

struct clock;
struct input;

enum { INPUT_ABSOLUTE_MAX = 0x7fff, INPUT_QUEUE = 1024 };

enum input_kind { INPUT_KEY, INPUT_BUTTON, INPUT_RELATIVE, INPUT_ABSOLUTE, INPUT_KINDS };
#define INPUT_BIT(kind) (1u << (kind))

enum input_axis { INPUT_X, INPUT_Y };

enum input_button {
	INPUT_LEFT,
	INPUT_MIDDLE,
	INPUT_RIGHT,
	INPUT_WHEEL_UP, /* wheels: a press is one notch, the release means nothing */
	INPUT_WHEEL_DOWN,
	INPUT_SIDE,
	INPUT_EXTRA,
	INPUT_WHEEL_LEFT,
	INPUT_WHEEL_RIGHT,
	INPUT_BUTTONS,
};

struct input_event {
	enum input_kind kind;
	uint16_t code; /* enum input_key, input_button or input_axis */
	/* Key and button: 1 pressed (again: the source repeats), 0 released. Relative: counts, right and down are
	 * positive. Absolute: 0..INPUT_ABSOLUTE_MAX over the whole width or height of the screen. */
	int32_t value;
};

/* What keyboards show, as bits. */
enum input_led { INPUT_LED_SCROLL = 1, INPUT_LED_NUM = 2, INPUT_LED_CAPS = 4 };

struct input_sink {
	const char *name;    /* as `info mice` shows it */
	unsigned kinds;      /* INPUT_BIT of what it takes */
	const void *console; /* the one it belongs to (identity only), or NULL: any */
	void (*event)(void *opaque, const struct input_event *event);
	void (*sync)(void *opaque); /* a batch is complete; may be NULL */
	void *opaque;
	/* The router's own. */
	struct input_sink *next;
	unsigned index;
	bool touched;
};

struct input_listener {
	void (*leds)(void *opaque, unsigned leds);    /* INPUT_LED_*; may be NULL */
	void (*pointer)(void *opaque, bool absolute); /* what a source is to send changed; may be NULL */
	void *opaque;
	struct input_listener *next; /* the router's own */
};

struct input *input_new(struct clock *clock);
/* All sinks and listeners have been removed. */
void input_free(struct input *input);

/* --- sinks --- */

/* The sink stays the caller's and lives until it is removed; after input_sink_remove it is not called any more. */
void input_sink_add(struct input *input, struct input_sink *sink);
void input_sink_remove(struct input *input, struct input_sink *sink);
void input_sink_activate(struct input *input, struct input_sink *sink);
void input_sink_deactivate(struct input *input, struct input_sink *sink);
/* A keyboard's LEDs as the guest sets them. */
void input_set_leds(struct input *input, unsigned leds);

/* --- sources --- */

/* console: identity of the console that the events were meant for, or NULL. False: something found no room. */
bool input_send(struct input *input, const void *console, const struct input_event *events, unsigned count);
/* Short forms of it. */
bool input_key(struct input *input, const void *console, enum input_key key, bool down);
void input_move(struct input *input, const void *console, int dx, int dy);
void input_button(struct input *input, const void *console, enum input_button button, bool down);
/* The key, and then nothing more from the queue for delay_ms of virtual time; 0: the usual 10 ms. */
bool input_key_delayed(struct input *input, const void *console, enum input_key key, bool down, unsigned delay_ms);
/* True when movements on that console are to be sent as INPUT_ABSOLUTE, else as INPUT_RELATIVE. */
bool input_is_absolute(struct input *input, const void *console);
/* True when a sink takes such events of that console. */
bool input_takes(struct input *input, const void *console, enum input_kind kind);
unsigned input_leds(struct input *input);

void input_listen(struct input *input, struct input_listener *listener);
void input_unlisten(struct input *input, struct input_listener *listener);

/* --- monitor --- */

struct input_mouse {
	char name[64];
	unsigned index; /* stays with the device; what mouse_set takes */
	bool absolute, current;
};

/* The pointers in the router's order; returns how many there are (fills at most max). */
unsigned input_mice(struct input *input, struct input_mouse *mice, unsigned max);
/* -ENOENT: no such index; -EINVAL: no pointer, *name being what it is. */
int input_mouse_set(struct input *input, unsigned index, const char **name);

#endif
