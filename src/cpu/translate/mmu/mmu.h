/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How translated code gets at guest memory: copies of what the TLB says. */
#ifndef XUNI_CPU_TRANSLATE_MMU_MMU_H
#define XUNI_CPU_TRANSLATE_MMU_MMU_H

#include "cpu/translate/translator.h"

/* --- windows.c --- */
extern const struct x86_tlb_copies window_copies;
/* Lists of windows that write grow downwards in the same table as those that read grow upwards. */
static inline int windows_list_step(bool write)
{
	return write ? -1 : 1;
}

/* Makes lists of window_lists. */
void windows_init(struct translator *t);
/* All of them; those with entries that are global only when globals. */
void windows_empty(struct translator *t, bool globals);
/* Those that write. */
void windows_forget_writes(struct translator *t);
/* Lets a window cover the page of gva and the next one, when the TLB has both and they lie together
 * (SPLICE_MAPPED). SPLICE_COUNTS: not yet. */
enum splice_state window_span(struct translator *t, uint32_t window, uint64_t gva);

/* --- mirror.c --- */
/* Mirrored addresses are those with address >> MIRROR_AREA_SHIFT | MIRROR_AREA_ANY == MIRROR_AREA. */
enum { MIRROR_AREA_SHIFT = 44, MIRROR_AREA_ANY = 2, MIRROR_AREA = 7 };
#define MIRROR_GUARD (64 * KIB)
/* Leaves t->mirrors NULL where there cannot be any. */
void mirror_init(struct translator *t);
void mirror_fini(struct translator *t);
/* The calling thread runs the vCPU. */
void mirror_enter_thread(struct translator *t);
/* Low addresses, of programs that do not lie anywhere, are the host's own. Behind the end is as much as a guard. */
#define MIRROR_LOW_START (64 * KIB)
#define MIRROR_LOW_END   (GIB - MIB)
/* Whether a mirror may have these addresses: in its areas; low, where it has those. */
bool mirror_covers(uint64_t gva, unsigned bytes);
bool mirror_covers_low(uint64_t gva, unsigned bytes);
/* What is known of the addresses that an instruction meets, by where it is in guest-physical memory; others may share the
 * answer. */
enum mirror_choice { MIRROR_UNKNOWN, MIRROR_LOW, MIRROR_HIGH, MIRROR_NEITHER };
enum mirror_choice mirror_choice(const struct translator *t, uint64_t gpa);
/* Maps the page at gva, or a run around it, as the TLB has it. False: it cannot be. */
bool mirror_map(struct translator *t, uint64_t gva, bool write);
/* Code met an address that is not mapped: what the signal cost is put down to the space. */
void mirror_missed(struct translator *t);
/* Now and then while the vCPU is in user code, not from translated code: may change whether the space has a mirror. */
void mirror_look(struct translator *t);
/* A block that is made for the mirror met an address at a SITE_OUTSIDE that the instruction was not made for. */
void mirror_outside(struct translator *t, const struct site *site);
/* As in struct x86_tlb_copies. */
void mirror_page_dropped(struct x86_cpu *cpu, uint64_t gva, bool large);
void mirror_space_dropped(struct x86_cpu *cpu, int pcid);
void mirror_space_entered(struct x86_cpu *cpu);
bool mirror_protect(struct translator *t, uint64_t gpa);
void mirror_tell_written(struct translator *t);

/* --- splice.c --- */
/* *host = where the page gva and the next one, whose TLB entries are given, lie together, if that is SPLICE_MAPPED. */
enum splice_state splice_find(struct translator *t, const struct x86_tlb_entry *first, const struct x86_tlb_entry *second,
                              uint64_t gva, uint64_t *host);
/* Whose mapping this is; NULL: it is RAM's own. */
const struct splice *splice_at(const struct translator *t, uint64_t host);
/* Forgets all when there is no place left, with all windows. Not while translated code may hold addresses. */
void splice_renew(struct translator *t);
void splice_fini(struct translator *t);

/* --- segments.c --- */
/* Number of the vCPU's segmentation, for keys of 32-bit code; -1: its code is the interpreter's. May flush the code. */
int segments_number(struct translator *t);

#endif
