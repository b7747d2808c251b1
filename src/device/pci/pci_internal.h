/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of device/pci share and no device needs. */
#ifndef XUNI_DEVICE_PCI_INTERNAL_H
#define XUNI_DEVICE_PCI_INTERNAL_H

#include "device/pci/pci.h"

#include <pthread.h>
#include <stdatomic.h>

/* Configuration space registers (PCI 3.0 chapter 6). */
enum {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_CLASS = 0x09,
	PCI_CACHE_LINE = 0x0c,
	PCI_LATENCY = 0x0d,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR = 0x2c,
	PCI_SUBSYSTEM = 0x2e,
	PCI_ROM = 0x30,
	PCI_CAPABILITIES = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_INTERRUPT_PIN = 0x3d,
	PCI_HEADER_END = 0x40,
};

enum {
	PCI_COMMAND_IO = 1 << 0,
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_COMMAND_PARITY = 1 << 6,
	PCI_COMMAND_SERR = 1 << 8,
	PCI_COMMAND_INTX_OFF = 1 << 10,
	PCI_STATUS_INTX = 1 << 3,
	PCI_STATUS_CAPABILITIES = 1 << 4,
};

enum { PCI_CAP_MSIX = 0x11 };

struct pci_doorbell {
	struct pci_doorbell *next;
	unsigned bar;
	struct doorbell relative;
	struct doorbell absolute; /* as the bus has it while `rung_by_bus` */
	bool rung_by_bus;
};

struct pci_bus {
	const struct device_env *env;
	struct irq intx[4];
	pthread_mutex_t lock;      /* configuration spaces, `functions` */
	pthread_mutex_t irq_lock;  /* intx_count, intx_level; after every device's own lock */
	/* A mapping pass is run by one thread at a time without any lock; others only ask for one more pass. */
	atomic_uint map_requests;
	pthread_mutex_t doorbell_lock; /* doorbell lists; no callback takes it */
	struct pci_device *functions[256];
	unsigned intx_count[4];
	uint32_t address;          /* 0xcf8; atomic */
	struct region address_region, data_region;
	uint8_t (*reset_read)(void *opaque);
	void (*reset_write)(void *opaque, uint8_t value);
	void *reset_opaque;
};

uint16_t pci_get16(const struct pci_device *pci, unsigned offset);
uint32_t pci_get32(const struct pci_device *pci, unsigned offset);
void pci_set16(struct pci_device *pci, unsigned offset, uint16_t value);
void pci_set32(struct pci_device *pci, unsigned offset, uint32_t value);

/* The command register, in any thread. */
static inline uint16_t pci_command(const struct pci_device *pci)
{
	return __atomic_load_n(&pci->command, __ATOMIC_RELAXED);
}

/* Brings the bus' regions in line with BARs and command registers. No lock held. */
void pci_map_update(struct pci_bus *bus);

/* Reads romfile= into the expansion ROM. */
int pci_romfile_load(struct pci_device *pci, struct error *err);
/* Once the configuration space is complete: makes the ROM the function's. */
void pci_rom_patch_ids(struct pci_device *pci);

/* The INTx disable bit changed or the level was restored. */
void pci_intx_config_changed(struct pci_device *pci);
/* The MSI-X capability was written or restored: enable and function mask bits. Configuration lock held or not. */
void pci_msix_config_changed(struct pci_device *pci);
void pci_msix_reset(struct pci_device *pci);

#endif
