/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One log per machine, handed to whoever writes into it. Items are qemu's -d names. A line is written whole, so
 * lines of several threads do not mix. What a guest can provoke goes through log_guest and its rate limit.
 */
#ifndef XUNI_BASE_LOG_H
#define XUNI_BASE_LOG_H

#include "base/error.h"

#include <stdatomic.h>
#include <stdint.h>

enum log_item {
	LOG_INT = 1u << 0,          /* interrupts and exceptions delivered */
	LOG_EXEC = 1u << 1,         /* every executed block or instruction */
	LOG_IN_ASM = 1u << 2,       /* guest code as it is decoded */
	LOG_OP = 1u << 3,           /* translator's intermediate form */
	LOG_OUT_ASM = 1u << 4,      /* translated code */
	LOG_CPU = 1u << 5,          /* registers with every executed block */
	LOG_CPU_RESET = 1u << 6,    /* registers at reset, and the fault chain of a triple fault */
	LOG_GUEST_ERRORS = 1u << 7, /* invalid things a guest did */
	LOG_UNIMP = 1u << 8,        /* valid things a guest did that are not modelled */
	LOG_TRACE = 1u << 9,        /* -trace events */
	LOG_VERBOSE = 1u << 10,     /* -v: what was chosen and why */
};

struct log {
	_Atomic uint32_t items;
	_Atomic int fd; /* owned unless STDERR_FILENO */
};

struct log_limit {
	_Atomic int64_t window_start_ns;
	_Atomic uint32_t count;
};

/* path NULL: standard error. Creates or truncates the file. */
int log_open(struct log *log, const char *path, struct error *err);
/* What is written from now on goes to another file; any thread may be writing. */
int log_redirect(struct log *log, const char *path, struct error *err);
void log_close(struct log *log);

static inline bool log_on(const struct log *log, uint32_t items)
{
	return atomic_load_explicit(&log->items, memory_order_relaxed) & items;
}

/* Writes one line (a newline is added when missing), whatever the items. Any thread. */
void log_write(struct log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What a person should see without asking for it, also with -D, is written to standard error and to the log.
 * Warnings: "xuni-vmm: warning: ..."; tell: the name of a pseudo terminal, what is waited for. */
void log_warn(struct log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_tell(struct log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A guest's misbehaviour: written only with LOG_GUEST_ERRORS, at most 10 lines a second per limit. */
void log_guest(struct log *log, struct log_limit *limit, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* "int,exec" -> items; an unknown name is an error that lists the known ones. "help" is the caller's business. */
int log_parse_items(const char *list, uint32_t *items, struct error *err);

#endif
