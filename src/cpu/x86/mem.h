/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fast path of guest memory accesses by linear address: a TLB hit inside one page is an inline host access.
 * gva is already segmented, masked and (in 64-bit mode) checked for canonicality. */
#ifndef XUNI_CPU_X86_MEM_H
#define XUNI_CPU_X86_MEM_H

#include "core/ram.h"
#include "cpu/x86/cpu.h"

#include <string.h>

static inline struct x86_tlb_entry *x86_tlb_slot(struct x86_cpu *cpu, uint64_t gva)
{
	return &cpu->tlb_active[(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];
}

#define X86_MEM_ACCESSORS(bits)                                                                            \
	static inline uint##bits##_t x86_read##bits(struct x86_cpu *cpu, uint64_t gva)                     \
	{                                                                                                  \
		const struct x86_tlb_entry *entry = x86_tlb_slot(cpu, gva);                                \
		uint##bits##_t value;                                                                      \
		if (__builtin_expect(((gva + (bits) / 8 - 1) & ~(PAGE_SIZE - 1)) == entry->tag_read &&     \
		                             (gva & ~(PAGE_SIZE - 1)) == entry->tag_read, 1)) {            \
			memcpy(&value, (const void *)(gva + entry->addend), sizeof(value));                \
			return value;                                                                      \
		}                                                                                          \
		x86_read_slow(cpu, gva, &value, sizeof(value), cpu->cpl == 3 ? X86_USER : 0);              \
		return value;                                                                              \
	}                                                                                                  \
	static inline void x86_write##bits(struct x86_cpu *cpu, uint64_t gva, uint##bits##_t value)        \
	{                                                                                                  \
		const struct x86_tlb_entry *entry = x86_tlb_slot(cpu, gva);                                \
		if (__builtin_expect(((gva + (bits) / 8 - 1) & ~(PAGE_SIZE - 1)) == entry->tag_write &&    \
		                             (gva & ~(PAGE_SIZE - 1)) == entry->tag_write, 1)) {           \
			memcpy((void *)(gva + entry->addend), &value, sizeof(value));                      \
			return;                                                                            \
		}                                                                                          \
		x86_write_slow(cpu, gva, &value, sizeof(value), cpu->cpl == 3 ? X86_USER : 0);             \
	}

X86_MEM_ACCESSORS(8)
X86_MEM_ACCESSORS(16)
X86_MEM_ACCESSORS(32)
X86_MEM_ACCESSORS(64)
#undef X86_MEM_ACCESSORS

#endif
