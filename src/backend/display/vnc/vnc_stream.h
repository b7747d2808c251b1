/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection to a VNC client: bytes of RFB, with TLS and WebSocket frames taken off. One thread at a time uses it.
 * shutdown() of the socket by any thread ends each wait at once.
 */
#ifndef XUNI_BACKEND_DISPLAY_VNC_VNC_STREAM_H
#define XUNI_BACKEND_DISPLAY_VNC_VNC_STREAM_H

#include "backend/display/vnc/vnc_websocket.h"

#include <gnutls/gnutls.h>

enum { VNC_STREAM_BYTES = 32 * 1024, VNC_STREAM_OUT_MAX = WEBSOCKET_HEAD_MAX + VNC_STREAM_BYTES };

struct vnc_stream {
	int fd; /* not blocking; not owned */
	/* Reads and writes fail after it (host_now_ns), however slowly the peer goes on. */
	int64_t deadline_ns;
	gnutls_session_t tls; /* or NULL */
	bool framed;          /* by a WebSocket */
	struct websocket websocket;
	uint8_t in[VNC_STREAM_BYTES], out[VNC_STREAM_OUT_MAX];
	size_t in_from, in_to, out_from, out_to;
};

/* Makes fd not block. */
struct vnc_stream *vnc_stream_new(int fd, int64_t deadline_ns);
void vnc_stream_free(struct vnc_stream *stream);

/* The server's side of a handshake; the session becomes the stream's, also when that fails. */
bool vnc_stream_start_tls(struct vnc_stream *stream, gnutls_session_t session);
/* Reads and answers a WebSocket's request. */
bool vnc_stream_start_websocket(struct vnc_stream *stream);
/* Exactly that many bytes; false: the peer is gone, or the time is over. */
bool vnc_stream_read(struct vnc_stream *stream, void *to, size_t bytes);
bool vnc_stream_write(struct vnc_stream *stream, const void *from, size_t bytes);
/* Something is taken off the peer's bytes; else, after any vnc_stream_read, the rest can be read from the socket. */
bool vnc_stream_is_wrapped(const struct vnc_stream *stream);
/* Carries bytes between the peer and a socket of plain RFB, without a deadline, until one of them ends. */
void vnc_stream_carry(struct vnc_stream *stream, int plain);

#endif
