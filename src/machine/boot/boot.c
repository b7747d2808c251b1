/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recognises what -kernel names, opens -initrd, and starts the first CPU the way the kernel's protocol wants. */
#include "machine/boot/boot.h"

#include "base/util.h"
#include "core/ram.h"
#include "machine/boot/internal.h"

#include <stdlib.h>

enum { CR0_PE = 1, CR0_ET = 1 << 4, CR4_PAE = 1 << 5, EFER_LME = 1 << 8, EFER_LMA = 1 << 10 };
#define CR0_PG 0x80000000u

static int recognise(struct boot *boot, struct error *err)
{
	uint32_t entry;
	if (boot_is_bzimage(boot)) {
		boot->kind = BOOT_BZIMAGE;
		return boot_check_bzimage(boot, err);
	}
	if (boot_is_elf(boot)) {
		struct error note_err = {0};
		int rc = boot_elf_pvh_entry(boot, &entry, &note_err);
		if (!rc) {
			boot->kind = BOOT_PVH;
			return 0;
		}
		if (rc != -ENOENT && !boot_is_multiboot(boot)) {
			if (err)
				*err = note_err;
			return rc;
		}
	}
	if (boot_is_multiboot(boot)) {
		boot->kind = BOOT_MULTIBOOT;
		return 0;
	}
	if (boot_is_elf(boot))
		return error_set(err, EINVAL,
				 "kernel '%s': an ELF file with neither a PVH note nor a Multiboot header; Linux needs "
				 "CONFIG_PVH for that, or give its bzImage",
				 boot->kernel.name);
	return error_set(err, EINVAL, "kernel '%s': neither a Linux bzImage nor an ELF or Multiboot kernel",
			 boot->kernel.name);
}

static int read_head(struct boot *boot, struct error *err)
{
	if (!boot->kernel.size)
		return error_set(err, EINVAL, "kernel '%s': the file is empty", boot->kernel.name);
	boot->head_bytes = min_u64(boot->kernel.size, BOOT_HEAD_BYTES);
	return boot_file_read(&boot->kernel, 0, boot->head, boot->head_bytes, err);
}

static int open_module(struct boot *boot, const char *name, struct error *err)
{
	if (boot->module_count == BOOT_FILES_MAX)
		return error_set(err, EINVAL, "-initrd: more than %d modules", BOOT_FILES_MAX);
	struct boot_file *file = &boot->modules[boot->module_count];
	*file = (struct boot_file){.fd = -1};
	int rc = boot_file_open(file, name, boot->kind == BOOT_MULTIBOOT ? "module" : "initrd", err);
	if (!rc)
		boot->module_count++;
	return rc;
}

/* One part of "file arguments,file arguments". */
static int open_multiboot_module(struct boot *boot, char *part, struct error *err)
{
	part += strspn(part, " ");
	char *space = strchr(part, ' ');
	if (space)
		*space = 0;
	int rc = open_module(boot, part, err);
	if (!rc && space && space[1])
		boot->modules[boot->module_count - 1].arguments = xstrdup(space + 1);
	return rc;
}

static int open_multiboot_modules(struct boot *boot, const char *list, struct error *err)
{
	char *copy = xstrdup(list), *to = copy, *part = copy;
	int rc = 0;
	for (const char *from = list;; from++) {
		if (*from == ',' && from[1] == ',') {
			*to++ = ',';
			from++;
			continue;
		}
		if (*from && *from != ',') {
			*to++ = *from;
			continue;
		}
		bool end = !*from;
		*to = 0;
		rc = open_multiboot_module(boot, part, err);
		if (rc < 0 || end)
			break;
		part = ++to;
	}
	free(copy);
	return rc;
}

struct boot *boot_open(const struct boot_source *source, struct error *err)
{
	struct boot *boot = xcalloc(1, sizeof(*boot));
	boot->kernel.fd = -1;
	boot->append = xstrdup(source->append ? source->append : "");
	int rc = boot_file_open(&boot->kernel, source->kernel, "kernel", err);
	if (!rc)
		rc = read_head(boot, err);
	if (!rc)
		rc = recognise(boot, err);
	if (!rc && source->initrd)
		rc = boot->kind == BOOT_MULTIBOOT ? open_multiboot_modules(boot, source->initrd, err)
						  : open_module(boot, source->initrd, err);
	if (rc < 0) {
		boot_close(boot);
		return NULL;
	}
	return boot;
}

void boot_close(struct boot *boot)
{
	if (!boot)
		return;
	boot_file_close(&boot->kernel);
	for (size_t i = 0; i < boot->module_count; i++)
		boot_file_close(&boot->modules[i]);
	free(boot->append);
	free(boot);
}

struct boot_handover *boot_handover_new(const struct boot_source *source, uint64_t low_bytes, struct error *err)
{
	struct boot *boot = boot_open(source, err);
	struct boot_handover *handover;
	int rc = 0;
	if (!boot)
		return NULL;
	handover = xcalloc(1, sizeof(*handover));
	if (boot->kind == BOOT_BZIMAGE)
		rc = boot_hand_over_bzimage(boot, low_bytes, handover, err);
	else
		rc = error_set(err, EINVAL,
			       "kernel '%s': firmware is handed Linux' bzImage only; without -bios and pflash this kernel "
			       "starts directly",
			       boot->kernel.name);
	handover->cmdline = xstrdup(boot->append);
	boot_close(boot);
	if (rc < 0) {
		boot_handover_free(handover);
		return NULL;
	}
	return handover;
}

void boot_handover_free(struct boot_handover *handover)
{
	if (!handover)
		return;
	free(handover->setup.bytes);
	free(handover->kernel.bytes);
	free(handover->initrd.bytes);
	free(handover->cmdline);
	free(handover);
}

int boot_place(struct boot *boot, struct ram *ram, const struct boot_board *board, struct boot_result *result,
	       struct error *err)
{
	struct boot_plan *plan = xcalloc(1, sizeof(*plan));
	int rc;
	*result = (struct boot_result){0};
	boot_plan_init(plan, boot, ram, board);
	switch (boot->kind) {
	case BOOT_BZIMAGE:
		rc = boot_place_bzimage(plan, result, err);
		break;
	case BOOT_PVH:
		rc = boot_place_pvh(plan, result, err);
		break;
	default:
		rc = boot_place_multiboot(plan, result, err);
		break;
	}
	free(plan);
	return rc;
}

void boot_set_state(const struct boot_result *result, struct x86_state *state)
{
	const uint32_t data_attr = 0xc093, code_attr = result->long_mode ? 0xa09b : 0xc09b;
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		state->seg[i] = (struct x86_segment){.limit = UINT32_MAX, .attr = data_attr, .selector = 0x18};
	state->seg[X86_CS] = (struct x86_segment){.limit = UINT32_MAX, .attr = code_attr, .selector = 0x10};
	state->tr = (struct x86_segment){.limit = 0x67, .attr = 0x8b, .selector = 0x20};
	state->ldtr = (struct x86_segment){.attr = X86_SEG_UNUSABLE};
	state->gdtr = (struct x86_table){.base = result->gdt_gpa, .limit = result->gdt_bytes - 1};
	state->idtr = (struct x86_table){0};
	state->cr0 = CR0_PE | CR0_ET;
	state->cr4 = 0;
	state->efer = 0;
	if (result->long_mode) {
		state->cr0 |= CR0_PG;
		state->cr3 = result->cr3;
		state->cr4 = CR4_PAE;
		state->efer = EFER_LME | EFER_LMA;
	}
	memset(state->gpr, 0, sizeof(state->gpr));
	state->gpr[X86_RSI] = result->rsi;
	state->gpr[X86_RBX] = result->rbx;
	state->gpr[X86_RAX] = result->rax;
	state->rip = result->entry;
	state->rflags = 2;
	state->mp_state = X86_MP_RUNNING;
}
