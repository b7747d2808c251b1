/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that describe the machine itself: board, engine, CPUs, RAM, name, clock, boot order, what ends it. */
#include "base/log.h"
#include "base/util.h"
#include "config/parse.h"

#include <ctype.h>
#include <stdlib.h>

static void add_accel(struct domain_config *config, const char *name)
{
	size_t count = 0;

	while (config->accels[count]) {
		if (strcmp(config->accels[count], name) == 0)
			return;
		count++;
	}
	config->accels = xrealloc(config->accels, (count + 2) * sizeof(char *));
	config->accels[count] = xstrdup(name);
	config->accels[count + 1] = NULL;
}

/* qemu's name for "in software" stands for the software engines, the better one first. */
static int take_accel(struct domain_config *config, const char *name, struct error *err)
{
	static const char *const names[] = {"kvm", "translate", "interp", "tcg", NULL};
	int which = choose(name, names, "accelerator", err);

	if (which < 0)
		return which;
	if (strcmp(names[which], "tcg") != 0) {
		add_accel(config, names[which]);
		return 0;
	}
	add_accel(config, "translate");
	add_accel(config, "interp");
	return 0;
}

/* "kvm:tcg" of -machine accel=, "kvm,interp" of -accel arrives in parts. */
static int take_accels(struct domain_config *config, const char *list, struct error *err)
{
	char *copy = xstrdup(list), *save = NULL;
	int ret = *list ? 0 : error_set(err, EINVAL, "an accelerator without a name");

	for (char *name = strtok_r(copy, ":", &save); name && ret == 0; name = strtok_r(NULL, ":", &save))
		ret = take_accel(config, name, err);
	free(copy);
	return ret;
}

/* KVM's interrupt controllers in the kernel: the only way so far. */
static int check_irqchip(const char *value, struct error *err)
{
	static const char *const words[] = {"on", "off", "split", NULL};
	int which = choose(value, words, "kernel-irqchip", err);

	if (which > 0)
		return error_set(err, ENOTSUP, "kernel-irqchip=%s: not supported yet", value);
	return which;
}

static bool has_accel(const struct domain_config *config, const char *name)
{
	for (size_t i = 0; config->accels[i]; i++)
		if (strcmp(config->accels[i], name) == 0)
			return true;
	return false;
}

/* What only a translating engine has is an error where none is named; qemu's KVM has no such property either. */
static int keep_translator_options(struct domain_config *config, struct options *options, struct error *err)
{
	static const char *const keys[] = {"tb-size", "verify"};
	const char *verify = options_get(options, "verify");
	uint64_t number;
	bool on;

	if (options_size(options, "tb-size", &number, MIB, err) < 0)
		return -EINVAL;
	if (verify && parse_u64(verify, UINT32_MAX - 1, &number, NULL) && parse_bool(verify, &on, NULL))
		return error_set(err, EINVAL, "verify=%.40s: on, off or a number of runs", verify);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *value = options_get(options, keys[i]);

		if (!value)
			continue;
		if (!has_accel(config, "translate"))
			return error_set(err, EINVAL, "'%s' is an option of translate, which is not named", keys[i]);
		free(pull(&config->accel_options, keys[i]));
		options_add(&config->accel_options, keys[i], value);
	}
	return 0;
}

int list_accel(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"accel", "kernel-irqchip", "thread", "tb-size", "verify", NULL};
	static const char *const threads[] = {"multi", "single", NULL};
	struct domain_config *config = parse->config;
	const char *value;

	for (size_t i = 0; i < options->count; i++) {
		struct option *item = &options->items[i];
		bool bare = strcmp(item->value, "on") == 0 && !nearest_word(item->key, known);

		if (strcmp(item->key, "accel") != 0 && !bare)
			continue;
		item->used = true;
		value = bare ? item->key : item->value;
		if (is_help(value))
			return ask(parse, ASK_ACCELS, NULL);
		if (take_accels(config, value, err) < 0)
			return -EINVAL;
	}
	if (!options_get(options, "accel"))
		return error_set(err, EINVAL, "which accelerator? (-accel help lists them)");
	parse->has_accel_key = true;
	value = options_get(options, "thread");
	if (value) {
		int which = choose(value, threads, "thread", err);

		if (which)
			return which < 0 ? which : not_yet(err, "thread=single");
	}
	value = options_get(options, "kernel-irqchip");
	if (value) {
		if (check_irqchip(value, err) < 0)
			return -EINVAL;
		free(pull(&config->accel_options, "kernel-irqchip"));
		options_add(&config->accel_options, "kernel-irqchip", value);
	}
	if (keep_translator_options(config, options, err) < 0)
		return -EINVAL;
	return options_check_used(options, "-accel", known, err);
}

int word_enable_kvm(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	parse->has_accel_key = true;
	return take_accel(parse->config, "kvm", err);
}

/* The board for a name as qemu has them; versioned names are the board without a version. */
static int take_board(struct domain_config *config, const char *type, struct error *err)
{
	static const char *const boards[] = {"pc", NULL}, *const later[] = {"microvm", "none", "q35", "isapc", NULL};

	if (strncmp(type, "pc-i440fx", 9) == 0)
		type = "pc";
	else if (strncmp(type, "pc-q35", 6) == 0)
		type = "q35";
	if (is_one_of(type, later))
		return not_yet(err, type);
	if (choose(type, boards, "machine", err) < 0)
		return -EINVAL;
	set_string(&config->board, type);
	return 0;
}

static const char *const machine_keys[] = {
	"type",
	"accel",
	"kernel-irqchip",
	"memory-backend",
	"pflash0",
	"pflash1",
	"hpet",
	"dump-guest-core",
	"mem-merge",
	"acpi",
	"pit",
	"pic",
	"i8042",
	"usb",
	"vmport",
	"smm",
	"nvdimm",
	"sata",
	"suppress-vmdesc",
	"graphics",
	"kernel",
	"initrd",
	"append",
	"dtb",
	"firmware",
	NULL,
};

/* Parts that this board always or never has: saying what is so anyway is good, anything else cannot be given. */
static int check_fixed_parts(struct options *options, struct error *err)
{
	static const struct {
		const char *key, *value;
	} parts[] = {
		{"acpi", "on"},      {"pit", "on"},  {"pic", "on"},     {"i8042", "on"}, {"usb", "off"},
		{"vmport", "off"},   {"smm", "off"}, {"nvdimm", "off"}, {"sata", "off"}, {"suppress-vmdesc", "off"},
		{"graphics", "off"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		const char *value = options_get(options, parts[i].key);

		if (value && strcmp(value, parts[i].value) != 0 && strcmp(value, "auto") != 0)
			return error_set(err, ENOTSUP, "%s=%.100s: not supported yet", parts[i].key, value);
	}
	return 0;
}

int list_machine(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const booleans[] = {"hpet", "dump-guest-core", "mem-merge"};
	static const char *const names[] = {"memory-backend", "pflash0", "pflash1"};
	struct domain_config *config = parse->config;
	const char *value = options_get(options, "type");

	if (options->count && is_help(options->items[0].value))
		return ask(parse, ASK_MACHINES, NULL);
	if (value && take_board(config, value, err) < 0)
		return -EINVAL;
	value = options_get(options, "accel");
	if (value) {
		if (take_accels(config, value, err) < 0)
			return -EINVAL;
		parse->has_machine_accel = true;
	}
	take_string(options, "kernel", &config->kernel);
	take_string(options, "initrd", &config->initrd);
	take_string(options, "append", &config->append);
	take_string(options, "firmware", &config->bios);
	if (options_get(options, "dtb"))
		return error_set(err, ENOTSUP, "dtb=: not supported yet");
	if (check_fixed_parts(options, err) < 0)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(booleans); i++) {
		bool on;

		value = options_get(options, booleans[i]);
		if (!value)
			continue;
		if (options_bool(options, booleans[i], &on, err) < 0)
			return -EINVAL;
		free(pull(&config->board_options, booleans[i]));
		options_add(&config->board_options, booleans[i], on ? "on" : "off");
	}
	value = options_get(options, "kernel-irqchip");
	if (value) {
		if (check_irqchip(value, err) < 0)
			return -EINVAL;
		free(pull(&config->accel_options, "kernel-irqchip"));
		options_add(&config->accel_options, "kernel-irqchip", value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		value = options_get(options, names[i]);
		if (!value)
			continue;
		free(pull(&config->board_options, names[i]));
		options_add(&config->board_options, names[i], value);
	}
	return options_check_used(options, "-machine", machine_keys, err);
}

/* -no-acpi, -no-hpet */
int word_machine_off(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	const char *part = key->name + strlen("no-");

	if (strcmp(part, "hpet") != 0)
		return error_set(err, ENOTSUP, "not supported yet");
	free(pull(&parse->config->board_options, part));
	options_add(&parse->config->board_options, part, "off");
	return 0;
}

int word_cpu(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	if (is_help(value))
		return ask(parse, ASK_CPUS, NULL);
	if (!*value || *value == ',')
		return error_set(err, EINVAL, "a CPU model comes first");
	set_string(&parse->config->cpu, value);
	return 0;
}

int word_uuid(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (size_t i = 0; i < sizeof(form); i++)
		if (form[i] == 'x' ? !isxdigit((unsigned char)value[i]) : value[i] != form[i])
			return error_set(err, EINVAL, "a UUID has the form %s", form);
	set_string(&parse->config->uuid, value);
	return 0;
}

int list_memory(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"size", "slots", "maxmem", NULL};
	uint64_t bytes = parse->config->ram_bytes, slots = 0;

	if (options_size(options, "size", &bytes, MIB, err) < 0 ||
	    options_u64(options, "slots", &slots, 256, err) < 0 ||
	    options_size(options, "maxmem", &parse->max_ram_bytes, MIB, err) < 0 ||
	    options_check_used(options, "-m", known, err) < 0)
		return -EINVAL;
	if (bytes == 0 || bytes > 64 * TIB)
		return error_set(err, EINVAL, "guest RAM must be between 1 MiB and 64 TiB");
	if (bytes < MIB)
		return error_set(err, EINVAL, "guest RAM must be between 1 MiB and 64 TiB");
	if (parse->max_ram_bytes && parse->max_ram_bytes < bytes)
		return error_set(err, EINVAL, "maxmem is less than size");
	if (slots || parse->max_ram_bytes > bytes)
		return not_yet(err, "memory hot-plug (slots=, maxmem= above size)");
	parse->config->ram_bytes = align_up(bytes, 8192);
	return 0;
}

/* qemu's rules since 6.2: what is not said is filled in cores first, then sockets, then threads. */
int list_smp(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"cpus", "maxcpus", "sockets", "dies", "clusters", "cores", "threads", NULL};
	uint64_t n[7] = {0};
	uint64_t *cpus = &n[0], *maxcpus = &n[1], *sockets = &n[2], *dies = &n[3], *cores = &n[5], *threads = &n[6],
		 total;
	struct domain_config *config = parse->config;

	for (size_t i = 0; known[i]; i++) {
		if (options_u64(options, known[i], &n[i], 1024, err) < 0)
			return -EINVAL;
		if (options_get(options, known[i]) && n[i] == 0)
			return error_set(err, EINVAL, "%s must not be 0", known[i]);
	}
	if (options_check_used(options, "-smp", known, err) < 0)
		return -EINVAL;
	if (n[4] > 1)
		return error_set(err, EINVAL, "clusters: a PC has none");
	*dies = max_u64(*dies, 1);
	if (*cpus == 0 && *maxcpus == 0) {
		*sockets = max_u64(*sockets, 1);
		*cores = max_u64(*cores, 1);
		*threads = max_u64(*threads, 1);
	} else {
		uint64_t all = *maxcpus ? *maxcpus : *cpus;

		if (*cores == 0) {
			*sockets = max_u64(*sockets, 1);
			*threads = max_u64(*threads, 1);
			*cores = all / (*sockets * *dies * *threads);
		} else if (*sockets == 0) {
			*threads = max_u64(*threads, 1);
			*sockets = all / (*dies * *cores * *threads);
		}
		if (*threads == 0)
			*threads = all / (*sockets * *dies * *cores);
	}
	total = *sockets * *dies * *cores * *threads;
	*maxcpus = *maxcpus ? *maxcpus : (*cpus ? max_u64(*cpus, total) : total);
	*cpus = *cpus ? *cpus : *maxcpus;
	if (total != *maxcpus)
		return error_set(err, EINVAL,
				 "sockets (%u) * dies (%u) * cores (%u) * threads (%u) is not the number of CPUs (%u)",
				 (unsigned)*sockets, (unsigned)*dies, (unsigned)*cores, (unsigned)*threads,
				 (unsigned)*maxcpus);
	if (*cpus > *maxcpus)
		return error_set(err, EINVAL, "maxcpus is less than cpus");
	if (*maxcpus > DOMAIN_MAX_VCPUS)
		return error_set(err, ERANGE, "the most CPUs a machine can have is %d", DOMAIN_MAX_VCPUS);
	if (*maxcpus > *cpus)
		return not_yet(err, "CPU hot-plug (maxcpus= above cpus)");
	config->vcpus = (unsigned)*cpus;
	config->max_vcpus = (unsigned)*maxcpus;
	config->sockets = (unsigned)*sockets;
	config->dies = (unsigned)*dies;
	config->cores = (unsigned)*cores;
	config->threads = (unsigned)*threads;
	return 0;
}

int list_name(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"guest", "process", "debug-threads", NULL};
	struct domain_config *config = parse->config;

	take_string(options, "guest", &config->name);
	take_string(options, "process", &config->process_name);
	if (take_bool(options, "debug-threads", &config->debug_threads, err) < 0)
		return -EINVAL;
	return options_check_used(options, "-name", known, err);
}

static int check_boot_order(const char *order, struct error *err)
{
	unsigned seen = 0;

	for (const char *c = order; *c; c++) {
		if (*c < 'a' || *c > 'p')
			return error_set(err, EINVAL, "boot device '%c': devices are letters from a to p", *c);
		if (!strchr("abcdn", *c))
			return error_set(err, EINVAL,
					 "boot device '%c': known are a, b (floppy), c (disk), d (CD-ROM), n (network)",
					 *c);
		if (seen & 1u << (*c - 'a'))
			return error_set(err, EINVAL, "boot device '%c' is given twice", *c);
		seen |= 1u << (*c - 'a');
	}
	return 0;
}

int list_boot(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"order",          "once",   "menu",        "strict",
					    "reboot-timeout", "splash", "splash-time", NULL};
	struct domain_config *config = parse->config;
	const char *orders[] = {options_get(options, "order"), options_get(options, "once")};
	uint64_t wait_ms = 0;

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
		if (orders[i] && check_boot_order(orders[i], err) < 0)
			return -EINVAL;
	take_string(options, "order", &config->boot_order);
	take_string(options, "once", &config->boot_once);
	if (take_bool(options, "menu", &config->boot_menu, err) < 0 ||
	    take_bool(options, "strict", &config->boot_strict, err) < 0)
		return -EINVAL;
	if (options_get(options, "reboot-timeout")) {
		if (strcmp(options_get(options, "reboot-timeout"), "-1") == 0)
			config->boot_fail_wait_ms = -1;
		else if (options_u64(options, "reboot-timeout", &wait_ms, 0xffff, err) < 0)
			return -EINVAL;
		else
			config->boot_fail_wait_ms = (int)wait_ms;
	}
	if (options_get(options, "splash-time")) {
		if (options_u64(options, "splash-time", &wait_ms, 0xffff, err) < 0)
			return -EINVAL;
		config->boot_menu_wait_ms = (int)wait_ms;
	}
	take_string(options, "splash", &config->boot_splash);
	return options_check_used(options, "-boot", known, err);
}

static int take_rtc_base(struct rtc_config *rtc, const char *base, struct error *err)
{
	struct tm when = {0};
	const char *end;

	if (strcmp(base, "utc") == 0) {
		rtc->base = RTC_BASE_UTC;
		return 0;
	}
	if (strcmp(base, "localtime") == 0) {
		rtc->base = RTC_BASE_LOCALTIME;
		return 0;
	}
	end = strptime(base, "%Y-%m-%dT%H:%M:%S", &when);
	if (!end || *end) {
		when = (struct tm){0};
		end = strptime(base, "%Y-%m-%d", &when);
	}
	if (!end || *end)
		return error_set(err, EINVAL, "base=%.100s: expected utc, localtime, 2026-06-17T16:01:21 or 2026-06-17",
				 base);
	rtc->base = RTC_BASE_DATE;
	rtc->date = timegm(&when);
	return 0;
}

int list_rtc(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"base", "clock", "driftfix", NULL};
	static const char *const clocks[] = {"host", "vm", "rt", NULL};
	static const char *const fixes[] = {"none", "slew", NULL};
	struct rtc_config *rtc = &parse->config->rtc;
	const char *value = options_get(options, "base");
	int which;

	if (value && take_rtc_base(rtc, value, err) < 0)
		return -EINVAL;
	value = options_get(options, "clock");
	if (value) {
		which = choose(value, clocks, "clock", err);
		if (which < 0)
			return which;
		rtc->clock = which == 0 ? RTC_CLOCK_HOST : which == 1 ? RTC_CLOCK_VM : RTC_CLOCK_RT;
	}
	value = options_get(options, "driftfix");
	if (value) {
		which = choose(value, fixes, "driftfix", err);
		if (which < 0)
			return which;
		rtc->drift_slew = which == 1;
	}
	return options_check_used(options, "-rtc", known, err);
}

int list_action(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"reboot", "shutdown", "panic", "watchdog", NULL};
	static const char *const reboots[] = {"reset", "shutdown", NULL};
	static const char *const shutdowns[] = {"poweroff", "pause", NULL};
	static const char *const *const values[] = {reboots, shutdowns, panic_action_names, watchdog_action_names};
	struct domain_config *config = parse->config;

	for (size_t i = 0; known[i]; i++) {
		const char *value = options_get(options, known[i]);
		int which;

		if (!value)
			continue;
		which = choose(value, values[i], known[i], err);
		if (which < 0)
			return which;
		if (i == 0)
			config->no_reboot = which == 1;
		else if (i == 1)
			config->no_shutdown = which == 1;
		else if (i == 2)
			config->panic_action = which;
		else
			config->watchdog_action = which;
	}
	return options_check_used(options, "-action", known, err);
}

int list_global(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"driver", "property", "value", NULL};
	const char *driver = options_get(options, "driver"), *property = options_get(options, "property");
	const char *value = options_get(options, "value"), *dot;
	char *name;

	if (driver && property && value) {
		name = xasprintf("%s.%s", driver, property);
		options_add(&parse->config->globals, name, value);
		free(name);
		return options_check_used(options, "-global", known, err);
	}
	if (options->count == 1 && !driver && !property && !value) {
		dot = strchr(options->items[0].key, '.');
		if (dot && dot != options->items[0].key && dot[1]) {
			options_add(&parse->config->globals, options->items[0].key, options->items[0].value);
			return 0;
		}
	}
	return error_set(err, EINVAL, "expected driver.property=value or driver=,property=,value=");
}

int word_watchdog_action(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	int which = choose(value, watchdog_action_names, "action", err);

	if (which < 0)
		return which;
	parse->config->watchdog_action = (enum watchdog_action)which;
	return 0;
}

int word_s(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	free(parse->config->gdb);
	parse->config->gdb = xstrdup("tcp::1234");
	return 0;
}

int word_icount(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	static const char *const known[] = {"shift", "sleep", "align", "rr", "rrfile", "rrsnapshot", NULL};
	struct options options;
	const char *shift;
	bool sleep = false, align = false;
	uint64_t n = 0;
	int ret = options_parse(&options, value, "shift", err);

	if (ret < 0)
		return ret;
	shift = options_get(&options, "shift");
	if (shift && strcmp(shift, "auto") != 0)
		ret = options_u64(&options, "shift", &n, 10, err);
	/* One instruction is one nanosecond. */
	if (ret == 0 && n)
		ret = not_yet(err, "a shift= other than 0");
	if (ret == 0)
		ret = options_bool(&options, "sleep", &sleep, err);
	if (ret == 0)
		ret = options_bool(&options, "align", &align, err);
	if (ret == 0 && (sleep || align))
		ret = not_yet(err, sleep ? "sleep=on" : "align=on");
	if (ret == 0 && (options_get(&options, "rr") || options_get(&options, "rrfile")))
		ret = not_yet(err, "record and replay (rr=)");
	if (ret == 0)
		ret = options_check_used(&options, "-icount", known, err);
	options_free(&options);
	parse->config->stepped = true;
	return ret;
}
