/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The RTL8139C+'s frames: four transmit buffers and one receive ring of bytes in C mode, rings of descriptors with
 * checksum, segmentation and VLAN offload in C+ mode (chapter 5 and "C+ mode" of chapter 6). Descriptors of a frame are
 * taken when all of them are there.
 */
#include "device/net/rtl8139.h"

#include "base/util.h"

enum { DESCRIPTOR_BYTES = 16, RING_MAX = 64, TYPE_VLAN = 0x8100, LOOPBACK = 3 << 17 };

/* --- receive filter --- */

/* Status bits in the header of a received frame (C mode); C+ descriptors have them at bits 24 to 26. */
enum { HEADER_ROK = 1 << 0, HEADER_BROADCAST = 1 << 13, HEADER_PHYSICAL = 1 << 14, HEADER_MULTICAST = 1 << 15 };

/* What the frame is, or 0 when RCR does not want it. */
static uint32_t classify(struct rtl8139 *rtl, const uint8_t *frame)
{
	enum { AAP = 1 << 0, APM = 1 << 1, AM = 1 << 2, AB = 1 << 3 };
	uint32_t control = rtl_get32(rtl, RTL_RCR), kind;
	bool wanted;

	if (nic_is_broadcast(frame)) {
		kind = HEADER_BROADCAST;
		wanted = control & AB;
	} else if (nic_is_multicast(frame)) {
		unsigned hash = nic_crc_be(frame, 6) >> 26;

		kind = HEADER_MULTICAST;
		wanted = control & AM && rtl->registers[RTL_MAR + hash / 8] >> hash % 8 & 1;
	} else {
		bool mine = !memcmp(frame, rtl->registers + RTL_IDR, 6);

		kind = mine ? HEADER_PHYSICAL : HEADER_ROK;
		wanted = control & APM && mine;
	}
	return wanted || control & AAP ? kind : 0;
}

static void count_received(struct rtl8139 *rtl, uint32_t kind)
{
	rtl->tally.rx_ok++;
	if (kind == HEADER_BROADCAST)
		rtl->tally.rx_broadcast++;
	else if (kind == HEADER_MULTICAST)
		rtl->tally.rx_multicast++;
	else if (kind == HEADER_PHYSICAL)
		rtl->tally.rx_physical++;
}

/* --- C mode --- */

static uint32_t ring_bytes(const struct rtl8139 *rtl)
{
	return 8192u << (rtl_get32(rtl, RTL_RCR) >> 11 & 3);
}

/* CAPR lags the driver's read position by 16. */
static uint32_t ring_used(const struct rtl8139 *rtl)
{
	uint32_t size = ring_bytes(rtl);

	return (rtl_get16(rtl, RTL_CBR) - rtl_get16(rtl, RTL_CAPR) - 16u) & (size - 1);
}

bool rtl8139_buffer_empty(const struct rtl8139 *rtl)
{
	return ring_used(rtl) == 0;
}

/* At the ring's end a frame goes on at its beginning, or with RCR.WRAP behind the end (not so in the 64 KiB ring). */
static void ring_write(struct rtl8139 *rtl, uint32_t *at, const void *data, uint32_t bytes)
{
	enum { WRAP = 1 << 7 };
	uint32_t size = ring_bytes(rtl), start = rtl_get32(rtl, RTL_RBSTART), head = bytes;

	if (*at + bytes > size && (!(rtl_get32(rtl, RTL_RCR) & WRAP) || size == 65536))
		head = *at < size ? size - *at : 0;
	pci_dma_write(&rtl->pci, (uint64_t)start + *at, data, head);
	if (bytes > head) {
		pci_dma_write(&rtl->pci, start, (const uint8_t *)data + head, bytes - head);
		*at = bytes - head;
	} else {
		*at += bytes;
	}
}

static bool receive_bytes(struct rtl8139 *rtl, const struct nic_in *in, uint32_t kind)
{
	static const uint8_t fcs[NIC_FCS_BYTES];
	uint32_t size = ring_bytes(rtl), at = rtl_get16(rtl, RTL_CBR) & (size - 1);
	uint32_t length = (uint32_t)in->length + NIC_FCS_BYTES, room = size - ring_used(rtl);
	uint32_t header = HEADER_ROK | kind | length << 16;

	if (length + 8 >= room) {
		if (room == size) /* would never fit */
			return true;
		rtl_raise(rtl, RTL_ISR_RXOVW);
		return false;
	}
	ring_write(rtl, &at, &header, sizeof(header));
	ring_write(rtl, &at, in->data, (uint32_t)in->length);
	ring_write(rtl, &at, fcs, sizeof(fcs));
	rtl_set16(rtl, RTL_CBR, (uint16_t)(align_up(at, 4) & (size - 1)));
	return true;
}

static enum nic_turn transmit_buffer(struct rtl8139 *rtl, struct nic_out *out)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned buffer = (rtl->tx_next + i) & 3;
		uint32_t status = rtl_get32(rtl, RTL_TSD + 4 * buffer);

		if (status & RTL_TSD_OWN)
			continue;
		out->length = status & 0x1fff;
		if (pci_dma_read(&rtl->pci, rtl_get32(rtl, RTL_TSAD + 4 * buffer), out->data, out->length) < 0)
			out->length = 0;
		rtl_set32(rtl, RTL_TSD + 4 * buffer, status | RTL_TSD_OWN | RTL_TSD_TOK);
		rtl->tx_next = (buffer + 1) & 3;
		rtl->tally.tx_ok++;
		rtl_raise(rtl, RTL_ISR_TOK);
		return out->length ? NIC_FRAME : NIC_AGAIN;
	}
	return NIC_IDLE;
}

/* --- C+ mode --- */

enum {
	OWN = 1u << 31,
	END_OF_RING = 1 << 30,
	FIRST = 1 << 29,
	LAST = 1 << 28,
	LARGE_SEND = 1 << 27,
	IP_SUM = 1 << 18,
	UDP_SUM = 1 << 17,
	TCP_SUM = 1 << 16,
	TX_TAG = 1 << 17, /* second word */
	RX_TAG = 1 << 16, /* second word */
	RX_IP_BAD = 1 << 15,
	RX_TCP = 1 << 16,
	RX_UDP = 2 << 16,
	RX_IP = 3 << 16,
	SIZE_MASK = 0x1fff,
};

struct descriptor {
	uint64_t gpa;
	uint32_t command, vlan;
	uint64_t buffer_gpa;
};

static bool descriptor_read(struct rtl8139 *rtl, unsigned ring, uint32_t index, struct descriptor *descriptor)
{
	uint8_t bytes[DESCRIPTOR_BYTES];

	descriptor->gpa =
		((uint64_t)rtl_get32(rtl, ring + 4) << 32 | (rtl_get32(rtl, ring) & ~0xffu)) + index * DESCRIPTOR_BYTES;
	if (pci_dma_read(&rtl->pci, descriptor->gpa, bytes, sizeof(bytes)) < 0)
		return false;
	descriptor->command = load_le32(bytes);
	descriptor->vlan = load_le32(bytes + 4);
	descriptor->buffer_gpa = load_le64(bytes + 8);
	return descriptor->command & OWN;
}

static uint32_t descriptor_next(uint32_t index, uint32_t command)
{
	return command & END_OF_RING || index + 1 == RING_MAX ? 0 : index + 1;
}

static void descriptor_report(struct rtl8139 *rtl, const struct descriptor *descriptor, uint32_t command, uint32_t vlan)
{
	pci_dma_write(&rtl->pci, descriptor->gpa + 4, &vlan, sizeof(vlan));
	pci_dma_write(&rtl->pci, descriptor->gpa, &command, sizeof(command));
}

static void finish_sums(struct nic_out *out, uint32_t command)
{
	struct frame frame;

	if (!(command & (IP_SUM | TCP_SUM | UDP_SUM)) || !frame_parse(out->data, out->length, &frame) || !frame.l4)
		return;
	if (command & IP_SUM && !frame.is_v6) {
		uint16_t sum;

		store_le16(out->data + frame.ip + 10, 0);
		sum = (uint16_t)~checksum_fold(checksum_add(0, out->data + frame.ip, frame.l4 - frame.ip));
		memcpy(out->data + frame.ip + 10, &sum, 2);
	}
	if ((command & TCP_SUM && frame.protocol == 6) || (command & UDP_SUM && frame.protocol == 17))
		frame_checksum(out->data, &frame);
}

/* A whole frame off a ring, or NIC_IDLE when not all of its descriptors are the card's. */
static enum nic_turn transmit_descriptors(struct rtl8139 *rtl, unsigned ring, uint32_t *index, struct nic_out *out)
{
	struct descriptor taken[RING_MAX], *last = NULL;
	uint32_t next = *index;
	unsigned count = 0;
	bool good = true;

	out->data += NIC_VLAN_BYTES;
	while (!last) {
		struct descriptor *descriptor = &taken[count];
		uint32_t bytes;

		if (count == RING_MAX || !descriptor_read(rtl, ring, next, descriptor))
			return NIC_IDLE;
		count++;
		bytes = descriptor->command & 0xffff;
		if (bytes > FRAME_MAX - NIC_VLAN_BYTES - out->length ||
		    pci_dma_read(&rtl->pci, descriptor->buffer_gpa, out->data + out->length, bytes) < 0)
			good = false;
		else
			out->length += bytes;
		next = descriptor_next(next, descriptor->command);
		if (descriptor->command & LAST)
			last = descriptor;
	}
	/* Where the commands were there are errors now: none. */
	for (unsigned i = 0; i < count; i++)
		descriptor_report(rtl, &taken[i], taken[i].command & (END_OF_RING | FIRST | LAST | 0xffff),
				  taken[i].vlan);
	*index = next;
	rtl->tally.tx_ok++;
	rtl_raise(rtl, RTL_ISR_TOK);
	if (!good || out->length < FRAME_ETHERNET)
		return NIC_AGAIN;
	if (!(taken[0].command & LARGE_SEND))
		finish_sums(out, taken[0].command);
	else if (!nic_out_large(out, taken[0].command >> 16 & 0x7ff))
		return NIC_AGAIN;
	if (last->vlan & TX_TAG)
		nic_out_tag(out, TYPE_VLAN, __builtin_bswap16((uint16_t)last->vlan));
	return NIC_FRAME;
}

/* The high priority ring goes first. */
static enum nic_turn transmit_rings(struct rtl8139 *rtl, struct nic_out *out)
{
	uint8_t *data = out->data;
	enum nic_turn turn;

	if (rtl->polls & RTL_POLL_HIGH) {
		turn = transmit_descriptors(rtl, RTL_THPDS, &rtl->tx_high_index, out);
		if (turn != NIC_IDLE)
			return turn;
		rtl->polls &= (uint8_t)~RTL_POLL_HIGH;
		*out = (struct nic_out){.data = data};
	}
	if (rtl->polls & RTL_POLL_NORMAL) {
		turn = transmit_descriptors(rtl, RTL_TNPDS, &rtl->tx_index, out);
		if (turn != NIC_IDLE)
			return turn;
		rtl->polls &= (uint8_t)~RTL_POLL_NORMAL;
		rtl_raise(rtl, RTL_ISR_TDU);
	}
	return NIC_IDLE;
}

static uint32_t receive_status(struct rtl8139 *rtl, const struct nic_in *in)
{
	uint32_t status = RX_IP;
	struct frame frame;

	if (!(rtl_get16(rtl, RTL_CPCR) & RTL_CPCR_SUMS) || !in->sums_good ||
	    !frame_parse(in->data, in->length, &frame) || frame.is_v6 || !frame.l4)
		return 0;
	if (frame.payload && frame.protocol == 6)
		status = RX_TCP;
	else if (frame.payload && frame.protocol == 17)
		status = RX_UDP;
	if (checksum_fold(checksum_add(0, in->data + frame.ip, frame.l4 - frame.ip)) != 0xffff)
		status |= RX_IP_BAD;
	return status;
}

static bool receive_descriptor(struct rtl8139 *rtl, const struct nic_in *in, uint32_t kind)
{
	bool strip = rtl_get16(rtl, RTL_CPCR) & RTL_CPCR_VLAN && load_be16(in->data + 12) == TYPE_VLAN;
	size_t start = strip ? 16 : 12, length = in->length - (strip ? NIC_VLAN_BYTES : 0);
	uint32_t status = receive_status(rtl, in), vlan = 0, zero = 0;
	struct descriptor descriptor;

	if (!descriptor_read(rtl, RTL_RDSAR, rtl->rx_index, &descriptor)) {
		rtl_raise(rtl, RTL_ISR_RXOVW);
		nic_retry(&rtl->nic);
		return false;
	}
	if (length + NIC_FCS_BYTES > (descriptor.command & SIZE_MASK)) {
		rtl->tally.missed++;
		return true;
	}
	pci_dma_write(&rtl->pci, descriptor.buffer_gpa, in->data, 12);
	pci_dma_write(&rtl->pci, descriptor.buffer_gpa + 12, in->data + start, length - 12);
	pci_dma_write(&rtl->pci, descriptor.buffer_gpa + length, &zero, NIC_FCS_BYTES);
	if (strip)
		vlan = RX_TAG | load_le16(in->data + 14);
	status |= FIRST | LAST | (descriptor.command & END_OF_RING) | (uint32_t)(length + NIC_FCS_BYTES);
	status |= (kind & (HEADER_BROADCAST | HEADER_PHYSICAL | HEADER_MULTICAST)) << 11;
	descriptor_report(rtl, &descriptor, status, vlan);
	rtl->rx_index = descriptor_next(rtl->rx_index, descriptor.command);
	return true;
}

/* --- both --- */

enum nic_turn rtl8139_transmit(struct nic *nic, struct nic_out *out)
{
	struct rtl8139 *rtl = rtl8139_of(nic);
	enum nic_turn turn;

	if (!(rtl->registers[RTL_CR] & RTL_CR_TE))
		return NIC_IDLE;
	turn = rtl_get16(rtl, RTL_CPCR) & RTL_CPCR_TE ? transmit_rings(rtl, out) : transmit_buffer(rtl, out);
	out->loopback = (rtl_get32(rtl, RTL_TCR) & LOOPBACK) == LOOPBACK;
	return turn;
}

bool rtl8139_receive(struct nic *nic, const struct nic_in *in)
{
	struct rtl8139 *rtl = rtl8139_of(nic);
	uint32_t kind = classify(rtl, in->data);
	bool done;

	if (!(rtl->registers[RTL_CR] & RTL_CR_RE) || !kind || in->length > SIZE_MASK - 2 * NIC_FCS_BYTES)
		return true;
	done = rtl_get16(rtl, RTL_CPCR) & RTL_CPCR_RE ? receive_descriptor(rtl, in, kind)
						      : receive_bytes(rtl, in, kind);
	if (done) {
		count_received(rtl, kind);
		rtl_raise(rtl, RTL_ISR_ROK);
	}
	return done;
}
