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

/* What precedes a frame when a header was agreed on (virtio 1.2 5.1.6, struct virtio_net_hdr_v1; little-endian). */
struct net_header {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t header_length;
	uint16_t gso_size;
	uint16_t csum_start;  /* from the start of the frame */
	uint16_t csum_offset; /* from csum_start; the field holds the pseudo header's sum */
	uint16_t buffers;     /* the NIC's own */
};

enum net_header_flags { NET_HEADER_NEEDS_CSUM = 1, NET_HEADER_DATA_VALID = 2 };
enum net_header_gso {
	NET_GSO_NONE = 0,
	NET_GSO_TCP4 = 1,
	NET_GSO_UDP = 3,
	NET_GSO_TCP6 = 4,
	NET_GSO_UDP_L4 = 5,
	NET_GSO_ECN = 0x80
};

/* The NIC's side; called in the back end's loop thread. None of them sends, from inside the call, on the same back end.
 */
struct net_port {
	/* A frame for the guest (with header when enabled). Returns false when the NIC has no room: the back end keeps
	 * the frame and stops reading until net_resume. */
	bool (*receive)(void *opaque, const struct iovec *iov, int iov_count, size_t length);
	void (*link_changed)(void *opaque, bool up);
	void *opaque;
	/* Several queues: as receive, for queue `queue` of the back end. NULL: receive takes all. */
	bool (*receive_queue)(void *opaque, unsigned queue, const struct iovec *iov, int iov_count, size_t length);
};

/* Byte streams for guestfwd=...-chardev:ID: the machine implements them over its character back ends. */
struct net_stream_user {
	size_t (*can_receive)(void *opaque);
	void (*receive)(void *opaque, const uint8_t *data, size_t length);
	void *opaque;
};

struct net_streams {
	/* text: "chardev:ID" or another old spelling of a character device. */
	void *(*open)(void *opaque, const char *text, const struct net_stream_user *user, struct error *err);
	void (*write)(void *stream, const uint8_t *data, size_t length); /* takes all, keeps what is slow */
	void (*accept)(void *stream);                                    /* can_receive is no longer 0 */
	void (*close)(void *stream);
	void *opaque;
};

struct net_driver {
	const char *name; /* as in -netdev */
	const char *help;
	size_t size;              /* of the instance; it begins with struct net_backend */
	const char *const *known; /* option names, NULL-ended */
	int (*open)(struct net_backend *backend, struct options *options, struct error *err);
	void (*close)(struct net_backend *backend);
	/* A frame from the guest, in the loop's thread. What cannot be sent is dropped, as on a wire. */
	void (*send)(struct net_backend *backend, const struct iovec *iov, int iov_count, size_t length);
	/* The same on one of several queues; NULL: send. */
	void (*send_queue)(struct net_backend *backend, unsigned queue, const struct iovec *iov, int iov_count,
			   size_t length);
	/* How many of backend->queues the guest uses; may be NULL. */
	void (*set_queues)(struct net_backend *backend, unsigned queues);
	void (*resume)(struct net_backend *backend);
	/* Offloads that can be had: with NET_VNET_HDR the back end takes frames of all these kinds. set tells which of
	 * them the guest wants to receive, and whether frames carry a struct net_header from now on, both ways
	 * (header_bytes 12 or 0). */
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
	struct loop *loop; /* where it lives: the main loop or an iothread's */
	struct log *log;
	struct net_port port; /* zero until a NIC attached */
	bool link_up;
	unsigned queues;
	const struct net_streams *streams; /* for guestfwd; NULL: none to be had */
};

extern const struct net_driver net_user_driver, net_tap_driver;
/* NULL-ended. */
extern const struct net_driver *const net_drivers[];

/* type is the driver's name; options hold the rest of -netdev without id. */
struct net_backend *net_open(const char *type, const char *id, struct options *options, struct loop *loop,
			     struct log *log, struct error *err);
/* The same with what guestfwd=...-chardev:ID needs; streams outlives the back end. */
struct net_backend *net_open_streams(const char *type, const char *id, struct options *options, struct loop *loop,
				     struct log *log, const struct net_streams *streams, struct error *err);
void net_close(struct net_backend *backend);
void net_attach(struct net_backend *backend, const struct net_port *port);
void net_detach(struct net_backend *backend);
/* Cable in or out (monitor's set_link): tells the NIC; frames of either direction are dropped meanwhile. */
void net_set_link(struct net_backend *backend, bool up);
/* For NICs. Loop's thread. */
void net_send(struct net_backend *backend, unsigned queue, const struct iovec *iov, int iov_count, size_t length);
void net_resume(struct net_backend *backend);
uint32_t net_offloads(struct net_backend *backend);
void net_set_offloads(struct net_backend *backend, uint32_t offloads, unsigned header_bytes);
void net_set_queues(struct net_backend *backend, unsigned queues);
/* For drivers: hands a frame to the NIC; true when it is done with (taken, or there is no NIC or link), false when it
 * is to be kept for resume. */
bool net_deliver(struct net_backend *backend, unsigned queue, const struct iovec *iov, int iov_count, size_t length);

/* MAC addresses that no two machines on a host share: 52:54:00 and 24 random bits, held by a lock until
 * net_mac_release or the end of the process. */
int net_mac_allocate(uint8_t mac[6], int *lock_fd, struct error *err);
void net_mac_release(int lock_fd);

#endif
