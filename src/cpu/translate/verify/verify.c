/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See verify.h. */
#include "cpu/translate/mmu/mmu.h"
#include "cpu/translate/run/run.h"
#include "cpu/translate/verify/verify.h"

#include "core/bus.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	SHADOW_CODE_BYTES = 8 * MIB,
	/* A device that disturbs each of so many runs is not what is wrong. */
	MOST_DISTURBED = 3,
};

/* --- memory --- */

static struct verify_page *page_find(struct verify *v, uint64_t gpa)
{
	for (unsigned i = 0; i < v->page_count; i++)
		if (v->pages[i].gpa == gpa)
			return &v->pages[i];
	return NULL;
}

static struct verify_page *page_copy(struct verify *v, uint64_t gpa, uint8_t *hva)
{
	struct verify_page *page = page_find(v, gpa);

	if (page)
		return page;
	if (v->page_count == VERIFY_PAGES)
		return NULL;
	page = &v->pages[v->page_count];
	*page = (struct verify_page){.gpa = gpa, .hva = hva, .copy = v->copies + v->page_count * PAGE_SIZE};
	memcpy(page->copy, hva, PAGE_SIZE);
	v->page_count++;
	return page;
}

/* The machine's CPU: remembers what has to miss again in the next run, and copies what this one is about to write. */
static uint8_t *own_page(struct x86_cpu *cpu, uint64_t gva, uint64_t gpa, uint8_t *hva, unsigned access)
{
	struct verify *v = cpu->memory_watch_opaque;
	struct verify_page *page;

	if (!(access & X86_WRITE))
		return hva;
	if (v->write_count < VERIFY_WRITES)
		v->writes[v->write_count] = gva;
	v->write_count++;
	if (!v->running)
		return hva;
	page = page_copy(v, gpa, hva);
	if (page)
		page->translated = true;
	else
		v->unwatched = true;
	return hva;
}

/* The shadow: copies where there are any. */
static uint8_t *shadow_page(struct x86_cpu *cpu, uint64_t gva, uint64_t gpa, uint8_t *hva, unsigned access)
{
	struct verify *v = cpu->memory_watch_opaque;
	struct verify_page *page = page_find(v, gpa);

	if (page) {
		page->interpreted |= access & X86_WRITE;
		return page->copy;
	}
	if (!(access & X86_WRITE))
		return hva;
	page = page_copy(v, gpa, hva);
	if (!page) {
		v->unwatched = true;
		return v->copies + VERIFY_PAGES * PAGE_SIZE; /* one to spare */
	}
	page->interpreted = true;
	x86_tlb_flush(cpu); /* other entries still lead to the page itself */
	return page->copy;
}

/* As the machine's CPU has it: its TLB may rightly hold what the page tables do not say any more. */
static bool shadow_mapping(struct x86_cpu *cpu, uint64_t gva, enum x86_view view, unsigned access, uint64_t *gpa)
{
	struct verify *v = cpu->memory_watch_opaque;
	const struct x86_tlb_entry *slot = &v->t->cpu->tlb[view][(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];
	uint64_t tag = access & X86_WRITE ? slot->tag_write : access & X86_FETCH ? slot->tag_fetch : slot->tag_read;

	*gpa = x86_tlb_gpa(slot);
	return tag == (gva & ~(PAGE_SIZE - 1));
}

static const struct x86_memory_watch own_watch = {.page = own_page, .reads_let_write = true};
static const struct x86_memory_watch shadow_watch = {.page = shadow_page, .mapping = shadow_mapping};

static void forget_write(struct x86_cpu *cpu, uint64_t page_number)
{
	for (unsigned view = 0; view < X86_VIEW_EMPTY; view++)
		cpu->tlb[view][page_number & (X86_TLB_ENTRIES - 1)].tag_write = X86_TLB_NONE;
}

/* Every first write of a run has to come to own_page. Nothing else of the TLB goes: it may rightly have a mapping of the block
 * that is about to run which the page tables do not have any more. */
static void forget_writes(struct verify *v)
{
	struct x86_cpu *cpu = v->t->cpu;

	if (v->write_count > VERIFY_WRITES)
		for (unsigned i = 0; i < X86_TLB_ENTRIES; i++)
			forget_write(cpu, i);
	else
		for (unsigned i = 0; i < v->write_count; i++)
			forget_write(cpu, v->writes[i] >> PAGE_SHIFT);
	v->write_count = 0;
	windows_forget_writes(v->t);
}

/* Bits that a page walk may set meanwhile in an entry that is there (SDM 3A 4.8); the low half has them in any format.
 */
static bool same_entry(uint32_t now, uint32_t copy)
{
	return now == copy || (now & 1 && (now ^ copy) == ((now ^ copy) & now & 0x60));
}

static void note_bytes(struct verify *v, const struct verify_page *page, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to && v->byte_count < VERIFY_BYTES; i++)
		if (page->hva[i] != page->copy[i])
			v->bytes[v->byte_count++] = (struct verify_byte){page->gpa + i, page->hva[i], page->copy[i]};
}

static bool same_page(const struct verify_page *page)
{
	const uint32_t *now = (const uint32_t *)page->hva, *copy = (const uint32_t *)page->copy;

	if (!memcmp(now, copy, PAGE_SIZE))
		return true;
	for (unsigned i = 0; i < PAGE_SIZE / 4; i++)
		if (!same_entry(now[i], copy[i]))
			return false;
	return true;
}

static bool same_memory(const struct verify *v)
{
	for (unsigned i = 0; i < v->page_count; i++)
		if (!same_page(&v->pages[i]))
			return false;
	return true;
}

/* --- the two runs --- */

static void begin(struct verify *v)
{
	struct x86_cpu *cpu = v->t->cpu;

	x87_give(v->t);
	forget_writes(v);
	v->page_count = 0;
	v->unwatched = false;
	v->foreign_writes = verify_foreign_writes(v->turns);
	v->before = cpu->s;
	v->before_view = (uint64_t)((cpu->tlb_active - cpu->tlb[0]) / X86_TLB_ENTRIES);
	x86_cpu_mirror(v->shadow, cpu);
	v->running = true;
}

/* What the report is to show. */
static void note_parting(struct verify *v)
{
	v->interpreted = v->shadow->s;
	v->byte_count = 0;
	v->parted_pages = v->page_count;
	v->parted = v->steps;
	for (unsigned i = 0; i < v->page_count; i++)
		for (unsigned at = 0; at < PAGE_SIZE; at += 64)
			if (memcmp(v->pages[i].hva + at, v->pages[i].copy + at, 64))
				note_bytes(v, &v->pages[i], at, at + 64);
}

static bool same(struct verify *v)
{
	return verify_same_registers(v) && same_memory(v);
}

/* True: the shadow came to where the machine's CPU is, with the same registers and memory. */
static bool shadow_follows(struct verify *v)
{
	struct x86_cpu *shadow = v->shadow;

	v->met = false;
	v->fault = -1;
	v->steps = 0;
	shadow->fault_exit = &v->fault_exit;
	if (setjmp(v->fault_exit)) {
		x86_bus_unlock(shadow);
		v->fault = shadow->fault_vector;
		/* Both have tried what faults, which may leave traces (MXCSR, x87's tags). */
		if (v->t->sites[v->t->site].kind == SITE_FAULT && same(v))
			return true;
		if (!v->met)
			note_parting(v);
		return false;
	}
	for (; v->steps < VERIFY_STEPS && !v->unwatched && shadow->s.mp_state == X86_MP_RUNNING; v->steps++) {
		if (shadow->s.rip == v->t->cpu->s.rip) {
			if (same(v))
				return true;
			if (v->steps && !v->met) { /* before the first step: translated code has come round a loop */
				note_parting(v);
				v->met = true;
			}
		}
		v->path[v->steps] = shadow->s.rip;
		interp_single(shadow);
	}
	if (!v->met)
		note_parting(v);
	return false;
}

/* What is no evidence. */
static bool inconclusive(struct verify *v)
{
	bool read = false;

	if (v->unwatched)
		return true;
	verify_flags_undefined(v, v->parted, &read);
	return read || (verify_disturbed(v->turns, v->foreign_writes) && v->disturbed++ < MOST_DISTURBED);
}

static void end(struct verify *v)
{
	v->running = false;
	x87_give(v->t);
	v->runs++;
	if (shadow_follows(v)) {
		v->disturbed = 0;
		return;
	}
	if (inconclusive(v)) {
		v->inconclusive++;
		return;
	}
	v->failed = true;
	verify_report(v);
}

/* Helpers that act on registers and memory alone. */
static bool helper_comparable(enum helper helper)
{
	switch (helper) {
	case HELPER_SYSCALL:
	case HELPER_SYSRET:
	case HELPER_IRET:
	case HELPER_MOV_CR3:
	case HELPER_MOVS:
	case HELPER_STOS:
	case HELPER_SCAS:
	case HELPER_CMPS:
		return true;
	default:
		return false;
	}
}

static uint64_t rip_add(const struct translator *t, uint64_t rip, unsigned length)
{
	return t->key & KEY_CODE32 ? (uint32_t)(rip + length) : rip + length;
}

/* The call at t->site. Returns where its block goes on, 0: nowhere. */
static uint32_t call(struct verify *v)
{
	struct translator *t = v->t;
	const struct site *site = &t->sites[t->site];
	uint64_t interpreted = t->statistics.interpreted[site->mnemonic], to;
	bool compare = helper_comparable(site->helper), behind;

	if (compare)
		begin(v);
	to = helper_call(t);
	v->running = false;
	behind = site->resume && to == low_address(t->exec_base) + site->resume;
	if (behind) /* helpers need not say so */
		t->cpu->s.rip = rip_add(t, site->rip, site->length);
	/* Not when the interpreter did it, or a part, and not in the middle of a REP. */
	if (compare && interpreted == t->statistics.interpreted[site->mnemonic] && t->cpu->s.rip != site->rip)
		end(v);
	return behind ? site->resume : 0;
}

/* translator.call: the run ends before what is called, with exact registers. */
static uint64_t stop_before_call(struct translator *t)
{
	vectors_out(t);
	t->attend = false;
	t->cpu->s.rip = t->sites[t->site].rip;
	flags_out(t);
	return 0;
}

/* translator.miss: a fault is left to the interpreter, outside of the run. */
static uint64_t miss_without_fault(struct translator *t)
{
	struct site *site = &t->sites[t->site];
	bool page_faults = site->page_faults;
	uint64_t to;

	site->page_faults = false;
	to = helper_miss(t);
	site->page_faults = page_faults;
	return to;
}

static const struct site *run(struct verify *v, const struct block *block, uint32_t where)
{
	struct translator *t = v->t;
	const struct site *site;

	begin(v);
	t->call = stop_before_call;
	t->miss = miss_without_fault;
	t->fpu_want = block->fpu;
	t->x87_want = block->x87;
	if (block->x87 && !t->x87_valid)
		x87_take(t);
	atomic_store_explicit(&t->poll, 1, memory_order_relaxed);
	run_enter(t, where);
	t->fpu_want = t->x87_want = 0;
	site = run_leave(t);
	t->call = helper_call;
	t->miss = helper_miss;
	end(v);
	return site;
}

const struct site *verify_run(struct verify *v, struct block *block, bool *failed)
{
	struct translator *t = v->t;
	const struct site *site;
	uint32_t where;

	v->block = (uint32_t)(block - t->blocks);
	block->verified += block->verified < UINT16_MAX; /* when `most` is more, it is never reached */
	site = run(v, block, block->code + block->body);
	while (!v->failed && site->kind == SITE_CALL) {
		where = call(v);
		if (!where || v->failed)
			break;
		site = run(v, &t->blocks[site->block], where);
	}
	*failed = v->failed;
	return site;
}

void verify_forget(struct verify *v)
{
	memset(v->live, 0, sizeof(v->live));
}

/* --- life --- */

struct verify *verify_new(struct translator *t, struct error *err)
{
	struct verify *v = xcalloc(1, sizeof(*v));
	struct x86_cpu *cpu = t->cpu;
	struct engine_env env = cpu->vcpu.engine->env;

	v->t = t;
	v->turns = cpu->vcpu.engine->data;
	v->most = env.tuning.verify;
	v->copies =
		mmap(NULL, (VERIFY_PAGES + 1) * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (v->copies == MAP_FAILED) {
		v->copies = NULL;
		error_set_errno(err, errno, "memory for verify=on");
		goto fail;
	}
	v->quiet.fd = STDERR_FILENO;
	v->io = bus_new("nothing", 0x10000);
	v->memory = bus_new("nothing", 0);
	env.log = &v->quiet;
	env.io = v->io;
	env.memory = v->memory;
	env.tuning.code_bytes = SHADOW_CODE_BYTES;
	v->shadow = interp_cpu_new(&env, cpu->vcpu.index, cpu->vcpu.apic_id, err);
	if (!v->shadow)
		goto fail;
	interp_host_flags(v->shadow);
	v->shadow->memory_watch = &shadow_watch;
	v->shadow->memory_watch_opaque = v;
	cpu->memory_watch = &own_watch;
	cpu->memory_watch_opaque = v;
	return v;
fail:
	verify_free(v);
	return NULL;
}

void verify_free(struct verify *v)
{
	if (!v)
		return;
	if (v->shadow)
		interp_cpu_free(v->shadow);
	if (v->io)
		bus_free(v->io);
	if (v->memory)
		bus_free(v->memory);
	if (v->copies)
		munmap(v->copies, (VERIFY_PAGES + 1) * PAGE_SIZE);
	free(v);
}
