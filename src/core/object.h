/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What -object makes, as a device sees it through a PROPERTY_OBJECT property. The machine creates and owns them; each
 * kind's structure begins with struct object, whose type a device compares before it uses the rest.
 */
#ifndef XUNI_CORE_OBJECT_H
#define XUNI_CORE_OBJECT_H

#include "base/loop.h"

#include <string.h>

struct object {
	const char *type; /* as typed after -object; one of the names below or another kind */
	char *id;
};

#define OBJECT_IOTHREAD   "iothread"
#define OBJECT_RNG_RANDOM "rng-random"
#define OBJECT_RNG_BUILTIN "rng-builtin" /* nothing but its name: the host's getrandom */
#define OBJECT_THROTTLE_GROUP "throttle-group" /* nothing but its name here: the block layer has the limits */
#define OBJECT_SECRET         "secret"         /* likewise: the block layer has the text */

struct object_iothread {
	struct object object;
	struct loop_thread *thread;
};

struct object_rng {
	struct object object;
	char *filename; /* NULL: /dev/urandom */
};

static inline bool object_is(const struct object *object, const char *type)
{
	return object && !strcmp(object->type, type);
}

#endif
