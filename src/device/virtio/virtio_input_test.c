/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio keyboard, mouse and tablet: what they say they are, and events through the queues. */
#include "backend/display/input.h"
#include "base/loop.h"
#include "base/util.h"
#include "device/virtio/test_guest.h"
#include "device/virtio/virtio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DEVFN = 5 << 3, BUFFERS = 0x200000, STATUS = 0x300000 };

struct fixture {
	struct test_machine *machine;
	struct device *device;
	struct guest guest;
	struct input *input;
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->machine = test_machine_new(16 * MIB, true);
	f->input = f->machine->env.input = input_new(f->machine->env.clock);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	if (f->device)
		device_destroy(f->device);
	input_free(f->input);
	test_machine_free(f->machine);
	free(f);
	return 0;
}

static void plug(struct fixture *f, const struct device_class *class, const char *options)
{
	char *all = xasprintf("addr=5%s%s", *options ? "," : "", options);
	struct error err = {0};

	f->device = test_device(f->machine, class, all, &err);
	free(all);
	if (!f->device)
		fail_msg("%s", err.msg);
	guest_open(&f->guest, f->machine, DEVFN, false);
	guest_start(&f->guest, 0, 2);
}

static unsigned ask(struct fixture *f, unsigned select, unsigned subsel, uint8_t data[128])
{
	guest_config_write(&f->guest, 0, select, 1);
	guest_config_write(&f->guest, 1, subsel, 1);
	for (unsigned i = 0; i < 128; i++)
		data[i] = (uint8_t)guest_config(&f->guest, 8 + i, 1);
	return (unsigned)guest_config(&f->guest, 2, 1);
}

static bool has_bit(const uint8_t *data, unsigned bit)
{
	return data[bit / 8] >> bit % 8 & 1;
}

/* The driver gives this many buffers. */
static void give(struct fixture *f, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		guest_offer(&f->guest, 0,
			    &(struct guest_buffer){BUFFERS + 8 * f->guest.queues[0].avail_index % 512 * 8, 8, true}, 1);
	guest_kick(&f->guest, 0);
	test_settle(f->machine);
}

static void expect(struct fixture *f, uint16_t type, uint16_t code, int32_t value)
{
	uint32_t id, written;
	uint64_t at = BUFFERS + 8 * f->guest.queues[0].used_index % 512 * 8;
	const uint8_t *event;

	test_settle(f->machine);
	assert_true(guest_take_used(&f->guest, 0, &id, &written));
	assert_int_equal(written, 8);
	event = guest_memory(&f->guest, at, 8);
	assert_int_equal(load_le16(event), type);
	assert_int_equal(load_le16(event + 2), code);
	assert_int_equal((int32_t)load_le32(event + 4), value);
}

static void expect_nothing(struct fixture *f)
{
	uint32_t id, written;

	test_settle(f->machine);
	assert_false(guest_take_used(&f->guest, 0, &id, &written));
}

static void describe_themselves(void **state)
{
	struct fixture *f = *state;
	uint8_t data[128];

	plug(f, &virtio_keyboard_pci, "serial=k1");
	assert_int_equal(test_config_read(f->machine, DEVFN, 0, 4), 0x10521af4);
	assert_int_equal(ask(f, 1, 0, data), 20);
	assert_memory_equal(data, "QEMU Virtio Keyboard", 20);
	assert_int_equal(ask(f, 2, 0, data), 2);
	assert_int_equal(ask(f, 3, 0, data), 8);
	assert_int_equal(load_le16(data + 2), 0x0627);
	assert_true(ask(f, 0x11, 1, data) > 0);
	assert_true(has_bit(data, 30) && has_bit(data, 125) && !has_bit(data, 0x110) && !has_bit(data, 0));
	assert_int_equal(ask(f, 0x11, 2, data), 0);
	assert_int_equal(ask(f, 0x11, 0x11, data), 1);
	assert_int_equal(data[0], 7);
	assert_int_equal(ask(f, 0x12, 0, data), 0);
	assert_int_equal(ask(f, 0xff, 0xff, data), 0);
	device_destroy(f->device);
	plug(f, &virtio_tablet_pci, "wheel-axis=off");
	assert_int_equal(ask(f, 0x11, 3, data), 1);
	assert_int_equal(data[0], 3);
	assert_int_equal(ask(f, 0x11, 2, data), 0);
	assert_int_equal(ask(f, 0x12, 1, data), 20);
	assert_int_equal(load_le32(data + 4), 0x7fff);
	assert_int_equal(ask(f, 0x12, 2, data), 0);
}

static void keys_and_leds(void **state)
{
	struct fixture *f = *state;
	uint32_t id, written;
	uint8_t *led = NULL;

	plug(f, &virtio_keyboard_pci, "");
	give(f, 16);
	expect_nothing(f);
	input_key(f->input, NULL, INPUT_KEY_A, true);
	input_key(f->input, NULL, INPUT_KEY_A, true); /* the driver repeats */
	input_key(f->input, NULL, INPUT_KEY_A, false);
	expect(f, 1, 30, 1);
	expect(f, 0, 0, 0);
	expect(f, 1, 30, 0);
	expect(f, 0, 0, 0);
	expect_nothing(f);
	led = guest_memory(&f->guest, STATUS, 8);
	store_le16(led, 0x11);
	store_le16(led + 2, 1);
	store_le32(led + 4, 1);
	guest_offer(&f->guest, 1, &(struct guest_buffer){STATUS, 8, false}, 1);
	guest_kick(&f->guest, 1);
	assert_true(guest_wait_used(&f->guest, 1, &id, &written));
	assert_int_equal(input_leds(f->input), INPUT_LED_CAPS);
}

/* A driver that gives no buffers loses presses, and gets every release of what it has seen. */
static void a_slow_driver(void **state)
{
	struct fixture *f = *state;
	int balance = 0, events = 0;
	uint32_t id, written;

	plug(f, &virtio_keyboard_pci, "");
	for (unsigned i = 0; i < 2000; i++) {
		input_key(f->input, NULL, INPUT_KEY_A + i % 20, true);
		input_key(f->input, NULL, INPUT_KEY_A + (i + 10) % 20, false);
	}
	for (unsigned i = 0; i < 20; i++)
		input_key(f->input, NULL, INPUT_KEY_A + i, false);
	for (unsigned round = 0; round < 80; round++) {
		uint64_t at;

		give(f, 16);
		for (at = BUFFERS + 8 * f->guest.queues[0].used_index % 512 * 8;
		     guest_take_used(&f->guest, 0, &id, &written);
		     at = BUFFERS + 8 * f->guest.queues[0].used_index % 512 * 8) {
			const uint8_t *event = guest_memory(&f->guest, at, 8);

			if (load_le16(event) == 1)
				balance += load_le32(event + 4) ? 1 : -1;
			events++;
		}
		if (f->guest.queues[0].avail_index != f->guest.queues[0].used_index)
			break;
	}
	assert_int_equal(balance, 0);
	assert_in_range(events, 900, 1024);
}

static void pointers(void **state)
{
	struct fixture *f = *state;
	const struct input_event click[] = {
		{INPUT_ABSOLUTE, INPUT_X, 100}, {INPUT_ABSOLUTE, INPUT_Y, 0x7fff}, {INPUT_BUTTON, INPUT_LEFT, 1}};

	plug(f, &virtio_mouse_pci, "");
	input_move(f->input, NULL, 3, 0);
	input_move(f->input, NULL, 4, -2); /* adds up while nobody listens */
	give(f, 16);
	expect(f, 2, 0, 3);
	expect(f, 0, 0, 0);
	expect(f, 2, 0, 4);
	expect(f, 2, 1, -2);
	expect(f, 0, 0, 0);
	input_button(f->input, NULL, INPUT_WHEEL_UP, true);
	expect(f, 2, 8, 1);
	expect(f, 0, 0, 0);
	device_destroy(f->device);

	plug(f, &virtio_tablet_pci, "");
	give(f, 16);
	assert_true(input_is_absolute(f->input, NULL));
	input_send(f->input, NULL, click, 3);
	expect(f, 3, 0, 100);
	expect(f, 3, 1, 0x7fff);
	expect(f, 1, 0x110, 1);
	expect(f, 0, 0, 0);
	expect_nothing(f);
}

static void without_a_driver(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};

	assert_null(test_device(f->machine, &virtio_tablet_pci, "display=nope", &err));
	assert_non_null(strstr(err.msg, "nope"));
	plug(f, &virtio_tablet_pci, "");
	assert_true(input_is_absolute(f->input, NULL));
	guest_status(&f->guest, 0);
	input_button(f->input, NULL, INPUT_LEFT, true);
	guest_start(&f->guest, 0, 2);
	give(f, 4);
	expect_nothing(f);
	/* A buffer too small is a driver's fault. */
	guest_offer(&f->guest, 0, &(struct guest_buffer){BUFFERS, 4, true}, 1);
	for (unsigned i = 0; i < 3; i++) {
		input_button(f->input, NULL, INPUT_LEFT, i % 2);
		test_settle(f->machine);
	}
	assert_int_equal(guest_read_status(&f->guest), 15 | 64);
}

static void state_survives(void **state)
{
	struct fixture *f = *state;
	struct state_buffer saved = {0};
	struct error err = {0};

	plug(f, &virtio_keyboard_pci, "");
	input_key(f->input, NULL, INPUT_KEY_B, true);
	state_save(f->device->class->state, f->device, &saved);
	input_key(f->input, NULL, INPUT_KEY_C, true);
	assert_true(state_load(f->device->class->state, f->device, saved.data, saved.length, &err) > 0);
	give(f, 16);
	expect(f, 1, 48, 1);
	expect(f, 0, 0, 0);
	expect_nothing(f);
	input_key(f->input, NULL, INPUT_KEY_B, false);
	expect(f, 1, 48, 0);
	for (size_t at = 0; at < saved.length; at++) {
		saved.data[at] ^= 0x81;
		state_load(f->device->class->state, f->device, saved.data, saved.length, NULL);
		saved.data[at] ^= 0x81;
	}
	free(saved.data);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(describe_themselves), T(keys_and_leds),  T(a_slow_driver), T(pointers),
		T(without_a_driver),    T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
