/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to the VNC server: what its files share.
 *
 * Threads. The main loop's thread listens, asks the console for what changed and copies that into the shadow. Each
 * client has a thread of its own with a screen of libvncserver's of its own: whatever a client does or fails to do,
 * only its own thread waits for it. (A client with TLS or a WebSocket has a second one, the carrier, which takes them
 * off.) The client's thread copies what changed from the shadow into its own picture, and
 * encodes and sends without a lock. Input goes straight to the router. What the main loop is to do for a client it
 * learns through `attention`.
 *
 * vnc->lock guards the shadow, the cursor, the passwords, what is to be typed and each client's `dirty`; it is held
 * for copying only, never while something waits. Lock order: vnc->lock, then nothing.
 */
#ifndef XUNI_BACKEND_DISPLAY_VNC_VNC_H
#define XUNI_BACKEND_DISPLAY_VNC_VNC_H

#include "backend/display/driver.h"
#include "backend/display/input.h"
#include "backend/display/region.h"
#include "backend/display/vnc/vnc_stream.h"
#include "base/loop.h"

#include <pthread.h>
#include <rfb/rfb.h>
#include <stdatomic.h>

struct vnc_client;
struct vnc_keymap;
struct vnc_tls;

enum {
	VNC_SOCKETS_MAX = 8,
	VNC_WIDTH_MAX = 8000,
	VNC_HEIGHT_MAX = 8000,
	VNC_HELD_MAX = 64,
	VNC_TEXT_MAX = 64 * 1024,
	VNC_TYPED_MAX = 64,
	VNC_NAME_MAX = 256
};

enum vnc_share { VNC_ALLOW_EXCLUSIVE, VNC_FORCE_SHARED, VNC_IGNORE };

/* One end of a connection, as QMP shows it. */
struct vnc_end {
	char family[8]; /* ipv4 ipv6 unix */
	char host[128];
	char service[128];
};

struct vnc_socket {
	struct vnc *vnc;
	int fd;
	bool websocket;
	struct loop_fd *watch;
	struct vnc_end end;
	char *path; /* of a Unix socket, to be removed */
};

struct vnc {
	struct display_ui ui;
	/* Options. */
	char *display;
	bool password, reverse, lossy, clipboard, lock_key_sync;
	char *tls_cert, *tls_key, *tls_id; /* files, or an object; all NULL: without TLS */
	struct vnc_tls *tls;               /* or NULL */
	enum vnc_share share;
	unsigned connections;

	struct vnc_socket sockets[VNC_SOCKETS_MAX];
	unsigned socket_count;
	struct vnc_keymap *keymap;
	rfbScreenInfoPtr model; /* that each client's is a copy of */
	int attention; /* eventfd: a client's flags changed */
	struct loop_fd *attention_watch;
	struct vnc_client *clients; /* main loop's thread */
	unsigned client_count;

	struct display_listener *listener; /* while there are clients */
	struct loop_timer refresh, typing;
	int64_t interval_ns, looked_ns;
	struct input_listener input_listener;
	_Atomic bool absolute;
	_Atomic unsigned leds;
	/* The console that is shown, if display= names none, and what a client would like (from 1; 0: nothing). */
	unsigned shown;
	_Atomic unsigned wanted;
	_Atomic bool types;  /* a text console is shown: keys and pointers are not the guest's */
	unsigned told_input; /* leds and absolute as the clients have been woken for them */

	pthread_mutex_t lock;
	uint32_t *shadow;
	uint32_t width, height, generation; /* generation: of width and height */
	struct display_cursor cursor;       /* pixels: its own; width 0: none */
	uint32_t cursor_serial;
	int32_t cursor_x, cursor_y;
	char *secret;      /* the password, or NULL: nobody gets in */
	int64_t expires_s; /* seconds since 1970 when it stops being good; INT64_MAX: never */
	char *text;        /* UTF-8 to be typed, or NULL */
	size_t text_at;
	struct display_typed typed[VNC_TYPED_MAX]; /* for the text console */
	unsigned typed_count;
	uint32_t prefer_width, prefer_height; /* what a client would like; 0: nothing */
};

struct vnc_held {
	uint32_t keysym; /* 0: told by its place */
	enum input_key key;
	uint8_t with; /* VNC_LEVEL_*: what is pressed with it that the user does not press */
};

struct vnc_client {
	struct vnc *vnc;
	struct vnc_client *next;
	pthread_t thread;
	int fd;
	int wake; /* eventfd: something for the thread to look at */
	bool websocket;
	bool reverse; /* the server has connected to it */
	struct vnc_end peer, local;
	/* Its request is answered only when the main loop has looked at the screen after it. */
	_Atomic bool fresh;
	_Atomic bool waiting;        /* has asked for an update */
	_Atomic bool initialized;    /* is past the password */
	char name[VNC_NAME_MAX];     /* of its certificate, once `initialized`; empty: none was asked for */
	_Atomic bool exclusive;      /* wants to be alone */
	_Atomic bool gone;           /* the thread is at its end */
	_Atomic bool leaving;        /* the thread shall end */
	bool told_initialized;       /* main loop's thread */
	struct display_region dirty; /* vnc->lock */

	/* The client's thread. */
	struct vnc_stream *stream;
	struct vnc_tls *tls; /* the server's at its beginning, held; or NULL */
	int minor;           /* of RFB's version */
	int plain;           /* the carrier's end of what the library reads and writes; -1: the library has fd itself */
	pthread_t carrier;
	rfbScreenInfoPtr screen;
	rfbClientPtr cl;
	uint32_t *pixels;
	uint32_t generation, cursor_serial;
	bool cursor_known;
	struct vnc_held held[VNC_HELD_MAX];
	unsigned held_count;
	int x, y;
	int buttons;
	bool wants_led, wants_pointer_type, wants_keys, keys_told;
	unsigned led_told; /* and 0x100: told at all */
	int pointer_told;  /* -1: not yet */
};

/* --- vnc.c --- */
/* Any thread: has the main loop look at the clients. */
void vnc_attention(struct vnc *vnc);
/* A client came or went. Main loop's thread. */
void vnc_watch(struct vnc *vnc);
int vnc_change(struct display_ui *ui, char *const *addresses, size_t count, struct error *err);

/* --- vnc_options.c: main loop's thread --- */
/* The names, ended by NULL. */
extern const char *const vnc_options[];
/* Fills vnc's; what it allocates is freed with vnc also when it fails. */
int vnc_read_options(struct vnc *vnc, struct options *options, struct error *err);
/* The certificates that vnc's options name, read anew: for who comes from now on. */
int vnc_open_tls(struct vnc *vnc, struct error *err);

/* --- vnc_listen.c: main loop's thread --- */
/* address: "host:N", ":N", "unix:PATH", "none", with the options to=, ipv4=, ipv6=, websocket=. */
int vnc_listen(struct vnc *vnc, const char *address, struct options *options, struct error *err);
void vnc_unlisten(struct vnc *vnc);
/* The socket's own end, or the other one. */
void vnc_end_of(int fd, bool peer, struct vnc_end *end);

/* --- vnc_client.c --- */
/* Takes over fd, a connected socket. Main loop's thread. */
void vnc_client_start(struct vnc *vnc, int fd, bool websocket, bool reverse);
/* Its thread is joined. Main loop's thread. */
void vnc_client_end(struct vnc_client *client);
void vnc_client_wake(struct vnc_client *client);

/* --- vnc_update.c: in the client's thread --- */
/* Sends what is modified and requested, if anything; on failure the client is closed. */
void vnc_update_send(struct vnc_client *client);

/* --- vnc_auth.c: in the client's thread --- */
/* From the WebSocket's request to the end of authentication; false: the connection is to be closed. */
bool vnc_handshake(struct vnc_client *client);

/* --- vnc_tls.c --- */
/* Names of PEM files. */
struct vnc_tls *vnc_tls_of_files(const char *certificate, const char *key, struct error *err);
/* id: of an object tls-creds-x509 or tls-creds-anon. */
struct vnc_tls *vnc_tls_of_object(const struct display_host *host, const char *id, struct error *err);
/* Another user of it, who lets it go with vnc_tls_free. NULL is fine for both. */
struct vnc_tls *vnc_tls_hold(struct vnc_tls *tls);
void vnc_tls_free(struct vnc_tls *tls);
bool vnc_tls_is_anonymous(const struct vnc_tls *tls);
/* A server's session; any thread. NULL: there is no memory. */
gnutls_session_t vnc_tls_session(const struct vnc_tls *tls);
/* After the handshake: whether the client is one of those that may come; name: of the certificate that was asked for,
 * or empty. Any thread. */
bool vnc_tls_accepts(const struct vnc_tls *tls, gnutls_session_t session, char name[VNC_NAME_MAX]);

/* --- vnc_extension.c: in the client's thread --- */
/* Makes qemu's pseudo-encodings known to the library; once per process. */
void vnc_extension_register(void);
/* Tells the client of what it asked for by a pseudo-encoding, where that changed. */
void vnc_extension_tell(struct vnc_client *client);

/* --- vnc_input.c --- */
void vnc_key(struct vnc_client *client, uint32_t keysym, bool down);
/* number: as struct input_key_row's. */
void vnc_key_number(struct vnc_client *client, uint32_t keysym, uint32_t number, bool down);
void vnc_pointer(struct vnc_client *client, int buttons, int x, int y);
void vnc_release_all(struct vnc_client *client);
/* A client's text; utf8 false: Latin-1. */
void vnc_cut_text(struct vnc_client *client, const char *text, size_t length, bool utf8);
/* Main loop's timer: types the next character. */
void vnc_type_next(void *opaque);

/* --- vnc_keymap.c --- */
enum { VNC_LEVEL_SHIFT = 1, VNC_LEVEL_ALTGR = 2 };
/* layout: a name of -k, or NULL for en-us. */
struct vnc_keymap *vnc_keymap_new(const char *layout, struct error *err);
void vnc_keymap_free(struct vnc_keymap *keymap);
/* The key that makes this keysym, if possible at the given level; INPUT_KEY_UNMAPPED when there is none. */
enum input_key vnc_keymap_find(const struct vnc_keymap *keymap, uint32_t keysym, unsigned *level);
uint32_t vnc_keysym_of_character(uint32_t character);

/* --- vnc_info.c --- */
char *vnc_describe(struct display_ui *ui);
void vnc_emit(struct vnc *vnc, const char *name, const struct vnc_client *client);

#endif
