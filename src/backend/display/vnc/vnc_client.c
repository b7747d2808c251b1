/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One client of the VNC server: its thread, its picture, what goes to it and what comes from it (threads: vnc.h). */
#include "backend/display/vnc/vnc.h"

#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <rfb/rfbregion.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BITS_PER_SAMPLE = 8, SAMPLES = 3, PIXEL_BYTES = 4, PATIENCE_MS = 20000, IDLE_MS = 1000 };

void vnc_client_wake(struct vnc_client *client)
{
	uint64_t one = 1;

	if (write(client->wake, &one, sizeof(one)) < 0)
		return; /* it is awake already */
}

/* --- the picture --- */

static void copy_rect(struct vnc_client *client, const struct display_rect *rect)
{
	const struct vnc *vnc = client->vnc;

	for (uint32_t y = rect->y; y < rect->y + rect->height; y++)
		memcpy(client->pixels + (size_t)y * vnc->width + rect->x,
		       vnc->shadow + (size_t)y * vnc->width + rect->x, rect->width * sizeof(*client->pixels));
}

/* Gives the library's screen a picture. (The library puts red first then.) */
static void set_picture(rfbScreenInfoPtr screen, uint32_t *pixels, uint32_t width, uint32_t height)
{
	rfbNewFramebuffer(screen, (char *)pixels, (int)width, (int)height, BITS_PER_SAMPLE, SAMPLES, PIXEL_BYTES);
	screen->serverFormat.depth = BITS_PER_SAMPLE * SAMPLES;
	screen->serverFormat.redShift = 16;
	screen->serverFormat.greenShift = 8;
	screen->serverFormat.blueShift = 0;
}

/* A picture of another size. */
static void adopt_size(struct vnc_client *client)
{
	struct vnc *vnc = client->vnc;
	uint32_t *old = client->pixels, *pixels, width, height;

	pthread_mutex_lock(&vnc->lock);
	width = vnc->width;
	height = vnc->height;
	pixels = malloc((size_t)width * height * sizeof(*pixels));
	if (pixels) {
		memcpy(pixels, vnc->shadow, (size_t)width * height * sizeof(*pixels));
		client->generation = vnc->generation;
		client->dirty.count = 0;
	}
	pthread_mutex_unlock(&vnc->lock);
	if (!pixels) {
		rfbCloseClient(client->cl);
		return;
	}
	client->pixels = pixels;
	set_picture(client->screen, pixels, width, height);
	rfbSetTranslateFunction(client->cl);
	free(old);
}

static struct rfbCursor *make_cursor(const struct display_cursor *from)
{
	size_t count = (size_t)from->width * from->height, row = (from->width + 7) / 8;
	struct rfbCursor *cursor = calloc(1, sizeof(*cursor));

	cursor->cleanup = cursor->cleanupMask = cursor->cleanupRichSource = cursor->cleanupSource = TRUE;
	cursor->width = (unsigned short)from->width;
	cursor->height = (unsigned short)from->height;
	cursor->xhot = (unsigned short)from->hot_x;
	cursor->yhot = (unsigned short)from->hot_y;
	cursor->richSource = calloc(count ? count : 1, PIXEL_BYTES);
	cursor->mask = calloc(row * from->height + 1, 1);
	cursor->source = calloc(row * from->height + 1, 1);
	for (size_t i = 0; i < count; i++) {
		size_t x = i % from->width, y = i / from->width;
		uint32_t pixel = from->pixels[i] & 0xffffff;

		memcpy(cursor->richSource + i * PIXEL_BYTES, &pixel, PIXEL_BYTES);
		if (from->pixels[i] >> 24 >= 0x80)
			cursor->mask[y * row + x / 8] |= (unsigned char)(0x80 >> x % 8);
	}
	return cursor;
}

static void adopt_cursor(struct vnc_client *client)
{
	struct vnc *vnc = client->vnc;
	struct rfbCursor *cursor = NULL;
	bool changed;

	pthread_mutex_lock(&vnc->lock);
	changed = client->cursor_serial != vnc->cursor_serial;
	client->cursor_serial = vnc->cursor_serial;
	if (changed && vnc->cursor.width)
		cursor = make_cursor(&vnc->cursor);
	client->screen->cursorX = vnc->cursor_x;
	client->screen->cursorY = vnc->cursor_y;
	pthread_mutex_unlock(&vnc->lock);
	if (changed)
		rfbSetCursor(client->screen, cursor);
}

static void adopt_changes(struct vnc_client *client)
{
	struct vnc *vnc = client->vnc;
	struct display_region dirty;

	pthread_mutex_lock(&vnc->lock);
	dirty = client->dirty;
	if (client->generation == vnc->generation) {
		for (size_t i = 0; i < dirty.count; i++)
			copy_rect(client, &dirty.rects[i]);
		client->dirty.count = 0;
	} else {
		dirty.count = 0;
	}
	pthread_mutex_unlock(&vnc->lock);
	for (size_t i = 0; i < dirty.count; i++) {
		const struct display_rect *rect = &dirty.rects[i];

		rfbMarkRectAsModified(client->screen, (int)rect->x, (int)rect->y, (int)(rect->x + rect->width),
				      (int)(rect->y + rect->height));
	}
}

static bool resized(struct vnc_client *client)
{
	bool result;

	pthread_mutex_lock(&client->vnc->lock);
	result = client->generation != client->vnc->generation;
	pthread_mutex_unlock(&client->vnc->lock);
	return result;
}

/* Has the main loop look at the screen when the client has begun to wait for it; true when it has looked. */
static bool screen_is_fresh(struct vnc_client *client)
{
	bool asks = client->cl->state == RFB_NORMAL && !sraRgnEmpty(client->cl->requestedRegion);

	if (asks && !atomic_load(&client->waiting)) {
		atomic_store(&client->fresh, false);
		atomic_store(&client->waiting, true);
		vnc_attention(client->vnc);
	}
	return asks && atomic_load(&client->fresh);
}

/* Sends what has changed, if the client has asked. */
static void update(struct vnc_client *client)
{
	rfbClientPtr cl = client->cl;

	if (!screen_is_fresh(client))
		return;
	if (resized(client))
		adopt_size(client);
	adopt_cursor(client);
	adopt_changes(client);
	/* JPEG is for those who said lossy=on. */
	if (!client->vnc->lossy)
		cl->tightQualityLevel = cl->turboQualityLevel = -1;
	vnc_extension_tell(client);
	if (cl->sock != RFB_INVALID_SOCKET)
		vnc_update_send(client);
	atomic_store(&client->waiting, !sraRgnEmpty(cl->requestedRegion));
}

/* --- what the library calls --- */

static struct vnc_client *client_of(const rfbClientRec *cl)
{
	return cl->screen->screenData;
}

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr cl)
{
	vnc_key(client_of(cl), keysym, down);
}

static void on_pointer(int buttons, int x, int y, rfbClientPtr cl)
{
	vnc_pointer(client_of(cl), buttons, x, y);
}

static void on_cut_text(char *text, int length, rfbClientPtr cl)
{
	if (length > 0)
		vnc_cut_text(client_of(cl), text, (size_t)length, false);
}

static void on_cut_text_utf8(char *text, int length, rfbClientPtr cl)
{
	if (length > 0)
		vnc_cut_text(client_of(cl), text, (size_t)length, true);
}

/* A bell, a terminal's way to say "release all keys": some clients do. */
static void on_release_all(rfbClientPtr cl)
{
	vnc_release_all(client_of(cl));
}

static int on_desktop_size(int width, int height, int screens, struct rfbExtDesktopScreen *list, rfbClientPtr cl)
{
	struct vnc *vnc = client_of(cl)->vnc;

	if (width <= 0 || height <= 0 || width > VNC_WIDTH_MAX || height > VNC_HEIGHT_MAX)
		return rfbExtDesktopSize_InvalidScreenLayout;
	pthread_mutex_lock(&vnc->lock);
	vnc->prefer_width = (uint32_t)width;
	vnc->prefer_height = (uint32_t)height;
	pthread_mutex_unlock(&vnc->lock);
	vnc_attention(vnc);
	/* The guest may follow; then the client hears of it. */
	return rfbExtDesktopSize_ResizeProhibited;
}

/* --- the thread --- */

/*
 * Rather a copy than another rfbGetScreen: that makes a mutex of the whole library anew each time, under the hands of
 * the threads that are there. (0.9.14; a thread could wait for ever for what nobody holds.)
 */
static rfbScreenInfoPtr copy_screen(const rfbScreenInfo *model)
{
	rfbScreenInfoPtr screen = malloc(sizeof(*screen));

	if (screen) {
		*screen = *model;
		pthread_mutex_init(&screen->cursorMutex, NULL);
	}
	return screen;
}

static rfbScreenInfoPtr make_screen(struct vnc_client *client)
{
	struct vnc *vnc = client->vnc;
	rfbScreenInfoPtr screen;
	uint32_t width, height;

	pthread_mutex_lock(&vnc->lock);
	width = vnc->width;
	height = vnc->height;
	client->generation = vnc->generation;
	client->pixels = malloc((size_t)width * height * PIXEL_BYTES);
	if (client->pixels)
		memcpy(client->pixels, vnc->shadow, (size_t)width * height * PIXEL_BYTES);
	pthread_mutex_unlock(&vnc->lock);
	screen = client->pixels ? copy_screen(vnc->model) : NULL;
	if (!screen)
		return NULL;
	screen->screenData = client;
	set_picture(screen, client->pixels, width, height);
	screen->desktopName = vnc->ui.host->machine_name ? vnc->ui.host->machine_name : "xuni";
	screen->cursor = NULL;
	screen->alwaysShared = TRUE;
	screen->deferUpdateTime = 0;
	screen->deferPtrUpdateTime = 0;
	screen->maxClientWait = PATIENCE_MS;
	screen->fdQuota = 1.0f;
	screen->permitFileTransfer = FALSE;
	screen->kbdAddEvent = on_key;
	screen->kbdReleaseAllKeys = on_release_all;
	screen->ptrAddEvent = on_pointer;
	screen->setXCutText = on_cut_text;
	screen->setXCutTextUTF8 = on_cut_text_utf8;
	screen->setDesktopSizeHook = on_desktop_size;
	return screen;
}

/* ClientInit says whether the client wants to be alone; the library does not pass it on. */
static void look_for_exclusive(struct vnc_client *client)
{
	uint8_t shared;

	if (recv(client->cl->sock, &shared, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
		atomic_store(&client->exclusive, !shared);
}

static void process(struct vnc_client *client)
{
	rfbClientPtr cl = client->cl;

	if (cl->state == RFB_INITIALISATION)
		look_for_exclusive(client);
	rfbProcessClientMessage(cl);
	if (cl->sock != RFB_INVALID_SOCKET && cl->state == RFB_NORMAL && !atomic_exchange(&client->initialized, true))
		vnc_attention(client->vnc);
}

static void serve(struct vnc_client *client)
{
	rfbClientPtr cl = client->cl;

	while (cl->sock != RFB_INVALID_SOCKET && !atomic_load(&client->leaving)) {
		struct pollfd fds[2] = {{cl->sock, POLLIN, 0}, {client->wake, POLLIN, 0}};
		uint64_t count;

		if (poll(fds, 2, IDLE_MS) < 0 && errno != EINTR)
			break;
		if (fds[1].revents && read(client->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
			break;
		if (fds[0].revents)
			process(client);
		if (cl->sock != RFB_INVALID_SOCKET)
			update(client);
		/* Who does not get past the password does not keep a place. */
		if (cl->state != RFB_NORMAL && host_now_ns() > client->stream->deadline_ns)
			break;
	}
}

static void *carrier_main(void *opaque)
{
	struct vnc_client *client = opaque;

	vnc_stream_carry(client->stream, client->plain);
	return NULL;
}

/* What the library shall read and write at cl->sock: the peer itself, or the carrier. */
static bool connect_library(struct vnc_client *client, int other)
{
	char greeting[sz_rfbProtocolVersionMsg], rest[4];
	int one = 1;

	if (recv(other, greeting, sizeof(greeting), MSG_WAITALL) != sizeof(greeting) ||
	    recv(client->cl->sock, rest, sizeof(rest), MSG_WAITALL) != sizeof(rest))
		return false;
	setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!vnc_stream_is_wrapped(client->stream))
		return dup3(client->fd, client->cl->sock, O_CLOEXEC) >= 0;
	client->plain = other;
	if (pthread_create(&client->carrier, NULL, carrier_main, client)) {
		client->plain = -1;
		return false;
	}
	return true;
}

/*
 * The library looks for the beginning of a WebSocket, and turns for ever around a peer that says less than four bytes
 * and leaves; and it greets. So it is given one end of a pair of sockets whose other end says RFB.
 */
static void new_client(struct vnc_client *client)
{
	bool good;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	/* The library waits with select. */
	if (pair[0] >= FD_SETSIZE || write(pair[1], "RFB ", 4) != 4)
		close(pair[0]);
	else
		client->cl = rfbNewClient(client->screen, pair[0]);
	good = client->cl && connect_library(client, pair[1]);
	if (client->plain < 0)
		close(pair[1]);
	if (!client->cl)
		return;
	client->cl->clientData = client;
	client->cl->protocolMajorVersion = 3;
	client->cl->protocolMinorVersion = client->minor;
	client->cl->state = RFB_INITIALISATION;
	if (!good)
		rfbCloseClient(client->cl);
}

static void free_client(struct vnc_client *client)
{
	rfbExtensionData *extensions, *next;

	rfbCloseClient(client->cl);
	/* The library forgets the client's extensions and does not free them. */
	extensions = client->cl->extensions;
	client->cl->extensions = NULL;
	rfbClientConnectionGone(client->cl);
	for (; extensions; extensions = next) {
		next = extensions->next;
		free(extensions);
	}
	if (client->plain >= 0) {
		pthread_join(client->carrier, NULL);
		close(client->plain);
	}
}

static void *client_main(void *opaque)
{
	struct vnc_client *client = opaque;

	client->stream = vnc_stream_new(client->fd, host_now_ns() + (int64_t)PATIENCE_MS * NS_PER_MS);
	if (vnc_handshake(client))
		client->screen = make_screen(client);
	if (client->screen)
		new_client(client);
	if (client->cl) {
		serve(client);
		vnc_release_all(client);
		free_client(client);
	}
	if (client->screen)
		rfbScreenCleanup(client->screen);
	vnc_stream_free(client->stream);
	free(client->pixels);
	/* The peer need not wait until the main loop has seen it. */
	shutdown(client->fd, SHUT_RDWR);
	atomic_store(&client->gone, true);
	vnc_attention(client->vnc);
	return NULL;
}

void vnc_client_start(struct vnc *vnc, int fd, bool websocket, bool reverse)
{
	struct vnc_client *client = xcalloc(1, sizeof(*client));

	client->vnc = vnc;
	client->fd = fd;
	client->plain = -1;
	client->websocket = websocket;
	client->reverse = reverse;
	client->tls = vnc_tls_hold(vnc->tls);
	client->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	client->x = -1;
	client->pointer_told = -1;
	vnc_end_of(fd, true, &client->peer);
	vnc_end_of(fd, false, &client->local);
	client->next = vnc->clients;
	vnc->clients = client;
	vnc->client_count++;
	vnc_watch(vnc);
	if (client->wake < 0 || pthread_create(&client->thread, NULL, client_main, client)) {
		vnc->clients = client->next;
		vnc->client_count--;
		log_warn(vnc->ui.host->log, "VNC: no thread for a client");
		if (client->wake >= 0)
			close(client->wake);
		close(fd);
		vnc_tls_free(client->tls);
		free(client);
		return;
	}
	vnc_emit(vnc, "VNC_CONNECTED", client);
}

void vnc_client_end(struct vnc_client *client)
{
	struct vnc *vnc = client->vnc;
	struct vnc_client **at = &vnc->clients;

	atomic_store(&client->leaving, true);
	/* Ends each wait of the threads. */
	shutdown(client->fd, SHUT_RDWR);
	vnc_client_wake(client);
	pthread_join(client->thread, NULL);
	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	vnc->client_count--;
	vnc_emit(vnc, "VNC_DISCONNECTED", client);
	close(client->wake);
	close(client->fd);
	vnc_tls_free(client->tls);
	free(client);
}
