/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An AHCI host bus adapter: ahci.c (registers, the PCI function), ahci_port.c (a port's registers),
 * ahci_list.c (command lists, FISes, data). */
#ifndef XUNI_DEVICE_STORAGE_AHCI_H
#define XUNI_DEVICE_STORAGE_AHCI_H

#include "device/pci/pci.h"
#include "device/storage/ata.h"

enum { AHCI_PORTS = 6, AHCI_SLOTS = 32 };

/* Port interrupt status (AHCI 1.3.1, 3.3.5). */
enum {
	AHCI_IS_DHR = 1 << 0,
	AHCI_IS_PS = 1 << 1,
	AHCI_IS_DS = 1 << 2,
	AHCI_IS_SDB = 1 << 3,
	AHCI_IS_HBF = 1 << 29,
	AHCI_IS_TFE = 1 << 30,
};

/* Port command and status (3.3.7). */
enum {
	AHCI_CMD_START = 1 << 0,
	AHCI_CMD_CLO = 1 << 3,
	AHCI_CMD_FIS = 1 << 4,
	AHCI_CMD_FIS_RUNNING = 1 << 14,
	AHCI_CMD_RUNNING = 1 << 15,
	AHCI_CMD_ATAPI = 1 << 24,
};

struct ahci;

/* Where a slot's transfer stands in its table of physical regions. */
struct ahci_cursor {
	uint64_t table_gpa; /* of the next entry */
	uint32_t entries;   /* that are left */
	uint64_t gpa;       /* what is left of the present one */
	uint32_t bytes;
	uint32_t moved; /* in all */
};

struct ahci_port {
	struct ata_port port;
	struct ahci *ahci;
	unsigned index;
	/* state */
	uint64_t list_gpa, fis_gpa;
	uint32_t status, enable, command, control, error, active, issued;
	/* The commands that are with the drive: one that is not queued, or -1. */
	int8_t slot;
	bool issuing, halted; /* halted: by an error, until the list is started anew */
	uint64_t table_gpa;   /* of that slot's command table */
	struct ahci_cursor cursors[AHCI_SLOTS];
};

struct ahci {
	struct pci_device pci;
	pthread_mutex_t lock; /* global control and the interrupt; after a port's */
	uint32_t global;      /* GHC */
	uint32_t pending;     /* ports with an enabled interrupt */
	struct ahci_port ports[AHCI_PORTS];
};

/* ahci_list.c; under the port's lock. */
extern const struct ata_port_ops ahci_port_ops;
/* Starts what is issued and can be started. */
void ahci_port_issue(struct ahci_port *port);
/* The drive's registers go to memory, as a FIS. */
void ahci_port_post_registers(struct ahci_port *port, const struct ata_drive *drive, bool interrupt);
/* The drive, or NULL. */
static inline struct ata_drive *ahci_port_drive(const struct ahci_port *port)
{
	return port->port.drives[0];
}

/* ahci_port.c; under the port's lock. */
uint32_t ahci_port_read(struct ahci_port *port, unsigned offset);
void ahci_port_write(struct ahci_port *port, unsigned offset, uint32_t value);
/* Registers as after power-on or HBA reset; the drive is the caller's. */
void ahci_port_clear(struct ahci_port *port);
/* ahci.c: the port's status or enable register has changed. */
void ahci_port_interrupt(struct ahci_port *port);

extern const struct device_class ahci_class;

#endif
