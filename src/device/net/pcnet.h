/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AMD PCnet-PCI II (Am79C970A) in two parts: pcnet.c (CSRs, BCRs, ports, interrupts, life), pcnet_data.c
 * (initialization block, descriptor rings, frames). Names are those of AMD's data sheet (publication 19436). nic.lock
 * guards everything.
 */
#ifndef XUNI_DEVICE_NET_PCNET_H
#define XUNI_DEVICE_NET_PCNET_H

#include "core/state.h"
#include "device/net/nic.h"
#include "device/pci/pci.h"

enum { PCNET_CSRS = 128, PCNET_BCRS = 32, PCNET_RING_MAX = 512 };

enum {
	CSR0_INIT = 1 << 0,
	CSR0_STRT = 1 << 1,
	CSR0_STOP = 1 << 2,
	CSR0_TDMD = 1 << 3,
	CSR0_TXON = 1 << 4,
	CSR0_RXON = 1 << 5,
	CSR0_IENA = 1 << 6,
	CSR0_INTR = 1 << 7,
	CSR0_IDON = 1 << 8,
	CSR0_TINT = 1 << 9,
	CSR0_RINT = 1 << 10,
	CSR0_MERR = 1 << 11,
	CSR0_MISS = 1 << 12,
	CSR0_BABL = 1 << 14,
	CSR0_ERR = 1 << 15,
	CSR4_TXSTRT = 1 << 3,
	CSR4_ASTRP_RCV = 1 << 10,
	CSR5_SPND = 1 << 0,
	MODE_DRX = 1 << 0,
	MODE_DTX = 1 << 1,
	MODE_LOOP = 1 << 2,
	MODE_DRCVPA = 1 << 13,
	MODE_DRCVBC = 1 << 14,
	MODE_PROM = 1 << 15,
	BCR20_SSIZE32 = 1 << 8,
};

struct pcnet {
	struct pci_device pci;
	struct nic nic;
	uint16_t csr[PCNET_CSRS];
	uint16_t bcr[PCNET_BCRS];
	uint16_t rap;
	uint8_t prom[16];
	bool wide_ports; /* DWIO */
	bool irq_asserted;
	uint32_t rx_base, tx_base;   /* gpa */
	uint32_t rx_count, tx_count; /* descriptors */
	uint32_t rx_index, tx_index; /* current one */
};

static inline struct pcnet *pcnet_of(struct nic *nic)
{
	return (struct pcnet *)((char *)nic - offsetof(struct pcnet, nic));
}

/* pcnet.c; the lock is held. */
void pcnet_raise(struct pcnet *pcnet, uint16_t csr0);

/* pcnet_data.c */
/* Reads the initialization block at CSR1 and CSR2. */
void pcnet_initialize(struct pcnet *pcnet);
enum nic_turn pcnet_transmit(struct nic *nic, struct nic_out *out);
bool pcnet_receive(struct nic *nic, const struct nic_in *in);

#endif
