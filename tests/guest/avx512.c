/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AVX-512 as the system sees it: XCR0 and the XSAVE components, #UD and #NM, and what masks keep from memory at the end of
 * a page: faults of elements that are left out, writes to them, gathers and scatters that fault in the middle. SDM 1 13,
 * 15; 2A 2.7, 2.8. Each topic runs often enough to be translated. Left out: arithmetic (tests/oracle).
 */
#include "guest.h"

#define VA   0x4000000000ull /* the last page that is mapped; nothing behind it */
#define EDGE (VA + 0x1000)

enum { CR0_MP = 2, CR0_EM = 4, CR0_TS = 8, CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10, CR4_OSXSAVE = 1 << 18 };
enum { TURNS = 60, P = 1, W = 2 /* page fault error code */ };

static u8 area[8192] __attribute__((aligned(64)));
static u8 page[4096] __attribute__((aligned(4096)));
static u32 numbers[16] __attribute__((aligned(64)));
static u32 indices[16] __attribute__((aligned(64)));
static u32 got[16] __attribute__((aligned(64)));
static int turn;

/* A check of each turn; said once. */
static void see(const char *name, int ok)
{
	if (!ok || turn == TURNS - 1)
		check(name, ok);
}

static void see_fault(const char *name, u32 error, u64 cr2)
{
	see(name, fault.vector == VEC_PF && fault.error == error && fault.cr2 == cr2);
}

static u64 read_mask(void)
{
	u64 value;

	asm volatile("kmovq %%k1, %0" : "=r"(value));
	return value;
}

static void set_mask(u64 value) { asm volatile("kmovq %0, %%k1" ::"r"(value)); }

static u64 xgetbv(void)
{
	u32 a, d;

	asm volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return a | (u64)d << 32;
}

static void enable(void)
{
	u32 i, end = 0;

	write_cr0((read_cr0() & ~(word)(CR0_EM | CR0_TS)) | CR0_MP);
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE);
	asm volatile("xsetbv" ::"c"(0), "a"(7), "d"(0));
	check_eq("components in CPUID", cpuid(13, 0).a & 0xe0, 0xe0);
	TRY("vmovdqu64 %%zmm0, %%zmm1", ::);
	check_fault("EVEX without XCR0", VEC_UD, 0);
	TRY("kmovq %%k1, %%k2", ::);
	check_fault("opmask without XCR0", VEC_UD, 0);
	TRY("xsetbv", ::"c"(0), "a"(0x67), "d"(0));
	check_fault("XCR0 with a part of AVX-512", VEC_GP, 0);
	TRY("xsetbv", ::"c"(0), "a"(0xe3), "d"(0));
	check_fault("XCR0 with AVX-512, without AVX", VEC_GP, 0);
	asm volatile("xsetbv" ::"c"(0), "a"(0xe7), "d"(0));
	check_eq("XCR0", xgetbv(), 0xe7);
	check_eq("size of the opmasks", cpuid(13, 5).a, 64);
	check_eq("size of the upper halves", cpuid(13, 6).a, 512);
	check_eq("size of the upper registers", cpuid(13, 7).a, 1024);
	for (i = 2; i < 8; i++)
		if (cpuid(13, i).a + cpuid(13, i).b > end && cpuid(13, i).a)
			end = cpuid(13, i).a + cpuid(13, i).b;
	check_eq("area for XCR0 0xe7", cpuid(13, 0).b, end);
	write_cr0(read_cr0() | CR0_TS);
	TRY("vmovdqu64 %%zmm0, %%zmm1", ::);
	check_fault("EVEX with TS", VEC_NM, 0);
	TRY("kmovq %%k1, %%k2", ::);
	check_fault("opmask with TS", VEC_NM, 0);
	asm volatile("clts");
}

static void fill(void)
{
	u32 i;

	for (i = 0; i < 16; i++)
		numbers[i] = 0x11110000 + i;
	asm volatile("vmovdqu64 %0, %%zmm3; vmovdqu64 %0, %%zmm19" ::"m"(numbers));
	set_mask(0x1234567890abcdefull);
}

static int filled(void)
{
	asm volatile("vmovdqu64 %%zmm3, %0" : "=m"(got));
	if (memcmp(got, numbers, 64))
		return 0;
	asm volatile("vmovdqu64 %%zmm19, %0" : "=m"(got));
	return !memcmp(got, numbers, 64) && read_mask() == 0x1234567890abcdefull;
}

static void forget(void)
{
	asm volatile("vzeroall; vpxord %%zmm19, %%zmm19, %%zmm19; kxorq %%k1, %%k1, %%k1" ::);
}

static void save(void)
{
	u32 k = cpuid(13, 5).b, high = cpuid(13, 6).b, upper = cpuid(13, 7).b;

	fill();
	memset(area, 0, sizeof area);
	asm volatile("xsave64 %0" : "=m"(area) : "a"(0xe7), "d"(0) : "memory");
	see("XSAVE: XSTATE_BV", (load64((word)area + 512) & 0xe6) == 0xe6);
	see("XSAVE: K1", load64((word)area + k + 8) == 0x1234567890abcdefull);
	see("XSAVE: upper half of ZMM3", !memcmp(area + high + 3 * 32, numbers + 8, 32));
	see("XSAVE: ZMM19", !memcmp(area + upper + 3 * 64, numbers, 64));
	forget();
	see("registers are cleared", !filled());
	asm volatile("xrstor64 %0" ::"m"(area), "a"(0xe7), "d"(0));
	see("XRSTOR", filled());
	store64((word)area + 512, 0x27); /* the upper halves and registers in their initial state */
	asm volatile("xrstor64 %0; vmovdqu64 %%zmm3, %1" ::"m"(area), "m"(got), "a"(0xe7), "d"(0) : "memory");
	see("XRSTOR keeps the lower half", !memcmp(got, numbers, 32) && !got[8] && !got[15]);
	asm volatile("vmovdqu64 %%zmm19, %0" : "=m"(got));
	see("XRSTOR initializes ZMM19", !got[0] && !got[15]);
	see("XRSTOR of K1", read_mask() == 0x1234567890abcdefull);
	if (cpuid(13, 1).a & 2) {
		fill();
		memset(area, 0, sizeof area);
		asm volatile("xsavec64 %0" : "=m"(area) : "a"(0xa0), "d"(0) : "memory");
		see("XSAVEC: XCOMP_BV", load64((word)area + 520) == (1ull << 63 | 0xa0));
		see("XSAVEC: K1", load64((word)area + 576 + 8) == 0x1234567890abcdefull);
		see("XSAVEC: ZMM19 behind the opmasks", !memcmp(area + 576 + 64 + 3 * 64, numbers, 64));
		forget();
		asm volatile("vmovdqu64 %1, %%zmm3; xrstor64 %0" ::"m"(area), "m"(numbers), "a"(0xa0), "d"(0));
		see("XRSTOR of the compacted form", filled());
	}
	if (cpuid(13, 1).a & 1) {
		forget();
		memset(area, 0, sizeof area);
		store64((word)area + 512, 0xe0);
		asm volatile("xsaveopt64 %0" : "=m"(area) : "a"(0xe0), "d"(0) : "memory");
		see("XSAVEOPT of initial states", !(load64((word)area + 512) & 0xe0));
	}
}

/* Elements behind the page's end are left out, then one of them is not. */
static void loads(void)
{
	u64 at = EDGE - 20; /* five numbers */
	u32 i;

	for (i = 0; i < 5; i++)
		store32(at + 4 * i, 0x500 + i);
	set_mask(0x1f);
	TRY("vmovdqu32 (%0), %%zmm2%{%%k1%}%{z%}", ::"r"(at) : "memory");
	see("load, the rest left out", fault.vector == VEC_NONE);
	asm volatile("vmovdqu64 %%zmm2, %0" : "=m"(got));
	see("what it loaded", got[0] == 0x500 && got[4] == 0x504 && !got[5] && !got[15]);
	set_mask(0x3f);
	asm volatile("vmovdqu64 %0, %%zmm2" ::"m"(numbers));
	TRY("vmovdqu32 (%0), %%zmm2%{%%k1%}%{z%}", ::"r"(at) : "memory");
	see_fault("load of one too many", 0, EDGE);
	asm volatile("vmovdqu64 %%zmm2, %0" : "=m"(got));
	see("a load that faults changes nothing", !memcmp(got, numbers, 64));
	set_mask(0);
	TRY("vpaddd (%0), %%zmm2, %%zmm2%{%%k1%}", ::"r"(EDGE + 64) : "memory");
	see("an addition of nothing", fault.vector == VEC_NONE);
	TRY("vpaddd (%0)%{1to16%}, %%zmm2, %%zmm2%{%%k1%}", ::"r"(EDGE) : "memory");
	see("a broadcast to nothing", fault.vector == VEC_NONE);
	set_mask(0x8000);
	TRY("vpaddd (%0)%{1to16%}, %%zmm2, %%zmm2%{%%k1%}", ::"r"(EDGE) : "memory");
	see_fault("a broadcast to one", 0, EDGE);
	set_mask(0x1f);
	TRY("vpcmpeqd (%0), %%zmm2, %%k2%{%%k1%}", ::"r"(at) : "memory");
	see("comparison, the rest left out", fault.vector == VEC_NONE);
	TRY("vpcmpeqb (%0), %%zmm2, %%k2", ::"r"(EDGE - 63) : "memory");
	see_fault("comparison without a mask", 0, EDGE);
	set_mask(0xa0a8);
	TRY("vpexpandd (%0), %%zmm2%{%%k1%}%{z%}", ::"r"(at) : "memory");
	see("expansion of as many as there are", fault.vector == VEC_NONE);
	asm volatile("vmovdqu64 %%zmm2, %0" : "=m"(got));
	see("what it made", got[3] == 0x500 && got[5] == 0x501 && got[7] == 0x502 && got[13] == 0x503 && got[15] == 0x504);
	set_mask(0xa0a9);
	TRY("vpexpandd (%0), %%zmm2%{%%k1%}%{z%}", ::"r"(at) : "memory");
	see_fault("expansion of one too many", 0, EDGE);
}

static void stores(void)
{
	u64 at = EDGE - 20;

	memset(page, 0xee, sizeof page);
	asm volatile("vmovdqu64 %0, %%zmm2" ::"m"(numbers));
	set_mask(0x15);
	TRY("vmovdqu32 %%zmm2, (%0)%{%%k1%}", ::"r"(at) : "memory");
	see("store, the rest left out", fault.vector == VEC_NONE);
	see("what it stored", load32(at) == numbers[0] && load32(at + 8) == numbers[2] && load32(at + 16) == numbers[4]);
	see("what it left", load32(at + 4) == 0xeeeeeeee && load32(at + 12) == 0xeeeeeeee && load32(at - 4) == 0xeeeeeeee);
	memset(page, 0xee, sizeof page);
	set_mask(0x3f);
	TRY("vmovdqu32 %%zmm2, (%0)%{%%k1%}", ::"r"(at) : "memory");
	see_fault("store of one too many", W, EDGE);
	see("a store that faults stores nothing", load32(at) == 0xeeeeeeee && load32(at + 16) == 0xeeeeeeee);
	set_mask(0xfffe0);
	TRY("vmovdqu8 %%zmm2, (%0)%{%%k1%}", ::"r"(VA + 128) : "memory");
	see("store of bytes within the page", load8(VA + 132) == 0xee && load8(VA + 133) == (u8)(numbers[1] >> 8) &&
						      load8(VA + 148) == 0xee);
	set_mask(7);
	TRY("vpmovqb %%zmm2, (%0)%{%%k1%}", ::"r"(EDGE - 3) : "memory");
	see("store of narrowed numbers", fault.vector == VEC_NONE && load8(EDGE - 3) == (u8)numbers[0] &&
						 load8(EDGE - 1) == (u8)numbers[4]);
	set_mask(0x8002);
	memset(page, 0xee, sizeof page);
	TRY("vpcompressd %%zmm2, (%0)%{%%k1%}", ::"r"(EDGE - 8) : "memory");
	see("compression of as many as there is room for", fault.vector == VEC_NONE && load32(EDGE - 8) == numbers[1] &&
								   load32(EDGE - 4) == numbers[15] && load32(EDGE - 12) == 0xeeeeeeee);
	set_mask(0x8006);
	TRY("vpcompressd %%zmm2, (%0)%{%%k1%}", ::"r"(EDGE - 8) : "memory");
	see_fault("compression of one too many", W, EDGE);
	map(VA, (word)page | PG_P, 1);
	set_mask(0);
	TRY("vmovdqu32 %%zmm2, (%0)%{%%k1%}", ::"r"(VA) : "memory");
	see("store of nothing to a read-only page", fault.vector == VEC_NONE);
	set_mask(2);
	TRY("vmovdqu32 %%zmm2, (%0)%{%%k1%}", ::"r"(VA) : "memory");
	see_fault("store to a read-only page", P | W, VA + 4);
	map(VA, (word)page | PG_P | PG_W, 1);
}

static void gathers(void)
{
	u32 i;

	for (i = 0; i < 16; i++)
		indices[i] = 15 - i;
	memset(page, 0, sizeof page);
	for (i = 0; i < 16; i++)
		store32(EDGE - 64 + 4 * i, 0x700 + i);
	asm volatile("vmovdqu64 %0, %%zmm5; vmovdqu64 %1, %%zmm2" ::"m"(indices), "m"(numbers));
	set_mask(0xffffffffffff00ffull);
	TRY("vpgatherdd (%0,%%zmm5,4), %%zmm2%{%%k1%}", ::"r"(EDGE - 64) : "memory");
	asm volatile("vmovdqu64 %%zmm2, %0" : "=m"(got));
	see("gather", fault.vector == VEC_NONE && got[0] == 0x70f && got[7] == 0x708 && got[8] == numbers[8] && got[15] == numbers[15]);
	see("a gather clears its mask", read_mask() == 0);

	for (i = 0; i < 16; i++)
		indices[i] = i; /* the fifth lies behind the page */
	asm volatile("vmovdqu64 %0, %%zmm5; vmovdqu64 %1, %%zmm2" ::"m"(indices), "m"(numbers));
	set_mask(0xffff);
	TRY("vpgatherdd (%0,%%zmm5,4), %%zmm2%{%%k1%}", ::"r"(EDGE - 16) : "memory");
	see_fault("gather across the page's end", 0, EDGE);
	asm volatile("vmovdqu64 %%zmm2, %0" : "=m"(got));
	/* Which ones have been loaded is the processor's choice; those have lost their bit. */
	for (i = 0; i < 16; i++)
		if (read_mask() >> i & 1 ? got[i] != numbers[i] : i > 3 || got[i] != 0x70c + i)
			break;
	see("a gather that faults", i == 16);
	map(EDGE, (word)page | PG_P | PG_W, 1); /* the same page once more */
	store32(EDGE, 0x900);
	TRY("vpgatherdd (%0,%%zmm5,4), %%zmm2%{%%k1%}", ::"r"(EDGE - 16) : "memory");
	asm volatile("vmovdqu64 %%zmm2, %0" : "=m"(got));
	see("goes on when there is a page", fault.vector == VEC_NONE && got[0] == 0x70c && got[3] == 0x70f && got[4] == 0x900 && !got[5]);
	map(EDGE, 0, 1);
	set_mask(0xf);
	TRY("vpgatherdd (%0,%%zmm5,4), %%zmm2%{%%k1%}", ::"r"(EDGE - 16) : "memory");
	see("gather, the rest left out", fault.vector == VEC_NONE);
}

static void scatters(void)
{
	u32 i;

	for (i = 0; i < 16; i++)
		indices[i] = i / 2;
	memset(page, 0xee, sizeof page);
	asm volatile("vmovdqu64 %0, %%zmm5; vmovdqu64 %1, %%zmm2" ::"m"(indices), "m"(numbers));
	set_mask(0xfff7);
	TRY("vpscatterdd %%zmm2, (%0,%%zmm5,4)%{%%k1%}", ::"r"(VA) : "memory");
	see("scatter: the last one stays", load32(VA) == numbers[1] && load32(VA + 4) == numbers[2] && load32(VA + 28) == numbers[15] &&
						   load32(VA + 32) == 0xeeeeeeee);
	see("a scatter clears its mask", read_mask() == 0);
	for (i = 0; i < 16; i++)
		indices[i] = i;
	asm volatile("vmovdqu64 %0, %%zmm5" ::"m"(indices));
	set_mask(0xffff);
	TRY("vpscatterdd %%zmm2, (%0,%%zmm5,4)%{%%k1%}", ::"r"(EDGE - 16) : "memory");
	see_fault("scatter across the page's end", W, EDGE);
	/* In order: all before it are stored. */
	see("a scatter that faults", load32(EDGE - 16) == numbers[0] && load32(EDGE - 4) == numbers[3]);
	see("mask of a scatter that faults", read_mask() == 0xfff0);
	set_mask(0xf);
	TRY("vpscatterdd %%zmm2, (%0,%%zmm5,4)%{%%k1%}", ::"r"(EDGE - 16) : "memory");
	see("scatter, the rest left out", fault.vector == VEC_NONE);
}

static void undefined(void)
{
	/* vpgatherdd (%rax,%zmm5,4), %zmm5{%k1} and vpgatherdd (%rax,%zmm5,4), %zmm2 without a mask; the same of vpscatterdd */
	TRY(".byte 0x62, 0xf2, 0x7d, 0x49, 0x90, 0x2c, 0xa8", ::"a"(VA));
	check_fault("gather to its indices", VEC_UD, 0);
	TRY(".byte 0x62, 0xf2, 0x7d, 0x48, 0x90, 0x14, 0xa8", ::"a"(VA));
	check_fault("gather without a mask", VEC_UD, 0);
	TRY(".byte 0x62, 0xf2, 0x7d, 0x48, 0xa0, 0x14, 0xa8", ::"a"(VA));
	check_fault("scatter without a mask", VEC_UD, 0);
}

/*
 * User code that runs long enough for an engine to give it its memory without look-ups, and leaves translated code now and then.
 * Then it walks from where an engine may do so to where it may not, with a mask that leaves everything out until it is there:
 * over what might be there to stop it.
 */
#define WALK_FROM 0x3fef0000
#define WALK_TO   0x44000000
#define TEXT(x)   #x
#define NUMBER(x) TEXT(x)
#define WALK_CODE(load)                                                                                                \
	"mov $" NUMBER(WALK_FROM) ", %esi\n vpxor %xmm3, %xmm3, %xmm3\n rdtsc\n mov %eax, %r9d\n"                       \
	"1: mov $20000, %ecx\n 2: mov (%rdi), %eax\n dec %ecx\n jnz 2b\n vmaskmovps (%rsi), %xmm3, %xmm0\n"            \
	"rdtsc\n sub %r9d, %eax\n cmp $0x18000000, %eax\n jb 1b\n"                                                  \
	"mov $0x80000000 - (" NUMBER(WALK_TO) " - " NUMBER(WALK_FROM) ") / 0x4000, %eax\n vmovd %eax, %xmm1\n"         \
	"mov $1, %eax\n vmovd %eax, %xmm2\n mov $0x3000, %ecx\n"                                                     \
	"3: " load "\n add $0x4000, %rsi\n vpaddd %xmm2, %xmm1, %xmm1\n dec %ecx\n jnz 3b\n int $0x80\n"

extern char user_walk[], user_walk_evex[];
asm("user_walk: " WALK_CODE("vmaskmovps (%rsi), %xmm1, %xmm0"));
asm("user_walk_evex: " WALK_CODE("vpmovd2m %xmm1, %k1\n vmovdqu32 (%rsi), %xmm0{%k1}{z}"));

static void walks(void)
{
	const u64 gib = *pte_at(1u << 30, 3);

	*pte_at(0, 4) |= PG_U;
	*pte_at(0, 3) |= PG_U;
	*pte_at(0, 2) |= PG_U;
	map(1u << 30, 0, 3); /* WALK_TO as well */
	enter_user((word)user_walk, (word)numbers);
	check_pf("VMASKMOVPS that walks without an access", 4, WALK_TO);
	enter_user((word)user_walk_evex, (word)numbers);
	check_pf("VMOVDQU32 that walks without an access", 4, WALK_TO);
	map(1u << 30, gib, 3);
}

void guest_main(void)
{
	const u32 needed = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */

	if ((cpuid(7, 0).b & needed) != needed) {
		write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
		TRY("vmovdqu64 %%zmm0, %%zmm1", ::);
		check_fault("EVEX where it is not offered", VEC_UD, 0);
		skip("avx512", "not offered");
		return;
	}
	enable();
	map(VA, (word)page | PG_P | PG_W, 1);
	map(EDGE, 0, 1);
	write_cr0(read_cr0() | 0x10000); /* WP */
	for (turn = 0; turn < TURNS; turn++) {
		save();
		loads();
		stores();
		gathers();
		scatters();
	}
	undefined();
	walks();
}
