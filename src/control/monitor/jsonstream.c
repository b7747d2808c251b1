/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control/monitor/jsonstream.h"

#include <string.h>

void jsonstream_reset(struct jsonstream *stream)
{
	text_free(&stream->text);
	stream->depth = 0;
	stream->quote = 0;
	stream->escaped = stream->skipping = false;
}

static void fail(struct jsonstream *stream, const char *why)
{
	bool told = stream->skipping;

	jsonstream_reset(stream);
	stream->skipping = true;
	if (!told)
		stream->value(stream->opaque, NULL, why);
}

static void add(struct jsonstream *stream, char c)
{
	text_append(&stream->text, &c, 1);
}

static void feed_string(struct jsonstream *stream, char c)
{
	if (stream->escaped) {
		stream->escaped = false;
		if (c != '\'')
			add(stream, '\\');
		add(stream, c);
	} else if (c == '\\') {
		stream->escaped = true;
	} else if (c == stream->quote) {
		stream->quote = 0;
		add(stream, '"');
	} else {
		if (c == '"')
			add(stream, '\\');
		add(stream, c);
	}
}

static void finish(struct jsonstream *stream)
{
	struct text whole = stream->text;

	/* The callback may reset or feed the stream. */
	stream->text = (struct text){0};
	stream->value(stream->opaque, whole.data, NULL);
	text_free(&whole);
}

static void feed_structure(struct jsonstream *stream, char c)
{
	switch (c) {
	case '"':
	case '\'':
		stream->quote = c;
		add(stream, '"');
		return;
	case '{':
	case '[':
		if (stream->depth == JSONSTREAM_MAX_DEPTH) {
			fail(stream, "JSON parse error, too deeply nested");
			return;
		}
		stream->depth++;
		add(stream, c);
		return;
	case '}':
	case ']':
		stream->depth--;
		add(stream, c);
		if (stream->depth == 0)
			finish(stream);
		return;
	default:
		add(stream, c);
	}
}

/* Between values. */
static void feed_outside(struct jsonstream *stream, char c)
{
	if ((c == '{' || c == '[') && !stream->skipping) {
		feed_structure(stream, c);
	} else if (c == '\n') {
		stream->skipping = false;
	} else if (!strchr(" \t\r", c) || !c) {
		fail(stream, "JSON parse error, expecting value");
	}
}

void jsonstream_feed(struct jsonstream *stream, const uint8_t *data, size_t length)
{
	/* A client that ends no line still begins its next request with a packet. */
	if (length && data[0] == '{' && !stream->depth)
		stream->skipping = false;
	for (size_t i = 0; i < length; i++) {
		char c = (char)data[i];

		if (data[i] == 0 || data[i] == 0xff)
			fail(stream, "JSON parse error, stray byte");
		else if (stream->quote)
			feed_string(stream, c);
		else if (stream->depth)
			feed_structure(stream, c);
		else
			feed_outside(stream, c);
		if (stream->text.length > JSONSTREAM_MAX_BYTES)
			fail(stream, "JSON token size limit exceeded");
	}
}
