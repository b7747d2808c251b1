/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What may be said of a qcow2 image when it is opened: how much of its tables is kept in memory, and which freed
 * clusters go back to the host.
 *
 * Taken and checked as qemu does, without an effect: lazy-refcounts (counts are always exact), overlap-check (the check
 * is always made), l2-cache-entry-size (tables are kept whole), cache-clean-interval (what is not used stays until its
 * room is wanted).
 */
#include "backend/block/qcow2_internal.h"

#include <limits.h>

enum { L2_CACHE_BYTES = 32 << 20, REFCOUNT_CACHE_BYTES = 8 << 20, L2_TABLES_MIN = 16, REFCOUNT_BLOCKS_MIN = 8 };

const char *const qcow2_runtime_options[] = {
	"backing",
	"backing.*",
	"data-file",
	"data-file.*",
	"encrypt.format",
	"encrypt.key-secret",
	"lazy-refcounts",
	"pass-discard-request",
	"pass-discard-snapshot",
	"pass-discard-other",
	"overlap-check",
	"overlap-check.template",
	"overlap-check.main-header",
	"overlap-check.active-l1",
	"overlap-check.active-l2",
	"overlap-check.refcount-table",
	"overlap-check.refcount-block",
	"overlap-check.snapshot-table",
	"overlap-check.inactive-l1",
	"overlap-check.inactive-l2",
	"overlap-check.bitmap-directory",
	"cache-size",
	"l2-cache-size",
	"l2-cache-entry-size",
	"refcount-cache-size",
	"cache-clean-interval",
	NULL,
};

/* --- memory --- */

struct caches {
	uint64_t l2, refcounts;
};

/* qemu's smallest cache of counts is four blocks; what is left of cache-size is for L2 tables. */
static int split(const struct qcow2 *q, struct options *options, struct caches *caches, struct error *err)
{
	const bool all = options_get(options, "cache-size"), l2 = options_get(options, "l2-cache-size"),
		   counts = options_get(options, "refcount-cache-size");
	uint64_t total = 0;
	int result;

	if ((result = options_size(options, "cache-size", &total, 1, err)) ||
	    (result = options_size(options, "l2-cache-size", &caches->l2, 1, err)) ||
	    (result = options_size(options, "refcount-cache-size", &caches->refcounts, 1, err)) || !all)
		return result;
	if (l2 && counts)
		return error_set(err, EINVAL,
				 "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
	if (l2 && caches->l2 > total)
		return error_set(err, EINVAL, "l2-cache-size may not exceed cache-size");
	if (counts && caches->refcounts > total)
		return error_set(err, EINVAL, "refcount-cache-size may not exceed cache-size");
	if (l2)
		caches->refcounts = total - caches->l2;
	else if (!counts)
		caches->refcounts = min_u64(total, 4ull * q->cluster_bytes);
	if (!l2)
		caches->l2 = total - caches->refcounts;
	return 0;
}

static int set_caches(struct qcow2 *q, struct options *options, struct error *err)
{
	struct caches caches = {L2_CACHE_BYTES, REFCOUNT_CACHE_BYTES};
	uint64_t entry = q->cluster_bytes, seconds = 0;
	int result;

	if ((result = split(q, options, &caches, err)) ||
	    (result = options_size(options, "l2-cache-entry-size", &entry, 1, err)))
		return result;
	if (entry < 512 || entry > q->cluster_bytes || !is_power_of_two(entry))
		return error_set(err, EINVAL,
				 "L2 cache entry size must be a power of two between 512 and the cluster size (%u)",
				 q->cluster_bytes);
	if ((result = options_u64(options, "cache-clean-interval", &seconds, UINT_MAX, err)))
		return result;
	qcow2_cache_init(&q->l2, max_u64(L2_TABLES_MIN, caches.l2 >> q->cluster_bits));
	qcow2_cache_init(&q->refcounts, max_u64(REFCOUNT_BLOCKS_MIN, caches.refcounts >> q->cluster_bits));
	return 0;
}

/* --- what is checked only --- */

static int check_overlap(struct options *options, struct error *err)
{
	static const char *const words[] = {"none", "constant", "cached", "all"};
	const char *brief = options_get(options, "overlap-check"),
		   *text = options_get(options, "overlap-check.template");

	if (brief && text && strcmp(brief, text))
		return error_set(err, EINVAL,
				 "Conflicting values for qcow2 options 'overlap-check' ('%s') and "
				 "'overlap-check.template' ('%s')",
				 brief, text);
	text = text ? text : brief;
	for (size_t i = 0; text && i < ARRAY_SIZE(words); i++)
		if (!strcmp(text, words[i]))
			text = NULL;
	if (text)
		return error_set(err, EINVAL,
				 "Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are any of the "
				 "following: none, constant, cached, all",
				 text);
	for (size_t i = 0; qcow2_runtime_options[i]; i++) {
		const char *name = qcow2_runtime_options[i];
		bool ignored = false;
		int result;

		if (strncmp(name, "overlap-check.", 14) || !strcmp(name, "overlap-check.template"))
			continue;
		if ((result = options_bool(options, name, &ignored, err)))
			return result;
	}
	return 0;
}

static int check_lazy(const struct qcow2 *q, struct options *options, struct error *err)
{
	bool lazy = false;
	int result = options_bool(options, "lazy-refcounts", &lazy, err);

	if (!result && lazy && q->header.version < 3)
		return error_set(err, EINVAL,
				 "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
	return result;
}

int qcow2_runtime_open(struct qcow2 *q, struct options *options, struct error *err)
{
	int result;

	q->pass_discard[QCOW2_FREED_ALWAYS] = true;
	q->pass_discard[QCOW2_FREED_BY_REQUEST] = true;
	q->pass_discard[QCOW2_FREED_BY_SNAPSHOT] = true;
	if ((result = set_caches(q, options, err)) || (result = check_overlap(options, err)) ||
	    (result = check_lazy(q, options, err)) ||
	    (result = options_bool(options, "pass-discard-request", &q->pass_discard[QCOW2_FREED_BY_REQUEST], err)) ||
	    (result = options_bool(options, "pass-discard-snapshot", &q->pass_discard[QCOW2_FREED_BY_SNAPSHOT], err)))
		return result;
	return options_bool(options, "pass-discard-other", &q->pass_discard[QCOW2_FREED_OTHERWISE], err);
}
