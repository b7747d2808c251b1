/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The graph of open nodes: their names, references and ends. All of it in the control thread. Opening is in open.c. */
#include "backend/block/internal.h"
#include "backend/block/module.h"
#include "backend/block/throttle.h"

#include <stdlib.h>

#define POOL_THREADS 64

struct block_graph *block_graph_new(struct log *log)
{
	struct block_graph *graph = xcalloc(1, sizeof(*graph));

	graph->log = log;
	graph->pool = pool_new(POOL_THREADS);
	return graph;
}

void block_graph_free(struct block_graph *graph)
{
	if (!graph)
		return;
	pool_free(graph->pool);
	for (struct block *block = graph->first; block; block = block->next) {
		block_set_throttle(block, NULL);
		block->graph = NULL; /* somebody still holds it; it is closed with its last reference */
	}
	block_secrets_free(graph->secrets);
	throttle_groups_free(graph->throttle_groups);
	free(graph);
}

struct log *block_log(const struct block *block)
{
	return block->graph ? block->graph->log : NULL;
}

struct pool *block_pool(struct block *block)
{
	return block->graph->pool;
}

struct block *block_find(struct block_graph *graph, const char *node_name)
{
	for (struct block *block = graph->first; block; block = block->next)
		if (!strcmp(block->node_name, node_name))
			return block;
	return NULL;
}

struct block *block_next(const struct block_graph *graph, const struct block *previous)
{
	return previous ? previous->next : graph->first;
}

void block_ref(struct block *block)
{
	block->references++;
}

static void forget(struct block *block)
{
	struct block **link;

	if (!block->graph)
		return;
	for (link = &block->graph->first; *link; link = &(*link)->next) {
		if (*link == block) {
			*link = block->next;
			return;
		}
	}
}

/* --- who may write --- */

int block_claim(struct block *block, bool write, struct error *err)
{
	if (block->writers || (write && block->readers))
		return error_set(err, EBUSY, "node '%s' is already in use%s", block->node_name,
				 block->writers ? " by somebody who writes to it"
						: "; it can only be shared read-only");
	block->writers += write;
	block->readers += !write;
	return 0;
}

void block_release(struct block *block, bool write)
{
	block->writers -= write;
	block->readers -= !write;
}

/* The children of a node that has just opened. */
static int claim_children(struct block *block, struct error *err)
{
	const bool write = !block->read_only;
	int result = block->file ? block_claim(block->file, write, err) : 0;

	if (result || !block->backing)
		return result;
	result = block_claim(block->backing, false, err);
	if (result && block->file)
		block_release(block->file, write);
	return result;
}

static void release_children(struct block *block)
{
	if (block->file)
		block_release(block->file, !block->read_only);
	if (block->backing)
		block_release(block->backing, false);
}

static void block_free(struct block *block)
{
	block_unref(block->file);
	block_unref(block->backing);
	free(block->private_data);
	free(block->node_name);
	free(block->filename);
	options_free(&block->strong);
	free(block->aio);
	free(block);
}

void block_unref(struct block *block)
{
	if (!block || --block->references)
		return;
	forget(block);
	release_children(block);
	if (block->driver->close)
		block->driver->close(block);
	block_free(block);
}

/* --- names --- */

static bool name_is_well_formed(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > 31 || !((name[0] | 0x20) >= 'a' && (name[0] | 0x20) <= 'z'))
		return false;
	for (const char *p = name; *p; p++)
		if (!((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z') && !(*p >= '0' && *p <= '9') && !strchr("-._", *p))
			return false;
	return true;
}

static int name_node(struct block_graph *graph, struct block *block, const char *name, struct error *err)
{
	if (!name) {
		block->node_name = xasprintf("#block%03u", ++graph->next_number);
		return 0;
	}
	if (!name_is_well_formed(name))
		return error_set(err, EINVAL,
				 "'%s' is not a node name: a letter, then letters, digits, '-', '.' or '_', at most 31",
				 name);
	if (block_find(graph, name))
		return error_set(err, EEXIST, "node name '%s' is already in use", name);
	block->node_name = xstrdup(name);
	block->explicit_name = true;
	return 0;
}

bool block_is_window(const struct block *block)
{
	return block->driver->is_filter || block->driver == &block_raw_driver;
}

struct block *block_behind_filters(struct block *block)
{
	while (block && block->driver->is_filter)
		block = block->file;
	return block;
}

/* --- one node --- */

static const char *secret_of(const struct block *block, const char *id, struct error *err)
{
	size_t length;

	return block_secret_find(block->graph, id, &length, err);
}

static const struct block_host host = {.finish = block_queue_finish, .secret = secret_of};

struct block *block_open_node(struct block_graph *graph, const struct block_driver *driver, const char *name,
			      struct block *file, struct options *options, const struct block_open *how,
			      struct error *err)
{
	struct block *block = xcalloc(1, sizeof(*block));

	block->driver = driver;
	block->references = 1;
	block->graph = graph;
	block->host = &host;
	block->read_only = how->read_only;
	block->discard = how->discard;
	block->no_flush = how->no_flush;
	block->no_cache = how->no_cache;
	block->detect_zeroes = how->detect_zeroes;
	block->request_alignment = 1;
	block->private_data = xcalloc(1, driver->size ? driver->size : 1);
	if (how->aio && driver->is_protocol)
		block->aio = xstrdup(how->aio);
	if (file) {
		block->file = file;
		block->filename = xstrdup(file->filename ? file->filename : "");
		block->request_alignment = file->request_alignment;
		block->optimal_bytes = file->optimal_bytes;
		block->read_only |= file->read_only;
		block_ref(file);
	}
	if (name_node(graph, block, name, err) < 0 || driver->open(block, options, how, err) < 0) {
		block_free(block);
		return NULL;
	}
	if (claim_children(block, err) < 0) {
		if (driver->close)
			driver->close(block);
		block_free(block);
		return NULL;
	}
	block_name_keep(block, options);
	block->next = graph->first;
	graph->first = block;
	return block;
}
