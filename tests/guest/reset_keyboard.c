/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reset by the keyboard controller (8042 data sheet: command FEh pulses the reset line). With -no-reboot the machine
 * ends, status 0. */
#include "guest.h"

void guest_main(void)
{
	say("ok reached the reset\n");
	outb(0x64, 0xfe);
	delay_us(500000);
	check("the machine resets", 0);
}
