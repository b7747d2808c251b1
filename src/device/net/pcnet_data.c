/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Am79C970A's memory: initialization block, descriptors in the four software styles (LANCE with 24-bit addresses;
 * ILACC; PCnet-PCI; PCnet-PCI II), receive filter. Descriptors of a transmitted frame are taken when all of them are
 * there.
 */
#include "device/net/pcnet.h"

#include "base/util.h"

enum { DESCRIPTORS_A_FRAME = 64 };

enum {
	STATUS_OWN = 1 << 15,
	STATUS_ERR = 1 << 14,
	STATUS_BUFF = 1 << 10, /* the frame did not fit */
	STATUS_STP = 1 << 9,
	STATUS_ENP = 1 << 8,
	STATUS_PAM = 1 << 6, /* styles 2 and 3: why it was accepted */
	STATUS_LAFM = 1 << 5,
	STATUS_BAM = 1 << 4,
};

/* One in the form that all styles share. */
struct descriptor {
	uint64_t gpa;
	uint32_t buffer_gpa;
	uint16_t status;
	uint32_t bytes;   /* of the buffer */
	uint32_t message; /* received bytes; for transmission its errors: none */
};

static unsigned style(const struct pcnet *pcnet)
{
	return pcnet->bcr[20] & 0xff;
}

static uint32_t high_address(const struct pcnet *pcnet)
{
	return (uint32_t)(pcnet->csr[2] & 0xff00) << 16;
}

static bool descriptor_read(struct pcnet *pcnet, uint32_t base, uint32_t index, struct descriptor *descriptor)
{
	bool wide = style(pcnet) != 0;
	uint8_t bytes[16] = {0};
	uint16_t count;

	descriptor->gpa = (uint64_t)base + index * (wide ? 16u : 8u);
	if (pci_dma_read(&pcnet->pci, descriptor->gpa, bytes, wide ? 16 : 8) < 0)
		return false;
	if (!wide) {
		descriptor->buffer_gpa = high_address(pcnet) | load_le16(bytes) | (uint32_t)bytes[2] << 16;
		descriptor->status = (uint16_t)(bytes[3] << 8);
		count = load_le16(bytes + 4);
	} else {
		descriptor->buffer_gpa = load_le32(bytes + (style(pcnet) == 3 ? 8 : 0));
		count = load_le16(bytes + 4);
		descriptor->status = load_le16(bytes + 6);
	}
	descriptor->bytes = (0x1000u - count) & 0xfff; /* two's complement of 12 bits */
	if (!descriptor->bytes && (count & 0xf000) != 0xf000)
		descriptor->bytes = 0x1000;
	return descriptor->status & STATUS_OWN;
}

/* The status goes last: with it the descriptor is the driver's. */
static void descriptor_return(struct pcnet *pcnet, const struct descriptor *descriptor)
{
	uint16_t message = (uint16_t)descriptor->message;
	uint8_t status = (uint8_t)(descriptor->status >> 8);

	if (style(pcnet) == 0) {
		pci_dma_write(&pcnet->pci, descriptor->gpa + 6, &message, sizeof(message));
		pci_dma_write(&pcnet->pci, descriptor->gpa + 3, &status, sizeof(status));
		return;
	}
	pci_dma_write(&pcnet->pci, descriptor->gpa + (style(pcnet) == 3 ? 0 : 8), &descriptor->message,
		      sizeof(descriptor->message));
	pci_dma_write(&pcnet->pci, descriptor->gpa + 6, &descriptor->status, sizeof(descriptor->status));
}

static uint32_t ring_next(uint32_t index, uint32_t count)
{
	return index + 1 >= count ? 0 : index + 1;
}

void pcnet_initialize(struct pcnet *pcnet)
{
	bool wide = pcnet->bcr[20] & BCR20_SSIZE32;
	uint32_t gpa = (uint32_t)pcnet->csr[2] << 16 | pcnet->csr[1];
	uint32_t rx_log, tx_log, address_mask = wide ? ~0xfu : 0xfffff8;
	uint8_t block[28] = {0};
	const uint8_t *at = wide ? block + 4 : block + 2;

	if (!wide)
		gpa = (gpa & 0xffffff) | high_address(pcnet);
	pci_dma_read(&pcnet->pci, gpa, block, wide ? 28 : 24);
	pcnet->csr[15] = load_le16(block);
	for (unsigned i = 0; i < 3; i++)
		pcnet->csr[12 + i] = load_le16(at + 2 * i);
	at += wide ? 8 : 6;
	for (unsigned i = 0; i < 4; i++)
		pcnet->csr[8 + i] = load_le16(at + 2 * i);
	at += 8;
	pcnet->rx_base = load_le32(at) & address_mask;
	pcnet->tx_base = load_le32(at + 4) & address_mask;
	if (wide) {
		rx_log = block[2] >> 4;
		tx_log = block[3] >> 4;
	} else {
		rx_log = load_le32(at) >> 29;
		tx_log = load_le32(at + 4) >> 29;
		pcnet->rx_base |= high_address(pcnet);
		pcnet->tx_base |= high_address(pcnet);
	}
	pcnet->rx_count = 1u << min_u64(rx_log, 9);
	pcnet->tx_count = 1u << min_u64(tx_log, 9);
	pcnet->rx_index = pcnet->tx_index = 0;
	pcnet->csr[24] = (uint16_t)pcnet->rx_base;
	pcnet->csr[25] = (uint16_t)(pcnet->rx_base >> 16);
	pcnet->csr[30] = (uint16_t)pcnet->tx_base;
	pcnet->csr[31] = (uint16_t)(pcnet->tx_base >> 16);
}

/* --- transmit --- */

static bool running(const struct pcnet *pcnet, uint16_t what)
{
	return pcnet->csr[0] & what && !(pcnet->csr[5] & CSR5_SPND);
}

enum nic_turn pcnet_transmit(struct nic *nic, struct nic_out *out)
{
	struct pcnet *pcnet = pcnet_of(nic);
	struct descriptor taken[DESCRIPTORS_A_FRAME];
	uint32_t next = pcnet->tx_index;
	unsigned count = 0;
	bool good = true, last = false;

	if (!running(pcnet, CSR0_TXON) || !pcnet->tx_count)
		return NIC_IDLE;
	while (!last) {
		struct descriptor *descriptor = &taken[count];

		if (count == DESCRIPTORS_A_FRAME || count == pcnet->tx_count) {
			good = false; /* a frame without an end: its descriptors are given back */
			break;
		}
		if (!descriptor_read(pcnet, pcnet->tx_base, next, descriptor))
			return NIC_IDLE;
		/* It begins with STP: what precedes is passed over. */
		good &= count == 0 ? (descriptor->status & STATUS_STP) != 0 : true;
		count++;
		if (descriptor->bytes > FRAME_MAX - out->length ||
		    pci_dma_read(&pcnet->pci, descriptor->buffer_gpa, out->data + out->length, descriptor->bytes) < 0)
			good = false;
		else
			out->length += descriptor->bytes;
		next = ring_next(next, pcnet->tx_count);
		last = descriptor->status & STATUS_ENP || !(taken[0].status & STATUS_STP);
	}
	for (unsigned i = 0; i < count; i++) {
		taken[i].status &= (uint16_t) ~(STATUS_OWN | STATUS_ERR);
		taken[i].message = 0;
		descriptor_return(pcnet, &taken[i]);
	}
	pcnet->tx_index = next;
	pcnet->csr[4] |= CSR4_TXSTRT;
	pcnet_raise(pcnet, CSR0_TINT);
	out->loopback = pcnet->csr[15] & MODE_LOOP;
	return good && out->length >= FRAME_ETHERNET ? NIC_FRAME : NIC_AGAIN;
}

/* --- receive --- */

/* Why the frame is wanted: PAM, LAFM, BAM, all of them when promiscuous; 0: it is not. */
static uint16_t wanted(const struct pcnet *pcnet, const uint8_t *frame)
{
	uint16_t mode = pcnet->csr[15];
	unsigned hash;

	if (mode & MODE_PROM)
		return STATUS_PAM;
	if (nic_is_broadcast(frame))
		return mode & MODE_DRCVBC ? 0 : STATUS_BAM;
	if (!nic_is_multicast(frame))
		return !(mode & MODE_DRCVPA) && load_le16(frame) == pcnet->csr[12] &&
				       load_le16(frame + 2) == pcnet->csr[13] && load_le16(frame + 4) == pcnet->csr[14]
			       ? STATUS_PAM
			       : 0;
	hash = nic_crc_le(frame, 6) >> 26;
	return pcnet->csr[8 + hash / 16] >> hash % 16 & 1 ? STATUS_LAFM : 0;
}

bool pcnet_receive(struct nic *nic, const struct nic_in *in)
{
	struct pcnet *pcnet = pcnet_of(nic);
	uint16_t why = wanted(pcnet, in->data);
	uint32_t fcs = 0, total = (uint32_t)in->length + NIC_FCS_BYTES, done = 0;
	struct descriptor descriptor;
	uint16_t status = STATUS_STP;

	if (!running(pcnet, CSR0_RXON) || !why || in->length > 4096 - NIC_FCS_BYTES - 1 || !pcnet->rx_count)
		return true;
	if (!descriptor_read(pcnet, pcnet->rx_base, pcnet->rx_index, &descriptor)) {
		nic_retry(nic);
		return false;
	}
	for (uint32_t used = 0; done < total; used++) {
		uint32_t bytes = (uint32_t)min_u64(total - done, descriptor.bytes);
		uint32_t data = done < in->length ? (uint32_t)min_u64(bytes, in->length - done) : 0;

		pci_dma_write(&pcnet->pci, descriptor.buffer_gpa, in->data + done, data);
		pci_dma_write(&pcnet->pci, (uint64_t)descriptor.buffer_gpa + data, &fcs, bytes - data);
		done += bytes;
		descriptor.status = status | why;
		descriptor.message = 0;
		pcnet->rx_index = ring_next(pcnet->rx_index, pcnet->rx_count);
		status = 0;
		if (done == total) {
			descriptor.status |= STATUS_ENP;
			descriptor.message = total;
			descriptor_return(pcnet, &descriptor);
		} else {
			struct descriptor more = {0};
			bool there = used < DESCRIPTORS_A_FRAME &&
				     descriptor_read(pcnet, pcnet->rx_base, pcnet->rx_index, &more);

			if (!there)
				descriptor.status |= STATUS_ERR | STATUS_BUFF;
			descriptor_return(pcnet, &descriptor);
			if (!there)
				break;
			descriptor = more;
		}
	}
	pcnet_raise(pcnet, CSR0_RINT);
	return true;
}
