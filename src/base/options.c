/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * key=value lists and the conversion of single words. The grammar is qemu's QemuOpts one (qemu's manual, "-drive"):
 * parts separated by commas, a doubled comma inside a value is a comma, a part without '=' is a flag.
 * Left out: "help" as a flag and "no" prefixes have no meaning here, whoever consumes the list gives them one.
 */
#include "base/options.h"

#include "base/util.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { NEAREST_MAX_LENGTH = 64 };

/* Takes a value up to a single comma (or the end) and undoubles commas. Returns the rest, behind the comma. */
static const char *take_value(const char *text, char **value)
{
	char *to = *value = xcalloc(1, strlen(text) + 1);

	while (*text) {
		if (*text == ',') {
			if (text[1] != ',')
				return text + 1;
			text++;
		}
		*to++ = *text++;
	}
	return text;
}

static void options_add_owned(struct options *options, char *key, char *value)
{
	options->items = xrealloc(options->items, (options->count + 1) * sizeof(*options->items));
	options->items[options->count++] = (struct option){.key = key, .value = value};
}

void options_add(struct options *options, const char *key, const char *value)
{
	options_add_owned(options, xstrdup(key), xstrdup(value));
}

int options_parse(struct options *out, const char *text, const char *implied_key, struct error *err)
{
	const char *rest = text;
	bool first = true;

	*out = (struct options){0};
	while (*rest) {
		size_t length = strcspn(rest, "=,");
		char *key, *value;

		if (rest[length] != '=' && first && implied_key) {
			key = xstrdup(implied_key);
			rest = take_value(rest, &value);
		} else if (length == 0) {
			options_free(out);
			return error_set(err, EINVAL, "'%.200s': a parameter without a name", text);
		} else {
			key = xcalloc(1, length + 1);
			memcpy(key, rest, length);
			rest += length;
			if (*rest == '=') {
				rest = take_value(rest + 1, &value);
			} else {
				value = xstrdup("on");
				if (*rest == ',')
					rest++;
			}
		}
		options_add_owned(out, key, value);
		first = false;
	}
	return 0;
}

void options_add_as(struct options *options, const char *key, const struct option *from)
{
	options_add(options, key, from->value);
	options->items[options->count - 1].number = from->number;
}

void options_copy(struct options *out, const struct options *from)
{
	*out = (struct options){0};
	options_append(out, from);
}

void options_append(struct options *options, const struct options *from)
{
	for (size_t i = 0; i < from->count; i++)
		options_add_as(options, from->items[i].key, &from->items[i]);
}

void options_copy_without(struct options *out, const struct options *from, const char *prefix)
{
	*out = (struct options){0};
	for (size_t i = 0; i < from->count; i++)
		if (strncmp(from->items[i].key, prefix, strlen(prefix)))
			options_add_as(out, from->items[i].key, &from->items[i]);
}

void options_free(struct options *options)
{
	for (size_t i = 0; i < options->count; i++) {
		free(options->items[i].key);
		free(options->items[i].value);
	}
	free(options->items);
	*options = (struct options){0};
}

const char *options_peek(const struct options *options, const char *key)
{
	const char *value = NULL;

	for (size_t i = 0; i < options->count; i++)
		if (strcmp(options->items[i].key, key) == 0)
			value = options->items[i].value;
	return value;
}

const char *options_get(struct options *options, const char *key)
{
	const char *value = NULL;

	for (size_t i = 0; i < options->count; i++) {
		if (strcmp(options->items[i].key, key) == 0) {
			options->items[i].used = true;
			value = options->items[i].value;
		}
	}
	return value;
}

int options_bool(struct options *options, const char *key, bool *value, struct error *err)
{
	const char *text = options_get(options, key);

	if (!text || parse_bool(text, value, err) == 0)
		return 0;
	return error_prefix(err, "%s=%.100s", key, text);
}

int options_u64(struct options *options, const char *key, uint64_t *value, uint64_t max, struct error *err)
{
	const char *text = options_get(options, key);

	if (!text || parse_u64(text, max, value, err) == 0)
		return 0;
	return error_prefix(err, "%s=%.100s", key, text);
}

int options_size(struct options *options, const char *key, uint64_t *bytes, uint64_t default_unit, struct error *err)
{
	const char *text = options_get(options, key);

	if (!text || parse_size(text, default_unit, bytes, err) == 0)
		return 0;
	return error_prefix(err, "%s=%.100s", key, text);
}

int options_check_used(const struct options *options, const char *context, const char *const *known, struct error *err)
{
	for (size_t i = 0; i < options->count; i++) {
		const char *key = options->items[i].key, *near;

		if (options->items[i].used)
			continue;
		near = known ? nearest_word(key, known) : NULL;
		/* A known key that was not read is one that cannot stand beside the others given. */
		if (near && strcmp(near, key) == 0)
			return error_set(err, EINVAL, "'%.100s' has no meaning here for %s", key, context);
		if (near)
			return error_set(err, EINVAL, "'%.100s' is not an option of %s; did you mean '%s'?", key,
					 context, near);
		return error_set(err, EINVAL, "'%.100s' is not an option of %s", key, context);
	}
	return 0;
}

int parse_bool(const char *text, bool *value, struct error *err)
{
	static const char *const yes[] = {"on", "yes", "true", "y"};
	static const char *const no[] = {"off", "no", "false", "n"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*value = strcmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return error_set(err, EINVAL, "expected on or off");
}

int parse_u64(const char *text, uint64_t max, uint64_t *value, struct error *err)
{
	unsigned long long number;
	char *end;

	/* strtoull takes white space and signs, which no number here has. */
	if (!isdigit((unsigned char)*text))
		return error_set(err, EINVAL, "expected a number");
	errno = 0;
	number = strtoull(text, &end, text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10);
	if (*end || end == text)
		return error_set(err, EINVAL, "expected a number");
	if (errno == ERANGE || number > max)
		return error_set(err, ERANGE, "the largest number accepted is %llu", (unsigned long long)max);
	*value = number;
	return 0;
}

/* log2 of the unit behind a number, or -1. */
static int size_suffix_shift(char suffix)
{
	static const char suffixes[] = "BKMGTPE";
	const char *at = suffix ? strchr(suffixes, toupper((unsigned char)suffix)) : NULL;

	return at ? (int)(at - suffixes) * 10 : -1;
}

/* ".5" of a unit, in bytes; the digits behind the ninth say less than a byte of anything below a gigabyte's worth. */
static uint64_t fraction_of(const char *digits, size_t count, uint64_t unit)
{
	uint64_t numerator = 0, denominator = 1;

	for (size_t i = 0; i < count && i < 9; i++) {
		numerator = numerator * 10 + (uint64_t)(digits[i] - '0');
		denominator *= 10;
	}
	return (uint64_t)((__uint128_t)numerator * unit / denominator);
}

int parse_size(const char *text, uint64_t default_unit, uint64_t *bytes, struct error *err)
{
	static const char expected[] = "expected a size such as 512M or 2G";
	bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
	unsigned long long whole;
	uint64_t unit = default_unit, product, fraction;
	const char *digits;
	size_t fraction_digits = 0;
	char *end;

	if (!isdigit((unsigned char)*text))
		return error_set(err, EINVAL, "%s", expected);
	errno = 0;
	whole = strtoull(text, &end, hex ? 16 : 10);
	if (errno == ERANGE)
		return error_set(err, ERANGE, "the size is beyond 64 bits");
	digits = end + 1;
	if (*end == '.' && !hex) {
		fraction_digits = strspn(digits, "0123456789");
		if (fraction_digits == 0)
			return error_set(err, EINVAL, "%s", expected);
		end += 1 + fraction_digits;
	}
	if (*end) {
		int shift = size_suffix_shift(*end);

		if (shift < 0 || end[1])
			return error_set(err, EINVAL, "%s", expected);
		unit = 1ull << shift;
	}
	fraction = fraction_of(digits, fraction_digits, unit);
	if (__builtin_mul_overflow(whole, unit, &product) || __builtin_add_overflow(product, fraction, &product))
		return error_set(err, ERANGE, "the size is beyond 64 bits");
	*bytes = product;
	return 0;
}

/* Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours count 1. */
static unsigned edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	unsigned rows[3][NEAREST_MAX_LENGTH + 1];
	unsigned *before = rows[0], *last = rows[1], *now = rows[2];

	for (size_t j = 0; j <= b_length; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned *spare = before;

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);

			best = (unsigned)min_u64(best, min_u64(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = (unsigned)min_u64(best, before[j - 2] + 1);
			now[j] = best;
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[b_length];
}

const char *nearest_word(const char *word, const char *const *known)
{
	size_t length = strnlen(word, NEAREST_MAX_LENGTH + 1);
	unsigned limit = (unsigned)max_u64(1, length / 3), best = limit + 1;
	const char *nearest = NULL;

	if (length == 0 || length > NEAREST_MAX_LENGTH)
		return NULL;
	for (; *known; known++) {
		size_t known_length = strnlen(*known, NEAREST_MAX_LENGTH + 1);
		unsigned distance;

		if (known_length > NEAREST_MAX_LENGTH)
			continue;
		distance = edit_distance(word, length, *known, known_length);
		/* One letter for one letter is no likeness. */
		if (distance < best && distance < length) {
			best = distance;
			nearest = *known;
		}
	}
	return nearest;
}
