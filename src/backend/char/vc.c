/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A text console of the machine's display (-chardev vc). Size: cols= and rows=, or width= and height= in pixels of
 * characters of 8 x 16. What is typed waits here while the front end has no room, and is dropped when it is too much.
 */
#include "backend/char/drivers.h"

#include "base/loop.h"
#include "base/util.h"

enum { COLUMNS = 80, ROWS = 30, CELL_WIDTH = 8, CELL_HEIGHT = 16, SIDE_MAX = 256, TYPED_MAX = 256 };
#define AGAIN_NS (10 * NS_PER_MS)

struct vc {
	struct chardev chardev;
	struct chardev_console *console; /* NULL: there is no display */
	uint16_t columns, rows;
	uint8_t typed[TYPED_MAX];
	size_t typed_bytes;
	struct loop_timer again; /* while something waits */
};

static void deliver(void *opaque)
{
	struct vc *vc = opaque;
	const struct chardev_front *front = &vc->chardev.front;
	size_t done = 0;

	if (!front->receive)
		vc->typed_bytes = 0;
	while (done < vc->typed_bytes) {
		size_t room = front->can_receive(front->opaque), run = min_u64(room, vc->typed_bytes - done);

		if (!run)
			break;
		front->receive(front->opaque, vc->typed + done, run);
		done += run;
	}
	vc->typed_bytes -= min_u64(done, vc->typed_bytes);
	memmove(vc->typed, vc->typed + done, vc->typed_bytes);
	if (vc->typed_bytes)
		loop_timer_set(&vc->again, host_now_ns() + AGAIN_NS);
}

void chardev_typed(struct chardev *chardev, const char *bytes, size_t length)
{
	struct vc *vc = (struct vc *)chardev;

	if (length > TYPED_MAX - vc->typed_bytes)
		return;
	memcpy(vc->typed + vc->typed_bytes, bytes, length);
	vc->typed_bytes += length;
	deliver(vc);
}

/* One side, of cells or of pixels. */
static int side(struct options *options, const char *cells, const char *pixels, unsigned cell, uint16_t *value,
		struct error *err)
{
	uint64_t count = 0, size = 0;

	if (options_u64(options, cells, &count, SIDE_MAX, err) < 0 ||
	    options_u64(options, pixels, &size, UINT16_MAX, err) < 0)
		return -EINVAL;
	if (!count)
		count = min_u64(size / cell, SIDE_MAX);
	if (count)
		*value = (uint16_t)count;
	return 0;
}

static int vc_open(struct chardev *chardev, struct options *options, struct error *err)
{
	struct vc *vc = (struct vc *)chardev;

	vc->columns = COLUMNS;
	vc->rows = ROWS;
	if (side(options, "cols", "width", CELL_WIDTH, &vc->columns, err) < 0 ||
	    side(options, "rows", "height", CELL_HEIGHT, &vc->rows, err) < 0)
		return -EINVAL;
	loop_timer_init(&vc->again, chardev->loop, deliver, vc);
	if (chardev->host && chardev->host->console)
		vc->console = chardev->host->console(chardev->host->opaque, chardev, vc->columns, vc->rows);
	atomic_store(&chardev->connected, true);
	return 0;
}

static void vc_close(struct chardev *chardev)
{
	struct vc *vc = (struct vc *)chardev;

	loop_timer_cancel(&vc->again);
	if (vc->console)
		vc->console->close(vc->console);
}

static size_t vc_write(struct chardev *chardev, const uint8_t *data, size_t length)
{
	struct vc *vc = (struct vc *)chardev;

	if (vc->console)
		vc->console->write(vc->console, data, length);
	return length;
}

static bool vc_window(struct chardev *chardev, uint16_t *columns, uint16_t *rows)
{
	struct vc *vc = (struct vc *)chardev;

	*columns = vc->columns;
	*rows = vc->rows;
	return vc->console;
}

static const char *const vc_known[] = {"width", "height", "cols", "rows", NULL};

const struct chardev_driver vc_driver = {
	.name = "vc",
	.help = "a text console of the display (Ctrl-Alt-2 and so on)",
	.size = sizeof(struct vc),
	.known = vc_known,
	.open = vc_open,
	.close = vc_close,
	.write = vc_write,
	.window = vc_window,
};
