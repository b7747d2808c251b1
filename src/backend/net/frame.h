/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking into Ethernet frames: where the headers are, Internet checksums, TCP's segment size, cutting large ones. */
#ifndef XUNI_BACKEND_NET_FRAME_H
#define XUNI_BACKEND_NET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest frame a guest may hand over: an IP packet of 64 KiB, Ethernet header and VLAN tag. */
#define FRAME_MAX      (65535 + 18)
#define FRAME_ETHERNET 14

struct frame {
	size_t ip; /* offset of the IP header; 0: neither IPv4 nor IPv6 */
	bool is_v6;
	uint8_t protocol; /* 6 TCP, 17 UDP, ... */
	size_t l4;        /* offset of the transport header; 0: a later fragment or cut short */
	size_t end;       /* where the IP packet ends (the frame may be padded) */
	size_t payload;   /* TCP and UDP: offset of the data */
};

/* All offsets lie inside the frame. False when there is no IP in it or its lengths contradict the frame's. */
bool frame_parse(const uint8_t *data, size_t length, struct frame *frame);

/* True for a piece of a larger IPv4 packet (RFC 791 3.2). */
bool frame_is_fragment(const uint8_t *data, size_t length);

/* One's complement sum, to be folded; chainable where pieces begin at even offsets. */
uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t length);
uint16_t checksum_fold(uint64_t sum); /* not complemented */
/* Sum of the pseudo header for `length` bytes of transport header and data. */
uint64_t checksum_pseudo(const uint8_t *data, const struct frame *frame, size_t length);
/* Writes a correct TCP or UDP checksum. False when the frame is neither or too short. */
bool frame_checksum(uint8_t *data, const struct frame *frame);
/* Finishes a checksum as struct net_header asks. False when its offsets lie outside. */
bool frame_checksum_at(uint8_t *data, size_t length, size_t start, size_t offset);

/* In a TCP SYN: raises the maximum segment size option to at least mss and corrects the checksum; returns the old
 * value, 0 when there is none. */
uint16_t frame_raise_mss(uint8_t *data, const struct frame *frame, uint16_t mss);

/* Cuts a frame into ones of at most mtu bytes behind the Ethernet header: TCP into segments, other IPv4 into fragments.
 * emit gets each in turn, in a buffer of its own. False when the frame cannot be cut (it is IPv6 and not TCP, or must
 * not be fragmented). */
bool frame_cut(const uint8_t *data, size_t length, const struct frame *frame, size_t mtu,
	       void (*emit)(void *opaque, uint8_t *data, size_t length), void *opaque);

#endif
