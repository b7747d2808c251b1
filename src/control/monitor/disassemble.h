/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest code as text, for x/i: AT&T syntax, as qemu has it. */
#ifndef XUNI_CONTROL_MONITOR_DISASSEMBLE_H
#define XUNI_CONTROL_MONITOR_DISASSEMBLE_H

#include "control/monitor/text.h"
#include "core/x86_state.h"

enum code_width { CODE_16, CODE_32, CODE_64 };
enum { CODE_MAX_BYTES = 15 };

/* What the code segment and EFER make of the bytes. */
enum code_width code_width_of(const struct x86_state *state);
/* Appends one line; returns how many bytes it stands for, at least 1. length: 1..CODE_MAX_BYTES. */
size_t disassemble(struct text *text, enum code_width width, uint64_t address, const uint8_t *code, size_t length);

#endif
