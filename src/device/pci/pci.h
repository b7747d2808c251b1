/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI functions (PCI Local Bus 3.0; PCI Express only as far as its extended capabilities are not needed on an i440FX).
 * A PCI device's structure begins with struct pci_device; its class' bus_class points to a struct pci_class.
 */
#ifndef XUNI_DEVICE_PCI_PCI_H
#define XUNI_DEVICE_PCI_PCI_H

#include "core/bus.h"
#include "core/device.h"
#include "core/ram.h"

struct pci_bus;
struct pci_device;

struct pci_class {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: class, subclass, interface */
	uint8_t revision;
	uint8_t interrupt_pin; /* 0 none, 1 INTA... */
	uint8_t fixed_devfn;   /* for functions that a board puts in a certain place; 0: where addr= says or next free */
	bool multifunction;
	/* After the common code handled a configuration write; may be NULL. */
	void (*config_written)(struct pci_device *pci, unsigned offset, unsigned size);
	/* Overrides for a read whose value is computed; may be NULL. Returns false: take config[]. */
	bool (*config_read)(struct pci_device *pci, unsigned offset, unsigned size, uint32_t *value);
};

enum pci_bar_kind { PCI_BAR_IO = 1, PCI_BAR_MEM32 = 0, PCI_BAR_MEM64 = 4, PCI_BAR_PREFETCH = 8 };

struct pci_bar {
	struct region region; /* base set by the guest */
	uint8_t kind;
	bool present, mapped;
	const struct region_ops *ops; /* the device's; the region's own stand before them */
	void *opaque;
	struct region_ops guarded_ops;
	struct ram_window window; /* a BAR that is memory: the way around the region; block NULL: it is registers */
};

/* Vectors of one function; what MSI-X allows (2048) is more than a device here uses. */
#define PCI_MSIX_MAX 256

/* What a guest wrote into the MSI-X table, as it is saved. */
struct pci_msix_table {
	uint32_t entries[PCI_MSIX_MAX * 4]; /* address, address above 4 GiB, data, vector control */
	uint64_t pending[PCI_MSIX_MAX / 64];
};

struct pci_msix;
struct pci_doorbell;

struct pci_device {
	struct device device;
	struct pci_bus *bus;
	uint8_t devfn;
	char *addr;              /* property addr=SLOT[.FN] (hex), NULL: next free */
	uint8_t config[256];
	uint8_t write_mask[256]; /* bits the guest may change */
	uint8_t clear_mask[256]; /* bits the guest clears by writing 1 */
	uint8_t capability_end;  /* next free capability offset */
	struct pci_bar bars[6];
	struct pci_bar rom;
	struct pci_msix *msix;
	struct pci_msix_table msix_table;
	uint16_t command;        /* atomic copy of the command register, for readers without the bus' lock */
	bool intx_level;         /* as the device drives it */
	bool intx_wire_level;    /* as the bus counts it: with the disable bit */
	bool multifunction; /* properties */
	uint32_t rombar;
	char *romfile;           /* property; NULL or "": none */
	uint8_t initial[256];    /* config[] at the end of init, for reset and to check what is restored */
	bool initial_valid;
	struct pci_doorbell *doorbells;
};

/* For the properties of a class that has an option ROM by default; MEMBER is the struct pci_device. Where the file is not
 * installed the device goes without, unless romfile= was said. */
#define PCI_ROMFILE_PROPERTY(TYPE, MEMBER, FILE)                                                                       \
	{                                                                                                              \
		.name = "romfile", .type = PROPERTY_STRING, .offset = offsetof(TYPE, MEMBER.romfile),                 \
		.fallback = FILE, .help = "file with an option ROM"                                                    \
	}

/* For device_env.bus_ops[DEVICE_PCI]: properties addr, multifunction, rombar, romfile; attach, detach, reset. */
extern const struct device_bus_ops pci_device_bus_ops;
/* For every PCI device's state table: STATE_SUB(pci_device_state, struct MODEL, pci, 1) as its first row. */
extern const struct state_table pci_device_state;

/* In init: fills vendor, class, header and interrupt pin from bus_class and takes a slot. Called by device_create's
 * PCI hook before class->init, so a device's own init starts with a ready configuration space. */
int pci_device_attach(struct pci_device *pci, struct pci_bus *bus, struct error *err);
void pci_device_detach(struct pci_device *pci);
/* First thing in fini: takes the function's regions and doorbells off the buses, so that no callback comes any more. */
void pci_unmap(struct pci_device *pci);
/* Power-on values of command, status, BARs, MSI-X. */
void pci_device_reset(struct pci_device *pci);

/* Declares BAR n; size a power of two. For MEM64 the next BAR is consumed. In init only. */
int pci_bar_add(struct pci_device *pci, unsigned n, uint8_t kind, const char *name, const struct region_ops *ops,
                void *opaque, uint64_t size, struct error *err);
/* BAR n is memory that guests read and write without the device's help (video memory): all of a block, whose size is a
 * power of two of at least a page. The block stays the caller's. In init. */
int pci_bar_add_memory(struct pci_device *pci, unsigned n, uint8_t kind, struct ram_block *block, struct error *err);
/* An expansion ROM with a copy of data; what romfile= does. In init. */
int pci_rom_add(struct pci_device *pci, const void *data, size_t bytes, struct error *err);
/* A doorbell (core/bus.h) inside BAR `bar`; it follows the BAR as the guest moves it. Any thread but not under a lock
 * that a region callback takes. remove: same bar, offset and event_fd. */
void pci_doorbell_add(struct pci_device *pci, unsigned bar, const struct doorbell *relative);
void pci_doorbell_remove(struct pci_device *pci, unsigned bar, const struct doorbell *relative);
/* Reserves `size` bytes for a capability, links it, returns its offset. In init only. */
int pci_capability_add(struct pci_device *pci, uint8_t id, uint8_t size, struct error *err);

/* INTx; level triggered; honours the command register's disable bit. Any thread. */
void pci_intx(struct pci_device *pci, bool level);

/* MSI-X with table and PBA in BAR `bar` (a 4 KiB multiple, exclusively). In init. */
int pci_msix_init(struct pci_device *pci, unsigned vectors, unsigned bar, struct error *err);
void pci_msix_fini(struct pci_device *pci);
bool pci_msix_enabled(const struct pci_device *pci);
unsigned pci_msix_vectors(const struct pci_device *pci);
/* Raises a vector (pending if masked). Any thread, no lock of the caller's needed. */
void pci_msix_notify(struct pci_device *pci, unsigned vector);
/* An eventfd that raises the vector when written, through irqfd where the engine has it, else NULL-op -1: then call
 * pci_msix_notify. Owned by the PCI layer; follows masking and table changes. */
int pci_msix_eventfd(struct pci_device *pci, unsigned vector);

/* Bus master access, honouring the command register's bus master bit: -EFAULT for what is not RAM. */
int pci_dma_read(struct pci_device *pci, uint64_t gpa, void *to, size_t length);
int pci_dma_write(struct pci_device *pci, uint64_t gpa, const void *from, size_t length);

/* Which of the four wires INTA#..INTD# (pin 1..4) of a slot of the root bus reaches; the same as in QEMU's "pc", for
 * firmware and ACPI tables. */
static inline unsigned pci_intx_wire(unsigned slot, unsigned pin)
{
	return (slot + pin - 2) & 3;
}

/* The root bus: configuration mechanism #1 at 0xcf8/0xcfc on env->io; INTx goes to intx[pci_intx_wire()]. */
struct pci_bus *pci_bus_new(const struct device_env *env, const struct irq intx[4]);
void pci_bus_free(struct pci_bus *bus);
/* Port 0xcf9 lies inside the address register, which only answers to 32-bit accesses; the bus hands byte accesses on. */
void pci_bus_reset_control(struct pci_bus *bus, uint8_t (*read)(void *opaque),
                           void (*write)(void *opaque, uint8_t value), void *opaque);
struct pci_device *pci_bus_device(struct pci_bus *bus, unsigned devfn);
/* First function whose class name matches, for boards and tests. */
struct pci_device *pci_bus_find(struct pci_bus *bus, const char *class_name);
/* Whether there is a VGA-compatible display. */
bool pci_bus_has_vga(struct pci_bus *bus);
uint32_t pci_config_read(struct pci_device *pci, unsigned offset, unsigned size);
void pci_config_write(struct pci_device *pci, unsigned offset, uint32_t value, unsigned size);

/*
 * The board's own functions. Order in a board:
 *	piix3 = device_alloc(&piix3_class, env);
 *	piix3_pirq(piix3, wires);
 *	env->pci_bus = pci_bus_new(env, wires);
 *	device_create(&i440fx_class, ...); device_realize(piix3, ...); device_create(&piix4_pm_class, ...);
 */
extern const struct device_class i440fx_class;   /* 00.0 8086:1237 */
extern const struct device_class piix3_class;    /* 01.0 8086:7000, and port 0xcf9 */
extern const struct device_class piix4_pm_class; /* 01.3 8086:7113 */
/* What is seen at 0xe0000 while PAM registers do not say RAM: the last 128 KiB of firmware, or nothing. Before reset. */
void i440fx_set_firmware(struct device *i440fx, struct ram_block *firmware);
/* PAM registers as firmware leaves them: all of 0xc0000-0xfffff is RAM. */
void i440fx_shadow_all(struct device *i440fx);
extern const struct device_class i6300esb_class, pvpanic_pci_class;
/* All of the above and what -device offers of plain PCI; NULL-ended. */
extern const struct device_class *const device_classes_pci[];

/* PIRQA..D of an allocated, not yet realized piix3: the wires for pci_bus_new. */
void piix3_pirq(struct device *piix3, struct irq wires[4]);
/* Who has the ACPI registers and is told where PIIX4's PM function puts them (0: they do not decode): at reset, and in a
 * vCPU's thread. Before realize. */
void piix4_pm_on_place(struct device *piix4_pm, void (*placed)(void *opaque, uint16_t io_base), void *opaque);
/* As firmware leaves it: the registers decode at io_base. */
void piix4_pm_set_base(struct device *piix4_pm, uint16_t io_base);

#endif
