/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control/monitor/text.h"

#include "base/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void text_append(struct text *text, const char *data, size_t length)
{
	/* Doubling by the power of two above the length: no separate capacity to keep. */
	size_t had = text->data ? 1ull << (64 - __builtin_clzll(text->length | 63)) : 0;
	size_t needs = 1ull << (64 - __builtin_clzll((text->length + length) | 63));

	if (needs > had)
		text->data = xrealloc(text->data, needs);
	memcpy(text->data + text->length, data, length);
	text->length += length;
	text->data[text->length] = 0;
}

void text_printf(struct text *text, const char *fmt, ...)
{
	va_list args;
	char *line;
	int length;

	va_start(args, fmt);
	length = vasprintf(&line, fmt, args);
	va_end(args);
	if (length < 0)
		return;
	text_append(text, line, (size_t)length);
	free(line);
}

void text_free(struct text *text)
{
	free(text->data);
	*text = (struct text){0};
}
