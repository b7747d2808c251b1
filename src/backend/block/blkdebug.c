/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter "blkdebug": makes requests fail by rule, to test what becomes of it (qemu's "blkdebug", QAPI
 * BlockdevOptionsBlkdebug).
 *
 *	inject-error.N.event, .iotype, .errno, .sector, .once, .state
 *	set-state.N.event, .state, .new_state
 *
 * Events are what happens to this node: read_aio, write_aio (writes, zeroes), flush_to_disk, and none (any of them). An
 * event in a state (1 at first) may lead to another, after the errors of the old one. config= names a file with more
 * rules. Left out: the events inside of format drivers and limits of sizes and alignment: refused by name.
 */
#include "backend/block/blkdebug.h"
#include "backend/block/filter.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum event { EVENT_NONE, EVENT_READ, EVENT_WRITE, EVENT_FLUSH, EVENTS };

static const char *const event_names[EVENTS] = {
	[EVENT_NONE] = "none", [EVENT_READ] = "read_aio", [EVENT_WRITE] = "write_aio", [EVENT_FLUSH] = "flush_to_disk"};

static const char *const type_names[] = {
	[BLOCK_READ] = "read",
	[BLOCK_WRITE] = "write",
	[BLOCK_FLUSH] = "flush",
	[BLOCK_DISCARD] = "discard",
	[BLOCK_WRITE_ZEROES] = "write-zeroes",
};

enum { ANY = -1, RULES_MAX = 64 };

struct rule {
	enum event event;
	int state;      /* in which it acts, or ANY */
	int new_state;  /* set-state; 0: inject-error */
	int op;         /* enum block_op, or ANY */
	int error;      /* positive errno */
	int64_t sector; /* that must be touched, or ANY */
	bool once, used_up;
};

struct blkdebug {
	pthread_mutex_t lock;
	int state;
	struct rule rules[RULES_MAX];
	size_t count;
};

/* --- rules --- */

static int take_word(struct options *options, const char *prefix, const char *key, const char *const *words,
		     size_t count, int *value, struct error *err)
{
	char *name = xasprintf("%s.%s", prefix, key);
	const char *text = options_get(options, name);
	int result = 0;

	if (text) {
		result = error_set(err, ENOTSUP, "%s=%.100s is not there", name, text);
		for (size_t i = 0; i < count; i++)
			if (words[i] && !strcmp(words[i], text)) {
				*value = (int)i;
				result = 0;
			}
	}
	free(name);
	return result;
}

static int take_number(struct options *options, const char *prefix, const char *key, uint64_t max, int64_t *value,
		       struct error *err)
{
	char *name = xasprintf("%s.%s", prefix, key);
	uint64_t number = (uint64_t)*value;
	int result = options_u64(options, name, &number, max, err);

	*value = (int64_t)number;
	free(name);
	return result;
}

static int take_flag(struct options *options, const char *prefix, const char *key, bool *value, struct error *err)
{
	char *name = xasprintf("%s.%s", prefix, key);
	int result = options_bool(options, name, value, err);

	free(name);
	return result;
}

static int take_rule(struct options *options, const char *prefix, bool inject, struct rule *rule, struct error *err)
{
	int64_t state = ANY, error = EIO, new_state = 0, sector = ANY;
	int event = ANY, op = ANY, result;
	bool ignored = false;

	*rule = (struct rule){0};
	if ((result = take_word(options, prefix, "event", event_names, EVENTS, &event, err)) ||
	    (result = take_number(options, prefix, "state", INT32_MAX, &state, err)))
		return result;
	if (event == ANY)
		return error_set(err, EINVAL, "%s.event is missing", prefix);
	if (inject) {
		if ((result = take_word(options, prefix, "iotype", type_names, ARRAY_SIZE(type_names), &op, err)) ||
		    (result = take_number(options, prefix, "errno", 4095, &error, err)) ||
		    (result = take_number(options, prefix, "sector", INT64_MAX / BLOCK_SECTOR, &sector, err)) ||
		    (result = take_flag(options, prefix, "once", &rule->once, err)) ||
		    (result = take_flag(options, prefix, "immediately", &ignored, err)))
			return result;
	} else {
		if ((result = take_number(options, prefix, "new_state", INT32_MAX, &new_state, err)))
			return result;
		if (new_state < 1)
			return error_set(err, EINVAL, "%s.new_state is missing", prefix);
		state = state == ANY ? 0 : state; /* 0: in every state */
	}
	rule->event = (enum event)event;
	rule->state = state == 0 ? ANY : (int)state;
	rule->new_state = (int)new_state;
	rule->op = op;
	rule->error = (int)error;
	rule->sector = sector;
	return 0;
}

static bool has_prefix(const struct options *options, const char *prefix)
{
	for (size_t i = 0; i < options->count; i++)
		if (!strncmp(options->items[i].key, prefix, strlen(prefix)) &&
		    options->items[i].key[strlen(prefix)] == '.')
			return true;
	return false;
}

/* The rules of one list: LIST.0.*, LIST.1.*... */
static int take_rules(struct blkdebug *debug, struct options *options, const char *list, bool inject, struct error *err)
{
	int result = 0;

	for (unsigned n = 0; !result; n++) {
		char prefix[32];

		snprintf(prefix, sizeof(prefix), "%s.%u", list, n);
		if (!has_prefix(options, prefix))
			return 0;
		if (debug->count == RULES_MAX)
			return error_set(err, E2BIG, "more than %d rules", RULES_MAX);
		result = take_rule(options, prefix, inject, &debug->rules[debug->count++], err);
	}
	return result;
}

static int take_all(struct blkdebug *debug, struct options *options, struct error *err)
{
	int result;

	for (size_t i = 0; i < options->count; i++)
		options->items[i].used = false;
	if ((result = take_rules(debug, options, "inject-error", true, err)) ||
	    (result = take_rules(debug, options, "set-state", false, err)))
		return result;
	/* The names with a star let everything below them pass; here each word counts. */
	for (size_t i = 0; i < options->count; i++)
		if (!options->items[i].used && (!strncmp(options->items[i].key, "inject-error.", 13) ||
						!strncmp(options->items[i].key, "set-state.", 10)))
			return error_set(err, EINVAL, "'%s' is not an option of block driver 'blkdebug'",
					 options->items[i].key);
	return 0;
}

static int take_file(struct blkdebug *debug, const char *path, struct error *err)
{
	struct options rules = {0};
	int result = blkdebug_read_config(path, &rules, err);

	if (!result && (result = take_all(debug, &rules, err)))
		error_prefix(err, "%s", path);
	options_free(&rules);
	return result;
}

static int debug_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct blkdebug *debug = block->private_data;
	const char *config = options_get(options, "config");
	int result;

	if ((config && (result = take_file(debug, config, err))) || (result = take_all(debug, options, err)))
		return result;
	debug->state = 1;
	block->length = block->file->length;
	pthread_mutex_init(&debug->lock, NULL);
	return 0;
}

static void debug_close(struct block *block)
{
	struct blkdebug *debug = block->private_data;

	pthread_mutex_destroy(&debug->lock);
}

/* --- requests --- */

static bool matches(const struct rule *rule, enum event event, enum block_op op, uint64_t offset, uint64_t length)
{
	const uint64_t at = (uint64_t)rule->sector * BLOCK_SECTOR;

	if (rule->event != EVENT_NONE && rule->event != event)
		return false;
	if (rule->new_state)
		return true;
	if (rule->op != ANY && rule->op != (int)op)
		return false;
	return rule->sector == ANY || (at >= offset && at - offset < length);
}

/* 0, or the negative errno with which the request is to fail. */
static int strike(struct block *block, enum block_op op, uint64_t offset, uint64_t length)
{
	static const enum event events[] = {
		[BLOCK_READ] = EVENT_READ,    [BLOCK_WRITE] = EVENT_WRITE,        [BLOCK_FLUSH] = EVENT_FLUSH,
		[BLOCK_DISCARD] = EVENT_NONE, [BLOCK_WRITE_ZEROES] = EVENT_WRITE,
	};
	struct blkdebug *debug = block->private_data;
	int result = 0, state;

	pthread_mutex_lock(&debug->lock);
	state = debug->state;
	for (size_t i = 0; i < debug->count; i++) {
		struct rule *rule = &debug->rules[i];

		if (rule->used_up || (rule->state != ANY && rule->state != state) ||
		    !matches(rule, events[op], op, offset, length))
			continue;
		if (rule->new_state) {
			debug->state = rule->new_state;
		} else if (!result) {
			result = -rule->error;
			rule->used_up = rule->once;
		}
	}
	pthread_mutex_unlock(&debug->lock);
	return result;
}

static int debug_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	const int result = strike(block, BLOCK_READ, offset, length);

	return result ? result : filter_pread(block, offset, iov, iov_count, length);
}

static int debug_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
			uint32_t flags)
{
	const int result = strike(block, BLOCK_WRITE, offset, length);

	return result ? result : filter_pwrite(block, offset, iov, iov_count, length, flags);
}

static int debug_flush(struct block *block)
{
	const int result = strike(block, BLOCK_FLUSH, 0, 0);

	return result ? result : filter_flush(block);
}

static int debug_discard(struct block *block, uint64_t offset, uint64_t length)
{
	const int result = strike(block, BLOCK_DISCARD, offset, length);

	return result ? result : filter_discard(block, offset, length);
}

static int debug_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	const int result = strike(block, BLOCK_WRITE_ZEROES, offset, length);

	return result ? result : filter_write_zeroes(block, offset, length, flags);
}

/* Every request is looked at. */
static int debug_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	return -EAGAIN;
}

static const char *const debug_options[] = {"config", "inject-error.*", "set-state.*", NULL};

const struct block_driver block_blkdebug_driver = {
	.name = "blkdebug",
	.is_filter = true,
	.child_name = "image",
	.size = sizeof(struct blkdebug),
	.known = debug_options,
	.open = debug_open,
	.close = debug_close,
	.pread = debug_pread,
	.pwrite = debug_pwrite,
	.flush = debug_flush,
	.discard = debug_discard,
	.write_zeroes = debug_write_zeroes,
	.truncate = filter_truncate,
	.extent = filter_extent,
	.map = debug_map,
};
