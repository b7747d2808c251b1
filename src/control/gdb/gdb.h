/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server that gdb talks to (-s, -gdb, the monitor's gdbserver): the remote serial protocol of gdb's manual,
 * appendix E, on a character back end. One at a time. All in the main loop's thread.
 */
#ifndef XUNI_CONTROL_GDB_GDB_H
#define XUNI_CONTROL_GDB_GDB_H

#include "base/error.h"

struct gdb;
struct machine;

/* Nothing is listened on yet. Answers the monitor's gdbserver from now on. */
struct gdb *gdb_new(struct machine *machine);
void gdb_free(struct gdb *gdb);
/* Listens on a device in the spelling of -gdb: "tcp::1234", "unix:PATH", "chardev:ID", ...; "none" ends what was. */
int gdb_serve(struct gdb *gdb, const char *device, struct error *err);

#endif
