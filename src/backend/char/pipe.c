/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named pipes: PATH.in (to the guest) and PATH.out (from it), or one fifo PATH for both directions. */
#include "backend/char/drivers.h"
#include "backend/char/stream.h"

#include "base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct pipe_chardev {
	struct stream stream;
	char *path;
};

static void pipe_close(struct chardev *chardev)
{
	struct pipe_chardev *pipe_chardev = (struct pipe_chardev *)chardev;

	stream_fini(&pipe_chardev->stream);
	free(pipe_chardev->path);
}

/* Opened for both directions, a fifo neither waits for its other end nor reports that it went away. */
static int open_fifo(const char *path, const char *suffix)
{
	char *name = xasprintf("%s%s", path, suffix);
	int fd = open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	int result = fd < 0 ? -errno : fd;

	free(name);
	return result;
}

static int pipe_open(struct chardev *chardev, struct options *options, struct error *err)
{
	struct pipe_chardev *pipe_chardev = (struct pipe_chardev *)chardev;
	const char *path = options_get(options, "path");
	int in_fd, out_fd, result;

	if (!path)
		return error_set(err, EINVAL, "'path' is missing");
	in_fd = open_fifo(path, ".in");
	out_fd = open_fifo(path, ".out");
	if (in_fd < 0 || out_fd < 0) {
		if (in_fd >= 0)
			close(in_fd);
		if (out_fd >= 0)
			close(out_fd);
		in_fd = out_fd = open_fifo(path, "");
		if (in_fd == -ENOENT)
			return error_set(err, ENOENT, "neither %s.in and %s.out nor %s exist; make them with mkfifo",
					 path, path, path);
		if (in_fd < 0)
			return error_set_errno(err, -in_fd, "opening %s", path);
	}
	result = stream_init(&pipe_chardev->stream, err);
	if (result) {
		close(in_fd);
		if (out_fd != in_fd)
			close(out_fd);
		return result;
	}
	pipe_chardev->path = xstrdup(path);
	result = stream_start(&pipe_chardev->stream, in_fd, out_fd, err);
	if (result)
		pipe_close(chardev);
	return result;
}

static void pipe_describe(struct chardev *chardev, char *text, size_t size)
{
	snprintf(text, size, "pipe:%s", ((struct pipe_chardev *)chardev)->path);
}

static const char *const pipe_known[] = {"path", NULL};

const struct chardev_driver pipe_driver = {
	.name = "pipe",
	.help = "fifos path=.in and path=.out, or one fifo for both directions",
	.size = sizeof(struct pipe_chardev),
	.known = pipe_known,
	.open = pipe_open,
	.close = pipe_close,
	.write = stream_write,
	.write_all = stream_write_all,
	.accept_input = stream_accept_input,
	.attached = stream_update,
	.describe = pipe_describe,
	.logs_itself = true,
};
