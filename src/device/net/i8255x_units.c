/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8255x's command unit, which walks a list of command blocks (6.4.2), and its receive unit, which fills a list of
 * receive frame descriptors (6.4.3). Command blocks run in the loop's thread, a few at a time. Left out: flexible
 * receive mode (buffers apart from their descriptors), the microcode (it is loaded and not run), Dump, the transmit
 * offloads of 82550 and 82551. What the receive unit has no room for waits until the driver starts it again.
 */
#include "device/net/i8255x.h"

#include "base/util.h"

enum { BLOCKS_A_TURN = 16, BUFFERS_A_FRAME = 64, MULTICAST_MAX = 256 };

/* Command blocks and receive frame descriptors alike. */
enum {
	STATUS_COMPLETE = 1 << 15,
	STATUS_OK = 1 << 13,
	COMMAND_END = 1 << 15,
	COMMAND_SUSPEND = 1 << 14,
	COMMAND_INTERRUPT = 1 << 13,
	COMMAND_FLEXIBLE = 1 << 3,
};

enum { BLOCK_ADDRESS = 1, BLOCK_CONFIGURE = 2, BLOCK_MULTICAST = 3, BLOCK_TRANSMIT = 4 };

void i8255x_units_reset(struct i8255x *card)
{
	/* 6.4.2.3: what Configure changes, as it is without. */
	static const uint8_t initial[I8255X_CONFIG_BYTES] = {0x16, 0x08, 0,    0,    0,    0,   0x32, 0x03,
							     0x01, 0,    0x2e, 0,    0x60, 0,   0xf2, 0x48,
							     0,    0x40, 0xf2, 0x80, 0x3f, 0x05};

	memcpy(card->config, initial, sizeof(initial));
	card->cu_state = CU_IDLE;
	card->ru_state = RU_IDLE;
	card->cu_base = card->ru_base = card->cu_offset = card->ru_offset = card->cu_last = card->counters_gpa = 0;
}

/* --- statistics (6.4.4) --- */

static void dump_counters(struct i8255x *card, uint32_t done)
{
	unsigned bytes = i8255x_model(card)->counter_bytes;

	pci_dma_write(&card->pci, card->counters_gpa, card->counters, bytes);
	pci_dma_write(&card->pci, (uint64_t)card->counters_gpa + bytes, &done, sizeof(done));
}

/* --- command unit --- */

/* A driver takes the suspend bit out of the last block, puts it into the one that it has added, and says Resume. When the
 * unit went from one to the other before it said so, Resume must not lead behind the new one, where an old block lies. */
static bool suspend_is_gone(struct i8255x *card)
{
	uint16_t command = 0;

	pci_dma_read(&card->pci, (uint64_t)card->cu_last + 2, &command, sizeof(command));
	return !(command & COMMAND_SUSPEND);
}

void i8255x_cu_command(struct i8255x *card, unsigned command)
{
	enum { START = 1, RESUME = 2, COUNTERS = 4, DUMP = 5, BASE = 6, DUMP_RESET = 7, STATIC_RESUME = 10 };
	uint32_t pointer = load_le32(card->csr + SCB_POINTER);

	switch (command) {
	case START:
		card->cu_offset = pointer;
		card->cu_state = CU_ACTIVE;
		nic_kick(&card->nic, NIC_KICK_TRANSMIT);
		break;
	case RESUME:
	case STATIC_RESUME:
		if (card->cu_state == CU_SUSPENDED && suspend_is_gone(card)) {
			card->cu_state = CU_ACTIVE;
			nic_kick(&card->nic, NIC_KICK_TRANSMIT);
		}
		break;
	case COUNTERS:
		card->counters_gpa = pointer;
		break;
	case DUMP:
		dump_counters(card, 0xa005);
		break;
	case BASE:
		card->cu_base = pointer;
		break;
	case DUMP_RESET:
		dump_counters(card, 0xa007);
		memset(card->counters, 0, sizeof(card->counters));
		break;
	}
}

static void set_multicast(struct i8255x *card, uint32_t gpa)
{
	uint8_t addresses[MULTICAST_MAX * 6];
	uint16_t bytes = 0;

	pci_dma_read(&card->pci, (uint64_t)gpa + 8, &bytes, sizeof(bytes));
	bytes = (uint16_t)min_u64(bytes & 0x3fff, sizeof(addresses));
	memset(card->hash, 0, sizeof(card->hash));
	if (pci_dma_read(&card->pci, (uint64_t)gpa + 10, addresses, bytes) < 0)
		return;
	for (unsigned at = 0; at + 6 <= bytes; at += 6) {
		unsigned hash = nic_crc_be(addresses + at, 6) >> 26;

		card->hash[hash / 8] |= (uint8_t)(1 << hash % 8);
	}
}

static void configure(struct i8255x *card, uint32_t gpa)
{
	uint8_t count = 0;

	pci_dma_read(&card->pci, (uint64_t)gpa + 8, &count, sizeof(count));
	pci_dma_read(&card->pci, (uint64_t)gpa + 8, card->config, min_u64(count & 0x3f, sizeof(card->config)));
}

static bool append(struct i8255x *card, struct nic_out *out, uint64_t gpa, size_t bytes)
{
	if (bytes > FRAME_MAX - out->length || pci_dma_read(&card->pci, gpa, out->data + out->length, bytes) < 0)
		return false;
	out->length += bytes;
	return true;
}

/* 6.4.2.5: data behind the command block, then buffers; from the 82558 on the first two buffer descriptors may stand in
 * the block itself (configuration byte 6). */
static bool gather(struct i8255x *card, uint32_t gpa, uint16_t command, struct nic_out *out)
{
	enum { STANDARD_TCB = 1 << 4, LAST_BUFFER = 1 << 16, BLOCK_BYTES = 16 };
	bool extended = i8255x_model(card)->extended_tcb && !(card->config[6] & STANDARD_TCB);
	uint8_t block[8] = {0};
	uint32_t array;
	unsigned count;

	if (pci_dma_read(&card->pci, (uint64_t)gpa + 8, block, sizeof(block)) < 0)
		return false;
	array = load_le32(block);
	if (!append(card, out, (uint64_t)gpa + BLOCK_BYTES, load_le16(block + 4) & 0x3fff))
		return false;
	count = array == UINT32_MAX || !(command & COMMAND_FLEXIBLE) ? 0 : block[7];
	for (unsigned i = 0; i < count && i < BUFFERS_A_FRAME; i++) {
		uint64_t at = extended && i < 2 ? (uint64_t)gpa + BLOCK_BYTES + 8 * i
						: (uint64_t)array + 8 * (extended ? i - 2 : i);
		uint32_t buffer[2] = {0};

		if (pci_dma_read(&card->pci, at, buffer, sizeof(buffer)) < 0 ||
		    !append(card, out, buffer[0], buffer[1] & 0x7fff))
			return false;
		if (buffer[1] & LAST_BUFFER)
			break;
	}
	return out->length >= FRAME_ETHERNET;
}

/* One command block; true when it completed a frame. */
static bool run_block(struct i8255x *card, struct nic_out *out)
{
	enum { LOOPBACK = 3 << 6 };
	uint32_t gpa = card->cu_base + card->cu_offset;
	uint8_t head[8];
	uint16_t command, status;
	bool frame = false;

	if (pci_dma_read(&card->pci, gpa, head, sizeof(head)) < 0) {
		card->cu_state = CU_IDLE;
		log_guest(card->pci.device.env->log, &card->nic.log_limit, "i8255x: no command block at 0x%x", gpa);
		return false;
	}
	status = load_le16(head);
	command = load_le16(head + 2);
	switch (command & 7) {
	case BLOCK_ADDRESS:
		pci_dma_read(&card->pci, (uint64_t)gpa + 8, card->address, sizeof(card->address));
		break;
	case BLOCK_CONFIGURE:
		configure(card, gpa);
		break;
	case BLOCK_MULTICAST:
		set_multicast(card, gpa);
		break;
	case BLOCK_TRANSMIT:
		frame = gather(card, gpa, command, out);
		out->loopback = card->config[10] & LOOPBACK;
		card->counters[COUNT_TX_GOOD] += frame;
		break;
	}
	status |= STATUS_COMPLETE | STATUS_OK;
	pci_dma_write(&card->pci, gpa, &status, sizeof(status));
	card->cu_offset = load_le32(head + 4);
	if (command & (COMMAND_END | COMMAND_SUSPEND)) {
		card->cu_state = command & COMMAND_END ? CU_IDLE : CU_SUSPENDED;
		card->cu_last = gpa;
		card->csr[SCB_ACK] |= ACK_CNA;
	}
	i8255x_raise(card, command & COMMAND_INTERRUPT ? ACK_CX : 0);
	return frame;
}

enum nic_turn i8255x_transmit(struct nic *nic, struct nic_out *out)
{
	struct i8255x *card = i8255x_of(nic);

	for (unsigned i = 0; i < BLOCKS_A_TURN; i++) {
		if (card->cu_state != CU_ACTIVE)
			return NIC_IDLE;
		if (run_block(card, out))
			return NIC_FRAME;
		out->length = 0;
	}
	return NIC_AGAIN;
}

/* --- receive unit --- */

void i8255x_ru_command(struct i8255x *card, unsigned command)
{
	enum { START = 1, RESUME = 2, ABORT = 4, BASE = 6 };

	switch (command) {
	case START:
		card->ru_offset = load_le32(card->csr + SCB_POINTER);
		card->ru_state = RU_READY;
		break;
	case RESUME:
		if (card->ru_state == RU_SUSPENDED)
			card->ru_state = RU_READY;
		break;
	case ABORT:
		card->ru_state = RU_IDLE;
		break;
	case BASE:
		card->ru_base = load_le32(card->csr + SCB_POINTER);
		break;
	default:
		return;
	}
	nic_kick(&card->nic, NIC_KICK_RECEIVE);
}

/* Bits of the descriptor's status for a frame that is wanted, or -1. */
static int classify(const struct i8255x *card, const uint8_t *frame)
{
	enum {
		PROMISCUOUS = 1 << 0,
		NO_BROADCAST = 1 << 1,
		ALL_MULTICAST = 1 << 3,
		NOT_MINE = 1 << 1,
		NO_MATCH = 1 << 2
	};
	bool promiscuous = card->config[15] & PROMISCUOUS;
	unsigned hash;

	if (!memcmp(frame, card->address, sizeof(card->address)))
		return 0;
	if (nic_is_broadcast(frame))
		return card->config[15] & NO_BROADCAST && !promiscuous ? -1 : NOT_MINE;
	hash = nic_crc_be(frame, 6) >> 26;
	if (nic_is_multicast(frame) && (card->config[21] & ALL_MULTICAST || card->hash[hash / 8] >> hash % 8 & 1))
		return NOT_MINE;
	return promiscuous ? NOT_MINE | NO_MATCH : -1;
}

static void no_resources(struct i8255x *card, uint8_t state)
{
	card->ru_state = state;
	i8255x_raise(card, ACK_RNR);
}

bool i8255x_receive(struct nic *nic, const struct nic_in *in)
{
	enum {
		LONG_OK = 1 << 3,
		TRANSFER_CRC = 1 << 2,
		TYPE_FRAME = 1 << 5,
		TRUNCATED = 1 << 9,
		COUNT_VALID = 3 << 14
	};
	struct i8255x *card = i8255x_of(nic);
	uint32_t gpa = card->ru_base + card->ru_offset, fcs = 0;
	int kind = classify(card, in->data);
	size_t bytes = in->length, room;
	uint16_t command, status, count;
	uint8_t head[16];

	if (card->ru_state == RU_IDLE || kind < 0 || (in->length > 1518 && !(card->config[18] & LONG_OK)) ||
	    in->length > 0x3fff - NIC_FCS_BYTES)
		return true;
	if (card->ru_state != RU_READY)
		return false;
	if (pci_dma_read(&card->pci, gpa, head, sizeof(head)) < 0) {
		no_resources(card, RU_NO_RESOURCES);
		card->counters[COUNT_RX_NO_RESOURCE]++;
		return true;
	}
	command = load_le16(head + 2);
	room = load_le16(head + 14) & 0x3fff;
	/* Into a descriptor without room nothing is written (6.4.3.1): the driver links behind it meanwhile. */
	if (!room) {
		no_resources(card, RU_NO_RESOURCES);
		return false;
	}
	status = (uint16_t)(STATUS_COMPLETE | STATUS_OK | kind);
	if (load_be16(in->data + 12) > 1500)
		status |= TYPE_FRAME;
	if (bytes > room) {
		bytes = room;
		status = (uint16_t)((status & ~STATUS_OK) | TRUNCATED);
	}
	pci_dma_write(&card->pci, (uint64_t)gpa + 16, in->data, bytes);
	if (card->config[18] & TRANSFER_CRC && bytes + NIC_FCS_BYTES <= room) {
		pci_dma_write(&card->pci, (uint64_t)gpa + 16 + bytes, &fcs, NIC_FCS_BYTES);
		bytes += NIC_FCS_BYTES;
	}
	count = (uint16_t)(bytes | COUNT_VALID);
	pci_dma_write(&card->pci, (uint64_t)gpa + 12, &count, sizeof(count));
	pci_dma_write(&card->pci, gpa, &status, sizeof(status));
	card->counters[COUNT_RX_GOOD]++;
	card->ru_offset = load_le32(head + 4);
	if (command & (COMMAND_END | COMMAND_SUSPEND))
		no_resources(card, command & COMMAND_END ? RU_NO_RESOURCES : RU_SUSPENDED);
	i8255x_raise(card, ACK_FR);
	return true;
}
