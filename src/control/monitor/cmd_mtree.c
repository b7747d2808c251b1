/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What lies where: info mtree, ramblock, roms, and their QMP forms. Both address spaces are flat here: buses keep
 * regions with priorities, of which the visible intervals are shown, and RAM, which is looked for first. Without -f the
 * two kinds follow each other; with it they are one list in ascending order, as a CPU finds them.
 */
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"
#include "core/bus.h"
#include "core/ram.h"
#include "machine/inspect.h"

#include <stdlib.h>

struct interval {
	uint64_t first, last;
	const struct ram_slot *slot; /* or */
	const struct region *region;
};

struct intervals {
	struct interval *items;
	size_t count;
};

struct tree_options {
	struct command_call *call;
	bool flat, dispatch, owner;
};

static void add_interval(struct intervals *list, struct interval interval)
{
	if ((list->count & (list->count - 1)) == 0)
		list->items = xrealloc(list->items, (list->count ? list->count * 2 : 1) * sizeof(*list->items));
	list->items[list->count++] = interval;
}

static void add_region(void *opaque, uint64_t first, uint64_t last, const struct region *region)
{
	add_interval(opaque, (struct interval){.first = first, .last = last, .region = region});
}

static void add_slots(struct intervals *list, const struct ram *ram)
{
	for (size_t i = 0; i < ram_slot_count(ram); i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);

		if (slot)
			add_interval(list, (struct interval){.first = slot->gpa,
							     .last = slot->gpa + slot->size - 1,
							     .slot = slot});
	}
}

static int ascending(const void *a, const void *b)
{
	const struct interval *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* What of the region's interval no slot covers; the slots are ascending and do not overlap. */
static void add_uncovered(struct intervals *to, const struct intervals *slots, struct interval region)
{
	for (size_t i = 0; i < slots->count; i++) {
		const struct interval *slot = &slots->items[i];

		if (slot->last < region.first || slot->first > region.last)
			continue;
		if (slot->first > region.first)
			add_interval(to, (struct interval){.first = region.first,
							   .last = slot->first - 1,
							   .region = region.region});
		if (slot->last >= region.last)
			return;
		region.first = slot->last + 1;
	}
	add_interval(to, region);
}

static void print_interval(const struct tree_options *options, const struct interval *interval)
{
	struct text *text = options->call->text;
	const struct ram_slot *slot = interval->slot;
	const struct region *region = interval->region;
	char owner[80];

	text_printf(text, "  %016llx-%016llx ", (unsigned long long)interval->first,
		    (unsigned long long)interval->last);
	if (slot)
		text_printf(text, "(prio 0, %s): %s @%016llx", slot->read_only ? "rom" : "ram", slot->block->name,
			    (unsigned long long)slot->offset);
	else
		text_printf(text, "(prio %d, i/o): %s", region->priority, region->name);
	if (region && interval->first > region->base)
		text_printf(text, " @%016llx", (unsigned long long)(interval->first - region->base));
	if (options->owner && region && inspect_region_owner(options->call->machine, region, owner, sizeof(owner)))
		text_printf(text, " owner:{dev %s}", owner);
	else if (options->owner)
		text_printf(text, " parent:{obj path=/machine/unattached}");
	text_printf(text, "\n");
}

/* What a look-up finds: the intervals by their number. */
static void print_dispatch(const struct tree_options *options, const struct intervals *list)
{
	text_printf(options->call->text, "  Dispatch\n    Physical sections\n");
	for (size_t i = 0; i < list->count; i++)
		text_printf(options->call->text, "      #%zu @%016llx..%016llx %s%s\n", i,
			    (unsigned long long)list->items[i].first, (unsigned long long)list->items[i].last,
			    list->items[i].slot ? list->items[i].slot->block->name : list->items[i].region->name,
			    !list->items[i].slot             ? ""
			    : list->items[i].slot->read_only ? " [ROM]"
							     : " [RAM]");
}

static void print_list(const struct tree_options *options, struct intervals *list)
{
	for (size_t i = 0; i < list->count; i++)
		print_interval(options, &list->items[i]);
	if (options->dispatch && options->flat)
		print_dispatch(options, list);
	free(list->items);
	*list = (struct intervals){0};
}

static void print_flat(const struct tree_options *options, unsigned number, const char *name, struct bus *bus,
		       const struct ram *ram)
{
	struct intervals slots = {0}, regions = {0}, all = {0};

	if (ram)
		add_slots(&slots, ram);
	if (slots.count)
		qsort(slots.items, slots.count, sizeof(*slots.items), ascending);
	bus_walk(bus, add_region, &regions);
	for (size_t i = 0; i < slots.count; i++)
		add_interval(&all, slots.items[i]);
	for (size_t i = 0; i < regions.count; i++)
		add_uncovered(&all, &slots, regions.items[i]);
	if (all.count)
		qsort(all.items, all.count, sizeof(*all.items), ascending);
	text_printf(options->call->text, "FlatView #%u\n AS \"%s\", root: %s\n Root memory region: %s\n", number, name,
		    ram ? "system" : "io", ram ? "system" : "io");
	print_list(options, &all);
	text_printf(options->call->text, "\n");
	free(slots.items);
	free(regions.items);
}

static json_t *run_mtree(struct command_call *call, struct error *err)
{
	const struct tree_options options = {.call = call,
					     .flat = argument_bool(call, "flatview", false),
					     .dispatch = argument_bool(call, "dispatch_tree", false),
					     .owner = argument_bool(call, "owner", false)};
	struct intervals list = {0};

	if (options.flat) {
		print_flat(&options, 0, "I/O", call->machine->io, NULL);
		print_flat(&options, 1, "memory", call->machine->memory, call->machine->ram);
		return json_object();
	}
	text_printf(call->text, "address-space: memory\n");
	add_slots(&list, call->machine->ram);
	bus_walk(call->machine->memory, add_region, &list);
	print_list(&options, &list);
	text_printf(call->text, "\naddress-space: I/O\n");
	bus_walk(call->machine->io, add_region, &list);
	print_list(&options, &list);
	return json_object();
}

/* Offsets are those that the blocks would have one behind the other. */
static json_t *run_ramblock(struct command_call *call, struct error *err)
{
	struct text text = {0};
	uint64_t offset = 0;

	text_printf(&text, "%24s %8s  %18s %18s %18s\n", "Block Name", "PSize", "Offset", "Used", "Total");
	for (const struct ram_block *block = ram_block_next(call->machine->ram, NULL); block;
	     block = ram_block_next(call->machine->ram, block)) {
		text_printf(&text, "%24s %8s  0x%016llx 0x%016llx 0x%016llx\n", block->name, "4 KiB",
			    (unsigned long long)offset, (unsigned long long)block->size,
			    (unsigned long long)block->size);
		offset += block->size;
	}
	return text_result(&text);
}

/* As qemu's, which does not list the ROMs of BARs. */
static json_t *run_roms(struct command_call *call, struct error *err)
{
	struct text text = {0};
	struct rom_info rom;

	for (size_t i = 0; machine_rom_at(call->machine, i, &rom); i++) {
		if (rom.file && (!strncmp(rom.file, "genroms/", 8) || !strncmp(rom.file, "vgaroms/", 8)))
			text_printf(&text, "fw=%s size=0x%06zx name=\"%s\"\n", rom.file, rom.bytes, rom.name + 8);
		else if (rom.file)
			text_printf(&text, "/rom@%s size=0x%06zx name=\"%s\"\n", rom.file, rom.bytes, rom.name);
		else if (rom.devfn)
			text_printf(&text, "pci=%02x.%x addr=%016llx size=0x%06zx mem=rom name=\"%s\"\n",
				    rom.devfn >> 3, rom.devfn & 7, (unsigned long long)rom.gpa, rom.bytes, rom.name);
		else
			text_printf(&text, "addr=%016llx size=0x%06zx mem=rom name=\"%s\"\n",
				    (unsigned long long)rom.gpa, rom.bytes, rom.name);
	}
	return text_result(&text);
}

const struct command commands_mtree[] = {
	{NULL, "info mtree", "[-f][-d][-o]",
	 "show memory tree (-f: dump flat view for address spaces; -d: dump dispatch tree, valid with -f only; -o: "
	 "dump region "
	 "owners)",
	 (const struct command_argument[]){{"flatview", ARGUMENT_FLAG, true},
					   {"dispatch_tree", ARGUMENT_FLAG, true},
					   {"owner", ARGUMENT_FLAG, true},
					   {0}},
	 run_mtree},
	{"x-query-ramblock", "info ramblock", "", "Display system ramblock information", NULL, run_ramblock,
	 show_text_result},
	{"x-query-roms", "info roms", "", "show roms", NULL, run_roms, show_text_result},
	{0},
};
