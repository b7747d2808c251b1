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

static const char begin[] =
	".TH XUNI-VMM 1 \"\" \"xuni " XUNI_VERSION "\"\n"
	/* Options break badly when they are hyphenated or spread over the line. */
	".nh\n.ad l\n"
	".SH NAME\nxuni-vmm \\- run a virtual machine; takes qemu-kvm's command line\n"
	".SH SYNOPSIS\n\\fBxuni-vmm\\fR [\\fIoptions\\fR] [\\fIdisk_image\\fR]\n"
	".SH DESCRIPTION\n"
	"One process that runs one machine, with /dev/kvm or without it. "
	"\\fBxuni run\\fR is this program, and so is a link to it named \\fBxuni\\-qemu\\fR or \\fBqemu\\-system\\-x86_64\\fR.\n"
	".PP\n"
	"Options begin with one or two dashes. What is unknown or not supported is an error that names it, never ignored. "
	"Values that are lists are written \\fIkey\\fR=\\fIvalue\\fR,\\fIkey\\fR=\\fIvalue\\fR; a comma inside a value is "
	"doubled.\n"
	".SH EXAMPLES\n"
	"A kernel on the terminal; Ctrl\\-a x ends it:\n.PP\n.nf\n"
	"    xuni-vmm \\-m 512M \\-nographic \\-kernel vmlinuz \\-initrd initrd.img \\-append console=ttyS0\n.fi\n"
	".PP\nTwo CPUs, a disk, a network through which port 2222 of the host leads to the guest's ssh:\n.PP\n.nf\n"
	"    xuni-vmm \\-smp 2 \\-m 1G \\-nographic \\-kernel vmlinuz \\-append \"root=/dev/vda console=ttyS0\" \\e\n"
	"        \\-drive file=disk.raw,format=raw,if=virtio \\-nic user,model=virtio-net-pci,hostfwd=tcp::2222\\-:22\n.fi\n"
	".PP\nIn the background, with its console and QMP on sockets:\n.PP\n.nf\n"
	"    xuni-vmm \\-daemonize \\-pidfile vm.pid \\-display none \\-kernel vmlinuz \\-append console=ttyS0 \\e\n"
	"        \\-serial unix:vm.console,server=on,wait=off \\-qmp unix:vm.qmp,server=on,wait=off\n.fi\n"
	".PP\nA PC that starts from a disc, with an empty disk beside it; any VNC viewer shows its screen (127.0.0.1:5900, or the port that is said):\n"
	".PP\n.nf\n"
	"    xuni-img create \\-f qcow2 disk.qcow2 20G\n"
	"    xuni-vmm \\-m 1G \\-hda disk.qcow2 \\-cdrom installer.iso \\-boot once=d\n.fi\n"
	".PP\nThe same with UEFI, whose variables last in a file:\n.PP\n.nf\n"
	"    cp /usr/share/OVMF/OVMF_VARS_4M.fd vars.fd\n"
	"    xuni-vmm \\-m 1G \\-hda disk.qcow2 \\-cdrom installer.iso \\-boot once=d \\e\n"
	"        \\-drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \\e\n"
	"        \\-drive if=pflash,format=raw,file=vars.fd\n.fi\n"
	".SH OPTIONS\n";

static const char keys[] =
	".SH KEYS\n"
	"On the terminal with \\-nographic, or \\-serial mon:stdio:\n"
	".TP\n\\fBCtrl\\-a x\\fR\nend the machine\n"
	".TP\n\\fBCtrl\\-a c\\fR\nchange between console and monitor\n"
	".TP\n\\fBCtrl\\-a h\\fR\nhelp, with the other keys\n"
	".TP\n\\fBCtrl\\-a Ctrl\\-a\\fR\nCtrl\\-a itself\n"
	".PP\nIn a VNC viewer of \\-vnc, and with Alt alone under \\-display curses:\n"
	".TP\n\\fBCtrl\\-Alt\\-1\\fR\nthe machine's screen\n"
	".TP\n\\fBCtrl\\-Alt\\-2\\fR, \\fBCtrl\\-Alt\\-3\\fR\nthe text consoles: monitor, serial port, unless they were led elsewhere\n"
	".TP\n\\fBCtrl\\-PageUp\\fR, \\fBCtrl\\-PageDown\\fR\nscroll a text console\n";

static const char end[] =
	".SH SIGNALS\nSIGTERM, SIGINT and SIGHUP end the machine: disks are written out, nothing is told to the guest.\n"
	".SH EXIT STATUS\n0 when the guest powered off, or a monitor or a signal ended it; 1 on an error (one line on standard "
	"error says which); a guest with isa\\-debug\\-exit chooses another.\n"
	".SH SEE ALSO\n\\fBxuni\\fR(1)\n";

int main(void)
{
	fputs(begin, stdout);
	keys_print_manual(stdout);
	fputs(keys, stdout);
	printf(".SH MONITOR\nCommands of the monitor for people (\\-monitor, or Ctrl\\-a c); \\fBhelp\\fR shows them too.\n");
	print_commands(false);
	print_commands(true);
	printf(".SH TRACE EVENTS\nFor \\fB\\-trace\\fR; * and ? stand for any characters.\n");
	for (const struct trace_event *event = trace_events; event->name; event++)
		printf(".TP\n\\fB%s\\fR\n%s\n", event->name, event->help);
	fputs(end, stdout);
	return 0;
}
