/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices, objects, tables for the firmware, display, logging, help. */
#include "base/log.h"
#include "base/util.h"
#include "config/parse.h"

#include <stdlib.h>

int list_device(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	char *type = pull(options, "driver"), *id = NULL;
	int ret;

	if (type && is_help(type)) {
		ret = ask(parse, ASK_DEVICES, NULL);
	} else if (type && (options_get(options, "help") || options_get(options, "?"))) {
		ret = ask(parse, ASK_DEVICE, type);
	} else if (!type || !*type) {
		ret = error_set(err, EINVAL, "which driver? (-device help lists them)");
	} else {
		if (strcmp(type, "isa-serial") == 0)
			parse->has_serial = true;
		id = pull(options, "id");
		ret = add_item(&parse->config->devices, "device", type, id, options, err);
	}
	free(type);
	free(id);
	return ret;
}

#define RATE(PREFIX, NAME) PREFIX NAME, PREFIX NAME "-max", PREFIX NAME "-max-length"
#define RATES(PREFIX)                                                                                                  \
	RATE(PREFIX, "bps-total"), RATE(PREFIX, "bps-read"), RATE(PREFIX, "bps-write"), RATE(PREFIX, "iops-total"),    \
		RATE(PREFIX, "iops-read"), RATE(PREFIX, "iops-write"), PREFIX "iops-size"

/* Names of RAM in migration streams, which there are none of: checked, and changes nothing. */
#define RAMBLOCK_ID "x-use-canonical-path-for-ramblock-id"

static const struct object_type {
	const char *name;
	const char *const *known;
} object_types[] = {
	{"iothread", (const char *const[]){NULL}},
	{"memory-backend-memfd",
	 (const char *const[]){"size", "share", "prealloc", "merge", "dump", "hugetlb", "hugetlbsize",
			      RAMBLOCK_ID, NULL}},
	{"memory-backend-file", (const char *const[]){"size", "share", "prealloc", "merge", "dump", "mem-path",
			      RAMBLOCK_ID, NULL}},
	{"memory-backend-ram", (const char *const[]){"size", "share", "prealloc", "merge", "dump", RAMBLOCK_ID, NULL}},
	{"rng-random", (const char *const[]){"filename", NULL}},
	{"rng-builtin", (const char *const[]){NULL}},
	{"secret", (const char *const[]){"data", "file", "format", "keyid", "iv", NULL}},
	{"tls-creds-anon", (const char *const[]){"endpoint", "dir", "verify-peer", "priority", NULL}},
	{"tls-creds-x509",
	 (const char *const[]){"endpoint", "dir", "verify-peer", "sanity-check", "passwordid", "priority", NULL}},
	{"throttle-group", (const char *const[]){RATES("limits."), RATES("x-"), NULL}},
};

static const struct object_type *object_type_find(const char *name, struct error *err)
{
	const char *names[ARRAY_SIZE(object_types) + 1] = {NULL};
	int which;

	for (size_t i = 0; i < ARRAY_SIZE(object_types); i++)
		names[i] = object_types[i].name;
	which = choose(name, names, "object type", err);
	return which < 0 ? NULL : &object_types[which];
}

void keys_print_objects(FILE *to, const char *type)
{
	if (!type)
		fprintf(to, "List of user creatable objects:\n");
	for (size_t i = 0; i < ARRAY_SIZE(object_types); i++) {
		if (!type) {
			fprintf(to, "  %s\n", object_types[i].name);
		} else if (strcmp(type, object_types[i].name) == 0) {
			fprintf(to, "%s options:\n", type);
			for (const char *const *key = object_types[i].known; *key; key++)
				fprintf(to, "  %s\n", *key);
		}
	}
}

/* Names and values; what they mean is the machine's business. */
static int check_object(const struct object_type *type, struct options *options, struct error *err)
{
	static const char *const booleans[] = {"share", "prealloc", "merge", "dump", "hugetlb", "verify-peer",
	                                       "sanity-check", RAMBLOCK_ID};
	uint64_t size = 1;
	bool on;

	for (size_t i = 0; type->known[i]; i++)
		options_get(options, type->known[i]);
	if (options_check_used(options, type->name, type->known, err) < 0)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(booleans); i++)
		if (options_bool(options, booleans[i], &on, err) < 0)
			return -EINVAL;
	if (options_size(options, "size", &size, 1, err) < 0 || options_size(options, "hugetlbsize", &size, 1, err) < 0)
		return -EINVAL;
	if (strncmp(type->name, "memory-backend", 14) == 0 && !options_get(options, "size"))
		return error_set(err, EINVAL, "size= is missing");
	if (strcmp(type->name, "memory-backend-file") == 0 && !options_get(options, "mem-path"))
		return error_set(err, EINVAL, "mem-path= is missing");
	for (size_t i = 0; i < options->count; i++)
		options->items[i].used = false;
	return 0;
}

int list_object(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	char *name = pull(options, "qom-type"), *id = NULL;
	const struct object_type *type;
	int ret;

	if (name && is_help(name)) {
		free(name);
		return ask(parse, ASK_OBJECTS, NULL);
	}
	if (!name)
		return error_set(err, EINVAL, "which type? (-object help lists them)");
	type = object_type_find(name, err);
	if (type && options_get(options, "help")) {
		ret = ask(parse, ASK_OBJECT, name);
	} else if (!type) {
		ret = -EINVAL;
	} else {
		id = pull(options, "id");
		ret = id ? check_object(type, options, err) : error_set(err, EINVAL, "id= is missing");
		if (ret == 0)
			ret = add_item(&parse->config->objects, "object", name, id, options, err);
	}
	free(name);
	free(id);
	return ret;
}

int list_smbios(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	uint64_t type = 0;

	if (!options_get(options, "file")) {
		if (!options_get(options, "type"))
			return error_set(err, EINVAL, "expected type=N,... or file=path");
		if (options_u64(options, "type", &type, 127, err) < 0)
			return -EINVAL;
	}
	for (size_t i = 0; i < options->count; i++)
		options->items[i].used = false;
	config_list_add(&parse->config->smbios, NULL, NULL, options);
	return 0;
}

int list_fw_cfg(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"name", "file", "string", NULL};
	char *name = pull(options, "name");
	int ret = 0;

	if (!name || !*name)
		ret = error_set(err, EINVAL, "name= is missing");
	else if (strlen(name) > 55)
		ret = error_set(err, EINVAL, "name: at most 55 characters");
	else if (options_get(options, "gen_id"))
		ret = not_yet(err, "gen_id=");
	else if (!options_get(options, "file") == !options_get(options, "string"))
		ret = error_set(err, EINVAL, "expected one of file= and string=");
	else
		ret = options_check_used(options, "-fw_cfg", known, err);
	if (ret == 0) {
		for (size_t i = 0; i < options->count; i++)
			options->items[i].used = false;
		config_list_add(&parse->config->fw_cfg, name, NULL, options);
	}
	free(name);
	return ret;
}

/* The last -display counts; what -vnc adds stays beside it. */
static void choose_display(struct config_parse *parse, const char *type, struct options *options)
{
	struct domain_config *config = parse->config;
	struct config_list *list = &config->displays;

	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i].id)
			continue;
		free(list->items[i].type);
		options_free(&list->items[i].options);
		memmove(&list->items[i], &list->items[i + 1], (--list->count - i) * sizeof(list->items[0]));
		break;
	}
	set_string(&config->display, type);
	if (strcmp(type, "none"))
		config_list_add(list, type, NULL, options)->typed = typed_now(parse);
}

int word_display(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	static const char *const types[] = {"none", "curses", "vnc", NULL};
	static const char *const later[] = {"gtk", "sdl", "egl-headless", "spice-app", "dbus", "cocoa", NULL};
	char *type = strndup(value, strcspn(value, ",="));
	struct options options = {0};
	int ret = 0;

	parse->has_display = true;
	if (is_help(type)) {
		free(type);
		return ask(parse, ASK_DISPLAYS, NULL);
	}
	if (is_one_of(type, later))
		ret = error_set(err, ENOTSUP, "not supported yet; " KEY_DISPLAY_INSTEAD);
	else if (choose(type, types, "display", err) < 0)
		ret = -EINVAL;
	else
		ret = options_parse(&options, value, "type", err);
	free(pull(&options, "type"));
	if (ret == 0 && strcmp(type, "none") == 0 && options.count)
		ret = error_set(err, EINVAL, "'none' takes no parameters");
	if (ret == 0 && strcmp(type, "vnc") == 0 && !options_peek(&options, "vnc"))
		ret = error_set(err, EINVAL, "VNC needs an address: -display vnc=:0, as -vnc :0");
	if (ret == 0)
		choose_display(parse, type, &options);
	options_free(&options);
	free(type);
	return ret;
}

int word_curses(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	struct options options = {0};

	parse->has_display = true;
	choose_display(parse, "curses", &options);
	return 0;
}

/* Each -vnc is a server of its own; "default" and "vncN" are its ids in qemu as well. */
int list_vnc(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	struct domain_config *config = parse->config;
	char *given = pull(options, "id"), *id = NULL;

	for (unsigned n = 1; !id; n++) {
		id = given ? xstrdup(given) : n == 1 ? xstrdup("default") : xasprintf("vnc%u", n);
		if (!config_list_find(&config->displays, id))
			break;
		free(id);
		id = NULL;
		if (given)
			break;
	}
	if (!id) {
		error_set(err, EINVAL, "Duplicate ID '%s' for vnc", given);
		free(given);
		return -EINVAL;
	}
	for (size_t i = 0; i < options->count; i++)
		options->items[i].used = false;
	config_list_add(&config->displays, "vnc", id, options)->typed = typed_now(parse);
	parse->has_display = true;
	if (!config->display)
		set_string(&config->display, "vnc");
	free(given);
	free(id);
	return 0;
}

int word_vga(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	static const char *const types[] = {"none", "std", "cirrus", NULL};
	static const char *const later[] = {"vmware", "qxl", "virtio", "xenfb", "tcx", "cg3", NULL};

	if (is_help(value))
		return ask(parse, ASK_VGAS, NULL);
	if (is_one_of(value, later))
		return error_set(err, ENOTSUP, "not supported yet; -vga help lists what is");
	if (choose(value, types, "video card", err) < 0)
		return -EINVAL;
	set_string(&parse->config->vga, value);
	return 0;
}

int word_nographic(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	struct options options = {0};

	parse->config->no_graphic = true;
	choose_display(parse, "none", &options);
	return 0;
}

int word_log_items(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	uint32_t items = 0;

	if (is_help(value))
		return ask(parse, ASK_LOG_ITEMS, NULL);
	if (log_parse_items(value, &items, err) < 0)
		return -EINVAL;
	parse->config->log_items |= items;
	return 0;
}

int word_verbose(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	parse->config->log_items |= LOG_VERBOSE;
	return 0;
}

int word_trace(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	static const char *const known[] = {"enable", "events", "file", NULL};
	struct domain_config *config = parse->config;
	struct options options;
	const char *pattern;
	size_t count = 0;
	int ret = 0;

	if (is_help(value))
		return ask(parse, ASK_TRACE_EVENTS, NULL);
	if (options_parse(&options, value, "enable", err) < 0)
		return -EINVAL;
	pattern = options_get(&options, "enable");
	if (options_get(&options, "events"))
		ret = not_yet(err, "events=");
	else if (!pattern)
		ret = error_set(err, EINVAL, "a pattern is missing");
	else
		take_string(&options, "file", &config->log_path);
	if (ret == 0)
		ret = options_check_used(&options, "-trace", known, err);
	if (ret == 0) {
		while (config->trace_patterns && config->trace_patterns[count])
			count++;
		config->trace_patterns = xrealloc(config->trace_patterns, (count + 2) * sizeof(char *));
		config->trace_patterns[count] = xstrdup(pattern);
		config->trace_patterns[count + 1] = NULL;
		config->log_items |= LOG_TRACE;
	}
	options_free(&options);
	return ret;
}

/* The file is the item's type. */
int list_option_rom(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"romfile", "bootindex", NULL};
	char *file = pull(options, "romfile");
	uint64_t index = 0;
	int ret = file ? 0 : error_set(err, EINVAL, "Option ROM file is not specified");

	if (!ret)
		ret = options_u64(options, "bootindex", &index, INT32_MAX, err);
	if (!ret)
		ret = options_check_used(options, "-option-rom", known, err);
	if (!ret)
		config_list_add(&parse->config->option_roms, file, NULL, options);
	free(file);
	return ret;
}

int word_firmware_dir(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	struct domain_config *config = parse->config;
	size_t count = 0;

	if (is_help(value))
		return ask(parse, ASK_FIRMWARE_DIRS, NULL);
	while (config->firmware_dirs && config->firmware_dirs[count])
		count++;
	config->firmware_dirs = xrealloc(config->firmware_dirs, (count + 2) * sizeof(char *));
	config->firmware_dirs[count] = xstrdup(value);
	config->firmware_dirs[count + 1] = NULL;
	return 0;
}

int list_msg(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"timestamp", "guest-name", NULL};
	struct domain_config *config = parse->config;

	if (take_bool(options, "timestamp", &config->msg_timestamp, err) < 0 ||
	    take_bool(options, "guest-name", &config->msg_guest_name, err) < 0)
		return -EINVAL;
	return options_check_used(options, "-msg", known, err);
}

int list_overcommit(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"mem-lock", "cpu-pm", NULL};
	bool lock = false, pm = false;

	if (take_bool(options, "mem-lock", &lock, err) < 0 || take_bool(options, "cpu-pm", &pm, err) < 0)
		return -EINVAL;
	if (lock || pm)
		return not_yet(err, lock ? "mem-lock=on" : "cpu-pm=on");
	return options_check_used(options, "-overcommit", known, err);
}

int word_help(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return ask(parse, ASK_HELP, NULL);
}

int word_version(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return ask(parse, ASK_VERSION, NULL);
}
