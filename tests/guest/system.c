/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions of which a kernel executes many, each several times over and in all the company they keep: STI and its
 * shadow before each kind of instruction, PUSHF and POPF bit by bit, STAC and CLAC, SWAPGS and the base instructions,
 * IRET and SYSRET with flags, strings that fault half-way, overlap, run backwards or write over code, bit strings, MOV
 * with segment registers. SDM 2A, 2B by instruction, 3A 6.8. Left out: what faults.c, longmode.c and interrupts.c hold.
 */
#include "guest.h"

#define VA           0x100000000ull
#define NONCANONICAL 0x8000000000000000ull
#define ROUNDS       4 /* the first translates, the second links, the others run */

static volatile u32 ticks;
static volatile word last_ip, last_flags;

static void on_tick(struct frame *f)
{
	ticks++;
	last_ip = f->ip;
	last_flags = f->flags;
	lapic_write(0xb0, 0);
}

/* An interrupt waits while IF is clear. */
static void pend(void)
{
	cli();
	lapic_write(0x300, 0x40000 | 0x50);
	while (!(lapic_read(0x220) & 1 << 16))
		pause_cpu();
	ticks = 0;
	last_ip = 0;
}

/* --- STI --- */
static u64 sink, sink2;

/* `what` runs behind STI; the interrupt comes at `label`. */
#define SHADOW(name, what, label, ...)                                                                                 \
	do {                                                                                                           \
		extern char label[];                                                                                   \
		int ok_ = 1;                                                                                           \
		for (int i_ = 0; i_ < ROUNDS; i_++) {                                                                  \
			pend();                                                                                        \
			asm volatile("sti\n " what "\n cli" : : __VA_ARGS__);                                          \
			ok_ &= ticks == 1 && last_ip == (word)label && last_flags & FL_IF;                             \
		}                                                                                                      \
		check("STI, " name, ok_);                                                                              \
	} while (0)

static void shadows(void)
{
	lapic_on();
	handlers[0x50] = on_tick;
	SHADOW("NOP", "nop\n sh0: nop", sh0, "r"(0) : "memory");
	SHADOW("MOV", "mov %%eax, %%ecx\n sh1: nop", sh1, "r"(0) : "rcx", "memory");
	SHADOW("load", "mov sink, %%rcx\n sh2: nop", sh2, "r"(0) : "rcx", "memory");
	SHADOW("store", "mov %%rax, sink\n sh3: nop", sh3, "r"(0) : "memory");
	SHADOW("ADD", "add $1, %%rcx\n sh4: nop", sh4, "r"(0) : "rcx", "memory", "cc");
	SHADOW("PUSH", "push %%rcx\n sh5: pop %%rcx", sh5, "r"(0) : "rcx", "memory");
	SHADOW("JMP", "jmp sh6\n nop\n sh6: nop", sh6, "r"(0) : "memory");
	SHADOW("CALL", "call sh8\n jmp 1f\n sh8: ret\n 1:", sh8, "r"(0) : "memory");
	SHADOW("RET", "nop\n sh9: nop", sh9, "r"(0) : "memory");
	SHADOW("STI again", "sti\n sh10: nop", sh10, "r"(0) : "memory");
	SHADOW("CLD", "cld\n sh11: nop", sh11, "r"(0) : "memory");
	SHADOW("PUSHF", "pushf\n sh12: pop %%rcx", sh12, "r"(0) : "rcx", "memory");
	SHADOW("RDTSC", "rdtsc\n sh13: nop", sh13, "r"(0) : "rax", "rdx", "memory");
	SHADOW("SWAPGS", "swapgs\n sh14: swapgs", sh14, "r"(0) : "memory");
	SHADOW("CPUID", "cpuid\n sh15: nop", sh15, "a"(0), "c"(0) : "rbx", "rdx", "memory");
	SHADOW("STOSB", "stosb\n sh16: nop", sh16, "D"(&sink2), "a"(1) : "memory");
	SHADOW("IN", "inb $0x80, %%al\n sh17: nop", sh17, "r"(0) : "rax", "memory");
	{
		extern char ret_to[];
		int ok = 1;

		for (int i = 0; i < ROUNDS; i++) {
			pend();
			asm volatile("call 1f\n ret_to: jmp 2f\n 1: sti\n ret\n 2: cli" ::: "memory");
			ok &= ticks == 1 && last_ip == (word)ret_to;
		}
		check("STI, RET", ok);
		ok = 1;
		for (int i = 0; i < ROUNDS; i++) {
			extern char jc_to[];

			pend();
			asm volatile("stc\n sti\n jc jc_to\n nop\n jc_to: nop\n cli" ::: "memory", "cc");
			ok &= ticks == 1 && last_ip == (word)jc_to;
		}
		check("STI, Jcc", ok);
		ok = 1;
		for (int i = 0; i < ROUNDS; i++) {
			pend();
			asm volatile("sti\n cli\n nop\n nop" ::: "memory");
			ok &= ticks == 0;
			asm volatile("sti\n nop\n cli" ::: "memory");
			ok &= ticks == 1;
		}
		check("STI, CLI has no window, STI, NOP, CLI has", ok);
		ok = 1;
	}
	{
		/* Status flags come through both. */
		word flags;
		int ok = 1;

		for (int i = 0; i < ROUNDS; i++) {
			pend();
			asm volatile("cmp $1, %1\n sti\n nop\n pushf\n pop %0\n cli"
				     : "=r"(flags)
				     : "r"(0ul)
				     : "cc", "memory");
			ok &= (flags & 0x8d5) == 0x95 && ticks == 1;
		}
		check("STI keeps the status flags", ok);
		ok = 1;
	}
}

/* --- PUSHF, POPF --- */
static void flags_by_bit(void)
{
	extern char pf0[];
	int ok = 1;

	cli();
	for (u32 bits = 0; bits < 64; bits++) {
		word set = (bits & 1) | (bits & 2) << 1 | (bits & 4) << 2 | (bits & 8) << 3 | (bits & 16) << 3 |
			   (bits & 32) << 6,
		     got;

		asm volatile("push %1\n popf\n pushf\n pop %0" : "=r"(got) : "r"(set | 2) : "cc", "memory");
		ok &= got == (set | 2);
	}
	check("POPF, PUSHF: all status flags", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		word got;

		asm volatile("push %1\n popf\n pushf\n pop %0"
			     : "=r"(got)
			     : "r"(0x3ul | FL_DF | FL_IOPL | FL_ID)
			     : "cc", "memory");
		ok &= got == (0x3 | FL_DF | FL_IOPL | FL_ID);
		asm volatile("push %1\n popf\n pushf\n pop %0"
			     : "=r"(got)
			     : "r"(0x2ul | FL_AC | FL_NT)
			     : "cc", "memory");
		ok &= got == (2 | FL_AC | FL_NT);
		/* VM, VIF, VIP and bits without a meaning stay; RF becomes 0 */
		asm volatile("push %1\n popf\n pushf\n pop %0"
			     : "=r"(got)
			     : "r"(0x3ful << 22 | FL_RF | FL_VM | FL_VIF | FL_VIP | 0x8028ul)
			     : "cc", "memory");
		ok &= got == 2;
	}
	check("POPF: DF, IOPL, ID, AC, NT, and what it leaves alone", ok);
	ok = 1;
	asm volatile("push $2\n popf" ::: "cc", "memory");
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		pend();
		asm volatile("push $0x202\n popf\n pf0: nop\n cli" ::: "cc", "memory");
		ok &= ticks == 1 && last_ip == (word)pf0;
	}
	check("POPF with IF has no shadow", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		pend();
		asm volatile("pushf\n push $0x202\n popf\n popf" ::: "cc", "memory");
		ok &= ticks == 1 && !(read_flags() & FL_IF);
	}
	check("POPF opens and POPF closes", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		word first, second;

		asm volatile("pushf\n cli\n pushf\n pop %0\n popf\n pushf\n pop %1"
			     : "=&r"(first), "=r"(second)::"cc", "memory");
		ok &= !((first | second) & FL_IF);
	}
	check("PUSHF, CLI, POPF", ok);
	ok = 1;
	{
		word got = 0;

		extern char pf1[];

		TRY("push %1\n popf\n nop\n pf1: pushf\n pop %0", : "+r"(got) : "r"(0x102ul) : "cc", "memory");
		check("POPF with TF traps behind the next instruction",
		      fault.vector == VEC_DB && fault.ip == (word)pf1);
	}
}

extern char user_popf[], user_pushf[], user_cli[];
asm("user_popf: push %rdi\n popf\n user_pushf: pushf\n pop %rax\n int $0x80\n"
    "user_cli: cli\n pushf\n pop %rax\n sti\n int $0x80\n");

static void user_at(char *ip, word flags, word arg)
{
	static u8 stack[4096] __attribute__((aligned(16)));
	struct enter e = {.ip = (word)ip,
			  .cs = SEL_USER_CODE64,
			  .sp = (word)stack + 4000,
			  .ss = SEL_USER_DATA,
			  .flags = flags | 2,
			  .arg = arg};

	fault_begin();
	enter(&e);
}

static void user_flags(void)
{
	int ok = 1;

	for (int i = 0; i < ROUNDS; i++) {
		user_at(user_popf, 0, FL_IF | FL_IOPL | FL_AC | FL_DF | FL_ID | 0x8d7);
		ok &= fault.vector == VEC_EXIT && fault.ax == (FL_AC | FL_DF | FL_ID | 0x8d7);
		user_at(user_popf, FL_IF, 0);
		ok &= fault.ax == (FL_IF | 2);
		user_at(user_popf, FL_IOPL, FL_IF);
		ok &= fault.ax == (FL_IF | FL_IOPL | 2);
	}
	check("POPF in ring 3: IF by IOPL, never IOPL", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		user_at(user_cli, 0, 0);
		ok &= fault.vector == VEC_GP && fault.ip == (word)user_cli;
		user_at(user_cli, FL_IOPL | FL_IF, 0);
		ok &= fault.vector == VEC_EXIT && fault.ax == (FL_IOPL | 2) && fault.flags & FL_IF;
	}
	check("CLI in ring 3 by IOPL", ok);
	ok = 1;
}

/* --- STAC, CLAC --- */
static u8 *page_a, *page_b;

static void access_flag(void)
{
	int ok = 1;

	if (!(cpuid(7, 0).b >> 20 & 1)) {
		skip("stac", "no SMAP");
		return;
	}
	map(VA, (word)page_a | PG_P | PG_W | PG_U, 1);
	store32((word)page_a, 0x1234);
	write_cr4(read_cr4() | 1ul << 21);
	for (int i = 0; i < ROUNDS; i++) {
		u32 value;

		asm volatile("stac\n mov (%1), %0\n clac" : "=r"(value) : "r"(VA));
		ok &= value == 0x1234 && !(read_flags() & FL_AC);
		TRY("mov (%0), %%eax", ::"r"(VA) : "rax");
		ok &= fault.vector == VEC_PF && fault.error == 1;
		TRY("stac\n clac\n mov (%0), %%eax", ::"r"(VA) : "rax");
		ok &= fault.vector == VEC_PF && fault.ip == fault_try() + 6;
		asm volatile("stac");
		ok &= (read_flags() & FL_AC) != 0;
		/* an interrupt and its IRET keep AC */
		pend();
		asm volatile("sti\n nop\n nop\n cli\n mov (%1), %0\n clac" : "=r"(value) : "r"(VA));
		ok &= ticks == 1 && value == 0x1234 && last_flags & FL_AC;
		/* POPF does what STAC does */
		asm volatile("push $0x40002\n popf\n mov (%1), %0\n push $2\n popf"
			     : "=r"(value)
			     : "r"(VA)
			     : "cc", "memory");
		ok &= value == 0x1234;
		TRY("mov (%0), %%eax", ::"r"(VA) : "rax");
		ok &= fault.vector == VEC_PF;
	}
	check("STAC, CLAC, POPF decide over user pages", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		word flags;

		asm volatile("cmp $1, %1\n stac\n clac\n pushf\n pop %0" : "=r"(flags) : "r"(0ul) : "cc", "memory");
		ok &= (flags & (0x8d5 | FL_AC)) == 0x95;
	}
	check("they keep the status flags", ok);
	ok = 1;
	write_cr4(read_cr4() & ~(1ul << 21));
	asm volatile("stac");
	check("STAC with SMAP off", read_flags() & FL_AC);
	asm volatile("clac");
	check("CLAC with SMAP off", !(read_flags() & FL_AC));
}

/* --- bases --- */
static void bases(void)
{
	u64 gs = rdmsr(0xc0000101), kernel = rdmsr(0xc0000102), got, flags;
	int ok = 1;

	for (int i = 0; i < ROUNDS; i++) {
		wrmsr(0xc0000101, 0x1000 + i);
		wrmsr(0xc0000102, 0x2000 + i);
		asm volatile("swapgs");
		ok &= rdmsr(0xc0000101) == 0x2000u + i && rdmsr(0xc0000102) == 0x1000u + i;
		asm volatile("swapgs");
		ok &= rdmsr(0xc0000101) == 0x1000u + i;
	}
	check("SWAPGS", ok);
	ok = 1;
	if (cpuid(7, 0).b & 1) {
		TRY("rdgsbase %%rax", ::: "rax");
		check_fault("RDGSBASE without CR4.FSGSBASE", VEC_UD, 0);
		write_cr4(read_cr4() | 1 << 16);
		for (int i = 0; i < ROUNDS; i++) {
			asm volatile("wrgsbase %1\n rdgsbase %0" : "=r"(got) : "r"(0xffff800000001000ull + i));
			ok &= got == 0xffff800000001000ull + i;
			asm volatile("wrfsbase %k1\n rdfsbase %0" : "=r"(got) : "r"(0xffff800000001000ull + i));
			ok &= got == 0x1000u + i;
			asm volatile("wrfsbase %1\n mov $-1, %0\n rdfsbase %k0"
				     : "=&r"(got)
				     : "r"(0xffff8000f0001000ull));
			ok &= got == 0xf0001000;
			asm volatile("cmp $1, %1\n wrgsbase %2\n pushf\n pop %0"
				     : "=r"(flags)
				     : "r"(0ul), "r"(0ul)
				     : "cc", "memory");
			ok &= (flags & 0x8d5) == 0x95;
		}
		check("FS and GS base instructions", ok);
		ok = 1;
		for (int i = 0; i < ROUNDS; i++) {
			TRY("wrgsbase %0", ::"r"(NONCANONICAL));
			ok &= fault.vector == VEC_GP && fault.ip == fault_try();
		}
		check("WRGSBASE non-canonical", ok);
		ok = 1;
		write_cr4(read_cr4() & ~(1ul << 16));
		TRY("wrgsbase %0", ::"r"(0ul));
		check_fault("WRGSBASE with CR4.FSGSBASE cleared again", VEC_UD, 0);
	} else {
		skip("fsgsbase", "no FSGSBASE");
	}
	wrmsr(0xc0000101, gs);
	wrmsr(0xc0000102, kernel);
	wrmsr(0xc0000100, 0);
}

/* --- MOV with segment registers, POP RSP, control registers --- */
static void moves(void)
{
	int ok = 1;

	for (int i = 0; i < ROUNDS; i++) {
		u64 a = ~0ull, b = ~0ull, c = ~0ull, sp;
		u64 stack[2];

		asm volatile("mov %%cs, %0\n mov %%ss, %k1\n .byte 0x66\n mov %%cs, %k2" : "+r"(a), "+r"(b), "+r"(c));
		ok &= a == SEL_CODE && b == SEL_DATA && c == (0xffffffffffff0000ull | SEL_CODE);
		stack[0] = 0x1122334455667788;
		asm volatile("mov %%rsp, %%rbx\n mov %1, %%rsp\n pop %%rsp\n mov %%rsp, %0\n mov %%rbx, %%rsp"
			     : "=r"(sp)
			     : "r"(stack)
			     : "rbx", "memory");
		ok &= sp == 0x1122334455667788;
		ok &= (read_cr0() & 0x80000001) == 0x80000001 && (read_cr3() & ~0xfffull) == (word)boot_pml4;
		asm volatile("mov %0, %%cr2" ::"r"(0x123456789abcull + i));
		ok &= read_cr2() == 0x123456789abcull + i;
	}
	check("MOV from segment and control registers, POP RSP", ok);
	ok = 1;
	if (cpuid(7, 0).c >> 3 & 1) {
		u32 a, d;

		write_cr4(read_cr4() | 1ul << 22);
		for (int i = 0; i < ROUNDS; i++) {
			asm volatile("rdpkru" : "=a"(a), "=d"(d) : "c"(0), "d"(7));
			ok &= a == 0 && d == 0;
			TRY("rdpkru", ::"c"(1) : "rax", "rdx");
			ok &= fault.vector == VEC_GP && fault.ip == fault_try();
		}
		check("RDPKRU", ok);
		ok = 1;
		write_cr4(read_cr4() & ~(1ul << 22));
		TRY("rdpkru", ::"c"(0) : "rax", "rdx");
		check_fault("RDPKRU without CR4.PKE", VEC_UD, 0);
	}
	{
		u64 before = rdtsc();

		for (int i = 0; i < 1000; i++) {
			u64 now = rdtsc();

			ok &= now >= before;
			before = now;
		}
		check("RDTSC does not go back", ok);
		ok = 1;
	}
}

/* --- SYSCALL, SYSRET, IRET --- */
extern char calls_entry[], user_calls[], user_iret[], entry_sysret_tf[];
asm("calls_entry: incl sink\n sysretq\n"
    "entry_sysret_tf: or $0x100, %r11\n sysretq\n"
    "user_calls: mov $1000, %ebx\n 1: mov %rbx, %rax\n neg %rax\n pushf\n pop %rsi\n syscall\n pushf\n pop %rdx\n xor "
    "%rsi, %rdx\n or %rdx, %rdi\n"
    " dec %ebx\n jnz 1b\n mov %rdi, %rax\n int $0x80\n"
    "user_iret: syscall\n user_iret_1: nop\n user_iret_2: int $0x80\n");

static void system_calls(void)
{
	extern char user_iret_2[], user_iret_1[];
	u64 efer = rdmsr(0xc0000080);

	wrmsr(0xc0000080, efer | 1);
	wrmsr(0xc0000081, (u64)0x20 << 48 | (u64)SEL_CODE << 32);
	wrmsr(0xc0000082, (word)calls_entry);
	wrmsr(0xc0000084, FL_IF | FL_TF | FL_DF);
	sink = 0;
	user_at(user_calls, FL_IF | FL_AC, 0);
	cli();
	check("1000 system calls", fault.vector == VEC_EXIT && sink == 1000);
	check_eq("and the flags are what they were", fault.ax, 0);
	wrmsr(0xc0000082, (word)entry_sysret_tf);
	for (int i = 0; i < ROUNDS; i++)
		user_at(user_iret, 0, 0);
	check("SYSRET with TF traps behind the next instruction",
	      fault.vector == VEC_DB && (fault.ip == (word)user_iret_2 || fault.ip == (word)user_iret_1) &&
		      fault.cs == SEL_USER_CODE64);
	wrmsr(0xc0000080, efer);
}

static void interrupt_returns(void)
{
	extern char ir0[], ir1[];
	int ok = 1;

	for (int i = 0; i < ROUNDS; i++) {
		word flags, sp, sp_after;

		asm volatile("mov %%rsp, %1\n mov %%ss, %%eax\n push %%rax\n push %1\n push %3\n push $0x8\n push "
			     "$1f\n iretq\n 1: pushf\n pop %0\n"
			     "mov %%rsp, %2"
			     : "=&r"(flags), "=&r"(sp), "=&r"(sp_after)
			     : "r"(0x3ul | FL_DF | FL_AC | FL_ID | 0x8d4)
			     : "rax", "cc", "memory");
		asm volatile("cld\n push $2\n popf" ::: "cc", "memory");
		ok &= flags == (0x3 | FL_DF | FL_AC | FL_ID | 0x8d4) && sp == sp_after;
	}
	check("IRET to the same ring loads flags and RSP", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		pend();
		asm volatile("mov %%rsp, %%rcx\n push $0x10\n push %%rcx\n push $0x202\n push $0x8\n push $ir0\n "
			     "iretq\n ir0: nop\n cli" ::
				     : "rcx", "cc", "memory");
		ok &= ticks == 1 && last_ip == (word)ir0;
	}
	check("IRET with IF has no shadow", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		TRY("mov %%rsp, %%rcx\n push $0x10\n push %%rcx\n push $0x102\n push $0x8\n push $ir1\n iretq\n ir1: "
		    "nop\n nop",
		    ::
			    : "rcx", "cc", "memory");
		ok &= fault.vector == VEC_DB && fault.ip == (word)ir1 + 1;
	}
	check("IRET with TF traps behind the next instruction", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		TRY("push $0x4002\n popf\n iretq", ::: "cc", "memory");
		ok &= fault.vector == VEC_GP && fault.error == 0;
		asm volatile("push $2\n popf" ::: "cc", "memory");
		TRY("mov %%rsp, %%rcx\n push $0x10\n push %%rcx\n push $2\n push $0x8\n push %0\n iretq",
		    ::"r"(NONCANONICAL)
		    : "rcx", "cc", "memory");
		ok &= fault.vector == VEC_GP && fault.error == 0;
	}
	check("IRET with NT, IRET to a non-canonical address", ok);
	ok = 1;
}

/* --- strings --- */
static void pattern(u8 *p, u32 n)
{
	for (u32 i = 0; i < n; i++)
		p[i] = (u8)(i * 7 + (i >> 8) + 1);
}

struct string_result {
	word si, di, cx;
};

static void strings(void)
{
	u8 *third = page_alloc();
	struct string_result r;
	int ok = 1;

	map(VA, (word)page_a | PG_P | PG_W, 1);
	map(VA + 0x1000, 0, 1);
	map(VA + 0x2000, (word)page_b | PG_P | PG_W, 1);
	map(VA + 0x3000, (word)third | PG_P | PG_W, 1);
	pattern(page_b, 4096);
	pattern(third, 4096);
	for (int i = 0; i < ROUNDS; i++) {
		/* up to the missing page, exact there, and on when it has come */
		r = (struct string_result){VA + 0x2000, VA + 0xf00, 0x300};
		*pte_at(VA + 0x1000, 1) = 0;
		invlpg(VA + 0x1000);
		TRY("rep movsb", : "+S"(r.si), "+D"(r.di), "+c"(r.cx)::"memory");
		ok &= fault.vector == VEC_PF && fault.error == 2 && fault.cx == 0x200 && fault.si == VA + 0x2100 &&
		      fault.di == VA + 0x1000 && fault.cr2 == VA + 0x1000;
		*pte_at(VA + 0x1000, 1) = (word)third | PG_P | PG_W;
		r = (struct string_result){fault.si, fault.di, fault.cx};
		TRY("rep movsb", : "+S"(r.si), "+D"(r.di), "+c"(r.cx)::"memory");
		ok &= fault.vector == VEC_NONE && r.cx == 0 && r.di == VA + 0x1200 &&
		      !memcmp(page_a + 0xf00, page_b, 0x100) && !memcmp(third, page_b + 0x100, 0x200);
	}
	check("REP MOVSB to a missing page and on", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		*pte_at(VA + 0x1000, 1) = 0;
		invlpg(VA + 0x1000);
		r = (struct string_result){VA + 0xf08, VA + 0x2000, 0x40};
		TRY("rep movsq", : "+S"(r.si), "+D"(r.di), "+c"(r.cx)::"memory");
		ok &= fault.vector == VEC_PF && fault.error == 0 && fault.cx == 0x40 - 31 && fault.si == VA + 0x1000 &&
		      fault.di == VA + 0x2000 + 31 * 8;
		r = (struct string_result){0, VA + 0xffd, 8};
		TRY("rep stosw", : "+D"(r.di), "+c"(r.cx) : "a"(0x5a5a) : "memory");
		ok &= fault.vector == VEC_PF && fault.cx == 7 && fault.di == VA + 0xfff && fault.cr2 == VA + 0x1000;
		r = (struct string_result){0, VA + 0xff8, 2};
		TRY("rep stosq", : "+D"(r.di), "+c"(r.cx) : "a"(0x5a5a) : "memory");
		ok &= fault.vector == VEC_PF && fault.cx == 1 && fault.di == VA + 0x1000;
	}
	check("REP MOVSQ from, REP STOS to a missing page; an element across", ok);
	ok = 1;
	*pte_at(VA + 0x1000, 1) = (word)third | PG_P | PG_W;
	pattern(page_a, 64);
	r = (struct string_result){VA, VA + 3, 61};
	asm volatile("rep movsb" : "+S"(r.si), "+D"(r.di), "+c"(r.cx)::"memory");
	for (u32 i = 3; i < 64; i++)
		ok &= page_a[i] == page_a[i - 3];
	check("REP MOVSB that overlaps repeats the pattern", ok);
	ok = 1;
	pattern(page_a, 64);
	r = (struct string_result){VA + 40, VA + 43, 41};
	asm volatile("std\n rep movsb\n cld" : "+S"(r.si), "+D"(r.di), "+c"(r.cx)::"memory", "cc");
	pattern(page_b, 64);
	check("REP MOVSB with DF", !memcmp(page_a + 3, page_b, 41) && r.si == VA - 1 && r.di == VA + 2 && r.cx == 0);
	for (int i = 0; i < ROUNDS; i++) {
		u64 a = 0xfeedface12345678, flags;

		memset(page_a, 0, 64);
		r = (struct string_result){VA + 0x2000, VA, 0};
		asm volatile("cmp $1, %4\n rep movsb\n rep stosl\n movsb\n movsw\n movsl\n movsq\n stosb\n stosl\n "
			     "stosq\n pushf\n pop %3"
			     : "+S"(r.si), "+D"(r.di), "+c"(r.cx), "=r"(flags)
			     : "r"(0ul), "a"(a)
			     : "memory", "cc");
		ok &= r.si == VA + 0x200f && r.di == VA + 28 && !memcmp(page_a, page_b, 15) && page_a[15] == 0x78 &&
		      load32((word)page_a + 16) == 0x12345678 && load64((word)page_a + 20) == a &&
		      (flags & 0x8d5) == 0x95;
	}
	check("without REP, and with a count of 0", ok);
	ok = 1;
	for (int i = 0; i < ROUNDS; i++) {
		/* 67h: 32-bit registers, and the upper halves go */
		r = (struct string_result){(word)page_b, (word)page_a, 16};
		memset(page_a, 0, 64);
		asm volatile("addr32 rep movsb" : "+S"(r.si), "+D"(r.di), "+c"(r.cx)::"memory");
		ok &= r.cx == 0 && r.di == (word)page_a + 16 && !memcmp(page_a, page_b, 16);
		wrmsr(0xc0000101, (word)page_b);
		r = (struct string_result){0, VA, 16};
		memset(page_a, 0, 64);
		asm volatile("rep movsb %%gs:(%%rsi), (%%rdi)" : "+S"(r.si), "+D"(r.di), "+c"(r.cx)::"memory");
		ok &= !memcmp(page_a, page_b, 16);
		wrmsr(0xc0000101, 0);
	}
	check("REP MOVSB with 67h and with GS", ok);
	ok = 1;
	{
		/* read-only target: the error code says write, to a present page */
		*pte_at(VA + 0x1000, 1) = (word)third | PG_P;
		write_cr0(read_cr0() | 1 << 16);
		invlpg(VA + 0x1000);
		r = (struct string_result){0, VA + 0xff0, 32};
		TRY("rep stosb", : "+D"(r.di), "+c"(r.cx) : "a"(1) : "memory");
		check("REP STOSB to a read-only page", fault.vector == VEC_PF && fault.error == 3 && fault.cx == 16);
		write_cr0(read_cr0() & ~(1ul << 16));
	}
	for (int i = 0; i < ROUNDS; i++) {
		/* a long one lets interrupts in, and ends as if there had been none */
		pend();
		r = (struct string_result){0, 0x3000000, 0x100000};
		asm volatile("sti\n nop\n rep stosb\n cli" : "+D"(r.di), "+c"(r.cx) : "a"(0x11 + i) : "memory");
		ok &= ticks == 1 && r.cx == 0 && load8(0x30fffff) == 0x11 + i;
	}
	check("REP STOSB of 1 MiB", ok);
	ok = 1;
}

static void strings_over_code(void)
{
	/* mov eax, imm32; ret, twice; REP MOVSB writes the second over the first, then over the instruction behind
	 * itself. */
	static const u8 one[] = {0xb8, 1, 0, 0, 0, 0xc3}, two[] = {0xb8, 2, 0, 0, 0, 0xc3};
	/* mov ecx, 6; rep movsb; nops for 6 bytes */
	static const u8 self[] = {0xb9, 6, 0, 0, 0, 0xf3, 0xa4, 0xb8, 9, 0, 0, 0, 0xc3};
	int ok = 1;

	map(VA, (word)page_a | PG_P | PG_W, 1);
	invlpg(VA);
	for (int i = 0; i < ROUNDS; i++) {
		u32 first, second;
		word from, to;

		from = (word)one, to = (word)page_a;
		asm volatile("mov $6, %%ecx\n rep movsb\n call *%3\n mov %%eax, %2"
			     : "+&S"(from), "+&D"(to), "=r"(first)
			     : "r"(page_a)
			     : "rax", "rcx", "memory");
		from = (word)two, to = (word)VA;
		asm volatile("mov $6, %%ecx\n rep movsb\n call *%3\n mov %%eax, %2"
			     : "+&S"(from), "+&D"(to), "=r"(second)
			     : "r"(page_a)
			     : "rax", "rcx", "memory");
		ok &= first == 1 && second == 2;
		memcpy(page_a, self, sizeof self);
		from = (word)two, to = (word)page_a + 7;
		asm volatile("call *%3\n mov %%eax, %2"
			     : "+&S"(from), "+&D"(to), "=r"(second)
			     : "r"(page_a)
			     : "rax", "rcx", "memory");
		ok &= second == 2;
		asm volatile("mov %1, %%eax\n mov $6, %%ecx\n mov %2, %%rdi\n rep stosb\n call *%3\n mov %%eax, %0"
			     : "=r"(first)
			     : "r"(0xc3), "r"(page_a), "r"(page_a)
			     : "rax", "rcx", "rdi", "memory");
		ok &= first == 0xc3;
	}
	check("REP MOVSB and STOSB over code, also behind themselves", ok);
	ok = 1;
}

/* --- bit strings --- */
#define BIT(op, offset, type)                                                                                          \
	({                                                                                                             \
		u8 c_;                                                                                                 \
		asm volatile(op "\n setc %0" : "=q"(c_) : "r"((type)(offset)), "r"(VA + 0x1000) : "memory", "cc");     \
		c_;                                                                                                    \
	})

static void bit_strings(void)
{
	static const long offsets[] = {0, 1, 31, 32, 63, 64, 100, -1, -32, -33, -64, -65, 4095, -4096, 32767, -32768};
	int ok = 1;

	map(VA, (word)page_a | PG_P | PG_W, 1);
	map(VA + 0x1000, (word)page_b | PG_P | PG_W, 1);
	invlpg(VA + 0x1000);
	for (int i = 0; i < ROUNDS; i++) {
		for (u32 n = 0; n < sizeof offsets / sizeof *offsets; n++) {
			long bit = offsets[n];
			u8 *byte = bit < 0 ? page_a + 4096 + (bit >> 3) : page_b + (bit >> 3), mask = 1 << (bit & 7);

			memset(page_a, 0, 4096);
			memset(page_b, 0, 4096);
			ok &= BIT("bt %1, (%2)", bit, u64) == 0;
			ok &= BIT("bts %1, (%2)", bit, u64) == 0 && *byte == mask;
			ok &= BIT("bt %1, (%2)", bit, u32) == 1;
			ok &= BIT("lock btr %1, (%2)", bit, u32) == 1 && *byte == 0;
			ok &= BIT("btc %1, (%2)", bit, u16) == 0 && *byte == mask;
			ok &= BIT("lock btc %1, (%2)", bit, u64) == 1 && *byte == 0;
			ok &= BIT("lock bts %1, (%2)", bit, u16) == 0 && *byte == mask;
			ok &= BIT("btr %1, (%2)", bit, u64) == 1 && *byte == 0;
		}
	}
	check("BT, BTS, BTR, BTC with offsets in registers", ok);
	ok = 1;
	*pte_at(VA, 1) = 0;
	invlpg(VA);
	for (int i = 0; i < ROUNDS; i++) {
		TRY("bts %0, (%1)", ::"r"(-1ll), "r"(VA + 0x1000) : "memory", "cc");
		ok &= fault.vector == VEC_PF && fault.error == 2 && fault.cr2 == VA + 0xff8;
		TRY("bt %0, (%1)", ::"r"(-1), "r"(VA + 0x1000) : "memory", "cc");
		ok &= fault.vector == VEC_PF && fault.error == 0 && fault.cr2 == VA + 0xffc;
	}
	check("they fault where the bit is", ok);
	ok = 1;
}

/* Whether ring 3 sees the kernel's own pages: with SMAP they cannot be the kernel's then. */
static void share_pages(int on)
{
	u64 *entries[] = {pte_at(0, 3), pte_at(0, 2), pte_at(0x200000, 2)};

	*pte_at(0, 4) |= PG_U;
	for (u32 i = 0; i < sizeof entries / sizeof *entries; i++)
		*entries[i] = (*entries[i] & ~(u64)PG_U) | (on ? PG_U : 0);
	write_cr3(read_cr3());
}

void guest_main(void)
{
	page_a = page_alloc();
	page_b = page_alloc();
	shadows();
	flags_by_bit();
	bases();
	moves();
	interrupt_returns();
	strings();
	strings_over_code();
	bit_strings();
	share_pages(1);
	user_flags();
	system_calls();
	share_pages(0);
	access_flag();
}
