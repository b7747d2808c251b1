/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest on four processors that reads and writes anything of the PC's own devices, while time passes, lines move
 * and state is saved, damaged and loaded. What must hold: no crash, no hang, a vector is a vector, and
 * each processor's interrupt event agrees with its APIC.
 *
 * Input: operations of one byte and their operands.
 */
#include "fuzz.h"

#include "backend/char/chardev.h"
#include "base/util.h"
#include "device/pc/acpi_pm.h"
#include "device/pc/debug_ports.h"
#include "device/pc/fw_cfg.h"
#include "device/pc/hpet.h"
#include "device/pc/i8042.h"
#include "device/pc/i8254.h"
#include "device/pc/i8259.h"
#include "device/pc/ioapic.h"
#include "device/pc/lapic.h"
#include "device/pc/mc146818.h"
#include "device/pc/serial.h"
#include "device/pc/test_pc.h"

enum { CPUS = 4, DEVICES_MAX = 24, OPERATIONS_MAX = 4096 };

struct pc {
	struct test_pc t;
	struct lapic_set *lapics;
	struct i8259 *pic;
	struct ioapic *ioapic;
	struct acpi_pm *pm;
	struct chardev *chardev;
	struct irq pic_in[16], ioapic_in[IOAPIC_PINS];
	struct device *devices[DEVICES_MAX];
	unsigned count;
};

static void isa_line(void *opaque, unsigned line, bool level)
{
	struct pc *pc = opaque;

	irq_set(&pc->pic_in[line], level);
	irq_set(&pc->ioapic_in[line ? line : 2], level);
}

static void *find(void *opaque, enum property_type type, const char *id, struct device *user, struct error *err)
{
	return ((struct pc *)opaque)->chardev;
}

static void *keep(struct pc *pc, void *device)
{
	if (!device)
		abort();
	pc->devices[pc->count++] = device;
	return device;
}

static void build_apics(struct pc *pc)
{
	struct device_env *env = &pc->t.env;
	struct lapic_config config = {.phys_bits = 40, .x2apic = true, .tsc_deadline = true};

	pc->lapics = lapic_set_new(env);
	env->msi = lapic_set_msi(pc->lapics);
	pc->pic = keep(pc, i8259_new(env, lapic_set_extint(pc->lapics), NULL));
	pc->ioapic = keep(pc, ioapic_new(env, env->msi, NULL));
	lapic_set_pic(pc->lapics, i8259_ack, pc->pic);
	lapic_set_eoi(pc->lapics, ioapic_eoi, pc->ioapic);
	for (unsigned i = 0; i < CPUS; i++)
		keep(pc, lapic_new(env, pc->lapics, &pc->t.vcpus[i], &config, NULL));
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		pc->ioapic_in[i] = ioapic_pin(pc->ioapic, i);
	for (unsigned i = 0; i < 16; i++) {
		pc->pic_in[i] = i8259_input(pc->pic, i);
		env->isa_irq[i] = (struct irq){isa_line, pc, i};
	}
}

static struct pc *build(void)
{
	struct pc *pc = calloc(1, sizeof(*pc));
	struct device_env *env = &pc->t.env;
	struct options chardev_options = {0}, serial_options = {0};
	struct mc146818_config rtc = {.calendar_ns = 1700000000 * NS_PER_S};
	struct hpet *hpet;
	struct fw_cfg *fw_cfg;

	test_pc_init(&pc->t);
	env->backends = (struct backend_lookup){.find = find, .opaque = pc};
	pc->chardev = chardev_open("ringbuf", "c", &chardev_options, NULL, env->log, NULL, NULL);
	build_apics(pc);
	hpet = keep(pc, hpet_new(env, pc->ioapic_in, (struct irq[2]){env->isa_irq[0], env->isa_irq[8]}, NULL));
	keep(pc, i8254_new(env, hpet_legacy_input(hpet, 0), NULL));
	keep(pc, mc146818_new(env, hpet_legacy_input(hpet, 1), &rtc, NULL));
	pc->pm = keep(pc, acpi_pm_new(env, NULL));
	keep(pc, i8042_new(env, NULL));
	fw_cfg = keep(pc, fw_cfg_new(env, NULL));
	fw_cfg_add_file(fw_cfg, "opt/file", "contents", 8, NULL);
	options_add(&serial_options, "chardev", "c");
	keep(pc, device_create(&serial_class, env, &serial_options, NULL, NULL));
	options_free(&serial_options);
	keep(pc, device_create(&debug_exit_class, env, NULL, NULL, NULL));
	keep(pc, device_create(&pvpanic_class, env, NULL, NULL, NULL));
	return pc;
}

/* Ports with something behind them, so that the fuzzer need not find them. */
static const uint16_t ports[] = {
	0x20,  0x21,  0xa0,  0xa1,  0x4d0, 0x4d1, 0x40,  0x41,  0x42,  0x43,  0x61,  0x70,  0x71,
	0x60,  0x64,  0x92,  0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x600, 0x602,
	0x604, 0x608, 0x60c, 0x60e, 0xb2,  0xb3,  0x510, 0x511, 0x514, 0x518, 0x501, 0x505,
};

static void check_event(struct vcpu *vcpu)
{
	bool told = atomic_load(&vcpu->events) & VCPU_INTR;

	if (told != vcpu->apic_ops->has_interrupt(vcpu->apic))
		abort();
}

static void processor(struct vcpu *vcpu, unsigned what, struct input *input)
{
	uint64_t value;
	int vector;

	switch (what & 7) {
	case 0:
	case 1:
		value = take(input, 1) << 4;
		vcpu->apic_ops->mmio_write(vcpu->apic, (uint32_t)value, (uint32_t)take(input, 4), 4);
		break;
	case 2:
		vcpu->apic_ops->mmio_read(vcpu->apic, (uint32_t)take(input, 2) & 0xfff, 1u << (what >> 3 & 3));
		break;
	case 3:
		value = take(input, 1);
		vcpu->apic_ops->msr_write(vcpu->apic, 0x800 + (uint32_t)value, take(input, 8));
		break;
	case 4:
		vcpu->apic_ops->msr_read(vcpu->apic, 0x800 + (uint32_t)take(input, 1), &value);
		break;
	case 5:
		value = take(input, 1);
		if (value & 1)
			vcpu->apic_ops->msr_write(vcpu->apic, 0x6e0, take(input, 5));
		else
			vcpu->apic_ops->msr_write(vcpu->apic, 0x1b, 0xfee00000 | (value & 0xfe) << 7);
		break;
	case 6:
		vector = vcpu->apic_ops->ack(vcpu->apic);
		if (vector < -1 || vector > 255)
			abort();
		break;
	case 7:
		vcpu->apic_ops->set_tpr(vcpu->apic, (uint8_t)(what >> 3));
		if (vcpu->apic_ops->get_tpr(vcpu->apic) > 15)
			abort();
		break;
	}
	/* What an engine does with the other events does not matter here, but INIT reaches the APIC. */
	if (atomic_load(&vcpu->events) & VCPU_INIT)
		vcpu->apic_ops->init(vcpu->apic);
	vcpu_clear(vcpu, ~(uint32_t)VCPU_INTR);
}

/* Saves a device, damages one byte, and loads that; what is refused must leave the device as it was. */
static void damage_state(struct pc *pc, struct input *input)
{
	struct device *device = pc->devices[take(input, 1) % pc->count];
	struct state_buffer saved = {0};

	if (!device->class->state)
		return;
	state_save(device->class->state, device, &saved);
	saved.data[take(input, 2) % saved.length] ^= (uint8_t)take(input, 1);
	state_load(device->class->state, device, saved.data, saved.length, NULL);
	free(saved.data);
}

static void operation(struct pc *pc, struct input *input)
{
	unsigned choice = (unsigned)take(input, 1), size = 1u << (choice >> 6), what;
	struct device_env *env = &pc->t.env;
	uint64_t place, value;

	switch (choice & 15) {
	case 0:
	case 1:
	case 2:
		place = ports[take(input, 1) % ARRAY_SIZE(ports)];
		bus_write(env->io, place, take(input, size), size);
		break;
	case 3:
	case 4:
		bus_read(env->io, ports[take(input, 1) % ARRAY_SIZE(ports)], size);
		break;
	case 5:
		place = take(input, 2);
		bus_write(env->io, place, take(input, size), size);
		break;
	case 6:
		place = HPET_BASE + (take(input, 2) & 0x3ff);
		bus_write(env->memory, place, take(input, size), size);
		break;
	case 7:
		place = HPET_BASE + (take(input, 2) & 0x3ff);
		bus_read(env->memory, place, size);
		break;
	case 8:
		bus_write(env->memory, IOAPIC_BASE, take(input, 1), 4);
		bus_write(env->memory, IOAPIC_BASE + 0x10, take(input, 4), 4);
		break;
	case 9:
		place = IOAPIC_BASE + (take(input, 1) & 0x1f);
		bus_read(env->memory, place, size);
		break;
	case 10:
	case 11:
		what = (unsigned)take(input, 1);
		processor(&pc->t.vcpus[choice >> 4 & 3], what, input);
		break;
	case 12:
		clock_advance(env->clock, (int64_t)(take(input, 1 + (choice >> 7)) * 32));
		break;
	case 13:
		what = (unsigned)take(input, 1);
		if (what & 0x80)
			env->msi.send(env->msi.opaque,
				      (struct msi_message){0xfee00000 | take(input, 3), (uint32_t)take(input, 2)});
		else
			irq_set(what & 0x40 ? &pc->ioapic_in[what % IOAPIC_PINS] : &env->isa_irq[what & 15],
				what & 0x20);
		break;
	case 14:
		value = take(input, 2);
		chardev_ringbuf_write(pc->chardev, (const uint8_t *)&value, 2);
		acpi_pm_gpe(pc->pm, (unsigned)value & 15);
		if (value & 0x1000)
			lapic_set_nmi(pc->lapics);
		break;
	case 15:
		if (choice & 0x10)
			damage_state(pc, input);
		else
			device_reset(pc->devices[take(input, 1) % pc->count]);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pc *pc;
	struct input input = {data, size};

	if (!pc)
		pc = build();
	for (unsigned i = 0; i < pc->count; i++)
		device_reset(pc->devices[i]);
	for (unsigned i = 0; i < CPUS; i++)
		vcpu_clear(&pc->t.vcpus[i], ~(uint32_t)VCPU_INTR);
	for (unsigned n = 0; input.size && n < OPERATIONS_MAX; n++) {
		operation(pc, &input);
		for (unsigned i = 0; i < CPUS; i++)
			check_event(&pc->t.vcpus[i]);
	}
	return 0;
}
