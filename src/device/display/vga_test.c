/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VGA core by its registers: memory in every write and read mode, modes to pixels, what is told dirty, what is
 * saved. */
#include "backend/display/display.h"
#include "base/util.h"
#include "core/clock.h"
#include "device/display/display_devices.h"
#include "device/display/edid.h"
#include "device/display/vga.h"
#include "device/pci/test_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define DEVFN 0x10

struct fixture {
	struct test_machine *machine;
	struct device *device;
	struct vga *vga;
	struct display_console *console;
	struct display_listener *listener;
	struct display_rect rects[DISPLAY_RECTS_MAX];
	uint64_t lfb, mmio;
};

static const struct display_listener_ops no_ops = {0};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	static uint8_t font[4096];

	f->machine = test_machine_new(0xa0000, false);
	f->machine->env.display = display_new();
	f->device = test_device(f->machine, &vga_pci_class, "addr=2,vgamem_mb=1,xres=1024,yres=768,romfile=", NULL);
	assert_non_null(f->device);
	f->vga = vga_of_device(f->device);
	f->console = display_console_at(f->machine->env.display, 0);
	f->lfb = test_bar_assign(f->machine, DEVFN, 0);
	f->mmio = test_bar_assign(f->machine, DEVFN, 2);
	test_config_write(f->machine, DEVFN, 4, 3, 2);
	for (unsigned i = 0; i < sizeof(font); i++)
		font[i] = (uint8_t)(i / 16);
	vga_set_text_mode(f->vga, font);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->listener)
		display_unlisten(f->listener);
	device_destroy(f->device);
	display_free(f->machine->env.display);
	test_machine_free(f->machine);
	free(f);
	return 0;
}

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	bus_write(f->machine->env.io, port, value, 1);
}

static uint8_t in(struct fixture *f, uint16_t port)
{
	return (uint8_t)bus_read(f->machine->env.io, port, 1);
}

static void set(struct fixture *f, uint16_t port, uint8_t index, uint8_t value)
{
	bus_write(f->machine->env.io, port, index | value << 8, 2);
}

static void set_attribute(struct fixture *f, uint8_t index, uint8_t value)
{
	in(f, 0x3da);
	out(f, 0x3c0, index);
	out(f, 0x3c0, value);
	out(f, 0x3c0, 0x20);
}

static void dispi(struct fixture *f, uint16_t index, uint16_t value)
{
	bus_write(f->machine->env.io, 0x1ce, index, 2);
	bus_write(f->machine->env.io, 0x1d0, value, 2);
}

static void poke(struct fixture *f, uint32_t gpa, uint8_t value)
{
	bus_write(f->machine->env.memory, gpa, value, 1);
}

static uint8_t peek(struct fixture *f, uint32_t gpa)
{
	return (uint8_t)bus_read(f->machine->env.memory, gpa, 1);
}

static size_t update(struct fixture *f)
{
	if (!f->listener)
		f->listener = display_listen(f->console, DISPLAY_PIXELS, &no_ops, NULL);
	return display_update(f->listener, f->rects);
}

static uint32_t pixel(struct fixture *f, uint32_t x, uint32_t y)
{
	const struct display_surface *surface = display_surface(f->console);

	assert_in_range(x, 0, surface->width - 1);
	assert_in_range(y, 0, surface->height - 1);
	return surface->pixels[y * (surface->stride_bytes / 4) + x] & 0xffffff;
}

/* 640x480 in 16 colours, as the BIOS sets mode 0x12, with all planes open. */
static void planar_mode(struct fixture *f)
{
	set(f, 0x3c4, 4, 6);
	set(f, 0x3c4, 2, 15);
	set(f, 0x3ce, 5, 0);
	set(f, 0x3ce, 6, 5);
	set(f, 0x3d4, 0x11, 0);
	set(f, 0x3d4, 1, 79);
	set(f, 0x3d4, 7, 0x3e);
	set(f, 0x3d4, 9, 0x40);
	set(f, 0x3d4, 0x12, 0xdf);
	set(f, 0x3d4, 0x13, 40);
	set(f, 0x3d4, 0x17, 0xe3);
	set(f, 0x3d4, 0x18, 0xff);
	memset(f->vga->memory, 0, f->vga->bytes);
	ram_block_written(f->vga->vram, 0, f->vga->bytes);
}

static uint32_t word(struct fixture *f, uint32_t index)
{
	return load_le32(f->vga->memory + 4 * index);
}

static void test_write_modes(void **state)
{
	struct fixture *f = *state;

	planar_mode(f);
	poke(f, 0xa0000, 0x81);
	assert_int_equal(word(f, 0), 0x81818181);
	set(f, 0x3c4, 2, 5); /* planes 0 and 2 */
	poke(f, 0xa0001, 0xff);
	assert_int_equal(word(f, 1), 0x00ff00ff);
	set(f, 0x3c4, 2, 15);
	set(f, 0x3ce, 3, 1); /* rotate by one */
	poke(f, 0xa0002, 0x01);
	assert_int_equal(word(f, 2), 0x80808080);
	set(f, 0x3ce, 3, 0);
	set(f, 0x3ce, 0, 6);
	set(f, 0x3ce, 1, 14); /* planes 1..3 from set/reset: 1 1 0 */
	poke(f, 0xa0003, 0x55);
	assert_int_equal(word(f, 3), 0x00ffff55);
	set(f, 0x3ce, 1, 0);
	peek(f, 0xa0003); /* latch */
	set(f, 0x3ce, 8, 0x0f);
	poke(f, 0xa0004, 0xaa);
	assert_int_equal(word(f, 4), 0x0afafa5a);
	set(f, 0x3ce, 8, 0xff);
	set(f, 0x3ce, 3, 3 << 3); /* XOR */
	peek(f, 0xa0003);
	poke(f, 0xa0005, 0xff);
	assert_int_equal(word(f, 5), 0xff0000aa);
	set(f, 0x3ce, 3, 0);
	set(f, 0x3ce, 5, 1); /* write mode 1: latches */
	peek(f, 0xa0003);
	poke(f, 0xa0006, 0x12);
	assert_int_equal(word(f, 6), 0x00ffff55);
	set(f, 0x3ce, 5, 2); /* 2: a colour through the bit mask */
	set(f, 0x3ce, 8, 0x80);
	peek(f, 0xa0010);
	poke(f, 0xa0007, 0x09);
	assert_int_equal(word(f, 7), 0x80000080);
	set(f, 0x3ce, 5, 3); /* 3: set/reset through data and bit mask */
	set(f, 0x3ce, 8, 0xf0);
	set(f, 0x3ce, 0, 1);
	poke(f, 0xa0008, 0x3c);
	assert_int_equal(word(f, 8), 0x00000030);
}

static void test_read_modes(void **state)
{
	struct fixture *f = *state;
	uint8_t byte;

	planar_mode(f);
	store_le32(f->vga->memory + 40, 0x0f0000f0);
	set(f, 0x3ce, 4, 3);
	f->vga->latch = 0x1234;
	assert_int_equal(bus_peek(f->machine->env.memory, 0xa000a, &byte), 0);
	assert_int_equal(byte, 0x0f);
	assert_int_equal(f->vga->latch, 0x1234); /* a debugger leaves no trace */
	assert_int_equal(bus_peek(f->machine->env.memory, f->mmio, &byte), -EFAULT);
	assert_int_equal(peek(f, 0xa000a), 0x0f);
	set(f, 0x3ce, 5, 8); /* colour compare with 9: planes 0 and 3 set, 1 and 2 clear */
	set(f, 0x3ce, 2, 9);
	set(f, 0x3ce, 7, 15);
	assert_int_equal(peek(f, 0xa000a), 0x00);
	set(f, 0x3ce, 7, 1); /* only plane 0 counts */
	assert_int_equal(peek(f, 0xa000a), 0xf0);
	/* 64 KiB from 0xa0000, nothing above. */
	assert_int_equal(peek(f, 0xb8000), 0xff);
	out(f, 0x3c2, 0x65); /* RAM disabled */
	assert_int_equal(peek(f, 0xa000a), 0xff);
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* What the accesses of REP STOS and MOVS do when they come together is what they do one by one, whatever the registers
 * say. */
static void test_blocks(void **state)
{
	static const uint8_t controller[] = {0, 1, 2, 3, 4, 5, 7, 8};
	struct fixture *f = *state;
	struct bus *bus = f->machine->env.memory;
	uint8_t *before = xcalloc(1, f->vga->bytes), *after = xcalloc(1, f->vga->bytes), data[256];
	uint32_t random = 1, latch;

	planar_mode(f);
	for (unsigned round = 0; round < 400; round++) {
		unsigned size = 1u << next_random(&random) % 4, count = 1 + next_random(&random) % (256 / size);
		uint32_t to = 0xa0000 + next_random(&random) % 0xfe00, from = 0xa0000 + next_random(&random) % 0xfe00;
		bool moves = next_random(&random) % 2;

		set(f, 0x3c4, 4, (uint8_t)(2 | (next_random(&random) & 12)));
		set(f, 0x3c4, 2, (uint8_t)(next_random(&random) & 15));
		for (size_t i = 0; i < sizeof(controller); i++)
			if (next_random(&random) % 2)
				set(f, 0x3ce, controller[i], (uint8_t)next_random(&random));
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (uint8_t)next_random(&random);
		latch = f->vga->latch;
		memcpy(before, f->vga->memory, f->vga->bytes);
		for (unsigned i = 0; i < count; i++) {
			uint64_t value = 0;

			memcpy(&value, data + i * size, size);
			bus_write(bus, to + i * size, moves ? bus_read(bus, from + i * size, size) : value, size);
		}
		memcpy(after, f->vga->memory, f->vga->bytes);
		memcpy(f->vga->memory, before, f->vga->bytes);
		f->vga->latch = latch;
		assert_int_equal(moves ? bus_move_block(bus, to, from, size, count)
				       : bus_write_block(bus, to, data, size, count),
				 count);
		assert_memory_equal(after, f->vga->memory, f->vga->bytes);
	}
	assert_int_equal(bus_write_block(bus, 0xbfff8, data, 8, 2), 0); /* over the window's end */
	free(before);
	free(after);
}

static void test_odd_even_and_chain4(void **state)
{
	struct fixture *f = *state;

	set(f, 0x3c4, 2, 7); /* plane 2 too: even addresses */
	poke(f, 0xb8000, 'A');
	poke(f, 0xb8001, 0x1f);
	assert_int_equal(word(f, 0) & 0xffffff, 0x411f41);
	assert_int_equal(peek(f, 0xb8001), 0x1f);
	assert_null(f->vga->direct.shown);
	planar_mode(f);
	set(f, 0x3c4, 4, 0x0e);
	poke(f, 0xa0005, 0x77);
	assert_int_equal(f->vga->memory[5], 0x77);
	assert_int_equal(peek(f, 0xa0005), 0x77);
	/* Nothing but bytes: memory itself is there, and is not when a plane is closed. */
	assert_non_null(f->vga->direct.shown);
	assert_int_equal(*(uint8_t *)ram_hva(f->machine->env.ram, 0xa0005, 1), 0x77);
	set(f, 0x3c4, 2, 1);
	assert_null(ram_hva(f->machine->env.ram, 0xa0005, 1));
	poke(f, 0xa0005, 0x11);
	assert_int_equal(f->vga->memory[5], 0x77);
}

/* Text cells are memory of their own while nothing but odd/even addressing lies between CPU and planes. */
static void test_cells_are_mapped(void **state)
{
	struct fixture *f = *state;
	uint8_t *cells = ram_hva(f->machine->env.ram, 0xb8000, 0x8000), byte;

	assert_non_null(cells);
	assert_null(ram_hva(f->machine->env.ram, 0xb0000, 1));
	assert_int_equal(load_le16(cells), 0x0720);
	store_le16(cells, 0x1f41);
	store_le16(cells + 0x7ffe, 0x1234);
	/* The region is the way of who does not see it there yet. */
	assert_int_equal(peek(f, 0xb8001), 0x1f);
	poke(f, 0xb8003, 0x2e);
	assert_int_equal(cells[3], 0x2e);
	assert_int_equal(peek(f, 0xb0000), 0xff);
	assert_int_equal(bus_peek(f->machine->env.memory, 0xb8001, &byte), 0);
	assert_int_equal(byte, 0x1f);
	/* As a BIOS loads a font: plane 2 at 0xa0000, then back. */
	set(f, 0x3c4, 2, 4);
	assert_null(ram_hva(f->machine->env.ram, 0xb8000, 1));
	assert_int_equal(word(f, 0) & 0xffff, 0x1f41);
	assert_int_equal(word(f, 1) & 0xffff, 0x2e20);
	assert_int_equal(word(f, 0x3fff) & 0xffff, 0x1234);
	set(f, 0x3c4, 4, 6);
	set(f, 0x3ce, 5, 0);
	set(f, 0x3ce, 6, 0);
	poke(f, 0xa0000, 0x99);
	set(f, 0x3c4, 2, 1);
	poke(f, 0xa0002, 'B');
	set(f, 0x3c4, 2, 3);
	set(f, 0x3c4, 4, 2);
	set(f, 0x3ce, 5, 0x10);
	set(f, 0x3ce, 6, 0x0a); /* 0xb0000 */
	assert_null(ram_hva(f->machine->env.ram, 0xb8000, 1));
	assert_ptr_equal(ram_hva(f->machine->env.ram, 0xb0000, 0x8000), cells);
	assert_int_equal(word(f, 0), 0x00991f41);
	assert_int_equal(load_le16(cells + 4), 0x0742);
	/* What the CPU wrote is there when somebody else writes to video memory, and is not put over it. */
	cells[0] = 'C';
	store_le32(ram_hva(f->machine->env.ram, f->lfb + 4, 4), 0x112233);
	bus_write(f->machine->env.io, 0x1ce, 4, 2);
	bus_write(f->machine->env.io, 0x1cf, 0x81, 2); /* VBE on, memory kept */
	assert_int_equal(word(f, 0) & 0xff, 'C');
	assert_int_equal(word(f, 1), 0x112233); /* drawn in the linear frame buffer before the mode is set */
	bus_write(f->machine->env.io, 0x1cf, 0, 2);
	cells[0] = 'D';
	bus_write(f->machine->env.io, 0x1cf, 1, 2); /* and cleared */
	assert_int_equal(word(f, 0) & 0xffff, 0);
}

static void test_planar_pixels_pan_and_split(void **state)
{
	struct fixture *f = *state;

	planar_mode(f);
	set(f, 0x3ce, 8, 0xff);
	poke(f, 0xa0000, 0x81);
	update(f);
	assert_int_equal(display_surface(f->console)->width, 640);
	assert_int_equal(display_surface(f->console)->height, 480);
	assert_int_equal(pixel(f, 0, 0), 0xffffff);
	assert_int_equal(pixel(f, 1, 0), 0);
	assert_int_equal(pixel(f, 7, 0), 0xffffff);
	set_attribute(f, 0x13, 7);
	update(f);
	assert_int_equal(pixel(f, 0, 0), 0xffffff);
	assert_int_equal(pixel(f, 1, 0), 0);
	/* Memory begins again at line 100; there the pan does not count if the attribute controller says so. */
	set(f, 0x3d4, 0x0c, 0x40);
	set(f, 0x3d4, 0x18, 99);
	set(f, 0x3d4, 7, 0x2e);
	set(f, 0x3d4, 9, 0x00);
	set_attribute(f, 0x10, 0x21);
	update(f);
	assert_int_equal(pixel(f, 0, 0), 0);
	assert_int_equal(pixel(f, 0, 99), 0);
	assert_int_equal(pixel(f, 0, 100), 0xffffff);
	assert_int_equal(pixel(f, 1, 100), 0);
	assert_int_equal(pixel(f, 7, 100), 0xffffff);
	/* A colour plane that is off. */
	set_attribute(f, 0x12, 1);
	update(f);
	assert_int_equal(pixel(f, 0, 100), 0x0000a8);
	/* The screen off. */
	set(f, 0x3c4, 1, 0x21);
	update(f);
	assert_int_equal(pixel(f, 0, 100), 0);
}

static void test_text_is_drawn_cell_by_cell(void **state)
{
	struct fixture *f = *state;

	set(f, 0x3d4, 0x0a, 0x20); /* no cursor */
	assert_int_equal(update(f), 1);
	assert_int_equal(f->rects[0].width, 720);
	assert_int_equal(update(f), 0);
	poke(f, 0xb8000 + 2 * 81, 0x81);
	poke(f, 0xb8000 + 2 * 81 + 1, 0x1e);
	assert_int_equal(update(f), 1);
	assert_int_equal(f->rects[0].x, 9);
	assert_int_equal(f->rects[0].y, 16);
	assert_int_equal(f->rects[0].width, 9);
	assert_int_equal(f->rects[0].height, 16);
	assert_int_equal(pixel(f, 9, 16), 0xffff57);
	assert_int_equal(pixel(f, 10, 16), 0x0000a8);
	assert_int_equal(pixel(f, 16, 16), 0xffff57);
	assert_int_equal(pixel(f, 17, 16), 0x0000a8);
	/* Line graphics go on in the ninth column. */
	poke(f, 0xb8000, 0xc1);
	update(f);
	assert_int_equal(pixel(f, 8, 0), 0xa8a8a8);
	poke(f, 0xb8000, 0xb1);
	update(f);
	assert_int_equal(pixel(f, 8, 0), 0);
	/* Another font: all is drawn again. */
	set(f, 0x3c4, 3, 0x0a);
	assert_int_equal(update(f), 1);
	assert_int_equal(f->rects[0].height, 400);
	assert_int_equal(pixel(f, 9, 16), 0x0000a8);
}

static void test_underline_blink_and_512(void **state)
{
	struct fixture *f = *state;
	struct display_listener *text = display_listen(f->console, DISPLAY_TEXT, &no_ops, NULL);

	set(f, 0x3d4, 0x14, 13);
	poke(f, 0xb8000, 0);
	poke(f, 0xb8001, 1);
	poke(f, 0xb8002, 'x');
	poke(f, 0xb8003, 0x9f);
	update(f);
	assert_int_equal(pixel(f, 0, 13), 0x0000a8);
	assert_int_equal(pixel(f, 0, 12), 0);
	display_update(text, f->rects);
	assert_int_equal(display_text(f->console)->columns, 80);
	assert_int_equal(display_text(f->console)->rows, 25);
	assert_true(display_text(f->console)->cells[0].underline);
	assert_int_equal(display_text(f->console)->cells[1].glyph, 'x');
	assert_int_equal(display_text(f->console)->cells[1].background, 1);
	assert_true(display_text(f->console)->cells[1].blink);
	set_attribute(f, 0x10, 0x04); /* bit 7 is intensity */
	set(f, 0x3c4, 3, 0x04);       /* fonts 0 and 1 */
	display_update(text, f->rects);
	assert_int_equal(display_text(f->console)->cells[1].background, 9);
	assert_int_equal(display_text(f->console)->cells[1].glyph, 'x' + 256);
	/* The cursor in it. */
	set(f, 0x3d4, 0x0e, 0);
	set(f, 0x3d4, 0x0f, 161);
	assert_int_equal(display_update(text, f->rects), 2);
	assert_int_equal(display_text(f->console)->cursor_row, 2);
	assert_int_equal(display_text(f->console)->cursor_column, 1);
	dispi(f, 1, 640);
	dispi(f, 2, 480);
	dispi(f, 3, 32);
	dispi(f, 4, 1);
	display_update(text, f->rects);
	assert_null(display_text(f->console));
	display_unlisten(text);
}

static void test_vbe(void **state)
{
	struct fixture *f = *state;
	size_t count;

	bus_write(f->machine->env.io, 0x1ce, 0, 2);
	assert_int_equal(bus_read(f->machine->env.io, 0x1cf, 2), 0xb0c5);
	dispi(f, 4, 2);
	assert_int_equal(bus_read(f->machine->env.memory, f->mmio + 0x502, 2), 16000);
	dispi(f, 1, 642);  /* in units of eight */
	dispi(f, 2, 5000); /* and what there is memory for */
	dispi(f, 3, 32);
	dispi(f, 4, 0x41);
	assert_int_equal(bus_read(f->machine->env.memory, f->mmio + 0x502, 2), 640);
	assert_int_equal(bus_read(f->machine->env.memory, f->mmio + 0x504, 2), MIB / (640 * 4));
	dispi(f, 4, 0);
	dispi(f, 2, 200);
	dispi(f, 4, 0x41);
	assert_int_equal(update(f), 1);
	assert_int_equal(display_surface(f->console)->height, 200);
	/* Guest memory itself, and only what was written is told. */
	assert_ptr_equal(display_surface(f->console)->pixels, f->vga->memory);
	assert_int_equal(update(f), 0);
	bus_write(f->machine->env.memory, f->lfb + 640 * 4 * 100 + 40, 0x123456, 4);
	count = update(f);
	assert_int_equal(count, 1);
	assert_int_equal(pixel(f, 10, 100), 0x123456);
	assert_true(f->rects[0].y <= 100 && f->rects[0].y + f->rects[0].height > 100);
	assert_in_range(f->rects[0].height, 1, 3);
	/* Panning in a larger picture. */
	dispi(f, 8, 4);
	dispi(f, 9, 50);
	update(f);
	assert_int_equal(pixel(f, 6, 50), 0x123456);
	/* Banks of the window, mapped as they are. */
	dispi(f, 5, 3);
	assert_ptr_equal(ram_hva(f->machine->env.ram, 0xa0000, 0x10000), f->vga->memory + 0x30000);
	dispi(f, 5, 0xffff);
	assert_ptr_equal(ram_hva(f->machine->env.ram, 0xa0000, 0x10000), f->vga->memory + MIB - 0x10000);
	/* The bits of a pixel. */
	dispi(f, 4, 0);
	dispi(f, 3, 24);
	dispi(f, 4, 1);
	memcpy(f->vga->memory, (const uint8_t[]){1, 2, 3, 4, 5, 6}, 6);
	ram_block_written(f->vga->vram, 0, 6);
	update(f);
	assert_int_equal(pixel(f, 1, 0), 0x060504);
	dispi(f, 4, 0);
	dispi(f, 3, 8);
	dispi(f, 4, 0x21);
	out(f, 0x3c8, 7);
	out(f, 0x3c9, 0xff);
	out(f, 0x3c9, 0x80);
	out(f, 0x3c9, 0x01);
	f->vga->memory[2] = 7;
	ram_block_written(f->vga->vram, 0, 6);
	update(f);
	assert_int_equal(pixel(f, 2, 0), 0xff8001);
	out(f, 0x3c7, 7);
	assert_int_equal(in(f, 0x3c7), 3);
	assert_int_equal(in(f, 0x3c9), 0xff);
}

static void test_monitor_description(void **state)
{
	struct fixture *f = *state;
	uint8_t edid[128], sum = 0;

	for (unsigned i = 0; i < 128; i++) {
		edid[i] = (uint8_t)bus_read(f->machine->env.memory, f->mmio + i, 1);
		sum = (uint8_t)(sum + edid[i]);
	}
	assert_int_equal(sum, 0);
	assert_int_equal(edid[56] | (edid[58] & 0xf0) << 4, 1024);
	assert_int_equal(edid[59] | (edid[61] & 0xf0) << 4, 768);
	assert_int_equal(bus_read(f->machine->env.memory, f->mmio + 0x604, 4), 0x1e1e1e1e);
	/* The VGA's ports in the BAR. */
	bus_write(f->machine->env.memory, f->mmio + 0x400 + 0x14, 0x1234, 2); /* 0x3d4 */
	assert_int_equal(bus_read(f->machine->env.memory, f->mmio + 0x400 + 0x14, 1), 0x34);
}

static void test_memory_size(void **state)
{
	struct fixture *f = *state;
	struct device *other = test_device(f->machine, &vga_pci_class, "addr=3,vgamem_mb=9,romfile=", NULL);
	struct error err = {0};

	assert_non_null(other);
	assert_int_equal(vga_of_device(other)->vram->size, 16 << 20);
	device_destroy(other);
	assert_null(test_device(f->machine, &vga_pci_class, "addr=3,vgamem_mb=513,romfile=", &err));
	assert_non_null(strstr(err.msg, "vgamem_mb=513: must be from 1 to 512"));
}

static void test_registers(void **state)
{
	struct fixture *f = *state;

	set(f, 0x3d4, 0x11, 0x80); /* protects 0..7 */
	set(f, 0x3d4, 1, 0x12);
	set(f, 0x3d4, 7, 0xff);
	out(f, 0x3d4, 1);
	assert_int_equal(in(f, 0x3d5), 0x4f);
	out(f, 0x3d4, 7);
	assert_int_equal(in(f, 0x3d5), 0x1f);
	assert_int_equal(in(f, 0x3b5), 0xff); /* not there in colour */
	out(f, 0x3c2, 0x66);
	assert_int_equal(in(f, 0x3d5), 0xff);
	assert_int_equal(in(f, 0x3b5), 0x1f);
	in(f, 0x3ba);
	out(f, 0x3c0, 0x11);
	out(f, 0x3c0, 0x2a);
	assert_int_equal(in(f, 0x3c1), 0x2a);
	/* Unknown adapters' registers read as nothing. */
	out(f, 0x3ce, 0x3f);
	assert_int_equal(in(f, 0x3cf), 0);
}

static void test_nobody_looks(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(atomic_load(&f->vga->vram->tracked), 0);
	update(f);
	assert_int_equal(atomic_load(&f->vga->vram->tracked), RAM_DISPLAY);
	display_unlisten(f->listener);
	f->listener = NULL;
	assert_int_equal(atomic_load(&f->vga->vram->tracked), 0);
}

static void test_state(void **state)
{
	struct fixture *f = *state;
	struct state_buffer saved = {0}, again = {0};

	planar_mode(f);
	dispi(f, 1, 320);
	state_save(f->device->class->state, f->device, &saved);
	device_reset(f->device);
	assert_int_equal(state_load(f->device->class->state, f->device, saved.data, saved.length, NULL), saved.length);
	state_save(f->device->class->state, f->device, &again);
	assert_int_equal(saved.length, again.length);
	assert_memory_equal(saved.data, again.data, saved.length);
	f->vga->dac_component = 7;
	free(again.data);
	again = (struct state_buffer){0};
	state_save(f->device->class->state, f->device, &again);
	assert_true(state_load(f->device->class->state, f->device, again.data, again.length, NULL) < 0);
	f->vga->dac_component = 0;
	free(saved.data);
	free(again.data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_write_modes),
		TEST(test_blocks),
		TEST(test_read_modes),
		TEST(test_odd_even_and_chain4),
		TEST(test_cells_are_mapped),
		TEST(test_planar_pixels_pan_and_split),
		TEST(test_text_is_drawn_cell_by_cell),
		TEST(test_underline_blink_and_512),
		TEST(test_vbe),
		TEST(test_monitor_description),
		TEST(test_memory_size),
		TEST(test_registers),
		TEST(test_nobody_looks),
		TEST(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
