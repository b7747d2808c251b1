/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Line editing for a terminal that shows only what it is sent (ECMA-48 sequences): the usual Emacs keys and arrows,
 * history, completion with Tab. Knows nothing of where bytes come from and go to.
 */
#ifndef XUNI_CONTROL_MONITOR_READLINE_H
#define XUNI_CONTROL_MONITOR_READLINE_H

#include "control/monitor/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { READLINE_MAX = 4095, READLINE_HISTORY = 64 };

struct readline {
	const char *prompt;
	void (*print)(void *opaque, const char *data, size_t length);
	void (*line)(void *opaque, const char *line);
	/* Calls each for every word that the last word of `before` may become; NULL: no completion. */
	void (*complete)(void *opaque, const char *before, void (*each)(void *each_opaque, const char *word),
			 void *each_opaque);
	void *opaque;

	char buffer[READLINE_MAX + 1];
	size_t length, cursor;
	char *history[READLINE_HISTORY];
	unsigned history_count, history_at; /* at == count: the line being typed */
	char *typed;                        /* that line, while an older one is shown */
	enum { READLINE_TEXT, READLINE_ESCAPE, READLINE_SEQUENCE } state;
	unsigned parameter;
	bool last_was_return;
	/* While a secret is asked for: it shows as asterisks and leaves nothing behind. */
	const char *question;
	void (*answer)(void *opaque, const char *line);
};

void readline_feed(struct readline *readline, const uint8_t *data, size_t length);
/* Prompt and the line as it stands, on a fresh line. */
void readline_show(struct readline *readline);
/* The next line goes to `answer` instead of `line`, hidden, under this prompt; it is shown by the next readline_show. Ctrl-C
 * and readline_clear give the question up. */
void readline_ask(struct readline *readline, const char *question, void (*answer)(void *opaque, const char *line));
void readline_clear(struct readline *readline);
void readline_free(struct readline *readline);

#endif
