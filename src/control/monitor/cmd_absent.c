/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What programs and people ask of a machine though it has none of it: the answers are qemu's where there is nothing to
 * tell. Each row goes as soon as the thing exists.
 */
#include "base/util.h"
#include "control/monitor/commands.h"

struct absence {
	const char *qmp, *hmp; /* as in the command's row */
	const char *result;    /* JSON; NULL: an error, which is human */
	const char *human;
};

#define NO_TEXT "{\"human-readable-text\": \"\"}"

static const struct absence absences[] = {
	{"query-block-jobs", "info block-jobs", "[]", "No active jobs\n"},
	{"query-jobs", NULL, "[]", ""},
	{"query-block-exports", NULL, "[]", ""},
	{"query-fdsets", NULL, "[]", ""},
	{"query-pr-managers", NULL, "[]", ""},
	{"query-yank", NULL, "[]", ""},
	{"query-acpi-ospm-status", NULL, "[]", ""},
	{"query-tpm", "info tpm", "[]", ""},
	{"query-tpm-models", NULL, "[]", ""},
	{"query-tpm-types", NULL, "[]", ""},
	{"query-spice", "info spice", "{\"migrated\": false, \"enabled\": false, \"mouse-mode\": \"client\"}",
	 "Server: disabled\n"},
	{"query-replay", "info replay", "{\"icount\": 0, \"mode\": \"none\"}", "Record/replay is not active\n"},
	{"query-sev", "info sev",
	 "{\"enabled\": false, \"api-minor\": 0, \"handle\": 0, \"state\": \"uninit\", \"api-major\": 0, \"build-id\": "
	 "0, "
	 "\"policy\": 0}",
	 "SEV is not enabled\n"},
	{"x-query-rdma", "info rdma", NO_TEXT, ""},
	{"x-query-opcount", "info opcount", "{\"human-readable-text\": \"[TCG profiler not compiled]\\n\"}",
	 "[TCG profiler not compiled]\n"},
	{NULL, "info capture", "{}", ""},
	{"x-query-usb", "info usb", NULL, "USB support not enabled"},
	{"x-query-profile", "info profile", NULL, "Internal profiler not compiled"},
	{"query-sgx", "info sgx", NULL, "No EPC regions defined, SGX not available"},
};

static const struct absence *absence_of(const struct command *command)
{
	for (size_t i = 0; i < ARRAY_SIZE(absences); i++) {
		const struct absence *absence = &absences[i];

		if (command->qmp ? absence->qmp && !strcmp(absence->qmp, command->qmp)
				 : absence->hmp && !strcmp(absence->hmp, command->hmp))
			return absence;
	}
	return NULL;
}

static json_t *run_absent(struct command_call *call, struct error *err)
{
	const struct absence *absence = absence_of(call->command);

	if (absence->result)
		return json_loads(absence->result, 0, NULL);
	error_set(err, ENOTSUP, "%s", absence->human);
	return NULL;
}

static void show_absent(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "%s", absence_of(call->command)->human);
}

const struct command commands_absent[] = {
	{"query-block-jobs", "info block-jobs", "", "show progress of ongoing block device operations", NULL,
	 run_absent, show_absent},
	{"query-jobs", NULL, "", "background jobs", NULL, run_absent},
	{"query-block-exports", NULL, "", "what of disks is exported", NULL, run_absent},
	{"query-fdsets", NULL, "", "sets of file descriptors", NULL, run_absent},
	{"query-pr-managers", NULL, "", "managers of persistent reservations", NULL, run_absent},
	{"query-yank", NULL, "", "what can be yanked", NULL, run_absent},
	{"query-acpi-ospm-status", NULL, "", "what the guest said of plugged devices", NULL, run_absent},
	{"query-tpm", "info tpm", "", "show the TPM device", NULL, run_absent, show_absent},
	{"query-tpm-models", NULL, "", "TPM models", NULL, run_absent},
	{"query-tpm-types", NULL, "", "TPM back ends", NULL, run_absent},
	{"query-spice", "info spice", "", "show the spice server status", NULL, run_absent, show_absent},
	{"query-replay", "info replay", "", "show record/replay information", NULL, run_absent, show_absent},
	{"query-sev", "info sev", "", "show SEV information", NULL, run_absent, show_absent},
	{"x-query-rdma", "info rdma", "", "show RDMA state", NULL, run_absent, show_absent},
	{"x-query-opcount", "info opcount", "", "show dynamic compiler opcode counters", NULL, run_absent, show_absent},
	{NULL, "info capture", "", "show capture information", NULL, run_absent, show_absent},
	{"x-query-usb", "info usb", "", "show guest USB devices", NULL, run_absent, show_absent},
	{"x-query-profile", "info profile", "", "show profiling information", NULL, run_absent, show_absent},
	{"query-sgx", "info sgx", "", "show intel SGX information", NULL, run_absent, show_absent},
	{0},
};
