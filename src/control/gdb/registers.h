/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What description.c and registers.c share: the registers of this CPU in the order of their numbers. */
#ifndef XUNI_CONTROL_GDB_REGISTERS_H
#define XUNI_CONTROL_GDB_REGISTERS_H

#include "control/gdb/internal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gdb_register_kind { GPR, RIP, FLAGS, SELECTOR, BASE, KERNEL_GS, CR, EFER, ST, FPU, XMM, MXCSR, YMM_HIGH };
enum gdb_fpu { FCTRL, FSTAT, FTAG, FISEG, FIOFF, FOSEG, FOOFF, FOP };
struct gdb_slot {
	enum gdb_register_kind kind;
	uint8_t index;
	uint8_t bytes;
};

struct gdb_registers {
	struct gdb_slot slots[160];
	unsigned count;
	enum gdb_architecture architecture;
	bool avx;
	char *xml;
	size_t xml_length;
};

#endif
