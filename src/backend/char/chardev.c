/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character back ends: the table of drivers, opening and closing, and the calls that front ends make. */
#include "backend/char/chardev.h"

#include "backend/char/drivers.h"
#include "base/log.h"
#include "base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct chardev_driver *const chardev_drivers[] = {
	&stdio_driver, &file_driver, &pipe_driver,    &pty_driver,    &serial_driver, &socket_driver,
	&null_driver,  &vc_driver,   &ringbuf_driver, &memory_driver, NULL,
};

#define MAX_WORDS 64

static const char *const common_options[] = {"mux", "logfile", "logappend"};

static const struct chardev_driver *driver_find(const char *type, struct error *err)
{
	const char *words[MAX_WORDS] = {NULL};
	const char *near;

	for (size_t i = 0; chardev_drivers[i]; i++) {
		if (!strcmp(chardev_drivers[i]->name, type))
			return chardev_drivers[i];
		words[i] = chardev_drivers[i]->name;
	}
	if (!strcmp(type, "tty"))
		return &serial_driver;
	near = nearest_word(type, words);
	if (near)
		error_set(err, EINVAL, "'%s' is not a character back end; did you mean '%s'?", type, near);
	else
		error_set(err, EINVAL, "'%s' is not a character back end; 'help' lists them", type);
	return NULL;
}

static int check_options(const struct chardev_driver *driver, const struct options *options, struct error *err)
{
	const char *words[MAX_WORDS] = {NULL};
	char context[64];
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(common_options); i++)
		words[count++] = common_options[i];
	for (size_t i = 0; driver->known && driver->known[i] && count < MAX_WORDS - 1; i++)
		words[count++] = driver->known[i];
	snprintf(context, sizeof(context), "chardev %s", driver->name);
	return options_check_used(options, context, words, err);
}

static int log_file_open(struct chardev *chardev, struct options *options, struct error *err)
{
	const char *path = options_get(options, "logfile");
	bool append = false;

	if (options_bool(options, "logappend", &append, err))
		return -EINVAL;
	if (!path)
		return 0;
	chardev->log_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
	if (chardev->log_fd < 0)
		return error_set_errno(err, errno, "opening logfile %s", path);
	return 0;
}

static void chardev_free(struct chardev *chardev)
{
	if (chardev->log_fd >= 0)
		close(chardev->log_fd);
	free(chardev->id);
	free(chardev);
}

static int open_driver(struct chardev *chardev, struct options *options, struct error *err)
{
	int result = log_file_open(chardev, options, err);

	if (result)
		return result;
	result = chardev->driver->open(chardev, options, err);
	if (result)
		return result;
	result = check_options(chardev->driver, options, err);
	if (result && chardev->driver->close)
		chardev->driver->close(chardev);
	return result;
}

struct chardev *chardev_open(const char *type, const char *id, struct options *options, struct loop *loop,
			     struct log *log, const struct chardev_host *host, struct error *err)
{
	const struct chardev_driver *driver = driver_find(type, err);
	struct chardev *chardev;
	struct chardev *mux;
	bool wants_mux = false;

	if (!driver || options_bool(options, "mux", &wants_mux, err))
		return NULL;
	chardev = xcalloc(1, driver->size);
	chardev->driver = driver;
	chardev->id = id ? xstrdup(id) : NULL;
	chardev->loop = loop;
	chardev->log = log;
	chardev->host = host;
	chardev->log_fd = -1;
	if (open_driver(chardev, options, err)) {
		chardev_free(chardev);
		return NULL;
	}
	if (!wants_mux)
		return chardev;
	mux = mux_wrap(chardev, host, err);
	if (!mux)
		chardev_close(chardev);
	return mux;
}

void chardev_close(struct chardev *chardev)
{
	if (!chardev)
		return;
	if (chardev->driver->close)
		chardev->driver->close(chardev);
	chardev_free(chardev);
}

struct chardev *chardev_attach(struct chardev *chardev, const struct chardev_front *front, struct error *err)
{
	if (chardev->driver == &mux_driver)
		return mux_attach(chardev, front, err);
	if (chardev->attached || chardev->mux) {
		error_set(err, EBUSY, "chardev %s is in use already; mux=on lets several share it",
			  chardev->id ? chardev->id : chardev->driver->name);
		return NULL;
	}
	chardev->attached = true;
	chardev->front = *front;
	if (chardev->connected)
		chardev_event(chardev, CHARDEV_OPENED);
	if (chardev->driver->attached)
		chardev->driver->attached(chardev);
	return chardev;
}

void chardev_detach(struct chardev *handle)
{
	if (!handle)
		return;
	if (mux_is_port(handle)) {
		mux_detach(handle);
		return;
	}
	handle->attached = false;
	handle->front = (struct chardev_front){0};
	if (handle->driver->attached)
		handle->driver->attached(handle);
}

void chardev_focus(struct chardev *handle)
{
	if (mux_is_port(handle))
		mux_focus(handle);
}

size_t chardev_write(struct chardev *chardev, const uint8_t *data, size_t length)
{
	size_t taken = chardev->driver->write(chardev, data, length);

	if (!chardev->driver->logs_itself)
		chardev_log(chardev, data, taken);
	return taken;
}

void chardev_write_all(struct chardev *chardev, const char *text, size_t length)
{
	const uint8_t *data = (const uint8_t *)text;
	size_t taken;

	if (chardev->driver->write_all)
		taken = chardev->driver->write_all(chardev, data, length);
	else
		taken = chardev->driver->write(chardev, data, length);
	if (!chardev->driver->logs_itself)
		chardev_log(chardev, data, taken);
}

void chardev_accept(struct chardev *chardev)
{
	if (chardev->driver->accept_input)
		chardev->driver->accept_input(chardev);
}

bool chardev_window(struct chardev *chardev, uint16_t *columns, uint16_t *rows)
{
	return chardev->driver->window && chardev->driver->window(chardev, columns, rows);
}

void chardev_describe(struct chardev *chardev, char *text, size_t size)
{
	if (chardev->driver->describe)
		chardev->driver->describe(chardev, text, size);
	else
		snprintf(text, size, "%s", chardev->driver->name);
}

void chardev_event(struct chardev *chardev, enum chardev_event event)
{
	if (chardev->front.event)
		chardev->front.event(chardev->front.opaque, event);
}

void chardev_log(struct chardev *chardev, const uint8_t *data, size_t length)
{
	while (chardev->log_fd >= 0 && length) {
		ssize_t n = write(chardev->log_fd, data, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* a full disk must not stop the machine */
		data += n;
		length -= (size_t)n;
	}
}
