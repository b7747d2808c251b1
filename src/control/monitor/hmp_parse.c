/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands behind a command's name in HMP: words, quoted strings, flags, formats, integer expressions. */
#include "control/monitor/monitor_impl.h"

#include "base/options.h"
#include "base/util.h"
#include "control/monitor/registers.h"

#include <ctype.h>
#include <stdlib.h>

enum { EXPRESSION_DEPTH = 64 };

struct expression {
	struct command_call *call;
	const char *at;
	unsigned depth;
	struct error *err;
	bool failed;
};

static int64_t sum(struct expression *e);

static int64_t fail(struct expression *e, const char *fmt, const char *what)
{
	if (!e->failed)
		error_set(e->err, EINVAL, fmt, what);
	e->failed = true;
	return 0;
}

static void skip_blanks(struct expression *e)
{
	e->at += strspn(e->at, " \t");
}

static int64_t take_register(struct expression *e)
{
	char name[16];
	size_t length = 0;
	uint64_t value;

	while ((isalnum((unsigned char)e->at[length]) || (e->at[length] && strchr("._", e->at[length]))) && length < sizeof(name) - 1) {
		name[length] = (char)tolower((unsigned char)e->at[length]);
		length++;
	}
	name[length] = 0;
	e->at += length;
	if (!register_value(e->call, name, &value))
		return fail(e, "%s", "unknown register");
	return (int64_t)value;
}

static int64_t take_number(struct expression *e)
{
	char *end, text[2] = {*e->at, 0};
	int64_t value;

	if (!*e->at)
		return fail(e, "%s", "unexpected end of expression");
	if (!isdigit((unsigned char)*e->at))
		return fail(e, "invalid char '%s' in expression", text);
	errno = 0;
	value = (int64_t)strtoull(e->at, &end, 0);
	if (errno == ERANGE)
		return fail(e, "%s", "number too large");
	if (isalnum((unsigned char)*end)) {
		text[0] = *end;
		return fail(e, "invalid char '%s' in expression", text);
	}
	e->at = end;
	return value;
}

static int64_t unary(struct expression *e)
{
	int64_t value;

	skip_blanks(e);
	if (e->failed || ++e->depth > EXPRESSION_DEPTH)
		return fail(e, "%s", "expression nested too deeply");
	switch (*e->at) {
	case '+':
		e->at++;
		value = unary(e);
		break;
	case '-':
		e->at++;
		value = (int64_t)(0 - (uint64_t)unary(e));
		break;
	case '~':
		e->at++;
		value = ~unary(e);
		break;
	case '(':
		e->at++;
		value = sum(e);
		skip_blanks(e);
		if (*e->at != ')')
			return fail(e, "%s", "')' expected");
		e->at++;
		break;
	case '\'':
		if (!e->at[1] || e->at[2] != '\'')
			return fail(e, "%s", "missing terminating ' character");
		value = (unsigned char)e->at[1];
		e->at += 3;
		break;
	case '$':
		e->at++;
		value = take_register(e);
		break;
	default:
		value = take_number(e);
	}
	e->depth--;
	return value;
}

static int64_t product(struct expression *e)
{
	int64_t left = unary(e);

	for (;;) {
		char operation;
		int64_t right;

		skip_blanks(e);
		operation = *e->at;
		if (e->failed || !operation || !strchr("*/%", operation))
			return left;
		e->at++;
		right = unary(e);
		if (operation == '*')
			left = (int64_t)((uint64_t)left * (uint64_t)right);
		else if (right == 0)
			return fail(e, "%s", "division by zero");
		else if (right == -1)
			left = operation == '/' ? (int64_t)(0 - (uint64_t)left) : 0; /* INT64_MIN / -1 would trap */
		else
			left = operation == '/' ? left / right : left % right;
	}
}

static int64_t logic(struct expression *e)
{
	int64_t left = product(e);

	for (;;) {
		char operation;
		int64_t right;

		skip_blanks(e);
		operation = *e->at;
		if (e->failed || !operation || !strchr("&|^", operation))
			return left;
		e->at++;
		right = product(e);
		left = operation == '&' ? left & right : operation == '|' ? left | right : left ^ right;
	}
}

static int64_t sum(struct expression *e)
{
	int64_t left = logic(e);

	for (;;) {
		char operation;
		uint64_t right;

		skip_blanks(e);
		operation = *e->at;
		if (e->failed || !operation || !strchr("+-", operation))
			return left;
		e->at++;
		right = (uint64_t)logic(e);
		left = (int64_t)(operation == '+' ? (uint64_t)left + right : (uint64_t)left - right);
	}
}

int hmp_expression(struct command_call *call, const char **text, int64_t *value, struct error *err)
{
	struct expression e = {.call = call, .at = *text, .err = err};

	*value = sum(&e);
	*text = e.at;
	return e.failed ? -EINVAL : 0;
}

/* A word, or "text with \" and \\"; heap, the caller's. */
static char *take_string(const char **text, struct error *err)
{
	const char *at = *text + strspn(*text, " \t");
	char *word = xcalloc(1, strlen(at) + 1);
	size_t length = 0;
	bool quoted = *at == '"';

	at += quoted;
	while (*at && (quoted ? *at != '"' : !isspace((unsigned char)*at))) {
		if (quoted && *at == '\\') {
			static const char codes[] = "n\nr\r\\\\'\'\"\"";
			const char *code = at[1] ? strchr(codes, at[1]) : NULL;

			if (!code) {
				free(word);
				error_set(err, EINVAL, "unsupported escape code: '\\%c'", at[1]);
				return NULL;
			}
			word[length++] = code[1];
			at += 2;
		} else {
			word[length++] = *at++;
		}
	}
	if (quoted && *at++ != '"') {
		free(word);
		error_set(err, EINVAL, "unterminated string");
		return NULL;
	}
	*text = at;
	return word;
}

static int parse_string(struct command_call *call, const struct command_argument *argument, const char **text,
			struct error *err)
{
	char *word;

	if (argument->type == ARGUMENT_LINE) {
		json_object_set_new(call->arguments, argument->name, json_string(*text));
		*text += strlen(*text);
		return 0;
	}
	word = take_string(text, err);
	if (!word)
		return -EINVAL;
	/* json_string refuses what is no UTF-8. */
	if (json_object_set_new(call->arguments, argument->name, json_string(word)) < 0)
		error_set(err, EINVAL, "'%s' is not UTF-8", argument->name);
	free(word);
	return json_object_get(call->arguments, argument->name) ? 0 : -EINVAL;
}

static int parse_megabytes(struct command_call *call, const struct command_argument *argument, const char **text,
			   struct error *err)
{
	const char *start = *text;
	size_t length = strcspn(start, " \t");
	char word[32];
	uint64_t bytes;
	int64_t value;

	/* A suffix makes it a size; a hexadecimal number may end in a letter too. */
	if (length < sizeof(word) && length > 1 && isdigit((unsigned char)*start) && (start[1] | 0x20) != 'x' &&
	    isalpha((unsigned char)start[length - 1])) {
		snprintf(word, sizeof(word), "%.*s", (int)length, start);
		if (parse_size(word, MIB, &bytes, err) < 0)
			return -EINVAL;
		value = (int64_t)bytes;
		*text += length;
	} else {
		if (hmp_expression(call, text, &value, err) < 0)
			return -EINVAL;
		if (__builtin_mul_overflow(value, (int64_t)MIB, &value))
			return error_set(err, EINVAL, "number too large");
	}
	if (value < 0)
		return error_set(err, EINVAL, "enter a positive value");
	json_object_set_new(call->arguments, argument->name, json_integer(value));
	return 0;
}

static int parse_bool_word(struct command_call *call, const struct command_argument *argument, const char **text,
			   struct error *err)
{
	char *word = take_string(text, err);
	bool on;

	if (!word)
		return -EINVAL;
	if (parse_bool(word, &on, NULL) < 0) {
		error_set(err, EINVAL, "Expected 'on' or 'off'");
		free(word);
		return -EINVAL;
	}
	json_object_set_new(call->arguments, argument->name, json_boolean(on));
	free(word);
	return 0;
}

/* The command's name without "info ", with what other names it has. */
static const char *own_name(const struct command_call *call)
{
	const char *name = call->command->hmp;

	return strncmp(name, "info ", 5) == 0 ? name + 5 : name;
}

static int parse_one(struct command_call *call, const struct command_argument *argument, const char **text,
		     struct error *err)
{
	int64_t value;

	switch (argument->type) {
	case ARGUMENT_INT:
	case ARGUMENT_INT32:
		if (hmp_expression(call, text, &value, err) < 0)
			return -EINVAL;
		if (argument->type == ARGUMENT_INT32 && (uint64_t)value > UINT32_MAX)
			return error_set(err, EINVAL, "'%.*s' has failed: integer is for 32-bit values",
					 (int)strcspn(own_name(call), "|"), own_name(call));
		json_object_set_new(call->arguments, argument->name, json_integer(value));
		return 0;
	case ARGUMENT_MEGABYTES:
		return parse_megabytes(call, argument, text, err);
	case ARGUMENT_BOOL:
		return parse_bool_word(call, argument, text, err);
	case ARGUMENT_STRING:
	case ARGUMENT_LINE:
		return parse_string(call, argument, text, err);
	case ARGUMENT_FLAG:
	case ARGUMENT_OPTION:
	case ARGUMENT_FORMAT:
	case ARGUMENT_LIST:
		break;
	}
	return error_set(err, EINVAL, "%s: cannot be given here", argument->name);
}

/* "/4xw"; what the letters mean is the command's business. */
static int parse_format_word(struct command_call *call, const struct command_argument *argument, const char **text,
			     struct error *err)
{
	const char *start = *text + 1, *letters = start + strspn(start, "0123456789");
	size_t known = strspn(letters, "xoducibhwgL");

	if (letters[known] && !isspace((unsigned char)letters[known]))
		return error_set(err, EINVAL, "invalid char in format: '%c'", letters[known]);
	*text = letters + known;
	json_object_set_new(call->arguments, argument->name, json_stringn(start, (size_t)(*text - start)));
	return 0;
}

static const char *kind_of(const struct command_argument *argument)
{
	return argument->words == WORDS_FILES ? "filename" : argument->words == WORDS_DISKS ? "block device name" : "string";
}

/* "-f", "-f word": this one's, or of one that comes behind it. */
static int parse_dashed(struct command_call *call, const struct command_argument *argument, const char **text,
			struct error *err)
{
	const char letter = (*text)[1];

	if (**text != '-')
		return 0;
	if (letter == argument->name[0]) {
		*text += 2;
		if (argument->type == ARGUMENT_OPTION) {
			*text += strspn(*text, " \t");
			return **text ? parse_string(call, argument, text, err)
				      : error_set(err, EINVAL, "%.*s: value expected for -%c",
						  (int)strcspn(own_name(call), "|"), own_name(call), letter);
		}
		json_object_set_new(call->arguments, argument->name, json_true());
		return 0;
	}
	for (const struct command_argument *a = argument + 1; a->name; a++)
		if ((a->type == ARGUMENT_FLAG || a->type == ARGUMENT_OPTION) && a->name[0] == letter)
			return 0;
	return error_set(err, EINVAL, "%.*s: unsupported option -%.1s", (int)strcspn(own_name(call), "|"),
			 own_name(call), *text + 1);
}

int hmp_parse_arguments(struct command_call *call, const char *text, struct error *err)
{
	for (const struct command_argument *a = call->command->arguments; a && a->name; a++) {
		text += strspn(text, " \t");
		if (a->type == ARGUMENT_FLAG || a->type == ARGUMENT_OPTION) {
			if (parse_dashed(call, a, &text, err) < 0)
				return -EINVAL;
			continue;
		}
		if (a->type == ARGUMENT_FORMAT) {
			if (*text == '/' && parse_format_word(call, a, &text, err) < 0)
				return -EINVAL;
			continue;
		}
		if (!*text && a->optional)
			continue;
		if (!*text && a->type == ARGUMENT_STRING)
			return error_set(err, EINVAL, "%.*s: %s expected", (int)strcspn(call->command->hmp, "|"),
					 call->command->hmp, kind_of(a));
		if (parse_one(call, a, &text, err) < 0)
			return -EINVAL;
	}
	text += strspn(text, " \t");
	if (*text)
		return error_set(err, EINVAL, "%s: extraneous characters at the end of line", own_name(call));
	return 0;
}
