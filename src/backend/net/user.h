/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts of the user network: user.c carries frames, user_poll.c waits for libslirp's sockets, user_config.c
 * reads the options, user_forward.c forwards ports. */
#ifndef XUNI_BACKEND_NET_USER_H
#define XUNI_BACKEND_NET_USER_H

#include "backend/net/net.h"
#include "backend/net/reassembly.h"
#include "base/log.h"
#include "base/loop.h"

#include <slirp/libslirp.h>

struct user_forward;

/* A socket of libslirp's as epoll knows it; indexed by descriptor. */
struct user_socket {
	uint32_t registered; /* epoll events, 0: not in the set */
	uint32_t wanted;
	unsigned index; /* libslirp's in the current round */
};

struct user_frame {
	struct user_frame *next;
	size_t length; /* with the header when there is one */
	uint8_t data[];
};

struct user_timer {
	struct net_user *user;
	SlirpTimerId id;
	void *opaque;
	struct loop_timer timer;
};

struct net_user {
	struct net_backend backend;
	Slirp *slirp;
	struct log_limit log_limit;
	struct reassembly reassembly; /* of what the guest sends */

	/* libslirp's sockets have an epoll set of their own, which is one descriptor to the loop. */
	int epoll_fd;
	struct loop_fd *watch;
	struct loop_timer timer; /* the next service: libslirp's timeouts, or at the end of this pass */
	bool closing;
	bool active;       /* the guest sent something since the last service */
	int64_t active_ns; /* when anything moved last */
	struct user_socket *sockets;
	size_t socket_capacity;
	int *round, *previous; /* descriptors of this and the last round */
	uint32_t *revents;     /* by index */
	size_t round_count, previous_count, round_capacity;

	uint32_t offloads; /* what the guest takes */
	bool header;
	uint8_t *staging; /* FRAME_MAX bytes: a frame of the guest in one piece */

	/* Frames for a NIC without room. */
	struct user_frame *waiting, **waiting_last;
	size_t waiting_bytes;
	bool paused;

	/* As configured, for info and forwarding. */
	bool ipv4, ipv6, restricted;
	struct in_addr net, mask, host, dhcp_start, dns;
	struct in6_addr net6, host6, dns6;
	uint8_t prefix6_bits;
	struct user_forward *forwards; /* guestfwd */
};

/* Reads everything but forwards and creates user->slirp. */
int user_configure(struct net_user *user, const SlirpCb *callbacks, struct options *options, struct error *err);

/* hostfwd= and guestfwd= of the options. */
int user_forward_open(struct net_user *user, struct options *options, struct error *err);
void user_forward_close(struct net_user *user);
int user_hostfwd(struct net_backend *backend, bool add, const char *rule, struct error *err);
/* Reports what happened on the sockets to libslirp and learns what it waits for next. */
void user_service(struct net_user *user);
/* A descriptor number may come back as another socket: what epoll knew of it no longer counts. */
void user_forget_socket(struct net_user *user, int fd);
/* Libslirp has to look at its sockets again, at the end of this pass of the loop. */
void user_service_soon(struct net_user *user);
/* Guest-forwarded streams that waited for room in libslirp. */
void user_forward_resume(struct net_user *user);

#endif
