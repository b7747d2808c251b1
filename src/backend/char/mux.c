/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The multiplexer: several front ends on one terminal. What they write is passed on; the keyboard belongs to the one
 * that has the focus. Ctrl-a (or -echr) starts a command. Keys for a front end that does not take them wait in a
 * buffer, so that Ctrl-a keeps working when the guest hangs; beyond the buffer they are lost.
 *
 * Ports: a handle of chardev_attach is a struct chardev of its own with port_driver.
 */
#include "backend/char/drivers.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define PORTS_MAX    8
#define INPUT_BUFFER (64 * 1024)
#define CTRL_A       1

struct mux_port {
	struct chardev chardev;
	struct mux *mux;
	uint8_t *input; /* INPUT_BUFFER bytes, a ring */
	size_t input_start, input_length;
	_Atomic bool waiting; /* input is left that the front end had no room for */
};

struct mux {
	struct chardev chardev;
	struct chardev *base; /* owned */
	struct mux_port *ports[PORTS_MAX];
	unsigned focus;
	bool escaped;
	int kick_fd; /* a front end has room again */
	struct loop_fd *kick_watch;
	pthread_mutex_t lock; /* guards what follows */
	bool timestamps, at_line_start;
	struct timespec started;
};

static const struct chardev_driver port_driver;

bool mux_is_port(const struct chardev *handle)
{
	return handle->driver == &port_driver;
}

static void say(struct mux *mux, const char *text)
{
	chardev_write_all(mux->base, text, strlen(text));
}

static void print_help(struct mux *mux)
{
	char text[640];
	char key[16];
	uint8_t escape = mux->chardev.host && mux->chardev.host->escape ? mux->chardev.host->escape : CTRL_A;

	if (escape < 32)
		snprintf(key, sizeof(key), "C-%c", escape + 'a' - 1);
	else
		snprintf(key, sizeof(key), "0x%02x", escape);
	snprintf(text, sizeof(text),
		 "\r\n"
		 "%s h    this help\r\n"
		 "%s x    end the machine\r\n"
		 "%s s    write disk data out\r\n"
		 "%s t    time stamps on or off\r\n"
		 "%s b    send a break (magic SysRq)\r\n"
		 "%s c    switch between console and monitor\r\n"
		 "%s %s  send %s itself\r\n",
		 key, key, key, key, key, key, key, key, key);
	say(mux, text);
}

static void port_deliver(struct mux_port *port)
{
	struct chardev_front *front = &port->chardev.front;

	while (port->input_length) {
		size_t room = front->can_receive ? front->can_receive(front->opaque) : 0;
		size_t run = INPUT_BUFFER - port->input_start;
		const uint8_t *data = port->input + port->input_start;

		if (run > port->input_length)
			run = port->input_length;
		if (run > room)
			run = room;
		if (!run) {
			if (atomic_exchange(&port->waiting, true))
				return;
			continue; /* room may have come before the flag was up */
		}
		port->input_start = (port->input_start + run) % INPUT_BUFFER;
		port->input_length -= run;
		front->receive(front->opaque, data, run);
	}
	atomic_store(&port->waiting, false);
}

static void port_push(struct mux_port *port, const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length && port->input_length < INPUT_BUFFER; i++)
		port->input[(port->input_start + port->input_length++) % INPUT_BUFFER] = data[i];
	port_deliver(port);
}

static void set_focus(struct mux *mux, unsigned index)
{
	if (mux->focus == index)
		return;
	if (mux->ports[mux->focus])
		chardev_event(&mux->ports[mux->focus]->chardev, CHARDEV_UNFOCUS);
	mux->focus = index;
	if (mux->ports[index])
		chardev_event(&mux->ports[index]->chardev, CHARDEV_FOCUS);
}

static void next_focus(struct mux *mux)
{
	for (unsigned i = 1; i < PORTS_MAX; i++) {
		unsigned index = (mux->focus + i) % PORTS_MAX;

		if (mux->ports[index]) {
			set_focus(mux, index);
			return;
		}
	}
}

/* The key after the escape key. Returns true when it is to be sent itself. */
static bool command(struct mux *mux, uint8_t key, uint8_t escape)
{
	const struct chardev_host *host = mux->chardev.host;

	if (key == escape)
		return true;
	switch (key) {
	case 'h':
	case '?':
		print_help(mux);
		break;
	case 'x':
		say(mux, "\r\nxuni: ended from the terminal\r\n");
		if (host && host->quit)
			host->quit(host->opaque);
		break;
	case 's':
		if (host && host->sync_disks)
			host->sync_disks(host->opaque);
		break;
	case 'b':
		if (mux->ports[mux->focus])
			chardev_event(&mux->ports[mux->focus]->chardev, CHARDEV_BREAK);
		break;
	case 'c':
		next_focus(mux);
		break;
	case 't':
		pthread_mutex_lock(&mux->lock);
		mux->timestamps = !mux->timestamps;
		mux->at_line_start = false;
		clock_gettime(CLOCK_MONOTONIC, &mux->started);
		pthread_mutex_unlock(&mux->lock);
		break;
	}
	return false;
}

static size_t base_can_receive(void *opaque)
{
	return INPUT_BUFFER;
}

static void base_receive(void *opaque, const uint8_t *data, size_t length)
{
	struct mux *mux = opaque;
	uint8_t escape = mux->chardev.host && mux->chardev.host->escape ? mux->chardev.host->escape : CTRL_A;
	size_t start = 0;

	for (size_t i = 0; i <= length; i++) {
		bool special = i < length && (mux->escaped || data[i] == escape);

		if (i < length && !special)
			continue;
		if (i > start && mux->ports[mux->focus])
			port_push(mux->ports[mux->focus], data + start, i - start);
		start = i + 1;
		if (!special)
			continue;
		if (!mux->escaped) {
			mux->escaped = true;
			continue;
		}
		mux->escaped = false;
		if (command(mux, data[i], escape))
			start = i;
	}
}

static void base_event(void *opaque, enum chardev_event event)
{
	struct mux *mux = opaque;

	atomic_store(&mux->chardev.connected, mux->base->connected);
	for (unsigned i = 0; i < PORTS_MAX; i++) {
		/* A break comes in on one line only. */
		if (mux->ports[i] && (event != CHARDEV_BREAK || i == mux->focus)) {
			atomic_store(&mux->ports[i]->chardev.connected, mux->base->connected);
			chardev_event(&mux->ports[i]->chardev, event);
		}
	}
}

static void base_writable(void *opaque)
{
	struct mux *mux = opaque;

	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (mux->ports[i] && mux->ports[i]->chardev.front.writable)
			mux->ports[i]->chardev.front.writable(mux->ports[i]->chardev.front.opaque);
}

static void deliver_all(void *opaque, uint32_t events)
{
	struct mux *mux = opaque;
	uint64_t count;
	ssize_t n = read(mux->kick_fd, &count, sizeof(count));

	(void)n;
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (mux->ports[i])
			port_deliver(mux->ports[i]);
}

static void stamp(struct mux *mux)
{
	struct timespec now;
	char text[32];
	long ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (now.tv_sec - mux->started.tv_sec) * 1000 + (now.tv_nsec - mux->started.tv_nsec) / 1000000;
	snprintf(text, sizeof(text), "[%02ld:%02ld:%02ld.%03ld] ", ms / 3600000, ms / 60000 % 60, ms / 1000 % 60,
		 ms % 1000);
	say(mux, text);
}

/* Line by line; returns what the base took. Under the mux's lock. */
static size_t write_stamped(struct mux *mux, const uint8_t *data, size_t length)
{
	size_t done = 0;

	while (done < length) {
		const uint8_t *end = memchr(data + done, '\n', length - done);
		size_t run = end ? (size_t)(end - data) + 1 - done : length - done;
		size_t taken;

		if (mux->at_line_start)
			stamp(mux);
		mux->at_line_start = false;
		taken = chardev_write(mux->base, data + done, run);
		done += taken;
		if (taken < run)
			break;
		mux->at_line_start = end != NULL;
	}
	return done;
}

static size_t port_write(struct chardev *chardev, const uint8_t *data, size_t length)
{
	struct mux *mux = ((struct mux_port *)chardev)->mux;
	size_t taken;

	pthread_mutex_lock(&mux->lock);
	taken = mux->timestamps ? write_stamped(mux, data, length) : chardev_write(mux->base, data, length);
	pthread_mutex_unlock(&mux->lock);
	return taken;
}

static size_t port_write_all(struct chardev *chardev, const uint8_t *data, size_t length)
{
	struct mux *mux = ((struct mux_port *)chardev)->mux;

	chardev_write_all(mux->base, (const char *)data, length);
	return length;
}

static void port_accept_input(struct chardev *chardev)
{
	struct mux_port *port = (struct mux_port *)chardev;
	uint64_t one = 1;
	ssize_t n;

	if (!atomic_exchange(&port->waiting, false))
		return;
	n = write(port->mux->kick_fd, &one, sizeof(one));
	(void)n;
}

static bool port_window(struct chardev *chardev, uint16_t *columns, uint16_t *rows)
{
	return chardev_window(((struct mux_port *)chardev)->mux->base, columns, rows);
}

static const struct chardev_driver port_driver = {
	.name = "mux-port",
	.size = sizeof(struct mux_port),
	.write = port_write,
	.write_all = port_write_all,
	.accept_input = port_accept_input,
	.window = port_window,
	.logs_itself = true,
};

struct chardev *mux_attach(struct chardev *chardev, const struct chardev_front *front, struct error *err)
{
	struct mux *mux = (struct mux *)chardev;
	struct mux_port *port;
	unsigned index = 0;

	while (index < PORTS_MAX && mux->ports[index])
		index++;
	if (index == PORTS_MAX) {
		error_set(err, EBUSY, "chardev %s: a mux takes at most %d front ends", chardev->id, PORTS_MAX);
		return NULL;
	}
	port = xcalloc(1, sizeof(*port));
	port->chardev.driver = &port_driver;
	port->chardev.id = xstrdup(chardev->id ? chardev->id : "mux");
	port->chardev.loop = chardev->loop;
	port->chardev.log = chardev->log;
	port->chardev.log_fd = -1;
	port->chardev.front = *front;
	port->chardev.attached = true;
	port->chardev.mux = chardev;
	port->chardev.connected = mux->base->connected;
	port->mux = mux;
	port->input = xcalloc(1, INPUT_BUFFER);
	mux->ports[index] = port;
	if (port->chardev.connected)
		chardev_event(&port->chardev, CHARDEV_OPENED);
	if (mux->focus == index)
		chardev_event(&port->chardev, CHARDEV_FOCUS);
	else if (!front->background || !mux->ports[mux->focus])
		set_focus(mux, index);
	return &port->chardev;
}

void mux_detach(struct chardev *handle)
{
	struct mux_port *port = (struct mux_port *)handle;
	struct mux *mux = port->mux;

	for (unsigned i = 0; i < PORTS_MAX; i++) {
		if (mux->ports[i] != port)
			continue;
		mux->ports[i] = NULL;
		if (mux->focus == i)
			next_focus(mux);
	}
	free(port->input);
	free(port->chardev.id);
	free(port);
}

void mux_focus(struct chardev *handle)
{
	struct mux *mux = ((struct mux_port *)handle)->mux;

	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (mux->ports[i] == (struct mux_port *)handle)
			set_focus(mux, i);
}

struct chardev *mux_wrap(struct chardev *base, const struct chardev_host *host, struct error *err)
{
	struct mux *mux = xcalloc(1, sizeof(*mux));
	struct chardev_front front = {
		.can_receive = base_can_receive,
		.receive = base_receive,
		.event = base_event,
		.writable = base_writable,
		.opaque = mux,
	};

	mux->chardev.driver = &mux_driver;
	mux->chardev.id = base->id ? xstrdup(base->id) : NULL;
	mux->chardev.loop = base->loop;
	mux->chardev.log = base->log;
	mux->chardev.host = host;
	mux->chardev.log_fd = -1;
	mux->base = base;
	pthread_mutex_init(&mux->lock, NULL);
	mux->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mux->kick_fd < 0 || !chardev_attach(base, &front, err)) {
		if (mux->kick_fd < 0)
			error_set_errno(err, errno, "no event descriptor for the mux");
		else
			close(mux->kick_fd);
		pthread_mutex_destroy(&mux->lock);
		free(mux->chardev.id);
		free(mux);
		return NULL;
	}
	base->mux = &mux->chardev;
	mux->kick_watch = loop_fd_add(base->loop, mux->kick_fd, EPOLLIN, deliver_all, mux);
	return &mux->chardev;
}

static void mux_close(struct chardev *chardev)
{
	struct mux *mux = (struct mux *)chardev;

	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (mux->ports[i])
			mux_detach(&mux->ports[i]->chardev);
	loop_fd_remove(mux->kick_watch);
	close(mux->kick_fd);
	chardev_detach(mux->base);
	chardev_close(mux->base);
	pthread_mutex_destroy(&mux->lock);
}

static size_t mux_write(struct chardev *chardev, const uint8_t *data, size_t length)
{
	return chardev_write(((struct mux *)chardev)->base, data, length);
}

static bool mux_window(struct chardev *chardev, uint16_t *columns, uint16_t *rows)
{
	return chardev_window(((struct mux *)chardev)->base, columns, rows);
}

static void mux_describe(struct chardev *chardev, char *text, size_t size)
{
	char base[256];

	chardev_describe(((struct mux *)chardev)->base, base, sizeof(base));
	snprintf(text, size, "mux,%s", base);
}

const struct chardev_driver mux_driver = {
	.name = "mux",
	.help = "several front ends on one back end (mux=on)",
	.size = sizeof(struct mux),
	.close = mux_close,
	.write = mux_write,
	.window = mux_window,
	.describe = mux_describe,
	.logs_itself = true,
};
