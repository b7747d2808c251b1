/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A monitor on its character back end: comings and goings of the other side, and the machine's events. */
#include "control/monitor/monitor_impl.h"

#include "base/util.h"
#include "config/version.h"
#include "control/monitor/trace.h"

#include <stdlib.h>

json_t *monitor_version(void)
{
	return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "micro", QEMU_VERSION_MICRO, "minor", QEMU_VERSION_MINOR,
			 "major", QEMU_VERSION_MAJOR, "package", "xuni " XUNI_VERSION);
}

void monitor_write(struct monitor *monitor, const char *text, size_t length)
{
	if (monitor->chardev && monitor->open)
		chardev_write_all(monitor->chardev, text, length);
}

static size_t can_receive(void *opaque)
{
	return 4096;
}

static void receive(void *opaque, const uint8_t *data, size_t length)
{
	struct monitor *monitor = opaque;

	if (monitor->qmp)
		jsonstream_feed(&monitor->stream, data, length);
	else
		readline_feed(&monitor->readline, data, length);
}

/* Greets whoever is there; also after attaching, since events that came before had no handle to write to. */
static void attention(struct monitor *monitor)
{
	if (!monitor->chardev || !monitor->open)
		return;
	if (monitor->qmp)
		qmp_greet(monitor);
	else if (!monitor->muxed || monitor->focused)
		hmp_attention(monitor);
}

static void event(void *opaque, enum chardev_event what)
{
	struct monitor *monitor = opaque;

	switch (what) {
	case CHARDEV_OPENED:
		monitor->open = true;
		monitor->greeted = monitor->negotiated = false;
		monitor->cpu = 0;
		monitor->format_kind = 'x';
		monitor->format_size = 4;
		jsonstream_reset(&monitor->stream);
		readline_clear(&monitor->readline);
		attention(monitor);
		break;
	case CHARDEV_CLOSED:
		monitor->open = monitor->negotiated = false;
		jsonstream_reset(&monitor->stream);
		break;
	case CHARDEV_FOCUS:
		monitor->focused = true;
		if (!monitor->qmp)
			attention(monitor);
		break;
	case CHARDEV_UNFOCUS:
		monitor->focused = false;
		if (!monitor->qmp)
			monitor_write(monitor, "\r\n", 2);
		break;
	default:
		break;
	}
}

static void machine_event(void *opaque, const char *name, const char *data_json)
{
	struct monitor *monitor = opaque;

	trace_write(monitor->machine, "monitor_protocol_event", "%s %s", name, data_json ? data_json : "");
	if (monitor->qmp)
		qmp_event(monitor, name, data_json);
}

struct monitor *monitor_new(struct machine *machine, struct chardev *chardev, bool qmp, bool pretty, struct error *err)
{
	struct monitor *monitor = xcalloc(1, sizeof(*monitor));
	struct chardev_front front = {
		.can_receive = can_receive, .receive = receive, .event = event, .opaque = monitor, .background = true};

	monitor->machine = machine;
	monitor->qmp = qmp;
	monitor->pretty = pretty;
	monitor->format_kind = 'x';
	monitor->format_size = 4;
	if (qmp)
		qmp_start(monitor);
	else
		hmp_start(monitor);
	monitor->chardev = chardev_attach(chardev, &front, err);
	if (!monitor->chardev) {
		hmp_stop(monitor);
		free(monitor);
		return NULL;
	}
	monitor->muxed = monitor->chardev != chardev;
	monitor->listener = (struct machine_listener){.event = machine_event, .opaque = monitor};
	machine_listen(machine, &monitor->listener);
	attention(monitor);
	return monitor;
}

char *monitor_human(struct machine *machine, unsigned *cpu, const char *line)
{
	struct monitor monitor = {.machine = machine, .cpu = *cpu, .format_kind = 'x', .format_size = 4};
	struct text text = {0};
	char *said;

	hmp_run(&monitor, line, &text);
	*cpu = monitor.cpu;
	said = xstrdup(text.data ? text.data : "");
	text_free(&text);
	return said;
}

void monitor_free(struct monitor *monitor)
{
	machine_unlisten(monitor->machine, &monitor->listener);
	chardev_detach(monitor->chardev);
	jsonstream_reset(&monitor->stream);
	hmp_stop(monitor);
	free(monitor);
}
