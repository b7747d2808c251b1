/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backend/display/vnc/vnc_websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define REQUEST                                                                                                        \
	"GET /x HTTP/1.1\r\nHost: a\r\nupgrade:WebSocket \r\nConnection: keep-alive, Upgrade\r\n"                      \
	"Sec-WebSocket-Version: 13\r\n"
/* The example of RFC 6455 1.3. */
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static bool answers(const char *request, char answer[WEBSOCKET_ANSWER_MAX])
{
	return websocket_answer(request, strlen(request), answer);
}

static void requests_are_answered(void **state)
{
	char answer[WEBSOCKET_ANSWER_MAX];

	assert_true(answers(REQUEST KEY "\r\n", answer));
	assert_non_null(strstr(answer, "HTTP/1.1 101 "));
	assert_non_null(strstr(answer, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
	assert_null(strstr(answer, "Sec-WebSocket-Protocol"));
	assert_true(answers(REQUEST KEY "Sec-WebSocket-Protocol: chat, binary\r\n\r\n", answer));
	assert_non_null(strstr(answer, "Sec-WebSocket-Protocol: binary\r\n\r\n"));
}

static void other_requests_are_refused(void **state)
{
	char answer[WEBSOCKET_ANSWER_MAX];

	assert_false(answers(REQUEST KEY "Sec-WebSocket-Protocol: base64\r\n\r\n", answer));
	assert_false(answers(REQUEST "\r\n", answer));
	assert_false(answers(REQUEST "Sec-WebSocket-Key: short\r\n\r\n", answer));
	assert_false(answers("GET / HTTP/1.1\r\n" KEY "\r\n", answer));
	assert_false(answers("POST", answer));
	assert_int_equal(strncmp(answer, "HTTP/1.1 400 ", 13), 0);
}

/* "Hel" and "lo" with a ping between, masked with 1 2 3 4. */
static const uint8_t frames[] = {0x02,   0x83, 1, 2, 3, 4, 'H' ^ 1, 'e' ^ 2, 'l' ^ 3, /* first part */
				 0x89,   0x82, 1, 2, 3, 4, 'p' ^ 1, 'q' ^ 2,          /* ping */
				 0x80,   0xfe, 0, 2, 1, 2, 3,       4,       'l' ^ 1,
				 'o' ^ 2}; /* last part, long length */

static void frames_come_in_any_pieces(void **state)
{
	for (size_t piece = 1; piece <= sizeof(frames); piece++) {
		struct websocket websocket = {0};
		uint8_t data[sizeof(frames)], text[16], pong[2 + WEBSOCKET_PONG_MAX];
		size_t got = 0;

		for (size_t at = 0; at < sizeof(frames); at += piece) {
			size_t bytes = sizeof(frames) - at < piece ? sizeof(frames) - at : piece;
			ssize_t count;

			memcpy(data, frames + at, bytes);
			count = websocket_decode(&websocket, data, bytes);
			assert_in_range(count, 0, bytes);
			memcpy(text + got, data, (size_t)count);
			got += (size_t)count;
		}
		assert_int_equal(got, 5);
		assert_memory_equal(text, "Hello", 5);
		assert_int_equal(websocket_pong(&websocket, pong), 4);
		assert_memory_equal(pong, "\x8a\x02pq", 4);
		assert_int_equal(websocket_pong(&websocket, pong), 0);
	}
}

static void broken_frames_end_it(void **state)
{
	static const struct {
		uint8_t bytes[8];
		const char *what;
	} broken[] = {
		{{0x82, 0x01, 1, 2, 3, 4}, "not masked"},    {{0x81, 0x81, 1, 2, 3, 4}, "text"},
		{{0xc2, 0x81, 1, 2, 3, 4}, "reserved bit"},  {{0x80, 0x81, 1, 2, 3, 4}, "continues nothing"},
		{{0x09, 0x80, 1, 2, 3, 4}, "ping in parts"}, {{0x88, 0x80, 1, 2, 3, 4}, "close"},
		{{0x8b, 0x80, 1, 2, 3, 4}, "unknown"},
	};

	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct websocket websocket = {0};
		uint8_t data[8];

		memcpy(data, broken[i].bytes, sizeof(data));
		if (websocket_decode(&websocket, data, 6) != -1)
			fail_msg("%s", broken[i].what);
	}
}

static void heads_say_the_length(void **state)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];

	assert_int_equal(websocket_frame(head, 125), 2);
	assert_memory_equal(head, "\x82\x7d", 2);
	assert_int_equal(websocket_frame(head, 0x1234), 4);
	assert_memory_equal(head, "\x82\x7e\x12\x34", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_answered),     cmocka_unit_test(other_requests_are_refused),
		cmocka_unit_test(frames_come_in_any_pieces), cmocka_unit_test(broken_frames_end_it),
		cmocka_unit_test(heads_say_the_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
