/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lists behind "help": made from the tables of the folders that own what is listed. Layouts follow qemu's. */
#include "prog/answer.h"

#include "backend/char/chardev.h"
#include "backend/display/driver.h"
#include "backend/net/net.h"
#include "base/log.h"
#include "base/util.h"
#include "config/keys.h"
#include "config/version.h"
#include "control/monitor/trace.h"
#include "core/device.h"
#include "core/engine.h"
#include "cpu/x86/features.h"
#include "device/pci/pci.h"
#include "machine/accel.h"
#include "machine/boot/firmware.h"
#include "machine/machine.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const bus_names[DEVICE_BUS_KINDS] = {
	[DEVICE_SYSTEM] = "System", [DEVICE_ISA] = "ISA",
	[DEVICE_PCI] = "PCI",       [DEVICE_VIRTIO_SERIAL] = "virtio-serial-bus",
	[DEVICE_IDE] = "IDE",       [DEVICE_FLOPPY] = "floppy-bus",
	[DEVICE_SCSI] = "SCSI",     [DEVICE_USB] = "usb-bus",
};

static void print_devices(const struct device_class *const *classes)
{
	for (size_t bus = 0; bus < DEVICE_BUS_KINDS; bus++) {
		bool titled = false;

		for (size_t i = 0; classes[i]; i++) {
			const struct device_class *class = classes[i];

			if (class->internal || class->bus != bus)
				continue;
			if (!titled)
				printf("%s devices:\n", bus_names[bus]);
			titled = true;
			printf("name \"%s\", bus %s", class->name, bus_names[bus]);
			if (class->alias)
				printf(", alias \"%s\"", class->alias);
			if (class->help)
				printf(", desc \"%s\"", class->help);
			printf("\n");
		}
		if (titled)
			printf("\n");
	}
}

static void print_property(const struct property *property)
{
	int length = printf("  %s=<%s>", property->name, property_type_name(property->type));

	if (property->help || property->fallback)
		printf("%*s -", length < 25 ? 25 - length : 0, "");
	if (property->help)
		printf(" %s", property->help);
	if (property->fallback)
		printf(" (default: %s)", property->fallback);
	printf("\n");
}

static int print_device(const struct device_class *const *classes, const char *name, struct error *err)
{
	const struct device_class *class = device_class_find(classes, name);
	const struct device_bus_ops *ops = class && class->bus == DEVICE_PCI ? &pci_device_bus_ops : NULL;
	const char *names[512] = {NULL}, *near;
	size_t count = 0;

	if (class && !class->internal) {
		printf("%s options:\n", class->name);
		for (size_t i = 0; device_property_at(class, ops, i); i++)
			print_property(device_property_at(class, ops, i));
		return 0;
	}
	for (size_t i = 0; classes[i] && count < ARRAY_SIZE(names) - 1; i++)
		if (!classes[i]->internal)
			names[count++] = classes[i]->name;
	near = nearest_word(name, names);
	if (near)
		return error_set(err, ENODEV, "-device %s,help: there is no such device; did you mean '%s'?", name,
				 near);
	return error_set(err, ENODEV, "-device %s,help: there is no such device (see -device help)", name);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What -nic model= takes is a PCI card that can have a netdev; sorted, as qemu lists them. */
static void print_nic_models(const struct device_class *const *classes)
{
	const char *names[256];
	size_t count = 0;

	for (size_t i = 0; classes[i]; i++)
		if (machine_nic_model(classes[i]) && classes[i]->bus == DEVICE_PCI && count < ARRAY_SIZE(names))
			names[count++] = classes[i]->name;
	qsort(names, count, sizeof(names[0]), compare_names);
	printf("Supported NIC models:\n");
	for (size_t i = 0; i < count; i++)
		printf("%s\n", names[i]);
}

static int print_log_items(void)
{
	struct error err = {0};
	const char *known;
	uint32_t items;

	/* The log names its items in the message about an unknown one. */
	log_parse_items("?", &items, &err);
	known = strstr(err.msg, "known: ");
	printf("Log items (comma separated): %s\n", known ? known + strlen("known: ") : err.msg);
	return 0;
}

static void print_version(void)
{
	printf("xuni-vmm version %s (command line, monitor and QMP of QEMU emulator version %d.%d.%d)\n", XUNI_VERSION,
	       QEMU_VERSION_MAJOR, QEMU_VERSION_MINOR, QEMU_VERSION_MICRO);
}

static void print_accels(void)
{
	printf("Accelerators supported by xuni-vmm, in the default order:\n");
	for (size_t i = 0; machine_engines[i]; i++) {
		struct error why = {0};
		bool last = false;
		int ret = machine_engines[i]->probe(&last, &why);

		printf("%-10s %s%s%s%s\n", machine_engines[i]->name, machine_engines[i]->help,
		       ret < 0 ? "; not here: " : "", ret < 0 ? why.msg : "",
		       last ? "; works here, but slowly: tried last" : "");
	}
}

static int answer_about_devices(const struct config_request *request, const char *board, struct error *err)
{
	const struct device_class **classes = machine_board_classes(board, err);
	int ret = 0;

	if (!classes)
		return -err->code;
	if (request->ask == ASK_DEVICE)
		ret = print_device(classes, request->name, err);
	else if (request->ask == ASK_DEVICES)
		print_devices(classes);
	else
		print_nic_models(classes);
	free(classes);
	return ret;
}

int answer_print(const struct config_request *request, const struct domain_config *config, struct error *err)
{
	const char *name, *help;
	char *text;

	switch (request->ask) {
	case ASK_RUN:
		break;
	case ASK_HELP:
		print_version();
		keys_print_help(stdout, "xuni-vmm");
		break;
	case ASK_VERSION:
		print_version();
		break;
	case ASK_MACHINES:
		printf("Supported machines are:\n%-20s Standard PC (i440FX + PIIX3 shape) (default)\n", "pc");
		break;
	case ASK_CPUS:
		text = x86_cpu_help();
		fputs(text, stdout);
		free(text);
		break;
	case ASK_ACCELS:
		print_accels();
		break;
	case ASK_DEVICES:
	case ASK_DEVICE:
	case ASK_NIC_MODELS:
		return answer_about_devices(request, config->board, err);
	case ASK_NETDEVS:
		printf("Available netdev backend types:\n");
		for (size_t i = 0; net_drivers[i]; i++)
			printf("%-10s %s\n", net_drivers[i]->name, net_drivers[i]->help ? net_drivers[i]->help : "");
		break;
	case ASK_CHARDEVS:
		printf("Available chardev backend types:\n");
		for (size_t i = 0; chardev_drivers[i]; i++)
			printf("  %-10s %s\n", chardev_drivers[i]->name,
			       chardev_drivers[i]->help ? chardev_drivers[i]->help : "");
		break;
	case ASK_OBJECTS:
	case ASK_OBJECT:
		keys_print_objects(stdout, request->name);
		break;
	case ASK_LOG_ITEMS:
		return print_log_items();
	case ASK_TRACE_EVENTS:
		for (const struct trace_event *event = trace_events; event->name; event++)
			printf("%-24s %s\n", event->name, event->help);
		break;
	case ASK_DISPLAYS:
		printf("Available display backend types:\n");
		for (unsigned i = 0; display_ui_type(i, &name, &help); i++)
			printf("%s\n", name);
		break;
	case ASK_FIRMWARE_DIRS:
		for (size_t i = 0; firmware_directory(i); i++)
			printf("%s\n", firmware_directory(i));
		break;
	case ASK_KEY:
		keys_print_one(stdout, request->name);
		break;
	case ASK_VGAS:
		printf("none                 no graphic card\nstd                  standard VGA (default)\n"
		       "cirrus               Cirrus VGA\n");
		break;
	}
	return 0;
}
