/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life of a device: allocation, properties from text, attachment to its bus, reset and destruction (core/device.h). */
#include "core/device.h"

#include "base/util.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

static const struct device_bus_ops *bus_ops(const struct device_env *env, const struct device_class *class)
{
	return env ? env->bus_ops[class->bus] : NULL;
}

static const struct property *find_in(const struct property *list, const char *name)
{
	for (; list && list->name; list++)
		if (!strcmp(list->name, name))
			return list;
	return NULL;
}

static const struct property *find_property(const struct device *device, const char *name)
{
	const struct property *property = find_in(device->class->properties, name);
	const struct device_bus_ops *ops = bus_ops(device->env, device->class);

	return property || !ops ? property : find_in(ops->properties, name);
}

const struct property *device_property_at(const struct device_class *class, const struct device_bus_ops *ops,
					  size_t index)
{
	size_t at = 0;

	for (const struct property *p = class->properties; p && p->name; p++)
		if (at++ == index)
			return p;
	for (const struct property *p = ops ? ops->properties : NULL; p && p->name; p++)
		if (!find_in(class->properties, p->name) && at++ == index)
			return p;
	return NULL;
}

const char *property_type_name(enum property_type type)
{
	static const char *const names[] = {
		[PROPERTY_BOOL] = "bool",  [PROPERTY_U8] = "uint8",   [PROPERTY_U16] = "uint16",
		[PROPERTY_U32] = "uint32", [PROPERTY_I32] = "int32",  [PROPERTY_U64] = "uint64",
		[PROPERTY_SIZE] = "size",  [PROPERTY_STRING] = "str", [PROPERTY_ONOFFAUTO] = "OnOffAuto",
		[PROPERTY_MAC] = "str",    [PROPERTY_BLOCK] = "str",  [PROPERTY_MEDIUM] = "str",
		[PROPERTY_NET] = "str",    [PROPERTY_CHAR] = "str",   [PROPERTY_OBJECT] = "link<object>",
	};

	return names[type];
}

/* The parser's message does not name what it was given. */
static int named(int rc, const char *text, struct error *err)
{
	return rc < 0 ? error_prefix(err, "'%.100s'", text) : rc;
}

static int parse_number(const struct property *property, const char *text, uint64_t type_max, uint64_t *value,
			struct error *err)
{
	return named(parse_u64(text, property->max ? property->max : type_max, value, err), text, err);
}

static int parse_i32(const char *text, int32_t *value, struct error *err)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 0);
	if (end == text || *end || errno || number < INT32_MIN || number > INT32_MAX)
		return error_set(err, EINVAL, "'%s' is not a number between %d and %d", text, INT32_MIN, INT32_MAX);
	*value = (int32_t)number;
	return 0;
}

static int parse_on_off_auto(const char *text, int *value, struct error *err)
{
	bool on;

	if (!strcmp(text, "auto")) {
		*value = -1;
		return 0;
	}
	if (parse_bool(text, &on, NULL) < 0)
		return error_set(err, EINVAL, "'%s' is none of on, off, auto", text);
	*value = on;
	return 0;
}

static int parse_mac(const char *text, uint8_t mac[6], struct error *err)
{
	uint8_t parsed[6];
	const char *p = text;

	for (unsigned i = 0; i < 6; i++) {
		if (i > 0 && *p != ':' && *p != '-')
			goto bad;
		p += i > 0;
		if (!isxdigit((unsigned char)p[0]) || !isxdigit((unsigned char)p[1]))
			goto bad;
		parsed[i] = (uint8_t)strtoul((char[]){p[0], p[1], 0}, NULL, 16);
		p += 2;
	}
	if (*p)
		goto bad;
	memcpy(mac, parsed, 6);
	return 0;
bad:
	return error_set(err, EINVAL, "'%s' is not a MAC address (six hexadecimal bytes, 52:54:00:12:34:56)", text);
}

static int find_backend(struct device *device, const struct property *property, const char *id, void **result,
			struct error *err)
{
	const struct backend_lookup *lookup = &device->env->backends;
	void *backend;

	if (!lookup->find)
		return error_set(err, ENODEV, "this board has no back end '%s'", id);
	backend = lookup->find(lookup->opaque, property->type, id, device, err);
	if (!backend && property->type == PROPERTY_MEDIUM && err->code == ENOMEDIUM) {
		*err = (struct error){0};
		*result = NULL;
		return 0;
	}
	if (!backend)
		return err && err->code ? -err->code : -ENODEV;
	*result = backend;
	return 0;
}

static int assign(struct device *device, const struct property *property, const char *text, struct error *err)
{
	void *at = (char *)device + property->offset;
	uint64_t number;
	int rc;

	switch (property->type) {
	case PROPERTY_BOOL:
		return named(parse_bool(text, at, err), text, err);
	case PROPERTY_U8:
		rc = parse_number(property, text, UINT8_MAX, &number, err);
		if (!rc)
			*(uint8_t *)at = (uint8_t)number;
		return rc;
	case PROPERTY_U16:
		rc = parse_number(property, text, UINT16_MAX, &number, err);
		if (!rc)
			*(uint16_t *)at = (uint16_t)number;
		return rc;
	case PROPERTY_U32:
		rc = parse_number(property, text, UINT32_MAX, &number, err);
		if (!rc)
			*(uint32_t *)at = (uint32_t)number;
		return rc;
	case PROPERTY_U64:
		return parse_number(property, text, UINT64_MAX, at, err);
	case PROPERTY_I32:
		return parse_i32(text, at, err);
	case PROPERTY_SIZE:
		rc = named(parse_size(text, 1, &number, err), text, err);
		if (!rc && property->max && number > property->max)
			return error_set(err, ERANGE, "'%s' is more than %llu bytes", text,
					 (unsigned long long)property->max);
		if (!rc)
			*(uint64_t *)at = number;
		return rc;
	case PROPERTY_STRING:
		free(*(char **)at);
		*(char **)at = xstrdup(text);
		return 0;
	case PROPERTY_ONOFFAUTO:
		return parse_on_off_auto(text, at, err);
	case PROPERTY_MAC:
		return parse_mac(text, at, err);
	case PROPERTY_BLOCK:
	case PROPERTY_MEDIUM:
	case PROPERTY_NET:
	case PROPERTY_CHAR:
	case PROPERTY_OBJECT:
		return find_backend(device, property, text, at, err);
	}
	return error_set(err, EINVAL, "property of unknown type");
}

int device_set_property(struct device *device, const char *name, const char *value, struct error *err)
{
	const struct property *property = find_property(device, name);
	struct error local = {0};
	int rc;

	if (!property)
		return error_set(err, ENOENT, "%s has no property '%s'", device->class->name, name);
	/* The back-end look-up needs to hand its code on even when the caller wants no text. */
	rc = assign(device, property, value, &local);
	if (rc < 0) {
		if (err)
			*err = local;
		return error_prefix(err, "%s.%s", device->class->name, name);
	}
	return 0;
}

static void assign_fallbacks(struct device *device, const struct property *list)
{
	for (; list && list->name; list++) {
		int rc = list->fallback ? assign(device, list, list->fallback, NULL) : 0;

		assert(rc == 0); /* a table with a default that does not parse */
		(void)rc;
	}
}

struct device *device_alloc(const struct device_class *class, const struct device_env *env)
{
	const struct device_bus_ops *ops = bus_ops(env, class);
	struct device *device;

	assert(class->size >= sizeof(struct device));
	device = xcalloc(1, class->size);
	device->class = class;
	device->env = env;
	device->bootindex = -1;
	if (ops)
		assign_fallbacks(device, ops->properties);
	assign_fallbacks(device, class->properties);
	return device;
}

static void free_strings(struct device *device, const struct property *list)
{
	for (; list && list->name; list++) {
		char **at = (char **)((char *)device + list->offset);

		if (list->type != PROPERTY_STRING)
			continue;
		free(*at);
		*at = NULL; /* a class may have a default of its own for a property of its bus */
	}
}

static void release(struct device *device)
{
	const struct device_env *env = device->env;
	const struct device_bus_ops *ops = bus_ops(env, device->class);

	if (env && env->backends.release)
		env->backends.release(env->backends.opaque, device);
	free_strings(device, device->class->properties);
	if (ops)
		free_strings(device, ops->properties);
	free(device->id);
	free(device->bus_name);
	free(device);
}

/* Where nobody looks after the bus there is one of each kind, with qemu's name. */
static int check_bus_name(const struct device *device, struct error *err)
{
	static const char *const only_bus[DEVICE_BUS_KINDS] = {[DEVICE_ISA] = "isa.0"};
	const char *only = only_bus[device->class->bus];

	if (!device->bus_name || bus_ops(device->env, device->class))
		return 0;
	if (only && !strcmp(device->bus_name, only))
		return 0;
	if (only)
		return error_set(err, ENODEV, "%s: there is no bus '%s' for it; its bus is '%s'", device->class->name,
				 device->bus_name, only);
	return error_set(err, ENODEV, "%s: there is no bus '%s' for it", device->class->name, device->bus_name);
}

int device_realize(struct device *device, struct error *err)
{
	const struct device_bus_ops *ops = bus_ops(device->env, device->class);
	int rc = check_bus_name(device, err);

	if (rc == 0 && ops && ops->attach)
		rc = ops->attach(device, err);
	if (rc == 0 && device->class->init) {
		rc = device->class->init(device, err);
		if (rc < 0 && ops && ops->detach)
			ops->detach(device);
	}
	if (rc < 0)
		release(device);
	return rc < 0 ? rc : 0;
}

static bool global_is_for(const struct device_class *class, const char *key, const char **property)
{
	const char *names[] = {class->name, class->alias};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		size_t length = names[i] ? strlen(names[i]) : 0;

		if (length && !strncmp(key, names[i], length) && key[length] == '.') {
			*property = key + length + 1;
			return true;
		}
	}
	return false;
}

static int apply_globals(struct device *device, struct options *globals, struct error *err)
{
	for (size_t i = 0; globals && i < globals->count; i++) {
		struct option *option = &globals->items[i];
		const char *property;
		int rc;

		if (!global_is_for(device->class, option->key, &property))
			continue;
		option->used = true;
		rc = device_set_property(device, property, option->value, err);
		if (rc < 0)
			return error_prefix(err, "-global");
	}
	return 0;
}

static int check_all_used(const struct device *device, const struct options *options, struct error *err)
{
	const struct device_bus_ops *ops = bus_ops(device->env, device->class);
	size_t count = 0;
	const char **known;
	int rc;

	while (device_property_at(device->class, ops, count))
		count++;
	known = xcalloc(count + 3, sizeof(*known));
	for (size_t i = 0; i < count; i++)
		known[i] = device_property_at(device->class, ops, i)->name;
	known[count++] = "id";
	known[count] = "bus";
	rc = options_check_used(options, device->class->name, known, err);
	free(known);
	return rc;
}

static int apply_options(struct device *device, struct options *options, struct error *err)
{
	for (size_t i = 0; i < options->count; i++) {
		struct option *option = &options->items[i];
		bool is_id = !strcmp(option->key, "id"), is_bus = !strcmp(option->key, "bus");
		int rc;

		if (is_id || (is_bus && !find_property(device, "bus"))) {
			char **at = is_id ? &device->id : &device->bus_name;

			free(*at);
			*at = xstrdup(option->value);
			option->used = true;
		} else if (find_property(device, option->key)) {
			option->used = true;
			rc = device_set_property(device, option->key, option->value, err);
			if (rc < 0)
				return rc;
		}
	}
	return check_all_used(device, options, err);
}

struct device *device_create(const struct device_class *class, const struct device_env *env, struct options *options,
			     struct options *globals, struct error *err)
{
	struct device *device = device_alloc(class, env);

	if (apply_globals(device, globals, err) < 0 || (options && apply_options(device, options, err) < 0)) {
		release(device);
		return NULL;
	}
	return device_realize(device, err) < 0 ? NULL : device;
}

void device_destroy(struct device *device)
{
	const struct device_bus_ops *ops;

	if (!device)
		return;
	ops = bus_ops(device->env, device->class);
	if (device->class->fini)
		device->class->fini(device);
	if (ops && ops->detach)
		ops->detach(device);
	release(device);
}

void device_reset(struct device *device)
{
	const struct device_bus_ops *ops = bus_ops(device->env, device->class);

	if (ops && ops->reset)
		ops->reset(device);
	if (device->class->reset)
		device->class->reset(device);
}

const struct device_class *device_class_find(const struct device_class *const *classes, const char *name)
{
	for (; *classes; classes++)
		if (!strcmp((*classes)->name, name) || ((*classes)->alias && !strcmp((*classes)->alias, name)))
			return *classes;
	return NULL;
}
