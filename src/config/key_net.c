/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Networks: -netdev, -nic, -net. -nic is a netdev and a device; -net nic and -net user (or tap) are joined pairwise.
 * Left out: the hub that -net means when there are more than two on it (hubport).
 */
#include "base/util.h"
#include "config/parse.h"

#include <stdio.h>
#include <stdlib.h>

int list_netdev(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	char *type = pull(options, "type"), *id = pull(options, "id");
	int ret;

	if (type && is_help(type)) {
		ret = ask(parse, ASK_NETDEVS, NULL);
	} else if (!type) {
		ret = error_set(err, EINVAL, "which back end? (-netdev help lists them)");
	} else if (!id) {
		ret = error_set(err, EINVAL, "id= is missing");
	} else {
		ret = add_item(&parse->config->netdevs, "netdev", type, id, options, err);
		parse->has_net = true;
	}
	free(type);
	free(id);
	return ret;
}

/* Adds the NIC that model=, mac=, ... in options describe, and takes those keys out. netdev may be NULL; typed: for messages. */
int add_nic(struct config_parse *parse, const char *netdev, struct options *options, const char *typed, struct error *err)
{
	static const struct {
		const char *from, *to;
	} keys[] = {{"mac", "mac"}, {"macaddr", "mac"}, {"addr", "addr"}, {"vectors", "vectors"}};
	struct options device = {0};
	struct config_item *item;
	char *model = pull(options, "model");
	const char *type = model ? model : "e1000"; /* as qemu's "pc" does */

	if (is_help(type)) {
		free(model);
		return ask(parse, ASK_NIC_MODELS, NULL);
	}
	if (strcmp(type, "virtio") == 0)
		type = "virtio-net-pci";
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		char *value = pull(options, keys[i].from);

		if (value)
			options_add(&device, keys[i].to, value);
		free(value);
	}
	if (netdev)
		options_add(&device, "netdev", netdev);
	item = config_list_add(&parse->config->devices, type, NULL, &device);
	item->nic = true;
	item->typed = *typed ? xstrdup(typed) : NULL;
	free(model);
	return 0;
}

static int add_typed_netdev(struct config_parse *parse, const char *type, const char *id, struct options *options,
			    const char *typed, struct error *err)
{
	struct config_list *list = &parse->config->netdevs;

	if (add_item(list, "netdev", type, id, options, err) < 0)
		return -EINVAL;
	list->items[list->count - 1].typed = *typed ? xstrdup(typed) : NULL;
	return 0;
}

static char *made_up_netdev(const struct domain_config *config)
{
	char *id = NULL;

	for (unsigned n = 0; !id || config_list_find(&config->netdevs, id); n++) {
		free(id);
		id = xasprintf("#net%u", n);
	}
	return id;
}

int list_nic(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	char *type = pull(options, "type"), *id = pull(options, "id");
	int ret;

	parse->has_net = true;
	if (type && is_help(type)) {
		ret = ask(parse, ASK_NETDEVS, NULL);
	} else if (type && strcmp(type, "none") == 0) {
		ret = options->count ? error_set(err, EINVAL, "none takes no parameters") : 0;
	} else {
		char *name = id ? xstrdup(id) : made_up_netdev(parse->config);

		ret = add_nic(parse, name, options, parse->typed, err);
		if (ret == 0 && parse->request->ask == ASK_RUN)
			ret = add_typed_netdev(parse, type ? type : "user", name, options, parse->typed, err);
		free(name);
	}
	free(type);
	free(id);
	return ret;
}

int word_net(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	struct options options;
	struct legacy_net *nets;
	const char *type;

	parse->has_net = true;
	if (strcmp(value, "none") == 0)
		return 0;
	if (is_help(value))
		return ask(parse, ASK_NETDEVS, NULL);
	if (options_parse(&options, value, "type", err) < 0)
		return -EINVAL;
	type = options_get(&options, "type");
	if (!type) {
		options_free(&options);
		return error_set(err, EINVAL, "expected nic, user, tap or none first");
	}
	nets = strcmp(type, "nic") == 0 ? &parse->nics : &parse->hosts;
	nets->items = xrealloc(nets->items, (nets->count + 1) * sizeof(options));
	nets->typed = xrealloc(nets->typed, (nets->count + 1) * sizeof(char *));
	nets->typed[nets->count] = xstrdup(parse->typed);
	nets->items[nets->count++] = options;
	return 0;
}

int config_join_legacy_nets(struct config_parse *parse, struct error *err)
{
	struct legacy_net *nics = &parse->nics, *hosts = &parse->hosts;

	for (size_t i = 0; i < hosts->count; i++) {
		char *type = pull(&hosts->items[i], "type"), *id = pull(&hosts->items[i], "id");
		char *name = pull(&hosts->items[i], "name");
		int ret;

		if (!id)
			id = name ? xstrdup(name) : made_up_netdev(parse->config);
		ret = add_typed_netdev(parse, type, id, &hosts->items[i], hosts->typed[i], err);
		/* For the NIC below to find. */
		options_add(&hosts->items[i], "id", id);
		free(type);
		free(name);
		free(id);
		if (ret < 0)
			return error_prefix(err, "%s", hosts->typed[i]);
	}
	for (size_t i = 0, host = 0; i < nics->count; i++) {
		struct options *nic = &nics->items[i];
		char *netdev = pull(nic, "netdev"), *name = pull(nic, "name");
		const char *use = netdev;
		int ret;

		free(pull(nic, "type"));
		free(name);
		if (!use && host < hosts->count)
			use = options_get(&hosts->items[host++], "id");
		ret = add_nic(parse, use, nic, nics->typed[i], err);
		free(netdev);
		if (ret == 0)
			ret = options_check_used(
				nic, "-net nic",
				(const char *const[]){"model", "macaddr", "netdev", "name", "addr", "vectors", NULL},
				err);
		if (ret < 0)
			return error_prefix(err, "%s", nics->typed[i]);
	}
	return 0;
}
