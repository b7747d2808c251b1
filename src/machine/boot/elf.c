/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF32 and ELF64 executables for x86 (System V gABI; ELF is little-endian here): loading PT_LOAD segments at their
 * physical addresses, and the PVH note (Xen's xen/include/public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY).
 */
#include "base/util.h"
#include "core/ram.h"
#include "machine/boot/internal.h"

#include <elf.h>

enum { SEGMENTS_MAX = 128, NOTES_MAX_BYTES = 1 << 20, PVH_NOTE_TYPE = 18 };

struct segment {
	uint32_t type;
	uint64_t offset, paddr, file_bytes, memory_bytes, align;
};

bool boot_is_elf(const struct boot *boot)
{
	return boot->head_bytes >= SELFMAG && !memcmp(boot->head, ELFMAG, SELFMAG);
}

struct header {
	bool is64;
	uint64_t entry, table_offset;
	unsigned count, entry_bytes;
};

static int parse_header(const struct boot *boot, struct header *h, struct error *err)
{
	const char *name = boot->kernel.name;
	const uint8_t *head = boot->head;
	if (boot->head_bytes < sizeof(Elf32_Ehdr))
		return error_set(err, EINVAL, "kernel '%s': the file ends inside the ELF header, after %zu bytes", name,
				 boot->head_bytes);
	h->is64 = head[EI_CLASS] == ELFCLASS64;
	if ((!h->is64 && head[EI_CLASS] != ELFCLASS32) || head[EI_DATA] != ELFDATA2LSB)
		return error_set(err, EINVAL, "kernel '%s': not a little-endian 32-bit or 64-bit ELF file", name);
	if (h->is64 && boot->head_bytes < sizeof(Elf64_Ehdr))
		return error_set(err, EINVAL, "kernel '%s': the file ends inside the ELF header, after %zu bytes", name,
				 boot->head_bytes);
	unsigned machine = load_le16(head + offsetof(Elf64_Ehdr, e_machine));
	unsigned type = load_le16(head + offsetof(Elf64_Ehdr, e_type));
	if (machine != (h->is64 ? EM_X86_64 : EM_386))
		return error_set(err, EINVAL, "kernel '%s': ELF machine %u is not an x86 one", name, machine);
	if (type != ET_EXEC && type != ET_DYN)
		return error_set(err, EINVAL, "kernel '%s': ELF type %u is not an executable", name, type);
	if (h->is64) {
		Elf64_Ehdr e;
		memcpy(&e, head, sizeof(e));
		*h = (struct header){true, e.e_entry, e.e_phoff, e.e_phnum, e.e_phentsize};
	} else {
		Elf32_Ehdr e;
		memcpy(&e, head, sizeof(e));
		*h = (struct header){false, e.e_entry, e.e_phoff, e.e_phnum, e.e_phentsize};
	}
	if (!h->count || h->count > SEGMENTS_MAX)
		return error_set(err, EINVAL, "kernel '%s': %u ELF program headers (1 to %d are accepted)", name,
				 h->count, SEGMENTS_MAX);
	if (h->entry_bytes != (h->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return error_set(err, EINVAL, "kernel '%s': ELF program headers of %u bytes", name, h->entry_bytes);
	return 0;
}

static int read_segment(const struct boot *boot, const struct header *h, unsigned index, struct segment *s,
			struct error *err)
{
	uint8_t raw[sizeof(Elf64_Phdr)];
	uint64_t offset = h->table_offset + (uint64_t)index * h->entry_bytes;
	if (offset < h->table_offset)
		return error_set(err, EINVAL, "kernel '%s': ELF program headers at %#llx", boot->kernel.name,
				 (unsigned long long)h->table_offset);
	int rc = boot_file_read(&boot->kernel, offset, raw, h->entry_bytes, err);
	if (rc < 0)
		return error_prefix(err, "kernel: ELF program headers");
	if (h->is64) {
		Elf64_Phdr p;
		memcpy(&p, raw, sizeof(p));
		*s = (struct segment){p.p_type, p.p_offset, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align};
	} else {
		Elf32_Phdr p;
		memcpy(&p, raw, sizeof(p));
		*s = (struct segment){p.p_type, p.p_offset, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align};
	}
	if (!range_inside(s->offset, s->file_bytes, boot->kernel.size) && (s->type == PT_LOAD || s->type == PT_NOTE))
		return error_set(
			err, EINVAL,
			"kernel '%s': ELF segment %u lies at %llu KiB to %llu KiB, but the file ends after %llu KiB",
			boot->kernel.name, index, (unsigned long long)s->offset / 1024,
			(unsigned long long)(s->offset + s->file_bytes) / 1024,
			(unsigned long long)boot->kernel.size / 1024);
	return 0;
}

static int load_segment(struct boot_plan *plan, const struct segment *s, struct boot_elf *elf, struct error *err)
{
	const struct boot *boot = plan->boot;
	if (s->file_bytes > s->memory_bytes)
		return error_set(err, EINVAL,
				 "kernel '%s': an ELF segment has more bytes in the file (%llu) than in memory (%llu)",
				 boot->kernel.name, (unsigned long long)s->file_bytes,
				 (unsigned long long)s->memory_bytes);
	int rc = boot_claim(plan, s->paddr, s->memory_bytes, "an ELF segment of the kernel", err);
	if (!rc)
		rc = boot_file_load(&boot->kernel, s->offset, s->file_bytes, plan->ram, s->paddr, err);
	if (rc < 0)
		return error_prefix(err, "kernel '%s'", boot->kernel.name);
	ram_fill(plan->ram, s->paddr + s->file_bytes, 0, s->memory_bytes - s->file_bytes);
	elf->low = min_u64(elf->low, s->paddr);
	elf->high = max_u64(elf->high, s->paddr + s->memory_bytes);
	return 0;
}

int boot_elf_load(struct boot_plan *plan, struct boot_elf *elf, struct error *err)
{
	struct header h = {0};
	int rc = parse_header(plan->boot, &h, err);
	if (rc < 0)
		return rc;
	*elf = (struct boot_elf){.is64 = h.is64, .entry = h.entry, .low = UINT64_MAX};
	for (unsigned i = 0; i < h.count; i++) {
		struct segment s;
		rc = read_segment(plan->boot, &h, i, &s, err);
		if (!rc && s.type == PT_LOAD && s.memory_bytes)
			rc = load_segment(plan, &s, elf, err);
		if (rc < 0)
			return rc;
	}
	if (elf->low == UINT64_MAX)
		return error_set(err, EINVAL, "kernel '%s': the ELF file has nothing to load", plan->boot->kernel.name);
	return 0;
}

/* Walks one PT_NOTE segment. Names and descriptors are padded to 4 bytes whatever the segment's alignment says. */
static int find_note(const struct boot *boot, const struct segment *s, uint32_t *entry, struct error *err)
{
	uint64_t at = 0;
	while (s->file_bytes - at >= sizeof(Elf32_Nhdr)) {
		Elf32_Nhdr note;
		char name[4];
		uint8_t value[8] = {0};
		int rc = boot_file_read(&boot->kernel, s->offset + at, &note, sizeof(note), err);
		if (rc < 0)
			return rc;
		at += sizeof(note);
		uint64_t name_bytes = align_up(note.n_namesz, 4), value_bytes = align_up(note.n_descsz, 4);
		if (!range_inside(at, name_bytes + value_bytes, s->file_bytes))
			break;
		if (note.n_type == PVH_NOTE_TYPE && note.n_namesz == 4 && (note.n_descsz == 4 || note.n_descsz == 8)) {
			rc = boot_file_read(&boot->kernel, s->offset + at, name, sizeof(name), err);
			if (!rc)
				rc = boot_file_read(&boot->kernel, s->offset + at + name_bytes, value, note.n_descsz,
						    err);
			if (rc < 0)
				return rc;
			if (!memcmp(name, "Xen", 4)) {
				if (load_le64(value) > UINT32_MAX)
					return error_set(err, EINVAL,
							 "kernel '%s': PVH entry point %#llx lies above 4 GiB",
							 boot->kernel.name, (unsigned long long)load_le64(value));
				*entry = load_le32(value);
				return 0;
			}
		}
		at += name_bytes + value_bytes;
	}
	return -ENOENT;
}

int boot_elf_pvh_entry(const struct boot *boot, uint32_t *entry, struct error *err)
{
	struct header h = {0};
	int rc = parse_header(boot, &h, err);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < h.count; i++) {
		struct segment s;
		rc = read_segment(boot, &h, i, &s, err);
		if (rc < 0)
			return rc;
		if (s.type != PT_NOTE || s.file_bytes > NOTES_MAX_BYTES)
			continue;
		rc = find_note(boot, &s, entry, err);
		if (rc != -ENOENT)
			return rc;
	}
	return -ENOENT;
}
