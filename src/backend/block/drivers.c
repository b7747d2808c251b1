/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of block drivers, and recognition of formats by their first bytes. */
#include "backend/block/internal.h"
#include "backend/block/qcow2.h"
#include "backend/block/vhdx.h"
#include "backend/block/vmdk.h"

const struct block_driver *const block_drivers[] = {
	&block_file_driver,     &block_host_device_driver,
	&block_null_driver,     &block_raw_driver,
	&block_qcow2_driver,    &block_vmdk_driver,
	&block_vhdx_driver,     &block_luks_driver,
	&block_vdi_driver,
	&block_vpc_driver,
	&block_qcow_driver,
	&block_copy_on_read_driver,
	&block_throttle_driver, &block_blkdebug_driver, NULL,
};

const struct block_driver *block_driver_find(const char *name)
{
	for (size_t i = 0; block_drivers[i]; i++)
		if (!strcmp(block_drivers[i]->name, name))
			return block_drivers[i];
	return NULL;
}

static const struct {
	const char *format;
	const char *magic;
	uint8_t length, offset;
} foreign[] = {
	{"qcow2", "QFI\xfb\0\0\0", 7, 0}, /* versions 1 to 3 */
	{"qed", "QED\0", 4, 0},
	{"vmdk", "# Disk DescriptorFile", 21, 0},
	{"luks", "LUKS\xba\xbe", 6, 0},
	{"parallels", "WithoutFreeSpace", 16, 0},
	{"parallels", "WithouFreSpacExt", 16, 0},
	{"bochs", "Bochs Virtual HD Image", 22, 0},
	{"cloop", "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=", 42, 0},
};

const char *block_probe_foreign(const uint8_t *head, size_t length)
{
	for (size_t i = 0; block_drivers[i]; i++)
		if (block_drivers[i]->probe && block_drivers[i] != &block_raw_driver &&
		    block_drivers[i]->probe(head, length, "") > 0)
			return block_drivers[i]->name;
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
		if (range_inside(foreign[i].offset, foreign[i].length, length) &&
		    !memcmp(head + foreign[i].offset, foreign[i].magic, foreign[i].length))
			return foreign[i].format;
	return NULL;
}
