/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors: HMP for people and QMP for programs (qemu's docs/interop/qmp-spec), each on a character back end, any
 * number to a machine. Both take their commands from the one table of command.h. All in the main loop's thread.
 */
#ifndef XUNI_CONTROL_MONITOR_MONITOR_H
#define XUNI_CONTROL_MONITOR_MONITOR_H

#include "base/error.h"

struct chardev;
struct machine;
struct monitor;

/* Attaches a monitor to chardev. pretty: QMP only, indented replies. */
struct monitor *monitor_new(struct machine *machine, struct chardev *chardev, bool qmp, bool pretty, struct error *err);
void monitor_free(struct monitor *monitor);
/* Runs a line of the monitor for people, of the CPU *cpu, which the line may change; what it says is the caller's (heap). */
char *monitor_human(struct machine *machine, unsigned *cpu, const char *line);

#endif
