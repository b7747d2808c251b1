/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device on a disk: what it is told (the disk has another size) and what it tells (requests that failed). */
#include "backend/block/attach.h"

#include "backend/block/internal.h"

void block_attach_device(struct block *block, const struct block_device_ops *ops, void *device)
{
	block->device_ops = ops;
	block->device = device;
}

void block_graph_on_error(struct block_graph *graph,
			  void (*fn)(void *opaque, struct block *block, const struct block_failure *failure),
			  void *opaque)
{
	graph->on_error = fn;
	graph->on_error_opaque = opaque;
}

void block_io_failed(struct block *block, const struct block_failure *failure)
{
	if (failure->action == BLOCK_ERROR_STOP)
		atomic_store(&block->io_status, failure->error == ENOSPC ? BLOCK_IO_NO_SPACE : BLOCK_IO_FAILED);
	if (block->graph && block->graph->on_error)
		block->graph->on_error(block->graph->on_error_opaque, block, failure);
}

enum block_io_status block_get_io_status(const struct block *block)
{
	return atomic_load(&((struct block *)(uintptr_t)block)->io_status);
}

void block_reset_io_status(struct block_graph *graph)
{
	for (struct block *block = graph->first; block; block = block->next)
		atomic_store(&block->io_status, BLOCK_IO_OK);
}

/* --- another size while a device is on it --- */

struct resize {
	struct block *block;
	uint64_t length;
	struct error *err;
	int result;
};

static void resize_now(void *opaque)
{
	struct resize *resize = opaque;

	resize->result = block_truncate(resize->block, resize->length, resize->err);
}

/* The topmost node over this one: the only one that a device can be on. */
static struct block *top_of(struct block *block)
{
	struct block *top = block;

	for (struct block *b = block->graph->first; b; b = b->next)
		if (b->file == top && b->driver->is_filter)
			top = top_of(b);
	return top;
}

int block_resize(struct block *block, uint64_t length, struct error *err)
{
	struct block *top = top_of(block);
	struct resize resize = {.block = block, .length = length, .err = err};

	for (struct block *b = block->graph->first; b; b = b->next)
		if (b->backing == block || (b->file == block && !b->driver->is_filter))
			return error_set(err, EBUSY, "node '%s' is used by node '%s'", block->node_name, b->node_name);
	if (top->device_ops)
		top->device_ops->with_io_stopped(top->device, resize_now, &resize);
	else
		resize_now(&resize);
	if (resize.result)
		return resize.result;
	for (struct block *b = top; b != block; b = b->file)
		b->length = block->length;
	if (top->device_ops)
		top->device_ops->resized(top->device);
	return 0;
}
