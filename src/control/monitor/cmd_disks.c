/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What disks and block nodes are and have done: query-block, query-named-block-nodes, query-blockstats. */
#include "backend/block/attach.h"
#include "backend/block/block.h"
#include "backend/block/image.h"
#include "backend/block/throttle.h"
#include "base/util.h"
#include "config/domain.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"
#include "machine/media.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The node that a device's first block property holds, or NULL. */
struct block *monitor_block_of(const struct device *device)
{
	struct device_medium medium;

	if (device->class->medium) {
		device->class->medium->get(device, &medium);
		return medium.block;
	}
	for (const struct property *p = device->class->properties; p && p->name; p++)
		if (p->type == PROPERTY_BLOCK)
			return *(struct block *const *)((const char *)device + p->offset);
	return NULL;
}

/* Disks, and drives without a medium. */
static const struct device *next_disk(const struct device *device)
{
	while (device && !monitor_block_of(device) && !device->class->medium)
		device = device->next;
	return device;
}

/* QMP calls a disk by the id of its -drive; one made with -blockdev has none. */
static const struct drive_config *drive_of(const struct machine *machine, const struct device *device)
{
	const char *id = machine_device_drive(machine, device);

	for (size_t i = 0; id && i < machine->config->drive_count; i++)
		if (strcmp(machine->config->drives[i].id, id) == 0)
			return &machine->config->drives[i];
	return NULL;
}

/* --- nodes --- */

static const char *file_of(const struct block *block)
{
	while (!block->filename && block->file)
		block = block->file;
	return block->filename ? block->filename : "";
}

/* What an option of -drive put over the image is not shown. */
static const struct block *shown(const struct block *block)
{
	while (block->implicit)
		block = block->file;
	return block;
}

/* What lies below in the sense of a chain: the backing file, or what a filter filters. */
static const struct block *below(const struct block *block)
{
	return block->backing ? block->backing : block->driver->is_filter ? block->file : NULL;
}

static void set_string(json_t *object, const char *key, const char *text)
{
	if (text)
		json_object_set_new(object, key, json_stringn_nocheck(text, strlen(text)));
}

static json_t *name_of(const struct block *block)
{
	char *name = block_name(block);
	json_t *string = json_stringn_nocheck(name, strlen(name));

	free(name);
	return string;
}

static json_t *image_of(const struct block *block, bool flat)
{
	json_t *image = json_pack("{s:I,s:o,s:s}", "virtual-size", (json_int_t)block->length, "filename",
				  name_of(block), "format", block->driver->name);
	json_t *specific = block->driver->specific_info ? block->driver->specific_info(block) : NULL;
	struct block_info info;
	struct stat status;

	block_get_info(block, &info);
	json_object_set_new(image, "dirty-flag", json_boolean(info.dirty));
	if (*file_of(block) && stat(file_of(block), &status) == 0)
		json_object_set_new(image, "actual-size", json_integer((json_int_t)status.st_blocks * 512));
	if (info.cluster_bytes)
		json_object_set_new(image, "cluster-size", json_integer(info.cluster_bytes));
	if (specific)
		json_object_set_new(image, "format-specific",
				    json_pack("{s:s,s:o}", "type", block->driver->name, "data", specific));
	set_string(image, "backing-filename", info.backing);
	if (info.backing && block->backing)
		json_object_set_new(image, "full-backing-filename", name_of(block->backing));
	set_string(image, "backing-filename-format", info.backing_format);
	if (!flat && below(block))
		json_object_set_new(image, "backing-image", image_of(below(block), false));
	return image;
}

static void add_throttle(json_t *inserted, const struct block *device)
{
	static const char *const names[THROTTLE_RATES] = {
		[THROTTLE_BPS_TOTAL] = "bps",   [THROTTLE_BPS_READ] = "bps_rd",   [THROTTLE_BPS_WRITE] = "bps_wr",
		[THROTTLE_IOPS_TOTAL] = "iops", [THROTTLE_IOPS_READ] = "iops_rd", [THROTTLE_IOPS_WRITE] = "iops_wr",
	};
	struct throttle_group *group = device ? block_get_throttle(device) : NULL;
	struct throttle_limits limits = {0};

	if (group)
		throttle_group_get_limits(group, &limits);
	for (unsigned i = 0; i < THROTTLE_RATES; i++) {
		char key[32];

		json_object_set_new(inserted, names[i], json_integer((json_int_t)limits.rates[i].average));
		if (!limits.rates[i].burst)
			continue;
		snprintf(key, sizeof(key), "%s_max", names[i]);
		json_object_set_new(inserted, key, json_integer((json_int_t)limits.rates[i].burst));
		snprintf(key, sizeof(key), "%s_max_length", names[i]);
		json_object_set_new(inserted, key, json_integer((json_int_t)limits.rates[i].burst_seconds));
	}
	if (limits.iops_size)
		json_object_set_new(inserted, "iops_size", json_integer((json_int_t)limits.iops_size));
	if (group)
		json_object_set_new(inserted, "group", json_string(throttle_group_name(group)));
}

/* device: the node that the device is on, whose limits count; NULL: not asked. */
static json_t *inserted_of(const struct block *block, const struct block *device, bool write_cache, bool flat)
{
	static const char *const detect[] = {
		[BLOCK_DETECT_OFF] = "off", [BLOCK_DETECT_ON] = "on", [BLOCK_DETECT_UNMAP] = "unmap"};
	json_t *cache = json_pack("{s:b,s:b,s:b}", "no-flush", block->no_flush, "direct", block->no_cache, "writeback",
				  write_cache);
	struct block_info info;
	unsigned depth = 0;
	json_t *inserted;

	for (const struct block *b = flat ? NULL : below(block); b; b = below(b))
		depth++;
	block_get_info(block, &info);
	inserted = json_pack("{s:s,s:o,s:b,s:s,s:i,s:s,s:i,s:b,s:o,s:o}", "detect_zeroes", detect[block->detect_zeroes],
			     "image", image_of(block, flat), "ro", block->read_only, "node-name", block->node_name,
			     "backing_file_depth", depth, "drv", block->driver->name, "write_threshold", 0, "encrypted",
			     info.encrypted, "cache", cache, "file", name_of(block));
	if (block->backing)
		json_object_set_new(inserted, "backing_file", name_of(block->backing));
	add_throttle(inserted, device);
	return inserted;
}

/* What a device was made with; -drive's cache= has become its write-cache=. */
static bool has_write_cache(const struct device *device)
{
	for (const struct property *p = device->class->properties; p && p->name; p++)
		if (p->type == PROPERTY_ONOFFAUTO && !strcmp(p->name, "write-cache"))
			return *(const int *)((const char *)device + p->offset) != 0;
	return true;
}

static const char *io_status_name(const struct block *block)
{
	static const char *const names[] = {
		[BLOCK_IO_OK] = "ok", [BLOCK_IO_FAILED] = "failed", [BLOCK_IO_NO_SPACE] = "nospace"};

	return names[block_get_io_status(block)];
}

static json_t *run_block(struct command_call *call, struct error *err)
{
	json_t *list = json_array();

	for (const struct device *d = next_disk(call->machine->devices); d; d = next_disk(d->next)) {
		const struct block *block = monitor_block_of(d);
		const struct drive_config *drive = drive_of(call->machine, d);
		char *path = machine_disk_name(call->machine, d);
		struct device_medium medium = {0};
		json_t *row;

		if (d->class->medium)
			d->class->medium->get(d, &medium);
		row = json_pack("{s:s,s:s,s:b,s:b}", "io-status", block ? io_status_name(block) : "ok", "device",
				drive ? drive->id : "", "locked", medium.locked, "removable", d->class->medium != NULL);
		if (block)
			json_object_set_new(row, "inserted",
					    inserted_of(shown(block), block, has_write_cache(d), false));
		json_object_set_new(row, "qdev", json_string(path));
		if (medium.has_tray)
			json_object_set_new(row, "tray_open", json_boolean(medium.tray_open));
		json_object_set_new(row, "type", json_string("unknown"));
		json_array_append_new(list, row);
		free(path);
	}
	return list;
}

static json_t *run_named_nodes(struct command_call *call, struct error *err)
{
	const bool flat = argument_bool(call, "flat", false);
	struct block *block = NULL;
	json_t *list = json_array();

	while ((block = block_next(call->machine->blocks, block)))
		if (!block->implicit)
			json_array_append_new(list, inserted_of(block, NULL, true, flat));
	return list;
}

/* --- info block --- */

static const char *string_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static long long number_at(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void show_throttle(struct text *text, const json_t *inserted)
{
	static const char *const keys[] = {"bps",         "bps_rd",      "bps_wr",   "bps_max", "bps_rd_max",
					   "bps_wr_max",  "iops",        "iops_rd",  "iops_wr", "iops_max",
					   "iops_rd_max", "iops_wr_max", "iops_size"};
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		any |= number_at(inserted, keys[i]) != 0;
	if (!any)
		return;
	text_printf(text, "    I/O throttling:  ");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		text_printf(text, " %s=%lld", keys[i], number_at(inserted, keys[i]));
	text_printf(text, " group=%s\n", string_at(inserted, "group"));
}

/* disk NULL: a node by itself. */
static void show_node(struct text *text, const json_t *disk, const json_t *inserted)
{
	const json_t *cache = json_object_get(inserted, "cache");
	const char *name = string_at(disk, "device"), *node = string_at(inserted, "node-name");
	const char *status = string_at(disk, "io-status");

	if (inserted)
		text_printf(text, *name ? "%s (%s): %s (%s%s%s)\n" : "%s%s: %s (%s%s%s)\n", name, node,
			    string_at(inserted, "file"), string_at(inserted, "drv"),
			    json_is_true(json_object_get(inserted, "ro")) ? ", read-only" : "",
			    json_is_true(json_object_get(inserted, "encrypted")) ? ", encrypted" : "");
	else
		text_printf(text, "%s: [not inserted]\n", *name ? name : string_at(disk, "qdev"));
	if (*string_at(disk, "qdev"))
		text_printf(text, "    Attached to:      %s\n", string_at(disk, "qdev"));
	if (*status && strcmp(status, "ok"))
		text_printf(text, "    I/O status:       %s\n", status);
	if (json_is_true(json_object_get(disk, "removable")))
		text_printf(text, "    Removable device: %slocked, tray %s\n",
			    json_is_true(json_object_get(disk, "locked")) ? "" : "not ",
			    json_is_true(json_object_get(disk, "tray_open")) ? "open" : "closed");
	if (!inserted)
		return;
	text_printf(text, "    Cache mode:       %s%s%s\n",
		    json_is_true(json_object_get(cache, "writeback")) ? "writeback" : "writethrough",
		    json_is_true(json_object_get(cache, "direct")) ? ", direct" : "",
		    json_is_true(json_object_get(cache, "no-flush")) ? ", ignore flushes" : "");
	if (*string_at(inserted, "backing_file"))
		text_printf(text, "    Backing file:     %s (chain depth: %lld)\n", string_at(inserted, "backing_file"),
			    number_at(inserted, "backing_file_depth"));
	if (strcmp(string_at(inserted, "detect_zeroes"), "off"))
		text_printf(text, "    Detect zeroes:    %s\n", string_at(inserted, "detect_zeroes"));
	show_throttle(text, inserted);
}

/* What a format says of itself: names with blanks for dashes, values, four columns a level. */
static void show_tree(struct text *text, const json_t *tree, int depth)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)tree, key, value)
	{
		text_printf(text, "%*s", depth * 4, "");
		for (const char *p = key; *p; p++)
			text_printf(text, "%c", *p == '-' ? ' ' : *p);
		if (json_is_object(value)) {
			text_printf(text, ":\n");
			show_tree(text, value, depth + 1);
		} else if (json_is_integer(value)) {
			text_printf(text, ": %lld\n", (long long)json_integer_value(value));
		} else {
			text_printf(text, ": %s\n",
				    json_is_string(value) ? json_string_value(value)
				    : json_is_true(value) ? "true"
							  : "false");
		}
	}
}

/* As qemu-img info shows it. */
static void show_image(struct text *text, const json_t *image)
{
	const char *backing = string_at(image, "backing-filename"), *full = string_at(image, "full-backing-filename");
	char virtual[32], disk[32];

	format_bytes(virtual, (uint64_t)number_at(image, "virtual-size"));
	format_bytes(disk, (uint64_t)number_at(image, "actual-size"));
	text_printf(text, "image: %s\nfile format: %s\nvirtual size: %s (%lld bytes)\ndisk size: %s\n",
		    string_at(image, "filename"), string_at(image, "format"), virtual, number_at(image, "virtual-size"),
		    json_object_get(image, "actual-size") ? disk : "unavailable");
	if (number_at(image, "cluster-size"))
		text_printf(text, "cluster_size: %lld\n", number_at(image, "cluster-size"));
	if (json_is_true(json_object_get(image, "dirty-flag")))
		text_printf(text, "cleanly shut down: no\n");
	if (*backing)
		text_printf(text, strcmp(backing, full) ? "backing file: %s (actual path: %s)\n" : "backing file: %s\n",
			    backing, full);
	if (*string_at(image, "backing-filename-format"))
		text_printf(text, "backing file format: %s\n", string_at(image, "backing-filename-format"));
	if (json_object_get(image, "format-specific")) {
		text_printf(text, "Format specific information:\n");
		show_tree(text, json_object_get(json_object_get(image, "format-specific"), "data"), 1);
	}
}

static void show_images(const struct command_call *call, const json_t *inserted)
{
	if (!argument_bool(call, "verbose", false))
		return;
	text_printf(call->text, "\nImages:\n");
	for (const json_t *i = json_object_get(inserted, "image"); i; i = json_object_get(i, "backing-image"))
		show_image(call->text, i);
}

static bool wanted(const struct command_call *call, const char *name)
{
	const char *device = argument_string(call, "device");

	return !device || strcmp(device, name) == 0;
}

static json_t *run_info_block(struct command_call *call, struct error *err)
{
	const bool nodes = argument_bool(call, "nodes", false);
	json_t *list = nodes ? run_named_nodes(call, err) : run_block(call, err), *row;
	bool first = true;
	size_t index;

	json_array_foreach(list, index, row)
	{
		const json_t *inserted = nodes ? row : json_object_get(row, "inserted");

		if (!wanted(call, string_at(row, nodes ? "node-name" : "device")))
			continue;
		text_printf(call->text, "%s", first ? "" : "\n");
		show_node(call->text, nodes ? NULL : row, inserted);
		if (inserted)
			show_images(call, inserted);
		first = false;
	}
	/* A node may be asked for where a disk is expected. */
	if (first && !nodes && argument_string(call, "device")) {
		const struct block *block = block_find(call->machine->blocks, argument_string(call, "device"));
		json_t *inserted = block ? inserted_of(block, NULL, true, false) : NULL;

		if (inserted) {
			show_node(call->text, NULL, inserted);
			show_images(call, inserted);
		}
		json_decref(inserted);
	}
	json_decref(list);
	return json_object();
}

/* All of QMP's BlockDeviceStats; what is not counted is 0. */
static json_t *stats_of(const struct block *block)
{
	static const char *const zeroes[] = {
		"unmap_merged",
		"flush_total_time_ns",
		"wr_highest_offset",
		"wr_total_time_ns",
		"failed_wr_operations",
		"failed_rd_operations",
		"wr_merged",
		"failed_unmap_operations",
		"failed_flush_operations",
		"rd_total_time_ns",
		"invalid_unmap_operations",
		"unmap_bytes",
		"rd_merged",
		"unmap_total_time_ns",
		"invalid_flush_operations",
		"invalid_wr_operations",
		"invalid_rd_operations",
	};
	struct block_stats stats = {0};
	json_t *object;

	if (block)
		block_get_stats(block, &stats);
	object = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:[]}", "rd_bytes", (json_int_t)stats.read_bytes,
			   "wr_bytes", (json_int_t)stats.write_bytes, "rd_operations", (json_int_t)stats.read_ops,
			   "wr_operations", (json_int_t)stats.write_ops, "flush_operations",
			   (json_int_t)stats.flush_ops, "unmap_operations", (json_int_t)stats.discard_ops,
			   "account_invalid", 1, "account_failed", 1, "timed_stats");
	for (size_t i = 0; i < ARRAY_SIZE(zeroes); i++)
		json_object_set_new(object, zeroes[i], json_integer(0));
	return object;
}

static json_t *run_blockstats(struct command_call *call, struct error *err)
{
	json_t *list = json_array();

	for (const struct device *d = next_disk(call->machine->devices); d; d = next_disk(d->next)) {
		const struct block *block = monitor_block_of(d);
		const struct drive_config *drive = drive_of(call->machine, d);
		char *path = machine_disk_name(call->machine, d);
		json_t *row = json_pack("{s:s,s:o,s:s}", "device", drive ? drive->id : "", "stats", stats_of(block),
					"qdev", path);

		if (block)
			json_object_set_new(row, "node-name", json_string(block->node_name ? block->node_name : ""));
		if (block && block->file)
			json_object_set_new(row, "parent",
					    json_pack("{s:o,s:s}", "stats", stats_of(block->file), "node-name",
						      block->file->node_name ? block->file->node_name : ""));
		json_array_append_new(list, row);
		free(path);
	}
	return list;
}

static void show_blockstats(struct command_call *call, const json_t *result)
{
	static const char *const counters[] = {
		"rd_bytes",         "wr_bytes",         "rd_operations",       "wr_operations", "flush_operations",
		"wr_total_time_ns", "rd_total_time_ns", "flush_total_time_ns", "rd_merged",     "wr_merged"};
	json_t *disk;
	size_t index;

	json_array_foreach(result, index, disk)
	{
		const json_t *stats = json_object_get(disk, "stats");

		text_printf(call->text, "%s:", string_at(disk, "device"));
		for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
			text_printf(call->text, " %s=%lld", counters[i],
				    (long long)json_integer_value(json_object_get(stats, counters[i])));
		text_printf(call->text, " \n");
	}
}

const struct command commands_disks[] = {
	{"query-block", NULL, "", "show info of all block devices", NULL, run_block},
	{"query-named-block-nodes", NULL, "", "show info of all named block nodes",
	 (const struct command_argument[]){{"flat", ARGUMENT_BOOL, true}, {0}}, run_named_nodes},
	{NULL, "info block", "[-n] [-v] [device]",
	 "show info of one block device or all block devices (-n: show named nodes; -v: show details)",
	 (const struct command_argument[]){{"nodes", ARGUMENT_FLAG, true},
					   {"verbose", ARGUMENT_FLAG, true},
					   {"device", ARGUMENT_STRING, true, WORDS_DISKS},
					   {0}},
	 run_info_block},
	{"query-blockstats", "info blockstats", "", "show block device statistics", NULL, run_blockstats,
	 show_blockstats},
	{0},
};
