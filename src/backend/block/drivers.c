/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of block drivers, and recognition of formats by their first bytes. */
#include "backend/block/internal.h"
#include "backend/block/module.h"
#include "backend/block/qcow2.h"
#include "backend/block/vhdx.h"
#include "backend/block/vmdk.h"

const struct block_driver *const block_drivers[] = {
	&block_file_driver,     &block_host_device_driver,
	&block_null_driver,     &block_raw_driver,
	&block_qcow2_driver,    &block_vmdk_driver,
	&block_vhdx_driver,     &block_luks_driver,
	&block_vdi_driver,
	&block_copy_on_read_driver,
	&block_throttle_driver, NULL,
};

/* Drivers in loadable modules. */
static const struct {
	const char *driver, *module;
} loadable[] = {
	{"nbd", "nbd"},
};

static const struct {
	const char *scheme, *driver;
} schemes[] = {
	{"nbd", "nbd"}, {"nbd+tcp", "nbd"}, {"nbd+unix", "nbd"}, {"nbds", "nbd"}, {"nbds+unix", "nbd"},
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

const struct block_driver *block_driver_find(const char *name)
{
	for (size_t i = 0; block_drivers[i]; i++)
		if (!strcmp(block_drivers[i]->name, name))
			return block_drivers[i];
	return NULL;
}

const struct block_driver *block_driver_load(const char *name, struct error *err)
{
	const struct block_driver *driver = block_driver_find(name);
	const char *names[ARRAY_SIZE(block_drivers) + ARRAY_SIZE(loadable)] = {0}, *near;
	size_t count = 0;

	if (driver)
		return driver;
	for (size_t i = 0; i < ARRAY_SIZE(loadable); i++) {
		if (!strcmp(loadable[i].driver, name))
			return load_driver(name, loadable[i].module, err);
		names[count++] = loadable[i].driver;
	}
	for (size_t i = 0; block_drivers[i]; i++)
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

static const struct {
	const char *format;
	const char *magic;
	uint8_t length, offset;
} foreign[] = {
	{"qcow2", "QFI\xfb\0\0\0", 7, 0}, /* versions 1 to 3 */
	{"qed", "QED\0", 4, 0},
	{"vmdk", "# Disk DescriptorFile", 21, 0},
	{"vpc", "conectix", 8, 0},
	{"luks", "LUKS\xba\xbe", 6, 0},
	{"parallels", "WithoutFreeSpace", 16, 0},
	{"parallels", "WithouFreSpacExt", 16, 0},
	{"bochs", "Bochs Virtual HD Image", 22, 0},
	{"cloop", "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=", 42, 0},
};

const char *block_probe_foreign(const uint8_t *head, size_t length)
{
	for (size_t i = 0; block_drivers[i]; i++)
		if (block_drivers[i]->probe && block_drivers[i] != &block_raw_driver &&
		    block_drivers[i]->probe(head, length, "") > 0)
			return block_drivers[i]->name;
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
		if (range_inside(foreign[i].offset, foreign[i].length, length) &&
		    !memcmp(head + foreign[i].offset, foreign[i].magic, foreign[i].length))
			return foreign[i].format;
	return NULL;
}
