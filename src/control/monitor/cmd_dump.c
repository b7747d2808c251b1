/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dump-guest-memory and what asks for it. Texts and members are qemu's. Left out: page tables (-p), the compressed
 * formats of makedumpfile, Windows' format, a dump in the background: detach is accepted, and the command comes back
 * when the file is complete, as DUMP_COMPLETED says.
 */
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/elf_core.h"
#include "control/monitor/monitor_impl.h"
#include "machine/machine.h"

#include <fcntl.h>
#include <unistd.h>

static json_t *dump_result(const struct machine *machine)
{
	static const char *const names[] = {
		[MACHINE_DUMP_NONE] = "none", [MACHINE_DUMP_COMPLETED] = "completed", [MACHINE_DUMP_FAILED] = "failed"};

	return json_pack("{s:I,s:s,s:I}", "total", (json_int_t)machine->dump.total, "status",
			 names[machine->dump.state], "completed", (json_int_t)machine->dump.completed);
}

static void emit_completed(struct machine *machine)
{
	json_t *data = json_pack("{s:o}", "result", dump_result(machine));
	char *text = json_dumps(data, JSON_COMPACT);

	machine_emit(machine, "DUMP_COMPLETED", text);
	free(text);
	json_decref(data);
}

static int dump_to(struct machine *machine, struct elf_core_range range, const char *path, struct error *err)
{
	int ret, fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool running = machine->state == RUN_RUNNING;
	uint64_t written;

	if (fd < 0)
		return error_set_errno(err, errno, "Could not open '%s'", path);
	if (running)
		machine_stop(machine, RUN_PAUSED);
	ret = elf_core_write(machine, range, fd, &written, err);
	if (close(fd) < 0 && ret == 0)
		ret = error_set_errno(err, errno, "dump: failed to write");
	machine->dump = (struct machine_dump){.state = ret == 0 ? MACHINE_DUMP_COMPLETED : MACHINE_DUMP_FAILED,
					      .total = written,
					      .completed = written};
	emit_completed(machine);
	if (running)
		machine_cont(machine, NULL);
	return ret;
}

/* The part of memory that is wanted: both of begin and length, or none. */
static int take_range(struct command_call *call, struct elf_core_range *range, struct error *err)
{
	const bool begin = json_object_get(call->arguments, "begin"),
		   length = json_object_get(call->arguments, "length");

	*range = (struct elf_core_range){.gpa = (uint64_t)argument_int(call, "begin", 0),
					 .bytes = (uint64_t)argument_int(call, "length", 0)};
	if (begin && !length)
		return error_set(err, EINVAL, "Parameter 'length' is missing");
	if (length && !begin)
		return error_set(err, EINVAL, "Parameter 'begin' is missing");
	if (length && (!range->bytes || range->gpa + range->bytes < range->gpa))
		return error_set(err, EINVAL, "Invalid parameter 'length'");
	return 0;
}

static json_t *dump(struct command_call *call, const char *path, struct error *err)
{
	struct elf_core_range range;

	if (take_range(call, &range, err) < 0)
		return NULL;
	if (argument_bool(call, "paging", false)) {
		error_set(err, ENOTSUP,
			  "Parameter 'paging' is not supported; debuggers find the page tables in a dump without it");
		return NULL;
	}
	return dump_to(call->machine, range, path, err) < 0 ? NULL : json_object();
}

static json_t *run_qmp_dump(struct command_call *call, struct error *err)
{
	const char *protocol = argument_string(call, "protocol"), *format = argument_string(call, "format");

	if (format && strcmp(format, "elf") != 0) {
		if (!strcmp(format, "kdump-zlib") || !strcmp(format, "kdump-lzo") || !strcmp(format, "kdump-snappy") ||
		    !strcmp(format, "win-dmp"))
			error_set(err, ENOTSUP, "Format '%.50s' is not supported; use 'elf'", format);
		else
			error_set(err, EINVAL, "Parameter 'format' does not accept value '%.50s'", format);
		return NULL;
	}
	if (strncmp(protocol, "file:", 5) != 0) {
		error_set(err, EINVAL, "Invalid parameter 'protocol': only file:PATH is supported");
		return NULL;
	}
	return dump(call, protocol + 5, err);
}

static json_t *run_hmp_dump(struct command_call *call, struct error *err)
{
	static const char *const formats[] = {"windmp", "zlib", "lzo", "snappy"};

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		if (!argument_bool(call, formats[i], false))
			continue;
		error_set(err, ENOTSUP, "Format '%s' (-%c) is not supported; leave it out for an ELF file", formats[i],
			  formats[i][0]);
		return NULL;
	}
	return dump(call, argument_string(call, "filename"), err);
}

static json_t *run_query_dump(struct command_call *call, struct error *err)
{
	return dump_result(call->machine);
}

static void show_dump(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "Status: %s\n", json_string_value(json_object_get(result, "status")));
}

static json_t *run_capability(struct command_call *call, struct error *err)
{
	return json_pack("{s:[s]}", "formats", "elf");
}

const struct command commands_dump[] = {
	{"dump-guest-memory", NULL, "", "write guest memory and registers to an ELF core file",
	 (const struct command_argument[]){{"paging", ARGUMENT_BOOL},
					   {"protocol", ARGUMENT_STRING},
					   {"detach", ARGUMENT_BOOL, true},
					   {"begin", ARGUMENT_INT, true},
					   {"length", ARGUMENT_INT, true},
					   {"format", ARGUMENT_STRING, true},
					   {0}},
	 run_qmp_dump},
	{NULL, "dump-guest-memory", "[-p] [-d] [-z|-l|-s|-w] filename [begin length]",
	 "dump guest memory into file 'filename', an ELF core file for crash and gdb. begin, length: of physical "
	 "memory, what is "
	 "wanted. -d is accepted; -p, -z, -l, -s and -w are not supported",
	 (const struct command_argument[]){{"paging", ARGUMENT_FLAG, true},
					   {"detach", ARGUMENT_FLAG, true},
					   {"windmp", ARGUMENT_FLAG, true},
					   {"zlib", ARGUMENT_FLAG, true},
					   {"lzo", ARGUMENT_FLAG, true},
					   {"snappy", ARGUMENT_FLAG, true},
					   {"filename", ARGUMENT_STRING, false, WORDS_FILES},
					   {"begin", ARGUMENT_INT, true},
					   {"length", ARGUMENT_INT, true},
					   {0}},
	 run_hmp_dump},
	{"query-dump", "info dump", "", "Display the latest dump status", NULL, run_query_dump, show_dump},
	{"query-dump-guest-memory-capability", NULL, "", "formats of dump-guest-memory", NULL, run_capability},
	{0},
};
