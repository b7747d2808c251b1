/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tap against the real kernel, in network namespaces of its own, and the user network with the kernel's TCP as its
 * guest: tap and user are joined back to back. Without the right to make namespaces all of it is skipped, and says so.
 */
#include "backend/net/net.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (5 * NS_PER_S)
#define SKIPPED     77 /* what meson takes for a skipped test */

struct bench {
	struct loop *loop;
	struct log log;
	struct error err;
	uint8_t frame[70000];
	size_t length;
	unsigned frames;
	bool refuse;
};

static int setup(void **state)
{
	struct bench *bench = xcalloc(1, sizeof(*bench));

	bench->loop = loop_new(NULL);
	bench->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	loop_free(bench->loop);
	close(bench->log.fd);
	free(bench);
	return 0;
}

static struct net_backend *try_open(struct bench *bench, const char *type, const char *text)
{
	struct options options;
	struct net_backend *backend;

	bench->err = (struct error){0};
	assert_int_equal(options_parse(&options, text, NULL, NULL), 0);
	backend = net_open(type, "n0", &options, bench->loop, &bench->log, &bench->err);
	options_free(&options);
	return backend;
}

static struct net_backend *must_open(struct bench *bench, const char *type, const char *text)
{
	struct net_backend *backend = try_open(bench, type, text);

	if (!backend)
		fail_msg("%s", bench->err.msg);
	return backend;
}

/* Gives an interface of the calling thread's namespace an address and brings it up. */
static void interface_up(const char *name, const char *address)
{
	struct ifreq request = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (address) {
		in->sin_family = AF_INET;
		inet_pton(AF_INET, address, &in->sin_addr);
		assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
		inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
		assert_int_equal(ioctl(fd, SIOCSIFNETMASK, &request), 0);
	}
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
	request.ifr_flags |= IFF_UP | IFF_RUNNING;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

static bool record(void *opaque, const struct iovec *iov, int iov_count, size_t length)
{
	struct bench *bench = opaque;
	uint8_t *at = bench->frame;

	if (bench->refuse)
		return false;
	/* Only ARP matters: the kernel says this and that of its own accord. */
	for (int i = 0; i < iov_count; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	if (bench->frame[length - 42 + 12] == 8 && bench->frame[length - 42 + 13] == 6) {
		bench->length = length;
		bench->frames++;
	}
	return true;
}

#define RUN_UNTIL(bench, condition)                                                                                    \
	do {                                                                                                           \
		int64_t deadline_ns = host_now_ns() + PATIENCE_NS;                                                     \
		bool held;                                                                                             \
		while (!(held = (condition)) && host_now_ns() < deadline_ns)                                           \
			loop_poll((bench)->loop, 10 * NS_PER_MS);                                                      \
		assert_true(held);                                                                                     \
	} while (0)

static char *write_script(const char *text)
{
	static unsigned number;
	char *path = xasprintf("/tmp/xuni-tap-%d-%u", getpid(), number++);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	return path;
}

static void scripts_run_with_the_interfaces_name(void **state)
{
	struct bench *bench = *state;
	char *log = write_script("");
	char *up_text = xasprintf("#!/bin/sh\necho up $1 >> %s\n", log),
	     *down_text = xasprintf("#!/bin/sh\necho down $1 >> %s\n", log);
	char *up = write_script(up_text), *down = write_script(down_text);
	char *text = xasprintf("ifname=xtest0,script=%s,downscript=%s", up, down);
	struct net_backend *backend = must_open(bench, "tap", text);
	char content[64] = {0};
	int fd;

	assert_true(if_nametoindex("xtest0") > 0);
	net_close(backend);
	assert_int_equal(if_nametoindex("xtest0"), 0);
	fd = open(log, O_RDONLY);
	assert_true(read(fd, content, sizeof(content) - 1) > 0);
	close(fd);
	assert_string_equal(content, "up xtest0\ndown xtest0\n");
	unlink(up);
	unlink(down);
	unlink(log);
	free(up_text);
	free(down_text);
	free(up);
	free(down);
	free(log);
	free(text);
}

static void mistakes_are_explained(void **state)
{
	struct bench *bench = *state;
	char *failing = write_script("#!/bin/sh\nexit 3\n");
	char *text = xasprintf("script=%s", failing);
	struct net_backend *first;

	assert_null(try_open(bench, "tap", text));
	assert_non_null(strstr(bench->err.msg, "ended with status 3"));
	assert_null(try_open(bench, "tap", "script=/nonexistent/up"));
	assert_non_null(strstr(bench->err.msg, "script /nonexistent/up (script=no does without): No such file"));
	assert_null(try_open(bench, "tap", "script=no,vhost=on"));
	assert_non_null(strstr(bench->err.msg, "vhost=on is not supported yet"));
	assert_null(try_open(bench, "tap", "fd=99"));
	assert_non_null(strstr(bench->err.msg, "fd=99 is not an open tap descriptor"));
	assert_null(try_open(bench, "tap", "script=no,ifname=waytoolongforaninterface"));
	assert_non_null(strstr(bench->err.msg, "longer than 15"));
	first = must_open(bench, "tap", "script=no,ifname=xbusy");
	assert_null(try_open(bench, "tap", "script=no,ifname=xbusy"));
	assert_non_null(strstr(bench->err.msg, "interface xbusy is in use by another process"));
	net_close(first);
	unlink(failing);
	free(failing);
	free(text);
}

/* Who has 10.9.0.1? */
static const uint8_t arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2, 3, 8, 6, 0, 1, 8, 0,  6, 4, 0,
				1,    0x52, 0x54, 0,    1,    2,    3,    10,   9, 0, 2, 0, 0, 0, 0, 0, 0, 10, 9, 0, 1};

static void ask(struct net_backend *backend, bool header)
{
	static const struct net_header none;
	struct iovec iov[] = {{(void *)&none, sizeof(none)}, {(void *)arp, 20}, {(void *)(arp + 20), 22}};

	if (header)
		net_send(backend, 0, iov, 3, sizeof(arp) + sizeof(none));
	else
		net_send(backend, 0, iov + 1, 2, sizeof(arp));
}

static void kernel_answers_with_and_without_headers(void **state)
{
	struct bench *bench = *state;
	struct net_port port = {.receive = record, .opaque = bench};
	static const char *const options[] = {"ifname=xarp,script=no", "ifname=xarp,script=no,vnet_hdr=off"};

	for (int round = 0; round < 4; round++) {
		struct net_backend *backend = must_open(bench, "tap", options[round / 2]);
		bool header = round % 2;

		interface_up("xarp", "10.9.0.1");
		assert_int_equal(!!(net_offloads(backend) & NET_VNET_HDR), round < 2);
		net_attach(backend, &port);
		net_set_offloads(backend, net_offloads(backend), header ? sizeof(struct net_header) : 0);
		bench->frames = 0;
		ask(backend, header);
		RUN_UNTIL(bench, bench->frames == 1);
		assert_int_equal(bench->length, 42 + (header ? 12 : 0));
		assert_memory_equal(bench->frame + bench->length - 42 + 28, "\x0a\x09\x00\x01", 4);
		/* A NIC without room: the answer waits. */
		bench->refuse = true;
		ask(backend, header);
		loop_poll(bench->loop, 20 * NS_PER_MS);
		assert_int_equal(bench->frames, 1);
		bench->refuse = false;
		net_resume(backend);
		RUN_UNTIL(bench, bench->frames == 2);
		net_detach(backend);
		net_close(backend);
	}
}

static void queues_are_attached_as_the_guest_asks(void **state)
{
	struct bench *bench = *state;
	struct net_port port = {.receive = record, .opaque = bench};
	struct net_backend *backend = must_open(bench, "tap", "ifname=xmq,script=no,queues=3");

	assert_int_equal(backend->queues, 3);
	interface_up("xmq", "10.9.0.1");
	net_attach(backend, &port);
	for (unsigned count = 3; count >= 1; count--) {
		struct iovec iov = {(void *)arp, sizeof(arp)};

		net_set_queues(backend, count);
		bench->frames = 0;
		net_send(backend, count - 1, &iov, 1, sizeof(arp));
		RUN_UNTIL(bench, bench->frames == 1);
	}
	net_close(backend);
}

static void descriptors_can_be_handed_over(void **state)
{
	struct bench *bench = *state;
	struct net_port port = {.receive = record, .opaque = bench};
	struct ifreq request = {.ifr_name = "xfd", .ifr_flags = IFF_TAP | IFF_NO_PI};
	struct net_backend *backend;
	char text[32];
	int fd = open("/dev/net/tun", O_RDWR);

	assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
	interface_up("xfd", "10.9.0.1");
	snprintf(text, sizeof(text), "fd=%d", fd);
	backend = must_open(bench, "tap", text);
	assert_int_equal(net_offloads(backend), 0);
	net_attach(backend, &port);
	ask(backend, false);
	RUN_UNTIL(bench, bench->frames == 1);
	net_close(backend);
}

/* --- the kernel as a guest of the user network --- */

struct transfer {
	struct bench *bench;
	struct net_backend *tap, *user;
	pthread_barrier_t ready;
	_Atomic bool done;
	uint16_t port;
	int listen_fd;
	size_t bytes;
	bool to_guest;
	bool intact;
	int64_t took_ns;
};

static bool tap_to_user(void *opaque, const struct iovec *iov, int iov_count, size_t length)
{
	net_send(((struct transfer *)opaque)->user, 0, iov, iov_count, length);
	return true;
}

static bool user_to_tap(void *opaque, const struct iovec *iov, int iov_count, size_t length)
{
	net_send(((struct transfer *)opaque)->tap, 0, iov, iov_count, length);
	return true;
}

static void fill(uint8_t *data, size_t at, size_t length)
{
	for (size_t i = 0; i < length; i++)
		data[i] = (uint8_t)((at + i) * 7 + (at + i) / 1021);
}

static void push(int fd, size_t total)
{
	uint8_t data[65536];

	for (size_t at = 0; at < total; at += sizeof(data)) {
		fill(data, at, sizeof(data));
		for (size_t done = 0; done < sizeof(data);) {
			ssize_t n = write(fd, data + done, sizeof(data) - done);

			if (n <= 0)
				return;
			done += (size_t)n;
		}
	}
	shutdown(fd, SHUT_WR);
}

static bool pull(int fd, size_t total)
{
	uint8_t data[65536], expected[65536];
	size_t at = 0;
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0) {
		fill(expected, at, (size_t)n);
		if (memcmp(data, expected, (size_t)n))
			return false;
		at += (size_t)n;
	}
	return at == total;
}

static void *host_side(void *opaque)
{
	struct transfer *transfer = opaque;
	int fd = accept(transfer->listen_fd, NULL, NULL);

	if (transfer->to_guest)
		push(fd, transfer->bytes);
	else
		transfer->intact = pull(fd, transfer->bytes);
	close(fd);
	return NULL;
}

static void default_route(void)
{
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
	struct sockaddr_in *any = (struct sockaddr_in *)&route.rt_dst, *mask = (struct sockaddr_in *)&route.rt_genmask,
			   *gateway = (struct sockaddr_in *)&route.rt_gateway;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	any->sin_family = mask->sin_family = gateway->sin_family = AF_INET;
	inet_pton(AF_INET, "10.0.2.2", &gateway->sin_addr);
	assert_int_equal(ioctl(fd, SIOCADDRT, &route), 0);
	close(fd);
}

static void *guest_side(void *opaque)
{
	struct transfer *transfer = opaque;
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(transfer->port)};
	struct timeval patience = {.tv_sec = 30};
	int64_t start;
	int fd;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	transfer->tap = must_open(transfer->bench, "tap", "ifname=eth0,script=no");
	interface_up("eth0", "10.0.2.15");
	default_route();
	pthread_barrier_wait(&transfer->ready); /* now the other thread runs the loop */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	inet_pton(AF_INET, "10.0.2.2", &name.sin_addr);
	start = host_now_ns();
	if (!connect(fd, (struct sockaddr *)&name, sizeof(name))) {
		if (transfer->to_guest)
			transfer->intact = pull(fd, transfer->bytes);
		else
			push(fd, transfer->bytes);
		if (!transfer->to_guest)
			pull(fd, 0); /* until the other side has all and closes */
	}
	transfer->took_ns = host_now_ns() - start;
	close(fd);
	transfer->done = true;
	return NULL;
}

static void run_transfer(struct bench *bench, bool to_guest, bool offloads, size_t bytes)
{
	struct transfer transfer = {.bench = bench, .to_guest = to_guest, .bytes = bytes};
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct net_port tap_port = {.receive = tap_to_user, .opaque = &transfer};
	struct net_port user_port = {.receive = user_to_tap, .opaque = &transfer};
	uint32_t wanted = offloads ? NET_CSUM | NET_TSO4 | NET_TSO6 : 0;
	socklen_t length = sizeof(name);
	pthread_t host, guest;
	int64_t deadline_ns;

	transfer.listen_fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(transfer.listen_fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(transfer.listen_fd, 1), 0);
	getsockname(transfer.listen_fd, (struct sockaddr *)&name, &length);
	transfer.port = ntohs(name.sin_port);
	transfer.user = must_open(bench, "user", "ipv6=off");
	pthread_barrier_init(&transfer.ready, NULL, 2);
	pthread_create(&host, NULL, host_side, &transfer);
	pthread_create(&guest, NULL, guest_side, &transfer);
	pthread_barrier_wait(&transfer.ready);
	net_attach(transfer.tap, &tap_port);
	net_attach(transfer.user, &user_port);
	net_set_offloads(transfer.tap, wanted, sizeof(struct net_header));
	net_set_offloads(transfer.user, wanted, sizeof(struct net_header));
	deadline_ns = host_now_ns() + 60 * NS_PER_S;
	while (!transfer.done && host_now_ns() < deadline_ns)
		loop_poll(bench->loop, 50 * NS_PER_MS);
	pthread_join(guest, NULL);
	pthread_join(host, NULL);
	print_message("%s, %s: %zu MiB, %.0f MB/s\n", to_guest ? "to the guest" : "from the guest",
		      offloads ? "large frames" : "frames of 1500 bytes", bytes >> 20,
		      (double)bytes * 1e3 / (double)transfer.took_ns);
	net_close(transfer.user);
	net_close(transfer.tap);
	close(transfer.listen_fd);
	pthread_barrier_destroy(&transfer.ready);
	assert_true(transfer.intact);
}

static void kernel_tcp_through_the_user_network(void **state)
{
	for (int i = 0; i < 4; i++)
		run_transfer(*state, i & 1, i & 2, (i & 2 ? 64 : 16) << 20);
}

/* A network of this process' own: as root, or as root of a user namespace. */
static bool enter_namespace(void)
{
	char map[32];
	uid_t uid = getuid();
	int fd;

	if (access("/dev/net/tun", R_OK | W_OK))
		return false;
	if (!unshare(CLONE_NEWNET))
		return true;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	fd = open("/proc/self/uid_map", O_WRONLY);
	snprintf(map, sizeof(map), "0 %u 1", uid);
	if (fd < 0 || write(fd, map, strlen(map)) < 0)
		return false;
	close(fd);
	return true;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(scripts_run_with_the_interfaces_name),    TEST(mistakes_are_explained),
		TEST(kernel_answers_with_and_without_headers), TEST(queues_are_attached_as_the_guest_asks),
		TEST(descriptors_can_be_handed_over),          TEST(kernel_tcp_through_the_user_network),
	};

	if (!enter_namespace()) {
		fprintf(stderr, "SKIPPED: tap needs /dev/net/tun and the right to make a network namespace\n");
		return SKIPPED;
	}
	interface_up("lo", NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
