/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio console: a driver in this process, real sockets and a pseudo terminal behind the ports. */
#include "base/loop.h"
#include "base/util.h"
#include "device/virtio/test_guest.h"
#include "device/virtio/virtio_console.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEVFN = 4 << 3, PAGE = 4096 };
enum { RX0 = 0, TX0 = 1, CONTROL_RX = 2, CONTROL_TX = 3, RX1 = 4, TX1 = 5 };

#define MULTIPORT (1ull << 1)

struct fixture {
	struct test_machine *machine;
	struct device *serial, *ports[4];
	struct chardev *chardevs[4];
	int fds[4]; /* the other ends */
	unsigned count;
	struct guest guest;
	uint64_t rx[8][128]; /* receive buffers by queue and descriptor */
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->machine = test_machine_new(16 * MIB, true);
	f->machine->env.bus_ops[DEVICE_VIRTIO_SERIAL] = &virtio_serial_bus_ops;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < f->count; i++)
		device_destroy(f->ports[i]);
	device_destroy(f->serial);
	for (unsigned i = 0; i < f->count; i++) {
		chardev_close(f->chardevs[i]);
		if (f->fds[i] >= 0)
			close(f->fds[i]);
	}
	test_machine_free(f->machine);
	free(f);
	return 0;
}

static struct chardev *open_chardev(struct fixture *f, const char *type, const char *text)
{
	struct options options;
	struct chardev *chardev;

	assert_int_equal(options_parse(&options, text, NULL, NULL), 0);
	chardev = chardev_open(type, "c", &options, f->machine->env.loop, &f->machine->log, NULL, NULL);
	options_free(&options);
	assert_non_null(chardev);
	return chardev;
}

static void add_controller(struct fixture *f, const char *options)
{
	char *all = xasprintf("addr=4,id=vs%s%s", *options ? "," : "", options);
	struct error err = {0};

	f->serial = test_device(f->machine, &virtio_serial_pci, all, &err);
	free(all);
	if (!f->serial)
		fail_msg("%s", err.msg);
	guest_open(&f->guest, f->machine, DEVFN, false);
}

/* A port over a socket pair (chardev NULL), or over what is given. */
static void add_port(struct fixture *f, const struct device_class *class, const char *options, struct chardev *chardev)
{
	struct error err = {0};
	char *all = xasprintf("chardev=c%s%s", *options ? "," : "", options);
	char text[32];
	int pair[2];

	f->fds[f->count] = -1;
	if (!chardev) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		snprintf(text, sizeof(text), "fd=%d", pair[0]);
		chardev = open_chardev(f, "socket", text);
		f->fds[f->count] = pair[1];
	}
	f->chardevs[f->count] = f->machine->backend = chardev;
	f->ports[f->count] = test_device(f->machine, class, all, &err);
	free(all);
	if (!f->ports[f->count])
		fail_msg("%s", err.msg);
	f->count++;
}

static void give(struct fixture *f, unsigned queue, unsigned count, uint32_t bytes)
{
	for (unsigned i = 0; i < count; i++) {
		struct guest_buffer buffer = {
			.gpa = guest_alloc(&f->guest, bytes), .bytes = bytes, .device_writes = true};

		f->rx[queue][f->guest.queues[queue].free_next] = buffer.gpa;
		guest_offer(&f->guest, queue, &buffer, 1);
	}
	guest_kick(&f->guest, queue);
	test_settle(f->machine);
}

static void put(struct fixture *f, unsigned queue, const void *data, uint32_t bytes)
{
	struct guest_buffer buffer = {.gpa = guest_alloc(&f->guest, bytes), .bytes = bytes};

	memcpy(guest_memory(&f->guest, buffer.gpa, bytes), data, bytes);
	guest_offer(&f->guest, queue, &buffer, 1);
	guest_kick(&f->guest, queue);
	test_settle(f->machine);
}

static void tell(struct fixture *f, uint32_t port, uint16_t event, uint16_t value)
{
	uint8_t message[8];
	uint32_t id, written;

	store_le32(message, port);
	store_le16(message + 4, event);
	store_le16(message + 6, value);
	put(f, CONTROL_TX, message, sizeof(message));
	assert_true(guest_wait_used(&f->guest, CONTROL_TX, &id, &written));
}

static const uint8_t *expect_message(struct fixture *f, uint32_t port, uint16_t event, uint16_t value, uint32_t extra)
{
	uint32_t id, written;
	const uint8_t *message;

	assert_true(guest_wait_used(&f->guest, CONTROL_RX, &id, &written));
	message = guest_memory(&f->guest, f->rx[CONTROL_RX][id], written);
	assert_int_equal(load_le32(message), port);
	assert_int_equal(load_le16(message + 4), event);
	assert_int_equal(load_le16(message + 6), value);
	assert_int_equal(written, 8 + extra);
	return message + 8;
}

static void expect_silence(struct fixture *f)
{
	uint32_t id, written;

	test_settle(f->machine);
	assert_false(guest_take_used(&f->guest, CONTROL_RX, &id, &written));
}

static void expect_input(struct fixture *f, unsigned queue, const char *text)
{
	uint32_t id, written;

	assert_true(guest_wait_used(&f->guest, queue, &id, &written));
	assert_int_equal(written, strlen(text));
	assert_memory_equal(guest_memory(&f->guest, f->rx[queue][id], written), text, written);
}

static void expect_output(int fd, const char *text)
{
	char data[256];

	assert_int_equal(recv(fd, data, sizeof(data), 0), strlen(text));
	assert_memory_equal(data, text, strlen(text));
}

static void start(struct fixture *f, uint64_t features)
{
	guest_start(&f->guest, features, features & MULTIPORT ? 6 : 2);
	if (features & MULTIPORT)
		give(f, CONTROL_RX, 16, 512);
}

static void ports_are_announced_opened_and_carry_bytes(void **state)
{
	struct fixture *f = *state;

	add_controller(f, "");
	add_port(f, &virtio_console_class, "", NULL);
	add_port(f, &virtio_serialport_class, "name=org.qemu.guest_agent.0", NULL);
	start(f, MULTIPORT);
	assert_int_equal(guest_config(&f->guest, 4, 4), 31);
	expect_silence(f);
	tell(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(f, 0, VIRTIO_CONSOLE_PORT_ADD, 1, 0);
	expect_message(f, 1, VIRTIO_CONSOLE_PORT_ADD, 1, 0);
	tell(f, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(f, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, 0);
	expect_message(f, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, 0);
	tell(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	assert_string_equal(expect_message(f, 1, VIRTIO_CONSOLE_PORT_NAME, 1, 23), "org.qemu.guest_agent.0");
	expect_message(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, 0);
	expect_silence(f);

	put(f, TX1, "hello host", 10);
	expect_output(f->fds[1], "hello host");
	/* Input waits until the guest opened the port and gave a buffer. */
	assert_int_equal(send(f->fds[1], "ping", 4, 0), 4);
	test_settle(f->machine);
	give(f, RX1, 2, PAGE);
	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_input(f, RX1, "ping");
	put(f, TX0, "login: ", 7);
	expect_output(f->fds[0], "login: ");

	/* The other end goes: the guest hears of it, for ports, not for consoles. */
	close(f->fds[1]);
	f->fds[1] = -1;
	expect_message(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, 0);
	close(f->fds[0]);
	f->fds[0] = -1;
	expect_silence(f);
	/* Output to nobody is taken all the same. */
	put(f, TX1, "lost", 4);
	put(f, TX0, "lost", 4);
}

static void driver_without_multiport_has_one_console(void **state)
{
	struct fixture *f = *state;

	add_controller(f, "");
	add_port(f, &virtio_console_class, "", NULL);
	start(f, 0);
	give(f, RX0, 4, 3);
	assert_int_equal(send(f->fds[0], "abcdefgh", 8, 0), 8);
	expect_input(f, RX0, "abc");
	expect_input(f, RX0, "def");
	expect_input(f, RX0, "gh");
	put(f, TX0, "ok", 2);
	expect_output(f->fds[0], "ok");
}

static void slow_back_end_stops_the_guest_and_nothing_is_lost(void **state)
{
	struct fixture *f = *state;
	enum { CHUNK = 60000, CHUNKS = 12 };
	uint8_t *data = xcalloc(1, CHUNK), byte[8192];
	size_t received = 0;
	uint32_t id, written;
	unsigned done = 0;

	add_controller(f, "");
	add_port(f, &virtio_console_class, "", NULL);
	start(f, 0);
	for (unsigned i = 0; i < CHUNKS; i++) {
		for (size_t k = 0; k < CHUNK; k++)
			data[k] = (uint8_t)((i * (size_t)CHUNK + k) % 251);
		put(f, TX0, data, CHUNK);
	}
	while (guest_take_used(&f->guest, TX0, &id, &written))
		done++;
	assert_true(done < CHUNKS); /* the socket and our queue are full */
	while (received < (size_t)CHUNK * CHUNKS) {
		ssize_t n = recv(f->fds[0], byte, sizeof(byte), 0);

		for (ssize_t k = 0; k < n; k++)
			assert_int_equal(byte[k], (received + (size_t)k) % 251);
		received += n > 0 ? (size_t)n : 0;
		loop_poll(f->machine->env.loop, 0);
	}
	test_settle(f->machine);
	while (guest_take_used(&f->guest, TX0, &id, &written))
		done++;
	assert_int_equal(done, CHUNKS);
	free(data);
}

static void window_size_reaches_the_guest(void **state)
{
	struct fixture *f = *state;
	struct winsize size = {.ws_col = 132, .ws_row = 43};
	struct chardev *chardev = open_chardev(f, "pty", "");
	char text[128];
	const uint8_t *told;
	int fd;

	add_controller(f, "");
	add_port(f, &virtio_console_class, "", chardev);
	chardev_describe(chardev, text, sizeof(text));
	fd = open(strstr(text, "/dev/pts/"), O_RDWR | O_NOCTTY);
	assert_true(fd >= 0);
	ioctl(fd, TIOCSWINSZ, &size);
	f->fds[0] = fd;
	test_settle(f->machine);
	start(f, MULTIPORT | 1);
	assert_int_equal(guest_config(&f->guest, 0, 2), 132);
	assert_int_equal(guest_config(&f->guest, 2, 2), 43);
	tell(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(f, 0, VIRTIO_CONSOLE_PORT_ADD, 1, 0);
	tell(f, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(f, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, 0);
	expect_message(f, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, 0);
	told = expect_message(f, 0, VIRTIO_CONSOLE_RESIZE, 0, 4);
	assert_int_equal(load_le16(told), 132);
	assert_int_equal(load_le16(told + 2), 43);
	size.ws_col = 80;
	ioctl(fd, TIOCSWINSZ, &size);
	chardev_event(chardev, CHARDEV_RESIZED);
	assert_int_equal(load_le16(expect_message(f, 0, VIRTIO_CONSOLE_RESIZE, 0, 4)), 80);
}

static void emergency_write_needs_no_queue(void **state)
{
	struct fixture *f = *state;

	add_controller(f, "");
	add_port(f, &virtio_console_class, "", NULL);
	guest_config_write(&f->guest, 8, '!', 4);
	test_settle(f->machine);
	expect_output(f->fds[0], "!");
}

static void reset_forgets_what_was_open(void **state)
{
	struct fixture *f = *state;

	add_controller(f, "");
	add_port(f, &virtio_serialport_class, "nr=1", NULL);
	for (int round = 0; round < 2; round++) {
		start(f, MULTIPORT);
		tell(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		expect_message(f, 1, VIRTIO_CONSOLE_PORT_ADD, 1, 0);
		give(f, RX1, 1, PAGE);
		assert_int_equal(send(f->fds[0], "x", 1, 0), 1);
		test_settle(f->machine);
		tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
		expect_input(f, RX1, "x");
		guest_status(&f->guest, 0);
	}
}

static void ports_come_and_go_while_running(void **state)
{
	struct fixture *f = *state;

	add_controller(f, "");
	start(f, MULTIPORT);
	tell(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_silence(f);
	add_port(f, &virtio_serialport_class, "name=late,bus=vs.0", NULL);
	expect_message(f, 1, VIRTIO_CONSOLE_PORT_ADD, 1, 0);
	device_destroy(f->ports[0]);
	f->ports[0] = NULL;
	expect_message(f, 1, VIRTIO_CONSOLE_PORT_REMOVE, 1, 0);
	put(f, TX1, "to nobody", 9);
}

static void impossible_ports_are_refused(void **state)
{
	static const struct {
		const char *options, *message;
	} rows[] = {
		{"nr=0", "nr=0 is for a virtconsole"},
		{"nr=1", "nr=1 is taken already"},
		{"nr=4", "the bus has ports 0 to 2"},
		{"name=agent", "name=agent is port 1 already"},
		{"bus=nosuch.0", "there is no virtio-serial bus 'nosuch.0'"},
	};
	struct fixture *f = *state;
	struct error err = {0};

	assert_null(test_device(f->machine, &virtio_serialport_class, "", &err));
	assert_non_null(strstr(err.msg, "put -device virtio-serial-pci before it"));
	add_controller(f, "max_ports=3");
	add_port(f, &virtio_serialport_class, "name=agent,nr=1", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		err = (struct error){0};
		assert_null(test_device(f->machine, &virtio_serialport_class, rows[i].options, &err));
		if (!strstr(err.msg, rows[i].message))
			fail_msg("%s -> %s", rows[i].options, err.msg);
	}
	add_port(f, &virtio_serialport_class, "", NULL);
	assert_null(test_device(f->machine, &virtio_serialport_class, "", &err));
	assert_non_null(strstr(err.msg, "all 3 ports of the bus are taken"));
}

static void hostile_driver_does_no_harm(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 5;

	add_controller(f, "max_ports=2");
	add_port(f, &virtio_console_class, "", NULL);
	add_port(f, &virtio_serialport_class, "name=p", NULL);
	for (int round = 0; round < 200; round++) {
		uint8_t message[8];

		guest_start(&f->guest, MULTIPORT, 6);
		for (int i = 0; i < 30; i++) {
			struct guest_buffer buffer = {.gpa = (uint64_t)rand_r(&seed) % (17 * MIB),
						      .bytes = (uint32_t)rand_r(&seed) % 5000,
						      .device_writes = rand_r(&seed) % 2};
			unsigned queue = (unsigned)rand_r(&seed) % 6;

			if (i < 20) {
				store_le32(message, (uint32_t)rand_r(&seed) % 4);
				store_le16(message + 4, (uint16_t)(rand_r(&seed) % 9));
				store_le16(message + 6, rand_r(&seed) % 4 != 0);
				put(f, CONTROL_TX, message, 8);
				continue;
			}
			guest_offer(&f->guest, queue, &buffer, 1);
			guest_kick(&f->guest, queue);
			send(f->fds[rand_r(&seed) % 2], "input", 5, 0);
			loop_poll(f->machine->env.loop, 0);
		}
		f->guest.heap = 0x100000;
	}
	guest_status(&f->guest, 0);
	/* It asks ten thousand times and never reads an answer. */
	guest_start(&f->guest, MULTIPORT, 6);
	tell(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (int i = 0; i < 10000; i++) {
		if (i % 100 == 0)
			f->guest.heap = 0x800000;
		tell(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	}
	assert_true(((struct virtio_serial *)f->serial)->message_count <= 1024);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ports_are_announced_opened_and_carry_bytes),
		TEST(driver_without_multiport_has_one_console),
		TEST(slow_back_end_stops_the_guest_and_nothing_is_lost),
		TEST(window_size_reaches_the_guest),
		TEST(emergency_write_needs_no_queue),
		TEST(reset_forgets_what_was_open),
		TEST(ports_come_and_go_while_running),
		TEST(impossible_ports_are_refused),
		TEST(hostile_driver_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
