/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Floppy drives: what a medium is formatted as follows from its size, as in QEMU; the drive's type from its first
 * medium or drive-type=.
 */
#include "device/storage/fdc.h"

#include "base/util.h"
#include "core/state.h"

enum { NOWHERE = 0xffffffff };

static const struct {
	uint8_t type, tracks, heads, sectors, rate;
} formats[] = {
	/* The first of each type is what a medium of another size is taken for. */
	{FLOPPY_1440K, 80, 2, 18, FLOPPY_500K}, {FLOPPY_1440K, 80, 2, 20, FLOPPY_500K},
	{FLOPPY_1440K, 80, 2, 21, FLOPPY_500K}, {FLOPPY_1440K, 82, 2, 21, FLOPPY_500K},
	{FLOPPY_1440K, 83, 2, 21, FLOPPY_500K}, {FLOPPY_1440K, 80, 2, 22, FLOPPY_500K},
	{FLOPPY_1440K, 80, 2, 23, FLOPPY_500K}, {FLOPPY_1440K, 80, 2, 24, FLOPPY_500K},
	{FLOPPY_2880K, 80, 2, 36, FLOPPY_1M},   {FLOPPY_2880K, 80, 2, 39, FLOPPY_1M},
	{FLOPPY_2880K, 80, 2, 40, FLOPPY_1M},   {FLOPPY_2880K, 80, 2, 44, FLOPPY_1M},
	{FLOPPY_2880K, 80, 2, 48, FLOPPY_1M},   {FLOPPY_1440K, 80, 2, 9, FLOPPY_250K},
	{FLOPPY_1440K, 80, 2, 10, FLOPPY_250K}, {FLOPPY_1440K, 82, 2, 10, FLOPPY_250K},
	{FLOPPY_1440K, 83, 2, 10, FLOPPY_250K}, {FLOPPY_1440K, 80, 2, 13, FLOPPY_250K},
	{FLOPPY_1440K, 80, 2, 14, FLOPPY_250K}, {FLOPPY_1200K, 80, 2, 15, FLOPPY_500K},
	{FLOPPY_1200K, 80, 2, 18, FLOPPY_500K}, {FLOPPY_1200K, 82, 2, 18, FLOPPY_500K},
	{FLOPPY_1200K, 83, 2, 18, FLOPPY_500K}, {FLOPPY_1200K, 80, 2, 20, FLOPPY_500K},
	{FLOPPY_1200K, 80, 2, 9, FLOPPY_250K},  {FLOPPY_1200K, 80, 2, 11, FLOPPY_250K},
	{FLOPPY_1200K, 40, 2, 9, FLOPPY_300K},  {FLOPPY_1200K, 40, 1, 9, FLOPPY_300K},
	{FLOPPY_1200K, 41, 2, 10, FLOPPY_300K}, {FLOPPY_1200K, 42, 2, 10, FLOPPY_300K},
	{FLOPPY_1200K, 40, 2, 8, FLOPPY_250K},  {FLOPPY_1200K, 40, 1, 8, FLOPPY_250K},
	{FLOPPY_1440K, 40, 2, 9, FLOPPY_250K},
};

/* A 2.88 MB drive takes what a 1.44 MB one does. */
static bool fits(uint8_t drive, uint8_t format)
{
	return drive == FLOPPY_NONE || drive == format || (drive == FLOPPY_2880K && format == FLOPPY_1440K);
}

void floppy_recognize(struct floppy *floppy)
{
	uint64_t sectors = disk_bytes(&floppy->disk) / FDC_SECTOR_BYTES;
	int found = -1;

	floppy->tracks = floppy->heads = floppy->sectors = floppy->rate = 0;
	if (!floppy->disk.block)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(formats) && found < 0; i++)
		if (fits(floppy->type, formats[i].type) &&
		    sectors == (uint64_t)formats[i].tracks * formats[i].heads * formats[i].sectors)
			found = (int)i;
	for (unsigned i = 0; i < ARRAY_SIZE(formats) && found < 0; i++)
		if (floppy->type == formats[i].type || floppy->type == FLOPPY_NONE)
			found = (int)i;
	if (found < 0)
		return;
	floppy->tracks = formats[found].tracks;
	floppy->heads = formats[found].heads;
	floppy->sectors = formats[found].sectors;
	floppy->rate = formats[found].rate;
	if (floppy->type == FLOPPY_NONE)
		floppy->type = formats[found].type;
}

/* --- place and life --- */

static int parse_type(const char *text, uint8_t fallback, uint8_t *type, struct error *err)
{
	static const struct {
		const char *name;
		uint8_t type;
	} names[] = {{"144", FLOPPY_1440K}, {"288", FLOPPY_2880K}, {"120", FLOPPY_1200K}, {"none", FLOPPY_NONE}};

	*type = fallback;
	if (!text || !strcmp(text, "auto"))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(text, names[i].name)) {
			*type = names[i].type;
			return 0;
		}
	}
	return error_set(err, EINVAL, "drive-type=%s: not one of 144, 288, 120, none, auto", text);
}

static int attach(struct device *device, struct error *err)
{
	struct floppy *floppy = (struct floppy *)device;
	struct fdc *fdc = device->env->floppy_controller;

	if (!fdc)
		return error_set(err, ENODEV, "floppy: No 'floppy-bus' bus found for device 'floppy'");
	if (device->bus_name && strcmp(device->bus_name, "floppy-bus.0") && strcmp(device->bus_name, "floppy-bus"))
		return error_set(err, ENODEV, "floppy: Bus '%s' not found", device->bus_name);
	if (floppy->unit == NOWHERE)
		floppy->unit = fdc->drives[0] ? 1 : 0;
	if (floppy->unit >= FDC_DRIVES)
		return error_set(err, EINVAL, "Can't create floppy unit %u, bus supports only %u units", floppy->unit,
				 FDC_DRIVES);
	if (fdc->drives[floppy->unit])
		return error_set(err, EBUSY, "Floppy unit %u is in use", floppy->unit);
	floppy->fdc = fdc;
	device->parent = (const struct device *)fdc;
	device->parent_bus = "floppy-bus.0";
	return 0;
}

const struct device_bus_ops floppy_bus_ops = {.attach = attach};

static void with_io_stopped(void *device, void (*fn)(void *opaque), void *opaque)
{
	disk_drain(&((struct floppy *)device)->disk);
	fn(opaque);
}

static void resized(void *device)
{
}

static const struct block_device_ops block_ops = {.with_io_stopped = with_io_stopped, .resized = resized};

static int init(struct device *device, struct error *err)
{
	struct floppy *floppy = (struct floppy *)device;
	int rc = parse_type(floppy->type_name, FLOPPY_NONE, &floppy->type, err);

	if (rc == 0 && floppy->config.logical_block_size && floppy->config.logical_block_size != FDC_SECTOR_BYTES)
		rc = error_set(err, EINVAL, "Physical and logical block size must be 512 for floppy");
	if (rc == 0)
		rc = disk_open(&floppy->disk, device->env, &floppy->config, FDC_SECTOR_BYTES, err);
	if (rc < 0)
		return rc;
	floppy_recognize(floppy);
	/* An empty drive takes all there are in its size. */
	if (floppy->type == FLOPPY_NONE && (!floppy->type_name || !strcmp(floppy->type_name, "auto")))
		floppy->type = FLOPPY_2880K;
	floppy->changed = true;
	if (floppy->disk.block)
		block_attach_device(floppy->disk.block, &block_ops, floppy);
	pthread_mutex_lock(&floppy->fdc->lock);
	floppy->fdc->drives[floppy->unit] = floppy;
	pthread_mutex_unlock(&floppy->fdc->lock);
	return 0;
}

static void reset(struct device *device)
{
	struct floppy *floppy = (struct floppy *)device;

	disk_drain(&floppy->disk);
	floppy->track = 0;
	floppy->changed = true;
}

static void fini(struct device *device)
{
	struct floppy *floppy = (struct floppy *)device;

	pthread_mutex_lock(&floppy->fdc->lock);
	floppy->fdc->resetting = floppy->fdc->at_disk;
	floppy->fdc->drives[floppy->unit] = NULL;
	pthread_mutex_unlock(&floppy->fdc->lock);
	if (floppy->disk.block)
		block_attach_device(floppy->disk.block, NULL, NULL);
	disk_close(&floppy->disk);
}

/* --- the medium: pushed in and pulled out, no tray --- */

static void medium_get(const struct device *device, struct device_medium *medium)
{
	*medium = (struct device_medium){.block = ((const struct floppy *)device)->disk.block};
}

static void medium_move_tray(struct device *device, bool open)
{
}

static int medium_set(struct device *device, struct block *block, struct error *err)
{
	struct floppy *floppy = (struct floppy *)device;
	struct block *old = floppy->disk.block;
	int rc;

	disk_drain(&floppy->disk);
	pthread_mutex_lock(&floppy->fdc->lock);
	rc = disk_set_medium(&floppy->disk, block, err);
	if (rc == 0) {
		floppy->changed = true;
		floppy_recognize(floppy);
	}
	pthread_mutex_unlock(&floppy->fdc->lock);
	if (rc == 0 && old)
		block_attach_device(old, NULL, NULL);
	if (rc == 0 && block)
		block_attach_device(block, &block_ops, floppy);
	return rc;
}

static const struct device_medium_ops medium_ops = {
	.get = medium_get, .move_tray = medium_move_tray, .set = medium_set};

static const struct state_field fields[] = {
	STATE_FIELD(STATE_U8, struct floppy, track),
	STATE_FIELD(STATE_BOOL, struct floppy, changed),
	STATE_END,
};
static const struct state_table state = {
	.name = "floppy", .version = 1, .size = sizeof(struct floppy), .fields = fields};

static const struct property properties[] = {
	DISK_PROPERTIES(struct floppy, config, PROPERTY_MEDIUM),
	DISK_PROPERTY(struct floppy, "unit", PROPERTY_U32, unit, "4294967295", "0: A, 1: B; default: what is free"),
	DISK_PROPERTY(struct floppy, "drive-type", PROPERTY_STRING, type_name, "auto",
		      "144, 288, 120, none, or auto: by its first medium"),
	{.name = NULL},
};

const struct device_class floppy_class = {
	.name = "floppy",
	.help = "virtual floppy drive",
	.bus = DEVICE_FLOPPY,
	.size = sizeof(struct floppy),
	.properties = properties,
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
	.medium = &medium_ops,
};
