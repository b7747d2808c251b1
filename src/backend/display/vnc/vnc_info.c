/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VNC server as QMP shows it: JSON texts for query-vnc and the events. Main loop's thread. */
#include "backend/display/vnc/vnc.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>

const char *vnc_auth_name(const struct vnc *vnc)
{
	return vnc->tls ? "vencrypt" : vnc->password ? "vnc" : "none";
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
	char *data =
		xasprintf("{\"server\": {%s, \"auth\": \"%s\"}, \"client\": {%s}}", local, vnc_auth_name(vnc), peer);

	vnc->ui.host->event(vnc->ui.host->opaque, name, data);
	free(data);
	free(peer);
	free(local);
}

char *vnc_describe(struct display_ui *ui)
{
	struct vnc *vnc = (struct vnc *)ui;
	char *servers = xstrdup(""), *clients = xstrdup(""), *id = quote(ui->id ? ui->id : "default"), *text;

	for (unsigned i = vnc->socket_count; i--;) { /* WebSockets first, as qemu has it */
		char *members = end_members(&vnc->sockets[i].end, vnc->sockets[i].websocket);

		append(&servers, ", ", xasprintf("{%s, \"auth\": \"%s\"}", members, vnc_auth_name(vnc)));
		free(members);
	}
	for (const struct vnc_client *client = vnc->clients; client; client = client->next) {
		char *members = end_members(&client->peer, client->websocket);

		if (!atomic_load(&client->gone))
			append(&clients, ", ", xasprintf("{%s}", members));
		free(members);
	}
	text = xasprintf("{\"id\": %s, \"auth\": \"%s\", \"server\": [%s], \"clients\": [%s]}", id, vnc_auth_name(vnc),
			 servers, clients);
	free(servers);
	free(clients);
	free(id);
	return text;
}
