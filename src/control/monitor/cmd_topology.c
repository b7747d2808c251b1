/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What memory and CPUs a machine is made of: memory back ends, slots for CPUs, NUMA nodes. Field names and texts are
 * qemu's. Nothing of it can be plugged yet, so every slot is taken and there are no memory devices; NUMA does not
 * exist.
 */
#include "base/util.h"
#include "config/domain.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"

#include <stdlib.h>

static json_t *backend_row(const char *id, uint64_t bytes, const struct options *options, bool merge, bool prealloc)
{
	bool share = false, dump = true;
	const char *text;

	if (options && (text = options_peek(options, "merge")))
		parse_bool(text, &merge, NULL);
	if (options && (text = options_peek(options, "prealloc")))
		parse_bool(text, &prealloc, NULL);
	if (options && (text = options_peek(options, "share")))
		parse_bool(text, &share, NULL);
	if (options && (text = options_peek(options, "dump")))
		parse_bool(text, &dump, NULL);
	return json_pack("{s:b,s:[],s:I,s:b,s:b,s:s,s:b,s:b,s:s}", "prealloc", prealloc, "host-nodes", "size",
			 (json_int_t)bytes, "merge", merge, "dump", dump, "policy", "default", "share", share,
			 "reserve", 1, "id", id);
}

static json_t *run_memdev(struct command_call *call, struct error *err)
{
	const struct domain_config *config = call->machine->config;
	const char *merge_text = options_peek(&config->board_options, "mem-merge");
	json_t *list = json_array();
	bool merge = true;

	if (merge_text)
		parse_bool(merge_text, &merge, NULL);
	for (size_t i = 0; i < config->objects.count; i++) {
		const struct config_item *object = &config->objects.items[i];
		const char *size = options_peek(&object->options, "size");
		uint64_t bytes = 0;

		if (strncmp(object->type, "memory-backend-", 15) || !size || parse_size(size, 1, &bytes, NULL) < 0)
			continue;
		json_array_append_new(list, backend_row(object->id, bytes, &object->options, merge, false));
	}
	if (!options_peek(&config->board_options, "memory-backend"))
		json_array_append_new(list,
				      backend_row("pc.ram", config->ram_bytes, NULL, merge, config->ram_prealloc));
	return list;
}

static const char *truth(const json_t *row, const char *name)
{
	return json_is_true(json_object_get(row, name)) ? "true" : "false";
}

static void show_memdev(struct command_call *call, const json_t *result)
{
	json_t *row;
	size_t index;

	json_array_foreach(result, index, row)
	{
		text_printf(call->text, "memory backend: %s\n", json_string_value(json_object_get(row, "id")));
		text_printf(call->text, "  size:  %lld\n", (long long)json_integer_value(json_object_get(row, "size")));
		text_printf(call->text, "  merge: %s\n  dump: %s\n  prealloc: %s\n  share: %s\n  reserve: %s\n",
			    truth(row, "merge"), truth(row, "dump"), truth(row, "prealloc"), truth(row, "share"),
			    truth(row, "reserve"));
		text_printf(call->text, "  policy: default\n  host nodes: \n");
	}
	text_printf(call->text, "\n");
}

static json_t *run_memory_devices(struct command_call *call, struct error *err)
{
	return json_array();
}

/* The last one first, as qemu has them. */
static json_t *run_hotpluggable(struct command_call *call, struct error *err)
{
	const struct domain_config *config = call->machine->config;
	json_t *list = json_array();

	for (unsigned i = call->machine->vcpu_count; i--;) {
		unsigned core = i / config->threads;
		char *path = xasprintf("/machine/cpu[%u]", i);
		json_t *props = json_pack("{s:i,s:i,s:i}", "core-id", core % config->cores, "thread-id",
					  i % config->threads, "socket-id", core / (config->cores * config->dies));

		if (config->dies > 1)
			json_object_set_new(props, "die-id", json_integer(core / config->cores % config->dies));
		json_array_append_new(list, json_pack("{s:o,s:i,s:s,s:s}", "props", props, "vcpus-count", 1, "qom-path",
						      path, "type", "max-x86_64-cpu"));
		free(path);
	}
	return list;
}

static void show_hotpluggable(struct command_call *call, const json_t *result)
{
	static const char *const names[] = {"socket-id", "die-id", "core-id", "thread-id"};
	json_t *row;
	size_t index;

	text_printf(call->text, "Hotpluggable CPUs:\n");
	json_array_foreach(result, index, row)
	{
		const json_t *props = json_object_get(row, "props");

		text_printf(call->text,
			    "  type: \"%s\"\n  vcpus_count: \"1\"\n  qom_path: \"%s\"\n  CPUInstance Properties:\n",
			    json_string_value(json_object_get(row, "type")),
			    json_string_value(json_object_get(row, "qom-path")));
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			if (json_object_get(props, names[i]))
				text_printf(call->text, "    %s: \"%lld\"\n", names[i],
					    (long long)json_integer_value(json_object_get(props, names[i])));
	}
}

static json_t *run_numa(struct command_call *call, struct error *err)
{
	struct text text = {0};

	text_printf(&text, "0 nodes\n");
	return text_result(&text);
}

const struct command commands_topology[] = {
	{"query-memdev", "info memdev", "", "show memory backends", NULL, run_memdev, show_memdev},
	{"query-memory-devices", "info memory-devices", "", "show memory devices", NULL, run_memory_devices},
	{"query-hotpluggable-cpus", "info hotpluggable-cpus", "", "Show information about hotpluggable CPUs", NULL,
	 run_hotpluggable, show_hotpluggable},
	{"x-query-numa", "info numa", "", "show NUMA information", NULL, run_numa, show_text_result},
	{0},
};
