/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -serial and -monitor spellings from before -chardev, turned into a driver name and its options. */
#include "backend/char/chardev.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const plain_types[] = {"null", "pty", "stdio", "none", "ringbuf", "memory", NULL};
static const char *const spellings[] = {"stdio", "null", "none",   "pty", "vc",      "file",    "pipe", "unix",
					"tcp",   "udp",  "telnet", "mon", "chardev", "ringbuf", NULL};

static const char *after(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) ? NULL : text + length;
}

static void set_type(char **type, const char *name)
{
	*type = xstrdup(name);
}

/* "800x600" or "80Cx24C" */
static int parse_vc(const char *text, struct options *options, struct error *err)
{
	unsigned width, height;
	char buffer[16];
	char c, x;
	int end = 0;

	if (sscanf(text, "%5u%c%c%5u%c%n", &width, &c, &x, &height, &c, &end) == 5 && x == 'x' && c == 'C' &&
	    !text[end]) {
		snprintf(buffer, sizeof(buffer), "%u", width);
		options_add(options, "cols", buffer);
		snprintf(buffer, sizeof(buffer), "%u", height);
		options_add(options, "rows", buffer);
		return 0;
	}
	if (sscanf(text, "%5u%c%5u%n", &width, &x, &height, &end) == 3 && x == 'x' && !text[end]) {
		snprintf(buffer, sizeof(buffer), "%u", width);
		options_add(options, "width", buffer);
		snprintf(buffer, sizeof(buffer), "%u", height);
		options_add(options, "height", buffer);
		return 0;
	}
	return error_set(err, EINVAL, "vc:%s is not a size; use vc:800x600 or vc:80Cx24C", text);
}

/* Appends what stands behind the first comma. */
static int add_rest(struct options *options, const char *rest, struct error *err)
{
	struct options parsed;
	int result = options_parse(&parsed, rest, NULL, err);

	if (result)
		return result;
	for (size_t i = 0; i < parsed.count; i++)
		options_add(options, parsed.items[i].key, parsed.items[i].value);
	options_free(&parsed);
	return 0;
}

/* "host:port,server=on", ":port", "[::1]:port". */
static int parse_tcp(const char *text, struct options *options, struct error *err)
{
	size_t length = strcspn(text, ",");
	char *address = xstrdup(text);
	char *colon;

	address[length] = 0;
	colon = address[0] == '[' ? strchr(address, ']') : address;
	colon = colon ? strchr(colon, ':') : NULL;
	if (!colon || !colon[1]) {
		free(address);
		return error_set(err, EINVAL, "'%s': an address is HOST:PORT", text);
	}
	*colon = 0;
	options_add(options, "host", address);
	options_add(options, "port", colon + 1);
	free(address);
	return text[length] ? add_rest(options, text + length + 1, err) : 0;
}

static int parse_socket(const char *text, char **type, struct options *options, struct error *err)
{
	const char *rest;

	set_type(type, "socket");
	rest = after(text, "unix:");
	if (rest)
		return options_parse(options, rest, "path", err);
	rest = after(text, "tcp:");
	if (rest)
		return parse_tcp(rest, options, err);
	options_add(options, "telnet", "on");
	return parse_tcp(after(text, "telnet:"), options, err);
}

static int unknown(const char *text, struct error *err)
{
	char word[32];
	const char *near;

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(text, ":,"), text);
	near = nearest_word(word, spellings);
	if (near)
		return error_set(err, EINVAL, "'%s' is not a character device; did you mean '%s'?", text, near);
	return error_set(err, EINVAL,
			 "'%s' is not a character device (stdio, null, none, pty, vc, file:PATH, pipe:PATH, "
			 "unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, mon:..., chardev:ID)",
			 text);
}

static int parse(const char *text, char **type, struct options *options, bool mux, struct error *err)
{
	const char *rest;

	for (size_t i = 0; plain_types[i]; i++) {
		if (strcmp(text, plain_types[i]))
			continue;
		set_type(type, text);
		/* The terminal's monitor is reached with Ctrl-a, so Ctrl-C is the guest's. */
		if (mux && !strcmp(text, "stdio"))
			options_add(options, "signal", "off");
		return 0;
	}
	if (!strcmp(text, "vc") || after(text, "vc:")) {
		set_type(type, "vc");
		return text[2] ? parse_vc(text + 3, options, err) : 0;
	}
	if ((rest = after(text, "chardev:"))) {
		set_type(type, "chardev");
		options_add(options, "id", rest);
		return 0;
	}
	if ((rest = after(text, "file:")) || (rest = after(text, "pipe:"))) {
		set_type(type, text[0] == 'f' ? "file" : "pipe");
		options_add(options, "path", rest);
		return *rest ? 0 : error_set(err, EINVAL, "'%s': the path is missing", text);
	}
	if (after(text, "unix:") || after(text, "tcp:") || after(text, "telnet:"))
		return parse_socket(text, type, options, err);
	if (after(text, "/dev/")) {
		set_type(type, "serial");
		options_add(options, "path", text);
		return 0;
	}
	return unknown(text, err);
}

int chardev_parse_legacy(const char *text, char **type, struct options *options, bool *mux, struct error *err)
{
	const char *rest = after(text, "mon:");
	int result;

	*type = NULL;
	*options = (struct options){0};
	*mux = rest != NULL;
	result = parse(rest ? rest : text, type, options, *mux, err);
	if (result) {
		free(*type);
		*type = NULL;
		options_free(options);
	}
	return result;
}
