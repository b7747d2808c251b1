/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A debugger's points: what hits which, at the ends of ranges and of the address space. */
#include "core/debug.h"

#include "core/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct debug_points *make(enum debug_kind kind, uint64_t gva, uint64_t bytes)
{
	struct debug_points *points = calloc(1, sizeof(*points) + sizeof(points->point[0]));

	points->count = 1;
	points->point[0] = (struct debug_point){kind, gva, bytes};
	return points;
}

static void test_execute(void **state)
{
	struct debug_points *points = make(DEBUG_EXECUTE, 0xffffffff81000123, 1);

	assert_true(debug_stops_at(points, 0xffffffff81000123));
	assert_false(debug_stops_at(points, 0xffffffff81000124));
	assert_false(debug_stops_at(NULL, 0));
	assert_true(debug_stops_in_page(points, 0x123));
	assert_false(debug_stops_in_page(points, 0x124));
	assert_false(debug_watches_page(points, 0xffffffff81000000));
	assert_null(debug_watches(points, 0xffffffff81000123, 1, true));
	free(points);
}

static void test_watch(void **state)
{
	struct debug_points *points = make(DEBUG_WRITE, 0xffe, 4);

	assert_non_null(debug_watches(points, 0xffe, 1, true));
	assert_non_null(debug_watches(points, 0x1001, 8, true));
	assert_non_null(debug_watches(points, 0xff0, 64, true));
	assert_null(debug_watches(points, 0x1002, 8, true));
	assert_null(debug_watches(points, 0xff0, 14, true));
	assert_null(debug_watches(points, 0xffe, 1, false));
	assert_true(debug_watches_page(points, 0));
	assert_true(debug_watches_page(points, 0x1000));
	assert_false(debug_watches_page(points, 0x2000));
	points->point[0].kind = DEBUG_READ;
	assert_null(debug_watches(points, 0xffe, 1, true));
	assert_non_null(debug_watches(points, 0xffe, 1, false));
	points->point[0] = (struct debug_point){DEBUG_ACCESS, UINT64_MAX - 1, 4};
	assert_non_null(debug_watches(points, UINT64_MAX, 1, true));
	assert_non_null(debug_watches(points, 1, 1, false));
	assert_null(debug_watches(points, 2, 1, false));
	free(points);
}

static int refuse(struct engine *engine, struct error *err)
{
	return engine->debug && engine->debug->count > 1 ? error_set(err, ENOSPC, "too many") : 0;
}

static void test_engine(void **state)
{
	const struct engine_ops ops = {.debug_changed = refuse};
	struct engine engine = {.ops = &ops};
	struct debug_points *points = make(DEBUG_EXECUTE, 1, 1);
	struct debug_points *more = calloc(1, sizeof(*more) + 2 * sizeof(more->point[0]));
	struct error err = {0};
	uint64_t stamp;

	assert_int_equal(engine_debug(&engine, points, &err), 0);
	stamp = engine.debug_stamp;
	assert_int_not_equal(stamp, 0);
	more->count = 2;
	assert_int_equal(engine_debug(&engine, more, &err), -ENOSPC);
	assert_int_equal(engine.debug->count, 1); /* as it was */
	assert_int_equal(engine.debug_stamp, stamp);
	assert_int_equal(engine_debug(&engine, NULL, &err), 0);
	assert_null(engine.debug);
	assert_int_equal(engine.debug_stamp, 0);
	assert_int_equal(engine_debug(&engine, points, &err), 0);
	assert_int_equal(engine.debug_stamp, stamp);
	engine_debug(&engine, NULL, NULL);
	free(points);
	free(more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_execute),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_engine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
