/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command list of an AHCI port (AHCI 1.3.1, 5): takes commands from memory to the drive, moves data along the
 * regions of the command table, posts FISes to memory and raises the port's interrupts. Left out: FIS-based switching,
 * the descriptor interrupt (every command ends with an interrupt of its own).
 */
#include "device/storage/ahci.h"

#include "base/util.h"
#include "core/ram.h"

enum { FIS_PIO_SETUP_AT = 0x20, FIS_D2H_AT = 0x40, FIS_SDB_AT = 0x58 };
enum {
	FIS_H2D = 0x27,
	FIS_D2H = 0x34,
	FIS_PIO_SETUP = 0x5f,
	FIS_SDB = 0xa1,
	FIS_INTERRUPT = 1 << 6,
	FIS_TO_HOST = 1 << 5
};
enum { HEADER_BYTES = 32, COMMAND_FIS_BYTES = 64, PACKET_AT = 0x40, REGIONS_AT = 0x80, REGION_BYTES = 16 };
enum { CMD_READ_FPDMA = 0x60, CMD_WRITE_FPDMA = 0x61, FUA = 1 << 7 };
static struct ahci_port *from_port(struct ata_port *port)
{
	return container_of(port, struct ahci_port, port);
}

static void raise(struct ahci_port *port, uint32_t bits)
{
	port->status |= bits;
	ahci_port_interrupt(port);
}

/* The adapter could not reach memory. */
static void host_bus_failed(struct ahci_port *port)
{
	port->halted = true;
	raise(port, AHCI_IS_HBF);
}

/* --- FISes to the host (SATA 10.5) --- */

static void put_registers(uint8_t *fis, const struct ata_registers *regs)
{
	fis[2] = regs->status;
	fis[3] = regs->error;
	fis[4] = (uint8_t)regs->lba_low;
	fis[5] = (uint8_t)regs->lba_mid;
	fis[6] = (uint8_t)regs->lba_high;
	fis[7] = regs->device;
	fis[8] = (uint8_t)(regs->lba_low >> 8);
	fis[9] = (uint8_t)(regs->lba_mid >> 8);
	fis[10] = (uint8_t)(regs->lba_high >> 8);
	fis[12] = (uint8_t)regs->count;
	fis[13] = (uint8_t)(regs->count >> 8);
}

static void post(struct ahci_port *port, unsigned at, const uint8_t *fis, size_t bytes)
{
	if (port->command & AHCI_CMD_FIS)
		pci_dma_write(&port->ahci->pci, port->fis_gpa + at, fis, bytes);
}

void ahci_port_post_registers(struct ahci_port *port, const struct ata_drive *drive, bool interrupt)
{
	uint8_t fis[20] = {FIS_D2H, interrupt ? FIS_INTERRUPT : 0};

	put_registers(fis, &drive->regs);
	post(port, FIS_D2H_AT, fis, sizeof(fis));
}

static void post_pio_setup(struct ahci_port *port, const struct ata_drive *drive)
{
	uint32_t bytes = drive->data_end - drive->data_at;
	bool last = drive->data_end == drive->chunk_end && drive->left == drive->chunk_end;
	uint8_t fis[20] = {FIS_PIO_SETUP, FIS_INTERRUPT | (drive->writes ? 0 : FIS_TO_HOST)};

	put_registers(fis, &drive->regs);
	fis[15] = drive->writes || !last ? ATA_BSY | ATA_DRDY : ATA_DRDY | ATA_SEEK; /* what the status is afterwards */
	store_le16(fis + 16, (uint16_t)bytes);
	post(port, FIS_PIO_SETUP_AT, fis, sizeof(fis));
}

static void post_device_bits(struct ahci_port *port, uint8_t status, uint8_t error, uint32_t done)
{
	uint8_t fis[8] = {FIS_SDB, FIS_INTERRUPT, status & 0x77, error};

	store_le32(fis + 4, done);
	post(port, FIS_SDB_AT, fis, sizeof(fis));
}

/* --- memory of a command --- */

static bool next_region(struct ahci_port *port, struct ahci_cursor *cursor)
{
	uint8_t region[REGION_BYTES];

	if (!cursor->entries || pci_dma_read(&port->ahci->pci, cursor->table_gpa, region, sizeof(region)) < 0)
		return false;
	cursor->entries--;
	cursor->table_gpa += REGION_BYTES;
	cursor->gpa = load_le64(region) & ~1ull;
	cursor->bytes = (load_le32(region + 12) & 0x3fffff) + 1;
	return true;
}

static size_t add_piece(struct ahci_port *port, struct ahci_cursor *cursor, bool to_memory, size_t bytes,
			struct ata_memory *memory)
{
	const struct ram_slot *slot = ram_find(port->ahci->pci.device.env->ram, cursor->gpa);
	uint64_t length = min_u64(bytes, cursor->bytes);

	if (!slot || (slot->read_only && to_memory))
		return 0;
	length = min_u64(length, slot->gpa + slot->size - cursor->gpa);
	memory->iov[memory->count] = (struct iovec){slot->hva + (cursor->gpa - slot->gpa), length};
	memory->gpa[memory->count++] = cursor->gpa;
	cursor->gpa += length;
	cursor->bytes -= (uint32_t)length;
	cursor->moved += (uint32_t)length;
	return length;
}

static size_t map_cursor(struct ahci_port *port, struct ahci_cursor *cursor, bool to_memory, size_t bytes,
			 struct ata_memory *memory)
{
	size_t got = 0;

	memory->count = 0;
	while (got < bytes && memory->count < ATA_SEGMENTS) {
		size_t piece;

		if (!cursor->bytes && !next_region(port, cursor))
			break;
		piece = add_piece(port, cursor, to_memory, bytes - got, memory);
		if (!piece)
			break;
		got += piece;
	}
	return got;
}

static size_t on_map(struct ata_port *ata, struct ata_drive *drive, int tag, size_t bytes, struct ata_memory *memory)
{
	struct ahci_port *port = from_port(ata);
	int slot = tag >= 0 ? tag : port->slot;
	bool to_memory = tag >= 0 ? drive->queue[tag].request.io.op == BLOCK_READ : !drive->writes;

	return slot >= 0 ? map_cursor(port, &port->cursors[slot], to_memory, bytes, memory) : 0;
}

/* A block of programmed I/O goes straight to memory. Data that the host has no room for is lost. */
static void move_block(struct ahci_port *port, struct ata_drive *drive)
{
	struct ram *ram = port->ahci->pci.device.env->ram;
	uint8_t *at = ata_data(drive);
	size_t left = drive->data_end - drive->data_at;

	while (left) {
		size_t got = map_cursor(port, &port->cursors[port->slot], !drive->writes, left, &drive->memory);

		if (!got)
			return;
		for (unsigned i = 0; i < drive->memory.count; i++) {
			const struct iovec *iov = &drive->memory.iov[i];

			if (drive->writes) {
				memcpy(at, iov->iov_base, iov->iov_len);
			} else {
				memcpy(iov->iov_base, at, iov->iov_len);
				ram_written(ram, drive->memory.gpa[i], iov->iov_len);
			}
			at += iov->iov_len;
		}
		left -= got;
	}
}

/* --- what the drive tells --- */

static void on_data(struct ata_port *ata, struct ata_drive *drive, bool interrupt)
{
	struct ahci_port *port = from_port(ata);

	if (port->slot < 0) { /* the list was stopped meanwhile: the command comes to nothing */
		ata_reset(drive);
		return;
	}
	if (drive->phase == ATA_PACKET) {
		pci_dma_read(&port->ahci->pci, port->table_gpa + PACKET_AT, ata_data(drive),
			     drive->data_end - drive->data_at);
	} else {
		post_pio_setup(port, drive);
		if (interrupt)
			raise(port, AHCI_IS_PS);
		move_block(port, drive);
	}
	ata_data_done(drive);
}

static void on_dma(struct ata_port *ata, struct ata_drive *drive)
{
	ata_dma_ready(drive);
}

/* told: how the drive told of it, with a FIS of registers or of device bits. */
static void command_failed(struct ahci_port *port, uint32_t told)
{
	port->halted = true;
	raise(port, AHCI_IS_TFE | told);
}

static void on_done(struct ata_port *ata, struct ata_drive *drive, bool interrupt)
{
	struct ahci_port *port = from_port(ata);
	int slot = port->slot;

	port->slot = -1;
	if (slot >= 0 && port->issued >> slot & 1) {
		uint8_t moved[4];

		store_le32(moved, port->cursors[slot].moved);
		pci_dma_write(&port->ahci->pci, port->list_gpa + HEADER_BYTES * (unsigned)slot + 4, moved,
			      sizeof(moved));
		ahci_port_post_registers(port, drive, true);
		if (drive->regs.status & ATA_ERR) {
			command_failed(port, AHCI_IS_DHR);
		} else {
			port->issued &= ~(1u << slot);
			raise(port, AHCI_IS_DHR);
		}
	}
	ahci_port_issue(port);
}

static void on_queued_done(struct ata_port *ata, struct ata_drive *drive, unsigned tag, uint8_t error)
{
	struct ahci_port *port = from_port(ata);

	if (port->active >> tag & 1) {
		if (error) {
			drive->regs.status = ATA_DRDY | ATA_ERR;
			drive->regs.error = error;
			memset(drive->ncq_error, 0, sizeof(drive->ncq_error));
			drive->ncq_error[0] = (uint8_t)tag;
			drive->ncq_error[2] = drive->regs.status;
			drive->ncq_error[3] = error;
			post_device_bits(port, drive->regs.status, error, 0);
			command_failed(port, AHCI_IS_SDB);
		} else {
			port->active &= ~(1u << tag);
			post_device_bits(port, drive->regs.status, 0, 1u << tag);
			raise(port, AHCI_IS_SDB);
		}
	}
	ahci_port_issue(port);
}

const struct ata_port_ops ahci_port_ops = {
	.data = on_data, .dma = on_dma, .map = on_map, .done = on_done, .queued_done = on_queued_done};

/* --- commands to the drive --- */

static uint16_t pair(uint8_t low, uint8_t high)
{
	return (uint16_t)(low | high << 8);
}

static void take_registers(struct ata_registers *regs, const uint8_t *fis)
{
	regs->command = fis[2];
	regs->feature = pair(fis[3], fis[11]);
	regs->lba_low = pair(fis[4], fis[8]);
	regs->lba_mid = pair(fis[5], fis[9]);
	regs->lba_high = pair(fis[6], fis[10]);
	regs->device = fis[7];
	regs->count = pair(fis[12], fis[13]);
}

/* FPDMA: the count is in the feature registers, the tag in the count register. */
static void start_queued(struct ahci_port *port, struct ata_drive *drive, unsigned slot, const uint8_t *fis)
{
	uint64_t lba = fis[4] | (uint64_t)fis[5] << 8 | (uint64_t)fis[6] << 16 | (uint64_t)fis[8] << 24 |
		       (uint64_t)fis[9] << 32 | (uint64_t)fis[10] << 40;
	uint32_t sectors = pair(fis[3], fis[11]);
	unsigned tag = fis[12] >> 3;

	port->issued &= ~(1u << slot);
	if (tag != slot || !drive->queue || !(port->active >> tag & 1) ||
	    !ata_queue(drive, tag, fis[2] == CMD_WRITE_FPDMA, lba, sectors ? sectors : 65536, fis[7] & FUA)) {
		port->active |= 1u << tag;
		on_queued_done(&port->port, drive, tag, ATA_ABRT | ATA_IDNF);
		return;
	}
	ahci_port_post_registers(port, drive, false);
}

/* A FIS that does not carry a command: software reset while SRST is set. */
static void control_fis(struct ahci_port *port, struct ata_drive *drive, unsigned slot, const uint8_t *fis)
{
	port->issued &= ~(1u << slot);
	if (fis[15] & ATA_SRST) {
		ata_reset(drive);
		return;
	}
	ahci_port_post_registers(port, drive, false);
}

static void start_slot(struct ahci_port *port, struct ata_drive *drive, unsigned slot)
{
	uint8_t header[HEADER_BYTES], fis[COMMAND_FIS_BYTES];
	uint64_t table;

	if (pci_dma_read(&port->ahci->pci, port->list_gpa + HEADER_BYTES * slot, header, sizeof(header)) < 0) {
		host_bus_failed(port);
		return;
	}
	table = load_le64(header + 8) & ~127ull;
	if (pci_dma_read(&port->ahci->pci, table, fis, sizeof(fis)) < 0) {
		host_bus_failed(port);
		return;
	}
	port->cursors[slot] = (struct ahci_cursor){.table_gpa = table + REGIONS_AT, .entries = load_le16(header + 2)};
	if (fis[0] != FIS_H2D) {
		port->issued &= ~(1u << slot);
	} else if (!(fis[1] & 0x80)) {
		control_fis(port, drive, slot, fis);
	} else if (fis[2] == CMD_READ_FPDMA || fis[2] == CMD_WRITE_FPDMA) {
		start_queued(port, drive, slot, fis);
	} else {
		take_registers(&drive->regs, fis);
		/* The transport needs no byte count: one block is as large as the buffer allows. */
		if (drive->regs.command == ATA_CMD_PACKET)
			drive->regs.lba_mid = drive->regs.lba_high = 0xff;
		port->table_gpa = table;
		port->slot = (int8_t)slot;
		ata_command(drive);
		/* DEVICE RESET ends without a word. */
		if (port->slot == (int8_t)slot && drive->phase == ATA_IDLE)
			on_done(&port->port, drive, true);
	}
}

/* Queued commands go on while others are outside; one that is not queued waits for them, and they for it. */
void ahci_port_issue(struct ahci_port *port)
{
	struct ata_drive *drive = ahci_port_drive(port);

	if (port->issuing || !drive)
		return;
	port->issuing = true;
	while (port->issued && port->command & AHCI_CMD_START && !port->halted && port->slot < 0 && !drive->resetting &&
	       drive->phase == ATA_IDLE) {
		unsigned slot = (unsigned)__builtin_ctz(port->issued);

		if (drive->outside && !(port->active >> slot & 1))
			break;
		start_slot(port, drive, slot);
	}
	port->issuing = false;
}
