/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Networks and character back ends: what there is, port forwards, link state, ring buffers. */
#include "backend/char/chardev.h"
#include "backend/net/net.h"
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"
#include "machine/inspect.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *run_chardev(struct command_call *call, struct error *err)
{
	json_t *list = json_array();
	struct chardev *chardev;

	for (size_t i = 0; (chardev = machine_chardev_at(call->machine, i)); i++) {
		char text[512] = "";

		chardev_describe(chardev, text, sizeof(text));
		json_array_append_new(list, json_pack("{s:b,s:s,s:s}", "frontend-open", chardev->attached, "filename",
						      text, "label", chardev->id ? chardev->id : ""));
	}
	return list;
}

static void show_chardev(struct command_call *call, const json_t *result)
{
	json_t *row;
	size_t index;

	json_array_foreach(result, index, row)
	{
		text_printf(call->text, "%s: filename=%s\n", json_string_value(json_object_get(row, "label")),
			    json_string_value(json_object_get(row, "filename")));
	}
}

static json_t *run_chardev_backends(struct command_call *call, struct error *err)
{
	json_t *list = json_array();

	for (size_t i = 0; chardev_drivers[i]; i++)
		json_array_append_new(list, json_pack("{s:s}", "name", chardev_drivers[i]->name));
	return list;
}

/* The device whose property holds the back end, and its MAC address. */
static const struct device *nic_of(const struct machine *machine, const struct net_backend *netdev, const uint8_t **mac)
{
	for (const struct device *d = machine->devices; d; d = d->next) {
		const uint8_t *address = NULL;
		bool mine = false;

		for (const struct property *p = d->class->properties; p && p->name; p++) {
			const char *at = (const char *)d + p->offset;

			if (p->type == PROPERTY_NET)
				mine |= *(struct net_backend *const *)at == netdev;
			if (p->type == PROPERTY_MAC)
				address = (const uint8_t *)at;
		}
		if (mine) {
			*mac = address;
			return d;
		}
	}
	return NULL;
}

static bool is_nic(const struct device *device)
{
	for (const struct property *p = device->class->properties; p && p->name; p++)
		if (p->type == PROPERTY_NET)
			return true;
	return false;
}

/* The id, or "MODEL.N" where N cards of that model came before, as in qemu. */
static const char *nic_name(const struct machine *machine, const struct device *nic, char *text, size_t size)
{
	unsigned before = 0;

	if (nic->id)
		return nic->id;
	for (const struct device *d = machine->devices; d != nic; d = d->next)
		before += d->class == nic->class;
	snprintf(text, size, "%s.%u", nic->class->name, before);
	return text;
}

static json_t *run_network(struct command_call *call, struct error *err)
{
	struct net_backend *netdev;

	for (size_t i = 0; (netdev = machine_netdev_at(call->machine, i)); i++) {
		const uint8_t *mac = NULL;
		const struct device *nic = nic_of(call->machine, netdev, &mac);
		char text[512] = "", name[64];

		if (netdev->driver->describe)
			netdev->driver->describe(netdev, text, sizeof(text));
		if (nic) {
			text_printf(call->text, "%s: index=0,type=nic,model=%s",
				    nic_name(call->machine, nic, name, sizeof(name)), nic->class->name);
			if (mac)
				text_printf(call->text, ",macaddr=%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
					    mac[2], mac[3], mac[4], mac[5]);
			text_printf(call->text, "\n \\ ");
		}
		/* The text begins with the driver's name. */
		text_printf(call->text, "%s: index=0,type=%s\n", netdev->id, *text ? text : netdev->driver->name);
	}
	return json_object();
}

static json_t *run_usernet(struct command_call *call, struct error *err)
{
	struct net_backend *netdev;

	for (size_t i = 0; (netdev = machine_netdev_at(call->machine, i)); i++) {
		char *info = netdev->driver->info ? netdev->driver->info(netdev) : NULL;
		size_t length = strlen(netdev->id);
		const char *rows = info;

		if (!info)
			continue;
		/* The driver's title is the id; qemu's, which scripts look for, says more. */
		if (strncmp(info, netdev->id, length) == 0 && strncmp(info + length, ":\n", 2) == 0)
			rows += length + 2;
		text_printf(call->text, "Hub -1 (%s):\n%s%s", netdev->id, rows,
			    *rows && rows[strlen(rows) - 1] == '\n' ? "" : "\n");
		free(info);
	}
	return json_object();
}

/* The named netdev, or the first that forwards ports. */
static struct net_backend *forwarder(struct command_call *call, const char *id, struct error *err)
{
	struct net_backend *netdev;

	if (id) {
		netdev = machine_netdev(call->machine, id);
		if (!netdev)
			error_set(err, ENODEV, "unrecognized netdev id '%.100s'", id);
		else if (!netdev->driver->hostfwd)
			error_set(err, EINVAL, "netdev '%s' (%s) does not forward ports", id, netdev->driver->name);
		return netdev && netdev->driver->hostfwd ? netdev : NULL;
	}
	for (size_t i = 0; (netdev = machine_netdev_at(call->machine, i)); i++)
		if (netdev->driver->hostfwd)
			return netdev;
	error_set(err, ENODEV, "there is no user network that could forward ports");
	return NULL;
}

/* hostfwd_add [netdev_id] rule: with one word, that is the rule. */
static struct net_backend *forward_arguments(struct command_call *call, const char **rule, struct error *err)
{
	const char *first = argument_string(call, "arg1");

	*rule = argument_string(call, "arg2");
	if (*rule)
		return forwarder(call, first, err);
	*rule = first;
	return forwarder(call, NULL, err);
}

static json_t *run_hostfwd_add(struct command_call *call, struct error *err)
{
	const char *rule;
	struct net_backend *netdev = forward_arguments(call, &rule, err);

	if (!netdev)
		return NULL;
	/* Without "Error: ", as qemu. */
	if (netdev->driver->hostfwd(netdev, true, rule, err) < 0)
		text_printf(call->text, "%s\n", err->msg);
	return json_object();
}

static json_t *run_hostfwd_remove(struct command_call *call, struct error *err)
{
	const char *rule;
	struct net_backend *netdev = forward_arguments(call, &rule, err);

	if (!netdev)
		return NULL;
	text_printf(call->text, "host forwarding rule for %s %s\n", rule,
		    netdev->driver->hostfwd(netdev, false, rule, err) < 0 ? "not found" : "removed");
	return json_object();
}

static json_t *run_set_link(struct command_call *call, struct error *err)
{
	const char *name = argument_string(call, "name");
	struct net_backend *netdev = machine_netdev(call->machine, name), *other;

	for (size_t i = 0; !netdev && (other = machine_netdev_at(call->machine, i)); i++) {
		const uint8_t *mac;
		const struct device *nic = nic_of(call->machine, other, &mac);
		char text[64];

		if (nic && strcmp(nic_name(call->machine, nic, text, sizeof(text)), name) == 0)
			netdev = other;
	}
	if (!netdev) {
		error_set(err, ENODEV, "Device '%.100s' not found", name);
		return NULL;
	}
	net_set_link(netdev, argument_bool(call, "up", true));
	return json_object();
}

static json_t *mac_text(const uint8_t *mac)
{
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static json_t *mac_list(uint8_t (*table)[6], unsigned count)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, mac_text(table[i]));
	return list;
}

/* The highest first, as in qemu. */
static json_t *vlan_list(const uint8_t *vlans)
{
	json_t *list = json_array();

	for (unsigned id = 4096; id--;)
		if (vlans[id / 8] >> id % 8 & 1)
			json_array_append_new(list, json_integer(id));
	return list;
}

static json_t *rx_filter_row(const char *name, struct inspect_rx_filter *filter)
{
	return json_pack("{s:b,s:s,s:o,s:s,s:s,s:o,s:o,s:s,s:b,s:b,s:o,s:b}", "promiscuous", filter->promiscuous, "name",
			 name, "main-mac", mac_text(filter->mac), "unicast", filter->unicast, "vlan", filter->vlan,
			 "vlan-table", vlan_list(filter->vlans), "unicast-table",
			 mac_list(filter->unicast_table, filter->unicast_count), "multicast", filter->multicast,
			 "multicast-overflow", filter->multicast_overflow, "unicast-overflow", filter->unicast_overflow,
			 "multicast-table", mac_list(filter->multicast_table, filter->multicast_count),
			 "broadcast-allowed", filter->broadcast);
}

static json_t *run_rx_filter(struct command_call *call, struct error *err)
{
	const char *wanted = argument_string(call, "name");
	struct inspect_rx_filter *filter = xcalloc(1, sizeof(*filter));
	json_t *list = json_array();
	bool found = false;

	for (struct device *d = call->machine->devices; d; d = d->next) {
		char text[64];
		const char *name = is_nic(d) ? nic_name(call->machine, d, text, sizeof(text)) : NULL;

		if (!name || (wanted && strcmp(name, wanted)))
			continue;
		found = true;
		if (inspect_rx_filter(d, filter))
			json_array_append_new(list, rx_filter_row(name, filter));
		else if (wanted)
			error_set(err, EINVAL, "net client(%.100s) doesn't support rx-filter querying", wanted);
	}
	free(filter);
	if (wanted && !found)
		error_set(err, EINVAL, "invalid net client name: %.100s", wanted);
	if (!wanted || json_array_size(list))
		return list;
	json_decref(list);
	return NULL;
}

static struct chardev *ring_buffer(struct command_call *call, struct error *err)
{
	const char *id = argument_string(call, "device");
	struct chardev *chardev = machine_chardev(call->machine, id);

	if (!chardev)
		error_set(err, ENODEV, "Device '%.100s' not found", id);
	return chardev;
}

static json_t *run_ringbuf_write(struct command_call *call, struct error *err)
{
	const char *data = argument_string(call, "data");
	struct chardev *chardev = ring_buffer(call, err);

	if (!chardev)
		return NULL;
	if (chardev_ringbuf_write(chardev, (const uint8_t *)data, strlen(data)) < 0) {
		error_set(err, EINVAL, "%s is not a ringbuf device", chardev->id);
		return NULL;
	}
	return json_object();
}

static json_t *run_ringbuf_read(struct command_call *call, struct error *err)
{
	int64_t size = argument_int(call, "size", 0), got;
	struct chardev *chardev = ring_buffer(call, err);
	json_t *result;
	uint8_t *data;

	if (!chardev)
		return NULL;
	if (size <= 0 || size > 1 << 20) {
		error_set(err, EINVAL, "size must be greater than zero (and at most 1 MiB)");
		return NULL;
	}
	data = xcalloc(1, (size_t)size + 1);
	got = chardev_ringbuf_read(chardev, data, (size_t)size);
	/* A guest's bytes need not be UTF-8; others would make the reply unreadable. */
	for (int64_t i = 0; i < got; i++)
		if (data[i] == 0 || data[i] >= 0x80)
			data[i] = '?';
	result = got < 0 ? NULL : json_stringn((char *)data, (size_t)got);
	if (!result)
		error_set(err, EINVAL, "%s is not a ringbuf device", chardev->id);
	free(data);
	return result;
}

static void show_ringbuf(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "%s\n", json_string_value(result));
}

#define FORWARD_ARGUMENTS                                                                                              \
	(const struct command_argument[])                                                                              \
	{                                                                                                              \
		{"arg1", ARGUMENT_STRING, false, WORDS_NETDEVS}, {"arg2", ARGUMENT_STRING, true},                      \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}

const struct command commands_backends[] = {
	{"query-chardev", "info chardev", "", "show the character devices", NULL, run_chardev, show_chardev},
	{"query-chardev-backends", NULL, "", "the character back ends there are", NULL, run_chardev_backends},
	{NULL, "info network", "", "show the network state", NULL, run_network},
	{NULL, "info usernet", "", "show user network stack connection states", NULL, run_usernet},
	{NULL, "hostfwd_add", "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
	 "redirect TCP or UDP connections from host to guest", FORWARD_ARGUMENTS, run_hostfwd_add},
	{NULL, "hostfwd_remove", "[netdev_id] [tcp|udp]:[hostaddr]:hostport",
	 "remove host-to-guest TCP or UDP redirection", FORWARD_ARGUMENTS, run_hostfwd_remove},
	{"set_link", "set_link", "name on|off", "change the link status of a network adapter",
	 (const struct command_argument[]){{"name", ARGUMENT_STRING, false, WORDS_NETDEVS}, {"up", ARGUMENT_BOOL}, {0}},
	 run_set_link},
	{"query-rx-filter", NULL, "", "what the drivers of network cards want to receive",
	 (const struct command_argument[]){{"name", ARGUMENT_STRING, true}, {0}}, run_rx_filter},
	{"ringbuf-write", "ringbuf_write", "device data", "write to a ring buffer character device",
	 (const struct command_argument[]){
		 {"device", ARGUMENT_STRING, false, WORDS_CHARDEVS}, {"data", ARGUMENT_STRING}, {0}},
	 run_ringbuf_write},
	{"ringbuf-read", "ringbuf_read", "device size", "read from a ring buffer character device",
	 (const struct command_argument[]){
		 {"device", ARGUMENT_STRING, false, WORDS_CHARDEVS}, {"size", ARGUMENT_INT}, {0}},
	 run_ringbuf_read, show_ringbuf},
	{0},
};
