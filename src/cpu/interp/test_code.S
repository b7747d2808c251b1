/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest code of interp_test.c, one blob a test: NAME .. NAME_end. */
	.section .rodata

	.macro blob name
	.globl \name
\name:
	.endm
	.macro blob_end name
	.globl \name\()_end
\name\()_end:
	.code64
	.endm

	/* Sums 1..10 with a loop, a stack and a segment override; 16-bit. Result in AX, old DS:[0x100] in DX. */
	.code16
	blob code_real
	movw $0x2000, %ax
	movw %ax, %fs
	movw $0x1234, %fs:0x10
	xorw %ax, %ax
	movw $10, %cx
1:	addw %cx, %ax
	loop 1b
	pushw %ax
	call 2f
	popw %bx
	movw %fs:0x10, %dx
	movl $0x11223344, %esi
	shrl $16, %esi
	hlt
2:	pushw %bp
	movw %sp, %bp
	addw $100, 4(%bp)
	popw %bp
	ret
	blob_end code_real

	.code32
	blob code_protected
	movl $0x200000, %ebx
	movl $0x80000000, %eax
	movl %eax, (%ebx)
	addl $0x7fffffff, (%ebx)
	pushf
	popl %edi
	movl (%ebx), %ecx
	pushal
	movl $0, %ecx
	popal
	movb $0x79, %al
	addb $0x35, %al
	daa
	sbbb %dl, %dl
	hlt
	blob_end code_protected

	/* Writes over its own next instruction: MOV AL, 1 becomes MOV AL, 7. */
	.code64
	blob code_modify
	leaq 1f(%rip), %rbx
	movb $7, 1(%rbx)
1:	movb $1, %al
	incb %ah
	cmpb $3, %ah
	jne code_modify
	hlt
	blob_end code_modify

	/* A loop whose body another CPU or device rewrites: MOV EDX, imm32 at offset 1. */
	blob code_patched
1:	movl $1, %edx
	incq %rcx
	cmpl $2, %edx
	jne 1b
	hlt
	blob_end code_patched

	blob code_rep_movs
	rep movsb
	hlt
	blob_end code_rep_movs

	blob code_rep_stos
	cld
	rep stosq
	hlt
	blob_end code_rep_stos

	/* RCX rounds of every kind of locked increment at (RBX), (RBX+64), ... */
	blob code_locked
1:	lock incq (%rbx)
	movl $1, %eax
	lock xaddl %eax, 64(%rbx)
	movl 128(%rbx), %eax
2:	leal 1(%rax), %edx
	lock cmpxchgl %edx, 128(%rbx)
	jne 2b
	lock addw $1, 192(%rbx)
	movl 256(%rbx), %eax
	movl 260(%rbx), %edx
	movq %rbx, %rdi
	movq %rcx, %rsi
3:	movl %eax, %ebx
	movl %edx, %ecx
	addl $1, %ebx
	adcl $0, %ecx
	lock cmpxchg8b 256(%rdi)
	jne 3b
	movq %rdi, %rbx
	movq %rsi, %rcx
	lock btsq $63, 320(%rbx)
	decq %rcx
	jne 1b
	hlt
	blob_end code_locked

	/* Sets TF, executes four instructions and clears it. The handler of #DB counts in R15. */
	blob code_trap
	pushfq
	orq $0x100, (%rsp)
	popfq
	nop
	movl $1, %eax
	pushfq
	andq $~0x100, (%rsp)
	popfq
	nop
	hlt
	blob_end code_trap

	blob code_count_iret
	incq %r15
	iretq
	blob_end code_count_iret

	blob code_halt
	hlt
	blob_end code_halt

	/* STI shadows one instruction: the interrupt comes after the INC. */
	blob code_shadow
	sti
	incl %eax
	incl %eax
	incl %eax
	hlt
	blob_end code_shadow

	/* Handler: saves EAX as seen, masks further interrupts. */
	blob code_save_eax
	movl %eax, %r14d
	incq %r15
	hlt
	blob_end code_save_eax

	blob code_divide
	movl $5, %eax
	xorl %edx, %edx
	xorl %ecx, %ecx
	stc
	divl %ecx
	hlt
	blob_end code_divide

	blob code_vector
	movaps (%rbx), %xmm0
	addps (%rbx), %xmm0
	movaps %xmm0, 16(%rbx)
	fldpi
	fstpl 32(%rbx)
	popcntq (%rbx), %rax
	hlt
	blob_end code_vector

	/* An instruction of ten bytes that the test lays over a page boundary. */
	blob code_crossing
	movabsq $0x1122334455667788, %rax
	hlt
	blob_end code_crossing

	blob code_spin
1:	incq %rax
	jmp 1b
	blob_end code_spin

	blob code_gather
	vpcmpeqd %ymm2, %ymm2, %ymm2
	vmovdqu (%rsi), %ymm1
	vpgatherdd %ymm2, (%rbx,%ymm1,4), %ymm0
	vmovdqu %ymm0, (%rdi)
	hlt
	blob_end code_gather

	blob code_maskmov
	maskmovdqu %xmm1, %xmm0
	hlt
	blob_end code_maskmov

	/* Reads eight bytes at (RBX). */
	blob code_read
	movq (%rbx), %rax
	nop
	hlt
	blob_end code_read

	/* RDI: a MOV EDX, imm32 that another CPU executes; RSI: where that one stores EDX; RCX: rounds. */
	blob code_rewriter
1:	incl %eax
	movl %eax, 1(%rdi)
2:	cmpl (%rsi), %eax
	jne 2b
	decl %ecx
	jne 1b
	movb $1, 64(%rsi)
	hlt
	blob_end code_rewriter

	blob code_rewritten
1:	movl $0, %edx
	movl %edx, (%rsi)
	cmpb $0, 64(%rsi)
	je 1b
	hlt
	blob_end code_rewritten

	/* Real mode: FFFF:0010 is 1 MiB, or 0 with A20 off; code runs there, too. */
	.code16
	blob code_a20
	movw $0xffff, %ax
	movw %ax, %ds
	movw $0x5678, %bx
	movw %bx, 0x10
	movw 0x10, %cx
	hlt
	blob_end code_a20

	.section .note.GNU-stack,"",@progbits
