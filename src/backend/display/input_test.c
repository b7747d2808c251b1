/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which sink takes what, the queue of delayed keys, listeners. */
#include "backend/display/input.h"

#include "base/util.h"
#include "core/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct recorder {
	struct input_sink sink;
	struct input_event events[32];
	unsigned count, syncs;
};

static struct clock *vclock;
static struct input *input;
static struct recorder keyboard, mouse, tablet;

static void record(void *opaque, const struct input_event *event)
{
	struct recorder *r = opaque;

	if (r->count < ARRAY_SIZE(r->events))
		r->events[r->count] = *event;
	r->count++;
}

static void record_sync(void *opaque)
{
	((struct recorder *)opaque)->syncs++;
}

static void make(struct recorder *r, const char *name, unsigned kinds, const void *console)
{
	*r = (struct recorder){.sink = {name, kinds, console, record, record_sync, r}};
	input_sink_add(input, &r->sink);
}

static int setup(void **state)
{
	vclock = clock_new(true, 1000000);
	clock_start(vclock);
	input = input_new(vclock);
	make(&keyboard, "keyboard", INPUT_BIT(INPUT_KEY), NULL);
	make(&mouse, "mouse", INPUT_BIT(INPUT_RELATIVE) | INPUT_BIT(INPUT_BUTTON), NULL);
	return 0;
}

static int teardown(void **state)
{
	input_sink_remove(input, &keyboard.sink);
	input_sink_remove(input, &mouse.sink);
	input_free(input);
	clock_free(vclock);
	return 0;
}

static void batches_are_synced_once(void **state)
{
	const struct input_event batch[] = {
		{INPUT_RELATIVE, INPUT_X, 3}, {INPUT_RELATIVE, INPUT_Y, -4}, {INPUT_BUTTON, INPUT_LEFT, 1}};

	assert_true(input_send(input, NULL, batch, 3));
	assert_int_equal(mouse.count, 3);
	assert_int_equal(mouse.syncs, 1);
	assert_int_equal(mouse.events[1].value, -4);
	assert_int_equal(keyboard.syncs, 0);
	input_send(input, NULL, &(struct input_event){INPUT_ABSOLUTE, INPUT_X, 5}, 1);
	assert_int_equal(mouse.count, 3); /* nobody takes it */
}

static void a_console_has_its_own_sinks(void **state)
{
	struct recorder other;
	int first, second;

	make(&other, "other", INPUT_BIT(INPUT_KEY), &second);
	input_key(input, &second, INPUT_KEY_A, true);
	assert_int_equal(other.count, 1);
	input_key(input, &first, INPUT_KEY_A, true);
	input_key(input, NULL, INPUT_KEY_A, true);
	assert_int_equal(keyboard.count, 2);
	assert_int_equal(other.count, 1);
	input_sink_remove(input, &other.sink);
}

static void note_pointer(void *opaque, bool absolute)
{
	*(int *)opaque = absolute;
}

static void note_leds(void *opaque, unsigned leds)
{
	*(int *)opaque += (int)leds;
}

static void an_active_tablet_wins(void **state)
{
	int told = -1, leds = 0;
	struct input_listener listener = {.pointer = note_pointer, .opaque = &told};
	struct input_listener led_listener = {.leds = note_leds, .opaque = &leds};
	struct input_mouse mice[4];
	const char *name;

	input_listen(input, &listener);
	input_listen(input, &led_listener);
	make(&tablet, "tablet", INPUT_BIT(INPUT_ABSOLUTE) | INPUT_BIT(INPUT_BUTTON), NULL);
	assert_false(input_is_absolute(input, NULL));
	assert_int_equal(told, -1);
	assert_true(input_takes(input, NULL, INPUT_ABSOLUTE));
	input_sink_activate(input, &tablet.sink);
	assert_true(input_is_absolute(input, NULL));
	assert_int_equal(told, 1);
	input_button(input, NULL, INPUT_RIGHT, true);
	assert_int_equal(tablet.count, 1);
	assert_int_equal(mouse.count, 0);

	assert_int_equal(input_mice(input, mice, 4), 2);
	assert_string_equal(mice[0].name, "tablet");
	assert_int_equal(mice[0].index, 3);
	assert_true(mice[0].current && mice[0].absolute && !mice[1].current);
	assert_int_equal(input_mouse_set(input, 1, &name), -EINVAL);
	assert_int_equal(input_mouse_set(input, 9, &name), -ENOENT);
	assert_int_equal(input_mouse_set(input, 2, &name), 0);
	assert_false(input_is_absolute(input, NULL));
	assert_int_equal(told, 0);
	input_sink_activate(input, &tablet.sink);
	input_sink_deactivate(input, &tablet.sink);
	assert_false(input_is_absolute(input, NULL));
	input_sink_remove(input, &tablet.sink);

	input_set_leds(input, INPUT_LED_CAPS);
	input_set_leds(input, INPUT_LED_CAPS);
	assert_int_equal(leds, INPUT_LED_CAPS);
	assert_int_equal(input_leds(input), INPUT_LED_CAPS);
	input_unlisten(input, &led_listener);
	input_unlisten(input, &listener);
}

static void delayed_keys_keep_their_order(void **state)
{
	input_key_delayed(input, NULL, INPUT_KEY_A, true, 100);
	assert_int_equal(keyboard.count, 1);
	input_key_delayed(input, NULL, INPUT_KEY_A, false, 0);
	input_key(input, NULL, INPUT_KEY_B, true); /* typed meanwhile */
	input_move(input, NULL, 1, 1);             /* pointers do not wait */
	assert_int_equal(mouse.count, 2);
	clock_advance(vclock, 99 * NS_PER_MS);
	assert_int_equal(keyboard.count, 1);
	clock_advance(vclock, 1 * NS_PER_MS);
	assert_int_equal(keyboard.count, 2);
	assert_int_equal(keyboard.events[1].value, 0);
	clock_advance(vclock, 10 * NS_PER_MS);
	assert_int_equal(keyboard.count, 3);
	assert_int_equal(keyboard.events[2].code, INPUT_KEY_B);
	input_key(input, NULL, INPUT_KEY_B, false); /* the queue is empty: at once */
	assert_int_equal(keyboard.count, 4);
}

static void the_queue_is_bounded(void **state)
{
	unsigned taken = 0;

	while (input_key_delayed(input, NULL, INPUT_KEY_A, taken % 2 == 0, 1))
		assert_true(++taken < 2 * INPUT_QUEUE);
	clock_advance(vclock, NS_PER_S * 10);
	assert_in_range(keyboard.count, taken, taken + 1);
	assert_true(input_key(input, NULL, INPUT_KEY_B, true));
}

static void a_stopped_machine_hears_nothing(void **state)
{
	clock_stop(vclock);
	assert_true(input_key(input, NULL, INPUT_KEY_A, true));
	assert_true(input_key_delayed(input, NULL, INPUT_KEY_A, true, 10));
	clock_start(vclock);
	clock_advance(vclock, NS_PER_S);
	assert_int_equal(keyboard.count, 0);
}

static void keys_have_names_and_numbers(void **state)
{
	assert_int_equal(input_key_of_name("ctrl_r", 6), INPUT_KEY_CTRL_R);
	assert_int_equal(input_key_of_name("ctrl_r", 4), INPUT_KEY_CTRL);
	assert_int_equal(input_key_of_number(0x1d), INPUT_KEY_CTRL);
	assert_int_equal(input_key_of_number(0x9d), INPUT_KEY_CTRL_R);
	assert_int_equal(input_key_of_number(0xff), INPUT_KEY_UNMAPPED);
	for (unsigned key = 1; key < INPUT_KEYS; key++) {
		assert_non_null(input_key_rows[key].name);
		assert_true(input_key_rows[key].number && input_key_rows[key].linux_code);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(batches_are_synced_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_console_has_its_own_sinks, setup, teardown),
		cmocka_unit_test_setup_teardown(an_active_tablet_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(delayed_keys_keep_their_order, setup, teardown),
		cmocka_unit_test_setup_teardown(the_queue_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stopped_machine_hears_nothing, setup, teardown),
		cmocka_unit_test(keys_have_names_and_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
