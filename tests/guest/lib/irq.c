/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Library of the test guests: 8259 pair, local APIC, delays. 8259A and 8254 data sheets, SDM 3A 11. */
#include "guest.h"

void pic_init(u8 base)
{
	outb(0x20, 0x11);
	outb(0x21, base);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0xa0, 0x11);
	outb(0xa1, base + 8);
	outb(0xa1, 2);
	outb(0xa1, 1);
	pic_mask(0xffff);
}

void pic_mask(u16 mask)
{
	outb(0x21, mask);
	outb(0xa1, mask >> 8);
}

void lapic_on(void)
{
	wrmsr(0x1b, (rdmsr(0x1b) & 0xfff) | LAPIC | 0x800);
	lapic_write(0xf0, 0x1ff); /* spurious vector ff, enabled */
	lapic_write(0x80, 0);
}

void delay_us(u32 us)
{
	while (us) {
		u32 part = us > 50000 ? 50000 : us, count = part + part / 1000 * 193 + part % 1000 * 193 / 1000;

		us -= part;
		outb(0x61, (inb(0x61) & ~2) & ~1);
		outb(0x43, 0xb0); /* channel 2, both bytes, mode 0: OUT rises at the end */
		outb(0x42, count);
		outb(0x42, count >> 8);
		outb(0x61, inb(0x61) | 1);
		while (!(inb(0x61) & 0x20))
			pause_cpu();
	}
}

int wait_for(volatile u32 *p, u32 at_least, u32 ms)
{
	u32 n;

	for (n = 0; n < ms; n++) {
		if (*p >= at_least)
			return 1;
		delay_us(1000);
	}
	return *p >= at_least;
}
