/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine's screens: the consoles of its display devices, and the user interfaces that show them. */
#ifndef XUNI_MACHINE_SCREENS_H
#define XUNI_MACHINE_SCREENS_H

#include "base/error.h"

struct display;
struct machine;
struct screens;

/* Before back ends are opened and devices made; then machine->env.display is where they put their consoles. */
struct screens *screens_new(struct machine *machine);
/* Once all devices exist: opens what -display, -vnc and -curses ask for. */
int screens_open(struct screens *screens, struct error *err);
/* Closes user interfaces; before devices are destroyed. */
void screens_close(struct screens *screens);
/* After devices were destroyed and back ends closed. NULL is fine for both. */
void screens_free(struct screens *screens);
struct display *screens_display(struct screens *screens);

#endif
