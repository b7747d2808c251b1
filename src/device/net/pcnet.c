/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Am79C970A: the control and status registers behind RDP, the bus configuration registers behind BDP, word and double
 * word I/O, the address PROM, interrupts. Left out: the automatic poll of the transmit ring (drivers demand it by
 * TDMD), magic packets, the LANCE's diagnostics, expansion ROM access and EEPROM behind BCR19, power management.
 */
#include "device/net/pcnet.h"

#include "base/util.h"

enum { PORTS = 32, PORT_DATA = 0x10, CHIP_ID_LOW = 0x1003, CHIP_ID_HIGH = 0x0262 };
enum { BCR_LINK = 4, BCR_LEDS_LAST = 7, BCR_MISC = 2, BCR_BURST = 18, BCR_STYLE = 20, LED_OUT = 1 << 15 };

/* --- interrupts --- */

static void update_irq(struct pcnet *pcnet)
{
	enum { CAUSES = 0x5f00, CSR4_FLAGS = 0x022a, CSR4_UINT = 1 << 6 };
	uint16_t *csr = pcnet->csr;
	/* In CSR4 each flag's mask stands at the bit below it. */
	bool pending =
		(csr[0] & ~csr[3] & CAUSES) || (csr[4] & CSR4_FLAGS & ~(uint32_t)(csr[4] << 1)) || csr[4] & CSR4_UINT;
	bool level;

	csr[0] = (uint16_t)((csr[0] & ~(CSR0_INTR | CSR0_ERR)) | (pending ? CSR0_INTR : 0) |
			    (csr[0] & (CSR0_BABL | CSR0_MISS | CSR0_MERR) ? CSR0_ERR : 0));
	level = pending && csr[0] & CSR0_IENA;
	if (level == pcnet->irq_asserted)
		return;
	pcnet->irq_asserted = level;
	pci_intx(&pcnet->pci, level);
}

void pcnet_raise(struct pcnet *pcnet, uint16_t csr0)
{
	pcnet->csr[0] |= csr0;
	update_irq(pcnet);
}

/* --- reset, start, stop --- */

static void stop(struct pcnet *pcnet)
{
	pcnet->csr[0] = CSR0_STOP;
	pcnet->csr[4] &= 0xfd15;
	pcnet->csr[5] &= 0xffee;
	update_irq(pcnet);
}

/* Reset port (S_RESET). The BCRs stay, but the software style does not. */
static void soft_reset(struct pcnet *pcnet)
{
	memset(pcnet->csr, 0, sizeof(pcnet->csr));
	pcnet->csr[4] = 0x0115;
	for (unsigned i = 0; i < 3; i++)
		pcnet->csr[12 + i] = load_le16(pcnet->prom + 2 * i);
	pcnet->csr[80] = 0x1410;
	pcnet->csr[88] = CHIP_ID_LOW;
	pcnet->csr[89] = CHIP_ID_HIGH;
	pcnet->csr[94] = 0;
	pcnet->csr[100] = 0x0200;
	pcnet->csr[103] = 0x0105;
	pcnet->bcr[BCR_STYLE] = 0x0200;
	pcnet->rap = 0;
	pcnet->rx_base = pcnet->tx_base = 0;
	pcnet->rx_count = pcnet->tx_count = 0;
	pcnet->rx_index = pcnet->tx_index = 0;
	stop(pcnet);
}

static void hard_reset(struct pcnet *pcnet)
{
	static const uint16_t initial[PCNET_BCRS] = {
		[0] = 5,      [1] = 5,      [2] = 2,       [4] = 0x00c0, [5] = 0x0084,
		[6] = 0x0088, [7] = 0x0090, [18] = 0x9001, [19] = 2};
	uint16_t sum = 0;

	memcpy(pcnet->bcr, initial, sizeof(initial));
	memset(pcnet->prom, 0, sizeof(pcnet->prom));
	memcpy(pcnet->prom, pcnet->nic.mac, 6);
	pcnet->prom[9] = 0x11; /* PCI hardware */
	pcnet->prom[14] = pcnet->prom[15] = 0x57;
	for (unsigned i = 0; i < sizeof(pcnet->prom); i++)
		sum = (uint16_t)(sum + pcnet->prom[i]);
	store_le16(pcnet->prom + 12, sum);
	pcnet->wide_ports = false;
	soft_reset(pcnet);
}

static void start(struct pcnet *pcnet)
{
	pcnet->csr[0] &= (uint16_t)~CSR0_STOP;
	pcnet->csr[0] |= CSR0_STRT;
	if (!(pcnet->csr[15] & MODE_DTX))
		pcnet->csr[0] |= CSR0_TXON;
	if (!(pcnet->csr[15] & MODE_DRX))
		pcnet->csr[0] |= CSR0_RXON;
	nic_kick(&pcnet->nic, NIC_KICK_TRANSMIT | NIC_KICK_RECEIVE);
}

static void csr0_write(struct pcnet *pcnet, uint16_t value)
{
	enum { CLEARED = 0x7f00 };

	pcnet->csr[0] &= (uint16_t) ~(value & CLEARED);
	if (value & CSR0_STOP) {
		stop(pcnet);
		return;
	}
	pcnet->csr[0] = (uint16_t)((pcnet->csr[0] & ~CSR0_IENA) | (value & CSR0_IENA));
	if (value & CSR0_INIT && !(pcnet->csr[0] & CSR0_INIT)) {
		pcnet->csr[0] &= (uint16_t)~CSR0_STOP;
		pcnet->csr[0] |= CSR0_INIT;
		pcnet_initialize(pcnet);
		pcnet->csr[0] |= CSR0_IDON;
	}
	if (value & CSR0_STRT && !(pcnet->csr[0] & CSR0_STRT))
		start(pcnet);
	if (value & CSR0_TDMD && pcnet->csr[0] & CSR0_TXON)
		nic_kick(&pcnet->nic, NIC_KICK_TRANSMIT);
	update_irq(pcnet);
}

/* --- CSRs and BCRs --- */

/* Some only take a value while the chip stands still. */
static bool csr_writable(const struct pcnet *pcnet, unsigned index)
{
	bool still = pcnet->csr[0] & CSR0_STOP || pcnet->csr[5] & CSR5_SPND;

	switch (index) {
	case 1:
	case 2:
	case 8 ... 15:
	case 24 ... 25:
	case 30 ... 31:
	case 58:
	case 76:
	case 78:
		return still;
	case 3:
	case 5 ... 7:
	case 16 ... 23:
	case 26 ... 29:
	case 32 ... 47:
	case 60 ... 75:
	case 80 ... 82:
	case 84 ... 87:
	case 100:
	case 112:
	case 114:
	case 122:
		return true;
	default:
		return false;
	}
}

static uint32_t ring_length(uint16_t value)
{
	uint32_t length = (uint16_t)-value;

	return length > PCNET_RING_MAX ? PCNET_RING_MAX : length;
}

static void style_write(struct pcnet *pcnet, uint16_t value)
{
	uint8_t style = value & 0xff;

	if (style > 3)
		return;
	pcnet->bcr[BCR_STYLE] = (uint16_t)(style | (style >= 2 ? BCR20_SSIZE32 : 0) | 0x0200);
}

static void csr_write(struct pcnet *pcnet, unsigned index, uint16_t value)
{
	enum { CSR4_CLEARED = 0x026a, CSR4_KEPT = 0x0115 | 0xfc00, CSR4_UINTCMD = 1 << 7, CSR4_UINT = 1 << 6 };

	if (index == 0) {
		csr0_write(pcnet, value);
		return;
	}
	if (index == 4) {
		pcnet->csr[4] = (uint16_t)((pcnet->csr[4] & CSR4_CLEARED & ~value) | (value & CSR4_KEPT) |
					   (value & CSR4_UINTCMD ? CSR4_UINT : 0));
		update_irq(pcnet);
		return;
	}
	if (!csr_writable(pcnet, index))
		return;
	pcnet->csr[index] = value;
	if (index == 3)
		update_irq(pcnet);
	else if (index == 24 || index == 25)
		pcnet->rx_base = (uint32_t)pcnet->csr[25] << 16 | pcnet->csr[24];
	else if (index == 30 || index == 31)
		pcnet->tx_base = (uint32_t)pcnet->csr[31] << 16 | pcnet->csr[30];
	else if (index == 58)
		style_write(pcnet, value);
	else if (index == 76)
		pcnet->rx_count = ring_length(value), pcnet->rx_index = 0;
	else if (index == 78)
		pcnet->tx_count = ring_length(value), pcnet->tx_index = 0;
}

static uint16_t csr_read(struct pcnet *pcnet, unsigned index)
{
	switch (index) {
	case 58:
		return pcnet->bcr[BCR_STYLE];
	case 72: /* what is left of the ring, counting down */
		return (uint16_t)(pcnet->rx_count - pcnet->rx_index);
	case 74:
		return (uint16_t)(pcnet->tx_count - pcnet->tx_index);
	case 76:
		return (uint16_t)-pcnet->rx_count;
	case 78:
		return (uint16_t)-pcnet->tx_count;
	default:
		return index < PCNET_CSRS ? pcnet->csr[index] : 0;
	}
}

static uint16_t bcr_read(struct pcnet *pcnet, unsigned index)
{
	if (index >= BCR_LINK && index <= BCR_LEDS_LAST) {
		uint16_t value = pcnet->bcr[index] & (uint16_t)~LED_OUT;
		bool lit = nic_link(&pcnet->nic) && value & (1 << 6); /* LNKSTE */

		return lit ? value | LED_OUT : value;
	}
	return index < PCNET_BCRS ? pcnet->bcr[index] : 0;
}

static void bcr_write(struct pcnet *pcnet, unsigned index, uint16_t value)
{
	switch (index) {
	case BCR_STYLE:
		if (pcnet->csr[0] & CSR0_STOP || pcnet->csr[5] & CSR5_SPND)
			style_write(pcnet, value);
		break;
	case BCR_MISC:
	case BCR_LINK ... BCR_LEDS_LAST:
	case 9:
	case BCR_BURST:
	case 19:
		pcnet->bcr[index] = value;
		break;
	}
}

/* --- ports: RDP, RAP, reset and BDP of 16 bits, or of 32 once RDP was written as a double word --- */

enum port { PORT_RDP, PORT_RAP, PORT_RESET, PORT_BDP };

static uint32_t port_read(struct pcnet *pcnet, enum port port)
{
	switch (port) {
	case PORT_RDP:
		return csr_read(pcnet, pcnet->rap);
	case PORT_RAP:
		return pcnet->rap;
	case PORT_RESET:
		soft_reset(pcnet);
		return 0;
	default:
		return bcr_read(pcnet, pcnet->rap);
	}
}

static void port_write(struct pcnet *pcnet, enum port port, uint16_t value)
{
	if (port == PORT_RDP)
		csr_write(pcnet, pcnet->rap, value);
	else if (port == PORT_RAP)
		pcnet->rap = value & 0x7f;
	else if (port == PORT_BDP)
		bcr_write(pcnet, pcnet->rap, value);
}

static uint64_t region_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pcnet *pcnet = opaque;
	unsigned width = pcnet->wide_ports ? 4 : 2;
	uint32_t value = UINT32_MAX;

	pthread_mutex_lock(&pcnet->nic.lock);
	if (offset < PORT_DATA) {
		value = 0;
		memcpy(&value, pcnet->prom + offset, min_u64(size, PORT_DATA - offset));
	} else if (size == width && (offset - PORT_DATA) % width == 0 && (offset - PORT_DATA) / width < 4) {
		value = port_read(pcnet, (enum port)((offset - PORT_DATA) / width));
	}
	pthread_mutex_unlock(&pcnet->nic.lock);
	return value;
}

static void region_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pcnet *pcnet = opaque;
	unsigned width;

	pthread_mutex_lock(&pcnet->nic.lock);
	if (offset == PORT_DATA && size == 4 && !pcnet->wide_ports) {
		pcnet->wide_ports = true;
		pcnet->bcr[BCR_BURST] |= 1 << 7;
	}
	width = pcnet->wide_ports ? 4 : 2;
	if (offset >= PORT_DATA && size == width && (offset - PORT_DATA) % width == 0 &&
	    (offset - PORT_DATA) / width < 4)
		port_write(pcnet, (enum port)((offset - PORT_DATA) / width), (uint16_t)value);
	pthread_mutex_unlock(&pcnet->nic.lock);
}

static const struct region_ops region_ops = {
	.read = region_read, .write = region_write, .min_width = 1, .max_width = 4};

/* --- life --- */

/* The chip reports no interrupt for it; drivers look at BCR4. */
static void link_changed(struct nic *nic, bool up)
{
}

static const struct nic_ops nic_ops = {
	.transmit = pcnet_transmit,
	.receive = pcnet_receive,
	.link_changed = link_changed,
};

static void reset(struct device *device)
{
	struct pcnet *pcnet = (struct pcnet *)device;

	pthread_mutex_lock(&pcnet->nic.lock);
	pcnet->irq_asserted = false;
	hard_reset(pcnet);
	pthread_mutex_unlock(&pcnet->nic.lock);
}

static int init(struct device *device, struct error *err)
{
	struct pcnet *pcnet = (struct pcnet *)device;
	int result = pci_bar_add(&pcnet->pci, 0, PCI_BAR_IO, "pcnet-io", &region_ops, pcnet, PORTS, err);

	if (!result)
		result = pci_bar_add(&pcnet->pci, 1, PCI_BAR_MEM32, "pcnet-mmio", &region_ops, pcnet, PORTS, err);
	return result ? result : nic_init(&pcnet->nic, device, &nic_ops, err);
}

static void fini(struct device *device)
{
	struct pcnet *pcnet = (struct pcnet *)device;

	pci_unmap(&pcnet->pci);
	nic_fini(&pcnet->nic);
}

static int check_state(const void *staged, struct error *err)
{
	const struct pcnet *pcnet = staged;

	if (pcnet->rx_count > PCNET_RING_MAX || pcnet->tx_count > PCNET_RING_MAX ||
	    (pcnet->rx_index && pcnet->rx_index >= pcnet->rx_count) ||
	    (pcnet->tx_index && pcnet->tx_index >= pcnet->tx_count))
		return error_set(err, EINVAL, "pcnet: a descriptor beyond the end of its ring");
	if ((pcnet->bcr[BCR_STYLE] & 0xff) > 3 || pcnet->rap > 0x7f)
		return error_set(err, EINVAL, "pcnet: a register with a value that it cannot have");
	return 0;
}

static void after_load(void *object)
{
	struct pcnet *pcnet = object;

	nic_kick(&pcnet->nic, NIC_KICK_TRANSMIT | NIC_KICK_RECEIVE);
}

static const struct state_field fields[] = {
	STATE_SUB(pci_device_state, struct pcnet, pci, 1),
	STATE_FIELD_N(STATE_U16, struct pcnet, csr, PCNET_CSRS),
	STATE_FIELD_N(STATE_U16, struct pcnet, bcr, PCNET_BCRS),
	STATE_FIELD(STATE_U16, struct pcnet, rap),
	STATE_FIELD_N(STATE_BYTES, struct pcnet, prom, 16),
	STATE_FIELD(STATE_BOOL, struct pcnet, wide_ports),
	STATE_FIELD(STATE_BOOL, struct pcnet, irq_asserted),
	STATE_FIELD(STATE_U32, struct pcnet, rx_base),
	STATE_FIELD(STATE_U32, struct pcnet, tx_base),
	STATE_FIELD(STATE_U32, struct pcnet, rx_count),
	STATE_FIELD(STATE_U32, struct pcnet, tx_count),
	STATE_FIELD(STATE_U32, struct pcnet, rx_index),
	STATE_FIELD(STATE_U32, struct pcnet, tx_index),
	STATE_END,
};

static const struct state_table state = {
	.name = "pcnet",
	.version = 1,
	.size = sizeof(struct pcnet),
	.fields = fields,
	.check = check_state,
	.after_load = after_load,
};

static const struct property properties[] = {
	NIC_PROPERTIES(struct pcnet, nic),
	PCI_ROMFILE_PROPERTY(struct pcnet, pci, "efi-pcnet.rom"),
	{.name = NULL},
};

static const struct pci_class pci_constants = {
	.vendor = 0x1022,
	.device = 0x2000,
	.class_code = 0x020000,
	.revision = 0x10,
	.interrupt_pin = 1,
};

const struct device_class pcnet_class = {
	.name = "pcnet",
	.help = "AMD PCnet-PCI II (Am79C970A)",
	.bus = DEVICE_PCI,
	.size = sizeof(struct pcnet),
	.properties = properties,
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
	.bus_class = &pci_constants,
};
