/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tap interface of the host's kernel (Documentation/networking/tuntap.rst): made by name, with scripts that set it up
 * and take it down, or handed over as open descriptors. Frames carry a virtio_net_hdr so that the host's stack does
 * segmentation and checksums. Left out: vhost-net, which asking for is an error; the setuid bridge helper.
 */
#include "backend/net/frame.h"
#include "backend/net/net.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUES_MAX  16
#define BATCH       64 /* frames in one go, so that other work gets its turn */
#define UP_SCRIPT   "/etc/qemu-ifup"
#define DOWN_SCRIPT "/etc/qemu-ifdown"

struct tap_queue {
	struct net_tap *tap;
	unsigned index;
	int fd;
	struct loop_fd *watch;
	bool enabled;
	uint8_t *kept; /* a frame that the NIC had no room for; length 0: none */
	size_t kept_bytes;
};

struct net_tap {
	struct net_backend backend;
	char name[IFNAMSIZ];
	char *down_script;
	bool kernel_header; /* the descriptors carry a header of sizeof(struct net_header) */
	bool header;        /* the NIC wants it */
	uint32_t offloads;
	struct tap_queue queues[QUEUES_MAX];
	uint8_t *buffer;
};

static void readable(void *opaque, uint32_t events);

static void watch(struct tap_queue *queue, bool on)
{
	if (on && !queue->watch)
		queue->watch = loop_fd_add(queue->tap->backend.loop, queue->fd, EPOLLIN, readable, queue);
	if (!on && queue->watch) {
		loop_fd_remove(queue->watch);
		queue->watch = NULL;
	}
}

/* --- frames --- */

static bool deliver(struct tap_queue *queue, const uint8_t *data, size_t length)
{
	struct net_tap *tap = queue->tap;
	struct net_header none = {0};
	struct iovec iov[2] = {{&none, sizeof(none)}, {(void *)data, length}};

	if (tap->header == tap->kernel_header)
		return net_deliver(&tap->backend, queue->index, iov + 1, 1, length);
	if (tap->header)
		return net_deliver(&tap->backend, queue->index, iov, 2, length + sizeof(none));
	if (length < sizeof(none))
		return true;
	iov[1].iov_base = (uint8_t *)iov[1].iov_base + sizeof(none);
	iov[1].iov_len -= sizeof(none);
	return net_deliver(&tap->backend, queue->index, iov + 1, 1, iov[1].iov_len);
}

static void readable(void *opaque, uint32_t events)
{
	struct tap_queue *queue = opaque;
	struct net_tap *tap = queue->tap;

	for (int i = 0; i < BATCH; i++) {
		ssize_t n = read(queue->fd, tap->buffer, FRAME_MAX + sizeof(struct net_header));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			/* EBADFD: the interface was deleted under us. */
			if (n == 0 || (errno != EAGAIN && errno != EIO))
				watch(queue, false);
			return;
		}
		if (deliver(queue, tap->buffer, (size_t)n))
			continue;
		memcpy(queue->kept, tap->buffer, (size_t)n);
		queue->kept_bytes = (size_t)n;
		watch(queue, false);
		return;
	}
}

static void tap_resume(struct net_backend *backend)
{
	struct net_tap *tap = (struct net_tap *)backend;

	for (unsigned i = 0; i < backend->queues; i++) {
		struct tap_queue *queue = &tap->queues[i];

		if (queue->kept_bytes && !deliver(queue, queue->kept, queue->kept_bytes))
			continue;
		queue->kept_bytes = 0;
		watch(queue, queue->enabled);
	}
}

static void tap_send_queue(struct net_backend *backend, unsigned index, const struct iovec *iov, int iov_count,
			   size_t length)
{
	struct net_tap *tap = (struct net_tap *)backend;
	const struct tap_queue *queue = &tap->queues[tap->queues[index].enabled ? index : 0];
	static const struct net_header none = {0};
	struct iovec framed[64];
	ssize_t n;

	if (tap->header && !tap->kernel_header) {
		/* Nothing was offered, so the header is empty: drop it. It is one piece of its own (virtio_net.c). */
		if (iov_count < 1 || iov[0].iov_len != sizeof(none))
			return;
		iov++;
		iov_count--;
	} else if (!tap->header && tap->kernel_header) {
		if (iov_count >= (int)ARRAY_SIZE(framed))
			return;
		framed[0] = (struct iovec){(void *)&none, sizeof(none)};
		memcpy(framed + 1, iov, (size_t)iov_count * sizeof(*iov));
		iov = framed;
		iov_count++;
	}
	do
		n = writev(queue->fd, iov, iov_count);
	while (n < 0 && errno == EINTR);
}

static void tap_send(struct net_backend *backend, const struct iovec *iov, int iov_count, size_t length)
{
	tap_send_queue(backend, 0, iov, iov_count, length);
}

/* --- offloads and queues --- */

static uint32_t tap_offloads(struct net_backend *backend)
{
	struct net_tap *tap = (struct net_tap *)backend;

	return tap->kernel_header ? NET_VNET_HDR | NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN : 0;
}

static void tap_set_offloads(struct net_backend *backend, uint32_t offloads, unsigned header_bytes)
{
	struct net_tap *tap = (struct net_tap *)backend;
	unsigned flags = 0;

	tap->header = header_bytes != 0;
	tap->offloads = offloads;
	if (!tap->kernel_header)
		return;
	if (header_bytes && offloads & NET_CSUM)
		flags = TUN_F_CSUM | (offloads & NET_TSO4 ? TUN_F_TSO4 : 0) | (offloads & NET_TSO6 ? TUN_F_TSO6 : 0) |
			(offloads & NET_ECN && offloads & (NET_TSO4 | NET_TSO6) ? TUN_F_TSO_ECN : 0);
	for (unsigned i = 0; i < backend->queues; i++) {
		ioctl(tap->queues[i].fd, TUNSETOFFLOAD, (unsigned long)flags);
		tap->queues[i].kept_bytes = 0;
	}
}

static void tap_set_queues(struct net_backend *backend, unsigned count)
{
	struct net_tap *tap = (struct net_tap *)backend;

	for (unsigned i = 0; i < backend->queues; i++) {
		struct tap_queue *queue = &tap->queues[i];
		struct ifreq request = {.ifr_flags = i < count ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

		if (queue->enabled == (i < count))
			continue;
		queue->enabled = i < count;
		ioctl(queue->fd, TUNSETQUEUE, &request);
		watch(queue, queue->enabled && !queue->kept_bytes);
	}
}

/* --- scripts --- */

/* Runs SCRIPT IFNAME and waits for it. */
static int run_script(const char *script, const char *name, struct error *err)
{
	int status = 0;
	pid_t child;

	if (access(script, X_OK))
		return error_set_errno(err, errno, "script %s (script=no does without)", script);
	child = fork();
	if (child < 0)
		return error_set_errno(err, errno, "starting %s", script);
	if (!child) {
		execl(script, script, name, (char *)NULL);
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	if (WIFEXITED(status))
		return error_set(err, EIO, "%s %s ended with status %d", script, name, WEXITSTATUS(status));
	return error_set(err, EIO, "%s %s was killed", script, name);
}

/* --- opening --- */

static int open_queue(struct net_tap *tap, bool vnet_hdr, bool several, struct error *err)
{
	struct ifreq request = {0};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int code;

	if (fd < 0)
		return error_set_errno(err, errno,
				       errno == ENOENT
					       ? "/dev/net/tun (load the 'tun' module)"
					       : "/dev/net/tun (run as root, or hand over a descriptor with fd=)");
	request.ifr_flags =
		(short)(IFF_TAP | IFF_NO_PI | (vnet_hdr ? IFF_VNET_HDR : 0) | (several ? IFF_MULTI_QUEUE : 0));
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", tap->name);
	if (ioctl(fd, TUNSETIFF, &request)) {
		code = errno;
		close(fd);
		if (code == EPERM)
			return error_set(err, EPERM,
					 "making interface %s needs CAP_NET_ADMIN: run as root, have root make it with "
					 "'ip tuntap add mode tap user %u', or use -netdev user",
					 tap->name, getuid());
		if (code == EBUSY)
			return error_set(err, EBUSY, "interface %s is in use by another process", tap->name);
		if (code == EINVAL && if_nametoindex(tap->name))
			return error_set(err, EINVAL, "interface %s exists with another kind or number of queues",
					 tap->name);
		return error_set_errno(err, code, "making interface %s", tap->name);
	}
	snprintf(tap->name, sizeof(tap->name), "%s", request.ifr_name);
	return fd;
}

static bool has_header(int fd)
{
	struct ifreq request = {0};
	int size = sizeof(struct net_header);

	return !ioctl(fd, TUNGETIFF, &request) && (request.ifr_flags & IFF_VNET_HDR) &&
	       !ioctl(fd, TUNSETVNETHDRSZ, &size);
}

static int add_descriptor(struct net_tap *tap, const char *text, struct error *err)
{
	struct ifreq request = {0};
	uint64_t fd;
	int flags;

	if (parse_u64(text, INT32_MAX, &fd, NULL))
		return error_set(err, EINVAL, "fd=%s is not a descriptor number", text);
	if (tap->backend.queues == QUEUES_MAX)
		return error_set(err, EINVAL, "more than %d descriptors", QUEUES_MAX);
	flags = fcntl((int)fd, F_GETFL);
	if (flags < 0 || ioctl((int)fd, TUNGETIFF, &request))
		return error_set(err, EBADF, "fd=%s is not an open tap descriptor", text);
	fcntl((int)fd, F_SETFL, flags | O_NONBLOCK);
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	snprintf(tap->name, sizeof(tap->name), "%s", request.ifr_name);
	tap->queues[tap->backend.queues++].fd = (int)fd;
	return 0;
}

/* fd=3 or fds=3:4:5. */
static int take_descriptors(struct net_tap *tap, const char *list, struct error *err)
{
	char *copy = xstrdup(list), *rest = copy;
	int result = 0;

	for (char *word; !result && (word = strsep(&rest, ":"));)
		result = add_descriptor(tap, word, err);
	free(copy);
	return result;
}

static int make_interface(struct net_tap *tap, struct options *options, bool vnet_hdr, struct error *err)
{
	const char *name = options_get(options, "ifname");
	uint64_t queues = 1;

	if (options_u64(options, "queues", &queues, QUEUES_MAX, err))
		return -EINVAL;
	if (!queues)
		return error_set(err, EINVAL, "queues=0: at least one is needed");
	if (name && strlen(name) >= IFNAMSIZ)
		return error_set(err, EINVAL, "ifname=%s is longer than %d characters", name, IFNAMSIZ - 1);
	snprintf(tap->name, sizeof(tap->name), "%s", name ? name : "tap%d");
	for (uint64_t i = 0; i < queues; i++) {
		int fd = open_queue(tap, vnet_hdr, queues > 1, err);

		if (fd < 0)
			return fd;
		tap->queues[tap->backend.queues++].fd = fd;
	}
	return 0;
}

static void tap_close(struct net_backend *backend)
{
	struct net_tap *tap = (struct net_tap *)backend;
	struct error err = {0};

	for (unsigned i = 0; i < backend->queues; i++) {
		watch(&tap->queues[i], false);
		free(tap->queues[i].kept);
	}
	if (tap->down_script && run_script(tap->down_script, tap->name, &err) && backend->log)
		log_warn(backend->log, "netdev %s: %s", backend->id, err.msg);
	for (unsigned i = 0; i < backend->queues; i++)
		close(tap->queues[i].fd);
	free(tap->down_script);
	free(tap->buffer);
}

static int set_send_buffer(struct net_tap *tap, struct options *options, struct error *err)
{
	uint64_t bytes = 0;
	int value;

	if (options_size(options, "sndbuf", &bytes, 1, err))
		return -EINVAL;
	value = bytes && bytes < INT32_MAX ? (int)bytes : INT32_MAX;
	for (unsigned i = 0; i < tap->backend.queues; i++)
		ioctl(tap->queues[i].fd, TUNSETSNDBUF, &value);
	return 0;
}

static int refuse_unsupported(struct options *options, struct error *err)
{
	static const char *const unsupported[] = {"vhost", "vhostforce"};
	static const char *const texts[] = {"br", "helper", "vhostfd", "vhostfds"};

	for (size_t i = 0; i < ARRAY_SIZE(unsupported); i++) {
		bool value = false;

		if (options_bool(options, unsupported[i], &value, err))
			return -EINVAL;
		if (value)
			return error_set(err, ENOTSUP, "%s=on is not supported yet", unsupported[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (options_get(options, texts[i]))
			return error_set(err, ENOTSUP, "%s= is not supported yet", texts[i]);
	return 0;
}

static int run_up_script(struct net_tap *tap, struct options *options, bool own, struct error *err)
{
	const char *up = options_get(options, "script");
	const char *down = options_get(options, "downscript");
	int result;

	if (!own && (up || down))
		return error_set(err, EINVAL, "script= and downscript= have no meaning with fd=");
	if (!own)
		return 0;
	/* An empty name means none, too. */
	if (!up)
		up = UP_SCRIPT;
	if (!down)
		down = access(DOWN_SCRIPT, X_OK) ? "no" : DOWN_SCRIPT;
	if (*up && strcmp(up, "no")) {
		result = run_script(up, tap->name, err);
		if (result)
			return result;
	}
	if (*down && strcmp(down, "no"))
		tap->down_script = xstrdup(down);
	return 0;
}

static int tap_open(struct net_backend *backend, struct options *options, struct error *err)
{
	struct net_tap *tap = (struct net_tap *)backend;
	const char *fd = options_get(options, "fd");
	const char *fds = options_get(options, "fds");
	bool vnet_hdr = true;
	int result;

	backend->queues = 0;
	result = refuse_unsupported(options, err);
	if (!result)
		result = options_bool(options, "vnet_hdr", &vnet_hdr, err);
	if (!result && (fd || fds))
		result = take_descriptors(tap, fd ? fd : fds, err);
	else if (!result)
		result = make_interface(tap, options, vnet_hdr, err);
	if (!result)
		result = set_send_buffer(tap, options, err);
	if (!result)
		result = run_up_script(tap, options, !fd && !fds, err);
	if (result) {
		tap_close(backend);
		return result;
	}
	tap->buffer = xcalloc(1, FRAME_MAX + sizeof(struct net_header));
	tap->kernel_header = true;
	for (unsigned i = 0; i < backend->queues; i++) {
		struct tap_queue *queue = &tap->queues[i];

		queue->tap = tap;
		queue->index = i;
		queue->kept = xcalloc(1, FRAME_MAX + sizeof(struct net_header));
		queue->enabled = true;
		if (!has_header(queue->fd))
			tap->kernel_header = false;
	}
	/* One queue until the guest asks for more. */
	if (backend->queues > 1)
		tap_set_queues(backend, 1);
	watch(&tap->queues[0], true);
	return 0;
}

static void tap_describe(struct net_backend *backend, char *text, size_t size)
{
	const struct net_tap *tap = (const struct net_tap *)backend;

	snprintf(text, size, "tap,ifname=%s,queues=%u,vnet_hdr=%s", tap->name, backend->queues,
		 tap->kernel_header ? "on" : "off");
}

static const char *const tap_known[] = {"ifname",  "fd",       "fds",        "script",   "downscript",
					"br",      "helper",   "sndbuf",     "vnet_hdr", "vhost",
					"vhostfd", "vhostfds", "vhostforce", "queues",   NULL};

const struct net_driver net_tap_driver = {
	.name = "tap",
	.help = "an interface of the host (ifname=, script=, downscript=) or its descriptors (fd=)",
	.size = sizeof(struct net_tap),
	.known = tap_known,
	.open = tap_open,
	.close = tap_close,
	.send = tap_send,
	.send_queue = tap_send_queue,
	.set_queues = tap_set_queues,
	.resume = tap_resume,
	.offloads = tap_offloads,
	.set_offloads = tap_set_offloads,
	.describe = tap_describe,
};
