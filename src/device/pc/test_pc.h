/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What unit tests and fuzz targets of this folder stand on: real buses, RAM and a stepped clock, wires that are
 * recorded, requests that are recorded, and vCPUs that only have event bits.
 */
#ifndef XUNI_DEVICE_PC_TEST_PC_H
#define XUNI_DEVICE_PC_TEST_PC_H

#include "core/bus.h"
#include "core/clock.h"
#include "core/device.h"
#include "core/engine.h"
#include "core/ram.h"
#include "core/state.h"

enum { TEST_TSC_KHZ = 2000000, TEST_RAM = 1 << 20, TEST_CPUS = 8 };

struct test_wire {
	bool level;
	unsigned rises, falls;
};

struct test_pc {
	struct device_env env;
	struct log log;
	struct test_wire wires[32]; /* 0-15 are env.isa_irq; the rest are for tests */
	int request, argument;      /* the last one; -1: none */
	unsigned requests;
	struct msi_message messages[64];
	unsigned message_count;
	struct engine_ops ops;
	struct engine engine;
	struct vcpu vcpus[TEST_CPUS];
};

void test_pc_init(struct test_pc *t);
void test_pc_fini(struct test_pc *t);
struct irq test_wire(struct test_pc *t, unsigned n);

static inline uint8_t in8(struct test_pc *t, uint16_t port)
{
	return (uint8_t)bus_read(t->env.io, port, 1);
}

static inline void out8(struct test_pc *t, uint16_t port, uint8_t value)
{
	bus_write(t->env.io, port, value, 1);
}

/* Saves, resets and loads: the device must answer as before. Returns the
 * result of the load. */
int64_t test_save_reset_load(struct device *device, struct error *err);
/* Loads streams cut short and with flipped bits into the device: none may crash it. */
void test_hostile_state(struct device *device);

#endif
