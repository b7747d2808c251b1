/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text consoles of the display for back ends vc: the terminal between both, with the font of the installed video BIOS.
 */
#include "backend/char/chardev.h"
#include "backend/display/vt.h"
#include "base/util.h"
#include "machine/internal.h"
#include "machine/screens.h"

#include <stdlib.h>

struct text_console {
	struct chardev_console console;
	struct chardev *chardev;
	struct vt *vt;
};

static void typed(void *opaque, const char *bytes, size_t length)
{
	struct text_console *console = opaque;

	chardev_typed(console->chardev, bytes, length);
}

static void write_console(struct chardev_console *console, const uint8_t *data, size_t length)
{
	vt_write(container_of(console, struct text_console, console)->vt, data, length);
}

static void close_console(struct chardev_console *opaque)
{
	struct text_console *console = container_of(opaque, struct text_console, console);

	vt_free(console->vt);
	free(console);
}

struct chardev_console *machine_text_console(void *opaque, struct chardev *chardev, uint16_t columns, uint16_t rows)
{
	struct machine *machine = opaque;
	struct text_console *console = xcalloc(1, sizeof(*console));
	uint8_t font[MACHINE_FONT_BYTES];

	machine_read_font(machine, font);
	console->console = (struct chardev_console){.write = write_console, .close = close_console};
	console->chardev = chardev;
	console->vt =
		vt_new(machine_display(machine), chardev->id ? chardev->id : "vc", columns, rows, font, typed, console);
	return &console->console;
}
