/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The serial EEPROM that holds a network card's settings: 93C46 with 64 words of 16 bits, Microwire (Microchip DS21749,
 * Catalyst 93C46). The card's own registers carry its four wires. Left out: erase (ERASE, ERAL, WRAL); writing takes no
 * time.
 */
#ifndef XUNI_DEVICE_NET_EEPROM93_H
#define XUNI_DEVICE_NET_EEPROM93_H

#include "core/state.h"

#include <stdbool.h>
#include <stdint.h>

enum { EEPROM93_WORDS = 64 };

struct eeprom93 {
	uint16_t words[EEPROM93_WORDS];
	bool select, clock; /* as last driven */
	bool out;           /* DO */
	bool writable;      /* EWEN */
	uint8_t bits;       /* taken in or given out since the start bit */
	uint32_t shift;
};

extern const struct state_table eeprom93_state;

/* The wires as a register now drives them. */
void eeprom93_drive(struct eeprom93 *eeprom, bool select, bool clock, bool in);
/* Makes the sum of all words `sum` with the last one, as Intel's drivers want it. */
void eeprom93_checksum(struct eeprom93 *eeprom, uint16_t sum);

#endif
