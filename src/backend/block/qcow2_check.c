/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backend/block/qcow2_internal.h"

int qcow2_check(struct block *block, struct qcow2_check *check, bool repair_leaks, bool repair_all, struct error *err)
{
	return error_set(err, ENOTSUP, "check of qcow2 is not supported yet");
}
