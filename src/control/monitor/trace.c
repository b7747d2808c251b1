/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control/monitor/trace.h"

#include "base/log.h"
#include "base/options.h"
#include "base/util.h"
#include "config/domain.h"
#include "machine/machine.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>

const struct trace_event trace_events[] = {
	{"monitor_protocol_event", "an event that QMP clients are told of: name, data"},
	{"monitor_qmp_request", "a QMP request as it came"},
	{"monitor_qmp_respond", "the reply to it"},
	{"monitor_hmp_line", "a command line of a monitor for people"},
	{NULL, NULL},
};

void trace_write(const struct machine *machine, const char *name, const char *fmt, ...)
{
	char text[1024];
	va_list args;
	bool wanted = false;

	if (!machine || !machine->log || !log_on(machine->log, LOG_TRACE) || !machine->config->trace_patterns)
		return;
	for (size_t i = 0; machine->config->trace_patterns[i] && !wanted; i++)
		wanted = fnmatch(machine->config->trace_patterns[i], name, 0) == 0;
	if (!wanted)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_write(machine->log, "%s %s", name, text);
}

static int check_pattern(const char *pattern, struct error *err)
{
	const char *names[ARRAY_SIZE(trace_events)] = {NULL}, *near;
	size_t count = 0;

	for (const struct trace_event *event = trace_events; event->name; event++) {
		if (fnmatch(pattern, event->name, 0) == 0)
			return 0;
		names[count++] = event->name;
	}
	near = nearest_word(pattern, names);
	if (near)
		return error_set(err, EINVAL, "-trace %.100s: there is no such event; did you mean '%s'?", pattern,
				 near);
	return error_set(err, EINVAL, "-trace %.100s: there is no such event (-trace help lists them)", pattern);
}

int trace_check(const struct domain_config *config, struct error *err)
{
	for (size_t i = 0; config->trace_patterns && config->trace_patterns[i]; i++)
		if (check_pattern(config->trace_patterns[i], err) < 0)
			return -EINVAL;
	return 0;
}
