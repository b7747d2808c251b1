/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to src/control/monitor: one monitor, and what its two dialects do with it. */
#ifndef XUNI_CONTROL_MONITOR_IMPL_H
#define XUNI_CONTROL_MONITOR_IMPL_H

#include "backend/char/chardev.h"
#include "control/monitor/command.h"
#include "control/monitor/jsonstream.h"
#include "control/monitor/monitor.h"
#include "control/monitor/readline.h"
#include "machine/machine.h"

/* Gets the line that hmp_ask_secret asked for; as command_run_fn. */
typedef json_t *hmp_answer_fn(struct command_call *call, const char *line, struct error *err);

struct monitor {
	struct machine *machine;
	struct chardev *chardev; /* handle of chardev_attach; NULL while attaching */
	bool qmp, pretty, muxed;
	bool open;    /* somebody is at the other end */
	bool focused; /* muxed: has the keyboard */
	bool greeted;
	bool negotiated;  /* QMP: qmp_capabilities was done */
	unsigned cpu;     /* HMP: the one that registers and memory commands mean */
	char format_kind; /* HMP: what x and print do without /fmt: as the last time */
	unsigned format_size;
	struct jsonstream stream;
	struct readline readline;
	hmp_answer_fn *answer; /* HMP: for the secret that is asked for */
	struct machine_listener listener;
};

void monitor_write(struct monitor *monitor, const char *text, size_t length);

void hmp_start(struct monitor *monitor);
void hmp_stop(struct monitor *monitor);
/* The other end came, or the mux gave the keyboard: banner (once) and prompt. */
void hmp_attention(struct monitor *monitor);
/* The next line is a secret for `answer`; question: constant. False: nobody sits at this monitor (human-monitor-command). */
bool hmp_ask_secret(struct monitor *monitor, const char *question, hmp_answer_fn *answer);

void qmp_start(struct monitor *monitor);
void qmp_greet(struct monitor *monitor);
void qmp_event(struct monitor *monitor, const char *name, const char *data_json);
/* The reply to one request in JSON text; for tests and for the stream. New reference. */
json_t *qmp_execute(struct monitor *monitor, const char *text);

json_t *monitor_version(void);
/* change vnc password; display: id of a VNC server, or NULL for the first. */
json_t *monitor_set_vnc_password(struct command_call *call, const char *display, const char *password, struct error *err);
/* The node that a device's disk property holds, or NULL. */
struct block *monitor_block_of(const struct device *device);

#endif
