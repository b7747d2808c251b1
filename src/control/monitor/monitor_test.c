/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor's parts that need no machine: cutting JSON out of a stream, editing lines, parsing HMP's arguments, the
 * command table and what is made from it. Whole sessions are in tests/monitor/.
 */
#include "control/monitor/monitor_impl.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* What arrived, one line a value: the text, or '!' and the error. */
static void note_value(void *opaque, const char *text, const char *error)
{
	text_printf(opaque, "%s%s\n", error ? "!" : "", error ? error : text);
}

static void check_stream(const char *input, const char *expected)
{
	size_t length = strlen(input);

	/* Whole, and byte by byte. */
	for (int bytewise = 0; bytewise < 2; bytewise++) {
		struct text text = {0};
		struct jsonstream stream = {.value = note_value, .opaque = &text};

		for (size_t i = 0; bytewise && i < length; i++)
			jsonstream_feed(&stream, (const uint8_t *)input + i, 1);
		if (!bytewise)
			jsonstream_feed(&stream, (const uint8_t *)input, length);
		assert_string_equal(text.data ? text.data : "", expected);
		jsonstream_reset(&stream);
		text_free(&text);
	}
}

static void test_stream(void **state)
{
	check_stream("", "");
	check_stream("{}", "{}\n");
	check_stream(" {\"a\":{\"b\":[1,{}]}} \r\n[2]", "{\"a\":{\"b\":[1,{}]}}\n[2]\n");
	check_stream("{\"a\":\"}\"}{\"b\":\"\\\"}\"}", "{\"a\":\"}\"}\n{\"b\":\"\\\"}\"}\n");
	check_stream("{'a':'it\\'s \"q\"'}", "{\"a\":\"it's \\\"q\\\"\"}\n");
	check_stream("{\"unfinished\":", "");
	check_stream("nonsense\n{}", "!JSON parse error, expecting value\n{}\n");
	check_stream("]\n]\n", "!JSON parse error, expecting value\n!JSON parse error, expecting value\n");
	check_stream("{\"a\":\xff}\n{}", "!JSON parse error, stray byte\n{}\n");
}

static void test_stream_bounds(void **state)
{
	struct text text = {0};
	struct jsonstream stream = {.value = note_value, .opaque = &text};
	char *big = malloc(JSONSTREAM_MAX_BYTES + 2);

	assert_non_null(big);
	memset(big, '[', JSONSTREAM_MAX_DEPTH + 1);
	jsonstream_feed(&stream, (uint8_t *)big, JSONSTREAM_MAX_DEPTH + 1);
	assert_string_equal(text.data, "!JSON parse error, too deeply nested\n");
	jsonstream_reset(&stream);
	memset(big, 'x', JSONSTREAM_MAX_BYTES + 2);
	big[0] = '{';
	jsonstream_feed(&stream, (uint8_t *)big, JSONSTREAM_MAX_BYTES + 2);
	assert_non_null(strstr(text.data, "!JSON token size limit exceeded\n"));
	jsonstream_reset(&stream);
	text_free(&text);
	free(big);
}

struct editor {
	struct readline readline;
	struct text screen, lines;
};

static void editor_print(void *opaque, const char *data, size_t length)
{
	text_append(&((struct editor *)opaque)->screen, data, length);
}

static void editor_line(void *opaque, const char *line)
{
	text_printf(&((struct editor *)opaque)->lines, "%s\n", line);
}

static void editor_complete(void *opaque, const char *before, void (*each)(void *each_opaque, const char *word),
			    void *each_opaque)
{
	static const char *const words[] = {"stop", "system_reset", "system_powerdown", "quit"};
	const char *blank = strrchr(before, ' '), *word = blank ? blank + 1 : before;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strncmp(words[i], word, strlen(word)) == 0)
			each(each_opaque, words[i]);
}

static void check_edit(const char *keys, const char *expected)
{
	struct editor editor = {0};

	editor.readline = (struct readline){.prompt = "> ",
					    .print = editor_print,
					    .line = editor_line,
					    .complete = editor_complete,
					    .opaque = &editor};
	readline_feed(&editor.readline, (const uint8_t *)keys, strlen(keys));
	assert_string_equal(editor.lines.data ? editor.lines.data : "", expected);
	readline_free(&editor.readline);
	text_free(&editor.screen);
	text_free(&editor.lines);
}

#define UP   "\033[A"
#define DOWN "\033[B"
#define LEFT "\033[D"

static void test_editing(void **state)
{
	check_edit("abc\r", "abc\n");
	check_edit("abc\r\ndef\n", "abc\ndef\n");
	check_edit("\r\r", "\n\n");
	check_edit("abc" LEFT LEFT "X\r", "aXbc\n");
	check_edit("abc\b\177d\r", "ad\n");
	check_edit("abc\001X\005Y\r", "XabcY\n");
	check_edit("abc\002\002\004\r", "ac\n");
	check_edit("abc\002\013\r", "ab\n");
	check_edit("abc\002\025\r", "c\n");
	check_edit("one two  \027x\r", "one x\n");
	check_edit("one\rtwo\r" UP UP "!\r", "one\ntwo\none!\n");
	check_edit("one\rtw" UP DOWN "o\r", "one\ntwo\n");
	check_edit("one\r" UP UP UP DOWN DOWN DOWN "\r", "one\n\n");
	check_edit("same\rsame\rother\r" UP UP UP "\r", "same\nsame\nother\nsame\n");
	check_edit("\002\004\b\013\025\027" UP DOWN LEFT "ok\r", "ok\n");
	check_edit("drop\003keep\r", "keep\n");
	check_edit("q\t\r", "quit \n");
	check_edit("sy\tr\t\r", "system_reset \n");
	check_edit("x\ty\r", "xy\n");
	check_edit("a\033[3~\033[1~b\033[99;99X\r", "ba\n");
}

static void editor_answer(void *opaque, const char *line)
{
	text_printf(&((struct editor *)opaque)->lines, "answer %s\n", line);
}

/* keys are typed where a secret is asked for; nothing of it may be on the screen or in the history. */
static void check_secret(const char *keys, const char *expected)
{
	struct editor editor = {0};

	editor.readline = (struct readline){.prompt = "> ",
					    .print = editor_print,
					    .line = editor_line,
					    .complete = editor_complete,
					    .opaque = &editor};
	readline_ask(&editor.readline, "Password: ", editor_answer);
	readline_show(&editor.readline);
	readline_feed(&editor.readline, (const uint8_t *)keys, strlen(keys));
	assert_string_equal(editor.lines.data ? editor.lines.data : "", expected);
	assert_null(strchr(editor.screen.data, 'k'));
	assert_non_null(strstr(editor.screen.data, "Password: *"));
	readline_free(&editor.readline);
	text_free(&editor.screen);
	text_free(&editor.lines);
}

static void test_secret(void **state)
{
	check_secret("kkk\r", "answer kkk\n");
	check_secret("kkk\rabc" UP "d\r", "answer kkk\nabcd\n");
	check_secret("kkk" LEFT LEFT "k\005k\001k\r", "answer kkkkkk\n");
	check_secret("kk\t\014" UP DOWN "k\r", "answer kkk\n");
	check_secret("kkk\003abc\r", "abc\n");
}

static void test_long_lines(void **state)
{
	char keys[READLINE_MAX + 100];
	char *expected;

	memset(keys, 'a', sizeof(keys));
	keys[sizeof(keys) - 2] = '\r';
	keys[sizeof(keys) - 1] = 0;
	expected = xasprintf("%.*s\n", READLINE_MAX, keys);
	check_edit(keys, expected);
	free(expected);
}

/* The JSON that a line's arguments become, or "!" and the error. */
static void check_arguments(const char *name, const char *rest, const char *expected)
{
	struct monitor monitor = {0};
	struct command_call call = {
		.monitor = &monitor, .command = command_find_hmp(name, false), .arguments = json_object()};
	struct error err = {0};
	char *text;

	assert_non_null(call.command);
	if (hmp_parse_arguments(&call, rest, &err) < 0)
		text = xasprintf("!%s", err.msg);
	else
		text = json_dumps(call.arguments, JSON_SORT_KEYS | JSON_COMPACT);
	assert_string_equal(text, expected);
	json_decref(call.arguments);
	free(text);
}

static void test_arguments(void **state)
{
	check_arguments("stop", "", "{}");
	check_arguments("stop", "  ", "{}");
	check_arguments("stop", "x", "!stop|s: extraneous characters at the end of line");
	check_arguments("x", "/4xw 0x10", "{\"addr\":16,\"fmt\":\"4xw\"}");
	check_arguments("x", "16", "{\"addr\":16}");
	check_arguments("x", "", "!unexpected end of expression");
	check_arguments("x", "/4z 1", "!invalid char in format: 'z'");
	check_arguments("set_link", "n0 off", "{\"name\":\"n0\",\"up\":false}");
	check_arguments("set_link", "n0 maybe", "!Expected 'on' or 'off'");
	check_arguments("set_link", "", "!set_link: string expected");
	check_arguments("hostfwd_add", "tcp::1-:2", "{\"arg1\":\"tcp::1-:2\"}");
	check_arguments("hostfwd_add", "n0 tcp::1-:2", "{\"arg1\":\"n0\",\"arg2\":\"tcp::1-:2\"}");
	check_arguments("ringbuf_write", "r \"a \\\"b\\\"\\n\"", "{\"data\":\"a \\\"b\\\"\\n\",\"device\":\"r\"}");
	check_arguments("ringbuf_write", "r \"a", "!unterminated string");
	check_arguments("ringbuf_write", "r \"\\q\"", "!unsupported escape code: '\\q'");
	check_arguments("ringbuf_write", "r \xff", "!'data' is not UTF-8");
	check_arguments("balloon", "512", "{\"value\":536870912}");
	check_arguments("balloon", "1G", "{\"value\":1073741824}");
	check_arguments("balloon", "256+256", "{\"value\":536870912}");
	check_arguments("balloon", "-1", "!enter a positive value");
	check_arguments("balloon", "0x7fffffffffffffff", "!number too large");
	check_arguments("help", "info status", "{\"name\":\"info status\"}");
}

static void check_expression(const char *text, int64_t expected)
{
	struct command_call call = {0};
	struct error err = {0};
	int64_t value;

	assert_int_equal(hmp_expression(&call, &text, &value, &err), 0);
	assert_true(value == expected);
	assert_string_equal(text, "");
}

static void check_no_expression(const char *text, const char *message)
{
	struct command_call call = {0};
	struct error err = {0};
	int64_t value;

	assert_int_equal(hmp_expression(&call, &text, &value, &err), -EINVAL);
	assert_string_equal(err.msg, message);
}

static void test_expressions(void **state)
{
	char deep[1001];

	check_expression("1", 1);
	check_expression("0x10 + 010", 24);
	check_expression("2*(3+4)-0x10/2", 6);
	check_expression("-5%3", -2);
	check_expression("~0", -1);
	check_expression("6|1&3^0", 3);
	check_expression("'a'", 97);
	check_expression("0xffffffffffffffff", -1);
	check_expression("0x7fffffffffffffff+1", INT64_MIN);
	check_expression("(0x7fffffffffffffff+1)/-1", INT64_MIN);
	check_expression("(0x7fffffffffffffff+1)%-1", 0);
	check_no_expression("", "unexpected end of expression");
	check_no_expression("1+", "unexpected end of expression");
	check_no_expression("(1", "')' expected");
	check_no_expression("x", "invalid char 'x' in expression");
	check_no_expression("1/0", "division by zero");
	check_no_expression("1%(2-2)", "division by zero");
	check_no_expression("0x1ffffffffffffffff", "number too large");
	check_no_expression("'a", "missing terminating ' character");
	check_no_expression("$rip", "unknown register");
	memset(deep, '(', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = 0;
	check_no_expression(deep, "expression nested too deeply");
	memset(deep, '-', sizeof(deep) - 1);
	check_no_expression(deep, "expression nested too deeply");
}

static void check_request(struct monitor *monitor, const char *request, const char *class, const char *description)
{
	json_t *reply = qmp_execute(monitor, request), *error = json_object_get(reply, "error");

	assert_string_equal(json_string_value(json_object_get(error, "class")), class);
	assert_string_equal(json_string_value(json_object_get(error, "desc")), description);
	json_decref(reply);
}

static void test_requests(void **state)
{
	struct monitor monitor = {.qmp = true};
	json_t *reply;

	check_request(&monitor, "{\"execute\":\"stop\"}", "CommandNotFound",
		      "Expecting capabilities negotiation with 'qmp_capabilities'");
	check_request(&monitor, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}",
		      "GenericError", "Invalid parameter 'oob'");
	assert_false(monitor.negotiated);
	reply = qmp_execute(&monitor, "{\"execute\":\"qmp_capabilities\",\"id\":[1]}");
	assert_true(monitor.negotiated);
	assert_int_equal(json_array_size(json_object_get(reply, "id")), 1);
	json_decref(reply);
	check_request(&monitor, "{\"execute\":\"x\"}", "CommandNotFound", "The command x has not been found");
	check_request(&monitor, "{\"execute\":\"memsave\",\"arguments\":{\"val\":1,\"size\":\"1\",\"filename\":\"f\"}}",
		      "GenericError", "Invalid parameter type for 'size', expected: integer");
	check_request(&monitor, "{\"execute\":\"memsave\",\"arguments\":{\"val\":1,\"size\":1}}", "GenericError",
		      "Parameter 'filename' is missing");
	check_request(&monitor, "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"a\",\"up\":1}}", "GenericError",
		      "Invalid parameter type for 'up', expected: boolean");
}

static void count_word(void *opaque, const char *word)
{
	text_printf(opaque, "%s ", word);
}

static void check_completion(const char *line, const char *expected)
{
	struct monitor monitor = {0};
	struct text words = {0};

	hmp_complete(&monitor, line, count_word, &words);
	assert_string_equal(words.data ? words.data : "", expected);
	text_free(&words);
}

static void test_completion(void **state)
{
	check_completion("sto", "stop ");
	check_completion("system_", "system_reset system_powerdown system_wakeup ");
	check_completion("info sta", "status ");
	check_completion("inf", "info ");
	check_completion("help sto", "stop ");
	check_completion("log gu", "guest_errors ");
	check_completion("stop ", "");
	check_completion("nonsense x", "");
}

/* Every row is complete and reachable by every one of its names. */
static void test_table(void **state)
{
	json_t *schema = qmp_schema();
	size_t rows = 0, index;
	json_t *entry;

	for (const struct command *c = command_next(NULL); c; c = command_next(c)) {
		rows++;
		assert_true(c->qmp || c->hmp);
		assert_true(c->run && c->help && c->params);
		if (c->qmp)
			assert_ptr_equal(command_find_qmp(c->qmp), c);
		if (c->hmp) {
			bool info = strncmp(c->hmp, "info ", 5) == 0;
			char name[64];

			snprintf(name, sizeof(name), "%.*s", (int)strcspn(c->hmp + (info ? 5 : 0), "|"),
				 c->hmp + (info ? 5 : 0));
			assert_ptr_equal(command_find_hmp(name, info), c);
		}
	}
	assert_true(rows > 40);
	assert_ptr_equal(command_find_hmp("s", false), command_find_hmp("stop", false));
	assert_null(command_find_hmp("stop|s", false));
	assert_null(command_find_hmp("", false));
	assert_null(command_find_hmp("status", false));
	json_array_foreach(schema, index, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "name"));

		if (strcmp(json_string_value(json_object_get(entry, "meta-type")), "command") == 0)
			assert_non_null(command_find_qmp(name));
	}
	json_decref(schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream),    cmocka_unit_test(test_stream_bounds),
		cmocka_unit_test(test_editing), cmocka_unit_test(test_secret),   cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_arguments), cmocka_unit_test(test_expressions),
		cmocka_unit_test(test_requests),  cmocka_unit_test(test_completion),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
