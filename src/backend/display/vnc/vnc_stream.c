/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection to a VNC client below RFB: the socket, TLS by GnuTLS, WebSocket frames. All of it is done here and not
 * by libvncserver, whose own turns around a peer that stops half way (0.9.14), and which would read the certificate
 * anew for each client. Nothing here waits but in poll, so a peer costs no time while it does nothing.
 */
#include "backend/display/vnc/vnc_stream.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct vnc_stream *vnc_stream_new(int fd, int64_t deadline_ns)
{
	struct vnc_stream *stream = xcalloc(1, sizeof(*stream));

	stream->fd = fd;
	stream->deadline_ns = deadline_ns;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return stream;
}

void vnc_stream_free(struct vnc_stream *stream)
{
	if (stream && stream->tls)
		gnutls_deinit(stream->tls);
	free(stream);
}

bool vnc_stream_is_wrapped(const struct vnc_stream *stream)
{
	return stream->tls || stream->framed;
}

/* Until the socket is ready for it; false: the time is over. */
static bool wait_for(struct vnc_stream *stream, short events)
{
	struct pollfd fd = {stream->fd, events, 0};
	int64_t left_ns = stream->deadline_ns - host_now_ns();
	int rc = left_ns <= 0 ? 0 : poll(&fd, 1, (int)(left_ns / NS_PER_MS) + 1);

	return rc > 0 || (rc < 0 && errno == EINTR);
}

/* Bytes read, 0: none now, -1: the end. */
static ssize_t receive(struct vnc_stream *stream, void *to, size_t bytes)
{
	ssize_t got;

	if (!stream->tls) {
		got = recv(stream->fd, to, bytes, 0);
		return got > 0 ? got : got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	}
	got = gnutls_record_recv(stream->tls, to, bytes);
	return got > 0 ? got : got < 0 && !gnutls_error_is_fatal((int)got) && got != GNUTLS_E_REHANDSHAKE ? 0 : -1;
}

/* With `in` empty: at most `bytes` for a plain stream, whose rest is another's to read. As receive. */
static ssize_t fill(struct vnc_stream *stream, size_t bytes)
{
	size_t most = vnc_stream_is_wrapped(stream) ? sizeof(stream->in) : min_u64(bytes, sizeof(stream->in));
	ssize_t got = receive(stream, stream->in, most);

	if (got > 0 && stream->framed)
		got = websocket_decode(&stream->websocket, stream->in, (size_t)got);
	stream->in_from = 0;
	stream->in_to = got > 0 ? (size_t)got : 0;
	return got;
}

/* Nothing more comes without the socket's telling. */
static bool is_drained(const struct vnc_stream *stream)
{
	return !stream->tls || !gnutls_record_check_pending(stream->tls);
}

/* 1: all of `out` is on its way, 0: not now, -1: the end. */
static int flush(struct vnc_stream *stream)
{
	while (stream->out_from < stream->out_to) {
		const uint8_t *from = stream->out + stream->out_from;
		size_t bytes = stream->out_to - stream->out_from;
		ssize_t sent;

		if (stream->tls) {
			sent = gnutls_record_send(stream->tls, from, bytes);
			if (sent < 0)
				return gnutls_error_is_fatal((int)sent) ? -1 : 0;
		} else {
			sent = send(stream->fd, from, bytes, MSG_NOSIGNAL);
			if (sent < 0)
				return errno == EAGAIN || errno == EINTR ? 0 : -1;
		}
		stream->out_from += (size_t)sent;
	}
	stream->out_from = stream->out_to = 0;
	return 1;
}

/* With `out` empty: there are `bytes` of data behind the place for a frame's head. */
static void put(struct vnc_stream *stream, size_t bytes)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];
	size_t head_bytes = stream->framed ? websocket_frame(head, bytes) : 0;

	stream->out_from = WEBSOCKET_HEAD_MAX - head_bytes;
	stream->out_to = WEBSOCKET_HEAD_MAX + bytes;
	memcpy(stream->out + stream->out_from, head, head_bytes);
}

/* Pings are answered when nothing else is on its way. */
static void put_pong(struct vnc_stream *stream)
{
	if (stream->out_from == stream->out_to) {
		stream->out_from = 0;
		stream->out_to = websocket_pong(&stream->websocket, stream->out);
	}
}

bool vnc_stream_start_tls(struct vnc_stream *stream, gnutls_session_t session)
{
	int rc;

	stream->tls = session;
	gnutls_transport_set_int(session, stream->fd);
	while ((rc = gnutls_handshake(session)) != GNUTLS_E_SUCCESS)
		if (gnutls_error_is_fatal(rc) ||
		    !wait_for(stream, gnutls_record_get_direction(session) ? POLLOUT : POLLIN))
			return false;
	return true;
}

bool vnc_stream_start_websocket(struct vnc_stream *stream)
{
	char request[WEBSOCKET_REQUEST_MAX], answer[WEBSOCKET_ANSWER_MAX];
	size_t bytes = 0;
	bool good;

	/* One by one, so that what follows the empty line stays where it is. */
	while (bytes < 4 || memcmp(request + bytes - 4, "\r\n\r\n", 4) != 0)
		if (bytes == sizeof(request) || !vnc_stream_read(stream, request + bytes++, 1))
			return false;
	good = websocket_answer(request, bytes, answer);
	if (!vnc_stream_write(stream, answer, strlen(answer)) || !good)
		return false;
	stream->framed = true;
	/* What TLS brought beyond the request is frames. */
	if (stream->in_from < stream->in_to) {
		ssize_t left = websocket_decode(&stream->websocket, stream->in + stream->in_from,
						stream->in_to - stream->in_from);

		stream->in_to = stream->in_from + (left > 0 ? (size_t)left : 0);
		return left >= 0;
	}
	return true;
}

bool vnc_stream_read(struct vnc_stream *stream, void *to, size_t bytes)
{
	while (bytes) {
		size_t count = min_u64(bytes, stream->in_to - stream->in_from);
		ssize_t got;

		memcpy(to, stream->in + stream->in_from, count);
		stream->in_from += count;
		to = (uint8_t *)to + count;
		bytes -= count;
		if (!bytes)
			break;
		got = fill(stream, bytes);
		if (got < 0 || host_now_ns() > stream->deadline_ns)
			return false;
		if (got == 0 && is_drained(stream) && !wait_for(stream, POLLIN))
			return false;
	}
	return true;
}

bool vnc_stream_write(struct vnc_stream *stream, const void *from, size_t bytes)
{
	while (bytes) {
		size_t count = min_u64(bytes, VNC_STREAM_BYTES);
		int rc;

		memcpy(stream->out + WEBSOCKET_HEAD_MAX, from, count);
		put(stream, count);
		while ((rc = flush(stream)) == 0)
			if (!wait_for(stream, POLLOUT))
				return false;
		if (rc < 0)
			return false;
		from = (const uint8_t *)from + count;
		bytes -= count;
	}
	return true;
}

/* From the peer to the plain side; false: the end. */
static bool carry_in(struct vnc_stream *stream, int plain)
{
	ssize_t got;

	if (stream->in_from == stream->in_to && fill(stream, sizeof(stream->in)) < 0)
		return false;
	if (stream->in_from == stream->in_to)
		return true;
	got = send(plain, stream->in + stream->in_from, stream->in_to - stream->in_from, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	stream->in_from += (size_t)got;
	return true;
}

/* The other way. */
static bool carry_out(struct vnc_stream *stream, int plain)
{
	ssize_t got;

	put_pong(stream);
	if (stream->out_from == stream->out_to) {
		got = recv(plain, stream->out + WEBSOCKET_HEAD_MAX, VNC_STREAM_BYTES, MSG_DONTWAIT);
		if (got <= 0)
			return got < 0 && (errno == EAGAIN || errno == EINTR);
		put(stream, (size_t)got);
	}
	return flush(stream) >= 0;
}

void vnc_stream_carry(struct vnc_stream *stream, int plain)
{
	bool going = true;

	while (going) {
		bool in_waits = stream->in_from < stream->in_to, out_waits = stream->out_from < stream->out_to;
		struct pollfd fds[2] = {
			{stream->fd, (short)((in_waits ? 0 : POLLIN) | (out_waits ? POLLOUT : 0)), 0},
			{plain, (short)((out_waits ? 0 : POLLIN) | (in_waits ? POLLOUT : 0)), 0},
		};

		if (poll(fds, 2, !in_waits && !is_drained(stream) ? 0 : -1) < 0 && errno != EINTR)
			break;
		/* Told whether asked for or not: where it is not asked for, nobody could act on it. */
		if ((in_waits && fds[0].revents & (POLLHUP | POLLERR)) ||
		    (out_waits && fds[1].revents & (POLLHUP | POLLERR)))
			break;
		going = carry_in(stream, plain) && carry_out(stream, plain);
	}
	shutdown(plain, SHUT_RDWR);
	shutdown(stream->fd, SHUT_RDWR);
}
