/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pseudo terminal; the other side is opened by whoever wants to look. While nobody has it open, output is dropped.
 * The kernel says when the last one closed it (hang-up) but not when one opened it: inotify does.
 */
#include "backend/char/drivers.h"
#include "backend/char/stream.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* Where inotify is not to be had. */
#define POLL_INTERVAL_NS (1 * NS_PER_S)

struct pty {
	struct stream stream;
	int master_fd;
	int notify_fd;
	struct loop_fd *notify_watch;
	struct loop_timer timer;
	char name[64];
};

static bool someone_there(struct pty *pty)
{
	struct pollfd pollfd = {.fd = pty->master_fd, .events = POLLOUT};

	return poll(&pollfd, 1, 0) >= 0 && !(pollfd.revents & POLLHUP);
}

static void check(struct pty *pty)
{
	int fd;

	if (!pty->stream.chardev.connected && someone_there(pty)) {
		fd = fcntl(pty->master_fd, F_DUPFD_CLOEXEC, 3);
		if (fd >= 0 && !stream_start(&pty->stream, fd, fd, NULL))
			chardev_event(&pty->stream.chardev, CHARDEV_OPENED);
	}
	if (!pty->stream.chardev.connected && pty->notify_fd < 0)
		loop_timer_set(&pty->timer, host_now_ns() + POLL_INTERVAL_NS);
}

static void timer_fired(void *opaque)
{
	check(opaque);
}

static void opened(void *opaque, uint32_t events)
{
	struct pty *pty = opaque;
	char buffer[1024] __attribute__((aligned(8)));

	while (read(pty->notify_fd, buffer, sizeof(buffer)) > 0)
		;
	check(pty);
}

static void hung_up(struct stream *stream)
{
	struct pty *pty = (struct pty *)stream;

	stream_stop(stream);
	chardev_event(&stream->chardev, CHARDEV_CLOSED);
	check(pty);
}

static void pty_close(struct chardev *chardev)
{
	struct pty *pty = (struct pty *)chardev;

	stream_fini(&pty->stream);
	loop_timer_cancel(&pty->timer);
	if (pty->notify_watch)
		loop_fd_remove(pty->notify_watch);
	if (pty->notify_fd >= 0)
		close(pty->notify_fd);
	if (pty->master_fd >= 0)
		close(pty->master_fd);
}

/* The slave is set to raw and closed again, which leaves the master hung up until someone opens it. */
static int make_pair(struct pty *pty, struct error *err)
{
	struct termios settings;
	int slave_fd;

	pty->master_fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (pty->master_fd < 0 || grantpt(pty->master_fd) || unlockpt(pty->master_fd) ||
	    ptsname_r(pty->master_fd, pty->name, sizeof(pty->name)))
		return error_set_errno(err, errno, "making a pseudo terminal");
	slave_fd = open(pty->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave_fd < 0)
		return error_set_errno(err, errno, "opening %s", pty->name);
	if (!tcgetattr(slave_fd, &settings)) {
		cfmakeraw(&settings);
		tcsetattr(slave_fd, TCSAFLUSH, &settings);
	}
	close(slave_fd);
	return 0;
}

static int pty_open(struct chardev *chardev, struct options *options, struct error *err)
{
	struct pty *pty = (struct pty *)chardev;
	int result = stream_init(&pty->stream, err);

	if (result)
		return result;
	pty->master_fd = pty->notify_fd = -1;
	pty->stream.hangup = hung_up;
	pty->stream.watch_hangup = true;
	loop_timer_init(&pty->timer, chardev->loop, timer_fired, pty);
	result = make_pair(pty, err);
	if (result) {
		pty_close(chardev);
		return result;
	}
	pty->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (pty->notify_fd >= 0 && inotify_add_watch(pty->notify_fd, pty->name, IN_OPEN) < 0) {
		close(pty->notify_fd);
		pty->notify_fd = -1;
	}
	if (pty->notify_fd >= 0)
		pty->notify_watch = loop_fd_add(chardev->loop, pty->notify_fd, EPOLLIN, opened, pty);
	check(pty);
	if (chardev->log && chardev->id)
		log_tell(chardev->log, "char device redirected to %s (label %s)", pty->name, chardev->id);
	return 0;
}

static bool pty_window(struct chardev *chardev, uint16_t *columns, uint16_t *rows)
{
	struct winsize size;

	if (ioctl(((struct pty *)chardev)->master_fd, TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row)
		return false;
	*columns = size.ws_col;
	*rows = size.ws_row;
	return true;
}

static void pty_describe(struct chardev *chardev, char *text, size_t size)
{
	struct pty *pty = (struct pty *)chardev;

	snprintf(text, size, "%spty:%s", chardev->connected ? "" : "disconnected:", pty->name);
}

static const char *const pty_known[] = {NULL};

const struct chardev_driver pty_driver = {
	.name = "pty",
	.help = "a new pseudo terminal",
	.size = sizeof(struct pty),
	.known = pty_known,
	.open = pty_open,
	.close = pty_close,
	.write = stream_write,
	.write_all = stream_write_all,
	.accept_input = stream_accept_input,
	.attached = stream_update,
	.window = pty_window,
	.describe = pty_describe,
	.logs_itself = true,
};
