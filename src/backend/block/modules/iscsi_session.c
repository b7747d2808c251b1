/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libiscsi does iSCSI (RFC 7143); this file owns its context, one after the other, and says in SCSI (SPC-4, SBC-3) what
 * is wanted. libiscsi's own reconnecting is switched off: it has no bound. Every use of a context that is logged in is
 * under the remote's lock, so that callbacks run under it too.
 */
#include "backend/block/modules/iscsi_session.h"

#include "backend/block/modules/remote.h"
#include "base/util.h"

#include <iscsi/scsi-lowlevel.h>
#include <stdlib.h>
#include <time.h>

#define CONNECT_S        15
#define MAX_ATTEMPTS     10 /* for a unit that is busy or had its attention drawn away */
#define FIRST_PAUSE_NS   (8 * NS_PER_MS)
#define DEFAULT_TRANSFER (16 * MIB)
#define DEFAULT_UNMAP    (1 * GIB)
#define STATUS_BYTES     4096 /* of descriptors in one answer */

struct iscsi_session {
	struct iscsi_settings settings;
	struct remote *remote;
	struct iscsi_context *context;
	bool broken; /* the context has cancelled its commands and waits for a reconnection that it is not to make */
	struct iscsi_unit unit;
};

/* A command on its way. */
struct flight {
	struct remote_request remote;
	struct iscsi_session *session;
	struct iscsi_command *command;
	struct unmap_list unmap;
	bool again; /* the unit asks for another attempt */
};

/* --- results --- */

/* SPC-4 4.5.6 */
static int sense_error(const struct scsi_sense *sense)
{
	switch (sense->key) {
	case SCSI_SENSE_NOT_READY:
		return -EBUSY;
	case SCSI_SENSE_ILLEGAL_REQUEST:
		switch (sense->ascq) {
		case SCSI_SENSE_ASCQ_INVALID_OPERATION_CODE:
		case SCSI_SENSE_ASCQ_INVALID_FIELD_IN_CDB:
		case SCSI_SENSE_ASCQ_INVALID_FIELD_IN_PARAMETER_LIST:
			return -ENOTSUP;
		default:
			return -EINVAL;
		}
	case SCSI_SENSE_DATA_PROTECTION:
		/* 27h/07h: space allocation failed write protect (SBC-3 4.7.3.7) */
		return sense->ascq == 0x2707 ? -ENOSPC : -EACCES;
	default:
		return -EIO;
	}
}

static int read_status(struct scsi_task *task, struct iscsi_command *command)
{
	const struct scsi_get_lba_status *answer = scsi_datain_unmarshall(task);
	const struct scsi_lba_status_descriptor *first = answer ? answer->descriptors : NULL;

	if (!answer || !answer->num_descriptors || first->lba > command->lba ||
	    first->lba + first->num_blocks <= command->lba)
		return -EIO;
	command->mapped = first->provisioning == SCSI_PROVISIONING_TYPE_MAPPED;
	command->run_blocks = (uint32_t)(first->lba + first->num_blocks - command->lba);
	return 0;
}

/* libiscsi's callback; with the lock. */
static void on_done(struct iscsi_context *context, int status, void *data, void *opaque)
{
	struct flight *flight = opaque;
	struct scsi_task *task = data;
	int result = 0;

	switch (status) {
	case SCSI_STATUS_GOOD:
		if (flight->command->op == ISCSI_OP_STATUS)
			result = read_status(task, flight->command);
		break;
	case SCSI_STATUS_CHECK_CONDITION:
		flight->again = task->sense.key == SCSI_SENSE_UNIT_ATTENTION;
		result = sense_error(&task->sense);
		break;
	case SCSI_STATUS_BUSY:
	case SCSI_STATUS_TASK_SET_FULL:
		flight->again = true;
		result = -EBUSY;
		break;
	case SCSI_STATUS_CANCELLED:
		flight->session->broken = true;
		result = -ENOTCONN;
		break;
	default:
		result = -EIO;
		break;
	}
	if (task)
		scsi_free_scsi_task(task);
	remote_done(flight->session->remote, &flight->remote, result);
}

/* --- commands; with the lock --- */

static struct scsi_task *start_transfer(struct iscsi_session *s, struct flight *flight)
{
	const struct iscsi_command *c = flight->command;
	const uint32_t bytes = c->blocks * s->unit.block_bytes;
	const int block = (int)s->unit.block_bytes, lun = s->settings.lun, fua = c->fua;
	/* libiscsi promises that its vector is the system's. */
	struct scsi_iovec *iov = (struct scsi_iovec *)(uintptr_t)c->iov;

	if (c->op == ISCSI_OP_READ)
		return iscsi_read16_iov_task(s->context, lun, c->lba, bytes, block, 0, 0, 0, 0, 0, on_done, flight, iov,
					     c->iov_count);
	return iscsi_write16_iov_task(s->context, lun, c->lba, NULL, bytes, block, 0, 0, fua, 0, 0, on_done, flight,
				      iov, c->iov_count);
}

static struct scsi_task *start_task(struct iscsi_session *s, struct flight *flight)
{
	const struct iscsi_command *c = flight->command;
	const int lun = s->settings.lun;

	switch (c->op) {
	case ISCSI_OP_READ:
	case ISCSI_OP_WRITE:
		return start_transfer(s, flight);
	case ISCSI_OP_FLUSH:
		return iscsi_synchronizecache10_task(s->context, lun, 0, 0, 0, 0, on_done, flight);
	case ISCSI_OP_UNMAP:
		flight->unmap = (struct unmap_list){.lba = c->lba, .num = c->blocks};
		return iscsi_unmap_task(s->context, lun, 0, 0, &flight->unmap, 1, on_done, flight);
	case ISCSI_OP_SAME:
		return iscsi_writesame16_task(s->context, lun, c->lba, c->iov->iov_base, s->unit.block_bytes, c->blocks,
					      0, c->unmap, 0, 0, on_done, flight);
	case ISCSI_OP_STATUS:
		return iscsi_get_lba_status_task(s->context, lun, c->lba, STATUS_BYTES, on_done, flight);
	}
	return NULL;
}

static void start(struct remote *remote, void *opaque, struct remote_request *request)
{
	struct flight *flight = container_of(request, struct flight, remote);

	if (!start_task(flight->session, flight))
		remote_done(remote, request, -ENOMEM);
}

static struct pollfd watch(void *opaque)
{
	struct iscsi_session *s = opaque;

	return (struct pollfd){.fd = s->broken ? -1 : iscsi_get_fd(s->context),
			       .events = (short)iscsi_which_events(s->context)};
}

static void take_error(struct iscsi_context *context, char *text, size_t bytes)
{
	const char *said = iscsi_get_error(context);
	size_t length;

	if (!said || !*said)
		return;
	length = strcspn(said, "\n");
	if (length >= bytes)
		length = bytes - 1;
	memcpy(text, said, length);
	text[length] = 0;
}

static void service(void *opaque, short revents, char *text, size_t bytes)
{
	struct iscsi_session *s = opaque;

	if (iscsi_service(s->context, revents) < 0)
		s->broken = true;
	if (s->broken)
		take_error(s->context, text, bytes);
}

static void disconnect(void *opaque, bool orderly)
{
	struct iscsi_session *s = opaque;

	if (orderly) {
		iscsi_set_timeout(s->context, 1);
		iscsi_logout_sync(s->context);
	}
	iscsi_destroy_context(s->context);
	s->context = NULL;
}

/* --- connecting; without the lock --- */

static int fail(struct iscsi_context *context, struct error *err, const char *what)
{
	char text[256] = "no reason given";

	take_error(context, text, sizeof(text));
	return error_set(err, EIO, "iSCSI: %s: %s", what, text);
}

static int read_capacity(struct iscsi_context *context, int lun, struct iscsi_unit *unit, bool *thin, struct error *err)
{
	struct scsi_task *task = iscsi_readcapacity16_sync(context, lun);
	const struct scsi_readcapacity16 *answer =
		task && task->status == SCSI_STATUS_GOOD ? scsi_datain_unmarshall(task) : NULL;
	int result = 0;

	if (!answer) {
		result = fail(context, err, "failed to read the capacity");
	} else if (!is_power_of_two(answer->block_length) || answer->block_length < 512 ||
		   answer->block_length > 65536 || answer->returned_lba >= (uint64_t)INT64_MAX / answer->block_length) {
		result = error_set(err, EINVAL, "iSCSI: a unit of %llu + 1 blocks of %u bytes is not supported",
				   (unsigned long long)answer->returned_lba, answer->block_length);
	} else {
		unit->blocks = answer->returned_lba + 1;
		unit->block_bytes = answer->block_length;
		unit->reads_zeroes = answer->lbprz;
		*thin = answer->lbpme;
	}
	if (task)
		scsi_free_scsi_task(task);
	return result;
}

/* The page of INQUIRY that is wanted, or NULL; *task is to be freed. */
static const void *vital_page(struct iscsi_context *context, int lun, int page, struct scsi_task **task)
{
	*task = iscsi_inquiry_sync(context, lun, 1, page, 255);
	return *task && (*task)->status == SCSI_STATUS_GOOD ? scsi_datain_unmarshall(*task) : NULL;
}

static uint32_t limit(uint64_t said, uint64_t otherwise)
{
	return (uint32_t)(said && said < otherwise ? said : otherwise);
}

static void read_limits(struct iscsi_context *context, int lun, struct iscsi_unit *unit, bool thin)
{
	struct scsi_task *task;
	const struct scsi_inquiry_block_limits *limits =
		vital_page(context, lun, SCSI_INQUIRY_PAGECODE_BLOCK_LIMITS, &task);
	const struct scsi_inquiry_logical_block_provisioning *provisioning;

	unit->max_transfer_blocks = limit(limits ? limits->max_xfer_len : 0, DEFAULT_TRANSFER / unit->block_bytes);
	unit->max_unmap_blocks = limit(limits ? limits->max_unmap : 0, DEFAULT_UNMAP / unit->block_bytes);
	unit->max_same_blocks = limit(limits ? limits->max_ws_len : 0, DEFAULT_UNMAP / unit->block_bytes);
	if (task)
		scsi_free_scsi_task(task);
	if (!thin)
		return;
	provisioning = vital_page(context, lun, SCSI_INQUIRY_PAGECODE_LOGICAL_BLOCK_PROVISIONING, &task);
	unit->can_unmap = provisioning && provisioning->lbpu;
	unit->can_unmap_zeroes = provisioning && provisioning->lbpws && unit->reads_zeroes;
	if (task)
		scsi_free_scsi_task(task);
}

/* SBC-3 6.4.1: WP and DPOFUA of the device-specific parameter. */
static void read_mode(struct iscsi_context *context, int lun, struct iscsi_unit *unit)
{
	struct scsi_task *task = iscsi_modesense6_sync(context, lun, 1, SCSI_MODESENSE_PC_CURRENT,
						       SCSI_MODEPAGE_RETURN_ALL_PAGES, 0, 255);
	const struct scsi_mode_sense *answer =
		task && task->status == SCSI_STATUS_GOOD ? scsi_datain_unmarshall(task) : NULL;

	if (answer) {
		unit->read_only = answer->device_specific_parameter & 0x80;
		unit->fua = answer->device_specific_parameter & 0x10;
	}
	if (task)
		scsi_free_scsi_task(task);
}

static int check_type(struct iscsi_context *context, int lun, struct error *err)
{
	struct scsi_task *task = iscsi_inquiry_sync(context, lun, 0, 0, 255);
	const struct scsi_inquiry_standard *answer =
		task && task->status == SCSI_STATUS_GOOD ? scsi_datain_unmarshall(task) : NULL;
	int result = 0;

	if (!answer)
		result = fail(context, err, "failed to inquire the unit");
	else if (answer->device_type != SCSI_INQUIRY_PERIPHERAL_DEVICE_TYPE_DIRECT_ACCESS)
		result = error_set(err, ENOTSUP, "iSCSI: unit %d is no disk (peripheral device type %d)", lun,
				   answer->device_type);
	if (task)
		scsi_free_scsi_task(task);
	return result;
}

static int log_in(struct iscsi_session *s, struct iscsi_context *context, struct error *err)
{
	const struct iscsi_settings *settings = &s->settings;

	iscsi_set_noautoreconnect(context, 1);
	iscsi_set_timeout(context, CONNECT_S);
	if (iscsi_set_targetname(context, settings->target) || iscsi_set_session_type(context, ISCSI_SESSION_NORMAL) ||
	    iscsi_set_header_digest(context, settings->header_digest) ||
	    (settings->user &&
	     iscsi_set_initiator_username_pwd(context, settings->user, settings->password ? settings->password : "")))
		return fail(context, err, "Failed to set up the session");
	return iscsi_full_connect_sync(context, settings->portal, settings->lun)
		       ? fail(context, err, "Failed to connect to LUN ")
		       : 0;
}

static int look_at_unit(struct iscsi_context *context, int lun, struct iscsi_unit *unit, struct error *err)
{
	bool thin = false;
	int result;

	*unit = (struct iscsi_unit){0};
	if ((result = check_type(context, lun, err)) || (result = read_capacity(context, lun, unit, &thin, err)))
		return result;
	read_limits(context, lun, unit, thin);
	read_mode(context, lun, unit);
	return 0;
}

static int connect_once(struct remote *remote, void *opaque, bool first, struct error *err)
{
	struct iscsi_session *s = opaque;
	struct iscsi_context *context = iscsi_create_context(s->settings.initiator_name);
	struct iscsi_unit unit;
	int result;

	if (first)
		s->remote = remote;
	if (!context)
		return error_set(err, ENOMEM, "iSCSI: no context for initiator '%s'", s->settings.initiator_name);
	result = log_in(s, context, err);
	if (!result)
		result = look_at_unit(context, s->settings.lun, &unit, err);
	if (!result && !first &&
	    (unit.blocks != s->unit.blocks || unit.block_bytes != s->unit.block_bytes ||
	     unit.read_only != s->unit.read_only))
		result = error_set(err, EIO, "iSCSI: the unit came back as another one");
	if (result) {
		iscsi_destroy_context(context);
		return result;
	}
	iscsi_set_timeout(context, 0); /* the remote's clock is enough */
	if (first)
		s->unit = unit;
	s->context = context;
	s->broken = false;
	return 0;
}

/* --- life --- */

static const struct remote_driver driver = {
	.connect = connect_once,
	.start = start,
	.watch = watch,
	.service = service,
	.disconnect = disconnect,
};

static void session_free(struct iscsi_session *s)
{
	const char *const texts[] = {s->settings.portal, s->settings.target, s->settings.user, s->settings.password,
				     s->settings.initiator_name};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free((void *)(uintptr_t)texts[i]);
	free(s);
}

static const char *copy_of(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

struct iscsi_session *iscsi_session_open(const struct iscsi_settings *settings, struct iscsi_unit *unit,
					 struct error *err)
{
	struct iscsi_session *s = xcalloc(1, sizeof(*s));
	struct remote_settings how = {.driver = &driver,
				      .opaque = s,
				      .what = "iscsi",
				      .place = settings->target,
				      .delay_s = settings->delay_s,
				      .log = settings->log};

	s->settings = *settings;
	s->settings.portal = copy_of(settings->portal);
	s->settings.target = copy_of(settings->target);
	s->settings.user = copy_of(settings->user);
	s->settings.password = copy_of(settings->password);
	s->settings.initiator_name = copy_of(settings->initiator_name);
	s->remote = remote_open(&how, err);
	if (!s->remote) {
		session_free(s);
		return NULL;
	}
	*unit = s->unit;
	return s;
}

void iscsi_session_cancel(struct iscsi_session *s)
{
	remote_cancel(s->remote);
}

void iscsi_session_close(struct iscsi_session *s)
{
	remote_close(s->remote);
	session_free(s);
}

int iscsi_session_run(struct iscsi_session *s, struct iscsi_command *command)
{
	int64_t pause_ns = FIRST_PAUSE_NS;

	for (unsigned attempt = 1;; attempt++) {
		struct flight flight = {.session = s, .command = command};
		struct timespec pause;
		const int result = remote_run(s->remote, &flight.remote);

		if (!flight.again || attempt == MAX_ATTEMPTS)
			return result == -EBUSY ? -EIO : result;
		pause = (struct timespec){.tv_sec = pause_ns / NS_PER_S, .tv_nsec = pause_ns % NS_PER_S};
		nanosleep(&pause, NULL);
		pause_ns *= 2;
	}
}
