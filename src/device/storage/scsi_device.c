/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The units that -device offers on a SCSI bus: scsi-hd and scsi-cd. Their place, properties, life and saved state. */
#include "device/storage/scsi_bus.h"

#include "base/util.h"
#include "core/state.h"

#include <stdio.h>
#include <stdlib.h>

enum { NOWHERE = 0xffffffff, CD_BLOCK_BYTES = 2048, SERIAL_MAX = 36 };

/* --- the bus --- */

void scsi_bus_add(struct scsi_bus_list *list, struct scsi_bus *bus, struct device *adapter)
{
	struct scsi_bus **at = &list->first;

	bus->adapter = adapter;
	bus->name = adapter->id ? xasprintf("%s.0", adapter->id) : xasprintf("scsi.%u", list->automatic++);
	bus->next = NULL;
	while (*at)
		at = &(*at)->next;
	*at = bus;
}

void scsi_bus_remove(struct scsi_bus_list *list, struct scsi_bus *bus)
{
	for (struct scsi_bus **at = &list->first; *at; at = &(*at)->next) {
		if (*at == bus) {
			*at = bus->next;
			break;
		}
	}
	free(bus->name);
	bus->name = NULL;
}

struct scsi_device *scsi_bus_find(struct scsi_bus *bus, unsigned target, unsigned lun)
{
	struct scsi_device *other = NULL;

	for (struct scsi_device *device = bus->devices; device; device = device->next) {
		if (device->target != target)
			continue;
		if (device->lun == lun)
			return device;
		other = device;
	}
	return other;
}

void scsi_bus_report_luns(struct scsi_bus *bus, unsigned target, struct scsi_request *request)
{
	uint32_t allocation = load_be32(request->cdb + 6), at = 8;

	if (allocation < 16) {
		scsi_fail(request, SCSI_INVALID_FIELD);
		return;
	}
	memset(request->data, 0, sizeof(request->data));
	for (const struct scsi_device *device = bus->devices; device && at + 8 <= SCSI_DATA_BYTES;
	     device = device->next) {
		if (device->target != target)
			continue;
		/* Single level: peripheral addressing below 256, else flat. */
		store_be16(request->data + at, (uint16_t)(device->lun < 256 ? device->lun : device->lun | 0x4000));
		at += 8;
	}
	store_be32(request->data, at - 8);
	scsi_reply(request, at, allocation);
}

static void insert(struct scsi_bus *bus, struct scsi_device *device)
{
	struct scsi_device **at = &bus->devices;

	while (*at && ((*at)->target < device->target || ((*at)->target == device->target && (*at)->lun < device->lun)))
		at = &(*at)->next;
	device->next = *at;
	*at = device;
}

static bool taken(struct scsi_bus *bus, uint32_t target, uint32_t lun)
{
	const struct scsi_device *device = scsi_bus_find(bus, target, lun);

	return device && device->lun == lun;
}

static int place(struct scsi_device *device, struct scsi_bus *bus, struct error *err)
{
	uint32_t *target = &device->target, *lun = &device->lun;
	bool any_lun = *lun == NOWHERE;

	if (any_lun)
		*lun = 0;
	if (*target == NOWHERE)
		for (*target = 0; *target <= bus->max_target && taken(bus, *target, *lun);)
			++*target;
	else if (any_lun)
		while (*lun <= bus->max_lun && taken(bus, *target, *lun))
			++*lun;
	if (device->channel)
		return error_set(err, EINVAL, "bad scsi channel id: %u", device->channel);
	if (*target > bus->max_target)
		return error_set(err, EINVAL, "bad scsi device id: %u", *target);
	if (*lun > bus->max_lun)
		return error_set(err, EINVAL, "bad scsi device lun: %u", *lun);
	if (taken(bus, *target, *lun))
		return error_set(err, EBUSY, "lun already used by '%s'",
				 scsi_bus_find(bus, *target, *lun)->device.id
					 ? scsi_bus_find(bus, *target, *lun)->device.id
					 : "");
	return 0;
}

static int attach(struct device *device, struct error *err)
{
	struct scsi_bus_list *list = device->env->scsi_buses;
	struct scsi_bus *bus = list ? list->first : NULL;

	while (bus && device->bus_name && strcmp(bus->name, device->bus_name))
		bus = bus->next;
	if (!bus && device->bus_name)
		return error_set(err, ENODEV, "%s: Bus '%s' not found", device->class->name, device->bus_name);
	if (!bus)
		return error_set(err, ENODEV, "No 'SCSI' bus found for device '%s'", device->class->name);
	((struct scsi_device *)device)->bus = bus;
	device->parent = bus->adapter;
	device->parent_bus = bus->name;
	return place((struct scsi_device *)device, bus, err);
}

static char *boot_path(const struct device *device)
{
	const struct scsi_device *scsi = (const struct scsi_device *)device;
	char *adapter = device->env->bus_ops[DEVICE_PCI]->boot_path(scsi->bus->adapter), *path;

	path = xasprintf("%s/channel@0", adapter);
	free(adapter);
	return path;
}

const struct device_bus_ops scsi_bus_ops = {.attach = attach, .boot_path = boot_path};

/* --- life --- */

static void with_io_stopped(void *device, void (*fn)(void *opaque), void *opaque)
{
	disk_drain(&((struct scsi_device *)device)->disk);
	fn(opaque);
}

static void resized(void *opaque)
{
	struct scsi_device *device = opaque;

	device->unit.attention = (struct scsi_sense){SCSI_UNIT_ATTENTION, 0x2a, 9};
	if (device->bus->resized)
		device->bus->resized(device->bus, device);
}

static const struct block_device_ops block_ops = {.with_io_stopped = with_io_stopped, .resized = resized};

static void init_unit(struct scsi_device *device, bool cd)
{
	struct scsi_unit *unit = &device->unit;
	const char *product = device->product ? device->product : cd ? "QEMU CD-ROM" : "QEMU HARDDISK";

	*unit = (struct scsi_unit){.disk = &device->disk,
				   .cd = cd,
				   .removable = cd || device->removable,
				   .serial = device->config.serial,
				   .device_id = device->device_id,
				   .block_bytes = cd ? CD_BLOCK_BYTES : device->config.logical_block_size,
				   .physical_bytes = device->config.physical_block_size,
				   .min_io_bytes = device->config.min_io_size,
				   .opt_io_bytes = device->config.opt_io_size,
				   .wwn = device->wwn,
				   .rotation_rate = device->rotation_rate,
				   .dpofua = device->dpofua,
				   .discard = !cd && device->config.discard_granularity != 0,
				   .max_unmap_bytes = device->max_unmap_size,
				   .max_io_bytes = device->max_io_size,
				   .write_cache = device->config.write_cache != 0};
	snprintf(unit->vendor, sizeof(unit->vendor), "%.8s", device->vendor ? device->vendor : "QEMU");
	snprintf(unit->product, sizeof(unit->product), "%.16s", product);
	snprintf(unit->revision, sizeof(unit->revision), "%.4s", device->version ? device->version : "2.5+");
}

static int init(struct scsi_device *device, bool cd, struct error *err)
{
	int rc;

	if (device->config.serial && strlen(device->config.serial) > SERIAL_MAX)
		return error_set(err, EINVAL, "serial=%s: longer than %u characters", device->config.serial,
				 SERIAL_MAX);
	rc = disk_open(&device->disk, device->device.env, &device->config, cd ? CD_BLOCK_BYTES : DISK_SECTOR_BYTES,
		       err);
	if (rc < 0)
		return rc;
	init_unit(device, cd);
	snprintf(device->boot_name, sizeof(device->boot_name), "/disk@%x,%x", device->target, device->lun);
	device->device.boot_name = device->boot_name;
	if (device->disk.block)
		block_attach_device(device->disk.block, &block_ops, device);
	insert(device->bus, device);
	return 0;
}

static int init_disk(struct device *device, struct error *err)
{
	struct scsi_device *scsi = (struct scsi_device *)device;

	return scsi->config.block ? init(scsi, false, err) : error_set(err, EINVAL, "drive property not set");
}

static int init_cd(struct device *device, struct error *err)
{
	return init((struct scsi_device *)device, true, err);
}

static void reset(struct device *device)
{
	struct scsi_device *scsi = (struct scsi_device *)device;

	disk_drain(&scsi->disk);
	scsi->unit.write_cache = scsi->config.write_cache != 0;
	scsi_reset(&scsi->unit);
}

static void fini(struct device *device)
{
	struct scsi_device *scsi = (struct scsi_device *)device;

	for (struct scsi_device **at = &scsi->bus->devices; *at; at = &(*at)->next) {
		if (*at == scsi) {
			*at = scsi->next;
			break;
		}
	}
	if (scsi->disk.block)
		block_attach_device(scsi->disk.block, NULL, NULL);
	disk_close(&scsi->disk);
}

/* --- media --- */

static void medium_get(const struct device *device, struct device_medium *medium)
{
	const struct scsi_device *scsi = (const struct scsi_device *)device;

	*medium = (struct device_medium){scsi->disk.block, true, scsi->unit.tray_open, scsi->unit.locked};
}

static void medium_move_tray(struct device *device, bool open)
{
	scsi_move_tray(&((struct scsi_device *)device)->unit, open);
}

static int medium_set(struct device *device, struct block *block, struct error *err)
{
	struct scsi_device *scsi = (struct scsi_device *)device;
	struct block *old = scsi->disk.block;
	int rc;

	disk_drain(&scsi->disk);
	rc = disk_set_medium(&scsi->disk, block, err);
	if (rc < 0)
		return rc;
	if (!scsi->unit.tray_open)
		scsi_medium_changed(&scsi->unit);
	if (old)
		block_attach_device(old, NULL, NULL);
	if (block)
		block_attach_device(block, &block_ops, scsi);
	return 0;
}

static void medium_ask_eject(struct device *device)
{
	((struct scsi_device *)device)->unit.eject_wanted = true;
}

static bool medium_moved(struct device *device)
{
	return __atomic_exchange_n(&((struct scsi_device *)device)->unit.moved_by_guest, false, __ATOMIC_ACQUIRE);
}

static const struct device_medium_ops medium_ops = {.get = medium_get,
						    .move_tray = medium_move_tray,
						    .set = medium_set,
						    .ask_eject = medium_ask_eject,
						    .moved = medium_moved};

/* --- classes --- */

static const struct state_field fields[] = {STATE_SUB(scsi_unit_state, struct scsi_device, unit, 1), STATE_END};
static const struct state_table state = {
	.name = "scsi-device", .version = 1, .size = sizeof(struct scsi_device), .fields = fields};

#define SCSI_PROPERTY(NAME, KIND, MEMBER, FALLBACK, HELP)                                                              \
	DISK_PROPERTY(struct scsi_device, NAME, KIND, MEMBER, FALLBACK, HELP)
#define COMMON_PROPERTIES                                                                                              \
	SCSI_PROPERTY("channel", PROPERTY_U32, channel, "0", "only 0"),                                                \
		SCSI_PROPERTY("scsi-id", PROPERTY_U32, target, "4294967295", "target; default: the next free"),        \
		SCSI_PROPERTY("lun", PROPERTY_U32, lun, "4294967295", "logical unit number; default: the next free"),  \
		SCSI_PROPERTY("vendor", PROPERTY_STRING, vendor, NULL, "as INQUIRY gives it (8 characters)"),          \
		SCSI_PROPERTY("product", PROPERTY_STRING, product, NULL, "likewise (16 characters)"),                  \
		SCSI_PROPERTY("ver", PROPERTY_STRING, version, NULL, "likewise (4 characters)"),                       \
		SCSI_PROPERTY("device_id", PROPERTY_STRING, device_id, NULL,                                           \
			      "identification in page 0x83; default: the serial"),                                     \
		SCSI_PROPERTY("wwn", PROPERTY_U64, wwn, "0", "world wide name"),                                       \
		SCSI_PROPERTY("max_io_size", PROPERTY_U64, max_io_size, "2147483647",                                  \
			      "largest transfer that is announced, bytes")

static const struct property hd_properties[] = {
	DISK_PROPERTIES(struct scsi_device, config, PROPERTY_BLOCK),
	COMMON_PROPERTIES,
	SCSI_PROPERTY("removable", PROPERTY_BOOL, removable, "off", "INQUIRY says that the medium can be taken out"),
	SCSI_PROPERTY("dpofua", PROPERTY_BOOL, dpofua, "off", "announce DPO and FUA"),
	SCSI_PROPERTY("max_unmap_size", PROPERTY_U64, max_unmap_size, "1073741824", "largest UNMAP, bytes"),
	SCSI_PROPERTY("rotation_rate", PROPERTY_U16, rotation_rate, "0", "turns a minute; 1: solid state"),
	{.name = NULL},
};

static const struct property cd_properties[] = {
	DISK_PROPERTIES(struct scsi_device, config, PROPERTY_MEDIUM),
	COMMON_PROPERTIES,
	{.name = NULL},
};

const struct device_class scsi_hd_class = {
	.name = "scsi-hd",
	.help = "virtual SCSI disk",
	.bus = DEVICE_SCSI,
	.size = sizeof(struct scsi_device),
	.properties = hd_properties,
	.state = &state,
	.init = init_disk,
	.reset = reset,
	.fini = fini,
};

const struct device_class scsi_cd_class = {
	.name = "scsi-cd",
	.help = "virtual SCSI CD-ROM",
	.bus = DEVICE_SCSI,
	.size = sizeof(struct scsi_device),
	.properties = cd_properties,
	.state = &state,
	.init = init_cd,
	.reset = reset,
	.fini = fini,
	.medium = &medium_ops,
};
