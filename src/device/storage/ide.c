/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The task file of an IDE channel (ATA/ATAPI-6 chapters 7 and 9): registers of two drives behind eight ports and one
 * more for control and alternate status. Writes reach both drives, reads come from the selected one.
 */
#include "device/storage/ide.h"

#include "base/util.h"
#include "core/state.h"

enum { REG_DATA, REG_FEATURE, REG_COUNT, REG_LBA_LOW, REG_LBA_MID, REG_LBA_HIGH, REG_DEVICE, REG_COMMAND };

static struct ide_channel *from_port(struct ata_port *port)
{
	return container_of(port, struct ide_channel, port);
}

static struct ata_drive *selected(const struct ide_channel *channel)
{
	return channel->port.drives[channel->selected];
}

/* --- the interrupt: INTRQ of the selected drive, unless nIEN --- */

static void drive_irq(struct ide_channel *channel)
{
	irq_set(&channel->irq, channel->interrupt && !(channel->control & ATA_NIEN));
}

static void raise(struct ide_channel *channel, const struct ata_drive *drive)
{
	if (drive != selected(channel))
		return;
	channel->interrupt = true;
	if (!(channel->control & ATA_NIEN))
		ide_dma_interrupt(channel);
	drive_irq(channel);
}

static void lower(struct ide_channel *channel)
{
	channel->interrupt = false;
	drive_irq(channel);
}

/* --- what drives tell (ata_port_ops) --- */

static void on_data(struct ata_port *port, struct ata_drive *drive, bool interrupt)
{
	uint32_t bytes = drive->data_end - drive->data_at;

	if (drive->regs.command == ATA_CMD_PACKET && drive->phase != ATA_PACKET) {
		drive->regs.lba_mid = bytes & 255;
		drive->regs.lba_high = bytes >> 8 & 255;
	}
	if (interrupt)
		raise(from_port(port), drive);
}

static void on_dma(struct ata_port *port, struct ata_drive *drive)
{
	ide_dma_wanted(from_port(port), drive);
}

static size_t on_map(struct ata_port *port, struct ata_drive *drive, int tag, size_t bytes, struct ata_memory *memory)
{
	return ide_dma_map(from_port(port), drive, bytes, memory);
}

static void on_done(struct ata_port *port, struct ata_drive *drive, bool interrupt)
{
	ide_dma_ended(from_port(port), drive);
	if (interrupt)
		raise(from_port(port), drive);
}

static const struct ata_port_ops port_ops = {.data = on_data, .dma = on_dma, .map = on_map, .done = on_done};

/* --- data --- */

static void advance(struct ata_drive *drive, unsigned bytes)
{
	drive->data_at += bytes;
	if (drive->data_at >= drive->data_end) {
		drive->data_at = drive->data_end;
		ata_data_done(drive);
	}
}

/* The selected drive when it gives (takes) data now, or NULL. */
static struct ata_drive *data_drive(struct ide_channel *channel, bool gives)
{
	struct ata_drive *drive = selected(channel);

	if (!drive)
		return NULL;
	if (gives)
		return drive->phase == ATA_DATA_IN ? drive : NULL;
	return drive->phase == ATA_DATA_OUT || drive->phase == ATA_PACKET ? drive : NULL;
}

static uint32_t data_read(struct ide_channel *channel, unsigned size)
{
	struct ata_drive *drive = data_drive(channel, true);
	uint32_t value = 0;

	if (!drive)
		return 0;
	memcpy(&value, ata_data(drive), min_u64(size, drive->data_end - drive->data_at));
	advance(drive, size);
	return value;
}

static void data_write(struct ide_channel *channel, uint32_t value, unsigned size)
{
	struct ata_drive *drive = data_drive(channel, false);

	if (!drive)
		return;
	memcpy(ata_data(drive), &value, min_u64(size, drive->data_end - drive->data_at));
	advance(drive, size);
}

/* Whole words of what the block still has; its last byte may end the phase. */
static size_t run_of(const struct ata_drive *drive, unsigned size, size_t count)
{
	return min_u64(count, (drive->data_end - drive->data_at) / size);
}

static size_t data_read_run(void *opaque, uint64_t offset, void *to, unsigned size, size_t count)
{
	struct ide_channel *channel = opaque;
	struct ata_drive *drive;
	size_t done = 0;

	if (offset != REG_DATA)
		return 0;
	pthread_mutex_lock(&channel->port.lock);
	drive = data_drive(channel, true);
	if (drive)
		done = run_of(drive, size, count);
	if (done) {
		memcpy(to, ata_data(drive), done * size);
		advance(drive, (unsigned)(done * size));
	}
	pthread_mutex_unlock(&channel->port.lock);
	return done;
}

static size_t data_write_run(void *opaque, uint64_t offset, const void *from, unsigned size, size_t count)
{
	struct ide_channel *channel = opaque;
	struct ata_drive *drive;
	size_t done = 0;

	if (offset != REG_DATA)
		return 0;
	pthread_mutex_lock(&channel->port.lock);
	drive = data_drive(channel, false);
	if (drive)
		done = run_of(drive, size, count);
	if (done) {
		memcpy(ata_data(drive), from, done * size);
		advance(drive, (unsigned)(done * size));
	}
	pthread_mutex_unlock(&channel->port.lock);
	return done;
}

/* --- reading --- */

static uint8_t pick(const struct ide_channel *channel, uint16_t reg)
{
	return (uint8_t)(channel->control & ATA_HOB ? reg >> 8 : reg);
}

/* Where no drive is all registers read 0, as in QEMU. */
static uint8_t status_read(struct ide_channel *channel)
{
	const struct ata_drive *drive = selected(channel);

	return drive ? drive->regs.status : 0;
}

static uint8_t register_read(struct ide_channel *channel, unsigned offset)
{
	const struct ata_drive *drive = selected(channel);

	if (offset == REG_COMMAND) {
		uint8_t status = status_read(channel);

		lower(channel);
		return status;
	}
	if (!drive)
		return 0;
	switch (offset) {
	case REG_FEATURE:
		return channel->control & ATA_HOB ? (uint8_t)(drive->regs.feature >> 8) : drive->regs.error;
	case REG_COUNT:
		return pick(channel, drive->regs.count);
	case REG_LBA_LOW:
		return pick(channel, drive->regs.lba_low);
	case REG_LBA_MID:
		return pick(channel, drive->regs.lba_mid);
	case REG_LBA_HIGH:
		return pick(channel, drive->regs.lba_high);
	default:
		return drive->regs.device | 0xa0;
	}
}

static uint64_t command_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ide_channel *channel = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&channel->port.lock);
	if (offset == REG_DATA)
		value = data_read(channel, size);
	else
		for (unsigned i = 0; i < size && offset + i <= REG_COMMAND; i++)
			value |= (uint64_t)register_read(channel, (unsigned)offset + i) << 8 * i;
	pthread_mutex_unlock(&channel->port.lock);
	return value;
}

/* --- writing --- */

static void push(uint16_t *reg, uint8_t value)
{
	*reg = (uint16_t)(*reg << 8 | value);
}

static void parameter_write(struct ata_registers *regs, unsigned offset, uint8_t value)
{
	switch (offset) {
	case REG_FEATURE:
		push(&regs->feature, value);
		break;
	case REG_COUNT:
		push(&regs->count, value);
		break;
	case REG_LBA_LOW:
		push(&regs->lba_low, value);
		break;
	case REG_LBA_MID:
		push(&regs->lba_mid, value);
		break;
	case REG_LBA_HIGH:
		push(&regs->lba_high, value);
		break;
	case REG_DEVICE:
		regs->device = value & 0x5f;
		break;
	}
}

static bool busy(const struct ata_drive *drive)
{
	return drive->regs.status & (ATA_BSY | ATA_DRQ);
}

/* EXECUTE DEVICE DIAGNOSTIC is for both drives, and the first answers. */
static void diagnose(struct ide_channel *channel)
{
	for (unsigned i = 0; i < 2; i++)
		if (channel->port.drives[i] && channel->selected != i)
			ata_signature(channel->port.drives[i]);
	channel->selected = 0;
}

static void command_write(struct ide_channel *channel, uint8_t value)
{
	struct ata_drive *drive = selected(channel);

	lower(channel);
	if (!drive || channel->control & ATA_SRST)
		return;
	/* DEVICE RESET ends what a packet device does; other commands wait. */
	if (value == 0x08 && drive->cd && !drive->resetting) {
		ata_reset(drive);
		return;
	}
	if (busy(drive) || drive->outside)
		return;
	drive->regs.command = value;
	ata_command(drive);
	if (value == ATA_CMD_DIAGNOSTIC)
		diagnose(channel);
}

static void register_write(struct ide_channel *channel, unsigned offset, uint8_t value)
{
	if (offset == REG_COMMAND) {
		command_write(channel, value);
		return;
	}
	channel->control &= (uint8_t)~ATA_HOB;
	for (unsigned i = 0; i < 2; i++)
		if (channel->port.drives[i] && !busy(channel->port.drives[i]))
			parameter_write(&channel->port.drives[i]->regs, offset, value);
	if (offset == REG_DEVICE && channel->selected != (value & ATA_DEV) / ATA_DEV) {
		channel->selected = (value & ATA_DEV) / ATA_DEV;
		lower(channel);
	}
}

static void command_block_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ide_channel *channel = opaque;

	pthread_mutex_lock(&channel->port.lock);
	if (offset == REG_DATA)
		data_write(channel, (uint32_t)value, size);
	else
		for (unsigned i = 0; i < size && offset + i <= REG_COMMAND; i++)
			register_write(channel, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
	pthread_mutex_unlock(&channel->port.lock);
}

/* --- control: software reset while SRST is set, signatures when it goes --- */

static void software_reset(struct ide_channel *channel, bool on)
{
	for (unsigned i = 0; i < 2; i++) {
		struct ata_drive *drive = channel->port.drives[i];

		if (drive && on) {
			ata_reset(drive);
			drive->regs.status |= ATA_BSY;
		} else if (drive && !drive->resetting) {
			ata_signature(drive);
		}
	}
	channel->selected = 0;
	lower(channel);
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ide_channel *channel = opaque;
	uint8_t status;

	pthread_mutex_lock(&channel->port.lock);
	status = status_read(channel);
	pthread_mutex_unlock(&channel->port.lock);
	return status;
}

static void control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ide_channel *channel = opaque;
	uint8_t old;

	pthread_mutex_lock(&channel->port.lock);
	old = channel->control;
	channel->control = (uint8_t)value & (ATA_HOB | ATA_SRST | ATA_NIEN);
	if ((old ^ channel->control) & ATA_SRST)
		software_reset(channel, channel->control & ATA_SRST);
	drive_irq(channel);
	pthread_mutex_unlock(&channel->port.lock);
}

static const struct region_ops command_ops = {.read = command_read,
					      .write = command_block_write,
					      .read_run = data_read_run,
					      .write_run = data_write_run,
					      .min_width = 1,
					      .max_width = 4};
static const struct region_ops control_ops = {
	.read = control_read, .write = control_write, .min_width = 1, .max_width = 1};

/* --- life --- */

void ide_init(struct ide_channel *channel, struct pci_device *pci, struct irq irq, uint16_t first, uint16_t control)
{
	pthread_mutex_init(&channel->port.lock, NULL);
	channel->port.ops = &port_ops;
	channel->port.units = 2;
	channel->pci = pci;
	channel->irq = irq;
	channel->command_region =
		(struct region){.name = "ide", .ops = &command_ops, .opaque = channel, .base = first, .size = 8};
	channel->control_region =
		(struct region){.name = "ide", .ops = &control_ops, .opaque = channel, .base = control, .size = 1};
}

void ide_fini(struct ide_channel *channel)
{
	pthread_mutex_destroy(&channel->port.lock);
}

void ide_drain(struct ide_channel *channel)
{
	for (unsigned i = 0; i < 2; i++)
		if (channel->port.drives[i])
			ata_drain(channel->port.drives[i]);
}

void ide_power_on(struct ide_channel *channel)
{
	for (unsigned i = 0; i < 2; i++)
		if (channel->port.drives[i])
			ata_power_on(channel->port.drives[i]);
	pthread_mutex_lock(&channel->port.lock);
	channel->control = channel->selected = channel->bm_command = channel->bm_status = 0;
	channel->bm_table = channel->bm_next = channel->bm_gpa = channel->bm_bytes = 0;
	channel->bm_last = false;
	lower(channel);
	pthread_mutex_unlock(&channel->port.lock);
}

void ide_after_load(struct ide_channel *channel)
{
	drive_irq(channel);
}

int ide_check(const struct ide_channel *channel, struct error *err)
{
	if (channel->selected > 1 || channel->bm_bytes > 65536)
		return error_set(err, EINVAL, "an IDE channel with drive %u selected", channel->selected);
	return 0;
}

static const struct state_field fields[] = {
	STATE_FIELD(STATE_U8, struct ide_channel, control),
	STATE_FIELD(STATE_U8, struct ide_channel, selected),
	STATE_FIELD(STATE_BOOL, struct ide_channel, interrupt),
	STATE_FIELD(STATE_U8, struct ide_channel, bm_command),
	STATE_FIELD(STATE_U8, struct ide_channel, bm_status),
	STATE_FIELD(STATE_U32, struct ide_channel, bm_table),
	STATE_FIELD(STATE_U32, struct ide_channel, bm_next),
	STATE_FIELD(STATE_U32, struct ide_channel, bm_gpa),
	STATE_FIELD(STATE_U32, struct ide_channel, bm_bytes),
	STATE_FIELD(STATE_BOOL, struct ide_channel, bm_last),
	STATE_END,
};
const struct state_table ide_channel_state = {
	.name = "ide-channel", .version = 1, .size = sizeof(struct ide_channel), .fields = fields};
