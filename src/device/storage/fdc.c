/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy disk controller of a PC (Intel 82078, 290468; 8272A for what BIOSes use of it): its
 * registers, the interrupt, resets, what is saved. Commands are in fdc_command.c, those with data in fdc_transfer.c.
 * Everything happens at once, except what the disk takes. Left out: transfers without DMA, scans, SAVE and RESTORE,
 * drives C and D, tape.
 */
#include "device/storage/fdc.h"

#include "base/util.h"
#include "core/state.h"

enum { REG_SRA, REG_SRB, REG_DOR, REG_TDR, REG_MSR, REG_FIFO, REG_RESERVED, REG_DIR };
enum { MSR_RQM = 1 << 7, MSR_DIO = 1 << 6, MSR_BUSY = 1 << 4 };
enum { DOR_RUN = 1 << 2, DOR_DMA = 1 << 3, DOR_MOTOR = 4 };
enum { DSR_RESET = 1 << 7, DIR_CHANGED = 1 << 7 };
struct floppy *fdc_drive(const struct fdc *fdc, unsigned unit)
{
	return unit < FDC_DRIVES ? fdc->drives[unit] : NULL;
}

/* --- interrupt --- */

static void drive_irq(struct fdc *fdc)
{
	irq_set(&fdc->irq, fdc->interrupt && fdc->dor & DOR_DMA);
}

void fdc_raise(struct fdc *fdc)
{
	fdc->interrupt = true;
	drive_irq(fdc);
}

void fdc_lower(struct fdc *fdc)
{
	fdc->interrupt = false;
	drive_irq(fdc);
}

/* Hardware and software resets alike; after them the drives' ready lines are polled, which tells of all four. */
static void reset_chip(struct fdc *fdc)
{
	fdc->resetting = fdc->at_disk;
	fdc->moving = false;
	fdc->st0 = 0;
	fdc->polled = 0;
	if (!fdc->lock_config) {
		fdc->config = 0;
		fdc->pretrack = 0;
	}
	fdc_to_command(fdc);
	fdc_lower(fdc);
}

static void start_chip(struct fdc *fdc)
{
	fdc->polled = 4;
	fdc_raise(fdc);
}

/* --- registers --- */

static uint8_t main_status(const struct fdc *fdc)
{
	if (!(fdc->dor & DOR_RUN))
		return 0;
	switch (fdc->phase) {
	case FDC_COMMAND:
		return (uint8_t)(MSR_RQM | (fdc->fifo_at ? MSR_BUSY : 0));
	case FDC_RESULT:
		return MSR_RQM | MSR_DIO | MSR_BUSY;
	default:
		return MSR_BUSY;
	}
}

static uint8_t disk_changed(const struct fdc *fdc)
{
	unsigned unit = fdc->dor & 3;
	const struct floppy *floppy = fdc_drive(fdc, unit);
	bool motor = fdc->dor >> (DOR_MOTOR + unit) & 1;

	return motor && floppy && (floppy->changed || !floppy->disk.block) ? DIR_CHANGED : 0;
}

static uint8_t register_read(struct fdc *fdc, unsigned reg)
{
	switch (reg) {
	case REG_SRB:
		return (uint8_t)(0xc0 | (fdc->dor >> DOR_MOTOR & 3) | (fdc->dor & 1) << 5);
	case REG_DOR:
		return fdc->dor;
	case REG_TDR:
		return fdc->tdr;
	case REG_MSR:
		return main_status(fdc);
	case REG_FIFO:
		return fdc_result_byte(fdc);
	case REG_DIR:
		return disk_changed(fdc);
	default:
		return 0xff;
	}
}

static void set_dor(struct fdc *fdc, uint8_t value)
{
	uint8_t old = fdc->dor;

	fdc->dor = value;
	if (old & ~value & DOR_RUN)
		reset_chip(fdc);
	else if (~old & value & DOR_RUN)
		start_chip(fdc);
	drive_irq(fdc);
}

static void register_write(struct fdc *fdc, unsigned reg, uint8_t value)
{
	switch (reg) {
	case REG_DOR:
		set_dor(fdc, value);
		break;
	case REG_TDR:
		fdc->tdr = value & 3;
		break;
	case REG_MSR: /* data rate select */
		fdc->rate = value & 3;
		if (value & DSR_RESET && fdc->dor & DOR_RUN) {
			reset_chip(fdc);
			start_chip(fdc);
		}
		break;
	case REG_FIFO:
		if (fdc->dor & DOR_RUN)
			fdc_command_byte(fdc, value);
		break;
	case REG_DIR: /* configuration control */
		fdc->rate = value & 3;
		break;
	}
}

static uint64_t region_read(void *opaque, uint64_t offset, unsigned size)
{
	struct fdc *fdc = opaque;
	uint8_t value;

	pthread_mutex_lock(&fdc->lock);
	value = register_read(fdc, (unsigned)offset + 1);
	pthread_mutex_unlock(&fdc->lock);
	return value;
}

static void region_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct fdc *fdc = opaque;

	pthread_mutex_lock(&fdc->lock);
	register_write(fdc, (unsigned)offset + 1, (uint8_t)value);
	pthread_mutex_unlock(&fdc->lock);
}

static uint64_t last_read(void *opaque, uint64_t offset, unsigned size)
{
	return region_read(opaque, REG_DIR - 1, size);
}

static void last_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	region_write(opaque, REG_DIR - 1, value, size);
}

static const struct region_ops ops = {.read = region_read, .write = region_write, .min_width = 1, .max_width = 1};
static const struct region_ops last_ops = {.read = last_read, .write = last_write, .min_width = 1, .max_width = 1};

/* --- life --- */

static int init(struct device *device, struct error *err)
{
	struct fdc *fdc = (struct fdc *)device;
	const struct device_env *env = device->env;
	int rc;

	if (fdc->irq_number > 15 || fdc->dma_channel > 3 || fdc->base > 0xfff8)
		return error_set(err, EINVAL, "isa-fdc: iobase up to 0xfff8, irq up to 15, dma up to 3");
	pthread_mutex_init(&fdc->lock, NULL);
	fdc->irq = env->isa_irq[fdc->irq_number];
	fdc->regions[0] = (struct region){.name = "fdc", .ops = &ops, .opaque = fdc, .base = fdc->base + 1, .size = 5};
	fdc->regions[1] =
		(struct region){.name = "fdc", .ops = &last_ops, .opaque = fdc, .base = fdc->base + 7, .size = 1};
	rc = bus_add(env->io, &fdc->regions[0], err);
	if (rc == 0) {
		rc = bus_add(env->io, &fdc->regions[1], err);
		if (rc < 0)
			bus_remove(env->io, &fdc->regions[0]);
	}
	if (rc == 0 && env->isa_dma)
		env->isa_dma->watch(env->isa_dma->opaque, fdc->dma_channel, fdc_dma_ready, fdc);
	return rc;
}

static void drain(struct fdc *fdc)
{
	for (unsigned i = 0; i < FDC_DRIVES; i++)
		if (fdc->drives[i])
			disk_drain(&fdc->drives[i]->disk);
}

static void reset(struct device *device)
{
	struct fdc *fdc = (struct fdc *)device;

	pthread_mutex_lock(&fdc->lock);
	fdc->resetting = fdc->at_disk;
	pthread_mutex_unlock(&fdc->lock);
	drain(fdc);
	pthread_mutex_lock(&fdc->lock);
	fdc->lock_config = false;
	reset_chip(fdc);
	fdc->dor = DOR_RUN | DOR_DMA;
	fdc->rate = FLOPPY_250K;
	fdc->tdr = fdc->perpendicular = 0;
	pthread_mutex_unlock(&fdc->lock);
}

static void fini(struct device *device)
{
	struct fdc *fdc = (struct fdc *)device;
	const struct device_env *env = device->env;

	if (env->isa_dma)
		env->isa_dma->watch(env->isa_dma->opaque, fdc->dma_channel, NULL, NULL);
	bus_remove(env->io, &fdc->regions[1]);
	bus_remove(env->io, &fdc->regions[0]);
	pthread_mutex_destroy(&fdc->lock);
}

static int check_state(const void *staged, struct error *err)
{
	const struct fdc *fdc = staged;

	if (fdc->phase > FDC_RESULT || fdc->fifo_at >= FDC_FIFO_BYTES || fdc->fifo_bytes > FDC_FIFO_BYTES ||
	    fdc->polled > 4 || (fdc->phase == FDC_RESULT && fdc->fifo_at >= fdc->fifo_bytes))
		return error_set(err, EINVAL, "a floppy controller in phase %u at byte %u", fdc->phase, fdc->fifo_at);
	if (fdc->phase == FDC_COMMAND && fdc->fifo_at && !fdc_command_is_open(fdc))
		return error_set(err, EINVAL, "a floppy command that would have begun");
	if (fdc->bytes > FDC_TRACK_BYTES || fdc->filled > fdc->bytes || fdc->at_disk || fdc->drive > 3 ||
	    fdc->head > 1 || (fdc->moving && fdc->phase != FDC_EXECUTION))
		return error_set(err, EINVAL, "a floppy transfer that cannot be");
	return 0;
}

static void before_save(void *object)
{
	drain(object);
}

static void after_load(void *object)
{
	drive_irq(object);
}

static const struct state_field fields[] = {
	STATE_FIELD(STATE_U8, struct fdc, dor),
	STATE_FIELD(STATE_U8, struct fdc, tdr),
	STATE_FIELD(STATE_U8, struct fdc, rate),
	STATE_FIELD(STATE_U8, struct fdc, phase),
	STATE_FIELD_N(STATE_BYTES, struct fdc, fifo, FDC_FIFO_BYTES),
	STATE_FIELD(STATE_U8, struct fdc, fifo_at),
	STATE_FIELD(STATE_U8, struct fdc, fifo_bytes),
	STATE_FIELD(STATE_U8, struct fdc, st0),
	STATE_FIELD(STATE_U8, struct fdc, polled),
	STATE_FIELD_N(STATE_BYTES, struct fdc, specify, 2),
	STATE_FIELD(STATE_U8, struct fdc, config),
	STATE_FIELD(STATE_U8, struct fdc, pretrack),
	STATE_FIELD(STATE_U8, struct fdc, perpendicular),
	STATE_FIELD(STATE_BOOL, struct fdc, lock_config),
	STATE_FIELD(STATE_BOOL, struct fdc, interrupt),
	STATE_FIELD(STATE_U8, struct fdc, drive),
	STATE_FIELD(STATE_U8, struct fdc, cylinder),
	STATE_FIELD(STATE_U8, struct fdc, head),
	STATE_FIELD(STATE_U8, struct fdc, sector),
	STATE_FIELD(STATE_U8, struct fdc, end_of_track),
	STATE_FIELD(STATE_U8, struct fdc, transfer),
	STATE_FIELD(STATE_BOOL, struct fdc, multi_track),
	STATE_FIELD(STATE_BOOL, struct fdc, moving),
	STATE_FIELD(STATE_BOOL, struct fdc, terminal),
	STATE_FIELD(STATE_U32, struct fdc, bytes),
	STATE_FIELD(STATE_U32, struct fdc, filled),
	STATE_FIELD(STATE_U32, struct fdc, moved),
	STATE_FIELD_N(STATE_BYTES, struct fdc, buffer, FDC_TRACK_BYTES),
	STATE_END,
};
static const struct state_table state = {
	.name = "isa-fdc",
	.version = 1,
	.size = sizeof(struct fdc),
	.fields = fields,
	.check = check_state,
	.before_save = before_save,
	.after_load = after_load,
};

static const struct property properties[] = {
	DISK_PROPERTY(struct fdc, "iobase", PROPERTY_U32, base, "1008", "first port"),
	DISK_PROPERTY(struct fdc, "irq", PROPERTY_U32, irq_number, "6", "interrupt line"),
	DISK_PROPERTY(struct fdc, "dma", PROPERTY_U32, dma_channel, "2", "DMA channel"),
	{.name = NULL},
};

const struct device_class fdc_class = {
	.name = "isa-fdc",
	.help = "floppy disk controller",
	.bus = DEVICE_ISA,
	.internal = true,
	.size = sizeof(struct fdc),
	.properties = properties,
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};
