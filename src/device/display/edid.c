/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One EDID 1.4 base block (VESA E-EDID 1.4, section 3): identity, established and standard timings, the preferred mode
 * as the first detailed timing, range limits and name. Left out: extension blocks, so that a preferred mode beyond what
 * a detailed timing can say (4095 pixels a side, 655 MHz) is the largest that it can.
 */
#include "device/display/edid.h"

#include "base/util.h"

#define DOTS_PER_INCH 100

/* Detailed timing (3.10.2): blanking is a part of the active size, as generators of timings have it. */
static void detailed_timing(uint8_t at[18], uint32_t width, uint32_t height, uint32_t refresh_mhz)
{
	uint32_t width_mm = width * 254 / 10 / DOTS_PER_INCH, height_mm = height * 254 / 10 / DOTS_PER_INCH;
	uint32_t x_blank = width * 35 / 100, y_blank = height * 35 / 1000;
	uint32_t x_front = width * 25 / 100, x_sync = width * 3 / 100, y_front = height * 5 / 1000,
		 y_sync = height * 5 / 1000;
	uint64_t clock = (uint64_t)refresh_mhz * (width + x_blank) * (height + y_blank) / 10000000;

	store_le16(at, (uint16_t)min_u64(clock, UINT16_MAX)); /* 10 kHz */
	at[2] = (uint8_t)width;
	at[3] = (uint8_t)x_blank;
	at[4] = (uint8_t)((width >> 8 & 15) << 4 | (x_blank >> 8 & 15));
	at[5] = (uint8_t)height;
	at[6] = (uint8_t)y_blank;
	at[7] = (uint8_t)((height >> 8 & 15) << 4 | (y_blank >> 8 & 15));
	at[8] = (uint8_t)x_front;
	at[9] = (uint8_t)x_sync;
	at[10] = (uint8_t)((y_front & 15) << 4 | (y_sync & 15));
	at[11] = (uint8_t)((x_front >> 8 & 3) << 6 | (x_sync >> 8 & 3) << 4 | (y_front >> 4 & 3) << 2 |
			   (y_sync >> 4 & 3));
	at[12] = (uint8_t)width_mm;
	at[13] = (uint8_t)height_mm;
	at[14] = (uint8_t)((width_mm >> 8 & 15) << 4 | (height_mm >> 8 & 15));
	at[17] = 0x18; /* digital separate sync */
}

static void text_descriptor(uint8_t at[18], uint8_t type, const char *text)
{
	size_t length = strlen(text);

	at[3] = type;
	memset(at + 5, ' ', 13);
	memcpy(at + 5, text, min_u64(length, 13));
	if (length < 13)
		at[5 + length] = '\n';
}

static void range_descriptor(uint8_t at[18])
{
	at[3] = 0xfd;
	at[5] = 50; /* Hz vertical */
	at[6] = 125;
	at[7] = 30; /* kHz horizontal */
	at[8] = 160;
	at[9] = 255; /* times 10 MHz */
	at[10] = 1;  /* range limits only */
	at[11] = '\n';
	memset(at + 12, ' ', 6);
}

static const struct {
	uint16_t width, height;
	uint8_t byte, bit; /* of the established timings at 35; 0: a standard timing */
	uint8_t aspect;    /* 0 16:10, 1 4:3, 2 5:4, 3 16:9 */
} modes[] = {
	{640, 480, 35, 5, 0},  {800, 600, 35, 0, 0},  {1024, 768, 36, 3, 0}, {1280, 720, 0, 0, 3},
	{1280, 800, 0, 0, 0},  {1280, 1024, 0, 0, 2}, {1440, 900, 0, 0, 0},  {1600, 1200, 0, 0, 1},
	{1680, 1050, 0, 0, 0}, {1920, 1080, 0, 0, 3}, {1920, 1200, 0, 0, 0},
};

static void add_modes(uint8_t *edid, const struct edid_config *config)
{
	unsigned standard = 38;

	for (; standard < 54; standard++)
		edid[standard] = 1; /* unused */
	standard = 38;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		if ((config->max_width && modes[i].width > config->max_width) ||
		    (config->max_height && modes[i].height > config->max_height))
			continue;
		if (modes[i].byte) {
			edid[modes[i].byte] |= (uint8_t)(1 << modes[i].bit);
		} else if (standard < 54) {
			edid[standard] = (uint8_t)(modes[i].width / 8 - 31);
			edid[standard + 1] = (uint8_t)(modes[i].aspect << 6); /* 60 Hz */
			standard += 2;
		}
	}
}

void edid_make(const struct edid_config *config, uint8_t edid[EDID_BYTES])
{
	static const uint8_t header[8] = {0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00};
	/* sRGB (3.7) */
	static const uint8_t colours[10] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};
	uint32_t width = (uint32_t)min_u64(config->width ? config->width : 1280, 4095);
	uint32_t height = (uint32_t)min_u64(config->height ? config->height : 800, 4095);
	uint8_t sum = 0;

	memset(edid, 0, EDID_BYTES);
	memcpy(edid, header, 8);
	store_be16(edid + 8, ('X' - '@') << 10 | ('U' - '@') << 5 | ('N' - '@'));
	store_le16(edid + 10, 0x1234);
	edid[16] = 1;
	edid[17] = 2026 - 1990;
	edid[18] = 1;
	edid[19] = 4;
	edid[20] = 0xa5;                                                     /* digital, 8 bits a colour, DisplayPort */
	edid[21] = (uint8_t)min_u64(width * 254 / 100 / DOTS_PER_INCH, 255); /* cm */
	edid[22] = (uint8_t)min_u64(height * 254 / 100 / DOTS_PER_INCH, 255);
	edid[23] = 220 - 100; /* gamma 2.2 */
	edid[24] = 0x06;      /* sRGB, the first timing is the preferred one */
	memcpy(edid + 25, colours, 10);
	add_modes(edid, config);
	detailed_timing(edid + 54, width, height, config->refresh_mhz ? config->refresh_mhz : 75000);
	range_descriptor(edid + 72);
	text_descriptor(edid + 90, 0xfc, "xuni Monitor");
	edid[108 + 3] = 0x10; /* dummy */
	for (unsigned i = 0; i < 127; i++)
		sum = (uint8_t)(sum + edid[i]);
	edid[127] = (uint8_t)-sum;
}
