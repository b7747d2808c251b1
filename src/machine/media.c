/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Media of drives: trays opened and closed by hand, media put in and taken out, and the event that tells of trays
 * whoever moved them.
 */
#include "machine/media.h"

#include "backend/block/block.h"
#include "base/util.h"
#include "config/domain.h"
#include "core/device.h"
#include "machine/internal.h"

#include <jansson.h>
#include <stdlib.h>

/* A virtio device is behind its transport. */
char *machine_device_path(const struct machine *machine, const struct device *device)
{
	const char *inner = strncmp(device->class->name, "virtio-", 7) ? "" : "/virtio-backend";
	unsigned index = 0;

	if (device->id)
		return xasprintf("/machine/peripheral/%s%s", device->id, inner);
	for (const struct device *d = machine->devices; d && d != device; d = d->next)
		index += !d->id && !d->class->internal;
	return xasprintf("/machine/peripheral-anon/device[%u]%s", index, inner);
}

/* Who is not behind a transport goes by its id. */
char *machine_disk_name(const struct machine *machine, const struct device *device)
{
	return device->id && strncmp(device->class->name, "virtio-", 7) ? xstrdup(device->id)
									: machine_device_path(machine, device);
}

static bool has_id(const struct machine *machine, const struct device *device, const char *id)
{
	char *path = machine_device_path(machine, device);
	bool same = !strcmp(path, id) || (device->id && !strcmp(device->id, id));

	free(path);
	return same;
}

struct device *media_find(struct machine *machine, const char *drive, const char *id, struct error *err)
{
	const char *name = drive ? drive : id;

	for (struct device *device = machine->devices; device; device = device->next) {
		const char *its = machine_device_drive(machine, device);

		if (drive ? !its || strcmp(its, drive) : !has_id(machine, device, id))
			continue;
		if (device->class->medium)
			return device;
		error_set(err, EINVAL, "Device '%s' is not removable", name);
		return NULL;
	}
	error_set(err, ENODEV, "Device '%s' not found", name);
	return NULL;
}

/* --- trays --- */

static void tell_tray(struct machine *machine, const struct device *device)
{
	const char *drive = machine_device_drive(machine, device);
	char *path = machine_disk_name(machine, device), *text;
	struct device_medium medium;
	json_t *data;

	device->class->medium->get(device, &medium);
	data = json_pack("{s:s,s:b,s:s}", "device", drive ? drive : "", "tray-open", medium.tray_open, "id", path);
	text = data ? json_dumps(data, 0) : NULL;
	if (text)
		machine_emit(machine, "DEVICE_TRAY_MOVED", text);
	free(text);
	json_decref(data);
	free(path);
}

void machine_tell_trays(struct machine *machine)
{
	for (struct device *device = machine->devices; device; device = device->next) {
		const struct device_medium_ops *ops = device->class->medium;

		if (ops && ops->moved && ops->moved(device))
			tell_tray(machine, device);
	}
}

static void move_tray(struct machine *machine, struct device *device, bool open)
{
	struct device_medium medium;

	device->class->medium->get(device, &medium);
	if (!medium.has_tray || medium.tray_open == open)
		return;
	device->class->medium->move_tray(device, open);
	tell_tray(machine, device);
}

int media_open_tray(struct machine *machine, struct device *device, const char *name, bool force, struct error *err)
{
	const struct device_medium_ops *ops = device->class->medium;
	struct device_medium medium;

	ops->get(device, &medium);
	if (!medium.has_tray || medium.tray_open)
		return 0;
	if (medium.locked && ops->ask_eject)
		ops->ask_eject(device);
	if (medium.locked && !force)
		return error_set(
			err, EINPROGRESS,
			"Device '%s' is locked and force was not specified, wait for tray to open and try again", name);
	move_tray(machine, device, true);
	return 0;
}

void media_close_tray(struct machine *machine, struct device *device)
{
	move_tray(machine, device, false);
}

/* --- media --- */

static int must_be_open(const struct device_medium *medium, const char *name, struct error *err)
{
	if (medium->has_tray && !medium->tray_open)
		return error_set(err, EINVAL, "Tray of device '%s' is not open", name);
	return 0;
}

int media_remove(struct machine *machine, struct device *device, const char *name, struct error *err)
{
	struct device_medium medium;

	device->class->medium->get(device, &medium);
	if (must_be_open(&medium, name, err) < 0)
		return -EINVAL;
	return medium.block ? backends_set_medium(machine, device, NULL, err) : 0;
}

int media_insert(struct machine *machine, struct device *device, const char *name, struct block *block,
		 struct error *err)
{
	struct device_medium medium;

	device->class->medium->get(device, &medium);
	if (backends_in_use(machine, block))
		return error_set(err, EBUSY, "Node '%s' is already in use", block->node_name);
	if (must_be_open(&medium, name, err) < 0)
		return -EINVAL;
	if (medium.block)
		return error_set(err, EINVAL, "There already is a medium in device '%s'", name);
	return backends_set_medium(machine, device, block, err);
}

static const struct drive_config *drive_of(const struct machine *machine, const struct device *device)
{
	const char *id = machine_device_drive(machine, device);

	for (size_t i = 0; id && i < machine->config->drive_count; i++)
		if (!strcmp(machine->config->drives[i].id, id))
			return &machine->config->drives[i];
	return NULL;
}

/* With the settings of the -drive, as far as there was one. */
static struct block *open_medium(struct machine *machine, const struct device *device, const char *filename,
				 const char *format, const char *mode, struct error *err)
{
	const struct drive_config *drive = drive_of(machine, device);
	struct block_open how = {.read_only = drive && drive->read_only, .auto_read_only = true, .log = machine->log};
	struct device_medium medium;

	device->class->medium->get(device, &medium);
	if (drive) {
		how.no_cache = drive->cache_direct;
		how.no_flush = drive->cache_no_flush;
		how.discard = drive->discard_unmap;
		how.aio = drive->aio;
	}
	if (medium.block && !strcmp(mode, "retain"))
		how.read_only |= medium.block->read_only;
	else if (strcmp(mode, "retain"))
		how.read_only = !strcmp(mode, "read-only");
	/* Nothing writes to a disc. */
	how.read_only |= medium.has_tray;
	return block_open_file(machine->blocks, filename, format, &how, err);
}

int media_change(struct machine *machine, struct device *device, const char *name, const char *filename,
		 const char *format, const char *mode, bool force, struct error *err)
{
	struct block *block = open_medium(machine, device, filename, format, mode, err);
	int ret;

	if (!block)
		return -EINVAL;
	ret = media_open_tray(machine, device, name, force, err);
	if (!ret)
		ret = media_remove(machine, device, name, err);
	if (!ret)
		ret = media_insert(machine, device, name, block, err);
	if (!ret)
		media_close_tray(machine, device);
	/* A drive that -drive made holds it; else it stays open for good, as what -blockdev opened does. */
	if (ret || machine_device_drive(machine, device))
		block_unref(block);
	return ret;
}
