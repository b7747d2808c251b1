# SPDX-License-Identifier: GPL-2.0-or-later
# A boot sector for bench/display: writes to RAM, to the frame buffer, to the text screen and to planes, and says at port 0xe9 when each
# begins and ends.
	.code16
	.globl _start
_start:	cli
	xor	%ax, %ax
	mov	%ax, %ds
	lgdt	gdtr
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmp	$8, $flat
	.code32
flat:	mov	$16, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x7000, %esp
	cld
	mov	$0x80001010, %eax	# BAR 0 of 00:02.0
	mov	$0xcf8, %dx
	out	%eax, %dx
	mov	$0xcfc, %dx
	in	%dx, %eax
	and	$0xfffffff0, %eax
	mov	%eax, %ebx
	mov	$'a', %al		# RAM
	mov	$0x1000000, %edx
	call	fill
	mov	$'c', %al		# frame buffer
	mov	%ebx, %edx
	call	fill
	mov	$'e', %al		# frame buffer, by a loop
	out	%al, $0xe9
	mov	$64, %ebp
1:	mov	%ebx, %edi
	mov	$0x80000, %ecx
2:	mov	%eax, (%edi)
	mov	%eax, 4(%edi)
	add	$8, %edi
	dec	%ecx
	jnz	2b
	dec	%ebp
	jnz	1b
	mov	$'f', %al
	out	%al, $0xe9
	mov	$'g', %al		# text
	out	%al, $0xe9
	mov	$20000, %ebp
3:	mov	$0xb8000, %edi
	mov	$2000, %ecx
4:	mov	%ax, (%edi)
	add	$2, %edi
	dec	%ecx
	jnz	4b
	dec	%ebp
	jnz	3b
	mov	$'h', %al
	out	%al, $0xe9
	mov	$registers, %esi	# planes
1:	lodsw
	test	%ax, %ax
	jz	2f
	mov	%eax, %edx
	lodsw
	out	%ax, %dx
	jmp	1b
2:	mov	$'i', %al		# all at once
	out	%al, $0xe9
	mov	$160, %ebp
3:	mov	$0xa0000, %edi
	mov	$38400, %ecx
	rep stosb
	dec	%ebp
	jnz	3b
	mov	$'j', %al
	out	%al, $0xe9
	mov	$'k', %al		# one after the other, as a picture comes in
	out	%al, $0xe9
	mov	$4, %ebp
4:	mov	$0x0102, %ax
5:	mov	$0x3c4, %dx
	out	%ax, %dx
	mov	$0xa0000, %edi
	mov	$38400, %ecx
6:	mov	%cl, (%edi)
	inc	%edi
	dec	%ecx
	jnz	6b
	shl	$1, %ah
	test	$0x10, %ah
	jz	5b
	dec	%ebp
	jnz	4b
	mov	$'l', %al
	out	%al, $0xe9
	mov	$0x0f02, %ax		# through the latches, as a scroll does
	out	%ax, %dx
	mov	$0x3ce, %dx
	mov	$0x4105, %ax
	out	%ax, %dx
	mov	$'m', %al
	out	%al, $0xe9
	mov	$160, %ebp
7:	mov	$0xa0000, %edi
	lea	640(%edi), %esi
	mov	$37760, %ecx
	rep movsb
	dec	%ebp
	jnz	7b
	mov	$'n', %al
	out	%al, $0xe9
8:	hlt
	jmp	8b
fill:	out	%al, $0xe9
	mov	$128, %ebp
6:	mov	%edx, %edi
	mov	$0x100000, %ecx
	rep stosl
	dec	%ebp
	jnz	6b
	inc	%eax
	out	%al, $0xe9
	ret
	.balign 8
gdt:	.quad	0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:	.word	gdtr - gdt - 1
	.long	gdt
registers: .word 0x3c4, 0x0604, 0x3c4, 0x0f02, 0x3ce, 0x4005, 0x3ce, 0x0506, 0	# Mode X
	.org	0x1fe
	.word	0xaa55
