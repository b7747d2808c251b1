/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapshot: internal snapshots: list, create, apply, delete. */
#include "img/internal.h"

#define NAME_MAX_BYTES 255 /* QEMU's: what is longer it could neither show nor delete */

static int run_snapshot(struct img *img, struct block *block, char action, const char *name)
{
	char taken[NAME_MAX_BYTES + 1];
	struct error err = {0};
	int result = 0;

	if (!action)
		return 0;
	/* As in qemu, what has no snapshots of its own hands them on to the image below it. */
	while (block_is_window(block))
		block = block->file;
	if (block->driver != &block_qcow2_driver) {
		if (action == 'l')
			return 0;
		if (action == 'c')
			return img_fail(img, "Could not create snapshot '%s': -95 (Operation not supported)", name);
		if (action == 'a')
			return img_fail(img, "Could not apply snapshot '%s': Block driver does not support snapshots",
					name);
		return img_fail(img, "Could not delete snapshot '%s': snapshot not found", name);
	}
	if (action == 'l') {
		img_print_snapshots(img, block);
	} else if (action == 'c') {
		snprintf(taken, sizeof(taken), "%s", name);
		result = qcow2_snapshot_create(block, taken, &err);
	} else if (action == 'a') {
		result = qcow2_snapshot_apply(block, name, &err);
	} else {
		result = qcow2_snapshot_delete(block, name, &err);
	}
	return result < 0 ? img_fail(img, "%s", err.msg) : 0;
}

static const struct img_long longs[] = {{"force-share", false, 'U'}, {NULL}};

int img_verb_snapshot(struct img *img, int argc, char **argv)
{
	struct img_open how = {0};
	const char *name = NULL;
	char action = 0;
	struct img_args args;
	struct block *block;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "la:c:d:hqU", longs);
	while (status < 0 && (code = img_args_next(&args))) {
		if (code == 'l' || code == 'a' || code == 'c' || code == 'd') {
			if (action)
				status = img_usage(img, "Cannot mix '-l', '-a', '-c', '-d'");
			action = (char)code;
			name = args.value;
		} else if (code == 'U') {
			how.force_share = true;
		} else if (code != 'q') {
			status = img_args_other(&args, code);
		}
	}
	if (status < 0 && args.name_count != 1)
		status = img_usage(img, "Expecting one image file name");
	if (status < 0) {
		how.writable = action && action != 'l';
		block = img_open(img, args.names[0], NULL, &how);
		status = block ? run_snapshot(img, block, action, name) : 1;
		block_unref(block);
	}
	img_args_end(&args);
	return status;
}
