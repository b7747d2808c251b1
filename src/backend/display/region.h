/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What has changed for one listener: a bounded set of rectangles that covers all that was added. */
#ifndef XUNI_BACKEND_DISPLAY_REGION_H
#define XUNI_BACKEND_DISPLAY_REGION_H

#include "backend/display/display.h"

struct display_region {
	struct display_rect rects[DISPLAY_RECTS_MAX];
	size_t count;
};

void display_region_add(struct display_region *region, const struct display_rect *rect);

#endif
