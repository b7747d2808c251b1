/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PVH start of an ELF kernel (Xen's docs/misc/pvh.pandoc, xen/include/public/arch-x86/hvm/start_info.h version 1):
 * 32-bit protected mode, no paging, EBX = hvm_start_info.
 */
#include "base/util.h"
#include "core/ram.h"
#include "machine/boot/internal.h"

enum { PVH_MAGIC = 0x336ec578, START_INFO_BYTES = 56, MODULE_BYTES = 32, MAP_ENTRY_BYTES = 24 };

static int place_modules(struct boot_plan *plan, uint64_t list_gpa, struct error *err)
{
	for (size_t i = 0; i < plan->boot->module_count; i++) {
		const struct boot_file *file = &plan->boot->modules[i];
		uint8_t entry[MODULE_BYTES] = {0};
		uint64_t gpa = 0;
		int rc = 0;
		if (file->size)
			rc = boot_find_module(plan, file, 4 * GIB, true, &gpa, err);
		if (!rc)
			rc = boot_file_load(file, 0, file->size, plan->ram, gpa, err);
		if (rc < 0)
			return rc;
		store_le64(entry, gpa);
		store_le64(entry + 8, file->size);
		boot_store(plan, list_gpa + i * MODULE_BYTES, entry, sizeof(entry), err);
	}
	return 0;
}

int boot_place_pvh(struct boot_plan *plan, struct boot_result *result, struct error *err)
{
	struct boot *boot = plan->boot;
	struct boot_elf elf;
	uint32_t entry;
	uint64_t info, cmdline, modules = 0, map;
	uint8_t start[START_INFO_BYTES] = {0};
	size_t append_bytes = strlen(boot->append) + 1;
	int rc = boot_elf_pvh_entry(boot, &entry, err);
	if (!rc)
		rc = boot_elf_load(plan, &elf, err);
	if (!rc && (entry < elf.low || entry >= elf.high))
		rc = error_set(err, EINVAL, "kernel '%s': PVH entry point %#x lies outside of what was loaded",
			       boot->kernel.name, entry);
	if (!rc)
		rc = boot_low(plan, sizeof(start), 16, "the PVH start information", &info, err);
	if (!rc)
		rc = boot_low(plan, append_bytes, 16, "the command line", &cmdline, err);
	if (!rc && boot->module_count)
		rc = boot_low(plan, boot->module_count * MODULE_BYTES, 16, "the module list", &modules, err);
	if (!rc)
		rc = boot_low(plan, plan->map_count * MAP_ENTRY_BYTES, 16, "the memory map", &map, err);
	if (!rc)
		rc = boot_tables(plan, false, result, err);
	if (!rc)
		rc = place_modules(plan, modules, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < plan->map_count; i++) {
		uint8_t row[MAP_ENTRY_BYTES] = {0};
		store_le64(row, plan->map[i].gpa);
		store_le64(row + 8, plan->map[i].size);
		store_le32(row + 16, plan->map[i].type);
		boot_store(plan, map + i * MAP_ENTRY_BYTES, row, sizeof(row), err);
	}
	store_le32(start, PVH_MAGIC);
	store_le32(start + 4, 1);
	store_le32(start + 12, (uint32_t)boot->module_count);
	store_le64(start + 16, modules);
	store_le64(start + 24, cmdline);
	store_le64(start + 32, plan->board->rsdp_gpa);
	store_le64(start + 40, map);
	store_le32(start + 48, (uint32_t)plan->map_count);
	boot_store(plan, info, start, sizeof(start), err);
	boot_store(plan, cmdline, boot->append, append_bytes, err);
	result->protocol = "PVH";
	result->entry = entry;
	result->rbx = info;
	return 0;
}
