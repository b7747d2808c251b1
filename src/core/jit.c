/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/jit.h"

#include <stdlib.h>
#include <string.h>

void jit_report_share(struct jit_report *report, const char *name, uint64_t count)
{
	unsigned i = 0;

	while (i < report->share_count && strcmp(report->shares[i].name, name))
		i++;
	if (i == JIT_SHARES)
		return;
	if (i == report->share_count)
		report->shares[report->share_count++] = (struct jit_share){.name = name};
	report->shares[i].count += count;
}

static int compare_shares(const void *a, const void *b)
{
	const struct jit_share *left = a, *right = b;

	return left->count < right->count ? 1 : left->count > right->count ? -1 : strcmp(left->name, right->name);
}

void jit_report_sort(struct jit_report *report)
{
	qsort(report->shares, report->share_count, sizeof(report->shares[0]), compare_shares);
}
