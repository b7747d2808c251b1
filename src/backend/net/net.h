/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network back ends: user (libslirp), tap, later socket, hubport, vhost-user. One back end, one NIC. Frames travel with
 * a virtio_net_hdr when both sides agreed on it (offloads), else bare.
 */
#ifndef XUNI_BACKEND_NET_NET_H
#define XUNI_BACKEND_NET_NET_H

#include "base/error.h"
#include "base/options.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct log;
struct loop;
struct net_backend;

/* Bits are what the back end can take from, or give to, the guest. */
enum net_offload {
	NET_VNET_HDR = 1 << 0, /* frames may carry a 12-byte virtio_net_hdr_v1 */
	NET_CSUM = 1 << 1,
	NET_TSO4 = 1 << 2,
	NET_TSO6 = 1 << 3,
	NET_ECN = 1 << 4,
	NET_UFO = 1 << 5,
	NET_USO = 1 << 6,
};

/* The NIC's side; called in the back end's loop thread. */
struct net_port {
	/* A frame for the guest (with header when enabled). Returns false when the NIC has no room: the back end keeps the
	 * frame and stops reading until net_resume. */
	bool (*receive)(void *opaque, const struct iovec *iov, int iov_count, size_t length);
	void (*link_changed)(void *opaque, bool up);
	void *opaque;
};

struct net_driver {
	const char *name; /* as in -netdev */
	const char *help;
	size_t size;      /* of the instance; it begins with struct net_backend */
	const char *const *known; /* option names, NULL-ended */
	int (*open)(struct net_backend *backend, struct options *options, struct error *err);
	void (*close)(struct net_backend *backend);
	/* A frame from the guest, in the loop's thread. What cannot be sent is dropped, as on a wire. */
	void (*send)(struct net_backend *backend, const struct iovec *iov, int iov_count, size_t length);
	void (*resume)(struct net_backend *backend);
	/* Offloads that can be had; set chooses what the guest negotiated (header on or off, and what may arrive). */
	uint32_t (*offloads)(struct net_backend *backend);
	void (*set_offloads)(struct net_backend *backend, uint32_t offloads, unsigned header_bytes);
	/* One line for `info network` ("user,restrict=off,..."). */
	void (*describe)(struct net_backend *backend, char *text, size_t size);
	/* hostfwd_add/remove; NULL where it makes no sense. */
	int (*hostfwd)(struct net_backend *backend, bool add, const char *rule, struct error *err);
	/* `info usernet`; may be NULL. Returned text is freed by the caller. */
	char *(*info)(struct net_backend *backend);
};

struct net_backend {
	const struct net_driver *driver;
	char *id;
	struct loop *loop;  /* where it lives: the main loop or an iothread's */
	struct log *log;
	struct net_port port; /* zero until a NIC attached */
	bool link_up;
	unsigned queues;
};

extern const struct net_driver net_user_driver, net_tap_driver;
/* NULL-ended. */
extern const struct net_driver *const net_drivers[];

/* type is the driver's name; options hold the rest of -netdev without id. */
struct net_backend *net_open(const char *type, const char *id, struct options *options, struct loop *loop,
                             struct log *log, struct error *err);
void net_close(struct net_backend *backend);
void net_attach(struct net_backend *backend, const struct net_port *port);
void net_detach(struct net_backend *backend);
void net_set_link(struct net_backend *backend, bool up);

/* MAC addresses that no two machines on a host share: 52:54:00 and 24 bits taken from a lock directory under
 * $XDG_RUNTIME_DIR or /run/xuni (or /tmp), held by an flock until net_mac_release. */
int net_mac_allocate(uint8_t mac[6], int *lock_fd, struct error *err);
void net_mac_release(int lock_fd);

#endif
