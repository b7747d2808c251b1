/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The user network's addresses and names, as -netdev user gives them, checked before libslirp sees them. */
#include "backend/net/user.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Segments of 32 KiB and their headers; libslirp allocates its buffers of this size. */
#define SLIRP_MTU (32768 + 120)

static int read_ipv4(struct options *options, const char *key, struct in_addr *address, struct error *err)
{
	const char *text = options_get(options, key);

	if (text && inet_pton(AF_INET, text, address) != 1)
		return error_set(err, EINVAL, "%s=%s is not an IPv4 address", key, text);
	return 0;
}

static int read_ipv6(struct options *options, const char *key, struct in6_addr *address, struct error *err)
{
	const char *text = options_get(options, key);

	if (text && inet_pton(AF_INET6, text, address) != 1)
		return error_set(err, EINVAL, "%s=%s is not an IPv6 address", key, text);
	return 0;
}

static uint32_t default_mask(uint32_t net)
{
	if (!(net & 0x80000000))
		return 0xff000000;
	return (net & 0xc0000000) == 0x80000000 ? 0xffff0000 : 0xffffff00;
}

/* "10.0.2.0", "10.0.2.0/24", "10.0.2.0/255.255.255.0". */
static int read_net(struct net_user *user, struct options *options, struct error *err)
{
	const char *text = options_get(options, "net");
	char address[INET_ADDRSTRLEN];
	struct in_addr net, mask;
	const char *slash;
	uint64_t bits;
	uint32_t host_bits;

	if (!text)
		return 0;
	slash = strchr(text, '/');
	snprintf(address, sizeof(address), "%.*s", slash ? (int)(slash - text) : (int)strlen(text), text);
	if ((slash && slash - text >= (int)sizeof(address)) || inet_pton(AF_INET, address, &net) != 1)
		return error_set(err, EINVAL, "net=%s is not NETWORK[/MASK]", text);
	mask.s_addr = htonl(default_mask(ntohl(net.s_addr)));
	if (slash && strchr(slash, '.')) {
		if (inet_pton(AF_INET, slash + 1, &mask) != 1)
			return error_set(err, EINVAL, "net=%s: '%s' is not a mask", text, slash + 1);
	} else if (slash) {
		if (parse_u64(slash + 1, 30, &bits, NULL) || bits < 4)
			return error_set(err, EINVAL, "net=%s: the mask is 4 to 30 bits", text);
		mask.s_addr = htonl((uint32_t)(0xffffffffull << (32 - bits)));
	}
	host_bits = ~ntohl(mask.s_addr);
	if (host_bits & (host_bits + 1) || host_bits < 3)
		return error_set(err, EINVAL, "net=%s: that is not a mask of 30 bits or fewer", text);
	user->net.s_addr = net.s_addr & mask.s_addr;
	user->mask = mask;
	/* The usual places in another network. */
	user->host.s_addr = user->net.s_addr | htonl(2 & host_bits);
	user->dns.s_addr = user->net.s_addr | htonl(3 & host_bits);
	user->dhcp_start.s_addr = user->net.s_addr | htonl(15 & host_bits);
	if (host_bits < 16) {
		user->dns.s_addr = user->net.s_addr | htonl(host_bits < 7 ? 1 : 3);
		user->dhcp_start.s_addr = user->net.s_addr | htonl(host_bits < 7 ? 3 : 5);
	}
	return 0;
}

static int check_inside(const struct net_user *user, const char *key, struct in_addr address, struct error *err)
{
	uint32_t net = ntohl(user->net.s_addr), mask = ntohl(user->mask.s_addr), ip = ntohl(address.s_addr);
	char text[INET_ADDRSTRLEN], net_text[INET_ADDRSTRLEN];

	if ((ip & mask) == net && ip != net)
		return 0;
	inet_ntop(AF_INET, &address, text, sizeof(text));
	inet_ntop(AF_INET, &user->net, net_text, sizeof(net_text));
	return error_set(err, EINVAL, "%s=%s is not a host of the network %s/%d", key, text, net_text,
			 __builtin_popcount(mask));
}

static int read_ipv4_part(struct net_user *user, struct options *options, struct error *err)
{
	inet_pton(AF_INET, "10.0.2.0", &user->net);
	inet_pton(AF_INET, "255.255.255.0", &user->mask);
	inet_pton(AF_INET, "10.0.2.2", &user->host);
	inet_pton(AF_INET, "10.0.2.3", &user->dns);
	inet_pton(AF_INET, "10.0.2.15", &user->dhcp_start);
	if (read_net(user, options, err) || read_ipv4(options, "host", &user->host, err) ||
	    read_ipv4(options, "dns", &user->dns, err) || read_ipv4(options, "dhcpstart", &user->dhcp_start, err))
		return -EINVAL;
	if (check_inside(user, "host", user->host, err) || check_inside(user, "dns", user->dns, err) ||
	    check_inside(user, "dhcpstart", user->dhcp_start, err))
		return -EINVAL;
	if (user->host.s_addr == user->dns.s_addr)
		return error_set(err, EINVAL, "host and dns need different addresses");
	if (user->dhcp_start.s_addr == user->host.s_addr || user->dhcp_start.s_addr == user->dns.s_addr)
		return error_set(err, EINVAL, "dhcpstart is the address of host or dns");
	return 0;
}

static int read_ipv6_part(struct net_user *user, struct options *options, struct error *err)
{
	const char *net = options_get(options, "ipv6-net");
	uint64_t bits = 64;
	char text[INET6_ADDRSTRLEN + 8];
	char *slash;

	inet_pton(AF_INET6, "fec0::", &user->net6);
	if (read_ipv6(options, "ipv6-prefix", &user->net6, err) ||
	    options_u64(options, "ipv6-prefixlen", &bits, 126, err))
		return -EINVAL;
	if (net) {
		snprintf(text, sizeof(text), "%s", net);
		slash = strchr(text, '/');
		if (slash)
			*slash = 0;
		if (strlen(net) >= sizeof(text) || inet_pton(AF_INET6, text, &user->net6) != 1 ||
		    (slash && parse_u64(slash + 1, 126, &bits, NULL)))
			return error_set(err, EINVAL, "ipv6-net=%s is not PREFIX[/BITS]", net);
	}
	user->prefix6_bits = (uint8_t)bits;
	user->host6 = user->dns6 = user->net6;
	user->host6.s6_addr[15] |= 2;
	user->dns6.s6_addr[15] |= 3;
	return read_ipv6(options, "ipv6-host", &user->host6, err) || read_ipv6(options, "ipv6-dns", &user->dns6, err)
		       ? -EINVAL
		       : 0;
}

/* Families: each may be turned off; naming one on turns the other off, as in qemu. */
static int read_families(struct net_user *user, struct options *options, struct error *err)
{
	const char *given4 = options_get(options, "ipv4"), *given6 = options_get(options, "ipv6");

	user->ipv4 = user->ipv6 = true;
	if (options_bool(options, "ipv4", &user->ipv4, err) || options_bool(options, "ipv6", &user->ipv6, err))
		return -EINVAL;
	if (given4 && user->ipv4 && !given6)
		user->ipv6 = false;
	if (given6 && user->ipv6 && !given4)
		user->ipv4 = false;
	if (!user->ipv4 && !user->ipv6)
		return error_set(err, EINVAL, "ipv4=off and ipv6=off leave no network");
	return 0;
}

static int refuse_smb(struct options *options, struct error *err)
{
	if (options_get(options, "smb") || options_get(options, "smbserver"))
		return error_set(err, ENOTSUP,
				 "smb= is not supported; serve the folder yourself and reach the host as %s",
				 "10.0.2.2");
	return 0;
}

static int check_length(const char *key, const char *value, size_t max, struct error *err)
{
	if (value && strlen(value) > max)
		return error_set(err, EINVAL, "%s is longer than %zu characters", key, max);
	return 0;
}

int user_configure(struct net_user *user, const SlirpCb *callbacks, struct options *options, struct error *err)
{
	const char *tftp = options_get(options, "tftp");
	const char *bootfile = options_get(options, "bootfile");
	const char *server_name = options_get(options, "tftp-server-name");
	const char *hostname = options_get(options, "hostname");
	const char *domain = options_get(options, "domainname");
	const char **search;
	size_t search_count = 0;
	struct stat info;
	SlirpConfig config = {.version = 4};

	if (refuse_smb(options, err) || read_families(user, options, err) || read_ipv4_part(user, options, err) ||
	    read_ipv6_part(user, options, err) || options_bool(options, "restrict", &user->restricted, err))
		return -EINVAL;
	/* DHCP's fields (RFC 2131, 2132). */
	if (check_length("bootfile", bootfile, 127, err) || check_length("hostname", hostname, 255, err) ||
	    check_length("domainname", domain, 255, err) || check_length("tftp-server-name", server_name, 255, err))
		return -EINVAL;
	if (tftp && (stat(tftp, &info) || !S_ISDIR(info.st_mode)))
		return error_set(err, ENOTDIR, "tftp=%s is not a directory", tftp);
	search = xcalloc(options->count + 1, sizeof(*search));
	options_get(options, "dnssearch");
	for (size_t i = 0; i < options->count; i++)
		if (!strcmp(options->items[i].key, "dnssearch"))
			search[search_count++] = options->items[i].value;
	config.restricted = user->restricted;
	config.in_enabled = user->ipv4;
	config.vnetwork = user->net;
	config.vnetmask = user->mask;
	config.vhost = user->host;
	config.in6_enabled = user->ipv6;
	config.vprefix_addr6 = user->net6;
	config.vprefix_len = user->prefix6_bits;
	config.vhost6 = user->host6;
	config.vhostname = hostname;
	config.tftp_server_name = server_name;
	config.tftp_path = tftp;
	config.bootfile = bootfile;
	config.vdhcp_start = user->dhcp_start;
	config.vnameserver = user->dns;
	config.vnameserver6 = user->dns6;
	config.vdnssearch = search_count ? search : NULL;
	config.vdomainname = domain;
	config.if_mtu = config.if_mru = SLIRP_MTU;
	user->slirp = slirp_new(&config, callbacks, user);
	free(search);
	return user->slirp ? 0 : error_set(err, EINVAL, "libslirp refuses this network");
}
