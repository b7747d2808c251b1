/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RFC 3986; left out: relative references, "." and ".." segments, normal forms. Fragments are refused. */
#include "base/uri.h"

#include "base/util.h"

#include <stdlib.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* NULL when an escape is broken or stands for NUL. */
static char *decode(const char *from, size_t length)
{
	char *text = xcalloc(length + 1, 1), *to = text;

	for (size_t i = 0; i < length; i++) {
		int high, low;

		if (from[i] != '%') {
			*to++ = from[i];
			continue;
		}
		high = length - i > 2 ? hex_digit(from[i + 1]) : -1;
		low = length - i > 2 ? hex_digit(from[i + 2]) : -1;
		if (high < 0 || low < 0 || (high | low) == 0) {
			free(text);
			return NULL;
		}
		*to++ = (char)(high << 4 | low);
		i += 2;
	}
	return text;
}

static bool is_letter(char c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* Length of the scheme at the beginning of text, 0 when there is none with "://" behind it. */
static size_t scheme_length(const char *text)
{
	size_t length = 0;

	if (!is_letter(text[0]))
		return 0;
	while (is_letter(text[length]) || (text[length] >= '0' && text[length] <= '9') ||
	       (text[length] && strchr("+-.", text[length])))
		length++;
	return strncmp(text + length, "://", 3) ? 0 : length;
}

static int parse_port(struct uri *uri, const char *digits, size_t length)
{
	unsigned port = 0;

	if (length > 5)
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return -EINVAL;
		port = port * 10 + (unsigned)(digits[i] - '0');
	}
	uri->port = port;
	return port > 65535 || (length && !port) ? -EINVAL : 0;
}

/* USER@HOST:PORT */
static int parse_authority(struct uri *uri, const char *text, size_t length)
{
	const char *end = text + length, *at = memrchr(text, '@', length), *host = at ? at + 1 : text, *host_end,
		   *bracket;

	if (at && !(uri->user = decode(text, (size_t)(at - text))))
		return -EINVAL;
	if (host < end && *host == '[') {
		bracket = memchr(host, ']', (size_t)(end - host));
		if (!bracket || (bracket + 1 < end && bracket[1] != ':'))
			return -EINVAL;
		host++;
		host_end = bracket;
		bracket++;
	} else {
		bracket = memchr(host, ':', (size_t)(end - host));
		host_end = bracket = bracket ? bracket : end;
	}
	uri->host = decode(host, (size_t)(host_end - host));
	if (!uri->host)
		return -EINVAL;
	return bracket < end ? parse_port(uri, bracket + 1, (size_t)(end - bracket - 1)) : 0;
}

static int parse(struct uri *uri, const char *text)
{
	size_t length = scheme_length(text);

	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr("\"<>\\^`{|}#", *p))
			return -EINVAL;
	if (!length)
		return -EINVAL;
	uri->scheme = xcalloc(length + 1, 1);
	for (size_t i = 0; i < length; i++)
		uri->scheme[i] = is_letter(text[i]) ? text[i] | 0x20 : text[i];
	text += length + 3;
	length = strcspn(text, "/?");
	if (parse_authority(uri, text, length))
		return -EINVAL;
	text += length;
	length = strcspn(text, "?");
	uri->path = decode(text, length);
	if (!uri->path)
		return -EINVAL;
	if (text[length])
		uri->query = xstrdup(text + length + 1);
	return 0;
}

int uri_parse(struct uri *uri, const char *text, struct error *err)
{
	*uri = (struct uri){0};
	if (parse(uri, text) == 0)
		return 0;
	uri_free(uri);
	return error_set(err, EINVAL,
			 "'%s' is not a well-formed URI (SCHEME://HOST[:PORT]/PATH, %%XX for special bytes)", text);
}

void uri_free(struct uri *uri)
{
	free(uri->scheme);
	free(uri->user);
	free(uri->host);
	free(uri->path);
	free(uri->query);
	*uri = (struct uri){0};
}

char *uri_query(const struct uri *uri, const char *key)
{
	const size_t key_length = strlen(key);
	const char *at = uri->query;

	while (at && *at) {
		size_t length = strcspn(at, "&;");

		if (length > key_length && at[key_length] == '=' && !strncmp(at, key, key_length))
			return decode(at + key_length + 1, length - key_length - 1);
		at += length + (at[length] != 0);
	}
	return NULL;
}

char *uri_escape(const char *text)
{
	static const char digits[] = "0123456789ABCDEF", plain[] = "-._~/:@!$'()*,";
	char *out = xcalloc(strlen(text) + 1, 3), *to = out;

	for (; *text; text++) {
		if (is_letter(*text) || (*text >= '0' && *text <= '9') || strchr(plain, *text)) {
			*to++ = *text;
		} else {
			*to++ = '%';
			*to++ = digits[(unsigned char)*text >> 4];
			*to++ = digits[*text & 15];
		}
	}
	return out;
}
