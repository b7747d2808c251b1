# SPDX-License-Identifier: GPL-2.0-or-later
# A boot sector that shows what the BIOS says of each key, scan code and character, under a line of colours; at 'G' it goes
# to 320x200 in 256 colours, and back with the next key.
	.code16
	.globl _start
_start:	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	$0x7c00, %sp
	cld
text:	mov	$0x0003, %ax
	int	$0x10
	mov	$0xb800, %ax
	mov	%ax, %es
	mov	$160, %di
	xor	%bx, %bx
1:	mov	%bl, %ah
	mov	$0xcd, %al		# a double line
	stosw
	mov	$0xb1, %al		# a shade
	stosw
	inc	%bx
	cmp	$40, %bx
	jb	1b
	mov	$0x0300, %dx
	mov	$0x02, %ah
	xor	%bx, %bx
	int	$0x10
	mov	$prompt, %si
2:	lodsb
	test	%al, %al
	jz	next
	call	put
	jmp	2b
next:	mov	$0x10, %ah
	int	$0x16
	cmp	$'G', %al
	je	graphics
	push	%ax
	mov	$' ', %al
	call	put
	pop	%ax
	mov	%ax, %cx
	mov	$4, %di
3:	rol	$4, %cx
	mov	%cl, %al
	and	$15, %al
	add	$'0', %al
	cmp	$'9', %al
	jbe	4f
	add	$7, %al
4:	call	put
	dec	%di
	jnz	3b
	jmp	next
graphics:
	mov	$0x0013, %ax
	int	$0x10
	xor	%ah, %ah
	int	$0x16
	jmp	text
put:	mov	$0x0e, %ah
	mov	$7, %bx
	int	$0x10
	ret
prompt:	.asciz	"type:"
	.org	0x1fe
	.word	0xaa55
