/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xuni-vmm as a process of its host: background, pid file, signals. */
#ifndef XUNI_PROG_HOST_H
#define XUNI_PROG_HOST_H

#include "base/error.h"

struct host_signals;
struct loop;

struct host_daemon {
	int ready_fd;
};

/* -daemonize: returns in the child only. The calling process waits until host_daemon_ready and exits with 0, or with 1
 * when the child ends before (the child has said why on standard error). */
int host_daemon_fork(struct host_daemon *daemon, struct error *err);
/* Leaves terminal and folder and lets the caller of the program go on. */
int host_daemon_ready(struct host_daemon *daemon, struct error *err);

/* Creates, locks and writes the file; keep the descriptor open. -EAGAIN: another process runs with it. */
int host_pidfile_create(const char *path, struct error *err);

/* SIGINT, SIGTERM and SIGHUP arrive in the loop's thread; until host_signals_ready they end the process. SIGPIPE is
 * ignored. A crash leaves the terminal usable. */
struct host_signals *host_signals_new(struct loop *loop, void (*arrived)(void *opaque, int number, int pid),
				      void *opaque, struct error *err);
void host_signals_ready(struct host_signals *signals);
void host_signals_free(struct host_signals *signals);

#endif
