/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software TLB and the slow halves of guest memory accesses: TLB fills, MMIO, the local APIC's page, accesses that
 * cross a page, pages whose writes somebody wants to know of (code, dirty tracking) and watchpoints.
 *
 * Invariants:
 * 1. An entry's tag_read, tag_write, tag_fetch are X86_TLB_NONE or the entry's own page; all three agree on addend.
 * 2. tag_write is set only if the PTE's dirty bit is set, all of the page's ram flags are set, and the slot is
 * writable. Whoever clears a flag makes every vCPU flush (VCPU_FLUSH) before it relies on being told.
 * 3. Data tags are not set for a page with an armed data watchpoint, the guest's or a debugger's; DR writes flush.
 * 4. Every slot that is not empty is in fills[]; non-global ones in fills[0].
 * 5. Entries are of the current address space (PCID) or global; those of others are kept aside (pcid.c).
 */
#include "cpu/x86/internal.h"

#include <sched.h>

static uint64_t page_of(uint64_t address)
{
	return address & ~(PAGE_SIZE - 1);
}

static void entry_clear(struct x86_tlb_entry *entry)
{
	entry->tag_read = entry->tag_write = entry->tag_fetch = X86_TLB_NONE;
	entry->code = 0;
}

void x86_tlb_init(struct x86_cpu *cpu)
{
	struct x86_tlb_entry *entries = &cpu->tlb[0][0];

	for (unsigned i = 0; i < X86_VIEWS * X86_TLB_ENTRIES; i++)
		entry_clear(&entries[i]);
}

void x86_tlb_list(struct x86_tlb_fills *fills, unsigned slot)
{
	uint64_t bit = 1ull << (slot % 64);

	if (fills->listed[slot / 64] & bit)
		return;
	fills->listed[slot / 64] |= bit;
	fills->slot[fills->count++] = (uint16_t)slot;
}

static void fills_clear(struct x86_cpu *cpu, struct x86_tlb_fills *fills)
{
	struct x86_tlb_entry *entries = &cpu->tlb[0][0];

	if (!fills->count)
		return;
	for (unsigned i = 0; i < fills->count; i++)
		entry_clear(&entries[fills->slot[i]]);
	fills->count = 0;
	memset(fills->listed, 0, sizeof(fills->listed));
}

static void tell_dropped(struct x86_cpu *cpu, bool globals)
{
	cpu->tlb_generation++;
	if (cpu->tlb_copies)
		cpu->tlb_copies->dropped(cpu, globals);
}

void x86_tlb_leave_space(struct x86_cpu *cpu)
{
	tell_dropped(cpu, false);
	fills_clear(cpu, &cpu->translation->fills[0]);
}

void x86_tlb_flush_local(struct x86_cpu *cpu)
{
	x86_tlb_leave_space(cpu);
	x86_tlb_tell_space(cpu, cpu->s.cr4 & X86_CR4_PCIDE ? (int)(cpu->s.cr3 & 0xfff) : -1);
}

void x86_tlb_flush(struct x86_cpu *cpu)
{
	struct x86_translation *translation = cpu->translation;

	tell_dropped(cpu, true);
	fills_clear(cpu, &translation->fills[0]);
	fills_clear(cpu, &translation->fills[1]);
	x86_tlb_forget_spaces(cpu);
	memset(translation->large_pages, 0, sizeof(translation->large_pages));
	memset(translation->huge_pages, 0, sizeof(translation->huge_pages));
	translation->slot = NULL;
}

/* Large pages that fills came from, by a hash of their place: user space hardly ever meets the kernel's map of all RAM. */
static uint64_t *range_word(uint64_t *ranges, uint64_t range, uint64_t *bit)
{
	unsigned hash = (unsigned)(range * 0x9e3779b97f4a7c15ull >> (64 - X86_TLB_RANGE_BITS));

	*bit = 1ull << (hash % 64);
	return &ranges[hash / 64];
}

static bool range_noted(uint64_t *ranges, uint64_t range)
{
	uint64_t bit;

	return *range_word(ranges, range, &bit) & bit;
}

static void range_note(uint64_t *ranges, uint64_t range)
{
	uint64_t bit, *word = range_word(ranges, range, &bit);

	*word |= bit;
}

static void large_page_note(struct x86_translation *translation, uint64_t gva, unsigned page_shift)
{
	if (page_shift == 30) {
		range_note(translation->huge_pages, gva >> 30);
		return;
	}
	range_note(translation->large_pages, gva >> 21);
	if (page_shift == 22)
		range_note(translation->large_pages, (gva ^ 0x200000) >> 21);
}

static void flush_large_page(struct x86_cpu *cpu, uint64_t gva)
{
	struct x86_tlb_entry *entries = &cpu->tlb[0][0];

	for (unsigned global = 0; global < 2; global++) {
		const struct x86_tlb_fills *fills = &cpu->translation->fills[global];

		for (unsigned i = 0; i < fills->count; i++) {
			struct x86_tlb_entry *entry = &entries[fills->slot[i]];

			if (!((entry->tag_read ^ gva) >> 22) || !((entry->tag_fetch ^ gva) >> 22))
				entry_clear(entry);
		}
	}
}

void x86_tlb_flush_page(struct x86_cpu *cpu, uint64_t gva)
{
	uint64_t page;
	bool large;

	if (!cpu->long_mode)
		gva = (uint32_t)gva;
	page = page_of(gva);
	if (range_noted(cpu->translation->huge_pages, gva >> 30)) {
		x86_tlb_flush(cpu);
		return;
	}
	tell_dropped(cpu, gva >> 63);
	large = range_noted(cpu->translation->large_pages, gva >> 21);
	if (cpu->tlb_copies)
		cpu->tlb_copies->page_dropped(cpu, gva, large);
	if (large)
		flush_large_page(cpu, gva);
	for (unsigned view = 0; view < X86_VIEW_EMPTY; view++) {
		struct x86_tlb_entry *entry = &cpu->tlb[view][(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];

		if (entry->tag_read == page || entry->tag_fetch == page || entry->tag_write == page)
			entry_clear(entry);
	}
}

/* frame: of the entry. */
static bool entry_protect(uint32_t frame, struct x86_tlb_entry *entry, uint64_t gpa)
{
	uint64_t run_gpa;

	if ((frame ^ gpa >> PAGE_SHIFT) >> (21 - PAGE_SHIFT)) /* a run is within 2 MiB */
		return false;
	if (entry->tag_write == X86_TLB_NONE)
		return false;
	if (x86_tlb_gpa(entry) == gpa) {
		entry->tag_write = X86_TLB_NONE;
		return true;
	}
	run_gpa = x86_tlb_gpa(entry) - (entry->tag_write - entry->run_write_start);
	if (gpa - run_gpa < entry->run_write_pages * PAGE_SIZE) {
		entry->run_write_start = entry->tag_write;
		entry->run_write_pages = 1;
	}
	return false;
}

bool x86_tlb_protect(struct x86_cpu *cpu, uint64_t gpa)
{
	struct x86_tlb_entry *entries = &cpu->tlb[0][0];
	bool had = false;

	gpa = page_of(gpa);
	for (unsigned global = 0; global < 2; global++) {
		const struct x86_tlb_fills *fills = &cpu->translation->fills[global];

		for (unsigned i = 0; i < fills->count; i++)
			had |= entry_protect(cpu->translation->frames[fills->slot[i]], &entries[fills->slot[i]], gpa);
	}
	for (unsigned n = 0; n < X86_TLB_SPACES; n++) {
		struct x86_tlb_space *space = &cpu->translation->spaces[n];

		for (unsigned i = 0; i < space->count; i++)
			had |= entry_protect(space->frames[i], &space->kept[i].entry, gpa);
	}
	if (cpu->tlb_copies)
		had |= cpu->tlb_copies->protect(cpu, gpa);
	return had;
}

static void entry_tell_written(struct x86_cpu *cpu, struct x86_tlb_entry *entry)
{
	if (entry->tag_write == X86_TLB_NONE)
		return;
	entry->tag_write = X86_TLB_NONE;
	ram_written(cpu->vcpu.engine->env.ram, x86_tlb_gpa(entry), PAGE_SIZE);
}

void x86_tlb_tell_written(struct x86_cpu *cpu)
{
	struct x86_tlb_entry *entries = &cpu->tlb[0][0];

	if (cpu->tlb_copies)
		cpu->tlb_copies->tell_written(cpu);
	for (unsigned global = 0; global < 2; global++) {
		const struct x86_tlb_fills *fills = &cpu->translation->fills[global];

		for (unsigned i = 0; i < fills->count; i++)
			entry_tell_written(cpu, &entries[fills->slot[i]]);
	}
	for (unsigned n = 0; n < X86_TLB_SPACES; n++) {
		struct x86_tlb_space *space = &cpu->translation->spaces[n];

		for (unsigned i = 0; i < space->count; i++)
			entry_tell_written(cpu, &space->kept[i].entry);
	}
}

/* --- one page --- */

/* Where an access goes. */
struct place {
	uint8_t *hva; /* NULL: not RAM */
	uint64_t gpa;
	const struct ram_slot *slot; /* NULL when tag_write answered: nobody wants to know */
	struct x86_tlb_entry *entry; /* may get tag_write once the page's flags are set; else NULL */
	uint64_t page;
	bool apic;
	bool copied; /* hva is a memory_watch's own */
};

static bool is_apic_page(const struct x86_cpu *cpu, uint64_t gpa)
{
	/* enabled and not in x2APIC mode */
	return (cpu->s.apic_base & 0xc00) == 0x800 && page_of(gpa) == (cpu->s.apic_base & 0xffffffffff000ull) &&
	       cpu->vcpu.apic_ops;
}

static bool page_watched(const struct x86_cpu *cpu, uint64_t page)
{
	if (cpu->debug && debug_watches_page(cpu->debug, page))
		return true;
	if (!cpu->breakpoints_armed)
		return false;
	for (unsigned i = 0; i < 4; i++) {
		unsigned type = cpu->s.dr7 >> (16 + 4 * i) & 3;

		if (cpu->s.dr7 >> (2 * i) & 3 && (type & 1) && page_of(cpu->s.dr[i]) == page)
			return true;
	}
	return false;
}

/* Nobody wants to know of writes to the page. Not while an engine has yet to forget code: the page may be one whose watch
 * another CPU's write has ended, and this CPU's next write would change code that it holds. */
static bool writes_pass(const struct x86_cpu *cpu, const struct ram_slot *slot, uint64_t gpa)
{
	return atomic_load_explicit(&slot->page_flags[(gpa - slot->gpa) >> PAGE_SHIFT], memory_order_acquire) == RAM_ALL &&
	       ram_code_told(cpu->vcpu.engine->env.ram) &&
	       !(atomic_load_explicit(&cpu->vcpu.events, memory_order_acquire) & VCPU_ENGINE);
}

/* What a large page offers around its 4 KiB; the page alone where something inside may differ. There are no runs to
 * write to while somebody tracks writes: when a copy is dropped for him, all of its run counts as written. */
static void find_runs(struct x86_cpu *cpu, unsigned access, const struct x86_leaf *leaf, const struct place *place, uint64_t page,
		      struct x86_tlb_entry *entry)
{
	const uint64_t bytes = 2 * MIB, offset = page & (bytes - 1), gpa = leaf->gpa - offset;
	const struct ram_slot *slot = place->slot;

	entry->run_start = entry->run_write_start = page;
	entry->run_pages = entry->run_write_pages = 1;
	if (leaf->page_shift < 21 || place->copied || cpu->breakpoints_armed || cpu->debug || cpu->a20_mask != ~0ull || gpa < slot->gpa ||
	    gpa + bytes > slot->gpa + slot->size || cpu->s.apic_base - gpa < bytes)
		return;
	entry->run_start = page - offset;
	entry->run_pages = (uint16_t)(bytes >> PAGE_SHIFT);
	if (!(access & X86_WRITE) || entry->tag_write == X86_TLB_NONE || ram_tracked(slot) || ram_code_near(slot, gpa) ||
	    cpu->memory_watch)
		return;
	entry->run_write_start = entry->run_start;
	entry->run_write_pages = entry->run_pages;
}

/* Whether an entry that is filled for this access may let writes pass. */
static bool may_be_written(const struct x86_cpu *cpu, unsigned access, const struct x86_leaf *leaf, const struct place *place)
{
	const struct x86_memory_watch *watch = cpu->memory_watch;

	return leaf->may & X86_MAY_WRITE && leaf->dirty && !place->slot->read_only &&
	       (!watch || watch->reads_let_write || access & X86_WRITE);
}

static void show_page(struct x86_cpu *cpu, uint64_t gva, unsigned access, const struct x86_leaf *leaf, struct place *place)
{
	unsigned offset = place->gpa & (PAGE_SIZE - 1);
	uint8_t *hva = place->hva;

	x86_vectors_out(cpu);
	if (may_be_written(cpu, access, leaf, place))
		access |= X86_WRITE;
	place->hva = cpu->memory_watch->page(cpu, page_of(gva), page_of(place->gpa), hva - offset, access) + offset;
	place->copied = place->hva != hva;
}

static void fill(struct x86_cpu *cpu, uint64_t gva, unsigned access, const struct x86_leaf *leaf, struct place *place)
{
	struct x86_translation *translation = cpu->translation;
	enum x86_view view = x86_view_of(cpu, access);
	unsigned slot = view * X86_TLB_ENTRIES + ((gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1));
	struct x86_tlb_entry *entry = &cpu->tlb[0][0] + slot;
	unsigned may = leaf->may;
	struct x86_tlb_fills *fills = &translation->fills[leaf->global];
	uint64_t page = page_of(gva), fetch = may & X86_MAY_FETCH ? page : X86_TLB_NONE;
	bool watched = page_watched(cpu, page);
	/* A memory_watch is asked before each page is written. */
	bool writable = may_be_written(cpu, access, leaf, place) && !watched;

	entry->addend = (uintptr_t)place->hva - gva;
	entry->tag_read = may & X86_MAY_READ && !watched ? page : X86_TLB_NONE;
	if (entry->tag_fetch != fetch || entry->frame != leaf->gpa >> PAGE_SHIFT)
		entry->code = 0;
	entry->tag_fetch = fetch;
	entry->frame = (uint32_t)(leaf->gpa >> PAGE_SHIFT);
	entry->tag_write =
		writable && (place->copied || writes_pass(cpu, place->slot, leaf->gpa)) ? page : X86_TLB_NONE;
	entry->global = leaf->global && page >> 63;
	find_runs(cpu, access, leaf, place, page, entry);
	if (leaf->page_shift > PAGE_SHIFT)
		large_page_note(translation, gva, leaf->page_shift);
	x86_tlb_list(fills, slot);
	translation->global_slots[slot / 64] =
		(translation->global_slots[slot / 64] & ~(1ull << (slot % 64))) | (uint64_t)leaf->global << (slot % 64);
	translation->frames[slot] = entry->frame;
	place->entry = writable ? entry : NULL;
	place->page = page;
}

/* Where a translated access goes; into the TLB when it is RAM. */
static void place_of(struct x86_cpu *cpu, uint64_t gva, unsigned access, const struct x86_leaf *leaf, struct place *place)
{
	place->entry = NULL;
	place->copied = false;
	place->gpa = leaf->gpa + (gva & (PAGE_SIZE - 1));
	place->slot = x86_ram_slot(cpu, leaf->gpa);
	place->apic = is_apic_page(cpu, leaf->gpa);
	if (!place->slot || place->apic) {
		place->hva = NULL;
		return;
	}
	place->hva = place->slot->hva + (place->gpa - place->slot->gpa);
	if (cpu->memory_watch)
		show_page(cpu, gva, access, leaf, place);
	if (leaf->gpa >> PAGE_SHIFT <= UINT32_MAX) /* struct x86_tlb_entry */
		fill(cpu, gva, access, leaf, place);
	else
		place->page = page_of(gva);
	if (place->copied && !place->slot->read_only)
		place->slot = NULL; /* nobody wants to know */
}

static bool known_mapping(struct x86_cpu *cpu, uint64_t gva, unsigned access, struct x86_leaf *leaf)
{
	const struct x86_memory_watch *watch = cpu->memory_watch;

	if (!watch || !watch->mapping)
		return false;
	x86_vectors_out(cpu);
	*leaf = (struct x86_leaf){.page_shift = PAGE_SHIFT, .dirty = access & X86_WRITE};
	leaf->may = access & X86_WRITE   ? X86_MAY_READ | X86_MAY_WRITE
		    : access & X86_FETCH ? X86_MAY_FETCH
					 : X86_MAY_READ;
	return watch->mapping(cpu, gva, x86_view_of(cpu, access), access, &leaf->gpa);
}

/* 0, or what x86_page_walk says. */
static uint32_t leaf_of(struct x86_cpu *cpu, uint64_t gva, unsigned access, struct x86_leaf *leaf)
{
	if (known_mapping(cpu, gva, access, leaf))
		return 0;
	if (cpu->paging)
		return x86_page_walk(cpu, gva, access, leaf);
	*leaf = (struct x86_leaf){.gpa = page_of(gva) & cpu->a20_mask,
				  .page_shift = PAGE_SHIFT,
				  .dirty = true,
				  .may = X86_MAY_READ | X86_MAY_WRITE | X86_MAY_FETCH};
	return 0;
}

uint64_t x86_walk(struct x86_cpu *cpu, uint64_t gva, unsigned access)
{
	struct x86_leaf leaf;
	uint32_t error = leaf_of(cpu, gva, access, &leaf);

	if (error)
		x86_raise_page_fault(cpu, gva, error & 0xffff);
	return leaf.gpa;
}

/* Raises #PF. gva need not be aligned; the place is good to the end of the page. */
static void locate(struct x86_cpu *cpu, uint64_t gva, unsigned access, struct place *place)
{
	struct x86_tlb_entry *entry = &cpu->tlb[x86_view_of(cpu, access)][(gva >> PAGE_SHIFT) & (X86_TLB_ENTRIES - 1)];
	uint64_t tag = access & X86_WRITE ? entry->tag_write : access & X86_FETCH ? entry->tag_fetch : entry->tag_read;
	struct x86_leaf leaf;
	uint32_t error;

	if (tag == page_of(gva)) {
		place->hva = (uint8_t *)(gva + entry->addend);
		place->gpa = x86_tlb_gpa(entry) + (gva & (PAGE_SIZE - 1));
		place->slot = NULL;
		place->entry = NULL;
		place->apic = place->copied = false;
		return;
	}
	error = leaf_of(cpu, gva, access, &leaf);
	if (error)
		x86_raise_page_fault(cpu, gva, error & 0xffff);
	place_of(cpu, gva, access, &leaf, place);
}

bool x86_tlb_fill(struct x86_cpu *cpu, uint64_t gva, unsigned access)
{
	struct x86_tlb_entry *slot = x86_tlb_slot(cpu, gva);
	struct x86_leaf leaf;
	struct place place;

	access |= x86_user_access(cpu);
	if (cpu->alignment_checked || (cpu->code_mode == X86_CODE64 && !x86_canonical(cpu, gva)))
		return false;
	if (leaf_of(cpu, gva, access, &leaf))
		return false;
	place_of(cpu, gva, access, &leaf, &place);
	return page_of(gva) == (access & X86_WRITE ? slot->tag_write : access & X86_FETCH ? slot->tag_fetch : slot->tag_read);
}

uint32_t x86_tlb_fault(struct x86_cpu *cpu, uint64_t gva, unsigned access)
{
	struct x86_leaf leaf;

	if (!cpu->paging || cpu->alignment_checked || (cpu->code_mode == X86_CODE64 && !x86_canonical(cpu, gva)))
		return 0;
	return x86_page_walk(cpu, gva, access | x86_user_access(cpu), &leaf);
}

/* --- moving bytes --- */

/* The guest's aligned accesses of up to 8 bytes are single copies; memcpy with a constant size compiles to that. */
static inline void copy_once(void *to, const void *from, unsigned size)
{
	size_t rest = size;

	switch (size) {
	case 1:
		memcpy(to, from, 1);
		break;
	case 2:
		memcpy(to, from, 2);
		break;
	case 4:
		memcpy(to, from, 4);
		break;
	case 8:
		memcpy(to, from, 8);
		break;
	case 16:
		memcpy(to, from, 16);
		break;
	case 32:
		memcpy(to, from, 32);
		break;
	case 64:
		memcpy(to, from, 64);
		break;
	default:
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(rest) : : "memory"); /* libc's has vectors in it */
		break;
	}
}

/* The widest power of two that fits, as a bus splits an odd transfer. */
static unsigned bus_width(unsigned size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

static void device_read(struct x86_cpu *cpu, const struct place *place, uint8_t *to, unsigned size)
{
	x86_vectors_out(cpu);
	for (unsigned done = 0, width; done < size; done += width) {
		uint64_t value;

		width = bus_width(size - done);
		if (place->apic) {
			width = width > 4 ? 4 : width;
			value = cpu->vcpu.apic_ops->mmio_read(cpu->vcpu.apic, (place->gpa + done) & (PAGE_SIZE - 1),
							      width);
		} else {
			value = bus_read(cpu->vcpu.engine->env.memory, place->gpa + done, width);
		}
		memcpy(to + done, &value, width);
	}
}

static void device_write(struct x86_cpu *cpu, const struct place *place, const uint8_t *from, unsigned size)
{
	x86_vectors_out(cpu);
	for (unsigned done = 0, width; done < size; done += width) {
		uint64_t value = 0;

		width = bus_width(size - done);
		if (place->apic && width > 4)
			width = 4;
		memcpy(&value, from + done, width);
		if (place->apic)
			cpu->vcpu.apic_ops->mmio_write(cpu->vcpu.apic, (place->gpa + done) & (PAGE_SIZE - 1),
						       (uint32_t)value, width);
		else
			bus_write(cpu->vcpu.engine->env.memory, place->gpa + done, value, width);
	}
}

static void place_read(struct x86_cpu *cpu, const struct place *place, void *to, unsigned size)
{
	if (place->hva)
		copy_once(to, place->hva, size);
	else
		device_read(cpu, place, to, size);
}

/* Says that the page was or will be written, and lets later writes pass. */
static void place_dirtied(struct x86_cpu *cpu, const struct place *place, unsigned size)
{
	uint64_t generation = cpu->tlb_generation;

	if (!place->slot || writes_pass(cpu, place->slot, place->gpa))
		return;
	x86_vectors_out(cpu);
	ram_written(cpu->vcpu.engine->env.ram, place->gpa, size);
	if (place->entry && generation == cpu->tlb_generation && writes_pass(cpu, place->slot, place->gpa))
		place->entry->tag_write = place->page;
}

static void place_write(struct x86_cpu *cpu, const struct place *place, const void *from, unsigned size)
{
	if (!place->hva || (place->slot && place->slot->read_only)) {
		device_write(cpu, place, from, size);
	} else {
		copy_once(place->hva, from, size);
		place_dirtied(cpu, place, size);
	}
}

/* The linear address of the page after gva's; outside long mode the last page is followed by page 0. */
static uint64_t next_page(const struct x86_cpu *cpu, uint64_t gva)
{
	uint64_t next = page_of(gva) + PAGE_SIZE;

	return cpu->long_mode ? next : (uint32_t)next;
}

/* SDM 3A 6.15, vector 17: user data whose address is not a multiple of its size. Wider operands than 8 bytes are #GP's
 * business or need no alignment. */
static void check_alignment(struct x86_cpu *cpu, uint64_t gva, unsigned size, unsigned access)
{
	if (__builtin_expect(!cpu->alignment_checked, 1) ||
	    (access & (X86_USER | X86_FETCH | X86_IMPLICIT)) != X86_USER)
		return;
	if (size <= 8 && !(size & (size - 1)) && gva & (size - 1))
		x86_raise_error(cpu, X86_ACV, 0);
}

void x86_read_slow(struct x86_cpu *cpu, uint64_t gva, void *to, unsigned size, unsigned access)
{
	unsigned room = (unsigned)(PAGE_SIZE - (gva & (PAGE_SIZE - 1)));
	struct place first, second;

	if (cpu->debug && !(access & X86_FETCH))
		x86_debug_access(cpu, gva, size, false, false);
	check_alignment(cpu, gva, size, access);
	locate(cpu, gva, access, &first);
	if (size <= room) {
		place_read(cpu, &first, to, size);
	} else {
		locate(cpu, next_page(cpu, gva), access, &second);
		place_read(cpu, &first, to, room);
		place_read(cpu, &second, (uint8_t *)to + room, size - room);
	}
	if (cpu->breakpoints_armed && !(access & X86_FETCH))
		x86_check_watchpoints(cpu, gva, size, false);
	if (cpu->debug && !(access & X86_FETCH))
		x86_debug_access(cpu, gva, size, false, true);
}

void x86_write_slow(struct x86_cpu *cpu, uint64_t gva, const void *from, unsigned size, unsigned access)
{
	unsigned room = (unsigned)(PAGE_SIZE - (gva & (PAGE_SIZE - 1)));
	struct place first, second;

	access |= X86_WRITE;
	if (cpu->debug)
		x86_debug_access(cpu, gva, size, true, false);
	check_alignment(cpu, gva, size, access);
	locate(cpu, gva, access, &first);
	if (size <= room) {
		place_write(cpu, &first, from, size);
	} else {
		locate(cpu, next_page(cpu, gva), access, &second);
		place_write(cpu, &first, from, room);
		place_write(cpu, &second, (const uint8_t *)from + room, size - room);
	}
	if (cpu->breakpoints_armed)
		x86_check_watchpoints(cpu, gva, size, true);
	if (cpu->debug)
		x86_debug_access(cpu, gva, size, true, true);
}

bool x86_bus_gpa(struct x86_cpu *cpu, uint64_t gva, unsigned access, uint64_t *gpa)
{
	struct x86_leaf leaf;

	if (cpu->debug || cpu->breakpoints_armed || cpu->memory_watch || cpu->alignment_checked ||
	    (cpu->code_mode == X86_CODE64 && !x86_canonical(cpu, gva)))
		return false;
	if (leaf_of(cpu, gva, access | x86_user_access(cpu), &leaf) || x86_ram_slot(cpu, leaf.gpa) ||
	    is_apic_page(cpu, leaf.gpa))
		return false;
	x86_vectors_out(cpu);
	*gpa = leaf.gpa + (gva & (PAGE_SIZE - 1));
	return true;
}

void x86_probe_write(struct x86_cpu *cpu, uint64_t gva, unsigned size)
{
	unsigned access = x86_user_access(cpu) | X86_WRITE;
	struct place place;

	check_alignment(cpu, gva, size, access);
	locate(cpu, gva, access, &place);
	if (size > PAGE_SIZE - (gva & (PAGE_SIZE - 1)))
		locate(cpu, next_page(cpu, gva), access, &place);
}

void *x86_rmw_pointer(struct x86_cpu *cpu, uint64_t gva, unsigned size)
{
	const struct x86_tlb_entry *entry = x86_tlb_slot(cpu, gva);
	unsigned room = (unsigned)(PAGE_SIZE - (gva & (PAGE_SIZE - 1)));
	struct place place;

	if (size > room)
		return NULL;
	if (page_of(gva) == entry->tag_write)
		return (void *)(gva + entry->addend);
	if (cpu->debug)
		x86_debug_access(cpu, gva, size, true, false);
	check_alignment(cpu, gva, size, x86_user_access(cpu));
	locate(cpu, gva, x86_user_access(cpu) | X86_WRITE, &place);
	if (!place.hva || (place.slot && place.slot->read_only))
		return NULL;
	place_dirtied(cpu, &place, size);
	if (cpu->breakpoints_armed)
		x86_check_watchpoints(cpu, gva, size, true);
	if (cpu->debug)
		x86_debug_access(cpu, gva, size, true, true);
	return place.hva;
}

/* --- locked accesses that no host instruction can do --- */

void x86_bus_lock(struct x86_cpu *cpu)
{
	_Atomic uint32_t *lock = &cpu->vcpu.engine->bus_lock;
	uint32_t expected = 0;

	if (cpu->bus_locked)
		return;
	while (!atomic_compare_exchange_weak_explicit(lock, &expected, cpu->vcpu.index + 1, memory_order_acquire,
						      memory_order_relaxed)) {
		expected = 0;
		sched_yield();
	}
	cpu->bus_locked = true;
}

void x86_bus_unlock(struct x86_cpu *cpu)
{
	if (!cpu->bus_locked)
		return;
	cpu->bus_locked = false;
	atomic_store_explicit(&cpu->vcpu.engine->bus_lock, 0, memory_order_release);
}
