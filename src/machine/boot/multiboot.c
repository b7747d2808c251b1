/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multiboot specification 0.6.96 (version 1): kernels with address fields or as ELF files, modules, memory map, boot
 * loader name. Left out: video mode requests (a preference, ignored), APM and drive tables.
 */
#include "base/util.h"
#include "core/ram.h"
#include "machine/boot/internal.h"

#include <stdlib.h>

enum {
	SEARCH_BYTES = 8192,
	MAGIC = 0x1badb002,
	LOADER_MAGIC = 0x2badb002,
	FLAG_KNOWN = 7,
	FLAG_MUST = 0xffff,
	FLAG_ADDRESSES = 1 << 16,
	INFO_MEMORY = 1 << 0,
	INFO_CMDLINE = 1 << 2,
	INFO_MODULES = 1 << 3,
	INFO_MAP = 1 << 6,
	INFO_LOADER = 1 << 9,
	INFO_BYTES = 88,
	MODULE_BYTES = 16,
	MAP_ENTRY_BYTES = 24,
};

/* The header's offset in the file, or -1. */
static int find_header(const struct boot *boot)
{
	for (int at = 0; at + 12 <= SEARCH_BYTES && (size_t)at + 12 <= boot->head_bytes; at += 4) {
		uint32_t magic = load_le32(boot->head + at), flags = load_le32(boot->head + at + 4);
		if (magic == MAGIC && magic + flags + load_le32(boot->head + at + 8) == 0)
			return at;
	}
	return -1;
}

bool boot_is_multiboot(const struct boot *boot)
{
	return find_header(boot) >= 0;
}

static int load_by_addresses(struct boot_plan *plan, unsigned at, struct boot_elf *image, struct error *err)
{
	const struct boot_file *file = &plan->boot->kernel;
	const uint8_t *h = plan->boot->head + at;
	uint32_t header = load_le32(h + 12), load = load_le32(h + 16), load_end = load_le32(h + 20);
	uint32_t bss_end = load_le32(h + 24), entry = load_le32(h + 28);
	if (at + 32 > plan->boot->head_bytes || load > header || header - load > at)
		return error_set(err, EINVAL,
				 "kernel '%s': Multiboot header at %#x cannot be loaded at %#x with load_addr %#x",
				 file->name, at, header, load);
	uint64_t offset = at - (header - load), bytes = file->size - offset;
	if (load_end) {
		if (load_end < load || load_end - load > bytes)
			return error_set(err, EINVAL,
					 "kernel '%s': Multiboot header says %u bytes to load but the file has %llu",
					 file->name, load_end - load, (unsigned long long)bytes);
		bytes = load_end - load;
	}
	uint64_t memory_bytes = bytes;
	if (bss_end) {
		if (bss_end < load + bytes)
			return error_set(
				err, EINVAL,
				"kernel '%s': Multiboot bss_end_addr %#x lies before the end of what is loaded",
				file->name, bss_end);
		memory_bytes = bss_end - load;
	}
	int rc = boot_claim(plan, load, memory_bytes, "the kernel", err);
	if (!rc)
		rc = boot_file_load(file, offset, bytes, plan->ram, load, err);
	if (rc < 0)
		return rc;
	ram_fill(plan->ram, load + bytes, 0, memory_bytes - bytes);
	*image = (struct boot_elf){.entry = entry, .low = load, .high = load + memory_bytes};
	return 0;
}

static int load_kernel(struct boot_plan *plan, struct boot_elf *image, struct error *err)
{
	int at = find_header(plan->boot);
	if (at < 0)
		return error_set(err, EINVAL, "kernel '%s': no Multiboot header", plan->boot->kernel.name);
	uint32_t flags = load_le32(plan->boot->head + at + 4);
	if (flags & FLAG_MUST & ~FLAG_KNOWN)
		return error_set(err, ENOTSUP,
				 "kernel '%s': Multiboot header requires features %#x, which are not known",
				 plan->boot->kernel.name, flags & FLAG_MUST & ~FLAG_KNOWN);
	if (flags & FLAG_ADDRESSES)
		return load_by_addresses(plan, (unsigned)at, image, err);
	if (!boot_is_elf(plan->boot))
		return error_set(err, EINVAL,
				 "kernel '%s': Multiboot header without addresses in a file that is not ELF",
				 plan->boot->kernel.name);
	int rc = boot_elf_load(plan, image, err);
	if (!rc && image->is64)
		return error_set(err, ENOTSUP,
				 "kernel '%s': Multiboot starts 32-bit code; a 64-bit ELF file needs address fields "
				 "in its header or a PVH note",
				 plan->boot->kernel.name);
	return rc;
}

/* Puts a string into low memory. */
static int place_string(struct boot_plan *plan, const char *text, uint32_t *gpa, struct error *err)
{
	uint64_t at;
	int rc = boot_low(plan, strlen(text) + 1, 4, "the command line", &at, err);
	if (rc < 0)
		return rc;
	*gpa = (uint32_t)at;
	return boot_store(plan, at, text, strlen(text) + 1, err);
}

static int place_modules(struct boot_plan *plan, uint64_t list, uint64_t above, struct error *err)
{
	for (size_t i = 0; i < plan->boot->module_count; i++) {
		const struct boot_file *file = &plan->boot->modules[i];
		uint8_t entry[MODULE_BYTES] = {0};
		uint64_t gpa = above;
		uint32_t text;
		char *line = file->arguments ? xasprintf("%s %s", file->name, file->arguments) : xstrdup(file->name);
		int rc = place_string(plan, line, &text, err);
		free(line);
		if (!rc && file->size)
			rc = boot_find(plan, file->size, PAGE_SIZE, max_u64(MIB, above), 4 * GIB, false, "a module",
				       &gpa, err);
		if (!rc)
			rc = boot_file_load(file, 0, file->size, plan->ram, gpa, err);
		if (rc < 0)
			return rc;
		store_le32(entry, (uint32_t)gpa);
		store_le32(entry + 4, (uint32_t)(gpa + file->size));
		store_le32(entry + 8, text);
		boot_store(plan, list + i * MODULE_BYTES, entry, sizeof(entry), err);
	}
	return 0;
}

static void memory_sizes(const struct boot_plan *plan, uint8_t *info)
{
	for (size_t i = 0; i < plan->map_count; i++) {
		const struct boot_memory *m = &plan->map[i];
		if (m->type != BOOT_MEMORY_RAM)
			continue;
		if (m->gpa == 0)
			store_le32(info + 4, (uint32_t)(m->size / KIB));
		else if (m->gpa == MIB)
			store_le32(info + 8, (uint32_t)min_u64(m->size / KIB, UINT32_MAX));
	}
}

int boot_place_multiboot(struct boot_plan *plan, struct boot_result *result, struct error *err)
{
	struct boot *boot = plan->boot;
	struct boot_elf image;
	uint64_t info_gpa, modules = 0, map;
	uint32_t cmdline, loader;
	uint8_t info[INFO_BYTES] = {0};
	int rc = load_kernel(plan, &image, err);
	if (!rc && (image.entry < image.low || image.entry >= image.high))
		rc = error_set(err, EINVAL, "kernel '%s': Multiboot entry point %#llx lies outside of what was loaded",
			       boot->kernel.name, (unsigned long long)image.entry);
	if (!rc)
		rc = boot_low(plan, sizeof(info), 16, "the Multiboot information", &info_gpa, err);
	if (!rc) {
		char *line = xasprintf("%s%s%s", boot->kernel.name, *boot->append ? " " : "", boot->append);
		rc = place_string(plan, line, &cmdline, err);
		free(line);
	}
	if (!rc)
		rc = place_string(plan, "xuni", &loader, err);
	if (!rc && boot->module_count)
		rc = boot_low(plan, boot->module_count * MODULE_BYTES, 16, "the module list", &modules, err);
	if (!rc)
		rc = boot_low(plan, plan->map_count * MAP_ENTRY_BYTES, 16, "the memory map", &map, err);
	if (!rc)
		rc = boot_tables(plan, false, result, err);
	if (!rc)
		rc = place_modules(plan, modules, align_up(image.high, PAGE_SIZE), err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < plan->map_count; i++) {
		uint8_t row[MAP_ENTRY_BYTES];
		store_le32(row, MAP_ENTRY_BYTES - 4); /* the size does not count itself */
		store_le64(row + 4, plan->map[i].gpa);
		store_le64(row + 12, plan->map[i].size);
		store_le32(row + 20, plan->map[i].type);
		boot_store(plan, map + i * MAP_ENTRY_BYTES, row, sizeof(row), err);
	}
	store_le32(info, INFO_MEMORY | INFO_CMDLINE | INFO_MAP | INFO_LOADER | (boot->module_count ? INFO_MODULES : 0));
	memory_sizes(plan, info);
	store_le32(info + 16, cmdline);
	store_le32(info + 20, (uint32_t)boot->module_count);
	store_le32(info + 24, (uint32_t)modules);
	store_le32(info + 44, (uint32_t)(plan->map_count * MAP_ENTRY_BYTES));
	store_le32(info + 48, (uint32_t)map);
	store_le32(info + 64, loader);
	boot_store(plan, info_gpa, info, sizeof(info), err);
	result->protocol = "Multiboot";
	result->entry = image.entry;
	result->rax = LOADER_MAGIC;
	result->rbx = info_gpa;
	return 0;
}
