/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: the monitor for people (qemu's manual, "QEMU Monitor"): prompt, command look-up, help, completion. */
#include "control/monitor/monitor_impl.h"

#include "backend/block/block.h"
#include "backend/net/net.h"
#include "base/util.h"
#include "config/version.h"
#include "control/monitor/trace.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* Terminals want a return before a line feed. In one piece, of which a slow reader gets all or nothing. */
static void write_lines(struct monitor *monitor, const char *text)
{
	struct text lines = {0};

	while (*text) {
		size_t length = strcspn(text, "\n");

		text_append(&lines, text, length);
		text += length;
		if (*text == '\n') {
			text_append(&lines, "\r\n", 2);
			text++;
		}
	}
	if (lines.data)
		monitor_write(monitor, lines.data, lines.length);
	text_free(&lines);
}

static void line_entered(void *opaque, const char *line)
{
	struct monitor *monitor = opaque;
	struct text text = {0};

	hmp_run(monitor, line, &text);
	if (text.data)
		write_lines(monitor, text.data);
	text_free(&text);
	readline_show(&monitor->readline);
}

static void secret_entered(void *opaque, const char *line)
{
	struct monitor *monitor = opaque;
	struct text text = {0};
	struct command_call call = {.machine = monitor->machine, .monitor = monitor, .text = &text};
	struct error err = {0};
	json_t *result = monitor->answer(&call, line, &err);

	if (!result)
		text_printf(&text, "Error: %s\n", err.msg);
	json_decref(result);
	if (text.data)
		write_lines(monitor, text.data);
	text_free(&text);
	readline_show(&monitor->readline);
}

bool hmp_ask_secret(struct monitor *monitor, const char *question, hmp_answer_fn *answer)
{
	if (!monitor->readline.print)
		return false;
	monitor->answer = answer;
	readline_ask(&monitor->readline, question, secret_entered);
	return true;
}

static void print_edit(void *opaque, const char *data, size_t length)
{
	monitor_write(opaque, data, length);
}

static void complete_line(void *opaque, const char *before, void (*each)(void *each_opaque, const char *word),
			  void *each_opaque)
{
	hmp_complete(opaque, before, each, each_opaque);
}

void hmp_start(struct monitor *monitor)
{
	monitor->readline = (struct readline){.prompt = "(qemu) ",
					      .print = print_edit,
					      .line = line_entered,
					      .complete = complete_line,
					      .opaque = monitor};
}

void hmp_stop(struct monitor *monitor)
{
	readline_free(&monitor->readline);
}

void hmp_attention(struct monitor *monitor)
{
	if (!monitor->greeted)
		write_lines(monitor, "xuni-vmm " XUNI_VERSION " monitor - type 'help' for more information\n");
	monitor->greeted = true;
	readline_show(&monitor->readline);
}

/* Splits off the first word; returns the rest, without leading blanks. */
static const char *take_word(const char *line, char *word, size_t size)
{
	size_t length;

	line += strspn(line, " \t");
	length = strcspn(line, " \t");
	/* "x/4x" is x with a format. */
	if (memchr(line, '/', length))
		length = strcspn(line, "/");
	snprintf(word, size, "%.*s", (int)min_u64(length, size - 1), line);
	line += length;
	return line + strspn(line, " \t");
}

static void say_unknown(struct text *text, const char *word, bool info)
{
	const char *near = command_nearest_hmp(word, info);

	text_printf(text, "unknown command: '%s%s'", info ? "info " : "", word);
	if (near)
		text_printf(text, "; did you mean '%s%.*s'?", info ? "info " : "", (int)strcspn(near, "|"), near);
	text_printf(text, "\n");
}

static void run_found(struct monitor *monitor, const struct command *command, const char *word, const char *rest,
		      struct text *text)
{
	struct command_call call = {.machine = monitor->machine,
				    .monitor = monitor,
				    .command = command,
				    .arguments = json_object(),
				    .text = text};
	struct error err = {0};
	json_t *result;

	if (hmp_parse_arguments(&call, rest, &err) < 0) {
		const char *info = strncmp(command->hmp, "info ", 5) == 0 ? "info " : "";

		text_printf(text, "%s\nTry \"help %s%s\" for more information\n", err.msg, info, word);
	} else {
		result = command->run(&call, &err);
		if (!result)
			text_printf(text, "Error: %s\n", err.msg);
		else if (command->show)
			command->show(&call, result);
		json_decref(result);
	}
	json_decref(call.arguments);
}

void hmp_run(struct monitor *monitor, const char *line, struct text *text)
{
	const struct command *command;
	const char *rest;
	char word[64];
	bool info;

	rest = take_word(line, word, sizeof(word));
	if (!*word || *word == '#')
		return;
	trace_write(monitor->machine, "monitor_hmp_line", "%s", line);
	info = strcmp(word, "info") == 0;
	if (info) {
		rest = take_word(rest, word, sizeof(word));
		if (!*word) {
			hmp_help(text, "info");
			return;
		}
	}
	command = command_find_hmp(word, info);
	if (command)
		run_found(monitor, command, word, rest, text);
	else
		say_unknown(text, word, info);
}

static void help_row(struct text *text, const struct command *command)
{
	text_printf(text, "%s %s -- %s\n", command->hmp, command->params, command->help);
}

/* The row that stands for all info commands in the help. */
static const struct command info_row = {.hmp = "info",
					.params = "[subcommand]",
					.help = "show various information about the system state"};

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct command *const *)a)->hmp, (*(const struct command *const *)b)->hmp);
}

void hmp_help(struct text *text, const char *topic)
{
	const struct command **rows = NULL;
	char word[64] = "", second[64] = "";
	size_t count = 0;
	bool info;

	if (topic)
		take_word(take_word(topic, word, sizeof(word)), second, sizeof(second));
	info = strcmp(word, "info") == 0;
	for (const struct command *c = command_next(NULL); c; c = command_next(c)) {
		bool is_info = c->hmp && strncmp(c->hmp, "info ", 5) == 0;
		const char *wanted = info ? second : word;

		if (!c->hmp || is_info != info || (*wanted && !command_names_include(c->hmp + (info ? 5 : 0), wanted)))
			continue;
		rows = xrealloc(rows, (count + 2) * sizeof(*rows));
		rows[count++] = c;
	}
	if (!count)
		say_unknown(text, info ? second : word, info);
	else if (!*word)
		rows[count++] = &info_row;
	if (count)
		qsort(rows, count, sizeof(*rows), by_name);
	for (size_t i = 0; i < count; i++)
		help_row(text, rows[i]);
	free(rows);
}

struct completion {
	const char *word;
	void (*each)(void *opaque, const char *word);
	void *opaque;
};

static void offer(const struct completion *completion, const char *word)
{
	if (word && strncmp(word, completion->word, strlen(completion->word)) == 0)
		completion->each(completion->opaque, word);
}

static void offer_commands(const struct completion *completion, bool info)
{
	for (const struct command *c = command_next(NULL); c; c = command_next(c)) {
		bool is_info = c->hmp && strncmp(c->hmp, "info ", 5) == 0;
		const char *names = c->hmp ? c->hmp + (is_info ? 5 : 0) : "";

		while (c->hmp && is_info == info && *names) {
			size_t length = strcspn(names, "|");
			char name[64];

			snprintf(name, sizeof(name), "%.*s", (int)length, names);
			/* "?" and one-letter names are for those who know them. */
			if (length > 1)
				offer(completion, name);
			names += length + (names[length] == '|');
		}
	}
	if (!info)
		offer(completion, "info");
}

static void offer_words(struct monitor *monitor, const struct completion *completion, enum argument_words words)
{
	static const char *const items[] = {"none", "int",       "exec",         "in_asm", "op",   "out_asm",
					    "cpu",  "cpu_reset", "guest_errors", "unimp",  "trace"};
	struct block *block = NULL;
	struct chardev *chardev;
	struct net_backend *netdev;

	switch (words) {
	case WORDS_NONE:
	case WORDS_FILES:
		break;
	case WORDS_COMMANDS:
		offer_commands(completion, false);
		break;
	case WORDS_INFO:
		offer_commands(completion, true);
		break;
	case WORDS_NETDEVS:
		for (size_t i = 0; (netdev = machine_netdev_at(monitor->machine, i)); i++)
			offer(completion, netdev->id);
		break;
	case WORDS_CHARDEVS:
		for (size_t i = 0; (chardev = machine_chardev_at(monitor->machine, i)); i++)
			offer(completion, chardev->id);
		break;
	case WORDS_DISKS:
		while ((block = block_next(monitor->machine->blocks, block)))
			if (machine_drive_id(monitor->machine, block))
				offer(completion, machine_drive_id(monitor->machine, block));
		break;
	case WORDS_LOG_ITEMS:
		for (size_t i = 0; i < ARRAY_SIZE(items); i++)
			offer(completion, items[i]);
		break;
	}
}

void hmp_complete(struct monitor *monitor, const char *line, void (*each)(void *opaque, const char *word), void *opaque)
{
	struct completion completion = {.each = each, .opaque = opaque};
	const struct command *command;
	const struct command_argument *argument;
	const char *rest, *blank = strrchr(line, ' ');
	unsigned index = 0;
	char word[64];
	bool info;

	completion.word = blank ? blank + 1 : line;
	rest = take_word(line, word, sizeof(word));
	if (!blank) {
		offer_commands(&completion, false);
		return;
	}
	info = strcmp(word, "info") == 0;
	if (info) {
		if (!strchr(rest, ' ')) {
			offer_commands(&completion, true);
			return;
		}
		rest = take_word(rest, word, sizeof(word));
	}
	command = command_find_hmp(word, info);
	if (!command)
		return;
	for (const char *c = rest; c < completion.word; c++)
		index += *c == ' ' && c[1] != ' ';
	argument = command->arguments;
	while (argument && argument->name && index--)
		argument++;
	if (argument && argument->name)
		offer_words(monitor, &completion, argument->words);
}
