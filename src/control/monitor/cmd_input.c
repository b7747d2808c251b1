/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys and pointers sent to the guest, and which pointer takes them. */
#include "backend/display/display.h"
#include "backend/display/input.h"
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHORD_MAX = 16, MICE_MAX = 32, EVENTS_MAX = 256 };

/* --- keys --- */

/* Presses them one after the other and releases them the other way round, hold_ms between any two; 0: the usual. */
static void press_chord(struct command_call *call, const enum input_key *keys, unsigned count, int64_t hold_ms)
{
	unsigned hold = hold_ms > 0 ? (unsigned)min_u64((uint64_t)hold_ms, 60000) : 0;

	for (unsigned i = 0; i < count; i++)
		input_key_delayed(call->machine->input, NULL, keys[i], true, hold);
	for (unsigned i = count; i--;)
		input_key_delayed(call->machine->input, NULL, keys[i], false, hold);
}

/* "ctrl", "0x1d", or "<" alone for "less". */
static bool key_of_word(const char *word, unsigned length, enum input_key *key)
{
	char *end;

	if (length > 2 && word[0] == '0' && (word[1] == 'x' || word[1] == 'X')) {
		unsigned long number = strtoul(word, &end, 16);

		*key = input_key_of_number(number <= 0xff ? (unsigned)number : 0);
		return end == word + length;
	}
	*key = length == 1 && word[0] == '<' ? INPUT_KEY_LESS : input_key_of_name(word, length);
	return *key < INPUT_KEYS;
}

static json_t *run_sendkey(struct command_call *call, struct error *err)
{
	const char *word = argument_string(call, "keys");
	enum input_key keys[CHORD_MAX];
	unsigned count = 0, length;

	for (;; word += length + 1) {
		length = (unsigned)strcspn(word, "-");
		if (count == CHORD_MAX) {
			text_printf(call->text, "too many keys: at most %u at once\n", CHORD_MAX);
			return json_object();
		}
		if (!key_of_word(word, length, &keys[count++])) {
			text_printf(call->text, "invalid parameter: %.*s\n", (int)length, word);
			return json_object();
		}
		if (!word[length])
			break;
	}
	press_chord(call, keys, count, argument_int(call, "hold_ms", 0));
	return json_object();
}

/* --- arguments that are unions, checked with qemu's texts; path names the object, as in "keys[0]" --- */

static const json_t *member(const json_t *object, const char *path, const char *name, json_type type, struct error *err)
{
	static const char *const type_names[] = {[JSON_OBJECT] = "object",
						 [JSON_STRING] = "string",
						 [JSON_INTEGER] = "integer",
						 [JSON_TRUE] = "boolean"};
	const json_t *value = json_object_get(object, name);

	if (!json_is_object(object))
		error_set(err, EINVAL, "Invalid parameter type for '%s', expected: object", path);
	else if (!value)
		error_set(err, EINVAL, "Parameter '%s.%s' is missing", path, name);
	else if (json_typeof(value) != type && !(type == JSON_TRUE && json_is_false(value)))
		error_set(err, EINVAL, "Invalid parameter type for '%s.%s', expected: %s", path, name,
			  type_names[type]);
	else
		return value;
	return NULL;
}

/* Index of a word of a NULL-ended list, or -1. */
static int member_word(const json_t *object, const char *path, const char *name, const char *const *words,
		       struct error *err)
{
	const char *word = json_string_value(member(object, path, name, JSON_STRING, err));

	if (!word)
		return -1;
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], word))
			return i;
	error_set(err, EINVAL, "Parameter '%s' does not accept value '%.50s'", name, word);
	return -1;
}

/* Nothing in the object but these two. */
static bool only(const json_t *object, const char *path, const char *first, const char *second, struct error *err)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value)
	{
		if (strcmp(name, first) && strcmp(name, second)) {
			error_set(err, EINVAL, "Parameter '%s.%.50s' is unexpected", path, name);
			return false;
		}
	}
	return true;
}

/* {"type": "qcode" or "number", "data": ...} */
static bool parse_key(const json_t *object, const char *path, enum input_key *key, struct error *err)
{
	static const char *const kinds[] = {"number", "qcode", NULL};
	int kind = member_word(object, path, "type", kinds, err);
	const json_t *data;
	int64_t number;

	if (kind < 0)
		return false;
	data = member(object, path, "data", kind ? JSON_STRING : JSON_INTEGER, err);
	if (!data)
		return false;
	if (kind) {
		const char *name = json_string_value(data);

		*key = input_key_of_name(name, (unsigned)strlen(name));
		if (*key == INPUT_KEYS) {
			error_set(err, EINVAL, "Parameter 'data' does not accept value '%.50s'", name);
			return false;
		}
	} else {
		number = json_integer_value(data);
		*key = input_key_of_number(number > 0 && number <= 0xff ? (unsigned)number : 0);
	}
	return only(object, path, "type", "data", err);
}

static json_t *run_send_key(struct command_call *call, struct error *err)
{
	json_t *list = json_object_get(call->arguments, "keys"), *item;
	enum input_key keys[CHORD_MAX];
	char path[32];
	size_t i;

	if (json_array_size(list) > CHORD_MAX) {
		error_set(err, EINVAL, "Parameter 'keys': at most %u at once", CHORD_MAX);
		return NULL;
	}
	json_array_foreach(list, i, item)
	{
		snprintf(path, sizeof(path), "keys[%zu]", i);
		if (!parse_key(item, path, &keys[i], err))
			return NULL;
	}
	press_chord(call, keys, (unsigned)json_array_size(list), argument_int(call, "hold-time", 0));
	return json_object();
}

/* --- events --- */

static bool parse_button(const json_t *data, const char *path, struct input_event *event, struct error *err)
{
	static const char *const names[] = {"left", "middle", "right",      "wheel-up",    "wheel-down",
					    "side", "extra",  "wheel-left", "wheel-right", NULL};
	const json_t *down = member(data, path, "down", JSON_TRUE, err);
	int button = down ? member_word(data, path, "button", names, err) : -1;

	if (button < 0 || !only(data, path, "down", "button", err))
		return false;
	event->code = (uint16_t)button;
	event->value = json_is_true(down);
	return true;
}

static bool parse_axis(const json_t *data, const char *path, struct input_event *event, struct error *err)
{
	static const char *const names[] = {"x", "y", NULL};
	int axis = member_word(data, path, "axis", names, err);
	const json_t *value = axis < 0 ? NULL : member(data, path, "value", JSON_INTEGER, err);
	int64_t low = event->kind == INPUT_ABSOLUTE ? 0 : INT16_MIN, high = INPUT_ABSOLUTE_MAX;
	int64_t wanted = json_integer_value(value);

	if (!value || !only(data, path, "axis", "value", err))
		return false;
	event->code = (uint16_t)axis;
	event->value = (int32_t)(wanted < low ? low : wanted > high ? high : wanted);
	return true;
}

static bool parse_key_event(const json_t *data, const char *path, struct input_event *event, struct error *err)
{
	const json_t *down = member(data, path, "down", JSON_TRUE, err);
	const json_t *object = down ? member(data, path, "key", JSON_OBJECT, err) : NULL;
	enum input_key key;
	char inner[64];

	snprintf(inner, sizeof(inner), "%s.key", path);
	if (!object || !parse_key(object, inner, &key, err) || !only(data, path, "down", "key", err))
		return false;
	event->code = (uint16_t)key;
	event->value = json_is_true(down);
	return true;
}

static const char *const kind_names[] = {
	[INPUT_KEY] = "key", [INPUT_BUTTON] = "btn", [INPUT_RELATIVE] = "rel", [INPUT_ABSOLUTE] = "abs", NULL};

static bool parse_event(const json_t *object, const char *path, struct input_event *event, struct error *err)
{
	int kind = member_word(object, path, "type", kind_names, err);
	const json_t *data = kind < 0 ? NULL : member(object, path, "data", JSON_OBJECT, err);
	char inner[48];

	if (!data || !only(object, path, "type", "data", err))
		return false;
	snprintf(inner, sizeof(inner), "%s.data", path);
	event->kind = (enum input_kind)kind;
	if (event->kind == INPUT_KEY)
		return parse_key_event(data, inner, event, err);
	if (event->kind == INPUT_BUTTON)
		return parse_button(data, inner, event, err);
	return parse_axis(data, inner, event, err);
}

/* device: id of the display device whose screen the events are for. */
static bool find_console(struct command_call *call, const void **console, struct error *err)
{
	const char *device = argument_string(call, "device");

	*console = NULL;
	if (!device)
		return true;
	*console = display_console_find(machine_display(call->machine), device);
	if (!*console)
		error_set(err, ENODEV, "Device '%.100s' not found", device);
	return *console;
}

static json_t *run_input_send_event(struct command_call *call, struct error *err)
{
	json_t *list = json_object_get(call->arguments, "events"), *item;
	struct input_event events[EVENTS_MAX];
	size_t i, count = json_array_size(list);
	const void *console;
	char path[32];

	if (count > EVENTS_MAX) {
		error_set(err, EINVAL, "Parameter 'events': at most %u at once", EVENTS_MAX);
		return NULL;
	}
	json_array_foreach(list, i, item)
	{
		snprintf(path, sizeof(path), "events[%zu]", i);
		if (!parse_event(item, path, &events[i], err))
			return NULL;
	}
	if (!find_console(call, &console, err))
		return NULL;
	if (call->machine->state != RUN_RUNNING) {
		error_set(err, EINVAL, "VM not running");
		return NULL;
	}
	for (i = 0; i < count; i++) {
		if (!input_takes(call->machine->input, console, events[i].kind)) {
			error_set(err, EINVAL, "Input handler not found for event type %s", kind_names[events[i].kind]);
			return NULL;
		}
	}
	input_send(call->machine->input, console, events, (unsigned)count);
	return json_object();
}

/* --- pointers --- */

static json_t *run_mouse_move(struct command_call *call, struct error *err)
{
	const char *wheel = argument_string(call, "dz");
	long notch = wheel ? strtol(wheel, NULL, 0) : 0;

	input_move(call->machine->input, NULL, (int)strtol(argument_string(call, "dx"), NULL, 0),
		   (int)strtol(argument_string(call, "dy"), NULL, 0));
	if (notch) {
		enum input_button button = notch > 0 ? INPUT_WHEEL_UP : INPUT_WHEEL_DOWN;

		input_button(call->machine->input, NULL, button, true);
		input_button(call->machine->input, NULL, button, false);
	}
	return json_object();
}

static json_t *run_mouse_button(struct command_call *call, struct error *err)
{
	int64_t state = argument_int(call, "state", 0);
	const struct input_event events[] = {{INPUT_BUTTON, INPUT_LEFT, state & 1},
					     {INPUT_BUTTON, INPUT_RIGHT, state >> 1 & 1},
					     {INPUT_BUTTON, INPUT_MIDDLE, state >> 2 & 1}};

	input_send(call->machine->input, NULL, events, ARRAY_SIZE(events));
	return json_object();
}

static json_t *run_mouse_set(struct command_call *call, struct error *err)
{
	int64_t index = argument_int(call, "index", 0);
	const char *name = NULL;

	switch (index < 0 || index > INT32_MAX ? -ENOENT
					       : input_mouse_set(call->machine->input, (unsigned)index, &name)) {
	case -ENOENT:
		text_printf(call->text, "Mouse at index '%lld' not found\n", (long long)index);
		break;
	case -EINVAL:
		text_printf(call->text, "Input device '%s' is not a mouse\n", name);
		break;
	}
	return json_object();
}

static json_t *run_mice(struct command_call *call, struct error *err)
{
	struct input_mouse mice[MICE_MAX];
	unsigned count = (unsigned)min_u64(input_mice(call->machine->input, mice, MICE_MAX), MICE_MAX);
	json_t *list = json_array();

	/* The current one last, as qemu has it. */
	for (unsigned i = count; i--;)
		json_array_append_new(list, json_pack("{s:s,s:i,s:b,s:b}", "name", mice[i].name, "index", mice[i].index,
						      "current", mice[i].current, "absolute", mice[i].absolute));
	return list;
}

static void show_mice(struct command_call *call, const json_t *result)
{
	json_t *row;
	size_t index;

	if (!json_array_size(result))
		text_printf(call->text, "No mouse devices connected\n");
	json_array_foreach(result, index, row)
	{
		text_printf(call->text, "%c Mouse #%d: %s%s\n",
			    json_is_true(json_object_get(row, "current")) ? '*' : ' ',
			    (int)json_integer_value(json_object_get(row, "index")),
			    json_string_value(json_object_get(row, "name")),
			    json_is_true(json_object_get(row, "absolute")) ? " (absolute)" : "");
	}
}

#define ARGUMENTS(...) ((const struct command_argument[]){__VA_ARGS__, {0}})

const struct command commands_input[] = {
	{NULL, "sendkey", "keys [hold_ms]",
	 "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)",
	 ARGUMENTS({"keys", ARGUMENT_STRING}, {"hold_ms", ARGUMENT_INT32, true}), run_sendkey},
	{"send-key", NULL, "", "press keys one after the other, and release them",
	 ARGUMENTS({"keys", ARGUMENT_LIST}, {"hold-time", ARGUMENT_INT, true}), run_send_key},
	{"input-send-event", NULL, "", "send keys, buttons and movements to the guest as one batch",
	 ARGUMENTS({"device", ARGUMENT_STRING, true}, {"head", ARGUMENT_INT, true}, {"events", ARGUMENT_LIST}),
	 run_input_send_event},
	{NULL, "mouse_move", "dx dy [dz]", "send mouse move events",
	 ARGUMENTS({"dx", ARGUMENT_STRING}, {"dy", ARGUMENT_STRING}, {"dz", ARGUMENT_STRING, true}), run_mouse_move},
	{NULL, "mouse_button", "state", "change mouse button state (1=L, 2=R, 4=M)", ARGUMENTS({"state", ARGUMENT_INT32}),
	 run_mouse_button},
	{NULL, "mouse_set", "index", "set which mouse device receives events", ARGUMENTS({"index", ARGUMENT_INT32}),
	 run_mouse_set},
	{"query-mice", "info mice", "", "show which guest mouse is receiving events", NULL, run_mice, show_mice},
	{0},
};
