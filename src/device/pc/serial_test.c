/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A against a real chardev (a ring buffer) and a real loop, its timeouts against a stepped clock. */
#include "device/pc/serial.h"

#include "backend/char/chardev.h"
#include "base/loop.h"
#include "base/util.h"
#include "device/pc/debug_ports.h"
#include "device/pc/isa.h"
#include "device/pc/test_pc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { DATA = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH };
enum { IRQ = 4 };

static struct test_pc t;
static struct chardev *chardev;
static struct device *port;
static int peer = -1; /* the far end of a socket chardev */

static void *find(void *opaque, enum property_type type, const char *id, struct device *user, struct error *err)
{
	assert_int_equal(type, PROPERTY_CHAR);
	assert_string_equal(id, "c0");
	return chardev;
}

static struct device *create(const struct device_class *class, const char *text, struct error *err)
{
	struct options options = {0};
	struct device *device;

	assert_int_equal(options_parse(&options, text, NULL, err), 0);
	device = device_create(class, &t.env, &options, NULL, err);
	options_free(&options);
	return device;
}

static void setup_with(const char *type, const char *text)
{
	struct options options = {0};
	struct error err = {0};

	test_pc_init(&t);
	t.env.loop = loop_new(&err);
	assert_non_null(t.env.loop);
	t.env.backends.find = find;
	assert_int_equal(options_parse(&options, text, NULL, &err), 0);
	chardev = chardev_open(type, "c0", &options, t.env.loop, &t.log, NULL, &err);
	if (!chardev)
		fail_msg("%s", err.msg);
	options_free(&options);
	port = NULL;
}

static int setup_bare(void **state)
{
	setup_with("ringbuf", "");
	return 0;
}

static int setup(void **state)
{
	struct error err = {0};

	setup_bare(state);
	port = create(&serial_class, "chardev=c0", &err);
	assert_non_null(port);
	device_reset(port);
	return 0;
}

static int teardown(void **state)
{
	device_destroy(port);
	chardev_close(chardev);
	if (peer >= 0)
		close(peer);
	peer = -1;
	loop_free(t.env.loop);
	assert_int_equal(clock_next_deadline(t.env.clock), INT64_MAX);
	test_pc_fini(&t);
	return 0;
}

static void run_loop(void)
{
	for (unsigned i = 0; i < 4; i++)
		loop_poll(t.env.loop, 0);
}

static size_t sent(uint8_t *bytes, size_t size)
{
	int64_t length;

	run_loop();
	length = chardev_ringbuf_read(chardev, bytes, size);
	assert_true(length >= 0);
	return (size_t)length;
}

/* A serial port on a unix socket, with somebody connected. */
static int setup_socket(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct error err = {0};
	char text[160];

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/xuni-serial-test.%d", getpid());
	snprintf(text, sizeof(text), "path=%s,server=on,wait=off", address.sun_path);
	setup_with("socket", text);
	port = create(&serial_class, "chardev=c0", &err);
	assert_non_null(port);
	device_reset(port);
	peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(peer >= 0);
	assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof(address)), 0);
	run_loop();
	return 0;
}

static void type(const char *text)
{
	if (peer >= 0)
		assert_int_equal(write(peer, text, strlen(text)), strlen(text));
	else
		chardev_ringbuf_write(chardev, (const uint8_t *)text, strlen(text));
	run_loop();
}

static void fifos_on(uint8_t trigger)
{
	out8(&t, IIR, trigger | 1);
}

static void divisor_and_scratch(void **unused)
{
	out8(&t, LCR, 0x83);
	out8(&t, DATA, 0x01);
	out8(&t, IER, 0x02);
	assert_int_equal(in8(&t, DATA), 0x01);
	assert_int_equal(in8(&t, IER), 0x02);
	out8(&t, LCR, 0x03);
	assert_int_equal(in8(&t, IER), 0x00);
	out8(&t, SCRATCH, 0xa5);
	assert_int_equal(in8(&t, SCRATCH), 0xa5);
	out8(&t, IER, 0xff);
	assert_int_equal(in8(&t, IER), 0x0f);
	/* What kernels look at to tell the 16550A. */
	out8(&t, IIR, 0x01);
	assert_int_equal(in8(&t, IIR) >> 6, 3);
	out8(&t, IIR, 0x00);
	assert_int_equal(in8(&t, IIR) >> 6, 0);
	assert_int_equal(in8(&t, LSR), 0x60);
	assert_int_equal(in8(&t, MSR), 0xb0);
}

static void bytes_go_out_in_order(void **unused)
{
	uint8_t bytes[4096];
	size_t length;

	for (unsigned i = 0; i < 3000; i++) {
		assert_int_equal(in8(&t, LSR) & 0x60, 0x60);
		out8(&t, DATA, (uint8_t)(i * 7));
	}
	length = sent(bytes, sizeof(bytes));
	assert_int_equal(length, 3000);
	for (unsigned i = 0; i < 3000; i++)
		assert_int_equal(bytes[i], (uint8_t)(i * 7));
	/* Later ones too, whether or not the loop still lingers. */
	out8(&t, DATA, 'x');
	loop_poll(t.env.loop, 5000000);
	assert_int_equal(sent(bytes, sizeof(bytes)), 1);
	assert_int_equal(bytes[0], 'x');
	for (unsigned i = 0; i < 10; i++)
		loop_poll(t.env.loop, 1000000);
	out8(&t, DATA, 'y');
	assert_int_equal(sent(bytes, sizeof(bytes)), 1);
	assert_int_equal(bytes[0], 'y');
}

static void what_is_left_goes_out_at_the_end(void **unused)
{
	uint8_t byte;

	out8(&t, DATA, 'z');
	device_destroy(port);
	port = NULL;
	assert_int_equal(chardev_ringbuf_read(chardev, &byte, 1), 1);
	assert_int_equal(byte, 'z');
}

static void full_buffer_holds_the_guest_off(void **unused)
{
	unsigned count = 0;
	static uint8_t bytes[16384];

	out8(&t, IER, 0x02);
	while (in8(&t, LSR) & 0x20) {
		out8(&t, DATA, 'a');
		assert_true(++count < 16384);
	}
	assert_true(count >= 4096);
	in8(&t, IIR);
	assert_false(t.wires[IRQ].level);
	assert_int_equal(sent(bytes, sizeof(bytes)), count);
	assert_true(t.wires[IRQ].level); /* room again */
	assert_int_equal(in8(&t, IIR) & 0xf, 0x2);
	assert_int_equal(in8(&t, LSR) & 0x60, 0x60);
}

static void transmit_interrupt(void **unused)
{
	unsigned rises;

	out8(&t, IER, 0x02); /* empty: at once */
	assert_true(t.wires[IRQ].level);
	assert_int_equal(in8(&t, IIR), 0x02);
	assert_false(t.wires[IRQ].level); /* reading acknowledged it */
	assert_int_equal(in8(&t, IIR), 0x01);
	rises = t.wires[IRQ].rises;
	out8(&t, DATA, 'a');
	out8(&t, DATA, 'b');
	assert_int_equal(t.wires[IRQ].rises, rises + 2); /* an edge for each */
	/* OUT2 gates the line. */
	out8(&t, MCR, 0x00);
	assert_false(t.wires[IRQ].level);
	out8(&t, MCR, 0x08);
	assert_true(t.wires[IRQ].level);
}

static void receive_without_fifo(void **unused)
{
	out8(&t, IER, 0x01);
	type("ab");
	assert_true(t.wires[IRQ].level);
	assert_int_equal(in8(&t, IIR), 0x04);
	assert_int_equal(in8(&t, LSR) & 1, 1);
	assert_int_equal(in8(&t, DATA), 'a');
	/* The chardev waited with the second; it must have been told. */
	for (unsigned i = 0; i < 10 && !(in8(&t, LSR) & 1); i++)
		loop_poll(t.env.loop, 10000000);
	assert_int_equal(in8(&t, LSR) & 3, 1);
	assert_int_equal(in8(&t, DATA), 'b');
	assert_int_equal(in8(&t, LSR) & 1, 0);
	assert_false(t.wires[IRQ].level);
}

static void fifo_trigger_and_timeout(void **unused)
{
	fifos_on(0x80); /* trigger at 8 */
	out8(&t, LCR, 0x80);
	out8(&t, DATA, 1); /* 115200 baud */
	out8(&t, LCR, 0x03);
	out8(&t, IER, 0x01);
	type("1234567");
	assert_false(t.wires[IRQ].level);
	clock_advance(t.env.clock, 347000);
	assert_false(t.wires[IRQ].level);
	clock_advance(t.env.clock, 300);
	assert_true(t.wires[IRQ].level); /* four characters' time */
	assert_int_equal(in8(&t, IIR), 0xcc);
	assert_int_equal(in8(&t, DATA), '1');
	assert_false(t.wires[IRQ].level); /* a read restarts the timeout */
	type("89");
	assert_true(t.wires[IRQ].level);
	assert_int_equal(in8(&t, IIR), 0xc4);
	for (char c = '2'; c <= '9'; c++)
		assert_int_equal(in8(&t, DATA), c);
	assert_int_equal(in8(&t, LSR) & 1, 0);
	clock_advance(t.env.clock, NS_PER_S);
	assert_false(t.wires[IRQ].level);
}

static void long_input_is_not_lost(void **unused)
{
	char text[1000], got[1000];
	unsigned count = 0;

	for (unsigned i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('!' + i % 90);
	text[sizeof(text) - 1] = 0;
	fifos_on(0xc0);
	type(text);
	for (unsigned i = 0; i < 5000 && count < sizeof(got) - 1; i++) {
		if (in8(&t, LSR) & 1)
			got[count++] = (char)in8(&t, DATA);
		else
			loop_poll(t.env.loop, 1000000);
	}
	got[count] = 0;
	assert_string_equal(got, text);
	assert_int_equal(in8(&t, LSR) & 2, 0);
}

static void fifo_clear(void **unused)
{
	fifos_on(0);
	type("abc");
	out8(&t, IIR, 0x03);
	assert_int_equal(in8(&t, LSR) & 1, 0);
	type("d");
	assert_int_equal(in8(&t, DATA), 'd');
}

static void loopback(void **unused)
{
	uint8_t bytes[8];

	fifos_on(0);
	out8(&t, MCR, 0x1a); /* loop, OUT2, RTS */
	assert_int_equal(in8(&t, MSR) & 0xf0, 0x90);
	out8(&t, MCR, 0x15);                        /* loop, OUT1, DTR */
	assert_int_equal(in8(&t, MSR), 0x60 | 0xb); /* CTS, DSR and DCD changed; RI only counts when it ends */
	assert_int_equal(in8(&t, MSR), 0x60);
	for (unsigned i = 0; i < 17; i++)
		out8(&t, DATA, (uint8_t)i);
	assert_int_equal(in8(&t, LSR) & 3, 3); /* sixteen fit */
	assert_int_equal(in8(&t, LSR) & 2, 0);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in8(&t, DATA), i);
	assert_int_equal(sent(bytes, sizeof(bytes)), 0);
	out8(&t, MCR, 0x08);
	assert_int_equal(in8(&t, MSR) & 0xf4, 0xb4); /* the ring ended */
}

static void line_and_modem_interrupts(void **unused)
{
	out8(&t, IER, 0x0c);
	assert_false(t.wires[IRQ].level);
	chardev->front.event(chardev->front.opaque, CHARDEV_BREAK);
	assert_true(t.wires[IRQ].level);
	assert_int_equal(in8(&t, IIR), 0x06);
	assert_int_equal(in8(&t, LSR) & 0x11, 0x11);
	assert_false(t.wires[IRQ].level);
	assert_int_equal(in8(&t, DATA), 0);
	out8(&t, MCR, 0x18);
	out8(&t, MCR, 0x08);
	assert_true(t.wires[IRQ].level);
	assert_int_equal(in8(&t, IIR), 0x00);
	in8(&t, MSR);
	assert_false(t.wires[IRQ].level);
}

static void ports_and_lines(void **unused)
{
	struct error err = {0};
	struct device *second = create(&serial_class, "", &err), *third;

	assert_non_null(second);
	assert_string_equal(bus_find(t.env.io, 0x2f8)->name, "serial");
	bus_write(t.env.io, 0x2f9, 0x02, 1);
	assert_true(t.wires[3].level);
	third = create(&serial_class, "iobase=0x500,irq=7", &err);
	assert_non_null(third);
	bus_write(t.env.io, 0x501, 0x02, 1);
	assert_true(t.wires[7].level);
	assert_null(create(&serial_class, "index=1", &err));
	assert_non_null(strstr(err.msg, "serial"));
	assert_null(create(&serial_class, "chardev=c0", &err)); /* in use */
	assert_null(create(&serial_class, "irq=16", &err));
	assert_null(create(&serial_class, "index=4", &err));
	assert_non_null(strstr(err.msg, "index=4"));
	device_destroy(third);
	device_destroy(second);
}

static void state_survives(void **unused)
{
	struct error err = {0};

	fifos_on(0x80);
	out8(&t, IER, 0x01);
	type("hello");
	assert_true(test_save_reset_load(port, &err) > 0);
	assert_int_equal(in8(&t, IIR) >> 6, 3);
	clock_advance(t.env.clock, NS_PER_S);
	assert_true(t.wires[IRQ].level); /* the timeout was armed again */
	assert_int_equal(in8(&t, DATA), 'h');
	test_hostile_state(port);
}

static void debug_ports(void **unused)
{
	struct error err = {0};
	struct device *console = create(&debugcon_class, "chardev=c0", &err);
	struct device *exit = create(&debug_exit_class, "iobase=0xf4,iosize=4", &err);
	struct device *panic = create(&pvpanic_class, "", &err);
	uint8_t bytes[8];

	assert_non_null(console);
	assert_non_null(exit);
	assert_non_null(panic);
	assert_int_equal(in8(&t, 0xe9), 0xe9);
	out8(&t, 0xe9, 'h');
	out8(&t, 0xe9, 'i');
	assert_int_equal(sent(bytes, sizeof(bytes)), 2);
	assert_memory_equal(bytes, "hi", 2);
	out8(&t, 0xf4, 0x10);
	assert_int_equal(t.request, MACHINE_DEBUG_EXIT);
	assert_int_equal(t.argument, 33);
	bus_write(t.env.io, 0xf4, 0, 4);
	assert_int_equal(t.argument, 1);
	assert_int_equal(in8(&t, 0x505), 3);
	out8(&t, 0x505, 4);
	assert_int_equal(t.request, MACHINE_DEBUG_EXIT);
	out8(&t, 0x505, 2);
	assert_int_equal(t.request, MACHINE_PANIC);
	assert_int_equal(t.argument, 1); /* a crash kernel takes over */
	out8(&t, 0x505, 1);
	assert_int_equal(t.request, MACHINE_PANIC);
	assert_int_equal(t.argument, 0);
	assert_null(create(&debugcon_class, "", &err));
	assert_null(create(&debug_exit_class, "iobase=0xf5,iosize=1", &err));
	device_destroy(panic);
	device_destroy(exit);
	device_destroy(console);
	/* Everything of the folder that users may add can be found by name. */
	assert_ptr_equal(device_class_find(device_classes_pc, "isa-serial"), &serial_class);
	for (unsigned i = 0; device_classes_pc[i]; i++)
		assert_false(device_classes_pc[i]->internal);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define S(name) cmocka_unit_test_setup_teardown(name, setup_socket, teardown)
	const struct CMUnitTest tests[] = {
		T(divisor_and_scratch),
		T(bytes_go_out_in_order),
		T(what_is_left_goes_out_at_the_end),
		T(full_buffer_holds_the_guest_off),
		T(transmit_interrupt),
		S(receive_without_fifo),
		T(fifo_trigger_and_timeout),
		S(long_input_is_not_lost),
		T(fifo_clear),
		T(loopback),
		T(line_and_modem_interrupts),
		T(ports_and_lines),
		T(state_survives),
		cmocka_unit_test_setup_teardown(debug_ports, setup_bare, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
