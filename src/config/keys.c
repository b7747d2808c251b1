/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of options, and what is derived from it: look-up, suggestion, help, manual page. */
#include "config/keys.h"

#include "base/options.h"
#include "base/util.h"
#include "config/parse.h"

#include <stdlib.h>

#define FIELD(f) offsetof(struct domain_config, f)
#define LATER(n, a, s)                                                                                                 \
	{                                                                                                              \
		.name = n, .argument = a, .section = s, .kind = KEY_LATER                                              \
	}
/* help: what to do instead. */
#define LATER_INSTEAD(n, a, s, h)                                                                                      \
	{                                                                                                              \
		.name = n, .argument = a, .section = s, .kind = KEY_LATER, .help = h                                   \
	}

const char *const key_section_titles[SECTIONS] = {
	[SECTION_STANDARD] = "Standard options",
	[SECTION_BLOCK] = "Block device options",
	[SECTION_NETWORK] = "Network options",
	[SECTION_CHARACTER] = "Character device options",
	[SECTION_BOOT] = "Boot image or kernel specific",
	[SECTION_DISPLAY] = "Display options",
	[SECTION_DEBUG] = "Debug and expert options",
};

/* clang-format off */
const struct key config_keys[] = {
	/* Standard options */
	{ "h", NULL, "display this help and exit", SECTION_STANDARD, KEY_WORD, .word = word_help },
	{ "help", NULL, NULL, SECTION_STANDARD, KEY_WORD, .word = word_help },
	{ "version", NULL, "display version information and exit", SECTION_STANDARD, KEY_WORD, .word = word_version },
	{ "v", NULL, "say what is chosen (engine, back ends) and why", SECTION_STANDARD, KEY_WORD, .word = word_verbose },
	{ "machine", "[type=]name[,prop[=value][,...]]",
	  "selects the machine ('-machine help' for the list)\n"
	  "accel=accel1[:accel2[:...]] selects the engine, in order of preference\n"
	  "memory-backend='id' takes RAM from a -object memory-backend-*\n"
	  "pflash0='node', pflash1='node' are the firmware's flash chips: code, and variables\n"
	  "hpet=on|off: with or without a HPET\n"
	  "dump-guest-core=on|off, mem-merge=on|off are marks on guest RAM",
	  SECTION_STANDARD, KEY_LIST, .list = list_machine, .implied = "type", .group = "machine" },
	{ "M", "", NULL, SECTION_STANDARD, KEY_LIST, .list = list_machine, .implied = "type" },
	{ "cpu", "cpu", "select CPU ('-cpu help' for the list)", SECTION_STANDARD, KEY_WORD, .word = word_cpu },
	{ "accel", "[accel=]accelerator[,accelerator...][,prop=value]",
	  "select the engine, several are tried in order (use 'help' for a list)\n"
	  "tb-size=n (translate) bounds translated code and its tables of all CPUs, in MiB [default=512 a CPU, at most 768]\n"
	  "verify=on|off|n (translate): the interpreter executes all that was translated as well (n: each block n times),\n"
	  "and the machine stops where the two part",
	  SECTION_STANDARD, KEY_LIST, .list = list_accel, .implied = "accel", .group = "accel" },
	{ "enable-kvm", NULL, "use KVM and nothing else; same as -accel kvm", SECTION_STANDARD, KEY_WORD, .word = word_enable_kvm },
	{ "smp", "[[cpus=]n][,maxcpus=n][,sockets=n][,dies=n][,cores=n][,threads=n]",
	  "set the number of CPUs to 'n' [default=1] and how they are grouped",
	  SECTION_STANDARD, KEY_LIST, .list = list_smp, .implied = "cpus", .group = "smp-opts", .describes = true },
	{ "global", "driver.property=value",
	  "set a global default for a device property;\nalso driver=driver,property=property,value=value",
	  SECTION_STANDARD, KEY_LIST, .list = list_global, .group = "global" },
	{ "boot", "[order=drives][,once=drives][,menu=on|off][,splash=file][,splash-time=ms]\n"
	  "      [,reboot-timeout=ms][,strict=on|off]",
	  "'drives': floppy (a), hard disk (c), CD-ROM (d), network (n)",
	  SECTION_STANDARD, KEY_LIST, .list = list_boot, .implied = "order", .group = "boot-opts", .describes = true },
	{ "m", "[size=]megs[,slots=n,maxmem=size]",
	  "guest RAM [default=128 MiB]; suffixes M and G",
	  SECTION_STANDARD, KEY_LIST, .list = list_memory, .implied = "size", .group = "memory" },
	{ "mem-path", "path", "take guest RAM from a file in 'path' (hugetlbfs for instance)", SECTION_STANDARD, KEY_STRING, FIELD(ram_path) },
	{ "mem-prealloc", NULL, "touch all guest RAM before the machine starts", SECTION_STANDARD, KEY_FLAG, FIELD(ram_prealloc) },
	{ "device", "driver[,prop[=value][,...]]",
	  "add a device; also as a JSON object\n"
	  "use '-device help' to print all drivers\n"
	  "use '-device driver,help' to print all properties",
	  SECTION_STANDARD, KEY_LIST, .list = list_device, .implied = "driver", .group = "device", .group_id = "id", .json = true },
	{ "name", "string1[,process=string2][,debug-threads=on|off]",
	  "set the name of the guest, and of the process", SECTION_STANDARD, KEY_LIST, .list = list_name, .implied = "guest", .group = "name" },
	{ "uuid", "%08x-%04x-%04x-%04x-%012x", "specify machine UUID", SECTION_STANDARD, KEY_WORD, .word = word_uuid },
	{ "smbios", "type=n[,prop=value...]",
	  "specify SMBIOS fields (types 0, 1, 2, 3, 4, 11 with value= and path=, 17)",
	  SECTION_STANDARD, KEY_LIST, .list = list_smbios, .group = "smbios" },

	/* Block device options */
	{ "fda", "file", "use 'file' as floppy disk 0 image", SECTION_BLOCK, KEY_WORD, .word = word_fd, .field = 0 },
	{ "fdb", "file", "use 'file' as floppy disk 1 image", SECTION_BLOCK, KEY_WORD, .word = word_fd, .field = 1 },
	{ "hda", "file", "use 'file' as hard disk 0 image", SECTION_BLOCK, KEY_WORD, .word = word_hd, .field = 0 },
	{ "hdb", "file", "use 'file' as hard disk 1 image", SECTION_BLOCK, KEY_WORD, .word = word_hd, .field = 1 },
	{ "hdc", "file", "use 'file' as hard disk 2 image", SECTION_BLOCK, KEY_WORD, .word = word_hd, .field = 2 },
	{ "hdd", "file", "use 'file' as hard disk 3 image", SECTION_BLOCK, KEY_WORD, .word = word_hd, .field = 3 },
	{ "cdrom", "file", "use 'file' as CD-ROM image", SECTION_BLOCK, KEY_WORD, .word = word_cdrom },
	{ "pflash", "file", "use 'file' as a flash chip of the firmware", SECTION_BLOCK, KEY_WORD, .word = word_pflash },
	{ "blockdev", "[driver=]driver[,node-name=N][,discard=ignore|unmap]\n"
	  "          [,cache.direct=on|off][,cache.no-flush=on|off][,read-only=on|off]\n"
	  "          [,auto-read-only=on|off][,driver specific parameters...]",
	  "open a block node; also as a JSON object", SECTION_BLOCK, KEY_LIST, .list = list_blockdev, .implied = "driver", .json = true },
	{ "drive", "[file=file][,if=type][,bus=n][,unit=m][,media=d][,index=i]\n"
	  "       [,cache=writethrough|writeback|none|directsync|unsafe][,format=f]\n"
	  "       [,aio=threads|native|io_uring][,readonly=on|off][,discard=ignore|unmap]\n"
	  "       [,werror=ignore|stop|report|enospc][,rerror=ignore|stop|report]\n"
	  "       [,snapshot=on|off][,copy-on-read=on|off][,detect-zeroes=on|off|unmap]\n"
	  "       [,id=name][,node-name=name][,serial=s]\n"
	  "       [[,bps=b]|[[,bps_rd=r][,bps_wr=w]]][[,iops=i]|[[,iops_rd=r][,iops_wr=w]]]\n"
	  "       [[,bps_max=bm]|[[,bps_rd_max=rm][,bps_wr_max=wm]]]\n"
	  "       [[,iops_max=im]|[[,iops_rd_max=irm][,iops_wr_max=iwm]]]\n"
	  "       [,iops_size=is][,group=g][,throttling.bps-total-max-length=seconds][...]\n"
	  "       [,file.driver=...][,driver specific parameters...]",
	  "use 'file' (a path, URI or json:{...}) as a drive image", SECTION_BLOCK, KEY_LIST, .list = list_drive, .group = "drive", .group_id = "id" },

	{ "snapshot", NULL, "write to temporary files instead of the disk image files", SECTION_BLOCK, KEY_FLAG, FIELD(snapshot) },

	/* Network options */
	{ "netdev", "type,id=str[,prop=value...]",
	  "configure a network back end; a -device with netdev=str uses it\n"
	  "user: NAT inside this process (hostfwd=rule, guestfwd=rule, restrict=on|off, net=, dhcpstart=, dns=, tftp=dir...)\n"
	  "tap: a host interface (ifname=, script=, downscript=, fd=...)",
	  SECTION_NETWORK, KEY_LIST, .list = list_netdev, .implied = "type", .group = "netdev", .group_id = "id", .json = true },
	{ "nic", "[type][,model=m][,mac=addr][,prop=value...]",
	  "a network back end and the NIC on it in one; 'none': no default NIC",
	  SECTION_NETWORK, KEY_LIST, .list = list_nic, .implied = "type", .group = "nic" },
	{ "net", "nic[,macaddr=addr][,model=type][,netdev=id] | user[,...] | tap[,...] | none",
	  "the old way to say -nic", SECTION_NETWORK, KEY_WORD, .word = word_net },

	/* Character device options */
	{ "chardev", "type,id=id[,mux=on|off][,logfile=path][,prop=value...]",
	  "configure a character back end: stdio, file, pipe, pty, socket, null, ringbuf, vc",
	  SECTION_CHARACTER, KEY_LIST, .list = list_chardev, .implied = "backend", .group = "chardev", .group_id = "id" },
	{ "serial", "dev", "redirect the serial port to char device 'dev' (stdio, mon:stdio, vc, file:path, unix:path,server=on, /dev/ttyS0, ...)",
	  SECTION_CHARACTER, KEY_WORD, .word = word_serial },
	{ "monitor", "dev", "redirect the monitor to char device 'dev'", SECTION_CHARACTER, KEY_WORD, .word = word_monitor },
	{ "mon", "[chardev=]name[,mode=readline|control][,pretty=on|off]",
	  "a monitor on a -chardev: for people, or (control) QMP", SECTION_CHARACTER, KEY_LIST, .list = list_mon, .implied = "chardev", .group = "mon", .group_id = "id" },
	{ "qmp", "dev", "like -monitor but opens in QMP mode", SECTION_CHARACTER, KEY_WORD, .word = word_qmp },
	{ "qmp-pretty", "dev", "like -qmp but uses pretty JSON formatting", SECTION_CHARACTER, KEY_WORD, .word = word_qmp_pretty },
	{ "debugcon", "dev", "redirect the debug console (port 0xe9) to char device 'dev'", SECTION_CHARACTER, KEY_WORD, .word = word_debugcon },
	{ "parallel", "none", "no parallel port (there is none)", SECTION_CHARACTER, KEY_WORD, .word = word_parallel },

	/* Boot image or kernel specific */
	{ "bios", "file", "use 'file' as firmware instead of SeaBIOS", SECTION_BOOT, KEY_STRING, FIELD(bios) },
	{ "L", "path", "look for firmware and option ROMs in this directory first; 'help' prints all of them", SECTION_BOOT, KEY_WORD, .word = word_firmware_dir },
	{ "option-rom", "[romfile=]file[,bootindex=n]", "give the firmware an option ROM to run", SECTION_BOOT, KEY_LIST, .list = list_option_rom, .implied = "romfile", .group = "option-rom" },
	{ "kernel", "bzImage", "use 'bzImage' (or an ELF or multiboot image) as kernel", SECTION_BOOT, KEY_STRING, FIELD(kernel) },
	{ "append", "cmdline", "use 'cmdline' as kernel command line", SECTION_BOOT, KEY_STRING, FIELD(append) },
	{ "initrd", "file", "use 'file' as initial ram disk", SECTION_BOOT, KEY_STRING, FIELD(initrd) },

	/* Display options */
	{ "nographic", NULL, "no display; serial port and monitor on the terminal (Ctrl-a h helps)", SECTION_DISPLAY, KEY_WORD, .word = word_nographic },
	{ "display", "none | curses | vnc=display[,option=value...]", "select display type ('-display help' for the list)\n"
	  "without any, a machine that starts by firmware has a VNC server on the first free display of localhost", SECTION_DISPLAY, KEY_WORD, .word = word_display },
	{ "curses", NULL, "shorthand for -display curses", SECTION_DISPLAY, KEY_WORD, .word = word_curses },
	{ "vnc", "host:display | unix:path | none [,password=on | password-secret=id][,to=display][,websocket=on|port][,reverse=on][,share=policy]\n"
	  "                [,tls-creds=id | tls-cert=file,tls-key=file][,clipboard=on][,connections=n][,display=id]",
	  "start a VNC server; clipboard=on types into the guest what clients copy", SECTION_DISPLAY, KEY_LIST,
	  .list = list_vnc, .implied = "vnc", .group = "vnc", .group_id = "id" },
	{ "k", "language", "key map of VNC clients that tell characters only ('de', 'fr'; default en-us)", SECTION_DISPLAY, KEY_STRING, FIELD(keyboard) },
	{ "vga", "[std|cirrus|none]", "select video card type", SECTION_DISPLAY, KEY_WORD, .word = word_vga },

	/* Debug and expert options */
	{ "object", "TYPENAME[,PROP1=VALUE1,...]",
	  "create an object: iothread, memory-backend-memfd, memory-backend-file,\n"
	  "memory-backend-ram, rng-random, rng-builtin, throttle-group, secret, tls-creds-x509, tls-creds-anon; also as a JSON object",
	  SECTION_DEBUG, KEY_LIST, .list = list_object, .implied = "qom-type", .group = "object", .group_id = "id", .json = true },
	{ "fw_cfg", "[name=]name,file=file | string=str",
	  "add a named fw_cfg entry", SECTION_DEBUG, KEY_LIST, .list = list_fw_cfg, .implied = "name", .group = "fw_cfg" },
	{ "rtc", "[base=utc|localtime|<datetime>][,clock=host|rt|vm][,driftfix=none|slew]",
	  "set the real-time clock", SECTION_DEBUG, KEY_LIST, .list = list_rtc, .group = "rtc", .describes = true },
	{ "nodefaults", NULL, "don't create default devices", SECTION_DEBUG, KEY_FLAG, FIELD(no_defaults) },
	{ "no-user-config", NULL, "do not load user configuration files (there are none)", SECTION_DEBUG, KEY_FLAG, FIELD(no_user_config) },
	{ "no-reboot", NULL, "exit instead of rebooting", SECTION_DEBUG, KEY_FLAG, FIELD(no_reboot) },
	{ "no-shutdown", NULL, "stop before shutdown", SECTION_DEBUG, KEY_FLAG, FIELD(no_shutdown) },
	{ "action", "reboot=reset|shutdown | shutdown=poweroff|pause | panic=none|pause|shutdown|exit-failure |\n"
	  "        watchdog=reset|shutdown|poweroff|inject-nmi|pause|debug|none",
	  "what to do when the guest does that", SECTION_DEBUG, KEY_LIST, .list = list_action, .group = "action", .describes = true },
	{ "watchdog-action", "reset|shutdown|poweroff|inject-nmi|pause|debug|none",
	  "what to do when the watchdog (-device i6300esb) has run out", SECTION_DEBUG, KEY_WORD, .word = word_watchdog_action },
	{ "no-acpi", NULL, NULL, SECTION_DEBUG, KEY_WORD, .word = word_machine_off },
	{ "no-hpet", NULL, "disable HPET", SECTION_DEBUG, KEY_WORD, .word = word_machine_off },
	{ "S", NULL, "freeze CPU at startup (use 'c' to start execution)", SECTION_DEBUG, KEY_FLAG, FIELD(start_paused) },
	{ "gdb", "dev", "accept a gdb connection on 'dev': tcp:[host]:port, unix:path, chardev:id, stdio; 'none'. Until gdb connects\n"
	  "the guest runs, or stands still (-S). In 16-bit and 32-bit code gdb's 'maint packet Qxuni.Description:mode' and\n"
	  "'unset tdesc filename' give gdb the registers and the disassembly of that mode", SECTION_DEBUG, KEY_STRING, FIELD(gdb) },
	{ "s", NULL, "shorthand for -gdb tcp::1234", SECTION_DEBUG, KEY_WORD, .word = word_s },
	{ "pidfile", "file", "write PID to 'file'", SECTION_DEBUG, KEY_STRING, FIELD(pidfile) },
	{ "daemonize", NULL, "go to the background once the machine is ready", SECTION_DEBUG, KEY_FLAG, FIELD(daemonize) },
	{ "icount", "shift=0|auto", "deterministic: the clock advances with executed instructions, one nanosecond each (engine interp)", SECTION_DEBUG, KEY_WORD, .word = word_icount },
	{ "readconfig", "file", "read options from 'file' (sections [device \"id\"], [drive], ...)", SECTION_DEBUG, KEY_WORD, .word = word_readconfig },
	{ "d", "item1,...", "enable logging of specified items (use '-d help' for a list)", SECTION_DEBUG, KEY_WORD, .word = word_log_items },
	{ "D", "logfile", "output log to logfile (default stderr)", SECTION_DEBUG, KEY_STRING, FIELD(log_path) },
	{ "perfmap", NULL, "name translated code in /tmp/perf-PID.map, for Linux perf", SECTION_DEBUG, KEY_FLAG, FIELD(perf_map) },
	{ "trace", "[enable=]pattern", "log events whose names match 'pattern' ('-trace help' for a list)", SECTION_DEBUG, KEY_WORD, .word = word_trace },
	{ "msg", "[timestamp=on|off][,guest-name=on|off]", "what messages begin with", SECTION_DEBUG, KEY_LIST, .list = list_msg, .group = "msg", .describes = true },
	{ "overcommit", "[mem-lock=off][,cpu-pm=off]", "memory is not locked, and the host's CPUs are not left to the guest: more is not supported yet",
	  SECTION_DEBUG, KEY_LIST, .list = list_overcommit, .group = "overcommit", .describes = true },

	/* Known, not supported yet */
	LATER("acpitable", "", SECTION_STANDARD), LATER("add-fd", "", SECTION_STANDARD), LATER("audio", "", SECTION_STANDARD),
	LATER("audio-help", NULL, SECTION_STANDARD), LATER("audiodev", "", SECTION_STANDARD), LATER("set", "", SECTION_STANDARD),
	LATER("async-teardown", NULL, SECTION_STANDARD), LATER("numa", "", SECTION_STANDARD),
	LATER_INSTEAD("usb", NULL, SECTION_STANDARD, "-device virtio-tablet-pci is a pointer, -drive if=virtio a disk"),
	LATER_INSTEAD("usbdevice", "", SECTION_STANDARD, "-device virtio-tablet-pci, virtio-mouse-pci and virtio-keyboard-pci are"),
	LATER("soundhw", "", SECTION_STANDARD),
	LATER("sd", "", SECTION_BLOCK),
	LATER("mtdblock", "", SECTION_BLOCK),
	LATER("fsdev", "", SECTION_BLOCK), LATER("virtfs", "", SECTION_BLOCK), LATER("iscsi", "", SECTION_BLOCK),
	LATER_INSTEAD("spice", "", SECTION_DISPLAY, KEY_DISPLAY_INSTEAD), LATER_INSTEAD("sdl", NULL, SECTION_DISPLAY, KEY_DISPLAY_INSTEAD),
	LATER_INSTEAD("full-screen", NULL, SECTION_DISPLAY, "a VNC viewer of -vnc :0 can fill the screen"),
	LATER_INSTEAD("g", "", SECTION_DISPLAY, "-global VGA.xres=WIDTH -global VGA.yres=HEIGHT is the size that the screen prefers"),
	LATER("portrait", NULL, SECTION_DISPLAY), LATER("rotate", "", SECTION_DISPLAY), LATER("echr", "", SECTION_CHARACTER),
	LATER("tpmdev", "", SECTION_CHARACTER), LATER("dtb", "", SECTION_BOOT),
	LATER("incoming", "", SECTION_DEBUG), LATER("loadvm", "", SECTION_DEBUG), LATER("sandbox", "", SECTION_DEBUG),
	LATER("runas", "", SECTION_DEBUG), LATER("chroot", "", SECTION_DEBUG), LATER("compat", "", SECTION_DEBUG),
	LATER("dfilter", "", SECTION_DEBUG), LATER("dump-vmstate", "", SECTION_DEBUG), LATER("enable-sync-profile", NULL, SECTION_DEBUG),
	LATER("no-fd-bootchk", NULL, SECTION_DEBUG), LATER("only-migratable", NULL, SECTION_DEBUG),
	LATER("plugin", "", SECTION_DEBUG), LATER("preconfig", NULL, SECTION_DEBUG), LATER("seed", "", SECTION_DEBUG),
	LATER("singlestep", NULL, SECTION_DEBUG),
	LATER_INSTEAD("watchdog", "", SECTION_DEBUG, "-device i6300esb is the watchdog"),
	LATER("win2k-hack", NULL, SECTION_DEBUG), LATER("xen-attach", NULL, SECTION_DEBUG), LATER("xen-domid", "", SECTION_DEBUG),
	LATER("xen-domid-restrict", NULL, SECTION_DEBUG), LATER("writeconfig", "", SECTION_DEBUG), LATER("run-with", "", SECTION_DEBUG),
	{ .name = NULL },
};
/* clang-format on */

const struct key *key_find(const char *name)
{
	for (const struct key *key = config_keys; key->name; key++)
		if (strcmp(key->name, name) == 0)
			return key;
	return NULL;
}

const char *key_nearest(const char *name)
{
	const char *names[ARRAY_SIZE(config_keys)] = {NULL};
	size_t count = 0;

	for (const struct key *key = config_keys; key->name; key++)
		if (key->kind != KEY_LATER)
			names[count++] = key->name;
	return nearest_word(name, names);
}

enum { HELP_COLUMN = 16 };

static void print_row(FILE *to, const struct key *key)
{
	int column = fprintf(to, "-%s%s", key->name, strcmp(key->name, "h") == 0 ? " or -help" : "");
	const char *line = key->help;

	if (key->argument) {
		const char *newline = strrchr(key->argument, '\n');
		int length = fprintf(to, " %s", key->argument);

		column = newline ? HELP_COLUMN : column + length;
	}
	while (*line) {
		size_t length = strcspn(line, "\n");

		if (column >= HELP_COLUMN) {
			fputc('\n', to);
			column = 0;
		}
		fprintf(to, "%*s%.*s", HELP_COLUMN - column, "", (int)length, line);
		column = HELP_COLUMN;
		line += length + (line[length] == '\n');
	}
	fputc('\n', to);
}

void keys_print_help(FILE *to, const char *program)
{
	fprintf(to,
		"usage: %s [options] [disk_image]\n\n"
		"'disk_image' is a hard disk image for IDE hard disk 0\n",
		program);
	for (int section = 0; section < SECTIONS; section++) {
		fprintf(to, "\n%s:\n", key_section_titles[section]);
		for (const struct key *key = config_keys; key->name; key++)
			if ((int)key->section == section && key->help && key->kind != KEY_LATER)
				print_row(to, key);
	}
	fprintf(to, "\nAn option is an error when it, or a part of it, is not supported; it is never ignored.\n");
}

void keys_print_one(FILE *to, const char *name)
{
	print_row(to, key_find(name));
}

/* Roff takes a leading dot or quote as a request and a backslash as an escape. */
static void print_roff(FILE *to, const char *text)
{
	bool line_start = true;

	for (; *text; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			fputs("\\&", to);
		if (*text == '\\')
			fputs("\\e", to);
		else if (*text == '-')
			fputs("\\-", to);
		else
			fputc(*text, to);
		if (*text == '\n')
			fputs(".br\n", to);
		line_start = *text == '\n';
	}
}

void keys_print_manual(FILE *to)
{
	for (int section = 0; section < SECTIONS; section++) {
		fprintf(to, ".SS %s\n", key_section_titles[section]);
		for (const struct key *key = config_keys; key->name; key++) {
			if ((int)key->section != section || !key->help || key->kind == KEY_LATER)
				continue;
			fprintf(to, ".TP\n\\fB\\-");
			print_roff(to, key->name);
			fprintf(to, "\\fR ");
			/* A tag is one line. */
			for (const char *c = key->argument ? key->argument : ""; *c; c++) {
				char one[2] = {*c == '\n' ? ' ' : *c, 0};

				if (*c == '\n')
					c += strspn(c + 1, " ");
				print_roff(to, one);
			}
			fputc('\n', to);
			print_roff(to, key->help);
			fputc('\n', to);
		}
	}
	fprintf(to, ".SS Not supported yet\nThese options of qemu are known and refused:\n");
	for (const struct key *key = config_keys; key->name; key++) {
		if (key->kind != KEY_LATER)
			continue;
		fprintf(to, "\\fB\\-");
		print_roff(to, key->name);
		fprintf(to, key[1].name ? "\\fR,\n" : "\\fR.\n");
	}
}
