/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine's memory and CPUs as an ELF core file, as crash, gdb and readelf take it: a segment for each piece of guest
 * memory at its physical address, and notes with the registers of each CPU.
 */
#ifndef XUNI_CONTROL_ELF_CORE_H
#define XUNI_CONTROL_ELF_CORE_H

#include "base/error.h"

#include <stdint.h>

struct machine;

struct elf_core_range {
	uint64_t gpa, bytes; /* what of guest memory is wanted; bytes 0: all of it */
};

/* Writes to fd, which may be a pipe. The machine stands still. *written: bytes of memory. Main loop thread. */
int elf_core_write(struct machine *machine, struct elf_core_range range, int fd, uint64_t *written, struct error *err);

#endif
