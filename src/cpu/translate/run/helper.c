/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The C that translated code calls: for system instructions (SITE_CALL), and for accesses that the TLB has no entry for
 * (SITE_MEMORY). Each says where translated code goes on, or 0: it is left.
 *
 * Vector registers may be the guest's here: see invariants 5 and 6 in translator.h.
 */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/mmu/mmu.h"
#include "cpu/translate/run/helper.h"
#include "cpu/translate/run/run.h"

enum { GROUP_MISSES = 16, MIRROR_MISSES = 16 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VECTORS_STAY false /* their own code uses vectors */
#elif defined(__has_feature)
#define VECTORS_STAY (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define VECTORS_STAY true
#endif

static uint64_t code_address(struct translator *t, const struct block *block, uint32_t offset)
{
	t->fpu_want = block->fpu && !t->fpu_loaded;
	t->x87_want = block->x87 && !t->x87_loaded;
	if (t->x87_want && !t->x87_valid)
		x87_take(t);
	return low_address(t->exec_base) + offset;
}

/* Single step and what else makes the interpreter go instruction by instruction. */
static bool attention(const struct x86_cpu *cpu)
{
	return cpu->s.rflags & X86_TF || cpu->s.shadow_sti || cpu->s.shadow_ss || cpu->debug_pending ||
	       cpu->breakpoints_armed;
}

/* On at s.rip, whatever mode that is in now. */
static uint64_t go_on(struct translator *t)
{
	struct x86_cpu *cpu = t->cpu;
	const struct jump_slot *table;
	int key;

	flags_in(t);
	t->attend = attention(cpu);
	if (t->attend || events_pending(cpu) || cr4_changed(t))
		return 0;
	key = key_now(t);
	if (key < 0 || (key ^ t->key) & (KEY_SSE | KEY_AVX | KEY_AVX512))
		return 0;
	t->key = (uint16_t)key;
	t->decoder = &t->decoders[(key & KEY_CODE32) != 0];
	table = jump_table(t, t->key);
	if (!table || table[jump_index(t, cpu->s.rip)].rip != cpu->s.rip)
		return 0;
	t->fpu_want = t->x87_want = 0;
	return table[jump_index(t, cpu->s.rip)].host;
}

/* Behind the instruction when that is where it led and nothing has changed that its block depends on. */
static uint64_t go_on_behind(struct translator *t, const struct site *site, uint64_t generation)
{
	struct x86_cpu *cpu = t->cpu;
	const struct block *block = &t->blocks[site->block];
	uint64_t numbers = t->generation;

	if (!site->resume || cpu->s.rip != site->rip + site->length || generation != cpu->tlb_generation ||
	    block->dead || key_now(t) != block->key || numbers != t->generation || cr4_changed(t))
		return go_on(t);
	flags_in(t);
	if (events_pending(cpu))
		return 0;
	return code_address(t, block, site->resume);
}

/* Behind an instruction that changed general registers and memory at most. */
uint64_t helper_behind(struct translator *t, const struct site *site)
{
	return code_address(t, &t->blocks[site->block], site->resume);
}

uint64_t helper_interpret(struct translator *t, const struct site *site)
{
	uint64_t generation = t->cpu->tlb_generation;

	vectors_out(t);
	x87_give(t);
	t->statistics.interpreted[site->mnemonic]++;
	if (!interp_one(t->cpu)) {
		t->attend = true;
		return 0;
	}
	return go_on_behind(t, site, generation);
}

static uint64_t help_syscall(struct translator *t, const struct site *site)
{
	x86_syscall(t->cpu, site->rip + site->length);
	return go_on(t);
}

static uint64_t help_sysret(struct translator *t, const struct site *site)
{
	x86_sysret(t->cpu, site->size);
	t->cpu->s.shadow_sti = t->cpu->s.shadow_ss = false;
	return go_on(t);
}

static uint64_t help_iret(struct translator *t, const struct site *site)
{
	struct x86_cpu *cpu = t->cpu;

	x86_interrupt_return(cpu, site->size, site->rip + site->length);
	cpu->s.shadow_sti = cpu->s.shadow_ss = false;
	if (!cpu->breakpoints_armed)
		cpu->s.rflags &= ~(uint64_t)X86_RF;
	return go_on(t);
}

/* --- time --- */

static uint64_t help_rdtsc(struct translator *t, const struct site *site)
{
	struct x86_cpu *cpu = t->cpu;
	uint64_t tsc;

	if (cpu->s.cr4 & X86_CR4_TSD && cpu->cpl)
		x86_raise_error(cpu, X86_GP, 0);
	tsc = x86_rdtsc(cpu);
	cpu->s.gpr[RAX] = (uint32_t)tsc;
	cpu->s.gpr[RDX] = tsc >> 32;
	if (site->helper == HELPER_RDTSCP)
		cpu->s.gpr[RCX] = (uint32_t)cpu->s.tsc_aux;
	return helper_behind(t, site);
}

static uint64_t help_pause(struct translator *t, const struct site *site)
{
	interp_pause(t->cpu);
	return helper_behind(t, site);
}

/* --- registers of the system --- */

static uint64_t help_rdmsr(struct translator *t, const struct site *site)
{
	struct x86_cpu *cpu = t->cpu;
	uint64_t value;

	vectors_out(t);
	value = x86_rdmsr(cpu, (uint32_t)cpu->s.gpr[RCX]);
	cpu->s.gpr[RAX] = (uint32_t)value;
	cpu->s.gpr[RDX] = value >> 32;
	return helper_behind(t, site);
}

static uint64_t help_wrmsr(struct translator *t, const struct site *site)
{
	uint64_t generation = t->cpu->tlb_generation, *gpr = t->cpu->s.gpr;

	vectors_out(t);
	x86_wrmsr(t->cpu, (uint32_t)gpr[RCX], gpr[RDX] << 32 | (uint32_t)gpr[RAX]);
	t->cpu->s.rip += site->length;
	return go_on_behind(t, site, generation);
}

static uint64_t help_mov_cr3(struct translator *t, const struct site *site)
{
	x86_set_cr(t->cpu, 3, t->cpu->s.gpr[site->base]);
	t->cpu->s.rip += site->length;
	return go_on(t);
}

uint64_t helper_call(struct translator *t)
{
	static uint64_t (*const helpers[HELPERS])(struct translator * t, const struct site *site) = {
		[HELPER_INTERPRET] = helper_interpret, [HELPER_SYSCALL] = help_syscall, [HELPER_SYSRET] = help_sysret,
		[HELPER_IRET] = help_iret,           [HELPER_RDTSC] = help_rdtsc,     [HELPER_RDTSCP] = help_rdtsc,
		[HELPER_PAUSE] = help_pause,         [HELPER_RDMSR] = help_rdmsr,     [HELPER_WRMSR] = help_wrmsr,
		[HELPER_MOV_CR3] = help_mov_cr3,     [HELPER_MOVS] = helper_string,     [HELPER_STOS] = helper_string,
		[HELPER_SCAS] = helper_string,       [HELPER_CMPS] = helper_string,
	};
	const struct site *site = &t->sites[t->site];

	if (!VECTORS_STAY)
		vectors_out(t);
	t->attend = false;
	t->cpu->s.rip = site->rip;
	flags_out(t);
	return helpers[site->helper](t, site);
}

/* --- memory --- */

static uint64_t register_of(const struct translator *t, const struct site *site, int8_t reg, bool inside)
{
	return inside && !(site->parked >> reg & 1) ? t->out[reg] : t->cpu->s.gpr[reg];
}

static uint64_t address_of(const struct translator *t, const struct site *site, bool inside)
{
	uint64_t address = (uint64_t)site->disp;

	if (site->base >= 0)
		address += register_of(t, site, site->base, inside);
	if (site->index >= 0)
		address += register_of(t, site, site->index, inside) << site->scale;
	if (site->address32)
		address = (uint32_t)address;
	if (site->segment >= 0)
		address += *lower_segment_base(t, site->segment);
	return t->key & KEY_CODE32 ? (uint32_t)address : address;
}

uint64_t helper_address(const struct translator *t, const struct site *site)
{
	return address_of(t, site, false);
}

/* An access that is certain to raise #PF need not be interpreted to find that out. */
static uint64_t miss_fault(struct translator *t, const struct site *site, uint64_t gva)
{
	struct x86_cpu *cpu = t->cpu;
	uint32_t error = x86_tlb_fault(cpu, gva, site->write ? X86_WRITE : X86_READ);
	uint64_t to;

	if (!error)
		return 0;
	vectors_out(t);
	for (unsigned i = 0; i < 16; i++)
		if (!(site->parked >> i & 1))
			cpu->s.gpr[i] = t->out[i];
	cpu->s.rip = site->rip;
	flags_out(t);
	t->delivered = true;
	t->attend = false;
	cpu->s.cr2 = gva;
	cpu->fault_vector = X86_PFV;
	cpu->fault_has_error = true;
	cpu->fault_error = error & 0xffff;
	if (!interp_deliver(cpu)) {
		t->attend = true;
		return 0;
	}
	to = go_on(t);
	t->delivered = !to;
	return to ? to | MISS_FAULTED : 0;
}

/* The block is made again without groups when their bytes are often there, but not to be had together. */
static uint64_t group_missed(struct translator *t, const struct site *site, uint64_t gva)
{
	struct block *block = &t->blocks[site->block];

	if (site->group && !block->dead && !x86_tlb_fault(t->cpu, gva, X86_READ) && ++block->group_misses >= GROUP_MISSES) {
		*code_alone(t, block->gpa) = 1;
		code_forget(t, site->block);
	}
	return 0;
}

static bool has_tag(const struct translator *t, uint64_t gva, bool write)
{
	const struct x86_tlb_entry *entry = &t->cpu->tlb_active[(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];

	return (write ? entry->tag_write : entry->tag_read) == (gva & ~(PAGE_SIZE - 1));
}

/* A group may be written to only later, so pages are not made dirty for it. */
static bool fill(struct translator *t, const struct site *site, uint64_t gva)
{
	bool write = site->write;

	return has_tag(t, gva, write) ||
	       (x86_tlb_fill(t->cpu, gva, write && !site->group ? X86_WRITE : X86_READ) && has_tag(t, gva, write));
}

void helper_not_mirrored(struct translator *t, uint32_t number)
{
	struct block *block = &t->blocks[number];

	if (block->dead || ++block->mirror_misses < MIRROR_MISSES)
		return;
	*code_windowed(t, block->gpa) = 1;
	code_forget(t, number);
}

/* The host has no page there (yet). */
static uint64_t mirror_miss(struct translator *t, const struct site *site, uint64_t gva, bool crosses)
{
	const unsigned access = site->write ? X86_WRITE : X86_READ;
	const uint64_t last = gva + site->size - 1;
	const bool filled = fill(t, site, gva) && (!crosses || fill(t, site, last));

	mirror_missed(t);
	if (filled && mirror_map(t, gva, site->write) && (!crosses || mirror_map(t, last, site->write)))
		return low_address(t->exec_base) + site->resume;
	if (!filled && (x86_tlb_fault(t->cpu, gva, access) || (crosses && x86_tlb_fault(t->cpu, last, access))))
		return site->page_faults && !crosses ? miss_fault(t, site, gva) : 0;
	helper_not_mirrored(t, site->block);
	return 0;
}

uint64_t helper_miss(struct translator *t)
{
	const struct site *site = &t->sites[t->site];
	uint64_t gva = address_of(t, site, true);
	bool loaded = t->fpu_loaded, x87_loaded = t->x87_loaded;
	bool crosses = (gva & (PAGE_SIZE - 1)) + site->size > PAGE_SIZE;

	if (!VECTORS_STAY)
		vectors_out(t);
	if (site->mirrored) {
		const uint64_t to = mirror_miss(t, site, gva, crosses);

		if (to && !(to & MISS_FAULTED)) {
			t->fpu_want = loaded && !t->fpu_loaded;
			t->x87_want = x87_loaded && !t->x87_loaded;
		}
		return to;
	}
	if (!fill(t, site, gva))
		return site->page_faults && !crosses ? miss_fault(t, site, gva) : group_missed(t, site, gva);
	/* An access that reaches into a page elsewhere is the interpreter's, if that is not often. */
	if (crosses) {
		enum splice_state span = fill(t, site, gva + site->size - 1) ? window_span(t, t->window, gva) : SPLICE_REFUSED;

		if (span != SPLICE_MAPPED)
			return span == SPLICE_COUNTS ? 0 : group_missed(t, site, gva + site->size - 1);
	}
	t->statistics.fills++;
	t->fpu_want = loaded && !t->fpu_loaded;
	t->x87_want = x87_loaded && !t->x87_loaded;
	return low_address(t->exec_base) + site->resume;
}
