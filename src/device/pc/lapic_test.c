/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Local APICs with the 8259 and the IOAPIC around them: who gets what, in which order, and when. */
#include "device/pc/lapic.h"

#include "base/util.h"
#include "device/pc/i8259.h"
#include "device/pc/ioapic.h"
#include "device/pc/test_pc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
	ID = 0x20,
	VERSION = 0x30,
	TPR = 0x80,
	PPR = 0xa0,
	EOI = 0xb0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	ICR = 0x300,
	ICR_HIGH = 0x310,
	LVT_TIMER = 0x320,
	LVT_LINT0 = 0x350,
	LVT_LINT1 = 0x360,
	LVT_ERROR = 0x370,
	INITIAL = 0x380,
	CURRENT = 0x390,
	DIVIDE = 0x3e0,
};
enum { MSR_BASE = 0x1b, MSR_DEADLINE = 0x6e0 };
enum { CPUS = 4 };

static struct test_pc t;
static struct lapic_set *set;
static struct lapic *apics[CPUS];
static struct i8259 *pic;
static struct ioapic *ioapic;

static int setup(void **state)
{
	struct lapic_config config = {.phys_bits = 40, .x2apic = true, .tsc_deadline = true};
	struct error err = {0};

	test_pc_init(&t);
	set = lapic_set_new(&t.env);
	t.env.msi = lapic_set_msi(set);
	pic = i8259_new(&t.env, lapic_set_extint(set), &err);
	ioapic = ioapic_new(&t.env, t.env.msi, &err);
	assert_non_null(pic);
	assert_non_null(ioapic);
	lapic_set_pic(set, i8259_ack, pic);
	lapic_set_eoi(set, ioapic_eoi, ioapic);
	for (unsigned i = 0; i < CPUS; i++) {
		apics[i] = lapic_new(&t.env, set, &t.vcpus[i], &config, &err);
		assert_non_null(apics[i]);
	}
	return 0;
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < CPUS; i++)
		device_destroy((struct device *)apics[i]);
	device_destroy((struct device *)ioapic);
	device_destroy((struct device *)pic);
	lapic_set_free(set);
	assert_int_equal(clock_next_deadline(t.env.clock), INT64_MAX);
	test_pc_fini(&t);
	return 0;
}

static void wr(unsigned cpu, uint32_t reg, uint32_t value)
{
	t.vcpus[cpu].apic_ops->mmio_write(apics[cpu], reg, value, 4);
}

static uint32_t rd(unsigned cpu, uint32_t reg)
{
	return t.vcpus[cpu].apic_ops->mmio_read(apics[cpu], reg, 4);
}

static int wrmsr(unsigned cpu, uint32_t msr, uint64_t value)
{
	return t.vcpus[cpu].apic_ops->msr_write(apics[cpu], msr, value);
}

static uint64_t rdmsr(unsigned cpu, uint32_t msr)
{
	uint64_t value = 0xdead;

	assert_int_equal(t.vcpus[cpu].apic_ops->msr_read(apics[cpu], msr, &value), 0);
	return value;
}

static int ack(unsigned cpu)
{
	return t.vcpus[cpu].apic_ops->ack(apics[cpu]);
}

static bool intr(unsigned cpu)
{
	assert_int_equal(!!(t.vcpus[cpu].events & VCPU_INTR), t.vcpus[cpu].apic_ops->has_interrupt(apics[cpu]));
	return t.vcpus[cpu].events & VCPU_INTR;
}

static void enable_all(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		wr(i, SVR, 0x1ff);
}

static void msi(uint8_t destination, bool logical, uint32_t data)
{
	t.env.msi.send(t.env.msi.opaque,
		       (struct msi_message){.address = 0xfee00000 | (uint32_t)destination << 12 | (logical ? 4 : 0),
					    .data = data});
}

/* Which CPUs have an interrupt; takes and ends each. */
static unsigned who(void)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		if (!intr(i))
			continue;
		mask |= 1u << i;
		while (ack(i) >= 0)
			wr(i, EOI, 0);
	}
	return mask;
}

static void power_on_values(void **unused)
{
	assert_int_equal(rd(0, ID), 0);
	assert_int_equal(rd(2, ID), 2 << 24);
	assert_int_equal(rd(0, VERSION), 0x00050014);
	assert_int_equal(rd(0, SVR), 0xff);
	assert_int_equal(rd(0, DFR), 0xffffffff);
	assert_int_equal(rd(1, LVT_LINT0), 0x10000);
	assert_int_equal(rdmsr(0, MSR_BASE), 0xfee00900);
	assert_int_equal(rdmsr(1, MSR_BASE), 0xfee00800);
	/* Software-disabled: fixed interrupts are not taken, and masks cannot be cleared. */
	msi(1, false, 0x41);
	assert_int_equal(rd(1, IRR + 0x20), 0);
	wr(1, LVT_TIMER, 0x40);
	assert_int_equal(rd(1, LVT_TIMER), 0x10040);
}

static void priorities(void **unused)
{
	enable_all();
	msi(1, false, 0x51);
	msi(1, false, 0x83);
	msi(1, false, 0x8f);
	assert_true(intr(1));
	assert_int_equal(ack(1), 0x8f);
	assert_int_equal(rd(1, PPR), 0x80);
	assert_false(intr(1)); /* 0x83 is of the same class */
	msi(1, false, 0x90);
	assert_true(intr(1));
	assert_int_equal(ack(1), 0x90);
	wr(1, EOI, 0);
	assert_int_equal(ack(1), -1);
	wr(1, EOI, 0);
	assert_int_equal(ack(1), 0x83);
	wr(1, EOI, 0);
	assert_int_equal(ack(1), 0x51);
	wr(1, EOI, 0);
	assert_int_equal(ack(1), -1);
	assert_false(intr(1));
}

static void task_priority_holds_back(void **unused)
{
	enable_all();
	t.vcpus[1].apic_ops->set_tpr(apics[1], 5);
	assert_int_equal(rd(1, TPR), 0x50);
	msi(1, false, 0x5f);
	assert_false(intr(1));
	wr(1, TPR, 0x4f);
	assert_true(intr(1));
	/* Raising it again takes the event back, so that a halted CPU sleeps and is woken by the next one. */
	t.vcpus[1].apic_ops->set_tpr(apics[1], 0xf);
	assert_false(intr(1));
	assert_int_equal(ack(1), -1);
	t.vcpus[1].apic_ops->set_tpr(apics[1], 0);
	assert_int_equal(ack(1), 0x5f);
	assert_int_equal(t.vcpus[1].apic_ops->get_tpr(apics[1]), 0);
}

static void command_destinations(void **unused)
{
	enable_all();
	wr(0, ICR_HIGH, 2u << 24);
	wr(0, ICR, 0x4040);
	assert_int_equal(who(), 0x4);
	wr(1, ICR, 0x44040); /* self */
	assert_int_equal(who(), 0x2);
	wr(1, ICR, 0x84040); /* all */
	assert_int_equal(who(), 0xf);
	wr(1, ICR, 0xc4040); /* others */
	assert_int_equal(who(), 0xd);
	wr(0, ICR_HIGH, 0xffu << 24);
	wr(0, ICR, 0x4040); /* broadcast */
	assert_int_equal(who(), 0xf);
	wr(0, ICR_HIGH, 9u << 24);
	wr(0, ICR, 0x4040);
	assert_int_equal(who(), 0);
	assert_int_equal(rd(0, ICR) & 0x1000, 0);
}

static void logical_flat(void **unused)
{
	enable_all();
	for (unsigned i = 0; i < CPUS; i++)
		wr(i, LDR, 0x01000000u << i);
	msi(0x05, true, 0x41);
	assert_int_equal(who(), 0x5);
	wr(0, ICR_HIGH, 0x0a000000);
	wr(0, ICR, 0x4841);
	assert_int_equal(who(), 0xa);
	msi(0xff, true, 0x41);
	assert_int_equal(who(), 0xf);
}

static void logical_cluster(void **unused)
{
	enable_all();
	for (unsigned i = 0; i < CPUS; i++) {
		wr(i, DFR, 0x0fffffff);
		wr(i, LDR, (i / 2 << 28) | (1u << (24 + i % 2)));
	}
	msi(0x12, true, 0x41); /* cluster 1, second */
	assert_int_equal(who(), 0x8);
	msi(0x03, true, 0x41);
	assert_int_equal(who(), 0x3);
	msi(0xf1, true, 0x41); /* all clusters, first */
	assert_int_equal(who(), 0x5);
}

static void lowest_priority(void **unused)
{
	unsigned seen = 0;

	enable_all();
	for (unsigned i = 0; i < CPUS; i++)
		wr(i, LDR, 0x01000000u << i);
	wr(0, TPR, 0x40);
	wr(1, TPR, 0x40);
	for (unsigned i = 0; i < 16; i++) {
		unsigned mask;

		msi(0x0f, true, 0x181);
		mask = who();
		assert_int_equal(__builtin_popcount(mask), 1);
		seen |= mask;
	}
	assert_int_equal(seen, 0xc); /* the idle ones take turns */
	wr(2, SVR, 0xff);
	wr(3, SVR, 0xff);
	msi(0x0f, true, 0x181);
	assert_true(who() & 0x3);
}

static void init_sipi_nmi(void **unused)
{
	wr(0, SVR, 0x1ff);
	wr(0, ICR_HIGH, 1u << 24);
	wr(0, ICR, 0xc500);
	assert_int_equal(t.vcpus[1].events, VCPU_INIT);
	wr(0, ICR, 0x8500); /* de-assert does nothing */
	t.vcpus[1].events = 0;
	wr(0, ICR, 0x8500);
	assert_int_equal(t.vcpus[1].events, 0);
	wr(0, ICR, 0x4699);
	assert_int_equal(t.vcpus[1].events, VCPU_SIPI);
	assert_int_equal(t.vcpus[1].sipi_vector, 0x99);
	t.vcpus[1].events = 0;
	wr(0, ICR, 0x4400);
	assert_int_equal(t.vcpus[1].events, VCPU_NMI);
	assert_int_equal(t.vcpus[0].events, 0);
}

static void init_resets_but_keeps_base(void **unused)
{
	enable_all();
	wr(1, TPR, 0x20);
	msi(1, false, 0x61);
	t.vcpus[1].apic_ops->init(apics[1]);
	assert_int_equal(rd(1, TPR), 0);
	assert_int_equal(rd(1, SVR), 0xff);
	assert_int_equal(rd(1, IRR + 0x30), 0);
	assert_false(intr(1));
	assert_int_equal(rdmsr(1, MSR_BASE), 0xfee00800);
}

static void pic_through_lint0(void **unused)
{
	struct irq line = i8259_input(pic, 1);

	out8(&t, 0x20, 0x11);
	out8(&t, 0x21, 0x20);
	out8(&t, 0x21, 0x04);
	out8(&t, 0x21, 0x01);
	irq_set(&line, true);
	assert_true(intr(0)); /* as after power-on, without firmware */
	assert_false(intr(1));
	assert_int_equal(ack(0), 0x21);
	assert_false(intr(0));
	out8(&t, 0x20, 0x20);
	irq_set(&line, false);
	/* Masked at LINT0: the request waits there. */
	wr(0, SVR, 0x1ff);
	wr(0, LVT_LINT0, 0x10700);
	irq_set(&line, true);
	assert_false(intr(0));
	wr(0, LVT_LINT0, 0x700);
	assert_true(intr(0));
	out8(&t, 0x21, 0xff); /* withdrawn before the acknowledge */
	assert_false(intr(0));
	assert_int_equal(ack(0), -1);
	/* With the APIC off, the pin is the CPU's. */
	out8(&t, 0x21, 0x00);
	assert_int_equal(wrmsr(0, MSR_BASE, 0xfee00100), 0);
	assert_int_equal(ack(0), 0x21);
}

static void virtual_wire(void **unused)
{
	lapic_virtual_wire(apics[0]);
	lapic_virtual_wire(apics[1]);
	assert_int_equal(rd(0, LVT_LINT0), 0x700);
	assert_int_equal(rd(1, LVT_LINT0), 0x10000);
	assert_int_equal(rd(1, LVT_LINT1), 0x400);
	lapic_set_nmi(set);
	assert_true(t.vcpus[0].events & VCPU_NMI);
	assert_true(t.vcpus[1].events & VCPU_NMI);
	assert_false(t.vcpus[2].events & VCPU_NMI);
}

static void one_shot_timer(void **unused)
{
	enable_all();
	wr(0, DIVIDE, 0x3); /* by 16 */
	wr(0, LVT_TIMER, 0xec);
	wr(0, INITIAL, 1000);
	assert_int_equal(rd(0, CURRENT), 1000);
	clock_advance(t.env.clock, 15999);
	assert_int_equal(rd(0, CURRENT), 1);
	assert_false(intr(0));
	clock_advance(t.env.clock, 1);
	assert_int_equal(rd(0, CURRENT), 0);
	assert_int_equal(ack(0), 0xec);
	wr(0, EOI, 0);
	clock_advance(t.env.clock, NS_PER_S);
	assert_false(intr(0));
	/* Zero stops. */
	wr(0, INITIAL, 1000);
	wr(0, INITIAL, 0);
	clock_advance(t.env.clock, NS_PER_S);
	assert_false(intr(0));
	/* All dividers. */
	for (unsigned code = 0; code < 8; code++) {
		unsigned divider = code == 7 ? 1 : 2u << code;

		wr(0, DIVIDE, (code & 3) | (code & 4) << 1);
		wr(0, INITIAL, 100);
		clock_advance(t.env.clock, 100 * divider - 1);
		assert_false(intr(0));
		clock_advance(t.env.clock, 1);
		assert_int_equal(ack(0), 0xec);
		wr(0, EOI, 0);
	}
}

static void periodic_timer(void **unused)
{
	enable_all();
	wr(0, DIVIDE, 0xb); /* by 1 */
	wr(0, LVT_TIMER, 0x200ec);
	wr(0, INITIAL, 1000000);
	for (unsigned i = 0; i < 5; i++) {
		clock_advance(t.env.clock, 999999);
		assert_false(intr(0));
		clock_advance(t.env.clock, 1);
		assert_int_equal(ack(0), 0xec);
		wr(0, EOI, 0);
		assert_int_equal(rd(0, CURRENT), 1000000);
	}
	/* Masked it runs on silently. */
	wr(0, LVT_TIMER, 0x300ec);
	clock_advance(t.env.clock, 2500000);
	assert_false(intr(0));
	assert_int_equal(rd(0, CURRENT), 500000);
	wr(0, LVT_TIMER, 0x200ec);
	clock_advance(t.env.clock, 500000);
	assert_int_equal(ack(0), 0xec);
	wr(0, EOI, 0);
	/* Changing the mode goes on from the present count. */
	clock_advance(t.env.clock, 400000);
	wr(0, LVT_TIMER, 0xec);
	assert_int_equal(rd(0, CURRENT), 600000);
	clock_advance(t.env.clock, 600000);
	assert_int_equal(ack(0), 0xec);
	wr(0, EOI, 0);
	clock_advance(t.env.clock, NS_PER_S);
	assert_false(intr(0));
}

static void tiny_periods_are_bounded(void **unused)
{
	unsigned count = 0;

	enable_all();
	wr(0, DIVIDE, 0xb);
	wr(0, LVT_TIMER, 0x200ec);
	wr(0, INITIAL, 1);
	for (unsigned i = 0; i < 1000; i++) {
		clock_advance(t.env.clock, 100000);
		for (; ack(0) >= 0; count++)
			wr(0, EOI, 0);
	}
	assert_in_range(count, 900, 1001);
}

static void tsc_deadline_timer(void **unused)
{
	enable_all();
	assert_int_equal(wrmsr(0, MSR_DEADLINE, 1000), 0);
	assert_int_equal(rdmsr(0, MSR_DEADLINE), 0); /* ignored in other modes */
	wr(0, LVT_TIMER, 0x400ec);
	wr(0, INITIAL, 5); /* ignored in this one */
	assert_int_equal(rd(0, CURRENT), 0);
	wrmsr(0, MSR_DEADLINE, 2000000); /* 1 ms at 2 GHz */
	assert_int_equal(rdmsr(0, MSR_DEADLINE), 2000000);
	clock_advance(t.env.clock, 999999);
	assert_false(intr(0));
	clock_advance(t.env.clock, 1);
	assert_int_equal(ack(0), 0xec);
	assert_int_equal(rdmsr(0, MSR_DEADLINE), 0);
	wr(0, EOI, 0);
	/* In the past: at once. */
	wrmsr(0, MSR_DEADLINE, 5);
	clock_advance(t.env.clock, 0);
	assert_int_equal(ack(0), 0xec);
	wr(0, EOI, 0);
	/* The CPU's TSC was moved on by 1000000 ticks: 0.5 ms earlier. */
	wrmsr(0, MSR_DEADLINE, 6000000);
	t.vcpus[0].apic_ops->set_tsc_offset(apics[0], 1000000);
	clock_advance(t.env.clock, 1499999);
	assert_false(intr(0));
	clock_advance(t.env.clock, 1);
	assert_int_equal(ack(0), 0xec);
	wr(0, EOI, 0);
	/* Disarmed by zero and by leaving the mode; the far end of time does not overflow. */
	wrmsr(0, MSR_DEADLINE, UINT64_MAX);
	clock_advance(t.env.clock, NS_PER_S);
	assert_false(intr(0));
	wrmsr(0, MSR_DEADLINE, 20000000000);
	wrmsr(0, MSR_DEADLINE, 0);
	wr(0, LVT_TIMER, 0xec);
	clock_advance(t.env.clock, 100 * NS_PER_S);
	assert_false(intr(0));
}

static void errors(void **unused)
{
	enable_all();
	wr(0, LVT_ERROR, 0xfe);
	wr(0, ICR_HIGH, 1u << 24);
	wr(0, ICR, 0x4005);
	assert_int_equal(ack(0), 0xfe);
	wr(0, EOI, 0);
	assert_int_equal(rd(0, ESR), 0); /* latched by a write */
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0x20);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0);
	msi(0, false, 0x05);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0x40);
	rd(0, 0x3f0);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0x80);
	assert_int_equal(ack(0), 0xfe);
}

static void x2apic_mode(void **unused)
{
	uint64_t value;

	assert_int_equal(wrmsr(1, MSR_BASE, 0xfee00c00), 0);
	assert_int_equal(rd(1, ID), 0xffffffff); /* the page is gone */
	assert_int_equal(rdmsr(1, 0x802), 1);
	assert_int_equal(rdmsr(1, 0x80d), 0x00000002);
	assert_int_equal(t.vcpus[0].apic_ops->msr_read(apics[0], 0x802, &value), -1); /* not in that mode */
	assert_int_equal(wrmsr(1, 0x80f, 0x1ff), 0);
	wr(0, SVR, 0x1ff);
	/* Self IPI, and a command to both kinds of APIC. */
	assert_int_equal(wrmsr(1, 0x83f, 0x42), 0);
	assert_int_equal(ack(1), 0x42);
	assert_int_equal(wrmsr(1, 0x80b, 0), 0);
	assert_int_equal(wrmsr(1, 0x830, 0x0000000000004043), 0);
	assert_int_equal(ack(0), 0x43);
	assert_int_equal(wrmsr(1, 0x830, 0xffffffff00004043), 0);
	assert_int_equal(ack(1), 0x43);
	assert_int_equal(rdmsr(1, 0x830), 0xffffffff00004043);
	/* Reserved bits and registers. */
	assert_int_equal(wrmsr(1, 0x80b, 1), -1);
	assert_int_equal(wrmsr(1, 0x828, 1), -1);
	assert_int_equal(wrmsr(1, 0x808, 0x100), -1);
	assert_int_equal(wrmsr(1, 0x802, 0), -1);
	assert_int_equal(wrmsr(1, 0x80d, 0), -1);
	assert_int_equal(wrmsr(1, 0x80e, 0), -1);
	assert_int_equal(wrmsr(1, 0x831, 0), -1);
	assert_int_equal(wrmsr(1, 0x832, 0x80000), -1);
	assert_int_equal(wrmsr(1, 0x830, 0x1000000), -1);
	assert_int_equal(t.vcpus[1].apic_ops->msr_read(apics[1], 0x83f, &value), -1);
	assert_int_equal(t.vcpus[1].apic_ops->msr_read(apics[1], 0x80b, &value), -1);
	assert_int_equal(t.vcpus[1].apic_ops->msr_read(apics[1], 0x8ff, &value), -1);
}

static void x2apic_logical(void **unused)
{
	for (unsigned i = 0; i < CPUS; i++) {
		assert_int_equal(wrmsr(i, MSR_BASE, 0xfee00c00 | (i ? 0 : 0x100)), 0);
		assert_int_equal(wrmsr(i, 0x80f, 0x1ff), 0);
	}
	assert_int_equal(wrmsr(0, 0x830, 0x0000000a00004844), 0);
	assert_int_equal(ack(1), 0x44);
	assert_int_equal(ack(3), 0x44);
	assert_int_equal(ack(0), -1);
	assert_int_equal(wrmsr(0, 0x830, 0x0001000a00004844), 0); /* another cluster */
	assert_int_equal(ack(1), -1);
	msi(0x04, true, 0x55); /* eight bits address cluster 0 */
	assert_int_equal(ack(2), 0x55);
}

static void mode_transitions(void **unused)
{
	assert_int_equal(wrmsr(1, MSR_BASE, 0xfee00400), -1);      /* EXTD alone */
	assert_int_equal(wrmsr(1, MSR_BASE, 0xfee00801), -1);      /* reserved */
	assert_int_equal(wrmsr(1, MSR_BASE, 0x10000fee00800), -1); /* beyond 40 bits */
	assert_int_equal(wrmsr(1, MSR_BASE, 0xfee00c00), 0);
	assert_int_equal(wrmsr(1, MSR_BASE, 0xfee00800), -1); /* back only through disabled */
	assert_int_equal(wrmsr(1, MSR_BASE, 0xfee00000), 0);
	assert_int_equal(wrmsr(1, MSR_BASE, 0xfee00c00), -1);
	assert_int_equal(wrmsr(1, MSR_BASE, 0xfee00800), 0);
	assert_int_equal(rd(1, ID), 1u << 24);
}

static void ioapic_write(unsigned index, uint32_t value)
{
	bus_write(t.env.memory, IOAPIC_BASE, index, 4);
	bus_write(t.env.memory, IOAPIC_BASE + 0x10, value, 4);
}

static uint32_t ioapic_read(unsigned index)
{
	bus_write(t.env.memory, IOAPIC_BASE, index, 4);
	return (uint32_t)bus_read(t.env.memory, IOAPIC_BASE + 0x10, 4);
}

/* What people are shown: the last lines of `info pic`. */
static bool shows(const char *text)
{
	char *shown = NULL;
	size_t length;
	FILE *to = open_memstream(&shown, &length);
	bool found;

	ioapic_describe(ioapic, to);
	fclose(to);
	found = strstr(shown, text);
	free(shown);
	return found;
}

static void ioapic_edge(void **unused)
{
	struct irq pin = ioapic_pin(ioapic, 4);
	uint64_t counts[IOAPIC_PINS];

	enable_all();
	assert_int_equal(ioapic_read(1), 0x00170011);
	assert_int_equal(ioapic_read(0x18), 0x00010000);
	irq_set(&pin, true);
	assert_false(intr(0));
	assert_true(shows("  IRR      (none)\n"));
	ioapic_count(ioapic, counts);
	assert_int_equal(counts[4], 1); /* masked or not */
	irq_set(&pin, false);
	ioapic_write(0x19, 2u << 24);
	ioapic_write(0x18, 0x34);
	assert_false(intr(2)); /* the masked edge is lost */
	irq_set(&pin, true);
	assert_int_equal(ack(2), 0x34);
	wr(2, EOI, 0);
	irq_set(&pin, true);
	assert_false(intr(2));
	assert_int_equal(ioapic_read(0x18), 0x34);
}

static void ioapic_level(void **unused)
{
	struct irq pin = ioapic_pin(ioapic, 10);

	enable_all();
	ioapic_write(0x25, 1u << 24);
	ioapic_write(0x24, 0x8061);
	irq_set(&pin, true);
	assert_int_equal(ioapic_read(0x24), 0xc061); /* remote IRR */
	assert_int_equal(ack(1), 0x61);
	assert_int_equal(rd(1, TMR + 0x30), 2);
	irq_set(&pin, false);
	irq_set(&pin, true);
	assert_false(intr(1)); /* until the end of the first */
	wr(1, EOI, 0);
	assert_int_equal(ack(1), 0x61); /* still high: again */
	irq_set(&pin, false);
	wr(1, EOI, 0);
	assert_false(intr(1));
	assert_int_equal(ioapic_read(0x24), 0x8061);
	/* Masked while high; unmasking delivers. Edge mode clears the remote IRR. */
	ioapic_write(0x24, 0x18061);
	irq_set(&pin, true);
	assert_false(intr(1));
	assert_true(shows("  IRR      10 \n"));
	ioapic_write(0x24, 0x8061);
	assert_int_equal(ack(1), 0x61);
	ioapic_write(0x24, 0x10061);
	assert_int_equal(ioapic_read(0x24), 0x10061);
}

/* Interrupts of a level pin in a row until none comes at once. */
static unsigned storm_length(void)
{
	unsigned count = 0;

	while (count < 100000 && ack(1) == 0x61) {
		wr(1, EOI, 0);
		count++;
	}
	return count;
}

static void ioapic_storm(void **unused)
{
	struct irq pin = ioapic_pin(ioapic, 10);
	struct error err = {0};

	enable_all();
	ioapic_write(0x25, 1u << 24);
	ioapic_write(0x24, 0x8061);
	irq_set(&pin, true);
	assert_int_equal(storm_length(), 1000);
	assert_int_equal(ioapic_read(0x24), 0x8061); /* no remote IRR: nothing was sent */
	clock_advance(t.env.clock, 1999999);
	assert_false(intr(1));
	clock_advance(t.env.clock, 1);
	assert_int_equal(storm_length(), 1000);
	assert_true(test_save_reset_load((struct device *)ioapic, &err) > 0);
	clock_advance(t.env.clock, 2000000);
	assert_int_equal(storm_length(), 1000);
	/* One that is low in between begins anew, and does not wait. */
	irq_set(&pin, false);
	for (unsigned i = 0; i < 3000; i++) {
		irq_set(&pin, true);
		assert_int_equal(ack(1), 0x61);
		irq_set(&pin, false);
		wr(1, EOI, 0);
	}
	irq_set(&pin, true);
	assert_int_equal(storm_length(), 1000);
	irq_set(&pin, false);
	clock_advance(t.env.clock, 2000000);
	assert_false(intr(1));
}

static void ioapic_modes(void **unused)
{
	struct irq pin = ioapic_pin(ioapic, 3);

	enable_all();
	for (unsigned i = 0; i < CPUS; i++)
		wr(i, LDR, 0x01000000u << i);
	wr(0, TPR, 0x20);
	ioapic_write(0x17, 0x03000000);
	ioapic_write(0x16, 0x0941); /* logical, lowest priority */
	irq_pulse(&pin);
	assert_int_equal(who(), 0x2);
	ioapic_write(0x17, 3u << 24);
	ioapic_write(0x16, 0x8400); /* NMI, the level bit notwithstanding */
	irq_pulse(&pin);
	assert_true(t.vcpus[3].events & VCPU_NMI);
	assert_int_equal(ioapic_read(0x16) & 0x4000, 0);
	ioapic_write(0, 0x0f000000);
	assert_int_equal(ioapic_read(0), 0x0f000000);
	assert_int_equal(ioapic_read(2), 0x0f000000);
	assert_int_equal(ioapic_read(0xff), 0);
}

static void state_survives(void **unused)
{
	struct irq pin = ioapic_pin(ioapic, 10);
	struct error err = {0};

	enable_all();
	ioapic_write(0x24, 0x8061);
	irq_set(&pin, true);
	assert_int_equal(ack(0), 0x61);
	msi(0, false, 0x31);
	wr(0, TPR, 0x10);
	wr(0, DIVIDE, 0xb);
	wr(0, LVT_TIMER, 0xec);
	wr(0, INITIAL, 1000);
	clock_advance(t.env.clock, 400);
	assert_true(test_save_reset_load((struct device *)apics[0], &err) > 0);
	assert_true(test_save_reset_load((struct device *)ioapic, &err) > 0);
	assert_int_equal(rd(0, CURRENT), 600);
	clock_advance(t.env.clock, 600);
	assert_int_equal(ack(0), 0xec);
	wr(0, EOI, 0);
	irq_set(&pin, false);
	wr(0, EOI, 0);
	assert_int_equal(ioapic_read(0x24), 0x8061);
	assert_int_equal(ack(0), 0x31);
	test_hostile_state((struct device *)apics[0]);
	test_hostile_state((struct device *)ioapic);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(power_on_values),
		T(priorities),
		T(task_priority_holds_back),
		T(command_destinations),
		T(logical_flat),
		T(logical_cluster),
		T(lowest_priority),
		T(init_sipi_nmi),
		T(init_resets_but_keeps_base),
		T(pic_through_lint0),
		T(virtual_wire),
		T(one_shot_timer),
		T(periodic_timer),
		T(tiny_periods_are_bounded),
		T(tsc_deadline_timer),
		T(errors),
		T(x2apic_mode),
		T(x2apic_logical),
		T(mode_transitions),
		T(ioapic_edge),
		T(ioapic_level),
		T(ioapic_storm),
		T(ioapic_modes),
		T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
