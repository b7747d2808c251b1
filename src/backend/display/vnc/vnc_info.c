/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VNC server as QMP shows it: JSON texts for query-vnc and the events. Main loop's thread. */
#include "backend/display/vnc/vnc.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>

/* The security type, and VeNCrypt's, as QMP calls them; *sub NULL: it is another type. */
static const char *auth_of(const struct vnc *vnc, bool websocket, const char **sub)
{
	*sub = NULL;
	if (!vnc->tls || websocket)
		return vnc->password ? "vnc" : "none";
	if (vnc_tls_is_anonymous(vnc->tls))
		*sub = vnc->password ? "tls-vnc" : "tls-none";
	else
		*sub = vnc->password ? "x509-vnc" : "x509-none";
	return "vencrypt";
}

/* Both in one word, as older commands and events have it; heap. */
static char *auth_word(const struct vnc *vnc)
{
	const char *sub, *auth = auth_of(vnc, false, &sub);

	return sub ? xasprintf("%s+%.*s+%s", auth, (int)strcspn(sub, "-"), sub, strchr(sub, '-') + 1) : xstrdup(auth);
}

/* The text as a JSON string; heap. */
static char *quote(const char *text)
{
	char *quoted = xcalloc(1, 6 * strlen(text) + 3), *at = quoted;

	*at++ = '"';
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte == '"' || byte == '\\')
			*at++ = '\\';
		if (byte < 0x20 || byte >= 0x7f)
			at += sprintf(at, "\\u%04x", byte);
		else
			*at++ = (char)byte;
	}
	*at++ = '"';
	return quoted;
}

/* Members of an object, without its braces. */
static char *end_members(const struct vnc_end *end, bool websocket)
{
	char *host = quote(end->host), *service = quote(end->service);
	char *members = xasprintf("\"host\": %s, \"service\": %s, \"family\": \"%s\", \"websocket\": %s", host, service,
				  end->family, websocket ? "true" : "false");

	free(host);
	free(service);
	return members;
}

static void append(char **text, const char *separator, char *more)
{
	char *joined = xasprintf("%s%s%s", *text, **text ? separator : "", more);

	free(*text);
	free(more);
	*text = joined;
}

void vnc_emit(struct vnc *vnc, const char *name, const struct vnc_client *client)
{
	char *peer = end_members(&client->peer, client->websocket),
	     *local = end_members(&client->local, client->websocket);
	char *auth = auth_word(vnc);
	char *data = xasprintf("{\"server\": {%s, \"auth\": \"%s\"}, \"client\": {%s}}", local, auth, peer);

	vnc->ui.host->event(vnc->ui.host->opaque, name, data);
	free(data);
	free(auth);
	free(peer);
	free(local);
}

/* The members that say how clients prove who they are. */
static char *auth_members(const struct vnc *vnc, bool websocket)
{
	const char *sub, *auth = auth_of(vnc, websocket, &sub);

	return xasprintf("\"auth\": \"%s\"%s%s%s", auth, sub ? ", \"vencrypt\": \"" : "", sub ? sub : "",
			 sub ? "\"" : "");
}

static char *client_object(const struct vnc_client *client)
{
	char *members = end_members(&client->peer, client->websocket), *text;
	char *name = quote(atomic_load(&client->initialized) ? client->name : "");

	if (strcmp(name, "\"\""))
		text = xasprintf("{%s, \"x509_dname\": %s}", members, name);
	else
		text = xasprintf("{%s}", members);
	free(members);
	free(name);
	return text;
}

char *vnc_describe(struct display_ui *ui)
{
	struct vnc *vnc = (struct vnc *)ui;
	char *servers = xstrdup(""), *clients = xstrdup(""), *id = quote(ui->id ? ui->id : "default"), *text, *auth;
	char *name = quote(vnc->display ? vnc->display : "");
	char *display = vnc->display ? xasprintf(", \"display\": %s", name) : xstrdup("");

	for (unsigned i = vnc->socket_count; i--;) { /* WebSockets first, as qemu has it */
		char *members = end_members(&vnc->sockets[i].end, vnc->sockets[i].websocket);

		auth = auth_members(vnc, vnc->sockets[i].websocket);
		append(&servers, ", ", xasprintf("{%s, %s}", members, auth));
		free(members);
		free(auth);
	}
	for (const struct vnc_client *client = vnc->clients; client; client = client->next)
		if (!atomic_load(&client->gone))
			append(&clients, ", ", client_object(client));
	auth = auth_members(vnc, false);
	text = xasprintf("{\"id\": %s, %s, \"server\": [%s], \"clients\": [%s]%s}", id, auth, servers, clients, display);
	free(name);
	free(display);
	free(servers);
	free(clients);
	free(auth);
	free(id);
	return text;
}
