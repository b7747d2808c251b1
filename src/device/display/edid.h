/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The description of a monitor that a display device shows its guest (VESA E-EDID 1.4). */
#ifndef XUNI_DEVICE_DISPLAY_EDID_H
#define XUNI_DEVICE_DISPLAY_EDID_H

#include <stdint.h>

struct edid_config {
	uint32_t width, height;         /* preferred; 0: 1280 x 800 */
	uint32_t max_width, max_height; /* 0: no bound. Standard modes beyond are left out */
	uint32_t refresh_mhz;           /* thousandths of a Hz; 0: 75 Hz */
};

#define EDID_BYTES 256

/* A base block, and the rest of the 256 bytes zero. */
void edid_make(const struct edid_config *config, uint8_t edid[EDID_BYTES]);

#endif
