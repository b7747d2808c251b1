/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hardware task switches in 32-bit protected mode: by jump, call, IRET and task gate (also as the handler of an
 * exception with an error code, of #DF), busy bits, NT and the link, T flag, 16-bit TSS, faults. SDM 3A 7.
 */
#include "guest.h"

#define SEL_TASK   (SEL_FREE + 0x00)
#define SEL_TASK16 (SEL_FREE + 0x08)
#define SEL_GATE   (SEL_FREE + 0x10)
#define SEL_LDT    (SEL_FREE + 0x18)

struct tss16 {
	u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
};

static struct tss task __attribute__((aligned(4096)));
static struct tss16 task16 __attribute__((aligned(128)));
static u8 task_stack[4096] __attribute__((aligned(16)));
u32 task_seen[16];
extern char task_entry[], task_back[], task16_entry[], task_jump_back[], task_np_entry[], task_df_entry[];

asm(/* Records registers, then IRETs to the caller; entered again it goes on behind the IRET: loop. */
    "task_entry: mov %eax, task_seen\n mov %ecx, task_seen + 4\n mov %esp, task_seen + 8\n"
    " pushf; pop task_seen + 12\n str task_seen + 16\n mov %cr0, %eax\n mov %eax, task_seen + 20\n"
    " mov %ebp, task_seen + 24\n mov %gs, task_seen + 28\n sldt task_seen + 32\n"
    " mov $0x77777777, %eax\n iret\n"
    "task_back: jmp task_entry\n"
    "task_np_entry: pop task_seen\n mov %esp, task_seen + 8\n incl task_seen + 12\n movb $0x93, gdt + 0x6d\n iret\n"
    " jmp task_np_entry\n"
    "task_df_entry: pop task_seen\n mov %esp, task_seen + 8\n incl task_seen + 12\n movl tss + 56, %eax\n"
    " mov %eax, task_seen + 20\n movl $task_df_return, tss + 32\n movl $0x10, tss + 80\n movl $stack_top - 8192, tss + "
    "56\n"
    " iret\n jmp task_df_entry\n"
    "task_jump_back: incl task_seen\n ljmp $0x38, $0\n jmp task_jump_back\n"
    "task16_entry: mov %sp, task_seen\n str task_seen + 4\n mov %eax, task_seen + 8\n iret\n jmp task16_entry\n");

static u8 access_of(u16 selector) { return load8((word)&gdt[selector >> 3] + 5); }

static void prepare(char *entry)
{
	memset(&task, 0, 104);
	memset(task_seen, 0, sizeof task_seen);
	task.eip = (u32)entry;
	task.eflags = 2;
	task.esp = (u32)task_stack + 4096;
	task.cs = SEL_CODE;
	task.ss = task.ds = task.es = SEL_DATA;
	task.eax = 0x1234567;
	task.ecx = 0x89abcde;
	task.ebp = 0x5555;
	task.iomap = 104;
	gdt_set(SEL_TASK, descriptor((u32)&task, 103, 0x89, 0));
}

static void by_call(void)
{
	prepare(task_entry);
	task.gs = SEL_USER_DATA;
	gdt_set(SEL_LDT, descriptor((u32)task_stack, 0x1f, 0x82, 0));
	task.ldt = SEL_LDT;
	asm volatile("clts");
	TRY("lcall %0, $0", ::"i"(SEL_TASK) : "memory");
	check_none("call of a TSS and IRET back");
	check("registers come from the TSS",
	      task_seen[0] == 0x1234567 && task_seen[1] == 0x89abcde && task_seen[6] == 0x5555);
	check_eq("ESP comes from the TSS", task_seen[2], (u32)task_stack + 4096);
	check_eq("NT set by a call", task_seen[3] & FL_NT, FL_NT);
	check_eq("TR", task_seen[4] & 0xffff, SEL_TASK);
	check_eq("CR0.TS set by the switch", task_seen[5] & 8, 8);
	check_eq("GS comes from the TSS", task_seen[7] & 0xffff, SEL_USER_DATA);
	check_eq("LDTR comes from the TSS", task_seen[8] & 0xffff, SEL_LDT);
	check_eq("link is the old TSS", load32((u32)&task.link) & 0xffff, SEL_TSS);
	check_eq("IRET clears busy of the task left", access_of(SEL_TASK), 0x89);
	check_eq("the caller stays busy", access_of(SEL_TSS), 0x8b);
	check_eq("EAX saved by IRET", task.eax, 0x77777777);
	check_eq("EIP saved by IRET", task.eip, (u32)task_back);
	check_eq("NT not saved by IRET", task.eflags & FL_NT, 0);
	check_eq("NT clear after the return", read_flags() & FL_NT, 0);
	{
		u32 v = 0;

		asm volatile("str %0" : "=r"(v));
		check_eq("TR after the return", v & 0xffff, SEL_TSS);
	}
	/* Again: it goes on where it was. */
	TRY("lcall %0, $0", ::"i"(SEL_TASK) : "memory");
	check_none("call of the same task again");
	check_eq("it goes on behind its IRET", task_seen[0], 0x77777777);
	/* By a task gate in the GDT. */
	prepare(task_entry);
	gdt_set(SEL_GATE, (u64)SEL_TASK << 16 | 0x8500ull << 32);
	TRY("lcall %0, $0", ::"i"(SEL_GATE) : "memory");
	check_none("call by a task gate");
	check_eq("it ran", task_seen[0], 0x1234567);
	check("the caller's registers are saved in its TSS",
	      tss.cs == SEL_CODE && tss.ss == SEL_DATA && tss.ds == SEL_DATA);
}

static void by_jump(void)
{
	prepare(task_jump_back);
	gdt_set(SEL_TSS, descriptor((u32)&tss, sizeof tss - 1, 0x8b, 0));
	TRY("ljmp %0, $0", ::"i"(SEL_TASK) : "memory");
	check_none("jump to a task and back");
	check_eq("it ran", task_seen[0], 1);
	check_eq("a jump clears busy of the task left", access_of(SEL_TASK), 0x89);
	check_eq("and sets it of the new one", access_of(SEL_TSS), 0x8b);
	check_eq("a jump does not set NT", task.eflags & FL_NT, 0);
	check_eq("nor the link", task.link & 0xffff, 0);
}

static void by_interrupt(void)
{
	gdt_set(SEL_GATE, descriptor(0, 0xfffff, 0x13, 0xc));
	/* The task makes the segment present, so that the instruction it returns to goes well. */
	idt_gate(VEC_NP, 0, SEL_TASK, 0x85, 0);
	prepare(task_np_entry);
	asm volatile("mov %0, %%fs" ::"r"((u32)SEL_GATE) : "memory");
	check_eq("#NP by a task gate: error code", task_seen[0], SEL_GATE);
	check_eq("the error code is on the task's stack", task_seen[2], (u32)task_stack + 4096);
	check_eq("it ran once", task_seen[3], 1);
	check_eq("the fault's EIP is in the old TSS", load8(tss.eip), 0x8e); /* MOV to segment */
	idt_default();
	/* INT n by a task gate: no error code. */
	prepare(task_entry);
	idt_gate(0x44, 0, SEL_TASK, 0xe5, 0);
	TRY("int $0x44", ::: "memory");
	check_none("INT n by a task gate");
	check_eq("it ran", task_seen[0], 0x1234567);
	check_eq("no error code", task_seen[2], (u32)task_stack + 4096);
	check_eq("IRET goes behind INT n", load16(tss.eip - 2), 0x44cd);
	if (peer_skips("#DF by a task gate")) {
		idt_default();
		return;
	}
	/* #DF: a stack that no exception frame fits on. */
	prepare(task_df_entry);
	idt_gate(VEC_DF, 0, SEL_TASK, 0x85, 0);
	gdt_set(SEL_GATE, descriptor((u32)task_stack, 0, 0x93, 4)); /* stack of one byte */
	asm volatile(
		"mov %%esp, task_seen + 40\n mov %0, %%eax\n mov %%eax, %%ss\n mov $0, %%esp\n"
		" ud2\n task_df_return: mov $0x10, %%eax\n mov %%eax, %%ss\n mov task_seen + 40, %%esp" ::"i"(SEL_GATE)
		: "eax", "memory");
	check_eq("#DF by a task gate", task_seen[3], 1);
	check_eq("its error code", task_seen[0], 0);
	check_eq("ESP of the task that failed", task_seen[5], 0);
	idt_default();
}

static void faults(void)
{
	prepare(task_entry);
	TRY("lcall %0, $0", ::"i"(SEL_TSS));
	check_fault("call of a busy TSS", VEC_GP, SEL_TSS);
	gdt_set(SEL_TASK, descriptor((u32)&task, 102, 0x89, 0));
	TRY("lcall %0, $0", ::"i"(SEL_TASK));
	check_fault("TSS too small", VEC_TS, SEL_TASK);
	gdt_set(SEL_TASK, descriptor((u32)&task, 103, 0x09, 0));
	TRY("lcall %0, $0", ::"i"(SEL_TASK));
	check_fault("TSS not present", VEC_NP, SEL_TASK);
	TRY("pushf; orl $0x4000, (%%esp); popf; push $2; push $8; push $0; iret", ::: "memory", "cc");
	check_eq("IRET with NT and a link to no TSS", fault.vector, VEC_TS);
	/* Faults once the new task's context is loaded: its CS:EIP, its TSS has run nothing. They return to this task
	 * only by hand, so the handler is TRY's: the stack and TR are the new task's. */
	prepare(task_entry);
	task.gs = SEL_TSS;
	TRY("lcall %0, $0", ::"i"(SEL_TASK) : "memory");
	check_eq("bad GS in the TSS", fault.vector << 16 | fault.error, VEC_TS << 16 | SEL_TSS);
	check_eq("that fault is the new task's", fault.ip, (u32)task_entry);
	check_eq("and it is busy", access_of(SEL_TASK), 0x8b);
	/* TR is the new task now; back by hand. */
	gdt_set(SEL_TSS, descriptor((u32)&tss, sizeof tss - 1, 0x89, 0));
	asm volatile("ltr %w0" ::"r"(SEL_TSS));
	write_flags(2);
}

static void sixteen(void)
{
	memset(task_seen, 0, sizeof task_seen);
	memset(&task16, 0, sizeof task16);
	/* A 16-bit TSS holds 16 bits of IP: the code segment is based. */
	gdt_set(SEL_GATE, descriptor((u32)task16_entry, 0xffff, 0x9b, 4));
	task16.ip = 0;
	task16.cs = SEL_GATE;
	task16.flags = 2;
	task16.sp = 0x100;
	task16.ax = 0x7654;
	task16.ss = task16.ds = task16.es = SEL_DATA;
	gdt_set(SEL_TASK16, descriptor((u32)&task16, 43, 0x81, 0));
	TRY("lcall %0, $0", ::"i"(SEL_TASK16) : "memory");
	check_none("call of a 16-bit TSS");
	check_eq("SP from it", task_seen[0] & 0xffff, 0x100);
	check_eq("TR", task_seen[1] & 0xffff, SEL_TASK16);
	check_eq("AX from it", task_seen[2] & 0xffff, 0x7654);
	check_eq("its link", task16.link, SEL_TSS);
	check_eq("not busy again", access_of(SEL_TASK16), 0x81);
}

static volatile u32 debug_traps, debug_dr6;

static void on_debug(struct frame *f)
{
	debug_traps++;
	debug_dr6 = read_dr6();
	write_dr6(0xffff0ff0);
}

static void trap_flag(void)
{
	prepare(task_entry);
	task.trap = 1;
	handlers[VEC_DB] = on_debug;
	write_dr6(0xffff0ff0);
	TRY("lcall %0, $0", ::"i"(SEL_TASK) : "memory");
	check("T flag of the TSS: #DB with BT", debug_traps == 1 && debug_dr6 & 1 << 15);
	handlers[VEC_DB] = 0;
	write_dr7(0x400 | 0x55); /* the local enable bits go with a switch */
	prepare(task_entry);
	TRY("lcall %0, $0", ::"i"(SEL_TASK) : "memory");
	check_eq("local breakpoint enables are cleared", read_dr7() & 0xff, 0);
}

void guest_main(void)
{
	by_call();
	by_jump();
	by_interrupt();
	sixteen();
	trap_flag();
	faults();
	asm volatile("clts");
}
