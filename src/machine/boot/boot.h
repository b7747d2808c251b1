/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct boot: -kernel, -initrd and -append become bytes in guest RAM and a start state of the first CPU, without
 * firmware; or they are prepared for firmware. Understands Linux' bzImage (protocol 2.06 and later), ELF files with a PVH note and Multiboot 1.
 *
 * boot_open keeps the files open, so that boot_place can be called again at every reset, from inside a jail too.
 */
#ifndef XUNI_MACHINE_BOOT_H
#define XUNI_MACHINE_BOOT_H

#include "base/error.h"
#include "core/x86_state.h"

#include <stddef.h>

struct boot;
struct ram;

struct boot_source {
	const char *kernel;
	const char *initrd; /* NULL: none. Multiboot: "file arguments,file arguments" (",," is a comma) */
	const char *append; /* NULL: "" */
};

enum boot_memory_type {
	BOOT_MEMORY_RAM = 1,
	BOOT_MEMORY_RESERVED = 2,
	BOOT_MEMORY_ACPI = 3,
	BOOT_MEMORY_NVS = 4,
};

struct boot_memory {
	uint64_t gpa, size;
	uint32_t type; /* enum boot_memory_type */
};

/* What the board has put into memory already. */
struct boot_board {
	uint64_t rsdp_gpa;                  /* 0: the guest finds it by itself */
	const struct boot_memory *reserved; /* not for the kernel: ACPI tables, firmware, ...; any order */
	size_t reserved_count;
	bool text_screen; /* a VGA is in mode 3: 80x25, glyphs of 16 lines */
};

/* How the first CPU starts, relative to its state after reset. */
struct boot_result {
	const char *protocol; /* "Linux 64-bit", "Linux 32-bit", "PVH", "Multiboot": for -v */
	bool long_mode;       /* else 32-bit protected mode without paging */
	uint64_t entry, rsi, rbx, rax;
	uint64_t gdt_gpa;
	uint16_t gdt_bytes;
	uint64_t cr3;
};

/* Opens and recognises the files. Returns NULL and fills err when one is missing or not bootable. */
struct boot *boot_open(const struct boot_source *source, struct error *err);
void boot_close(struct boot *boot);

/* Loads into RAM (slots are mapped by now) and says how to start. -errno: nothing can be said about RAM's contents. */
int boot_place(struct boot *boot, struct ram *ram, const struct boot_board *board, struct boot_result *result,
	       struct error *err);
/* Applies a result to a state that is as after power-on reset (x86_state_reset, bootstrap CPU). */
void boot_set_state(const struct boot_result *result, struct x86_state *state);

/* What firmware is handed instead, to start the kernel itself as a boot loader would: the parts of a bzImage, its
 * setup header filled in, and where each goes. The bytes are the structure's. */
struct boot_part {
	uint64_t gpa;
	uint8_t *bytes; /* NULL: none */
	uint64_t size;
};

struct boot_handover {
	struct boot_part setup, kernel, initrd;
	uint64_t cmdline_gpa;
	char *cmdline;
};

/* NULL and *err: a file is missing, is no bzImage, or does not fit into RAM below 4 GiB, of which there are low_bytes. */
struct boot_handover *boot_handover_new(const struct boot_source *source, uint64_t low_bytes, struct error *err);
void boot_handover_free(struct boot_handover *handover);

/* The memory map that a PC's firmware would report: RAM slots less the board's reservations and the legacy area below
 * 1 MiB; sorted. Returns how many entries were written, at most max. */
size_t boot_memory_map(const struct ram *ram, const struct boot_board *board, struct boot_memory *out, size_t max);

#endif
