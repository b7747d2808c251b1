/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rules of filter "blkdebug" in a file. */
#ifndef XUNI_BACKEND_BLOCK_BLKDEBUG_H
#define XUNI_BACKEND_BLOCK_BLKDEBUG_H

#include "base/options.h"

/* Adds them as inject-error.N.KEY and set-state.N.KEY. 0 or a negative errno with a message. */
int blkdebug_read_config(const char *path, struct options *rules, struct error *err);

#endif
