/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Failed disk requests become BLOCK_IO_ERROR events. One a disk may be on its way to the main loop; what fails meanwhile
 * is the same trouble. */
#include "backend/block/attach.h"
#include "base/loop.h"
#include "base/util.h"
#include "machine/internal.h"

#include <jansson.h>
#include <stdlib.h>

struct disk_event {
	struct machine *machine;
	struct block *block;
	struct block_failure failure;
};

static void emit(void *opaque)
{
	static const char *const actions[] = {
		[BLOCK_ERROR_IGNORE] = "ignore", [BLOCK_ERROR_REPORT] = "report", [BLOCK_ERROR_STOP] = "stop"};
	struct disk_event *event = opaque;
	const struct block *node = NULL;
	const char *id;
	json_t *data;
	char *text;

	/* It may have gone on the way here, and all others with it. */
	while (event->machine->blocks && (node = block_next(event->machine->blocks, node)) && node != event->block)
		;
	if (!node) {
		free(event);
		return;
	}
	id = machine_drive_id(event->machine, event->block);
	while (node->implicit)
		node = node->file;
	data = json_pack("{s:s,s:b,s:s,s:s,s:s,s:s}", "device", id ? id : "", "nospace", event->failure.error == ENOSPC,
	                 "node-name", node->node_name, "reason", strerror(event->failure.error), "operation",
	                 event->failure.op == BLOCK_READ ? "read" : "write", "action", actions[event->failure.action]);
	text = data ? json_dumps(data, 0) : NULL;
	atomic_store(&event->block->event_pending, false);
	if (text)
		machine_emit(event->machine, "BLOCK_IO_ERROR", text);
	free(text);
	json_decref(data);
	free(event);
}

static void failed(void *opaque, struct block *block, const struct block_failure *failure)
{
	struct machine *machine = opaque;
	struct disk_event *event;

	if (atomic_exchange(&block->event_pending, true))
		return;
	event = xcalloc(1, sizeof(*event));
	*event = (struct disk_event){.machine = machine, .block = block, .failure = *failure};
	loop_post(machine->loop, emit, event);
}

void machine_watch_disks(struct machine *machine)
{
	block_graph_on_error(machine->blocks, failed, machine);
}
