/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that act on the machine as a whole, and those about the monitor itself. */
#include "base/log.h"
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"

#include <fcntl.h>
#include <unistd.h>

static json_t *run_stop(struct command_call *call, struct error *err)
{
	if (call->machine->state == RUN_RUNNING)
		machine_stop(call->machine, RUN_PAUSED);
	return json_object();
}

static json_t *run_cont(struct command_call *call, struct error *err)
{
	return machine_cont(call->machine, err) < 0 ? NULL : json_object();
}

static json_t *run_reset(struct command_call *call, struct error *err)
{
	machine_request_reset(call->machine, SHUTDOWN_HOST_QMP_RESET);
	return json_object();
}

static json_t *run_powerdown(struct command_call *call, struct error *err)
{
	machine_request_powerdown(call->machine);
	return json_object();
}

/* There is no S3, so no guest sleeps. */
static json_t *run_wakeup(struct command_call *call, struct error *err)
{
	error_set(err, EINVAL, "Unable to wake up: guest is not in suspended state");
	return NULL;
}

static json_t *run_quit(struct command_call *call, struct error *err)
{
	machine_request_quit(call->machine, SHUTDOWN_HOST_QMP_QUIT);
	return json_object();
}

static json_t *run_nmi(struct command_call *call, struct error *err)
{
	machine_nmi(call->machine);
	return json_object();
}

static json_t *run_capabilities(struct command_call *call, struct error *err)
{
	json_t *enable = json_object_get(call->arguments, "enable");

	/* The greeting offers none, so none can be switched on. */
	if (enable && json_array_size(enable)) {
		const char *name = json_string_value(json_array_get(enable, 0));

		error_set(err, EINVAL, "Invalid parameter '%.50s'", name ? name : "enable");
		return NULL;
	}
	call->monitor->negotiated = true;
	return json_object();
}

static json_t *run_human(struct command_call *call, struct error *err)
{
	struct text text = {0}, lines = {0};
	unsigned previous = call->monitor->cpu;
	json_t *result;

	call->monitor->cpu = (unsigned)argument_int(call, "cpu-index", previous);
	if (call->monitor->cpu >= call->machine->vcpu_count) {
		call->monitor->cpu = previous;
		error_set(err, EINVAL, "Parameter 'cpu-index' expects a CPU number");
		return NULL;
	}
	hmp_run(call->monitor, argument_string(call, "command-line"), &text);
	call->monitor->cpu = previous;
	/* As on a terminal: that is what clients of qemu see. */
	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] == '\n')
			text_append(&lines, "\r", 1);
		text_append(&lines, text.data + i, 1);
	}
	result = json_string(lines.data ? lines.data : "");
	text_free(&text);
	text_free(&lines);
	return result ? result : json_string("");
}

static json_t *run_commands(struct command_call *call, struct error *err)
{
	json_t *list = json_array();

	for (const struct command *c = command_next(NULL); c; c = command_next(c))
		if (c->qmp)
			json_array_append_new(list, json_pack("{s:s}", "name", c->qmp));
	return list;
}

static json_t *run_events(struct command_call *call, struct error *err)
{
	json_t *list = json_array();

	for (size_t i = 0; qmp_events[i]; i++)
		json_array_append_new(list, json_pack("{s:s}", "name", qmp_events[i]));
	return list;
}

static json_t *run_schema(struct command_call *call, struct error *err)
{
	return qmp_schema();
}

static json_t *run_help(struct command_call *call, struct error *err)
{
	hmp_help(call->text, argument_string(call, "name"));
	return json_object();
}

static json_t *run_log(struct command_call *call, struct error *err)
{
	const char *items = argument_string(call, "items");
	uint32_t bits = 0;

	/* What -v chose stays. */
	if (strcmp(items, "none") != 0 && log_parse_items(items, &bits, err) < 0)
		return NULL;
	atomic_store(&call->machine->log->items, bits | (atomic_load(&call->machine->log->items) & LOG_VERBOSE));
	return json_object();
}

static json_t *run_logfile(struct command_call *call, struct error *err)
{
	if (log_redirect(call->machine->log, argument_string(call, "filename"), err) < 0)
		text_printf(call->text, "%s\n", err->msg);
	return json_object();
}

static json_t *run_history(struct command_call *call, struct error *err)
{
	struct readline *readline = &call->monitor->readline;

	for (unsigned i = 0; i < readline->history_count; i++)
		text_printf(call->text, "%u: '%s'\n", i, readline->history[i]);
	return json_object();
}

static json_t *run_cpu(struct command_call *call, struct error *err)
{
	int64_t index = argument_int(call, "index", 0);

	if (index < 0 || index >= call->machine->vcpu_count) {
		text_printf(call->text, "invalid CPU index\n");
		return json_object();
	}
	call->monitor->cpu = (unsigned)index;
	return json_object();
}

static json_t *run_gdbserver(struct command_call *call, struct error *err)
{
	const struct machine_debugger *debugger = call->machine->debugger;
	const char *device = argument_string(call, "device");

	device = device ? device : "tcp::1234";
	if (!debugger || debugger->serve(debugger->opaque, device, err) < 0)
		text_printf(call->text, "Could not open gdbserver on device '%s'%s%s\n", device, debugger ? ": " : "",
			    debugger ? err->msg : "");
	else if (strcmp(device, "none") == 0)
		text_printf(call->text, "Disabled gdbserver\n");
	else
		text_printf(call->text, "Waiting for gdb connection on device '%s'\n", device);
	return json_object();
}

static json_t *run_boot_set(struct command_call *call, struct error *err)
{
	const char *letters = argument_string(call, "bootdevice");

	/* Without "Error: ", as qemu. */
	if (machine_set_boot_order(call->machine, letters, err) < 0)
		text_printf(call->text, "%s\n", err->msg);
	else
		text_printf(call->text, "boot device list now set to %s\n", letters);
	return json_object();
}

const struct command commands_control[] = {
	{NULL, "boot_set", "bootdevice", "define new values for the boot device list",
	 (const struct command_argument[]){{"bootdevice", ARGUMENT_STRING}, {0}}, run_boot_set},
	{"stop", "stop|s", "", "stop emulation", NULL, run_stop},
	{"cont", "cont|c", "", "resume emulation", NULL, run_cont},
	{"system_reset", "system_reset", "", "reset the system", NULL, run_reset},
	{"system_powerdown", "system_powerdown", "", "send system power down event", NULL, run_powerdown},
	{"system_wakeup", "system_wakeup", "", "wakeup guest from suspend", NULL, run_wakeup},
	{"quit", "quit|q", "", "quit the emulator", NULL, run_quit},
	{"inject-nmi", "nmi", "", "inject an NMI", NULL, run_nmi},
	{"qmp_capabilities", NULL, "", "end capabilities negotiation",
	 (const struct command_argument[]){{"enable", ARGUMENT_LIST, true}, {0}}, run_capabilities},
	{"human-monitor-command", NULL, "", "run an HMP command line",
	 (const struct command_argument[]){{"command-line", ARGUMENT_STRING}, {"cpu-index", ARGUMENT_INT, true}, {0}},
	 run_human},
	{"query-commands", NULL, "", "names of all QMP commands", NULL, run_commands},
	{"query-events", NULL, "", "names of all QMP events", NULL, run_events},
	{"query-qmp-schema", NULL, "", "commands and events with their types", NULL, run_schema},
	{NULL, "help|?", "[cmd]", "show the help",
	 (const struct command_argument[]){{"name", ARGUMENT_LINE, true, WORDS_COMMANDS}, {0}}, run_help},
	{NULL, "log", "item1[,...]", "activate logging of the specified items ('none' ends it)",
	 (const struct command_argument[]){{"items", ARGUMENT_STRING, false, WORDS_LOG_ITEMS}, {0}}, run_log},
	{NULL, "logfile", "filename", "output logs to 'filename'",
	 (const struct command_argument[]){{"filename", ARGUMENT_STRING, false, WORDS_FILES}, {0}}, run_logfile},
	{NULL, "cpu", "index", "set the default CPU", (const struct command_argument[]){{"index", ARGUMENT_INT32}, {0}},
	 run_cpu},
	{NULL, "gdbserver", "[device]", "start gdbserver on given device (default 'tcp::1234'), stop with 'none'",
	 (const struct command_argument[]){{"device", ARGUMENT_STRING, true}, {0}}, run_gdbserver},
	{NULL, "info history", "", "show the command line history", NULL, run_history},
	{0},
};
