/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio network device in three parts: virtio_net.c (features, configuration, life), virtio_net_data.c (frames
 * both ways), virtio_net_control.c (control queue and receive filter).
 *
 * Threads: frames and control commands in the thread of the back end's loop. features_set and reset run in a vCPU's
 * thread; what they decide reaches the back end through `wanted` when the loop gets there (virtio_net_sync).
 * filter_lock guards `filter` and is a leaf.
 */
#ifndef XUNI_DEVICE_VIRTIO_VIRTIO_NET_H
#define XUNI_DEVICE_VIRTIO_VIRTIO_NET_H

#include "backend/net/net.h"
#include "base/loop.h"
#include "device/virtio/virtio.h"

/* 5.1.3: feature bits. */
enum virtio_net_feature {
	VIRTIO_NET_F_CSUM = 0,
	VIRTIO_NET_F_GUEST_CSUM = 1,
	VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2,
	VIRTIO_NET_F_MTU = 3,
	VIRTIO_NET_F_MAC = 5,
	VIRTIO_NET_F_GUEST_TSO4 = 7,
	VIRTIO_NET_F_GUEST_TSO6 = 8,
	VIRTIO_NET_F_GUEST_ECN = 9,
	VIRTIO_NET_F_HOST_TSO4 = 11,
	VIRTIO_NET_F_HOST_TSO6 = 12,
	VIRTIO_NET_F_HOST_ECN = 13,
	VIRTIO_NET_F_MRG_RXBUF = 15,
	VIRTIO_NET_F_STATUS = 16,
	VIRTIO_NET_F_CTRL_VQ = 17,
	VIRTIO_NET_F_CTRL_RX = 18,
	VIRTIO_NET_F_CTRL_VLAN = 19,
	VIRTIO_NET_F_CTRL_RX_EXTRA = 20,
	VIRTIO_NET_F_GUEST_ANNOUNCE = 21,
	VIRTIO_NET_F_MQ = 22,
	VIRTIO_NET_F_CTRL_MAC_ADDR = 23,
	VIRTIO_NET_F_SPEED_DUPLEX = 63,
};

#define VIRTIO_NET_STATUS_LINK_UP  1
#define VIRTIO_NET_STATUS_ANNOUNCE 2
#define VIRTIO_NET_PAIRS_MAX       16
#define VIRTIO_NET_TABLE           64

/* 5.1.6.5.1: what the driver wants to receive. */
struct virtio_net_filter {
	bool promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
	bool unicast_overflow, multicast_overflow; /* more addresses than the table holds: take all */
	uint32_t unicast_count, multicast_count;
	uint8_t unicast[VIRTIO_NET_TABLE * 6], multicast[VIRTIO_NET_TABLE * 6];
	uint8_t vlans[4096 / 8];
	uint8_t mac[6]; /* the address in use, which the driver may change */
};

struct virtio_net {
	struct virtio_device virtio;

	/* Properties. */
	struct net_backend *netdev;
	uint8_t mac[6]; /* zero: one is taken that no other machine on the host has */
	bool csum, guest_csum, guest_tso4, guest_tso6, guest_ecn, host_tso4, host_tso6, host_ecn, gso;
	bool mergeable, report_status, control, control_rx, control_rx_extra, control_vlan, control_mac, announce;
	bool guest_offloads, multiqueue;
	uint16_t host_mtu, rx_queue_size, tx_queue_size;
	int32_t speed;
	char *duplex;

	int mac_lock;
	unsigned pairs_max;
	bool backend_header; /* frames to and from the back end begin with a struct net_header */

	_Atomic uint16_t status;
	_Atomic uint32_t wanted_offloads; /* enum net_offload: what the driver can receive */
	_Atomic uint32_t wanted_pairs;

	/* The loop's thread. */
	uint32_t applied_offloads, applied_pairs;
	struct loop_timer end_of_pass; /* does what cannot be done under a queue's lock */
	bool resume;                   /* the driver gave buffers after the back end had been refused */
	uint32_t notify_pending;       /* receive queues with frames the driver was not told of: one bit a pair */
	struct log_limit log_limit;

	pthread_mutex_t filter_lock;
	struct virtio_net_filter filter;
};

static inline struct virtio_net *virtio_net_of(struct virtio_device *device)
{
	return (struct virtio_net *)device;
}

/* Tells the back end what the driver last chose. Loop's thread, not from inside the back end's delivery. */
void virtio_net_sync(struct virtio_net *net);
/* The bits of enum net_offload that a set of features lets the driver receive. */
uint32_t virtio_net_guest_offloads(uint64_t features);

/* virtio_net_data.c */
void virtio_net_transmit(struct virtio_device *device, struct virtqueue *queue);
void virtio_net_buffers_added(struct virtio_device *device, struct virtqueue *queue);
bool virtio_net_receive(void *opaque, unsigned pair, const struct iovec *iov, int iov_count, size_t length);
void virtio_net_end_of_pass(void *opaque);

/* virtio_net_control.c */
/* What the driver wants to receive; vlans: the driver filters by VLAN. False: another device. Any thread. */
bool virtio_net_filter_of(struct device *device, struct virtio_net_filter *filter, bool *vlans);
void virtio_net_control(struct virtio_device *device, struct virtqueue *queue);
void virtio_net_filter_reset(struct virtio_net *net);
/* frame: its first bytes, at most 18. */
bool virtio_net_filter_accepts(struct virtio_net *net, const uint8_t *frame, size_t length);

#endif
