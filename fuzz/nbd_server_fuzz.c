/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD server's half of a connection against a hostile client: handshake and transmission. The first byte says where
 * the input begins: at the client's flags, or in the transmission of a writable or a read-only export; and in how large
 * pieces it comes.
 */
#include "backend/block/nbd/session.h"
#include "base/loop.h"
#include "fuzz.h"

#include <string.h>

enum { MAX_BYTES = 1 << 16, MANY = 200u << 20 };

static struct loop *loop;
static struct block_graph *graph;
static struct nbd_export exports[2];
static const struct nbd_server_config config = {.exports = exports, .export_count = 2, .max_connections = 0};

static void set_up(void)
{
	struct options options = {0};

	if (loop)
		return;
	loop = loop_new(NULL);
	graph = block_graph_new(NULL);
	options_add(&options, "driver", "null-co");
	options_add(&options, "size", "1M");
	options_add(&options, "read-zeroes", "on");
	for (unsigned i = 0; i < 2; i++) {
		exports[i].name = i ? "second" : "";
		exports[i].description = i ? "the second one" : NULL;
		exports[i].block = block_open_options(graph, &options, NULL);
		exports[i].read_only = i == 1;
		exports[i].allocation_depth = i == 1;
		exports[i].aio = "threads";
	}
	options_free(&options);
}

/* As a client that takes what comes, `step` bytes at a time. */
static void take_output(struct nbd_session *session, size_t step)
{
	struct iovec iov[4];
	int count;

	while ((count = nbd_session_output(session, iov, 4))) {
		const size_t there = iov_bytes(iov, count);
		volatile uint8_t last = ((uint8_t *)iov[count - 1].iov_base)[iov[count - 1].iov_len - 1];

		(void)last;
		if (!there)
			abort();
		nbd_session_sent(session, there < step ? there : step);
	}
}

static void settle(struct nbd_session *session, size_t step)
{
	while (session->at_work)
		loop_poll(loop, -1);
	take_output(session, step);
	nbd_session_received(session, 0);
	if (session->data_bytes + session->rest_bytes > MANY)
		abort();
}

static void feed(struct nbd_session *session, const uint8_t *data, size_t size, size_t step)
{
	unsigned idle = 0;

	while (size && session->phase != NBD_PHASE_ENDED) {
		void *to;
		size_t room = nbd_session_room(session, &to), part = room < size ? room : size;

		if (part > step)
			part = step;
		memcpy(to, data, part);
		data += part;
		size -= part;
		if (part)
			nbd_session_received(session, part);
		else
			settle(session, step);
		idle = part ? 0 : idle + 1;
		if (idle > 2)
			abort(); /* a client that reads its replies can always go on */
	}
}

static const uint8_t opening[] = "\0\0\0\3"
				 "IHAVEOPT\0\0\0\x8\0\0\0\0"
				 "IHAVEOPT\0\0\0\xa\0\0\0\x1b\0\0\0\0\0\0\0\1\0\0\0\xf"
				 "base:allocation"
				 "IHAVEOPT\0\0\0\7\0\0\0\6\0\0\0\0\0\0";
static const uint8_t opening_second[] = "\0\0\0\3"
					"IHAVEOPT\0\0\0\x8\0\0\0\0"
					"IHAVEOPT\0\0\0\xa\0\0\0\x27\0\0\0\6second\0\0\0\1\0\0\0\x15"
					"qemu:allocation-depth"
					"IHAVEOPT\0\0\0\7\0\0\0\xc\0\0\0\6second\0\0";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nbd_session *session;
	size_t step;

	if (size < 1 || size > MAX_BYTES)
		return 0;
	set_up();
	session = nbd_session_new(&config, loop);
	step = data[0] & 0x80 ? 7 : 1 << 20;
	if ((data[0] & 3) == 1)
		feed(session, opening, sizeof(opening) - 1, 1 << 20);
	else if ((data[0] & 3) == 2)
		feed(session, opening_second, sizeof(opening_second) - 1, 1 << 20);
	if ((data[0] & 3) - 1u < 2 && session->phase != NBD_PHASE_TRANSMISSION)
		abort();
	feed(session, data + 1, size - 1, step);
	settle(session, step);
	nbd_session_hang_up(session);
	if (!nbd_session_is_over(session))
		abort();
	nbd_session_free(session);
	return 0;
}
