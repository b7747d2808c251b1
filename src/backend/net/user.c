/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The user network: libslirp's TCP/IP stack plays router, DHCP, DNS and TFTP server for the guest and makes ordinary
 * sockets of its connections, so that no privilege is needed.
 *
 * Large frames. For a guest that runs emulated, the cost is per packet. libslirp takes TCP packets of any size as they
 * come, so segmentation offload is offered to the guest, and no frame is ever cut on the way out: only checksums are
 * completed. In the other direction libslirp makes segments as large as the guest's SYN allows: when the guest can
 * receive large ones, the option in the SYN is raised on the way through, and the frame is labelled with the segment
 * size it stands for.
 */
#include "backend/net/user.h"

#include "backend/net/frame.h"
#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define WAITING_PAUSE (256 * KIB) /* of frames that the NIC did not take: stop reading sockets */
#define WAITING_MAX   (4 * MIB)   /* drop */
#define GUEST_MTU     1500
#define RAISED_MSS    32768 /* libslirp's own limit (TCP_MAXSEG_MAX) */

/* --- to the guest --- */

static void set_paused(struct net_user *user, bool paused)
{
	if (user->paused == paused || !user->watch)
		return;
	user->paused = paused;
	loop_fd_events(user->watch, paused ? 0 : EPOLLIN);
	if (!paused)
		user_service_soon(user);
}

static void keep(struct net_user *user, const struct iovec *iov, int iov_count, size_t length)
{
	struct user_frame *frame;
	size_t at = 0;

	if (user->waiting_bytes + length > WAITING_MAX)
		return; /* as a full queue of a switch; TCP sends it again */
	frame = xcalloc(1, sizeof(*frame) + length);
	frame->length = length;
	for (int i = 0; i < iov_count; i++) {
		memcpy(frame->data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	*user->waiting_last = frame;
	user->waiting_last = &frame->next;
	user->waiting_bytes += length;
	if (user->waiting_bytes > WAITING_PAUSE)
		set_paused(user, true);
}

static void user_resume(struct net_backend *backend)
{
	struct net_user *user = (struct net_user *)backend;

	while (user->waiting) {
		struct user_frame *frame = user->waiting;
		struct iovec iov = {frame->data, frame->length};

		if (!net_deliver(backend, 0, &iov, 1, frame->length))
			return;
		user->waiting = frame->next;
		user->waiting_bytes -= frame->length;
		free(frame);
	}
	user->waiting_last = &user->waiting;
	set_paused(user, false);
}

static void deliver(struct net_user *user, const struct net_header *header, const uint8_t *data, size_t length)
{
	struct iovec iov[2] = {{(void *)header, sizeof(*header)}, {(void *)data, length}};
	const struct iovec *first = user->header ? iov : iov + 1;
	int count = user->header ? 2 : 1;

	if (user->header)
		length += sizeof(*header);
	if (user->waiting || !net_deliver(&user->backend, 0, first, count, length))
		keep(user, first, count, length);
}

static void deliver_piece(void *opaque, uint8_t *data, size_t length)
{
	struct net_user *user = opaque;
	struct net_header header = {.flags = user->offloads & NET_CSUM ? NET_HEADER_DATA_VALID : 0};

	deliver(user, &header, data, length);
}

/* A TCP frame larger than the guest's MTU goes as one when the guest takes such, with the checksum begun as for a
 * packet that was never on a wire (virtio 1.2 5.1.6.4.1). */
static bool deliver_large(struct net_user *user, const uint8_t *data, size_t length, const struct frame *frame)
{
	struct net_header header = {.flags = NET_HEADER_NEEDS_CSUM, .csum_offset = 16};
	uint16_t sum;

	if (frame->protocol != 6 || !frame->payload || !(user->offloads & (frame->is_v6 ? NET_TSO6 : NET_TSO4)))
		return false;
	memcpy(user->staging, data, length);
	sum = checksum_fold(checksum_pseudo(data, frame, frame->end - frame->l4));
	memcpy(user->staging + frame->l4 + 16, &sum, 2);
	header.gso_type = frame->is_v6 ? NET_GSO_TCP6 : NET_GSO_TCP4;
	header.header_length = (uint16_t)frame->payload;
	header.gso_size = (uint16_t)(GUEST_MTU - (frame->payload - frame->ip));
	header.csum_start = (uint16_t)frame->l4;
	deliver(user, &header, user->staging, length);
	return true;
}

static ssize_t send_packet(const void *buffer, size_t length, void *opaque)
{
	struct net_user *user = opaque;
	struct frame frame;

	if (user->closing || length > FRAME_MAX)
		return (ssize_t)length;
	if (length <= GUEST_MTU + FRAME_ETHERNET)
		deliver_piece(user, (void *)buffer, length);
	else if (frame_parse(buffer, length, &frame) && !deliver_large(user, buffer, length, &frame))
		frame_cut(buffer, length, &frame, GUEST_MTU, deliver_piece, user);
	return (ssize_t)length;
}

/* --- from the guest --- */

/* Completes what offloads left open; the frame is in user->staging. */
static bool complete(struct net_user *user, const struct net_header *header, size_t length)
{
	struct frame frame;

	if (header->gso_type != NET_GSO_NONE) {
		uint8_t type = header->gso_type & (uint8_t)~NET_GSO_ECN;

		if (!frame_parse(user->staging, length, &frame) || (type != NET_GSO_TCP4 && type != NET_GSO_TCP6))
			return false;
		return frame.protocol == 6 && frame_checksum(user->staging, &frame);
	}
	if (header->flags & NET_HEADER_NEEDS_CSUM)
		return frame_checksum_at(user->staging, length, header->csum_start, header->csum_offset);
	return true;
}

static void user_send(struct net_backend *backend, const struct iovec *iov, int iov_count, size_t length)
{
	struct net_user *user = (struct net_user *)backend;
	struct net_header header = {0};
	size_t skip = user->header ? sizeof(header) : 0, at = 0;
	struct frame frame;

	if (length < skip + FRAME_ETHERNET || length > skip + FRAME_MAX)
		return;
	/* One copy, because the guest may go on writing into its buffers and checksums are written here. */
	for (int i = 0; i < iov_count; i++) {
		const uint8_t *from = iov[i].iov_base;
		size_t count = iov[i].iov_len, head = at < skip ? skip - at : 0;

		if (head > count)
			head = count;
		if (at + count > length)
			return;
		memcpy((uint8_t *)&header + at, from, head);
		memcpy(user->staging + at + head - skip, from + head, count - head);
		at += count;
	}
	length = at - skip;
	if (!complete(user, &header, length)) {
		log_guest(backend->log, &user->log_limit, "netdev %s: a frame whose header does not fit it",
			  backend->id);
		return;
	}
	if (user->offloads & (NET_TSO4 | NET_TSO6) && length < 128 && frame_parse(user->staging, length, &frame) &&
	    user->offloads & (frame.is_v6 ? NET_TSO6 : NET_TSO4))
		frame_raise_mss(user->staging, &frame, RAISED_MSS);
	/* libslirp 4.7 puts packets together again with list links that lie in the packets' own memory; two fragments that
	 * a fuzzer chose make it read through them. A guest must not reach that. */
	if (frame_is_fragment(user->staging, length))
		length = reassembly_add(&user->reassembly, user->staging, length, host_now_ns());
	if (!length)
		return;
	slirp_input(user->slirp, user->staging, (int)length);
	user->active = true;
	user_service_soon(user);
}

/* --- libslirp's other callbacks --- */

static void guest_error(const char *message, void *opaque)
{
	struct net_user *user = opaque;

	log_guest(user->backend.log, &user->log_limit, "netdev %s: %s", user->backend.id, message);
}

static int64_t clock_get_ns(void *opaque)
{
	return host_now_ns();
}

static void slirp_timer_due(void *opaque)
{
	struct user_timer *timer = opaque;

	slirp_handle_timer(timer->user->slirp, timer->id, timer->opaque);
	user_service_soon(timer->user);
}

static void *timer_new_opaque(SlirpTimerId id, void *timer_opaque, void *opaque)
{
	struct net_user *user = opaque;
	struct user_timer *timer = xcalloc(1, sizeof(*timer));

	timer->user = user;
	timer->id = id;
	timer->opaque = timer_opaque;
	loop_timer_init(&timer->timer, user->backend.loop, slirp_timer_due, timer);
	return timer;
}

static void timer_free(void *opaque_timer, void *opaque)
{
	struct user_timer *timer = opaque_timer;

	loop_timer_cancel(&timer->timer);
	free(timer);
}

static void timer_mod(void *opaque_timer, int64_t expire_ms, void *opaque)
{
	struct user_timer *timer = opaque_timer;

	loop_timer_set(&timer->timer, expire_ms * NS_PER_MS);
}

/* A descriptor number may come back as another socket: what epoll knew of it no longer counts. */
static void poll_fd_changed(int fd, void *opaque)
{
	if (fd >= 0)
		user_forget_socket(opaque, fd);
}

static void notify(void *opaque)
{
	user_service_soon(opaque);
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = poll_fd_changed,
	.unregister_poll_fd = poll_fd_changed,
	.notify = notify,
	.timer_new_opaque = timer_new_opaque,
};

/* --- driver --- */

static void sockets_ready(void *opaque, uint32_t events)
{
	user_service(opaque);
}

static void timer_due(void *opaque)
{
	user_service(opaque);
}

static void user_close(struct net_backend *backend)
{
	struct net_user *user = (struct net_user *)backend;

	user->closing = true;
	user_forward_close(user);
	if (user->slirp)
		slirp_cleanup(user->slirp);
	loop_timer_cancel(&user->timer);
	if (user->watch)
		loop_fd_remove(user->watch);
	if (user->epoll_fd >= 0)
		close(user->epoll_fd);
	while (user->waiting) {
		struct user_frame *frame = user->waiting;

		user->waiting = frame->next;
		free(frame);
	}
	free(user->sockets);
	free(user->round);
	free(user->previous);
	free(user->revents);
	reassembly_clear(&user->reassembly);
	free(user->staging);
}

static int user_open(struct net_backend *backend, struct options *options, struct error *err)
{
	struct net_user *user = (struct net_user *)backend;
	int result;

	user->waiting_last = &user->waiting;
	user->staging = xcalloc(1, FRAME_MAX);
	loop_timer_init(&user->timer, backend->loop, timer_due, user);
	user->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	result = user->epoll_fd < 0 ? error_set_errno(err, errno, "no epoll descriptor") : 0;
	if (!result)
		result = user_configure(user, &callbacks, options, err);
	if (!result) {
		user->watch = loop_fd_add(backend->loop, user->epoll_fd, EPOLLIN, sockets_ready, user);
		result = user_forward_open(user, options, err);
	}
	if (result) {
		user_close(backend);
		return result;
	}
	user_service_soon(user);
	return 0;
}

static uint32_t user_offloads(struct net_backend *backend)
{
	return NET_VNET_HDR | NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
}

static void user_set_offloads(struct net_backend *backend, uint32_t offloads, unsigned header_bytes)
{
	struct net_user *user = (struct net_user *)backend;

	user->offloads = header_bytes ? offloads : 0;
	user->header = header_bytes != 0;
	/* Frames made for another form of header. */
	while (user->waiting) {
		struct user_frame *frame = user->waiting;

		user->waiting = frame->next;
		free(frame);
	}
	user->waiting_last = &user->waiting;
	user->waiting_bytes = 0;
	set_paused(user, false);
}

static void user_describe(struct net_backend *backend, char *text, size_t size)
{
	const struct net_user *user = (const struct net_user *)backend;
	char net[INET_ADDRSTRLEN] = "";

	inet_ntop(AF_INET, &user->net, net, sizeof(net));
	snprintf(text, size, "user,net=%s,restrict=%s", net, user->restricted ? "on" : "off");
}

static char *user_info(struct net_backend *backend)
{
	char *text = slirp_connection_info(((struct net_user *)backend)->slirp);
	char *copy = xasprintf("%s:\n%s", backend->id, text);

	free(text);
	return copy;
}

static const char *const user_known[] = {
	"ipv4",
	"net",
	"host",
	"ipv6",
	"ipv6-net",
	"ipv6-prefix",
	"ipv6-prefixlen",
	"ipv6-host",
	"restrict",
	"hostname",
	"dhcpstart",
	"dns",
	"ipv6-dns",
	"dnssearch",
	"domainname",
	"tftp",
	"tftp-server-name",
	"bootfile",
	"hostfwd",
	"guestfwd",
	"smb",
	"smbserver",
	NULL,
};

const struct net_driver net_user_driver = {
	.name = "user",
	.help = "NAT in the VMM itself, without privilege; hostfwd=tcp::2222-:22 lets the host in",
	.size = sizeof(struct net_user),
	.known = user_known,
	.open = user_open,
	.close = user_close,
	.send = user_send,
	.resume = user_resume,
	.offloads = user_offloads,
	.set_offloads = user_set_offloads,
	.describe = user_describe,
	.hostfwd = user_hostfwd,
	.info = user_info,
};
