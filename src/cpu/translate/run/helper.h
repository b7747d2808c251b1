/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the C that translated code calls shares. */
#ifndef XUNI_CPU_TRANSLATE_RUN_HELPER_H
#define XUNI_CPU_TRANSLATE_RUN_HELPER_H

#include "cpu/translate/translator.h"

/* --- helper.c --- */
/* Where to go on behind an instruction that changed general registers and memory at most, with t->flags as they are. */
uint64_t helper_behind(struct translator *t, const struct site *site);
/* The interpreter executes the instruction at s.rip. */
uint64_t helper_interpret(struct translator *t, const struct site *site);

/* --- repeat.c --- */
uint64_t helper_string(struct translator *t, const struct site *site);

#endif
