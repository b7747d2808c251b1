/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The user network with a guest made by hand: it answers ARP, asks for a lease, pings the gateway, and speaks enough
 * TCP to talk to real servers and clients on the host's loopback, with and without large frames.
 */
#include "backend/net/frame.h"
#include "backend/net/net.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (5 * NS_PER_S)

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 1, 2, 3};

/* One TCP connection of the guest's. */
struct tcp {
	uint16_t port, peer_port;
	uint32_t peer_ip;        /* 0: the gateway */
	uint32_t sent, received; /* next sequence numbers */
	uint32_t acknowledged;
	bool open, closed;
	uint8_t *data;
	size_t length;
};

/* Received, not yet looked at: a card does not answer from inside the back end's call either. */
struct inbox {
	struct inbox *next;
	size_t length;
	uint8_t data[];
};

struct guest {
	struct loop *loop;
	struct log log;
	struct net_backend *backend;
	struct error err;
	bool header;
	bool refuse; /* the NIC has no room */
	struct tcp tcp;
	uint32_t leased_ip;
	unsigned arp_replies, pongs, frames, large, checked_header;
	uint8_t dhcp_options[312];
	struct inbox *inbox, **inbox_last;
	size_t udp_fragment_bytes;
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, size_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value & 0xffff);
}

/* Sends in three pieces, cut inside the headers, as a guest's descriptors may be. */
static void send_frame(struct guest *guest, const struct net_header *header, uint8_t *data, size_t length)
{
	static const struct net_header none;
	struct iovec iov[4] = {
		{(void *)(header ? header : &none), sizeof(none)}, {data, 9}, {data + 9, 11}, {data + 20, length - 20}};

	if (guest->header)
		net_send(guest->backend, 0, iov, 4, length + sizeof(none));
	else
		net_send(guest->backend, 0, iov + 1, 3, length);
}

static void ethernet(uint8_t *data, uint16_t type)
{
	memcpy(data, "\x52\x55\x0a\x00\x02\x02", 6);
	memcpy(data + 6, guest_mac, 6);
	put16(data + 12, type);
}

static void ipv4(uint8_t *data, uint8_t protocol, uint32_t from, uint32_t to, size_t payload)
{
	uint16_t sum;

	ethernet(data, 0x0800);
	memset(data + 14, 0, 20);
	data[14] = 0x45;
	put16(data + 16, 20 + payload);
	data[22] = 64;
	data[23] = protocol;
	put32(data + 26, from);
	put32(data + 30, to);
	sum = (uint16_t)~checksum_fold(checksum_add(0, data + 14, 20));
	memcpy(data + 24, &sum, 2);
}

#define GUEST_IP   0x0a00020f
#define GATEWAY_IP 0x0a000202

static void tcp_send(struct guest *guest, uint8_t flags, const uint8_t *data, size_t length)
{
	struct tcp *tcp = &guest->tcp;
	size_t options = flags & SYN ? 4 : 0;
	size_t total = 34 + 20 + options + length;
	uint8_t *frame = xcalloc(1, total);
	uint8_t *l4 = frame + 34;
	struct net_header header = {0};
	struct frame parsed;

	ipv4(frame, 6, GUEST_IP, tcp->peer_ip ? tcp->peer_ip : GATEWAY_IP, 20 + options + length);
	put16(l4, tcp->port);
	put16(l4 + 2, tcp->peer_port);
	put32(l4 + 4, tcp->sent);
	put32(l4 + 8, tcp->received);
	l4[12] = (uint8_t)((20 + options) / 4 << 4);
	l4[13] = flags;
	put16(l4 + 14, 65535);
	if (flags & SYN)
		memcpy(l4 + 20, "\x02\x04\x05\xb4", 4);
	if (length)
		memcpy(l4 + 20 + options, data, length);
	assert_true(frame_parse(frame, total, &parsed));
	if (guest->header && length) {
		/* Leave the checksum to the other side: only the pseudo header's sum is in the field. */
		uint16_t sum = checksum_fold(checksum_pseudo(frame, &parsed, 20 + length));

		memcpy(l4 + 16, &sum, 2);
		header = (struct net_header){.flags = NET_HEADER_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
		if (length > 1460) {
			header.gso_type = NET_GSO_TCP4;
			header.gso_size = 1460;
			header.header_length = 54;
		}
	} else {
		frame_checksum(frame, &parsed);
	}
	tcp->sent += (uint32_t)length + (flags & (SYN | FIN) ? 1 : 0);
	send_frame(guest, &header, frame, total);
	free(frame);
}

static void tcp_receive(struct guest *guest, const uint8_t *data, const struct frame *frame)
{
	struct tcp *tcp = &guest->tcp;
	const uint8_t *l4 = data + frame->l4;
	size_t length = frame->end - frame->payload;
	uint8_t flags = l4[13];

	if (flags & RST) {
		tcp->closed = true;
		return;
	}
	if (flags & SYN) {
		tcp->peer_port = get16(l4);
		tcp->port = get16(l4 + 2);
		tcp->received = get32(l4 + 4) + 1;
		tcp->open = true;
		tcp_send(guest, flags & ACK ? ACK : ACK | SYN, NULL, 0);
		return;
	}
	if (flags & ACK)
		tcp->acknowledged = get32(l4 + 8);
	if (get32(l4 + 4) != tcp->received)
		return;
	if (length) {
		tcp->data = xrealloc(tcp->data, tcp->length + length);
		memcpy(tcp->data + tcp->length, data + frame->payload, length);
		tcp->length += length;
		tcp->received += (uint32_t)length;
	}
	if (flags & FIN) {
		tcp->received++;
		tcp->closed = true;
	}
	if (length || flags & FIN)
		tcp_send(guest, ACK, NULL, 0);
}

static void arp_receive(struct guest *guest, const uint8_t *data)
{
	uint8_t reply[42];

	if (get16(data + 20) == 2) {
		guest->arp_replies++;
		return;
	}
	if (get32(data + 38) != GUEST_IP)
		return;
	ethernet(reply, 0x0806);
	memcpy(reply + 14, data + 14, 6);
	put16(reply + 20, 2);
	memcpy(reply + 22, guest_mac, 6);
	put32(reply + 28, GUEST_IP);
	memcpy(reply + 32, data + 22, 10);
	send_frame(guest, NULL, reply, sizeof(reply));
}

static void check_large(struct guest *guest, const struct net_header *header, uint8_t *data, const struct frame *frame)
{
	guest->large++;
	assert_true(guest->header);
	assert_int_equal(header->gso_type, NET_GSO_TCP4);
	assert_int_equal(header->gso_size, 1460);
	assert_int_equal(header->flags & NET_HEADER_NEEDS_CSUM, NET_HEADER_NEEDS_CSUM);
	assert_int_equal(header->csum_start, frame->l4);
	assert_int_equal(header->csum_offset, 16);
	/* What a card would do with it must give a correct checksum. */
	assert_true(frame_checksum_at(data, frame->end, header->csum_start, header->csum_offset));
}

static void frame_receive(struct guest *guest, const struct net_header *header, uint8_t *data, size_t length)
{
	struct frame frame;

	guest->frames++;
	if (get16(data + 12) == 0x0806) {
		arp_receive(guest, data);
		return;
	}
	if (!frame_parse(data, length, &frame) || frame.is_v6)
		return;
	if (length > 1514)
		check_large(guest, header, data, &frame);
	if (frame.protocol == 6 && frame.payload) {
		uint16_t sum = checksum_fold(checksum_add(checksum_pseudo(data, &frame, frame.end - frame.l4),
							  data + frame.l4, frame.end - frame.l4));

		assert_int_equal(sum, 0xffff);
		tcp_receive(guest, data, &frame);
	} else if (frame.protocol == 1 && data[frame.l4] == 0) {
		guest->pongs++;
	} else if (frame.protocol == 17 && frame.payload && get16(data + frame.l4 + 2) == 68) {
		guest->leased_ip = get32(data + frame.payload + 16);
		memcpy(guest->dhcp_options, data + frame.payload + 240,
		       length - frame.payload - 240 < 312 ? length - frame.payload - 240 : 312);
	} else if (frame.protocol == 17) {
		guest->udp_fragment_bytes += frame.end - frame.ip - 20;
	}
}

static bool port_receive(void *opaque, const struct iovec *iov, int iov_count, size_t length)
{
	struct guest *guest = opaque;
	struct inbox *entry;
	uint8_t *at;

	if (guest->refuse)
		return false;
	entry = xcalloc(1, sizeof(*entry) + length);
	at = entry->data;
	for (int i = 0; i < iov_count; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	entry->length = length;
	assert_int_equal(at - entry->data, length);
	*guest->inbox_last = entry;
	guest->inbox_last = &entry->next;
	return true;
}

/* One pass of the loop, and the guest's reaction. */
static void pass(struct guest *guest, int64_t timeout_ns)
{
	loop_poll(guest->loop, guest->inbox ? 0 : timeout_ns);
	while (guest->inbox) {
		struct inbox *entry = guest->inbox;
		struct net_header header = {0};
		size_t skip = guest->header ? sizeof(header) : 0;

		guest->inbox = entry->next;
		if (!guest->inbox)
			guest->inbox_last = &guest->inbox;
		memcpy(&header, entry->data, skip);
		frame_receive(guest, &header, entry->data + skip, entry->length - skip);
		free(entry);
	}
}

static void open_user(struct guest *guest, const char *text, bool offloads)
{
	struct net_port port = {.receive = port_receive, .opaque = guest};
	struct options options;

	assert_int_equal(options_parse(&options, text, NULL, NULL), 0);
	guest->backend = net_open("user", "n0", &options, guest->loop, &guest->log, &guest->err);
	options_free(&options);
	if (!guest->backend)
		print_error("%s\n", guest->err.msg);
	assert_non_null(guest->backend);
	net_attach(guest->backend, &port);
	guest->header = offloads;
	if (offloads)
		net_set_offloads(guest->backend, net_offloads(guest->backend), sizeof(struct net_header));
}

static int setup(void **state)
{
	struct guest *guest = xcalloc(1, sizeof(*guest));

	guest->loop = loop_new(NULL);
	guest->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	guest->tcp.sent = 1000;
	guest->inbox_last = &guest->inbox;
	*state = guest;
	return 0;
}

static int teardown(void **state)
{
	struct guest *guest = *state;

	net_close(guest->backend);
	while (guest->inbox) {
		struct inbox *entry = guest->inbox;

		guest->inbox = entry->next;
		free(entry);
	}
	loop_free(guest->loop);
	close(guest->log.fd);
	free(guest->tcp.data);
	free(guest);
	return 0;
}

/* The condition is evaluated once after every pass, and no more once it held. */
#define RUN_UNTIL(guest, condition)                                                                                    \
	do {                                                                                                           \
		int64_t deadline_ns = host_now_ns() + PATIENCE_NS;                                                     \
		bool held;                                                                                             \
		while (!(held = (condition)) && host_now_ns() < deadline_ns)                                           \
			pass((guest), 10 * NS_PER_MS);                                                                 \
		assert_true(held);                                                                                     \
	} while (0)

static void ask_arp(struct guest *guest)
{
	uint8_t data[42];

	ethernet(data, 0x0806);
	memset(data, 0xff, 6);
	memcpy(data + 14, "\x00\x01\x08\x00\x06\x04\x00\x01", 8);
	memcpy(data + 22, guest_mac, 6);
	put32(data + 28, GUEST_IP);
	memset(data + 32, 0, 6);
	put32(data + 38, GATEWAY_IP);
	send_frame(guest, NULL, data, sizeof(data));
}

static void ask_dhcp(struct guest *guest, uint8_t type)
{
	uint8_t data[42 + 300] = {0};
	uint8_t *boot = data + 42;

	ipv4(data, 17, 0, 0xffffffff, 308);
	memset(data, 0xff, 6);
	put16(data + 34, 68);
	put16(data + 36, 67);
	put16(data + 38, 308);
	boot[0] = 1;
	boot[1] = 1;
	boot[2] = 6;
	put32(boot + 4, 0x1234);
	memcpy(boot + 28, guest_mac, 6);
	memcpy(boot + 236, "\x63\x82\x53\x63\x35\x01", 6);
	boot[242] = type;
	boot[243] = 255;
	send_frame(guest, NULL, data, sizeof(data));
}

static const uint8_t *dhcp_option(const struct guest *guest, uint8_t code)
{
	const uint8_t *at = guest->dhcp_options;

	while (at < guest->dhcp_options + 300 && *at != 255) {
		if (*at == code)
			return at + 2;
		at += *at ? at[1] + 2 : 1;
	}
	return NULL;
}

static void guest_gets_arp_lease_and_echo(void **state)
{
	struct guest *guest = *state;
	uint8_t ping[34 + 16];
	uint16_t sum;

	open_user(guest, "hostname=box,domainname=example.org,bootfile=pxe.0", false);
	ask_arp(guest);
	RUN_UNTIL(guest, guest->arp_replies == 1);
	ask_dhcp(guest, 1);
	RUN_UNTIL(guest, guest->leased_ip == GUEST_IP);
	assert_memory_equal(dhcp_option(guest, 1), "\xff\xff\xff\x00", 4);
	assert_memory_equal(dhcp_option(guest, 3), "\x0a\x00\x02\x02", 4);
	assert_memory_equal(dhcp_option(guest, 6), "\x0a\x00\x02\x03", 4);
	assert_memory_equal(dhcp_option(guest, 12), "box", 3);
	assert_memory_equal(dhcp_option(guest, 15), "example.org", 11);
	memset(ping, 0, sizeof(ping));
	ipv4(ping, 1, GUEST_IP, GATEWAY_IP, 16);
	ping[34] = 8;
	sum = (uint16_t)~checksum_fold(checksum_add(0, ping + 34, 16));
	memcpy(ping + 36, &sum, 2);
	send_frame(guest, NULL, ping, sizeof(ping));
	RUN_UNTIL(guest, guest->pongs == 1);
}

static void lease_follows_net_and_dhcpstart(void **state)
{
	struct guest *guest = *state;

	open_user(guest, "net=192.168.76.0/24,dhcpstart=192.168.76.9,ipv6=off", false);
	ask_dhcp(guest, 1);
	RUN_UNTIL(guest, guest->leased_ip == 0xc0a84c09);
	assert_memory_equal(dhcp_option(guest, 3), "\xc0\xa8\x4c\x02", 4);
}

static int listen_loopback(uint16_t *port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(name);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &length), 0);
	*port = ntohs(name.sin_port);
	return fd;
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 31 + i / 253);
}

/* The guest connects to a server on the host's loopback, 300 KB each way. */
static void exchange(struct guest *guest, size_t chunk)
{
	enum { TOTAL = 300000 };
	uint8_t *data = xcalloc(1, TOTAL), *got = xcalloc(1, TOTAL);
	size_t sent = 0, received = 0;
	uint16_t port;
	int listen_fd = listen_loopback(&port), fd = -1;

	for (size_t i = 0; i < TOTAL; i++)
		data[i] = pattern(i);
	ask_arp(guest);
	guest->tcp.port = 40000;
	guest->tcp.peer_port = port;
	tcp_send(guest, SYN, NULL, 0);
	RUN_UNTIL(guest, guest->tcp.open && (fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK)) >= 0);
	while (received < TOTAL) {
		size_t size = TOTAL - sent < chunk ? TOTAL - sent : chunk;
		ssize_t n = recv(fd, got + received, TOTAL - received, 0);

		received += n > 0 ? (size_t)n : 0;
		if (size && guest->tcp.sent - guest->tcp.acknowledged + size <= 60000) {
			tcp_send(guest, ACK | PSH, data + sent, size);
			sent += size;
		}
		pass(guest, NS_PER_MS);
	}
	assert_memory_equal(got, data, TOTAL);
	for (sent = 0; sent < TOTAL;) {
		ssize_t n = send(fd, data + sent, TOTAL - sent, 0);

		sent += n > 0 ? (size_t)n : 0;
		pass(guest, NS_PER_MS);
	}
	close(fd);
	RUN_UNTIL(guest, guest->tcp.closed);
	assert_int_equal(guest->tcp.length, TOTAL);
	assert_memory_equal(guest->tcp.data, data, TOTAL);
	close(listen_fd);
	free(data);
	free(got);
}

static void tcp_through_without_offloads(void **state)
{
	struct guest *guest = *state;

	open_user(guest, "", false);
	exchange(guest, 1460);
	assert_int_equal(guest->large, 0);
}

static void tcp_through_in_large_frames(void **state)
{
	struct guest *guest = *state;

	open_user(guest, "", true);
	exchange(guest, 20000);
	/* 300 KB that came in frames of 32 KiB, not 206 of 1460. */
	assert_true(guest->large >= 9);
	assert_true(guest->frames < 60);
}

static int connect_loopback(uint16_t port)
{
	struct sockaddr_in name = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void hostfwd_leads_in_and_can_be_removed(void **state)
{
	struct guest *guest = *state;
	uint16_t port;
	char text[128], byte;
	char *info;
	int fd = listen_loopback(&port);
	struct error err = {0};

	close(fd); /* only to learn a free port */
	snprintf(text, sizeof(text), "hostfwd=tcp:127.0.0.1:%u-:22", port);
	open_user(guest, text, true);
	ask_arp(guest);
	pass(guest, 0);
	fd = connect_loopback(port);
	RUN_UNTIL(guest, guest->tcp.open);
	assert_int_equal(guest->tcp.port, 22);
	assert_int_equal(send(fd, "hello", 5, 0), 5);
	RUN_UNTIL(guest, guest->tcp.length == 5);
	tcp_send(guest, ACK | PSH, (const uint8_t *)"!", 1);
	RUN_UNTIL(guest, recv(fd, &byte, 1, 0) == 1);
	assert_int_equal(byte, '!');
	info = guest->backend->driver->info(guest->backend);
	assert_non_null(strstr(info, "HOST_FORWARD"));
	free(info);
	close(fd);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u", port);
	assert_int_equal(guest->backend->driver->hostfwd(guest->backend, false, text, &err), 0);
	assert_int_equal(guest->backend->driver->hostfwd(guest->backend, false, text, &err), -ENOENT);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u-10.0.2.20:80", port);
	assert_int_equal(guest->backend->driver->hostfwd(guest->backend, true, text, &err), 0);
	assert_int_equal(guest->backend->driver->hostfwd(guest->backend, true, text, &err), -EADDRINUSE);
}

static void guestfwd_runs_a_command(void **state)
{
	struct guest *guest = *state;

	open_user(guest, "guestfwd=tcp:10.0.2.100:7777-cmd:/bin/cat", false);
	ask_arp(guest);
	guest->tcp.port = 40001;
	guest->tcp.peer_port = 7777;
	guest->tcp.peer_ip = 0x0a000264;
	tcp_send(guest, SYN, NULL, 0);
	RUN_UNTIL(guest, guest->tcp.open);
	tcp_send(guest, ACK | PSH, (const uint8_t *)"echo me", 7);
	RUN_UNTIL(guest, guest->tcp.length == 7);
	assert_memory_equal(guest->tcp.data, "echo me", 7);
}

/* A stream that upper-cases what it gets. */
struct upper {
	struct net_stream_user user;
	int opened, closed;
	char text[32];
};

static void *upper_open(void *opaque, const char *text, const struct net_stream_user *user, struct error *err)
{
	struct upper *upper = opaque;

	upper->user = *user;
	upper->opened++;
	snprintf(upper->text, sizeof(upper->text), "%s", text);
	return upper;
}

static void upper_write(void *stream, const uint8_t *data, size_t length)
{
	struct upper *upper = stream;

	for (size_t i = 0; i < length; i++) {
		uint8_t byte = data[i] & (uint8_t)~32;

		assert_true(upper->user.can_receive(upper->user.opaque) > 0);
		upper->user.receive(upper->user.opaque, &byte, 1);
	}
}

static void upper_accept(void *stream)
{
}

static void upper_close(void *stream)
{
	((struct upper *)stream)->closed++;
}

static void guestfwd_reaches_a_stream(void **state)
{
	struct guest *guest = *state;
	struct upper upper = {0};
	struct net_streams streams = {upper_open, upper_write, upper_accept, upper_close, &upper};
	struct net_port port = {.receive = port_receive, .opaque = guest};
	struct options options;

	assert_int_equal(options_parse(&options, "guestfwd=tcp:10.0.2.100:7000-chardev:c9", NULL, NULL), 0);
	guest->backend = net_open_streams("user", "n0", &options, guest->loop, &guest->log, &streams, &guest->err);
	options_free(&options);
	assert_non_null(guest->backend);
	assert_string_equal(upper.text, "chardev:c9");
	net_attach(guest->backend, &port);
	ask_arp(guest);
	guest->tcp.port = 40002;
	guest->tcp.peer_port = 7000;
	guest->tcp.peer_ip = 0x0a000264;
	tcp_send(guest, SYN, NULL, 0);
	RUN_UNTIL(guest, guest->tcp.open);
	tcp_send(guest, ACK | PSH, (const uint8_t *)"abc", 3);
	RUN_UNTIL(guest, guest->tcp.length == 3);
	assert_memory_equal(guest->tcp.data, "ABC", 3);
	net_close(guest->backend);
	guest->backend = NULL;
	assert_int_equal(upper.closed, 1);
}

static void frames_wait_for_a_full_nic_in_order(void **state)
{
	struct guest *guest = *state;
	uint16_t port;
	int listen_fd = listen_loopback(&port), fd = -1;
	uint8_t data[40000];

	open_user(guest, "", true);
	ask_arp(guest);
	guest->tcp.port = 40003;
	guest->tcp.peer_port = port;
	tcp_send(guest, SYN, NULL, 0);
	RUN_UNTIL(guest, guest->tcp.open && (fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK)) >= 0);
	guest->refuse = true;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	assert_int_equal(send(fd, data, sizeof(data), 0), sizeof(data));
	for (int i = 0; i < 20; i++)
		pass(guest, NS_PER_MS);
	assert_int_equal(guest->tcp.length, 0);
	guest->refuse = false;
	net_resume(guest->backend);
	RUN_UNTIL(guest, guest->tcp.length == sizeof(data));
	assert_memory_equal(guest->tcp.data, data, sizeof(data));
	/* With the cable out nothing arrives. */
	net_set_link(guest->backend, false);
	assert_int_equal(send(fd, data, 100, 0), 100);
	for (int i = 0; i < 20; i++)
		pass(guest, NS_PER_MS);
	assert_int_equal(guest->tcp.length, sizeof(data));
	close(fd);
	close(listen_fd);
}

static void large_datagrams_reach_the_guest_in_fragments(void **state)
{
	struct guest *guest = *state;
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, from;
	socklen_t length = sizeof(name);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	uint8_t data[9000], frame[64];

	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &length), 0);
	open_user(guest, "", true);
	ask_arp(guest);
	memset(frame, 0, sizeof(frame));
	ipv4(frame, 17, GUEST_IP, GATEWAY_IP, 12);
	put16(frame + 34, 5000);
	put16(frame + 36, ntohs(name.sin_port));
	put16(frame + 38, 12);
	send_frame(guest, NULL, frame, 46);
	length = sizeof(from);
	RUN_UNTIL(guest, recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &length) == 4);
	assert_int_equal(sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&from, length), sizeof(data));
	RUN_UNTIL(guest, guest->udp_fragment_bytes == 9008);
	close(fd);
}

static void hostile_frames_do_no_harm(void **state)
{
	struct guest *guest = *state;
	unsigned seed = 3;
	uint8_t data[300];

	open_user(guest, "", true);
	for (int round = 0; round < 20000; round++) {
		struct net_header header;
		size_t length = 20 + (size_t)rand_r(&seed) % 280;

		for (size_t i = 0; i < length; i++)
			data[i] = (uint8_t)rand_r(&seed);
		for (size_t i = 0; i < sizeof(header); i++)
			((uint8_t *)&header)[i] = (uint8_t)(rand_r(&seed) % (rand_r(&seed) % 2 ? 256 : 6));
		if (round % 4) {
			ipv4(data, rand_r(&seed) % 2 ? 6 : 17, GUEST_IP, GATEWAY_IP, length - 34);
			put32(data + 30, 0x0a0002f0); /* nobody there: the host is left alone */
		}
		if (length >= 54)
			send_frame(guest, &header, data, length);
		if (round % 64 == 0)
			pass(guest, 0);
	}
	ask_arp(guest);
	RUN_UNTIL(guest, guest->arp_replies == 1);
}

static void idle_network_sleeps(void **state)
{
	struct guest *guest = *state;
	int64_t start;

	open_user(guest, "ipv6=off", true);
	ask_arp(guest);
	for (int i = 0; i < 20; i++)
		pass(guest, 2 * NS_PER_MS);
	start = host_now_ns();
	pass(guest, 1500 * NS_PER_MS);
	assert_true(host_now_ns() - start > 1400 * NS_PER_MS);
}

static void mistakes_are_explained(void **state)
{
	struct guest *guest = *state;
	uint16_t port;
	int fd = listen_loopback(&port);
	char busy[64], busy_message[160];
	const struct {
		const char *text, *message;
	} rows[] = {
		{busy, busy_message},
		{"hostfwd=tcp::2222", "hostfwd=tcp::2222: the '-' between host and guest is missing"},
		{"hostfwd=sctp::1-:1", "it begins with tcp: or udp:"},
		{"hostfwd=tcp:1.2.3:80-:80", "'1.2.3' is not an IPv4 address"},
		{"hostfwd=tcp::99999-:80", "is not [ADDRESS]:PORT"},
		{"hostfwd=tcp::0-:0", "the guest's port is missing"},
		{"guestfwd=tcp:10.0.2.100:1-chardev:x", "only cmd:COMMAND"},
		{"guestfwd=udp:10.0.2.100:1-cmd:x", "only tcp"},
		{"net=10.0.2", "is not NETWORK[/MASK]"},
		{"net=10.0.2.0/31", "the mask is 4 to 30 bits"},
		{"net=10.0.2.0/255.0.255.0", "not a mask"},
		{"net=192.168.0.0/24,host=10.0.2.2", "host=10.0.2.2 is not a host of the network 192.168.0.0/24"},
		{"dns=10.0.2.2", "host and dns need different addresses"},
		{"smb=/tmp", "smb= is not supported"},
		{"tftp=/nonexistent", "tftp=/nonexistent is not a directory"},
		{"ipv4=off,ipv6=off", "leave no network"},
		{"hostfw=tcp::1-:1", "did you mean 'hostfwd'"},
		{"ipv6-net=zz/64", "is not PREFIX[/BITS]"},
	};

	snprintf(busy, sizeof(busy), "hostfwd=tcp:127.0.0.1:%u-:22", port);
	snprintf(busy_message, sizeof(busy_message),
		 "hostfwd=tcp:127.0.0.1:%u-:22: TCP port %u on 127.0.0.1 is in use; choose another port", port, port);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct options options;
		struct error err = {0};

		assert_int_equal(options_parse(&options, rows[i].text, NULL, NULL), 0);
		assert_null(net_open("user", "n0", &options, guest->loop, &guest->log, &err));
		if (!strstr(err.msg, rows[i].message))
			print_error("%s -> %s\n", rows[i].text, err.msg);
		assert_non_null(strstr(err.msg, rows[i].message));
		options_free(&options);
	}
	close(fd);
}

static void mac_addresses_are_unique_and_released(void **state)
{
	uint8_t mac[2][6];
	int fds[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(net_mac_allocate(mac[i], &fds[i], NULL), 0);
	assert_memory_equal(mac[0], "\x52\x54\x00", 3);
	assert_memory_not_equal(mac[0], mac[1], 6);
	assert_true(fds[0] >= 0);
	net_mac_release(fds[0]);
	net_mac_release(fds[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(guest_gets_arp_lease_and_echo),
		TEST(lease_follows_net_and_dhcpstart),
		TEST(tcp_through_without_offloads),
		TEST(tcp_through_in_large_frames),
		TEST(hostfwd_leads_in_and_can_be_removed),
		TEST(guestfwd_runs_a_command),
		TEST(guestfwd_reaches_a_stream),
		TEST(frames_wait_for_a_full_nic_in_order),
		TEST(large_datagrams_reach_the_guest_in_fragments),
		TEST(hostile_frames_do_no_harm),
		TEST(idle_network_sleeps),
		TEST(mistakes_are_explained),
		TEST(mac_addresses_are_unique_and_released),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
