/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a domain_config: defaults, lists, release. */
#include "config/domain.h"

#include "base/util.h"

#include <stdlib.h>

const char *const panic_action_names[] = {[PANIC_SHUTDOWN] = "shutdown",
					 [PANIC_PAUSE] = "pause",
					 [PANIC_EXIT_FAILURE] = "exit-failure",
					 [PANIC_NONE] = "none",
					 NULL};
const char *const watchdog_action_names[] = {
	[WATCHDOG_RESET] = "reset", [WATCHDOG_SHUTDOWN] = "shutdown", [WATCHDOG_POWEROFF] = "poweroff",
	[WATCHDOG_INJECT_NMI] = "inject-nmi", [WATCHDOG_PAUSE] = "pause", [WATCHDOG_DEBUG] = "debug",
	[WATCHDOG_NONE] = "none", NULL,
};

void domain_config_init(struct domain_config *config)
{
	*config = (struct domain_config){
		.board = xstrdup("pc"),
		.accels = xcalloc(1, sizeof(char *)),
		.ram_bytes = 128 * MIB,
		.vcpus = 1,
		.max_vcpus = 1,
		.sockets = 1,
		.dies = 1,
		.cores = 1,
		.threads = 1,
		.boot_menu_wait_ms = -1,
		.boot_fail_wait_ms = -1,
	};
}

struct config_item *config_list_add(struct config_list *list, const char *type, const char *id, struct options *options)
{
	struct config_item *item;

	list->items = xrealloc(list->items, (list->count + 1) * sizeof(*list->items));
	item = &list->items[list->count++];
	*item = (struct config_item){
		.type = type ? xstrdup(type) : NULL, .id = id ? xstrdup(id) : NULL, .options = *options};
	*options = (struct options){0};
	return item;
}

struct config_item *config_list_find(const struct config_list *list, const char *id)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].id && strcmp(list->items[i].id, id) == 0)
			return &list->items[i];
	return NULL;
}

static void config_list_free(struct config_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->items[i].type);
		free(list->items[i].id);
		free(list->items[i].typed);
		options_free(&list->items[i].options);
	}
	free(list->items);
}

static void drive_free(struct drive_config *drive)
{
	char *const owned[] = {drive->id,     drive->typed,  drive->file,   drive->format, drive->aio, drive->node_name,
			       drive->serial, drive->werror, drive->rerror};

	for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
		free(owned[i]);
	options_free(&drive->rest);
}

static void words_free(char **words)
{
	for (size_t i = 0; words && words[i]; i++)
		free(words[i]);
	free(words);
}

void domain_config_free(struct domain_config *config)
{
	struct config_list *lists[] = {&config->blockdevs, &config->devices, &config->netdevs, &config->chardevs,
				       &config->objects,   &config->smbios,  &config->fw_cfg,   &config->displays};
	char *const owned[] = {
		config->name,       config->process_name, config->uuid,    config->board,    config->cpu,
		config->ram_path,   config->kernel,       config->initrd,  config->append,   config->dtb,
		config->bios,       config->display,      config->vga,     config->boot_order,
		config->boot_once,  config->boot_splash, config->pidfile,      config->run_as,  config->incoming, config->gdb,
		config->chroot_dir, config->log_path,     config->keyboard,
	};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		config_list_free(lists[i]);
	for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
		free(owned[i]);
	for (size_t i = 0; i < config->drive_count; i++)
		drive_free(&config->drives[i]);
	free(config->drives);
	for (size_t i = 0; i < config->monitor_count; i++)
		free(config->monitors[i].chardev);
	free(config->monitors);
	words_free(config->accels);
	words_free(config->trace_patterns);
	words_free(config->firmware_dirs);
	options_free(&config->board_options);
	options_free(&config->accel_options);
	options_free(&config->globals);
	*config = (struct domain_config){0};
}
