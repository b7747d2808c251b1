/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character back ends against real files, fifos, pseudo terminals and sockets on the loopback. */
#include "backend/char/chardev.h"
#include "backend/char/telnet.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (5 * NS_PER_S)

/* A front end that records what it is told. */
struct front {
	uint8_t data[256 * 1024];
	size_t length;
	_Atomic size_t room;
	int opened, closed, breaks, resized, focused, unfocused, writable;
	int quits, syncs;
};

struct bench {
	struct loop *loop;
	struct log log;
	char directory[64];
	struct front fronts[2];
	struct error err;
	struct chardev_host host;
};

static size_t front_can_receive(void *opaque)
{
	return ((struct front *)opaque)->room;
}

static void front_receive(void *opaque, const uint8_t *data, size_t length)
{
	struct front *front = opaque;

	assert_true(length <= front->room);
	assert_true(front->length + length <= sizeof(front->data));
	memcpy(front->data + front->length, data, length);
	front->length += length;
	front->room -= length;
}

static void front_event(void *opaque, enum chardev_event event)
{
	struct front *front = opaque;
	int *counters[] = {&front->opened,  &front->closed,  &front->breaks,
			   &front->resized, &front->focused, &front->unfocused};

	++*counters[event];
}

static void front_writable(void *opaque)
{
	((struct front *)opaque)->writable++;
}

static void host_quit(void *opaque)
{
	((struct front *)opaque)->quits++;
}

static void host_sync(void *opaque)
{
	((struct front *)opaque)->syncs++;
}

static struct chardev_front front_ops(struct front *front)
{
	return (struct chardev_front){
		.can_receive = front_can_receive,
		.receive = front_receive,
		.event = front_event,
		.writable = front_writable,
		.opaque = front,
	};
}

static int setup(void **state)
{
	struct bench *bench = xcalloc(1, sizeof(*bench));

	bench->loop = loop_new(NULL);
	bench->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	snprintf(bench->directory, sizeof(bench->directory), "/tmp/xuni-char-XXXXXX");
	assert_non_null(mkdtemp(bench->directory));
	bench->fronts[0].room = bench->fronts[1].room = 64 * 1024;
	bench->host = (struct chardev_host){host_quit, host_sync, &bench->fronts[0], 0};
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;
	char *command = xasprintf("rm -rf %s", bench->directory);

	assert_int_equal(system(command), 0);
	free(command);
	loop_free(bench->loop);
	close(bench->log.fd);
	free(bench);
	return 0;
}

static char *path_in(struct bench *bench, const char *name)
{
	return xasprintf("%s/%s", bench->directory, name);
}

static struct chardev *open_text(struct bench *bench, const char *type, const char *text)
{
	struct options options;
	struct chardev *chardev;

	assert_int_equal(options_parse(&options, text, NULL, NULL), 0);
	bench->err = (struct error){0};
	chardev = chardev_open(type, "c0", &options, bench->loop, &bench->log, &bench->host, &bench->err);
	options_free(&options);
	return chardev;
}

static struct chardev *open_formatted(struct bench *bench, const char *type, const char *format, const char *argument)
{
	char text[256];
	struct chardev *chardev;

	snprintf(text, sizeof(text), format, argument); // NOLINT
	chardev = open_text(bench, type, text);
	if (!chardev)
		print_error("%s\n", bench->err.msg);
	assert_non_null(chardev);
	return chardev;
}

static struct chardev *attach(struct bench *bench, struct chardev *chardev, int index)
{
	struct chardev_front ops = front_ops(&bench->fronts[index]);
	struct chardev *handle = chardev_attach(chardev, &ops, &bench->err);

	assert_non_null(handle);
	return handle;
}

/* The condition is evaluated once after every pass, and no more once it held. */
#define RUN_UNTIL(bench, condition)                                                                                    \
	do {                                                                                                           \
		int64_t deadline_ns = host_now_ns() + PATIENCE_NS;                                                     \
		bool held;                                                                                             \
		while (!(held = (condition)) && host_now_ns() < deadline_ns)                                           \
			loop_poll((bench)->loop, 10 * NS_PER_MS);                                                      \
		assert_true(held);                                                                                     \
	} while (0)

static void run_for(struct bench *bench, int64_t ns)
{
	int64_t deadline_ns = host_now_ns() + ns;

	while (host_now_ns() < deadline_ns)
		loop_poll(bench->loop, NS_PER_MS);
}

static bool readable(int fd)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};

	return poll(&pollfd, 1, 0) == 1;
}

/* Reads exactly length bytes while the loop runs. */
static void expect_read(struct bench *bench, int fd, const void *expected, size_t length)
{
	char data[4096];
	size_t done = 0;

	assert_true(length <= sizeof(data));
	while (done < length) {
		ssize_t n;

		RUN_UNTIL(bench, readable(fd));
		n = read(fd, data + done, length - done);
		assert_true(n > 0);
		done += (size_t)n;
	}
	assert_memory_equal(data, expected, length);
}

static void put(struct chardev *chardev, const char *text)
{
	assert_int_equal(chardev_write(chardev, (const uint8_t *)text, strlen(text)), strlen(text));
}

static void file_receives_bytes_in_order_and_appends(void **state)
{
	struct bench *bench = *state;
	char *path = path_in(bench, "out"), *log_path = path_in(bench, "log");
	char text[256], data[64] = {0};
	struct chardev *chardev;
	int fd;

	snprintf(text, sizeof(text), "path=%s,logfile=%s", path, log_path);
	chardev = open_text(bench, "file", text);
	assert_non_null(chardev);
	for (const char *at = "hello "; *at; at++)
		assert_int_equal(chardev_write(chardev, (const uint8_t *)at, 1), 1);
	chardev_close(chardev); /* writes out what is left */
	chardev = open_formatted(bench, "file", "path=%s,append=on", path);
	put(chardev, "world");
	RUN_UNTIL(bench, (fd = open(path, O_RDONLY)) >= 0 && read(fd, data, sizeof(data)) == 11 && !close(fd));
	assert_string_equal(data, "hello world");
	chardev_close(chardev);
	memset(data, 0, sizeof(data));
	fd = open(log_path, O_RDONLY);
	assert_int_equal(read(fd, data, sizeof(data)), 6);
	assert_string_equal(data, "hello ");
	close(fd);
	free(path);
	free(log_path);
}

static void file_input_is_read_to_its_end_as_the_front_end_has_room(void **state)
{
	struct bench *bench = *state;
	char *in_path = path_in(bench, "in");
	int fd = open(in_path, O_WRONLY | O_CREAT, 0600);
	struct chardev *chardev;

	assert_int_equal(write(fd, "0123456789", 10), 10);
	close(fd);
	bench->fronts[0].room = 4;
	chardev = open_formatted(bench, "file", "path=/dev/null,input-path=%s", in_path);
	attach(bench, chardev, 0);
	RUN_UNTIL(bench, bench->fronts[0].length == 4);
	run_for(bench, 20 * NS_PER_MS);
	assert_int_equal(bench->fronts[0].length, 4);
	bench->fronts[0].room = 100;
	chardev_accept(chardev);
	RUN_UNTIL(bench, bench->fronts[0].length == 10);
	assert_memory_equal(bench->fronts[0].data, "0123456789", 10);
	chardev_detach(chardev);
	chardev_close(chardev);
	free(in_path);
}

static void open_errors_name_the_thing_and_the_reason(void **state)
{
	struct bench *bench = *state;
	char *path = path_in(bench, "plain");
	char text[256];

	assert_null(open_text(bench, "file", "path=/nonexistent/x"));
	assert_string_equal(bench->err.msg, "opening /nonexistent/x: No such file or directory");
	assert_null(open_text(bench, "file", "path=/dev/null,apend=on"));
	assert_non_null(strstr(bench->err.msg, "did you mean 'append'"));
	assert_null(open_text(bench, "sokcet", "path=x"));
	assert_non_null(strstr(bench->err.msg, "did you mean 'socket'"));
	assert_null(open_text(bench, "pipe", "path=/nonexistent/x"));
	assert_non_null(strstr(bench->err.msg, "mkfifo"));
	assert_null(open_text(bench, "ringbuf", "size=1000"));
	assert_non_null(strstr(bench->err.msg, "power of two"));
	assert_null(open_text(bench, "socket", "host=127.0.0.1,port=1"));
	assert_string_equal(bench->err.msg, "connecting to tcp:127.0.0.1:1: Connection refused");
	close(open(path, O_WRONLY | O_CREAT, 0600));
	snprintf(text, sizeof(text), "path=%s,server=on,wait=off", path);
	assert_null(open_text(bench, "socket", text));
	assert_non_null(strstr(bench->err.msg, "is not a socket"));
	free(path);
}

static void pipe_pair_carries_both_directions(void **state)
{
	struct bench *bench = *state;
	char *in_path = path_in(bench, "p.in"), *out_path = path_in(bench, "p.out"), *path = path_in(bench, "p");
	struct chardev *chardev;
	int in_fd, out_fd;

	assert_int_equal(mkfifo(in_path, 0600), 0);
	assert_int_equal(mkfifo(out_path, 0600), 0);
	chardev = open_formatted(bench, "pipe", "path=%s", path);
	attach(bench, chardev, 0);
	in_fd = open(in_path, O_WRONLY);
	out_fd = open(out_path, O_RDONLY);
	put(chardev, "to the host");
	expect_read(bench, out_fd, "to the host", 11);
	assert_int_equal(write(in_fd, "to the guest", 12), 12);
	RUN_UNTIL(bench, bench->fronts[0].length == 12);
	assert_memory_equal(bench->fronts[0].data, "to the guest", 12);
	/* The writer leaves: no end, the next one is heard too. */
	close(in_fd);
	run_for(bench, 10 * NS_PER_MS);
	in_fd = open(in_path, O_WRONLY);
	assert_int_equal(write(in_fd, "!", 1), 1);
	RUN_UNTIL(bench, bench->fronts[0].length == 13);
	chardev_detach(chardev);
	chardev_close(chardev);
	close(in_fd);
	close(out_fd);
	free(in_path);
	free(out_path);
	free(path);
}

static void a_serial_line_may_be_any_character_device(void **state)
{
	struct bench *bench = *state;
	struct chardev *chardev = open_text(bench, "serial", "path=/dev/null");

	assert_non_null(chardev);
	attach(bench, chardev, 0);
	RUN_UNTIL(bench, bench->fronts[0].opened == 1);
	put(chardev, "gone");
	assert_int_equal(bench->fronts[0].length, 0);
	chardev_detach(chardev);
	chardev_close(chardev);
	assert_null(open_text(bench, "serial", "path=/proc/version"));
}

static void pty_drops_output_until_opened_and_survives_reopening(void **state)
{
	struct bench *bench = *state;
	struct chardev *chardev = open_text(bench, "pty", "");
	struct winsize size = {.ws_col = 100, .ws_row = 30};
	uint16_t columns = 0, rows = 0;
	char text[128];
	const char *name;

	assert_non_null(chardev);
	attach(bench, chardev, 0);
	chardev_describe(chardev, text, sizeof(text));
	name = strstr(text, "/dev/pts/");
	assert_non_null(name);
	assert_int_equal(strncmp(text, "disconnected:", 13), 0);
	put(chardev, "nobody sees this");
	for (int round = 1; round <= 2; round++) {
		int fd = open(name, O_RDWR | O_NOCTTY);

		assert_true(fd >= 0);
		RUN_UNTIL(bench, bench->fronts[0].opened == round);
		put(chardev, "login: ");
		expect_read(bench, fd, "login: ", 7);
		bench->fronts[0].length = 0;
		assert_int_equal(write(fd, "root\r", 5), 5);
		RUN_UNTIL(bench, bench->fronts[0].length == 5);
		assert_memory_equal(bench->fronts[0].data, "root\r", 5);
		assert_int_equal(ioctl(fd, TIOCSWINSZ, &size), 0);
		assert_true(chardev_window(chardev, &columns, &rows));
		assert_int_equal(columns, 100);
		assert_int_equal(rows, 30);
		close(fd);
		RUN_UNTIL(bench, bench->fronts[0].closed == round);
	}
	chardev_detach(chardev);
	chardev_close(chardev);
}

static int connect_unix(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(name.sun_path, path, sizeof(name.sun_path) - 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	return fd;
}

static void unix_server_serves_one_client_after_the_other(void **state)
{
	struct bench *bench = *state;
	char *path = path_in(bench, "sock");
	struct chardev *chardev = open_formatted(bench, "socket", "path=%s,server=on,wait=off", path);
	char text[256];
	int first, second;

	attach(bench, chardev, 0);
	put(chardev, "lost"); /* nobody there: must not stall the guest, nor reach the first client */
	run_for(bench, 5 * NS_PER_MS);
	first = connect_unix(path);
	RUN_UNTIL(bench, bench->fronts[0].opened == 1);
	put(chardev, "one");
	expect_read(bench, first, "one", 3);
	second = connect_unix(path);
	assert_int_equal(write(second, "b", 1), 1);
	assert_int_equal(write(first, "a", 1), 1);
	RUN_UNTIL(bench, bench->fronts[0].length == 1);
	close(first);
	RUN_UNTIL(bench, bench->fronts[0].length == 2);
	assert_memory_equal(bench->fronts[0].data, "ab", 2);
	assert_int_equal(bench->fronts[0].closed, 1);
	put(chardev, "two");
	expect_read(bench, second, "two", 3);
	/* The path is ours: a second server is told so, and the socket still works. */
	snprintf(text, sizeof(text), "path=%s,server=on,wait=off", path);
	assert_null(open_text(bench, "socket", text));
	assert_non_null(strstr(bench->err.msg, "another process listens there"));
	chardev_detach(chardev);
	chardev_close(chardev);
	assert_int_equal(access(path, F_OK), -1);
	close(second);
	free(path);
}

/* What OpenStack and others rely on: the log is whole whether or not somebody looks at the console. */
static void log_file_gets_what_nobody_reads(void **state)
{
	struct bench *bench = *state;
	char *path = path_in(bench, "sock"), *log_path = path_in(bench, "log");
	struct chardev *chardev;
	char data[64] = {0}, options[512];
	int fd;

	snprintf(options, sizeof(options), "path=%s,server=on,wait=off,logfile=%s", path, log_path);
	chardev = open_text(bench, "socket", options);
	assert_non_null(chardev);
	attach(bench, chardev, 0);
	put(chardev, "before ");
	run_for(bench, 5 * NS_PER_MS);
	put(chardev, "late "); /* still queued when the client comes: not for the client */
	fd = connect_unix(path);
	RUN_UNTIL(bench, bench->fronts[0].opened == 1);
	put(chardev, "during ");
	expect_read(bench, fd, "during ", 7);
	close(fd);
	RUN_UNTIL(bench, bench->fronts[0].closed == 1);
	put(chardev, "after");
	run_for(bench, 5 * NS_PER_MS);
	put(chardev, "!"); /* queued at the end */
	chardev_detach(chardev);
	chardev_close(chardev);
	fd = open(log_path, O_RDONLY);
	assert_int_equal(read(fd, data, sizeof(data)), 25);
	assert_string_equal(data, "before late during after!");
	close(fd);
	free(path);
	free(log_path);
}

static void stale_unix_socket_is_replaced(void **state)
{
	struct bench *bench = *state;
	char *path = path_in(bench, "stale");
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(name.sun_path, path, sizeof(name.sun_path) - 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	close(fd);
	chardev_close(open_formatted(bench, "socket", "path=%s,server=on,wait=off", path));
	free(path);
}

static void peer_gone_is_noticed_while_input_is_paused(void **state)
{
	struct bench *bench = *state;
	char *path = path_in(bench, "sock");
	struct chardev *chardev = open_formatted(bench, "socket", "path=%s,server=on,wait=off", path);
	int fd;

	bench->fronts[0].room = 0;
	attach(bench, chardev, 0);
	fd = connect_unix(path);
	RUN_UNTIL(bench, bench->fronts[0].opened == 1);
	assert_int_equal(write(fd, "unread", 6), 6);
	run_for(bench, 5 * NS_PER_MS);
	close(fd);
	RUN_UNTIL(bench, bench->fronts[0].closed == 1);
	chardev_detach(chardev);
	chardev_close(chardev);
	free(path);
}

static uint16_t port_of(struct chardev *chardev)
{
	char text[128];

	chardev_describe(chardev, text, sizeof(text));
	return (uint16_t)atoi(strrchr(text, ':') + 1);
}

static int connect_tcp(uint16_t port)
{
	struct sockaddr_in name = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	return fd;
}

static void busy_tcp_port_is_one_clear_line(void **state)
{
	struct bench *bench = *state;
	struct chardev *chardev = open_text(bench, "socket", "host=127.0.0.1,port=0,server=on,wait=off");
	char text[128], expected[160];

	assert_non_null(chardev);
	snprintf(text, sizeof(text), "host=127.0.0.1,port=%u,server,nowait", port_of(chardev));
	assert_null(open_text(bench, "socket", text));
	snprintf(expected, sizeof(expected), "listening on tcp:127.0.0.1:%u: Address already in use", port_of(chardev));
	assert_string_equal(bench->err.msg, expected);
	/* to= takes the next free one. */
	snprintf(text, sizeof(text), "host=127.0.0.1,port=%u,to=65535,server=on,wait=off", port_of(chardev));
	chardev_close(chardev);
	chardev = open_text(bench, "socket", text);
	assert_non_null(chardev);
	chardev_close(chardev);
}

static void client_reconnects_when_the_server_comes_back(void **state)
{
	struct bench *bench = *state;
	char *path = path_in(bench, "late");
	struct chardev *client = open_formatted(bench, "socket", "path=%s,reconnect-ms=20", path);

	attach(bench, client, 0);
	run_for(bench, 30 * NS_PER_MS);
	assert_int_equal(bench->fronts[0].opened, 0);
	for (int round = 1; round <= 2; round++) {
		struct chardev *server = open_formatted(bench, "socket", "path=%s,server=on,wait=off", path);

		attach(bench, server, 1);
		RUN_UNTIL(bench, bench->fronts[0].opened == round);
		put(client, "x");
		RUN_UNTIL(bench, bench->fronts[1].length == (size_t)round);
		chardev_detach(server);
		chardev_close(server);
		RUN_UNTIL(bench, bench->fronts[0].closed == round);
	}
	chardev_detach(client);
	chardev_close(client);
	free(path);
}

static void slow_reader_stops_the_writer_and_nothing_is_lost(void **state)
{
	struct bench *bench = *state;
	struct chardev *chardev = open_text(bench, "socket", "host=127.0.0.1,port=0,server=on,wait=off");
	uint8_t chunk[4096];
	size_t sent = 0, received = 0;
	int fd;

	attach(bench, chardev, 0);
	fd = connect_tcp(port_of(chardev));
	RUN_UNTIL(bench, bench->fronts[0].opened == 1);
	/* Until the kernel's buffers and ours are full. */
	for (int idle = 0; idle < 50;) {
		size_t taken;

		for (size_t i = 0; i < sizeof(chunk); i++)
			chunk[i] = (uint8_t)((sent + i) % 251);
		taken = chardev_write(chardev, chunk, sizeof(chunk));
		sent += taken;
		idle = taken ? 0 : idle + 1;
		loop_poll(bench->loop, 0);
	}
	bench->fronts[0].writable = 0;
	while (received < sent) {
		uint8_t data[65536];
		ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

		loop_poll(bench->loop, 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], (received + (size_t)i) % 251);
		received += n > 0 ? (size_t)n : 0;
	}
	assert_true(bench->fronts[0].writable > 0);
	assert_int_equal(received, sent);
	chardev_detach(chardev);
	chardev_close(chardev);
	close(fd);
}

struct writer {
	struct chardev *chardev;
	unsigned count;
};

static void *write_lines(void *opaque)
{
	struct writer *writer = opaque;

	for (unsigned i = 0; i < writer->count;) {
		uint8_t byte = (uint8_t)(i % 256);

		i += (unsigned)chardev_write(writer->chardev, &byte, 1);
	}
	return NULL;
}

static void bytes_of_a_vcpu_thread_arrive_in_batches(void **state)
{
	struct bench *bench = *state;
	char *path = path_in(bench, "sock");
	struct chardev *chardev = open_formatted(bench, "socket", "path=%s,server=on,wait=off", path);
	struct writer writer = {chardev, 300000};
	unsigned received = 0;
	pthread_t thread;
	int fd = connect_unix(path);

	attach(bench, chardev, 0);
	RUN_UNTIL(bench, bench->fronts[0].opened == 1);
	pthread_create(&thread, NULL, write_lines, &writer);
	while (received < writer.count) {
		uint8_t data[65536];
		ssize_t n;

		loop_poll(bench->loop, NS_PER_MS);
		n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], (uint8_t)(received + (unsigned)i));
		received += n > 0 ? (unsigned)n : 0;
	}
	pthread_join(thread, NULL);
	chardev_detach(chardev);
	chardev_close(chardev);
	close(fd);
	free(path);
}

static void telnet_server_negotiates_and_strips_commands(void **state)
{
	struct bench *bench = *state;
	struct chardev *chardev = open_text(bench, "socket", "host=127.0.0.1,port=0,server=on,wait=off,telnet=on");
	static const uint8_t input[] = {'a', 255, 253, 1, 'b', 255, 255, '\r', 0,   'c',  255,  243,
					255, 250, 31,  0, 132, 0,   43,  255,  240, '\r', '\n', 'd'};
	static const uint8_t expected[] = {'a', 'b', 255, '\r', 'c', '\r', 'd'};
	static const uint8_t output[] = {'x', 255, 'y'}, output_sent[] = {'x', 255, 255, 'y'};
	uint16_t columns, rows;
	int fd;

	attach(bench, chardev, 0);
	fd = connect_tcp(port_of(chardev));
	expect_read(bench, fd, telnet_greeting, sizeof(telnet_greeting));
	assert_false(chardev_window(chardev, &columns, &rows));
	assert_int_equal(write(fd, input, sizeof(input)), sizeof(input));
	RUN_UNTIL(bench, bench->fronts[0].length >= sizeof(expected));
	assert_int_equal(bench->fronts[0].length, sizeof(expected));
	assert_memory_equal(bench->fronts[0].data, expected, sizeof(expected));
	assert_int_equal(bench->fronts[0].breaks, 1);
	assert_int_equal(bench->fronts[0].resized, 1);
	assert_true(chardev_window(chardev, &columns, &rows));
	assert_int_equal(columns, 132);
	assert_int_equal(rows, 43);
	assert_int_equal(chardev_write(chardev, output, sizeof(output)), sizeof(output));
	expect_read(bench, fd, output_sent, sizeof(output_sent));
	chardev_detach(chardev);
	chardev_close(chardev);
	close(fd);
}

static struct chardev *open_mux(struct bench *bench, int *fd)
{
	int pair[2];
	char text[64];
	struct chardev *mux;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(text, sizeof(text), "fd=%d,mux=on", pair[0]);
	mux = open_text(bench, "socket", text);
	assert_non_null(mux);
	*fd = pair[1];
	return mux;
}

static void type_keys(int fd, const char *keys, size_t length)
{
	assert_int_equal(write(fd, keys, length), length);
}

static void mux_switches_and_obeys_its_keys(void **state)
{
	struct bench *bench = *state;
	struct front *serial = &bench->fronts[0], *monitor = &bench->fronts[1];
	struct chardev *handles[2], *mux;
	struct chardev_front ops = front_ops(serial);
	char help[64];
	int fd;

	mux = open_mux(bench, &fd);
	handles[1] = attach(bench, mux, 1);
	handles[0] = attach(bench, mux, 0);
	assert_int_equal(serial->opened, 1);
	type_keys(fd, "one\001ctwo\001c\001\001three", 17);
	RUN_UNTIL(bench, serial->length == 9 && monitor->length == 3);
	assert_memory_equal(serial->data, "one\001three", 9);
	assert_memory_equal(monitor->data, "two", 3);
	assert_int_equal(serial->unfocused, 1);
	type_keys(fd, "\001b", 2);
	RUN_UNTIL(bench, serial->breaks == 1);
	assert_int_equal(monitor->breaks, 0);
	type_keys(fd, "\001s", 2);
	RUN_UNTIL(bench, serial->syncs == 1);
	type_keys(fd, "\001h", 2);
	expect_read(bench, fd, "\r\nC-a h    this help", 20);
	run_for(bench, 5 * NS_PER_MS);
	while (readable(fd))
		assert_true(read(fd, help, sizeof(help)) > 0);
	/* Both write; an escape key split over two reads still works. */
	put(handles[0], "S");
	put(handles[1], "M");
	expect_read(bench, fd, "SM", 2);
	type_keys(fd, "\001", 1);
	run_for(bench, 5 * NS_PER_MS);
	type_keys(fd, "x", 1);
	RUN_UNTIL(bench, serial->quits == 1);
	chardev_focus(handles[1]);
	type_keys(fd, "z", 1);
	RUN_UNTIL(bench, monitor->length == 4);
	chardev_detach(handles[1]);
	type_keys(fd, "w", 1);
	RUN_UNTIL(bench, serial->length == 10);
	chardev_detach(handles[0]);
	chardev_close(mux);
	close(fd);
	/* Without mux=on the second front end is refused. */
	mux = open_text(bench, "null", "");
	assert_non_null(chardev_attach(mux, &ops, &bench->err));
	assert_null(chardev_attach(mux, &ops, &bench->err));
	assert_int_equal(bench->err.code, EBUSY);
	chardev_detach(mux);
	chardev_close(mux);
}

static void mux_keys_work_while_the_guest_takes_no_input(void **state)
{
	struct bench *bench = *state;
	char *junk = xcalloc(1, 100000);
	struct chardev *mux, *handle;
	size_t sent = 0;
	int fd;

	bench->fronts[0].room = 3;
	mux = open_mux(bench, &fd);
	handle = attach(bench, mux, 0);
	memset(junk, 'k', 100000);
	while (sent < 100000) {
		ssize_t n = send(fd, junk + sent, 100000 - sent, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		loop_poll(bench->loop, 0);
	}
	type_keys(fd, "\001x", 2);
	RUN_UNTIL(bench, bench->fronts[0].quits == 1);
	assert_int_equal(bench->fronts[0].length, 3);
	/* What waited is delivered when there is room. */
	bench->fronts[0].room = 5;
	chardev_accept(handle);
	RUN_UNTIL(bench, bench->fronts[0].length == 8);
	chardev_detach(handle);
	chardev_close(mux);
	close(fd);
	free(junk);
}

static void mux_stamps_lines(void **state)
{
	struct bench *bench = *state;
	struct chardev *mux, *handle;
	char text[64] = {0};
	int fd;

	mux = open_mux(bench, &fd);
	handle = attach(bench, mux, 0);
	type_keys(fd, "\001t", 2);
	run_for(bench, 5 * NS_PER_MS);
	put(handle, "a\nb\n");
	RUN_UNTIL(bench, readable(fd));
	run_for(bench, 2 * NS_PER_MS);
	assert_int_equal(read(fd, text, sizeof(text)), 4 + 15);
	assert_int_equal(strncmp(text, "a\n[00:00:0", 10), 0);
	assert_string_equal(text + 16, " b\n");
	chardev_detach(handle);
	chardev_close(mux);
	close(fd);
}

static void ringbuf_keeps_the_last_bytes(void **state)
{
	struct bench *bench = *state;
	struct chardev *chardev = open_text(bench, "ringbuf", "size=8");
	uint8_t data[16];

	put(chardev, "0123456789");
	assert_int_equal(chardev_ringbuf_read(chardev, data, 3), 3);
	assert_memory_equal(data, "234", 3);
	put(chardev, "ab");
	assert_int_equal(chardev_ringbuf_read(chardev, data, sizeof(data)), 7);
	assert_memory_equal(data, "56789ab", 7);
	attach(bench, chardev, 0);
	bench->fronts[0].room = 2;
	assert_int_equal(chardev_ringbuf_write(chardev, (const uint8_t *)"xyz", 3), 2);
	chardev_detach(chardev);
	chardev_close(chardev);
	chardev = open_text(bench, "null", "");
	assert_int_equal(chardev_ringbuf_read(chardev, data, 3), -EINVAL);
	chardev_close(chardev);
}

/* In a child whose controlling terminal is a pseudo terminal: exit status 0 when all went well. */
static int stdio_child(const char *name)
{
	struct bench *bench;
	struct chardev *chardev;
	struct termios now;
	void *state;
	uint16_t columns, rows;
	int fd;

	setsid();
	fd = open(name, O_RDWR);
	if (fd < 0 || dup2(fd, 0) < 0 || dup2(fd, 1) < 0)
		return 10;
	setup(&state);
	bench = state;
	chardev = open_text(bench, "stdio", "signal=off");
	if (!chardev)
		return 11;
	attach(bench, chardev, 0);
	tcgetattr(0, &now);
	if (now.c_lflag & (ICANON | ECHO | ISIG))
		return 12;
	/* The shell's descriptor must not have become non-blocking. */
	if (fcntl(0, F_GETFL) & O_NONBLOCK || fcntl(1, F_GETFL) & O_NONBLOCK)
		return 13;
	put(chardev, "ready");
	for (int64_t end = host_now_ns() + PATIENCE_NS; bench->fronts[0].length < 4 && host_now_ns() < end;)
		loop_poll(bench->loop, 10 * NS_PER_MS);
	if (memcmp(bench->fronts[0].data, "key\003", 4))
		return 14;
	for (int64_t end = host_now_ns() + PATIENCE_NS; !bench->fronts[0].resized && host_now_ns() < end;)
		loop_poll(bench->loop, 10 * NS_PER_MS);
	if (!bench->fronts[0].resized || !chardev_window(chardev, &columns, &rows) || columns != 77 || rows != 22)
		return 15;
	chardev_detach(chardev);
	chardev_close(chardev);
	tcgetattr(0, &now);
	if ((now.c_lflag & (ICANON | ECHO | ISIG)) != (ICANON | ECHO | ISIG))
		return 16;
	teardown(&state);
	return 0;
}

static void stdio_is_raw_on_a_terminal_and_restores_it(void **state)
{
	struct bench *bench = *state;
	struct winsize size = {.ws_col = 77, .ws_row = 22};
	int master_fd = posix_openpt(O_RDWR | O_NOCTTY);
	char name[64];
	pid_t child;
	int status;

	assert_int_equal(grantpt(master_fd) | unlockpt(master_fd), 0);
	assert_int_equal(ptsname_r(master_fd, name, sizeof(name)), 0);
	child = fork();
	if (!child)
		_exit(stdio_child(name));
	expect_read(bench, master_fd, "ready", 5);
	assert_int_equal(write(master_fd, "key\003", 4), 4);
	usleep(50000);
	ioctl(master_fd, TIOCSWINSZ, &size);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(master_fd);
}

static int stdio_eof_child(const char *input)
{
	struct rusage usage;
	struct bench *bench;
	struct chardev *chardev;
	void *state;

	if (!freopen(input, "r", stdin) || !freopen("/dev/null", "w", stdout))
		return 10;
	setup(&state);
	bench = state;
	chardev = open_text(bench, "stdio", "");
	attach(bench, chardev, 0);
	run_for(bench, 0);
	/* Long waits: a loop that keeps finding the end of file would burn the CPU in them. */
	for (int64_t end = host_now_ns() + 300 * NS_PER_MS; host_now_ns() < end;)
		loop_poll(bench->loop, 100 * NS_PER_MS);
	getrusage(RUSAGE_SELF, &usage);
	if (usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > 100000)
		return 11;
	put(chardev, "still writing");
	chardev_detach(chardev);
	chardev_close(chardev);
	teardown(&state);
	return 0;
}

static void end_of_stdin_neither_spins_nor_ends(void **state)
{
	const char *inputs[] = {"/dev/null", "/proc/self/comm"};

	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++) {
		pid_t child = fork();
		int status;

		if (!child)
			_exit(stdio_eof_child(inputs[i]));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
}

static void legacy_spellings_become_types_and_options(void **state)
{
	static const struct {
		const char *text, *type, *options;
		bool mux;
	} rows[] = {
		{"stdio", "stdio", "", false},
		{"mon:stdio", "stdio", "signal=off", true},
		{"none", "none", "", false},
		{"vc:80Cx24C", "vc", "cols=80,rows=24", false},
		{"vc:800x600", "vc", "width=800,height=600", false},
		{"file:/tmp/a,b", "file", "path=/tmp/a,b", false},
		{"pipe:/tmp/p", "pipe", "path=/tmp/p", false},
		{"chardev:c0", "chardev", "id=c0", false},
		{"/dev/ttyS0", "serial", "path=/dev/ttyS0", false},
		{"unix:/tmp/s,server,nowait", "socket", "path=/tmp/s,server=on,nowait=on", false},
		{"mon:unix:/tmp/s,server=on", "socket", "path=/tmp/s,server=on", true},
		{"tcp::4444,server=on", "socket", "host=,port=4444,server=on", false},
		{"tcp:[::1]:44", "socket", "host=[::1],port=44", false},
		{"telnet:localhost:4444,server=on,wait=off", "socket",
		 "telnet=on,host=localhost,port=4444,server=on,wait=off", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct options options;
		char text[256] = "";
		char *type;
		bool mux;

		assert_int_equal(chardev_parse_legacy(rows[i].text, &type, &options, &mux, NULL), 0);
		assert_string_equal(type, rows[i].type);
		assert_int_equal(mux, rows[i].mux);
		for (size_t k = 0; k < options.count; k++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s=%s", k ? "," : "",
				 options.items[k].key, options.items[k].value);
		assert_string_equal(text, rows[i].options);
		options_free(&options);
		free(type);
	}
}

static void legacy_errors_are_clear(void **state)
{
	static const char *const bad[] = {"stdoi", "tcp:nohost", "tcp:h:", "vc:1",    "vc:80x",
					  "file:", "",           "mon:",   "telnet:x"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error err = {0};
		struct options options;
		char *type;
		bool mux;

		assert_int_equal(chardev_parse_legacy(bad[i], &type, &options, &mux, &err), -EINVAL);
		assert_true(err.msg[0]);
		assert_null(type);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(file_receives_bytes_in_order_and_appends),
		TEST(file_input_is_read_to_its_end_as_the_front_end_has_room),
		TEST(open_errors_name_the_thing_and_the_reason),
		TEST(pipe_pair_carries_both_directions),
		TEST(a_serial_line_may_be_any_character_device),
		TEST(pty_drops_output_until_opened_and_survives_reopening),
		TEST(unix_server_serves_one_client_after_the_other),
		TEST(log_file_gets_what_nobody_reads),
		TEST(stale_unix_socket_is_replaced),
		TEST(peer_gone_is_noticed_while_input_is_paused),
		TEST(busy_tcp_port_is_one_clear_line),
		TEST(client_reconnects_when_the_server_comes_back),
		TEST(slow_reader_stops_the_writer_and_nothing_is_lost),
		TEST(bytes_of_a_vcpu_thread_arrive_in_batches),
		TEST(telnet_server_negotiates_and_strips_commands),
		TEST(mux_switches_and_obeys_its_keys),
		TEST(mux_keys_work_while_the_guest_takes_no_input),
		TEST(mux_stamps_lines),
		TEST(ringbuf_keeps_the_last_bytes),
		TEST(stdio_is_raw_on_a_terminal_and_restores_it),
		TEST(end_of_stdin_neither_spins_nor_ends),
		TEST(legacy_spellings_become_types_and_options),
		TEST(legacy_errors_are_clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
