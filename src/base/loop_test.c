/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/loop.h"

#include "base/util.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct trail {
	struct loop *loop;
	char text[64];
	size_t length;
};

struct mark {
	struct trail *trail;
	char letter;
};

static void leave_mark(void *opaque)
{
	struct mark *mark = opaque;

	mark->trail->text[mark->trail->length++] = mark->letter;
}

static void timers_fire_in_order_of_deadline(void **state)
{
	struct trail trail = {.loop = loop_new(NULL)};
	struct mark marks[5];
	struct loop_timer timers[5];
	int64_t now = host_now_ns();
	static const int order[5] = {3, 0, 4, 1, 2};

	for (int i = 0; i < 5; i++) {
		marks[i] = (struct mark){&trail, (char)('a' + i)};
		loop_timer_init(&timers[i], trail.loop, leave_mark, &marks[i]);
	}
	for (int i = 0; i < 5; i++)
		loop_timer_set(&timers[order[i]], now + (order[i] + 1) * NS_PER_MS);
	loop_timer_cancel(&timers[2]);
	loop_timer_set(&timers[0], now + 10 * NS_PER_MS); /* moved behind all others */
	while (trail.length < 4)
		loop_poll(trail.loop, NS_PER_S);
	assert_string_equal(trail.text, "bdea");
	assert_true(host_now_ns() >= now + 10 * NS_PER_MS);
	loop_free(trail.loop);
}

static void *post_marks(void *opaque)
{
	struct mark *marks = opaque;

	for (int i = 0; i < 3; i++)
		loop_post(marks[0].trail->loop, leave_mark, &marks[i]);
	loop_call(marks[0].trail->loop, leave_mark, &marks[3]);
	leave_mark(&marks[4]); /* only after the call has run */
	loop_quit(marks[0].trail->loop);
	return NULL;
}

static void work_of_another_thread_runs_in_order(void **state)
{
	struct trail trail = {.loop = loop_new(NULL)};
	struct mark marks[5];
	pthread_t thread;

	for (int i = 0; i < 5; i++)
		marks[i] = (struct mark){&trail, (char)('1' + i)};
	assert_int_equal(pthread_create(&thread, NULL, post_marks, marks), 0);
	loop_run(trail.loop);
	pthread_join(thread, NULL);
	assert_string_equal(trail.text, "12345");
	loop_free(trail.loop);
}

struct pair {
	struct loop_fd *watch[2];
	int calls;
};

static void remove_both(void *opaque, uint32_t events)
{
	struct pair *pair = opaque;

	pair->calls++;
	loop_fd_remove(pair->watch[0]);
	loop_fd_remove(pair->watch[1]);
}

static void a_watch_removed_in_the_same_pass_is_not_called(void **state)
{
	struct loop *loop = loop_new(NULL);
	struct pair pair = {0};
	int ends[2][2];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(ends[i]), 0);
		assert_int_equal(write(ends[i][1], "x", 1), 1);
		pair.watch[i] = loop_fd_add(loop, ends[i][0], EPOLLIN, remove_both, &pair);
	}
	loop_poll(loop, 0);
	loop_poll(loop, 0);
	assert_int_equal(pair.calls, 1);
	for (int i = 0; i < 2; i++) {
		close(ends[i][0]);
		close(ends[i][1]);
	}
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_of_deadline),
		cmocka_unit_test(work_of_another_thread_runs_in_order),
		cmocka_unit_test(a_watch_removed_in_the_same_pass_is_not_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
