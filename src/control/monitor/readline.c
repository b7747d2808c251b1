/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control/monitor/readline.h"

#include "base/util.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	KEY_CTRL_A = 1,
	KEY_CTRL_B,
	KEY_CTRL_C,
	KEY_CTRL_D,
	KEY_CTRL_E,
	KEY_CTRL_F,
	KEY_BACKSPACE = 8,
	KEY_TAB,
	KEY_CTRL_K = 11,
	KEY_CTRL_L,
	KEY_RETURN,
	KEY_CTRL_N,
	KEY_CTRL_P = 16,
	KEY_CTRL_U = 21,
	KEY_CTRL_W = 23,
	KEY_ESCAPE = 27,
	KEY_DELETE = 127
};

static void print(struct readline *rl, const char *data, size_t length)
{
	if (length)
		rl->print(rl->opaque, data, length);
}

static void print_text(struct readline *rl, const char *text)
{
	print(rl, text, strlen(text));
}

/* A part of the line, as people may see it. */
static void print_line(struct readline *rl, size_t from, size_t to)
{
	if (!rl->answer) {
		print(rl, rl->buffer + from, to - from);
		return;
	}
	for (size_t i = from; i < to; i++)
		print(rl, "*", 1);
}

static void move_left(struct readline *rl, size_t columns)
{
	char sequence[24];

	if (columns)
		print(rl, sequence, (size_t)snprintf(sequence, sizeof(sequence), "\033[%zuD", columns));
}

/* Reprints from the cursor's old place after an edit there, and clears what is left behind it. */
static void redraw_from(struct readline *rl, size_t from)
{
	print_line(rl, from, rl->length);
	print_text(rl, "\033[K");
	move_left(rl, rl->length - rl->cursor);
}

void readline_show(struct readline *rl)
{
	print_text(rl, rl->answer ? rl->question : rl->prompt);
	print_line(rl, 0, rl->length);
	move_left(rl, rl->length - rl->cursor);
}

static void set_line(struct readline *rl, const char *text)
{
	move_left(rl, rl->cursor);
	rl->length = min_u64(strlen(text), READLINE_MAX);
	memcpy(rl->buffer, text, rl->length);
	rl->cursor = rl->length;
	redraw_from(rl, 0);
}

static void insert(struct readline *rl, char c)
{
	size_t at = rl->cursor;

	if (rl->length == READLINE_MAX)
		return;
	memmove(rl->buffer + at + 1, rl->buffer + at, rl->length - at);
	rl->buffer[at] = c;
	rl->length++;
	rl->cursor++;
	if (rl->cursor == rl->length)
		print_line(rl, at, at + 1);
	else
		redraw_from(rl, at);
}

/* Removes [from, to); the cursor was inside or at an end of it. */
static void erase(struct readline *rl, size_t from, size_t to)
{
	move_left(rl, rl->cursor - from);
	memmove(rl->buffer + from, rl->buffer + to, rl->length - to);
	rl->length -= to - from;
	rl->cursor = from;
	redraw_from(rl, from);
}

static void move_to(struct readline *rl, size_t to)
{
	if (to < rl->cursor)
		move_left(rl, rl->cursor - to);
	else
		print_line(rl, rl->cursor, to);
	rl->cursor = to;
}

static void remember(struct readline *rl)
{
	free(rl->typed);
	rl->typed = NULL;
	if (rl->length && (!rl->history_count || strcmp(rl->history[rl->history_count - 1], rl->buffer) != 0)) {
		if (rl->history_count == READLINE_HISTORY) {
			free(rl->history[0]);
			memmove(rl->history, rl->history + 1, (READLINE_HISTORY - 1) * sizeof(char *));
			rl->history_count--;
		}
		rl->history[rl->history_count++] = xstrdup(rl->buffer);
	}
	rl->history_at = rl->history_count;
}

static void show_history(struct readline *rl, bool older)
{
	if (rl->answer || (older ? rl->history_at == 0 : rl->history_at == rl->history_count))
		return;
	if (rl->history_at == rl->history_count) {
		rl->buffer[rl->length] = 0;
		free(rl->typed);
		rl->typed = xstrdup(rl->buffer);
	}
	rl->history_at += older ? -1u : 1u;
	set_line(rl, rl->history_at == rl->history_count ? rl->typed : rl->history[rl->history_at]);
}

struct candidates {
	char **words;
	size_t count;
};

static void add_candidate(void *opaque, const char *word)
{
	struct candidates *list = opaque;

	list->words = xrealloc(list->words, (list->count + 1) * sizeof(char *));
	list->words[list->count++] = xstrdup(word);
}

static void list_candidates(struct readline *rl, const struct candidates *list)
{
	char cell[40];

	print_text(rl, "\r\n");
	for (size_t i = 0; i < list->count; i++) {
		bool row_end = i % 4 == 3 || i + 1 == list->count;

		print(rl, cell,
		      min_u64((uint64_t)snprintf(cell, sizeof(cell), row_end ? "%s" : "%-19s ", list->words[i]),
			      sizeof(cell) - 1));
		if (row_end)
			print_text(rl, "\r\n");
	}
	readline_show(rl);
}

static void complete(struct readline *rl)
{
	struct candidates list = {0};
	char *before = strndup(rl->buffer, rl->cursor);
	const char *blank = before ? strrchr(before, ' ') : NULL, *word = blank ? blank + 1 : before;
	size_t have = word ? strlen(word) : 0, common;

	if (before && rl->complete && !rl->answer)
		rl->complete(rl->opaque, before, add_candidate, &list);
	if (list.count) {
		common = strlen(list.words[0]);
		for (size_t i = 1; i < list.count; i++)
			while (strncmp(list.words[0], list.words[i], common) != 0)
				common--;
		for (size_t i = have; i < common; i++)
			insert(rl, list.words[0][i]);
		if (list.count == 1)
			insert(rl, ' ');
		else if (common <= have)
			list_candidates(rl, &list);
	}
	for (size_t i = 0; i < list.count; i++)
		free(list.words[i]);
	free(list.words);
	free(before);
}

static void submit(struct readline *rl)
{
	char line[READLINE_MAX + 1];
	void (*answer)(void *opaque, const char *line) = rl->answer;

	print_text(rl, "\r\n");
	rl->buffer[rl->length] = 0;
	if (!answer)
		remember(rl);
	memcpy(line, rl->buffer, rl->length + 1);
	rl->length = rl->cursor = 0;
	if (!answer) {
		rl->line(rl->opaque, line);
		return;
	}
	readline_clear(rl);
	answer(rl->opaque, line);
	explicit_bzero(line, sizeof(line));
}

static void erase_word(struct readline *rl)
{
	size_t from = rl->cursor;

	while (from && rl->buffer[from - 1] == ' ')
		from--;
	while (from && rl->buffer[from - 1] != ' ')
		from--;
	erase(rl, from, rl->cursor);
}

static void control(struct readline *rl, uint8_t key)
{
	switch (key) {
	case KEY_CTRL_A:
		move_to(rl, 0);
		break;
	case KEY_CTRL_E:
		move_to(rl, rl->length);
		break;
	case KEY_CTRL_B:
		move_to(rl, rl->cursor ? rl->cursor - 1 : 0);
		break;
	case KEY_CTRL_F:
		move_to(rl, min_u64(rl->cursor + 1, rl->length));
		break;
	case KEY_CTRL_D:
		if (rl->cursor < rl->length)
			erase(rl, rl->cursor, rl->cursor + 1);
		break;
	case KEY_BACKSPACE:
	case KEY_DELETE:
		if (rl->cursor)
			erase(rl, rl->cursor - 1, rl->cursor);
		break;
	case KEY_CTRL_K:
		erase(rl, rl->cursor, rl->length);
		break;
	case KEY_CTRL_U:
		erase(rl, 0, rl->cursor);
		break;
	case KEY_CTRL_W:
		erase_word(rl);
		break;
	case KEY_CTRL_L:
		print_text(rl, "\033[H\033[2J");
		readline_show(rl);
		break;
	case KEY_CTRL_C:
		print_text(rl, "\r\n");
		readline_clear(rl);
		readline_show(rl);
		break;
	case KEY_CTRL_N:
		show_history(rl, false);
		break;
	case KEY_CTRL_P:
		show_history(rl, true);
		break;
	case KEY_TAB:
		complete(rl);
		break;
	case KEY_ESCAPE:
		rl->state = READLINE_ESCAPE;
		break;
	}
}

/* The last byte of ESC [ or ESC O. */
static void sequence_end(struct readline *rl, uint8_t final)
{
	static const struct {
		uint8_t final;
		unsigned parameter;
		uint8_t key;
	} keys[] = {
		{'A', 0, KEY_CTRL_P}, {'B', 0, KEY_CTRL_N}, {'C', 0, KEY_CTRL_F}, {'D', 0, KEY_CTRL_B},
		{'H', 0, KEY_CTRL_A}, {'F', 0, KEY_CTRL_E}, {'~', 1, KEY_CTRL_A}, {'~', 3, KEY_CTRL_D},
		{'~', 4, KEY_CTRL_E}, {'~', 7, KEY_CTRL_A}, {'~', 8, KEY_CTRL_E},
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].final == final && (final != '~' || keys[i].parameter == rl->parameter))
			control(rl, keys[i].key);
}

static void feed(struct readline *rl, uint8_t c)
{
	bool second_of_crlf = c == '\n' && rl->last_was_return;

	rl->last_was_return = c == '\r';
	if (rl->state == READLINE_ESCAPE) {
		rl->state = c == '[' || c == 'O' ? READLINE_SEQUENCE : READLINE_TEXT;
		rl->parameter = 0;
	} else if (rl->state == READLINE_SEQUENCE) {
		if (c >= '0' && c <= '9') {
			rl->parameter = (rl->parameter * 10 + (c - '0')) % 1000;
		} else if (c >= 0x40) {
			rl->state = READLINE_TEXT;
			sequence_end(rl, c);
		}
	} else if (c == '\r' || c == '\n') {
		if (!second_of_crlf)
			submit(rl);
	} else if (c < 32 || c == KEY_DELETE) {
		control(rl, c);
	} else {
		insert(rl, (char)c);
	}
}

void readline_feed(struct readline *rl, const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		feed(rl, data[i]);
}

void readline_ask(struct readline *rl, const char *question, void (*answer)(void *opaque, const char *line))
{
	rl->question = question;
	rl->answer = answer;
}

void readline_clear(struct readline *rl)
{
	if (rl->answer)
		explicit_bzero(rl->buffer, sizeof(rl->buffer));
	rl->answer = NULL;
	rl->length = rl->cursor = 0;
	rl->history_at = rl->history_count;
	rl->state = READLINE_TEXT;
}

void readline_free(struct readline *rl)
{
	for (unsigned i = 0; i < rl->history_count; i++)
		free(rl->history[i]);
	free(rl->typed);
}
