/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Segmentation: descriptors, segment register loads, the checks of every data reference (SDM 3A 3.4, 5.2-5.7), LAR,
 * LSL, VERR, VERW, LLDT, LTR. Real mode keeps hidden limits and attributes on a load ("unreal mode").
 */
#include "cpu/x86/internal.h"

bool x86_descriptor_read(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *descriptor)
{
	uint32_t offset = selector & ~7u;
	uint64_t base;

	if (selector & 4) {
		if (cpu->s.ldtr.attr & X86_SEG_UNUSABLE || offset + 7 > cpu->s.ldtr.limit)
			return false;
		base = cpu->s.ldtr.base;
	} else {
		if (offset + 7 > cpu->s.gdtr.limit)
			return false;
		base = cpu->s.gdtr.base;
	}
	descriptor->gva = base + offset;
	descriptor->raw = x86_system_read64(cpu, descriptor->gva);
	descriptor->attr = descriptor->raw >> 40 & 0xf0ff;
	return true;
}

void x86_descriptor_get(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *descriptor,
			enum x86_vector vector)
{
	if (!x86_descriptor_read(cpu, selector, descriptor))
		x86_raise_error(cpu, vector, selector & ~3u);
}

uint64_t x86_descriptor_high(struct x86_cpu *cpu, const struct x86_descriptor *descriptor)
{
	return x86_system_read64(cpu, descriptor->gva + 8);
}

void x86_descriptor_accessed(struct x86_cpu *cpu, struct x86_descriptor *descriptor)
{
	if (descriptor->attr & X86_TYPE_ACCESSED)
		return;
	descriptor->attr |= X86_TYPE_ACCESSED;
	descriptor->raw |= 1ull << 40;
	x86_system_write(cpu, descriptor->gva + 5, descriptor->raw >> 40 & 0xff, 1);
}

void x86_segment_set(struct x86_segment *segment, uint16_t selector, const struct x86_descriptor *descriptor)
{
	segment->selector = selector;
	segment->base = x86_descriptor_base(descriptor->raw);
	segment->limit = x86_descriptor_limit(descriptor->raw);
	segment->attr = descriptor->attr;
}

void x86_segment_set_null(struct x86_segment *segment, uint16_t selector, unsigned dpl)
{
	*segment = (struct x86_segment){.selector = selector, .attr = X86_SEG_UNUSABLE | dpl << X86_SEG_DPL_SHIFT};
}

void x86_segment_set_real(struct x86_segment *segment, uint16_t selector)
{
	segment->selector = selector;
	segment->base = (uint32_t)selector << 4;
	if (segment->attr & X86_SEG_UNUSABLE) { /* a null selector was left behind by protected mode */
		segment->limit = 0xffff;
		segment->attr = X86_SEG_P | X86_SEG_S | X86_TYPE_WRITE | X86_TYPE_ACCESSED;
	}
}

void x86_segment_set_vm86(struct x86_segment *segment, uint16_t selector)
{
	*segment = (struct x86_segment){.selector = selector,
					.base = (uint32_t)selector << 4,
					.limit = 0xffff,
					.attr = X86_SEG_P | X86_SEG_S | X86_TYPE_WRITE | X86_TYPE_ACCESSED |
						3 << X86_SEG_DPL_SHIFT};
}

void x86_code_segment_check(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *descriptor,
			    enum x86_code_check check)
{
	unsigned rpl = selector & 3;
	unsigned dpl = x86_attr_dpl(descriptor->attr);
	bool conforming = descriptor->attr & X86_TYPE_CONFORMING;
	bool good;

	if (!x86_attr_code(descriptor->attr))
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (check == X86_CODE_RETURN)
		good = rpl >= cpu->cpl && (conforming ? dpl <= rpl : dpl == rpl);
	else
		good = conforming ? dpl <= cpu->cpl : rpl <= cpu->cpl && dpl == cpu->cpl;
	if (!good)
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (cpu->long_mode && (descriptor->attr & (X86_SEG_L | X86_SEG_DB)) == (X86_SEG_L | X86_SEG_DB))
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (!(descriptor->attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, selector & ~3u);
}

void x86_stack_segment_check(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *descriptor, unsigned cpl,
			     enum x86_vector vector)
{
	if (x86_selector_null(selector))
		x86_raise_error(cpu, vector, vector == X86_TS ? selector & ~3u : 0);
	x86_descriptor_get(cpu, selector, descriptor, vector);
	if ((selector & 3u) != cpl || x86_attr_dpl(descriptor->attr) != cpl ||
	    !x86_attr_writable_data(descriptor->attr))
		x86_raise_error(cpu, vector, selector & ~3u);
	if (!(descriptor->attr & X86_SEG_P))
		x86_raise_error(cpu, X86_SSF, selector & ~3u);
}

void x86_check_rip(struct x86_cpu *cpu, const struct x86_segment *cs, uint64_t rip)
{
	if (cpu->long_mode && cs->attr & X86_SEG_L) {
		if (!x86_canonical(cpu, rip))
			x86_raise_error(cpu, X86_GP, 0);
	} else if (rip > cs->limit) {
		x86_raise_error(cpu, X86_GP, 0);
	}
}

void x86_drop_privileged_segments(struct x86_cpu *cpu)
{
	static const uint8_t data[] = {X86_ES, X86_DS, X86_FS, X86_GS};

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct x86_segment *segment = &cpu->s.seg[data[i]];
		bool conforming_code = x86_attr_code(segment->attr) && segment->attr & X86_TYPE_CONFORMING;

		if (segment->attr & X86_SEG_UNUSABLE)
			continue;
		if (x86_attr_dpl(segment->attr) < cpu->cpl && !conforming_code) {
			uint64_t base = segment->base;

			x86_segment_set_null(segment, 0, 0);
			if (cpu->long_mode) /* the hidden base survives, as FS and GS of a 64-bit task need */
				segment->base = base;
		}
	}
}

/* --- loading data segments --- */

static void load_stack_segment(struct x86_cpu *cpu, uint16_t selector)
{
	struct x86_descriptor descriptor;

	if (x86_selector_null(selector)) {
		if (cpu->code_mode != X86_CODE64 || cpu->cpl == 3 || (selector & 3u) != cpu->cpl)
			x86_raise_error(cpu, X86_GP, 0);
		x86_segment_set_null(&cpu->s.seg[X86_SS], selector, cpu->cpl);
		return;
	}
	x86_stack_segment_check(cpu, selector, &descriptor, cpu->cpl, X86_GP);
	x86_descriptor_accessed(cpu, &descriptor);
	x86_segment_set(&cpu->s.seg[X86_SS], selector, &descriptor);
}

static void load_data_segment(struct x86_cpu *cpu, unsigned number, uint16_t selector)
{
	struct x86_descriptor descriptor;
	bool code, conforming;
	unsigned dpl;

	if (x86_selector_null(selector)) {
		x86_segment_set_null(&cpu->s.seg[number], selector, 0);
		return;
	}
	x86_descriptor_get(cpu, selector, &descriptor, X86_GP);
	code = x86_attr_code(descriptor.attr);
	conforming = code && descriptor.attr & X86_TYPE_CONFORMING;
	dpl = x86_attr_dpl(descriptor.attr);
	if (!(descriptor.attr & X86_SEG_S) || (code && !(descriptor.attr & X86_TYPE_READ)) ||
	    (!conforming && ((selector & 3u) > dpl || cpu->cpl > dpl)))
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (!(descriptor.attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, selector & ~3u);
	x86_descriptor_accessed(cpu, &descriptor);
	x86_segment_set(&cpu->s.seg[number], selector, &descriptor);
}

void x86_load_segment(struct x86_cpu *cpu, unsigned number, uint16_t selector)
{
	if (cpu->vm86)
		x86_segment_set_vm86(&cpu->s.seg[number], selector);
	else if (!cpu->protected_mode)
		x86_segment_set_real(&cpu->s.seg[number], selector);
	else if (number == X86_SS)
		load_stack_segment(cpu, selector);
	else
		load_data_segment(cpu, number, selector);
	if (number < X86_FS)
		x86_mode_update(cpu);
}

/* --- data references --- */

_Noreturn static void raise_segment(struct x86_cpu *cpu, unsigned number)
{
	x86_raise_error(cpu, number == X86_SS ? X86_SSF : X86_GP, 0);
}

static bool segment_allows(const struct x86_cpu *cpu, const struct x86_segment *segment, unsigned access)
{
	if (segment->attr & X86_SEG_UNUSABLE)
		return false;
	if (!cpu->protected_mode)
		return true;
	if (access & X86_FETCH)
		return x86_attr_code(segment->attr);
	if (segment->attr & X86_TYPE_CODE)
		return !(access & X86_WRITE) && segment->attr & X86_TYPE_READ;
	return !(access & X86_WRITE) || segment->attr & X86_TYPE_WRITE;
}

static bool offset_inside(const struct x86_segment *segment, uint32_t offset, unsigned size)
{
	uint64_t last = (uint64_t)offset + size - 1;

	if ((segment->attr & (X86_SEG_S | X86_TYPE_CODE | X86_TYPE_DOWN)) == (X86_SEG_S | X86_TYPE_DOWN))
		return offset > segment->limit && last <= (segment->attr & X86_SEG_DB ? 0xffffffffu : 0xffffu);
	/* A reference that wraps around the end of a full segment passes, as on most CPUs (SDM 3A 5.3). */
	return last <= segment->limit || segment->limit == 0xffffffff;
}

uint64_t x86_linear(struct x86_cpu *cpu, unsigned number, uint64_t offset, unsigned size, unsigned access)
{
	const struct x86_segment *segment = &cpu->s.seg[number];

	if (__builtin_expect(cpu->code_mode == X86_CODE64, 1)) {
		if (number >= X86_FS)
			offset += segment->base;
		if (__builtin_expect(!x86_canonical(cpu, offset) || !x86_canonical(cpu, offset + size - 1), 0))
			raise_segment(cpu, number);
		return offset;
	}
	if (cpu->flat_data && number < X86_FS && number != X86_CS)
		return (uint32_t)offset;
	if (!segment_allows(cpu, segment, access) || !offset_inside(segment, (uint32_t)offset, size))
		raise_segment(cpu, number);
	return (uint32_t)(segment->base + offset);
}

/* --- LAR, LSL, VERR, VERW --- */

/* The descriptor when the selector is visible at this CPL and RPL. */
static bool visible_descriptor(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *descriptor)
{
	unsigned dpl;

	if (x86_selector_null(selector) || !x86_descriptor_read(cpu, selector, descriptor))
		return false;
	dpl = x86_attr_dpl(descriptor->attr);
	if (x86_attr_code(descriptor->attr) && descriptor->attr & X86_TYPE_CONFORMING)
		return true;
	return dpl >= cpu->cpl && dpl >= (selector & 3u);
}

/* In long mode the 16-bit types do not exist. */
static bool lar_type_valid(const struct x86_cpu *cpu, unsigned type, bool gates)
{
	switch (type) {
	case X86_SYS_LDT:
	case X86_SYS_TSS32:
	case X86_SYS_TSS32_BUSY:
		return true;
	case X86_SYS_TSS16:
	case X86_SYS_TSS16_BUSY:
		return !cpu->long_mode;
	case X86_SYS_CALL_GATE32:
		return gates;
	case X86_SYS_CALL_GATE16:
	case X86_SYS_TASK_GATE:
		return gates && !cpu->long_mode;
	default:
		return false;
	}
}

bool x86_lar(struct x86_cpu *cpu, uint16_t selector, uint32_t *rights)
{
	struct x86_descriptor descriptor;

	if (!visible_descriptor(cpu, selector, &descriptor))
		return false;
	if (!(descriptor.attr & X86_SEG_S) && !lar_type_valid(cpu, descriptor.attr & X86_SEG_TYPE, true))
		return false;
	*rights = descriptor.raw >> 32 & 0x00f0ff00;
	return true;
}

bool x86_lsl(struct x86_cpu *cpu, uint16_t selector, uint32_t *limit)
{
	struct x86_descriptor descriptor;

	if (!visible_descriptor(cpu, selector, &descriptor))
		return false;
	if (!(descriptor.attr & X86_SEG_S) && !lar_type_valid(cpu, descriptor.attr & X86_SEG_TYPE, false))
		return false;
	*limit = x86_descriptor_limit(descriptor.raw);
	return true;
}

bool x86_verify(struct x86_cpu *cpu, uint16_t selector, bool write)
{
	struct x86_descriptor descriptor;

	if (!visible_descriptor(cpu, selector, &descriptor) || !(descriptor.attr & X86_SEG_S))
		return false;
	if (descriptor.attr & X86_TYPE_CODE)
		return !write && descriptor.attr & X86_TYPE_READ;
	return !write || descriptor.attr & X86_TYPE_WRITE;
}

/* --- LLDT, LTR --- */

static void system_segment_set(struct x86_cpu *cpu, struct x86_segment *segment, uint16_t selector,
			       const struct x86_descriptor *descriptor, uint64_t high)
{
	uint64_t base = x86_descriptor_base(descriptor->raw);

	if (cpu->long_mode) {
		base |= high << 32;
		if (!x86_canonical(cpu, base))
			x86_raise_error(cpu, X86_GP, selector & ~3u);
	}
	x86_segment_set(segment, selector, descriptor);
	segment->base = base;
}

void x86_lldt(struct x86_cpu *cpu, uint16_t selector)
{
	struct x86_descriptor descriptor;
	uint64_t high = 0;

	if (x86_selector_null(selector)) {
		x86_segment_set_null(&cpu->s.ldtr, selector, 0);
		return;
	}
	if (selector & 4)
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	x86_descriptor_get(cpu, selector, &descriptor, X86_GP);
	if ((descriptor.attr & (X86_SEG_S | X86_SEG_TYPE)) != X86_SYS_LDT)
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (cpu->long_mode) {
		if ((selector | 7u) + 8 > cpu->s.gdtr.limit)
			x86_raise_error(cpu, X86_GP, selector & ~3u);
		high = x86_descriptor_high(cpu, &descriptor);
		if (high >> 40 & 0x1f)
			x86_raise_error(cpu, X86_GP, selector & ~3u);
	}
	if (!(descriptor.attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, selector & ~3u);
	system_segment_set(cpu, &cpu->s.ldtr, selector, &descriptor, high);
}

void x86_ltr(struct x86_cpu *cpu, uint16_t selector)
{
	struct x86_descriptor descriptor;
	uint64_t high = 0;
	unsigned type;

	if (x86_selector_null(selector))
		x86_raise_error(cpu, X86_GP, 0);
	if (selector & 4)
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	x86_descriptor_get(cpu, selector, &descriptor, X86_GP);
	type = descriptor.attr & (X86_SEG_S | X86_SEG_TYPE);
	if (type != X86_SYS_TSS32 && (type != X86_SYS_TSS16 || cpu->long_mode))
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (cpu->long_mode) {
		if ((selector | 7u) + 8 > cpu->s.gdtr.limit)
			x86_raise_error(cpu, X86_GP, selector & ~3u);
		high = x86_descriptor_high(cpu, &descriptor);
		if (high >> 40 & 0x1f)
			x86_raise_error(cpu, X86_GP, selector & ~3u);
	}
	if (!(descriptor.attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, selector & ~3u);
	descriptor.attr |= 2; /* busy */
	descriptor.raw |= 2ull << 40;
	x86_system_write(cpu, descriptor.gva + 5, descriptor.raw >> 40 & 0xff, 1);
	system_segment_set(cpu, &cpu->s.tr, selector, &descriptor, high);
}
