/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of the VNC server: host:N (port 5900 + N), unix:PATH, none; ports for WebSockets; connections to viewers.
 */
#include "backend/display/vnc/vnc.h"

#include "base/log.h"
#include "base/util.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_PORT = 5900, FIRST_WEBSOCKET = 5700, BACKLOG = 16, CONNECT_S = 20 };

/* What the options say of internet addresses. */
struct where {
	char *host;
	unsigned number, to; /* of the display */
	int family;
	bool both; /* on one socket: ipv4=on and ipv6=on */
};

void vnc_end_of(int fd, bool peer, struct vnc_end *end)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);

	memset(end, 0, sizeof(*end));
	if ((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&address, &length) < 0)
		address.ss_family = AF_UNSPEC;
	snprintf(end->family, sizeof(end->family), "%s",
		 address.ss_family == AF_UNIX    ? "unix"
		 : address.ss_family == AF_INET6 ? "ipv6"
		 : address.ss_family == AF_INET  ? "ipv4"
						 : "unknown");
	if (address.ss_family == AF_UNIX) {
		const struct sockaddr_un *name = (const struct sockaddr_un *)&address;

		snprintf(end->service, sizeof(end->service), "%.107s", name->sun_path);
	} else if (address.ss_family != AF_UNSPEC) {
		getnameinfo((struct sockaddr *)&address, length, end->host, sizeof(end->host), end->service,
			    sizeof(end->service), NI_NUMERICHOST | NI_NUMERICSERV);
	}
}

static void on_connection(void *opaque, uint32_t events)
{
	struct vnc_socket *socket = opaque;
	struct vnc *vnc = socket->vnc;
	int fd = accept4(socket->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	/* The library waits with select. */
	if (vnc->client_count >= vnc->connections || fd >= FD_SETSIZE - 8) {
		log_warn(vnc->ui.host->log, "VNC: a connection is refused: there are %u already", vnc->client_count);
		close(fd);
		return;
	}
	vnc_client_start(vnc, fd, socket->websocket, false);
}

static int add_socket(struct vnc *vnc, int fd, bool websocket, const char *path, struct error *err)
{
	struct vnc_socket *socket = &vnc->sockets[vnc->socket_count];

	if (vnc->socket_count == VNC_SOCKETS_MAX || listen(fd, BACKLOG) < 0) {
		close(fd);
		return error_set_errno(err, errno, "Failed to listen");
	}
	*socket = (struct vnc_socket){.vnc = vnc, .fd = fd, .websocket = websocket};
	socket->path = path ? xstrdup(path) : NULL;
	vnc_end_of(fd, false, &socket->end);
	socket->watch = loop_fd_add(vnc->ui.host->loop, fd, EPOLLIN, on_connection, socket);
	vnc->socket_count++;
	return 0;
}

void vnc_unlisten(struct vnc *vnc)
{
	for (unsigned i = 0; i < vnc->socket_count; i++) {
		loop_fd_remove(vnc->sockets[i].watch);
		close(vnc->sockets[i].fd);
		if (vnc->sockets[i].path)
			unlink(vnc->sockets[i].path);
		free(vnc->sockets[i].path);
	}
	vnc->socket_count = 0;
}

static int listen_unix(struct vnc *vnc, const char *path, struct error *err)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(name.sun_path))
		return error_set(err, EINVAL, "UNIX socket path '%s' is too long", path);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "Failed to create socket");
	unlink(path);
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0) {
		error_set_errno(err, errno, "Failed to bind socket to %s", path);
		close(fd);
		return -EADDRNOTAVAIL;
	}
	return add_socket(vnc, fd, false, path, err);
}

static int resolve(const char *host, unsigned port, int family, int flags, struct addrinfo **list, struct error *err)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
	char service[16];
	int rc;

	if (port > 65535)
		return error_set(err, EINVAL, "port %u out of range", port);
	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(*host ? host : NULL, service, &hints, list);
	if (rc)
		return error_set(err, EADDRNOTAVAIL, "address resolution failed for %s:%u: %s", host, port,
				 gai_strerror(rc));
	return 0;
}

/* both: an IPv6 socket also takes IPv4. */
static int bind_one(const struct addrinfo *at, bool both, struct error *err)
{
	int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol), one = 1;
	const int only = !both;

	if (fd < 0)
		return error_set_errno(err, errno, "Failed to create socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (at->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
	if (bind(fd, at->ai_addr, at->ai_addrlen) < 0) {
		error_set_errno(err, errno, "Failed to bind socket");
		close(fd);
		return -err->code;
	}
	return fd;
}

/* All addresses of the host at one port; one of them that can be bound is enough, unless the port is taken. */
static int listen_port(struct vnc *vnc, const struct where *where, unsigned port, bool websocket, struct error *err)
{
	unsigned before = vnc->socket_count;
	struct addrinfo *list;
	struct error reason = {0};
	int rc = resolve(where->host, port, where->family, AI_PASSIVE, &list, err), fd;

	if (rc < 0)
		return rc;
	/* In two turns: first the IPv6 sockets, where they are for both. */
	for (int turn = 0; turn < 2; turn++) {
		for (const struct addrinfo *at = list; at && reason.code != EADDRINUSE; at = at->ai_next) {
			if (turn != (where->both && at->ai_family != AF_INET6))
				continue;
			fd = bind_one(at, where->both, &reason);
			rc = fd < 0 ? fd : add_socket(vnc, fd, websocket, NULL, &reason);
			/* The IPv6 socket takes what would come here. */
			if (rc < 0 && where->both && vnc->socket_count > before)
				reason.code = 0;
		}
	}
	freeaddrinfo(list);
	if (reason.code != EADDRINUSE && vnc->socket_count > before)
		return 0;
	*err = reason;
	return -reason.code;
}

static int parse_number(const char *text, unsigned *number, struct error *err)
{
	uint64_t value;

	if (parse_u64(text, UINT32_MAX / 2, &value, NULL) < 0 || *text == '-')
		return error_set(err, EINVAL, "can't convert to a number: %s", text);
	*number = (unsigned)value;
	return 0;
}

/* "host:N", "[v6]:N", ":N"; host in heap memory. */
static int parse_address(const char *address, struct where *where, struct error *err)
{
	const char *colon = strrchr(address, ':');
	size_t length = colon ? (size_t)(colon - address) : 0;

	if (!colon)
		return error_set(err, EINVAL, "no vnc port specified");
	if (length >= 2 && address[0] == '[' && address[length - 1] == ']')
		where->host = strndup(address + 1, length - 2);
	else
		where->host = strndup(address, length);
	return parse_number(colon + 1, &where->number, err);
}

/* websocket=on, a port, or host:port. */
static int listen_websocket(struct vnc *vnc, const struct where *where, const char *text, struct error *err)
{
	struct where other = {.family = where->family, .both = where->both};
	const char *colon = strrchr(text, ':');
	unsigned port = FIRST_WEBSOCKET + where->number;
	int rc = 0;

	if (!strcmp(text, "off"))
		return 0;
	if (!strcmp(text, "on"))
		return listen_port(vnc, where, port, true, err);
	if (colon)
		rc = parse_address(text, &other, err);
	else
		rc = parse_number(text, &other.number, err);
	if (rc < 0)
		error_prefix(err, "websocket=%s", text);
	if (rc == 0) {
		if (!other.host)
			other.host = xstrdup(where->host);
		rc = listen_port(vnc, &other, other.number, true, err);
	}
	free(other.host);
	return rc;
}

static int listen_inet(struct vnc *vnc, struct where *where, const char *websocket, struct error *err)
{
	unsigned last = max_u64(where->to, where->number);
	int rc = -EINVAL;

	for (; where->number <= last; where->number++) {
		rc = listen_port(vnc, where, FIRST_PORT + where->number, false, err);
		if (rc != -EADDRINUSE || where->number == last)
			break;
		vnc_unlisten(vnc);
	}
	/* Whoever leaves the choice to us wants to know. */
	if (rc == 0 && where->to)
		log_tell(vnc->ui.host->log, "VNC server running on %s:%s", vnc->sockets[0].end.host, vnc->sockets[0].end.service);
	if (rc == 0 && websocket)
		rc = listen_websocket(vnc, where, websocket, err);
	return rc;
}

/* A viewer that listens; the number is the port itself. */
static int connect_viewer(struct vnc *vnc, const char *address, struct error *err)
{
	struct where where = {0};
	struct addrinfo *list;
	struct timeval patience = {CONNECT_S, 0}, none = {0};
	int fd = -1, rc = parse_address(address, &where, err);

	if (rc == 0)
		rc = resolve(where.host, where.number, AF_UNSPEC, 0, &list, err);
	free(where.host);
	if (rc < 0)
		return rc;
	for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
		fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		if (connect(fd, at->ai_addr, at->ai_addrlen) < 0) {
			error_set_errno(err, errno == EINPROGRESS ? ETIMEDOUT : errno, "Failed to connect to '%s'",
					address);
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		return -ECONNREFUSED;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
	vnc_client_start(vnc, fd, false, true);
	return 0;
}

int vnc_listen(struct vnc *vnc, const char *address, struct options *options, struct error *err)
{
	struct where where = {.family = AF_UNSPEC};
	const char *websocket = options_get(options, "websocket");
	const bool has4 = options_get(options, "ipv4"), has6 = options_get(options, "ipv6");
	bool ipv4 = true, ipv6 = true;
	uint64_t to = 0;
	int rc;

	if (!strcmp(address, "none") || !*address)
		return 0;
	if (options_bool(options, "ipv4", &ipv4, err) < 0 || options_bool(options, "ipv6", &ipv6, err) < 0 ||
	    options_u64(options, "to", &to, 59635, err) < 0)
		return -EINVAL;
	where.to = (unsigned)to;
	/* One that is off leaves the other, one that is on is alone. */
	if (has4 && !has6)
		ipv6 = !ipv4;
	if (has6 && !has4)
		ipv4 = !ipv6;
	if (!ipv4 && !ipv6)
		return error_set(err, EINVAL, "Cannot disable IPv4 and IPv6 at same time");
	where.both = has4 && has6 && ipv4 && ipv6;
	if (ipv4 != ipv6)
		where.family = ipv4 ? AF_INET : AF_INET6;
	if (!strncmp(address, "unix:", 5))
		return websocket ? error_set(err, EINVAL, "websocket= needs an internet address, not unix:")
				 : listen_unix(vnc, address + 5, err);
	if (vnc->reverse)
		return websocket ? error_set(err, EINVAL, "websocket= and reverse= do not go together")
				 : connect_viewer(vnc, address, err);
	rc = parse_address(address, &where, err);
	if (rc == 0)
		rc = listen_inet(vnc, &where, websocket, err);
	if (rc < 0)
		vnc_unlisten(vnc);
	free(where.host);
	return rc;
}
