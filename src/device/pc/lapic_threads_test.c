/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts between threads: processors that look at their event bits only, as engines do, must see every one. Run it
 * under TSan to check the locking.
 */
#include "device/pc/i8259.h"
#include "device/pc/ioapic.h"
#include "device/pc/lapic.h"
#include "device/pc/test_pc.h"

#include "base/util.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { CPUS = 4, ROUNDS = 5000, VECTOR = 0x40, LINE_VECTOR = 0x61, PIN = 10 };

static struct test_pc t;
static struct lapic *apics[CPUS];
static struct ioapic *ioapic;
static _Atomic unsigned received[CPUS];
static _Atomic unsigned lines_served;
static _Atomic bool stop;

static void wr(struct vcpu *vcpu, uint32_t reg, uint32_t value)
{
	vcpu->apic_ops->mmio_write(vcpu->apic, reg, value, 4);
}

static void serve(struct vcpu *vcpu)
{
	int vector = vcpu->apic_ops->ack(vcpu->apic);
	struct irq pin = ioapic_pin(ioapic, PIN);

	if (vector == VECTOR)
		received[vcpu->index]++;
	if (vector == LINE_VECTOR) {
		irq_set(&pin, false);
		lines_served++;
	}
	if (vector >= 0)
		wr(vcpu, 0xb0, 0);
}

/* Each processor sends to its neighbour and waits for the neighbour's answer to be counted, so that nothing merges. */
static void *processor(void *opaque)
{
	struct vcpu *vcpu = opaque;
	unsigned neighbour = (vcpu->index + 1) % CPUS, sent = 0, turns = 0;

	while (!stop) {
		if (atomic_load(&vcpu->events) & VCPU_INTR)
			serve(vcpu);
		if (sent < ROUNDS && received[neighbour] == sent) {
			sent++;
			wr(vcpu, 0x310, neighbour << 24);
			wr(vcpu, 0x300, 0x4000 | VECTOR);
		}
		/* Moving priorities hold interrupts back and let them through. */
		vcpu->apic_ops->set_tpr(vcpu->apic, ++turns % 8 == 0 ? 5 : 0);
		sched_yield();
	}
	return NULL;
}

static void *line_driver(void *opaque)
{
	struct irq pin = ioapic_pin(ioapic, PIN);
	unsigned raised = 0;

	while (!stop) {
		if (raised < ROUNDS && lines_served == raised) {
			raised++;
			irq_set(&pin, true);
		}
		sched_yield();
	}
	return NULL;
}

static bool all_done(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		if (received[i] != ROUNDS)
			return false;
	return lines_served == ROUNDS;
}

static void nothing_is_lost(void **unused)
{
	struct lapic_config config = {.phys_bits = 40, .x2apic = true, .tsc_deadline = true};
	struct lapic_set *set;
	pthread_t threads[CPUS + 1];
	int64_t give_up;

	test_pc_init(&t);
	set = lapic_set_new(&t.env);
	ioapic = ioapic_new(&t.env, lapic_set_msi(set), NULL);
	lapic_set_eoi(set, ioapic_eoi, ioapic);
	for (unsigned i = 0; i < CPUS; i++) {
		apics[i] = lapic_new(&t.env, set, &t.vcpus[i], &config, NULL);
		wr(&t.vcpus[i], 0xf0, 0x1ff);
		wr(&t.vcpus[i], 0xd0, 0x01000000u << i);
	}
	/* The line goes to whoever is idlest. */
	bus_write(t.env.memory, IOAPIC_BASE, 0x10 + 2 * PIN + 1, 4);
	bus_write(t.env.memory, IOAPIC_BASE + 0x10, 0x0f000000, 4);
	bus_write(t.env.memory, IOAPIC_BASE, 0x10 + 2 * PIN, 4);
	bus_write(t.env.memory, IOAPIC_BASE + 0x10, 0x8900 | LINE_VECTOR, 4);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, processor, &t.vcpus[i]), 0);
	assert_int_equal(pthread_create(&threads[CPUS], NULL, line_driver, NULL), 0);
	give_up = host_now_ns() + 60 * NS_PER_S;
	while (!all_done() && host_now_ns() < give_up)
		sched_yield();
	stop = true;
	for (unsigned i = 0; i <= CPUS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(received[i], ROUNDS);
	assert_int_equal(lines_served, ROUNDS);
	for (unsigned i = 0; i < CPUS; i++)
		device_destroy((struct device *)apics[i]);
	device_destroy((struct device *)ioapic);
	lapic_set_free(set);
	test_pc_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
