/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host's serial line or other terminal device (path=/dev/ttyS0), in raw mode. The speed stays as stty set it. Another
 * character device, such as /dev/null, is read and written as it is.
 */
#include "backend/char/drivers.h"
#include "backend/char/stream.h"

#include "base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

struct serial {
	struct stream stream;
	char *path;
};

static void serial_close(struct chardev *chardev)
{
	struct serial *serial = (struct serial *)chardev;

	stream_fini(&serial->stream);
	free(serial->path);
}

static int open_line(const char *path, struct error *err)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct termios settings;
	struct stat status;

	if (fd < 0)
		return error_set_errno(err, errno, "opening %s", path);
	if (tcgetattr(fd, &settings)) {
		if (!fstat(fd, &status) && S_ISCHR(status.st_mode))
			return fd;
		close(fd);
		return error_set(err, ENOTTY, "%s is not a serial line, terminal or other character device", path);
	}
	cfmakeraw(&settings);
	settings.c_cflag |= CLOCAL | CREAD;
	tcsetattr(fd, TCSANOW, &settings);
	return fd;
}

static int serial_open(struct chardev *chardev, struct options *options, struct error *err)
{
	struct serial *serial = (struct serial *)chardev;
	const char *path = options_get(options, "path");
	int fd, result;

	if (!path)
		return error_set(err, EINVAL, "'path' is missing");
	fd = open_line(path, err);
	if (fd < 0)
		return fd;
	result = stream_init(&serial->stream, err);
	if (result) {
		close(fd);
		return result;
	}
	serial->path = xstrdup(path);
	result = stream_start(&serial->stream, fd, fd, err);
	if (result)
		serial_close(chardev);
	return result;
}

static void serial_describe(struct chardev *chardev, char *text, size_t size)
{
	snprintf(text, size, "serial:%s", ((struct serial *)chardev)->path);
}

static const char *const serial_known[] = {"path", NULL};

const struct chardev_driver serial_driver = {
	.name = "serial",
	.help = "a host's serial line, path=/dev/ttyS0",
	.size = sizeof(struct serial),
	.known = serial_known,
	.open = serial_open,
	.close = serial_close,
	.write = stream_write,
	.write_all = stream_write_all,
	.accept_input = stream_accept_input,
	.attached = stream_update,
	.describe = serial_describe,
	.logs_itself = true,
};
