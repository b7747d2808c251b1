/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Output into a file; input, when input-path= is given, from another one until its end. */
#include "backend/char/drivers.h"
#include "backend/char/stream.h"

#include "base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct file {
	struct stream stream;
	char *path;
};

static int open_output(const char *path, bool append, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (append ? O_APPEND : O_TRUNC),
		      0666);

	if (fd < 0 && errno == ENXIO)
		return error_set(err, ENXIO, "%s is a fifo that nobody reads: start the reader first, or use 'pipe'",
				 path);
	if (fd < 0)
		return error_set_errno(err, errno, "opening %s", path);
	return fd;
}

static void file_close(struct chardev *chardev)
{
	struct file *file = (struct file *)chardev;

	stream_fini(&file->stream);
	free(file->path);
}

static int file_open(struct chardev *chardev, struct options *options, struct error *err)
{
	struct file *file = (struct file *)chardev;
	const char *path = options_get(options, "path");
	const char *input_path = options_get(options, "input-path");
	bool append = false;
	int in_fd = -1, out_fd, result;

	if (!path)
		return error_set(err, EINVAL, "'path' is missing");
	if (options_bool(options, "append", &append, err))
		return -EINVAL;
	if (input_path) {
		in_fd = open(input_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (in_fd < 0)
			return error_set_errno(err, errno, "opening %s", input_path);
	}
	out_fd = open_output(path, append, err);
	result = out_fd < 0 ? out_fd : stream_init(&file->stream, err);
	if (result < 0) {
		if (in_fd >= 0)
			close(in_fd);
		if (out_fd >= 0)
			close(out_fd);
		return result;
	}
	file->path = xstrdup(path);
	result = stream_start(&file->stream, in_fd, out_fd, err);
	if (result)
		file_close(chardev);
	return result;
}

static void file_describe(struct chardev *chardev, char *text, size_t size)
{
	snprintf(text, size, "file:%s", ((struct file *)chardev)->path);
}

static const char *const file_known[] = {"path", "append", "input-path", NULL};

const struct chardev_driver file_driver = {
	.name = "file",
	.help = "output into path=; append=on keeps what is there; input-path= is read as input",
	.size = sizeof(struct file),
	.known = file_known,
	.open = file_open,
	.close = file_close,
	.write = stream_write,
	.write_all = stream_write_all,
	.accept_input = stream_accept_input,
	.attached = stream_update,
	.describe = file_describe,
	.logs_itself = true,
};
