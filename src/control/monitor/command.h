/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of both monitors: one row each. A row gives HMP's parsing, help and completion, and QMP's argument
 * check, error texts and schema. `run` makes JSON, `show` turns it into the text that people get.
 */
#ifndef XUNI_CONTROL_MONITOR_COMMAND_H
#define XUNI_CONTROL_MONITOR_COMMAND_H

#include "base/error.h"
#include "control/monitor/text.h"

#include <jansson.h>

struct command_call;
struct machine;
struct monitor;

enum argument_type {
	ARGUMENT_STRING,    /* a word, or "quoted"; JSON string */
	ARGUMENT_LINE,      /* the rest of the line; JSON string */
	ARGUMENT_INT,       /* an expression; JSON integer */
	ARGUMENT_INT32,     /* the same, of 32 bits without sign in HMP */
	ARGUMENT_MEGABYTES, /* HMP: MiB, or with a suffix; JSON: bytes */
	ARGUMENT_BOOL,      /* on or off; JSON boolean */
	ARGUMENT_FLAG,      /* -x with the first letter of the name; JSON boolean */
	ARGUMENT_OPTION,    /* -x word with the first letter of the name; JSON string */
	ARGUMENT_FORMAT,    /* HMP only: /fmt; arrives as a string */
	ARGUMENT_LIST,      /* QMP only: JSON array */
};

/* What completes an argument. */
enum argument_words { WORDS_NONE, WORDS_COMMANDS, WORDS_NETDEVS, WORDS_CHARDEVS, WORDS_DISKS, WORDS_LOG_ITEMS, WORDS_INFO, WORDS_FILES };

struct command_argument {
	const char *name;
	enum argument_type type;
	bool optional;
	enum argument_words words;
};

/* Returns the result (a new reference; an empty object for nothing), or NULL with *err. */
typedef json_t *command_run_fn(struct command_call *call, struct error *err);
typedef void command_show_fn(struct command_call *call, const json_t *result);

struct command {
	const char *qmp;    /* "query-status"; NULL: HMP only */
	const char *hmp;    /* "stop|s", "info status"; NULL: QMP only */
	const char *params; /* as HMP's help shows them; "" for none */
	const char *help;
	const struct command_argument *arguments; /* ended by name NULL; NULL: none */
	command_run_fn *run;
	command_show_fn *show; /* NULL: says nothing, or run wrote to call->text itself (HMP only) */
};

struct command_call {
	struct machine *machine;
	struct monitor *monitor;
	const struct command *command;
	json_t *arguments; /* object; the values have their types */
	struct text *text; /* HMP; NULL for QMP */
};

/* NULL-ended groups of rows, each ended by run NULL; info commands are rows "info NAME". */
extern const struct command *const command_groups[];

/* The next row in the order of the tables; NULL gives the first one, and at the end NULL is returned. */
const struct command *command_next(const struct command *command);
const struct command *command_find_qmp(const char *name);
/* name: "stop", "s", or behind info "status" with info true. */
const struct command *command_find_hmp(const char *name, bool info);
/* Suggestion for a name that was not found, or NULL. */
const char *command_nearest_hmp(const char *name, bool info);
/* True when name is one of the names in "stop|s". */
bool command_names_include(const char *names, const char *name);

/* Accessors; fallback when the argument was not given. */
const char *argument_string(const struct command_call *call, const char *name);
int64_t argument_int(const struct command_call *call, const char *name, int64_t fallback);
bool argument_bool(const struct command_call *call, const char *name, bool fallback);

/* A result of text for people, {"human-readable-text": ...}, as QMP's x-query- commands have it; frees the text. */
json_t *text_result(struct text *text);
void show_text_result(struct command_call *call, const json_t *result);

/* HMP: runs a line, appends what is to be printed. */
void hmp_run(struct monitor *monitor, const char *line, struct text *text);
/* HMP: parses the text behind the command's name. 0, or -EINVAL with the reason. */
int hmp_parse_arguments(struct command_call *call, const char *rest, struct error *err);
/* HMP: integer expressions (+ - * / % & | ^ ~ parentheses, 'c', numbers, $register). Moves *text behind it. */
int hmp_expression(struct command_call *call, const char **text, int64_t *value, struct error *err);
/* HMP: candidates for the word that ends the line; calls each with the whole word. */
void hmp_complete(struct monitor *monitor, const char *line, void (*each)(void *opaque, const char *word),
		  void *opaque);
void hmp_help(struct text *text, const char *topic);

/* QMP: checks arguments against the row; error texts as qemu's. */
int qmp_check_arguments(const struct command *command, json_t *arguments, struct error *err);
/* query-qmp-schema's result. */
json_t *qmp_schema(void);
/* query-events' names, NULL-ended. */
extern const char *const qmp_events[];

#endif
