/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Terminals send characters, not keys: each is turned back into the keys that make it on a US keyboard. */
#include "backend/display/curses/curses_keys.h"

#include "base/util.h"

#include <curses.h>
#include <stdlib.h>

#define KEY(name) INPUT_KEY_##name

static const struct {
	char plain, shifted;
	enum input_key key;
} printable[] = {
	{' ', ' ', KEY(SPC)},
	{'1', '!', KEY(1)},
	{'2', '@', KEY(2)},
	{'3', '#', KEY(3)},
	{'4', '$', KEY(4)},
	{'5', '%', KEY(5)},
	{'6', '^', KEY(6)},
	{'7', '&', KEY(7)},
	{'8', '*', KEY(8)},
	{'9', '(', KEY(9)},
	{'0', ')', KEY(0)},
	{'-', '_', KEY(MINUS)},
	{'=', '+', KEY(EQUAL)},
	{'[', '{', KEY(BRACKET_LEFT)},
	{']', '}', KEY(BRACKET_RIGHT)},
	{';', ':', KEY(SEMICOLON)},
	{'\'', '"', KEY(APOSTROPHE)},
	{'`', '~', KEY(GRAVE_ACCENT)},
	{'\\', '|', KEY(BACKSLASH)},
	{',', '<', KEY(COMMA)},
	{'.', '>', KEY(DOT)},
	{'/', '?', KEY(SLASH)},
};

static enum input_key letter(char lower)
{
	return input_key_of_name(&lower, 1);
}

static struct curses_key of_character(wint_t code)
{
	struct curses_key none = {KEY(UNMAPPED)};

	switch (code) {
	case 0:
		return (struct curses_key){.key = KEY(2), .ctrl = true};
	case '\t':
		return (struct curses_key){.key = KEY(TAB)};
	case '\r':
		return (struct curses_key){.key = KEY(RET)};
	case 27:
		return (struct curses_key){.key = KEY(ESC)};
	case 28:
		return (struct curses_key){.key = KEY(BACKSLASH), .ctrl = true};
	case 29:
		return (struct curses_key){.key = KEY(BRACKET_RIGHT), .ctrl = true};
	case 30:
		return (struct curses_key){.key = KEY(6), .ctrl = true};
	case 31:
		return (struct curses_key){.key = KEY(MINUS), .ctrl = true};
	case 8:
	case 127:
		return (struct curses_key){.key = KEY(BACKSPACE)};
	default:
		break;
	}
	if (code < 27)
		return (struct curses_key){.key = letter((char)('a' + code - 1)), .ctrl = true};
	if (code >= 'a' && code <= 'z')
		return (struct curses_key){.key = letter((char)code)};
	if (code >= 'A' && code <= 'Z')
		return (struct curses_key){.key = letter((char)(code + 'a' - 'A')), .shift = true};
	for (size_t i = 0; i < ARRAY_SIZE(printable); i++) {
		if (code == (wint_t)printable[i].plain)
			return (struct curses_key){.key = printable[i].key};
		if (code == (wint_t)printable[i].shifted)
			return (struct curses_key){.key = printable[i].key, .shift = true};
	}
	return none;
}

static const struct {
	int code;
	enum input_key key;
	bool shift;
} functions[] = {
	{KEY_UP, KEY(UP)},
	{KEY_DOWN, KEY(DOWN)},
	{KEY_LEFT, KEY(LEFT)},
	{KEY_RIGHT, KEY(RIGHT)},
	{KEY_HOME, KEY(HOME)},
	{KEY_END, KEY(END)},
	{KEY_PPAGE, KEY(PGUP)},
	{KEY_NPAGE, KEY(PGDN)},
	{KEY_IC, KEY(INSERT)},
	{KEY_DC, KEY(DELETE)},
	{KEY_BACKSPACE, KEY(BACKSPACE)},
	{KEY_ENTER, KEY(KP_ENTER)},
	{KEY_BTAB, KEY(TAB), true},
	{KEY_SLEFT, KEY(LEFT), true},
	{KEY_SRIGHT, KEY(RIGHT), true},
	{KEY_SR, KEY(UP), true},
	{KEY_SF, KEY(DOWN), true},
	{KEY_SHOME, KEY(HOME), true},
	{KEY_SEND, KEY(END), true},
	{KEY_SPREVIOUS, KEY(PGUP), true},
	{KEY_SNEXT, KEY(PGDN), true},
	{KEY_SIC, KEY(INSERT), true},
	{KEY_SDC, KEY(DELETE), true},
	{KEY_A1, KEY(KP_7)},
	{KEY_A3, KEY(KP_9)},
	{KEY_B2, KEY(KP_5)},
	{KEY_C1, KEY(KP_1)},
	{KEY_C3, KEY(KP_3)},
	{KEY_PRINT, KEY(PRINT)},
	{KEY_FIND, KEY(FIND)},
	{KEY_HELP, KEY(HELP)},
	{KEY_UNDO, KEY(UNDO)},
	{KEY_COPY, KEY(COPY)},
};

/* What terminfo has no number for: "kUP5" is Ctrl-Up; the number less one has the bits shift, alt, ctrl. */
static struct curses_key of_extended_name(const char *name)
{
	static const struct {
		const char *name;
		enum input_key key;
	} names[] = {{"kUP", KEY(UP)},     {"kDN", KEY(DOWN)},  {"kLFT", KEY(LEFT)}, {"kRIT", KEY(RIGHT)},
		     {"kHOM", KEY(HOME)},  {"kEND", KEY(END)},  {"kPRV", KEY(PGUP)}, {"kNXT", KEY(PGDN)},
		     {"kIC", KEY(INSERT)}, {"kDC", KEY(DELETE)}};

	for (size_t i = 0; name && i < ARRAY_SIZE(names); i++) {
		size_t length = strlen(names[i].name);
		int bits;

		if (strncmp(name, names[i].name, length))
			continue;
		bits = name[length] ? atoi(name + length) - 1 : 0;
		return (struct curses_key){names[i].key, bits & 1, bits & 4, bits & 2};
	}
	return (struct curses_key){KEY(UNMAPPED)};
}

/* Terminals number the function keys with modifiers on: 13 is Shift-F1, 25 Ctrl-F1, 37 Ctrl-Shift-F1, 49 Alt-F1. */
static struct curses_key of_function_key(unsigned number)
{
	unsigned row = (number - 1) / 12, column = (number - 1) % 12;
	enum input_key key =
		column < 10 ? (enum input_key)(KEY(F1) + column) : (enum input_key)(KEY(F11) + column - 10);

	return (struct curses_key){
		.key = key, .shift = row == 1 || row == 3, .ctrl = row == 2 || row == 3, .alt = row == 4};
}

struct curses_key curses_key_of(wint_t code, bool function)
{
	if (!function)
		return of_character(code);
	if (code >= (wint_t)KEY_F(1) && code <= (wint_t)KEY_F(60))
		return of_function_key(code - KEY_F0);
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
		if ((int)code == functions[i].code)
			return (struct curses_key){.key = functions[i].key, .shift = functions[i].shift};
	return of_extended_name(keyname((int)code));
}

static enum input_key key_of_final(char final, unsigned number)
{
	static const enum input_key editing[] = {KEY(UNMAPPED), KEY(HOME), KEY(INSERT), KEY(DELETE), KEY(END),
						 KEY(PGUP),     KEY(PGDN), KEY(HOME),   KEY(END)};

	switch (final) {
	case 'A':
		return KEY(UP);
	case 'B':
		return KEY(DOWN);
	case 'C':
		return KEY(RIGHT);
	case 'D':
		return KEY(LEFT);
	case 'F':
		return KEY(END);
	case 'H':
		return KEY(HOME);
	case 'P':
	case 'Q':
	case 'R':
	case 'S':
		return (enum input_key)(KEY(F1) + final - 'P');
	case '~':
		break;
	default:
		return KEY(UNMAPPED);
	}
	if (number < ARRAY_SIZE(editing))
		return editing[number];
	/* F1 is 11; 16 and 22 are left out. */
	if (number >= 11 && number <= 15)
		return (enum input_key)(KEY(F1) + number - 11);
	if (number >= 17 && number <= 21)
		return (enum input_key)(KEY(F6) + number - 17);
	return number == 23 ? KEY(F11) : number == 24 ? KEY(F12) : KEY(UNMAPPED);
}

struct curses_key curses_key_of_sequence(const char *sequence)
{
	unsigned number = 1, modifiers = 1, bits;
	size_t length = strlen(sequence);
	struct curses_key key = {KEY(UNMAPPED)};

	if (!length)
		return key;
	sscanf(sequence, "%3u;%2u", &number, &modifiers);
	bits = modifiers - 1;
	key.key = key_of_final(sequence[length - 1], number);
	key.shift = bits & 1;
	key.alt = bits & 2;
	key.ctrl = bits & 4;
	return key;
}
