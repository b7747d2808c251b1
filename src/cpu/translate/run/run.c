/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translator's turn in the interpreter's loop: find a block, enter it, make sense of where it left. */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/mmu/mmu.h"
#include "cpu/translate/run/run.h"
#include "cpu/translate/verify/verify.h"

int key_now(struct translator *t)
{
	const struct x86_cpu *cpu = t->cpu;
	unsigned view = (unsigned)((cpu->tlb_active - cpu->tlb[0]) / X86_TLB_ENTRIES);
	int key = (int)view, number;

	if (cpu->code_mode == X86_CODE16 || view == X86_VIEW_EMPTY || cpu->breakpoints_armed || cpu->cpl == 1 || cpu->cpl == 2)
		return -1;
	if (cpu->code_mode == X86_CODE32) {
		number = cpu->protected_mode ? segments_number(t) : -1;
		if (number < 0)
			return -1;
		key |= KEY_CODE32 | number << KEY_SEGMENTS_SHIFT;
	}
	if (t->mirrored && view == X86_VIEW_USER && cpu->code_mode == X86_CODE64)
		key |= KEY_MIRROR | (t->mirrored_low ? KEY_LOW : 0);
	if (cpu->s.cr0 & X86_CR0_TS)
		return key;
	if (!(cpu->s.cr0 & X86_CR0_EM) && cpu->s.cr4 & X86_CR4_OSFXSR)
		key |= KEY_SSE;
	if (cpu->s.cr4 & X86_CR4_OSXSAVE && (cpu->s.xcr0 & 6) == 6) {
		key |= KEY_AVX;
		if ((cpu->s.xcr0 & 0xe0) == 0xe0)
			key |= KEY_AVX512;
	}
	return key;
}

static void choose_vectors(struct translator *t)
{
	unsigned level = t->key & KEY_AVX512 ? 2 : t->key & KEY_AVX ? 1 : 0;
	uint64_t base = low_address(t->exec_base);

	t->fpu_load = base + t->load_stub[level];
	t->fpu_unload = base + t->unload_stub[level];
}

void run_enter(struct translator *t, uint32_t where)
{
	void (*go)(void) = (void (*)(void))(uintptr_t)(t->exec_base + t->enter);

	t->target = low_address(t->exec_base) + where;
	t->inside = true;
	go();
	t->inside = false;
	t->statistics.enters++;
}

/* True: the interpreter's loop is to look at what happened. Later kicks set poll again. */
static bool events_wait(struct translator *t)
{
	if (atomic_load_explicit(&t->poll, memory_order_relaxed))
		atomic_exchange_explicit(&t->poll, 0, memory_order_seq_cst);
	return events_pending(t->cpu);
}

static void remember_jump(struct translator *t, struct block *block)
{
	struct jump_slot *table = jump_table(t, t->key);
	uint64_t rip = rip_of(t, t->key, block->linear);

	if (table)
		table[jump_index(t, rip)] =
			(struct jump_slot){ .rip = rip, .host = low_address(t->exec_base) + block->code + block->indirect };
}

/* A branch there does not fault. */
static bool may_branch_to(const struct translator *t, uint64_t rip)
{
	unsigned spare = t->cpu->s.cr4 & X86_CR4_LA57 ? 7 : 16;

	if (t->key & KEY_CODE32)
		return rip <= segmentation_of(t, t->key)->limit[X86_CS];
	return (uint64_t)((int64_t)(rip << spare) >> spare) == rip;
}

const struct site *run_leave(struct translator *t)
{
	static const struct site delivered = { .kind = SITE_CALL };
	const struct site *site = t->delivered ? &delivered : &t->sites[t->site];

	t->delivered = false;
	t->statistics.exits[site->kind]++;
	if (site->kind == SITE_CALL)
		return site;
	for (unsigned i = 0; i < 16; i++)
		if (!(site->parked >> i & 1))
			t->cpu->s.gpr[i] = t->out[i];
	if (site->kind != SITE_INDIRECT) {
		t->cpu->s.rip = site->rip;
	} else if (!may_branch_to(t, t->cpu->s.rip)) { /* the interpreter executes the branch again and raises */
		t->cpu->s.rip = site->rip;
		t->cpu->s.gpr[RSP] += (uint64_t)site->disp;
		if (t->key & KEY_CODE32)
			t->cpu->s.gpr[RSP] = (uint32_t)t->cpu->s.gpr[RSP];
		t->again = true;
	}
	flags_out(t);
	return site;
}

/* False: the interpreter's loop has to look at something. */
static bool interpret_one(struct translator *t, unsigned mnemonic)
{
	bool fine;

	t->statistics.interpreted[mnemonic]++;
	x87_give(t);
	fine = interp_one(t->cpu);
	flags_in(t);
	return fine;
}

/* Chooses t->key; false: this mode is not translated. */
static bool key_update(struct translator *t)
{
	int key = key_now(t);

	if (key < 0)
		return false;
	if (cr4_changed(t)) {
		t->cr4 = t->cpu->s.cr4;
		code_flush(t);
	}
	if (t->key != key) {
		t->key = (uint16_t)key;
		t->decoder = &t->decoders[(key & KEY_CODE32) != 0];
		choose_vectors(t);
	}
	return true;
}

static const struct site *run_block(struct translator *t, struct block *block, bool *failed)
{
	if (__builtin_expect(t->verify && verify_wants(t->verify, block), 0))
		return verify_run(t->verify, block, failed);
	run_enter(t, block->code + block->indirect);
	return run_leave(t);
}

/* How the code just executed was left, for the block where it goes on. */
struct departure {
	uint32_t link; /* the SITE_LINK that leads there, 0: none */
	uint64_t generation;
	bool indirect; /* by an indirect branch, or as good as one */
};

/* What may lead to a block next time without coming here does so from now on. */
static void make_way(struct translator *t, const struct departure *from, struct block *to)
{
	uint64_t rip = rip_of(t, t->key, to->linear);

	if (t->verify && !verify_lets_jump(t->verify, to))
		return;
	if (from->link && from->generation == t->generation && (!from->indirect || code_expect(t, from->link, rip)))
		code_link(t, from->link, to);
	if (from->indirect)
		remember_jump(t, to);
}

/* Does what the site where code was left asks for. False: the interpreter's loop has to look at something. */
static bool attend(struct translator *t, const struct site *site, struct departure *from)
{
	*from = (struct departure){.generation = t->generation};
	switch (site->kind) {
	case SITE_LINK:
		from->link = (uint32_t)(site - t->sites);
		return true;
	case SITE_INDIRECT:
		if (t->again) {
			t->again = false;
			return interpret_one(t, site->mnemonic);
		}
		from->indirect = true;
		from->link = site == t->sites ? 0 : (uint32_t)(site - t->sites) + 1;
		return true;
	case SITE_HEAD:
		if (t->x87_missing)
			x87_take(t);
		t->x87_missing = false;
		return true;
	case SITE_CALL:
		from->indirect = true;
		return !t->attend;
	case SITE_OUTSIDE:
		mirror_outside(t, site);
		return interpret_one(t, site->mnemonic);
	default:
		return interpret_one(t, site->mnemonic);
	}
}

static enum interp_share run_blocks(struct translator *t)
{
	struct departure from = {.link = 0};
	struct x86_cpu *cpu = t->cpu;

	for (;;) {
		const struct site *site;
		struct block *block;
		bool failed = false, cold = false;

		if (t->verify)
			verify_turn_yield(t->verify->turns);
		if (events_wait(t))
			return INTERP_EVENTS;
		if (t->mirrors && cpu->cpl == 3)
			mirror_look(t);
		if (!key_update(t))
			return INTERP_BLOCK;
		block = code_block(t, cpu->s.rip, &cold);
		if (cold)
			return INTERP_BLOCK;
		if (!block || block->interpret) {
			if (!interpret_one(t, block ? block->mnemonic : 0))
				return INTERP_EVENTS;
			from = (struct departure){.link = 0};
			continue;
		}
		make_way(t, &from, block);
		site = run_block(t, block, &failed);
		if (failed)
			return INTERP_FAILED;
		if (!attend(t, site, &from))
			return INTERP_EVENTS;
	}
}

static enum interp_share translate_run(struct x86_cpu *cpu)
{
	struct translator *t = translator_of(cpu);
	jmp_buf *outer = cpu->fault_exit;
	enum interp_share share;

	if (!t->exec_base)
		return INTERP_BLOCK;
	cpu->fault_exit = &t->fault_exit;
	if (setjmp(t->fault_exit)) {
		vectors_out(t);
		x87_give(t);
		t->inside = false;
		t->again = false;
		if (!interp_deliver(cpu)) {
			cpu->fault_exit = outer;
			return INTERP_EVENTS;
		}
	}
	t->fpu_want = t->x87_want = 0;
	flags_in(t);
	share = run_blocks(t);
	x87_give(t);
	cpu->fault_exit = outer;
	return share;
}

static void translate_drop(struct x86_cpu *cpu, uint64_t first, uint64_t last)
{
	struct translator *t = translator_of(cpu);

	if (t->exec_base)
		code_drop(t, first, last);
	if (t->verify)
		verify_forget(t->verify);
}

const struct interp_partner translate_partner = { .run = translate_run, .drop = translate_drop };
