/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The C that translated code calls: for system instructions (SITE_CALL), and for accesses that the TLB has no entry for
 * (SITE_MEMORY). Each says where translated code goes on, or 0: it is left.
 *
 * Vector registers may be the guest's here: see invariants 5 and 6 in internal.h.
 */
#include "cpu/translate/internal.h"
#include "cpu/x86/mem.h"

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
	if (!table || table[jump_index(cpu->s.rip)].rip != cpu->s.rip)
		return 0;
	t->fpu_want = 0;
	return table[jump_index(cpu->s.rip)].host;
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
static uint64_t behind(struct translator *t, const struct site *site)
{
	return code_address(t, &t->blocks[site->block], site->resume);
}

static uint64_t help_interpret(struct translator *t, const struct site *site)
{
	uint64_t generation = t->cpu->tlb_generation;

	vectors_out(t);
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
	return behind(t, site);
}

static uint64_t help_pause(struct translator *t, const struct site *site)
{
	interp_pause(t->cpu);
	return behind(t, site);
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
	return behind(t, site);
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

/* --- strings --- */

/* Elements from gva on that the page has room for, and where they are in the host; NULL: no such memory. */
static void *string_end(struct x86_cpu *cpu, uint64_t gva, unsigned size, bool write, uint64_t *count)
{
	const struct x86_tlb_entry *slot = x86_tlb_slot(cpu, gva);
	uint64_t page = gva & ~(PAGE_SIZE - 1), room = (PAGE_SIZE - (gva & (PAGE_SIZE - 1))) / size;

	if ((write ? slot->tag_write : slot->tag_read) != page && !x86_tlb_fill(cpu, gva, write ? X86_WRITE : X86_READ))
		return NULL;
	if (*count > room)
		*count = room;
	return (void *)(gva + slot->addend);
}

/* The host's own instructions, element by element in the same order. */
static void store_elements(void *to, uint64_t value, unsigned size, uint64_t count)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
		break;
	case 2:
		__asm__ volatile("rep stosw" : "+D"(to), "+c"(count) : "a"(value) : "memory");
		break;
	case 4:
		__asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(value) : "memory");
		break;
	default:
		__asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory");
		break;
	}
}

static void copy_elements(void *to, const void *from, unsigned size, uint64_t count)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		break;
	case 2:
		__asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		break;
	case 4:
		__asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		break;
	default:
		__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		break;
	}
}

/* Moves up to `count` elements within one page of each end and advances the registers. Returns how many; 0: the
 * interpreter is to do the next one. */
static uint64_t string_piece(struct x86_cpu *cpu, const struct site *site, uint64_t count)
{
	uint64_t *gpr = cpu->s.gpr, source;
	const void *from = NULL;
	void *to;

	to = string_end(cpu, gpr[RDI], site->size, true, &count);
	if (!to || !count)
		return 0;
	if (site->helper == HELPER_STOS) {
		store_elements(to, gpr[RAX], site->size, count);
	} else {
		source = gpr[RSI] + (site->segment >= 0 ? cpu->s.seg[site->segment].base : 0);
		from = string_end(cpu, source, site->size, false, &count);
		/* filling one may have thrown out the other */
		if (!from || !count || x86_tlb_slot(cpu, gpr[RDI])->tag_write != (gpr[RDI] & ~(PAGE_SIZE - 1)))
			return 0;
		copy_elements(to, from, site->size, count);
		gpr[RSI] += count * site->size;
	}
	gpr[RDI] += count * site->size;
	return count;
}

/* MOVS and STOS going up with 64-bit addresses. Registers are exact after each piece. */
static uint64_t help_string(struct translator *t, const struct site *site)
{
	struct x86_cpu *cpu = t->cpu;
	uint64_t *gpr = cpu->s.gpr, done;

	if (cpu->s.rflags & X86_DF)
		return help_interpret(t, site);
	if (!site->write)
		return string_piece(cpu, site, 1) ? behind(t, site) : help_interpret(t, site);
	while (gpr[RCX]) {
		done = string_piece(cpu, site, gpr[RCX]);
		if (!done)
			return help_interpret(t, site); /* the rest */
		gpr[RCX] -= done;
		if (gpr[RCX] && events_pending(cpu)) {
			cpu->s.rflags |= X86_RF; /* as an interrupt between two elements shows it (SDM 3B 17.3.1.1) */
			flags_in(t);
			return 0;
		}
	}
	return behind(t, site);
}

uint64_t helper_call(struct translator *t)
{
	static uint64_t (*const helpers[HELPERS])(struct translator * t, const struct site *site) = {
		[HELPER_INTERPRET] = help_interpret, [HELPER_SYSCALL] = help_syscall, [HELPER_SYSRET] = help_sysret,
		[HELPER_IRET] = help_iret,           [HELPER_RDTSC] = help_rdtsc,     [HELPER_RDTSCP] = help_rdtsc,
		[HELPER_PAUSE] = help_pause,         [HELPER_RDMSR] = help_rdmsr,     [HELPER_WRMSR] = help_wrmsr,
		[HELPER_MOV_CR3] = help_mov_cr3,     [HELPER_MOVS] = help_string,     [HELPER_STOS] = help_string,
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

uint64_t helper_miss(struct translator *t)
{
	const struct site *site = &t->sites[t->site];
	uint64_t gva = address_of(t, site, true);
	bool loaded = t->fpu_loaded;

	/* An access that crosses the page is the interpreter's. */
	if ((gva & (PAGE_SIZE - 1)) + site->size > PAGE_SIZE)
		return 0;
	if (!VECTORS_STAY)
		vectors_out(t);
	if (!x86_tlb_fill(t->cpu, gva, site->write ? X86_WRITE : X86_READ))
		return 0;
	t->statistics.fills++;
	for (unsigned parked = site->parked; parked; parked &= parked - 1) /* the look-up begins with parking them */
		t->out[__builtin_ctz(parked)] = t->cpu->s.gpr[__builtin_ctz(parked)];
	t->fpu_want = loaded && !t->fpu_loaded;
	return low_address(t->exec_base) + site->resume;
}
