/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Realtek RTL8139C+: registers, interrupts, timer, EEPROM, link. Registers are bytes that a driver reads and writes in
 * any width; what a write starts is looked up by the bytes it touched. Left out: wake-up, power management, VPD, flash,
 * early receive and transmit interrupts, the FIFO's loopback of less than a frame.
 */
#include "device/net/rtl8139.h"

#include "base/util.h"

enum { TIMER_HZ = 33000000, TALLY_BYTES = 64, TALLY_DUMP = 1 << 3 };

uint16_t rtl_get16(const struct rtl8139 *rtl, unsigned offset)
{
	return load_le16(rtl->registers + offset);
}

uint32_t rtl_get32(const struct rtl8139 *rtl, unsigned offset)
{
	return load_le32(rtl->registers + offset);
}

void rtl_set16(struct rtl8139 *rtl, unsigned offset, uint16_t value)
{
	store_le16(rtl->registers + offset, value);
}

void rtl_set32(struct rtl8139 *rtl, unsigned offset, uint32_t value)
{
	store_le32(rtl->registers + offset, value);
}

/* --- interrupts, timer --- */

static void update_irq(struct rtl8139 *rtl)
{
	bool level = rtl_get16(rtl, RTL_ISR) & rtl_get16(rtl, RTL_IMR);

	if (level == rtl->irq_asserted)
		return;
	rtl->irq_asserted = level;
	pci_intx(&rtl->pci, level);
}

void rtl_raise(struct rtl8139 *rtl, uint16_t isr)
{
	rtl_set16(rtl, RTL_ISR, rtl_get16(rtl, RTL_ISR) | isr);
	update_irq(rtl);
}

/* The timer counts on for ever and interrupts whenever it passes TimerInt; a period is 2^32 ticks. */
static void set_timer(struct rtl8139 *rtl)
{
	uint32_t match = rtl_get32(rtl, RTL_TIMERINT);
	int64_t now = clock_now(rtl->pci.device.env->clock);
	uint64_t ticks = clock_ns_to_ticks(now - rtl->timer_base_ns, TIMER_HZ), due;

	if (!match) {
		clock_timer_cancel(&rtl->timer);
		return;
	}
	due = (ticks & ~0xffffffffull) | match;
	if (due <= ticks)
		due += 1ull << 32;
	clock_timer_set(&rtl->timer, rtl->timer_base_ns + clock_ticks_to_ns(due, TIMER_HZ));
}

static void timer_due(void *opaque)
{
	struct rtl8139 *rtl = opaque;

	pthread_mutex_lock(&rtl->nic.lock);
	if (rtl_get32(rtl, RTL_TIMERINT)) {
		rtl_raise(rtl, RTL_ISR_TIMEOUT);
		set_timer(rtl);
	}
	pthread_mutex_unlock(&rtl->nic.lock);
}

/* --- tally counters --- */

static void tally_dump(struct rtl8139 *rtl)
{
	uint64_t gpa = (uint64_t)rtl_get32(rtl, RTL_DTCCR + 4) << 32 | (rtl_get32(rtl, RTL_DTCCR) & ~63u);
	const struct rtl_tally *tally = &rtl->tally;
	uint8_t dump[TALLY_BYTES];

	store_le64(dump, tally->tx_ok);
	store_le64(dump + 8, tally->rx_ok);
	store_le64(dump + 16, tally->tx_error);
	store_le32(dump + 24, tally->rx_error);
	store_le16(dump + 28, tally->missed);
	store_le16(dump + 30, tally->misaligned);
	store_le32(dump + 32, tally->tx_one_collision);
	store_le32(dump + 36, tally->tx_collisions);
	store_le64(dump + 40, tally->rx_physical);
	store_le64(dump + 48, tally->rx_broadcast);
	store_le32(dump + 56, tally->rx_multicast);
	store_le16(dump + 60, tally->tx_aborted);
	store_le16(dump + 62, tally->tx_underrun);
	pci_dma_write(&rtl->pci, gpa, dump, sizeof(dump));
	rtl->registers[RTL_DTCCR] &= (uint8_t)~TALLY_DUMP;
}

/* --- reset, link --- */

static void set_link(struct rtl8139 *rtl, bool up)
{
	enum { MSR_NO_LINK = 1 << 2, BMSR_UP = 1 << 2 | 1 << 5, CSCR_LINK = 1 << 10 };
	uint8_t msr = rtl->registers[RTL_MSR] & (uint8_t)~MSR_NO_LINK;

	rtl->registers[RTL_MSR] = up ? msr : msr | MSR_NO_LINK;
	rtl_set16(rtl, RTL_BMSR, (uint16_t)(0x7809 | (up ? BMSR_UP : 0)));
	rtl_set16(rtl, RTL_ANLPAR, up ? 0x45e1 : 0);
	rtl_set16(rtl, RTL_CSCR, (uint16_t)((rtl_get16(rtl, RTL_CSCR) & ~CSCR_LINK) | (up ? CSCR_LINK : 0)));
}

/* Which a driver does by CR.RST: the address, the multicast filter and the configuration stay. */
static void software_reset(struct rtl8139 *rtl)
{
	memset(rtl->registers + RTL_TSD, 0, RTL_9346CR - RTL_TSD);
	for (unsigned i = 0; i < 4; i++)
		rtl_set32(rtl, RTL_TSD + 4 * i, RTL_TSD_OWN);
	rtl->registers[RTL_CR] = RTL_CR_BUFE;
	rtl_set16(rtl, RTL_CAPR, 0xfff0);
	rtl_set32(rtl, RTL_TCR, 0x74800000); /* the hardware's version: 8139C+ */
	rtl_set32(rtl, RTL_TIMERINT, 0);
	rtl_set16(rtl, RTL_CPCR, 0);
	rtl_set32(rtl, RTL_RDSAR, 0);
	rtl_set32(rtl, RTL_RDSAR + 4, 0);
	rtl->registers[RTL_TPPOLL] = 0;
	rtl->timer_base_ns = clock_now(rtl->pci.device.env->clock);
	clock_timer_cancel(&rtl->timer);
	rtl->tx_next = rtl->tx_index = rtl->tx_high_index = rtl->rx_index = 0;
	rtl->polls = 0;
	update_irq(rtl);
}

static void hard_reset(struct rtl8139 *rtl)
{
	memset(rtl->registers, 0, sizeof(rtl->registers));
	memset(&rtl->tally, 0, sizeof(rtl->tally));
	memcpy(rtl->registers + RTL_IDR, rtl->nic.mac, 6);
	rtl->registers[RTL_CONFIG0] = 0x10;
	rtl->registers[RTL_CONFIG1] = 0x0c;
	rtl->registers[RTL_MSR] = 0x10;
	rtl->registers[RTL_RERID] = rtl->pci.config[8];
	rtl_set16(rtl, RTL_BMCR, 0x3100);
	rtl_set16(rtl, RTL_ANAR, 0x05e1);
	rtl_set16(rtl, RTL_ANER, 1);
	rtl_set16(rtl, RTL_NWAYTR, 0x0001);
	rtl_set16(rtl, RTL_CSCR, 0x0080);
	set_link(rtl, nic_link(&rtl->nic));
	software_reset(rtl);
}

static void eeprom_fill(struct rtl8139 *rtl)
{
	const struct pci_class *class = rtl->pci.device.class->bus_class;
	uint16_t *words = rtl->eeprom.words;

	memset(&rtl->eeprom, 0, sizeof(rtl->eeprom));
	words[0] = 0x8129;
	words[1] = class->vendor;
	words[2] = class->device;
	words[3] = class->subsystem_vendor;
	words[4] = class->subsystem;
	for (unsigned i = 0; i < 3; i++)
		words[7 + i] = load_le16(rtl->nic.mac + 2 * i);
}

/* --- registers --- */

enum { NEVER, ALWAYS, IN_CONFIG, CLEARS };

/* How a write changes each byte: not at all, always, in 9346CR's configuration mode (or of BMCR likewise), or by
 * clearing bits. */
static unsigned write_rule(unsigned offset)
{
	if (offset == RTL_ISR || offset == RTL_ISR + 1)
		return CLEARS;
	if (offset >= RTL_CONFIG0 && offset <= RTL_CONFIG4 && offset != RTL_TIMERINT - 1)
		return (offset >= RTL_TIMERINT && offset < RTL_TIMERINT + 4) || offset == RTL_MSR ? ALWAYS : IN_CONFIG;
	if (offset == RTL_CONFIG5)
		return IN_CONFIG;
	if (offset < 6 || (offset >= RTL_MAR && offset < RTL_RBSTART + 4) || offset == RTL_CR ||
	    (offset >= RTL_CAPR && offset < RTL_CBR) || (offset >= RTL_IMR && offset < RTL_TCTR) ||
	    (offset >= RTL_MPC && offset <= RTL_9346CR) || offset == RTL_MULINT || offset == RTL_MULINT + 1 ||
	    offset == RTL_BMCR || offset == RTL_BMCR + 1 || offset == RTL_ANAR || offset == RTL_ANAR + 1 ||
	    (offset >= RTL_NWAYTR && offset < 0x84) || (offset >= 0x84 && offset < RTL_CONFIG5) ||
	    offset == RTL_TPPOLL || (offset >= RTL_CPCR && offset <= RTL_ETTHR))
		return ALWAYS;
	return NEVER;
}

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned bytes)
{
	return offset < first + bytes && offset + size > first;
}

static uint16_t transmit_summary(const struct rtl8139 *rtl)
{
	uint16_t summary = 0;

	for (unsigned i = 0; i < 4; i++) {
		uint32_t status = rtl_get32(rtl, RTL_TSD + 4 * i);

		summary |= (uint16_t)((status & RTL_TSD_OWN ? 1u : 0u) << i | (status & RTL_TSD_TOK ? 1u : 0u)
										      << (12 + i));
	}
	return summary;
}

/* Brings registers that are computed up to date. */
static void refresh(struct rtl8139 *rtl, unsigned offset, unsigned size)
{
	if (touches(offset, size, RTL_CR, 1))
		rtl->registers[RTL_CR] = (uint8_t)((rtl->registers[RTL_CR] & ~RTL_CR_BUFE) |
						   (rtl8139_buffer_empty(rtl) ? RTL_CR_BUFE : 0));
	if (touches(offset, size, RTL_TCTR, 4))
		rtl_set32(rtl, RTL_TCTR,
			  (uint32_t)clock_ns_to_ticks(clock_now(rtl->pci.device.env->clock) - rtl->timer_base_ns,
						      TIMER_HZ));
	if (touches(offset, size, RTL_TSADS, 2))
		rtl_set16(rtl, RTL_TSADS, transmit_summary(rtl));
	if (touches(offset, size, RTL_9346CR, 1))
		rtl->registers[RTL_9346CR] = (uint8_t)((rtl->registers[RTL_9346CR] & 0xfe) | (rtl->eeprom.out ? 1 : 0));
}

static void eeprom_write(struct rtl8139 *rtl)
{
	enum { MODE = 3 << 6, MODE_LOAD = 1 << 6, MODE_PROGRAM = 2 << 6, CS = 1 << 3, SK = 1 << 2, DI = 1 << 1 };
	uint8_t value = rtl->registers[RTL_9346CR];

	if ((value & MODE) == MODE_LOAD) {
		for (unsigned i = 0; i < 3; i++)
			rtl_set16(rtl, RTL_IDR + 2 * i, rtl->eeprom.words[7 + i]);
		rtl->registers[RTL_9346CR] = 0;
	}
	eeprom93_drive(&rtl->eeprom, (value & MODE) == MODE_PROGRAM && value & CS, value & SK, value & DI);
}

static void bmcr_write(struct rtl8139 *rtl)
{
	enum { RESET = 1 << 15, RESTART = 1 << 9 };
	uint16_t value = rtl_get16(rtl, RTL_BMCR);

	if (value & RESET)
		value = 0x3100;
	rtl_set16(rtl, RTL_BMCR, value & (uint16_t)~RESTART);
}

static void written(struct rtl8139 *rtl, unsigned offset, unsigned size)
{
	bool plus = rtl_get16(rtl, RTL_CPCR) & RTL_CPCR_TE;

	if (touches(offset, size, RTL_CR, 1)) {
		if (rtl->registers[RTL_CR] & RTL_CR_RST)
			software_reset(rtl);
		nic_kick(&rtl->nic, NIC_KICK_TRANSMIT | NIC_KICK_RECEIVE);
	}
	if (touches(offset, size, RTL_TSD, 16) && !plus)
		nic_kick(&rtl->nic, NIC_KICK_TRANSMIT);
	if (touches(offset, size, RTL_DTCCR, 1) && plus && rtl->registers[RTL_DTCCR] & TALLY_DUMP)
		tally_dump(rtl);
	if (touches(offset, size, RTL_TNPDS, 4) && plus)
		rtl->tx_index = 0;
	if (touches(offset, size, RTL_THPDS, 4) && plus)
		rtl->tx_high_index = 0;
	if (touches(offset, size, RTL_RDSAR, 4))
		rtl->rx_index = 0;
	if (touches(offset, size, RTL_RBSTART, 4))
		rtl_set16(rtl, RTL_CBR, 0);
	if (touches(offset, size, RTL_CAPR, 2) || touches(offset, size, RTL_RCR, 4))
		nic_kick(&rtl->nic, NIC_KICK_RECEIVE);
	if (touches(offset, size, RTL_IMR, 4))
		update_irq(rtl);
	if (touches(offset, size, RTL_TCR, 4)) /* the version is not written */
		rtl_set32(rtl, RTL_TCR, (rtl_get32(rtl, RTL_TCR) & 0x830f07ff) | 0x74800000);
	if (touches(offset, size, RTL_MPC, 4))
		rtl_set32(rtl, RTL_MPC, 0);
	if (touches(offset, size, RTL_9346CR, 1))
		eeprom_write(rtl);
	if (touches(offset, size, RTL_TIMERINT, 4))
		set_timer(rtl);
	if (touches(offset, size, RTL_MSR, 1))
		set_link(rtl, nic_link(&rtl->nic));
	if (touches(offset, size, RTL_BMCR, 2))
		bmcr_write(rtl);
	if (touches(offset, size, RTL_TPPOLL, 1)) {
		rtl->polls |= rtl->registers[RTL_TPPOLL] & (RTL_POLL_NORMAL | RTL_POLL_HIGH);
		if (rtl->registers[RTL_TPPOLL] & 1)
			rtl_raise(rtl, RTL_ISR_SWINT);
		rtl->registers[RTL_TPPOLL] = 0;
		nic_kick(&rtl->nic, NIC_KICK_TRANSMIT);
	}
}

static uint64_t region_read(void *opaque, uint64_t offset, unsigned size)
{
	struct rtl8139 *rtl = opaque;
	uint32_t value = 0;

	pthread_mutex_lock(&rtl->nic.lock);
	refresh(rtl, (unsigned)offset, size);
	memcpy(&value, rtl->registers + offset, size);
	pthread_mutex_unlock(&rtl->nic.lock);
	return value;
}

static void region_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct rtl8139 *rtl = opaque;

	pthread_mutex_lock(&rtl->nic.lock);
	/* The timer's count is only ever set to zero. */
	if (touches((unsigned)offset, size, RTL_TCTR, 4)) {
		rtl->timer_base_ns = clock_now(rtl->pci.device.env->clock);
		set_timer(rtl);
	}
	for (unsigned i = 0; i < size; i++) {
		uint8_t *byte = &rtl->registers[offset + i], in = (uint8_t)(value >> 8 * i);
		unsigned rule = write_rule((unsigned)offset + i);

		if (rule == ALWAYS || (rule == IN_CONFIG && rtl->registers[RTL_9346CR] >> 6 == 3))
			*byte = in;
		else if (rule == CLEARS)
			*byte &= (uint8_t)~in;
	}
	written(rtl, (unsigned)offset, size);
	pthread_mutex_unlock(&rtl->nic.lock);
}

static const struct region_ops region_ops = {
	.read = region_read, .write = region_write, .min_width = 1, .max_width = 4};

/* --- life --- */

static void link_changed(struct nic *nic, bool up)
{
	struct rtl8139 *rtl = rtl8139_of(nic);

	set_link(rtl, up);
	rtl_raise(rtl, RTL_ISR_LINK);
}

static const struct nic_ops nic_ops = {
	.transmit = rtl8139_transmit,
	.receive = rtl8139_receive,
	.link_changed = link_changed,
};

static void reset(struct device *device)
{
	struct rtl8139 *rtl = (struct rtl8139 *)device;

	pthread_mutex_lock(&rtl->nic.lock);
	rtl->irq_asserted = false;
	eeprom_fill(rtl);
	hard_reset(rtl);
	pthread_mutex_unlock(&rtl->nic.lock);
}

static int init(struct device *device, struct error *err)
{
	struct rtl8139 *rtl = (struct rtl8139 *)device;
	int result = pci_bar_add(&rtl->pci, 0, PCI_BAR_IO, "rtl8139-io", &region_ops, rtl, 256, err);

	if (!result)
		result = pci_bar_add(&rtl->pci, 1, PCI_BAR_MEM32, "rtl8139-mmio", &region_ops, rtl, 256, err);
	if (!result)
		result = nic_init(&rtl->nic, device, &nic_ops, err);
	if (!result)
		clock_timer_init(&rtl->timer, device->env->clock, timer_due, rtl);
	return result;
}

static void fini(struct device *device)
{
	struct rtl8139 *rtl = (struct rtl8139 *)device;

	pci_unmap(&rtl->pci);
	clock_timer_cancel_sync(&rtl->timer);
	nic_fini(&rtl->nic);
}

/* --- saved state --- */

static int check_state(const void *staged, struct error *err)
{
	const struct rtl8139 *rtl = staged;

	if (rtl->tx_next > 3 || rtl->tx_index > 63 || rtl->tx_high_index > 63 || rtl->rx_index > 63)
		return error_set(err, EINVAL, "rtl8139: a descriptor beyond the end of its ring");
	return 0;
}

static void after_load(void *object)
{
	struct rtl8139 *rtl = object;

	pthread_mutex_lock(&rtl->nic.lock);
	set_link(rtl, nic_link(&rtl->nic));
	pthread_mutex_unlock(&rtl->nic.lock);
	nic_kick(&rtl->nic, NIC_KICK_TRANSMIT | NIC_KICK_RECEIVE);
}

static const struct state_field tally_fields[] = {
	STATE_FIELD(STATE_U64, struct rtl_tally, tx_ok),
	STATE_FIELD(STATE_U64, struct rtl_tally, rx_ok),
	STATE_FIELD(STATE_U64, struct rtl_tally, tx_error),
	STATE_FIELD(STATE_U32, struct rtl_tally, rx_error),
	STATE_FIELD(STATE_U16, struct rtl_tally, missed),
	STATE_FIELD(STATE_U16, struct rtl_tally, misaligned),
	STATE_FIELD(STATE_U32, struct rtl_tally, tx_one_collision),
	STATE_FIELD(STATE_U32, struct rtl_tally, tx_collisions),
	STATE_FIELD(STATE_U64, struct rtl_tally, rx_physical),
	STATE_FIELD(STATE_U64, struct rtl_tally, rx_broadcast),
	STATE_FIELD(STATE_U32, struct rtl_tally, rx_multicast),
	STATE_FIELD(STATE_U16, struct rtl_tally, tx_aborted),
	STATE_FIELD(STATE_U16, struct rtl_tally, tx_underrun),
	STATE_END,
};

static const struct state_table tally_state = {
	.name = "rtl8139-tally", .version = 1, .size = sizeof(struct rtl_tally), .fields = tally_fields};

static const struct state_field fields[] = {
	STATE_SUB(pci_device_state, struct rtl8139, pci, 1),
	STATE_FIELD_N(STATE_BYTES, struct rtl8139, registers, 256),
	STATE_SUB(eeprom93_state, struct rtl8139, eeprom, 1),
	STATE_FIELD(STATE_BOOL, struct rtl8139, irq_asserted),
	STATE_SUB(tally_state, struct rtl8139, tally, 1),
	STATE_FIELD(STATE_I64, struct rtl8139, timer_base_ns),
	STATE_FIELD(STATE_TIMER, struct rtl8139, timer),
	STATE_FIELD(STATE_U32, struct rtl8139, tx_next),
	STATE_FIELD(STATE_U32, struct rtl8139, tx_index),
	STATE_FIELD(STATE_U32, struct rtl8139, tx_high_index),
	STATE_FIELD(STATE_U32, struct rtl8139, rx_index),
	STATE_FIELD(STATE_U8, struct rtl8139, polls),
	STATE_END,
};

static const struct state_table state = {
	.name = "rtl8139",
	.version = 1,
	.size = sizeof(struct rtl8139),
	.fields = fields,
	.check = check_state,
	.after_load = after_load,
};

static const struct property properties[] = {
	NIC_PROPERTIES(struct rtl8139, nic),
	PCI_ROMFILE_PROPERTY(struct rtl8139, pci, "efi-rtl8139.rom"),
	{.name = NULL},
};

static const struct pci_class pci_constants = {
	.vendor = 0x10ec,
	.device = 0x8139,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class_code = 0x020000,
	.revision = 0x20,
	.interrupt_pin = 1,
};

const struct device_class rtl8139_class = {
	.name = "rtl8139",
	.help = "Realtek RTL8139C+ Fast Ethernet",
	.bus = DEVICE_PCI,
	.size = sizeof(struct rtl8139),
	.properties = properties,
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
	.bus_class = &pci_constants,
};
