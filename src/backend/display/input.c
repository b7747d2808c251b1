/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backend/display/input.h"

#include "base/util.h"
#include "core/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { USUAL_DELAY_MS = 10, DELAY_MAX_MS = 60000 };

/* Either an event, or with delay_ns nothing but a wait. */
struct queued {
	struct input_event event;
	const void *console;
	int64_t delay_ns;
};

struct input {
	struct clock *clock;
	pthread_mutex_t lock;
	struct input_sink *sinks;
	unsigned next_index;
	struct input_listener *listeners;
	pthread_mutex_t listeners_lock; /* held while listeners are called; before lock */
	unsigned leds;

	struct queued queue[INPUT_QUEUE];
	unsigned head, count;
	struct clock_timer timer; /* armed while the head of the queue is a wait */
};

/* --- routing; with the lock held --- */

static struct input_sink *find_sink(const struct input *input, unsigned kinds, const void *console)
{
	struct input_sink *sink;

	for (sink = input->sinks; console && sink; sink = sink->next)
		if (sink->console == console && sink->kinds & kinds)
			return sink;
	for (sink = input->sinks; sink; sink = sink->next)
		if (!sink->console && sink->kinds & kinds)
			return sink;
	return NULL;
}

static void deliver(struct input *input, const void *console, const struct input_event *event)
{
	struct input_sink *sink = find_sink(input, INPUT_BIT(event->kind), console);

	if (sink) {
		sink->event(sink->opaque, event);
		sink->touched = true;
	}
}

static void sync_sinks(struct input *input)
{
	for (struct input_sink *sink = input->sinks; sink; sink = sink->next) {
		if (sink->touched && sink->sync)
			sink->sync(sink->opaque);
		sink->touched = false;
	}
}

static void unlink_sink(struct input *input, struct input_sink *sink)
{
	for (struct input_sink **at = &input->sinks; *at; at = &(*at)->next) {
		if (*at == sink) {
			*at = sink->next;
			return;
		}
	}
}

static void link_last(struct input *input, struct input_sink *sink)
{
	struct input_sink **at = &input->sinks;

	while (*at)
		at = &(*at)->next;
	sink->next = NULL;
	*at = sink;
}

static bool absolute(const struct input *input, const void *console)
{
	const struct input_sink *sink =
		find_sink(input, INPUT_BIT(INPUT_RELATIVE) | INPUT_BIT(INPUT_ABSOLUTE), console);

	return sink && sink->kinds & INPUT_BIT(INPUT_ABSOLUTE);
}

/* --- the queue of delayed keys; with the lock held --- */

static bool enqueue(struct input *input, struct queued entry)
{
	if (input->count == INPUT_QUEUE)
		return false;
	input->queue[(input->head + input->count++) % INPUT_QUEUE] = entry;
	return true;
}

static void arm(struct input *input)
{
	clock_timer_set(&input->timer, clock_now(input->clock) + input->queue[input->head].delay_ns);
}

/* A wait is over: what follows it goes out, up to the next wait. */
static void on_timer(void *opaque)
{
	struct input *input = opaque;

	pthread_mutex_lock(&input->lock);
	if (input->count) {
		input->head = (input->head + 1) % INPUT_QUEUE;
		input->count--;
	}
	while (input->count && !input->queue[input->head].delay_ns) {
		const struct queued *entry = &input->queue[input->head];

		deliver(input, entry->console, &entry->event);
		sync_sinks(input);
		input->head = (input->head + 1) % INPUT_QUEUE;
		input->count--;
	}
	if (input->count)
		arm(input);
	pthread_mutex_unlock(&input->lock);
}

/* --- life --- */

struct input *input_new(struct clock *clock)
{
	struct input *input = xcalloc(1, sizeof(*input));

	input->clock = clock;
	input->next_index = 1;
	pthread_mutex_init(&input->lock, NULL);
	pthread_mutex_init(&input->listeners_lock, NULL);
	clock_timer_init(&input->timer, clock, on_timer, input);
	return input;
}

void input_free(struct input *input)
{
	if (!input)
		return;
	clock_timer_cancel_sync(&input->timer);
	pthread_mutex_destroy(&input->listeners_lock);
	pthread_mutex_destroy(&input->lock);
	free(input);
}

/* --- sinks --- */

/* Changes the list of sinks by `change` and tells listeners when the kind of movement changed by it. */
static void change_sinks(struct input *input, struct input_sink *sink,
			 void (*change)(struct input *input, struct input_sink *sink))
{
	bool before, after;

	pthread_mutex_lock(&input->listeners_lock);
	pthread_mutex_lock(&input->lock);
	before = absolute(input, NULL);
	change(input, sink);
	after = absolute(input, NULL);
	pthread_mutex_unlock(&input->lock);
	for (struct input_listener *l = input->listeners; l && before != after; l = l->next)
		if (l->pointer)
			l->pointer(l->opaque, after);
	pthread_mutex_unlock(&input->listeners_lock);
}

static void add_sink(struct input *input, struct input_sink *sink)
{
	sink->index = input->next_index++;
	sink->touched = false;
	link_last(input, sink);
}

static void make_first(struct input *input, struct input_sink *sink)
{
	unlink_sink(input, sink);
	sink->next = input->sinks;
	input->sinks = sink;
}

static void make_last(struct input *input, struct input_sink *sink)
{
	unlink_sink(input, sink);
	link_last(input, sink);
}

void input_sink_add(struct input *input, struct input_sink *sink)
{
	change_sinks(input, sink, add_sink);
}

void input_sink_remove(struct input *input, struct input_sink *sink)
{
	change_sinks(input, sink, unlink_sink);
}

void input_sink_activate(struct input *input, struct input_sink *sink)
{
	change_sinks(input, sink, make_first);
}

void input_sink_deactivate(struct input *input, struct input_sink *sink)
{
	change_sinks(input, sink, make_last);
}

void input_set_leds(struct input *input, unsigned leds)
{
	unsigned before;

	pthread_mutex_lock(&input->listeners_lock);
	pthread_mutex_lock(&input->lock);
	before = input->leds;
	input->leds = leds;
	pthread_mutex_unlock(&input->lock);
	for (struct input_listener *l = input->listeners; l && before != leds; l = l->next)
		if (l->leds)
			l->leds(l->opaque, leds);
	pthread_mutex_unlock(&input->listeners_lock);
}

/* --- sources --- */

bool input_send(struct input *input, const void *console, const struct input_event *events, unsigned count)
{
	bool all = true;

	if (!clock_running(input->clock))
		return true;
	pthread_mutex_lock(&input->lock);
	for (unsigned i = 0; i < count; i++) {
		if (events[i].kind == INPUT_KEY && input->count)
			all = enqueue(input, (struct queued){events[i], console, 0}) && all;
		else
			deliver(input, console, &events[i]);
	}
	sync_sinks(input);
	pthread_mutex_unlock(&input->lock);
	return all;
}

bool input_key(struct input *input, const void *console, enum input_key key, bool down)
{
	return input_send(input, console, &(struct input_event){INPUT_KEY, (uint16_t)key, down}, 1);
}

void input_move(struct input *input, const void *console, int dx, int dy)
{
	const struct input_event events[2] = {{INPUT_RELATIVE, INPUT_X, dx}, {INPUT_RELATIVE, INPUT_Y, dy}};

	input_send(input, console, events, 2);
}

void input_button(struct input *input, const void *console, enum input_button button, bool down)
{
	input_send(input, console, &(struct input_event){INPUT_BUTTON, (uint16_t)button, down}, 1);
}

bool input_key_delayed(struct input *input, const void *console, enum input_key key, bool down, unsigned delay_ms)
{
	bool taken = input_key(input, console, key, down);
	int64_t delay_ns = (int64_t)min_u64(delay_ms ? delay_ms : USUAL_DELAY_MS, DELAY_MAX_MS) * NS_PER_MS;

	if (!clock_running(input->clock))
		return taken;
	pthread_mutex_lock(&input->lock);
	taken = enqueue(input, (struct queued){.delay_ns = delay_ns}) && taken;
	if (input->count == 1)
		arm(input);
	pthread_mutex_unlock(&input->lock);
	return taken;
}

bool input_is_absolute(struct input *input, const void *console)
{
	bool result;

	pthread_mutex_lock(&input->lock);
	result = absolute(input, console);
	pthread_mutex_unlock(&input->lock);
	return result;
}

bool input_takes(struct input *input, const void *console, enum input_kind kind)
{
	bool result;

	pthread_mutex_lock(&input->lock);
	result = find_sink(input, INPUT_BIT(kind), console);
	pthread_mutex_unlock(&input->lock);
	return result;
}

unsigned input_leds(struct input *input)
{
	unsigned leds;

	pthread_mutex_lock(&input->lock);
	leds = input->leds;
	pthread_mutex_unlock(&input->lock);
	return leds;
}

void input_listen(struct input *input, struct input_listener *listener)
{
	pthread_mutex_lock(&input->listeners_lock);
	listener->next = input->listeners;
	input->listeners = listener;
	pthread_mutex_unlock(&input->listeners_lock);
}

void input_unlisten(struct input *input, struct input_listener *listener)
{
	pthread_mutex_lock(&input->listeners_lock);
	for (struct input_listener **at = &input->listeners; *at; at = &(*at)->next) {
		if (*at == listener) {
			*at = listener->next;
			break;
		}
	}
	pthread_mutex_unlock(&input->listeners_lock);
}

/* --- monitor --- */

#define POINTER (INPUT_BIT(INPUT_RELATIVE) | INPUT_BIT(INPUT_ABSOLUTE))

unsigned input_mice(struct input *input, struct input_mouse *mice, unsigned max)
{
	unsigned count = 0;

	pthread_mutex_lock(&input->lock);
	for (const struct input_sink *sink = input->sinks; sink; sink = sink->next) {
		if (!(sink->kinds & POINTER))
			continue;
		if (count < max) {
			mice[count] = (struct input_mouse){
				.index = sink->index,
				.absolute = sink->kinds & INPUT_BIT(INPUT_ABSOLUTE),
				.current = !count,
			};
			snprintf(mice[count].name, sizeof(mice[count].name), "%s", sink->name);
		}
		count++;
	}
	pthread_mutex_unlock(&input->lock);
	return count;
}

int input_mouse_set(struct input *input, unsigned index, const char **name)
{
	struct input_sink *sink;
	unsigned kinds;

	pthread_mutex_lock(&input->lock);
	for (sink = input->sinks; sink && sink->index != index;)
		sink = sink->next;
	kinds = sink ? sink->kinds : 0;
	*name = sink ? sink->name : NULL;
	pthread_mutex_unlock(&input->lock);
	if (!sink)
		return -ENOENT;
	if (!(kinds & POINTER))
		return -EINVAL;
	input_sink_activate(input, sink);
	return 0;
}
