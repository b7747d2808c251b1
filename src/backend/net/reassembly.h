/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Puts IPv4 packets of a guest together again (RFC 791 3.2, RFC 815's holes as a bitmap), so that libslirp, whose own
 * way is unsafe against a hostile guest, never sees a fragment. At most REASSEMBLY_PACKETS at a time, the oldest gives
 * way; each has REASSEMBLY_NS. A packet whose fragments overlap or contradict each other is forgotten.
 */
#ifndef XUNI_BACKEND_NET_REASSEMBLY_H
#define XUNI_BACKEND_NET_REASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REASSEMBLY_PACKETS = 16, REASSEMBLY_BLOCKS = 65536 / 8 };
#define REASSEMBLY_NS 15000000000ll

struct reassembly_packet {
	uint8_t *data;   /* of the packet, without headers; NULL: not in use */
	uint8_t key[11]; /* source, destination, identification, protocol */
	int64_t begun_ns;
	size_t have_bytes, total_bytes;        /* total 0: the last fragment has not come */
	size_t header_bytes;                   /* 0: the first has not come */
	uint8_t header[14 + 60];               /* Ethernet and IP */
	uint8_t blocks[REASSEMBLY_BLOCKS / 8]; /* which 8-byte blocks are there */
};

struct reassembly {
	struct reassembly_packet packets[REASSEMBLY_PACKETS];
};

/* Takes a frame for which frame_is_fragment holds, in a buffer of FRAME_MAX bytes. When it was the one that was missing
 * the whole packet's frame stands in the buffer and its length is returned; else 0. now_ns never goes back. */
size_t reassembly_add(struct reassembly *reassembly, uint8_t *frame, size_t length, int64_t now_ns);
void reassembly_clear(struct reassembly *reassembly);

#endif
