/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Key maps (-k): which key of which keyboard makes a keysym, for clients that only tell keysyms. The layouts are those
 * of xkeyboard-config, read by libxkbcommon; the names are qemu's.
 */
#include "backend/display/vnc/vnc.h"

#include "base/util.h"

#include <stdlib.h>
#include <xkbcommon/xkbcommon.h>

enum { EVDEV_OFFSET = 8, LEVELS = 4 };

struct entry {
	uint32_t keysym;
	uint16_t key;
	uint8_t level;
};

struct vnc_keymap {
	struct entry *entries;
	size_t count, capacity;
};

static const struct {
	const char *name, *layout, *variant;
} layouts[] = {
	{"en-us", "us", ""},   {"ar", "ara", ""},   {"bepo", "fr", "bepo"}, {"cz", "cz", ""},    {"da", "dk", ""},
	{"de", "de", ""},      {"de-ch", "ch", ""}, {"en-gb", "gb", ""},    {"es", "es", ""},    {"et", "ee", ""},
	{"fi", "fi", ""},      {"fo", "fo", ""},    {"fr", "fr", ""},       {"fr-be", "be", ""}, {"fr-ca", "ca", ""},
	{"fr-ch", "ch", "fr"}, {"hr", "hr", ""},    {"hu", "hu", ""},       {"is", "is", ""},    {"it", "it", ""},
	{"ja", "jp", ""},      {"lt", "lt", ""},    {"lv", "lv", ""},       {"mk", "mk", ""},    {"nl", "nl", ""},
	{"no", "no", ""},      {"pl", "pl", ""},    {"pt", "pt", ""},       {"pt-br", "br", ""}, {"ru", "ru", ""},
	{"sl", "si", ""},      {"sv", "se", ""},    {"th", "th", ""},       {"tr", "tr", ""},
};

/* Where several names have one code, the one that a keyboard has. */
static enum input_key key_of_linux(unsigned code)
{
	for (unsigned key = 1; key < INPUT_KEYS; key++)
		if (input_key_rows[key].linux_code == code && key != INPUT_KEY_SYSRQ && key != INPUT_KEY_ASTERISK)
			return key;
	return INPUT_KEY_UNMAPPED;
}

static void add(struct vnc_keymap *keymap, uint32_t keysym, enum input_key key, unsigned level)
{
	if (keymap->count == keymap->capacity) {
		keymap->capacity = keymap->capacity ? 2 * keymap->capacity : 512;
		keymap->entries = xrealloc(keymap->entries, keymap->capacity * sizeof(*keymap->entries));
	}
	keymap->entries[keymap->count++] = (struct entry){keysym, (uint16_t)key, (uint8_t)level};
}

static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->keysym != y->keysym)
		return x->keysym < y->keysym ? -1 : 1;
	return x->level != y->level ? (int)x->level - y->level : (int)x->key - y->key;
}

static bool is_keypad(enum input_key key)
{
	return !strncmp(input_key_rows[key].name, "kp_", 3);
}

static void read_keys(struct vnc_keymap *keymap, struct xkb_keymap *xkb)
{
	for (xkb_keycode_t code = xkb_keymap_min_keycode(xkb); code <= xkb_keymap_max_keycode(xkb); code++) {
		enum input_key key = code > EVDEV_OFFSET ? key_of_linux(code - EVDEV_OFFSET) : INPUT_KEY_UNMAPPED;
		xkb_level_index_t levels = xkb_keymap_num_levels_for_key(xkb, code, 0);

		if (key == INPUT_KEY_UNMAPPED)
			continue;
		for (xkb_level_index_t level = 0; level < levels && level < LEVELS; level++) {
			const xkb_keysym_t *syms;
			int count = xkb_keymap_key_get_syms_by_level(xkb, code, 0, level, &syms);

			/* What the level of a keypad key depends on is Num Lock. */
			for (int i = 0; i < count; i++)
				add(keymap, syms[i], key, is_keypad(key) ? 0 : level);
		}
	}
	qsort(keymap->entries, keymap->count, sizeof(*keymap->entries), compare);
}

static void keep_quiet(struct xkb_context *context, enum xkb_log_level level, const char *format, va_list args)
{
}

struct vnc_keymap *vnc_keymap_new(const char *layout, struct error *err)
{
	struct xkb_context *context = xkb_context_new(XKB_CONTEXT_NO_ENVIRONMENT_NAMES);
	struct xkb_rule_names names = {.rules = "evdev", .model = "pc105"};
	struct vnc_keymap *keymap = NULL;
	struct xkb_keymap *xkb = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		if (!strcmp(layouts[i].name, layout ? layout : "en-us")) {
			names.layout = layouts[i].layout;
			names.variant = layouts[i].variant;
		}
	}
	if (context)
		xkb_context_set_log_fn(context, keep_quiet);
	if (context && names.layout)
		xkb = xkb_keymap_new_from_names(context, &names, XKB_KEYMAP_COMPILE_NO_FLAGS);
	if (xkb) {
		keymap = xcalloc(1, sizeof(*keymap));
		read_keys(keymap, xkb);
	} else if (!names.layout) {
		error_set(err, ENOENT, "could not read keymap file: '%s'", layout);
	} else {
		error_set(err, ENOENT, "key map %s: the package xkb-data is not installed", layout ? layout : "en-us");
	}
	xkb_keymap_unref(xkb);
	xkb_context_unref(context);
	return keymap;
}

void vnc_keymap_free(struct vnc_keymap *keymap)
{
	if (!keymap)
		return;
	free(keymap->entries);
	free(keymap);
}

enum input_key vnc_keymap_find(const struct vnc_keymap *keymap, uint32_t keysym, unsigned *level)
{
	size_t low = 0, high = keymap->count;
	const struct entry *best;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (keymap->entries[middle].keysym < keysym)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == keymap->count || keymap->entries[low].keysym != keysym)
		return INPUT_KEY_UNMAPPED;
	best = &keymap->entries[low];
	for (size_t i = low; i < keymap->count && keymap->entries[i].keysym == keysym; i++) {
		if (keymap->entries[i].level == *level) {
			best = &keymap->entries[i];
			break;
		}
	}
	*level = best->level;
	return best->key;
}

uint32_t vnc_keysym_of_character(uint32_t character)
{
	return character == '\n' ? XKB_KEY_Return : character == '\t' ? XKB_KEY_Tab : xkb_utf32_to_keysym(character);
}
