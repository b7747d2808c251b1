/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The DP8390 of ne2000.h: register pages, remote DMA through the data port, receive ring, transmit. Left out: the send
 * command of remote DMA, the loopback modes' FIFO (a frame in loopback goes nowhere), tally counters (they read zero:
 * nothing collides or is misaligned here), big-endian order. A full ring holds frames back instead of losing them.
 */
#include "device/net/ne2000.h"

#include "base/util.h"
#include "core/bus.h"

enum { PORT_DATA = 0x10, PORT_RESET = 0x18, PAGE = 256, HEADER_BYTES = 4 };

enum {
	CR_STP = 1 << 0,
	CR_STA = 1 << 1,
	CR_TXP = 1 << 2,
	CR_REMOTE_READ = 1 << 3,
	CR_REMOTE_WRITE = 1 << 4,
	CR_REMOTE_ABORT = 1 << 5,
	ISR_PRX = 1 << 0,
	ISR_PTX = 1 << 1,
	ISR_RDC = 1 << 6,
	ISR_RST = 1 << 7,
	DCR_WORDS = 1 << 0,
	RCR_BROADCAST = 1 << 2,
	RCR_MULTICAST = 1 << 3,
	RCR_PROMISCUOUS = 1 << 4,
	RCR_MONITOR = 1 << 5,
	TCR_LOOPBACK = 3 << 1,
	RSR_PRX = 1 << 0,
	RSR_PHY = 1 << 5, /* multicast or broadcast */
	TSR_PTX = 1 << 0,
};

static void update_irq(struct ne2000 *ne2000)
{
	bool level = ne2000->interrupt_status & ne2000->interrupt_mask & 0x7f;

	if (level == ne2000->irq_asserted)
		return;
	ne2000->irq_asserted = level;
	ne2000->interrupt(ne2000, level);
}

static void raise(struct ne2000 *ne2000, uint8_t isr)
{
	ne2000->interrupt_status |= isr;
	update_irq(ne2000);
}

/* What hardware reset and the reset port do; memory and addresses stay. */
static void chip_reset(struct ne2000 *ne2000)
{
	ne2000->command = CR_STP | CR_REMOTE_ABORT;
	ne2000->interrupt_status = ISR_RST;
	ne2000->interrupt_mask = 0;
	ne2000->transmit_status = 0;
	update_irq(ne2000);
}

/* The address PROM stands twice in 16-bit words; 0x57 says that the board is one for 16 bits. */
void ne2000_reset(struct ne2000 *ne2000)
{
	uint8_t prom[16] = {[14] = 0x57, [15] = 0x57};

	memcpy(prom, ne2000->nic.mac, 6);
	for (unsigned i = 0; i < sizeof(prom); i++)
		ne2000->prom[2 * i] = ne2000->prom[2 * i + 1] = prom[i];
	memset(ne2000->ram, 0, sizeof(ne2000->ram));
	memset(ne2000->hash, 0, sizeof(ne2000->hash));
	memset(ne2000->address, 0, sizeof(ne2000->address));
	ne2000->page_start = ne2000->page_stop = ne2000->boundary = ne2000->current = ne2000->transmit_page = 0;
	ne2000->transmit_bytes = ne2000->remote_address = ne2000->remote_bytes = 0;
	ne2000->receive_config = ne2000->transmit_config = ne2000->data_config = ne2000->receive_status = 0;
	ne2000->irq_asserted = false;
	chip_reset(ne2000);
}

/* --- memory --- */

static uint8_t memory_read(const struct ne2000 *ne2000, uint16_t at)
{
	if (at < NE2000_PROM_BYTES)
		return ne2000->prom[at];
	return range_inside((uint16_t)(at - NE2000_RAM_START), 1, NE2000_RAM_BYTES) ? ne2000->ram[at - NE2000_RAM_START]
										    : 0xff;
}

static void memory_write(struct ne2000 *ne2000, uint16_t at, uint8_t value)
{
	if (at >= NE2000_RAM_START && at < NE2000_RAM_START + NE2000_RAM_BYTES)
		ne2000->ram[at - NE2000_RAM_START] = value;
}

/* One byte further; in the receive ring the end leads to the beginning. */
static void remote_step(struct ne2000 *ne2000)
{
	ne2000->remote_address++;
	if (ne2000->remote_address == ne2000->page_stop * PAGE)
		ne2000->remote_address = (uint16_t)(ne2000->page_start * PAGE);
	if (ne2000->remote_bytes)
		ne2000->remote_bytes--;
}

static unsigned remote_width(const struct ne2000 *ne2000, unsigned size)
{
	return size == 4 && ne2000->pci ? 4 : ne2000->data_config & DCR_WORDS ? 2 : 1;
}

static uint32_t data_read(struct ne2000 *ne2000, unsigned size)
{
	unsigned width = remote_width(ne2000, size);
	uint32_t value = 0;

	for (unsigned i = 0; i < width; i++) {
		value |= (uint32_t)memory_read(ne2000, ne2000->remote_address) << 8 * i;
		remote_step(ne2000);
	}
	if (!ne2000->remote_bytes)
		raise(ne2000, ISR_RDC);
	return value;
}

static void data_write(struct ne2000 *ne2000, uint32_t value, unsigned size)
{
	unsigned width = remote_width(ne2000, size);

	if (!ne2000->remote_bytes)
		return;
	for (unsigned i = 0; i < width; i++) {
		memory_write(ne2000, ne2000->remote_address, (uint8_t)(value >> 8 * i));
		remote_step(ne2000);
	}
	if (!ne2000->remote_bytes)
		raise(ne2000, ISR_RDC);
}

/* --- registers: pages 0 to 3, chosen by the command register --- */

static unsigned page(const struct ne2000 *ne2000)
{
	return ne2000->command >> 6;
}

static uint8_t page0_read(struct ne2000 *ne2000, unsigned offset)
{
	switch (offset) {
	case 0x01:
	case 0x08:
		return (uint8_t)ne2000->remote_address;
	case 0x02:
	case 0x09:
		return (uint8_t)(ne2000->remote_address >> 8);
	case 0x03:
		return ne2000->boundary;
	case 0x04:
		return ne2000->transmit_status;
	case 0x07:
		return ne2000->interrupt_status;
	case 0x0a: /* the RTL8029 says who it is */
		return ne2000->pci ? 0x50 : 0xff;
	case 0x0b:
		return ne2000->pci ? 0x43 : 0xff;
	case 0x0c:
		return ne2000->receive_status;
	default:
		return 0;
	}
}

static uint8_t page2_read(const struct ne2000 *ne2000, unsigned offset)
{
	switch (offset) {
	case 0x01:
		return ne2000->page_start;
	case 0x02:
		return ne2000->page_stop;
	case 0x04:
		return ne2000->transmit_page;
	case 0x0c:
		return ne2000->receive_config | 0xc0;
	case 0x0d:
		return ne2000->transmit_config | 0xe0;
	case 0x0e:
		return ne2000->data_config | 0x80;
	case 0x0f:
		return ne2000->interrupt_mask | 0x80;
	default:
		return 0;
	}
}

static uint8_t page1_read(const struct ne2000 *ne2000, unsigned offset)
{
	if (offset <= 6)
		return ne2000->address[offset - 1];
	return offset == 7 ? ne2000->current : ne2000->hash[offset - 8];
}

static uint8_t register_read(struct ne2000 *ne2000, unsigned offset)
{
	if (offset == 0)
		return ne2000->command;
	switch (page(ne2000)) {
	case 0:
		return page0_read(ne2000, offset);
	case 1:
		return page1_read(ne2000, offset);
	case 2:
		return page2_read(ne2000, offset);
	default: /* CONFIG3 of the RTL8029: full duplex; the others as after reset */
		return offset == 0x06 ? 0x40 : 0;
	}
}

static void command_write(struct ne2000 *ne2000, uint8_t value)
{
	/* TXP is only taken back by the end of the transmission. */
	ne2000->command = value | (ne2000->command & CR_TXP);
	if (value & CR_STP) {
		ne2000->command &= (uint8_t)~CR_TXP;
		raise(ne2000, ISR_RST);
		return;
	}
	ne2000->interrupt_status &= (uint8_t)~ISR_RST;
	if (value & (CR_REMOTE_READ | CR_REMOTE_WRITE) && !(value & CR_REMOTE_ABORT) && !ne2000->remote_bytes)
		raise(ne2000, ISR_RDC);
	if (value & CR_TXP)
		nic_kick(&ne2000->nic, NIC_KICK_TRANSMIT);
	nic_kick(&ne2000->nic, NIC_KICK_RECEIVE);
}

static void set_byte(uint16_t *word, unsigned byte, uint8_t value)
{
	*word = (uint16_t)((*word & ~(0xffu << 8 * byte)) | (uint32_t)value << 8 * byte);
}

static void page0_write(struct ne2000 *ne2000, unsigned offset, uint8_t value)
{
	switch (offset) {
	case 0x01:
		ne2000->page_start = value;
		break;
	case 0x02:
		ne2000->page_stop = value;
		break;
	case 0x03:
		ne2000->boundary = value;
		nic_kick(&ne2000->nic, NIC_KICK_RECEIVE);
		break;
	case 0x04:
		ne2000->transmit_page = value;
		break;
	case 0x05:
	case 0x06:
		set_byte(&ne2000->transmit_bytes, offset - 0x05, value);
		break;
	case 0x07:
		ne2000->interrupt_status &= (uint8_t) ~(value & ~ISR_RST);
		update_irq(ne2000);
		break;
	case 0x08:
	case 0x09:
		set_byte(&ne2000->remote_address, offset - 0x08, value);
		break;
	case 0x0a:
	case 0x0b:
		set_byte(&ne2000->remote_bytes, offset - 0x0a, value);
		break;
	case 0x0c:
		ne2000->receive_config = value & 0x3f;
		break;
	case 0x0d:
		ne2000->transmit_config = value & 0x1f;
		break;
	case 0x0e:
		ne2000->data_config = value & 0x7f;
		break;
	case 0x0f:
		ne2000->interrupt_mask = value & 0x7f;
		update_irq(ne2000);
		break;
	}
}

static void register_write(struct ne2000 *ne2000, unsigned offset, uint8_t value)
{
	if (offset == 0)
		command_write(ne2000, value);
	else if (page(ne2000) == 0)
		page0_write(ne2000, offset, value);
	else if (page(ne2000) == 1 && offset <= 6)
		ne2000->address[offset - 1] = value;
	else if (page(ne2000) == 1 && offset == 7)
		ne2000->current = value;
	else if (page(ne2000) == 1)
		ne2000->hash[offset - 8] = value;
}

static uint64_t region_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ne2000 *ne2000 = opaque;
	uint32_t value = 0;

	pthread_mutex_lock(&ne2000->nic.lock);
	if (offset < PORT_DATA)
		value = register_read(ne2000, (unsigned)offset);
	else if (offset < PORT_RESET)
		value = data_read(ne2000, size);
	else if (offset < NE2000_PORTS)
		chip_reset(ne2000);
	pthread_mutex_unlock(&ne2000->nic.lock);
	return value;
}

static void region_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ne2000 *ne2000 = opaque;

	pthread_mutex_lock(&ne2000->nic.lock);
	if (offset < PORT_DATA)
		register_write(ne2000, (unsigned)offset, (uint8_t)value);
	else if (offset < PORT_RESET)
		data_write(ne2000, (uint32_t)value, size);
	pthread_mutex_unlock(&ne2000->nic.lock);
}

const struct region_ops ne2000_region_ops = {
	.read = region_read, .write = region_write, .min_width = 1, .max_width = 4};

/* --- frames --- */

static enum nic_turn transmit(struct nic *nic, struct nic_out *out)
{
	struct ne2000 *ne2000 = container_of(nic, struct ne2000, nic);
	uint32_t start = ne2000->transmit_page * PAGE - NE2000_RAM_START;

	if (!(ne2000->command & CR_TXP))
		return NIC_IDLE;
	ne2000->command &= (uint8_t)~CR_TXP;
	ne2000->transmit_status = TSR_PTX;
	raise(ne2000, ISR_PTX);
	if (ne2000->transmit_config & TCR_LOOPBACK || !ne2000->transmit_bytes ||
	    !range_inside(start, ne2000->transmit_bytes, NE2000_RAM_BYTES))
		return NIC_AGAIN;
	out->length = ne2000->transmit_bytes;
	memcpy(out->data, ne2000->ram + start, out->length);
	return NIC_FRAME;
}

static bool wants(const struct ne2000 *ne2000, const uint8_t *frame)
{
	unsigned hash;

	if (ne2000->receive_config & RCR_PROMISCUOUS && !nic_is_multicast(frame))
		return true;
	if (nic_is_broadcast(frame))
		return ne2000->receive_config & RCR_BROADCAST;
	if (!nic_is_multicast(frame))
		return !memcmp(frame, ne2000->address, sizeof(ne2000->address));
	hash = nic_crc_be(frame, 6) >> 26;
	return ne2000->receive_config & RCR_MULTICAST && ne2000->hash[hash / 8] >> hash % 8 & 1;
}

static unsigned next_page(const struct ne2000 *ne2000, unsigned number)
{
	return number + 1 >= ne2000->page_stop ? ne2000->page_start : number + 1;
}

/* The ring is whole pages of RAM; each frame begins on a page with a header: status, next frame's page, bytes. */
static bool receive(struct nic *nic, const struct nic_in *in)
{
	struct ne2000 *ne2000 = container_of(nic, struct ne2000, nic);
	unsigned first = ne2000->page_start, end = ne2000->page_stop, size = end - first, room, needed, at, boundary;
	size_t left = in->length;
	const uint8_t *from = in->data;
	uint8_t header[HEADER_BYTES];
	size_t start = HEADER_BYTES;

	if (ne2000->command & CR_STP || ne2000->receive_config & RCR_MONITOR || !wants(ne2000, in->data))
		return true;
	at = ne2000->current;
	if (first < NE2000_RAM_START / PAGE || end > (NE2000_RAM_START + NE2000_RAM_BYTES) / PAGE || first >= end ||
	    at < first || at >= end)
		return true;
	/* Drivers write "the page before", also where that is the one before the first. */
	boundary = ne2000->boundary < first || ne2000->boundary >= end ? end - 1 : ne2000->boundary;
	needed = (unsigned)(in->length + HEADER_BYTES + NIC_FCS_BYTES + PAGE - 1) / PAGE;
	room = at == boundary ? size : (boundary + size - at) % size;
	if (needed >= size)
		return true;
	if (needed >= room) {
		/* Linux leaves frames behind after ten of them, until the next interrupt; there is to be one. */
		raise(ne2000, ISR_PRX);
		return false;
	}
	ne2000->receive_status = RSR_PRX | (nic_is_multicast(in->data) ? RSR_PHY : 0);
	header[0] = ne2000->receive_status;
	header[1] = (uint8_t)(first + (at - first + needed) % size);
	store_le16(header + 2, (uint16_t)(in->length + HEADER_BYTES));
	memcpy(ne2000->ram + at * PAGE - NE2000_RAM_START, header, sizeof(header));
	while (left) {
		size_t bytes = min_u64(left, PAGE - start);

		memcpy(ne2000->ram + at * PAGE - NE2000_RAM_START + start, from, bytes);
		from += bytes;
		left -= bytes;
		start = 0;
		at = next_page(ne2000, at);
	}
	ne2000->current = header[1];
	raise(ne2000, ISR_PRX);
	return true;
}

/* The chip knows nothing of its cable. */
static void link_changed(struct nic *nic, bool up)
{
}

const struct nic_ops ne2000_nic_ops = {.transmit = transmit, .receive = receive, .link_changed = link_changed};

static void after_load(void *object)
{
	struct ne2000 *ne2000 = object;

	nic_kick(&ne2000->nic, NIC_KICK_TRANSMIT | NIC_KICK_RECEIVE);
}

static const struct state_field fields[] = {
	STATE_FIELD(STATE_U8, struct ne2000, command),
	STATE_FIELD(STATE_U8, struct ne2000, page_start),
	STATE_FIELD(STATE_U8, struct ne2000, page_stop),
	STATE_FIELD(STATE_U8, struct ne2000, boundary),
	STATE_FIELD(STATE_U8, struct ne2000, current),
	STATE_FIELD(STATE_U8, struct ne2000, transmit_page),
	STATE_FIELD(STATE_U8, struct ne2000, transmit_status),
	STATE_FIELD(STATE_U16, struct ne2000, transmit_bytes),
	STATE_FIELD(STATE_U16, struct ne2000, remote_address),
	STATE_FIELD(STATE_U16, struct ne2000, remote_bytes),
	STATE_FIELD(STATE_U8, struct ne2000, receive_config),
	STATE_FIELD(STATE_U8, struct ne2000, transmit_config),
	STATE_FIELD(STATE_U8, struct ne2000, data_config),
	STATE_FIELD(STATE_U8, struct ne2000, interrupt_status),
	STATE_FIELD(STATE_U8, struct ne2000, interrupt_mask),
	STATE_FIELD(STATE_U8, struct ne2000, receive_status),
	STATE_FIELD_N(STATE_BYTES, struct ne2000, address, 6),
	STATE_FIELD_N(STATE_BYTES, struct ne2000, hash, 8),
	STATE_FIELD(STATE_BOOL, struct ne2000, irq_asserted),
	STATE_FIELD_N(STATE_BYTES, struct ne2000, prom, NE2000_PROM_BYTES),
	STATE_FIELD_N(STATE_BYTES, struct ne2000, ram, NE2000_RAM_BYTES),
	STATE_END,
};

const struct state_table ne2000_state = {
	.name = "ne2000",
	.version = 1,
	.size = sizeof(struct ne2000),
	.fields = fields,
	.after_load = after_load,
};
