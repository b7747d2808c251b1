/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8254x's descriptor rings: receive (3.2), transmit with legacy, context and data descriptors (3.3, 3.4, 3.5), the
 * receive filters (3.2.1, 13.5). A large TCP packet goes to the back end as it is, with its headers completed for all
 * of it; the back end cuts it where it has to. Left out: UDP segmentation, the packet checksum field of receive
 * descriptors, descriptor prefetch and write-back thresholds (RXDCTL, TXDCTL: one descriptor at a time).
 */
#include "device/net/e1000.h"

#include "base/util.h"

enum { DESCRIPTOR_BYTES = 16, DESCRIPTORS_A_TURN = 64, HEADROOM = NIC_VLAN_BYTES, RECEIVE_MAX = 16384 };

struct ring {
	uint64_t base_gpa;
	uint32_t count, head, tail;
};

/* False when there is nothing to be had: no ring, or registers that contradict its length. */
static bool ring_get(struct e1000 *e1000, unsigned base, struct ring *ring)
{
	const uint32_t *registers = e1000_reg(e1000, base);

	ring->base_gpa = (uint64_t)registers[1] << 32 | (registers[0] & ~15u);
	ring->count = registers[2] / DESCRIPTOR_BYTES;
	ring->head = registers[4];
	ring->tail = registers[6];
	return ring->head < ring->count && ring->tail < ring->count;
}

static uint32_t ring_next(const struct ring *ring, uint32_t index)
{
	return index + 1 == ring->count ? 0 : index + 1;
}

static uint32_t ring_filled(const struct ring *ring)
{
	return ring->tail >= ring->head ? ring->tail - ring->head : ring->count - ring->head + ring->tail;
}

static void count_size(struct e1000 *e1000, unsigned first, size_t bytes)
{
	static const uint16_t limits[] = {64, 127, 255, 511, 1023};
	unsigned bin = 0;

	while (bin < ARRAY_SIZE(limits) && bytes > limits[bin])
		bin++;
	e1000_count(e1000, first + 4 * bin, 1);
}

/* --- transmit --- */

/* 3.3.3: commands of a descriptor, as they stand in its third word. */
enum {
	COMMAND_EOP = 1 << 24,
	COMMAND_IC = 1 << 26,  /* legacy: put a checksum in */
	COMMAND_TSE = 1 << 26, /* data */
	COMMAND_RS = 1 << 27,
	COMMAND_DEXT = 1 << 29,
	COMMAND_VLE = 1 << 30,
	COMMAND_IDE = 1u << 31,
	TYPE_DATA = 1,
	STATUS_DD = 1 << 0,
	CONTEXT_TCP = 1 << 24,
	CONTEXT_IPV4 = 1 << 25,
	CONTEXT_TSE = 1 << 26,
	OPTION_IXSM = 1 << 8,
	OPTION_TXSM = 1 << 9,
};

void e1000_transmit_reset(struct e1000 *e1000)
{
	e1000->tx_bytes = 0;
	e1000->tx_started = e1000->tx_overlong = false;
}

/* 3.3.6 */
static void take_context(struct e1000 *e1000, const uint8_t *descriptor)
{
	uint32_t command = load_le32(descriptor + 8);

	*(command & CONTEXT_TSE ? &e1000->tso_context : &e1000->plain_context) = (struct e1000_context){
		.ip_start = descriptor[0],
		.ip_offset = descriptor[1],
		.ip_end = load_le16(descriptor + 2),
		.tcp_start = descriptor[4],
		.tcp_offset = descriptor[5],
		.tcp_end = load_le16(descriptor + 6),
		.is_tcp = command & CONTEXT_TCP,
		.is_v4 = command & CONTEXT_IPV4,
		.payload_bytes = command & 0xfffff,
		.header_bytes = descriptor[13],
		.mss = load_le16(descriptor + 14),
	};
}

/* What counts for the whole frame stands in its first data descriptor (3.3.7). */
static void begin_frame(struct e1000 *e1000, uint32_t command, uint32_t status, bool extended)
{
	e1000->tx_started = true;
	e1000->tx_tso = extended && command & COMMAND_TSE;
	e1000->tx_ip_sum = extended && status & OPTION_IXSM;
	e1000->tx_tcp_sum = extended && status & OPTION_TXSM;
	e1000->tx_vlan = command & COMMAND_VLE && *e1000_reg(e1000, E1000_CTRL) & E1000_CTRL_VME;
	e1000->tx_tag = (uint16_t)(status >> 16);
}

static void gather(struct e1000 *e1000, uint64_t gpa, uint32_t bytes)
{
	if (bytes > FRAME_MAX - NIC_VLAN_BYTES - e1000->tx_bytes) {
		e1000->tx_overlong = true;
		return;
	}
	if (pci_dma_read(&e1000->pci, gpa, e1000->tx_data + HEADROOM + e1000->tx_bytes, bytes) < 0)
		memset(e1000->tx_data + HEADROOM + e1000->tx_bytes, 0, bytes);
	e1000->tx_bytes += bytes;
}

/* The sum of [start, end] at `offset`; end 0: all the rest (3.3.6). */
static void insert_sum(uint8_t *data, size_t length, size_t start, size_t offset, size_t end)
{
	uint16_t sum;

	if (end && end + 1 < length)
		length = end + 1;
	if (start >= length || offset + 2 > length)
		return;
	sum = (uint16_t)~checksum_fold(checksum_add(0, data + start, length - start));
	memcpy(data + offset, &sum, 2);
}

static void count_sent(struct e1000 *e1000, const struct nic_out *out)
{
	size_t wire = out->length + NIC_FCS_BYTES;

	e1000_count(e1000, E1000_TPT, 1);
	e1000_count(e1000, E1000_GPTC, 1);
	e1000_count_bytes(e1000, E1000_TOTL, wire);
	e1000_count_bytes(e1000, E1000_GOTCL, wire);
	count_size(e1000, E1000_PTC64, wire);
	if (nic_is_broadcast(out->data))
		e1000_count(e1000, E1000_BPTC, 1);
	else if (nic_is_multicast(out->data))
		e1000_count(e1000, E1000_MPTC, 1);
	if (out->header.gso_type)
		e1000_count(e1000, E1000_TSCTC, 1);
}

static bool end_frame(struct e1000 *e1000, struct nic_out *out)
{
	const struct e1000_context *context = e1000->tx_tso ? &e1000->tso_context : &e1000->plain_context;
	bool good = e1000->tx_started && !e1000->tx_overlong && e1000->tx_bytes >= FRAME_ETHERNET;

	out->data = e1000->tx_data + HEADROOM;
	out->length = e1000->tx_bytes;
	if (good && e1000->tx_tso) {
		good = context->is_tcp && nic_out_large(out, context->mss);
		if (!good)
			log_guest(e1000->pci.device.env->log, &e1000->nic.log_limit,
				  "e1000: a packet to be segmented does not fit its context descriptor");
	} else if (good) {
		if (e1000->tx_ip_sum)
			insert_sum(out->data, out->length, context->ip_start, context->ip_offset, context->ip_end);
		if (e1000->tx_tcp_sum)
			insert_sum(out->data, out->length, context->tcp_start, context->tcp_offset, context->tcp_end);
	}
	if (good && e1000->tx_vlan)
		nic_out_tag(out, (uint16_t)*e1000_reg(e1000, E1000_VET), e1000->tx_tag);
	e1000_transmit_reset(e1000);
	if (good)
		count_sent(e1000, out);
	out->loopback = e1000_loopback(e1000);
	return good;
}

/* One descriptor; true when it completed a frame. */
static bool take_descriptor(struct e1000 *e1000, const uint8_t *descriptor, struct nic_out *out)
{
	uint32_t command = load_le32(descriptor + 8), status = load_le32(descriptor + 12);
	bool extended = command & COMMAND_DEXT;

	if (extended && (command >> 20 & 15) != TYPE_DATA) {
		take_context(e1000, descriptor);
		return false;
	}
	if (!e1000->tx_started)
		begin_frame(e1000, command, status, extended);
	gather(e1000, load_le64(descriptor), command & (extended ? 0xfffff : 0xffff));
	if (!(command & COMMAND_EOP))
		return false;
	if (!extended && command & COMMAND_IC)
		insert_sum(e1000->tx_data + HEADROOM, e1000->tx_bytes, status >> 8 & 0xff, command >> 16 & 0xff, 0);
	return end_frame(e1000, out);
}

static void report_descriptor(struct e1000 *e1000, uint64_t gpa, const uint8_t *descriptor, bool empty)
{
	uint32_t command = load_le32(descriptor + 8), status = load_le32(descriptor + 12), causes = 0;

	if (command & COMMAND_RS) {
		status |= STATUS_DD;
		pci_dma_write(&e1000->pci, gpa + 12, &status, sizeof(status));
		causes = E1000_ICR_TXDW;
	}
	if (empty)
		causes |= E1000_ICR_TXQE;
	if (causes)
		e1000_cause(e1000, causes,
			    command & COMMAND_IDE && causes & E1000_ICR_TXDW
				    ? *e1000_reg(e1000, E1000_TIDV) % 0x10000 * 1024ll
				    : 0);
}

enum nic_turn e1000_transmit(struct nic *nic, struct nic_out *out)
{
	struct e1000 *e1000 = e1000_of(nic);
	uint8_t descriptor[DESCRIPTOR_BYTES];
	struct ring ring;
	bool complete = false;

	for (unsigned i = 0; i < DESCRIPTORS_A_TURN && !complete; i++) {
		uint64_t gpa;

		if (!(*e1000_reg(e1000, E1000_TCTL) & E1000_TCTL_EN) || !ring_get(e1000, E1000_TDBAL, &ring) ||
		    ring.head == ring.tail)
			return NIC_IDLE;
		gpa = ring.base_gpa + (uint64_t)ring.head * DESCRIPTOR_BYTES;
		if (pci_dma_read(&e1000->pci, gpa, descriptor, sizeof(descriptor)) < 0) {
			log_guest(e1000->pci.device.env->log, &nic->log_limit, "e1000: no transmit ring at 0x%llx",
				  (unsigned long long)gpa);
			return NIC_IDLE;
		}
		complete = take_descriptor(e1000, descriptor, out);
		ring.head = ring_next(&ring, ring.head);
		*e1000_reg(e1000, E1000_TDH) = ring.head;
		report_descriptor(e1000, gpa, descriptor, ring.head == ring.tail);
	}
	return complete ? NIC_FRAME : NIC_AGAIN;
}

/* --- receive --- */

static bool hash_accepts(struct e1000 *e1000, const uint8_t *frame)
{
	static const uint8_t shifts[4] = {4, 3, 2, 0}; /* RCTL.MO */
	unsigned shift = shifts[*e1000_reg(e1000, E1000_RCTL) >> 12 & 3];
	unsigned hash = (load_le16(frame + 4) >> shift) & 0xfff;

	return *e1000_reg(e1000, E1000_MTA + 4 * (hash >> 5)) >> (hash & 31) & 1;
}

static bool address_accepts(struct e1000 *e1000, const uint8_t *frame)
{
	uint32_t control = *e1000_reg(e1000, E1000_RCTL);

	if (nic_is_broadcast(frame))
		return control & (E1000_RCTL_BAM | E1000_RCTL_MPE);
	if (control & (nic_is_multicast(frame) ? E1000_RCTL_MPE : E1000_RCTL_UPE))
		return true;
	for (unsigned at = E1000_RAL; at < E1000_RA_END; at += 8) {
		uint32_t high = *e1000_reg(e1000, at + 4);

		if (high >> 31 && load_le32(frame) == *e1000_reg(e1000, at) && load_le16(frame + 4) == (high & 0xffff))
			return true;
	}
	return nic_is_multicast(frame) && hash_accepts(e1000, frame);
}

static bool vlan_accepts(struct e1000 *e1000, const uint8_t *frame)
{
	uint32_t control = *e1000_reg(e1000, E1000_RCTL);
	unsigned tag = load_be16(frame + 14);

	if (!(control & E1000_RCTL_VFE))
		return true;
	if (control & E1000_RCTL_CFIEN && (tag >> 12 & 1) != (control & E1000_RCTL_CFI ? 1 : 0))
		return false;
	return *e1000_reg(e1000, E1000_VFTA + 4 * (tag >> 5 & 0x7f)) >> (tag & 31) & 1;
}

static size_t buffer_bytes(uint32_t control)
{
	unsigned size = control >> 16 & 3;

	if (control & E1000_RCTL_BSEX && size)
		return 32768u >> size;
	return 2048u >> size;
}

enum {
	RX_DD = 1 << 0,
	RX_EOP = 1 << 1,
	RX_IXSM = 1 << 2,
	RX_VP = 1 << 3,
	RX_TCPCS = 1 << 5,
	RX_IPCS = 1 << 6,
	RX_IPE = 1 << 14, /* in the errors, which follow the status */
};

/* 3.2.9: what the descriptor says about checksums. */
static uint32_t sum_status(struct e1000 *e1000, const struct nic_in *in)
{
	uint32_t control = *e1000_reg(e1000, E1000_RXCSUM), status = 0;
	struct frame frame;
	size_t header;

	if (!(control & (E1000_RXCSUM_IPOFL | E1000_RXCSUM_TUOFL)) || !in->sums_good ||
	    !frame_parse(in->data, in->length, &frame) || frame.is_v6 || !frame.l4)
		return RX_IXSM;
	header = frame.l4 - frame.ip;
	if (control & E1000_RXCSUM_IPOFL) {
		status |= RX_IPCS;
		if (checksum_fold(checksum_add(0, in->data + frame.ip, header)) != 0xffff)
			status |= RX_IPE;
	}
	if (control & E1000_RXCSUM_TUOFL && (frame.protocol == 6 || frame.protocol == 17) && frame.payload)
		status |= RX_TCPCS;
	return status;
}

static void count_received(struct e1000 *e1000, const struct nic_in *in)
{
	size_t wire = in->length + NIC_FCS_BYTES;

	e1000_count(e1000, E1000_TPR, 1);
	e1000_count(e1000, E1000_GPRC, 1);
	e1000_count_bytes(e1000, E1000_TORL, wire);
	e1000_count_bytes(e1000, E1000_GORCL, wire);
	count_size(e1000, E1000_PRC64, wire);
	if (nic_is_broadcast(in->data))
		e1000_count(e1000, E1000_BPRC, 1);
	else if (nic_is_multicast(in->data))
		e1000_count(e1000, E1000_MPRC, 1);
}

/* The frame in two pieces, between which a tag may have been, and the FCS, which reads as zeroes. */
struct pieces {
	const uint8_t *data[3];
	size_t bytes[3];
};

static void write_pieces(struct e1000 *e1000, struct pieces *pieces, uint64_t gpa, size_t room)
{
	for (unsigned i = 0; i < ARRAY_SIZE(pieces->data) && room; i++) {
		size_t bytes = min_u64(pieces->bytes[i], room);

		if (!bytes)
			continue;
		if (gpa)
			pci_dma_write(&e1000->pci, gpa, pieces->data[i], bytes);
		pieces->data[i] += bytes;
		pieces->bytes[i] -= bytes;
		gpa += gpa ? bytes : 0;
		room -= bytes;
	}
}

/* Fills descriptors from the head on; there are enough. */
static void fill(struct e1000 *e1000, struct ring *ring, struct pieces *pieces, size_t total, size_t size,
		 uint32_t status, uint16_t tag)
{
	while (total) {
		uint64_t gpa = ring->base_gpa + (uint64_t)ring->head * DESCRIPTOR_BYTES, buffer_gpa = 0;
		size_t bytes = min_u64(total, size);
		uint64_t report;

		pci_dma_read(&e1000->pci, gpa, &buffer_gpa, sizeof(buffer_gpa));
		write_pieces(e1000, pieces, buffer_gpa, bytes);
		total -= bytes;
		report = bytes | (uint64_t)(total ? RX_DD : RX_DD | RX_EOP | status) << 32 | (uint64_t)tag << 48;
		pci_dma_write(&e1000->pci, gpa + 8, &report, sizeof(report));
		ring->head = ring_next(ring, ring->head);
	}
	*e1000_reg(e1000, E1000_RDH) = ring->head;
}

bool e1000_receive(struct nic *nic, const struct nic_in *in)
{
	static const uint8_t fcs[NIC_FCS_BYTES];
	struct e1000 *e1000 = e1000_of(nic);
	uint32_t control = *e1000_reg(e1000, E1000_RCTL), status, causes = 0;
	bool tagged = load_be16(in->data + 12) == (uint16_t)*e1000_reg(e1000, E1000_VET);
	bool strip = tagged && *e1000_reg(e1000, E1000_CTRL) & E1000_CTRL_VME;
	size_t start = strip ? 16 : 12, size = buffer_bytes(control), total;
	struct pieces pieces = {{in->data, in->data + start, fcs},
				{12, in->length - start, control & E1000_RCTL_SECRC ? 0 : NIC_FCS_BYTES}};
	struct ring ring;
	uint32_t free_after;

	if (!(control & E1000_RCTL_EN) || !address_accepts(e1000, in->data) ||
	    (tagged && !vlan_accepts(e1000, in->data)))
		return true;
	if (in->length > (control & E1000_RCTL_LPE ? RECEIVE_MAX : 1514 + (tagged ? NIC_VLAN_BYTES : 0))) {
		e1000_count(e1000, E1000_ROC, 1);
		return true;
	}
	total = pieces.bytes[0] + pieces.bytes[1] + pieces.bytes[2];
	if (!ring_get(e1000, E1000_RDBAL, &ring) || total > (ring.count - 1) * size) {
		e1000_count(e1000, E1000_MPC, 1);
		return true;
	}
	if (total > ring_filled(&ring) * size) {
		e1000_count(e1000, E1000_RNBC, 1);
		e1000_cause(e1000, E1000_ICR_RXO, 0);
		return false;
	}
	status = sum_status(e1000, in) | (strip ? RX_VP : 0);
	fill(e1000, &ring, &pieces, total, size, status, strip ? load_be16(in->data + 14) : 0);
	count_received(e1000, in);
	free_after = ring_filled(&ring);
	if (free_after <= ring.count >> (1 + (control >> 8 & 3)))
		causes = E1000_ICR_RXDMT0;
	if (causes)
		e1000_cause(e1000, causes, 0);
	e1000_cause(e1000, E1000_ICR_RXT0, *e1000_reg(e1000, E1000_RDTR) % 0x10000 * 1024ll);
	return true;
}
