/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which drivers and URI schemes lie in which loadable module. */
#include "backend/block/module.h"

#include "backend/block/internal.h"

static const struct {
	const char *driver, *module;
} loadable[] = {
	{"nbd", "nbd"},   {"http", "curl"},   {"https", "curl"},      {"ftp", "curl"},
	{"ftps", "curl"}, {"iscsi", "iscsi"}, {"gluster", "gluster"}, {"rbd", "rbd"},
};

static const struct {
	const char *scheme, *driver;
} schemes[] = {
	{"nbd", "nbd"},
	{"nbd+tcp", "nbd"},
	{"nbd+unix", "nbd"},
	{"nbds", "nbd"},
	{"nbds+unix", "nbd"},
	{"http", "http"},
	{"https", "https"},
	{"ftp", "ftp"},
	{"ftps", "ftps"},
	{"iscsi", "iscsi"},
	{"gluster", "gluster"},
	{"gluster+tcp", "gluster"},
	{"gluster+unix", "gluster"},
	{"rbd", "rbd"},
	{"null-co", "null-co"},
};

static const struct block_driver *load_driver(const char *name, const char *module, struct error *err)
{
	const struct block_driver *const *drivers = module_load("block", module, BLOCK_MODULE_ABI, err);

	if (!drivers) {
		error_prefix(err, "block driver '%s'", name);
		return NULL;
	}
	for (; *drivers; drivers++)
		if (!strcmp((*drivers)->name, name))
			return *drivers;
	error_set(err, ENOENT, "block driver '%s' is not in its module", name);
	return NULL;
}

const struct block_driver *block_driver_load(const char *name, struct error *err)
{
	const struct block_driver *driver = block_driver_find(name);
	const char *names[64] = {0}, *near;
	size_t count = 0;

	if (driver)
		return driver;
	for (size_t i = 0; i < ARRAY_SIZE(loadable); i++) {
		if (!strcmp(loadable[i].driver, name))
			return load_driver(name, loadable[i].module, err);
		names[count++] = loadable[i].driver;
	}
	for (size_t i = 0; block_drivers[i] && count < ARRAY_SIZE(names) - 1; i++)
		names[count++] = block_drivers[i]->name;
	near = nearest_word(name, names);
	error_set(err, EINVAL, "unknown block driver '%s'%s%s%s", name, near ? "; did you mean '" : "",
		  near ? near : "", near ? "'?" : "");
	return NULL;
}

const char *block_scheme_driver(const char *scheme, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
		if (strlen(schemes[i].scheme) == length && !strncmp(schemes[i].scheme, scheme, length))
			return schemes[i].driver;
	return NULL;
}
