/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void error_format(struct error *err, int code, const char *fmt, va_list args)
{
	err->code = code;
	vsnprintf(err->msg, sizeof(err->msg), fmt, args);
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list args;

	if (err) {
		va_start(args, fmt);
		error_format(err, code, fmt, args);
		va_end(args);
	}
	return -code;
}

int error_set_errno(struct error *err, int code, const char *fmt, ...)
{
	va_list args;
	size_t used;

	if (err) {
		va_start(args, fmt);
		error_format(err, code, fmt, args);
		va_end(args);
		used = strlen(err->msg);
		snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", strerror(code));
	}
	return -code;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	va_list args;
	size_t used;

	if (!err)
		return -EIO;
	memcpy(old, err->msg, sizeof(old));
	va_start(args, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, args);
	va_end(args);
	used = strlen(err->msg);
	snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", old);
	return err->code ? -err->code : -EIO;
}
