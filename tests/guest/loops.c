/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loops over memory, where addresses move by constants, so that an engine may keep where they point from turn to turn: pages
 * that do not lie together, page ends inside a datum, faults in the middle of a loop with everything done before and nothing
 * after, mappings and rights that change between two loops, memory that is a device, and code that changes itself, also by stores
 * that reach into its page from the one before.
 */
#include "guest.h"

#ifdef __x86_64__
#define VA_FROM 0x4000000000ull
#define VA_TO   0x4000100000ull
#define A_CX "%%rcx"
#define A_SI "%%rsi"
#define A_DI "%%rdi"
#else
#define VA_FROM 0x40000000u
#define VA_TO   0x40100000u
#define A_CX "%%ecx"
#define A_SI "%%esi"
#define A_DI "%%edi"
#endif

enum { PAGE = 4096, PAGES = 4, BYTES = PAGES * PAGE, WRITE_FAULT = 2, PRESENT = 1 };

static u8 *from_pages[PAGES], *to_pages[PAGES];

#ifndef __x86_64__
static u32 *directory, *table;

/* Everything as it is by 4 MiB pages, and a table for what lies from VA_FROM on. */
static void paging_on(void)
{
	directory = page_alloc();
	table = page_alloc();
	for (u32 i = 0; i < 1024; i++)
		directory[i] = i << 22 | PG_P | PG_W | PG_PS;
	directory[VA_FROM >> 22] = (word)table | PG_P | PG_W;
	write_cr4(read_cr4() | 0x10);
	write_cr3((word)directory);
	write_cr0(read_cr0() | 0x80000000);
}

static void map(word gva, word entry, int level)
{
	table[gva >> 12 & 1023] = entry;
}
#endif

static u8 *from_at(u32 offset) { return from_pages[offset / PAGE] + offset % PAGE; }
static u8 *to_at(u32 offset) { return to_pages[offset / PAGE] + offset % PAGE; }

static void map_both(void)
{
	for (u32 i = 0; i < PAGES; i++) {
		map(VA_FROM + i * PAGE, (word)from_pages[i] | PG_P | PG_W, 1);
		map(VA_TO + i * PAGE, (word)to_pages[i] | PG_P | PG_W, 1);
		invlpg(VA_FROM + i * PAGE);
		invlpg(VA_TO + i * PAGE);
	}
}

static void fill(void)
{
	u32 x = 12345;

	for (u32 i = 0; i < BYTES; i++) {
		x = x * 1103515245 + 12345;
		*from_at(i) = x >> 16;
		*to_at(i) = 0xee;
	}
}

/* How many bytes are as the copy of [0, done) should have left them. */
static u32 copied(u32 done)
{
	u32 right = 0;

	for (u32 i = 0; i < BYTES; i++)
		right += *(volatile u8 *)to_at(i) == (i < done ? *from_at(i) : 0xee);
	return right;
}

static void copies(void)
{
	word si, di, cx;

	for (u32 round = 0; round < 3; round++) {
		fill();
		si = VA_FROM, di = VA_TO, cx = BYTES / 4;
		asm volatile("1: mov (" A_SI "), %%eax\n mov %%eax, (" A_DI ")\n add $4, " A_SI "\n add $4, " A_DI "\n dec " A_CX "\n jnz 1b"
		             : "+S"(si), "+D"(di), "+c"(cx)::"eax", "memory");
		check_eq("upwards", copied(BYTES), BYTES);
		check_eq("upwards, where it ends", di - VA_TO, BYTES);
		fill();
		si = VA_FROM + BYTES - 4, di = VA_TO + BYTES - 4, cx = BYTES / 4;
		asm volatile("1: mov (" A_SI "), %%eax\n mov %%eax, (" A_DI ")\n sub $4, " A_SI "\n sub $4, " A_DI "\n dec " A_CX "\n jnz 1b"
		             : "+S"(si), "+D"(di), "+c"(cx)::"eax", "memory");
		check_eq("downwards", copied(BYTES), BYTES);
		fill();
		si = VA_FROM, di = VA_TO, cx = BYTES / 4 - 1;
		asm volatile("1: mov (" A_SI ", " A_CX ", 4), %%eax\n mov %%eax, (" A_DI ", " A_CX ", 4)\n sub $1, " A_CX "\n jns 1b"
		             : "+S"(si), "+D"(di), "+c"(cx)::"eax", "memory");
		check_eq("by index", copied(BYTES), BYTES);
		fill();
		si = VA_FROM, di = VA_TO, cx = BYTES / 8;
		asm volatile("1: mov (" A_SI "), %%eax\n add $8, " A_SI "\n mov %%eax, (" A_DI ")\n mov -4(" A_SI "), %%eax\n"
		             "mov %%eax, 4(" A_DI ")\n lea 8(" A_DI "), " A_DI "\n dec " A_CX "\n jnz 1b"
		             : "+S"(si), "+D"(di), "+c"(cx)::"eax", "memory");
		check_eq("two at a time", copied(BYTES), BYTES);
		fill();
		si = VA_FROM, di = VA_TO, cx = BYTES;
		asm volatile("1: movzbl (" A_SI "), %%eax\n mov %%al, (" A_DI ")\n inc " A_SI "\n inc " A_DI "\n dec " A_CX "\n jz 2f\n"
		             "test $1, %%al\n jnz 1b\n jmp 1b\n 2:"
		             : "+S"(si), "+D"(di), "+c"(cx)::"eax", "memory");
		check_eq("two ways back", copied(BYTES), BYTES);
	}
}

static u32 read_u32(u32 offset)
{
	return *from_at(offset) | *from_at(offset + 1) << 8 | *from_at(offset + 2) << 16 | (u32)*from_at(offset + 3) << 24;
}

static void sums(void)
{
	static const u32 strides[] = { 1, 3, 7, 60, 4095, 4096, 4097 };
	u32 sum, want, i;
	word si, cx;

	fill();
	for (u32 s = 0; s < sizeof strides / sizeof strides[0]; s++) {
		u32 count = (BYTES - 8) / strides[s] + 1;

		for (i = want = 0; i < count; i++)
			want += read_u32(i * strides[s]);
		si = VA_FROM, cx = count, sum = 0;
#define SUM(n) case n: asm volatile("1: add (" A_SI "), %1\n add $" #n ", " A_SI "\n dec %2\n jnz 1b" : "+S"(si), "+r"(sum), "+c"(cx)); break
		switch (strides[s]) {
		SUM(1); SUM(3); SUM(7); SUM(60); SUM(4095); SUM(4096); SUM(4097);
		}
		check_eq("a sum with a stride", sum, want);
	}
	si = VA_FROM + PAGE - 2, cx = 1000, sum = 0;
	asm volatile("1: add (" A_SI "), %1\n addl $3, (" A_SI ")\n dec %2\n jnz 1b" : "+S"(si), "+r"(sum), "+c"(cx)::"memory");
	want = read_u32(PAGE - 2);
	check_eq("a counter across two pages", sum, 1000u * (want - 3000) + 3 * 999 * 1000 / 2);
}

/* The third page goes away, or may not be written: the loop has done two pages, and its registers say so. */
static void faults(void)
{
	static const struct {
		const char *name;
		u32 from, to;
		word error;
	} cases[] = {
		{ "a source that is not there", 0, PG_P | PG_W, 0 },
		{ "a target that is not there", PG_P | PG_W, 0, WRITE_FAULT },
		{ "a target that may not be written", PG_P | PG_W, PG_P, WRITE_FAULT | PRESENT },
	};

	write_cr0(read_cr0() | 0x10000);
	for (u32 i = 0; i < 3 * sizeof cases / sizeof cases[0]; i++) {
		u32 n = i % (sizeof cases / sizeof cases[0]);
		word at = (cases[n].error & WRITE_FAULT ? VA_TO : VA_FROM) + 2 * PAGE;

		fill();
		map(VA_FROM + 2 * PAGE, (word)from_pages[2] | cases[n].from, 1);
		map(VA_TO + 2 * PAGE, (word)to_pages[2] | cases[n].to, 1);
		invlpg(VA_FROM + 2 * PAGE);
		invlpg(VA_TO + 2 * PAGE);
		TRY("1: mov (" A_SI "), %%eax\n mov %%eax, (" A_DI ")\n add $4, " A_SI "\n add $4, " A_DI "\n dec " A_CX "\n jnz 1b",
		    ::"S"(VA_FROM), "D"(VA_TO), "c"(BYTES / 4) : "eax", "memory");
		check_eq(cases[n].name, fault.vector, VEC_PF);
		check_eq(cases[n].name, fault.error, cases[n].error);
		check_eq(cases[n].name, fault.cr2, at);
		check_eq(cases[n].name, fault.si, VA_FROM + 2 * PAGE);
		check_eq(cases[n].name, fault.di, VA_TO + 2 * PAGE);
		check_eq(cases[n].name, fault.cx, BYTES / 8);
		check_eq(cases[n].name, copied(2 * PAGE), BYTES);
		map_both();
	}
	write_cr0(read_cr0() & ~(word)0x10000);
}

/* Words of the target that are the sum with the carry, up to `done`, and 0xeeeeeeee behind. */
static u32 added(u32 done, u32 *carry)
{
	u32 right = 0;

	*carry = 0;
	for (u32 i = 0; i < BYTES / 4; i++) {
		u32 want = 0xeeeeeeee, got = 0;

		for (u32 k = 0; k < 4; k++)
			got |= (u32)*(volatile u8 *)to_at(4 * i + k) << 8 * k;
		if (i < done) {
			u64 sum = (u64)0xeeeeeeee + read_u32(4 * i) + *carry;

			want = (u32)sum;
			*carry = sum >> 32;
		}
		right += got == want;
	}
	return right;
}

/* The carry is live from turn to turn: the target becomes the sum. */
#define CHAIN_BY_ADDRESS \
	"clc\n 1: mov (" A_SI "), %%eax\n adc %%eax, (" A_DI ")\n lea 4(" A_SI "), " A_SI "\n lea 4(" A_DI "), " A_DI "\n dec " A_CX "\n jnz 1b\n"
#define CHAIN_BY_INDEX "clc\n 1: mov (" A_SI ", " A_CX ", 4), %%eax\n adc %%eax, (" A_DI ", " A_CX ", 4)\n inc " A_CX "\n jnz 1b\n"

static void chains(void)
{
	word si, di, cx;
	u32 carry;
	u8 out;

	for (u32 round = 0; round < 3; round++) {
		fill();
		si = VA_FROM, di = VA_TO, cx = BYTES / 4;
		asm volatile(CHAIN_BY_ADDRESS "setc %3" : "+S"(si), "+D"(di), "+c"(cx), "=q"(out)::"eax", "memory");
		check_eq("a chain by address", added(BYTES / 4, &carry), BYTES / 4);
		check_eq("a chain by address, its carry", out, carry);
		fill();
		si = VA_FROM + BYTES, di = VA_TO + BYTES, cx = -(word)(BYTES / 4);
		asm volatile(CHAIN_BY_INDEX "setc %1" : "+c"(cx), "=q"(out) : "S"(si), "D"(di) : "eax", "memory");
		check_eq("a chain by index", added(BYTES / 4, &carry), BYTES / 4);
		check_eq("a chain by index, its carry", out, carry);
		fill();
		map(VA_TO + 2 * PAGE, 0, 1);
		invlpg(VA_TO + 2 * PAGE);
		TRY(CHAIN_BY_INDEX, ::"S"(si), "D"(di), "c"(cx = -(word)(BYTES / 4)) : "eax", "memory");
		check_eq("a chain to a page that is not there", fault.vector, VEC_PF);
		check_eq("a chain to a page that is not there", fault.cr2, VA_TO + 2 * PAGE);
		check_eq("a chain to a page that is not there", fault.cx, -(word)(BYTES / 8));
		check_eq("a chain to a page that is not there", fault.si, si);
		check_eq("a chain to a page that is not there", fault.di, di);
		check_eq("a chain to a page that is not there", added(BYTES / 8, &carry), BYTES / 4);
		map_both();
	}
}

static u32 sum_first_page(void)
{
	word si = VA_FROM, cx = PAGE / 4;
	u32 sum = 0;

	asm volatile("1: add (" A_SI "), %1\n add $4, " A_SI "\n dec %2\n jnz 1b" : "+S"(si), "+r"(sum), "+c"(cx));
	return sum;
}

static void remapped(void)
{
	u32 sums[2], i, k;

	fill();
	for (k = 0; k < 2; k++)
		for (i = sums[k] = 0; i < PAGE; i += 4)
			sums[k] += read_u32(k * PAGE + i);
	for (i = 0; i < 20; i++) {
		map(VA_FROM, (word)from_pages[i & 1] | PG_P | PG_W, 1);
		invlpg(VA_FROM);
		check_eq("after INVLPG", sum_first_page(), sums[i & 1]);
	}
	for (i = 0; i < 20; i++) {
		map(VA_FROM, (word)from_pages[i & 1] | PG_P | PG_W, 1);
		write_cr3(read_cr3());
		check_eq("after a CR3 write", sum_first_page(), sums[i & 1]);
	}
	map_both();
}

/* Data of two pages, often enough that an engine remembers where both are; then one of them is another page. */
static void across_pages(void)
{
	enum { AT = PAGE - 2, TURNS = 150 };
	volatile u32 *counter = (volatile u32 *)(VA_FROM + AT);

	fill();
	for (u32 i = 0; i < 12; i++) {
		u32 second = 1 + i % 2, before = *counter, low, high;

		for (u32 turn = 0; turn < TURNS; turn++)
			*counter += 0x10001;
		low = *from_at(AT) | *from_at(AT + 1) << 8;
		high = from_pages[second][0] | from_pages[second][1] << 8;
		check_eq("a counter in two pages", low | high << 16, before + TURNS * 0x10001);
		map(VA_FROM + PAGE, (word)from_pages[3 - second] | PG_P | PG_W, 1);
		if (i % 3)
			invlpg(VA_FROM + PAGE);
		else
			write_cr3(read_cr3());
	}
	map_both();
}

/* mov $n, %eax; ret at the start of a page is written together with the end of the page before. */
static void code_across_pages(void)
{
	u32 sum = 0, n;

	memset(from_pages[1], 0, 8);
	from_pages[1][5] = 0xc3;
	for (n = 0; n < 400; n++) {
		*(volatile u32 *)(VA_FROM + PAGE - 2) = (n & 0xff) << 24 | 0xb80000;
		if (n >= 200) {
			u32 eax;

			asm volatile("call *%1" : "=a"(eax) : "D"(VA_FROM + PAGE) : "memory");
			sum += eax - (n & 0xff);
		}
	}
	check_eq("code that is written across pages", sum, 0);
}

static void device(void)
{
	word si = 0xfee00030, cx = 100; /* the local APIC's version */
	u32 bits = 0, first;

	lapic_on();
	first = lapic_read(0x30);
	asm volatile("1: mov (" A_SI "), %%eax\n xor %3, %%eax\n or %%eax, %1\n dec %2\n jnz 1b"
	             : "+S"(si), "+r"(bits), "+c"(cx) : "r"(first) : "eax");
	check_eq("a device register, a hundred times", bits, 0);
}

/* The immediate of the MOV changes at each turn. */
static void self_modifying(void)
{
	static const u8 code[] = { 0xb8, 0, 0, 0, 0 };
	word cx = 300;
	u32 sum = 0;

	memcpy(from_pages[0], code, sizeof code);
#ifdef __x86_64__
	static const u8 rest[] = { 0x01, 0xc2, 0xff, 0x47, 0x01, 0xff, 0xc9, 0x75, 0xf2, 0xc3 };
#else
	static const u8 rest[] = { 0x01, 0xc2, 0xff, 0x47, 0x01, 0x90, 0x49, 0x75, 0xf2, 0xc3 };
#endif
	/* 1: mov $n, %eax; add %eax, %edx; incl 1(%rdi); dec %ecx; jnz 1b; ret */
	memcpy(from_pages[0] + sizeof code, rest, sizeof rest);
	asm volatile("call *" A_DI : "+c"(cx), "+d"(sum) : "D"(VA_FROM) : "eax", "memory");
	check_eq("a loop that changes itself", sum, 300 * 299 / 2);
}

void guest_main(void)
{
	/* In turns, and downwards, so that neighbours are none. */
	for (u32 i = 0; i < PAGES; i++) {
		to_pages[PAGES - 1 - i] = page_alloc();
		from_pages[(i * 3 + 1) % PAGES] = page_alloc();
	}
#ifndef __x86_64__
	paging_on();
#endif
	map_both();
	copies();
	sums();
	faults();
	chains();
	remapped();
	across_pages();
	device();
	self_modifying();
	code_across_pages();
}
