/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about screens. */
#include "backend/display/picture.h"
#include "base/util.h"
#include "control/monitor/commands.h"
#include "machine/machine.h"

/* The console of a device, or the first one. */
static struct display_console *find_console(struct command_call *call, struct error *err)
{
	const char *device = argument_string(call, "device");
	struct display *display = machine_display(call->machine);
	struct display_console *console =
		device ? display_console_find(display, device) : display_console_at(display, 0);

	if (argument_int(call, "head", 0) && !device)
		error_set(err, EINVAL, "'head' must be specified together with 'device'");
	else if (argument_int(call, "head", 0))
		error_set(err, EINVAL, "Device '%.100s' has one head, number 0", device);
	else if (!console && device)
		error_set(err, ENODEV, "Device '%.100s' not found", device);
	else if (!console)
		error_set(err, EINVAL, "There is no console to take a screendump from");
	else
		return console;
	return NULL;
}

static json_t *run_screendump(struct command_call *call, struct error *err)
{
	static const char *const formats[] = {[PICTURE_PPM] = "ppm", [PICTURE_PNG] = "png", [PICTURE_TEXT] = "text"};
	const char *name = argument_string(call, "format");
	struct display_console *console;
	unsigned format = PICTURE_PPM;

	if (name)
		for (format = 0; format < ARRAY_SIZE(formats) && strcmp(formats[format], name); format++)
			;
	if (format == ARRAY_SIZE(formats)) {
		if (call->text)
			error_set(err, EINVAL, "invalid parameter value: %.50s", name);
		else
			error_set(err, EINVAL, "Parameter 'format' does not accept value '%.50s'", name);
		return NULL;
	}
	console = find_console(call, err);
	if (!console)
		return NULL;
	return picture_save(console, format, argument_string(call, "filename"), err) ? NULL : json_object();
}

const struct command commands_display[] = {
	{"screendump", "screendump", "filename [-f format] [device [head]]",
	 "save screen from head 'head' of display device 'device' in specified format 'format' as image 'filename'. "
	 "Formats: ppm (default), png, and text for text modes",
	 (const struct command_argument[]){{"filename", ARGUMENT_STRING, false, WORDS_FILES},
					   {"format", ARGUMENT_OPTION, true},
					   {"device", ARGUMENT_STRING, true},
					   {"head", ARGUMENT_INT, true},
					   {0}},
	 run_screendump},
	{0},
};
