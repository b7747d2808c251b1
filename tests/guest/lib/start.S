/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry of a test guest: Multiboot 0.6.96 leaves 32-bit protected mode without paging; the 64-bit flavour goes on to long
 * mode with the first 4 GiB mapped one to one by 2 MiB pages. Left out: everything about the Multiboot information.
 */
	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 0, -0x1badb002

	.text
	.code32
	.globl start
start:
	cli
	cld
	mov $stack_top, %esp
	mov %ebx, boot_info
	lgdt gdt_pointer
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	fninit
#ifdef __x86_64__
	mov $boot_pd, %edi
	mov $0x83, %eax			/* present, writable, 2 MiB */
	mov $2048, %ecx
1:	mov %eax, (%edi)
	add $0x200000, %eax
	add $8, %edi
	loop 1b
	mov $boot_pd + 3, %eax
	mov %eax, boot_pdpt
	add $4096, %eax
	mov %eax, boot_pdpt + 8
	add $4096, %eax
	mov %eax, boot_pdpt + 16
	add $4096, %eax
	mov %eax, boot_pdpt + 24
	movl $boot_pdpt + 3, boot_pml4
	.globl enter_long
enter_long:
	mov %cr4, %eax
	or $0x20, %eax
	mov %eax, %cr4
	mov $boot_pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax			/* LME */
	wrmsr
	mov %cr0, %eax
	or $0x80000001, %eax
	mov %eax, %cr0
	ljmp $0x08, $2f
	.code64
2:	xor %ebp, %ebp
	call guest_start
#else
	ljmp $0x08, $2f
2:	xor %ebp, %ebp
	call guest_start
#endif
3:	hlt
	jmp 3b

	.data
	.align 8
	.globl gdt, gdt_pointer
	/* The selectors of guest.h: flat segments, then the TSS, then slots for the tests. */
gdt:
	.quad 0
#ifdef __x86_64__
	.quad 0x00af9b000000ffff	/* 08 kernel code */
#else
	.quad 0x00cf9b000000ffff
#endif
	.quad 0x00cf93000000ffff	/* 10 kernel data */
	.quad 0x00cf9b000000ffff	/* 18 kernel 32-bit code */
	.quad 0x00cffb000000ffff	/* 20 user 32-bit code */
	.quad 0x00cff3000000ffff	/* 28 user data */
	.quad 0x00affb000000ffff	/* 30 user 64-bit code */
	.quad 0, 0			/* 38 TSS */
	.quad 0x008f9b000000ffff	/* 48 kernel 16-bit code */
	.quad 0x008f93000000ffff	/* 50 kernel 16-bit data */
	.fill 53, 8, 0			/* 58 ... 1f8 */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
#ifdef __x86_64__
	.quad gdt
#else
	.long gdt
#endif

	.globl boot_info
boot_info:	.long 0, 0

	.section .bss.page, "aw", @nobits
	.align 4096
#ifdef __x86_64__
	.globl boot_pml4
boot_pml4:	.skip 4096
boot_pdpt:	.skip 4096
boot_pd:	.skip 4 * 4096
#endif
	.globl stack_top
	.skip 32768
stack_top:
	.section .note.GNU-stack, "", @progbits
