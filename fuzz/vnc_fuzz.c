/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client that sends anything to the VNC server, over a socket to a thread of the server's own: the beginning of the
 * connection, messages, qemu's extensions, keys through the key map, WebSocket frames. No crash, and the thread ends
 * when the client has gone.
 *
 * Input: what the client sends; what begins as a request of HTTP goes to a WebSocket. Where its last byte is odd the client
 * stays until it may have got a picture.
 */
#include "fuzz.h"

#include "backend/display/vnc/vnc.h"
#include "base/log.h"
#include "base/module.h"
#include "base/util.h"
#include "core/clock.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT_MAX = 32 * 1024, STAY_MS = 40 };

extern const struct module xuni_module;

/* libvncserver 0.9.14 forgets a word when a handshake has a line twice (GET, Host, Origin). */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:webSocketsCheck\n";
}

static struct loop *loop;
static struct vnc *vnc;
static uint32_t pixels[64 * 48];

static void update(void *opaque, enum display_content content)
{
	struct display_console *console = *(struct display_console **)opaque;

	pixels[0]++;
	display_show(console, 64, 48, 64 * 4, pixels);
	display_dirty(console, 0, 0, 8, 8);
}

static void watch(void *opaque, bool on)
{
}

static void quit(void *opaque)
{
}

static void event(void *opaque, const char *name, const char *data)
{
}

static void build(void)
{
	static struct display_console *console;
	static struct display_source source = {.update = update, .watch = watch, .opaque = &console};
	static struct display_host host = {.quit = quit, .event = event};
	static struct log log = {.fd = -1};
	const struct display_driver *driver = ((const struct display_driver *const *)xuni_module.content)[0];
	struct clock *clock = clock_new(true, 1000000);
	struct options options;

	signal(SIGPIPE, SIG_IGN); /* as in the VMM */
	clock_start(clock);
	loop = loop_new(NULL);
	host.loop = loop;
	host.log = &log;
	host.input = input_new(clock);
	host.display = display_new();
	console = display_console_new(host.display, "vga", &source);
	vnc = xcalloc(1, driver->size);
	vnc->ui.driver = driver;
	vnc->ui.host = &host;
	options_parse(&options, "vnc=none,clipboard=on", NULL, NULL);
	if (driver->open(&vnc->ui, &options, NULL) < 0)
		abort();
	options_free(&options);
}

static bool is_answered(void)
{
	return vnc->clients && atomic_load(&vnc->clients->fresh) && !atomic_load(&vnc->clients->waiting);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t leaves_ns = size && data[size - 1] & 1 ? host_now_ns() + STAY_MS * NS_PER_MS : 0;
	bool open = true, leaves = false;
	int sockets[2];
	char drop[4096];

	if (size > INPUT_MAX)
		return 0;
	if (!vnc)
		build();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		abort();
	if (write(sockets[1], data, size) != (ssize_t)size)
		abort();
	vnc_client_start(vnc, sockets[0], size >= 4 && !memcmp(data, "GET ", 4), false);
	while (open || vnc->clients) {
		struct pollfd fd = {sockets[1], POLLIN, 0};

		if (!leaves && (host_now_ns() >= leaves_ns || is_answered())) {
			shutdown(sockets[1], SHUT_WR);
			leaves = true;
		}
		loop_poll(loop, 0);
		if (open && poll(&fd, 1, 1) > 0)
			open = read(sockets[1], drop, sizeof(drop)) > 0;
		else if (!open)
			loop_poll(loop, NS_PER_MS);
	}
	close(sockets[1]);
	return 0;
}
