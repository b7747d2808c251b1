/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bare machine for the interpreter's tests: RAM from 0, two empty buses, one or more vCPUs, no devices. */
#ifndef XUNI_CPU_INTERP_TEST_GUEST_H
#define XUNI_CPU_INTERP_TEST_GUEST_H

#include "core/bus.h"
#include "core/clock.h"
#include "core/ram.h"
#include "cpu/interp/interp.h"

#define GUEST_RAM (16ull << 20)
#define GUEST_CODE 0x10000ull
#define GUEST_DATA 0x200000ull
#define GUEST_STACK 0x1ff000ull
#define GUEST_TABLES 0x1000ull /* page tables 0x1000-0x5fff, GDT 0x6000, IDT 0x7000, TSS 0x8000 */

struct guest {
	struct log log;
	struct ram *ram;
	struct bus *io, *memory;
	struct clock *clock;
	struct cpuid_table cpuid;
	const struct engine_ops *ops;
	struct engine *engine;
	struct x86_cpu *cpu[4];
	unsigned cpus;
};

/* cpu_text as -cpu takes it; stepped: deterministic clock. */
void guest_init(struct guest *guest, unsigned cpus, const char *cpu_text, bool stepped);
/* The same with another engine whose vCPUs begin with struct x86_cpu. guest_run counts nothing then. */
void guest_init_engine(struct guest *guest, const struct engine_ops *ops, unsigned cpus, const char *cpu_text, bool stepped);
void guest_init_tuned(struct guest *guest, const struct engine_ops *ops, unsigned cpus, const char *cpu_text, bool stepped,
                      const struct engine_tuning *tuning);
void guest_fini(struct guest *guest);
/* Puts vCPU i into 16-bit real, 32-bit flat protected or 64-bit mode (identity-mapped 2 MiB pages of 16 MiB, ring 0),
 * at GUEST_CODE with RSP at GUEST_STACK. */
void guest_mode(struct guest *guest, unsigned i, enum x86_code_mode mode);
void guest_code(struct guest *guest, uint64_t gpa, const void *bytes, size_t length);
/* Makes vector's gate lead to gpa (64-bit mode). */
void guest_gate(struct guest *guest, unsigned vector, uint64_t gpa);
uint64_t guest_run(struct guest *guest, unsigned i, uint64_t count, enum vcpu_exit *exit);
uint8_t *guest_ram(struct guest *guest, uint64_t gpa);

#endif
