/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Self-modifying code: the next instruction, the running loop, code across pages, through an alias, by string
 * instructions, code whose page is mapped elsewhere, mode changes over the same bytes. SDM 3A 8.1.3, 11.6: on
 * processors since the P6 a store to code is seen by the next instruction that is fetched by the same linear address;
 * through another linear address a serializing instruction or a jump is needed, which is done here.
 */
#include "guest.h"

#define VA 0x4000000000ull

static u8 *page;

static u32 call(u64 gva)
{
	u32 got;

	asm volatile("call *%1" : "=a"(got) : "r"(gva) : "rcx", "rdx", "rsi", "rdi", "memory");
	return got;
}

static void put(u64 gva, const u8 *bytes, int n) { memcpy((void *)gva, bytes, n); }

static const u8 one[] = {0xb8, 1, 0, 0, 0, 0xc3};

static void serialize(void) { cpuid(0, 0); }

void guest_main(void)
{
	u32 i, total = 0, got;

	page = page_alloc();
	page_alloc();
	map(VA, (word)page | PG_P | PG_W, 1);
	map(VA + 0x1000, ((word)page + 0x1000) | PG_P | PG_W, 1);
	map(VA + 0x10000, (word)page | PG_P | PG_W, 1); /* the same memory once more */

	put(VA, one, sizeof one);
	check_eq("code runs", call(VA), 1);
	store8(VA + 1, 2);
	check_eq("changed between two calls", call(VA), 2);
	for (i = 0; i < 1000; i++) {
		store8(VA + 1, i);
		total += call(VA);
	}
	check_eq("changed a thousand times", total, 124716);

	/* The instruction directly behind the store. */
	extern u8 patch_next[];
	asm volatile("movb $7, patch_next + 1(%%rip)\n patch_next: mov $1, %%eax" : "=a"(got)::"memory");
	check_eq("the next instruction", got, 7);
	/* In a loop that runs hot before it changes itself. */
	extern u8 patch_loop[];
	asm volatile("xor %%eax, %%eax\n mov $2000, %%ecx\n"
		     "1: cmp $1000, %%ecx\n jne 2f\n movb $3, patch_loop + 2(%%rip)\n"
		     "2:\n patch_loop: add $1, %%eax\n dec %%ecx\n jnz 1b"
		     : "=a"(got)::"rcx", "memory", "cc");
	check_eq("a hot loop changes itself", got, 1000 + 3 * 1000);
	/* A REP MOVSB over the code that follows it. */
	extern u8 patch_rep[];
	static const u8 other[] = {0xb8, 9, 0, 0, 0};
	{
		const void *from = other;
		void *to = patch_rep;
		word n = 5;

		asm volatile("rep movsb\n patch_rep: mov $1, %%eax"
			     : "=a"(got), "+S"(from), "+D"(to), "+c"(n)::"memory");
	}
	check_eq("REP MOVSB over what follows", got, 9);
	/* An instruction across two pages, the second half changed. */
	put(VA + 0xffd, one, sizeof one);
	check_eq("across a page boundary", call(VA + 0xffd), 1);
	store8(VA + 0x1000, 0x12);
	check_eq("its second half changed", call(VA + 0xffd), 0x120001);
	store8(VA + 0xffe, 5);
	check_eq("its first half changed", call(VA + 0xffd), 0x120005);
	/* Through an alias. */
	put(VA, one, sizeof one);
	check_eq("before the alias", call(VA), 1);
	store8(VA + 0x10001, 4);
	serialize();
	check_eq("changed through another mapping", call(VA), 4);
	check_eq("runs by the other mapping", call(VA + 0x10000), 4);
	/* The mapping changes, not the memory. */
	put(VA + 0x1100, one, sizeof one);
	store8(VA + 0x1101, 0x66);
	put(VA + 0x100, one, sizeof one);
	check_eq("first page", call(VA + 0x100), 1);
	map(VA, ((word)page + 0x1000) | PG_P | PG_W, 1);
	check_eq("another page at the same address", call(VA + 0x100), 0x66);
	map(VA, (word)page | PG_P | PG_W, 1);
	check_eq("and the first again", call(VA + 0x100), 1);
	/* By a locked instruction, a push, an atomic exchange and a page-table walk's A and D bits (no code there). */
	asm volatile("lock addb $1, %0" : "+m"(*(u8 *)(VA + 0x101)));
	check_eq("by LOCK ADD", call(VA + 0x100), 2);
	asm volatile("xchg %b0, %1" : "+q"(i), "+m"(*(u8 *)(VA + 0x101)));
	store8(VA + 0x101, 0x21);
	check_eq("after XCHG", call(VA + 0x100), 0x21);
	asm volatile("mov %%rsp, %%rdx; lea 8(%0), %%rsp; push %1; mov %%rdx, %%rsp" ::"r"(VA + 0x100),
		     "r"(0xc300000033b8ull)
		     : "rdx", "memory");
	check_eq("by PUSH", call(VA + 0x100), 0x33);
	/* The same bytes in 64-bit and in compatibility mode: 40h is a prefix, then INC EAX. */
	static u8 *low;
	low = page_alloc();
	static const u8 mixed[] = {0xb8, 0x10, 0, 0, 0, 0x40, 0x90, 0xc3};
	static const u8 far32[] = {0xb8, 0x10, 0, 0, 0, 0x40, 0x90, 0xcb};
	memcpy(low, mixed, sizeof mixed);
	check_eq("bytes as 64-bit code", call((word)low), 0x10);
	memcpy(low, far32, sizeof far32);
	{
		struct {
			u32 offset;
			u16 selector;
		} __attribute__((packed)) to = {(u32)(word)low, SEL_CODE32};

		asm volatile("lcall *%1" : "=a"(got) : "m"(to) : "memory");
	}
	check_eq("bytes as 32-bit code", got, 0x11);
	memcpy(low, mixed, sizeof mixed);
	check_eq("and as 64-bit code again", call((word)low), 0x10);
	/* DMA-like: the debug port's reads are no store; INS is. */
	outb(0x70, 0x40);
	outb(0x71, 0x77);
	outb(0x70, 0x40);
	put(VA + 0x200, one, sizeof one);
	check_eq("before INSB", call(VA + 0x200), 1);
	{
		void *to = (void *)(VA + 0x201);

		asm volatile("insb" : "+D"(to) : "d"(0x71) : "memory");
	}
	check_eq("by INSB", call(VA + 0x200), 0x77);
}
