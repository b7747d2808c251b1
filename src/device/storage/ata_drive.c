/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The drives that -device offers on an ATA bus: ide-hd and ide-cd. Their properties, their place on a port, their life
 * and what is saved of them. Requests that are with the disk end before a save; a command that waits for the host goes
 * on after it.
 */
#include "device/storage/ata.h"

#include "base/util.h"
#include "core/state.h"

#include <stdio.h>
#include <stdlib.h>

enum { CD_BLOCK_BYTES = 2048, SERIAL_MAX = 20, MODEL_MAX = 40, VERSION_MAX = 8, NOWHERE = 0xffffffff };

static struct ata_drive *from_device(struct device *device)
{
	return (struct ata_drive *)device;
}

/* --- the bus --- */

void ata_port_add(struct ata_port_list *list, struct ata_port *port, struct device *controller, unsigned number)
{
	struct ata_port **at = &list->first;

	port->controller = controller;
	port->number = number;
	port->name =
		controller->id ? xasprintf("%s.%u", controller->id, number) : xasprintf("ide.%u", list->automatic++);
	port->next = NULL;
	while (*at)
		at = &(*at)->next;
	*at = port;
}

void ata_port_remove(struct ata_port_list *list, struct ata_port *port)
{
	for (struct ata_port **at = &list->first; *at; at = &(*at)->next) {
		if (*at == port) {
			*at = port->next;
			break;
		}
	}
	free(port->name);
	port->name = NULL;
}

static bool place_free(const struct ata_port *port, uint32_t unit)
{
	if (unit != NOWHERE)
		return unit < port->units && !port->drives[unit];
	for (unsigned i = 0; i < port->units; i++)
		if (!port->drives[i])
			return true;
	return false;
}

static struct ata_port *find_port(struct ata_port_list *list, const struct ata_drive *drive, struct error *err)
{
	const char *class = drive->device.class->name, *bus = drive->device.bus_name;
	unsigned most_units = 0;

	for (struct ata_port *port = list ? list->first : NULL; port; port = port->next) {
		if (bus && strcmp(bus, port->name))
			continue;
		most_units = (unsigned)max_u64(most_units, port->units);
		if (place_free(port, drive->unit))
			return port;
		if (!bus)
			continue;
		if (drive->unit == NOWHERE)
			error_set(err, EBUSY, "%s: bus '%s' is full", class, bus);
		else if (drive->unit >= port->units)
			error_set(err, EINVAL, "Can't create IDE unit %u, bus supports only %u units", drive->unit,
				  port->units);
		else
			error_set(err, EBUSY, "IDE unit %u is in use", drive->unit);
		return NULL;
	}
	if (bus)
		error_set(err, ENODEV, "%s: Bus '%s' not found", class, bus);
	else if (most_units && drive->unit != NOWHERE && drive->unit >= most_units)
		error_set(err, EINVAL, "Can't create IDE unit %u, bus supports only %u units", drive->unit, most_units);
	else
		error_set(err, ENODEV, "%s: No 'IDE' bus found with a free place", class);
	return NULL;
}

static int attach(struct device *device, struct error *err)
{
	struct ata_drive *drive = from_device(device);
	struct ata_port *port = find_port(device->env->ata_ports, drive, err);

	if (!port)
		return err && err->code ? -err->code : -ENODEV;
	if (drive->unit == NOWHERE)
		drive->unit = port->drives[0] ? 1 : 0;
	drive->port = port;
	device->parent = port->controller;
	device->parent_bus = port->name;
	return 0;
}

static char *boot_path(const struct device *device)
{
	const struct ata_port *port = ((const struct ata_drive *)device)->port;
	const struct device_bus_ops *pci = device->env->bus_ops[DEVICE_PCI];
	char *place = pci->boot_path(port->controller), *path = xasprintf("%s/drive@%x", place, port->number);

	free(place);
	return path;
}

const struct device_bus_ops ata_bus_ops = {.attach = attach, .boot_path = boot_path};

/* --- life --- */

/* QEMU numbers the places of all buses. */
static unsigned place_number(const struct ata_drive *drive)
{
	const struct ata_port_list *list = drive->device.env->ata_ports;
	unsigned number = 1;

	for (const struct ata_port *port = list->first; port != drive->port; port = port->next)
		number += 2;
	return number + drive->unit;
}

static int check_text(const char *name, char **text, const char *fallback, size_t max, struct error *err)
{
	if (!*text)
		*text = xstrdup(fallback);
	if (strlen(*text) > max)
		return error_set(err, EINVAL, "%s=%s: longer than %zu characters", name, *text, max);
	return 0;
}

static int check_texts(struct ata_drive *drive, struct error *err)
{
	static const char *const translations[] = {"auto", "none", "lba", "large", "rechs", NULL};
	int rc = check_text("model", &drive->model, drive->cd ? "QEMU DVD-ROM" : "QEMU HARDDISK", MODEL_MAX, err);
	bool known = drive->cd;

	if (rc == 0)
		rc = check_text("ver", &drive->version, "2.5+", VERSION_MAX, err);
	if (rc < 0)
		return rc;
	if (drive->config.serial && strlen(drive->config.serial) > SERIAL_MAX)
		return error_set(err, EINVAL, "serial=%s: longer than %u characters", drive->config.serial, SERIAL_MAX);
	if (drive->config.serial)
		snprintf(drive->serial, sizeof(drive->serial), "%s", drive->config.serial);
	else
		snprintf(drive->serial, sizeof(drive->serial), "QM%05u", place_number(drive));
	for (unsigned i = 0; !known && translations[i]; i++)
		known = !strcmp(drive->translation_name, translations[i]);
	return known ? 0
		     : error_set(err, EINVAL, "bios-chs-trans=%s: not one of auto, none, lba, large, rechs",
				 drive->translation_name);
}

static int check_geometry(struct ata_drive *drive, struct error *err)
{
	if (drive->config.logical_block_size != DISK_SECTOR_BYTES)
		return error_set(err, EINVAL, "logical_block_size must be 512 for IDE");
	if (!drive->cylinders && !drive->heads && !drive->sectors)
		return 0;
	if (drive->cylinders < 1 || drive->cylinders > 65535)
		return error_set(err, EINVAL, "cyls must be between 1 and 65535");
	if (drive->heads < 1 || drive->heads > 16)
		return error_set(err, EINVAL, "heads must be between 1 and 16");
	if (drive->sectors < 1 || drive->sectors > 255)
		return error_set(err, EINVAL, "secs must be between 1 and 255");
	return 0;
}

static void with_io_stopped(void *device, void (*fn)(void *opaque), void *opaque)
{
	disk_drain(&((struct ata_drive *)device)->disk);
	fn(opaque);
}

static void resized(void *device)
{
}

static const struct block_device_ops block_ops = {.with_io_stopped = with_io_stopped, .resized = resized};

static void init_scsi(struct ata_drive *drive)
{
	struct scsi_unit *scsi = &drive->scsi;

	*scsi = (struct scsi_unit){.disk = &drive->disk,
				   .cd = true,
				   .removable = true,
				   .atapi = true,
				   .block_bytes = CD_BLOCK_BYTES,
				   .serial = drive->serial,
				   .wwn = drive->wwn};
	snprintf(scsi->vendor, sizeof(scsi->vendor), "QEMU");
	snprintf(scsi->product, sizeof(scsi->product), "%.16s", drive->model);
	snprintf(scsi->revision, sizeof(scsi->revision), "%.4s", drive->version);
}

static int init(struct device *device, struct error *err)
{
	struct ata_drive *drive = from_device(device);
	int rc = check_texts(drive, err);

	if (rc == 0)
		rc = disk_open(&drive->disk, device->env, &drive->config,
			       drive->cd ? CD_BLOCK_BYTES : DISK_SECTOR_BYTES, err);
	if (rc < 0)
		return rc;
	if (!drive->cd) {
		rc = check_geometry(drive, err);
		if (rc < 0) {
			disk_close(&drive->disk);
			return rc;
		}
		ata_guess_geometry(drive);
	}
	init_scsi(drive);
	snprintf(drive->boot_name, sizeof(drive->boot_name), "/disk@%u", drive->unit);
	device->boot_name = drive->boot_name;
	if (drive->port->ncq && !drive->cd)
		drive->queue = xcalloc(ATA_TAGS, sizeof(*drive->queue));
	if (drive->disk.block)
		block_attach_device(drive->disk.block, &block_ops, drive);
	pthread_mutex_lock(&drive->port->lock);
	drive->port->drives[drive->unit] = drive;
	pthread_mutex_unlock(&drive->port->lock);
	return 0;
}

static int init_disk(struct device *device, struct error *err)
{
	const struct block *block = from_device(device)->config.block;

	if (!block)
		return error_set(err, EINVAL, "drive property not set");
	if (block->read_only)
		return error_set(err, EROFS, "Block node is read-only");
	return init(device, err);
}

static int init_cd(struct device *device, struct error *err)
{
	from_device(device)->cd = true;
	return init(device, err);
}

static void reset(struct device *device)
{
	ata_power_on(from_device(device));
}

static void fini(struct device *device)
{
	struct ata_drive *drive = from_device(device);

	pthread_mutex_lock(&drive->port->lock);
	drive->resetting = true;
	drive->port->drives[drive->unit] = NULL;
	pthread_mutex_unlock(&drive->port->lock);
	if (drive->disk.block)
		block_attach_device(drive->disk.block, NULL, NULL);
	disk_close(&drive->disk);
	free(drive->queue);
}

/* --- the medium of a CD-ROM drive --- */

static void medium_get(const struct device *device, struct device_medium *medium)
{
	const struct ata_drive *drive = (const struct ata_drive *)device;

	pthread_mutex_lock(&drive->port->lock);
	*medium = (struct device_medium){drive->disk.block, true, drive->scsi.tray_open, drive->scsi.locked};
	pthread_mutex_unlock(&drive->port->lock);
}

static void medium_move_tray(struct device *device, bool open)
{
	struct ata_drive *drive = from_device(device);

	pthread_mutex_lock(&drive->port->lock);
	scsi_move_tray(&drive->scsi, open);
	pthread_mutex_unlock(&drive->port->lock);
}

static int medium_set(struct device *device, struct block *block, struct error *err)
{
	struct ata_drive *drive = from_device(device);
	struct block *old = drive->disk.block;
	int rc;

	disk_drain(&drive->disk);
	pthread_mutex_lock(&drive->port->lock);
	rc = disk_set_medium(&drive->disk, block, err);
	if (rc == 0 && !drive->scsi.tray_open)
		scsi_medium_changed(&drive->scsi);
	pthread_mutex_unlock(&drive->port->lock);
	if (rc == 0 && old)
		block_attach_device(old, NULL, NULL);
	if (rc == 0 && block)
		block_attach_device(block, &block_ops, drive);
	return rc;
}

static void medium_ask_eject(struct device *device)
{
	struct ata_drive *drive = from_device(device);

	pthread_mutex_lock(&drive->port->lock);
	drive->scsi.eject_wanted = true;
	pthread_mutex_unlock(&drive->port->lock);
}

static bool medium_moved(struct device *device)
{
	return __atomic_exchange_n(&from_device(device)->scsi.moved_by_guest, false, __ATOMIC_ACQUIRE);
}

static const struct device_medium_ops medium_ops = {.get = medium_get,
						    .move_tray = medium_move_tray,
						    .set = medium_set,
						    .ask_eject = medium_ask_eject,
						    .moved = medium_moved};

/* --- saved state --- */

static int check_state(const void *staged, struct error *err)
{
	const struct ata_drive *drive = staged;
	bool moves = drive->phase == ATA_DATA_IN || drive->phase == ATA_DATA_OUT || drive->phase == ATA_PACKET;

	if (drive->phase >= ATA_PHASES || drive->phase == ATA_DISK)
		return error_set(err, EINVAL, "a drive in phase %u", drive->phase);
	if (drive->data_at > drive->data_end || drive->data_end > drive->chunk_end ||
	    drive->chunk_end > ATA_BUFFER_BYTES)
		return error_set(err, EINVAL, "a drive whose data ends outside of its buffer");
	if ((moves && !drive->block_bytes) || (!drive->on_disk && drive->left > ATA_BUFFER_BYTES) ||
	    drive->byte_limit & 1)
		return error_set(err, EINVAL, "a data phase that cannot be");
	if (drive->multiple > ATA_MULTIPLE_MAX || drive->block_bytes > ATA_BUFFER_BYTES ||
	    (!drive->cd && drive->block_bytes > ATA_MULTIPLE_MAX * DISK_SECTOR_BYTES))
		return error_set(err, EINVAL, "blocks of %u bytes", drive->block_bytes);
	return 0;
}

static void before_save(void *object)
{
	disk_drain(&((struct ata_drive *)object)->disk);
}

static void after_load(void *object)
{
	struct ata_drive *drive = object;

	drive->packet.unit = &drive->scsi;
}

static const struct state_field register_fields[] = {
	STATE_FIELD(STATE_U16, struct ata_registers, feature),  STATE_FIELD(STATE_U16, struct ata_registers, count),
	STATE_FIELD(STATE_U16, struct ata_registers, lba_low),  STATE_FIELD(STATE_U16, struct ata_registers, lba_mid),
	STATE_FIELD(STATE_U16, struct ata_registers, lba_high), STATE_FIELD(STATE_U8, struct ata_registers, device),
	STATE_FIELD(STATE_U8, struct ata_registers, command),   STATE_FIELD(STATE_U8, struct ata_registers, status),
	STATE_FIELD(STATE_U8, struct ata_registers, error),     STATE_END,
};
static const struct state_table register_state = {
	.name = "ata-registers", .version = 1, .size = sizeof(struct ata_registers), .fields = register_fields};

static const struct state_field fields[] = {
	STATE_SUB(register_state, struct ata_drive, regs, 1),
	STATE_FIELD(STATE_U8, struct ata_drive, phase),
	STATE_FIELD(STATE_U8, struct ata_drive, multiple),
	STATE_FIELD(STATE_U32, struct ata_drive, now_cylinders),
	STATE_FIELD(STATE_U32, struct ata_drive, now_heads),
	STATE_FIELD(STATE_U32, struct ata_drive, now_sectors),
	STATE_FIELD(STATE_BOOL, struct ata_drive, write_cache),
	STATE_FIELD(STATE_BOOL, struct ata_drive, smart_on),
	STATE_FIELD(STATE_U8, struct ata_drive, dma_mode),
	STATE_FIELD(STATE_U8, struct ata_drive, power),
	STATE_FIELD(STATE_BOOL, struct ata_drive, writes),
	STATE_FIELD(STATE_BOOL, struct ata_drive, by_dma),
	STATE_FIELD(STATE_BOOL, struct ata_drive, on_disk),
	STATE_FIELD(STATE_BOOL, struct ata_drive, fua),
	STATE_FIELD(STATE_BOOL, struct ata_drive, is_lba48),
	STATE_FIELD(STATE_U64, struct ata_drive, offset),
	STATE_FIELD(STATE_U64, struct ata_drive, left),
	STATE_FIELD(STATE_U32, struct ata_drive, block_bytes),
	STATE_FIELD(STATE_U32, struct ata_drive, data_at),
	STATE_FIELD(STATE_U32, struct ata_drive, data_end),
	STATE_FIELD(STATE_U32, struct ata_drive, chunk_end),
	STATE_FIELD_N(STATE_BYTES, struct ata_drive, buffer, ATA_BUFFER_BYTES),
	STATE_FIELD(STATE_U16, struct ata_drive, byte_limit),
	STATE_FIELD_N(STATE_BYTES, struct ata_drive, ncq_error, 16),
	STATE_SUB(scsi_unit_state, struct ata_drive, scsi, 1),
	STATE_SUB(scsi_request_state, struct ata_drive, packet, 1),
	STATE_END,
};

static const struct state_table state = {
	.name = "ata-drive",
	.version = 1,
	.size = sizeof(struct ata_drive),
	.fields = fields,
	.check = check_state,
	.before_save = before_save,
	.after_load = after_load,
};

/* --- classes --- */

#define DRIVE_PROPERTY(NAME, KIND, MEMBER, FALLBACK, HELP)                                                             \
	DISK_PROPERTY(struct ata_drive, NAME, KIND, MEMBER, FALLBACK, HELP)
#define COMMON_PROPERTIES                                                                                              \
	DRIVE_PROPERTY("unit", PROPERTY_U32, unit, "4294967295", "0: master, 1: slave; default: what is free"),        \
		DRIVE_PROPERTY("model", PROPERTY_STRING, model, NULL,                                                  \
			       "what the guest sees as the drive's model (40 characters)"),                            \
		DRIVE_PROPERTY("ver", PROPERTY_STRING, version, NULL,                                                  \
			       "firmware version that the guest sees (8 characters)"),                                 \
		DRIVE_PROPERTY("wwn", PROPERTY_U64, wwn, "0", "world wide name")

static const struct property hd_properties[] = {
	DISK_PROPERTIES(struct ata_drive, config, PROPERTY_BLOCK),
	COMMON_PROPERTIES,
	DRIVE_PROPERTY("cyls", PROPERTY_U32, cylinders, "0", "cylinders; default: guessed"),
	DRIVE_PROPERTY("heads", PROPERTY_U32, heads, "0", "heads (1 to 16)"),
	DRIVE_PROPERTY("secs", PROPERTY_U32, sectors, "0", "sectors of a track (1 to 255)"),
	DRIVE_PROPERTY("bios-chs-trans", PROPERTY_STRING, translation_name, "auto",
		       "how the BIOS translates them: none, lba, large, rechs, auto"),
	DRIVE_PROPERTY("rotation_rate", PROPERTY_U16, rotation_rate, "0", "turns a minute; 1: solid state"),
	{.name = NULL},
};

static const struct property cd_properties[] = {
	DISK_PROPERTIES(struct ata_drive, config, PROPERTY_MEDIUM),
	COMMON_PROPERTIES,
	{.name = NULL},
};

const struct device_class ide_hd_class = {
	.name = "ide-hd",
	.help = "virtual IDE disk",
	.bus = DEVICE_IDE,
	.size = sizeof(struct ata_drive),
	.properties = hd_properties,
	.state = &state,
	.init = init_disk,
	.reset = reset,
	.fini = fini,
};

const struct device_class ide_cd_class = {
	.name = "ide-cd",
	.help = "virtual IDE CD-ROM",
	.bus = DEVICE_IDE,
	.size = sizeof(struct ata_drive),
	.properties = cd_properties,
	.state = &state,
	.init = init_cd,
	.medium = &medium_ops,
	.reset = reset,
	.fini = fini,
};
