/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this program calls itself, and the version of qemu whose command line, monitor and QMP it follows. */
#ifndef XUNI_CONFIG_VERSION_H
#define XUNI_CONFIG_VERSION_H

#define XUNI_VERSION "0.1.0"

enum { QEMU_VERSION_MAJOR = 7, QEMU_VERSION_MINOR = 2, QEMU_VERSION_MICRO = 0 };

#endif
