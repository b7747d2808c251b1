/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -trace: events of the control side, written to the log when a pattern (fnmatch(3)) of the command line names them. */
#ifndef XUNI_CONTROL_MONITOR_TRACE_H
#define XUNI_CONTROL_MONITOR_TRACE_H

#include "base/error.h"

struct domain_config;
struct machine;

/* Ended by name NULL. */
extern const struct trace_event {
	const char *name, *help;
} trace_events[];

/* name: one of the above. The text is at most a line. */
void trace_write(const struct machine *machine, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* -EINVAL for a pattern that names no event. */
int trace_check(const struct domain_config *config, struct error *err);

#endif
