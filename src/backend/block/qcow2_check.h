/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two halves of the qcow2 check share: counting references (qcow2_check_count.c), and comparing and repairing
 * (qcow2_check.c). */
#ifndef XUNI_BACKEND_BLOCK_QCOW2_CHECK_H
#define XUNI_BACKEND_BLOCK_QCOW2_CHECK_H

#include "backend/block/qcow2_internal.h"

struct qcow2_counting {
	struct qcow2 *q;
	struct block_check *check;
	uint32_t *references;
	uint64_t clusters;   /* of the file */
	uint64_t next;       /* where the next cluster would lie without fragmentation */
	bool broken_table;   /* refcount structures are not what they should be */
	bool fix, fix_leaks; /* fix: corruptions */
	struct error *err;
};

void qcow2_check_say(struct qcow2_counting *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Fills references; structures: the refcount table and its blocks too. */
int qcow2_count_all(struct qcow2_counting *c, bool structures);

#endif
