/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xuni-vmm: one process, one machine. Command line, going to the background, signals, exit status; what a machine is
 * and does lies in the folders below.
 */
#include "backend/char/chardev.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"
#include "config/argv.h"
#include "control/gdb/gdb.h"
#include "control/monitor/monitor.h"
#include "control/monitor/trace.h"
#include "machine/machine.h"
#include "prog/answer.h"
#include "prog/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* "2026-11-22T12:00:00.000000Z vm1 xuni-vmm: text", as far as -msg asks for it. */
static void report(const struct domain_config *config, const char *text)
{
	char stamp[64] = "";
	struct timespec now;
	struct tm utc;

	if (config->msg_timestamp) {
		clock_gettime(CLOCK_REALTIME, &now);
		gmtime_r(&now.tv_sec, &utc);
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
		fprintf(stderr, "%s.%06ldZ ", stamp, now.tv_nsec / 1000);
	}
	if (config->msg_guest_name && config->name)
		fprintf(stderr, "%s ", config->name);
	fprintf(stderr, "xuni-vmm: %s\n", text);
}

struct vmm {
	struct domain_config config;
	struct log log;
	struct loop *loop;
	struct machine *machine;
	struct host_signals *signals;
	struct monitor **monitors;
	struct gdb *gdb;
};

static void signal_arrived(void *opaque, int number, int pid)
{
	struct vmm *vmm = opaque;
	char *text = pid ? xasprintf("terminating on signal %d from pid %d", number, pid)
			 : xasprintf("terminating on signal %d", number);

	report(&vmm->config, text);
	free(text);
	machine_request_quit(vmm->machine, SHUTDOWN_HOST_SIGNAL);
}

static int attach_monitors(struct vmm *vmm, struct error *err)
{
	const struct domain_config *config = &vmm->config;

	vmm->monitors = xcalloc(config->monitor_count + 1, sizeof(*vmm->monitors));
	for (size_t i = 0; i < config->monitor_count; i++) {
		const struct monitor_config *wanted = &config->monitors[i];
		struct chardev *chardev = machine_chardev(vmm->machine, wanted->chardev);

		if (!chardev)
			return error_set(err, ENOENT, "-mon: there is no chardev '%s'", wanted->chardev);
		vmm->monitors[i] = monitor_new(vmm->machine, chardev, wanted->qmp, wanted->pretty, err);
		if (!vmm->monitors[i])
			return error_prefix(err, "monitor on '%s'", wanted->chardev);
	}
	return 0;
}

static int build(struct vmm *vmm, struct error *err)
{
	vmm->loop = loop_new(err);
	if (!vmm->loop)
		return -EIO;
	vmm->signals = host_signals_new(vmm->loop, signal_arrived, vmm, err);
	if (!vmm->signals)
		return -EIO;
	vmm->machine = machine_new(&vmm->config, vmm->loop, &vmm->log, err);
	if (!vmm->machine)
		return -EIO;
	host_signals_ready(vmm->signals);
	vmm->gdb = gdb_new(vmm->machine);
	if (vmm->config.gdb && gdb_serve(vmm->gdb, vmm->config.gdb, err) < 0)
		return error_prefix(err, "-gdb %.200s", vmm->config.gdb);
	return attach_monitors(vmm, err);
}

static void teardown(struct vmm *vmm)
{
	for (size_t i = 0; vmm->monitors && vmm->monitors[i]; i++)
		monitor_free(vmm->monitors[i]);
	free(vmm->monitors);
	gdb_free(vmm->gdb);
	if (vmm->machine)
		machine_free(vmm->machine);
	if (vmm->signals)
		host_signals_free(vmm->signals);
	if (vmm->loop)
		loop_free(vmm->loop);
	log_close(&vmm->log);
	chardev_restore_terminal();
}

static int run(struct vmm *vmm, struct error *err)
{
	const struct domain_config *config = &vmm->config;
	struct host_daemon daemon = {.ready_fd = -1};
	int pidfile_fd = -1, status;

	if (trace_check(config, err) < 0)
		return -EINVAL;
	/* Before any thread exists; the parent goes on waiting inside. */
	if (config->daemonize && host_daemon_fork(&daemon, err) < 0)
		return -EIO;
	if (log_open(&vmm->log, config->log_path, err) < 0)
		return -EIO;
	atomic_store(&vmm->log.items, config->log_items);
	if (config->process_name)
		prctl(PR_SET_NAME, config->process_name);
	if (config->pidfile) {
		pidfile_fd = host_pidfile_create(config->pidfile, err);
		if (pidfile_fd < 0)
			return pidfile_fd;
	}
	status = build(vmm, err);
	if (status == 0 && config->daemonize)
		status = host_daemon_ready(&daemon, err);
	if (status == 0)
		status = machine_run(vmm->machine);
	if (pidfile_fd >= 0)
		unlink(config->pidfile);
	return status;
}

int main(int argc, char **argv)
{
	struct vmm vmm = {.log.fd = STDERR_FILENO};
	struct config_request request;
	struct error err = {0};
	int status = config_from_argv(&vmm.config, &request, argc, argv, &err);

	if (status == 0 && request.ask != ASK_RUN)
		status = answer_print(&request, &vmm.config, &err);
	else if (status == 0)
		status = run(&vmm, &err);
	if (status < 0) {
		chardev_restore_terminal();
		report(&vmm.config, err.msg);
		status = 1;
	}
	teardown(&vmm);
	free(request.name);
	domain_config_free(&vmm.config);
	return status;
}
