/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest of bench/vnc: a Multiboot kernel that sets 1024x768x32 by the Bochs registers and draws the whole screen again
 * and again: cells of 8x16 pixels in two colours, as a text terminal has them, other colours each time.
 */
#include <stdint.h>

enum { WIDTH = 1024, HEIGHT = 768, LFB = 0xf0000000u };

__attribute__((section(".multiboot"), used)) static const uint32_t header[] = {0x1badb002, 0, -0x1badb002u};

static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static uint32_t config_read(uint32_t slot, uint32_t offset)
{
	out32(0xcf8, 0x80000000u | slot << 11 | offset);
	return in32(0xcfc);
}

static void config_write(uint32_t slot, uint32_t offset, uint32_t value)
{
	out32(0xcf8, 0x80000000u | slot << 11 | offset);
	out32(0xcfc, value);
}

static void dispi(uint16_t index, uint16_t value)
{
	out16(0x1ce, index);
	out16(0x1cf, value);
}

/* Where the frame buffer is, or is put. */
static uint32_t *frame_buffer(void)
{
	for (uint32_t slot = 0; slot < 32; slot++) {
		if (config_read(slot, 8) >> 16 != 0x0300)
			continue;
		if (!(config_read(slot, 0x10) & ~15u))
			config_write(slot, 0x10, LFB);
		config_write(slot, 4, config_read(slot, 4) | 3);
		return (uint32_t *)(config_read(slot, 0x10) & ~15u);
	}
	return 0;
}

/* A Multiboot loader gives no stack. */
__asm__(".globl _start\n_start: movl $0x90000, %esp\n call draw");

__attribute__((noreturn, used)) void draw(void)
{
	uint32_t *pixels = frame_buffer();

	dispi(4, 0);
	dispi(1, WIDTH);
	dispi(2, HEIGHT);
	dispi(3, 32);
	dispi(4, 0x41);
	in8(0x3da); /* no firmware has switched the screen on */
	out8(0x3c0, 0x20);
	for (uint32_t frame = 0;; frame++) {
		uint32_t colours[2] = {frame * 0x030507 & 0xffffff, ~(frame * 0x030507) & 0xffffff};
		uint32_t *at = pixels;

		for (uint32_t y = 0; y < HEIGHT; y++) {
			uint32_t row = (y >> 4) * 0x9e3779b9u + frame + (y & 15) * 0x85ebca6bu;

			for (uint32_t x = 0; x < WIDTH; x += 8) {
				uint32_t bits = row ^ row >> 15;

				for (uint32_t i = 0; i < 8; i++)
					*at++ = colours[bits >> i & 1];
				row += 0x01000193u;
			}
		}
	}
}
