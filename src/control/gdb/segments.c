/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A debugger's write to a segment register: what MOV and a far jump do with the selector, without a change of privilege
 * (SDM 3A 3.4.3 Segment Registers, 5.5 Privilege Levels, 5.8.1). Call gates are not followed, accessed bits not set.
 */
#include "control/gdb/internal.h"

#include "base/util.h"

enum { TYPE_CODE = 8, TYPE_CONFORMING = 4, TYPE_WRITABLE_OR_READABLE = 2, SELECTOR_LDT = 4, SELECTOR_RPL = 3 };

static bool in_real_mode(const struct x86_state *s)
{
	return !(s->cr0 & 1) || s->rflags >> 17 & 1;
}

static bool in_long_mode(const struct x86_state *s)
{
	return s->efer >> 10 & 1;
}

static unsigned privilege(const struct x86_segment *segment)
{
	return segment->attr >> X86_SEG_DPL_SHIFT & 3;
}

/* False: the selector is outside of its table, or that is not mapped. */
static bool read_descriptor(struct gdb *gdb, const struct x86_state *s, uint16_t selector, struct x86_segment *segment)
{
	const bool local = selector & SELECTOR_LDT;
	const uint64_t base = local ? s->ldtr.base : s->gdtr.base;
	const uint32_t limit = local ? s->ldtr.limit : s->gdtr.limit, offset = selector & ~7u;
	uint8_t bytes[8];
	uint32_t low, high;

	if (local && s->ldtr.attr & X86_SEG_UNUSABLE)
		return false;
	if (offset + 7 > limit || !gdb_read_gva(gdb, base + offset, bytes, sizeof(bytes)))
		return false;
	low = load_le32(bytes);
	high = load_le32(bytes + 4);
	*segment = (struct x86_segment){.base = (low >> 16) | (high & 0xff) << 16 | (high & 0xff000000),
					.limit = (low & 0xffff) | (high & 0xf0000),
					.attr = (high >> 8 & 0xff) | (high >> 8 & 0xf000),
					.selector = selector};
	if (segment->attr & X86_SEG_G)
		segment->limit = segment->limit << 12 | 0xfff;
	return true;
}

static bool may_be_code(const struct x86_state *s, const struct x86_segment *segment, unsigned cpl)
{
	const unsigned rpl = segment->selector & SELECTOR_RPL, dpl = privilege(segment);

	if (!(segment->attr & TYPE_CODE) || rpl != cpl)
		return false;
	if (segment->attr & X86_SEG_L && (segment->attr & X86_SEG_DB || !in_long_mode(s)))
		return false;
	return segment->attr & TYPE_CONFORMING ? dpl <= cpl : dpl == cpl;
}

static bool may_be_stack(const struct x86_segment *segment, unsigned cpl)
{
	return !(segment->attr & TYPE_CODE) && segment->attr & TYPE_WRITABLE_OR_READABLE &&
	       (segment->selector & SELECTOR_RPL) == cpl && privilege(segment) == cpl;
}

static bool may_be_data(const struct x86_segment *segment, unsigned cpl)
{
	const bool code = segment->attr & TYPE_CODE, conforming = code && segment->attr & TYPE_CONFORMING;

	if (code && !(segment->attr & TYPE_WRITABLE_OR_READABLE))
		return false;
	return conforming || (privilege(segment) >= cpl && privilege(segment) >= (segment->selector & SELECTOR_RPL));
}

/* A null selector: where none is needed, the register becomes unusable. */
static bool clear_segment(struct x86_state *s, unsigned number, uint16_t selector)
{
	if (number == X86_CS || number == X86_SS)
		return false;
	s->seg[number] = (struct x86_segment){.selector = selector, .attr = X86_SEG_UNUSABLE};
	return true;
}

bool gdb_load_segment(struct gdb *gdb, struct x86_state *s, unsigned number, uint16_t selector)
{
	const unsigned cpl = privilege(&s->seg[X86_SS]);
	struct x86_segment segment;
	bool right;

	if (s->seg[number].selector == selector)
		return true;
	if (in_real_mode(s)) {
		s->seg[number].selector = selector;
		s->seg[number].base = (uint64_t)selector << 4;
		return true;
	}
	if (!(selector & ~SELECTOR_RPL))
		return clear_segment(s, number, selector);
	if (!read_descriptor(gdb, s, selector, &segment) || !(segment.attr & X86_SEG_S) || !(segment.attr & X86_SEG_P))
		return false;
	if (number == X86_CS)
		right = may_be_code(s, &segment, cpl);
	else
		right = number == X86_SS ? may_be_stack(&segment, cpl) : may_be_data(&segment, cpl);
	if (!right)
		return false;
	segment.attr |= 1; /* accessed */
	s->seg[number] = segment;
	if (number == X86_CS && !(segment.attr & X86_SEG_L))
		s->rip = (uint32_t)s->rip;
	return true;
}
