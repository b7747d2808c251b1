/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux' x86 boot protocol (Documentation/arch/x86/boot.rst and zero-page.rst), 2.06 to 2.15: a bzImage is started at
 * its 64-bit entry point when it has one, else at its 32-bit one. Left out: protocols before 2.06, zImage (loaded low),
 * EFI hand-over and setup_data. Firmware that is handed a kernel starts its real-mode part, or its EFI stub.
 */
#include "base/util.h"
#include "core/ram.h"
#include "machine/boot/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Offsets in the file and in the zero page alike. */
enum {
	HDR_SETUP_SECTS = 0x1f1,
	HDR_SYSSIZE = 0x1f4,
	HDR_VID_MODE = 0x1fa,
	HDR_BOOT_FLAG = 0x1fe,
	HDR_JUMP = 0x200,
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_TYPE_OF_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_CODE32_START = 0x214,
	HDR_RAMDISK_IMAGE = 0x218,
	HDR_RAMDISK_SIZE = 0x21c,
	HDR_HEAP_END = 0x224,
	HDR_CMD_LINE_PTR = 0x228,
	HDR_INITRD_ADDR_MAX = 0x22c,
	HDR_KERNEL_ALIGNMENT = 0x230,
	HDR_RELOCATABLE = 0x234,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260,
	HDR_START = 0x1f1,
	HDR_MAX_END = 0x290,
	ZP_RSDP = 0x070,
	ZP_EXT_RAMDISK_IMAGE = 0x0c0,
	ZP_EXT_RAMDISK_SIZE = 0x0c4,
	ZP_EXT_CMD_LINE_PTR = 0x0c8,
	ZP_E820_ENTRIES = 0x1e8,
	ZP_E820_TABLE = 0x2d0,
	ZP_BYTES = 4096,
	E820_MAX = 128,
	LOADED_HIGH = 1 << 0,
	CAN_USE_HEAP = 1 << 7,
	XLF_KERNEL_64 = 1 << 0,
	XLF_ABOVE_4G = 1 << 1,
	LOADER_UNDEFINED = 0xff,
	LOADER_QEMU = 0xb0,
	ENTRY64_OFFSET = 0x200,
	/* Where the loader that firmware runs (linuxboot) puts the real-mode part, its command line and the kernel. */
	HANDOVER_SETUP = 0x10000,
	HANDOVER_CMDLINE = 0x20000,
	HANDOVER_KERNEL = 0x100000,
	HANDOVER_TABLES_BYTES = 0x28000, /* at the end of low RAM firmware keeps its ACPI tables */
};

struct linux_header {
	uint16_t version, xloadflags;
	uint8_t loadflags;
	bool relocatable;
	uint64_t setup_bytes, kernel_bytes;
	uint64_t code32_start, alignment, pref_address, init_bytes;
	uint64_t initrd_end_max; /* first address that the initrd may not reach */
	uint32_t cmdline_max;    /* without the final NUL */
};

bool boot_is_bzimage(const struct boot *boot)
{
	return boot->head_bytes >= HDR_VERSION && load_le16(boot->head + HDR_BOOT_FLAG) == 0xaa55 &&
	       !memcmp(boot->head + HDR_MAGIC, "HdrS", 4);
}

static int bad(const struct boot *boot, struct error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int bad(const struct boot *boot, struct error *err, const char *fmt, ...)
{
	char text[256];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return error_set(err, EINVAL, "kernel '%s': %s", boot->kernel.name, text);
}

static int parse_header(const struct boot *boot, struct linux_header *h, struct error *err)
{
	const uint8_t *head = boot->head;
	unsigned sectors = head[HDR_SETUP_SECTS] ? head[HDR_SETUP_SECTS] : 4;
	if (boot->head_bytes < HDR_INIT_SIZE + 4)
		return bad(boot, err, "the file ends inside the setup header, after %zu bytes", boot->head_bytes);
	h->version = load_le16(head + HDR_VERSION);
	if (h->version < 0x206)
		return bad(boot, err,
			   "boot protocol %u.%02u is too old; 2.06 (Linux 2.6.22) is the least that can be booted",
			   h->version >> 8, h->version & 0xff);
	h->setup_bytes = (sectors + 1) * 512ull;
	if (h->setup_bytes >= boot->kernel.size)
		return bad(boot, err, "setup header says %u sectors but the file ends after %llu KiB", sectors,
			   (unsigned long long)boot->kernel.size / 1024);
	h->kernel_bytes = load_le32(head + HDR_SYSSIZE) * 16ull;
	/* syssize counts 16-byte paragraphs, the last one may be cut. */
	if (!h->kernel_bytes || h->setup_bytes + h->kernel_bytes > align_up(boot->kernel.size, 16))
		return bad(boot, err, "setup header says %llu KiB of kernel but the file ends after %llu KiB",
			   (unsigned long long)h->kernel_bytes / 1024,
			   (unsigned long long)(boot->kernel.size - h->setup_bytes) / 1024);
	h->kernel_bytes = boot->kernel.size - h->setup_bytes;
	h->loadflags = head[HDR_LOADFLAGS];
	if (!(h->loadflags & LOADED_HIGH))
		return bad(boot, err, "this is a zImage (loaded below 1 MiB), which is not supported; build a bzImage");
	h->xloadflags = h->version >= 0x20c ? load_le16(head + HDR_XLOADFLAGS) : 0;
	h->relocatable = head[HDR_RELOCATABLE];
	h->code32_start = load_le32(head + HDR_CODE32_START);
	h->alignment = load_le32(head + HDR_KERNEL_ALIGNMENT);
	h->pref_address = h->version >= 0x20a ? load_le64(head + HDR_PREF_ADDRESS) : h->code32_start;
	h->init_bytes = h->version >= 0x20a ? load_le32(head + HDR_INIT_SIZE) : 0;
	h->initrd_end_max = load_le32(head + HDR_INITRD_ADDR_MAX) + 1ull;
	h->cmdline_max = load_le32(head + HDR_CMDLINE_SIZE);
	if (!is_power_of_two(h->alignment) || h->alignment < PAGE_SIZE || h->alignment > GIB) {
		if (h->relocatable)
			return bad(boot, err, "setup header asks for an alignment of %#llx bytes",
				   (unsigned long long)h->alignment);
		h->alignment = PAGE_SIZE;
	}
	return 0;
}

int boot_check_bzimage(const struct boot *boot, struct error *err)
{
	struct linux_header h;
	int rc = parse_header(boot, &h, err);
	if (rc < 0)
		return rc;
	if (strlen(boot->append) > h.cmdline_max)
		return bad(boot, err, "-append is %zu characters long, this kernel takes at most %u",
			   strlen(boot->append), h.cmdline_max);
	return 0;
}

static int place_kernel(struct boot_plan *plan, const struct linux_header *h, uint64_t *gpa, struct error *err)
{
	uint64_t size = max_u64(h->init_bytes, h->kernel_bytes);
	*gpa = h->pref_address;
	if (!h->relocatable)
		*gpa = h->version >= 0x20a && h->pref_address ? h->pref_address : h->code32_start;
	if (*gpa % PAGE_SIZE == 0 && boot_is_free(plan, *gpa, size))
		return boot_claim(plan, *gpa, size, "the kernel", err);
	if (!h->relocatable)
		return boot_claim(plan, *gpa, size, "the kernel", err);
	return boot_find(plan, size, h->alignment, MIB, 4 * GIB, false, "the kernel", gpa, err);
}

static int place_initrd(struct boot_plan *plan, const struct linux_header *h, uint8_t *zero_page, struct error *err)
{
	const struct boot_file *initrd = &plan->boot->modules[0];
	if (!plan->boot->module_count || !initrd->size)
		return 0;
	uint64_t gpa, limit = h->xloadflags & XLF_ABOVE_4G ? 4 * GIB : h->initrd_end_max;
	bool above_4g = h->xloadflags & XLF_ABOVE_4G && h->xloadflags & XLF_KERNEL_64;
	int rc = boot_find_module(plan, initrd, limit, above_4g, &gpa, err);
	if (rc < 0)
		return rc;
	store_le32(zero_page + HDR_RAMDISK_IMAGE, (uint32_t)gpa);
	store_le32(zero_page + HDR_RAMDISK_SIZE, (uint32_t)initrd->size);
	store_le32(zero_page + ZP_EXT_RAMDISK_IMAGE, (uint32_t)(gpa >> 32));
	store_le32(zero_page + ZP_EXT_RAMDISK_SIZE, (uint32_t)(initrd->size >> 32));
	return boot_file_load(initrd, 0, initrd->size, plan->ram, gpa, err);
}

static void fill_e820(const struct boot_plan *plan, uint8_t *zero_page)
{
	size_t count = plan->map_count < E820_MAX ? plan->map_count : E820_MAX;
	zero_page[ZP_E820_ENTRIES] = (uint8_t)count;
	for (size_t i = 0; i < count; i++) {
		uint8_t *entry = zero_page + ZP_E820_TABLE + 20 * i;
		store_le64(entry, plan->map[i].gpa);
		store_le64(entry + 8, plan->map[i].size);
		store_le32(entry + 16, plan->map[i].type);
	}
}

/* The setup header is copied as it is in the file, then the loader's fields are written. */
static void fill_header(const struct boot *boot, uint8_t *zero_page, uint64_t kernel_gpa, uint64_t cmdline_gpa)
{
	size_t end = HDR_MAGIC + boot->head[HDR_JUMP + 1];
	if (end > HDR_MAX_END)
		end = HDR_MAX_END;
	if (end < HDR_INIT_SIZE + 4 && load_le16(boot->head + HDR_VERSION) >= 0x20a)
		end = HDR_INIT_SIZE + 4;
	memcpy(zero_page + HDR_START, boot->head + HDR_START, end - HDR_START);
	zero_page[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	zero_page[HDR_LOADFLAGS] |= LOADED_HIGH | CAN_USE_HEAP;
	store_le16(zero_page + HDR_HEAP_END, 0xfe00);
	store_le16(zero_page + HDR_VID_MODE, 0xffff);
	store_le32(zero_page + HDR_CODE32_START, (uint32_t)kernel_gpa);
	store_le32(zero_page + HDR_CMD_LINE_PTR, (uint32_t)cmdline_gpa);
	store_le32(zero_page + ZP_EXT_CMD_LINE_PTR, 0);
	store_le32(zero_page + HDR_RAMDISK_IMAGE, 0);
	store_le32(zero_page + HDR_RAMDISK_SIZE, 0);
}

/* struct screen_info, the first 64 bytes: what the real-mode part would have asked the video BIOS. */
static void fill_screen(uint8_t *zero_page)
{
	zero_page[0x06] = 3;    /* mode */
	zero_page[0x07] = 80;   /* columns */
	zero_page[0x0e] = 25;   /* lines */
	zero_page[0x0f] = 1;    /* a VGA */
	zero_page[0x10] = 16;   /* lines of a glyph */
}

int boot_place_bzimage(struct boot_plan *plan, struct boot_result *result, struct error *err)
{
	struct boot *boot = plan->boot;
	struct linux_header h;
	uint64_t kernel, zero_page_gpa, cmdline;
	uint8_t zero_page[ZP_BYTES] = {0};
	size_t append_bytes = strlen(boot->append) + 1;
	int rc = parse_header(boot, &h, err);
	if (!rc)
		rc = place_kernel(plan, &h, &kernel, err);
	if (!rc)
		rc = boot_low(plan, ZP_BYTES, PAGE_SIZE, "the zero page", &zero_page_gpa, err);
	if (!rc)
		rc = boot_low(plan, append_bytes, 16, "the command line", &cmdline, err);
	if (!rc)
		rc = boot_tables(plan, h.xloadflags & XLF_KERNEL_64, result, err);
	if (rc < 0)
		return rc;
	fill_header(boot, zero_page, kernel, cmdline);
	rc = place_initrd(plan, &h, zero_page, err);
	if (!rc)
		rc = boot_file_load(&boot->kernel, h.setup_bytes, h.kernel_bytes, plan->ram, kernel, err);
	if (rc < 0)
		return rc;
	fill_e820(plan, zero_page);
	if (plan->board->text_screen)
		fill_screen(zero_page);
	store_le64(zero_page + ZP_RSDP, plan->board->rsdp_gpa);
	boot_store(plan, zero_page_gpa, zero_page, sizeof(zero_page), err);
	boot_store(plan, cmdline, boot->append, append_bytes, err);
	result->protocol = result->long_mode ? "Linux 64-bit" : "Linux 32-bit";
	result->entry = result->long_mode ? kernel + ENTRY64_OFFSET : kernel;
	result->rsi = zero_page_gpa;
	return 0;
}

/* --- handed to firmware --- */

static int read_part(const struct boot_file *file, uint64_t offset, uint64_t length, struct boot_part *part, struct error *err)
{
	part->bytes = malloc(length);
	part->size = length;
	if (!part->bytes)
		return error_set(err, ENOMEM, "'%s': no memory for its %llu bytes", file->name, (unsigned long long)length);
	return boot_file_read(file, offset, part->bytes, length, err);
}

/* vga=, which is the loader's to read: the real-mode part is told a number. */
static uint16_t video_mode(const char *append)
{
	static const struct {
		const char *name;
		uint16_t mode;
	} names[] = {{"normal", 0xffff}, {"ext", 0xfffe}, {"ask", 0xfffd}};
	const char *word = strstr(append, "vga=");
	if (!word)
		return 0xffff;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strncmp(word + 4, names[i].name, strlen(names[i].name)))
			return names[i].mode;
	return (uint16_t)strtoul(word + 4, NULL, 0);
}

/* As high as the kernel takes it and RAM reaches; a loader that knows firmware's memory map better moves it. */
static int hand_over_initrd(const struct boot_file *initrd, const struct linux_header *h, uint64_t low_bytes,
			    struct boot_handover *handover, struct error *err)
{
	uint64_t limit = h->xloadflags & XLF_ABOVE_4G ? 4 * GIB - 1 : h->initrd_end_max - 1;
	uint64_t kernel_end = HANDOVER_KERNEL + max_u64(h->kernel_bytes, h->init_bytes);
	if (limit >= low_bytes - HANDOVER_TABLES_BYTES)
		limit = low_bytes - HANDOVER_TABLES_BYTES - 1;
	if (initrd->size > limit || align_down(limit - initrd->size, PAGE_SIZE) < kernel_end)
		return error_set(err, EINVAL, "initrd '%s': its %llu KiB do not fit into RAM below %#llx beside the kernel",
				 initrd->name, (unsigned long long)initrd->size / 1024, (unsigned long long)limit + 1);
	handover->initrd.gpa = align_down(limit - initrd->size, PAGE_SIZE);
	return read_part(initrd, 0, initrd->size, &handover->initrd, err);
}

int boot_hand_over_bzimage(const struct boot *boot, uint64_t low_bytes, struct boot_handover *handover, struct error *err)
{
	const struct boot_file *initrd = boot->module_count && boot->modules[0].size ? &boot->modules[0] : NULL;
	struct linux_header h;
	int rc = parse_header(boot, &h, err);
	if (!rc)
		rc = read_part(&boot->kernel, 0, h.setup_bytes, &handover->setup, err);
	if (!rc)
		rc = read_part(&boot->kernel, h.setup_bytes, h.kernel_bytes, &handover->kernel, err);
	if (!rc && initrd)
		rc = hand_over_initrd(initrd, &h, low_bytes, handover, err);
	if (rc < 0)
		return rc;
	handover->setup.gpa = HANDOVER_SETUP;
	handover->kernel.gpa = HANDOVER_KERNEL;
	handover->cmdline_gpa = HANDOVER_CMDLINE;
	uint8_t *setup = handover->setup.bytes;
	setup[HDR_TYPE_OF_LOADER] = LOADER_QEMU;
	setup[HDR_LOADFLAGS] |= CAN_USE_HEAP;
	store_le16(setup + HDR_VID_MODE, video_mode(boot->append));
	store_le16(setup + HDR_HEAP_END, HANDOVER_CMDLINE - HANDOVER_SETUP - 0x200);
	store_le32(setup + HDR_CMD_LINE_PTR, HANDOVER_CMDLINE);
	store_le32(setup + HDR_RAMDISK_IMAGE, (uint32_t)handover->initrd.gpa);
	store_le32(setup + HDR_RAMDISK_SIZE, (uint32_t)handover->initrd.size);
	return 0;
}
