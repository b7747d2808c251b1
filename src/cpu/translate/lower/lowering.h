/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of the block that is being made, and what all files that lower instructions do with registers, flags and
 * the places where code leaves. */
#ifndef XUNI_CPU_TRANSLATE_LOWER_LOWERING_H
#define XUNI_CPU_TRANSLATE_LOWER_LOWERING_H

#include "cpu/translate/decode/classify.h"

#include <assert.h>

enum { CODE_BYTES = 16 /* at least an instruction's */ };
enum { MAX_COLD = 6 * BLOCK_MAX_INSTRUCTIONS, LOOK_UPS = 8, NEARS = 8, NEAR_BYTES = 32 * 1024 /* less than MIRROR_GUARD */ };

struct cold {
	uint32_t from; /* rel32 that leads here */
	uint32_t site;
	uint32_t stub;   /* not 0: fills the window; the address is in this register */
	uint32_t window; /* with a stub: of the access */
	int8_t address;  /* without a stub, of an indirect branch: the target's register */
	uint16_t parked; /* to bring back before a link; of an indirect branch: there */
	bool relink;     /* a taken branch with parked registers: the link is here */
	bool flags;      /* leaves with flags in EFLAGS */
};

/* The value of a register: what was in some register at some place, and a constant. */
struct symbol {
	uint32_t id;
	int32_t offset;
};

/* Bytes [low, high) from an address made of symbols, whose first one's host address is in a register (memory.c). */
struct group {
	uint32_t base, index; /* symbols; 0: none */
	int64_t low, high;
	int64_t at; /* what the register points to */
	uint8_t scale, reg; /* reg 0: no group. It ends when the register is not parked any more or is taken. */
	int8_t segment;
	bool address32, write;
	bool mirrored; /* the register points into a mirror */
	bool low_area; /* of lowering.near: which of a mirror's areas */
};

/* A look-up and its window. */
struct look_up {
	struct group group;
	uint32_t window;
};

/* An operand in a mirror, between mirror_place and mirror_begin. */
struct mirror_access {
	struct memory memory;
	unsigned size;
	bool write, flags_in_memory;
	bool gs; /* relative to GS */
};

struct lowering {
	struct translator *t;
	struct emitter e;
	struct block *block;
	uint32_t number;
	bool code32;
	unsigned word; /* bytes of a stack slot */
	uint16_t parked;
	uint16_t spare; /* of those, registers that the guest has not: never brought back */
	/* loop.c. A branch to the block's own start goes to loop_top (0: not there yet), with loop_parked parked. */
	uint16_t loop_parked, carried_registers;
	uint32_t loop_top;
	bool flags_turn; /* flags are live from turn to turn */
	unsigned turn; /* instructions up to the last branch to the start that may stay inside; 0: there is none */
	unsigned met_count, carried_count;
	struct look_up met[LOOK_UPS];
	struct look_up carried[CARRIED];
	bool shadow; /* of STI: ends behind the next instruction */
	unsigned count, at, lowered; /* lowered: how many instructions have code */
	uint64_t end;                /* rip behind the last one */
	bool unreadable;             /* what is there is no instruction, or CS ends in it */
	unsigned cold_count;
	bool share; /* groups are made */
	bool mirrored; /* operands go to the mirror */
	bool summed;   /* the one that lower_memory is asked for does, by its distance added */
	struct mirror_access access;
	unsigned near_next;
	struct group near[NEARS]; /* addresses that were found to be in a mirror; base and index 0: none */
	unsigned group_next;
	struct group groups[4];
	const struct group *pending; /* the one that is being made, NULL: none */
	uint32_t symbol_count;
	struct symbol symbols[BLOCK_MAX_INSTRUCTIONS][16]; /* before each instruction */
	struct cold cold[MAX_COLD];
	struct guest_instruction list[BLOCK_MAX_INSTRUCTIONS];
	/* What the list is of. Other CPUs and devices may write to the guest's memory meanwhile, and what is decoded has to be
	 * what is copied into translated code. */
	uint8_t code[(BLOCK_MAX_INSTRUCTIONS + 1) * CODE_BYTES];
};

/* Host operand of a guest memory access: [base + index + disp]. The base may hold the datum in the end, with memory_take. */
struct place {
	int base, index;
	unsigned scale; /* of the index: mirrored only */
	int32_t disp;
	bool mirrored; /* the guest's own operand: nothing of it may be changed, and mirror_begin comes before it */
};

/* --- registers --- */

static inline uint64_t *home(struct lowering *l, unsigned reg)
{
	return &l->t->cpu->s.gpr[reg];
}

static inline void park(struct lowering *l, unsigned reg)
{
	if (!(l->parked >> reg & 1))
		store_abs(&l->e, reg, home(l, reg));
	l->parked |= (uint16_t)(1u << reg);
}

static inline void bring_back(struct lowering *l, uint16_t mask)
{
	mask &= l->parked & (uint16_t)~l->spare;
	for (unsigned i = 0; i < 16; i++)
		if (mask >> i & 1)
			load_abs(&l->e, i, home(l, i));
	l->parked &= (uint16_t)~mask;
}

/* memory.c: the address of a KIND_MEMORY instruction need not be computed, as things are. */
bool memory_served(const struct lowering *l, unsigned at);
/* What a KIND_MEMORY instruction accesses. False: that is not shared. */
bool memory_wants(const struct lowering *l, unsigned at, struct group *group);
/* Something that is still to be lowered is served by the group. */
bool memory_waits(const struct lowering *l, const struct group *group);

/* lower.c: a parked register, if possible one that holds nothing that is waited for. */
unsigned scratch(struct lowering *l, uint16_t avoid);

/* #PF is the first thing that can happen to the instruction. */
static inline bool page_faults_first(const struct guest_instruction *g)
{
	return !g->vector && !g->x87 && !g->faults && g->kind != KIND_STRING;
}

static inline void groups_drop(struct lowering *l, unsigned reg)
{
	for (unsigned i = 0; i < ARRAY_SIZE(l->groups); i++)
		if (l->groups[i].reg == reg)
			l->groups[i].reg = 0;
}

static inline uint16_t bit(int reg)
{
	return reg < 0 ? 0 : (uint16_t)(1u << reg);
}

/* --- flags --- */

/* Status flags to t->flags; RAX is parked and holds them too. */
static inline void save_flags_rax(struct lowering *l)
{
	park(l, RAX);
	PUT(&l->e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	op_abs(&l->e, false, 0x89, RAX, &l->t->flags);
}

/* Status flags to t->flags. keep: registers that are needed. What the guest has in RAX, often a result that is waited for,
 * takes no way through memory. */
static inline void save_flags(struct lowering *l, uint16_t keep)
{
	unsigned copy;

	if (l->parked >> RAX & 1) {
		save_flags_rax(l);
		return;
	}
	copy = scratch(l, keep | 1u << RAX);
	move_reg(&l->e, copy, RAX);
	PUT(&l->e, 0x9f, 0x0f, 0x90, 0xc0);
	op_abs(&l->e, false, 0x89, RAX, &l->t->flags);
	move_reg(&l->e, RAX, copy);
}

static inline void restore_flags(struct lowering *l)
{
	bool parked = l->parked & 1u << RAX;

	if (!parked)
		store_abs(&l->e, RAX, home(l, RAX));
	op_abs(&l->e, false, 0x8b, RAX, &l->t->flags);
	PUT(&l->e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
	if (!parked)
		load_abs(&l->e, RAX, home(l, RAX));
}

/* --- sites --- */

static inline uint32_t new_site(struct lowering *l, enum site_kind kind, uint64_t rip)
{
	uint32_t number = l->t->site_count++;

	l->t->sites[number] = (struct site){.kind = (uint8_t)kind,
					    .rip = rip,
					    .parked = l->parked,
					    .block = l->number,
					    .mnemonic = l->at < l->count ? l->list[l->at].mnemonic : 0};
	if (kind != SITE_LINK)
		l->t->sites[number].base = l->t->sites[number].index = l->t->sites[number].segment = NO_REGISTER;
	return number;
}

/* A window for the access at the site. Returns its number. */
static inline uint32_t new_window(struct lowering *l, uint32_t site, struct window window)
{
	uint32_t number = l->t->window_count++;

	l->t->windows[number] = window;
	l->t->window_sites[number] = site;
	return number;
}

static inline void new_cold(struct lowering *l, struct cold cold)
{
	assert(l->cold_count < MAX_COLD);
	l->cold[l->cold_count++] = cold;
}

static inline void leave_at(struct lowering *l, uint32_t site, bool flags)
{
	store_abs_imm32(&l->e, &l->t->site, site);
	jump_to(&l->e, flags ? l->t->leave_flags : l->t->leave);
}

static inline void branch_cold(struct lowering *l, unsigned condition, uint32_t site)
{
	new_cold(l, (struct cold){.from = branch_ahead(&l->e, condition), .site = site});
}

/* A direct jump to the guest's target; everything is in its register. */
static inline void link_to(struct lowering *l, uint64_t target, bool flags_in_memory)
{
	uint32_t site = new_site(l, SITE_LINK, target);

	l->t->sites[site].flags_in_memory = flags_in_memory;
	l->t->sites[site].patch = jump_ahead(&l->e);
	new_cold(l, (struct cold){.from = l->t->sites[site].patch, .site = site, .flags = !flags_in_memory});
}

/* A jump whose rel32 is at `from` to the guest's target, with registers still parked. */
static inline void link_parked(struct lowering *l, uint32_t from, uint64_t target)
{
	uint16_t parked = l->parked;
	uint32_t site;

	l->parked = l->spare;
	site = new_site(l, SITE_LINK, target);
	l->parked = parked;
	l->t->sites[site].patch = from;
	new_cold(l, (struct cold){.from = from, .site = site, .parked = parked, .relink = parked != l->spare, .flags = true});
}

/* --- loop.c --- */

/* Lowers the block's instructions. loops: the block may keep branches to its start to itself; flags: they are live there. */
void loop_body(struct lowering *l, bool loops, bool flags);
/* A conditional branch to the block's start. False: it is to be a link. */
bool loop_branch(struct lowering *l, unsigned condition, uint64_t target);
/* Registers that a turn has no use for, also not for its flags; with addresses, but for those of memory operands. 0: its
 * addresses cannot be carried. */
uint16_t loop_idle_registers(const struct lowering *l, bool addresses);
/* A conditional branch to the block's start. */
bool loop_ends_turn(const struct lowering *l, const struct guest_instruction *g);
/* What an address moves by from turn to turn, whichever way a turn ends. False: no constant, or not made of what was in
 * registers at the start. */
bool loop_stride(const struct lowering *l, const struct group *group, int64_t *stride);
/* As at the start of the block. */
void loop_form_begin(struct lowering *l);

/* --- loop_flags.c --- */

/* Once the first form was lowered: which groups are looked up ahead, and where their addresses are. False: none. */
bool ahead_choose(struct lowering *l);
/* Both forms. */
void ahead_lower(struct lowering *l);
/* loop_branch in the second form. */
void ahead_branch(struct lowering *l, unsigned condition, uint64_t target);

/* --- memory.c --- */

/*
 * Emits the look-up for [m, +size) and says where the datum is. What the address is made of is in registers, but where
 * memory_served. Changes EFLAGS; when `flags` they are saved in memory first, and with `restored` they are brought back, for
 * which RAX is parked and kept out of the place. `keep`: registers that the instruction itself needs; these are not parked.
 */
struct place lower_memory(struct lowering *l, const struct memory *m, unsigned size, bool write, bool flags,
			  bool restored, uint16_t keep);
/* lower_memory, or the mirror's place. */
struct place memory_place(struct lowering *l, const struct memory *m, unsigned size, bool write, bool flags, bool restored,
			  uint16_t keep);
/* Whether an address so near was found to be in a mirror that this one needs no check; *key for memory_near_note. */
bool memory_near(const struct lowering *l, const struct memory *m, struct group *key);
void memory_near_note(struct lowering *l, const struct group *key);
void memory_note(struct site *site, const struct memory *m, unsigned size, bool write, uint32_t resume);
/* The place's register, for the caller to change: the place is gone then. */
unsigned memory_take(struct lowering *l, const struct place *place);
/* Of a stack slot. */
struct memory memory_stack(const struct lowering *l, int base, int disp);
/* [the group's address, as it is at the block's start] into register a. False: it is made of more than was in registers there. */
bool memory_at_start(const struct lowering *l, const struct group *group, struct memory *m);
void memory_address(struct lowering *l, unsigned a, const struct memory *m);
/* What is added to the group's address between the block's start and instruction `at`. False: no constant. */
bool memory_stride(const struct lowering *l, const struct group *group, unsigned at, int64_t *stride);
/* Whether all of b is in a, to which it has the right. */
bool memory_covers(const struct group *a, const struct group *b);
/* Once the block's instructions are classified. */
void memory_symbols(struct lowering *l);
/* What is known of addresses does not hold any more. */
void memory_forget(struct lowering *l);
void memory_emit_cold(struct lowering *l, const struct cold *cold);

/* --- mirror_operand.c --- */

/* As lower_memory. False: lower_memory is to place it, in a mirror if l->summed. */
bool mirror_place(struct lowering *l, const struct memory *m, unsigned size, bool write, bool flags, bool restored, uint16_t keep,
		  struct place *place);
/* Before the first turn of the block, whose flags are dead: what all turns' checks come to (loop.c). */
void mirror_check_turns(struct lowering *l);
/* a = the host address of [m], which is checked to lie in a mirror, at its distance. Changes EFLAGS. keep: registers that are needed. */
void mirror_sum(struct lowering *l, unsigned a, const struct memory *m, uint16_t keep);
/* The operand of the place that is given next, before mirror_begin. */
void mirror_note(struct lowering *l, const struct memory *m, unsigned size, bool write, bool flags_in_memory, bool gs);
/* Right before the instruction whose operand the place is: writes the prefix, and notes what a miss has to know. */
void mirror_begin(struct lowering *l, const struct place *place);

/* --- lower.c --- */

/* All instructions, and what follows them. */
void lower_instructions(struct lowering *l);

/* --- stack.c --- */

void stack_lower(struct lowering *l, struct guest_instruction *g);
struct place lower_stack_push(struct lowering *l, bool flags, bool restored, uint16_t keep);
struct place lower_stack_top(struct lowering *l, bool flags, bool restored);
void lower_stack_move(struct lowering *l, int32_t bytes);
/* Moves a stack slot's bits between the place and a register: opcode 0x8b loads, 0x89 stores. */
void lower_move(struct lowering *l, unsigned opcode, unsigned reg, const struct place *place);
void lower_load_word(struct lowering *l, unsigned reg, const uint64_t *from);
void lower_store_imm(struct lowering *l, const struct place *place, uint64_t value);
/* The datum of the memory operand into t->datum, where it survives a second look-up. */
void lower_fetch_datum(struct lowering *l, struct guest_instruction *g, bool restored);

/* --- branch.c --- */

void branch_lower(struct lowering *l, struct guest_instruction *g);
/* An indirect branch that does not go where it is linked to. */
void branch_emit_cold(struct lowering *l, const struct cold *cold);

/* --- strings.c --- */
void string_lower(struct lowering *l, struct guest_instruction *g);

/* --- bits.c --- */
void bits_lower(struct lowering *l, struct guest_instruction *g);

/* --- system.c --- */
void system_lower(struct lowering *l, struct guest_instruction *g);
/* Behind the instruction that follows STI. */
void system_end_shadow(struct lowering *l, const struct guest_instruction *g);

#endif
