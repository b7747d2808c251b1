/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User programs where Linux has them, which run for long enough that an engine may give their addresses to the host's MMU: it
 * must still notice when they change code.
 */
#include "guest.h"

#define CODE   0x555500000000ull
#define JIT    0x555600000000ull
#define APIC   0x555700000000ull
#define GOOD   0x555800000000ull /* 16 pages */
#define STACK  0x7ff000000000ull
#define KERNEL 0xffff900000000000ull

enum { PAGE = 4096, CODE_PAGES = 16, SLOT = 128, SLOTS = CODE_PAGES * PAGE / SLOT };
enum { SPACES = 2 };

static u64 space_cr3[SPACES], *jit_entry[SPACES];
static u8 *code_pages;
static u32 slot;

/* --- address spaces --- */

static u64 *pages(u32 count)
{
	u64 *first = page_alloc();

	while (--count)
		page_alloc();
	return first;
}

static void map_new(u64 gva, u32 count, u64 rights)
{
	u32 i, k;

	for (i = 0; i < count; i++, gva += PAGE) {
		u32 *page = page_alloc();

		for (k = 0; k < PAGE / 4; k++)
			page[k] = ((u32)(gva >> 12) + (u32)(word)page) * 0x9e3779b1u + k * 0x01000193u;
		map(gva, (word)page | PG_P | PG_U | rights, 1);
	}
}

static void make_spaces(void)
{
	u64 *b = page_alloc();
	u32 i;

	code_pages = (u8 *)pages(CODE_PAGES);
	for (i = 0; i < SPACES; i++) {
		u32 k;

		for (k = 0; k < CODE_PAGES; k++)
			map(CODE + k * PAGE, (word)(code_pages + k * PAGE) | PG_P | PG_U, 1);
		map(APIC, LAPIC | PG_P | PG_U, 1);
		jit_entry[i] = pte_at(JIT, 1);
		map_new(GOOD, 16, PG_W);
		map_new(STACK - PAGE, 1, PG_W);
		if (i == 0) {
			memcpy(b, boot_pml4, PAGE);
			memset((u8 *)boot_pml4 + 8, 0, PAGE - 8);
			space_cr3[0] = (word)b;
		}
	}
	space_cr3[1] = (word)boot_pml4;
}

/* --- running --- */

static void run(u64 ip, u64 arg)
{
	struct enter e = {.ip = ip, .cs = SEL_USER_CODE, .sp = STACK - 64, .ss = SEL_USER_DATA, .flags = 2, .arg = arg};

	fault_begin();
	enter(&e);
}

/* Code between two symbols into a place of its own; returns where it is. */
static u64 place_code(const u8 *from, const u8 *to)
{
	slot = (slot + 1) % SLOTS;
	memcpy(code_pages + slot * SLOT, from, to - from);
	return CODE + slot * SLOT;
}

extern u8 busy[], busy_end[];
asm("busy: movabs $0x555700000020, %rsi\n 1: mov $20000, %ecx\n 2: mov (%rdi), %eax\n dec %ecx\n jnz 2b\n mov (%rsi), %eax\n"
    "int $0x80\nbusy_end:");

/* Long enough for what an engine does for programs that run long; a register of the local APIC makes it look. */
static void run_long(u32 ms)
{
	u64 from = rdtsc(), ip = place_code(busy, busy_end);

	while (rdtsc() - from < ms * 1000000ull)
		run(ip, GOOD);
}

/* --- code that changes --- */

extern u8 make[], make_end[], use[], use_end[];
asm("make: mov %edi, %eax\n shl $8, %rax\n mov $0xc3, %ecx\n shl $40, %rcx\n or %rcx, %rax\n"
    "or $0xb8, %rax\n movabs $0x555600000000, %rdx\n mov %rax, (%rdx)\n int $0x80\nmake_end:");
asm("use: movabs $0x555600000000, %rdx\n call *%rdx\n mov %eax, %esi\n mov %edi, 1(%rdx)\n call *%rdx\n int $0x80\nuse_end:");

/* A program makes code (mov eax, n; ret), executes and changes it. In between the kernel forgets a mapping of its own. */
static void changing_code(u32 space, int how)
{
	u64 ip_make = place_code(make, make_end), ip_use = place_code(use, use_end);
	u32 i, right = 0;

	for (i = 0; i < 20; i++) {
		*(volatile u64 *)jit_entry[space] = (word)page_alloc() | PG_P | PG_W | PG_U;
		invlpg(JIT);
		run(ip_make, 1000 + i);
		if (how)
			invlpg(KERNEL);
		run(ip_use, 2000 + i);
		right += fault.vector == VEC_EXIT && (u32)fault.si == 1000 + i && (u32)fault.ax == 2000 + i;
	}
	check_eq(how ? "code that changes, after INVLPG of a kernel's page" : "code that changes", right, 20);
}

void guest_main(void)
{
	write_cr4(read_cr4() | 0x600); /* OSFXSR, OSXMMEXCPT */
	write_cr0(read_cr0() | 0x10000);
	make_spaces();
	for (u32 i = 0; i < SPACES; i++) {
		write_cr3(space_cr3[i]);
		run_long(150);
		changing_code(i, 0);
		changing_code(i, 1);
	}
}
