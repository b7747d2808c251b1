/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Debugging: single step over instructions of all kinds, INT3, INT1, breakpoints on execution, data and I/O, RF, DR6,
 * general detect. SDM 3B 17.2, 17.3. Left out: last branch recording, BTF.
 */
#include "guest.h"

enum { B0 = 1, B1 = 2, B2 = 4, B3 = 8, BD = 1 << 13, BS = 1 << 14 };
#define DR6_CLEAR 0xffff0ff0ul /* what reads as 1 when nothing is reported */

/* --- what #DB handlers record --- */
static u64 step_ip[64], step_dr6[64], step_flags[64];
static int steps;
static u32 set_rf; /* handler sets RF before it returns */

static void on_debug(struct frame *f)
{
	if (steps < 64) {
		step_ip[steps] = f->ip;
		step_dr6[steps] = read_dr6();
		step_flags[steps] = f->flags;
	}
	steps++;
	write_dr6(DR6_CLEAR);
	if (set_rf)
		f->flags |= FL_RF;
	if (steps > 200)
		f->flags &= ~(u64)FL_TF;
}

static void begin(void)
{
	steps = 0;
	set_rf = 0;
	write_dr6(DR6_CLEAR);
	handlers[VEC_DB] = on_debug;
}

/* Enables a breakpoint: type 0 execution, 1 write, 2 I/O, 3 read or write; length 1, 2, 4, 8. */
static void breakpoint(int n, u64 gva, int type, int length)
{
	u64 code = length == 1 ? 0 : length == 2 ? 1 : length == 8 ? 2 : 3;
	u64 dr7 = read_dr7() & ~(0xfull << (16 + 4 * n));

	switch (n) {
	case 0:
		asm volatile("mov %0, %%dr0" ::"r"(gva));
		break;
	case 1:
		asm volatile("mov %0, %%dr1" ::"r"(gva));
		break;
	case 2:
		asm volatile("mov %0, %%dr2" ::"r"(gva));
		break;
	case 3:
		asm volatile("mov %0, %%dr3" ::"r"(gva));
		break;
	}
	write_dr7(dr7 | (u64)(type | code << 2) << (16 + 4 * n) | 2ull << (2 * n));
}

static void breakpoints_off(void) { write_dr7(0x400); }

#define STEP   "pushfq; orl $0x100, (%%rsp); popfq\n"
#define UNSTEP "pushfq; andl $~0x100, (%%rsp); popfq\n"

static void single_step(void)
{
	extern char s1[], s2[], s3[], s4[], s5[], s6[], s7[], s8[], s9[];

	begin();
	asm volatile(STEP "s1: nop\n s2: xor %%eax, %%eax\n s3: " UNSTEP "s4:" ::: "rax", "cc", "memory");
	/* POPF that sets TF is not trapped itself, the POPF that clears it is. */
	check_eq("single step count", steps, 5);
	check_eq("first step after NOP", step_ip[0], (word)s2);
	check_eq("second step after XOR", step_ip[1], (word)s3);
	check_eq("step over the POPF that clears TF", step_ip[4], (word)s4);
	check_eq("DR6 of a step", step_dr6[0], DR6_CLEAR | BS);
	check_eq("saved TF", step_flags[0] & FL_TF, FL_TF);
	check_eq("TF is cleared in the handler, RF is not saved", step_flags[0] & FL_RF, 0);

	begin();
	{
		static u8 from[16], to[16];
		void *s = from, *d = to;
		word n = 3;

		asm volatile(STEP "s5: rep movsb\n s6: nop\n" UNSTEP : "+S"(s), "+D"(d), "+c"(n)::"cc", "memory");
	}
	/* A repeated instruction traps after each iteration, at itself until the last (17.3.1.4). */
	check_eq("step over REP MOVSB, first iteration", step_ip[0], (word)s5);
	check_eq("step over REP MOVSB, second iteration", step_ip[1], (word)s5);
	check_eq("step over REP MOVSB, last iteration", step_ip[2], (word)s6);
	begin();
	asm volatile(STEP "mov %0, %%ss\n s7: nop\n s8: nop\n" UNSTEP ::"r"(SEL_DATA) : "cc", "memory");
	/* MOV SS inhibits the trap until after the next instruction (6.8.3). */
	check_eq("step over MOV SS is late by one", step_ip[0], (word)s8);
	begin();
	asm volatile(STEP "push %%rbx; popfq\n s9: nop\n" ::"b"(2ul) : "cc", "memory");
	check("step over PUSH, POPF", steps == 2 && step_ip[1] == (word)s9);
	{
		extern char c1[], c2[], c3[], j1[];

		begin();
		asm volatile(STEP "call c1\n c3: jmp j1\n .skip 8, 0xcc\n c1: nop\n c2: ret\n j1: " UNSTEP ::
				     : "cc", "memory");
		check("step into CALL, out of RET, over JMP", step_ip[0] == (word)c1 && step_ip[1] == (word)c2 &&
								      step_ip[2] == (word)c3 && step_ip[3] == (word)j1);
	}
	{
		extern char t1[], t2[];

		/* INT n clears TF and is not trapped: the first step is after the handler's return
		 * (6.12.1.2... 17.3.1.4). */
		begin();
		handlers[0x42] = on_debug;
		asm volatile(STEP "int $0x42\n t1: nop\n t2: " UNSTEP ::: "cc", "memory");
		check("step over INT n: handler is not stepped", step_ip[0] == (word)t1 && step_ip[1] == (word)t2);
		check_eq("TF is saved by INT n", step_flags[0] & FL_TF, FL_TF);
		handlers[0x42] = 0;
	}
	{
		extern char u1[];

		begin();
		asm volatile(STEP "sti\n u1: cli\n" UNSTEP ::: "cc", "memory");
		check_eq("step over STI", step_ip[0], (word)u1);
	}
	{
		extern char w1[], w2[];

		begin();
		asm volatile(STEP "in $0x61, %%al\n w1: cpuid\n w2: nop\n" UNSTEP ::
				     : "cc", "memory", "rax", "rbx", "rcx", "rdx");
		check("step over IN and CPUID", step_ip[0] == (word)w1 && step_ip[1] == (word)w2);
	}
	{
		extern char x1[], x2[];

		/* A faulting instruction: the fault is delivered, the trap is not; RF in its frame, TF too. */
		begin();
		fault_begin();
		asm volatile("movq $x2, trap_resume; mov %%rsp, trap_stack\n" STEP
			     "x1: ud2\n x2: movq $0, trap_resume\n" ::
				     : "cc", "memory");
		check("a fault under TF: no step", fault.vector == VEC_UD && fault.ip == (word)x1 && steps == 0);
		check_eq("its saved flags have TF and RF", fault.flags & (FL_TF | FL_RF), FL_TF | FL_RF);
	}
	{
		extern char v1[], v2[];

		begin();
		write_dr7(0x400);
		asm volatile(STEP "mov %0, %%dr1\n v1: wrmsr\n v2: nop\n" UNSTEP ::"r"(0ul), "c"(0xc0000102), "a"(0),
			     "d"(0)
			     : "cc", "memory");
		check("step over MOV DR and WRMSR", step_ip[0] == (word)v1 && step_ip[1] == (word)v2);
	}
}

static void software(void)
{
	extern char i1[], i2[], i3[];

	begin();
	handlers[VEC_DB] = 0;
	TRY("int3\n i1:", ::);
	check_at("INT3", VEC_BP, 0, (word)i1);
	TRY(".byte 0xf1\n i2:", ::);
	check_at("INT1 is a trap", VEC_DB, 0, (word)i2);
	check_eq("INT1 leaves DR6", fault.dr6, DR6_CLEAR);
	TRY("int $1\n i3:", ::);
	check_at("INT 1", VEC_DB, 0, (word)i3);
	/* General detect: a fault at MOV DR, GD cleared in the handler. */
	write_dr6(DR6_CLEAR);
	write_dr7(0x400 | 0x2000);
	TRY("mov %%dr0, %%rax", ::: "rax");
	check_fault("general detect", VEC_DB, 0);
	check_eq("general detect, DR6.BD", fault.dr6 & (BD | BS), BD);
	check_eq("general detect is off in the handler", read_dr7() & 0x2000, 0);
	write_dr6(DR6_CLEAR);
	/* DR4 and DR5 are DR6 and DR7 without CR4.DE, #UD with it. */
	TRY(".byte 0x0f, 0x21, 0xe0", ::: "rax"); /* mov %db4, %rax */
	check_none("MOV from DR4 without CR4.DE");
	write_cr4(read_cr4() | 8);
	TRY(".byte 0x0f, 0x21, 0xe0", ::: "rax");
	check_fault("MOV from DR4 with CR4.DE", VEC_UD, 0);
	write_cr4(read_cr4() & ~8ul);
	write_dr6(0);
	check_eq("DR6 bits that read as 1", read_dr6() & ~(1ul << 16), DR6_CLEAR & ~(1ul << 16));
	write_dr7(0);
	check_eq("DR7 bit 10 reads as 1", read_dr7(), 0x400);
	TRY("mov %0, %%dr6", ::"r"(1ull << 32));
	check_fault("DR6 above 32 bits", VEC_GP, 0);
}

static void execution(void)
{
	extern char e1[];

	begin();
	set_rf = 1;
	breakpoint(0, (word)e1, 0, 1);
	asm volatile("nop\n e1: nop\n nop" ::: "memory");
	check_eq("execution breakpoint is hit once with RF", steps, 1);
	check_eq("execution breakpoint is a fault", step_ip[0], (word)e1);
	check_eq("execution breakpoint, DR6", step_dr6[0] & ~(DR6_CLEAR & ~0xful), B0);
	/* Unlike other faults this one is saved with RF as it was (17.3.1.1). */
	check_eq("execution breakpoint, saved RF", step_flags[0] & FL_RF, 0);
	/* RF is cleared by the instruction: the same breakpoint hits again the next time round. */
	begin();
	set_rf = 1;
	{
		extern char l1[];

		breakpoint(0, (word)l1, 0, 1);
		asm volatile("mov $3, %%ecx\n l1: dec %%ecx\n jnz l1" ::: "rcx", "cc");
		check_eq("execution breakpoint in a loop", steps, 3);
	}
	{
		extern char m1[], m2[];

		/* MOV SS holds off an execution breakpoint on the next instruction. */
		begin();
		set_rf = 1;
		breakpoint(0, (word)m1, 0, 1);
		asm volatile("mov %0, %%ss\n m1: nop" ::"r"(SEL_DATA));
		check_eq("execution breakpoint behind MOV SS is missed", steps, 0);
		begin();
		set_rf = 1;
		breakpoint(0, (word)m2, 0, 1);
		breakpoint(1, (word)m2, 0, 1);
		asm volatile("nop\n m2: nop");
		check_eq("two breakpoints at one place", step_dr6[0] & 15, B0 | B1);
	}
	breakpoints_off();
}

/* In the middle of a page of its own: one check uses it as the stack. */
static u64 watch_area[1024] __attribute__((aligned(32)));
#define watched (&watch_area[512])

static void data(void)
{
	extern char d1[], d2[], d3[], d4[], d5[], d6[], d7[], d8[];
	u64 got;

	begin();
	breakpoint(0, (word)watched, 1, 4);
	asm volatile("movl $1, %0\n d1: nop" : "=m"(watched[0]));
	check("write breakpoint is a trap", steps == 1 && step_ip[0] == (word)d1);
	check_eq("write breakpoint, DR6", step_dr6[0] & 0xf, B0);
	check_eq("write breakpoint, no BS", step_dr6[0] & BS, 0);
	begin();
	asm volatile("mov %1, %0" : "=r"(got) : "m"(watched[0]));
	check_eq("write breakpoint ignores reads", steps, 0);
	asm volatile("movb $1, %0" : "=m"(((u8 *)watched)[3]));
	check_eq("write breakpoint, last byte", steps, 1);
	asm volatile("movb $1, %0" : "=m"(((u8 *)watched)[4]));
	check_eq("write breakpoint, byte behind", steps, 1);
	asm volatile("movl $1, %0" : "=m"(*(u32 *)((u8 *)watched + 2)));
	check_eq("write breakpoint, overlapping", steps, 2);
	begin();
	breakpoint(0, (word)watched, 3, 8);
	asm volatile("movb %1, %b0\n d2:" : "=q"(got) : "m"(((u8 *)watched)[7]));
	check("read/write breakpoint of 8 bytes", steps == 1 && step_ip[0] == (word)d2);
	/* Push, string operations, locked operations. */
	begin();
	asm volatile("mov %%rsp, %%rdx; lea 8(%0), %%rsp; push %%rax\n d3: mov %%rdx, %%rsp" ::"r"(watched)
		     : "rdx", "memory");
	check("PUSH hits a write breakpoint", steps >= 1 && step_ip[0] == (word)d3);
	begin();
	{
		void *d = (u8 *)watched - 2;
		word n = 5;

		asm volatile("d4: rep stosb\n d5:" : "+D"(d), "+c"(n) : "a"(0) : "memory");
	}
	/* Iterations 3, 4 and 5 write the watched bytes; taken at iteration boundaries. */
	check("REP STOSB hits at the iterations that write it",
	      steps == 3 && step_ip[0] == (word)d4 && step_ip[1] == (word)d4 && step_ip[2] == (word)d5);
	begin();
	asm volatile("lock xaddq %%rax, (%0)\n d6:" ::"r"(watched) : "rax", "memory");
	check("LOCK XADD hits once", steps == 1 && step_ip[0] == (word)d6);
	/* A data breakpoint and a single step together: one #DB with both bits. */
	begin();
	asm volatile(STEP "movl $1, %0\n d7:" UNSTEP : "=m"(watched[0])::"memory", "cc");
	check("step and data breakpoint in one", step_ip[0] == (word)d7 && (step_dr6[0] & (B0 | BS)) == (B0 | BS));
	/* Behind MOV SS the trap of the load itself is held back, and delivered after the next instruction. */
	begin();
	breakpoint(0, (word)watched, 3, 2);
	watched[0] = SEL_DATA;
	begin();
	asm volatile("mov (%0), %%ss\n nop\n d8: nop" ::"r"(watched));
	check("data breakpoint of MOV SS is late by one",
	      steps == 1 && step_ip[0] == (word)d8 && (step_dr6[0] & 15) == B0);
	breakpoints_off();
	begin();
	watched[0] = 1;
	check_eq("breakpoints off", steps, 0);
	/* Local enable bits work as global ones without task switches. */
	write_dr0((word)watched);
	write_dr7(0x400 | 1 | 0xd << 16);
	asm volatile("movl $1, %0" : "=m"(watched[0]));
	check_eq("local enable", steps, 1);
	breakpoints_off();
	/* Addresses are aligned by the length. */
	begin();
	breakpoint(2, (word)watched + 3, 1, 4);
	asm volatile("movb $1, %0" : "=m"(((u8 *)watched)[1]));
	check("the length aligns the address", steps == 1 && (step_dr6[0] & 15) == B2);
	breakpoints_off();
}

static void ports(void)
{
	extern char p1[], p2[];

	begin();
	breakpoint(1, 0x61, 2, 1);
	asm volatile("in $0x61, %%al" ::: "rax");
	check("I/O breakpoint needs CR4.DE", steps == 0);
	write_cr4(read_cr4() | 8);
	breakpoint(1, 0x61, 2, 1);
	asm volatile("in $0x61, %%al\n p1: nop" ::: "rax");
	check("I/O breakpoint on IN", steps == 1 && step_ip[0] == (word)p1 && (step_dr6[0] & 15) == B1);
	asm volatile("out %%al, $0x80\n p2: nop" ::: "rax");
	check_eq("I/O breakpoint, other port", steps, 1);
	breakpoint(1, 0x80, 2, 4);
	asm volatile("out %%al, $0x83" ::: "rax");
	check_eq("I/O breakpoint, range of four", steps, 2);
	breakpoints_off();
	write_cr4(read_cr4() & ~8ul);
}

static void on_interrupt(struct frame *f)
{
	if (steps < 64)
		step_ip[steps] = f->ip | 1ull << 63;
	steps++;
	lapic_write(0xb0, 0);
}

/* SDM 3A table 6-2: traps of the last instruction, interrupts, instruction breakpoints, fetch faults, decoding faults.
 */
static void priorities(void)
{
	extern char q1[], q2[], q3[];

	begin();
	set_rf = 1;
	breakpoint(0, (word)q1, 0, 1);
	TRY("q1: ud2", ::);
	check("an instruction breakpoint comes before #UD",
	      steps == 1 && step_ip[0] == (word)q1 && fault.vector == VEC_UD);
	breakpoint(0, 0x4000000000, 0, 1);
	begin();
	set_rf = 1;
	TRY("call *%0", ::"r"(0x4000000000) : "memory");
	check("an instruction breakpoint comes before the fetch's #PF",
	      steps == 1 && step_ip[0] == 0x4000000000 && fault.vector == VEC_PF && fault.cr2 == 0x4000000000);
	breakpoints_off();
	/* A single-step trap and an interrupt become due at the same boundary: the trap is delivered first, then, with
	 * the interrupt gate of #DB having cleared IF, the interrupt when the handler has returned. */
	lapic_on();
	handlers[0x50] = on_interrupt;
	begin();
	lapic_write(0x300, 0x40000 | 0x50);
	asm volatile("pushfq; orl $0x300, (%%rsp); nop; q2: popfq; q3: nop; " UNSTEP "cli" ::: "memory", "cc");
	/* POPF sets IF and TF: the interrupt is taken at once behind it, the trap only after the NOP. */
	check("interrupt behind POPF, then the trap of the next instruction",
	      step_ip[0] == ((word)q3 | 1ull << 63) && step_ip[1] == (word)q3 + 1);
	breakpoints_off();
	handlers[0x50] = 0;
}

void guest_main(void)
{
	single_step();
	software();
	execution();
	data();
	ports();
	priorities();
	breakpoints_off();
}
