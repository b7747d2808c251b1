/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translator's turn in the interpreter's loop: find a block, enter it, make sense of where it left. */
#include "cpu/translate/internal.h"

/* The current mode as a key; -1: code of this mode is not translated. */
static int key_now(struct translator *t)
{
	const struct x86_cpu *cpu = t->cpu;
	unsigned view = (unsigned)((cpu->tlb_active - cpu->tlb[0]) / X86_TLB_ENTRIES);
	int key = (int)view, number;

	if (cpu->code_mode == X86_CODE16 || view == X86_VIEW_EMPTY || cpu->breakpoints_armed)
		return -1;
	if (cpu->code_mode == X86_CODE32) {
		number = cpu->protected_mode ? segments_number(t) : -1;
		if (number < 0)
			return -1;
		key |= KEY_CODE32 | number << KEY_SEGMENTS_SHIFT;
	}
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

static void flags_in(struct translator *t)
{
	uint64_t rflags = t->cpu->s.rflags;

	t->flags = (uint32_t)((rflags & 0xff) << 8 | ((rflags & X86_OF) != 0));
}

static void flags_out(struct translator *t)
{
	struct x86_cpu *cpu = t->cpu;
	uint64_t flags = (t->flags >> 8 & (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF)) | (t->flags & 1 ? X86_OF : 0);

	cpu->s.rflags = (cpu->s.rflags & ~(uint64_t)X86_STATUS_FLAGS) | flags;
}

static void choose_vectors(struct translator *t)
{
	unsigned level = t->key & KEY_AVX512 ? 2 : t->key & KEY_AVX ? 1 : 0;
	uint64_t base = low_address(t->exec_base);

	t->fpu_load = base + t->load_stub[level];
	t->fpu_unload = base + t->unload_stub[level];
}

static void enter(struct translator *t, uint32_t where)
{
	void (*go)(void) = (void (*)(void))(uintptr_t)(t->exec_base + t->enter);

	t->target = low_address(t->exec_base) + where;
	t->inside = true;
	go();
	t->inside = false;
	t->statistics.enters++;
}

static uint64_t memory_address(const struct translator *t, const struct site *site)
{
	const struct x86_state *s = &t->cpu->s;
	uint64_t address = (uint64_t)site->disp;

	if (site->base >= 0)
		address += s->gpr[site->base];
	if (site->index >= 0)
		address += s->gpr[site->index] << site->scale;
	if (site->address32)
		address = (uint32_t)address;
	if (site->segment >= 0)
		address += s->seg[site->segment].base;
	return t->key & KEY_CODE32 ? (uint32_t)address : address;
}

/* Both pages when the access crosses: then it is the interpreter's. */
static bool fill(struct translator *t, const struct site *site)
{
	uint64_t gva = memory_address(t, site);

	if ((gva & (PAGE_SIZE - 1)) + site->size > PAGE_SIZE)
		return false;
	return x86_tlb_fill(t->cpu, gva, site->write ? X86_WRITE : X86_READ);
}

static bool events_wait(struct translator *t)
{
	struct x86_cpu *cpu = t->cpu;
	uint32_t events;

	atomic_store_explicit(&t->poll, 0, memory_order_seq_cst);
	events = atomic_load_explicit(&cpu->vcpu.events, memory_order_seq_cst);
	return events & ~(uint32_t)VCPU_INTR || (events && cpu->s.rflags & X86_IF);
}

static void remember_jump(struct translator *t, struct block *block)
{
	struct jump_slot *table = jump_table(t, t->key);
	uint64_t rip = rip_of(t, t->key, block->linear);

	if (table)
		table[jump_index(rip)] =
			(struct jump_slot){ .rip = rip, .host = low_address(t->exec_base) + block->indirect };
}

/* A branch there does not fault. */
static bool may_branch_to(const struct translator *t, uint64_t rip)
{
	unsigned spare = t->cpu->s.cr4 & X86_CR4_LA57 ? 7 : 16;

	if (t->key & KEY_CODE32)
		return rip <= segmentation_of(t, t->key)->limit[X86_CS];
	return (uint64_t)((int64_t)(rip << spare) >> spare) == rip;
}

/* Takes the registers from where translated code left them. */
static const struct site *leave(struct translator *t)
{
	const struct site *site = &t->sites[t->site];

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
	t->statistics.exits[site->kind]++;
	return site;
}

/* Enters at `where` and goes on as long as memory misses can be filled. */
static const struct site *execute(struct translator *t, uint32_t where)
{
	const struct site *site;

	for (;;) {
		enter(t, where);
		site = leave(t);
		t->fpu_want = 0;
		if (site->kind != SITE_MEMORY)
			return site;
		if (!fill(t, site))
			return site;
		t->statistics.fills++;
		t->fpu_want = t->fpu_was;
		where = site->resume;
	}
}

static bool translate_run_blocks(struct translator *t)
{
	struct x86_cpu *cpu = t->cpu;
	uint64_t flushes = 0;
	uint32_t link = 0;
	bool indirect = false;

	while (!events_wait(t)) {
		struct block *block = code_block(t, cpu->s.rip);
		const struct site *site;

		if (!block || block->interpret) {
			t->statistics.interpreted[block ? block->mnemonic : 0]++;
			return true;
		}
		if (link && flushes == t->statistics.flushes)
			code_link(t, link, block);
		if (indirect)
			remember_jump(t, block);
		site = execute(t, block->indirect);
		link = 0;
		indirect = false;
		switch (site->kind) {
		case SITE_LINK:
			link = (uint32_t)(site - t->sites);
			flushes = t->statistics.flushes;
			break;
		case SITE_INDIRECT:
			if (t->again) {
				t->again = false;
				return true;
			}
			indirect = true;
			break;
		case SITE_HEAD:
			break;
		default:
			t->statistics.interpreted[site->mnemonic]++;
			return true;
		}
	}
	return false;
}

static enum interp_share translate_run(struct x86_cpu *cpu)
{
	struct translator *t = translator_of(cpu);
	int key;

	if (!t->exec_base)
		return INTERP_BLOCK;
	key = key_now(t);
	if (key < 0)
		return INTERP_BLOCK;
	host_enter_thread(t);
	if (t->key != key) {
		t->key = (uint16_t)key;
		t->decoder = &t->decoders[(key & KEY_CODE32) != 0];
		choose_vectors(t);
	}
	flags_in(t);
	return translate_run_blocks(t) ? INTERP_ONE : INTERP_EVENTS;
}

static void translate_drop(struct x86_cpu *cpu, uint64_t first, uint64_t last)
{
	struct translator *t = translator_of(cpu);

	if (t->exec_base)
		code_drop(t, first, last);
}

const struct interp_partner translate_partner = { .run = translate_run, .drop = translate_drop };
