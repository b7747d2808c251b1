/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Boot loaders: real and hand-made kernels, and hostile ones, each of which must end in one clear line. */
#include "machine/boot/boot.h"

#include "base/util.h"
#include "core/ram.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* Texts that live until the tests are done. */
static struct {
	char *text[256];
	size_t count;
} kept;

static char *keep(char *text)
{
	assert_true(kept.count < ARRAY_SIZE(kept.text));
	return kept.text[kept.count++] = text;
}

static int free_kept(void **state)
{
	while (kept.count)
		free(kept.text[--kept.count]);
	return 0;
}

/* A file made of the bytes, by name. Files stay open until the process ends. */
static char *file_of(const void *bytes, size_t length)
{
	int fd = memfd_create("boot-test", 0);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, length), (ssize_t)length);
	return keep(xasprintf("/proc/self/fd/%d", fd));
}

static struct ram *ram_of(uint64_t low_mib, uint64_t high_mib)
{
	struct ram_config config = {.size = (low_mib + high_mib) * MIB};
	struct error err = {0};
	struct ram *ram = ram_new(&config, &err);
	if (!ram)
		fail_msg("%s", err.msg);
	assert_int_equal(ram_map(ram, 0, low_mib * MIB, 0, false, NULL), 0);
	if (high_mib)
		assert_int_equal(ram_map(ram, 4 * GIB, high_mib * MIB, low_mib * MIB, false, NULL), 0);
	return ram;
}

struct placed {
	struct ram *ram;
	struct boot *boot;
	struct boot_result result;
};

static void place(struct placed *p, const struct boot_source *source, struct ram *ram, const struct boot_board *board)
{
	struct error err = {0};
	p->ram = ram;
	p->boot = boot_open(source, &err);
	if (!p->boot)
		fail_msg("%s", err.msg);
	if (boot_place(p->boot, ram, board, &p->result, &err) < 0)
		fail_msg("%s", err.msg);
}

static void done(struct placed *p)
{
	boot_close(p->boot);
	ram_free(p->ram);
}

/* The source must be refused, at opening or placing, with a line that has both parts. */
static void refuse(const struct boot_source *source, uint64_t mib, const char *part1, const char *part2)
{
	struct error err = {0};
	struct ram *ram = ram_of(mib, 0);
	struct boot_result result;
	struct boot *boot = boot_open(source, &err);
	if (boot && boot_place(boot, ram, NULL, &result, &err) == 0)
		fail_msg("accepted; expected '%s'", part1);
	if (!strstr(err.msg, part1) || !strstr(err.msg, part2))
		fail_msg("'%s' lacks '%s' or '%s'", err.msg, part1, part2);
	assert_null(strchr(err.msg, '\n'));
	boot_close(boot);
	ram_free(ram);
}

static uint32_t ram_u32(const struct ram *ram, uint64_t gpa)
{
	uint32_t v;
	assert_int_equal(ram_read(ram, gpa, &v, sizeof(v)), 0);
	return v;
}

static uint64_t ram_u64(const struct ram *ram, uint64_t gpa)
{
	return ram_u32(ram, gpa) | (uint64_t)ram_u32(ram, gpa + 4) << 32;
}

/* --- bzImage --- */

enum { SETUP_BYTES = 5 * 512, KERNEL_BYTES = 8192 };

static uint8_t *make_bzimage(void)
{
	static uint8_t image[SETUP_BYTES + KERNEL_BYTES];
	memset(image, 0, sizeof(image));
	image[0x1f1] = 4;
	store_le32(image + 0x1f4, KERNEL_BYTES / 16);
	store_le16(image + 0x1fe, 0xaa55);
	image[0x200] = 0xeb;
	image[0x201] = 0x66;
	memcpy(image + 0x202, "HdrS", 4);
	store_le16(image + 0x206, 0x20f);
	image[0x211] = 1;
	store_le32(image + 0x214, 0x100000);
	store_le32(image + 0x22c, 0x7fffffff);
	store_le32(image + 0x230, 0x200000);
	image[0x234] = 1;
	store_le16(image + 0x236, 3);
	store_le32(image + 0x238, 2047);
	store_le64(image + 0x258, 0x1000000);
	store_le32(image + 0x260, 0x10000);
	memset(image + SETUP_BYTES, 0xf4, KERNEL_BYTES);
	return image;
}

static struct boot_source bzimage_source(const uint8_t *image, size_t length)
{
	return (struct boot_source){.kernel = file_of(image, length), .append = "console=ttyS0"};
}

static void test_bzimage_64bit(void **state)
{
	struct boot_source source = bzimage_source(make_bzimage(), SETUP_BYTES + KERNEL_BYTES);
	const struct boot_memory acpi = {0x3f00000, 0x100000, BOOT_MEMORY_ACPI};
	const struct boot_board board = {.rsdp_gpa = 0xf0000, .reserved = &acpi, .reserved_count = 1};
	char initrd[5000];
	struct placed p;
	memset(initrd, 'i', sizeof(initrd));
	source.initrd = file_of(initrd, sizeof(initrd));
	place(&p, &source, ram_of(64, 0), &board);
	assert_string_equal(p.result.protocol, "Linux 64-bit");
	assert_int_equal(p.result.entry, 0x1000200);
	uint64_t zp = p.result.rsi;
	assert_int_equal(ram_u32(p.ram, 0x1000000), 0xf4f4f4f4);
	assert_int_equal(ram_u32(p.ram, zp + 0x202), 0x53726448);
	assert_int_equal(ram_u64(p.ram, zp + 0x70), 0xf0000);
	assert_int_equal(ram_u32(p.ram, zp + 0x21c), sizeof(initrd));
	uint32_t at = ram_u32(p.ram, zp + 0x218);
	assert_int_equal(at, 0x3f00000 - 0x2000); /* as high as the ACPI tables allow */
	assert_int_equal(ram_u32(p.ram, at + 4096), 0x69696969);
	char line[14];
	ram_read(p.ram, ram_u32(p.ram, zp + 0x228), line, sizeof(line));
	assert_string_equal(line, "console=ttyS0");
	/* e820: 639 KiB, EBDA, ROM area, RAM up to the ACPI tables, those. */
	uint8_t count;
	ram_read(p.ram, zp + 0x1e8, &count, 1);
	assert_int_equal(count, 5);
	assert_int_equal(ram_u64(p.ram, zp + 0x2d0 + 8), 0x9fc00);
	assert_int_equal(ram_u64(p.ram, zp + 0x2d0 + 60), 0x100000);
	assert_int_equal(ram_u64(p.ram, zp + 0x2d0 + 68), 0x3e00000);
	assert_int_equal(ram_u32(p.ram, zp + 0x2d0 + 80 + 16), BOOT_MEMORY_ACPI);
	/* Page tables map the last byte of 4 GiB to itself. */
	uint64_t pdpt = ram_u64(p.ram, p.result.cr3) & ~0xfffull;
	uint64_t directory = ram_u64(p.ram, pdpt + 3 * 8) & ~0xfffull;
	assert_int_equal(ram_u64(p.ram, directory + 511 * 8), 0xffe00083);
	struct x86_state s = {0};
	boot_set_state(&p.result, &s);
	assert_int_equal(s.rip, 0x1000200);
	assert_int_equal(s.gpr[X86_RSI], zp);
	assert_int_equal(s.efer, 0x500);
	assert_int_equal(s.cr0 & 0x80000001, 0x80000001);
	assert_int_equal(s.seg[X86_CS].selector, 0x10);
	assert_true(s.seg[X86_CS].attr & X86_SEG_L);
	assert_int_equal(ram_u64(p.ram, s.gdtr.base + 0x10) >> 40 & 0x9b, 0x9b);
	/* A reset places it all again, over whatever the guest left. */
	ram_fill(p.ram, 0x1000000, 0, 0x2000);
	struct boot_result again;
	assert_int_equal(boot_place(p.boot, p.ram, &board, &again, NULL), 0);
	assert_int_equal(ram_u32(p.ram, 0x1000000), 0xf4f4f4f4);
	assert_int_equal(again.entry, p.result.entry);
	done(&p);
}

static void test_handed_to_firmware(void **state)
{
	struct boot_source source = bzimage_source(make_bzimage(), SETUP_BYTES + KERNEL_BYTES);
	struct error err = {0};
	char initrd[5000];
	memset(initrd, 'i', sizeof(initrd));
	source.initrd = file_of(initrd, sizeof(initrd));
	source.append = "vga=0x317 quiet";
	struct boot_handover *handover = boot_handover_new(&source, 64 * MIB, &err);
	assert_non_null(handover);
	assert_string_equal(handover->cmdline, "vga=0x317 quiet");
	assert_int_equal(handover->setup.size, SETUP_BYTES);
	assert_int_equal(handover->kernel.size, KERNEL_BYTES);
	assert_int_equal(handover->kernel.bytes[KERNEL_BYTES - 1], 0xf4);
	assert_int_equal(handover->initrd.gpa, 0x3fd6000); /* a page of whole 4 KiB below firmware's tables */
	assert_memory_equal(handover->initrd.bytes, initrd, sizeof(initrd));
	const uint8_t *setup = handover->setup.bytes;
	assert_int_equal(load_le16(setup + 0x1fa), 0x317);
	assert_int_equal(setup[0x211], 0x81);
	assert_int_equal(load_le32(setup + 0x218), handover->initrd.gpa);
	assert_int_equal(load_le32(setup + 0x21c), sizeof(initrd));
	assert_int_equal(load_le32(setup + 0x228), handover->cmdline_gpa);
	boot_handover_free(handover);
	/* The kernel needs 64 KiB from 1 MiB on, firmware's tables the last 160 KiB. */
	assert_null(boot_handover_new(&source, MIB + 200 * KIB, &err));
	assert_non_null(strstr(err.msg, "do not fit into RAM below 0x10a000"));
	source.initrd = NULL;
	source.kernel = file_of("hello", 5);
	assert_null(boot_handover_new(&source, 64 * MIB, &err));
}

static void test_bzimage_32bit_entry(void **state)
{
	uint8_t *image = make_bzimage();
	struct placed p;
	store_le16(image + 0x236, 0);
	struct boot_source source = bzimage_source(image, SETUP_BYTES + KERNEL_BYTES);
	place(&p, &source, ram_of(64, 0), NULL);
	assert_int_equal(p.result.entry, 0x1000000);
	assert_false(p.result.long_mode);
	done(&p);
}

static void test_relocatable_kernel_moves(void **state)
{
	struct boot_source source = bzimage_source(make_bzimage(), SETUP_BYTES + KERNEL_BYTES);
	struct placed p;
	place(&p, &source, ram_of(8, 0), NULL); /* no RAM at the preferred 16 MiB */
	assert_int_equal(p.result.entry, 0x200200);
	done(&p);
	uint8_t *image = make_bzimage();
	image[0x234] = 0;
	source = bzimage_source(image, SETUP_BYTES + KERNEL_BYTES);
	refuse(&source, 8, "the kernel", "-m");
}

static void test_large_initrd_goes_above_4g(void **state)
{
	struct boot_source source = bzimage_source(make_bzimage(), SETUP_BYTES + KERNEL_BYTES);
	int fd = memfd_create("big", 0);
	struct placed p;
	uint64_t size = 96 * MIB;
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, "tail", 4, (off_t)size - 4), 4);
	source.initrd = keep(xasprintf("/proc/self/fd/%d", fd));
	place(&p, &source, ram_of(32, 128), NULL);
	assert_int_equal(ram_u32(p.ram, p.result.rsi + 0x0c0), 1);
	uint64_t gpa = 4 * GIB + ram_u32(p.ram, p.result.rsi + 0x218);
	assert_int_equal(gpa, 4 * GIB + 128 * MIB - size);
	assert_int_equal(ram_u32(p.ram, gpa + size - 4), 0x6c696174);
	done(&p);
	refuse(&source, 64, source.initrd, "needs 98304 KiB");
}

static void test_hostile_bzimages(void **state)
{
	static const struct {
		unsigned offset, width;
		uint64_t value;
		size_t length; /* 0: all */
		const char *part1, *part2;
	} rows[] = {
		{0x1f1, 1, 64, 0, "64 sectors", "ends after 10 KiB"},
		{0x1f4, 4, 0xffffffff, 0, "KiB of kernel", "ends after 8 KiB"},
		{0x1f4, 4, 0, 0, "0 KiB of kernel", "8 KiB"},
		{0x206, 2, 0x204, 0, "2.04", "too old"},
		{0x211, 1, 0, 0, "zImage", "bzImage"},
		{0x230, 4, 0, 0, "alignment", "0"},
		{0x230, 4, 3, 0, "alignment", "0x3"},
		{0x230, 4, 0x80000000, 0, "alignment", "0x80000000"},
		{0x260, 4, 0xffffffff, 0, "the kernel", "-m"},
		{0x238, 4, 5, 0, "-append", "at most 5"},
		{0x1fe, 2, 0, 0, "neither", "bzImage"},
		{0x1f1, 1, 4, 0x240, "inside the setup header", "576"},
		{0x1f1, 1, 4, SETUP_BYTES, "4 sectors", "ends after 2 KiB"},
		{0x1f1, 1, 4, 1, "neither", "bzImage"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t *image = make_bzimage(), value[8];
		store_le64(value, rows[i].value);
		memcpy(image + rows[i].offset, value, rows[i].width);
		struct boot_source source =
			bzimage_source(image, rows[i].length ? rows[i].length : SETUP_BYTES + KERNEL_BYTES);
		refuse(&source, 64, rows[i].part1, rows[i].part2);
	}
	/* An absurd preferred address just moves a relocatable kernel. */
	uint8_t *image = make_bzimage();
	store_le64(image + 0x258, UINT64_MAX - 0xfff);
	struct boot_source source = bzimage_source(image, SETUP_BYTES + KERNEL_BYTES);
	struct placed p;
	place(&p, &source, ram_of(64, 0), NULL);
	assert_int_equal(p.result.entry, 0x200200);
	done(&p);
	struct boot_source missing = {.kernel = "/nonexistent/vmlinuz"};
	refuse(&missing, 16, "/nonexistent/vmlinuz", "No such file");
	struct boot_source directory = {.kernel = "/"};
	refuse(&directory, 16, "'/'", "regular file");
	struct boot_source empty = {.kernel = file_of("", 0)};
	refuse(&empty, 16, "kernel", "empty");
	struct boot_source no_initrd = bzimage_source(make_bzimage(), SETUP_BYTES + KERNEL_BYTES);
	no_initrd.initrd = "/nonexistent/initrd";
	refuse(&no_initrd, 16, "initrd", "No such file");
}

/* --- ELF, PVH --- */

static size_t make_elf64(uint8_t *image, uint64_t paddr, bool note)
{
	Elf64_Ehdr e = {.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = 1,
			.e_entry = paddr,
			.e_phoff = 64,
			.e_ehsize = 64,
			.e_phentsize = 56,
			.e_phnum = note ? 2 : 1};
	Elf64_Phdr load = {.p_type = PT_LOAD, .p_offset = 0x1000, .p_paddr = paddr, .p_filesz = 16, .p_memsz = 0x3000};
	Elf64_Phdr notes = {.p_type = PT_NOTE, .p_offset = 0x800, .p_filesz = 40};
	memset(image, 0, 0x1010);
	memcpy(e.e_ident, ELFMAG, 4);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	e.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(image, &e, sizeof(e));
	memcpy(image + 64, &load, sizeof(load));
	memcpy(image + 120, &notes, sizeof(notes));
	/* Another note stands before it. */
	const uint32_t other[] = {4, 4, 6, 0x006e6558, 0};
	const uint32_t entry[] = {4, 4, 18, 0x006e6558, (uint32_t)paddr};
	memcpy(image + 0x800, other, 20);
	memcpy(image + 0x814, entry, 20);
	memset(image + 0x1000, 0x90, 16);
	return 0x1010;
}

static void test_pvh(void **state)
{
	uint8_t image[0x1010];
	size_t length = make_elf64(image, 0x100000, true);
	struct boot_source source = {.kernel = file_of(image, length), .initrd = file_of("hello", 5), .append = "a=b"};
	struct placed p;
	struct ram *ram = ram_of(16, 0);
	ram_fill(ram, 0x100000, 0xff, 0x3000);
	place(&p, &source, ram, NULL);
	assert_string_equal(p.result.protocol, "PVH");
	assert_int_equal(p.result.entry, 0x100000);
	assert_int_equal(ram_u32(p.ram, 0x10000c), 0x90909090);
	assert_int_equal(ram_u32(p.ram, 0x100010), 0);
	assert_int_equal(ram_u32(p.ram, 0x102ffc), 0);
	assert_int_equal(ram_u32(p.ram, p.result.rbx), 0x336ec578);
	assert_int_equal(ram_u32(p.ram, p.result.rbx + 12), 1);
	uint64_t module = ram_u64(p.ram, p.result.rbx + 16);
	assert_int_equal(ram_u64(p.ram, module + 8), 5);
	assert_int_equal(ram_u32(p.ram, ram_u64(p.ram, module)), 0x6c6c6568);
	assert_int_equal(ram_u32(p.ram, ram_u64(p.ram, p.result.rbx + 24)), 0x00623d61);
	assert_true(ram_u32(p.ram, p.result.rbx + 48) >= 4);
	struct x86_state s = {0};
	boot_set_state(&p.result, &s);
	assert_int_equal(s.cr0, 0x11);
	assert_int_equal(s.gpr[X86_RBX], p.result.rbx);
	assert_true(s.seg[X86_CS].attr & X86_SEG_DB);
	assert_false(s.seg[X86_CS].attr & X86_SEG_L);
	done(&p);
}

static void refuse_elf(uint8_t *image, size_t length, const char *part1, const char *part2)
{
	struct boot_source source = {.kernel = file_of(image, length)};
	refuse(&source, 16, part1, part2);
}

static void test_hostile_elf(void **state)
{
	uint8_t image[0x1010];
	Elf64_Ehdr *e = (Elf64_Ehdr *)image;
	Elf64_Phdr *load = (Elf64_Phdr *)(image + 64);
	size_t length = make_elf64(image, 0x100000, false);
	refuse_elf(image, length, "neither a PVH note", "CONFIG_PVH");
	length = make_elf64(image, 0x100000, true);
	refuse_elf(image, 40, "inside the ELF header", "40");
	refuse_elf(image, 100, "program headers", "ends after 100");
	refuse_elf(image, 0x1008, "ELF segment 0", "ends after 4 KiB");
	e->e_phoff = UINT64_MAX - 8;
	refuse_elf(image, length, "program headers", "0xfff");
	make_elf64(image, 0x100000, true);
	e->e_phnum = 0xffff;
	refuse_elf(image, length, "65535", "program headers");
	make_elf64(image, 0x100000, true);
	e->e_machine = EM_AARCH64;
	refuse_elf(image, length, "machine 183", "x86");
	make_elf64(image, 0x100000, true);
	load->p_memsz = UINT64_MAX;
	refuse_elf(image, length, "ELF segment", "RAM");
	make_elf64(image, 0x100000, true);
	load->p_memsz = 8;
	refuse_elf(image, length, "more bytes in the file", "(8)");
	make_elf64(image, 0xfffffffffffff000, true);
	refuse_elf(image, length, "ELF segment", "RAM");
}

static void test_hostile_elf_addresses(void **state)
{
	uint8_t image[0x1010];
	Elf64_Phdr *load = (Elf64_Phdr *)(image + 64);
	size_t length = make_elf64(image, 0x100000, true);
	load->p_paddr = 0xa0000;
	refuse_elf(image, length, "ELF segment", "RAM");
	load->p_paddr = 0;
	refuse_elf(image, length, "overlaps", "BIOS data area");
	load->p_paddr = 0x200000;
	refuse_elf(image, length, "PVH entry point 0x100000", "outside");
	load->p_paddr = UINT64_MAX - 0xfff;
	refuse_elf(image, length, "ELF segment", "RAM");
	make_elf64(image, 0x100000, true);
	store_le32(image + 0x814, 0xfffffff0); /* a note with an absurd name length */
	refuse_elf(image, length, "neither a PVH note", "");
	load->p_offset = UINT64_MAX - 4;
	refuse_elf(image, length, "ELF segment 0", "ends after");
}

/* --- Multiboot --- */

static size_t make_multiboot(uint8_t *image)
{
	memset(image, 0, 4096);
	uint32_t *h = (uint32_t *)(image + 0x40);
	h[0] = 0x1badb002;
	h[1] = 0x10003;
	h[2] = -(h[0] + h[1]);
	h[3] = 0x100040; /* header_addr */
	h[4] = 0x100000; /* load_addr */
	h[5] = 0x100800; /* load_end */
	h[6] = 0x102000; /* bss_end */
	h[7] = 0x100060; /* entry */
	memset(image + 0x60, 0x90, 16);
	return 4096;
}

static void test_multiboot_with_modules(void **state)
{
	uint8_t image[4096];
	size_t length = make_multiboot(image);
	char *a = file_of("AAAA", 4), *b = file_of("BBBBB", 5);
	struct boot_source source = {
		.kernel = file_of(image, length), .append = "x", .initrd = keep(xasprintf("%s one,,two,%s", a, b))};
	struct placed p;
	place(&p, &source, ram_of(16, 0), NULL);
	assert_string_equal(p.result.protocol, "Multiboot");
	assert_int_equal(p.result.entry, 0x100060);
	assert_int_equal(p.result.rax, 0x2badb002);
	uint64_t info = p.result.rbx;
	assert_int_equal(ram_u32(p.ram, info) & 0x24d, 0x24d);
	assert_int_equal(ram_u32(p.ram, info + 4), 639);
	assert_int_equal(ram_u32(p.ram, info + 8), 15 * 1024);
	assert_int_equal(ram_u32(p.ram, info + 20), 2);
	uint32_t list = ram_u32(p.ram, info + 24);
	assert_int_equal(ram_u32(p.ram, ram_u32(p.ram, list)), 0x41414141);
	assert_int_equal(ram_u32(p.ram, list + 20) - ram_u32(p.ram, list + 16), 5);
	assert_true(ram_u32(p.ram, list) >= 0x102000 && ram_u32(p.ram, list) % 4096 == 0);
	char text[64] = {0};
	ram_read(p.ram, ram_u32(p.ram, list + 8), text, sizeof(text) - 1);
	assert_non_null(strstr(text, " one,two"));
	uint32_t map = ram_u32(p.ram, info + 48);
	assert_int_equal(ram_u32(p.ram, map), 20);
	assert_int_equal(ram_u32(p.ram, map + 12), 0x9fc00);
	done(&p);
}

static void test_hostile_multiboot(void **state)
{
	static const struct {
		unsigned field;
		uint32_t value;
		const char *part1, *part2;
	} rows[] = {
		{3, 0x200000, "cannot be loaded", "0x200000"}, {4, 0x100041, "cannot be loaded", "0x100041"},
		{5, 0x200000, "says", "bytes to load"},        {5, 0x10, "says", "bytes to load"},
		{6, 0x100001, "bss_end_addr", "before"},       {6, 0xffffffff, "the kernel", "RAM"},
		{7, 0x300000, "entry point", "outside"},       {1, 0x10013, "requires features 0x10", "not known"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t image[4096];
		size_t length = make_multiboot(image);
		uint32_t *h = (uint32_t *)(image + 0x40);
		h[rows[i].field] = rows[i].value;
		h[2] = -(h[0] + h[1]);
		struct boot_source source = {.kernel = file_of(image, length)};
		refuse(&source, 16, rows[i].part1, rows[i].part2);
	}
	uint8_t image[4096];
	make_multiboot(image);
	struct boot_source source = {.kernel = file_of(image, 0x54)};
	refuse(&source, 16, "cannot be loaded", "");
}

/* --- the real thing --- */

static void test_debian_kernel(void **state)
{
	const char *given = getenv("XUNI_TEST_KERNEL");
	if (!given || access(given, R_OK)) {
		print_message("skipped: no kernel at XUNI_TEST_KERNEL; guests/make-guest .cache/guest makes one\n");
		skip();
	}
	struct boot_source source = {.kernel = given, .append = "console=ttyS0"};
	struct placed p;
	place(&p, &source, ram_of(128, 0), NULL);
	assert_string_equal(p.result.protocol, "Linux 64-bit");
	assert_int_equal(p.result.entry, 0x1000200);
	done(&p);
	refuse(&source, 24, "the kernel", "-m");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage_64bit),
		cmocka_unit_test(test_handed_to_firmware),
		cmocka_unit_test(test_bzimage_32bit_entry),
		cmocka_unit_test(test_relocatable_kernel_moves),
		cmocka_unit_test(test_large_initrd_goes_above_4g),
		cmocka_unit_test(test_hostile_bzimages),
		cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_hostile_elf),
		cmocka_unit_test(test_hostile_elf_addresses),
		cmocka_unit_test(test_multiboot_with_modules),
		cmocka_unit_test(test_hostile_multiboot),
		cmocka_unit_test(test_debian_kernel),
	};
	return cmocka_run_group_tests(tests, NULL, free_kept);
}
