/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages, sizes, opening: what every verb needs. */
#include "img/internal.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

int img_fail(struct img *img, const char *fmt, ...)
{
	va_list args;

	fflush(img->out);
	fprintf(img->err, "%s: ", img->program);
	va_start(args, fmt);
	vfprintf(img->err, fmt, args);
	va_end(args);
	fputc('\n', img->err);
	return 1;
}

int img_usage(struct img *img, const char *fmt, ...)
{
	va_list args;

	fprintf(img->err, "%s: ", img->program);
	va_start(args, fmt);
	vfprintf(img->err, fmt, args);
	va_end(args);
	fprintf(img->err, "\nTry '%s --help' for more information\n", img->program);
	return 1;
}

void img_warn(struct img *img, const char *fmt, ...)
{
	va_list args;

	fprintf(img->err, "%s: warning: ", img->program);
	va_start(args, fmt);
	vfprintf(img->err, fmt, args);
	va_end(args);
	fputc('\n', img->err);
}

/* --- opening --- */

bool img_cache_is_valid(struct img *img, const char *cache, bool source)
{
	static const char *const known[] = {"none", "off", "writeback", "writethrough", "directsync", "unsafe"};

	for (size_t i = 0; cache && i < ARRAY_SIZE(known); i++)
		if (!strcmp(cache, known[i]))
			return true;
	if (!cache)
		return true;
	img_fail(img, "Invalid %scache option: %s", source ? "source " : "", cache);
	return false;
}

struct block *img_open(struct img *img, const char *filename, const char *format, const struct img_open *how)
{
	return img_open_as(img, "", filename, format, how);
}

struct block *img_open_as(struct img *img, const char *what, const char *filename, const char *format,
			  const struct img_open *how)
{
	const char *cache = how->cache ? how->cache : "writeback";
	const struct block_open open = {
		.read_only = !how->writable,
		.no_backing = how->no_backing,
		.no_repair = how->no_repair,
		.force_share = how->force_share,
		.no_cache = !strcmp(cache, "none") || !strcmp(cache, "off") || !strcmp(cache, "directsync"),
		.no_flush = !strcmp(cache, "unsafe"),
		.discard = true,
	};
	struct error err = {0};
	struct block *block;

	if (how->force_share && how->writable) {
		img_fail(img, "Could not open '%s': force-share=on can only be used with read-only images", filename);
		return NULL;
	}
	if (format && !block_driver_find(format)) {
		img_fail(img, "Could not open '%s': Unknown driver '%s'", filename, format);
		return NULL;
	}
	block = block_open_file(img->graph, filename, format, &open, &err);
	if (!block) {
		img_fail(img, "Could not open %s'%s': %s", what, filename, err.msg);
		return NULL;
	}
	if (!format && how->writable && !strcmp(block->driver->name, "raw"))
		fprintf(img->err,
			"WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
			"         Automatically detecting the format is dangerous for raw images, write operations on "
			"block 0 "
			"will be restricted.\n"
			"         Specify the 'raw' format explicitly to remove the restrictions.\n",
			filename);
	return block;
}

/* --- sizes --- */

static int suffix_shift(char suffix)
{
	static const char suffixes[] = "bkmgtpe";
	const char *at = suffix ? strchr(suffixes, suffix | 0x20) : NULL;

	return at ? (int)(at - suffixes) * 10 : -1;
}

int img_parse_size(const char *text, uint64_t *bytes)
{
	const bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
	char *end = NULL;
	long double value;
	int shift = 0;

	if (!(text[0] >= '0' && text[0] <= '9'))
		return -EINVAL;
	errno = 0;
	if (hex)
		value = strtoull(text, &end, 16);
	else
		value = strtold(text, &end);
	if (errno == ERANGE)
		return -ERANGE;
	if (end == text || (!hex && memchr(text, 'e', (size_t)(end - text))))
		return -EINVAL;
	if (*end) {
		shift = suffix_shift(*end);
		if (shift < 0 || end[1])
			return -EINVAL;
	}
	value = ldexpl(value, shift);
	if (value >= 18446744073709551616.0L)
		return -ERANGE;
	*bytes = (uint64_t)value;
	return 0;
}

int img_size_argument(struct img *img, const char *text, const char *name, uint64_t *bytes)
{
	int result = img_parse_size(text, bytes);

	if (!result && *bytes > INT64_MAX)
		result = -ERANGE;
	if (!result)
		return 0;
	if (result == -ERANGE)
		img_fail(img, "Invalid %s specified. Must be between 0 and 9223372036854775807.", name);
	else
		img_fail(img,
			 "Invalid %s specified. You may use k, M, G, T, P or E suffixes for\n"
			 "%s: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
			 name, img->program);
	return result;
}

int img_output_argument(struct img *img, const char *text, bool *json)
{
	*json = !strcmp(text, "json");
	if (*json || !strcmp(text, "human"))
		return 0;
	return img_fail(img, "--output must be used with human or json as argument.");
}

char *img_backing_path(const char *overlay, const char *backing)
{
	const char *slash = strrchr(overlay, '/');

	if (backing[0] == '/' || !slash || strncmp(backing, "file:", 5) == 0 || strncmp(backing, "json:", 5) == 0)
		return xstrdup(backing);
	return xasprintf("%.*s/%s", (int)(slash - overlay), overlay, backing);
}

/* --- progress --- */

void img_progress_start(struct img_progress *progress, struct img *img, bool on)
{
	*progress = (struct img_progress){.img = img, .on = on, .shown = -1};
	img_progress(progress, 0, 1);
}

void img_progress(struct img_progress *progress, uint64_t done, uint64_t of)
{
	double now = of ? 100.0 * (double)done / (double)of : 100.0;

	if (!progress->on || (now < progress->shown + 1 && now < 100) || now == progress->shown)
		return;
	progress->shown = now;
	fprintf(progress->img->out, "    (%3.2f/100%%)\r", now);
	fflush(progress->img->out);
}

void img_progress_end(struct img_progress *progress, bool complete)
{
	if (!progress->on)
		return;
	if (complete) {
		progress->shown = -1;
		img_progress(progress, 1, 1);
	}
	fputc('\n', progress->img->out);
}
