/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes from a guest's network card and from a console's client: frames through the user network (restricted, so that
 * nothing leaves), the frame helpers on their own, the telnet decoder, and forwarding rules.
 *
 * Input: byte 0 chooses; the rest are frames with their headers, each behind two bytes of length, or plain bytes.
 */
#include "fuzz.h"

#include "backend/char/chardev.h"
#include "backend/char/telnet.h"
#include "backend/net/frame.h"
#include "backend/net/net.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <fcntl.h>

static struct loop *loop;
static struct net_backend *backend;
static struct log record = {.items = LOG_GUEST_ERRORS};

static bool receive(void *opaque, const struct iovec *iov, int iov_count, size_t length)
{
	size_t sum = 0;

	for (int i = 0; i < iov_count; i++)
		sum += iov[i].iov_len;
	if (sum != length)
		abort();
	return true;
}

static void open_all(void)
{
	struct net_port port = {.receive = receive};
	struct options options;

	loop = loop_new(NULL);
	record.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	options_parse(&options, "restrict=on", NULL, NULL);
	backend = net_open("user", "n0", &options, loop, &record, NULL);
	options_free(&options);
	if (!backend)
		abort();
	net_attach(backend, &port);
	net_set_offloads(backend, net_offloads(backend), sizeof(struct net_header));
}

static void emit(void *opaque, uint8_t *data, size_t length)
{
	struct frame frame;

	if (length > FRAME_MAX || !frame_parse(data, length, &frame))
		abort();
}

static void one_frame(const uint8_t *data, size_t length)
{
	uint8_t *copy = malloc(length + 1);
	struct frame frame;

	memcpy(copy, data, length);
	if (frame_parse(copy, length, &frame)) {
		if (frame.end > length || frame.l4 > frame.end || frame.payload > frame.end)
			abort();
		frame_raise_mss(copy, &frame, 9000);
		frame_cut(copy, length, &frame, 576, emit, NULL);
		frame_checksum(copy, &frame);
	}
	free(copy);
}

static void frames(const uint8_t *data, size_t size)
{
	while (size > 2) {
		size_t length = load_le16(data) % 4096;
		struct iovec iov[2];

		data += 2;
		size -= 2;
		if (length > size)
			length = size;
		iov[0] = (struct iovec){(void *)data, length / 2};
		iov[1] = (struct iovec){(void *)(data + length / 2), length - length / 2};
		net_send(backend, 0, iov, 2, length);
		if (length > sizeof(struct net_header))
			one_frame(data + sizeof(struct net_header), length - sizeof(struct net_header));
		data += length;
		size -= length;
	}
	loop_poll(loop, 0);
}

static void telnet(const uint8_t *data, size_t size)
{
	struct telnet state = {0};
	uint8_t *copy = malloc(size + 1), *encoded = malloc(2 * size + 1);

	memcpy(copy, data, size);
	if (telnet_decode(&state, copy, size) > size || telnet_encode(data, size, encoded) > 2 * size)
		abort();
	free(copy);
	free(encoded);
}

/* Only what is refused: a rule that is right would open a port. */
static void rule(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct options options;
	char *type;
	bool mux;

	memcpy(text, data, size);
	text[size] = 0;
	backend->driver->hostfwd(backend, false, text, NULL);
	if (!chardev_parse_legacy(text, &type, &options, &mux, NULL)) {
		options_free(&options);
		free(type);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!loop)
		open_all();
	if (!size)
		return 0;
	switch (data[0] % 4) {
	case 0:
		telnet(data + 1, size - 1);
		break;
	case 1:
		rule(data + 1, size - 1);
		break;
	default:
		frames(data + 1, size - 1);
		break;
	}
	return 0;
}
