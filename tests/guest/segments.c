/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Segmentation in 32-bit protected mode: limits, expand-down, rights, LAR LSL VERR VERW ARPL, call gates to an inner
 * ring and back, conforming code, faults in the middle of stack instructions, #BR and #OF. SDM 3A 5.2-5.10, 3.4.5.
 */
#include "guest.h"

#define SEL_A          (SEL_FREE + 0x00)
#define SEL_B          (SEL_FREE + 0x08)
#define SEL_GATE       (SEL_FREE + 0x10)
#define SEL_CONFORMING (SEL_FREE + 0x18)
#define SEL_LDT        (SEL_FREE + 0x20)
#define SEL_GATE16     (SEL_FREE + 0x28)
#define SEL_USER_STACK (SEL_FREE + 0x30)

static u8 area[0x3000] __attribute__((aligned(4096)));
u32 gate_seen[8];

/* Selectors: gate 0x68, conforming 0x70, 16-bit gate 0x80. */
extern char user_gate[], user_gate_end[], gate_target[], gate_plain[], conforming_target[], user_conforming[],
	user_gate_fault[], user_jump_gate[], user_es_gate[], gate_es[], user_pusha[], user_popa[], user_pop_mem[],
	user_enter[], user_lar[], user_lds_push[], user_callmem[], user_ret_small[], user_into[], gate_target16[],
	user_gate16[];
asm("user_gate: push $0x1111\n push $0x2222\n lcall $0x6b, $0x12345678\n"
    "user_gate_end: int $0x80\n"
    "gate_target: mov %cs, gate_seen\n mov %ss, gate_seen + 4\n mov 8(%esp), %ecx\n mov %ecx, gate_seen + 8\n"
    " mov 12(%esp), %ecx\n mov %ecx, gate_seen + 12\n mov 16(%esp), %ecx\n mov %ecx, gate_seen + 16\n"
    " mov 20(%esp), %ecx\n mov %ecx, gate_seen + 20\n mov %esp, gate_seen + 24\n mov 4(%esp), %ecx\n mov %ecx, "
    "gate_seen + 28\n"
    " lret $8\n"
    "gate_plain: mov %cs, gate_seen\n mov %esp, gate_seen + 24\n lret\n"
    "user_gate_fault: lcall $0x6b, $0\n"
    "user_jump_gate: ljmp $0x6b, $0\n"
    "user_es_gate: push $0; push $0; lcall $0x6b, $0\n mov %es, %eax\n mov %ds, %ebx\n int $0x80\n"
    "gate_es: mov $0x10, %eax\n mov %eax, %es\n lret $8\n"
    "user_conforming: lcall $0x73, $conforming_target\n int $0x80\n"
    "conforming_target: mov %cs, %eax\n lret\n"
    "user_pusha: pushal\n int $0x80\n"
    "user_popa: popal\n int $0x80\n"
    "user_pop_mem: popl (%edi)\n int $0x80\n"
    "user_enter: enter $0x20, $4\n int $0x80\n"
    "user_lds_push: push %eax\n int $0x80\n"
    "user_callmem: call *(%edi)\n int $0x80\n"
    "user_into: mov $0x7fffffff, %eax\n inc %eax\n into\n"
    "user_ret_small: lret\n"
    "user_lar: xor %eax, %eax\n lar %di, %eax\n setz %cl\n movzbl %cl, %ecx\n int $0x80\n"
    "user_gate16: mov $gate_seen, %ebx\n push $0x11112222\n lcall $0x83, $0\n int $0x80\n"
    ".code16\n"
    "gate_target16: mov 4(%esp), %cx\n mov %cx, (%ebx)\n mov 6(%esp), %cx\n mov %cx, 4(%ebx)\n"
    " mov (%esp), %cx\n mov %cx, 8(%ebx)\n lret $4\n"
    ".code32\n");

static u64 gate(u16 selector, u32 offset, u8 access, u8 parameters)
{
	return (offset & 0xffff) | (u64)selector << 16 | (u64)parameters << 32 | (u64)access << 40 |
	       (u64)(offset >> 16) << 48;
}

static void load_fs(u16 selector) { asm volatile("mov %0, %%fs" ::"r"((u32)selector)); }

static void limits(void)
{
	u32 v;

	memset(area, 0x5a, sizeof area);
	gdt_set(SEL_A, descriptor((u32)area, 0xf, 0x93, 4));
	load_fs(SEL_A);
	TRY("mov %%fs:0xc, %0", : "=a"(v)::);
	check_none("limit f, 4 bytes at c");
	TRY("mov %%fs:0xd, %%eax", ::: "eax");
	check_fault("limit f, 4 bytes at d", VEC_GP, 0);
	TRY("movb %%fs:0xf, %%al", ::: "eax");
	check_none("limit f, 1 byte at f");
	TRY("movb %%fs:0x10, %%al", ::: "eax");
	check_fault("limit f, 1 byte at 10", VEC_GP, 0);
	TRY("mov %%fs:0xfffffffe, %%eax", ::: "eax");
	check_fault("limit f, wrap", VEC_GP, 0);
	gdt_set(SEL_A, descriptor((u32)area, 0, 0x93, 0xc));
	TRY("movb %%fs:0x10, %%al", ::: "eax");
	check_fault("a descriptor changed in memory has no effect", VEC_GP, 0);
	load_fs(SEL_A);
	TRY("movb %%fs:0xfff, %%al", ::: "eax");
	check_none("limit 0 in pages, 1 byte at fff");
	TRY("movb %%fs:0x1000, %%al", ::: "eax");
	check_fault("limit 0 in pages, 1 byte at 1000", VEC_GP, 0);

	/* Expand-down: the limit is what is not in the segment. */
	gdt_set(SEL_A, descriptor((u32)area, 0xfff, 0x97, 4));
	load_fs(SEL_A);
	TRY("movb %%fs:0xfff, %%al", ::: "eax");
	check_fault("expand-down fff, at fff", VEC_GP, 0);
	TRY("mov %%fs:0x1000, %%eax", ::: "eax");
	check_none("expand-down fff, at 1000");
	TRY("mov %%fs:0xffe, %%eax", ::: "eax");
	check_fault("expand-down fff, at ffe", VEC_GP, 0);
	gdt_set(SEL_A, descriptor((u32)area, 0xfff, 0x97, 0));
	load_fs(SEL_A);
	TRY("mov %%fs:0x1ffe, %%eax", ::: "eax");
	check_none("expand-down fff of 64 KiB, at 1ffe");
	TRY("mov %%fs:0xfffe, %%eax", ::: "eax");
	check_fault("expand-down fff of 64 KiB, at fffe", VEC_GP, 0);
	TRY("mov %%fs:0x10000, %%eax", ::: "eax");
	check_fault("expand-down fff of 64 KiB, at 10000", VEC_GP, 0);

	/* Rights. */
	gdt_set(SEL_A, descriptor((u32)area, 0xfff, 0x91, 4));
	load_fs(SEL_A);
	TRY("movb $1, %%fs:0", ::: "memory");
	check_fault("write to read-only data", VEC_GP, 0);
	gdt_set(SEL_A, descriptor((u32)area, 0xfff, 0x9b, 4));
	load_fs(SEL_A);
	TRY("movb %%fs:0, %%al", ::: "eax");
	check_none("read of readable code");
	TRY("movb $1, %%fs:0", ::: "memory");
	check_fault("write to code", VEC_GP, 0);
	gdt_set(SEL_B, descriptor(0, 0xfffff, 0x99, 0xc));
	TRY("mov %0, %%fs", ::"r"((u32)SEL_B));
	check_fault("load of execute-only code", VEC_GP, SEL_B);
	asm volatile("ljmp %0, $1f; 1:" ::"i"(SEL_B));
	TRY("movb %%cs:0x1000, %%al", ::: "eax");
	check_eq("read by CS of execute-only code", fault.vector, VEC_GP);
	asm volatile("ljmp %0, $1f; 1:" ::"i"(SEL_CODE));
	TRY("mov %0, %%ss", ::"r"((u32)SEL_A));
	check_fault("MOV SS with code", VEC_GP, SEL_A);
	load_fs(0);
	TRY("movb %%fs:0, %%al", ::: "eax");
	check_fault("read by a null segment", VEC_GP, 0);
	TRY("mov %0, %%ss", ::"r"(0));
	check_fault("MOV SS with null", VEC_GP, 0);
	TRY("mov %0, %%fs", ::"r"((u32)SEL_USER_DATA));
	check_none("MOV FS with DPL 3 at CPL 0");
	gdt_set(SEL_A, descriptor((u32)area, 0xfff, 0x92, 4));
	load_fs(SEL_A);
	check_eq("a load sets the accessed bit", (u8)(gdt[SEL_A >> 3] >> 40), 0x93);
	load_fs(0);

	/* Code limit. */
	gdt_set(SEL_A, descriptor((u32)area, 0xff, 0x9b, 4));
	memset(area, 0x90, sizeof area);
	area[0x40] = 0xcb; /* RETF */
	TRY("lcall %0, $0x20", ::"i"(SEL_A));
	check_none("far call within the limit");
	TRY("lcall %0, $0x100", ::"i"(SEL_A));
	check_fault("far call beyond the limit", VEC_GP, 0);
	TRY("lcall %0, $0x80", ::"i"(SEL_A));
	check_at("execution runs over the limit", VEC_GP, 0, 0x100);
	check_eq("CS of that fault", fault.cs, SEL_A);
	area[0xfd] = 0xb8; /* MOV EAX, imm32 over the limit */
	TRY("lcall %0, $0x80", ::"i"(SEL_A));
	check_at("instruction across the limit", VEC_GP, 0, 0xfd);
}

/* A jump in the last bytes of a code segment to what is behind it; often enough to be translated. */
static void jump_over_the_limit(void)
{
	int turn;

	gdt_set(SEL_A, descriptor((u32)area, 0xff, 0x9b, 4));
	area[0xfe] = 0xff; /* JMP EAX */
	area[0xff] = 0xe0;
	area[0x100] = 0xcb; /* RETF, for the peer, which gets there */
	for (turn = 0; turn < 60; turn++) {
		TRY("lcall %0, $0xfe", ::"i"(SEL_A), "a"(0x100));
		if (fault.vector != VEC_GP || fault.ip != 0xfe)
			break;
	}
	check_at("jump over the limit", VEC_GP, 0, 0xfe);
}

static void expect_lar(const char *name, u16 selector, int zf, u32 want)
{
	u32 v = 0xdead;
	u8 z;

	asm volatile("lar %2, %0; setz %1" : "+r"(v), "=q"(z) : "r"((u32)selector));
	check(name, z == zf && (zf ? (v & 0xf0ff00) == want : v == 0xdead));
}

static void expect_lsl(const char *name, u16 selector, int zf, u32 want)
{
	u32 v = 0xdead;
	u8 z;

	asm volatile("lsl %2, %0; setz %1" : "+r"(v), "=q"(z) : "r"((u32)selector));
	check(name, z == zf && v == (zf ? want : 0xdead));
}

static void expect_verify(const char *name, u16 selector, int readable, int writable)
{
	u8 r, w;

	asm volatile("verr %2; setz %0; verw %2; setz %1" : "=&q"(r), "=q"(w) : "r"(selector));
	check(name, r == readable && w == writable);
}

static void inspection(void)
{
	gdt_set(SEL_A, descriptor(0x1000, 0x12345, 0x93, 0x5)); /* AVL set */
	expect_lar("LAR data", SEL_A, 1, 0x509300);
	expect_lsl("LSL bytes", SEL_A, 1, 0x12345);
	gdt_set(SEL_A, descriptor(0x1000, 0x12345, 0x13, 0xc));
	expect_lar("LAR not present", SEL_A, 1, 0xc01300);
	expect_lsl("LSL pages", SEL_A, 1, 0x12345fff);
	expect_verify("VERR, VERW not present", SEL_A, 1, 1); /* the P bit is not looked at */
	expect_lar("LAR null", 0, 0, 0);
	expect_lsl("LSL null", 0, 0, 0);
	expect_verify("VERR, VERW null", 0, 0, 0);
	expect_lar("LAR beyond the GDT", 0x200, 0, 0);
	expect_verify("VERR, VERW beyond the GDT", 0x200, 0, 0);
	gdt_set(SEL_GATE, gate(SEL_CODE, 0, 0x8c, 0));
	expect_lar("LAR call gate", SEL_GATE, 1, 0x008c00);
	expect_lsl("LSL call gate", SEL_GATE, 0, 0);
	expect_verify("VERR, VERW call gate", SEL_GATE, 0, 0);
	gdt_set(SEL_GATE, gate(SEL_CODE, 0, 0x8e, 0));
	expect_lar("LAR interrupt gate", SEL_GATE, 0, 0);
	gdt_set(SEL_GATE, gate(SEL_TSS, 0, 0x85, 0));
	expect_lar("LAR task gate", SEL_GATE, 1, 0x008500);
	expect_lsl("LSL task gate", SEL_GATE, 0, 0);
	expect_lar("LAR TSS", SEL_TSS, 1, 0x008b00);
	expect_lsl("LSL TSS", SEL_TSS, 1, sizeof tss - 1);
	gdt_set(SEL_LDT, descriptor((u32)area, 0x7f, 0x82, 0));
	expect_lar("LAR LDT", SEL_LDT, 1, 0x008200);
	expect_lsl("LSL LDT", SEL_LDT, 1, 0x7f);
	gdt_set(SEL_A, descriptor(0, 0xfff, 0x91, 0xc));
	expect_verify("VERR, VERW read-only data", SEL_A, 1, 0);
	gdt_set(SEL_A, descriptor(0, 0xfff, 0x99, 0xc));
	expect_verify("VERR, VERW execute-only code", SEL_A, 0, 0);
	gdt_set(SEL_A, descriptor(0, 0xfff, 0x9b, 0xc));
	expect_verify("VERR, VERW readable code", SEL_A, 1, 0);
	expect_verify("VERR, VERW with RPL 3 of DPL 0", SEL_DATA | 3, 0, 0);
	expect_lar("LAR with RPL 3 of DPL 0", SEL_DATA | 3, 0, 0);
	expect_verify("VERR, VERW with RPL 3 of DPL 3", SEL_USER_DATA, 1, 1);
	gdt_set(SEL_A, descriptor(0, 0xfff, 0x9f, 0xc));
	expect_lar("LAR conforming code with RPL 3", SEL_A | 3, 1, 0xc09f00);
	expect_verify("VERR, VERW conforming code with RPL 3", SEL_A | 3, 1, 0);
	enter_user((u32)user_lar, SEL_DATA);
	check("user LAR of DPL 0", fault.cx == 0 && fault.ax == 0);
	enter_user((u32)user_lar, SEL_USER_DATA);
	check("user LAR of DPL 3", fault.cx == 1 && (fault.ax & 0xf0ff00) == 0xc0f300);
	{
		u32 v = 0x1231;
		u8 z;

		asm volatile("arpl %w2, %w0; setz %1" : "+r"(v), "=&q"(z) : "r"(3));
		check("ARPL raises RPL", z && v == 0x1233);
		asm volatile("arpl %w2, %w0; setz %1" : "+r"(v), "=&q"(z) : "r"(2));
		check("ARPL leaves a higher RPL", !z && v == 0x1233);
	}
}

static void local_table(void)
{
	u64 *ldt = (u64 *)area;

	memset(area, 0, 256);
	ldt[2] = descriptor((u32)area, 0xfff, 0x93, 4);
	gdt_set(SEL_LDT, descriptor((u32)area, 0x1f, 0x82, 0));
	TRY("lldt %w0", ::"r"(SEL_LDT));
	check_none("LLDT");
	TRY("mov %0, %%fs", ::"r"(0x14));
	check_none("MOV FS from the LDT");
	TRY("mov %0, %%fs", ::"r"(0x24));
	check_fault("MOV FS beyond the LDT", VEC_GP, 0x24);
	TRY("mov %0, %%fs", ::"r"(0x04));
	check_fault("MOV FS, LDT entry 0 is no null selector", VEC_GP, 4);
	TRY("lldt %w0", ::"r"(0x14));
	check_fault("LLDT with an LDT selector", VEC_GP, 0x14);
	gdt_set(SEL_LDT, descriptor((u32)area, 0x1f, 0x02, 0));
	TRY("lldt %w0", ::"r"(SEL_LDT));
	check_fault("LLDT not present", VEC_NP, SEL_LDT);
	TRY("lldt %w0", ::"r"(0));
	check_none("LLDT null");
	TRY("mov %0, %%fs", ::"r"(0x14));
	check_fault("MOV FS without LDT", VEC_GP, 0x14);
	load_fs(0);
}

static void gates(void)
{
	u32 old_esp0 = tss.esp0;

	gdt_set(SEL_GATE, gate(SEL_CODE, (u32)gate_target, 0xec, 2));
	enter_user((u32)user_gate, 0);
	check_at("call gate to ring 0 and back", VEC_EXIT, 0, (u32)user_gate_end + 2);
	check_eq("CS in ring 0", gate_seen[0] & 0xffff, SEL_CODE);
	check_eq("SS in ring 0", gate_seen[1] & 0xffff, SEL_DATA);
	check_eq("last parameter", gate_seen[2], 0x2222);
	check_eq("first parameter", gate_seen[3], 0x1111);
	check_eq("saved SS", gate_seen[5] & 0xffff, SEL_USER_DATA);
	check_eq("saved CS", gate_seen[7] & 0xffff, SEL_USER_CODE32);
	check_eq("stack from the TSS", gate_seen[6], tss.esp0 - 24);
	check_eq("RETF n releases both stacks", fault.sp, gate_seen[4] + 8);
	check_eq("CPL back to 3", fault.cs, SEL_USER_CODE32);

	gdt_set(SEL_GATE, gate(SEL_CODE, (u32)gate_es, 0xec, 2));
	enter_user((u32)user_es_gate, 0);
	check("return to ring 3 clears ES of ring 0, leaves DS", fault.ax == 0 && fault.bx == SEL_USER_DATA);

	gdt_set(SEL_GATE, gate(SEL_CODE, (u32)gate_plain, 0x8c, 2));
	TRY("lcall %0, $0", ::"i"(SEL_GATE) : "ecx", "memory");
	check_none("call gate within ring 0");
	check_eq("no parameters copied", trap_stack - gate_seen[6], 8);
	enter_user((u32)user_gate_fault, 0);
	check_at("call gate of DPL 0 from ring 3", VEC_GP, SEL_GATE, (u32)user_gate_fault);
	gdt_set(SEL_GATE, gate(SEL_CODE, (u32)gate_plain, 0x6c, 0));
	enter_user((u32)user_gate_fault, 0);
	check_at("call gate not present", VEC_NP, SEL_GATE, (u32)user_gate_fault);
	gdt_set(SEL_GATE, gate(0, (u32)gate_plain, 0xec, 0));
	enter_user((u32)user_gate_fault, 0);
	check_at("call gate to null", VEC_GP, 0, (u32)user_gate_fault);
	gdt_set(SEL_GATE, gate(SEL_DATA, (u32)gate_plain, 0xec, 0));
	enter_user((u32)user_gate_fault, 0);
	check_at("call gate to data", VEC_GP, SEL_DATA, (u32)user_gate_fault);
	gdt_set(SEL_B, descriptor(0, 0xfffff, 0x1b, 0xc));
	gdt_set(SEL_GATE, gate(SEL_B, (u32)gate_plain, 0xec, 0));
	enter_user((u32)user_gate_fault, 0);
	check_at("call gate to absent code", VEC_NP, SEL_B, (u32)user_gate_fault);
	gdt_set(SEL_GATE, gate(SEL_CODE, (u32)gate_plain, 0xec, 0));
	enter_user((u32)user_jump_gate, 0);
	check_at("jump by a gate to inner code", VEC_GP, SEL_CODE, (u32)user_jump_gate);

	/* The exception for a bad ring 0 stack would need that stack itself: give ring 1 the bad one. */
	gdt_set(SEL_B, descriptor(0, 0xfffff, 0xbb, 0xc)); /* code of DPL 1 */
	gdt_set(SEL_GATE, gate(SEL_B, (u32)gate_plain, 0xec, 0));
	tss.ss1 = 0;
	tss.esp1 = (u32)area + 0x1000;
	enter_user((u32)user_gate_fault, 0);
	check_at("inner SS null", VEC_TS, 0, (u32)user_gate_fault);
	tss.ss1 = SEL_DATA;
	enter_user((u32)user_gate_fault, 0);
	check_at("inner SS of another ring", VEC_TS, SEL_DATA, (u32)user_gate_fault);
	gdt_set(SEL_A, descriptor(0, 0xfffff, 0x33, 0xc));
	tss.ss1 = SEL_A | 1;
	enter_user((u32)user_gate_fault, 0);
	check_at("inner SS not present", VEC_SS, SEL_A, (u32)user_gate_fault);
	gdt_set(SEL_A, descriptor(0, 0xfffff, 0xb1, 0xc));
	enter_user((u32)user_gate_fault, 0);
	check_at("inner SS read-only", VEC_TS, SEL_A, (u32)user_gate_fault);
	gdt_set(SEL_A, descriptor(0, 0xff, 0xb3, 0x4));
	enter_user((u32)user_gate_fault, 0);
	check_at("inner stack too small", VEC_SS, SEL_A, (u32)user_gate_fault);
	gdt_set(SEL_A, descriptor(0, 0xfffff, 0xb3, 0xc));
	gdt_set(SEL_GATE, gate(SEL_B, (u32)gate_target, 0xec, 2));
	enter_user((u32)user_gate, 0);
	check_fault("call gate to ring 1 and back", VEC_EXIT, 0);
	check_eq("CS in ring 1", gate_seen[0] & 0xffff, SEL_B | 1);
	check_eq("SS in ring 1", gate_seen[1] & 0xffff, SEL_A | 1);

	/* A 16-bit gate: words on the stack. */
	gdt_set(SEL_GATE16, gate(SEL_A, (u32)gate_target16, 0xe4, 2));
	gdt_set(SEL_A, descriptor((u32)gate_target16 & 0xffff0000, 0xffff, 0x9b, 0));
	((u64 *)gdt)[SEL_GATE16 >> 3] &= 0x0000ffffffffffffull;
	enter_user((u32)user_gate16, 0);
	check("16-bit call gate: parameters", (u16)gate_seen[0] == 0x2222 && (u16)gate_seen[1] == 0x1111);
	check_eq("16-bit call gate: return IP", (u16)gate_seen[2], (u16)((u32)user_gate16 + 17));
	tss.esp0 = old_esp0;

	gdt_set(SEL_CONFORMING, descriptor(0, 0xfffff, 0x9f, 0xc));
	enter_user((u32)user_conforming, 0);
	check_eq("conforming code keeps CPL 3", fault.ax & 0xffff, SEL_CONFORMING | 3);
	TRY("ljmp %0, $0", ::"i"(SEL_USER_CODE32));
	check_fault("jump to outer code", VEC_GP, SEL_USER_CODE32 & ~3);
	gdt_set(SEL_CONFORMING, descriptor(0, 0xfffff, 0xff, 0xc));
	TRY("lcall %0, $conforming_target", ::"i"(SEL_CONFORMING) : "eax");
	check_fault("call of conforming code of DPL 3 from ring 0", VEC_GP, SEL_CONFORMING);
	TRY("lcall %0, $0", ::"i"(0));
	check_fault("far call to null", VEC_GP, 0);
	TRY("lcall %0, $0", ::"i"(SEL_DATA));
	check_fault("far call to data", VEC_GP, SEL_DATA);
	TRY("push %0; push $0; lret", ::"i"(SEL_USER_CODE32 & ~3));
	check("far return to DPL 3 code with RPL 0", fault.vector == VEC_GP && fault.error == (SEL_USER_CODE32 & ~3));
	TRY("push $2; push $0; push $0; iret", ::);
	check("IRET to null", fault.vector == VEC_GP && fault.error == 0);
	TRY("push $0; push $0; push $2; push %0; push $0; iret", ::"i"(SEL_USER_CODE32));
	check("IRET to ring 3 with a null SS", fault.vector == VEC_GP && fault.error == 0);
	TRY("push $0x10; push $0; push $2; push %0; push $0; iret", ::"i"(SEL_USER_CODE32));
	check("IRET to ring 3 with SS of ring 0", fault.vector == VEC_GP && fault.error == SEL_DATA);
}

/* Runs user code with a stack in page tables whose second page is absent. */
static void in_user(char *ip, u32 sp, u32 ss, u32 arg)
{
	struct enter e = {.ip = (u32)ip,
			  .cs = SEL_USER_CODE32,
			  .sp = sp,
			  .ss = ss,
			  .flags = 2,
			  .arg = arg,
			  .ds = SEL_USER_DATA,
			  .es = SEL_USER_DATA};

	fault_begin();
	enter(&e);
}

static void stack_faults(void)
{
	u32 *directory = page_alloc(), *table = page_alloc(), i, hole = 0x40001000;

	for (i = 0; i < 1024; i++)
		directory[i] = i << 22 | PG_P | PG_W | PG_U | PG_PS;
	directory[0x100] = (u32)table | PG_P | PG_W | PG_U;
	table[0] = (u32)page_alloc() | PG_P | PG_W | PG_U;
	table[2] = (u32)page_alloc() | PG_P | PG_W | PG_U;
	write_cr4(read_cr4() | 0x10);
	write_cr3((u32)directory);
	write_cr0(read_cr0() | 0x80000000);

	in_user(user_pusha, hole + 0x1010, SEL_USER_DATA, 7); /* the fifth push is in the hole */
	check_at("PUSHA into an absent page", VEC_PF, 6, (u32)user_pusha);
	check_eq("PUSHA leaves ESP", fault.sp, hole + 0x1010);
	in_user(user_popa, hole - 0x10, SEL_USER_DATA, 7);
	check_at("POPA from an absent page", VEC_PF, 4, (u32)user_popa);
	check_eq("POPA leaves ESP", fault.sp, hole - 0x10);
	check_eq("POPA cr2", fault.cr2, hole);
	in_user(user_pop_mem, hole - 8, SEL_USER_DATA, hole + 4);
	check_at("POP m into an absent page", VEC_PF, 6, (u32)user_pop_mem);
	check_eq("POP m leaves ESP", fault.sp, hole - 8);
	in_user(user_enter, hole + 0x1008, SEL_USER_DATA, 0);
	check("ENTER into an absent page",
	      fault.vector == VEC_PF && fault.ip == (u32)user_enter && fault.sp == hole + 0x1008);
	in_user(user_callmem, hole + 0x1000, SEL_USER_DATA, (u32) & (u32){0x1000});
	check_at("CALL m onto an absent page", VEC_PF, 6, (u32)user_callmem);
	check_eq("CALL m cr2", fault.cr2, hole + 0xffc);
	in_user(user_ret_small, hole - 4, SEL_USER_DATA, 0);
	check_at("RETF with half of its frame absent", VEC_PF, 4, (u32)user_ret_small);
	check_eq("RETF leaves ESP", fault.sp, hole - 4);

	/* A stack segment of 256 bytes. */
	gdt_set(SEL_USER_STACK, descriptor((u32)area, 0xff, 0xf3, 4));
	in_user(user_pusha, 0x10, SEL_USER_STACK | 3, 0);
	check_at("PUSHA below offset 0", VEC_SS, 0, (u32)user_pusha);
	check_eq("PUSHA at the limit leaves ESP", fault.sp, 0x10);
	in_user(user_popa, 0xf0, SEL_USER_STACK | 3, 0);
	check_at("POPA beyond the limit", VEC_SS, 0, (u32)user_popa);
	in_user(user_lds_push, 0x104, SEL_USER_STACK | 3, 0);
	check_at("PUSH beyond the limit", VEC_SS, 0, (u32)user_lds_push);
	in_user(user_lds_push, 0x100, SEL_USER_STACK | 3, 0);
	check_at("PUSH at the limit", VEC_EXIT, 0, (u32)user_lds_push + 3);
	/* A 16-bit stack segment wraps SP within 64 KiB and leaves the upper half of ESP. */
	gdt_set(SEL_USER_STACK, descriptor((u32)area - 0xf000, 0xffff, 0xf3, 0));
	in_user(user_lds_push, 0x5555f004, SEL_USER_STACK | 3, 0);
	check_at("PUSH on a 16-bit stack", VEC_EXIT, 0, (u32)user_lds_push + 3);
	/* IRET and PUSH changed SP only: the upper half of ESP is still ring 0's. */
	check_eq("PUSH on a 16-bit stack changes SP only", fault.sp, (trap_stack & 0xffff0000) | 0xf000);
	in_user(user_into, hole - 16, SEL_USER_DATA, 0);
	check_at("INTO is a trap", VEC_OF, 0, (u32)user_into + 7);
	write_cr0(read_cr0() & ~0x80000000);
}

static void bounds(void)
{
	static int pair[2] = {-5, 10};

	TRY("bound %0, %1", ::"r"(-5), "m"(pair));
	check_none("BOUND, lower bound");
	TRY("bound %0, %1", ::"r"(10), "m"(pair));
	check_none("BOUND, upper bound");
	TRY("bound %0, %1", ::"r"(11), "m"(pair));
	check_fault("BOUND, above", VEC_BR, 0);
	TRY("bound %0, %1", ::"r"(-6), "m"(pair));
	check_fault("BOUND, below", VEC_BR, 0);
	TRY("xor %%eax, %%eax; into", ::: "eax");
	check_none("INTO without overflow");
}

void guest_main(void)
{
	limits();
	jump_over_the_limit();
	inspection();
	local_table();
	gates();
	stack_faults();
	bounds();
}
