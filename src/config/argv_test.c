/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Command lines, good and bad. A good one is compared with a canonical text of what came out; a bad one with its
 * message, because the message is what a person gets.
 */
#include "config/argv.h"
#include "config/keys.h"

#include "base/log.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_ARGS = 64 };

/* Splits at blanks; what stands in '...' stays together. The copy is kept by the caller. */
static int split(char *line, char **argv)
{
	int argc = 0;

	argv[argc++] = (char *)"xuni-vmm";
	while (*line) {
		char stop = ' ';

		line += strspn(line, " ");
		if (!*line)
			break;
		if (*line == '\'') {
			stop = '\'';
			line++;
		}
		argv[argc++] = line;
		line += strcspn(line, (char[]){stop, 0});
		if (*line)
			*line++ = 0;
	}
	argv[argc] = NULL;
	return argc;
}

static int parse(const char *line, struct domain_config *config, struct config_request *request, struct error *err)
{
	char *copy = xstrdup(line), *argv[MAX_ARGS];
	int argc = split(copy, argv), ret;

	*err = (struct error){0};
	ret = config_from_argv(config, request, argc, argv, err);
	free(copy);
	return ret;
}

static void print_options(FILE *to, const struct options *options)
{
	for (size_t i = 0; i < options->count; i++)
		fprintf(to, ",%s=%s", options->items[i].key, options->items[i].value);
}

static void print_list(FILE *to, const char *name, const struct config_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		fprintf(to, "%s(%s", name, list->items[i].type ? list->items[i].type : "");
		if (list->items[i].id)
			fprintf(to, ":%s", list->items[i].id);
		print_options(to, &list->items[i].options);
		fprintf(to, ") ");
	}
}

static void print_string(FILE *to, const char *name, const char *value)
{
	if (value)
		fprintf(to, "%s(%s) ", name, value);
}

static void print_flag(FILE *to, const char *name, bool value)
{
	if (value)
		fprintf(to, "%s ", name);
}

static void print_drives(FILE *to, const struct domain_config *config)
{
	static const char *const names[] = {"none", "virtio", "ide", "scsi", "floppy", "pflash"};

	for (size_t i = 0; i < config->drive_count; i++) {
		const struct drive_config *d = &config->drives[i];

		fprintf(to, "drive(%s:%s:%d:%d,%s", names[d->interface], d->id, d->bus, d->unit,
			d->file ? d->file : "-");
		fprintf(to, "%s%s", d->format ? "," : "", d->format ? d->format : "");
		fprintf(to, "%s%s%s%s%s%s", d->cdrom ? ",cd" : "", d->read_only ? ",ro" : "",
			d->cache_direct ? ",direct" : "", d->cache_no_flush ? ",noflush" : "",
			d->cache_writeback ? "" : ",through", d->discard_unmap ? ",unmap" : "");
		fprintf(to, "%s%s", d->aio ? ",aio=" : "", d->aio ? d->aio : "");
		fprintf(to, "%s%s", d->snapshot ? ",temporary" : "", d->copy_on_read ? ",cor" : "");
		fprintf(to, "%s%s", d->node_name ? ",node=" : "", d->node_name ? d->node_name : "");
		print_options(to, &d->rest);
		fprintf(to, ") ");
	}
}

/* Everything that differs from a machine without any option. */
static char *describe(const struct domain_config *c)
{
	char *text;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (c->ram_bytes != 128 * MIB)
		fprintf(to, "ram(%llu) ", (unsigned long long)c->ram_bytes);
	if (c->vcpus != 1)
		fprintf(to, "cpus(%u=%u*%u*%u*%u) ", c->vcpus, c->sockets, c->dies, c->cores, c->threads);
	for (size_t i = 0; c->accels[i]; i++)
		fprintf(to, "accel(%s) ", c->accels[i]);
	if (c->board_options.count) {
		fprintf(to, "board(");
		print_options(to, &c->board_options);
		fprintf(to, ") ");
	}
	if (c->accel_options.count) {
		fprintf(to, "accelopt(");
		print_options(to, &c->accel_options);
		fprintf(to, ") ");
	}
	print_string(to, "cpu", c->cpu);
	print_string(to, "name", c->name);
	print_string(to, "process", c->process_name);
	print_string(to, "uuid", c->uuid);
	print_string(to, "kernel", c->kernel);
	print_string(to, "initrd", c->initrd);
	print_string(to, "append", c->append);
	print_string(to, "pidfile", c->pidfile);
	print_string(to, "order", c->boot_order);
	print_string(to, "once", c->boot_once);
	print_string(to, "mempath", c->ram_path);
	print_string(to, "log", c->log_path);
	print_drives(to, c);
	print_list(to, "block", &c->blockdevs);
	print_list(to, "object", &c->objects);
	print_list(to, "netdev", &c->netdevs);
	print_list(to, "chardev", &c->chardevs);
	print_list(to, "device", &c->devices);
	print_list(to, "smbios", &c->smbios);
	print_list(to, "fw_cfg", &c->fw_cfg);
	for (size_t i = 0; i < c->monitor_count; i++)
		fprintf(to, "mon(%s%s%s) ", c->monitors[i].chardev, c->monitors[i].qmp ? ",qmp" : "",
			c->monitors[i].pretty ? ",pretty" : "");
	if (c->globals.count) {
		fprintf(to, "global(");
		print_options(to, &c->globals);
		fprintf(to, ") ");
	}
	print_flag(to, "menu", c->boot_menu);
	print_flag(to, "strict", c->boot_strict);
	print_flag(to, "noreboot", c->no_reboot);
	print_flag(to, "noshutdown", c->no_shutdown);
	print_flag(to, "paused", c->start_paused);
	print_flag(to, "daemon", c->daemonize);
	print_flag(to, "stepped", c->stepped);
	print_flag(to, "prealloc", c->ram_prealloc);
	if (c->log_items)
		fprintf(to, "logitems(%x) ", (unsigned)c->log_items);
	fclose(to);
	if (size)
		text[size - 1] = 0;
	return text;
}

struct line {
	const char *line, *expected;
};

static void check_good(const struct line *lines, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct domain_config config;
		struct config_request request;
		struct error err;
		char *text;

		if (parse(lines[i].line, &config, &request, &err) < 0)
			fail_msg("%s\n  failed: %s", lines[i].line, err.msg);
		text = describe(&config);
		if (strcmp(text, lines[i].expected) != 0)
			fail_msg("%s\n  gave %s\n  not  %s", lines[i].line, text, lines[i].expected);
		free(text);
		free(request.name);
		domain_config_free(&config);
	}
}

static void check_bad(const struct line *lines, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct domain_config config;
		struct config_request request;
		struct error err;

		if (parse(lines[i].line, &config, &request, &err) == 0)
			fail_msg("%s: was accepted", lines[i].line);
		if (strcmp(err.msg, lines[i].expected) != 0)
			fail_msg("%s\n  said %s\n  not  %s", lines[i].line, err.msg, lines[i].expected);
		free(request.name);
		domain_config_free(&config);
	}
}

#define GOOD(lines) check_good(lines, ARRAY_SIZE(lines))
#define BAD(lines)  check_bad(lines, ARRAY_SIZE(lines))

static void test_machine_good(void **state)
{
	static const struct line lines[] = {
		{"-nodefaults", ""},
		{"--nodefaults -m 1024", "ram(1073741824)"},
		{"-nodefaults -m 2G", "ram(2147483648)"},
		{"-nodefaults -m size=512M", "ram(536870912)"},
		{"-nodefaults -m 512M,slots=0,maxmem=512M", "ram(536870912)"},
		{"-nodefaults -m 1.5G", "ram(1610612736)"},
		{"-nodefaults -smp 4", "cpus(4=1*1*4*1)"},
		{"-nodefaults -smp cpus=4,sockets=2", "cpus(4=2*1*2*1)"},
		{"-nodefaults -smp 8,cores=2,threads=2", "cpus(8=2*1*2*2)"},
		{"-nodefaults -smp cores=4,threads=2", "cpus(8=1*1*4*2)"},
		{"-nodefaults -smp 2,maxcpus=2,sockets=2,dies=1,cores=1,threads=1", "cpus(2=2*1*1*1)"},
		{"-nodefaults -accel kvm,interp", "accel(kvm) accel(interp)"},
		{"-nodefaults -accel translate", "accel(translate)"},
		{"-nodefaults -accel translate,tb-size=64", "accel(translate) accelopt(,tb-size=64)"},
		{"-nodefaults -accel translate,verify", "accel(translate) accelopt(,verify=on)"},
		{"-nodefaults -accel translate,verify=16", "accel(translate) accelopt(,verify=16)"},
		{"-nodefaults -accel kvm -accel tcg", "accel(kvm) accel(translate) accel(interp)"},
		{"-nodefaults -accel tcg,thread=multi,tb-size=32",
		 "accel(translate) accel(interp) accelopt(,tb-size=32)"},
		{"-nodefaults -machine pc,accel=kvm:tcg", "accel(kvm) accel(translate) accel(interp)"},
		{"-nodefaults -accel accel=kvm,kernel-irqchip=on", "accel(kvm) accelopt(,kernel-irqchip=on)"},
		{"-nodefaults -enable-kvm", "accel(kvm)"},
		{"-nodefaults -M pc-i440fx-7.2,usb=off,vmport=off,dump-guest-core=off", "board(,dump-guest-core=off)"},
		{"-nodefaults -machine type=pc,hpet=off,acpi=on", "board(,hpet=off)"},
		{"-nodefaults -machine hpet=on -no-hpet", "board(,hpet=off)"},
		{"-nodefaults -machine pc,kernel=k,append=x", "kernel(k) append(x)"},
		{"-nodefaults -cpu qemu64,+avx,-sse3", "cpu(qemu64,+avx,-sse3)"},
		{"-nodefaults -name vm1,process=p,debug-threads=on", "name(vm1) process(p)"},
		{"-nodefaults -name guest=a,,b", "name(a,b)"},
		{"-nodefaults -uuid 12345678-90ab-CDEF-1234-567890abcdef",
		 "uuid(12345678-90ab-CDEF-1234-567890abcdef)"},
		{"-nodefaults -kernel k -initrd i -append 'console=ttyS0 quiet'",
		 "kernel(k) initrd(i) append(console=ttyS0 quiet)"},
		{"-nodefaults -boot dc", "order(dc)"},
		{"-nodefaults -boot order=c,once=d,menu=on,strict=on", "order(c) once(d) menu strict"},
		{"-nodefaults -S -no-reboot -no-shutdown -daemonize -pidfile f",
		 "pidfile(f) noreboot noshutdown paused daemon"},
		{"-nodefaults -action reboot=shutdown,shutdown=pause", "noreboot noshutdown"},
		{"-nodefaults -no-reboot -action reboot=reset", ""},
		{"-nodefaults -icount auto", "stepped"},
		{"-nodefaults -icount shift=0,sleep=off,align=off", "stepped"},
		{"-nodefaults -d int,cpu_reset -D f", "log(f) logitems(41)"},
		{"-nodefaults -v", "logitems(400)"},
		{"-nodefaults -trace 'virtio_*'", "logitems(200)"},
		{"-nodefaults -global virtio-net-pci.mrg_rxbuf=off", "global(,virtio-net-pci.mrg_rxbuf=off)"},
		{"-nodefaults -global driver=a,property=b,value=c", "global(,a.b=c)"},
		{"-nodefaults -mem-prealloc -mem-path /dev/hugepages", "mempath(/dev/hugepages) prealloc"},
		{"-nodefaults -object memory-backend-memfd,id=m,size=128M,share=on -machine memory-backend=m",
		 "board(,memory-backend=m) object(memory-backend-memfd:m,size=128M,share=on)"},
		{"-nodefaults -object '{\"qom-type\":\"iothread\",\"id\":\"t0\"}'", "object(iothread:t0)"},
		{"-nodefaults -object rng-random,id=r,filename=/dev/urandom -device virtio-rng-pci,rng=r",
		 "object(rng-random:r,filename=/dev/urandom) device(virtio-rng-pci,rng=r)"},
		{"-nodefaults -overcommit mem-lock=off,cpu-pm=off -smbios type=1,manufacturer=x,serial=y", "smbios(,type=1,manufacturer=x,serial=y)"},
		{"-nodefaults -fw_cfg name=opt/a,string=hello", "fw_cfg(opt/a,string=hello)"},
		{"-nodefaults -fw_cfg opt/a,file=f", "fw_cfg(opt/a,file=f)"},
		{"-nodefaults -no-user-config -display none -vga none", ""},
		{"-nodefaults -rtc base=utc,driftfix=slew", ""},
	};

	GOOD(lines);
}

static void test_machine_bad(void **state)
{
	static const struct line lines[] = {
		{"-nodefautls", "-nodefautls: unknown option; did you mean '-nodefaults'?"},
		{"--smpp 2", "--smpp: unknown option; did you mean '-smp'?"},
		{"-zzzzzz", "-zzzzzz: unknown option; -help lists them"},
		{"-m", "-m: needs an argument"},
		{"-m 1X", "-m 1X: size=1X: expected a size such as 512M or 2G"},
		{"-m 0", "-m 0: guest RAM must be between 1 MiB and 64 TiB"},
		{"-m -5", "-m -5: size=-5: expected a size such as 512M or 2G"},
		{"-m 1G,sloots=2", "-m 1G,sloots=2: 'sloots' is not an option of -m; did you mean 'slots'?"},
		{"-m 1G,slots=2,maxmem=4G",
		 "-m 1G,slots=2,maxmem=4G: memory hot-plug (slots=, maxmem= above size): not supported yet"},
		{"-m 99999999999999999999",
		 "-m 99999999999999999999: size=99999999999999999999: the size is beyond 64 bits"},
		{"-smp 0", "-smp 0: cpus must not be 0"},
		{"-smp x", "-smp x: cpus=x: expected a number"},
		{"-smp 3,cores=2",
		 "-smp 3,cores=2: sockets (1) * dies (1) * cores (2) * threads (1) is not the number of CPUs (3)"},
		{"-smp 65", "-smp 65: the most CPUs a machine can have is 64"},
		{"-smp 2,maxcpus=4", "-smp 2,maxcpus=4: CPU hot-plug (maxcpus= above cpus): not supported yet"},
		{"-smp 4,core=2", "-smp 4,core=2: 'core' is not an option of -smp; did you mean 'cores'?"},
		{"-accel kmv", "-accel kmv: unknown accelerator 'kmv'; did you mean 'kvm'?"},
		{"-accel kvm,intrep", "-accel kvm,intrep: unknown accelerator 'intrep'; did you mean 'interp'?"},
		{"-accel kvm,thread=single", "-accel kvm,thread=single: thread=single: not supported yet"},
		{"-accel translate,verify=maybe",
		 "-accel translate,verify=maybe: verify=maybe: on, off or a number of runs"},
		{"-accel kvm,verify=on",
		 "-accel kvm,verify=on: 'verify' is an option of translate, which is not named"},
		{"-accel kvm,tb-size=3",
		 "-accel kvm,tb-size=3: 'tb-size' is an option of translate, which is not named"},
		{"-enable-kvm -machine accel=kvm", "-accel and -machine accel= (or two of them) exclude each other"},
		{"-machine pcc", "-machine pcc: unknown machine 'pcc'; did you mean 'pc'?"},
		{"-machine q35", "-machine q35: q35: not supported yet"},
		{"-machine pc,apci=off",
		 "-machine pc,apci=off: 'apci' is not an option of -machine; did you mean 'acpi'?"},
		{"-machine pc,acpi=off", "-machine pc,acpi=off: acpi=off: not supported yet"},
		{"-no-acpi", "-no-acpi: not supported yet"},
		{"-accel kvm,kernel-irqchip=off",
		 "-accel kvm,kernel-irqchip=off: kernel-irqchip=off: not supported yet"},
		{"-machine pc,usb=on", "-machine pc,usb=on: usb=on: not supported yet"},
		{"-machine pc,kernel-irqchip=maybe",
		 "-machine pc,kernel-irqchip=maybe: unknown kernel-irqchip 'maybe' (known: on, off, split)"},
		{"-uuid 1234", "-uuid 1234: a UUID has the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"},
		{"-boot splash-time=70000", "-boot splash-time=70000: splash-time=70000: the largest number accepted is 65535"},
		{"-option-rom bootindex=1", "-option-rom bootindex=1: Option ROM file is not specified"},
		{"-boot x", "-boot x: boot device 'x': devices are letters from a to p"},
		{"-boot cc", "-boot cc: boot device 'c' is given twice"},
		{"-append x", "-append only means something with -kernel"},
		{"-sandbox on", "-sandbox: not supported yet"},
		{"-full-screen", "-full-screen: not supported yet; a VNC viewer of -vnc :0 can fill the screen"},
		{"-display gtk", "-display gtk: not supported yet; -vnc :0 is for every VNC viewer, -display curses for text in this terminal"},
		{"-display nnoe", "-display nnoe: unknown display 'nnoe'; did you mean 'none'?"},
		{"-display foo", "-display foo: unknown display 'foo' (known: none, curses, vnc)"},
		{"-vga qxl", "-vga qxl: not supported yet; -vga help lists what is"},
		{"-vga foo", "-vga foo: unknown video card 'foo' (known: none, std, cirrus)"},
		{"-watchdog i6300esb", "-watchdog: not supported yet; -device i6300esb is the watchdog"},
		{"-d itn", "-d itn: "},
		{"-rtc base=yesterday",
		 "-rtc base=yesterday: base=yesterday: expected utc, localtime, 2026-06-17T16:01:21 or 2026-06-17"},
		{"-action panic=stop", "-action panic=stop: unknown panic 'stop' (known: shutdown, pause, exit-failure, none)"},
		{"-global x", "-global x: expected driver.property=value or driver=,property=,value="},
		{"-object iothred,id=a",
		 "-object iothred,id=a: unknown object type 'iothred'; did you mean 'iothread'?"},
		{"-object iothread", "-object iothread: id= is missing"},
		{"-object memory-backend-ram,id=m,size=1M,x-use-canonical-path-for-ramblock-id=2",
		 "-object memory-backend-ram,id=m,size=1M,x-use-canonical-path-for-ramblock-id=2: "
		 "x-use-canonical-path-for-ramblock-id=2: expected on or off"},
		{"-overcommit cpu-pm=on", "-overcommit cpu-pm=on: cpu-pm=on: not supported yet"},
		{"-overcommit mem-lok=on", "-overcommit mem-lok=on: 'mem-lok' is not an option of -overcommit; did you mean 'mem-lock'?"},
		{"-object memory-backend-memfd,id=a", "-object memory-backend-memfd,id=a: size= is missing"},
		{"-object memory-backend-memfd,id=a,size=1G -machine memory-backend=a",
		 "-machine memory-backend: 'a' has another size than -m"},
		{"-object rng-random,id=1",
		 "-object rng-random,id=1: id '1' must begin with a letter, followed by letters, digits, "
		 "'-', '.', '_'"},
		{"-machine memory-backend=nope", "-machine memory-backend: there is no object 'nope'"},
		{"-fw_cfg name=a", "-fw_cfg name=a: expected one of file= and string="},
		{"-smbios foo=1", "-smbios foo=1: expected type=N,... or file=path"},
		{"-icount shift=3", "-icount shift=3: a shift= other than 0: not supported yet"},
		{"-icount 0,align=on", "-icount 0,align=on: align=on: not supported yet"},
		{"-icount rr=record", "-icount rr=record: record and replay (rr=): not supported yet"},
		{"-readconfig /nonexistent/x", "-readconfig /nonexistent/x: cannot open: No such file or directory"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		/* That message belongs to the log. */
		if (strncmp(lines[i].line, "-d ", 3) == 0) {
			struct domain_config config;
			struct config_request request;
			struct error err;

			assert_true(parse(lines[i].line, &config, &request, &err) < 0);
			assert_memory_equal(err.msg, lines[i].expected, strlen(lines[i].expected));
			assert_non_null(strstr(err.msg, "int"));
			domain_config_free(&config);
		} else {
			check_bad(&lines[i], 1);
		}
	}
}

static void test_drives(void **state)
{
	static const struct line good[] = {
		{"-nodefaults disk.img",
		 "drive(ide:ide0-hd0:0:0,disk.img) device(ide-hd,drive=ide0-hd0,bus=ide.0,unit=0)"},
		{"-nodefaults -hda a -hdb b -hdd d -cdrom c",
		 "drive(ide:ide0-hd0:0:0,a) drive(ide:ide0-hd1:0:1,b) drive(ide:ide1-hd1:1:1,d) "
		 "drive(ide:ide1-cd0:1:0,c,cd,ro) device(ide-hd,drive=ide0-hd0,bus=ide.0,unit=0) "
		 "device(ide-hd,drive=ide0-hd1,bus=ide.0,unit=1) device(ide-hd,drive=ide1-hd1,bus=ide.1,unit=1) "
		 "device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0)"},
		{"-nodefaults -drive if=pflash,format=raw,readonly=on,file=code -pflash vars",
		 "drive(pflash:pflash0:0:0,code,raw,ro) drive(pflash:pflash1:0:1,vars)"},
		{"-nodefaults -fda a -drive if=floppy,file=b",
		 "drive(floppy:floppy0:0:0,a) drive(floppy:floppy1:0:1,b) device(floppy,drive=floppy0,unit=0) "
		 "device(floppy,drive=floppy1,unit=1)"},
		{"-nodefaults -drive if=scsi,file=a -drive if=scsi,media=cdrom,unit=3",
		 "drive(scsi:scsi0-hd0:0:0,a) drive(scsi:scsi0-cd3:0:3,-,cd,ro) device(virtio-scsi-pci:scsi0) "
		 "device(scsi-hd,drive=scsi0-hd0,bus=scsi0.0,scsi-id=0) device(scsi-cd,drive=scsi0-cd3,bus=scsi0.0,scsi-id=3)"},
		{"-nodefaults -device ide-hd,drive=x -drive if=none,id=x,file=a -hda b",
		 "drive(none:x:0:0,a) drive(ide:ide0-hd0:0:0,b) device(ide-hd,drive=ide0-hd0,bus=ide.0,unit=0) "
		 "device(ide-hd,drive=x)"},
		{"-nodefaults -drive media=cdrom -drive index=3,file=b,serial=S,cache=writethrough",
		 "drive(ide:ide0-cd0:0:0,-,cd,ro) drive(ide:ide1-hd1:1:1,b,through) "
		 "device(ide-cd,drive=ide0-cd0,bus=ide.0,unit=0) "
		 "device(ide-hd,drive=ide1-hd1,bus=ide.1,unit=1,serial=S,write-cache=off)"},
		{"-nodefaults -drive file=a.img,if=virtio,format=raw -drive file=b,,c,if=virtio",
		 "drive(virtio:virtio0:0:0,a.img,raw) drive(virtio:virtio1:0:1,b,c) "
		 "device(virtio-blk-pci,drive=virtio0) "
		 "device(virtio-blk-pci,drive=virtio1)"},
		{"-nodefaults -drive file=a,if=none,id=d0,cache=none,aio=native,discard=unmap -device "
		 "virtio-blk-pci,drive=d0",
		 "drive(none:d0:0:0,a,direct,unmap,aio=native) device(virtio-blk-pci,drive=d0)"},
		{"-nodefaults -drive if=virtio,file=a,cache=unsafe -drive "
		 "if=virtio,file=b,cache=directsync,readonly=on "
		 "-drive if=virtio,file=c,cache=writethrough",
		 "drive(virtio:virtio0:0:0,a,noflush) drive(virtio:virtio1:0:1,b,ro,direct,through) "
		 "drive(virtio:virtio2:0:2,c,through) device(virtio-blk-pci,drive=virtio0) "
		 "device(virtio-blk-pci,drive=virtio1,write-cache=off) "
		 "device(virtio-blk-pci,drive=virtio2,write-cache=off)"},
		{"-nodefaults -drive media=cdrom,if=none", "drive(none:none0:0:0,-,cd,ro)"},
		{"-nodefaults -drive file=a,if=none,id=d,serial=S1,werror=stop -device virtio-blk-pci,drive=d",
		 "drive(none:d:0:0,a) device(virtio-blk-pci,drive=d,serial=S1,werror=stop)"},
		{"-nodefaults -blockdev driver=file,node-name=f,filename=x,cache.direct=on -device "
		 "virtio-blk-pci,drive=f",
		 "block(file:f,filename=x,cache.direct=on) device(virtio-blk-pci,drive=f)"},
		{"-nodefaults -blockdev "
		 "'{\"driver\":\"raw\",\"node-name\":\"r\",\"read-only\":true,\"file\":{\"driver\":\"file\","
		 "\"filename\":\"x y\"},\"n\":3}'",
		 "block(raw:r,read-only=on,file.driver=file,file.filename=x y,n=3)"},
		{"-nodefaults -drive if=none,file=a,copy-on-read=on,detect-zeroes=unmap,node-name=n,lazy-refcounts=on",
		 "drive(none:none0:0:0,a,cor,node=n,detect-zeroes=unmap,lazy-refcounts=on)"},
		{"-nodefaults -drive if=none,file=a,bps=1,iops_rd_max=2,iops_size=3,group=g,"
		 "throttling.bps-write-max-length=4",
		 "drive(none:none0:0:0,a,throttling.bps-total=1,throttling.iops-read-max=2,throttling.iops-size=3,"
		 "throttling.group=g,throttling.bps-write-max-length=4)"},
		{"-nodefaults -drive if=none,file.driver=file,file.filename=a",
		 "drive(none:none0:0:0,-,file.driver=file,file.filename=a)"},
		{"-nodefaults -drive if=none,file=a -snapshot -drive if=none,file=b,snapshot=off",
		 "drive(none:none0:0:0,a,temporary) drive(none:none1:0:1,b)"},
	};
	static const struct line bad[] = {
		{"-drive if=virtioo,file=a",
		 "-drive if=virtioo,file=a: unknown interface 'virtioo'; did you mean 'virtio'?"},
		{"-drive if=virtio", "-drive if=virtio: file= is missing"},
		{"-drive file=a,fomat=raw",
		 "-drive file=a,fomat=raw: 'fomat' is not an option of -drive; did you mean 'format'?"},
		{"-drive file=a,cache=wrietback",
		 "-drive file=a,cache=wrietback: unknown cache mode 'wrietback'; did you mean 'writeback'?"},
		{"-drive file=a,bps=100,throttling.bps-total=1",
		 "-drive file=a,bps=100,throttling.bps-total=1: 'throttling.bps-total' and its alias 'bps' can't be "
		 "used at the same time"},
		{"-drive if=pflash,file=a,unit=2", "-drive if=pflash: there are units 0 (code) and 1 (variables), no unit 2"},
		{"-drive if=pflash,file=a,unit=1", "pflash unit 1 (variables) requires unit 0 (the firmware's code)"},
		{"-pflash a -bios b", "-bios and a pflash unit 0 exclude each other: both are the firmware"},
		{"-pflash a -machine pflash0=n",
		 "-drive if=pflash,unit=0 and -machine pflash0= exclude each other"},
		{"-machine pflash0=n", "-machine pflash0: there is no block device 'n'"},
		{"-drive file=a,format=raw,driver=raw",
		 "-drive file=a,format=raw,driver=raw: Cannot specify both 'driver' and 'format'"},
		{"-drive file=a,snapshot=maybe", "-drive file=a,snapshot=maybe: snapshot=maybe: expected on or off"},
		{"-drive file=a,index=0 -hda b", "-hda b: there is already a drive with if=ide, bus=0, unit=0"},
		{"-drive file=a,id=x,if=none -drive file=b,id=x,if=none",
		 "-drive file=b,id=x,if=none: there is already a drive with id 'x'"},
		{"-drive file=a,if=none,id=-x",
		 "-drive file=a,if=none,id=-x: id '-x' must begin with a letter, followed by letters, "
		 "digits, '-', '.', '_'"},
		{"-hda a -drive file=b,unit=0",
		 "-drive file=b,unit=0: there is already a drive with if=ide, bus=0, unit=0"},
		{"-drive file=a,if=ide,unit=2", "-drive file=a,if=ide,unit=2: unit 2 is too big (the largest is 1)"},
		{"-drive file=a,index=4", "-drive file=a,index=4: Too many IDE buses defined (3 > 2)"},
		{"-drive file=a,if=none,id=d -device virtio-blk-pci,drive=d -device virtio-blk-pci,drive=d",
		 "drive 'd' is used by two devices (virtio-blk-pci and virtio-blk-pci)"},
		{"-drive file=a,index=1,unit=1",
		 "-drive file=a,index=1,unit=1: index= cannot stand beside bus= and unit="},
		{"-drive file=a,if=sd",
		 "-drive file=a,if=sd: if=sd: not supported yet; if=ide, if=scsi, if=floppy and if=virtio are"},
		{"-drive =a", "-drive =a: '=a': a parameter without a name"},
		{"-device virtio-blk-pci,drive=d1 -drive if=none,id=d0,file=a",
		 "-device virtio-blk-pci: there is no drive 'd1'"},
		{"-blockdev driver=file", "-blockdev driver=file: node-name= is missing"},
		{"-blockdev {\"driver\":",
		 "-blockdev {\"driver\":: JSON, character 10: unexpected token near end of file"},
		{"-blockdev {\"a\":1.5}", "-blockdev {\"a\":1.5}: a: expected a string, an integer, true or false"},
		{"-blockdev driver=file,node-name=a -blockdev driver=file,node-name=a",
		 "-blockdev driver=file,node-name=a: there is already a blockdev with id 'a'"},
	};

	GOOD(good);
	BAD(bad);
}

static void test_consoles(void **state)
{
	static const struct line good[] = {
		{"-nographic -nic none",
		 "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
		 "chardev(stdio:serial0,mux=on,signal=off) device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) "
		 "device(floppy,drive=floppy0,unit=0) "
		 "device(isa-serial,index=0,chardev=serial0) mon(serial0)"},
		{"-nic none", "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
			      "chardev(stdio:serial0,mux=on,signal=off) device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) "
			      "device(floppy,drive=floppy0,unit=0) "
			      "device(isa-serial,index=0,chardev=serial0) mon(serial0)"},
		{"-nodefaults -nographic", ""},
		{"-display none -nic none", "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
					    "chardev(null:serial0) device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) "
					    "device(floppy,drive=floppy0,unit=0) "
					    "device(isa-serial,index=0,chardev=serial0)"},
		{"-daemonize -nic none", "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
					 "chardev(null:serial0) device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) "
					 "device(floppy,drive=floppy0,unit=0) "
					 "device(isa-serial,index=0,chardev=serial0) daemon"},
		{"-nographic -nic none -monitor none",
		 "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
		 "chardev(stdio:serial0) device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) "
		 "device(floppy,drive=floppy0,unit=0) "
		 "device(isa-serial,index=0,chardev=serial0)"},
		{"-nic none -qmp stdio",
		 "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
		 "chardev(stdio:compat_monitor0) chardev(null:serial0) device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) "
		 "device(floppy,drive=floppy0,unit=0) "
		 "device(isa-serial,index=0,chardev=serial0) "
		 "mon(compat_monitor0,qmp)"},
		{"-nographic -nic none -serial file:log",
		 "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
		 "chardev(file:serial0,path=log) chardev(stdio:compat_monitor0) "
		 "device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) device(floppy,drive=floppy0,unit=0) "
		 "device(isa-serial,index=0,chardev=serial0) "
		 "mon(compat_monitor0)"},
		{"-nodefaults -serial mon:stdio",
		 "chardev(stdio:serial0,mux=on,signal=off) device(isa-serial,index=0,chardev=serial0) mon(serial0)"},
		{"-nodefaults -serial none -serial unix:/tmp/s,server,nowait -serial "
		 "tcp:localhost:4444,server=on,wait=off",
		 "chardev(socket:serial0,path=/tmp/s,server=on,wait=off) "
		 "chardev(socket:serial1,server=on,wait=off,host=localhost,port=4444) "
		 "device(isa-serial,index=0,chardev=serial0) device(isa-serial,index=1,chardev=serial1)"},
		{"-nodefaults -serial tcp:[::1]:99",
		 "chardev(socket:serial0,host=::1,port=99) device(isa-serial,index=0,chardev=serial0)"},
		{"-nodefaults -monitor telnet::5555,server",
		 "chardev(socket:compat_monitor0,server=on,host=,port=5555,telnet=on) mon(compat_monitor0)"},
		{"-nodefaults -serial file:a,b",
		 "chardev(file:serial0,path=a,b) device(isa-serial,index=0,chardev=serial0)"},
		{"-nodefaults -chardev socket,id=c,path=/x,server=on,wait=off -mon chardev=c,mode=control,pretty=on",
		 "chardev(socket:c,path=/x,server=on,wait=off) mon(c,qmp,pretty)"},
		{"-nodefaults -chardev stdio,id=c,mux=on -serial chardev:c -mon c -device virtconsole,chardev=c",
		 "chardev(stdio:c,mux=on) device(isa-serial,index=0,chardev=c) device(virtconsole,chardev=c) mon(c)"},
		{"-nodefaults -qmp unix:/q,server=on,wait=off -qmp-pretty tcp:127.0.0.1:1,server",
		 "chardev(socket:compat_monitor0,path=/q,server=on,wait=off) "
		 "chardev(socket:compat_monitor1,server=on,host=127.0.0.1,port=1) "
		 "mon(compat_monitor0,qmp) mon(compat_monitor1,qmp,pretty)"},
		{"-nodefaults -debugcon file:d", "chardev(file:debugcon,path=d) device(isa-debugcon,chardev=debugcon)"},
		{"-nodefaults -parallel none", ""},
		{"-gdb stdio -nic none", "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
					 "chardev(null:serial0) device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) "
					 "device(floppy,drive=floppy0,unit=0) "
					 "device(isa-serial,index=0,chardev=serial0)"},
		{"-nodefaults -serial /dev/ttyS0", "chardev(serial:serial0,path=/dev/ttyS0) device(isa-serial,index=0,chardev=serial0)"},
	};
	static const struct line bad[] = {
		{"-serial studio", "-serial studio: unknown character device 'studio'; did you mean 'stdio'?"},
		{"-serial tcp:4444", "-serial tcp:4444: expected host:port"},
		{"-serial tcp:[::1:1", "-serial tcp:[::1:1: expected host:port"},
		{"-serial vc:80", "-serial vc:80: vc:80: expected a size such as vc:80Cx24C or vc:640x384"},
		{"-serial vc:80Cx24Cx", "-serial vc:80Cx24Cx: vc:80Cx24Cx: expected a size such as vc:80Cx24C or vc:640x384"},
		{"-serial file:", "-serial file:: a path is missing"},
		{"-serial stdio -monitor stdio",
		 "stdio is used twice, by '-serial stdio' and '-monitor stdio'; one can be mon:stdio"},
		{"-serial null -serial null -serial null -serial null -serial null",
		 "-serial null: there are 4 serial ports"},
		{"-daemonize -serial stdio", "'-serial stdio' needs the terminal, which -daemonize gives up"},
		{"-daemonize -nographic", "'-nographic' needs the terminal, which -daemonize gives up"},
		{"-nographic -chardev stdio,id=c", "stdio is used twice, by 'c' and '-nographic'; one can be mon:stdio"},
		{"-daemonize -gdb stdio", "'-gdb stdio' needs the terminal, which -daemonize gives up"},
		{"-gdb stdio -serial stdio", "stdio is used twice, by '-gdb stdio' and '-serial stdio'; one can be mon:stdio"},
		{"-daemonize -curses", "'-curses' needs the terminal, which -daemonize gives up"},
		{"-curses -monitor stdio",
		 "'-curses' and '-monitor stdio' both need the terminal; vc instead of stdio is a console beside the screen"},
		{"-serial udp::1", "-serial udp::1: this kind of character device is not supported yet; stdio, pty, vc, file:PATH, pipe:PATH, "
		 "unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, /dev/ttyS0 are"},
		{"-mon chardev=x", "-mon: there is no chardev 'x'"},
		{"-mon chardev=serail0 -serial null", "-mon: there is no chardev 'serail0'; did you mean 'serial0'?"},
		{"-mon chardev=x,mode=contorl",
		 "-mon chardev=x,mode=contorl: unknown monitor mode 'contorl'; did you mean 'control'?"},
		{"-chardev stdio", "-chardev stdio: id= is missing"},
		{"-chardev null,id=a -chardev null,id=a", "-chardev null,id=a: there is already a chardev with id 'a'"},
		{"-nodefaults -chardev null,id=a -serial chardev:a -serial chardev:a",
		 "chardev 'a' is used by two devices (isa-serial and isa-serial)"},
		{"-parallel stdio", "-parallel stdio: not supported yet"},
	};

	GOOD(good);
	BAD(bad);
}

static void test_networks(void **state)
{
	static const struct line good[] = {
		{"-serial none -monitor none", "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
					       "netdev(user:#net0) device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) "
					       "device(floppy,drive=floppy0,unit=0) "
					       "device(e1000,netdev=#net0)"},
		/* qemu's places on the bus. */
		{"-nodefaults -device virtio-rng-pci -net nic,model=pcnet -net user -nic user,model=rtl8139 -device i6300esb",
		 "netdev(user:#net0) netdev(user:#net1) device(rtl8139,netdev=#net0) device(pcnet,netdev=#net1) "
		 "device(virtio-rng-pci) device(i6300esb)"},
		{"-nodefaults -netdev user,id=n0,hostfwd=tcp::1-:2,hostfwd=tcp::3-:4 -device "
		 "virtio-net-pci,netdev=n0,mac=52:54:00:1:2:3",
		 "netdev(user:n0,hostfwd=tcp::1-:2,hostfwd=tcp::3-:4) "
		 "device(virtio-net-pci,netdev=n0,mac=52:54:00:1:2:3)"},
		{"-nodefaults -netdev "
		 "'{\"type\":\"user\",\"id\":\"n\",\"hostfwd\":[{\"str\":\"tcp::1-:2\"}],\"restrict\":false}'",
		 "netdev(user:n,hostfwd=tcp::1-:2,restrict=off)"},
		{"-nodefaults -device '{\"driver\":\"virtio-net-pci\",\"id\":\"d\",\"mq\":true}'",
		 "device(virtio-net-pci:d,mq=on)"},
		{"-nodefaults -nic user,model=e1000,mac=52:54:00:12:34:56,hostfwd=tcp::1-:2",
		 "netdev(user:#net0,hostfwd=tcp::1-:2) device(e1000,mac=52:54:00:12:34:56,netdev=#net0)"},
		{"-nodefaults -nic tap,id=t,ifname=tap0,script=no -nic user",
		 "netdev(tap:t,ifname=tap0,script=no) netdev(user:#net0) device(e1000,netdev=t) "
		 "device(e1000,netdev=#net0)"},
		{"-nodefaults -net nic,model=virtio,macaddr=52:54:00:12:34:56 -net user,hostfwd=tcp::1-:2",
		 "netdev(user:#net0,hostfwd=tcp::1-:2) device(virtio-net-pci,mac=52:54:00:12:34:56,netdev=#net0)"},
		{"-nodefaults -net user -net nic -net tap,ifname=t -net nic",
		 "netdev(user:#net0) netdev(tap:#net1,ifname=t) device(e1000,netdev=#net0) "
		 "device(e1000,netdev=#net1)"},
		{"-nodefaults -netdev user,id=x -net nic,netdev=x", "netdev(user:x) device(e1000,netdev=x)"},
		{"-serial none -monitor none -net none",
		 "drive(ide:ide1-cd0:1:0,-,cd,ro) drive(floppy:floppy0:0:0,-) "
		 "device(ide-cd,drive=ide1-cd0,bus=ide.1,unit=0) device(floppy,drive=floppy0,unit=0)"},
	};
	static const struct line bad[] = {
		{"-netdev user", "-netdev user: id= is missing"},
		{"-netdev user,id=a -netdev user,id=a", "-netdev user,id=a: there is already a netdev with id 'a'"},
		{"-netdev user,id=net0 -device e1000,netdev=net1",
		 "-device e1000: there is no netdev 'net1'; did you mean 'net0'?"},
		{"-netdev user,id=n -device e1000,netdev=n -device e1000,netdev=n",
		 "netdev 'n' is used by two devices (e1000 and e1000)"},
		{"-net nic,modle=e1000 -net user",
		 "-net nic,modle=e1000: 'modle' is not an option of -net nic; did you mean 'model'?"},
		{"-nic none,model=e1000", "-nic none,model=e1000: none takes no parameters"},
		{"-device ''", "-device : which driver? (-device help lists them)"},
		{"-device a,id=x -device b,id=x", "-device b,id=x: there is already a device with id 'x'"},
	};

	GOOD(good);
	BAD(bad);
}

static void test_requests(void **state)
{
	static const struct {
		const char *line;
		enum config_ask ask;
		const char *name;
	} lines[] = {
		{"-h", ASK_HELP, NULL},
		{"--help", ASK_HELP, NULL},
		{"-version", ASK_VERSION, NULL},
		{"-machine help", ASK_MACHINES, NULL},
		{"-M ?", ASK_MACHINES, NULL},
		{"-cpu help", ASK_CPUS, NULL},
		{"-accel help", ASK_ACCELS, NULL},
		{"-device help", ASK_DEVICES, NULL},
		{"-device e1000,help", ASK_DEVICE, "e1000"},
		{"-netdev help", ASK_NETDEVS, NULL},
		{"-nic model=help", ASK_NIC_MODELS, NULL},
		{"-chardev help", ASK_CHARDEVS, NULL},
		{"-object help", ASK_OBJECTS, NULL},
		{"-object iothread,help", ASK_OBJECT, "iothread"},
		{"-d help", ASK_LOG_ITEMS, NULL},
		{"-trace help", ASK_TRACE_EVENTS, NULL},
		{"-display help", ASK_DISPLAYS, NULL},
		{"-vga help", ASK_VGAS, NULL},
		{"-L help", ASK_FIRMWARE_DIRS, NULL},
		{"-boot help", ASK_KEY, "boot"},
		{"-boot order=c,once=d,?", ASK_KEY, "boot"},
		{"-smp help", ASK_KEY, "smp"},
		/* What follows a request is not looked at. */
		{"-nodefaults -cpu help -nonsense", ASK_CPUS, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct domain_config config;
		struct config_request request;
		struct error err;

		if (parse(lines[i].line, &config, &request, &err) < 0)
			fail_msg("%s: %s", lines[i].line, err.msg);
		assert_int_equal(request.ask, lines[i].ask);
		if (lines[i].name)
			assert_string_equal(request.name, lines[i].name);
		free(request.name);
		domain_config_free(&config);
	}
}

static void check_file(const char *content, const char *expected, bool good)
{
	char path[] = "/tmp/xuni-argv-test-XXXXXX";
	int fd = mkstemp(path);
	char *line = xasprintf("-nodefaults -readconfig %s", path);
	char *message = xasprintf("-readconfig %s: %s", path, expected);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
	close(fd);
	if (good)
		check_good(&(struct line){line, expected}, 1);
	else
		check_bad(&(struct line){line, message}, 1);
	unlink(path);
	free(line);
	free(message);
}

static void test_readconfig(void **state)
{
	check_file(
		"# a machine\n[machine]\n  type = \"pc\"\n  accel = \"kvm\"\n\n[memory]\n  size = "
		"\"1024\"\n[smp-opts]\ncpus = \"2\"\n"
		"[drive \"d0\"]\n  file = \"a b.img\"\n  if = \"none\"\n[device \"v\"]\n  driver = "
		"\"virtio-blk-pci\"\n  drive = \"d0\"\n"
		"[chardev \"c\"]\n  backend = \"null\"\n[mon \"m\"]\n chardev=\"c\"\n mode = \"control\"\n[netdev "
		"\"n\"]\n type = \"user\"",
		"ram(1073741824) cpus(2=1*1*2*1) accel(kvm) drive(none:d0:0:0,a b.img) netdev(user:n) chardev(null:c) "
		"device(virtio-blk-pci:v,drive=d0) mon(c,qmp)",
		true);
	check_file("", "", true);
	check_file("[drvie \"x\"]\n", "line 1: unknown section [drvie]; did you mean [drive]?", false);
	check_file("[drive\n", "line 1: expected [section] or [section \"id\"]", false);
	check_file("[machine \"x\"]\n", "line 1: section [machine] takes no id", false);
	check_file("a = \"b\"\n", "line 1: a parameter outside a section", false);
	check_file("[drive]\nfile\n", "line 2: expected key = \"value\"", false);
	check_file("[drive]\nfile = \"x\n", "line 2: the value's quotes do not close at the end of the line", false);
	check_file("[drive]\nfile = \"x\"\niff = \"none\"\n",
		   "[drive]: 'iff' is not an option of -drive; did you mean 'if'?", false);
}

/* Every row can be found, has a handler of its kind, and no name stands twice. */
static void test_table(void **state)
{
	char *text;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	for (const struct key *key = config_keys; key->name; key++) {
		assert_ptr_equal(key_find(key->name), key);
		assert_true(key->kind != KEY_WORD || key->word);
		assert_true(key->kind != KEY_LIST || (key->list && key->argument));
		assert_true(key->kind != KEY_STRING || (key->argument && key->field));
		assert_true(key->kind != KEY_FLAG || (!key->argument && key->field));
	}
	keys_print_help(to, "xuni-vmm");
	fclose(to);
	assert_non_null(strstr(text, "usage: xuni-vmm [options] [disk_image]\n"));
	assert_non_null(strstr(text, "\n-m [size=]megs[,slots=n,maxmem=size]\n                guest RAM"));
	assert_non_null(strstr(text, "\n-h or -help     display this help and exit\n"));
	assert_non_null(strstr(text, "-vnc host:display"));
	assert_null(strstr(text, "\n-spice"));
	free(text);
	to = open_memstream(&text, &size);
	keys_print_manual(to);
	fclose(to);
	assert_non_null(strstr(text, ".TP\n\\fB\\-smp\\fR "));
	assert_null(strstr(text, ".TP\n\\fB\\-spice\\fR"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_machine_good), cmocka_unit_test(test_machine_bad),
		cmocka_unit_test(test_drives),       cmocka_unit_test(test_consoles),
		cmocka_unit_test(test_networks),     cmocka_unit_test(test_requests),
		cmocka_unit_test(test_readconfig),   cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
