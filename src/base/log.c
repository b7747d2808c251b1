/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"

#include "base/options.h"
#include "base/util.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_LINE_BYTES 4096
#define LOG_GUEST_LINES_PER_S 10

static const struct {
	const char *name;
	uint32_t item;
} log_names[] = {
	{"int", LOG_INT},         {"exec", LOG_EXEC},           {"in_asm", LOG_IN_ASM},
	{"op", LOG_OP},           {"out_asm", LOG_OUT_ASM},     {"cpu", LOG_CPU},
	{"cpu_reset", LOG_CPU_RESET}, {"guest_errors", LOG_GUEST_ERRORS}, {"unimp", LOG_UNIMP},
	{"trace", LOG_TRACE},
};

int log_open(struct log *log, const char *path, struct error *err)
{
	atomic_init(&log->items, 0);
	log->fd = STDERR_FILENO;
	if (!path)
		return 0;
	log->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0644);
	if (log->fd < 0) {
		int code = errno;

		log->fd = STDERR_FILENO;
		return error_set_errno(err, code, "cannot open log file '%s'", path);
	}
	return 0;
}

int log_redirect(struct log *log, const char *path, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0644);

	if (fd < 0)
		return error_set_errno(err, errno, "Error opening logfile %s", path);
	if (log->fd == STDERR_FILENO) {
		log->fd = fd;
	} else {
		/* The number stays, for those who have just read it. */
		dup3(fd, log->fd, O_CLOEXEC);
		close(fd);
	}
	return 0;
}

void log_close(struct log *log)
{
	if (log->fd != STDERR_FILENO)
		close(log->fd);
	log->fd = STDERR_FILENO;
}

/* One write call per line keeps lines of several threads apart (files are opened for appending). */
static void log_line(struct log *log, bool for_people, const char *prefix, const char *fmt, va_list args)
{
	char line[LOG_LINE_BYTES];
	int length = snprintf(line, sizeof(line), "%s", prefix);

	length += vsnprintf(line + length, sizeof(line) - length - 1, fmt, args);
	if (length > (int)sizeof(line) - 2)
		length = sizeof(line) - 2;
	if (!length || line[length - 1] != '\n')
		line[length++] = '\n';
	if (for_people && log->fd != STDERR_FILENO && write(STDERR_FILENO, line, length) < 0)
		return;
	if (write(log->fd, line, length) < 0)
		return; /* a log that cannot be written must not stop the machine */
}

void log_write(struct log *log, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_line(log, false, "", fmt, args);
	va_end(args);
}

void log_warn(struct log *log, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_line(log, true, "xuni-vmm: warning: ", fmt, args);
	va_end(args);
}

void log_tell(struct log *log, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_line(log, true, "", fmt, args);
	va_end(args);
}

/* Counts lines in windows of one second. Threads may race for a window: the limit is approximate by a few lines. */
static bool log_limit_allows(struct log_limit *limit)
{
	int64_t now = host_now_ns();
	int64_t start = atomic_load_explicit(&limit->window_start_ns, memory_order_relaxed);

	if (!start || now - start > NS_PER_S) {
		atomic_store_explicit(&limit->window_start_ns, now, memory_order_relaxed);
		atomic_store_explicit(&limit->count, 1, memory_order_relaxed);
		return true;
	}
	return atomic_fetch_add_explicit(&limit->count, 1, memory_order_relaxed) < LOG_GUEST_LINES_PER_S;
}

void log_guest(struct log *log, struct log_limit *limit, const char *fmt, ...)
{
	va_list args;

	if (!log || !log_on(log, LOG_GUEST_ERRORS) || !log_limit_allows(limit))
		return;
	va_start(args, fmt);
	log_line(log, false, "guest error: ", fmt, args);
	va_end(args);
}

static int log_item_find(const char *name, size_t length, uint32_t *item)
{
	for (size_t i = 0; i < ARRAY_SIZE(log_names); i++) {
		if (strlen(log_names[i].name) == length && !strncmp(log_names[i].name, name, length)) {
			*item = log_names[i].item;
			return 0;
		}
	}
	return -ENOENT;
}

int log_parse_items(const char *list, uint32_t *items, struct error *err)
{
	uint32_t result = 0;

	while (*list) {
		size_t length = strcspn(list, ",");
		uint32_t item;

		if (log_item_find(list, length, &item))
			return error_set(err, EINVAL,
			                 "'%.*s' is not a log item; known: int exec in_asm op out_asm cpu cpu_reset "
			                 "guest_errors unimp trace",
			                 (int)length, list);
		result |= item;
		list += length + (list[length] == ',');
	}
	*items = result;
	return 0;
}
