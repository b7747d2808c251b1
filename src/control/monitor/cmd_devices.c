/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices that have commands of their own: the PCI bus, the balloon. */
#include "base/util.h"
#include "config/domain.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"
#include "control/monitor/registers.h"
#include "core/engine.h"
#include "machine/inspect.h"

#include <stdlib.h>

static json_t *regions_of(const struct inspect_pci *pci)
{
	json_t *list = json_array();

	for (int i = 0; i < 7; i++) {
		const struct inspect_bar *bar = &pci->bars[i];
		json_int_t base = bar->base == UINT64_MAX ? -1 : (json_int_t)bar->base;

		if (!bar->present)
			continue;
		if (bar->io)
			json_array_append_new(list, json_pack("{s:i,s:I,s:I,s:s}", "bar", i, "size",
							      (json_int_t)bar->size, "address", base, "type", "io"));
		else
			json_array_append_new(list,
					      json_pack("{s:b,s:b,s:i,s:I,s:I,s:s}", "prefetch", bar->prefetch,
							"mem_type_64", bar->wide, "bar", i, "size",
							(json_int_t)bar->size, "address", base, "type", "memory"));
	}
	return list;
}

static json_t *run_pci(struct command_call *call, struct error *err)
{
	json_t *devices = json_array();

	for (unsigned devfn = 0; devfn < 256; devfn++) {
		struct inspect_pci pci;
		json_t *row, *class;

		if (!inspect_pci(call->machine, (uint8_t)devfn, &pci))
			continue;
		class = json_pack("{s:i}", "class", pci.class_code);
		if (inspect_pci_class(pci.class_code))
			json_object_set_new(class, "desc", json_string(inspect_pci_class(pci.class_code)));
		row = json_pack("{s:i,s:i,s:s,s:i,s:o,s:{s:i,s:i,s:i,s:i},s:i,s:o}", "irq_pin", pci.interrupt_pin,
				"bus", 0, "qdev_id", pci.id ? pci.id : "", "slot", pci.slot, "class_info", class, "id",
				"device", pci.device, "vendor", pci.vendor, "subsystem-vendor", pci.subsystem_vendor,
				"subsystem", pci.subsystem, "function", pci.function, "regions", regions_of(&pci));
		if (pci.interrupt_pin)
			json_object_set_new(row, "irq", json_integer(pci.interrupt_line));
		json_array_append_new(devices, row);
	}
	return json_pack("[{s:i,s:o}]", "bus", 0, "devices", devices);
}

static void show_bar(struct text *text, const struct inspect_bar *bar, int index)
{
	unsigned long long first = bar->base, last = bar->base + bar->size - 1;

	if (!bar->present)
		return;
	if (bar->io)
		text_printf(text, "      BAR%d: I/O at 0x%04llx [0x%04llx].\n", index, first, last);
	else
		text_printf(text, "      BAR%d: %d bit%s memory at 0x%08llx [0x%08llx].\n", index, bar->wide ? 64 : 32,
			    bar->prefetch ? " prefetchable" : "", first, last);
}

static void show_pci(struct command_call *call, const json_t *result)
{
	for (unsigned devfn = 0; devfn < 256; devfn++) {
		struct inspect_pci pci;

		if (!inspect_pci(call->machine, (uint8_t)devfn, &pci))
			continue;
		text_printf(call->text, "  Bus  0, device %3u, function %u:\n", pci.slot, pci.function);
		if (inspect_pci_class(pci.class_code))
			text_printf(call->text, "    %s", inspect_pci_class(pci.class_code));
		else
			text_printf(call->text, "    Class %04d", pci.class_code);
		text_printf(call->text, ": PCI device %04x:%04x\n", pci.vendor, pci.device);
		if (pci.subsystem_vendor || pci.subsystem)
			text_printf(call->text, "      PCI subsystem %04x:%04x\n", pci.subsystem_vendor, pci.subsystem);
		if (pci.interrupt_pin)
			text_printf(call->text, "      IRQ %u, pin %c\n", pci.interrupt_line,
				    'A' + pci.interrupt_pin - 1);
		for (int i = 0; i < 7; i++)
			show_bar(call->text, &pci.bars[i], i);
		text_printf(call->text, "      id \"%s\"\n", pci.id ? pci.id : "");
	}
}

static json_t *run_query_balloon(struct command_call *call, struct error *err)
{
	uint64_t actual;

	if (inspect_balloon(call->machine, &actual, err) < 0)
		return NULL;
	return json_pack("{s:I}", "actual", (json_int_t)actual);
}

static void show_balloon(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "balloon: actual=%lld\n",
		    (long long)(json_integer_value(json_object_get(result, "actual")) >> 20));
}

static json_t *run_balloon(struct command_call *call, struct error *err)
{
	int64_t bytes = argument_int(call, "value", 0);
	uint64_t actual;

	/* Whether there is one is said before what is wrong with the size, as in qemu. */
	if (inspect_balloon(call->machine, &actual, err) < 0)
		return NULL;
	if (bytes <= 0) {
		error_set(err, EINVAL, "Parameter 'target' expects a size");
		return NULL;
	}
	return inspect_balloon_set(call->machine, (uint64_t)bytes, err) < 0 ? NULL : json_object();
}

static json_t *run_generation_id(struct command_call *call, struct error *err)
{
	char text[37];

	if (inspect_generation_id(call->machine, text))
		return json_pack("{s:s}", "guid", text);
	error_set(err, EINVAL, "VM Generation ID device not found");
	return NULL;
}

static void show_generation_id(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "%s\n", json_string_value(json_object_get(result, "guid")));
}

/* Frees the text. */
static json_t *show_interrupts(char *counted)
{
	struct text text = {0};

	text_printf(&text, "%s", counted ? counted : "the interrupt controllers are the kernel's (KVM) and not shown\n");
	free(counted);
	return text_result(&text);
}

static json_t *run_pic(struct command_call *call, struct error *err)
{
	return show_interrupts(inspect_interrupts(call->machine, NULL));
}

static json_t *run_irq(struct command_call *call, struct error *err)
{
	return show_interrupts(inspect_interrupt_counts(call->machine));
}

static json_t *run_lapic(struct command_call *call, struct error *err)
{
	int64_t id = argument_int(call, "apic-id", -1);
	struct vcpu *vcpu = registers_vcpu(call);

	for (unsigned i = 0; id >= 0; i++) {
		if (i == call->machine->vcpu_count) {
			struct text none = {0};

			text_printf(&none, "No CPU available\n");
			return text_result(&none);
		}
		vcpu = call->machine->vcpus[i];
		if (vcpu->apic_id == (uint64_t)id)
			break;
	}
	return show_interrupts(inspect_interrupts(call->machine, vcpu));
}

/* The place of the word in the list, or -1 with *err, in the words of QMP or HMP. */
static int choose_action(struct command_call *call, const char *parameter, const char *const *names, struct error *err)
{
	const char *word = argument_string(call, parameter);

	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], word) == 0)
			return i;
	if (call->text)
		error_set(err, EINVAL, "invalid parameter value: %.64s", word);
	else
		error_set(err, EINVAL, "Parameter '%s' does not accept value '%.64s'", parameter, word);
	return -1;
}

static json_t *run_watchdog_action(struct command_call *call, struct error *err)
{
	struct machine_actions actions = machine_actions(call->machine);

	actions.watchdog = choose_action(call, "action", watchdog_action_names, err);
	if (actions.watchdog < 0)
		return NULL;
	machine_set_actions(call->machine, actions);
	return json_object();
}

/* All that were given, or none of them. */
static json_t *run_set_action(struct command_call *call, struct error *err)
{
	static const char *const reboots[] = {"reset", "shutdown", NULL}, *const shutdowns[] = {"poweroff", "pause", NULL};
	struct machine_actions actions = machine_actions(call->machine);
	int reboot = actions.no_reboot, shutdown = actions.no_shutdown;
	const struct {
		const char *name;
		const char *const *names;
		int *value;
	} kinds[] = {{"reboot", reboots, &reboot},
		     {"shutdown", shutdowns, &shutdown},
		     {"panic", panic_action_names, &actions.panic},
		     {"watchdog", watchdog_action_names, &actions.watchdog}};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!argument_string(call, kinds[i].name))
			continue;
		*kinds[i].value = choose_action(call, kinds[i].name, kinds[i].names, err);
		if (*kinds[i].value < 0)
			return NULL;
	}
	actions.no_reboot = reboot;
	actions.no_shutdown = shutdown;
	machine_set_actions(call->machine, actions);
	return json_object();
}

const struct command commands_devices[] = {
	{"query-pci", "info pci", "", "show PCI info", NULL, run_pci, show_pci},
	{"query-balloon", "info balloon", "", "show balloon information", NULL, run_query_balloon, show_balloon},
	{"x-query-irq", "info irq", "", "show the interrupts statistics (if available)", NULL, run_irq, show_text_result},
	{NULL, "info pic", "", "show PIC state", NULL, run_pic, show_text_result},
	{NULL, "info lapic", "[apic-id]", "show local apic state (apic-id: local apic to read, default is which of current CPU)",
	 (const struct command_argument[]){{"apic-id", ARGUMENT_INT32, true}, {0}}, run_lapic, show_text_result},
	{"query-vm-generation-id", "info vm-generation-id", "", "show Virtual Machine Generation ID", NULL, run_generation_id,
	 show_generation_id},
	{"set-action", NULL, "", "what happens at a reboot, a power-off, a panic and when the watchdog has run out",
	 (const struct command_argument[]){{"reboot", ARGUMENT_STRING, true},
					   {"shutdown", ARGUMENT_STRING, true},
					   {"panic", ARGUMENT_STRING, true},
					   {"watchdog", ARGUMENT_STRING, true},
					   {0}},
	 run_set_action},
	{"watchdog-set-action", NULL, "", "what happens when the watchdog has run out",
	 (const struct command_argument[]){{"action", ARGUMENT_STRING}, {0}}, run_watchdog_action},
	{NULL, "watchdog_action", "[reset|shutdown|poweroff|pause|debug|none]", "change watchdog action",
	 (const struct command_argument[]){{"action", ARGUMENT_STRING}, {0}}, run_watchdog_action},
	{"balloon", "balloon", "target", "request VM to change its memory allocation (in MB)",
	 (const struct command_argument[]){{"value", ARGUMENT_MEGABYTES}, {0}}, run_balloon},
	{0},
};
