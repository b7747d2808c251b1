/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From what a terminal sends to keys of a PC keyboard with the US layout. */
#ifndef XUNI_BACKEND_DISPLAY_CURSES_CURSES_KEYS_H
#define XUNI_BACKEND_DISPLAY_CURSES_CURSES_KEYS_H

#include "backend/display/keys.h"

#include <wchar.h>

struct curses_key {
	enum input_key key; /* INPUT_KEY_UNMAPPED: such a key there is not */
	bool shift, ctrl, alt;
};

/* What get_wch gave: a character, or (function) a KEY_ code. */
struct curses_key curses_key_of(wint_t code, bool function);

/* An xterm control sequence that terminfo does not describe for this terminal, without "ESC [": "1;5C", "15;2~". */
struct curses_key curses_key_of_sequence(const char *sequence);

#endif
