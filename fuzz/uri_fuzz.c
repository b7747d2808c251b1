/* SPDX-License-Identifier: GPL-2.0-or-later */
/* URIs: what is taken keeps its path through escaping and parsing again. */
#include "base/uri.h"
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), *path, *again_text;
	struct error err = {0};
	struct uri uri, again;

	if (uri_parse(&uri, text, &err) < 0) {
		if (!err.code || !err.msg[0] || uri.scheme || uri.host || uri.path)
			abort();
		free(text);
		return 0;
	}
	free(uri_query(&uri, "socket"));
	free(uri_query(&uri, ""));
	path = uri_escape(uri.path);
	if (asprintf(&again_text, "x://h%s", path) < 0)
		abort();
	if (uri_parse(&again, again_text, NULL) < 0 || strcmp(again.path, uri.path))
		abort();
	uri_free(&again);
	uri_free(&uri);
	free(path);
	free(again_text);
	free(text);
	return 0;
}
