/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNC server (RFB 3.3, 3.7 and 3.8, RFC 6143) on libvncserver: -vnc and -display vnc=. What the main loop does
 * for the clients, the picture that they copy from (threads: vnc.h).
 *
 * Left out: SASL, audio, several screens (display= chooses one), TLS with keys shared before (tls-creds-psk).
 */
#include "backend/display/vnc/vnc.h"

#include "base/log.h"
#include "base/module.h"
#include "base/util.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* The console is asked this often while it changes, and ever less often while it does not. */
#define BUSY_NS (8 * NS_PER_MS)
#define IDLE_NS (40 * NS_PER_MS)

enum { NO_SCREEN_WIDTH = 640, NO_SCREEN_HEIGHT = 480 };

void vnc_attention(struct vnc *vnc)
{
	uint64_t one = 1;

	if (write(vnc->attention, &one, sizeof(one)) < 0)
		return; /* it is due already */
}

/* --- the picture --- */

/* With the lock held: a shadow of that size, black; false when there is no memory, and the old one stays. */
static bool resize_shadow(struct vnc *vnc, uint32_t width, uint32_t height)
{
	uint32_t *shadow = calloc((size_t)width * height, sizeof(*shadow));

	if (!shadow)
		return false;
	free(vnc->shadow);
	vnc->shadow = shadow;
	vnc->width = width;
	vnc->height = height;
	vnc->generation++;
	return true;
}

/* With the lock held: the part of a rectangle that is inside of the shadow. */
static bool clip(const struct vnc *vnc, struct display_rect *rect)
{
	if (rect->x >= vnc->width || rect->y >= vnc->height)
		return false;
	rect->width = (uint32_t)min_u64(rect->width, vnc->width - rect->x);
	rect->height = (uint32_t)min_u64(rect->height, vnc->height - rect->y);
	return rect->width && rect->height;
}

static void copy_rect(struct vnc *vnc, const struct display_surface *surface, struct display_rect rect)
{
	if (!clip(vnc, &rect))
		return;
	for (uint32_t y = rect.y; y < rect.y + rect.height; y++)
		memcpy(vnc->shadow + (size_t)y * vnc->width + rect.x,
		       surface->pixels + (size_t)y * (surface->stride_bytes / 4) + rect.x,
		       rect.width * sizeof(*vnc->shadow));
	for (struct vnc_client *client = vnc->clients; client; client = client->next)
		display_region_add(&client->dirty, &rect);
}

static struct display_console *console_of(const struct vnc *vnc)
{
	struct display *display = vnc->ui.host->display;

	return vnc->display ? display_console_find(display, vnc->display) : display_console_at(display, vnc->shown);
}

/* Brings the shadow up to date; true when something changed. */
static bool look(struct vnc *vnc)
{
	struct display_console *console = console_of(vnc);
	struct display_rect rects[DISPLAY_RECTS_MAX];
	const struct display_surface *surface;
	uint32_t width, height;
	size_t count;

	if (!console || !vnc->listener)
		return false;
	count = display_update(vnc->listener, rects);
	surface = display_surface(console);
	width = (uint32_t)min_u64(surface->width, VNC_WIDTH_MAX);
	height = (uint32_t)min_u64(surface->height, VNC_HEIGHT_MAX);
	if (!count || !width || !height)
		return false;
	pthread_mutex_lock(&vnc->lock);
	if (width != vnc->width || height != vnc->height) {
		if (!resize_shadow(vnc, width, height))
			count = 0;
		else
			rects[0] = (struct display_rect){0, 0, width, height};
	}
	for (size_t i = 0; i < count; i++)
		copy_rect(vnc, surface, rects[i]);
	pthread_mutex_unlock(&vnc->lock);
	return count;
}

/* changed false: only those who wait for the first look after their request. */
static void wake(struct vnc *vnc, bool changed)
{
	for (struct vnc_client *client = vnc->clients; client; client = client->next)
		if ((atomic_load(&client->waiting) && !atomic_exchange(&client->fresh, true)) || changed)
			vnc_client_wake(client);
}

static bool anybody_waits(const struct vnc *vnc)
{
	for (const struct vnc_client *client = vnc->clients; client; client = client->next)
		if (atomic_load(&client->waiting))
			return true;
	return false;
}

static void on_refresh(void *opaque)
{
	struct vnc *vnc = opaque;
	bool changed;

	if (!vnc->clients)
		return;
	vnc->interval_ns = min_u64(vnc->interval_ns * 5 / 4, IDLE_NS);
	if (anybody_waits(vnc)) {
		vnc->looked_ns = host_now_ns();
		changed = look(vnc);
		if (changed)
			vnc->interval_ns = BUSY_NS;
		wake(vnc, changed);
	}
	loop_timer_set(&vnc->refresh, host_now_ns() + vnc->interval_ns);
}

/* Somebody has asked: the next look is due, but not more often than that. */
static void hurry(struct vnc *vnc)
{
	for (struct vnc_client *client = vnc->clients; client; client = client->next) {
		if (atomic_load(&client->waiting) && !atomic_load(&client->fresh)) {
			int64_t due_ns = vnc->looked_ns + BUSY_NS;

			if (vnc->refresh.deadline_ns > due_ns)
				loop_timer_set(&vnc->refresh, due_ns);
			return;
		}
	}
}

static void on_cursor(void *opaque)
{
	struct vnc *vnc = opaque;
	struct display_console *console = console_of(vnc);
	const struct display_cursor *cursor = console ? display_cursor(console) : NULL;
	size_t bytes = cursor ? (size_t)cursor->width * cursor->height * sizeof(*cursor->pixels) : 0;

	pthread_mutex_lock(&vnc->lock);
	free((void *)vnc->cursor.pixels);
	memset(&vnc->cursor, 0, sizeof(vnc->cursor));
	if (bytes) {
		uint32_t *pixels = xcalloc(1, bytes);

		memcpy(pixels, cursor->pixels, bytes);
		vnc->cursor = *cursor;
		vnc->cursor.pixels = pixels;
	}
	vnc->cursor_serial++;
	pthread_mutex_unlock(&vnc->lock);
	wake(vnc, true);
}

static void on_cursor_moved(void *opaque, int32_t x, int32_t y, bool visible)
{
	struct vnc *vnc = opaque;

	pthread_mutex_lock(&vnc->lock);
	vnc->cursor_x = x;
	vnc->cursor_y = y;
	pthread_mutex_unlock(&vnc->lock);
}

static void on_gone(void *opaque)
{
	struct vnc *vnc = opaque;

	display_unlisten(vnc->listener);
	vnc->listener = NULL;
	vnc->shown = 0;
	vnc_attention(vnc); /* the first one is shown then */
}

static const struct display_listener_ops listener_ops = {
	.cursor_changed = on_cursor, .cursor_moved = on_cursor_moved, .gone = on_gone};

/* The console is watched while somebody looks. */
void vnc_watch(struct vnc *vnc)
{
	struct display_console *console = console_of(vnc);

	atomic_store(&vnc->types, console && display_console_is_text(console));
	if (vnc->clients && !vnc->listener && console) {
		vnc->listener = display_listen(console, DISPLAY_PIXELS, &listener_ops, vnc);
		on_cursor(vnc);
		look(vnc);
	}
	if (!vnc->clients && vnc->listener) {
		display_unlisten(vnc->listener);
		vnc->listener = NULL;
	}
	if (vnc->clients && vnc->refresh.deadline_ns == INT64_MAX) {
		vnc->interval_ns = BUSY_NS;
		loop_timer_set(&vnc->refresh, host_now_ns() + vnc->interval_ns);
	}
}

/* --- what the clients' threads ask for --- */

/* Ctrl-Alt-1 and so on. */
static void settle_console(struct vnc *vnc)
{
	unsigned wanted = atomic_exchange(&vnc->wanted, 0);

	if (!wanted || !display_console_at(vnc->ui.host->display, wanted - 1))
		return;
	vnc->shown = wanted - 1;
	if (vnc->listener)
		display_unlisten(vnc->listener);
	vnc->listener = NULL;
}

static void settle_typed(struct vnc *vnc)
{
	struct display_typed typed[VNC_TYPED_MAX];
	struct display_console *console = console_of(vnc);
	unsigned count;

	pthread_mutex_lock(&vnc->lock);
	count = vnc->typed_count;
	memcpy(typed, vnc->typed, count * sizeof(*typed));
	vnc->typed_count = 0;
	pthread_mutex_unlock(&vnc->lock);
	for (unsigned i = 0; i < count && console; i++)
		display_console_type(console, &typed[i]);
}

/* Who wants to be alone is, or is sent away. */
static void settle_exclusive(struct vnc *vnc, struct vnc_client *client)
{
	struct vnc_client *next;

	if (!atomic_load(&client->exclusive) || vnc->share == VNC_IGNORE)
		return;
	if (vnc->share == VNC_FORCE_SHARED) {
		vnc_client_end(client);
		return;
	}
	for (struct vnc_client *other = vnc->clients; other; other = next) {
		next = other->next;
		if (other != client && other->told_initialized)
			vnc_client_end(other);
	}
}

/* The next client that has news for the main loop; NULL: none. */
static struct vnc_client *newest(struct vnc *vnc)
{
	for (struct vnc_client *client = vnc->clients; client; client = client->next)
		if (atomic_load(&client->gone) || (atomic_load(&client->initialized) && !client->told_initialized))
			return client;
	return NULL;
}

static void on_attention(void *opaque, uint32_t events)
{
	struct vnc *vnc = opaque;
	struct vnc_client *client;
	unsigned input = atomic_load(&vnc->leds) | (atomic_load(&vnc->absolute) ? 0x100 : 0);
	uint32_t width, height;
	uint64_t count;
	bool text;

	if (read(vnc->attention, &count, sizeof(count)) < 0)
		return;
	while ((client = newest(vnc))) {
		if (atomic_load(&client->initialized) && !client->told_initialized) {
			client->told_initialized = true;
			vnc_emit(vnc, "VNC_INITIALIZED", client);
			settle_exclusive(vnc, client);
		} else {
			vnc_client_end(client);
		}
	}
	settle_typed(vnc);
	settle_console(vnc);
	vnc_watch(vnc);
	hurry(vnc);
	if (vnc->told_input != input)
		wake(vnc, true);
	vnc->told_input = input;
	pthread_mutex_lock(&vnc->lock);
	width = vnc->prefer_width;
	height = vnc->prefer_height;
	vnc->prefer_width = vnc->prefer_height = 0;
	text = vnc->text;
	pthread_mutex_unlock(&vnc->lock);
	if (width && console_of(vnc))
		display_prefer(console_of(vnc), width, height);
	if (text && vnc->typing.deadline_ns == INT64_MAX)
		loop_timer_set(&vnc->typing, host_now_ns());
}

static void on_leds(void *opaque, unsigned leds)
{
	struct vnc *vnc = opaque;

	atomic_store(&vnc->leds, leds);
	vnc_attention(vnc);
}

static void on_pointer_kind(void *opaque, bool absolute)
{
	struct vnc *vnc = opaque;

	atomic_store(&vnc->absolute, absolute);
	vnc_attention(vnc);
}

/* --- monitor --- */

static int set_password(struct display_ui *ui, const char *password, struct error *err)
{
	struct vnc *vnc = (struct vnc *)ui;

	/* With TLS alone it is taken and never asked for, as in qemu. */
	if (!vnc->password && !vnc->tls)
		return error_set(err, EINVAL,
				 "If you want use passwords please enable password auth using '-vnc ${dpy},password'.");
	pthread_mutex_lock(&vnc->lock);
	free(vnc->secret);
	vnc->secret = password ? xstrdup(password) : NULL;
	pthread_mutex_unlock(&vnc->lock);
	return 0;
}

static void expire_password(struct display_ui *ui, int64_t when_s)
{
	struct vnc *vnc = (struct vnc *)ui;

	pthread_mutex_lock(&vnc->lock);
	vnc->expires_s = when_s;
	pthread_mutex_unlock(&vnc->lock);
}

int vnc_change(struct display_ui *ui, char *const *addresses, size_t count, struct error *err)
{
	struct vnc *vnc = (struct vnc *)ui;
	int rc = 0;

	vnc_unlisten(vnc);
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct options options = {0};

		rc = vnc_listen(vnc, addresses[i], &options, err);
		options_free(&options);
	}
	if (rc < 0) /* one that fails takes the others along */
		vnc_unlisten(vnc);
	return rc;
}

static int reload_tls(struct display_ui *ui, struct error *err)
{
	struct vnc *vnc = (struct vnc *)ui;

	if (!vnc->tls)
		return error_set(err, EINVAL, "vnc tls is not enabled");
	if (vnc_tls_is_anonymous(vnc->tls))
		return error_set(err, EINVAL, "tls-creds-anon doesn't support to reload TLS credential");
	return vnc_open_tls(vnc, err);
}

/* --- life --- */

static void quiet(const char *format, ...)
{
}

static void close_vnc(struct display_ui *ui)
{
	struct vnc *vnc = (struct vnc *)ui;

	vnc_unlisten(vnc);
	while (vnc->clients)
		vnc_client_end(vnc->clients);
	if (vnc->ui.host->input)
		input_unlisten(vnc->ui.host->input, &vnc->input_listener);
	loop_timer_cancel(&vnc->refresh);
	loop_timer_cancel(&vnc->typing);
	if (vnc->listener)
		display_unlisten(vnc->listener);
	if (vnc->attention_watch)
		loop_fd_remove(vnc->attention_watch);
	close(vnc->attention);
	vnc_keymap_free(vnc->keymap);
	if (vnc->model)
		rfbScreenCleanup(vnc->model);
	pthread_mutex_destroy(&vnc->lock);
	free((void *)vnc->cursor.pixels);
	free(vnc->shadow);
	free(vnc->secret);
	free(vnc->text);
	free(vnc->display);
	vnc_tls_free(vnc->tls);
	free(vnc->tls_cert);
	free(vnc->tls_key);
	free(vnc->tls_id);
}

static int open_vnc(struct display_ui *ui, struct options *options, struct error *err)
{
	struct vnc *vnc = (struct vnc *)ui;
	const char *address = options_get(options, "vnc");
	int rc;

	/* What the library has to say of clients nobody could read. */
	rfbLog = rfbErr = quiet;
	vnc_extension_register();
	pthread_mutex_init(&vnc->lock, NULL);
	vnc->expires_s = INT64_MAX;
	loop_timer_init(&vnc->refresh, ui->host->loop, on_refresh, vnc);
	loop_timer_init(&vnc->typing, ui->host->loop, vnc_type_next, vnc);
	vnc->attention = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vnc->attention_watch = loop_fd_add(ui->host->loop, vnc->attention, EPOLLIN, on_attention, vnc);
	resize_shadow(vnc, NO_SCREEN_WIDTH, NO_SCREEN_HEIGHT);
	vnc->input_listener = (struct input_listener){.leds = on_leds, .pointer = on_pointer_kind, .opaque = vnc};
	if (ui->host->input) {
		atomic_store(&vnc->absolute, input_is_absolute(ui->host->input, NULL));
		atomic_store(&vnc->leds, input_leds(ui->host->input));
		input_listen(ui->host->input, &vnc->input_listener);
	}
	/* No client's thread is there yet, of another server neither: they run when the main loop does. */
	vnc->model = rfbGetScreen(NULL, NULL, NO_SCREEN_WIDTH, NO_SCREEN_HEIGHT, 8, 3, 4);
	rc = vnc->model ? vnc_read_options(vnc, options, err) : error_set(err, ENOMEM, "no memory for a screen");
	if (rc == 0) {
		vnc->keymap = vnc_keymap_new(ui->host->keyboard, err);
		rc = vnc->keymap ? 0 : -ENOENT;
	}
	if (rc == 0)
		rc = vnc_listen(vnc, address ? address : "none", options, err);
	if (rc < 0)
		close_vnc(ui);
	return rc;
}

static const struct display_server_ops server = {
	.set_password = set_password,
	.expire_password = expire_password,
	.reload_tls = reload_tls,
	.change = vnc_change,
	.describe = vnc_describe,
};

static const struct display_driver vnc_driver = {
	.name = "vnc",
	.help = "a VNC server",
	.size = sizeof(struct vnc),
	.known = vnc_options,
	.open = open_vnc,
	.close = close_vnc,
	.server = &server,
};

static const struct display_driver *const drivers[] = {&vnc_driver, NULL};

__attribute__((visibility("default"))) const struct module xuni_module = {"display", DISPLAY_MODULE_ABI, drivers};
