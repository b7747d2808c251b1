/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An engine executes virtual CPUs. Engines are interchangeable at a vCPU's exit: all of them exchange the same
 * struct x86_state, see the same buses, RAM and clock, and offer CPUID from the same table.
 */
#ifndef XUNI_CORE_ENGINE_H
#define XUNI_CORE_ENGINE_H

#include "base/error.h"
#include "base/log.h"
#include "core/cpuid.h"
#include "core/debug.h"
#include "core/irq.h"
#include "core/x86_state.h"

#include <stdatomic.h>

struct bus;
struct clock;
struct engine;
struct jit_report;
struct ram;
struct vcpu;

/* Reasons to leave guest code, one bit each in vcpu.events; set by vcpu_raise, cleared by whoever handles them. */
enum vcpu_event {
	VCPU_INTR = 1 << 0, /* the local APIC (or the 8259 behind it) may have a vector: ask apic_ops->ack */
	VCPU_NMI = 1 << 1,
	VCPU_INIT = 1 << 2,
	VCPU_SIPI = 1 << 3, /* vcpu.sipi_vector */
	VCPU_KICK = 1 << 4, /* return VCPU_KICKED to the thread */
	VCPU_FLUSH = 1 << 5, /* drop all cached address translations (dirty tracking, A20, RAM layout) */
	VCPU_ENGINE = 1 << 6, /* the engine's own use */
};

/* The local APIC as its CPU sees it. Called in the vCPU's thread. NULL when the engine has its own (KVM). */
struct vcpu_apic_ops {
	/* Interrupt acknowledge: the vector to deliver now, or -1 when there is none (spurious wake-up). Clears
	 * VCPU_INTR when nothing more is deliverable. */
	int (*ack)(void *apic);
	/* True when ack would return a vector; cheap. */
	bool (*has_interrupt)(void *apic);
	uint8_t (*get_tpr)(void *apic);           /* CR8 */
	void (*set_tpr)(void *apic, uint8_t cr8);
	uint32_t (*mmio_read)(void *apic, uint32_t offset, unsigned size); /* 4 KiB page at IA32_APIC_BASE */
	void (*mmio_write)(void *apic, uint32_t offset, uint32_t value, unsigned size);
	/* MSRs 0x1b, 0x6e0 and 0x800-0x8ff: 0, or -1 for #GP. */
	int (*msr_read)(void *apic, uint32_t msr, uint64_t *value);
	int (*msr_write)(void *apic, uint32_t msr, uint64_t value);
	void (*init)(void *apic); /* INIT received by the CPU */
	/* The CPU's TSC is the clock's plus `ticks` from now on (WRMSR to IA32_TSC or IA32_TSC_ADJUST, set_state): the
	 * TSC-deadline timer compares with that. May be NULL. */
	void (*set_tsc_offset)(void *apic, int64_t ticks);
};

/* The part of a vCPU that devices, board and engine share; each engine's own structure begins with it. */
struct vcpu {
	unsigned index;
	uint32_t apic_id;
	struct engine *engine;
	_Atomic uint32_t events;    /* enum vcpu_event */
	_Atomic uint8_t sipi_vector;
	const struct vcpu_apic_ops *apic_ops;
	void *apic;
	/* Called by vcpu_raise after the event bit is set, to wake a thread that waits for a halted vCPU. */
	void (*wake)(void *opaque);
	void *wake_opaque;
	_Atomic uint64_t instructions; /* executed; software engines only, updated at least once per run */
	/* A debugger's wish for the next run, and what that run's VCPU_DEBUG means. Changed with the vCPU outside run. */
	enum debug_step debug_step;
	struct debug_hit debug_hit;
};

/* Why run came back. Port and memory accesses never do: they go straight to the buses. */
enum vcpu_exit {
	VCPU_KICKED,   /* VCPU_KICK was seen (and cleared) */
	VCPU_HALTED,   /* HLT or wait-for-SIPI and no wake-up event is pending; call again after wake */
	VCPU_RESET,    /* the guest asks for a reset of the machine (triple fault included: the engine has logged it) */
	VCPU_SHUTDOWN,
	VCPU_DEBUG,    /* a debugger's point or step: vcpu.debug_hit */
	VCPU_FAILED,   /* the engine cannot go on; *err of vcpu_run says why; the machine stops in "internal-error" */
};

/* What a user may set of an engine that translates. */
struct engine_tuning {
	uint64_t code_bytes; /* translated code and its tables, of all vCPUs together; 0: the engine's default */
	uint32_t verify;     /* the interpreter checks that many runs of each block; UINT32_MAX: all of them */
	bool perf_map;       /* name translated code in /tmp/perf-PID.map */
};

/* Everything an engine is built on. All pointers outlive the engine. */
struct engine_env {
	struct log *log;
	struct ram *ram;
	struct bus *io;     /* ports, 64 KiB */
	struct bus *memory; /* physical memory that is not RAM */
	struct clock *clock;
	const struct cpuid_table *cpuid;
	unsigned max_vcpus;
	unsigned phys_bits;
	bool stepped;       /* deterministic: the clock advances with executed instructions */
	struct engine_tuning tuning;
};

/* In-kernel interrupt controllers (8259, IOAPIC, local APICs, optionally the 8254); NULL for the software engines. */
struct engine_irqchip_ops {
	/* ISA/IOAPIC line 0..23. */
	void (*set_line)(struct engine *engine, unsigned gsi, bool level);
	struct msi_sink (*msi)(struct engine *engine);
	/* All controllers as after power-on; vCPUs stand still. Part of a machine's reset, before set_state. */
	void (*reset)(struct engine *engine);
};

struct engine_ops {
	const char *name; /* as in -accel */
	const char *help;
	/* 0 when it can run here. -errno and a text that says what is missing and what to do about it. *rank_last is set
	 * when it works but should not be preferred (a KVM that runs in software). */
	int (*probe)(bool *rank_last, struct error *err);
	/* What this engine can execute, as CPUID feature words (heap-allocated entries, the caller's). */
	int (*offer)(struct cpuid_table *offer, struct error *err);
	/* The TSC frequency that guests see under this engine, kHz. */
	uint64_t (*tsc_khz)(void);
	struct engine *(*create)(const struct engine_env *env, struct error *err);
	void (*destroy)(struct engine *engine);

	/* A vCPU in the state after power-on reset. Called before threads start or for hot-plug. */
	struct vcpu *(*vcpu_create)(struct engine *engine, unsigned index, uint32_t apic_id, struct error *err);
	void (*vcpu_destroy)(struct vcpu *vcpu);

	/* Runs guest code in the calling thread, always the same one for a vCPU. */
	enum vcpu_exit (*run)(struct vcpu *vcpu, struct error *err);
	/* Any thread; called after an event bit was set: makes run look at the bits soon. Must be async-signal-safe. */
	void (*kick)(struct vcpu *vcpu);

	/* With the vCPU outside run. set_state checks nothing that a guest could not have brought about itself. */
	void (*get_state)(struct vcpu *vcpu, struct x86_state *state);
	void (*set_state)(struct vcpu *vcpu, const struct x86_state *state);
	/* Guest-virtual to guest-physical as the current state maps it, without side effects; -EFAULT if not mapped. */
	int (*translate_gva)(struct vcpu *vcpu, uint64_t gva, uint64_t *gpa);

	/* Dirty log for ram clients: begin/end make later guest writes show up in ram_harvest; sync moves what the engine
	 * holds privately (KVM's bitmap) into ram. The software engines only flush. */
	void (*dirty_start)(struct engine *engine);
	void (*dirty_stop)(struct engine *engine);
	void (*dirty_sync)(struct engine *engine);

	/* The machine's clock was started or stopped (all vCPUs are outside run). May be NULL. */
	void (*clock_changed)(struct engine *engine, bool running);

	/* engine->debug is new (engine_debug); -ENOSPC when it is more than the engine can do. NULL: the engine looks at
	 * it at each run. */
	int (*debug_changed)(struct engine *engine, struct error *err);

	/* Adds what was done for this vCPU to report. In the vCPU's thread, outside run. NULL: the engine does not translate. */
	void (*jit_report)(struct vcpu *vcpu, struct jit_report *report);

	const struct engine_irqchip_ops *irqchip; /* may be NULL */
};

/* Each engine's own structure begins with this. */
struct engine {
	const struct engine_ops *ops;
	struct engine_env env;
	_Atomic uint32_t bus_lock; /* software engines: a LOCK access that no host instruction can do is under way */
	/* Address bit 20 is held at 0 (the A20 gate). Whoever changes it raises VCPU_FLUSH on every vCPU. KVM knows no such
	 * gate and goes on with it open. */
	_Atomic bool a20_closed;
	void *data; /* of an engine that is built on another one's */
	struct debug_points *debug; /* NULL: no debugger; see engine_debug */
	uint64_t debug_stamp;       /* debug_stamp(debug) */
};

/* Sets event bits, kicks the engine and wakes a halted vCPU's thread. Any thread. */
void vcpu_raise(struct vcpu *vcpu, uint32_t events);

static inline void vcpu_clear(struct vcpu *vcpu, uint32_t events)
{
	atomic_fetch_and_explicit(&vcpu->events, ~events, memory_order_acq_rel);
}

#endif
