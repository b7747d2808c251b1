/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Client of bench/vnc: asks for update after update for some seconds, reads them without drawing, prints how many whole
 * screens came in a second.
 *
 *	vnc_client PORT SECONDS raw|hextile|tight|zrle
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RAW = 0, HEXTILE = 5, TIGHT = 7, ZRLE = 16, SIZE = -223, LAST = -224 };

static int fd;
static uint8_t buffer[1 << 18];
static size_t have, at;
static uint64_t bytes;

static void take(void *to, size_t count)
{
	uint8_t *out = to;

	bytes += count;
	while (count) {
		size_t some;

		if (at == have) {
			ssize_t got = read(fd, buffer, sizeof(buffer));

			if (got <= 0) {
				fprintf(stderr, "the server closes\n");
				exit(1);
			}
			have = (size_t)got;
			at = 0;
		}
		some = have - at < count ? have - at : count;
		if (out) {
			memcpy(out, buffer + at, some);
			out += some;
		}
		at += some;
		count -= some;
	}
}

static uint32_t take_be(unsigned count)
{
	uint8_t raw[4];
	uint32_t value = 0;

	take(raw, count);
	for (unsigned i = 0; i < count; i++)
		value = value << 8 | raw[i];
	return value;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void tell(const void *data, size_t count)
{
	if (write(fd, data, count) != (ssize_t)count)
		exit(1);
}

static void hextile(uint32_t width, uint32_t height)
{
	for (uint32_t y = 0; y < height; y += 16) {
		for (uint32_t x = 0; x < width; x += 16) {
			uint32_t w = width - x < 16 ? width - x : 16, h = height - y < 16 ? height - y : 16;
			uint32_t flags = take_be(1);

			if (flags & 1) {
				take(NULL, w * h * 4);
				continue;
			}
			take(NULL, (flags & 2 ? 4 : 0) + (flags & 4 ? 4 : 0));
			if (flags & 8)
				take(NULL, take_be(1) * (flags & 16 ? 6 : 2));
		}
	}
}

static uint32_t compact(void)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 3; i++) {
		uint32_t byte = take_be(1);

		value |= (i < 2 ? byte & 0x7f : byte) << 7 * i;
		if (!(byte & 0x80))
			break;
	}
	return value;
}

static void tight(uint32_t width, uint32_t height)
{
	uint32_t control = take_be(1) >> 4, length = width * height * 3, colours;

	if (control == 8) {
		take(NULL, 3);
		return;
	}
	if (control == 9) {
		take(NULL, compact());
		return;
	}
	if (control & 4 && take_be(1) == 1) {
		colours = take_be(1) + 1;
		take(NULL, colours * 3);
		length = colours == 2 ? (width + 7) / 8 * height : width * height;
	}
	take(NULL, length < 12 ? length : compact());
}

static void request(uint32_t width, uint32_t height, int incremental)
{
	uint8_t message[10] = {3,
			       (uint8_t)incremental,
			       0,
			       0,
			       0,
			       0,
			       (uint8_t)(width >> 8),
			       (uint8_t)width,
			       (uint8_t)(height >> 8),
			       (uint8_t)height};

	tell(message, sizeof(message));
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"raw", "hextile", "tight", "zrle"};
	static const int numbers[] = {RAW, HEXTILE, TIGHT, ZRLE};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)atoi(argv[1])),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint8_t encodings[] = {2, 0, 0, 3, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21, 0xff, 0xff, 0xff, 0x20};
	double start = 0, seconds = atof(argv[2]);
	uint32_t width, height, types;
	uint64_t pixels = 0;
	int one = 1;

	for (unsigned i = 0; i < 4; i++)
		if (!strcmp(names[i], argv[3]))
			encodings[7] = (uint8_t)numbers[i];
	fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (argc != 4 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return 1;
	take(NULL, 12);
	tell("RFB 003.008\n", 12);
	types = take_be(1);
	take(NULL, types);
	tell("\1", 1);
	take(NULL, 4);
	tell("\1", 1);
	width = take_be(2);
	height = take_be(2);
	take(NULL, 16);
	take(NULL, take_be(4));
	tell(encodings, sizeof(encodings));
	request(width, height, 0);
	for (;;) {
		uint32_t rects, kind = take_be(1);

		if (kind != 0)
			continue; /* a bell */
		take(NULL, 1);
		rects = take_be(2);
		for (uint32_t i = 0; i < rects; i++) {
			uint32_t w, h;
			int encoding;

			take(NULL, 4);
			w = take_be(2);
			h = take_be(2);
			encoding = (int)take_be(4);
			if (encoding == LAST)
				break;
			if (encoding == SIZE) {
				width = w;
				height = h;
				continue;
			}
			if (encoding == RAW)
				take(NULL, (size_t)w * h * 4);
			else if (encoding == HEXTILE)
				hextile(w, h);
			else if (encoding == TIGHT)
				tight(w, h);
			else if (encoding == ZRLE)
				take(NULL, take_be(4));
			else {
				fprintf(stderr, "encoding %d of %ux%u\n", encoding, w, h);
				return 1;
			}
			pixels += (uint64_t)w * h;
		}
		/* The first second is for the mode to be set and buffers to fill. */
		if (width == 1024 && start == 0) {
			start = now() + 1;
		}
		if (start != 0 && now() < start) {
			pixels = bytes = 0;
		}
		if (start != 0 && now() > start + seconds)
			break;
		request(width, height, 1);
	}
	printf("%.1f %.2f\n", pixels / (1024.0 * 768) / (now() - start), bytes / 1e6 / (now() - start));
	return 0;
}
