/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers of an AHCI port (AHCI 1.3.1, 3.3). What they start is in ahci_list.c. Left out: port multipliers, power
 * management.
 */
#include "device/storage/ahci.h"

#include "base/util.h"

enum {
	PORT_CLB = 0x00,
	PORT_CLBU = 0x04,
	PORT_FB = 0x08,
	PORT_FBU = 0x0c,
	PORT_IS = 0x10,
	PORT_IE = 0x14,
	PORT_CMD = 0x18,
	PORT_TFD = 0x20,
	PORT_SIG = 0x24,
	PORT_SSTS = 0x28,
	PORT_SCTL = 0x2c,
	PORT_SERR = 0x30,
	PORT_SACT = 0x34,
	PORT_CI = 0x38
};
enum { COMMAND_WRITABLE = 0xf3000013 };

static uint32_t task_file(const struct ata_drive *drive)
{
	return drive ? drive->regs.status | (uint32_t)drive->regs.error << 8 : 0x7f;
}

uint32_t ahci_port_read(struct ahci_port *port, unsigned offset)
{
	const struct ata_drive *drive = ahci_port_drive(port);

	switch (offset) {
	case PORT_CLB:
		return (uint32_t)port->list_gpa;
	case PORT_CLBU:
		return (uint32_t)(port->list_gpa >> 32);
	case PORT_FB:
		return (uint32_t)port->fis_gpa;
	case PORT_FBU:
		return (uint32_t)(port->fis_gpa >> 32);
	case PORT_IS:
		return port->status;
	case PORT_IE:
		return port->enable;
	case PORT_CMD:
		/* It runs on until the disk has nothing of it any more. */
		return port->command | (port->command & AHCI_CMD_FIS ? AHCI_CMD_FIS_RUNNING : 0) |
		       (port->command & AHCI_CMD_START || (drive && drive->outside) ? AHCI_CMD_RUNNING : 0) |
		       (drive && drive->cd ? AHCI_CMD_ATAPI : 0) | 6;
	case PORT_TFD:
		return task_file(drive);
	case PORT_SIG:
		return !drive ? UINT32_MAX : drive->cd ? 0xeb140101 : 0x101;
	case PORT_SSTS:
		return drive ? 0x113 : 0; /* present, first generation, active */
	case PORT_SCTL:
		return port->control;
	case PORT_SERR:
		return port->error;
	case PORT_SACT:
		return port->active;
	case PORT_CI:
		return port->issued;
	default:
		return 0;
	}
}

static void set_half(uint64_t *gpa, bool high, uint32_t value)
{
	*gpa = high ? (*gpa & 0xffffffff) | (uint64_t)value << 32 : (*gpa & ~0xffffffffull) | value;
}

static void command_write(struct ahci_port *port, uint32_t value)
{
	uint32_t old = port->command;

	port->command = value & COMMAND_WRITABLE;
	if (old & ~value & AHCI_CMD_START) {
		port->issued = port->active = 0;
		port->halted = false;
		if (port->slot >= 0)
			port->slot = -1;
	}
	if (~old & value & AHCI_CMD_FIS && ahci_port_drive(port))
		ahci_port_post_registers(port, ahci_port_drive(port), false);
	ahci_port_issue(port);
}

/* DET 1: the link is reset until it goes back to 0. */
static void control_write(struct ahci_port *port, uint32_t value)
{
	struct ata_drive *drive = ahci_port_drive(port);
	bool was = (port->control & 15) == 1, is = (value & 15) == 1;

	port->control = value & 0xfff;
	if (!was || is || !drive)
		return;
	port->issued = port->active = 0;
	port->slot = -1;
	ata_reset(drive);
	ahci_port_post_registers(port, drive, false);
}

void ahci_port_write(struct ahci_port *port, unsigned offset, uint32_t value)
{
	switch (offset) {
	case PORT_CLB:
		set_half(&port->list_gpa, false, value & ~1023u);
		break;
	case PORT_CLBU:
		set_half(&port->list_gpa, true, value);
		break;
	case PORT_FB:
		set_half(&port->fis_gpa, false, value & ~255u);
		break;
	case PORT_FBU:
		set_half(&port->fis_gpa, true, value);
		break;
	case PORT_IS:
		port->status &= ~value;
		ahci_port_interrupt(port);
		break;
	case PORT_IE:
		port->enable = value & 0xfdc000ff;
		ahci_port_interrupt(port);
		break;
	case PORT_CMD:
		command_write(port, value);
		break;
	case PORT_SCTL:
		control_write(port, value);
		break;
	case PORT_SERR:
		port->error &= ~value;
		break;
	case PORT_SACT:
		if (port->command & AHCI_CMD_START)
			port->active |= value;
		break;
	case PORT_CI:
		if (port->command & AHCI_CMD_START)
			port->issued |= value;
		ahci_port_issue(port);
		break;
	}
}

void ahci_port_clear(struct ahci_port *port)
{
	port->list_gpa = port->fis_gpa = port->table_gpa = 0;
	port->status = port->enable = port->command = port->control = port->error = port->active = port->issued = 0;
	port->slot = -1;
	port->halted = false;
	ahci_port_interrupt(port);
}
