/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of storage devices on their way to the block layer and back (disk.h). */
#include "device/storage/disk.h"

#include "base/util.h"
#include "core/clock.h"

#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_INTERVAL_NS (50 * NS_PER_MS)
#define RETRY_PATIENCE_NS (1 * NS_PER_S) /* for a machine that does not stop when asked */

/* --- submission --- */

static void start(struct disk *disk, struct disk_request *request);
static void io_done(struct block_request *io, int result);

static struct disk_request *take(struct disk *disk, struct disk_request **list)
{
	struct disk_request *first;

	pthread_mutex_lock(&disk->lock);
	first = *list;
	*list = NULL;
	if (list == &disk->waiting)
		disk->waiting_last = &disk->waiting;
	pthread_mutex_unlock(&disk->lock);
	return first;
}

static void start_waiting(struct disk *disk)
{
	struct disk_request *request = take(disk, &disk->waiting);

	while (request) {
		struct disk_request *next = request->next;

		start(disk, request);
		request = next;
	}
	if (disk->queue)
		block_queue_kick(disk->queue);
}

static void on_event(void *opaque, uint32_t events)
{
	struct disk *disk = opaque;
	eventfd_t count;

	eventfd_read(disk->event_fd, &count);
	start_waiting(disk);
}

static void enqueue(struct disk *disk, struct disk_request *request, bool canceled)
{
	bool first;

	request->disk = disk;
	request->next = NULL;
	request->canceled = canceled;
	if (!canceled && disk->queue && loop_is_current(disk->env->loop)) {
		request->io.done = io_done;
		block_submit(disk->queue, &request->io);
		block_queue_kick(disk->queue);
		return;
	}
	pthread_mutex_lock(&disk->lock);
	first = !disk->waiting;
	*disk->waiting_last = request;
	disk->waiting_last = &request->next;
	if (first)
		eventfd_write(disk->event_fd, 1);
	pthread_mutex_unlock(&disk->lock);
}

void disk_submit(struct disk *disk, struct disk_request *request)
{
	enqueue(disk, request, false);
}

/* --- failures --- */

static enum disk_on_error policy(const struct disk *disk, const struct disk_request *request, int error)
{
	enum disk_on_error what = request->io.op == BLOCK_READ ? disk->on_read_error : disk->on_write_error;

	if (what == DISK_ERROR_ENOSPC)
		what = error == -ENOSPC ? DISK_ERROR_STOP : DISK_ERROR_REPORT;
	return what;
}

static void stall(struct disk *disk, struct disk_request *request)
{
	bool first;

	pthread_mutex_lock(&disk->lock);
	first = !disk->stalled;
	request->next = disk->stalled;
	disk->stalled = request;
	pthread_mutex_unlock(&disk->lock);
	if (!first)
		return;
	disk->stalled_since_ns = host_now_ns();
	disk->seen_stopped = false;
	loop_timer_set(&disk->retry, disk->stalled_since_ns + RETRY_INTERVAL_NS);
	if (disk->env->request)
		disk->env->request(disk->env->request_opaque, MACHINE_IO_ERROR, 0);
}

static void io_done(struct block_request *io, int result)
{
	static const enum block_error_action actions[] = {[DISK_ERROR_REPORT] = BLOCK_ERROR_REPORT,
							  [DISK_ERROR_IGNORE] = BLOCK_ERROR_IGNORE,
							  [DISK_ERROR_STOP] = BLOCK_ERROR_STOP};
	struct disk_request *request = container_of(io, struct disk_request, io);
	struct disk *disk = request->disk;
	enum disk_on_error what;

	if (result == 0) {
		request->done(request, 0);
		return;
	}
	what = policy(disk, request, result);
	block_io_failed(disk->block, &(struct block_failure){io->op, actions[what], -result});
	if (what == DISK_ERROR_STOP && !disk->draining)
		stall(disk, request);
	else
		request->done(request, what == DISK_ERROR_IGNORE ? 0 : result);
}

static void start(struct disk *disk, struct disk_request *request)
{
	if (!disk->queue || request->canceled) {
		request->done(request, disk->queue ? -ECANCELED : -ENOMEDIUM);
		return;
	}
	request->io.done = io_done;
	block_submit(disk->queue, &request->io);
}

static void retry(void *opaque)
{
	struct disk *disk = opaque;
	bool running = clock_running(disk->env->clock);
	struct disk_request *request;

	if (!running)
		disk->seen_stopped = true;
	if (!running || (!disk->seen_stopped && host_now_ns() - disk->stalled_since_ns < RETRY_PATIENCE_NS)) {
		loop_timer_set(&disk->retry, host_now_ns() + RETRY_INTERVAL_NS);
		return;
	}
	request = take(disk, &disk->stalled);
	while (request) {
		struct disk_request *next = request->next;

		start(disk, request);
		request = next;
	}
	if (disk->queue)
		block_queue_kick(disk->queue);
}

static void end_stalled(struct disk *disk)
{
	struct disk_request *request = take(disk, &disk->stalled);

	while (request) {
		struct disk_request *next = request->next;

		request->done(request, -ECANCELED);
		request = next;
	}
}

void disk_cancel_stalled(struct disk *disk)
{
	struct disk_request *request = take(disk, &disk->stalled);

	/* Through the line of what waits: their end comes in the main loop. */
	while (request) {
		struct disk_request *next = request->next;

		enqueue(disk, request, true);
		request = next;
	}
}

void disk_drain(struct disk *disk)
{
	disk->draining = true;
	do {
		start_waiting(disk);
		if (disk->queue)
			block_queue_drain(disk->queue);
		end_stalled(disk);
	} while (disk->waiting);
	disk->draining = false;
}

/* --- life --- */

static int parse_policy(const char *name, const char *text, enum disk_on_error fallback, enum disk_on_error *policy_out,
			struct error *err)
{
	static const char *const names[] = {"report", "ignore", "stop", "enospc"};

	*policy_out = fallback;
	if (!text || !*text || !strcmp(text, "auto"))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(text, names[i])) {
			*policy_out = (enum disk_on_error)i;
			return 0;
		}
	}
	return error_set(err, EINVAL, "%s=%s: not one of report, ignore, stop, enospc, auto", name, text);
}

static int check_size(const char *name, uint32_t *bytes, uint32_t fallback, struct error *err)
{
	if (!*bytes)
		*bytes = fallback;
	if (!is_power_of_two(*bytes) || *bytes < DISK_SECTOR_BYTES || *bytes > 2 * MIB)
		return error_set(err, EINVAL, "%s=%u: not a power of two from 512 to 2M", name, *bytes);
	return 0;
}

static int check(struct disk *disk, struct disk_config *config, uint32_t block_bytes, struct error *err)
{
	int rc = check_size("logical_block_size", &config->logical_block_size, block_bytes, err);

	if (rc == 0)
		rc = check_size("physical_block_size", &config->physical_block_size, config->logical_block_size, err);
	if (rc == 0 && config->logical_block_size > config->physical_block_size)
		rc = error_set(err, EINVAL, "logical_block_size > physical_block_size not supported");
	if (rc == 0)
		rc = parse_policy("werror", config->werror, DISK_ERROR_ENOSPC, &disk->on_write_error, err);
	if (rc == 0)
		rc = parse_policy("rerror", config->rerror, DISK_ERROR_REPORT, &disk->on_read_error, err);
	if (rc == 0 && disk->on_read_error == DISK_ERROR_ENOSPC)
		rc = error_set(err, EINVAL, "rerror=enospc: reading needs no space; report, ignore or stop");
	return rc;
}

int disk_set_medium(struct disk *disk, struct block *block, struct error *err)
{
	struct block_queue *queue = NULL;

	if (block) {
		queue = block_queue_new(block, disk->env->loop, NULL, err);
		if (!queue)
			return err && err->code ? -err->code : -EIO;
	}
	block_queue_free(disk->queue);
	disk->queue = queue;
	disk->block = block;
	return 0;
}

int disk_open(struct disk *disk, const struct device_env *env, struct disk_config *config, uint32_t block_bytes,
	      struct error *err)
{
	int rc = check(disk, config, block_bytes, err);

	if (rc < 0)
		return rc;
	disk->env = env;
	disk->waiting_last = &disk->waiting;
	disk->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (disk->event_fd < 0)
		return error_set_errno(err, errno, "cannot make an eventfd");
	rc = disk_set_medium(disk, config->block, err);
	if (rc < 0) {
		close(disk->event_fd);
		return rc;
	}
	pthread_mutex_init(&disk->lock, NULL);
	loop_timer_init(&disk->retry, env->loop, retry, disk);
	disk->watch = loop_fd_add(env->loop, disk->event_fd, EPOLLIN, on_event, disk);
	return 0;
}

void disk_close(struct disk *disk)
{
	disk_drain(disk);
	loop_timer_cancel(&disk->retry);
	loop_fd_remove(disk->watch);
	block_queue_free(disk->queue);
	close(disk->event_fd);
	pthread_mutex_destroy(&disk->lock);
}
