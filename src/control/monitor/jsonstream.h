/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cuts a byte stream into JSON values (RFC 8259, and qemu's 'single quoted' strings, which become double quoted ones).
 * The stream comes from a client: size and depth of a value are bounded, and after nonsense the next line starts anew.
 */
#ifndef XUNI_CONTROL_MONITOR_JSONSTREAM_H
#define XUNI_CONTROL_MONITOR_JSONSTREAM_H

#include "control/monitor/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { JSONSTREAM_MAX_DEPTH = 256, JSONSTREAM_MAX_BYTES = 4 << 20 };

struct jsonstream {
	/* text: one complete object, to be parsed; NULL: what came cannot be one, and error says why. */
	void (*value)(void *opaque, const char *text, const char *error);
	void *opaque;
	struct text text;
	unsigned depth;
	char quote; /* inside a string: its quote */
	bool escaped;
	bool skipping; /* an error was reported; until the next line, or packet that begins an object */
};

void jsonstream_feed(struct jsonstream *stream, const uint8_t *data, size_t length);
/* Forgets an unfinished value. */
void jsonstream_reset(struct jsonstream *stream);

#endif
