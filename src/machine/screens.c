/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/screens.h"

#include "backend/block/block.h"
#include "backend/display/driver.h"
#include "base/log.h"
#include "base/util.h"
#include "config/domain.h"
#include "machine/internal.h"

#include <stdlib.h>

struct screens {
	struct machine *machine;
	struct display_host host;
	struct display_ui *uis;
};

static void host_quit(void *opaque)
{
	machine_request_quit(opaque, SHUTDOWN_HOST_UI);
}

static void host_event(void *opaque, const char *name, const char *data_json)
{
	machine_emit(opaque, name, data_json);
}

static const char *host_secret(void *opaque, const char *id, size_t *length, struct error *err)
{
	const struct machine *machine = opaque;

	if (machine->blocks)
		return block_secret_find(machine->blocks, id, length, err);
	error_set(err, ENOENT, "No secret with id '%s'", id);
	return NULL;
}

static struct options *host_object(void *opaque, const char *id, const char **type)
{
	const struct machine *machine = opaque;
	const struct config_list *list = &machine->config->objects;

	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i].id && !strcmp(list->items[i].id, id)) {
			*type = list->items[i].type;
			return (struct options *)&list->items[i].options;
		}
	}
	return NULL;
}

struct screens *screens_new(struct machine *machine)
{
	struct screens *screens = xcalloc(1, sizeof(*screens));

	screens->machine = machine;
	screens->host = (struct display_host){
		.display = display_new(),
		.input = machine->input,
		.loop = machine->loop,
		.log = machine->log,
		.machine_name = machine->config->name,
		.keyboard = machine->config->keyboard,
		.secret = host_secret,
		.object = host_object,
		.quit = host_quit,
		.event = host_event,
		.opaque = machine,
	};
	return screens;
}

struct display *screens_display(struct screens *screens)
{
	return screens->host.display;
}

int screens_open(struct screens *screens, struct error *err)
{
	const struct config_list *list = &screens->machine->config->displays;

	for (size_t i = 0; i < list->count; i++) {
		const struct config_item *item = &list->items[i];
		struct options options;
		struct display_ui *ui, **last = &screens->uis;

		options_copy(&options, &item->options);
		ui = display_ui_open(item->type, item->id, &options, &screens->host, err);
		options_free(&options);
		if (!ui && item->typed)
			return error_prefix(err, "%s", item->typed);
		if (!ui) { /* the default one: who did not ask for it can do without */
			log_warn(screens->host.log, "no VNC server shows the screen: %s", err->msg);
			*err = (struct error){0};
			continue;
		}
		while (*last)
			last = &(*last)->next;
		*last = ui;
	}
	return 0;
}

void screens_close(struct screens *screens)
{
	while (screens && screens->uis) {
		struct display_ui *ui = screens->uis;

		screens->uis = ui->next;
		display_ui_close(ui);
	}
}

void screens_free(struct screens *screens)
{
	if (!screens)
		return;
	display_free(screens->host.display);
	free(screens);
}

struct display *machine_display(struct machine *machine)
{
	return machine->private_data->screens->host.display;
}

struct display_ui *machine_display_ui(struct machine *machine, unsigned index)
{
	struct display_ui *ui = machine->private_data->screens->uis;

	while (ui && index--)
		ui = ui->next;
	return ui;
}
