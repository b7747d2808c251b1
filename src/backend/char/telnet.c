/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Offers are made once and answers only noted: a client that declines is served as it is, so no loop of replies can
 * arise. */
#include "backend/char/telnet.h"

enum {
	IAC = 255,
	DONT = 254,
	DO = 253,
	WONT = 252,
	WILL = 251,
	SB = 250,
	BREAK = 243,
	SE = 240,
	OPTION_BINARY = 0,
	OPTION_ECHO = 1,
	OPTION_NO_GO_AHEAD = 3,
	OPTION_WINDOW = 31,
};

const uint8_t telnet_greeting[15] = {
	IAC, WILL, OPTION_ECHO,   IAC, WILL, OPTION_NO_GO_AHEAD, IAC, WILL, OPTION_BINARY,
	IAC, DO,   OPTION_BINARY, IAC, DO,   OPTION_WINDOW,
};

static void sub_end(struct telnet *telnet)
{
	const uint8_t *sub = telnet->sub;

	if (telnet->sub_length != 5 || sub[0] != OPTION_WINDOW)
		return;
	telnet->columns = (uint16_t)(sub[1] << 8 | sub[2]);
	telnet->rows = (uint16_t)(sub[3] << 8 | sub[4]);
	telnet->resized = true;
}

static void sub_add(struct telnet *telnet, uint8_t byte)
{
	if (telnet->sub_length < sizeof(telnet->sub))
		telnet->sub[telnet->sub_length] = byte;
	if (telnet->sub_length <= sizeof(telnet->sub))
		telnet->sub_length++;
}

/* The byte behind IAC. Returns true when it is data. */
static bool command(struct telnet *telnet, uint8_t byte)
{
	telnet->state = TELNET_DATA;
	switch (byte) {
	case IAC:
		return true;
	case BREAK:
		telnet->breaks = true;
		return false;
	case SB:
		telnet->state = TELNET_SUB;
		telnet->sub_length = 0;
		return false;
	case WILL:
	case WONT:
	case DO:
	case DONT:
		telnet->verb = byte;
		telnet->state = TELNET_OPTION;
		return false;
	default:
		return false;
	}
}

/* Returns true when byte is data. */
static bool decode_byte(struct telnet *telnet, uint8_t byte)
{
	switch (telnet->state) {
	case TELNET_DATA:
		if (byte != IAC)
			return true;
		telnet->state = TELNET_IAC;
		return false;
	case TELNET_IAC:
		return command(telnet, byte);
	case TELNET_OPTION:
		if (byte == OPTION_BINARY && (telnet->verb == WILL || telnet->verb == WONT))
			telnet->binary = telnet->verb == WILL;
		telnet->state = TELNET_DATA;
		return false;
	case TELNET_SUB:
		if (byte == IAC)
			telnet->state = TELNET_SUB_IAC;
		else
			sub_add(telnet, byte);
		return false;
	case TELNET_SUB_IAC:
		telnet->state = byte == IAC ? TELNET_SUB : TELNET_DATA;
		if (byte == IAC)
			sub_add(telnet, byte);
		else if (byte == SE)
			sub_end(telnet);
		return false;
	}
	return false;
}

size_t telnet_decode(struct telnet *telnet, uint8_t *data, size_t length)
{
	size_t kept = 0;

	for (size_t i = 0; i < length; i++) {
		uint8_t byte = data[i];
		bool after_cr = telnet->after_cr;

		if (!decode_byte(telnet, byte))
			continue;
		/* Outside binary mode Enter is CR NUL or CR LF (RFC 854); a terminal sends CR. */
		telnet->after_cr = byte == '\r' && !telnet->binary;
		if (after_cr && (byte == 0 || byte == '\n'))
			continue;
		data[kept++] = byte;
	}
	return kept;
}

size_t telnet_encode(const uint8_t *data, size_t length, uint8_t *out)
{
	size_t end = 0;

	for (size_t i = 0; i < length; i++) {
		out[end++] = data[i];
		if (data[i] == IAC)
			out[end++] = IAC;
	}
	return end;
}
