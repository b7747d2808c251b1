/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the cirrus files: the adapter and its blitter. */
#ifndef XUNI_DEVICE_DISPLAY_CIRRUS_H
#define XUNI_DEVICE_DISPLAY_CIRRUS_H

#include "base/util.h"
#include "device/display/vga.h"
#include "device/pci/pci.h"

#define CIRRUS_ROW_MAX 8192 /* bytes of a blit's row */

/* A blit under way, whose source the CPU writes. */
struct cirrus_feed {
	bool active;
	uint32_t row_bytes; /* of source data for one row, or for all of a pattern */
	uint32_t filled;
	uint32_t rows_left;
	uint32_t destination; /* of the next row */
	uint8_t data[CIRRUS_ROW_MAX + 4];
};

struct cirrus {
	struct pci_device pci;
	struct vga vga;
	uint32_t vgamem_mb;
	uint8_t hidden_dac;
	uint8_t dac_reads; /* of port 0x3c6 in a row; the hidden register is behind four */
	uint16_t cursor_x, cursor_y;
	uint8_t cursor_colours[48]; /* 16 palette entries of its own */
	uint8_t colour0, colour1;   /* GR0 and GR1 with all eight bits */
	struct cirrus_feed feed;
};

static inline struct cirrus *cirrus_of(struct vga *vga)
{
	return container_of(vga, struct cirrus, vga);
}

/* SR7: the extensions are on. */
static inline bool cirrus_is_extended(const struct vga *vga)
{
	return vga->sequencer[7] & 1;
}

/* cirrus_ports.c and cirrus_memory.c: of vga_ops. */
bool cirrus_sequencer_write(struct vga *vga, uint8_t index, uint8_t value);
bool cirrus_sequencer_read(struct vga *vga, uint8_t index, uint8_t *value);
bool cirrus_graphics_write(struct vga *vga, uint8_t index, uint8_t value);
bool cirrus_graphics_read(struct vga *vga, uint8_t index, uint8_t *value);
bool cirrus_crtc_write(struct vga *vga, uint8_t index, uint8_t value);
bool cirrus_crtc_read(struct vga *vga, uint8_t index, uint8_t *value);
bool cirrus_dac_write(struct vga *vga, uint16_t port, uint8_t value);
bool cirrus_dac_read(struct vga *vga, uint16_t port, uint8_t *value);
bool cirrus_legacy_own(struct vga *vga);
void cirrus_legacy_write(struct vga *vga, uint32_t offset, uint8_t value);
uint8_t cirrus_legacy_read(struct vga *vga, uint32_t offset);
bool cirrus_legacy_direct(struct vga *vga, uint32_t *first, uint32_t *bytes, uint32_t *offset);
/* BARs 0 and 1; opaque is the adapter. */
extern const struct region_ops cirrus_linear_ops, cirrus_mmio_ops;

/* GR20..GR35 describe it, GR31 was told to start. The lock is held for these. */
void cirrus_blit_start(struct cirrus *cirrus);
void cirrus_blit_reset(struct cirrus *cirrus);
/* A byte of source data from the CPU. */
void cirrus_blit_feed(struct cirrus *cirrus, uint8_t value);
/* The blitter began or stopped to take data, or addressing changed: memory is seen as it is, or not. */
void cirrus_map(struct cirrus *cirrus);

#endif
