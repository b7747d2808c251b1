/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks: -drive, -hda to -hdd, -cdrom, a bare image name, -blockdev. Default ids and places are qemu's: interfaces with
 * several units to a bus (IDE 2, SCSI 7) name drives "ide0-hd1", the others "virtio0". Where no interface is named it is
 * IDE, as on qemu's PC.
 */
#include "base/util.h"
#include "config/parse.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* In the order of enum drive_interface. */
static const char *const interface_names[] = {"none", "virtio", "ide", "scsi", "floppy", "pflash", NULL};

static const enum drive_interface default_interface = DRIVE_IDE;

static int units_per_bus(enum drive_interface interface)
{
	return interface == DRIVE_IDE ? 2 : interface == DRIVE_SCSI ? 7 : 0;
}

static const struct drive_config *drive_at(const struct domain_config *config, enum drive_interface interface, int bus,
					   int unit)
{
	for (size_t i = 0; i < config->drive_count; i++) {
		const struct drive_config *drive = &config->drives[i];

		if (drive->interface == interface && drive->bus == bus && drive->unit == unit)
			return drive;
	}
	return NULL;
}

/* Fills in bus and unit from index=, bus=, unit= or the next free place. */
static int place_drive(const struct domain_config *config, struct drive_config *drive, struct options *options,
		       struct error *err)
{
	const char *index_text = options_get(options, "index"), *unit_text = options_get(options, "unit");
	int per_bus = units_per_bus(drive->interface);
	uint64_t index = 0, bus = 0, unit = 0;

	if (options_u64(options, "index", &index, 1000, err) < 0 || options_u64(options, "bus", &bus, 1000, err) < 0 ||
	    options_u64(options, "unit", &unit, 1000, err) < 0)
		return -EINVAL;
	if (index_text && (unit_text || options_get(options, "bus")))
		return error_set(err, EINVAL, "index= cannot stand beside bus= and unit=");
	if (per_bus && unit >= (uint64_t)per_bus)
		return error_set(err, EINVAL, "unit %u is too big (the largest is %d)", (unsigned)unit, per_bus - 1);
	drive->bus = (int)bus;
	drive->unit = (int)unit;
	if (index_text) {
		drive->bus = per_bus ? (int)index / per_bus : 0;
		drive->unit = per_bus ? (int)index % per_bus : (int)index;
	} else if (!unit_text) {
		while (drive_at(config, drive->interface, drive->bus, drive->unit)) {
			drive->unit++;
			if (per_bus && drive->unit >= per_bus) {
				drive->unit = 0;
				drive->bus++;
			}
		}
	}
	if (drive_at(config, drive->interface, drive->bus, drive->unit))
		return error_set(err, EEXIST, "there is already a drive with if=%s, bus=%d, unit=%d",
				 interface_names[drive->interface], drive->bus, drive->unit);
	if (drive->interface == DRIVE_FLOPPY && drive->unit > 1)
		return error_set(err, EINVAL, "floppy unit %d is too big (the largest is 1)", drive->unit);
	if (drive->interface == DRIVE_IDE && drive->bus > 1)
		return error_set(err, EINVAL, "Too many IDE buses defined (%d > 2)", drive->bus + 1);
	return 0;
}

static int name_drive(const struct domain_config *config, struct drive_config *drive, struct options *options,
		      struct error *err)
{
	const char *id = options_get(options, "id");

	if (id) {
		if (check_id(id, err) < 0)
			return -EINVAL;
		drive->id = xstrdup(id);
	} else if (units_per_bus(drive->interface)) {
		drive->id = xasprintf("%s%d-%s%d", interface_names[drive->interface], drive->bus,
				      drive->cdrom ? "cd" : "hd", drive->unit);
	} else {
		drive->id = xasprintf("%s%d", interface_names[drive->interface], drive->unit);
	}
	for (size_t i = 0; i < config->drive_count; i++)
		if (strcmp(config->drives[i].id, drive->id) == 0)
			return error_set(err, EEXIST, "there is already a drive with id '%s'", drive->id);
	return 0;
}

static int take_cache(struct drive_config *drive, struct options *options, struct error *err)
{
	static const char *const modes[] = {"none", "writeback", "writethrough", "directsync", "unsafe", "off", NULL};
	const char *mode = options_get(options, "cache");

	drive->cache_writeback = true;
	if (mode) {
		int which = choose(mode, modes, "cache mode", err);

		if (which < 0)
			return which;
		drive->cache_direct = which == 0 || which == 3 || which == 5;
		drive->cache_writeback = which != 2 && which != 3;
		drive->cache_no_flush = which == 4;
	}
	if (take_bool(options, "cache.direct", &drive->cache_direct, err) < 0 ||
	    take_bool(options, "cache.no-flush", &drive->cache_no_flush, err) < 0)
		return -EINVAL;
	return take_bool(options, "cache.writeback", &drive->cache_writeback, err);
}

static int take_word(struct options *options, const char *key, const char *const *words, char **field,
		     struct error *err)
{
	const char *value = options_get(options, key);

	if (!value)
		return 0;
	if (choose(value, words, key, err) < 0)
		return -EINVAL;
	set_string(field, value);
	return 0;
}

static int take_policies(struct drive_config *drive, struct options *options, struct error *err)
{
	static const char *const aios[] = {"io_uring", "threads", "native", NULL};
	static const char *const werrors[] = {"report", "stop", "ignore", "enospc", NULL};
	static const char *const rerrors[] = {"report", "stop", "ignore", NULL};
	static const char *const discards[] = {"unmap", "on", "ignore", "off", NULL};
	const char *discard = options_get(options, "discard");

	if (take_word(options, "aio", aios, &drive->aio, err) < 0 ||
	    take_word(options, "werror", werrors, &drive->werror, err) < 0 ||
	    take_word(options, "rerror", rerrors, &drive->rerror, err) < 0)
		return -EINVAL;
	if (discard) {
		int which = choose(discard, discards, "discard", err);

		if (which < 0)
			return which;
		drive->discard_unmap = which < 2;
	}
	return 0;
}

static const char *const drive_keys[] = {
	"file",
	"if",
	"bus",
	"unit",
	"index",
	"media",
	"snapshot",
	"format",
	"driver",
	"cache",
	"aio",
	"id",
	"readonly",
	"read-only",
	"serial",
	"werror",
	"rerror",
	"discard",
	"detect-zeroes",
	"node-name",
	"cache.direct",
	"cache.no-flush",
	"copy-on-read",
	"auto-read-only",
	"cache.writeback",
	"throttling.bps-total",
	"throttling.bps-read",
	"throttling.bps-write",
	"throttling.iops-total",
	"throttling.iops-read",
	"throttling.iops-write",
	"throttling.iops-size",
	"throttling.group",
	NULL,
};

/* The spellings from before there was throttling.*; each may also end in _max. */
static const struct {
	const char *old, *now;
} throttle_aliases[] = {
	{"bps", "throttling.bps-total"},   {"bps_rd", "throttling.bps-read"},   {"bps_wr", "throttling.bps-write"},
	{"iops", "throttling.iops-total"}, {"iops_rd", "throttling.iops-read"}, {"iops_wr", "throttling.iops-write"},
};

/* What an old spelling is called today, on the heap, or NULL. */
static char *throttle_key(const char *key)
{
	if (strcmp(key, "group") == 0 || strcmp(key, "iops_size") == 0)
		return xstrdup(*key == 'g' ? "throttling.group" : "throttling.iops-size");
	for (size_t i = 0; i < ARRAY_SIZE(throttle_aliases); i++) {
		size_t length = strlen(throttle_aliases[i].old);

		if (strncmp(key, throttle_aliases[i].old, length))
			continue;
		if (!key[length] || strcmp(key + length, "_max") == 0)
			return xasprintf("%s%s", throttle_aliases[i].now, key[length] ? "-max" : "");
	}
	return NULL;
}

static bool given(const struct options *options, const char *key)
{
	for (size_t i = 0; i < options->count; i++)
		if (strcmp(options->items[i].key, key) == 0)
			return true;
	return false;
}

/* A word that is nearly one of -drive's is taken for a slip. */
static bool is_for_the_node(const char *key)
{
	return strchr(key, '.') || strcmp(key, "detect-zeroes") == 0 || strcmp(key, "auto-read-only") == 0 ||
	       !nearest_word(key, drive_keys);
}

/* Everything else belongs to the node or its driver, which look at it when the image is opened. */
static int take_rest(struct drive_config *drive, struct options *options, struct error *err)
{
	for (size_t i = 0; i < options->count; i++) {
		struct option *item = &options->items[i];
		char *now = item->used ? NULL : throttle_key(item->key);
		const bool clash = now && given(options, now);

		if (clash)
			error_set(err, EINVAL, "'%s' and its alias '%s' can't be used at the same time", now, item->key);
		else if (now || (!item->used && is_for_the_node(item->key)))
			options_add(&drive->rest, now ? now : item->key, item->value), item->used = true;
		free(now);
		if (clash)
			return -EINVAL;
	}
	return options_check_used(options, "-drive", drive_keys, err);
}

/* Which requests qemu counts, and over which times; here all are, since the start. */
static int take_accounting(struct options *options, struct error *err)
{
	bool ignored = false;

	for (size_t i = 0; i < options->count; i++) {
		uint64_t seconds = 0;
		int result = 0;

		if (strncmp(options->items[i].key, "stats-intervals.", 16) == 0)
			result = options_u64(options, options->items[i].key, &seconds, UINT_MAX, err);
		if (result < 0)
			return result;
	}
	if (take_bool(options, "stats-account-invalid", &ignored, err) < 0)
		return -EINVAL;
	return take_bool(options, "stats-account-failed", &ignored, err);
}

/* file.driver=... instead of file=. */
static bool names_image(const struct options *rest)
{
	for (size_t i = 0; i < rest->count; i++)
		if (strncmp(rest->items[i].key, "file.", strlen("file.")) == 0)
			return true;
	return false;
}

static int fill_drive(const struct domain_config *config, struct drive_config *drive, struct options *options,
		      struct error *err)
{
	static const char *const medias[] = {"disk", "cdrom", NULL}, *const later[] = {"sd", "mtd", "xen", NULL};
	const char *value = options_get(options, "if");
	int which;

	if (value) {
		if (is_one_of(value, later))
			return error_set(err, ENOTSUP, "if=%s: not supported yet; if=ide, if=scsi, if=floppy and if=virtio are", value);
		which = choose(value, interface_names, "interface", err);
		if (which < 0)
			return which;
		drive->interface = which;
	}
	value = options_get(options, "media");
	if (value) {
		which = choose(value, medias, "media", err);
		if (which < 0)
			return which;
		drive->cdrom = drive->read_only = which == 1;
	}
	take_string(options, "file", &drive->file);
	if (given(options, "format") && given(options, "driver"))
		return error_set(err, EINVAL, "Cannot specify both 'driver' and 'format'");
	take_string(options, "format", &drive->format);
	take_string(options, "driver", &drive->format);
	take_string(options, "serial", &drive->serial);
	take_string(options, "node-name", &drive->node_name);
	drive->snapshot_given = options_get(options, "snapshot") != NULL;
	if (take_bool(options, "readonly", &drive->read_only, err) < 0 ||
	    take_bool(options, "read-only", &drive->read_only, err) < 0 ||
	    take_bool(options, "snapshot", &drive->snapshot, err) < 0 ||
	    take_bool(options, "copy-on-read", &drive->copy_on_read, err) < 0)
		return -EINVAL;
	if (drive->file && !*drive->file)
		free(drive->file), drive->file = NULL;
	if (take_accounting(options, err) < 0 || take_cache(drive, options, err) < 0 || take_policies(drive, options, err) < 0 ||
	    place_drive(config, drive, options, err) < 0 || name_drive(config, drive, options, err) < 0)
		return -EINVAL;
	if (take_rest(drive, options, err) < 0)
		return -EINVAL;
	if (!drive->file && !drive->format && !names_image(&drive->rest) && drive->interface == DRIVE_VIRTIO)
		return error_set(err, EINVAL, "file= is missing");
	return 0;
}

int add_drive(struct config_parse *parse, struct options *options, enum drive_interface fallback, struct error *err)
{
	struct domain_config *config = parse->config;
	struct drive_config drive = {.interface = fallback, .typed = typed_now(parse)};
	int ret = fill_drive(config, &drive, options, err);

	/* Appended even when it is bad, so that domain_config_free frees it. */
	config->drives = xrealloc(config->drives, (config->drive_count + 1) * sizeof(drive));
	config->drives[config->drive_count++] = drive;
	return ret;
}

int list_drive(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	return add_drive(parse, options, default_interface, err);
}

static int add_numbered(struct config_parse *parse, enum drive_interface interface, const char *file, unsigned index,
			const char *media, struct error *err)
{
	struct options options = {0};
	char number[16];
	int ret;

	snprintf(number, sizeof(number), "%u", index);
	options_add(&options, "file", file);
	options_add(&options, "index", number);
	options_add(&options, "media", media);
	ret = add_drive(parse, &options, interface, err);
	options_free(&options);
	return ret;
}

int word_hd(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return add_numbered(parse, default_interface, value, key->field, "disk", err);
}

int word_fd(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return add_numbered(parse, DRIVE_FLOPPY, value, key->field, "disk", err);
}

int word_cdrom(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return add_numbered(parse, default_interface, value, 2, "cdrom", err);
}

/* The drives that a PC has where nobody says otherwise, both empty: a CD-ROM in the second channel's first place, and a
 * floppy. */
int add_default_drives(struct config_parse *parse, bool cdrom, bool floppy, struct error *err)
{
	int ret = 0;

	if (cdrom && !drive_at(parse->config, default_interface, 1, 0))
		ret = add_numbered(parse, default_interface, "", 2, "cdrom", err);
	if (!ret && floppy && !drive_at(parse->config, DRIVE_FLOPPY, 0, 0))
		ret = add_numbered(parse, DRIVE_FLOPPY, "", 0, "disk", err);
	return ret;
}

int word_pflash(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	struct options options = {0};
	int ret;

	options_add(&options, "file", value);
	ret = add_drive(parse, &options, DRIVE_PFLASH, err);
	options_free(&options);
	return ret;
}

int list_blockdev(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	char *driver = pull(options, "driver"), *node = pull(options, "node-name");
	int ret;

	if (!driver)
		ret = error_set(err, EINVAL, "driver= is missing");
	else if (!node)
		ret = error_set(err, EINVAL, "node-name= is missing");
	else
		ret = add_item(&parse->config->blockdevs, "blockdev", driver, node, options, err);
	free(driver);
	free(node);
	return ret;
}
