/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User interfaces: what -display, -vnc and -curses open. Each is a const driver; those with libraries of their own lie
 *in loadable modules (base/module.h, kind "display") that export
 *
 *	const struct module xuni_module = {"display", DISPLAY_MODULE_ABI, drivers};
 *
 * drivers being a NULL-ended array of const struct display_driver *. A module has its own copy of the display library,
 * which keeps nothing outside of the objects that it is given.
 */
#ifndef XUNI_BACKEND_DISPLAY_DRIVER_H
#define XUNI_BACKEND_DISPLAY_DRIVER_H

#include "backend/display/display.h"
#include "base/error.h"
#include "base/options.h"

struct display_ui;
struct input;
struct log;
struct loop;

/* What a machine gives to its user interfaces; outlives them. */
struct display_host {
	struct display *display;
	struct input *input; /* NULL: the machine has no keyboard */
	struct loop *loop;
	struct log *log;
	const char *machine_name; /* -name, or NULL */
	const char *keyboard;     /* -k: name of a key map, or NULL */
	/* A secret's text with a NUL behind it (-object secret); NULL: there is none of that id. */
	const char *(*secret)(void *opaque, const char *id, size_t *length, struct error *err);
	/* What -object says of this id, and its type; NULL: there is none. Reading marks nothing for others. */
	struct options *(*object)(void *opaque, const char *id, const char **type);
	/* The user closes the screen for good (a window's close button, not a client that leaves). */
	void (*quit)(void *opaque);
	/* A QMP event; data is a JSON object's text or NULL. */
	void (*event)(void *opaque, const char *name, const char *data_json);
	void *opaque;
};

/* What the monitor does with a user interface that people reach over a network. Main loop's thread. */
struct display_server_ops {
	/* NULL: nobody gets in. -EINVAL when it was opened without passwords. */
	int (*set_password)(struct display_ui *ui, const char *password, struct error *err);
	/* when_s: seconds since 1970 UTC; INT64_MAX: never. */
	void (*expire_password)(struct display_ui *ui, int64_t when_s);
	/* Listens elsewhere, at all of these (in -vnc's spelling); who is connected stays so. On failure: nowhere. */
	int (*change)(struct display_ui *ui, char *const *addresses, size_t count, struct error *err);
	/* Reads TLS's files again, for those who come from now on; on failure the old ones stay. */
	int (*reload_tls)(struct display_ui *ui, struct error *err);
	/* JSON {id, auth, vencrypt, server: [{host, service, family, websocket, auth, vencrypt}], clients: [{host,
	 * service, family, websocket, x509_dname}], display}, vencrypt and x509_dname only where auth is, display where
	 * one was chosen; heap. */
	char *(*describe)(struct display_ui *ui);
};

struct display_driver {
	const char *name; /* as in -display */
	const char *help;
	size_t size;              /* of the instance; it begins with struct display_ui */
	const char *const *known; /* keys of -display NAME,... ; NULL-ended */
	/* Marks the options it uses. On failure it leaves nothing behind. */
	int (*open)(struct display_ui *ui, struct options *options, struct error *err);
	void (*close)(struct display_ui *ui);
	const struct display_server_ops *server; /* NULL: it is none */
};

struct display_ui {
	const struct display_driver *driver;
	char *id; /* or NULL */
	const struct display_host *host;
	struct display_ui *next;
};

/* Raised by hand when the meaning of a member changes. */
#define DISPLAY_MODULE_VERSION 3
#define DISPLAY_MODULE_ABI                                                                                             \
	((uint64_t)DISPLAY_MODULE_VERSION << 48 ^ (uint64_t)sizeof(struct display_driver) << 36 ^                      \
	 (uint64_t)sizeof(struct display_ui) << 24 ^ (uint64_t)sizeof(struct display_host) << 12 ^                     \
	 sizeof(struct display_source))

/* type: a driver's name; options: the rest, without id. An unknown option is an error. Main loop's thread. */
struct display_ui *display_ui_open(const char *type, const char *id, struct options *options,
				   const struct display_host *host, struct error *err);
void display_ui_close(struct display_ui *ui);
/* Name and help of each type that -display takes, index from 0 until false; for -display help. */
bool display_ui_type(unsigned index, const char **name, const char **help);

#endif
