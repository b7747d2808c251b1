/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control queue (virtio 1.2 5.1.6.5) and the receive filter that it sets. Left out: RSS, hash reports. */
#include "device/virtio/virtio_net.h"

#include "base/util.h"

enum { OK = 0, ERR = 1 };

enum control_class {
	CLASS_RX = 0,
	CLASS_MAC = 1,
	CLASS_VLAN = 2,
	CLASS_ANNOUNCE = 3,
	CLASS_PAIRS = 4,
	CLASS_OFFLOADS = 5,
};

enum {
	RX_PROMISCUOUS = 0,
	RX_ALL_MULTICAST = 1,
	RX_ALL_UNICAST = 2,
	RX_NO_MULTICAST = 3,
	RX_NO_UNICAST = 4,
	RX_NO_BROADCAST = 5,
	MAC_TABLE_SET = 0,
	MAC_ADDRESS_SET = 1,
	VLAN_ADD = 0,
	VLAN_DELETE = 1,
};

/* What follows class and command, read piece by piece. */
struct control_input {
	const struct iovec *iov;
	unsigned count;
	size_t offset;
};

static bool take(struct control_input *input, void *to, size_t bytes)
{
	if (iov_read(input->iov, input->count, input->offset, to, bytes) != bytes)
		return false;
	input->offset += bytes;
	return true;
}

void virtio_net_filter_reset(struct virtio_net *net)
{
	pthread_mutex_lock(&net->filter_lock);
	net->filter = (struct virtio_net_filter){.promiscuous = true};
	memcpy(net->filter.mac, net->mac, sizeof(net->filter.mac));
	pthread_mutex_unlock(&net->filter_lock);
}

bool virtio_net_filter_of(struct device *device, struct virtio_net_filter *filter, bool *vlans)
{
	const struct device_class *class = device->class;
	struct virtio_net *net = container_of(device, struct virtio_net, virtio.device);

	if (class != &virtio_net_pci && class != &virtio_net_pci_transitional &&
	    class != &virtio_net_pci_non_transitional)
		return false;
	pthread_mutex_lock(&net->filter_lock);
	*filter = net->filter;
	pthread_mutex_unlock(&net->filter_lock);
	*vlans = virtio_has(&net->virtio, VIRTIO_NET_F_CTRL_VLAN);
	return true;
}

static bool in_table(const uint8_t *table, uint32_t count, const uint8_t *mac)
{
	for (uint32_t i = 0; i < count; i++)
		if (!memcmp(table + 6 * i, mac, 6))
			return true;
	return false;
}

static bool accepts_vlan(struct virtio_net *net, const uint8_t *frame, size_t length)
{
	unsigned id;

	if (!virtio_has(&net->virtio, VIRTIO_NET_F_CTRL_VLAN) || length < 16 || frame[12] != 0x81 || frame[13] != 0x00)
		return true;
	id = (unsigned)(frame[14] << 8 | frame[15]) & 4095;
	return net->filter.vlans[id / 8] >> id % 8 & 1;
}

static bool accepts_address(const struct virtio_net_filter *filter, const uint8_t *mac)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (!memcmp(mac, broadcast, 6))
		return !filter->no_broadcast;
	if (mac[0] & 1)
		return !filter->no_multicast && (filter->all_multicast || filter->multicast_overflow ||
						 in_table(filter->multicast, filter->multicast_count, mac));
	return !filter->no_unicast &&
	       (filter->all_unicast || filter->unicast_overflow || !memcmp(mac, filter->mac, 6) ||
		in_table(filter->unicast, filter->unicast_count, mac));
}

bool virtio_net_filter_accepts(struct virtio_net *net, const uint8_t *frame, size_t length)
{
	bool accepts;

	if (length < 14)
		return false;
	pthread_mutex_lock(&net->filter_lock);
	accepts = net->filter.promiscuous || (accepts_vlan(net, frame, length) && accepts_address(&net->filter, frame));
	pthread_mutex_unlock(&net->filter_lock);
	return accepts;
}

static uint8_t set_mode(struct virtio_net *net, uint8_t command, struct control_input *input)
{
	struct virtio_net_filter *filter = &net->filter;
	bool *modes[] = {&filter->promiscuous,  &filter->all_multicast, &filter->all_unicast,
			 &filter->no_multicast, &filter->no_unicast,    &filter->no_broadcast};
	uint8_t on;

	if (command >= ARRAY_SIZE(modes) || !take(input, &on, 1))
		return ERR;
	if (command >= RX_ALL_UNICAST && !virtio_has(&net->virtio, VIRTIO_NET_F_CTRL_RX_EXTRA))
		return ERR;
	pthread_mutex_lock(&net->filter_lock);
	*modes[command] = on != 0;
	pthread_mutex_unlock(&net->filter_lock);
	return OK;
}

/* One of the two lists: le32 count and addresses. Too long a list becomes an overflow flag. */
static bool take_table(struct control_input *input, uint8_t *table, uint32_t *count, bool *overflow)
{
	uint8_t bytes[4];
	uint32_t entries;

	if (!take(input, bytes, sizeof(bytes)))
		return false;
	entries = load_le32(bytes);
	*overflow = entries > VIRTIO_NET_TABLE;
	*count = *overflow ? 0 : entries;
	if (!*overflow)
		return take(input, table, 6 * (size_t)entries);
	/* The end of the list must exist all the same, or the second one would be read from the middle of it. */
	if (entries > VIRTIO_SEGMENTS_MAX * 4096u / 6)
		return false;
	input->offset += 6 * (size_t)entries;
	return input->offset <= iov_bytes(input->iov, input->count);
}

static uint8_t set_mac(struct virtio_net *net, uint8_t command, struct control_input *input)
{
	struct virtio_net_filter table = {0};
	uint8_t mac[6];

	if (command == MAC_ADDRESS_SET) {
		if (!take(input, mac, sizeof(mac)))
			return ERR;
		pthread_mutex_lock(&net->filter_lock);
		memcpy(net->filter.mac, mac, sizeof(mac));
		pthread_mutex_unlock(&net->filter_lock);
		return OK;
	}
	if (command != MAC_TABLE_SET ||
	    !take_table(input, table.unicast, &table.unicast_count, &table.unicast_overflow) ||
	    !take_table(input, table.multicast, &table.multicast_count, &table.multicast_overflow))
		return ERR;
	pthread_mutex_lock(&net->filter_lock);
	memcpy(net->filter.unicast, table.unicast, sizeof(table.unicast));
	memcpy(net->filter.multicast, table.multicast, sizeof(table.multicast));
	net->filter.unicast_count = table.unicast_count;
	net->filter.multicast_count = table.multicast_count;
	net->filter.unicast_overflow = table.unicast_overflow;
	net->filter.multicast_overflow = table.multicast_overflow;
	pthread_mutex_unlock(&net->filter_lock);
	return OK;
}

static uint8_t set_vlan(struct virtio_net *net, uint8_t command, struct control_input *input)
{
	uint8_t bytes[2];
	uint16_t id;

	if (command > VLAN_DELETE || !take(input, bytes, sizeof(bytes)))
		return ERR;
	id = load_le16(bytes);
	if (id >= 4096)
		return ERR;
	pthread_mutex_lock(&net->filter_lock);
	if (command == VLAN_ADD)
		net->filter.vlans[id / 8] |= (uint8_t)(1 << id % 8);
	else
		net->filter.vlans[id / 8] &= (uint8_t) ~(1 << id % 8);
	pthread_mutex_unlock(&net->filter_lock);
	return OK;
}

static uint8_t set_pairs(struct virtio_net *net, uint8_t command, struct control_input *input)
{
	uint8_t bytes[2];
	uint16_t pairs;

	if (command != 0 || !take(input, bytes, sizeof(bytes)))
		return ERR;
	pairs = load_le16(bytes);
	if (pairs < 1 || pairs > net->pairs_max || !virtio_has(&net->virtio, VIRTIO_NET_F_MQ))
		return ERR;
	atomic_store(&net->wanted_pairs, pairs);
	virtio_net_sync(net);
	return OK;
}

static uint8_t set_offloads(struct virtio_net *net, uint8_t command, struct control_input *input)
{
	const uint64_t switchable = VIRTIO_BIT(VIRTIO_NET_F_GUEST_CSUM) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO4) |
				    VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO6) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_ECN);
	uint8_t bytes[8];
	uint64_t features;

	if (command != 0 || !take(input, bytes, sizeof(bytes)))
		return ERR;
	features = load_le64(bytes);
	if (features & ~(switchable & net->virtio.features))
		return ERR;
	atomic_store(&net->wanted_offloads, virtio_net_guest_offloads(features));
	virtio_net_sync(net);
	return OK;
}

static uint8_t acknowledge_announce(struct virtio_net *net, uint8_t command)
{
	if (command != 0 || !(atomic_load(&net->status) & VIRTIO_NET_STATUS_ANNOUNCE))
		return ERR;
	atomic_fetch_and(&net->status, (uint16_t)~VIRTIO_NET_STATUS_ANNOUNCE);
	virtio_config_changed(&net->virtio);
	return OK;
}

static uint8_t execute(struct virtio_net *net, uint8_t class, uint8_t command, struct control_input *input)
{
	switch (class) {
	case CLASS_RX:
		return set_mode(net, command, input);
	case CLASS_MAC:
		return set_mac(net, command, input);
	case CLASS_VLAN:
		return set_vlan(net, command, input);
	case CLASS_ANNOUNCE:
		return acknowledge_announce(net, command);
	case CLASS_PAIRS:
		return set_pairs(net, command, input);
	case CLASS_OFFLOADS:
		return set_offloads(net, command, input);
	default:
		return ERR;
	}
}

void virtio_net_control(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_net *net = virtio_net_of(device);
	struct virtq_element *element;

	do {
		virtqueue_kicks_off(queue);
		while ((element = virtqueue_pop(queue))) {
			struct control_input input = {element->out, element->out_count, 0};
			uint8_t head[2], result = ERR;

			if (!element->in_bytes || !take(&input, head, sizeof(head))) {
				virtio_fault(device, "a control command without its header or answer");
				virtqueue_drop(element);
				return;
			}
			result = execute(net, head[0], head[1], &input);
			if (result != OK)
				log_guest(device->device.env->log, &net->log_limit,
					  "virtio-net: control command %u.%u refused", head[0], head[1]);
			/* The answer is the last byte of what the driver reads. */
			iov_write(element->in, element->in_count, element->in_bytes - 1, &result, 1);
			virtqueue_push(element, element->in_bytes);
		}
	} while (virtqueue_kicks_on(queue));
	virtqueue_notify(queue);
}
