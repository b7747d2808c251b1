/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Queries about the machine: status, CPUs, engine, names, memory size, devices. Field names are QMP's. */
#include "base/util.h"
#include "config/domain.h"
#include "config/version.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"
#include "control/monitor/registers.h"
#include "core/bus.h"
#include "core/engine.h"
#include "core/ram.h"
#include "machine/inspect.h"

#include <stdlib.h>

static json_t *run_status(struct command_call *call, struct error *err)
{
	return json_pack("{s:s,s:b,s:b}", "status", run_state_name(call->machine->state), "singlestep", 0, "running",
			 call->machine->state == RUN_RUNNING);
}

static void show_status(struct command_call *call, const json_t *result)
{
	enum run_state state = call->machine->state;

	text_printf(call->text, "VM status: %s", state == RUN_RUNNING ? "running" : "paused");
	if (state != RUN_RUNNING && state != RUN_PAUSED)
		text_printf(call->text, " (%s)", run_state_name(state));
	text_printf(call->text, "\n");
}

static json_t *run_version(struct command_call *call, struct error *err)
{
	return monitor_version();
}

static void show_version(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "%d.%d.%d (xuni %s)\n", QEMU_VERSION_MAJOR, QEMU_VERSION_MINOR, QEMU_VERSION_MICRO,
		    XUNI_VERSION);
}

static json_t *run_cpus_fast(struct command_call *call, struct error *err)
{
	const struct domain_config *config = call->machine->config;
	json_t *list = json_array();

	for (unsigned i = 0; i < call->machine->vcpu_count; i++) {
		unsigned core = i / config->threads, per_socket = config->cores * config->dies;
		char *path = xasprintf("/machine/cpu[%u]", i);
		json_t *props = json_pack("{s:i,s:i,s:i}", "core-id", core % config->cores, "thread-id",
					  i % config->threads, "socket-id", core / per_socket);

		if (config->dies > 1)
			json_object_set_new(props, "die-id", json_integer(core / config->cores % config->dies));
		json_array_append_new(list, json_pack("{s:i,s:o,s:s,s:i,s:s}", "thread-id",
						      machine_vcpu_tid(call->machine, call->machine->vcpus[i]), "props",
						      props, "qom-path", path, "cpu-index", i, "target", "x86_64"));
		free(path);
	}
	return list;
}

static void show_cpus(struct command_call *call, const json_t *result)
{
	json_t *cpu;
	size_t index;

	json_array_foreach(result, index, cpu)
	{
		text_printf(call->text, "%c CPU #%zu: thread_id=%d%s\n",
			    index == (call->monitor ? call->monitor->cpu : 0) ? '*' : ' ', index,
			    (int)json_integer_value(json_object_get(cpu, "thread-id")),
			    machine_vcpu_halted(call->machine, call->machine->vcpus[index]) ? " (halted)" : "");
	}
}

static void show_registers_of(struct command_call *call, struct vcpu *vcpu)
{
	struct x86_state *state = registers_state(call->machine, vcpu);

	text_printf(call->text, "\nCPU#%u\n", vcpu->index);
	registers_show(call->text, state, machine_vcpu_halted(call->machine, vcpu));
	free(state);
}

static json_t *run_registers(struct command_call *call, struct error *err)
{
	int64_t index = argument_int(call, "vcpu", registers_vcpu(call)->index);

	if (!argument_bool(call, "all", false)) {
		if (index >= 0 && index < call->machine->vcpu_count)
			show_registers_of(call, call->machine->vcpus[index]);
		else
			text_printf(call->text, "CPU#%lld not available\n", (long long)index);
		return json_object();
	}
	for (unsigned i = 0; i < call->machine->vcpu_count; i++)
		show_registers_of(call, call->machine->vcpus[i]);
	return json_object();
}

static json_t *run_kvm(struct command_call *call, struct error *err)
{
	bool enabled = strcmp(call->machine->engine->ops->name, "kvm") == 0;
	const char *report = machine_accel_report(call->machine);

	/* Present: it was not among what could not be used here. */
	return json_pack("{s:b,s:b}", "enabled", enabled, "present", enabled || !report || !strstr(report, "kvm"));
}

static void show_kvm(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "kvm support: %s\n",
		    json_is_true(json_object_get(result, "enabled")) ? "enabled" : "disabled");
}

static json_t *run_accel(struct command_call *call, struct error *err)
{
	const char *report = machine_accel_report(call->machine);

	return json_pack("{s:s,s:s}", "accel", call->machine->engine->ops->name, "report", report ? report : "");
}

static void show_accel(struct command_call *call, const json_t *result)
{
	const char *report = json_string_value(json_object_get(result, "report"));
	uint64_t instructions = 0;

	text_printf(call->text, "accelerator: %s (%s)\n", call->machine->engine->ops->name,
		    call->machine->engine->ops->help);
	if (*report)
		text_printf(call->text, "%s%s", report, report[strlen(report) - 1] == '\n' ? "" : "\n");
	for (unsigned i = 0; i < call->machine->vcpu_count; i++)
		instructions += atomic_load(&call->machine->vcpus[i]->instructions);
	if (instructions)
		text_printf(call->text, "instructions executed: %llu\n", (unsigned long long)instructions);
}

static json_t *run_name(struct command_call *call, struct error *err)
{
	const char *name = call->machine->config->name;

	return name ? json_pack("{s:s}", "name", name) : json_object();
}

static void show_name(struct command_call *call, const json_t *result)
{
	if (call->machine->config->name)
		text_printf(call->text, "%s\n", call->machine->config->name);
}

static json_t *run_uuid(struct command_call *call, struct error *err)
{
	const char *uuid = call->machine->config->uuid;

	return json_pack("{s:s}", "UUID", uuid ? uuid : "00000000-0000-0000-0000-000000000000");
}

static void show_uuid(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "%s\n", json_string_value(json_object_get(result, "UUID")));
}

static json_t *run_memory_size(struct command_call *call, struct error *err)
{
	return json_pack("{s:I,s:i}", "base-memory", (json_int_t)call->machine->config->ram_bytes, "plugged-memory", 0);
}

static void show_memory_size(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "base memory: %llu\nplugged memory: 0\n",
		    (unsigned long long)call->machine->config->ram_bytes);
}

static json_t *run_target(struct command_call *call, struct error *err)
{
	return json_pack("{s:s}", "arch", "x86_64");
}

static json_t *run_machines(struct command_call *call, struct error *err)
{
	return json_pack("[{s:b,s:s,s:b,s:b,s:i,s:b,s:s,s:s}]", "hotpluggable-cpus", 0, "name",
			 call->machine->config->board, "is-default", 1, "numa-mem-supported", 0, "cpu-max",
			 DOMAIN_MAX_VCPUS, "deprecated", 0, "default-ram-id", "pc.ram", "default-cpu-type",
			 "max-x86_64-cpu");
}

static json_t *run_current_machine(struct command_call *call, struct error *err)
{
	return json_pack("{s:b}", "wakeup-suspend-support", 0);
}

static json_t *run_iothreads(struct command_call *call, struct error *err)
{
	const struct config_list *objects = &call->machine->config->objects;
	json_t *list = json_array();

	for (size_t i = 0; i < objects->count; i++)
		if (strcmp(objects->items[i].type, "iothread") == 0)
			json_array_append_new(list, json_pack("{s:s}", "id", objects->items[i].id));
	return list;
}

static void show_iothreads(struct command_call *call, const json_t *result)
{
	json_t *thread;
	size_t index;

	json_array_foreach(result, index, thread)
		text_printf(call->text, "%s\n", json_string_value(json_object_get(thread, "id")));
}

static json_t *run_qtree(struct command_call *call, struct error *err)
{
	char *text = inspect_tree(call->machine);

	text_printf(call->text, "%s", text ? text : "");
	free(text);
	return json_object();
}

static json_t *run_list_types(struct command_call *call, struct error *err)
{
	json_t *list = json_array();

	for (size_t i = 0; call->machine->device_classes && call->machine->device_classes[i]; i++)
		if (!call->machine->device_classes[i]->internal)
			json_array_append_new(list,
					      json_pack("{s:s,s:s}", "name", call->machine->device_classes[i]->name,
							"parent", "device"));
	return list;
}

static json_t *run_list_properties(struct command_call *call, struct error *err)
{
	const char *name = argument_string(call, "typename");
	const struct device_class *class =
		device_class_find((const struct device_class *const *)call->machine->device_classes, name);
	const struct device_bus_ops *ops = class ? call->machine->env.bus_ops[class->bus] : NULL;
	const struct property *property;
	json_t *list;

	if (!class) {
		error_set(err, ENODEV, "Class '%.100s' not found", name);
		return NULL;
	}
	list = json_array();
	for (size_t i = 0; (property = device_property_at(class, ops, i)) != NULL; i++) {
		json_t *row = json_pack("{s:s,s:s}", "name", property->name, "type", property_type_name(property->type));

		if (property->help)
			json_object_set_new(row, "description", json_string(property->help));
		json_array_append_new(list, row);
	}
	return list;
}

const struct command commands_query[] = {
	{"query-status", "info status", "", "show the current VM status (running|paused)", NULL, run_status,
	 show_status},
	{"query-version", "info version", "", "show the version", NULL, run_version, show_version},
	{"query-cpus-fast", "info cpus", "", "show infos for each CPU", NULL, run_cpus_fast, show_cpus},
	{NULL, "info registers", "[-a|vcpu]",
	 "show the cpu registers (-a: show register info for all cpus; vcpu: specific vCPU to query; show the current CPU's "
	 "registers if no argument is specified)",
	 (const struct command_argument[]){{"all", ARGUMENT_FLAG, true}, {"vcpu", ARGUMENT_INT32, true}, {0}}, run_registers},
	{"query-kvm", "info kvm", "", "show KVM information", NULL, run_kvm, show_kvm},
	{"x-query-accel", "info accel", "", "show what executes the CPUs, and why nothing better does", NULL, run_accel,
	 show_accel},
	{"query-name", "info name", "", "show the current VM name", NULL, run_name, show_name},
	{"query-uuid", "info uuid", "", "show the current VM UUID", NULL, run_uuid, show_uuid},
	{"query-memory-size-summary", "info memory_size_summary|memory", "", "show the amount of memory", NULL,
	 run_memory_size, show_memory_size},
	{"query-target", NULL, "", "the architecture of the guest", NULL, run_target},
	{"query-machines", NULL, "", "the machines there are", NULL, run_machines},
	{"query-current-machine", NULL, "", "properties of this machine", NULL, run_current_machine},
	{"query-iothreads", "info iothreads", "", "show iothreads", NULL, run_iothreads, show_iothreads},
	{NULL, "info qtree", "", "show device tree", NULL, run_qtree},
	{"qom-list-types", NULL, "", "the device models there are", NULL, run_list_types},
	{"device-list-properties", NULL, "", "the properties of a device model",
	 (const struct command_argument[]){{"typename", ARGUMENT_STRING}, {0}}, run_list_properties},
	{0},
};
