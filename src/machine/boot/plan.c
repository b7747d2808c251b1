/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who occupies which guest RAM during a direct boot: the PC's memory map (ACPI 6.5, 15; 640 KiB of base memory, the
 * last KiB of it reserved as an EBDA would be), claims against it, and the tables that a CPU needs to start.
 */
#include "base/util.h"
#include "core/ram.h"
#include "machine/boot/internal.h"

enum { BASE_MEMORY_END = 0x9fc00, LEGACY_END = 0x100000, PAGE_TABLE_PAGES = 6 };

/* Appends, merging with an entry before it of the same type. */
static void map_add(struct boot_memory *out, size_t *count, size_t max, uint64_t gpa, uint64_t end, uint32_t type)
{
	if (gpa >= end)
		return;
	if (*count && out[*count - 1].type == type && out[*count - 1].gpa + out[*count - 1].size == gpa) {
		out[*count - 1].size += end - gpa;
		return;
	}
	if (*count < max)
		out[(*count)++] = (struct boot_memory){gpa, end - gpa, type};
}

/* The type at gpa and, in *end, where it may change next. 0: nothing is there. */
static uint32_t type_at(const struct ram *ram, const struct boot_board *board, uint64_t gpa, uint64_t *end)
{
	uint32_t type = 0;
	*end = UINT64_MAX;
	for (size_t i = 0, count = ram_slot_count(ram); i < count; i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);
		if (!slot)
			continue;
		uint64_t first = slot->gpa, last = first + slot->size;
		if (gpa < first)
			*end = min_u64(*end, first);
		else if (gpa < last) {
			*end = min_u64(*end, last);
			type = slot->read_only ? BOOT_MEMORY_RESERVED : BOOT_MEMORY_RAM;
		}
	}
	if (gpa < LEGACY_END) {
		*end = min_u64(*end, gpa < BASE_MEMORY_END ? BASE_MEMORY_END : LEGACY_END);
		/* The EBDA and the ROM area; video memory and option ROMs between them are holes. */
		if (gpa >= BASE_MEMORY_END) {
			static const uint64_t borders[] = {0xa0000, 0xf0000, LEGACY_END};
			for (size_t i = 0; i < ARRAY_SIZE(borders); i++)
				if (gpa < borders[i])
					*end = min_u64(*end, borders[i]);
			type = gpa >= 0xa0000 && gpa < 0xf0000 ? 0 : BOOT_MEMORY_RESERVED;
		}
	}
	for (size_t i = 0; board && i < board->reserved_count; i++) {
		uint64_t first = board->reserved[i].gpa, last = first + board->reserved[i].size;
		if (gpa < first)
			*end = min_u64(*end, first);
		else if (gpa < last) {
			*end = min_u64(*end, last);
			type = board->reserved[i].type;
		}
	}
	return type;
}

size_t boot_memory_map(const struct ram *ram, const struct boot_board *board, struct boot_memory *out, size_t max)
{
	size_t count = 0;
	for (uint64_t gpa = 0, end; gpa != UINT64_MAX; gpa = end) {
		uint32_t type = type_at(ram, board, gpa, &end);
		if (type)
			map_add(out, &count, max, gpa, end, type);
	}
	return count;
}

void boot_plan_init(struct boot_plan *plan, struct boot *boot, struct ram *ram, const struct boot_board *board)
{
	static const struct boot_board empty;
	plan->boot = boot;
	plan->ram = ram;
	plan->board = board ? board : &empty;
	plan->map_count = boot_memory_map(ram, plan->board, plan->map, BOOT_MAP_MAX);
	plan->claim_count = 0;
	/* The real-mode interrupt table and BIOS data area stay what they are. */
	plan->claims[plan->claim_count++] = (struct boot_claim){0, 0x1000, "the BIOS data area"};
}

static const struct boot_claim *claim_overlapping(const struct boot_plan *plan, uint64_t gpa, uint64_t size)
{
	for (size_t i = 0; i < plan->claim_count; i++)
		if (gpa < plan->claims[i].gpa + plan->claims[i].size && plan->claims[i].gpa < gpa + size)
			return &plan->claims[i];
	return NULL;
}

/* A map entry may span two slots that touch; memory for one claim must lie in one slot. */
static bool is_ram(const struct boot_plan *plan, uint64_t gpa, uint64_t size)
{
	for (size_t i = 0; i < plan->map_count; i++) {
		const struct boot_memory *m = &plan->map[i];
		if (m->type == BOOT_MEMORY_RAM && gpa >= m->gpa && range_inside(gpa - m->gpa, size, m->size))
			return ram_hva(plan->ram, gpa, size) != NULL;
	}
	return false;
}

bool boot_is_free(const struct boot_plan *plan, uint64_t gpa, uint64_t size)
{
	return size && is_ram(plan, gpa, size) && !claim_overlapping(plan, gpa, size);
}

int boot_claim(struct boot_plan *plan, uint64_t gpa, uint64_t size, const char *what, struct error *err)
{
	const struct boot_claim *other;
	if (!size)
		return 0;
	if (!is_ram(plan, gpa, size))
		return error_set(err, ENOMEM,
				 "%s (%llu KiB at %#llx) does not lie in guest RAM; give the guest more memory with -m",
				 what, (unsigned long long)(size + 1023) / 1024, (unsigned long long)gpa);
	other = claim_overlapping(plan, gpa, size);
	if (other)
		return error_set(err, EINVAL, "%s at %#llx overlaps %s at %#llx", what, (unsigned long long)gpa,
				 other->what, (unsigned long long)other->gpa);
	if (plan->claim_count == BOOT_CLAIMS_MAX)
		return error_set(err, EINVAL, "%s: more than %d pieces to load", what, BOOT_CLAIMS_MAX);
	plan->claims[plan->claim_count++] = (struct boot_claim){gpa, size, what};
	return 0;
}

/* Moves gpa out of the way of the claim it collides with. False: nothing left in [low, high). */
static bool next_place(const struct boot_claim *other, uint64_t size, uint64_t align, bool from_top, uint64_t *gpa)
{
	if (!from_top) {
		*gpa = align_up(other->gpa + other->size, align);
		return true;
	}
	if (other->gpa < size)
		return false;
	*gpa = align_down(other->gpa - size, align);
	return true;
}

int boot_find(struct boot_plan *plan, uint64_t size, uint64_t align, uint64_t low, uint64_t high, bool from_top,
	      const char *what, uint64_t *gpa, struct error *err)
{
	for (size_t n = 0; n < plan->map_count; n++) {
		const struct boot_memory *m = &plan->map[from_top ? plan->map_count - 1 - n : n];
		uint64_t first = align_up(max_u64(m->gpa, low), align), last = min_u64(m->gpa + m->size, high);
		if (m->type != BOOT_MEMORY_RAM || first >= last || last - first < size)
			continue;
		uint64_t at = from_top ? align_down(last - size, align) : first;
		while (at >= first && range_inside(at - first, size, last - first)) {
			const struct boot_claim *other = claim_overlapping(plan, at, size);
			if (!other) {
				if (!ram_hva(plan->ram, at, size))
					break;
				*gpa = at;
				return boot_claim(plan, at, size, what, err);
			}
			if (!next_place(other, size, align, from_top, &at))
				break;
		}
	}
	return error_set(err, ENOMEM,
			 "%s needs %llu KiB of guest RAM between %#llx and %#llx, and there is no such room; give the "
			 "guest more memory with -m",
			 what, (unsigned long long)(size + 1023) / 1024, (unsigned long long)low,
			 (unsigned long long)high);
}

int boot_find_module(struct boot_plan *plan, const struct boot_file *file, uint64_t limit, bool above_4g, uint64_t *gpa,
		     struct error *err)
{
	int rc = boot_find(plan, file->size, PAGE_SIZE, MIB, limit, true, file->name, gpa, err);

	/* The first message is the one that a person can do something about. */
	if (rc < 0 && above_4g)
		rc = boot_find(plan, file->size, PAGE_SIZE, 4 * GIB, UINT64_MAX, true, file->name, gpa, NULL);
	return rc;
}

int boot_low(struct boot_plan *plan, uint64_t size, uint64_t align, const char *what, uint64_t *gpa, struct error *err)
{
	int rc = boot_find(plan, size, align, 0x1000, BASE_MEMORY_END, false, what, gpa, err);
	if (!rc)
		ram_fill(plan->ram, *gpa, 0, size);
	return rc;
}

int boot_store(struct boot_plan *plan, uint64_t gpa, const void *from, size_t length, struct error *err)
{
	if (ram_write(plan->ram, gpa, from, length) < 0)
		return error_set(err, EFAULT, "no guest RAM at %#llx", (unsigned long long)gpa);
	return 0;
}

/* Linux' boot protocol wants selectors 0x10 (code) and 0x18 (data); PVH and Multiboot want any flat segments. */
int boot_tables(struct boot_plan *plan, bool long_mode, struct boot_result *result, struct error *err)
{
	const uint64_t gdt[] = {0, 0, long_mode ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull, 0x00cf93000000ffffull,
				0x00008b0000000067ull};
	uint64_t gpa, tables;
	int rc = boot_low(plan, sizeof(gdt), 16, "the boot GDT", &gpa, err);
	if (rc < 0)
		return rc;
	boot_store(plan, gpa, gdt, sizeof(gdt), NULL);
	result->gdt_gpa = gpa;
	result->gdt_bytes = sizeof(gdt);
	result->long_mode = long_mode;
	if (!long_mode)
		return 0;
	rc = boot_low(plan, PAGE_TABLE_PAGES * PAGE_SIZE, PAGE_SIZE, "the boot page tables", &tables, err);
	if (rc < 0)
		return rc;
	uint64_t entry = (tables + PAGE_SIZE) | 3;
	boot_store(plan, tables, &entry, sizeof(entry), NULL);
	for (uint64_t g = 0; g < 4; g++) {
		uint64_t directory[512];
		entry = (tables + (2 + g) * PAGE_SIZE) | 3;
		boot_store(plan, tables + PAGE_SIZE + 8 * g, &entry, sizeof(entry), NULL);
		for (uint64_t i = 0; i < 512; i++)
			directory[i] = g << 30 | i << 21 | 0x83;
		boot_store(plan, tables + (2 + g) * PAGE_SIZE, directory, sizeof(directory), NULL);
	}
	result->cr3 = tables;
	return 0;
}
