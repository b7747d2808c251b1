/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Real-address mode and virtual-8086 mode: the interrupt vector table, exceptions without error codes, segment bases
 * and limits, big real mode, IOPL-sensitive instructions, the virtual mode extensions. SDM 3A 21 (8086 emulation).
 */
#include "guest.h"

#define LOW           0x7000u  /* the way to real mode and back */
#define CODE          0x10000u /* segment 1000h: handlers at 0, snippets at 100h, data at f00h */
#define STACK         0x20000u /* segment 2000h */
#define DATA          0x30000u /* segment 3000h */
#define SEL_REAL_CODE SEL_FREE
#define SEL_REAL_DATA (SEL_FREE + 8)
#define SEL_BIG_DATA  (SEL_FREE + 16)

/* At 1000h:f00h. */
struct record {
	u16 vector, ip, cs, flags, resume, sp, a, b, c, d;
};
#define record ((volatile struct record *)(CODE + 0xf00))

void real_enter(u32 data_selector);
extern char low_start[], low_end[], stubs[], stubs_end[], low16[], real_back[];
u32 real_esp;

asm("real_enter: mov 4(%esp), %eax\n push %ebx\n push %ebp\n push %esi\n push %edi\n mov %esp, real_esp\n"
    " lidt real_idt\n ljmp $0x58, $0x7000\n"
    "real_back: mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n mov real_esp, %esp\n"
    " xor %eax, %eax\n mov %eax, %fs\n mov %eax, %gs\n pop %edi\n pop %esi\n pop %ebp\n pop %ebx\n ret\n"
    "real_idt: .word 0x3ff\n .long 0\n"
    ".code16\n"
    "low_start: mov %ax, %ds\n mov %ax, %es\n mov %ax, %fs\n mov %ax, %gs\n mov $0x60, %ax\n mov %ax, %ss\n"
    " mov %cr0, %eax\n and $~1, %eax\n mov %eax, %cr0\n ljmp $0, $0x7000 + 1f - low_start\n"
    "1: mov $0x2000, %ax\n mov %ax, %ss\n mov $0x100, %sp\n mov $0x3000, %ax\n mov %ax, %ds\n mov %ax, %es\n"
    " lcall $0x1000, $0x100\n"
    " cli\n mov %cr0, %eax\n or $1, %eax\n mov %eax, %cr0\n ljmpl $8, $real_back\n"
    "low_end:\n"
    /* Every handler: vector, IP, CS and FLAGS to the record, then on at the record's resume with the first SP. */
    "stubs: .set n, 0\n .rept 32\n .org stubs + n * 4\n .byte 0x6a, n\n .byte 0xeb, 126 - (n * 4 + 2)\n .set n, n + "
    "1\n .endr\n"
    ".org stubs + 128\n"
    " popw %cs:0xf00\n popw %cs:0xf02\n popw %cs:0xf04\n popw %cs:0xf06\n mov %cs:0xf0a, %sp\n jmp *%cs:0xf08\n"
    "stubs_end:\n"
    ".code32\n");

static void set_vector(int n, u32 far) { store32(n * 4, far); }

/* Runs a snippet at 1000h:100h; a RETF ends it, or an exception, then at the RETF put behind it. */
static void real_run(const char *start, const char *end, u32 data)
{
	u32 length = end - start;

	memset((void *)record, 0, sizeof *record);
	record->vector = 0xff;
	record->resume = 0x100 + length;
	record->sp = 0xfc; /* behind the far return address */
	memcpy((void *)(CODE + 0x100), start, length);
	store8(CODE + 0x100 + length, 0xcb);
	real_enter(data);
	idt_load();
}

#define SNIPPET(name, text)                                                                                            \
	extern char name[], name##_end[];                                                                              \
	asm(".code16\n" #name ": " text "\n" #name "_end:\n.code32\n")

SNIPPET(r_store, "movw $0x1234, %ds:(0x10)\n movw $0x100, %bx\n movl $0x55667788, (%bx)");
SNIPPET(r_int, "sti\n int $0x1f\n nop");
SNIPPET(r_div, "mov $5, %ax\n xor %cl, %cl\n div %cl");
SNIPPET(r_ud, "ud2");
SNIPPET(r_limit, "movw $1, %ds:(0xffff)");
SNIPPET(r_stack_limit, "mov $1, %bp\n neg %bp\n mov (%bp), %ax");
SNIPPET(r_hma, "mov $0xffff, %ax\n mov %ax, %es\n mov %es:(0x10), %ax\n mov %ax, %cs:0xf0c");
SNIPPET(r_big, "mov $0x00100000, %edi\n movl %ds:(%edi), %eax\n mov %ax, %cs:0xf0c");
SNIPPET(r_step, "pushf\n pop %ax\n or $0x100, %ax\n push %ax\n popf\n nop\n nop");
SNIPPET(r_into, "mov $0x7fff, %ax\n inc %ax\n into");
SNIPPET(r_bound, "movw $1, %ds:(0)\n movw $5, %ds:(2)\n mov $6, %ax\n bound %ax, %ds:(0)");
SNIPPET(r_lidt, "lidtl %cs:0xf10\n int $0x10\n");
SNIPPET(r_smsw, "smsw %ax\n mov %ax, %cs:0xf0c\n pushfl\n pop %eax\n mov %ax, %cs:0xf0e");
SNIPPET(r_lldt, "lldt %ax");
SNIPPET(r_str, "verr %ax");
SNIPPET(r_lock, "lock; movw %ax, %bx");
SNIPPET(r_push, "mov $0, %sp\n mov $0x1111, %ax\n push %ax\n mov %sp, %bx\n mov %cs:0xf0a, %sp\n mov %bx, %cs:0xf0c");
SNIPPET(r_call32, "xor %eax, %eax\n calll 1f\n 1: pop %eax\n mov %ax, %cs:0xf0c");
SNIPPET(r_fs, "mov $0x3010, %ax\n mov %ax, %fs\n mov %fs:(0), %ax\n mov %ax, %cs:0xf0c\n lds %cs:0xf14, %si\n mov %ds, "
	      "%ax\n mov %ax, %cs:0xf0e");
SNIPPET(r_sp16, "mov $0x5555, %bx\n enter $4, $0\n mov %bp, %cs:0xf0c\n leave\n mov %sp, %cs:0xf0e");

static void expect_real(const char *name, u32 vector, u32 ip)
{
	check(name, record->vector == vector && (vector == 0xff || (record->ip == ip && record->cs == 0x1000)));
	if (record->vector != vector)
		say("  vector %x ip %x\n", (u64)record->vector, (u64)record->ip);
}

static void real_mode(void)
{
	u32 i;

	gdt_set(SEL_REAL_CODE, descriptor(0, 0xffff, 0x9b, 0));
	gdt_set(SEL_REAL_DATA, descriptor(0, 0xffff, 0x93, 0));
	gdt_set(SEL_BIG_DATA, descriptor(0, 0xfffff, 0x93, 0xc));
	memcpy((void *)LOW, low_start, low_end - low_start);
	memcpy((void *)CODE, stubs, stubs_end - stubs);
	for (i = 0; i < 32; i++)
		set_vector(i, 0x1000 << 16 | i * 4);

	real_run(r_store, r_store_end, SEL_REAL_DATA);
	expect_real("real mode and back", 0xff, 0);
	check_eq("store by DS * 16", load16(DATA + 0x10), 0x1234);
	check_eq("32-bit store", load32(DATA + 0x100), 0x55667788);
	real_run(r_int, r_int_end, SEL_REAL_DATA);
	expect_real("INT n by the vector table", 0x1f, 0x103);
	check_eq("INT n saves FLAGS with IF", record->flags & FL_IF, FL_IF);
	real_run(r_div, r_div_end, SEL_REAL_DATA);
	expect_real("divide error saves the instruction's IP", 0, 0x105);
	real_run(r_ud, r_ud_end, SEL_REAL_DATA);
	expect_real("UD2", 6, 0x100);
	real_run(r_limit, r_limit_end, SEL_REAL_DATA);
	expect_real("word at ffff is vector 13", 13, 0x100);
	real_run(r_stack_limit, r_stack_limit_end, SEL_REAL_DATA);
	expect_real("word at SS:ffff is vector 12", 12, 0x105);
	real_run(r_into, r_into_end, SEL_REAL_DATA);
	expect_real("INTO", 4, 0x105);
	real_run(r_bound, r_bound_end, SEL_REAL_DATA);
	expect_real("BOUND", 5, 0x10f);
	real_run(r_step, r_step_end, SEL_REAL_DATA);
	expect_real("single step", 1, 0x108);
	check_eq("single step saves TF", record->flags & FL_TF, FL_TF);
	store16(0x100000, 0xbeef);
	store16(0, 0x4242);
	outb(0x92, inb(0x92) | 2);
	{
		u16 kept = load16(0x100000);

		real_run(r_hma, r_hma_end, SEL_REAL_DATA);
		check_eq("ffff:0010 is 100000h with A20", record->a, kept);
		set_vector(0, 0x1000 << 16);
	}
	real_run(r_big, r_big_end, SEL_REAL_DATA);
	expect_real("32-bit offset beyond 64 KiB is vector 13", 13, 0x106);
	/* DS's limit survives the way to real mode, and loads there leave it: "big real mode". */
	real_run(r_big, r_big_end, SEL_BIG_DATA);
	expect_real("big real mode", 0xff, 0);
	check_eq("big real mode reads DS * 16 + offset", record->a, load16(DATA + 0x100000));
	/* The table moved. */
	memset((void *)DATA, 0, 0x400);
	store32(DATA + 0x10 * 4, 0x1000 << 16 | 0x1e * 4);
	store16(CODE + 0xf10, 0x3ff);
	store32(CODE + 0xf12, DATA);
	memset((void *)record, 0, sizeof *record);
	{
		extern char r_lidt[], r_lidt_end[];
		u32 length = r_lidt_end - r_lidt;

		record->vector = 0xff;
		record->resume = 0x100 + length;
		record->sp = 0xfc;
		store16(CODE + 0xf10, 0x3ff);
		store32(CODE + 0xf12, DATA);
		memcpy((void *)(CODE + 0x100), r_lidt, length);
		store8(CODE + 0x100 + length, 0xcb);
		real_enter(SEL_REAL_DATA);
		idt_load();
	}
	expect_real("LIDT moves the table", 0x1e, 0x109);
	real_run(r_smsw, r_smsw_end, SEL_REAL_DATA);
	check_eq("SMSW shows PE clear", record->a & 1, 0);
	check_eq("FLAGS.VM clear, bit 1 set", record->b & 2, 2);
	real_run(r_lldt, r_lldt_end, SEL_REAL_DATA);
	expect_real("LLDT is undefined", 6, 0x100);
	real_run(r_str, r_str_end, SEL_REAL_DATA);
	expect_real("VERR is undefined", 6, 0x100);
	real_run(r_lock, r_lock_end, SEL_REAL_DATA);
	expect_real("LOCK MOV is undefined", 6, 0x100);
	real_run(r_push, r_push_end, SEL_REAL_DATA);
	check_eq("PUSH wraps SP", record->a, 0xfffe);
	real_run(r_call32, r_call32_end, SEL_REAL_DATA);
	check_eq("32-bit CALL", record->a, 0x109);
	store16(DATA + 0x100, 0x7777);
	real_run(r_fs, r_fs_end, SEL_REAL_DATA);
	check_eq("FS * 16", record->a, 0x7777);
	real_run(r_sp16, r_sp16_end, SEL_REAL_DATA);
	check("ENTER, LEAVE", record->a == 0xfa && record->b == 0xfc);
}

/* ------------------------------------------------ virtual-8086 */
static void v86(const char *start, const char *end, u32 flags)
{
	struct enter e = {.ip = 0x100,
			  .cs = 0x1000,
			  .sp = 0x100,
			  .ss = 0x2000,
			  .flags = FL_VM | 2 | flags,
			  .ds = 0x3000,
			  .es = 0x3000,
			  .fs = 0x3010,
			  .gs = 0x3020,
			  .dx = 0x61};
	u32 length = end - start;

	memcpy((void *)(CODE + 0x100), start, length);
	store16(CODE + 0x100 + length, 0x80cd);
	fault_begin();
	enter(&e);
}

SNIPPET(v_exit, "mov $0x4321, %ax");
SNIPPET(v_store, "movw $0x2345, %ds:(0x20)\n mov %fs:(0), %ax\n mov %gs:(0), %bx\n mov %cs, %cx");
SNIPPET(v_cli, "cli");
SNIPPET(v_sti, "sti");
SNIPPET(v_pushf, "pushf\n pop %ax");
SNIPPET(v_popf, "push $2\n popf");
SNIPPET(v_popf_if, "push $0x202\n popf");
SNIPPET(v_iret, "push $0x202\n push %cs\n push $0x108\n iret\n nop");
SNIPPET(v_int, "int $0x21\n nop");
SNIPPET(v_int3, "int3");
SNIPPET(v_into, "mov $0x7fff, %ax\n inc %ax\n into");
SNIPPET(v_in, "in $0x61, %al");
SNIPPET(v_hlt, "hlt");
SNIPPET(v_cr, "mov %cr0, %eax");
SNIPPET(v_lar, "lar %ax, %ax");
SNIPPET(v_arpl, "arpl %ax, %ax");
SNIPPET(v_str, "str %ax");
SNIPPET(v_limit, "mov %ds:(0xffff), %ax");
SNIPPET(v_stack, "mov $1, %sp\n push %ax");
SNIPPET(v_ljmp, "ljmp $0x1010, $0x10");
SNIPPET(v_int80, "sti\n int $0x81");
SNIPPET(v_lmsw, "lmsw %ax");
SNIPPET(v_smsw, "smsw %ax");
SNIPPET(v_pushfl, "pushfl\n pop %eax");

static void virtual_8086(void)
{
	u32 i;

	for (i = 0; i < 32; i++)
		tss.map[i] = 0xff;
	v86(v_exit, v_exit_end, FL_IOPL);
	check_at("INT n to a gate of DPL 3 with IOPL 3", VEC_EXIT, 0, 0x105);
	check("saved VM, CS, SS", (fault.flags & FL_VM) && fault.cs == 0x1000 && fault.ss == 0x2000);
	check_eq("saved SP", fault.sp, 0x100);
	check_eq("AX", fault.ax & 0xffff, 0x4321);
	store16(DATA + 0x100, 0x1111);
	store16(DATA + 0x200, 0x2222);
	v86(v_store, v_store_end, FL_IOPL);
	check("segments are * 16", load16(DATA + 0x20) == 0x2345 && (u16)fault.ax == 0x1111 &&
					   (u16)fault.bx == 0x2222 && (u16)fault.cx == 0x1000);
	v86(v_int, v_int_end, 0);
	check_at("INT n with IOPL 0", VEC_GP, 0, 0x100);
	idt_gate(0x21, trap_entry(0x21), SEL_CODE, 0x8e, 0);
	v86(v_int, v_int_end, FL_IOPL);
	check_at("INT n with IOPL 3, gate of DPL 0", VEC_GP, 0x21 * 8 + 2, 0x100);
	v86(v_int3, v_int3_end, 0);
	check_at("INT3 does not look at IOPL", VEC_BP, 0, 0x101);
	v86(v_into, v_into_end, 0);
	check_at("INTO does not look at IOPL", VEC_OF, 0, 0x105);
	v86(v_cli, v_cli_end, 0);
	check_at("CLI with IOPL 0", VEC_GP, 0, 0x100);
	v86(v_sti, v_sti_end, 0);
	check_at("STI with IOPL 0", VEC_GP, 0, 0x100);
	v86(v_pushf, v_pushf_end, 0);
	check_at("PUSHF with IOPL 0", VEC_GP, 0, 0x100);
	v86(v_popf, v_popf_end, 0);
	check_at("POPF with IOPL 0", VEC_GP, 0, 0x102);
	v86(v_iret, v_iret_end, 0);
	check_at("IRET with IOPL 0", VEC_GP, 0, 0x107);
	v86(v_cli, v_cli_end, FL_IOPL | FL_IF);
	check("CLI with IOPL 3", fault.vector == VEC_EXIT && !(fault.flags & FL_IF));
	v86(v_pushf, v_pushf_end, FL_IOPL);
	check("PUSHF with IOPL 3", fault.vector == VEC_EXIT && (fault.ax & 0x3202) == 0x3002);
	v86(v_pushfl, v_pushfl_end, FL_IOPL);
	check("PUSHFD shows VM and RF as 0", fault.vector == VEC_EXIT && !(fault.ax & (FL_VM | FL_RF)));
	v86(v_popf_if, v_popf_if_end, FL_IOPL);
	check("POPF with IOPL 3 sets IF, keeps IOPL",
	      fault.vector == VEC_EXIT && (fault.flags & (FL_IF | FL_IOPL)) == (FL_IF | FL_IOPL));
	v86(v_iret, v_iret_end, FL_IOPL);
	check("IRET with IOPL 3 stays in virtual-8086 mode",
	      fault.vector == VEC_EXIT && (fault.flags & (FL_VM | FL_IOPL)) == (FL_VM | FL_IOPL) && fault.ip == 0x10b);
	v86(v_in, v_in_end, FL_IOPL);
	check_at("IN looks at the bitmap whatever IOPL is", VEC_GP, 0, 0x100);
	tss.map[32 + 0x61 / 8] &= ~(1 << (0x61 & 7));
	v86(v_in, v_in_end, FL_IOPL);
	check_fault("IN permitted by the bitmap", VEC_EXIT, 0);
	tss.map[32 + 0x61 / 8] |= 1 << (0x61 & 7);
	v86(v_hlt, v_hlt_end, FL_IOPL);
	check_at("HLT", VEC_GP, 0, 0x100);
	v86(v_cr, v_cr_end, FL_IOPL);
	check_at("MOV from CR0", VEC_GP, 0, 0x100);
	v86(v_lmsw, v_lmsw_end, FL_IOPL);
	check_at("LMSW", VEC_GP, 0, 0x100);
	v86(v_smsw, v_smsw_end, FL_IOPL);
	check("SMSW", fault.vector == VEC_EXIT && (fault.ax & 1));
	v86(v_lar, v_lar_end, FL_IOPL);
	check_at("LAR is undefined", VEC_UD, 0, 0x100);
	v86(v_arpl, v_arpl_end, FL_IOPL);
	check_at("ARPL is undefined", VEC_UD, 0, 0x100);
	v86(v_str, v_str_end, FL_IOPL);
	check_at("STR is undefined", VEC_UD, 0, 0x100);
	v86(v_limit, v_limit_end, FL_IOPL);
	check_at("word at ffff", VEC_GP, 0, 0x100);
	v86(v_stack, v_stack_end, FL_IOPL);
	check_at("PUSH across SS:0", VEC_SS, 0, 0x103);
	store16(0x10100 + 0x10, 0x80cd);
	v86(v_ljmp, v_ljmp_end, FL_IOPL);
	store16(0x10110, 0x80cd);
	check("far jump", fault.vector == VEC_EXIT && fault.cs == 0x1010 && fault.ip == 0x12);
}

static void extensions(void)
{
	if (!(cpuid(1, 0).d & 2)) {
		skip("VME", "not offered");
		return;
	}
	write_cr4(read_cr4() | 1);
	/* INT 21h goes to the program's own table when its bit is 0. */
	tss.map[0x21 / 8] &= ~(1 << (0x21 & 7));
	set_vector(0x21, 0x1000 << 16 | 0x800);
	store16(CODE + 0x800, 0x81cd); /* INT 81h there: #GP or gate */
	v86(v_int, v_int_end, FL_IOPL);
	check("INT n redirected, IOPL 3", fault.cs == 0x1000 && fault.ip == 0x800 && fault.sp == 0xfa);
	check_eq("return IP on its stack", load16(STACK + 0xfa), 0x102);
	check_eq("return CS on its stack", load16(STACK + 0xfc), 0x1000);
	v86(v_int, v_int_end, FL_VIF);
	check("INT n redirected, IOPL 0", fault.vector == VEC_GP && fault.ip == 0x800 && fault.sp == 0xfa);
	check_eq("its FLAGS have IOPL 3 and VIF as IF", load16(STACK + 0xfe) & 0x3200, 0x3200);
	check_eq("VIF cleared", fault.flags & FL_VIF, 0);
	tss.map[0x21 / 8] |= 1 << (0x21 & 7);
	v86(v_int, v_int_end, 0);
	check_at("INT n not redirected, IOPL 0", VEC_GP, 0, 0x100);
	v86(v_cli, v_cli_end, FL_VIF | FL_IF);
	check("CLI clears VIF, leaves IF",
	      fault.vector == VEC_GP && fault.ip == 0x101 && (fault.flags & (FL_IF | FL_VIF)) == FL_IF);
	v86(v_sti, v_sti_end, 0);
	check("STI sets VIF", fault.ip == 0x101 && (fault.flags & (FL_IF | FL_VIF)) == FL_VIF);
	v86(v_sti, v_sti_end, FL_VIP);
	check_at("STI with VIP", VEC_GP, 0, 0x100);
	v86(v_pushf, v_pushf_end, FL_VIF);
	check("PUSHF shows VIF as IF and IOPL 3", fault.ip == 0x102 && (fault.ax & 0x3200) == 0x3200);
	v86(v_popf_if, v_popf_if_end, 0);
	check("POPF sets VIF", fault.ip == 0x104 && (fault.flags & (FL_IF | FL_VIF)) == FL_VIF);
	v86(v_popf_if, v_popf_if_end, FL_VIP);
	check_at("POPF of IF with VIP", VEC_GP, 0, 0x103);
	v86(v_iret, v_iret_end, 0);
	check("IRET sets VIF", fault.ip == 0x109 && (fault.flags & FL_VIF));
	write_cr4(read_cr4() & ~1u);
}

void guest_main(void)
{
	real_mode();
	virtual_8086();
	extensions();
}
