/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A boot sector that says so on COM1. The first time it resets the machine (CMOS byte 0x50 remembers), the second time it
 * ends the VMM with status 33; what it was loaded from is told by the letters at `name`. */
	.code16
	.globl _start
_start:
	cli
	xor %ax, %ax
	mov %ax, %ds
	mov $hello, %si
	call print
	mov $name, %si
	call print
	mov $line, %si
	call print
	mov $0x50, %al
	out %al, $0x70
	in $0x71, %al
	cmp $0x5a, %al
	je second
	mov $0x50, %al
	out %al, $0x70
	mov $0x5a, %al
	out %al, $0x71
	mov $0xcf9, %dx
	mov $2, %al
	out %al, %dx
	mov $6, %al
	out %al, %dx
halt:	hlt
	jmp halt
second:
	mov $0x501, %dx
	mov $0x10, %al
	out %al, %dx
	jmp halt

print:	lodsb
	test %al, %al
	jz 2f
	mov $0x3f8, %dx
	out %al, %dx
	jmp print
2:	ret

hello:	.asciz "booted from "
line:	.asciz "\r\n"
	.org 0x180
name:	.asciz "a disk"
	.org 510
	.word 0xaa55
