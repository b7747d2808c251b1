/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server's side of WebSockets (RFC 6455), on bytes alone: it neither reads nor writes a socket. */
#ifndef XUNI_BACKEND_DISPLAY_VNC_VNC_WEBSOCKET_H
#define XUNI_BACKEND_DISPLAY_VNC_VNC_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	WEBSOCKET_REQUEST_MAX = 4096,
	WEBSOCKET_ANSWER_MAX = 512,
	WEBSOCKET_HEAD_MAX = 4, /* of a frame that websocket_frame makes */
	WEBSOCKET_FRAME_MAX = 65535,
	WEBSOCKET_PONG_MAX = 125,
};

/* What is between two calls of websocket_decode. Zero at the beginning. */
struct websocket {
	uint8_t head[14];
	unsigned head_bytes;
	bool in_payload, in_message; /* in_message: continuation frames are due */
	uint8_t opcode, mask[4];
	uint64_t left_bytes, at; /* of the payload */
	/* The last ping's payload, to be sent back by websocket_pong. */
	uint8_t ping[WEBSOCKET_PONG_MAX];
	unsigned ping_bytes;
	bool ping_due;
};

/*
 * The answer to a request of `bytes` bytes with the empty line at its end, as text; false: it is a refusal, and the
 * connection is to be closed after it.
 */
bool websocket_answer(const char *request, size_t bytes, char answer[WEBSOCKET_ANSWER_MAX]);
/* Takes the frames off in place; returns how many bytes of data stay, or -1: the client closes or breaks the rules. */
ssize_t websocket_decode(struct websocket *websocket, uint8_t *data, size_t bytes);
/* The head of a binary frame of at most WEBSOCKET_FRAME_MAX bytes; returns the head's length. */
size_t websocket_frame(uint8_t head[WEBSOCKET_HEAD_MAX], size_t bytes);
/* The answer to a ping that is due; returns its length, 0: none is due. */
size_t websocket_pong(struct websocket *websocket, uint8_t frame[2 + WEBSOCKET_PONG_MAX]);

#endif
