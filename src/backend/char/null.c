/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Takes everything, gives nothing. */
#include "backend/char/drivers.h"

static int null_open(struct chardev *chardev, struct options *options, struct error *err)
{
	atomic_store(&chardev->connected, true);
	return 0;
}

static size_t null_write(struct chardev *chardev, const uint8_t *data, size_t length)
{
	return length;
}

const struct chardev_driver null_driver = {
	.name = "null",
	.help = "drops output, has no input",
	.size = sizeof(struct chardev),
	.open = null_open,
	.write = null_write,
};
