/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The beginning of an RFB connection (RFC 6143 7.1, and "VeNCrypt" of the community's protocol page): version, security
 * type, password. Done here because the library keeps the offered types in one list for the whole process, and so that
 * it meets only clients that are let in.
 */
#include "backend/display/vnc/vnc.h"

#include "base/util.h"

#include <stdio.h>
#include <sys/random.h>
#include <time.h>

enum { TYPE_NONE = 1, TYPE_VNC = 2, TYPE_VENCRYPT = 19 };
enum { TLS_NONE = 257, TLS_VNC = 258, X509_NONE = 260, X509_VNC = 261 };
enum { VERSION_BYTES = 12, CHALLENGE_BYTES = 16 };

static bool receive(struct vnc_client *client, void *to, size_t bytes)
{
	return vnc_stream_read(client->stream, to, bytes);
}

static bool tell(struct vnc_client *client, const void *from, size_t bytes)
{
	return vnc_stream_write(client->stream, from, bytes);
}

static bool tell_u32(struct vnc_client *client, uint32_t value)
{
	uint8_t bytes[4];

	store_be32(bytes, value);
	return tell(client, bytes, 4);
}

/* 3, 7 or 8; -1: that is no RFB client. */
static int parse_version(const char *text)
{
	unsigned major, minor;
	char end;

	if (sscanf(text, "RFB %3u.%3u%c", &major, &minor, &end) != 3 || end != '\n' || major != 3)
		return -1;
	return minor >= 8 && minor < 100 ? 8 : minor == 7 ? 7 : 3;
}

/* The reason goes out where the protocol has a place for it. */
static bool refuse(struct vnc_client *client, int minor, const char *reason)
{
	if (tell_u32(client, 1) && minor >= 8) {
		tell_u32(client, (uint32_t)strlen(reason));
		tell(client, reason, strlen(reason));
	}
	return false;
}

static bool password_matches(struct vnc *vnc, const uint8_t *challenge, const uint8_t *response)
{
	uint8_t expected[CHALLENGE_BYTES], difference = 0;
	bool good;

	memcpy(expected, challenge, CHALLENGE_BYTES);
	pthread_mutex_lock(&vnc->lock);
	good = vnc->secret && vnc->expires_s > time(NULL);
	if (good)
		rfbEncryptBytes(expected, vnc->secret);
	pthread_mutex_unlock(&vnc->lock);
	for (unsigned i = 0; i < CHALLENGE_BYTES; i++)
		difference |= expected[i] ^ response[i];
	return good && !difference;
}

static bool ask_password(struct vnc_client *client, int minor)
{
	uint8_t challenge[CHALLENGE_BYTES], response[CHALLENGE_BYTES];

	if (getrandom(challenge, sizeof(challenge), 0) != sizeof(challenge) ||
	    !tell(client, challenge, sizeof(challenge)) || !receive(client, response, sizeof(response)))
		return false;
	if (!password_matches(client->vnc, challenge, response))
		return refuse(client, minor, "Authentication failed");
	return tell_u32(client, 0);
}

static bool start_tls(struct vnc_client *client)
{
	gnutls_session_t session = vnc_tls_session(client->tls);

	return session && vnc_stream_start_tls(client->stream, session) &&
	       vnc_tls_accepts(client->tls, session, client->name);
}

static bool negotiate_vencrypt(struct vnc_client *client, bool password, int minor)
{
	uint32_t wanted = vnc_tls_is_anonymous(client->tls) ? (password ? TLS_VNC : TLS_NONE)
			  : password                        ? X509_VNC
							    : X509_NONE;
	uint8_t bytes[5] = {0, 2};

	if (!tell(client, bytes, 2) || !receive(client, bytes, 2))
		return false;
	if (bytes[0] != 0 || bytes[1] != 2) {
		tell(client, "\1", 1);
		return false;
	}
	bytes[0] = 1;
	store_be32(bytes + 1, wanted);
	if (!tell(client, "\0", 1) || !tell(client, bytes, 5) || !receive(client, bytes, 4))
		return false;
	if (load_be32(bytes) != wanted) {
		tell(client, "\0", 1);
		return false;
	}
	if (!tell(client, "\1", 1) || !start_tls(client))
		return false;
	if (password)
		return ask_password(client, minor);
	return minor < 8 || tell_u32(client, 0);
}

static bool authenticate(struct vnc_client *client, int type, bool password, int minor)
{
	if (type == TYPE_VENCRYPT)
		return negotiate_vencrypt(client, password, minor);
	if (type == TYPE_VNC)
		return ask_password(client, minor);
	return minor < 8 || tell_u32(client, 0);
}

bool vnc_handshake(struct vnc_client *client)
{
	const struct vnc *vnc = client->vnc;
	bool password = vnc->password && !client->reverse, tls = client->tls && !client->reverse;
	uint8_t type = tls && !client->websocket ? TYPE_VENCRYPT : password ? TYPE_VNC : TYPE_NONE;
	uint8_t list[2] = {1, type}, choice;
	char version[VERSION_BYTES + 1] = "";
	int minor;

	if (client->websocket && ((tls && !start_tls(client)) || !vnc_stream_start_websocket(client->stream)))
		return false;
	if (!tell(client, "RFB 003.008\n", VERSION_BYTES) || !receive(client, version, VERSION_BYTES))
		return false;
	minor = parse_version(version);
	if (minor < 0 || (minor < 7 && type == TYPE_VENCRYPT))
		return false;
	client->minor = minor;
	if (minor < 7) {
		if (!tell_u32(client, type))
			return false;
	} else if (!tell(client, list, 2) || !receive(client, &choice, 1)) {
		return false;
	} else if (choice != type) {
		return refuse(client, minor, "Invalid security type");
	}
	return authenticate(client, type, password, minor);
}
