/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes host code of a block. */
#ifndef XUNI_CPU_TRANSLATE_LOWER_LOWER_H
#define XUNI_CPU_TRANSLATE_LOWER_LOWER_H

#include "cpu/translate/translator.h"

/* Translates the code at block->linear, whose bytes to the end of the page are given. Fills the block's entries. */
void lower_block(struct translator *t, struct block *block, uint32_t number, const uint8_t *bytes, unsigned length);

/* Status flags that the code at linear, whose bytes to the end of the page are given, may read. */
uint32_t lower_live_flags(struct translator *t, uint64_t linear, const uint8_t *bytes);

#endif
