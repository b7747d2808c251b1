/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench: a number of requests, some in parallel, through the asynchronous form that a machine's disks use. */
#include "img/internal.h"

#include "base/loop.h"

#include <errno.h>
#include <stdlib.h>

#define DEPTH_MAX 65536

struct bench;

struct slot {
	struct block_request request;
	struct bench *bench;
	struct iovec iov;
};

struct bench {
	struct img *img;
	struct loop *loop;
	struct block *block;
	struct block_queue *queue;
	struct slot *slots;
	uint64_t count, depth, bytes, step, offset, flush_interval, pattern;
	bool write, no_drain, quiet, force_share;
	const char *format, *cache, *aio;
	uint64_t started, finished, flushes_due, in_flight, flushing;
	int result;
};

static void start_more(struct bench *b);

static void flushed(struct block_request *request, int result)
{
	struct bench *b = request->opaque;

	b->flushing--;
	if (result && !b->result)
		b->result = result;
	start_more(b);
}

static void flush(struct bench *b, struct slot *slot)
{
	slot->request = (struct block_request){.op = BLOCK_FLUSH, .done = flushed, .opaque = b};
	b->flushing++;
	block_submit(b->queue, &slot->request);
}

static void finished(struct block_request *request, int result)
{
	struct slot *slot = request->opaque;
	struct bench *b = slot->bench;

	b->in_flight--;
	b->finished++;
	slot->request.done = NULL;
	if (result && !b->result)
		b->result = result;
	start_more(b);
}

static struct slot *free_slot(struct bench *b)
{
	for (uint64_t i = 0; i < b->depth; i++)
		if (!b->slots[i].request.done)
			return &b->slots[i];
	return NULL;
}

static void start_one(struct bench *b, struct slot *slot)
{
	slot->request = (struct block_request){.op = b->write ? BLOCK_WRITE : BLOCK_READ,
					       .offset = b->offset,
					       .length = b->bytes,
					       .iov = &slot->iov,
					       .iov_count = 1,
					       .done = finished,
					       .opaque = slot};
	b->started++;
	b->in_flight++;
	/* Requests go round the image. */
	b->offset = (b->offset + b->step) % max_u64(b->block->length, 1);
	if (!range_inside(b->offset, b->bytes, b->block->length))
		b->offset = 0; /* qemu-img fails there */
	block_submit(b->queue, &slot->request);
}

static void start_more(struct bench *b)
{
	struct slot *slot;

	while (!b->result && b->started < b->count && (b->no_drain || !b->flushing)) {
		if (b->flush_interval && b->started / b->flush_interval > b->flushes_due) {
			if (b->in_flight && !b->no_drain)
				break;
			b->flushes_due++;
			flush(b, &b->slots[b->depth + b->flushes_due % 2]);
			continue;
		}
		slot = free_slot(b);
		if (!slot)
			break;
		start_one(b, slot);
	}
	block_queue_kick(b->queue);
	if (!b->in_flight && !b->flushing && (b->result || b->finished == b->count))
		loop_quit(b->loop);
}

static void start(void *opaque)
{
	start_more(opaque);
}

static int make_slots(struct bench *b)
{
	b->slots = xcalloc(b->depth + 2, sizeof(*b->slots));
	for (uint64_t i = 0; i < b->depth; i++) {
		b->slots[i].bench = b;
		b->slots[i].iov.iov_len = b->bytes;
		if (posix_memalign(&b->slots[i].iov.iov_base, 4096, b->bytes)) {
			b->slots[i].iov.iov_base = NULL;
			return img_fail(b->img, "no memory for buffers");
		}
		memset(b->slots[i].iov.iov_base, b->write ? (int)b->pattern : 0, b->bytes);
	}
	return 0;
}

static int measure(struct bench *b)
{
	struct error err = {0};
	int64_t before;

	b->loop = loop_new(&err);
	b->queue = b->loop ? block_queue_new(b->block, b->loop, NULL, &err) : NULL;
	if (!b->queue)
		return img_fail(b->img, "%s", err.msg);
	before = host_now_ns();
	loop_post(b->loop, start, b);
	loop_run(b->loop);
	if (b->result)
		return img_fail(b->img, "Failed request: %s", strerror(-b->result));
	fprintf(b->img->out, "Run completed in %3.3f seconds.\n", (double)(host_now_ns() - before) / 1e9);
	return 0;
}

static int run_bench(struct bench *b, const char *name)
{
	const struct img_open how = {
		.writable = b->write, .cache = b->cache, .force_share = b->force_share, .aio = b->aio};
	int status;

	b->block = img_open(b->img, name, b->format, &how);
	if (!b->block)
		return 1;
	fprintf(b->img->out,
		"Sending %llu %s requests, %llu bytes each, %llu in parallel (starting at offset %llu, step size "
		"%llu)\n",
		(unsigned long long)b->count, b->write ? "write" : "read", (unsigned long long)b->bytes,
		(unsigned long long)b->depth, (unsigned long long)b->offset,
		(unsigned long long)(b->step ? b->step : b->bytes));
	if (b->flush_interval)
		fprintf(b->img->out, "Sending flush every %llu requests\n", (unsigned long long)b->flush_interval);
	b->step = b->step ? b->step : b->bytes;
	status = make_slots(b);
	if (!status && b->count && !range_inside(b->offset, b->bytes, b->block->length))
		status = img_fail(b->img, "Failed request: %s", strerror(EIO));
	if (!status)
		status = measure(b);
	block_queue_free(b->queue);
	if (b->loop)
		loop_free(b->loop);
	for (uint64_t i = 0; i < b->depth; i++)
		free(b->slots[i].iov.iov_base);
	free(b->slots);
	block_unref(b->block);
	return status;
}

static int size(struct bench *b, const char *text, const char *name, uint64_t max, uint64_t *value)
{
	return img_size_in_range(b->img, text, name, 0, max, value) ? 1 : -1;
}

/* Without suffixes. */
static int number(struct bench *b, const char *text, const char *name, uint64_t max, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	return errno || end == text || *end || *value > max ? img_fail(b->img, "Invalid %s specified", name) : -1;
}

static bool aio_is_valid(struct bench *b, const char *aio)
{
	if (!strcmp(aio, "native") || !strcmp(aio, "threads") || !strcmp(aio, "io_uring"))
		return true;
	img_fail(b->img, "Invalid aio option: %s", aio);
	return false;
}

static int bench_option(struct bench *b, struct img_args *args, int code)
{
	switch (code) {
	case 'c':
		return number(b, args->value, "request count", INT32_MAX, &b->count);
	case 'd':
		return number(b, args->value, "queue depth", INT32_MAX, &b->depth);
	case 'f':
		b->format = args->value;
		return -1;
	case 'i':
		b->aio = args->value;
		return aio_is_valid(b, args->value) ? -1 : 1;
	case 'n':
		b->aio = "native";
		return -1;
	case 'o':
		return size(b, args->value, "offset", INT64_MAX, &b->offset);
	case 'q':
		b->quiet = true;
		return -1;
	case 's':
		return size(b, args->value, "buffer size", INT32_MAX, &b->bytes);
	case 'S':
		return size(b, args->value, "step_size", INT32_MAX, &b->step);
	case 't':
		b->cache = args->value;
		return img_cache_is_known(args->value) ? -1 : img_fail(b->img, "Invalid cache mode");
	case 'w':
		b->write = true;
		return -1;
	case 'U':
		b->force_share = true;
		return -1;
	case IMG_OPT_PATTERN:
		return number(b, args->value, "pattern byte", 255, &b->pattern);
	case IMG_OPT_FLUSH_INTERVAL:
		return number(b, args->value, "flush interval", INT32_MAX, &b->flush_interval);
	case IMG_OPT_NO_DRAIN:
		b->no_drain = true;
		return -1;
	default:
		return img_args_other(args, code);
	}
}

static const struct img_long longs[] = {
	{"flush-interval", true, IMG_OPT_FLUSH_INTERVAL},
	{"pattern", true, IMG_OPT_PATTERN},
	{"no-drain", false, IMG_OPT_NO_DRAIN},
	{"force-share", false, 'U'},
	{NULL},
};

static int check_arguments(struct bench *b, const struct img_args *args)
{
	if (args->name_count != 1)
		return img_usage(b->img, "Expecting one image file name");
	if (!b->write && b->flush_interval)
		return img_fail(b->img, "--flush-interval is only available in write tests");
	if (b->flush_interval && b->flush_interval < b->depth)
		return img_fail(b->img, "Flush interval can't be smaller than depth");
	if (!b->depth)
		return img_fail(b->img, "Invalid queue depth specified"); /* qemu-img waits for ever */
	if (b->depth > DEPTH_MAX || (b->bytes && b->depth > (4 * GIB) / b->bytes))
		return img_fail(b->img, "Queue depth and buffer size are too large together");
	return -1;
}

int img_verb_bench(struct img *img, int argc, char **argv)
{
	struct bench b = {.img = img, .count = 75000, .depth = 64, .bytes = 4096};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "hc:d:f:ni:o:qs:S:t:wU", longs);
	while (status < 0 && (code = img_args_next(&args)))
		status = bench_option(&b, &args, code);
	if (status < 0)
		status = check_arguments(&b, &args);
	if (status < 0)
		status = run_bench(&b, args.names[0]);
	img_args_end(&args);
	return status;
}
