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
/* From now on instructions that leave flags undefined leave them as the host's do, form by form; slower. Bare CPUs. */
void interp_host_flags(struct x86_cpu *cpu);
/* Executes up to `count` instructions; stops early at HLT, at an event or after a fault was delivered (which counts as
 * one instruction). Returns how many were executed; *exit says why it stopped (VCPU_KICKED: count reached). */
uint64_t interp_step(struct x86_cpu *cpu, uint64_t count, enum vcpu_exit *exit);
/* Executes one instruction of a bare CPU whatever waits. Faults are the caller's, by cpu->fault_exit. */
void interp_single(struct x86_cpu *cpu);
/* From a callback of a bus or of the local APIC inside interp_step: takes the instruction back. interp_step returns at
 * once (VCPU_KICKED) with the state before it (before the iteration of a REP). Works for CPUs of interp_engine, too. */
_Noreturn void interp_abandon(struct x86_cpu *cpu);

/* Another engine may run most guest code itself on vCPUs that interp_engine.vcpu_create made, and leave the rest, events,
 * faults and all between two instructions to the interpreter's loop. */
enum interp_share {
	INTERP_EVENTS, /* nothing: something is to be looked at */
	INTERP_BLOCK,  /* a block of instructions */
	INTERP_FAILED, /* nothing: run ends with VCPU_FAILED */
};
struct interp_partner {
	/* Runs guest code as far as it can and says what the interpreter is to execute. State is exact in cpu->s at entry
	 * and return, status flags included; it may raise, or catch faults itself by another cpu->fault_exit. */
	enum interp_share (*run)(struct x86_cpu *cpu);
	/* Pages of guest memory (numbers) are written to: forget the code made of them. In the vCPU's thread, outside run or
	 * in a call that run made. */
	void (*drop)(struct x86_cpu *cpu, uint64_t first, uint64_t last);
};
void interp_set_partner(struct x86_cpu *cpu, const struct interp_partner *partner);
/* For a partner inside run, state exact before and after. Executes the instruction at s.rip; may raise. False: run is to
 * return INTERP_EVENTS. */
bool interp_one(struct x86_cpu *cpu);
/* Likewise: the code at s.rip, which begins at these addresses, is to be interpreted still: run returns INTERP_BLOCK. That is
 * so for the first executions of code that runs without paging: firmware and boot loaders, most of which run a few times. */
bool interp_cold(struct x86_cpu *cpu, uint64_t gpa, uint64_t linear);
/* Likewise: delivers the fault that the partner caught. */
bool interp_deliver(struct x86_cpu *cpu);
/* PAUSE: a guest that spins may wait for a vCPU that has no host CPU now. */
void interp_pause(struct x86_cpu *cpu);
/* Watches a page of RAM from now on: drop is called when it is written. Before its code is read. */
void interp_watch_code(struct x86_cpu *cpu, uint64_t page);

#endif
