/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio network device (virtio 1.2 5.1): features, configuration space, life. Offloads are offered as far as the
 * back end takes them (struct net_header is the same structure on both sides). Left out: UFO and USO, RSS and hash
 * reports, standby, notification coalescing.
 */
#include "device/virtio/virtio_net.h"

#include "base/util.h"

#include <stdlib.h>

enum { CONTROL_QUEUE_SIZE = 64, CLASS_NETWORK_ETHERNET = 0x020000 };

/* 5.1.4 */
struct net_config {
	uint8_t mac[6];
	uint16_t status;
	uint16_t pairs_max;
	uint16_t mtu;
	uint32_t speed_mbit;
	uint8_t duplex;
} __attribute__((packed));

uint32_t virtio_net_guest_offloads(uint64_t features)
{
	return (features & VIRTIO_BIT(VIRTIO_NET_F_GUEST_CSUM) ? NET_CSUM : 0u) |
	       (features & VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO4) ? NET_TSO4 : 0u) |
	       (features & VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO6) ? NET_TSO6 : 0u) |
	       (features & VIRTIO_BIT(VIRTIO_NET_F_GUEST_ECN) ? NET_ECN : 0u);
}

void virtio_net_sync(struct virtio_net *net)
{
	uint32_t offloads = atomic_load(&net->wanted_offloads);
	uint32_t pairs = atomic_load(&net->wanted_pairs);

	if (!net->netdev)
		return;
	if (offloads != net->applied_offloads) {
		net->applied_offloads = offloads;
		net_set_offloads(net->netdev, offloads, net->backend_header ? sizeof(struct net_header) : 0);
	}
	if (pairs != net->applied_pairs) {
		net->applied_pairs = pairs;
		net_set_queues(net->netdev, pairs);
	}
}

/* The control queue's place depends on whether the driver knows of several pairs (5.1.2). */
static void handle(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_net *net = virtio_net_of(device);
	unsigned index = virtqueue_index(queue);
	unsigned control = virtio_has(device, VIRTIO_NET_F_MQ) ? 2 * net->pairs_max : 2;

	if (net->applied_offloads != atomic_load(&net->wanted_offloads) ||
	    net->applied_pairs != atomic_load(&net->wanted_pairs))
		loop_timer_set(&net->end_of_pass, 0);
	if (index == control)
		virtio_net_control(device, queue);
	else if (index % 2)
		virtio_net_transmit(device, queue);
	else
		virtio_net_buffers_added(device, queue);
}

static bool receive_first(void *opaque, const struct iovec *iov, int iov_count, size_t length)
{
	return virtio_net_receive(opaque, 0, iov, iov_count, length);
}

static void link_changed(void *opaque, bool up)
{
	struct virtio_net *net = opaque;

	if (up)
		atomic_fetch_or(&net->status, VIRTIO_NET_STATUS_LINK_UP);
	else
		atomic_fetch_and(&net->status, (uint16_t)~VIRTIO_NET_STATUS_LINK_UP);
	virtio_config_changed(&net->virtio);
}

static void config_read(struct virtio_device *device, uint8_t *bytes)
{
	struct virtio_net *net = virtio_net_of(device);
	struct net_config config = {
		.status = atomic_load(&net->status),
		.pairs_max = (uint16_t)net->pairs_max,
		.mtu = net->host_mtu,
		.speed_mbit = (uint32_t)net->speed,
		.duplex = !net->duplex ? 0xff : !strcmp(net->duplex, "full"),
	};

	pthread_mutex_lock(&net->filter_lock);
	memcpy(config.mac, net->filter.mac, sizeof(config.mac));
	pthread_mutex_unlock(&net->filter_lock);
	memcpy(bytes, &config, sizeof(config));
}

/* Legacy drivers set the address here (5.1.4.1). */
static void config_write(struct virtio_device *device, const uint8_t *bytes, unsigned offset, unsigned size)
{
	struct virtio_net *net = virtio_net_of(device);

	if (offset >= sizeof(net->mac) || virtio_has(device, VIRTIO_F_VERSION_1) ||
	    virtio_has(device, VIRTIO_NET_F_CTRL_MAC_ADDR))
		return;
	pthread_mutex_lock(&net->filter_lock);
	memcpy(net->filter.mac, bytes, sizeof(net->filter.mac));
	pthread_mutex_unlock(&net->filter_lock);
}

static bool features_set(struct virtio_device *device, uint64_t features)
{
	struct virtio_net *net = virtio_net_of(device);

	atomic_store(&net->wanted_offloads, virtio_net_guest_offloads(features));
	atomic_store(&net->wanted_pairs, 1);
	return true;
}

static void reset(struct virtio_device *device)
{
	struct virtio_net *net = virtio_net_of(device);

	virtio_net_filter_reset(net);
	atomic_fetch_and(&net->status, (uint16_t)~VIRTIO_NET_STATUS_ANNOUNCE);
}

static void offer(struct virtio_net *net, bool wanted, enum virtio_net_feature feature)
{
	if (wanted)
		net->virtio.offered |= VIRTIO_BIT(feature);
}

static void offer_features(struct virtio_net *net)
{
	uint32_t can = net->netdev ? net_offloads(net->netdev) : 0;
	bool csum = net->csum && (can & NET_VNET_HDR) && (can & NET_CSUM);
	bool guest_csum = net->guest_csum && (can & NET_VNET_HDR) && (can & NET_CSUM);
	bool host_gso = csum && net->gso;

	net->backend_header = can & NET_VNET_HDR;
	net->virtio.offered |= VIRTIO_BIT(VIRTIO_NET_F_MAC);
	offer(net, csum, VIRTIO_NET_F_CSUM);
	offer(net, guest_csum, VIRTIO_NET_F_GUEST_CSUM);
	offer(net, host_gso && net->host_tso4 && (can & NET_TSO4), VIRTIO_NET_F_HOST_TSO4);
	offer(net, host_gso && net->host_tso6 && (can & NET_TSO6), VIRTIO_NET_F_HOST_TSO6);
	offer(net, host_gso && net->host_ecn && (can & NET_ECN), VIRTIO_NET_F_HOST_ECN);
	offer(net, guest_csum && net->guest_tso4 && (can & NET_TSO4), VIRTIO_NET_F_GUEST_TSO4);
	offer(net, guest_csum && net->guest_tso6 && (can & NET_TSO6), VIRTIO_NET_F_GUEST_TSO6);
	offer(net, guest_csum && net->guest_ecn && (can & NET_ECN), VIRTIO_NET_F_GUEST_ECN);
	offer(net, net->mergeable, VIRTIO_NET_F_MRG_RXBUF);
	offer(net, net->report_status, VIRTIO_NET_F_STATUS);
	offer(net, net->host_mtu != 0, VIRTIO_NET_F_MTU);
	offer(net, net->speed >= 0 || net->duplex, VIRTIO_NET_F_SPEED_DUPLEX);
	if (!net->control)
		return;
	offer(net, true, VIRTIO_NET_F_CTRL_VQ);
	offer(net, net->control_rx, VIRTIO_NET_F_CTRL_RX);
	offer(net, net->control_rx && net->control_rx_extra, VIRTIO_NET_F_CTRL_RX_EXTRA);
	offer(net, net->control_vlan, VIRTIO_NET_F_CTRL_VLAN);
	offer(net, net->control_mac, VIRTIO_NET_F_CTRL_MAC_ADDR);
	offer(net, net->announce && net->report_status, VIRTIO_NET_F_GUEST_ANNOUNCE);
	offer(net, net->guest_offloads && guest_csum, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	offer(net, net->pairs_max > 1, VIRTIO_NET_F_MQ);
}

static int check_properties(struct virtio_net *net, struct error *err)
{
	const uint16_t sizes[] = {net->rx_queue_size, net->tx_queue_size};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		if (!is_power_of_two(sizes[i]) || sizes[i] < 64 || sizes[i] > VIRTIO_QUEUE_SIZE_MAX)
			return error_set(err, EINVAL, "%s_queue_size=%u: a power of two from 64 to %d is needed",
					 i ? "tx" : "rx", sizes[i], VIRTIO_QUEUE_SIZE_MAX);
	if (net->host_mtu && net->host_mtu < 68)
		return error_set(err, EINVAL, "host_mtu=%u: at least 68 is needed", net->host_mtu);
	if (net->duplex && strcmp(net->duplex, "full") && strcmp(net->duplex, "half"))
		return error_set(err, EINVAL, "duplex=%s: 'full' or 'half' is needed", net->duplex);
	if (net->mac[0] & 1)
		return error_set(err, EINVAL, "mac=: an address that begins with %02x is a multicast address, not a card's", net->mac[0]);
	return 0;
}

static int init(struct virtio_device *device, struct error *err)
{
	static const uint8_t none[6];
	struct virtio_net *net = virtio_net_of(device);
	struct loop *loop = net->netdev ? net->netdev->loop : device->device.env->loop;
	int result = check_properties(net, err);

	net->mac_lock = -1;
	if (!result && !memcmp(net->mac, none, sizeof(none)))
		result = net_mac_allocate(net->mac, &net->mac_lock, err);
	if (result)
		return result;
	device->device.boot_name = "/ethernet-phy@0";
	pthread_mutex_init(&net->filter_lock, NULL);
	net->pairs_max = net->multiqueue && net->control && net->netdev
				 ? (unsigned)min_u64(net->netdev->queues, VIRTIO_NET_PAIRS_MAX)
				 : 1;
	net->wanted_pairs = net->applied_pairs = 1;
	virtio_net_filter_reset(net);
	offer_features(net);
	loop_timer_init(&net->end_of_pass, loop, virtio_net_end_of_pass, net);
	for (unsigned i = 0; i < net->pairs_max; i++) {
		virtio_queue_add(device, net->rx_queue_size, 0, loop, handle);
		virtio_queue_add(device, net->tx_queue_size, 0, loop, handle);
	}
	if (net->control)
		virtio_queue_add(device, CONTROL_QUEUE_SIZE, 0, loop, handle);
	if (net->netdev) {
		struct net_port port = {.receive = receive_first,
					.receive_queue = virtio_net_receive,
					.link_changed = link_changed,
					.opaque = net};

		if (net->netdev->link_up)
			net->status = VIRTIO_NET_STATUS_LINK_UP;
		net_attach(net->netdev, &port);
		net_set_offloads(net->netdev, 0, net->backend_header ? sizeof(struct net_header) : 0);
	}
	return 0;
}

static void fini(struct virtio_device *device)
{
	struct virtio_net *net = virtio_net_of(device);

	loop_timer_cancel(&net->end_of_pass);
	if (net->netdev)
		net_detach(net->netdev);
	loop_timer_cancel(&net->end_of_pass);
	net_mac_release(net->mac_lock);
	pthread_mutex_destroy(&net->filter_lock);
}

static const struct virtio_class model = {
	.name = "virtio-net",
	.id = VIRTIO_ID_NET,
	.config_size = sizeof(struct net_config),
	.init = init,
	.fini = fini,
	.config_read = config_read,
	.config_write = config_write,
	.features_set = features_set,
	.reset = reset,
};

static int check_state(const void *staged, struct error *err)
{
	const struct virtio_net *net = staged;

	if (net->filter.unicast_count > VIRTIO_NET_TABLE || net->filter.multicast_count > VIRTIO_NET_TABLE)
		return error_set(err, EINVAL, "more than %d addresses in the receive filter", VIRTIO_NET_TABLE);
	if (net->wanted_pairs < 1 || net->wanted_pairs > net->pairs_max)
		return error_set(err, EINVAL, "%u queue pairs in use; this device has %u", net->wanted_pairs,
				 net->pairs_max);
	return 0;
}

/* After a migration the network has to learn where the guest is now: the guest says so itself. */
static void after_load(void *object)
{
	struct virtio_net *net = object;
	struct virtio_device *device = &net->virtio;

	atomic_fetch_and(&net->status, (uint16_t)~VIRTIO_NET_STATUS_LINK_UP);
	if (net->netdev && net->netdev->link_up)
		atomic_fetch_or(&net->status, VIRTIO_NET_STATUS_LINK_UP);
	loop_timer_set(&net->end_of_pass, 0);
	if (!virtio_has(device, VIRTIO_NET_F_GUEST_ANNOUNCE) || !virtio_has(device, VIRTIO_NET_F_CTRL_VQ))
		return;
	atomic_fetch_or(&net->status, VIRTIO_NET_STATUS_ANNOUNCE);
	virtio_config_changed(device);
}

static const struct state_field fields[] = {
	STATE_SUB(virtio_device_state, struct virtio_net, virtio, 1),
	STATE_FIELD(STATE_U16, struct virtio_net, status),
	STATE_FIELD(STATE_U32, struct virtio_net, wanted_offloads),
	STATE_FIELD(STATE_U32, struct virtio_net, wanted_pairs),
	STATE_FIELD(STATE_BOOL, struct virtio_net, filter.promiscuous),
	STATE_FIELD(STATE_BOOL, struct virtio_net, filter.all_multicast),
	STATE_FIELD(STATE_BOOL, struct virtio_net, filter.all_unicast),
	STATE_FIELD(STATE_BOOL, struct virtio_net, filter.no_multicast),
	STATE_FIELD(STATE_BOOL, struct virtio_net, filter.no_unicast),
	STATE_FIELD(STATE_BOOL, struct virtio_net, filter.no_broadcast),
	STATE_FIELD(STATE_BOOL, struct virtio_net, filter.unicast_overflow),
	STATE_FIELD(STATE_BOOL, struct virtio_net, filter.multicast_overflow),
	STATE_FIELD(STATE_U32, struct virtio_net, filter.unicast_count),
	STATE_FIELD(STATE_U32, struct virtio_net, filter.multicast_count),
	STATE_FIELD_N(STATE_BYTES, struct virtio_net, filter.unicast, VIRTIO_NET_TABLE * 6),
	STATE_FIELD_N(STATE_BYTES, struct virtio_net, filter.multicast, VIRTIO_NET_TABLE * 6),
	STATE_FIELD_N(STATE_BYTES, struct virtio_net, filter.vlans, 4096 / 8),
	STATE_FIELD_N(STATE_BYTES, struct virtio_net, filter.mac, 6),
	STATE_END,
};

static const struct state_table state = {
	.name = "virtio-net",
	.version = 1,
	.size = sizeof(struct virtio_net),
	.fields = fields,
	.check = check_state,
	.after_load = after_load,
};

#define FLAG(NAME, MEMBER, FALLBACK, HELP)                                                                             \
	{                                                                                                              \
		.name = NAME, .type = PROPERTY_BOOL, .offset = offsetof(struct virtio_net, MEMBER),                    \
		.fallback = FALLBACK, .help = HELP                                                                     \
	}

static const struct property properties[] = {
	DEVICE_BOOTINDEX_PROPERTY,
	PCI_ROMFILE_PROPERTY(struct virtio_net, virtio.pci, "efi-virtio.rom"),
	{.name = "netdev",
	 .type = PROPERTY_NET,
	 .offset = offsetof(struct virtio_net, netdev),
	 .help = "id of a -netdev"},
	{.name = "mac",
	 .type = PROPERTY_MAC,
	 .offset = offsetof(struct virtio_net, mac),
	 .help = "address; default: one that no other machine on this host has"},
	FLAG("csum", csum, "on", "take frames whose checksum the driver left open"),
	FLAG("gso", gso, "on", "take frames larger than the MTU at all"),
	FLAG("host_tso4", host_tso4, "on", "take large TCP/IPv4 frames"),
	FLAG("host_tso6", host_tso6, "on", "take large TCP/IPv6 frames"),
	FLAG("host_ecn", host_ecn, "on", "take large TCP frames with ECN"),
	FLAG("guest_csum", guest_csum, "on", "give frames without checksum"),
	FLAG("guest_tso4", guest_tso4, "on", "give large TCP/IPv4 frames"),
	FLAG("guest_tso6", guest_tso6, "on", "give large TCP/IPv6 frames"),
	FLAG("guest_ecn", guest_ecn, "on", "give large TCP frames with ECN"),
	FLAG("mrg_rxbuf", mergeable, "on", "a frame may fill several receive buffers"),
	FLAG("status", report_status, "on", "report the link's state"),
	FLAG("ctrl_vq", control, "on", "control queue"),
	FLAG("ctrl_rx", control_rx, "on", "receive modes"),
	FLAG("ctrl_rx_extra", control_rx_extra, "on", "more receive modes"),
	FLAG("ctrl_vlan", control_vlan, "on", "VLAN filter"),
	FLAG("ctrl_mac_addr", control_mac, "on", "the driver may change the address"),
	FLAG("ctrl_guest_offloads", guest_offloads, "on", "the driver may change what it receives while running"),
	FLAG("guest_announce", announce, "on", "have the guest announce itself after a migration"),
	FLAG("mq", multiqueue, "off", "as many queue pairs as the back end has queues"),
	{.name = "host_mtu",
	 .type = PROPERTY_U16,
	 .offset = offsetof(struct virtio_net, host_mtu),
	 .fallback = "0",
	 .help = "MTU to tell the guest; 0: none"},
	{.name = "rx_queue_size",
	 .type = PROPERTY_U16,
	 .offset = offsetof(struct virtio_net, rx_queue_size),
	 .fallback = "256",
	 .help = "entries of a receive queue"},
	{.name = "tx_queue_size",
	 .type = PROPERTY_U16,
	 .offset = offsetof(struct virtio_net, tx_queue_size),
	 .fallback = "256",
	 .help = "entries of a transmit queue"},
	{.name = "speed",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct virtio_net, speed),
	 .fallback = "4294967295",
	 .help = "Mbit/s to report; default: unknown"},
	{.name = "duplex",
	 .type = PROPERTY_STRING,
	 .offset = offsetof(struct virtio_net, duplex),
	 .help = "full or half; default: unknown"},
	VIRTIO_PCI_PROPERTIES(struct virtio_net),
	{.name = NULL},
};

VIRTIO_PCI_CLASSES(virtio_net, "virtio-net", "virtio network card", struct virtio_net, properties, &state, &model,
		   CLASS_NETWORK_ETHERNET);
