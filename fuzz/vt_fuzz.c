/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest writes to a text console. Input: columns - 1, rows - 1, then bytes; 0xff and a number turn the view back.
 * Cursor and view stay inside.
 */
#include "fuzz.h"

#include "backend/display/vt_screen.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vt_screen screen;

	if (size < 2)
		return 0;
	vt_screen_init(&screen, data[0] + 1u, data[1] + 1u);
	for (size_t i = 2; i < size; i++) {
		if (data[i] == 0xff && i + 1 < size)
			vt_screen_look_back(&screen, (int8_t)data[++i]);
		else
			vt_screen_take(&screen, data[i]);
		if (screen.at.column >= screen.columns || screen.at.row >= screen.rows || screen.back > screen.kept ||
		    screen.dirty_to > screen.rows)
			abort();
	}
	for (uint32_t row = 0; row < screen.rows; row++)
		for (uint32_t column = 0; column < screen.columns; column++)
			if (vt_screen_row(&screen, row)[column].glyph > 0xff)
				abort();
	vt_screen_free(&screen);
	return 0;
}
