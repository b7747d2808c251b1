/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names are resolved once, at the start, so that a later reconnect never waits for a name server in the loop. */
#include "backend/char/address.h"

#include "base/util.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int fill_unix(struct socket_address *address, struct error *err)
{
	struct socket_target *target = &address->targets[0];
	struct sockaddr_un *name = (struct sockaddr_un *)&target->address;
	size_t length = strlen(address->path);
	size_t offset = address->abstract ? 1 : 0;

	name->sun_family = AF_UNIX;
	if (!length)
		return error_set(err, EINVAL, "the socket's path is empty");
	/* An abstract name needs a byte before it, a path one behind it. */
	if (length + 1 > sizeof(name->sun_path))
		return error_set(err, ENAMETOOLONG, "socket path '%s' is longer than %zu bytes", address->path,
				 sizeof(name->sun_path) - 1);
	memcpy(name->sun_path + offset, address->path, length);
	target->length = sizeof(*name);
	if (address->abstract && address->tight)
		target->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
	address->target_count = 1;
	snprintf(address->text, sizeof(address->text), "unix:%s%s", address->abstract ? "@" : "", address->path);
	return 0;
}

static int resolve(struct socket_address *address, int family, bool server, struct error *err)
{
	struct addrinfo hints = {
		.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = server ? AI_PASSIVE : AI_ADDRCONFIG};
	const char *host = address->host[0] ? address->host : NULL;
	struct addrinfo *list = NULL;
	int result;

	/* getaddrinfo takes larger numbers modulo 65536. */
	if (strspn(address->port, "0123456789") == strlen(address->port) && strtoul(address->port, NULL, 10) > 65535)
		return error_set(err, EINVAL, "%s: ports end at 65535", address->text);
	result = getaddrinfo(host, address->port, &hints, &list);

	if (result == EAI_NONAME && !server) {
		/* AI_ADDRCONFIG hides loopback addresses on a host without a network. */
		hints.ai_flags = 0;
		result = getaddrinfo(host, address->port, &hints, &list);
	}
	if (result)
		return error_set(err, EINVAL, "%s: %s", address->text, gai_strerror(result));
	for (struct addrinfo *at = list; at && address->target_count < SOCKET_TARGETS_MAX; at = at->ai_next) {
		struct socket_target *target = &address->targets[address->target_count++];

		memcpy(&target->address, at->ai_addr, at->ai_addrlen);
		target->length = at->ai_addrlen;
	}
	freeaddrinfo(list);
	return 0;
}

static int read_tcp(struct socket_address *address, struct options *options, bool server, struct error *err)
{
	const char *host = options_get(options, "host");
	const char *port = options_get(options, "port");
	bool given4 = options_get(options, "ipv4"), given6 = options_get(options, "ipv6");
	bool ipv4 = !given6, ipv6 = !given4;
	uint64_t to = 0;
	size_t length;
	int family;

	if (options_bool(options, "ipv4", &ipv4, err) || options_bool(options, "ipv6", &ipv6, err) ||
	    options_u64(options, "to", &to, 65535, err))
		return -EINVAL;
	if (given4 && !ipv4 && !given6)
		ipv6 = true;
	if (given6 && !ipv6 && !given4)
		ipv4 = true;
	if (!ipv4 && !ipv6)
		return error_set(err, EINVAL, "ipv4=off and ipv6=off leave no protocol");
	if (!host && !server)
		return error_set(err, EINVAL, "'host' is missing");
	if (!port)
		return error_set(err, EINVAL, "'port' is missing");
	address->kind = SOCKET_TCP;
	address->host = xstrdup(host ? host : "");
	length = strlen(address->host);
	if (length >= 2 && address->host[0] == '[' && address->host[length - 1] == ']') {
		address->host[length - 1] = 0;
		memmove(address->host, address->host + 1, length - 1);
	}
	address->port = xstrdup(port);
	address->port_last = (int)to;
	snprintf(address->text, sizeof(address->text),
		 strchr(address->host, ':') ? "tcp:[%.100s]:%.20s" : "tcp:%.100s:%.20s", address->host, address->port);
	family = ipv4 && ipv6 ? AF_UNSPEC : ipv6 ? AF_INET6 : AF_INET;
	return resolve(address, family, server, err);
}

int socket_address_read(struct socket_address *address, struct options *options, bool server, struct error *err)
{
	const char *path = options_get(options, "path");
	const char *fd = options_get(options, "fd");
	struct stat info;
	uint64_t number;

	address->fd = -1;
	address->tight = true;
	if (path) {
		if (options_bool(options, "abstract", &address->abstract, err) ||
		    options_bool(options, "tight", &address->tight, err))
			return -EINVAL;
		address->kind = SOCKET_UNIX;
		address->path = xstrdup(path);
		return fill_unix(address, err);
	}
	if (!fd)
		return read_tcp(address, options, server, err);
	if (parse_u64(fd, INT32_MAX, &number, err))
		return error_prefix(err, "fd=%s", fd);
	if (fstat((int)number, &info) || !S_ISSOCK(info.st_mode))
		return error_set(err, EBADF, "fd=%s is not an open socket", fd);
	address->kind = SOCKET_FD;
	address->fd = (int)number;
	snprintf(address->text, sizeof(address->text), "fd:%d", address->fd);
	return 0;
}

void socket_address_free(struct socket_address *address)
{
	free(address->path);
	free(address->host);
	free(address->port);
	*address = (struct socket_address){.fd = -1};
}

void socket_name(const struct sockaddr *name, socklen_t length, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";

	if (name->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)name;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(text, size, "tcp:%s:%u", host, ntohs(in->sin_port));
	} else if (name->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(text, size, "tcp:[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		snprintf(text, size, "unix");
	}
}

/* A socket file without a listener is left over from a process that died. */
static int remove_stale(const struct socket_address *address, struct error *err)
{
	struct stat info;
	int fd, result;

	if (lstat(address->path, &info))
		return 0;
	if (!S_ISSOCK(info.st_mode))
		return error_set(err, EEXIST, "%s exists and is not a socket", address->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "making a socket");
	result = connect(fd, (const struct sockaddr *)&address->targets[0].address, address->targets[0].length);
	if (!result || errno != ECONNREFUSED) {
		close(fd);
		return error_set(err, EADDRINUSE, "%s: another process listens there; choose another path or end it",
				 address->path);
	}
	close(fd);
	unlink(address->path);
	return 0;
}

static int listen_at(const struct socket_target *target)
{
	int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, code;

	if (fd < 0)
		return -errno;
	if (target->address.ss_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!bind(fd, (const struct sockaddr *)&target->address, target->length) && !listen(fd, 1))
		return fd;
	code = errno;
	close(fd);
	return -code;
}

static void set_port(struct socket_target *target, int port)
{
	if (target->address.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&target->address)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)&target->address)->sin_port = htons((uint16_t)port);
}

static int get_port(const struct socket_target *target)
{
	if (target->address.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&target->address)->sin6_port);
	return ntohs(((const struct sockaddr_in *)&target->address)->sin_port);
}

static int listen_tcp(struct socket_address *address, struct error *err)
{
	int first = address->target_count ? get_port(&address->targets[0]) : 0;
	int result = -EADDRNOTAVAIL;

	for (int port = first; port <= (address->port_last > first ? address->port_last : first); port++) {
		for (unsigned i = 0; i < address->target_count; i++) {
			struct sockaddr_storage name;
			socklen_t length = sizeof(name);

			set_port(&address->targets[i], port);
			result = listen_at(&address->targets[i]);
			if (result < 0)
				continue;
			if (!getsockname(result, (struct sockaddr *)&name, &length))
				socket_name((struct sockaddr *)&name, length, address->text, sizeof(address->text));
			return result;
		}
		if (result != -EADDRINUSE)
			break;
	}
	return error_set_errno(err, -result, "listening on %s", address->text);
}

int socket_listen(struct socket_address *address, struct error *err)
{
	int result;

	if (address->kind == SOCKET_FD)
		return address->fd;
	if (address->kind == SOCKET_TCP)
		return listen_tcp(address, err);
	if (!address->abstract) {
		result = remove_stale(address, err);
		if (result)
			return result;
	}
	result = listen_at(&address->targets[0]);
	if (result < 0)
		return error_set_errno(err, -result, "listening on %s", address->text);
	return result;
}

int socket_connect_start(const struct socket_address *address, unsigned n, bool *pending)
{
	const struct socket_target *target = &address->targets[n];
	int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int code;

	*pending = false;
	if (fd < 0)
		return -errno;
	if (!connect(fd, (const struct sockaddr *)&target->address, target->length))
		return fd;
	code = errno;
	if (code == EINPROGRESS) {
		*pending = true;
		return fd;
	}
	close(fd);
	return -code;
}
