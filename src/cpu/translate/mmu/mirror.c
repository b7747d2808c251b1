/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mirrors: guest address spaces whose user pages are mapped in the host's address space at one constant distance, so that
 * translated code needs no look-up (mirror_operand.c). What the host's MMU knows is a copy of the software TLB, page by
 * page: a page is mapped when code first meets it (SIGSEGV, host.c), as far as the TLB lets it be read or written, and
 * unmapped when the TLB drops it.
 *
 * Addresses are mirrored in two areas of 16 TiB, where Linux puts programs that may lie anywhere and their heaps, and
 * libraries, mappings and stacks. The host has room for three such pairs: three spaces of one vCPU, or one space of each of
 * three. Nothing is mapped within MIRROR_GUARD of the areas' ends, so that what lies behind one is never reached by
 * an access close to an address that was checked.
 *
 * Programs that do not lie anywhere have their code, data and heap below 1 GiB. There the host has nothing (but what is
 * mapped with MAP_32BIT begins behind), so these addresses are the same in the host. There is one such place in a process: the
 * first vCPU has it, and of its spaces the one that was entered last among those that want it.
 *
 * A mapping costs some microseconds, by the host 5 to 15 with the signal and all, so a space has to run for a while before it
 * gets a mirror, and loses it when it spends too much of its time on mappings (struct mirror_account).
 *
 * All in the vCPU's thread. Called from code that holds the guest's vector registers: no memset and the like.
 */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/mmu/mmu.h"
#include "cpu/translate/run/run.h"

#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>

enum { HWCAP2_FSGSBASE = 2 /* Linux, Documentation/arch/x86/x86_64/fsgs.rst */ };
enum { CHOICE_BITS = 20 };
enum { SPACES = 3, RUNS_SHIFT = 14, RUNS = 1 << RUNS_SHIFT, PROBES = 8, ACCOUNTS_SHIFT = 6 };
/* Mappings of all mirrors: the host allows a process 65530 (vm.max_map_count), and each may leave a gap that is another. */
enum { MOST_RUNS = 24 * 1024 / SPACES /* of one space */ };

#define AREA_BYTES  (1ull << MIRROR_AREA_SHIFT)
#define LARGE_BYTES (2 * MIB)
#define LARGE       1u /* in mirror_run.gva: 2 MiB */
#define PCID        0xfffu /* in CR3 */
#define LOW_ROOM    (GIB - MIRROR_LOW_START) /* what is reserved from MIRROR_LOW_START on */

#define EARN_NS     (50 * NS_PER_MS)  /* time in user code before a space gets a mirror */
#define EARN_SUM_NS (100 * NS_PER_MS) /* where it gains less (mirror_gs) */
#define CREDIT_NS   (20 * NS_PER_MS)
#define SLICE_NS    (4 * NS_PER_MS)   /* of what lies between two looks no more counts */
#define MEMORY_NS   (120 * NS_PER_MS) /* what was earned and paid before counts half: who begins to touch new pages has little to spend */
#define FINE_NS     (2 * NS_PER_S)    /* for a space that is mostly elsewhere, as of programs that lie at low addresses */
enum { MOST_OUTSIDE = 64 };

struct mirror_run {
	uint64_t gva; /* page, or 2 MiB | LARGE */
	uint64_t gpa;
	uint32_t turn; /* of the mirror when it was mapped; another one: it is not any more */
	bool write;
};

struct mirror {
	uint64_t base; /* host address - guest address; 0: no room yet */
	uint64_t cr3;
	int64_t used_ns;
	bool used;
	bool wants_low, low; /* low addresses as well: in general, and now */
	uint32_t turn, count;
	int64_t paid_ns; /* not yet in the account of its space */
	struct mirror_run *runs; /* RUNS, by a hash */
};

/* What a space has spent in user code and on mappings. */
struct mirror_account {
	uint64_t cr3;
	int64_t earned_ns, paid_ns;
	unsigned outside;
};

struct mirrors {
	struct mirror space[SPACES];
	unsigned count; /* of those; less when the host had no room after all */
	struct mirror *active;
	int64_t map_ns;          /* what a mapping costs lately */
	bool asked_low, has_low; /* for the place for low addresses; and it is ours */
	uint8_t choices[1 << (CHOICE_BITS - 2)]; /* enum mirror_choice, four in a byte, by a hash */
	uint8_t written_pages[WRITTEN_PAGES]; /* by the number of the page or of the 2 MiB: some run that may be written covers it */
	uint8_t written_large[WRITTEN_RUNS];
	unsigned first; /* number of the first among all that the host has room for */
	uint64_t seen_cr3;
	int64_t seen_ns;
	struct mirror_account accounts[1 << ACCOUNTS_SHIFT];
};

/* Spaces share one now and then, which then begins anew at each switch. (Linux' tables of user space lie in every other page.) */
static struct mirror_account *account_of(struct mirrors *mirrors, uint64_t cr3)
{
	return &mirrors->accounts[(cr3 >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> (64 - ACCOUNTS_SHIFT)];
}

static bool in_area(uint64_t gva)
{
	return ((gva >> MIRROR_AREA_SHIFT) | MIRROR_AREA_ANY) == MIRROR_AREA;
}

bool mirror_covers(uint64_t gva, unsigned bytes)
{
	return in_area(gva - MIRROR_GUARD) && in_area(gva + bytes + MIRROR_GUARD - 1) && in_area(gva);
}

bool mirror_covers_low(uint64_t gva, unsigned bytes)
{
	return gva >= MIRROR_LOW_START && gva < MIRROR_LOW_END && gva + bytes <= MIRROR_LOW_END;
}

static void *host_of(const struct mirror *m, uint64_t gva)
{
	return (void *)(uintptr_t)(gva < GIB ? gva : gva + m->base);
}

/* --- what instructions meet --- */

static uint64_t choice_slot(uint64_t gpa, unsigned *shift)
{
	const uint64_t hash = (gpa ^ gpa >> CHOICE_BITS) & ((1u << CHOICE_BITS) - 1);

	*shift = hash % 4 * 2;
	return hash / 4;
}

enum mirror_choice mirror_choice(const struct translator *t, uint64_t gpa)
{
	unsigned shift;
	uint64_t slot = choice_slot(gpa, &shift);

	return (enum mirror_choice)(t->mirrors->choices[slot] >> shift & 3);
}

/* An instruction has met an address of an area that it was not made for. */
static void choice_learn(struct translator *t, uint64_t gpa, enum mirror_choice met)
{
	unsigned shift;
	uint64_t slot = choice_slot(gpa, &shift);

	if (mirror_choice(t, gpa) != MIRROR_UNKNOWN)
		met = MIRROR_NEITHER; /* which is both */
	t->mirrors->choices[slot] |= (uint8_t)(met << shift);
}

/* --- room --- */

static bool reserve(void *at, uint64_t bytes, int fixed)
{
	return mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0) == at;
}

static void for_areas(const struct mirror *m, void (*act)(const struct mirror *m, uint64_t gva, uint64_t bytes))
{
	act(m, (uint64_t)(MIRROR_AREA & ~MIRROR_AREA_ANY) << MIRROR_AREA_SHIFT, AREA_BYTES);
	act(m, (uint64_t)MIRROR_AREA << MIRROR_AREA_SHIFT, AREA_BYTES);
}

static void clear_area(const struct mirror *m, uint64_t gva, uint64_t bytes)
{
	if (!reserve(host_of(m, gva), bytes, MAP_FIXED))
		abort(); /* the guest would see pages that it took away */
}

static void give_back(const struct mirror *m, uint64_t gva, uint64_t bytes)
{
	munmap(host_of(m, gva), bytes);
}

/* Below the places of the program itself (0x55..) and of its libraries (0x7f..). */
static bool find_room(struct mirror *m, unsigned number)
{
	static const uint16_t places[SPACES] = {0x0400, 0x1400, 0x4400}; /* of the first area, in 4 GiB */
	const uint64_t first = (uint64_t)(MIRROR_AREA & ~MIRROR_AREA_ANY) << MIRROR_AREA_SHIFT;
	const uint64_t second = (uint64_t)MIRROR_AREA << MIRROR_AREA_SHIFT;
	const uint64_t base = ((uint64_t)places[number] << 32) - first;

	if (!m->runs)
		m->runs = calloc(RUNS, sizeof(*m->runs));
	if (!m->runs || !reserve((void *)(uintptr_t)(first + base), AREA_BYTES, MAP_FIXED_NOREPLACE))
		return false;
	if (!reserve((void *)(uintptr_t)(second + base), AREA_BYTES, MAP_FIXED_NOREPLACE)) {
		munmap((void *)(uintptr_t)(first + base), AREA_BYTES);
		return false;
	}
	m->base = base;
	m->turn = 1;
	return true;
}

/* Not before a guest wants it: something else of the process may. */
static bool find_low_room(struct mirrors *mirrors)
{
	if (!mirrors->asked_low)
		mirrors->has_low = reserve((void *)(uintptr_t)MIRROR_LOW_START, LOW_ROOM, MAP_FIXED_NOREPLACE);
	mirrors->asked_low = true;
	return mirrors->has_low;
}

/* --- runs --- */

static unsigned run_hash(uint64_t key)
{
	return (unsigned)((key ^ key >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> (64 - RUNS_SHIFT));
}

static struct mirror_run *run_find(const struct mirror *m, uint64_t key)
{
	for (unsigned i = 0, at = run_hash(key); i < PROBES; i++) {
		struct mirror_run *run = &m->runs[(at + i) % RUNS];

		if (run->gva == key && run->turn == m->turn)
			return run;
	}
	return NULL;
}

/* NULL: the mirror is full. */
static struct mirror_run *run_take(struct mirror *m, uint64_t key)
{
	struct mirror_run *run = run_find(m, key);

	for (unsigned i = 0, at = run_hash(key); !run && i < PROBES; i++)
		if (m->runs[(at + i) % RUNS].turn != m->turn)
			run = &m->runs[(at + i) % RUNS];
	return run;
}

static void clear_low(void)
{
	if (!reserve((void *)(uintptr_t)MIRROR_LOW_START, LOW_ROOM, MAP_FIXED))
		abort();
}

static void mirror_drop(struct mirror *m)
{
	if (!m->count)
		return;
	for_areas(m, clear_area);
	if (m->low)
		clear_low();
	m->turn++;
	m->count = 0;
}

/* All goes when the host has no mapping left to leave a hole in one. */
static void unmap(struct mirror *m, uint64_t gva, uint64_t bytes)
{
	const int64_t start_ns = host_now_ns();

	if (!reserve(host_of(m, gva), bytes, MAP_FIXED))
		mirror_drop(m);
	m->paid_ns += host_now_ns() - start_ns;
}

static uint64_t run_bytes(const struct mirror_run *run)
{
	return run->gva & LARGE ? LARGE_BYTES : PAGE_SIZE;
}

static void run_unmap(struct mirror *m, struct mirror_run *run)
{
	run->turn--;
	unmap(m, run->gva & ~(uint64_t)LARGE, run_bytes(run));
}

static uint8_t *written_page(struct mirrors *mirrors, uint64_t gpa)
{
	return &mirrors->written_pages[gpa >> PAGE_SHIFT & (WRITTEN_PAGES - 1)];
}

static uint8_t *written_large(struct mirrors *mirrors, uint64_t gpa)
{
	return &mirrors->written_large[gpa / LARGE_BYTES % WRITTEN_RUNS];
}

static void note_written(struct mirrors *mirrors, const struct mirror_run *run)
{
	*(run->gva & LARGE ? written_large(mirrors, run->gpa) : written_page(mirrors, run->gpa)) = 1;
}

static bool covers(const struct mirror *m, uint64_t gva, unsigned bytes)
{
	return mirror_covers(gva, bytes) || (m->low && mirror_covers_low(gva, bytes));
}

/* Of this TLB entry, whose page is wanted for reading or writing. False: cannot be mapped. */
static bool run_of(const struct mirror *m, const struct x86_tlb_entry *entry, uint64_t page, bool write, struct mirror_run *run)
{
	const bool large_write = entry->run_write_pages == LARGE_BYTES / PAGE_SIZE;
	const bool large = entry->run_pages == LARGE_BYTES / PAGE_SIZE && (!write || large_write) && covers(m, entry->run_start, LARGE_BYTES);
	const uint64_t start = large ? entry->run_start : page;

	*run = (struct mirror_run){.gva = start | (large ? LARGE : 0),
				   .gpa = x86_tlb_gpa(entry) - (page - start),
				   .write = entry->tag_write == page && (!large || large_write)};
	return (write ? entry->tag_write : entry->tag_read) == page;
}

bool mirror_map(struct translator *t, uint64_t gva, bool write)
{
	const uint64_t page = gva & ~(PAGE_SIZE - 1);
	const struct x86_tlb_entry *entry = &t->cpu->tlb_active[(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];
	struct ram *ram = t->cpu->vcpu.engine->env.ram;
	struct mirrors *mirrors = t->mirrors;
	struct mirror *m = mirrors->active;
	struct mirror_run run, *place;
	const struct ram_slot *slot;
	int64_t start_ns, cost_ns;
	void *host;

	if (!m || !covers(m, page, PAGE_SIZE) || !run_of(m, entry, page, write, &run))
		return false;
	slot = ram_find(ram, run.gpa);
	if (!slot || !slot->fixed || page + entry->addend != (uint64_t)(uintptr_t)slot->hva + (x86_tlb_gpa(entry) - slot->gpa))
		return false;
	place = m->count < MOST_RUNS ? run_take(m, run.gva) : NULL;
	if (!place) {
		mirror_drop(m);
		place = run_take(m, run.gva);
	}
	host = host_of(m, run.gva & ~(uint64_t)LARGE);
	start_ns = host_now_ns();
	if (mmap(host, run_bytes(&run), PROT_READ | (run.write ? PROT_WRITE : 0), MAP_SHARED | MAP_FIXED | MAP_POPULATE,
		 ram_fd(ram), (off_t)(slot->offset + (run.gpa - slot->gpa))) == MAP_FAILED)
		return false;
	madvise(host, run_bytes(&run), MADV_DONTDUMP); /* RAM's own mapping is dumped or not, as the user wants */
	run.turn = m->turn;
	*place = run;
	m->count++;
	if (run.write)
		note_written(mirrors, &run);
	cost_ns = host_now_ns() - start_ns;
	mirrors->map_ns += (cost_ns - mirrors->map_ns) / 8;
	m->paid_ns += cost_ns;
	t->statistics.mirrored++;
	return true;
}

void mirror_missed(struct translator *t)
{
	if (t->mirrors->active)
		t->mirrors->active->paid_ns += t->mirrors->map_ns / 2;
}

/* --- what the TLB says --- */

void mirror_page_dropped(struct x86_cpu *cpu, uint64_t gva, bool large)
{
	struct mirrors *mirrors = translator_of(cpu)->mirrors;
	const uint64_t start = gva & ~(LARGE_BYTES - 1), first = start > MIRROR_LOW_START ? start : MIRROR_LOW_START;

	for (unsigned i = 0; mirrors && i < SPACES; i++) {
		struct mirror *m = &mirrors->space[i];
		struct mirror_run *run;

		if (!m->count || ((m->cr3 ^ cpu->s.cr3) & PCID) || !covers(m, gva & ~(PAGE_SIZE - 1), PAGE_SIZE))
			continue;
		run = run_find(m, start | LARGE);
		if (run)
			run_unmap(m, run);
		else if (large)
			unmap(m, first, start + LARGE_BYTES - first);
		run = run_find(m, gva & ~(PAGE_SIZE - 1));
		if (run)
			run_unmap(m, run);
	}
}

void mirror_space_dropped(struct x86_cpu *cpu, int pcid)
{
	struct mirrors *mirrors = translator_of(cpu)->mirrors;

	for (unsigned i = 0; mirrors && i < SPACES; i++)
		if (pcid < 0 || (int)(mirrors->space[i].cr3 & PCID) == pcid)
			mirror_drop(&mirrors->space[i]);
	if (pcid < 0) /* perhaps because all of the state is another one */
		mirror_space_entered(cpu);
}

bool mirror_protect(struct translator *t, uint64_t gpa)
{
	struct mirrors *mirrors = t->mirrors;
	bool had = false;

	if (!mirrors || !(*written_page(mirrors, gpa) | *written_large(mirrors, gpa)))
		return false;
	*written_page(mirrors, gpa) = *written_large(mirrors, gpa) = 0;
	for (unsigned i = 0; i < SPACES; i++) {
		struct mirror *m = &mirrors->space[i];

		for (unsigned k = 0; m->count && k < RUNS; k++) {
			struct mirror_run *run = &m->runs[k];

			if (run->turn != m->turn || !run->write)
				continue;
			if (gpa - run->gpa < run_bytes(run)) {
				run_unmap(m, run);
				had = true;
			} else {
				note_written(mirrors, run);
			}
		}
	}
	return had;
}

void mirror_tell_written(struct translator *t)
{
	for (unsigned i = 0; t->mirrors && i < SPACES; i++) {
		struct mirror *m = &t->mirrors->space[i];

		for (unsigned k = 0; m->count && k < RUNS; k++)
			if (m->runs[k].turn == m->turn && m->runs[k].write)
				ram_written(t->cpu->vcpu.engine->env.ram, m->runs[k].gpa, run_bytes(&m->runs[k]));
		mirror_drop(m);
	}
}

/* --- which space --- */

/* Negative mostly, which the kernel would not set for us. Nobody else in the host uses GS. */
static void gs_base_set(uint64_t base)
{
	__asm__ volatile("wrgsbase %0" : : "r"(base));
}

static void take_low(struct mirrors *mirrors, struct mirror *m)
{
	for (unsigned i = 0; i < mirrors->count; i++) {
		struct mirror *other = &mirrors->space[i];

		if (other == m || !other->low)
			continue;
		mirror_drop(other);
		other->low = false;
	}
	m->low = true;
}

static void activate(struct translator *t, struct mirror *m)
{
	struct mirrors *mirrors = t->mirrors;

	if (m && m->wants_low)
		take_low(mirrors, m);
	mirrors->active = m;
	t->mirrored = m != NULL;
	t->mirrored_low = m && m->low;
	if (m && t->mirror_base != m->base) {
		t->mirror_base = m->base;
		if (t->mirror_gs)
			gs_base_set(m->base);
	}
}

void mirror_space_entered(struct x86_cpu *cpu)
{
	struct translator *t = translator_of(cpu);
	struct mirror *found = NULL;

	if (!t->mirrors)
		return;
	for (unsigned i = 0; i < t->mirrors->count; i++)
		if (t->mirrors->space[i].used && t->mirrors->space[i].cr3 == cpu->s.cr3)
			found = &t->mirrors->space[i];
	activate(t, found);
}

/* For a space that deserves one: a place without a space, or that whose space was promoted first. */
static void promote(struct translator *t, uint64_t cr3, int64_t now_ns)
{
	struct mirror *best = NULL;

	for (unsigned i = 0; i < t->mirrors->count; i++) {
		struct mirror *m = &t->mirrors->space[i];

		if (!best || (best->used && (!m->used || m->used_ns < best->used_ns)))
			best = m;
	}
	if (!best)
		return;
	if (!best->base && !find_room(best, t->mirrors->first + (unsigned)(best - t->mirrors->space))) {
		t->mirrors->count = (unsigned)(best - t->mirrors->space); /* those before it are in use */
		return;
	}
	mirror_drop(best);
	best->wants_low = best->low = false;
	best->used = true;
	best->cr3 = cr3;
	best->paid_ns = 0; /* the last space's */
	best->used_ns = now_ns;
	activate(t, best);
}

void mirror_outside(struct translator *t, const struct site *site)
{
	struct mirrors *mirrors = t->mirrors;
	struct mirror_account *account = account_of(mirrors, t->cpu->s.cr3);
	struct block *block = &t->blocks[site->block];
	const uint64_t address = helper_address(t, site);
	const bool low = mirror_covers_low(address, 1);

	if (mirrors->active && low && !(block->key & KEY_LOW) && find_low_room(mirrors)) {
		mirrors->active->wants_low = true;
		activate(t, mirrors->active);
		return;
	}
	if (block->key & KEY_LOW && (low || in_area(address))) {
		choice_learn(t, block->gpa + site->offset, low ? MIRROR_LOW : MIRROR_HIGH);
		if (!block->dead)
			code_forget(t, site->block);
		return;
	}
	helper_not_mirrored(t, site->block);
	if (account->cr3 != t->cpu->s.cr3 || ++account->outside < MOST_OUTSIDE)
		return;
	account->outside = 0;
	account->earned_ns = -FINE_NS;
}

/* A program of many memory accesses is twice as fast with a mirror, so a third of its time is a fair price. Hysteresis, for a space
 * that goes to and fro has its blocks made in both forms. */
static bool deserves(const struct translator *t, const struct mirror_account *account)
{
	const bool has = t->mirrors->active != NULL;
	const int64_t earn_ns = t->mirror_gs ? EARN_NS : EARN_SUM_NS, part = (has ? 3 : 4) * (t->mirror_gs ? 1 : 3);

	return account->earned_ns >= (has ? 0 : earn_ns) && account->paid_ns <= account->earned_ns / part + CREDIT_NS;
}

void mirror_look(struct translator *t)
{
	struct mirrors *mirrors = t->mirrors;
	const uint64_t cr3 = t->cpu->s.cr3;
	struct mirror_account *account = account_of(mirrors, cr3);
	const int64_t now_ns = host_now_ns(), since_ns = now_ns - mirrors->seen_ns;

	if (account->cr3 != cr3)
		*account = (struct mirror_account){.cr3 = cr3};
	else if (mirrors->seen_cr3 == cr3)
		account->earned_ns += since_ns < SLICE_NS ? since_ns : SLICE_NS;
	mirrors->seen_cr3 = cr3;
	mirrors->seen_ns = now_ns;
	if (mirrors->active) {
		account->paid_ns += mirrors->active->paid_ns;
		mirrors->active->paid_ns = 0;
	}
	if (account->earned_ns > MEMORY_NS) {
		account->earned_ns /= 2;
		account->paid_ns /= 2;
	}
	if (mirrors->active && !deserves(t, account)) {
		mirror_drop(mirrors->active);
		mirrors->active->used = false;
		activate(t, NULL);
	} else if (!mirrors->active && deserves(t, account)) {
		promote(t, cr3, now_ns);
	}
}

/* --- life --- */

void mirror_enter_thread(struct translator *t)
{
	if (t->mirror_gs && t->mirror_base)
		gs_base_set(t->mirror_base);
}

void mirror_init(struct translator *t)
{
	const struct engine_env *env = &t->cpu->vcpu.engine->env;
	unsigned index = t->cpu->vcpu.index, each = env->max_vcpus > 1 ? 1 : SPACES;

	if (index * each >= SPACES || !ram_is_shared(env->ram))
		return;
	t->mirrors = xcalloc(1, sizeof(*t->mirrors));
	t->mirror_gs = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
	t->mirrors->count = each;
	t->mirrors->first = index;
}

void mirror_fini(struct translator *t)
{
	for (unsigned i = 0; t->mirrors && i < SPACES; i++) {
		if (t->mirrors->space[i].base)
			for_areas(&t->mirrors->space[i], give_back);
		free(t->mirrors->space[i].runs);
	}
	if (t->mirrors && t->mirrors->has_low)
		munmap((void *)(uintptr_t)MIRROR_LOW_START, LOW_ROOM);
	free(t->mirrors);
	t->mirrors = NULL;
	t->mirrored = false;
}
