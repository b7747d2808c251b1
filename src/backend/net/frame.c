/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ethernet II with up to one VLAN tag, IPv4 (RFC 791), IPv6 with the extension headers that may precede TCP (RFC 8200),
 * checksums (RFC 1071), TCP options (RFC 9293 3.1).
 */
#include "backend/net/frame.h"

#include "base/util.h"

#include <string.h>

enum {
	TYPE_IPV4 = 0x0800,
	TYPE_IPV6 = 0x86dd,
	TYPE_VLAN = 0x8100,
	PROTOCOL_HOP_BY_HOP = 0,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_ROUTING = 43,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_DESTINATION = 60,
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_PSH = 8,
	TCP_CWR = 0x80,
	OPTION_END = 0,
	OPTION_NOP = 1,
	OPTION_MSS = 2,
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, (uint16_t)(value >> 16));
	put16(p + 2, (uint16_t)value);
}

bool frame_is_fragment(const uint8_t *data, size_t length)
{
	return length >= FRAME_ETHERNET + 20 && data[12] == 0x08 && data[13] == 0x00 && (data[20] & 0x3f || data[21]);
}

uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t length)
{
	uint64_t parts[4] = {sum, 0, 0, 0};
	uint8_t tail[2] = {0};

	/* Sums of 32-bit words in 64 bits cannot overflow for any frame; host order works as well (RFC 1071 2B). */
	for (; length >= 16; data += 16, length -= 16) {
		uint32_t words[4];

		memcpy(words, data, sizeof(words));
		for (int i = 0; i < 4; i++)
			parts[i] += words[i];
	}
	for (; length >= 2; data += 2, length -= 2)
		parts[0] += load_le16(data);
	if (length) {
		tail[0] = *data;
		parts[1] += load_le16(tail);
	}
	sum = parts[0] + parts[1] + parts[2] + parts[3];
	return (sum & 0xffffffff) + (sum >> 32);
}

/* In the byte order of the wire as the host reads it: stored with memcpy. */
uint16_t checksum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static bool parse_ipv4(const uint8_t *data, size_t length, struct frame *frame)
{
	const uint8_t *ip = data + frame->ip;
	size_t header, total;

	if (length - frame->ip < 20 || ip[0] >> 4 != 4)
		return false;
	header = (ip[0] & 15u) * 4;
	total = get16(ip + 2);
	if (header < 20 || total < header || total > length - frame->ip)
		return false;
	frame->protocol = ip[9];
	frame->end = frame->ip + total;
	/* Only the first fragment has the transport header. */
	frame->l4 = get16(ip + 6) & 0x1fff ? 0 : frame->ip + header;
	return true;
}

static bool parse_ipv6(const uint8_t *data, size_t length, struct frame *frame)
{
	const uint8_t *ip = data + frame->ip;
	size_t at = frame->ip + 40;
	uint8_t next;

	if (length - frame->ip < 40 || ip[0] >> 4 != 6)
		return false;
	frame->end = at + get16(ip + 4);
	if (frame->end > length)
		return false;
	next = ip[6];
	while (next == PROTOCOL_HOP_BY_HOP || next == PROTOCOL_ROUTING || next == PROTOCOL_DESTINATION) {
		size_t size;

		if (frame->end - at < 8)
			return false;
		size = (data[at + 1] + 1u) * 8;
		if (size > frame->end - at)
			return false;
		next = data[at];
		at += size;
	}
	frame->protocol = next;
	frame->l4 = next == PROTOCOL_FRAGMENT ? 0 : at;
	return true;
}

static void find_payload(const uint8_t *data, struct frame *frame)
{
	size_t room = frame->end - frame->l4;
	size_t header = 0;

	if (frame->protocol == PROTOCOL_TCP && room >= 20)
		header = (data[frame->l4 + 12] >> 4) * 4u;
	else if (frame->protocol == PROTOCOL_UDP)
		header = 8;
	else if (frame->protocol != PROTOCOL_TCP)
		return;
	if (header < 8 || (frame->protocol == PROTOCOL_TCP && header < 20) || header > room)
		frame->l4 = 0;
	else
		frame->payload = frame->l4 + header;
}

bool frame_parse(const uint8_t *data, size_t length, struct frame *frame)
{
	uint16_t type;
	bool valid;

	*frame = (struct frame){0};
	if (length < FRAME_ETHERNET)
		return false;
	frame->ip = FRAME_ETHERNET;
	type = get16(data + 12);
	if (type == TYPE_VLAN && length >= FRAME_ETHERNET + 4) {
		type = get16(data + 16);
		frame->ip += 4;
	}
	frame->is_v6 = type == TYPE_IPV6;
	if (type == TYPE_IPV4)
		valid = parse_ipv4(data, length, frame);
	else
		valid = frame->is_v6 && parse_ipv6(data, length, frame);
	if (!valid) {
		*frame = (struct frame){0};
		return false;
	}
	if (frame->l4)
		find_payload(data, frame);
	return true;
}

uint64_t checksum_pseudo(const uint8_t *data, const struct frame *frame, size_t length)
{
	uint8_t tail[8] = {0};
	const uint8_t *ip = data + frame->ip;

	put32(tail, (uint32_t)length);
	tail[7] = frame->protocol;
	return checksum_add(checksum_add(0, tail, sizeof(tail)), ip + (frame->is_v6 ? 8 : 12), frame->is_v6 ? 32 : 8);
}

bool frame_checksum(uint8_t *data, const struct frame *frame)
{
	size_t field;
	uint16_t sum;

	if (!frame->payload)
		return false;
	field = frame->l4 + (frame->protocol == PROTOCOL_TCP ? 16 : 6);
	memset(data + field, 0, 2);
	sum = (uint16_t)~checksum_fold(checksum_add(checksum_pseudo(data, frame, frame->end - frame->l4),
						    data + frame->l4, frame->end - frame->l4));
	/* UDP's zero means "none". */
	if (!sum && frame->protocol == PROTOCOL_UDP)
		sum = 0xffff;
	memcpy(data + field, &sum, 2);
	return true;
}

bool frame_checksum_at(uint8_t *data, size_t length, size_t start, size_t offset)
{
	uint16_t sum;

	if (start > length || offset > length - start || length - start - offset < 2)
		return false;
	sum = (uint16_t)~checksum_fold(checksum_add(0, data + start, length - start));
	if (!sum)
		sum = 0xffff;
	memcpy(data + start + offset, &sum, 2);
	return true;
}

uint16_t frame_raise_mss(uint8_t *data, const struct frame *frame, uint16_t mss)
{
	if (frame->protocol != PROTOCOL_TCP || !frame->payload || !(data[frame->l4 + 13] & TCP_SYN))
		return 0;
	for (size_t at = frame->l4 + 20; at < frame->payload;) {
		size_t size = data[at] == OPTION_NOP ? 1 : frame->payload - at >= 2 ? data[at + 1] : 0;
		uint16_t old;

		if (data[at] == OPTION_END || !size || size > frame->payload - at ||
		    (size == 1 && data[at] != OPTION_NOP))
			return 0;
		if (data[at] != OPTION_MSS || size != 4) {
			at += size;
			continue;
		}
		old = get16(data + at + 2);
		if (old < mss) {
			put16(data + at + 2, mss);
			frame_checksum(data, frame);
		}
		return old;
	}
	return 0;
}

static void fix_ip(uint8_t *ip, bool is_v6, size_t l3_bytes, uint16_t id_step)
{
	uint16_t sum;

	if (is_v6) {
		put16(ip + 4, (uint16_t)(l3_bytes - 40));
		return;
	}
	put16(ip + 2, (uint16_t)l3_bytes);
	put16(ip + 4, (uint16_t)(get16(ip + 4) + id_step));
	memset(ip + 10, 0, 2);
	sum = (uint16_t)~checksum_fold(checksum_add(0, ip, (ip[0] & 15u) * 4));
	memcpy(ip + 10, &sum, 2);
}

static bool cut_tcp(const uint8_t *data, const struct frame *frame, size_t mtu,
		    void (*emit)(void *opaque, uint8_t *data, size_t length), void *opaque)
{
	size_t headers = frame->payload - frame->ip;
	size_t total = frame->end - frame->payload;
	uint8_t buffer[FRAME_MAX];
	uint16_t index = 0;
	size_t chunk;

	if (mtu <= headers)
		return false;
	chunk = mtu - headers;
	memcpy(buffer, data, frame->payload);
	for (size_t done = 0; done < total; done += chunk, index++) {
		size_t size = total - done < chunk ? total - done : chunk;
		struct frame piece = *frame;
		uint8_t *tcp = buffer + frame->l4;

		memcpy(buffer, data, frame->payload);
		memcpy(buffer + frame->payload, data + frame->payload + done, size);
		piece.end = frame->payload + size;
		fix_ip(buffer + frame->ip, frame->is_v6, headers + size, index);
		put32(tcp + 4, get32(tcp + 4) + (uint32_t)done);
		if (done + size < total)
			tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		if (index)
			tcp[13] &= (uint8_t)~TCP_CWR;
		frame_checksum(buffer, &piece);
		emit(opaque, buffer, piece.end);
	}
	return true;
}

static bool cut_ipv4(const uint8_t *data, const struct frame *frame, size_t mtu,
		     void (*emit)(void *opaque, uint8_t *data, size_t length), void *opaque)
{
	const uint8_t *ip = data + frame->ip;
	size_t header = (ip[0] & 15u) * 4;
	size_t total = frame->end - frame->ip - header;
	uint16_t flags = get16(ip + 6);
	uint8_t buffer[FRAME_MAX];
	size_t chunk;

	if (mtu < header + 8)
		return false;
	chunk = (mtu - header) & ~(size_t)7;
	for (size_t done = 0; done < total; done += chunk) {
		size_t size = total - done < chunk ? total - done : chunk;
		bool more = done + size < total || (flags & 0x2000);

		memcpy(buffer, data, frame->ip + header);
		memcpy(buffer + frame->ip + header, ip + header + done, size);
		put16(buffer + frame->ip + 6, (uint16_t)(((flags & 0x1fff) + done / 8) | (more ? 0x2000 : 0)));
		fix_ip(buffer + frame->ip, false, header + size, 0);
		emit(opaque, buffer, frame->ip + header + size);
	}
	return true;
}

bool frame_cut(const uint8_t *data, size_t length, const struct frame *frame, size_t mtu,
	       void (*emit)(void *opaque, uint8_t *data, size_t length), void *opaque)
{
	if (!frame->ip || frame->end > FRAME_MAX)
		return false;
	if (frame->protocol == PROTOCOL_TCP && frame->payload)
		return cut_tcp(data, frame, mtu, emit, opaque);
	return !frame->is_v6 && cut_ipv4(data, frame, mtu, emit, opaque);
}
