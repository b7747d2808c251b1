/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When all options are read: default devices, and what can only be checked now (who refers to whom). */
#include "base/util.h"
#include "config/parse.h"

#include <stdio.h>
#include <stdlib.h>

static bool gdb_on_stdio(const struct domain_config *config)
{
	return config->gdb && strcmp(config->gdb, "stdio") == 0;
}

static bool stdio_taken(const struct domain_config *config)
{
	if (gdb_on_stdio(config))
		return true;
	for (size_t i = 0; i < config->chardevs.count; i++)
		if (strcmp(config->chardevs.items[i].type, "stdio") == 0)
			return true;
	return false;
}

/*
 * With -nographic serial port and monitor share the terminal. There is no window to put them in otherwise, so that is
 * also what happens when no display was chosen at all; with -display none or -daemonize, or when something else took
 * the terminal, they lead nowhere. Where there is a screen (VNC, curses) they are text consoles of it.
 */
static int add_default_consoles(struct config_parse *parse, struct error *err)
{
	struct domain_config *config = parse->config;
	bool terminal = config->no_graphic || (!config->display && !config->daemonize && !stdio_taken(config));
	bool screen = config->displays.count && !config->no_graphic;
	int ret = 0;

	snprintf(parse->typed, sizeof(parse->typed), "%s", config->no_graphic ? "-nographic" : "");
	if (terminal && !parse->has_serial && !parse->has_monitor)
		return add_serial(parse, "mon:stdio", err);
	if (screen) {
		/* The monitor is the first of the text consoles. */
		if (!parse->has_monitor)
			ret = word_monitor(parse, NULL, "vc:80Cx24C", err);
		if (ret == 0 && !parse->has_serial)
			ret = add_serial(parse, "vc:80Cx24C", err);
		return ret;
	}
	if (!parse->has_serial)
		ret = add_serial(parse, terminal ? "stdio" : "null", err);
	if (ret == 0 && !parse->has_monitor && terminal && parse->has_serial && !stdio_taken(config))
		ret = word_monitor(parse, NULL, "stdio", err);
	return ret;
}

static int add_default_nic(struct config_parse *parse, struct error *err)
{
	struct options options = {0};

	return list_nic(parse, NULL, &options, err);
}

/* What put a back end on stdio, as far as the user named it. */
static const char *user_of(const struct config_item *chardev)
{
	return chardev->typed ? chardev->typed : chardev->id;
}

/* The option that draws on the terminal, or NULL. */
static const char *user_curses(const struct domain_config *config)
{
	for (size_t i = 0; i < config->displays.count; i++)
		if (strcmp(config->displays.items[i].type, "curses") == 0)
			return config->displays.items[i].typed;
	return NULL;
}

/* One reads and writes the terminal, and none where there is none. */
static int check_terminal(const struct domain_config *config, struct error *err)
{
	const char *first = gdb_on_stdio(config) ? "-gdb stdio" : NULL, *curses = user_curses(config);

	if ((curses || first) && config->daemonize)
		return error_set(err, EINVAL, "'%s' needs the terminal, which -daemonize gives up", curses ? curses : first);
	if (curses && first)
		return error_set(err, EINVAL, "'%s' and '%s' both need the terminal", curses, first);

	for (size_t i = 0; i < config->chardevs.count; i++) {
		const struct config_item *item = &config->chardevs.items[i];

		if (strcmp(item->type, "stdio") != 0)
			continue;
		if (curses)
			return error_set(err, EINVAL, "'%s' and '%s' both need the terminal; vc instead of stdio is a console beside the screen",
					 curses, user_of(item));
		if (first)
			return error_set(err, EINVAL, "stdio is used twice, by '%s' and '%s'; one can be mon:stdio",
					 first, user_of(item));
		if (config->daemonize)
			return error_set(err, EINVAL, "'%s' needs the terminal, which -daemonize gives up", user_of(item));
		first = user_of(item);
	}
	return 0;
}

static int missing(const struct config_list *list, const char *what, const char *user, const char *id,
		   struct error *err)
{
	const char **ids = xcalloc(list->count + 1, sizeof(char *)), *near;
	size_t count = 0;

	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].id)
			ids[count++] = list->items[i].id;
	near = nearest_word(id, ids);
	if (near)
		error_set(err, ENOENT, "%s: there is no %s '%.100s'; did you mean '%s'?", user, what, id, near);
	else
		error_set(err, ENOENT, "%s: there is no %s '%.100s'", user, what, id);
	free(ids);
	return -ENOENT;
}

static bool drive_exists(const struct domain_config *config, const char *id)
{
	for (size_t i = 0; i < config->drive_count; i++)
		if (strcmp(config->drives[i].id, id) == 0 ||
		    (config->drives[i].node_name && strcmp(config->drives[i].node_name, id) == 0))
			return true;
	return config_list_find(&config->blockdevs, id) != NULL;
}

static int check_references(const struct domain_config *config, struct error *err)
{
	const struct {
		const char *key;
		const struct config_list *list;
	} kinds[] = {{"netdev", &config->netdevs},
		     {"chardev", &config->chardevs},
		     {"iothread", &config->objects},
		     {"rng", &config->objects}};

	for (size_t i = 0; i < config->devices.count; i++) {
		const struct config_item *device = &config->devices.items[i];
		char user[256];
		const char *id;

		snprintf(user, sizeof(user), "%s%.240s", device->typed ? "" : "-device ", device->typed ? device->typed : device->type);
		for (size_t j = 0; j < ARRAY_SIZE(kinds); j++) {
			id = options_peek(&device->options, kinds[j].key);
			if (id && !config_list_find(kinds[j].list, id))
				return missing(kinds[j].list,
					       kinds[j].list == &config->objects ? "object" : kinds[j].key, user, id,
					       err);
		}
		id = options_peek(&device->options, "drive");
		if (id && !drive_exists(config, id))
			return missing(&config->blockdevs, "drive", user, id, err);
	}
	for (size_t i = 0; i < config->monitor_count; i++)
		if (!config_list_find(&config->chardevs, config->monitors[i].chardev))
			return missing(&config->chardevs, "chardev", "-mon", config->monitors[i].chardev, err);
	return 0;
}

/* Two NICs on one back end, two ports on one chardev (that is not a mux) cannot be. */
static int check_single_use(const struct domain_config *config, const char *key, struct error *err)
{
	for (size_t i = 0; i < config->devices.count; i++) {
		const char *id = options_peek(&config->devices.items[i].options, key);
		const struct config_item *chardev = id ? config_list_find(&config->chardevs, id) : NULL;
		const char *mux = chardev && strcmp(key, "chardev") == 0 ? options_peek(&chardev->options, "mux") : NULL;

		if (!id || (mux && strcmp(mux, "on") == 0))
			continue;
		for (size_t j = 0; j < i; j++) {
			const char *other = options_peek(&config->devices.items[j].options, key);

			if (other && strcmp(other, id) == 0)
				return error_set(err, EBUSY, "%s '%s' is used by two devices (%s and %s)", key, id,
						 config->devices.items[j].type, config->devices.items[i].type);
		}
	}
	return 0;
}

static void add_missing(struct options *options, const char *key, const char *value)
{
	if (value && !options_peek(options, key))
		options_add(options, key, value);
}

/* What -drive says about the device rather than about the image goes to the device. */
static void pass_drive_policies(struct options *device, const struct drive_config *drive)
{
	add_missing(device, "serial", drive->serial);
	add_missing(device, "werror", drive->werror);
	add_missing(device, "rerror", drive->rerror);
	if (!drive->cache_writeback)
		add_missing(device, "write-cache", "off");
}

static void add_drive_device(struct domain_config *config, const char *class, struct options *options,
			     const struct drive_config *drive)
{
	config_list_add(&config->devices, class, NULL, options)->typed = drive->typed ? xstrdup(drive->typed) : NULL;
}

/* What -drive adds to a bus of the board; false for the others. */
static bool board_drive(const struct drive_config *drive, struct options *options, const char **class)
{
	char bus[16], unit[16];

	if (drive->interface != DRIVE_IDE && drive->interface != DRIVE_FLOPPY)
		return false;
	options_add(options, "drive", drive->id);
	if (drive->interface == DRIVE_IDE) {
		snprintf(bus, sizeof(bus), "ide.%d", drive->bus);
		options_add(options, "bus", bus);
	}
	snprintf(unit, sizeof(unit), "%d", drive->unit);
	options_add(options, "unit", unit);
	*class = drive->interface == DRIVE_FLOPPY ? "floppy" : drive->cdrom ? "ide-cd" : "ide-hd";
	return true;
}

/* On the board's own buses, where they are before anything that -device adds looks for a free place. */
static void attach_board_drives(struct domain_config *config)
{
	size_t first = config->devices.count, added;
	struct config_item *items;

	for (size_t i = 0; i < config->drive_count; i++) {
		const struct drive_config *drive = &config->drives[i];
		struct options options = {0};
		const char *class;

		if (!board_drive(drive, &options, &class))
			continue;
		pass_drive_policies(&options, drive);
		add_drive_device(config, class, &options, drive);
	}
	added = config->devices.count - first;
	if (!added || !first)
		return;
	items = xcalloc(config->devices.count, sizeof(*items));
	memcpy(items, config->devices.items + first, added * sizeof(*items));
	memcpy(items + added, config->devices.items, first * sizeof(*items));
	free(config->devices.items);
	config->devices.items = items;
}

/* if=scsi: an adapter for each bus, with qemu's names for both. */
static void attach_scsi_drive(struct domain_config *config, const struct drive_config *drive)
{
	struct options options = {0};
	char adapter[16], bus[16], unit[16];

	snprintf(adapter, sizeof(adapter), "scsi%d", drive->bus);
	snprintf(bus, sizeof(bus), "scsi%d.0", drive->bus);
	snprintf(unit, sizeof(unit), "%d", drive->unit);
	if (!config_list_find(&config->devices, adapter)) {
		config_list_add(&config->devices, "virtio-scsi-pci", adapter, &options);
		options = (struct options){0};
	}
	options_add(&options, "drive", drive->id);
	options_add(&options, "bus", bus);
	options_add(&options, "scsi-id", unit);
	pass_drive_policies(&options, drive);
	add_drive_device(config, drive->cdrom ? "scsi-cd" : "scsi-hd", &options, drive);
}

/* if=virtio is a virtio-blk-pci with drive=; if=none is what a -device names. */
static void attach_drives(struct domain_config *config)
{
	size_t named = config->devices.count;

	for (size_t i = 0; i < config->drive_count; i++) {
		const struct drive_config *drive = &config->drives[i];
		struct options options = {0};

		for (size_t j = 0; drive->interface == DRIVE_NONE && j < named; j++) {
			const char *id = options_peek(&config->devices.items[j].options, "drive");

			if (id && strcmp(id, drive->id) == 0)
				pass_drive_policies(&config->devices.items[j].options, drive);
		}
		if (drive->interface == DRIVE_SCSI)
			attach_scsi_drive(config, drive);
		if (drive->interface != DRIVE_VIRTIO)
			continue;
		options_add(&options, "drive", drive->id);
		pass_drive_policies(&options, drive);
		add_drive_device(config, "virtio-blk-pci", &options, drive);
	}
	attach_board_drives(config);
}

/* qemu's board makes the cards of -nic and -net before it looks at -device: guests know them by their slots. */
static void put_nics_first(struct domain_config *config)
{
	struct config_list *list = &config->devices;
	struct config_item *items = xcalloc(list->count + 1, sizeof(*items));
	size_t count = 0;

	for (int nics = 1; nics >= 0; nics--)
		for (size_t i = 0; i < list->count; i++)
			if (list->items[i].nic == (nics == 1))
				items[count++] = list->items[i];
	free(list->items);
	list->items = items;
}

/* Whoever places such drives by hand wants no other. */
static bool names_device(const struct domain_config *config, const char *const *classes)
{
	for (size_t i = 0; i < config->devices.count; i++)
		for (const char *const *class = classes; *class; class++)
			if (strcmp(config->devices.items[i].type, *class) == 0)
				return true;
	return false;
}

/* The firmware's flash chips: 0 is the code, 1 its variables; and what does not go together with them. */
static int check_flash(struct domain_config *config, struct error *err)
{
	const char *names[2] = {options_peek(&config->board_options, "pflash0"), options_peek(&config->board_options, "pflash1")};

	for (size_t i = 0; i < config->drive_count; i++) {
		const struct drive_config *drive = &config->drives[i];

		if (drive->interface != DRIVE_PFLASH)
			continue;
		if (drive->unit > 1)
			return error_set(err, EINVAL, "-drive if=pflash: there are units 0 (code) and 1 (variables), no unit %d",
					 drive->unit);
		if (names[drive->unit])
			return error_set(err, EINVAL, "-drive if=pflash,unit=%d and -machine pflash%d= exclude each other",
					 drive->unit, drive->unit);
		names[drive->unit] = drive->id;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i] && !drive_exists(config, names[i]))
			return missing(&config->blockdevs, "block device", i ? "-machine pflash1" : "-machine pflash0", names[i], err);
	if (names[1] && !names[0])
		return error_set(err, EINVAL, "pflash unit 1 (variables) requires unit 0 (the firmware's code)");
	if (names[0] && config->bios)
		return error_set(err, EINVAL, "-bios and a pflash unit 0 exclude each other: both are the firmware");
	config->firmware = !config->kernel || names[0] || config->bios;
	return 0;
}

static int check_machine(struct config_parse *parse, struct error *err)
{
	struct domain_config *config = parse->config;
	const char *backend = options_peek(&config->board_options, "memory-backend");

	if (parse->has_accel_key && parse->has_machine_accel)
		return error_set(err, EINVAL, "-accel and -machine accel= (or two of them) exclude each other");
	if (backend) {
		const struct config_item *item = config_list_find(&config->objects, backend);
		uint64_t bytes;

		if (!item)
			return missing(&config->objects, "object", "-machine memory-backend", backend, err);
		if (parse_size(options_peek(&item->options, "size") ? options_peek(&item->options, "size") : "0", 1, &bytes,
			       err) < 0)
			return -EINVAL;
		if (bytes != config->ram_bytes)
			return error_set(err, EINVAL, "-machine memory-backend: '%s' has another size than -m",
					 backend);
		if (config->ram_path)
			return error_set(err, EINVAL, "-mem-path and -machine memory-backend= exclude each other");
	}
	if (check_flash(config, err) < 0)
		return -EINVAL;
	if (config->append && !config->kernel)
		return error_set(err, EINVAL, "-append only means something with -kernel");
	if (config->initrd && !config->kernel)
		return error_set(err, EINVAL, "-initrd only means something with -kernel");
	return 0;
}

static const char *const vga_cards[] = {"VGA", "cirrus-vga", "secondary-vga", NULL};

/* The board brings a card unless one is plugged in, as qemu's does. */
static void choose_vga(struct domain_config *config)
{
	if (!config->vga)
		config->vga = xstrdup(config->no_defaults || names_device(config, vga_cards) ? "none" : "std");
}

/*
 * A machine that starts by firmware talks to its screen: where no display was chosen a VNC server on the loopback
 * interface shows it, as qemu's does that has no window system. The terminal stays what it is.
 */
static void add_default_screen(struct domain_config *config)
{
	struct options options = {0};

	if (config->display || config->no_defaults || !config->firmware ||
	    (strcmp(config->vga, "none") == 0 && !names_device(config, vga_cards)))
		return;
	options_add(&options, "vnc", "localhost:0");
	options_add(&options, "to", "99");
	config_list_add(&config->displays, "vnc", "default", &options);
}

int config_finish(struct config_parse *parse, struct error *err)
{
	static const char *const cdroms[] = {"ide-cd", "ide-hd", "scsi-cd", "scsi-hd", NULL};
	static const char *const floppies[] = {"floppy", "isa-fdc", NULL};
	struct domain_config *config = parse->config;

	if (config_join_legacy_nets(parse, err) < 0 || check_machine(parse, err) < 0)
		return -EINVAL;
	if (!config->no_defaults) {
		if (add_default_consoles(parse, err) < 0)
			return -EINVAL;
		parse->typed[0] = 0;
		if (!parse->has_net && add_default_nic(parse, err) < 0)
			return -EINVAL;
		if (add_default_drives(parse, !names_device(config, cdroms), !names_device(config, floppies), err) < 0)
			return -EINVAL;
	}
	for (size_t i = 0; i < config->drive_count; i++)
		if (config->snapshot && !config->drives[i].snapshot_given)
			config->drives[i].snapshot = true;
	put_nics_first(config);
	attach_drives(config);
	choose_vga(config);
	add_default_screen(config);
	if (check_terminal(config, err) < 0 || check_references(config, err) < 0 ||
	    check_single_use(config, "netdev", err) < 0 || check_single_use(config, "chardev", err) < 0 ||
	    check_single_use(config, "drive", err) < 0)
		return -EINVAL;
	return 0;
}
