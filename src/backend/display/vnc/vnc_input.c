/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a client types, points at and pastes, as events of the guest's keyboard and pointer. */
#include "backend/display/vnc/vnc.h"

#include "base/util.h"

#include <rfb/keysym.h>
#include <stdlib.h>

enum { TYPING_NS = 15 * 1000 * 1000 };

static struct input *router(const struct vnc *vnc)
{
	return vnc->ui.host->input;
}

static const void *console(const struct vnc *vnc)
{
	return display_console_at(vnc->ui.host->display, 0);
}

/* --- keys --- */

static void press(struct vnc *vnc, enum input_key key, bool down)
{
	if (router(vnc))
		input_key(router(vnc), NULL, key, down);
}

static void press_level(struct vnc *vnc, unsigned level, bool down)
{
	if (level & VNC_LEVEL_SHIFT)
		press(vnc, INPUT_KEY_SHIFT, down);
	if (level & VNC_LEVEL_ALTGR)
		press(vnc, INPUT_KEY_ALT_R, down);
}

/* Shift and AltGr that a letter needs: Caps Lock in the guest turns Shift around. */
static unsigned needed(const struct vnc *vnc, uint32_t keysym, unsigned level)
{
	bool letter = (keysym >= 'a' && keysym <= 'z') || (keysym >= 'A' && keysym <= 'Z') ||
		      (keysym >= 0xc0 && keysym <= 0xfe);

	return letter && atomic_load(&vnc->leds) & INPUT_LED_CAPS ? level ^ VNC_LEVEL_SHIFT : level;
}

static struct vnc_held *find_held(struct vnc_client *client, uint32_t keysym, enum input_key key)
{
	for (unsigned i = 0; i < client->held_count; i++)
		if (keysym ? client->held[i].keysym == keysym : client->held[i].key == key && !client->held[i].keysym)
			return &client->held[i];
	return NULL;
}

/* Pressed by whatever keysym. */
static struct vnc_held *find_held_key(struct vnc_client *client, enum input_key key)
{
	for (unsigned i = 0; i < client->held_count; i++)
		if (client->held[i].keysym && client->held[i].key == key && key != INPUT_KEY_UNMAPPED)
			return &client->held[i];
	return NULL;
}

static bool holds(const struct vnc_client *client, enum input_key one, enum input_key other)
{
	for (unsigned i = 0; i < client->held_count; i++)
		if (client->held[i].key == one || client->held[i].key == other)
			return true;
	return false;
}

static void hold(struct vnc_client *client, struct vnc_held held)
{
	if (client->held_count == VNC_HELD_MAX)
		return;
	press_level(client->vnc, held.with, true);
	client->held[client->held_count++] = held;
	press(client->vnc, held.key, true);
}

static void let_go(struct vnc_client *client, struct vnc_held *held)
{
	press(client->vnc, held->key, false);
	press_level(client->vnc, held->with, false);
	*held = client->held[--client->held_count];
}

void vnc_release_all(struct vnc_client *client)
{
	while (client->held_count)
		let_go(client, &client->held[client->held_count - 1]);
	if (client->buttons)
		vnc_pointer(client, 0, client->x, client->y);
}

/* The keypad's digits and its cursor keys are the same keys: Num Lock in the guest must be as on the client's side. */
static void sync_num_lock(struct vnc *vnc, uint32_t keysym)
{
	bool digit = (keysym >= XK_KP_0 && keysym <= XK_KP_9) || keysym == XK_KP_Decimal;
	bool cursor = keysym >= XK_KP_Home && keysym <= XK_KP_Delete;
	bool on = atomic_load(&vnc->leds) & INPUT_LED_NUM;

	if (vnc->lock_key_sync && ((digit && !on) || (cursor && on))) {
		press(vnc, INPUT_KEY_NUM_LOCK, true);
		press(vnc, INPUT_KEY_NUM_LOCK, false);
	}
}

/* --- consoles --- */

/* Ctrl-Alt-1 and so on show another console, and are nobody's keys then. */
static bool chooses_console(struct vnc_client *client, enum input_key key)
{
	if (client->vnc->display || key < INPUT_KEY_1 || key > INPUT_KEY_9 ||
	    !holds(client, INPUT_KEY_CTRL, INPUT_KEY_CTRL_R) || !holds(client, INPUT_KEY_ALT, INPUT_KEY_ALT_R))
		return false;
	vnc_release_all(client);
	atomic_store(&client->vnc->wanted, 1 + key - INPUT_KEY_1);
	vnc_attention(client->vnc);
	return true;
}

static uint32_t character_of(uint32_t keysym)
{
	if ((keysym >= 0x20 && keysym < 0x7f) || (keysym >= 0xa0 && keysym <= 0xff))
		return keysym;
	return keysym >> 24 == 1 ? keysym & 0xffffff : 0; /* X's way to write Unicode */
}

/* A key goes to the text console that is shown; false: it is the guest's. Ctrl, Shift and Alt are held in both cases,
 * so that one sees them here. */
static bool type_at_console(struct vnc_client *client, uint32_t keysym, enum input_key key, bool down)
{
	struct vnc *vnc = client->vnc;
	struct display_typed typed = {.character = character_of(keysym), .key = key};

	if (!atomic_load(&vnc->types) || key == INPUT_KEY_CTRL || key == INPUT_KEY_CTRL_R || key == INPUT_KEY_ALT ||
	    key == INPUT_KEY_ALT_R || key == INPUT_KEY_SHIFT || key == INPUT_KEY_SHIFT_R)
		return false;
	typed.ctrl = holds(client, INPUT_KEY_CTRL, INPUT_KEY_CTRL_R);
	if (!down || (!typed.character && key == INPUT_KEY_UNMAPPED))
		return true;
	pthread_mutex_lock(&vnc->lock);
	if (vnc->typed_count < VNC_TYPED_MAX)
		vnc->typed[vnc->typed_count++] = typed;
	pthread_mutex_unlock(&vnc->lock);
	vnc_attention(vnc);
	return true;
}

void vnc_key(struct vnc_client *client, uint32_t keysym, bool down)
{
	struct vnc *vnc = client->vnc;
	struct vnc_held *held = find_held(client, keysym, INPUT_KEY_UNMAPPED);
	unsigned have = (holds(client, INPUT_KEY_SHIFT, INPUT_KEY_SHIFT_R) ? VNC_LEVEL_SHIFT : 0) |
			(holds(client, INPUT_KEY_ALT_R, INPUT_KEY_ALT_R) ? VNC_LEVEL_ALTGR : 0);
	bool shortcut = holds(client, INPUT_KEY_CTRL, INPUT_KEY_CTRL_R) || holds(client, INPUT_KEY_ALT, INPUT_KEY_ALT);
	unsigned level = have;
	enum input_key key;

	if (!keysym)
		return;
	key = vnc_keymap_find(vnc->keymap, keysym, &level);
	/* Shift may have been let go before: then the same key has another keysym. */
	if (!down && !held)
		held = find_held_key(client, key);
	if (!down && held) {
		let_go(client, held);
		return;
	}
	if ((down && chooses_console(client, key)) || type_at_console(client, keysym, key, down) || !down)
		return;
	if (held) {
		press(vnc, held->key, true);
		return;
	}
	if (key == INPUT_KEY_UNMAPPED)
		return;
	sync_num_lock(vnc, keysym);
	/* Programs that type send characters without the Shift that makes them. */
	hold(client, (struct vnc_held){keysym, key, (uint8_t)(shortcut ? 0 : needed(vnc, keysym, level) & ~have)});
}

void vnc_key_number(struct vnc_client *client, uint32_t keysym, uint32_t number, bool down)
{
	enum input_key key = number <= 0xff ? input_key_of_number(number) : INPUT_KEY_UNMAPPED;
	struct vnc_held *held;

	if (key == INPUT_KEY_UNMAPPED) {
		vnc_key(client, keysym, down);
		return;
	}
	if (key == INPUT_KEY_SYSRQ)
		key = INPUT_KEY_PRINT;
	held = find_held(client, 0, key);
	if ((down && chooses_console(client, key)) || (!held && type_at_console(client, keysym, key, down)))
		return;
	if (down && !held)
		hold(client, (struct vnc_held){0, key, 0});
	else if (down)
		press(client->vnc, key, true);
	else if (held)
		let_go(client, held);
}

/* --- pointer --- */

static int32_t scale(int at, int size)
{
	if (at < 0)
		at = 0;
	if (at >= size)
		at = size - 1;
	return size > 1 ? (int32_t)((int64_t)at * INPUT_ABSOLUTE_MAX / (size - 1)) : 0;
}

void vnc_pointer(struct vnc_client *client, int buttons, int x, int y)
{
	static const uint8_t bits[] = {INPUT_LEFT,       INPUT_MIDDLE,     INPUT_RIGHT,       INPUT_WHEEL_UP,
				       INPUT_WHEEL_DOWN, INPUT_WHEEL_LEFT, INPUT_WHEEL_RIGHT, INPUT_SIDE};
	struct input_event events[2 + ARRAY_SIZE(bits)];
	const rfbScreenInfo *screen = client->screen;
	unsigned count = 0;

	if (!router(client->vnc) || (atomic_load(&client->vnc->types) && !client->buttons))
		return;
	if (atomic_load(&client->vnc->absolute)) {
		events[count++] = (struct input_event){INPUT_ABSOLUTE, INPUT_X, scale(x, screen->width)};
		events[count++] = (struct input_event){INPUT_ABSOLUTE, INPUT_Y, scale(y, screen->height)};
	} else if (client->wants_pointer_type) { /* steps, around the middle of the range */
		events[count++] = (struct input_event){INPUT_RELATIVE, INPUT_X, x - 0x7fff};
		events[count++] = (struct input_event){INPUT_RELATIVE, INPUT_Y, y - 0x7fff};
	} else {
		if (client->x >= 0) {
			events[count++] = (struct input_event){INPUT_RELATIVE, INPUT_X, x - client->x};
			events[count++] = (struct input_event){INPUT_RELATIVE, INPUT_Y, y - client->y};
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		if ((buttons ^ client->buttons) >> i & 1)
			events[count++] = (struct input_event){INPUT_BUTTON, bits[i], buttons >> i & 1};
	client->x = x;
	client->y = y;
	client->buttons = buttons;
	input_send(router(client->vnc), console(client->vnc), events, count);
}

/* --- text --- */

/* Latin-1 and UTF-8 alike become UTF-8. */
void vnc_cut_text(struct vnc_client *client, const char *text, size_t length, bool utf8)
{
	struct vnc *vnc = client->vnc;
	size_t at = 0;
	char *copy;

	if (!vnc->clipboard)
		return;
	if (length > VNC_TEXT_MAX)
		length = VNC_TEXT_MAX;
	copy = xcalloc(1, 2 * length + 1);
	for (size_t i = 0; i < length && text[i]; i++) {
		uint8_t byte = (uint8_t)text[i];

		if (utf8 || byte < 0x80) {
			copy[at++] = text[i];
		} else {
			copy[at++] = (char)(0xc0 | byte >> 6);
			copy[at++] = (char)(0x80 | (byte & 0x3f));
		}
	}
	pthread_mutex_lock(&vnc->lock);
	free(vnc->text);
	vnc->text = copy;
	vnc->text_at = 0;
	pthread_mutex_unlock(&vnc->lock);
	vnc_attention(vnc);
}

/* The next character of UTF-8; malformed bytes stand for nothing. 0: the end. */
static uint32_t next_character(const char *text, size_t *at)
{
	uint8_t first = (uint8_t)text[*at];
	unsigned more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
	uint32_t character = more ? first & (0x3f >> more) : first;

	if (!first)
		return 0;
	(*at)++;
	for (; more && ((uint8_t)text[*at] & 0xc0) == 0x80; more--)
		character = character << 6 | ((uint8_t)text[(*at)++] & 0x3f);
	return more || (first >= 0x80 && first < 0xc0) ? 0xfffd : character;
}

static void type(struct vnc *vnc, uint32_t character)
{
	unsigned level = 0;
	uint32_t keysym = vnc_keysym_of_character(character);
	enum input_key key = vnc_keymap_find(vnc->keymap, keysym, &level);

	if (key == INPUT_KEY_UNMAPPED)
		return;
	level = needed(vnc, keysym, level);
	press_level(vnc, level, true);
	press(vnc, key, true);
	press(vnc, key, false);
	press_level(vnc, level, false);
}

void vnc_type_next(void *opaque)
{
	struct vnc *vnc = opaque;
	uint32_t character = 0;

	pthread_mutex_lock(&vnc->lock);
	if (vnc->text) {
		character = next_character(vnc->text, &vnc->text_at);
		if (!character) {
			free(vnc->text);
			vnc->text = NULL;
		}
	}
	pthread_mutex_unlock(&vnc->lock);
	if (!character)
		return;
	if (character != '\r')
		type(vnc, character);
	loop_timer_set(&vnc->typing, host_now_ns() + TYPING_NS);
}
