/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host side of a machine: opens what -object, -chardev, -netdev, -blockdev and -drive describe, finds it again by
 * id for the devices that use it, and keeps account of who uses what, so that no back end gets two devices.
 */
#include "backend/block/block.h"
#include "backend/block/qcow2.h"
#include "backend/block/throttle.h"
#include "backend/char/chardev.h"
#include "backend/net/net.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"
#include "config/domain.h"
#include "core/object.h"
#include "machine/internal.h"

#include <stdlib.h>

struct backend_use {
	enum property_type type;
	void *backend; /* NULL: an empty drive */
	const char *drive_id; /* of -drive, or NULL */
	struct device *user;
	bool writes; /* to a disk */
};

struct backends {
	struct machine *machine;
	struct chardev_host chardev_host;
	struct chardev **chardevs;
	size_t chardev_count;
	struct net_backend **netdevs;
	size_t netdev_count;
	struct object **objects;
	size_t object_count;
	char **drive_ids; /* ids of -drive; their nodes are named alike */
	struct block **drives;
	size_t drive_count;
	struct block **nodes; /* of -blockdev */
	size_t node_count;
	struct backend_use *uses;
	size_t use_count;
};

/* --- objects --- */

static struct object *object_open(const struct config_item *item, struct error *err)
{
	struct object *object;

	if (!strcmp(item->type, OBJECT_IOTHREAD)) {
		struct object_iothread *iothread = xcalloc(1, sizeof(*iothread));

		iothread->thread = loop_thread_start(item->id ? item->id : "iothread", err);
		if (!iothread->thread) {
			free(iothread);
			return NULL;
		}
		object = &iothread->object;
	} else if (!strcmp(item->type, OBJECT_RNG_RANDOM)) {
		struct object_rng *rng = xcalloc(1, sizeof(*rng));
		const char *filename = options_get((struct options *)&item->options, "filename");

		rng->filename = filename ? xstrdup(filename) : NULL;
		object = &rng->object;
	} else {
		object = xcalloc(1, sizeof(*object)); /* memory back ends: build_ram reads their options */
	}
	object->type = item->type;
	object->id = item->id ? xstrdup(item->id) : NULL;
	return object;
}

static void object_close(struct object *object)
{
	if (object_is(object, OBJECT_IOTHREAD))
		loop_thread_stop(container_of(object, struct object_iothread, object)->thread);
	if (object_is(object, OBJECT_RNG_RANDOM))
		free(container_of(object, struct object_rng, object)->filename);
	free(object->id);
	free(object);
}

struct object *backends_object(struct backends *backends, const char *id)
{
	for (size_t i = 0; i < backends->object_count; i++)
		if (backends->objects[i]->id && !strcmp(backends->objects[i]->id, id))
			return backends->objects[i];
	return NULL;
}

static int open_throttle_group(struct block_graph *graph, const struct config_item *item, struct error *err)
{
	if (!item->id)
		return error_set(err, EINVAL, "id= is missing");
	return throttle_group_add(graph, item->id, &item->options, err);
}

static int open_secret(struct block_graph *graph, const struct config_item *item, struct error *err)
{
	struct options options;
	int result;

	options_copy(&options, &item->options);
	if (item->id)
		options_add(&options, "id", item->id);
	result = block_secret_add(graph, &options, err);
	options_free(&options);
	return result;
}

static int open_objects(struct backends *backends, const struct config_list *list, struct error *err)
{
	backends->objects = xcalloc(list->count, sizeof(struct object *));
	for (size_t i = 0; i < list->count; i++) {
		struct block_graph *graph = backends->machine->blocks;
		struct object *object = object_open(&list->items[i], err);
		int result = object ? 0 : -EINVAL;

		if (object && object_is(object, OBJECT_THROTTLE_GROUP))
			result = open_throttle_group(graph, &list->items[i], err);
		else if (object && object_is(object, OBJECT_SECRET))
			result = open_secret(graph, &list->items[i], err);
		if (object && result) {
			object_close(object);
			object = NULL;
		}
		if (!object)
			return error_prefix(err, "-object %s", list->items[i].type);
		backends->objects[backends->object_count++] = object;
	}
	return 0;
}

/* --- character and network back ends --- */

static void host_quit(void *opaque)
{
	machine_request_quit(opaque, SHUTDOWN_HOST_UI);
}

/* Ctrl-a s: what the guest wrote and the host still holds goes to the disks. */
static void host_sync_disks(void *opaque)
{
	struct machine *machine = opaque;
	struct block *block = NULL;

	while (machine->blocks && (block = block_next(machine->blocks, block)))
		if (!block->read_only)
			block_flush(block);
}

/* Names the option that brought the item before the reason. */
static int item_error(struct error *err, const char *option, const struct config_item *item)
{
	if (item->typed)
		return error_prefix(err, "%s", item->typed);
	return error_prefix(err, "-%s %s,id=%s", option, item->type, item->id ? item->id : "");
}

static int open_chardevs(struct backends *backends, const struct config_list *list, struct error *err)
{
	struct machine *machine = backends->machine;

	backends->chardev_host =
		(struct chardev_host){.console = machine_text_console, .quit = host_quit, .sync_disks = host_sync_disks, .opaque = machine};
	backends->chardevs = xcalloc(list->count, sizeof(struct chardev *));
	for (size_t i = 0; i < list->count; i++) {
		const struct config_item *item = &list->items[i];
		struct options options;
		struct chardev *chardev;

		options_copy(&options, &item->options);
		chardev = chardev_open(item->type, item->id, &options, machine->loop, machine->log,
				       &backends->chardev_host, err);
		options_free(&options);
		if (!chardev)
			return item_error(err, "chardev", item);
		backends->chardevs[backends->chardev_count++] = chardev;
	}
	return 0;
}

static int open_netdevs(struct backends *backends, const struct config_list *list, struct error *err)
{
	struct machine *machine = backends->machine;

	backends->netdevs = xcalloc(list->count, sizeof(struct net_backend *));
	for (size_t i = 0; i < list->count; i++) {
		const struct config_item *item = &list->items[i];
		struct options options;
		struct net_backend *netdev;

		options_copy(&options, &item->options);
		netdev = net_open(item->type, item->id, &options, machine->loop, machine->log, err);
		options_free(&options);
		if (!netdev)
			return item_error(err, "netdev", item);
		backends->netdevs[backends->netdev_count++] = netdev;
	}
	return 0;
}

/* --- disks --- */

static int open_blockdevs(struct backends *backends, const struct config_list *list, struct error *err)
{
	backends->nodes = xcalloc(list->count, sizeof(struct block *));
	for (size_t i = 0; i < list->count; i++) {
		struct options options;
		struct block *block;

		options_copy(&options, &list->items[i].options);
		options_add(&options, "driver", list->items[i].type);
		if (list->items[i].id)
			options_add(&options, "node-name", list->items[i].id);
		block = block_open_options(backends->machine->blocks, &options, err);
		options_free(&options);
		if (!block)
			return error_prefix(err, "-blockdev %s",
					    list->items[i].id ? list->items[i].id : list->items[i].type);
		backends->nodes[backends->node_count++] = block;
	}
	return 0;
}

/* The image of a -drive, with a temporary overlay where it asks for one. */
static struct block *open_image(struct backends *backends, const struct drive_config *drive, struct error *err)
{
	struct block_open how = {
		.read_only = drive->read_only || drive->cdrom,
		.auto_read_only = true,
		.no_cache = drive->cache_direct,
		.no_flush = drive->cache_no_flush,
		.discard = drive->discard_unmap,
		.aio = drive->aio,
		.log = backends->machine->log,
	};
	struct block_open image_how = how;
	struct options options;
	struct block *image, *overlay;

	options_copy_without(&options, &drive->rest, "throttling.");
	if (drive->format)
		options_add(&options, "driver", drive->format);
	if (drive->node_name)
		options_add(&options, "node-name", drive->node_name);
	image_how.read_only |= drive->snapshot;
	image = block_open_image(backends->machine->blocks, drive->file, &options, &image_how, err);
	options_free(&options);
	if (!image || !drive->snapshot || how.read_only)
		return image;
	overlay = block_open_temporary(image, &how, err);
	block_unref(image);
	return overlay;
}

/* The filter that copy-on-read=on means, over the image. */
static struct block *keep_what_is_read(struct block *image, struct error *err)
{
	struct options options = {0};
	struct block *filter;

	options_add(&options, "driver", "copy-on-read");
	options_add(&options, "file", image->node_name);
	filter = block_open_options(image->graph, &options, err);
	if (filter)
		filter->implicit = true;
	options_free(&options);
	block_unref(image);
	return filter;
}

/* throttling.*: a group that is named like the drive where nothing else is said. */
static int throttle_drive(struct block *block, const struct drive_config *drive, struct error *err)
{
	struct throttle_limits limits = {0};
	struct throttle_group *group;
	struct options options;
	const char *name;
	int result;

	options_copy(&options, &drive->rest);
	name = options_get(&options, "throttling.group");
	result = throttle_limits_parse(&options, "throttling.", &limits, err);
	for (size_t i = 0; i < options.count && !result; i++)
		if (!strncmp(options.items[i].key, "throttling.", 11) && !options.items[i].used)
			result = error_set(err, EINVAL, "'%s' is not an option of a drive", options.items[i].key);
	if (!result && throttle_limits_any(&limits)) {
		group = throttle_group_get(block->graph, name ? name : drive->id);
		throttle_group_set(group, &limits);
		block_set_throttle(block, group);
	}
	options_free(&options);
	return result;
}

static int open_drive(struct backends *backends, const struct drive_config *drive, struct error *err)
{
	struct block *block = NULL;

	if (drive->file || drive->format || drive->rest.count) {
		block = open_image(backends, drive, err);
		if (block && drive->copy_on_read)
			block = keep_what_is_read(block, err);
		if (!block)
			return -err->code;
	}
	if (block && throttle_drive(block, drive, err) < 0) {
		block_unref(block);
		return -err->code;
	}
	backends->drive_ids[backends->drive_count] = xstrdup(drive->id);
	backends->drives[backends->drive_count++] = block;
	return 0;
}

static int open_drives(struct backends *backends, const struct domain_config *config, struct error *err)
{
	backends->drive_ids = xcalloc(config->drive_count, sizeof(char *));
	backends->drives = xcalloc(config->drive_count, sizeof(struct block *));
	for (size_t i = 0; i < config->drive_count; i++) {
		const struct drive_config *drive = &config->drives[i];

		if (open_drive(backends, drive, err))
			return drive->typed ? error_prefix(err, "%s", drive->typed) : error_prefix(err, "drive %s", drive->id);
	}
	return 0;
}

/* --- the whole --- */

struct backends *backends_open(struct machine *machine, struct error *err)
{
	const struct domain_config *config = machine->config;
	struct backends *backends = xcalloc(1, sizeof(*backends));
	int ret;

	backends->machine = machine;
	machine->private_data->backends = backends;
	machine->blocks = block_graph_new(machine->log);
	machine_watch_disks(machine);
	ret = open_objects(backends, &config->objects, err);
	if (!ret)
		ret = open_chardevs(backends, &config->chardevs, err);
	if (!ret)
		ret = open_netdevs(backends, &config->netdevs, err);
	if (!ret)
		ret = open_blockdevs(backends, &config->blockdevs, err);
	if (!ret)
		ret = open_drives(backends, config, err);
	return ret ? NULL : backends; /* machine_free closes what was opened */
}

void backends_close(struct backends *backends)
{
	if (!backends)
		return;
	for (size_t i = 0; i < backends->drive_count; i++) {
		free(backends->drive_ids[i]);
		if (backends->drives[i])
			block_unref(backends->drives[i]);
	}
	/* Formats write their metadata when they are closed; overlays before what they lie on. */
	for (size_t i = backends->node_count; i--;)
		block_unref(backends->nodes[i]);
	block_graph_free(backends->machine->blocks);
	backends->machine->blocks = NULL;
	for (size_t i = backends->netdev_count; i--;)
		net_close(backends->netdevs[i]);
	for (size_t i = backends->chardev_count; i--;)
		chardev_close(backends->chardevs[i]);
	for (size_t i = backends->object_count; i--;)
		object_close(backends->objects[i]);
	free(backends->drive_ids);
	free(backends->drives);
	free(backends->nodes);
	free(backends->netdevs);
	free(backends->chardevs);
	free(backends->objects);
	free(backends->uses);
	free(backends);
}

const char *machine_drive_id(const struct machine *machine, const struct block *block)
{
	const struct backends *backends = machine->private_data->backends;

	for (size_t i = 0; i < backends->drive_count; i++)
		if (backends->drives[i] == block)
			return backends->drive_ids[i];
	return NULL;
}

struct chardev *machine_chardev_at(struct machine *machine, size_t index)
{
	struct backends *backends = machine->private_data->backends;

	return index < backends->chardev_count ? backends->chardevs[index] : NULL;
}

struct net_backend *machine_netdev_at(struct machine *machine, size_t index)
{
	struct backends *backends = machine->private_data->backends;

	return index < backends->netdev_count ? backends->netdevs[index] : NULL;
}

struct chardev *machine_chardev(struct machine *machine, const char *id)
{
	struct chardev *chardev;

	for (size_t i = 0; (chardev = machine_chardev_at(machine, i)); i++)
		if (chardev->id && !strcmp(chardev->id, id))
			return chardev;
	return NULL;
}

struct net_backend *machine_netdev(struct machine *machine, const char *id)
{
	struct net_backend *netdev;

	for (size_t i = 0; (netdev = machine_netdev_at(machine, i)); i++)
		if (netdev->id && !strcmp(netdev->id, id))
			return netdev;
	return NULL;
}

/* --- for devices --- */

static const char *drive_id_like(const struct backends *backends, const char *id)
{
	for (size_t i = 0; i < backends->drive_count; i++)
		if (!strcmp(backends->drive_ids[i], id))
			return backends->drive_ids[i];
	return NULL;
}

static void *find_block(struct backends *backends, const char *id)
{
	for (size_t i = 0; i < backends->drive_count; i++)
		if (!strcmp(backends->drive_ids[i], id))
			return backends->drives[i];
	return block_find(backends->machine->blocks, id);
}

static bool is_disk(enum property_type type)
{
	return type == PROPERTY_BLOCK || type == PROPERTY_MEDIUM;
}

/* A mux chardev and an object serve several; disks and networks serve one. */
static bool in_use(const struct backends *backends, const struct backend_use *wanted)
{
	if (!is_disk(wanted->type) && wanted->type != PROPERTY_NET)
		return false;
	for (size_t i = 0; i < backends->use_count; i++) {
		const struct backend_use *use = &backends->uses[i];

		if ((wanted->backend && use->backend == wanted->backend) ||
		    (wanted->drive_id && use->drive_id == wanted->drive_id))
			return true;
	}
	return false;
}

static void keep_use(struct backends *backends, const struct backend_use *use)
{
	backends->uses = xrealloc(backends->uses, (backends->use_count + 1) * sizeof(*backends->uses));
	backends->uses[backends->use_count++] = *use;
}

static void *lookup_find(void *opaque, enum property_type type, const char *id, struct device *user, struct error *err)
{
	struct backends *backends = opaque;
	struct backend_use use = {.type = type, .user = user};
	const char *kind = "";

	switch (type) {
	case PROPERTY_BLOCK:
	case PROPERTY_MEDIUM:
		use.drive_id = drive_id_like(backends, id);
		use.backend = find_block(backends, id);
		kind = "-drive or -blockdev";
		break;
	case PROPERTY_NET:
		use.backend = machine_netdev(backends->machine, id);
		kind = "-netdev";
		break;
	case PROPERTY_CHAR:
		use.backend = machine_chardev(backends->machine, id);
		kind = "-chardev";
		break;
	case PROPERTY_OBJECT:
		use.backend = backends_object(backends, id);
		kind = "-object";
		break;
	default:
		break;
	}
	if (!use.backend && !use.drive_id) {
		error_set(err, ENOENT, "there is no %s with id '%s'", kind, id);
		return NULL;
	}
	if (in_use(backends, &use)) {
		error_set(err, EBUSY, "%s '%s' is already in use by another device", kind, id);
		return NULL;
	}
	if (!use.backend) {
		if (type == PROPERTY_MEDIUM)
			keep_use(backends, &use);
		error_set(err, ENOMEDIUM, "Device needs media, but drive is empty");
		return NULL;
	}
	if (is_disk(type)) {
		use.writes = !((struct block *)use.backend)->read_only;
		if (block_claim(use.backend, use.writes, err) < 0)
			return NULL;
	}
	keep_use(backends, &use);
	return use.backend;
}

static void lookup_release(void *opaque, struct device *user)
{
	struct backends *backends = opaque;
	size_t kept = 0;

	for (size_t i = 0; i < backends->use_count; i++) {
		const struct backend_use *use = &backends->uses[i];

		if (use->user != user)
			backends->uses[kept++] = *use;
		else if (use->backend && is_disk(use->type))
			block_release(use->backend, use->writes);
	}
	backends->use_count = kept;
}

/* --- media --- */

static struct backend_use *use_of(struct backends *backends, const struct device *device)
{
	for (size_t i = 0; i < backends->use_count; i++)
		if (backends->uses[i].user == device && is_disk(backends->uses[i].type))
			return &backends->uses[i];
	return NULL;
}

const char *machine_device_drive(const struct machine *machine, const struct device *device)
{
	const struct backend_use *use = use_of(machine->private_data->backends, device);

	return use ? use->drive_id : NULL;
}

bool backends_in_use(const struct machine *machine, const struct block *block)
{
	const struct backend_use wanted = {.type = PROPERTY_MEDIUM, .backend = (void *)(uintptr_t)block};

	return in_use(machine->private_data->backends, &wanted);
}

/* The reference that a -drive holds to its image goes on to the new one. */
static void drive_holds(struct backends *backends, const char *id, struct block *block)
{
	for (size_t i = 0; i < backends->drive_count; i++) {
		if (backends->drive_ids[i] != id)
			continue;
		if (block)
			block_ref(block);
		if (backends->drives[i])
			block_unref(backends->drives[i]);
		backends->drives[i] = block;
	}
}

int backends_set_medium(struct machine *machine, struct device *device, struct block *block, struct error *err)
{
	struct backends *backends = machine->private_data->backends;
	struct backend_use *use = use_of(backends, device), fresh = {.type = PROPERTY_MEDIUM, .user = device};
	struct block *old = use ? use->backend : NULL;
	const bool writes = block && !block->read_only;
	int ret = block ? block_claim(block, writes, err) : 0;

	if (!ret) {
		ret = device->class->medium->set(device, block, err);
		if (ret && block)
			block_release(block, writes);
	}
	if (ret)
		return ret;
	if (!use) {
		keep_use(backends, &fresh);
		use = use_of(backends, device);
	}
	if (old)
		block_release(old, use->writes);
	use->backend = block;
	use->writes = writes;
	if (use->drive_id)
		drive_holds(backends, use->drive_id, block);
	return 0;
}

struct backend_lookup backends_lookup(struct backends *backends)
{
	return (struct backend_lookup){.find = lookup_find, .release = lookup_release, .opaque = backends};
}
