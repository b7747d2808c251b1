/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8255x's registers: system control block, PORT (reset, self-test), EEPROM, PHY 82555 behind the MDI register,
 * interrupts. Left out: flash, power management and wake-up, flow control (registers only), the PORT's internal dump,
 * the modem of the 82562.
 */
#include "device/net/i8255x.h"

#include "base/util.h"

enum { MMIO_BYTES = 4096, FLASH_BYTES = 128 * 1024 };

/* --- interrupts --- */

static void update_irq(struct i8255x *card)
{
	enum { MASK_ALL = 1 << 0, ALWAYS = ACK_MDI | ACK_SWI };
	uint8_t mask = card->csr[SCB_MASK];
	/* Each cause from the 82558 on has a mask bit of its own, at its place. */
	uint8_t enabled = (uint8_t)(~mask & (ACK_CX | ACK_FR | ACK_CNA | ACK_RNR)) | ALWAYS;
	bool level = !(mask & MASK_ALL) && card->csr[SCB_ACK] & enabled;

	if (level == card->irq_asserted)
		return;
	card->irq_asserted = level;
	pci_intx(&card->pci, level);
}

void i8255x_raise(struct i8255x *card, uint8_t ack)
{
	card->csr[SCB_ACK] |= ack;
	update_irq(card);
}

/* --- PHY (82555 data sheet, 5) --- */

enum {
	PHY_CONTROL = 0,
	PHY_STATUS = 1,
	PHY_ID1 = 2,
	PHY_ID2 = 3,
	PHY_ADVERTISE = 4,
	PHY_PARTNER = 5,
	PHY_EXPANSION = 6
};

static void set_link(struct i8255x *card, bool up)
{
	enum { STATUS_UP = 1 << 2 | 1 << 5, GENERAL_UP = 7 /* link, 100 Mbit/s, full duplex */ };

	card->phy[PHY_STATUS] = (uint16_t)(0x7809 | (up ? STATUS_UP : 0));
	card->phy[PHY_PARTNER] = up ? 0x41e1 : 0;
	card->csr[CSR_GENERAL_STATUS] = up ? GENERAL_UP : 0;
}

static void phy_reset(struct i8255x *card)
{
	memset(card->phy, 0, sizeof(card->phy));
	card->phy[PHY_CONTROL] = 0x3000;
	card->phy[PHY_ID1] = 0x02a8;
	card->phy[PHY_ID2] = 0x0154;
	card->phy[PHY_ADVERTISE] = 0x05e1;
	card->phy[PHY_EXPANSION] = 1;
	card->phy[0x10] = card->phy[0x11] = 0x0003;
	set_link(card, nic_link(&card->nic));
}

static void phy_write(struct i8255x *card, unsigned index, uint16_t value)
{
	enum { RESET = 1 << 15, RESTART = 1 << 9 };

	if (index == PHY_CONTROL && value & RESET)
		phy_reset(card);
	else if (index == PHY_CONTROL)
		card->phy[index] = value & (uint16_t)~RESTART;
	else if (index == PHY_ADVERTISE || index >= 0x10)
		card->phy[index] = value;
}

static void mdi_write(struct i8255x *card)
{
	enum { READY = 1 << 28, INTERRUPT = 1 << 29, WRITE = 1, READ = 2 };
	uint32_t value = load_le32(card->csr + CSR_MDI);
	unsigned index = value >> 16 & 31, phy = value >> 21 & 31, operation = value >> 26 & 3;

	if (operation == READ)
		value = (value & ~0xffffu) | (phy == 1 ? card->phy[index] : 0xffff);
	else if (operation == WRITE && phy == 1)
		phy_write(card, index, (uint16_t)value);
	store_le32(card->csr + CSR_MDI, value | READY);
	if (value & INTERRUPT)
		i8255x_raise(card, ACK_MDI);
}

/* --- EEPROM (6.3.6 and 82559 data sheet, 8) --- */

static void eeprom_fill(struct i8255x *card)
{
	const struct pci_class *class = &i8255x_model(card)->pci;
	uint16_t *words = card->eeprom.words;

	memset(&card->eeprom, 0, sizeof(card->eeprom));
	for (unsigned i = 0; i < 3; i++)
		words[i] = load_le16(card->nic.mac + 2 * i);
	words[3] = 0x0203;
	words[5] = 0x0201; /* an RJ-45 connector */
	words[6] = 0x4701; /* the PHY: an 82555 at address 1 */
	words[0x0a] = 0x4000;
	words[0x0b] = class->subsystem;
	words[0x0c] = class->subsystem_vendor;
	eeprom93_checksum(&card->eeprom, 0xbaba);
}

static void eeprom_write(struct i8255x *card)
{
	enum { SK = 1 << 0, CS = 1 << 1, DI = 1 << 2, DO = 1 << 3 };
	uint8_t *wires = &card->csr[CSR_EEPROM];

	eeprom93_drive(&card->eeprom, *wires & CS, *wires & SK, *wires & DI);
	*wires = (uint8_t)((*wires & ~DO) | (card->eeprom.out ? DO : 0));
}

/* --- PORT (6.3.4) --- */

static void software_reset(struct i8255x *card)
{
	memset(card->csr, 0, CSR_GENERAL_STATUS);
	memset(card->hash, 0, sizeof(card->hash));
	store_le32(card->csr + CSR_MDI, 1u << 28 | 1u << 21);
	eeprom_write(card);
	i8255x_units_reset(card);
	update_irq(card);
}

static void port_write(struct i8255x *card)
{
	enum { RESET = 0, SELF_TEST = 1, SELECTIVE_RESET = 2 };
	uint32_t value = load_le32(card->csr + CSR_PORT), gpa = value & ~15u;
	uint32_t passed[2] = {0xffffffff, 0};

	switch (value & 15) {
	case RESET:
		software_reset(card);
		break;
	case SELF_TEST:
		pci_dma_write(&card->pci, gpa, passed, sizeof(passed));
		break;
	case SELECTIVE_RESET:
		card->cu_state = CU_IDLE;
		card->ru_state = RU_IDLE;
		break;
	}
}

/* --- registers: bytes, read and written in any width --- */

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned bytes)
{
	return offset < first + bytes && offset + size > first;
}

static bool writable(unsigned offset)
{
	return (offset >= SCB_MASK && offset < CSR_RX_BYTES) || offset == SCB_COMMAND ||
	       (offset >= CSR_FLOW && offset < CSR_GENERAL_STATUS);
}

static void written(struct i8255x *card, unsigned offset, unsigned size)
{
	enum { SOFTWARE_INTERRUPT = 1 << 1 };

	if (touches(offset, size, SCB_MASK, 1) && card->csr[SCB_MASK] & SOFTWARE_INTERRUPT) {
		card->csr[SCB_MASK] &= (uint8_t)~SOFTWARE_INTERRUPT;
		card->csr[SCB_ACK] |= ACK_SWI;
	}
	if (touches(offset, size, SCB_ACK, 3))
		update_irq(card);
	if (touches(offset, size, SCB_COMMAND, 1)) {
		uint8_t command = card->csr[SCB_COMMAND];

		card->csr[SCB_COMMAND] = 0; /* accepted */
		i8255x_cu_command(card, command >> 4);
		i8255x_ru_command(card, command & 7);
	}
	if (touches(offset, size, CSR_PORT, 4) && offset + size >= CSR_PORT + 4)
		port_write(card);
	if (touches(offset, size, CSR_EEPROM, 1))
		eeprom_write(card);
	if (touches(offset, size, CSR_MDI, 4) && offset + size >= CSR_MDI + 4)
		mdi_write(card);
}

static uint64_t region_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8255x *card = opaque;
	uint32_t value = 0;

	if (offset >= CSR_BYTES)
		return 0;
	pthread_mutex_lock(&card->nic.lock);
	card->csr[SCB_STATUS] = (uint8_t)(card->cu_state << 6 | card->ru_state << 2);
	memcpy(&value, card->csr + offset, min_u64(size, CSR_BYTES - offset));
	pthread_mutex_unlock(&card->nic.lock);
	return value;
}

static void region_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8255x *card = opaque;

	if (offset >= CSR_BYTES)
		return;
	pthread_mutex_lock(&card->nic.lock);
	for (unsigned i = 0; i < size && offset + i < CSR_BYTES; i++) {
		uint8_t in = (uint8_t)(value >> 8 * i);

		if (offset + i == SCB_ACK)
			card->csr[SCB_ACK] &= (uint8_t)~in;
		else if (writable((unsigned)offset + i))
			card->csr[offset + i] = in;
	}
	written(card, (unsigned)offset, size);
	pthread_mutex_unlock(&card->nic.lock);
}

static uint64_t flash_read(void *opaque, uint64_t offset, unsigned size)
{
	return UINT64_MAX;
}

static void flash_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
}

static const struct region_ops region_ops = {
	.read = region_read, .write = region_write, .min_width = 1, .max_width = 4};
static const struct region_ops flash_ops = {.read = flash_read, .write = flash_write, .min_width = 1, .max_width = 4};

/* --- life --- */

/* Drivers ask the PHY. */
static void link_changed(struct nic *nic, bool up)
{
	set_link(i8255x_of(nic), up);
}

static const struct nic_ops nic_ops = {
	.transmit = i8255x_transmit,
	.receive = i8255x_receive,
	.link_changed = link_changed,
};

void i8255x_reset(struct device *device)
{
	struct i8255x *card = (struct i8255x *)device;

	pthread_mutex_lock(&card->nic.lock);
	card->irq_asserted = false;
	eeprom_fill(card);
	memset(card->counters, 0, sizeof(card->counters));
	memset(card->csr, 0, sizeof(card->csr));
	memcpy(card->address, card->nic.mac, 6);
	software_reset(card);
	phy_reset(card);
	pthread_mutex_unlock(&card->nic.lock);
}

int i8255x_init(struct device *device, struct error *err)
{
	struct i8255x *card = (struct i8255x *)device;
	int result = pci_bar_add(&card->pci, 0, PCI_BAR_MEM32 | PCI_BAR_PREFETCH, "i8255x-mmio", &region_ops, card,
				 MMIO_BYTES, err);

	if (!result)
		result = pci_bar_add(&card->pci, 1, PCI_BAR_IO, "i8255x-io", &region_ops, card, CSR_BYTES, err);
	if (!result)
		result = pci_bar_add(&card->pci, 2, PCI_BAR_MEM32, "i8255x-flash", &flash_ops, card, FLASH_BYTES, err);
	return result ? result : nic_init(&card->nic, device, &nic_ops, err);
}

void i8255x_fini(struct device *device)
{
	struct i8255x *card = (struct i8255x *)device;

	pci_unmap(&card->pci);
	nic_fini(&card->nic);
}

/* --- saved state --- */

static int check_state(const void *staged, struct error *err)
{
	const struct i8255x *card = staged;

	if (card->cu_state > CU_ACTIVE || (card->ru_state > RU_NO_RESOURCES && card->ru_state != RU_READY))
		return error_set(err, EINVAL, "i8255x: a unit in state %u, %u", card->cu_state, card->ru_state);
	return 0;
}

static void after_load(void *object)
{
	struct i8255x *card = object;

	pthread_mutex_lock(&card->nic.lock);
	set_link(card, nic_link(&card->nic));
	pthread_mutex_unlock(&card->nic.lock);
	nic_kick(&card->nic, NIC_KICK_TRANSMIT | NIC_KICK_RECEIVE);
}

static const struct state_field fields[] = {
	STATE_SUB(pci_device_state, struct i8255x, pci, 1),
	STATE_FIELD_N(STATE_BYTES, struct i8255x, csr, CSR_BYTES),
	STATE_FIELD_N(STATE_U16, struct i8255x, phy, 32),
	STATE_SUB(eeprom93_state, struct i8255x, eeprom, 1),
	STATE_FIELD(STATE_BOOL, struct i8255x, irq_asserted),
	STATE_FIELD(STATE_U8, struct i8255x, cu_state),
	STATE_FIELD(STATE_U8, struct i8255x, ru_state),
	STATE_FIELD(STATE_U32, struct i8255x, cu_base),
	STATE_FIELD(STATE_U32, struct i8255x, ru_base),
	STATE_FIELD(STATE_U32, struct i8255x, cu_offset),
	STATE_FIELD(STATE_U32, struct i8255x, cu_last),
	STATE_FIELD(STATE_U32, struct i8255x, ru_offset),
	STATE_FIELD(STATE_U32, struct i8255x, counters_gpa),
	STATE_FIELD_N(STATE_U32, struct i8255x, counters, I8255X_COUNTERS),
	STATE_FIELD_N(STATE_BYTES, struct i8255x, config, I8255X_CONFIG_BYTES),
	STATE_FIELD_N(STATE_BYTES, struct i8255x, address, 6),
	STATE_FIELD_N(STATE_BYTES, struct i8255x, hash, 8),
	STATE_END,
};

const struct state_table i8255x_state = {
	.name = "i8255x",
	.version = 1,
	.size = sizeof(struct i8255x),
	.fields = fields,
	.check = check_state,
	.after_load = after_load,
};
