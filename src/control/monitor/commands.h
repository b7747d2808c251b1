/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The groups of rows that make up the command table; each ended by run NULL. */
#ifndef XUNI_CONTROL_MONITOR_COMMANDS_H
#define XUNI_CONTROL_MONITOR_COMMANDS_H

#include "control/monitor/command.h"

extern const struct command commands_control[]; /* the machine as a whole; the monitor itself */
extern const struct command commands_query[];   /* what the machine is and does */
extern const struct command commands_topology[]; /* memory back ends, CPU slots */
extern const struct command commands_disks[];
extern const struct command commands_disk_change[];
extern const struct command commands_media[];
extern const struct command commands_backends[]; /* networks and character devices */
extern const struct command commands_vnc[];
extern const struct command commands_input[];   /* keys and pointers */
extern const struct command commands_devices[];  /* PCI, balloon */
extern const struct command commands_memory[];
extern const struct command commands_mtree[]; /* what lies where in memory and ports */
extern const struct command commands_dump[];
extern const struct command commands_absent[]; /* what the machine has none of */
extern const struct command commands_paging[];
extern const struct command commands_display[];
extern const struct command commands_jit[];

#endif
