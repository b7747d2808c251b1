/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Realtek RTL8139C+ in two parts: rtl8139.c (registers, interrupts, life) and rtl8139_data.c (frames, in C mode and in
 * C+ mode). Section numbers are those of Realtek's "RTL8139C(L)+ Advanced Fast Ethernet PCI/CardBus Controller" data
 * sheet, revision 1.6, and of the "RTL8139C(L)" data sheet, revision 1.4.
 *
 * nic.lock guards everything. The timer is the clock's and takes it.
 */
#ifndef XUNI_DEVICE_NET_RTL8139_H
#define XUNI_DEVICE_NET_RTL8139_H

#include "core/clock.h"
#include "device/net/eeprom93.h"
#include "device/net/nic.h"
#include "device/pci/pci.h"

/* Chapter 6: registers by offset; of several bytes, little-endian. */
enum rtl_register {
	RTL_IDR = 0x00,
	RTL_MAR = 0x08,
	RTL_TSD = 0x10,   /* C mode: status of the four transmit buffers */
	RTL_DTCCR = 0x10, /* C+ mode: where the tally counters go */
	RTL_TSAD = 0x20,  /* C mode: their addresses */
	RTL_TNPDS = 0x20, /* C+ mode: normal priority transmit ring */
	RTL_THPDS = 0x28, /* high priority */
	RTL_RBSTART = 0x30,
	RTL_CR = 0x37,
	RTL_CAPR = 0x38,
	RTL_CBR = 0x3a,
	RTL_IMR = 0x3c,
	RTL_ISR = 0x3e,
	RTL_TCR = 0x40,
	RTL_RCR = 0x44,
	RTL_TCTR = 0x48,
	RTL_MPC = 0x4c,
	RTL_9346CR = 0x50,
	RTL_CONFIG0 = 0x51,
	RTL_CONFIG1 = 0x52,
	RTL_TIMERINT = 0x54,
	RTL_MSR = 0x58,
	RTL_CONFIG3 = 0x59,
	RTL_CONFIG4 = 0x5a,
	RTL_MULINT = 0x5c,
	RTL_RERID = 0x5e,
	RTL_TSADS = 0x60, /* "TSAD": all four transmit statuses in short */
	RTL_BMCR = 0x62,
	RTL_BMSR = 0x64,
	RTL_ANAR = 0x66,
	RTL_ANLPAR = 0x68,
	RTL_ANER = 0x6a,
	RTL_NWAYTR = 0x70,
	RTL_CSCR = 0x74,
	RTL_PHY1 = 0x78,
	RTL_CONFIG5 = 0xd8,
	RTL_TPPOLL = 0xd9,
	RTL_CPCR = 0xe0,
	RTL_RDSAR = 0xe4,
	RTL_ETTHR = 0xec,
};

enum {
	RTL_CR_BUFE = 1 << 0,
	RTL_CR_TE = 1 << 2,
	RTL_CR_RE = 1 << 3,
	RTL_CR_RST = 1 << 4,
	RTL_ISR_ROK = 1 << 0,
	RTL_ISR_TOK = 1 << 2,
	RTL_ISR_RXOVW = 1 << 4, /* C+: no receive descriptor */
	RTL_ISR_LINK = 1 << 5,
	RTL_ISR_TDU = 1 << 7,
	RTL_ISR_SWINT = 1 << 8,
	RTL_ISR_TIMEOUT = 1 << 14,
	RTL_TSD_OWN = 1 << 13,
	RTL_TSD_TOK = 1 << 15,
	RTL_CPCR_TE = 1 << 0,
	RTL_CPCR_RE = 1 << 1,
	RTL_CPCR_SUMS = 1 << 5,
	RTL_CPCR_VLAN = 1 << 6,
	RTL_POLL_NORMAL = 1 << 6,
	RTL_POLL_HIGH = 1 << 7,
};

/* The dump of DTCCR (C+ 6.2). */
struct rtl_tally {
	uint64_t tx_ok, rx_ok, tx_error;
	uint32_t rx_error;
	uint16_t missed, misaligned;
	uint32_t tx_one_collision, tx_collisions;
	uint64_t rx_physical, rx_broadcast;
	uint32_t rx_multicast;
	uint16_t tx_aborted, tx_underrun;
};

struct rtl8139 {
	struct pci_device pci;
	struct nic nic;
	uint8_t registers[256];
	struct eeprom93 eeprom;
	bool irq_asserted;
	struct rtl_tally tally;
	int64_t timer_base_ns; /* when TCTR was 0 */
	struct clock_timer timer;
	uint32_t tx_next;                           /* C mode: the transmit buffer whose turn it is */
	uint32_t tx_index, tx_high_index, rx_index; /* C+ mode: the rings' current descriptors */
	uint8_t polls;                              /* rings that TPPoll started */
};

static inline struct rtl8139 *rtl8139_of(struct nic *nic)
{
	return (struct rtl8139 *)((char *)nic - offsetof(struct rtl8139, nic));
}

/* rtl8139.c; the lock is held. */
uint16_t rtl_get16(const struct rtl8139 *rtl, unsigned offset);
uint32_t rtl_get32(const struct rtl8139 *rtl, unsigned offset);
void rtl_set16(struct rtl8139 *rtl, unsigned offset, uint16_t value);
void rtl_set32(struct rtl8139 *rtl, unsigned offset, uint32_t value);
void rtl_raise(struct rtl8139 *rtl, uint16_t isr);

/* rtl8139_data.c */
enum nic_turn rtl8139_transmit(struct nic *nic, struct nic_out *out);
bool rtl8139_receive(struct nic *nic, const struct nic_in *in);
bool rtl8139_buffer_empty(const struct rtl8139 *rtl);

#endif
