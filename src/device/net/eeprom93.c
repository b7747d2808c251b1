/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 93C46: eeprom93.h. */
#include "device/net/eeprom93.h"

/* A command is a start bit, two bits of operation and six of address; what EWEN and EWDS say is in the address. */
enum { COMMAND_BITS = 9, DATA_BITS = 16 };
enum { OPERATION_EXTENDED = 0, OPERATION_WRITE = 1, OPERATION_READ = 2 };

static unsigned operation(const struct eeprom93 *eeprom)
{
	return eeprom->shift >> 6 & 3;
}

static void command_complete(struct eeprom93 *eeprom)
{
	unsigned word = eeprom->shift & 63;

	if (operation(eeprom) == OPERATION_READ)
		eeprom->out = false; /* the zero that precedes the data */
	else if (operation(eeprom) == OPERATION_EXTENDED && word >> 4 == 3)
		eeprom->writable = true;
	else if (operation(eeprom) == OPERATION_EXTENDED && word >> 4 == 0)
		eeprom->writable = false;
}

static void rising_edge(struct eeprom93 *eeprom, bool in)
{
	if (eeprom->bits < COMMAND_BITS) {
		if (eeprom->bits == 0 && !in)
			return;
		eeprom->shift = eeprom->shift << 1 | in;
		if (++eeprom->bits == COMMAND_BITS)
			command_complete(eeprom);
		return;
	}
	if (operation(eeprom) == OPERATION_READ) {
		unsigned bit = eeprom->bits - COMMAND_BITS;

		eeprom->out = eeprom->words[eeprom->shift & 63] >> (DATA_BITS - 1 - bit) & 1;
		/* Goes on with the next word. */
		if (bit == DATA_BITS - 1) {
			eeprom->shift = (eeprom->shift & ~63u) | ((eeprom->shift + 1) & 63);
			eeprom->bits = COMMAND_BITS;
		} else {
			eeprom->bits++;
		}
	} else if (operation(eeprom) == OPERATION_WRITE && eeprom->bits < COMMAND_BITS + DATA_BITS) {
		unsigned word = eeprom->shift & 63;
		uint16_t bit = (uint16_t)(1u << (DATA_BITS - 1 - (eeprom->bits - COMMAND_BITS)));

		if (eeprom->writable)
			eeprom->words[word] = (uint16_t)((eeprom->words[word] & ~bit) | (in ? bit : 0));
		eeprom->bits++;
	}
}

void eeprom93_drive(struct eeprom93 *eeprom, bool select, bool clock, bool in)
{
	if (!select || !eeprom->select) {
		eeprom->bits = 0;
		eeprom->shift = 0;
		eeprom->out = true; /* ready */
	}
	if (select && clock && !eeprom->clock)
		rising_edge(eeprom, in);
	eeprom->select = select;
	eeprom->clock = clock;
}

void eeprom93_checksum(struct eeprom93 *eeprom, uint16_t sum)
{
	for (unsigned i = 0; i < EEPROM93_WORDS - 1; i++)
		sum = (uint16_t)(sum - eeprom->words[i]);
	eeprom->words[EEPROM93_WORDS - 1] = sum;
}

static int check(const void *staged, struct error *err)
{
	const struct eeprom93 *eeprom = staged;

	if (eeprom->bits > COMMAND_BITS + DATA_BITS)
		return error_set(err, EINVAL, "EEPROM: %u bits of a command", eeprom->bits);
	return 0;
}

static const struct state_field fields[] = {
	STATE_FIELD_N(STATE_U16, struct eeprom93, words, EEPROM93_WORDS),
	STATE_FIELD(STATE_BOOL, struct eeprom93, select),
	STATE_FIELD(STATE_BOOL, struct eeprom93, clock),
	STATE_FIELD(STATE_BOOL, struct eeprom93, out),
	STATE_FIELD(STATE_BOOL, struct eeprom93, writable),
	STATE_FIELD(STATE_U8, struct eeprom93, bits),
	STATE_FIELD(STATE_U32, struct eeprom93, shift),
	STATE_END,
};

const struct state_table eeprom93_state = {
	.name = "93C46", .version = 1, .size = sizeof(struct eeprom93), .fields = fields, .check = check};
