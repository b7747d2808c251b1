/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets and threads of the NBD server; the protocol is a session's (session.h). A connection's thread turns its loop
 * itself, so that everything that a pass completed goes out in one system call. It tells the server that it has ended
 * by the server's eventfd.
 */
#include "backend/block/nbd/session.h"

#include "base/loop.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE_NS    (15 * NS_PER_S) /* for a client to choose its export */
#define ACCEPT_AGAIN_NS NS_PER_S
#define SEND_VECTORS    64
#define READS_A_PASS    16

struct connection {
	struct connection *next;
	struct nbd_server *server;
	int fd;
	pthread_t thread;
	struct loop *loop;
	struct nbd_session *session;
	struct loop_fd *watch;
	uint32_t watched;
	struct loop_timer patience;
	bool used; /* the client chose an export */
	_Atomic bool ended;
};

struct listener {
	struct listener *next;
	struct nbd_server *server;
	int fd;
	struct loop_fd *watch;
};

struct nbd_server {
	struct loop *loop;
	struct nbd_server_config config;
	struct listener *listeners;
	struct connection *connections;
	unsigned count;
	int ended_fd;
	struct loop_fd *ended_watch;
	struct loop_timer accept_again;
};

/* --- a connection, in its thread --- */

static void read_socket(struct connection *c)
{
	for (unsigned i = 0; i < READS_A_PASS; i++) {
		void *to;
		const size_t room = nbd_session_room(c->session, &to);
		ssize_t got;

		if (!room)
			return;
		got = recv(c->fd, to, room, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got <= 0) {
			nbd_session_hang_up(c->session);
			return;
		}
		nbd_session_received(c->session, (size_t)got);
		if ((size_t)got < room)
			return;
	}
}

/* False when the socket is full. */
static bool write_socket(struct connection *c)
{
	struct iovec iov[SEND_VECTORS];
	int count;

	while ((count = nbd_session_output(c->session, iov, SEND_VECTORS))) {
		const struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
		ssize_t put = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN)
			return false;
		if (put < 0)
			nbd_session_hang_up(c->session);
		else
			nbd_session_sent(c->session, (size_t)put);
	}
	return true;
}

static void on_socket(void *opaque, uint32_t events)
{
	struct connection *c = opaque;
	void *to;

	if (events & EPOLLIN)
		read_socket(c);
	/* Nobody reads what we would answer, and nobody will. */
	else if (events & (EPOLLHUP | EPOLLERR) && !nbd_session_room(c->session, &to))
		nbd_session_hang_up(c->session);
}

/* After a pass: sends, and goes on with input that waited for room. */
static void settle(struct connection *c)
{
	uint32_t wanted = 0;
	bool sent = write_socket(c);
	void *to;

	nbd_session_received(c->session, 0);
	if (sent)
		sent = write_socket(c);
	if (c->session->queue)
		block_queue_kick(c->session->queue);
	if (nbd_session_room(c->session, &to))
		wanted |= EPOLLIN;
	if (!sent)
		wanted |= EPOLLOUT;
	if (wanted != c->watched)
		loop_fd_events(c->watch, wanted);
	c->watched = wanted;
}

static void on_patience_over(void *opaque)
{
	struct connection *c = opaque;

	if (c->session->phase != NBD_PHASE_TRANSMISSION)
		nbd_session_hang_up(c->session);
}

static void *run(void *opaque)
{
	struct connection *c = opaque;
	eventfd_t one = 1;

	c->session = nbd_session_new(&c->server->config, c->loop);
	c->watched = EPOLLIN;
	c->watch = loop_fd_add(c->loop, c->fd, c->watched, on_socket, c);
	loop_timer_init(&c->patience, c->loop, on_patience_over, c);
	loop_timer_set(&c->patience, host_now_ns() + HANDSHAKE_NS);
	settle(c);
	while (!nbd_session_is_over(c->session)) {
		loop_poll(c->loop, -1);
		settle(c);
	}
	loop_timer_cancel(&c->patience);
	loop_fd_remove(c->watch);
	c->used = c->session->export != NULL;
	nbd_session_free(c->session);
	atomic_store(&c->ended, true);
	/* The server's until it has joined this thread. */
	if (write(c->server->ended_fd, &one, sizeof(one)) < 0) {
		/* It is at its limit, so the server knows already. */
	}
	return NULL;
}

static void stop(void *opaque)
{
	struct connection *c = opaque;

	nbd_session_hang_up(c->session);
}

/* --- connections, in the control thread --- */

static void watch_listeners(struct nbd_server *server)
{
	const bool room = !server->config.max_connections || server->count < server->config.max_connections;

	for (struct listener *l = server->listeners; l; l = l->next)
		loop_fd_events(l->watch, room ? EPOLLIN : 0);
}

static void connection_free(struct connection *c)
{
	pthread_join(c->thread, NULL);
	close(c->fd);
	loop_free(c->loop);
	free(c);
}

static void on_ended(void *opaque, uint32_t events)
{
	struct nbd_server *server = opaque;
	struct connection **link = &server->connections;
	eventfd_t ignored;
	bool used;

	eventfd_read(server->ended_fd, &ignored);
	while (*link) {
		struct connection *c = *link;

		if (!atomic_load(&c->ended)) {
			link = &c->next;
			continue;
		}
		*link = c->next;
		used = c->used;
		connection_free(c);
		server->count--;
		watch_listeners(server);
		if (server->config.disconnected)
			server->config.disconnected(server->config.opaque, used, server->count);
	}
}

static int start_thread(struct connection *c)
{
	sigset_t all, before;
	int result;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	result = pthread_create(&c->thread, NULL, run, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}

static void take_client(struct nbd_server *server, int fd)
{
	struct connection *c = xcalloc(1, sizeof(*c));
	const int on = 1;

	c->server = server;
	c->fd = fd;
	/* Fails for Unix sockets, which need neither. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	c->loop = loop_new(NULL);
	if (!c->loop || start_thread(c)) {
		loop_free(c->loop);
		close(fd);
		free(c);
		return;
	}
	c->next = server->connections;
	server->connections = c;
	server->count++;
	watch_listeners(server);
}

static void on_client(void *opaque, uint32_t events)
{
	struct listener *l = opaque;
	struct nbd_server *server = l->server;
	int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		take_client(server, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		loop_fd_events(l->watch, 0);
		loop_timer_set(&server->accept_again, host_now_ns() + ACCEPT_AGAIN_NS);
	}
}

static void on_accept_again(void *opaque)
{
	watch_listeners(opaque);
}

/* --- life --- */

struct nbd_server *nbd_server_new(struct loop *loop, const struct nbd_server_config *config)
{
	struct nbd_server *server = xcalloc(1, sizeof(*server));

	server->loop = loop;
	server->config = *config;
	server->ended_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	server->ended_watch = loop_fd_add(loop, server->ended_fd, EPOLLIN, on_ended, server);
	loop_timer_init(&server->accept_again, loop, on_accept_again, server);
	return server;
}

void nbd_server_listen(struct nbd_server *server, int fd)
{
	struct listener *l = xcalloc(1, sizeof(*l));

	*l = (struct listener){.next = server->listeners, .server = server, .fd = fd};
	l->watch = loop_fd_add(server->loop, fd, EPOLLIN, on_client, l);
	server->listeners = l;
}

void nbd_server_stop_listening(struct nbd_server *server)
{
	while (server->listeners) {
		struct listener *l = server->listeners;

		server->listeners = l->next;
		loop_fd_remove(l->watch);
		close(l->fd);
		free(l);
	}
}

void nbd_server_free(struct nbd_server *server)
{
	if (!server)
		return;
	nbd_server_stop_listening(server);
	loop_timer_cancel(&server->accept_again);
	for (struct connection *c = server->connections; c; c = c->next)
		loop_post(c->loop, stop, c);
	while (server->connections) {
		struct connection *c = server->connections;

		server->connections = c->next;
		connection_free(c);
	}
	loop_fd_remove(server->ended_watch);
	close(server->ended_fd);
	free(server);
}
