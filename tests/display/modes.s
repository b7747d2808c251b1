# SPDX-License-Identifier: GPL-2.0-or-later
# A boot sector that sets a mode by the video BIOS, draws by hand, says so at port 0xe9 and stops. The test patches in
# what is to be done: the mode at 0x1a0, the pattern at 0x1a2, and at 0x1a4 words for index/data ports: port, value; 0 ends.
	.code16
	.globl _start
_start:	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	$0x7c00, %sp
	cld
	mov	mode, %ax
	test	%ah, %ah
	jnz	vbe
	int	$0x10
	jmp	1f
vbe:	mov	%ax, %bx
	mov	$0x4f02, %ax
	int	$0x10
	cmp	$0x004f, %ax
	jne	fail
1:	mov	$1, %ah			# no cursor
	mov	$0x2000, %cx
	int	$0x10
	mov	pattern, %bl
	cmp	$1, %bl
	je	text
	cmp	$2, %bl
	je	planes
	cmp	$3, %bl
	je	cga
	cmp	$4, %bl
	je	banks
	cmp	$5, %bl			# and repeated instructions
	je	planes
	mov	$0xa000, %ax		# 0: bytes
	call	fill
	jmp	done
text:	mov	$0xb800, %ax
	mov	%ax, %es
	xor	%di, %di
	xor	%ax, %ax
2:	mov	%ax, %cx		# character n (but 0xb0..0xbf, whose ninth column qemu draws wrong), attribute n / 8
	shr	$3, %ax
	and	$0x7f, %al		# does not blink
	mov	%al, %ah
	mov	%cl, %al
	mov	%al, %bl
	and	$0xf0, %bl
	cmp	$0xb0, %bl
	jne	9f
	xor	$0x80, %al
9:	stosw
	mov	%cx, %ax
	inc	%ax
	cmp	$2000, %ax
	jb	2b
	jmp	done
planes:	mov	$0x0102, %ax
3:	push	%ax
	mov	$0x3c4, %dx
	out	%ax, %dx
	mov	$0xa000, %ax
	call	fill
	pop	%ax
	addb	$37, seed
	shl	$1, %ah
	test	$0x10, %ah
	jz	3b
	jmp	done
cga:	mov	$0xb800, %ax
	call	fill
	jmp	done
banks:	xor	%dx, %dx
4:	push	%dx
	mov	$0x4f05, %ax
	xor	%bx, %bx
	int	$0x10
	mov	$0xa000, %ax
	call	fill
	pop	%dx
	addb	$91, seed
	inc	%dx
	cmp	$8, %dx
	jb	4b
done:	mov	$registers, %si
5:	lodsw
	test	%ax, %ax
	jz	6f
	mov	%ax, %dx
	lodsw
	out	%ax, %dx
	jmp	5b
6:	cmpb	$5, pattern
	jne	6f
	mov	$0xa000, %ax		# what the registers make of repeated instructions
	mov	%ax, %ds
	mov	%ax, %es
	mov	$8003, %si
	xor	%di, %di
	mov	$7000, %cx
	rep movsb
	mov	$20000, %di
	mov	$0x5ac3, %ax
	mov	$4001, %cx
	rep stosw
	xor	%ax, %ax
	mov	%ax, %ds
6:	mov	$'D', %al
	out	%al, $0xe9
7:	cli
	hlt
	jmp	7b
fail:	mov	$'F', %al
	out	%al, $0xe9
	jmp	7b

# 64 KiB from segment AX: byte n is (n + (n >> 8) * 5) ^ (n >> 4) + seed
fill:	mov	%ax, %es
	xor	%di, %di
8:	mov	%di, %ax
	mov	%ah, %al
	mov	$5, %cl
	mul	%cl
	add	%di, %ax
	mov	%di, %cx
	shr	$4, %cx
	xor	%cl, %al
	add	seed, %al
	stosb
	test	%di, %di
	jnz	8b
	ret
seed:	.byte	0
	.org	0x1a0
mode:	.word	3
pattern: .word	1
registers: .word 0
	.org	0x1fe
	.word	0xaa55
