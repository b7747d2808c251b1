/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NE2000: a DP8390 with 32 KiB of buffer memory that the driver reaches through a data port (National Semiconductor
 * DP8390D/NS32490D data sheet; Realtek RTL8029AS data sheet, 6). ne2000.c is the chip, ne2k.c puts it on the PCI and on
 * the ISA bus. nic.lock guards everything.
 */
#ifndef XUNI_DEVICE_NET_NE2000_H
#define XUNI_DEVICE_NET_NE2000_H

#include "core/state.h"
#include "device/net/nic.h"

enum { NE2000_PORTS = 32, NE2000_RAM_START = 0x4000, NE2000_RAM_BYTES = 0x8000, NE2000_PROM_BYTES = 32 };

struct ne2000 {
	struct nic nic;
	/* Where its interrupt goes. */
	void (*interrupt)(struct ne2000 *ne2000, bool level);
	bool pci; /* RTL8029: identifies itself, takes 32-bit accesses to the data port */

	uint8_t command;
	uint8_t page_start, page_stop, boundary, current;
	uint8_t transmit_page, transmit_status;
	uint16_t transmit_bytes;
	uint16_t remote_address, remote_bytes;
	uint8_t receive_config, transmit_config, data_config;
	uint8_t interrupt_status, interrupt_mask, receive_status;
	uint8_t address[6], hash[8];
	bool irq_asserted;
	uint8_t prom[NE2000_PROM_BYTES];
	uint8_t ram[NE2000_RAM_BYTES];
};

extern const struct state_table ne2000_state;
extern const struct region_ops ne2000_region_ops; /* opaque: struct ne2000 */
extern const struct nic_ops ne2000_nic_ops;

void ne2000_reset(struct ne2000 *ne2000);

#endif
