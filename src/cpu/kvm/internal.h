/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of src/cpu/kvm share. */
#ifndef XUNI_CPU_KVM_INTERNAL_H
#define XUNI_CPU_KVM_INTERNAL_H

#include "base/log.h"
#include "core/bus.h"
#include "core/engine.h"
#include "core/ram.h"

#include <linux/kvm.h>
#include <pthread.h>

struct kvm_helper;
struct kvm_helpers;

enum { KVM_PINS = 24, KVM_MSRS_MAX = 64, KVM_XSAVE_AREA_MAX = 16384 };

/* Where the host keeps a state component in its XSAVE image; bytes 0: it has none. */
struct kvm_xsave_layout {
	uint32_t avx_offset, opmask_offset, zmm_high_offset, zmm_upper_offset, pkru_offset;
	uint64_t components; /* that the kernel can save for a guest */
};

/* MSRs of struct x86_state that this kernel knows, in the order of kvm_state_msrs[]. */
struct kvm_msr_set {
	bool known[KVM_MSRS_MAX];
};

struct kvm_doorbells {
	struct kvm_engine_data *owner;
	bool ports;
};

struct kvm_engine_data {
	struct engine engine; /* first */
	int kvm_fd, vm_fd;
	size_t run_bytes;
	struct kvm_cpuid2 *supported;
	struct kvm_xsave_layout xsave;
	size_t xsave_bytes;
	struct kvm_msr_set msrs;
	bool has_exception_payload;
	bool software; /* the host has neither VMX nor SVM: see software.c */

	pthread_mutex_t lock; /* vcpus[], routes */
	struct kvm_vcpu **vcpus;
	unsigned vcpu_count;

	struct kvm_irq_routing *routes;
	uint32_t routes_capacity;
	struct msi_sink msi;
	struct kvm_doorbells port_doorbells, memory_doorbells;
	struct log_limit msi_limit;

	bool dirty_logging;         /* asked for; software hosts log always, for the helpers' sake */
	pthread_mutex_t dirty_lock; /* dirty_bitmap; outer to lock */
	uint64_t *dirty_bitmap;     /* for the largest slot so far */
	uint64_t dirty_words;
	struct ram_listener listener;
	struct kvm_helpers *helpers;

	/* TSC and kvmclock: see clock.c. */
	bool clock_running, tsc_is_host;
	uint64_t tsc_common;  /* running: guest TSC - host TSC, IA32_TSC_ADJUST apart */
	uint64_t tsc_stopped; /* stopped: the guest TSC */
	uint64_t kvmclock_stopped_ns;
};

struct kvm_vcpu {
	struct vcpu vcpu; /* first */
	struct kvm_engine_data *kvm;
	int fd;
	struct kvm_run *run;
	_Atomic int tid;    /* of the thread inside run; 0: none has been yet */
	bool io_unfinished; /* the kernel completes the last I/O exit at the next entry */
	uint64_t debug_stamp;       /* of the points that KVM knows */
	enum debug_step debug_step; /* that KVM knows of */
	uint64_t assists;   /* instructions that the interpreter executed because the kernel could not */

	struct kvm_helper *helper;  /* made when first needed */
	pthread_t thread;           /* inside run; valid with tid */
	struct x86_state *exchange; /* kvm->software: scratch */
	uint64_t tsc_deadline;      /* kvm->software: as the guest wrote it */
	struct log_limit assist_limit;
};

static inline struct kvm_engine_data *kvm_of(struct engine *engine)
{
	return (struct kvm_engine_data *)engine;
}

static inline struct kvm_vcpu *kvm_vcpu_of(struct vcpu *vcpu)
{
	return (struct kvm_vcpu *)vcpu;
}

/* ioctl that retries after a signal; -errno. */
int kvm_ioctl(int fd, unsigned long request, const void *argument);
/* KVM_CHECK_EXTENSION: 0 when absent. */
int kvm_has(int fd, unsigned long capability);

/* --- probe.c --- */
int kvm_probe(bool *rank_last, struct error *err);
/* The CPU has VMX or SVM. */
bool kvm_has_hardware(void);
int kvm_offer(struct cpuid_table *offer, struct error *err);
uint64_t kvm_tsc_khz(void);
int kvm_open(struct error *err);
/* KVM_GET_SUPPORTED_CPUID; freed by the caller. */
struct kvm_cpuid2 *kvm_supported_cpuid(int kvm_fd, struct error *err);

/* --- memory.c --- */
int kvm_memory_init(struct kvm_engine_data *kvm, struct error *err);
void kvm_memory_fini(struct kvm_engine_data *kvm);
void kvm_dirty_start(struct engine *engine);
void kvm_dirty_stop(struct engine *engine);
void kvm_dirty_sync(struct engine *engine);

/* --- irq.c, doorbell.c --- */
extern const struct engine_irqchip_ops kvm_irqchip_ops;
int kvm_irqchip_init(struct kvm_engine_data *kvm, struct error *err);
void kvm_irqchip_fini(struct kvm_engine_data *kvm);
void kvm_doorbells_init(struct kvm_engine_data *kvm);

/* --- vcpu.c --- */
struct vcpu *kvm_vcpu_create(struct engine *engine, unsigned index, uint32_t apic_id, struct error *err);
void kvm_vcpu_destroy(struct vcpu *vcpu);
enum vcpu_exit kvm_run_vcpu(struct vcpu *vcpu, struct error *err);
void kvm_kick(struct vcpu *vcpu);
int kvm_signal_init(struct error *err);

/* --- exits.c --- */
void kvm_exit_io(struct kvm_vcpu *v);
void kvm_exit_mmio(struct kvm_vcpu *v);
void kvm_log_triple_fault(struct kvm_vcpu *v);

/* --- debug.c --- */
int kvm_debug_changed(struct engine *engine, struct error *err);
/* Before KVM_RUN: the debugger's points and step into the vCPU, if they are not there. */
void kvm_debug_apply(struct kvm_vcpu *v);
enum vcpu_exit kvm_exit_debug(struct kvm_vcpu *v);

/* --- assist.c --- */
/* KVM_EXIT_INTERNAL_ERROR: lets the interpreter execute what the kernel gave up on. VCPU_KICKED: go on. */
enum vcpu_exit kvm_assist(struct kvm_vcpu *v, struct error *err);

/* --- software.c: the run loop and the state of vCPUs where kvm->software --- */
void kvm_software_thread(struct kvm_vcpu *v);
enum vcpu_exit kvm_run_software(struct kvm_vcpu *v, struct error *err);
void kvm_software_get_state(struct kvm_vcpu *v, struct x86_state *state);
void kvm_software_set_state(struct kvm_vcpu *v, const struct x86_state *state);
/* MSRs of the local APIC, as RDMSR and WRMSR in this vCPU. */
int kvm_software_msr_read(struct kvm_vcpu *v, uint32_t msr, uint64_t *value);
int kvm_software_msr_write(struct kvm_vcpu *v, uint32_t msr, uint64_t value);
void kvm_software_clock_changed(struct kvm_engine_data *kvm, bool running);

/* --- helper.c --- */
/* The vCPU's interpreter, made at the first call. */
struct kvm_helper *kvm_helper_of(struct kvm_vcpu *v, struct error *err);
void kvm_helper_free(struct kvm_helper *h);
void kvm_helpers_free(struct kvm_engine_data *kvm);
/* Any thread: writes to pages whose flags were cleared are told again. */
void kvm_helpers_flush(struct kvm_engine_data *kvm);
/* Ends a step soon. Async-signal-safe. */
void kvm_helper_kick(struct kvm_helper *h);
/* engine.debug for the helpers. */
int kvm_helpers_debug(struct kvm_engine_data *kvm, struct error *err);
void kvm_helpers_clock(struct kvm_engine_data *kvm, bool running);
void kvm_helper_load(struct kvm_helper *h, const struct x86_state *state);
/* Up to count instructions, fewer after a fault, HLT or at an instruction that was refused; returns how many. */
uint64_t kvm_helper_step(struct kvm_helper *h, uint64_t count, enum vcpu_exit *why);
/* The last step ended at an instruction that only the kernel can execute. */
bool kvm_helper_refused(const struct kvm_helper *h);
struct x86_cpu *kvm_helper_cpu(struct kvm_helper *h);
void kvm_helper_store(struct kvm_helper *h, struct x86_state *state);

/* --- state.c, msrs.c, fpu.c --- */
void kvm_get_state(struct vcpu *vcpu, struct x86_state *state);
void kvm_set_state(struct vcpu *vcpu, const struct x86_state *state);
int kvm_translate_gva(struct vcpu *vcpu, uint64_t gva, uint64_t *gpa);
void kvm_get_registers(struct kvm_vcpu *v, struct x86_state *state);
void kvm_set_registers(struct kvm_vcpu *v, const struct x86_state *state);
void kvm_msrs_init(struct kvm_engine_data *kvm);
void kvm_get_msrs(struct kvm_vcpu *v, struct x86_state *state);
/* before NULL: all; else only those that differ from it. */
void kvm_set_msrs(struct kvm_vcpu *v, const struct x86_state *state, const struct x86_state *before);
int kvm_set_msr(struct kvm_vcpu *v, uint32_t index, uint64_t value);
int kvm_get_msr(struct kvm_vcpu *v, uint32_t index, uint64_t *value);
void kvm_fpu_init(struct kvm_engine_data *kvm);
void kvm_get_fpu(struct kvm_vcpu *v, struct x86_state *state);
void kvm_set_fpu(struct kvm_vcpu *v, const struct x86_state *state);
/* The conversion itself, for tests: image has at least kvm->xsave_bytes. */
void kvm_fpu_from_image(const struct kvm_xsave_layout *layout, const uint8_t *image, struct x86_state *state);
void kvm_fpu_to_image(const struct kvm_xsave_layout *layout, const struct x86_state *state, uint8_t *image);

/* --- clock.c --- */
void kvm_clock_init(struct kvm_engine_data *kvm);
void kvm_clock_changed(struct engine *engine, bool running);
/* After the vCPU's IA32_TSC_ADJUST was set. */
void kvm_clock_set_tsc(struct kvm_vcpu *v, uint64_t tsc_adjust);
uint64_t kvm_clock_tsc(struct kvm_engine_data *kvm);
void kvm_clock_probe(struct kvm_vcpu *v);

#endif
