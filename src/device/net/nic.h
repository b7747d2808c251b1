/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the network cards of this folder share: the way between a card's rings and its back end.
 *
 * A card has one lock. Register accesses come in any vCPU's thread and take it; they never send. What they start is
 * done in the thread of the back end's loop: nic_kick wakes it, and it asks the card for frames, a bounded number a
 * turn, so a guest that refills its ring for ever does not hold up the loop. A frame goes to the back end without the
 * lock, because the answer may come back from inside that call.
 */
#ifndef XUNI_DEVICE_NET_NIC_H
#define XUNI_DEVICE_NET_NIC_H

#include "backend/net/frame.h"
#include "backend/net/net.h"
#include "base/log.h"
#include "base/loop.h"
#include "core/device.h"

#include <pthread.h>
#include <stdatomic.h>

struct nic;

enum { NIC_FRAME_MIN = 60 /* without FCS */, NIC_FCS_BYTES = 4, NIC_VLAN_BYTES = 4 };

/* A frame on its way out. The card fills data (room for FRAME_MAX) and the rest. */
struct nic_out {
	uint8_t *data;
	size_t length;
	struct net_header header; /* zero: a frame as it is on the wire */
	bool loopback;            /* to the card's own receiver */
};

/* A frame that arrives: at least NIC_FRAME_MIN bytes, without FCS. */
struct nic_in {
	const uint8_t *data;
	size_t length;
	bool sums_good; /* the back end vouches for the TCP or UDP checksum */
};

enum nic_turn {
	NIC_IDLE,  /* nothing to send */
	NIC_FRAME, /* *out is to be sent */
	NIC_AGAIN, /* worked on the ring without completing a frame; ask again */
};

/* Called with the card's lock held, in the loop's thread. */
struct nic_ops {
	/* Takes the next frame off the transmit ring. Bounded work in one call. */
	enum nic_turn (*transmit)(struct nic *nic, struct nic_out *out);
	/* False: no room now; nic_kick(nic, NIC_KICK_RECEIVE) when there is. True: taken, or not for this card. */
	bool (*receive)(struct nic *nic, const struct nic_in *in);
	void (*link_changed)(struct nic *nic, bool up);
};

enum nic_kick { NIC_KICK_TRANSMIT = 1, NIC_KICK_RECEIVE = 2 };

struct nic {
	const struct nic_ops *ops;
	struct device *device;

	/* Properties. */
	struct net_backend *netdev;
	uint8_t mac[6]; /* zero: one is taken that no other machine on the host has */

	pthread_mutex_t lock;
	struct log_limit log_limit;

	/* nic.c's own. */
	int mac_lock;
	bool header;            /* frames to and from the back end begin with a struct net_header */
	_Atomic uint32_t kicks; /* enum nic_kick, asked for */
	int event_fd;
	struct loop_fd *watch;
	struct loop_timer retry;
	uint8_t *out_data, *in_data;
};

#define NIC_PROPERTIES(TYPE, MEMBER)                                                                                   \
	DEVICE_BOOTINDEX_PROPERTY,                                                                                     \
		{.name = "netdev",                                                                                     \
		 .type = PROPERTY_NET,                                                                                 \
		 .offset = offsetof(TYPE, MEMBER.netdev),                                                              \
		 .help = "id of a -netdev"},                                                                           \
	{                                                                                                              \
		.name = "mac", .type = PROPERTY_MAC, .offset = offsetof(TYPE, MEMBER.mac),                             \
		.help = "address; default: one that no other machine on this host has"                                 \
	}

/* In the device's init, when its properties are set; makes nic->mac valid. Undone by nic_fini (last in fini, after the
 * regions are gone). */
int nic_init(struct nic *nic, struct device *device, const struct nic_ops *ops, struct error *err);
void nic_fini(struct nic *nic);
/* For cards whose receive ring lies in memory alone, so that nothing tells when the guest gave buffers back: after
 * `receive` said false the frame is offered again soon. In receive. */
void nic_retry(struct nic *nic);
/* Puts a VLAN tag behind the addresses; there are NIC_VLAN_BYTES before out->data. */
void nic_out_tag(struct nic_out *out, uint16_t type, uint16_t tag);
/* Makes a frame that is to be cut into TCP segments of mss bytes of data ready: IP length and sum and the TCP sum are
 * those of the whole; the back end cuts it where it must. False: it is no TCP, or its headers contradict its length. */
bool nic_out_large(struct nic_out *out, uint16_t mss);
/* Any thread, lock held or not: the rings changed. */
void nic_kick(struct nic *nic, uint32_t kicks);
bool nic_link(const struct nic *nic);

/* The 32-bit CRC of an Ethernet address, most significant bit first, from which cards take their multicast hash. */
uint32_t nic_crc_be(const uint8_t *data, size_t length);
/* The same, least significant bit first. */
uint32_t nic_crc_le(const uint8_t *data, size_t length);
static inline bool nic_is_multicast(const uint8_t *frame)
{
	return frame[0] & 1;
}
bool nic_is_broadcast(const uint8_t *frame);

#endif
