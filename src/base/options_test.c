/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of key=value lists and word conversions: qemu's grammar, its corners, and what must be refused. */
#include "base/options.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_list(const char *text, const char *implied, const char *const *pairs)
{
	struct options options;
	struct error err = {0};
	size_t n = 0;

	assert_int_equal(options_parse(&options, text, implied, &err), 0);
	for (; pairs[2 * n]; n++) {
		assert_true(n < options.count);
		assert_string_equal(options.items[n].key, pairs[2 * n]);
		assert_string_equal(options.items[n].value, pairs[2 * n + 1]);
	}
	assert_int_equal(options.count, n);
	options_free(&options);
}

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_grammar(void **state)
{
	check_list("virtio-net-pci,netdev=n0", "driver", PAIRS("driver", "virtio-net-pci", "netdev", "n0"));
	check_list("driver=e1000,mac=1:2", "driver", PAIRS("driver", "e1000", "mac", "1:2"));
	check_list("file=a,,b.img,if=none", NULL, PAIRS("file", "a,b.img", "if", "none"));
	check_list("file=a,,", NULL, PAIRS("file", "a,"));
	check_list("a,,b,c=d", "first", PAIRS("first", "a,b", "c", "d"));
	check_list("server,nowait", NULL, PAIRS("server", "on", "nowait", "on"));
	check_list("unix:/a=b", "path", PAIRS("unix:/a", "b"));
	check_list("k=,l=", NULL, PAIRS("k", "", "l", ""));
	check_list("k=a=b", NULL, PAIRS("k", "a=b"));
	check_list("k=v,", NULL, PAIRS("k", "v"));
	check_list("h=1,h=2", NULL, PAIRS("h", "1", "h", "2"));
	check_list("", "first", (const char *const[]){NULL});
}

static void test_grammar_refused(void **state)
{
	const char *const bad[] = {"=v", "a=b,=c", ",a=b", "a=b,x,,y"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct options options;
		struct error err = {0};

		assert_int_equal(options_parse(&options, bad[i], NULL, &err), -EINVAL);
		assert_int_equal(options.count, 0);
		assert_non_null(strstr(err.msg, bad[i]));
	}
}

static void test_get(void **state)
{
	struct options options, copy;
	struct error err = {0};
	bool flag = false;
	uint64_t number = 7;

	assert_int_equal(options_parse(&options, "a=1,b=on,a=2,n=70000,size=4K", NULL, &err), 0);
	options_copy(&copy, &options);
	assert_null(options_get(&options, "absent"));
	assert_string_equal(options_get(&options, "a"), "2");
	assert_true(options.items[0].used && options.items[2].used && !options.items[1].used);
	assert_int_equal(options_bool(&options, "b", &flag, &err), 0);
	assert_true(flag);
	assert_int_equal(options_u64(&options, "absent", &number, 10, &err), 0);
	assert_int_equal(number, 7);
	assert_int_equal(options_u64(&options, "n", &number, 65535, &err), -ERANGE);
	assert_string_equal(err.msg, "n=70000: the largest number accepted is 65535");
	assert_int_equal(number, 7);
	assert_int_equal(options_size(&options, "size", &number, 1, &err), 0);
	assert_int_equal(number, 4096);
	assert_int_equal(options_bool(&options, "a", &flag, &err), -EINVAL);
	assert_string_equal(err.msg, "a=2: expected on or off");
	assert_int_equal(options_check_used(&options, "x", NULL, &err), 0);
	assert_false(copy.items[0].used);
	options_free(&options);
	options_free(&copy);
	assert_int_equal(options.count, 0);
}

static void test_check_used(void **state)
{
	const char *const known[] = {"file", "format", "media", NULL};
	struct options options;
	struct error err = {0};

	assert_int_equal(options_parse(&options, "file=a,fromat=raw", NULL, &err), 0);
	options_get(&options, "file");
	assert_int_equal(options_check_used(&options, "-drive", known, &err), -EINVAL);
	assert_string_equal(err.msg, "'fromat' is not an option of -drive; did you mean 'format'?");
	options_get(&options, "fromat");
	assert_int_equal(options_check_used(&options, "-drive", known, &err), 0);
	options_add(&options, "unlike", "x");
	assert_int_equal(options_check_used(&options, "-drive", known, &err), -EINVAL);
	assert_string_equal(err.msg, "'unlike' is not an option of -drive");
	options_free(&options);
}

static void test_numbers(void **state)
{
	const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x", "x", "1k", "1.5", "18446744073709551616"};
	struct error err = {0};
	uint64_t value = 0;

	assert_int_equal(parse_u64("0", 0, &value, &err), 0);
	assert_int_equal(parse_u64("18446744073709551615", UINT64_MAX, &value, &err), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(parse_u64("0x1F", UINT64_MAX, &value, &err), 0);
	assert_int_equal(value, 31);
	assert_int_equal(parse_u64("010", UINT64_MAX, &value, &err), 0);
	assert_int_equal(value, 10);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(parse_u64(bad[i], UINT64_MAX, &value, &err) < 0);
	assert_int_equal(value, 10);
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t unit, bytes;
	} good[] = {
		{"128", MIB, 128 * MIB}, {"128M", 1, 128 * MIB},  {"2G", MIB, 2 * GIB},
		{"2g", MIB, 2 * GIB},    {"1.5G", 1, 1536 * MIB}, {"512B", MIB, 512},
		{"0x10", 1, 16},         {"0x10M", 1, 16 * MIB},  {"0.5", MIB, 512 * KIB},
		{"1T", 1, TIB},          {"0", MIB, 0},           {"15E", 1, 15 * 1024 * 1024 * TIB},
	};
	const char *const bad[] = {"",   "M", "-1M", "1MM", "1.M", "1X", "0x", "1 M", "16E", "99999999999999999999",
				   ".5G"};
	struct error err = {0};
	uint64_t bytes;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_size(good[i].text, good[i].unit, &bytes, &err), 0);
		assert_true(bytes == good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(parse_size(bad[i], MIB, &bytes, &err) < 0);
}

static void test_nearest(void **state)
{
	const char *const known[] = {"virtio", "ide", "none", "nographic", "m", "smp", NULL};
	char longest[4096];

	assert_string_equal(nearest_word("virtioo", known), "virtio");
	assert_string_equal(nearest_word("vritio", known), "virtio");
	assert_string_equal(nearest_word("noen", known), "none");
	assert_string_equal(nearest_word("no-graphic", known), "nographic");
	assert_string_equal(nearest_word("smpp", known), "smp");
	assert_null(nearest_word("x", known));
	assert_null(nearest_word("", known));
	assert_null(nearest_word("completely-else", known));
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	assert_null(nearest_word(longest, known));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grammar),    cmocka_unit_test(test_grammar_refused), cmocka_unit_test(test_get),
		cmocka_unit_test(test_check_used), cmocka_unit_test(test_numbers),         cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
