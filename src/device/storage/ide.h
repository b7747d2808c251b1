/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An IDE channel: the task file (ide.c) and the bus master beside it (ide_dma.c) of two drives on one cable. */
#ifndef XUNI_DEVICE_STORAGE_IDE_H
#define XUNI_DEVICE_STORAGE_IDE_H

#include "core/bus.h"
#include "device/pci/pci.h"
#include "device/storage/ata.h"

struct ide_channel {
	struct ata_port port;
	struct pci_device *pci; /* does the bus mastering */
	struct irq irq;
	struct region command_region, control_region;
	/* state */
	uint8_t control;  /* device control register */
	uint8_t selected; /* drive */
	bool interrupt;   /* INTRQ as the drive asserts it */
	uint8_t bm_command, bm_status;
	uint32_t bm_table; /* gpa of the descriptor table */
	/* Where the transfer stands: the next descriptor, and what is left of the present one. */
	uint32_t bm_next, bm_gpa, bm_bytes;
	bool bm_last;
};

/* Fills in what does not change and starts with nothing attached; `first` is 0x1f0 or 0x170. The regions are the
 * caller's to add to the bus. */
void ide_init(struct ide_channel *channel, struct pci_device *pci, struct irq irq, uint16_t first, uint16_t control);
void ide_fini(struct ide_channel *channel);
/* Main loop, vCPUs stand still. */
void ide_power_on(struct ide_channel *channel);
void ide_drain(struct ide_channel *channel);
void ide_after_load(struct ide_channel *channel);
int ide_check(const struct ide_channel *channel, struct error *err);
extern const struct state_table ide_channel_state;

/* The channel's eight registers in the function's bus master BAR; offset 0 to 7. */
uint64_t ide_dma_read(struct ide_channel *channel, unsigned offset);
void ide_dma_write(struct ide_channel *channel, unsigned offset, uint8_t value);

/* --- ide_dma.c for ide.c --- */
void ide_dma_wanted(struct ide_channel *channel, struct ata_drive *drive);
size_t ide_dma_map(struct ide_channel *channel, struct ata_drive *drive, size_t bytes, struct ata_memory *memory);
void ide_dma_ended(struct ide_channel *channel, const struct ata_drive *drive);
void ide_dma_interrupt(struct ide_channel *channel);

#endif
