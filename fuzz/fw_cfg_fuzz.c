/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that drives fw_cfg with any selector, port access and DMA descriptor. What must hold: no access outside RAM
 * or an item, reads beyond an item are zero, and read-only files do not change.
 *
 * Input: operations of one byte and their operands.
 */
#include "fuzz.h"

#include "base/util.h"
#include "device/pc/fw_cfg.h"
#include "device/pc/test_pc.h"

#include <endian.h>

enum { OPERATIONS_MAX = 512 };

static struct fw_cfg *fw_cfg;

/* Contents whose length differs each time they are looked at. */
static void lazy_select(void *opaque)
{
	static const char text[] = "0123456789abcdef";
	unsigned *calls = opaque;

	fw_cfg_update_file(fw_cfg, "etc/lazy", text, ++*calls % sizeof(text));
}

static void lazy_written(void *opaque, size_t offset, size_t length)
{
	size_t has;

	if (!fw_cfg_file(fw_cfg, "etc/lazy", &has) || !range_inside(offset, length, has))
		abort();
}

static void build(struct test_pc *t)
{
	static unsigned calls;
	struct fw_cfg_callback callback = {.select = lazy_select, .written = lazy_written, .opaque = &calls};

	test_pc_init(t);
	fw_cfg = fw_cfg_new(&t->env, NULL);
	if (!fw_cfg || fw_cfg_add_file(fw_cfg, "opt/const", "constant", 8, NULL) < 0 ||
	    fw_cfg_add_callback(fw_cfg, "etc/lazy", "lazy", 4, &callback, NULL) < 0 ||
	    fw_cfg_add_file(fw_cfg, "opt/empty", "", 0, NULL) < 0)
		abort();
	fw_cfg_add_string(fw_cfg, FW_CFG_CMDLINE_DATA, "quiet");
}

static void dma(struct test_pc *t, struct input *input)
{
	struct {
		uint32_t control, length;
		uint64_t address;
	} descriptor;
	unsigned shape = (unsigned)take(input, 1);
	uint64_t at = shape & 0x80 ? take(input, 4) : take(input, 2);

	descriptor.control = htobe32((uint32_t)(take(input, 1) | (shape & 0x3f) << 16));
	descriptor.length = htobe32((uint32_t)take(input, shape & 0x40 ? 4 : 1));
	descriptor.address = htobe64(take(input, shape & 0x40 ? 8 : 3));
	ram_write(t->env.ram, at, &descriptor, sizeof(descriptor));
	bus_write(t->env.io, 0x514, htobe32((uint32_t)(at >> 32)), 4);
	bus_write(t->env.io, 0x518, htobe32((uint32_t)at), 4);
}

static void operation(struct test_pc *t, struct input *input)
{
	unsigned choice = (unsigned)take(input, 1);

	switch (choice & 7) {
	case 0:
		bus_write(t->env.io, 0x510, take(input, 1), 2);
		break;
	case 1:
		bus_write(t->env.io, 0x510, take(input, 2), 2);
		break;
	case 2:
		for (unsigned i = 0; i < choice >> 3; i++)
			bus_read(t->env.io, 0x511, 1);
		break;
	case 3:
		bus_write(t->env.io, 0x510 + (choice >> 3 & 15), take(input, 4), 1u << (choice >> 6));
		break;
	case 4:
		bus_read(t->env.io, 0x510 + (choice >> 3 & 15), 1u << (choice >> 6));
		break;
	default:
		dma(t, input);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct test_pc t;
	struct input input = {data, size};
	size_t length;

	if (!fw_cfg)
		build(&t);
	device_reset((struct device *)fw_cfg);
	for (unsigned n = 0; input.size && n < OPERATIONS_MAX; n++)
		operation(&t, &input);
	if (memcmp(fw_cfg_file(fw_cfg, "opt/const", &length), "constant", 8) || length != 8)
		abort();
	return 0;
}
