/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of a running machine changed: block_resize, block_set_io_throttle. */
#include "backend/block/attach.h"
#include "backend/block/throttle.h"
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"
#include "machine/media.h"

#include <stdio.h>
#include <stdlib.h>

/* --- block_resize --- */

/* The node of a -drive (under what its options put over it). */
static struct block *drive_node(const struct machine *machine, const char *id)
{
	struct block *block = NULL;

	while ((block = block_next(machine->blocks, block))) {
		const char *drive = machine_drive_id(machine, block);

		if (drive && strcmp(drive, id) == 0)
			break;
	}
	while (block && block->implicit)
		block = block->file;
	return block;
}

static json_t *run_resize(struct command_call *call, struct error *err)
{
	const char *device = argument_string(call, "device"), *node = argument_string(call, "node-name");
	const int64_t bytes = argument_int(call, "size", 0);
	struct block *block = device ? drive_node(call->machine, device) : NULL;

	if (!block && node)
		block = block_find(call->machine->blocks, node);
	if (!block)
		error_set(err, EINVAL, "Cannot find device='%s' nor node-name='%s'", device ? device : "",
			  node ? node : "");
	else if (bytes < 0)
		error_set(err, EINVAL, "Parameter 'size' expects a >0 size");
	else if (bytes % 512)
		error_set(err, EINVAL, "The new size must be a multiple of 512");
	else if (block_resize(block, (uint64_t)bytes, err) == 0)
		return json_object();
	return NULL;
}

/* --- block_set_io_throttle --- */

static bool is_device(const struct machine *machine, const struct device *device, const char *id)
{
	char *path = machine_device_path(machine, device);
	const bool same = strcmp(path, id) == 0 || (device->id && strcmp(device->id, id) == 0);

	free(path);
	return same;
}

/* By the id of its -drive; or of its -device, or that's path. NULL with a message. */
static struct block *disk_of(const struct machine *machine, const char *drive, const char *id, struct error *err)
{
	for (const struct device *d = machine->devices; d; d = d->next) {
		struct block *block = monitor_block_of(d);
		const char *its_drive = machine_device_drive(machine, d);

		if (drive ? its_drive && strcmp(its_drive, drive) == 0 : is_device(machine, d, id)) {
			if (!block)
				error_set(err, EINVAL, "Device does not have a block device backend");
			return block;
		}
	}
	error_set(err, ENODEV, "Device '%s' not found", drive ? drive : id);
	return NULL;
}

static uint64_t value_of(const struct command_call *call, const char *name, const char *suffix, uint64_t fallback)
{
	char key[64];

	snprintf(key, sizeof(key), "%s%s", name, suffix);
	return (uint64_t)argument_int(call, key, (int64_t)fallback);
}

static void limits_of(const struct command_call *call, struct throttle_limits *limits)
{
	static const char *const names[THROTTLE_RATES] = {
		[THROTTLE_BPS_TOTAL] = "bps",   [THROTTLE_BPS_READ] = "bps_rd",   [THROTTLE_BPS_WRITE] = "bps_wr",
		[THROTTLE_IOPS_TOTAL] = "iops", [THROTTLE_IOPS_READ] = "iops_rd", [THROTTLE_IOPS_WRITE] = "iops_wr",
	};

	for (unsigned i = 0; i < THROTTLE_RATES; i++) {
		limits->rates[i].average = value_of(call, names[i], "", 0);
		limits->rates[i].burst = value_of(call, names[i], "_max", 0);
		limits->rates[i].burst_seconds = value_of(call, names[i], "_max_length", 1);
	}
	limits->iops_size = value_of(call, "iops_size", "", 0);
}

/* HMP's one name may be either. */
static struct block *throttled_disk(const struct command_call *call, struct error *err)
{
	const char *device = argument_string(call, "device"), *id = argument_string(call, "id");
	struct block *block;

	if (call->text) {
		block = disk_of(call->machine, device, NULL, NULL);
		return block ? block : disk_of(call->machine, NULL, device, err);
	}
	if (!device == !id) {
		error_set(err, EINVAL, "Need exactly one of 'device' and 'id'");
		return NULL;
	}
	return disk_of(call->machine, device, id, err);
}

static json_t *run_throttle(struct command_call *call, struct error *err)
{
	const char *name = argument_string(call, "group");
	struct block *block = throttled_disk(call, err);
	struct throttle_group *group;
	struct throttle_limits limits;

	if (!block)
		return NULL;
	limits_of(call, &limits);
	if (throttle_limits_check(&limits, err) < 0)
		return NULL;
	group = block_get_throttle(block);
	if (!throttle_limits_any(&limits)) {
		block_set_throttle(block, NULL);
		return json_object();
	}
	if (!name)
		name = argument_string(call, "device") ? argument_string(call, "device") : argument_string(call, "id");
	if (!group || argument_string(call, "group"))
		group = throttle_group_get(block->graph, name);
	throttle_group_set(group, &limits);
	block_set_throttle(block, group);
	return json_object();
}

#define RATE(NAME)                                                                                                     \
	{                                                                                                              \
		NAME, ARGUMENT_INT                                                                                     \
	}
#define BURST(NAME)                                                                                                    \
	{NAME "_max", ARGUMENT_INT, true},                                                                             \
	{                                                                                                              \
		NAME "_max_length", ARGUMENT_INT, true                                                                 \
	}

static const struct command_argument throttle_arguments[] = {
	{"device", ARGUMENT_STRING, true, WORDS_DISKS},
	{"id", ARGUMENT_STRING, true},
	RATE("bps"),
	RATE("bps_rd"),
	RATE("bps_wr"),
	RATE("iops"),
	RATE("iops_rd"),
	RATE("iops_wr"),
	BURST("bps"),
	BURST("bps_rd"),
	BURST("bps_wr"),
	BURST("iops"),
	BURST("iops_rd"),
	BURST("iops_wr"),
	{"iops_size", ARGUMENT_INT, true},
	{"group", ARGUMENT_STRING, true},
	{0},
};

const struct command commands_disk_change[] = {
	{"block_resize", NULL, "", "resize a block image",
	 (const struct command_argument[]){
		 {"device", ARGUMENT_STRING, true}, {"node-name", ARGUMENT_STRING, true}, {"size", ARGUMENT_INT}, {0}},
	 run_resize},
	{NULL, "block_resize", "device size", "resize a block image",
	 (const struct command_argument[]){
		 {"device", ARGUMENT_STRING, false, WORDS_DISKS}, {"size", ARGUMENT_MEGABYTES}, {0}},
	 run_resize},
	{"block_set_io_throttle", NULL, "", "change I/O throttle limits for a block drive", throttle_arguments,
	 run_throttle},
	{NULL, "block_set_io_throttle", "device bps bps_rd bps_wr iops iops_rd iops_wr",
	 "change I/O throttle limits for a block drive",
	 (const struct command_argument[]){{"device", ARGUMENT_STRING, false, WORDS_DISKS},
					   RATE("bps"),
					   RATE("bps_rd"),
					   RATE("bps_wr"),
					   RATE("iops"),
					   RATE("iops_rd"),
					   RATE("iops_wr"),
					   {0}},
	 run_throttle},
	{0},
};
