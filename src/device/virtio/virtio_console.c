/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio console controller (virtio 1.2 5.3): queues, control messages, configuration space, emergency write. A
 * driver without the multiport feature sees port 0 alone.
 */
#include "device/virtio/virtio_console.h"

#include "base/util.h"

#include <stdlib.h>

enum {
	PORT_QUEUE_SIZE = 128,
	CONTROL_QUEUE_SIZE = 64,
	CONTROL_RX = 2,
	CONTROL_TX = 3,
	MESSAGE_BYTES = 8,
	MESSAGES_MAX = 1024,
	CLASS_COMMUNICATION_OTHER = 0x078000,
};

struct virtio_serial_message {
	struct virtio_serial_message *next;
	size_t length;
	uint8_t data[];
};

/* 5.3.4 */
struct console_config {
	uint16_t columns, rows;
	uint32_t max_ports;
	uint32_t emergency_write;
};

static struct virtio_serial *serial_of(struct virtio_device *device)
{
	return (struct virtio_serial *)device;
}

/* 5.3.2: port 0, control, port 1, ... */
struct virtqueue *virtio_serial_rx(struct virtio_serial *serial, uint32_t port)
{
	return virtio_queue(&serial->virtio, port ? 2 + 2 * port : 0);
}

struct virtqueue *virtio_serial_tx(struct virtio_serial *serial, uint32_t port)
{
	return virtio_queue(&serial->virtio, port ? 3 + 2 * port : 1);
}

/* --- control messages to the driver --- */

static void free_messages(struct virtio_serial *serial)
{
	while (serial->messages) {
		struct virtio_serial_message *message = serial->messages;

		serial->messages = message->next;
		free(message);
	}
	serial->messages_last = &serial->messages;
	serial->message_count = 0;
}

/* With the control receive queue's lock. */
static void send_messages(struct virtio_serial *serial, struct virtqueue *queue)
{
	while (serial->messages) {
		struct virtio_serial_message *message = serial->messages;
		struct virtq_element *element = virtqueue_pop(queue);

		if (!element && virtqueue_kicks_on(queue))
			element = virtqueue_pop(queue);
		if (!element)
			break;
		virtqueue_push(element, iov_write(element->in, element->in_count, 0, message->data, message->length));
		serial->messages = message->next;
		serial->message_count--;
		free(message);
	}
	if (!serial->messages)
		serial->messages_last = &serial->messages;
	virtqueue_notify(queue);
}

void virtio_serial_tell(struct virtio_serial *serial, uint32_t port, uint16_t event, uint16_t value, const void *extra,
			size_t extra_bytes)
{
	struct virtqueue *queue = virtio_queue(&serial->virtio, CONTROL_RX);
	struct virtio_serial_message *message;

	if (!queue || !atomic_load(&serial->driver_ready))
		return;
	message = xcalloc(1, sizeof(*message) + MESSAGE_BYTES + extra_bytes);
	message->length = MESSAGE_BYTES + extra_bytes;
	store_le32(message->data, port);
	store_le16(message->data + 4, event);
	store_le16(message->data + 6, value);
	if (extra_bytes)
		memcpy(message->data + MESSAGE_BYTES, extra, extra_bytes);
	virtqueue_enter(queue);
	if (serial->message_count < MESSAGES_MAX) {
		*serial->messages_last = message;
		serial->messages_last = &message->next;
		serial->message_count++;
	} else {
		/* Only a driver that asks again and again and never reads gets here. */
		log_guest(serial->virtio.device.env->log, &serial->log_limit,
			  "virtio-serial: a control message is dropped: the driver does not read them");
		free(message);
	}
	send_messages(serial, queue);
	virtqueue_leave(queue);
}

/* --- control messages from the driver --- */

static void introduce_all(struct virtio_serial *serial)
{
	for (uint32_t i = 0; i < serial->max_ports; i++)
		if (serial->ports[i])
			virtio_serial_tell(serial, i, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
}

static void obey(struct virtio_serial *serial, const uint8_t *message)
{
	uint32_t number = load_le32(message);
	uint16_t event = load_le16(message + 4), value = load_le16(message + 6);
	struct virtio_serial_port *port = number < serial->max_ports ? serial->ports[number] : NULL;

	if (event == VIRTIO_CONSOLE_DEVICE_READY) {
		atomic_store(&serial->driver_ready, value != 0);
		if (value)
			introduce_all(serial);
		return;
	}
	if (!port) {
		log_guest(serial->virtio.device.env->log, &serial->log_limit,
			  "virtio-serial: control message %u for port %u, which does not exist", event, number);
		return;
	}
	if (event == VIRTIO_CONSOLE_PORT_READY && value)
		virtio_serial_port_introduce(port);
	else if (event == VIRTIO_CONSOLE_PORT_OPEN)
		virtio_serial_port_open(port, value != 0);
}

static void handle_control(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtq_element *element;

	do {
		virtqueue_kicks_off(queue);
		while ((element = virtqueue_pop(queue))) {
			uint8_t message[MESSAGE_BYTES];

			if (iov_read(element->out, element->out_count, 0, message, sizeof(message)) == sizeof(message))
				obey(serial_of(device), message);
			virtqueue_push(element, 0);
		}
	} while (virtqueue_kicks_on(queue));
	virtqueue_notify(queue);
}

static void handle_control_room(struct virtio_device *device, struct virtqueue *queue)
{
	send_messages(serial_of(device), queue);
}

/* --- ports' queues --- */

static struct virtio_serial_port *port_of(struct virtio_serial *serial, const struct virtqueue *queue)
{
	unsigned pair = virtqueue_index(queue) / 2;

	return serial->ports[pair ? pair - 1 : 0];
}

static void handle_transmit(struct virtio_device *device, struct virtqueue *queue)
{
	virtio_serial_port_transmit(port_of(serial_of(device), queue), queue);
}

static void handle_room(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_serial_port *port = port_of(serial_of(device), queue);

	if (port)
		virtio_serial_port_room(port);
}

/* --- configuration --- */

static void config_read(struct virtio_device *device, uint8_t *bytes)
{
	struct virtio_serial *serial = serial_of(device);
	struct console_config config = {.max_ports = serial->max_ports};
	struct virtio_serial_port *port = serial->ports[0];

	if (!port || !port->handle || !chardev_window(port->handle, &config.columns, &config.rows))
		config.columns = config.rows = 0;
	memcpy(bytes, &config, sizeof(config));
}

/* 5.3.5.1: a character before any queue exists, and from a panicking kernel. In a vCPU's thread. */
static void config_write(struct virtio_device *device, const uint8_t *bytes, unsigned offset, unsigned size)
{
	struct virtio_serial *serial = serial_of(device);
	struct virtio_serial_port *port = serial->ports[0];

	if (serial->emergency_write && offset == offsetof(struct console_config, emergency_write) && port &&
	    port->handle)
		chardev_write(port->handle, bytes + offset, 1);
}

static void reset(struct virtio_device *device)
{
	struct virtio_serial *serial = serial_of(device);
	struct virtqueue *queue = virtio_queue(device, CONTROL_RX);

	atomic_store(&serial->driver_ready, false);
	virtqueue_enter(queue);
	free_messages(serial);
	virtqueue_leave(queue);
	for (uint32_t i = 0; i < serial->max_ports; i++)
		if (serial->ports[i])
			virtio_serial_port_reset(serial->ports[i]);
}

/* --- life --- */

static int init(struct virtio_device *device, struct error *err)
{
	struct virtio_serial *serial = serial_of(device);

	if (serial->max_ports < 1 || serial->max_ports > VIRTIO_SERIAL_PORTS_MAX - 1)
		return error_set(err, EINVAL, "max_ports=%u: 1 to %d are possible", serial->max_ports,
				 VIRTIO_SERIAL_PORTS_MAX - 1);
	serial->messages_last = &serial->messages;
	device->offered |= VIRTIO_BIT(VIRTIO_CONSOLE_F_SIZE) | VIRTIO_BIT(VIRTIO_CONSOLE_F_MULTIPORT);
	if (serial->emergency_write)
		device->offered |= VIRTIO_BIT(VIRTIO_CONSOLE_F_EMERG_WRITE);
	for (uint32_t i = 0; i < serial->max_ports; i++) {
		virtio_queue_add(device, PORT_QUEUE_SIZE, 0, NULL, handle_room);
		virtio_queue_add(device, PORT_QUEUE_SIZE, 0, NULL, handle_transmit);
		if (i)
			continue;
		virtio_queue_add(device, CONTROL_QUEUE_SIZE, 0, NULL, handle_control_room);
		virtio_queue_add(device, CONTROL_QUEUE_SIZE, 0, NULL, handle_control);
	}
	return 0;
}

static void fini(struct virtio_device *device)
{
	struct virtio_serial *serial = serial_of(device);

	for (uint32_t i = 0; i < serial->max_ports; i++)
		if (serial->ports[i])
			virtio_serial_port_orphan(serial->ports[i]);
	free_messages(serial);
}

static const struct virtio_class model = {
	.name = "virtio-console",
	.id = VIRTIO_ID_CONSOLE,
	.config_size = sizeof(struct console_config),
	.init = init,
	.fini = fini,
	.config_read = config_read,
	.config_write = config_write,
	.reset = reset,
};

static const struct state_field fields[] = {
	STATE_SUB(virtio_device_state, struct virtio_serial, virtio, 1),
	STATE_FIELD(STATE_BOOL, struct virtio_serial, driver_ready),
	STATE_END,
};

static const struct state_table state = {
	.name = "virtio-serial", .version = 1, .size = sizeof(struct virtio_serial), .fields = fields};

static const struct property properties[] = {
	{.name = "max_ports",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct virtio_serial, max_ports),
	 .fallback = "31",
	 .help = "highest number of ports, 1 to 31"},
	{.name = "emergency-write",
	 .type = PROPERTY_BOOL,
	 .offset = offsetof(struct virtio_serial, emergency_write),
	 .fallback = "on",
	 .help = "offer output through the configuration space"},
	VIRTIO_PCI_PROPERTIES(struct virtio_serial),
	{.name = NULL},
};

VIRTIO_PCI_CLASSES(virtio_serial, "virtio-serial", "controller for virtconsole and virtserialport",
		   struct virtio_serial, properties, &state, &model, CLASS_COMMUNICATION_OTHER);
