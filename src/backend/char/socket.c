/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream socket: server (one client at a time, the next waits in the backlog) or client, which may reconnect. Output
 * without a peer is dropped. Left out: TLS, websocket, tn3270 and passing of descriptors; asking for them is an error.
 */
#include "backend/char/address.h"
#include "backend/char/drivers.h"
#include "backend/char/stream.h"
#include "backend/char/telnet.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct socket_chardev {
	struct stream stream;
	struct socket_address address;
	bool server, wait, no_delay, is_telnet;
	uint64_t reconnect_ms;
	struct telnet telnet;
	int listen_fd;
	ino_t listen_inode; /* of the unix socket file that is ours */
	struct loop_fd *listen_watch;
	int pending_fd; /* being connected */
	unsigned pending_target;
	struct loop_fd *pending_watch;
	struct loop_timer timer;
	char peer[160];
};

static void accept_next(void *opaque, uint32_t events);
static void connect_from(struct socket_chardev *chardev, unsigned target);

static size_t filter(struct stream *stream, uint8_t *data, size_t length)
{
	struct socket_chardev *chardev = (struct socket_chardev *)stream;
	size_t left = telnet_decode(&chardev->telnet, data, length);

	if (chardev->telnet.breaks)
		chardev_event(&stream->chardev, CHARDEV_BREAK);
	if (chardev->telnet.resized)
		chardev_event(&stream->chardev, CHARDEV_RESIZED);
	chardev->telnet.breaks = chardev->telnet.resized = false;
	return left;
}

static size_t encode(struct stream *stream, const uint8_t *data, size_t length, uint8_t *out)
{
	return telnet_encode(data, length, out);
}

static void listen_more(struct socket_chardev *chardev)
{
	if (chardev->listen_fd >= 0 && !chardev->listen_watch)
		chardev->listen_watch =
			loop_fd_add(chardev->stream.chardev.loop, chardev->listen_fd, EPOLLIN, accept_next, chardev);
}

static void listen_pause(struct socket_chardev *chardev)
{
	if (chardev->listen_watch)
		loop_fd_remove(chardev->listen_watch);
	chardev->listen_watch = NULL;
}

static void retry_later(struct socket_chardev *chardev)
{
	if (chardev->reconnect_ms)
		loop_timer_set(&chardev->timer, host_now_ns() + (int64_t)chardev->reconnect_ms * NS_PER_MS);
}

static void hung_up(struct stream *stream)
{
	struct socket_chardev *chardev = (struct socket_chardev *)stream;

	stream_stop(stream);
	chardev_event(&stream->chardev, CHARDEV_CLOSED);
	if (chardev->server)
		listen_more(chardev);
	else
		retry_later(chardev);
}

/* Takes fd over. */
static int connected(struct socket_chardev *chardev, int fd, struct error *err)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);
	int on = 1;
	int result;

	if (chardev->no_delay)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	snprintf(chardev->peer, sizeof(chardev->peer), "%s", chardev->address.text);
	if (chardev->address.kind == SOCKET_TCP && !getpeername(fd, (struct sockaddr *)&name, &length))
		socket_name((struct sockaddr *)&name, length, chardev->peer, sizeof(chardev->peer));
	listen_pause(chardev);
	result = stream_start(&chardev->stream, fd, fd, err);
	if (result)
		return result;
	if (chardev->is_telnet) {
		/* Below the encoder: these IAC bytes are meant. */
		ssize_t n = write(fd, telnet_greeting, sizeof(telnet_greeting));

		(void)n;
		chardev->telnet = (struct telnet){0};
	}
	chardev_event(&chardev->stream.chardev, CHARDEV_OPENED);
	return 0;
}

static void accept_next(void *opaque, uint32_t events)
{
	struct socket_chardev *chardev = opaque;
	int fd = accept4(chardev->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		connected(chardev, fd, NULL);
}

static int server_open(struct socket_chardev *chardev, struct error *err)
{
	struct stat info;
	int fd = socket_listen(&chardev->address, err);

	if (fd < 0)
		return fd;
	chardev->listen_fd = fd;
	if (chardev->address.kind == SOCKET_UNIX && !chardev->address.abstract && !stat(chardev->address.path, &info))
		chardev->listen_inode = info.st_ino;
	if (!chardev->wait) {
		listen_more(chardev);
		return 0;
	}
	if (chardev->stream.chardev.log)
		log_tell(chardev->stream.chardev.log, "waiting for a connection on %s,server=on",
			  chardev->address.text);
	for (;;) {
		struct pollfd pollfd = {.fd = fd, .events = POLLIN};
		int client;

		if (poll(&pollfd, 1, -1) < 0 && errno != EINTR)
			return error_set_errno(err, errno, "waiting on %s", chardev->address.text);
		client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (client >= 0)
			return connected(chardev, client, err);
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			return error_set_errno(err, errno, "accepting on %s", chardev->address.text);
	}
}

static void pending_end(struct socket_chardev *chardev)
{
	if (chardev->pending_watch)
		loop_fd_remove(chardev->pending_watch);
	chardev->pending_watch = NULL;
	chardev->pending_fd = -1;
}

static void pending_ready(void *opaque, uint32_t events)
{
	struct socket_chardev *chardev = opaque;
	int fd = chardev->pending_fd;
	int code = 0;
	socklen_t length = sizeof(code);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length);
	pending_end(chardev);
	if (!code) {
		connected(chardev, fd, NULL);
		return;
	}
	close(fd);
	connect_from(chardev, chardev->pending_target + 1);
}

static void connect_from(struct socket_chardev *chardev, unsigned target)
{
	for (; target < chardev->address.target_count; target++) {
		bool pending;
		int fd = socket_connect_start(&chardev->address, target, &pending);

		if (fd < 0)
			continue;
		if (!pending) {
			connected(chardev, fd, NULL);
			return;
		}
		chardev->pending_fd = fd;
		chardev->pending_target = target;
		chardev->pending_watch =
			loop_fd_add(chardev->stream.chardev.loop, fd, EPOLLOUT, pending_ready, chardev);
		return;
	}
	retry_later(chardev);
}

static void reconnect(void *opaque)
{
	connect_from(opaque, 0);
}

/* Waits for the connection: without reconnect= a peer that is not there is an error at start. */
static int client_open(struct socket_chardev *chardev, struct error *err)
{
	int code = ECONNREFUSED;

	if (chardev->address.kind == SOCKET_FD)
		return connected(chardev, chardev->address.fd, err);
	if (chardev->reconnect_ms) {
		connect_from(chardev, 0);
		return 0;
	}
	for (unsigned i = 0; i < chardev->address.target_count; i++) {
		socklen_t length = sizeof(code);
		bool pending;
		int fd = socket_connect_start(&chardev->address, i, &pending);

		if (fd < 0) {
			code = -fd;
			continue;
		}
		if (pending) {
			struct pollfd pollfd = {.fd = fd, .events = POLLOUT};

			while (poll(&pollfd, 1, -1) < 0 && errno == EINTR)
				;
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length);
			if (code) {
				close(fd);
				continue;
			}
		}
		return connected(chardev, fd, err);
	}
	return error_set_errno(err, code, "connecting to %s", chardev->address.text);
}

static void socket_close(struct chardev *base)
{
	struct socket_chardev *chardev = (struct socket_chardev *)base;
	struct stat info;

	stream_fini(&chardev->stream);
	loop_timer_cancel(&chardev->timer);
	listen_pause(chardev);
	if (chardev->pending_fd >= 0) {
		int fd = chardev->pending_fd;

		pending_end(chardev);
		close(fd);
	}
	if (chardev->listen_fd >= 0) {
		close(chardev->listen_fd);
		if (chardev->listen_inode && !lstat(chardev->address.path, &info) &&
		    info.st_ino == chardev->listen_inode)
			unlink(chardev->address.path);
	}
	socket_address_free(&chardev->address);
}

static int refuse_unsupported(struct options *options, struct error *err)
{
	static const char *const unsupported[] = {"tn3270", "websocket"};
	static const char *const texts[] = {"tls-creds", "tls-authz"};

	for (size_t i = 0; i < ARRAY_SIZE(unsupported); i++) {
		bool value = false;

		if (options_bool(options, unsupported[i], &value, err))
			return -EINVAL;
		if (value)
			return error_set(err, ENOTSUP, "%s is not supported yet", unsupported[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (options_get(options, texts[i]))
			return error_set(err, ENOTSUP, "%s is not supported yet", texts[i]);
	return 0;
}

static int read_options(struct socket_chardev *chardev, struct options *options, struct error *err)
{
	bool delay = true, no_wait = false;
	uint64_t seconds = 0;

	if (options_bool(options, "server", &chardev->server, err))
		return -EINVAL;
	/* qemu's default of wait is on, for servers. */
	chardev->wait = chardev->server;
	if (refuse_unsupported(options, err) || options_bool(options, "wait", &chardev->wait, err) ||
	    options_bool(options, "nowait", &no_wait, err) || options_bool(options, "delay", &delay, err) ||
	    options_bool(options, "nodelay", &chardev->no_delay, err) ||
	    options_bool(options, "telnet", &chardev->is_telnet, err) ||
	    options_u64(options, "reconnect", &seconds, 86400, err) ||
	    options_u64(options, "reconnect-ms", &chardev->reconnect_ms, 86400000, err))
		return -EINVAL;
	if (no_wait)
		chardev->wait = false;
	if (!delay)
		chardev->no_delay = true;
	if (seconds)
		chardev->reconnect_ms = seconds * 1000;
	if (!chardev->server && chardev->wait)
		return error_set(err, EINVAL, "wait=on has no meaning without server=on");
	if (chardev->server && chardev->reconnect_ms)
		return error_set(err, EINVAL, "reconnect has no meaning with server=on");
	return socket_address_read(&chardev->address, options, chardev->server, err);
}

static int socket_open(struct chardev *base, struct options *options, struct error *err)
{
	struct socket_chardev *chardev = (struct socket_chardev *)base;
	int result = stream_init(&chardev->stream, err);

	if (result)
		return result;
	chardev->listen_fd = chardev->pending_fd = -1;
	chardev->stream.hangup = hung_up;
	chardev->stream.watch_hangup = true;
	loop_timer_init(&chardev->timer, base->loop, reconnect, chardev);
	result = read_options(chardev, options, err);
	if (!result && chardev->is_telnet) {
		chardev->stream.filter = filter;
		chardev->stream.encode = encode;
	}
	if (!result)
		result = chardev->server ? server_open(chardev, err) : client_open(chardev, err);
	if (result)
		socket_close(base);
	return result;
}

static bool socket_window(struct chardev *base, uint16_t *columns, uint16_t *rows)
{
	const struct telnet *telnet = &((struct socket_chardev *)base)->telnet;

	*columns = telnet->columns;
	*rows = telnet->rows;
	return base->connected && telnet->columns && telnet->rows;
}

static void socket_describe(struct chardev *base, char *text, size_t size)
{
	struct socket_chardev *chardev = (struct socket_chardev *)base;
	const char *suffix = chardev->server ? ",server=on" : "";
	const char *name = chardev->address.text;

	if (chardev->is_telnet && !strncmp(name, "tcp:", 4))
		snprintf(text, size, "%stelnet:%s%s", base->connected ? "" : "disconnected:", name + 4, suffix);
	else
		snprintf(text, size, "%s%s%s", base->connected ? "" : "disconnected:", name, suffix);
	if (base->connected && chardev->server && chardev->address.kind == SOCKET_TCP) {
		size_t length = strlen(text);

		snprintf(text + length, size - length, " <-> %s", chardev->peer + 4);
	}
}

static const char *const socket_known[] = {
	"path",      "abstract",     "tight",  "host",      "port",      "to",        "ipv4",
	"ipv6",      "fd",           "server", "wait",      "delay",     "nodelay",   "telnet",
	"reconnect", "reconnect-ms", "tn3270", "websocket", "tls-creds", "tls-authz", NULL,
};

const struct chardev_driver socket_driver = {
	.name = "socket",
	.help = "unix (path=) or TCP (host=,port=) stream, server=on or client",
	.size = sizeof(struct socket_chardev),
	.known = socket_known,
	.open = socket_open,
	.close = socket_close,
	.write = stream_write,
	.write_all = stream_write_all,
	.accept_input = stream_accept_input,
	.attached = stream_update,
	.window = socket_window,
	.describe = socket_describe,
	.logs_itself = true,
};
