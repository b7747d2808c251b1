/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting for libslirp. Its sockets sit in one epoll set that is itself one descriptor of the loop. After anything that
 * may change what libslirp waits for, a timer that is due at once runs at the end of the loop's pass: one look at the
 * sockets for a whole batch of frames. When nothing is pending there is no timer at all.
 */
#include "backend/net/user.h"

#include "base/util.h"

#include <sys/epoll.h>

#define EVENTS_MAX         64
#define SLIRP_IDLE_TIMEOUT 1000 /* what libslirp asks for when it waits for nothing */
/* libslirp wants a tick every half second as long as any socket exists, a forwarded port included. When nothing moved
 * for a while, its tick (retransmission to a silent guest, age of fragments) may come late. */
#define SLOW_TICK_MS   499
#define QUIET_AFTER_NS (60 * NS_PER_S)
#define QUIET_TICK_MS  10000

static uint32_t to_epoll(int events)
{
	return (events & SLIRP_POLL_IN ? EPOLLIN : 0u) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0u) |
	       (events & SLIRP_POLL_PRI ? EPOLLPRI : 0u) | (events & SLIRP_POLL_ERR ? EPOLLERR : 0u) |
	       (events & SLIRP_POLL_HUP ? EPOLLHUP : 0u);
}

static int from_epoll(uint32_t events)
{
	return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/* --- sockets --- */

static struct user_socket *socket_at(struct net_user *user, int fd)
{
	size_t needed = (size_t)fd + 1;

	if (needed > user->socket_capacity) {
		size_t capacity = needed < 64 ? 64 : needed * 2;

		user->sockets = xrealloc(user->sockets, capacity * sizeof(*user->sockets));
		memset(user->sockets + user->socket_capacity, 0,
		       (capacity - user->socket_capacity) * sizeof(*user->sockets));
		user->socket_capacity = capacity;
	}
	return &user->sockets[fd];
}

static int add_poll(int fd, int events, void *opaque)
{
	struct net_user *user = opaque;
	struct user_socket *entry = socket_at(user, fd);

	if (user->round_count == user->round_capacity) {
		user->round_capacity = user->round_capacity ? 2 * user->round_capacity : 32;
		user->round = xrealloc(user->round, user->round_capacity * sizeof(*user->round));
		user->previous = xrealloc(user->previous, user->round_capacity * sizeof(*user->previous));
		user->revents = xrealloc(user->revents, user->round_capacity * sizeof(*user->revents));
	}
	entry->wanted = to_epoll(events);
	entry->index = (unsigned)user->round_count;
	user->round[user->round_count] = fd;
	user->revents[user->round_count] = 0;
	return (int)user->round_count++;
}

static int get_revents(int index, void *opaque)
{
	struct net_user *user = opaque;

	return index >= 0 && (size_t)index < user->round_count ? from_epoll(user->revents[index]) : 0;
}

void user_forget_socket(struct net_user *user, int fd)
{
	struct user_socket *entry = socket_at(user, fd);

	if (entry->registered)
		epoll_ctl(user->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	entry->registered = 0;
}

static void register_socket(struct net_user *user, int fd)
{
	struct user_socket *entry = socket_at(user, fd);
	struct epoll_event event = {.events = entry->wanted, .data.fd = fd};

	if (entry->registered == entry->wanted)
		return;
	if (!entry->registered || (epoll_ctl(user->epoll_fd, EPOLL_CTL_MOD, fd, &event) && errno == ENOENT))
		epoll_ctl(user->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	entry->registered = entry->wanted;
}

/* Asks libslirp what it waits for and makes the epoll set and the timer so. */
static void update(struct net_user *user)
{
	uint32_t timeout_ms = UINT32_MAX;
	int *swap = user->previous;

	user->previous = user->round;
	user->previous_count = user->round_count;
	user->round = swap;
	user->round_count = 0;
	for (size_t i = 0; i < user->previous_count; i++)
		user->sockets[user->previous[i]].wanted = 0;
	slirp_pollfds_fill(user->slirp, &timeout_ms, add_poll, user);
	for (size_t i = 0; i < user->previous_count; i++)
		if (!user->sockets[user->previous[i]].wanted)
			user_forget_socket(user, user->previous[i]);
	for (size_t i = 0; i < user->round_count; i++)
		if (user->sockets[user->round[i]].wanted)
			register_socket(user, user->round[i]);
	if (timeout_ms == SLOW_TICK_MS && host_now_ns() - user->active_ns > QUIET_AFTER_NS)
		timeout_ms = QUIET_TICK_MS;
	else if (timeout_ms >= SLIRP_IDLE_TIMEOUT)
		timeout_ms = UINT32_MAX;
	if (timeout_ms != UINT32_MAX)
		loop_timer_set(&user->timer, host_now_ns() + timeout_ms * NS_PER_MS);
	else
		loop_timer_cancel(&user->timer);
}

void user_service(struct net_user *user)
{
	struct epoll_event events[EVENTS_MAX];
	int count = user->paused ? 0 : epoll_wait(user->epoll_fd, events, EVENTS_MAX, 0);

	if (count > 0 || user->active)
		user->active_ns = host_now_ns();
	user->active = false;
	for (int i = 0; i < count; i++) {
		struct user_socket *entry = socket_at(user, events[i].data.fd);

		if (entry->index < user->round_count && user->round[entry->index] == events[i].data.fd)
			user->revents[entry->index] = events[i].events;
	}
	slirp_pollfds_poll(user->slirp, 0, get_revents, user);
	user_forward_resume(user);
	update(user);
}

void user_service_soon(struct net_user *user)
{
	/* Timers run after descriptors: this one at the end of the current pass. */
	if (!user->closing && user->timer.deadline_ns > 0)
		loop_timer_set(&user->timer, 0);
}
