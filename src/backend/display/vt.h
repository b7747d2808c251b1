/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A text console: a terminal that is a console of the display, for a monitor or a serial port (-chardev vc). */
#ifndef XUNI_BACKEND_DISPLAY_VT_H
#define XUNI_BACKEND_DISPLAY_VT_H

#include "backend/display/display.h"

struct vt;

enum { VT_SIDE_MAX = 256, VT_FONT_BYTES = 4096 };

/* What is typed; main loop's thread. */
typedef void vt_typed_fn(void *opaque, const char *bytes, size_t length);

/* columns, rows: 1..VT_SIDE_MAX. font: 256 glyphs of 16 lines in code page 437. Main loop's thread. */
struct vt *vt_new(struct display *display, const char *name, uint32_t columns, uint32_t rows,
		  const uint8_t font[VT_FONT_BYTES], vt_typed_fn *typed, void *opaque);
void vt_free(struct vt *vt);
/* Output of the program behind it, UTF-8 and ECMA-48. Any thread. */
void vt_write(struct vt *vt, const uint8_t *data, size_t length);

#endif
