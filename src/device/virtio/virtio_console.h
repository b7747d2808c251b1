/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-serial-pci, the controller, and its ports (virtconsole, virtserialport), which are devices of their own on it.
 *
 * Threads: all of it in the main loop's, but for reset, features_set and the emergency write, which a vCPU runs. What
 * those share with the loop is under the lock of a queue: the control messages under the control receive queue's, a
 * port's progress under its transmit queue's; `guest_connected` and `driver_ready` are atomic.
 */
#ifndef XUNI_DEVICE_VIRTIO_VIRTIO_CONSOLE_H
#define XUNI_DEVICE_VIRTIO_VIRTIO_CONSOLE_H

#include "backend/char/chardev.h"
#include "device/virtio/virtio.h"

#define VIRTIO_SERIAL_PORTS_MAX 32
#define VIRTIO_SERIAL_NAME_MAX  255
#define VIRTIO_SERIAL_NR_AUTO   0xffffffffu

enum virtio_console_feature {
	VIRTIO_CONSOLE_F_SIZE = 0,
	VIRTIO_CONSOLE_F_MULTIPORT = 1,
	VIRTIO_CONSOLE_F_EMERG_WRITE = 2
};

struct virtio_serial_port;
struct virtio_serial_message;

struct virtio_serial {
	struct virtio_device virtio;
	uint32_t max_ports;
	bool emergency_write;

	struct virtio_serial_port *ports[VIRTIO_SERIAL_PORTS_MAX]; /* by number */
	_Atomic bool driver_ready;                                 /* it wants to hear of ports */
	/* Messages for which the driver has no buffer yet. */
	struct virtio_serial_message *messages, **messages_last;
	unsigned message_count;
	struct log_limit log_limit;
};

struct virtio_serial_port {
	struct device device;
	/* Properties. */
	struct chardev *chardev;
	char *name;
	uint32_t number;

	struct virtio_serial *serial; /* NULL once the controller is gone */
	struct chardev *handle;       /* of chardev_attach; NULL without a back end */
	bool is_console;
	bool host_connected;          /* somebody is at the other end of the back end */
	_Atomic bool guest_connected; /* the driver opened the port */
	uint32_t sent_bytes;          /* of the first chain on the transmit queue, when the back end took only a part */
};

/* virtio_console.c for virtio_console_port.c and the other way round. */

/* Sends a control message with `extra` bytes behind it, or keeps it until the driver has a buffer. */
void virtio_serial_tell(struct virtio_serial *serial, uint32_t port, uint16_t event, uint16_t value, const void *extra,
			size_t extra_bytes);
struct virtqueue *virtio_serial_rx(struct virtio_serial *serial, uint32_t port);
struct virtqueue *virtio_serial_tx(struct virtio_serial *serial, uint32_t port);
/* The driver knows the port and wants to hear what it is. */
void virtio_serial_port_introduce(struct virtio_serial_port *port);
void virtio_serial_port_open(struct virtio_serial_port *port, bool open);
/* Handlers of a port's queues; port may be NULL. */
void virtio_serial_port_transmit(struct virtio_serial_port *port, struct virtqueue *queue);
void virtio_serial_port_room(struct virtio_serial_port *port);
/* The device was reset; under the device's lock. */
void virtio_serial_port_reset(struct virtio_serial_port *port);
/* The controller goes away. */
void virtio_serial_port_orphan(struct virtio_serial_port *port);

/* 5.3.6.2 */
enum virtio_console_event {
	VIRTIO_CONSOLE_DEVICE_READY = 0,
	VIRTIO_CONSOLE_PORT_ADD = 1,
	VIRTIO_CONSOLE_PORT_REMOVE = 2,
	VIRTIO_CONSOLE_PORT_READY = 3,
	VIRTIO_CONSOLE_CONSOLE_PORT = 4,
	VIRTIO_CONSOLE_RESIZE = 5,
	VIRTIO_CONSOLE_PORT_OPEN = 6,
	VIRTIO_CONSOLE_PORT_NAME = 7,
};

#endif
