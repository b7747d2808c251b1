/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of the command line: one row each. The row gives parsing, -readconfig's section, -help, the manual page
 * and the list of names from which a mistyped one is recognised.
 */
#ifndef XUNI_CONFIG_KEYS_H
#define XUNI_CONFIG_KEYS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config_parse;
struct key;
struct options;

enum key_section {
	SECTION_STANDARD,
	SECTION_BLOCK,
	SECTION_NETWORK,
	SECTION_CHARACTER,
	SECTION_BOOT,
	SECTION_DISPLAY,
	SECTION_DEBUG,
	SECTIONS,
};

enum key_kind {
	KEY_LATER,  /* qemu has it and this program does not yet: an error, which ends in .help */
	KEY_FLAG,   /* sets the bool at `field` of domain_config */
	KEY_STRING, /* replaces the char * at `field` */
	KEY_WORD,   /* word() takes the argument as it is (NULL without one) */
	KEY_LIST,   /* list() takes key=value parameters, from the command line or a -readconfig section */
};

typedef int key_word_fn(struct config_parse *parse, const struct key *key, const char *value, struct error *err);
/* Takes what it wants from options (the list stays the caller's) and refuses what is left. */
typedef int key_list_fn(struct config_parse *parse, const struct key *key, struct options *options, struct error *err);

struct key {
	const char *name;     /* without the dash */
	const char *argument; /* as in -help; NULL: takes none */
	const char *help;     /* lines; NULL: not listed, another spelling */
	enum key_section section;
	enum key_kind kind;
	uint32_t field;
	key_word_fn *word;
	key_list_fn *list;
	const char *implied;  /* KEY_LIST: what the first part without '=' is */
	const char *group;    /* KEY_LIST: -readconfig section, or NULL */
	const char *group_id; /* the key that a section's "id" becomes; NULL: sections have none */
	bool json;            /* KEY_LIST: the argument may be a JSON object */
	bool describes;       /* KEY_LIST: "help" among the parameters asks for this row of -help */
};

/* The table, ended by name NULL. */
extern const struct key config_keys[];
extern const char *const key_section_titles[SECTIONS];

/* NULL when there is none of that name. */
const struct key *key_find(const char *name);
/* The likeliest name for a mistyped one, or NULL. */
const char *key_nearest(const char *name);

/* What to do without the displays that are not supported yet. */
#define KEY_DISPLAY_INSTEAD "-vnc :0 is for every VNC viewer, -display curses for text in this terminal"

/* Layout as qemu's -help. */
void keys_print_help(FILE *to, const char *program);
/* One option's row of it. */
void keys_print_one(FILE *to, const char *name);
/* -object help, -object TYPE,help. */
void keys_print_objects(FILE *to, const char *type);
/* OPTIONS section of xuni-vmm(1), roff. */
void keys_print_manual(FILE *to);

#endif
