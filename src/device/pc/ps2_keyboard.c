/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 keyboard of 101 and more keys (IBM PS/2 technical reference, keyboard section): scan code sets 1, 2 and 3 with
 * the key types of set 3, Print and Pause with their own sequences, LEDs, typematic repeat. Left out: the shift codes
 * that keyboards put around the grey cursor keys while Num Lock is on, which no driver needs.
 */
#include "base/util.h"
#include "device/pc/ps2.h"
#include "device/pc/ps2_keys.h"

enum { ACK = 0xfa, RESEND = 0xfe, TEST_PASSED = 0xaa };
/* Numbers of keys that are special (backend/display/keys.h). */
enum {
	NUMBER_CTRL = 0x1d,
	NUMBER_SHIFT = 0x2a,
	NUMBER_SHIFT_R = 0x36,
	NUMBER_ALT = 0x38,
	NUMBER_LANG2 = 0x71,
	NUMBER_LANG1 = 0x72,
	NUMBER_CTRL_R = 0x9d,
	NUMBER_PRINT = 0xb7,
	NUMBER_ALT_R = 0xb8,
	NUMBER_PAUSE = 0xc6,
};
enum { PRINT_UP, PRINT_PLAIN, PRINT_SHIFTED, PRINT_ALT };
enum { BREAK_BYTES_MAX = 6 };

/* --- set 3's key types --- */

static void types_all(struct ps2_keyboard *keyboard, uint8_t type)
{
	memset(keyboard->types, type, sizeof(keyboard->types));
}

/* At power-on: most keys repeat, shifting keys tell their release, the rest only their press. */
static void types_default(struct ps2_keyboard *keyboard)
{
	static const uint8_t shifting[] = {0x11, 0x12, 0x14, 0x19, 0x59};
	static const uint8_t press_only[] = {0x07, 0x08, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x39, 0x3f, 0x47,
					     0x4f, 0x56, 0x57, 0x58, 0x5e, 0x5f, 0x62, 0x65, 0x67, 0x69, 0x6b,
					     0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76,
					     0x77, 0x79, 0x7a, 0x7d, 0x7e, 0x84, 0x8b, 0x8c, 0x8d};

	types_all(keyboard, PS2_KEY_REPEAT);
	for (unsigned i = 0; i < ARRAY_SIZE(shifting); i++)
		keyboard->types[shifting[i]] = PS2_KEY_BREAK;
	for (unsigned i = 0; i < ARRAY_SIZE(press_only); i++)
		keyboard->types[press_only[i]] = 0;
}

/* --- commands --- */

static void forget_keys(struct ps2_keyboard *keyboard)
{
	ps2_queue_clear(&keyboard->queue);
	memset(keyboard->held, 0, sizeof(keyboard->held));
	keyboard->repeating = 0;
	keyboard->print_form = PRINT_UP;
}

static void defaults(struct ps2_keyboard *keyboard)
{
	keyboard->set = 2;
	keyboard->rate = 0x2b; /* 500 ms, 10.9 a second */
	keyboard->scanning = true;
	keyboard->command = 0;
	types_default(keyboard);
	forget_keys(keyboard);
}

void ps2_keyboard_reset(struct ps2_keyboard *keyboard)
{
	*keyboard = (struct ps2_keyboard){0};
	defaults(keyboard);
}

/* The byte behind commands 0xed, 0xf0, 0xf3 and the list behind 0xfb..0xfd. */
static void parameter(struct ps2_keyboard *keyboard, uint8_t command, uint8_t value)
{
	static const uint8_t types[] = {PS2_KEY_REPEAT, PS2_KEY_BREAK, 0};

	ps2_answer_add(&keyboard->answer, ACK);
	switch (command) {
	case 0xed:
		keyboard->leds = value & 7;
		break;
	case 0xf0:
		if (value == 0) {
			ps2_answer_add(&keyboard->answer, keyboard->set);
		} else if (value <= 3) {
			keyboard->set = value;
			forget_keys(keyboard);
		}
		break;
	case 0xf3:
		keyboard->rate = value & 0x7f;
		break;
	default: /* another key of the list; only another command ends it */
		keyboard->types[value] = types[command - 0xfb];
		keyboard->command = command;
	}
}

static void command(struct ps2_keyboard *keyboard, uint8_t value)
{
	struct ps2_answer *answer = &keyboard->answer;

	switch (value) {
	case 0xed: /* LEDs */
	case 0xf0: /* scan code set */
	case 0xf3: /* typematic rate and delay */
	case 0xfb: /* set 3, the keys that follow: repeat, release, press only */
	case 0xfc:
	case 0xfd:
		keyboard->command = value;
		ps2_answer_add(answer, ACK);
		break;
	case 0xee: /* echo */
		ps2_answer_add(answer, 0xee);
		break;
	case 0xf2: /* identify */
		ps2_answer_add(answer, ACK);
		ps2_answer_add(answer, 0xab);
		ps2_answer_add(answer, 0x83);
		break;
	case 0xf4: /* enable scanning */
		keyboard->scanning = true;
		forget_keys(keyboard);
		ps2_answer_add(answer, ACK);
		break;
	case 0xf5: /* defaults, disable scanning */
	case 0xf6: /* defaults */
		defaults(keyboard);
		keyboard->scanning = value == 0xf6;
		ps2_answer_add(answer, ACK);
		break;
	case 0xf7: /* set 3, all keys: repeat, release, press only, repeat and release */
	case 0xf8:
	case 0xf9:
	case 0xfa:
		types_all(keyboard, value == 0xf7   ? PS2_KEY_REPEAT
				    : value == 0xf8 ? PS2_KEY_BREAK
				    : value == 0xf9 ? 0
						    : PS2_KEY_REPEAT | PS2_KEY_BREAK);
		ps2_answer_add(answer, ACK);
		break;
	case 0xfe: /* resend */
		ps2_answer_add(answer, keyboard->last);
		break;
	case 0xff: /* reset */
		defaults(keyboard);
		keyboard->leds = 0;
		ps2_answer_add(answer, ACK);
		ps2_answer_add(answer, TEST_PASSED);
		break;
	default:
		ps2_answer_add(answer, RESEND);
	}
}

void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t value)
{
	uint8_t waiting = keyboard->command;
	bool list = waiting >= 0xfb;

	keyboard->command = 0;
	ps2_answer_clear(&keyboard->answer);
	/* A parameter has bit 7 clear (a code of set 3 reaches a little higher); a command in its place wins. */
	if (waiting && value < (list ? PS2_SET3_CODES : 0x80))
		parameter(keyboard, waiting, value);
	else
		command(keyboard, value);
}

/* --- keys --- */

static bool is_held(const struct ps2_keyboard *keyboard, uint8_t number)
{
	return keyboard->held[number / 8] >> number % 8 & 1;
}

static void set_held(struct ps2_keyboard *keyboard, uint8_t number, bool down)
{
	if (down)
		keyboard->held[number / 8] |= (uint8_t)(1u << number % 8);
	else
		keyboard->held[number / 8] &= (uint8_t) ~(1u << number % 8);
}

static unsigned count_held(const struct ps2_keyboard *keyboard)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sizeof(keyboard->held); i++)
		count += (unsigned)__builtin_popcount(keyboard->held[i]);
	return count;
}

/* Sets 1 and 2: the bytes of one code. */
static unsigned encode(const struct ps2_keyboard *keyboard, uint8_t set1, bool extended, bool down, uint8_t *to)
{
	unsigned n = 0;

	if (extended)
		to[n++] = 0xe0;
	if (keyboard->set == 1) {
		to[n++] = set1 | (down ? 0 : 0x80);
	} else {
		if (!down)
			to[n++] = 0xf0;
		to[n++] = ps2_set1_to_set2[set1];
	}
	return n;
}

static bool ctrl_held(const struct ps2_keyboard *keyboard)
{
	return is_held(keyboard, NUMBER_CTRL) || is_held(keyboard, NUMBER_CTRL_R);
}

/* Print comes with a shift of its own, alone behind Ctrl or Shift, and as System Request behind Alt. */
static unsigned encode_print(struct ps2_keyboard *keyboard, bool down, uint8_t *to)
{
	unsigned n = 0;
	uint8_t form = keyboard->print_form;

	if (form == PRINT_UP)
		form = is_held(keyboard, NUMBER_ALT) || is_held(keyboard, NUMBER_ALT_R) ? PRINT_ALT
		       : ctrl_held(keyboard) || is_held(keyboard, NUMBER_SHIFT) || is_held(keyboard, NUMBER_SHIFT_R)
			       ? PRINT_SHIFTED
			       : PRINT_PLAIN;
	keyboard->print_form = down ? form : PRINT_UP;
	if (form == PRINT_ALT)
		return encode(keyboard, 0x54, false, down, to);
	if (form == PRINT_PLAIN && down)
		n = encode(keyboard, 0x2a, true, true, to);
	n += encode(keyboard, 0x37, true, down, to + n);
	if (form == PRINT_PLAIN && !down)
		n += encode(keyboard, 0x2a, true, false, to + n);
	return n;
}

/* Pause tells press and release at once, and says Break behind Ctrl. */
static unsigned encode_pause(const struct ps2_keyboard *keyboard, bool down, uint8_t *to)
{
	static const uint8_t pause[3][8] = {{0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5},
					    {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77}};
	unsigned n;

	if (!down)
		return 0;
	if (ctrl_held(keyboard)) {
		n = encode(keyboard, 0x46, true, true, to);
		return n + encode(keyboard, 0x46, true, false, to + n);
	}
	n = keyboard->set == 1 ? 6 : 8;
	memcpy(to, pause[keyboard->set - 1], n);
	return n;
}

/* At most 8 bytes, BREAK_BYTES_MAX for a release; 0: says nothing. */
static unsigned key_bytes(struct ps2_keyboard *keyboard, uint8_t number, bool down, uint8_t *to)
{
	uint8_t code = ps2_set3[number];
	unsigned n = 0;

	if (keyboard->set == 3) {
		if (!code || (!down && !(keyboard->types[code] & PS2_KEY_BREAK)))
			return 0;
		if (!down)
			to[n++] = 0xf0;
		to[n++] = code;
		return n;
	}
	switch (number) {
	case NUMBER_PRINT:
		return encode_print(keyboard, down, to);
	case NUMBER_PAUSE:
		return encode_pause(keyboard, down, to);
	case NUMBER_LANG1: /* these two only have a press, the same in both sets */
	case NUMBER_LANG2:
		to[0] = number == NUMBER_LANG1 ? 0xf2 : 0xf1;
		return down;
	}
	if (!(number & 0x7f) || !ps2_set1_to_set2[number & 0x7f])
		return 0;
	return encode(keyboard, number & 0x7f, number & 0x80, down, to);
}

/* False: there was no room. */
static bool press(struct ps2_keyboard *keyboard, uint8_t number)
{
	uint8_t bytes[8];
	unsigned n = key_bytes(keyboard, number, true, bytes);
	unsigned releases = count_held(keyboard) + !is_held(keyboard, number);

	if (n && keyboard->queue.count + n + releases * BREAK_BYTES_MAX <= PS2_QUEUE)
		return ps2_queue_put(&keyboard->queue, bytes, n);
	if (number == NUMBER_PRINT && !is_held(keyboard, number))
		keyboard->print_form = PRINT_UP;
	return false;
}

static bool may_repeat(const struct ps2_keyboard *keyboard, uint8_t number)
{
	if (number == NUMBER_PAUSE || number == NUMBER_LANG1 || number == NUMBER_LANG2)
		return false;
	return keyboard->set != 3 || keyboard->types[ps2_set3[number]] & PS2_KEY_REPEAT;
}

void ps2_keyboard_key(struct ps2_keyboard *keyboard, uint8_t number, bool down)
{
	uint8_t bytes[8];
	bool again = is_held(keyboard, number);

	if (!keyboard->scanning || !number)
		return;
	if (down) {
		if (again && !may_repeat(keyboard, number))
			return;
		if (press(keyboard, number)) {
			set_held(keyboard, number, true);
			keyboard->repeating = !again && may_repeat(keyboard, number) ? number : 0;
			keyboard->repeated = false;
		}
	} else if (again) {
		ps2_queue_put(&keyboard->queue, bytes, key_bytes(keyboard, number, false, bytes));
		set_held(keyboard, number, false);
		if (keyboard->repeating == number)
			keyboard->repeating = 0;
	}
}

/* Bits 6-5: delay of 250 to 1000 ms; bits 4-0: (8 + A) * 2^B * 4.17 ms from one to the next. */
int64_t ps2_keyboard_repeat_ns(const struct ps2_keyboard *keyboard)
{
	unsigned rate = keyboard->rate;

	if (!keyboard->repeating)
		return -1;
	if (!keyboard->repeated)
		return ((rate >> 5 & 3) + 1) * 250 * NS_PER_MS;
	return (int64_t)(8 + (rate & 7)) * (1 << (rate >> 3 & 3)) * 4170000;
}

void ps2_keyboard_repeat(struct ps2_keyboard *keyboard)
{
	if (!keyboard->repeating)
		return;
	keyboard->repeated = true;
	/* What the guest has not read yet is repetition enough. */
	if (!keyboard->queue.count)
		press(keyboard, keyboard->repeating);
}

bool ps2_keyboard_get(struct ps2_keyboard *keyboard, uint8_t *value)
{
	if (!ps2_answer_get(&keyboard->answer, value) && !ps2_queue_get(&keyboard->queue, value))
		return false;
	keyboard->last = *value;
	return true;
}

/* --- state --- */

static int check(const void *staged, struct error *err)
{
	const struct ps2_keyboard *keyboard = staged;

	if (keyboard->set < 1 || keyboard->set > 3)
		return error_set(err, EINVAL, "scan code set %u", keyboard->set);
	if (keyboard->rate > 0x7f || keyboard->leds > 7 || keyboard->print_form > PRINT_ALT ||
	    (keyboard->command && keyboard->command != 0xed && keyboard->command != 0xf0 && keyboard->command != 0xf3 &&
	     (keyboard->command < 0xfb || keyboard->command > 0xfd)))
		return error_set(err, EINVAL, "rate 0x%x, LEDs 0x%x, Print %u or command 0x%x out of range",
				 keyboard->rate, keyboard->leds, keyboard->print_form, keyboard->command);
	return 0;
}

const struct state_table ps2_keyboard_state = {
	.name = "ps2-keyboard",
	.version = 1,
	.size = sizeof(struct ps2_keyboard),
	.check = check,
	.fields =
		(const struct state_field[]){
			STATE_SUB(ps2_answer_state, struct ps2_keyboard, answer, 1),
			STATE_SUB(ps2_queue_state, struct ps2_keyboard, queue, 1),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, command),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, set),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, leds),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, rate),
			STATE_FIELD(STATE_BOOL, struct ps2_keyboard, scanning),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, last),
			STATE_FIELD_N(STATE_BYTES, struct ps2_keyboard, types, PS2_SET3_CODES),
			STATE_FIELD_N(STATE_BYTES, struct ps2_keyboard, held, sizeof(((struct ps2_keyboard *)0)->held)),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, print_form),
			STATE_FIELD(STATE_U8, struct ps2_keyboard, repeating),
			STATE_FIELD(STATE_BOOL, struct ps2_keyboard, repeated),
			STATE_END,
		},
};
