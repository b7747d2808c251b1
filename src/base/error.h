/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors travel upward in a caller-owned structure. The point of failure sets the text once, each layer that
 * knows more prefixes it once ("disk0: opening a.qcow2: Permission denied"), and only src/prog/ prints it.
 * A function that can fail returns 0 (or a result >= 0) or a negative errno, and fills *err when err is not NULL.
 */
#ifndef XUNI_BASE_ERROR_H
#define XUNI_BASE_ERROR_H

#include <errno.h>
#include <stdbool.h>

struct error {
	int code; /* positive errno; 0 when unset */
	char msg[512];
};

/* Sets code (positive errno) and text; returns -code, so that `return error_set(...)` reads well. err may be NULL. */
int error_set(struct error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As error_set, with ": strerror(code)" appended. */
int error_set_errno(struct error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts text and ": " before the message already there; returns -err->code (-EIO when err is NULL). */
int error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
