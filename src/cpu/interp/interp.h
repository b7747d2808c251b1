/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The interpreter engine: the reference for every other engine, and their helper for single instructions. */
#ifndef XUNI_CPU_INTERP_INTERP_H
#define XUNI_CPU_INTERP_INTERP_H

#include "core/engine.h"
#include "cpu/x86/cpu.h"

extern const struct engine_ops interp_engine;

/* A bare interpreter for one vCPU of another engine: same RAM, buses, clock and CPUID. Returned object is a vCPU whose
 * state is exchanged with x86_cpu_get_state and x86_cpu_set_state. Its `vcpu.events` are its own. */
struct x86_cpu *interp_cpu_new(const struct engine_env *env, unsigned index, uint32_t apic_id, struct error *err);
void interp_cpu_free(struct x86_cpu *cpu);
/* Executes up to `count` instructions; stops early at HLT, at an event or after a fault was delivered (which counts as
 * one instruction). Returns how many were executed; *exit says why it stopped (VCPU_KICKED: count reached). */
uint64_t interp_step(struct x86_cpu *cpu, uint64_t count, enum vcpu_exit *exit);
/* From a callback of a bus or of the local APIC inside interp_step: takes the instruction back. interp_step returns at
 * once (VCPU_KICKED) with the state before it (before the iteration of a REP). Works for CPUs of interp_engine, too. */
_Noreturn void interp_abandon(struct x86_cpu *cpu);

#endif
