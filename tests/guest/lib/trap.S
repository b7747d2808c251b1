/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt entries, and leaving one by a jump: trap_resume, when not 0, is where the guest goes on after a recorded
 * exception, with the stack of trap_stack, whatever the exception interrupted (any privilege, vm86 too).
 */
#ifdef __x86_64__
	.text
	.align 16
	.globl trap_entries
trap_entries:
	.set v, 0
	.rept 256
	.align 16
	.if v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30
	.else
	push $0
	.endif
	push $v
	jmp trap_common
	.set v, v + 1
	.endr

trap_common:
	cld
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rdi
	mov %rsp, %rbx
	and $-16, %rsp
	call trap_dispatch
	mov %rbx, %rsp
	test %eax, %eax
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	jnz 1f
	add $16, %rsp
	iretq
1:	mov trap_stack, %rsp
	push $2
	popfq
	push $0x10
	pop trap_scratch
	mov trap_scratch, %ss
	jmp *trap_resume

	/* void enter(const struct enter *e): IRET to e; comes back at the first exception or INT 80h. */
	.globl enter
enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	movq $1f, trap_resume
	mov %rsp, trap_stack
	push 24(%rdi)			/* ss, rsp, rflags, cs, rip */
	push 16(%rdi)
	push 32(%rdi)
	push 8(%rdi)
	push 0(%rdi)
	mov 40(%rdi), %rdi
	iretq
1:	movq $0, trap_resume
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
#else
	.text
	.align 16
	.globl trap_entries
trap_entries:
	.set v, 0
	.rept 256
	.align 16
	.if v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30
	.else
	push $0
	.endif
	push $v
	jmp trap_common
	.set v, v + 1
	.endr

trap_common:
	cld
	pushal
	push %ds
	push %es
	push %fs
	push %gs
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	push %esp
	call trap_dispatch
	add $4, %esp
	test %eax, %eax
	jnz 1f
	pop %gs
	pop %fs
	pop %es
	pop %ds
	popal
	add $8, %esp
	iret
1:	mov %esp, %eax
	mov 16(%eax), %edi
	mov 20(%eax), %esi
	mov 24(%eax), %ebp
	mov 32(%eax), %ebx
	mov 36(%eax), %edx
	mov 40(%eax), %ecx
	mov 44(%eax), %eax
	mov $0x10, %esp
	mov %esp, %ss
	mov trap_stack, %esp
	push $2
	popf
	jmp *trap_resume

	/* void enter(const struct enter *e): IRET to e; comes back at the first exception or INT 80h. */
	.globl enter
enter:
	mov 4(%esp), %eax
	push %ebx
	push %ebp
	push %esi
	push %edi
	movl $1f, trap_resume
	mov %esp, trap_stack
	push 36(%eax)			/* gs, fs, ds, es of vm86 */
	push 32(%eax)
	push 24(%eax)
	push 28(%eax)
	push 12(%eax)			/* ss, esp, eflags, cs, eip */
	push 8(%eax)
	push 16(%eax)
	push 4(%eax)
	push 0(%eax)
	testl $0x20000, 16(%eax)
	jnz 2f
	testl $3, 4(%eax)
	jz 3f
	push 24(%eax)
	pop %ds
	push %ss:28(%eax)
	pop %es
2:	mov %ss:20(%eax), %edi
	mov %ss:40(%eax), %edx
	iret
3:	mov 20(%eax), %edi		/* same privilege: the frame has no stack of its own */
	iret
1:	movl $0, trap_resume
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	ret
#endif
	.bss
	.globl trap_resume, trap_stack
	.align 8
trap_resume:	.skip 8
trap_stack:	.skip 8
trap_scratch:	.skip 8
	.section .note.GNU-stack, "", @progbits
