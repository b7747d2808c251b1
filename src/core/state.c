/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The wire form of device state (core/state.h). All numbers are little-endian.
 *
 *   table: name length u8 | name | version u16 | body length u32 | body
 *   body:  fields until its length is used up
 *   field: name length u8 | name | type u8 | count u32 | payload
 *   payload: count fixed-size elements (BYTES: count bytes; TIMER: i64; BOOL: u8 of 0 or 1), STRUCT: count tables
 *
 * A load decodes into a copy of the live object, so `check` sees a whole object and fields that the stream is too old
 * to have keep the value that reset gave them.
 */
#include "core/state.h"

#include "base/util.h"
#include "core/clock.h"

#include <assert.h>
#include <stdlib.h>

/* Enough for any table of this program; larger field counts than 64 would need a larger `seen`. */
enum { FIELDS_MAX = 64 };

struct reader {
	const uint8_t *data;
	size_t length, position;
};

static void put(struct state_buffer *out, const void *data, size_t length)
{
	if (out->capacity - out->length < length) {
		out->capacity = (out->length + length) * 2 + 256;
		out->data = xrealloc(out->data, out->capacity);
	}
	if (length)
		memcpy(out->data + out->length, data, length);
	out->length += length;
}

static void put_u32(struct state_buffer *out, uint32_t value)
{
	uint8_t bytes[4];

	store_le32(bytes, value);
	put(out, bytes, 4);
}

static void put_name(struct state_buffer *out, const char *name)
{
	size_t length = strlen(name);
	uint8_t byte = (uint8_t)length;

	assert(length > 0 && length <= UINT8_MAX);
	put(out, &byte, 1);
	put(out, name, length);
}

/* Bytes of one element on the wire and in memory; 0: not a fixed-size scalar. */
static unsigned scalar_bytes(enum state_type type)
{
	switch (type) {
	case STATE_U8:
	case STATE_BOOL:
		return 1;
	case STATE_U16:
		return 2;
	case STATE_U32:
		return 4;
	case STATE_U64:
	case STATE_I64:
	case STATE_TIMER:
		return 8;
	case STATE_BYTES:
	case STATE_STRUCT:
		return 0;
	}
	return 0;
}

static uint32_t wire_count(const struct state_field *field)
{
	return field->type == STATE_BYTES ? field->count * field->stride : field->count;
}

static void save_field(const struct state_field *field, char *object, struct state_buffer *out)
{
	uint8_t type = (uint8_t)field->type;
	unsigned bytes = scalar_bytes(field->type);

	put_name(out, field->name);
	put(out, &type, 1);
	put_u32(out, wire_count(field));
	if (field->type == STATE_BYTES) {
		put(out, object + field->offset, wire_count(field));
		return;
	}
	assert(bytes <= field->stride);
	for (uint32_t i = 0; i < field->count; i++) {
		char *element = object + field->offset + (size_t)i * field->stride;

		if (field->type == STATE_STRUCT)
			state_save(field->sub, element, out);
		else if (field->type == STATE_TIMER)
			put(out, &((struct clock_timer *)element)->deadline_ns, 8);
		else
			put(out, element, bytes);
	}
}

void state_save(const struct state_table *table, void *object, struct state_buffer *out)
{
	uint8_t version[2];
	size_t length_at;

	if (table->before_save)
		table->before_save(object);
	put_name(out, table->name);
	store_le16(version, table->version);
	put(out, version, 2);
	length_at = out->length;
	put_u32(out, 0);
	for (const struct state_field *field = table->fields; field->name; field++)
		save_field(field, object, out);
	store_le32(out->data + length_at, (uint32_t)(out->length - length_at - 4));
}

static const uint8_t *take(struct reader *in, size_t length)
{
	const uint8_t *at = in->data + in->position;

	if (in->length - in->position < length)
		return NULL;
	in->position += length;
	return at;
}

static int truncated(const struct state_table *table, struct error *err)
{
	return error_set(err, EINVAL, "state of %s: the stream ends too early", table->name);
}

/* A name as a pointer into the stream, not terminated. */
static const char *take_name(struct reader *in, size_t *length)
{
	const uint8_t *byte = take(in, 1);

	if (!byte || *byte == 0)
		return NULL;
	*length = *byte;
	return (const char *)take(in, *byte);
}

static bool name_is(const char *name, size_t length, const char *expected)
{
	return strlen(expected) == length && !memcmp(name, expected, length);
}

static int load_table(const struct state_table *table, char *staged, struct reader *in, struct error *err);

static int load_elements(const struct state_table *table, const struct state_field *field, char *staged,
			 struct reader *in, struct error *err)
{
	unsigned bytes = scalar_bytes(field->type);

	if (field->type == STATE_BYTES) {
		const uint8_t *data = take(in, wire_count(field));

		if (!data)
			return truncated(table, err);
		memcpy(staged + field->offset, data, wire_count(field));
		return 0;
	}
	for (uint32_t i = 0; i < field->count; i++) {
		char *element = staged + field->offset + (size_t)i * field->stride;
		const uint8_t *data;

		if (field->type == STATE_STRUCT) {
			int rc = load_table(field->sub, element, in, err);

			if (rc < 0)
				return error_prefix(err, "%s[%u]", field->name, i);
			continue;
		}
		data = take(in, bytes);
		if (!data)
			return truncated(table, err);
		if (field->type == STATE_BOOL && *data > 1)
			return error_set(err, EINVAL, "state of %s: %s holds %u, not a truth value", table->name,
					 field->name, *data);
		if (field->type == STATE_TIMER && (int64_t)load_le64(data) < 0)
			return error_set(err, EINVAL, "state of %s: %s has a negative deadline", table->name,
					 field->name);
		memcpy(field->type == STATE_TIMER ? (char *)&((struct clock_timer *)element)->deadline_ns : element,
		       data, bytes);
	}
	return 0;
}

static int load_field(const struct state_table *table, char *staged, uint64_t *seen, struct reader *in,
		      struct error *err)
{
	const struct state_field *field = table->fields;
	size_t length = 0;
	const char *name = take_name(in, &length);
	const uint8_t *head = name ? take(in, 5) : NULL;
	unsigned index;

	if (!head)
		return truncated(table, err);
	while (field->name && !name_is(name, length, field->name))
		field++;
	if (!field->name)
		return error_set(err, EINVAL, "state of %s: unknown field '%.*s'", table->name, (int)length, name);
	index = (unsigned)(field - table->fields);
	assert(index < FIELDS_MAX);
	if (*seen >> index & 1)
		return error_set(err, EINVAL, "state of %s: %s comes twice", table->name, field->name);
	*seen |= 1ull << index;
	if (head[0] != (uint8_t)field->type || load_le32(head + 1) != wire_count(field))
		return error_set(err, EINVAL, "state of %s: %s has another type or length here", table->name,
				 field->name);
	return load_elements(table, field, staged, in, err);
}

static int check_complete(const struct state_table *table, uint64_t seen, uint16_t version, struct error *err)
{
	for (unsigned i = 0; table->fields[i].name; i++)
		if (!(seen >> i & 1) && table->fields[i].since <= version)
			return error_set(err, EINVAL, "state of %s: %s is missing", table->name, table->fields[i].name);
	return 0;
}

static int load_table(const struct state_table *table, char *staged, struct reader *in, struct error *err)
{
	struct reader body = {0};
	uint64_t seen = 0;
	size_t length = 0;
	const char *name = take_name(in, &length);
	const uint8_t *head = name ? take(in, 6) : NULL;
	int rc = 0;

	if (!head)
		return truncated(table, err);
	if (!name_is(name, length, table->name))
		return error_set(err, EINVAL, "state of '%.*s' where that of %s is expected", (int)length, name,
				 table->name);
	if (load_le16(head) > table->version)
		return error_set(err, ENOTSUP, "state of %s: version %u is newer than this program's %u", table->name,
				 load_le16(head), table->version);
	body.length = load_le32(head + 2);
	body.data = take(in, body.length);
	if (!body.data)
		return truncated(table, err);
	while (rc == 0 && body.position < body.length)
		rc = load_field(table, staged, &seen, &body, err);
	if (rc == 0)
		rc = check_complete(table, seen, load_le16(head), err);
	if (rc == 0 && table->check) {
		rc = table->check(staged, err);
		if (rc < 0)
			error_prefix(err, "state of %s", table->name);
	}
	return rc;
}

static void apply(const struct state_table *table, char *object, char *staged)
{
	for (const struct state_field *field = table->fields; field->name; field++) {
		if (field->type == STATE_BYTES) {
			memcpy(object + field->offset, staged + field->offset, wire_count(field));
			continue;
		}
		for (uint32_t i = 0; i < field->count; i++) {
			size_t at = field->offset + (size_t)i * field->stride;

			if (field->type == STATE_STRUCT) {
				apply(field->sub, object + at, staged + at);
			} else if (field->type == STATE_TIMER) {
				int64_t deadline_ns = ((struct clock_timer *)(staged + at))->deadline_ns;

				if (deadline_ns == INT64_MAX)
					clock_timer_cancel((struct clock_timer *)(object + at));
				else
					clock_timer_set((struct clock_timer *)(object + at), deadline_ns);
			} else {
				memcpy(object + at, staged + at, scalar_bytes(field->type));
			}
		}
	}
	if (table->after_load)
		table->after_load(object);
}

int64_t state_load(const struct state_table *table, void *object, const uint8_t *data, size_t length, struct error *err)
{
	struct reader in = {.data = data, .length = length};
	char *staged = NULL;
	int rc;

	if (posix_memalign((void **)&staged, 64, align_up(table->size, 64)))
		return error_set_errno(err, ENOMEM, "state of %s", table->name);
	memcpy(staged, object, table->size);
	rc = load_table(table, staged, &in, err);
	if (rc == 0)
		apply(table, object, staged);
	free(staged);
	return rc < 0 ? rc : (int64_t)in.position;
}
