/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA core that every display adapter here is built on: registers, legacy memory window, modes, and the console
 * that shows them. An adapter embeds struct vga, adds its own registers, and may override how a mode is decoded.
 *
 * Video memory is one RAM block, with the four planes interleaved: byte n of plane p lies at 4 * n + p. What the CRTC
 * counts is therefore words of four bytes in every mode: a text cell's character, attribute and font byte; eight pixels
 * of the planar modes; four of the 256-colour ones. A CPU address in odd/even or chain-4 mode reaches the word that its
 * bits above the plane number say, where hardware leaves gaps, which only shows when one mode's memory is read in
 * another.
 *
 * Locks: vga->lock guards the registers and is taken by ports and memory callbacks (vCPU threads) and, for a look at
 * the registers, by updates (main loop). Pixels are drawn without it; video memory itself needs no lock. Order:
 * vga->lock, the layout of guest RAM.
 */
#ifndef XUNI_DEVICE_DISPLAY_VGA_H
#define XUNI_DEVICE_DISPLAY_VGA_H

#include "base/log.h"
#include "core/bus.h"
#include "core/device.h"
#include "core/ram.h"
#include "core/state.h"

#include <pthread.h>

struct display_console;
struct vga;
struct vga_screen;

#define VGA_LEGACY_GPA   0xa0000u
#define VGA_LEGACY_BYTES 0x20000u
#define VGA_CELLS_BYTES  0x8000u
#define VGA_REGISTERS    64 /* of the sequencer, graphics and CRT controllers, extensions included */

enum vga_kind {
	VGA_BLANK,
	VGA_TEXT,
	VGA_PLANAR, /* 4 bits from four planes */
	VGA_CGA,    /* 2 bits, packed in bytes of planes 0 and 1 in turn */
	VGA_PACKED8,
	VGA_RGB15,
	VGA_RGB16,
	VGA_RGB24,
	VGA_RGB32,
};

/* All that a picture depends on beside video memory; compared as bytes, so it is zeroed before it is filled in. */
struct vga_mode {
	enum vga_kind kind;
	uint32_t width, height;
	uint32_t start;      /* byte offset in video memory of the first row */
	uint32_t stride;     /* bytes from row to row */
	uint32_t size;       /* addresses wrap here; a power of two, at most video memory */
	uint32_t scan_lines; /* of a row of memory (or of a character cell) */
	uint32_t first_scan; /* preset row scan */
	uint32_t split;      /* from this scan line on memory is shown from offset 0; UINT32_MAX: nowhere */
	uint32_t pan;        /* pixels of the screen */
	bool pan_above_split_only;
	bool double_scan; /* each scan line of memory is shown twice */
	bool double_dots;
	/* CGA and Hercules interleave: this bit of the offset is bit 0 (1) of the scan line's number in its row; 0:
	 * none. */
	uint32_t interleave_bit[2];

	uint32_t cell_width; /* VGA_TEXT: 8 or 9, times two with double_dots */
	uint32_t font[2];    /* byte offsets of the fonts for attribute bit 3 clear and set */
	bool blink;          /* attribute bit 7 blinks, else it is background intensity */
	bool line_graphics;  /* the ninth column of glyphs 0xc0..0xdf repeats the eighth */
	uint32_t underline;  /* scan line, for attributes with a foreground of 1 (mono); UINT32_MAX: none */

	uint8_t planes;        /* VGA_PLANAR, VGA_CGA: the ones that are shown */
	uint32_t palette[256]; /* 0x00RRGGBB; 16 entries but for VGA_PACKED8 */
};

/* The text cursor, apart from the mode because it moves all the time. */
struct vga_text_cursor {
	uint32_t offset;     /* byte offset of its cell */
	uint8_t first, last; /* scan lines; first > last: none */
	bool on;
};

struct vga_dispi {
	uint16_t index;
	uint16_t registers[16];
};

/* What an adapter puts in the VGA's place; may be NULL each. With the lock held. */
struct vga_ops {
	/* True: *mode is the adapter's own. The palette is in it already. */
	bool (*mode)(struct vga *vga, struct vga_mode *mode);
	/* Register writes and reads beyond those of a VGA; index is that of the controller. True: done. */
	bool (*sequencer_write)(struct vga *vga, uint8_t index, uint8_t value);
	bool (*sequencer_read)(struct vga *vga, uint8_t index, uint8_t *value);
	bool (*graphics_write)(struct vga *vga, uint8_t index, uint8_t value);
	bool (*graphics_read)(struct vga *vga, uint8_t index, uint8_t *value);
	bool (*crtc_write)(struct vga *vga, uint8_t index, uint8_t value);
	bool (*crtc_read)(struct vga *vga, uint8_t index, uint8_t *value);
	/* Port 0x3c6 (pixel mask) and the palette port 0x3c9. */
	bool (*dac_write)(struct vga *vga, uint16_t port, uint8_t value);
	bool (*dac_read)(struct vga *vga, uint16_t port, uint8_t *value);
	/* Whether the window at 0xa0000 is the adapter's own now, and how it answers then: offset in the window. */
	bool (*legacy_own)(struct vga *vga);
	void (*legacy_write)(struct vga *vga, uint32_t offset, uint8_t value);
	uint8_t (*legacy_read)(struct vga *vga, uint32_t offset);
	/* Then: where [0xa0000 + *first, + *bytes) can be mapped to video memory as it is; false: nowhere. */
	bool (*legacy_direct)(struct vga *vga, uint32_t *first, uint32_t *bytes, uint32_t *offset);
	/* Main loop, without the lock, once a frame: draws what lies over the picture (a hardware cursor) into a row.
	 * overlay_key changes when what it draws does, and says which rows; 0: nothing. */
	uint64_t (*overlay_key)(struct vga *vga, uint32_t *first_row, uint32_t *rows);
	void (*overlay)(struct vga *vga, uint32_t y, uint32_t *pixels, uint32_t width);
};

struct vga {
	const struct device_env *env;
	const struct vga_ops *ops;
	pthread_mutex_t lock;
	struct log_limit log_limit;

	struct ram_block *vram;
	uint8_t *memory;               /* vram's */
	uint32_t bytes;                /* a power of two */
	struct ram_window direct;      /* the window at 0xa0000 where memory is linear */
	struct ram_window direct_high; /* its second half, where an adapter has two banks */
	struct ram_block *cells;       /* vga_cells.c */
	struct ram_window cells_window;
	uint64_t cells_gpa;
	bool cells_hold; /* what the CPU sees at cells_gpa is in cells, and planes 0 and 1 are old */
	uint8_t cells_synced[VGA_CELLS_BYTES]; /* then: as they were brought to the planes last */

	/* Saved: */
	uint8_t misc, feature;
	uint8_t sequencer_index, graphics_index, crtc_index;
	uint8_t attribute_index;
	bool attribute_data; /* the flip-flop: port 0x3c0 takes data next */
	uint8_t sequencer[VGA_REGISTERS], graphics[VGA_REGISTERS], crtc[VGA_REGISTERS];
	uint8_t attribute[32];
	uint8_t dac_mask, dac_read_index, dac_write_index, dac_component;
	bool dac_reading, dac_8bit;
	uint8_t dac[768], dac_latch[3];
	uint32_t latch;
	struct vga_dispi dispi;

	bool has_dispi;
	struct region ports_region, legacy_region, dispi_region;
	struct vga_screen *screen;
};

/* vga->env, ops and has_dispi are set. bytes: of video memory, a power of two from 256 KiB. name: of the console.
 * Adds ports 0x3b0..0x3df, the legacy window, and DISPI. On failure it leaves nothing behind. */
int vga_init(struct vga *vga, const char *name, uint32_t bytes, struct error *err);
void vga_reset(struct vga *vga);
/* Takes everything off the buses that vga_init put there; then no callback comes any more. */
void vga_fini(struct vga *vga);
extern const struct state_table vga_state;

/* A text mode and a palette as a BIOS leaves them (mode 3: 80x25), with this 8x16 font of 256 glyphs, for kernels that
 * are booted without one. vCPUs stand still. */
void vga_set_text_mode(struct vga *vga, const uint8_t font[4096]);

/* --- for the adapters and between the core's files; with the lock held unless said otherwise --- */

uint8_t vga_port_read(struct vga *vga, uint16_t port);
void vga_port_write(struct vga *vga, uint16_t port, uint8_t value);
/* Takes the lock itself: offset is that in the 128 KiB from 0xa0000. */
uint64_t vga_legacy_read(void *opaque, uint64_t offset, unsigned size);
void vga_legacy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size);
size_t vga_legacy_write_block(void *opaque, uint64_t offset, const void *from, unsigned size, size_t count);
size_t vga_legacy_move_block(void *opaque, uint64_t to, uint64_t from, unsigned size, size_t count);
uint8_t vga_legacy_peek(void *opaque, uint64_t offset);
/* Registers changed that say what the CPU sees at 0xa0000. */
void vga_map_legacy(struct vga *vga);
/* vga_cells.c: planes 0 and 1 are as the CPU has written them. */
void vga_cells_sync(struct vga *vga);
/* The same, and from now on the CPU writes to the planes, until vga_map_legacy: before somebody else writes there. */
void vga_cells_close(struct vga *vga);
/* The cell's byte that the CPU reaches at this offset from 0xa0000; NULL: none. */
uint8_t *vga_cells_at(struct vga *vga, uint32_t offset);
/* For vga_map_legacy. */
void vga_cells_map(struct vga *vga);
/* Registers and video memory were replaced. */
void vga_cells_forget(struct vga *vga);
int vga_cells_init(struct vga *vga, struct error *err);
void vga_cells_fini(struct vga *vga);
/* What the registers mean. */
void vga_decode(struct vga *vga, struct vga_mode *mode, struct vga_text_cursor *cursor);
/* Fills width, height, stride, start, split, scan_lines and the interleave from the CRT controller. */
void vga_decode_crtc(const struct vga *vga, struct vga_mode *mode);
/* All 256 entries, for VGA_PACKED8. */
void vga_palette256(const struct vga *vga, uint32_t palette[256]);
void vga_palette16(const struct vga *vga, uint32_t palette[16]);
uint32_t vga_dac_colour(const struct vga *vga, uint8_t index);
/* Video memory [offset, +length) was written by the CPU through this file or by an engine of the adapter. No lock
 * needed. */
static inline void vga_touched(struct vga *vga, uint32_t offset)
{
	if (atomic_load_explicit(&vga->vram->page_flags[offset >> PAGE_SHIFT], memory_order_relaxed) != RAM_ALL)
		ram_block_written(vga->vram, offset, 1);
}

uint16_t vga_dispi_read(struct vga *vga, uint16_t index);
void vga_dispi_write(struct vga *vga, uint16_t index, uint16_t value);
void vga_dispi_reset(struct vga *vga);
static inline bool vga_dispi_enabled(const struct vga *vga)
{
	return vga->dispi.registers[4] & 1;
}
bool vga_dispi_mode(const struct vga *vga, struct vga_mode *mode);
extern const struct region_ops vga_dispi_port_ops;

/* screen.c; main loop. */
int vga_screen_new(struct vga *vga, const char *name, struct error *err);
void vga_screen_free(struct vga *vga);

/* draw.c: n pixels of one row from row bytes `from`, which hold as many as are needed; pixels go to `to`, whole units
 * of eight dots. No lock. */
void vga_draw_row(const struct vga_mode *mode, const uint8_t *from, uint32_t *to, uint32_t width);
/* Bytes of video memory that a row of `width` pixels comes from. */
uint32_t vga_row_bytes(const struct vga_mode *mode, uint32_t width);

#endif
