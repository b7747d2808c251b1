/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF core files (System V ABI, chapters 4 and 5; Linux' include/uapi/linux/elfcore.h): x86-64 once a CPU is in long
 * mode, otherwise i386. Two notes a CPU, those that qemu writes: CORE/NT_PRSTATUS with the registers that a signal
 * frame has, and QEMU/0 with the system registers, by which crash finds page tables. p_paddr is the guest-physical
 * address; p_vaddr is the same, because page tables are not walked. Left out: compressed formats, floating point.
 */
#include "control/monitor/elf_core.h"

#include "base/util.h"
#include "control/monitor/registers.h"
#include "core/ram.h"
#include "machine/machine.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EFER_LMA (1u << 10)

enum { PIECES_MAX = 64, QEMU_NOTE_VERSION = 1 };

/* Linux' struct elf_prstatus: the place of the process' number and of the registers, and how many there are. */
enum {
	PRSTATUS_BYTES_64 = 336,
	PRSTATUS_PID_64 = 32,
	PRSTATUS_REGISTERS_64 = 112,
	PRSTATUS_BYTES_32 = 144,
	PRSTATUS_PID_32 = 24,
	PRSTATUS_REGISTERS_32 = 72
};

struct piece {
	uint64_t gpa, bytes;
	const uint8_t *hva;
};

struct core {
	struct machine *machine;
	int fd;
	bool wide;
	struct piece pieces[PIECES_MAX];
	size_t piece_count;
	uint8_t *notes;
	size_t note_bytes, note_room;
	uint64_t written;
};

static int write_all(struct core *core, const void *data, size_t bytes, struct error *err)
{
	const uint8_t *at = data;

	while (bytes) {
		ssize_t done = write(core->fd, at, min_u64(bytes, 1 << 20));

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return error_set_errno(err, done ? errno : EIO, "dump: failed to write");
		at += done;
		bytes -= (size_t)done;
	}
	return 0;
}

/* --- notes --- */

static void *grow(struct core *core, size_t bytes)
{
	void *at;

	if (core->note_bytes + bytes > core->note_room) {
		core->note_room = 2 * (core->note_bytes + bytes);
		core->notes = xrealloc(core->notes, core->note_room);
	}
	at = core->notes + core->note_bytes;
	memset(at, 0, bytes);
	core->note_bytes += bytes;
	return at;
}

/* Room for the note's content, zeroed. */
static uint8_t *add_note(struct core *core, const char *name, uint32_t type, size_t bytes)
{
	uint8_t *header = grow(core, 12 + align_up(strlen(name) + 1, 4));

	store_le32(header, (uint32_t)strlen(name) + 1);
	store_le32(header + 4, (uint32_t)bytes);
	store_le32(header + 8, type);
	memcpy(header + 12, name, strlen(name));
	return grow(core, align_up(bytes, 4));
}

static void add_status_64(struct core *core, const struct x86_state *s, unsigned cpu)
{
	/* r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es
	 * fs gs */
	const uint64_t registers[] = {
		s->gpr[15],
		s->gpr[14],
		s->gpr[13],
		s->gpr[12],
		s->gpr[X86_RBP],
		s->gpr[X86_RBX],
		s->gpr[11],
		s->gpr[10],
		s->gpr[9],
		s->gpr[8],
		s->gpr[X86_RAX],
		s->gpr[X86_RCX],
		s->gpr[X86_RDX],
		s->gpr[X86_RSI],
		s->gpr[X86_RDI],
		0,
		s->rip,
		s->seg[X86_CS].selector,
		s->rflags,
		s->gpr[X86_RSP],
		s->seg[X86_SS].selector,
		s->seg[X86_FS].base,
		s->seg[X86_GS].base,
		s->seg[X86_DS].selector,
		s->seg[X86_ES].selector,
		s->seg[X86_FS].selector,
		s->seg[X86_GS].selector,
	};
	uint8_t *to = add_note(core, "CORE", NT_PRSTATUS, PRSTATUS_BYTES_64);

	store_le32(to + PRSTATUS_PID_64, cpu + 1);
	for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
		store_le64(to + PRSTATUS_REGISTERS_64 + 8 * i, registers[i]);
}

static void add_status_32(struct core *core, const struct x86_state *s, unsigned cpu)
{
	/* ebx ecx edx esi edi ebp eax ds es fs gs orig_eax eip cs eflags esp ss */
	const uint64_t registers[] = {
		s->gpr[X86_RBX],
		s->gpr[X86_RCX],
		s->gpr[X86_RDX],
		s->gpr[X86_RSI],
		s->gpr[X86_RDI],
		s->gpr[X86_RBP],
		s->gpr[X86_RAX],
		s->seg[X86_DS].selector,
		s->seg[X86_ES].selector,
		s->seg[X86_FS].selector,
		s->seg[X86_GS].selector,
		0,
		s->rip,
		s->seg[X86_CS].selector,
		s->rflags,
		s->gpr[X86_RSP],
		s->seg[X86_SS].selector,
	};
	uint8_t *to = add_note(core, "CORE", NT_PRSTATUS, PRSTATUS_BYTES_32);

	store_le32(to + PRSTATUS_PID_32, cpu + 1);
	for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
		store_le32(to + PRSTATUS_REGISTERS_32 + 4 * i, (uint32_t)registers[i]);
}

/* selector, limit, flags as in the descriptor's second half, padding, base. */
static uint8_t *put_segment(uint8_t *to, uint32_t selector, uint32_t limit, uint32_t attr, uint64_t base)
{
	store_le32(to, selector);
	store_le32(to + 4, limit);
	store_le32(to + 8, (attr & 0xf0ff) << 8);
	store_le64(to + 16, base);
	return to + 24;
}

static uint8_t *put_number(uint8_t *to, uint64_t value)
{
	store_le64(to, value);
	return to + 8;
}

/* Version, size, 16 registers, RIP, RFLAGS, ten segments, five control registers, the kernel's GS base. */
static void add_system(struct core *core, const struct x86_state *s)
{
	static const uint8_t order[16] = {X86_RAX, X86_RBX, X86_RCX, X86_RDX, X86_RSI, X86_RDI, X86_RSP, X86_RBP,
					  8,       9,       10,      11,      12,      13,      14,      15};
	static const uint8_t segments[] = {X86_CS, X86_DS, X86_ES, X86_FS, X86_GS, X86_SS};
	enum { BYTES = 8 + 18 * 8 + 10 * 24 + 5 * 8 + 8 };
	uint8_t *to = add_note(core, "QEMU", 0, BYTES);

	store_le32(to, QEMU_NOTE_VERSION);
	store_le32(to + 4, BYTES);
	to += 8;
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		to = put_number(to, s->gpr[order[i]]);
	to = put_number(to, s->rip);
	to = put_number(to, s->rflags);
	for (size_t i = 0; i < ARRAY_SIZE(segments); i++) {
		const struct x86_segment *segment = &s->seg[segments[i]];

		to = put_segment(to, segment->selector, segment->limit, segment->attr, segment->base);
	}
	to = put_segment(to, s->ldtr.selector, s->ldtr.limit, s->ldtr.attr, s->ldtr.base);
	to = put_segment(to, s->tr.selector, s->tr.limit, s->tr.attr, s->tr.base);
	to = put_segment(to, 0, s->gdtr.limit, 0, s->gdtr.base);
	to = put_segment(to, 0, s->idtr.limit, 0, s->idtr.base);
	to = put_number(to, s->cr0);
	to = put_number(to, 0);
	to = put_number(to, s->cr2);
	to = put_number(to, s->cr3);
	to = put_number(to, s->cr4);
	put_number(to, s->kernel_gs_base);
}

static void collect_notes(struct core *core)
{
	struct machine *machine = core->machine;
	struct x86_state **states = xcalloc(machine->vcpu_count, sizeof(struct x86_state *));

	for (unsigned i = 0; i < machine->vcpu_count; i++) {
		states[i] = registers_state(machine, machine->vcpus[i]);
		core->wide |= states[i]->efer & EFER_LMA;
	}
	for (unsigned i = 0; i < machine->vcpu_count; i++)
		(core->wide ? add_status_64 : add_status_32)(core, states[i], i);
	for (unsigned i = 0; i < machine->vcpu_count; i++) {
		add_system(core, states[i]);
		free(states[i]);
	}
	free(states);
}

/* --- memory --- */

static int ascending(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static void collect_pieces(struct core *core, struct elf_core_range range)
{
	const struct ram *ram = core->machine->ram;

	for (size_t i = 0; i < ram_slot_count(ram) && core->piece_count < PIECES_MAX; i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);
		uint64_t first, end;

		if (!slot)
			continue;
		first = slot->gpa;
		end = slot->gpa + slot->size;
		if (range.bytes) {
			first = first > range.gpa ? first : range.gpa;
			end = min_u64(end, range.gpa + range.bytes);
		}
		if (first < end)
			core->pieces[core->piece_count++] = (struct piece){
				.gpa = first, .bytes = end - first, .hva = slot->hva + (first - slot->gpa)};
	}
	qsort(core->pieces, core->piece_count, sizeof(core->pieces[0]), ascending);
}

static int write_headers_64(struct core *core, struct error *err)
{
	const size_t count = core->piece_count + 1;
	Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			     .e_type = ET_CORE,
			     .e_machine = core->wide ? EM_X86_64 : EM_386,
			     .e_version = EV_CURRENT,
			     .e_phoff = sizeof(header),
			     .e_ehsize = sizeof(header),
			     .e_phentsize = sizeof(Elf64_Phdr),
			     .e_phnum = (Elf64_Half)count};
	uint64_t offset = sizeof(header) + count * sizeof(Elf64_Phdr);
	Elf64_Phdr *segments = xcalloc(count, sizeof(*segments));
	int ret;

	segments[0] = (Elf64_Phdr){
		.p_type = PT_NOTE, .p_offset = offset, .p_filesz = core->note_bytes, .p_memsz = core->note_bytes};
	offset += core->note_bytes;
	for (size_t i = 0; i < core->piece_count; i++) {
		const struct piece *piece = &core->pieces[i];

		segments[i + 1] = (Elf64_Phdr){.p_type = PT_LOAD,
					       .p_offset = offset,
					       .p_vaddr = piece->gpa,
					       .p_paddr = piece->gpa,
					       .p_filesz = piece->bytes,
					       .p_memsz = piece->bytes};
		offset += piece->bytes;
	}
	ret = write_all(core, &header, sizeof(header), err);
	if (ret == 0)
		ret = write_all(core, segments, count * sizeof(*segments), err);
	free(segments);
	return ret;
}

static int write_headers_32(struct core *core, struct error *err)
{
	const size_t count = core->piece_count + 1;
	Elf32_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
			     .e_type = ET_CORE,
			     .e_machine = EM_386,
			     .e_version = EV_CURRENT,
			     .e_phoff = sizeof(header),
			     .e_ehsize = sizeof(header),
			     .e_phentsize = sizeof(Elf32_Phdr),
			     .e_phnum = (Elf32_Half)count};
	uint32_t offset = (uint32_t)(sizeof(header) + count * sizeof(Elf32_Phdr));
	Elf32_Phdr *segments = xcalloc(count, sizeof(*segments));
	int ret;

	segments[0] = (Elf32_Phdr){.p_type = PT_NOTE,
				   .p_offset = offset,
				   .p_filesz = (uint32_t)core->note_bytes,
				   .p_memsz = (uint32_t)core->note_bytes};
	offset += (uint32_t)core->note_bytes;
	for (size_t i = 0; i < core->piece_count; i++) {
		const struct piece *piece = &core->pieces[i];

		segments[i + 1] = (Elf32_Phdr){.p_type = PT_LOAD,
					       .p_offset = offset,
					       .p_vaddr = (uint32_t)piece->gpa,
					       .p_paddr = (uint32_t)piece->gpa,
					       .p_filesz = (uint32_t)piece->bytes,
					       .p_memsz = (uint32_t)piece->bytes};
		offset += (uint32_t)piece->bytes;
	}
	ret = write_all(core, &header, sizeof(header), err);
	if (ret == 0)
		ret = write_all(core, segments, count * sizeof(*segments), err);
	free(segments);
	return ret;
}

/* All of it is below 4 GiB, also as an offset in the file. */
static bool fits_32(const struct core *core)
{
	uint64_t bytes = 1 << 20;

	for (size_t i = 0; i < core->piece_count; i++) {
		if (core->pieces[i].gpa + core->pieces[i].bytes > 1ull << 32)
			return false;
		bytes += core->pieces[i].bytes;
	}
	return bytes < 1ull << 32;
}

int elf_core_write(struct machine *machine, struct elf_core_range range, int fd, uint64_t *written, struct error *err)
{
	struct core core = {.machine = machine, .fd = fd};
	int ret;

	*written = 0;
	collect_pieces(&core, range);
	if (!core.piece_count)
		return error_set(err, EINVAL, "dump: no guest memory to dump");
	collect_notes(&core);
	ret = core.wide || !fits_32(&core) ? write_headers_64(&core, err) : write_headers_32(&core, err);
	if (ret == 0)
		ret = write_all(&core, core.notes, core.note_bytes, err);
	for (size_t i = 0; i < core.piece_count && ret == 0; i++) {
		ret = write_all(&core, core.pieces[i].hva, core.pieces[i].bytes, err);
		if (ret == 0)
			*written += core.pieces[i].bytes;
	}
	free(core.notes);
	return ret;
}
