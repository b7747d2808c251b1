/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Intel 8254x gigabit Ethernet (82540EM, 82544GC, 82545EM), in three parts: e1000.c (registers, interrupts, life),
 * e1000_data.c (descriptor rings), e1000_phy.c (PHY, EEPROM, link). Section numbers are those of Intel's "PCI/PCI-X
 * Family of Gigabit Ethernet Controllers Software Developer's Manual" (317453).
 *
 * nic.lock guards everything. The moderation timer is the clock's and takes it.
 */
#ifndef XUNI_DEVICE_NET_E1000_H
#define XUNI_DEVICE_NET_E1000_H

#include "core/clock.h"
#include "device/net/eeprom93.h"
#include "device/net/nic.h"
#include "device/pci/pci.h"

/* 13.4: registers by offset. */
enum e1000_register {
	E1000_CTRL = 0x0000,
	E1000_STATUS = 0x0008,
	E1000_EECD = 0x0010,
	E1000_EERD = 0x0014,
	E1000_CTRL_EXT = 0x0018,
	E1000_FLA = 0x001c,
	E1000_MDIC = 0x0020,
	E1000_FCAL = 0x0028,
	E1000_FCAH = 0x002c,
	E1000_FCT = 0x0030,
	E1000_VET = 0x0038,
	E1000_ICR = 0x00c0,
	E1000_ITR = 0x00c4,
	E1000_ICS = 0x00c8,
	E1000_IMS = 0x00d0,
	E1000_IMC = 0x00d8,
	E1000_RCTL = 0x0100,
	E1000_FCTTV = 0x0170,
	E1000_TXCW = 0x0178,
	E1000_RXCW = 0x0180,
	E1000_TCTL = 0x0400,
	E1000_TIPG = 0x0410,
	E1000_AIFS = 0x0458,
	E1000_LEDCTL = 0x0e00,
	E1000_PBA = 0x1000,
	E1000_FCRTL = 0x2160,
	E1000_FCRTH = 0x2168,
	E1000_RDFH = 0x2410,
	E1000_RDFPC = 0x2430,
	E1000_RDBAL = 0x2800,
	E1000_RDBAH = 0x2804,
	E1000_RDLEN = 0x2808,
	E1000_RDH = 0x2810,
	E1000_RDT = 0x2818,
	E1000_RDTR = 0x2820,
	E1000_RXDCTL = 0x2828,
	E1000_RADV = 0x282c,
	E1000_RSRPD = 0x2c00,
	E1000_TXDMAC = 0x3000,
	E1000_TDFH = 0x3410,
	E1000_TDFPC = 0x3430,
	E1000_TDBAL = 0x3800,
	E1000_TDBAH = 0x3804,
	E1000_TDLEN = 0x3808,
	E1000_TDH = 0x3810,
	E1000_TDT = 0x3818,
	E1000_TIDV = 0x3820,
	E1000_TXDCTL = 0x3828,
	E1000_TADV = 0x382c,
	E1000_TSPMT = 0x3830,
	E1000_STATISTICS = 0x4000, /* all are cleared by reading */
	E1000_MPC = 0x4010,
	E1000_PRC64 = 0x405c, /* received: 64, 65-127, 128-255, 256-511, 512-1023, more */
	E1000_GPRC = 0x4074,
	E1000_BPRC = 0x4078,
	E1000_MPRC = 0x407c,
	E1000_GPTC = 0x4080,
	E1000_GORCL = 0x4088,
	E1000_GOTCL = 0x4090,
	E1000_RNBC = 0x40a0,
	E1000_ROC = 0x40ac,
	E1000_TORL = 0x40c0,
	E1000_TOTL = 0x40c8,
	E1000_TPR = 0x40d0,
	E1000_TPT = 0x40d4,
	E1000_PTC64 = 0x40d8,
	E1000_MPTC = 0x40f0,
	E1000_BPTC = 0x40f4,
	E1000_TSCTC = 0x40f8,
	E1000_STATISTICS_END = 0x4100,
	E1000_RXCSUM = 0x5000,
	E1000_MTA = 0x5200,
	E1000_MTA_END = 0x5400,
	E1000_RAL = 0x5400,
	E1000_RA_END = 0x5480,
	E1000_VFTA = 0x5600,
	E1000_VFTA_END = 0x5800,
	E1000_WUC = 0x5800,
	E1000_WUFC = 0x5808,
	E1000_WUS = 0x5810,
	E1000_MANC = 0x5820,
	E1000_IPAV = 0x5838,
	E1000_IP4AT = 0x5840,
	E1000_IP6AT_END = 0x5890,
	E1000_WUPL = 0x5900,
	E1000_WUPM = 0x5a00,
	E1000_WUPM_END = 0x5a80,
	E1000_FFLT = 0x5f00,
	E1000_FFLT_END = 0x5f20,
	E1000_REGISTERS_END = 0x6000,
};

enum {
	E1000_CTRL_SLU = 1 << 6,
	E1000_CTRL_RST = 1 << 26,
	E1000_CTRL_VME = 1 << 30,
	E1000_STATUS_LU = 1 << 1,
	E1000_RCTL_EN = 1 << 1,
	E1000_RCTL_UPE = 1 << 3,
	E1000_RCTL_MPE = 1 << 4,
	E1000_RCTL_LPE = 1 << 5,
	E1000_RCTL_LBM = 3 << 6,
	E1000_RCTL_BAM = 1 << 15,
	E1000_RCTL_VFE = 1 << 18,
	E1000_RCTL_CFIEN = 1 << 19,
	E1000_RCTL_CFI = 1 << 20,
	E1000_RCTL_BSEX = 1 << 25,
	E1000_RCTL_SECRC = 1 << 26,
	E1000_TCTL_EN = 1 << 1,
	E1000_RXCSUM_IPOFL = 1 << 8,
	E1000_RXCSUM_TUOFL = 1 << 9,
};

/* 13.4.17: interrupt causes. */
enum {
	E1000_ICR_TXDW = 1 << 0,
	E1000_ICR_TXQE = 1 << 1,
	E1000_ICR_LSC = 1 << 2,
	E1000_ICR_RXDMT0 = 1 << 4,
	E1000_ICR_RXO = 1 << 6,
	E1000_ICR_RXT0 = 1 << 7,
	E1000_ICR_MDAC = 1 << 9,
	E1000_ICR_TXD_LOW = 1 << 15,
	E1000_ICR_ALL = 0x1f6df,
};

/* The context that a context descriptor leaves for the data descriptors behind it (3.3.6). */
struct e1000_context {
	uint8_t ip_start, ip_offset, tcp_start, tcp_offset;
	uint16_t ip_end, tcp_end;
	bool is_tcp, is_v4;
	uint8_t header_bytes;
	uint16_t mss;
	uint32_t payload_bytes;
};

struct e1000 {
	struct pci_device pci;
	struct nic nic;
	bool mitigation;

	uint32_t registers[E1000_REGISTERS_END / 4];
	uint32_t io_address; /* IOADDR */
	uint16_t phy[32];
	struct eeprom93 eeprom;

	/* Interrupts: what waits for a delay timer, and when the next may come (13.4.18). */
	uint32_t delayed_causes;
	bool irq_asserted;
	int64_t irq_not_before_ns;
	struct clock_timer timer;
	int64_t timer_due_ns; /* INT64_MAX: not set */

	/* The frame being gathered from transmit descriptors. */
	struct e1000_context plain_context, tso_context;
	uint32_t tx_bytes;
	bool tx_started, tx_overlong, tx_tso, tx_ip_sum, tx_tcp_sum, tx_vlan;
	uint16_t tx_tag;
	uint8_t tx_data[FRAME_MAX];
};

static inline struct e1000 *e1000_of(struct nic *nic)
{
	return (struct e1000 *)((char *)nic - offsetof(struct e1000, nic));
}

static inline uint32_t *e1000_reg(struct e1000 *e1000, unsigned offset)
{
	return &e1000->registers[offset / 4];
}

/* e1000.c; the lock is held. delay_ns 0: now. */
void e1000_cause(struct e1000 *e1000, uint32_t causes, int64_t delay_ns);
void e1000_count(struct e1000 *e1000, unsigned offset, uint32_t more);
/* A 64-bit counter in two registers. */
void e1000_count_bytes(struct e1000 *e1000, unsigned offset, uint64_t more);

/* e1000_data.c */
enum nic_turn e1000_transmit(struct nic *nic, struct nic_out *out);
bool e1000_receive(struct nic *nic, const struct nic_in *in);
void e1000_transmit_reset(struct e1000 *e1000);

/* e1000_phy.c */

void e1000_phy_reset(struct e1000 *e1000);
void e1000_eeprom_fill(struct e1000 *e1000);
void e1000_mdic_write(struct e1000 *e1000, uint32_t value);
uint32_t e1000_eecd_read(struct e1000 *e1000);
void e1000_eecd_write(struct e1000 *e1000, uint32_t value);
void e1000_eerd_write(struct e1000 *e1000, uint32_t value);
void e1000_link_set(struct e1000 *e1000, bool up);
bool e1000_loopback(struct e1000 *e1000);

#endif
