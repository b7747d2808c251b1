/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IPv4 packets out of fragments: reassembly.h. */
#include "backend/net/reassembly.h"

#include "backend/net/frame.h"
#include "base/util.h"

#include <stdlib.h>

enum { ETHERNET = FRAME_ETHERNET, PACKET_MAX = 65535, MORE = 0x2000, OFFSET = 0x1fff };

static void forget(struct reassembly_packet *packet)
{
	free(packet->data);
	memset(packet, 0, sizeof(*packet));
}

void reassembly_clear(struct reassembly *reassembly)
{
	for (unsigned i = 0; i < REASSEMBLY_PACKETS; i++)
		forget(&reassembly->packets[i]);
}

/* The packet that the fragment belongs to: one begun before, a free place, or the oldest one's. */
static struct reassembly_packet *find(struct reassembly *reassembly, const uint8_t key[11], int64_t now_ns)
{
	struct reassembly_packet *place = &reassembly->packets[0];

	for (unsigned i = 0; i < REASSEMBLY_PACKETS; i++) {
		struct reassembly_packet *packet = &reassembly->packets[i];

		if (packet->data && now_ns - packet->begun_ns >= REASSEMBLY_NS)
			forget(packet);
		if (packet->data && !memcmp(packet->key, key, sizeof(packet->key)))
			return packet;
	}
	for (unsigned i = 0; i < REASSEMBLY_PACKETS && place->data; i++) {
		struct reassembly_packet *packet = &reassembly->packets[i];

		if (!packet->data || packet->begun_ns < place->begun_ns)
			place = packet;
	}
	forget(place);
	place->data = malloc(PACKET_MAX);
	if (!place->data)
		return NULL;
	memcpy(place->key, key, sizeof(place->key));
	place->begun_ns = now_ns;
	return place;
}

/* False when some of it was there before. */
static bool mark(struct reassembly_packet *packet, size_t offset, size_t bytes)
{
	for (size_t block = offset / 8; block < (offset + bytes + 7) / 8; block++) {
		if (packet->blocks[block / 8] >> block % 8 & 1)
			return false;
		packet->blocks[block / 8] |= (uint8_t)(1 << block % 8);
	}
	return true;
}

static size_t complete(struct reassembly_packet *packet, uint8_t *frame)
{
	size_t ip_bytes = packet->header_bytes - ETHERNET, length = packet->header_bytes + packet->total_bytes;
	uint16_t sum;

	if (ip_bytes + packet->total_bytes > PACKET_MAX) {
		forget(packet);
		return 0;
	}
	memcpy(frame, packet->header, packet->header_bytes);
	memcpy(frame + packet->header_bytes, packet->data, packet->total_bytes);
	store_be16(frame + ETHERNET + 2, (uint16_t)(ip_bytes + packet->total_bytes));
	store_be16(frame + ETHERNET + 6, 0);
	store_be16(frame + ETHERNET + 10, 0);
	sum = (uint16_t)~checksum_fold(checksum_add(0, frame + ETHERNET, ip_bytes));
	memcpy(frame + ETHERNET + 10, &sum, 2);
	forget(packet);
	return length;
}

size_t reassembly_add(struct reassembly *reassembly, uint8_t *frame, size_t length, int64_t now_ns)
{
	const uint8_t *ip = frame + ETHERNET;
	size_t header = (ip[0] & 15u) * 4, total = load_be16(ip + 2), bytes, offset;
	uint16_t flags = load_be16(ip + 6);
	struct reassembly_packet *packet;
	uint8_t key[11];

	if (ip[0] >> 4 != 4 || header < 20 || total <= header || total > length - ETHERNET)
		return 0;
	bytes = total - header;
	offset = (flags & OFFSET) * 8u;
	if ((flags & MORE && bytes % 8) || offset + bytes > PACKET_MAX - 20)
		return 0;
	memcpy(key, ip + 12, 8);
	memcpy(key + 8, ip + 4, 2);
	key[10] = ip[9];
	packet = find(reassembly, key, now_ns);
	if (!packet)
		return 0;
	/* What lies behind the end, or says that it is elsewhere, contradicts. */
	if ((packet->total_bytes && (offset + bytes > packet->total_bytes || !(flags & MORE))) ||
	    !mark(packet, offset, bytes)) {
		forget(packet);
		return 0;
	}
	if (!(flags & MORE))
		packet->total_bytes = offset + bytes;
	if (offset == 0) {
		packet->header_bytes = ETHERNET + header;
		memcpy(packet->header, frame, packet->header_bytes);
	}
	memcpy(packet->data + offset, ip + header, bytes);
	packet->have_bytes += bytes;
	/* More than there can be: some lay behind the end that came last. */
	if (packet->total_bytes && packet->have_bytes > packet->total_bytes)
		forget(packet);
	else if (packet->total_bytes && packet->have_bytes == packet->total_bytes && packet->header_bytes)
		return complete(packet, frame);
	return 0;
}
