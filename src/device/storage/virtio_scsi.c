/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio SCSI host device (virtio 1.2, 5.6): request, control and event queues over a SCSI bus of 256 targets. Data
 * goes between guest memory and the disks without a copy. Left out: protection information, bidirectional commands, I/O
 * threads, asynchronous notifications; task management waits for what is under way instead of aborting it.
 */
#include "base/util.h"
#include "device/storage/scsi_bus.h"
#include "device/storage/storage.h"
#include "device/virtio/virtio.h"

#include <stdlib.h>

enum { QUEUE_CONTROL, QUEUE_EVENT, QUEUE_REQUESTS };
enum { F_HOTPLUG = 1, F_CHANGE = 2 };
/* 5.6.4: offsets in the configuration space. */
enum {
	CONFIG_NUM_QUEUES = 0,
	CONFIG_SEG_MAX = 4,
	CONFIG_MAX_SECTORS = 8,
	CONFIG_CMD_PER_LUN = 12,
	CONFIG_EVENT_SIZE = 16,
	CONFIG_SENSE_SIZE = 20,
	CONFIG_CDB_SIZE = 24,
	CONFIG_MAX_CHANNEL = 28,
	CONFIG_MAX_TARGET = 30,
	CONFIG_MAX_LUN = 32,
	CONFIG_BYTES = 36
};
enum { EVENT_BYTES = 16, SENSE_DEFAULT = 96, CDB_DEFAULT = 32, FIELD_MAX = 256, REQUEST_HEAD = 19, RESPONSE_HEAD = 12 };
enum { MAX_TARGET = 255, MAX_LUN = 16383, UNIT_QUEUES_MAX = 64, SLOW_QUEUE_SIZE = 128 };
/* 5.6.6.1.1: response codes. */
enum { S_OK = 0, S_OVERRUN = 1, S_BAD_TARGET = 3, S_INCORRECT_LUN = 12 };
enum {
	T_TMF = 0,
	T_AN_QUERY = 1,
	T_AN_SUBSCRIBE = 2,
	TMF_RESET_LUN = 5,
	TMF_LAST = 7,
	FUNCTION_COMPLETE = 0,
	FUNCTION_REJECTED = 11
};
enum { EVENT_PARAM_CHANGE = 3 };
#define EVENTS_MISSED (1u << 31)

struct virtio_scsi {
	struct virtio_device virtio;
	uint32_t num_queues, queue_size, max_sectors, cmd_per_lun;
	bool hotplug, param_change;
	struct scsi_bus bus;
	/* state; changed under the device's lock, read by the main loop (atomic) */
	uint32_t sense_size, cdb_size;
	bool events_missed;
};

struct command {
	struct virtq_element element;
	struct disk_request disk;
	struct scsi_device *unit;
	struct virtio_scsi *scsi;
	struct iovec *in, *out; /* the data parts; in lies in a copy of the element's vector */
	struct iovec *in_copy;
	unsigned in_count, out_count;
	uint32_t sense_size;
	size_t moved; /* bytes of data-in or data-out */
	struct scsi_request request;
};

static struct virtio_scsi *from_virtio(struct virtio_device *device)
{
	return container_of(device, struct virtio_scsi, virtio);
}

/* --- the end of a command. With the queue's lock held --- */

static void respond(struct command *command, uint8_t response)
{
	uint8_t head[RESPONSE_HEAD + FIELD_MAX] = {0};
	const struct scsi_request *request = &command->request;
	size_t wanted = iov_bytes(command->in, command->in_count), length = RESPONSE_HEAD + command->sense_size;

	head[11] = response;
	if (response == S_OK) {
		head[10] = request->status;
		if (request->status == SCSI_CHECK_CONDITION) {
			uint8_t sense[SCSI_SENSE_BYTES];

			scsi_sense_data(&request->sense, sense);
			store_le32(head, (uint32_t)min_u64(sizeof(sense), command->sense_size));
			memcpy(head + RESPONSE_HEAD, sense, min_u64(sizeof(sense), command->sense_size));
		}
		if (!wanted)
			wanted = iov_bytes(command->out, command->out_count);
		store_le32(head + 4, (uint32_t)(wanted > command->moved ? wanted - command->moved : 0));
	}
	iov_write(command->element.in, command->element.in_count, 0, head, length);
	length += command->in_count ? command->moved : 0;
	free(command->in_copy);
	virtqueue_push(command, length);
}

/* --- the way of a command --- */

static void step(struct command *command);

static void disk_done(struct disk_request *disk, int result)
{
	struct command *command = container_of(disk, struct command, disk);
	struct virtqueue *queue = command->element.queue;

	virtqueue_enter(queue);
	if (result == 0)
		command->moved += disk->io.length * (disk->io.op == BLOCK_READ || disk->io.op == BLOCK_WRITE);
	scsi_io_done(&command->request, result);
	step(command);
	virtqueue_notify(queue);
	virtqueue_leave(queue);
}

static void submit(struct command *command, enum block_op op, const struct iovec *iov, unsigned count)
{
	const struct scsi_request *request = &command->request;

	command->disk.io = (struct block_request){.op = op,
						  .offset = request->offset,
						  .length = request->bytes,
						  .iov = iov,
						  .iov_count = (int)count,
						  .flags = request->flags};
	command->disk.done = disk_done;
	disk_submit(&command->unit->disk, &command->disk);
}

/* The driver's buffers must hold all of it. */
static void medium(struct command *command, bool write)
{
	struct iovec *iov = write ? command->out : command->in;
	unsigned *count = write ? &command->out_count : &command->in_count;
	size_t have = iov_bytes(iov, *count), extra = have - command->request.bytes;

	if (have < command->request.bytes) {
		respond(command, S_OVERRUN);
		return;
	}
	if (extra)
		iov_trim(iov, count, extra);
	submit(command, write ? BLOCK_WRITE : BLOCK_READ, iov, *count);
}

static void data_in(struct command *command)
{
	command->moved = iov_write(command->in, command->in_count, 0, command->request.data, command->request.length);
	scsi_good(&command->request);
	respond(command, S_OK);
}

static void data_out(struct command *command)
{
	struct scsi_request *request = &command->request;

	command->moved = iov_read(command->out, command->out_count, 0, request->data, request->length);
	request->length = (uint32_t)command->moved;
	scsi_continue(request);
	step(command);
}

static void step(struct command *command)
{
	struct scsi_request *request = &command->request;

	switch ((enum scsi_step)request->step) {
	case SCSI_DONE:
		respond(command, S_OK);
		break;
	case SCSI_DATA_IN:
		data_in(command);
		break;
	case SCSI_DATA_OUT:
		data_out(command);
		break;
	case SCSI_MEDIUM_IN:
		medium(command, false);
		break;
	case SCSI_MEDIUM_OUT:
		medium(command, true);
		break;
	case SCSI_DISK:
		submit(command, (enum block_op)request->op, NULL, 0);
		break;
	}
}

/* A target answers for logical units that it does not have. */
static void without_unit(struct command *command, unsigned target)
{
	struct scsi_request *request = &command->request;

	if (request->cdb[0] == 0xa0) {
		scsi_bus_report_luns(&command->scsi->bus, target, request);
	} else if (request->cdb[0] == 0x12) {
		scsi_start(request);
		request->data[0] = 0x7f; /* no such unit */
	} else {
		scsi_fail(request, SCSI_ILLEGAL_REQUEST, 0x25, 0);
	}
	step(command);
}

static void start(struct command *command, const uint8_t *lun)
{
	unsigned target = lun[1], number = load_be16(lun + 2) & 0x3fff;
	struct scsi_request *request = &command->request;

	command->unit = lun[0] == 1 ? scsi_bus_find(&command->scsi->bus, target, number) : NULL;
	if (!command->unit) {
		respond(command, S_BAD_TARGET);
		return;
	}
	request->unit = &command->unit->unit;
	if (command->unit->lun != number || request->cdb[0] == 0xa0) {
		without_unit(command, target);
		return;
	}
	scsi_start(request);
	step(command);
}

static void handle_command(struct virtio_scsi *scsi, struct command *command)
{
	struct virtq_element *element = &command->element;
	uint32_t cdb_size = __atomic_load_n(&scsi->cdb_size, __ATOMIC_RELAXED);
	uint8_t head[REQUEST_HEAD + FIELD_MAX];

	command->scsi = scsi;
	command->sense_size = __atomic_load_n(&scsi->sense_size, __ATOMIC_RELAXED);
	if (element->out_bytes < REQUEST_HEAD + cdb_size || element->in_bytes < RESPONSE_HEAD + command->sense_size) {
		virtio_fault(&scsi->virtio, "a request without head or response");
		virtqueue_drop(command);
		return;
	}
	iov_read(element->out, element->out_count, 0, head, REQUEST_HEAD + cdb_size);
	memcpy(command->request.cdb, head + REQUEST_HEAD, min_u64(cdb_size, SCSI_CDB_BYTES));
	command->out = element->out;
	command->out_count = element->out_count;
	iov_skip(&command->out, &command->out_count, REQUEST_HEAD + cdb_size);
	/* What is behind the response; the response itself is written through the element. */
	command->in_count = element->in_count;
	command->in = command->in_copy = xcalloc(element->in_count, sizeof(*command->in));
	memcpy(command->in, element->in, element->in_count * sizeof(*command->in));
	iov_skip(&command->in, &command->in_count, RESPONSE_HEAD + command->sense_size);
	start(command, head);
}

/* --- queues --- */

static void handle_requests(struct virtio_device *device, struct virtqueue *queue)
{
	struct command *command;

	do {
		virtqueue_kicks_off(queue);
		while ((command = virtqueue_pop(queue)))
			handle_command(from_virtio(device), command);
	} while (virtqueue_kicks_on(queue));
	virtqueue_notify(queue);
}

/* Main loop: afterwards nothing of the unit is under way. */
static uint8_t manage(struct virtio_scsi *scsi, const uint8_t *message)
{
	uint32_t subtype = load_le32(message + 4);
	const uint8_t *lun = message + 8;
	struct scsi_device *unit = lun[0] == 1 ? scsi_bus_find(&scsi->bus, lun[1], load_be16(lun + 2) & 0x3fff) : NULL;

	if (!unit)
		return S_BAD_TARGET;
	if (unit->lun != (load_be16(lun + 2) & 0x3fffu))
		return S_INCORRECT_LUN;
	if (subtype > TMF_LAST)
		return FUNCTION_REJECTED;
	disk_drain(&unit->disk);
	if (subtype == TMF_RESET_LUN)
		scsi_reset(&unit->unit);
	return FUNCTION_COMPLETE;
}

static size_t control(struct virtio_scsi *scsi, struct virtq_element *element)
{
	uint8_t message[24] = {0}, reply[5] = {0};
	size_t got = iov_read(element->out, element->out_count, 0, message, sizeof(message));

	switch (load_le32(message)) {
	case T_TMF:
		if (got < 24)
			break;
		reply[0] = manage(scsi, message);
		return iov_write(element->in, element->in_count, 0, reply, 1);
	case T_AN_QUERY:
	case T_AN_SUBSCRIBE:
		if (got < 20)
			break;
		return iov_write(element->in, element->in_count, 0, reply, 5);
	}
	return 0;
}

static void handle_control(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtq_element *element;

	do {
		virtqueue_kicks_off(queue);
		while ((element = virtqueue_pop(queue)))
			virtqueue_push(element, control(from_virtio(device), element));
	} while (virtqueue_kicks_on(queue));
	virtqueue_notify(queue);
}

static void send_event(struct virtio_scsi *scsi, uint32_t event, const struct scsi_device *unit, uint32_t reason)
{
	struct virtqueue *queue = virtio_queue(&scsi->virtio, QUEUE_EVENT);
	uint8_t message[EVENT_BYTES] = {0};
	struct virtq_element *element;

	if (scsi->events_missed)
		event |= EVENTS_MISSED;
	store_le32(message, event);
	if (unit) {
		message[4] = 1;
		message[5] = (uint8_t)unit->target;
		store_be16(message + 6, (uint16_t)(unit->lun | 0x4000));
	}
	store_le32(message + 12, reason);
	virtqueue_enter(queue);
	element = virtqueue_pop(queue);
	scsi->events_missed = !element;
	if (element)
		virtqueue_push(element, iov_write(element->in, element->in_count, 0, message, sizeof(message)));
	virtqueue_notify(queue);
	virtqueue_leave(queue);
}

/* Buffers for events stay in the ring until there is one; what was missed is told with the first. */
static void handle_events(struct virtio_device *device, struct virtqueue *queue)
{
}

static void unit_resized(struct scsi_bus *bus, struct scsi_device *unit)
{
	struct virtio_scsi *scsi = container_of(bus, struct virtio_scsi, bus);

	if (virtio_has(&scsi->virtio, F_CHANGE))
		send_event(scsi, EVENT_PARAM_CHANGE, unit, 0x2a | 9 << 8); /* capacity data has changed */
}

/* --- model --- */

static void config_read(struct virtio_device *device, uint8_t *config)
{
	const struct virtio_scsi *scsi = from_virtio(device);

	store_le32(config + CONFIG_NUM_QUEUES, scsi->num_queues);
	store_le32(config + CONFIG_SEG_MAX, scsi->queue_size - 2);
	store_le32(config + CONFIG_MAX_SECTORS, scsi->max_sectors);
	store_le32(config + CONFIG_CMD_PER_LUN, scsi->cmd_per_lun);
	store_le32(config + CONFIG_EVENT_SIZE, EVENT_BYTES);
	store_le32(config + CONFIG_SENSE_SIZE, scsi->sense_size);
	store_le32(config + CONFIG_CDB_SIZE, scsi->cdb_size);
	store_le16(config + CONFIG_MAX_TARGET, MAX_TARGET);
	store_le32(config + CONFIG_MAX_LUN, MAX_LUN);
}

static void config_write(struct virtio_device *device, const uint8_t *config, unsigned offset, unsigned size)
{
	struct virtio_scsi *scsi = from_virtio(device);
	uint32_t sense_size = load_le32(config + CONFIG_SENSE_SIZE), cdb_size = load_le32(config + CONFIG_CDB_SIZE);

	if (sense_size >= FIELD_MAX || cdb_size >= FIELD_MAX) {
		virtio_fault(device, "sense of %u bytes or commands of %u", sense_size, cdb_size);
		return;
	}
	__atomic_store_n(&scsi->sense_size, sense_size, __ATOMIC_RELAXED);
	__atomic_store_n(&scsi->cdb_size, cdb_size, __ATOMIC_RELAXED);
}

static void reset(struct virtio_device *device)
{
	struct virtio_scsi *scsi = from_virtio(device);

	__atomic_store_n(&scsi->sense_size, SENSE_DEFAULT, __ATOMIC_RELAXED);
	__atomic_store_n(&scsi->cdb_size, CDB_DEFAULT, __ATOMIC_RELAXED);
	scsi->events_missed = false;
	for (struct scsi_device *unit = scsi->bus.devices; unit; unit = unit->next)
		disk_cancel_stalled(&unit->disk);
}

static void drain(struct virtio_device *device)
{
	for (struct scsi_device *unit = from_virtio(device)->bus.devices; unit; unit = unit->next)
		disk_drain(&unit->disk);
}

static int init(struct virtio_device *device, struct error *err)
{
	struct virtio_scsi *scsi = from_virtio(device);

	if (!device->device.env->scsi_buses)
		return error_set(err, ENODEV, "this board has no SCSI buses");
	if (scsi->num_queues < 1 || scsi->num_queues > UNIT_QUEUES_MAX)
		return error_set(err, EINVAL, "num_queues=%u: not from 1 to %u", scsi->num_queues, UNIT_QUEUES_MAX);
	if (!is_power_of_two(scsi->queue_size) || scsi->queue_size < 4 || scsi->queue_size > VIRTIO_QUEUE_SIZE_MAX)
		return error_set(err, EINVAL, "virtqueue_size=%u: not a power of two from 4 to %u", scsi->queue_size,
				 VIRTIO_QUEUE_SIZE_MAX);
	device->offered = (scsi->hotplug ? VIRTIO_BIT(F_HOTPLUG) : 0) | (scsi->param_change ? VIRTIO_BIT(F_CHANGE) : 0);
	scsi->sense_size = SENSE_DEFAULT;
	scsi->cdb_size = CDB_DEFAULT;
	scsi->bus.max_target = MAX_TARGET;
	scsi->bus.max_lun = MAX_LUN;
	scsi->bus.resized = unit_resized;
	scsi_bus_add(device->device.env->scsi_buses, &scsi->bus, &device->device);
	virtio_queue_add(device, SLOW_QUEUE_SIZE, 0, NULL, handle_control);
	virtio_queue_add(device, SLOW_QUEUE_SIZE, 0, NULL, handle_events);
	for (unsigned i = 0; i < scsi->num_queues; i++)
		virtio_queue_add(device, (unsigned)scsi->queue_size, sizeof(struct command), NULL, handle_requests);
	return 0;
}

static void fini(struct virtio_device *device)
{
	scsi_bus_remove(device->device.env->scsi_buses, &from_virtio(device)->bus);
}

static const struct virtio_class model = {
	.name = "virtio-scsi",
	.id = VIRTIO_ID_SCSI,
	.config_size = CONFIG_BYTES,
	.init = init,
	.fini = fini,
	.config_read = config_read,
	.config_write = config_write,
	.reset = reset,
	.drain = drain,
};

static int check_state(const void *staged, struct error *err)
{
	const struct virtio_scsi *scsi = staged;

	if (scsi->sense_size >= FIELD_MAX || scsi->cdb_size >= FIELD_MAX)
		return error_set(err, EINVAL, "sense of %u bytes, commands of %u", scsi->sense_size, scsi->cdb_size);
	return 0;
}

static const struct state_field fields[] = {
	STATE_SUB(virtio_device_state, struct virtio_scsi, virtio, 1),
	STATE_FIELD(STATE_U32, struct virtio_scsi, sense_size),
	STATE_FIELD(STATE_U32, struct virtio_scsi, cdb_size),
	STATE_FIELD(STATE_BOOL, struct virtio_scsi, events_missed),
	STATE_END,
};
static const struct state_table state = {.name = "virtio-scsi",
					 .version = 1,
					 .size = sizeof(struct virtio_scsi),
					 .fields = fields,
					 .check = check_state};

#define SCSI_PROPERTY(NAME, KIND, MEMBER, FALLBACK, HELP)                                                              \
	{                                                                                                              \
		.name = NAME, .type = KIND, .offset = offsetof(struct virtio_scsi, MEMBER), .fallback = FALLBACK,      \
		.help = HELP                                                                                           \
	}

static const struct property properties[] = {
	SCSI_PROPERTY("num_queues", PROPERTY_U32, num_queues, "1", "request queues"),
	SCSI_PROPERTY("virtqueue_size", PROPERTY_U32, queue_size, "256", "entries of a request queue, a power of two"),
	SCSI_PROPERTY("max_sectors", PROPERTY_U32, max_sectors, "65535", "largest transfer, sectors"),
	SCSI_PROPERTY("cmd_per_lun", PROPERTY_U32, cmd_per_lun, "128", "commands at once for a unit"),
	SCSI_PROPERTY("hotplug", PROPERTY_BOOL, hotplug, "on", "tell of units that come and go"),
	SCSI_PROPERTY("param_change", PROPERTY_BOOL, param_change, "on", "tell of disks that change their size"),
	VIRTIO_PCI_PROPERTIES(struct virtio_scsi),
	{.name = NULL},
};

VIRTIO_PCI_CLASSES(virtio_scsi, "virtio-scsi", "virtio SCSI host", struct virtio_scsi, properties, &state, &model,
		   0x010000);
