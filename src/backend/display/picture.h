/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a console shows, as a file. */
#ifndef XUNI_BACKEND_DISPLAY_PICTURE_H
#define XUNI_BACKEND_DISPLAY_PICTURE_H

#include "backend/display/display.h"
#include "base/error.h"

enum picture_format {
	PICTURE_PPM,  /* Netpbm P6 */
	PICTURE_PNG,  /* 8 bits a colour, RGB */
	PICTURE_TEXT, /* the characters of a text mode, UTF-8, a line a row without the blanks at its end */
};

/* Brings the console up to date and writes it to a file, which is replaced. A hardware cursor is not in it. Main loop.
 */
int picture_save(struct display_console *console, enum picture_format format, const char *path, struct error *err);

#endif
