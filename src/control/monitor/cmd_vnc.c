/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VNC servers: where they listen, who is there, passwords. */
#include "backend/display/driver.h"
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The next server behind *index. */
static struct display_ui *next_server(struct machine *machine, unsigned *index)
{
	struct display_ui *ui;

	while ((ui = machine_display_ui(machine, (*index)++)))
		if (ui->driver->server)
			return ui;
	return NULL;
}

/* The one of that id (what -display vnc= opened is "default"), or the first. */
static struct display_ui *find_server(struct machine *machine, const char *id)
{
	struct display_ui *ui;
	unsigned index = 0;

	while ((ui = next_server(machine, &index)))
		if (!id || !strcmp(ui->id ? ui->id : "default", id))
			return ui;
	return NULL;
}

static json_t *describe(struct display_ui *ui)
{
	char *text = ui->driver->server->describe(ui);
	json_t *server = json_loads(text, 0, NULL);

	free(text);
	return server ? server : json_object();
}

/* --- queries --- */

static const char *word(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

/* Type and subtype in one word: vencrypt+x509+vnc. */
static json_t *auth_word(const json_t *server)
{
	const char *sub = word(server, "vencrypt"), *dash = strchr(sub, '-');

	if (!dash)
		return json_string(word(server, "auth"));
	return json_sprintf("%s+%.*s+%s", word(server, "auth"), (int)(dash - sub), sub, dash + 1);
}

/* Of several addresses the last in the list, as qemu, which puts each before the others. */
static json_t *run_query(struct command_call *call, struct error *err)
{
	struct display_ui *ui = find_server(call->machine, NULL);
	json_t *all = ui ? describe(ui) : NULL, *list = json_object_get(all, "server"), *result, *socket;
	size_t i;

	result = json_pack("{s:b}", "enabled", json_array_size(list) > 0);
	json_array_foreach(list, i, socket)
	{
		if (json_is_true(json_object_get(socket, "websocket")))
			continue;
		json_object_set(result, "host", json_object_get(socket, "host"));
		json_object_set(result, "service", json_object_get(socket, "service"));
		json_object_set(result, "family", json_object_get(socket, "family"));
		json_object_set_new(result, "auth", auth_word(socket));
		json_object_set(result, "clients", json_object_get(all, "clients"));
	}
	json_decref(all);
	return result;
}

static json_t *run_servers(struct command_call *call, struct error *err)
{
	json_t *list = json_array();
	struct display_ui *ui;
	unsigned index = 0;

	while ((ui = next_server(call->machine, &index)))
		json_array_append_new(list, describe(ui));
	return list;
}

static void show_end(struct command_call *call, const char *what, const json_t *end)
{
	text_printf(call->text, "  %s: %s:%s (%s%s)\n", what, word(end, "host"), word(end, "service"),
		    word(end, "family"), json_is_true(json_object_get(end, "websocket")) ? " (Websocket)" : "");
}

static void show_auth(struct command_call *call, const char *indent, const json_t *server)
{
	const char *sub = word(server, "vencrypt");

	text_printf(call->text, "%sAuth: %s (Sub: %s)\n", indent, word(server, "auth"), *sub ? sub : "none");
}

static void show_servers(struct command_call *call, const json_t *result)
{
	json_t *server, *end;
	size_t i, j;

	if (!json_array_size(result))
		text_printf(call->text, "None\n");
	json_array_foreach(result, i, server)
	{
		text_printf(call->text, "%s:\n", word(server, "id"));
		json_array_foreach(json_object_get(server, "server"), j, end)
		{
			show_end(call, "Server", end);
			show_auth(call, "    ", end);
		}
		json_array_foreach(json_object_get(server, "clients"), j, end)
		{
			show_end(call, "Client", end);
			text_printf(call->text, "    x509_dname: %s\n    sasl_username: none\n",
				    *word(end, "x509_dname") ? word(end, "x509_dname") : "none");
		}
		if (!json_array_size(json_object_get(server, "server")))
			show_auth(call, "  ", server);
		if (*word(server, "display"))
			text_printf(call->text, "  Display: %s\n", word(server, "display"));
	}
}

/* --- passwords --- */

/* The protocols that qemu knows; only VNC is there. */
static bool is_vnc(struct command_call *call, struct error *err)
{
	const char *protocol = argument_string(call, "protocol");

	if (!strcmp(protocol, "vnc"))
		return true;
	if (!strcmp(protocol, "spice"))
		error_set(err, ENXIO, "SPICE is not in use");
	else
		error_set(err, EINVAL,
			  call->text ? "invalid parameter value: %.50s"
				     : "Parameter 'protocol' does not accept value '%.50s'",
			  protocol);
	return false;
}

/* "keep" is all that a VNC server can do with those who are there. */
static bool may_keep(struct command_call *call, struct error *err)
{
	const char *connected = argument_string(call, "connected");

	if (!connected || !strcmp(connected, "keep"))
		return true;
	if (!strcmp(connected, "fail") || !strcmp(connected, "disconnect"))
		error_set(err, EINVAL, "Invalid parameter 'connected'");
	else
		error_set(err, EINVAL,
			  call->text ? "invalid parameter value: %.50s"
				     : "Parameter 'connected' does not accept value '%.50s'",
			  connected);
	return false;
}

json_t *monitor_set_vnc_password(struct command_call *call, const char *display, const char *password,
				 struct error *err)
{
	struct display_ui *ui = find_server(call->machine, display);
	struct error reason = {0};

	if (ui && ui->driver->server->set_password(ui, password, &reason) == 0)
		return json_object();
	if (ui && call->text)
		text_printf(call->text, "%s\n", reason.msg);
	error_set(err, EINVAL, "Could not set password");
	return NULL;
}

static json_t *run_set_password(struct command_call *call, struct error *err)
{
	if (!is_vnc(call, err) || !may_keep(call, err))
		return NULL;
	return monitor_set_vnc_password(call, argument_string(call, "display"), argument_string(call, "password"), err);
}

static json_t *run_change_password(struct command_call *call, struct error *err)
{
	return monitor_set_vnc_password(call, NULL, argument_string(call, "password"), err);
}

static json_t *run_expire(struct command_call *call, struct error *err)
{
	const char *when = argument_string(call, "time");
	struct display_ui *ui;
	int64_t when_s;

	if (!is_vnc(call, err))
		return NULL;
	ui = find_server(call->machine, argument_string(call, "display"));
	if (!ui) {
		error_set(err, EINVAL, "Could not set password expire time");
		return NULL;
	}
	if (!strcmp(when, "now"))
		when_s = 0;
	else if (!strcmp(when, "never"))
		when_s = INT64_MAX;
	else
		when_s = (when[0] == '+' ? time(NULL) : 0) + strtoll(when + (when[0] == '+'), NULL, 10);
	ui->driver->server->expire_password(ui, when_s);
	return json_object();
}

/* --- listening elsewhere --- */

/* One address of QAPI's SocketAddress as -vnc has it. */
static char *address_text(const json_t *address, struct error *err)
{
	const char *type = word(address, "type");
	long port;

	if (!strcmp(type, "unix"))
		return xasprintf("unix:%s", word(address, "path"));
	port = strtol(word(address, "port"), NULL, 10);
	if (!strcmp(type, "inet") && port >= 5900 && port <= 65535)
		return xasprintf("%s:%ld", word(address, "host"), port - 5900);
	error_set(err, EINVAL, "Parameter 'addresses': one of type inet with a port from 5900, or of type unix");
	return NULL;
}

/* Has the server listen at all of them, or nowhere: an empty list. */
static int listen_at(struct display_ui *ui, const json_t *addresses, struct error *err)
{
	size_t count = json_array_size(addresses), known = 0;
	char **texts = xcalloc(count + 1, sizeof(*texts));
	int rc = 0;

	while (known < count && (texts[known] = address_text(json_array_get(addresses, known), err)))
		known++;
	rc = known == count ? ui->driver->server->change(ui, texts, count, err) : -EINVAL;
	while (known)
		free(texts[--known]);
	free(texts);
	return rc;
}

static json_t *run_update(struct command_call *call, struct error *err)
{
	json_t *addresses = json_object_get(call->arguments, "addresses");
	struct display_ui *ui = find_server(call->machine, NULL);

	if (strcmp(argument_string(call, "type"), "vnc")) {
		error_set(err, EINVAL, "Parameter 'type' does not accept value '%.50s'", argument_string(call, "type"));
		return NULL;
	}
	if (!ui) {
		error_set(err, EINVAL, "there is no VNC server");
		return NULL;
	}
	if (!addresses)
		return json_object();
	return listen_at(ui, addresses, err) < 0 ? NULL : json_object();
}

static json_t *run_reload(struct command_call *call, struct error *err)
{
	struct display_ui *ui = find_server(call->machine, NULL);

	if (strcmp(argument_string(call, "type"), "vnc")) {
		error_set(err, EINVAL, "Parameter 'type' does not accept value '%.50s'", argument_string(call, "type"));
		return NULL;
	}
	if (!json_is_true(json_object_get(call->arguments, "tls-certs")))
		return json_object();
	if (!ui) {
		error_set(err, EINVAL, "Can not find vnc display");
		return NULL;
	}
	return ui->driver->server->reload_tls(ui, err) < 0 ? NULL : json_object();
}

#define ARGUMENTS(...) ((const struct command_argument[]){__VA_ARGS__, {0}})

const struct command commands_vnc[] = {
	{"query-vnc", NULL, "", "the first VNC server and its clients", NULL, run_query},
	{"query-vnc-servers", "info vnc", "", "show the vnc server status", NULL, run_servers, show_servers},
	{"set_password", NULL, "", "set the password of a VNC server",
	 ARGUMENTS({"protocol", ARGUMENT_STRING}, {"password", ARGUMENT_STRING}, {"connected", ARGUMENT_STRING, true},
		   {"display", ARGUMENT_STRING, true}),
	 run_set_password},
	{NULL, "set_password", "protocol password [-d display] [action-if-connected]", "set spice/vnc password",
	 ARGUMENTS({"protocol", ARGUMENT_STRING}, {"password", ARGUMENT_STRING}, {"display", ARGUMENT_OPTION, true},
		   {"connected", ARGUMENT_STRING, true}),
	 run_set_password},
	{"expire_password", NULL, "", "until when the password of a VNC server is good",
	 ARGUMENTS({"protocol", ARGUMENT_STRING}, {"time", ARGUMENT_STRING}, {"display", ARGUMENT_STRING, true}),
	 run_expire},
	{NULL, "expire_password", "protocol time [-d display]", "set spice/vnc password expire-time",
	 ARGUMENTS({"protocol", ARGUMENT_STRING}, {"time", ARGUMENT_STRING}, {"display", ARGUMENT_OPTION, true}),
	 run_expire},
	{"change-vnc-password", NULL, "", "set the password of the first VNC server",
	 ARGUMENTS({"password", ARGUMENT_STRING}), run_change_password},
	{"display-update", NULL, "", "have the VNC server listen elsewhere",
	 ARGUMENTS({"type", ARGUMENT_STRING}, {"addresses", ARGUMENT_LIST, true}), run_update},
	{"display-reload", NULL, "", "read the certificates of the VNC server again",
	 ARGUMENTS({"type", ARGUMENT_STRING}, {"tls-certs", ARGUMENT_BOOL, true}), run_reload},
	{0},
};
