/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page tables of the chosen CPU as it would walk them: info tlb (every page) and info mem (ranges of equal rights),
 * in qemu's texts. Specification: SDM 3A 4.3 to 4.5. Tables may point at themselves, so what is looked at is bounded.
 */
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"
#include "control/monitor/registers.h"
#include "core/engine.h"
#include "core/ram.h"

#include <stdlib.h>

enum { PRESENT = 1, WRITABLE = 2, USER = 4, PWT = 8, PCD = 16, ACCESSED = 32, DIRTY = 64, LARGE = 128, GLOBAL = 256 };
enum { LEVELS_MAX = 5, ENTRIES_MOST = 1 << 22, LINES_MOST = 1 << 17 };
#define NO_EXECUTE (1ull << 63)
#define ADDRESS    0x000ffffffffff000ull
#define CR0_PG     (1ull << 31)
#define CR4_PSE    (1u << 4)
#define CR4_PAE    (1u << 5)
#define CR4_LA57   (1u << 12)
#define EFER_LMA   (1u << 10)

struct walk {
	struct command_call *call;
	const struct ram *ram;
	unsigned levels;            /* of tables */
	unsigned bits[LEVELS_MAX];  /* of the index, by level; 1 is the last table's */
	bool wide;                  /* entries of 8 bytes */
	bool large[LEVELS_MAX + 1]; /* the level may map a large page */
	unsigned canonical;         /* bits of a linear address that count; 0: 32 and no sign */
	bool ranges;                /* info mem, else info tlb */
	unsigned entries, lines;
	uint64_t start, next, rights; /* of the range so far; rights 0: none */
};

static uint64_t canonical(const struct walk *walk, uint64_t gva)
{
	unsigned spare = 64 - walk->canonical;

	return walk->canonical ? (uint64_t)((int64_t)(gva << spare) >> spare) : gva;
}

static void end_range(struct walk *walk)
{
	if (walk->rights) {
		text_printf(walk->call->text, "%016llx-%016llx %016llx %c%c%c\n",
			    (unsigned long long)canonical(walk, walk->start),
			    (unsigned long long)canonical(walk, walk->next),
			    (unsigned long long)(walk->next - walk->start), walk->rights & USER ? 'u' : '-', 'r',
			    walk->rights & WRITABLE ? 'w' : '-');
		walk->lines++;
	}
	walk->rights = 0;
}

/* A page: entry is its own, rights what all levels together let. */
static void found(struct walk *walk, uint64_t gva, uint64_t bytes, uint64_t entry, uint64_t rights)
{
	if (walk->ranges) {
		if (walk->rights != rights || walk->next != gva) {
			end_range(walk);
			walk->start = gva;
			walk->rights = rights;
		}
		walk->next = gva + bytes;
		return;
	}
	walk->lines++;
	text_printf(walk->call->text, "%016llx: %016llx %c%c%c%c%c%c%c%c%c\n", (unsigned long long)canonical(walk, gva),
		    (unsigned long long)(entry & ADDRESS & ~(bytes - 1)), entry & NO_EXECUTE ? 'X' : '-',
		    entry & GLOBAL ? 'G' : '-', bytes > PAGE_SIZE ? 'P' : '-', entry & DIRTY ? 'D' : '-',
		    entry & ACCESSED ? 'A' : '-', entry & PCD ? 'C' : '-', entry & PWT ? 'T' : '-',
		    entry & USER ? 'U' : '-', entry & WRITABLE ? 'W' : '-');
}

static bool exhausted(const struct walk *walk)
{
	return walk->entries > ENTRIES_MOST || walk->lines > LINES_MOST;
}

static unsigned shift_of(const struct walk *walk, unsigned level)
{
	unsigned shift = PAGE_SHIFT;

	for (unsigned i = 1; i < level; i++)
		shift += walk->bits[i - 1];
	return shift;
}

static void walk_table(struct walk *walk, uint64_t table, unsigned level, uint64_t gva, uint64_t rights)
{
	const unsigned width = walk->wide ? 8 : 4, shift = shift_of(walk, level);
	uint8_t entries[PAGE_SIZE] = {0};
	size_t count = (size_t)1 << walk->bits[level - 1];

	if (ram_read(walk->ram, table, entries, count * width) < 0)
		return;
	for (size_t i = 0; i < count && !exhausted(walk); i++) {
		uint64_t entry = walk->wide ? load_le64(entries + i * 8) : load_le32(entries + i * 4);
		uint64_t at = gva + ((uint64_t)i << shift),
			 all = rights & (entry | (walk->wide && level == 3 && walk->levels == 3 ? 7 : 0));

		walk->entries++;
		if (!(entry & PRESENT))
			continue;
		if (level == 1 || (walk->large[level] && entry & LARGE))
			found(walk, at, 1ull << shift, entry, all);
		else
			walk_table(walk, entry & ADDRESS, level - 1, at, all);
	}
}

static void choose_mode(struct walk *walk, const struct x86_state *s)
{
	const bool long_mode = s->efer & EFER_LMA, pae = s->cr4 & CR4_PAE;

	walk->wide = pae;
	for (unsigned i = 0; i < LEVELS_MAX; i++)
		walk->bits[i] = pae ? 9 : 10;
	walk->large[2] = pae || s->cr4 & CR4_PSE;
	walk->large[3] = long_mode;
	walk->levels = !pae ? 2 : !long_mode ? 3 : s->cr4 & CR4_LA57 ? 5 : 4;
	walk->canonical = !long_mode ? 0 : s->cr4 & CR4_LA57 ? 57 : 48;
	if (pae && !long_mode)
		walk->bits[2] = 2;
}

static json_t *show_tables(struct command_call *call, bool ranges)
{
	struct x86_state *state = registers_state(call->machine, registers_vcpu(call));
	struct walk walk = {.call = call, .ram = call->machine->ram, .ranges = ranges};
	uint64_t root;

	if (!(state->cr0 & CR0_PG)) {
		text_printf(call->text, "PG disabled\n");
		free(state);
		return json_object();
	}
	choose_mode(&walk, state);
	/* Of PAE's first table there are four entries, at a multiple of 32 bytes. */
	root = walk.levels == 3 ? state->cr3 & 0xffffffe0 : state->cr3 & ADDRESS;
	walk_table(&walk, root, walk.levels, 0, PRESENT | WRITABLE | USER);
	end_range(&walk);
	if (exhausted(&walk))
		text_printf(call->text, "(there is more: only %u entries are looked at)\n", walk.entries);
	free(state);
	return json_object();
}

static json_t *run_mem(struct command_call *call, struct error *err)
{
	return show_tables(call, true);
}

static json_t *run_tlb(struct command_call *call, struct error *err)
{
	return show_tables(call, false);
}

const struct command commands_paging[] = {
	{NULL, "info mem", "", "show the active virtual memory mappings", NULL, run_mem},
	{NULL, "info tlb", "", "show virtual to physical memory mappings", NULL, run_tlb},
	{0},
};
