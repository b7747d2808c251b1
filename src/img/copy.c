/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying by several threads. Each takes the next chunk, reads it, and writes it. A chunk is small enough to still lie
 * in a processor's own cache when it is written. Where the order of writes decides how the target is laid out, chunks
 * get their places in that order, once they have been read, and are then written at the same time; or, where the driver
 * cannot do that, one thread at a time writes what has been read, whoever read it.
 */
#include "img/copy.h"

#include <pthread.h>
#include <stdlib.h>

#define CHUNK       (512 * KIB)
#define EXTENT_STEP (1 * GIB)
#define SECTOR      512u
#define ANNOUNCED   (2 * MIB) /* what the progress counts at once, as qemu-img does */

struct chunk {
	uint64_t offset, length, ticket;
	bool zero; /* to be made zero; else data */
};

enum slot_state {
	SLOT_FREE,
	SLOT_READING,
	SLOT_READ,   /* its turn has to come */
	SLOT_PLACED, /* may be written */
	SLOT_WRITING
};

/* A chunk on its way. */
struct slot {
	enum slot_state state;
	struct chunk chunk;
	uint8_t *data; /* of a chunk's most bytes, made when they are first needed */
	int result;
	const char *doing;
};

enum { SLOTS_MAX = 16 };

struct copying {
	struct copy *copy;
	pthread_mutex_t lock;
	pthread_cond_t freed; /* a slot, or all is under way */
	struct slot slots[SLOTS_MAX];
	unsigned slot_count;
	bool in_order; /* the order of writes matters */
	bool placing;  /* and can be told beforehand */
	bool writing;  /* somebody does, in order, without that */
	uint64_t chunk_bytes; /* at most, but for zeroes: CHUNK, or a larger unit of the target */
	uint64_t next, tickets, turn, failed_at;
	uint64_t data_total, data_done, announced_to; /* for the progress */
	struct block_span extent;                     /* of the sources, at `next` or before */
	uint64_t extent_end;
	bool extent_skip, extent_zero;
	int result;
	struct error *err;
};

static struct block *source_at(const struct copy *copy, uint64_t offset, uint64_t *within, uint64_t *left)
{
	size_t i = 0;

	while (offset >= copy->sources[i]->length)
		offset -= copy->sources[i++]->length;
	*within = offset;
	*left = copy->sources[i]->length - offset;
	return copy->sources[i];
}

/* Sector by sector; what cannot be read is zeroes. */
static int salvage(const struct copy *copy, struct block *source, uint64_t offset, uint8_t *to, uint64_t length)
{
	for (uint64_t at = 0; at < length; at += SECTOR) {
		const uint64_t part = min_u64(SECTOR, length - at);
		int result = block_pread(source, offset + at, to + at, part);

		if (!result)
			continue;
		memset(to + at, 0, part);
		if (!copy->quiet)
			img_warn(copy->progress.img, "error while reading offset %llu: %s",
				 (unsigned long long)(offset + at), strerror(-result));
	}
	return 0;
}

static int read_sources(const struct copy *copy, uint64_t offset, uint8_t *to, uint64_t length)
{
	while (length) {
		uint64_t within, left, part;
		struct block *source = source_at(copy, offset, &within, &left);
		int result;

		part = min_u64(left, length);
		result = block_pread(source, within, to, part);
		if (result && copy->salvage)
			result = salvage(copy, source, within, to, part);
		if (result)
			return result;
		offset += part;
		to += part;
		length -= part;
	}
	return 0;
}

/* --- the next chunk; under the lock --- */

static int look_at_sources(struct copying *c)
{
	const struct copy *copy = c->copy;
	uint64_t within, left;
	struct block *source = source_at(copy, c->next, &within, &left);
	int result = block_span_at(source, within, min_u64(left, EXTENT_STEP), &c->extent);

	if (result && copy->salvage) {
		/* Reading may still go well. */
		c->extent = (struct block_span){.length = min_u64(left, ANNOUNCED), .present = true, .data = true};
		if (!copy->quiet)
			img_warn(copy->progress.img, "error while reading block status at offset %llu: %s",
				 (unsigned long long)c->next, strerror(-result));
		result = 0;
	}
	if (result)
		return result;
	c->extent_end = c->next + c->extent.length;
	/* What no image of the chain has is zeroes here, where the target's backing file may have data. */
	c->extent_skip = copy->over_backing && c->extent.depth > 0;
	/* Behind the end of its backing file the target is zero as it is. */
	if (copy->over_backing && c->next < copy->backing_length)
		c->extent_end = min_u64(c->extent_end, copy->backing_length);
	else if (copy->over_backing)
		c->extent_skip |= c->extent.zero;
	c->extent_zero = c->extent.zero && copy->sparse;
	c->extent_skip |= c->extent_zero && copy->target_is_zero;
	return 0;
}

/* All that will have to be written. */
static int count_data(struct copying *c)
{
	int result = 0;

	while (c->next < c->copy->length && !result) {
		result = look_at_sources(c);
		if (!result && !c->extent_skip && !c->extent_zero)
			c->data_total += c->extent_end - c->next;
		c->next = c->extent_end;
	}
	c->next = c->extent_end = 0;
	return result;
}

static void announce(struct copying *c, uint64_t end)
{
	while (c->announced_to < end) {
		const uint64_t from = max_u64(c->announced_to, c->next);

		c->announced_to = min_u64(from + ANNOUNCED, max_u64(c->extent_end, end));
		c->data_done += c->announced_to - from;
		img_progress(&c->copy->progress, min_u64(c->data_done, c->data_total), c->data_total);
	}
}

/* False at the end, or when somebody failed. */
static bool next_chunk(struct copying *c, struct chunk *chunk)
{
	const struct copy *copy = c->copy;

	while (!c->result && c->next < copy->length) {
		uint64_t end;

		if (c->next >= c->extent_end) {
			int result = look_at_sources(c);

			if (result) {
				c->result = error_set_errno(c->err, -result,
							    "error while reading block status at offset %llu",
							    (unsigned long long)c->next);
				return false;
			}
		}
		/* Whole units of the target: what begins or ends inside one is data. */
		end = c->extent_end == copy->length ? c->extent_end : align_down(c->extent_end, copy->unit);
		if (c->extent_skip && end > c->next) {
			c->next = end;
			continue;
		}
		chunk->offset = c->next;
		chunk->zero = c->extent_zero && end > c->next;
		end = chunk->zero ? end
				  : min_u64(align_up(max_u64(end, c->next + 1), copy->unit),
					    align_down(c->next, c->chunk_bytes) + c->chunk_bytes);
		end = min_u64(end, copy->length);
		if (!chunk->zero)
			announce(c, min_u64(end, c->extent_end));
		c->next = end;
		chunk->length = c->next - chunk->offset;
		chunk->ticket = c->tickets++;
		return true;
	}
	return false;
}

/* --- writing --- */

static int write_zeroes(const struct copy *copy, uint64_t offset, uint64_t length)
{
	if (copy->target_is_zero)
		return 0;
	return block_execute(copy->target, BLOCK_WRITE_ZEROES, offset, length, NULL, 0, BLOCK_MAY_UNMAP);
}

static int write_compressed(const struct copy *copy, uint64_t offset, const uint8_t *data, uint64_t length)
{
	for (uint64_t at = 0; at < length; at += copy->unit) {
		const uint64_t part = min_u64(copy->unit, length - at);
		int result;

		if (copy->sparse && buffer_is_zero(data + at, part))
			result = write_zeroes(copy, offset + at, part);
		else
			result = copy->target->driver->write_compressed(copy->target, offset + at, data + at, part);
		if (result)
			return result;
	}
	return 0;
}

/* Length of the run of units that are all zero, or all not, at the start of data. */
static uint64_t run_of(const uint8_t *data, uint64_t length, uint64_t unit, bool *zero)
{
	uint64_t run = min_u64(unit, length);

	*zero = buffer_is_zero(data, run);
	while (run < length && buffer_is_zero(data + run, min_u64(unit, length - run)) == *zero)
		run += min_u64(unit, length - run);
	return run;
}

static int write_data(const struct copy *copy, uint64_t offset, const uint8_t *data, uint64_t length)
{
	while (length) {
		bool zero = false;
		uint64_t run = copy->sparse ? run_of(data, length, copy->sparse, &zero) : length;
		int result = zero ? write_zeroes(copy, offset, run) : block_pwrite(copy->target, offset, data, run, 0);

		if (result)
			return result;
		offset += run;
		data += run;
		length -= run;
	}
	return 0;
}

static int write_chunk(struct copying *c, const struct chunk *chunk, const uint8_t *data)
{
	if (chunk->zero)
		return write_zeroes(c->copy, chunk->offset, chunk->length);
	if (c->copy->compress)
		return write_compressed(c->copy, chunk->offset, data, chunk->length);
	return write_data(c->copy, chunk->offset, data, chunk->length);
}

/* False: it has to go through memory, all of it; that also finds out what is wrong. */
static bool offload_chunk(const struct copy *copy, const struct chunk *chunk)
{
	uint64_t within, left;
	struct block *source = source_at(copy, chunk->offset, &within, &left);

	if (!copy->offload || chunk->zero || copy->compress || left < chunk->length)
		return false;
	return block_copy_range(source, within, copy->target, chunk->offset, chunk->length) == 0;
}

/* Waits until the rate allows to write so much more. */
static void keep_rate(struct copying *c, uint64_t bytes)
{
	int64_t at_ns;

	if (!c->copy->rate.bytes)
		return;
	pthread_mutex_lock(&c->lock);
	at_ns = img_rate_take(&c->copy->rate, bytes);
	pthread_mutex_unlock(&c->lock);
	img_rate_wait(at_ns);
}

/* --- threads --- */

static int read_chunk(struct copying *c, struct slot *slot)
{
	slot->doing = "reading";
	if (!slot->data && posix_memalign((void **)&slot->data, 4096, c->chunk_bytes)) {
		slot->data = NULL;
		return -ENOMEM;
	}
	return read_sources(c->copy, slot->chunk.offset, slot->data, slot->chunk.length);
}

static void read_slot(struct copying *c, struct slot *slot)
{
	slot->result = slot->chunk.zero || c->copy->offload ? 0 : read_chunk(c, slot);
}

static void write_slot(struct copying *c, struct slot *slot)
{
	const struct chunk *chunk = &slot->chunk;

	if (slot->result)
		return;
	if (!chunk->zero)
		keep_rate(c, chunk->length);
	if (c->copy->offload && !chunk->zero) {
		if (offload_chunk(c->copy, chunk))
			return;
		slot->result = read_chunk(c, slot);
	}
	if (slot->result)
		return;
	slot->doing = "writing";
	slot->result = write_chunk(c, chunk, slot->data);
}

/* What will be written of a chunk takes its place. */
static int place_data(const struct copy *copy, const struct slot *slot)
{
	const uint8_t *data = slot->data;
	uint64_t offset = slot->chunk.offset, left = slot->chunk.length;
	int result = slot->result;

	while (left && !result && !slot->chunk.zero) {
		bool zero = false;
		const uint64_t run = copy->sparse ? run_of(data, left, copy->sparse, &zero) : left;

		result = zero ? 0 : copy->target->driver->place(copy->target, offset, run);
		offset += run;
		data += run;
		left -= run;
	}
	return result;
}

/* Gives places to all chunks whose turn has come, and wakes somebody for those that are not the thread's own. Locked.
 */
static void place_chunks(struct copying *c, const struct slot *own)
{
	for (unsigned i = 0; i < c->slot_count;) {
		struct slot *slot = &c->slots[i++];

		if (slot->state != SLOT_READ || slot->chunk.ticket != c->turn)
			continue;
		slot->result = place_data(c->copy, slot);
		slot->state = SLOT_PLACED;
		c->turn++;
		if (slot != own)
			pthread_cond_signal(&c->freed);
		i = 0;
	}
}

/* One to be written now; what the thread itself has read comes first. */
static struct slot *slot_to_write(struct copying *c, struct slot *own)
{
	if (own && own->state == SLOT_PLACED)
		return own;
	for (unsigned i = 0; i < c->slot_count; i++) {
		struct slot *slot = &c->slots[i];

		if (slot->state == SLOT_PLACED)
			return slot;
		if (slot->state == SLOT_READ && !c->placing && !c->writing && slot->chunk.ticket == c->turn) {
			c->writing = true;
			return slot;
		}
	}
	return NULL;
}

/* What this thread, which may have just read `own`, is to do next: write a chunk whose turn it is, or read another.
 * NULL: nothing any more; what is under way ends without it. Locked. */
static struct slot *next_slot(struct copying *c, struct slot *own)
{
	for (;;) {
		struct slot *empty = NULL, *slot;
		bool waiting = false; /* a chunk for its turn: it should not get cold behind more of them */

		if (c->placing && !c->result)
			place_chunks(c, own);
		slot = c->result ? NULL : slot_to_write(c, own);
		if (slot) {
			slot->state = SLOT_WRITING;
			return slot;
		}
		for (unsigned i = c->slot_count; i--;) {
			if (c->slots[i].state == SLOT_FREE)
				empty = &c->slots[i];
			waiting |= c->slots[i].state == SLOT_READ;
		}
		if (waiting && !c->result) {
			pthread_cond_wait(&c->freed, &c->lock);
			continue;
		}
		if (c->result || (empty && !next_chunk(c, &empty->chunk))) {
			pthread_cond_broadcast(&c->freed);
			return NULL;
		}
		if (empty) {
			empty->state = SLOT_READING;
			return empty;
		}
		pthread_cond_wait(&c->freed, &c->lock);
	}
}

/* Locked. */
static void finish_slot(struct copying *c, struct slot *slot)
{
	if (slot->state == SLOT_WRITING) {
		c->writing = false;
		c->turn += !c->placing;
	}
	slot->state = SLOT_FREE;
	/* Of several failures the first in the image is told. */
	if (slot->result && (!c->result || slot->chunk.offset < c->failed_at)) {
		c->failed_at = slot->chunk.offset;
		c->result = error_set_errno(c->err, -slot->result, "error while %s at byte %llu", slot->doing,
					    (unsigned long long)slot->chunk.offset);
	}
	pthread_cond_signal(&c->freed);
}

static void *work(void *opaque)
{
	struct copying *c = opaque;
	struct slot *slot = NULL;

	pthread_mutex_lock(&c->lock);
	while ((slot = next_slot(c, slot))) {
		const bool read = slot->state == SLOT_READING;

		pthread_mutex_unlock(&c->lock);
		if (read)
			read_slot(c, slot);
		if (!read || !c->in_order)
			write_slot(c, slot);
		pthread_mutex_lock(&c->lock);
		if (read && c->in_order)
			slot->state = SLOT_READ;
		else
			finish_slot(c, slot);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

int copy_run(struct copy *copy, struct error *err)
{
	struct copying c = {.copy = copy, .err = err, .chunk_bytes = max_u64(CHUNK, copy->unit)};
	pthread_t threads[SLOTS_MAX];
	unsigned started = 0;
	int result;

	if (copy->progress.on && (result = count_data(&c)) < 0)
		return error_set_errno(err, -result, "error while reading block status at offset %llu",
				       (unsigned long long)c.next);
	c.slot_count = copy->workers < 1 ? 1 : copy->workers < SLOTS_MAX ? copy->workers : SLOTS_MAX;
	c.in_order = !copy->out_of_order && !copy->compress && copy->target->driver->own_metadata;
	c.placing = c.in_order && !copy->offload && copy->target->driver->place &&
		    copy->target->driver->place(copy->target, 0, 0) != -ENOTSUP;
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.freed, NULL);
	while (started + 1 < c.slot_count && pthread_create(&threads[started], NULL, work, &c) == 0)
		started++;
	work(&c);
	while (started)
		pthread_join(threads[--started], NULL);
	pthread_mutex_destroy(&c.lock);
	pthread_cond_destroy(&c.freed);
	for (unsigned i = 0; i < c.slot_count; i++)
		free(c.slots[i].data);
	if (c.result)
		return c.result;
	result = block_flush(copy->target);
	return result ? error_set_errno(err, -result, "error while writing") : 0;
}
