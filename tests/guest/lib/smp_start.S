/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an application processor executes after a start-up IPI, copied to 8000h: real mode to long mode (SDM 3A 9.4). */
#ifdef __x86_64__
	.text
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl 0x8000 + ap_gdt_pointer - ap_trampoline
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmpl $0x18, $0x8000 + 1f - ap_trampoline
	.code32
1:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %cr4, %eax
	or $0x20, %eax
	mov %eax, %cr4
	mov $boot_pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax
	wrmsr
	mov %cr0, %eax
	or $0x80000001, %eax
	and $0x9fffffff, %eax
	mov %eax, %cr0
	ljmp $0x08, $2f
	.align 4
ap_gdt_pointer:
	.word 0x1ff
	.long gdt
ap_trampoline_end:
	.code64
2:	mov ap_stack, %rsp
	call ap_main
3:	cli
	hlt
	jmp 3b
#endif
	.section .note.GNU-stack, "", @progbits
