/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening user interfaces: which type lies in which module (driver.h). */
#include "backend/display/driver.h"

#include "base/module.h"
#include "base/util.h"

#include <stdlib.h>

static const struct {
	const char *type, *help;
} types[] = {
	{"none", "no screen; the monitor's screendump still works"},
	{"curses", "text modes in the terminal that xuni-vmm is started in"},
	{"vnc", "a VNC server"},
};

bool display_ui_type(unsigned index, const char **name, const char **help)
{
	if (index >= ARRAY_SIZE(types))
		return false;
	*name = types[index].type;
	*help = types[index].help;
	return true;
}

/* Each type but none is in the module of its name. */
static const struct display_driver *find_driver(const char *type, struct error *err)
{
	const struct display_driver *const *drivers;
	const char *names[ARRAY_SIZE(types) + 1] = {0}, *near;
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		names[i] = types[i].type;
	while (names[at] && strcmp(names[at], type))
		at++;
	if (!names[at] || at == 0) {
		near = nearest_word(type, names);
		error_set(err, EINVAL, "there is no display type '%s'%s%s%s", type, near ? "; did you mean '" : "",
			  near ? near : "", near ? "'?" : "");
		return NULL;
	}
	drivers = module_load("display", type, DISPLAY_MODULE_ABI, err);
	for (; drivers && *drivers; drivers++)
		if (!strcmp((*drivers)->name, type))
			return *drivers;
	if (drivers)
		error_set(err, ENOENT, "display type '%s' is not in its module", type);
	return NULL;
}

static void ui_free(struct display_ui *ui)
{
	free(ui->id);
	free(ui);
}

void display_ui_close(struct display_ui *ui)
{
	ui->driver->close(ui);
	ui_free(ui);
}

struct display_ui *display_ui_open(const char *type, const char *id, struct options *options,
				   const struct display_host *host, struct error *err)
{
	const struct display_driver *driver = find_driver(type, err);
	struct display_ui *ui;

	if (!driver)
		return NULL;
	ui = xcalloc(1, driver->size);
	ui->driver = driver;
	ui->id = id ? xstrdup(id) : NULL;
	ui->host = host;
	if (driver->open(ui, options, err) < 0) {
		ui_free(ui);
		return NULL;
	}
	if (options_check_used(options, type, driver->known, err) < 0) {
		display_ui_close(ui);
		return NULL;
	}
	return ui;
}
