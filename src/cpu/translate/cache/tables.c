/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory of a vCPU's translated code and of the tables that belong to it: one piece of memory for code, mapped writable here and
 * executable there, what code addresses below 2 GiB, and huge pages for what is large.
 */
#include "cpu/translate/cache/cache.h"

#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE_PAGE (2 * MIB)
enum { HUGE_AFTER = 4 /* huge pages full */ };

/* What is large at the beginning of a huge page. */
static void *map_aligned(size_t bytes, int protection, int flags)
{
	const size_t more = bytes < HUGE_PAGE ? 0 : HUGE_PAGE;
	uint8_t *p = mmap(NULL, bytes + more, protection, flags, -1, 0), *start;

	if (p == MAP_FAILED)
		return NULL;
	start = more ? (uint8_t *)(uintptr_t)align_up((uintptr_t)p, HUGE_PAGE) : p;
	if (start > p)
		munmap(p, (size_t)(start - p));
	if (start < p + more)
		munmap(start + bytes, (size_t)(p + more - start));
	return start;
}

static void *map_table(size_t bytes)
{
	return map_aligned(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
}

/* Within reach of translated code. */
static void *map_low(size_t bytes, int protection)
{
	return map_aligned(bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_32BIT);
}

/*
 * Anonymous memory, because perf looks up names (report.c) for that alone. A second mapping of it is what mremap makes of
 * the first, which stays (mremap(2), old_size 0).
 */
static int map_code(struct translator *t, size_t bytes, struct error *err)
{
	void *view;

	t->code_bytes = bytes;
	t->write_base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->write_base == MAP_FAILED) {
		t->write_base = NULL;
		return error_set_errno(err, errno, "memory for translated code: %zu bytes", bytes);
	}
	t->exec_base = map_low(bytes, PROT_NONE);
	view = t->exec_base ? mremap(t->write_base, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, t->exec_base) : MAP_FAILED;
	if (view == MAP_FAILED || mprotect(view, bytes, PROT_READ | PROT_EXEC))
		return error_set_errno(err, errno, "mapping %zu bytes for translated code below 2 GiB", bytes);
	return 0;
}

/*
 * Large programs execute code and use tables all over the place, which costs more in the host's TLB than in its caches. So
 * they lie in huge pages, but for the first few, which become huge when it is known that there will be more: what fills
 * little has it all then. The kernel may refuse (Linux before 6.1, no such page free).
 */
static void expect_huge(void *table, size_t bytes)
{
	if (bytes > HUGE_AFTER * HUGE_PAGE)
		madvise((uint8_t *)table + HUGE_AFTER * HUGE_PAGE, bytes - HUGE_AFTER * HUGE_PAGE, MADV_HUGEPAGE);
}

static size_t jump_bytes(const struct translator *t)
{
	return JUMP_TABLES * sizeof(struct jump_slot) << t->jump_bits;
}

static void collapse(void *start, size_t bytes)
{
	madvise(start, bytes & ~(HUGE_PAGE - 1), MADV_COLLAPSE);
}

/* Once it is known: what is used all over, and the first pages of what expect_huge was told of. */
static void first_huge(struct translator *t)
{
	if (t->huge_tables)
		return;
	t->huge_tables = true;
	collapse(t->hash, sizeof(*t->hash) << t->hash_bits);
	collapse(t->blocks, min_u64(t->block_max * sizeof(*t->blocks), HUGE_AFTER * HUGE_PAGE));
	collapse(t->sites, min_u64(t->site_max * sizeof(*t->sites), HUGE_AFTER * HUGE_PAGE));
	collapse(t->jump, t->jump_tables * sizeof(*t->jump) << t->jump_bits);
	madvise(t->jump, jump_bytes(t), MADV_HUGEPAGE);
}

/* As expect_huge, for what is filled from below, and for shared memory. A page that holds next to nothing is made huge many times as
 * fast as one that is full. */
static void fill_huge(uint8_t *base, size_t bytes, uint32_t *number, uint64_t used)
{
	const uint32_t now = (uint32_t)(used / HUGE_PAGE), end = (uint32_t)min_u64(now + 1ull, bytes / HUGE_PAGE);

	if (now == *number)
		return;
	for (uint32_t i = *number < HUGE_AFTER ? 0 : *number + 1; now >= HUGE_AFTER && i < end; i++)
		collapse(base + i * HUGE_PAGE, HUGE_PAGE);
	*number = now;
}

/* How many slots a jump table has: all together take an eighth of the budget, of which most is never touched. */
static unsigned choose_jump_bits(uint64_t budget)
{
	unsigned bits = 10;

	while (bits < 17 && JUMP_TABLES * sizeof(struct jump_slot) << (bits + 1) <= budget / 8)
		bits++;
	return bits;
}

void tables_fill(struct translator *t)
{
	fill_huge(t->exec_base, t->code_bytes, &t->huge_code, t->code_used);
	fill_huge((uint8_t *)t->windows, t->window_max * sizeof(*t->windows), &t->huge_windows,
		  t->window_count * sizeof(*t->windows));
	if (t->huge_code >= HUGE_AFTER)
		first_huge(t);
}

void tables_forget_jumps(struct translator *t)
{
	madvise(t->jump, jump_bytes(t), MADV_DONTNEED);
	t->jump_tables = 0;
}

int tables_init(struct translator *t, uint64_t budget, struct error *err)
{
	int ret;

	t->jump_bits = choose_jump_bits(budget);
	ret = map_code(t, region_code_bytes(budget - jump_bytes(t)), err);
	if (ret)
		return ret;
	t->jump = map_low(jump_bytes(t), PROT_READ | PROT_WRITE);
	region_tables(t);
	t->hash = map_table(sizeof(*t->hash) << t->hash_bits);
	t->sites = map_table(t->site_max * sizeof(*t->sites));
	t->blocks = map_table(t->block_max * sizeof(*t->blocks));
	t->faults = map_table(t->fault_max * sizeof(*t->faults));
	t->windows = map_low(t->window_max * sizeof(*t->windows), PROT_READ | PROT_WRITE);
	t->window_sites = map_low(t->window_max * sizeof(*t->window_sites), PROT_READ | PROT_WRITE);
	t->window_lists = map_low(2 * t->window_max * sizeof(*t->window_lists), PROT_READ | PROT_WRITE);
	if (!t->jump || !t->windows || !t->window_sites || !t->window_lists || !t->hash || !t->sites || !t->blocks || !t->faults)
		return error_set_errno(err, errno, "tables of the translator");
	expect_huge(t->windows, t->window_max * sizeof(*t->windows));
	expect_huge(t->sites, t->site_max * sizeof(*t->sites));
	expect_huge(t->blocks, t->block_max * sizeof(*t->blocks));
	return 0;
}

void tables_fini(struct translator *t)
{
	if (t->jump)
		munmap(t->jump, jump_bytes(t));
	if (t->write_base)
		munmap(t->write_base, t->code_bytes);
	if (t->exec_base)
		munmap(t->exec_base, t->code_bytes);
	if (t->hash)
		munmap(t->hash, sizeof(*t->hash) << t->hash_bits);
	if (t->sites)
		munmap(t->sites, t->site_max * sizeof(*t->sites));
	if (t->blocks)
		munmap(t->blocks, t->block_max * sizeof(*t->blocks));
	if (t->faults)
		munmap(t->faults, t->fault_max * sizeof(*t->faults));
	if (t->windows)
		munmap(t->windows, t->window_max * sizeof(*t->windows));
	if (t->window_sites)
		munmap(t->window_sites, t->window_max * sizeof(*t->window_sites));
	if (t->window_lists)
		munmap(t->window_lists, 2 * t->window_max * sizeof(*t->window_lists));
}
