/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void out_of_memory(void)
{
	static const char text[] = "xuni: out of memory\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(1);
	_exit(1);
}

void *xcalloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *xrealloc(void *p, size_t size)
{
	p = realloc(p, size ? size : 1);
	if (!p)
		out_of_memory();
	return p;
}

char *xstrdup(const char *s)
{
	char *copy = strdup(s);

	if (!copy)
		out_of_memory();
	return copy;
}

char *xasprintf(const char *fmt, ...)
{
	va_list args;
	char *text;
	int length;

	va_start(args, fmt);
	length = vasprintf(&text, fmt, args);
	va_end(args);
	if (length < 0)
		out_of_memory();
	return text;
}

char *format_bytes(char text[32], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	int exponent, unit;

	frexp((double)bytes / (1000.0 / 1024.0), &exponent);
	unit = exponent > 0 ? (exponent - 1) / 10 : 0;
	snprintf(text, 32, "%0.3g %s", (double)bytes / (double)(1ull << unit * 10), units[unit]);
	return text;
}

/* 64 bytes a step in four vectors; whatever the alignment. */
bool buffer_is_zero(const void *data, size_t length)
{
	typedef uint64_t vector __attribute__((vector_size(16), aligned(1), may_alias));
	const uint8_t *p = data, *end = p + length;

	if (length >= 64) {
		/* Most data show it here, at the price of three cache lines. */
		if (load_le64(p) | load_le64(p + (length - 8) / 2) | load_le64(end - 8))
			return false;
		for (; end - p >= 64; p += 64) {
			const vector *v = (const vector *)p;
			const vector any = v[0] | v[1] | v[2] | v[3];

			if (any[0] | any[1])
				return false;
		}
	}
	while (p < end)
		if (*p++)
			return false;
	return true;
}

uint64_t host_memory_bytes(void)
{
	struct sysinfo info;

	if (sysinfo(&info))
		return UINT64_MAX;
	return (uint64_t)(info.totalram + info.totalswap) * info.mem_unit;
}

int64_t host_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}
