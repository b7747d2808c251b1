/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A monitor's client: the first byte chooses between QMP (stream, parse, argument check) and HMP (line editing,
 * argument parsing, completion). No command is run: there is no machine behind it.
 */
#include "control/monitor/monitor_impl.h"
#include "fuzz.h"

#include <string.h>

static void request(void *opaque, const char *text, const char *error)
{
	json_t *value = error ? NULL : json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(value, "execute"));
	const struct command *command = name ? command_find_qmp(name) : NULL;
	json_t *arguments = json_object_get(value, "arguments");
	struct error err = {0};

	if (command && json_is_object(arguments) && qmp_check_arguments(command, arguments, &err) < 0 && !err.msg[0])
		abort();
	json_decref(value);
}

static void each_word(void *opaque, const char *word)
{
	if (!word)
		abort();
}

static void line(void *opaque, const char *text)
{
	struct monitor *monitor = opaque;
	char name[64];
	int end = 0;
	const struct command *command;
	struct command_call call = {.monitor = monitor};
	struct error err = {0};
	struct text help = {0};

	if (sscanf(text, "%63s%n", name, &end) != 1)
		return;
	command = command_find_hmp(name, false);
	if (strcmp(name, "info") == 0) {
		int more = 0;

		if (sscanf(text + end, "%63s%n", name, &more) != 1)
			return;
		command = command_find_hmp(name, true);
		end += more;
	}
	if (command) {
		call.command = command;
		call.arguments = json_object();
		if (hmp_parse_arguments(&call, text + end, &err) < 0 && !err.msg[0])
			abort();
		json_decref(call.arguments);
	}
	hmp_help(&help, text);
	text_free(&help);
}

static void complete(void *opaque, const char *before, void (*each)(void *each_opaque, const char *word),
		     void *each_opaque)
{
	/* Ids of netdevs and chardevs would come from the machine. */
	if (strncmp(before, "help", 4) == 0 || strncmp(before, "info", 4) == 0 || !strchr(before, ' '))
		hmp_complete(opaque, before, each, each_opaque);
}

static void print(void *opaque, const char *data, size_t length)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct monitor monitor = {.format_kind = 'x', .format_size = 4};
	struct jsonstream stream = {.value = request};

	if (!size)
		return 0;
	if (data[0] == 'h') {
		monitor.readline = (struct readline){
			.prompt = "", .print = print, .line = line, .complete = complete, .opaque = &monitor};
		readline_feed(&monitor.readline, data + 1, size - 1);
		readline_free(&monitor.readline);
		hmp_complete(&monitor, "inf", each_word, NULL);
	} else {
		jsonstream_feed(&stream, data + 1, size - 1);
		jsonstream_reset(&stream);
	}
	return 0;
}
