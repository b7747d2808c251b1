/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Segmentation as 32-bit code depends on it. What all segment registers allow together is numbered, and the number is
 * part of a block's key: limits and rights are constants in the code, bases are read when they are not 0. A system with
 * flat segments gets by with a handful of numbers. Expand-down segments, and 32-bit code on a 16-bit stack, are the
 * interpreter's. Specification: SDM 3A 3.4, 5.3, 5.5.
 */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/mmu/mmu.h"

enum {
	TYPE_ACCESSED = 1,
	TYPE_WRITE_OR_READ = 2,
	TYPE_DOWN_OR_CONFORMING = 4,
	TYPE_CODE = 8,
};

static uint8_t rights_of(const struct x86_segment *segment, unsigned number)
{
	uint8_t rights = segment->base ? SEGMENT_BASE : 0;
	bool code = segment->attr & TYPE_CODE;

	if (segment->attr & X86_SEG_UNUSABLE || !(segment->attr & X86_SEG_S) ||
	    (!code && segment->attr & TYPE_DOWN_OR_CONFORMING))
		return 0;
	if (!code || segment->attr & TYPE_WRITE_OR_READ)
		rights |= SEGMENT_READ;
	if (!code && segment->attr & TYPE_WRITE_OR_READ && number != X86_CS)
		rights |= SEGMENT_WRITE;
	return rights;
}

static void read_segmentation(const struct x86_state *s, struct segmentation *to)
{
	to->code_base = (uint32_t)s->seg[X86_CS].base;
	for (unsigned i = 0; i < SEGMENTS; i++) {
		to->rights[i] = rights_of(&s->seg[i], i);
		/* Null segments hold old limits. */
		to->limit[i] = to->rights[i] || i == X86_CS ? s->seg[i].limit : 0;
	}
}

int segments_number(struct translator *t)
{
	const struct x86_cpu *cpu = t->cpu;
	struct segmentation now = {0};

	if (cpu->stack_mask != 0xffffffff)
		return -1;
	read_segmentation(&cpu->s, &now);
	if (t->segmentation_last && !memcmp(&t->segmentation[t->segmentation_last], &now, sizeof(now)))
		return (int)t->segmentation_last;
	for (unsigned i = 1; i < t->segmentation_count; i++) {
		if (!memcmp(&t->segmentation[i], &now, sizeof(now))) {
			t->segmentation_last = i;
			return (int)i;
		}
	}
	if (t->segmentation_count == SEGMENTATIONS) {
		code_flush(t); /* no block's key may name a number that changes its meaning */
		t->segmentation_count = 0;
	}
	if (!t->segmentation_count)
		t->segmentation_count = 1; /* number 0 is 64-bit code's */
	t->segmentation_last = t->segmentation_count++;
	t->segmentation[t->segmentation_last] = now;
	return (int)t->segmentation_last;
}
