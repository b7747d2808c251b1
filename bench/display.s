# SPDX-License-Identifier: GPL-2.0-or-later
# A boot sector for bench/display: writes to RAM, to the frame buffer and to the text screen, and says at port 0xe9 when each
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
5:	hlt
	jmp	5b
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
	.org	0x1fe
	.word	0xaa55
