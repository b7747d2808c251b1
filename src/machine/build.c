/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Building a machine from its configuration, and taking it down again: engine and RAM, back ends, board, devices, vCPU
 * threads, in this order. What is built when something fails is taken down by machine_free.
 */
#include "machine/machine.h"

#include "backend/display/input.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"
#include "config/domain.h"
#include "core/bus.h"
#include "core/clock.h"
#include "core/engine.h"
#include "core/ram.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/features.h"
#include "machine/accel.h"
#include "machine/boot/firmware.h"
#include "machine/internal.h"
#include "machine/screens.h"
#include <stdlib.h>

/* --- devices --- */

void machine_add_device(struct machine *machine, struct device *device)
{
	struct device **at = &machine->devices;

	while (*at)
		at = &(*at)->next;
	*at = device;
}

bool machine_nic_model(const struct device_class *class)
{
	const struct property *property = class->properties;

	while (property && property->name && property->type != PROPERTY_NET)
		property++;
	return property && property->name && !class->internal;
}

static int unknown_model(const struct machine *machine, const char *name, bool nic, struct error *err)
{
	const char *names[512], *near;
	size_t count = 0;

	for (size_t i = 0; machine->device_classes[i] && count < ARRAY_SIZE(names) - 1; i++)
		if (nic ? machine_nic_model(machine->device_classes[i]) : !machine->device_classes[i]->internal)
			names[count++] = machine->device_classes[i]->name;
	names[count] = NULL;
	near = nearest_word(name, names);
	return error_set(err, ENODEV, "'%s' is not a %s%s%s%s (see %s)", name, nic ? "NIC model" : "valid device model name",
	                 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "",
	                 nic ? "-nic model=help" : "-device help");
}

/* What -nic and -net nic name. */
static int check_nic_model(const struct machine *machine, const char *name, struct error *err)
{
	const struct device_class *class = device_class_find((const struct device_class *const *)machine->device_classes, name);

	return class && machine_nic_model(class) ? 0 : unknown_model(machine, name, true, err);
}

struct device *machine_create_device(struct machine *machine, const char *class_name, struct options *options,
                                     struct error *err)
{
	const struct device_class *class = device_class_find((const struct device_class *const *)machine->device_classes, class_name);
	struct device *device;

	if (!class || class->internal) {
		unknown_model(machine, class_name, false, err);
		return NULL;
	}
	device = device_create(class, &machine->env, options, (struct options *)&machine->config->globals, err);
	if (device)
		machine_add_device(machine, device);
	return device;
}

/* "-device TYPE: reason"; a reason that begins with the type (or its property) need not have it twice. */
static int device_error(struct error *err, const struct config_item *item)
{
	const char *type = item->type;
	size_t length = strlen(type);
	struct error reason = *err;

	if (item->typed)
		return error_prefix(err, "%s", item->typed);
	if (strncmp(reason.msg, type, length) || !strchr(":.", reason.msg[length]))
		return error_prefix(err, "-device %s", type);
	return error_set(err, reason.code, "-device %s", reason.msg);
}

/* As in qemu not an error: a script may say for every machine what only some of them have. But never silent. */
static void warn_of_unused_globals(const struct machine *machine)
{
	const struct options *globals = &machine->config->globals;

	for (size_t i = 0; i < globals->count; i++) {
		const char *key = globals->items[i].key;
		char *class_name = strndup(key, strcspn(key, "."));
		const struct device_class *class =
			device_class_find((const struct device_class *const *)machine->device_classes, class_name);

		if (!globals->items[i].used)
			log_warn(machine->log, "-global %s=%s has no effect: there is no device %s%s", key,
			         globals->items[i].value, class && !class->internal ? "" : "model ", class_name);
		free(class_name);
	}
}

/* As qemu does: most likely the -device was forgotten. */
static void warn_of_unused_netdevs(const struct machine *machine)
{
	const struct domain_config *config = machine->config;

	for (size_t i = 0; i < config->netdevs.count; i++) {
		const struct config_item *netdev = &config->netdevs.items[i];
		bool used = false;

		for (size_t j = 0; j < config->devices.count && !used; j++) {
			const char *id = options_peek(&config->devices.items[j].options, "netdev");

			used = id && strcmp(id, netdev->id) == 0;
		}
		if (!used && netdev->typed)
			log_warn(machine->log, "%s has no peer: there is no -net nic for it", netdev->typed);
		else if (!used)
			log_warn(machine->log, "netdev %s has no peer: no -device has netdev=%s", netdev->id, netdev->id);
	}
}

/* The firmware's tables name one. */
static int check_vmgenid(const struct config_list *devices, struct error *err)
{
	unsigned count = 0;

	for (size_t i = 0; i < devices->count; i++)
		count += strcmp(devices->items[i].type, "vmgenid") == 0;
	return count > 1 ? error_set(err, EINVAL, "-device vmgenid: at most one vmgenid device is permitted") : 0;
}

static int create_configured_devices(struct machine *machine, struct error *err)
{
	if (check_vmgenid(&machine->config->devices, err))
		return -EINVAL;
	for (size_t i = 0; i < machine->config->devices.count; i++) {
		const struct config_item *item = &machine->config->devices.items[i];
		struct options options;
		struct device *device;

		if (item->nic && check_nic_model(machine, item->type, err))
			return device_error(err, item);
		options_copy(&options, &item->options);
		if (item->id)
			options_add(&options, "id", item->id);
		device = machine_create_device(machine, item->type, &options, err);
		options_free(&options);
		if (!device)
			return device_error(err, item);
	}
	warn_of_unused_globals(machine);
	warn_of_unused_netdevs(machine);
	return 0;
}

static int open_boot_files(struct machine *machine, struct error *err)
{
	const struct domain_config *config = machine->config;
	struct boot_source source = {config->kernel, config->initrd, config->append};

	if (!config->kernel || config->firmware)
		return 0; /* the board has firmware, which starts the kernel if there is one */
	machine->private_data->boot = boot_open(&source, err);
	return machine->private_data->boot ? 0 : -err->code;
}

/* --- building --- */

static int build_cpuid(struct machine *machine, const struct engine_ops *ops, uint64_t tsc_khz, struct error *err)
{
	const struct domain_config *config = machine->config;
	struct machine_private *priv = machine->private_data;
	struct cpu_topology topology = {config->max_vcpus, config->sockets, config->dies, config->cores, config->threads};
	struct cpuid_table offer = {0};
	int ret = ops->offer(&offer, err);

	if (!ret)
		ret = x86_cpuid_build(&priv->cpuid, config->cpu, &offer, ops->name, &topology, tsc_khz, true, 40, err);
	x86_cpuid_free(&offer);
	return ret;
}

static int build_engine(struct machine *machine, struct error *err)
{
	const struct domain_config *config = machine->config;
	struct machine_private *priv = machine->private_data;
	const struct engine_ops *ops = accel_choose(config->accels, &priv->accel_report, err);
	struct engine_env env;
	uint64_t tsc_khz;
	int ret;

	if (!ops)
		return -err->code;
	tsc_khz = ops->tsc_khz();
	ret = build_cpuid(machine, ops, tsc_khz, err);
	if (ret)
		return ret;
	machine->clock = clock_new(config->stepped, tsc_khz);
	if (config->rtc.base == RTC_BASE_DATE)
		clock_set_epoch(machine->clock, config->rtc.date * NS_PER_S);
	clock_set_waker(machine->clock, machine_clock_waker, machine);
	env = (struct engine_env){
		.log = machine->log, .ram = machine->ram, .io = machine->io, .memory = machine->memory,
		.clock = machine->clock, .cpuid = &priv->cpuid, .max_vcpus = config->max_vcpus, .phys_bits = 40,
		.stepped = config->stepped, .tuning = {.perf_map = config->perf_map},
	};
	if (options_size((struct options *)&config->accel_options, "tb-size", &env.tuning.code_bytes, MIB, err) ||
	    accel_verify((struct options *)&config->accel_options, &env.tuning.verify, err))
		return -EINVAL;
	machine->engine = ops->create(&env, err);
	if (!machine->engine)
		return error_prefix(err, "-accel %s", ops->name);
	if (log_on(machine->log, LOG_VERBOSE))
		log_write(machine->log, "%s", priv->accel_report);
	machine->vcpus = xcalloc(config->vcpus, sizeof(struct vcpu *));
	for (unsigned i = 0; i < config->vcpus; i++) {
		struct cpu_topology topology = {config->max_vcpus, config->sockets, config->dies, config->cores, config->threads};

		machine->vcpus[i] = ops->vcpu_create(machine->engine, i, x86_apic_id(&topology, i), err);
		if (!machine->vcpus[i])
			return error_prefix(err, "CPU %u", i);
		machine->vcpu_count++;
	}
	return 0;
}

static int build_ram(struct machine *machine, struct error *err)
{
	const struct domain_config *config = machine->config;
	struct ram_config ram = {
		.size = config->ram_bytes, .path = config->ram_path, .prealloc = config->ram_prealloc, .share = true};
	const char *id = options_get((struct options *)&config->board_options, "memory-backend");
	const struct config_item *item = id ? config_list_find(&config->objects, id) : NULL;

	if (id && !item)
		return error_set(err, ENOENT, "-machine memory-backend=%s: there is no -object of that id", id);
	if (options_bool((struct options *)&config->board_options, "dump-guest-core", &ram.dump, err) ||
	    options_bool((struct options *)&config->board_options, "mem-merge", &ram.merge, err))
		return -EINVAL;
	if (item) {
		struct options options;
		int ret = 0;

		options_copy(&options, &item->options);
		ram.path = options_get(&options, "mem-path");
		ret = ret ? ret : options_size(&options, "size", &ram.size, 1, err);
		ret = ret ? ret : options_bool(&options, "prealloc", &ram.prealloc, err);
		ret = ret ? ret : options_bool(&options, "share", &ram.share, err);
		ret = ret ? ret : options_bool(&options, "merge", &ram.merge, err);
		ret = ret ? ret : options_bool(&options, "dump", &ram.dump, err);
		ret = ret ? ret : options_bool(&options, "hugetlb", &ram.hugetlb, err);
		ret = ret ? ret : options_size(&options, "hugetlbsize", &ram.hugetlb_size, 1, err);
		if (!ret && ram.size != config->ram_bytes)
			ret = error_set(err, EINVAL, "-object %s,id=%s: size is not that of -m", item->type, id);
		if (!ret)
			machine->ram = ram_new(&ram, err);
		options_free(&options);
		return ret ? ret : machine->ram ? 0 : -err->code;
	}
	ram.huge_pages = true;
	machine->ram = ram_new(&ram, err);
	return machine->ram ? 0 : -err->code;
}

static char *find_rom(void *opaque, const char *name, struct error *err)
{
	const struct machine *machine = opaque;

	return firmware_find(machine->config->firmware_dirs, name, err);
}

static int machine_build(struct machine *machine, struct error *err)
{
	struct machine_private *priv = machine->private_data;
	int ret;

	priv->board = board_find(machine->config->board, err);
	if (!priv->board)
		return -err->code;
	ret = open_boot_files(machine, err);
	if (ret)
		return ret;
	machine->device_classes = board_classes(priv->board);
	machine->io = bus_new("I/O port", 0x10000);
	machine->memory = bus_new("memory", 0);
	ret = build_ram(machine, err);
	if (!ret)
		ret = priv->board->map_ram(machine, err);
	if (!ret)
		ret = build_engine(machine, err);
	if (ret)
		return ret;
	machine->input = input_new(machine->clock);
	/* Back ends may put text consoles there. */
	priv->screens = screens_new(machine);
	/* Sets priv->backends also when it fails, for machine_free. */
	if (!backends_open(machine, err))
		return -err->code;
	machine->env = (struct device_env){
		.log = machine->log, .loop = machine->loop, .clock = machine->clock, .ram = machine->ram, .io = machine->io,
		.memory = machine->memory, .input = machine->input, .backends = backends_lookup(priv->backends), .request = machine_device_request,
		.request_opaque = machine, .find_rom = find_rom, .find_rom_opaque = machine, .firmware = !priv->boot,
		.eventfds = !machine->config->stepped,
		.display = screens_display(priv->screens),
	};
	ret = priv->board->build(machine, err);
	if (!ret)
		ret = create_configured_devices(machine, err);
	if (!ret)
		ret = screens_open(priv->screens, err);
	if (!ret) {
		machine_reset_devices(machine);
		ret = machine_load(machine, err);
	}
	if (!ret) {
		priv->crew = vcpu_crew_start(machine->vcpus, machine->vcpu_count, machine_vcpu_reported, machine, err);
		ret = priv->crew ? 0 : -err->code;
	}
	return ret;
}

struct machine *machine_new(const struct domain_config *config, struct loop *loop, struct log *log, struct error *err)
{
	struct machine *machine = xcalloc(1, sizeof(*machine));
	struct error own = {0};

	machine->config = config;
	machine->loop = loop;
	machine->log = log;
	machine->state = RUN_PRELAUNCH;
	machine->private_data = xcalloc(1, sizeof(*machine->private_data));
	machine->private_data->actions = (struct machine_actions){.no_reboot = config->no_reboot,
								  .no_shutdown = config->no_shutdown,
								  .panic = config->panic_action,
								  .watchdog = config->watchdog_action};
	pthread_mutex_init(&machine->private_data->request_lock, NULL);
	loop_timer_init(&machine->private_data->clock_timer, loop, machine_clock_serve, machine);
	if (machine_build(machine, &own)) {
		if (err)
			*err = own;
		machine_free(machine);
		return NULL;
	}
	return machine;
}

/* The list is in the order of creation; what came last may use what came first. */
static void destroy_devices(struct machine *machine)
{
	while (machine->devices) {
		struct device **at = &machine->devices;
		struct device *last;

		while ((*at)->next)
			at = &(*at)->next;
		last = *at;
		*at = NULL;
		device_destroy(last);
	}
}

void machine_free(struct machine *machine)
{
	struct machine_private *priv = machine->private_data;

	vcpu_crew_stop(priv->crew);
	priv->crew = NULL;
	loop_timer_cancel(&priv->clock_timer);
	screens_close(priv->screens);
	destroy_devices(machine);
	if (priv->board && machine->io)
		priv->board->free(machine);
	backends_close(priv->backends);
	screens_free(priv->screens);
	if (machine->engine)
		engine_debug(machine->engine, NULL, NULL);
	for (unsigned i = 0; i < machine->vcpu_count; i++)
		machine->engine->ops->vcpu_destroy(machine->vcpus[i]);
	free(machine->vcpus);
	free(machine->device_classes);
	if (machine->engine)
		machine->engine->ops->destroy(machine->engine);
	loop_poll(machine->loop, 0); /* work that was posted while taking down must not outlive its objects */
	input_free(machine->input);
	clock_free(machine->clock);
	bus_free(machine->io);
	bus_free(machine->memory);
	ram_free(machine->ram);
	x86_cpuid_free(&priv->cpuid);
	boot_close(priv->boot);
	free(priv->accel_report);
	pthread_mutex_destroy(&priv->request_lock);
	free(priv);
	free(machine);
}
