/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions in 64-bit mode: each vector's error code and saved RIP, #DF, priorities, faults in the middle of string
 * instructions, alignment checks. SDM 3A 6.9, 6.15. Left out: segment limits (faults32.c), #NM #MF #XM (fpu.c).
 */
#include "guest.h"

#define VA 0x4000000000ull

static u8 *page_a, *page_b;

extern char user_ac[], user_ac_at[], user_hlt[], user_int[], user_int_at[], user_de[], user_cli[], user_in[], user_bp[],
	user_bp_end[];
asm("user_ac: pushf; orl $0x40000, (%rsp); popf\n"
    "user_ac_at: mov (%rdi), %eax\n pushf; andl $~0x40000, (%rsp); popf; int $0x80\n"
    "user_hlt: hlt\n"
    "user_int: int $0x40\n"
    "user_de: xor %ecx, %ecx; div %ecx\n"
    "user_cli: cli\n"
    "user_in: in $0x61, %al\n int $0x80\n"
    "user_bp: int3\n"
    "user_bp_end: int $0x80\n");

/* ------------------------------------------------ vectors */
static void vectors(void)
{
	extern char after[];
	u32 zero = 0;
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) pointer = {0, 0};

	TRY("divl %0", ::"m"(zero), "a"(1), "d"(0));
	check_fault("#DE by zero", VEC_DE, 0);
	TRY("divl %0", ::"r"(1), "a"(0), "d"(1));
	check_fault("#DE overflow", VEC_DE, 0);
	TRY("idivl %%ecx", ::"c"(-1), "a"(0x80000000u), "d"(-1));
	check_fault("#DE INT_MIN / -1", VEC_DE, 0);
	TRY("int3\n.globl after\nafter:", ::);
	check_at("#BP is a trap", VEC_BP, 0, (word)after);
	TRY(".byte 0xcd, 0x03", ::);
	check_at("INT 3 in two bytes is a trap", VEC_BP, 0, fault_try() + 2);
	TRY("ud2", ::);
	check_fault("#UD UD2", VEC_UD, 0);
	TRY(".byte 0x0f, 0xff, 0xc0", ::);
	check_fault("#UD UD0", VEC_UD, 0);
	TRY(".byte 0xf0, 0x90", ::);
	check_fault("#UD LOCK NOP", VEC_UD, 0);
	TRY(".byte 0xf0, 0x01, 0xc0", ::);
	check_fault("#UD LOCK ADD register", VEC_UD, 0);
	TRY(".byte 0x06", ::);
	check_fault("#UD PUSH ES in 64-bit mode", VEC_UD, 0);
	TRY(".byte 0xd5, 0x0a", ::);
	check_fault("#UD AAD in 64-bit mode", VEC_UD, 0);
	TRY(".byte 0x0f, 0x01, 0xc8 - 0x07", ::); /* VMCALL without VMX; some hypervisors take it */
	check("VMCALL does not kill the machine", 1);
	TRY("mov %%cr0, %%rax\n mov %%rax, %%cr0", ::: "rax");
	check_none("CR0 to itself");
	TRY(".byte 0x0f, 0x20, 0xc8", ::);
	check_fault("#UD MOV from CR1", VEC_UD, 0);
	TRY("int $0x40", ::);
	check_at("INT n through the IDT", 0x40, 0, fault_try() + 2);
	idt_gate(0x41, trap_entry(0x41), SEL_CODE, 0x0e, 0);
	TRY("int $0x41", ::);
	check_fault("INT n, gate not present", VEC_NP, 0x41 * 8 + 2);
	idt_gate(0x41, trap_entry(0x41), SEL_CODE, 0x8c, 0);
	TRY("int $0x41", ::);
	check_fault("INT n, not an interrupt or trap gate", VEC_GP, 0x41 * 8 + 2);
	idt_gate(0x41, trap_entry(0x41), 0, 0x8e, 0);
	TRY("int $0x41", ::);
	check_fault("INT n, null selector in the gate", VEC_GP, 0);
	idt_gate(0x41, trap_entry(0x41), SEL_DATA, 0x8e, 0);
	TRY("int $0x41", ::);
	check_fault("INT n, data segment in the gate", VEC_GP, SEL_DATA);
	idt_gate(0x41, trap_entry(0x41), SEL_CODE32, 0x8e, 0);
	TRY("int $0x41", ::);
	check_fault("INT n, 32-bit code segment in the gate", VEC_GP, SEL_CODE32);
	idt_gate(0x41, trap_entry(0x41), 0x1f8 + 8, 0x8e, 0);
	TRY("int $0x41", ::);
	check_fault("INT n, selector beyond the GDT", VEC_GP, 0x200);
	gdt_set(SEL_FREE, descriptor(0, 0xfffff, 0x1b, 0xa));
	idt_gate(0x41, trap_entry(0x41), SEL_FREE, 0x8e, 0);
	TRY("int $0x41", ::);
	check_fault("INT n, code segment not present", VEC_NP, SEL_FREE);
	asm volatile("sidt %0" : "=m"(pointer));
	pointer.limit = 0x41 * 16 + 14;
	idt_gate(0x41, trap_entry(0x41), SEL_CODE, 0x8e, 0);
	asm volatile("lidt %0" ::"m"(pointer));
	TRY("int $0x41", ::);
	check_fault("INT n beyond the IDT", VEC_GP, 0x41 * 8 + 2);
	idt_load();

	/* Segment loads. */
	TRY("mov %0, %%ds", ::"r"(0x200));
	check_fault("MOV DS beyond the GDT", VEC_GP, 0x200);
	TRY("mov %0, %%ds", ::"r"(0x204));
	check_fault("MOV DS, LDT of no descriptor", VEC_GP, 0x204);
	gdt_set(SEL_FREE, descriptor(0, 0xfffff, 0x13, 0xc));
	TRY("mov %0, %%ds", ::"r"(SEL_FREE));
	check_fault("MOV DS, not present", VEC_NP, SEL_FREE);
	TRY("mov %0, %%ss", ::"r"(SEL_FREE));
	check_fault("MOV SS, not present", VEC_SS, SEL_FREE);
	TRY("mov %0, %%ss", ::"r"(SEL_USER_DATA));
	check_fault("MOV SS with RPL 3", VEC_GP, SEL_USER_DATA & ~3);
	TRY("mov %0, %%ss", ::"r"(SEL_CODE));
	check_fault("MOV SS with code", VEC_GP, SEL_CODE);
	TRY("mov %0, %%ss", ::"r"(0));
	check_none("null SS at CPL 0 in 64-bit mode");
	asm volatile("mov %0, %%ss" ::"r"(SEL_DATA));
	TRY("ltr %w0", ::"r"(SEL_TSS));
	check_fault("LTR of a busy TSS", VEC_GP, SEL_TSS);
	if (!peer_skips("LTR of null")) {
		TRY("ltr %w0", ::"r"(0));
		check_fault("LTR of null", VEC_GP, 0);
	}
	TRY("lldt %w0", ::"r"(SEL_TSS));
	check_fault("LLDT of a TSS", VEC_GP, SEL_TSS);
	TRY("pushq $0x3b0; pushq $0; lretq", ::);
	check_eq("far return beyond the GDT", fault.vector << 16 | fault.error, VEC_GP << 16 | 0x3b0);
	/* A busy TSS descriptor's upper half must have type 0. */

	/* Control registers, MSRs. */
	if (!peer_skips("CR0 with PG and not PE")) {
		TRY("mov %0, %%cr0", ::"r"((read_cr0() & ~1ul)));
		check_fault("CR0 with PG and not PE", VEC_GP, 0);
	}
	TRY("mov %0, %%cr0", ::"r"((read_cr0() | 0x20000000)));
	check_fault("CR0 with NW and not CD", VEC_GP, 0);
	TRY("mov %0, %%cr0", ::"r"((read_cr0() | 1ull << 32)));
	check_fault("CR0 above 32 bits", VEC_GP, 0);
	if (!peer_skips("CR4.PAE off and reserved bits of CR3, CR4 and CR8")) {
		TRY("mov %0, %%cr4", ::"r"((read_cr4() & ~0x20ul)));
		check_fault("CR4.PAE off in long mode", VEC_GP, 0);
		TRY("mov %0, %%cr4", ::"r"((read_cr4() | 1ul << 31)));
		check_fault("CR4 reserved bit", VEC_GP, 0);
		TRY("mov %0, %%cr8", ::"r"(0x10ul));
		check_fault("CR8 reserved bit", VEC_GP, 0);
		TRY("mov %0, %%cr3", ::"r"(read_cr3() | 1ul << 62));
		check_fault("CR3 reserved bit", VEC_GP, 0);
	}
	TRY("rdmsr", ::"c"(0x12345678) : "rax", "rdx");
	check_fault("RDMSR unknown", VEC_GP, 0);
	TRY("wrmsr", ::"c"(0xc0000080), "a"(2), "d"(0));
	check_fault("WRMSR EFER reserved bit", VEC_GP, 0);
	TRY("wrmsr", ::"c"(0xc0000080), "a"(0), "d"(0));
	check_fault("WRMSR EFER.LME with paging on", VEC_GP, 0);
	TRY("wrmsr", ::"c"(0xc0000100), "a"(0), "d"(0x8000));
	check_fault("WRMSR FS_BASE non-canonical", VEC_GP, 0);
	TRY("mov %0, %%dr7", ::"r"(1ull << 32));
	check_fault("DR7 above 32 bits", VEC_GP, 0);
	TRY("xsetbv", ::"c"(0), "a"(0), "d"(0));
	check_fault("XSETBV without CR4.OSXSAVE", VEC_UD, 0);

	/* User mode. */
	enter_user((word)user_hlt, 0);
	check_at("user HLT", VEC_GP, 0, (word)user_hlt);
	check_eq("saved CS and CPL", fault.cs, SEL_USER_CODE);
	check_eq("saved SS", fault.ss, SEL_USER_DATA);
	enter_user((word)user_int, 0);
	check_at("user INT to a gate of DPL 0", VEC_GP, 0x40 * 8 + 2, (word)user_int);
	enter_user((word)user_de, 0);
	check_at("user #DE", VEC_DE, 0, (word)user_de + 2);
	enter_user((word)user_cli, 0);
	check_at("user CLI", VEC_GP, 0, (word)user_cli);
	enter_user((word)user_in, 0);
	check_at("user IN, port not permitted", VEC_GP, 0, (word)user_in);
	tss.map[32 + 0x61 / 8] &= ~(1 << (0x61 & 7));
	enter_user((word)user_in, 0);
	check_fault("user IN, port permitted", VEC_EXIT, 0);
	tss.map[32 + 0x61 / 8] |= 1 << (0x61 & 7);
	enter_user((word)user_bp, 0);
	check_at("user INT3", VEC_BP, 0, (word)user_bp_end);
	check_eq("user INT3 stack at RSP0", (word)tss.rsp[0] & 0xf, 0);
}

/* ------------------------------------------------ strings */
static void strings(void)
{
	u64 end = VA + 0x1000;

	map(VA, (word)page_a | PG_P | PG_W, 1);
	map(end, 0, 1);
	memset(page_a, 0x11, 4096);
	TRY("rep movsb", ::"S"(page_b), "D"(end - 100), "c"(200) : "memory");
	check_pf("REP MOVSB fault", 2, end);
	check_eq("REP MOVSB, RCX left", fault.cx, 100);
	check_eq("REP MOVSB, RDI", fault.di, end);
	check_eq("REP MOVSB, RSI", fault.si, (word)page_b + 100);
	check_eq("REP MOVSB saves RF", fault.flags & FL_RF, FL_RF);
	memset(page_a, 0x11, 4096);
	memset(page_b, 0x22, 4096);
	TRY("rep movsq", ::"S"(page_b), "D"(end - 36), "c"(10) : "memory");
	check_pf("REP MOVSQ across pages", 2, end);
	check_eq("REP MOVSQ, RCX left", fault.cx, 6);
	check_eq("REP MOVSQ writes no half", load32(end - 4), 0x11111111);
	TRY("rep stosl", ::"D"(end - 40), "c"(100), "a"(0x33333333) : "memory");
	check_pf("REP STOSD", 2, end);
	check_eq("REP STOSD, RCX left", fault.cx, 90);
	TRY("std; rep movsb; cld", ::"S"(page_b + 100), "D"(VA + 20), "c"(100) : "memory");
	asm volatile("cld");
	check_at("REP MOVSB downwards", VEC_PF, 2, fault_try() + 1);
	check_eq("REP MOVSB downwards, cr2", fault.cr2, VA - 1);
	check_eq("REP MOVSB downwards, RCX left", fault.cx, 79);
	TRY("repe cmpsb", ::"S"(page_b), "D"(page_b), "c"(4096 + 5) : "memory", "cc");
	check("REPE CMPSB", fault.vector == VEC_NONE);
	TRY("rep lodsb", ::"S"(end - 3), "c"(10) : "rax", "memory");
	check_pf("REP LODSB", 0, end);
	check_eq("REP LODSB, RCX left", fault.cx, 7);
	TRY("repne scasb", ::"D"(end - 3), "a"(0x77), "c"(10) : "memory");
	check_pf("REPNE SCASB", 0, end);
	check_eq("REPNE SCASB, RDI", fault.di, end);
	TRY("rep insb", ::"D"(end - 2), "d"(0x61), "c"(10) : "memory");
	check_pf("REP INSB", 2, end);
	check_eq("REP INSB, RCX left", fault.cx, 8);
	TRY("rep movsb", ::"S"(VA + 0x1000), "D"(page_b), "c"(0) : "memory");
	check_none("REP MOVSB of nothing");
	/* Other instructions leave their registers when the second access faults. */
	TRY("push (%0)", ::"r"(end) : "memory");
	check_pf("PUSH m64", 0, end);
	TRY("cmpxchg16b (%0)", ::"r"(end), "a"(0), "b"(0), "c"(0), "d"(0) : "memory");
	check_pf("CMPXCHG16B", 2, end);
	TRY("cmpxchg16b (%0)", ::"r"(VA + 8), "a"(0), "b"(0), "c"(0), "d"(0) : "memory");
	check_fault("CMPXCHG16B misaligned", VEC_GP, 0);
	TRY("xchg %%rax, (%0)", ::"r"(end - 4), "a"(5ul) : "memory");
	check_pf("XCHG across pages", 2, end);
	check_eq("XCHG leaves RAX", fault.ax, 5);
	TRY("enter $16, $0; leave", ::: "memory");
	check_eq("ENTER and LEAVE", fault.vector, VEC_NONE);
}

/* A jump in the last bytes of the canonical half to what is behind it; often enough to be translated. */
static void jump_out_of_the_half(void)
{
	const u64 end = 0x800000000000ull;
	int turn;

	map(end - 0x1000, (word)page_b | PG_P | PG_W, 1);
	store16((word)page_b + 0xffe, 0xe0ff); /* jmp *%rax */
	for (turn = 0; turn < 60; turn++) {
		TRY("jmp *%0", ::"r"(end - 2), "a"(end));
		if (fault.vector != VEC_GP || fault.ip != end - 2)
			break;
	}
	check_at("jump over the end of the canonical half", VEC_GP, 0, end - 2);
	map(end - 0x1000, 0, 1);
}

/* ------------------------------------------------ double fault, priorities */
static void priorities(void)
{
	u64 bad = 0x8000000000000000ull;

	map(VA, (word)page_a | PG_P, 1);
	map(VA + 0x1000, 0, 1);
	/* Non-canonical addresses: #GP(0), #SS(0) for the stack; before any page fault. */
	TRY("mov (%0), %%al", ::"S"(bad) : "rax");
	check_fault("non-canonical read", VEC_GP, 0);
	TRY("push %%rbp; mov %0, %%rbp; jmp 1f; 1: mov (%%rbp), %%al; pop %%rbp", ::"r"(bad) : "rax");
	check("non-canonical by RBP is #SS(0)", fault.vector == VEC_SS && fault.error == 0);
	tss.ist[0] = (word)page_b + 4096; /* the interrupted stack cannot take a frame */
	idt_gate(VEC_SS, trap_entry(VEC_SS), SEL_CODE, 0x8e, 1);
	if (!peer_skips("push to a non-canonical RSP")) {
		TRY("mov %%rsp, %%rdx; mov %0, %%rsp; push %%rax; mov %%rdx, %%rsp", ::"r"(bad) : "rdx");
		check("push to a non-canonical RSP is #SS(0)", fault.vector == VEC_SS && fault.error == 0);
	}
	TRY("jmp *%0", ::"r"(bad));
	check_fault("jump to a non-canonical address", VEC_GP, 0);
	TRY("push %0; ret", ::"r"(bad) : "memory");
	check_eq("RET to a non-canonical address", fault.vector, VEC_GP);
	jump_out_of_the_half();
	TRY("mov (%0), %%eax", ::"r"(0x7ffffffffffcull) : "rax");
	check_pf("the last canonical bytes", 0, 0x7ffffffffffcull);
	TRY("mov (%0), %%rax", ::"S"(0x7ffffffffffcull) : "rax");
	check_fault("across the end of the canonical half", VEC_GP, 0);
	/* A code byte that cannot be fetched comes before #UD of what is decoded so far; too long comes as #GP. */
	TRY(".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90", ::);
	check_fault("instruction of 16 bytes", VEC_GP, 0);
	/* #DF: a fault while delivering a contributory one. */
	idt_gate(VEC_GP, trap_entry(VEC_GP), 0x1f8, 0x8e, 0);
	TRY("mov (%0), %%al", ::"S"(bad) : "rax");
	check_eq("#GP on delivery of #GP is #DF", fault.vector, VEC_DF);
	check_eq("#DF error code", fault.error, 0);
	TRY("divl %0", ::"r"(0), "a"(1), "d"(0));
	check_eq("#GP on delivery of #GP of INT is a plain #DE", fault.vector, VEC_DE);
	idt_gate(VEC_DE, trap_entry(VEC_DE), 0x1f8, 0x8e, 0);
	TRY("divl %0", ::"r"(0), "a"(1), "d"(0));
	check_eq("#GP on delivery of #DE is #DF", fault.vector, VEC_DF);
	idt_gate(VEC_UD, trap_entry(VEC_UD), 0x1f8, 0x8e, 0);
	idt_gate(VEC_GP, trap_entry(VEC_GP), SEL_CODE, 0x8e, 0);
	TRY("ud2", ::);
	check_eq("#GP on delivery of #UD is #GP", fault.vector, VEC_GP);
	check_eq("with EXT and the selector", fault.error, 0x1f9);
	idt_gate(VEC_PF, trap_entry(VEC_PF), 0x1f8, 0x8e, 0);
	TRY("mov (%0), %%al", ::"r"(VA + 0x1000) : "rax");
	check_eq("#GP on delivery of #PF is #DF", fault.vector, VEC_DF);
	check_eq("cr2 of that #PF", fault.cr2, VA + 0x1000);
	idt_default();
	gdt_set(SEL_FREE, descriptor(0, 0xfffff, 0x1b, 0xa));
	idt_gate(VEC_PF, trap_entry(VEC_PF), SEL_FREE, 0x8e, 0);
	TRY("mov (%0), %%al", ::"r"(VA + 0x1000) : "rax");
	check_eq("#NP on delivery of #PF is #DF", fault.vector, VEC_DF);
	idt_gate(VEC_NP, trap_entry(VEC_NP), SEL_CODE, 0x8e, 0);
	idt_gate(0x41, trap_entry(0x41), SEL_FREE, 0x8e, 0);
	TRY("int $0x41", ::);
	check_fault("#NP on INT n has no EXT", VEC_NP, SEL_FREE);
	idt_default();
	/* The destination's fault and the source's: MOVS reads first. */
	TRY("movsb", ::"S"(VA + 0x1000), "D"(VA + 0x2000) : "memory");
	check_pf("MOVS: the read comes first", 0, VA + 0x1000);
	/* Privilege before the operand: user LGDT is #GP before its operand's #PF (SDM 3A table 6-2). */
}

/* ------------------------------------------------ alignment check */
static void alignment(void)
{
	write_cr0(read_cr0() | 0x40000); /* AM */
	enter_user((word)user_ac, (word)page_b + 1);
	check_at("#AC misaligned user read", VEC_AC, 0, (word)user_ac_at);
	check_eq("#AC saved AC flag", fault.flags & FL_AC, FL_AC);
	enter_user((word)user_ac, (word)page_b + 4);
	check_fault("aligned user read", VEC_EXIT, 0);
	TRY_AFTER("pushf; orl $0x40000, (%%rsp); popf", "mov 1(%0), %%eax; pushf; andl $~0x40000, (%%rsp); popf",
		  ::"r"(page_b)
		  : "rax", "memory");
	check_none("no #AC at CPL 0");
	write_cr0(read_cr0() & ~0x40000ul);
	enter_user((word)user_ac, (word)page_b + 1);
	check_fault("no #AC without CR0.AM", VEC_EXIT, 0);
}

/* ------------------------------------------------ RSP */
/* User code may have anything there. An engine that keeps it in the host's RSP has to live with what the host's kernel does when a
 * timer interrupt, a page that the host has not yet or an exception comes meanwhile. */
#define STRAY_RSP 0x33f419fd861f0613
enum { STRAY_TURNS = 4000000, STRAY_PAGES = 64 };

extern char user_stray[], user_stray_de[];
asm("user_stray: movabs $0x33f419fd861f0613, %rsp; mov $4000000, %ecx; xor %eax, %eax; movq %rdi, %xmm5; movq %rdi, %xmm6\n"
    "1: add $3, %rax; paddq %xmm6, %xmm5; dec %ecx; jnz 1b\n"
    "mov $64, %ecx\n"
    "2: mov %rax, (%rdi); add $4096, %rdi; dec %ecx; jnz 2b\n"
    "movq %xmm5, %rsi; cqto\n"
    "user_stray_de: div %rcx\n");

static void stray_stack(void)
{
	u64 first = (u64)page_alloc(), wrong = 0;
	u32 i;

	for (i = 1; i < STRAY_PAGES; i++)
		page_alloc();
	write_cr4(read_cr4() | 0x200); /* OSFXSR */
	enter_user((word)user_stray, first);
	check_at("#DE with an RSP that is not canonical", VEC_DE, 0, (word)user_stray_de);
	check_eq("its RSP", fault.sp, STRAY_RSP);
	check_eq("its general registers", fault.ax, 3ull * STRAY_TURNS);
	check_eq("its vectors", fault.si, first * (STRAY_TURNS + 1ull));
	for (i = 0; i < STRAY_PAGES; i++)
		wrong += *(u64 *)(first + 4096ull * i) != 3ull * STRAY_TURNS;
	check_eq("what it wrote", wrong, 0);
}

void guest_main(void)
{
	*pte_at(0, 4) |= PG_U;
	*pte_at(0, 3) |= PG_U;
	*pte_at(0, 2) |= PG_U;
	*pte_at(0x200000, 2) |= PG_U;
	write_cr3(read_cr3());
	page_a = page_alloc();
	page_b = page_alloc();
	vectors();
	strings();
	priorities();
	alignment();
	stray_stack();
}
