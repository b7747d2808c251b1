/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character back ends: a byte stream between the machine and the host. One front end (serial port, console port,
 * monitor) at a time, or several behind a mux, which gives the Ctrl-a keys (qemu's -echr).
 */
#ifndef XUNI_BACKEND_CHAR_CHARDEV_H
#define XUNI_BACKEND_CHAR_CHARDEV_H

#include "base/error.h"
#include "base/options.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct chardev;
struct log;
struct loop;

enum chardev_event { CHARDEV_OPENED, CHARDEV_CLOSED, CHARDEV_BREAK, CHARDEV_RESIZED, CHARDEV_FOCUS, CHARDEV_UNFOCUS };

/* The front end's side; called in the loop's thread. */
struct chardev_front {
	/* How many bytes receive would take now; 0 stops reading until chardev_accept. */
	size_t (*can_receive)(void *opaque);
	void (*receive)(void *opaque, const uint8_t *data, size_t length);
	void (*event)(void *opaque, enum chardev_event event); /* may be NULL */
	/* Room to write again after a short write; may be NULL. */
	void (*writable)(void *opaque);
	void *opaque;
	/* On a mux: does not take the keyboard from a front end that is there already (a monitor beside a console). */
	bool background;
};

/* A text console of the machine's display, as the back end vc uses it. */
struct chardev_console {
	/* What is written to it; any thread. */
	void (*write)(struct chardev_console *console, const uint8_t *data, size_t length);
	void (*close)(struct chardev_console *console);
};

/* What back ends and the mux's special keys ask of the machine; one per machine, handed to chardev_open. */
struct chardev_host {
	void (*quit)(void *opaque);       /* Ctrl-a x */
	void (*sync_disks)(void *opaque); /* Ctrl-a s */
	void *opaque;
	uint8_t escape; /* -echr; 0: Ctrl-a */
	/* What is typed there comes by chardev_typed. May be NULL: the machine has no display. */
	struct chardev_console *(*console)(void *opaque, struct chardev *chardev, uint16_t columns, uint16_t rows);
};

struct chardev_driver {
	const char *name; /* stdio file pipe pty socket null ringbuf mux */
	const char *help;
	size_t size; /* of the instance; it begins with struct chardev */
	const char *const *known;
	int (*open)(struct chardev *chardev, struct options *options, struct error *err);
	void (*close)(struct chardev *chardev);
	/* Takes at most length bytes without blocking; returns how many (0: full). Any thread. */
	size_t (*write)(struct chardev *chardev, const uint8_t *data, size_t length);
	/* As write, but takes all of it until CHARDEV_BACKLOG_MAX wait, then nothing; NULL where write never falls short. */
	size_t (*write_all)(struct chardev *chardev, const uint8_t *data, size_t length);
	/* Any thread. */
	void (*accept_input)(struct chardev *chardev);
	/* Columns and rows of the terminal behind it; false when there is none. */
	bool (*window)(struct chardev *chardev, uint16_t *columns, uint16_t *rows);
	/* "disconnected:unix:/path,server=on" for `info chardev`. */
	void (*describe)(struct chardev *chardev, char *text, size_t size);
	void (*attached)(struct chardev *chardev); /* a front end came or went; loop's thread; may be NULL */
	bool logs_itself;                          /* the driver calls chardev_log with what it sends, in batches */
};

#define CHARDEV_BACKLOG_MAX (16u * 1024 * 1024)

struct chardev {
	const struct chardev_driver *driver;
	char *id;
	struct loop *loop;
	struct log *log;
	struct chardev_front front; /* zero: nobody listens */
	const struct chardev_host *host;
	_Atomic bool connected;
	bool attached;
	int log_fd;          /* logfile=, or -1 */
	struct chardev *mux; /* the mux that owns this back end, or NULL */
};

/* NULL-ended. */
extern const struct chardev_driver *const chardev_drivers[];

/* type: driver name; options: the rest of -chardev without id (mux=on wraps it in a mux). Errors do not name the id:
 * the caller knows what the user typed. */
struct chardev *chardev_open(const char *type, const char *id, struct options *options, struct loop *loop,
			     struct log *log, const struct chardev_host *host, struct error *err);
void chardev_close(struct chardev *chardev);

/* Attaches a front end, which is told CHARDEV_OPENED at once when the other side is there. A mux takes several and
 * returns a handle for each; others take one: -EBUSY for a second. The handle is what the front end then uses in place
 * of the chardev. Freed by chardev_detach. */
struct chardev *chardev_attach(struct chardev *chardev, const struct chardev_front *front, struct error *err);
void chardev_detach(struct chardev *handle);
/* On a mux: the keyboard goes to this handle from now on (the last one attached has it at first). Else nothing. */
void chardev_focus(struct chardev *handle);

size_t chardev_write(struct chardev *chardev, const uint8_t *data, size_t length);
/* Writes all of it. What a slow peer does not take is kept in memory; once CHARDEV_BACKLOG_MAX wait, texts are dropped,
 * each as a whole, so that a monitor's reply is never cut. */
void chardev_write_all(struct chardev *chardev, const char *text, size_t length);
/* The front end has room again after can_receive said 0. Any thread. */
void chardev_accept(struct chardev *chardev);
bool chardev_window(struct chardev *chardev, uint16_t *columns, uint16_t *rows);
/* The old spelling of -serial, -monitor: "stdio", "mon:stdio", "file:PATH", "pipe:", "pty", "unix:PATH,server=on",
 * "tcp:HOST:PORT,...", "telnet:", "null", "none", "vc", "chardev:ID" -> type and options; *mux says "mon:". */
int chardev_parse_legacy(const char *text, char **type, struct options *options, bool *mux, struct error *err);
/* One line for `info chardev`, without the id. */
void chardev_describe(struct chardev *chardev, char *text, size_t size);
/* The monitor's ringbuf-read and ringbuf-write; -EINVAL when the chardev is no ring buffer. */
int64_t chardev_ringbuf_read(struct chardev *chardev, uint8_t *data, size_t size);
int64_t chardev_ringbuf_write(struct chardev *chardev, const uint8_t *data, size_t length);
/* What somebody types at the console of a vc; loop's thread. */
void chardev_typed(struct chardev *chardev, const char *bytes, size_t length);
/* For drivers: sends to the front end, if there is one. */
void chardev_event(struct chardev *chardev, enum chardev_event event);
/* For drivers: appends to logfile=, if there is one. */
void chardev_log(struct chardev *chardev, const uint8_t *data, size_t length);
/* Restores the terminal, if a stdio back end changed it. Safe at exit and in fatal-signal handlers. */
void chardev_restore_terminal(void);

#endif
