/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts that are loaded on first use, so that a program that does without them pays nothing: shared objects
 * KIND-NAME.so that export one `const struct module` under the name `xuni_module`. A module has its own copy of the
 * base library and calls nothing of the program but what it is handed.
 *
 * They are looked for in $XUNI_MODULE_DIR alone when that is set (never in a set-user-ID program), else beside the
 * program, as in a build folder, and in the installed LIBDIR/xuni.
 */
#ifndef XUNI_BASE_MODULE_H
#define XUNI_BASE_MODULE_H

#include "base/error.h"

#include <stdint.h>

struct module {
	const char *kind;
	/* Of the structures that content is made of; changes with every change of them, so that a module of another
	 * build is refused instead of misread. */
	uint64_t abi;
	const void *content;
};

/* The content of module KIND-NAME, which stays loaded for the rest of the process; NULL with a message when it is not
 * there or not of this build. Control thread. */
const void *module_load(const char *kind, const char *name, uint64_t abi, struct error *err);

#endif
