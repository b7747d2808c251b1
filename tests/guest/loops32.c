/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The loops of loops.c in 32-bit code. */
#include "loops.c"
