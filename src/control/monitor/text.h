/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A growing text, for what a command says to a person. */
#ifndef XUNI_CONTROL_MONITOR_TEXT_H
#define XUNI_CONTROL_MONITOR_TEXT_H

#include <stddef.h>

struct text {
	char *data; /* zero-terminated once something was added; NULL before */
	size_t length;
};

void text_printf(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_append(struct text *text, const char *data, size_t length);
void text_free(struct text *text);

#endif
