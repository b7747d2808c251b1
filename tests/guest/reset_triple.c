/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reset by a triple fault (SDM 3A 6.15, shutdown; a PC's chipset answers it with INIT or a reset). With -no-reboot the
 * machine ends, status 0. */
#include "guest.h"

void guest_main(void)
{
	say("ok reached the reset\n");
	struct {
		u16 limit;
		word base;
	} __attribute__((packed)) none = {0, 0};

	asm volatile("lidt %0; ud2" ::"m"(none));
	delay_us(500000);
	check("the machine resets", 0);
}
