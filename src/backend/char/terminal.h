/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process' controlling terminal in raw mode. */
#ifndef XUNI_BACKEND_CHAR_TERMINAL_H
#define XUNI_BACKEND_CHAR_TERMINAL_H

#include "base/error.h"

/* Puts the terminal behind fd into raw mode (Ctrl-C and Ctrl-Z still signal when signals is true) until
 * chardev_restore_terminal; nothing happens when fd is none. resize_fd: an eventfd that is written when the window
 * changes size, or -1. -EBUSY when the terminal is taken already. */
int terminal_take(int fd, bool signals, int resize_fd, struct error *err);
void terminal_release(void);

#endif
