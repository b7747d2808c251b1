/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Takes everything, gives nothing. `vc` is what a window would show; without a display it is the same. */
#include "backend/char/drivers.h"

#include "base/util.h"

static int null_open(struct chardev *chardev, struct options *options, struct error *err)
{
	atomic_store(&chardev->connected, true);
	return 0;
}

static int vc_open(struct chardev *chardev, struct options *options, struct error *err)
{
	static const char *const sizes[] = {"width", "height", "cols", "rows"};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t value = 0;

		if (options_u64(options, sizes[i], &value, UINT16_MAX, err))
			return -EINVAL;
	}
	return null_open(chardev, options, err);
}

static size_t null_write(struct chardev *chardev, const uint8_t *data, size_t length)
{
	return length;
}

static const char *const vc_known[] = {"width", "height", "cols", "rows", NULL};

const struct chardev_driver null_driver = {
	.name = "null",
	.help = "drops output, has no input",
	.size = sizeof(struct chardev),
	.open = null_open,
	.write = null_write,
};

const struct chardev_driver vc_driver = {
	.name = "vc",
	.help = "a text console in a display's window; without a display as null",
	.size = sizeof(struct chardev),
	.known = vc_known,
	.open = vc_open,
	.write = null_write,
};
