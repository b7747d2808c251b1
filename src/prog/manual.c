/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes xuni-vmm(1) at build time, from the tables that also parse: options, monitor commands, trace events. */
#include "config/keys.h"
#include "config/version.h"
#include "control/monitor/command.h"
#include "control/monitor/trace.h"

#include <string.h>

/* Roff takes a backslash as an escape, and a hyphen for typesetting. */
static void print_plain(const char *text)
{
	for (; *text; text++)
		printf(*text == '\\' ? "\\e" : *text == '-' ? "\\-" : "%c", *text);
}

static void print_commands(bool info)
{
	for (const struct command *c = command_next(NULL); c; c = command_next(c)) {
		if (!c->hmp || (strncmp(c->hmp, "info ", 5) == 0) != info)
			continue;
		printf(".TP\n\\fB");
		print_plain(c->hmp);
		printf("\\fR ");
		print_plain(c->params);
		printf("\n");
		print_plain(c->help);
		if (c->qmp) {
			printf(" (QMP: \\fB");
			print_plain(c->qmp);
			printf("\\fR)");
		}
		printf("\n");
	}
}

int main(void)
{
	printf(".TH XUNI-VMM 1 \"\" \"xuni %s\"\n"
	       ".SH NAME\nxuni-vmm \\- run a virtual machine; takes qemu-kvm's command line\n"
	       ".SH SYNOPSIS\n\\fBxuni-vmm\\fR [\\fIoptions\\fR] [\\fIdisk_image\\fR]\n"
	       ".SH OPTIONS\nOne or two dashes. What is not supported is an error, never ignored.\n",
	       XUNI_VERSION);
	keys_print_manual(stdout);
	printf(".SH MONITOR\nCommands of the monitor for people (\\-monitor; Ctrl\\-a c on the terminal with "
	       "\\-nographic).\n");
	print_commands(false);
	print_commands(true);
	printf(".SH TRACE EVENTS\n");
	for (const struct trace_event *event = trace_events; event->name; event++)
		printf(".TP\n\\fB%s\\fR\n%s\n", event->name, event->help);
	printf(".SH EXIT STATUS\n0 when the guest powered off or the monitor ended it, 1 on an error (one line on "
	       "standard error "
	       "says which); a guest with isa\\-debug\\-exit chooses another.\n");
	return 0;
}
