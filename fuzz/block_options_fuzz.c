/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of block nodes under foreign bytes: every line opens a node, as key=value words (as of -blockdev when it
 * begins with '=', else as of -drive) or as json:{...}, also as an image would name it ('<' before it). Nodes of
 * earlier lines can be referred to. Each is read from and written to, and all are closed in the order of opening. Only
 * null-co lies at the bottom: what names files or servers is left out.
 */
#include "backend/block/block.h"
#include "backend/block/throttle.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LINES = 12, MAX_BYTES = 4096 };

static const char *const outside[] = {"filename", "/",    "host",   "nbd",    "curl", "http",   "ftp",
				      "iscsi",    "path", "socket", "secret", "rbd",  "gluster"};

static struct block *open_line(struct block_graph *graph, char *line)
{
	struct block_open how = {0};
	struct options options = {0};
	struct error err = {0};
	struct block *block = NULL;

	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		if (strcasestr(line, outside[i]))
			return NULL;
	how.from_image = *line == '<';
	line += how.from_image;
	if (strncmp(line, "json:", 5) == 0)
		block = block_open_image(graph, line, &options, &how, &err);
	else if (options_parse(&options, line + (*line == '='), "driver", &err) < 0)
		return NULL;
	else if (*line == '=')
		block = block_open_options(graph, &options, &err);
	else
		block = block_open_image(graph, NULL, &options, &how, &err);
	if (!block && (!err.code || !err.msg[0]))
		abort(); /* a failure without a message */
	options_free(&options);
	return block;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct block_graph *graph;
	struct block *nodes[MAX_LINES];
	char *copy, buffer[4096] = {0};
	unsigned count = 0;

	if (size > MAX_BYTES)
		return 0;
	copy = strndup((const char *)data, size);
	graph = block_graph_new(NULL);
	throttle_group_get(graph, "g");
	for (char *line = copy, *next; line && *line && count < MAX_LINES; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		nodes[count] = open_line(graph, line);
		if (!nodes[count])
			continue;
		if (nodes[count]->length >= sizeof(buffer)) {
			block_pread(nodes[count], 0, buffer, sizeof(buffer));
			block_pwrite(nodes[count], 0, buffer, sizeof(buffer), 0);
		}
		count++;
	}
	for (unsigned i = 0; i < count; i++)
		block_unref(nodes[i]);
	block_graph_free(graph);
	free(copy);
	return 0;
}
