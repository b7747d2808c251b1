/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Intel 82540EM, 82544GC and 82545EM: registers (chapter 13), interrupts and their moderation (13.4.17 to 13.4.21),
 * reset, life. Left out: wake-up and management (registers are kept, nothing comes of them), flash, pause frames (there
 * is no wire to pause), MSI, power management, TXD_LOW.
 */
#include "device/net/e1000.h"

#include "base/util.h"

enum { MMIO_BYTES = 0x20000, IO_BYTES = 64, INTERVAL_NS = 256 };

/* --- interrupts --- */

/* Not later than that. */
static void set_timer(struct e1000 *e1000, int64_t due_ns)
{
	if (e1000->timer_due_ns <= due_ns)
		return;
	e1000->timer_due_ns = due_ns;
	clock_timer_set(&e1000->timer, due_ns);
}

/* Raises or lowers INTA#; while ITR forbids a new interrupt the timer does it later. */
static void update_irq(struct e1000 *e1000)
{
	bool wanted = *e1000_reg(e1000, E1000_ICR) & *e1000_reg(e1000, E1000_IMS);
	int64_t now, interval_ns = *e1000_reg(e1000, E1000_ITR) % 0x10000 * (int64_t)INTERVAL_NS;

	if (wanted == e1000->irq_asserted)
		return;
	if (wanted && interval_ns && e1000->mitigation) {
		now = clock_now(e1000->pci.device.env->clock);
		if (now < e1000->irq_not_before_ns) {
			set_timer(e1000, e1000->irq_not_before_ns);
			return;
		}
		e1000->irq_not_before_ns = now + interval_ns;
	}
	e1000->irq_asserted = wanted;
	pci_intx(&e1000->pci, wanted);
}

void e1000_cause(struct e1000 *e1000, uint32_t causes, int64_t delay_ns)
{
	if (delay_ns && e1000->mitigation && !(*e1000_reg(e1000, E1000_ICR) & *e1000_reg(e1000, E1000_IMS))) {
		int64_t due = clock_now(e1000->pci.device.env->clock) + delay_ns;

		e1000->delayed_causes |= causes;
		set_timer(e1000, due);
		return;
	}
	/* Any interrupt takes along what a delay timer holds back (3.2.7.1.1). */
	*e1000_reg(e1000, E1000_ICR) |= causes | e1000->delayed_causes;
	e1000->delayed_causes = 0;
	update_irq(e1000);
}

static void timer_due(void *opaque)
{
	struct e1000 *e1000 = opaque;

	pthread_mutex_lock(&e1000->nic.lock);
	e1000->timer_due_ns = INT64_MAX;
	*e1000_reg(e1000, E1000_ICR) |= e1000->delayed_causes;
	e1000->delayed_causes = 0;
	update_irq(e1000);
	pthread_mutex_unlock(&e1000->nic.lock);
}

static uint32_t icr_read(struct e1000 *e1000)
{
	uint32_t causes = *e1000_reg(e1000, E1000_ICR);

	*e1000_reg(e1000, E1000_ICR) = 0;
	update_irq(e1000);
	return causes;
}

/* --- statistics --- */

void e1000_count(struct e1000 *e1000, unsigned offset, uint32_t more)
{
	uint32_t *counter = e1000_reg(e1000, offset);

	*counter = more > UINT32_MAX - *counter ? UINT32_MAX : *counter + more; /* they stick at the top (13.7) */
}

void e1000_count_bytes(struct e1000 *e1000, unsigned offset, uint64_t more)
{
	uint32_t *counter = e1000_reg(e1000, offset);
	uint64_t sum = ((uint64_t)counter[1] << 32 | counter[0]) + more;

	counter[0] = (uint32_t)sum;
	counter[1] = (uint32_t)(sum >> 32);
}

/* 64-bit ones are cleared with their upper half, which is read last. */
static uint32_t statistic_read(struct e1000 *e1000, unsigned offset)
{
	uint32_t value = *e1000_reg(e1000, offset);

	if (offset == E1000_GORCL || offset == E1000_GOTCL || offset == E1000_TORL || offset == E1000_TOTL)
		return value;
	*e1000_reg(e1000, offset) = 0;
	if (offset == E1000_GORCL + 4 || offset == E1000_GOTCL + 4 || offset == E1000_TORL + 4 ||
	    offset == E1000_TOTL + 4)
		*e1000_reg(e1000, offset - 4) = 0;
	return value;
}

/* --- registers --- */

/* Registers without side effects, and the bits that a write changes. */
static const struct {
	uint16_t first, last;
	uint32_t writable;
} plain[] = {
	{E1000_STATUS, E1000_STATUS, 0},
	{E1000_EERD, E1000_EERD, 0},
	{E1000_CTRL_EXT, E1000_CTRL_EXT, ~0u},
	{E1000_FLA, E1000_FLA, ~0u},
	{E1000_MDIC, E1000_MDIC, 0},
	{E1000_FCAL, E1000_FCAL, ~0u},
	{E1000_FCAH, E1000_FCAH, 0xffff},
	{E1000_FCT, E1000_FCT, 0xffff},
	{E1000_VET, E1000_VET, 0xffff},
	{E1000_ITR, E1000_ITR, 0xffff},
	{E1000_IMS, E1000_IMS, 0},
	{E1000_RCTL, E1000_RCTL, ~0u},
	{E1000_FCTTV, E1000_FCTTV, 0xffff},
	{E1000_TXCW, E1000_TXCW, ~0u},
	{E1000_RXCW, E1000_RXCW, 0},
	{E1000_TCTL, E1000_TCTL, ~0u},
	{E1000_TIPG, E1000_TIPG, ~0u},
	{E1000_AIFS, E1000_AIFS, 0xffff},
	{E1000_LEDCTL, E1000_LEDCTL, ~0u},
	{E1000_PBA, E1000_PBA, 0xffff},
	{E1000_FCRTL, E1000_FCRTL, ~0u},
	{E1000_FCRTH, E1000_FCRTH, ~0u},
	{E1000_RDFH, E1000_RDFPC, 0x1fff},
	{E1000_RDBAL, E1000_RDBAL, ~15u},
	{E1000_RDBAH, E1000_RDBAH, ~0u},
	{E1000_RDLEN, E1000_RDLEN, 0xfff80},
	{E1000_RDH, E1000_RDH, 0xffff},
	{E1000_RDT, E1000_RDT, 0xffff},
	{E1000_RDTR, E1000_RDTR, 0xffff},
	{E1000_RXDCTL, E1000_RXDCTL, ~0u},
	{E1000_RADV, E1000_RADV, 0xffff},
	{E1000_RSRPD, E1000_RSRPD, 0xfff},
	{E1000_TXDMAC, E1000_TXDMAC, 1},
	{E1000_TDFH, E1000_TDFPC, 0x1fff},
	{E1000_TDBAL, E1000_TDBAL, ~15u},
	{E1000_TDBAH, E1000_TDBAH, ~0u},
	{E1000_TDLEN, E1000_TDLEN, 0xfff80},
	{E1000_TDH, E1000_TDH, 0xffff},
	{E1000_TDT, E1000_TDT, 0xffff},
	{E1000_TIDV, E1000_TIDV, 0xffff},
	{E1000_TXDCTL, E1000_TXDCTL, ~0u},
	{E1000_TADV, E1000_TADV, 0xffff},
	{E1000_TSPMT, E1000_TSPMT, ~0u},
	{E1000_RXCSUM, E1000_RXCSUM, 0x7ff},
	{E1000_MTA, E1000_MTA_END - 4, ~0u},
	{E1000_RAL, E1000_RA_END - 4, ~0u},
	{E1000_VFTA, E1000_VFTA_END - 4, ~0u},
	{E1000_WUC, E1000_WUC, ~0u},
	{E1000_WUFC, E1000_WUFC, ~0u},
	{E1000_WUS, E1000_WUS, ~0u},
	{E1000_MANC, E1000_MANC, ~0u},
	{E1000_IPAV, E1000_IPAV, ~0u},
	{E1000_IP4AT, E1000_IP6AT_END - 4, ~0u},
	{E1000_WUPL, E1000_WUPL, ~0u},
	{E1000_WUPM, E1000_WUPM_END - 4, ~0u},
	{E1000_FFLT, E1000_FFLT_END - 4, ~0u},
};

static bool find_plain(unsigned offset, uint32_t *writable)
{
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		if (offset >= plain[i].first && offset <= plain[i].last) {
			*writable = plain[i].writable;
			return true;
		}
	return false;
}

static void registers_reset(struct e1000 *e1000)
{
	memset(e1000->registers, 0, sizeof(e1000->registers));
	*e1000_reg(e1000, E1000_CTRL) = 0x00140240;   /* 1000 Mbit/s, link up, software pins */
	*e1000_reg(e1000, E1000_STATUS) = 0x80000783; /* full duplex, 1000 Mbit/s, link */
	*e1000_reg(e1000, E1000_MANC) = 0x00000000;
	*e1000_reg(e1000, E1000_PBA) = 0x00100030;
	*e1000_reg(e1000, E1000_LEDCTL) = 0x07061302;
	*e1000_reg(e1000, E1000_VET) = 0x8100;
	*e1000_reg(e1000, E1000_RXDCTL) = 1 << 16;
	*e1000_reg(e1000, E1000_RAL) = load_le32(e1000->nic.mac);
	*e1000_reg(e1000, E1000_RAL + 4) = load_le16(e1000->nic.mac + 4) | 1u << 31;
	e1000->delayed_causes = 0;
	e1000->irq_not_before_ns = 0;
	e1000_link_set(e1000, nic_link(&e1000->nic));
	e1000_transmit_reset(e1000);
	update_irq(e1000);
}

static void ctrl_write(struct e1000 *e1000, uint32_t value)
{
	enum { PHY_RESET = 1u << 31 };

	if (value & E1000_CTRL_RST) {
		registers_reset(e1000);
		return;
	}
	if (value & PHY_RESET)
		e1000_phy_reset(e1000);
	*e1000_reg(e1000, E1000_CTRL) = value & ~(uint32_t)PHY_RESET;
}

static uint32_t register_read(struct e1000 *e1000, unsigned offset)
{
	uint32_t writable;

	if (offset >= E1000_STATISTICS && offset < E1000_STATISTICS_END)
		return statistic_read(e1000, offset);
	switch (offset) {
	case E1000_CTRL:
	case E1000_CTRL + 4: /* a copy, for the 82542's drivers */
		return *e1000_reg(e1000, E1000_CTRL);
	case E1000_EECD:
		return e1000_eecd_read(e1000);
	case E1000_ICR:
		return icr_read(e1000);
	}
	return find_plain(offset, &writable) ? *e1000_reg(e1000, offset) : 0;
}

static void register_write(struct e1000 *e1000, unsigned offset, uint32_t value)
{
	uint32_t writable;

	switch (offset) {
	case E1000_CTRL:
	case E1000_CTRL + 4:
		ctrl_write(e1000, value);
		return;
	case E1000_EECD:
		e1000_eecd_write(e1000, value);
		return;
	case E1000_EERD:
		e1000_eerd_write(e1000, value);
		return;
	case E1000_MDIC:
		e1000_mdic_write(e1000, value);
		return;
	case E1000_ICR:
		*e1000_reg(e1000, E1000_ICR) &= ~value;
		update_irq(e1000);
		return;
	case E1000_ICS:
		e1000_cause(e1000, value & E1000_ICR_ALL, 0);
		return;
	case E1000_IMS:
		*e1000_reg(e1000, E1000_IMS) |= value & E1000_ICR_ALL;
		update_irq(e1000);
		return;
	case E1000_IMC:
		*e1000_reg(e1000, E1000_IMS) &= ~value;
		update_irq(e1000);
		return;
	}
	if (!find_plain(offset, &writable))
		return;
	*e1000_reg(e1000, offset) = (*e1000_reg(e1000, offset) & ~writable) | (value & writable);
	if (offset == E1000_TDT || offset == E1000_TCTL)
		nic_kick(&e1000->nic, NIC_KICK_TRANSMIT);
	else if (offset == E1000_RDT || offset == E1000_RCTL)
		nic_kick(&e1000->nic, NIC_KICK_RECEIVE);
	else if (offset == E1000_RDTR && value >> 31) /* flush the delay (13.4.30) */
		e1000_cause(e1000, 0, 0);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct e1000 *e1000 = opaque;
	uint32_t value;

	pthread_mutex_lock(&e1000->nic.lock);
	value = register_read(e1000, (unsigned)offset & ~3u);
	pthread_mutex_unlock(&e1000->nic.lock);
	return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct e1000 *e1000 = opaque;

	/* Registers are written whole (13.2). */
	if (size != 4)
		return;
	pthread_mutex_lock(&e1000->nic.lock);
	register_write(e1000, (unsigned)offset & ~3u, (uint32_t)value);
	pthread_mutex_unlock(&e1000->nic.lock);
}

/* 13.2.2: IOADDR at 0, IODATA at 4. */
static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
	struct e1000 *e1000 = opaque;

	if (offset == 0)
		return e1000->io_address;
	return offset == 4 && e1000->io_address < MMIO_BYTES ? mmio_read(e1000, e1000->io_address, 4) : 0;
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct e1000 *e1000 = opaque;

	if (size != 4)
		return;
	if (offset == 0)
		e1000->io_address = (uint32_t)value;
	else if (offset == 4 && e1000->io_address < MMIO_BYTES)
		mmio_write(e1000, e1000->io_address, value, 4);
}

static const struct region_ops mmio_ops = {.read = mmio_read, .write = mmio_write, .min_width = 4, .max_width = 4};
static const struct region_ops io_ops = {.read = io_read, .write = io_write, .min_width = 4, .max_width = 4};

/* --- life --- */

static void link_changed(struct nic *nic, bool up)
{
	struct e1000 *e1000 = e1000_of(nic);

	e1000_link_set(e1000, up);
	e1000_cause(e1000, E1000_ICR_LSC, 0);
}

static const struct nic_ops nic_ops = {
	.transmit = e1000_transmit,
	.receive = e1000_receive,
	.link_changed = link_changed,
};

static void reset(struct device *device)
{
	struct e1000 *e1000 = (struct e1000 *)device;

	clock_timer_cancel(&e1000->timer);
	pthread_mutex_lock(&e1000->nic.lock);
	e1000->io_address = 0;
	e1000->timer_due_ns = INT64_MAX;
	e1000->irq_asserted = false;
	memset(e1000->tx_data, 0, sizeof(e1000->tx_data));
	e1000->tx_tso = e1000->tx_ip_sum = e1000->tx_tcp_sum = e1000->tx_vlan = false;
	e1000->tx_tag = 0;
	memset(&e1000->plain_context, 0, sizeof(e1000->plain_context));
	memset(&e1000->tso_context, 0, sizeof(e1000->tso_context));
	e1000_eeprom_fill(e1000);
	registers_reset(e1000);
	e1000_phy_reset(e1000);
	pthread_mutex_unlock(&e1000->nic.lock);
}

static int init(struct device *device, struct error *err)
{
	struct e1000 *e1000 = (struct e1000 *)device;
	int result;

	result = pci_bar_add(&e1000->pci, 0, PCI_BAR_MEM32, "e1000-mmio", &mmio_ops, e1000, MMIO_BYTES, err);
	if (!result)
		result = pci_bar_add(&e1000->pci, 1, PCI_BAR_IO, "e1000-io", &io_ops, e1000, IO_BYTES, err);
	if (!result)
		result = nic_init(&e1000->nic, device, &nic_ops, err);
	if (result)
		return result;
	clock_timer_init(&e1000->timer, device->env->clock, timer_due, e1000);
	return 0;
}

static void fini(struct device *device)
{
	struct e1000 *e1000 = (struct e1000 *)device;

	pci_unmap(&e1000->pci);
	clock_timer_cancel_sync(&e1000->timer);
	nic_fini(&e1000->nic);
}

/* --- saved state --- */

static int check_state(const void *staged, struct error *err)
{
	const struct e1000 *e1000 = staged;

	if (e1000->tx_bytes > FRAME_MAX - NIC_VLAN_BYTES)
		return error_set(err, EINVAL, "e1000: %u bytes of an unfinished frame", e1000->tx_bytes);
	return 0;
}

static void after_load(void *object)
{
	struct e1000 *e1000 = object;
	bool up = nic_link(&e1000->nic);

	pthread_mutex_lock(&e1000->nic.lock);
	e1000->timer_due_ns = e1000->timer.deadline_ns;
	if (up != !!(*e1000_reg(e1000, E1000_STATUS) & E1000_STATUS_LU))
		link_changed(&e1000->nic, up);
	pthread_mutex_unlock(&e1000->nic.lock);
	nic_kick(&e1000->nic, NIC_KICK_TRANSMIT | NIC_KICK_RECEIVE);
}

static const struct state_field context_fields[] = {
	STATE_FIELD(STATE_U8, struct e1000_context, ip_start),
	STATE_FIELD(STATE_U8, struct e1000_context, ip_offset),
	STATE_FIELD(STATE_U8, struct e1000_context, tcp_start),
	STATE_FIELD(STATE_U8, struct e1000_context, tcp_offset),
	STATE_FIELD(STATE_U16, struct e1000_context, ip_end),
	STATE_FIELD(STATE_U16, struct e1000_context, tcp_end),
	STATE_FIELD(STATE_BOOL, struct e1000_context, is_tcp),
	STATE_FIELD(STATE_BOOL, struct e1000_context, is_v4),
	STATE_FIELD(STATE_U8, struct e1000_context, header_bytes),
	STATE_FIELD(STATE_U16, struct e1000_context, mss),
	STATE_FIELD(STATE_U32, struct e1000_context, payload_bytes),
	STATE_END,
};

static const struct state_table context_state = {
	.name = "e1000-context", .version = 1, .size = sizeof(struct e1000_context), .fields = context_fields};

static const struct state_field fields[] = {
	STATE_SUB(pci_device_state, struct e1000, pci, 1),
	STATE_FIELD_N(STATE_U32, struct e1000, registers, E1000_REGISTERS_END / 4),
	STATE_FIELD(STATE_U32, struct e1000, io_address),
	STATE_FIELD_N(STATE_U16, struct e1000, phy, 32),
	STATE_SUB(eeprom93_state, struct e1000, eeprom, 1),
	STATE_FIELD(STATE_U32, struct e1000, delayed_causes),
	STATE_FIELD(STATE_BOOL, struct e1000, irq_asserted),
	STATE_FIELD(STATE_I64, struct e1000, irq_not_before_ns),
	STATE_FIELD(STATE_TIMER, struct e1000, timer),
	STATE_SUB(context_state, struct e1000, plain_context, 1),
	STATE_SUB(context_state, struct e1000, tso_context, 1),
	STATE_FIELD(STATE_U32, struct e1000, tx_bytes),
	STATE_FIELD(STATE_BOOL, struct e1000, tx_started),
	STATE_FIELD(STATE_BOOL, struct e1000, tx_overlong),
	STATE_FIELD(STATE_BOOL, struct e1000, tx_tso),
	STATE_FIELD(STATE_BOOL, struct e1000, tx_ip_sum),
	STATE_FIELD(STATE_BOOL, struct e1000, tx_tcp_sum),
	STATE_FIELD(STATE_BOOL, struct e1000, tx_vlan),
	STATE_FIELD(STATE_U16, struct e1000, tx_tag),
	STATE_FIELD_N(STATE_BYTES, struct e1000, tx_data, FRAME_MAX),
	STATE_END,
};

static const struct state_table state = {
	.name = "e1000",
	.version = 1,
	.size = sizeof(struct e1000),
	.fields = fields,
	.check = check_state,
	.after_load = after_load,
};

static const struct property properties[] = {
	NIC_PROPERTIES(struct e1000, nic),
	PCI_ROMFILE_PROPERTY(struct e1000, pci, "efi-e1000.rom"),
	{.name = "mitigation",
	 .type = PROPERTY_BOOL,
	 .offset = offsetof(struct e1000, mitigation),
	 .fallback = "on",
	 .help = "obey the interrupt delay and throttling registers"},
	{.name = NULL},
};

#define MODEL(SYMBOL, NAME, ALIAS, DEVICE, REVISION, HELP)                                                             \
	static const struct pci_class SYMBOL##_pci = {.vendor = 0x8086,                                                \
						      .device = DEVICE,                                                \
						      .subsystem_vendor = 0x1af4,                                      \
						      .subsystem = 0x1100,                                             \
						      .class_code = 0x020000,                                          \
						      .revision = REVISION,                                            \
						      .interrupt_pin = 1};                                             \
	const struct device_class SYMBOL = {.name = NAME,                                                              \
					    .alias = ALIAS,                                                            \
					    .help = HELP,                                                              \
					    .bus = DEVICE_PCI,                                                         \
					    .size = sizeof(struct e1000),                                              \
					    .properties = properties,                                                  \
					    .state = &state,                                                           \
					    .init = init,                                                              \
					    .reset = reset,                                                            \
					    .fini = fini,                                                              \
					    .bus_class = &SYMBOL##_pci}

MODEL(e1000_class, "e1000", "e1000-82540em", 0x100e, 3, "Intel 82540EM gigabit Ethernet");
MODEL(e1000_82544gc_class, "e1000-82544gc", NULL, 0x1008, 2, "Intel 82544GC gigabit Ethernet");
MODEL(e1000_82545em_class, "e1000-82545em", NULL, 0x100f, 3, "Intel 82545EM gigabit Ethernet");
