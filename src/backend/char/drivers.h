/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The drivers of this folder, for the table in chardev.c, and what chardev.c and the mux owe each other. */
#ifndef XUNI_BACKEND_CHAR_DRIVERS_H
#define XUNI_BACKEND_CHAR_DRIVERS_H

#include "backend/char/chardev.h"

extern const struct chardev_driver stdio_driver, file_driver, pipe_driver, pty_driver, serial_driver, socket_driver,
	null_driver, vc_driver, ringbuf_driver, memory_driver, mux_driver;

/* Puts base, which it then owns, behind a new mux with the same id. */
struct chardev *mux_wrap(struct chardev *base, const struct chardev_host *host, struct error *err);
/* mux_driver's part of chardev_attach, chardev_detach and chardev_focus. */
struct chardev *mux_attach(struct chardev *mux, const struct chardev_front *front, struct error *err);
void mux_detach(struct chardev *handle);
void mux_focus(struct chardev *handle);
bool mux_is_port(const struct chardev *handle);

#endif
