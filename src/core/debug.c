/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/debug.h"

#include "base/util.h"
#include "core/engine.h"
#include "core/ram.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a; a debugger takes its points away and puts them back at every stop. */
uint64_t debug_stamp(const struct debug_points *points)
{
	uint64_t stamp = 0;

	for (size_t i = 0; points && i < points->count; i++) {
		const struct debug_point *point = &points->point[i];
		const uint64_t words[] = {point->kind + 1, point->gva, point->bytes};

		for (size_t byte = 0; byte < sizeof(words); byte++)
			stamp = (stamp ^ ((const uint8_t *)words)[byte]) * 0x100000001b3ull + 1;
	}
	return stamp;
}

int engine_debug(struct engine *engine, const struct debug_points *points, struct error *err)
{
	struct debug_points *copy = NULL, *old = engine->debug;
	int ret;

	if (points && points->count) {
		size_t bytes = sizeof(*copy) + points->count * sizeof(copy->point[0]);

		copy = xcalloc(1, bytes);
		memcpy(copy, points, bytes);
	}
	engine->debug = copy;
	ret = engine->ops->debug_changed ? engine->ops->debug_changed(engine, err) : 0;
	if (ret) {
		engine->debug = old;
		free(copy);
		return ret;
	}
	engine->debug_stamp = debug_stamp(copy);
	free(old);
	return 0;
}

bool debug_stops_at(const struct debug_points *points, uint64_t gva)
{
	for (size_t i = 0; points && i < points->count; i++)
		if (points->point[i].kind == DEBUG_EXECUTE && points->point[i].gva == gva)
			return true;
	return false;
}

bool debug_stops_in_page(const struct debug_points *points, unsigned offset)
{
	for (size_t i = 0; points && i < points->count; i++)
		if (points->point[i].kind == DEBUG_EXECUTE && (points->point[i].gva & (PAGE_SIZE - 1)) == offset)
			return true;
	return false;
}

/* Both differences are modulo 2^64, so that ranges that wrap are right, too. */
static bool overlap(const struct debug_point *point, uint64_t gva, uint64_t bytes)
{
	return point->kind != DEBUG_EXECUTE && (point->gva - gva < bytes || gva - point->gva < point->bytes);
}

bool debug_watches_page(const struct debug_points *points, uint64_t page)
{
	for (size_t i = 0; points && i < points->count; i++)
		if (overlap(&points->point[i], page, PAGE_SIZE))
			return true;
	return false;
}

const struct debug_point *debug_watches(const struct debug_points *points, uint64_t gva, unsigned bytes, bool write)
{
	for (size_t i = 0; points && i < points->count; i++) {
		const struct debug_point *point = &points->point[i];

		if (point->kind != (write ? DEBUG_READ : DEBUG_WRITE) && overlap(point, gva, bytes))
			return point;
	}
	return NULL;
}
