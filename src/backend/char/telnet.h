/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The little of the telnet protocol that a console needs (RFC 854, 856 binary, 857 echo, 858, 1073 window size). */
#ifndef XUNI_BACKEND_CHAR_TELNET_H
#define XUNI_BACKEND_CHAR_TELNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum telnet_state { TELNET_DATA, TELNET_IAC, TELNET_OPTION, TELNET_SUB, TELNET_SUB_IAC };

struct telnet {
	enum telnet_state state;
	uint8_t verb;
	bool binary; /* the client sends its bytes unchanged */
	bool after_cr;
	uint8_t sub[8]; /* the beginning of a subnegotiation */
	size_t sub_length;
	bool breaks, resized;   /* set by telnet_decode, cleared by the caller */
	uint16_t columns, rows; /* 0: unknown */
};

/* What a server says first. */
extern const uint8_t telnet_greeting[15];

/* Takes commands out of data, in place; returns the length left. */
size_t telnet_decode(struct telnet *telnet, uint8_t *data, size_t length);
/* Doubles IAC bytes; out has room for 2 * length. */
size_t telnet_encode(const uint8_t *data, size_t length, uint8_t *out);

#endif
