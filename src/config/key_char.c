/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character back ends and what stands on them: -chardev, -serial, -monitor, -qmp, -mon, -debugcon. The old spellings
 * ("tcp:host:port,server=on") become the -chardev they mean (qemu's manual, "-serial dev").
 */
#include "base/util.h"
#include "config/parse.h"

#include <stdio.h>
#include <stdlib.h>

/* "nowait" and "noserver" are how wait=off and server=off were written. */
static void undo_no_flags(struct options *options)
{
	static const struct {
		const char *flag, *key;
	} flags[] = {{"nowait", "wait"}, {"noserver", "server"}};

	for (size_t i = 0; i < options->count; i++)
		for (size_t j = 0; j < ARRAY_SIZE(flags); j++)
			if (strcmp(options->items[i].key, flags[j].flag) == 0) {
				set_string(&options->items[i].key, flags[j].key);
				set_string(&options->items[i].value, "off");
			}
}

int list_chardev(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	char *type = pull(options, "backend"), *id = pull(options, "id");
	int ret;

	undo_no_flags(options);
	if (type && is_help(type))
		ret = ask(parse, ASK_CHARDEVS, NULL);
	else if (!type)
		ret = error_set(err, EINVAL, "which back end? (-chardev help lists them)");
	else if (!id)
		ret = error_set(err, EINVAL, "id= is missing");
	else
		ret = add_item(&parse->config->chardevs, "chardev", type, id, options, err);
	free(type);
	free(id);
	return ret;
}

/* "host:port,options" or "[::1]:port,options" behind "tcp:"; the host may be empty. */
static int parse_tcp(const char *text, struct options *options, struct error *err)
{
	bool bracket = text[0] == '[';
	size_t host_length = bracket ? strcspn(text, "]") : strcspn(text, ":,");
	const char *host = text + bracket, *port = text + host_length + bracket;
	size_t port_length;
	char *word;
	int ret;

	if ((bracket && text[host_length] != ']') || *port != ':')
		return error_set(err, EINVAL, "expected host:port");
	port_length = strcspn(++port, ",");
	ret = options_parse(options, port[port_length] ? port + port_length + 1 : "", NULL, err);
	if (ret < 0)
		return ret;
	word = strndup(host, host_length - bracket);
	options_add(options, "host", word);
	free(word);
	word = strndup(port, port_length);
	options_add(options, "port", word);
	free(word);
	return 0;
}

static const char *after(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

/* "80Cx24C" in characters, "640x384" in pixels. */
static int parse_vc(const char *text, struct options *options, struct error *err)
{
	char columns[8], rows[8];
	int length = 0;

	if (sscanf(text, "%7[0-9]Cx%7[0-9]C%n", columns, rows, &length) == 2 && length && !text[length]) {
		options_add(options, "cols", columns);
		options_add(options, "rows", rows);
	} else if (sscanf(text, "%7[0-9]x%7[0-9]%n", columns, rows, &length) == 2 && length && !text[length]) {
		options_add(options, "width", columns);
		options_add(options, "height", rows);
	} else {
		return error_set(err, EINVAL, "vc:%.50s: expected a size such as vc:80Cx24C or vc:640x384", text);
	}
	return 0;
}

/* Everything but "mon:" and "chardev:". */
static int parse_legacy(const char *text, const char **type, struct options *options, struct error *err)
{
	static const char *const bare[] = {"stdio", "null", "pty", "vc", "none", "msmouse", "braille", "testdev", NULL};
	static const char *const prefixes[] = {"file:", "pipe:",    "unix:", "tcp:", "telnet:", "websocket:", "udp:",
					       "mon:",  "chardev:", "stdio", "null", "pty",     "vc",        NULL};
	const char *rest, *near;

	*options = (struct options){0};
	if (strcmp(text, "stdio") == 0 || strcmp(text, "null") == 0 || strcmp(text, "pty") == 0) {
		*type = text;
		return 0;
	}
	if (strcmp(text, "vc") == 0 || after(text, "vc:")) {
		*type = "vc";
		return text[2] ? parse_vc(text + 3, options, err) : 0;
	}
	for (int i = 4; bare[i]; i++)
		if (strncmp(text, bare[i], strlen(bare[i])) == 0 && strcmp(bare[i], "none") != 0)
			return not_yet(err, bare[i]);
	if ((rest = after(text, "file:")) || (rest = after(text, "pipe:"))) {
		*type = text[0] == 'f' ? "file" : "pipe";
		options_add(options, "path", rest);
		return *rest ? 0 : error_set(err, EINVAL, "a path is missing");
	}
	*type = "socket";
	if ((rest = after(text, "unix:")))
		return options_parse(options, rest, "path", err);
	if ((rest = after(text, "tcp:")))
		return parse_tcp(rest, options, err);
	if ((rest = after(text, "telnet:")) || (rest = after(text, "websocket:"))) {
		int ret = parse_tcp(rest, options, err);

		if (ret == 0)
			options_add(options, text[0] == 't' ? "telnet" : "websocket", "on");
		return ret;
	}
	if (after(text, "/dev/") && !after(text, "/dev/parport")) {
		*type = "serial";
		options_add(options, "path", text);
		return 0;
	}
	if (after(text, "udp:") || after(text, "tn3270:") || after(text, "/dev/"))
		return error_set(err, ENOTSUP, "this kind of character device is not supported yet; stdio, pty, vc, file:PATH, pipe:PATH, "
				 "unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, /dev/ttyS0 are");
	near = nearest_word(text, prefixes);
	if (near)
		return error_set(err, EINVAL, "unknown character device '%.100s'; did you mean '%s'?", text, near);
	return error_set(err, EINVAL,
			 "unknown character device '%.100s' (known: stdio, mon:stdio, null, pty, vc, file:PATH, "
			 "pipe:PATH, unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, /dev/ttyS0, chardev:ID)",
			 text);
}

int chardev_legacy(struct config_parse *parse, const char *text, const char *label, char **id, struct error *err)
{
	const char *reference = after(text, "chardev:"), *inner = after(text, "mon:"), *type = NULL;
	struct options options = {0};
	int ret;

	*id = NULL;
	if (strcmp(text, "none") == 0)
		return 0;
	if (reference) {
		if (check_id(reference, err) < 0)
			return -EINVAL;
		*id = xstrdup(reference);
		return 0;
	}
	ret = parse_legacy(inner ? inner : text, &type, &options, err);
	if (ret == 0) {
		undo_no_flags(&options);
		if (inner) {
			options_add(&options, "mux", "on");
			/* Ctrl-C is a character for the guest then, not the end of the machine. */
			if (strcmp(type, "stdio") == 0)
				options_add(&options, "signal", "off");
		}
		ret = add_item(&parse->config->chardevs, "chardev", type, label, &options, err);
	}
	if (ret == 0) {
		parse->config->chardevs.items[parse->config->chardevs.count - 1].typed = typed_now(parse);
		*id = xstrdup(label);
		if (inner)
			add_monitor(parse->config, label, false, false);
	}
	options_free(&options);
	return ret;
}

void add_monitor(struct domain_config *config, const char *chardev, bool qmp, bool pretty)
{
	config->monitors = xrealloc(config->monitors, (config->monitor_count + 1) * sizeof(*config->monitors));
	config->monitors[config->monitor_count++] =
		(struct monitor_config){.chardev = xstrdup(chardev), .qmp = qmp, .pretty = pretty};
}

static void add_isa_device(struct config_parse *parse, const char *type, int index, const char *chardev)
{
	struct options options = {0};
	char number[16];

	if (index >= 0) {
		snprintf(number, sizeof(number), "%d", index);
		options_add(&options, "index", number);
	}
	options_add(&options, "chardev", chardev);
	config_list_add(&parse->config->devices, type, NULL, &options)->typed = typed_now(parse);
}

int add_serial(struct config_parse *parse, const char *text, struct error *err)
{
	char label[16], *id;
	int ret;

	parse->has_serial = true;
	if (strcmp(text, "none") == 0)
		return 0;
	if (parse->serial_count == SERIAL_PORTS)
		return error_set(err, EINVAL, "there are %d serial ports", SERIAL_PORTS);
	snprintf(label, sizeof(label), "serial%u", parse->serial_count);
	ret = chardev_legacy(parse, text, label, &id, err);
	if (ret == 0)
		add_isa_device(parse, "isa-serial", (int)parse->serial_count++, id);
	free(id);
	return ret;
}

int word_serial(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return add_serial(parse, value, err);
}

int word_debugcon(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	char *id = NULL;
	int ret;

	if (parse->debugcon_count++)
		return error_set(err, EINVAL, "there is one debug console");
	ret = chardev_legacy(parse, value, "debugcon", &id, err);
	if (ret == 0 && id)
		add_isa_device(parse, "isa-debugcon", -1, id);
	free(id);
	return ret;
}

static int monitor_from(struct config_parse *parse, const char *value, bool qmp, bool pretty, struct error *err)
{
	char label[32], *id = NULL;
	int ret;

	parse->has_monitor = true;
	snprintf(label, sizeof(label), "compat_monitor%u", parse->monitor_count);
	ret = chardev_legacy(parse, value, label, &id, err);
	/* "mon:" brought its monitor along. */
	if (ret == 0 && id && strncmp(value, "mon:", 4) != 0)
		add_monitor(parse->config, id, qmp, pretty);
	if (ret == 0 && id)
		parse->monitor_count++;
	free(id);
	return ret;
}

int word_monitor(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return monitor_from(parse, value, false, false, err);
}

int word_qmp(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return monitor_from(parse, value, true, false, err);
}

int word_qmp_pretty(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return monitor_from(parse, value, true, true, err);
}

int list_mon(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	static const char *const known[] = {"chardev", "mode", "pretty", "id", NULL};
	static const char *const modes[] = {"readline", "control", NULL};
	const char *chardev = options_get(options, "chardev"), *mode = options_get(options, "mode");
	bool pretty = false;
	int which = 0;

	options_get(options, "id");
	if (!chardev)
		return error_set(err, EINVAL, "chardev= is missing");
	if (take_bool(options, "pretty", &pretty, err) < 0)
		return -EINVAL;
	if (mode)
		which = choose(mode, modes, "monitor mode", err);
	if (which < 0 || options_check_used(options, "-mon", known, err) < 0)
		return -EINVAL;
	if (pretty && which == 0)
		return error_set(err, EINVAL, "pretty=on is for mode=control");
	parse->has_monitor = true;
	add_monitor(parse->config, chardev, which == 1, pretty);
	return 0;
}

int word_parallel(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	return strcmp(value, "none") == 0 ? 0 : error_set(err, ENOTSUP, "not supported yet");
}
