/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/uri.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void parts(void **state)
{
	struct uri uri;
	char *value;

	assert_int_equal(uri_parse(&uri, "NBD+Unix:///a%20b?socket=/tmp/x%26y&tls-hostname=h", NULL), 0);
	assert_string_equal(uri.scheme, "nbd+unix");
	assert_null(uri.user);
	assert_string_equal(uri.host, "");
	assert_int_equal(uri.port, 0);
	assert_string_equal(uri.path, "/a b");
	value = uri_query(&uri, "socket");
	assert_string_equal(value, "/tmp/x&y");
	free(value);
	value = uri_query(&uri, "tls-hostname");
	assert_string_equal(value, "h");
	free(value);
	assert_null(uri_query(&uri, "sock"));
	assert_null(uri_query(&uri, "tls-hostnam"));
	uri_free(&uri);

	assert_int_equal(uri_parse(&uri, "iscsi://me%40home@[::1]:3260/iqn.x:y/0", NULL), 0);
	assert_string_equal(uri.user, "me@home");
	assert_string_equal(uri.host, "::1");
	assert_int_equal(uri.port, 3260);
	assert_string_equal(uri.path, "/iqn.x:y/0");
	assert_null(uri.query);
	uri_free(&uri);

	assert_int_equal(uri_parse(&uri, "nbd://h", NULL), 0);
	assert_string_equal(uri.path, "");
	uri_free(&uri);
}

static void refusals(void **state)
{
	static const char *const wrong[] = {
		"",
		"nbd",
		"nbd:h",
		"://h",
		"1a://h",
		"nbd://h:0/",
		"nbd://h:65536/",
		"nbd://h:x",
		"nbd://[::1",
		"nbd://[::1]x/",
		"nbd://h/%",
		"nbd://h/%1",
		"nbd://h/%g0",
		"nbd://h/%00",
		"nbd://h/ ",
		"nbd://h/\n",
		"nbd://%00/",
		"nbd://h/#x",
		"nbd://u%0@h/",
		"nbd://h/\x7f",
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct error err = {0};
		struct uri uri;

		if (uri_parse(&uri, wrong[i], &err) != -EINVAL)
			fail_msg("'%s' was taken", wrong[i]);
		assert_null(uri.scheme);
		assert_int_equal(err.code, EINVAL);
	}
}

static void broken_values(void **state)
{
	struct uri uri;

	assert_int_equal(uri_parse(&uri, "a://h?x=%&y=%0&z=&&w=1", NULL), 0);
	assert_null(uri_query(&uri, "x"));
	assert_null(uri_query(&uri, "y"));
	for (const char *key = "zw"; *key; key++) {
		const char name[2] = {*key, 0};
		char *value = uri_query(&uri, name);

		assert_string_equal(value, *key == 'z' ? "" : "1");
		free(value);
	}
	uri_free(&uri);
}

static void escapes(void **state)
{
	char *text = uri_escape("a b/\xc3\xa4%?#");
	struct uri uri;
	char *whole = xasprintf("x://h/%s", text);

	assert_string_equal(text, "a%20b/%C3%A4%25%3F%23");
	assert_int_equal(uri_parse(&uri, whole, NULL), 0);
	assert_string_equal(uri.path, "/a b/\xc3\xa4%?#");
	uri_free(&uri);
	free(whole);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts),
		cmocka_unit_test(refusals),
		cmocka_unit_test(broken_values),
		cmocka_unit_test(escapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
