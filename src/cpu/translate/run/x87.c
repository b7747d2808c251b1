/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 and MMX in the host's own registers. They are the guest's while x87_loaded: from the head of the first block that
 * needs them until code leaves. What is saved then stays in x87_image, in the host's XSAVE form, for as long as the
 * translator has the vCPU (x87_valid); the neutral state gets it before anybody else does (x87_give).
 *
 * An unmasked exception makes the next instruction that waits fail on the host (SIGFPE), which the interpreter executes
 * again and raises #MF. The host keeps its own addresses of the last instruction and operand: the first is translated
 * back, the second is left as the interpreter last saw it.
 *
 * Specification: SDM 1 8.1.10, 13.4.1, 13.7, 13.8.
 */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/run/run.h"

static void put_xsave(struct emitter *e, unsigned operation, const void *image)
{
	PUT(e, 0x48, 0x0f, 0xae); /* xsave64 4, xrstor64 5 */
	put_operand(e, operation, -1, -1, 0, (int32_t)low_address(image));
}

static void component_mask(struct emitter *e)
{
	PUT(e, 0x31, 0xd2, 0xb8, 1, 0, 0, 0); /* xor edx, edx; mov eax, 1 */
}

static void put_flag(struct emitter *e, const void *address, bool value)
{
	op_abs(e, false, 0xc6, 0, address);
	put8(e, value);
}

/* Loads and goes on at fpu_return; leaves at t->site when there is no image. Changes EFLAGS. */
static void emit_load(struct translator *t, struct emitter *e)
{
	uint32_t missing;

	t->x87_load = low_address(t->exec_base) + e->at;
	op_abs(e, false, 0x80, 7, &t->x87_valid);
	put8(e, 0);
	missing = branch_ahead(e, CONDITION_E);
	store_abs(e, RAX, &t->spill[0]);
	store_abs(e, RDX, &t->spill[1]);
	component_mask(e);
	put_xsave(e, 5, &t->x87_image);
	load_abs(e, RAX, &t->spill[0]);
	load_abs(e, RDX, &t->spill[1]);
	put_flag(e, &t->x87_loaded, true);
	op_abs(e, false, 0xff, 4, &t->fpu_return);
	patch32(e->base, missing, e->at);
	put_flag(e, &t->x87_missing, true);
	jump_to(e, t->leave);
}

/* As part of leaving: registers are free. */
void x87_emit_unload(struct translator *t, struct emitter *e)
{
	uint32_t over;

	put_flag(e, &t->x87_was, false);
	op_abs(e, false, 0x80, 7, &t->x87_loaded);
	put8(e, 0);
	over = branch_ahead(e, CONDITION_E);
	component_mask(e);
	put_xsave(e, 4, &t->x87_image);
	PUT(e, 0xdb, 0xe3); /* fninit: C's */
	put_flag(e, &t->x87_loaded, false);
	put_flag(e, &t->x87_was, true);
	put_flag(e, &t->x87_newer, true);
	patch32(e->base, over, e->at);
}

/* As part of entering in the middle of a block: registers are free. */
void x87_emit_reload(struct translator *t, struct emitter *e)
{
	uint32_t over;

	op_abs(e, false, 0x80, 7, &t->x87_want);
	put8(e, 0);
	over = branch_ahead(e, CONDITION_E);
	component_mask(e);
	put_xsave(e, 5, &t->x87_image);
	put_flag(e, &t->x87_loaded, true);
	patch32(e->base, over, e->at);
}

void x87_emit_stubs(struct translator *t, struct emitter *e)
{
	emit_load(t, e);
}

void x87_take(struct translator *t)
{
	const struct x86_fpu *fpu = &t->cpu->s.fpu;
	struct x87_image *image = &t->x87_image;

	image->fcw = fpu->fcw;
	image->fsw = fpu->fsw;
	image->ftw = fpu->ftw;
	image->fop = fpu->fop;
	image->fip = image->fdp = 0;
	image->mxcsr = 0x1f80;
	memcpy(image->st, fpu->st, sizeof(image->st));
	image->components = 1;
	t->x87_valid = true;
	t->x87_newer = false;
}

void x87_give_slow(struct translator *t)
{
	struct x86_fpu *fpu = &t->cpu->s.fpu;
	const struct x87_image *image = &t->x87_image;
	const struct fault_entry *last = code_find_fault(t, (uint32_t)image->fip - low_address(t->exec_base));

	t->x87_newer = false;
	fpu->fcw = image->fcw;
	fpu->fsw = image->fsw;
	fpu->ftw = image->ftw;
	memcpy(fpu->st, image->st, sizeof(fpu->st));
	if (image->fip >> 32 || !last)
		return;
	fpu->fop = image->fop;
	fpu->fip = t->sites[last->site].rip;
	fpu->fcs = t->cpu->s.seg[X86_CS].selector;
}
