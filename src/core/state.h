/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The migratable state of a thing as a table of named, typed, versioned fields. Save, restore, migration, `info` and
 * tests read this one table. The wire form names every field, so fields may be added: a field newer than the stream
 * keeps its reset value, an unknown field in the stream is an error. A restore decodes into a staged copy, runs
 * `check`, and only then touches the live object.
 */
#ifndef XUNI_CORE_STATE_H
#define XUNI_CORE_STATE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum state_type {
	STATE_U8,
	STATE_U16,
	STATE_U32,
	STATE_U64,
	STATE_I64,
	STATE_BOOL,
	STATE_BYTES,  /* count bytes */
	STATE_TIMER,  /* struct clock_timer: its deadline, virtual ns */
	STATE_STRUCT, /* count elements of sub, each stride bytes */
};

struct state_field {
	const char *name;
	enum state_type type;
	uint32_t offset;
	uint32_t count; /* elements; 1 for a scalar */
	uint32_t stride; /* bytes from one element to the next */
	const struct state_table *sub;
	uint16_t since; /* first table version that has the field; 0: always */
};

struct state_table {
	const char *name;
	uint16_t version;
	uint32_t size; /* of the object that the offsets refer to */
	const struct state_field *fields; /* ended by name NULL */
	/* Called on the staged copy: every value a stream can hold must be rejected here if the device could not hold it. */
	int (*check)(const void *staged, struct error *err);
	void (*before_save)(void *object); /* may be NULL: brings lazily kept fields up to date */
	void (*after_load)(void *object);  /* may be NULL: recomputes what is derived, re-arms timers and wires */
};

#define STATE_FIELD_N(kind, object, member, n) \
	{ .name = #member, .type = kind, .offset = offsetof(object, member), .count = (n), \
	  .stride = sizeof(((object *)0)->member) / (n) }
#define STATE_FIELD(kind, object, member) STATE_FIELD_N(kind, object, member, 1)
#define STATE_SUB(table, object, member, n) \
	{ .name = #member, .type = STATE_STRUCT, .offset = offsetof(object, member), .count = (n), \
	  .stride = sizeof(((object *)0)->member) / (n), .sub = &(table) }
#define STATE_END { .name = NULL }

/* A growing byte buffer that save appends to. Zero-initialise; free data with free(). */
struct state_buffer {
	uint8_t *data;
	size_t length, capacity;
};

void state_save(const struct state_table *table, void *object, struct state_buffer *out);
/* Applies all or nothing. Returns the bytes consumed or a negative errno. */
int64_t state_load(const struct state_table *table, void *object, const uint8_t *data, size_t length, struct error *err);

#endif
