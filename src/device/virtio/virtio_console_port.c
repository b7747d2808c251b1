/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ports of the virtio console: bytes between a pair of queues and a character back end. A slow back end leaves chains
 * on the transmit ring, so the guest waits; a guest without buffers makes the back end stop reading.
 */
#include "device/virtio/virtio_console.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>

#define RECEIVE_MAX 4096

/* --- guest to host --- */

/* Writes one chain from where it was left. False when the back end is full. */
static bool write_chain(struct virtio_serial_port *port, struct virtq_element *element)
{
	struct iovec *iov = element->out;
	unsigned count = element->out_count;

	/* The guest may have shortened a chain that was put back. */
	if (!iov_skip(&iov, &count, port->sent_bytes))
		return true;
	for (unsigned i = 0; i < count; i++) {
		size_t taken = chardev_write(port->handle, iov[i].iov_base, iov[i].iov_len);

		port->sent_bytes += (uint32_t)taken;
		if (taken < iov[i].iov_len)
			return false;
	}
	return true;
}

void virtio_serial_port_transmit(struct virtio_serial_port *port, struct virtqueue *queue)
{
	struct virtq_element *element;

	do {
		virtqueue_kicks_off(queue);
		while ((element = virtqueue_pop(queue))) {
			if (port && port->handle && !write_chain(port, element)) {
				/* `writable` runs this again. */
				virtqueue_unpop(element);
				goto full;
			}
			if (port)
				port->sent_bytes = 0;
			virtqueue_push(element, 0);
		}
	} while (virtqueue_kicks_on(queue));
full:
	virtqueue_notify(queue);
}

static void writable(void *opaque)
{
	struct virtio_serial_port *port = opaque;

	if (port->serial)
		virtqueue_schedule(virtio_serial_tx(port->serial, port->number));
}

/* --- host to guest --- */

static bool guest_listens(const struct virtio_serial_port *port)
{
	return port->serial &&
	       (atomic_load(&port->guest_connected) || !virtio_has(&port->serial->virtio, VIRTIO_CONSOLE_F_MULTIPORT));
}

static size_t can_receive(void *opaque)
{
	struct virtio_serial_port *port = opaque;
	struct virtq_element *element = NULL;
	struct virtqueue *queue;
	size_t room = 0;

	if (!guest_listens(port))
		return 0;
	queue = virtio_serial_rx(port->serial, port->number);
	if (virtqueue_enter(queue)) {
		element = virtqueue_pop(queue);
		if (!element && virtqueue_kicks_on(queue))
			element = virtqueue_pop(queue);
	}
	if (element) {
		room = min_u64(element->in_bytes, RECEIVE_MAX);
		if (!room)
			virtio_fault(&port->serial->virtio, "port %u: a receive buffer of no bytes", port->number);
		virtqueue_unpop(element);
	}
	virtqueue_leave(queue);
	return room;
}

static void receive(void *opaque, const uint8_t *data, size_t length)
{
	struct virtio_serial_port *port = opaque;
	struct virtqueue *queue;

	if (!port->serial)
		return;
	queue = virtio_serial_rx(port->serial, port->number);
	if (virtqueue_enter(queue)) {
		struct virtq_element *element;

		while (length && (element = virtqueue_pop(queue))) {
			size_t bytes = iov_write(element->in, element->in_count, 0, data, length);

			virtqueue_push(element, bytes);
			data += bytes;
			length -= bytes;
		}
		virtqueue_kicks_off(queue);
		virtqueue_notify(queue);
	}
	virtqueue_leave(queue);
}

void virtio_serial_port_room(struct virtio_serial_port *port)
{
	if (port->handle)
		chardev_accept(port->handle);
}

/* --- opening, closing, size --- */

static void tell_open(struct virtio_serial_port *port)
{
	virtio_serial_tell(port->serial, port->number, VIRTIO_CONSOLE_PORT_OPEN, port->host_connected, NULL, 0);
}

/* Columns first (5.3.6.2). Linux read rows first from 2010 on and was corrected in 2025, stable kernels included. */
static void tell_size(struct virtio_serial_port *port)
{
	uint16_t columns, rows;
	uint8_t size[4];

	if (!port->is_console || !port->handle || !chardev_window(port->handle, &columns, &rows))
		return;
	store_le16(size, columns);
	store_le16(size + 2, rows);
	virtio_serial_tell(port->serial, port->number, VIRTIO_CONSOLE_RESIZE, 0, size, sizeof(size));
}

void virtio_serial_port_introduce(struct virtio_serial_port *port)
{
	if (port->is_console)
		virtio_serial_tell(port->serial, port->number, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL, 0);
	if (port->name)
		virtio_serial_tell(port->serial, port->number, VIRTIO_CONSOLE_PORT_NAME, 1, port->name,
				   strlen(port->name) + 1);
	if (port->host_connected)
		tell_open(port);
	tell_size(port);
}

void virtio_serial_port_open(struct virtio_serial_port *port, bool open)
{
	atomic_store(&port->guest_connected, open);
	if (open)
		virtio_serial_port_room(port);
}

void virtio_serial_port_reset(struct virtio_serial_port *port)
{
	struct virtqueue *queue = virtio_serial_tx(port->serial, port->number);

	atomic_store(&port->guest_connected, false);
	virtqueue_enter(queue);
	port->sent_bytes = 0;
	virtqueue_leave(queue);
}

static void event(void *opaque, enum chardev_event what)
{
	struct virtio_serial_port *port = opaque;

	if (!port->serial)
		return;
	if (what == CHARDEV_RESIZED || what == CHARDEV_OPENED) {
		tell_size(port);
		if (port->is_console && !port->number)
			virtio_config_changed(&port->serial->virtio);
	}
	/* A console is there whether or not somebody looks at it: the guest logs in to it anyway. */
	if (port->is_console || (what != CHARDEV_OPENED && what != CHARDEV_CLOSED))
		return;
	if (port->host_connected == (what == CHARDEV_OPENED))
		return;
	port->host_connected = what == CHARDEV_OPENED;
	tell_open(port);
}

/* --- life --- */

static bool is_controller(const struct pci_device *pci)
{
	const struct device_class *class = pci->device.class;

	return class == &virtio_serial_pci || class == &virtio_serial_pci_transitional ||
	       class == &virtio_serial_pci_non_transitional;
}

/* "ID.0" or "ID"; a controller without an id is "virtio-serial0", "virtio-serial1"... */
static bool is_named(const struct pci_device *pci, unsigned index, const char *name)
{
	char fallback[32];
	const char *id = pci->device.id;
	size_t length;

	snprintf(fallback, sizeof(fallback), "virtio-serial%u", index);
	if (!id)
		id = fallback;
	length = strlen(id);
	return !strncmp(name, id, length) && (!name[length] || !strcmp(name + length, ".0"));
}

static struct virtio_serial *find_controller(const struct device *device, struct error *err)
{
	unsigned index = 0;

	for (unsigned devfn = 0; devfn < 256; devfn++) {
		struct pci_device *pci = pci_bus_device(device->env->pci_bus, devfn);

		if (!pci || !is_controller(pci))
			continue;
		if (!device->bus_name || is_named(pci, index, device->bus_name))
			return (struct virtio_serial *)pci;
		index++;
	}
	if (device->bus_name)
		error_set(err, ENODEV, "%s: there is no virtio-serial bus '%s'", device->class->name, device->bus_name);
	else
		error_set(err, ENODEV, "%s: there is no virtio-serial bus; put -device virtio-serial-pci before it",
			  device->class->name);
	return NULL;
}

/* Port 0 is kept for a console, which is what a driver without multiport expects there. */
static int choose_number(struct virtio_serial_port *port, struct virtio_serial *serial, struct error *err)
{
	uint32_t first = port->is_console ? 0 : 1;
	const char *class = port->device.class->name;

	if (port->number == VIRTIO_SERIAL_NR_AUTO) {
		for (uint32_t i = first; i < serial->max_ports; i++) {
			if (serial->ports[i])
				continue;
			port->number = i;
			return 0;
		}
		return error_set(err, ENOSPC, "%s: all %u ports of the bus are taken", class, serial->max_ports);
	}
	if (port->number >= serial->max_ports)
		return error_set(err, EINVAL, "%s: nr=%u: the bus has ports 0 to %u", class, port->number,
				 serial->max_ports - 1);
	if (port->number < first)
		return error_set(err, EINVAL, "%s: nr=0 is for a virtconsole", class);
	if (serial->ports[port->number])
		return error_set(err, EBUSY, "%s: nr=%u is taken already", class, port->number);
	return 0;
}

static int check_name(const struct virtio_serial_port *port, const struct virtio_serial *serial, struct error *err)
{
	if (!port->name)
		return 0;
	if (strlen(port->name) > VIRTIO_SERIAL_NAME_MAX)
		return error_set(err, EINVAL, "%s: the name is longer than %d characters", port->device.class->name,
				 VIRTIO_SERIAL_NAME_MAX);
	for (uint32_t i = 0; i < serial->max_ports; i++)
		if (serial->ports[i] && serial->ports[i]->name && !strcmp(serial->ports[i]->name, port->name))
			return error_set(err, EEXIST, "%s: name=%s is port %u already", port->device.class->name,
					 port->name, i);
	return 0;
}

static int port_init(struct device *device, struct error *err)
{
	struct virtio_serial_port *port = (struct virtio_serial_port *)device;
	struct virtio_serial *serial = find_controller(device, err);
	struct chardev_front front = {can_receive, receive, event, writable, port, false};
	int result;

	if (!serial)
		return -ENODEV;
	port->is_console = device->class == &virtio_console_class;
	result = choose_number(port, serial, err);
	if (!result)
		result = check_name(port, serial, err);
	if (result)
		return result;
	device->parent = (const struct device *)serial;
	device->parent_bus = "virtio-serial-bus.0";
	port->host_connected = port->is_console;
	if (port->chardev) {
		port->handle = chardev_attach(port->chardev, &front, err);
		if (!port->handle)
			return -EBUSY;
		port->host_connected = port->is_console || port->handle->connected;
	}
	serial->ports[port->number] = port;
	port->serial = serial;
	virtio_serial_tell(serial, port->number, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
	/* What the back end had before there was a bus to receive for. */
	virtio_serial_port_room(port);
	return 0;
}

static void detach(struct virtio_serial_port *port)
{
	struct virtio_serial *serial = port->serial;

	if (port->handle)
		chardev_detach(port->handle);
	port->handle = NULL;
	port->serial = NULL;
	if (serial)
		serial->ports[port->number] = NULL;
}

void virtio_serial_port_orphan(struct virtio_serial_port *port)
{
	detach(port);
}

static void port_fini(struct device *device)
{
	struct virtio_serial_port *port = (struct virtio_serial_port *)device;
	struct virtio_serial *serial = port->serial;

	if (serial)
		virtio_serial_tell(serial, port->number, VIRTIO_CONSOLE_PORT_REMOVE, 1, NULL, 0);
	detach(port);
}

static void after_load(void *object)
{
	struct virtio_serial_port *port = object;

	/* The other end of the back end may be another one now. */
	if (port->serial) {
		tell_open(port);
		tell_size(port);
		virtio_serial_port_room(port);
	}
}

static const struct state_field fields[] = {
	STATE_FIELD(STATE_BOOL, struct virtio_serial_port, guest_connected),
	STATE_FIELD(STATE_U32, struct virtio_serial_port, sent_bytes),
	STATE_END,
};

static const struct state_table state = {
	.name = "virtio-serial-port",
	.version = 1,
	.size = sizeof(struct virtio_serial_port),
	.fields = fields,
	.after_load = after_load,
};

static const struct property properties[] = {
	{.name = "chardev",
	 .type = PROPERTY_CHAR,
	 .offset = offsetof(struct virtio_serial_port, chardev),
	 .help = "id of a -chardev"},
	{.name = "name",
	 .type = PROPERTY_STRING,
	 .offset = offsetof(struct virtio_serial_port, name),
	 .help = "the guest finds the port as /dev/virtio-ports/NAME"},
	{.name = "nr",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct virtio_serial_port, number),
	 .fallback = "4294967295",
	 .help = "number of the port; default: the next free one"},
	{.name = NULL},
};

const struct device_class virtio_console_class = {
	.name = "virtconsole",
	.help = "a console (hvc0...) on a virtio-serial bus",
	.bus = DEVICE_VIRTIO_SERIAL,
	.size = sizeof(struct virtio_serial_port),
	.properties = properties,
	.state = &state,
	.init = port_init,
	.fini = port_fini,
};

const struct device_class virtio_serialport_class = {
	.name = "virtserialport",
	.help = "a byte stream (/dev/virtio-ports/NAME) on a virtio-serial bus",
	.bus = DEVICE_VIRTIO_SERIAL,
	.size = sizeof(struct virtio_serial_port),
	.properties = properties,
	.state = &state,
	.init = port_init,
	.fini = port_fini,
};

/* init finds the controller; the table's being there is what makes bus= legal. */
static int attach(struct device *device, struct error *err)
{
	return 0;
}

const struct device_bus_ops virtio_serial_bus_ops = {.attach = attach};
