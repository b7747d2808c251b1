/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's side of WebSockets (RFC 6455): the request's answer (4.2), frames (5.2), ping and close (5.5). Binary
 * messages only, as viewers send them ("binary" of Sec-WebSocket-Protocol). Left out: extensions, and a close frame in
 * return (the connection closes).
 */
#include "backend/display/vnc/vnc_websocket.h"

#include "base/util.h"

#include <ctype.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { CONTINUATION = 0, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum { FIN = 0x80, RESERVED = 0x70, MASKED = 0x80 };
enum { KEY_BYTES = 24, SHA1_BYTES = 20 };

/* A header's value without the spaces around it, cut at `max`; false: it is not there. */
static bool header(const char *request, size_t bytes, const char *name, char *value, size_t max)
{
	const char *at = request, *end = request + bytes, *line_end;
	size_t length = strlen(name);

	for (; (line_end = memchr(at, '\n', (size_t)(end - at))); at = line_end + 1) {
		const char *from = at + length + 1, *to = line_end;

		if ((size_t)(line_end - at) <= length || at[length] != ':' || strncasecmp(at, name, length) != 0)
			continue;
		while (from < to && isspace((unsigned char)*from))
			from++;
		while (to > from && isspace((unsigned char)to[-1]))
			to--;
		snprintf(value, max, "%.*s", (int)(to - from), from);
		return true;
	}
	return false;
}

static bool refuse(char answer[WEBSOCKET_ANSWER_MAX], const char *reason)
{
	snprintf(answer, WEBSOCKET_ANSWER_MAX,
		 "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n"
		 "Content-Type: text/plain\r\n\r\n%s\n",
		 reason);
	return false;
}

bool websocket_answer(const char *request, size_t bytes, char answer[WEBSOCKET_ANSWER_MAX])
{
	char value[256], key[KEY_BYTES + 1 + 36] = "";
	uint8_t digest[SHA1_BYTES];
	gnutls_datum_t raw = {digest, SHA1_BYTES}, text = {NULL, 0};
	bool protocol;

	if (bytes < 4 || memcmp(request, "GET ", 4) != 0)
		return refuse(answer, "only GET is known");
	if (!header(request, bytes, "Upgrade", value, sizeof(value)) || strcasecmp(value, "websocket") != 0 ||
	    !header(request, bytes, "Connection", value, sizeof(value)) || !strcasestr(value, "upgrade"))
		return refuse(answer, "no upgrade to websocket");
	if (!header(request, bytes, "Sec-WebSocket-Version", value, sizeof(value)) || strcmp(value, "13") != 0)
		return refuse(answer, "only version 13 is known");
	if (!header(request, bytes, "Sec-WebSocket-Key", value, sizeof(value)) || strlen(value) != KEY_BYTES)
		return refuse(answer, "no key");
	snprintf(key, sizeof(key), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", value);
	protocol = header(request, bytes, "Sec-WebSocket-Protocol", value, sizeof(value));
	if (protocol && !strstr(value, "binary"))
		return refuse(answer, "only the protocol 'binary' is known");
	if (gnutls_hash_fast(GNUTLS_DIG_SHA1, key, strlen(key), digest) < 0 || gnutls_base64_encode2(&raw, &text) < 0)
		return refuse(answer, "no SHA-1");
	snprintf(answer, WEBSOCKET_ANSWER_MAX,
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: %.*s\r\n%s\r\n",
		 (int)text.size, (const char *)text.data, protocol ? "Sec-WebSocket-Protocol: binary\r\n" : "");
	gnutls_free(text.data);
	return true;
}

/* Bytes of the head of which these are the first ones. */
static unsigned head_length(const struct websocket *ws)
{
	unsigned length = ws->head_bytes < 2 ? 0 : ws->head[1] & 0x7f;

	return 2 + 4 + (length == 126 ? 2 : length == 127 ? 8 : 0);
}

/* The head is complete; false: it breaks the rules. */
static bool begin_payload(struct websocket *ws)
{
	unsigned flags = ws->head[0] & 0xf0, length = ws->head[1] & 0x7f;

	ws->opcode = ws->head[0] & 0xf;
	ws->left_bytes = length == 126 ? load_be16(ws->head + 2) : length == 127 ? load_be64(ws->head + 2) : length;
	memcpy(ws->mask, ws->head + ws->head_bytes - 4, 4);
	ws->head_bytes = 0;
	ws->at = 0;
	ws->in_payload = true;
	if (flags & RESERVED || !(ws->head[1] & MASKED) || ws->left_bytes >> 63)
		return false;
	if (ws->opcode >= CLOSE) {
		if (ws->opcode == PING) {
			ws->ping_due = false;
			ws->ping_bytes = 0;
		}
		return flags & FIN && length <= WEBSOCKET_PONG_MAX && ws->opcode != CLOSE && ws->opcode <= PONG;
	}
	if (ws->opcode != (ws->in_message ? CONTINUATION : BINARY))
		return false;
	ws->in_message = !(flags & FIN);
	return true;
}

/* Data stays in `data` from *to on. */
static void take_payload(struct websocket *ws, uint8_t *data, size_t from, size_t count, size_t *to)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t byte = data[from + i] ^ ws->mask[ws->at++ & 3];

		if (ws->opcode == PING)
			ws->ping[ws->ping_bytes++] = byte;
		else if (ws->opcode < CLOSE)
			data[(*to)++] = byte;
	}
	ws->left_bytes -= count;
}

ssize_t websocket_decode(struct websocket *ws, uint8_t *data, size_t bytes)
{
	size_t from = 0, to = 0;

	while (from < bytes || (ws->in_payload && !ws->left_bytes)) {
		if (ws->in_payload) {
			size_t count = (size_t)min_u64(ws->left_bytes, bytes - from);

			take_payload(ws, data, from, count, &to);
			from += count;
			ws->in_payload = ws->left_bytes;
			ws->ping_due |= !ws->in_payload && ws->opcode == PING;
			continue;
		}
		ws->head[ws->head_bytes++] = data[from++];
		if (ws->head_bytes >= 2 && ws->head_bytes == head_length(ws) && !begin_payload(ws))
			return -1;
	}
	return (ssize_t)to;
}

size_t websocket_frame(uint8_t head[WEBSOCKET_HEAD_MAX], size_t bytes)
{
	head[0] = FIN | BINARY;
	head[1] = bytes < 126 ? (uint8_t)bytes : 126;
	store_be16(head + 2, (uint16_t)bytes);
	return bytes < 126 ? 2 : 4;
}

size_t websocket_pong(struct websocket *ws, uint8_t frame[2 + WEBSOCKET_PONG_MAX])
{
	if (!ws->ping_due)
		return 0;
	ws->ping_due = false;
	frame[0] = FIN | PONG;
	frame[1] = (uint8_t)ws->ping_bytes;
	memcpy(frame + 2, ws->ping, ws->ping_bytes);
	return 2 + ws->ping_bytes;
}
