/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What CPUID answers, as a table: built once per machine by cpu/x86, read by every engine. */
#ifndef XUNI_CORE_CPUID_H
#define XUNI_CORE_CPUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpuid_entry {
	uint32_t leaf, subleaf;
	bool subleaf_matters;
	uint32_t eax, ebx, ecx, edx;
};

/* Not a CPUID leaf: the row of a table that holds IA32_ARCH_CAPABILITIES (low half in eax, high half in edx), because
 * that MSR is part of what a CPU offers. CPUID never returns it: it lies above every range. */
#define CPUID_ARCH_CAPABILITIES 0xffff010au

/* Fields that depend on the vCPU (APIC ids) or on its state (OSXSAVE, XSAVE sizes, OSPKE) are filled in at execution. */
struct cpuid_table {
	struct cpuid_entry *entries;
	size_t count;
};

#endif
