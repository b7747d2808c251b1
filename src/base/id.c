/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/id.h"

#include <ctype.h>
#include <string.h>

bool id_is_valid(const char *id)
{
	if (!isalpha((unsigned char)*id))
		return false;
	for (; *id; id++)
		if (!isalnum((unsigned char)*id) && !strchr("-._", *id))
			return false;
	return true;
}
