/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Library of the test guests: starting application processors with INIT and start-up IPIs (SDM 3A 9.4.4). */
#include "guest.h"

#ifdef __x86_64__
extern char ap_trampoline[], ap_trampoline_end[];
void ap_main(void);

word ap_stack;

static void (*ap_function)(void);
static volatile u32 ap_up;

void ap_main(void)
{
	idt_load();
	asm volatile("lock incl %0" : "+m"(ap_up));
	ap_function();
}

int cpu_start(u32 apic_id, void (*main)(void))
{
	u32 before = ap_up;

	memcpy((void *)0x8000, ap_trampoline, ap_trampoline_end - ap_trampoline);
	page_alloc();
	page_alloc();
	ap_stack = (word)page_alloc() + 4096;
	ap_function = main;
	lapic_write(0x310, apic_id << 24);
	lapic_write(0x300, 0x4500); /* INIT, assert */
	delay_us(10000);
	lapic_write(0x310, apic_id << 24);
	lapic_write(0x300, 0x4608); /* start-up at 8000h */
	if (wait_for(&ap_up, before + 1, 20))
		return 1;
	lapic_write(0x310, apic_id << 24);
	lapic_write(0x300, 0x4608);
	return wait_for(&ap_up, before + 1, 2000);
}
#endif
