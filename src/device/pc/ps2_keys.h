/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_PS2_KEYS_H
#define XUNI_DEVICE_PC_PS2_KEYS_H

#include <stdint.h>

/* Indexed by the code of set 1 without bit 7 and without the prefix 0xe0; 0: none. */
extern const uint8_t ps2_set1_to_set2[0x80];
/* Set 3 has no prefixes and a code of its own for each key. Indexed by the code of set 1, with bit 7 for the prefix;
 * 0: the key is not on such a keyboard. */
extern const uint8_t ps2_set3[0x100];

#endif
