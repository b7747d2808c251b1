/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models and feature flags: `-cpu NAME,+f,-f,f=on|off` becomes the CPUID table that every engine offers. */
#ifndef XUNI_CPU_X86_FEATURES_H
#define XUNI_CPU_X86_FEATURES_H

#include "base/error.h"
#include "core/cpuid.h"
#include "core/engine.h"

/* Booleans that the engines consult at run time; filled from the table. */
struct x86_features {
	bool sse, sse2, sse3, ssse3, sse41, sse42, avx, avx2, fma, bmi1, bmi2, f16c, movbe, lzcnt, popcnt, aes, pclmul,
		sha;
	bool xsave, xsaveopt, xsavec, xsaves, rdrand, rdseed, rdtscp, fsgsbase, smep, smap, umip, pcid, invpcid, pge,
		pse, pae, page1gb;
	bool nx, cx16, pku, adx, rdpid, clflushopt, x2apic, tsc_deadline, syscall, lm, mtrr, la57, gfni, vaes, vpclmul;
	bool avx512, avx512dq, avx512bw, avx512cd, avx512vl, avx512ifma, avx512vbmi, avx512_vbmi2, avx512_vnni, avx512_bitalg,
		avx512_vpopcntdq, avx512_bf16;
	uint64_t xcr0_supported, xss_supported;
	unsigned phys_bits, linear_bits;
	uint64_t cr4_reserved;
	bool auto_ibrs;             /* EFER bit 21 may be set; it does nothing */
	uint64_t arch_capabilities; /* IA32_ARCH_CAPABILITIES (0x10a), there when CPUID 7.0 EDX bit 29 is */
};

struct cpu_topology {
	unsigned vcpus, sockets, dies, cores, threads;
};

/* What an engine can execute: feature words as CPUID tables. The software engines' comes from x86_engine_offer
 * (everything they implement, less what the host lacks for native execution), KVM's from KVM_GET_SUPPORTED_CPUID. */
void x86_engine_offer(struct cpuid_table *offer);

/* Builds the table for `-cpu text` (NULL: "max" for the software engines, "host" for kvm), limited by the offer. A flag
 * that was asked for with + or =on and that the offer lacks is an error naming it, the model and the engine.
 * kvm_leaves: the 0x40000000 leaves (kvmclock). tsc_khz goes into leaves 0x15/0x16 and 0x40000010. */
int x86_cpuid_build(struct cpuid_table *table, const char *text, const struct cpuid_table *offer,
		    const char *engine_name, const struct cpu_topology *topology, uint64_t tsc_khz, bool kvm_leaves,
		    unsigned phys_bits, struct error *err);
void x86_cpuid_free(struct cpuid_table *table);
void x86_features_from(struct x86_features *features, const struct cpuid_table *table);
/* Fills in what differs from vCPU to vCPU (APIC ids); entry is a copy of a table's row. */
void x86_cpuid_for_vcpu(struct cpuid_entry *entry, uint32_t apic_id);
/* Where a state component (2 AVX, 5-7 AVX-512, 9 PKRU) lies in the standard XSAVE image: false when there is none. */
bool x86_xsave_component(const struct cpuid_table *table, unsigned component, uint32_t *size, uint32_t *offset);
/* Text for `-cpu help`: models, then flags. Freed by the caller. */
char *x86_cpu_help(void);
/* The x2APIC id of a vCPU in a topology (SDM 3A 9.9). */
uint32_t x86_apic_id(const struct cpu_topology *topology, unsigned index);

#endif
