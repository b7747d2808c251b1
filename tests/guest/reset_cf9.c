/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reset by port CF9h (PIIX3 data sheet, reset control register: RCPU with SRST). With -no-reboot the machine ends,
 * status 0. */
#include "guest.h"

void guest_main(void)
{
	say("ok reached the reset\n");
	outb(0xcf9, 2);
	outb(0xcf9, 6);
	delay_us(500000);
	check("the machine resets", 0);
}
