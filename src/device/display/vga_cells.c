/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text cells as the CPU sees them. In text modes (and CGA's) even addresses reach plane 0 and odd ones plane 1, which
 * lie four bytes apart in video memory, so that this cannot be mapped as it is. While an access does nothing else, a
 * block of 32 KiB in which the cells lie one behind the other is mapped at 0xb8000 (or 0xb0000) instead, and guests
 * write to it at memory speed. As long as that is so it holds the truth about planes 0 and 1, and whoever looks at
 * these asks for vga_cells_sync first.
 */
#include "device/display/vga.h"

#include "base/util.h"

/* Nothing but odd/even addressing happens between CPU and the two planes. */
static bool wanted(struct vga *vga, uint64_t *gpa)
{
	const uint8_t *graphics = vga->graphics, *sequencer = vga->sequencer;
	unsigned map = graphics[6] >> 2 & 3;

	*gpa = VGA_LEGACY_GPA + (map == 2 ? 0x10000 : 0x18000);
	return vga->misc & 2 && map >= 2 && !vga_dispi_enabled(vga) && !(sequencer[4] & 0x0c) &&
	       (sequencer[2] & 15) == 3 && !(graphics[1] & 15) && !graphics[3] && (graphics[5] & 0x1f) == 0x10 &&
	       !(graphics[4] & 2) && graphics[8] == 0xff &&
	       !(vga->ops && vga->ops->legacy_own && vga->ops->legacy_own(vga));
}

static void fill(struct vga *vga)
{
	for (uint32_t at = 0; at < VGA_CELLS_BYTES; at += 2)
		memcpy(vga->cells->hva + at, vga->memory + 2 * at, 2);
	memcpy(vga->cells_synced, vga->cells->hva, VGA_CELLS_BYTES);
	ram_block_written(vga->cells, 0, VGA_CELLS_BYTES);
}

/* Only what the CPU has written as cells: a guest may have drawn in the linear frame buffer before it sets its mode. */
void vga_cells_sync(struct vga *vga)
{
	if (!vga->cells_hold)
		return;
	for (uint32_t at = 0; at < VGA_CELLS_BYTES; at += 2) {
		uint16_t cell = load_le16(vga->cells->hva + at);

		if (load_le16(vga->cells_synced + at) == cell)
			continue;
		store_le16(vga->cells_synced + at, cell);
		store_le16(vga->memory + 2 * at, cell);
		vga_touched(vga, 2 * at);
	}
}

void vga_cells_close(struct vga *vga)
{
	if (!vga->cells_hold)
		return;
	ram_window_hide(&vga->cells_window);
	vga_cells_sync(vga);
	vga->cells_hold = false;
}

void vga_cells_map(struct vga *vga)
{
	uint64_t gpa;

	if (!wanted(vga, &gpa)) {
		vga_cells_close(vga);
		return;
	}
	if (!vga->cells_hold)
		fill(vga);
	vga->cells_hold = true;
	vga->cells_gpa = gpa;
	/* Where that fails (or takes a while in other CPUs), vga_memory.c comes here for each byte. */
	ram_window_show(&vga->cells_window, gpa, false);
}

uint8_t *vga_cells_at(struct vga *vga, uint32_t offset)
{
	uint64_t at = VGA_LEGACY_GPA + offset - vga->cells_gpa;

	return vga->cells_hold && at < VGA_CELLS_BYTES ? vga->cells->hva + at : NULL;
}

void vga_cells_forget(struct vga *vga)
{
	ram_window_hide(&vga->cells_window);
	vga->cells_hold = false;
}

int vga_cells_init(struct vga *vga, struct error *err)
{
	vga->cells = ram_block_new(vga->env->ram, "vga.cells", VGA_CELLS_BYTES, err);
	if (!vga->cells)
		return -ENOMEM;
	vga->cells_window = (struct ram_window){.block = vga->cells, .size = VGA_CELLS_BYTES, .yields = true};
	return 0;
}

void vga_cells_fini(struct vga *vga)
{
	vga_cells_forget(vga);
	ram_block_free(vga->cells);
	vga->cells = NULL;
}
