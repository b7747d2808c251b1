/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An ordered list of key=value strings: the form in which the parameters of one device, drive, back end or object
 * travel from a dialect of src/config/ to the code that consumes them. Keys may repeat (hostfwd=...,hostfwd=...).
 * Whoever consumes the list marks keys as used; options_check_used names the first key that nobody wanted.
 */
#ifndef XUNI_BASE_OPTIONS_H
#define XUNI_BASE_OPTIONS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct option {
	char *key;
	char *value;
	bool used;
	bool number; /* JSON gave it as a number */
};

struct options {
	struct option *items;
	size_t count;
};

/* Parses qemu's "first,key=value,flag,noflag" grammar (a doubled comma is a comma). implied_key names the first part
 * when it has no '='; NULL: then it is a flag. "flag" becomes flag=on, "noflag" stays a flag (config decides). */
int options_parse(struct options *out, const char *text, const char *implied_key, struct error *err);
/* A JSON object as options: nested keys with dots, array elements numbered ("a.0"), booleans on and off, null empty. */
int options_parse_json(struct options *out, const char *text, struct error *err);
void options_add(struct options *options, const char *key, const char *value);
/* Adds another list's option under this key. */
void options_add_as(struct options *options, const char *key, const struct option *from);
void options_copy(struct options *out, const struct options *from);
/* Adds all of them behind those that are there. */
void options_append(struct options *options, const struct options *from);
/* All but the keys that begin with prefix. */
void options_copy_without(struct options *out, const struct options *from, const char *prefix);
void options_free(struct options *options);

/* The last value of key, or NULL; marks all of its occurrences used. */
const char *options_get(struct options *options, const char *key);
/* The same for who only looks: it does not make the key used. */
const char *options_peek(const struct options *options, const char *key);
/* As options_get with a conversion; the default stands when the key is absent. Errors name key, value and what is accepted. */
int options_bool(struct options *options, const char *key, bool *value, struct error *err);
int options_u64(struct options *options, const char *key, uint64_t *value, uint64_t max, struct error *err);
/* Sizes: 512M, 2G, 0x1000; without a suffix bytes times default_unit. */
int options_size(struct options *options, const char *key, uint64_t *bytes, uint64_t default_unit, struct error *err);

/* -EINVAL for the first unused key: "'foo' is not an option of CONTEXT; did you mean 'fob'?" (known: NULL-ended). */
int options_check_used(const struct options *options, const char *context, const char *const *known, struct error *err);

/* Conversions of one word, used by the above and by properties. */
int parse_bool(const char *text, bool *value, struct error *err);
int parse_u64(const char *text, uint64_t max, uint64_t *value, struct error *err);
int parse_size(const char *text, uint64_t default_unit, uint64_t *bytes, struct error *err);
/* The entry of the NULL-ended list that is nearest to word (edit distance <= 1/3 of its length), or NULL. */
const char *nearest_word(const char *word, const char *const *known);

#endif
