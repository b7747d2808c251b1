/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entering translated code, what it calls, and what it leaves behind. */
#ifndef XUNI_CPU_TRANSLATE_RUN_RUN_H
#define XUNI_CPU_TRANSLATE_RUN_RUN_H

#include "cpu/translate/translator.h"

/* --- run.c --- */
/* The current mode as a key; -1: code of this mode is not translated. May flush the code. */
int key_now(struct translator *t);
/* Into translated code at an offset, until it leaves; then: takes the registers from where that was. */
void run_enter(struct translator *t, uint32_t where);
const struct site *run_leave(struct translator *t);
extern const struct interp_partner translate_partner;

/* --- stubs.c --- */
void stubs_emit(struct translator *t);
/* From here on C may do what it likes. */
static inline void vectors_out(struct translator *t)
{
	if (t->fpu_loaded || t->x87_loaded)
		((void (*)(void))(uintptr_t)(t->exec_base + t->unload_call))();
}

/* --- helper.c --- */
uint64_t helper_call(struct translator *t);
uint64_t helper_miss(struct translator *t);
/* An access of the block could not be mirrored. Not while its code is active, unless it is left at once. */
void helper_not_mirrored(struct translator *t, uint32_t block);
/* The address that the access of a SITE_MEMORY goes to, with registers in s.gpr. */
uint64_t helper_address(const struct translator *t, const struct site *site);

/* --- x87.c --- */
void x87_emit_stubs(struct translator *t, struct emitter *e);
void x87_emit_unload(struct translator *t, struct emitter *e);
void x87_emit_reload(struct translator *t, struct emitter *e);
/* The image becomes what cpu->s.fpu says. */
void x87_take(struct translator *t);
void x87_give_slow(struct translator *t);
/* cpu->s.fpu has the x87 state, and only it, until x87_take. Before anything but translated code looks at it. */
static inline void x87_give(struct translator *t)
{
	if (t->x87_newer)
		x87_give_slow(t);
	t->x87_valid = false;
}

/* --- host.c --- */
void host_init(void);
int host_stack_new(struct translator *t, struct error *err);
void host_stack_free(struct translator *t);
/* The calling thread runs this vCPU: its signals go to a stack of its own and find the translator. Until it leaves. */
void host_enter_thread(struct translator *t);
void host_leave_thread(struct translator *t);

#endif
