/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User programs where Linux has them, which run for long enough that an engine may give their addresses to the host's MMU. It
 * must still notice when they change code, and neither let them reach what is not theirs nor miss a fault: near the ends of
 * where they may lie each access has the result that page tables and the rules of canonical addresses (SDM 1 3.3.7.1) say.
 *
 * Small pieces of code are executed at a good address first and then at one near an end: operands of each size, addresses that
 * wrap at 2^64, two accesses that are not far from each other, and loops that walk across an end by strides of all sizes. Two
 * programs do so, for what is behind an end of one may be the other's.
 */
#include "guest.h"

#define CODE   0x555500000000ull
#define JIT    0x555600000000ull
#define APIC   0x555700000000ull
#define PARAM  0x555710000000ull
#define GOOD   0x555800000000ull /* 16 pages */
#define STACK  0x7ff000000000ull
#define KERNEL 0xffff900000000000ull

enum { PAGE = 4096, SLOT = 128, AREA_SLOTS = 1024, CODE_PAGES = 2 * AREA_SLOTS * SLOT / PAGE };
enum { SPACES = 2, EDGE_PAGES = 56 };
enum { WRITE = 2, USER = 4, PRESENT = 1 };

/* The ends; at the last one, of low addresses, an engine may have another way. */
static const u64 edges[] = {0x500000000000, 0x600000000000, 0x700000000000, 0x800000000000, 0x3ff00000};
enum { EDGES = sizeof edges / sizeof edges[0], NO_MORE = 3, LOW_EDGE = EDGES - 1 };

static u64 space_cr3[SPACES], *jit_entry[SPACES], no_flush;
static u8 *code_pages;
static u64 *param; /* RDI, RSI, RCX */
static u32 slot, low_slot, wrong, step = 1; /* step: an engine that is slow does not try everything */

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

/* Whether an area of an engine's lies behind the end, not before it. */
static int begins(u32 e) { return e == 0 || e == 2; }

/* Pages on both sides of an end, of which one inside may only be read and one outside is not there. */
static void map_edge(u32 e)
{
	map_new(edges[e] - EDGE_PAGES * PAGE, e == NO_MORE ? EDGE_PAGES : 2 * EDGE_PAGES, PG_W);
	*pte_at(edges[e] + (begins(e) ? 17 : -18) * PAGE, 1) &= ~(u64)PG_W;
	if (e != NO_MORE)
		map(edges[e] + (begins(e) ? -2 : 1) * PAGE, 0, 1);
}

static void make_spaces(void)
{
	u64 *first = page_alloc();
	u32 i, k;

	*pte_at(0, 4) |= PG_U;
	*pte_at(0, 3) |= PG_U;
	for (i = 0; i < 2; i++)
		*pte_at(edges[LOW_EDGE] - i, 2) = 0;
	map_edge(LOW_EDGE);
	code_pages = (u8 *)pages(CODE_PAGES);
	param = page_alloc();
	for (i = 0; i < SPACES; i++) {
		for (k = 0; k < LOW_EDGE; k++)
			map_edge(k);
		for (k = 0; k < CODE_PAGES; k++)
			map(CODE + k * PAGE, (word)(code_pages + k * PAGE) | PG_P | PG_U, 1);
		map(APIC, LAPIC | PG_P | PG_U, 1);
		map(PARAM, (word)param | PG_P | PG_U, 1);
		jit_entry[i] = pte_at(JIT, 1);
		map_new(GOOD, 16, PG_W);
		map_new(STACK - PAGE, 1, PG_W);
		if (i == 0) {
			memcpy(first, boot_pml4, PAGE);
			memset((u8 *)boot_pml4 + 8, 0, PAGE - 8);
			space_cr3[0] = (word)first;
		}
	}
	space_cr3[1] = (word)boot_pml4;
}

/* The entry that maps gva, with what all tables allow; 0: none. */
static u64 entry_of(u64 gva)
{
	u64 *table = (u64 *)(read_cr3() & 0x000ffffffffff000), may = PG_P | PG_W | PG_U;
	int level;

	for (level = 4;; level--) {
		u64 entry = table[gva >> (12 + 9 * (level - 1)) & 511];

		may &= entry;
		if (!(entry & PG_P))
			return 0;
		if (level == 1)
			return (entry & ~0xfffull) | may;
		if (entry & PG_PS)
			return may; /* not the user's, here */
		table = (u64 *)(entry & 0x000ffffffffff000);
	}
}

static u64 datum(u64 gva, u32 size)
{
	u64 value = 0;
	u32 i;

	for (i = 0; i < size && i < 8; i++)
		value |= (u64)load8((entry_of(gva + i) & ~0xfffull) + ((gva + i) & 0xfff)) << 8 * i;
	return value;
}

/* --- running --- */

static void run(u64 ip, u64 arg)
{
	struct enter e = {.ip = ip, .cs = SEL_USER_CODE, .sp = STACK - 64, .ss = SEL_USER_DATA, .flags = 2, .arg = arg};

	fault_begin();
	enter(&e);
}

/* Code between two symbols into a place where only such has been; MAGIC becomes `value`. Returns where it is. */
#define MAGIC "0x11223344"
static u64 place_for(const u8 *from, const u8 *to, int low, u32 value)
{
	u32 *last = low ? &low_slot : &slot, at, i;

	*last = (*last + 1) % AREA_SLOTS;
	at = (*last + (low ? AREA_SLOTS : 0)) * SLOT;
	memcpy(code_pages + at, from, to - from);
	for (i = at; i + 4 <= at + (to - from); i++)
		if (load32((word)code_pages + i) == 0x11223344)
			store32((word)code_pages + i, value);
	return CODE + at;
}

static u64 place_code(const u8 *from, const u8 *to) { return place_for(from, to, 0, 0); }

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

static void choose_step(void)
{
	const u64 ip = place_code(busy, busy_end);
	u64 best = ~0ull, from;
	u32 i;

	for (i = 0; i < 5; i++) {
		from = rdtsc();
		run(ip, GOOD);
		if (rdtsc() - from < best)
			best = rdtsc() - from;
	}
	if (best > 8000000) /* 400 ns a turn */
		step = 5;
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

/* --- near the ends --- */

#define BEGIN "mov 8(%rdi), %rsi\n mov 16(%rdi), %rcx\n xor %eax, %eax\n mov (%rdi), %rdi\n"
#define CODE_OF(name, text) \
	extern u8 name[], name##_end[]; \
	asm(#name ": " BEGIN text "\n int $0x80\n" #name "_end:")

static void run_with(u64 ip, u64 di, u64 si, u64 cx)
{
	param[0] = di;
	param[1] = si;
	param[2] = cx;
	run(ip, PARAM);
}

static int canonical(u64 gva) { return !(gva >> 47) || gva >> 47 == 0x1ffff; }

/* What an access comes to: 0 or the vector, and CR2 and the error code of #PF. */
static u32 outcome(u64 gva, u32 size, int write, int stack, u64 *cr2, u32 *error)
{
	u32 i;

	*cr2 = *error = 0;
	if (!canonical(gva) || !canonical(gva + size - 1))
		return stack ? VEC_SS : VEC_GP;
	for (i = 0; i < 2; i++) {
		u64 at = i ? gva + size - 1 : gva, entry = entry_of(at);

		if (entry & PG_P && entry & PG_U && (entry & PG_W || !write))
			continue;
		*cr2 = i ? at & ~0xfffull : gva;
		*error = USER | (write ? WRITE : 0) | (entry & PG_P ? PRESENT : 0);
		return VEC_PF;
	}
	return 0;
}

static void judge(const char *what, u64 gva, u32 vector, u64 cr2, u32 error, int fine)
{
	if (fine && fault.vector == (vector ? vector : VEC_EXIT) &&
	    (vector != VEC_PF || (fault.cr2 == cr2 && fault.error == error)))
		return;
	if (wrong++ < 5)
		say("%s at %x: vector %x cr2 %x error %x ax %x, not %x %x %x\n", what, gva, (u64)fault.vector, (u64)fault.cr2,
		    (u64)fault.error, (u64)fault.ax, (u64)vector, cr2, (u64)error);
}

CODE_OF(load1, "movzbl " MAGIC "(%rdi, %rsi, 8), %eax");
CODE_OF(load2, "movzwl " MAGIC "(%rdi, %rsi, 8), %eax");
CODE_OF(load4, "mov " MAGIC "(%rdi, %rsi, 8), %eax");
CODE_OF(load8_, "mov " MAGIC "(%rdi, %rsi, 8), %rax");
CODE_OF(load16_, "movups " MAGIC "(%rdi, %rsi, 8), %xmm0\n movq %xmm0, %rax");
CODE_OF(load10, "fldt " MAGIC "(%rdi, %rsi, 8)\n fstp %st(0)");
CODE_OF(load32_, "vmovdqu " MAGIC "(%rdi, %rsi, 8), %ymm0\n vmovq %xmm0, %rax");
CODE_OF(load64_, "vmovdqu64 " MAGIC "(%rdi, %rsi, 8), %zmm0\n vmovq %xmm0, %rax");
CODE_OF(pushed, "push " MAGIC "(%rdi, %rsi, 8)\n pop %rax");
CODE_OF(popped, "mov %rsp, %rbp\n lea " MAGIC "(%rdi, %rsi, 8), %rsp\n pop %rax\n mov %rbp, %rsp");
CODE_OF(store1, "movb $0x5a, " MAGIC "(%rdi, %rsi, 8)");
CODE_OF(store2, "movw $0x5a5a, " MAGIC "(%rdi, %rsi, 8)");
CODE_OF(store4, "movl $0x5a5a5a5a, " MAGIC "(%rdi, %rsi, 8)");
CODE_OF(store8_, "movq $0x5a5a5a5a, " MAGIC "(%rdi, %rsi, 8)");
CODE_OF(store16_, "mov $0x5a5a5a5a, %eax\n movq %rax, %xmm0\n movups %xmm0, " MAGIC "(%rdi, %rsi, 8)");
CODE_OF(locked, "lock addl $0x100, " MAGIC "(%rdi, %rsi, 8)");

enum { LOAD, POP, STORE, ADD, NO_DATUM };
static const struct {
	const char *name;
	const u8 *from, *to;
	u32 size, what;
} operands[] = {
	{"1 byte", load1, load1_end, 1, LOAD},
	{"2 bytes", load2, load2_end, 2, LOAD},
	{"4 bytes", load4, load4_end, 4, LOAD},
	{"8 bytes", load8_, load8__end, 8, LOAD},
	{"16 bytes", load16_, load16__end, 16, LOAD},
	{"10 bytes", load10, load10_end, 10, NO_DATUM},
	{"32 bytes", load32_, load32__end, 32, LOAD},
	{"64 bytes", load64_, load64__end, 64, LOAD},
	{"push", pushed, pushed_end, 8, LOAD},
	{"pop", popped, popped_end, 8, POP},
	{"store of 1 byte", store1, store1_end, 1, STORE},
	{"store of 2 bytes", store2, store2_end, 2, STORE},
	{"store of 4 bytes", store4, store4_end, 4, STORE},
	{"store of 8 bytes", store8_, store8__end, 8, STORE},
	{"store of 16 bytes", store16_, store16__end, 16, STORE},
	{"locked addition", locked, locked_end, 4, ADD},
};

static u32 vector_bytes = 16;

static void one_operand(u32 n, u64 ip, u64 gva, u64 si, u32 disp)
{
	const u32 size = operands[n].size, what = operands[n].what, shown = size < 8 ? size : 8;
	u64 before = 0, cr2;
	u32 error, vector = outcome(gva, size, what == STORE || what == ADD, what == POP, &cr2, &error);
	int fine = 1;

	if (!vector)
		before = datum(gva, size);
	run_with(ip, gva - si * 8 - (u64)(long long)(int)disp, si, 0);
	if (!vector && (what == LOAD || what == POP))
		fine = fault.ax == before;
	else if (!vector && what == STORE)
		fine = datum(gva, shown) == (0x5a5a5a5aull & (~0ull >> (64 - 8 * shown)));
	else if (!vector && what == ADD)
		fine = (u32)datum(gva, 4) == (u32)before + 0x100;
	judge(operands[n].name, gva, vector, cr2, error, fine);
}

static u64 good_for(u32 e, u32 i) { return (e == LOW_EDGE ? edges[e] - 30 * PAGE : GOOD + 5 * PAGE) + i % 60 * 64; }

enum { guard = 65536 };

static u64 inside(u32 e, int bytes) { return edges[e] + (u64)(long long)(begins(e) ? bytes : -bytes); }

static void all_operands(u32 e)
{
	static const u64 indices[] = {0, 1, 0x2000000000000000, 0xdeadbeef12345678, ~0ull};
	static const u32 disps[] = {0, 0x7fffffff, 0x80000000, 64};
	u32 n, i;

	for (n = 0; n < sizeof operands / sizeof operands[0]; n += step) {
		const int size = (int)operands[n].size;
		/* Bytes inside; seldom outside, which engines tell by a comparison. */
		const int offsets[] = {guard + PAGE + 1, guard + size, guard + size - 1, guard + 1, guard, guard - 1, PAGE + 1, size + 1, size,
				       size - 1, 1, 0, n & 1 ? -1 : size, n & 2 ? -PAGE : size};

		if (operands[n].size > vector_bytes)
			continue;
		for (i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
			const u64 si = indices[(n + i) % 5];
			const u32 disp = disps[(n + i / 2) % 4];
			const u64 ip = place_for(operands[n].from, operands[n].to, e == LOW_EDGE, disp);

			one_operand(n, ip, good_for(e, i), si, disp);
			one_operand(n, ip, inside(e, offsets[i]), si, disp);
		}
	}
}

CODE_OF(two, "mov (%rdi), %eax\n add " MAGIC "(%rdi), %eax");
CODE_OF(two_wide, "mov (%rdi), %eax\n movups " MAGIC "(%rdi), %xmm0\n movd %xmm0, %esi\n add %esi, %eax");
CODE_OF(two_masked, "vpxor %xmm1, %xmm1, %xmm1\n vmaskmovps (%rdi), %xmm1, %xmm0\n mov " MAGIC "(%rdi), %eax");

/* Two accesses, the second `distance` behind the first, which with how == 2 leaves everything out. */
static void one_pair(u32 how, u64 ip, u64 gva, int distance)
{
	const u64 other = gva + (u64)(long long)distance;
	u64 cr2, sum = 0;
	u32 error, vector = how == 2 ? 0 : outcome(gva, 4, 0, 0, &cr2, &error);

	if (how == 2 && !canonical(gva + 16))
		return;
	if (!vector)
		vector = outcome(other, how == 1 ? 16 : 4, 0, 0, &cr2, &error);
	if (!vector)
		sum = (u32)((how == 2 ? 0 : datum(gva, 4)) + datum(other, 4));
	run_with(ip, gva, 0, 0);
	judge("two accesses", gva, vector, cr2, error, vector || (u32)fault.ax == sum);
}

static void pairs(u32 e)
{
	static const u8 *const codes[][2] = {{two, two_end}, {two_wide, two_wide_end}, {two_masked, two_masked_end}};
	static const int distances[] = {8, 4093, 32752, 32767, 32768, 32769, 65536, 0x22000}, offsets[] = {guard + 4, guard, 32768, 20, 16, 4, 1};
	u32 how, d, i;

	for (how = 0; how < (vector_bytes > 16 ? 3 : 2); how++)
		for (d = 0; d < 16; d += step)
			for (i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
				const int distance = d & 1 ? -distances[d / 2] : distances[d / 2];
				const u64 ip = place_for(codes[how][0], codes[how][1], e == LOW_EDGE, (u32)distance);

				one_pair(how, ip, good_for(e, d) + (e == LOW_EDGE ? 18 * PAGE : 0), distance);
				one_pair(how, ip, inside(e, offsets[i]), distance);
			}
}

CODE_OF(relative, "mov " MAGIC "(%rip), %eax");
CODE_OF(address32, "mov " MAGIC "(%edi), %eax");

/* By code that lies near the end; and, at the low one, by addresses of which the upper half does not count. */
static void other_addresses(u32 e)
{
	static const int offsets[] = {guard + 4, guard, 33000, 4, 3, 1, 0};
	u64 target, cr2;
	u32 i, k, error, vector;

	for (i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
		u64 ip = place_for(address32, address32_end, 1, 64);

		target = inside(e, offsets[i]);
		vector = outcome(target, 4, 0, 0, &cr2, &error);
		if (e == LOW_EDGE) {
			run_with(ip, good_for(e, i) | 0x5000ull << 32, 0, 0);
			run_with(ip, (target - 64) | 0x5000ull << 32, 0, 0);
		} else {
			u64 at = inside(e, 50 * PAGE) + i * SLOT;
			u8 *code = (u8 *)(word)((entry_of(at) & ~0xfffull) + (at & 0xfff));

			memcpy(code, relative, relative_end - relative);
			for (k = 0; load32((word)code + k) != 0x11223344; k++)
				;
			store32((word)code + k, (u32)(target - (at + k + 4)));
			run_with(at, 0, 0, 0);
		}
		judge("other address", target, vector, cr2, error, vector || (u32)fault.ax == datum(target, 4));
	}
}

CODE_OF(walk, "1: add (%rdi), %eax\n add $" MAGIC ", %rdi\n dec %ecx\n jnz 1b");
CODE_OF(walk_writing, "1: add %ecx, %eax\n mov %ecx, (%rdi)\n add $" MAGIC ", %rdi\n dec %ecx\n jnz 1b");
CODE_OF(walk_index, "1: add (%rsi, %rdi), %eax\n add $" MAGIC ", %rdi\n dec %ecx\n jnz 1b");
CODE_OF(walk_seldom, "1: add $" MAGIC ", %rdi\n dec %ecx\n test $3, %cl\n jnz 1b\n add (%rdi), %eax\n test %ecx, %ecx\n jnz 1b");
CODE_OF(walk_stack, "mov %rsp, %rbp\n mov %rdi, %rsp\n 1: pop %rsi\n add %esi, %eax\n lea " MAGIC "(%rsp), %rsp\n dec %ecx\n jnz 1b\n mov %rbp, %rsp");

enum { WALK, WALK_WRITING, WALK_INDEX, WALK_SELDOM, WALK_STACK, WALKS };

static void one_walk(u32 how, u64 ip, u64 gva, int stride, u32 count)
{
	const u64 start = gva;
	u64 cr2 = 0;
	u32 error = 0, vector = 0, left = count, sum = 0;

	while (left && !vector) {
		if (how == WALK_SELDOM) {
			gva += (u64)(long long)stride;
			left--;
			if (left & 3)
				continue;
		}
		vector = outcome(gva, how == WALK_STACK ? 8 : 4, how == WALK_WRITING, how == WALK_STACK, &cr2, &error);
		if (how == WALK_WRITING)
			sum += left;
		else if (!vector)
			sum += (u32)datum(gva, 4);
		if (vector || how == WALK_SELDOM)
			continue;
		gva += (u64)(long long)stride;
		left--;
	}
	run_with(ip, start, 0, count);
	judge("walk", start, vector, cr2, error, (u32)fault.cx == left && (u32)fault.ax == sum && (how == WALK_STACK || fault.di == gva));
}

static void walks(u32 e)
{
	static const u8 *const codes[WALKS][2] = {{walk, walk_end}, {walk_writing, walk_writing_end}, {walk_index, walk_index_end},
						  {walk_seldom, walk_seldom_end}, {walk_stack, walk_stack_end}};
	static const int strides[] = {256, 1000, 4096, 4104, 32760, 32768, 32776, 65536, 0x22000, -256, -1000, -4096, -4104, -32760, -32768, -32776, -65536, -0x22000};
	static const int starts[] = {34 * PAGE, 18 * PAGE - 8, 52 * PAGE};
	u32 how, i, k;

	for (how = 0; how < WALKS; how++)
		for (i = 0; i < sizeof strides / sizeof strides[0]; i += step) {
			const u64 ip = place_for(codes[how][0], codes[how][1], e == LOW_EDGE, (u32)(how == WALK_STACK ? strides[i] - 8 : strides[i]));

			one_walk(how, ip, good_for(e, i), strides[i], 1);
			for (k = 0; k < 3; k++) /* two turns inside before the last one, at least */
				one_walk(how, ip, edges[e] + (u64)(long long)(strides[i] > 0 ? -starts[k] : starts[k]), strides[i], 100000);
		}
}

static void see(const char *name)
{
	check_eq(name, wrong, 0);
	wrong = 0;
}

static void enter_space(u32 space) { write_cr3(space_cr3[space] | no_flush); }

/* An engine that finds a program often outside of where it helps gives up: as another one for it, by bits of CR3 that tell it
 * from what it was. low: one that uses low addresses, too. */
static void begin_anew(u32 space, u32 low)
{
	space_cr3[space] ^= 8;
	enter_space(space);
	run_long(80);
	if (low)
		one_operand(2, place_for(operands[2].from, operands[2].to, 1, 0), good_for(LOW_EDGE, 0), 0, 0);
}

/* Uses what lies at all ends. */
static void touch(u32 space)
{
	u32 e, i;

	enter_space(space);
	run_long(80);
	for (e = 0; e < LOW_EDGE; e++)
		for (i = 1; i <= EDGE_PAGES; i += step) {
			run_with(place_for(load4, load4_end, 0, 0), inside(e, i * PAGE - (begins(e) ? PAGE : 0)), 0, 0);
			judge("touch", edges[e], 0, 0, 0, 1);
		}
}

static void ends(u32 space, u32 low)
{
	u32 e;

	for (e = 0; e < EDGES; e++) {
		touch(!space);
		begin_anew(space, low);
		all_operands(e);
		other_addresses(e);
		see(e == LOW_EDGE ? "operands at a low end" : "operands at an end");
		begin_anew(space, low);
		pairs(e);
		see(e == LOW_EDGE ? "pairs at a low end" : "pairs at an end");
		begin_anew(space, low);
		walks(e);
		see(e == LOW_EDGE ? "walks across a low end" : "walks across an end");
	}
}

/* Spaces that are kept while another one is active. */
static void use_pcids(void)
{
	u32 i;

	if (!(cpuid(1, 0).c >> 17 & 1))
		return;
	write_cr4(read_cr4() | 1 << 17);
	no_flush = 1ull << 63;
	for (i = 0; i < SPACES; i++)
		space_cr3[i] |= i + 1;
}

static void wide_vectors(void)
{
	if (!(cpuid(1, 0).c >> 28 & 1))
		return;
	write_cr4(read_cr4() | 1 << 18); /* OSXSAVE */
	vector_bytes = cpuid(7, 0).b >> 16 & 1 ? 64 : 32;
	asm volatile("xsetbv" ::"c"(0), "a"(vector_bytes == 64 ? 0xe7 : 7), "d"(0));
}

void guest_main(void)
{
	u32 i;

	write_cr4(read_cr4() | 0x600); /* OSFXSR, OSXMMEXCPT */
	write_cr0(read_cr0() | 0x10000);
	wide_vectors();
	make_spaces();
	use_pcids();
	enter_space(0);
	choose_step();
	for (i = 0; i < SPACES; i++) {
		enter_space(i);
		run_long(150);
		changing_code(i, 0);
		changing_code(i, 1);
		ends(i, i);
	}
}
