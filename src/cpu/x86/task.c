/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hardware task switching, SDM 3A chapter 7, for 16- and 32-bit TSSs; called for by JMP, CALL, IRET and task gates.
 *
 * Everything that can fault in the old task (reading the new TSS, writing the old one, the busy bits) comes before the
 * commit; the loads of LDTR and the segments fault in the new task, as the SDM says (7.3 step 11).
 */
#include "cpu/x86/internal.h"

enum { TSS32_LIMIT = 0x67, TSS16_LIMIT = 0x2b };

/* Registers in a TSS's order after the flags; the segments in the order ES, CS, SS, DS, FS, GS of enum X86_ES... */
struct task_image {
	uint64_t cr3;
	uint32_t rip, flags;
	uint32_t gpr[8];
	uint16_t segment[X86_SEGMENTS];
	uint16_t ldt;
	bool trap;
};

_Noreturn static void ts(struct x86_cpu *cpu, uint16_t selector)
{
	x86_raise_error(cpu, X86_TS, selector & ~3u);
}

static bool is_wide(uint32_t attr)
{
	return attr & 8;
}

static void image_read32(struct x86_cpu *cpu, uint64_t base, struct task_image *image)
{
	image->cr3 = x86_system_read32(cpu, base + 0x1c);
	image->rip = x86_system_read32(cpu, base + 0x20);
	image->flags = x86_system_read32(cpu, base + 0x24);
	for (unsigned i = 0; i < 8; i++)
		image->gpr[i] = x86_system_read32(cpu, base + 0x28 + 4 * i);
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		image->segment[i] = x86_system_read16(cpu, base + 0x48 + 4 * i);
	image->ldt = x86_system_read16(cpu, base + 0x60);
	image->trap = x86_system_read16(cpu, base + 0x64) & 1;
}

static void image_read16(struct x86_cpu *cpu, uint64_t base, struct task_image *image)
{
	image->cr3 = cpu->s.cr3;
	image->rip = x86_system_read16(cpu, base + 0x0e);
	image->flags = x86_system_read16(cpu, base + 0x10);
	for (unsigned i = 0; i < 8; i++)
		image->gpr[i] = x86_system_read16(cpu, base + 0x12 + 2 * i);
	for (unsigned i = 0; i < 4; i++)
		image->segment[i] = x86_system_read16(cpu, base + 0x22 + 2 * i);
	image->segment[X86_FS] = image->segment[X86_GS] = 0;
	image->ldt = x86_system_read16(cpu, base + 0x2a);
	image->trap = false;
}

static void save_old(struct x86_cpu *cpu, uint64_t rip, uint64_t flags)
{
	uint64_t base = cpu->s.tr.base;

	if (is_wide(cpu->s.tr.attr)) {
		x86_system_write(cpu, base + 0x20, rip, 4);
		x86_system_write(cpu, base + 0x24, flags, 4);
		for (unsigned i = 0; i < 8; i++)
			x86_system_write(cpu, base + 0x28 + 4 * i, cpu->s.gpr[i], 4);
		for (unsigned i = 0; i < X86_SEGMENTS; i++)
			x86_system_write(cpu, base + 0x48 + 4 * i, cpu->s.seg[i].selector, 2);
	} else {
		x86_system_write(cpu, base + 0x0e, rip, 2);
		x86_system_write(cpu, base + 0x10, flags, 2);
		for (unsigned i = 0; i < 8; i++)
			x86_system_write(cpu, base + 0x12 + 2 * i, cpu->s.gpr[i], 2);
		for (unsigned i = 0; i < 4; i++)
			x86_system_write(cpu, base + 0x22 + 2 * i, cpu->s.seg[i].selector, 2);
	}
}

static void write_busy(struct x86_cpu *cpu, struct x86_descriptor *descriptor, bool busy)
{
	descriptor->attr = (descriptor->attr & ~2u) | (busy ? 2 : 0);
	descriptor->raw = (descriptor->raw & ~(2ull << 40)) | (busy ? 2ull << 40 : 0);
	x86_system_write(cpu, descriptor->gva + 5, descriptor->raw >> 40 & 0xff, 1);
}

/* --- the new task's segments; faults belong to it --- */

static void load_ldt(struct x86_cpu *cpu, uint16_t selector)
{
	struct x86_descriptor descriptor;

	x86_segment_set_null(&cpu->s.ldtr, selector, 0);
	if (x86_selector_null(selector))
		return;
	if (selector & 4)
		ts(cpu, selector);
	x86_descriptor_get(cpu, selector, &descriptor, X86_TS);
	if ((descriptor.attr & (X86_SEG_S | X86_SEG_TYPE | X86_SEG_P)) != (X86_SYS_LDT | X86_SEG_P))
		ts(cpu, selector);
	x86_segment_set(&cpu->s.ldtr, selector, &descriptor);
}

static void load_code(struct x86_cpu *cpu, uint16_t selector)
{
	struct x86_descriptor descriptor;
	unsigned rpl = selector & 3, dpl;

	if (x86_selector_null(selector))
		ts(cpu, selector);
	x86_descriptor_get(cpu, selector, &descriptor, X86_TS);
	dpl = x86_attr_dpl(descriptor.attr);
	if (!x86_attr_code(descriptor.attr) || (descriptor.attr & X86_TYPE_CONFORMING ? dpl > rpl : dpl != rpl))
		ts(cpu, selector);
	if (!(descriptor.attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, selector & ~3u);
	x86_descriptor_accessed(cpu, &descriptor);
	x86_segment_set(&cpu->s.seg[X86_CS], selector, &descriptor);
}

static void load_data(struct x86_cpu *cpu, unsigned number, uint16_t selector, unsigned cpl)
{
	struct x86_descriptor descriptor;
	bool code, conforming;
	unsigned dpl;

	if (x86_selector_null(selector))
		return;
	x86_descriptor_get(cpu, selector, &descriptor, X86_TS);
	code = x86_attr_code(descriptor.attr);
	conforming = code && descriptor.attr & X86_TYPE_CONFORMING;
	dpl = x86_attr_dpl(descriptor.attr);
	if (!(descriptor.attr & X86_SEG_S) || (code && !(descriptor.attr & X86_TYPE_READ)) ||
	    (!conforming && (cpl > dpl || (selector & 3u) > dpl)))
		ts(cpu, selector);
	if (!(descriptor.attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, selector & ~3u);
	x86_descriptor_accessed(cpu, &descriptor);
	x86_segment_set(&cpu->s.seg[number], selector, &descriptor);
}

static void load_segments(struct x86_cpu *cpu, const struct task_image *image)
{
	static const uint8_t data[] = {X86_DS, X86_ES, X86_FS, X86_GS};
	unsigned cpl = image->segment[X86_CS] & 3;
	struct x86_descriptor descriptor;

	load_ldt(cpu, image->ldt);
	if (cpu->s.rflags & X86_VM) {
		for (unsigned i = 0; i < X86_SEGMENTS; i++)
			x86_segment_set_vm86(&cpu->s.seg[i], image->segment[i]);
		x86_mode_update(cpu);
		return;
	}
	load_code(cpu, image->segment[X86_CS]);
	x86_mode_update(cpu);
	x86_stack_segment_check(cpu, image->segment[X86_SS], &descriptor, cpl, X86_TS);
	x86_descriptor_accessed(cpu, &descriptor);
	x86_segment_set(&cpu->s.seg[X86_SS], image->segment[X86_SS], &descriptor);
	x86_mode_update(cpu);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		load_data(cpu, data[i], image->segment[data[i]], cpl);
	x86_mode_update(cpu);
}

/* --- the switch --- */

static void commit(struct x86_cpu *cpu, const struct task_image *image, uint16_t selector,
		   const struct x86_descriptor *descriptor, bool nested)
{
	unsigned cpl = image->segment[X86_CS] & 3;

	x86_segment_set(&cpu->s.tr, selector, descriptor);
	cpu->s.tr.attr |= 2;
	cpu->s.cr0 |= X86_CR0_TS;
	cpu->s.dr7 &= ~0x155ull; /* L0-L3, LE */
	for (unsigned i = 0; i < 8; i++)
		cpu->s.gpr[i] = image->gpr[i];
	cpu->s.rip = image->rip;
	/* Until they are loaded the segments are unusable, so that a fault sees the new task's selectors and CPL. */
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		x86_segment_set_null(&cpu->s.seg[i], image->segment[i], i == X86_SS ? cpl : 0);
	x86_rflags_replace(cpu, image->flags | (nested ? X86_NT : 0), ~0ull);
	if (cpu->paging && is_wide(descriptor->attr) && image->cr3 != cpu->s.cr3) {
		cpu->s.cr3 = image->cr3;
		x86_tlb_flush_local(cpu);
		x86_tlb_tell_entered(cpu);
		if (!x86_load_pdptes(cpu, cpu->s.cr0, cpu->s.cr3, cpu->s.cr4)) {
			x86_mode_update(cpu);
			ts(cpu, selector);
		}
	}
	x86_mode_update(cpu);
	if (image->trap)
		cpu->debug_pending |= 1 << 15; /* BT */
}

void x86_task_switch(struct x86_cpu *cpu, uint16_t selector, enum x86_task_source source, uint64_t next_rip)
{
	bool nested = source == X86_TASK_CALL || source == X86_TASK_INTERRUPT;
	struct x86_descriptor new_tss, old_tss;
	struct task_image image;
	uint64_t flags, base;

	x86_flags_sync(cpu);
	flags = (cpu->s.rflags & X86_RFLAGS_DEFINED) | 2;
	x86_descriptor_get(cpu, selector, &new_tss, X86_TS);
	base = x86_descriptor_base(new_tss.raw);
	if (x86_descriptor_limit(new_tss.raw) < (is_wide(new_tss.attr) ? TSS32_LIMIT : TSS16_LIMIT))
		ts(cpu, selector);
	if (is_wide(new_tss.attr))
		image_read32(cpu, base, &image);
	else
		image_read16(cpu, base, &image);
	if (cpu->s.tr.limit < (is_wide(cpu->s.tr.attr) ? TSS32_LIMIT : TSS16_LIMIT))
		ts(cpu, cpu->s.tr.selector);
	if (source == X86_TASK_IRET)
		flags &= ~(uint64_t)X86_NT;
	save_old(cpu, next_rip, flags);
	if (nested)
		x86_system_write(cpu, base, cpu->s.tr.selector, 2);
	if (!nested) {
		x86_descriptor_get(cpu, cpu->s.tr.selector, &old_tss, X86_TS);
		write_busy(cpu, &old_tss, false);
	}
	if (source != X86_TASK_IRET)
		write_busy(cpu, &new_tss, true);
	commit(cpu, &image, selector, &new_tss, nested);
	load_segments(cpu, &image);
}

void x86_task_gate(struct x86_cpu *cpu, uint64_t gate, enum x86_task_source source, uint64_t next_rip)
{
	uint16_t selector = gate >> 16 & 0xffff;
	struct x86_descriptor descriptor;
	unsigned type;

	if (selector & 4)
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	x86_descriptor_get(cpu, selector, &descriptor, X86_GP);
	type = descriptor.attr & (X86_SEG_S | X86_SEG_TYPE);
	if (type != X86_SYS_TSS16 && type != X86_SYS_TSS32)
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (!(descriptor.attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, selector & ~3u);
	x86_task_switch(cpu, selector, source, next_rip);
}
