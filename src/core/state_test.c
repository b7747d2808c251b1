/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State tables: round trips, versions, and streams that lie. */
#include "core/state.h"

#include "base/util.h"
#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct part {
	uint16_t a;
	uint8_t bytes[3];
	int loads;
};

struct thing {
	uint32_t number;
	bool flag;
	int64_t big;
	uint8_t list[4];
	struct part parts[2];
	uint64_t late; /* since version 2 */
	struct clock_timer timer;
	int saves, loads;
};

static int part_check(const void *staged, struct error *err)
{
	const struct part *part = staged;

	return part->a > 1000 ? error_set(err, EINVAL, "a is %u", part->a) : 0;
}

static void part_loaded(void *object)
{
	((struct part *)object)->loads++;
}

static void thing_saving(void *object)
{
	((struct thing *)object)->saves++;
}

static void thing_loaded(void *object)
{
	struct thing *thing = object;

	/* Parts come before the whole. */
	assert_int_equal(thing->parts[1].loads, 1);
	thing->loads++;
}

static const struct state_table part_table = {
	.name = "part",
	.version = 1,
	.size = sizeof(struct part),
	.check = part_check,
	.after_load = part_loaded,
	.fields =
		(const struct state_field[]){
			STATE_FIELD(STATE_U16, struct part, a),
			STATE_FIELD_N(STATE_BYTES, struct part, bytes, 3),
			STATE_END,
		},
};

#define THING_FIELDS                                                                                                   \
	STATE_FIELD(STATE_U32, struct thing, number), STATE_FIELD(STATE_BOOL, struct thing, flag),                     \
		STATE_FIELD(STATE_I64, struct thing, big), STATE_FIELD_N(STATE_U8, struct thing, list, 4),             \
		STATE_SUB(part_table, struct thing, parts, 2), STATE_FIELD(STATE_TIMER, struct thing, timer)

static const struct state_table old_table = {
	.name = "thing",
	.version = 1,
	.size = sizeof(struct thing),
	.fields = (const struct state_field[]){THING_FIELDS, STATE_END},
};

static const struct state_table table = {
	.name = "thing",
	.version = 2,
	.size = sizeof(struct thing),
	.before_save = thing_saving,
	.after_load = thing_loaded,
	.fields =
		(const struct state_field[]){
			THING_FIELDS,
			{.name = "late",
			 .type = STATE_U64,
			 .offset = offsetof(struct thing, late),
			 .count = 1,
			 .stride = 8,
			 .since = 2},
			STATE_END,
		},
};

static void never(void *opaque)
{
	(void)opaque;
	fail();
}

static struct thing sample(struct clock *clock)
{
	struct thing thing = {
		.number = 0x12345678,
		.flag = true,
		.big = -5,
		.list = {1, 2, 3, 4},
		.parts = {{.a = 7, .bytes = {9, 8, 7}}, {.a = 1000, .bytes = {1, 1, 1}}},
		.late = 77,
	};

	clock_timer_init(&thing.timer, clock, never, NULL);
	return thing;
}

static void round_trip(void **unused)
{
	struct clock *clock = clock_new(true, 1000000);
	struct thing from = sample(clock), to = {0};
	struct state_buffer out = {0};
	struct error err = {0};

	clock_timer_init(&to.timer, clock, never, NULL);
	clock_timer_set(&from.timer, 5000);
	state_save(&table, &from, &out);
	assert_int_equal(from.saves, 1);
	assert_int_equal(state_load(&table, &to, out.data, out.length, &err), out.length);
	assert_int_equal(to.number, 0x12345678);
	assert_true(to.flag);
	assert_int_equal(to.big, -5);
	assert_memory_equal(to.list, from.list, 4);
	assert_int_equal(to.parts[0].a, 7);
	assert_int_equal(to.parts[1].a, 1000);
	assert_memory_equal(to.parts[0].bytes, from.parts[0].bytes, 3);
	assert_int_equal(to.late, 77);
	assert_int_equal(to.loads, 1);
	assert_int_equal(to.timer.deadline_ns, 5000);
	assert_int_not_equal(to.timer.heap_index, 0);
	clock_timer_cancel(&from.timer);

	/* A saved timer that was not armed disarms. */
	out.length = 0;
	to.parts[0].loads = to.parts[1].loads = 0;
	state_save(&table, &from, &out);
	assert_int_equal(state_load(&table, &to, out.data, out.length, &err), out.length);
	assert_int_equal(to.timer.deadline_ns, INT64_MAX);
	free(out.data);
	clock_free(clock);
}

static void older_and_newer_streams(void **unused)
{
	struct clock *clock = clock_new(true, 1000000);
	struct thing from = sample(clock), to = sample(clock);
	struct state_buffer out = {0};
	struct error err = {0};

	/* An old stream lacks `late`: the value from reset stays. */
	to.late = 4711;
	from.number = 1;
	state_save(&old_table, &from, &out);
	assert_int_equal(state_load(&table, &to, out.data, out.length, &err), out.length);
	assert_int_equal(to.late, 4711);
	assert_int_equal(to.number, 1);

	out.length = 0;
	state_save(&table, &from, &out);
	assert_int_equal(state_load(&old_table, &to, out.data, out.length, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "newer"));
	/* The same fields under the old version number: `late` is unknown there. */
	out.data[6] = 1;
	assert_int_equal(state_load(&old_table, &to, out.data, out.length, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "late"));
	free(out.data);
	clock_free(clock);
}

static void failed_check_changes_nothing(void **unused)
{
	struct clock *clock = clock_new(true, 1000000);
	struct thing from = sample(clock), to = sample(clock);
	struct state_buffer out = {0};
	struct error err = {0};

	from.number = 99;
	from.parts[1].a = 1001;
	state_save(&table, &from, &out);
	assert_int_equal(state_load(&table, &to, out.data, out.length, &err), -EINVAL);
	assert_string_equal(err.msg, "parts[1]: state of part: a is 1001");
	assert_int_equal(to.number, 0x12345678);
	assert_int_equal(to.loads, 0);
	assert_int_equal(to.parts[0].loads, 0);
	free(out.data);
	clock_free(clock);
}

/* Every truncation fails, and no single flipped byte crashes or half-applies. */
static void hostile_streams(void **unused)
{
	struct clock *clock = clock_new(true, 1000000);
	struct thing from = sample(clock);
	struct state_buffer out = {0};

	state_save(&table, &from, &out);
	for (size_t length = 0; length < out.length; length++) {
		struct thing to = sample(clock);
		uint8_t *exact = malloc(length + !length); /* so that ASan sees a read too far */
		struct error err = {0};

		memcpy(exact, out.data, length);
		assert_true(state_load(&table, &to, exact, length, &err) < 0);
		assert_int_not_equal(err.code, 0);
		free(exact);
	}
	for (size_t at = 0; at < out.length; at++) {
		for (unsigned flip = 1; flip < 256; flip <<= 1) {
			struct thing to = sample(clock);
			uint8_t *copy = malloc(out.length);

			memcpy(copy, out.data, out.length);
			copy[at] ^= (uint8_t)flip;
			to.number = 5;
			if (state_load(&table, &to, copy, out.length, NULL) < 0)
				assert_int_equal(to.number, 5);
			clock_timer_cancel(&to.timer);
			free(copy);
		}
	}
	free(out.data);
	clock_free(clock);
}

static void duplicates_and_bad_booleans(void **unused)
{
	static const uint8_t twice[] = {4, 'p', 'a', 'r', 't', 1, 0,   18,        0, 0, 0, 1, 'a', STATE_U16, 1,
					0, 0,   0,   5,   0,   1, 'a', STATE_U16, 1, 0, 0, 0, 6,   0};
	struct clock *clock = clock_new(true, 1000000);
	struct thing to = sample(clock);
	struct state_buffer out = {0};
	struct error err = {0};
	uint8_t *flag;

	assert_int_equal(state_load(&part_table, &to.parts[0], twice, sizeof(twice), &err), -EINVAL);
	assert_non_null(strstr(err.msg, "twice"));

	state_save(&table, &to, &out);
	flag = memmem(out.data, out.length, "\4flag", 5);
	assert_non_null(flag);
	flag[10] = 2;
	assert_int_equal(state_load(&table, &to, out.data, out.length, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "flag"));
	free(out.data);
	clock_free(clock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(older_and_newer_streams),
		cmocka_unit_test(failed_check_changes_nothing),
		cmocka_unit_test(hostile_streams),
		cmocka_unit_test(duplicates_and_bad_booleans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
