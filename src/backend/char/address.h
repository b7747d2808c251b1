/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stream socket addresses as -chardev socket spells them: unix paths, abstract names, TCP host and port, fd=. */
#ifndef XUNI_BACKEND_CHAR_ADDRESS_H
#define XUNI_BACKEND_CHAR_ADDRESS_H

#include "base/error.h"
#include "base/options.h"

#include <stddef.h>
#include <sys/socket.h>

enum socket_kind { SOCKET_UNIX, SOCKET_TCP, SOCKET_FD };

/* One address a name resolved to. */
struct socket_target {
	struct sockaddr_storage address;
	socklen_t length;
};

#define SOCKET_TARGETS_MAX 8

struct socket_address {
	enum socket_kind kind;
	char *path; /* unix */
	bool abstract, tight;
	char *host, *port; /* tcp */
	int port_last;     /* to=, or 0 */
	int fd;            /* fd= */
	char text[160];    /* "unix:/path", "tcp:host:port" for people */
	struct socket_target targets[SOCKET_TARGETS_MAX];
	unsigned target_count;
};

/* Reads and resolves; what it allocates is freed by socket_address_free also after a failure. server: an empty host
 * means any. */
int socket_address_read(struct socket_address *address, struct options *options, bool server, struct error *err);
void socket_address_free(struct socket_address *address);

/* A listening descriptor; address->text then names the port really taken. A stale unix socket file is replaced, one
 * that somebody listens on is not. */
int socket_listen(struct socket_address *address, struct error *err);
/* Starts a connection to target n without waiting; *pending when it is not there yet. Returns the descriptor or a
 * negative errno. */
int socket_connect_start(const struct socket_address *address, unsigned n, bool *pending);
/* "tcp:127.0.0.1:5555" of a socket's peer or own name. */
void socket_name(const struct sockaddr *name, socklen_t length, char *text, size_t size);

#endif
