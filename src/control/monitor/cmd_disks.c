/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks: query-block and query-blockstats, made from the devices that hold a block node. */
#include "backend/block/block.h"
#include "base/util.h"
#include "config/domain.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"

#include <stdlib.h>
#include <sys/stat.h>

/* The node that a device's first block property holds, or NULL. */
static struct block *block_of(const struct device *device)
{
	for (const struct property *p = device->class->properties; p && p->name; p++)
		if (p->type == PROPERTY_BLOCK)
			return *(struct block *const *)((const char *)device + p->offset);
	return NULL;
}

static const struct device *next_disk(const struct device *device)
{
	while (device && !block_of(device))
		device = device->next;
	return device;
}

/* QMP calls a disk by the id of its -drive; one made with -blockdev has none. */
static const struct drive_config *drive_of(const struct machine *machine, const struct block *block)
{
	const char *id = machine_drive_id(machine, block);

	for (size_t i = 0; id && i < machine->config->drive_count; i++)
		if (strcmp(machine->config->drives[i].id, id) == 0)
			return &machine->config->drives[i];
	return NULL;
}

static char *device_path(const struct device *device, const struct machine *machine)
{
	unsigned index = 0;

	if (device->id)
		return xasprintf("/machine/peripheral/%s", device->id);
	for (const struct device *d = machine->devices; d && d != device; d = d->next)
		index += !d->id;
	return xasprintf("/machine/peripheral-anon/device[%u]", index);
}

static const char *file_of(const struct block *block)
{
	while (!block->filename && block->file)
		block = block->file;
	return block->filename ? block->filename : "";
}

static json_t *image_of(const struct block *block)
{
	json_t *image = json_pack("{s:I,s:s,s:s,s:b}", "virtual-size", (json_int_t)block->length, "filename",
				  file_of(block), "format", block->driver->name, "dirty-flag", 0);
	struct stat info;

	if (*file_of(block) && stat(file_of(block), &info) == 0)
		json_object_set_new(image, "actual-size", json_integer((json_int_t)info.st_blocks * 512));
	return image;
}

static json_t *inserted_of(const struct block *block, const struct drive_config *drive)
{
	json_t *cache = json_pack("{s:b,s:b,s:b}", "no-flush", block->no_flush, "direct", drive && drive->cache_direct,
				  "writeback", !drive || drive->cache_writeback);
	unsigned depth = 0;

	for (const struct block *b = block; b->backing; b = b->backing)
		depth++;
	return json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:s,s:o,s:b,s:s,s:i,s:s,s:i,s:b,s:o,s:s}", "iops", 0, "iops_rd", 0,
			 "iops_wr", 0, "bps", 0, "bps_rd", 0, "bps_wr", 0, "detect_zeroes", "off", "image",
			 image_of(block), "ro", block->read_only, "node-name", block->node_name ? block->node_name : "",
			 "backing_file_depth", depth, "drv", block->driver->name, "write_threshold", 0, "encrypted", 0,
			 "cache", cache, "file", file_of(block));
}

static json_t *run_block(struct command_call *call, struct error *err)
{
	json_t *list = json_array();

	for (const struct device *d = next_disk(call->machine->devices); d; d = next_disk(d->next)) {
		const struct block *block = block_of(d);
		const struct drive_config *drive = drive_of(call->machine, block);
		char *path = device_path(d, call->machine);

		json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:b,s:o,s:s,s:s}", "io-status", "ok", "device",
						      drive ? drive->id : "", "locked", 0, "removable",
						      drive && drive->cdrom, "inserted", inserted_of(block, drive),
						      "qdev", path, "type", "unknown"));
		free(path);
	}
	return list;
}

static const char *string_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void show_block(struct command_call *call, const json_t *result)
{
	json_t *disk;
	size_t index;

	if (json_array_size(result) == 0)
		text_printf(call->text, "no disks\n");
	json_array_foreach(result, index, disk)
	{
		const json_t *inserted = json_object_get(disk, "inserted"), *cache = json_object_get(inserted, "cache");
		const char *name = string_at(disk, "device"), *node = string_at(inserted, "node-name");

		if (*name)
			text_printf(call->text, "%s%s (%s): %s (%s%s)\n", index ? "\n" : "", name, node,
				    string_at(inserted, "file"), string_at(inserted, "drv"),
				    json_is_true(json_object_get(inserted, "ro")) ? ", read-only" : "");
		else
			text_printf(call->text, "%s%s: %s (%s%s)\n", index ? "\n" : "", node,
				    string_at(inserted, "file"), string_at(inserted, "drv"),
				    json_is_true(json_object_get(inserted, "ro")) ? ", read-only" : "");
		text_printf(call->text, "    Attached to:      %s\n    Cache mode:       %s%s%s\n",
			    string_at(disk, "qdev"),
			    json_is_true(json_object_get(cache, "writeback")) ? "writeback" : "writethrough",
			    json_is_true(json_object_get(cache, "direct")) ? ", direct" : "",
			    json_is_true(json_object_get(cache, "no-flush")) ? ", ignore flushes" : "");
	}
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
		const struct block *block = block_of(d);
		const struct drive_config *drive = drive_of(call->machine, block);
		char *path = device_path(d, call->machine);
		json_t *row = json_pack("{s:s,s:o,s:s,s:s}", "device", drive ? drive->id : "", "stats", stats_of(block),
					"node-name", block->node_name ? block->node_name : "", "qdev", path);

		if (block->file)
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
		const char *name = string_at(disk, "device");

		text_printf(call->text, "%s:", *name ? name : string_at(disk, "node-name"));
		for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
			text_printf(call->text, " %s=%lld", counters[i],
				    (long long)json_integer_value(json_object_get(stats, counters[i])));
		text_printf(call->text, "\n");
	}
}

const struct command commands_disks[] = {
	{"query-block", "info block", "", "show info of all block devices", NULL, run_block, show_block},
	{"query-blockstats", "info blockstats", "", "show block device statistics", NULL, run_blockstats,
	 show_blockstats},
	{0},
};
