/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-qmp-schema (qemu's docs/devel/qapi-code-gen, "Client JSON Protocol introspection"), made from the command
 * table: commands with the exact types of their arguments, events. Left out: the types of results, which are "any".
 */
#include "control/monitor/command.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>

const char *const qmp_events[] = {
	"BALLOON_CHANGE",
	"BLOCK_IO_ERROR",
	"DEVICE_DELETED",
	"DUMP_COMPLETED",
	"GUEST_CRASHLOADED",
	"GUEST_PANICKED",
	"NIC_RX_FILTER_CHANGED",
	"POWERDOWN",
	"RESET",
	"RESUME",
	"RTC_CHANGE",
	"SHUTDOWN",
	"VNC_CONNECTED",
	"VNC_DISCONNECTED",
	"VNC_INITIALIZED",
	"STOP",
	"SUSPEND",
	"VSERPORT_CHANGE",
	"WAKEUP",
	"WATCHDOG",
	NULL,
};

static void add_builtin(json_t *schema, const char *name, const char *json_type)
{
	json_array_append_new(schema,
			      json_pack("{s:s,s:s,s:s}", "name", name, "meta-type", "builtin", "json-type", json_type));
}

static const char *type_name(enum argument_type type)
{
	switch (type) {
	case ARGUMENT_INT:
	case ARGUMENT_INT32:
	case ARGUMENT_MEGABYTES:
		return "int";
	case ARGUMENT_BOOL:
	case ARGUMENT_FLAG:
		return "bool";
	case ARGUMENT_LIST:
		return "[any]";
	default:
		return "str";
	}
}

static json_t *arguments_type(const struct command *command, const char *name)
{
	json_t *members = json_array();

	for (const struct command_argument *a = command->arguments; a && a->name; a++) {
		json_t *member = json_pack("{s:s,s:s}", "name", a->name, "type", type_name(a->type));

		if (a->optional)
			json_object_set_new(member, "default", json_null());
		json_array_append_new(members, member);
	}
	return json_pack("{s:s,s:s,s:o}", "name", name, "meta-type", "object", "members", members);
}

json_t *qmp_schema(void)
{
	json_t *schema = json_array();

	add_builtin(schema, "str", "string");
	add_builtin(schema, "int", "int");
	add_builtin(schema, "bool", "boolean");
	add_builtin(schema, "any", "value");
	json_array_append_new(schema,
			      json_pack("{s:s,s:s,s:s}", "name", "[any]", "meta-type", "array", "element-type", "any"));
	json_array_append_new(schema, json_pack("{s:s,s:s,s:[]}", "name", "q_empty", "meta-type", "object", "members"));
	for (const struct command *c = command_next(NULL); c; c = command_next(c)) {
		char name[128];

		if (!c->qmp)
			continue;
		snprintf(name, sizeof(name), "q_obj_%s-arg", c->qmp);
		if (c->arguments)
			json_array_append_new(schema, arguments_type(c, name));
		json_array_append_new(schema, json_pack("{s:s,s:s,s:s,s:s,s:b}", "name", c->qmp, "meta-type", "command",
							"arg-type", c->arguments ? name : "q_empty", "ret-type", "any",
							"allow-oob", 0));
	}
	for (size_t i = 0; qmp_events[i]; i++)
		json_array_append_new(schema, json_pack("{s:s,s:s,s:s}", "name", qmp_events[i], "meta-type", "event",
							"arg-type", "any"));
	return schema;
}
