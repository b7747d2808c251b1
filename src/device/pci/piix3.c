/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI-to-ISA bridge of Intel's PIIX3 (82371SB data sheet, 290550): function 01.0, with the PIRQ routing registers
 * (0x60-0x63) that lead the PCI interrupt wires to ISA interrupts, and the reset control register at port 0xcf9.
 * The ISA devices behind it (8259, 8254, ...) are the board's. Left out: X-bus chip selects, DMA set-up, USB and IDE.
 */
#include "device/pci/pci_internal.h"

#include "base/util.h"
#include "core/state.h"

struct piix3 {
	struct pci_device pci;
	pthread_mutex_t lock;  /* routing; after the bus' irq_lock */
	bool wires[4];         /* PIRQA#..D# as driven */
	bool isa_level[16];    /* what the PIRQs drive onto each line */
	uint8_t reset_control;
};

enum {
	PIRQ_A = 0x60,
	PIRQ_OFF = 0x80,
	RESET_CPU = 1 << 2,
	RESET_HARD = 1 << 1,
	/* ISA interrupts that a PIRQ may go to: not 0, 1, 2, 8, 13. */
	PIRQ_ALLOWED = 0xdef8,
};

static void route(struct piix3 *piix3)
{
	const struct device_env *env = piix3->pci.device.env;
	bool level[16] = {false};

	pthread_mutex_lock(&piix3->lock);
	for (unsigned i = 0; i < 4; i++) {
		uint8_t to = piix3->pci.config[PIRQ_A + i];

		if (!(to & PIRQ_OFF) && (PIRQ_ALLOWED >> (to & 15) & 1))
			level[to & 15] |= piix3->wires[i];
	}
	for (unsigned line = 0; line < 16; line++) {
		if (level[line] == piix3->isa_level[line])
			continue;
		piix3->isa_level[line] = level[line];
		irq_set(&env->isa_irq[line], level[line]);
	}
	pthread_mutex_unlock(&piix3->lock);
}

static void set_wire(void *opaque, unsigned wire, bool level)
{
	struct piix3 *piix3 = opaque;

	__atomic_store_n(&piix3->wires[wire], level, __ATOMIC_RELEASE);
	route(piix3);
}

void piix3_pirq(struct device *device, struct irq wires[4])
{
	struct piix3 *piix3 = (struct piix3 *)device;

	pthread_mutex_init(&piix3->lock, NULL);
	for (unsigned i = 0; i < 4; i++) {
		piix3->pci.config[PIRQ_A + i] = PIRQ_OFF;
		wires[i] = (struct irq){.set = set_wire, .opaque = piix3, .line = i};
	}
}

static void config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
	if (offset < PIRQ_A + 4 && offset + size > PIRQ_A)
		route((struct piix3 *)pci);
}

/* --- port 0xcf9 --- */

static uint8_t reset_read(void *opaque)
{
	return __atomic_load_n(&((struct piix3 *)opaque)->reset_control, __ATOMIC_RELAXED);
}

static void reset_write(void *opaque, uint8_t value)
{
	struct piix3 *piix3 = opaque;
	const struct device_env *env = piix3->pci.device.env;

	/* The register reads back with bit 2 clear: once it is set there is nobody to read it. */
	__atomic_store_n(&piix3->reset_control, value & RESET_HARD, __ATOMIC_RELAXED);
	if ((value & RESET_CPU) && env->request)
		env->request(env->request_opaque, MACHINE_RESET, 0);
}

static int piix3_init(struct device *device, struct error *err)
{
	struct piix3 *piix3 = (struct piix3 *)device;
	struct pci_device *pci = &piix3->pci;

	/* A bridge: it always decodes; what it decodes cannot be moved. */
	pci->config[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	pci->write_mask[PCI_COMMAND] = 0;
	pci->config[PCI_STATUS + 1] = 0x02; /* DEVSEL# medium */
	for (unsigned i = 0; i < 4; i++) {
		pci->config[PIRQ_A + i] = PIRQ_OFF;
		pci->write_mask[PIRQ_A + i] = 0x8f;
	}
	pci->config[0x4c] = 0x4d; /* I/O recovery */
	pci->config[0x4e] = 0x03;
	pci->write_mask[0x4c] = pci->write_mask[0x4e] = pci->write_mask[0x4f] = 0xff;
	pci->config[0x69] = 0x02; /* top of memory */
	pci->write_mask[0x69] = 0xfe;
	pci->config[0x70] = 0x80; /* MBIRQ0 off */
	pci->write_mask[0x70] = 0xef;
	pci_bus_reset_control(pci->bus, reset_read, reset_write, piix3);
	return 0;
}

static void piix3_reset(struct device *device)
{
	struct piix3 *piix3 = (struct piix3 *)device;

	reset_write(piix3, 0);
	route(piix3);
}

static void piix3_fini(struct device *device)
{
	struct piix3 *piix3 = (struct piix3 *)device;

	pci_bus_reset_control(piix3->pci.bus, NULL, NULL, NULL);
}

static void after_load(void *object)
{
	/* The wires are set again by the devices' own restore; the ISA lines by the interrupt controllers'. */
	route(object);
}

static const struct pci_class piix3_pci = {
        .vendor = 0x8086,
        .device = 0x7000,
        .subsystem_vendor = 0x1af4,
        .subsystem = 0x1100,
        .class_code = 0x060100,
        .fixed_devfn = 1 << 3,
        .multifunction = true,
        .config_written = config_written,
};

static const struct state_field fields[] = {
        STATE_SUB(pci_device_state, struct piix3, pci, 1),
        STATE_FIELD(STATE_U8, struct piix3, reset_control),
        STATE_END,
};
static const struct state_table state = {
        .name = "piix3",
        .version = 1,
        .size = sizeof(struct piix3),
        .fields = fields,
        .after_load = after_load,
};

const struct device_class piix3_class = {
        .name = "PIIX3",
        .help = "Intel PIIX3 PCI-to-ISA bridge",
        .bus = DEVICE_PCI,
        .internal = true,
        .size = sizeof(struct piix3),
        .state = &state,
        .init = piix3_init,
        .reset = piix3_reset,
        .fini = piix3_fini,
        .bus_class = &piix3_pci,
};
