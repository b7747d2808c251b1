/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a VGA core (vga.h): regions, reset, what is saved. Video memory is a RAM block and is saved as RAM is.
 */
#include "device/display/vga.h"

#include "base/util.h"

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;
	uint8_t value;

	pthread_mutex_lock(&vga->lock);
	value = vga_port_read(vga, (uint16_t)(0x3b0 + offset));
	pthread_mutex_unlock(&vga->lock);
	return value;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;

	pthread_mutex_lock(&vga->lock);
	vga_port_write(vga, (uint16_t)(0x3b0 + offset), (uint8_t)value);
	pthread_mutex_unlock(&vga->lock);
}

/* A word to an index port is index and data, lowest byte first: the bus splits it. */
static const struct region_ops port_ops = {.read = port_read, .write = port_write, .min_width = 1, .max_width = 1};
static const struct region_ops legacy_ops = {.read = vga_legacy_read,
					     .write = vga_legacy_write,
					     .write_block = vga_legacy_write_block,
					     .move_block = vga_legacy_move_block,
					     .peek = vga_legacy_peek,
					     .min_width = 1,
					     .max_width = 8};

static int add_regions(struct vga *vga, struct error *err)
{
	int ret;

	vga->ports_region =
		(struct region){.name = "vga", .ops = &port_ops, .opaque = vga, .base = 0x3b0, .size = 0x30};
	vga->legacy_region = (struct region){.name = "vga-lowmem",
					     .ops = &legacy_ops,
					     .opaque = vga,
					     .base = VGA_LEGACY_GPA,
					     .size = VGA_LEGACY_BYTES};
	vga->dispi_region =
		(struct region){.name = "vbe", .ops = &vga_dispi_port_ops, .opaque = vga, .base = 0x1ce, .size = 4};
	ret = bus_add(vga->env->io, &vga->ports_region, err);
	if (!ret)
		ret = bus_add(vga->env->memory, &vga->legacy_region, err);
	if (!ret && vga->has_dispi)
		ret = bus_add(vga->env->io, &vga->dispi_region, err);
	return ret;
}

int vga_init(struct vga *vga, const char *name, uint32_t bytes, struct error *err)
{
	int ret;

	pthread_mutex_init(&vga->lock, NULL);
	vga->vram = ram_block_new(vga->env->ram, "vga.vram", bytes, err);
	if (!vga->vram) {
		pthread_mutex_destroy(&vga->lock);
		return -ENOMEM;
	}
	vga->memory = vga->vram->hva;
	vga->bytes = bytes;
	vga->direct.block = vga->direct_high.block = vga->vram;
	vga->direct.yields = vga->direct_high.yields = true;
	ret = vga_cells_init(vga, err);
	if (!ret)
		ret = vga_screen_new(vga, name, err);
	if (!ret)
		ret = add_regions(vga, err);
	if (ret)
		vga_fini(vga);
	return ret;
}

void vga_fini(struct vga *vga)
{
	bus_remove(vga->env->io, &vga->ports_region);
	bus_remove(vga->env->memory, &vga->legacy_region);
	bus_remove(vga->env->io, &vga->dispi_region);
	ram_window_hide(&vga->direct);
	ram_window_hide(&vga->direct_high);
	vga_cells_fini(vga);
	vga_screen_free(vga);
	ram_block_free(vga->vram);
	vga->vram = NULL;
	pthread_mutex_destroy(&vga->lock);
}

void vga_reset(struct vga *vga)
{
	pthread_mutex_lock(&vga->lock);
	vga->misc = vga->feature = 0;
	vga->sequencer_index = vga->graphics_index = vga->crtc_index = vga->attribute_index = 0;
	vga->attribute_data = false;
	memset(vga->sequencer, 0, sizeof(vga->sequencer));
	memset(vga->graphics, 0, sizeof(vga->graphics));
	memset(vga->crtc, 0, sizeof(vga->crtc));
	memset(vga->attribute, 0, sizeof(vga->attribute));
	memset(vga->dac, 0, sizeof(vga->dac));
	memset(vga->dac_latch, 0, sizeof(vga->dac_latch));
	vga->graphics[8] = 0xff;
	vga->dac_mask = 0xff;
	vga->dac_read_index = vga->dac_write_index = vga->dac_component = 0;
	vga->dac_reading = vga->dac_8bit = false;
	vga->latch = 0;
	vga_dispi_reset(vga);
	vga_map_legacy(vga);
	pthread_mutex_unlock(&vga->lock);
}

/* --- a text mode without a BIOS --- */

/* Mode 3 with 400 lines, as IBM's tables have it. */
static const uint8_t text_crtc[25] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
				      0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
static const uint8_t text_attribute[21] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
					   0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};

void vga_set_text_mode(struct vga *vga, const uint8_t font[4096])
{
	pthread_mutex_lock(&vga->lock);
	vga_cells_close(vga);
	vga->misc = 0x67;
	memcpy(vga->sequencer, (const uint8_t[]){3, 0, 3, 0, 2}, 5);
	memcpy(vga->crtc, text_crtc, sizeof(text_crtc));
	memcpy(vga->graphics, (const uint8_t[]){0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff}, 9);
	memcpy(vga->attribute, text_attribute, sizeof(text_attribute));
	vga->attribute_index = 0x20;
	/* Two bits a colour: the low one is two thirds, the high one a third. */
	for (unsigned i = 0; i < 64; i++)
		for (unsigned c = 0; c < 3; c++)
			vga->dac[3 * i + c] = (uint8_t)((i >> (2 - c) & 1) * 42 + (i >> (5 - c) & 1) * 21);
	for (unsigned i = 0; i < 0x8000; i++) {
		uint8_t *word = vga->memory + 4 * i;

		word[0] = i < 0x4000 ? ' ' : 0;
		word[1] = i < 0x4000 ? 7 : 0;
		word[2] = i < 256 * 32 && (i & 31) < 16 ? font[i / 32 * 16 + (i & 31)] : 0;
	}
	ram_block_written(vga->vram, 0, 4 * 0x8000);
	vga_map_legacy(vga);
	pthread_mutex_unlock(&vga->lock);
}

/* --- saved state --- */

static int check_state(const void *staged, struct error *err)
{
	const struct vga *vga = staged;

	if (vga->dac_component > 2)
		return error_set(err, EINVAL, "palette component %u; there are three", vga->dac_component);
	return 0;
}

static void before_save(void *object)
{
	struct vga *vga = object;

	pthread_mutex_lock(&vga->lock);
	vga_cells_sync(vga);
	pthread_mutex_unlock(&vga->lock);
}

static void after_load(void *object)
{
	struct vga *vga = object;

	pthread_mutex_lock(&vga->lock);
	vga_cells_forget(vga);
	vga_map_legacy(vga);
	pthread_mutex_unlock(&vga->lock);
}

#define BYTES(member, n)                                                                                               \
	{                                                                                                              \
		.name = #member, .type = STATE_BYTES, .offset = offsetof(struct vga, member), .count = (n),            \
		.stride = 1                                                                                            \
	}

static const struct state_field dispi_fields[] = {
	STATE_FIELD(STATE_U16, struct vga_dispi, index),
	STATE_FIELD_N(STATE_U16, struct vga_dispi, registers, 16),
	STATE_END,
};

static const struct state_table dispi_state = {
	.name = "dispi", .version = 1, .size = sizeof(struct vga_dispi), .fields = dispi_fields};

static const struct state_field fields[] = {
	STATE_FIELD(STATE_U8, struct vga, misc),
	STATE_FIELD(STATE_U8, struct vga, feature),
	STATE_FIELD(STATE_U8, struct vga, sequencer_index),
	STATE_FIELD(STATE_U8, struct vga, graphics_index),
	STATE_FIELD(STATE_U8, struct vga, crtc_index),
	STATE_FIELD(STATE_U8, struct vga, attribute_index),
	STATE_FIELD(STATE_BOOL, struct vga, attribute_data),
	BYTES(sequencer, VGA_REGISTERS),
	BYTES(graphics, VGA_REGISTERS),
	BYTES(crtc, VGA_REGISTERS),
	BYTES(attribute, 32),
	STATE_FIELD(STATE_U8, struct vga, dac_mask),
	STATE_FIELD(STATE_U8, struct vga, dac_read_index),
	STATE_FIELD(STATE_U8, struct vga, dac_write_index),
	STATE_FIELD(STATE_U8, struct vga, dac_component),
	STATE_FIELD(STATE_BOOL, struct vga, dac_reading),
	STATE_FIELD(STATE_BOOL, struct vga, dac_8bit),
	BYTES(dac, 768),
	BYTES(dac_latch, 3),
	STATE_FIELD(STATE_U32, struct vga, latch),
	STATE_SUB(dispi_state, struct vga, dispi, 1),
	STATE_END,
};

const struct state_table vga_state = {.name = "vga",
				      .version = 1,
				      .size = sizeof(struct vga),
				      .fields = fields,
				      .check = check_state,
				      .before_save = before_save,
				      .after_load = after_load};
