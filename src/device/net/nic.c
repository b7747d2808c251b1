/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the rings of a card and its back end: nic.h. */
#include "device/net/nic.h"

#include "base/util.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { FRAMES_A_TURN = 256, RETRY_NS = 2000000 };

/* --- to the back end --- */

static void send_plain(void *opaque, uint8_t *data, size_t length)
{
	struct nic *nic = opaque;
	struct iovec iov = {data, length};

	net_send(nic->netdev, 0, &iov, 1, length);
}

/* For a back end that takes nothing but complete frames. */
static void send_completed(struct nic *nic, struct nic_out *out)
{
	const struct net_header *header = &out->header;
	struct frame frame;

	if (header->gso_type != NET_GSO_NONE) {
		size_t mtu;

		if (!frame_parse(out->data, out->length, &frame) || frame.protocol != 6 || !frame.payload)
			return;
		mtu = frame.payload - frame.ip + header->gso_size;
		frame_cut(out->data, out->length, &frame, mtu, send_plain, nic);
		return;
	}
	if (header->flags & NET_HEADER_NEEDS_CSUM &&
	    !frame_checksum_at(out->data, out->length, header->csum_start, header->csum_offset))
		return;
	send_plain(nic, out->data, out->length);
}

static void send_out(struct nic *nic, struct nic_out *out)
{
	struct iovec iov[2] = {{&out->header, sizeof(out->header)}, {out->data, out->length}};

	if (!nic->netdev || out->length < FRAME_ETHERNET)
		return;
	if (nic->header)
		net_send(nic->netdev, 0, iov, 2, out->length + sizeof(out->header));
	else
		send_completed(nic, out);
}

void nic_out_tag(struct nic_out *out, uint16_t type, uint16_t tag)
{
	out->data -= NIC_VLAN_BYTES;
	memmove(out->data, out->data + NIC_VLAN_BYTES, 12);
	store_be16(out->data + 12, type);
	store_be16(out->data + 14, tag);
	out->length += NIC_VLAN_BYTES;
	if (out->header.flags)
		out->header.csum_start += NIC_VLAN_BYTES;
	if (out->header.gso_type)
		out->header.header_length += NIC_VLAN_BYTES;
}

bool nic_out_large(struct nic_out *out, uint16_t mss)
{
	uint8_t *data = out->data, *ip;
	size_t at = load_be16(data + 12) == 0x8100 ? 18 : 14, header;
	struct frame frame;
	uint16_t sum;

	if (out->length < at + 40 || out->length - at > 65535 || !mss)
		return false;
	ip = data + at;
	header = (ip[0] & 15u) * 4;
	if (ip[0] >> 4 == 4 && header >= 20 && at + header <= out->length) {
		store_be16(ip + 2, (uint16_t)(out->length - at));
		store_be16(ip + 10, 0);
		sum = (uint16_t)~checksum_fold(checksum_add(0, ip, header));
		memcpy(ip + 10, &sum, 2);
	} else if (ip[0] >> 4 == 6) {
		store_be16(ip + 4, (uint16_t)(out->length - at - 40));
	}
	if (!frame_parse(data, out->length, &frame) || frame.protocol != 6 || !frame.payload)
		return false;
	sum = checksum_fold(checksum_pseudo(data, &frame, frame.end - frame.l4));
	memcpy(data + frame.l4 + 16, &sum, 2);
	out->header.flags = NET_HEADER_NEEDS_CSUM;
	out->header.csum_start = (uint16_t)frame.l4;
	out->header.csum_offset = 16;
	if (frame.end - frame.payload > mss) {
		out->header.gso_type = frame.is_v6 ? NET_GSO_TCP6 : NET_GSO_TCP4;
		out->header.gso_size = mss;
		out->header.header_length = (uint16_t)frame.payload;
	}
	return true;
}

/* --- from the back end --- */

/* Under the lock. */
static bool give(struct nic *nic, struct nic_in *in)
{
	if (in->length < NIC_FRAME_MIN) {
		if (in->data != nic->in_data)
			memcpy(nic->in_data, in->data, in->length);
		memset(nic->in_data + in->length, 0, NIC_FRAME_MIN - in->length);
		in->data = nic->in_data;
		in->length = NIC_FRAME_MIN;
	}
	return nic->ops->receive(nic, in);
}

/* The frame in one piece, its checksum complete, because the wire ends here. */
static bool take_in(struct nic *nic, const struct iovec *iov, int iov_count, size_t length, struct nic_in *in)
{
	struct net_header header = {0};
	size_t skip = nic->header ? sizeof(header) : 0, at = 0;

	if (length < skip + FRAME_ETHERNET || length - skip > FRAME_MAX)
		return false;
	for (int i = 0; i < iov_count; i++) {
		size_t head = at < skip ? min_u64(skip - at, iov[i].iov_len) : 0, rest = iov[i].iov_len - head;

		if (at + iov[i].iov_len > length)
			return false;
		memcpy((uint8_t *)&header + min_u64(at, skip), iov[i].iov_base, head);
		if (at + head == skip && rest == length - skip)
			in->data = (uint8_t *)iov[i].iov_base + head;
		else if (rest)
			memcpy(nic->in_data + at + head - skip, (uint8_t *)iov[i].iov_base + head, rest);
		at += iov[i].iov_len;
	}
	in->length = length - skip;
	in->sums_good = header.flags & (NET_HEADER_DATA_VALID | NET_HEADER_NEEDS_CSUM);
	if (!in->data)
		in->data = nic->in_data;
	if (!(header.flags & NET_HEADER_NEEDS_CSUM))
		return true;
	if (in->data != nic->in_data)
		memcpy(nic->in_data, in->data, in->length);
	in->data = nic->in_data;
	return frame_checksum_at(nic->in_data, in->length, header.csum_start, header.csum_offset);
}

static bool receive(void *opaque, const struct iovec *iov, int iov_count, size_t length)
{
	struct nic *nic = opaque;
	struct nic_in in = {0};
	bool done;

	if (!take_in(nic, iov, iov_count, length, &in))
		return true;
	pthread_mutex_lock(&nic->lock);
	done = give(nic, &in);
	pthread_mutex_unlock(&nic->lock);
	return done;
}

static void link_changed(void *opaque, bool up)
{
	struct nic *nic = opaque;

	pthread_mutex_lock(&nic->lock);
	nic->ops->link_changed(nic, up);
	pthread_mutex_unlock(&nic->lock);
}

/* --- the loop's turn --- */

static void transmit_turn(struct nic *nic)
{
	unsigned left = FRAMES_A_TURN;
	enum nic_turn turn;

	pthread_mutex_lock(&nic->lock);
	do {
		struct nic_out out = {.data = nic->out_data};

		turn = nic->ops->transmit(nic, &out);
		if (turn != NIC_FRAME)
			continue;
		if (out.loopback) {
			struct nic_in in = {.data = out.data, .length = out.length};

			give(nic, &in);
			continue;
		}
		pthread_mutex_unlock(&nic->lock);
		send_out(nic, &out);
		pthread_mutex_lock(&nic->lock);
	} while (turn != NIC_IDLE && --left);
	pthread_mutex_unlock(&nic->lock);
	if (turn != NIC_IDLE)
		nic_kick(nic, NIC_KICK_TRANSMIT);
}

static void kicked(void *opaque, uint32_t epoll_events)
{
	struct nic *nic = opaque;
	eventfd_t count;
	uint32_t kicks;

	eventfd_read(nic->event_fd, &count);
	kicks = atomic_exchange(&nic->kicks, 0);
	if (kicks & NIC_KICK_TRANSMIT)
		transmit_turn(nic);
	if (kicks & NIC_KICK_RECEIVE && nic->netdev)
		net_resume(nic->netdev);
}

static void retry_due(void *opaque)
{
	struct nic *nic = opaque;

	if (nic->netdev)
		net_resume(nic->netdev);
}

void nic_retry(struct nic *nic)
{
	loop_timer_set(&nic->retry, host_now_ns() + RETRY_NS);
}

void nic_kick(struct nic *nic, uint32_t kicks)
{
	if (!atomic_fetch_or(&nic->kicks, kicks))
		eventfd_write(nic->event_fd, 1);
}

/* --- life --- */

bool nic_link(const struct nic *nic)
{
	return nic->netdev && nic->netdev->link_up;
}

int nic_init(struct nic *nic, struct device *device, const struct nic_ops *ops, struct error *err)
{
	static const uint8_t none[6];
	struct net_port port = {.receive = receive, .link_changed = link_changed, .opaque = nic};
	struct loop *loop = nic->netdev ? nic->netdev->loop : device->env->loop;
	uint32_t can = nic->netdev ? net_offloads(nic->netdev) : 0;
	int result;

	nic->ops = ops;
	nic->device = device;
	device->boot_name = "/ethernet-phy@0";
	nic->mac_lock = -1;
	if (nic_is_multicast(nic->mac))
		return error_set(err, EINVAL,
				 "mac=: an address that begins with %02x is a multicast address, not a card's",
				 nic->mac[0]);
	nic->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (nic->event_fd < 0)
		return error_set_errno(err, errno, "no event descriptor");
	if (!memcmp(nic->mac, none, sizeof(none))) {
		result = net_mac_allocate(nic->mac, &nic->mac_lock, err);
		if (result) {
			close(nic->event_fd);
			return result;
		}
	}
	pthread_mutex_init(&nic->lock, NULL);
	/* With a tag that the card puts in. */
	nic->out_data = xcalloc(1, FRAME_MAX + 2 * NIC_VLAN_BYTES);
	nic->in_data = xcalloc(1, FRAME_MAX);
	loop_timer_init(&nic->retry, loop, retry_due, nic);
	nic->watch = loop_fd_add(loop, nic->event_fd, EPOLLIN, kicked, nic);
	if (nic->netdev) {
		nic->header = can & NET_VNET_HDR;
		net_attach(nic->netdev, &port);
		net_set_offloads(nic->netdev, nic->header ? can & NET_CSUM : 0,
				 nic->header ? sizeof(struct net_header) : 0);
	}
	return 0;
}

void nic_fini(struct nic *nic)
{
	if (nic->netdev)
		net_detach(nic->netdev);
	loop_timer_cancel(&nic->retry);
	loop_fd_remove(nic->watch);
	close(nic->event_fd);
	free(nic->out_data);
	free(nic->in_data);
	net_mac_release(nic->mac_lock);
	pthread_mutex_destroy(&nic->lock);
}

/* --- addresses --- */

uint32_t nic_crc_be(const uint8_t *data, size_t length)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < length; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			bool carry = crc >> 31 ^ (data[i] >> bit & 1);

			crc = crc << 1 ^ (carry ? 0x04c11db7 : 0);
		}
	return crc;
}

uint32_t nic_crc_le(const uint8_t *data, size_t length)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < length; i++) {
		crc ^= data[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return crc;
}

bool nic_is_broadcast(const uint8_t *frame)
{
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	return !memcmp(frame, all, sizeof(all));
}
