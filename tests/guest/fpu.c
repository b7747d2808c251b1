/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87, SSE and AVX as the system sees them: #NM by TS, EM and MP, #MF with and without CR0.NE, #XM, control register
 * bits that make #UD, layouts of FSAVE, FXSAVE and XSAVE, XCR0. SDM 1 8, 10, 13; 3A 2.5. Left out: arithmetic
 * (tests/oracle).
 */
#include "guest.h"

enum {
	CR0_MP = 2,
	CR0_EM = 4,
	CR0_TS = 8,
	CR0_NE = 32,
	CR4_OSFXSR = 1 << 9,
	CR4_OSXMMEXCPT = 1 << 10,
	CR4_OSXSAVE = 1 << 18
};

static u8 area[4096] __attribute__((aligned(4096)));
static word cr0, cr4;
static volatile u32 ferr;

static void on_ferr(struct frame *f)
{
	ferr++;
	outb(0xf0, 0); /* clears the latch that lets FERR# through (IGNNE#) */
	asm volatile("fnclex");
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

static void not_available(void)
{
	write_cr4(cr4 | CR4_OSFXSR | CR4_OSXMMEXCPT);
	write_cr0((cr0 & ~(word)(CR0_EM | CR0_MP)) | CR0_NE | CR0_TS);
	TRY("fld1", ::);
	check_fault("x87 with TS", VEC_NM, 0);
	TRY("movups %%xmm0, %%xmm1", ::);
	check_fault("SSE with TS", VEC_NM, 0);
	TRY("fxsave %0", : "=m"(area)::);
	check_fault("FXSAVE with TS", VEC_NM, 0);
	TRY("fwait", ::);
	check_none("FWAIT with TS, without MP");
	write_cr0(read_cr0() | CR0_MP);
	TRY("fwait", ::);
	check_fault("FWAIT with TS and MP", VEC_NM, 0);
	TRY("movd %%eax, %%mm0", ::);
	check_fault("MMX with TS", VEC_NM, 0);
	TRY("prefetchnta %0\n mfence\n movnti %%rax, %1", ::"m"(area), "m"(area));
	check_none("PREFETCH, MFENCE, MOVNTI do not look at TS");
	asm volatile("clts");
	check_eq("CLTS", read_cr0() & CR0_TS, 0);
	TRY("fninit; fld1; fstp %%st(0)", ::);
	check_none("x87 without TS");
	write_cr0(read_cr0() | CR0_EM);
	TRY("fld1", ::);
	check_fault("x87 with EM", VEC_NM, 0);
	TRY("movd %%eax, %%mm0", ::);
	check_fault("MMX with EM", VEC_UD, 0);
	TRY("movups %%xmm0, %%xmm1", ::);
	check_fault("SSE with EM", VEC_UD, 0);
	write_cr0(read_cr0() & ~(word)CR0_EM);
	write_cr4(read_cr4() & ~(word)CR4_OSFXSR);
	TRY("movups %%xmm0, %%xmm1", ::);
	check_fault("SSE without OSFXSR", VEC_UD, 0);
	write_cr4(read_cr4() | CR4_OSFXSR);
}

static void x87_exceptions(void)
{
	u16 cw = 0x037b, sw; /* divide by zero unmasked */
	extern char waits[];

	asm volatile("fninit; fldcw %0" ::"m"(cw));
	TRY("fld1; fldz; fdivrp; nop", ::);
	check_none("#MF waits for the next waiting instruction");
	asm volatile("fnstsw %0" : "=m"(sw));
	check_eq("status word: ZE, ES, B", sw & 0x80ff, 0x8084);
	TRY("fnop", ::);
	check("FNOP takes the pending #MF", fault.vector == VEC_MF && fault.error == 0);
	TRY("fwait", ::);
	check_fault("FWAIT takes #MF", VEC_MF, 0);
	TRY("movd %%eax, %%mm0", ::);
	check_fault("MMX takes #MF", VEC_MF, 0);
	TRY("fnclex; fwait", ::);
	check_none("FNCLEX");
	asm volatile("fninit");
	if (peer_skips("FERR# raises IRQ 13 without NE"))
		return;
	/* Without NE the chip's FERR# raises IRQ 13. */
	write_cr0(read_cr0() & ~(word)CR0_NE);
	pic_init(0x20);
	handlers[0x2d] = on_ferr;
	pic_mask(0xdffb);
	asm volatile("fninit; fldcw %0" ::"m"(cw));
	ferr = 0;
	sti();
	TRY("fld1; fldz; fdivrp; fwait; nop; nop", ::: "memory");
	sti();
	wait_for(&ferr, 1, 5);
	cli();
	check("FERR# raises IRQ 13 without NE", ferr >= 1);
	asm volatile("fninit");
	pic_mask(0xffff);
	write_cr0(read_cr0() | CR0_NE);
}

static void sse_exceptions(void)
{
	u32 mxcsr = 0x1f80 & ~(1u << 9), got; /* divide by zero unmasked */
	static const float numbers[4] __attribute__((aligned(16))) = {1, 1, 1, 1};

	asm volatile("ldmxcsr %0" ::"m"(mxcsr));
	TRY("movaps %0, %%xmm0; xorps %%xmm1, %%xmm1; divps %%xmm1, %%xmm0", ::"m"(numbers));
	check("#XM", fault.vector == VEC_XM && fault.error == 0);
	asm volatile("stmxcsr %0" : "=m"(got));
	check_eq("MXCSR.ZE set", got & 0x3f, 4);
	write_cr4(read_cr4() & ~(word)CR4_OSXMMEXCPT);
	TRY("movaps %0, %%xmm0; xorps %%xmm1, %%xmm1; divps %%xmm1, %%xmm0", ::"m"(numbers));
	check("#UD instead without OSXMMEXCPT", fault.vector == VEC_UD);
	write_cr4(read_cr4() | CR4_OSXMMEXCPT);
	mxcsr = 0x1f80;
	asm volatile("ldmxcsr %0" ::"m"(mxcsr));
	got = 0xffff0000;
	TRY("ldmxcsr %0", ::"m"(got));
	check_fault("MXCSR reserved bits", VEC_GP, 0);
	TRY("movaps %0, %%xmm0", ::"m"(area[1]));
	check_fault("MOVAPS misaligned", VEC_GP, 0);
	TRY("movups %0, %%xmm0", ::"m"(area[1]));
	check_none("MOVUPS misaligned");
	TRY("fxsave %0", ::"m"(area[8]) : "memory");
	check_fault("FXSAVE misaligned", VEC_GP, 0);
}

static void layouts(void)
{
	static const u64 pattern[2] __attribute__((aligned(16))) = {0x1122334455667788ull, 0x99aabbccddeeff00ull};

	memset(area, 0xee, sizeof area);
	asm volatile("fninit; fld1; fldz; movups %1, %%xmm3; movups %1, %%xmm15; fxsave64 %0"
		     : "=m"(area)
		     : "m"(pattern)
		     : "memory");
	check_eq("FXSAVE: FCW", load16((word)area), 0x37f);
	check_eq("FXSAVE: FSW (TOP 6)", load16((word)area + 2), 0x3000);
	check_eq("FXSAVE: abridged tag word", area[4], 0xc0);
	check_eq("FXSAVE: MXCSR", load32((word)area + 24), 0x1f80);
	check("FXSAVE: MXCSR_MASK", (load32((word)area + 28) & 0xffff) == 0xffff);
	check_eq("FXSAVE: ST0 is 0", load64((word)area + 32), 0);
	check_eq("FXSAVE: ST1 is 1", load64((word)area + 48), 0x8000000000000000ull);
	check_eq("FXSAVE: ST1's exponent", load16((word)area + 56), 0x3fff);
	check_eq("FXSAVE: XMM3", load64((word)area + 160 + 48), pattern[0]);
	check_eq("FXSAVE: XMM15", load64((word)area + 160 + 248), pattern[1]);
	check_eq("FXSAVE leaves the last 48 bytes", load64((word)area + 464), 0xeeeeeeeeeeeeeeeeull);
	store64((word)area + 160, 0x4242);
	asm volatile("fxrstor64 %0; movq %%xmm0, %1" ::"m"(area), "m"(area[1024]) : "memory");
	check_eq("FXRSTOR", load64((word)area + 1024), 0x4242);
	asm volatile("fnsave %0" : "=m"(area[2048])::"memory");
	check_eq("FNSAVE: tag word", load16((word)area + 2048 + 8),
		 0x1fff); /* physical 6 is zero, 7 valid: 01 and 00 */
	asm volatile("fnstcw %0" : "=m"(area[0])::"memory");
	check_eq("FNSAVE initializes", load16((word)area), 0x37f);
	store32((word)area + 24, 0xffff0000);
	TRY("fxrstor64 %0", ::"m"(area));
	check_fault("FXRSTOR with MXCSR reserved bits", VEC_GP, 0);
}

static u64 xgetbv(u32 n)
{
	u32 a, d;

	asm volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(n));
	return a | (u64)d << 32;
}

static void xsetbv(u64 v) { asm volatile("xsetbv" ::"c"(0), "a"((u32)v), "d"((u32)(v >> 32))); }

static void xsave(void)
{
	static const u64 pattern[4] __attribute__((aligned(32))) = {1, 2, 3, 4};
	u64 all;
	u32 i, size;

	if (!(cpuid(1, 0).c & 1 << 26)) {
		skip("xsave", "not offered");
		return;
	}
	TRY("xsave %0", ::"m"(area), "a"(7), "d"(0) : "memory");
	check_fault("XSAVE without OSXSAVE", VEC_UD, 0);
	TRY("xgetbv", ::"c"(0) : "rax", "rdx");
	check_fault("XGETBV without OSXSAVE", VEC_UD, 0);
	write_cr4(read_cr4() | CR4_OSXSAVE);
	check("OSXSAVE in CPUID", cpuid(1, 0).c >> 27 & 1);
	check_eq("XCR0 at first", xgetbv(0), 1);
	check_eq("area for XCR0 1", cpuid(13, 0).b, 576);
	all = cpuid(13, 0).a | (u64)cpuid(13, 0).d << 32;
	check_eq("XCR0 can be 7", all & 7, 7);
	TRY("xsetbv", ::"c"(0), "a"(2), "d"(0));
	check_fault("XCR0 without x87", VEC_GP, 0);
	TRY("xsetbv", ::"c"(0), "a"(5), "d"(0));
	check_fault("XCR0 with AVX, without SSE", VEC_GP, 0);
	TRY("xsetbv", ::"c"(1), "a"(3), "d"(0));
	check_fault("XCR1", VEC_GP, 0);
	TRY("xsetbv", ::"c"(0), "a"(7), "d"(0x80000000));
	check_fault("XCR0 bit 63", VEC_GP, 0);
	TRY("vmovups %%ymm0, %%ymm1", ::);
	check_fault("AVX without XCR0.AVX", VEC_UD, 0);
	xsetbv(7);
	size = 0;
	for (i = 2; i < 3; i++)
		size += cpuid(13, i).a;
	check_eq("AVX component: 256 bytes", size, 256);
	check_eq("AVX component: offset 576", cpuid(13, 2).b, 576);
	check_eq("area for XCR0 7", cpuid(13, 0).b, 832);
	write_cr0(read_cr0() | CR0_TS);
	TRY("vmovups %%ymm0, %%ymm1", ::);
	check_fault("AVX with TS", VEC_NM, 0);
	asm volatile("clts");

	memset(area, 0, sizeof area);
	asm volatile("fninit; vmovups %1, %%ymm5; xsave64 %0" : "=m"(area) : "m"(pattern), "a"(7), "d"(0) : "memory");
	check_eq("XSAVE: XSTATE_BV has SSE and AVX", load64((word)area + 512) & 6, 6);
	check_eq("XSAVE: XMM5", load64((word)area + 160 + 80), 1);
	check_eq("XSAVE: upper half of YMM5", load64((word)area + 576 + 80), 3);
	store64((word)area + 512, 0); /* all in their initial state */
	asm volatile("xrstor64 %0; vmovups %%ymm5, %1" ::"m"(area), "m"(area[2048]), "a"(7), "d"(0) : "memory");
	check("XRSTOR of initial states", !load64((word)area + 2048) && !load64((word)area + 2064));
	store64((word)area + 512, 8);
	TRY("xrstor64 %0", ::"m"(area), "a"(7), "d"(0));
	check_fault("XRSTOR of a state that XCR0 lacks", VEC_GP, 0);
	store64((word)area + 512, 7);
	store64((word)area + 528, 1);
	TRY("xrstor64 %0", ::"m"(area), "a"(7), "d"(0));
	check_fault("XRSTOR with reserved header bytes", VEC_GP, 0);
	TRY("xsave64 %0", ::"m"(area[16]), "a"(7), "d"(0) : "memory");
	check_fault("XSAVE misaligned", VEC_GP, 0);
	if (cpuid(13, 1).a & 2) {
		memset(area, 0, sizeof area);
		asm volatile("vmovups %1, %%ymm5; xsavec64 %0" : "=m"(area) : "m"(pattern), "a"(4), "d"(0) : "memory");
		check_eq("XSAVEC: XCOMP_BV", load64((word)area + 520), 1ull << 63 | 4);
		check_eq("XSAVEC: compacted", load64((word)area + 576 + 80), 3);
		asm volatile("vzeroall; xrstor64 %0; vmovups %%ymm5, %1" ::"m"(area), "m"(area[2048]), "a"(4), "d"(0)
			     : "memory");
		check("XRSTOR of the compacted form", load64((word)area + 2064) == 3);
	} else {
		skip("xsavec", "not offered");
	}
	if (cpuid(13, 1).a & 1) {
		memset(area, 0, sizeof area);
		asm volatile("vzeroall; fninit; xsaveopt64 %0" : "=m"(area) : "a"(7), "d"(0) : "memory");
		check_eq("XSAVEOPT of initial AVX", load64((word)area + 512) & 4, 0);
	}
	/* SSE writes leave the upper half, VEX.128 writes clear it. */
	asm volatile("vmovups %1, %%ymm5; movups %1, %%xmm5; vmovups %%ymm5, %0"
		     : "=m"(area[2048])
		     : "m"(pattern)
		     : "memory");
	check_eq("an SSE write keeps the upper half", load64((word)area + 2064), 3);
	asm volatile("vmovups %1, %%xmm5; vmovups %%ymm5, %0" : "=m"(area[2048]) : "m"(pattern) : "memory");
	check_eq("a VEX.128 write clears it", load64((word)area + 2064), 0);
}

void guest_main(void)
{
	cr0 = read_cr0();
	cr4 = read_cr4();
	not_available();
	x87_exceptions();
	sse_exceptions();
	layouts();
	xsave();
}
