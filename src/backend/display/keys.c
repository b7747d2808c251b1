/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backend/display/keys.h"

#include <string.h>

/* clang-format off */
const struct input_key_row input_key_rows[INPUT_KEYS] = {
	[INPUT_KEY_UNMAPPED] = {"unmapped", 0x00, 0}, [INPUT_KEY_ESC] = {"esc", 0x01, 1}, [INPUT_KEY_1] = {"1", 0x02, 2},
	[INPUT_KEY_2] = {"2", 0x03, 3}, [INPUT_KEY_3] = {"3", 0x04, 4}, [INPUT_KEY_4] = {"4", 0x05, 5},
	[INPUT_KEY_5] = {"5", 0x06, 6}, [INPUT_KEY_6] = {"6", 0x07, 7}, [INPUT_KEY_7] = {"7", 0x08, 8},
	[INPUT_KEY_8] = {"8", 0x09, 9}, [INPUT_KEY_9] = {"9", 0x0a, 10}, [INPUT_KEY_0] = {"0", 0x0b, 11},
	[INPUT_KEY_MINUS] = {"minus", 0x0c, 12}, [INPUT_KEY_EQUAL] = {"equal", 0x0d, 13},
	[INPUT_KEY_BACKSPACE] = {"backspace", 0x0e, 14}, [INPUT_KEY_TAB] = {"tab", 0x0f, 15}, [INPUT_KEY_Q] = {"q", 0x10, 16},
	[INPUT_KEY_W] = {"w", 0x11, 17}, [INPUT_KEY_E] = {"e", 0x12, 18}, [INPUT_KEY_R] = {"r", 0x13, 19},
	[INPUT_KEY_T] = {"t", 0x14, 20}, [INPUT_KEY_Y] = {"y", 0x15, 21}, [INPUT_KEY_U] = {"u", 0x16, 22},
	[INPUT_KEY_I] = {"i", 0x17, 23}, [INPUT_KEY_O] = {"o", 0x18, 24}, [INPUT_KEY_P] = {"p", 0x19, 25},
	[INPUT_KEY_BRACKET_LEFT] = {"bracket_left", 0x1a, 26}, [INPUT_KEY_BRACKET_RIGHT] = {"bracket_right", 0x1b, 27},
	[INPUT_KEY_RET] = {"ret", 0x1c, 28}, [INPUT_KEY_CTRL] = {"ctrl", 0x1d, 29}, [INPUT_KEY_A] = {"a", 0x1e, 30},
	[INPUT_KEY_S] = {"s", 0x1f, 31}, [INPUT_KEY_D] = {"d", 0x20, 32}, [INPUT_KEY_F] = {"f", 0x21, 33},
	[INPUT_KEY_G] = {"g", 0x22, 34}, [INPUT_KEY_H] = {"h", 0x23, 35}, [INPUT_KEY_J] = {"j", 0x24, 36},
	[INPUT_KEY_K] = {"k", 0x25, 37}, [INPUT_KEY_L] = {"l", 0x26, 38}, [INPUT_KEY_SEMICOLON] = {"semicolon", 0x27, 39},
	[INPUT_KEY_APOSTROPHE] = {"apostrophe", 0x28, 40}, [INPUT_KEY_GRAVE_ACCENT] = {"grave_accent", 0x29, 41},
	[INPUT_KEY_SHIFT] = {"shift", 0x2a, 42}, [INPUT_KEY_BACKSLASH] = {"backslash", 0x2b, 43},
	[INPUT_KEY_Z] = {"z", 0x2c, 44}, [INPUT_KEY_X] = {"x", 0x2d, 45}, [INPUT_KEY_C] = {"c", 0x2e, 46},
	[INPUT_KEY_V] = {"v", 0x2f, 47}, [INPUT_KEY_B] = {"b", 0x30, 48}, [INPUT_KEY_N] = {"n", 0x31, 49},
	[INPUT_KEY_M] = {"m", 0x32, 50}, [INPUT_KEY_COMMA] = {"comma", 0x33, 51}, [INPUT_KEY_DOT] = {"dot", 0x34, 52},
	[INPUT_KEY_SLASH] = {"slash", 0x35, 53}, [INPUT_KEY_SHIFT_R] = {"shift_r", 0x36, 54},
	[INPUT_KEY_KP_MULTIPLY] = {"kp_multiply", 0x37, 55}, [INPUT_KEY_ALT] = {"alt", 0x38, 56},
	[INPUT_KEY_SPC] = {"spc", 0x39, 57}, [INPUT_KEY_CAPS_LOCK] = {"caps_lock", 0x3a, 58},
	[INPUT_KEY_F1] = {"f1", 0x3b, 59}, [INPUT_KEY_F2] = {"f2", 0x3c, 60}, [INPUT_KEY_F3] = {"f3", 0x3d, 61},
	[INPUT_KEY_F4] = {"f4", 0x3e, 62}, [INPUT_KEY_F5] = {"f5", 0x3f, 63}, [INPUT_KEY_F6] = {"f6", 0x40, 64},
	[INPUT_KEY_F7] = {"f7", 0x41, 65}, [INPUT_KEY_F8] = {"f8", 0x42, 66}, [INPUT_KEY_F9] = {"f9", 0x43, 67},
	[INPUT_KEY_F10] = {"f10", 0x44, 68}, [INPUT_KEY_NUM_LOCK] = {"num_lock", 0x45, 69},
	[INPUT_KEY_SCROLL_LOCK] = {"scroll_lock", 0x46, 70}, [INPUT_KEY_KP_7] = {"kp_7", 0x47, 71},
	[INPUT_KEY_KP_8] = {"kp_8", 0x48, 72}, [INPUT_KEY_KP_9] = {"kp_9", 0x49, 73},
	[INPUT_KEY_KP_SUBTRACT] = {"kp_subtract", 0x4a, 74}, [INPUT_KEY_KP_4] = {"kp_4", 0x4b, 75},
	[INPUT_KEY_KP_5] = {"kp_5", 0x4c, 76}, [INPUT_KEY_KP_6] = {"kp_6", 0x4d, 77},
	[INPUT_KEY_KP_ADD] = {"kp_add", 0x4e, 78}, [INPUT_KEY_KP_1] = {"kp_1", 0x4f, 79},
	[INPUT_KEY_KP_2] = {"kp_2", 0x50, 80}, [INPUT_KEY_KP_3] = {"kp_3", 0x51, 81}, [INPUT_KEY_KP_0] = {"kp_0", 0x52, 82},
	[INPUT_KEY_KP_DECIMAL] = {"kp_decimal", 0x53, 83}, [INPUT_KEY_SYSRQ] = {"sysrq", 0x54, 99},
	[INPUT_KEY_LESS] = {"less", 0x56, 86}, [INPUT_KEY_F11] = {"f11", 0x57, 87}, [INPUT_KEY_F12] = {"f12", 0x58, 88},
	[INPUT_KEY_KP_EQUALS] = {"kp_equals", 0x59, 117}, [INPUT_KEY_F13] = {"f13", 0x5d, 183},
	[INPUT_KEY_F14] = {"f14", 0x5e, 184}, [INPUT_KEY_F15] = {"f15", 0x5f, 185},
	[INPUT_KEY_HIRAGANA] = {"hiragana", 0x77, 91}, [INPUT_KEY_LANG1] = {"lang1", 0x72, 122},
	[INPUT_KEY_LANG2] = {"lang2", 0x71, 123}, [INPUT_KEY_F24] = {"f24", 0x76, 194}, [INPUT_KEY_RO] = {"ro", 0x73, 89},
	[INPUT_KEY_HENKAN] = {"henkan", 0x79, 92}, [INPUT_KEY_MUHENKAN] = {"muhenkan", 0x7b, 94},
	[INPUT_KEY_KATAKANAHIRAGANA] = {"katakanahiragana", 0x70, 93}, [INPUT_KEY_YEN] = {"yen", 0x7d, 124},
	[INPUT_KEY_KP_COMMA] = {"kp_comma", 0x7e, 121}, [INPUT_KEY_KP_ENTER] = {"kp_enter", 0x9c, 96},
	[INPUT_KEY_CTRL_R] = {"ctrl_r", 0x9d, 97}, [INPUT_KEY_KP_DIVIDE] = {"kp_divide", 0xb5, 98},
	[INPUT_KEY_PRINT] = {"print", 0xb7, 99}, [INPUT_KEY_ALT_R] = {"alt_r", 0xb8, 100},
	[INPUT_KEY_PAUSE] = {"pause", 0xc6, 119}, [INPUT_KEY_HOME] = {"home", 0xc7, 102}, [INPUT_KEY_UP] = {"up", 0xc8, 103},
	[INPUT_KEY_PGUP] = {"pgup", 0xc9, 104}, [INPUT_KEY_LEFT] = {"left", 0xcb, 105},
	[INPUT_KEY_RIGHT] = {"right", 0xcd, 106}, [INPUT_KEY_END] = {"end", 0xcf, 107},
	[INPUT_KEY_DOWN] = {"down", 0xd0, 108}, [INPUT_KEY_PGDN] = {"pgdn", 0xd1, 109},
	[INPUT_KEY_INSERT] = {"insert", 0xd2, 110}, [INPUT_KEY_DELETE] = {"delete", 0xd3, 111},
	[INPUT_KEY_META_L] = {"meta_l", 0xdb, 125}, [INPUT_KEY_META_R] = {"meta_r", 0xdc, 126},
	[INPUT_KEY_COMPOSE] = {"compose", 0xdd, 127}, [INPUT_KEY_MENU] = {"menu", 0x9e, 139},
	[INPUT_KEY_POWER] = {"power", 0xde, 116}, [INPUT_KEY_SLEEP] = {"sleep", 0xdf, 142},
	[INPUT_KEY_WAKE] = {"wake", 0xe3, 143}, [INPUT_KEY_AUDIONEXT] = {"audionext", 0x99, 163},
	[INPUT_KEY_AUDIOPREV] = {"audioprev", 0x90, 165}, [INPUT_KEY_AUDIOSTOP] = {"audiostop", 0xa4, 166},
	[INPUT_KEY_AUDIOPLAY] = {"audioplay", 0xa2, 164}, [INPUT_KEY_AUDIOMUTE] = {"audiomute", 0xa0, 113},
	[INPUT_KEY_VOLUMEUP] = {"volumeup", 0xb0, 115}, [INPUT_KEY_VOLUMEDOWN] = {"volumedown", 0xae, 114},
	[INPUT_KEY_MEDIASELECT] = {"mediaselect", 0xed, 226}, [INPUT_KEY_MAIL] = {"mail", 0xec, 155},
	[INPUT_KEY_CALCULATOR] = {"calculator", 0xa1, 140}, [INPUT_KEY_COMPUTER] = {"computer", 0xeb, 157},
	[INPUT_KEY_AC_HOME] = {"ac_home", 0xb2, 172}, [INPUT_KEY_AC_BACK] = {"ac_back", 0xea, 158},
	[INPUT_KEY_AC_FORWARD] = {"ac_forward", 0xe9, 159}, [INPUT_KEY_AC_REFRESH] = {"ac_refresh", 0xe7, 173},
	[INPUT_KEY_AC_BOOKMARKS] = {"ac_bookmarks", 0xe6, 156}, [INPUT_KEY_STOP] = {"stop", 0xe8, 128},
	[INPUT_KEY_AGAIN] = {"again", 0x85, 129}, [INPUT_KEY_PROPS] = {"props", 0x86, 130},
	[INPUT_KEY_UNDO] = {"undo", 0x87, 131}, [INPUT_KEY_FRONT] = {"front", 0x8c, 132},
	[INPUT_KEY_COPY] = {"copy", 0xf8, 133}, [INPUT_KEY_OPEN] = {"open", 0x64, 134},
	[INPUT_KEY_PASTE] = {"paste", 0x65, 135}, [INPUT_KEY_FIND] = {"find", 0xc1, 136},
	[INPUT_KEY_CUT] = {"cut", 0xbc, 137}, [INPUT_KEY_LF] = {"lf", 0x5b, 101}, [INPUT_KEY_HELP] = {"help", 0xf5, 138},
	[INPUT_KEY_ASTERISK] = {"asterisk", 0x37, 55},
};
/* clang-format on */

enum input_key input_key_of_name(const char *name, unsigned length)
{
	for (unsigned key = 0; key < INPUT_KEYS; key++)
		if (strlen(input_key_rows[key].name) == length && !memcmp(input_key_rows[key].name, name, length))
			return key;
	return INPUT_KEYS;
}

enum input_key input_key_of_number(unsigned number)
{
	for (unsigned key = 1; key < INPUT_KEYS; key++)
		if (input_key_rows[key].number == number)
			return key;
	return INPUT_KEY_UNMAPPED;
}
