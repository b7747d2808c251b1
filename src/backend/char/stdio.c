/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process' standard input and output. On a terminal: raw mode, window size. Descriptors are reopened where that is
 * possible, so that O_NONBLOCK does not leak to a shell or to the other end of a pipeline.
 */
#include "backend/char/drivers.h"
#include "backend/char/stream.h"
#include "backend/char/terminal.h"

#include "base/loop.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct stdio {
	struct stream stream;
	bool signals;
	int resize_fd;
	struct loop_fd *resize_watch;
};

static void resized(void *opaque, uint32_t events)
{
	struct stdio *stdio = opaque;
	uint64_t count;

	if (read(stdio->resize_fd, &count, sizeof(count)) == sizeof(count))
		chardev_event(&stdio->stream.chardev, CHARDEV_RESIZED);
}

static void stdio_close(struct chardev *chardev)
{
	struct stdio *stdio = (struct stdio *)chardev;

	stream_fini(&stdio->stream);
	terminal_release();
	loop_fd_remove(stdio->resize_watch);
	close(stdio->resize_fd);
}

static int stdio_open(struct chardev *chardev, struct options *options, struct error *err)
{
	struct stdio *stdio = (struct stdio *)chardev;
	int in_fd, out_fd;
	int result;

	stdio->signals = true;
	result = options_bool(options, "signal", &stdio->signals, err);
	if (result)
		return result;
	result = stream_init(&stdio->stream, err);
	if (result)
		return result;
	stdio->resize_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	result = stdio->resize_fd < 0 ? error_set_errno(err, errno, "no event descriptor") : 0;
	if (!result)
		result = terminal_take(STDIN_FILENO, stdio->signals, stdio->resize_fd, err);
	if (result) {
		if (stdio->resize_fd >= 0)
			close(stdio->resize_fd);
		stream_fini(&stdio->stream);
		return result;
	}
	stdio->resize_watch = loop_fd_add(chardev->loop, stdio->resize_fd, EPOLLIN, resized, stdio);
	/* A closed standard descriptor is a stream that is over. */
	in_fd = fd_reopen_nonblocking(STDIN_FILENO, O_RDONLY);
	out_fd = fd_reopen_nonblocking(STDOUT_FILENO, O_WRONLY);
	result = stream_start(&stdio->stream, in_fd < 0 ? -1 : in_fd, out_fd < 0 ? -1 : out_fd, err);
	if (result)
		stdio_close(chardev);
	return result;
}

static bool stdio_window(struct chardev *chardev, uint16_t *columns, uint16_t *rows)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row)
		return false;
	*columns = size.ws_col;
	*rows = size.ws_row;
	return true;
}

static void stdio_describe(struct chardev *chardev, char *text, size_t size)
{
	snprintf(text, size, "stdio,signal=%s", ((struct stdio *)chardev)->signals ? "on" : "off");
}

static const char *const stdio_known[] = {"signal", NULL};

const struct chardev_driver stdio_driver = {
	.name = "stdio",
	.help = "standard input and output; signal=off passes Ctrl-C to the guest",
	.size = sizeof(struct stdio),
	.known = stdio_known,
	.open = stdio_open,
	.close = stdio_close,
	.write = stream_write,
	.write_all = stream_write_all,
	.accept_input = stream_accept_input,
	.attached = stream_update,
	.window = stdio_window,
	.describe = stdio_describe,
	.logs_itself = true,
};
