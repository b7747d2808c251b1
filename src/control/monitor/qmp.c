/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP (qemu's docs/interop/qmp-spec.txt): greeting, negotiation, one reply for a request, events between. Left out:
 * out-of-band execution, which the greeting does not offer.
 */
#include "control/monitor/monitor_impl.h"
#include "control/monitor/trace.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void send(struct monitor *monitor, json_t *message)
{
	char *text = json_dumps(message, monitor->pretty ? JSON_INDENT(4) | JSON_ENSURE_ASCII : JSON_ENSURE_ASCII);
	char *line = text ? xasprintf("%s\r\n", text) : NULL;

	if (line)
		monitor_write(monitor, line, strlen(line));
	free(line);
	free(text);
	json_decref(message);
}

static json_t *error_reply(const char *class, const char *text)
{
	return json_pack("{s:{s:s,s:s}}", "error", "class", class, "desc", text);
}

static const char *error_class(const struct error *err)
{
	switch (err->code) {
	case ENODEV:
		return "DeviceNotFound";
	case ENXIO:
		return "DeviceNotActive";
	case ENOSYS:
		return "CommandNotFound";
	default:
		return "GenericError";
	}
}

static const char *const type_names[] = {
	[ARGUMENT_STRING] = "string",     [ARGUMENT_LINE] = "string",  [ARGUMENT_INT] = "integer", [ARGUMENT_INT32] = "integer",
	[ARGUMENT_MEGABYTES] = "integer", [ARGUMENT_BOOL] = "boolean", [ARGUMENT_FLAG] = "boolean",
	[ARGUMENT_OPTION] = "string",     [ARGUMENT_FORMAT] = "string",     [ARGUMENT_LIST] = "array",
};

static bool has_type(const json_t *value, enum argument_type type)
{
	switch (type) {
	case ARGUMENT_STRING:
	case ARGUMENT_LINE:
	case ARGUMENT_OPTION:
	case ARGUMENT_FORMAT:
		return json_is_string(value);
	case ARGUMENT_INT:
	case ARGUMENT_INT32:
	case ARGUMENT_MEGABYTES:
		return json_is_integer(value);
	case ARGUMENT_BOOL:
	case ARGUMENT_FLAG:
		return json_is_boolean(value);
	case ARGUMENT_LIST:
		return json_is_array(value);
	}
	return false;
}

static const struct command_argument *find_argument(const struct command *command, const char *name)
{
	for (const struct command_argument *a = command->arguments; a && a->name; a++)
		if (strcmp(a->name, name) == 0)
			return a;
	return NULL;
}

int qmp_check_arguments(const struct command *command, json_t *arguments, struct error *err)
{
	const char *name;
	json_t *value;

	for (const struct command_argument *a = command->arguments; a && a->name; a++) {
		value = json_object_get(arguments, a->name);
		if (!value && !a->optional)
			return error_set(err, EINVAL, "Parameter '%s' is missing", a->name);
		if (value && !has_type(value, a->type))
			return error_set(err, EINVAL, "Invalid parameter type for '%s', expected: %s", a->name,
					 type_names[a->type]);
	}
	json_object_foreach(arguments, name, value)
	{
		if (!find_argument(command, name))
			return error_set(err, EINVAL, "Parameter '%.100s' is unexpected", name);
	}
	return 0;
}

static json_t *run_command(struct monitor *monitor, const struct command *command, json_t *arguments)
{
	struct command_call call = {.machine = monitor->machine, .monitor = monitor, .command = command};
	struct error err = {0};
	json_t *result = NULL, *none = NULL;

	if (!arguments)
		arguments = none = json_object();
	call.arguments = arguments;
	if (qmp_check_arguments(command, arguments, &err) == 0)
		result = command->run(&call, &err);
	json_decref(none);
	if (!result)
		return error_reply(error_class(&err), err.msg[0] ? err.msg : "command failed");
	return json_pack("{s:o}", "return", result);
}

static json_t *find_and_run(struct monitor *monitor, const char *name, json_t *arguments)
{
	const struct command *command = command_find_qmp(name);
	bool negotiation = strcmp(name, "qmp_capabilities") == 0;
	char text[256];

	if (!monitor->negotiated && command && !negotiation) {
		return error_reply("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
	}
	if (monitor->negotiated && negotiation)
		return error_reply("CommandNotFound", "Capabilities negotiation is already complete, command ignored");
	if (!command) {
		snprintf(text, sizeof(text), "The command %.150s has not been found", name);
		return error_reply("CommandNotFound", text);
	}
	return run_command(monitor, command, arguments);
}

/* Everything of a request but its id. */
static json_t *reply_to(struct monitor *monitor, json_t *request)
{
	json_t *execute = json_object_get(request, "execute"), *arguments = json_object_get(request, "arguments"),
	       *value;
	const char *name;
	char text[256];

	json_object_foreach(request, name, value)
	{
		if (strcmp(name, "execute") == 0 || strcmp(name, "arguments") == 0 || strcmp(name, "id") == 0)
			continue;
		snprintf(text, sizeof(text), "QMP input member '%.100s' is unexpected", name);
		return error_reply("GenericError", text);
	}
	if (!execute)
		return error_reply("GenericError", "QMP input lacks member 'execute'");
	if (!json_is_string(execute))
		return error_reply("GenericError", "QMP input member 'execute' must be a string");
	if (arguments && !json_is_object(arguments))
		return error_reply("GenericError", "QMP input member 'arguments' must be an object");
	return find_and_run(monitor, json_string_value(execute), arguments);
}

json_t *qmp_execute(struct monitor *monitor, const char *text)
{
	json_error_t where;
	json_t *request = json_loads(text, JSON_REJECT_DUPLICATES, &where), *reply, *id;
	char message[256];

	if (!request) {
		snprintf(message, sizeof(message), "JSON parse error, %.150s", where.text);
		return error_reply("GenericError", message);
	}
	if (!json_is_object(request)) {
		json_decref(request);
		return error_reply("GenericError", "QMP input must be a JSON object");
	}
	reply = reply_to(monitor, request);
	id = json_object_get(request, "id");
	if (id && reply)
		json_object_set(reply, "id", id);
	json_decref(request);
	return reply ? reply : error_reply("GenericError", "the result cannot be represented");
}

static void request_arrived(void *opaque, const char *text, const char *error)
{
	struct monitor *monitor = opaque;
	json_t *reply;

	trace_write(monitor->machine, "monitor_qmp_request", "%s", text ? text : error);
	reply = error ? error_reply("GenericError", error) : qmp_execute(monitor, text);
	trace_write(monitor->machine, "monitor_qmp_respond", "%s",
		    json_object_get(reply, "error") ? "error" : "return");
	send(monitor, reply);
}

void qmp_start(struct monitor *monitor)
{
	monitor->stream.value = request_arrived;
	monitor->stream.opaque = monitor;
}

void qmp_greet(struct monitor *monitor)
{
	if (monitor->greeted)
		return;
	monitor->greeted = true;
	send(monitor, json_pack("{s:{s:o,s:[]}}", "QMP", "version", monitor_version(), "capabilities"));
}

void qmp_event(struct monitor *monitor, const char *name, const char *data_json)
{
	json_t *message, *data;
	struct timespec now;

	if (!monitor->negotiated)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	message = json_pack("{s:{s:I,s:I},s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec, "microseconds",
			    (json_int_t)(now.tv_nsec / 1000), "event", name);
	data = data_json ? json_loads(data_json, 0, NULL) : NULL;
	if (data)
		json_object_set_new(message, "data", data);
	send(monitor, message);
}
