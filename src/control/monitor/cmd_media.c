/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Media of drives: eject, change, and the blockdev-* commands that move trays and media one by one. */
#include "backend/block/block.h"
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"
#include "machine/machine.h"
#include "machine/media.h"

/* In QMP exactly one of device and id; HMP knows the former only. */
static struct device *drive_of(const struct command_call *call, const char **name, struct error *err)
{
	const char *device = argument_string(call, "device"), *id = argument_string(call, "id");

	if (!call->text && !device == !id) {
		error_set(err, EINVAL, "Need exactly one of 'device' and 'id'");
		return NULL;
	}
	*name = device ? device : id;
	return media_find(call->machine, device, id, err);
}

static json_t *run_open_tray(struct command_call *call, struct error *err)
{
	const char *name;
	struct device *drive = drive_of(call, &name, err);
	int ret =
		drive ? media_open_tray(call->machine, drive, name, argument_bool(call, "force", false), err) : -ENODEV;

	/* That the guest was asked is no error. */
	return ret == 0 || ret == -EINPROGRESS ? json_object() : NULL;
}

static json_t *run_close_tray(struct command_call *call, struct error *err)
{
	const char *name;
	struct device *drive = drive_of(call, &name, err);

	if (!drive)
		return NULL;
	media_close_tray(call->machine, drive);
	return json_object();
}

static json_t *run_remove(struct command_call *call, struct error *err)
{
	const char *name;
	struct device *drive = drive_of(call, &name, err);

	return drive && media_remove(call->machine, drive, name, err) == 0 ? json_object() : NULL;
}

static json_t *run_eject(struct command_call *call, struct error *err)
{
	const char *name;
	struct device *drive = drive_of(call, &name, err);

	if (!drive || media_open_tray(call->machine, drive, name, argument_bool(call, "force", false), err) < 0 ||
	    media_remove(call->machine, drive, name, err) < 0)
		return NULL;
	return json_object();
}

static json_t *run_insert(struct command_call *call, struct error *err)
{
	const char *name, *node = argument_string(call, "node-name");
	struct device *drive = drive_of(call, &name, err);
	struct block *block = drive ? block_find(call->machine->blocks, node) : NULL;

	if (drive && !block)
		error_set(err, ENOENT, "Node '%s' not found", node);
	return block && media_insert(call->machine, drive, name, block, err) == 0 ? json_object() : NULL;
}

static json_t *set_typed_password(struct command_call *call, const char *line, struct error *err)
{
	return monitor_set_vnc_password(call, NULL, line, err);
}

/* change vnc password PASSWORD: the one thing besides media that change changes. */
static json_t *change_vnc(struct command_call *call, const char *what, const char *password, struct error *err)
{
	if (strcmp(what, "password") && strcmp(what, "passwd"))
		text_printf(call->text, "Expected 'password' after 'vnc'\n");
	else if (password)
		return monitor_set_vnc_password(call, NULL, password, err);
	else if (!hmp_ask_secret(call->monitor, "Password: ", set_typed_password))
		text_printf(call->text, "terminal does not support password prompting\n");
	return json_object();
}

static json_t *run_change(struct command_call *call, struct error *err)
{
	static const char *const modes[] = {"retain", "read-only", "read-write"};
	const char *filename = argument_string(call, call->text ? "target" : "filename");
	const char *format = argument_string(call, call->text ? "arg" : "format");
	const char *mode = argument_string(call, "read-only-mode"), *name;
	struct device *drive;
	bool known = !mode;

	if (call->text && !strcmp(argument_string(call, "device"), "vnc"))
		return change_vnc(call, filename, format, err);
	for (unsigned i = 0; mode && i < ARRAY_SIZE(modes); i++)
		known |= strcmp(mode, modes[i]) == 0;
	if (!known) {
		error_set(err, EINVAL,
			  call->text ? "invalid parameter value: %s"
				     : "Parameter 'read-only-mode' does not accept value '%s'",
			  mode);
		return NULL;
	}
	drive = drive_of(call, &name, err);
	return drive && media_change(call->machine, drive, name, filename, format, mode ? mode : "retain",
				     argument_bool(call, "force", false), err) == 0
		       ? json_object()
		       : NULL;
}

static const struct command_argument drive_arguments[] = {
	{"device", ARGUMENT_STRING, true, WORDS_DISKS}, {"id", ARGUMENT_STRING, true}, {0}};
static const struct command_argument drive_force_arguments[] = {{"device", ARGUMENT_STRING, true, WORDS_DISKS},
								{"id", ARGUMENT_STRING, true},
								{"force", ARGUMENT_BOOL, true},
								{0}};

const struct command commands_media[] = {
	{"eject", NULL, "", "eject a removable medium", drive_force_arguments, run_eject},
	{NULL, "eject", "[-f] device", "eject a removable medium (use -f to force it)",
	 (const struct command_argument[]){
		 {"force", ARGUMENT_FLAG, true}, {"device", ARGUMENT_STRING, false, WORDS_DISKS}, {0}},
	 run_eject},
	{NULL, "change", "device [-f] filename [format [read-only-mode]]", "change a removable medium, optional format, use -f to force the operation",
	 (const struct command_argument[]){{"device", ARGUMENT_STRING, false, WORDS_DISKS},
					   {"force", ARGUMENT_FLAG, true},
					   {"target", ARGUMENT_STRING, false, WORDS_FILES},
					   {"arg", ARGUMENT_STRING, true},
					   {"read-only-mode", ARGUMENT_STRING, true},
					   {0}},
	 run_change},
	{"blockdev-change-medium", NULL, "", "put another medium into a drive",
	 (const struct command_argument[]){{"device", ARGUMENT_STRING, true},
					   {"id", ARGUMENT_STRING, true},
					   {"filename", ARGUMENT_STRING},
					   {"format", ARGUMENT_STRING, true},
					   {"force", ARGUMENT_BOOL, true},
					   {"read-only-mode", ARGUMENT_STRING, true},
					   {0}},
	 run_change},
	{"blockdev-open-tray", NULL, "", "open the tray of a drive", drive_force_arguments, run_open_tray},
	{"blockdev-close-tray", NULL, "", "close the tray of a drive", drive_arguments, run_close_tray},
	{"blockdev-remove-medium", NULL, "", "take the medium out of an open drive",
	 (const struct command_argument[]){{"id", ARGUMENT_STRING}, {0}}, run_remove},
	{"blockdev-insert-medium", NULL, "", "put a node into an open drive as its medium",
	 (const struct command_argument[]){{"id", ARGUMENT_STRING}, {"node-name", ARGUMENT_STRING}, {0}}, run_insert},
	{0},
};
