/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two cascaded 8259A interrupt controllers (Intel 8259A data sheet, order 231468) with the PIIX3's edge/level control
 * registers (82371SB data sheet 3.5.5). Initialisation ICW1-4, OCW1-3: fixed, rotating and special-mask priority,
 * automatic and specific EOI, polling, special fully nested mode, spurious interrupts.
 * Left out: 8080 mode, buffered mode, ICW1's global level bit (the PIIX3 replaces it by ELCR), cascades other than IR2.
 * A rising edge stays latched when its line falls before the acknowledge (as in KVM), so that pulses are not lost.
 */
#include "device/pc/i8259.h"

#include "base/util.h"
#include "device/pc/isa.h"

#include <pthread.h>

enum { MASTER, SLAVE };
enum { CASCADE = 2 };

struct chip {
	uint8_t lines; /* level at the pins */
	uint8_t irr, imr, isr;
	uint8_t elcr;   /* 1: level */
	uint8_t base;   /* ICW2 */
	uint8_t lowest; /* rotation: the input with the highest priority */
	uint8_t expect; /* which ICW the next write to the odd port is: 2, 3, 4; 0: OCW1 */
	bool need_icw4, single, auto_eoi, rotate_on_auto_eoi, special_mask, nested, read_isr, poll;
};

struct i8259 {
	struct device device;
	pthread_mutex_t lock;
	struct chip chip[2];
	struct irq output;
	bool asserted;
	struct region regions[3];
	struct log_limit limit;
	uint64_t raised[16]; /* rises of each input since the machine was made; for people only, not part of the state */
};

static const uint8_t elcr_writable[2] = {0xf8, 0xde};

/* The bit of highest priority: its distance from chip->lowest, 8 when there is none. */
static unsigned rank(const struct chip *chip, uint8_t bits)
{
	for (unsigned distance = 0; distance < 8; distance++)
		if (bits >> ((distance + chip->lowest) & 7) & 1)
			return distance;
	return 8;
}

/* The input to acknowledge now, or -1. */
static int requested(const struct chip *chip, bool master)
{
	uint8_t in_service = chip->isr;
	unsigned request = rank(chip, chip->irr & ~chip->imr);

	if (chip->special_mask)
		in_service &= ~chip->imr;
	/* Special fully nested: a further request of the slave's passes while one of its own is in service. */
	if (chip->nested && master)
		in_service &= ~(1u << CASCADE);
	if (request == 8 || request >= rank(chip, in_service))
		return -1;
	return (int)((request + chip->lowest) & 7);
}

/* Lets requests ripple from the slave to the master and to the output. */
static void update(struct i8259 *pic)
{
	struct chip *master = &pic->chip[MASTER];
	bool asserted;

	if (requested(&pic->chip[SLAVE], false) >= 0)
		master->irr |= 1u << CASCADE;
	else
		master->irr &= ~(1u << CASCADE);
	asserted = requested(master, true) >= 0;
	if (asserted != pic->asserted) {
		pic->asserted = asserted;
		irq_set(&pic->output, asserted);
	}
}

static void set_line(void *opaque, unsigned line, bool level)
{
	struct i8259 *pic = opaque;
	struct chip *chip = &pic->chip[line >> 3 & 1];
	uint8_t bit = (uint8_t)(1u << (line & 7));

	pthread_mutex_lock(&pic->lock);
	if (level && (chip->elcr & bit || !(chip->lines & bit)))
		chip->irr |= bit;
	else if (!level && chip->elcr & bit)
		chip->irr &= ~bit;
	pic->raised[line & 15] += level && !(chip->lines & bit);
	chip->lines = level ? chip->lines | bit : chip->lines & ~bit;
	update(pic);
	pthread_mutex_unlock(&pic->lock);
}

struct irq i8259_input(struct i8259 *pic, unsigned line)
{
	return (struct irq){.set = set_line, .opaque = pic, .line = line};
}

static void take_into_service(struct chip *chip, unsigned input)
{
	uint8_t bit = (uint8_t)(1u << input);

	if (!chip->auto_eoi)
		chip->isr |= bit;
	else if (chip->rotate_on_auto_eoi)
		chip->lowest = (input + 1) & 7;
	if (!(chip->elcr & bit))
		chip->irr &= ~bit;
}

/* One chip's part of an acknowledge; input 7 without service when the request went away. */
static unsigned acknowledge(struct chip *chip, bool master)
{
	int input = requested(chip, master);

	if (input < 0)
		return 7;
	take_into_service(chip, (unsigned)input);
	return (unsigned)input;
}

int i8259_ack(void *opaque)
{
	struct i8259 *pic = opaque;
	struct chip *master = &pic->chip[MASTER], *slave = &pic->chip[SLAVE];
	bool cascaded;
	int vector;

	pthread_mutex_lock(&pic->lock);
	cascaded = requested(master, true) == CASCADE;
	vector = master->base + (int)acknowledge(master, true);
	if (cascaded)
		vector = slave->base + (int)acknowledge(slave, false);
	update(pic);
	pthread_mutex_unlock(&pic->lock);
	return vector;
}

static void end_of_interrupt(struct chip *chip, bool specific, bool rotate, unsigned input)
{
	if (!specific) {
		unsigned distance = rank(chip, chip->special_mask ? chip->isr & ~chip->imr : chip->isr);

		if (distance == 8)
			return;
		input = (distance + chip->lowest) & 7;
	}
	chip->isr &= ~(1u << input);
	if (rotate)
		chip->lowest = (input + 1) & 7;
}

static void initialise(struct i8259 *pic, struct chip *chip, uint8_t icw1)
{
	if (icw1 & 8)
		log_guest(pic->device.env->log, &pic->limit, "i8259: level mode of ICW1 has no effect, use ELCR");
	chip->irr &= chip->elcr;
	chip->lines &= chip->elcr;
	chip->imr = chip->isr = 0;
	chip->lowest = 0;
	chip->auto_eoi = chip->rotate_on_auto_eoi = chip->special_mask = chip->nested = false;
	chip->read_isr = chip->poll = false;
	chip->need_icw4 = icw1 & 1;
	chip->single = icw1 & 2;
	chip->expect = 2;
}

static void write_ocw2(struct chip *chip, uint8_t value)
{
	unsigned input = value & 7;

	switch (value >> 5) {
	case 0:
	case 4:
		chip->rotate_on_auto_eoi = value >> 7;
		break;
	case 1:
	case 3:
	case 5:
	case 7:
		end_of_interrupt(chip, value & 0x40, value & 0x80, input);
		break;
	case 6:
		chip->lowest = (input + 1) & 7;
		break;
	}
}

static void write_ocw3(struct chip *chip, uint8_t value)
{
	if (value & 4)
		chip->poll = true;
	if (value & 2)
		chip->read_isr = value & 1;
	if (value & 0x40)
		chip->special_mask = value & 0x20;
}

static void write_odd_port(struct chip *chip, uint8_t value)
{
	switch (chip->expect) {
	case 2:
		chip->base = value & 0xf8;
		chip->expect = !chip->single ? 3 : chip->need_icw4 ? 4 : 0;
		break;
	case 3:
		chip->expect = chip->need_icw4 ? 4 : 0;
		break;
	case 4:
		chip->nested = value & 0x10;
		chip->auto_eoi = value & 2;
		chip->expect = 0;
		break;
	default:
		chip->imr = value;
	}
}

static void pic_write(struct i8259 *pic, struct chip *chip, unsigned port, uint8_t value)
{
	pthread_mutex_lock(&pic->lock);
	if (port & 1)
		write_odd_port(chip, value);
	else if (value & 0x10)
		initialise(pic, chip, value);
	else if (value & 8)
		write_ocw3(chip, value);
	else
		write_ocw2(chip, value);
	update(pic);
	pthread_mutex_unlock(&pic->lock);
}

static uint8_t read_chip(struct chip *chip, unsigned port, bool master)
{
	int input;

	if (chip->poll) {
		chip->poll = false;
		input = requested(chip, master);
		if (input < 0)
			return 0;
		take_into_service(chip, (unsigned)input);
		return (uint8_t)(0x80 | input);
	}
	if (port & 1)
		return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}

static uint8_t pic_read(struct i8259 *pic, unsigned which, unsigned port)
{
	uint8_t value;

	pthread_mutex_lock(&pic->lock);
	value = read_chip(&pic->chip[which], port, which == MASTER);
	update(pic);
	pthread_mutex_unlock(&pic->lock);
	return value;
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size)
{
	return pic_read(opaque, MASTER, (unsigned)offset);
}

static void master_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8259 *pic = opaque;

	pic_write(pic, &pic->chip[MASTER], (unsigned)offset, (uint8_t)value);
}

static uint64_t slave_read(void *opaque, uint64_t offset, unsigned size)
{
	return pic_read(opaque, SLAVE, (unsigned)offset);
}

static void slave_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8259 *pic = opaque;

	pic_write(pic, &pic->chip[SLAVE], (unsigned)offset, (uint8_t)value);
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8259 *pic = opaque;
	uint8_t value;

	pthread_mutex_lock(&pic->lock);
	value = pic->chip[offset & 1].elcr;
	pthread_mutex_unlock(&pic->lock);
	return value;
}

static void elcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8259 *pic = opaque;
	struct chip *chip = &pic->chip[offset & 1];

	pthread_mutex_lock(&pic->lock);
	chip->elcr = value & elcr_writable[offset & 1];
	/* A level input requests exactly while its pin is high. */
	chip->irr = (chip->irr & ~chip->elcr) | (chip->lines & chip->elcr);
	update(pic);
	pthread_mutex_unlock(&pic->lock);
}

static const struct region_ops master_ops = {
	.read = master_read, .write = master_write, .min_width = 1, .max_width = 1};
static const struct region_ops slave_ops = {.read = slave_read, .write = slave_write, .min_width = 1, .max_width = 1};
static const struct region_ops elcr_ops = {.read = elcr_read, .write = elcr_write, .min_width = 1, .max_width = 1};

static void reset(struct device *device)
{
	struct i8259 *pic = (struct i8259 *)device;

	pthread_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < 2; i++)
		pic->chip[i] = (struct chip){.lines = pic->chip[i].lines};
	update(pic);
	pthread_mutex_unlock(&pic->lock);
}

static int init(struct device *device, struct error *err)
{
	struct i8259 *pic = (struct i8259 *)device;

	pthread_mutex_init(&pic->lock, NULL);
	pic->regions[0] = (struct region){"i8259-master", &master_ops, pic, 0x20, 2, 0};
	pic->regions[1] = (struct region){"i8259-slave", &slave_ops, pic, 0xa0, 2, 0};
	pic->regions[2] = (struct region){"i8259-elcr", &elcr_ops, pic, 0x4d0, 2, 0};
	return isa_regions_add(device->env->io, pic->regions, 3, err);
}

static void fini(struct device *device)
{
	struct i8259 *pic = (struct i8259 *)device;

	isa_regions_remove(device->env->io, pic->regions, 3);
}

static int chip_check(const void *staged, struct error *err)
{
	const struct chip *chip = staged;

	if (chip->lowest > 7 || chip->base & 7 || (chip->expect != 0 && (chip->expect < 2 || chip->expect > 4)))
		return error_set(err, EINVAL, "priority %u, base %u or step %u is out of range", chip->lowest,
				 chip->base, chip->expect);
	return 0;
}

static int check(const void *staged, struct error *err)
{
	const struct i8259 *pic = staged;

	for (unsigned i = 0; i < 2; i++)
		if (pic->chip[i].elcr & ~elcr_writable[i])
			return error_set(err, EINVAL, "edge/level register 0x%x", pic->chip[i].elcr);
	return 0;
}

static const struct state_table chip_state = {
	.name = "chip",
	.version = 1,
	.size = sizeof(struct chip),
	.check = chip_check,
	.fields =
		(const struct state_field[]){
			STATE_FIELD(STATE_U8, struct chip, lines),
			STATE_FIELD(STATE_U8, struct chip, irr),
			STATE_FIELD(STATE_U8, struct chip, imr),
			STATE_FIELD(STATE_U8, struct chip, isr),
			STATE_FIELD(STATE_U8, struct chip, elcr),
			STATE_FIELD(STATE_U8, struct chip, base),
			STATE_FIELD(STATE_U8, struct chip, lowest),
			STATE_FIELD(STATE_U8, struct chip, expect),
			STATE_FIELD(STATE_BOOL, struct chip, need_icw4),
			STATE_FIELD(STATE_BOOL, struct chip, single),
			STATE_FIELD(STATE_BOOL, struct chip, auto_eoi),
			STATE_FIELD(STATE_BOOL, struct chip, rotate_on_auto_eoi),
			STATE_FIELD(STATE_BOOL, struct chip, special_mask),
			STATE_FIELD(STATE_BOOL, struct chip, nested),
			STATE_FIELD(STATE_BOOL, struct chip, read_isr),
			STATE_FIELD(STATE_BOOL, struct chip, poll),
			STATE_END,
		},
};

static void after_load(void *object)
{
	struct i8259 *pic = object;

	pthread_mutex_lock(&pic->lock);
	update(pic);
	irq_set(&pic->output, pic->asserted);
	pthread_mutex_unlock(&pic->lock);
}

static const struct state_table state = {
	.name = "i8259",
	.version = 1,
	.size = sizeof(struct i8259),
	.check = check,
	.after_load = after_load,
	.fields =
		(const struct state_field[]){
			STATE_SUB(chip_state, struct i8259, chip, 2),
			STATE_END,
		},
};

void i8259_count(struct i8259 *pic, uint64_t counts[16])
{
	pthread_mutex_lock(&pic->lock);
	memcpy(counts, pic->raised, sizeof(pic->raised));
	pthread_mutex_unlock(&pic->lock);
}

void i8259_describe(struct i8259 *pic, FILE *to)
{
	pthread_mutex_lock(&pic->lock);
	for (int i = 1; i >= 0; i--) {
		const struct chip *chip = &pic->chip[i];

		fprintf(to, "pic%d: irr=%02x imr=%02x isr=%02x hprio=%u irq_base=%02x rr_sel=%u elcr=%02x fnm=%u\n", i, chip->irr,
			chip->imr, chip->isr, chip->lowest, chip->base, chip->read_isr, chip->elcr, chip->nested);
	}
	pthread_mutex_unlock(&pic->lock);
}

const struct device_class i8259_class = {
	.name = "isa-i8259",
	.help = "two cascaded 8259A interrupt controllers",
	.bus = DEVICE_ISA,
	.internal = true,
	.size = sizeof(struct i8259),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct i8259 *i8259_new(const struct device_env *env, struct irq output, struct error *err)
{
	struct i8259 *pic = (struct i8259 *)device_alloc(&i8259_class, env);

	pic->output = output;
	return device_realize(&pic->device, err) < 0 ? NULL : pic;
}
