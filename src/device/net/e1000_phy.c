/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8254x's other chips: Marvell 88E1011 PHY behind MDIC (chapter 11, IEEE 802.3 22.2.4), EEPROM behind EECD and EERD
 * (5.6, 13.4.3). Negotiation ends at once, at 1000 Mbit/s full duplex, whatever is asked for.
 */
#include "device/net/e1000.h"

#include "base/util.h"

enum {
	PHY_CONTROL = 0,
	PHY_STATUS = 1,
	PHY_ID1 = 2,
	PHY_ID2 = 3,
	PHY_ADVERTISE = 4,
	PHY_PARTNER = 5,
	PHY_EXPANSION = 6,
	PHY_NEXT_PAGE = 7,
	PHY_GIGABIT_CONTROL = 9,
	PHY_GIGABIT_STATUS = 10,
	PHY_EXTENDED_STATUS = 15,
	PHY_SPECIFIC_CONTROL = 16,
	PHY_SPECIFIC_STATUS = 17,
	PHY_INTERRUPT_ENABLE = 18,
	PHY_INTERRUPT_STATUS = 19,
	PHY_EXTENDED_CONTROL = 20,
	PHY_RECEIVE_ERRORS = 21,
	PHY_PAGE = 29,
	PHY_PAGE_DATA = 30,
};

enum {
	CONTROL_RESTART = 1 << 9,
	CONTROL_NEGOTIATE = 1 << 12,
	CONTROL_LOOPBACK = 1 << 14,
	CONTROL_RESET = 1 << 15,
	STATUS_LINK = 1 << 2,
	STATUS_NEGOTIATED = 1 << 5,
	SPECIFIC_LINK = 1 << 10,
	PARTNER_ABLE = 0xcde1, /* 10 and 100 Mbit/s, pause, acknowledged */
	GIGABIT_PARTNER = 0x7c00,
};

/* Bits a write may change. */
static const uint16_t phy_writable[32] = {
	[PHY_CONTROL] = 0x7dff,          [PHY_ADVERTISE] = 0xffff,
	[PHY_NEXT_PAGE] = 0xffff,        [PHY_GIGABIT_CONTROL] = 0xffff,
	[PHY_SPECIFIC_CONTROL] = 0xffff, [PHY_INTERRUPT_ENABLE] = 0xffff,
	[PHY_EXTENDED_CONTROL] = 0xffff, [PHY_PAGE] = 0xffff,
	[PHY_PAGE_DATA] = 0xffff,
};

void e1000_phy_reset(struct e1000 *e1000)
{
	const struct pci_class *class = e1000->pci.device.class->bus_class;
	uint16_t *phy = e1000->phy;

	memset(phy, 0, sizeof(e1000->phy));
	phy[PHY_CONTROL] = 0x1140;
	phy[PHY_STATUS] = 0x7949;
	phy[PHY_ID1] = 0x0141;
	phy[PHY_ID2] = class->device == 0x1008 ? 0x0c30 : 0x0c20;
	phy[PHY_ADVERTISE] = 0x0de1;
	phy[PHY_EXPANSION] = 1;
	phy[PHY_GIGABIT_CONTROL] = 0x0e00;
	phy[PHY_EXTENDED_STATUS] = 0x3000;
	phy[PHY_SPECIFIC_CONTROL] = 0x0360;
	phy[PHY_EXTENDED_CONTROL] = 0x0d60;
	phy[PHY_SPECIFIC_STATUS] = 0xa800;
	e1000_link_set(e1000, nic_link(&e1000->nic));
}

void e1000_link_set(struct e1000 *e1000, bool up)
{
	uint16_t *phy = e1000->phy;

	phy[PHY_STATUS] = (uint16_t)((phy[PHY_STATUS] & ~(STATUS_LINK | STATUS_NEGOTIATED)) |
				     (up ? STATUS_LINK | STATUS_NEGOTIATED : 0));
	phy[PHY_SPECIFIC_STATUS] = (uint16_t)((phy[PHY_SPECIFIC_STATUS] & ~SPECIFIC_LINK) | (up ? SPECIFIC_LINK : 0));
	phy[PHY_PARTNER] = up ? PARTNER_ABLE : 0;
	phy[PHY_GIGABIT_STATUS] = up ? GIGABIT_PARTNER : 0;
	if (up)
		*e1000_reg(e1000, E1000_STATUS) |= E1000_STATUS_LU;
	else
		*e1000_reg(e1000, E1000_STATUS) &= ~(uint32_t)E1000_STATUS_LU;
}

bool e1000_loopback(struct e1000 *e1000)
{
	return *e1000_reg(e1000, E1000_RCTL) & E1000_RCTL_LBM || e1000->phy[PHY_CONTROL] & CONTROL_LOOPBACK;
}

static void phy_write(struct e1000 *e1000, unsigned index, uint16_t value)
{
	uint16_t mask = phy_writable[index];

	if (index == PHY_CONTROL && value & CONTROL_RESET) {
		e1000_phy_reset(e1000);
		e1000_cause(e1000, E1000_ICR_LSC, 0);
		return;
	}
	e1000->phy[index] = (uint16_t)((e1000->phy[index] & ~mask) | (value & mask));
	if (index == PHY_CONTROL && value & CONTROL_NEGOTIATE && value & CONTROL_RESTART && nic_link(&e1000->nic)) {
		e1000_link_set(e1000, true);
		e1000_cause(e1000, E1000_ICR_LSC, 0);
	}
}

void e1000_mdic_write(struct e1000 *e1000, uint32_t value)
{
	enum { READY = 1 << 28, INTERRUPT = 1 << 29, ERROR = 1 << 30, WRITE = 1, READ = 2 };
	unsigned index = value >> 16 & 31, phy = value >> 21 & 31, operation = value >> 26 & 3;

	if (phy != 1 || (operation != READ && operation != WRITE)) {
		value |= ERROR;
	} else if (operation == READ) {
		value = (value & ~0xffffu) | e1000->phy[index];
		if (index == PHY_INTERRUPT_STATUS)
			e1000->phy[index] = 0;
	} else {
		phy_write(e1000, index, (uint16_t)value);
	}
	*e1000_reg(e1000, E1000_MDIC) = value | READY;
	if (value & INTERRUPT)
		e1000_cause(e1000, E1000_ICR_MDAC, 0);
}

/* --- EEPROM --- */

enum {
	EECD_SK = 1 << 0,
	EECD_CS = 1 << 1,
	EECD_DI = 1 << 2,
	EECD_DO = 1 << 3,
	EECD_REQUEST = 1 << 6,
	EECD_GRANT = 1 << 7,
	EECD_PRESENT = 1 << 8,
	EEPROM_SUM = 0xbaba,
};

/* Table 5-2: the address, identifiers for the PCI function, and the rest as a copper adapter has it. */
void e1000_eeprom_fill(struct e1000 *e1000)
{
	static const uint16_t initial[EEPROM93_WORDS] = {
		[0x05] = 0xffff, [0x08] = 0x3000, [0x09] = 0x1000, [0x0a] = 0x6403, [0x0f] = 0xb040,
		[0x10] = 0x0008, [0x11] = 0xffff, [0x12] = 0xffff, [0x13] = 0xffff, [0x14] = 0x0000,
		[0x21] = 0x7863, [0x22] = 0x280b, [0x23] = 0x0000, [0x24] = 0xc800, [0x2f] = 0x0602,
	};
	const struct pci_class *class = e1000->pci.device.class->bus_class;
	uint16_t *words = e1000->eeprom.words;

	memset(&e1000->eeprom, 0, sizeof(e1000->eeprom));
	memcpy(words, initial, sizeof(initial));
	for (unsigned i = 0; i < 3; i++)
		words[i] = load_le16(e1000->nic.mac + 2 * i);
	words[0x0b] = class->subsystem;
	words[0x0c] = class->subsystem_vendor;
	words[0x0d] = class->device;
	words[0x0e] = class->vendor;
	eeprom93_checksum(&e1000->eeprom, EEPROM_SUM);
}

uint32_t e1000_eecd_read(struct e1000 *e1000)
{
	uint32_t value = *e1000_reg(e1000, E1000_EECD) & (EECD_SK | EECD_CS | EECD_DI | 0x30 | EECD_REQUEST);

	return value | EECD_PRESENT | (value & EECD_REQUEST ? EECD_GRANT : 0) | (e1000->eeprom.out ? EECD_DO : 0);
}

void e1000_eecd_write(struct e1000 *e1000, uint32_t value)
{
	*e1000_reg(e1000, E1000_EECD) = value;
	eeprom93_drive(&e1000->eeprom, value & EECD_CS, value & EECD_SK, value & EECD_DI);
}

void e1000_eerd_write(struct e1000 *e1000, uint32_t value)
{
	enum { START = 1 << 0, DONE = 1 << 4 };
	unsigned word = value >> 8 & 0xff;

	if (value & START) {
		value = (value & 0xff00) | DONE;
		if (word < EEPROM93_WORDS)
			value |= (uint32_t)e1000->eeprom.words[word] << 16;
	}
	*e1000_reg(e1000, E1000_EERD) = value;
}
