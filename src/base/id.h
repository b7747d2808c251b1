/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_BASE_ID_H
#define XUNI_BASE_ID_H

#include <stdbool.h>

/* Whether users may give something this id: qemu's rule, a letter, then letters, digits, '-', '.', '_'. */
bool id_is_valid(const char *id);

#endif
