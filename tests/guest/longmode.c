/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Long mode: compatibility-mode code, SYSCALL and SYSRET, SYSENTER and SYSEXIT, IST, canonical checks, SWAPGS,
 * FSGSBASE, far transfers between modes, leaving long mode. SDM 3A 5.8.7, 5.8.8, 6.14, 2A/2B of the instructions.
 */
#include "guest.h"

#define STAR           0xc0000081
#define LSTAR          0xc0000082
#define CSTAR          0xc0000083
#define FMASK          0xc0000084
#define FS_BASE        0xc0000100
#define GS_BASE        0xc0000101
#define KERNEL_GS_BASE 0xc0000102
#define EFER           0xc0000080
#define NONCANONICAL   0x800000000000ull

u64 seen[16], saved_sp;
extern char syscall_entry[], user_syscall[], user_syscall_after[], sysenter_entry[], user_sysenter[], user_back32[],
	user_back64[], user_compat[], user_compat_end[], user_swapgs[], user_sysret[], user_gs[], user_fsgsbase[],
	syscall_fault_entry[], user_syscall32[], compat_calls[], user_far[], user_far_after[], kernel_compat[],
	sysret_bad[];

asm(/* The kernel's ends. */
    "syscall_entry: mov %rcx, seen\n mov %r11, seen + 8\n mov %rsp, seen + 16\n mov $stack_top - 4096, %rsp\n"
    " pushfq\n pop seen + 24\n mov %cs, seen + 32\n mov %ss, seen + 40\n mov seen + 16, %rsp\n mov seen, %rcx\n mov "
    "seen + 8, %r11\n"
    " sysretq\n"
    "sysenter_entry: mov %rsp, seen\n mov %cs, seen + 8\n mov %ss, seen + 16\n pushfq\n pop seen + 24\n"
    " cmp $64, %eax\n je 1f\n mov $user_back32, %edx\n mov $0x11110000, %ecx\n sysexitl\n"
    "1: mov $user_back64, %rdx\n mov $0x22220000, %ecx\n sysexitq\n"
    /* User code. */
    "user_syscall: mov $0x200ad5, %eax\n push %rax\n popfq\n syscall\n"
    "user_syscall_after: mov %ss, %ebx\n int $0x80\n"
    "user_sysenter: mov %edi, %eax\n sysenter\n"
    "user_back64: mov %cs, %eax\n mov %ss, %ebx\n mov %esp, %ecx\n int $0x80\n"
    "user_swapgs: swapgs\n"
    "user_sysret: sysretq\n"
    "user_gs: mov %gs:(0), %rax\n int $0x80\n"
    "user_fsgsbase: wrgsbase %rdi\n rdgsbase %rax\n int $0x80\n"
    "user_far: push $0x23\n push $user_compat\n lretq\n"
    "user_int46: int $0x46\n int $0x80\n"
    ".code32\n"
    "user_back32: mov %cs, %eax\n mov %ss, %ebx\n mov %esp, %ecx\n int $0x80\n"
    /* 32-bit code: a REX byte is INC, addresses are 32 bits, PUSHA exists, 64-bit registers keep their upper halves. */
    "user_compat: mov $0x2b, %esi\n mov %esi, %ds\n mov $5, %eax\n .byte 0x40\n mov $0xffffffff, %ecx\n inc %ecx\n "
    "pushal\n popal\n mov %cs, %edx\n"
    " mov $0x08000000, %ebx\n mov -0x7ffffff(%ebx), %esi\n"
    "user_compat_end: int $0x80\n"
    "user_syscall32: syscall\n int $0x80\n"
    "kernel_compat: mov %cs, %eax\n lret\n"
    ".code64\n");

static void enter_at(char *ip, u16 cs, u64 flags, u64 arg)
{
	static u8 stack[4096] __attribute__((aligned(16)));
	struct enter e = {.ip = (word)ip,
			  .cs = cs,
			  .sp = (word)stack + 4000,
			  .ss = SEL_USER_DATA,
			  .flags = flags | 2,
			  .arg = arg};

	fault_begin();
	enter(&e);
}

static void compatibility(void)
{
	store32(0x01, 0xcafe);
	enter_at(user_compat, SEL_USER_CODE32, 0, 0);
	check_at("compatibility mode", VEC_EXIT, 0, (word)user_compat_end + 2);
	check("40h is INC EAX", fault.ax == 6);
	check_eq("32-bit results", fault.cx, 0);
	check_eq("CS", fault.dx & 0xffff, SEL_USER_CODE32);
	check_eq("32-bit address", fault.si, 0xcafe);
	enter_at(user_far, SEL_USER_CODE64, 0, 0);
	check_at("RETF from 64-bit to compatibility mode", VEC_EXIT, 0, (word)user_compat_end + 2);
	enter_at(user_compat, SEL_USER_CODE64, 0, 0);
	check("the same bytes as 64-bit code are #UD at PUSHA", fault.vector == VEC_UD);
	/* Ring 0: far call to 32-bit code and back. */
	{
		static struct {
			u32 offset;
			u16 selector;
		} __attribute__((packed)) to = {0, SEL_CODE32};
		u32 got;

		to.offset = (u32)(word)kernel_compat;
		asm volatile("lcall *%1" : "=a"(got) : "m"(to) : "memory");
		check_eq("far call to 32-bit code of ring 0 and back", got & 0xffff, SEL_CODE32);
	}
	/* A code segment with both L and D. */
	gdt_set(SEL_FREE, descriptor(0, 0xfffff, 0xfb, 0xe));
	enter_at(user_compat, SEL_FREE | 3, 0, 0);
	check("IRET to a code segment with L and D", fault.vector == VEC_GP && fault.error == SEL_FREE);
	/* Direct far jumps and others do not exist in 64-bit mode. */
	TRY(".byte 0xea, 0, 0, 0, 0, 8, 0", ::);
	check_fault("JMP ptr16:32", VEC_UD, 0);
	TRY(".byte 0x9a, 0, 0, 0, 0, 8, 0", ::);
	check_fault("CALL ptr16:32", VEC_UD, 0);
	TRY(".byte 0xce", ::);
	check_fault("INTO", VEC_UD, 0);
	TRY(".byte 0x60", ::);
	check_fault("PUSHA", VEC_UD, 0);
	TRY(".byte 0x27", ::);
	check_fault("DAA", VEC_UD, 0);
	TRY(".byte 0xc4, 0x00", ::);
	check("LES is VEX", fault.vector == VEC_UD);
	/* Segment bases and limits do not apply to DS, ES, SS. */
	gdt_set(SEL_FREE, descriptor(0x123000, 0xf, 0x93, 0));
	asm volatile("mov %0, %%ds; mov %0, %%es" ::"r"(SEL_FREE));
	TRY("mov %1, %%rax", ::"m"(seen), "m"(seen[8]) : "rax");
	check_none("limit of DS is not checked");
	asm volatile("mov %0, %%ds; mov %0, %%es" ::"r"(SEL_DATA));
}

static void system_calls(void)
{
	u64 efer = rdmsr(EFER);

	TRY("syscall", ::: "rcx", "r11");
	check_fault("SYSCALL without EFER.SCE", VEC_UD, 0);
	TRY("sysretq", ::: "rcx", "r11");
	check_fault("SYSRET without EFER.SCE", VEC_UD, 0);
	wrmsr(EFER, efer | 1);
	wrmsr(STAR, (u64)0x20 << 48 | (u64)SEL_CODE << 32);
	wrmsr(LSTAR, (word)syscall_entry);
	wrmsr(FMASK, 0x4d4);
	memset(seen, 0, sizeof seen);
	enter_at(user_syscall, SEL_USER_CODE64, 0, 0);
	check_fault("SYSCALL, SYSRET", VEC_EXIT, 0);
	check_eq("RCX is the return address", seen[0], (word)user_syscall_after);
	check_eq("R11 is RFLAGS", seen[1], 0x2008d7); /* POPF in ring 3 left IF */
	check_eq("RFLAGS masked by FMASK", seen[3], 0x2008d7 & ~0x4d4u);
	check_eq("CS from STAR", seen[4] & 0xffff, SEL_CODE);
	check_eq("SS from STAR", seen[5] & 0xffff, SEL_DATA);
	check_eq("CS of SYSRET", fault.cs, SEL_USER_CODE64);
	check_eq("SS of SYSRET", fault.bx & 0xffff, SEL_USER_DATA);
	check_eq("RFLAGS restored", fault.flags & 0xad7, 0x8d7);
	TRY("sysretq", ::"c"(NONCANONICAL), "r"(0));
	check("SYSRET to a non-canonical RIP is #GP in ring 0 (Intel) or later in ring 3 (AMD)",
	      fault.vector == VEC_GP && fault.error == 0);
	enter_at(user_sysret, SEL_USER_CODE64, 0, 0);
	check_at("SYSRET in ring 3", VEC_GP, 0, (word)user_sysret);
	TRY("wrmsr", ::"c"(LSTAR), "a"(0), "d"(0x8000));
	check_fault("LSTAR non-canonical", VEC_GP, 0);
	wrmsr(EFER, efer);
}

static void sysenter(void)
{
	u16 base = SEL_FREE; /* +0 CS, +8 SS, +16 and +24 32-bit, +32 and +40 64-bit user */
	static u8 stack[1024];

	gdt_set(base, descriptor(0, 0xfffff, 0x9b, 0xa));
	gdt_set(base + 8, descriptor(0, 0xfffff, 0x93, 0xc));
	gdt_set(base + 16, descriptor(0, 0xfffff, 0xfb, 0xc));
	gdt_set(base + 24, descriptor(0, 0xfffff, 0xf3, 0xc));
	gdt_set(base + 32, descriptor(0, 0xfffff, 0xfb, 0xa));
	gdt_set(base + 40, descriptor(0, 0xfffff, 0xf3, 0xc));
	if (cpuid(0, 0).c == 0x444d4163) { /* "cAMD": APM 3, SYSENTER */
		enter_at(user_sysenter, SEL_USER_CODE64, 0, 64);
		check_at("SYSENTER in long mode is undefined on AMD", VEC_UD, 0, (word)user_sysenter + 2);
		return;
	}
	wrmsr(0x174, 0);
	enter_at(user_sysenter, SEL_USER_CODE64, 0, 64);
	check_at("SYSENTER with a null CS", VEC_GP, 0, (word)user_sysenter + 2);
	wrmsr(0x174, base);
	wrmsr(0x175, (word)stack + 1000);
	wrmsr(0x176, (word)sysenter_entry);
	enter_at(user_sysenter, SEL_USER_CODE64, FL_IF, 64);
	check_fault("SYSENTER, SYSEXIT to 64-bit code", VEC_EXIT, 0);
	check_eq("RSP from the MSR", seen[0], (word)stack + 1000);
	check("CS and SS from the MSR", (seen[1] & 0xffff) == base && (seen[2] & 0xffff) == base + 8u);
	check_eq("IF cleared", seen[3] & FL_IF, 0);
	check("CS, SS and RSP of SYSEXIT", (fault.ax & 0xffff) == (u32)(base + 32 + 3) &&
						   (fault.bx & 0xffff) == (u32)(base + 40 + 3) &&
						   fault.cx == 0x22220000);
	enter_at(user_sysenter, SEL_USER_CODE64, 0, 32);
	check_fault("SYSEXIT to 32-bit code", VEC_EXIT, 0);
	check("its CS, SS and ESP", (fault.ax & 0xffff) == (u32)(base + 16 + 3) &&
					    (fault.bx & 0xffff) == (u32)(base + 24 + 3) && fault.cx == 0x11110000);
	TRY("mov %0, %%rdx; sysexitq", ::"r"(NONCANONICAL), "c"(0) : "rdx");
	check("SYSEXIT to a non-canonical RIP", fault.vector == VEC_GP && fault.error == 0);
	TRY("wrmsr", ::"c"(0x176), "a"(0), "d"(0x8000));
	check_fault("SYSENTER_EIP non-canonical", VEC_GP, 0);
}

static volatile u64 ist_sp, ist_ss, ist_old;

static void on_ist(struct frame *f)
{
	ist_sp = (word)f;
	ist_old = f->sp;
	asm volatile("mov %%ss, %0" : "=r"(ist_ss));
}

static void stacks(void)
{
	static u8 stack[4096] __attribute__((aligned(16)));
	u64 sp;

	tss.ist[6] = (word)stack + 4096;
	handlers[0x46] = on_ist;
	idt_gate(0x46, trap_entry(0x46), SEL_CODE, 0x8e, 7);
	asm volatile("mov %%rsp, %0; int $0x46" : "=r"(sp)::"memory");
	check_eq("IST stack", ist_sp, (word)stack + 4096 - sizeof(struct frame));
	check_eq("the old RSP is saved", ist_old, sp);
	check_eq("SS is kept at the same ring", ist_ss & 0xffff, SEL_DATA);
	idt_gate(0x46, trap_entry(0x46), SEL_CODE, 0xee, 0);
	/* Frames are aligned to 16 bytes. */
	asm volatile("mov %%rsp, %%rbx; sub $5, %%rsp; int $0x46; mov %%rbx, %%rsp" ::: "rbx", "memory");
	check_eq("the frame is aligned to 16", (ist_sp + sizeof(struct frame)) & 15, 0);
	/* From ring 3 SS becomes null with RPL 0. */
	{
		extern char user_int46[];

		enter_at(user_int46, SEL_USER_CODE64, 0, 0);
		check_eq("SS is null in ring 0 coming from ring 3", ist_ss & 0xffff, 0);
		check_eq("RSP0", ist_sp, (tss.rsp[0] & ~15ul) - sizeof(struct frame));
		tss.rsp[0] |= NONCANONICAL;
		tss.ist[0] = (word)stack + 4096;
		idt_gate(VEC_DF, trap_entry(VEC_DF), SEL_CODE, 0x8e, 1);
		idt_gate(VEC_SS, trap_entry(VEC_SS), SEL_CODE, 0x8e, 1);
		enter_at(user_int46, SEL_USER_CODE64, 0, 0);
		check_eq("a non-canonical RSP0 is #SS", fault.vector, VEC_SS);
		tss.rsp[0] &= ~NONCANONICAL;
		idt_default();
	}
	handlers[0x46] = 0;
}

static void bases(void)
{
	static u64 a = 0xaaaa, b = 0xbbbb;
	u64 v;

	wrmsr(GS_BASE, (word)&a);
	wrmsr(KERNEL_GS_BASE, (word)&b);
	asm volatile("mov %%gs:0, %0" : "=r"(v));
	check_eq("GS base", v, 0xaaaa);
	asm volatile("swapgs; mov %%gs:0, %0" : "=r"(v));
	check_eq("SWAPGS", v, 0xbbbb);
	check_eq("KERNEL_GS_BASE after SWAPGS", rdmsr(KERNEL_GS_BASE), (word)&a);
	asm volatile("swapgs");
	enter_at(user_swapgs, SEL_USER_CODE64, 0, 0);
	check_at("SWAPGS in ring 3", VEC_GP, 0, (word)user_swapgs);
	enter_at(user_gs, SEL_USER_CODE64, 0, 0);
	check_eq("GS base in ring 3", fault.ax, 0xaaaa);
	wrmsr(FS_BASE, 0x123456789abcull);
	asm volatile("mov %0, %%fs" ::"r"(SEL_DATA));
	check_eq("a load of FS sets its base", rdmsr(FS_BASE), 0);
	asm volatile(".byte 0x65; lea 0x10, %0" : "=r"(v));
	check_eq("LEA takes no base", v, 0x10);
	/* A base plus a negative offset wraps, canonical in the end. */
	wrmsr(GS_BASE, (word)&a + 0x1000);
	asm volatile("mov %%gs:-0x1000, %0" : "=r"(v));
	check_eq("negative offset", v, 0xaaaa);
	wrmsr(GS_BASE, 0x7ffffffff000ull);
	TRY("mov %%gs:0x1000, %%rax", ::: "rax");
	check_fault("base plus offset non-canonical", VEC_GP, 0);
	/* 32-bit address size: the effective address is cut, the base is not. */
	wrmsr(GS_BASE, (word)&a);
	TRY("mov %%gs:(%%ecx), %%rax", : "=a"(v) : "c"(0xffffffff00000000ull));
	check("67h cuts the offset", fault.vector == VEC_NONE && v == 0xaaaa);
	if (cpuid(7, 0).b & 1) {
		TRY("rdfsbase %%rax", ::: "rax");
		check_fault("RDFSBASE without CR4.FSGSBASE", VEC_UD, 0);
		write_cr4(read_cr4() | 1 << 16);
		asm volatile("wrfsbase %0" ::"r"(0x123456789000ull));
		check_eq("WRFSBASE", rdmsr(FS_BASE), 0x123456789000ull);
		asm volatile("wrgsbase %0; rdgsbase %0" : "+r"(v));
		enter_at(user_fsgsbase, SEL_USER_CODE64, 0, 0x7fff12345678);
		check_eq("WRGSBASE in ring 3", fault.ax, 0x7fff12345678);
		asm volatile("wrfsbase %k0" ::"r"(0xffffffff80000000ull));
		check_eq("32-bit WRFSBASE zero-extends", rdmsr(FS_BASE), 0x80000000);
		TRY("wrfsbase %0", ::"r"(NONCANONICAL));
		check_fault("WRFSBASE non-canonical", VEC_GP, 0);
		write_cr4(read_cr4() & ~(1ul << 16));
	} else {
		skip("fsgsbase", "not offered");
	}
	wrmsr(FS_BASE, 0);
	wrmsr(GS_BASE, 0);
}

/* Leaves long mode for 32-bit protected mode and comes back. */
extern char legacy[];
u32 legacy_seen[4];
void leave_and_return(void);
asm("leave_and_return: push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n mov %rsp, saved_sp\n"
    " push $0x18\n push $legacy\n lretq\n"
    ".code32\n"
    "legacy: mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %cr0, %eax\n and $0x7fffffff, %eax\n mov %eax, "
    "%cr0\n"
    " mov $0xc0000080, %ecx\n rdmsr\n mov %eax, legacy_seen\n and $~0x100, %eax\n wrmsr\n rdmsr\n mov %eax, "
    "legacy_seen + 4\n"
    " mov $0x10, %eax\n mov %eax, %ss\n mov $stack_top - 8192, %esp\n push $0x12345\n pop legacy_seen + 8\n"
    " mov $0xc0000080, %ecx\n rdmsr\n or $0x100, %eax\n wrmsr\n"
    " mov %cr0, %eax\n or $0x80000000, %eax\n mov %eax, %cr0\n"
    " mov $0xc0000080, %ecx\n rdmsr\n mov %eax, legacy_seen + 12\n"
    " ljmp $8, $1f\n"
    ".code64\n"
    "1: mov saved_sp, %rsp\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");

static void leaving(void)
{
	leave_and_return();
	check_eq("LMA clears with paging", legacy_seen[0] & 0x500, 0x100);
	check_eq("LME off", legacy_seen[1] & 0x500, 0);
	check_eq("32-bit stack", legacy_seen[2], 0x12345);
	check_eq("LMA sets with paging", legacy_seen[3] & 0x500, 0x500);
	TRY("wrmsr", ::"c"(EFER), "a"((u32)rdmsr(EFER) & ~0x400u), "d"(0));
	check_none("a write of EFER.LMA is ignored");
	check_eq("LMA stays", rdmsr(EFER) & 0x400, 0x400);
}

void guest_main(void)
{
	*pte_at(0, 4) |= PG_U;
	*pte_at(0, 3) |= PG_U;
	*pte_at(0, 2) |= PG_U;
	*pte_at(0x200000, 2) |= PG_U;
	write_cr3(read_cr3());
	compatibility();
	system_calls();
	sysenter();
	stacks();
	bases();
	leaving();
}
